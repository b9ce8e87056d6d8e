"""Opaque smooth functions for SymPy, with partial derivatives that keep their names.

SymPy's own ``Function("f")(z(t), t)`` loses the difference between a partial and a total
derivative as soon as something is substituted into it. Here every component of an opaque
function is a class of its own, and so is each of its partial derivatives: the chain rule
becomes exact, second partials commute, and ``t -> t_1`` is a plain replacement.
"""

from functools import cache

import sympy as sp


class Jet(sp.Function):
    """A component of an opaque smooth function, or one of its partial derivatives.

    Class attributes: ``base`` (function name, component), ``orders`` (how often it is
    differentiated in each slot) and ``slots`` (the symbols or expressions it was declared with).
    """

    base, orders, slots = ("", ()), (), ()

    def fdiff(self, argindex=1):
        """The partial derivative in one slot, the others held still."""
        orders = list(self.orders)
        orders[argindex - 1] += 1
        return jet(self.base, tuple(orders), self.slots)(*self.args)

    def _sympystr(self, printer):
        return f"{self.__class__.__name__}({', '.join(map(printer._print, self.args))})"

    def _latex(self, printer, exp=None):
        name, component = self.base
        index = ",".join(str(i + 1) for i in component)
        tex = latex_name(f"{name}_{index}" if index else name)
        wrt = " ".join(
            printer._print(s) for s, n in zip(self.slots, self.orders, strict=True) for _ in range(n)
        )
        tex = rf"\partial_{{{wrt}}} {tex}" if wrt else tex
        return tex if exp is None else rf"\left({tex}\right)^{{{exp}}}"


@cache
def jet(base, orders, slots):
    """The class of one partial derivative of one component; the same arguments give the same class."""
    name, component = base
    # Brackets and dots stand in no author's name, so that no two quantities print alike.
    label = name + (f"[{','.join(str(i + 1) for i in component)}]" if component else "")
    wrt = "".join(f".{_plain(s)}" for s, n in zip(slots, orders, strict=True) for _ in range(n))
    return type(label + wrt, (Jet,), {"base": base, "orders": orders, "slots": slots, "nargs": len(slots)})


def short_name(atom):
    """A name to read: ``f1_z2(t_1)``, the derivative of component 1 of f in component 2 of z, at t_1.

    Arguments that are those of the declaration are left out.
    """
    if not isinstance(atom, Jet):
        return str(atom)
    name = atom.__class__.__name__.replace("[", "").replace("]", "").replace(".", "_")
    moved = {
        str(a) for x, s in zip(atom.args, atom.slots, strict=True) for a in x.free_symbols - s.free_symbols
    }
    return f"{name}({', '.join(sorted(moved))})" if moved else name


def _plain(slot):
    return slot.__class__.__name__ if isinstance(slot, Jet) else str(slot)


def latex_name(name):
    r"""``lambda_0`` becomes ``\lambda_0``; SymPy knows the Greek letters."""
    return sp.latex(sp.Symbol(name))


def outer_jets(expression):
    """The opaque quantities of an expression, without those that stand inside another one."""
    found, stack = set(), [expression]
    while stack:
        e = stack.pop()
        if isinstance(e, Jet):
            found.add(e)
        else:
            stack.extend(e.args)
    return found
