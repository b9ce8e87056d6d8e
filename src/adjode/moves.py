"""What moved states do to a gradient, to first order: the tangent of the adjoint, over whole steps.

A state elsewhere has another f_z and f_theta there, and the loss hands over other rows; lambda carries
what comes of it back to t0. That needs no step anew: the propagators of the sweep are known, and what
comes in over a step is taken at its two ends, by the trapezoidal rule: mostly good to some hundredths,
but where long steps meet fast turns it may miss as much as it finds.
"""

from dataclasses import replace

import numpy as np

from adjode.batched import in_pieces
from adjode.blocks import through
from adjode.fast import Sweep
from adjode.loss import Gradient, loss_rows
from adjode.problem import InitialValueProblem, Loss
from adjode.structure import flatten
from adjode.trajectory import Trajectory


def changed(
    problem: InitialValueProblem, losses: list[Loss], trajectory: Trajectory, found: Gradient, sweep: Sweep,
    moves: np.ndarray,
) -> tuple[list[Gradient], float]:  # fmt: skip
    """What moves of the nodes, (N + 1, D), of which the first stays, do to the gradient `found` of the
    first loss; and what the rows that another loss hands over where z is then would add, each. And the
    largest change of lambda beside lambda: what the first order leaves is about its square.

    `sweep` is the one that found the gradient. Raises what f does when it does not take these nodes.
    """
    (end, _, jumps), *rows = all_rows(problem, losses, trajectory, moves)
    n, ts, zs = len(moves) - 1, trajectory.ts, trajectory.zs.reshape(moves.shape)
    h, afters = trajectory.hs[:, None] / 2, np.stack([sweep.after(i) for i in range(n + 1)])
    values, back = in_pieces(sweep.batch, np.tile(ts, 2), np.concatenate([zs, zs + moves]), sweep.at_once)
    turned = lambda lams: sum(np.split(back(np.concatenate([-lams, lams]), theta=False)[0], 2))
    at_starts = turned(sweep.lams)  # what the change of f_z adds to lambda' there
    at_ends = turned(afters) if jumps else at_starts
    come = np.concatenate([h * at_starts[:-1], h * at_ends[1:]])
    f = trajectory.fs.reshape(moves.shape)
    turn = values[n + 1 :] - f
    more, starts = carried(sweep, come, [row[0] for row in rows], [row[2] for row in rows])
    lams, h = np.concatenate([sweep.lams[:-1], afters[1:]]), np.tile(h, (2, 1))
    parts, largest = [], max(beside(more[:, i], lams) for i in range(len(rows)))
    for i, (end_more, theta_bar, jumps_more) in enumerate(rows):
        own = float(i == 0)  # the moves themselves count once; another loss has but other rows
        here, there = at_nodes(h * (more[:, i] - own * lams)), at_nodes(own * h * lams)
        theta_bar = theta_bar + back(np.concatenate([here, there]))[1]
        z0, theta = starts[i].reshape(problem.z0.shape), flatten(problem.theta)[1](theta_bar)
        t1 = end_more @ f[-1] + own * end @ turn[-1]
        ts_bar = np.array([jumps_more[k] @ f[k] + own * jumps[k] @ turn[k] for k in jumps])
        parts.append(replace(found, z0=z0, theta=theta, t0=-starts[i] @ f[0], t1=t1, ts=ts_bar))
    return parts, largest


def all_rows(problem, losses, trajectory, moves) -> list:
    """As `loss_rows`: of the first loss; by how much they change when the states move; and by how much
    those of each other loss then differ from them."""
    moved = replace(trajectory, zs=trajectory.zs + moves.reshape(trajectory.zs.shape))
    first, *rows = [loss_rows(problem, loss, z) for loss, z in
                    [(losses[0], trajectory), *((loss, moved) for loss in losses)]]  # fmt: skip
    minus = lambda x, y: (x[0] - y[0], x[1] - y[1], {i: x[2][i] - y[2][i] for i in y[2]})
    return [first, minus(rows[0], first), *(minus(row, rows[0]) for row in rows[1:])]


def at_nodes(x: np.ndarray) -> np.ndarray:
    """What belongs to the beginnings of all steps, and then to their ends, (2 N, D), added at the nodes."""
    n, out = len(x) // 2, np.zeros((len(x) // 2 + 1, x.shape[1]))
    out[:-1] = x[:n]
    out[1:] += x[n:]
    return out


def carried(sweep: Sweep, come: np.ndarray, ends: list, jumps: list) -> tuple[np.ndarray, np.ndarray]:
    """The change of lambda at the beginnings and at the ends of the steps, (2 N, L, D), and at t0, (L, D),
    for L losses, of which each adds its own of `ends` at t1, and of `jumps`. The steps add half of what
    they do, `come`, (2 N, D), at each end: to the first."""
    n, lam = len(come) // 2, np.array(ends)
    found, jumps = np.empty((2 * n, *lam.shape)), {i: np.stack([x[i] for x in jumps]) for i in jumps[0]}
    for i, (blocks, step) in zip(reversed(range(n)), sweep.propagators, strict=True):
        lam = lam + jumps[i + 1] if i + 1 in jumps else lam.copy()
        found[n + i] = lam
        lam[0] += come[n + i]
        lam = through(blocks, step, lam)
        lam[0] += come[i]
        found[i] = lam
    return found, lam + jumps[0] if 0 in jumps else lam


def beside(more: np.ndarray, lams: np.ndarray) -> float:
    """The largest change of lambda, beside lambda there."""
    changes, sizes = (np.max(np.abs(x), axis=1) for x in (more, lams))
    return float(np.max(changes / np.where(sizes > 0, sizes, 1.0)))
