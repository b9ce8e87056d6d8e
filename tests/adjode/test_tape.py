"""A trace that is kept: pulled back, pushed, and in part."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.core import primitive_jvps, primitive_vjps
from autograd.extend import defjvp, defvjp, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import concatenate_args
from autograd.tracer import trace_primitives_map

import adjode
from adjode.curvature.tangent import pushforward
from adjode.rules import Factors, vjp_of
from adjode.tape import Tape, added, record

RNG = np.random.default_rng(2)
Z, W = RNG.normal(size=3), RNG.normal(size=(3, 3))


def test_recorded_rows_are_those_of_the_pullback():
    fun = lambda z, w, b: anp.concatenate([anp.tanh(anp.dot(z, w) + b), anp.exp(z[:1]) * b[0]])
    args = Z, W, np.linspace(0.1, 0.3, 3)
    value, back = adjode.pullback(fun, *args)
    recorded, again, held = record(fun, *args)
    np.testing.assert_array_equal(recorded, value)
    assert held == sum([3, 3, 3, 1, 1, 1, 1, 4])  # dot, +, tanh, [:1], exp, [0], *, concatenate
    for v in (np.arange(4.0), np.array([0.3, -1, 2, 5])):
        for one, other in zip(again(v), back(v), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-15)
        (z_bar,) = again(v, 1)
        np.testing.assert_allclose(z_bar, back(v)[0], rtol=1e-14, atol=1e-15)
    assert record(lambda z: np.ones(2), 3.0)[1](np.ones(2)) == [0.0]
    np.testing.assert_array_equal(record(lambda z: z, Z)[1](Z)[0], Z)


def test_the_rows_of_complex_functions_are_not_taken_for_products():
    # conj and abs are elementwise: the row of conj is conj(v), not v conj(1)
    fun = lambda x: anp.conj(x * (1 + 2j)) * (3 - 1j)
    x, v = np.array([0.4, -1.1]), np.array([1 - 2j, 0.5 + 1j])
    np.testing.assert_allclose(record(fun, x)[1](v), adjode.pullback(fun, x)[1](v), rtol=1e-14)
    size = lambda x: anp.abs(x * (1 + 2j)) * anp.array([3.0, -2.0])
    np.testing.assert_allclose(record(size, x)[1](x), adjode.pullback(size, x)[1](x), rtol=1e-14)
    by_hand = np.sqrt(5) * np.abs(x) * np.array([3.0, -2.0])
    np.testing.assert_allclose(record(size, x)[1](x)[0], by_hand, rtol=1e-14)


def test_complex_products_and_scalars_go_autograds_way():
    turn = lambda x: anp.real(anp.dot(x * 1j, np.array([[1j, 2.0], [3.0, 1.0]])))
    x, v = np.array([[1.0, 2.0]]), np.array([[0.3, -0.7]])
    np.testing.assert_allclose(record(turn, x)[1](v), adjode.pullback(turn, x)[1](v), rtol=1e-14)
    for fun in (lambda x: anp.dot(2.0, x), lambda x: anp.dot(x, 2.0)):
        np.testing.assert_allclose(record(fun, x)[1](v), adjode.pullback(fun, x)[1](v), rtol=1e-14)
    m, v = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[0.3, -0.7], [0.1, 0.2]])
    (row,) = record(lambda s: anp.dot(s, m), 2.0)[1](v)
    assert np.shape(row) == () and row == pytest.approx(np.sum(v * m))


def net(z, w, b, scale):
    h = anp.tanh(anp.dot(z * z, w) + b)
    return anp.concatenate([h[:, :1] * z[:, 1:], anp.exp(h) @ w], axis=1) * scale


NET = RNG.normal(size=(5, 3)), W, RNG.normal(size=3), 0.7


def test_a_derivative_along_a_direction_is_that_of_forward_mode(monkeypatch):
    directions = [RNG.normal(size=np.shape(x)) for x in NET]
    value, tape, _ = record(net, *NET)
    whole = pushforward(net, list(NET), directions)[1]
    np.testing.assert_allclose(tape.along(directions), whole, rtol=1e-12)
    some = [None, directions[1], None, directions[3]]
    zeros = [0.0 * x if d is None else d for x, d in zip(NET, some, strict=True)]
    np.testing.assert_allclose(tape.along(some), pushforward(net, list(NET), zeros)[1], rtol=1e-12)
    assert record(lambda z: z, Z)[1].along([3 * Z]).tolist() == (3 * Z).tolist()
    tape(np.ones_like(value))
    monkeypatch.delitem(primitive_jvps, anp.add)  # which needs no rule
    monkeypatch.delitem(primitive_jvps, anp.tanh)  # its slope is known from the rows
    monkeypatch.delitem(primitive_vjps, anp.tanh)
    np.testing.assert_allclose(tape.along(directions), whole, rtol=1e-12)


def test_what_is_read_once_makes_room_for_what_comes_next(monkeypatch):
    places, move = [], Tape.move
    spy = lambda tape, node, known, out: places.append(out is not None) or move(tape, node, known, out)
    monkeypatch.setattr(Tape, "move", spy)
    again = lambda z, w, b: anp.tanh(anp.dot(z, w) - b) * b
    twice = lambda z, w, b: (lambda x: anp.tanh(x) * x + (x - b[:, None]))(anp.dot(z, w))
    other = lambda z, w, b: anp.exp(b + anp.dot(z, w)[0] + 0.0 * z)  # (3,) has no room for (4, 3)
    views = lambda z, w, b: (lambda x: anp.exp(x[:2]) + anp.exp(x[1:3]) * x[2:])(anp.matmul(z, w))
    cases = [(again, [False, True, True, True]), (twice, None), (other, None), (views, None)]
    for fun, wanted in cases:
        rows = 3 if fun is twice else 4
        args = [RNG.normal(size=(rows, 3)), W, RNG.normal(size=3)]
        directions = [RNG.normal(size=np.shape(x)) for x in args]
        kept, (_, tape, _) = [d.copy() for d in directions], record(fun, *args)
        places.clear()
        found = tape.along(directions)
        assert wanted is None or places == wanted
        np.testing.assert_allclose(found, pushforward(fun, args, directions)[1], rtol=1e-12)
        np.testing.assert_array_equal(tape.along(directions), found)
        assert all(map(np.array_equal, directions, kept))


def test_a_sum_that_is_complex_finds_no_room_in_what_is_real():
    fun = lambda x: anp.real((anp.dot(x, W) + 1j * x) * (2 - 1j))
    direction = RNG.normal(size=(4, 3))
    _, tape, _ = record(fun, RNG.normal(size=(4, 3)))
    np.testing.assert_allclose(tape.along([direction]), 2 * direction @ W + direction, rtol=1e-12)
    row, part = np.array([1.0, 2.0]), np.array([1j, 3.0])
    assert added((row, True), part, False)[0].tolist() == [1 + 1j, 5.0] and row.tolist() == [1.0, 2.0]


FORTH = {
    "a difference": lambda x, y: x - y,
    "a difference of rows": lambda x, y: x - y[0],
    "a row less a table": lambda x, y: y[1] - x,
    "a product": lambda x, y: x * y * 2.0,
    "a number times a table": lambda x, y: y[0, 0] * x,
    "the same twice": lambda x, y: x * x - x,
    "matrices": lambda x, y: anp.dot(x, y.T) @ y,
    "entries": lambda x, y: x[:, 1:] * y[0, ::-1][1:],
    "joined": lambda x, y: anp.concatenate([y, np.ones((2, 3)), x * y, x]),
    "joined behind, with numbers": lambda x, y: anp.concatenate([np.ones((2, 1), int), x], axis=-1),
    "arrays": lambda x, y: anp.array([x[0], 2.0 * y[1]]) + anp.array(y),
    "stacked": lambda x, y: anp.stack([x, y], axis=-1),
    "numbers": lambda x, y: x[0, 0] - y[0, 1] * x[1, 1],
}


@pytest.mark.parametrize("some", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("name", FORTH)
def test_what_is_linear_moves_as_in_forward_mode(name, some, monkeypatch):
    args, directions = RNG.normal(size=(2, 2, 2, 3))
    fun = FORTH[name]
    value, tape, _ = record(fun, *args)
    given = [d if one else None for d, one in zip(directions, some, strict=True)]
    zeros = [np.zeros((2, 3)) if d is None else d for d in given]
    wanted = pushforward(fun, list(args), zeros)[1]
    for one in (anp.subtract, anp.multiply, anp.dot, anp.matmul, ArrayBox.__getitem__, concatenate_args):
        monkeypatch.delitem(primitive_jvps, one)  # which need no rule
    if name in ("joined behind, with numbers", "the same twice") and given[0] is None:  # y is not in it
        with pytest.raises(KeyError):
            tape.along(given)
        return
    found = tape.along(given)
    assert np.shape(found) == np.shape(value)
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-14)


def test_a_product_with_a_rule_of_its_own_is_pushed_by_that():
    times = trace_primitives_map[np.multiply]
    own = primitive(np.multiply)
    trace_primitives_map[np.multiply] = times  # whose place it took
    defvjp(own, lambda ans, x, y: lambda v: v, None)
    defjvp(own, lambda g, ans, x, y: 5.0 * g, None)
    np.testing.assert_array_equal(record(lambda z: own(z, Z), Z)[1].along([Z]), 5 * Z)


def test_a_sum_with_a_rule_of_its_own_is_pushed_by_that():
    plus = trace_primitives_map[np.add]
    own = primitive(np.add)
    trace_primitives_map[np.add] = plus  # whose place it took
    defvjp(own, lambda ans, x, y: lambda v: 2.0 * v, lambda ans, x, y: lambda v: v)
    defjvp(own, lambda g, ans, x, y: 2.0 * g, lambda g, ans, x, y: g)
    tape = record(own, Z, np.ones(3))[1]
    np.testing.assert_array_equal(tape.along([Z, Z]), 3 * Z)
    np.testing.assert_array_equal(tape(Z)[0], 2 * Z)


def test_a_direction_that_leads_nowhere_or_has_no_rule_is_an_error():
    with pytest.raises(KeyError):
        record(lambda z: np.ones(3), Z)[1].along([Z])
    with pytest.raises(KeyError):
        record(lambda z, w: 2 * z, Z, W)[1].along([None, W])
    own = primitive(lambda z: z**3)
    defvjp(own, lambda ans, z: lambda v: 3 * z**2 * v)
    with pytest.raises(KeyError):
        record(own, Z)[1].along([Z])


def test_complex_slopes_and_options_go_autograds_way_forth_too():
    x, d = np.array([0.4, -1.1]), np.array([0.3, 2.0])
    fun = lambda x: anp.real(anp.conj(x * (1 + 2j)) * (3 - 1j))
    np.testing.assert_allclose(record(fun, x)[1].along([d]), 1.0 * d, rtol=1e-13)  # (1 - 2i)(3 - i)
    some = primitive(np.exp)
    asked = []

    def jvp(argnums, gs, value, args, kwargs):
        asked.append(kwargs)
        return np.where(kwargs["where"], value * gs[0], 0.0)

    primitive_vjps[some] = lambda argnums, value, args, kwargs: lambda v: (v * value,)
    primitive_jvps[some] = jvp
    where = np.array([True, False])
    found = record(lambda x: some(x, where=where, out=np.zeros(2)), x)[1].along([d])
    np.testing.assert_allclose(found, [np.exp(0.4) * 0.3, 0.0], rtol=1e-13)
    assert len(asked) == 1


N = 7  # rows


def rows_apart(fun, *args) -> bool:
    z = RNG.normal(size=(N, 3))
    return record(fun, z, *args)[1].apart(N)


def test_what_is_done_to_each_row_alone_is_told_from_what_was_called():
    w, b, column = RNG.normal(size=(3, 3)), RNG.normal(size=3), RNG.normal(size=(N, 1))
    for fun in (
        lambda z, w, b: anp.tanh((z * z * z) @ w + b) @ w + b,
        lambda z, w, b: anp.dot(anp.maximum(z, 0.0), w) / b - column * z,
        lambda z, w, b: anp.exp(-(z**2)) * (anp.dot(w, w) @ b) * anp.ones((N, 3)) + z,
        lambda z, w, b: z,
        lambda z, w, b: anp.ones((N, 3)),
    ):
        assert rows_apart(fun, w, b)


@pytest.mark.parametrize(
    "fun",
    [
        lambda z: z - anp.mean(z, axis=0),
        lambda z: z + anp.sum(z),
        lambda z: anp.cumsum(z, axis=0),
        lambda z: z[::-1] * z,
        lambda z: anp.tanh(anp.concatenate([z[1:], z[:1]])),
        lambda z: anp.dot(MIXED, z),
        lambda z: anp.matmul(MIXED, anp.tanh(z)),
        lambda z: z @ anp.dot(z.T, z),  # the matrix depends on the rows, too
        lambda z: anp.dot(z, z.T)[:, :3],
        lambda z: anp.reshape(anp.reshape(z, (3, N)) * 2.0, (N, 3)),
        lambda z: anp.dot(z[:, None], anp.ones((N, 3, 3)))[:, 0, 0],
        lambda z: anp.exp(z.T + 1.0).T,
        lambda z: anp.where(z > 0, z, 2 * z),  # plain only to who knows what it does
        lambda z: primitive_sum(z) + z,
        lambda z: centred(z, 1.0),
    ],
)
def test_rows_that_may_depend_on_each_other_are_not_plain(fun):
    assert not rows_apart(fun)


MIXED = RNG.normal(size=(N, N))
primitive_sum = primitive(lambda z: z + np.sum(z))
defvjp(primitive_sum, lambda ans, z: lambda v: v + np.sum(v))
minus = trace_primitives_map[np.subtract]
centred = primitive(np.subtract)  # by a rule of its own
trace_primitives_map[np.subtract] = minus  # whose place it took
defvjp(centred, lambda ans, x, y: lambda v: v - np.mean(v, axis=0), None)


def test_what_the_parameters_do_among_themselves_comes_first_and_says_nothing():
    w = RNG.normal(size=(3, 3))
    assert rows_apart(lambda z, w: anp.sin(z @ anp.dot(w, w)), w)
    assert not rows_apart(lambda z, w: anp.cumsum(z @ anp.dot(w, w), axis=0), w)


def test_rows_are_those_of_the_first_axis_and_of_no_other_length():
    square = record(lambda z: anp.tanh(z) @ MIXED, RNG.normal(size=(N, N)))[1]
    assert square.apart(N) and not square.apart(N - 1)
    # z is a row here, and meets each row of another array: all entries depend on it
    assert not record(lambda z: z * np.ones((N, 3)), RNG.normal(size=3))[1].apart(N)
    assert not record(lambda z: z @ np.ones((N, N)), RNG.normal(size=N))[1].apart(N)
    assert not record(lambda z: z[None] * np.ones((N, N)), RNG.normal(size=N))[1].apart(N)
    spread = lambda z: z * np.ones((N, N, 3))  # (N, 3) against the last two axes
    assert not record(spread, RNG.normal(size=(N, 3)))[1].apart(N)
    cubes = record(lambda z: anp.dot(z, np.ones((2, 4))) ** 2, RNG.normal(size=(N, 3, 2)))[1]
    assert cubes.apart(N)


@pytest.mark.parametrize("first, last", [(0, 2), (3, 5), (1, 4)])
def test_a_part_is_the_tape_of_these_entries_alone(first, last):
    _, tape, _ = record(net, *NET)
    part = tape.part(lambda x: x[first:last] if np.shape(x)[:1] == (5,) else x)
    alone = record(net, NET[0][first:last], *NET[1:])[1]
    v = RNG.normal(size=(last - first, 5))
    for n in (None, 1):
        for found, wanted in zip(part(v, n), alone(v, n), strict=True):
            assert np.shape(found) == np.shape(wanted)
            np.testing.assert_allclose(found, wanted, rtol=1e-13)
    directions = [RNG.normal(size=np.shape(x)) for x in (NET[0][first:last], *NET[1:])]
    np.testing.assert_allclose(part.along(directions), alone.along(directions), rtol=1e-12)
    assert part.held == alone.held < tape.held
    v = RNG.normal(size=(5, 5))  # and the whole is what it was
    for found, wanted in zip(tape(v), adjode.pullback(net, *NET)[1](v), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-13)
    idle = record(lambda z, w: 2 * w, NET[0], np.ones((5, 2)))[1].part(
        lambda x: x[first:last] if np.ndim(x) else x
    )
    np.testing.assert_array_equal(idle(np.ones((last - first, 2)))[0], np.zeros((last - first, 3)))


def test_parts_of_a_row_are_added_up_and_nothing_else_is_written_to():
    z, v = np.array([0.5, -1.0, 2.0]), np.array([1.0, 3.0, -2.0])
    fun = lambda z: z + z + z * 2.0 + anp.exp(z[[0, 0, 1]]) + z[::-1] * 3.0 + 5.0 * z
    _, tape, _ = record(fun, z)
    kept = v.copy()
    for _ in range(2):
        np.testing.assert_allclose(tape(v), adjode.pullback(fun, z)[1](v), rtol=1e-14)
    np.testing.assert_array_equal(v, kept)


def test_a_row_that_is_ours_is_added_to_in_place():
    one, two = np.ones(3), np.full(3, 2.0)
    row = added(None, one, False)
    assert row[0] is one and not row[1]
    whole, ours = added(row, two, False)
    assert ours and whole is not one
    again, ours = added((whole, ours), two, False)
    assert ours and again is whole
    np.testing.assert_array_equal(whole, np.full(3, 5.0))
    np.testing.assert_array_equal(one, np.ones(3))
    assert added(added(None, 1.0, False), 2.0, False) == (3.0, True)  # plain numbers
    new = np.ones(3)
    again, ours = added(added(None, new, True), two, False)  # nobody else has it
    assert ours and again is new and new.tolist() == [3.0] * 3


def test_a_slope_comes_into_a_product_of_covectors_and_into_nothing_else(monkeypatch):
    """Written over is what a product made on the way back, and no covector that somebody has."""
    places, multiply = [], np.multiply

    def spy(*args, out=None):
        places.append(out is not None)
        return multiply(*args, out=out)

    x, v, table = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 4)), RNG.normal(size=(3, 4))
    for fun, wanted in {
        lambda x, w: anp.dot(anp.exp(x), w): [True],
        lambda x, w: anp.exp(anp.dot(x, w)): [False],  # v itself
        lambda x, w: anp.dot(anp.exp(x) + 0.0, w): [False],  # what a sum hands on may have two readers
        lambda x, w: anp.dot(anp.exp(x) + anp.sin(x), w): [False, False],
        lambda x, w: anp.dot(anp.exp(y := anp.sin(x)), w) + anp.dot(y, w): [True, True],  # a sum of ours
    }.items():
        _, tape, _ = record(fun, x, table)
        kept, asked = adjode.pullback(fun, x, table)[1](v), v.copy()
        tape(v)
        with monkeypatch.context() as patch:
            patch.setattr(np, "multiply", spy)
            places.clear()
            found = tape(v)
        assert places == wanted
        for row, one in zip(found, kept, strict=True):
            np.testing.assert_allclose(row, one, rtol=1e-13)
        np.testing.assert_array_equal(v, asked)


def test_what_is_complex_or_smaller_is_not_written_over():
    x = RNG.normal(size=(4, 3))
    pull = vjp_of((0,), anp.sin, np.sin(x), (x,), {})
    for v, place in ((x, True), (x + 1j, False), (x.astype("f4"), False)):
        ours, kept = v.copy(), v.copy()
        (row,) = pull(ours, True)
        assert (row is ours) == place
        np.testing.assert_allclose(row, kept * np.cos(x), rtol=1e-12)
        (row,) = pull(kept)
        assert row is not kept
    assert isinstance(pull(x[:1], True)[0], Factors)
    one = np.float64(0.3)  # a number is no place, though a sum of numbers is said to be ours
    pull = vjp_of((0,), anp.sin, np.sin(one), (one,), {})
    assert pull(np.float64(2.0), True) == [2.0 * np.cos(0.3)]
