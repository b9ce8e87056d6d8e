"""Derivatives of the loss in the end time, and the update of the end time that they give."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np

from adjode.curvature.tangent import like
from adjode.fast import adjoint_fast
from adjode.loss import check_match, scalar_rows
from adjode.problem import GradientError, InitialValueProblem, Loss, check_callable
from adjode.structure import flatten
from adjode.trajectory import Trajectory
from adjode.vjp import pullback


@dataclass(frozen=True)
class HorizonDerivatives:
    """C_T, C_TT and C_Ttheta of a cost C(T, theta): a quadratic model of it in the end time T."""

    first: float
    second: float
    mixed: Any  # of the structure of theta

    def step(self, theta_step: Any = None) -> float:
        """The change of T that minimises the model after theta has moved by theta_step:
        -(C_T + C_Ttheta theta_step) / C_TT, `eq-horizon-step`.

        Raises ValueError when C_TT is not positive, as the model has no minimum then, and when
        theta_step has another structure than theta.
        """
        if not self.second > 0:
            raise ValueError(f"C_TT = {self.second:.3g} is not positive, so the model has no minimum in T; "
                             "use the first derivative alone, or a positive stand-in for C_TT")  # fmt: skip
        if theta_step is None:
            return -self.first / self.second
        theta_step = like("theta_step", theta_step, self.mixed, "theta")
        moved = float(flatten(self.mixed)[0] @ flatten(theta_step)[0])
        return -(self.first + moved) / self.second


def horizon_derivatives(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, penalty: Callable | None = None
) -> HorizonDerivatives:
    """The derivatives of C = terminal(z(T), theta) + int running + penalty(T) at T = problem.t1.

    Parameters
    ----------
    problem : InitialValueProblem
    loss : Loss
        Observations are at times of their own, and do not change with T.
    trajectory : Trajectory
        Of this problem, with its stages, and solved with ``running=loss.running``.
    penalty : callable, optional
        ``penalty(T)``, a scalar, with autograd.numpy.

    Returns
    -------
    HorizonDerivatives

    Raises
    ------
    ValueError
        When the loss has neither a terminal nor a running part, a part or the penalty is no scalar,
        or the trajectory is another one's.
    GradientError
        When a derivative is not finite.

    Notes
    -----
    C_T is the rate r = penalty' + L_z f + g at T, `eq-horizon-first`; C_TT is the rate of r,
    `eq-horizon-second`; C_Ttheta is the gradient of the loss r(z(T), theta), by one adjoint solve,
    `eq-horizon-mixed`.
    """
    check_match(problem, loss, trajectory)
    if loss.terminal is None and loss.running is None:
        raise ValueError("horizon_derivatives needs a loss with a terminal or a running part: observations "
                         "do not change with the end time")  # fmt: skip
    if penalty is not None:
        check_callable("penalty", penalty, "penalty(T)")
        scalar_rows("penalty(T)", penalty, problem.t1)
    rate, z, field = end_rate(problem, loss, penalty), trajectory.zs[-1], trajectory.fs[-1]
    if loss.terminal is not None:  # its derivative would be that of a sum, in silence
        scalar_rows("terminal(z, theta)", lambda z: loss.terminal(z, problem.theta), z)
    at_end = lambda t, z: rate(t, z, problem.theta)
    r_t, r_z = scalar_rows("the rate of the loss in T", at_end, problem.t1, z)
    through = Loss(terminal=lambda z, theta: rate(problem.t1, z, theta))
    mixed = adjoint_fast(problem, through, trajectory).theta
    first, second = float(at_end(problem.t1, z)), float(r_t + np.sum(r_z * field))
    if not np.all(np.isfinite([first, second])):
        raise GradientError(f"C_T = {first} and C_TT = {second} must be finite: the loss, the penalty or f "
                            "has no derivative at T")  # fmt: skip
    return HorizonDerivatives(first, second, mixed)


def end_rate(problem: InitialValueProblem, loss: Loss, penalty: Callable | None) -> Callable:
    """r(t, z, theta) = penalty'(t) + L_z f + g, that autograd can differentiate again."""

    def rate(t, z, theta):
        total = 0.0
        if penalty is not None:
            total = total + pullback(penalty, t)[1](1.0)[0]
        if loss.terminal is not None:
            (l_z,) = pullback(lambda z: loss.terminal(z, theta), z)[1](1.0)
            total = total + anp.sum(l_z * problem.f(t, z, theta))
        if loss.running is not None:
            total = total + loss.running(t, z, theta)
        return total

    return rate
