"""f without its tracer has the values of f, or is not used."""

import warnings

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import builtins, grad, value_and_grad
from autograd.extend import defvjp, primitive
from autograd.tracer import getval, isbox, trace_stack

import adjode
from adjode import replay
from adjode.batched import stage_nodes
from adjode.fast import Sweep, swept
from adjode.replay import FEW, MANY, Noted, compiled, replayed, solve_replayed, spread
from adjode.vjp import run_traced

NET, NET_THETA = adjode.mlp([2, 6, 2], seed=3)
W = np.array([[-0.2, 1.0], [-1.0, -0.1]])
Z = np.array([0.7, -0.4])
RNG = np.random.default_rng(5)
TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


@pytest.fixture(autouse=True)
def by_numpy(monkeypatch):
    """What is done in plain numbers has rounding errors of its own: see test_scalars.py."""
    monkeypatch.setattr(replay, "straight", lambda *notes: None)


def energy(z, w):
    return 0.5 * z[1] ** 2 - w * anp.cos(z[0])


@primitive
def doubled(x, by=2.0):
    return by * x


defvjp(doubled, lambda ans, x, by=2.0: lambda v: by * v)

# name: f, z0, theta
FIELDS = {
    "net": (NET, Z, NET_THETA),
    "array": (lambda t, z, w: anp.array([z[1] * anp.cos(t), -w * anp.sin(z[0])]), Z, 1.3),
    "stack": (lambda t, z, w: anp.stack([w["a"] * z[1], -(z[0] ** 3) / w["b"]]), Z, {"a": 1.2, "b": 0.8}),
    "array with options": (lambda t, z, w: w * anp.array([z[1], -z[0]], dtype=float), Z, 0.6),
    "concatenate": (lambda t, z, w: anp.concatenate([z[1:], -w * z[:1]]), Z, 1.1),
    "concatenate columns": (
        lambda t, z, w: anp.concatenate([z[:, 1:], -w * z[:, :1]], axis=1),
        [Z, 2 * Z],
        1.1,
    ),
    "products": (lambda t, z, w: anp.dot(z, w) + w @ z - anp.dot(w, anp.dot(2.0, z)) * (z @ z), Z, W),
    "products of tables": (lambda t, z, w: z @ w + anp.dot(z, w) * 2.0, np.array([Z, -Z, 2 * Z]), W),
    "products of cases": (lambda t, z, w: z @ w, RNG.normal(size=(2, 3, 2)), W),
    "many matrices": (lambda t, z, w: (w[None] * [[[1.0]], [[2.0]]] @ z)[1], np.array([Z, -Z]), W),
    "product with options": (lambda t, z, w: anp.matmul(z, w, axes=[(-1, -2)] * 3), np.array([Z, -Z]), W),
    "operators": (lambda t, z, w: -(2.0 - t / 3) * z + (1 + z) ** -2 - 0.5 / (2 + t) + z @ w, Z, W),
    "comparison": (lambda t, z, w: anp.where(z > 0.1, w @ z, -z), Z, W),
    "rows": (
        lambda t, z, w: anp.concatenate([(z @ w)[:, 1:], z[:, :1]], axis=1),
        np.array([Z, -Z, 2 * Z]),
        W,
    ),
    "sorted": (lambda t, z, w: w @ anp.sort(z)[anp.array([1, 0])], Z, W),
    "filled": (lambda t, z, w: w @ z + anp.ones_like(z) - 2 * anp.zeros_like(z), Z, W),
    "entries by number": (lambda t, z, w: w @ z[anp.floor(anp.abs(anp.sin(z))).astype(int)], Z, W),
    "clipped": (lambda t, z, w: w @ anp.maximum(z, 0.1 * z), Z, W),
    "options": (lambda t, z, w: anp.sum(w * z, axis=1, keepdims=True)[:, 0], Z, W),
    "einsum": (lambda t, z, w: anp.einsum("ij,j->i", w, z), Z, W),
    "a primitive of one's own": (lambda t, z, w: doubled(z @ w, by=0.5), Z, W),
    "shape asked for": (lambda t, z, w: anp.reshape(z @ w, z.shape) * len(z) / anp.ndim(t + 1 * z), Z, W),
    "table": (lambda t, z, w: anp.tanh(z @ w) * t, np.array([Z, -Z, 2 * Z]), W),
    "float": (lambda t, z, w: w * anp.exp(-z) + anp.sqrt(t + 1), 0.3, 0.7),
    "one entry": (lambda t, z, w: w * z, [0.3], 0.7),
    "t alone": (lambda t, z, w: w * anp.cos(t) * np.ones(2), Z, 0.7),
    "z as it is": (lambda t, z, w: z, Z, ()),
    "Hamiltonian": (lambda t, z, w: TURN @ grad(energy)(z, w), Z, 0.7),
    "a gradient in f": (lambda t, z, w: W @ grad(lambda z: anp.sum(anp.cos(w * z) + z**2))(z), Z, 0.6),
    "complex between": (lambda t, z, w: anp.real(anp.exp(1j * w * z)), Z, 0.6),
}


ALONE = ("one entry",)  # which might take a batch for a state


class Asked:
    """f, and the times at which it is asked for values, not for a trace or on a batch."""

    def __init__(self, f):
        self.f, self.ts = f, []

    @property
    def calls(self):
        return len(self.ts)

    def __call__(self, t, z, theta):
        if not (isbox(t) or isbox(z) or np.ndim(t)):
            self.ts.append(t)
        return self.f(t, z, theta)


def problem_of(f, z0=Z, theta=W, t1=2.0):
    return adjode.InitialValueProblem(f, z0, 0.0, t1, theta)


def same(one, other) -> bool:
    pairs = ((getattr(x, name) for x in (one, other)) for name in ("ts", "zs", "fs", "stages"))
    return one.stats == other.stats and all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("method", ["auto", "dopri5", "radau"])
def test_a_replay_has_the_bits_of_f(name, method):
    f = Asked(FIELDS[name][0])
    problem = problem_of(f, *FIELDS[name][1:])
    options = {"rtol": 1e-7, "atol": 1e-9, "method": method, "store": "stages", "ts": np.array([0.5, 1.7])}
    wanted = adjode.solve(problem, **options)
    f.ts.clear()
    found, nodes = solve_replayed(problem, **options), wanted.ts.tolist()
    assert same(found, wanted)
    assert bool(found.replayed) == (name not in ALONE)
    if found.replayed:  # at some of the nodes
        assert f.calls == 6 and f.ts[0] > 0.0 and f.ts[-1] == 2.0  # at t0 it was noted
        assert all(t in nodes for t in f.ts) and all(type(t) is float for t in f.ts)


@pytest.mark.parametrize("name", FIELDS)
def test_a_replay_has_the_values_of_f(name):
    f, z0, theta = FIELDS[name]
    problem, again = problem_of(f, z0, theta), replayed(problem_of(f, z0, theta))
    for t in (0.3, 1.9):
        z = problem.z0 * (1.0 + 0.3 * t)
        np.testing.assert_array_equal(again(t, z.ravel()), np.ravel(f(t, z, theta)))


DECIDES = {
    "if of z": lambda t, z, w: z @ w if z[0] > 0 else -z,
    "if of t": lambda t, z, w: z @ w if t < 1.0 else -z,
    "max": lambda t, z, w: max(z[0], z[1]) * z,
    "any": lambda t, z, w: z @ w if anp.any(z > 0) else -z,
    "argmax": lambda t, z, w: z[anp.argmax(z)] * z,
    "number": lambda t, z, w: z * float(t),
    "loop": lambda t, z, w: sum(z for _ in range(int(t) + 1)),
    "if of one entry": lambda t, z, w: z @ w if z[:1] > 0 else -z,
    "if of a number": lambda t, z, w: z @ w if anp.maximum(t - 0.5, 0.0) else -z,
    "or": lambda t, z, w: (z[0] or 1.0) * z,
    "not": lambda t, z, w: z @ w if not z[1:] else -z,
    "in a gradient": lambda t, z, w: grad(lambda x: anp.sum(x**2 if x[:1] > 0 else -(x**2)))(z),
    "how many": lambda t, z, w: z * len(z[z > 0]),
    "mask": lambda t, z, w: anp.sum(z[z > 0]) * z,
    "where they are": lambda t, z, w: anp.sum(z[anp.where(z > 0)]) * z,
    "not zero": lambda t, z, w: z * anp.nonzero(z)[0].size,
    "unlike": lambda t, z, w: z * anp.unique(z).size,
    "repeated": lambda t, z, w: anp.repeat(z, (z > 0).astype(int), 0)[:1] * z,
}


@pytest.mark.parametrize("name", DECIDES)
def test_a_field_that_asks_for_a_number_is_left_alone(name):
    f = Asked(DECIDES[name])
    problem = problem_of(f, t1=1.0)
    assert replayed(problem) is None
    found = solve_replayed(problem, store="stages")
    assert not found.replayed
    assert f.calls == found.stats.f_evaluations
    assert same(found, adjode.solve(problem, store="stages"))


OTHERS = {
    "constant": lambda t, z, w: np.array([1.0, 2.0]),
    "plain numpy": lambda t, z, w: np.array([z[1], -np.sin(z[0])]),
    "by entries": lambda t, z, w: np.array([float(z[1]), 0.0]),
    "whole numbers": lambda t, z, w: anp.floor(z).astype(int),
    "single precision": lambda t, z, w: (w @ z).astype(np.float32),
}
WRONG = {
    "tuple": lambda t, z, w: builtins.tuple((z[1], -z[0])),
    "one number": lambda t, z, w: anp.sum(z),
    "a row": lambda t, z, w: z[None],
    "complex": lambda t, z, w: 1j * z,
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_leaves_no_trace_is_left_alone(name):
    problem = problem_of(OTHERS[name])
    assert replayed(problem) is None
    assert same(solve_replayed(problem, store="stages"), adjode.solve(problem, store="stages"))


STOPS = [
    (lambda t, z: z[z > 0], "__getitem__ may return another shape for other values"),
    (lambda t, z: anp.nonzero(z)[0] * z, "nonzero may return another shape for other values"),
    (lambda t, z: anp.repeat(z, z > 0), "repeat may return another shape for other values"),
    (lambda t, z: anp.repeat(z, anp.abs(z).astype(int)), "repeat may return another shape for other values"),
    (lambda t, z: anp.repeat(z, z.astype(np.uint8)), "repeat may return another shape for other values"),
    (lambda t, z: z if z[:1] > 0 else -z, "f asks for the truth of what depends on t or z"),
    (lambda t, z: z if z[0] > 0 else -z, f"greater returns a {np.bool_.__name__}"),
]


@pytest.mark.parametrize("f, words", STOPS)
def test_a_trace_says_what_stopped_it(f, words):
    doubts = []
    with pytest.raises(TypeError) as caught:
        run_traced([Noted.new_root(doubts), Noted.new_root(doubts)], f, (0.0, np.abs(Z)))
    assert str(caught.value) == words and doubts == [words]


@pytest.mark.parametrize("name", WRONG)
def test_what_f_may_not_return_is_refused_as_ever(name):
    problem = problem_of(WRONG[name])
    assert replayed(problem) is None
    errors = []
    for solver in (adjode.solve, solve_replayed):
        with pytest.raises((TypeError, ValueError)) as caught:
            solver(problem, store="stages")
        errors.append(str(caught.value))
    assert errors[0] == errors[1] and "f(t, z, theta)" in errors[0]


def test_a_trace_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = replayed(problem_of(lambda t, z, w: 1 / t + anp.log(z - Z), theta=()))
    with np.errstate(all="ignore"):
        assert np.array_equal(again(2.0, Z + 1), [0.5, 0.5])


def test_a_comparison_with_f_warns_of_nothing():
    problem = problem_of(lambda t, z, w: -z / (1 + anp.exp(2000 * (1.5 - t))), theta=())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert solve_replayed(problem, store="stages").replayed


HIDDEN = {
    "a value taken out": lambda t, z, w: getval(z[0]) * z,
    "an array of one's own": lambda t, z, w: w @ z if np.asarray(getval(t)) < 0.5 else -z,
    "another f when traced": lambda t, z, w: 2 * z if isbox(z) else w @ z,
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_replay_that_differs_at_a_node_is_dropped(name):
    problem = problem_of(HIDDEN[name], t1=1.0)
    assert replayed(problem) is not None
    found = solve_replayed(problem, store="stages")
    assert not found.replayed
    assert same(found, adjode.solve(problem, store="stages"))


def test_a_replay_that_fails_is_dropped():
    @primitive
    def at_the_start(z):
        if not np.array_equal(z, Z):
            raise ZeroDivisionError
        return z

    defvjp(at_the_start, lambda ans, z: lambda v: v)
    problem = problem_of(lambda t, z, w: at_the_start(z) if isbox(t) else w @ z)
    assert replayed(problem) is not None
    found = solve_replayed(problem, store="stages")
    assert not found.replayed and same(found, adjode.solve(problem, store="stages"))


BETWEEN = {
    "batch": lambda known: lambda t, z, w: (z @ w.T) * np.where(np.isin(getval(t), known), 1.0, 1.01),
    "no batch": lambda known: lambda t, z, w: (w @ z) * (1.0 if getval(t) in set(known) else 1.01),
}


@pytest.mark.parametrize("method", ["dop853", "dopri5", "radau"])
def test_what_is_hidden_between_the_nodes_is_refused(method):
    """The few nodes where a replay is compared do not show it; the gradient is held against all stages."""
    known = adjode.solve(problem_of(lambda t, z, w: w @ z), method=method).ts
    f, loss = BETWEEN["batch"](known), adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    found = solve_replayed(problem_of(f), store="stages", method=method)
    assert found.replayed and np.array_equal(found.ts, known)
    with pytest.raises(adjode.GradientError, match="looks into what autograd traces"):
        adjode.value_and_gradient(problem_of(f), loss, method=method)
    ts = np.array([0.0, 2.0])
    with pytest.raises(adjode.GradientError, match="for what depends on t or z"):
        grad(lambda z: anp.sum(adjode.odeint(f, z, ts, W, method=method)[-1] ** 2))(Z)
    always = BETWEEN["batch"]([])  # the same all along
    adjode.value_and_gradient(problem_of(always), loss, method=method)


def test_the_first_step_is_held_as_well():
    known = adjode.solve(problem_of(lambda t, z, w: w @ z)).ts
    inside = lambda t: (getval(t) > 0.005) & (getval(t) < known[1])
    problem = problem_of(lambda t, z, w: (z @ w.T) * np.where(inside(t), 1.01, 1.0))
    assert solve_replayed(problem, store="stages").replayed
    with pytest.raises(adjode.GradientError, match="looks into what autograd traces"):
        adjode.value_and_gradient(problem, adjode.Loss(terminal=lambda z, w: anp.sum(z**2)))


@pytest.mark.parametrize("method", ["dop853", "radau"])
def test_one_stage_after_the_other_is_held_as_well(method):
    problem = problem_of(*FIELDS["net"])
    found = solve_replayed(problem, store="stages", method=method)
    assert found.replayed
    ways = [Sweep(problem, found, np.ones(2), {}, way) for way in (None, "by_vjps")]
    rows = [sweep.run() for sweep in ways]
    np.testing.assert_allclose(*rows, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["dop853", "radau"])
def test_without_a_batch_every_stage_is_held_against_f_one_by_one(method):
    loss, options = adjode.Loss(terminal=lambda z, w: anp.sum(z**2)), {"method": method, "store": "stages"}
    f = Asked(FIELDS["einsum"][0])
    problem = problem_of(f)
    path = solve_replayed(problem, **options)
    f.ts.clear()
    found, sweep = swept(problem, loss, path)
    stages = stage_nodes(problem, path, 0, path.stats.steps).ts
    assert path.replayed and sweep.batch is None and set(stages.ravel().tolist()) <= set(f.ts)
    wanted = adjode.adjoint_discrete(problem, loss, adjode.solve(problem, **options))
    np.testing.assert_allclose(found.z0, wanted.z0, rtol=1e-11)
    np.testing.assert_allclose(found.theta, wanted.theta, rtol=1e-11, atol=1e-13)
    known = adjode.solve(problem_of(lambda t, z, w: w @ z), method=method).ts
    problem = problem_of(BETWEEN["no batch"](known))
    assert solve_replayed(problem, **options).replayed  # at the nodes it does nothing else
    with pytest.raises(adjode.GradientError, match="looks into what autograd traces"):
        adjode.value_and_gradient(problem, loss, method=method)


CAUGHT = {  # and the value that a tight solve gives
    "truth": (lambda t, z: bumped(z[0]) if 1.03 < z[0] < 1.1 else 0.0, 8.10117),
    "shape": (lambda t, z: bumped(z[0]) * (z[0] < 1.1) if len(z[z > 1.03]) else 0.0, 8.10117),
    "time": (lambda t, z: bumped(0.4 * t) if 2.575 < t < 2.75 else 0.0, 8.13508),
}


def bumped(x):
    return 3e5 * (x - 1.03) ** 2 * (1.1 - x) ** 2


@pytest.mark.parametrize("name", CAUGHT)
def test_a_refusal_that_f_catches_is_one_all_the_same(name):
    extra, wanted = CAUGHT[name]

    def f(t, z, w):
        try:
            return w + 0 * z + w * extra(t, z)
        except Exception:
            return w + 0 * z

    problem = problem_of(f, [0.0, 0.0], 0.4, 5.0)
    assert replayed(problem) is None
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    assert adjode.value_and_gradient(problem, loss)[0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("shape", [(1,), (2, 1), (3, 2, 1)])
def test_a_part_of_a_state_that_may_be_a_state_of_a_batch_is_not_replayed(shape):
    problem = problem_of(lambda t, z, w: w * z, 0.3 + np.zeros(shape), 0.7)
    assert replayed(problem) and not solve_replayed(problem, store="stages").replayed


def test_what_turns_complex_on_the_way_is_refused_as_ever():
    f = lambda t, z, w: anp.real_if_close(w * z + 1j * anp.maximum(t - 1.0, 0.0) * z)
    problem = problem_of(f, theta=-0.4)
    for solver in (adjode.solve, solve_replayed):
        with pytest.raises(TypeError, match="must be real; got complex128"):
            solver(problem, store="stages")


@pytest.mark.parametrize("seed", range(8))
def test_another_way_to_a_power_is_no_other_f(seed):
    """Of one number, numpy.power and ** may differ in the last bit."""
    w = 0.3 + 0.1 * seed
    problem = problem_of(lambda t, z, w: -w * z * anp.power(t + 1.3, 1.5), theta=w)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    value, found = adjode.value_and_gradient(problem, loss)
    whole = 0.4 * (3.3**2.5 - 1.3**2.5)  # the integral of the power
    assert value == pytest.approx(0.65 * np.exp(-2 * w * whole), rel=1e-5)
    assert found.theta == pytest.approx(-2 * whole * value, rel=1e-4)


def asked_by(adjoint, **options) -> tuple:
    """Evaluations that the solver counts, and those that f saw, on the way forth."""
    f = Asked(FIELDS["net"][0])
    problem = problem_of(f, *FIELDS["net"][1:])
    value, _ = adjode.value_and_gradient(problem, adjode.Loss(**options), adjoint=adjoint)
    return value, f.calls


def test_the_front_door_replays_for_the_discrete_adjoint_alone():
    terminal = {"terminal": lambda z, w: anp.sum(z**2)}
    cost = {"running": lambda t, z, w: anp.sum(z**2)}
    path = adjode.solve(problem_of(*FIELDS["net"]), store="stages")
    assert asked_by("discrete", **terminal)[1] < 60 < path.stats.f_evaluations
    for adjoint in ("backsolve", "quadrature", "interpolated", "checkpointed"):
        assert asked_by(adjoint, **terminal)[1] >= path.stats.f_evaluations
    assert asked_by("discrete", **cost)[1] < 60


def test_odeint_replays_where_a_gradient_will_be_asked_for():
    f, ts = Asked(FIELDS["net"][0]), np.array([0.0, 1.0, 2.0])
    loss = lambda z, adjoint: anp.sum(adjode.odeint(f, z, ts, NET_THETA, adjoint=adjoint)[1:] ** 2)
    evaluations = adjode.solve(problem_of(*FIELDS["net"]), ts=ts, store="stops").stats.f_evaluations
    value = loss(Z, "discrete")
    assert f.calls == evaluations
    f.ts.clear()
    assert value_and_grad(loss)(Z, "discrete")[0] == value
    assert f.calls < 60
    f.ts.clear()
    value_and_grad(loss)(Z, "interpolated")
    assert f.calls >= evaluations


def test_a_traced_value_from_elsewhere_is_refused_as_ever():
    def loss(w):
        return anp.sum(adjode.odeint(lambda t, z, theta: w * theta * z, Z, np.array([0.0, 1.0]), w)[-1])

    with pytest.raises(TypeError, match="Pass what you differentiate in `theta`"):
        grad(loss)(1.0)


def test_an_exception_of_f_is_the_one_of_f():
    def broken(t, z, w):
        if not isbox(z) and abs(z[0]) > 5:
            raise RuntimeError("too far")
        return z

    with pytest.raises(RuntimeError, match=r"^too far$"):
        grad(lambda z: anp.sum(adjode.odeint(broken, z, np.array([0.0, 9.0]), ())[-1]))(Z)


def test_an_empty_state_has_nothing_to_replay():
    problem = problem_of(lambda t, z, w: w * z, np.zeros(0), 1.0)
    assert not solve_replayed(problem, store="stages").replayed


def test_what_is_said_is_compiled_once_whatever_theta_is():
    compiled.cache_clear()
    for w in (0.5, 0.6, 0.7):
        again = replayed(problem_of(lambda t, z, w: w * anp.sin(z) * t, theta=w))
        assert np.array_equal(again(2.0, Z), w * np.sin(Z) * 2.0)
    assert compiled.cache_info().misses == 1


def test_what_is_said_of_f(monkeypatch):
    said = []
    monkeypatch.setattr(replay, "compiled", lambda *text: said.extend(text[-1]) or compiled(*text))
    f = lambda t, z, w: anp.array([z[1] * w, anp.sin(t)]) + anp.array(z[:1], dtype=float)
    replayed(problem_of(f, theta=2.0))
    assert said == [
        *("v0 = z[c0]", "v1 = v0 * c1", "v2 = array(v1)", "v3 = c4(t)", "v4 = array(v3)"),
        *("v5 = array((v2, v4,))", "v6 = z[c9]", "v7 = c12(c10, c11, v6)", "v8 = v5 + v7"),
        *("if v8.dtype is not FLOAT:", "    raise TypeError", "return v8"),
    ]


def test_a_product_is_said_in_the_shortest_way(monkeypatch):
    said = []
    monkeypatch.setattr(replay, "compiled", lambda *text: said.append(text[-1][0]) or compiled(*text))
    for f in (
        lambda t, z, w: w @ z,
        lambda t, z, w: anp.dot(z, w),
        lambda t, z, w: anp.dot(2.0, z),
        lambda t, z, w: anp.matmul(w, z, axes=[(-2, -1), -1, -1]),
    ):
        assert replayed(problem_of(f))(0.0, Z).shape == (2,)
    assert said == ["v0 = c0.dot(z)", "v0 = z.dot(c0)", "v0 = c1(c0, z)", "v0 = c2(c0, z, axes=c1)"]


IN_PLACE = [  # f, and what is said of it up to the reshape at the end
    (
        lambda t, z, w: anp.tanh(anp.dot(z, w) + 1.0),
        ["v0 = z.dot(c0)", "v0 = c2(v0, c1, v0)", "v0 = c3(v0, v0)"],
    ),
    (lambda t, z, w: 1.0 - (w @ z) / 3.0, ["v0 = c0.dot(z)", "v0 = c2(v0, c1, v0)", "v0 = c4(c3, v0, v0)"]),
    (lambda t, z, w: anp.sin(z) * z**2, ["v0 = c0(z)", "v1 = z ** c1", "v0 = c2(v0, v1, v0)"]),
    (
        lambda t, z, w: anp.exp(z.T + 1.0).T,
        ["v0 = c0(z)", "v1 = v0 + c1", "v1 = c2(v1, v1)", "v3 = c3(v1)"],
    ),
    (lambda t, z, w: anp.add(2.0 * z, w, dtype=float), ["v0 = c0 * z", "v1 = c3(v0, c1, dtype=c2)"]),
    (lambda t, z, w: anp.square(2.0 * z) ** 2, ["v0 = c0 * z", "v0 = c1(v0, v0)", "v2 = v0 ** c2"]),
]
NOT_IN_PLACE = [
    lambda t, z, w: (2.0 * z) * (2.0 * z)[:, :1],  # which is smaller
    lambda t, z, w: anp.sum(2.0 * z, axis=0) * anp.ones((2, 2)),
    lambda t, z, w: (2.0 * z[:, :1]) * w,
    lambda t, z, w: anp.isfinite(z) * w,
    lambda t, z, w: (lambda x: anp.sin(x) - anp.cos(x) * x)(z + 1.0),  # which is read by others
    lambda t, z, w: (lambda x: x + x)(z + 1.0),
    lambda t, z, w: (lambda x: anp.ravel(x)[:2] * (x + 1.0))(2.0 * z),  # a view
    lambda t, z, w: anp.sin(anp.reshape(z, (4,))).reshape(2, 2) + anp.cos(z.T),
    lambda t, z, w: anp.where((2.0 * z > 1.0) == (z > 0.0), z, 0.0),  # numbers of another kind
    lambda t, z, w: anp.sin(t * 2.0) * 3.0 + z,  # one number
]


def by_place(problem):
    """In NumPy's operations, though numbers would do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "straight", lambda *_: None)
        return replayed(problem)


@pytest.mark.parametrize("f, wanted", IN_PLACE)
def test_a_value_takes_the_place_of_what_it_alone_reads(f, wanted, monkeypatch):
    said = []
    monkeypatch.setattr(replay, "compiled", lambda *text: said.extend(text[-1]) or compiled(*text))
    problem = problem_of(f, np.array([Z, 2 * Z]), np.array([[0.3, 0.9], [-0.2, 0.4]]))
    again = by_place(problem)
    for z in (problem.z0, 1 - problem.z0):
        np.testing.assert_array_equal(again(0.7, z.ravel()).reshape(2, 2), f(0.7, z, problem.theta))
    assert said[1:-4] == wanted


@pytest.mark.parametrize("f", [*NOT_IN_PLACE, *(f for f, _ in IN_PLACE)])
def test_a_place_is_given_only_where_nothing_is_lost(f):
    z, w = np.array([[0.3, -0.8], [1.7, 0.4]]), np.array([[0.3, 0.9], [-0.2, 0.4]])
    again, before = by_place(problem_of(f, z, w)), z.copy()
    for t in (0.1, 0.9, 0.1):  # once more: what was kept is what it was
        np.testing.assert_array_equal(again(t, z.ravel()).reshape(2, 2), f(t, z, w))
    np.testing.assert_array_equal(z, before)


@pytest.mark.parametrize(
    "x", [2.0, 3, True, np.float32(0.1), np.arange(3), np.ones((2, 1), np.float32)], ids=repr
)
def test_a_few_numbers_are_spread_over_the_shape_of_a_small_value(x):
    found = spread(x, np.zeros((2, 3)))
    assert found.shape == (2, 3) and found.dtype == float and found.flags.writeable
    np.testing.assert_array_equal(found, np.zeros((2, 3)) + x)


@pytest.mark.parametrize("x, rows", [(2.0, FEW // 2), (np.ones(2), MANY // 2)], ids=["number", "row"])
@pytest.mark.parametrize("order", "CF")
def test_a_row_is_spread_over_more_and_in_the_order_of_the_value(x, rows, order):
    value = np.zeros((rows, 2), order=order)
    assert spread(x, value).strides == value.strides


LEFT = [
    *((1.0, value) for value in (0.5, np.array(0.5), np.zeros(FEW + 1), np.zeros(3, np.float32))),
    (np.ones(2), np.zeros((MANY // 2 + 1, 2))),
    *((1j, np.zeros(3)), (np.longdouble(1), np.zeros(3, np.longdouble)), ("x", np.zeros(3))),
]


@pytest.mark.parametrize("x, value", LEFT)
def test_what_is_wide_or_of_another_kind_stays_as_it_is(x, value):
    assert spread(x, value) is x


def test_the_numbers_beside_a_state_are_spread():
    again = replayed(problem_of(lambda t, z, w: w - 2.0 * z, np.array([Z, 2 * Z]), np.array([0.3, 0.9])))
    assert [np.shape(cell.cell_contents) for cell in again.__closure__] == [(2, 2), (2, 2), ()]


def test_rows_and_numbers_are_replayed_with_the_bits_of_f():
    row = np.array([0.1, 0.7], np.float32)
    f = lambda t, z, w: (w / 3 - (z * row + 0.1) * 3 - 1 / (z + 4.0)) ** 2 * np.array([2, 3])
    problem = problem_of(f, np.array([Z, 2 * Z]), np.array([0.3, 0.9]))
    again = replayed(problem)
    for z in (problem.z0, 1.7 * problem.z0):
        np.testing.assert_array_equal(again(0.3, z.ravel()), f(0.3, z, problem.theta).ravel())


def test_a_comparison_is_noted_as_well():
    again = replayed(problem_of(lambda t, z, w: anp.where(z > w, z, w), theta=0.1))
    assert np.array_equal(again(0.0, np.array([-3.0, 3.0])), [0.1, 3.0])


def test_autograd_itself_asks_as_ever():
    assert grad(lambda x: x**2 if x - 2.0 else 5 * x)(2.0) == 5.0
    assert grad(lambda x: x**2 if x - 2.0 else 5 * x)(3.0) == 6.0
    assert grad(lambda x: x**2 if x > 1.0 else 5 * x)(3.0) == 6.0


BUMP = {  # a smooth one, that the six nodes do not see
    "if of an array": lambda x: 3e5 * (x - 1.03) ** 2 * (1.1 - x) ** 2 if 1.03 < x < 1.1 else 0.0,
    "if of its only entry": lambda x: 3e5 * (x - 1.03) ** 2 * (1.1 - x) ** 2 if 1.03 < x[:1] < 1.1 else 0.0,
    "mask": lambda x: 3e5 * anp.sum((x[x > 1.03] - 1.03) ** 2 * anp.maximum(1.1 - x[x > 1.03], 0) ** 2),
}


@pytest.mark.parametrize("name", BUMP)
def test_a_decision_in_a_narrow_place_is_met(name):
    problem = problem_of(lambda t, z, w: w + 0 * z + w * BUMP[name](z), [0.0], 0.4, 5.0)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    value, found = adjode.value_and_gradient(problem, loss)
    assert value == pytest.approx(4.05058, rel=1e-5)
    assert found.theta == pytest.approx(20.1430, rel=1e-4)


def test_a_stiff_decision_in_a_narrow_place_is_met():
    def f(t, z, w):
        x, bump = z[0], 0.0
        if 0.4 < x < 0.5:
            bump = 6e4 * w * (x - 0.4) ** 2 * (0.5 - x) ** 2
        return anp.stack([w * anp.ones(1) + bump, -500.0 * (z[1] - anp.cos(3 * t) * x)])

    problem = adjode.InitialValueProblem(f, np.zeros((2, 1)), 0.0, 3.0, 0.5)
    loss = adjode.Loss(terminal=lambda z, w: anp.sum(z**2))
    assert adjode.value_and_gradient(problem, loss, method="radau")[0] == pytest.approx(4.191211, rel=1e-5)


def test_the_trace_stack_is_left_as_it_was():
    for f in [*DECIDES.values(), FIELDS["net"][0]]:
        top = trace_stack.top
        replayed(problem_of(f, theta=NET_THETA))
        assert trace_stack.top == top
