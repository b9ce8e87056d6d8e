"""Runge-Kutta schemes as data.

c_2 | a_21
c_3 | a_31 a_32             k_i = f(t + c_i h, z + h sum_j a_ij k_j), explicit when a_ij = 0, j >= i
----+---------------        z_next = z + h sum_i b_i k_i
    | b_1  b_2 ... b_s
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import scipy.integrate
from numpy.polynomial import Legendre


@dataclass(frozen=True, eq=False)
class ButcherTableau:
    """z_next = z + h sum_i b_i k_i with k_i = f(t + c_i h, z + h sum_j a_ij k_j).

    Raises ValueError when shapes disagree, an entry is no finite number, or the rows of a or b have
    wrong sums. A scheme of your own runs in `solve_fixed`; explicit or implicit is seen from a.
    """

    name: str
    order: int  # the global error is O(h^order)
    a: np.ndarray  # (s, s), strictly lower triangular in an explicit scheme, else implicit
    b: np.ndarray  # (s,)
    c: np.ndarray  # (s,)
    errors: np.ndarray = ()  # (m, s): h errors @ k are m estimates of the local error
    error_order: int = 0  # the estimate is O(h^(error_order + 1))
    extra_a: np.ndarray | None = None  # (x, s + x), stages that only the dense output needs
    extra_c: np.ndarray | None = None  # (x,)
    dense: np.ndarray | None = None  # (s + x, m): z(t + x h) = z + h sum_j (dense_j @ k) x^(j+1)
    implicit: bool = field(init=False)  # a step solves equations for its stages

    def __post_init__(self):
        try:
            a, b, c = (np.array(x, float) for x in (self.a, self.b, self.c))
        except (TypeError, ValueError):
            raise ValueError(f"tableau {self.name}: a, b and c must be arrays of real numbers") from None
        shapes = a.shape == 2 * b.shape and c.shape == b.shape and b.ndim == 1
        for holds, rule in (
            (shapes, f"shapes (s, s), (s,), (s,) are needed; got {a.shape}, {b.shape}, {c.shape}"),
            (shapes and all(np.all(np.isfinite(x)) for x in (a, b, c)), "every entry must be finite"),
            (shapes and np.allclose(a.sum(1), c, 0, 1e-13), "the rows of a must sum to c"),
            (abs(b.sum() - 1) < 1e-13, f"weights b must sum to 1; got {b.sum()}"),
        ):
            if not holds:
                raise ValueError(f"tableau {self.name}: {rule}")
        errors = np.reshape(np.array(self.errors, float), (-1, len(b)))
        parts = {"a": a, "b": b, "c": c, "errors": errors, "implicit": bool(np.any(np.triu(a)))}
        for name, value in parts.items():
            np.asarray(value).setflags(write=False)
            object.__setattr__(self, name, value)


def check_tableau(tableau) -> None:
    if not isinstance(tableau, ButcherTableau):
        raise TypeError(f"`tableau` must be a ButcherTableau, such as rk4(); got {type(tableau).__name__}")


def euler() -> ButcherTableau:
    """z_next = z + h f(t, z), order 1."""
    return ButcherTableau("euler", 1, [[0]], [1], [0])


def midpoint() -> ButcherTableau:
    """z_next = z + h f(t + h/2, z + h k_1 / 2), order 2; b_1 = 0."""
    return ButcherTableau("midpoint", 2, [[0, 0], [1 / 2, 0]], [0, 1], [0, 1 / 2])


def heun() -> ButcherTableau:
    """z_next = z + h (k_1 + k_2) / 2 with k_2 at the end of an Euler step, order 2."""
    return ButcherTableau("heun", 2, [[0, 0], [1, 0]], [1 / 2, 1 / 2], [0, 1])


def kutta3() -> ButcherTableau:
    """z_next = z + h (k_1 + 4 k_2 + k_3) / 6, Kutta's scheme of order 3."""
    a = [[0, 0, 0], [1 / 2, 0, 0], [-1, 2, 0]]
    return ButcherTableau("kutta3", 3, a, [1 / 6, 2 / 3, 1 / 6], [0, 1 / 2, 1])


def rk4() -> ButcherTableau:
    """z_next = z + h (k_1 + 2 k_2 + 2 k_3 + k_4) / 6, order 4."""
    a = [[0, 0, 0, 0], [1 / 2, 0, 0, 0], [0, 1 / 2, 0, 0], [0, 0, 1, 0]]
    return ButcherTableau("rk4", 4, a, [1 / 6, 1 / 3, 1 / 3, 1 / 6], [0, 1 / 2, 1 / 2, 1])


def dopri5() -> ButcherTableau:
    """Orders 5 and 4, of Dormand and Prince: seven stages, the last one f(t + h, z_next)."""
    pair, none = scipy.integrate.RK45, (np.zeros((0, 7)), np.zeros(0))
    return ButcherTableau("dopri5", 5, *with_last_stage(pair), (pair.E,), 4, *none, pair.P)


def dop853() -> ButcherTableau:
    """Orders 8, 5 and 3, of Hairer, Norsett and Wanner: thirteen stages, the last one
    f(t + h, z_next), and three more for a dense output of order 7."""
    pair = scipy.integrate.DOP853
    a, b, c = with_last_stage(pair)
    first, last, full_b = np.eye(16)[0], np.eye(16)[12], np.append(b, np.zeros(3))
    dense, basis = np.zeros((16, 7)), np.ones(1)
    for j, w in enumerate([full_b, first - full_b, 2 * full_b - first - last, *pair.D]):
        basis = np.convolve(basis, [1, -1] if j % 2 else [0, 1])  # x, x(1-x), x^2(1-x), ...
        dense[:, : j + 1] += np.outer(w, basis[1:])
    extra = pair.A_EXTRA, pair.C_EXTRA
    return ButcherTableau("dop853", 8, a, b, c, (pair.E5, pair.E3), 7, *extra, dense)


def implicit_midpoint() -> ButcherTableau:
    """z_next = z + h f(t + h/2, (z + z_next) / 2), order 2; k_1 = f(t, z) has weight 0."""
    return ButcherTableau("implicit_midpoint", 2, [[0, 0], [0, 1 / 2]], [0, 1], [0, 1 / 2])


def trapezoid() -> ButcherTableau:
    """z_next = z + h (f(t, z) + f(t + h, z_next)) / 2, order 2."""
    return ButcherTableau("trapezoid", 2, [[0, 0], [1 / 2, 1 / 2]], [1 / 2, 1 / 2], [0, 1])


def radau(stages: int = 3) -> ButcherTableau:
    """Radau IIA of order 2 s - 1: collocation at s nodes, s odd, the last one at t + h; for stiff
    problems. The stage k_1 = f(t, z), of weight 0, serves the error estimate of order s.

    Notes
    -----
    Hairer and Wanner, Solving Ordinary Differential Equations II, sections IV.5 and IV.8.
    """
    nodes = (Legendre.basis(stages) - Legendre.basis(stages - 1)).roots().real
    c, powers = np.append((np.sort(nodes)[:-1] + 1) / 2, 1.0), np.arange(1, stages + 1)
    integrals = np.linalg.inv(np.vander(c, increasing=True)) / powers[:, None]
    a = c[:, None] ** powers @ integrals  # integrals of the Lagrange polynomials on the nodes
    rates = np.linalg.eigvals(np.linalg.inv(a))
    first = 1 / rates[np.argmin(np.abs(rates.imag))].real  # the weight of k_1 in the error
    sums = 1 / powers - first * (powers == 1)
    error = np.append(first, np.linalg.solve(c ** (powers[:, None] - 1), sums) - a[-1])
    with_first = lambda rows: np.pad(rows, [(1, 0)] * np.ndim(rows))
    dense, none = np.vstack([np.zeros(stages), integrals.T]), (np.zeros((0, stages + 1)), np.zeros(0))
    pair = with_first(a), with_first(a[-1]), with_first(c), (error,), stages
    return ButcherTableau("radau", 2 * stages - 1, *pair, *none, dense)


def with_first_stage(tableau: ButcherTableau) -> ButcherTableau:
    """The same scheme with the stage f(t, z) of weight 0 before the others, unless it is there."""
    if not np.any(tableau.a[0]):
        return tableau
    padded = (np.pad(x, [(1, 0)] * np.ndim(x)) for x in (tableau.a, tableau.b, tableau.c))
    return ButcherTableau(tableau.name, tableau.order, *padded)


def with_last_stage(pair) -> tuple:
    """SciPy's a, b, c with the stage k_(s+1) = f(t + h, z_next) of weight 0 appended."""
    s = len(pair.B)
    a = np.zeros((s + 1, s + 1))
    a[:s, : pair.A.shape[1]], a[s, :s] = pair.A, pair.B
    return a, np.append(pair.B, 0), np.append(pair.C, 1)


@cache
def adaptive_tableau(method: str) -> ButcherTableau:
    """The embedded scheme with this name, read-only; "auto" is the one of highest order."""
    pairs = {"auto": dop853, "dopri5": dopri5, "dop853": dop853, "radau": lambda: radau(7)}
    if method not in pairs:
        raise ValueError(f'`method` must be "auto", "dopri5", "dop853" or "radau"; got {method!r}. '
                         "A scheme without an error estimate runs in adjode.solve_fixed")  # fmt: skip
    return pairs[method]()
