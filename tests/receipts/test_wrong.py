"""The wrong versions that a check makes itself: every kind of edit occurs, and none is the equation again."""

from symbols import L, adjoint, f, f_theta, f_z, lam, ode, t, t0, t1, theta, z, z_0, z_theta

from receipts import at, check, d, dot, integral, partial, zeros
from receipts.wrong import versions

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
