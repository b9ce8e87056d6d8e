"""What plainly leaves nodes apart, along the first axis or along the last."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive

from adjode.apart import keeps_apart
from adjode.tape import record

RNG = np.random.default_rng(11)
N = 5  # nodes
ROWS, ENTRIES = RNG.normal(size=(N, 3)), RNG.normal(size=3)
SQUARE = RNG.normal(size=(N, N))

FIRST = {  # z has shape (N, 3)
    "an entry of each row": lambda z: z[..., 0] * ENTRIES[0],
    "the same by a colon": lambda z: z[:, 1] * 2.0,
    "a part of each row": lambda z: anp.sin(z[..., 1:]) + ENTRIES[1:],
    "a part of each row, backwards": lambda z: z[:, ::-1] * z,
    "more axes behind": lambda z: z[:, None, :, None] * np.ones((2, 3, 1)),
    "more axes behind, without the first": lambda z: z[..., None] * ENTRIES,
    "entries put together": lambda z: anp.stack([z[..., 2], z[..., 0] * z[..., 1]], axis=-1),
    "joined behind": lambda z: anp.concatenate([z, np.ones((N, 2)), z[:, :1]], axis=-1),
    "joined behind, by number": lambda z: anp.concatenate([z, z * z], axis=1),
    "an array of itself": lambda z: anp.array(z * 2.0) - z,
    "a product behind": lambda z: anp.dot(z, RNG.normal(size=(3, 4))),
    "a sum of each row": lambda z: z - anp.sum(z, axis=-1, keepdims=True),
    "a number of each row": lambda z: anp.sum(z, 1) * anp.max(z, axis=1) - anp.min(z * z, axis=-1),
    "as many constants as nodes": lambda z: z[..., 0] * np.arange(N) + np.arange(N),
}
LAST = {  # z has shape (3, N)
    "an entry": lambda z: z[0] * z[-1],
    "entries put together": lambda z: anp.array([z[1], -z[0], anp.cos(z[2])]),
    "entries in rows": lambda z: anp.array([[z[1], z[0]], [z[2], z[2]]]),
    "some entries": lambda z: z[1:] * ENTRIES[1:, None],
    "entries backwards": lambda z: z[::-1] - z,
    "more axes before": lambda z: z[None] * np.ones((2, 1, 1)),
    "joined before": lambda z: anp.concatenate([z[:1], 0.0 * z], axis=0),
    "stacked before": lambda z: anp.stack([z[0], z[1] * z[2]]),
    "rows of their own": lambda z: z * RNG.normal(size=(2, 3, N)),
    "a product before": lambda z: anp.dot(RNG.normal(size=(4, 3)), z) + 1.0,
    "a sum of entries": lambda z: z / anp.sum(anp.exp(z), axis=0),
    "a sum that keeps its axis": lambda z: z[:2] * anp.sum(z, axis=-2, keepdims=True),
    "a matrix before": lambda z: anp.matmul(RNG.normal(size=(3, 3)), anp.tanh(z)),
}
FIRST_NOT = {
    "a row": lambda z: z[0] * np.ones((N, 3)),
    "rows backwards": lambda z: z[::-1] * 2.0,
    "rows backwards, and dots": lambda z: z[::-1, ...] * 2.0,
    "rows by number": lambda z: z[np.arange(N)[::-1]],
    "rows by a mask": lambda z: z[np.arange(N) >= 0],
    "all indices named": lambda z: z[..., 0:N, 0],
    "an axis before": lambda z: z[None],
    "joined in front": lambda z: anp.concatenate([z[1:], z[:1]], axis=0),
    "joined in front, by a negative number": lambda z: anp.concatenate([z[1:], z[:1]], axis=-2),
    "put together in front": lambda z: anp.array([z[:, i] for i in (0, 1, 2, 0, 1)]),
    "a node's row for all": lambda z: z[:, 0] * np.ones((N, 1)),
    "a column against rows": lambda z: z[:, :1] * z[:, 1],
    "a product of two": lambda z: anp.dot(z, z.T),
    "a product in front": lambda z: anp.dot(SQUARE, z),
    "turned": lambda z: anp.swapaxes(z, 0, 1)[:, :3],
    "options of an array": lambda z: anp.array(z, ndmin=3)[0],
    "options of a function": lambda z: anp.sin(z, where=np.ones((N, 3), bool), out=np.zeros((N, 3))),
    "a sum": lambda z: z - anp.sum(z, axis=0),
    "a sum in a type of its own": lambda z: anp.sum(z, axis=1, dtype=float),
}
LAST_NOT = {
    "dots first": lambda z: z[..., ::-1] * 2.0,
    "a node": lambda z: z[:, 0:1] * np.ones(N),
    "all indices": lambda z: z[:, ::-1],
    "an axis behind": lambda z: z[..., None] * np.ones(N),
    "joined behind": lambda z: anp.concatenate([z[:, 1:], z[:, :1]], axis=1),
    "joined behind, by a negative number": lambda z: anp.concatenate([z[:, 1:], z[:, :1]], axis=-1),
    "put together behind": lambda z: anp.stack(
        [z[0, :1], z[1, 1:2], z[0, 2:3], z[2, 3:4], z[1, 4:]], axis=-1
    ),
    "a product behind": lambda z: anp.dot(z, SQUARE),
    "three axes": lambda z: anp.matmul(RNG.normal(size=(2, 3, 3)), z),
    "of numbers": lambda z: anp.array([z[0, i] for i in range(N)]),
    "options of an array": lambda z: anp.array([z[0], z[1]], copy=True),
}


def apart(fun, z, axis):
    value, tape, _ = record(fun, z)
    return tape.apart(N, axis), value


def moved_by_others(fun, z, value, axis) -> float:
    """What a change of one node does to the others."""
    most = 0.0
    for node in range(N):
        other = np.moveaxis(z.copy(), axis, 0)
        other[node] += 0.1
        change = np.moveaxis(fun(np.moveaxis(other, 0, axis)) - value, axis, 0)
        most = max(most, np.max(np.abs(np.delete(change, node, axis=0)), initial=0.0))
    return most


@pytest.mark.parametrize("axis, name", [*((0, x) for x in FIRST), *((-1, x) for x in LAST)])
def test_what_leaves_nodes_apart_is_known_to(axis, name):
    fun, z = (FIRST if axis == 0 else LAST)[name], ROWS if axis == 0 else ROWS.T
    RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state
    known, value = apart(fun, z, axis)
    assert known and np.shape(value)[axis] == N

    def again(z):
        RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return fun(z)

    assert moved_by_others(again, z, value, axis) == 0.0


@pytest.mark.parametrize("axis, name", [*((0, x) for x in FIRST_NOT), *((-1, x) for x in LAST_NOT)])
def test_what_may_not_is_not_plain(axis, name):
    fun = (FIRST_NOT if axis == 0 else LAST_NOT)[name]
    assert not apart(fun, ROWS if axis == 0 else ROWS.T, axis)[0]


def test_an_empty_index_names_no_axis():
    assert not apart(lambda z: z[()] * 2.0, ROWS, 0)[0]  # which is no loss
    assert apart(lambda z: z[()] * 2.0, ROWS.T, -1)[0]


def test_a_square_is_asked_along_the_axis_that_is_meant():
    before, behind = (lambda z: anp.dot(SQUARE, z)), (lambda z: anp.dot(z, SQUARE))
    assert [apart(before, SQUARE, axis)[0] for axis in (0, -1)] == [False, True]
    assert [apart(behind, SQUARE, axis)[0] for axis in (0, -1)] == [True, False]


def test_a_number_that_all_nodes_move_has_no_place_for_them():
    assert not apart(lambda z: anp.sum(z), ROWS, 0)[0]
    assert not apart(lambda z: anp.mean(z) * z, ROWS, 0)[0]


@pytest.mark.parametrize(
    "rest, kwargs, first, last",
    [
        ((), {"axis": 1}, True, False),
        ((), {"axis": -1, "keepdims": False}, True, False),
        ((0,), {}, False, True),
        ((), {"axis": -2}, False, True),
        ((1,), {"dtype": float}, False, False),
        ((1, float), {}, False, False),  # and more than that by place
        ((), {"axis": (1,)}, False, False),
        ((), {"axis": None}, False, False),
        ((), {}, False, False),
    ],
)
def test_nodes_are_apart_where_another_axis_is_added_up(rest, kwargs, first, last):
    for axis, known in ((0, first), (-1, last)):
        assert keeps_apart(anp.sum, np.ones(N), (SQUARE, *rest), kwargs, [0], N, axis) == known


def test_an_operation_with_options_or_with_a_rule_of_its_own_is_not_plain(monkeypatch):
    assert not keeps_apart(anp.sin, np.sin(ROWS), (ROWS,), {"where": True}, [0], N, 0)
    assert keeps_apart(anp.sin, np.sin(ROWS), (ROWS,), {}, [0], N, 0)
    own = primitive(np.sin)
    defvjp(own, lambda ans, x: lambda g: g * np.cos(x))
    assert not keeps_apart(own, np.sin(ROWS), (ROWS,), {}, [0], N, 0)
    assert not keeps_apart(anp.matmul, ROWS, (ROWS, np.eye(3)), {"axes": None}, [0], N, 0)


def test_one_argument_alone_may_carry_the_nodes():
    wide = RNG.normal(size=(2, N, 3))
    assert not keeps_apart(anp.multiply, wide * ROWS, (ROWS, wide), {}, [0], N, 0)
    assert not keeps_apart(anp.dot, SQUARE @ SQUARE, (SQUARE, SQUARE), {}, [0, 1], N, 0)
    assert not keeps_apart(anp.dot, SQUARE @ SQUARE, (SQUARE, SQUARE), {}, [0, 1], N, -1)
    assert not keeps_apart(anp.dot, np.dot(ROWS[:, 0], ROWS), (ROWS[:, 0], ROWS), {}, [0], N, 0)
