"""The discrete adjoint: backpropagation through the steps that were taken, by hand."""

from collections.abc import Callable
from functools import partial

import numpy as np

from adjode.loss import Gradient, finish, loss_rows
from adjode.problem import InitialValueProblem, Loss
from adjode.stiff import implicit_step_back, state_jacobian
from adjode.tableau import ButcherTableau
from adjode.trajectory import Stats, Trajectory
from adjode.vjp import adjoint_pullback


def adjoint_discrete(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, rtol=1e-6, atol=1e-8
) -> Gradient:
    """dL/dz0 and dL/dtheta of the numbers that the solver computed, its step sizes frozen.

    Reverse mode through each step ("discretise, then optimise", "backpropagation through the
    solver"), one VJP a stage. z(t) is read from the stored stages.

    Parameters
    ----------
    trajectory : Trajectory
        From `solve_fixed`, or from `solve` with its stages stored.
    rtol, atol : float
        Not used, nothing is solved again: all strategies are called alike.

    Raises
    ------
    ValueError
        When the trajectory belongs to another problem, misses an observation time or its stages.
    GradientError
        When the result is not finite.
    """
    if trajectory.stages is None:
        raise ValueError('adjoint_discrete needs the stages; solve with store="stages" or "dense"')
    step = back_over(problem, trajectory.tableau, loss.running)
    rows = lam, theta_bar, jumps = loss_rows(problem, loss, trajectory)
    ts, vjps, last = trajectory.ts, 0, len(trajectory.ts) - 1
    points = [(ts[last], lam), (ts[last], lam + jumps.get(last, 0.0))]
    with np.errstate(all="ignore"):
        for n in reversed(range(last)):
            lam, theta_step, used = step(trajectory, n, points[-1][1])
            theta_bar, vjps = theta_bar + theta_step, vjps + used
            points += [(ts[n], lam), (ts[n], lam + jumps.get(n, 0.0))]
    return finish(problem, loss, trajectory, rows, theta_bar, zip(*points, strict=True), Stats(vjps=vjps))


def back_over(problem: InitialValueProblem, tableau: ButcherTableau, running=None) -> Callable:
    """(trajectory, n, lam) -> what `step_back` returns, for an explicit or an implicit scheme."""
    pull = adjoint_pullback(problem, running)
    if tableau.implicit:
        return partial(implicit_step_back, pull, state_jacobian(problem))
    return partial(step_back, pull)


def step_back(pull, trajectory: Trajectory, n: int, lam: np.ndarray) -> tuple:
    """lambda_n = lambda_{n+1} + sum_i Lambda_i, with Lambda_i = kappa_i f_z(Z_i) and
    kappa_i = h (b_i lambda_{n+1} + sum_{j>i} a_ji Lambda_j): nothing is divided by b_i.

    `pull` is from `adjoint_pullback`, n the step from ts[n] to ts[n + 1], and lam, shape (D,),
    is lambda_{n+1}, jumps included. Returns lambda_n, the step's part of dL/dtheta, which is
    sum_i kappa_i f_theta(Z_i), and the VJPs. A running cost adds h b_i g_z(Z_i) to Lambda_i.
    """
    tableau, t, k = trajectory.tableau, trajectory.ts[n], trajectory.stages[n]
    a, b, c, h = tableau.a, tableau.b, tableau.c, trajectory.ts[n + 1] - t
    z = trajectory.zs[n].ravel() + h * (a @ k)  # Z_i, (s, D)
    big, theta_bar, needed = np.zeros_like(z), 0.0, np.zeros(len(b), bool)  # big: Lambda, (s, D)
    for i in reversed(range(len(b))):
        needed[i] = b[i] != 0 or np.any(a[needed, i])
        if needed[i]:
            kappa = h * (b[i] * lam + a[:, i] @ big)
            _, big[i], theta_i = pull(t + c[i] * h, z[i], kappa, h * b[i])
            theta_bar = theta_bar + theta_i
    return lam + big.sum(axis=0), theta_bar, int(needed.sum())
