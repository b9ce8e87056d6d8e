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
    assert test.steps[0] == 0.1 and len(test.steps) == 11 and len(test.rates) == 10


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
