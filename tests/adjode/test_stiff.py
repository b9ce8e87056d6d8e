"""Implicit steps, their discrete adjoint, and the way there from an explicit scheme."""

from itertools import pairwise

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian
from autograd.tracer import isbox
from scipy.integrate import solve_ivp

import adjode
from adjode.steps import Counted, stable
from adjode.stiff import (
    Newton,
    foreseen,
    implicit_cost,
    implicit_fixed_steps,
    implicit_step_back,
    implicit_steps,
    state_jacobian,
)

SCHEMES = {"implicit_midpoint": (), "trapezoid": (), "radau": (3,), "radau 5": (5,), "radau 7": (7,)}
ROUNDING = 1e-11  # what Newton's iteration leaves, times the stiffness of the small cases
SOLVED = 1e-8


def scheme(name):
    return getattr(adjode, name.split()[0])(*SCHEMES[name])


def bent(t, z, theta):
    """Stiff, nonlinear, with time in it; f_z is not symmetric."""
    first = theta[0] * z[1] - z[0] * z[1] ** 2 * anp.cos(t)
    return anp.array([first, theta[1] * anp.sin(z[0]) - 20.0 * z[1]])


def cost(t, z, theta):
    return anp.sin(t) * z[0] * theta[0] + z[1] ** 2


Z0, THETA = np.array([1.0, 0.5]), np.array([0.7, 1.3])


def unrolled(tableau, f, ts, z, theta):
    """The same steps with autograd through an iteration until it rests; nothing is frozen but a
    rough f_z, which changes the way and not the end."""
    a, b, c, s = tableau.a, tableau.b, tableau.c, len(tableau.b)
    for t, t_next in pairwise(ts):
        h, k = t_next - t, anp.array([f(t, z, theta)] * s)
        rough = np.array([[-0.2, 0.5], [1.0, -20.0]])
        matrix = np.linalg.inv(np.eye(2 * s) - h * np.kron(a, rough))
        for _ in range(30):
            zs = z + h * anp.dot(a, k)
            slopes = anp.concatenate([f(t + x * h, z, theta) for x, z in zip(c, zs, strict=True)])
            k = k + anp.reshape(anp.dot(matrix, slopes - anp.ravel(k)), (s, 2))
        z = z + h * anp.dot(b, k)
    return z


@pytest.mark.parametrize("name", SCHEMES)
def test_discrete_adjoint_is_the_derivative_of_the_implicit_steps(name, zoo):
    tableau = scheme(name)
    problem = adjode.InitialValueProblem(bent, Z0, 0.2, 1.4, THETA)
    end = lambda z, theta: z[0] ** 2 + z[0] * z[1] * theta[1]
    trajectory = adjode.solve_fixed(problem, tableau, 2)
    found = adjode.adjoint_discrete(problem, adjode.Loss(terminal=end), trajectory)
    through = lambda z, theta: end(unrolled(tableau, bent, trajectory.ts, z, theta), theta)
    wanted = grad(through, (0, 1))(Z0, THETA)
    assert zoo.relative_error((found.z0, found.theta), wanted) < ROUNDING


@pytest.mark.parametrize("name", SCHEMES)
def test_observations_and_a_running_cost_on_implicit_steps(name, zoo):
    # the implicit function theorem by the complex step: z(ts), cost as one more entry of the state
    tableau, ts = scheme(name), np.array([0.2, 0.6, 1.4])
    seen = adjode.Observations(ts, lambda i, z: (i + 1.0) * z[0] * z[1])
    loss = adjode.Loss(running=cost, observations=seen)
    problem = adjode.InitialValueProblem(bent, Z0, 0.2, 1.4, THETA)
    trajectory = adjode.solve_fixed(problem, tableau, 2, ts=ts, running=cost)
    found = adjode.adjoint_discrete(problem, loss, trajectory)

    def value(x):
        changed = adjode.InitialValueProblem(bent, x[:2], 0.2, 1.4, x[2:])
        again = adjode.solve_fixed(changed, tableau, 2, ts=ts, running=cost)
        return adjode.loss_value(changed, loss, again)

    x, h = np.concatenate([Z0, THETA]), 1e-3  # sixth-order differences: error h^6, rounding / h
    weights = {1: 45.0, 2: -9.0, 3: 1.0}
    wanted = [sum(w * (value(x + m * h * row) - value(x - m * h * row)) for m, w in weights.items())
              / (60 * h) for row in np.eye(4)]  # fmt: skip
    assert zoo.relative_error((found.z0, found.theta), tuple(np.split(np.array(wanted), 2))) < 1e-10


@pytest.mark.parametrize("running", [None, cost])
@pytest.mark.parametrize("name", SCHEMES)
def test_the_stages_satisfy_their_equations(name, running):
    tableau, problem = scheme(name), adjode.InitialValueProblem(bent, Z0, 0.2, 1.4, THETA)
    trajectory = adjode.solve_fixed(problem, tableau, 4, running=running)
    for n, h in enumerate(np.diff(trajectory.ts)):
        zs = trajectory.zs[n] + h * tableau.a @ trajectory.stages[n]
        slopes = [bent(trajectory.ts[n] + c * h, z, THETA) for c, z in zip(tableau.c, zs, strict=True)]
        np.testing.assert_allclose(trajectory.stages[n], slopes, rtol=1e-10, atol=1e-10)
        end = trajectory.zs[n] + h * tableau.b @ trajectory.stages[n]
        np.testing.assert_allclose(trajectory.zs[n + 1], end, rtol=1e-13)
        np.testing.assert_array_equal(trajectory.fs[n], bent(trajectory.ts[n], trajectory.zs[n], THETA))


@pytest.mark.parametrize("stages, limit", [(3, 1e-4), (5, 1e-7), (7, 1e-9)])
def test_radau_is_collocation_and_damps_what_is_stiff(stages, limit):
    tableau = adjode.radau(stages)
    for power in range(1, stages + 1):  # exact for polynomials: the rows integrate them
        np.testing.assert_allclose(tableau.a @ tableau.c ** (power - 1), tableau.c**power / power, atol=1e-12)
    for power in range(1, 2 * stages):  # order 2 s - 1
        assert tableau.b @ tableau.c ** (power - 1) == pytest.approx(1 / power, abs=1e-12)
    assert abs(tableau.b @ tableau.c ** (2 * stages - 1) - 1 / (2 * stages)) > 1e-10
    eye, ones = np.eye(stages + 1), np.ones(stages + 1)
    growth = lambda x: 1 + x * tableau.b @ np.linalg.solve(eye - x * tableau.a, ones)
    for x in (-1e8, -1e8 + 1e8j, 1e8j):
        assert abs(growth(x)) < 1e-6
    assert abs(growth(-1.0) - np.exp(-1.0)) < limit
    for error in tableau.errors:  # order s: exact on polynomials below that
        assert np.max(np.abs(error @ tableau.c[:, None] ** np.arange(stages))) < 1e-12
        assert abs(error @ tableau.c**stages) > 1e-5


def relaxation(k, t1=10.0, observed=1):
    f = lambda t, z, theta: -theta[0] * (z - anp.cos(t)) + theta[1]
    return f, np.array([0.0]), np.array([0.0, *np.linspace(0, t1, observed + 1)[1:]]), np.array([k, 0.5])


def relaxed(z0, ts, theta):
    """The closed form of `relaxation`, for complex arguments too."""
    k, w = theta
    forced = lambda t: (k**2 * np.cos(t) + k * np.sin(t)) / (1 + k**2) + w / k
    return forced(ts)[:, None] + (z0 - forced(ts[0])) * np.exp(-k * (ts - ts[0]))[:, None]


def scaled_error(found, wanted, x, rtol, atol, size):
    """|g - g*| over what "right" allows: 100 rtol |g*| + 100 atol s, entries scaled by max(|x|, 1)."""
    found, wanted, x = (adjode.flatten(part)[0] for part in (found, wanted, x))
    scales = np.maximum(np.abs(x), 1.0)
    allowed = 100 * rtol * np.linalg.norm(scales * wanted) + 100 * atol * size
    return np.linalg.norm(scales * (found - wanted)) / allowed


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("observed", [1, 100])
@pytest.mark.parametrize("k", [50.0, 1e3, 1e4])
def test_relaxation_is_right_with_default_arguments(k, observed, rtol, zoo):
    f, z0, ts, theta = relaxation(k, observed=observed)
    loss = lambda *args: 0.5 * anp.sum(adjode.odeint(f, *args, rtol=rtol, atol=rtol / 100)[1:] ** 2)
    found = grad(loss, (0, 1, 2))(z0, ts, theta)
    exact = lambda *args: 0.5 * np.sum(relaxed(*args)[1:] ** 2)
    wanted = zoo.exact_gradient(exact, z0, ts, theta)
    assert scaled_error(found, wanted, (z0, ts, theta), rtol, rtol / 100, 1.0) < 1


def test_auto_hands_stiff_problems_over_and_keeps_the_others():
    schemes = {}
    for k in (0.5, 5.0, 1e3, 1e5):
        f, z0, _, theta = relaxation(k)
        problem = adjode.InitialValueProblem(f, z0, 0.0, 10.0, theta)
        trajectory = adjode.solve(problem)
        schemes[k] = trajectory.tableau.name
        assert trajectory.stats.f_evaluations < 3000
        exact = relaxed(z0, trajectory.ts, theta)
        np.testing.assert_allclose(trajectory.zs, exact, atol=1e-5)
    assert schemes == {0.5: "dop853", 5.0: "dop853", 1e3: "radau", 1e5: "radau"}


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_values_do_not_depend_on_whether_a_gradient_is_asked(rtol):
    f, z0, ts, theta = relaxation(1e3, observed=5)
    seen = []

    def loss(theta):
        zs = adjode.odeint(f, z0, ts, theta, rtol=rtol)
        seen.append(zs._value if isbox(zs) else zs)
        return anp.sum(zs)

    loss(theta), grad(loss)(theta)
    np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("name", ["affine", "logistic", "batch", "backwards", "linear"])
def test_radau_by_name_is_within_the_tolerance_everywhere(zoo, name, rtol):
    case = zoo.case(name)
    trajectory = adjode.solve(case.problem(), rtol=rtol, atol=rtol / 100, method="radau")
    for t in np.linspace(case.t0, case.t1, 23):
        exact = np.real(case.flow(case.z0, case.t0, t, case.theta))
        assert np.max(np.abs(trajectory.dense(t) - exact)) < 10 * rtol * max(1, np.max(np.abs(exact)))


def test_a_running_cost_of_a_stiff_problem():
    # z = sin t after a moment; the cost is not needed by z, and waits a round for it
    f = lambda t, z, theta: -theta * (z - anp.sin(t)) + anp.cos(t)
    problem = adjode.InitialValueProblem(f, [0.0], 0.0, 3.0, 1e4)
    loss = adjode.Loss(running=lambda t, z, theta: z[0] ** 2 + theta * 1e-4)
    value, found = adjode.value_and_gradient(problem, loss, rtol=1e-8, atol=1e-10)
    assert value == pytest.approx(1.5 - np.sin(6) / 4 + 3.0, rel=SOLVED)
    assert found.theta == pytest.approx(3e-4, rel=SOLVED)


def test_second_and_third_derivatives_go_through_implicit_steps():
    f = lambda t, z, theta: theta * anp.sin(z) - z * t
    loss = lambda theta: adjode.odeint(f, 1.0, [0.0, 1.0], theta, rtol=1e-6, method="radau")[-1]
    exact = lambda theta: adjode.odeint(f, 1.0, [0.0, 1.0], theta, rtol=1e-9, atol=1e-11)[-1]
    for _ in range(3):
        loss, exact = grad(loss), grad(exact)
        assert loss(0.7) == pytest.approx(exact(0.7), abs=1e-7)
    bent_loss = lambda x, method: anp.sum(
        adjode.odeint(bent, x[:2], [0.2, 0.3, 0.4], x[2:], rtol=1e-4, atol=1e-6, method=method)
    )
    x = np.concatenate([Z0, THETA])
    np.testing.assert_allclose(hessian(bent_loss)(x, "radau"), hessian(bent_loss)(x, "dop853"), atol=1e-5)


@pytest.mark.parametrize("d", [1, 3])
def test_f_z_by_pullbacks_or_by_differences(d):
    plain = lambda t, z, theta: np.array([x**2 * theta for x in z])  # autograd cannot trace it
    problem = adjode.InitialValueProblem(plain, np.arange(1.0, d + 1), 0.0, 1.0, -2.0)
    field = adjode.steps.Counted(lambda t, z: np.append(plain(t, z[:-1], -2.0), 1.0))
    z = np.append(problem.z0, 7.0)
    wanted = np.diag(np.append(-4.0 * problem.z0, 0.0))
    np.testing.assert_allclose(state_jacobian(problem, field)(0.0, z), wanted, rtol=1e-5)
    assert field.calls == d + 1 and field.vjps == 0
    clean = adjode.InitialValueProblem(bent, Z0, 0.2, 1.4, THETA)
    wanted = jacobian(lambda z: bent(0.3, z, THETA))(Z0)
    np.testing.assert_allclose(state_jacobian(clean)(0.3, Z0), wanted, rtol=1e-14)


def test_a_stiff_field_that_autograd_cannot_trace_is_solved():
    f = lambda t, z, theta: np.array([-1e4 * (z[0] - np.cos(t)), z[0]])
    trajectory = adjode.solve(adjode.InitialValueProblem(f, [1.0, 0.0], 0.0, 5.0))
    assert trajectory.tableau.name == "radau"
    assert trajectory.zs[-1, 1] == pytest.approx(np.sin(5.0) + 1e-4 * (1 - np.cos(5)), abs=1e-6)


@pytest.mark.parametrize("scheme", [adjode.implicit_midpoint, adjode.trapezoid, adjode.radau])
def test_a_steep_running_cost_does_not_stop_the_iteration(scheme):
    """Its integral is a round behind: what is left of it may grow once, where the state converges."""
    f = lambda t, z, theta: -0.7 * anp.tanh(z) + 0.4 * anp.cos(2 * t)
    steep = lambda t, z, theta: anp.cos(t) * anp.sum(z**4 / 4 + z**2 + anp.sin(z)) + 12.5 * z[0]
    problem = adjode.InitialValueProblem(f, [0.5], 0.2, 1.1)
    trajectory = adjode.solve_fixed(problem, scheme(), 4, running=steep)
    total, tableau = 0.0, trajectory.tableau
    for t, z, k, h in zip(
        trajectory.ts, trajectory.zs, trajectory.stages, np.diff(trajectory.ts), strict=False
    ):
        zs = z + h * tableau.a @ k
        costs = [steep(t + c * h, x, None) for c, x in zip(tableau.c, zs, strict=True)]
        total += h * tableau.b @ costs
    assert trajectory.running[-1] == pytest.approx(total, rel=1e-13)


def test_the_iteration_gives_up_where_it_does_not_converge():
    tableau = adjode.radau()
    field = lambda t, z: 1e3 * np.cos(1e3 * z)
    newton = Newton(tableau, np.zeros((1, 1)), 1.0)
    assert newton.stages(field, 0.0, np.zeros(1), np.zeros((4, 1)), 1e-9 * np.ones(1), 10.0) is None
    field = lambda t, z: z * np.nan
    assert newton.stages(field, 0.0, np.ones(1), np.zeros((4, 1)), np.ones(1), 10.0) is None
    problem = adjode.InitialValueProblem(lambda t, z, theta: 30 * anp.cos(50 * z) + z**5, [3.0], 0.0, 4.0)
    with pytest.raises(adjode.IntegrationError, match="stages of implicit_midpoint were not found"):
        adjode.solve_fixed(problem, adjode.implicit_midpoint(), 2)


@pytest.mark.parametrize("f, t1, message", [
    (lambda t, z, theta: z**2, 2.0, r"stopped at t = (1\.0|0\.99)"),
    (lambda t, z, theta: z * np.nan, 1.0, "not finite at the start"),
    (lambda t, z, theta: z * (np.nan if t >= 0.5 else 1.0), 1.0, r"stopped at t = 0\.4999"),
])  # fmt: skip
def test_implicit_steps_stop_where_explicit_ones_do(f, t1, message):
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, t1)
    with pytest.raises(adjode.IntegrationError, match=message):
        adjode.solve(problem, method="radau")


def test_implicit_midpoint_keeps_quadratic_invariants_and_the_trapezoid_nearly():
    spin = lambda t, z, theta: anp.array([z[1] * (1 + z[0] ** 2), -z[0] * (1 + z[0] ** 2)])
    problem = adjode.InitialValueProblem(spin, [1.0, 0.0], 0.0, 20.0)
    drift = lambda scheme: np.ptp(np.sum(adjode.solve_fixed(problem, scheme, 200).zs ** 2, axis=1))
    # 200 steps, and what Newton's iteration leaves in each
    assert drift(adjode.implicit_midpoint()) < 1e-10 < 1e-4 < drift(adjode.trapezoid()) < 1e-2


def test_forward_sensitivities_of_another_solver_agree_on_van_der_pol():
    f = lambda t, z, mu: anp.array([z[1], mu * (1 - z[0] ** 2) * z[1] - z[0]])
    problem = adjode.InitialValueProblem(f, [2.0, 0.0], 0.0, 20.0, 50.0)
    loss = adjode.Loss(terminal=lambda z, mu: 0.5 * anp.sum(z**2))
    found = adjode.gradient(problem, loss)
    f_z = lambda z, mu: np.array([[0, 1], [-2 * mu * z[0] * z[1] - 1, mu * (1 - z[0] ** 2)]])

    def variations(t, y):  # z, dz/dz0 and dz/dmu, side by side
        z, dz = y[:2], y[2:].reshape(2, 3)
        forced = np.array([[0, 0, 0], [0, 0, (1 - z[0] ** 2) * z[1]]])
        return np.concatenate([f(t, z, 50.0), (f_z(z, 50.0) @ dz + forced).ravel()])

    start = np.concatenate([problem.z0, np.eye(2, 3).ravel()])
    end = solve_ivp(variations, (0, 20), start, method="Radau", rtol=1e-10, atol=1e-12).y[:, -1]
    wanted = end[:2] @ end[2:].reshape(2, 3)
    np.testing.assert_allclose(np.append(found.z0, found.theta), wanted, rtol=1e-6)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_adaptive_stages_are_found_far_below_the_tolerance(rtol):
    # or the discrete adjoint would be that of other numbers: a thousandth of it, or 1e-10 of |z|
    trajectory = adjode.solve(
        adjode.InitialValueProblem(bent, Z0, 0.2, 1.4, THETA), rtol=rtol, atol=rtol / 100, method="radau"
    )
    tableau = trajectory.tableau
    for n, h in enumerate(np.diff(trajectory.ts)):
        zs = trajectory.zs[n] + h * tableau.a @ trajectory.stages[n]
        slopes = [bent(trajectory.ts[n] + c * h, z, THETA) for c, z in zip(tableau.c, zs, strict=True)]
        assert np.max(np.abs(h * (trajectory.stages[n] - slopes))) < 10 * min(1e-3 * rtol, 1e-10)


@pytest.mark.parametrize("method", ["dopri5", "dop853"])
def test_explicit_steps_stay_where_decay_decays(method):
    # z' = -k (z - cos t): each step must damp, |R(-k h)| < 1, or lambda grows along frozen steps
    f, z0, _, theta = relaxation(50.0)
    trajectory = adjode.solve(adjode.InitialValueProblem(f, z0, 0.0, 10.0, theta), rtol=1e-3, method=method)
    tableau, eye = trajectory.tableau, np.eye(len(trajectory.tableau.b))
    for h in np.diff(trajectory.ts):
        growth = 1 - 50 * h * tableau.b @ np.linalg.solve(eye + 50 * h * tableau.a, np.ones(len(eye)))
        assert abs(growth) < 1 and 50 * h < 0.52 * stable(tableau)
    limits = {"dopri5": 3.3, "dop853": 6.4}  # of the real stability interval
    assert stable(tableau) == pytest.approx(limits[method], abs=0.1)


@pytest.mark.parametrize("rtol, atol", [(1e-3, 1e-8), (1e-8, 1e-12), (1e-9, 1e-4)])
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_each_implicit_step_has_an_error_below_a_thousandth_of_the_tolerance(way, rtol, atol):
    # z' = A z + b sin t with A stiff in the direction of the steps: the error by its formula
    a, b, eye = way * np.array([[-30.0, 29.0], [1.0, -2.0]]), np.array([0.0, 1.0]), np.eye(2)
    tableau, z0 = adjode.radau(7), np.array([1.0, 2.0])
    field = Counted(lambda t, z: a @ z + b * np.sin(3 * t))
    steps = list(implicit_steps(field, lambda t, z: a, z0, [0.0, way * 9.0], tableau, rtol, atol))
    weights, sizes = tableau.errors[0], []
    for (t, z, h, k, tries), (t_next, z_next, *_) in pairwise(steps):
        assert h * way > 0 and tries >= 1 and t + h == pytest.approx(t_next, abs=1e-13)
        np.testing.assert_allclose(z + h * tableau.b @ k, z_next, rtol=1e-13)
        stages = z + h * tableau.a @ k
        slopes = [field(t + c * h, x) for c, x in zip(tableau.c, stages, strict=True)]
        assert np.max(np.abs(h * (k - slopes))) < 1e-3 * (atol + rtol * np.max(np.abs(z)))
        scale = 1e-3 * (atol + rtol * np.maximum(np.abs(z), np.abs(z_next)))
        filtered = np.linalg.inv(eye - h * weights[0] * a)
        error = filtered @ (h * (weights @ k))
        if tries > 1 and np.max(np.abs(error) / scale) >= 1:  # looked at twice
            error = filtered @ (h * (weights[0] * (field(t, z + error) - k[0]) + weights @ k))
        sizes.append(np.max(np.abs(error) / scale))
    assert max(sizes[1:]) < 1 and np.median(sizes) > 0.01
    t, z, h, k, tries = steps[-1]
    assert (t, h, tries) == (way * 9.0, 0.0, 0)
    np.testing.assert_allclose(k, [field(t, z)], rtol=1e-13)


def test_the_next_stages_are_foreseen_where_the_solution_is_a_polynomial():
    tableau, h, longer = adjode.radau(5), 0.4, 0.7
    slope = lambda t: np.array([1 + 2 * t - 3 * t**2, t**4 - t])
    k = np.array([slope(c * h) for c in tableau.c])
    guess = foreseen(tableau, slope(h), (k, h), longer)
    np.testing.assert_allclose(guess, [slope(h + c * longer) for c in tableau.c], atol=1e-11)
    np.testing.assert_array_equal(foreseen(tableau, slope(0.0), None, h), [slope(0.0)] * 6)


def test_a_linear_problem_takes_newton_one_step_and_another_look():
    a, tableau = np.array([[-30.0, 29.0], [1.0, -2.0]]), adjode.radau(3)
    field, z, h = Counted(lambda t, z: a @ z), np.array([1.0, 2.0]), 0.3
    guess = np.tile(a @ z, (4, 1))
    k = Newton(tableau, a, h).stages(field, 0.0, z, guess, np.full(2, 1e-10), 1e3)
    assert field.calls == 2 * 3
    np.testing.assert_allclose(k, [a @ x for x in z + h * tableau.a @ k], rtol=1e-12)
    np.testing.assert_array_equal(guess, np.tile(a @ z, (4, 1)))  # the guess is not written to
    at_rest = Counted(lambda t, z: 0 * z)
    k = Newton(tableau, 0 * a, h).stages(at_rest, 0.0, z, np.zeros((4, 2)), np.full(2, 1e-10), 1e3)
    assert at_rest.calls == 3 and not np.any(k)  # nothing to correct


def test_newton_knows_when_what_is_left_is_rounding():
    # f_z is off by a tenth: each step leaves about a tenth, down to rounding, far above `unit`
    tableau, z, h = adjode.radau(3), np.array([1.0]), 0.3
    field, guess = Counted(lambda t, z: -1.1 * z), np.full((4, 1), -1.1)
    newton = Newton(tableau, np.array([[-1.0]]), h)
    k = newton.stages(field, 0.0, z, guess, np.full(1, 1e-17), 1e3)
    np.testing.assert_allclose(k, -1.1 * (z + h * tableau.a @ k), rtol=1e-15)
    assert field.calls < 3 * 20
    early = Counted(field.field)
    newton.stages(early, 0.0, z, guess, np.full(1, 1e-3), 1e3)
    assert early.calls < field.calls / 2  # what is far below `unit` is not found
    noise = np.random.default_rng(0)
    rough = lambda t, z: -1.1 * z + 1e-6 * noise.normal()
    found = newton.stages(rough, 0.0, z, guess, np.full(1, 1e-9), 1e4)
    np.testing.assert_allclose(found, k, atol=1e-5)
    assert newton.stages(rough, 0.0, z, guess, np.full(1, 1e-9), 1.0) is None  # not below `slack`


def test_implicit_steps_cost_as_jacobians_and_at_last_as_linear_algebra_does():
    costs = [implicit_cost(d) for d in (1, 10, 20, 1000)]
    np.testing.assert_allclose(costs, [6.5e3, 11.7e3, 21.5e3, 686.5e6], rtol=0.01)  # 6000 + 500 d, then d^3


def test_implicit_steps_leave_no_slivers_and_do_not_stay_short_after_a_stop():
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])

    def sizes(*stops):
        field = Counted(lambda t, z: turn @ z)
        start = np.array([1.0, 0.0])
        steps = implicit_steps(field, lambda t, z: turn, start, [0.0, *stops], adjode.radau(), 1e-6, 1e-8)
        return np.array([step[2] for step in steps][:-1])

    plain = sizes(20.0)
    usual = np.median(plain)
    assert plain[-1] > 0.3 * usual and np.max(plain) < 2 * usual
    for end in np.cumsum(plain)[5:9]:
        h = sizes(end * (1 + 1e-9))
        np.testing.assert_allclose(h[-1], h[-2], rtol=1e-6)  # what is left, in halves
    stop = np.cumsum(plain)[5] + 1e-7
    h = sizes(stop, stop + 1e-7, 20.0)
    n = int(np.argmin(h))
    assert h[n] == pytest.approx(1e-7) and h[n + 1] > 0.5 * usual and len(h) <= len(plain) + 3


def test_differences_take_the_place_of_pullbacks_only_where_autograd_fails():
    calls = []

    def f(t, z, theta):
        calls.append(isbox(z))
        return anp.array([[theta * z[0, 0] ** 2 + t * z[0, 1], theta * z[0, 1] ** 2]])

    problem = adjode.InitialValueProblem(f, np.array([[1.0, -2.0]]), 0.0, 1.0, 0.5)
    field = Counted(lambda t, z: np.append(f(t, z[:2].reshape(1, 2), 0.5), 1.0))
    at = state_jacobian(problem, field)
    for n in (1, 2):
        wanted = [[1.0, 3.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 0.0]]
        np.testing.assert_allclose(at(3.0, np.array([1.0, -2.0, 9.0])), wanted, rtol=1e-14)
        assert calls == [True] * n and (field.calls, field.vjps) == (0, 2 * n)
    broken = adjode.InitialValueProblem(lambda t, z, theta: z / theta["a"], np.ones(2), 0.0, 1.0)
    with pytest.raises((TypeError, IndexError)):
        state_jacobian(broken)(0.0, np.ones(2))


def test_a_zero_beside_large_entries_is_differenced_with_a_step_of_its_own():
    plain = lambda t, z, theta: np.array([1e6 * np.sin(float(x)) + x**2 for x in z])
    z = np.array([0.0, 3e3, -2e-4])
    problem = adjode.InitialValueProblem(plain, z, 0.0, 1.0)
    found = state_jacobian(problem, Counted(lambda t, z: plain(t, z, ())))(0.0, z)
    np.testing.assert_allclose(found, np.diag(1e6 * np.cos(z) + 2 * z), rtol=2e-3, atol=1e-3)
    at_zero = state_jacobian(problem, Counted(lambda t, z: plain(t, z, ())))(0.0, np.zeros(3))
    assert np.all(np.isfinite(at_zero))
    steep = lambda t, z, theta: np.array([np.expm1(float(z[0]) * theta), np.sinh(float(z[1]))])
    for scale, z in (
        (1e3, np.array([0.0, 3.0])),
        (1e12, np.array([1e-12, -2e-12])),
        (1.0, np.array([1e-4, 1])),
    ):
        problem = adjode.InitialValueProblem(steep, z, 0.0, 1.0, scale)
        field = Counted(lambda t, z, scale=scale: steep(t, z, scale))
        wanted = np.diag([scale * np.exp(scale * z[0]), np.cosh(z[1])])
        np.testing.assert_allclose(state_jacobian(problem, field)(0.0, z), wanted, rtol=1e-6)


def test_the_error_of_an_implicit_step_is_filtered_once_or_twice_by_its_formula():
    rng, tableau, h = np.random.default_rng(0), adjode.radau(3), 0.3
    a, z, k = np.array([[-30.0, 29.0], [1.0, -2.0]]), np.array([1.0, 2.0]), rng.normal(size=(4, 2))
    field, weights = lambda t, z: a @ z + np.sin(z) + t, tableau.errors[0]
    newton, filtered = Newton(tableau, a, h), np.linalg.inv(np.eye(2) - h * weights[0] * a)
    once = filtered @ (h * (weights @ k))
    twice = filtered @ (h * (weights[0] * (field(0.7, z + once) - k[0]) + weights @ k))
    for size in (0.5, 1.5, 3.0):
        scale = np.abs(once[0]) / size * np.array([1.0, 1e3])
        for again in (False, True):
            wanted = twice if again and size > 1 else once
            found = newton.error(field, 0.7, z, k, scale, again)
            assert found == pytest.approx(np.max(np.abs(wanted) / scale), rel=1e-12)


def test_an_error_is_looked_at_twice_in_the_first_step_and_after_a_refused_one(monkeypatch):
    plain, seen = Newton.error, []

    def spy(self, field, t, z, k, scale, again):
        seen.append((again, plain(self, field, t, z, k, scale, again)))
        return seen[-1][1]

    monkeypatch.setattr(Newton, "error", spy)
    a = np.array([[0.0, 1.0], [-9.0, -0.1]])  # turns, is pushed on the way, and turns on
    field = Counted(lambda t, z: a @ z + np.array([0.0, 50.0 * np.exp(-400 * (t - 2) ** 2)]))
    steps = list(implicit_steps(field, lambda t, z: a, np.ones(2), [0.0, 4.0], adjode.radau(), 1e-3, 1e-5))
    errors = np.array([error for _, error in seen])
    refused = np.append(True, errors[:-1] >= 1)
    assert [again for again, _ in seen] == refused.tolist() and 0 < np.sum(errors >= 1) < len(steps)
    tries = np.diff(np.append(-1, np.flatnonzero(errors < 1)))
    assert [step[4] for step in steps] == [*tries, 0]


def test_the_iteration_ends_where_the_next_correction_would_be_below_one_unit():
    """f_z is half of what it should be, so corrections shrink by 0.13: s becomes s^2 / (last - s)."""
    tableau, z, h, guess = adjode.implicit_midpoint(), np.array([1.0]), 0.3, np.full((2, 1), -2.0)
    field, newton = Counted(lambda t, z: -2.0 * z), Newton(tableau, np.array([[-1.0]]), h)
    k, sizes, lu = guess[1].copy(), [], 1 + 0.5 * h
    for _ in range(5):
        step = (-2.0 * (z + 0.5 * h * k) - k) / lu
        sizes.append(np.max(np.abs(0.5 * h * step)))
        k += step
    rate = sizes[3] / sizes[2]
    for left, rounds in ((0.9, 3), (1.1, 4)):  # what would be left after the third correction
        size = left * (1 - rate) / rate
        field.calls = 0
        newton.stages(field, 0.0, z, guess, np.full(1, sizes[2] / size), 1e9)
        assert field.calls == rounds, left


def test_an_iteration_that_is_not_done_after_twenty_rounds_is_good_below_the_slack():
    """A rate of 0.9: the twentieth correction is 0.9^19 = 0.135 of the first."""
    tableau, z, guess = adjode.implicit_midpoint(), np.array([1.0]), np.zeros((2, 1))
    field, newton = Counted(lambda t, z: -1.8 * z), Newton(tableau, np.zeros((1, 1)), 1.0)
    unit = np.full(1, 0.5 * 1.8 / 100)
    assert newton.stages(field, 0.0, z, guess, unit, 13.0) is None
    assert newton.stages(field, 0.0, z, guess, unit, 14.0) is not None and field.calls == 40


@pytest.mark.parametrize("f_z, slope, rounds", [(-1.0, -7.0, 2), (0.0, -4.0, 3)])
def test_corrections_that_double_end_the_iteration_a_round_later_where_f_z_has_empty_rows(f_z, slope, rounds):
    """(slope - f_z) / 2 / (1 - f_z / 2) = -2, for steps of size 1; an empty row may be a round behind."""
    field, newton = (
        Counted(lambda t, z: slope * z),
        Newton(adjode.implicit_midpoint(), np.array([[f_z]]), 1.0),
    )
    assert newton.stages(field, 0.0, np.ones(1), np.zeros((2, 1)), np.full(1, 1e-3), 1e-9) is None
    assert field.calls == rounds


def test_the_size_of_a_guess_that_is_far_off_is_not_that_of_the_stages():
    """A stiff field, of which f_z is off by a tenth: the slope leads to 1e5, the stages stay below 1."""
    field, h = Counted(lambda t, z: -1.1e6 * z), 0.3
    newton, guess = Newton(adjode.implicit_midpoint(), np.array([[-1e6]]), h), np.full((2, 1), -1.1e6)
    k = newton.stages(field, 0.0, np.ones(1), guess, None, 30)
    assert 1 + h * 0.5 * k[1, 0] == pytest.approx(1 / (1 + 0.5 * h * 1.1e6), abs=1e-12)


def test_an_f_z_that_is_not_finite_ends_the_iteration_without_an_error():
    newton = Newton(adjode.radau(), np.array([[np.inf]]), 0.1)
    stages = newton.stages(lambda t, z: -z, 0.0, np.ones(1), -np.ones((4, 1)), np.full(1, 1e-9), 10.0)
    assert stages is None


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e6])
def test_fixed_implicit_steps_find_their_stages_whatever_the_size_of_the_state(size):
    f = lambda t, z: -3 * z + size * np.sin(z / size + t)
    jacobian = lambda t, z: np.diag(-3 + np.cos(z / size + t))
    tableau = adjode.radau(3)
    for start in (np.zeros(2), size * np.array([1.0, -0.3])):
        steps = list(implicit_fixed_steps(Counted(f), jacobian, start, [0.0, 0.7, 1.0], tableau, 3))
        for (t, z, h, k, tries), (t_next, z_next, *_) in pairwise(steps):
            slopes = [f(t + c * h, x) for c, x in zip(tableau.c, z + h * tableau.a @ k, strict=True)]
            np.testing.assert_allclose(k, slopes, rtol=1e-10, atol=1e-10 * size)
            np.testing.assert_allclose(z_next, z + h * tableau.b @ k, rtol=1e-13)
            assert t + h == pytest.approx(t_next) and tries == 1
        assert len(steps) == 7 and steps[3][0] == 0.7
        t, z, h, k, tries = steps[-1]
        assert (t, h, tries) == (1.0, 0.0, 0)
        np.testing.assert_array_equal(k, [f(t, z)])


def test_the_message_says_where_implicit_steps_stopped_and_where_they_should_end():
    field = Counted(lambda t, z: z**2)
    steps = implicit_steps(field, lambda t, z: np.diag(2 * z), np.ones(1), [0.0, 1.5, 2.0, 7.0],
                           adjode.radau(), 1e-6, 1e-8)  # fmt: skip
    with pytest.raises(adjode.IntegrationError, match=r"stopped at t = (1\.0|0\.99)\d* before t = 7\.0: "):
        list(steps)


ODD = {  # k_1 counts by a alone, k_3 by b alone; in the other one k_2 by a alone
    "b alone": ([[0, 0, 0], [0.2, 0.3, 0], [0.6, 0.4, 0]], [0, 0.5, 0.5], [0, 0.5, 1]),
    "a alone": ([[0, 0, 0], [0.2, 0.3, 0], [0.1, 0.4, 0.5]], [0, 0, 1], [0, 0.5, 1]),
}


@pytest.mark.parametrize("name", ODD)
def test_a_stage_counts_by_its_weight_or_through_other_stages(name, zoo):
    problem, tableau = (
        adjode.InitialValueProblem(bent, Z0, 0.2, 0.5, THETA),
        adjode.ButcherTableau("odd", 1, *ODD[name]),
    )
    end = lambda z, theta: z[0] ** 2 + z[0] * z[1] * theta[1]
    trajectory = adjode.solve_fixed(problem, tableau, 2)
    found = adjode.adjoint_discrete(problem, adjode.Loss(terminal=end), trajectory)
    through = lambda z, theta: end(unrolled(tableau, bent, trajectory.ts, z, theta), theta)
    assert zoo.relative_error((found.z0, found.theta), grad(through, (0, 1))(Z0, THETA)) < ROUNDING


@pytest.mark.parametrize("tableau, counts", [(adjode.radau(3), 3), (adjode.trapezoid(), 2)])
def test_a_step_back_takes_pullbacks_for_the_stages_that_count(tableau, counts):
    """Of each stage D rows for f_z, one for g_z and one for theta."""
    problem, pulls = adjode.InitialValueProblem(bent, Z0, 0.2, 1.4, THETA), []
    trajectory = adjode.solve_fixed(problem, tableau, 2)

    def pull(t, z, kappa, weight):
        pulls.append(weight)
        return None, np.zeros(2), np.zeros(2)

    jacobian = state_jacobian(problem)
    assert implicit_step_back(pull, jacobian, trajectory, 0, np.ones(2))[2] == counts * (2 + 2)
    assert len(pulls) == 2 * counts and pulls[:counts] == [1.0] * counts


@pytest.mark.parametrize("scheme", [adjode.implicit_midpoint, adjode.trapezoid, adjode.radau])
def test_a_problem_without_a_state_is_solved_by_implicit_steps(scheme):
    problem = adjode.InitialValueProblem(lambda t, z, theta: z, np.zeros(0), 0.0, 1.0, 2.0)
    rate = lambda t, z, theta: theta**2 * t
    for trajectory in (
        adjode.solve_fixed(problem, scheme(), 2, running=rate),
        adjode.solve(problem, method="radau", running=rate),
    ):
        assert trajectory.zs.shape == (len(trajectory.ts), 0)
        assert trajectory.running[-1] == pytest.approx(2.0, rel=1e-12)
        found = adjode.adjoint_discrete(problem, adjode.Loss(running=rate), trajectory)
        assert found.theta == pytest.approx(2.0, rel=1e-12)
    assert adjode.solve_fixed(problem, scheme(), 2).zs.shape == (3, 0)
    assert adjode.solve(problem, method="radau").zs.shape[1:] == (0,)
