"""A trace that is kept: pulled back with many covectors, pushed along a direction, or in part."""

from collections.abc import Callable

import numpy as np
from autograd.core import VJPNode, add_outgrads, primitive_jvps, primitive_vjps, vspace
from autograd.tracer import Node, notrace_primitives, toposort

from adjode.vjp import run_traced


class Recorded(Node):
    """A node that keeps what was called, so that a VJP is made for the arguments asked for only."""

    __slots__ = ["argnums", "call", "parents"]

    def __init__(self, value, fun, args, kwargs, parent_argnums, parents):
        self.call, self.argnums, self.parents = (fun, value, args, kwargs), parent_argnums, parents

    def initialize_root(self):
        self.call, self.argnums, self.parents = None, (), ()


notrace_primitives[Recorded] = notrace_primitives[VJPNode]  # shapes, comparisons: as ever


class Tape:
    """What a function did, from its value back to its arguments.

    ``tape(v, n)`` gives the rows of the first n arguments alone, and leaves out what only the others
    need; without n, those of all. The derivatives of elementwise functions are computed once for all
    covectors.
    """

    def __init__(self, roots: list, args: list, end: Node | None, calls: dict):
        self.roots, self.args, self.end = roots, args, end
        self.calls = calls  # of each node, from the value to the arguments
        self.steps: dict = {}  # by n
        self.vjps: dict = {}

    @property
    def held(self) -> int:
        """How many numbers are kept."""
        return sum(np.size(value) for _, value, *_ in self.calls.values())

    def __call__(self, v, n: int | None = None) -> list:
        if n not in self.steps:
            self.steps[n] = self.way_back(self.roots[:n])
        rows = {self.end: (v, False)}
        for node, parents, vjp in self.steps[n]:
            for parent, part in zip(parents, vjp(rows.pop(node)[0]), strict=True):
                rows[parent] = add_outgrads(rows.get(parent), part)
        pairs = zip(self.roots[:n], self.args, strict=False)
        return [rows[root][0] if root in rows else vspace(x).zeros() for root, x in pairs]

    def way_back(self, wanted: list) -> list:
        """From the value on: the nodes on the way to some arguments, where they lead, and how."""
        live, steps = set(wanted), []
        for node in reversed(self.calls):
            if not live.isdisjoint(node.parents):
                live.add(node)
        for node in self.calls:
            if node in live:
                pairs = zip(node.argnums, node.parents, strict=True)
                argnums, parents = zip(*(pair for pair in pairs if pair[1] in live), strict=True)
                steps.append((node, parents, self.vjp(node, argnums)))
        return steps

    def vjp(self, node: Recorded, argnums: tuple) -> Callable:
        if (node, argnums) not in self.vjps:
            self.vjps[node, argnums] = vjp_of(argnums, *self.calls[node])
        return self.vjps[node, argnums]

    def along(self, directions: list) -> np.ndarray:
        """The derivative of the value along directions, one for each argument: in its shape, or None for
        none. Raises KeyError where nothing leads there, or autograd has no rule for that."""
        pairs = zip(self.roots, directions, strict=True)
        moved = {root: direction for root, direction in pairs if direction is not None}
        for node, (fun, value, args, kwargs) in reversed(self.calls.items()):
            pairs = zip(node.argnums, node.parents, strict=True)
            known = [(i, moved[parent]) for i, parent in pairs if parent in moved]
            if not known:
                continue
            argnums, gs = zip(*known, strict=True)
            if elementwise(fun.fun, args) and all(map(np.isrealobj, (value, *args))) and not kwargs:
                (moved[node],) = self.vjp(node, argnums)(*gs)
            else:
                moved[node] = primitive_jvps[fun](argnums, gs, value, args, kwargs)
        return moved[self.end]

    def part(self, pick: Callable) -> "Tape":
        """The same way of those entries alone that `pick` takes out of each array of the trace: right
        where f treats them apart, which is for the caller to know, or to see."""
        calls = {node: (fun, pick(value), tuple(map(pick, args)), kwargs)
                 for node, (fun, value, args, kwargs) in self.calls.items()}  # fmt: skip
        return Tape(self.roots, [pick(x) for x in self.args], self.end, calls)


def record(fun: Callable, *args) -> tuple:
    """The value of fun, its tape, and how many numbers that holds."""
    roots = [Recorded.new_root() for _ in args]
    value, end = run_traced(roots, fun, args)
    order = toposort(end) if end else ()
    tape = Tape(roots, list(args), end, {node: node.call for node in order if node.call})
    return value, tape, tape.held


def elementwise(fun, args) -> bool:
    return isinstance(fun, np.ufunc) and len(args) == 1


def vjp_of(argnums, primitive, value, args, kwargs) -> Callable:
    """autograd's own; for an elementwise function its derivative, once, and then products; and for a
    product with a matrix the transposed one, without the questions that autograd asks each time."""
    vjp, fun = primitive_vjps[primitive](argnums, value, args, kwargs), primitive.fun
    if kwargs or not np.isrealobj(value):
        return vjp
    if elementwise(fun, args):
        (slope,) = vjp(np.ones(np.shape(value)))
        return lambda v: (v * slope,)
    if fun in (np.matmul, np.dot):
        left, right = (np.ndim(x) for x in args)
        if argnums == (0,) and left > 0 and right == 2:
            transposed = np.asarray(args[1]).T
            return lambda v: (np.matmul(v, transposed),)
        if argnums == (1,) and left == 2 and right in (1, 2):
            transposed = np.asarray(args[0]).T
            return lambda v: (np.matmul(transposed, v),)
    return vjp
