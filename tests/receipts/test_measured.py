"""Checks of numbers, orders and bounds: right ones hold, and weak ones are refused."""

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest

from receipts import Refused, bound, numeric, order
from receipts.ledger import digest


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
TOOTHLESS = "^eq-test has a check without teeth"
FEW_FORMULAS = f"{TOOTHLESS}: it takes two wrong formulas, one of them within 10 % of the truth$"
FEW_BOUNDS = f"{TOOTHLESS}: it takes two wrong bounds, one of them violated within 10 % of the truth$"


def test_two_ways_that_agree_hold():
    receipt = numeric("eq-test", area, closed, rtol=1e-12, wrong=WRONG, **CASES)
    assert receipt.record()["refused"] == 2 and receipt.record()["premises"][0]["label"] == "eq-area"


def test_two_ways_that_differ_are_refused():
    with pytest.raises(
        Refused, match=r"^eq-test does not hold: the two ways differ by 1\.0e-03, more than 1e-12$"
    ):
        numeric("eq-test", area, lambda c: closed(c) * 1.001, rtol=1e-12, wrong=WRONG, **CASES)


def test_a_copied_number_is_refused():
    with pytest.raises(
        Refused, match=f"{TOOTHLESS}: the number is the same for two cases: it may have been copied$"
    ):
        numeric("eq-test", lambda c: 8 / 3, lambda c: 2.6666666666666665, rtol=1e-12, wrong=WRONG, **CASES)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda c: 1.07 * closed(c), "multiplies by 1.07"),
        (lambda c: closed(c) + 0.01, "adds 0.01 to"),
    ],
)
@pytest.mark.parametrize("size", [1, 1e7])
def test_changing_the_number_is_no_wrong_version(change, seen, size):
    wrong = {"x": lambda c: size * WRONG["no division"](c), "changed": lambda c: size * change(c)}
    seen = seen if size == 1 else seen.replace("0.01", r"1e\+05")
    with pytest.raises(
        Refused, match=f"{TOOTHLESS}: the wrong version 'changed' only {seen} the right number"
    ):
        lhs, rhs = lambda c: size * area(c), lambda c: size * closed(c)
        numeric("eq-test", lhs, rhs, rtol=1e-12, wrong=wrong, **CASES)


def test_a_wrong_version_that_agrees_is_not_refused():
    with pytest.raises(Refused, match=rf"{TOOTHLESS}: not refused: the same \(holds\)$"):
        numeric(
            "eq-test",
            area,
            closed,
            rtol=1e-3,
            wrong=WRONG | {"the same": lambda c: closed(c) + 1e-5 * c},
            **CASES,
        )


def test_far_wrong_versions_alone_are_no_teeth():
    far = {"no division": WRONG["no division"], "other power": lambda c: 2.0 ** (c + 4)}
    with pytest.raises(Refused, match=FEW_FORMULAS):
        numeric("eq-test", area, closed, rtol=1e-12, wrong=far, **CASES)


def test_one_wrong_version_is_not_enough():
    with pytest.raises(Refused, match=FEW_FORMULAS):
        numeric("eq-test", area, closed, rtol=1e-12, wrong={"limit": WRONG["upper limit 1.99"]}, **CASES)


def test_numbers_must_be_finite():
    with pytest.raises(Refused, match=r"^eq-test: a computed number is missing or not finite"):
        numeric("eq-test", area, lambda c: math.nan, rtol=1e-12, wrong=WRONG, **CASES)


HS = (0.1, 0.05, 0.025)


def test_an_order_holds_from_both_sides():
    wrong = {"first order": lambda h: h + h**2, "fourth order": lambda h: h**4}
    assert (
        order("eq-test", lambda h: 3 * h**2, 2, HS, wrong=wrong, using=["eq-x"]).record()["state"] == "holds"
    )
    for p in (1, 3):
        with pytest.raises(Refused, match=rf"^eq-test does not hold: the observed order is 2\.00, not {p}$"):
            order("eq-test", lambda h: 3 * h**2, p, HS, wrong=wrong, using=["eq-x"])


def test_an_order_needs_wrong_versions_that_fail():
    with pytest.raises(Refused, match=f"{TOOTHLESS}: an order needs two wrong versions at least$"):
        order("eq-test", lambda h: h**2, 2, HS, wrong={"first": lambda h: h}, using=["eq-x"])
    with pytest.raises(Refused, match=r"not refused: b \(holds\)$"):
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
    with pytest.raises(Refused, match=r"^eq-test does not hold: a sample violates the bound$"):
        bound("eq-test", math.exp, lambda x: 1 + x, wrong=wrong, cases=cases, using=["eq-x"])
    with pytest.raises(Refused, match=FEW_BOUNDS):
        bound("eq-test", lambda x: 0.1, math.exp, wrong=wrong, cases=cases, using=["eq-x"])


def test_an_error_of_zero_has_no_order():
    wrong = {"first": lambda h: h, "fourth": lambda h: h**4}
    for error in (lambda h: 0.0, lambda h: h**2 - 0.025**2, lambda h: math.nan):
        with pytest.raises(Refused, match=r"^eq-test: an error of .* has no order"):
            order("eq-test", error, 2, HS, wrong=wrong, using=["eq-x"])
    with pytest.raises(Refused, match="wrong version 'none'"):
        order("eq-test", lambda h: h**2, 2, HS, wrong=wrong | {"none": lambda h: 0.0}, using=["eq-x"])


def test_an_order_may_come_from_signed_errors():
    wrong = {"first": lambda h: h, "fourth": lambda h: h**4}
    assert (
        order("eq-test", lambda h: -(h**2), 2, HS, wrong=wrong, using=["eq-x"]).record()["state"] == "holds"
    )


@pytest.mark.parametrize("hs", [(0.1, 0.05), (0.025, 0.05, 0.1), (0.1, 0.1, 0.05), (0.1, 0.05, 0)])
def test_an_order_needs_three_shrinking_steps(hs):
    with pytest.raises(ValueError, match=r"^eq-test: an order needs three steps"):
        order("eq-test", lambda h: h**2, 2, hs, wrong={}, using=["eq-x"])


def test_one_computation_against_itself_is_no_check():
    for again in (closed, lambda c: closed(c)):
        with pytest.raises(Refused, match=f"{TOOTHLESS}: the two ways are one and the same computation"):
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
    with pytest.raises(Refused, match=r"^eq-test: a computed number is missing or not finite"):
        bound("eq-test", lambda x: x, lambda x: math.inf, wrong=wrong, cases=(0.5, 1.0), using=["eq-x"])
    with pytest.raises(Refused, match="violates"):
        bound("eq-test", lambda x: -x, lambda x: -2 * x, wrong=wrong, cases=(0.5, 1.0), using=["eq-x"])


def kept(receipt):
    """What the record of a measurement holds, without what it leaves empty."""
    record = receipt.record()
    assert 0 <= record.pop("seconds") < 60
    assert [p["label"] for p in record.pop("premises")] == ["eq-a", "eq-b"]
    return {name: value for name, value in record.items() if value}


def source(*functions):
    return digest("\n".join(inspect.getsource(f) for f in functions))


def refusals(**values):
    """The trials of wrong versions that were refused, by how far each was off."""
    rest = {"where": "named", "action": None, "latex": None, "state": "refused", "still": None}
    return [{"name": name, "value": value, **rest} for name, value in values.items()]


class Labelled:
    label = "eq-b"


USING = ["eq-a", Labelled]


def four(c):
    return np.array([c, 1 / 3, 2.0, 3.0]) ** 2


def by_products(c):
    return np.array([c * c, 1 / 9, 4.0, 9.0])


def cubed(c):
    return np.array([c, 1 / 3, 2.0, 3.0]) ** 3


def nearly(c):
    return np.array([c, 1 / 3, 2.0, 2.9]) ** 2


def test_what_was_measured_is_recorded():
    wrong = {"cubed": cubed, "nearly": nearly}
    receipt = numeric(
        "eq-test", four, by_products, rtol=1e-9, wrong=wrong, using=USING, cases=(1, 2), statement="a=b"
    )
    assert kept(receipt) == {
        "label": "eq-test",
        "kind": "numeric",
        "state": "holds",
        "latex": "a=b",
        "source": source(four, by_products, cubed, nearly),
        "numbers": "One way: 1, 0.1111111111, 4. The other: 1, 0.1111111111, 4. "
        "Allowed difference: 1e-09 of the size.",
        "trials": refusals(cubed="2.0e+00 of its size", nearly="6.6e-02 of its size"),
        "refused": 2,
    }
    assert not numeric("eq-test", four, by_products, rtol=1e-9, wrong=wrong, using=USING, cases=(1, 2)).latex


def quadratic(h):
    return h**2 + 10 * h**4


def fades(h):
    return h**2 if h > 0.06 else 0.004


def linear(h):
    return h


def test_an_order_is_that_of_the_last_steps_and_is_recorded():
    """The first orders of the right one are too high; a wrong one has the right order until the last step."""
    wrong, hs = {"linear": linear, "fades": fades}, [Fraction(2, 5 * 2**i) for i in range(4)]
    receipt = order("eq-test", quadratic, 2, hs, wrong=wrong, using=USING)
    assert kept(receipt) == {
        "label": "eq-test",
        "kind": "order",
        "state": "holds",
        "source": source(quadratic, linear, fades),
        "numbers": "Observed orders: 2.89, 2.35, 2.10; expected 2.",
        "trials": refusals(linear="order 1.00", fades="order 1.32"),
        "refused": 2,
    }
    receipt = order("eq-test", quadratic, 2, hs, wrong=wrong, using=USING, statement="a=b")
    assert receipt.record()["latex"] == "a=b"
    with pytest.raises(Refused, match=r"observed order is 1\.32, not 2"):
        order("eq-test", fades, 2, hs, wrong=wrong, using=USING)


def rises(x):
    return x**2


def above(x):
    return x**2 + 0.5 * x


def half(x):
    return x**2 / 2


def almost(x):
    return 0.99 * x**2


def test_a_bound_is_recorded_with_the_case_where_it_is_tightest():
    cases, wrong = (0.0625, 2.0, 5.0, 1.0), {"half": half, "almost": almost}
    receipt = bound("eq-test", rises, above, wrong=wrong, using=USING, cases=cases)
    assert kept(receipt) == {
        "label": "eq-test",
        "kind": "numeric",
        "state": "holds",
        "source": source(rises, above, half, almost),
        "numbers": "Sampled in 4 cases, not proved. Tightest: 25 <= 27.5.",
        "trials": refusals(half="violated in 4 of 4 cases", almost="violated in 4 of 4 cases"),
        "refused": 2,
    }
    assert bound("eq-test", rises, above, wrong=wrong, using=USING, cases=cases, statement="b").latex == "b"
    assert (
        bound("eq-test", math.exp, math.exp, wrong=EXPONENTIALS, using=USING, cases=(1.0, 2.0)).source == ""
    )


EXPONENTIALS = {"no growth": lambda x: 1.0, "rate 0.99": lambda x: math.exp(0.99 * x)}


def test_where_both_sides_are_zero_no_bound_is_violated():
    wrong = {"half": half, "almost": almost}
    trials = bound("eq-test", rises, rises, wrong=wrong, using=USING, cases=(0.0, 2.0)).record()["trials"]
    assert [t["value"] for t in trials] == ["violated in 1 of 2 cases"] * 2


def test_a_wrong_bound_that_no_sample_violates_is_not_refused():
    for name, f in {"twice": lambda x: 2 * x**2, "the left side": rises}.items():
        with pytest.raises(Refused, match=rf"not refused: {name} \(holds\)$"):
            wrong = {"half": half, "almost": almost, name: f}
            bound("eq-test", rises, rises, wrong=wrong, using=USING, cases=(1.0, 2.0))


def test_a_wrong_bound_is_near_where_it_is_violated():
    """It takes two, and being near where it still holds does not count."""
    elsewhere = lambda x: 1.08 * x**2 if x < 1.5 else x**2 / 2
    for wrong in ({"almost": almost}, {"half": half, "elsewhere": elsewhere}):
        with pytest.raises(Refused, match=FEW_BOUNDS):
            bound("eq-test", rises, rises, wrong=wrong, using=USING, cases=(1.0, 2.0))


def test_no_wrong_bound_is_tried_where_the_right_one_fails():
    tried = []
    with pytest.raises(Refused, match="violates"):
        bound("eq-test", above, rises, wrong={"x": tried.append}, using=USING, cases=(1.0, 2.0))
    assert not tried


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_the_message_names_the_wrong_bound_without_a_value(bad):
    with pytest.raises(Refused, match=r"^eq-test, wrong version 'bad': a computed number is missing"):
        bound("eq-test", rises, rises, wrong={"bad": lambda x: bad}, using=USING, cases=(1.0, 2.0))


def test_exact_numbers_may_be_held_to_no_difference_at_all():
    exact = dict(rtol=0.0, cases=(10, 20), using=USING)
    wrong = {"a few more": lambda n: n * n + n // 10, "double": lambda n: 2 * n * n - n}
    numeric("eq-test", lambda n: n**2, lambda n: n * n, wrong=wrong, **exact)
    with pytest.raises(Refused, match="copied"):
        numeric("eq-test", lambda n: 8, lambda n: 2**3, wrong=wrong, **exact)
    with pytest.raises(Refused, match=r"not refused: the same \(holds\)$"):
        same = lambda n: sum(range(1, 2 * n, 2))
        numeric("eq-test", lambda n: n**2, lambda n: n * n, wrong=wrong | {"the same": same}, **exact)


def test_small_numbers_are_compared_by_their_size():
    with pytest.raises(Refused, match=r"differ by 1\.0e-03"):
        lhs, rhs = lambda c: 1e-9 * area(c), lambda c: 1.001e-9 * closed(c)
        numeric("eq-test", lhs, rhs, rtol=1e-6, wrong=WRONG, **CASES)


def test_what_cannot_be_negative_is_compared_as_a_number():
    """One less than an unsigned 100 is near it: differences do not wrap round."""
    counts = lambda c: np.uint8(100 + 20 * c)
    wrong = {"less": lambda c: np.uint8(100 + 19 * c), "far": lambda c: np.uint8(10 * c)}
    assert (
        numeric("eq-test", counts, lambda c: np.uint8(20 * (c + 5)), rtol=1e-9, wrong=wrong, **CASES).refused
        == 2
    )


def test_the_same_lines_about_other_things_are_another_computation():
    closure, default = lambda rule: lambda c: rule(c), lambda rule: lambda c, rule=rule: rule(c)
    for made in (closure, default):
        assert numeric("eq-test", made(area), made(closed), rtol=1e-12, wrong=WRONG, **CASES).state == "holds"
        with pytest.raises(Refused, match="one and the same"):
            numeric("eq-test", made(closed), made(closed), rtol=1e-12, wrong=WRONG, **CASES)
    assert numeric("eq-test", math.exp, np.exp, rtol=1e-12, wrong=EXPONENTIALS, **CASES).state == "holds"
