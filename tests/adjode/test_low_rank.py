"""The Gauss-Newton matrix from its factors, against products with it and against dense algebra."""

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
import adjode.curvature as curvature

ROUNDING = 1e-12
EIGEN = 1e-10  # rows from eigenvectors of a matrix of condition 1e2


def given(kind):
    """A field in three states with explicit time, six parameters, and a loss of a known rank."""
    rng = np.random.default_rng(7)
    theta = {"w": rng.normal(size=(3,)), "b": rng.normal(size=3)}
    f = lambda t, z, theta: anp.sin(theta["w"] * z[::-1] * t) + theta["b"] * z - 0.2 * t
    problem = adjode.InitialValueProblem(f, [0.8, -0.3, 0.5], 0.3, 1.6, theta)
    seen = adjode.Observations([0.7, 1.2], lambda i, z: (z[i] - 0.3) ** 2 + z[2])
    return {
        "one": (problem, adjode.Loss(terminal=lambda z, theta: (z[0] - 2 * z[1] + z[2]) ** 4), [1]),
        "saddle": (
            problem,
            adjode.Loss(terminal=lambda z, theta: z[0] * z[1] - 0.3 * z[2] ** 2),
            [-1, -1, 1],
        ),
        "cup": (problem, adjode.Loss(terminal=lambda z, theta: anp.sum(z**2) + theta["b"][0]), [1, 1, 1]),
        "observed": (problem, adjode.Loss(observations=seen), [1, 1]),
        "all": (problem, adjode.Loss(terminal=lambda z, theta: -(z[0] ** 2), observations=seen), [-1, 1, 1]),
        "flat": (problem, adjode.Loss(terminal=lambda z, theta: z[0] + z[1]), []),
    }[kind]


def followed(problem, loss):
    ts = None if loss.observations is None else loss.observations.ts
    return adjode.solve(problem, ts=ts, rtol=1e-4)


@pytest.mark.parametrize("kind", ["one", "saddle", "cup", "observed", "all", "flat"])
def test_the_factors_make_the_gauss_newton_matrix(kind):
    problem, loss, signs = given(kind)
    trajectory = followed(problem, loss)
    found = curvature.low_rank_factors(problem, loss, trajectory)
    assert sorted(found.signs) == sorted(signs)
    assert found.p.shape == (len(signs), 6) and found.q.shape == (len(signs), 3)
    _, unflatten = adjode.flatten(problem.theta)
    for unit in np.eye(6):
        product = curvature.gauss_newton_product(problem, loss, trajectory, unflatten(unit))
        column, mixed = adjode.flatten(product.theta)[0], product.z0
        size = max(np.max(np.abs(column)), np.max(np.abs(mixed)), 1e-300)
        assert np.max(np.abs(found.p.T @ (found.signs * (found.p @ unit)) - column)) <= EIGEN * size
        assert np.max(np.abs(adjode.flatten(found.times(unflatten(unit)))[0] - column)) <= EIGEN * size
        assert np.max(np.abs(found.q.T @ (found.signs * (found.p @ unit)) - mixed)) <= EIGEN * size
    if -1 in signs:  # without the signs it is another matrix
        unsigned, signed = found.p.T @ found.p, found.p.T @ (found.signs[:, None] * found.p)
        assert np.max(np.abs(unsigned - signed)) > 0.1 * np.max(np.abs(signed))


@pytest.mark.parametrize("kind", ["one", "saddle", "all", "flat"])
@pytest.mark.parametrize("damping", [1e-3, 0.4])
def test_the_damped_solve_is_that_of_the_dense_matrix(kind, damping):
    problem, loss, _ = given(kind)
    found = curvature.low_rank_factors(problem, loss, followed(problem, loss))
    matrix = found.p.T @ (found.signs[:, None] * found.p) + damping * np.eye(6)
    row, unflatten = adjode.flatten(problem.theta)
    solution = adjode.flatten(found.solve(unflatten(row), damping))[0]
    assert np.max(np.abs(solution - np.linalg.solve(matrix, row))) < 1e-8 * np.max(np.abs(solution))


def test_the_rank_is_that_of_the_loss_and_the_hessian_has_more():
    problem, loss, _ = given("one")
    trajectory = followed(problem, loss)
    _, unflatten = adjode.flatten(problem.theta)
    product = lambda unit: curvature.hessian_vector_product(problem, loss, trajectory, unflatten(unit)).theta
    whole = np.array([adjode.flatten(product(unit))[0] for unit in np.eye(6)])
    assert np.linalg.matrix_rank(whole, tol=1e-6 * np.max(np.abs(whole))) >= 4
    found = curvature.low_rank_factors(problem, loss, trajectory)
    assert np.linalg.matrix_rank(found.p.T @ found.p) == 1


def test_the_factors_of_a_matrix_of_second_derivatives():
    matrix = np.array([[2.0, 0.3, 0.0], [0.3, -1.0, 0.5], [0.0, 0.5, 0.2]])
    factors = curvature.terminal_factors(lambda z: 0.5 * anp.dot(z, anp.dot(matrix, z)), np.ones(3))
    again = sum(sign * np.outer(y, y) for sign, y in factors)
    np.testing.assert_allclose(again, matrix, atol=ROUNDING)
    batch = curvature.terminal_factors(lambda z: anp.sum(z**2), np.ones((2, 2)))
    assert [sign for sign, _ in batch] == [1, 1, 1, 1] and batch[0][1].shape == (2, 2)
    tiny = curvature.terminal_factors(lambda z: z[0] ** 2 + 1e-9 * z[1] ** 2, np.ones(2), drop=1e-6)
    assert len(tiny) == 1


def test_each_factor_costs_a_first_order_backward_solve():
    problem, loss, signs = given("cup")
    trajectory = followed(problem, loss)
    one = adjode.adjoint_fast(problem, loss, trajectory).stats.vjps
    found = curvature.low_rank_factors(problem, loss, trajectory)
    assert found.stats.vjps == len(signs) * one


def test_what_has_no_factors_is_refused():
    problem, loss, _ = given("cup")
    trajectory = followed(problem, loss)
    factors = curvature.low_rank_factors
    decay = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2) + anp.sum(theta["w"] ** 2))
    with pytest.raises(ValueError, match="explicit theta"):
        factors(problem, decay, trajectory)
    cost = adjode.Loss(running=lambda t, z, theta: anp.sum(z**2))
    with pytest.raises(ValueError, match="running cost"):
        factors(problem, cost, adjode.solve(problem, running=cost.running))
    with pytest.raises(ValueError, match="scalar"):
        factors(problem, adjode.Loss(terminal=lambda z, theta: z**2), trajectory)
    for drop in (-1e-3, 1.0, np.nan):
        with pytest.raises(ValueError, match="`drop` must be in"):
            factors(problem, loss, trajectory, drop=drop)
    found = factors(problem, loss, trajectory)
    with pytest.raises(ValueError, match="damping"):
        found.solve(problem.theta, 0.0)
    with pytest.raises(ValueError, match="structure and shapes of theta"):
        found.solve(np.ones(6), 0.1)
    with pytest.raises(ValueError, match="structure and shapes of theta"):
        found.times({"w": np.ones(3)})


def test_a_loss_without_second_derivatives_is_not_one_without_curvature():
    """|z - z(t1)|^{3/2} has none at z(t1); no factors would mean G = 0."""
    problem, _, _ = given("cup")
    trajectory = adjode.solve(problem)
    rough = lambda z: anp.sum(anp.abs(z - trajectory.zs[-1]) ** 1.5)
    seen = adjode.Observations([problem.t1], lambda i, z: rough(z))
    for loss in (adjode.Loss(terminal=lambda z, theta: rough(z)), adjode.Loss(observations=seen)):
        with np.errstate(all="ignore"), pytest.raises(adjode.GradientError, match="not finite"):
            curvature.low_rank_factors(problem, loss, trajectory)
