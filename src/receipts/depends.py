"""Dependences that nobody declared.

A premise may make its quantity depend on more than its declared arguments: with ``z(t_0) = z_0``
the trajectory depends on t_0, and with ``dot(lambda) = -lambda f_z`` the multiplier depends on theta.
A derivative in such an argument would leave something out, so no check goes through one.
"""

import sympy as sp

from receipts.jets import Jet
from receipts.premises import owner, uses
from receipts.tree import Leaf, Total, walk


def silent(rules):
    """``{quantity: symbols}``: on what each depends by its rules, though it was not declared to."""
    found = {}
    for _ in rules:  # a quantity also depends on what the quantities in its rule depend on
        for target, rhs in rules:
            pins = {s for a in target.pins.values() for s in sp.sympify(a).free_symbols}
            through = (found.get(owner(q), ()) for q in _quantities(rhs))
            found.setdefault(target.quantity, set()).update((rhs.free_symbols | pins) - target.own, *through)
    return found


def left_out(lhs, rhs, using):
    """Why a derivative in the sides or in the premises would leave something out, or None."""
    unseen = silent([rule for p in using for rule in p.all_rules()])
    restated = [p for p in using if not p.is_rule and p.under is None]
    trees = [lhs, rhs, *(side for p in using for side in (p.lhs, p.rhs))]
    for x in (x for tree in trees for x in walk(tree) if isinstance(x, Total)):
        inner, variables = x.children
        for symbol in variables.value():
            found = [q for q in _quantities(inner.value()) if symbol in unseen.get(owner(q), ())]
            found += [q for p in restated if uses(inner, p.lhs.key) for q in _unaware(p, symbol)]
            if found:
                return (
                    f"by the premises {min(map(str, found))} may depend on {symbol}, but was declared "
                    f"without it, so `{x.text()}` would leave that out; declare it with this argument"
                )
    return None


def _quantities(expression):
    return expression.atoms(Jet) | expression.free_symbols


def _unaware(identity, symbol):
    """The functions of a restated identity that do not know the symbol: it may hold for these alone."""
    leaves = [x for side in (identity.lhs, identity.rhs) for x in walk(side) if isinstance(x, Leaf)]
    return [x.name for x in leaves if x.kind == "opaque" and symbol not in x.value().free_symbols]
