"""The coefficients: order conditions, convergence, and what is refused."""

import numpy as np
import pytest

import adjode
from adjode.steps import Counted, error_norm, stage_derivatives
from adjode.tableau import with_first_stage

SCHEMES = {"euler": 1, "midpoint": 2, "heun": 2, "kutta3": 3, "rk4": 4, "dopri5": 5, "dop853": 8,
           "implicit_midpoint": 2, "trapezoid": 2, "radau": 5}  # fmt: skip
ROUNDING = 1e-13  # sums of some ten coefficients of size up to fifty


def trees(a, b, c):
    """The order conditions of the rooted trees up to order 5: (order, left side, right side)."""
    yield 1, b.sum(), 1
    yield 2, b @ c, 1 / 2
    yield 3, b @ c**2, 1 / 3
    yield 3, b @ a @ c, 1 / 6
    yield 4, b @ c**3, 1 / 4
    yield 4, b @ (c * (a @ c)), 1 / 8
    yield 4, b @ a @ c**2, 1 / 12
    yield 4, b @ a @ a @ c, 1 / 24
    yield 5, b @ c**4, 1 / 5
    yield 5, b @ (c**2 * (a @ c)), 1 / 10
    yield 5, b @ (a @ c) ** 2, 1 / 20
    yield 5, b @ (c * (a @ c**2)), 1 / 15
    yield 5, b @ (c * (a @ a @ c)), 1 / 30
    yield 5, b @ a @ c**3, 1 / 20
    yield 5, b @ a @ (c * (a @ c)), 1 / 40
    yield 5, b @ a @ a @ c**2, 1 / 60
    yield 5, b @ a @ a @ a @ c, 1 / 120


@pytest.mark.parametrize("name", SCHEMES)
def test_order_conditions_hold_up_to_the_order_and_fail_beyond(name):
    tableau = getattr(adjode, name)()
    assert (tableau.name, tableau.order) == (name, SCHEMES[name])
    assert all(x.dtype == float for x in (tableau.a, tableau.b, tableau.c))
    conditions = list(trees(tableau.a, tableau.b, tableau.c))
    for order, left, right in conditions:
        if order <= tableau.order:
            assert abs(left - right) < ROUNDING, (order, left, right)
    beyond = [abs(left - right) for order, left, right in conditions if order == tableau.order + 1]
    assert not beyond or max(beyond) > 1e-3
    for k in range(1, tableau.order):  # quadrature conditions, beyond the trees above
        assert abs(tableau.b @ tableau.c**k - 1 / (k + 1)) < ROUNDING


@pytest.mark.parametrize("name", ["dopri5", "dop853"])
def test_pairs_end_with_f_at_the_end_and_have_errors_that_sum_to_zero(name):
    tableau = getattr(adjode, name)()
    np.testing.assert_array_equal(tableau.a[-1], tableau.b)
    assert tableau.c[-1] == 1 and tableau.b[-1] == 0
    for error in tableau.errors:
        assert error.shape == tableau.b.shape and abs(error.sum()) < ROUNDING
    s, x = len(tableau.b), len(tableau.extra_c)
    assert tableau.extra_a.shape == (x, s + x)
    assert tableau.dense.shape == (s + x, {"dopri5": 4, "dop853": 7}[name])
    full_c = np.append(tableau.c, tableau.extra_c)
    for power in range(tableau.dense.shape[1] - 2):
        # sum_i c_i^p w_i(x) = x^(p+1) / (p+1): the dense output integrates low powers exactly
        weights = full_c**power @ tableau.dense
        wanted = np.zeros_like(weights)
        wanted[power] = 1 / (power + 1)
        np.testing.assert_allclose(weights, wanted, atol=1e-11)  # coefficients of size 100


@pytest.mark.parametrize("name", SCHEMES)
def test_observed_order_is_the_nominal_one_from_both_sides(zoo, name):
    case = zoo.case("clocked")
    exact = np.real(case.flow(case.z0, case.t0, case.t1, case.theta))
    tableau, counts = getattr(adjode, name)(), {"dop853": (3, 4, 5)}.get(name, (20, 40, 60))
    ends = [adjode.solve_fixed(case.problem(), tableau, n).zs[-1] for n in counts]
    errors = [np.linalg.norm(end - exact) for end in ends]
    order = np.log(errors[1] / errors[2]) / np.log(counts[2] / counts[1])
    margin = 1.0 if name == "dop853" else 0.2  # few steps before rounding: a coarser estimate
    assert abs(order - tableau.order) < margin, (counts, errors, order)


@pytest.mark.parametrize("name, order", [("dopri5", 4), ("dop853", 7)])
def test_the_estimated_error_shrinks_at_its_own_order(zoo, name, order):
    case, tableau = zoo.case("clocked"), getattr(adjode, name)()
    assert tableau.error_order == order
    field = Counted(lambda t, z: case.f(t, z, case.theta))

    def estimate(h):
        k = stage_derivatives(tableau, field, case.t0, case.z0, h, field(case.t0, case.z0))
        return error_norm(tableau, k, h, 1.0)

    seen = np.log2(estimate(0.2) / estimate(0.1))
    assert abs(seen - (order + 1)) < 0.3


@pytest.mark.parametrize(
    "a, b, c, message",
    [
        ([[0]], [1, 0], [0], r"got \(1, 1\), \(2,\), \(1,\)"),
        ([[0, 0], [1, 0]], [0.5, 0.5], [0], r"shapes \(s, s\), \(s,\), \(s,\) are needed"),
        ([[0, 0], [np.nan, 0]], [0.5, 0.5], [0, 1], "every entry must be finite"),
        ([[0]], [np.inf], [0], "every entry must be finite"),
        ([[0, 0], [1, 0]], [0.5, 0.5], [0, 0.5], "rows of a must sum to c"),
        (0, 1, 0, r"shapes \(s, s\), \(s,\), \(s,\) are needed; got \(\), \(\), \(\)"),
        ([[0], [1, 0]], [0.5, 0.5], [0, 1], "a, b and c must be arrays of real numbers"),
        ([[0, 0], [1, 0]], [0.5, 0.5], [0, 1j], "a, b and c must be arrays of real numbers"),
        ([[0, 0], [1, 0]], [0.5, 0.4], [0, 1], "weights b must sum to 1; got 0.9"),
        ([[0, 0], [1, 0]], [0.5, 0.5], [0, 1 + 1e-10], "rows of a must sum to c"),
        ([[0, 0], [1, 0]], [0.5, 0.5 + 1e-10], [0, 1], "weights b must sum to 1"),
    ],
)
def test_a_tableau_checks_itself(a, b, c, message):
    with pytest.raises(ValueError, match=message):
        adjode.ButcherTableau("mine", 2, a, b, c)


@pytest.mark.parametrize("stages", [3, 5, 7])
def test_radau_weighs_its_first_stage_by_the_real_eigenvalue(stages):
    tableau = adjode.radau(stages)
    rates = np.linalg.eigvals(tableau.a[1:, 1:])  # one of them is real
    real = rates[np.argmin(np.abs(rates.imag))]
    assert abs(real.imag) < 1e-12
    assert tableau.errors[0][0] == pytest.approx(real.real, rel=1e-10)
    assert tableau.extra_a.shape == (0, stages + 1)


def test_a_first_stage_of_weight_zero_is_put_before_the_others_once():
    gauss = adjode.ButcherTableau("gauss", 2, [[1 / 2]], [1], [1 / 2])
    wider = with_first_stage(gauss)
    assert (wider.name, wider.order) == ("gauss", 2)
    np.testing.assert_array_equal(wider.a, [[0, 0], [0, 1 / 2]])
    np.testing.assert_array_equal(wider.b, [0, 1])
    np.testing.assert_array_equal(wider.c, [0, 1 / 2])
    assert with_first_stage(wider) is wider


def test_a_tableau_keeps_numbers_of_its_own_that_nobody_changes():
    a, b, c, errors = (np.array(x) for x in ([[0, 0], [1, 0]], [0.5, 0.5], [0, 1], [1, -1]))
    tableau = adjode.ButcherTableau("heun", 2, a, b, c, errors, 1)
    a[1, 0], b[0], c[1], errors[0] = 7, 7, 7, 7
    for kept, wanted in [
        (tableau.a, [[0, 0], [1, 0]]),
        (tableau.b, [0.5, 0.5]),
        (tableau.c, [0, 1]),
        (tableau.errors, [[1, -1]]),
    ]:
        np.testing.assert_array_equal(kept, wanted)
        assert kept.shape == np.shape(wanted) and kept.dtype == float and not kept.flags.writeable
    assert adjode.euler().errors.shape == (0, 1)


@pytest.mark.parametrize("stages", [3, 5])
def test_the_dense_output_of_radau_is_its_collocation_polynomial(stages):
    tableau = adjode.radau(stages)
    powers = np.arange(1, stages + 1)
    weights = tableau.c[:, None] ** powers @ tableau.dense.T  # at the nodes: those of the stages
    np.testing.assert_allclose(weights, tableau.a, atol=1e-12)
    assert tableau.extra_c.shape == (0,)
