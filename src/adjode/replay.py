"""f without its tracer: what it does to t and z is noted once, and done again at every stage.

autograd's functions ask of each argument whether it is traced, before they do anything. On small states
that question is most of what f costs.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

import autograd.numpy as anp
import numpy as np
from autograd.core import primitive_vjps
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, array_from_args, concatenate_args
from autograd.tracer import Box, isbox, toposort

from adjode.problem import GradientError, InitialValueProblem
from adjode.solve import Replay, solve
from adjode.tape import Recorded
from adjode.trajectory import Trajectory
from adjode.vjp import run_traced

OPERATORS = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.power: "**", np.matmul: "@",
}  # fmt: skip
ARRAYS = {array_from_args: "({},)", _array_from_scalar_or_array: "{}"}  # both are called by anp.array
FILLED = (anp.zeros_like, anp.ones_like)
SAMPLED = 6  # nodes at which f is asked whether it is still what was noted


class Noted(Recorded):
    """A node for comparisons, too; but not for what has another shape where z has other values, or may
    have. An f that does such things raises here, and is left alone."""

    __slots__ = ()

    def __init__(self, value, fun, args, kwargs, parent_argnums, parents):
        if not keeps_shape(fun, args, parent_argnums):
            raise TypeError(f"{fun.__name__} may return another shape for other values")
        super().__init__(value, fun, args, kwargs, parent_argnums, parents)


def keeps_shape(fun: Callable, args: tuple, argnums: tuple) -> bool:
    """Whether it is sure that fun returns the same shape for other values of these arguments."""
    kinds = {np.asarray(args[i]).dtype.kind for i in argnums}
    if isinstance(fun.fun, np.ufunc):
        return True
    if fun is ArrayBox.__getitem__:
        return "b" not in kinds
    if fun.fun is np.where:
        return len(args) == 3
    return not kinds & set("biu") and (fun in primitive_vjps or fun in FILLED)


def truth(box: Box) -> bool:
    """autograd's own, but of what is noted: the branch that f takes is not that of other states."""
    if isinstance(box._node, Noted):
        raise TypeError("f asks for the truth of what depends on t or z")
    return bool(box._value)


Box.__bool__ = truth  # once and for all: others may trace in other threads


def solve_replayed(problem: InitialValueProblem, **options) -> Trajectory:
    """As `solve`, to the last bit; the trajectory says by what f was replayed, if it was.

    No note is made of an f that compares and chooses, or counts entries. One that looks into traced
    values, or keeps something from call to call, may escape: `confirmed` and `Sweep` look for it. Errors
    are those of `solve`, with f.
    """
    with suppress(Exception):  # whatever it is, f itself says it better
        flat = replayed(problem) if problem.z0.size else None
        found = flat and solve(replace(problem, f=Replay(problem.f, flat)), **options)
        if found and confirmed(problem, flat, found):
            return replace(found, replayed=flat)
    return solve(problem, **options)


def replayed(problem: InitialValueProblem) -> Callable | None:
    """What f does at the start, to any t and flat z; or None."""
    roots, end, shape = [Noted.new_root(), Noted.new_root()], None, problem.z0.shape
    f = lambda t, z: problem.f(t, z, problem.theta)
    with suppress(Exception), np.errstate(all="ignore"):
        value, end = run_traced(roots, f, (problem.t0, problem.z0))
    if end is None or not isinstance(value, np.ndarray | np.float64) or np.shape(value) != shape:
        return None
    nodes = [node for node in reversed(list(toposort(end))) if node.call]
    names = dict(zip(roots, "tz", strict=True)) | {node: f"v{i}" for i, node in enumerate(nodes)}
    constants: list = []
    lines = [f"{names[node]} = {said(node, names, constants)}" for node in nodes]
    if value.dtype != float or any(map(isbox, constants)):  # f captures a traced value
        return None
    if len(shape) != 1:
        lines = [f"z = z.reshape({shape})", *lines, f"{names[end]} = {names[end]}.ravel()"]
    return compiled(len(constants), (*lines, f"return {names[end]}"))(*constants)


def said(node: Noted, names: dict, constants: list) -> str:
    """The call of a node in Python; what does not depend on t and z joins the constants."""

    def constant(x) -> str:
        constants.append(x)
        return f"c{len(constants) - 1}"

    (fun, _, args, kwargs), known = node.call, dict(zip(node.argnums, node.parents, strict=True))
    words = [names[known[i]] if i in known else constant(x) for i, x in enumerate(args)]
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


@lru_cache(32)
def compiled(constants: int, lines: tuple) -> Callable:
    """The function that takes the constants, and returns that of t and z."""
    head = f"def given({', '.join(f'c{i}' for i in range(constants))}):\n    def flat(t, z):\n"
    body = "".join(f"        {line}\n" for line in lines)
    scope = {"array": np.array, "concatenate": np.concatenate}
    exec(compile(f"{head}{body}    return flat", "<f, replayed>", "exec"), scope)
    return scope["given"]


def confirmed(problem: InitialValueProblem, flat: Callable, found: Trajectory) -> bool:
    """Whether f has the same values at a few of the nodes."""
    some = np.linspace(0, len(found.ts) - 1, SAMPLED).astype(int)
    ts, zs = found.ts[some].tolist(), found.zs[some]
    with np.errstate(all="ignore"):
        values = [problem.f(t, z, problem.theta) for t, z in zip(ts, zs, strict=True)]
        return same(flat, ts, zs, values)


def same(flat: Callable, ts, zs, values) -> bool:
    """Whether f has these values at these nodes, to the last bit, when it is replayed."""
    nodes = zip(ts, zs, values, strict=True)
    return all(np.array_equal(flat(t, np.ravel(z)), np.ravel(value)) for t, z, value in nodes)


def refuse_other(flat: Callable, ts, zs, values) -> None:
    if not same(flat, ts, zs, values):
        raise GradientError(
            "f has other values than it should by what it does at the start: it looks into what autograd "
            "traces, say at `._value`, or keeps something from call to call. Use autograd.numpy.where for "
            "what depends on t or z"
        )
