"""Kronecker factors: explicit Kronecker products, autograd through the same steps, closed forms."""

from dataclasses import replace
from itertools import pairwise

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import jacobian

import adjode
from adjode.curvature import KroneckerFactors, kronecker_factors, kronecker_solve
from adjode.curvature.kronecker import Layer, layer_rows, mixed, sampled, trapezoid

ROUNDING = 1e-12  # two routes through a few products, with a margin of a thousand
EYE = np.eye(3)


def net(case):
    """A field of layers, its theta, and a state."""
    rng = np.random.default_rng(3)
    f, theta = adjode.mlp([3, 5, 3], seed=1)
    if case == "one case":
        return f, theta, rng.normal(size=3)
    if case == "batch":
        return f, theta, rng.normal(size=(4, 3))
    if case == "matmul, offset first, a dict":
        field = lambda t, z, p: p["c"] + (anp.tanh(z) * t) @ p["w"]
        return field, {"w": rng.normal(size=(3, 3)), "c": rng.normal(size=3)}, rng.normal(size=(4, 3))
    if case == "no offsets":
        field = lambda t, z, p: anp.dot(anp.tanh(anp.dot(z, p[0])), p[1]) - t * z
        return field, [rng.normal(size=(3, 2)), rng.normal(size=(2, 3))], rng.normal(size=(4, 3))
    if case == "several rows a case":

        def field(t, z, p):  # the layer takes the state and a nudge of it
            both = anp.dot(anp.concatenate([z, anp.ones(z.shape)]), p[0])
            n = z.shape[0]
            return anp.sin(both[:n]) * both[n:]

        return field, [rng.normal(size=(3, 3))], rng.normal(size=(4, 3))
    raise KeyError(case)


CASES = ["one case", "batch", "matmul, offset first, a dict", "no offsets", "several rows a case"]


@pytest.mark.parametrize("case", CASES)
def test_inputs_and_rows_multiply_to_the_vector_jacobian_product(case):
    f, theta, z = net(case)
    q = np.random.default_rng(5).normal(size=z.shape)
    vector, unflatten = adjode.flatten(theta)
    _, back = adjode.pullback(lambda v: f(0.7, z, unflatten(v)), vector)
    wanted, found = adjode.flatten(unflatten(back(q)[0]))[0], []
    for layer, a, g in layer_rows(f, 0.7, z, theta, q):
        product = a.T @ g
        found += [(layer.weight, product[:-1] if layer.offset is not None else product)]
        if layer.offset is not None:
            found += [(layer.offset, product[-1])]
    rows = [np.ravel(row) for _, row in sorted(found, key=lambda pair: pair[0])]
    np.testing.assert_allclose(np.concatenate(rows), wanted, rtol=ROUNDING, atol=ROUNDING)


def test_the_row_of_one_case_is_a_kronecker_product():
    f, theta, z = net("one case")
    for _, a, g in layer_rows(f, 0.0, z, theta, np.array([1.0, -2.0, 0.5])):
        np.testing.assert_allclose(np.kron(a[0], g[0]), (a.T @ g).ravel(), rtol=ROUNDING)


def path_of(problem, path, row):
    """q from this row at t1."""
    return adjode.adjoint_discrete(problem, adjode.Loss(terminal=lambda z, w: anp.sum(row * z)), path).path


def constant(y, t0=0.3, t1=1.5):
    """A field whose layer sees the same input at all times, and whose q does not change."""
    c, w, z0 = (
        np.array([0.5, -1.0]),
        np.array([[0.2, 1.0, 0.4], [-0.7, 0.1, 0.3]]),
        np.array([1.0, 0.2, -0.5]),
    )
    problem = adjode.InitialValueProblem(lambda t, z, w: anp.dot(c, w) + 0 * z, z0, t0, t1, w)
    path = adjode.solve_fixed(problem, adjode.rk4(), 6)
    rows = [path_of(problem, path, r) for r in y]
    return problem, path, rows


@pytest.mark.parametrize("nodes", [0, 2, 3])
def test_constant_inputs_and_rows_are_exact_for_one_row_and_for_many(nodes):
    y = np.array([[1.0, 0.3, -0.4], [0.2, -1.0, 0.7]])
    problem, path, rows = constant(y)
    end = lambda w: adjode.rk_steps(adjode.rk4(), problem.f, path.ts, problem.z0, w)[-1]
    z_w = jacobian(lambda v: end(v.reshape(2, 3)))(problem.theta.ravel())
    for n in (1, 2):
        factors = kronecker_factors(problem, path, rows[:n], nodes=nodes)
        wanted = z_w.T @ sum(np.outer(r, r) for r in y[:n]) @ z_w
        np.testing.assert_allclose(
            np.kron(factors.inputs[0], factors.outputs[0]), wanted, rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("case", ["batch", "matmul, offset first, a dict"])
def test_factors_are_the_trapezoidal_sums_of_outer_products_means_over_the_cases(case):
    f, theta, z0 = net(case)
    problem = adjode.InitialValueProblem(f, z0, 0.2, 1.4, theta)
    path = adjode.solve_fixed(problem, adjode.rk4(), 4)
    y = np.random.default_rng(0).normal(size=(2, *z0.shape))
    rows = [path_of(problem, path, r) for r in y]
    found = kronecker_factors(problem, path, rows)
    weights = 0.3 * np.array([0.5, 1, 1, 1, 0.5])
    for k, layer in enumerate(found.layers):
        inner, outer = 0.0, 0.0
        for n, h in enumerate(weights):
            for i in range(4):
                for r in range(2):
                    q, z = rows[r].lams[n, i], path.zs[n, i]
                    one = {item[0]: item for item in layer_rows(f, path.ts[n], z, theta, q)}[layer]
                    inner = inner + h * np.outer(one[1][0], one[1][0]) / 4 / 2
                    outer = outer + h * np.outer(one[2][0], one[2][0]) / 4
        np.testing.assert_allclose(found.inputs[k], inner, rtol=ROUNDING, atol=ROUNDING)
        np.testing.assert_allclose(found.outputs[k], outer, rtol=ROUNDING, atol=ROUNDING)


def test_jumps_and_time_that_runs_backwards_do_not_confuse_the_nodes():
    f, theta, z0 = net("batch")
    problem = adjode.InitialValueProblem(f, z0, 1.0, 0.0, theta)
    seen = adjode.Observations([0.5, 0.0], lambda i, z: anp.sum(z**2))
    path = adjode.solve_fixed(problem, adjode.rk4(), 3, ts=seen.ts)
    row = adjode.adjoint_discrete(problem, adjode.Loss(observations=seen), path).path
    found = kronecker_factors(problem, path, [row])
    assert all(np.min(np.linalg.eigvalsh(x)) > -1e-12 for x in (*found.inputs, *found.outputs))
    one_at_a_time = 0.0
    for i, weight in enumerate(trapezoid(row.ts)):
        n = int(np.argmin(np.abs(path.ts - row.ts[i])))
        g = layer_rows(f, row.ts[i], path.zs[n], theta, row.lams[i])[0][-1]
        one_at_a_time = one_at_a_time + weight * g.T @ g / 4
    np.testing.assert_allclose(found.outputs[0], one_at_a_time, rtol=ROUNDING)
    assert len(row.ts) == len(path.ts) + 2  # two rows at the time of a jump; after the last they are 0
    ends = kronecker_factors(problem, path, [row], nodes=2).outputs[0]
    signals = lambda i, n: layer_rows(f, row.ts[i], path.zs[n], theta, row.lams[i])[0][-1]
    first, last = signals(0, 0), signals(-2, -1)
    np.testing.assert_allclose(ends, (first.T @ first + last.T @ last) / 2 / 4, rtol=ROUNDING)


def test_sampling_at_fewer_nodes_has_the_order_of_the_trapezoidal_rule():
    f, theta, z0 = net("batch")
    problem = adjode.InitialValueProblem(f, z0, 0.0, 1.0, theta)
    path = adjode.solve_fixed(problem, adjode.rk4(), 64)
    row = adjode.adjoint_discrete(problem, adjode.Loss(terminal=lambda z, w: anp.sum(z**2)), path).path
    parts = [kronecker_factors(problem, path, [row], nodes=n).outputs[0] for n in (5, 9, 17, 33, 65)]
    gaps = [np.max(np.abs(b - a)) for a, b in pairwise(parts)]
    assert np.log2(gaps[-2] / gaps[-1]) == pytest.approx(2, abs=0.1)


def test_sampled_nodes_have_the_ends_and_are_all_of_them_when_more_are_asked_for():
    ts = np.linspace(0, 1, 11)
    assert sampled(ts, 3).tolist() == [0, 5, 10]
    assert sampled(ts, 0).tolist() == sampled(ts, 11).tolist() == sampled(ts, 99).tolist() == list(range(11))


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("offset", [None, 1])
def test_the_solve_is_that_of_the_explicit_matrix(damping, offset):
    rng = np.random.default_rng(11)
    square = lambda n: (lambda m: m @ m.T + 0.1 * np.eye(n))(rng.normal(size=(n, n)))
    a, b = square(4), square(3)
    rows = [rng.normal(size=(4 if offset is None else 3, 3))] + (
        [] if offset is None else [rng.normal(size=3)]
    )
    factors = KroneckerFactors((Layer(0, offset),), (a,), (b,))
    vector, unflatten = adjode.flatten(rows)
    dense = np.linalg.solve(np.kron(a, b) + damping * np.eye(12), vector)
    found = kronecker_solve(factors, unflatten(vector), damping)
    assert [np.shape(x) for x in found] == [np.shape(x) for x in rows]
    np.testing.assert_allclose(adjode.flatten(found)[0], dense, rtol=1e-10)


def test_a_running_average_is_one_of_the_factors():
    one = KroneckerFactors((Layer(0, None),), (2 * EYE,), (EYE,))
    two = replace(one, inputs=(4 * EYE,), outputs=(3 * EYE,))
    found = mixed(one, two, 0.75)
    np.testing.assert_allclose(found.inputs[0], 2.5 * EYE)
    np.testing.assert_allclose(found.outputs[0], 1.5 * EYE)


WRONG_FIELDS = {
    "a leaf that is no layer": (lambda t, z, p: anp.dot(z, p[0]) * p[1], 1),
    "a weight used twice": (lambda t, z, p: anp.dot(anp.dot(z, p[0]), p[0]) + p[1], 0),
    "a weight on the left": (lambda t, z, p: anp.dot(p[0], z) + p[1], 0),
    "an offset used twice": (lambda t, z, p: anp.dot(z, p[0]) + p[1] + p[1] * z, 1),
    "a product used without its offset too": (
        lambda t, z, p: (lambda s: s * (s + p[1]))(anp.dot(z, p[0])),
        0,
    ),
    "an offset that nothing uses": (lambda t, z, p: anp.dot(z, p[0]), 1),
}


def test_an_offset_for_each_case_is_none_of_a_layer():
    field = lambda t, z, p: anp.dot(z, p[0]) + p[1]
    with pytest.raises(ValueError, match="leaf 0 of theta is not the weight or offset of one layer"):
        layer_rows(field, 0.0, np.ones((2, 3)), [EYE, np.ones((2, 3))], np.ones((2, 3)))


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_a_field_that_is_not_made_of_layers_is_refused(name):
    f, leaf = WRONG_FIELDS[name]
    with pytest.raises(ValueError, match=f"leaf {leaf} of theta is not the weight or offset of one layer"):
        layer_rows(f, 0.0, np.ones(3), [EYE, np.ones(3)], np.ones(3))


def test_bad_arguments_are_one_clear_error():
    problem, path, rows = constant(np.ones((1, 3)))
    for paths, nodes in (([], 0), (rows, 1), (rows, -2)):
        with pytest.raises(ValueError, match="needs a path and 0 or at least 2 nodes"):
            kronecker_factors(problem, path, paths, nodes=nodes)
    factors = kronecker_factors(problem, path, rows)
    for damping in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"singular and damping is .*give a damping > 0"):
            kronecker_solve(factors, problem.theta, damping)
    with pytest.raises(ValueError, match="`theta_bar` must have the structure and shapes of theta"):
        kronecker_solve(factors, problem.theta.T, 0.1)
    with pytest.raises(ValueError, match="`theta_bar` must be finite"):
        kronecker_solve(factors, np.nan * problem.theta, 0.1)
    alone = replace(factors, theta=None)
    with pytest.raises(
        ValueError, match=r"a layer of theta_bar has shape \(3, 2\); the factors have \(2, 3\)"
    ):
        kronecker_solve(alone, problem.theta.T, 0.1)


def given(name="batch"):
    f, theta, z0 = net(name)
    problem = adjode.InitialValueProblem(f, z0, 0.0, 1.0, theta)
    return problem, adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))


def test_rows_that_stack_to_the_same_shape_are_told_apart():
    """An offset of (3,) above weights of (2, 3) looks like weights of (2, 3) above an offset."""
    field = lambda t, z, p: anp.dot(anp.dot(z, p["in"]["w"]) + p["in"]["b"], p["out"]) * t
    rng = np.random.default_rng(2)
    theta = {"in": {"w": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}, "out": rng.normal(size=(3, 2))}
    problem = adjode.InitialValueProblem(field, rng.normal(size=(4, 2)), 0.0, 1.0, theta)
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 4)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))
    bar = adjode.adjoint_discrete(problem, loss, trajectory)
    factors = kronecker_factors(problem, trajectory, [bar.path])
    found = kronecker_solve(factors, bar.theta, 0.1)
    turned = {"out": bar.theta["out"], "in": {"b": bar.theta["in"]["b"], "w": bar.theta["in"]["w"]}}
    other = kronecker_solve(factors, turned, 0.1)
    np.testing.assert_array_equal(adjode.flatten(found)[0], adjode.flatten(other)[0])
    with pytest.raises(ValueError, match="`theta_bar` must have the structure"):
        kronecker_solve(factors, [[theta["in"]["b"], theta["in"]["w"]], theta["out"]], 0.1)


def test_states_are_those_of_the_times_of_the_path_or_it_is_refused():
    problem, loss = given()
    fine = adjode.solve_fixed(problem, adjode.rk4(), 40)
    path = adjode.adjoint_discrete(problem, loss, fine).path
    coarse = adjode.solve(problem, rtol=1e-9, atol=1e-11)  # its nodes are others: the interpolant has all
    assert np.max(np.min(np.abs(path.ts[:, None] - coarse.ts), axis=1)) > 1e-3
    wanted, found = (kronecker_factors(problem, one, [path]) for one in (fine, coarse))
    for one, other in zip(wanted.inputs + wanted.outputs, found.inputs + found.outputs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    for lean in (replace(coarse, dense=None), adjode.solve(problem, store="stops")):
        with pytest.raises(ValueError, match=r"has no state at t = .*, where a path is sampled"):
            kronecker_factors(problem, lean, [path])


def test_a_trajectory_or_a_path_of_another_problem_is_refused():
    problem, loss = given()
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 4)
    path = adjode.adjoint_discrete(problem, loss, trajectory).path
    with pytest.raises(ValueError, match="the trajectory is not one of this problem"):
        kronecker_factors(replace(problem, z0=problem.z0 + 1), trajectory, [path])
    longer = replace(problem, t1=2.0)
    other = adjode.solve_fixed(longer, adjode.rk4(), 4)
    for wrong in (adjode.adjoint_discrete(longer, loss, other).path, replace(path, lams=path.lams[:, 0])):
        with pytest.raises(ValueError, match="a path is not one of this problem"):
            kronecker_factors(problem, trajectory, [wrong])
    with pytest.raises(ValueError, match=r"at least 2 nodes.*nodes=2\.5"):
        kronecker_factors(problem, trajectory, [path], nodes=2.5)
