"""What can be seen of the error of a gradient at a small part of its cost."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from adjode.batched import Batch
from adjode.blocks import by_blocks, in_rows
from adjode.loss import Gradient, cost_rows, loss_rows
from adjode.problem import InitialValueProblem, Loss, read_only
from adjode.structure import flatten, leaves
from adjode.trajectory import Trajectory, embedded, middles
from adjode.vjp import adjoint_pullback

NUDGE = 1e-6  # of theta, where a difference has to do
SAMPLED = 6  # steps at which lambda is looked at when f takes no batch


def ends_of_lambda(trajectory: Trajectory, found: Gradient) -> tuple:
    """lambda after and before the jump at each node, shape (N + 1, D) each: at the beginning of the
    step after it, and at the end of the step before it."""
    sign, path = np.sign(trajectory.ts[-1] - trajectory.ts[0]), found.path
    lams, ts = path.lams.reshape(len(path.ts), -1), sign * path.ts
    after = np.searchsorted(ts, sign * trajectory.ts, "right") - 1
    before = np.searchsorted(ts, sign * trajectory.ts, "left")
    return lams[after], lams[before]


def seen_and_worth(trajectory, ends: tuple, rtol: float, atol: float) -> tuple:
    """|l_z| |z| at every node, zero where the loss does not see z, and |lambda| |z|; and for a running
    cost what it sees: about the median of that. `ends` are those of lambda."""
    after, before = ends
    zs = np.abs(trajectory.zs.reshape(len(before), -1)) + atol / rtol
    seen = before - after
    seen[-1] = before[-1]
    seen, worth = ((np.abs(rows) * zs).sum(axis=1) for rows in (seen, before))
    return seen, worth, np.median(worth) if trajectory.running is not None else 0.0


def growth(trajectory, found: Gradient, rtol: float, atol: float) -> float:
    """How many times larger the rows become on their way back, and a change of z on its way forth. Beside
    the largest row that the loss hands over: many quiet ones do not make a flow that grows a quiet one."""
    return grown(*seen_and_worth(trajectory, ends_of_lambda(trajectory, found), rtol, atol))


def grown(seen: np.ndarray, worth: np.ndarray, running: float) -> float:
    largest = max(seen.max(), running)
    return max(1.0, float(worth.max() / largest)) if largest > 0 else 1.0


def amplified(trajectory, found: Gradient, rtol: float, atol: float, discrete: bool) -> float:
    """What the local errors of z do to the gradient, in relative error.

    sum_n |lambda_{n+1}| |e_n| over sum |l_z| |z| is about the relative error of the states that the
    loss sees, and so of its rows and of f_z on the way. Where the flow pulls neighbours apart, the
    rows are multiplied on their way back as the errors were on their way forth: by their `growth`.
    """
    ends = ends_of_lambda(trajectory, found)
    seen, worth, running = seen_and_worth(trajectory, ends, rtol, atol)
    scale = max(seen.sum(), running)
    # lambda and the z between have errors too, if it is not discrete
    errors = trajectory.local_errors if discrete else likely_errors(trajectory, rtol, atol)
    total = (np.abs(ends[1][1:]) * errors).sum()
    return float(total / scale * grown(seen, worth, running)) if scale > 0 else 0.0


def likely_errors(trajectory, rtol: float, atol: float) -> np.ndarray:
    """What the step control lets the steps from node to node miss, (N, D), where their stages are gone."""
    zs = np.abs(trajectory.zs.reshape(len(trajectory.zs), -1)) + atol / rtol
    steps = trajectory.stats.steps / max(len(zs) - 1, 1)
    return 0.03 * steps * rtol * zs[1:]


def reach(trajectory, sweep, rtol: float, atol: float) -> tuple[np.ndarray, float]:
    """How far off the states are on their way, (N + 1, D), and at most beside the largest entry: what local
    errors of random signs come to, carried on by the propagators of the sweep. Where the flow pulls
    neighbours apart in a direction that the rows of the loss do not see, `growth` is blind and this is
    not."""
    errors = trajectory.local_errors
    moves = sweep.ahead(np.copysign(errors, np.random.default_rng(0).normal(size=errors.shape)))
    far, sizes = (np.abs(x.reshape(moves.shape)).max(axis=1) for x in (moves, trajectory.zs))
    return moves, float((far / (sizes + atol / rtol)).max())


def added_up(trajectory, rtol: float, atol: float) -> np.ndarray:
    """How far off the states are, (N + 1, D), if it is not known what becomes of errors on their way."""
    gone = trajectory.stages is None
    errors = likely_errors(trajectory, rtol, atol) if gone else trajectory.local_errors
    return np.concatenate([np.zeros_like(errors[:1]), np.cumsum(errors, axis=0)])


def rows_moved(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, moves: np.ndarray, rows=None
) -> float:
    """By how much the rows of the loss change where the states move, in relative change: near its minimum
    a loss hands over small rows, and they may change by more than themselves. `rows` are `all_rows`, where
    they are known."""
    moved = replace(trajectory, zs=trajectory.zs + moves.reshape(trajectory.zs.shape))
    rows = all_rows(problem, loss, trajectory) if rows is None else rows
    try:
        change = np.abs(all_rows(problem, loss, moved) - rows).sum()
    except Exception:  # a loss that does not take these states is as sensitive as can be
        return np.inf
    size = np.abs(rows).sum()
    if not np.isfinite(change):
        return np.inf
    return float(change / size) if size > 0 else 0.0


def all_rows(problem: InitialValueProblem, loss: Loss, trajectory: Trajectory) -> np.ndarray:
    """L_z, the l_z, and of a running cost the g_z at all nodes, each for about the time there."""
    end, _, jumps = loss_rows(problem, loss, trajectory)
    rows = [end, *jumps.values()]
    if loss.running is not None:
        h = np.abs(trajectory.hs)
        spans = (np.append(h, 0.0) + np.append(0.0, h)) / 2
        zs = trajectory.zs.reshape(len(spans), -1)
        rows += list(spans[:, None] * cost_rows(problem, loss.running, trajectory.ts, zs)[0])
    return np.array(rows)


def unresolved(
    problem: InitialValueProblem, trajectory, found: Gradient, many: Batch | None, running=None, slopes=None,
    f_z=None,
) -> float:  # fmt: skip
    """How far lambda' = -lambda f_z - g_z is from what the steps can follow, in relative error.

    In the middle of a step the cubic through lambda and its slopes at both ends misses the equation
    by about x^5 / 384, x the rate of lambda times the step; the scheme itself then by x^p / p!, of
    a higher power where f is smooth. z may rest, or move in another way, and its own error tell
    nothing of this. `slopes` are the lambda f_z + g_z at the beginnings of the steps, where they are known;
    `f_z` is what `fast.Sweep.f_z` says.
    """
    (after, before), n = ends_of_lambda(trajectory, found), len(trajectory.ts) - 1
    steps = np.arange(n) if many else a_few_steps(trajectory)
    ts, h, zs = trajectory.ts, trajectory.hs[steps], trajectory.zs.reshape(n + 1, -1)
    left, right, column = after[steps], before[steps + 1], h[:, None]
    slopes = np.nan * zs if slopes is None else slopes.copy()
    unknown = np.isnan(slopes).any(axis=1)
    starts = steps[unknown[steps]]
    unknown[starts] = False
    other = unknown[steps + 1] | (before[steps + 1] != after[steps + 1]).any(axis=1)  # t1, and jumps
    ends = steps[other] + 1
    at = np.append(starts, ends)
    if f_z is None or running:
        times, states = middles(trajectory, steps)
        nodes = np.append(ts[at], times), np.append(zs[at], states, axis=0)
    rows = rows_at(problem, many, *nodes) if f_z is None else rows_known(f_z, at, steps)
    if running:
        rows = driven(rows, cost_rows(problem, running, *nodes)[0])
    asked = rows(slice(len(at)), np.append(after[starts], before[ends], axis=0))
    slopes[starts] = asked[: len(starts)]
    slope_left, slope_right = slopes[steps], slopes[steps + 1]
    slope_right[other] = asked[len(starts) :]
    lam = (left + right) / 2 - column / 8 * (slope_left - slope_right)  # lambda' = - the slopes
    slope = rows(slice(len(at), None), lam)
    missed = 1.5 * (right - left) + column * ((slope_left + slope_right) / 4 + slope)
    size = np.maximum(*(np.abs(x).max(axis=1) for x in (left, right)))
    part = np.abs(missed).max(axis=1) / np.where(size > 0, size, 1.0)
    # at a kink no higher power helps
    rough = (part > 1e-12) & stands_out(part / np.abs(h / np.abs(h).max()) ** 5, steps)
    power = trajectory.tableau.order + 1
    smooth = ((384 * part[~rough]) ** (power / 5)).sum() / math.factorial(power)
    return float(part[rough].sum() + smooth * n / len(steps))


def a_few_steps(trajectory: Trajectory) -> np.ndarray:
    """From the first to the last, and those that were hard, with their neighbours."""
    last = len(trajectory.ts) - 2
    some = np.linspace(0, last, SAMPLED).astype(int)
    hard = np.array([step + i for step, *_ in trajectory.hard for i in (-1, 0, 1)], int)
    return np.unique(np.clip(np.concatenate([some, hard]), 0, last))


def driven(rows: Callable, g_z: np.ndarray) -> Callable:
    """`rows_at` these nodes, with a running cost."""
    return lambda some, lams: rows(some, lams) + g_z[some]


def rows_at(problem: InitialValueProblem, many: Batch | None, ts, zs) -> Callable:
    """From some of these nodes, a slice, and lam there, (m, D), to lam f_z: by one trace, if f takes them."""
    back, pull = None, adjoint_pullback(problem)
    with suppress(Exception):
        back = many and many(ts, zs)[1]

    def rows(some: slice, lams: np.ndarray) -> np.ndarray:
        if not back:
            return np.stack([pull(*node)[1] for node in zip(ts[some], zs[some], lams, strict=True)])
        whole = np.zeros_like(zs)
        whole[some] = lams
        return back(whole, theta=False)[0][some]

    return rows


def rows_known(f_z: tuple, at: np.ndarray, steps: np.ndarray) -> Callable:
    """`rows_at` the nodes `at`, and after them in the middle of these steps, where f_z is known."""
    blocks, nodes, halves = f_z
    known = np.concatenate([nodes[at], halves[steps]])

    def rows(some: slice, lams: np.ndarray) -> np.ndarray:
        return in_rows((by_blocks(lams, blocks)[:, :, None] @ known[some])[:, :, 0], blocks)

    return rows


def stands_out(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Which values are a thousand times those of the two steps before and after, where known."""
    near = np.full(steps[-1] + 5, -1.0)  # -1 where nothing is known
    near[steps + 2] = values
    around = np.max([near[steps + i] for i in (0, 1, 3, 4)], axis=0)
    return (around >= 0) & (values > 1e3 * around)


def some_direction(theta: Any) -> Any:
    """A random direction, of the structure of theta, each entry times max(|theta|, 1)."""
    theta, unflatten = flatten(theta)
    return unflatten(np.random.default_rng(0).normal(size=theta.size) * np.maximum(np.abs(theta), 1.0))


def unseen(
    problem: InitialValueProblem, trajectory: Trajectory, found: Gradient, many: Batch | None, running=None,
    moves=None,
) -> float:  # fmt: skip
    """The error of the integral of lambda f_theta + g_theta, each entry times max(|theta|, 1).

    Steps are chosen for z. What f_theta does within a step, the integral alone knows: say, a
    parameter that acts for a moment. So the error weights are applied to (lambda f_theta + g_theta) w,
    for the `some_direction` w; the sum over the steps is about the length of the error. `moves` are the
    f_theta w, if they are known.
    """
    (after, before), n, total = ends_of_lambda(trajectory, found), len(trajectory.ts) - 1, 0.0
    tableau = trajectory.tableau
    if not any(map(np.size, leaves(problem.theta))):
        return 0.0
    some = np.flatnonzero(np.any(tableau.errors != 0, axis=0))
    new = nudged(problem) if running or moves is None else None
    at_once = n if moves is not None else max(10, 2000 // problem.z0.size)
    for steps in np.array_split(np.arange(n), -(-n // at_once)):
        h, c = trajectory.hs[steps], tableau.c[some]
        lam = after[steps][:, None] + c[:, None] * (before[steps + 1] - after[steps])[:, None]
        if running or moves is None:
            ts, zs = stage_states(trajectory, steps, some)
            nodes = one_by_one(problem, ts, zs)
        if moves is None:
            f_at = partial(at_nodes, problem, many, ts, zs, nodes)
            moved = by_nudge(f_at, new, trajectory.stages[steps][:, some])
        else:
            moved = moves[:, some]
        cost = 0.0
        if running:
            g_at = partial(cost_at, running, nodes)
            cost = by_nudge(g_at, new, g_at(problem.theta)).reshape(*ts.shape, 1)
        rows = (lam * moved).sum(axis=2, keepdims=True) + cost
        total += float(embedded(tableau.errors[:, some], h, rows).sum())
    return total


def by_nudge(fun, theta: Any, here: np.ndarray) -> np.ndarray:
    """The derivative of fun(theta) along w, by the difference from `here`; zero where it has none."""
    try:
        change = (fun(theta) - here) / NUDGE
    except Exception:  # it does not take the nudge: theta may be an index, or at the end of its range
        return np.zeros_like(here)
    return change if np.all(np.isfinite(change)) else np.zeros_like(here)


def at_nodes(problem, many: Batch | None, ts: np.ndarray, zs: np.ndarray, nodes: list, theta) -> np.ndarray:
    """f at nodes, in the shape of zs; one by one if it takes no batch of them."""
    if many:
        with suppress(Exception):
            moved = Batch(replace(problem, theta=theta), many.layout)
            return moved.values(ts.ravel(), zs.reshape(ts.size, -1)).reshape(zs.shape)
    return np.reshape([problem.f(*node, theta) for node in nodes], zs.shape)


def cost_at(running, nodes: list, theta) -> np.ndarray:
    """g there, (n,)."""
    return np.array([running(*node, theta) for node in nodes])


def nudged(problem: InitialValueProblem) -> Any:
    """theta, moved a little along `some_direction`."""
    theta, unflatten = flatten(problem.theta)
    return unflatten(theta + NUDGE * flatten(some_direction(problem.theta))[0])


def stage_states(trajectory: Trajectory, steps, some) -> tuple[np.ndarray, np.ndarray]:
    """Times, (n, m), and states, (n, m, D), of some stages of steps."""
    tableau, h = trajectory.tableau, trajectory.hs[steps]
    shifts = h[:, None, None] * (tableau.a[some] @ trajectory.stages[steps])
    zs = trajectory.zs[steps].reshape(len(steps), 1, -1) + shifts
    return trajectory.ts[steps][:, None] + h[:, None] * tableau.c[some], zs


def one_by_one(problem: InitialValueProblem, ts: np.ndarray, zs: np.ndarray) -> list:
    """The nodes as f takes them."""
    states = zs.reshape(-1, *problem.z0.shape)
    return [(t, read_only(np.asarray(z))) for t, z in zip(ts.ravel(), states, strict=True)]
