"""Checkpoints: the discrete adjoint from a few stored states, the steps between taken again.

Which states to store, and when, is a plan: `binomial_schedule` makes it from two integers, and
knows nothing of states. `adjoint_checkpointed` carries it out.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import comb
from typing import NamedTuple

import numpy as np

from adjode.discrete import step_back
from adjode.loss import Gradient, finish, loss_rows
from adjode.problem import GradientError, InitialValueProblem, Loss
from adjode.solve import set_up
from adjode.steps import Counted, first_same_as_last, stage_derivatives
from adjode.trajectory import Stats, Trajectory
from adjode.vjp import adjoint_pullback


class Action(NamedTuple):
    """One entry of a plan.

    ``("advance", m, n)`` takes the steps m to n - 1, from state m to state n; ``("reverse", n, n + 1)``
    takes step n with its stages, and lambda back over it; ``("store", n, n)``, ``("restore", n, n)``
    and ``("free", n, n)`` put the state n aside, fetch it, and forget it.
    """

    do: str
    start: int
    stop: int


def binomial_schedule(n_steps: int, n_checkpoints: int) -> tuple[Action, ...]:
    """The plan that reverses n_steps steps with n_checkpoints stored states and the fewest advances.

    Parameters
    ----------
    n_steps, n_checkpoints : int
        At least 1. State 0 is stored from the start, and is one of the n_checkpoints.

    Raises
    ------
    ValueError
        When either is not a positive integer.

    Notes
    -----
    Revolve, of Griewank and Walther (2000): `eq-revolve` counts the advances.
    """
    return tuple(revolve(n_steps, n_checkpoints))


def revolve(n_steps: int, n_checkpoints: int) -> Iterator[Action]:
    """The actions of `binomial_schedule`, one by one. Each time, the last steps that are left,
    from the last stored state on, are divided again: stored states are taken back in order."""
    check_positive("n_steps", n_steps)
    check_positive("n_checkpoints", n_checkpoints)
    held = [0]
    for stop in range(n_steps, 0, -1):  # reverse the step stop - 1
        now = held[-1]
        if stop < n_steps:
            yield Action("restore", now, now)
        while stop - now > 1:
            ahead = now + split(stop - now, n_checkpoints - len(held) + 1)
            yield Action("advance", now, ahead)
            now = ahead
            if stop - now > 1:
                held.append(now)
                yield Action("store", now, now)
        yield Action("reverse", now, stop)
        if held[-1] == now:
            yield Action("free", held.pop(), now)


def split(n_steps: int, n_checkpoints: int) -> int:
    """How far to advance before the next state is stored, when n_steps > 1 steps are left and one
    of n_checkpoints states is stored at their start: the best m in `eq-revolve-recursion`."""
    s, r = n_checkpoints, repeats(n_steps, n_checkpoints)
    return min(comb(s + r - 1, s), n_steps - comb(s + r - 2, s - 1))


def repeats(n_steps: int, n_checkpoints: int) -> int:
    """The least r with n_steps <= binom(s + r, s): no step is advanced over more often."""
    r = 0
    while comb(n_checkpoints + r, r) < n_steps:
        r += 1
    return r


def advances(n_steps: int, n_checkpoints: int) -> int:
    """How many single steps `binomial_schedule` advances: `eq-revolve`."""
    s, r = n_checkpoints, repeats(n_steps, n_checkpoints)
    return r * n_steps - comb(s + r, s + 1)


def enough(n_steps: int) -> int:
    """The fewest checkpoints with which no step is advanced over more than twice, about
    sqrt(2 n_steps): together with its reversal a step is taken three times again at most."""
    s = 1
    while comb(s + 2, 2) < n_steps:
        s += 1
    return s


def adjoint_checkpointed(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, rtol=1e-6, atol=1e-8,
    n_checkpoints: int | None = None,
) -> Gradient:  # fmt: skip
    """`adjoint_discrete`, to the last bit, from a trajectory that kept its stops alone.

    Between two stops the steps are taken again, of the recorded sizes, by the plan of
    `binomial_schedule`; what a step is taken back with is as before. Kept are the states at the
    stops, the *times* of all steps (one number each), and the checkpoints of one gap between stops:
    each a state with its slope. The path has lambda at the stops alone.

    Parameters
    ----------
    trajectory : Trajectory
        From `solve` or `solve_fixed` with ``store="times"``.
    rtol, atol : float
        Not used, as in `adjoint_discrete`.
    n_checkpoints : int, optional
        How many states a gap may hold at once, the stop where it begins included. By default
        about sqrt(2 n) for a gap of n steps: then no step is taken more than three times again.

    Raises
    ------
    ValueError
        When the trajectory belongs to another problem, misses an observation time or the times
        of its steps; when n_checkpoints is not a positive integer.
    GradientError
        When the steps are those of an implicit scheme; when the result is not finite.
    """
    if trajectory.step_times is None:
        raise ValueError('adjoint_checkpointed needs the times of the steps; solve with store="times"')
    if trajectory.tableau.implicit:
        raise GradientError(f"adjoint_checkpointed takes explicit steps again; {trajectory.tableau.name} "
                            'is an implicit scheme. Use adjoint="discrete"')  # fmt: skip
    pull, field = adjoint_pullback(problem, loss.running), flat_field(problem, trajectory)
    rows = lam, theta_bar, jumps = loss_rows(problem, loss, trajectory)
    ts, last, stats = trajectory.ts, len(trajectory.ts) - 1, Stats()
    stops, points = np.flatnonzero(np.isin(trajectory.step_times, ts)), [(ts[last], lam)]
    points.append((ts[last], lam + jumps.get(last, 0.0)))
    with np.errstate(all="ignore"):
        for m, (begin, end) in reversed(list(enumerate(pairwise(stops)))):
            gap = replace(trajectory, step_times=trajectory.step_times[begin : end + 1])
            plan = revolve(end - begin, enough(end - begin) if n_checkpoints is None else n_checkpoints)
            lam, theta_bar, cost = gap_back(pull, field, gap, m, plan, points[-1][1], theta_bar)
            points += [(ts[m], lam), (ts[m], lam + jumps.get(m, 0.0))]
            stored = max(stats.stored_states, cost.stored_states)  # one gap after the other
            stats = replace(stats + cost, stored_states=stored)
    stats = replace(stats, f_evaluations=field.calls)
    return finish(problem, loss, trajectory, rows, theta_bar, zip(*points, strict=True), stats)


def gap_back(pull, field, gap: Trajectory, m: int, plan, lam, theta_bar) -> tuple:
    """lambda, theta_bar and costs after a plan carried out from stop m on, over gap.step_times."""
    tableau, times, fsal = gap.tableau, gap.step_times, first_same_as_last(gap.tableau)
    d, pad = gap.zs[m].size, np.zeros(0 if gap.running is None else 1)
    now = np.append(gap.zs[m], pad), np.append(gap.fs[m], pad)  # a state and its slope
    held, steps, vjps, most = {0: now}, 0, 0, 1

    def stages(n, z, slope):
        return stage_derivatives(tableau, field, times[n], z, times[n + 1] - times[n], slope)

    for do, start, stop in plan:
        if do == "store":
            held[start] = now
        elif do == "restore":
            now = held[start]
        elif do == "free":
            del held[start]
        elif do == "advance":
            for n in range(start, stop):
                k = stages(n, *now)
                z = now[0] + (times[n + 1] - times[n]) * (tableau.b @ k)
                now = z, k[-1] if fsal else field(times[n + 1], z)
        else:
            k, z = stages(start, *now)[:, :d], now[0][:d]
            step = replace(gap, ts=times[start : stop + 1], zs=z[None], stages=k[None])
            lam, theta_step, used = step_back(pull, step, 0, lam)
            theta_bar, vjps = theta_bar + theta_step, vjps + used
        steps, most = steps + stop - start, max(most, len(held))
    kept = 2 * (most - 1) + len(tableau.b)  # states with slopes; the stages of one step
    return lam, theta_bar, Stats(vjps=vjps, steps=steps, stored_states=kept)


def flat_field(problem: InitialValueProblem, trajectory: Trajectory):
    """f on flat states, counted. Where the trajectory carries a running cost, so do these states,
    with slope zero: arrays of the same shape are added up in the same order."""
    field = set_up(problem, None, None, np.inf)[2]
    if trajectory.running is None:
        return field
    return Counted(lambda t, z: np.append(field(t, z[:-1]), 0.0))


def check_positive(name: str, value) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer; got {value!r}")
