"""f without its tracer: what it does to t and z is noted once, and done again at every stage.

autograd's functions ask of each argument whether it is traced, before they do anything. On small states
that question is most of what f costs.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cache, partial

import autograd.numpy as anp
import numpy as np
from autograd.core import primitive_vjps
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, array_from_args, concatenate_args
from autograd.tracer import Box, toposort

from adjode.batched import Nodes, replays, values_of
from adjode.problem import InitialValueProblem
from adjode.rules import elementwise
from adjode.scalars import compiled, straight
from adjode.solve import Replay, solve
from adjode.tape import Recorded
from adjode.trajectory import Trajectory
from adjode.vjp import run_traced

OPERATORS = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.power: "**",
}  # fmt: skip
ARRAYS = {array_from_args: "({},)", _array_from_scalar_or_array: "{}"}  # both are called by anp.array
FILLED = (anp.zeros_like, anp.ones_like)
SPREAD = set(OPERATORS) - {np.power}  # squares have a way of their own
FEW, MANY = 1000, 2**16  # entries of a value: for more a number, or a row, is not made as large
SAMPLED = 6  # nodes at which f is asked whether it is still what was noted


class Noted(Recorded):
    """A node for comparisons, too; but not for what has another shape where z has other values, or may
    have. An f that does such things raises here, and is left alone: also when it catches that."""

    __slots__ = ["doubts"]

    def __init__(self, value, fun, args, kwargs, parent_argnums, parents):
        self.doubts = parents[0].doubts  # of all nodes of a trace
        if not keeps_shape(fun, args, parent_argnums):
            self.refuse(f"{fun.__name__} may return another shape for other values")
        if type(value) not in Box.type_mappings:
            self.refuse(f"{fun.__name__} returns a {type(value).__name__}")
        super().__init__(value, fun, args, kwargs, parent_argnums, parents)

    def initialize_root(self, doubts: list):
        super().initialize_root()
        self.doubts = doubts

    def refuse(self, why: str):
        self.doubts.append(why)
        raise TypeError(why)


def keeps_shape(fun: Callable, args: tuple, argnums: tuple) -> bool:
    """Whether it is sure that fun returns the same shape for other values of these arguments."""
    if isinstance(fun.fun, np.ufunc):
        return True
    kinds = {np.asarray(args[i]).dtype.kind for i in argnums}
    if fun is ArrayBox.__getitem__:
        return "b" not in kinds
    if fun.fun is np.where:
        return len(args) == 3
    return not kinds & set("biu") and (fun in primitive_vjps or fun in FILLED)


def truth(box: Box) -> bool:
    """autograd's own, but of what is noted: the branch that f takes is not that of other states."""
    if isinstance(box._node, Noted):
        box._node.refuse("f asks for the truth of what depends on t or z")
    return bool(box._value)


Box.__bool__ = truth  # once and for all: others may trace in other threads


def solve_replayed(problem: InitialValueProblem, **options) -> Trajectory:
    """As `solve`, to rounding; the trajectory says by what f was replayed, if it was.

    No note is made of an f that compares and chooses, or counts entries; nor of one that could take the
    first state of a batch, of one entry, for an entry of a state. On the way back every stage is held against
    f: in a batch, or one by one. Errors are those of `solve`, with f.
    """
    with suppress(Exception):  # whatever it is, f itself says it better
        flat = replayed(problem) if problem.z0.size and problem.z0.shape[-1:] != (1,) else None
        if flat:
            quick = copy(problem)  # which is checked already
            object.__setattr__(quick, "f", Replay(problem.f, flat))
            found = solve(quick, **options)
            if confirmed(problem, flat, found):
                return replace(found, replayed=flat)
    return solve(problem, **options)


def replayed(problem: InitialValueProblem) -> Callable | None:
    """What f does at the start, to any t and flat z; or None."""
    doubts, end, shape = [], None, problem.z0.shape
    roots = [Noted.new_root(doubts), Noted.new_root(doubts)]
    f = lambda t, z: problem.f(t, z, problem.theta)
    with suppress(Exception), np.errstate(all="ignore"):
        value, end = run_traced(roots, f, (problem.t0, problem.z0))
    if doubts or end is None or not isinstance(value, np.ndarray | np.float64):
        return None
    if value.dtype != float or value.shape != shape:
        return None
    nodes = [node for node in reversed(list(toposort(end))) if node.call]
    write = cache(partial(written, nodes, roots, end, shape))  # which numbers seldom need
    return straight(nodes, roots, end, problem.z0, lambda t, z: write()(t, z)) or write()


def written(nodes: list, roots: list, end: Noted, shape: tuple) -> Callable:
    """The notes as a function of t and flat z, in NumPy's operations."""
    names, constants, lines = dict(zip(roots, "tz", strict=True)), [], []
    read = Counter(parent for node in nodes for parent in node.parents)
    for i, node in enumerate(nodes):
        place = next((x for x in node.parents if read[x] == 1 and gives_place(x, node.call)), None)
        names[node] = names[place] if place else f"v{i}"
        lines.append(f"{names[node]} = {said(node, names, constants)}")
    if len(shape) != 1:
        lines = [f"z = z.reshape({shape})", *lines, f"{names[end]} = {names[end]}.ravel()"]
    lines += [f"if {names[end]}.dtype is not FLOAT:", "    raise TypeError", f"return {names[end]}"]
    return compiled("t, z", len(constants), tuple(lines))(*constants)


def gives_place(node: Noted, call: tuple) -> bool:
    """Whether the value of a call may be put in the place of a node that it alone reads: it is done entry by
    entry, and the place is as large, and no view of another."""
    fun, value, args, kwargs = call
    if node.call is None or kwargs or (fun.fun not in SPREAD and not elementwise(fun.fun, args)):
        return False
    made, place, terms, _ = node.call
    new = made.fun in (np.dot, np.matmul, *OPERATORS) or elementwise(made.fun, terms)
    arrays = type(place) is type(value) is np.ndarray
    return new and arrays and place.shape == value.shape and place.dtype == value.dtype


def said(node: Noted, names: dict, constants: list) -> str:
    """The call of a node in Python, with the place of its value if that is where an argument was; what does
    not depend on t and z joins the constants."""

    def constant(x) -> str:
        constants.append(x)
        return f"c{len(constants) - 1}"

    (fun, value, args, kwargs), known = node.call, dict(zip(node.argnums, node.parents, strict=True))
    fixed = (lambda x: constant(spread(x, value))) if fun.fun in SPREAD else constant
    words = [names[known[i]] if i in known else fixed(x) for i, x in enumerate(args)]
    plain = not kwargs and all(isinstance(x, np.ndarray) and x.ndim in (1, 2) for x in args)
    if fun.fun in (np.matmul, np.dot) and plain:
        return f"{words[0]}.dot({words[1]})"  # the fastest of them, to rounding the same
    if names[node] in words:
        return f"{constant(fun.fun)}({', '.join(words)}, {names[node]})"
    if fun.fun in OPERATORS and len(words) == 2 and not kwargs:
        return f" {OPERATORS[fun.fun]} ".join(words)
    if fun is ArrayBox.__getitem__:
        return f"{words[0]}[{words[1]}]"
    if fun is concatenate_args:
        return f"concatenate(({', '.join(words[1:])},), {words[0]})"
    if fun in ARRAYS and args[:2] == ((), {}):
        return f"array({ARRAYS[fun].format(', '.join(words[2:]))})"
    words += [f"{key}={constant(x)}" for key, x in kwargs.items()]
    return f"{constant(fun.fun)}({', '.join(words)})"


def spread(x, value):
    """A number or a row in the shape of the value, if that is small: NumPy takes longer to broadcast a few
    numbers than to add them, and twice as long to broadcast a row, or more."""
    plain = isinstance(value, np.ndarray) and value.ndim and value.dtype == float
    most = MANY if np.ndim(x) else FEW
    if not plain or value.size > most or np.asarray(x).dtype.kind not in "biuf":
        return x
    found = np.empty_like(value)  # and in the order of the value
    found[...] = x
    return found


def confirmed(problem: InitialValueProblem, flat: Callable, found: Trajectory) -> bool:
    """Whether f has the same values at a few of the nodes."""
    last, parts = len(found.ts) - 1, range(1, SAMPLED + 1)
    some = sorted({last * i // SAMPLED for i in parts})  # not at t0, where it was noted
    zs = found.zs[some].reshape(len(some), 1, -1)
    nodes = Nodes(found.ts[some, None], zs, zs, np.full(len(some), found.ts[-1] - found.ts[0]))
    with np.errstate(all="ignore"):
        return replace(nodes, ks=values_of(problem, nodes)).agree(replays(flat, nodes))
