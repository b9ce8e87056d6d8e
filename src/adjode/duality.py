"""A row, a matrix and a column, multiplied from both sides: (lam J) v = lam (J v)."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adjode.loss import Gradient
from adjode.problem import InitialValueProblem, Loss
from adjode.solve import solve
from adjode.verify import Finding, found


def complex_step(fun: Callable, x: np.ndarray, direction: np.ndarray):
    """J d = Im fun(x + i h d) / h with h = 1e-30: a derivative without a subtraction, so without
    rounding error to speak of; `eq-complex-step`.

    `fun` must be complex-differentiable as it is written. Two values of it tell: the result is
    compared with a central difference, to one part in ten thousand.

    Raises
    ------
    TypeError
        When the imaginary part is dropped: by abs, real, float, or an array that holds reals.
    ValueError
        When it is changed (conj, a norm, abs in one term), or the shapes differ.
    """
    x, d, h = np.asarray(x, float), np.asarray(direction, float), 1e-30
    if x.shape != d.shape:
        raise ValueError(f"x and direction need one shape; got {x.shape} and {d.shape}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            out = fun(x + 1j * h * d)
        except np.exceptions.ComplexWarning:
            out = 0.0
    if not np.iscomplexobj(out):
        raise TypeError("fun dropped the imaginary part of its argument (abs, real, float, a real "
                        "array), or ignores it; write it so that complex numbers pass")  # fmt: skip
    result, e = np.imag(out) / h, 6e-6 * (1 + np.max(np.abs(x))) / max(np.max(np.abs(d)), 1e-300)
    central = lambda e: (np.asarray(fun(x + e * d)) - fun(x - e * d)) / (2 * e)
    near, far = central(e), central(2 * e)  # they differ by what a difference gets wrong
    allowed = 1e-4 * np.max(np.abs(near)) + 1e-10 * np.max(np.abs(out)) / e + np.abs(near - far)
    if not np.all(np.abs(result - near) <= allowed):
        raise ValueError("the complex step and a difference disagree: fun is not complex-"
                         "differentiable as written (conj, a norm, abs) or not smooth here")  # fmt: skip
    return result


@dataclass(frozen=True)
class DotProductTest(Finding):
    """``lam (J v)`` beside ``(lam J) v`` for random lam and v; a verdict like `TaylorTest`."""

    jvps: np.ndarray  # (n,), lam (J v)
    vjps: np.ndarray  # (n,), (lam J) v
    gap: float  # the largest difference over the largest product
    excludes: float
    failures: tuple[str, ...]


def dot_product_test(jvp: Callable, vjp: Callable, v_shape: tuple, lam_shape: tuple, *,
                     claim: float = 1e-10, pairs: int = 5, seed: int = 0) -> DotProductTest:  # fmt: skip
    """lam (J v) = (lam J) v: two programs, one matrix, which neither forms; `eq-dot-product`.

    A scalar loss has one row: ``vjp = lambda lam: lam * gradient`` with ``lam_shape = ()``.

    Parameters
    ----------
    jvp, vjp : callable
        ``jvp(v)`` is J v, of lam_shape, by a way that shares nothing with ``vjp(lam)``, which is
        lam J, of v_shape: `complex_step`, say, or a difference.
    claim : float
        The relative error of J to exclude; above the error of the jvp.
    """
    rng, products = np.random.default_rng(seed), []
    for _ in range(pairs):
        v, lam = rng.normal(size=v_shape), rng.normal(size=lam_shape)
        ahead, back = np.asarray(jvp(v)), np.asarray(vjp(lam))
        if ahead.shape != np.shape(lam) or back.shape != np.shape(v):
            raise ValueError(f"J v and lam J need the shapes {np.shape(lam)} and {np.shape(v)}; "
                             f"got {ahead.shape} and {back.shape}")  # fmt: skip
        products.append((np.sum(lam * ahead), np.sum(back * v)))
    jvps, vjps = np.array(products).T
    size = np.max(np.abs(jvps))
    gap = float(np.max(np.abs(jvps - vjps)) / size) if size > 0 else np.inf
    failures = found(
        (size == 0, "every J v is zero: nothing was tested"),
        (size > 0 and not gap <= claim, f"the products differ by {gap:.1e} of their size"),
    )
    return DotProductTest(jvps, vjps, gap, claim, failures)


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
