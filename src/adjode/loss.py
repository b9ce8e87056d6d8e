"""The loss seen from the adjoint: what it hands to lambda, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjode.problem import GradientError, InitialValueProblem, IntegrationError, Loss
from adjode.solve import checked
from adjode.structure import flatten, leaves, rebuild
from adjode.trajectory import Stats, Trajectory
from adjode.vjp import flat, scalar_rows


@dataclass(frozen=True)
class AdjointPath:
    """lambda(t) = dL/dz(t), from t0 to t1."""

    ts: np.ndarray  # (M,); an observation time appears twice, before and after the jump
    lams: np.ndarray  # (M, *z0.shape)
    dense: Callable | None = None  # dense(t), where the strategy has an interpolant of lambda


@dataclass(frozen=True)
class Gradient:
    """The derivatives of L in z0, theta, t0, t1 and the observation times ts.

    Notes
    -----
    `eq-gradient-z0`: dL/dz0 = lambda(t0). With H = lambda f + g, dL/dt0 = -H(t0) for z0 held fixed,
    dL/dt1 = H(t1) without the observations, and dL/dti = l_z f for an observation.

    Allowed is ``100 rtol |g*| + 100 atol s``, all derivatives together, each times ``max(|x|, 1)``,
    and s the size of L_z and l_z: below 1, `error` says that the gradient is right. It is an estimate,
    more often ten times too large than a few times too small; or, where that would be too much, the
    distance from a second gradient. The front door refuses a gradient that it cannot tell right.
    """

    z0: np.ndarray
    theta: Any  # of the structure of theta
    t0: float
    t1: float
    ts: np.ndarray  # (n,)
    path: AdjointPath
    stats: Stats  # forward and backward together
    error: float | None = None  # |g - g*| over what is allowed, an estimate; from the front door


def loss_value(problem: InitialValueProblem, loss: Loss, trajectory: Trajectory) -> float:
    """L on a trajectory, which was solved with ``running=loss.running``."""
    check_match(problem, loss, trajectory)
    total = 0.0 if loss.running is None else trajectory.running[-1]
    if loss.terminal is not None:
        end = loss.terminal(trajectory.zs[-1], problem.theta)
        total += checked("terminal(z, theta)", end, ())
    for i, n in enumerate(observed_nodes(loss, trajectory)):
        total += checked("fun(i, z)", loss.observations.fun(i, trajectory.zs[n]), ())
    total = float(total)
    if not np.isfinite(total):
        raise IntegrationError(f"the loss is not finite: {total}")
    return total


def loss_rows(problem: InitialValueProblem, loss: Loss, trajectory: Trajectory) -> tuple:
    """L_z at t1, L_theta, and the jumps {node: l_z}: `eq-adjoint-terminal`, the explicit part of
    `eq-gradient-explicit`, `eq-jump`."""
    check_match(problem, loss, trajectory)
    args, zs, seen, jumps = leaves(problem.theta), trajectory.zs, loss.observations, {}
    end, theta_bar = np.zeros(problem.z0.size), 0.0 * flat(args)
    if loss.terminal is not None:
        fun = lambda z, *new: loss.terminal(z, rebuild(problem.theta, new))
        z_bar, *theta_bars = scalar_rows("terminal(z, theta)", fun, zs[-1], *args)
        end, theta_bar = np.ravel(z_bar), flat(theta_bars)
    for i, n in enumerate(observed_nodes(loss, trajectory)):
        by_autograd = lambda i, z: scalar_rows("fun(i, z)", lambda z: seen.fun(i, z), z)[0]
        row = np.asarray((seen.grad or by_autograd)(i, zs[n]))
        jumps[n] = checked("grad(i, z)", row, zs[n].shape).ravel()
    return end, theta_bar, jumps


def cost_rows(problem: InitialValueProblem, running, ts, zs, weights=None) -> tuple[np.ndarray, np.ndarray]:
    """Of a running cost, at times (n,) and flat states (n, D): the g_z, (n, D), and the sum of the g_theta
    times the weights, (P,). Without weights theta is left alone, and that sum is empty."""
    args, found = [] if weights is None else leaves(problem.theta), np.empty(zs.shape)
    theta_bar = 0.0 * flat(args)
    for i, (t, z) in enumerate(zip(ts.tolist(), zs, strict=True)):
        fun = lambda z, *new, t=t: running(t, z, rebuild(problem.theta, new) if new else problem.theta)
        z_bar, *theta_bars = scalar_rows("running(t, z, theta)", fun, z.reshape(problem.z0.shape), *args)
        found[i] = np.ravel(z_bar)
        if args:
            theta_bar = theta_bar + weights[i] * flat(theta_bars)
    return found, theta_bar


def observed_nodes(loss: Loss, trajectory: Trajectory) -> list[int]:
    """For each observation time, the node of the trajectory that lies on it."""
    nodes, rounding = [], 1e-12 * abs(trajectory.ts[-1] - trajectory.ts[0])
    for i, t in enumerate([] if loss.observations is None else loss.observations.ts):
        nodes.append(int(np.argmin(np.abs(trajectory.ts - t))))
        if abs(trajectory.ts[nodes[-1]] - t) > rounding or nodes[-2:-1] == nodes[-1:]:
            raise ValueError(f"the trajectory has no node of its own at the observation time "
                             f"ts[{i}] = {t}; solve with ts=loss.observations.ts")  # fmt: skip
    return nodes


def check_match(problem: InitialValueProblem, loss: Loss, trajectory: Trajectory) -> None:
    """The trajectory solves this problem, and carries the running cost of this loss."""
    check_solves(problem, trajectory)
    if loss.running is not None and trajectory.running is None:
        raise ValueError("the loss has a running cost; solve with running=loss.running")


def check_solves(problem: InitialValueProblem, trajectory: Trajectory) -> None:
    same = trajectory.ts[0] == problem.t0 and trajectory.ts[-1] == problem.t1
    if not (same and np.array_equal(trajectory.zs[0], problem.z0)):
        raise ValueError("the trajectory is not one of this problem: t0, t1 or z0 differ")


def finish(problem, loss, trajectory, rows, theta_bar, points, stats, dense=None) -> Gradient:
    """All derivatives, from the `rows` of the loss, theta_bar, and lambda at `points`, met on the
    way back: the times and the lambdas, the last ones at t0."""
    end, _, jumps = rows
    ts, lams = (np.array(part)[::-1] for part in points)
    lam, fs = lams[0], trajectory.fs.reshape(len(trajectory.ts), -1)
    t0_bar, t1_bar = -float(lam @ fs[0]), float(end @ fs[-1])
    if loss.running is not None:
        t0_bar -= float(loss.running(problem.t0, problem.z0, problem.theta))
        t1_bar += float(loss.running(problem.t1, trajectory.zs[-1], problem.theta))
    ts_bar = np.array([row @ fs[n] for n, row in jumps.items()])
    if not np.isfinite(np.concatenate([lam, theta_bar, ts_bar, [t0_bar, t1_bar]])).all():
        raise GradientError("the gradient is not finite: f or the loss has no derivative there")
    new = np.append((ts[1:] != ts[:-1]) | (lams[1:] != lams[:-1]).any(axis=1), True)
    ts, lams = ts[new], lams[new]
    path = AdjointPath(ts, lams.reshape(len(ts), *problem.z0.shape), dense)
    theta, stats = flatten(problem.theta)[1](theta_bar), trajectory.stats + stats
    return Gradient(path.lams[0], theta, t0_bar, t1_bar, ts_bar, path, stats)
