"""The front door: a loss of an initial value problem, and its gradient by a named strategy."""

from collections.abc import Callable

from adjode.checkpoint import adjoint_checkpointed
from adjode.continuous import adjoint_backsolve, adjoint_interpolated, adjoint_quadrature
from adjode.fast import adjoint_fast
from adjode.guards import Guard
from adjode.loss import Gradient, loss_value
from adjode.problem import InitialValueProblem, Loss
from adjode.replay import solve_replayed
from adjode.solve import solve


def strategy(name: str) -> tuple[Callable, str]:
    """The adjoint with this name, and what it needs the forward solve to store."""
    strategies = {
        "discrete": (adjoint_fast, "stages"),
        "backsolve": (adjoint_backsolve, "stops"),
        "interpolated": (adjoint_interpolated, "dense"),
        "quadrature": (adjoint_quadrature, "dense"),
        "checkpointed": (adjoint_checkpointed, "times"),
    }
    if name not in strategies:
        raise ValueError(f"`adjoint` must be one of {', '.join(strategies)}; got {name!r}")
    return strategies[name]


def value_and_gradient(problem: InitialValueProblem, loss: Loss, *, adjoint: str = "discrete",
                       rtol: float = 1e-6, atol: float = 1e-8, method: str = "auto"
                       ) -> tuple[float, Gradient]:  # fmt: skip
    """L and its derivatives in z0, theta, t0, t1 and the observation times.

    `adjoint` is "discrete", "backsolve", "interpolated", "quadrature" or "checkpointed"; rtol and
    atol hold for the forward and the backward solve; `method` and errors are those of `solve`, and
    of the adjoint.
    """
    adjoint_of, store = strategy(adjoint)
    ts = None if loss.observations is None else loss.observations.ts
    options = {"method": method, "ts": ts, "store": store, "rtol": rtol, "atol": atol}
    solver = solve_replayed if adjoint == "discrete" else solve
    trajectory = solver(problem, running=loss.running, **options)
    value = loss_value(problem, loss, trajectory)
    return value, Guard(problem, loss, rtol, atol).trusted(adjoint_of, trajectory)


def gradient(problem: InitialValueProblem, loss: Loss, **options) -> Gradient:
    """The derivatives of L; options and errors are those of `value_and_gradient`."""
    return value_and_gradient(problem, loss, **options)[1]
