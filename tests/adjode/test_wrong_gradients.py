"""Tests of the tests: each checker of verify and duality is fed wrong gradients, and must refuse
those within its power; BEYOND lists what is not."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive

import adjode

A = np.array([[-0.4, 1.3], [-0.7, 0.2]])  # not symmetric: a transpose shows
THETA = {"A": A, "b": np.array([0.3, -0.5])}
Z0, T0, T1, SEEN = np.array([0.8, -0.6]), 0.3, 2.1, np.array([0.9, 1.5])


@primitive
def turned(matrix, z):
    return np.dot(matrix, z)


defvjp(
    turned, lambda ans, m, z: lambda g: anp.outer(g, z), lambda ans, m, z: lambda g: anp.dot(m, g)
)  # m g, where m^T g is right: the transposed Jacobian


def field(t, z, theta, product=anp.dot):
    return anp.tanh(product(theta["A"], z)) + theta["b"] * anp.sin(2 * t)


def terminal(z, theta):
    return 0.5 * anp.sum((z - 1.0) ** 2) + 0.3 * z[0] * z[1] + 0.05 * anp.sum(theta["A"] ** 2)


def running(t, z, theta):
    return 0.4 * z[0] ** 2 * anp.cos(t) + 0.1 * theta["b"][1] * z[1]


def looked(i, z):
    return (1 + i) * (z[0] - 0.5 * z[1]) ** 2


def problem(f=field):
    return adjode.InitialValueProblem(f, Z0, T0, T1, THETA)


def loss(ts=SEEN, cost=running, look=looked):
    return adjode.Loss(terminal, cost, None if ts is None else adjode.Observations(ts, look))


def wrong_gradient(bug, tableau, n):
    """dL/d(z0, theta) through n fixed steps a gap, with a bug in it."""
    given, whole = problem(), loss()
    trajectory = adjode.solve_fixed(given, tableau, n, ts=SEEN, running=running)
    if bug == "transposed Jacobian":
        given = problem(lambda t, z, theta: field(t, z, theta, turned))
    if bug == "off-by-one stage":
        trajectory = replace(trajectory, stages=np.roll(trajectory.stages, 1, axis=1))
    if bug == "dropped jump":
        whole = loss(look=lambda i, z: looked(i, z) if i else 0.0 * z[0])
    if bug == "no running cost":
        whole = loss(cost=None)
    right = adjode.adjoint_discrete(given, whole, trajectory)
    factors = {"sign": -1.0, "factor 1.001": 1.001, "one part in a million": 1 + 1e-6}
    factor = factors.get(bug, 1.0)
    path = replace(right.path, lams=factor * right.path.lams)
    theta = {name: factor * row for name, row in right.theta.items()}
    return replace(right, z0=factor * right.z0, theta=theta, path=path)


BUGS = (
    *("sign", "factor 1.001", "one part in a million", "dropped jump", "no running cost"),
    *("off-by-one stage", "transposed Jacobian"),
)
X, UNFLATTEN = adjode.flatten((Z0, THETA))
STEPS_A_GAP = 12  # dop853 is then exact to 1e-13 here


def value(x):
    """L through the same steps, written anew: for real and for complex x."""
    z0, theta = UNFLATTEN(x)
    with_cost = lambda t, s, theta: anp.append(field(t, s[:2], theta), running(t, s[:2], theta))
    stops, state, total = [T0, *SEEN, T1], anp.append(z0, 0.0), 0.0
    for i in range(3):
        grid = np.linspace(stops[i], stops[i + 1], STEPS_A_GAP + 1)
        state = adjode.rk_steps(adjode.dop853(), with_cost, grid, state, theta)[-1]
        total = total + (looked(i, state[:2]) if i < 2 else state[2] + terminal(state[:2], theta))
    return total


def row(gradient):
    return adjode.flatten((gradient.z0, gradient.theta))[0]


def by_taylor(bug):
    g = row(wrong_gradient(bug, adjode.dop853(), STEPS_A_GAP))
    return adjode.taylor_remainders(value, X, g, np.cos(1.0 + np.arange(len(X))), claim=5e-4)


def by_central_taylor(bug):
    g = row(wrong_gradient(bug, adjode.dop853(), STEPS_A_GAP))
    d, steps = np.cos(1.0 + np.arange(len(X))), 4e-3 * 0.5 ** np.arange(5)
    return adjode.taylor_remainders(value, X, g, d, steps=steps, claim=3e-7, central=True)


def by_dot_product(bug):
    g = row(wrong_gradient(bug, adjode.dop853(), STEPS_A_GAP))
    jvp = lambda v: adjode.complex_step(value, X, v)
    return adjode.dot_product_test(jvp, lambda w: w * g, X.shape, (), claim=1e-11)


def by_invariant(bug):
    g = wrong_gradient(bug, adjode.dop853(), STEPS_A_GAP)
    return adjode.invariant_drift(problem(), loss(), g, claim=1e-7)


def by_order(bug, scheme=("rk4", 4, (3, 6, 12, 24))):
    exact = row(wrong_gradient("none", adjode.dop853(), STEPS_A_GAP))
    scheme, order, counts = scheme
    rows = [row(wrong_gradient(bug, getattr(adjode, scheme)(), n)) for n in counts]
    return adjode.observed_order(rows, 1 / np.array(counts), order, exact=exact)


CHECKERS = {
    "Taylor": by_taylor,
    "central Taylor": by_central_taylor,
    "dot product": by_dot_product,
    "invariant": by_invariant,
    "order": by_order,
}
# What a checker cannot see; it says so by a larger `excludes`.
BEYOND = {("Taylor", "one part in a million")}


@pytest.mark.parametrize("name", CHECKERS)
def test_a_right_gradient_passes(name):
    result = CHECKERS[name]("none")
    assert result.passes and not result.failures, str(result)
    assert "passes" in str(result) and "excludes" in str(result)


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("name", CHECKERS)
def test_a_wrong_gradient_is_refused_within_the_power_of_the_checker(name, bug):
    result = CHECKERS[name](bug)
    if (name, bug) in BEYOND:
        assert result.passes and result.excludes > 1e-6  # it says that this could hide
    else:
        assert not result.passes, str(result)
        assert "fails: " in str(result)


def test_an_order_of_two_hides_a_mistake_of_the_same_order():
    """Heun with its two stages swapped is another scheme of order 2: the rate cannot tell, and the
    size of the error is all that the check excludes. The order of rk4 sees the same mistake."""
    result = by_order("off-by-one stage", ("heun", 2, (16, 32, 64, 128)))
    assert result.passes and result.excludes > 1e-6
    assert by_dot_product("off-by-one stage").gap > 1e-6


@pytest.mark.parametrize(("bug", "between"), [("dropped jump", (0.91, 1.05)), ("none", (T0, T1))])
def test_the_invariant_says_where(bug, between):
    assert between[0] <= by_invariant(bug).where <= between[1]


def test_drift_alone_does_not_see_a_factor():
    """lambda v is constant for every multiple of lambda: the tangent's own value is needed."""
    whole = adjode.Loss(terminal)
    trajectory = adjode.solve_fixed(problem(), adjode.dop853(), 30)
    right = adjode.adjoint_discrete(problem(), whole, trajectory)
    twice = replace(right, z0=2 * right.z0, path=replace(right.path, lams=2 * right.path.lams))
    result = adjode.invariant_drift(problem(), whole, twice, claim=1e-7)
    assert result.drift < 1e-9
    assert not result.passes and "constant, but off by 1.0e+00" in str(result)


def test_a_wrong_derivative_in_z0_beside_a_right_path_is_seen_and_the_reverse():
    whole = adjode.Loss(terminal)
    right = adjode.adjoint_discrete(problem(), whole, adjode.solve_fixed(problem(), adjode.dop853(), 30))
    off = replace(right.path, lams=1.01 * right.path.lams)
    for wrong in (replace(right, z0=1.01 * right.z0), replace(right, path=off)):
        assert not adjode.invariant_drift(problem(), whole, wrong).passes


@pytest.mark.parametrize("ts", [[T0, 1.0], [1.0, T1]])
def test_observations_at_the_ends_are_seen_where_they_jump(ts):
    given, whole = problem(), loss(np.array(ts))
    trajectory = adjode.solve(given, ts=ts, running=running, rtol=1e-10, atol=1e-12)
    right = adjode.adjoint_discrete(given, whole, trajectory)
    assert adjode.invariant_drift(given, whole, right, claim=1e-7).passes


def test_the_invariant_holds_backwards_in_time():
    given = adjode.InitialValueProblem(field, Z0, T1, T0, THETA)
    whole = loss(SEEN[::-1])
    _, right = adjode.value_and_gradient(given, whole, rtol=1e-10, atol=1e-12)
    assert adjode.invariant_drift(given, whole, right, claim=1e-7).passes
    lams = right.path.lams.copy()
    lams[right.path.ts > SEEN[1]] *= 1.001  # off before the jump: after it, in this direction
    off = replace(right, path=replace(right.path, lams=lams))
    assert not adjode.invariant_drift(given, whole, off, claim=1e-5).passes
