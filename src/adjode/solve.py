"""The forward solve: from a problem to a trajectory."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from autograd.tracer import isbox

from adjode.problem import FLOAT, InitialValueProblem, IntegrationError, check_times, read_only
from adjode.steps import FEWEST, Counted, Stiff, adaptive_steps, fixed_steps
from adjode.stiff import implicit_cost, implicit_fixed_steps, implicit_steps, state_jacobian
from adjode.tableau import ButcherTableau, adaptive_tableau, check_tableau, with_first_stage
from adjode.trajectory import Trajectory, collect

OWN = ("trial", "turned")  # of `adaptive_steps`, that a field may bring along


def solve_fixed(
    problem: InitialValueProblem, tableau: ButcherTableau, n_steps: int, *, ts=None, running=None,
    store: str = "stages",
) -> Trajectory:  # fmt: skip
    """z at the nodes of n_steps equal steps from each stop (t0, ts, t1) to the next.

    The tableau may be your own, explicit or implicit. The trajectory's tableau and stages begin
    with the stage f(t, z): where an implicit scheme has none, it gets one of weight 0.
    `store` is "stages", "times" or "stops"; this, `ts`, `running` and errors are as in `solve`.
    """
    if store not in ("stages", "times", "stops"):
        raise ValueError(f'`store` must be "stages", "times" or "stops"; got {store!r}')
    if not isinstance(n_steps, int | np.integer) or n_steps < 1:
        raise ValueError(f"`n_steps` must be a positive integer; got {n_steps!r}")
    check_tableau(tableau)
    stops, start, field = set_up(problem, ts, running, np.inf)
    if tableau.implicit:
        tableau = with_first_stage(tableau)
        steps = implicit_fixed_steps(field, state_jacobian(problem, field), start, stops, tableau, n_steps)
    else:
        steps = fixed_steps(field, start, stops, tableau, n_steps)
    kind = {"store": store, "shape": problem.z0.shape, "running": running is not None}
    trajectory = collect(steps, field, tableau, stops, **kind)
    if not np.all(np.isfinite(trajectory.zs[-1])):
        raise IntegrationError(f"{n_steps} fixed steps of {tableau.name} left the finite numbers")
    return trajectory


def solve(problem: InitialValueProblem, *, rtol: float = 1e-6, atol: float = 1e-8,
          method: str = "auto", ts=None, running: Callable | None = None, store: str = "dense",
          max_evaluations: int = 100_000) -> Trajectory:  # fmt: skip
    """z(t) to within about ``rtol |z| + atol``, with nodes on t0, every ts, and t1.

    Parameters
    ----------
    method : {"auto", "dopri5", "dop853", "radau"}
        "auto" is dop853, or radau where the problem turns out to be stiff.
    ts : array, shape (n,), optional
        Times between t0 and t1 to stop at, such as ``loss.observations.ts``.
    running : callable, optional
        ``running(t, z, theta)``, a cost integrated, and controlled, along with the state.
    store : {"dense", "stages", "times", "stops"}
        Keep what `dense` needs; the stage derivatives only; the states at the stops, and the times
        of all steps; the states at the stops only.
    max_evaluations : int
        How often f may be evaluated.

    Raises
    ------
    TypeError, ValueError
        When an argument or the result of f is of the wrong kind, shape or value.
    IntegrationError
        When the step vanishes or the evaluations are used up before t1.
    """
    if store not in ("dense", "stages", "times", "stops"):
        raise ValueError(f'`store` must be "dense", "stages", "times" or "stops"; got {store!r}')
    rtol, atol = check_tolerances(rtol, atol)
    stops, start, field = set_up(problem, ts, running, max_evaluations)
    kind = {"store": store, "shape": problem.z0.shape, "running": running is not None}

    def attempt(method, **options):
        tableau = adaptive_tableau(method)
        if tableau.implicit:
            f_z = state_jacobian(problem, field)
            steps = implicit_steps(field, f_z, start, stops, tableau, rtol, atol)
        else:
            own = {name: getattr(field.field, name) for name in OWN if hasattr(field.field, name)}
            options |= {"longest": abs(problem.t1 - problem.t0) / FEWEST, "tangent": True, **own}
            steps = adaptive_steps(field, start, stops, tableau, rtol, atol, **options)
        return collect(steps, field, tableau, stops, **kind)

    if method != "auto":
        return attempt(method)
    try:
        return attempt("auto", patience=implicit_cost(len(start)))
    except Stiff:
        return attempt("radau")


def set_up(problem: InitialValueProblem, ts, running: Callable | None, limit: float) -> tuple:
    """The stops t0, ts, t1, each once; the flat state at t0; and f on flat states.

    With a running cost its integral, from zero, is one more entry of the flat state.
    """
    f, theta, shape, t0, t1 = problem.f, problem.theta, problem.z0.shape, problem.t0, problem.t1
    times = [] if ts is None else check_times("ts", ts).tolist()
    stops = list(dict.fromkeys([t0, *times, t1]))
    if stops[-1] != t1 or any((b - a) * np.sign(t1 - t0) <= 0 for a, b in pairwise(stops)):
        raise ValueError(f"`ts` must lie between t0 = {t0} and t1 = {t1} and run from t0 to t1; "
                         f"it runs from {times[0]} to {times[-1]}")  # fmt: skip

    def field(t, z):
        z = z.reshape(shape)
        z.setflags(write=False)  # as `read_only` does
        out = f(t, z, theta)
        if type(out) is not np.ndarray or out.dtype is not FLOAT or out.shape != shape:
            out = checked("f(t, z, theta)", out, shape)
        return out.ravel()

    flat = f.flat if isinstance(f, Replay) else field

    def with_cost(t, z):
        cost = running(t, read_only(z[:-1].reshape(shape)), theta)
        return np.append(flat(t, z[:-1]), checked("running(t, z, theta)", cost, ()))

    if running is None:
        return stops, problem.z0.ravel(), Counted(flat, limit)
    return stops, np.append(problem.z0, 0.0), Counted(with_cost, limit)


@dataclass(frozen=True)
class Replay:
    """f, and what it does to a plain flat state, without questions: see `adjode.replay`."""

    f: Callable
    flat: Callable  # flat(t, z), shape (D,), for z of that shape

    def __call__(self, t, z, theta):
        return self.f(t, z, theta)


def checked(name: str, out, shape: tuple) -> np.ndarray:
    """What f returned as a float64 array of this shape, or an error that says why not."""
    if type(out) is np.ndarray and out.dtype == float and out.shape == shape:
        return out
    if isbox(out) or (isinstance(out, np.ndarray) and out.dtype == object):
        raise TypeError(f"{name} is a traced value although its arguments are plain numbers: it "
                        "captures one. Pass what you differentiate in `theta`")  # fmt: skip
    if not isinstance(out, np.ndarray | np.number | float | int):
        kind = type(out).__name__
        raise TypeError(f"{name} must be an array; got {kind}. Use autograd.numpy.array([...])")
    if np.shape(out) != shape:
        raise ValueError(f"{name} must have shape {shape}; got {np.shape(out)}")
    if np.asarray(out).dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real; got {np.asarray(out).dtype}")
    return np.asarray(out, float)


def check_tolerances(rtol: float, atol: float) -> tuple[float, float]:
    """Both as Python's own numbers: of another precision they would make all steps so."""
    for name, value in {"rtol": rtol, "atol": atol}.items():
        if not (np.shape(value) == () and np.asarray(value).dtype.kind in "fiu" and 0 < value < np.inf):
            raise ValueError(f"`{name}` must be a positive number; got {value}")
    return float(rtol), float(atol)
