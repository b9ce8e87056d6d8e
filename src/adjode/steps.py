"""Runge-Kutta steps, of a given size or of a size adapted to a tolerance."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np

from adjode.problem import IntegrationError
from adjode.tableau import ButcherTableau

FEWEST = 10  # steps of an adaptive solve: f may have more to say later
UNITS = 0.1  # a rate so much smaller beside the size of each entry: they have different units
SAFETY = 0.7  # of the step that should do; a rejected one costs all of its evaluations


def rk_step(tableau: ButcherTableau, f: Callable, t, z, theta, h):
    """z_next = z + h sum_i b_i k_i with k_i = f(t + c_i h, z + h sum_{j<i} a_ij k_j, theta);
    autograd can trace it in every argument. Raises ValueError when the scheme is implicit."""
    if tableau.implicit:
        raise ValueError(f"rk_step takes one stage after the other, and those of {tableau.name} wait for "
                         "each other; use solve_fixed, which solves for them")  # fmt: skip
    ks: list = []
    for row, c in zip(tableau.a, tableau.c, strict=True):
        shift = sum(a * k for a, k in zip(row, ks, strict=False) if a)
        ks.append(f(t + c * h, z + h * shift, theta))
    return z + h * sum(b * k for b, k in zip(tableau.b, ks, strict=True) if b)


def rk_steps(tableau: ButcherTableau, f: Callable, ts, z, theta) -> list:
    """The states at the grid ts; backpropagation through it is what `adjoint_discrete` equals."""
    zs = [z]
    for n in range(len(ts) - 1):
        zs.append(rk_step(tableau, f, ts[n], zs[-1], theta, ts[n + 1] - ts[n]))
    return zs


def stage_derivatives(tableau, field, t, z, h, k0) -> np.ndarray:
    """The k_i of `rk_step` for a flat plain state, shape (s, D); k0 = f(t, z) is at hand."""
    ts, weights = (t + h * tableau.c).tolist(), np.ones((len(tableau.b), len(tableau.b) + 1))
    rows = np.zeros((len(tableau.b) + 1, len(z)))  # z, and below it the k_i: one product gives a Z_i
    weights[:, 1:], rows[0], rows[1] = h * tableau.a, z, k0
    f = field.several(len(ts) - 1)
    for i in range(1, len(ts)):
        rows[i + 1] = f(ts[i], weights[i].dot(rows))
    return rows[1:]


def fixed_steps(field, z, stops, tableau, n_steps) -> Iterator[tuple]:
    """Yield (t, z, h, k, 1) for n_steps equal steps between each stop and the next, and an end."""
    fsal, k0 = first_same_as_last(tableau), field(stops[0], z)
    for start, stop in pairwise(stops):
        for t, t_next in pairwise(np.linspace(start, stop, n_steps + 1).tolist()):
            h = t_next - t
            k = stage_derivatives(tableau, field, t, z, h, k0)
            yield t, z, h, k, 1
            z = z + h * (tableau.b @ k)
            k0 = k[-1] if fsal else field(t_next, z)
    yield stops[-1], z, 0.0, k0[None], 0


def first_same_as_last(tableau) -> bool:
    """Is the last stage f(t + h, z_next), and so the first one of the next step?"""
    return np.array_equal(tableau.a[-1], tableau.b)  # so c_s = 1: the rows of a sum to c, b to 1


def trial_step(tableau, field, t, z, h, k0, rtol, atol) -> tuple:
    """The stages of a step; z after it; what it may be off by, and how often it is."""
    k = stage_derivatives(tableau, field, t, z, h, k0)
    z_next = z + h * (tableau.b @ k)
    scale = 0.1 * (atol + rtol * np.maximum(np.abs(z), np.abs(z_next)))
    return k, z_next, scale, error_norm(tableau, k, h, scale)


def turned(field, t, z, k0, v, atol) -> tuple:
    """w = f_z v / |v| by a difference, the next v as in the power method; |w|; w v; and |v|."""
    size, length = 1e-7 * norm(z) + atol, norm(v)
    w = (field(t, z + size / length * v) - k0) / size
    return w, norm(w), float(w @ v), length


def adaptive_steps(field, z, stops, tableau, rtol, atol, longest=np.inf, tangent=False,
                   patience=np.inf, trial=trial_step, turned=turned) -> Iterator:  # fmt: skip
    """Yield (t, z, h, k, tries) for each accepted step, and an end (t1, z1, 0, [f(t1, z1)], 0); the
    local error stays below a tenth of atol + rtol |z|, since errors add up on the way, and no step is
    longer than `longest`. `tangent`: steps are bounded by the rate of v' = f_z v, which the error of z
    does not show at rest. Raises Stiff where they follow a decay, and the rest would cost more
    evaluations than `patience`. `trial` and `turned` are those of this module, or do the same."""
    t, tries, k = stops[0], 0, field(stops[0], z)[None]
    if not np.all(np.isfinite(k)):
        raise IntegrationError(f"f(t, z, theta) is not finite at the start, t = {t}: {k[0]}")
    scale = atol + rtol * np.abs(z)
    h = first_step(field, t, z, k[0], stops[-1] - t, tableau, scale)
    longest = math.copysign(longest, h)
    power, v, error, held = tableau.order + 1, np.cos(1.0 + np.arange(len(z))), 0.0, 0
    reach, past = ((0.1 * rtol * math.factorial(power)) ** (1 / power), 0.5 * stable(tableau)), None
    least = np.max(atol)
    for stop in stops[1:]:
        while t != stop:
            if tangent and tries == 0:
                h, v, decays = bounded(field, t, z, k[-1], h, v, reach, least, error, scale, turned)
                costly = abs((stops[-1] - t) / h) * len(k) > patience
                held = held + 1 if costly and decays and past and idles(*past, norm(v)) else held // 2
                if held > 10:
                    raise Stiff(f"the problem is stiff at t = {t}")
            rest, h = stop - t, shorter(h, longest)
            t_next = (
                stop if abs(rest) <= max(abs(h), 16 * math.ulp(t)) else t + shorter(h, rest / 2)
            )  # no slivers
            step = t_next - t  # the size that the reverse sweep will see, to the last bit
            k_new, z_next, scale, error = trial(tableau, field, t, z, step, k[-1], rtol, atol)
            tries += 1
            factor = SAFETY * max(error, 1e-10) ** (-1 / (tableau.error_order + 1))
            if error < 1:  # not so when anything is not finite
                yield t, z, step, k_new, tries
                longer = step * min(10.0, factor)
                h = max(h, longer, key=abs) if factor > 1 and abs(step) < abs(h) else longer
                t, z, k, tries, past = t_next, z_next, k_new, 0, (step, k_new, scale)
                continue
            h = step * max(0.2, factor)  # which is 0.2 where factor is nan
            if abs(h) < 16 * np.spacing(abs(t)):
                raise IntegrationError(f"the solve stopped at t = {t} before t = {stops[-1]}: the "
                                       "solution may blow up, or f be not finite")  # fmt: skip
    yield t, z, 0.0, k[-1:], 0


def error_norm(tableau, k, h, scale) -> float:
    """The largest entry of the local error over its tolerance; two estimates e, e' are combined
    as e^2 / sqrt(e^2 + e'^2 / 100), which is of higher order."""
    sizes = (np.abs(h * np.dot(tableau.errors, k)) / scale).max(axis=1, initial=0.0).tolist()
    if len(sizes) == 2 and sizes[0] > 0:
        return sizes[0] ** 2 / math.hypot(sizes[0], 0.1 * sizes[1])
    return sizes[0]


def first_step(field, t, z, k0, span, tableau, scale) -> float:
    """A step over which the first terms of the Taylor series stay near the tolerance."""
    most, sign = lambda x: np.max(np.abs(x) / scale, initial=0.0), np.sign(span)
    size, slope = most(z), most(k0)
    h = min(1e-6 if min(size, slope) < 1e-5 else 0.01 * size / slope, abs(span))
    bend = most(field(t + sign * h, z + sign * h * k0) - k0) / h
    steepest = max(slope, bend) if np.isfinite(bend) else 1 / h
    best = (0.01 / steepest) ** (1 / (tableau.error_order + 1)) if steepest > 0 else abs(span)
    return float(sign * max(min(max(100 * h, 1e-6), best, abs(span)), 16 * np.spacing(abs(t))))


def bounded(field, t, z, k0, h, v, reach, atol, error, scale, turned=turned) -> tuple:
    """h, bounded by the rate of f_z; the next v; and whether h is no small part of the time of a decay.
    Where v decays and the error of z shows it, steps go on to half of what is stable, reach[1] / rate:
    decay stays decay. Else to reach[0]."""
    (w, rate, turn, length), sign = turned(field, t, z, k0, v, atol), math.copysign(1.0, h)
    if rate * abs(h) > reach[0]:  # it counts; and entries may have units of their own
        x, y = w / scale, v / scale
        own = norm(x) / norm(y) * length
        if own < UNITS * rate:
            rate, turn = own, float(x @ y) / float(y @ y) * length**2
    if not 0 < rate < np.inf:
        return h, v, False
    decays = sign * turn < -0.7 * rate * length
    most = sign * (max(reach) if decays and error >= 1e-3 else reach[0]) / rate
    h = shorter(h, most)
    return h, w, decays and abs(h) * rate > 0.2


def shorter(one: float, other: float) -> float:
    """Of two steps."""
    return one if abs(one) <= abs(other) else other


def norm(x) -> float:
    """The Euclidean norm of a vector; of a short one np.linalg.norm takes twice as long."""
    return math.sqrt(x @ x)


def idles(h, k, scale, rate) -> bool:
    """Whether f changed little over a step, to what a `rate` of f_z can make of it: z is no longer
    what decays, as in z' = -rate (z - sin t)."""
    turn, way = ((np.abs(h * x) / scale).max(initial=0.0) for x in (k[-1] - k[0], k))
    return bool(turn <= max(0.1 * abs(h) * rate * way, 1.0))


@lru_cache
def stable(tableau: ButcherTableau) -> float:
    """The largest x up to which steps of size x / k do not make z' = -k z grow."""
    series, power = [], np.ones(len(tableau.b))  # R(x) = 1 + x b 1 + x^2 b a 1 + ...
    for _ in tableau.b:
        series, power = [*series, tableau.b @ power], tableau.a @ power
    x = np.linspace(0.0, 20.0, 401)
    growth = 1 - x * np.polynomial.polynomial.polyval(-x, series)
    return float(x[np.argmax(np.abs(growth) > 1 + 1e-9)])


class Stiff(IntegrationError):
    """Steps held down by decay, not by the error: an implicit scheme is called for."""


class Counted:
    """A field that counts its evaluations and stops when there are too many."""

    def __init__(self, field: Callable, limit: float = np.inf, calls: int = 0):
        self.field, self.limit, self.calls, self.vjps = field, limit, calls, 0

    def several(self, n: int) -> Callable:
        """The field itself for n evaluations, which are counted at once; or this one, if that many are not
        left."""
        if self.calls + n > self.limit:
            return self
        self.calls += n
        return self.field

    def __call__(self, t: float, z: np.ndarray) -> np.ndarray:
        if self.calls >= self.limit:
            raise IntegrationError(
                f"the solve used {self.calls} evaluations and stands at t = {t}. The problem may be "
                'stiff (method="radau"), or rtol too small'
            )
        self.calls += 1
        return self.field(t, z)
