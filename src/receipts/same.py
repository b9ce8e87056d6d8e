"""Are two sides the same expression, written differently? Then their equation says nothing.

Not algebra, only what changes the writing: the order of terms, signs and numbers in front, 0 and 1,
two transposes, ``x`` at its own time, a sum taken apart under an integral or a derivative.
"""

import sympy as sp

from receipts.tree import Add, At, Integral, Leaf, Mul, Neg, Number, Power, Total, Transpose


def signless(x):
    """The same for trees that are the same up to how they are written, and up to an overall sign."""
    terms = _terms(x)
    return min((_frozen(terms), _frozen({k: -n for k, n in terms.items()})), key=repr)


def _frozen(terms):
    return tuple(sorted(terms.items(), key=repr))


def _terms(x):
    """``{factors: number in front}``; the factors of a term stand in their order."""
    if isinstance(x, Number):
        return _collect([((), x.data[0])])
    if isinstance(x, Leaf) and x.kind == "constant" and x.name == "0":
        return {}
    if isinstance(x, Leaf) and x.formula:
        return _terms(x.formula)  # a name for a formula is another way to write it
    if isinstance(x, Neg):
        return {k: -n for k, n in _terms(x.children[0]).items()}
    if isinstance(x, Add):
        return _collect(item for c in x.children for item in _terms(c).items())
    if isinstance(x, Mul):
        return _product(x)
    if isinstance(x, Power) and not x.children[0].value().free_symbols:
        return _collect([((), x.value()[0])])
    if isinstance(x, Transpose):
        if x.shape == (1, 1):
            return _terms(x.children[0])
        return _collect((_turned(k), n) for k, n in _terms(x.children[0]).items())
    if isinstance(x, At) and x.children[1] == x.children[2]:
        return _terms(x.children[0])
    if isinstance(x, Integral) and repr(x.children[2].key) > repr(x.children[3].key):
        inner, t, start, end = x.children
        return {k: -n for k, n in _terms(Integral(inner, t, end, start)).items()}
    if isinstance(x, (At, Total, Integral)):  # linear in the first child; the others tell them apart
        rest = tuple(c.key for c in x.children[1:])
        return _collect((((k, rest),), n) for k, n in _terms(x.children[0]).items())
    inside = tuple(_frozen(_terms(c)) for c in x.children)
    return {((type(x).__name__, str(x.data), inside),): sp.S.One}


def _collect(items):
    found = {}
    for factors, number in items:
        found[factors] = found.get(factors, 0) + number
    return {k: n for k, n in found.items() if n != 0}


def _product(x):
    number, scalars, factors = sp.S.One, (), ()
    for child in x.children:
        terms = _terms(child)
        if not terms:
            return {}
        if len(terms) == 1:
            ((key, n),) = terms.items()
        else:  # a sum as a factor: take a number out, so that (2a + 2b) and -(a + b) agree
            n = _frozen(terms)[0][1]
            key = (("Add", _frozen({k: m / n for k, m in terms.items()})),)
        number = number * n
        if child.shape == (1, 1):
            scalars += key if len(key) == 1 else (("Mul", key),) if key else ()
        else:
            factors += key
    if x.shape == (1, 1) and factors:
        factors = min(factors, _transposed(factors), key=repr)
    return {(*sorted(scalars, key=repr), *factors): number}


def _turned(factors):
    """A term transposed. That a product turns round is a law and not only another way to write."""
    if len(factors) == 1 and factors[0][0] == "T of a product":
        return factors[0][1]
    return _transposed(factors) if len(factors) < 2 else (("T of a product", factors),)


def _transposed(factors):
    return tuple(f[1] if f[0] == "T" else ("T", f) for f in reversed(factors))
