"""Checkpoints: the plan by itself, and the gradient that does not change by a bit."""

from functools import cache
from itertools import pairwise
from math import comb

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import adjode
from adjode.checkpoint import advances, enough, repeats

SCHEMES = ["euler", "midpoint", "heun", "rk4", "dopri5", "dop853"]
WEIGHTS = np.array([0.5, -1.0, 2.0])


@cache
def fewest(n_steps, n_checkpoints):
    """The fewest advances, by trying every place for the next checkpoint."""
    if n_steps == 1:
        return 0
    if n_checkpoints == 0:
        return np.inf
    parts = ((m, fewest(n_steps - m, n_checkpoints - 1), fewest(m, n_checkpoints)) for m in range(1, n_steps))
    return min(map(sum, parts))


def simulate(plan, n_steps):
    """Carry a plan out on bare step numbers. Returns how often each step was advanced over, and
    the most states that were held at once."""
    now, held, reversed_steps, most = 0, {0}, [], 1
    taken = np.zeros(n_steps, int)
    for do, start, stop in plan:
        if do == "advance":
            assert now == start < stop
            taken[start:stop] += 1
            now = stop
        elif do == "reverse":
            assert now == start == stop - 1
            reversed_steps.append(start)
            now = None  # behind lambda: of no use
        elif do == "store":
            assert now == start == stop and start not in held
            held.add(start)
        elif do == "restore":
            assert start == stop and start in held and now != start
            now = start
        else:
            assert do == "free" and start == stop
            held.remove(start)
        most = max(most, len(held))
    assert reversed_steps == list(range(n_steps))[::-1] and not held
    return taken, most


@pytest.mark.parametrize("n_checkpoints", [1, 2, 3, 4, 5, 8, 13])
def test_a_plan_reverses_every_step_with_the_fewest_advances(n_checkpoints):
    for n_steps in range(1, 46):
        plan = adjode.binomial_schedule(n_steps, n_checkpoints)
        taken, most = simulate(plan, n_steps)
        assert most <= n_checkpoints
        assert taken.sum() == advances(n_steps, n_checkpoints) == fewest(n_steps, n_checkpoints)
        r = taken.max()  # the smallest with n_steps <= binom(s + r, s)
        assert r == repeats(n_steps, n_checkpoints)
        assert comb(n_checkpoints + r, r) >= n_steps
        assert r == 0 or comb(n_checkpoints + r - 1, r - 1) < n_steps


def test_plans_known_by_hand():
    one, two = adjode.binomial_schedule(1, 3), adjode.binomial_schedule(2, 1)
    assert one == (("reverse", 0, 1), ("free", 0, 0))
    assert two == (
        *(("advance", 0, 1), ("reverse", 1, 2), ("restore", 0, 0)),
        *(("reverse", 0, 1), ("free", 0, 0)),
    )
    assert advances(10, 1) == 45 and advances(10, 3) == 15 and advances(10, 9) == 9


def test_many_checkpoints_are_no_recursion():
    plan = adjode.binomial_schedule(4000, 3000)
    taken, most = simulate(plan, 4000)
    assert most <= 3000 and taken.max() == 2 and taken.sum() == advances(4000, 3000)


def test_by_default_no_step_is_advanced_over_more_than_twice():
    for n_steps in (1, 2, 3, 4, 6, 7, 10, 11, 1000):
        s = enough(n_steps)
        assert comb(s + 2, 2) >= n_steps and (s == 1 or comb(s + 1, 2) < n_steps)
    assert enough(1000) == 44


def everything(case, theta_of=lambda theta: theta[0]):
    """A loss with all its parts, observations at both ends and between."""
    middle = case.t0 + 0.45 * (case.t1 - case.t0)
    seen = adjode.Observations([case.t0, middle, case.t1], lambda i, z: WEIGHTS[i] * case.loss(z))
    running = lambda t, z, theta: anp.sin(t) * anp.sum(z**2) * theta_of(theta)
    return adjode.Loss(lambda z, theta: anp.sum(z**3) * theta_of(theta), running, seen)


def both(problem, loss, scheme, n_steps=11, **options):
    """Pairs of trajectories, one with its stages and one with the times alone."""
    options |= {"running": loss.running, "ts": loss.observations and loss.observations.ts}
    tableau = getattr(adjode, scheme)()
    yield [adjode.solve_fixed(problem, tableau, n_steps, store=s, **options) for s in ("stages", "times")]
    if len(tableau.errors):
        options |= {"method": scheme, "rtol": 1e-7, "atol": 1e-9}
        yield [adjode.solve(problem, store=s, **options) for s in ("stages", "times")]


def assert_same_bits(found, wanted):
    for name in ("z0", "theta", "t0", "t1", "ts"):
        got, exact = (adjode.flatten(getattr(g, name))[0] for g in (found, wanted))
        np.testing.assert_array_equal(got, exact, err_msg=name)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["scalar", "clocked", "affine", "logistic", "batch", "backwards"])
def test_the_gradient_is_the_same_to_the_last_bit(zoo, name, scheme):
    case = zoo.case(name)
    problem, loss = case.problem(), adjode.Loss(terminal=lambda z, theta: case.loss(z))
    for whole, times in both(problem, loss, scheme):
        wanted = adjode.adjoint_discrete(problem, loss, whole)
        for n_checkpoints in (None, 1, 3, 100):
            found = adjode.adjoint_checkpointed(problem, loss, times, n_checkpoints=n_checkpoints)
            assert_same_bits(found, wanted)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["clocked", "backwards"])
def test_the_same_bits_with_observations_running_cost_and_explicit_theta(zoo, name, scheme):
    case = zoo.case(name)
    problem, loss = case.problem(), everything(case)
    for whole, times in both(problem, loss, scheme):
        wanted = adjode.adjoint_discrete(problem, loss, whole)
        for n_checkpoints in (None, 1, 3):
            found = adjode.adjoint_checkpointed(problem, loss, times, n_checkpoints=n_checkpoints)
            assert_same_bits(found, wanted)
            stops = np.isin(wanted.path.ts, times.ts)
            np.testing.assert_array_equal(found.path.ts, wanted.path.ts[stops])
            np.testing.assert_array_equal(found.path.lams, wanted.path.lams[stops])


@pytest.mark.parametrize("name", ["scalar", "batch", "logistic"])
def test_odeint_gives_the_gradient_of_discrete(zoo, name):
    case = zoo.case(name)
    ts = np.linspace(case.t0, case.t1, 3)

    def slope(adjoint):
        loss = lambda z0, ts, theta: anp.sum(
            anp.sin(adjode.odeint(case.f, z0, ts, theta, adjoint=adjoint, rtol=1e-9))
        )
        return grad(loss, (0, 1, 2))(case.z0, ts, case.theta)

    # the same sums of the same terms, which "discrete" may add up in batches
    assert zoo.relative_error(slope("checkpointed"), slope("discrete")) < 1e-12


@pytest.mark.parametrize("scheme", ["rk4", "dop853"])
@pytest.mark.parametrize("n_checkpoints", [None, 1, 2, 5, 40])
def test_the_steps_taken_again_are_those_of_the_formula(zoo, scheme, n_checkpoints):
    case = zoo.case("clocked")
    calls = []

    def f(t, z, theta):
        calls.append(t)
        return case.f(t, z, theta)

    problem = adjode.InitialValueProblem(f, case.z0, case.t0, case.t1, case.theta)
    seen = adjode.Observations([0.1, 0.8], lambda i, z: case.loss(z))
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z), observations=seen)
    for _, times in both(problem, loss, scheme):
        stops = [int(np.flatnonzero(times.step_times == t)[0]) for t in times.ts]
        gaps = [n - m for m, n in pairwise(stops)]
        assert sum(gaps) == times.stats.steps and len(gaps) == 3
        slots = [n_checkpoints or enough(n) for n in gaps]
        again = sum(advances(n, s) + n for n, s in zip(gaps, slots, strict=True))
        calls.clear()
        found = adjode.adjoint_checkpointed(problem, loss, times, n_checkpoints=n_checkpoints)
        more = found.stats.steps - times.stats.steps
        assert more == again
        evaluations = found.stats.f_evaluations - times.stats.f_evaluations
        assert evaluations == len(calls) - found.stats.vjps  # a VJP calls f once, too
        advanced, stages = again - sum(gaps), len(times.tableau.b)
        first = 0 if scheme == "dop853" else advanced  # the last stage is the next first one
        assert evaluations == again * (stages - 1) + first


def test_stored_states_are_counted(zoo):
    problem = zoo.case("clocked").problem()
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    times = adjode.solve_fixed(problem, adjode.rk4(), 50, ts=[0.1], store="times")
    assert times.stats.stored_states == 3 and len(times.step_times) == 101
    for n_checkpoints in (1, 2, 7):
        found = adjode.adjoint_checkpointed(problem, loss, times, n_checkpoints=n_checkpoints)
        assert found.stats.stored_states == 3 + 2 * (n_checkpoints - 1) + 4


def test_the_trajectory_must_have_its_times_and_explicit_steps(zoo):
    problem = zoo.case("linear").problem()
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    with pytest.raises(ValueError, match='needs the times of the steps; solve with store="times"'):
        adjode.adjoint_checkpointed(problem, loss, adjode.solve(problem))
    times = adjode.solve(problem, store="times")
    implicit = adjode.solve(problem, method="radau", store="times")
    with pytest.raises(adjode.GradientError, match=r'radau is an implicit scheme\. Use adjoint="discrete"'):
        adjode.adjoint_checkpointed(problem, loss, implicit)
    with pytest.raises(ValueError, match="`n_checkpoints` must be a positive integer; got 0"):
        adjode.adjoint_checkpointed(problem, loss, times, n_checkpoints=0)
    with pytest.raises(ValueError, match=r"`n_checkpoints` must be a positive integer; got 2\.0"):
        adjode.binomial_schedule(4, 2.0)
    with pytest.raises(ValueError, match="`n_steps` must be a positive integer; got 0"):
        adjode.binomial_schedule(0, 2)
    with pytest.raises(ValueError, match="not one of this problem"):
        adjode.adjoint_checkpointed(zoo.case("affine").problem(), loss, times)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_a_state_at_rest_beside_which_lambda_moves_is_right_or_refused(rtol):
    """z = 0 solves z' = (a sin 30 t - 1) z with the longest steps; dL/dz0 is exp of the integral."""
    f = lambda t, z, a: (a * anp.sin(30 * t) - 1) * z
    options = {"rtol": rtol, "adjoint": "checkpointed"}
    slope = lambda z0: adjode.odeint(f, z0, np.array([0.0, 2.0]), 20.0, **options)[-1]
    exact = np.exp(20 * (1 - np.cos(60.0)) / 30 - 2)
    try:
        found = grad(slope)(0.0)
    except adjode.GradientError:
        return
    assert abs(found / exact - 1) < 100 * rtol


def test_a_kink_that_the_steps_of_z_pass_over_is_seen():
    """z = a t up to 1, then z' = a + z - 1: z(4) = 1 - a + a exp(4 - 1/a)."""
    f = lambda t, z, a: a + anp.maximum(z, 1.0) - 1
    end = lambda a, adjoint: adjode.odeint(f, 0.0, np.array([0.0, 4.0]), a, adjoint=adjoint)[-1]
    exact = 3 * np.exp(2.0) - 1  # at a = 1/2
    assert abs(grad(lambda a: end(a, "discrete"))(0.5) / exact - 1) < 1e-4
    with pytest.raises(adjode.GradientError, match=r'tighter solve tells\. Use adjoint="discrete"'):
        grad(lambda a: end(a, "checkpointed"))(0.5)


@pytest.mark.parametrize("ts", [[0.1], [0.1, 0.8], None])
def test_the_same_bits_where_nothing_is_observed_at_the_ends(zoo, ts):
    case = zoo.case("clocked")
    problem = case.problem()
    seen = None if ts is None else adjode.Observations(ts, lambda i, z: (i + 1) * case.loss(z))
    loss = adjode.Loss(terminal=lambda z, theta: z[0] ** 2, observations=seen)
    for whole, times in both(problem, loss, "rk4"):
        wanted = adjode.adjoint_discrete(problem, loss, whole)
        assert_same_bits(adjode.adjoint_checkpointed(problem, loss, times), wanted)
