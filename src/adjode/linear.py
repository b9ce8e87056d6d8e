"""Linear systems of which the pattern is known: dense, banded or sparse; as they are or transposed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive
from scipy.linalg.lapack import dgbtrf, dgbtrs, dgetrf, dgetrs
from scipy.sparse import csc_array, csr_array
from scipy.sparse.linalg import LinearOperator, onenormest, splu

from adjode.problem import GradientError

LOST = 1e-4  # more than this part of a solution lost to rounding is an error


@dataclass(frozen=True)
class Pattern:
    """Which entries of an (n, n) matrix may differ from zero."""

    n: int
    rows: np.ndarray  # (nnz,), with cols the places of these entries
    cols: np.ndarray  # (nnz,)
    group: np.ndarray  # (n,), the group of each row: rows of one group share no column
    decompose: Callable  # entries, shape (nnz,) -> solve(b, transposed), or LinAlgError

    @property
    def seeds(self) -> np.ndarray:
        """A row for each group, the sum of its unit rows: ``seeds @ A`` holds every entry of A once."""
        return (np.arange(self.group.max() + 1)[:, None] == self.group).astype(float)


def as_pattern(pattern: Any, n: int) -> Pattern:
    """From None for all entries, (lower, upper) for a band, or an (n, n) mask."""
    if pattern is None:
        return Pattern(n, *np.divmod(np.arange(n * n), n), np.arange(n), lambda values: dense(values, n))
    if isinstance(pattern, tuple) and len(pattern) == 2 and all(map(np.isscalar, pattern)):
        if not all(isinstance(k, int | np.integer) and 0 <= k < n for k in pattern):
            raise ValueError(f"`pattern` must hold two bandwidths from 0 to {n - 1}; got {pattern}")
        lower, upper = pattern
        rows, k = np.divmod(np.arange(n * (lower + upper + 1)), lower + upper + 1)
        cols = rows + k - lower
        inside = (cols >= 0) & (cols < n)
        rows, cols, group = rows[inside], cols[inside], np.arange(n) % (lower + upper + 1)
        return Pattern(n, rows, cols, group, lambda values: banded(values, rows, cols, n, lower, upper))
    try:
        mask = csr_array(pattern)
    except (TypeError, ValueError):
        mask = np.zeros(0)
    if mask.shape != (n, n):
        got = mask.shape if mask.size else repr(pattern)[:60]
        raise ValueError(f"`pattern` must be None, (lower, upper) or a mask of shape {(n, n)}; got {got}")
    rows, cols = mask.nonzero()
    return Pattern(n, rows, cols, grouped(rows, cols, n), lambda values: sparse(values, rows, cols, n))


def grouped(rows: np.ndarray, cols: np.ndarray, n: int) -> np.ndarray:
    """Each row joins the first group that has none of its columns (Curtis, Powell and Reid, 1974)."""
    group, taken, order = np.zeros(n, int), [], np.argsort(rows)
    for i, own in enumerate(np.split(cols[order], np.searchsorted(rows[order], np.arange(1, n)))):
        free = [g for g, used in enumerate(taken) if not used[own].any()]
        if not free:
            taken.append(np.zeros(n, bool))
        group[i] = free[0] if free else len(taken) - 1
        taken[group[i]][own] = True
    return group


def dense(values: np.ndarray, n: int) -> Callable:
    lu, pivots, info = dgetrf(values.reshape(n, n))
    refuse_singular(info)
    return lambda b, transposed: dgetrs(lu, pivots, b, trans=int(transposed))[0].ravel()


def banded(values: np.ndarray, rows, cols, n: int, lower: int, upper: int) -> Callable:
    store = np.zeros((2 * lower + upper + 1, n))  # LAPACK's: entry (i, j) in row lower + upper + i - j
    store[lower + upper + rows - cols, cols] = values
    lu, pivots, info = dgbtrf(store, lower, upper)
    refuse_singular(info)
    return lambda b, transposed: dgbtrs(lu, lower, upper, b, pivots, trans=int(transposed))[0].ravel()


def sparse(values: np.ndarray, rows, cols, n: int) -> Callable:
    try:
        lu = splu(csc_array((values, (rows, cols)), shape=(n, n)))
    except RuntimeError:
        refuse_singular(1)
    return lambda b, transposed: lu.solve(b, "T" if transposed else "N")


def refuse_singular(info: int) -> None:
    if info > 0:
        raise np.linalg.LinAlgError


class Factor:
    """A matrix A of a known pattern, with its LU decomposition."""

    def __init__(self, pattern: Pattern, values: np.ndarray):
        self.pattern, self.values, self.solve = pattern, values, pattern.decompose(values)

    def times(self, x: np.ndarray, transposed: bool, size: bool = False) -> np.ndarray:
        """``A x`` or ``A^T x``; with `size` the sum of the sizes of its terms, ``|A| |x|``."""
        i, j = places(self.pattern, transposed)
        terms = self.values * x[j]
        return np.bincount(i, np.abs(terms) if size else terms)  # A is regular: no empty row

    def spread(self, x: np.ndarray, transposed: bool) -> np.ndarray:
        """What rounding may leave in each equation, ``k eps |A| |x|`` with k entries in a row."""
        width = 1 + np.max(np.bincount(places(self.pattern, transposed)[0]))
        return width * 1.1e-16 * self.times(x, transposed, size=True)

    def rounding(self, x: np.ndarray, residual, transposed: bool) -> float:
        """About the largest error that rounding may leave in the solution x of a system with A.

        The largest entry of ``|A^-1| (|residual| + spread)``: it does not change when an equation is
        scaled (Arioli, Demmel and Duff, 1989, as in LAPACK's xGERFS).
        """
        spread = np.abs(residual) + self.spread(x, transposed)
        there = lambda y: spread * self.solve(np.ravel(y), not transposed)
        back = lambda y: self.solve(spread * np.ravel(y), transposed)
        inverse = LinearOperator((len(x), len(x)), matvec=there, rmatvec=back, dtype=float)
        return float(onenormest(inverse, t=1))

    def noise(self, x: np.ndarray) -> np.ndarray:
        """What rounding may leave in each entry of x, from three draws of it, and ten times that."""
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (3, len(x)))
        return 10 * np.max(np.abs([self.solve(self.spread(x, False) * s, False) for s in signs]), axis=0)


def places(pattern: Pattern, transposed: bool) -> tuple:
    return (pattern.cols, pattern.rows) if transposed else (pattern.rows, pattern.cols)


def _solution(values, b, factor: Factor, transposed: bool) -> np.ndarray:
    """x with ``A x = b``, or with ``x A = b`` when transposed; A has the entries `values`.

    `factor` is that of the same A, so the values serve the derivative alone.
    """
    with np.errstate(all="ignore"):
        x = factor.solve(b, transposed)
        lost = factor.rounding(x, factor.times(x, transposed) - b, transposed)
    if not lost <= LOST * np.max(np.abs(x)):
        part = lost / max(np.max(np.abs(x)), 1e-300)
        raise GradientError(f"rounding may spoil the adjoint solve by a part of {part:.0e}, more than "
                            f"{LOST:.0e}: c_u is singular, nearly so, or not finite")  # fmt: skip
    return x


def _of_values(x, values, b, factor: Factor, transposed: bool) -> Callable:
    i, j = places(factor.pattern, transposed)
    return lambda x_bar: -solution(values, x_bar, factor, not transposed)[i] * anp.array(x)[j]


def _of_b(x, values, b, factor: Factor, transposed: bool) -> Callable:
    return lambda x_bar: solution(values, x_bar, factor, not transposed)


solution = primitive(_solution)
defvjp(solution, _of_values, _of_b, argnums=(0, 1))
