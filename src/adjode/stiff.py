"""Implicit Runge-Kutta steps for stiff problems, and their discrete adjoint.

k_i = f(t + c_i h, z + h sum_j a_ij k_j),  k_1 = f(t, z)         equations for the stages
kappa_i = h (b_i lambda_{n+1} + sum_j a_ji Lambda_j)             as in `discrete`, and now
Lambda_i = kappa_i f_z(Z_i)                                      equations too, linear ones
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from adjode.problem import InitialValueProblem, IntegrationError
from adjode.steps import Counted, first_step
from adjode.tableau import ButcherTableau
from adjode.trajectory import Trajectory
from adjode.vjp import pullback


def implicit_cost(d: int) -> float:
    """What explicit steps may cost, in evaluations of f, before `implicit_steps` are cheaper for a
    state of d entries: measured roughly, for 200 steps, their Jacobians and linear algebra."""
    return 6000 + 500 * d + 2e-3 * (7 * d) ** 3


def state_jacobian(problem: InitialValueProblem, field: Counted | None = None) -> Callable:
    """(t, z) -> f_z, shape (D, D), by D pullbacks from one trace, which `field` counts.

    z may carry the integral of a running cost, whose row and column are left zero: the iteration
    for the stages then takes a round more. With `field`, an f that autograd cannot trace is
    differenced: in an iteration f_z need not be exact, in a gradient it must.
    """
    shape, d, eye = problem.z0.shape, problem.z0.size, np.eye(problem.z0.size)

    def traced(t, z):
        _, back = pullback(lambda z: problem.f(t, z, problem.theta), z.reshape(shape))
        return np.array([np.ravel(back(row.reshape(shape))[0]) for row in eye]).reshape(d, d)

    def differenced(t, z):
        sizes, start = 1e-7 * (np.abs(z) + 1e-4 * np.max(np.abs(z)) + 1e-30), field(t, z)
        moved = [field(t, z + row) - start for row in np.diag(sizes)[:d]]
        return np.stack(moved, axis=1)[:d] / sizes[:d]

    def at(t, z):
        if field is None:
            return traced(t, z)
        try:
            jacobian = traced(t, z[:d])
            field.vjps += d
        except (TypeError, ValueError):
            jacobian = differenced(t, z)
        return np.pad(jacobian, (0, len(z) - d))

    return at


class Newton:
    """Newton's iteration for the stages of steps of size h, with f_z, shape (D, D), frozen."""

    def __init__(self, tableau: ButcherTableau, jacobian: np.ndarray, h: float):
        coupling = np.kron(tableau.a[1:, 1:], h * jacobian)
        self.lu = lu_factor(np.eye(len(coupling)) - coupling, check_finite=False)
        self.tableau, self.h, self.jacobian = tableau, h, jacobian
        self.late = not np.all(np.any(jacobian, axis=1))  # such as the integral of a running cost

    def stages(self, field, t, z, k, unit, slack) -> np.ndarray | None:
        """The k_i, shape (s, D), from a guess k whose first row is f(t, z), or None.

        What is left to correct in the Z_i is below 1, in units of `unit`, shape (D,); or below
        `slack` and no longer falling, which is rounding. Without `unit`: of 1e-13 of the largest Z_i.
        """
        tableau, h, last, k, relative = self.tableau, self.h, np.inf, k.copy(), unit is None
        for n in range(20):
            zs = z + h * (tableau.a[1:] @ k)
            rest = [field(t + c * h, x) for c, x in zip(tableau.c[1:], zs, strict=True)] - k[1:]
            step = lu_solve(self.lu, rest.ravel(), check_finite=False).reshape(rest.shape)
            move = h * (tableau.a[1:, 1:] @ step)
            if relative:  # to the Z_i of each round: a guess says nothing of their size
                before, unit = unit, 1e-13 * np.max(np.abs([z, *(zs + move)]), initial=1e-290)
                last = last * before / unit if n else last
            size = np.max(np.abs(move) / unit, initial=0.0)
            if self.late and n == 1 and size > last:  # what f_z leaves out is a round behind
                last = np.inf
            if not size < max(last, slack):  # also when anything is not finite
                return None
            k[1:] += step
            if size == 0 or size >= last or (last < np.inf and size**2 < last - size):
                return k
            last = size
        return k if last < slack else None

    def error(self, field, t, z, k, scale, again) -> float:
        """The largest entry of the local error over its tolerance, freed of what f_z damps;
        `again` looks twice where that may be much (Hairer and Wanner, IV.8)."""
        weights, h = self.tableau.errors[0], self.h
        lu = lu_factor(np.eye(len(z)) - h * weights[0] * self.jacobian, check_finite=False)
        error = lu_solve(lu, h * (weights @ k), check_finite=False)
        size = np.max(np.abs(error) / scale, initial=0.0)
        if again and size >= 1:
            more = weights[0] * (field(t, z + error) - k[0]) + weights @ k
            size = np.max(np.abs(lu_solve(lu, h * more, check_finite=False)) / scale)
        return float(size)


def implicit_steps(field, jacobian, z, stops, tableau, rtol, atol) -> Iterator[tuple]:
    """Yield (t, z, h, k, tries) as `adaptive_steps` does. The local error stays below a thousandth
    of atol + rtol |z|: in time derivatives, lambda f(t, z), it is multiplied by f_z."""
    t, slope, tries, past = stops[0], field(stops[0], z), 0, None
    if not np.all(np.isfinite(slope)):
        raise IntegrationError(f"f(t, z, theta) is not finite at the start, t = {t}: {slope}")
    h = first_step(field, t, z, slope, stops[-1] - t, tableau, atol + rtol * np.abs(z))
    close, power, f_z = min(1e-3, 1e-10 / rtol), 1 / (tableau.error_order + 1), jacobian(t, z)
    for stop in stops[1:]:
        while t != stop:
            rest = stop - t
            t_next = stop if abs(rest) <= abs(h) else t + min(h, rest / 2, key=abs)
            step, tries = t_next - t, tries + 1
            newton, unit = Newton(tableau, f_z, step), atol + rtol * np.abs(z)
            guess = foreseen(tableau, slope, past, step)
            k = newton.stages(field, t, z, guess, close * unit, 1e-2 / close)
            error = np.inf
            if k is not None:
                z_next = z + step * (tableau.b @ k)
                scale = 1e-3 * np.maximum(unit, atol + rtol * np.abs(z_next))
                error = newton.error(field, t, z, k, scale, past is None or tries > 1)
            factor = 0.9 * max(error, 1e-10) ** -power
            if error < 1:
                yield t, z, step, k, tries
                longer = step * min(8.0, factor)
                h = max(h, longer, key=abs) if factor > 1 and abs(step) < abs(h) else longer
                t, z, past, tries, slope = t_next, z_next, (k, step), 0, field(t_next, z_next)
                f_z = jacobian(t, z)
                continue
            h = step * (max(0.2, factor) if error < np.inf else 0.3)
            if abs(h) < 16 * np.spacing(abs(t)):
                raise IntegrationError(f"the solve stopped at t = {t} before t = {stops[-1]}: the "
                                       "solution may blow up, or f be not finite")  # fmt: skip
    yield t, z, 0.0, slope[None], 0


def foreseen(tableau: ButcherTableau, slope, past, h) -> np.ndarray:
    """A guess of the k_i: the slope of the last step's polynomial, or f(t, z) when there is none."""
    if past is None:
        return np.tile(slope, (len(tableau.b), 1))
    k, size = past
    powers = np.arange(tableau.dense.shape[1])
    x = 1 + tableau.c[1:] * h / size
    return np.vstack([slope, (x[:, None] ** powers * (powers + 1)) @ (tableau.dense.T @ k)])


def implicit_fixed_steps(field, jacobian, z, stops, tableau, n_steps) -> Iterator[tuple]:
    """Yield (t, z, h, k, 1) as `fixed_steps` does."""
    for start, stop in pairwise(stops):
        for t, t_next in pairwise(np.linspace(start, stop, n_steps + 1).tolist()):
            h, slope = t_next - t, field(t, z)
            guess, newton = np.tile(slope, (len(tableau.b), 1)), Newton(tableau, jacobian(t, z), h)
            k = newton.stages(field, t, z, guess, None, 30)
            if k is None:
                raise IntegrationError(f"the stages of {tableau.name} were not found at t = {t}; "
                                       "take more steps")  # fmt: skip
            yield t, z, h, k, 1
            z = z + h * (tableau.b @ k)
    yield stops[-1], z, 0.0, field(stops[-1], z)[None], 0


def implicit_step_back(pull, jacobian, trajectory: Trajectory, n: int, lam: np.ndarray) -> tuple:
    """`discrete.step_back` for an implicit scheme. The Lambda_i are found all at once, from

        Lambda_i - h sum_j a_ji Lambda_j f_z(Z_i) = h b_i lambda_{n+1} f_z(Z_i) + h b_i g_z(Z_i),

    the kappa_i put into the Lambda_i: where an explicit stage waits for those after it, here each
    waits for all. The matrix is that of Newton's iteration for the k_i, transposed, with f_z at
    each stage: differentiate k_i = f(t + c_i h, z + h sum_j a_ij k_j) to see it.
    """
    tableau, t, k = trajectory.tableau, trajectory.ts[n], trajectory.stages[n]
    h = trajectory.ts[n + 1] - t
    needed = np.flatnonzero((tableau.b != 0) | np.any(tableau.a != 0, axis=0))
    a, b = tableau.a[np.ix_(needed, needed)], tableau.b[needed]
    d, size = len(lam), len(b) * len(lam)
    times, zs = (t + tableau.c * h)[needed], (trajectory.zs[n].ravel() + h * (tableau.a @ k))[needed]
    f_z = np.stack([jacobian(time, z) for time, z in zip(times, zs, strict=True)])
    g_z = np.stack([pull(time, z, 0 * lam, 1.0)[1] for time, z in zip(times, zs, strict=True)])
    blocks = h * np.einsum("ji,irc->jric", a, f_z).reshape(size, size)  # Lambda_j to Lambda_i
    right = h * b[:, None] * (lam @ f_z + g_z)
    big = np.linalg.solve((np.eye(size) - blocks).T, right.ravel()).reshape(len(b), d)
    theta_bar = 0.0
    for i, kappa in enumerate(h * (b[:, None] * lam + a.T @ big)):
        theta_bar = theta_bar + pull(times[i], zs[i], kappa, h * b[i])[2]
    return lam + big.sum(axis=0), theta_bar, len(b) * (d + 2)
