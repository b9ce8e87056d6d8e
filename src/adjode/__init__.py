"""Gradients of losses of ordinary differential equations, by the adjoint method.

    z' = f(t, z, theta), z(t0) = z0          the state, shape (D,), a column
    lam(t) = dL/dz(t)                        the adjoint state, shape (D,), a row
    lam' = -lam f_z, lam(t1) = L_z           lam @ J is a vector-Jacobian product
    dL/dtheta = int_{t0}^{t1} lam f_theta    collected in theta_bar, shape (P,)
    ..._bar                                  the row dL/d...

The core, in this order: structure, problem, tableau, steps, trajectory, solve, vjp, loss, discrete,
continuous, gradient, primitive. Beside it stand rules, apart, tape, blocks, batched, scalars, replay and
fast (speed), stiff, estimate, halves, moves and guards (safety), checkpoint (memory), partner (theory),
retrace (second derivatives), linear, newton and algebraic (no time at all), fields, and verify, duality
and invariant (how to know); and `adjode.curvature`, for second derivatives.
"""

from adjode.algebraic import root
from adjode.checkpoint import adjoint_checkpointed, binomial_schedule
from adjode.continuous import adjoint_backsolve, adjoint_interpolated, adjoint_quadrature
from adjode.discrete import adjoint_discrete
from adjode.duality import DotProductTest, complex_step, dot_product_test
from adjode.fast import adjoint_fast
from adjode.fields import mlp
from adjode.gradient import gradient, value_and_gradient
from adjode.invariant import InvariantDrift, invariant_drift
from adjode.loss import AdjointPath, Gradient, loss_value
from adjode.newton import RootError
from adjode.partner import adjoint_tableau, symplectic_defect
from adjode.primitive import odeint
from adjode.problem import GradientError, InitialValueProblem, IntegrationError, Loss, Observations
from adjode.solve import solve, solve_fixed
from adjode.steps import rk_step, rk_steps
from adjode.structure import flatten
from adjode.tableau import (
    ButcherTableau,
    dop853,
    dopri5,
    euler,
    heun,
    implicit_midpoint,
    kutta3,
    midpoint,
    radau,
    rk4,
    trapezoid,
)
from adjode.trajectory import Stats, Trajectory
from adjode.verify import ObservedOrder, TaylorTest, observed_order, taylor_remainders
from adjode.vjp import adjoint_pullback, pullback

__all__ = [
    "AdjointPath",
    "ButcherTableau",
    "DotProductTest",
    "Gradient",
    "GradientError",
    "InitialValueProblem",
    "IntegrationError",
    "InvariantDrift",
    "Loss",
    "Observations",
    "ObservedOrder",
    "RootError",
    "Stats",
    "TaylorTest",
    "Trajectory",
    "adjoint_backsolve",
    "adjoint_checkpointed",
    "adjoint_discrete",
    "adjoint_fast",
    "adjoint_interpolated",
    "adjoint_pullback",
    "adjoint_quadrature",
    "adjoint_tableau",
    "binomial_schedule",
    "complex_step",
    "dop853",
    "dopri5",
    "dot_product_test",
    "euler",
    "flatten",
    "gradient",
    "heun",
    "implicit_midpoint",
    "invariant_drift",
    "kutta3",
    "loss_value",
    "midpoint",
    "mlp",
    "observed_order",
    "odeint",
    "pullback",
    "radau",
    "rk4",
    "rk_step",
    "rk_steps",
    "root",
    "solve",
    "solve_fixed",
    "symplectic_defect",
    "taylor_remainders",
    "trapezoid",
    "value_and_gradient",
]
