"""How to know that a gradient is right: checkers that can fail, and say what they cannot see."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

ROUNDING = 2 * np.finfo(float).eps  # of one value of L, over its size


class Finding:
    """What a checker found. It passes when `failures` is empty, and prints what it excludes."""

    failures: tuple[str, ...]
    excludes: float  # a relative error larger than this would have shown

    @property
    def passes(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        end = "fails: " + "; ".join(self.failures) if self.failures else self.power()
        return f"{type(self).__name__} {end}"

    def power(self) -> str:
        return f"passes; it excludes relative errors above {self.excludes:.1e}"


def found(*suspects: tuple[bool, str]) -> tuple[str, ...]:
    return tuple(words for wrong, words in suspects if wrong)


@dataclass(frozen=True)
class TaylorTest(Finding):
    """What is left of L(x + e d) after its Taylor polynomial, for falling steps e.

    `passes` and `failures` are the verdict; printed, it says why, or what it excludes.
    """

    steps: np.ndarray  # (n,)
    remainders: np.ndarray  # (n,)
    rates: np.ndarray  # (n - 1,), observed orders of R; `order` for a right gradient
    bound: float  # the relative error of g d that the smallest step leaves possible
    floor: float  # rounding of L; remainders near it say nothing
    order: int = 2
    failures: tuple[str, ...] = field(default=())

    @property
    def excludes(self) -> float:
        return self.bound


def taylor_remainders(value: Callable, x: np.ndarray, gradient: np.ndarray, direction: np.ndarray, *,
                      steps=None, claim: float = 1e-3, central: bool = False, hvp=None
                      ) -> TaylorTest:  # fmt: skip
    """L(x + e d) = L(x) + e g d + O(e^2): rates of 2, `eq-taylor-rate`, and the size of what remains,
    `eq-hidden-error`.

    A rate of 2 on large steps says little. The test passes when every rate is within 0.1 of the
    order, from both sides; the bound is below the claim; the remainders are a hundred times what
    rounding leaves; and g d is not small beside the entries of g that d touches. With `central`,
    half of L(x + e d) - L(x - e d) takes the place of L(x + e d) - L(x): order 3, and for the same
    steps a much smaller bound. With `hvp`, the quadratic term is subtracted too, the order is 3,
    and the bound is that of the curvature d H d.

    Parameters
    ----------
    value : callable
        ``value(x)``, a float, with less noise than the smallest remainder.
    x, gradient, direction : array, one shape
    steps : array, shape (n,), optional
        Falling; from 0.01 halved to about 1e-4 when absent (with `hvp`, from 0.1 to 1e-3).
    claim : float
        The relative error of g d that the test is to exclude.
    hvp : array, shape of x, optional
        The Hessian-vector product H d.
    """
    d, row = np.asarray(direction, float), np.asarray(gradient, float)
    if not np.shape(x) == d.shape == row.shape or (central and hvp is not None):
        raise ValueError(f"x, gradient and direction need one shape; got {np.shape(x)}, {row.shape}, "
                         f"{d.shape}. `central` and `hvp` do not go together")  # fmt: skip
    start, order = (0.01, 2) if hvp is None else (0.1, 3)
    steps = start * 0.5 ** np.arange(8) if steps is None else np.asarray(steps, float)
    if steps.ndim != 1 or len(steps) < 2 or np.any(np.diff(steps) >= 0) or steps[-1] <= 0:
        raise ValueError(f"`steps` must be two or more falling positive numbers; got {steps}")
    slope = float(np.sum(row * d))
    ahead = np.array([float(value(x + e * d)) for e in steps])
    if central:
        base, rest, order = np.array([float(value(x - e * d)) for e in steps]), 2 * steps * slope, 3
    else:
        base, rest = float(value(x)), steps * slope
    tested, unit = slope, steps[-1]
    if hvp is not None:
        row, tested, unit = np.asarray(hvp, float), float(np.sum(np.asarray(hvp) * d)), steps[-1] ** 2 / 2
        rest = rest + steps**2 / 2 * tested
    remainders = np.abs(ahead - base - rest) / (2 if central else 1)
    with np.errstate(all="ignore"):
        rates = np.diff(np.log(remainders)) / np.diff(np.log(steps))
        bound = float(np.divide(remainders[-1], unit * abs(tested)))
    floor = float(ROUNDING * np.max(np.abs(ahead)))
    small = not abs(tested) > 1e-3 * np.linalg.norm(row * (d != 0)) * np.linalg.norm(d)
    off = not np.all(np.abs(rates - order) < 0.1)
    failures = found(
        (small, f"g d is only {tested:.1e}; take another direction, or another point"),
        (off, f"rates from {np.min(rates):.2f} to {np.max(rates):.2f}, not {order}"),
        (not off and not bound < claim, f"an error of {bound:.1e} could hide; take smaller steps"),
        (not np.all(remainders > 100 * floor), "remainders near rounding; take larger steps"),
    )
    return TaylorTest(steps, remainders, rates, bound, floor, order, failures)


@dataclass(frozen=True)
class ObservedOrder(Finding):
    """Errors for falling steps, and the order at which they fall; a verdict like `TaylorTest`."""

    steps: np.ndarray  # (n,)
    errors: np.ndarray  # (n,), or (n - 1,) without `exact`: the differences of neighbours
    orders: np.ndarray  # one fewer
    expected: float
    excludes: float  # the smallest error over the size of what is computed; inf without `exact`
    failures: tuple[str, ...]

    def power(self) -> str:
        limit = "; it cannot see a wrong limit" if self.excludes == np.inf else ""
        return f"passes, order {self.orders[-1]:.2f}" + (limit or f"; {super().power()[8:]}")


def observed_order(values, steps, order: float, *, exact=None, tolerance: float = 0.2) -> ObservedOrder:
    """How fast values computed with falling steps approach `exact`, or each other.

    It passes when the last observed order is within the tolerance of `order` from both sides (too
    high is wrong, too: an error that is zero for another reason) and errors are above rounding.

    Parameters
    ----------
    values : array, shape (n, ...)
        n >= 3, or n >= 4 without `exact`, where a common ratio of the steps is needed as well.
    steps : array, shape (n,), falling
    exact : array, shape (...), optional
        What they should approach. Without it a wrong limit cannot show.
    """
    values, steps = np.asarray(values, float), np.asarray(steps, float)
    ratio = steps[:-1] / steps[1:]
    if len(steps) != len(values) or len(steps) < (3 if exact is not None else 4) or np.any(ratio <= 1):
        raise ValueError(f"falling steps, as many as values, three or more (four without `exact`) are "
                         f"needed; got {len(values)} values and steps {steps}")  # fmt: skip
    if exact is None and not np.allclose(ratio, ratio[0], 1e-6):
        raise ValueError(f"without `exact` the steps need a common ratio; got {ratio}")
    off = np.diff(values, axis=0) if exact is None else values - np.asarray(exact, float)
    errors = np.max(np.abs(off.reshape(len(off), -1)), axis=1)
    with np.errstate(all="ignore"):
        orders = np.log(errors[:-1] / errors[1:]) / np.log(ratio[: len(errors) - 1])
    size = np.max(np.abs(values))
    failures = found(
        (not abs(orders[-1] - order) <= tolerance, f"the observed order is {orders[-1]:.2f}, not {order}"),
        (not errors[-1] > 100 * ROUNDING * size, "errors near rounding; take larger steps"),
    )
    seen = np.inf if exact is None else float(errors[-1] / size)
    return ObservedOrder(steps, errors, orders, order, seen, failures)
