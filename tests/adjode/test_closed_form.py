"""Every strategy against closed forms, in z0, theta, t0, t1 and observation times."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.integrate import quad

import adjode

NAMES = ["scalar", "linear", "clocked", "affine", "logistic", "batch", "backwards"]
STRATEGIES = ["discrete", "backsolve", "interpolated", "quadrature", "checkpointed"]
# The promise is 100 rtol; benign problems get ten times better than promised.
PROMISE = 10


def terminal_loss(case):
    return adjode.Loss(terminal=lambda z, theta: case.loss(z))


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_a_terminal_loss_is_that_of_the_closed_form(zoo, name, adjoint, rtol):
    case = zoo.case(name)
    options = {"adjoint": adjoint, "rtol": rtol, "atol": rtol / 100}
    value, found = adjode.value_and_gradient(case.problem(), terminal_loss(case), **options)
    exact = lambda z0, t0, t1, theta: case.loss(case.flow(z0, t0, t1, theta))
    wanted = zoo.exact_gradient(exact, case.z0, case.t0, case.t1, case.theta)
    got = (found.z0, found.t0, found.t1, found.theta)
    assert zoo.relative_error(got, wanted) < PROMISE * rtol
    assert value == pytest.approx(exact(case.z0, case.t0, case.t1, case.theta).real, rel=PROMISE * rtol)


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_the_running_example_comes_out_by_hand(zoo, adjoint):
    case, theta = zoo.case("scalar"), 2 / 3 * np.log(2)
    loss = adjode.Loss(terminal=lambda z, theta: 0.5 * (z[0] - 3.0) ** 2)
    value, found = adjode.value_and_gradient(case.problem(), loss, adjoint=adjoint, rtol=1e-9)
    got = np.array([value, found.z0[0], found.theta, found.t0, found.t1])
    wanted = [0.5, -2.0, -3.0, 2 * theta, -4 * theta]
    np.testing.assert_allclose(got, wanted, rtol=PROMISE * 1e-9)


@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("name", NAMES)
def test_observations_anywhere_between_and_at_both_ends(zoo, name, adjoint):
    case, rtol = zoo.case(name), 1e-8
    ts = case.t0 + (case.t1 - case.t0) * np.array([0.0, 0.3, 0.55, 1.0])
    weights = np.array([0.7, 1.0, -0.4, 0.2])
    seen = adjode.Observations(ts, lambda i, z: weights[i] * case.loss(z))
    found = adjode.gradient(
        case.problem(), adjode.Loss(observations=seen), adjoint=adjoint, rtol=rtol, atol=1e-10
    )

    def exact(z0, t0, theta, ts):
        return sum(w * case.loss(case.flow(z0, t0, t, theta)) for w, t in zip(weights, ts, strict=True))

    wanted = zoo.exact_gradient(exact, case.z0, case.t0, case.theta, ts)
    got = (found.z0, found.t0, found.theta, found.ts)
    assert zoo.relative_error(got, wanted) < PROMISE * rtol
    assert found.t1 == 0.0


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_running_cost_with_explicit_time_and_theta(adjoint):
    # z = z0 exp(theta (t - t0)), g = c(t) z theta: all derivatives by differentiating the integral
    z0, t0, t1, theta, rtol = 0.8, 0.2, 1.5, 0.6, 1e-8
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [z0], t0, t1, theta)
    loss = adjode.Loss(running=lambda t, z, theta: anp.cos(3 * t) * z[0] * theta)
    value, found = adjode.value_and_gradient(problem, loss, adjoint=adjoint, rtol=rtol, atol=1e-10)
    growth = lambda t: np.exp(theta * (t - t0))
    integral = lambda fun: quad(lambda t: np.cos(3 * t) * fun(t), t0, t1, epsabs=1e-13)[0]
    total = z0 * theta * integral(growth)
    wanted = [
        total,
        theta * integral(growth),
        z0 * integral(lambda t: growth(t) * (1 + theta * (t - t0))),
        -np.cos(3 * t0) * z0 * theta - theta * total,
        np.cos(3 * t1) * z0 * growth(t1) * theta,
    ]
    got = [value, found.z0[0], found.theta, found.t0, found.t1]
    np.testing.assert_allclose(got, wanted, rtol=PROMISE * rtol)


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_a_loss_with_explicit_theta_adds_its_own_derivative(zoo, adjoint):
    case = zoo.case("affine")
    decay = lambda theta: 0.1 * anp.sum(theta["A"] ** 2) + 0.2 * anp.sum(theta["b"] ** 3)
    loss = adjode.Loss(terminal=lambda z, theta: case.loss(z) * theta["b"][0] + decay(theta))
    found = adjode.gradient(case.problem(), loss, adjoint=adjoint, rtol=1e-8, atol=1e-10)

    def exact(theta):
        z = case.flow(case.z0, case.t0, case.t1, theta)
        return case.loss(z) * theta["b"][0] + decay(theta)

    (wanted,) = zoo.exact_gradient(exact, case.theta)
    assert zoo.relative_error(found.theta, wanted) < PROMISE * 1e-8


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_all_parts_of_a_loss_add_up(zoo, adjoint):
    case = zoo.case("clocked")
    seen = adjode.Observations([0.1, 0.9], lambda i, z: (i + 1) * case.loss(z))
    parts = {
        "terminal": lambda z, theta: case.loss(z) + theta[0] ** 2,
        "running": lambda t, z, theta: t * z[0] * z[1] + theta[1] * z[0],
        "observations": seen,
    }
    options = {"adjoint": adjoint, "rtol": 1e-9, "atol": 1e-11}
    whole = adjode.gradient(case.problem(), adjode.Loss(**parts), **options)
    pieces = [
        adjode.gradient(case.problem(), adjode.Loss(**{name: part}), **options)
        for name, part in parts.items()
    ]
    for field in ("z0", "theta", "t0", "t1"):
        total = sum(getattr(piece, field) for piece in pieces)
        np.testing.assert_allclose(getattr(whole, field), total, rtol=1e-7)  # 100 rtol


@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("size", [1e-12, 1e9])
def test_the_gradient_is_linear_in_the_size_of_the_loss(zoo, adjoint, size):
    case = zoo.case("linear")
    plain = adjode.gradient(case.problem(), terminal_loss(case), adjoint=adjoint)
    scaled = adjode.Loss(terminal=lambda z, theta: size * case.loss(z))
    found = adjode.gradient(case.problem(), scaled, adjoint=adjoint)
    np.testing.assert_allclose(found.theta, size * plain.theta, rtol=1e-10)  # the same steps
