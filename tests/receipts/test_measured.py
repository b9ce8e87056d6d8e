"""Checks of numbers, orders and bounds: right ones hold, and weak ones are refused."""

import math

import numpy as np
import pytest

from receipts import Refused, bound, numeric, order


def area(case):
    """The integral of x**case over [0, 2], by quadrature."""
    x, w = np.polynomial.legendre.leggauss(8)
    return float(w @ (x + 1) ** case)


def closed(case):
    return 2 ** (case + 1) / (case + 1)


WRONG = {
    "upper limit 1.99": lambda c: 1.99 ** (c + 1) / (c + 1),
    "no division": lambda c: 2.0 ** (c + 1) + 0.1 * c,
}
CASES = dict(cases=(1, 2, 3), using=["eq-area"])


def test_two_ways_that_agree_hold():
    receipt = numeric("eq-test", area, closed, rtol=1e-12, wrong=WRONG, **CASES)
    assert receipt.record()["refused"] == 2 and receipt.record()["premises"][0]["label"] == "eq-area"


def test_two_ways_that_differ_are_refused():
    with pytest.raises(Refused, match="differ by"):
        numeric("eq-test", area, lambda c: closed(c) * 1.001, rtol=1e-12, wrong=WRONG, **CASES)


def test_a_copied_number_is_refused():
    with pytest.raises(Refused, match="may have been copied"):
        numeric("eq-test", lambda c: 8 / 3, lambda c: 2.6666666666666665, rtol=1e-12, wrong=WRONG, **CASES)


@pytest.mark.parametrize("change", [lambda c: 1.05 * closed(c), lambda c: closed(c) + 0.01])
def test_changing_the_number_is_no_wrong_version(change):
    with pytest.raises(Refused, match="the right number"):
        numeric("eq-test", area, closed, rtol=1e-12, wrong=WRONG | {"changed": change}, **CASES)


def test_a_wrong_version_that_agrees_is_not_refused():
    with pytest.raises(Refused, match=r"not refused: the same|adds"):
        numeric(
            "eq-test",
            area,
            closed,
            rtol=1e-3,
            wrong=WRONG | {"the same": lambda c: closed(c) + 1e-9 * c},
            **CASES,
        )


def test_far_wrong_versions_alone_are_no_teeth():
    far = {"no division": WRONG["no division"], "other power": lambda c: 2.0 ** (c + 4)}
    with pytest.raises(Refused):
        numeric("eq-test", area, closed, rtol=1e-12, wrong=far, **CASES)


def test_one_wrong_version_is_not_enough():
    with pytest.raises(Refused, match="two wrong formulas"):
        numeric("eq-test", area, closed, rtol=1e-12, wrong={"limit": WRONG["upper limit 1.99"]}, **CASES)


def test_numbers_must_be_finite():
    with pytest.raises(Refused, match="not finite"):
        numeric("eq-test", area, lambda c: math.nan, rtol=1e-12, wrong=WRONG, **CASES)


HS = (0.1, 0.05, 0.025)


def test_an_order_holds_from_both_sides():
    wrong = {"first order": lambda h: h + h**2, "fourth order": lambda h: h**4}
    assert (
        order("eq-test", lambda h: 3 * h**2, 2, HS, wrong=wrong, using=["eq-x"]).record()["state"] == "holds"
    )
    for p in (1, 3):
        with pytest.raises(Refused, match="observed order"):
            order("eq-test", lambda h: 3 * h**2, p, HS, wrong=wrong, using=["eq-x"])


def test_an_order_needs_wrong_versions_that_fail():
    with pytest.raises(Refused, match="two wrong versions"):
        order("eq-test", lambda h: h**2, 2, HS, wrong={"first": lambda h: h}, using=["eq-x"])
    with pytest.raises(Refused, match="not refused"):
        order(
            "eq-test",
            lambda h: h**2,
            2,
            HS,
            wrong={"a": lambda h: h, "b": lambda h: 5 * h**2},
            using=["eq-x"],
        )


def test_a_bound_is_sampled_and_sharper_bounds_are_violated():
    cases = (0.1, 0.5, 1.0)
    wrong = {"no growth": lambda x: 1.0, "rate 0.95": lambda x: math.exp(0.95 * x)}
    receipt = bound("eq-test", math.exp, lambda x: math.exp(x), wrong=wrong, cases=cases, using=["eq-x"])
    assert "not proved" in receipt.record()["numbers"]
    with pytest.raises(Refused, match="violates"):
        bound("eq-test", math.exp, lambda x: 1 + x, wrong=wrong, cases=cases, using=["eq-x"])
    with pytest.raises(Refused):
        bound("eq-test", lambda x: 0.1, math.exp, wrong=wrong, cases=cases, using=["eq-x"])


def test_an_error_of_zero_has_no_order():
    wrong = {"first": lambda h: h, "fourth": lambda h: h**4}
    for error in (lambda h: 0.0, lambda h: h**2 - 0.025**2, lambda h: math.nan):
        with pytest.raises(Refused, match="no order"):
            order("eq-test", error, 2, HS, wrong=wrong, using=["eq-x"])
    with pytest.raises(Refused, match="wrong version 'none'"):
        order("eq-test", lambda h: h**2, 2, HS, wrong=wrong | {"none": lambda h: 0.0}, using=["eq-x"])


def test_an_order_may_come_from_signed_errors():
    wrong = {"first": lambda h: h, "fourth": lambda h: h**4}
    assert (
        order("eq-test", lambda h: -(h**2), 2, HS, wrong=wrong, using=["eq-x"]).record()["state"] == "holds"
    )


@pytest.mark.parametrize("hs", [(0.1, 0.05), (0.025, 0.05, 0.1), (0.1, 0.1, 0.05)])
def test_an_order_needs_three_shrinking_steps(hs):
    with pytest.raises(ValueError, match="three steps"):
        order("eq-test", lambda h: h**2, 2, hs, wrong={}, using=["eq-x"])


def test_one_computation_against_itself_is_no_check():
    for again in (closed, lambda c: closed(c)):
        with pytest.raises(Refused, match="one and the same"):
            numeric(
                "eq-test",
                again,
                closed if again is closed else lambda c: closed(c),
                rtol=1e-12,
                wrong=WRONG,
                **CASES,
            )


def test_a_factor_is_seen_beside_a_zero():
    right = lambda c: np.array([0.0, closed(c), c])
    with pytest.raises(Refused, match=r"only multiplies by 1.05 the right number"):
        numeric(
            "eq-test",
            lambda c: np.array([0.0, area(c), float(c)]),
            right,
            rtol=1e-9,
            cases=(1, 2, 3),
            using=["eq-x"],
            wrong={"scaled": lambda c: 1.05 * right(c), "other": lambda c: right(c + 0.1)},
        )


@pytest.mark.parametrize("bad", [lambda c: math.inf, lambda c: [], lambda c: [math.nan]])
def test_a_wrong_version_must_be_a_number(bad):
    with pytest.raises(Refused, match=r"wrong version 'bad'.*missing or not finite"):
        numeric("eq-test", area, closed, rtol=1e-12, wrong=WRONG | {"bad": bad}, **CASES)


def test_numbers_that_are_all_zero_prove_nothing():
    with pytest.raises(Refused, match="copied"):
        numeric("eq-test", lambda c: 0.0, lambda c: 0.0 * c, rtol=1e-12, wrong=WRONG, **CASES)


def test_a_bound_may_be_zero_and_must_be_finite():
    wrong = {"nothing": lambda x: x - 0.5, "a little less": lambda x: 0.95 * x}
    assert (
        bound("eq-test", lambda x: x, lambda x: x, wrong=wrong, cases=(0.0, 0.5, 1.0), using=["eq-x"]).state
        == "holds"
    )
    with pytest.raises(Refused, match="not finite"):
        bound("eq-test", lambda x: x, lambda x: math.inf, wrong=wrong, cases=(0.5, 1.0), using=["eq-x"])
    with pytest.raises(Refused, match="violates"):
        bound("eq-test", lambda x: -x, lambda x: -2 * x, wrong=wrong, cases=(0.5, 1.0), using=["eq-x"])
