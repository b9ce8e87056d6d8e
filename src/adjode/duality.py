"""A row, a matrix and a column, multiplied from both sides: (lam J) v = lam (J v)."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
