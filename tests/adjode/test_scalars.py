"""Small states in plain numbers: the values of f to rounding, or NumPy's."""

import math
from itertools import product
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.extend import defvjp, primitive
from autograd.tracer import getval

import adjode
from adjode import replay, scalars
from adjode.guards import Guard
from adjode.problem import OtherValues
from adjode.replay import Noted, replayed, solve_replayed
from adjode.scalars import FUNCTIONS, LINES, MOST, Lines, Name, Straight, named
from adjode.solve import Replay
from adjode.steps import Counted, trial_step, turned
from adjode.tableau import adaptive_tableau
from adjode.vjp import run_traced

NET, NET_THETA = adjode.mlp([2, 6, 2], seed=3)
W = np.array([[-0.2, 1.0], [-1.0, -0.1]])
Z = np.array([0.7, -0.4])
OPTIONS = {"store": "stages", "rtol": 1e-7, "atol": 1e-9}


def problem_of(f, z0=Z, theta=W, t0=0.0, t1=2.0):
    return adjode.InitialValueProblem(f, z0, t0, t1, theta)


def lorenz(t, z, w):
    x, y, u = z
    return anp.array([w[0] * (y - x), x * (w[1] - u) - y, x * y - w[2] * u])


def lotka_volterra(t, z, w):
    x, y = z[..., 0], z[..., 1]
    return anp.stack([w[0] * x - w[1] * x * y, x * y - y], axis=-1)


ARITHMETIC = {
    "net": (NET, Z, NET_THETA),
    "Lorenz": (lorenz, [1.0, 0.5, 20.0], np.array([10.0, 28.0, 8 / 3])),
    "Lotka-Volterra": (lotka_volterra, np.abs(Z)[None], np.array([1.5, 0.9])),
    "pendulum": (lambda t, z, w: anp.array([z[1] * anp.cos(t), -w * anp.sin(z[0])]), Z, 1.3),
    "stack": (lambda t, z, w: anp.stack([w["a"] * z[1], -(z[0] ** 3) / w["b"]]), Z, {"a": 1.2, "b": 0.8}),
    "concatenate": (lambda t, z, w: anp.concatenate([z[1:], -w * z[:1]]), Z, 1.1),
    "columns": (lambda t, z, w: anp.concatenate([z[:, 1:], -w * z[:, :1]], axis=1), [Z, 2 * Z], 1.1),
    "products": (lambda t, z, w: anp.dot(z, w) + w @ z - anp.dot(w, anp.dot(2.0, z)) * (z @ z), Z, W),
    "a table": (lambda t, z, w: anp.tanh(z @ w) * t, np.array([Z, -Z, 2 * Z]), W),
    "powers": (lambda t, z, w: z**2 - z**3 + (2 + z) ** -2 - 2.0**z + (3 + z) ** (z / 2), Z, ()),
    "numbers on the left": (lambda t, z, w: 1 - z + 2 * z - 1 / (3 + z) + 0.5 + w, Z, 0.3),
    "whole numbers": (lambda t, z, w: np.array([1, 2]) * z - np.array([3, 1]), Z, ()),
    "single precision": (lambda t, z, w: np.float32(0.1) * z + np.array([0.1], np.float32), Z, ()),
    "constants": (lambda t, z, w: anp.array([z[1], 3, w]), [1.0, 2.0, 3.0], 0.5),
    "sums": (lambda t, z, w: anp.sum(w * z, axis=1, keepdims=True)[:, 0] + anp.sum(z), Z, W),
    "shapes": (lambda t, z, w: anp.ravel(anp.transpose(anp.reshape(z, (1, 2)))) + z[None].T[:, 0], Z, ()),
    "axes": (lambda t, z, w: anp.squeeze(anp.expand_dims(z, 0)) * anp.abs(z) - anp.square(z), Z, ()),
    "a number": (lambda t, z, w: w * anp.exp(-z) + anp.sqrt(t + 1), 0.3, 0.7),
    "t alone": (lambda t, z, w: w * anp.cos(t) * np.ones(2), Z, 0.7),
    "z as it is": (lambda t, z, w: z, Z, ()),
    "nothing but signs": (lambda t, z, w: -z, Z, ()),
}


@primitive
def doubled(x):
    return 2.0 * x


defvjp(doubled, lambda ans, x: lambda v: 2.0 * v)

OTHERWISE = {
    "comparison": lambda t, z, w: anp.where(z > 0.1, w @ z, -z),
    "larger": lambda t, z, w: w @ anp.maximum(z, 0.1 * z),
    "sorted": lambda t, z, w: w @ anp.sort(z),
    "signs": lambda t, z, w: anp.sign(z) * z,
    "a primitive of one's own": lambda t, z, w: doubled(z),
    "complex between": lambda t, z, w: anp.real(anp.exp(1j * z)),
    "rounded to single": lambda t, z, w: (w @ z).astype(np.float32).astype(float),
    "without what is not a number": lambda t, z, w: anp.nan_to_num(w @ z),
    "a power of a truth": lambda t, z, w: z * (z > 0.1),
    "a function of a number among names": lambda t, z, w: anp.sin(anp.array([z[0], 0.5])),
    "a kind asked for": lambda t, z, w: anp.array([z[1], z[0]], dtype=float),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_done_in_plain_numbers(name):
    f, z0, theta = ARITHMETIC[name]
    problem = problem_of(f, z0, theta)
    found = replayed(problem)
    assert isinstance(found, Straight)
    for t in (0.3, 1.9):
        z = problem.z0 * (1.0 + 0.3 * t)
        numbers = found.entries(t, *z.ravel().tolist())
        assert all(type(x) is float for x in numbers)
        np.testing.assert_allclose(numbers, np.ravel(f(t, z, theta)), rtol=1e-14, atol=1e-15)
        np.testing.assert_array_equal(found(t, z.ravel()), numbers)
        np.testing.assert_array_equal(found.flat(t, z.ravel()), np.ravel(f(t, z, theta)))


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_no_arithmetic_is_left_to_numpy(name):
    f = OTHERWISE[name]
    found = replayed(problem_of(f))
    assert found and not isinstance(found, Straight)
    np.testing.assert_array_equal(found(0.3, 1.1 * Z), f(0.3, 1.1 * Z, W))


@pytest.mark.parametrize("method", ["auto", "dopri5"])
@pytest.mark.parametrize("name", ["net", "Lorenz", "Lotka-Volterra", "a table", "z as it is"])
def test_a_solve_in_plain_numbers_is_the_same_to_rounding(name, method):
    problem = problem_of(*ARITHMETIC[name], t1=0.6)
    found, wanted = (solver(problem, method=method, **OPTIONS) for solver in (solve_replayed, adjode.solve))
    assert isinstance(found.replayed, Straight) and found.stats == wanted.stats
    for part in ("ts", "zs", "fs", "stages"):
        one, other = getattr(found, part), getattr(wanted, part)  # rounding has its part in the next step
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6 * np.max(np.abs(other)))


@pytest.mark.parametrize("name", ["net", "Lotka-Volterra", "a table"])
def test_an_implicit_solve_takes_them_as_well(name):
    problem, options = problem_of(*ARITHMETIC[name]), OPTIONS | {"method": "radau"}
    found, wanted = solve_replayed(problem, **options), adjode.solve(problem, **options)
    assert isinstance(found.replayed, Straight)
    np.testing.assert_allclose(found.zs[-1], wanted.zs[-1], rtol=1e-6)


@pytest.mark.parametrize("name", ["net", "Lorenz", "Lotka-Volterra"])
def test_a_gradient_is_the_same_to_rounding(name, monkeypatch):
    problem = problem_of(*ARITHMETIC[name])
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    value, found = adjode.value_and_gradient(problem, loss)
    monkeypatch.setattr(replay, "straight", lambda *notes: None)
    other, wanted = adjode.value_and_gradient(problem, loss)
    assert value == pytest.approx(other, rel=1e-11) and found.stats == wanted.stats
    np.testing.assert_allclose(found.z0, wanted.z0, rtol=1e-9)
    for one, other in zip(*(adjode.structure.leaves(x.theta) for x in (found, wanted)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.max(np.abs(other)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_the_one_of_that_name(name):
    function = getattr(anp, name)
    found = replayed(problem_of(lambda t, z, w: function(z) + function(t + 0.2)))
    for z in (np.array([0.3, 1.4]), np.array([2.5, 0.01])):
        wanted = getattr(np, name)(z) + getattr(np, name)(0.6)
        np.testing.assert_allclose(found.entries(0.4, *z.tolist()), wanted, rtol=1e-14)


BEYOND = {  # f, and a state where Python raises
    "a quotient by zero": (lambda t, z, w: w / z + t, [0.0, 1.0]),
    "a logarithm of less": (lambda t, z, w: anp.log(z), [-1.0, 0.0]),
    "a root of less": (lambda t, z, w: anp.sqrt(z), [-1.0, 4.0]),
    "a power of less": (lambda t, z, w: z**1.5, [-1.0, 4.0]),
    "a power of zero": (lambda t, z, w: z**-1, [0.0, 4.0]),
    "too large an exponential": (lambda t, z, w: anp.exp(z), [1000.0, 0.0]),
    "too large a power": (lambda t, z, w: z**9, [1e200, 1.0]),
    "an infinite angle": (lambda t, z, w: anp.sin(z), [math.inf, 1.0]),
}


@pytest.mark.parametrize("name", BEYOND)
def test_where_python_raises_numpy_says_what_it_is(name):
    f, z = BEYOND[name]
    found, tableau = replayed(problem_of(f, [0.5, 0.6], 2.0)), adaptive_tableau("dopri5")
    given = np.array([0.5, 0.6]), 1.0, (np.array(z) - [0.5, 0.6]) * 5, 1e-3, 1e-5  # the second stage is at z
    with pytest.raises((ArithmeticError, ValueError)):
        found.entries(0.7, *z)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found(0.7, np.array(z)), f(0.7, np.array(z), 2.0))
        counted = Counted(found)
        k, *others = found.trial(tableau, counted, 0.0, *given)
        wanted, *_ = trial_step(tableau, Counted(found.flat), 0.0, *given)
    np.testing.assert_allclose(k, wanted, rtol=1e-12)
    assert not np.all(np.isfinite(k[1])) and counted.calls == len(tableau.b) - 1
    assert not others[-1] < 1


def test_a_trial_step_that_leaves_the_domain_is_rejected():
    """z = (1 - t / 2)^2: near the end, a step may go beyond it, where there is no root."""
    problem = problem_of(lambda t, z, w: -w * anp.sqrt(z), [1.0, 1.0], 1.0, t1=1.999)
    flat, raised, options = replayed(problem), [], {"rtol": 1e-2, "atol": 1e-2, "store": "stages"}

    def entries(*args):
        try:
            return flat.entries(*args)
        except ValueError:
            raised.append(args)
            raise

    f = Replay(problem.f, Straight(entries, flat.flat))
    found = adjode.solve(problem_of(f, [1.0, 1.0], 1.0, t1=1.999), **options)
    wanted = adjode.solve(problem, **options)
    assert raised and found.stats == wanted.stats and found.stats.rejected > 0
    np.testing.assert_allclose(found.zs, wanted.zs, rtol=1e-6)


TWICE = adjode.ButcherTableau("the same twice", 1, [[0, 0], [0, 0]], [0.5, 0.5], [0, 0], [[0.5, -0.5]])
EXPLICIT = [adaptive_tableau("dopri5"), adaptive_tableau("dop853"), TWICE]


@pytest.mark.parametrize("tableau, d", [*product(EXPLICIT, (1, 2, 3, MOST))])
def test_a_trial_step_is_the_one_of_numpy(tableau, d):
    z, k0 = np.cos(1.0 + np.arange(2.0 * d)).reshape(2, d)
    entries = lambda t, *z: tuple(t * x - 0.3 * y * y for x, y in zip(z, z[1:] + z[:1], strict=True))
    asked, wanted_at = [], []
    field = lambda t, *z: asked.append((t, *z)) or entries(t, *z)
    plain = lambda t, z: wanted_at.append((t, *z.tolist())) or np.array(entries(t, *z.tolist()))
    straight, counted = Straight(field, plain), Counted(plain)
    found = straight.trial(tableau, counted, 0.4, z, 0.9, k0, 1e-2, 1e-4)
    asked_in_all = counted.calls
    wanted = trial_step(tableau, Counted(plain), 0.4, z, 0.9, k0, 1e-2, 1e-4)
    assert asked_in_all == len(tableau.b) - 1 == len(asked)
    pairs = [(np.array(asked), np.array(wanted_at)), *zip(found[:3], wanted[:3], strict=True)]
    for one, other in pairs:  # DOP853 has weights of 43
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)
    assert found[3] == pytest.approx(wanted[3], rel=1e-9) and wanted[3] > 0


@pytest.mark.parametrize("d", [1, 2, 3, MOST])
def test_the_turn_of_the_slope_is_the_one_of_numpy(d):
    z, k0, v = np.cos(1.0 + np.arange(3.0 * d)).reshape(3, d)
    entries = lambda t, *z: tuple(t * x - 0.3 * y * y for x, y in zip(z, z[1:] + z[:1], strict=True))
    plain = lambda t, z: np.array(entries(t, *z.tolist()))
    straight, counted = Straight(entries, None), Counted(plain)
    k0 = plain(0.4, z)
    w, *numbers = straight.turned(counted, 0.4, z, k0, v, 1e-3)
    assert counted.calls == 1
    wanted, *others = turned(plain, 0.4, z, k0, v, 1e-3)
    np.testing.assert_allclose(w, wanted, rtol=1e-9)
    assert numbers == pytest.approx(others, rel=1e-9)


def test_where_plain_numbers_raise_the_turn_is_numpys():
    straight, field = Straight(lambda t, x: (1 / 0,), None), Counted(lambda t, z: 3.0 * z + 0.0 * t)
    w, rate, turn, length = straight.turned(field, 0.0, np.ones(1), np.full(1, 3.0), np.full(1, -2.0), 0.0)
    assert w == pytest.approx([-3.0], rel=1e-6) and (rate, turn, length) == pytest.approx((3, 6, 2), rel=1e-6)
    assert field.calls == 1
    full = Counted(straight, limit=4, calls=4)
    with pytest.raises(adjode.IntegrationError, match="used 4 evaluations"):
        Straight(lambda t, x: (x,), None).turned(full, 0.0, np.ones(1), np.ones(1), np.ones(1), 0.0)
    last = Counted(straight, limit=5, calls=4)
    Straight(lambda t, x: (x,), None).turned(last, 0.0, np.ones(1), np.ones(1), np.ones(1), 1e-6)
    assert last.calls == 5


def test_a_step_that_misses_nothing_has_no_error():
    straight = replayed(problem_of(lambda t, z, w: 0.0 * z))
    assert straight.trial(adjode.dop853(), Counted(straight), 0.0, Z, 0.1, 0 * Z, 1e-3, 1e-5)[3] == 0.0


ELSEWHERE = {  # what f is at some stage, and what becomes of a step that does not see it but there
    "not a number": lambda t: math.nan if 0.2 < t < 0.35 else 1.0,
    "infinite": lambda t: math.inf if 0.2 < t < 0.35 else 1.0,
    "infinite below": lambda t: -math.inf if 0.2 < t < 0.35 else 1.0,
    "not a number at the end": lambda t: math.nan if t == 1.0 else 1.0,
    "infinite at the end": lambda t: -math.inf if t == 1.0 else 1.0,
}


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("tableau", EXPLICIT[:2], ids=["dopri5", "dop853"])
def test_a_step_with_a_stage_that_is_not_finite_is_rejected(name, tableau):
    f = ELSEWHERE[name]
    asked = []
    straight = Straight(lambda t, x: (f(t),), lambda t, z: asked.append(t) or np.array([f(t)]))
    with np.errstate(all="ignore"):
        *_, error = straight.trial(tableau, Counted(straight.flat), 0.0, np.ones(1), 1.0, np.ones(1), 1, 1)
    assert not error < 1 and len(asked) == len(tableau.b) - 1  # NumPy's has the last word


def test_a_budget_ends_at_the_same_evaluation():
    problem = problem_of(*ARITHMETIC["Lorenz"], t1=20.0)
    flat, words = replayed(problem), []
    for f in (problem.f, Replay(problem.f, flat)):
        one = adjode.InitialValueProblem(f, problem.z0, 0.0, 20.0, problem.theta)
        with pytest.raises(adjode.IntegrationError, match="used 307 evaluations") as caught:
            adjode.solve(one, max_evaluations=307, **OPTIONS)
        words.append(str(caught.value).split(" and stands")[0])
    assert words[0] == words[1]


@pytest.mark.parametrize("left, at_once", [(12, True), (11, False)])
def test_a_step_is_done_at_once_if_the_budget_has_it(left, at_once, monkeypatch):
    flat = replayed(problem_of(lambda t, z, w: w @ z))
    field = Counted(flat, limit=20 + left, calls=20)
    given = adjode.dop853(), field, 0.0, Z, 0.1, flat(0.0, Z), 1e-3, 1e-5
    if at_once:
        monkeypatch.setattr(Straight, "__call__", None)  # nobody asks for a stage
        assert flat.trial(*given)[0].shape == (13, 2)
    else:
        with pytest.raises(adjode.IntegrationError, match="used 31 evaluations"):
            flat.trial(*given)
    assert field.calls == 20 + left


@pytest.mark.parametrize("method", ["dop853", "dopri5", "radau"])
def test_what_is_hidden_between_the_nodes_is_refused(method):
    """As in test_replay.py: the stages are held against f, whatever they were computed by."""
    plain = problem_of(lambda t, z, w: z @ w.T)
    known = np.append(solve_replayed(plain, store="stages", method=method).ts, [0.002, 0.004])
    f = lambda t, z, w: (z @ w.T) * np.where(np.isin(getval(t), known), 1.0, 1.01)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    assert isinstance(solve_replayed(problem_of(f), store="stages", method=method).replayed, Straight)
    with pytest.raises(adjode.GradientError, match="looks into what autograd traces"):
        adjode.value_and_gradient(problem_of(f), loss, method=method)


# Near rest these are small differences of what is large, where a last digit of exp counts: f, and
# u(z), which decays to 1 at the rate theta
RESTING = {
    "logistic growth of logs": (lambda t, z, w: w * (1 - anp.exp(z)), lambda z: anp.exp(-z)),
    "and backwards": (lambda t, z, w: w * (anp.exp(-z) - 1), lambda z: anp.exp(z)),
}


@pytest.mark.parametrize("name", RESTING)
@pytest.mark.parametrize("z0, t1", [(-2.0, 15.0), ([-1.5, 0.7], 20.0), ([-1.5, 0.7], 30.0), (0.4, 12.0)])
@pytest.mark.parametrize("method", ["auto", "dopri5", "radau"])
def test_rounding_is_no_other_f(name, z0, t1, method):
    f, u = RESTING[name]
    z0 = np.array(z0)
    inverse = (lambda u: -anp.log(u)) if name.startswith("logistic") else anp.log
    end = lambda z0, w: inverse(1 + (u(z0) - 1) * anp.exp(-w * t1))
    exact = lambda z0, w: anp.sum((end(z0, w) - 1.0) ** 2)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum((z - 1.0) ** 2))
    problem = problem_of(f, z0, 1.0, t1=t1)
    value, found = adjode.value_and_gradient(problem, loss, method=method)
    assert value == pytest.approx(exact(z0, 1.0), rel=1e-5)
    wanted = grad(exact, (0, 1))(z0, 1.0)
    np.testing.assert_allclose(found.z0, wanted[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.theta, wanted[1], rtol=1e-4, atol=1e-6)
    through = lambda w: anp.sum((adjode.odeint(f, z0, [0.0, t1], w, method=method)[-1] - 1.0) ** 2)
    np.testing.assert_allclose(grad(through)(1.0), wanted[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("off, refused", [(1e-9, False), (1e-3, True)])
def test_another_f_is_refused_where_it_leads_elsewhere(off, refused):
    plain = problem_of(lambda t, z, w: z @ w.T)
    known = np.append(solve_replayed(plain, store="stages").ts, [0.002, 0.004])
    f = lambda t, z, w: (z @ w.T) * np.where(np.isin(getval(t), known), 1.0, 1.0 + off)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    assert solve_replayed(problem_of(f), store="stages").replayed
    if refused:
        with pytest.raises(adjode.GradientError, match="looks into what autograd traces"):
            adjode.value_and_gradient(problem_of(f), loss)
    else:
        found, wanted = (adjode.gradient(p, loss).z0 for p in (problem_of(f), plain))
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_f_itself_is_solved_as_tightly(monkeypatch):
    problem = problem_of(*ARITHMETIC["net"])
    path, seen = adjode.solve(problem, rtol=1e-5, atol=1e-7, store="stages"), []

    def found(self, adjoint, trajectory):
        seen.append(trajectory)
        if len(seen) == 1:
            raise OtherValues("of something else")
        return "a gradient"

    monkeypatch.setattr(Guard, "found_or_refused", found)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    assert Guard(problem, loss, 1e-5, 1e-7).trusted(adjode.adjoint_fast, path) == "a gradient"
    np.testing.assert_array_equal(seen[1].ts, path.ts)


@pytest.mark.parametrize("at, off, same", [
    (2, 0.99, True), (2, 1.01, False), (1, 0.99, True), (1, 1.01, False), (0, 9.0, True),
])  # fmt: skip
def test_states_are_the_same_within_the_tolerances_where_the_loss_sees_them(at, off, same):
    problem = problem_of(lambda t, z, w: -z, [3.0, 4.0], ())
    observed = adjode.Loss(observations=adjode.Observations([1.0], lambda i, z: anp.sum(z)))
    ts, zs = np.array([0.5, 1.0, 2.0]), np.array([[3.0, 4.0], [3.0, 5.0], [3.0, 6.0]])
    moved = zs.copy()
    moved[at, 1] += off * (1e-3 + 1e-2 * zs[at, 1])
    one, other = SimpleNamespace(ts=ts, zs=moved), SimpleNamespace(ts=ts, zs=zs)
    assert Guard(problem, observed, 1e-2, 1e-3).same_states(one, other) == same
    unseen = Guard(problem, adjode.Loss(terminal=lambda z, w: anp.sum(z)), 1e-2, 1e-3)
    assert unseen.same_states(one, other) == (same or at != 2)


NUMBERS = [np.True_, np.uint8(200), np.int8(-100), np.int64(2**62), np.float32(0.1), np.float16(0.3), 3, True,
           np.array(7, np.uint8), np.float64(0.1)]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "operation", [lambda c: c + c, lambda c: c * c * 2, lambda c: -c, lambda c: c**2 / 3]
)
def test_a_number_among_names_is_one_of_double_precision(number, operation):
    """In an array with what is traced it is cast; by itself it might go round."""
    f = lambda t, z, w: operation(anp.array([0 * z[0], number]))
    found = replayed(problem_of(f))
    assert isinstance(found, Straight)
    np.testing.assert_allclose(found(0.3, Z), f(0.3, Z, W), rtol=1e-15)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.longdouble])
@pytest.mark.parametrize("method", ["auto", "dopri5"])
def test_tolerances_of_another_precision_are_numbers(kind, method):
    problem = problem_of(*ARITHMETIC["Lotka-Volterra"])
    rtol, atol = kind(1e-6), kind(1e-8)
    for solver in (solve_replayed, adjode.solve):
        found = solver(problem, rtol=rtol, atol=atol, method=method, store="stages")
        wanted = solver(problem, rtol=float(rtol), atol=float(atol), method=method, store="stages")
        assert found.stages.dtype == float and np.array_equal(found.stages, wanted.stages)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    for adjoint in ("discrete", "quadrature", "backsolve"):
        options = {"adjoint": adjoint, "method": method}
        found = adjode.gradient(problem, loss, rtol=rtol, atol=atol, **options)
        wanted = adjode.gradient(problem, loss, rtol=float(rtol), atol=float(atol), **options)
        assert found.path.lams.dtype == float and np.array_equal(found.z0, wanted.z0)


def test_a_wrong_line_is_seen(monkeypatch):
    """Were a name to do something else than f, the value is not that of f, and f is called."""
    monkeypatch.setattr(Name, "sin", Name.cos)
    problem = problem_of(lambda t, z, w: anp.sin(z @ w))
    assert isinstance(replayed(problem), Straight)
    assert not solve_replayed(problem, **OPTIONS).replayed


@pytest.mark.parametrize("d, straight", [(MOST, True), (MOST + 1, False)])
def test_of_more_entries_numpy_is_faster(d, straight):
    found = replayed(problem_of(lambda t, z, w: -w * z, np.ones(d), 0.5))
    assert isinstance(found, Straight) == straight


@pytest.mark.parametrize("inner, straight", [(3, True), (4, False)])
def test_more_than_a_few_lines_for_an_operation_are_too_many(inner, straight):
    """A product of a row of `inner` sums, over and over, is 3 (2 inner - 1) lines."""
    a, b = np.ones((3, inner)), np.ones((inner, 3))
    found = replayed(problem_of(lambda t, z, w: z @ a @ b, np.ones(3), ()))
    lines = inner * 5 + 3 * (2 * inner - 1)
    assert isinstance(found, Straight) == straight == (lines <= 2 * LINES)


def test_an_empty_state_has_no_lines():
    assert not isinstance(replayed(problem_of(lambda t, z, w: -z, np.zeros(0), ())), Straight)


def test_a_name_is_nothing_but_a_name():
    name = Name("z0", Lines(9))
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(name)
    for compare in (lambda: name == name, lambda: name != 1.0):
        with pytest.raises(TypeError, match="not compared"):
            compare()
    for wrong in (lambda: name < 1.0, lambda: hash(name), lambda: float(name), lambda: name % 2):
        with pytest.raises(TypeError):
            wrong()


def test_what_is_written():
    lines = Lines(8)
    x, y = Name("x", lines), Name("y", lines)
    2.0 - x * y / 3
    -abs(x.tanh())
    y**2
    x**3
    with pytest.raises(TypeError, match="more than 8 lines"):
        x + y
    assert lines.lines == [
        *("v0 = x * y", "v1 = v0 / c0", "v2 = c1 - v1", "v3 = tanh(x)", "v4 = abs(v3)", "v5 = -v4"),
        *("v6 = y * y", "v7 = pow(x, c2)"),
    ]
    assert lines.constants == [3.0, 2.0, 3.0]


def test_the_lines_are_compiled_once_whatever_theta_is(monkeypatch):
    compiled = scalars.compiled
    compiled.cache_clear()
    for w in (0.7, 0.3, 2.0):
        found = replayed(problem_of(lambda t, z, w: w * anp.sin(z) * t, theta=w))
        np.testing.assert_allclose(found(2.0, Z), w * np.sin(Z) * 2.0, rtol=1e-14)
    assert compiled.cache_info().misses == 1
    np.testing.assert_allclose(found.flat(2.0, Z), 2.0 * np.sin(Z) * 2.0, rtol=1e-14)
    assert compiled.cache_info().misses == 2  # NumPy's, when they are asked for
    assert found.lines == (
        *("v0 = sin(z0)", "v1 = sin(z1)", "v2 = c0 * v0", "v3 = c1 * v1", "v4 = v2 * t", "v5 = v3 * t"),
        "return (v4, v5,)",
    )


def test_what_is_not_done_with_names_is_said():
    roots = [Noted.new_root([]), Noted.new_root([])]
    names = np.array([Name("z0", Lines(9)), Name("z1", Lines(9))])
    for f, z, words in (
        (lambda t, z: anp.maximum(z, 0.1), names, "maximum may do something else"),
        (lambda t, z: z > 0.1, names, "greater may do something else"),
        (lambda t, z: anp.sin(z), names[None], "sin does something else"),
    ):
        end = run_traced(roots, f, (0.0, Z))[1]
        with pytest.raises(TypeError, match=words):
            named(end, dict(zip(roots, ("t", z), strict=True)))
