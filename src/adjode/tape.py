"""A trace that is kept: pulled back with many covectors, pushed along a direction, or in part."""

from collections import Counter
from collections.abc import Callable
from functools import cached_property

import autograd.numpy as anp
import numpy as np
from autograd.core import VJPNode, add_outgrads, primitive_jvps, vspace
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, concatenate_args
from autograd.tracer import Node, notrace_primitives, toposort

from adjode.apart import keeps_apart
from adjode.rules import elementwise, is_autograds, vjp_of, whole
from adjode.vjp import run_traced


class Recorded(Node):
    """A node that keeps what was called, so that a VJP is made for the arguments asked for only."""

    __slots__ = ["argnums", "call", "parents"]

    def __init__(self, value, fun, args, kwargs, parent_argnums, parents):
        self.call, self.argnums, self.parents = (fun, value, args, kwargs), parent_argnums, parents

    def initialize_root(self):
        self.call, self.argnums, self.parents = None, (), ()


LINEAR = {  # in each argument that may be moved
    anp.multiply, anp.matmul, anp.dot, ArrayBox.__getitem__, _array_from_scalar_or_array,
}  # fmt: skip
PRODUCTS = (anp.dot, anp.matmul)  # whose values are new arrays
notrace_primitives[Recorded] = notrace_primitives[VJPNode]  # shapes, comparisons: as ever


class Tape:
    """What a function did, from its value back to its arguments.

    ``tape(v, n)`` gives the rows of the first n arguments alone, and leaves out what only the others
    need; without n, those of all. A covector v that is the same along an axis may have one entry there.
    The derivatives of elementwise functions are computed once for all covectors.
    """

    def __init__(self, roots: list, args: list, end: Node | None, calls: dict):
        self.roots, self.args, self.end = roots, args, end
        self.calls = calls  # of each node, from the value to the arguments
        self.steps: dict = {}  # by n
        self.vjps: dict = {}
        self.rules: dict = {}  # of a node, by argument

    @property
    def held(self) -> int:
        """How many numbers are kept."""
        return sum(np.size(value) for _, value, *_ in self.calls.values())

    @cached_property
    def read(self) -> Counter:
        """How often other nodes read the value of each."""
        return Counter(parent for node in self.calls for parent in node.parents)

    def __call__(self, v, n: int | None = None) -> list:
        if n not in self.steps:
            self.steps[n] = self.way_back(self.roots[:n])
        rows, shape = {self.end: (v, False)}, np.shape(v)
        small = shape != getattr(self.value(self.end), "shape", shape)
        for node, parents, vjp, new in self.steps[n]:
            for parent, part in zip(parents, vjp(*rows.pop(node)), strict=True):
                if small and parent in rows:
                    value, (before, ours) = self.value(parent), rows[parent]
                    rows[parent], part = (whole(before, value), ours), whole(part, value)
                rows[parent] = added(rows.get(parent), part, new)
        pairs = zip(self.roots[:n], self.args, strict=False)
        return [whole(rows[root][0], x) if root in rows else vspace(x).zeros() for root, x in pairs]

    def value(self, node: Node):
        """What the node stands for."""
        if node in self.calls:
            return self.calls[node][1]
        return dict(zip(self.roots, self.args, strict=True)).get(node)

    def way_back(self, wanted: list) -> list:
        """From the value on: the nodes on the way to some arguments, where they lead, how, and whether what
        comes there is new."""
        live, steps = set(wanted), []
        for node in reversed(self.calls):
            if not live.isdisjoint(node.parents):
                live.add(node)
        for node in self.calls:
            if node in live:
                argnums, parents = node.argnums, node.parents
                if not live.issuperset(parents):
                    pairs = zip(argnums, parents, strict=True)
                    argnums, parents = zip(*(pair for pair in pairs if pair[1] in live), strict=True)
                fun = self.calls[node][0]
                new = fun in PRODUCTS and is_autograds(fun)
                steps.append((node, parents, self.vjp(node, argnums), new))
        return steps

    def vjp(self, node: Recorded, argnums: tuple) -> Callable:
        if (node, argnums) not in self.vjps:
            known = self.rules.setdefault(node, {})
            self.vjps[node, argnums] = vjp_of(argnums, *self.calls[node], known)
        return self.vjps[node, argnums]

    def along(self, directions: list) -> np.ndarray:
        """The derivative of the value along directions, one for each argument: in its shape, or None for
        none. Raises KeyError where nothing leads there, or autograd has no rule for that."""
        pairs = zip(self.roots, directions, strict=True)
        moved = {root: direction for root, direction in pairs if direction is not None}
        spare: dict = {}  # products that are read once: what comes next may be put in their place
        for node, (fun, value, *_) in reversed(self.calls.items()):
            pairs = zip(node.argnums, node.parents, strict=True)
            known = [(i, moved[parent]) for i, parent in pairs if parent in moved]
            if known:
                places = (spare[parent] for parent in node.parents if parent in spare)
                fits = (x for x in places if x.shape == np.shape(value) and x.dtype == value.dtype)
                out = next(fits, None)
                found = moved[node] = self.move(node, known, out)
                new = fun in PRODUCTS and is_autograds(fun) and isinstance(found, np.ndarray)
                if (new or found is out) and self.read[node] == 1:
                    spare[node] = found
        return moved[self.end]

    def move(self, node: Node, known: list, out: np.ndarray | None) -> np.ndarray:
        """Of a node, from those of some arguments, (i, move): in the place `out`, if that can be."""
        fun, value, args, kwargs = self.calls[node]
        argnums, gs = zip(*known, strict=True)
        if fun in LINEAR and is_autograds(fun) and not kwargs:
            parts = [fun.fun(*args[:i], g, *args[i + 1 :]) for i, g in known]
            return sum(parts[1:], parts[0])
        if fun.fun in (np.add, np.subtract) and is_autograds(fun) and not kwargs:
            if len(gs) == 2:
                return fun.fun(*gs, out=out)
            g = -gs[0] if argnums == (1,) and fun.fun is np.subtract else gs[0]
            return np.broadcast_to(g, np.shape(value))
        if fun is concatenate_args and is_autograds(fun):
            rest = {i: np.zeros_like(x) for i, x in enumerate(args) if i and i not in argnums}
            return fun.fun(args[0], *(x for _, x in sorted((rest | dict(known)).items())))
        if elementwise(fun.fun, args) and all(map(np.isrealobj, (value, *args))) and not kwargs:
            self.vjp(node, argnums)  # makes the rule, if need be
            return self.rules[node][0](*gs, out)
        return primitive_jvps[fun](argnums, gs, value, args, kwargs)

    def apart(self, n: int, axis: int = 0) -> bool:
        """Whether it is plain from what was called that each of the n places of the value along an axis, 0
        or -1, depends on that place of the first argument alone."""
        moved = {self.roots[0]}
        for node, (fun, value, args, kwargs) in reversed(self.calls.items()):
            where = [i for i, parent in zip(node.argnums, node.parents, strict=True) if parent in moved]
            if where and not keeps_apart(fun, value, args, kwargs, where, n, axis):
                return False
            moved.update([node] if where else [])
        return True

    def part(self, pick: Callable) -> "Tape":
        """The same way of those entries alone that `pick` takes out of each array of the trace: right
        where f treats them apart, which is for the caller to know, or to see."""
        calls = {node: (fun, pick(value), tuple(map(pick, args)), kwargs)
                 for node, (fun, value, args, kwargs) in self.calls.items()}  # fmt: skip
        return Tape(self.roots, [pick(x) for x in self.args], self.end, calls)


def added(row: tuple | None, part, new: bool) -> tuple:
    """`add_outgrads`, a sum and whether it is ours to write to, without its questions about plain arrays;
    what is new is ours."""
    if type(part) is not np.ndarray or (row and type(row[0]) is not np.ndarray):
        return add_outgrads(row, part)
    if row is None:
        return part, new
    value, ours = row
    place = value if ours and value.dtype == part.dtype else None
    return np.add(value, part, out=place), True


def record(fun: Callable, *args) -> tuple:
    """The value of fun, its tape, and how many numbers that holds."""
    roots = [Recorded.new_root() for _ in args]
    value, end = run_traced(roots, fun, args)
    order = toposort(end) if end else ()
    tape = Tape(roots, list(args), end, {node: node.call for node in order if node.call})
    return value, tape, tape.held
