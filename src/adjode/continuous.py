"""The continuous adjoint, solved backwards: three places to take z(t) from."""

from itertools import pairwise

import numpy as np
from scipy.integrate import quad_vec

from adjode.loss import Gradient, finish, loss_rows
from adjode.problem import GradientError, InitialValueProblem, IntegrationError, Loss
from adjode.solve import check_tolerances
from adjode.steps import FEWEST, Counted, adaptive_steps
from adjode.tableau import adaptive_tableau
from adjode.trajectory import Stats, Trajectory, collect
from adjode.vjp import adjoint_pullback

BACKWARDS = 10  # times what the way forth took: a way back that needs more is of another stiffness


def adjoint_backsolve(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, rtol=1e-6, atol=1e-8
) -> Gradient:
    """(z, lambda, theta_bar)' = (f, -lambda f_z, -lambda f_theta), from t1 back to t0.

    z(t) is solved again, backwards, from the stored state at t1 and at each observation: memory
    does not grow with the steps, but the way back can be unstable where the way forth is not.
    The path has lambda at the stops alone.

    Parameters
    ----------
    trajectory : Trajectory
        With nodes at the observation times; nothing between is read.
    rtol, atol : float
        Tolerances of the backward solve; for lambda, atol refers to the size of L_z and l_z.

    Raises
    ------
    ValueError
        When the trajectory belongs to another problem or misses an observation time.
    GradientError
        When the backward solve fails, or does not come back to the stored states.

    Notes
    -----
    `eq-ode`, `eq-adjoint`, `eq-gradient`; `eq-jump` at the observations.
    """
    pull, d, zs = adjoint_pullback(problem, loss.running), problem.z0.size, trajectory.zs

    def field(t, state):
        f, z_bar, theta_bar = pull(t, state[:d], state[d : 2 * d])
        return np.concatenate([f, -z_bar, -theta_bar])

    def segment(n, m, lam, theta_bar, scale, solve_back):
        state = np.concatenate([zs[n].ravel(), lam, theta_bar])
        scale = np.where(np.arange(len(state)) < d, 1.0, scale)
        piece = solve_back(field, state, n, m, scale, store="stops")
        missed = np.max(np.abs(piece.zs[-1, :d] - zs[m].ravel()), initial=0.0)
        if not missed <= 10 * (atol + rtol * np.max(np.abs(zs[m]), initial=0.0)):
            raise GradientError(
                f"solving z backwards is unstable: at t = {trajectory.ts[m]} it misses the forward "
                f'solution by {missed:.1e}. Use adjoint="discrete"'
            )
        return piece.zs[:, d : 2 * d], piece.zs[-1, 2 * d :], piece, 0

    return sweep(problem, loss, trajectory, segment, rtol, atol)


def adjoint_interpolated(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, rtol=1e-6, atol=1e-8
) -> Gradient:
    """(lambda, theta_bar)' = (-lambda f_z, -lambda f_theta), from t1 back to t0.

    z(t) is read from the dense output of the forward solve, which the trajectory must have.
    Parameters, errors and equations are those of `adjoint_backsolve`.
    """
    pull, d, z = adjoint_pullback(problem, loss.running), problem.z0.size, dense_of(trajectory)
    field = lambda t, state: -np.concatenate(pull(t, z(t), state[:d])[1:])

    def segment(n, m, lam, theta_bar, scale, solve_back):
        piece = solve_back(field, np.concatenate([lam, theta_bar]), n, m, scale)
        return piece.zs[:, :d], piece.zs[-1, d:], piece, 0

    return sweep(problem, loss, trajectory, segment, rtol, atol)


def adjoint_quadrature(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, rtol=1e-6, atol=1e-8
) -> Gradient:
    """lambda' = -lambda f_z from t1 back to t0; then theta_bar, the integral of lambda f_theta.

    z(t) is read from the dense output of the forward solve, which the trajectory must have, and
    lambda(t) from that of its own solve; the integral is an adaptive Gauss-Kronrod rule on each
    forward step. The path, too, has `dense`. For the rest see `adjoint_backsolve`.
    """
    pull, z = adjoint_pullback(problem, loss.running), dense_of(trajectory)
    field = lambda t, lam: -pull(t, z(t), lam)[1]

    def segment(n, m, lam, theta_bar, scale, solve_back):
        piece = solve_back(field, lam, n, m, scale, store="dense")
        if theta_bar.size == 0:
            return piece.zs, theta_bar, piece, 0
        integrand = lambda t: pull(t, z(t), piece.dense(t))[2]
        (low, high), sign = sorted(piece.ts[[0, -1]]), np.sign(piece.ts[0] - piece.ts[-1])
        rule = {"quadrature": "gk15", "norm": "max", "points": trajectory.ts[m + 1 : n]}
        rule["limit"] = BACKWARDS * (n - m) + 50
        total, _, info = quad_vec(integrand, low, high, atol * scale, rtol, full_output=True, **rule)
        if not info.success:
            raise GradientError(f"the integral of lambda f_theta failed: {info.message} "
                                'Use adjoint="discrete"')  # fmt: skip
        return piece.zs, theta_bar + sign * total, piece, info.neval

    return sweep(problem, loss, trajectory, segment, rtol, atol)


def sweep(problem, loss, trajectory, segment, rtol, atol) -> Gradient:
    """From L_z at t1 back to t0, with a stop to jump at each observation.

    ``segment(n, m, lam, theta_bar, scale, solve_back)`` goes from node n back to node m and gives
    lambda at its nodes, theta_bar at its end, its trajectory, and its VJPs besides.
    """
    rtol, atol = check_tolerances(rtol, atol)
    rows = lam, theta_bar, jumps = loss_rows(problem, loss, trajectory)
    sizes = [np.max(np.abs(row), initial=0.0) for row in (lam, *jumps.values())]
    scale = max(*sizes, 0.0) if loss.running is None and any(sizes) else max(*sizes, 1.0)
    tableau, stats, pieces = adaptive_tableau("auto"), Stats(), []
    longest = abs(problem.t1 - problem.t0) / FEWEST
    budget = BACKWARDS * (trajectory.stats.f_evaluations + 500)

    def solve_back(field, state, n, m, scale, store="stages"):
        counted, stops = Counted(field, budget, stats.vjps), trajectory.ts[[n, m]].tolist()
        steps = adaptive_steps(counted, state, stops, tableau, rtol, atol * scale, longest)
        try:
            return collect(steps, counted, tableau, stops, store=store, shape=state.shape)
        except IntegrationError as error:
            raise GradientError(f'backwards, {error}. Use adjoint="discrete"') from error

    stops = sorted({0, len(trajectory.ts) - 1, *jumps}, reverse=True)
    at = lambda node: jumps.get(node, 0.0)
    points = [(trajectory.ts[-1], lam), (trajectory.ts[-1], lam + at(stops[0]))]
    with np.errstate(all="ignore"):
        for n, m in pairwise(stops):
            lam = points[-1][1]
            lams, theta_bar, piece, more = segment(n, m, lam, theta_bar, scale, solve_back)
            points += [*zip(piece.ts, lams, strict=True), (trajectory.ts[m], lams[-1] + at(m))]
            cost = piece.stats
            stats += Stats(0, cost.f_evaluations - stats.vjps + more, cost.steps, cost.rejected)
            pieces.append(piece)
    dense = joined(problem, pieces) if pieces[0].dense else None
    return finish(problem, loss, trajectory, rows, theta_bar, zip(*points, strict=True), stats, dense)


def joined(problem: InitialValueProblem, pieces: list):
    """lambda(t) from the dense outputs of the segments; at a jump, the value before it."""
    sign = np.sign(problem.t1 - problem.t0)

    def at(t):
        piece = next((p for p in pieces if sign * p.ts[-1] < sign * t), pieces[-1])
        return piece.dense(t).reshape(problem.z0.shape)

    return lambda t: at(t) if np.ndim(t) == 0 else np.stack([at(x) for x in np.ravel(t)])


def dense_of(trajectory: Trajectory):
    if trajectory.dense is None:
        raise ValueError('this adjoint needs trajectory.dense; use adjode.solve with store="dense"')
    return trajectory.dense
