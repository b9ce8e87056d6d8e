"""Second derivatives, beside the core: what a loss's curvature costs, and what it buys."""

from adjode.curvature.horizon import HorizonDerivatives, horizon_derivatives
from adjode.curvature.kronecker import KroneckerFactors, kronecker_factors, kronecker_solve
from adjode.curvature.optimizer import KroneckerMemory, kronecker_step

__all__ = [
    "HorizonDerivatives",
    "KroneckerFactors",
    "KroneckerMemory",
    "horizon_derivatives",
    "kronecker_factors",
    "kronecker_solve",
    "kronecker_step",
]
