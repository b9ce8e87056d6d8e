"""Hessian-vector and Gauss-Newton products against autograd through the same steps, and closed forms."""

import ast
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian
from autograd.scipy.special import gammaln

import adjode
import adjode.curvature as curvature
from adjode.curvature import follow

ROUNDING = 1e-12  # two orders of summation over some hundred stages; seen: 2e-15
SOLVED = 1e-7  # two solves with tolerances of 1e-10 and 1e-12, and a difference with a step of 1e-4


def field(name):
    """f, z0, theta: not symmetric, with explicit time, more than one state and one parameter."""
    rng = np.random.default_rng(3)
    if name == "dict":
        theta = {"A": rng.normal(size=(2, 2)), "b": rng.normal(size=2)}
        f = lambda t, z, theta: anp.tanh(anp.dot(theta["A"], z) + theta["b"] * t) - 0.3 * z * anp.sin(t)
        return f, np.array([1.0, -0.5]), theta
    if name == "predator":
        f = lambda t, z, theta: anp.array([theta[0] * z[0] - theta[1][0] * z[0] * z[1] * anp.cos(t),
                                           theta[1][1] * z[0] * z[1] - theta[2] * z[1]])  # fmt: skip
        return f, np.array([1.1, 0.7]), (0.8, np.array([0.5, 0.3]), 0.4)
    if name == "rows":
        net, theta = adjode.mlp([2, 3, 2], seed=1)
        f = lambda t, z, theta: net(t, z, theta) * (1 + 0.5 * anp.sin(t)) + t
        return f, rng.normal(size=(4, 2)), theta
    if name == "mixed rows":  # the rows of z meet each other
        f = lambda t, z, theta: anp.tanh(anp.dot(theta, z)) * t - 0.2 * z
        return f, rng.normal(size=(3, 2)), rng.normal(size=(3, 3))
    if name == "number":
        return lambda t, z, theta: anp.sin(theta[0] * z * t) + theta[1] * z, 0.7, [0.9, -0.4]
    if name == "alone":  # takes no batch

        def f(t, z, theta):
            assert anp.ndim(t) == 0 and anp.shape(z) == (3,)
            return anp.sin(theta[:3] * z[::-1] * t) + theta[3] * z**2

        return f, np.array([0.4, -0.3, 0.5]), rng.normal(size=4)
    raise KeyError(name)


def loss_of(name):
    curved = lambda z: anp.sum(anp.ravel(z) ** 4) / 4 + anp.ravel(z)[0] * anp.ravel(z)[-1]
    size = lambda theta: sum(anp.sum(x**3) for x in adjode.structure.leaves(theta))
    seen = adjode.Observations([0.9, 1.3], lambda i, z: (i + 1) * anp.sum(anp.sin(z)) + anp.sum(z) ** 2)
    if name == "terminal":
        return adjode.Loss(terminal=lambda z, theta: curved(z) * (1 + 0.1 * size(theta)))
    if name == "observations":
        return adjode.Loss(observations=seen)
    running = lambda t, z, theta: t * curved(z) + 0.2 * size(theta) * anp.sum(z)
    return adjode.Loss(terminal=lambda z, theta: curved(z), running=running, observations=seen)


def solved(f, z0, theta, loss, scheme, t0=0.4, t1=1.9):
    problem = adjode.InitialValueProblem(f, z0, t0, t1, theta)
    times = None if loss.observations is None else loss.observations.ts
    options = {"ts": times, "running": loss.running}
    if scheme in ("dop853", "dopri5", "radau"):
        return problem, adjode.solve(problem, method=scheme, rtol=1e-4, **options)
    return problem, adjode.solve_fixed(problem, getattr(adjode, scheme)(), 3, **options)


def stage_values(problem, tableau, ts, z, theta):
    """(t, Z_i, h b_i) of all stages of explicit steps on a grid, and the states at its nodes."""
    stages, nodes = [], [z]
    for t, t_next in itertools.pairwise(ts):
        h, ks = t_next - t, []
        for a, b, c in zip(tableau.a, tableau.b, tableau.c, strict=True):
            inner = z + h * sum(x * k for x, k in zip(a, ks, strict=False))
            stages.append((t + c * h, inner, h * b))
            ks.append(problem.f(t + c * h, inner, theta))
        z = z + h * sum(b * k for b, k in zip(tableau.b, ks, strict=True))
        nodes.append(z)
    return stages, nodes


def parts(loss, trajectory, stages, nodes, theta):
    """(weight, fun, argument) of each term of the loss."""
    if loss.running is not None:
        for t, z, weight in stages:
            yield weight, lambda x, t=t: loss.running(t, *x), (z, theta)
    if loss.terminal is not None:
        yield 1.0, lambda x: loss.terminal(*x), (nodes[-1], theta)
    seen = loss.observations
    for i, t in enumerate([] if seen is None else seen.ts):
        z = nodes[int(np.argmin(np.abs(trajectory.ts - t)))]
        yield 1.0, lambda x, i=i: seen.fun(i, x[0]), (z, theta)


def oracle(problem, loss, trajectory):
    """The Hessian and the Gauss-Newton matrix in (z0, theta), by autograd through the same steps."""
    vector, unflatten = adjode.flatten((problem.z0, problem.theta))
    grid = problem, trajectory.tableau, trajectory.ts

    def total(x):
        z, theta = unflatten(x)
        terms = parts(loss, trajectory, *stage_values(*grid, z, theta), theta)
        return sum(weight * fun(argument) for weight, fun, argument in terms)

    whole = hessian(total)(vector)

    def reached(x):
        z, theta = unflatten(x)
        terms = parts(loss, trajectory, *stage_values(*grid, z, theta), theta)
        return anp.concatenate([adjode.flatten(argument)[0] for _, _, argument in terms])

    jacobians, gauss_newton = iter(jacobian(reached)(vector)), 0.0
    z, theta = unflatten(vector)
    for weight, fun, argument in parts(loss, trajectory, *stage_values(*grid, z, theta), theta):
        flat, back = adjode.flatten(argument)
        s = np.array([next(jacobians) for _ in flat])
        curved = hessian(lambda x, back=back, fun=fun: fun(back(x)))(flat)
        gauss_newton = gauss_newton + weight * s.T @ curved @ s
    return whole, gauss_newton, vector, unflatten


def both(product, problem, loss, trajectory, direction, unflatten):
    z0, w = unflatten(direction)
    found = product(problem, loss, trajectory, w, z0=z0)
    assert np.shape(found.z0) == problem.z0.shape
    return np.concatenate([np.ravel(found.z0), adjode.flatten(found.theta)[0]]), found


FIELDS = ("dict", "predator", "rows", "mixed rows", "number", "alone")
LOSSES = ("terminal", "observations", "all")


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("kind", LOSSES)
def test_products_are_those_of_the_matrices_through_the_same_steps(name, kind):
    loss = loss_of(kind)
    problem, trajectory = solved(*field(name), loss, "heun")
    whole, gauss_newton, vector, unflatten = oracle(problem, loss, trajectory)
    w = np.random.default_rng(0).normal(size=len(vector))
    for product, matrix in ((curvature.hessian_vector_product, whole),
                            (curvature.gauss_newton_product, gauss_newton)):  # fmt: skip
        found, _ = both(product, problem, loss, trajectory, w, unflatten)
        assert np.max(np.abs(found - matrix @ w)) < ROUNDING * np.max(np.abs(matrix @ w))
    assert np.max(np.abs(whole - gauss_newton)) > 0.01 * np.max(np.abs(whole))  # they are not the same


@pytest.mark.parametrize("scheme", ["euler", "midpoint", "kutta3", "dopri5", "dop853"])
def test_hessian_products_hold_for_every_explicit_scheme(scheme):
    loss = loss_of("observations")
    problem, trajectory = solved(*field("dict"), loss, scheme)
    whole, _, vector, unflatten = oracle(problem, loss, trajectory)
    w = np.random.default_rng(1).normal(size=len(vector))
    found, _ = both(curvature.hessian_vector_product, problem, loss, trajectory, w, unflatten)
    assert np.max(np.abs(found - whole @ w)) < ROUNDING * np.max(np.abs(whole @ w))


@pytest.mark.parametrize("scheme", ["implicit_midpoint", "trapezoid", "radau"])
def test_implicit_steps_are_differentiated_too(scheme):
    """By a central difference of `adjoint_discrete`, on the same number of steps."""
    loss, (f, z0, theta) = loss_of("all"), field("dict")
    vector, unflatten = adjode.flatten((z0, theta))
    w, h = np.random.default_rng(2).normal(size=len(vector)), 1e-4

    def solve(x):
        problem = adjode.InitialValueProblem(f, unflatten(x)[0], 0.4, 1.9, unflatten(x)[1])
        options = {"ts": loss.observations.ts, "running": loss.running}
        if scheme == "radau":
            return problem, adjode.solve(problem, method="radau", rtol=1e-10, atol=1e-12, **options)
        return problem, adjode.solve_fixed(problem, getattr(adjode, scheme)(), 5, **options)

    def gradient(x):
        problem, trajectory = solve(x)
        found = adjode.adjoint_discrete(problem, loss, trajectory)
        return adjode.flatten((found.z0, found.theta))[0]

    problem, trajectory = solve(vector)
    found, _ = both(curvature.hessian_vector_product, problem, loss, trajectory, w, unflatten)
    difference = (gradient(vector + h * w) - gradient(vector - h * w)) / (2 * h)
    assert np.max(np.abs(found - difference)) < SOLVED * np.max(np.abs(difference))


@pytest.mark.parametrize("name", FIELDS)
def test_products_are_symmetric_and_linear(name):
    loss = loss_of("terminal")
    problem, trajectory = solved(*field(name), loss, "dop853")
    vector, unflatten = adjode.flatten((problem.z0, problem.theta))
    one, other = np.random.default_rng(4).normal(size=(2, len(vector)))
    for product in (curvature.hessian_vector_product, curvature.gauss_newton_product):
        at = lambda w, product=product: both(product, problem, loss, trajectory, w, unflatten)[0]
        first, second, sum_of = at(one), at(other), at(2 * one - 3 * other)
        size = np.max(np.abs(first)) + np.max(np.abs(second))
        assert abs(other @ first - one @ second) < ROUNDING * size * len(vector)
        assert np.max(np.abs(sum_of - (2 * first - 3 * second))) < ROUNDING * size * 10


@pytest.mark.parametrize("name", ["dict", "rows"])
def test_taylor_remainders_with_the_product_fall_with_rate_three(name):
    loss, (f, z0, theta) = loss_of("all"), field(name)
    flat, unflatten = adjode.flatten(theta)
    problem, trajectory = solved(f, z0, theta, loss, "rk4")
    w = np.random.default_rng(5).normal(size=len(flat))
    w = w / np.linalg.norm(w)
    value = lambda x: adjode.loss_value(*_again(f, z0, unflatten(x), loss))
    gradient = adjode.flatten(adjode.adjoint_discrete(problem, loss, trajectory).theta)[0]
    product = curvature.hessian_vector_product(problem, loss, trajectory, unflatten(w))
    options = {"steps": 0.02 * 0.5 ** np.arange(6), "claim": 0.05}
    right = adjode.flatten(product.theta)[0]
    assert adjode.taylor_remainders(value, flat, gradient, w, hvp=right, **options).passes
    for wrong in (1.05 * right, 0.0 * right + 1.0):
        assert not adjode.taylor_remainders(value, flat, gradient, w, hvp=wrong, **options).passes
    assert product.value == pytest.approx(gradient @ w, rel=ROUNDING)


def _again(f, z0, theta, loss):
    problem, trajectory = solved(f, z0, theta, loss, "rk4")
    return problem, loss, trajectory


def running_example(rtol=1e-12):
    problem = adjode.InitialValueProblem(
        lambda t, z, theta: theta * t * z, [1.0], 1.0, 2.0, 2 / 3 * np.log(2)
    )
    loss = adjode.Loss(terminal=lambda z, theta: 0.5 * (z[0] - 3.0) ** 2)
    return problem, loss, adjode.solve(problem, rtol=rtol, atol=rtol)


def test_the_running_example_has_nine_halves_and_gauss_and_newton_say_nine():
    given = running_example()
    assert curvature.hessian_vector_product(*given, 1.0).theta == pytest.approx(4.5, rel=1e-10)
    assert curvature.gauss_newton_product(*given, 1.0).theta == pytest.approx(9.0, rel=1e-10)


def test_the_tangent_of_the_tangent_gives_a_third_derivative():
    """L''' = 27/8 z (4 z - 3) with z = z(2) = 2."""
    problem, loss, _ = running_example()
    tangent, slope = curvature.tangent_problem(problem, 1.0), curvature.tangent_loss(problem, loss)
    path = adjode.solve(tangent, rtol=1e-12, atol=1e-12)
    found = curvature.hessian_vector_product(tangent, slope, path, [1.0, 0.0])
    assert found.theta[0] == pytest.approx(33.75, rel=1e-10)
    assert found.value == pytest.approx(4.5, rel=1e-10)


def test_the_slides_example_is_half_and_a_linear_loss_has_no_gauss_newton_part():
    """z' = theta z, L = z^2 / 2: L'' = 2 T^2 z^2, G = T^2 z^2."""
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [1.3], 0.5, 1.7, 0.4)
    trajectory = adjode.solve(problem, rtol=1e-12, atol=1e-12)
    square = adjode.Loss(terminal=lambda z, theta: 0.5 * z[0] ** 2)
    whole = curvature.hessian_vector_product(problem, square, trajectory, 1.0).theta
    part = curvature.gauss_newton_product(problem, square, trajectory, 1.0).theta
    assert whole == pytest.approx(2 * (1.2 * trajectory.zs[-1, 0]) ** 2, rel=1e-10)
    assert part == pytest.approx(whole / 2, rel=1e-10)
    linear = adjode.Loss(terminal=lambda z, theta: 3.0 * z[0])
    assert curvature.gauss_newton_product(problem, linear, trajectory, 1.0).theta == 0.0
    assert curvature.hessian_vector_product(problem, linear, trajectory, 1.0).theta > 1.0


@pytest.mark.parametrize(
    "name, equal", [("affine", True), ("bilinear", False), ("fit", True), ("miss", False)]
)
def test_when_gauss_newton_is_the_hessian(name, equal):
    """Affine jointly in z and theta, or L_z = 0 at the end; linear in z alone is not enough."""
    a, b = np.array([[-0.3, 1.1], [-0.6, 0.2]]), np.array([[0.4, -0.2], [0.9, 0.5]])
    f = lambda t, z, theta: anp.dot(a * t, z) + anp.dot(b, theta[:2]) * anp.cos(t) + theta[2:] + t
    if name != "affine":
        f = lambda t, z, theta: anp.dot(anp.reshape(theta, (2, 2)), z) * t
    problem = adjode.InitialValueProblem(f, [0.7, 1.2], 0.3, 1.5, [0.2, -0.5, 0.3, 0.9])
    problem = replace(problem, theta=np.array(problem.theta))
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 10)
    target = trajectory.zs[-1] + (0.0 if name == "fit" else 0.8)
    loss = adjode.Loss(
        terminal=lambda z, theta: anp.sum((z - target) ** 2) + 0.1 * anp.sum((z - target) ** 4)
    )
    w = np.array([1.0, -0.6, 0.4, 0.8])
    whole = curvature.hessian_vector_product(problem, loss, trajectory, w).theta
    part = curvature.gauss_newton_product(problem, loss, trajectory, w).theta
    gap = np.max(np.abs(whole - part)) / np.max(np.abs(whole))
    assert gap < ROUNDING if name in ("affine", "fit") else gap > 0.1


def test_the_tangent_can_be_solved_and_differentiated_like_any_problem():
    """With steps of its own: L_z v is the slope, and its gradient in w is the gradient of L."""
    loss, (f, z0, theta) = loss_of("all"), field("dict")
    problem, _ = solved(f, z0, theta, loss, "rk4")
    w = {"A": np.array([[0.3, -1.0], [0.5, 0.2]]), "b": np.array([1.0, -0.4])}
    tangent, slope = curvature.tangent_problem(problem, w), curvature.tangent_loss(problem, loss)
    options = {"rtol": 1e-10, "atol": 1e-12}
    value, found = adjode.value_and_gradient(tangent, slope, **options)
    gradient = adjode.flatten(adjode.gradient(problem, loss, **options).theta)[0]
    assert value == pytest.approx(gradient @ adjode.flatten(w)[0], rel=SOLVED)
    np.testing.assert_allclose(adjode.flatten(found.theta[1])[0], gradient, rtol=SOLVED)
    trajectory = adjode.solve(problem, ts=loss.observations.ts, running=loss.running, **options)
    product = curvature.hessian_vector_product(problem, loss, trajectory, w)
    np.testing.assert_allclose(*(adjode.flatten(x)[0] for x in (found.theta[0], product.theta)), rtol=SOLVED)


def test_backwards_in_time():
    loss = loss_of("terminal")
    problem, trajectory = solved(*field("dict"), loss, "rk4", t0=1.9, t1=0.4)
    whole, _, vector, unflatten = oracle(problem, loss, trajectory)
    w = np.cos(np.arange(len(vector)))
    found, _ = both(curvature.hessian_vector_product, problem, loss, trajectory, w, unflatten)
    assert np.max(np.abs(found - whole @ w)) < ROUNDING * np.max(np.abs(whole @ w))


@pytest.mark.parametrize("name", ["dict", "rows", "predator", "mixed rows"])
def test_a_product_costs_a_small_multiple_of_a_gradient(name):
    """f_z and f_theta w once at each stage, and the stages of the pair once: three traces for one."""
    loss = loss_of("terminal")
    problem, trajectory = solved(*field(name), loss, "dop853")
    gradient = adjode.adjoint_fast(problem, loss, trajectory).stats.vjps
    w = problem.theta
    for product in (curvature.hessian_vector_product, curvature.gauss_newton_product):
        stats = product(problem, loss, trajectory, w).stats
        assert gradient < stats.vjps <= 4 * gradient
        assert stats.stored_states <= 2 * trajectory.stats.stored_states


def test_a_function_without_a_forward_rule_is_pushed_by_two_pullbacks():
    fun = lambda x, y: gammaln(2.0 + x * y) * anp.sin(x)
    with pytest.raises(NotImplementedError):
        curvature.tangent.forward_mode(fun, [np.array([0.3, 0.5]), 1.2], [np.ones(2), 1.0])
    x, y, d, e = np.array([0.3, 0.5]), 1.2, np.array([1.0, -2.0]), 0.7
    value, pushed = curvature.pushforward(fun, [x, y], [d, e])
    wanted = jacobian(fun, 0)(x, y) @ d + jacobian(fun, 1)(x, y) * e
    np.testing.assert_allclose(value, fun(x, y), rtol=ROUNDING)
    np.testing.assert_allclose(pushed, wanted, rtol=ROUNDING)
    f = lambda t, z, theta: gammaln(3.0 + theta * z) * t
    problem = adjode.InitialValueProblem(f, [0.4, 0.1], 0.3, 1.0, np.array([0.5, 0.8]))
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(gammaln(2.0 + z**2)))
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 3)
    end = lambda theta: anp.sum(
        gammaln(2.0 + adjode.rk_steps(adjode.rk4(), f, trajectory.ts, problem.z0, theta)[-1] ** 2)
    )
    w = np.array([1.0, -0.3])
    found = curvature.hessian_vector_product(problem, loss, trajectory, w).theta
    np.testing.assert_allclose(found, jacobian(grad(end))(problem.theta) @ w, rtol=1e-10)


def test_a_direction_in_z0_alone():
    f = lambda t, z, theta: anp.sin(z[::-1]) * t
    problem = adjode.InitialValueProblem(f, [0.4, 1.0], 0.3, 1.0)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**3))
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 3)
    end = lambda z: anp.sum(adjode.rk_steps(adjode.rk4(), f, trajectory.ts, z, ())[-1] ** 3)
    found = curvature.hessian_vector_product(problem, loss, trajectory, (), z0=[1.0, -2.0])
    assert found.theta == ()
    np.testing.assert_allclose(found.z0, hessian(end)(problem.z0) @ [1.0, -2.0], rtol=ROUNDING * 10)


WRONG = {
    "a flat w for a dict": (lambda w: np.ones(6), "structure and shapes of theta"),
    "a missing entry": (lambda w: {"A": w["A"]}, "structure and shapes of theta"),
    "a transposed shape": (lambda w: {"A": np.ones((2, 3)), "b": w["b"]}, r"\(2, 2\).*got.*\(2, 3\)"),
    "a list for a dict": (lambda w: [w["A"], w["b"]], "structure and shapes of theta"),
    "nan": (lambda w: {"A": w["A"], "b": np.array([1.0, np.nan])}, "finite"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("product", ["hessian_vector_product", "gauss_newton_product"])
def test_a_wrong_direction_is_refused(name, product):
    change, words = WRONG[name]
    loss = loss_of("terminal")
    problem, trajectory = solved(*field("dict"), loss, "heun")
    with pytest.raises(ValueError, match=words):
        getattr(curvature, product)(problem, loss, trajectory, change(problem.theta))


def test_other_wrong_inputs_are_refused():
    loss, (f, z0, theta) = loss_of("terminal"), field("dict")
    problem, trajectory = solved(f, z0, theta, loss, "heun")
    product = curvature.hessian_vector_product
    with pytest.raises(ValueError, match="`z0` must have"):
        product(problem, loss, trajectory, theta, z0=np.ones(3))
    with pytest.raises(TypeError, match="`w` must be real"):
        product(problem, loss, trajectory, {"A": theta["A"] * 1j, "b": theta["b"]})
    with pytest.raises(ValueError, match="stages"):
        product(problem, loss, adjode.solve(problem, store="stops"), theta)
    with pytest.raises(ValueError, match="not one of this problem"):
        product(replace(problem, z0=z0 + 1.0), loss, trajectory, theta)
    with pytest.raises(ValueError, match="must return a scalar"):
        product(problem, adjode.Loss(terminal=lambda z, theta: z**2), trajectory, theta)
    with pytest.raises(ValueError, match="running"):
        product(problem, loss_of("all"), trajectory, theta)
    costly = adjode.solve(problem, running=lambda t, z, theta: anp.sum(z**2))
    with pytest.raises(ValueError, match=r"running\(t, z, theta\) must have shape \(\); got \(2,\)"):
        product(problem, adjode.Loss(running=lambda t, z, theta: z**2), costly, theta)
    with pytest.raises(ValueError, match="observation time"):
        product(problem, loss_of("observations"), trajectory, theta)


def test_a_field_or_a_loss_that_cannot_be_traced_is_refused():
    """Boxes in a plain array are lost: a derivative of zero would be wrong in silence."""
    plain = lambda t, z, theta: np.array([z[1] * theta, -z[0]])
    with pytest.raises(TypeError, match=r"autograd\.numpy"):
        curvature.pushforward(lambda z: plain(0.0, z, 1.0), [np.ones(2)], [np.ones(2)])
    problem = adjode.InitialValueProblem(plain, [1.0, 0.5], 0.3, 1.0, 0.7)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))
    with pytest.raises(TypeError) as caught:
        curvature.hessian_vector_product(problem, loss, adjode.solve(problem), 1.0)
    assert "autograd" in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))


@pytest.mark.parametrize("name", ["dict", "mixed rows", "number"])
@pytest.mark.parametrize("scheme", ["rk4", "implicit_midpoint"])
def test_the_path_of_the_tangent_is_a_trajectory_like_any_other(name, scheme):
    """Its fs are the rates at its nodes, and its stages lead from node to node."""
    problem, trajectory = solved(*field(name), loss_of("terminal"), scheme)
    tangent = curvature.tangent_problem(problem, problem.theta, z0=0.3 + 0.0 * problem.z0)
    path = curvature.tangent_trajectory(problem, trajectory, tangent)
    np.testing.assert_array_equal(path.zs[0], tangent.z0)
    for n, (t, z) in enumerate(zip(path.ts, path.zs, strict=True)):
        np.testing.assert_allclose(path.fs[n], tangent.f(t, z, tangent.theta), rtol=1e-10, atol=1e-12)
    steps = np.diff(path.ts)[:, None] * (path.tableau.b @ path.stages)
    np.testing.assert_allclose(np.diff(path.zs.reshape(len(path.ts), -1), axis=0), steps, atol=1e-13)


def test_a_field_that_answers_batches_otherwise_is_asked_one_by_one():
    """It takes the batch on which the layout is tried, and spoils those with earlier times."""
    polite = lambda t, z, theta: anp.tanh(theta[0] * z * t) + theta[1] * z[..., ::-1]

    def rude(t, z, theta):
        early = anp.ndim(z) > 1 and np.min(t) < 0.7
        return polite(t, z, theta) * (1.5 if early else 1.0)

    loss, found = loss_of("terminal"), []
    for f in (polite, rude):
        problem = adjode.InitialValueProblem(f, [1.0, -0.5], 0.4, 1.9, (0.8, -0.3))
        trajectory = adjode.solve_fixed(problem, adjode.rk4(), 5)
        found.append(curvature.hessian_vector_product(problem, loss, trajectory, (1.0, 0.4)).theta)
    np.testing.assert_allclose(found[1], found[0], rtol=ROUNDING)


def test_the_order_of_the_keys_of_a_direction_does_not_matter():
    loss = loss_of("terminal")
    problem, trajectory = solved(*field("dict"), loss, "heun")
    w = {"b": np.array([1.0, 2.0]), "A": np.array([[1.0, -1.0], [0.5, 0.0]])}
    one = curvature.hessian_vector_product(problem, loss, trajectory, w).theta
    other = curvature.hessian_vector_product(problem, loss, trajectory, {"A": w["A"], "b": w["b"]}).theta
    np.testing.assert_array_equal(one["A"], other["A"])


def test_the_core_does_not_know_of_curvature():
    folder = Path(adjode.__file__).parent
    for path in [*folder.glob("*.py"), *folder.glob("curvature/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [x.name for x in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert path.parent.name == "curvature" or "curvature" not in name, path.name
                known = {"adjode", "numpy", "scipy", "autograd"} | sys.stdlib_module_names
                assert name.partition(".")[0] in known, f"{path.name} imports {name}"


def test_every_public_name_is_described_in_the_book():
    text = (Path(__file__).resolve().parents[2] / "book" / "appendix" / "api.md").read_text(encoding="utf-8")
    part = text.partition("currentmodule:: adjode.curvature")[2]
    for name in curvature.__all__:
        assert f":: {name}\n" in part, name


def test_every_public_name_says_what_it_is():
    assert sorted(curvature.__all__) == curvature.__all__
    for name in curvature.__all__:
        assert getattr(curvature, name).__doc__, name


MIXING = {  # states of a batch, or of one with a node that was added, depend on the first or on all
    "the first": lambda t, z, theta: anp.sin(z + 0.5 * z[:1]) * theta,
    "the sum": lambda t, z, theta: anp.sin(z + 0.1 * anp.sum(z, axis=0, keepdims=True)) * theta,
}


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("start", [0.0, 1.0])  # from rest all nodes are alike, and so are the values
@pytest.mark.parametrize("name", MIXING)
def test_nodes_that_move_each_other_are_no_batch(name, start, steps):
    z0, theta = start * np.array([[0.1, -0.4, 0.9, 0.3]]), np.array([1.0, -0.5, 0.7, 0.2])
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(anp.exp(z)))

    def solved(e):
        problem = adjode.InitialValueProblem(MIXING[name], z0 + e, 0.0, 0.7, theta + e)
        return problem, loss, adjode.solve_fixed(problem, adjode.euler(), steps)

    found = curvature.hessian_vector_product(*solved(0.0), np.ones(4), z0=np.ones((1, 4)))
    one, other = (adjode.adjoint_discrete(*solved(e)) for e in (1e-5, -1e-5))
    for name in ("z0", "theta"):
        wanted = (getattr(one, name) - getattr(other, name)) / 2e-5
        np.testing.assert_allclose(getattr(found, name), wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "f, theta",
    [
        (lambda t, z, th: -z + th[0] * anp.maximum(0.0, t - 0.5) * z / len(z), np.zeros(1)),
        (
            lambda t, z, th: -anp.sum(th) * z + (th[0] - th[1]) * anp.maximum(0.0, t - 0.5) * anp.mean(z),
            np.ones(2),
        ),
    ],
    ids=["of how many", "two that are the same"],
)
def test_what_theta_moves_but_for_a_time_is_what_it_moves_at_single_states(f, theta):
    # the batch is tried on the last step, and there as well as at all others
    problem = adjode.InitialValueProblem(f, [1.0, 0.4, -0.7], 1.0, 0.0, theta)
    path = adjode.solve(problem, store="stages")
    linear = follow.Linear(problem, path, 1.0 + np.arange(theta.size))
    for n, i in itertools.product(range(len(path.ts) - 1), range(12)):
        found = linear.at(n, i, problem.z0)
        wanted = linear.rate(linear.ts[n, i], linear.zs[n, i], problem.z0)
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)
