"""Ways in which a false equation, or an empty one, might slip through."""

import sys
from fractions import Fraction

import pytest
import sympy as sp
from symbols import (
    L,
    L_z,
    adjoint,
    f,
    f_theta,
    f_z,
    lam,
    ode,
    start,
    t,
    t0,
    t1,
    terminal,
    theta,
    z,
    z_0,
    z_theta,
)

from receipts import (
    Refused,
    at,
    check,
    column,
    d,
    definition,
    dot,
    exercise,
    exp,
    expression,
    eye,
    function,
    integral,
    log,
    matrix,
    partial,
    premise,
    row,
    scalar,
    trace,
    var,
    vector,
    verdict,
    zeros,
)
from receipts.decide import BOUND, POSITIVE, _split_integrals, rational
from receipts.premises import Premise
from receipts.same import signless
from receipts.tree import node

a, b, s, x, t2 = var("a b s x t_2")
c, x_0 = vector("c"), vector("x_0")
X = function("x", t)


def state(lhs, rhs, using=()):
    return verdict(lhs, rhs, using=using).record()["state"]


# -- premises where a limit runs, and dependences that nobody declared ----------------------------


def test_a_limit_does_not_run_through_a_rule_that_contains_it():
    """x' = c t_1 gives x(t_1) = x_0 + c t_1 (t_1 - t_0), which is not the integral of c t."""
    using = [premise("eq-rate", dot(X, t), c * t1), premise("eq-x0", at(X, t, t0), x_0)]
    assert state(at(X, t, t1), x_0 + integral(c * t, t, t0, t1), using) != "holds"


def test_a_limit_does_not_run_through_a_premise_at_twice_the_time():
    y = function("y", t)
    using = [premise("eq-y", dot(y, t), X), premise("eq-end", at(y, t, 2 * t0), c)]
    assert state(integral(X, t, t0, 2 * t0), c - at(y, t, t0), using[:1]) != "holds"
    assert state(integral(X, t, t0, 2 * t0), -at(y, t, t0) + 0 * c, using) != "holds"


def test_a_trajectory_that_starts_at_t0_depends_on_t0():
    for lhs in (d(at(z, t, t1), t0), d(at(L, t, t1), t0)):
        assert state(lhs, zeros(lhs), [ode, start]) == "undecided"


def test_a_trajectory_declared_without_its_start_depends_on_it():
    without = function("z", t, theta)
    begins = premise("eq-start", at(without, t, t0), z_0)
    lhs = d(at(without, t, t1), z_0)
    result = verdict(lhs, zeros(lhs), using=[begins]).record()
    assert result["state"] == "undecided" and "declare it with this argument" in result["message"]


def test_a_multiplier_declared_without_theta_depends_on_it_by_its_equation():
    assert state(d(dot(lam, t) * z, theta), -lam * f_z * z_theta, [adjoint]) == "undecided"
    psi = scalar("psi", theta, z_0)
    lagrangian = premise("eq-psi", psi, at(L, t, t1) - integral(lam * f, t, t0, t1))
    rhs = at(L_z * z_theta, t, t1) - integral(lam * d(f, theta), t, t0, t1)
    assert state(d(psi, theta), rhs, [lagrangian]) == "holds"
    assert state(d(psi, theta), rhs, [lagrangian, adjoint]) == "undecided"


def test_a_gradient_is_not_differentiated_with_its_multiplier_held_still():
    """The Hessian needs dlambda/dtheta, which the adjoint equation brings in behind the gradient's back."""
    lhs, rhs = at(d(L, theta), t, t1), integral(lam * f_theta, t, t0, t1)
    collected = premise(
        "eq-collected",
        lhs,
        at(L_z - lam, t, t1) * at(z_theta, t, t1)
        + integral((dot(lam, t) + lam * f_z) * z_theta + lam * f_theta, t, t0, t1),
    )
    excuse = {"eq-collected *dz/dtheta*": "multiplied by zero"}
    gradient = check("eq-gradient", lhs, rhs, using=[collected, adjoint, terminal], still=excuse)
    hessian = integral(d((lam * f_theta).T, theta), t, t0, t1)
    for known in (gradient, premise("eq-gradient", lhs, rhs)):
        assert state(d(lhs.T, theta), hessian, [known]) == "undecided"
        assert state(2 * lhs, 2 * rhs, [known]) == "holds"


def test_a_restated_identity_is_differentiated_in_what_all_its_functions_know():
    P, Q = function("P", t, theta, row=True), function("Q", t, theta)
    product = premise("eq-product", d(P * Q, t), dot(P, t) * Q + P * dot(Q, t))
    lhs, rhs = d(d(P * Q, t), theta), d(dot(P, t) * Q + P * dot(Q, t), theta)
    assert state(lhs, rhs, [product]) == "holds" and state(lhs, 2 * rhs, [product]) == "refused"


def test_the_start_of_a_trajectory_that_knows_its_starting_time():
    """z(t_0; t_0) = z_0 for every t_0 means dz/dt_0 = -f there, not 0; and z(t_0; t_2) is not z_0."""
    flow = function("z", t, theta, z_0, t0)
    field = function("f", t, flow, theta)
    moves, begins = premise("eq-ode", dot(flow, t), field), premise("eq-start", at(flow, t, t0), z_0)
    change = at(d(flow, t0), t, t0)
    assert state(change, -at(field, t, t0), [moves, begins]) == "holds"
    assert state(change, zeros(z), [begins]) == "refused"
    assert state(change, at(field, t, t0), [moves, begins]) == "refused"
    assert state(at(at(flow, t0, t2), t, t0), z_0, [begins]) == "refused"
    assert state(at(at(flow, t, t0), t0, t2), z_0, [begins]) == "holds"


def test_a_rule_does_not_reach_a_function_of_other_arguments():
    other = function("z", t, theta)
    assert state(dot(other, t), f, [ode]) == "refused"
    assert state(at(other, t, t0), z_0, [start]) == "refused"


def test_a_limit_inside_an_integrand_moves_with_the_limit():
    """Where t_1 meets s, the t_1 in front of the other integral is s as well."""
    front, back = t1 * integral(X, t, t0, s), integral(X, t, s, t1)
    assert state(front + back, integral(t1 * X, t, t0, s) + integral(X, t, s, t1)) == "holds"
    assert state(front - s * integral(X, t, t0, s), integral((t1 - s) * X, t, t0, s) + back - back) == "holds"
    assert (
        state(front - t1 * integral(X, t, t0, s) + back, back + integral((t1 - s) * X, t, t0, s)) == "refused"
    )
    inner = integral(exp(t1 - t) * X, t, t0, t1) - integral(exp(t1 - t) * X, t, s, t1)
    assert state(inner, integral(exp(t1 - t) * X, t, t0, s)) != "refused"
    assert state(inner, 2 * integral(exp(t1 - t) * X, t, t0, s)) != "holds"


def test_an_integral_keeps_the_factor_in_front_when_it_has_the_name_of_its_variable():
    assert state(t * integral(X - 2 * c, t, t0, t1), t**2 * integral(2 * c - X, t, t0, t1)) == "refused"


# -- premises that contradict one another ---------------------------------------------------------


def test_two_premises_for_one_quantity_are_refused():
    with pytest.raises(ValueError, match="eq-ode and eq-two both say what `dot\\(z\\)` is"):
        verdict(dot(z, t), f, using=[ode, premise("eq-two", dot(z, t), 2 * f)])


def test_premises_that_contradict_one_another_are_refused():
    constant = premise("eq-constant", z, z_0)
    for using in (
        [ode, constant],
        [constant, ode],
        [start, premise("eq-s", at(z_theta, t, t0), matrix("S"))],
    ):
        with pytest.raises(Refused, match="contradict"):
            verdict(dot(z, t), f, using=using)
        with pytest.raises(Refused, match="contradict"):
            check("eq-test", d(lam * z, t), dot(lam, t) * z_0 + lam * f, using=using)


def test_premises_that_overlap_and_agree_are_no_contradiction():
    S = function("S", t, theta, z_0, cols=2)
    sensitivity = premise("eq-s", z_theta, S)
    follows = premise("eq-rate", dot(S, t), f_z * S + f_theta)
    assert state(dot(z_theta, t), f_z * S + f_theta, [ode, sensitivity, follows]) == "holds"


@pytest.mark.parametrize("lhs, rhs", [(2, 3), (-2, 3), (eye(), zeros(eye())), (-eye(), zeros(eye()))])
def test_a_premise_about_numbers_alone_is_refused(lhs, rhs):
    with pytest.raises(ValueError, match="names no quantity"):
        verdict(2 * (lam * z), 3 * (lam * z), using=[premise("eq-two", lhs, rhs)])


def test_an_identity_is_no_definition():
    with pytest.raises(ValueError, match="Prove it with check"):
        definition("eq-product", d(lam * z, t), 2 * lam * z)


def test_what_was_only_tried_is_no_premise():
    tried = verdict(d(f, theta), f_z * z_theta + f_theta)
    answered = exercise(d(f, theta), f_z * z_theta + f_theta)
    for receipt in (tried, answered):
        with pytest.raises(TypeError, match="labelled"):
            verdict(z, z, using=[receipt])


def test_premises_that_share_a_label_are_dropped_one_by_one():
    y, g = function("y", t), function("g", t)
    each = [premise("eq-rate", dot(X, t), c * t), premise("eq-rate", dot(y, t), g, instance="y")]
    with pytest.raises(Refused, match="not refused: eq-rate dropped"):
        check("eq-test", t * dot(X, t), c * t**2, using=each)


# -- names ----------------------------------------------------------------------------------------


def test_a_variable_and_a_component_of_one_name_are_refused():
    with pytest.raises(ValueError, match="another name"):
        verdict(var("theta_1") * theta, theta[0] * theta)


def test_functions_whose_names_run_together_are_told_apart():
    assert state(scalar("f1", t), function("f", t)[0]) == "refused"
    first_row = trace(column(row(0, 0), row(1, 0)) * function("a", t, cols=2))
    assert state(function("a1", t)[1], first_row) == "refused"


# -- equations that say nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    "rhs",
    [
        1 * (lam * z),
        lam * z + 0,
        (lam * z).T,
        (lam * z).T.T,
        z.T * lam.T,
        2 * (lam * z) / 2,
        at(lam * z, t, t),
        0 - (-(lam * z)),
        lam * z / 2 + lam * z / 2,
        3 * (lam * z) - 2 * (lam * z),
        lam * z + 0 * a,
        0 - lam * z,
    ],
    ids=str,
)
def test_the_answer_on_both_sides_is_seen_through_trivial_rewriting(rhs):
    with pytest.raises(Refused, match="on both sides"):
        check("eq-test", lam * z, rhs)


def test_limits_the_other_way_round_say_nothing():
    with pytest.raises(Refused, match="on both sides"):
        check("eq-test", integral(lam * f, t, t0, t1), -integral(lam * f, t, t1, t0))


def test_a_name_for_a_formula_hides_nothing():
    with pytest.raises(Refused, match="on both sides"):
        check("eq-test", expression("h", d(f, theta)), d(f, theta))


def test_a_state_of_one_dimension_is_refused_unless_declared():
    one = scalar("z", t, theta)
    field = scalar("f", t, one, theta)
    sides = d(field, theta), partial(field, one) * d(one, theta) + partial(field, theta)
    with pytest.raises(Refused, match="one dimension will do"):
        check("eq-test", *sides)
    assert check("eq-test", *sides, scalar="a number").state == "holds"


def test_taking_a_sum_apart_says_nothing():
    for op in (lambda y: integral(y, t, t0, t1), lambda y: d(y, t), lambda y: at(y, t, t1), lambda y: y.T):
        with pytest.raises(Refused, match="on both sides"):
            check("eq-test", op(z + f), op(f) + op(z))


A, B = matrix("A"), matrix("B")
HALF, mu = Fraction(1, 2), function("mu", t, row=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (A + zeros(A), A),
        (a + 2 * a, 3 * a),
        (1 * a, a),
        (a * (b * X), b * (a * X)),
        (a * at(L, t, t1), at(L, t, t1) * a),
        (x * (2 * a + 2 * b), 2 * x * (b + a)),
        ((A * B).T.T, -(A * B)),
        (dot(z, t), d(z, t)),
        (dot(z + f, t), d(f, t) + dot(z, t)),
        (X - integral(X, t, t0, t1), integral(X, t, t1, t0) + X),
        ((-1) * node(-1) ** HALF * X, node(-1) ** HALF * X),
        (integral(X, t, t1, t1) + X, X + integral(X, t, t1, t1)),
    ],
    ids=str,
)
def test_another_way_to_write_it_is_the_same(one, other):
    assert signless(one) == signless(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (A + eye(), A),
        (A * B, B.T * A.T),
        ((A * B).T, B.T * A.T),
        (a * b * A, b * A),
        (A * (lam * z), A),
        (A * (lam * z) * (z.T * z), A * (lam * z) * (lam * z)),
        (A * (lam * z) * (mu * c), A * (lam * c) * (mu * z)),
        (x * (2 * a + b), x * (a + 2 * b)),
        (at(z, t, t1), at(z, t, t0)),
        (at(X, t, t1), at(X, s, t1)),
        (d(z, t), d(z, t0)),
        (integral(X, t, t0, t1), integral(X, t, t0, s)),
        (X + integral(X, t, t0, t1), X + integral(X, t, t1, t0)),
        (exp(a), exp(b)),
        (a**2, a**3),
        (partial(f, z), partial(f, theta)),
    ],
    ids=str,
)
def test_what_needs_more_than_another_way_to_write_it_is_not_the_same(one, other):
    assert signless(one) != signless(other)


def test_two_different_sides_are_not_taken_for_one():
    for lhs, rhs in [
        (A * B, B * A),
        (A.T, A),
        (a * A, A),
        (at(z, t, t1), z),
        (lam * z, 2 * (lam * z)),
        (d(f, theta), partial(f, theta)),
    ]:
        assert state(lhs, rhs) == "refused"
        with pytest.raises(Refused, match="does not hold"):
            check("eq-test", lhs, rhs)
    check("eq-test", (A * B).T, B.T * A.T)


# -- what is excused ------------------------------------------------------------------------------


@pytest.mark.parametrize("still", [{"*": "because"}, {"*: *": "because"}, {"sign flipped*": ""}])
def test_an_excuse_names_what_it_excuses_and_says_why(still):
    with pytest.raises(ValueError, match="say why"):
        check("eq-test", dot(z_theta, t), f_z * z_theta + f_theta, using=[ode, adjoint], still=still)


def test_a_premise_that_may_be_dropped_is_never_excused():
    with pytest.raises(Refused, match="not refused: eq-adjoint dropped"):
        check(
            "eq-test",
            dot(z_theta, t),
            f_z * z_theta + f_theta,
            using=[ode, adjoint],
            still={"eq-adjoint*": "because"},
        )


def test_a_right_side_that_may_be_anything_is_never_excused():
    zero = premise("eq-zero", X, zeros(X))
    with pytest.raises(Refused, match="changed in every way"):
        check("eq-test", a * X, b * X, using=[zero], still={"sign*": "0", "dropped*": "0", "doubled*": "0"})


def test_more_excuses_than_refusals_are_refused():
    zero = premise("eq-zero", X, zeros(X))
    with pytest.raises(Refused, match="more wrong versions are excused"):
        check("eq-test", a * X + c, X + b * X + s * X + c, using=[zero], still={"*: *x": "0 times anything"})


def test_an_undecided_version_is_not_excused():
    half = Fraction(1, 2)
    nested = (
        (5 + 2 * node(6) ** half) ** half - node(2) ** half - node(3) ** half
    )  # 0, which SymPy does not see
    with pytest.raises(Refused, match="no wrong version does: nested"):
        check(
            "eq-test",
            a * (b + x),
            a * b + a * x,
            wrong={"nested": a * b + a * x + nested},
            still={"nested": "because"},
        )


# -- roots, powers and divisions ------------------------------------------------------------------


def test_a_root_of_a_square_holds_for_positive_quantities_and_says_so():
    half = Fraction(1, 2)
    for lhs, rhs in (((x**2) ** half, x), (log(a * b), log(a) + log(b)), (log(a / b), log(a) - log(b))):
        assert verdict(lhs, rhs).record()["message"] == POSITIVE
    assert state((x**2) ** half, -x) == "refused"
    assert state(log(-x), log(x)) == "refused"
    assert verdict(exp(a) * exp(b), exp(a + b)).record()["message"] == ""


def test_nothing_divided_by_nothing_proves_nothing():
    zero = (a + b) ** 2 - a**2 - 2 * a * b - b**2
    other = (a - b) ** 2 - a**2 + 2 * a * b - b**2
    for lhs, rhs in ((x * zero / other, 2 * x * zero / other), (x / zero, x)):
        result = verdict(lhs, rhs).record()
        assert result["state"] == "undecided" and result["message"] == (
            "the difference has no value, whatever the quantities are: is something divided by 0?"
        )


def test_large_exponentials_that_cancel_are_no_witness():
    big = exp(100 * a * b * x)
    assert state((big + exp(a)) ** 2, big**2 + 2 * big * exp(a) + exp(2 * a)) == "holds"


def test_the_partial_derivative_of_a_known_formula_is_its_own():
    u = scalar("u", t)
    g = expression("g", a * t * exp(2 * u), t, u)
    assert state(partial(g, u), 2 * a * t * exp(2 * u)) == "holds"
    assert state(partial(g, u), a * t * exp(2 * u)) == "refused"
    assert state(partial(g, t), d(g, t)) == "refused"
    assert state(d(g, t), partial(g, t) + partial(g, u) * dot(u, t)) == "holds"


def test_what_is_small_beside_nothing_is_not_zero():
    assert verdict(x, 2 * x).record()["message"] == ""  # the witness says it
    tiny = exp(-1000 * a * b)  # below 1e-70 at every witness
    assert state(tiny, 2 * tiny) == "refused"


def test_what_sympy_cannot_decide_is_undecided_and_says_so():
    half = Fraction(1, 2)
    nested = (5 + 2 * node(6) ** half) ** half
    result = verdict(nested, node(2) ** half + node(3) ** half).record()
    assert (result["state"], result["message"]) == (
        "undecided",
        "SymPy can show neither that the difference is zero nor that it is not",
    )
    for integrand in (exp(t * log(t)), exp(a * t)):  # no formula; one for a = 0 and one for others
        assert state(integral(integrand, t, 0, 1), 2 * t) == "undecided"


def test_a_calculation_that_does_not_end_is_stopped(monkeypatch):
    monkeypatch.setattr(sys.modules["receipts.check"], "SECONDS", 0.001)
    result = verdict(matrix("A", 3, 3).I * matrix("A", 3, 3), eye(3)).record()
    assert result["state"] == "undecided" and "0.001 s" in result["message"]


# -- witnesses, and limits that run ---------------------------------------------------------------


def test_a_witness_is_made_from_names_and_the_same_each_time():
    drawn = {
        ("a", 0): "31/11",
        ("z1", 1): "21/13",
        ("theta_1", 2): "17/11",
        ("c", 0): "24/19",
        ("t_1", 2): "17/23",
    }
    assert {key: str(rational(*key)) for key in drawn} == drawn
    many = [rational(f"x_{i}", seed) for i in range(100) for seed in range(3)]
    assert min(many) > 0 and max(many) < 4 and len({r.q for r in many}) == 6  # and some are whole


def test_an_equation_that_holds_by_chance_at_one_witness_is_refused_at_the_next():
    w = scalar("w", t)
    for quantity, name in ((x, "x"), (w, "w")):
        first, second = (rational(str(quantity.sympy), seed) for seed in (0, 1))
        witness = verdict(quantity, node(first)).record()["witness"]
        assert (witness["seed"], witness["entry"]) == (1, 0)
        assert (witness["value"], witness["at"]) == (str(second - first), {name: str(second)})


def test_the_value_at_a_witness_has_twenty_digits_and_another_mistake_another_fingerprint():
    witness = verdict(exp(a), exp(a) ** 2).record()["witness"]
    e = sp.exp(rational("a", 0))
    assert witness["value"] == str((e - e**2).evalf(20))
    others = [verdict(exp(a), k * exp(a) ** 2).record()["witness"]["fingerprint"] for k in (1, 2, 3)]
    assert others[0] == witness["fingerprint"] and len(set(others)) == 3


def test_a_witness_shows_forty_quantities_at_most():
    total = sum(var(" ".join(f"x_{i}" for i in range(41))), node(0))
    assert len(verdict(total, 0).record()["witness"]["at"]) == 40


def test_a_refused_integral_says_where_and_both_stages_tell_mistakes_apart():
    """The same difference of the derivatives in t_1, and another where t_1 meets t_0."""
    change = 2 * integral(dot(X, t), t, t0, t1)
    found = [verdict(at(X, t, t1), k * at(X, t, t0) + change).record()["witness"] for k in (1, 3, 1)]
    assert [w["where"] for w in found] == ["the derivative in t_1"] * 3
    assert found[0]["fingerprint"] == found[2]["fingerprint"] != found[1]["fingerprint"]
    piece = verdict(integral(X, t, t0, t1), integral(X, t, s, t1)).record()
    assert piece["state"] == "refused" and piece["witness"]["where"] == "the limits meet at t_1"


def test_pieces_that_are_left_where_limits_meet_count():
    change = integral(dot(X, t), t, s, t1) + integral(dot(X, t), t, t0, s)
    assert state(change, at(X, t, t1) - at(X, t, t0)) == "holds"
    w = scalar("w", t)
    assert state(integral(t1 + w, t, t0, t1), t1 * (t1 - t0) + integral(w, t, t0, t1)) == "holds"


def test_an_empty_integral_hides_none_of_the_others():
    for low, high in ((t0, s), (s, t1), (a, b), (t1, t2)):
        empty = at(integral(X, t, low, high), high, low)
        assert state(empty + integral(X, t, t0, t1), 2 * integral(X, t, t0, t1)) == "refused"
        assert state(empty + integral(X, t, t0, t1), integral(X, t, t0, t1)) == "holds"


def test_a_limit_in_the_integrand_may_be_lost_in_two_derivatives_and_not_in_three():
    """x is given at t_0, so that only t_1 may run."""
    given = [premise("eq-x0", at(X, t, t0), x_0)]

    def parts(n):
        rest = n * integral((t1 - t) ** (n - 1) * X, t, t0, t1)
        return integral((t1 - t) ** n * dot(X, t), t, t0, t1), rest - (t1 - t0) ** n * x_0

    assert state(*parts(2), given) == "holds"
    result = verdict(*parts(3), using=given).record()
    assert result["state"] == "undecided" and result["message"] == "the integrand depends on t_1"


def test_limits_that_are_tied_do_not_run():
    result = verdict(integral(X, t, t0, 2 * t0), 2 * integral(X, t, t0, 2 * t0)).record()
    assert result["state"] == "undecided"
    assert result["message"] == "the limits of the integrals are tied by t_0"


def test_a_condition_counts_whether_the_derivative_needs_it_or_the_meeting_of_the_limits():
    w, zero = scalar("w", t), log(a * b) - log(a) - log(b)
    for extra in (zero, zero * (t1 - t0)):
        result = verdict(integral(dot(w, t), t, t0, t1), at(w, t, t1) - at(w, t, t0) + extra).record()
        assert (result["state"], result["message"]) == ("holds", POSITIVE)


def test_what_one_stage_leaves_undecided_is_not_held_by_the_condition_of_the_other():
    """sqrt(5 + 2 sqrt 6) = sqrt 2 + sqrt 3, which SymPy does not see."""
    w, zero = scalar("w", t), log(a * b) - log(a) - log(b)
    unseen = (5 + 2 * node(6) ** HALF) ** HALF - node(2) ** HALF - node(3) ** HALF
    rhs = at(w, t, t1) - at(w, t, t0) + zero + unseen * (t1 - t0)
    assert state(integral(dot(w, t), t, t0, t1), rhs) == "undecided"


# -- premises about plain symbols, and what a premise is known by ---------------------------------


def test_a_constant_is_replaced_whole_and_ties_no_limit():
    """a = t_0 t_1 b is put in everywhere before a limit runs, so both may still run."""
    product = premise("eq-a", a, t0 * t1 * b)
    change = integral(a * dot(X, t), t, t0, t1)
    assert state(change, a * (at(X, t, t1) - at(X, t, t0)), [product]) == "holds"
    assert state(change, a * at(X, t, t1), [product]) == "refused"
    both = [premise("eq-c", c, 2 * x_0), premise("eq-x", x, 3 * s)]
    assert state(x * c, 6 * s * x_0, both) == "holds" and state(x * c, 6 * s * x_0, both[:1]) == "refused"
    with pytest.raises(ValueError, match="eq-x and eq-y both say what `x` is"):
        verdict(x, 3 * s, using=[both[1], premise("eq-y", x, 4 * s)])


def test_a_premise_is_known_by_the_pattern_of_both_sides():
    y = function("y", t)
    pattern = lambda lhs, rhs: premise("eq-rate", lhs, rhs).record()["pattern"]
    assert pattern(dot(X, t), a * X) == pattern(dot(y, t), b * y)
    assert len({pattern(dot(X, t), a * X), pattern(dot(X, t), X), pattern(X, a * X)}) == 3
    known = Premise("eq-rate", dot(X, t), a * X, "of X", under=[ode])
    other = known.with_rhs(b * X)
    assert (other.label, other.instance, other.under, other.rhs) == ("eq-rate", "of X", [ode], b * X)
    digest = lambda lhs, rhs: premise("eq-rate", lhs, rhs).digest()
    assert digest(dot(X, t), a * X) == digest(dot(X, t), a * X)
    assert len({digest(dot(X, t), a * X), digest(dot(X, t), X), digest(dot(y, t), a * X)}) == 3


def test_a_value_pinned_in_two_slots_moves_in_both():
    """w(t_0, t_0; t_0) = x for every t_0, so w_t + w_s + w_t0 = 0 there."""
    w = scalar("w", t, s, t0)
    there = lambda y: at(at(y, t, t0), s, t0)
    pinned = [premise("eq-w", there(w), x)]
    rhs = -there(partial(w, t)) - there(partial(w, s))
    assert state(there(partial(w, t0)), rhs, pinned) == "holds"
    for wrong in (-there(partial(w, t)), -there(partial(w, s)), 0 * x):
        assert state(there(partial(w, t0)), wrong, pinned) == "refused"


def test_a_value_pinned_for_all_starts_has_its_derivatives_of_every_order():
    """w(t_0; t_0) = x gives (d_t + d_t0)^3 w = 0 there."""
    w = scalar("w", t, t0)
    there = lambda *slots: at(partial(w, *slots), t, t0)
    pinned = [premise("eq-w", at(w, t, t0), x)]
    mixed = 3 * there(t, t0, t0) + 3 * there(t, t, t0) + there(t, t, t)
    assert state(there(t0, t0, t0), -mixed, pinned) == "holds"
    assert state(there(t0, t0, t0), mixed, pinned) == "refused"


def test_a_pinned_value_is_known_with_its_arguments_exchanged():
    w = scalar("w", t, t0, t1)
    pinned = [premise("eq-w", at(w, t, 2 * t0 + t1), a * t0)]
    exchanged = at(at(at(at(w, t, 2 * t0 + t1), t0, s), t1, t0), s, t1)
    assert state(exchanged, a * t1, pinned) == "holds"
    assert state(exchanged, a * t0, pinned) == "refused"


def test_a_limit_does_not_run_where_a_rate_contains_it_silently():
    """x' = c t_1 gives x(t_1) - x(t_0) = c t_1 (t_1 - t_0), which is not the integral of c t."""
    rate = premise("eq-rate", dot(X, t), c * t1)
    assert state(at(X, t, t1) - at(X, t, t0), integral(c * t, t, t0, t1), [rate]) == "refused"


def test_a_function_that_is_replaced_everywhere_ties_no_limit():
    w, y = scalar("w", t), scalar("y", t)
    product = premise("eq-y", y, t0 * t1 * w)
    assert state(integral(dot(y, t), t, t0, t1), at(y, t, t1) - at(y, t, t0), [product]) == "holds"


def test_a_premise_replaces_what_runs_and_is_hidden_where_it_stands_otherwise():
    w, y, u = scalar("w", t), scalar("y", t), expression("u", t**2, t)
    rules = premise("eq-y", y, x), premise("eq-y", at(y, t, 2 * t0), x)
    assert all(p.is_rule for p in rules)
    for lhs in (scalar("g", u), at(y, t, w), f, y + w):
        assert not premise("eq-g", lhs, 2 * lhs).is_rule
    with pytest.raises(ValueError, match=r"^eq-x: the sides have shapes \(2, 1\) and \(1, 2\)$"):
        premise("eq-x", z, lam)
    assert Premise("eq-x", x, s).instance == ""


def test_contradictions_are_found_between_any_two_premises_in_any_order():
    w, y = scalar("w", t), scalar("y", t)
    rate, rest, other = premise("eq-w", dot(w, t), x), premise("eq-rest", w, x), premise("eq-y", y, s)
    begins, always = premise("eq-start", at(w, t, t0), x), premise("eq-always", w, s)
    for using in ([rate, rest], [rest, rate], [rate, other, rest], [other, rate, rest], [rate, rest, other],
                  [begins, always], [always, begins], [begins, other, always]):  # fmt: skip
        with pytest.raises(Refused, match="contradict"):
            verdict(w, w, using=using)
    assert state(y, s, [rate, other, begins]) == "holds"


def test_a_contradiction_is_found_behind_a_derivative_in_another_variable():
    w = scalar("w", s, x)
    slope, across, whole = premise("eq-s", d(w, s), b), premise("eq-x", d(w, x), a), premise("eq-w", w, a * x)
    assert state(d(w, x), a, [across, whole]) == "holds"
    for using in ([slope, across, whole], [slope, whole, across], [across, slope, whole]):
        with pytest.raises(Refused, match="contradict"):
            verdict(w, w, using=using)


def test_an_empty_integral_hides_nothing_beside_it():
    empty = integral(X, t, t1, t1)
    for more in (c, X, at(X, t, t0), integral(X, t, t0, t1), integral(X, t, t1, t2), integral(c, t, t0, t1)):
        assert state(empty + more, more) == "holds"
        assert state(empty + more, 2 * more) == "refused"


def test_integrals_over_the_same_limits_are_one_whichever_way_they_run():
    g, (u, low, high) = sp.Function("g"), sp.symbols("u a b")
    for one, other in [(low, high), (high, low)]:
        there, back = sp.Integral(g(u), (u, one, other)), sp.Integral(g(u), (u, other, one))
        rest, merged = _split_integrals(3 * there + back + u)
        ((limits, integrand),) = merged.items()
        sign = 1 if limits == (one, other) else -1
        assert rest == u and integrand == 2 * sign * g(BOUND)
        for empty in (sp.Integral(g(u), (u, low, low)), sp.Integral(g(u), (u, high, high))):
            for more in (there, back):  # the empty one is before the other, or after it
                assert _split_integrals(empty + more) == _split_integrals(more)


def test_a_component_is_what_its_vector_is():
    with pytest.raises(ValueError, match="eq-x and eq-x1 both say what"):
        verdict(X, c, using=[premise("eq-x", X, c), premise("eq-x1", X[0], s)])


def test_premises_that_lead_back_to_one_another_are_refused():
    with pytest.raises(ValueError, match=r"^the premises replace one another without end; state each for"):
        verdict(a, b, using=[premise("eq-a", a, b), premise("eq-b", b, 2 * a)])
