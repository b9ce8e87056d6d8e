"""Complex step, dot products and the invariant, on functions whose derivatives are known."""

import warnings

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
from adjode.invariant import drifted, slope

M = np.array([[0.5, -1.2, 0.3], [2.0, 0.1, -0.7]])
X, V = np.array([0.4, -0.9, 1.3]), np.array([1.0, 0.5, -2.0])


def smooth(x):
    return np.exp(np.sin(np.dot(M, x))) + x[0] * x[2]


def jacobian(x):
    inner = np.dot(M, x)
    rows = (np.exp(np.sin(inner)) * np.cos(inner))[:, None] * M
    return rows + np.array([x[2], 0.0, x[0]])


def test_complex_step_is_exact_to_rounding():
    found = adjode.complex_step(smooth, X, V)
    np.testing.assert_allclose(found, jacobian(X) @ V, rtol=1e-14)
    assert adjode.complex_step(np.exp, 0.7, 2.0) == pytest.approx(2 * np.exp(0.7), rel=1e-15)
    assert abs(adjode.complex_step(lambda x: x**3, np.float64(0.0), 1.0)) < 1e-50


def test_complex_step_goes_through_the_steps_of_a_scheme():
    f = lambda t, z, theta: anp.tanh(theta * z) * t
    end = lambda theta: adjode.rk_steps(adjode.rk4(), f, np.linspace(0, 1, 9), X, theta)[-1]
    high, low = end(0.8 + 1e-5), end(0.8 - 1e-5)
    np.testing.assert_allclose(adjode.complex_step(end, 0.8, 1.0), (high - low) / 2e-5, rtol=1e-8)


def into_reals(x):
    out = np.zeros(3)
    out[:] = x**2
    return out


DROPPED = {
    "abs": lambda x: np.sum(np.abs(x)),
    "real": lambda x: np.sum(np.real(x) ** 2),
    "a real array": into_reals,
    "a constant": lambda x: 3.0,
    "a real array, in a small part": lambda x: np.sum(x) + 1e-6 * np.sum(into_reals(x)),
}
CHANGED = {
    "norm": lambda x: np.linalg.norm(x) + np.sum(x),
    "conj": lambda x: np.sum(x * np.conj(x)) + x[0],
    "abs in one term": lambda x: np.sum(x**2) + 1e-2 * np.abs(x[1]),
    "a jump": lambda x: np.where(np.real(x[0]) > 0.4, x, 2 * x),
}


@pytest.mark.parametrize("name", DROPPED)
def test_complex_step_refuses_what_drops_the_imaginary_part(name):
    with pytest.raises(TypeError, match="dropped the imaginary part"):
        adjode.complex_step(DROPPED[name], X, V)


@pytest.mark.parametrize("name", CHANGED)
def test_complex_step_refuses_what_is_not_complex_differentiable(name):
    with pytest.raises(ValueError, match="disagree"):
        adjode.complex_step(CHANGED[name], X, V)


def test_complex_step_needs_one_shape():
    with pytest.raises(ValueError, match="one shape"):
        adjode.complex_step(smooth, X, V[:2])


def test_odeint_does_not_take_complex_numbers_in_silence():
    end = lambda z0: adjode.odeint(lambda t, z, theta: -z, z0, np.array([0.0, 1.0]), ())[-1]
    with pytest.raises(TypeError, match="must be real"):
        adjode.complex_step(end, X, V)


J = jacobian(X)
TURNED = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
VJPS = {
    "right": lambda w: w @ J,
    "sign": lambda w: -w @ J,
    "factor": lambda w: 1.001 * w @ J,
    "one part in a billion": lambda w: (1 + 1e-9) * w @ J,
    "permuted": lambda w: w @ J @ TURNED,
    "a dropped entry": lambda w: w @ (J * [[1, 1, 0], [1, 1, 1]]),
    "zero": lambda w: np.zeros(3),
    "nan": lambda w: w @ J * np.nan,
}


@pytest.mark.parametrize("name", VJPS)
def test_dot_products(name):
    jvp = lambda v: adjode.complex_step(smooth, X, v)
    test = adjode.dot_product_test(jvp, VJPS[name], (3,), (2,))
    assert test.passes == (name == "right"), str(test)
    if name == "one part in a billion":
        assert test.gap == pytest.approx(1e-9, rel=1e-3)
        assert adjode.dot_product_test(jvp, VJPS[name], (3,), (2,), claim=1e-8).passes


def test_dot_products_of_a_pullback():
    value, back = adjode.pullback(lambda x: anp.exp(anp.sin(anp.dot(M, x))) + x[0] * x[2], X)
    np.testing.assert_allclose(value, smooth(X))
    jvp = lambda v: adjode.complex_step(smooth, X, v)
    assert adjode.dot_product_test(jvp, lambda w: back(w)[0], (3,), (2,)).passes


def test_a_transposed_square_jacobian_shows():
    square = np.array([[1.0, 2.0], [-0.5, 0.3]])
    jvp = lambda v: square @ v
    assert adjode.dot_product_test(jvp, lambda w: w @ square, (2,), (2,)).passes
    assert not adjode.dot_product_test(jvp, lambda w: square @ w, (2,), (2,)).passes


def test_dot_products_that_test_nothing_are_refused():
    zero = adjode.dot_product_test(lambda v: 0.0 * v, lambda w: 0.0 * w, (2,), (2,))
    assert not zero.passes and "nothing was tested" in str(zero)
    with pytest.raises(ValueError, match="need the shapes"):
        adjode.dot_product_test(lambda v: v, lambda w: w[:, None], (2,), (2,))


def test_the_seed_and_the_number_of_pairs_are_the_callers():
    same = lambda v: v
    one, two = (adjode.dot_product_test(same, same, (2,), (2,), seed=s, pairs=3) for s in (0, 1))
    assert len(one.jvps) == 3 and not np.array_equal(one.jvps, two.jvps)


def test_the_invariant_of_a_linear_field_is_known():
    """z' = A z: lambda v is (A^T-flow of L_z) v, the same number by hand at both ends."""
    a = np.array([[-0.3, 1.1], [-0.6, 0.2]])
    problem = adjode.InitialValueProblem(lambda t, z, A: anp.dot(A, z), [1.0, -0.4], 0.3, 2.1, a)
    loss = adjode.Loss(terminal=lambda z, A: anp.sum(z**3))
    right = adjode.gradient(problem, loss, rtol=1e-11, atol=1e-13)
    v = np.array([0.7, 0.2])
    test = adjode.invariant_drift(problem, loss, right, direction=v, claim=1e-8)
    assert test.passes and test.expected == pytest.approx(right.z0 @ v, rel=1e-8)
    assert test.drift < 1e-8 and len(test.values) == len(test.ts) == len(right.path.ts)


def test_the_invariant_of_a_batch_of_states():
    a = np.array([[-0.3, 1.1], [-0.6, 0.2]])
    start = np.array([[1.0, 0.2], [-0.3, 0.8], [0.5, 0.5]])
    problem = adjode.InitialValueProblem(lambda t, z, A: anp.tanh(anp.dot(z, A)), start, 0.0, 1.2, a)
    loss = adjode.Loss(terminal=lambda z, A: anp.sum(z**2 * anp.array([1.0, 2.0])))
    right = adjode.gradient(problem, loss, rtol=1e-10, atol=1e-12)
    assert adjode.invariant_drift(problem, loss, right, claim=1e-7).passes


def test_a_loss_that_does_not_change_is_refused_not_divided_by():
    problem = adjode.InitialValueProblem(lambda t, z, theta: -z, [1.0], 0.0, 1.0)
    loss = adjode.Loss(terminal=lambda z, theta: 0.0 * z[0])
    assert not adjode.invariant_drift(problem, loss, adjode.gradient(problem, loss)).passes


@pytest.mark.parametrize("length", [1e-9, 1e6])
@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_complex_step_judges_a_function_by_its_own_size_and_that_of_the_direction(size, length):
    found = adjode.complex_step(lambda x: size * smooth(x), X, length * V)
    np.testing.assert_allclose(found, size * length * jacobian(X) @ V, rtol=1e-13)
    with pytest.raises(ValueError, match="disagree"):
        adjode.complex_step(lambda x: size * CHANGED["abs in one term"](x), X, length * V)


def test_complex_step_knows_what_a_difference_gets_wrong():
    far = 1e6 * X  # a step beside X itself would be lost in rounding
    assert adjode.complex_step(lambda x: np.sum(x**2), far, V) == pytest.approx(2 * far @ V, rel=1e-14)
    with pytest.raises(ValueError, match="disagree"):
        adjode.complex_step(lambda x: np.sum(x**2) + 1e5 * np.abs(x[1]), far, V)
    high = lambda x: 1e9 + np.sum(np.sin(x))  # the difference has seven digits less
    assert adjode.complex_step(high, X, V) == pytest.approx(np.cos(X) @ V, rel=1e-14)


def test_complex_step_starts_from_real_numbers():
    for x, d in (([1j, 2.0], [1.0, 0.0]), ([1.0, 2.0], [1j, 0.0])):
        with pytest.raises(TypeError):
            adjode.complex_step(np.sum, x, d)


def test_complex_step_leaves_other_warnings_alone():
    def talking(x):
        warnings.warn("by the way", stacklevel=2)
        return np.sum(x**2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert adjode.complex_step(talking, X, V) == pytest.approx(2 * X @ V)


def test_dot_products_are_those_of_five_pairs_unless_said_otherwise():
    jvp, vjp = (lambda v: J @ v), (lambda w: w @ J)
    plain, again = (
        adjode.dot_product_test(jvp, vjp, (3,), (2,)),
        adjode.dot_product_test(jvp, vjp, (3,), (2,)),
    )
    said = adjode.dot_product_test(jvp, vjp, (3,), (2,), claim=1e-10, pairs=5, seed=0)
    for test in (again, said):
        np.testing.assert_array_equal(test.jvps, plain.jvps)
    assert len(plain.jvps) == 5 and plain.excludes == 1e-10
    np.testing.assert_allclose(plain.vjps, plain.jvps, rtol=1e-12)


def test_small_products_are_compared_too_and_zero_ones_fail_once():
    tiny = adjode.dot_product_test(lambda v: 1e-9 * J @ v, lambda w: 1.001e-9 * w @ J, (3,), (2,))
    assert not tiny.passes and tiny.gap == pytest.approx(1e-3, rel=1e-6)
    zero = adjode.dot_product_test(lambda v: 0.0 * v, lambda w: w, (2,), (2,))
    assert zero.failures == ("every J v is zero: nothing was tested",) and zero.gap == np.inf
    with pytest.raises(ValueError, match=r"need the shapes \(2,\) and \(3,\); got \(2,\) and \(2,\)"):
        adjode.dot_product_test(lambda v: J @ v, lambda w: w, (3,), (2,))


def test_the_tangent_is_solved_to_ten_digits_unless_said_otherwise():
    # a small rotation by 40: what is small beside 1 counts as well
    turn = 20.0 * np.array([[0.0, 1.0], [-1.0, 0.0]])
    problem = adjode.InitialValueProblem(lambda t, z, theta: anp.dot(turn, z), [1e-4, 0.0], 0.0, 2.0)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    gradient = adjode.gradient(problem, loss, rtol=1e-12, atol=1e-14)
    options = {"direction": np.array([1e-4, 2e-4]), "claim": 1e-7}
    plain = adjode.invariant_drift(problem, loss, gradient, **options)
    assert plain.passes and plain.drift < 3e-8
    said = adjode.invariant_drift(problem, loss, gradient, rtol=1e-10, atol=1e-12, **options)
    np.testing.assert_array_equal(said.values, plain.values)
    loose, strict = (adjode.invariant_drift(problem, loss, gradient, rtol=1e-3, atol=a, **options)
                     for a in (1.0, 1e-14))  # fmt: skip
    assert strict.drift > 100 * plain.drift and np.any(loose.values != strict.values)
    again = [adjode.invariant_drift(problem, loss, gradient).values for _ in range(2)]
    np.testing.assert_array_equal(*again)  # the same direction, though it is random


def test_a_drift_is_relative_and_has_a_place():
    ts, values = np.array([0.0, 1.0, 3.0]), np.array([10.0, 10.5, 10.4])
    test = drifted(ts, values, -10.0, -10.0, 0.06)
    assert test.drift == pytest.approx(0.05) and test.where == 1.0 and test.excludes == 0.06
    assert test.failures == ("constant, but off by 2.0e+00: a factor, or dL/dz0",)
    test = drifted(ts, values, 10.0, 10.0, 0.04)
    assert test.failures == ("it changes by 5.0e-02 of its size, most at t = 1",)
    assert drifted(ts, values, 10.0, 10.0, 0.06).passes
    assert not drifted(ts, values, 10.0, 10.7, 0.06).passes  # dL/dz0 v is off


@pytest.mark.parametrize("z, v", [(0.0, 1e3), (0.0, 1e-6), (1e6, 1.0), (1e6, 1e6)])
def test_a_slope_suits_the_size_of_its_place_and_of_its_direction(z, v):
    size = max(z, 1.0)
    found = slope(lambda x: np.sin(1.0 + x / size), np.array([z]), np.array([v]))
    np.testing.assert_allclose(found, v / size * np.cos(1.0 + z / size), rtol=1e-9)
