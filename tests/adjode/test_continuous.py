"""The continuous adjoint: its path, its jumps, its guards."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
from adjode.steps import Counted, adaptive_steps

CONTINUOUS = ["adjoint_backsolve", "adjoint_interpolated", "adjoint_quadrature"]
STRATEGIES = ["discrete", "backsolve", "interpolated", "quadrature"]


def test_lambda_z_is_constant_on_the_running_example(zoo):
    problem = zoo.case("scalar").problem()
    loss = adjode.Loss(terminal=lambda z, theta: 0.5 * (z[0] - 3.0) ** 2)
    trajectory = adjode.solve(problem, rtol=1e-9, atol=1e-11)
    path = adjode.adjoint_quadrature(problem, loss, trajectory, rtol=1e-9, atol=1e-11).path
    ts = np.linspace(1.0, 2.0, 9)
    products = path.dense(ts) * trajectory.dense(ts)
    assert products.shape == (9, 1) and path.dense(1.3).shape == (1,)
    np.testing.assert_allclose(products, -2.0, rtol=1e-8)  # 10 rtol


@pytest.mark.parametrize("name", ["adjoint_discrete", "adjoint_backsolve", "adjoint_interpolated",
                                  "adjoint_quadrature"])  # fmt: skip
@pytest.mark.parametrize("direction", ["clocked", "backwards"])
def test_lambda_jumps_by_l_z_at_each_observation(zoo, name, direction):
    case = zoo.case(direction)
    problem = case.problem()
    seen = adjode.Observations([case.t0, 0.5, case.t1], lambda i, z: (i + 1) * z[0] * z[1])
    trajectory = adjode.solve(problem, ts=seen.ts)
    found = getattr(adjode, name)(problem, adjode.Loss(observations=seen), trajectory)
    path = found.path
    steps = np.diff(path.ts) * np.sign(case.t1 - case.t0)
    assert path.ts[0] == case.t0 and path.ts[-1] == case.t1 and np.all(steps >= 0)
    jumps = np.flatnonzero(steps == 0)
    np.testing.assert_array_equal(path.ts[jumps], seen.ts)
    for i, n in enumerate(jumps):
        z = trajectory.zs[trajectory.ts == seen.ts[i]][0]
        before, after = path.lams[n], path.lams[n + 1]
        np.testing.assert_allclose(before - after, (i + 1) * z[::-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(path.lams[0], found.z0)
    np.testing.assert_array_equal(path.lams[-1], 0.0)


@pytest.mark.parametrize("direction", ["clocked", "backwards"])
def test_the_interpolant_takes_each_segment_of_lambda(zoo, direction):
    case = zoo.case(direction)
    problem = case.problem()
    seen = adjode.Observations([0.2, 0.8], lambda i, z: (i + 1) * case.loss(z))
    trajectory = adjode.solve(problem, ts=np.sort(seen.ts)[:: int(np.sign(case.t1 - case.t0))])
    seen = adjode.Observations(trajectory.ts[np.isin(trajectory.ts, seen.ts)], seen.fun)
    path = adjode.adjoint_quadrature(problem, adjode.Loss(observations=seen), trajectory).path
    inside = np.diff(path.ts, prepend=np.nan) != 0  # at a jump: the value before it comes first
    for t, lam in zip(path.ts[inside], path.lams[inside], strict=True):
        np.testing.assert_allclose(path.dense(t), lam, rtol=1e-8, atol=1e-10)
    after = case.t1 - 0.1 * (case.t1 - case.t0)
    np.testing.assert_array_equal(path.dense(after), 0.0)


@pytest.mark.parametrize("name", STRATEGIES[1:])
def test_an_observation_weighs_as_a_terminal_loss_at_t1(zoo, name):
    case = zoo.case("linear")
    problem, rtol = case.problem(), 1e-8
    terminal = adjode.Loss(terminal=lambda z, theta: case.loss(z))
    seen = adjode.Loss(observations=adjode.Observations([case.t1], lambda i, z: case.loss(z)))
    one = adjode.gradient(problem, terminal, adjoint=name, rtol=rtol)
    other = adjode.gradient(problem, seen, adjoint=name, rtol=rtol)
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-12)
    assert one.t1 == pytest.approx(other.ts[0], rel=1e-12) and other.t1 == 0.0


def test_l_z_may_be_given_by_hand(zoo):
    case = zoo.case("linear")
    fun, grad = (lambda i, z: anp.sum(z**2)), (lambda i, z: 2 * z)
    ts = [0.9, 1.8]
    by_hand = adjode.Loss(observations=adjode.Observations(ts, fun, grad))
    by_autograd = adjode.Loss(observations=adjode.Observations(ts, fun))
    one, other = (adjode.gradient(case.problem(), loss) for loss in (by_hand, by_autograd))
    np.testing.assert_array_equal(one.theta, other.theta)


def test_backsolve_refuses_when_the_state_does_not_come_back():
    # z' = -k z forgets exp(-40) of its start; backwards, rounding grows by exp(40)
    problem = adjode.InitialValueProblem(lambda t, z, k: -k * z + 1.0, [2.0], 0.0, 2.0, 20.0)
    loss = adjode.Loss(terminal=lambda z, theta: z[0] ** 2)
    with pytest.raises(adjode.GradientError, match=r'unstable.*Use adjoint="discrete"'):
        adjode.gradient(problem, loss, adjoint="backsolve", rtol=1e-6)
    for adjoint in ("discrete", "interpolated", "quadrature"):
        found = adjode.gradient(problem, loss, adjoint=adjoint, rtol=1e-6)
        # z(2) = 1/k + (2 - 1/k) exp(-2k): dL/dk = 2 z dz/dk, dz/dk = -1/k^2 + O(exp(-2k))
        assert found.theta == pytest.approx(2 * 0.05 * -0.0025, rel=1e-4)


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_the_integral_over_theta_is_controlled_where_lambda_rests(adjoint):
    # lambda is constant, so its own steps say nothing about lambda f_theta = bumps(t)
    bumps = lambda t: anp.exp(-200 * (t - 1.0) ** 2) + anp.exp(-50 * (t - 4.0) ** 2)
    f = lambda t, z, theta: theta * bumps(t) + 0.0 * z
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 6.0, 2.0)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z))
    found = adjode.gradient(problem, loss, adjoint=adjoint, rtol=1e-8, atol=1e-10)
    assert found.theta == pytest.approx(np.sqrt(np.pi / 200) + np.sqrt(np.pi / 50), rel=1e-6)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("name", ["decay", "oscillator", "beside a clock", "beside a wave"])
def test_a_state_at_rest_has_a_gradient_that_moves(name, adjoint, rtol):
    # z = theta stays where it is, whatever the step: only neighbours of z know the rate of f_z
    f, z0 = {
        "decay": (lambda t, z, theta: theta - z, [1.0]),
        "oscillator": (lambda t, z, theta: anp.array([z[1], theta - z[0]]), [1.0, 0.0]),
        "beside a clock": (lambda t, z, theta: anp.array([theta - z[0], 1.0]), [1.0, 0.0]),
        "beside a wave": (
            lambda t, z, theta: anp.array([theta - z[0], 0.2 * z[2], -0.2 * z[1]]),
            [1.0, 1.0, 0.0],
        ),
    }[name]
    wanted = np.cos(10) if name == "oscillator" else np.exp(-10)
    problem = adjode.InitialValueProblem(f, z0, 0.0, 10.0, 1.0)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    found = adjode.gradient(problem, loss, adjoint=adjoint, rtol=rtol, atol=rtol / 100)
    assert found.z0[0] == pytest.approx(wanted, abs=10 * rtol)
    assert found.theta == pytest.approx(1 - wanted, abs=10 * rtol)


def test_a_backward_solve_that_breaks_down_says_what_to_do():
    # f_z is a square root's: not finite backwards of t = 1, where z passes through zero
    f = lambda t, z, theta: theta * anp.sqrt(anp.abs(z) + 1e-300) * 0 - z / (1e-9 + (t - 1.0) ** 2)
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 2.0, 1.0)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z))
    with pytest.raises(adjode.IntegrationError):
        adjode.gradient(problem, loss, adjoint="backsolve")


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_a_gradient_that_is_not_finite_is_withheld(adjoint):
    f = lambda t, z, theta: -z + 0.0 * anp.sqrt(theta)  # sqrt has no derivative at 0
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 1.0, 0.0)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z))
    with pytest.raises(adjode.GradientError):
        adjode.gradient(problem, loss, adjoint=adjoint)


def test_memory_of_backsolve_does_not_grow_with_the_steps(zoo):
    case = zoo.case("linear")
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z))
    stored, steps = {}, {}
    for adjoint in ("backsolve", "discrete"):
        for rtol in (1e-4, 1e-10):
            stats = adjode.gradient(case.problem(), loss, adjoint=adjoint, rtol=rtol).stats
            stored[adjoint, rtol], steps[adjoint, rtol] = stats.stored_states, stats.steps
    assert stored["backsolve", 1e-4] == stored["backsolve", 1e-10] == 2
    assert stored["discrete", 1e-10] / stored["discrete", 1e-4] == pytest.approx(
        steps["discrete", 1e-10] / steps["discrete", 1e-4], rel=0.1
    )


def by_name(name, problem, loss, **options):
    """A continuous adjoint of a solve that it can read."""
    ts = loss.observations and loss.observations.ts
    trajectory = adjode.solve(problem, running=loss.running, ts=ts)
    return getattr(adjode, name)(problem, loss, trajectory, **options)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_tolerances_are_those_of_solve_when_absent(zoo, name):
    case = zoo.case("logistic")
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z))
    found, wanted = (by_name(name, case.problem(), loss, **o) for o in ({}, {"rtol": 1e-6, "atol": 1e-8}))
    np.testing.assert_array_equal(found.z0, wanted.z0)
    assert found.theta == wanted.theta and found.stats == wanted.stats


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_way_back_takes_the_steps_of_its_equations_at_the_tolerances_asked(name, running):
    # z = cos t: lambda = 0.05 cos(3 - t), or the integral of 0.05 cos(s - t) from t to 3
    z0, field = np.array([1.0, 0.0]), lambda t, z, theta: anp.array([-z[1], z[0]]) * theta
    seen = lambda z: 0.05 * (z[0] + 2 * z[1])
    parts = {"running": lambda t, z, _: seen(z)} if running else {"terminal": lambda z, _: seen(z)}
    problem, loss = adjode.InitialValueProblem(field, z0, 0.0, 30.0, 1.0), adjode.Loss(**parts)
    rtol, atol = 1e-13, 1e-9  # nothing but atol counts
    row = np.array([0.05, 0.1])
    scale = 1.0 if running else 0.1  # of lambda and theta_bar; at least 1 beside a running cost
    a = np.array([[0.0, -1.0], [1.0, 0.0]])
    forward = adjode.solve(problem, rtol=1e-12, atol=1e-14, running=loss.running)

    def back(t, state):
        z = state[:2] if name == "adjoint_backsolve" else forward.dense(t)
        lam = state[-3:-1] if name != "adjoint_quadrature" else state
        rates = [a @ z] if name == "adjoint_backsolve" else []
        rates.append(-lam @ a - running * row)
        return np.concatenate(rates if name == "adjoint_quadrature" else [*rates, [-lam @ a @ z]])

    parts = {"adjoint_backsolve": [forward.zs[-1], row * (not running), [0.0]],
             "adjoint_interpolated": [row * (not running), [0.0]],
             "adjoint_quadrature": [row * (not running)]}[name]  # fmt: skip
    start = np.concatenate(parts)
    scales = np.full(len(start), scale)
    if name == "adjoint_backsolve":
        scales[:2] = 1.0
    tolerances = {"rtol": rtol, "atol": atol * scales, "longest": 3.0}
    by_hand = list(adaptive_steps(Counted(back), start, [30.0, 0.0], adjode.dop853(), **tolerances))
    found = getattr(adjode, name)(problem, loss, forward, rtol=rtol, atol=atol)
    assert found.stats.steps - forward.stats.steps == len(by_hand) - 1 > 15
    assert found.stats.rejected - forward.stats.rejected == sum(s[4] - 1 for s in by_hand[:-1])
    nodes = [0.0, 30.0] if name == "adjoint_backsolve" else [s[0] for s in by_hand[::-1]]
    np.testing.assert_allclose(found.path.ts, nodes, atol=1e-9)
    assert (found.path.dense is None) == (name != "adjoint_quadrature")


def test_steps_that_are_tried_again_on_the_way_back_are_counted():
    pulse = lambda t: anp.exp(-(((t - 1.4) / 0.03) ** 2))
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z * pulse(t), [1.0], 0.0, 3.0, 9.0)
    forward = adjode.solve(problem, store="dense")
    found = adjode.adjoint_interpolated(problem, adjode.Loss(lambda z, theta: z[0]), forward)
    back = lambda t, state: -state[0] * pulse(t) * np.append(9.0, forward.dense(t))
    stops, tableau = [3.0, 0.0], adjode.dop853()
    steps = adaptive_steps(Counted(back), np.array([1.0, 0.0]), stops, tableau, 1e-6, 1e-8, longest=0.3)
    again = sum(step[4] - 1 for step in list(steps)[:-1])
    assert found.stats.rejected - forward.stats.rejected == again > 0


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("theta", [0.7, ()])
def test_every_vjp_is_counted(name, theta):
    calls = []

    def f(t, z, theta):
        calls.append(t)
        return (0.7 if isinstance(theta, tuple) else theta) * anp.sin(z) * t

    problem = adjode.InitialValueProblem(f, [1.0], 0.5, 2.0, theta)
    seen = adjode.Observations([1.0, 2.0], lambda i, z: z[0])
    forward = adjode.solve(problem, ts=seen.ts)
    calls.clear()
    found = getattr(adjode, name)(problem, adjode.Loss(observations=seen), forward)
    assert found.stats.vjps == len(calls) > 0
    assert found.stats.f_evaluations == forward.stats.f_evaluations


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_an_interval_of_a_single_step_counts(name, way):
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta + 0 * z, [1.0], 0.0, way, 2.0)
    seen = adjode.Observations([(1 - 1e-7) * way], lambda i, z: z[0])
    found = by_name(name, problem, adjode.Loss(lambda z, theta: z[0], observations=seen))
    np.testing.assert_array_equal(found.path.ts[-3:], np.array([1 - 1e-7, 1 - 1e-7, 1.0]) * way)
    back = found.stats.steps - adjode.solve(problem, ts=seen.ts).stats.steps
    assert back == len(np.unique(found.path.ts)) - 1 if name != "adjoint_backsolve" else back > 10
    assert found.theta == pytest.approx((2 - 1e-7) * way, rel=1e-9)


@pytest.mark.parametrize("factor", [0.99, 1.01])
@pytest.mark.parametrize("size", [0.1, 3.0])
def test_backsolve_allows_ten_times_the_tolerance_where_z_comes_back(size, factor):
    f, rtol, atol = (lambda t, z, theta: 0.0 * z), 1e-3, 1e-4
    off = factor * (10 * atol + 10 * rtol * size)
    off /= 1 - 10 * rtol * factor  # the size is that of the state that is missed
    trajectory = adjode.solve(adjode.InitialValueProblem(f, [size], 0.0, 1.0))
    problem = adjode.InitialValueProblem(f, [size + off], 0.0, 1.0)
    zs = trajectory.zs.copy()
    zs[0] = size + off
    stored, loss = replace(trajectory, zs=zs), adjode.Loss(terminal=lambda z, theta: z[0])
    if factor > 1:
        with pytest.raises(adjode.GradientError, match=r"unstable: at t = 0\.0 it misses"):
            adjode.adjoint_backsolve(problem, loss, stored, rtol=rtol, atol=atol)
    else:
        assert adjode.adjoint_backsolve(problem, loss, stored, rtol=rtol, atol=atol).z0 == [1.0]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_problem_without_a_state_has_a_derivative_in_theta_alone(name):
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, np.zeros(0), 0.0, 1.0, 3.0)
    found = by_name(name, problem, adjode.Loss(terminal=lambda z, theta: theta**2 + anp.sum(z)))
    assert found.z0.shape == (0,) and found.theta == 6.0 and found.t1 == 0.0


def test_the_integral_over_theta_is_taken_on_each_forward_step():
    # a pulse between the nodes of a rule over the whole interval; the forward solve stops around it
    pulse = lambda t: anp.exp(-(((t - 1.234) / 0.004) ** 2))
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * pulse(t) + 0 * z, [1.0], 0.0, 6.0, 2.0)
    forward = adjode.solve(problem, ts=1.234 + np.linspace(-0.03, 0.03, 13))
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    found = adjode.adjoint_quadrature(problem, loss, forward)
    assert found.theta == pytest.approx(0.004 * np.sqrt(np.pi), rel=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e-14])
def test_the_integral_over_theta_is_as_tight_as_asked_and_not_tighter(size):
    # theta = 0: the steps know nothing of cos(40 t)
    problem = adjode.InitialValueProblem(lambda t, z, w: w * anp.cos(40 * t) + 0 * z, [1.0], 0.0, 6.0, 0.0)
    loss, forward = adjode.Loss(terminal=lambda z, theta: size * z[0]), adjode.solve(problem)
    rough, fine = (adjode.adjoint_quadrature(problem, loss, forward, rtol=rtol, atol=1e-14)
                   for rtol in (1e-2, 1e-10))  # fmt: skip
    assert fine.theta / size == pytest.approx(np.sin(240) / 40, rel=1e-9)
    assert rough.theta / size == pytest.approx(np.sin(240) / 40, rel=1e-2)
    assert rough.stats.vjps < 0.8 * fine.stats.vjps


def test_an_integral_over_theta_that_cannot_be_found_is_refused():
    wild = lambda t, z, w: w * anp.cos(1e5 * t) + 0 * z
    problem = adjode.InitialValueProblem(wild, [1.0], 0.0, 6.0, 0.0)
    with pytest.raises(adjode.GradientError, match=r'lambda f_theta failed: .*Use adjoint="discrete"'):
        by_name("adjoint_quadrature", problem, adjode.Loss(terminal=lambda z, theta: z[0]))


def test_the_interpolant_of_lambda_has_the_shape_of_the_state(zoo):
    case = zoo.case("batch")
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z))
    path = by_name("adjoint_quadrature", case.problem(), loss).path
    for t, lam in zip(path.ts, path.lams, strict=True):
        np.testing.assert_allclose(path.dense(t), lam, rtol=1e-8, atol=1e-12)
    assert path.dense(path.ts).shape == (len(path.ts), 3, 2)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_derivative_that_is_not_finite_is_refused_without_a_warning(name):
    f = lambda t, z, theta: -z + 0.0 * anp.sqrt(theta)  # sqrt has no derivative at 0
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 1.0, 0.0)
    with pytest.raises(adjode.GradientError):
        by_name(name, problem, adjode.Loss(terminal=lambda z, theta: z[0]))
