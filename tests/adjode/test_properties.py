"""Properties that hold for every problem of a family."""

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import adjode

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
SOLVED = 1e-8  # a hundred times the tolerance
ROUNDING = 1e-12
FEW = settings(max_examples=12, deadline=None, derandomize=True, database=None)

numbers = st.floats(-1.0, 1.0, allow_subnormal=False)
seeds = st.integers(0, 10**6)


def draw(seed):
    """A small net with time in it, a start, and a row."""
    rng = np.random.default_rng(seed)
    net, theta = adjode.mlp([2, 4, 2], seed=seed)
    f = lambda t, z, theta: net(t, z, theta) * anp.cos(t) + anp.array([z[1], 0.3 * z[0]])
    return f, theta, rng.normal(size=2), rng.normal(size=2), rng


def pulled(f, z0, ts, theta, lam, **options):
    """lam @ dz(t1)/dz0, and the row for theta."""
    end = lambda z0, theta: anp.dot(lam, adjode.odeint(f, z0, ts, theta, **TIGHT, **options)[-1])
    z_bar, theta_bar = grad(end, (0, 1))(z0, theta)
    return z_bar, adjode.flatten(theta_bar)[0]


@FEW
@given(seeds, numbers, numbers)
def test_the_adjoint_is_linear_in_the_terminal_row(seed, a, b):
    f, theta, z0, lam, rng = draw(seed)
    other = rng.normal(size=2)
    _, zs = None, lambda z0: adjode.odeint(f, z0, [0.0, 1.0], theta, **TIGHT)[-1]
    back = make_vjp(zs)(z0)[0]
    np.testing.assert_allclose(back(a * lam + b * other), a * back(lam) + b * back(other), atol=ROUNDING)


@FEW
@given(seeds)
def test_lambda_v_is_constant_along_a_tangent(seed):
    f, theta, z0, lam, rng = draw(seed)
    v = rng.normal(size=2)
    flow = lambda e: adjode.odeint(f, z0 + e * v, [0.0, 1.0], theta, **TIGHT)[-1]
    tangent = (8 * (flow(1e-3) - flow(-1e-3)) - (flow(2e-3) - flow(-2e-3))) / 12e-3  # O(1e-12)
    z_bar, _ = pulled(f, z0, np.array([0.0, 1.0]), theta, lam)
    np.testing.assert_allclose(z_bar @ v, lam @ tangent, rtol=1e-6, atol=1e-7)  # 1e-10 / 1e-3


@FEW
@given(seeds, st.floats(0.2, 0.8))
def test_adjoints_of_two_pieces_chain(seed, cut):
    f, theta, z0, lam, _ = draw(seed)
    middle = adjode.odeint(f, z0, [0.0, cut], theta, **TIGHT)[-1]
    late, theta_late = pulled(f, middle, np.array([cut, 1.0]), theta, lam)
    early, theta_early = pulled(f, z0, np.array([0.0, cut]), theta, late)
    whole, theta_whole = pulled(f, z0, np.array([0.0, 1.0]), theta, lam)
    np.testing.assert_allclose(early, whole, rtol=SOLVED, atol=SOLVED)
    np.testing.assert_allclose(theta_early + theta_late, theta_whole, rtol=SOLVED, atol=SOLVED)


@FEW
@given(seeds, numbers)
def test_a_shift_of_the_clock_changes_nothing(seed, shift):
    f, theta, z0, lam, _ = draw(seed)
    later = lambda t, z, theta: f(t - shift, z, theta)
    one, theta_one = pulled(f, z0, np.array([0.0, 1.0]), theta, lam)
    two, theta_two = pulled(later, z0, np.array([0.0, 1.0]) + shift, theta, lam)
    np.testing.assert_allclose(one, two, rtol=SOLVED, atol=SOLVED)
    np.testing.assert_allclose(theta_one, theta_two, rtol=SOLVED, atol=SOLVED)


@FEW
@given(seeds, st.sampled_from([0.25, 2.0, -1.0]))
def test_a_clock_that_runs_at_another_rate(seed, rate):
    f, theta, z0, lam, _ = draw(seed)
    scaled = lambda s, z, theta: rate * f(rate * s, z, theta)
    one, theta_one = pulled(f, z0, np.array([0.0, 1.0]), theta, lam)
    two, theta_two = pulled(scaled, z0, np.array([0.0, 1.0]) / rate, theta, lam)
    np.testing.assert_allclose(one, two, rtol=SOLVED, atol=SOLVED)
    np.testing.assert_allclose(theta_one, theta_two, rtol=SOLVED, atol=SOLVED)


@FEW
@given(seeds)
def test_there_and_back_again(seed):
    f, theta, z0, _, _ = draw(seed)
    there = adjode.odeint(f, z0, [0.0, 1.5], theta, **TIGHT)[-1]
    back = adjode.odeint(f, there, [1.5, 0.0], theta, **TIGHT)[-1]
    np.testing.assert_allclose(back, z0, atol=SOLVED)


@FEW
@given(seeds, st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4, unique=True))
def test_all_strategies_agree_with_observations_anywhere(seed, inner):
    f, theta, z0, _, rng = draw(seed)
    ts = np.array([0.0, *sorted(inner), 1.0])
    weights = rng.normal(size=(len(ts), 2))
    found = []
    for adjoint in ("discrete", "backsolve", "interpolated", "quadrature", "checkpointed"):
        loss = lambda z0, ts, theta, adjoint=adjoint: anp.sum(
            weights * anp.sin(adjode.odeint(f, z0, ts, theta, adjoint=adjoint, rtol=1e-8, atol=1e-10))
        )
        found.append(adjode.flatten(grad(loss, (0, 1, 2))(z0, ts, theta))[0])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-6, atol=1e-6)  # 100 times 1e-8


@FEW
@given(seeds)
def test_shift_of_start_and_end_is_the_integral_of_lambda_f_t(seed):
    """dL/dt0 + dL/dt1 = 0 when f does not depend on t."""
    _, theta, z0, lam, _ = draw(seed)
    net, _ = adjode.mlp([2, 4, 2], seed=seed)
    loss = lambda ts: anp.dot(lam, adjode.odeint(net, z0, ts, theta, **TIGHT)[-1])
    ts_bar = grad(loss)(np.array([0.3, 1.1]))
    np.testing.assert_allclose(ts_bar.sum(), 0.0, atol=SOLVED)
