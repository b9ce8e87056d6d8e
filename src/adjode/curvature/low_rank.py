"""The Gauss-Newton matrix as a sum of outer products: one backward solve for each.

L_zz = sum_i s_i y_i^T y_i       s_i = +1 or -1, y_i a row of D entries
q_i' = -q_i f_z, q_i(t1) = y_i   the adjoint equation, from another row
p_i = int q_i f_theta dt         G = sum_i s_i p_i^T p_i, never formed
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np

from adjode.curvature.tangent import like, pushforward
from adjode.fast import adjoint_fast
from adjode.loss import check_match, observed_nodes
from adjode.problem import GradientError, InitialValueProblem, Loss, Observations
from adjode.structure import flatten, leaves, rebuild
from adjode.trajectory import Stats, Trajectory
from adjode.vjp import pullback, scalar_rows


@dataclass(frozen=True)
class LowRank:
    """G = sum_i signs[i] p[i]^T p[i], the Gauss-Newton matrix in theta, as its R factors."""

    signs: np.ndarray  # (R,), of +1 and -1
    p: np.ndarray  # (R, P), rows at t0
    q: np.ndarray  # (R, *z0.shape), rows at t0: sum_i signs[i] q[i]^T p[i] is the mixed part
    theta: Any  # what the columns of p stand for
    stats: Stats  # of the R backward solves

    def times(self, w: Any) -> Any:
        """G w, for w and with the result of the structure of theta."""
        w, unflatten = flatten(like("w", w, self.theta, "theta"))
        return unflatten(self.p.T @ (self.signs * (self.p @ w)))

    def solve(self, row: Any, damping: float) -> Any:
        """(G + damping I)^-1 row, for a row of the structure of theta, as is the result.

        By a system of R equations: neither G nor its inverse is formed, `eq-damped-solve`. Without
        damping there is no inverse where R < P.
        """
        if not (np.ndim(damping) == 0 and 0 < damping < np.inf):
            raise ValueError(f"`damping` must be a positive number: G has rank {len(self.p)} at most, for "
                             f"{self.p.shape[1]} parameters; got {damping!r}")  # fmt: skip
        row, unflatten = flatten(like("row", row, self.theta, "theta"))
        small = damping * np.diag(self.signs) + self.p @ self.p.T
        return unflatten((row - self.p.T @ np.linalg.solve(small, self.p @ row)) / damping)


def low_rank_factors(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, drop: float = 1e-12
) -> LowRank:
    """The Gauss-Newton matrix of L in theta, from R first-order backward solves.

    Parameters
    ----------
    trajectory : Trajectory
        As for `adjoint_discrete`: G is that of the numbers that the solver computed.
    drop : float
        Eigenvalues of L_zz below this part of the largest count as zero; R is the number of the
        others. Each observation adds those of its own l_zz.

    Raises
    ------
    ValueError
        When the loss has a running cost, whose G has no small rank, or curvature in an explicit
        theta (use `gauss_newton_product`); when the trajectory does not fit; when `drop` is not in
        [0, 1).
    GradientError
        When the second derivatives of the loss are not finite.

    Notes
    -----
    `eq-factor-rows`, `eq-low-rank`.
    """
    check_match(problem, loss, trajectory)
    if not 0 <= drop < 1:
        raise ValueError(f"`drop` must be in [0, 1): a part of the largest eigenvalue; got {drop}")
    if loss.running is not None:
        raise ValueError("a running cost has a G of no small rank; use gauss_newton_product, which "
                         "multiplies with it")  # fmt: skip
    factors, seen = [], loss.observations
    if loss.terminal is not None:
        end = lambda z: loss.terminal(z, problem.theta)
        for sign, y in terminal_factors(end, trajectory.zs[-1], drop):
            factors.append((sign, Loss(terminal=lambda z, _, y=y: anp.sum(y * z))))
        refuse_curved_theta(problem, loss, trajectory.zs[-1])
    for i, n in enumerate(observed_nodes(loss, trajectory)):
        for sign, y in terminal_factors(lambda z, i=i: seen.fun(i, z), trajectory.zs[n], drop):
            look = lambda _, z, y=y: anp.sum(y * z)
            factors.append((sign, Loss(observations=Observations(seen.ts[i : i + 1], look))))
    found = [adjoint_fast(problem, linear, trajectory) for _, linear in factors]
    costs = sum((g.stats for g in found), Stats())
    p = np.reshape([flatten(g.theta)[0] for g in found], (len(found), flatten(problem.theta)[0].size))
    q = np.reshape([g.z0 for g in found], (len(found), *problem.z0.shape))
    return LowRank(np.array([sign for sign, _ in factors]), p, q, problem.theta, costs)


def terminal_factors(fun: Callable, z: np.ndarray, drop: float = 1e-12) -> list:
    """(s_i, y_i) with L_zz = sum_i s_i y_i^T y_i, from the eigenvalues of L_zz, `eq-terminal-factors`.

    `fun` is the loss of a state, a scalar; each y_i has the shape of z. A loss whose factors are
    known (for half of a sum of squares, the unit rows) needs no eigenvalues.
    """
    scalar_rows("the loss", fun, z)  # so that a loss that is no scalar is named
    _, back = pullback(lambda z: pullback(fun, z)[1](1.0)[0], z)
    rows = [np.ravel(back(unit.reshape(z.shape))[0]) for unit in np.eye(z.size)]
    if not np.all(np.isfinite(rows)):
        raise GradientError("the second derivatives of the loss are not finite: it has none there")
    values, vectors = np.linalg.eigh(np.reshape(rows, (z.size, z.size)))
    largest = np.max(np.abs(values), initial=0.0)
    return [(np.sign(a), np.sqrt(abs(a)) * y.reshape(z.shape))
            for a, y in zip(values, vectors.T, strict=True) if abs(a) > drop * largest]  # fmt: skip


def refuse_curved_theta(problem: InitialValueProblem, loss: Loss, z: np.ndarray) -> None:
    """The terminal loss may contain theta, but no curvature in it."""
    theta = leaves(problem.theta)
    w = [np.cos(1.0 + np.arange(np.size(x))).reshape(np.shape(x)) for x in theta]  # any direction
    fun = lambda z, *new: loss.terminal(z, rebuild(problem.theta, new))
    slope = lambda *args: pushforward(fun, list(args), [0.0 * z, *w])[1]
    if any(np.any(row) for row in scalar_rows("terminal(z, theta)", slope, z, *theta)):
        raise ValueError("the terminal loss has second derivatives in an explicit theta, which are no "
                         "part of the factors; leave that term out, and add its own matrix")  # fmt: skip
