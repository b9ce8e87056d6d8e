"""Products with the Hessian and with the Gauss-Newton matrix: one tangent, one adjoint each.

The derivative of L along w is itself a loss, of the tangent: ``L_z v``. Its gradient in theta is
H w. And half of ``v L_zz v`` is a loss of the tangent, too: its gradient in w is G w.
"""

from dataclasses import dataclass
from typing import Any

from adjode.curvature.follow import tangent_trajectory
from adjode.curvature.tangent import loss_of_pairs, pushforward, split, tangent_loss, tangent_problem
from adjode.fast import adjoint_fast
from adjode.loss import check_match, loss_value
from adjode.problem import InitialValueProblem, Loss
from adjode.structure import untraced
from adjode.trajectory import Stats, Trajectory


@dataclass(frozen=True)
class CurvatureProduct:
    """A product with a matrix of second derivatives in (z0, theta), and what came along."""

    theta: Any  # its part for theta, of the structure of theta
    z0: Any  # its part for z0, of the shape of z0
    value: float  # dL along the direction, or half of w G w
    stats: Stats  # of the tangent and of the way back; not of the forward solve


def hessian_vector_product(problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, w: Any,
                           *, z0=None) -> CurvatureProduct:  # fmt: skip
    """H w, the derivative of the gradient of L along w, of the numbers that the solver computed.

    Exact as `adjoint_discrete` is: it differentiates the steps of the trajectory, their sizes
    frozen. It costs a small multiple of a gradient, and twice the memory of the stored stages.

    Parameters
    ----------
    problem, loss
        f and all parts of the loss are differentiated twice; of `Observations`, ``fun`` and never
        ``grad``.
    trajectory : Trajectory
        From `solve` or `solve_fixed`, as for `adjoint_discrete`.
    w : of the structure of theta
        The direction in theta.
    z0 : array, shape of problem.z0, optional
        The direction in z0; zero when absent. The result is then that of the Hessian in both.

    Raises
    ------
    TypeError, ValueError
        When w or z0 does not fit; when the trajectory belongs to another problem, misses an
        observation time or its stages; when a part of the loss is no scalar.
    GradientError
        When the result is not finite.

    Notes
    -----
    `eq-tangent-direction`, `eq-adjoint-direction` and `eq-hvp`.
    """
    tangent, path, slope = followed(problem, loss, trajectory, w, z0, tangent_loss(problem, loss))
    found = adjoint_fast(tangent, slope, path)
    value = loss_value(tangent, slope, path)
    return CurvatureProduct(found.theta[0], split(found.z0, problem.z0.shape)[0], value, found.stats)


def gauss_newton_product(problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, w: Any,
                         *, z0=None) -> CurvatureProduct:  # fmt: skip
    """G w, with G the Hessian less all that the second derivatives of f contribute.

    G is ``z_theta^T L_zz z_theta`` for a terminal loss; each observation adds one such term, a
    running cost their integral, and an explicit theta its own derivatives. Parameters and errors
    are those of `hessian_vector_product`.

    Notes
    -----
    `eq-gauss-newton`, `eq-gauss-newton-product`.
    """
    half = loss_of_pairs(problem, loss, half_curvature)
    tangent, path, half = followed(problem, loss, trajectory, w, z0, half)
    found = adjoint_fast(tangent, half, path)
    value = loss_value(tangent, half, path)
    return CurvatureProduct(found.theta[1], split(found.z0, problem.z0.shape)[1], value, found.stats)


def half_curvature(fun, args: list, directions: list):
    """Half of the second derivative of fun along the directions; z and theta in it stand still."""
    slope = lambda *args: pushforward(fun, list(args), directions)[1]
    return 0.5 * pushforward(slope, [untraced(x) for x in args], directions)[1]


def followed(problem, loss, trajectory, w, z0, derived: Loss) -> tuple:
    """The tangent problem, its trajectory, and the loss of it."""
    check_match(problem, loss, trajectory)
    tangent = tangent_problem(problem, w, z0)
    return tangent, tangent_trajectory(problem, trajectory, tangent, derived.running), derived
