"""The loss as the adjoint sees it: its value, its rows, the nodes that it looks at."""

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
from adjode.loss import cost_rows, loss_rows


def test_the_value_of_a_terminal_loss_is_that_of_its_function(zoo):
    case = zoo.case("affine")  # theta is a dict
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z) + theta["b"][1])
    trajectory = adjode.solve_fixed(case.problem(), adjode.rk4(), 4)
    wanted = case.loss(trajectory.zs[-1]) + case.theta["b"][1]
    assert adjode.loss_value(case.problem(), loss, trajectory) == wanted
    found = adjode.adjoint_discrete(case.problem(), loss, trajectory)
    plain = adjode.Loss(terminal=lambda z, theta: case.loss(z))
    without = adjode.adjoint_discrete(case.problem(), plain, trajectory)
    np.testing.assert_allclose(found.theta["b"] - without.theta["b"], [0, 1, 0], atol=1e-12)


def test_the_end_time_sees_the_terminal_part_and_the_running_one(zoo):
    case = zoo.case("logistic")
    parts = {
        "terminal": lambda z, theta: case.loss(z),
        "running": lambda t, z, theta: z[0] * theta[1],
    }
    whole, terminal, running = (
        adjode.adjoint_discrete(
            case.problem(),
            adjode.Loss(**chosen),
            adjode.solve_fixed(case.problem(), adjode.rk4(), 4, running=chosen.get("running")),
        )
        for chosen in (parts, *({name: part} for name, part in parts.items()))
    )
    assert whole.t1 == pytest.approx(terminal.t1 + running.t1, rel=1e-12)
    assert abs(terminal.t1) > 0.1 and abs(running.t1) > 0.1


def test_the_rows_of_a_running_cost_are_those_at_each_node():
    theta, shape = {"a": np.array([0.0, -0.7]), "b": 2.0}, (2, 3)
    cost = lambda t, z, theta: theta["b"] * anp.sum(z[1] ** 3) * t + theta["a"][0] * theta["a"][1] * t**2
    problem = adjode.InitialValueProblem(lambda t, z, theta: z, np.ones(shape), 0.0, 1.0, theta)
    ts, zs = np.array([0.5, 2.0]), np.linspace(-1.0, 2.0, 12).reshape(2, 6)
    rows, theta_bar = cost_rows(problem, cost, ts, zs, np.array([10.0, -1.0]))
    np.testing.assert_array_equal(rows[:, :3], 0.0)
    np.testing.assert_allclose(rows[:, 3:], 3 * 2.0 * zs[:, 3:] ** 2 * ts[:, None], rtol=1e-14)
    sizes, squares = 10.0 * 0.5 * np.sum(zs[0, 3:] ** 3) - 2.0 * np.sum(zs[1, 3:] ** 3), 10.0 * 0.25 - 4.0
    np.testing.assert_allclose(theta_bar, [-0.7 * squares, 0.0, sizes], rtol=1e-13)
    with pytest.raises(
        ValueError, match=r"^running\(t, z, theta\) must return a scalar; got ndarray of shape"
    ):
        cost_rows(problem, lambda t, z, theta: z[0], ts, zs, np.ones(2))
    alone, nothing = cost_rows(problem, cost, ts, zs)
    assert np.array_equal(alone, rows) and nothing.shape == (0,)
    untraced = lambda t, z, theta: anp.sum(z) * float(theta["b"])  # which a traced theta would refuse
    np.testing.assert_array_equal(cost_rows(problem, untraced, ts, zs)[0], 2.0)
    bare = adjode.InitialValueProblem(problem.f, np.ones(shape), 0.0, 1.0)
    assert cost_rows(bare, lambda t, z, theta: anp.sum(z), ts, zs, np.ones(2))[1].shape == (0,)


def test_lambda_has_the_shape_of_the_state(zoo):
    case = zoo.case("batch")
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))
    path = adjode.adjoint_discrete(
        case.problem(), loss, adjode.solve_fixed(case.problem(), adjode.rk4(), 4)
    ).path
    assert path.lams.shape == (5, 3, 2) and path.dense is None
    path = adjode.adjoint_quadrature(case.problem(), loss, adjode.solve(case.problem())).path
    np.testing.assert_allclose(path.dense(case.t0), path.lams[0], rtol=1e-12)


def looked_at(*ts):
    """Observations of four steps of size 0.5 from t = 5 to t = 7."""
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [1.0], 5.0, 7.0, 0.1)
    loss = adjode.Loss(observations=adjode.Observations(ts, lambda i, z: (i + 1) * z[0]))
    return adjode.adjoint_discrete(problem, loss, adjode.solve_fixed(problem, adjode.rk4(), 4))


def test_an_observation_time_may_miss_its_node_by_rounding_of_the_interval():
    np.testing.assert_array_equal(looked_at(6.0 + 1.8e-12).z0, looked_at(6.0).z0)  # below 2e-12
    with pytest.raises(ValueError, match="no node of its own"):
        looked_at(6.0 + 5e-12)


def test_no_two_observations_share_a_node_wherever_they_stand():
    looked_at(5.5, 6.0, 6.5)
    with pytest.raises(ValueError, match=r"no node of its own at the observation time ts\[2\]"):
        looked_at(5.5, 6.0, 6.0 + 1e-12)


@pytest.mark.parametrize("name", ["clocked", "backwards"])
def test_the_times_have_the_derivatives_that_the_hamiltonian_gives(zoo, name):
    # -H(t0) and H(t1) with H = lambda f + g, without the observations; l_z f at an observation
    case = zoo.case(name)
    g = lambda t, z, theta: theta[1] * z[0] * t + z[1] ** 2
    ts = np.array([case.t0, (case.t0 + case.t1) / 2, case.t1])
    seen = adjode.Observations(ts, lambda i, z: (i + 1) * z[0] * z[1] ** 2)
    loss = adjode.Loss(lambda z, theta: case.loss(z) * theta[0], g, seen)
    trajectory = adjode.solve_fixed(case.problem(), adjode.rk4(), 3, ts=ts, running=g)
    found = adjode.adjoint_discrete(case.problem(), loss, trajectory)
    f = lambda t, z: case.f(t, z, case.theta)
    end = adjode.pullback(case.loss, trajectory.zs[-1])[1](case.theta[0])[0]
    assert found.t0 == pytest.approx(-found.z0 @ f(case.t0, case.z0) - g(case.t0, case.z0, case.theta))
    at_end = case.t1, trajectory.zs[-1]
    assert found.t1 == pytest.approx(end @ f(*at_end) + g(*at_end, case.theta))
    for i, n in enumerate((0, 3, 6)):
        z = trajectory.zs[n]
        row = (i + 1) * np.array([z[1] ** 2, 2 * z[0] * z[1]])
        assert found.ts[i] == pytest.approx(row @ f(ts[i], z))
    assert found.stats.vjps == 6 * 4 and found.stats.f_evaluations == trajectory.stats.f_evaluations


def test_a_loss_without_a_terminal_part_has_no_rows_of_its_own_at_the_end():
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta[1] * z, [1.0], 0.0, 1.0, [0.0, 2.0])
    loss = adjode.Loss(observations=adjode.Observations([1.0], lambda i, z: z[0] ** 2))
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 2)
    end, theta_bar, jumps = loss_rows(problem, loss, trajectory)
    np.testing.assert_array_equal(end, [0.0])
    np.testing.assert_array_equal(theta_bar, [0.0, 0.0])
    assert list(jumps) == [2] and jumps[2] == 2 * trajectory.zs[2]
