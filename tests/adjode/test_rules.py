"""The ways back that are not autograd's, and covectors that are not multiplied out."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd.core import primitive_vjps
from autograd.extend import defvjp, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, concatenate_args
from autograd.tracer import trace_primitives_map

import adjode
from adjode import rules
from adjode.rules import Factors, vjp_of, whole
from adjode.tape import record

RNG = np.random.default_rng(4)


def refuse(monkeypatch, *primitives):
    """autograd's rules are still autograd's, but nobody may ask for them."""

    def never(*args):
        raise AssertionError("autograd is asked")

    for one in primitives:
        monkeypatch.setitem(primitive_vjps, one, never)
        monkeypatch.setitem(rules.AUTOGRADS, one, never)


def test_the_slope_of_an_elementwise_function_is_computed_once(monkeypatch):
    x, v, calls = np.array([0.3, -0.8]), np.array([2.0, -1.0]), []

    def counted(argnums, value, args, kwargs):
        return lambda v: calls.append(1) or (v * np.cosh(x),)

    monkeypatch.setitem(primitive_vjps, anp.sinh, counted)
    once = vjp_of((0,), anp.sinh, np.sinh(x), (x,), {})
    for factor in (1.0, 3.0):
        np.testing.assert_allclose(once(factor * v)[0], factor * v * np.cosh(x), rtol=1e-14)
    assert len(calls) == 1
    every_time = vjp_of((0,), anp.sinh, np.sinh(x), (x,), {"where": True})  # what it does is not known
    every_time(v), every_time(v)
    assert len(calls) == 3


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
    refuse(monkeypatch, product)
    value = product(*args)
    (row,) = vjp_of((which,), product, value, args, {})(np.ones_like(value))
    assert type(row) is np.ndarray and row.shape == args[which].shape


def test_sums_and_products_are_those_of_autograd():
    a, b, c, row, column = (RNG.normal(size=s) for s in ((4, 3), (4, 3), (2, 4, 3), (3,), (4, 1)))
    for fun, given in {
        "+": (lambda a, b, row: a + b + row, (a, b, row)),
        "cases": (lambda c, row: c + row, (c, row)),
        "all cases": (lambda a, c: a + c, (a, c)),
        "-": (lambda a, b, row: row - (a - b) - row, (a, b, row)),
        "column": (lambda a, column: a + column, (a, column)),  # no rule: autograd's
        "a row from the left": (lambda row, a: row + a, (row, a)),
        "no rows": (lambda z, row: z + row, (np.zeros((0, 3)), row)),
        "scalars": (lambda x, y: 2.0 * x + y * x, (0.3, 0.7)),
        "*": (lambda a, b: a * b * 3.0 * a, (a, b)),
        "a factor that is smaller": (lambda a, row, column: a * row * column, (a, row, column)),
        "rows times columns": (lambda row, column: row * column, (row, column)),
        "twice the same": (lambda a: a + a * a, (a,)),
        "a number": (lambda x, a: x * a + a * x, (0.3, a)),
        "a number for cases": (lambda x, c: x * c, (np.array(0.3), c)),
        "a number times a row": (lambda x, a: anp.exp(x * a[:, :1]) * a, (0.3, a)),
    }.values():
        value, back, _ = record(fun, *given)
        v = RNG.normal(size=np.shape(value))
        for found, wanted in zip(back(v), adjode.pullback(fun, *given)[1](v), strict=True):
            assert np.shape(found) == np.shape(wanted)
            np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-14)


def test_sums_and_products_ask_autograd_nothing(monkeypatch):
    a, row = RNG.normal(size=(4, 3)), RNG.normal(size=3)
    refuse(monkeypatch, anp.add, anp.multiply, anp.subtract)
    assert vjp_of((0,), anp.multiply, 0.3 * a, (0.3, a), {})(a) == [pytest.approx(np.sum(a * a), rel=1e-14)]
    assert vjp_of((0, 1), anp.subtract, row - a, (row, a), {})(a)[0].shape == (3,)
    assert vjp_of((0, 1), anp.add, a + row, (a, row), {})(a)[1].shape == (3,)
    assert vjp_of((0,), anp.multiply, a * row, (a, row), {})(a)[0].shape == (4, 3)
    with pytest.raises(AssertionError):
        vjp_of((1,), anp.multiply, a * row, (a, row), {})


INDICES = [0, -1, np.s_[1:], np.s_[::-2], np.s_[...], None, np.s_[1, 2], np.s_[..., 1], np.s_[:, None, 1:],
           np.s_[0, ..., None], np.s_[2:1]]  # fmt: skip
TWICE = [
    [0, 0, 2],
    np.array([1, -1]),
    np.s_[:, [0, 0]],
    np.array([True, False, True, True]),
    np.int64(1),
    True,
]


@pytest.mark.parametrize("index", [*INDICES, *TWICE], ids=str)
@pytest.mark.parametrize("axes", [(), (0,), (0, 1)])
def test_the_rows_of_entries_are_those_of_autograd(index, axes):
    z = RNG.normal(size=(4, 3))
    fun = lambda z: anp.sin(z)[index] * 2.0
    value, tape, _ = record(fun, z)
    v = RNG.normal(size=[1 if i in axes else size for i, size in enumerate(value.shape)])
    (wanted,) = adjode.pullback(fun, z)[1](np.array(np.broadcast_to(v, value.shape)))
    np.testing.assert_allclose(tape(v)[0], wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("index", [*INDICES, *TWICE], ids=str)
def test_of_entries_that_are_taken_once_autograd_is_asked_nothing(index, monkeypatch):
    z = RNG.normal(size=(4, 3))
    refuse(monkeypatch, ArrayBox.__getitem__)
    ask = lambda: vjp_of((0,), ArrayBox.__getitem__, z[index], (z, index), {})(np.ones(np.shape(z[index])))
    if any(index is one for one in TWICE):
        with pytest.raises(AssertionError):
            ask()
    else:
        wanted = np.zeros((4, 3))
        wanted[index] = 1.0
        np.testing.assert_array_equal(ask()[0], wanted)


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_arrays_that_are_joined_get_their_part_of_the_row(axis, monkeypatch):
    x, y = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))
    fun = lambda x, y: anp.concatenate([x, np.ones((2, 3)), y, x], axis=axis) * 2.0
    value, tape, _ = record(fun, x, y)
    back = adjode.pullback(fun, x, y)[1]
    refuse(monkeypatch, concatenate_args)
    for v in (RNG.normal(size=value.shape), RNG.normal(size=(1, 1))):  # the same for all entries
        for found, row in zip(tape(v), back(np.array(np.broadcast_to(v, value.shape))), strict=True):
            np.testing.assert_allclose(found, row, rtol=1e-14)


def test_arrays_of_unequal_length_are_joined_one_behind_the_other():
    x, y = RNG.normal(size=2), RNG.normal(size=4)
    _, tape, _ = record(lambda x, y: anp.concatenate([x, np.zeros(3), y]), x, y)
    rows = tape(np.arange(9.0))
    assert [row.tolist() for row in rows] == [[0.0, 1.0], [5.0, 6.0, 7.0, 8.0]]


def test_what_was_an_array_hands_its_row_on(monkeypatch):
    x, v = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))
    tape = record(lambda x: anp.array(x * 3.0), x)[1]
    raised = record(lambda x: anp.array(x * 3.0, ndmin=3), x)[1]
    refuse(monkeypatch, _array_from_scalar_or_array)
    np.testing.assert_allclose(tape(v)[0], 3 * v, rtol=1e-15)
    with pytest.raises(AssertionError, match="autograd is asked"):
        raised(v[None])


def test_a_list_has_the_shape_of_its_array(monkeypatch):
    refuse(monkeypatch, anp.multiply)
    assert vjp_of((1,), anp.multiply, np.array([2.0, 4.0]), ([1.0, 2.0], 2.0), {})(np.ones(2)) == [3.0]


def test_rules_that_are_known_are_not_made_again():
    made, x = [], RNG.normal(size=3)
    counted = lambda i, value, args: made.append(i) or (lambda v: v * args[1 - i])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rules.RULES, anp.multiply, counted)
        tape = record(lambda x, y: x * y, x, 2 * x)[1]
        np.testing.assert_array_equal(tape(x, 1)[0], 2 * x * x)
        np.testing.assert_array_equal(tape(x)[1], x * x)
    assert made == [0, 1]


def test_who_gives_entries_another_rule_means_it(monkeypatch):
    mine = lambda argnums, value, args, kwargs: lambda v: [np.full(3, 7.0)]
    monkeypatch.setitem(primitive_vjps, ArrayBox.__getitem__, mine)
    np.testing.assert_array_equal(record(lambda z: z[0], np.ones(3))[1](1.0)[0], np.full(3, 7.0))


def test_entries_of_single_precision_keep_it():
    x = np.ones(3, np.float32)
    (row,) = vjp_of((0,), ArrayBox.__getitem__, x[1:], (x, np.s_[1:]), {})(x[1:])
    assert row.dtype == np.float32


def test_tanh_keeps_the_digits_of_small_slopes():
    x = np.array([0.0, 1e-9, 0.3, -1.7, 2.9, 3.0, -5.0, 18.0, 19.5, -300.0, 5000.0])
    with np.errstate(over="ignore"):
        (slope,) = vjp_of((0,), anp.tanh, np.tanh(x), (x,), {})(np.ones(x.shape))
    for found, at in zip(slope, x, strict=True):
        assert abs(found - mpmath.sech(at) ** 2) <= 1e-13 * mpmath.sech(at) ** 2 + 1e-300
    assert np.sum(slope < rules.FLAT) == 6
    (scalar,) = record(anp.tanh, 0.3)[1](1.0)
    assert scalar == pytest.approx(1 - np.tanh(0.3) ** 2, rel=1e-14)
    assert record(anp.tanh, np.array(0.3))[1](2.0)[0] == pytest.approx(2 * scalar, rel=1e-14)


def test_a_finite_slope_of_tanh_is_not_asked_of_autograd(monkeypatch):
    refuse(monkeypatch, anp.tanh)
    x = np.linspace(-5, 5, 11)
    assert vjp_of((0,), anp.tanh, np.tanh(x), (x,), {})(x)[0].shape == x.shape


OWN = {  # an operation and another rule for it, which is meant
    "tanh": (np.tanh, lambda ans, x: lambda v: v * np.maximum(1 - ans**2, 0.1)),
    "add": (np.add, lambda ans, x, y: lambda v: np.where(ans > 1, 0.0, v)),
    "multiply": (np.multiply, lambda ans, x, y: lambda v: np.where(ans > 1, 0.0, v * y)),
    "matmul": (np.matmul, lambda ans, x, y: lambda v: 0.5 * np.matmul(v, y.T)),
}


@pytest.mark.parametrize("name", OWN)
def test_who_gives_an_operation_another_rule_means_it(name, monkeypatch):
    fun, by_hand = OWN[name]
    x, y = RNG.normal(size=(3, 3)), np.ones((3, 3))
    args = [x] if name == "tanh" else [x, y]
    value = fun(*args)
    v = RNG.normal(size=value.shape)
    wanted, theirs = by_hand(value, *args)(v), getattr(anp, name)
    monkeypatch.setitem(trace_primitives_map, fun, theirs)  # which the next line replaces
    mine = primitive(fun)
    defvjp(mine, by_hand, *[None] * (len(args) - 1))
    monkeypatch.setitem(primitive_vjps, theirs, primitive_vjps[mine])
    for one in (mine, theirs):  # an operation of one's own, or autograd's with a rule of one's own
        np.testing.assert_array_equal(vjp_of((0,), one, value, args, {})(v)[0], wanted)


@pytest.mark.parametrize("kind", [np.float32, np.longdouble])
def test_only_double_precision_has_a_rule_for_tanh(kind):
    x = np.linspace(-4, 4, 9).astype(kind)
    (slope,) = vjp_of((0,), anp.tanh, np.tanh(x), (x,), {})(np.ones_like(x))
    np.testing.assert_array_equal(slope, np.ones(9) / np.cosh(x) ** 2)


def test_what_is_whole():
    value, row, slope = np.zeros((4, 3)), RNG.normal(size=(1, 3)), RNG.normal(size=(4, 3))
    np.testing.assert_array_equal(whole(Factors(row, slope), value), row * slope)
    np.testing.assert_array_equal(whole(row, value), np.repeat(row, 4, axis=0))
    assert whole(row, value).flags.writeable
    assert whole(slope, value) is slope
    assert whole(2.0, value) == 2.0 and whole(row, 0.0) is row  # what is no array has no axes


@pytest.mark.parametrize("fun", [lambda z: anp.sin(nothing(anp.exp(z))), lambda z: nothing(z * 2.0 + z)])
def test_a_row_may_be_a_plain_number(fun):
    assert not np.any(record(fun, np.ones(3))[1](np.ones(3))[0])


nothing = primitive(lambda z: 1.0 * z)
defvjp(nothing, lambda ans, z: lambda v: 0.0)
half = primitive(lambda z: z / 2)
defvjp(half, lambda ans, z: lambda v: v * np.full(z.shape, 0.5))

W1, W2, B = RNG.normal(size=(3, 5)), RNG.normal(size=(5, 4)), RNG.normal(size=5)
ROWS = {
    "net": lambda z: anp.tanh(z @ W1 + B) @ W2,
    "two layers": lambda z: anp.tanh(anp.sin(anp.dot(z * z, W1) + B) @ W1.T) @ W1,
    "no matrix after a slope": lambda z: anp.exp(z) * 2.0 + z,
    "slope after slope": lambda z: anp.exp(anp.sin(z @ W1)) @ W2,
    "a factor of each row": lambda z: (z * np.arange(1.0, 8.0)[:, None]) @ W1,
    "a factor of each column": lambda z: (z * np.arange(1.0, 4.0)) @ W1,
    "twice": lambda z: anp.tanh(z) @ W1 + anp.exp(z) @ W1 + z @ W1,
    "three ways": lambda z: anp.exp(z) @ W1 + z @ W1 + (z * 2.0) @ W1,
    "three ways back": lambda z: (z * 2.0) @ W1 + (z @ W1 + anp.exp(z) @ W1),
    "three ways of a value": lambda z: ROWS["three ways"](z + 1.0) + ROWS["three ways back"](z * 3.0),
    "an operation of a user": lambda z: anp.tanh(half(z) @ W1) @ W2,
    "a slice": lambda z: anp.tanh(z)[:, :2] @ W1[:2],
    "differences": lambda z: (1.0 - anp.tanh(z - 1.0) - z) @ W1 - B,
    "a difference on the way": lambda z: (B - anp.tanh(z @ W1)) @ W2,
    "a difference below a slope": lambda z: anp.exp(B - z @ W1) @ W2,
    "nothing": lambda z: z,
    "a constant": lambda z: anp.ones((7, 3)),
    "an axis more": lambda z: anp.tanh(z[:, None] @ W1)[:, 0] @ W2,
    "the matrix is an argument": lambda z: anp.dot(np.ones((2, 7)), anp.tanh(z)),
    "sums down the rows": lambda z: anp.cumsum(anp.tanh(z), axis=0),
    "one column": lambda z: anp.tanh(z @ W1[:, :1]) @ W2[:1],
}


LEFT = {
    "net": lambda z: anp.dot(W2.T, anp.tanh(anp.dot(W1.T, z) + B[:, None])),
    "two layers": lambda z: anp.dot(W1.T, anp.tanh(W1 @ anp.sin(W1.T @ (z * z)))),
    "no slope": lambda z: W1.T @ z * 2.0,
    "one row": lambda z: W2[:1].T @ anp.tanh(W1[:, :1].T @ z),
}
ALL = ROWS | {f"{name}, from the left": fun for name, fun in LEFT.items()}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_covector_that_is_the_same_along_an_axis_may_be_one(name, axes):
    value, tape, _ = record(ALL[name], RNG.normal(size=(3, 7) if name.endswith("left") else (7, 3)))
    row = RNG.normal(size=[1 if i in axes else size for i, size in enumerate(value.shape)])
    wanted = tape(np.array(np.broadcast_to(row, value.shape)))[0]
    for n in (None, 1):
        (found,) = tape(row, n)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("row", [RNG.normal(size=(1, 4)), RNG.normal(size=(7, 1))])
def test_one_row_for_all_reaches_the_parameters_too(row):
    net = lambda z, w1, b, w2, a: (anp.tanh(z * 2.0 @ w1 + b) @ w2 + w2[0]) * a
    tape = record(net, RNG.normal(size=(7, 3)), W1, B, W2, 0.7)[1]
    for found, wanted in zip(tape(row), tape(np.array(np.broadcast_to(row, (7, 4)))), strict=True):
        assert np.shape(found) == np.shape(wanted)
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-13)


def test_cases_of_cases_have_one_row_as_well():
    fun = lambda z: anp.tanh(z @ W1 + B) @ W2
    z, row = RNG.normal(size=(2, 7, 3)), RNG.normal(size=(1, 1, 4))
    tape = record(fun, z)[1]
    for v in (row, np.repeat(row, 7, axis=1), RNG.normal(size=(2, 1, 4)), RNG.normal(size=(1, 7, 4))):
        wanted = tape(np.array(np.broadcast_to(v, (2, 7, 4))))[0]
        np.testing.assert_allclose(tape(v)[0], wanted, rtol=1e-13, atol=1e-14)


FIXED = RNG.normal(size=(100, 3))


@pytest.mark.parametrize("fun, shape, v", [
    (lambda z: anp.tanh(z @ W1 + B) @ W2, (100, 3), RNG.normal(size=(1, 4))),
    (lambda z: anp.sin(B - z @ W1) @ W2, (100, 3), RNG.normal(size=(1, 4))),
    (lambda z: ((z @ W1) * anp.dot(FIXED, W1)) @ W2, (100, 3), RNG.normal(size=(1, 4))),
    (lambda z: anp.tanh(z @ W1 + B) @ W2, (2, 50, 3), RNG.normal(size=(1, 1, 4))),
    (lambda z: anp.dot(W2.T, anp.tanh(anp.dot(W1.T, z) + B[:, None])), (3, 100), RNG.normal(size=(4, 1))),
    (lambda z: W2.T @ (np.dot(FIXED, W1).T * (W1.T @ z)), (3, 100), RNG.normal(size=(4, 1))),
])  # fmt: skip
def test_of_one_row_for_all_nothing_wide_is_made(fun, shape, v, monkeypatch):
    tape = record(fun, RNG.normal(size=shape))[1]
    first, wide = tape(v), []

    def spied(product):
        return lambda x, y: wide.append(max(x, y, key=np.size)) or product(x, y)

    for name in ("dot", "matmul"):
        monkeypatch.setattr(np, name, spied(getattr(np, name)))
    tape = tape.part(lambda x: x)  # the same, to be found anew
    np.testing.assert_array_equal([tape(v), tape(v)], [first, first])
    *_, one = (x for x in wide[: len(wide) // 2] if np.size(x) >= 400)
    other = wide[-1]
    assert one is other  # the slopes, as they were kept, and no product of them with the row
    assert sum(np.size(x) >= 400 for x in wide) == 2
