"""`odeint`, the solve as one differentiable function of autograd."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import isbox

from adjode.gradient import strategy
from adjode.guards import Guard
from adjode.loss import Gradient
from adjode.problem import InitialValueProblem, Loss, Observations, check_times, real
from adjode.replay import solve_replayed
from adjode.retrace import traced_states
from adjode.solve import solve, solve_fixed
from adjode.structure import children, leaves, rebuild, untraced
from adjode.tableau import adaptive_tableau
from adjode.trajectory import Trajectory
from adjode.vjp import pullback


@dataclass
class Call:
    """What one call of `odeint` shares between its forward and its backward pass."""

    f: Callable
    nest: Any  # of the structure of theta
    adjoint: str
    options: dict  # rtol, atol and method
    store: str
    problem: InitialValueProblem | None = None
    trajectory: Trajectory | None = None


def odeint(f: Callable, z0: Any, ts: Any, theta: Any, *, rtol: float = 1e-6, atol: float = 1e-8,
           adjoint: str = "discrete", method: str = "auto"):  # fmt: skip
    """z(ts) for z' = f(t, z, theta), z(ts[0]) = z0; differentiable in z0, ts and theta.

    Parameters
    ----------
    f : callable
        ``f(t, z, theta)`` with scalar t and z of the shape of z0; returns that shape. Written
        with autograd.numpy, and without jumps in z. What it is differentiated by is in `theta`.
    z0 : float or array of any shape
    ts : array, shape (n,)
        Strictly increasing or strictly decreasing; z0 belongs to ts[0].
    theta : float, array, or a nest of lists, tuples and dicts of these; () for none
    rtol, atol : float
        Tolerances of the forward and of the backward solve.
    adjoint : {"discrete", "backsolve", "interpolated", "quadrature", "checkpointed"}
    method : {"auto", "dopri5", "dop853", "radau"}
        "auto" is dop853, or radau where the problem turns out to be stiff.

    Returns
    -------
    zs : array, shape (n, *z0.shape)

    Raises
    ------
    TypeError, ValueError
        When an argument or the result of f is of the wrong kind, shape or value; when f captures
        a traced value.
    IntegrationError, GradientError
        When the solve stops early, or the gradient cannot be trusted.

    Notes
    -----
    The backward pass is one adjoint solve that jumps at each of ts, `eq-jump`, whatever is asked
    for. A gradient of a gradient differentiates the steps of one that is trusted, which may be many more
    than those of a first solve; its own error is not estimated.

    A loss is known here by its rows alone, zs_bar. Near a minimum they are small differences of the
    states and of what they should be, and no better than the states: take a smaller rtol there, or
    `value_and_gradient`, which sees the loss.

    Where a discrete gradient will be asked for, f is called once for what it does, and that is replayed, to
    rounding. An f that decides by the values of t or z is called each time; but it must not look into what
    autograd traces (`._value`), act in another way where t or z are traced (`isinstance`), nor rely on
    being called.

    Steps are chosen by what f shows where it is evaluated. A pulse in t that is shorter than a step
    may be stepped over, here as in every solver: put a time of `ts` into it.
    """
    new = [x if isbox(x) else real("theta", x)[()] for x in leaves(theta)]
    z0, ts, nest = as_array("z0", z0), as_array("ts", ts), rebuild(theta, [None] * len(new))
    needed, options = strategy(adjoint)[1], {"rtol": rtol, "atol": atol, "method": method}
    store = needed if any(isbox(x) for x in (z0, ts, *new)) else "stops"
    return states(Call(f, nest, adjoint, options, store), z0, ts, *new)


def as_array(name: str, value: Any):
    """An array of floats, traced if anything in it is."""
    if isinstance(untraced(value), list | tuple) and any(isbox(x) for x in leaves(value)):
        return anp.array([as_array(name, x) for x in children(value)])
    return value if isbox(value) else real(name, value)


def _states(call: Call, z0, ts, *theta) -> np.ndarray:
    """z(ts), shape (n, *z0.shape), from the leaves of theta; the trajectory stays in `call` for the way
    back."""
    ts = check_times("ts", ts)
    if len(ts) == 1:
        return np.array(z0)[None]
    call.problem = InitialValueProblem(call.f, z0, ts[0], ts[-1], rebuild(call.nest, theta))
    solver = solve_replayed if call.store == "stages" else solve
    call.trajectory = solver(call.problem, ts=ts, store=call.store, **call.options)
    return call.trajectory.zs[np.isin(call.trajectory.ts, ts)]


def _states_pullback(argnums, zs, args, kwargs) -> Callable:
    """zs_bar -> the rows for those of z0, ts and theta that are asked for, in one pass."""
    call, *given = args

    def back(zs_bar):
        if not any(isbox(x) for x in (*given, zs_bar)):
            rows = adjoint_rows(call, zs_bar, *given[1:])
        else:
            steps = trusted_steps(untraced(given[1]), call, untraced(zs_bar))
            again = lambda z0, ts, *new: traced_states(call.problem, z0, ts, rebuild(call.nest, new), steps)
            rows = pullback(again, *given)[1](zs_bar)
        return [rows[i - 1] for i in argnums]

    return back


states = primitive(_states)
defvjp_argnums(states, _states_pullback)


def adjoint_rows(call: Call, zs_bar, ts, *theta) -> tuple:
    """The rows for z0, ts and the leaves of theta: one backward pass that jumps by zs_bar[i] at ts[i].

    The first time is both the start and an observation time, so its row has both parts.
    """
    if len(ts) == 1:
        return zs_bar[0], np.zeros(1), *(np.zeros(np.shape(x))[()] for x in theta)
    found = trusted_gradient(ts, call, zs_bar)
    ts_bar = found.ts + np.append(found.t0, np.zeros(len(ts) - 1))
    return found.z0[()], ts_bar, *leaves(found.theta)


def trusted_gradient(ts, call: Call, zs_bar) -> Gradient:
    seen = Observations(ts, lambda i, z: np.sum(zs_bar[i] * z), lambda i, z: zs_bar[i])
    zs = call.trajectory.zs[np.isin(call.trajectory.ts, ts)]
    most = lambda x: np.max(np.abs(x), initial=1e-300)
    bend = most(zs_bar) / most(zs)  # a guess of the size of L_zz
    moved = Observations(ts, seen.fun, lambda i, z: zs_bar[i] + bend * (z - zs[i]))
    rtol, atol = call.options["rtol"], call.options["atol"]
    guard = Guard(call.problem, Loss(observations=seen), rtol, atol, moved=Loss(observations=moved))
    return guard.trusted(strategy(call.adjoint)[0], call.trajectory)


def trusted_steps(ts, call: Call, zs_bar) -> Trajectory | None:
    """The steps to trace: those of a discrete gradient that is trusted, for these rows."""
    if len(ts) == 1:
        return None
    taken = call.trajectory
    if taken.stages is None:
        taken = solve(call.problem, ts=ts, store="stages", **call.options)
    found = trusted_gradient(ts, replace(call, adjoint="discrete", trajectory=taken), zs_bar)
    nodes = found.path.ts[1:][np.diff(found.path.ts) != 0]  # those of another solve, perhaps
    return solve_fixed(call.problem, adaptive_tableau(taken.tableau.name), 1, ts=nodes)
