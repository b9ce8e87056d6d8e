"""The front door: a loss of an initial value problem, and its gradient by a named strategy."""

from collections.abc import Callable

from adjode.continuous import adjoint_backsolve, adjoint_interpolated, adjoint_quadrature
from adjode.discrete import adjoint_discrete
from adjode.loss import Gradient, loss_value
from adjode.problem import InitialValueProblem, Loss
from adjode.solve import solve


def strategy(name: str) -> tuple[Callable, str]:
    """The adjoint with this name, and what it needs the forward solve to store."""
    strategies = {
        "discrete": (adjoint_discrete, "stages"),
        "backsolve": (adjoint_backsolve, "stops"),
        "interpolated": (adjoint_interpolated, "dense"),
        "quadrature": (adjoint_quadrature, "dense"),
    }
    if name not in strategies:
        raise ValueError(f"`adjoint` must be one of {', '.join(strategies)}; got {name!r}")
    return strategies[name]


def value_and_gradient(
    problem: InitialValueProblem,
    loss: Loss,
    *,
    adjoint: str = "discrete",
    rtol: float = 1e-6,
    atol: float = 1e-8,
    method: str = "auto",
) -> tuple[float, Gradient]:
    """L and its derivatives in z0, theta, t0, t1 and the observation times.

    Parameters
    ----------
    problem : InitialValueProblem
    loss : Loss
    adjoint : {"discrete", "backsolve", "interpolated", "quadrature"}
    rtol, atol : float
        Tolerances of the forward and of the backward solve.
    method : {"auto", "dopri5", "dop853"}
        The scheme of the forward solve.

    Raises
    ------
    TypeError, ValueError
        When an argument, or what f or the loss return, is of the wrong kind, shape or value.
    IntegrationError, GradientError
        When the solve stops early, or the gradient cannot be trusted.
    """
    function, store = strategy(adjoint)
    ts = None if loss.observations is None else loss.observations.ts
    trajectory = solve(
        problem, rtol=rtol, atol=atol, method=method, ts=ts, running=loss.running, store=store
    )
    value = loss_value(problem, loss, trajectory)
    return value, function(problem, loss, trajectory, rtol=rtol, atol=atol)


def gradient(problem: InitialValueProblem, loss: Loss, **options) -> Gradient:
    """The derivatives of L; arguments and errors are those of `value_and_gradient`."""
    return value_and_gradient(problem, loss, **options)[1]
