"""The wrong versions that a check makes itself: every kind of edit occurs, and none is the equation again."""

import pytest
from symbols import L, adjoint, f, f_theta, f_z, lam, ode, t, t0, t1, theta, z, z_0, z_theta

from receipts import at, check, d, dot, integral, matrix, partial, var, zeros
from receipts.wrong import swaps, versions

A, B, C, a = matrix("A"), matrix("B"), matrix("C"), var("a")
TREE = f_z.T.T * d(f, theta) * d(f, theta).T - f_z * f_z + (f_z.T + f_theta) * f_z


def test_every_kind_of_edit_occurs():
    actions = {v.action for v in versions(f_z * d(f, theta) - f_theta + f_z.T * (f_theta + f_theta.T * f_z))}
    assert actions == {
        "sign flipped",
        "dropped",
        "doubled",
        "transposed",
        "not transposed",
        "total derivative in the place of the partial",
        "partial derivative in the place of the total",
    }


def test_each_term_is_edited_also_inside_a_product_and_an_integral():
    texts = [
        v.text
        for v in versions(at(lam, t, t1) + integral((dot(lam, t) + lam * f_z) * z_theta, t, t0, t1) * f_z)
    ]
    for term in ("lambda(t_1)", "dot(lambda)", "lambda f_z"):
        assert {f"sign flipped: {term}", f"dropped: {term}", f"doubled: {term}"} <= set(texts)
    assert "transposed: f_z" in texts and "transposed: dz/dtheta" in texts


def test_no_version_is_written_like_the_equation_or_like_another():
    trees = [v.tree for v in versions(TREE)]
    assert TREE not in trees and len(set(trees)) == len(trees) > 10
    assert all(tree.shape == TREE.shape for tree in trees)


def test_a_symmetric_matrix_is_not_transposed():
    H = partial(L, z, z)
    assert not [v for v in versions(H * z) if "transposed" in v.action]


def test_a_premise_is_dropped_and_edited():
    record = check("eq-test", d(lam * z_theta, t), lam * f_theta, using=[ode, adjoint]).record()
    names = {trial["name"] for trial in record["trials"] if trial["where"] == "eq-adjoint"}
    assert names == {
        "eq-adjoint dropped",
        "eq-adjoint sign flipped: lambda f_z",
        "eq-adjoint doubled: lambda f_z",
        "eq-adjoint transposed: f_z",
    }


def test_zero_has_no_terms_to_get_wrong():
    record = check("eq-test", d(lam * d(z, z_0), t), zeros(lam), using=[ode, adjoint]).record()
    assert {trial["where"] for trial in record["trials"]} == {"eq-ode", "eq-adjoint"}


def edited(tree):
    return {v.text: v.tree for v in versions(tree)}


def test_an_edited_sum_is_the_sum_with_one_term_changed():
    assert edited(A - B + a * C) == {
        "sign flipped: A": -A - B + a * C,
        "dropped: A": -B + a * C,
        "doubled: A": 2 * A - B + a * C,
        "sign flipped: B": A + B + a * C,
        "dropped: B": A + a * C,
        "doubled: B": A + 2 * (-B) + a * C,
        "sign flipped: a C": A - B - a * C,
        "dropped: a C": A - B,
        "doubled: a C": A - B + 2 * a * C,
        "transposed: A": A.T - B + a * C,
        "transposed: B": A - B.T + a * C,
        "transposed: C": A - B + a * C.T,
    }
    assert edited(lam + lam * f_z)["dropped: lambda f_z"] == lam  # and no sum of one term


def test_nothing_is_transposed_that_looks_the_same_then_or_has_factors():
    for tree in (a * lam, z[0] * lam, d(lam * z, t)):
        assert not [text for text in edited(tree) if "transposed" in text]
    assert {x for x in edited(-(A * B)) if "transposed" in x} == {"transposed: A", "transposed: B"}


def test_an_edit_that_does_not_fit_does_not_hide_the_next():
    """A + A has no inverse with one sign flipped, and two transposes are no edit."""
    assert {"dropped: A", "doubled: A"} <= set(edited((A + A).I))
    (total,) = [v for v in versions(partial(f, theta).T) if v.action.startswith("total")]
    assert total.tree == d(f, theta).T


@pytest.mark.parametrize("tree", [z_theta, d(L, theta), d(lam.T, theta)], ids=str)
def test_a_total_derivative_that_is_the_partial_one_or_has_none_stays(tree):
    assert not [v for v in versions(tree) if "derivative" in v.action]
    assert [v.tree for v in versions(d(f, theta)) if "derivative" in v.action] == [partial(f, theta)]


def test_neighbouring_factors_are_swapped_where_that_fits_and_matters():
    def swapped(tree):
        assert all(v.action == "factors swapped" for v in swaps(tree))
        return [(v.text, v.tree) for v in swaps(tree)]

    assert swapped(A * B * C) == [
        ("factors swapped: A B C", B * A * C),
        ("factors swapped: A B C", A * C * B),
    ]
    assert [tree for _, tree in swapped(lam * A * B * z)] == [lam * B * A * z]
    assert [tree for _, tree in swapped(C - at(A * B, t, t1) * a)] == [C - at(B * A, t, t1) * a]
    assert swapped(a * A * z) == swapped(partial(f, z)) == swapped(A) == []
