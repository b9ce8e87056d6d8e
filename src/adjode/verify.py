"""How to know that a gradient is right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TaylorTest:
    """``R(e) = |L(x + e d) - L(x) - e g d|`` for falling steps e."""

    steps: np.ndarray  # (n,)
    remainders: np.ndarray  # (n,)
    rates: np.ndarray  # (n - 1,), observed orders of R; 2 for a right gradient
    bound: float  # the relative error of g d that the smallest step leaves possible, R(e) / (e |g d|)
    floor: float  # rounding of L; remainders near it say nothing


def taylor_remainders(
    value: Callable, x: np.ndarray, gradient: np.ndarray, direction: np.ndarray, *, steps=None
) -> TaylorTest:
    """L(x + e d) = L(x) + e g d + O(e^2): rates of 2, and the size of what remains.

    A rate of 2 on large steps says little: read it together with `bound`.

    Parameters
    ----------
    value : callable
        ``value(x)``, a float.
    x, gradient, direction : array, one shape
    steps : array, shape (n,), optional
        Falling; 0.1 halved ten times when absent.
    """
    steps = 0.1 * 0.5 ** np.arange(11) if steps is None else np.asarray(steps, float)
    base, slope = value(x), float(np.sum(np.asarray(gradient) * np.asarray(direction)))
    values = np.array([value(x + e * direction) for e in steps])
    remainders = np.abs(values - base - steps * slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.diff(np.log(remainders)) / np.diff(np.log(steps))
        bound = float(np.divide(remainders[-1], steps[-1] * abs(slope)))
    return TaylorTest(steps, remainders, rates, bound, float(4e-16 * np.max(np.abs(values))))
