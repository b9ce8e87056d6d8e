"""The ledger's complaints, on small made-up books, and the lock that only a person writes."""

import json

import pytest
from symbols import adjoint, f, f_theta, f_z, lam, ode, t, theta, z, z_theta

from receipts import check, d, definition, dot, numeric, premise
from receipts.ledger import check_digest, dump, entry, in_a_circle, problems, read_lock, tex_digest
from receipts.match import main

OTHER = dict(using=["eq-chain"], cases=(1, 2))


def book(*receipts):
    """Equations, records and a lock that fit together."""
    records = [dict(r.record(), page="book/page") for r in receipts]
    equations = [
        {"label": r.label, "number": "1", "page": "book/page", "tex": f"x_{{{r.label}}} = 0"}
        for r in receipts
    ]
    lock = {e["label"]: (tex_digest(e), check_digest(r)) for e, r in zip(equations, records, strict=True)}
    return equations, records, lock


@pytest.fixture(scope="module")
def receipts():
    motion = definition("eq-ode", dot(z, t), f)
    chain = check("eq-chain", d(f, theta), f_z * z_theta + f_theta)
    product = check("eq-product", d(lam * z, t), dot(lam, t) * z + lam * dot(z, t))
    sensitivity = check("eq-sensitivity", dot(z_theta, t), f_z * z_theta + f_theta, using=[motion])
    return [motion, chain, product, sensitivity]


def found(equations, records, lock):
    return {label: text for _, label, text in problems(equations, records, lock)}


def test_a_whole_book_has_no_problems(receipts):
    assert found(*book(*receipts)) == {}


def test_an_equation_without_a_receipt_is_found(receipts):
    equations, records, lock = book(*receipts)
    assert found(equations, [r for r in records if r["label"] != "eq-chain"], lock) == {
        "eq-chain": "has no receipt"
    }


def test_a_receipt_without_an_equation_is_found(receipts):
    equations, records, lock = book(*receipts)
    assert (
        "no equation" in found([e for e in equations if e["label"] != "eq-chain"], records, lock)["eq-chain"]
    )


def test_two_receipts_for_one_equation_are_found(receipts):
    equations, records, lock = book(*receipts)
    assert found(equations, [*records, records[1]], lock) == {"eq-chain": "has two receipts"}


def test_a_receipt_on_another_page_is_found(receipts):
    equations, records, lock = book(*receipts)
    records[1]["page"] = "book/elsewhere"
    assert "another page" in found(equations, records, lock)["eq-chain"]


def test_a_changed_formula_is_stale(receipts):
    equations, records, lock = book(*receipts)
    equations[1]["tex"] += " + 1"
    assert "is stale" in found(equations, records, lock)["eq-chain"]
    equations[1]["tex"] = "x_{eq-chain}   = \n 0"
    assert found(equations, records, lock) == {}, "white space is no change"


def test_what_was_never_matched_is_stale(receipts):
    equations, records, lock = book(*receipts)
    del lock["eq-chain"]
    assert "never matched" in found(equations, records, lock)["eq-chain"]


def changed_checks():
    rhs = f_z * z_theta + f_theta
    return {
        "another right side": check("eq-chain", d(f, theta), f_theta + f_z * z_theta),
        "another wrong version": check("eq-chain", d(f, theta), rhs, wrong={"no partial": f_z * z_theta}),
        "an excuse": check(
            "eq-chain", d(f, theta), rhs, wrong={"x": f_theta + f_z * z_theta}, still={"x": "the same"}
        ),
        "a definition": definition("eq-chain", dot(lam, t), lam),
    }


def test_a_changed_check_is_stale(receipts):
    equations, _, lock = book(*receipts)
    for what, changed in changed_checks().items():
        records = [
            dict((changed if r.label == "eq-chain" else r).record(), page="book/page") for r in receipts
        ]
        complaints = [text for _, label, text in problems(equations, records, lock) if label == "eq-chain"]
        assert any("is stale" in text for text in complaints), what


def test_a_named_wrong_version_that_changes_under_its_name_is_stale():
    rhs = f_z * z_theta + f_theta
    digests = {
        check_digest(check("eq-chain", d(f, theta), rhs, wrong={"slip": slip}).record())
        for slip in (f_z * z_theta, f_theta, (f, 2 * f), 3 * f_theta)
    }
    assert len(digests) == 4


def test_running_a_check_again_is_no_change(receipts):
    _, records, _ = book(*receipts)
    again = dict(records[1], seconds=99, witness=None)
    assert check_digest(again) == check_digest(records[1])


def test_a_premise_stated_differently_is_found(receipts):
    twisted = check(
        "eq-twisted",
        dot(z_theta, t),
        2 * (f_z * z_theta + f_theta),
        using=[premise("eq-ode", dot(z, t), 2 * f)],
    )
    assert "but that label's receipt says `dot(z) = f`" in found(*book(*receipts, twisted))["eq-twisted"]


def test_a_premise_of_another_instance_must_have_the_same_pattern(receipts):
    w = dot(lam, t)
    same = check("eq-a", d(lam * z, t), -lam * f_z * z + lam * dot(z, t), using=[adjoint])
    stated = definition("eq-adjoint", w, -lam * f_z)
    assert found(*book(*receipts, stated, same)) == {}
    other = premise("eq-adjoint", w, lam * f_z, instance="a multiplier of the other sign")
    wrong = check("eq-a", d(lam * z, t), lam * f_z * z + lam * dot(z, t), using=[other])
    assert "eq-a" in found(*book(*receipts, stated, wrong))


def test_a_premise_of_an_unknown_label_is_found(receipts):
    unknown = check("eq-u", d(lam * z_theta, t), lam * f_theta, using=[ode, adjoint])
    assert found(*book(*receipts, unknown))["eq-u"] == "rests on eq-adjoint, which has no receipt"


def test_a_circle_of_premises_is_found(receipts):
    equations, records, lock = book(*receipts)
    records[1]["premises"] = [dict(records[3]["premises"][0], label="eq-sensitivity", text="")]
    records[3]["premises"] = [dict(records[3]["premises"][0], label="eq-chain", text="")]
    complaints = found(equations, records, lock)
    assert "circle" in complaints["eq-chain"] and "circle" in complaints["eq-sensitivity"]
    assert in_a_circle({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == ["b", "c"]


def test_more_than_a_third_definitions_is_found(receipts):
    assert (
        "more than a third"
        in found(*book(*receipts, definition("eq-mine", dot(lam, t), -lam * f_z)))["eq-mine"]
    )


def test_a_name_defined_twice_is_found(receipts):
    again = definition("eq-again", dot(z, t), 2 * f)
    assert "again; see eq-ode" in " ".join(
        text for _, label, text in problems(*book(*receipts, *receipts[1:], again)) if label == "eq-again"
    )
    elsewhere = definition("eq-again", dot(z, t), 2 * f, instance="a faster clock")
    complaints = [text for _, label, text in problems(*book(*receipts, elsewhere)) if label == "eq-again"]
    assert not [text for text in complaints if "again; see" in text]


def test_numbers_without_premises_hang_in_the_air(receipts):
    wrong = {"limit": lambda c: 1.99**c, "power": lambda c: 2.0 ** (c + 1) + c**2}
    sums = numeric(
        "eq-sum", lambda c: 2.0**c, lambda c: float(sum([1] * 2**c)), rtol=1e-9, wrong=wrong, **OTHER
    )
    equations, records, lock = book(*receipts, sums)
    assert found(equations, records, lock) == {}
    records[-1]["premises"] = []
    complaints = [text for _, label, text in problems(equations, records, lock) if label == "eq-sum"]
    assert any("hangs in the air" in text for text in complaints)


def test_a_check_that_fails_or_has_no_teeth_is_found(receipts):
    equations, records, lock = book(*receipts)
    records[1]["state"], records[2]["refused"] = "undecided", 0
    complaints = found(equations, records, lock)
    assert (
        "does not hold (undecided)" in complaints["eq-chain"] and "without teeth" in complaints["eq-product"]
    )


def test_a_row_says_what_was_refused_and_what_it_follows_from(receipts):
    equations, records, _ = book(*receipts)
    last = entry(equations[-1], records[-1])
    assert (
        last["holds"] and last["refused"] == last["wrong_versions"] > 4 and last["follows_from"] == ["eq-ode"]
    )
    assert set(last) == {
        "label",
        "number",
        "page",
        "kind",
        "holds",
        "wrong_versions",
        "refused",
        "still_hold",
        "follows_from",
        "seconds",
    }


# -- the lock ------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path, receipts):
    equations, records, _ = book(*receipts)
    dump(tmp_path / "receipts.json", {"equations": equations, "records": records})
    return tmp_path / "receipts.json", tmp_path / "receipts.lock"


def test_a_signature_makes_an_equation_current(built, capsys):
    assert main(["eq-chain"], *built) == 0
    shown = capsys.readouterr().out
    assert "x_{eq-chain} = 0" in shown and "df/dtheta = f_z dz/dtheta + f_theta" in shown
    data = json.loads(built[0].read_text())
    stale = found(data["equations"], data["records"], read_lock(built[1]))
    assert set(stale) == {"eq-ode", "eq-product", "eq-sensitivity"}
    assert main(["eq-ode", "eq-product", "eq-sensitivity"], *built) == 0
    assert found(data["equations"], data["records"], read_lock(built[1])) == {}


@pytest.mark.parametrize("labels", [[], ["eq-unknown"], ["eq-chain", "eq-unknown"]])
def test_nothing_is_signed_unless_every_label_is_there(built, labels):
    assert isinstance(main(labels, *built), str)
    assert not built[1].exists()


def test_nothing_is_signed_without_a_build(tmp_path):
    assert "build the book first" in main(["eq-chain"], tmp_path / "none.json", tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


def test_an_equation_that_does_not_hold_is_not_signed(built):
    data = json.loads(built[0].read_text())
    data["records"][1]["state"] = "refused"
    dump(built[0], data)
    assert "does not hold" in main(["eq-chain"], *built)
    assert not built[1].exists()
