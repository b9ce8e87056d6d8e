"""Steps in halves, all at once: a better solve without another one."""

from dataclasses import replace
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
from adjode import fast
from adjode.batched import stages_that_count
from adjode.guards import Guard, halved
from adjode.halves import halves, in_halves, misses, one_step


def lorenz(t, z, theta):
    x, y, w = z[0], z[1], z[2]
    return anp.array([theta[0] * (y - x), x * (theta[1] - w) - y, x * y - theta[2] * w])


def hares(t, z, theta):
    x, y = z[..., 0], z[..., 1]
    return anp.stack([theta[0] * x - theta[1] * x * y, theta[3] * x * y - theta[2] * y], axis=-1)


SIZE = adjode.Loss(terminal=lambda z, theta: 0.5 * anp.sum(z**2))
PROBLEMS = {
    "hares": adjode.InitialValueProblem(hares, [10.0, 5.0], 0.0, 20.0, np.array([1.1, 0.4, 0.4, 0.1])),
    "herds": adjode.InitialValueProblem(
        hares, [[10.0, 5.0], [4.0, 7.0], [6.0, 6.0]], 3.0, 0.0, np.array([1.1, 0.4, 0.4, 0.1])
    ),
    "lorenz": adjode.InitialValueProblem(lorenz, np.ones(3), 0.0, 5.0, np.array([10.0, 28.0, 8 / 3])),
}


def like(sweep, **other):
    """What halves ask of a sweep, with some of it in another way."""
    return SimpleNamespace(**{"batch": sweep.batch, "ahead": sweep.ahead, "at_once": sweep.at_once} | other)


def better_than(trajectory, sweep):
    return in_halves(trajectory, sweep, *misses(trajectory, sweep))


def finer(name, rtol, loss=SIZE):
    """A trajectory, its gradient, and the trajectory in halves."""
    problem, ts = PROBLEMS[name], loss.observations and loss.observations.ts
    trajectory = adjode.solve(problem, rtol=rtol, atol=rtol / 100, ts=ts, method="dop853")
    found, sweep = fast.swept(problem, loss, trajectory)
    return trajectory, found, better_than(trajectory, sweep)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_nodes_move_to_where_they_should_be(name, rtol):
    trajectory, _, better = finer(name, rtol)
    exact = adjode.solve(PROBLEMS[name], rtol=1e-12, atol=1e-13, ts=better.ts, method="dop853")
    exact = exact.zs[np.isin(exact.ts, better.ts)]
    off, left = np.abs(trajectory.zs - exact[::2]), np.abs(better.zs - exact)
    assert np.max(left) < 0.02 * np.max(off)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_the_gradient_in_halves_knows_the_error_to_a_tenth(name, rtol):
    problem = PROBLEMS[name]
    ts = problem.t0 + (problem.t1 - problem.t0) * np.array([0.3, 0.8, 1.0])
    loss = adjode.Loss(observations=adjode.Observations(ts, lambda i, z: anp.sum(anp.sin(z))))
    _, found, better = finer(name, rtol, loss)
    _, wanted, _ = finer(name, 1e-12, loss)
    guard = Guard(problem, loss, rtol, rtol / 100)
    error = guard.distance(found, wanted)
    assert guard.distance(found, adjode.adjoint_fast(problem, loss, better)) == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize("room", [fast.ROOM, 1])
@pytest.mark.parametrize("herds", [1, 2, 3])  # blocks of f_z
def test_errors_travel_ahead_as_the_tangent_says(herds, room, monkeypatch):
    monkeypatch.setattr(fast, "ROOM", room)  # all steps in one chunk, or each in its own
    problem, rng = PROBLEMS["herds"], np.random.default_rng(1)
    problem = replace(problem, z0=problem.z0[:herds])
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 30)
    _, sweep = fast.swept(problem, SIZE, trajectory)
    errors, eps = rng.normal(size=(30, 2 * herds)), 1e-6
    moved, z = sweep.ahead(errors), problem.z0
    for n in range(30):  # the steps once more, each with its error
        h = trajectory.ts[n + 1] - trajectory.ts[n]
        z = adjode.rk_step(adjode.rk4(), hares, trajectory.ts[n], z, problem.theta, h)
        z = z + eps * errors[n].reshape(z.shape)
        change = (z - trajectory.zs[n + 1]).ravel() / eps
        np.testing.assert_allclose(moved[n + 1], change, rtol=1e-3, atol=1e-4)


def test_one_step_from_every_node_is_that_step():
    problem = PROBLEMS["lorenz"]
    trajectory = adjode.solve(problem, rtol=1e-5, method="dop853")
    _, sweep = fast.swept(problem, SIZE, trajectory)
    ts, zs = trajectory.ts, trajectory.zs
    ends, stages = one_step(trajectory.tableau, sweep, ts[:-1], zs[:-1], ts[1:])
    np.testing.assert_allclose(ends, zs[1:], rtol=1e-13)
    np.testing.assert_allclose(stages[:, :-1], trajectory.stages[:, :-1], rtol=1e-11, atol=1e-11)
    assert not np.any(stages[:, -1])  # f at the next node has no weight: not computed
    middles, ends, stages = halves(trajectory, sweep, zs)
    for n, t, z, end in [(0, ts[0], zs[0], middles[0]), (1, (ts[0] + ts[1]) / 2, middles[0], ends[0])]:
        again = adjode.rk_step(trajectory.tableau, lorenz, t, z, problem.theta, (ts[1] - ts[0]) / 2)
        np.testing.assert_allclose(again, end, rtol=1e-13)
        np.testing.assert_allclose(stages[n, 0], lorenz(t, z, problem.theta), rtol=1e-13)


def test_how_many_nodes_go_at_once_makes_no_difference():
    trajectory = adjode.solve(PROBLEMS["herds"], rtol=1e-6, method="dop853")
    _, sweep = fast.swept(PROBLEMS["herds"], SIZE, trajectory)
    whole, parts = (better_than(trajectory, like(sweep, at_once=n)) for n in (1000, 7))
    np.testing.assert_allclose(parts.zs, whole.zs, rtol=1e-13)
    np.testing.assert_allclose(parts.stages, whole.stages, rtol=1e-11, atol=1e-12)
    assert sweep.at_once * sweep.held <= fast.ROOM * len(sweep.b) < 2 * (sweep.at_once + 1) * sweep.held


@pytest.mark.parametrize("name", ["hares", "herds"])
def test_f_gets_every_node_once_and_no_more_than_it_is_asked_to_take(name):
    problem, sizes = PROBLEMS[name], []
    n, trajectory = 19, adjode.solve_fixed(problem, adjode.dop853(), 19)
    _, sweep = fast.swept(problem, SIZE, trajectory)
    counts = len(stages_that_count(trajectory.tableau))
    f = lambda t, z, theta: sizes.append(z.size // problem.z0.size) or hares(t, z, theta)
    many = replace(sweep.batch, problem=replace(problem, f=f))
    few = like(sweep, batch=many, at_once=7)
    errors, moves = misses(trajectory, few)
    assert max(sizes) == 7 and sum(sizes) == 2 * n * counts
    sizes.clear()
    in_halves(trajectory, few, np.inf + errors, moves)  # what is left is little beside
    assert sizes.pop() < 7  # the last node
    assert max(sizes) == 7 and sum(sizes) == 2 * n * counts


def clocked(t, z, theta):
    return theta * anp.cos(5 * t) * z


@pytest.mark.parametrize("span", [(0.0, 2.0), (2.0, 0.0)])
def test_what_is_in_halves_has_the_times_the_shape_and_the_slopes_of_a_solve(span):
    problem = adjode.InitialValueProblem(clocked, [[1.0, 2.0], [3.0, 4.0]], *span, 1.5)
    trajectory = adjode.solve(problem, rtol=1e-4, method="dop853")
    _, sweep = fast.swept(problem, SIZE, trajectory)
    better = better_than(trajectory, sweep)
    np.testing.assert_array_equal(better.ts, halved(trajectory.ts))
    assert better.zs.shape == better.fs.shape == (len(better.ts), 2, 2)
    exact = problem.z0 * np.exp(0.3 * (np.sin(5 * better.ts) - np.sin(5 * span[0])))[:, None, None]
    np.testing.assert_allclose(better.zs, exact, rtol=1e-6)
    slopes = [clocked(t, z, problem.theta) for t, z in zip(better.ts, better.zs, strict=True)]
    np.testing.assert_allclose(better.fs, slopes, rtol=1e-12)
    assert trajectory.dense is not None and better.dense is None  # that was of the steps as they were


@pytest.mark.parametrize(
    "shares, enough",
    [
        ([1, 1, 1], True),
        ([0.95, 0.95, 1], True),
        ([1, 0.8, 1], False),
        ([0.8, 1, 1], False),
        ([1, 1, 0], True),
    ],
)
def test_the_errors_of_each_component_shrink_to_a_tenth_or_it_is_at_rest(shares, enough):
    problem = adjode.InitialValueProblem(clocked, [[100.0, 1e-10, 0.0]], 0.0, 2.0, 1.5)
    trajectory = adjode.solve(problem, rtol=1e-4, atol=1e-15, method="dop853")
    _, sweep = fast.swept(problem, SIZE, trajectory)
    better = better_than(trajectory, like(sweep, ahead=lambda errors: sweep.ahead(errors) * shares))
    assert (better is not None) == enough


def test_where_the_first_order_is_not_enough_there_are_no_halves():
    long = adjode.InitialValueProblem(lorenz, np.ones(3), 0.0, 15.0, PROBLEMS["lorenz"].theta)
    for rtol, enough in [(1e-3, False), (1e-8, True)]:
        trajectory = adjode.solve(long, rtol=rtol, atol=rtol / 100, method="dop853")
        _, sweep = fast.swept(long, SIZE, trajectory)
        with np.errstate(all="ignore"):
            better = better_than(trajectory, sweep)
        assert (better is not None) == enough


def test_a_sweep_sees_ahead_where_it_has_all_propagators_of_explicit_steps():
    f = lambda t, z, theta: theta * anp.dot(z, np.eye(40, k=1) - np.eye(40, k=-1))
    wide = adjode.InitialValueProblem(f, np.ones(40), 0.0, 1.0, 1.0)
    for problem, method, sees in [
        (wide, "dop853", False),  # by stages
        (PROBLEMS["lorenz"], "dop853", True),
        (PROBLEMS["lorenz"], "radau", False),
    ]:
        _, sweep = fast.swept(problem, SIZE, adjode.solve(problem, rtol=1e-4, method=method))
        assert sweep.batch and sweep.sees_ahead == sees


def test_the_front_door_knows_the_error_where_it_was_in_doubt():
    problem = adjode.InitialValueProblem(hares, [10.0, 5.0], 0.0, 50.0, PROBLEMS["hares"].theta)
    found = adjode.gradient(problem, SIZE, rtol=1e-4, atol=1e-6, method="dop853")
    wanted = adjode.gradient(problem, SIZE, rtol=1e-12, atol=1e-13, method="dop853")
    error = Guard(problem, SIZE, 1e-4, 1e-6).distance(found, wanted)
    assert 2 * error < found.error < 20 * error
