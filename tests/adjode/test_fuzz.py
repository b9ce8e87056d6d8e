"""Odd inputs: each gives a right gradient or one clear error, and no warning."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adjode

STRATEGIES = ["discrete", "backsolve", "interpolated", "quadrature"]
FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CLEAR = (TypeError, ValueError, adjode.IntegrationError)
OURS = ("z0", "theta", "ts", "t0", "t1", "f(t, z", "rtol", "atol", "solve", "gradient", "backwards", "trac")


def attempt(f, z0, ts, theta, **options):
    """The gradient of sum z(t1), all parts finite and of their shapes; or None, and a clear error."""
    loss = lambda z0, ts, theta: anp.sum(adjode.odeint(f, z0, ts, theta, **options)[-1])
    try:
        found = grad(loss, (0, 1, 2))(z0, ts, theta)
    except CLEAR as error:
        assert any(name in str(error) for name in OURS), error
        assert len(str(error)) < 400
        return None
    assert np.all(np.isfinite(adjode.flatten(found)[0]))
    return found


shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@FEW
@given(shapes, st.sampled_from([float, int, np.float32, np.int8]), st.sampled_from(STRATEGIES))
def test_shapes_and_kinds_of_numbers(shape, kind, adjoint):
    z0 = np.ones(shape, kind)
    f = lambda t, z, theta: theta * z
    zs = adjode.odeint(f, z0, [0, 1], 0.5, adjoint=adjoint)
    assert zs.shape == (2, *shape) and zs.dtype == float
    found = attempt(f, z0.astype(float), np.array([0.0, 1.0]), 0.5, adjoint=adjoint)
    assert found is not None and np.shape(found[0]) == shape
    np.testing.assert_allclose(found[0], np.full(shape, np.exp(0.5)), rtol=1e-4)
    assert found[2] == pytest.approx(z0.size * np.exp(0.5), rel=1e-4)


@FEW
@given(
    st.sampled_from(
        [1j, "x", None, [1.0, "x"], {"a": 1.0}, object(), np.array([None]), True, [[1.0], [1.0, 2.0]]]
    )
)
def test_what_is_not_a_number_is_named(value):
    for call in (
        lambda: adjode.odeint(lambda t, z, theta: z, value, [0.0, 1.0], ()),
        lambda: adjode.odeint(lambda t, z, theta: z, [1.0], value, ()),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()


@FEW
@given(st.lists(st.floats(-1e300, 1e300) | st.just(np.nan) | st.just(np.inf), max_size=5))
def test_times_of_all_kinds(ts):
    f = lambda t, z, theta: theta * np.ones(1) + 0.0 * z
    try:
        zs = adjode.odeint(f, [1.0], ts, 2.0)
    except (ValueError, adjode.IntegrationError) as error:
        assert "ts" in str(error) or "solve" in str(error)
        return
    ts = np.array(ts)
    wanted = 1 + 2 * (ts - ts[0])
    np.testing.assert_allclose(zs[:, 0], wanted, atol=1e-5 * max(1, np.max(np.abs(wanted))))


def test_one_time_equal_times_and_none():
    f = lambda t, z, theta: theta * z
    found = attempt(f, np.ones(2), np.array([3.0]), 0.5)
    np.testing.assert_array_equal(found[0], 1.0)
    assert found[1] == 0.0 and found[2] == 0.0
    for ts in ([], [1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 2.0, 1.0]):
        assert attempt(f, np.ones(2), np.array(ts), 0.5) is None


@FEW
@given(st.integers(-250, 250), st.integers(-100, 100), st.sampled_from(["discrete", "quadrature"]))
def test_scales_far_from_one(power, clock, adjoint):
    # z' = theta z with z0 of any size and a clock of any rate
    size, span = 10.0**power, 10.0**clock
    options = {"rtol": 1e-6, "atol": 1e-8 * size, "adjoint": adjoint}
    found = attempt(
        lambda t, z, theta: theta / span * z, np.array([size]), np.array([0.0, span]), 0.5, **options
    )
    if found is not None:
        assert found[0][0] == pytest.approx(np.exp(0.5), rel=1e-4)
        assert found[2] == pytest.approx(size * np.exp(0.5), rel=1e-4)
    else:
        assert abs(power) > 100 or abs(clock) > 50


class Mine(Exception):
    pass


def raises(error):
    def f(t, z, theta):
        raise error

    return f


def late(t, z, theta):
    if t > 0.5:
        raise Mine("late")
    return theta * z


@pytest.mark.parametrize("error", [Mine("x"), KeyError("x"), ZeroDivisionError("x"), KeyboardInterrupt()])
def test_an_exception_of_the_field_passes_untouched(error):
    with pytest.raises(type(error)) as caught:
        attempt(raises(error), np.ones(2), np.array([0.0, 1.0]), 0.5)
    assert caught.value is error


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_an_exception_that_comes_late_or_only_on_the_way_back(adjoint):
    with pytest.raises(Mine, match="late"):
        attempt(late, np.ones(2), np.array([0.0, 1.0]), 0.5, adjoint=adjoint)

    def traced_only(t, z, theta):
        if type(z) is not np.ndarray:
            raise Mine("traced")
        return theta * z

    with pytest.raises(Mine, match="traced"):
        attempt(traced_only, np.ones(2), np.array([0.0, 1.0]), 0.5, adjoint=adjoint)


FIELDS = {
    "none": lambda t, z, theta: None,
    "list": lambda t, z, theta: [theta * z[0], z[1]],
    "scalar": lambda t, z, theta: theta,
    "longer": lambda t, z, theta: anp.concatenate([z, z]),
    "rows": lambda t, z, theta: z[None],
    "text": lambda t, z, theta: "z",
    "objects": lambda t, z, theta: np.array([None, None]),
    "complex": lambda t, z, theta: 1j * z,
    "nan": lambda t, z, theta: theta * z * np.nan,
    "nan later": lambda t, z, theta: theta * z * (np.nan if t > 0.7 else 1.0),
    "nan in places": lambda t, z, theta: theta * anp.sqrt(1.02 - z),
    "inf": lambda t, z, theta: theta * z / 0.0,
    "nan in the derivative": lambda t, z, theta: theta * z + anp.sqrt(0.0 * z),
    "blow up": lambda t, z, theta: theta * z**3 * 10,
}


@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_cannot_work_give_one_clear_error(name, adjoint):
    with np.errstate(all="ignore"):
        assert attempt(FIELDS[name], np.ones(2), np.array([0.0, 1.0]), 0.5, adjoint=adjoint) is None


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_a_captured_value_is_never_a_zero_gradient(adjoint):
    def loss(a):
        f = lambda t, z, theta: a * z
        return anp.sum(adjode.odeint(f, np.ones(2), [0.0, 1.0], (), adjoint=adjoint)[-1])

    with pytest.raises(TypeError, match="captures one"):
        grad(loss)(0.5)


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_a_large_argument_of_tanh_gives_a_finite_gradient_and_no_warning(adjoint):
    # autograd has g / cosh(x)**2, and cosh overflows
    f = lambda t, z, theta: anp.tanh(1e3 * theta * anp.ones(1)) - 0.5 * z
    found = attempt(f, np.array([0.3]), np.array([0.0, 2.0]), 1.0, adjoint=adjoint)
    assert found is not None and found[0][0] == pytest.approx(np.exp(-1), rel=1e-4) and found[2] == 0.0
    g = lambda t, z, theta: theta - anp.tanh(800.0 * z)
    assert attempt(g, np.array([2.0]), np.array([0.0, 1.0]), 0.5, adjoint=adjoint) is not None


@FEW
@given(st.integers(0, 2**31), st.sampled_from(STRATEGIES), st.sampled_from([1e-3, 1e-6]))
def test_small_random_fields_have_right_gradients(seed, adjoint, rtol):
    rng = np.random.default_rng(seed)
    net, theta = adjode.mlp([2, 4, 2], seed=seed % 1000, scale=rng.uniform(0.1, 3.0))
    z0, ts = rng.normal(size=2) * 10.0 ** rng.uniform(-2, 1), np.array([0.0, rng.uniform(0.1, 4.0)])
    found = attempt(net, z0, ts, theta, adjoint=adjoint, rtol=rtol, atol=rtol / 100)
    wanted = attempt(net, z0, ts, theta, rtol=1e-10, atol=1e-12)
    if found is not None:
        found, wanted = adjode.flatten(found)[0], adjode.flatten(wanted)[0]
        assert np.linalg.norm(found - wanted) <= 100 * rtol * np.linalg.norm(wanted) * 10
