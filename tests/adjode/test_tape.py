"""A trace that is kept: pulled back, pushed, and in part."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.core import primitive_jvps, primitive_vjps
from autograd.extend import defvjp, primitive

import adjode
from adjode.curvature.tangent import pushforward
from adjode.tape import record, vjp_of

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
            np.testing.assert_allclose(one, other, rtol=1e-14)
        (z_bar,) = again(v, 1)
        np.testing.assert_allclose(z_bar, back(v)[0], rtol=1e-14)
    assert record(lambda z: np.ones(2), 3.0)[1](np.ones(2)) == [0.0]
    np.testing.assert_array_equal(record(lambda z: z, Z)[1](Z)[0], Z)


def test_the_slope_of_an_elementwise_function_is_computed_once(monkeypatch):
    x, v, calls = np.array([0.3, -0.8]), np.array([2.0, -1.0]), []

    def counted(argnums, value, args, kwargs):
        return lambda v: calls.append(1) or (v * (1 - value**2),)

    monkeypatch.setitem(primitive_vjps, anp.tanh, counted)
    once = vjp_of((0,), anp.tanh, np.tanh(x), (x,), {})
    for factor in (1.0, 3.0):
        np.testing.assert_allclose(once(factor * v)[0], factor * v * (1 - np.tanh(x) ** 2), rtol=1e-14)
    assert len(calls) == 1
    every_time = vjp_of((0,), anp.tanh, np.tanh(x), (x,), {"where": True})  # what it does is not known
    every_time(v), every_time(v)
    assert len(calls) == 3


def test_the_rows_of_complex_functions_are_not_taken_for_products():
    # conj and abs are elementwise: the row of conj is conj(v), not v conj(1)
    fun = lambda x: anp.conj(x * (1 + 2j)) * (3 - 1j)
    x, v = np.array([0.4, -1.1]), np.array([1 - 2j, 0.5 + 1j])
    np.testing.assert_allclose(record(fun, x)[1](v), adjode.pullback(fun, x)[1](v), rtol=1e-14)
    size = lambda x: anp.abs(x * (1 + 2j)) * anp.array([3.0, -2.0])
    np.testing.assert_allclose(record(size, x)[1](x), adjode.pullback(size, x)[1](x), rtol=1e-14)
    by_hand = np.sqrt(5) * np.abs(x) * np.array([3.0, -2.0])
    np.testing.assert_allclose(record(size, x)[1](x)[0], by_hand, rtol=1e-14)


PRODUCTS = {  # shapes of the left and of the right factor
    "rows": ((4, 3), (3, 2)),
    "cases": ((5, 4, 3), (3, 2)),
    "vector from the left": ((3,), (3, 2)),
    "vector from the right": ((4, 3), (3,)),
    "two vectors": ((3,), (3,)),
    "nothing": ((0, 3), (3, 2)),
    "nothing inside": ((2, 0), (0, 2)),
    "many matrices": ((4, 3), (5, 3, 2)),
}


@pytest.mark.parametrize("product", [anp.matmul, anp.dot])
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_rows_of_a_product_are_those_of_autograd(name, product, which):
    rng = np.random.default_rng(6)
    args = [rng.normal(size=shape) for shape in PRODUCTS[name]]
    fun = product if which == 2 else lambda x: product(*args[:which], x, *args[which + 1 :])
    given = args if which == 2 else [args[which]]
    value, back, _ = record(fun, *given)
    v = rng.normal(size=np.shape(value))
    for found, wanted in zip(back(v), adjode.pullback(fun, *given)[1](v), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("product", [anp.matmul, anp.dot])
@pytest.mark.parametrize(
    "name, which",
    [("rows", 0), ("cases", 0), ("rows", 1), ("vector from the left", 0), ("vector from the right", 1)],
)
def test_a_product_with_a_matrix_asks_autograd_nothing_on_the_way_back(name, which, product, monkeypatch):
    args = [np.ones(shape) for shape in PRODUCTS[name]]
    vjp = vjp_of((which,), product, product(*args), args, {})
    monkeypatch.setattr(anp, "matmul", None), monkeypatch.setattr(anp, "dot", None)
    (row,) = vjp(np.ones_like(product.fun(*args)))
    assert type(row) is np.ndarray and row.shape == args[which].shape
    kept = {cell.cell_contents.shape for cell in vjp.__closure__}
    assert kept == {args[1 - which].T.shape}  # the other factor, turned, and nothing else


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
    monkeypatch.delitem(primitive_jvps, anp.tanh)  # its slope is known from the rows
    monkeypatch.delitem(primitive_vjps, anp.tanh)
    np.testing.assert_allclose(tape.along(directions), whole, rtol=1e-12)


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
