"""theta as a nest of floats and arrays, and as one vector; plain or traced by autograd."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox


def untraced(x: Any) -> Any:
    """The plain value below every layer of tracing."""
    while isbox(x):
        x = x._value
    return x


def children(tree: Any) -> list | None:
    """The entries of a list, tuple or dict; None for a leaf."""
    if isinstance(tree, np.ndarray):  # most leaves are
        return None
    plain = untraced(tree)
    if isinstance(plain, dict):
        return [tree[key] for key in plain]
    return [tree[i] for i in range(len(plain))] if isinstance(plain, list | tuple) else None


def leaves(tree: Any) -> list:
    """Floats and arrays of a nest, left to right."""
    entries = children(tree)
    return [tree] if entries is None else [leaf for entry in entries for leaf in leaves(entry)]


def rebuild(tree: Any, new: Sequence) -> Any:
    """The nest `tree`, in plain containers, with its leaves replaced left to right by `new`."""
    return filled(tree, iter(new))


def filled(tree: Any, queue: Iterator) -> Any:
    """`rebuild` from an iterator. Not a closure that calls itself: such a one is a cycle, and would
    hold the traces that it fills in until the next collection."""
    plain, entries = untraced(tree), children(tree)
    if entries is None:
        return next(queue)
    new = [filled(entry, queue) for entry in entries]
    if isinstance(plain, dict):
        return dict(zip(plain, new, strict=True))
    return type(plain)(*new) if hasattr(plain, "_fields") else type(plain)(new)


def flatten(tree: Any) -> tuple[Any, Callable]:
    """theta -> theta as a vector of shape (P,), and the way back to the structure of `tree`."""
    parts = leaves(tree)
    skeleton, shapes = rebuild(tree, [None] * len(parts)), [np.shape(untraced(part)) for part in parts]
    ends = [0, *accumulate(map(math.prod, shapes))]

    def unflatten(vector):
        new = [anp.reshape(vector[i:j], shape) if shape else vector[i]
               for (i, j), shape in zip(pairwise(ends), shapes, strict=True)]  # fmt: skip
        return rebuild(skeleton, new)

    return anp.concatenate([np.zeros(0), *map(anp.ravel, parts)]), unflatten
