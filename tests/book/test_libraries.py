"""The listings of "Other libraries": they are what was run, they are right, and they still are.

What is stored is always compared with the exact gradients. A listing runs where its packages are
installed: `pip install torch torchdiffeq diffrax casadi` to run them all.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
TEXT = (BOOK / "practice" / "other-libraries.md").read_text()
STORED = json.loads((BOOK / "data" / "libraries.json").read_text())
PEERS = ("autograd", "torchdiffeq", "diffrax", "cvodes")
# All are asked for rtol 1e-9; the one that errs most on these problems (CVODES, whose error is
# controlled per step and whose path is interpolated) was off by 2.8e-7.
CLOSE = 1e-6


def load():
    spec = importlib.util.spec_from_file_location("book_libraries", BOOK / "libraries.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


libraries = load()
SETTING = libraries.setting(TEXT)


def distances(answers, name):
    """How far each number is from the exact one, by what it is."""
    found = {}
    for case, arguments in SETTING["CASES"].items():
        for key, truth in SETTING["exact"](*arguments).items():
            found[case, key] = np.max(np.abs(np.array(answers[case][key]) - truth))
    _, theta, (_, t1), target = SETTING["CASES"]["turning"]
    for t, lam in zip(SETTING["starts"](name), answers["lam"], strict=True):
        truth = SETTING["exact"](SETTING["turning_state"](t), theta, [t, t1], target)["z0"]
        found["lam", t] = np.max(np.abs(np.array(lam) - truth))
    return found


def needs(*packages):
    if absent := libraries.missing(packages):
        pytest.skip(f"not installed: {', '.join(absent)}")


def test_each_library_of_the_picture_has_a_listing():
    assert list(libraries.listings(TEXT)) == SETTING["LIBRARIES"]
    assert sorted(STORED) == sorted(PEERS)


def test_the_exact_gradients_are_those_of_differences():
    for z0, theta, ts, target in SETTING["CASES"].values():
        exact = SETTING["exact"](z0, theta, ts, target)

        def loss(x, target=target):
            growth = complex(*x[2:4]) * (x[5] ** 2 - x[4] ** 2) / 2
            return abs(complex(*x[:2]) * np.exp(growth) - complex(*target)) ** 2 / 2

        x, h = np.array([*z0, *theta, *ts]), 1e-5
        slopes = [(loss(x + h * e) - loss(x - h * e)) / (2 * h) for e in np.eye(6)]
        flat = [*exact["z0"], *exact["theta"], exact["t0"], exact["t1"]]
        np.testing.assert_allclose(slopes, flat, atol=1e-8)  # h**2 and rounding / h


@pytest.mark.parametrize("name", PEERS)
def test_what_is_stored_was_returned_by_the_listing_on_the_page(name):
    _, source = libraries.listings(TEXT)[name]
    assert STORED[name]["listing"] == libraries.digest(source), "run book/libraries.py again"


@pytest.mark.parametrize("name", PEERS)
def test_what_is_stored_is_right(name):
    far = {k: v for k, v in distances(STORED[name], name).items() if not v < CLOSE}
    assert not far


@pytest.mark.parametrize("name", ("adjode", *PEERS))
def test_the_listing_returns_the_exact_gradients(name):
    needs(*libraries.listings(TEXT)[name][0])
    answers = libraries.run(name, TEXT)
    far = {k: v for k, v in distances(answers, name).items() if not v < CLOSE}
    assert not far
    if name in STORED:
        for case in SETTING["CASES"]:
            for key, value in answers[case].items():
                np.testing.assert_allclose(value, STORED[name][case][key], atol=2 * CLOSE)


@pytest.mark.parametrize("slip", ["sign of t0", "transpose", "theta swapped", "lambda late"])
def test_a_slip_in_a_result_would_be_seen(slip):
    answers = json.loads(json.dumps(STORED["torchdiffeq"]))
    if slip == "sign of t0":
        answers["turning"]["t0"] *= -1
    elif slip == "transpose":  # J for its transpose turns the other way
        answers["turning"]["z0"][1] *= -1
    elif slip == "theta swapped":
        answers["turning"]["theta"].reverse()
    else:
        answers["lam"] = answers["lam"][1:] + answers["lam"][:1]
    assert max(distances(answers, "torchdiffeq").values()) > 1e3 * CLOSE


# What the page says of the libraries, where they are installed.


# autograd warns of the empty tuple of parameters, on which nothing depends.
NO_PARAMETERS = pytest.mark.filterwarnings("ignore:Output seems independent")


@NO_PARAMETERS
def test_a_swapped_argument_order_does_not_show_in_the_running_example():
    from autograd import grad
    from autograd.scipy.integrate import odeint

    loss = lambda y0, func: (odeint(func, y0, np.array([1.0, 2.0]), ())[-1, 0] - 3) ** 2 / 2
    growth = 2 / 3 * np.log(2)
    right = grad(loss)(np.array([1.0]), lambda y, t: growth * t * y)
    swapped = grad(loss)(np.array([1.0]), lambda t, y: growth * t * y)
    np.testing.assert_allclose(right, swapped, rtol=1e-9)  # the product in another order


def test_autograd_wants_its_own_tuple():
    from autograd import grad
    from autograd.scipy.integrate import odeint

    loss = lambda theta: odeint(lambda y, t, k: k * y, np.ones(1), np.array([0.0, 1.0]), (theta,))[-1, 0]
    with pytest.raises(ValueError, match="array element"):
        grad(loss)(0.3)


@NO_PARAMETERS
def test_autograd_wants_its_tuple_even_if_it_is_empty():
    from autograd import grad
    from autograd.scipy.integrate import odeint

    loss = lambda y0, *args: odeint(lambda y, t: -y, y0, np.array([0.0, 1.0]), *args)[-1, 0]
    np.testing.assert_allclose(grad(loss)(np.ones(1), ()), np.exp(-1), rtol=1e-6)
    with pytest.raises(TypeError, match="func_args"):
        grad(loss)(np.ones(1))


def test_torchdiffeq_gives_time_gradients_through_the_steps_as_well():
    needs("torch", "torchdiffeq")
    _, source = libraries.listings(TEXT)["torchdiffeq"]
    assert source.count("odeint_adjoint") == 2
    names = {}
    exec(source.replace("odeint_adjoint", "odeint"), names)
    answers = SETTING["measure"]("torchdiffeq", names["with_torchdiffeq"])
    assert max(distances(answers, "torchdiffeq").values()) < CLOSE


def test_torchdiffeq_asks_for_the_parameters_of_a_plain_function():
    needs("torch", "torchdiffeq")
    import torch
    from torchdiffeq import odeint_adjoint

    with pytest.raises(ValueError, match="adjoint_params"):
        odeint_adjoint(lambda t, y: -y, torch.ones(1), torch.tensor([0.0, 1.0]))


def test_diffrax_differentiates_the_steps_and_its_backsolve_has_no_time_gradients():
    needs("jax", "diffrax")
    import inspect

    import diffrax

    default = inspect.signature(diffrax.diffeqsolve).parameters["adjoint"].default
    assert isinstance(default, diffrax.RecursiveCheckpointAdjoint)
    _, source = libraries.listings(TEXT)["diffrax"]
    backsolve = source.replace("y0=y0,", "y0=y0, adjoint=diffrax.BacksolveAdjoint(),")
    names = {}
    exec(backsolve, names)
    arguments = map(np.array, SETTING["CASES"]["turning"])
    with pytest.raises(Exception, match="tangent"):
        names["with_diffrax"](*arguments)


# The products in PyTorch, beside the tape of "Vector-Jacobian products".

VJP_TEXT = libraries.VJP_CHAPTER.read_text()
PRODUCTS = json.loads(libraries.VJP_STORED.read_text())
ROUNDING = 1e-12  # a dozen operations on numbers of size 1 to 10, stored with 14 digits


def by_our_tape(name):
    names = libraries.pytorch_setting(VJP_TEXT)
    vjp, field, weights = names["vjp"], names["field"], [names[k] for k in ("W1", "b", "W2")]
    if name == "in_pytorch":
        return vjp(field, names["z"], *weights)[1](names["row"])
    pairs = zip(names["batch"], names["batch_rows"], strict=True)
    parts = [vjp(field, z, *weights)[1](row) for z, row in pairs]
    return [np.array([p[0] for p in parts]), *(sum(p[i] for p in parts) for i in (1, 2, 3))]


def test_each_product_of_the_page_is_stored():
    assert (
        sorted(libraries.pytorch_listings(VJP_TEXT)) == sorted(PRODUCTS) == ["batch_in_pytorch", "in_pytorch"]
    )


@pytest.mark.parametrize("name", ["in_pytorch", "batch_in_pytorch"])
def test_the_products_of_pytorch_are_those_of_our_tape(name):
    source, _ = libraries.pytorch_listings(VJP_TEXT)[name]
    assert PRODUCTS[name]["listing"] == libraries.digest(source), "run book/libraries.py again"
    for ours, theirs in zip(by_our_tape(name), PRODUCTS[name]["rows"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ["in_pytorch", "batch_in_pytorch"])
def test_pytorch_returns_what_is_stored(name):
    needs("torch")
    for now, then in zip(libraries.run_pytorch(name, VJP_TEXT), PRODUCTS[name]["rows"], strict=True):
        np.testing.assert_allclose(now, then, rtol=ROUNDING, atol=ROUNDING)
