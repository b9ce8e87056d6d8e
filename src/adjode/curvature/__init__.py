"""More than a gradient: products with matrices of second derivatives, and what they are good for.

    v' = f_z v + f_theta w         the tangent: what the state does when theta moves along w
    H w                            the derivative of the gradient along w
    G w                            the same without the second derivatives of f (Gauss and Newton)
    G = sum_i s_i p_i^T p_i        from R backward solves, where the loss has curvature of rank R
    G ~ A (x) B                    layer by layer, a Kronecker product
    C_T, C_TT, C_Ttheta            derivatives in the end time

In this order: tangent, follow, products, low_rank, kronecker, optimizer, horizon. They stand beside the
core and import from it.
"""

from adjode.curvature.follow import tangent_trajectory
from adjode.curvature.horizon import HorizonDerivatives, horizon_derivatives
from adjode.curvature.kronecker import KroneckerFactors, kronecker_factors, kronecker_solve
from adjode.curvature.low_rank import LowRank, low_rank_factors, terminal_factors
from adjode.curvature.optimizer import KroneckerMemory, kronecker_step
from adjode.curvature.products import CurvatureProduct, gauss_newton_product, hessian_vector_product
from adjode.curvature.tangent import pushforward, tangent_loss, tangent_problem

__all__ = [
    "CurvatureProduct",
    "HorizonDerivatives",
    "KroneckerFactors",
    "KroneckerMemory",
    "LowRank",
    "gauss_newton_product",
    "hessian_vector_product",
    "horizon_derivatives",
    "kronecker_factors",
    "kronecker_solve",
    "kronecker_step",
    "low_rank_factors",
    "pushforward",
    "tangent_loss",
    "tangent_problem",
    "tangent_trajectory",
    "terminal_factors",
]
