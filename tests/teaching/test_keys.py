"""What the marker makes of a claim, however it reads."""

import json
import math

import numpy as np
import pytest
from teaching.keys import Choice, Formula, Function, Numbers, Prediction, evaluate


def numbers(*values, shape=None):
    return {"kind": "numbers", "shape": shape or [len(values)], "values": list(values)}


KEY = Numbers(np.array([1.0, -2.0]), {"the other sign of the second": np.array([1.0, 2.0])})


@pytest.mark.parametrize(
    ("claim", "state"),
    [
        (numbers(1.0, -2.0), "right"),
        (numbers(1.00001, -2.00001), "right"),
        (numbers(1.0, 2.0), "mistake"),
        (numbers(-2.0, 1.0), "mistake"),
        (numbers(-1.0, 2.0), "mistake"),
        (numbers(1.001, -2.001), "wrong"),
        (numbers(1.0, 7.0), "wrong"),
        (numbers(1.0), "form"),
        (numbers(math.nan, -2.0), "form"),
        (numbers(math.inf, -2.0), "form"),
        (numbers(1e308, -1e308), "wrong"),
        (numbers(*[0.0] * 20_001), "form"),
        ({"kind": "blank"}, "blank"),
        (None, "missing"),
        ({"kind": "text", "text": "1, -2"}, "form"),
        ({"kind": "other", "text": "Evil"}, "form"),
        ({"kind": "numbers", "values": ["1", "-2"]}, "form"),
        ({"kind": "numbers", "values": [True, [-2.0]]}, "form"),
        ({"kind": "numbers", "values": {"0": 1.0}}, "form"),
        ({"kind": "list", "items": [numbers(1.0), numbers(-2.0)]}, "right"),
        ({"kind": "list", "items": []}, "form"),
        ({"kind": ["numbers"]}, "form"),
        ([1.0, -2.0], "form"),
        ("right", "form"),
    ],
)
def test_claims_of_numbers(claim, state):
    assert KEY.judge(json.loads(json.dumps(claim)), "x").state == state


def test_a_zero_is_judged_by_the_size_of_the_rest():
    key = Numbers(np.array([0.0, 100.0]))
    assert key.judge(numbers(1e-12, 100.0), "x").right
    assert not key.judge(numbers(0.1, 100.0), "x").right


def test_the_answer_of_another_sheet_is_told_kindly_and_by_whom():
    verdict = KEY.judge(numbers(5.0, 6.0), "x", [("bob", Numbers(np.array([5.0, 6.0])))])
    assert (verdict.state, verdict.with_whom) == ("other", "bob")
    assert "another sheet" in verdict.message and "bob" not in verdict.message


def test_integers_that_many_share_say_nothing_of_whom():
    key = Numbers(2, personal=False)
    assert key.judge(numbers(3.0), "x", [("bob", Numbers(3))]).state == "wrong"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2*t + 1", 3.0),
        ("2*t^2", 2.0),
        ("exp(0)", 1.0),
        ("np.exp(t - t)", 1.0),
        ("-t/4", -0.25),
        ("sqrt(4)*pi", 2 * math.pi),
        ("1e3", 1000.0),
        ("E**t", math.e),
    ],
)
def test_formulas_are_read(text, value):
    assert evaluate(text, {"t": 1.0}) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t t",
        "x",
        "__import__('os').system('id')",
        "t.__class__",
        "(lambda: 1)()",
        "[1][0]",
        "9**9**9**9",
        "exp(1e9)",
        "1/0",
        "(-1)**0.5",
        "t if t else t",
        "t == 1",
        "'a'*9",
        "exp(t, t)",
        "exp(*t)",
        "True",
        "1j",
        "(" * 5000 + "t" + ")" * 5000,
        "-" * 90_000 + "t",
        "+".join("t" * 30_000),
        "\0",
        "sum(t for t in t)",
        "f'{t}'",
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_what_is_no_formula_is_refused_at_once(text):
    with pytest.raises(ValueError, match="it "):
        evaluate(text, {"t": 1.0})


def test_formulas_are_compared_by_their_values():
    key = Formula(lambda t: math.exp(-t), {"t": (0, 1)}, {"it grows": lambda t: math.exp(t)})
    assert key.judge({"kind": "text", "text": "1/exp(t)"}, "x").right
    assert key.judge({"kind": "formula", "text": "exp(-t)"}, "x").right
    assert key.judge({"kind": "text", "text": "exp(t)"}, "x").message == "Not yet: it grows."
    assert key.judge({"kind": "text", "text": "exp(-s)"}, "x").state == "form"
    assert key.judge(numbers(1.0, shape=[]), "x").state == "wrong"
    assert key.judge({"kind": "text", "text": "1e400*t"}, "x").state == "wrong"


def test_a_formula_may_name_the_data_that_are_given():
    key = Formula(lambda t: 3 * t, {"t": (0, 1)}, given={"a": 3.0})
    assert key.judge({"kind": "text", "text": "a*t"}, "x").right
    assert key.judge({"kind": "text", "text": "b*t"}, "x").state == "form"


def test_functions_are_judged_by_what_they_returned():
    key = Function(lambda x: 2 * x, [[1.0], [[1.0, 3.0]]], {"the square": lambda x: x**2})
    claim = {"kind": "function"}
    assert key.judge(claim, "f", results=[numbers(2.0), numbers(2.0, 6.0)]).right
    assert "the square" in key.judge(claim, "f", results=[numbers(1.0), numbers(1.0, 9.0)]).message
    assert key.judge(claim, "f", results=None).state == "error"
    assert key.judge(claim, "f", results=[numbers(2.0)]).state == "error"
    failed = {"kind": "error", "type": "KeyError", "text": "k"}
    assert key.judge(claim, "f", results=[failed, failed]).state == "error"
    assert key.judge(claim, "f", results=[{"kind": "blank"}] * 2).state == "blank"
    assert key.judge(claim, "f", results=[numbers(2.0), numbers(2.0)]).state == "form"
    assert key.judge(numbers(2.0), "f", results=[]).state == "form"


def test_a_prediction_is_judged_by_its_error_on_times_held_out():
    key = Prediction(np.sin, [[[0.0, 1.0, 2.0]]], {"a constant": lambda t: 0 * t}, limit=0.1)
    claim = {"kind": "function"}
    assert key.judge(claim, "f", results=[numbers(0.02, 0.83, 0.95)]).right
    assert "a constant" in key.judge(claim, "f", results=[numbers(0.0, 0.0, 0.0)]).message
    assert key.judge(claim, "f", results=[numbers(math.nan, 0.0, 0.0)]).state == "form"


def test_letters():
    key = Choice("d", {"a": "that line is right"})
    assert key.judge({"kind": "text", "text": " D "}, "x").right
    assert "that line is right" in key.judge({"kind": "text", "text": "a"}, "x").message
    assert key.judge(numbers(1.0), "x").state == "form"


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (2e-3, "Very near, but not within 0.01 %: are there differences in it?"),
        (1.0, "Not right, and not one of the mistakes"),
    ],
)
def test_a_function_that_is_nearly_right_is_called_near(off, words):
    key = Function(lambda x: x, [[[1.0, 2.0]], [[3.0, 4.0]]])
    results = [{"kind": "numbers", "values": [v * (1 + off) for v in row[0]]} for row in key.inputs]
    verdict = key.judge({"kind": "function"}, "f", results=results)
    assert verdict.state == "wrong" and words in verdict.message
    results[0]["values"] = key.inputs[0][0]
    if off == 1.0:
        told = key.judge({"kind": "function"}, "f", results=results).message
        assert told.startswith("Right for 1 of the 2 inputs, and not one")
