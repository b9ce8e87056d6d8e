"""The partner of a Runge-Kutta scheme: what its discrete adjoint does to the adjoint equation."""

import numpy as np

from adjode.batched import stages_that_count
from adjode.tableau import ButcherTableau, check_tableau


def adjoint_tableau(tableau: ButcherTableau) -> np.ndarray:
    """The coefficients of the partner scheme, ``b_j - b_j a_ji / b_i``, shape (s, s).

    Backpropagation through a step of the scheme (a, b, c) is a step of the partner for
    ``lam' = -lam f_z``, read forwards: with ``K_i = -lam_i f_z(t + c_i h, Z_i)`` at the stages of z::

        lam_i = lam_n + h sum_j a*_ij K_j,   lam_next = lam_n + h sum_i b_i K_i.

    A stage that does not count, of weight 0 and used by none that counts, keeps its row of a.

    Raises
    ------
    TypeError
        When it is no tableau.
    ValueError
        When a stage counts and has no weight: there is no partner. `adjoint_discrete` needs none.

    Notes
    -----
    `eq-partner`; Hager (2000), Sanz-Serna (2016).
    """
    check_tableau(tableau)
    a, b = tableau.a, tableau.b
    counts = np.isin(np.arange(len(b)), stages_that_count(tableau))
    missing = np.flatnonzero(counts & (b == 0))
    if len(missing):
        raise ValueError(f"{tableau.name} has no partner, which divides by the weights: b_{missing[0] + 1} "
                         "is 0, and others are computed from that stage. Use adjoint_discrete, which "
                         "divides by nothing")  # fmt: skip
    partner = b - b * a.T / np.where(counts, b, 1.0)[:, None]
    return np.where(counts[:, None], partner, a)


def symplectic_defect(tableau: ButcherTableau) -> np.ndarray:
    """``b_i a_ij + b_j a_ji - b_i b_j``, shape (s, s), symmetric: zero in a symplectic scheme.

    Zero as well exactly when `adjoint_tableau` is a: when the scheme is its own partner.

    Notes
    -----
    `eq-symplectic-defect`; Sanz-Serna (2016).
    """
    check_tableau(tableau)
    half = tableau.b[:, None] * tableau.a
    return half + half.T - np.outer(tableau.b, tableau.b)
