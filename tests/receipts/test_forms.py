"""Right equations in the forms that an author may write; each must hold."""

import pytest
from symbols import L, f, f_theta, f_z, lam, ode, t, t0, t1, terminal, theta, z, z_0, z_theta

from receipts import (
    at,
    check,
    d,
    det,
    dot,
    exp,
    eye,
    function,
    integral,
    log,
    matrix,
    partial,
    premise,
    trace,
    var,
    verdict,
    zeros,
)

a, b, s, x = var("a b s x")
X, M = function("x", t), function("M", t, cols=2)
A, B = matrix("A"), matrix("B")
rate = premise("eq-rate", dot(X, t), a * X + function("g", t))

RIGHT = {
    "terms in another order": (d(f, theta), f_theta + f_z * z_theta, []),
    "a factored form": (d(lam * z_theta, t), (dot(lam, t) + lam * f_z) * z_theta + lam * f_theta, [ode]),
    "a number on the right of a matrix": (A * (lam * z), (lam * z) * A, []),
    "a number between two matrices": (A * (lam * z) * B, (lam * z) * (A * B), []),
    "an outer product": (z * (lam * z), (z * lam) * z, []),
    "a Hessian": (d(partial(L, z).T, z_0), partial(L, z, z) * d(z, z_0), []),
    "a second total derivative": (dot(dot(z, t), t), partial(f, t) + f_z * f, [ode]),
    "an inverse": (A.I * A, eye(), []),
    "the inverse of a product": ((A * B).I, B.I * A.I, []),
    "the derivative of an inverse": (dot(M.I, t), -M.I * dot(M, t) * M.I, []),
    "the logarithm of a determinant": (d(log(det(M)), t), trace(M.I * dot(M, t)), []),
    "decimals": (0.1 * X + 0.2 * X, 0.3 * X, []),
    "an interval in two pieces": (integral(X, t, t0, t1), integral(X, t, t0, s) + integral(X, t, s, t1), []),
    "limits the other way round": (integral(X, t, t0, t1), -integral(X, t, t1, t0), []),
    "another variable of integration": (integral(X, t, t0, t1), integral(at(X, t, s), s, t0, t1), []),
    "an upper limit that is the time": (X, at(X, t, t0) + integral(dot(at(X, t, s), s), s, t0, t), []),
    "an empty interval": (integral(X, t, t1, t1), zeros(X), []),
    "a factor with the limit in it": (
        t1 * integral(X, t, t0, t1),
        integral(t * X, t, t0, t1) + integral((t1 - t) * X, t, t0, t1),
        [],
    ),
    "a double integral": (
        integral(integral(at(X, t, s), s, t0, t), t, t0, t1),
        integral((t1 - t) * X, t, t0, t1),
        [],
    ),
    "variation of constants": (
        at(X, t, t1),
        exp(a * (t1 - t0)) * at(X, t, t0) + integral(exp(a * (t1 - t)) * function("g", t), t, t0, t1),
        [rate],
    ),
    "an integral that SymPy knows": (integral(exp(a * t), t, t0, t1), (exp(a * t1) - exp(a * t0)) / a, []),
    "an integral from 0 to 1": (integral(t**2, t, 0, 1), 1 / (3 * x) * x, []),
    "exponentials": ((exp(x) + exp(-x)) ** 2 - (exp(x) - exp(-x)) ** 2, 4, []),
    "parts, with the terminal value": (
        integral(dot(lam, t) * z + lam * f, t, t0, t1),
        at(partial(L, z) * z, t, t1) - at(lam * z, t, t0),
        [ode, terminal],
    ),
    "a value inside an integral": (
        integral(at(lam, t, t1) * dot(z, t), t, t0, t1),
        at(lam * z, t, t1) - at(lam, t, t1) * at(z, t, t0),
        [],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_equation_holds(name):
    lhs, rhs, using = RIGHT[name]
    result = verdict(lhs, rhs, using=using).record()
    assert result["state"] == "holds", result["message"] or result["witness"]


def test_a_wrong_form_of_each_is_refused():
    """The same equations with a doubled right side, or, where that is 0, with something added."""
    for name, (lhs, rhs, using) in RIGHT.items():
        wrong = 2 * rhs if any(rhs.value() if hasattr(rhs, "value") else [rhs]) else X
        assert verdict(lhs, wrong, using=using).record()["state"] == "refused", name


@pytest.mark.parametrize("bad", ["z", [1.0, 2.0], A.sympy, len], ids=repr)
def test_what_is_no_quantity_is_explained(bad):
    with pytest.raises((TypeError, ValueError), match=r"quantity or a number|sympify|Sympify"):
        x * bad


def test_exponents_are_numbers():
    assert verdict((x**0.5) ** 2, x).state == "holds"
    with pytest.raises(TypeError, match="must be a number"):
        x**a


def test_limits_that_are_numbers_are_explained():
    result = verdict(at(X, t, 1) - at(X, t, 0), integral(dot(X, t), t, 0, 1)).record()
    assert (result["state"], result["message"]) == (
        "undecided",
        "no limit of the integral may run; where it is a number, write a variable (var)",
    )


def test_a_product_of_integrals_is_undecided_and_not_an_error():
    square = integral(lam * z, t, t0, t1) * integral(lam * f, t, t0, t1)
    result = verdict(square, 2 * square + 1).record()
    assert result["state"] == "undecided"
    assert result["message"].startswith("an integral stands inside a product or a function: Integral(")


def test_a_wrong_version_of_the_wrong_shape_is_explained():
    with pytest.raises(ValueError, match="wrong version 'a row'"):
        check("eq-test", dot(z_theta, t), f_z * z_theta + f_theta, using=[ode], wrong={"a row": lam})
