"""More than a gradient: products with matrices of second derivatives, and one of low rank.

    v' = f_z v + f_theta w         the tangent: what the state does when theta moves along w
    H w                            the derivative of the gradient along w
    G w                            the same without the second derivatives of f (Gauss and Newton)
    G = sum_i s_i p_i^T p_i        from R backward solves, where the loss has curvature of rank R

In this order: tangent, follow, products, low_rank. They stand beside the core and import from it.
"""

from adjode.curvature.follow import tangent_trajectory
from adjode.curvature.low_rank import LowRank, low_rank_factors, terminal_factors
from adjode.curvature.products import CurvatureProduct, gauss_newton_product, hessian_vector_product
from adjode.curvature.tangent import pushforward, tangent_loss, tangent_problem

__all__ = [
    "CurvatureProduct",
    "LowRank",
    "gauss_newton_product",
    "hessian_vector_product",
    "low_rank_factors",
    "pushforward",
    "tangent_loss",
    "tangent_problem",
    "tangent_trajectory",
    "terminal_factors",
]
