"""Vector-Jacobian products and nests."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import jacobian

import adjode
from adjode.vjp import scalar_rows


def test_pullback_is_the_row_times_the_jacobian():
    fun = lambda x, a, b: anp.tanh(anp.dot(a, x)) * b + x[::-1]
    args = np.array([0.3, -0.8]), np.array([[0.2, 1.0], [-0.7, 0.4]]), 1.7
    value, back = adjode.pullback(fun, *args)
    np.testing.assert_array_equal(value, fun(*args))
    for v in (np.array([1.0, -2.0]), np.array([0.0, 0.5])):  # one trace, many rows
        for n, row in enumerate(back(v)):
            wanted = np.tensordot(v, jacobian(fun, n)(*args), axes=1)
            np.testing.assert_allclose(row, wanted, rtol=1e-13)
            assert np.shape(row) == np.shape(args[n])


def test_arguments_that_do_not_matter_get_rows_of_zeros():
    value, (x_bar, a_bar) = (lambda v, b: (v, b(np.ones(2))))(
        *adjode.pullback(lambda x, a: 2 * x, np.ones(2), np.ones((3, 2)))
    )
    np.testing.assert_array_equal(value, [2, 2])
    np.testing.assert_array_equal(x_bar, [2, 2])
    np.testing.assert_array_equal(a_bar, np.zeros((3, 2)))
    value, back = adjode.pullback(lambda x: np.ones(2), 3.0)
    assert back(np.ones(2)) == [0.0]


def test_the_identity_has_the_identity_as_its_pullback():
    _, back = adjode.pullback(lambda x: x, np.ones(2))
    np.testing.assert_array_equal(back(np.array([3.0, 4.0]))[0], [3.0, 4.0])


def test_adjoint_pullback_with_a_running_cost(zoo):
    case = zoo.case("affine")
    running = lambda t, z, theta: t * z[0] * z[1] + anp.sum(theta["b"] ** 2)
    lam, t, z = np.array([0.5, -1.0, 2.0]), 0.4, case.z0
    f, z_bar, theta_bar = adjode.adjoint_pullback(case.problem(), running)(t, z, lam, 0.5)
    a, b = case.theta["A"], case.theta["b"]
    np.testing.assert_allclose(f, a @ z + b, rtol=1e-13)
    np.testing.assert_allclose(z_bar, lam @ a + 0.5 * t * np.array([z[1], z[0], 0]), rtol=1e-13)
    wanted = np.concatenate([np.outer(lam, z).ravel(), lam + 0.5 * 2 * b])
    np.testing.assert_allclose(theta_bar, wanted, rtol=1e-13)
    once, whole = (adjode.adjoint_pullback(case.problem(), running)(t, z, lam, *w) for w in ([], [1.0]))
    np.testing.assert_array_equal(np.concatenate(once), np.concatenate(whole))


def test_an_empty_array_takes_no_room_in_the_vector():
    vector, unflatten = adjode.flatten([np.zeros((0, 3)), 1.0, {"b": np.array([2.0, 3.0])}])
    np.testing.assert_array_equal(vector, [1.0, 2.0, 3.0])
    empty, a, more = unflatten(vector)
    assert empty.shape == (0, 3) and a == 1.0
    np.testing.assert_array_equal(more["b"], [2.0, 3.0])


def test_flatten_and_back():
    tree = {"a": (1.5, [np.arange(6.0).reshape(2, 3)]), "b": np.array(2.0), "c": (), "d": {}}
    vector, unflatten = adjode.flatten(tree)
    np.testing.assert_array_equal(vector, [1.5, 0, 1, 2, 3, 4, 5, 2])
    again = unflatten(2 * vector)
    assert list(again) == list("abcd") and again["c"] == () and again["d"] == {}
    assert isinstance(again["a"], tuple) and isinstance(again["a"][1], list)
    np.testing.assert_array_equal(again["a"][1][0], 2 * tree["a"][1][0])
    assert adjode.flatten(())[0].shape == (0,) and adjode.flatten(())[1](np.zeros(0)) == ()


def test_the_rows_of_a_scalar_function_and_what_is_no_scalar():
    x, a = np.array([0.5, -2.0]), 3.0
    x_bar, a_bar = scalar_rows("fun", lambda x, a: anp.sum(x**2) * a, x, a)
    np.testing.assert_array_equal(x_bar, 6 * x)
    assert a_bar == 4.25
    assert scalar_rows("fun", lambda x: 7, 1.0) == [0.0]  # a whole number, and constant
    with pytest.raises(ValueError, match=r"^fun must return a scalar; got ndarray of shape \(2,\)$"):
        scalar_rows("fun", lambda x: x, x)
    with pytest.raises(ValueError, match=r"^fun must return a scalar; got complex128 of shape \(\)$"):
        scalar_rows("fun", lambda a: a * np.complex128(1j), a)
