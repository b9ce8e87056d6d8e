"""A better solve without another: each step once more in two halves, all steps at once.

The nodes of a solve are known, and so every step can be taken again without those before it, in a
batch. What the halves miss the next node by is the error of the step. Errors travel on with the
propagators of the adjoint: that moves the nodes, to first order, to where they should be.
"""

from dataclasses import replace

import numpy as np

from adjode.batched import stages_that_count
from adjode.fast import Sweep
from adjode.problem import read_only
from adjode.tableau import ButcherTableau
from adjode.trajectory import Trajectory

LEFT = 0.1  # of the errors: what a first order leaves is of the second
ROUNDING = 1e-13  # of the states


def misses(trajectory: Trajectory, sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """The errors of the steps, (N, D), and what they come to at the nodes, (N + 1, D), to first order.

    Raises what f does when it does not take the nodes.
    """
    zs = trajectory.zs.reshape(len(trajectory.ts), -1)
    errors = halves(trajectory, sweep, zs)[1] - zs[1:]
    return errors, sweep.ahead(errors)


def in_halves(
    trajectory: Trajectory, sweep: Sweep, errors: np.ndarray, moves: np.ndarray
) -> Trajectory | None:
    """The trajectory with its steps halved and its nodes corrected by what `misses` found; None where
    that leaves gaps. Raises what f does when it does not take the nodes."""
    ts, shape = trajectory.ts, trajectory.zs.shape[1:]
    zs = trajectory.zs.reshape(len(ts), -1) + moves
    middles, ends, stages = halves(trajectory, sweep, zs)
    most = lambda x: np.max(np.abs(x), axis=0)
    if not np.all(most(ends - zs[1:]) <= LEFT * most(errors) + ROUNDING * most(zs)):
        return None
    fine, all_zs = np.empty(2 * len(ts) - 1), np.empty((2 * len(ts) - 1, zs.shape[1]))
    fine[::2], fine[1::2], all_zs[::2], all_zs[1::2] = ts, (ts[1:] + ts[:-1]) / 2, zs, middles
    last = sweep.batch.values(ts[-1:], zs[-1:])
    fs = np.concatenate([stages[:, 0], last])
    fine, all_zs, fs = map(read_only, (fine, all_zs.reshape(-1, *shape), fs.reshape(-1, *shape)))
    return replace(trajectory, ts=fine, zs=all_zs, fs=fs, stages=stages, dense=None)


def halves(trajectory: Trajectory, sweep: Sweep, zs: np.ndarray) -> tuple:
    """From every node but the last: z after half of the step, and after all of it, (N, D) each; and
    the stages of the halves, (2 N, s, D)."""
    ts, centres = trajectory.ts, (trajectory.ts[1:] + trajectory.ts[:-1]) / 2
    middle, first = one_step(trajectory.tableau, sweep, ts[:-1], zs[:-1], centres)
    end, second = one_step(trajectory.tableau, sweep, centres, middle, ts[1:])
    return middle, end, np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def one_step(tableau: ButcherTableau, sweep: Sweep, starts, zs, ends) -> tuple:
    """z after a step from each of the starts, and its stages; those that do not count stay zero."""
    hs, k = ends - starts, np.zeros((len(tableau.b), *zs.shape))
    for n in range(0, len(hs), sweep.at_once):
        some = slice(n, n + sweep.at_once)
        for i in stages_that_count(tableau):
            shift = hs[some, None] * np.tensordot(tableau.a[i, :i], k[:i, some], 1)
            k[i, some] = sweep.batch.values(starts[some] + tableau.c[i] * hs[some], zs[some] + shift)
    return zs + hs[:, None] * np.tensordot(tableau.b, k, 1), np.swapaxes(k, 0, 1)
