"""lam v along a path of the adjoint and a tangent: a number that must not change."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adjode.loss import Gradient
from adjode.problem import InitialValueProblem, Loss
from adjode.solve import solve
from adjode.verify import Finding, found


@dataclass(frozen=True)
class InvariantDrift(Finding):
    """``lam v``, with what the loss has seen of v so far: constant from t0 to t1.

    A verdict like `TaylorTest`.
    """

    ts: np.ndarray  # (M,), the nodes of the path
    values: np.ndarray  # (M,)
    expected: float  # dL/dz0 v(t0), from the tangent alone
    drift: float  # the spread of the values over the expected one
    where: float  # the time at which they change most
    excludes: float
    failures: tuple[str, ...]


def invariant_drift(problem: InitialValueProblem, loss: Loss, gradient: Gradient, *, direction=None,
                    claim: float = 1e-4, rtol: float = 1e-10, atol: float = 1e-12
                    ) -> InvariantDrift:  # fmt: skip
    """d/dt (lam v) = -g_z v for a tangent v' = f_z v, and lam v falls by l_z v at an observation.

    The tangent is solved forwards, with derivatives along v by differences of fourth order: nothing
    is shared with the adjoint, not even automatic differentiation (`eq-invariant-sum`). A term that
    is missing or wrong shows *at the time where it is missing*. It looks at lambda and dL/dz0, not
    at dL/dtheta.

    Parameters
    ----------
    gradient : Gradient
        Of this problem and loss, with its path.
    direction : array, shape of z0, optional
        v(t0); random when absent.
    claim : float
        The relative error to exclude, above that of the gradient's solve.
    rtol, atol : float
        Tolerances of the tangent solve.
    """
    shape, theta, size = problem.z0.shape, problem.theta, problem.z0.size
    if direction is None:
        direction = np.random.default_rng(0).normal(size=shape)
    terms = loss.observations.ts if loss.observations else np.zeros(0)

    def tangent(t, state, _):
        z, v = state[:size].reshape(shape), state[size:-1].reshape(shape)
        seen = slope(lambda x: loss.running(t, x, theta), z, v) if loss.running else 0.0
        rate = slope(lambda x: problem.f(t, x, theta), z, v)
        return np.concatenate([np.ravel(problem.f(t, z, theta)), np.ravel(rate), [seen]])

    start = np.concatenate([problem.z0.ravel(), np.ravel(direction), [0.0]])
    pair = InitialValueProblem(tangent, start, problem.t0, problem.t1)
    path = solve(pair, rtol=rtol, atol=atol, ts=terms if len(terms) else None).dense
    split = lambda t: np.split(path(t)[:-1].reshape(2, *shape), 2)

    ts, lams = gradient.path.ts, gradient.path.lams
    vs, seen = path(ts)[:, size:-1].reshape(lams.shape), path(ts)[:, -1].copy()
    total, second = path(problem.t1)[-1], np.append(False, np.diff(ts) == 0)
    for i, t in enumerate(terms):
        z, v = (x[0] for x in split(t))
        part = slope(lambda x, i=i: loss.observations.fun(i, x), z, v)
        late = (ts - t) * np.sign(problem.t1 - problem.t0)
        seen[(late > 0) | ((late == 0) & second)] += part
        total += part
    if loss.terminal:
        total += slope(lambda x: loss.terminal(x, theta), *(x[0] for x in split(problem.t1)))
    products = np.sum((lams * vs).reshape(len(ts), -1), axis=1)
    return drifted(ts, products + seen, float(total), float(np.sum(gradient.z0 * direction)), claim)


def drifted(ts, values, expected, at_start, claim) -> InvariantDrift:
    with np.errstate(all="ignore"):
        off = np.max(np.abs(np.append(values, at_start) - expected)) / abs(expected)
        drift, k = float(np.ptp(values) / abs(expected)), int(np.argmax(np.abs(np.diff(values))))
    where = float(ts[k + 1])
    failures = found(
        (not drift <= claim, f"it changes by {drift:.1e} of its size, most at t = {where:.4g}"),
        (drift <= claim and not off <= claim, f"constant, but off by {off:.1e}: a factor, or dL/dz0"),
    )
    return InvariantDrift(ts, values, expected, drift, where, claim, failures)


def slope(fun: Callable, z: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The derivative of fun at z along v, by a difference of fourth order."""
    h = 1e-3 * (1 + np.max(np.abs(z))) / max(np.max(np.abs(v)), 1e-300)
    at = lambda m: np.asarray(fun(z + m * h * v))
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
