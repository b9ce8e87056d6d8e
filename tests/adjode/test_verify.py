"""Differences in random directions, the Taylor test, and the tests of the test."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import adjode

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
CLAIM = 1e-5  # relative error of g d that the smallest step must exclude


def right(test):
    """The four parts of a Taylor test: rate from both sides, size, rounding, and a slope."""
    return (
        np.all(np.abs(test.rates - 2) < 0.1)
        and test.bound < CLAIM
        and np.all(test.remainders > 100 * test.floor)
    )


def net(adjoint="discrete"):
    """A loss of a net on two observations, as a function of one vector, and where to take it."""
    f, theta = adjode.mlp([2, 6, 2], seed=1, scale=1.5)
    vector, unflatten = adjode.flatten((np.array([0.8, -0.4]), theta))

    def loss(x):
        z0, theta = unflatten(x)
        zs = adjode.odeint(f, z0, np.array([0.0, 0.7, 1.5]), theta, adjoint=adjoint, **TIGHT)
        return anp.sum((zs[1:] - np.array([[1.0, 0.5], [-0.5, 2.0]])) ** 4)

    return loss, vector


def directions(size, z_size=2):
    """Two random ones; one in z0 alone; one in theta alone."""
    rng = np.random.default_rng(0)
    for mask in (np.ones(size), np.ones(size), np.arange(size) < z_size, np.arange(size) >= z_size):
        direction = rng.normal(size=size) * mask
        yield direction / np.linalg.norm(direction)


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve", "interpolated", "quadrature", "checkpointed"])
def test_taylor_remainders_of_a_net(adjoint):
    loss, x = net(adjoint)
    gradient = grad(loss)(x)
    steps = 0.01 * 0.5 ** np.arange(6)
    for d in directions(len(x)):
        curved = adjode.taylor_remainders(loss, x, gradient, d, steps=steps)
        assert abs(gradient @ d) > 1e-3 * np.linalg.norm(gradient)
        assert np.all(np.abs(curved.rates - 2) < 0.1), curved
        assert np.all(curved.remainders > 100 * curved.floor)
        # a central difference, error O(1e-8): what the forward remainders cannot exclude
        central = (loss(x + 1e-4 * d) - loss(x - 1e-4 * d)) / 2e-4
        assert gradient @ d == pytest.approx(central, rel=1e-6, abs=1e-7)


def quadratic(x):
    return float(0.5 * np.sum(x**2) + x[0] * x[1])


X = np.array([1.0, -2.0, 0.5])
G = np.array([-1.0, -1.0, 0.5])
D = np.array([0.6, 0.3, -0.2])
STEPS = 1e-2 * 0.25 ** np.arange(6)


def test_the_checker_accepts_a_right_gradient_and_says_how_much_that_shows():
    test = adjode.taylor_remainders(quadratic, X, G, D, steps=STEPS)
    curvature = 0.5 * D @ D + D[0] * D[1]
    np.testing.assert_allclose(test.remainders, curvature * STEPS**2, rtol=1e-4)
    np.testing.assert_allclose(test.rates, 2, atol=1e-4)
    assert test.bound == pytest.approx(curvature * STEPS[-1] / abs(G @ D), rel=1e-4)
    assert right(test)


def test_steps_are_chosen_when_absent():
    test = adjode.taylor_remainders(quadratic, X, G, D)
    assert test.steps[0] == 0.01 and len(test.steps) == 8 and len(test.rates) == 7


WRONG = {
    "sign": -G,
    "factor": 1.001 * G,
    "dropped entry": G * [1, 0, 1],
    "swapped": G[[2, 1, 0]],
    "zero": 0 * G,
    "small": G * (1 + 1e-4),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_checker_refuses_a_wrong_gradient(name):
    assert not right(adjode.taylor_remainders(quadratic, X, WRONG[name], D, steps=STEPS))


@pytest.mark.parametrize("name", WRONG)
def test_the_verdict_refuses_it_too_and_says_why(name):
    test = adjode.taylor_remainders(quadratic, X, WRONG[name], D, steps=STEPS, claim=CLAIM)
    assert not test.passes and str(test).startswith("TaylorTest fails: ")
    right = adjode.taylor_remainders(quadratic, X, G, D, steps=STEPS, claim=CLAIM)
    assert right.passes and f"{right.bound:.1e}" in str(right)


@pytest.mark.parametrize(("rate", "passes"), [(1.85, False), (1.95, True), (2.05, True), (2.15, False)])
def test_the_rate_is_refused_from_both_sides(rate, passes):
    """R = c h^2 - delta s h has this rate between 2h and h for the delta below: a gradient that is
    too large gives a rate above two."""
    curvature, slope, h = 0.5 * D @ D + D[0] * D[1], G @ D, 1e-3
    delta = curvature * h / slope * (2**rate - 4) / (2**rate - 2)
    test = adjode.taylor_remainders(quadratic, X, (1 + delta) * G, D, steps=[2 * h, h], claim=1e-2)
    np.testing.assert_allclose(test.rates, rate, atol=1e-6)
    assert test.passes == passes, str(test)


def quartic(x):
    return float(np.sum(x**4) + x[0] * x[1] ** 2)


def quartic_rows(x):
    gradient = 4 * x**3 + np.array([x[1] ** 2, 2 * x[0] * x[1], 0.0])
    hessian = np.diag(12 * x**2)
    hessian[0, 1] = hessian[1, 0] = 2 * x[1]
    hessian[1, 1] += 2 * x[0]
    return gradient, hessian


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-5, -1.0])
def test_central_remainders_are_of_order_three_and_exclude_more(factor):
    gradient, _ = quartic_rows(X)
    steps = 1e-2 * 0.5 ** np.arange(6)
    options = {"steps": steps, "claim": 2e-6, "central": True}
    test = adjode.taylor_remainders(quartic, X, factor * gradient, D, **options)
    one_sided = adjode.taylor_remainders(quartic, X, gradient, D, steps=steps)
    assert test.passes == (factor == 1.0), str(test)
    if factor == 1.0:
        third = 4 * np.sum(X * D**3) + D[0] * D[1] ** 2  # a sixth of the third derivative
        np.testing.assert_allclose(test.remainders, abs(third) * steps**3, rtol=1e-3)
        assert test.order == 3 and test.bound < 1e-3 * one_sided.bound


@pytest.mark.parametrize("wrong", ["none", "doubled", "transposed entry", "one per cent"])
def test_remainders_with_the_curvature_are_of_order_three(wrong):
    gradient, hessian = quartic_rows(X)
    factor = {"doubled": 2.0, "one per cent": 1.01}.get(wrong, 1.0)
    if wrong == "transposed entry":
        hessian[0, 1] = -hessian[0, 1]
    test = adjode.taylor_remainders(quartic, X, gradient, D, hvp=factor * hessian @ D, claim=1e-2)
    assert test.passes == (wrong == "none"), str(test)
    if wrong == "none":
        third = 4 * np.sum(X * D**3) + D[0] * D[1] ** 2
        e = test.steps[-1]
        assert test.bound == pytest.approx(abs(third) * e / (D @ hessian @ D / 2), rel=1e-2)


def test_taylor_says_when_it_can_say_nothing():
    linear = lambda x: float(np.array([2.0, 1.0, -1.0]) @ x)
    test = adjode.taylor_remainders(linear, X, np.array([2.0, 1.0, -1.0]), D)
    assert "near rounding" in str(test)
    across = np.array([1.0, -1.0, 0.0])  # g d = 0
    assert "another direction" in str(adjode.taylor_remainders(quadratic, X, G, across))
    large = adjode.taylor_remainders(quadratic, X, G, D, steps=[0.1, 0.05], claim=1e-6)
    assert large.failures == (f"an error of {large.bound:.1e} could hide; take smaller steps",)
    block = np.array([0.0, 0.0, 1.0])  # a small entry of g is compared with itself
    small = np.array([1e8, 1e8, 1.0]) * G
    value = lambda x: float(quadratic(np.array([1.0, -2.0, x[2]])))
    assert adjode.taylor_remainders(value, X, small, block).passes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"direction": D[:2]}, "need one shape"),
        ({"gradient": G[:2]}, "need one shape"),
        ({"steps": [0.1]}, "two or more falling"),
        ({"steps": [0.1, 0.2]}, "two or more falling"),
        ({"steps": [0.1, 0.0]}, "two or more falling"),
        ({"central": True, "hvp": G}, "do not go together"),
    ],
)
def test_taylor_refuses_what_it_cannot_use(change, words):
    options = {"value": quadratic, "x": X, "gradient": G, "direction": D} | change
    with pytest.raises(ValueError, match=words):
        adjode.taylor_remainders(**options)


H = 0.1 * 0.5 ** np.arange(5)


def trapezoid(h, shift=0.0):
    x = np.arange(0.0, 1.0 + h / 2, h)
    y = np.exp(x)
    return np.array([h * (np.sum(y) - (y[0] + y[-1]) / 2) + shift, 1.0])


def test_order_of_the_trapezoidal_rule():
    values, exact = [trapezoid(h) for h in H], np.array([np.e - 1, 1.0])
    test = adjode.observed_order(values, H, 2, exact=exact)
    np.testing.assert_allclose(test.errors, (np.e - 1) * H**2 / 12, rtol=1e-3)
    assert test.passes and test.excludes == pytest.approx(test.errors[-1] / np.max(values))
    blind = adjode.observed_order(values, H, 2)
    np.testing.assert_allclose(blind.errors, (np.e - 1) * 0.75 * H[:-1] ** 2 / 12, rtol=1e-3)
    assert blind.passes and blind.excludes == np.inf and "cannot see a wrong limit" in str(blind)


@pytest.mark.parametrize("order", [1, 1.75, 2.25, 3])
def test_an_order_is_refused_from_both_sides(order):
    test = adjode.observed_order([trapezoid(h) for h in H], H, order, exact=[np.e - 1, 1.0])
    assert test.failures == (f"the observed order is 2.00, not {order}",)


def test_a_wrong_limit_needs_an_exact_value():
    off = [trapezoid(h, shift=1e-3) for h in H]
    assert adjode.observed_order(off, H, 2).passes
    assert not adjode.observed_order(off, H, 2, exact=[np.e - 1, 1.0]).passes


def test_errors_near_rounding_have_no_order():
    values = 1.0 + 1e-14 * H**2 / H[-1] ** 2
    assert "near rounding" in str(adjode.observed_order(values, H, 2, exact=1.0))


@pytest.mark.parametrize(
    ("values", "steps", "exact", "words"),
    [
        (np.ones(2), [0.2, 0.1], 1.0, "three or more"),
        (np.ones(3), [0.4, 0.2, 0.1], None, "three or more"),
        (np.ones(3), [0.1, 0.2, 0.4], 1.0, "falling steps"),
        (np.ones(4), [0.4, 0.2, 0.1], 1.0, "as many as values"),
        (np.ones(4), [0.4, 0.2, 0.1, 0.01], None, "common ratio"),
    ],
)
def test_order_refuses_what_it_cannot_use(values, steps, exact, words):
    with pytest.raises(ValueError, match=words):
        adjode.observed_order(values, steps, 2, exact=exact)


def test_mlp_is_seeded_batched_and_shaped():
    f, theta = adjode.mlp([3, 5, 4, 3], seed=7)
    again, other = adjode.mlp([3, 5, 4, 3], seed=7)[1], adjode.mlp([3, 5, 4, 3], seed=8)[1]
    assert [(w.shape, b.shape) for w, b in theta] == [
        ((3, 5), (5,)),
        ((5, 4), (4,)),
        ((4, 3), (3,)),
    ]
    np.testing.assert_array_equal(theta[0][0], again[0][0])
    assert not np.array_equal(theta[0][0], other[0][0])
    z = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_allclose(f(0.0, z, theta)[2], f(1.0, z[2], theta), rtol=1e-13)
    (w1, b1), (w2, b2), (w3, b3) = theta
    by_hand = np.tanh(np.tanh(z @ w1 + b1) @ w2 + b2) @ w3 + b3
    np.testing.assert_allclose(f(0.0, z, theta), by_hand, rtol=1e-13)
    wide = adjode.mlp([3, 5, 4, 3], seed=7, scale=2.0)[1]
    np.testing.assert_allclose(wide[0][0], 2 * theta[0][0])


def test_the_words_of_a_verdict():
    test = adjode.taylor_remainders(quadratic, X, 0 * G, D, steps=STEPS)
    assert len(test.failures) == 2 and str(test) == "TaylorTest fails: " + "; ".join(test.failures)
    values, exact = [trapezoid(h) for h in H], np.array([np.e - 1, 1.0])
    right = adjode.observed_order(values, H, 2, exact=exact)
    assert str(right) == (f"ObservedOrder passes, order {right.orders[-1]:.2f}; it excludes relative errors "
                          f"above {right.excludes:.1e}")  # fmt: skip
    blind = adjode.observed_order(values, H, 2)
    assert str(blind) == f"ObservedOrder passes, order {blind.orders[-1]:.2f}; it cannot see a wrong limit"
    np.testing.assert_array_equal(right.steps, H)
    assert right.expected == 2


def test_a_taylor_test_excludes_a_thousandth_unless_said_otherwise():
    for last, passes in ((1e-3, False), (1e-4, True)):  # the bound is 0.4 of the last step
        test = adjode.taylor_remainders(quadratic, X, G, D, steps=np.array([4, 2, 1]) * last * 4)
        assert 0.3 * 4 * last < test.bound < 4 * 4 * last
        assert test.passes == (test.bound < 1e-3) == passes


@pytest.mark.parametrize("steps", [[0.1, 0.1, 0.05], [0.1, 0.05, -0.1]])
def test_taylor_steps_fall_and_stay_above_zero(steps):
    with pytest.raises(ValueError, match="two or more falling"):
        adjode.taylor_remainders(quadratic, X, G, D, steps=steps)


def test_a_taylor_test_takes_a_direction_of_any_length():
    for length in (1e-3, 1e3):
        test = adjode.taylor_remainders(quadratic, X, G, length * D, steps=STEPS / length)
        assert test.passes, str(test)
    large = adjode.taylor_remainders(lambda x: 1e6 + quadratic(x), X, G, D, steps=STEPS)
    assert large.floor == pytest.approx(2e6 * np.finfo(float).eps, rel=1e-4)
    with pytest.raises(ValueError, match=r"got \(3,\), \(3,\), \(2,\)"):
        adjode.taylor_remainders(quadratic, X, G, D[:2])


def test_the_last_order_decides():
    steps, exact = np.array([0.8, 0.4, 0.2, 0.1]), 1.0
    errors = np.array([1.0, 0.5, 0.4, 0.1])  # orders 1, 0.3, 2
    test = adjode.observed_order(exact + errors, steps, 2, exact=exact)
    assert test.passes and "order 2.00" in str(test)
    test = adjode.observed_order(exact + errors, steps, 1, exact=exact)
    assert test.failures == ("the observed order is 2.00, not 1",)
    assert adjode.observed_order(exact + errors[1:], steps[1:], 2, exact=exact).passes  # three will do


def test_an_order_is_judged_by_the_size_of_what_is_computed():
    steps = np.array([0.4, 0.2, 0.1])
    near = adjode.observed_order(1e6 + 1e-7 * steps**2, steps, 2, exact=1e6)
    assert "near rounding" in str(near)
    last = adjode.observed_order(1.0 + np.array([1e-3, 1e-9, 1e-15]), steps, 20, exact=1.0, tolerance=9)
    assert "errors near rounding; take larger steps" in last.failures
    assert not adjode.observed_order(np.ones(3), steps, 2, exact=1.0).passes  # and warns of nothing


@pytest.mark.parametrize(
    "steps, words", [([0.1, 0.1, 0.05], "falling steps"), ([1.2, 0.6, 0.3, 0.1], "ratio")]
)
def test_steps_of_an_order_fall_by_a_common_ratio(steps, words):
    exact = 1.0 if len(steps) == 3 else None
    with pytest.raises(ValueError, match=words):
        adjode.observed_order(np.linspace(1, 2, len(steps)), steps, 2, exact=exact)
