"""The discrete adjoint is backpropagation through the steps that were taken."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import adjode

ROUNDING = 1e-12  # steps x stages x rounding of one step, with a margin of a hundred
SCHEMES = ["euler", "midpoint", "heun", "kutta3", "rk4", "dopri5", "dop853"]
WEIGHTS = np.array([0.5, -1.0, 2.0])


def trajectories(problem, scheme, **options):
    """One of fixed and, for a pair, one of adapted steps."""
    tableau = getattr(adjode, scheme)()
    yield adjode.solve_fixed(problem, tableau, 4, **options)
    if len(tableau.errors):
        yield adjode.solve(problem, rtol=1e-4, atol=1e-6, method=scheme, **options)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["scalar", "clocked", "affine", "batch", "backwards"])
def test_discrete_adjoint_is_the_derivative_of_the_steps(zoo, name, scheme):
    case = zoo.case(name)
    problem = case.problem()
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z))
    for trajectory in trajectories(problem, scheme):
        found = adjode.adjoint_discrete(problem, loss, trajectory)

        def through_the_steps(z0, theta, trajectory=trajectory):
            zs = adjode.rk_steps(trajectory.tableau, case.f, trajectory.ts, z0, theta)
            return case.loss(zs[-1])

        wanted = grad(through_the_steps, (0, 1))(case.z0, case.theta)
        assert zoo.relative_error((found.z0, found.theta), wanted) < ROUNDING


@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_observations_running_cost_and_explicit_theta(zoo, scheme):
    case = zoo.case("clocked")
    problem, ts = case.problem(), [case.t0, 0.4, case.t1]
    seen = adjode.Observations(ts, lambda i, z: WEIGHTS[i] * case.loss(z))
    running = lambda t, z, theta: anp.sin(t) * z[0] * z[1] * theta[0]
    terminal = lambda z, theta: z[1] ** 2 * theta[1]
    loss = adjode.Loss(terminal, running, seen)
    for trajectory in trajectories(problem, scheme, ts=ts, running=running):
        found = adjode.adjoint_discrete(problem, loss, trajectory)

        def through_the_steps(z0, theta, trajectory=trajectory):
            def with_cost(t, y, theta):
                slope = case.f(t, y[:2], theta)
                return anp.concatenate([slope, anp.array([running(t, y[:2], theta)])])

            start = anp.concatenate([z0, anp.zeros(1)])
            ys = adjode.rk_steps(trajectory.tableau, with_cost, trajectory.ts, start, theta)
            at = [int(np.flatnonzero(trajectory.ts == t)[0]) for t in ts]
            seen = sum(w * case.loss(ys[n][:2]) for w, n in zip(WEIGHTS, at, strict=True))
            return seen + ys[-1][2] + terminal(ys[-1][:2], theta)

        wanted = grad(through_the_steps, (0, 1))(case.z0, case.theta)
        assert zoo.relative_error((found.z0, found.theta), wanted) < ROUNDING
        value = adjode.loss_value(problem, loss, trajectory)
        assert value == pytest.approx(float(through_the_steps(case.z0, case.theta)), rel=ROUNDING)


def test_the_path_of_lambda_is_the_derivative_in_each_state(zoo):
    case = zoo.case("clocked")
    problem = case.problem()
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 6)
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z))
    path = adjode.adjoint_discrete(problem, loss, trajectory).path
    np.testing.assert_array_equal(path.ts, trajectory.ts)
    for n in (0, 3, 6):
        rest = lambda z, n=n: case.loss(
            adjode.rk_steps(trajectory.tableau, case.f, trajectory.ts[n:], z, case.theta)[-1]
        )
        np.testing.assert_allclose(path.lams[n], grad(rest)(trajectory.zs[n]), rtol=ROUNDING)


def test_one_vjp_a_stage_and_none_for_stages_that_do_not_count(zoo):
    problem = zoo.case("linear").problem()
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    for scheme, stages in [("rk4", 4), ("midpoint", 2), ("dopri5", 6), ("dop853", 12)]:
        trajectory = adjode.solve_fixed(problem, getattr(adjode, scheme)(), 5)
        found = adjode.adjoint_discrete(problem, loss, trajectory)
        assert found.stats.vjps == 5 * stages
        assert found.stats.steps == 5


@pytest.mark.parametrize("scheme, order", [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_discrete_gradient_converges_at_the_order_of_the_scheme(zoo, scheme, order):
    case = zoo.case("clocked")
    problem, loss = case.problem(), adjode.Loss(terminal=lambda z, theta: case.loss(z))
    exact = lambda theta: case.loss(case.flow(case.z0, case.t0, case.t1, theta))
    (wanted,) = zoo.exact_gradient(exact, case.theta)
    errors = []
    for n in (32, 64, 128):
        trajectory = adjode.solve_fixed(problem, getattr(adjode, scheme)(), n)
        found = adjode.adjoint_discrete(problem, loss, trajectory)
        errors.append(np.max(np.abs(found.theta - wanted)))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert abs(orders[-1] - order) < 0.2, (errors, orders)


SPIN = np.array([[0.0, -5.0], [5.0, 0.0]])


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("offset", [0.0, 1e-13, 1e-11, 1e-9, 1e-7, 1e-5])
def test_close_to_rest_the_steps_suit_the_derivative_from_the_first_one_on(offset, rtol):
    # the error of z is nothing here; that of dz/dz0, which turns ten times, is not
    f = lambda t, z, theta: anp.dot(SPIN, z - 1.0)
    problem = adjode.InitialValueProblem(f, np.ones(2) + offset, 0.0, 2.0)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    found = adjode.gradient(problem, loss, rtol=rtol, atol=rtol / 100)
    np.testing.assert_allclose(found.z0, [np.cos(10), -np.sin(10)], atol=10 * rtol)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("clock", [0.2, 1.0, 2.0, 2.5, 3.3, 4.0])
def test_entries_at_rest_beside_a_moving_one_have_right_derivatives(clock, rtol):
    f = lambda t, z, theta: anp.append(anp.cos(clock * t), anp.dot(SPIN, z[1:]))
    problem = adjode.InitialValueProblem(f, np.array([1.0, 0.0, 0.0]), 0.0, 6.0)
    loss = adjode.Loss(terminal=lambda z, theta: z[1])
    found = adjode.gradient(problem, loss, rtol=rtol, atol=rtol / 100)
    np.testing.assert_allclose(found.z0, [0, np.cos(30), -np.sin(30)], atol=10 * rtol)


@pytest.mark.parametrize("rate, clock, rtol", [(2.0, 1.0, 1e-6), (2.0, 1.0, 1e-9), (4.0, 3.0, 1e-9)])
def test_what_decays_forwards_grows_backwards(rate, clock, rtol):
    f = lambda t, z, theta: anp.append(anp.cos(clock * t), -rate * z[1:])
    problem = adjode.InitialValueProblem(f, np.array([1.0, 0.0]), 0.0, -12 / rate)
    loss = adjode.Loss(terminal=lambda z, theta: z[1])
    found = adjode.gradient(problem, loss, rtol=rtol, atol=rtol / 100)
    np.testing.assert_allclose(found.z0, [0, np.exp(12)], rtol=10 * rtol)


@pytest.mark.parametrize("adjoint", ["discrete", "quadrature"])
def test_times_far_from_zero_and_an_interval_near_nothing(adjoint):
    f, loss = lambda t, z, theta: theta * z, adjode.Loss(terminal=lambda z, theta: z[0])
    for t0, t1 in ((1e12, 1e12 + 1), (0.0, 1e-300), (1e15, 1e15 + 1)):
        problem = adjode.InitialValueProblem(f, [1.0], t0, t1, 0.5 / (t1 - t0))
        found = adjode.gradient(problem, loss, adjoint=adjoint)
        assert found.z0[0] == pytest.approx(np.exp(0.5), rel=1e-5)  # 10 rtol


@pytest.mark.parametrize(
    "name, store", [("discrete", "stages"), ("fast", "stages"), ("checkpointed", "times")]
)
def test_an_adjoint_that_overflows_is_refused_without_a_warning(name, store):
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [1e-3], 0.0, 1.0, 5.0)
    loss = adjode.Loss(terminal=lambda z, theta: 1e308 * z[0])  # dL/dz0 is 148 times that
    with pytest.raises(adjode.GradientError, match="the gradient is not finite"):
        getattr(adjode, f"adjoint_{name}")(problem, loss, adjode.solve(problem, store=store))
