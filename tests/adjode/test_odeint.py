"""odeint as autograd sees it."""

from collections import namedtuple

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian, value_and_grad
from autograd.core import make_vjp
from autograd.tracer import isbox

import adjode

STRATEGIES = ["discrete", "backsolve", "interpolated", "quadrature", "checkpointed"]
TIGHT = {"rtol": 1e-8, "atol": 1e-10}
CLOSE = 1e-7  # ten times the tolerance, relative to the largest entry


@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("name", ["linear", "clocked", "affine", "logistic", "batch", "backwards"])
def test_gradients_in_z0_ts_and_theta_at_once(zoo, name, adjoint):
    case = zoo.case(name)
    ts = case.t0 + (case.t1 - case.t0) * np.array([0.0, 0.2, 0.7, 1.0])
    weights = np.array([0.5, -0.3, 0.8, 1.0])

    def loss(z0, ts, theta):
        zs = adjode.odeint(case.f, z0, ts, theta, adjoint=adjoint, **TIGHT)
        return sum(w * case.loss(z) for w, z in zip(weights, zs, strict=True))

    def exact(z0, ts, theta):
        zs = [z0, *(case.flow(z0, ts[0], t, theta) for t in ts[1:])]
        return sum(w * case.loss(z) for w, z in zip(weights, zs, strict=True))

    found = grad(loss, (0, 1, 2))(case.z0, ts, case.theta)
    assert zoo.relative_error(found, zoo.exact_gradient(exact, case.z0, ts, case.theta)) < CLOSE


def test_states_come_back_at_ts_in_the_shape_of_z0(zoo):
    case = zoo.case("batch")
    ts = np.linspace(case.t0, case.t1, 7)
    zs = adjode.odeint(case.f, case.z0, ts, case.theta, **TIGHT)
    assert zs.shape == (7, 3, 2)
    for t, z in zip(ts[1:], zs[1:], strict=True):
        np.testing.assert_allclose(z, case.flow(case.z0, case.t0, t, case.theta), rtol=1e-6)


def test_one_backward_pass_for_all_arguments(zoo):
    case, ts, calls = zoo.case("linear"), np.array([0.0, 1.0]), []

    def f(t, z, theta):
        calls.append(isbox(z))
        return case.f(t, z, theta)

    loss = lambda *args: anp.sum(adjode.odeint(f, *args)[-1])
    counts = []
    for which in (0, (0, 1, 2)):
        calls.clear()
        grad(loss, which)(case.z0, ts, case.theta)
        counts.append(sum(calls))
    assert counts[0] == counts[1] > 0


def test_theta_may_be_a_nest_built_inside_the_loss(zoo):
    def f(t, z, theta):
        (a, more), b = theta["layers"], theta["offset"]
        return anp.dot(a, z) * more["scale"] + b

    def loss(a, scale, b):
        theta = {"layers": [a, {"scale": scale**2}], "offset": (b, b)[0], "unused": 3}
        return anp.sum(adjode.odeint(f, np.ones(2), [0.0, 0.8], theta, **TIGHT)[-1] ** 2)

    args = np.array([[0.1, 0.9], [-0.4, 0.2]]), 0.7, np.array([0.3, -0.1])
    found = grad(loss, (0, 1, 2))(*args)

    def flow(a, scale, b):
        flat = {"A": np.zeros((3, 3), complex), "b": np.zeros(3, complex)}
        flat["A"][:2, :2], flat["b"][:2] = a * scale**2, b
        from_zoo = zoo.case("affine").flow
        return np.sum(from_zoo(np.array([1.0, 1.0, 0.0]), 0.0, 0.8, flat)[:2] ** 2)

    assert zoo.relative_error(found, zoo.exact_gradient(flow, *args)) < CLOSE


def test_the_gradient_has_the_structure_of_theta():
    f = lambda t, z, theta: theta["a"] * z + theta["pair"][0] + theta["pair"][1][0]
    theta = {"a": 0.3, "pair": (0.1, [np.array([0.2, 0.4])]), "none": ()}
    loss = lambda theta: anp.sum(adjode.odeint(f, np.ones(2), [0.0, 1.0], theta))
    found = grad(loss)(theta)
    assert set(found) == {"a", "pair", "none"}
    assert isinstance(found["pair"], tuple) and isinstance(found["pair"][1], list)
    assert np.shape(found["a"]) == () and found["pair"][1][0].shape == (2,)


def test_a_nest_keeps_its_named_tuples_and_its_floats():
    Pair = namedtuple("Pair", "rate offset")
    theta = {"pair": Pair(0.3, np.array([0.2, 0.4])), "more": [2.0]}
    vector, unflatten = adjode.flatten(theta)
    found = unflatten(2 * vector)
    assert isinstance(found["pair"], Pair) and found["pair"].rate == 0.6 and found["more"] == [4.0]
    assert all(isinstance(x, float) for x in (found["pair"].rate, found["more"][0]))
    np.testing.assert_array_equal(found["pair"].offset, [0.4, 0.8])


@pytest.mark.parametrize("z0", [1.5, np.array(1.5), np.array([1.5]), np.full((1, 1, 1), 1.5)])
def test_z0_of_any_shape_reaches_f_as_it_is(z0):
    shapes = set()

    def f(t, z, theta):
        assert np.shape(t) == ()
        shapes.add(np.shape(z))
        return theta * z

    loss = lambda z0: anp.sum(adjode.odeint(f, z0, [0.0, 1.0], 0.5, **TIGHT)[-1])
    found = grad(loss)(z0)
    assert shapes == {np.shape(z0)} == {np.shape(found)}
    assert np.ravel(found)[0] == pytest.approx(np.exp(0.5), rel=CLOSE)


def test_times_and_starts_may_be_lists_that_hold_traced_values():
    f = lambda t, z, theta: theta * z
    loss = lambda a, t: adjode.odeint(f, [a, 2.0], [0.0, t], 0.5, **TIGHT)[-1][0]
    found = grad(loss, (0, 1))(1.0, 2.0)
    np.testing.assert_allclose(found, [np.e, 0.5 * np.e], rtol=CLOSE)


def test_integers_are_numbers():
    f = lambda t, z, theta: theta * z
    zs = adjode.odeint(f, [1], [0, 1], 1, **TIGHT)
    assert zs.dtype == float and zs[-1, 0] == pytest.approx(np.e, rel=CLOSE)


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_fields_that_ignore_an_argument_have_zero_gradients(adjoint):
    ts = np.array([0.0, 0.5, 1.0])
    fields = {
        "nothing": (lambda t, z, theta: np.array([t, 1.0]), [1, 1], 0),
        "theta": (lambda t, z, theta: -z, np.exp([-1, -1]), 0),
        "z": (lambda t, z, theta: theta * np.array([t, 1.0]), [1, 1], 1.5),
    }
    for f, z_bar, theta_bar in fields.values():
        loss = lambda z0, theta, f=f: anp.sum(adjode.odeint(f, z0, ts, theta, adjoint=adjoint, **TIGHT)[-1])
        found = grad(loss, (0, 1))(np.array([1.0, 2.0]), 0.7)
        np.testing.assert_allclose(found[0], z_bar, rtol=CLOSE)
        np.testing.assert_allclose(found[1], theta_bar, rtol=CLOSE, atol=0)


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_no_parameters_and_a_single_time(adjoint):
    f = lambda t, z, theta: -z
    loss = lambda z0, ts: anp.sum(adjode.odeint(f, z0, ts, (), adjoint=adjoint) ** 2)
    z0_bar, ts_bar = grad(loss, (0, 1))(np.array([3.0]), np.array([0.5]))
    np.testing.assert_array_equal(z0_bar, [6.0])
    np.testing.assert_array_equal(ts_bar, [0.0])
    z0_bar = grad(loss)(np.array([3.0]), np.array([0.0, 1.0]))
    assert z0_bar[0] == pytest.approx(6 * (1 + np.exp(-2)), rel=1e-5)  # 10 rtol


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_a_state_without_entries_has_a_zero_gradient(adjoint):
    f, z0, ts = lambda t, z, theta: theta * z, np.zeros(0), np.array([0.0, 1.0])
    loss = lambda theta: anp.sum(adjode.odeint(f, z0, ts, theta, adjoint=adjoint))
    assert grad(loss)(0.5) == 0.0


@pytest.mark.parametrize("where", ["f", "array"])
def test_a_traced_value_that_f_captures_is_refused(where):
    def loss(a):
        field = {
            "f": lambda t, z, theta: a * z,
            "array": lambda t, z, theta: np.array([a, 1.0], dtype=object) * z,
        }[where]
        return anp.sum(adjode.odeint(field, np.ones(2), [0.0, 1.0], ()))

    with pytest.raises(TypeError, match=r"captures one. Pass what you differentiate in `theta`"):
        grad(loss)(0.5)


def test_a_captured_value_is_refused_beside_a_traced_argument():
    loss = lambda a: anp.sum(adjode.odeint(lambda t, z, th: a * th * z, np.ones(2), [0.0, 1.0], a))
    with pytest.raises(TypeError, match="Pass what you differentiate in `theta`"):
        grad(loss)(0.5)


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_second_derivatives_through_the_traced_steps(adjoint):
    f = lambda t, z, theta: theta * t * z
    theta = 2 / 3 * np.log(2)

    def loss(z0, ts, theta):
        return 0.5 * anp.sum((adjode.odeint(f, z0, ts, theta, adjoint=adjoint, **TIGHT)[-1] - 3) ** 2)

    args = np.array([1.0]), np.array([1.0, 2.0]), theta
    second = grad(lambda theta: grad(loss, 2)(*args[:2], theta))(theta)
    assert second == pytest.approx(4.5, rel=1e-6)  # the book's value; 100 rtol
    mixed = jacobian(lambda ts: grad(loss, 2)(args[0], ts, theta))(args[1])
    # dL/dtheta = (z - 3) z u with u = (t1^2 - t0^2) / 2, z = exp(theta u)
    z, u = 2.0, 1.5
    by_u = (2 * z - 3) * z * theta * u + (z - 3) * z
    np.testing.assert_allclose(mixed, [-1.0 * by_u, 2.0 * by_u], rtol=1e-6)


def test_second_derivatives_at_several_times_that_run_backwards():
    f, weights = lambda t, z, theta: theta * t * z, np.array([0.3, 1.0, -0.7, 0.5])
    ts = np.array([2.0, 1.7, 0.4, -0.3])

    def loss(theta, ts):
        return anp.sum(weights * adjode.odeint(f, 1.0, ts, theta, **TIGHT))

    u = 0.5 * (ts**2 - ts[0] ** 2)  # z = exp(theta u)
    second = grad(grad(loss))(0.4, ts)
    assert second == pytest.approx(np.sum(weights * u**2 * np.exp(0.4 * u)), rel=CLOSE)
    mixed = grad(lambda ts: grad(loss)(0.4, ts))(ts)
    by_u = weights * (1 + 0.4 * u) * np.exp(0.4 * u)
    np.testing.assert_allclose(mixed[1:], (by_u * ts)[1:], rtol=CLOSE)
    assert mixed[0] == pytest.approx(-ts[0] * np.sum(by_u[1:]), rel=CLOSE)


def test_the_cotangent_may_be_traced():
    f = lambda t, z, theta: anp.dot(theta, z)
    theta = np.array([[0.1, 0.9], [-0.4, 0.2]])
    end = lambda z0: adjode.odeint(f, z0, [0.0, 1.0], theta, **TIGHT)[-1]
    rows = jacobian(end)(np.ones(2))
    from autograd import make_vjp

    back = make_vjp(end)(np.ones(2))[0]
    np.testing.assert_allclose(jacobian(back)(np.ones(2)), rows.T, rtol=1e-12)


def test_value_and_grad_gives_the_value_of_a_plain_call(zoo):
    """To rounding, which has its part in how long a step is."""
    case = zoo.case("clocked")
    loss = lambda theta: case.loss(adjode.odeint(case.f, case.z0, [0.0, 1.0], theta)[-1])
    assert value_and_grad(loss)(case.theta)[0] == pytest.approx(loss(case.theta), rel=1e-10)


def test_exceptions_of_the_field_pass_through_untouched():
    class Mine(Exception):
        pass

    def f(t, z, theta):
        if isbox(z):
            raise Mine("in the backward pass")
        return -z

    loss = lambda z0, adjoint: anp.sum(adjode.odeint(f, z0, [0.0, 1.0], (), adjoint=adjoint))
    for adjoint in STRATEGIES:
        with pytest.raises(Mine, match=r"^in the backward pass$"):
            grad(loss)(np.ones(2), adjoint)


def test_arguments_are_not_written_to(zoo):
    case = zoo.case("affine")
    z0, ts, theta = case.z0.copy(), np.array([0.0, 0.5, 1.0]), case.theta
    keep = {name: part.copy() for name, part in theta.items()}
    grad(lambda *args: anp.sum(adjode.odeint(case.f, *args)), (0, 1, 2))(z0, ts, theta)
    np.testing.assert_array_equal(z0, case.z0)
    np.testing.assert_array_equal(ts, [0.0, 0.5, 1.0])
    for name in keep:
        np.testing.assert_array_equal(theta[name], keep[name])


def test_options_reach_the_solve_and_a_plain_call_keeps_the_stops_alone(monkeypatch):
    from adjode import primitive

    seen = []
    for name in ("solve", "solve_replayed"):
        plain = getattr(primitive, name)
        noted = lambda *args, plain=plain, **more: seen.append(more) or plain(*args, **more)
        monkeypatch.setattr(primitive, name, noted)
    f, ts, coarse = (
        lambda t, z, theta: theta * z,
        [0.0, 1.0],
        {"rtol": 1e-2, "atol": 1e-3, "method": "dopri5"},
    )
    end = lambda theta, **more: adjode.odeint(f, 1.0, ts, theta, **more)[-1]
    end(0.5, **coarse), end(0.5), grad(grad(end))(0.5, **coarse)
    grad(grad(end))(0.5, **coarse, adjoint="backsolve")  # which keeps no stages to trace
    chosen = [{k: more[k] for k in ("rtol", "atol", "method")} for more in seen]
    assert chosen == [coarse, {"rtol": 1e-6, "atol": 1e-8, "method": "auto"}, *[coarse] * 3]
    assert [more["store"] for more in seen] == ["stops", "stops", "stages", "stops", "stages"]


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_the_steps_that_are_traced_are_those_of_the_solve(adjoint, way, monkeypatch):
    from adjode import primitive

    taken, again = [], primitive.traced_states
    monkeypatch.setattr(primitive, "traced_states", lambda *args: taken.append(args[-1]) or again(*args))
    f, ts = lambda t, z, theta: theta * anp.sin(z) * t, way * np.array([0.5, 1.3, 3.0, 4.0])
    loss = lambda theta: anp.sum(adjode.odeint(f, 1.0, ts, theta, adjoint=adjoint) ** 2)
    grad(grad(loss))(0.5)
    solved = adjode.solve(adjode.InitialValueProblem(f, 1.0, ts[0], ts[-1], 0.5), ts=ts)
    np.testing.assert_array_equal(taken[0].ts, solved.ts)
    np.testing.assert_array_equal(taken[0].zs, solved.zs)


def test_a_single_time_inside_another_trace():
    start = lambda z0: anp.sum(adjode.odeint(lambda t, z, theta: theta * z, z0, [0.5], 2.0)) ** 3
    assert grad(grad(start))(1.5) == pytest.approx(9.0)
    alone = lambda theta: anp.sum(adjode.odeint(lambda t, z, theta: theta * z, np.ones(2), [0.5], theta))
    assert grad(alone)(np.ones(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_gradient_inside_another_trace_is_the_one_that_is_trusted(adjoint, way):
    """A parameter that acts for a moment: the steps of the solve do not see it, those that are traced do."""
    f = lambda t, z, theta: way * (-0.2 * z + theta * z * anp.exp(-(((way * t - 2.23) / 0.03) ** 2)))
    end = lambda theta, s: s * adjode.odeint(f, 1.0, [0.0, way * 6.0], theta, adjoint=adjoint)[-1]
    exact = 0.03 * np.sqrt(np.pi) * np.exp(-1.2)
    assert grad(lambda s: grad(end)(0.0, s))(1.0) == pytest.approx(exact, rel=1e-4)
    with pytest.raises(adjode.GradientError):
        end = lambda theta, s: s * adjode.odeint(f, 1.0, [0.0, way * 6.0], theta, rtol=1e-8, atol=1e-10)[-1]
        grad(lambda s: grad(end)(0.0, s))(1.0)


def test_a_backward_pass_knows_its_loss_by_rows_and_how_they_may_bend(monkeypatch):
    """The rows are fixed; were the loss a square of the size of z, they would move with z."""
    from adjode import primitive

    guards, guard = [], primitive.Guard
    monkeypatch.setattr(
        primitive, "Guard", lambda *args, **more: guards.append(guard(*args, **more)) or guards[-1]
    )
    f, ts, weights = (
        lambda t, z, theta: theta * z,
        np.array([0.0, 0.5, 1.0]),
        np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 4.0]]),
    )
    z0 = 1e-3 * np.array([1.0, 2.0])
    loss = lambda theta: anp.sum(weights * adjode.odeint(f, z0, ts, theta, rtol=1e-4, atol=1e-9))
    grad(loss)(0.5)
    (found,), zs, z = guards, np.exp(0.5 * ts)[:, None] * z0, np.array([7e-3, -5e-3])
    assert (found.rtol, found.atol) == (1e-4, 1e-9)
    bend = 4.0 / np.max(zs)
    for i, row in enumerate(weights):
        np.testing.assert_array_equal(found.loss.observations.grad(i, z), row)
        np.testing.assert_allclose(found.moved.observations.grad(i, z), row + bend * (z - zs[i]), rtol=1e-3)
        for one in (found.loss, found.moved):
            assert one.observations.fun(i, z) == pytest.approx(row @ z)


def test_what_is_no_number_is_named_also_in_a_list_that_holds_traced_values():
    f = lambda t, z, theta: -z
    with pytest.raises(TypeError, match=r"^`ts` must be real numbers"):
        adjode.odeint(f, 1.0, "soon", ())
    with pytest.raises(TypeError, match=r"^`z0` must be real numbers"):
        grad(lambda a: anp.sum(adjode.odeint(f, [a, "much"], [0.0, 1.0], ())))(1.0)


def test_parameters_that_change_in_place_on_the_way_are_those_of_the_solve():
    w = np.array([0.5, 0.3])
    fun = lambda w: anp.sum(adjode.odeint(lambda t, z, w: w * z, np.ones(2), np.array([0.0, 1.0]), w)[-1])
    back, value = make_vjp(fun, w)
    w[:] = 7.0
    np.testing.assert_allclose(back(1.0), np.exp([0.5, 0.3]), rtol=1e-6)
    assert value == pytest.approx(np.sum(np.exp([0.5, 0.3])), rel=1e-6)


def test_parameters_that_change_in_place_are_those_of_the_solve_for_second_derivatives_too():
    fixed = np.array([0.5, 0.3])
    f, ts = lambda t, z, p: p["w"] * p["fixed"] * z, np.array([0.0, 1.0])
    run = lambda w: anp.sum(adjode.odeint(f, np.ones(2), ts, {"w": w, "fixed": fixed})[-1])
    wanted = np.sum(fixed**2 * np.exp(0.7 * fixed))
    back, _ = make_vjp(grad(run), 0.7)
    fixed[:] = 7.0
    assert back(1.0) == pytest.approx(wanted, rel=1e-5)


def test_f_is_replayed_where_a_gradient_is_asked_for():
    calls = []

    def f(t, z, theta):
        calls.append(np.ndim(t) == 0 and not isbox(z))
        return theta * anp.sin(z) * t

    run = lambda theta: anp.sum(adjode.odeint(f, np.ones(2), np.array([0.0, 3.0]), theta)[-1])
    run(0.5)
    assert sum(calls) > 100
    calls.clear()
    grad(run)(0.5)
    assert 0 < sum(calls) < 10


def test_rows_come_for_the_leaves_that_are_asked_for_in_their_shapes():
    theta = {"rate": 0.7, "pair": (np.array(0.2), np.ones((1, 2))), "none": []}
    f = lambda t, z, p: p["rate"] * z + p["pair"][0] * t + p["pair"][1][0]
    run = lambda p: anp.sum(adjode.odeint(f, np.ones(2), np.array([0.0, 0.5]), p)[-1])
    whole = grad(run)(theta)
    assert whole["none"] == [] and type(whole["pair"]) is tuple
    assert [np.shape(x) for x in (whole["rate"], *whole["pair"])] == [(), (), (1, 2)]
    alone = grad(lambda a: run({"rate": 0.7, "pair": (a, np.ones((1, 2))), "none": []}))(np.array(0.2))
    assert alone == pytest.approx(float(whole["pair"][0]), rel=1e-9)
    wanted = [(run(moved(theta, h)) - run(moved(theta, -h))) / (2 * h) for h in (1e-5,)]
    assert whole["rate"] == pytest.approx(wanted[0], rel=1e-5)


def moved(theta, h):
    return theta | {"rate": theta["rate"] + h}
