"""The solution of a system of equations, and its derivatives."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, hessian, jacobian, value_and_grad
from autograd.tracer import isbox
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hilbert
from scipy.sparse import coo_array, csr_array

import adjode
from adjode.linear import Factor, as_pattern, solution
from adjode.newton import System, beyond, check_entries, damped, jacobian_entries, largest, short, stopped

ROUNDING = 1e-12  # well-conditioned systems of a few unknowns
FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None)
PATTERNS = {"dense": None, "banded": (2, 1), "sparse": "mask", "sparse too wide": "ones"}


def shifted(u, k):
    """u_{i + k}, with zeros from outside."""
    pad = np.zeros(abs(k))
    return anp.concatenate([u[k:], pad]) if k > 0 else anp.concatenate([pad, u[:k]]) if k else u


def chain(u, theta):
    """A nonlinear system with c_u in a band of 2 below and 1 above, not symmetric."""
    a, b = theta
    return 3 * u + 0.3 * anp.tanh(a * shifted(u, 1)) - shifted(u, -2) * a * 0.5 + u**3 - b


def chain_case(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.zeros(n), (rng.normal(size=n), rng.normal(size=n))


def mask_of(name, n):
    band = np.tri(n, k=1) - np.tri(n, k=-3)
    return {"mask": coo_array(band), "ones": csr_array(np.ones((n, n)))}.get(PATTERNS[name], PATTERNS[name])


def differences(fun, x, h=1e-3):
    """Five-point differences: O(h^4) = 1e-12 and rounding / h = 1e-13 on values of order 1."""
    steps = ((-2, 1), (-1, -8), (1, 8), (2, -1))
    return np.array([sum(w * fun(x + k * h * e) for k, w in steps) for e in np.eye(len(x))]) / (12 * h)


# -- right answers -----------------------------------------------------------------------------


def test_three_derivatives_of_a_square_root():
    square_root = lambda theta: adjode.root(lambda u, theta: u**2 - theta, 1.0, theta)
    assert np.shape(square_root(2.0)) == ()
    for n, wanted in enumerate([2**0.5, 0.5 * 2**-0.5, -0.25 * 2**-1.5, 0.375 * 2**-2.5]):
        assert square_root(2.0) == pytest.approx(wanted, rel=ROUNDING), n
        square_root = grad(square_root)


def test_a_circle_and_a_line(zoo):
    def c(u, theta):
        r, a = theta["radius"], theta["slope"]
        return anp.array([u[0] ** 2 + u[1] ** 2 - r**2, u[1] - a * u[0]])

    def closed(theta):
        x = theta["radius"] / np.sqrt(1 + theta["slope"] ** 2)
        return x + 0.3 * theta["slope"] * x

    theta = {"radius": 1.7, "slope": -0.4}
    loss = lambda theta: anp.dot(adjode.root(c, [1.0, 0.0], theta), np.array([1.0, 0.3]))
    assert loss(theta) == pytest.approx(closed(theta), rel=ROUNDING)
    found = grad(loss)(theta)
    assert set(found) == set(theta)
    assert zoo.relative_error(found, zoo.exact_gradient(closed, theta)[0]) < ROUNDING


def test_linear_systems_as_autograd_solves_them():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 4)), rng.normal(size=4)
    split = lambda x: (anp.reshape(x[:16], (4, 4)), x[16:])
    ours = lambda x: adjode.root(lambda u, th: anp.dot(th[0], u) - th[1], np.zeros(4), split(x))
    theirs = lambda x: anp.linalg.solve(*split(x))
    loss = lambda u: anp.sum(anp.sin(u)) + u[0] * u[3]
    x = np.append(a, b)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=ROUNDING)
    np.testing.assert_allclose(jacobian(ours)(x), jacobian(theirs)(x), rtol=1e-11, atol=ROUNDING)
    second = [hessian(lambda x, u=u: loss(u(x)))(x) for u in (ours, theirs)]
    np.testing.assert_allclose(*second, rtol=1e-11, atol=1e-11)  # entries up to 10
    np.testing.assert_allclose(second[0], second[0].T, atol=1e-11)


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_gives_the_derivatives_of_differences(name):
    u0, theta = chain_case(6)
    vector, unflatten = adjode.flatten(theta)
    pattern, weights = mask_of(name, 6), np.linspace(-1, 2, 6)
    u = lambda x: adjode.root(chain, u0, unflatten(x), pattern=pattern)
    loss = lambda x: anp.sum(weights * u(x) ** 2)
    assert np.max(np.abs(chain(u(vector), theta))) < 1e-15
    np.testing.assert_allclose(grad(loss)(vector), differences(loss, vector), atol=1e-11)
    np.testing.assert_allclose(jacobian(u)(vector).T, differences(u, vector), atol=1e-11)
    np.testing.assert_allclose(hessian(loss)(vector), differences(grad(loss), vector), atol=1e-10)


@pytest.mark.parametrize("name", [n for n in PATTERNS if n != "dense"])
def test_the_pattern_does_not_change_the_gradient(name):
    u0, theta = chain_case(40, seed=3)
    loss = lambda theta, pattern: anp.sum(adjode.root(chain, u0, theta, pattern=pattern) ** 2)
    wanted, found = value_and_grad(loss)(theta, None), value_and_grad(loss)(theta, mask_of(name, 40))
    assert found[0] == pytest.approx(wanted[0], rel=1e-14)
    np.testing.assert_allclose(found[1][0], wanted[1][0], atol=1e-14)
    np.testing.assert_allclose(found[1][1], wanted[1][1], atol=1e-14)


def test_an_unknown_of_two_dimensions():
    """-div grad u + u^3 = b on a grid; by the symmetry of c_u, du_i/db_j = du_j/db_i."""

    def c(u, b):
        p = anp.pad(u, 1, mode="constant")
        return 4 * u - p[2:, 1:-1] - p[:-2, 1:-1] - p[1:-1, 2:] - p[1:-1, :-2] + u**3 - b

    rng = np.random.default_rng(0)
    b = rng.normal(size=(3, 4))
    near = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    five_points = (near <= 1) | (near == 4)
    found = [jacobian(lambda b, p=p: adjode.root(c, np.zeros((3, 4)), b, pattern=p))(b)
             for p in (None, (4, 4), five_points)]  # fmt: skip
    assert found[0].shape == (3, 4, 3, 4)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-14)
    matrix = found[0].reshape(12, 12)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)
    corner = lambda x: adjode.root(c, np.zeros((3, 4)), x.reshape(3, 4))[0, 0]
    np.testing.assert_allclose(matrix[0], differences(corner, b.ravel()), atol=1e-11)


def test_the_rows_of_a_matrix_of_unknowns():
    theta, weights = np.array([[1.0, 2.0], [4.0, 3.0], [9.0, 5.0]]), np.arange(6.0).reshape(2, 3)
    u = lambda theta: adjode.root(lambda u, theta: u**2 - theta.T, np.ones((2, 3)), theta, pattern=(0, 0))
    np.testing.assert_allclose(u(theta), np.sqrt(theta.T), rtol=ROUNDING)
    found = grad(lambda theta: anp.sum(weights * u(theta)))(theta)
    np.testing.assert_allclose(found, (weights / (2 * np.sqrt(theta.T))).T, rtol=ROUNDING)


def test_kepler():
    """u - e sin u = m: du/dm = 1 / (1 - e cos u), du/de = sin u / (1 - e cos u)."""
    c = lambda u, theta: u - theta[0] * anp.sin(u) - theta[1]
    e, m = np.array([0.1, 0.9, 0.5]), np.array([0.3, 2.0, -1.0])
    loss = lambda e, m: anp.sum(adjode.root(c, m, (e, m), pattern=(0, 0)))
    u, below = adjode.root(c, m, (e, m)), None
    below = 1 - e * np.cos(u)
    e_bar, m_bar = grad(loss, (0, 1))(e, m)
    np.testing.assert_allclose(e_bar, np.sin(u) / below, rtol=ROUNDING)
    np.testing.assert_allclose(m_bar, 1 / below, rtol=ROUNDING)


# -- what it costs -------------------------------------------------------------------------------


def test_the_way_back_is_one_trace_of_c_and_no_new_factor(monkeypatch):
    from adjode import linear

    u0, theta = chain_case(30)
    calls, factors, banded = [], [], linear.banded
    monkeypatch.setattr(linear, "banded", lambda *args: factors.append(1) or banded(*args))
    counted = lambda u, theta: calls.append(isbox(u)) or chain(u, theta)
    value_bar = []

    def loss(theta):
        u = adjode.root(counted, u0, theta, pattern=(2, 1))
        value_bar.append((len(calls), len(factors)))
        return anp.sum(u)

    grad(loss)(theta)
    assert (len(calls), len(factors)) == (value_bar[0][0] + 1, value_bar[0][1])
    assert calls[-1] is False  # c is traced in theta only


def test_a_gradient_in_the_start_is_zero():
    loss = lambda u0: adjode.root(lambda u, theta: u**2 - theta, u0, 2.0)
    with pytest.warns(UserWarning, match="independent"):
        assert grad(loss)(1.0) == 0


def test_a_loss_that_ignores_u_has_a_zero_gradient():
    u0, theta = chain_case(5)
    loss = lambda theta: anp.sum(0.0 * adjode.root(chain, u0, theta)) + theta[0][0]
    found = grad(loss)(theta)
    np.testing.assert_array_equal(found[0], np.eye(5)[0])
    np.testing.assert_array_equal(found[1], np.zeros(5))


def test_no_parameters_and_unused_ones():
    u = adjode.root(lambda u, theta: anp.cos(u) - u, 1.0, ())
    assert u == pytest.approx(0.7390851332151607, rel=1e-15)
    loss = lambda theta: adjode.root(lambda u, theta: anp.cos(theta[0] * u) - u, 1.0, theta)
    found = grad(loss)((1.0, 2.0, [3.0]))
    assert found[0] == pytest.approx(-u * np.sin(u) / (1 + np.sin(u)), rel=1e-14)
    assert found[1:] == (0.0, [0.0])


# -- Newton's method -----------------------------------------------------------------------------


def test_steps_are_damped_where_full_ones_diverge():
    assert adjode.root(lambda u, theta: anp.arctan(u) - theta, 10.0, 0.3) == pytest.approx(np.tan(0.3))
    steep = adjode.root(lambda u, theta: anp.exp(u) - theta, -5.0, 2.0)
    assert steep == pytest.approx(np.log(2.0), rel=1e-14)


def test_a_start_from_which_full_steps_go_round_in_circles_costs_few_steps():
    edge = 1.39174520027  # arctan(edge) (1 + edge^2) = 2 edge: the full step leads to -edge, and back
    calls = []
    c = lambda u, theta: calls.append(1) or anp.arctan(u) - theta
    assert adjode.root(c, edge, 0.0) == pytest.approx(0.0, abs=1e-12)
    assert len(calls) < 20


def test_what_rounding_leaves_is_enough_where_the_tolerance_is_beyond_it():
    """u'' = theta on 2000 points: a condition of 2e6, so the last steps stay near 1e-11."""
    c = lambda u, theta: 2 * u - shifted(u, 1) - shifted(u, -1) - theta
    n = 2000
    u = adjode.root(c, np.zeros(n), 1e-6, pattern=(1, 1), rtol=1e-16, atol=1e-300)
    i = np.arange(1, n + 1)
    np.testing.assert_allclose(u, 0.5e-6 * i * (n + 1 - i), rtol=1e-9)


def test_the_gradient_belongs_to_the_root_and_not_to_the_last_step_before_it():
    """With a loose tolerance u is still right to its square, and so is the gradient."""
    loss = lambda theta: adjode.root(lambda u, theta: u**3 + u - theta, 1.0, theta, rtol=1e-3)
    u = adjode.root(lambda u, theta: u**3 + u - theta, 1.0, 5.0)
    assert grad(loss)(5.0) == pytest.approx(1 / (3 * u**2 + 1), rel=1e-6)


def test_a_slow_step_far_from_the_root_does_not_matter():
    """From 2 over the kink to 0.9, and from there to the root at once."""
    kink = lambda u, theta: u + 10 * anp.maximum(0, u - 1) - theta
    assert adjode.root(kink, 2.0, 1e-8) == pytest.approx(1e-8, rel=1e-14)


def test_one_step_is_enough_where_the_tolerance_is_as_loose_as_that():
    assert adjode.root(lambda u, theta: u - theta, 1.0, 2.0, rtol=0.6) == 2.0


def test_a_step_out_of_the_domain_is_shortened():
    c = lambda u, theta: anp.log(u) - theta
    assert adjode.root(c, 20.0, 0.1) == pytest.approx(np.exp(0.1), rel=1e-14)


def test_a_start_where_c_u_is_nearly_singular_may_still_lead_to_a_root():
    c = lambda u, theta: anp.array([u[0] + u[1] - 3, u[0] + u[1] + u[0] ** 2 - theta])
    u = adjode.root(c, [1e-15, 0.0], 4.0)
    np.testing.assert_allclose([u[0] ** 2, u[0] + u[1]], [1, 3], rtol=1e-14)


def test_scaling_the_equations_changes_nothing():
    u0, theta = chain_case(12, seed=5)
    scale = 10.0 ** np.linspace(-25, 25, 12)
    plain = lambda theta: anp.sum(adjode.root(chain, u0, theta) ** 2)
    scaled = lambda theta: anp.sum(adjode.root(lambda u, th: scale * chain(u, th), u0, theta) ** 2)
    for found, wanted in zip(grad(scaled)(theta), grad(plain)(theta), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-13)


def test_unknowns_of_very_different_sizes_are_each_right():
    def c(u, theta):
        return anp.array([(1e-10 * u[0]) ** 3 - theta[0], anp.exp(1e5 * u[1]) - 1e-10 * theta[1] * u[0]])

    theta, big = np.array([0.6, 1.9]), 1e10 * 0.6 ** (1 / 3)
    small = lambda theta: adjode.root(c, [big, 0.0], theta)[1]  # the large one is there at once
    assert adjode.root(c, [1e10, 0.0], theta)[0] == pytest.approx(big, rel=ROUNDING)
    assert small(theta) == pytest.approx(1e-5 * np.log(1.9 * 0.6 ** (1 / 3)), rel=1e-10)
    np.testing.assert_allclose(grad(small)(theta), [1e-5 / 1.8, 1e-5 / 1.9], rtol=1e-10)


def test_rounding_in_a_large_unknown_does_not_stop_a_small_one():
    n, start = 300, np.append(np.zeros(300), -1e-4)

    def c(u, theta):
        large = 2 * u[:n] - shifted(u[:n], 1) - shifted(u[:n], -1) - 1e5
        return anp.append(large, anp.exp(1e5 * u[n]) - theta)

    assert adjode.root(c, start, 1.9)[n] == pytest.approx(1e-5 * np.log(1.9), rel=1e-9)


def test_a_benign_ill_conditioned_system_is_solved_and_a_hopeless_one_refused():
    """The Hilbert matrix: condition 5e5 for n = 5, 2e16 for n = 12."""
    c = lambda u, theta: anp.dot(theta, u) - np.ones(len(theta))
    loss = lambda theta: adjode.root(c, np.zeros(len(theta)), theta)[0]
    found = grad(loss)(hilbert(5))
    wanted = grad(lambda theta: anp.linalg.solve(theta, np.ones(5))[0])(hilbert(5))
    np.testing.assert_allclose(found, wanted, rtol=1e-8)  # 5e5 * 1e-16, with room
    with pytest.raises(RuntimeError, match="singular"):
        grad(loss)(hilbert(12))


def test_the_estimate_of_what_rounding_leaves_is_above_the_error_and_not_far():
    for n in (4, 6, 8, 10):
        matrix, x = hilbert(n), np.ones(n)
        factor = Factor(as_pattern(None, n), matrix.ravel())
        b = matrix @ x
        for transposed in (False, True):
            found = factor.solve(b, transposed)
            lost = factor.rounding(found, factor.times(found, transposed) - b, transposed)
            error = np.max(np.abs(found - x))
            assert error <= lost <= 1e4 * max(error, 1e-16 * n), n


# -- patterns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [(1, 1), (2, 0), (0, 1), (0, 0), np.eye(8), np.tri(8)])
def test_a_pattern_that_is_too_narrow_is_refused(pattern):
    u0, theta = chain_case(8)
    with pytest.raises(ValueError, match=r"entries outside of `pattern`: column \d"):
        adjode.root(chain, u0 + 0.1, theta, pattern=pattern)


def test_even_a_small_entry_outside_of_the_pattern_is_seen():
    c = lambda u, theta: 2 * u + 1e-7 * u[::-1] - theta
    with pytest.raises(ValueError, match="entries outside"):
        adjode.root(c, np.zeros(5), np.ones(5), pattern=(1, 1))


@FEW
@given(st.integers(1, 9), st.integers(0, 10**6), st.floats(0.05, 0.9))
def test_groups_of_rows_hold_every_entry_once(n, seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(n, n)) < share
    full = np.where(mask, rng.normal(size=(n, n)), 0.0)
    for pattern in (as_pattern(mask, n), as_pattern(None, n)):
        entries = (pattern.seeds @ full)[pattern.group[pattern.rows], pattern.cols]
        again = np.zeros((n, n))
        again[pattern.rows, pattern.cols] = entries
        np.testing.assert_array_equal(again, full)


def test_a_band_takes_one_pullback_a_diagonal_and_an_arrow_few():
    assert as_pattern((1, 1), 50).seeds.shape == (3, 50)
    assert as_pattern((3, 0), 50).seeds.shape == (4, 50)
    assert as_pattern(np.tri(50, k=1) - np.tri(50, k=-3), 50).seeds.shape == (4, 50)
    lower_arrow = np.eye(50)
    lower_arrow[-1] = 1  # one full row: it stands alone
    assert as_pattern(lower_arrow, 50).seeds.shape == (2, 50)


# -- properties --------------------------------------------------------------------------------


@FEW
@given(st.integers(3, 9), st.integers(0, 10**6))
def test_the_pullback_is_the_transpose_of_the_tangent(n, seed):
    u0, theta = chain_case(n, seed)
    vector, unflatten = adjode.flatten(theta)
    rng = np.random.default_rng(seed)
    w, lam = rng.normal(size=len(vector)), rng.normal(size=n)
    u = lambda x: adjode.root(chain, u0, unflatten(x), pattern=(2, 1))
    tangent = differences(lambda e: u(vector + e[0] * w), np.zeros(1))[0]
    row = grad(lambda x: anp.dot(lam, u(x)))(vector)
    assert row @ w == pytest.approx(lam @ tangent, rel=1e-9, abs=1e-9)


@FEW
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_equivalent_equations_have_one_gradient(n, seed):
    """m c = 0 has the roots of c = 0, for any regular matrix m that may depend on theta."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, size=(n, n)) + (n + 1) * np.eye(n), rng.normal(size=n)
    c = lambda u, th: anp.dot(a, u) + anp.sin(th * u) - b  # one root: a is dominated by its diagonal
    m = lambda th: anp.diag(anp.exp(th)) + 0.1 * anp.outer(th, th)
    mixed = lambda u, th: anp.dot(m(th), c(u, th))
    theta, weights = rng.uniform(-1, 1, size=n), rng.normal(size=n)
    one, other = [grad(lambda th, c=c: anp.dot(weights, adjode.root(c, np.zeros(n), th)))(theta)
                  for c in (c, mixed)]  # fmt: skip
    np.testing.assert_allclose(other, one, atol=ROUNDING)


# -- wrong inputs ------------------------------------------------------------------------------

LINE = lambda u, theta: theta * u - 1.0
NEARLY = np.array([[0.1, 0.3], [0.2, 0.6 + 1e-16]])  # singular but for rounding


def root(c=LINE, u0=(0.0, 0.0), theta=2.0, **options):
    return adjode.root(c, u0, theta, **options)


def by_grad(c, theta=1.0, u0=1.0, **options):
    return grad(lambda theta: anp.sum(adjode.root(c, u0, theta, **options)))(theta)


def written(u, theta):
    u -= theta
    return 2 * u


def entry_written(u, theta):
    u[0] = theta
    return u


BAD = {
    "c": (lambda: root(c=3), TypeError, r"`c` must be callable as c\(u, theta\); got int"),
    "u0 text": (lambda: root(u0="one"), TypeError, "`u0` must be real numbers"),
    "u0 nan": (lambda: root(u0=[0.0, np.nan]), ValueError, r"`u0` must be finite; entry \(1,\)"),
    "u0 traced": (lambda: grad(lambda u0: anp.sum(root(u0=u0)))(np.array([0.0, np.nan])), ValueError,
                  r"`u0` must be finite; entry \(1,\)"),
    "u0 empty": (lambda: root(u0=[]), ValueError, r"`u0` must have at least one entry; got shape \(0,\)"),
    "theta none": (lambda: root(theta=None), TypeError, "`theta` must be real numbers"),
    "theta inf": (lambda: root(theta=[np.inf]), ValueError, "`theta` must be finite"),
    "rtol": (lambda: root(rtol=0.0), ValueError, "`rtol` must be a positive number"),
    "atol": (lambda: root(atol=-1.0), ValueError, "`atol` must be a positive number"),
    "pattern text": (lambda: root(pattern="tridiagonal"), ValueError, r"mask of shape \(2, 2\); got 'tri"),
    "pattern shape": (lambda: root(pattern=np.ones((3, 3))), ValueError, r"\(2, 2\); got \(3, 3\)"),
    "pattern row": (lambda: root(pattern=np.ones(2)), ValueError, "`pattern` must be None"),
    "pattern wide": (lambda: root(pattern=(2, 1)), ValueError, r"bandwidths from 0 to 1; got \(2, 1\)"),
    "pattern minus": (lambda: root(pattern=(-1, 0)), ValueError, r"bandwidths from 0 to 1; got \(-1, 0\)"),
    "pattern float": (lambda: root(pattern=(1.0, 0)), ValueError, "bandwidths from 0 to 1"),
    "shape": (lambda: root(lambda u, th: u[:1]), ValueError,
              r"c\(u, theta\) must have shape \(2,\); got \(1,\)"),
    "scalar": (lambda: root(lambda u, th: anp.sum(u)), ValueError, r"must have shape \(2,\); got \(\)"),
    "list": (lambda: root(lambda u, th: [u[0], u[1]]), TypeError, "c.u, theta. must be an array; got list"),
    "none": (lambda: root(lambda u, th: None), TypeError, "must be an array; got NoneType"),
    "complex": (lambda: root(lambda u, th: u * 1j), TypeError, "must be real; got complex128"),
    "numpy": (lambda: root(lambda u, th: np.array([u[0], th * u[1]])), TypeError, "use autograd.numpy"),
    "nan": (lambda: root(lambda u, th: anp.log(u - 1)), adjode.RootError,
            r"^c\(u, theta\) is not finite at u = \[0\. 0\.\]$"),
    "captured": (lambda: grad(lambda a: anp.sum(root(lambda u, th: a * u - 1)))(2.0), TypeError,
                 "its arguments are plain numbers: it captures one. Pass what you differentiate in `theta`"),
    "captured too": (lambda: grad(lambda a: anp.sum(root(lambda u, th: a * th * u - 1, theta=a)))(2.0),
                     TypeError, "it captures one"),
    "in place": (lambda: root(written), ValueError, "read-only"),
    "in place, an entry": (lambda: root(entry_written), TypeError, "no in-place writes"),
    "singular": (lambda: root(lambda u, th: anp.dot(np.ones((2, 2)), u) - 1), adjode.RootError,
                 r"c_u is singular at u = \[0. 0.\] \(Newton step 0\): start"),
    "singular band": (lambda: root(lambda u, th: u * np.array([1.0, 0.0]) - 1, pattern=(0, 0)),
                      adjode.RootError, "c_u is singular"),
    "singular sparse": (lambda: root(lambda u, th: u * np.array([1.0, 0.0]) - 1, pattern=np.eye(2)),
                        adjode.RootError, "c_u is singular"),
    "empty row": (lambda: root(lambda u, th: u * np.array([1.0, 0.0]) - 1, pattern=np.diag([1.0, 0.0])),
                  adjode.RootError, "c_u is singular"),
    "ignores u": (lambda: root(lambda u, th: th * np.ones(2)), adjode.RootError, "c_u is singular"),
    "nearly": (lambda: root(lambda u, th: anp.dot(NEARLY, u) - np.array([1.0, 2.5])),
               adjode.RootError,
               r"spoil a part of \de\+00, more than 1e-04, of the root u = \[-\d\..*e\+\d\d\]: c_u is"),
    "nearly, at zero": (lambda: by_grad(lambda u, th: anp.dot(NEARLY, u) * th, u0=[0.0, 0.0]),
                        adjode.GradientError,
                        r"spoil the adjoint solve by a part of \de\+00, more than 1e-04: c_u is singular"),
    "start": (lambda: root(lambda u, th: u**2 - th), adjode.RootError, "start elsewhere"),
    "double root": (lambda: root(lambda u, th: (u - 1) ** 2, u0=3.0), adjode.RootError, "slowly to the last"),
    "double root at zero": (lambda: root(lambda u, th: u**2, u0=3.0), adjode.RootError, "slowly to the last"),
    "double root by rounding": (lambda: root(lambda u, th: u**2 - 2 * u + 1, u0=3.0), adjode.RootError,
                                "slowly to the last"),
    "stuck": (lambda: root(lambda u, th: anp.where(u >= 0, u + 1, 50.0), u0=0.0), adjode.RootError,
              r"^Newton's method is stuck: stopped at u = \[0\.\], where \|c\| = 1\.0e\+00\. Try a u0"),
    "no root": (lambda: root(lambda u, th: u**2 + th, u0=3.0), adjode.RootError,
                r"(stuck|no root after 50 Newton steps): stopped at .*, where \|c\| = .*Try a u0 nearer"),
    "at infinity": (lambda: root(lambda u, th: anp.exp(-u), u0=0.0), adjode.RootError,
                    "no root after 50 Newton steps|singular|stuck"),
    "kink": (lambda: by_grad(lambda u, th: u - anp.sqrt(th), theta=0.0), adjode.GradientError,
             "the gradient is not finite: c has no derivative in theta"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_the_message_says_what_is_wrong_with_a_system(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message) as caught:
        call()
    notes = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert len(notes) < 400


def test_second_derivatives_of_a_captured_value_are_refused_too():
    inner = lambda a: grad(lambda b: anp.sum(root(lambda u, th: a * th * u - 1, theta=b)))(2.0)
    with pytest.raises(TypeError, match="it captures one"):
        grad(inner)(3.0)


def test_errors_of_the_equations_pass_through_untouched():
    class Mine(Exception):
        pass

    def c(u, theta):
        if isbox(theta):
            raise Mine("in the backward pass")
        return theta * u - 1

    with pytest.raises(Mine, match=r"^in the backward pass$"):
        by_grad(c)


# -- parts of the solver -----------------------------------------------------------------------


def banded_matrix(n=7, lower=2, upper=1):
    rng = np.random.default_rng(4)
    i, j = np.indices((n, n))
    return np.where((i - j <= lower) & (j - i <= upper), rng.normal(size=(n, n)) + 4.0 * (i == j), 0.0)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_factor_solves_and_multiplies_from_both_sides(name):
    matrix, x = banded_matrix(), np.linspace(-1, 2, 7)
    pattern = as_pattern(mask_of(name, 7), 7)
    factor = Factor(pattern, matrix[pattern.rows, pattern.cols])
    for transposed, a in ((False, matrix), (True, matrix.T)):
        np.testing.assert_allclose(factor.solve(x, transposed), np.linalg.solve(a, x), rtol=1e-12)
        np.testing.assert_allclose(factor.times(x, transposed), a @ x, rtol=1e-13)
        np.testing.assert_allclose(factor.times(x, transposed, size=True), np.abs(a) @ np.abs(x), rtol=1e-13)
        entries = {"dense": 7, "sparse too wide": 7}.get(name, 4)  # in the longest row
        spread = (1 + entries) * 1.1e-16 * np.abs(a) @ np.abs(x)
        np.testing.assert_allclose(factor.spread(x, transposed), spread, rtol=1e-12)


@pytest.mark.parametrize("name", ["dense", "banded", "sparse too wide"])
def test_what_rounding_leaves_in_a_diagonal_system_is_known(name):
    sizes, x, residual = (
        np.array([1.0, -1e-3, 10.0]),
        np.array([1.0, 2.0, -3.0]),
        np.array([0.0, -1e-18, 0.0]),
    )
    pattern = as_pattern((0, 0) if name == "banded" else mask_of(name, 3), 3)
    factor = Factor(pattern, np.diag(sizes)[pattern.rows, pattern.cols])
    spread = (1 + (1 if name == "banded" else 3)) * 1.1e-16 * np.abs(sizes * x)
    for transposed in (False, True):
        lost = np.max((np.abs(residual) + spread) / np.abs(sizes))
        assert factor.rounding(x, residual, transposed) == pytest.approx(lost, rel=1e-9, abs=0)
    assert factor.rounding(x, 0.0, False) == pytest.approx(np.max(spread / np.abs(sizes)), rel=1e-9, abs=0)
    np.testing.assert_allclose(factor.noise(x), 10 * spread / np.abs(sizes), rtol=1e-9)


def test_noise_is_the_largest_of_three_draws_and_the_same_each_time():
    pattern = as_pattern(None, 7)
    factor, x = Factor(pattern, banded_matrix().ravel()), np.ones(7)
    noise = factor.noise(x)
    bound = 10 * np.abs(np.linalg.inv(banded_matrix())) @ factor.spread(x, False)
    assert np.all(noise <= bound * (1 + 1e-12)) and np.all(noise > 0.05 * bound)
    np.testing.assert_array_equal(factor.noise(x), noise)


@pytest.mark.parametrize("name", PATTERNS)
def test_what_rounding_leaves_is_that_of_all_equations_from_both_sides(name):
    pattern, x, residual = (
        as_pattern(mask_of(name, 7), 7),
        np.linspace(-1, 2, 7),
        np.linspace(3, -2, 7) * 1e-16,
    )
    factor = Factor(pattern, banded_matrix()[pattern.rows, pattern.cols])
    for transposed, a in ((False, banded_matrix()), (True, banded_matrix().T)):
        lost = np.max(np.abs(np.linalg.inv(a)) @ (np.abs(residual) + factor.spread(x, transposed)))
        assert factor.rounding(x, residual, transposed) == pytest.approx(lost, rel=1e-12, abs=0)


def test_rounding_of_sums_grows_with_the_longest_row_on_the_side_that_is_solved():
    """An arrow: its last row has four entries, each column has two at most."""
    arrow = np.eye(4)
    arrow[-1] = 1
    pattern = as_pattern(arrow, 4)
    factor = Factor(pattern, np.ones(len(pattern.rows)))
    np.testing.assert_allclose(factor.spread(np.ones(4), False), 5 * 1.1e-16 * arrow.sum(1), rtol=1e-12)
    np.testing.assert_allclose(factor.spread(np.ones(4), True), 3 * 1.1e-16 * arrow.sum(0), rtol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_solution_has_mixed_derivatives_in_the_matrix_and_the_right_side(transposed):
    matrix, b, weights = banded_matrix(), np.linspace(1, 2, 7), np.linspace(-1, 1, 7)
    factor = Factor(as_pattern(None, 7), matrix.ravel())
    turned = lambda values: anp.reshape(values, (7, 7)).T if transposed else anp.reshape(values, (7, 7))
    ours = lambda values, b: anp.dot(weights, solution(values, b, factor, transposed))
    theirs = lambda values, b: anp.dot(weights, anp.linalg.solve(turned(values), b))
    for first, second in ((0, 1), (1, 0)):
        found, wanted = [jacobian(grad(f, first), second)(matrix.ravel(), b) for f in (ours, theirs)]
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)


def test_noise_does_not_cancel():
    """x_0 = b_0 - b_1, and both are as uncertain: of one sign in both nothing would be left."""
    factor = Factor(as_pattern(None, 2), np.array([1.0, 1.0, 0.0, 1.0]))
    np.testing.assert_allclose(factor.noise(np.array([0.0, 1.0])), 3.3e-15 * np.array([2, 1]), rtol=1e-12)


def test_an_adjoint_that_overflows_is_refused_without_a_warning():
    factor = Factor(as_pattern(None, 2), np.array([1e300, 1e300, 0.0, 1.0]))
    with pytest.raises(adjode.GradientError, match="or not finite"):
        solution(factor.values, np.array([1e10, 1e200]), factor, False)


@pytest.mark.parametrize("size", [1e-22, 1e5])
def test_what_rounding_spoils_is_measured_by_the_solution(size):
    factor = Factor(as_pattern(None, 2), NEARLY.ravel())
    with pytest.raises(adjode.GradientError, match=r"by a part of \de\+00, more"):
        solution(factor.values, size * np.ones(2), factor, False)


@pytest.mark.parametrize("lower, upper", [(0, 0), (1, 0), (0, 2), (2, 1), (6, 6)])
def test_a_band_has_its_entries_and_groups(lower, upper):
    pattern, (i, j) = as_pattern((lower, upper), 7), np.indices((7, 7))
    inside = (i - j <= lower) & (j - i <= upper)
    found = np.zeros((7, 7), int)
    np.add.at(found, (pattern.rows, pattern.cols), 1)
    np.testing.assert_array_equal(found, inside)
    assert len(pattern.seeds) == min(lower + upper + 1, 7)
    assert as_pattern((np.int64(lower), np.int64(upper)), 7).n == 7


def test_a_mask_may_have_its_entries_in_any_order():
    rows, cols = np.array([2, 0, 1, 2, 0]), np.array([2, 1, 1, 0, 0])
    pattern = as_pattern(coo_array((np.ones(5), (rows, cols)), shape=(3, 3)), 3)
    np.testing.assert_array_equal(pattern.group[[0, 1]], [0, 1])  # the rows 0 and 1 share a column
    assert pattern.group[2] == 1  # and 2 has none of 1's
    matrix = np.array([[1.0, 2, 0], [0, 3, 0], [4, 0, 5]])
    solve = pattern.decompose(matrix[pattern.rows, pattern.cols])
    np.testing.assert_allclose(solve(np.ones(3), True), np.linalg.solve(matrix.T, np.ones(3)), rtol=1e-14)


def system(c, n, pattern=None, theta=1.0):
    return System(c, np.zeros(n), lambda theta: theta, as_pattern(pattern, n), 1e-10, 1e-12)


def test_a_step_is_halved_until_the_next_one_is_shorter():
    u, step, noise = np.array([1.0, 2.0]), np.array([4.0, -8.0]), np.zeros(2)
    for shortest in (1.0, 0.5, 0.125):
        tried = []

        def again(there, shortest=shortest, tried=tried):
            s = (there[0] - 1.0) / 4.0
            tried.append(s)
            # at the limit of (1 - s / 4) |step| where it is enough, just above it where not
            return (1 - s / 4) * (1.0 if s == shortest else 1.001) * step

        found = damped(u, step, again, noise, None, None)
        np.testing.assert_allclose(found, u + shortest * step)
        assert tried == [2.0**-i for i in range(len(tried))] and tried[-1] == shortest
    quiet = np.array([4.0, 12.0])  # the next step may be as long as its noise
    np.testing.assert_array_equal(
        damped(u, step, lambda there: np.array([0.0, 12.0]), quiet, None, None), u + step
    )


def test_what_is_noise_does_not_count():
    np.testing.assert_array_equal(beyond(np.array([1.0, 1.0, 0.0]), np.array([-3.0, 0.5, 2.0])), [2, 0, 2])
    assert largest(np.array([1.0, -3.0])) == 3.0 and isinstance(largest(np.ones(2)), float)
    assert short(np.arange(10.0).reshape(2, 5)) == "[0. 1. ... 8. 9.]"
    assert short(np.arange(7.0)) == "[0. 1. ... 5. 6.]"
    assert short(np.array([1 / 3, 2.0])) == "[0.3333 2.    ]"


def test_where_newton_stopped_is_said_and_whether_c_u_is_nearly_singular_there():
    parts, value = system(None, 2), np.array([-3.0, 2.0])
    parts.factor = Factor(parts.pattern, np.array([1.0, 1e13, 0.0, 1.0]))
    for u, singular in (([1.0, 0.0], ""), ([0.0, 1e9], "; c_u is nearly singular there")):
        u = np.array(u)
        words = f"here: stopped at u = {short(u)}, where |c| = 3.0e+00{singular}. Try a u0"
        assert str(stopped("here", parts, u, value)).startswith(words)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_entries_of_c_u_come_from_few_rows(name):
    rng = np.random.default_rng(2)
    u, theta = rng.normal(size=6), (rng.normal(size=6), rng.normal(size=6))
    parts = System(chain, np.zeros(6), lambda theta: theta, as_pattern(mask_of(name, 6), 6), 1e-10, 1e-12)
    value, values = jacobian_entries(parts, u, theta)
    np.testing.assert_allclose(value, chain(u, theta), rtol=1e-14)
    exact = jacobian(lambda u: chain(u, theta))(u)
    np.testing.assert_allclose(values, exact[parts.pattern.rows, parts.pattern.cols], rtol=1e-13)


@pytest.mark.parametrize("off, wrong", [(0.0, False), (3e-11, False), (1e-8, True)])
def test_entries_that_do_not_give_a_random_row_are_refused(off, wrong):
    parts, matrix = system(None, 7, (2, 1)), banded_matrix()
    outside = matrix.copy()
    outside[0, 5] = off
    row = lambda v: v @ outside
    values = matrix[parts.pattern.rows, parts.pattern.cols]
    if wrong:
        with pytest.raises(ValueError, match="entries outside of `pattern`: column 5 of a random"):
            check_entries(parts, values, row)
    else:
        np.testing.assert_array_equal(check_entries(parts, values, row), values)
    full = system(None, 7)
    np.testing.assert_array_equal(check_entries(full, matrix.ravel(), None), matrix.ravel())  # none outside
    with pytest.raises(adjode.RootError, match="c_u is not finite"):
        check_entries(parts, values * np.nan, row)


def test_an_entry_outside_of_the_pattern_is_seen_in_whichever_row_and_column_it_stands():
    """Also where the pattern has nothing in the last column."""
    n, diagonal = 40, np.eye(40)[:, :39]
    parts = system(None, n, np.pad(diagonal, ((0, 0), (0, 1))))
    values, wrong = np.ones(len(parts.pattern.rows)), np.pad(diagonal, ((0, 0), (0, 1)))
    np.testing.assert_array_equal(check_entries(parts, values, lambda v: v @ wrong), values)
    for i in range(n):
        outside = wrong.copy()
        outside[i, 39 - (i == 39)] = 1e-6
        with pytest.raises(ValueError, match=f"column {39 - (i == 39)} of a random"):
            check_entries(parts, values, lambda v, m=outside: v @ m)
