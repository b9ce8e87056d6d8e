"""What a reader is told about an answer."""

import pytest
from symbols import adjoint, f, f_theta, f_z, lam, ode, start, t, t0, t1, theta, z, z_0, z_theta

from receipts import at, d, dot, exercise, feedback, function, integral, numbers, premise, zeros

KEY = exercise(
    dot(z_theta, t), f_z * z_theta + f_theta, using=[ode], wrong={"the row form": z_theta * f_z + f_theta}
)


F_own = function("F", t, theta, z_0)  # a residual with a name of its own


def said(answer, key=KEY):
    receipt = feedback(answer, key)
    return receipt.state, receipt.message


def test_what_is_not_answered_yet():
    assert said(...) == ("open", "Not answered yet.")
    assert said((..., 2.0), numbers(1, 2))[0] == said([1.0, ...], numbers(1, 2))[0] == "open"


@pytest.mark.parametrize(
    "answer, message",
    [
        (f_z * z_theta + f_theta, "Right."),
        (f_theta + f_z * z_theta, "Right, in another form."),
        ((z_theta.T * f_z.T).T + f_theta, "Right, in another form."),
        (d(f, theta), "Right, in another form."),
    ],
)
def test_every_form_of_the_right_answer_passes(answer, message):
    assert said(answer) == ("holds", message)


@pytest.mark.parametrize(
    "answer",
    [
        dot(z_theta, t),
        1 * dot(z_theta, t),
        -dot(z_theta, t),
        dot(z_theta, t).T.T,
        d(dot(z, t), theta),
    ],
    ids=str,
)
def test_the_left_side_again_is_no_answer(answer):
    assert said(answer) == ("refused", "That is the left side again; say what it equals.")


@pytest.mark.parametrize(
    "answer, slip",
    [
        (f_z * z_theta - f_theta, "sign flipped: f_theta"),
        (f_z * z_theta, "dropped: f_theta"),
        (f_z * z_theta + 2 * f_theta, "doubled: f_theta"),
        (f_z.T * z_theta + f_theta, "transposed: f_z"),
        (z_theta * f_z + f_theta, "the row form"),
        (
            f_z * z_theta + d(f, theta),
            "doubled: f_z dz/dtheta or total derivative in the place of the partial: f_theta",
        ),
    ],
)
def test_a_known_slip_is_named_in_whatever_form(answer, slip):
    for form in (answer, answer + zeros(answer), (answer.T).T):
        assert said(form) == ("refused", f"Not yet. This is the equation with one slip ({slip}).")


def test_an_unknown_slip_is_searched_for():
    assert (
        "One change would make it hold: dropped: theta z^T" in said(f_z * z_theta + f_theta + theta * z.T)[1]
    )
    assert "no single change" in said(3 * (z_theta * z_theta))[1]


def test_two_slips_under_an_integral_are_not_taken_for_one():
    """The derivative in t_1 is off by the same amount; what is left where the limits meet is not."""
    key = exercise(at(z, t, t1), z_0 + integral(f, t, t0, t1), using=[ode, start])
    assert "one slip (doubled: int_t_0^t_1 f dt)" in said(z_0 + 2 * integral(f, t, t0, t1), key)[1]
    assert "one slip" not in said(2 * integral(f, t, t0, t1) - z_0, key)[1]


@pytest.mark.parametrize(
    "answer, problem", [(lam, "shapes do not fit"), (3, "shapes do not fit"), ("f", "formula is needed")]
)
def test_what_is_no_right_side_at_all_is_explained(answer, problem):
    state, message = said(answer)
    assert state == "refused" and problem in message


def test_a_premise_left_out_is_not_blamed_on_the_right_answer():
    key = exercise(d(lam * z_theta, t), lam * f_theta, using=[ode, adjoint])
    assert said(lam * f_theta, key) == ("holds", "Right.")
    assert (
        said(-(lam * f_theta), key)[1]
        == "Not yet. This is the equation with one slip (sign flipped: lambda f_theta)."
    )


PAIR = numbers(0.4, -3, mistakes={"subtracted, not added": (0.6, -3)})


@pytest.mark.parametrize(
    "answer, state, message",
    [
        ((0.4, -3), "holds", "Right."),
        ((0.4001, -3), "holds", "Right."),
        ((0.6, -3), "refused", "Not yet: subtracted, not added."),
        ((0.4, 3), "refused", "Not yet. Right so far: number 1."),
        ((7, 8), "refused", "Not yet. Right so far: none."),
        ((0.4,), "refused", "2 numbers are needed; got 1."),
        ("much", "refused", "Numbers are needed here; got 'much'."),
        ((float("nan"), -3), "refused", "Not yet. Right so far: number 2."),
    ],
)
def test_numbers_are_compared_one_by_one(answer, state, message):
    assert said(answer, PAIR) == (state, message)


def test_a_small_number_is_not_zero():
    assert said(0, numbers(1e-5))[0] == "refused"
    assert said(1e-4, numbers(0))[0] == "holds"


def test_a_known_mistake_is_named_before_an_order():
    key = numbers(1, 2, mistakes={"rows and columns are swapped": (2, 1)})
    assert feedback((2, 1), key).message == "Not yet: rows and columns are swapped."


def test_the_right_numbers_in_another_order_are_told_so():
    key = numbers(1, 2, 3)
    assert "another order" in feedback((3, 2, 1), key).message


def test_the_authors_name_of_a_mistake_comes_first():
    key = exercise(d(f, theta), f_z * z_theta + f_theta, wrong={"the printed one": f_z * z_theta - f_theta})
    assert "(the printed one)" in feedback(f_z * z_theta - f_theta, key).message


def test_an_answer_may_use_more_equations_than_the_key():
    residual = premise("eq-residual", F_own, dot(z, t) - f)
    key = exercise(d(lam * F_own, t), dot(lam, t) * F_own + lam * dot(F_own, t))
    answer = dot(lam, t) * (dot(z, t) - f) + lam * dot(F_own, t)
    assert feedback(answer, key).state == "refused"
    assert feedback(answer, key, also=[residual]).state == "holds"
