"""The checker, fed with right equations, wrong equations and equations that say nothing."""

import sys
from fractions import Fraction

import pytest
from symbols import (
    START,
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
    ShapeError,
    at,
    check,
    d,
    dot,
    exercise,
    eye,
    function,
    integral,
    matrix,
    partial,
    premise,
    scalar,
    var,
    vector,
    verdict,
)
from receipts.jets import jet, short_name
from receipts.tree import node

Statement = sys.modules["receipts.check"].Statement

F = dot(z, t) - f


def right_equations():
    return {
        "chain rule": (d(f, theta), f_z * z_theta + f_theta, [], {}),
        "product rule": (d(lam * z, t), dot(lam, t) * z + lam * dot(z, t), [], {}),
        "parts": (
            lam * d(F, theta),
            d(lam * z_theta, t) - (dot(lam, t) + lam * f_z) * z_theta - lam * f_theta,
            [],
            {},
        ),
        "flow": (at(z, t, t1), z_0 + integral(f, t, t0, t1), [ode, start], {}),
        "sensitivity": (dot(z_theta, t), f_z * z_theta + f_theta, [ode], {}),
        "gradient rate": (d(lam * z_theta, t), lam * f_theta, [ode, adjoint], {}),
        "invariant": (d(lam * d(z, z_0), t), 0 * lam, [ode, adjoint], {}),
        "collected": (
            at(d(L, theta), t, t1),
            at(L_z - lam, t, t1) * at(z_theta, t, t1)
            + integral((dot(lam, t) + lam * f_z) * z_theta + lam * f_theta, t, t0, t1),
            [ode, start],
            START,
        ),
    }


@pytest.mark.parametrize("name", right_equations())
def test_a_right_equation_holds_and_every_wrong_version_is_refused(name):
    lhs, rhs, using, still = right_equations()[name]
    receipt = check("eq-test", lhs, rhs, using=using, still=still)
    record = receipt.record()
    assert record["state"] == "holds"
    assert record["refused"] == sum(not w["still"] for w in record["trials"]) >= 4
    assert {w["where"] for w in record["trials"]} >= {p.label for p in using}


def wrong_equations():
    return {
        "sign": (d(lam * z, t), dot(lam, t) * z - lam * dot(z, t), []),
        "dropped term": (d(f, theta), f_z * z_theta, []),
        "doubled": (d(f, theta), f_z * z_theta + 2 * f_theta, []),
        "transpose": (d(f, theta), f_z.T * z_theta + f_theta, []),
        "partial for total": (d(f, theta), partial(f, theta), []),
        "adjoint with the other sign": (
            d(lam * z_theta, t),
            lam * f_theta,
            [ode, premise("eq-adjoint", dot(lam, t), lam * f_z)],
        ),
        "adjoint transposed": (
            d(lam * z_theta, t),
            lam * f_theta,
            [ode, premise("eq-adjoint", dot(lam, t), -lam * f_z.T)],
        ),
        "missing premise": (d(lam * z_theta, t), lam * f_theta, [adjoint]),
        "boundary term": (
            integral(lam * dot(z, t), t, t0, t1),
            at(lam * z, t, t1) - integral(dot(lam, t) * z, t, t0, t1),
            [],
        ),
        "limits flipped": (at(z, t, t1), z_0 + integral(f, t, t1, t0), [ode, start]),
        "autonomous": (d(lam * f, t), 0 * (lam * f), [ode, adjoint]),
    }


@pytest.mark.parametrize("name", wrong_equations())
def test_a_wrong_equation_is_refused_with_a_witness(name):
    lhs, rhs, using = wrong_equations()[name]
    result = verdict(lhs, rhs, using=using).record()
    assert result["state"] == "refused"
    assert result["witness"]["value"] not in ("0", "") and result["witness"]["at"]
    with pytest.raises(Refused, match="does not hold"):
        check("eq-test", lhs, rhs, using=using)


def test_the_term_to_mend_is_named():
    with pytest.raises(Refused, match=r"One change would make it hold: sign flipped: lambda dot\(z\)"):
        check("eq-test", d(lam * z, t), dot(lam, t) * z - lam * dot(z, t))
    with pytest.raises(Refused, match=r"not transposed: f_z|transposed"):
        check("eq-test", d(f, theta), f_z.T * z_theta + f_theta)


def test_a_slip_in_a_premise_is_named():
    wrong = premise("eq-adjoint", dot(lam, t), lam * f_z)
    with pytest.raises(Refused, match=r"sign flipped: lambda f_z \(eq-adjoint\)"):
        check("eq-test", d(lam * z_theta, t), lam * f_theta, using=[ode, wrong])


def test_an_identity_of_one_dimension_is_refused_in_two():
    A, B = function("A", t, cols=2), function("B", t, cols=2)
    assert verdict(A * B, B * A).record()["state"] == "refused"
    a, b = scalar("a", t), scalar("b", t)
    assert verdict(a * b, b * a).record()["state"] == "holds"


def test_size_one_is_refused_unless_declared():
    with pytest.raises(ValueError, match="a transpose cannot show"):
        vector("x", 1)
    with pytest.raises(ValueError, match="size 1"):
        function("x", t, size=1)
    a, b = scalar("a", t), scalar("b", t)
    with pytest.raises(Refused, match="one dimension will do"):
        check("eq-test", d(a * b, t), dot(a, t) * b + a * dot(b, t))
    check("eq-test", d(a * b, t), dot(a, t) * b + a * dot(b, t), scalar="a product of numbers")


@pytest.mark.parametrize("rhs", [lambda: lam * z, lambda: -(lam * z), lambda: -(-lam * z)])
def test_the_answer_on_both_sides_is_refused(rhs):
    with pytest.raises(Refused, match="on both sides"):
        check("eq-test", lam * z, rhs())


def test_the_order_of_terms_hides_nothing():
    with pytest.raises(Refused, match="on both sides"):
        check("eq-test", lam * z + lam * f, lam * f + lam * z)


def test_a_premise_that_is_the_statement_is_refused():
    same = premise("eq-product", d(lam * z, t), dot(lam, t) * z + lam * dot(z, t))
    with pytest.raises(Refused, match="is the statement itself"):
        check("eq-test", d(lam * z, t), dot(lam, t) * z + lam * dot(z, t), using=[same])


def test_a_premise_that_is_not_used_is_refused():
    with pytest.raises(Refused, match="not refused: eq-adjoint dropped"):
        check("eq-test", dot(z_theta, t), f_z * z_theta + f_theta, using=[ode, adjoint])


def test_an_identity_must_stand_as_written():
    product = premise("eq-product", d(lam * z, t), dot(lam, t) * z + lam * dot(z, t))
    with pytest.raises(Refused, match="does not stand here as written"):
        check("eq-test", dot(z_theta, t), f_z * z_theta + f_theta, using=[ode, product])
    receipt = check(
        "eq-test", lam * (dot(z, t) - f), d(lam * z, t) - (dot(lam, t) * z + lam * f), using=[product]
    )
    assert any(
        w["name"] == "eq-product dropped" and w["state"] == "refused" for w in receipt.record()["trials"]
    )


def test_a_limit_does_not_run_through_a_pinned_premise():
    """With lambda(t_1) = L_z(t_1) given, lambda depends on t_1; only t_0 may run."""
    rhs = integral(lam * f_theta, t, t0, t1)
    result = verdict(at(d(L, theta), t, t1), rhs, using=[ode, adjoint, terminal, start]).record()
    assert result["state"] == "undecided"


def test_a_false_equation_is_not_saved_by_a_premise_at_a_running_limit():
    """z = z_0 at t_1 as well would make the flow constant; the premise must not leak along the path."""
    end = premise("eq-end", at(z, t, t1), z_0)
    result = verdict(z_0 + integral(f, t, t0, t1), at(z, t, t1), using=[ode, end]).record()
    assert result["state"] != "holds"


def test_a_pinned_premise_holds_only_there():
    assert verdict(at(z, t, t0), z_0, using=[start]).record()["state"] == "holds"
    assert verdict(at(z, t, t1), z_0, using=[start]).record()["state"] == "refused"
    assert verdict(at(dot(z, t), t, t0), 0 * z_0, using=[start]).record()["state"] == "refused"
    assert verdict(at(z_theta, t, t0), 0 * f_theta, using=[start]).record()["state"] == "holds"


def test_a_rule_may_be_differentiated():
    assert verdict(dot(dot(z, t), t), d(f, t), using=[ode]).record()["state"] == "holds"
    assert verdict(dot(dot(z, t), t), partial(f, t) + f_z * f, using=[ode]).record()["state"] == "holds"


def test_declared_versions_need_a_reason_that_applies():
    with pytest.raises(Refused, match="no wrong version does"):
        check("eq-test", d(f, theta), f_z * z_theta + f_theta, still={"nothing of this name": "because"})


def test_named_wrong_versions_are_tried():
    with pytest.raises(Refused, match="not refused: the same in another order"):
        check(
            "eq-test",
            d(f, theta),
            f_z * z_theta + f_theta,
            wrong={"the same in another order": f_theta + f_z * z_theta},
        )
    receipt = check(
        "eq-test", d(f, theta), f_z * z_theta + f_theta, wrong={"no partial": f_z * z_theta + d(f, theta)}
    )
    assert any(w["name"] == "no partial" for w in receipt.record()["trials"])


def test_undecided_is_a_failure():
    half, x = Fraction(1, 2), var("x")
    nested = (
        5 + 2 * node(6) ** half
    ) ** half  # sqrt(5 + 2 sqrt 6) = sqrt 2 + sqrt 3, which SymPy does not see
    with pytest.raises(Refused, match="undecided"):
        check("eq-test", nested * x, (node(2) ** half + node(3) ** half) * x)


def test_shapes_are_refused_where_they_are_written():
    with pytest.raises(ShapeError, match="does not fit"):
        z * z
    with pytest.raises(ShapeError, match="different shapes"):
        z + lam
    with pytest.raises(ValueError, match="shape"):
        check("eq-test", z, lam)
    with pytest.raises(ShapeError, match="transpose it first"):
        d(lam * f_z, theta)


def test_partial_and_total_derivatives_differ_and_print_differently():
    assert partial(f, theta).sympy != d(f, theta).sympy
    assert partial(f, theta).text() != d(f, theta).text()
    assert partial(f, theta).latex() != d(f, theta).latex()


def test_second_partials_commute():
    assert partial(L, z, z).sympy == partial(L, z, z).T.sympy
    x, y = vector("x"), vector("y")
    g = scalar("g", x, y)
    assert partial(g, x, y).sympy == partial(g, y, x).T.sympy


def test_what_a_cell_writes_is_ordinary_sympy():
    import sympy as sp

    A = matrix("A")
    assert isinstance((A * z).sympy, sp.MatrixBase)
    assert (lam * z).sympy == (lam.sympy * z.sympy)[0]
    assert eye().sympy == sp.eye(2)


def collected():
    """The gradient for any lambda, with its own check."""
    rhs = at(L_z - lam, t, t1) * at(z_theta, t, t1)
    rhs = rhs + integral((dot(lam, t) + lam * f_z) * z_theta + lam * f_theta, t, t0, t1)
    return check("eq-collected", at(d(L, theta), t, t1), rhs, using=[ode, start], still=START)


@pytest.mark.parametrize(
    ("slip", "named"),
    [
        (lambda: lam * f_z, r"sign flipped: lambda f_z \(eq-adjoint\)"),
        (lambda: -lam * f_z.T, r"not transposed: f_z \(eq-adjoint\)"),
    ],
)
def test_a_slip_in_a_definition_is_named_there_and_not_in_a_checked_premise(slip, named):
    using = [collected(), premise("eq-adjoint", dot(lam, t), slip()), terminal]
    with pytest.raises(Refused, match=f"One change would make it hold: {named}$"):
        check("eq-gradient", at(d(L, theta), t, t1), integral(lam * f_theta, t, t0, t1), using=using)


def test_a_whole_side_is_never_proposed_to_be_dropped():
    """Nothing mends lambda z = 0 but leaving out lambda z, which is no help."""
    refused = verdict(lam * z, 0 * t).record()
    assert refused["state"] == "refused" and refused["changes"] == []


def test_a_witness_is_short_enough_to_read():
    witness = verdict(d(f, theta), f_z.T * z_theta + f_theta).record()["witness"]
    assert set(witness["at"]) == {"f1_z2", "f2_z1", "z2_theta_1"}
    moved = verdict(at(lam, t, t1), 0 * lam).record()["witness"]["at"]
    assert set(moved) == {"lambda1(t_1)"}


def test_swapped_factors_are_named():
    with pytest.raises(Refused, match=r"factors swapped: dz/dtheta f_z \(right side\)"):
        check("eq-test", d(f, theta), z_theta * f_z + f_theta)


def test_a_derivative_of_a_name_with_a_subscript_is_no_double_subscript():
    energy = scalar("H_-", t, z)
    assert partial(energy, z).latex() == "{H_{-}}_{z}"


def test_partial_derivatives_print_with_their_names_in_sympy():
    import sympy as sp

    M = function("M", t, z_0, cols=2)
    bend, slope, M_t = partial(L, z, z).sympy[0, 1], partial(f, z).sympy[0, 1], partial(M, t).sympy[0, 1]
    assert [sp.latex(x) for x in (L.sympy, f.sympy[0], slope, slope**2, bend, M_t)] == [
        "L",
        "f_{1}",
        r"\partial_{z_{2}} f_{1}",
        r"\left(\partial_{z_{2}} f_{1}\right)^{2}",
        r"\partial_{z_{1} z_{2}} L",
        r"\partial_{t} M_{1,2}",
    ]
    assert str(M_t) == "M[1,2].t(t, z_0_1, z_0_2)"
    anew = jet.__wrapped__(("L", (0, 1)), (1, 0, 1), (*z.value(), *t.value()))  # not from the cache
    assert anew.__name__ == "L[1,2].z[1].t"


def test_a_derivative_in_no_slot_named_is_in_the_first():
    assert f.sympy[0].fdiff() == partial(f, t).sympy[0]


def test_a_short_name_says_where_the_quantity_was_moved_to():
    moved = at(at(z_theta, t, t1), theta, vector("a")).value()[1]
    assert [short_name(x) for x in (moved, *theta.value())] == [
        "z1_theta_2(a_1, a_2, t_1)",
        "theta_1",
        "theta_2",
    ]


def tried(receipt):
    return [(x["where"], x["name"], x["action"], x["state"]) for x in receipt.trials]


def test_all_that_was_tried_is_recorded():
    """Edits of the right side; the author's versions: a right side, both sides, other premises; each
    premise left out, and its edits."""
    wrong = {
        "the row form": z_theta * f_z + f_theta,
        "another left side": (d(z, theta), f_z * z_theta + f_theta),
        "a faster flow": [premise("eq-ode", dot(z, t), 2 * f)],
    }
    receipt = check("eq-x", dot(z_theta, t), f_z * z_theta + f_theta, using=[ode], wrong=wrong)
    assert [row[:3] for row in tried(receipt)[-6:]] == [
        ("named", "the row form", None),
        ("named", "another left side", None),
        ("named", "a faster flow", None),
        ("eq-ode", "eq-ode dropped", "dropped"),
        ("eq-ode", "eq-ode sign flipped: f", "sign flipped"),
        ("eq-ode", "eq-ode doubled: f", "doubled"),
    ]
    assert {row[0] for row in tried(receipt)[:-6]} == {"right side"}
    assert {row[3] for row in tried(receipt)} == {"refused"} and len(tried(receipt)) == 16
    with pytest.raises(ValueError, match=r"^eq-x, wrong version 'short': the left side has shape"):
        check("eq-x", dot(z_theta, t), f_z * z_theta + f_theta, using=[ode], wrong={"short": z})


def test_a_term_alone_on_its_side_of_a_premise_is_not_dropped_but_edited():
    receipt = check("eq-x", d(lam * z_theta, t), lam * f_theta, using=[ode, adjoint])
    assert [row[1:3] for row in tried(receipt) if row[0] == "eq-adjoint"] == [
        ("eq-adjoint dropped", "dropped"),
        ("eq-adjoint sign flipped: lambda f_z", "sign flipped"),
        ("eq-adjoint doubled: lambda f_z", "doubled"),
        ("eq-adjoint transposed: f_z", "transposed"),
    ]
    running = premise("eq-running", dot(lam, t), -lam * f_z - partial(L, z))
    receipt = check("eq-x", d(lam * z_theta, t), lam * f_theta - L_z * z_theta, using=[ode, running])
    dropped = [row[1] for row in tried(receipt) if row[0] == "eq-running" and row[2] == "dropped"]
    assert dropped == ["eq-running dropped", "eq-running dropped: lambda f_z", "eq-running dropped: L_z"]


def test_another_wrong_version_is_another_source():
    lhs, rhs = dot(z_theta, t), f_z * z_theta + f_theta
    slow, fast = ([premise("eq-ode", dot(z, t), n * f)] for n in (2, 3))
    versions = [
        {"a": f_z * z_theta},
        {"b": f_z * z_theta},
        {"a": 2 * rhs},
        {"a": (z_theta, rhs)},
        {"a": slow},
        {"a": fast},
    ]
    source = lambda wrong: check("eq-x", lhs, rhs, using=[ode], wrong=wrong).source
    assert source(None) == source({}) == "" and source(versions[0]) == source(dict(versions[0]))
    assert len({source(wrong) for wrong in versions}) == len(versions)


def test_a_trial_has_no_label_and_says_what_was_tried():
    receipt = verdict(dot(z_theta, t), f_z * z_theta - f_theta, using=[ode])
    record = receipt.record()
    assert (record["label"], record["kind"], record["state"]) == ("", "trial", "refused")
    assert record["text"] == "d(dz/dtheta)/dt = f_z dz/dtheta - f_theta"
    assert [(p["label"], p["instance"]) for p in record["premises"]] == [("eq-ode", "")]
    wanted = "The equation does not hold. One change would make it hold: sign flipped: f_theta (right side)"
    assert receipt.summary() == wanted
    with pytest.raises(ValueError, match=r"^equation: the left side has shape"):
        verdict(z, z_theta)


def test_an_exercise_has_no_label_and_is_not_shown():
    a = var("a")
    receipt = exercise(d(a**2, a), 2 * a, scalar="a number is squared")
    assert receipt.label == "" and receipt._shown is True and "a number is squared" in receipt.message


def changes(lhs, rhs, using=()):
    return [(where, v.text) for where, v in verdict(lhs, rhs, using).changes]


def test_of_the_changes_that_would_mend_it_the_likely_slips_come_first():
    found = changes(z + f, z + 2 * f + dot(z, t), [ode])
    wanted = ["sign flipped: dot(z)", "sign flipped: f", "dropped: 2 f"]
    assert [text for _, text in found] == wanted and found[1][0] == "eq-ode"
    assert changes(lam * f_theta, lam * f_theta.T) == [("right side", "not transposed: f_theta")]
    left = changes(dot(z_theta, t) - f_theta, d(f, theta) + 0 * f_theta, [ode])
    assert left == [("left side", "dropped: f_theta")]


def test_the_search_for_a_change_has_an_end(monkeypatch):
    monkeypatch.setattr(sys.modules["receipts.check"], "SEARCH_SECONDS", -1)
    assert changes(lam * f_theta, -lam * f_theta) == []


def test_a_reason_may_name_versions_with_components():
    first = premise("eq-first", at(z, t, t0)[0], z_0[0])
    still = {"eq-first *: z_0[0]": "only that it does not depend on theta is used"}
    rate = f_z * z_theta + f_theta
    receipt = check("eq-x", dot(z_theta, t) + at(d(z[0], theta), t, t0).T * theta.T,
                    rate, using=[ode, first], still=still)  # fmt: skip
    held = [x["version"] for x in receipt.still_hold]
    assert held == [f"eq-first {action}: z_0[0]" for action in ("sign flipped", "doubled")]


def test_a_message_has_a_reason_for_one_dimension_beside_the_others():
    a = var("a")
    plain = check("eq-x", d(f, theta), f_z * z_theta + f_theta)
    assert plain.message == "" and 0 < plain.seconds < 60
    assert check("eq-x", d(a**2, a), 2 * a, scalar="a square").message == "one dimension will do: a square"
    both = check("eq-x", (a**2) ** 0.5, a, scalar="a square").message
    assert both.endswith("; one dimension will do: a square") and "positive" in both and "X" not in both


def test_premises_that_contradict_one_another_are_named_with_the_equation():
    using = [ode, premise("eq-constant", z, z_0)]
    with pytest.raises(Refused, match=r"^eq-x: the premises contradict one another"):
        check("eq-x", dot(z_theta, t), f_z * z_theta + f_theta, using=using)
    with pytest.raises(Refused, match=r"^The equation: the premises contradict one another"):
        verdict(dot(z_theta, t), f_z * z_theta + f_theta, using=using)
    assert premise("eq-other", dot(z, t), f).instance == ""
    assert premise("eq-other", dot(z, t), f, "another f").instance == "another f"


def test_a_function_may_depend_on_what_has_no_name():
    rate = scalar("g", dot(z, t))
    assert check("eq-x", d(rate, t), partial(rate, dot(z, t)) * dot(dot(z, t), t)).state == "holds"


def test_a_change_that_cannot_be_tried_is_passed_over(monkeypatch):
    tried, decide = [], Statement.decide

    def at_first_refused(self, **change):
        tried.append(change)
        if len(tried) == 2:  # the first one is the statement itself
            raise ValueError("this change does not fit")
        return decide(self, **change)

    monkeypatch.setattr(Statement, "decide", at_first_refused)
    assert changes(lam * f_theta, lam * f_theta.T) == [("right side", "not transposed: f_theta")]
    assert len(tried) > 2
