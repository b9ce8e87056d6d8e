"""Wrong versions of an equation: what a check must refuse.

A version is a single edit of what the author wrote: a term with its sign flipped, left out or
doubled, a matrix factor transposed, a partial derivative in the place of a total one or the other
way round.
"""

from receipts.tree import Add, Leaf, Mul, Neg, Partial, ShapeError, Total, Transpose, node


class Version:
    """One edited tree, with what was done to which part (``text`` for people, ``latex`` for pages)."""

    def __init__(self, tree, action, part):
        self.tree, self.action = tree, action
        self.text, self.latex = f"{action}: {part.text()}", part.latex()


def versions(tree):
    """All single edits of a tree that differ from it and have its shape."""
    seen = {tree.key}
    for v in _edits(tree, root=True):
        if v.tree.key not in seen and v.tree.shape == tree.shape:
            seen.add(v.tree.key)
            yield v


def _edits(x, root=False):
    if root and not isinstance(x, Add):
        yield from _term_edits([x], 0)
    if isinstance(x, Add):
        for i in range(len(x.children)):
            yield from _term_edits(list(x.children), i)
    if _is_square(x) and not isinstance(x, (Transpose, Add)):
        yield Version(Transpose(x), "transposed", x)
    if isinstance(x, Transpose):
        yield Version(x.children[0], "not transposed", x.children[0])
    yield from _other_derivative(x)
    if isinstance(x, (Partial, Leaf)):
        return
    yield from _inside(x, _edits)


def _inside(x, edits):
    """The edits of each child, in the place where it stands."""
    for i, child in enumerate(x.children):
        for v in edits(child):
            if isinstance(x, Transpose) and isinstance(v.tree, Transpose):
                continue  # transposed twice
            try:
                edited = x.rebuild([*x.children[:i], v.tree, *x.children[i + 1 :]])
            except (ShapeError, ValueError, TypeError):
                continue  # the shapes refuse this version before any value does
            yield _renamed(v, edited)


def swaps(x):
    """Products with two neighbouring factors the other way round, where that makes a difference."""
    if isinstance(x, Mul):
        for i in range(len(x.children) - 1):
            left, right = x.children[i : i + 2]
            try:
                swapped = Mul(*x.children[:i], right, left, *x.children[i + 2 :])
            except ShapeError:
                continue
            if swapped.shape == x.shape and swapped.value() != x.value():
                yield Version(swapped, "factors swapped", x)
    if not isinstance(x, (Partial, Leaf)):
        yield from _inside(x, swaps)


def _term_edits(terms, i):
    term = terms[i]
    for action, new in (("sign flipped", _flip(term)), ("dropped", None), ("doubled", node(2) * term)):
        rest = [*terms[:i], *([] if new is None else [new]), *terms[i + 1 :]]
        if not rest:
            rest = [node(0) * term]
        yield Version(Add(*rest) if len(rest) > 1 else rest[0], action, _unsigned(term))


def _unsigned(term):
    return term.children[0] if isinstance(term, Neg) else term


def _flip(term):
    return term.children[0] if isinstance(term, Neg) else Neg(term)


def _is_square(x):
    """A matrix whose transpose is another matrix; of a product, the factors are tried instead."""
    if isinstance(x, (Mul, Neg)) or x.shape[0] != x.shape[1]:
        return False
    return x.value() != x.value().T


def _other_derivative(x):
    if isinstance(x, Partial) and len(x.children) == 2:
        f, slot = x.children
        if isinstance(f, Leaf) and isinstance(slot, Leaf) and slot.kind == "var":
            other = Total(f, slot)
            if other.value() != x.value():
                yield Version(other, "total derivative in the place of the partial", x)
    if isinstance(x, Total) and isinstance(x.children[0], Leaf):
        f, y = x.children
        if any(a.key == y.key for a in f.args) and Partial(f, y).value() != x.value():
            yield Version(Partial(f, y), "partial derivative in the place of the total", x)


def _renamed(version, tree):
    new = object.__new__(Version)
    new.tree, new.action, new.text, new.latex = tree, version.action, version.text, version.latex
    return new
