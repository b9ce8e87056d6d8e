"""A field on many nodes at once: one trace, pulled back with any number of covectors.

A field is written for one state. Many a field takes a batch too, in a layout of its own. A layout
is used when f has the values there that the solver stored, and the derivatives of a single state.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from adjode.problem import InitialValueProblem, OtherValues, read_only
from adjode.structure import flatten, leaves, rebuild
from adjode.tableau import ButcherTableau
from adjode.tape import Tape, record
from adjode.trajectory import Trajectory
from adjode.vjp import adjoint_pullback, flat

CLOSE = 1e-12  # two ways to the same number: rounding, with a margin of a few thousand
NONE = 1e-300  # numbers below 1e-308 have few digits: what differs by so little does not differ

# glibc gives every freed block back to the system, and asks for its pages again at the next call,
# until it has seen a larger one freed: this one, 16 MB that are never touched.
np.empty(2**21)


@dataclass(frozen=True)
class Layout:
    """How n nodes are handed to f."""

    merged: bool = False  # z as (n * d0, d1, ...) rather than (n, d0, d1, ...)
    last: bool = False  # z as (d0, d1, ..., n)
    clock: bool = False  # t in the shape that multiplies z, rather than (n,)
    columns: bool = False  # vectors of theta, (m,), as (m, 1)

    def columns_of(self, theta: Any) -> list:
        """The leaves of theta, as f gets them."""
        return [x[:, None] if self.columns and np.ndim(x) == 1 else x for x in leaves(theta)]


LAYOUTS = (
    Layout(merged=True, clock=True),  # the rows of z are cases of one kind
    Layout(clock=True),  # t * anp.dot(z, w) + b
    Layout(),  # t * z[..., 0]
    Layout(last=True),  # t * z[0], t * anp.dot(w, z)
    Layout(last=True, columns=True),  # anp.dot(w, z) + b
)


@dataclass(frozen=True)
class Nodes:
    """The stages of consecutive steps, without those that do not count."""

    ts: np.ndarray  # (steps, s)
    zs: np.ndarray  # (steps, s, D), the states Z_i
    ks: np.ndarray  # (steps, s, D), f there
    hs: np.ndarray  # (steps,)
    beside: tuple = ()  # times (m,) and states (m, D) where f is traced too, its values being unknown

    def step(self, n: int) -> "Nodes":
        """Those of one step."""
        return Nodes(*(part[n : n + 1] for part in (self.ts, self.zs, self.ks, self.hs)))

    def flat(self) -> tuple:
        """Times, states and values, without the steps."""
        return self.ts.ravel(), *(x.reshape(self.ts.size, -1) for x in (self.zs, self.ks))

    def places(self) -> tuple:
        """Times and states of the stages, and then those beside."""
        ts, zs, _ = self.flat()
        more, states = self.beside or (ts[:0], zs[:0])
        return np.concatenate([ts, more]), np.concatenate([zs, states])

    def agree(self, values: np.ndarray) -> bool:
        """Whether values (steps * s + m, D) are the stored ones. Rounding is relative to f, and to z
        over a step, which is what f may be a small difference of: in each step by itself."""
        f_size, z_size = (np.abs(x).max(axis=(1, 2)) for x in (self.ks, self.zs))
        scale = f_size + z_size / np.abs(self.hs)
        return close(values[: self.ts.size].reshape(self.ks.shape), self.ks, scale[:, None, None])


def stage_nodes(problem: InitialValueProblem, trajectory: Trajectory, first: int, last: int) -> Nodes:
    """The stages of the steps from node `first` to node `last`."""
    kept, ts = stages_that_count(trajectory.tableau), trajectory.ts[first:last]
    a, c = trajectory.tableau.a[np.ix_(kept, kept)], trajectory.tableau.c[kept]
    k, hs = trajectory.stages[first:last, kept], trajectory.hs[first:last]
    zs = trajectory.zs[first:last].reshape(len(hs), 1, -1) + hs[:, None, None] * (a @ k)
    ts = ts[:, None] + hs[:, None] * c
    nodes = Nodes(ts, zs, k, hs)
    if trajectory.tableau.implicit:  # f at the Z_i is k_i but for what Newton's iteration left
        nodes = replace(nodes, ks=values_of(problem, nodes))
        if trajectory.replayed:
            refuse_other(nodes, replays(trajectory.replayed, nodes))
    return nodes


def values_of(problem: InitialValueProblem, nodes: Nodes) -> np.ndarray:
    """f there, (steps, s, D), one by one."""
    f = lambda t, z: problem.f(t, read_only(z.reshape(problem.z0.shape)), problem.theta)
    return replays(f, nodes)


def replays(flat: Callable, nodes: Nodes) -> np.ndarray:
    """flat(t, z) there, (steps, s, D), one by one."""
    ts, zs, _ = nodes.flat()
    return np.reshape([flat(t, z) for t, z in zip(ts.tolist(), zs, strict=True)], nodes.zs.shape)


def refuse_other(nodes: Nodes, values: np.ndarray) -> None:
    """What took the place of f must have its values."""
    if not nodes.agree(values):
        raise OtherValues(
            "f has other values than it should by what it does at the start: it looks into what autograd "
            "traces, say at `._value`, or keeps something from call to call. Use autograd.numpy.where for "
            "what depends on t or z"
        )


@lru_cache
def stages_that_count(tableau: ButcherTableau) -> np.ndarray:
    """Those with a weight b_i, and those that such a one is computed from."""
    counts = tableau.b != 0
    for _ in tableau.b:
        counts = counts | np.any(tableau.a[counts] != 0, axis=0)
    return np.flatnonzero(counts)


def close(found, wanted, scale) -> bool:
    return bool((np.abs(found - wanted) <= CLOSE * scale + NONE).all())  # False when not finite


@dataclass(frozen=True)
class Batch:
    """f on nodes, in one layout."""

    problem: InitialValueProblem
    layout: Layout

    def __call__(self, ts: np.ndarray, zs: np.ndarray) -> tuple[np.ndarray, Callable]:
        """f at times (n,) and flat states (n, D), shape (n, D), and the map `back`.

        ``back(v)`` takes covectors (n, D) to the rows v f_z, shape (n, D), and the sum over the
        nodes of v f_theta, shape (P,); ``back(v, theta=False)`` leaves the sum out. Raises what f
        does when it does not take the layout, and ValueError when its result has another shape.
        """
        return self.trace(ts, zs)[:2]

    def keeps_apart(self, ts: np.ndarray, zs: np.ndarray, back: "Back") -> bool:
        """Whether the derivatives at a node are the same whatever the others are: it is plain from what f
        is made of, or every other node, and the rest, tell the same as all."""
        if back.nodes_apart or len(ts) < 2:
            return back.nodes_apart
        v, thetas = np.random.default_rng(1).normal(size=zs.shape), []
        rows, theta_bar = back(v)
        for some in (slice(0, None, 2), slice(1, None, 2)):
            part, theta_part = self(ts[some], zs[some])[1](v[some])
            if not close(rows[some], part, np.abs(part).max(axis=1, keepdims=True)):
                return False
            thetas.append(theta_part)
        return close(theta_bar, sum(thetas), np.abs([theta_bar, *thetas]).max(axis=0))

    def values(self, ts: np.ndarray, zs: np.ndarray) -> np.ndarray:
        """f there, shape (n, D), without a trace."""
        return self.trace(ts, zs, lambda fun, *args: (fun(*args), None, 0))[0]

    @cached_property
    def seen(self) -> np.ndarray:
        """The parameters, (P,), that have been seen to act at a single state as in the batch."""
        return np.zeros(flat(leaves(self.problem.theta)).size, bool)

    def hold(self, ts: np.ndarray, zs: np.ndarray, back: "Back", theta_bar: np.ndarray) -> None:
        """Whatever parameters act here, as a sum of v f_theta tells, each must do so at a single state as
        well: one may act but for a time, and be zero. Raises ValueError where it does another thing."""
        while (new := (theta_bar != 0) & ~self.seen).any():
            some = flatten(self.problem.theta)[1](new * np.cos(np.arange(new.size)))
            i = int(np.argmax(np.abs(back.along(some)).max(axis=1)))  # where they act most
            v, *one = alone(adjoint_pullback(self.problem), ts, zs, i)
            acts = one[1][2] != 0
            if not like_one(back(v), *one) or not acts[new].any():
                raise ValueError("f has other derivatives in theta for many nodes than for one")
            self.seen[acts] = True

    @cached_property
    def columns(self) -> list:
        """The leaves of theta, as f gets them."""
        return self.layout.columns_of(self.problem.theta)

    @cached_property
    def lengths(self) -> set:
        return lengths(self.problem.z0.shape, leaves(self.problem.theta))

    def trace(self, ts, zs, record=record) -> tuple:
        """The same as a call, and how many numbers the trace holds."""
        problem, layout, shape = self.problem, self.layout, self.problem.z0.shape
        n, m = len(ts), no_accident(len(ts), shape, self.lengths)
        pad = lambda x: np.concatenate([x, np.repeat(x[-1:], m - n, axis=0)]) if m > n else x
        into, out = turns(layout, shape)
        t = np.repeat(pad(ts), shape[0]) if layout.merged else pad(ts).copy()
        t = t.reshape(-1, *[1] * (len(shape) - layout.merged)) if layout.clock else t
        z, t = read_only(into(pad(zs))), read_only(t)
        fun = lambda z, *new: problem.f(t, z, rebuild(problem.theta, new))
        values, tape, held = record(fun, z, *self.columns)
        if np.shape(values) != z.shape:
            raise ValueError(f"f has shape {np.shape(values)} for a batch of shape {z.shape}")
        axis = (-1, 1) if layout.last else (0, shape[0] if layout.merged else 1)
        return out(values)[:n], Back(tape, layout, (into, out), axis, n, m), held


@dataclass(frozen=True)
class Back:
    """From the trace of f at n nodes: rows, or what moves."""

    tape: Tape
    layout: Layout
    turns: tuple  # into the layout, and out of it
    axis: tuple  # of the nodes, and how many places on it each has
    n: int
    m: int  # the nodes of the trace: some may have been added
    last: dict = field(default_factory=dict)  # what `everywhere` found for a row

    def __call__(self, v: np.ndarray, theta: bool = True) -> tuple:
        """v f_z at the nodes, (n, D), for v of that shape; and the sum of v f_theta, (P,), or None. Of
        fewer nodes, the first ones, where v is shorter."""
        into, out = self.turns
        whole = np.concatenate([v, np.zeros((self.m - len(v), v.shape[1]))]) if self.m > len(v) else v
        z_bar, *theta_bars = self.tape(into(whole), None if theta else 1)
        return out(z_bar)[: len(v)], flat(theta_bars) if theta else None

    def everywhere(self, row: np.ndarray) -> np.ndarray:
        """row f_z at the nodes, (n, D), for one row, (D,); at once if it is the same row again."""
        key = row.tobytes()
        if key not in self.last:
            self.last.clear()
            self.last[key] = self.rows_everywhere(row)
        return self.last[key]

    def rows_everywhere(self, row: np.ndarray) -> np.ndarray:
        if self.m > self.n:  # nodes that were added get none
            return self(np.tile(row, (self.n, 1)), theta=False)[0]
        into, out = self.turns
        v = into(row[None])
        if self.layout.merged:  # the cases of one node
            v = v[:1] if np.all(v == v[:1]) else np.tile(v, (self.m, *[1] * (v.ndim - 1)))
        return out(self.tape(v, 1)[0])

    @cached_property
    def nodes_apart(self) -> bool:
        """Whether it is plain from what f is made of that no node is moved by another one; nor one of the
        cases of a node, if these are merged."""
        axis, places = self.axis
        return self.tape.apart(places * self.m, axis)

    def apart(self, blocks: np.ndarray) -> bool:
        """Whether these blocks, (B, d), are all of z, or its rows, and are plainly by themselves."""
        cases = np.arange(blocks.size).reshape(self.axis[1], -1)
        return (len(blocks) == 1 or np.array_equal(blocks, cases)) and self.nodes_apart

    def along(self, w: Any) -> np.ndarray:
        """f_theta w at the nodes, (n, D), for w of the structure of theta."""
        return self.turns[1](self.tape.along([None, *self.layout.columns_of(w)]))[: self.n]

    def of(self, first: int, last: int) -> "Back":
        """The rows of some of the nodes, as if f had been traced there alone: a guess, since of each
        array in the trace an axis that is as long as there are nodes is taken for theirs."""
        axis, places = self.axis
        some = slice(places * first, places * last)
        where = (..., some) if axis == -1 else some
        mine = lambda x: isinstance(x, np.ndarray) and x.ndim and x.shape[axis] == places * self.m
        part = self.tape.part(lambda x: x[where] if mine(x) else x)
        return Back(part, self.layout, self.turns, self.axis, last - first, last - first)


def in_pieces(many: Batch, ts: np.ndarray, zs: np.ndarray, most: int) -> tuple[np.ndarray, Callable]:
    """As ``many(ts, zs)``, with no more than `most` nodes in a trace: where that takes several, each
    covector has f traced again, and nothing is kept."""
    if len(ts) <= most:
        return many(ts, zs)
    pieces = [slice(n, n + most) for n in range(0, len(ts), most)]

    def back(v, theta=True):
        found = [many(ts[some], zs[some])[1](v[some], theta) for some in pieces]
        return np.concatenate([rows for rows, _ in found]), sum(more for _, more in found) if theta else None

    return np.concatenate([many.values(ts[some], zs[some]) for some in pieces]), back


def lengths(shape: tuple, args: list) -> set:
    """How long the axes of z0 and theta are."""
    return {1, *shape, *(size for leaf in args for size in np.shape(leaf))}


def no_accident(n: int, shape: tuple, lengths: set) -> int:
    """n, or more if an axis is as long: f could mix it up with that of the nodes."""
    rows = [1, *shape][:2]
    while any(n * size in lengths for size in rows):
        n += 1
    return n


def turns(layout: Layout, shape: tuple) -> tuple[Callable, Callable]:
    """From (n, D) to the layout, and back."""
    if layout.last:
        into = lambda x: np.ascontiguousarray(x.T).reshape(*shape, len(x))
        return into, lambda x: x.reshape(-1, x.shape[-1]).T
    size, rows = math.prod(shape), shape[1:] if layout.merged else shape
    return lambda x: x.reshape(-1, *rows), lambda x: x.reshape(-1, size)


def batch(problem: InitialValueProblem, trajectory: Trajectory) -> Batch | None:
    """f on many nodes, if there is a layout that holds on the last step of a trajectory with its
    stages stored. Whoever uses it on other nodes compares the values there too: `Nodes.agree`."""
    last = len(trajectory.ts) - 1
    with np.errstate(all="ignore"):
        return find_batch(problem, stage_nodes(problem, trajectory, last - 1, last))[0]


def layouts(problem: InitialValueProblem) -> tuple:
    """Those for a state of this shape: only the rows of a table can be merged."""
    return LAYOUTS[problem.z0.ndim < 2 :]


def find_batch(problem: InitialValueProblem, nodes: Nodes) -> tuple:
    """The first layout in which f has its values at all of the nodes, and at one of them the rows
    of a single state: a `Batch`, with `back` and the size of its trace here; or three times None.

    Values are not enough, also where f plainly leaves the nodes apart: what is multiplied by a parameter
    that is zero, or one of many that are the same, may be something else in a layout that is wrong. A layout
    in which it is plain comes before the others: see `Batch.keeps_apart`.
    """
    pull, (ts, zs), other = adjoint_pullback(problem), nodes.places(), (None, None, None)
    # not in the middle, nor at an end: nodes in another order must not have this one where it was
    i, given = 3 * nodes.ts.size // 4, None
    for layout in layouts(problem) if nodes.ks.any() else ():  # at rest values tell nothing
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is but an attempt
                found = Batch(problem, layout)
                values, back, held = found.trace(ts, zs)
                if not nodes.agree(values):
                    continue
                v, *one = given = given or alone(pull, ts, zs, i)
                if not like_one(back(v), *one):
                    continue
            found.seen[:] = one[1][2] != 0
            if back.nodes_apart:
                return found, back, held
            if not other[0] and found.keeps_apart(ts, zs, back):
                other = found, back, held
        except Exception:  # f does not take this layout, in whatever words
            continue
    return other


def alone(pull: Callable, ts: np.ndarray, zs: np.ndarray, i: int) -> tuple:
    """Covectors, (n, D), of which one is not zero: that of node i; and f, and the rows, of a single state."""
    v = np.zeros_like(zs)
    v[i] = np.cos(1.0 + np.arange(zs.shape[1]))  # any row will do
    return v, i, pull(ts[i], zs[i], v[i])


def like_one(rows: tuple, i: int, single: tuple) -> bool:
    """Whether the rows of a batch are those of a single state, and no node but this one is moved."""
    (z_bar, theta_bar), (_, z_row, theta_row) = rows, single
    z_bar[i] -= z_row  # now zero everywhere
    z_size, theta_size = (np.abs(row).max(initial=0.0) for row in (z_row, theta_row))
    return close(z_bar, 0.0, z_size) and close(theta_bar, theta_row, theta_size)
