"""Schemes of the user's own, their discrete adjoints, and which are their own partners."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import given, settings
from hypothesis import strategies as st

import adjode

ROUNDING = 1e-12  # two routes through a few steps, with a margin of a thousand
SOLVED = 1e-10  # and both of them through Newton's method
FEW = settings(max_examples=15, deadline=None, derandomize=True, database=None)
R3 = np.sqrt(3) / 6
OWN = {  # symplectic, as textbooks write them: without the stage f(t, z)
    "midpoint": ([[1 / 2]], [1]),
    "gauss": ([[1 / 4, 1 / 4 - R3], [1 / 4 + R3, 1 / 4]], [1 / 2, 1 / 2]),
    "sdirk": ([[1 / 8, 0], [1 / 4, 3 / 8]], [1 / 4, 3 / 4]),
}
Z0, THETA = np.array([0.8, -0.3]), np.array([1.1, 0.4])


def own(a, b, name="mine"):
    return adjode.ButcherTableau(name, 1, a, b, np.sum(a, axis=1))


def f(t, z, theta):
    return anp.array([theta[0] * z[1] * anp.cos(t), theta[1] * t - anp.sin(z[0]) * z[1]])


def end(z, theta):
    return z[0] ** 2 * z[1] + theta[0] * z[1]


PROBLEM = adjode.InitialValueProblem(f, Z0, 0.2, 1.1, THETA)
LOSS = adjode.Loss(terminal=end)


def drawn(seed, stages, explicit, scale=0.5):
    """Weights of both signs, none near zero; a full, or strictly lower triangular."""
    rng = np.random.default_rng(seed)
    b = rng.uniform(0.3, 1.0, stages) * np.where(np.arange(stages) == 1, -1, 1)
    a = scale * rng.normal(size=(stages, stages))
    return own(np.tril(a, -1) if explicit else a, b / b.sum())


def by_root(tableau, ts, z, theta):
    """The steps, each stage equation solved by Newton's method and differentiated as a root."""
    a, b, c = tableau.a, tableau.b, tableau.c
    for t, h in zip(ts[:-1], np.diff(ts), strict=True):

        def stages(k, known, t=t, h=h):
            zs = known[0] + h * anp.dot(a, k)
            return k - anp.stack([f(t + x * h, y, known[1]) for x, y in zip(c, zs, strict=True)])

        k = adjode.root(stages, np.zeros((len(b), 2)), (z, theta), rtol=1e-13, atol=1e-14)
        z = z + h * anp.dot(b, k)
    return z


def by_partner(coefficients, trajectory, tableau):
    """lambda at every node and dL/dtheta, by a scheme for lam' = -lam f_z on the stages of z."""
    a, b, c = tableau.a, tableau.b, tableau.c
    pull, s = adjode.adjoint_pullback(PROBLEM), len(b)
    row, theta_bar = adjode.pullback(end, trajectory.zs[-1], THETA)[1](1.0)
    rows = [row]
    for n in reversed(range(len(trajectory.ts) - 1)):
        t, h = trajectory.ts[n], trajectory.ts[n + 1] - trajectory.ts[n]
        zs = trajectory.zs[n] + h * a @ trajectory.stages[n, -s:]
        f_z = [np.stack([pull(t + x * h, z, e)[1] for e in np.eye(2)]) for x, z in zip(c, zs, strict=True)]
        system = np.eye(2 * s).reshape(s, 2, s, 2)
        for i in range(s):  # lam_i = lam_next + h sum_j (b_j - coefficients_ij) lam_j f_z
            for j in range(s):
                system[i, :, j, :] -= h * (b[j] - coefficients[i, j]) * f_z[j].T
        lams = np.linalg.solve(system.reshape(2 * s, -1), np.tile(row, s)).reshape(s, 2)
        for x, z, weight, lam in zip(c, zs, b, lams, strict=True):
            _, part, of_theta = pull(t + x * h, z, h * weight * lam)
            row, theta_bar = row + part, theta_bar + of_theta
        rows.append(row)
    return np.array(rows[::-1]), theta_bar


@FEW
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_the_discrete_adjoint_of_any_explicit_scheme_is_backpropagation(seed, stages):
    tableau = drawn(seed, stages, explicit=True)
    trajectory = adjode.solve_fixed(PROBLEM, tableau, 3)
    wanted = grad(lambda z, w: end(adjode.rk_steps(tableau, f, trajectory.ts, z, w)[-1], w), (0, 1))
    times = adjode.solve_fixed(PROBLEM, tableau, 3, store="times")
    for name, taken in (("discrete", trajectory), ("fast", trajectory), ("checkpointed", times)):
        found = getattr(adjode, f"adjoint_{name}")(PROBLEM, LOSS, taken)
        np.testing.assert_allclose(found.z0, wanted(Z0, THETA)[0], rtol=ROUNDING, atol=ROUNDING)
        np.testing.assert_allclose(found.theta, wanted(Z0, THETA)[1], rtol=ROUNDING, atol=ROUNDING)


def implicit(which):
    return own(*OWN[which], which) if which in OWN else drawn(which, 1 + which % 3, False, scale=0.3)


@pytest.mark.parametrize("which", [*OWN, 1, 2, 5])
def test_the_discrete_adjoint_of_any_implicit_scheme_is_the_derivative_of_its_equations(which):
    tableau = implicit(which)
    trajectory = adjode.solve_fixed(PROBLEM, tableau, 3)
    found = adjode.adjoint_discrete(PROBLEM, LOSS, trajectory)
    through = lambda z, w: end(by_root(tableau, trajectory.ts, z, w), w)
    assert adjode.loss_value(PROBLEM, LOSS, trajectory) == pytest.approx(through(Z0, THETA), rel=SOLVED)
    wanted = grad(through, (0, 1))(Z0, THETA)
    np.testing.assert_allclose(found.z0, wanted[0], rtol=SOLVED)
    np.testing.assert_allclose(found.theta, wanted[1], rtol=SOLVED)


def test_the_one_stage_midpoint_is_the_one_with_a_first_stage():
    mine = adjode.solve_fixed(PROBLEM, own(*OWN["midpoint"]), 4)
    theirs = adjode.solve_fixed(PROBLEM, adjode.implicit_midpoint(), 4)
    np.testing.assert_array_equal(mine.zs, theirs.zs)
    np.testing.assert_array_equal(mine.stages, theirs.stages)
    assert mine.stages.shape == (4, 2, 2) and mine.tableau.name == "mine"


def test_explicit_stages_in_another_order_are_the_same_scheme():
    turned = own([[0, 1], [0, 0]], [1 / 2, 1 / 2])  # Heun's, the last stage first: looks implicit
    mine, heun = (adjode.solve_fixed(PROBLEM, x, 4) for x in (turned, adjode.heun()))
    np.testing.assert_allclose(mine.zs, heun.zs, rtol=ROUNDING)
    rows = [adjode.adjoint_discrete(PROBLEM, LOSS, x) for x in (mine, heun)]
    np.testing.assert_allclose(rows[0].z0, rows[1].z0, rtol=ROUNDING)
    np.testing.assert_allclose(rows[0].theta, rows[1].theta, rtol=ROUNDING)


def test_a_gauss_scheme_of_two_stages_has_order_four():
    tight = adjode.solve(PROBLEM, rtol=1e-12, atol=1e-13).zs[-1]
    gauss = own(*OWN["gauss"])
    ends = [adjode.solve_fixed(PROBLEM, gauss, n).zs[-1] for n in (4, 8, 16)]
    assert adjode.observed_order(ends, [1 / 4, 1 / 8, 1 / 16], 4, exact=tight)


@FEW
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_backpropagation_is_the_partner_scheme_on_the_adjoint_equation(seed, stages, explicit):
    tableau = drawn(seed, stages, explicit, scale=0.3)
    trajectory = adjode.solve_fixed(PROBLEM, tableau, 3)
    found = adjode.adjoint_discrete(PROBLEM, LOSS, trajectory)
    lams, theta_bar = by_partner(adjode.adjoint_tableau(tableau), trajectory, tableau)
    np.testing.assert_allclose(found.path.lams[0], lams[0], rtol=SOLVED, atol=SOLVED)
    np.testing.assert_allclose(found.theta, theta_bar, rtol=SOLVED, atol=SOLVED)
    itself, _ = by_partner(tableau.a, trajectory, tableau)
    assert np.max(np.abs(itself[0] - lams[0])) > 1e-6  # drawn at random, none is symplectic


@pytest.mark.parametrize("which", OWN)
def test_a_symplectic_scheme_is_its_own_partner(which):
    tableau = own(*OWN[which])
    assert np.max(np.abs(adjode.symplectic_defect(tableau))) < 1e-15
    np.testing.assert_allclose(adjode.adjoint_tableau(tableau), tableau.a, atol=1e-15)
    trajectory = adjode.solve_fixed(PROBLEM, tableau, 3)
    lams, theta_bar = by_partner(tableau.a, trajectory, tableau)
    found = adjode.adjoint_discrete(PROBLEM, LOSS, trajectory)
    np.testing.assert_allclose(found.z0, lams[0], rtol=ROUNDING)
    np.testing.assert_allclose(found.theta, theta_bar, rtol=ROUNDING)


@FEW
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
def test_the_partner_of_the_partner_is_the_scheme_and_their_difference_the_defect(seed, s, explicit):
    tableau = drawn(seed, s, explicit)
    a, b = tableau.a, tableau.b
    partner = adjode.adjoint_tableau(tableau)
    np.testing.assert_allclose(adjode.adjoint_tableau(own(partner, b)), a, atol=ROUNDING)
    defect = adjode.symplectic_defect(tableau)
    np.testing.assert_allclose(b[:, None] * (a - partner), defect, atol=ROUNDING)
    for i in range(s):
        for j in range(s):  # once more, without arrays
            assert partner[i, j] == pytest.approx(b[j] - b[j] * a[j, i] / b[i], abs=ROUNDING)
            assert defect[i, j] == pytest.approx(b[i] * a[i, j] + b[j] * a[j, i] - b[i] * b[j])


def test_known_partners():
    np.testing.assert_array_equal(adjode.adjoint_tableau(adjode.euler()), [[1]])  # implicit Euler
    lobatto_3b = [[1 / 2, 0], [1 / 2, 0]]
    np.testing.assert_array_equal(adjode.adjoint_tableau(adjode.trapezoid()), lobatto_3b)
    itself = adjode.implicit_midpoint()  # with a stage that does not count
    np.testing.assert_array_equal(adjode.adjoint_tableau(itself), itself.a)
    np.testing.assert_array_equal(adjode.symplectic_defect(itself), np.zeros((2, 2)))


@pytest.mark.parametrize("name, b", [("midpoint", "b_1"), ("dopri5", "b_2"), ("dop853", "b_2")])
def test_without_a_weight_there_is_no_partner_but_a_discrete_adjoint(name, b):
    with pytest.raises(ValueError, match=f"{name} has no partner.*{b} is 0.*Use adjoint_discrete"):
        adjode.adjoint_tableau(getattr(adjode, name)())


def test_a_step_by_stages_refuses_an_implicit_scheme():
    with pytest.raises(ValueError, match="those of trapezoid wait for each other; use solve_fixed"):
        adjode.rk_step(adjode.trapezoid(), f, 0.0, Z0, THETA, 0.1)
