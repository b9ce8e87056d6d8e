"""What a solve leaves: the states at its nodes, the stages between, and what it cost."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np

from adjode.problem import read_only
from adjode.tableau import ButcherTableau

MANY, SHORT = 1, 0.1  # a step that took more tries, or is of so small a size beside others, may
# have met a place where f is not smooth


@dataclass(frozen=True)
class Stats:
    """Costs. A VJP traces f once and pulls one covector back; it is not an evaluation too."""

    f_evaluations: int = 0
    vjps: int = 0
    steps: int = 0
    rejected: int = 0
    stored_states: int = 0  # states and stage derivatives kept

    def __add__(self, other: "Stats") -> "Stats":
        return Stats(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


@dataclass(frozen=True)
class Trajectory:
    """z at the nodes ts of a solve of z' = f(t, z, theta), from t0 to t1."""

    ts: np.ndarray  # (N + 1,)
    zs: np.ndarray  # (N + 1, *z0.shape)
    fs: np.ndarray  # (N + 1, *z0.shape), f(ts[n], zs[n], theta)
    stages: np.ndarray | None  # (N, s, D), the k_i of each step, flat
    dense: Callable | None  # dense(t): z0.shape, or (n, *z0.shape) for n times
    tableau: ButcherTableau
    running: np.ndarray | None  # (N + 1,), the integral of the running cost up to each node
    stats: Stats
    step_times: np.ndarray | None = None  # of all steps, where ts has the stops alone
    hard: tuple = ()  # (n, t, z, z_next), flat, of a few steps that look as if f were not smooth
    replayed: Callable | None = None  # flat(t, z) that took the place of f: see `adjode.replay`

    @cached_property
    def hs(self) -> np.ndarray:
        """From each node to the next, (N,)."""
        return read_only(self.ts[1:] - self.ts[:-1])

    @cached_property
    def local_errors(self) -> np.ndarray:
        """What each step misses, (N, D), as the scheme's weights tell."""
        return embedded(self.tableau.errors, self.hs, self.stages)


def embedded(errors, h, k) -> np.ndarray:
    """What the error weights, (m, s), make of slopes k, (n, s, d), over steps h, (n,), as in
    `steps.error_norm`: (n, d), the local errors where k are stages."""
    sizes = [np.abs(h[:, None] * np.einsum("s,nsd->nd", e, k)) for e in errors]
    if len(sizes) == 1:
        return sizes[0]
    return sizes[0] ** 2 / np.maximum(np.hypot(sizes[0], 0.1 * sizes[1]), 1e-300)


def middles(trajectory: Trajectory, steps) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) and flat states (n, D) in the middle of some steps, by the cubic through both ends."""
    ts, h, after = trajectory.ts, trajectory.hs[steps], steps + 1
    zs, fs = (x.reshape(len(ts), -1) for x in (trajectory.zs, trajectory.fs))
    return ts[steps] + h / 2, (zs[steps] + zs[after]) / 2 + h[:, None] / 8 * (fs[steps] - fs[after])


def collect(steps, field, tableau, stops, *, store, shape, running=False) -> Trajectory:
    """Steps (t, z, h, k, tries) on flat states, as a trajectory of states of this shape.

    `store` is "dense", "stages", "times" or "stops": what to keep of each step. With a running cost
    the last entry of the flat state is its integral.
    """
    kept, times, taken, tried, wanted = [], array("d"), 0, 0, set(stops)
    whole, hard, longest = store in ("dense", "stages"), [], 0.0
    with np.errstate(all="ignore"):  # a trial step may overflow: it is rejected
        for t, z, h, k, tries in steps:
            longest = max(longest, abs(h))
            if tries > MANY or 0 < abs(h) < SHORT * longest:
                turn = np.max(np.abs(k[-1] - k[0]), initial=0.0) / abs(h)
                hard = few([*hard, (abs(h), -turn, (taken, t, z, z + h * (tableau.b @ k)))])
            taken, tried = taken + 1, tried + tries
            if store == "dense" and tries:
                for row, c in zip(tableau.extra_a, tableau.extra_c, strict=True):
                    k = np.vstack([k, field(t + c * h, z + h * (row[: len(k)] @ k))])
            if store == "times":
                times.append(t)
            if whole or t in wanted:
                kept.append((t, z, k if whole else k[:1].copy()))
    ts, zs, ks = zip(*kept, strict=True)
    d, n = len(zs[0]) - running, len(ts)
    ts, zs, fs = map(read_only, map(np.array, (ts, zs, [k[0, :d] for k in ks])))
    stages, dense, stored = None, None, 0
    if whole:
        ks = np.array(ks[:-1])[:, :, :d]
        stages, stored = ks[:, : len(tableau.b)], ks.shape[0] * ks.shape[1]
        dense = dense_output(tableau, ts, zs[:, :d], ks, shape) if store == "dense" else None
    stats = Stats(field.calls, field.vjps, taken - 1, tried - taken + 1, n + stored)
    shaped, cost = zs[:, :d].reshape(n, *shape), zs[:, d] if running else None
    times = read_only(np.array(times)) if store == "times" else None
    hard = tuple((n, t, z[:d], z_next[:d]) for *_, (n, t, z, z_next) in hard)
    fs = fs.reshape(n, *shape)
    return Trajectory(ts, shaped, fs, stages, dense, tableau, cost, stats, times, hard)


def few(steps: list) -> list:
    """The two shortest, and the two over which f turns fastest."""
    key = itemgetter(0), itemgetter(1)
    chosen = sorted(steps, key=key[0])[:2] + sorted(steps, key=key[1])[:2]
    return [step for step in steps if any(step is one for one in chosen)]


def dense_output(tableau, ts, zs, ks, shape) -> Callable:
    """t -> z(t), the scheme's polynomial on each step."""
    powers, sign = np.arange(1, tableau.dense.shape[1] + 1), np.sign(ts[-1] - ts[0])

    def at(t):
        n = int(np.clip(np.searchsorted(sign * ts, sign * t, "right") - 1, 0, len(ks) - 1))
        h = ts[n + 1] - ts[n]
        weights = tableau.dense @ ((t - ts[n]) / h) ** powers
        return (zs[n] + h * (weights @ ks[n])).reshape(shape)

    return lambda t: at(t) if np.ndim(t) == 0 else np.stack([at(x) for x in np.ravel(t)])
