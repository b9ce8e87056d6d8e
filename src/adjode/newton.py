"""Newton's method for c(u, theta) = 0, and c_u from few pullbacks."""

from collections.abc import Callable
from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
from autograd.tracer import isbox

from adjode.linear import LOST, Factor, Pattern
from adjode.problem import read_only
from adjode.solve import checked
from adjode.vjp import pullback

MAX_STEPS, HALVINGS = 50, 60  # of Newton's method, and of one of its steps
SAME = 1e-13  # a part of u that is not worth a new c_u


class RootError(RuntimeError):
    """No root was found, or c_u is singular there."""


@dataclass
class System:
    """c(u, theta) = 0, on flat arrays, and what its solution leaves for the way back."""

    c: Callable
    start: np.ndarray
    unflatten: Callable
    pattern: Pattern
    rtol: float
    atol: float
    factor: Factor | None = None

    def flat(self, u, theta):
        """c as a function of u, shape (n,), and theta, shape (P,), plain or traced."""
        return self.c(anp.reshape(u, self.start.shape), self.unflatten(theta))

    def plain(self, out) -> np.ndarray:
        """What c returned for plain numbers, flat, or an error that says why not."""
        return checked("c(u, theta)", out, self.start.shape).ravel()


def jacobian_entries(system: System, u, theta) -> tuple:
    """c and the entries of c_u, shapes (n,) and (nnz,): a pullback for each group of rows."""
    value, back = pullback(lambda u: system.flat(u, theta), u)
    traced, pattern = any(isbox(x) for x in (u, theta)), system.pattern
    value = value if traced else system.plain(value)  # what is traced was plain, and checked, before
    row = lambda v: anp.ravel(back(anp.reshape(v, system.start.shape))[0])
    compressed = anp.stack([row(seed) for seed in pattern.seeds])
    values = compressed[pattern.group[pattern.rows], pattern.cols]
    return value, values if traced else check_entries(system, values, row)


def check_entries(system: System, values: np.ndarray, row: Callable) -> np.ndarray:
    """The entries, if finite and complete: a random row times c_u must come out as with them."""
    if not np.all(np.isfinite(values)):
        raise RootError("c_u is not finite: c has no derivative there, or u has run away")
    i, j, n = system.pattern.rows, system.pattern.cols, system.pattern.n
    if len(i) == n * n:
        return values
    probe = np.random.default_rng(n).choice(2.0 ** np.arange(8), n)  # powers of 2: no rounding of its own
    terms = probe[i] * values
    missed = np.abs(row(probe) - np.bincount(j, terms, n))
    wrong = missed > 1e-10 * np.bincount(j, np.abs(terms), n)  # far above rounding
    if np.any(wrong):
        raise ValueError(f"c_u has entries outside of `pattern`: column {int(np.argmax(wrong))} of a random "
                         "row times c_u does not come out. Widen the pattern")  # fmt: skip
    return values


def newton(theta: np.ndarray, system: System) -> np.ndarray:
    """u, shape (n,); the factor of c_u at u stays in `system`."""
    u, before, slow = system.start.ravel(), np.inf, False  # slow: small, and no quarter of the last
    flat = lambda u: system.flat(read_only(u), theta)
    with np.errstate(all="ignore"):
        for count in range(MAX_STEPS):
            value = linearise(system, u, theta, count)
            step = -system.factor.solve(value, False)
            new, reached = u + step, largest(u + step)
            noise = np.minimum(system.factor.noise(new), LOST * reached)
            if np.all(beyond(noise, step) <= system.rtol * np.abs(new) + system.atol):
                break
            again = lambda u: system.factor.solve(system.plain(flat(u)), False)
            size = largest(beyond(noise, step))
            u, slow = damped(u, step, again, noise, system, value), before / 4 < size < LOST * reached
            before = size
        else:
            raise stopped(f"no root after {MAX_STEPS} Newton steps", system, u, value)
        lost = system.factor.rounding(new, 0.0, False)
        if lost > LOST * reached:
            part = f"a part of {lost / reached:.0e}, more than {LOST:.0e}"
            raise RootError(f"rounding may spoil {part}, of the root u = {short(new)}: c_u is "
                            "singular or nearly so there")  # fmt: skip
        if np.any(np.abs(step) > SAME * np.abs(new)):  # so that c_u is that of the root, too
            linearise(system, new, theta, count)
    if slow or largest(beyond(noise, step)) > before / 4:
        raise stopped("Newton's steps shrink slowly to the last, as where c_u is singular at the "
                      "root, or where rounding in c asks for a larger rtol", system, u, value)  # fmt: skip
    return new


def linearise(system: System, u: np.ndarray, theta: np.ndarray, count: int) -> np.ndarray:
    """c at u, before Newton step `count`; the factor of c_u goes into `system`."""
    value, values = jacobian_entries(system, u, theta)
    if not np.all(np.isfinite(value)):
        raise RootError(f"c(u, theta) is not finite at u = {short(u)}")
    try:
        system.factor = Factor(system.pattern, values)
    except np.linalg.LinAlgError:
        raise RootError(f"c_u is singular at u = {short(u)} (Newton step {count}): start elsewhere, "
                        "or see whether c determines u") from None  # fmt: skip
    return value


def beyond(noise: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What of the entries of x is not noise."""
    return np.maximum(np.abs(x) - noise, 0.0)


def damped(u, step, again: Callable, noise, system: System, value) -> np.ndarray:
    """u + s step for the first s of 1, 1/2, 1/4, ... from which the next step, `again`, with c_u
    as it is here, is shorter: a test that no scaling of the equations changes (Deuflhard, 2004)."""
    size = largest(beyond(noise, step))
    for s in 0.5 ** np.arange(HALVINGS):
        if largest(beyond(noise, again(u + s * step))) <= (1 - s / 4) * size:
            return u + s * step
    raise stopped("Newton's method is stuck", system, u, value)


def stopped(what: str, system: System, u: np.ndarray, value: np.ndarray) -> RootError:
    lost = system.factor.rounding(u, 0.0, False)
    close = "; c_u is nearly singular there" if not lost <= LOST * largest(u) else ""
    return RootError(f"{what}: stopped at u = {short(u)}, where |c| = {largest(value):.1e}{close}. "
                     "Try a u0 nearer to a root, and see whether there is one")  # fmt: skip


def largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(x)))


def short(u: np.ndarray) -> str:
    return np.array2string(np.ravel(u), precision=4, threshold=6, edgeitems=2)
