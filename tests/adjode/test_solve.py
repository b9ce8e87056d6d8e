"""The forward solve."""

from dataclasses import replace
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
from adjode import steps
from adjode.steps import (
    Counted,
    Stiff,
    adaptive_steps,
    bounded,
    error_norm,
    first_step,
    fixed_steps,
    idles,
    stable,
)
from adjode.trajectory import Stats, collect, few, middles

METHODS = ["dopri5", "dop853"]


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["clocked", "affine", "logistic", "backwards"])
def test_states_and_dense_output_are_within_the_tolerance(zoo, name, method, rtol):
    case = zoo.case(name)
    trajectory = adjode.solve(case.problem(), rtol=rtol, atol=rtol / 100, method=method)
    for t in np.linspace(case.t0, case.t1, 23):
        exact = np.real(case.flow(case.z0, case.t0, t, case.theta))
        # ten times rtol of the largest entry, for the interpolant as for the nodes
        assert np.max(np.abs(trajectory.dense(t) - exact)) < 10 * rtol * max(1, np.max(np.abs(exact)))


@pytest.mark.parametrize("method", METHODS)
def test_nodes_lie_on_every_stop_and_carry_f(zoo, method):
    case = zoo.case("clocked")
    ts = [case.t0, 0.1, 0.1000001, 1.1]
    trajectory = adjode.solve(case.problem(), ts=ts, method=method)
    assert set(ts) <= set(trajectory.ts) and trajectory.ts[-1] == case.t1
    assert np.all(np.diff(trajectory.ts) > 0)
    for t, z, slope in zip(trajectory.ts, trajectory.zs, trajectory.fs, strict=True):
        np.testing.assert_allclose(slope, case.f(t, z, case.theta), rtol=1e-13)
        np.testing.assert_allclose(trajectory.dense(t), z, rtol=1e-12)


def test_close_stops_do_not_shorten_the_steps_after_them(zoo):
    problem = zoo.case("linear").problem()
    plain = adjode.solve(problem).stats.steps
    crowded = adjode.solve(problem, ts=[1.0, 1.0 + 1e-9, 1.0 + 2e-9]).stats.steps
    assert crowded <= plain + 6


def test_what_is_stored(zoo):
    problem = zoo.case("linear").problem()
    dense, stages, stops = (
        adjode.solve(problem, ts=[1.0], store=store) for store in ("dense", "stages", "stops")
    )
    np.testing.assert_array_equal(stops.ts, [problem.t0, 1.0, problem.t1])
    np.testing.assert_array_equal(stops.zs, dense.zs[np.isin(dense.ts, stops.ts)])
    np.testing.assert_array_equal(stages.stages, dense.stages)
    n = dense.stats.steps
    assert dense.stages.shape == (n, 13, 2) and len(dense.ts) == n + 1
    assert stages.dense is None and stops.dense is None and stops.stages is None
    assert [x.stats.stored_states for x in (dense, stages, stops)] == [17 * n + 1, 14 * n + 1, 3]
    assert dense.stats.f_evaluations - stages.stats.f_evaluations == 3 * n


@pytest.mark.parametrize("method, stages", [("dopri5", 6), ("dop853", 12)])
def test_evaluations_are_counted_and_none_is_wasted(zoo, method, stages):
    case, calls = zoo.case("logistic"), []

    def f(t, z, theta):
        calls.append(t)
        return case.f(t, z, theta)

    problem = adjode.InitialValueProblem(f, case.z0, case.t0, case.t1, case.theta)
    stats = adjode.solve(problem, method=method, store="stages", rtol=1e-8).stats
    probes = len(calls) - 2 - stages * (stats.steps + stats.rejected)
    assert stats.f_evaluations == len(calls)
    assert probes == stats.steps  # of the rate of f_z, before each step


@pytest.mark.parametrize("method", METHODS)
def test_a_tighter_tolerance_costs_more_and_gives_more(zoo, method):
    case = replace(zoo.case("affine"), t1=30.0)
    exact = np.real(case.flow(case.z0, case.t0, case.t1, case.theta))
    runs = [adjode.solve(case.problem(), rtol=r, atol=r, method=method) for r in (1e-4, 1e-10)]
    errors = [np.max(np.abs(run.zs[-1] - exact)) for run in runs]
    assert errors[1] < 1e-2 * errors[0]
    assert runs[1].stats.f_evaluations > runs[0].stats.f_evaluations


def test_the_error_of_one_entry_does_not_drown_among_many():
    # one fast oscillator among a thousand entries at rest
    def f(t, z, theta):
        return anp.concatenate([anp.array([20 * z[1], -20 * z[0]]), np.zeros(998)])

    z0 = np.append([1.0, 0.0], np.ones(998))
    trajectory = adjode.solve(adjode.InitialValueProblem(f, z0, 0.0, 3.0), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(trajectory.zs[-1, :2], [np.cos(60), -np.sin(60)], atol=1e-5)


def test_running_cost_is_controlled_though_the_state_rests():
    problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, [2.0], 0.0, 5.0)
    running = lambda t, z, theta: z[0] * anp.cos(40 * t)
    trajectory = adjode.solve(problem, running=running, rtol=1e-8, atol=1e-10)
    wanted = 2 * np.sin(40 * trajectory.ts) / 40
    np.testing.assert_allclose(trajectory.running, wanted, atol=1e-8)
    assert trajectory.zs.shape[1:] == (1,) and trajectory.stages.shape[2] == 1


@pytest.mark.parametrize("scheme", ["euler", "rk4", "dopri5", "dop853"])
def test_fixed_steps_are_those_of_the_traceable_loop(zoo, scheme):
    case = zoo.case("clocked")
    tableau = getattr(adjode, scheme)()
    trajectory = adjode.solve_fixed(case.problem(), tableau, 3, ts=[0.2])
    assert len(trajectory.ts) == 7 and trajectory.ts[3] == 0.2
    zs = adjode.rk_steps(tableau, case.f, trajectory.ts, case.z0, case.theta)
    np.testing.assert_allclose(trajectory.zs, zs, rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_a_blow_up_stops_with_the_time_it_reached(method):
    problem = adjode.InitialValueProblem(lambda t, z, theta: z**2, [1.0], 0.0, 2.0)
    with pytest.raises(adjode.IntegrationError, match=r"stopped at t = (1\.0|0\.99).* before t = 2"):
        adjode.solve(problem, method=method)


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_a_field_that_is_not_a_number_stops_at_once(start):
    calls = []

    def f(t, z, theta):
        calls.append(t)
        return z * (np.nan if t >= start else 1.0)

    with pytest.raises(adjode.IntegrationError, match="not finite"):
        adjode.solve(adjode.InitialValueProblem(f, [1.0], 0.0, 1.0))
    assert len(calls) < 2000


def test_evaluations_are_limited():
    problem = adjode.InitialValueProblem(lambda t, z, k: -k * z, [1.0], 0.0, 1.0, 1e9)
    with pytest.raises(adjode.IntegrationError, match=r"used 500 evaluations.*stiff"):
        adjode.solve(problem, max_evaluations=500, method="dop853")
    with pytest.raises(adjode.IntegrationError, match=r"used 100 evaluations.*stiff"):
        adjode.solve(problem, max_evaluations=100)
    assert adjode.solve(problem, max_evaluations=2000).tableau.name == "radau"


def test_fixed_steps_that_overflow_are_an_error():
    problem = adjode.InitialValueProblem(lambda t, z, k: z**3, [9.0], 0.0, 9.0)
    with pytest.raises(adjode.IntegrationError, match="9 fixed steps of rk4"):
        adjode.solve_fixed(problem, adjode.rk4(), 9)


def test_a_start_at_rest_far_from_its_first_event():
    # nothing happens before t = 3: the first steps must not jump over it
    f = lambda t, z, theta: np.array([np.exp(-50 * (t - 3.0) ** 2)])
    trajectory = adjode.solve(adjode.InitialValueProblem(f, [0.0], 0.0, 6.0), rtol=1e-6)
    assert trajectory.zs[-1, 0] == pytest.approx(np.sqrt(np.pi / 50), rel=1e-5)


@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e3])
def test_the_first_step_suits_the_scale_of_the_problem(rate):
    f = lambda t, z, theta: rate * anp.array([z[1], -z[0]])
    problem = adjode.InitialValueProblem(f, [1.0, 0.0], 0.0, 20.0 / rate)
    trajectory = adjode.solve(problem, rtol=1e-6)
    assert trajectory.stats.rejected <= 1  # too long a first step would be rejected
    assert trajectory.ts[3] > 0.01 / rate  # a short one is soon left behind


@pytest.mark.parametrize("rtol, atol", [(1e-3, 1e-3), (1e-8, 1e-12), (1e-12, 1e-5)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["clocked", "backwards"])
def test_each_step_has_an_error_below_a_tenth_of_the_tolerance_and_none_is_much_too_short(
    zoo, name, method, rtol, atol
):
    case, tableau = zoo.case(name), getattr(adjode, method)()
    span, way = case.t1 - case.t0, 20 * np.sign(case.t1 - case.t0)
    field = Counted(lambda t, z: case.f(np.sin(t), z, case.theta))  # on and on at one pace
    steps = list(adaptive_steps(field, case.z0, [case.t0, case.t0 + way], tableau, rtol, atol))
    errors, ends = [], [*(step[:2] for step in steps[1:]), (case.t0 + way, None)]
    for (t, z, h, k, tries), (t_next, z_next) in zip(steps[:-1], ends[:-1], strict=True):
        assert h * span > 0 and t + h == pytest.approx(t_next, abs=1e-14) and tries >= 1
        np.testing.assert_allclose(z + h * (tableau.b @ k), z_next, rtol=1e-14)
        scale = 0.1 * (atol + rtol * np.maximum(np.abs(z), np.abs(z_next)))
        errors.append(error_norm(tableau, k, h, scale))
    assert max(errors) < 1 and np.median(errors) > 0.01  # SAFETY^6 of it, or ^8, is aimed at
    t, z, h, k, tries = steps[-1]
    assert (t, h, tries) == (case.t0 + way, 0.0, 0)
    np.testing.assert_allclose(k, [field(t, z)], rtol=1e-13)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("rate", [-3.0, 0.5])
@pytest.mark.parametrize("span", [2.0, -2.0])
def test_the_first_step_makes_the_taylor_series_fall(size, rate, span):
    # z' = rate z: the terms are z (rate h)^n; the step is Hairer, Norsett and Wanner's, II.4
    tableau, scale = adjode.dopri5(), np.array([1e-4 * size])
    z = np.array([size])
    h = first_step(lambda t, z: rate * z, 0.0, z, rate * z, span, tableau, scale)
    h0 = 0.01 / abs(rate)
    slope = max(1e4 * abs(rate), 1e4 * rate**2)
    assert h == pytest.approx(np.sign(span) * min(100 * h0, (0.01 / slope) ** (1 / 5)), rel=1e-6)


@pytest.mark.parametrize("rate", [-1e3, 1e3])
def test_the_first_step_is_no_longer_than_the_time_in_which_z_changes_by_its_size(rate):
    z = np.array([5.0])
    h = first_step(lambda t, z: rate * z, 0.0, z, rate * z, 2.0, adjode.dopri5(), z)
    assert h == pytest.approx(1e-3, rel=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("slot", ["t", "z"])
def test_the_first_step_sees_how_f_bends_ahead(slot, sign):
    ahead = lambda t, z: np.maximum(sign * (t if slot == "t" else z[0] - 1.0), 0.0)
    f = lambda t, z: np.array([1.0 + 1e4 * ahead(t, z)])
    h = first_step(f, 0.0, np.ones(1), np.ones(1), sign * 9.0, adjode.dopri5(), np.ones(1))
    assert h == pytest.approx(sign * (0.01 / 1e4) ** (1 / 5), rel=1e-6)


def test_the_first_step_knows_its_limits():
    tableau, one = adjode.rk4(), np.ones(1)
    rest = lambda t, z: 0.0 * z
    away = first_step(rest, 0.0, one, 0 * one, -2.0, tableau, one)
    assert away == pytest.approx(-1e-4)  # a hundred times 1e-6
    assert first_step(rest, 0.0, one, 0 * one, 1e-7, tableau, one) == 1e-7  # no longer than the way
    assert first_step(rest, 1e9, one, 0 * one, 1e-12, tableau, one) == 16 * np.spacing(1e9)
    edge = lambda t, z: 0.0 * z + (np.inf if t > 0 else 1.0)  # f fails at once
    assert 1e-6 < first_step(edge, 0.0, one, one, 1.0, tableau, one) < 1e-2
    slow, dopri5 = lambda t, z: 0.1 * z, adjode.dopri5()
    assert first_step(slow, 0.0, one, 0.1 * one, 50.0, dopri5, one) == pytest.approx(0.1**0.2)
    assert first_step(slow, 0.0, one, 0.1 * one, 1e-3, dopri5, one) == 1e-3
    nothing = np.zeros(0)
    assert first_step(rest, 0.0, nothing, nothing, 1.0, tableau, nothing) == pytest.approx(1e-4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("error", [0.0, 0.5])
@pytest.mark.parametrize("rate", [-40.0, 40.0])
def test_a_step_is_bounded_by_the_rate_of_f_z_alone_where_it_grows_and_by_stability_where_it_decays(
    rate, error, sign
):
    a = np.array([[0.0, sign * rate], [0.0, sign * rate]])  # (1, 1) has this rate
    z, v, reach = np.array([3.0, 4.0]), np.array([0.6, 0.6]), (0.2, 1.6)
    field = lambda t, z: a @ z
    h, w, slow = bounded(field, 0.0, z, field(0.0, z), sign * 9.0, v, reach, 1e-6, error, np.ones(len(z)))
    exact = a @ v / np.linalg.norm(v)
    np.testing.assert_allclose(w, exact, rtol=1e-6)
    decays = rate < 0
    far = reach[1] if decays and error else reach[0]
    assert h == pytest.approx(sign * far / np.linalg.norm(exact), rel=1e-6)
    assert slow == (decays and far > 0.2)
    short = bounded(field, 0.0, z, field(0.0, z), sign * 1e-3, v, reach, 1e-6, error, np.ones(len(z)))
    assert short[0] == sign * 1e-3 and not short[2]  # no step is made longer


@pytest.mark.parametrize("length", [5.0, 0.1])
@pytest.mark.parametrize("rate", [40.0, 0.2])
def test_decay_is_what_points_against_the_tangent(rate, length):
    z, way = np.array([10.0, 0.0]), np.array([1.0, 0.0])
    for cosine, decays in ((-0.8, True), (-0.6, False), (0.0, False), (0.6, False), (0.8, False)):
        row = rate * np.array([cosine, np.sqrt(1 - cosine**2)])
        field = lambda t, z, row=row: row * z[0] + 3 * row * (z[0] - 10) ** 2  # f_z e_1 at z is the row
        found = bounded(field, 0.0, z, field(0.0, z), 1e6, length * way, (0.2, 1.6), 1e-6, 0.5, np.ones(2))
        np.testing.assert_allclose(found[1], row, rtol=1e-4)
        assert found[0] == pytest.approx((1.6 if decays else 0.2) / rate, rel=1e-4)
        assert found[2] == decays


@pytest.mark.parametrize("length", [5.0, 0.1])
@pytest.mark.parametrize("rate", [40.0, 0.2])
def test_a_rate_is_that_of_entries_in_units_of_their_own(rate, length):
    units = np.array([1e3, 1e9])
    z, v = units * np.array([10.0, 0.0]), units * np.array([length, 0.0])
    for cosine, decays in ((-0.8, True), (-0.6, False), (0.6, False), (0.8, False)):
        row = rate * np.array([cosine, np.sqrt(1 - cosine**2)])
        field = lambda t, z, row=row: units * row * z[0] / units[0]
        by = lambda h, f=field: bounded(f, 0.0, z, f(0.0, z), h, v, (0.2, 1.6), 1e-6, 0.5, units)
        found = by(1e6)
        assert found[0] == pytest.approx((1.6 if decays else 0.2) / rate, rel=1e-4) and found[2] == decays
        in_one_unit = np.linalg.norm(units * row) / units[0]
        assert by(1.0 / in_one_unit)[0] == 1.0 / in_one_unit  # a rate that counts in one unit alone


def test_a_field_that_does_not_see_its_neighbours_bounds_no_step():
    z, v = np.ones(2), np.array([1.0, 2.0])
    for field in (lambda t, z: np.ones(2), lambda t, z: np.full(2, np.inf)):
        h, w, slow = bounded(field, 0.0, z, np.ones(2), 0.3, v, (0.2, 1.6), 1e-6, 0.0, np.ones(2))
        assert h == 0.3 and w is v and not slow


@pytest.mark.parametrize("patience, asked", [(1e3, True), (1e9, False), (np.inf, False)])
def test_whether_a_field_idles_is_asked_where_the_rest_would_cost_too_much(patience, asked, monkeypatch):
    calls = []
    monkeypatch.setattr(steps, "idles", lambda *args: bool(calls.append(args)))
    field = Counted(lambda t, z: -50.0 * (z - np.cos(t)))
    tableau, options = adjode.dop853(), {"longest": 1.0, "tangent": True, "patience": patience}
    run = lambda: list(adaptive_steps(field, np.zeros(2), [0.0, 10.0], tableau, 1e-6, 1e-8, **options))
    run()
    assert bool(calls) == asked
    monkeypatch.setattr(steps, "idles", lambda *args: True)
    if asked:
        with pytest.raises(Stiff):
            run()
    else:
        run()


def test_a_field_idles_that_turns_little_beside_what_its_rate_could_do():
    k = lambda turn: np.array([[2.0, 1.0], [1.0, 1.0], [2.0 - turn, 1.0]])
    scale = np.full(2, 1e-3)
    for h in (0.5, -0.5):  # a rate of 10: a decaying z would turn by 0.5 * 10 * 2, a tenth is 1
        assert idles(h, k(0.9), scale, 10.0) and not idles(h, k(1.1), scale, 10.0)
        assert idles(h, k(0.0019), scale, 0.0) and not idles(h, k(0.0021), scale, 0.0)  # the tolerance
    # less than the tolerance all the way, and 0.1 * 15 of it is less than what it turns by
    assert not idles(1.0, np.array([[0.65], [-0.65]]), np.ones(1), 15.0)
    assert idles(1.0, np.zeros((2, 0)), np.zeros(0), 1.0)


@pytest.mark.parametrize(
    "name, limit", [("euler", 2), ("heun", 2), ("kutta3", 2.513), ("rk4", 2.785), ("dopri5", 3.31)]
)
def test_the_real_stability_interval_is_the_known_one(name, limit):
    assert 0 <= stable(getattr(adjode, name)()) - limit < 0.06  # on a grid of 0.05


def test_a_counted_field_stops_at_its_limit():
    field = Counted(lambda t, z: 2 * z, 3, 1)
    assert (field(0.0, 1.0), field(0.0, 2.0), field.calls, field.vjps) == (2.0, 4.0, 3, 0)
    with pytest.raises(adjode.IntegrationError, match=r"the solve used 3 evaluations and stands at t = 0\.5"):
        field(0.5, 1.0)
    assert Counted(abs).calls == 0


def test_several_evaluations_are_counted_at_once_while_there_are_enough(monkeypatch):
    f, asked = lambda t, z: -z, []
    field = Counted(f, limit=10, calls=3)
    assert field.several(7) is f and field.calls == 10  # to the last one
    assert field.several(1) is field and field.calls == 10
    with pytest.raises(adjode.IntegrationError, match="used 10 evaluations"):
        field.several(1)(0.0, np.ones(1))
    monkeypatch.setattr(Counted, "several", lambda self, n: asked.append(n) or f)
    steps.stage_derivatives(adjode.dopri5(), field, 0.0, np.ones(1), 0.1, -np.ones(1))
    assert asked == [6] and field.calls == 10  # those of a step


def sizes(f, z0, span, method="dop853", rtol=1e-6, atol=1e-8, stops=(), **options):
    """The sizes of the steps from 0 over this span."""
    steps = adaptive_steps(
        Counted(f), np.array(z0), [0.0, *stops, span], getattr(adjode, method)(), rtol, atol, **options
    )
    return np.array([step[2] for step in steps][:-1])


@pytest.mark.parametrize("method, power", [("dopri5", 6), ("dop853", 9)])
@pytest.mark.parametrize("span", [60.0, -60.0])
def test_a_tangent_is_resolved_where_the_state_rests(method, power, span):
    # lambda turns at the rate 5: (5 h)^p / p! is a tenth of rtol, p the order and one
    turn = lambda t, z: 5.0 * np.array([z[1], -z[0]])
    h = sizes(turn, [0.0, 0.0], span, method, tangent=True)
    reach = (0.1 * 1e-6 * np.prod(np.arange(1.0, power + 1))) ** (1 / power)
    assert (
        np.max(np.abs(h))
        == pytest.approx(reach / 5, rel=1e-4)
        == pytest.approx(np.median(np.abs(h)), rel=1e-4)
    )
    assert len(sizes(turn, [0.0, 0.0], span, method)) < 20  # nothing moves


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_entries_may_have_units_of_their_own(unit, rtol):
    """A pendulum, its velocity in another unit: the same steps, but for the first few."""

    def evaluations(unit):
        f = lambda t, z, theta: np.array([z[1] / unit, -2 * np.sin(z[0]) * unit])
        problem = adjode.InitialValueProblem(f, [1.0, 0.1 * unit], 0.0, 8.0)
        return adjode.solve(problem, rtol=rtol, atol=1e-14).stats.f_evaluations

    assert evaluations(unit) == pytest.approx(evaluations(1.0), rel=0.1)


def test_a_decay_is_one_in_any_unit():
    """Steps stay where decay decays, and auto hands a stiff problem over."""

    def solved(unit, k, t1):
        f = lambda t, z, theta: np.array([-k * (z[0] - np.cos(t)), z[0] * unit - z[1]])
        problem = adjode.InitialValueProblem(f, [0.0, 0.0], 0.0, t1)
        return adjode.solve(problem, rtol=1e-4, atol=1e-12)

    for unit in (1.0, 1e-5, 1e5):
        assert solved(unit, 1e4, 10.0).tableau.implicit and not solved(unit, 5.0, 2.0).tableau.implicit


def test_no_step_is_longer_than_the_longest():
    still = lambda t, z: np.zeros(1)
    for span in (3.0, -3.0):
        h = np.abs(sizes(still, [1.0], span, longest=0.3))
        assert np.max(h) == pytest.approx(0.3) and np.sum(h) == pytest.approx(3.0) and len(h) < 20
        assert np.max(np.abs(sizes(still, [1.0], span))) > 1.0


def test_a_solve_has_ten_steps_and_so_has_a_way_back():
    rest = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, [1.0], 2.0, -3.0)
    assert np.max(np.abs(np.diff(adjode.solve(rest).ts))) == pytest.approx(0.5)
    trajectory = adjode.solve(rest, store="dense", ts=[0.0])
    seen = adjode.Observations([0.0], lambda i, z: z[0])
    found = adjode.adjoint_interpolated(rest, adjode.Loss(observations=seen), trajectory)
    assert np.max(np.abs(np.diff(found.path.ts))) == pytest.approx(0.5)  # a tenth of all, not of a part


@pytest.mark.parametrize("ulps", [1, 2, 20])
@pytest.mark.parametrize("start", [1.0, -3.0])
def test_an_interval_of_a_few_ulps_has_an_end(start, ulps):
    end = start + ulps * np.spacing(start)
    for t0, t1 in ((start, end), (end, start)):
        problem = adjode.InitialValueProblem(lambda t, z, theta: -z, [1.0], t0, t1)
        taken = adjode.solve(problem)
        assert taken.ts[-1] == t1 and taken.stats.f_evaluations < 100


def test_no_sliver_of_a_step_is_left_before_a_stop():
    turn = lambda t, z: np.array([z[1], -z[0]])
    ends = np.cumsum(sizes(turn, [1.0, 0.0], 30.0))
    plain = np.median(sizes(turn, [1.0, 0.0], 30.0))
    for end in ends[3:8]:
        h = sizes(turn, [1.0, 0.0], end * (1 + 1e-9))
        np.testing.assert_allclose(h[-1], h[-2], rtol=1e-6)  # what is left, in halves
        assert h[-1] > 0.3 * plain
        short = sizes(turn, [1.0, 0.0], 30.0, stops=[end * (1 - 1e-9)])
        assert np.min(short[3:]) > 0.2 * plain


def test_a_stop_costs_a_step_and_does_not_shorten_the_next_one():
    turn = lambda t, z: np.array([z[1], -z[0]])
    plain = sizes(turn, [1.0, 0.0], 30.0)
    stop = np.cumsum(plain)[5] + 1e-7
    h = sizes(turn, [1.0, 0.0], 30.0, stops=[stop, stop + 1e-7])
    n = int(np.argmin(h))  # the way from one stop to the other
    assert h[n] == pytest.approx(1e-7) and h[n + 1] > 0.5 * np.median(plain)
    assert len(h) <= len(plain) + 3


def test_steps_that_are_not_finite_are_shortened_until_they_vanish():
    lost = lambda t, z: z * (1.0 if t < 0.5 else np.nan)
    calls = Counted(lost)
    with pytest.raises(adjode.IntegrationError, match=r"the solve stopped at t = 0\.4999.* before t = 1\.0"):
        list(adaptive_steps(calls, np.ones(1), [0.0, 0.3, 1.0], adjode.dop853(), 1e-6, 1e-8))
    assert calls.calls < 2000  # to a fifth each time, and steps between


@pytest.mark.parametrize("share, stiff", [(0.6, True), (1.6, False)])
@pytest.mark.parametrize("span", [5.0, -5.0])
def test_a_solve_gives_up_where_decay_holds_its_steps_and_the_rest_costs_more_than_its_patience(
    share, stiff, span
):
    k = 100.0 * np.sign(span)
    decay = lambda t, z: -k * (z - np.cos(t))
    free = sizes(decay, [1.0], span, tangent=True)
    half = 0.5 * stable(adjode.dop853()) / 100  # of what is stable
    assert 0.5 * half < np.max(np.abs(free)) < 1.001 * half
    rest = abs(span) / np.median(np.abs(free)) * 13
    if not stiff:
        np.testing.assert_array_equal(sizes(decay, [1.0], span, tangent=True, patience=share * rest), free)
        return
    for stops in ((), (span / 2,)):
        with pytest.raises(Stiff, match="the problem is stiff at t = "):
            sizes(decay, [1.0], span, tangent=True, patience=share * rest, stops=stops)
    turn = lambda t, z: 100.0 * np.array([z[1], -z[0]])  # as many steps, and no decay
    sizes(turn, [1.0, 0.0], span / 10, tangent=True, patience=1.0)


def test_a_first_stop_near_the_start_does_not_make_the_first_steps_short():
    turn = lambda t, z: np.array([z[1], -z[0]])
    plain = sizes(turn, [1.0, 0.0], 30.0)
    assert len(sizes(turn, [1.0, 0.0], 30.0, stops=[1e-12])) <= len(plain) + 2


@pytest.mark.parametrize(
    "scheme, fsal", [("euler", 0), ("heun", 0), ("rk4", 0), ("dopri5", 1), ("dop853", 1)]
)
def test_fixed_steps_waste_no_evaluation_and_end_with_f(scheme, fsal):
    tableau, field = getattr(adjode, scheme)(), Counted(lambda t, z: t * z)
    steps = list(fixed_steps(field, np.ones(2), [0.0, 0.5, 2.0], tableau, 3))
    assert len(steps) == 7 and field.calls == 6 * (len(tableau.b) - fsal) + 1
    for (t, z, h, k, tries), h_wanted in zip(steps[:-1], [0.5 / 3] * 3 + [0.5] * 3, strict=True):
        assert h == pytest.approx(h_wanted) and tries == 1
        np.testing.assert_allclose(k[0], t * z, rtol=1e-14)
    t, z, h, k, tries = steps[-1]
    assert (t, h, tries) == (2.0, 0.0, 0)
    np.testing.assert_allclose(k, [t * z], rtol=1e-14)


def test_at_rest_nothing_is_known_of_the_error_and_the_first_step_resolves_the_tangent():
    at_rest = Counted(lambda t, z: -1e5 * z)
    steps = adaptive_steps(at_rest, np.zeros(1), [0.0, 1.0], adjode.dop853(), 1e-6, 1e-8, tangent=True)
    reach = (0.1 * 1e-6 * np.prod(np.arange(1.0, 10.0))) ** (1 / 9)
    assert next(steps)[2] == pytest.approx(reach / 1e5, rel=1e-6)


def test_a_way_as_long_as_the_first_step_is_one_step():
    for span in (1e-7, -1e-7):
        np.testing.assert_array_equal(sizes(lambda t, z: 0.0 * z, [1.0], span), [span])


def test_steps_become_shorter_before_they_are_rejected():
    faster = Counted(lambda t, z: t * np.array([z[1], -z[0]]))
    steps = list(adaptive_steps(faster, np.array([1.0, 0.0]), [1.0, 15.0], adjode.dop853(), 1e-6, 1e-8))
    assert len(steps) > 100 and sum(step[4] - 1 for step in steps[:-1]) <= 1


def test_two_estimates_of_an_error_are_one_of_higher_order():
    pair, one = SimpleNamespace(errors=([3.0], [40.0])), SimpleNamespace(errors=([3.0],))
    k, scale = np.array([[1.0, -2.0]]), np.array([1.0, 4.0])
    assert error_norm(one, k, -0.5, scale) == 1.5
    assert error_norm(pair, k, -0.5, scale) == pytest.approx(1.5**2 / np.hypot(1.5, 0.1 * 20))
    assert error_norm(pair, 0 * k, 0.5, scale) == 0.0 and np.isnan(error_norm(pair, np.nan * k, 0.5, scale))
    assert error_norm(pair, np.zeros((1, 0)), 0.5, np.zeros(0)) == 0.0


# -- what a solve leaves ---------------------------------------------------------------------------


def test_costs_are_added_one_by_one():
    one, other = Stats(1, 2, 3, 4, 5), Stats(10, 20, 30, 40, 50)
    assert one + other == Stats(11, 22, 33, 44, 55)


def test_the_two_shortest_steps_and_the_two_of_fastest_turn_are_kept_in_their_order():
    steps = [(0.3, -1.0, "a"), (0.1, -2.0, "b"), (0.4, -9.0, "c"), (0.2, -3.0, "d"), (0.5, -8.0, "e"),
             (0.6, -0.5, "f")]  # fmt: skip
    assert [step[2] for step in few(steps)] == ["b", "c", "d", "e"]
    assert few(steps[:1] * 3) == steps[:1] * 3


@pytest.mark.parametrize("store", ["stops", "times", "stages"])
def test_hard_steps_are_those_that_took_tries_or_are_short_beside_the_ones_before(store):
    """By hand: sizes, tries, and k of which the last row less the first over the size is the turn."""
    sizes, tries = [0.04, 0.02, 0.003, 0.004, 0.04, 0.0401], [1, 2, 1, 1, 1, 3]
    turns = [9.0, 1.0, 5.0, 9.0, 9.0, 2.0]  # 0.004 is a tenth of the longest, and no less
    ts, steps = np.append(0.0, np.cumsum(sizes)), []
    for n, (h, turn) in enumerate(zip(sizes, turns, strict=True)):
        k = np.array([[0.0], [100.0], [-50.0], [turn * h]]) + n
        steps.append((ts[n], np.array([n + 1.0, 7.0])[:1], h, k, tries[n]))
    steps.append((ts[-1], np.array([7.0]), 0.0, np.array([[6.0]]), 0))
    field = Counted(lambda t, z: z)
    field.calls, field.vjps = 40, 2
    found = collect(iter(steps), field, adjode.rk4(), [0.0, ts[2], ts[-1]], store=store, shape=(1,))
    assert [n for n, *_ in found.hard] == [1, 2, 5]
    for n, t, z, z_next in found.hard:
        assert t == ts[n] and z == n + 1.0
        np.testing.assert_allclose(z_next, z + sizes[n] * (adjode.rk4().b @ steps[n][3]), rtol=1e-14)
    assert found.tableau.name == "rk4" and found.running is None and found.dense is None
    whole = store == "stages"
    assert found.stats == Stats(40, 2, 6, 3, 7 + 6 * 4 if whole else 3)
    np.testing.assert_array_equal(found.ts, ts if whole else ts[[0, 2, 6]])
    np.testing.assert_array_equal(found.fs[:, 0], range(7) if whole else [0, 2, 6])
    if store == "times":
        np.testing.assert_array_equal(found.step_times, ts)
        assert not found.step_times.flags.writeable
    else:
        assert found.step_times is None


def test_steps_may_be_tried_and_bounded_in_another_way():
    asked = []
    spies = {
        "trial": lambda *args: asked.append("trial") or steps.trial_step(*args),
        "turned": lambda *args: asked.append("turned") or steps.turned(*args),
    }
    field, z0, rows = Counted(lambda t, z: -z), np.array([1.0, -2.0]), []
    for own in (spies, {}):
        taken = adaptive_steps(field, z0, [0.0, 1.0], adjode.dopri5(), 1e-6, 1e-8, tangent=True, **own)
        rows.append([(t, z.tolist(), h) for t, z, h, *_ in taken])
    assert rows[0] == rows[1] and asked == ["turned", "trial"] * (len(rows[0]) - 1)


def test_hard_steps_of_one_size_are_told_apart_by_their_turn():
    """The last row of k less the first one, over the size."""
    sizes, turned = [1.0, 1.0, 4.0, 2.0, 1.0], [1.0, 2.0, 9.0, 5.0, 4.0]
    steps = [(sum(sizes[:n]), np.zeros(1), h, np.array([[0.0], [50.0 - n], [turn]]), 2)
             for n, (h, turn) in enumerate(zip(sizes, turned, strict=True))]  # fmt: skip
    steps.append((9.0, np.zeros(1), 0.0, np.zeros((1, 1)), 0))
    tableau = adjode.ButcherTableau("three", 1, np.zeros((3, 3)), [1, 0, 0], [0, 0, 0])
    field = Counted(lambda t, z: z)
    found = collect(iter(steps), field, tableau, [0.0, 9.0], store="stops", shape=(1,))
    assert [n for n, *_ in found.hard] == [0, 1, 3, 4]  # two of the shortest, two of the fastest
    empty = [(t, z[:0], h, k[:, :0], tries) for t, z, h, k, tries in steps]
    assert len(collect(iter(empty), field, tableau, [0.0, 9.0], store="stops", shape=(0,)).hard) > 0


@pytest.mark.parametrize("t1", [1.0, -1.0])
def test_dense_output_has_the_shape_of_the_state_for_each_time_also_a_little_outside(t1):
    f = lambda t, z, theta: -z
    problem = adjode.InitialValueProblem(f, np.arange(6.0).reshape(3, 2), 0.0, t1)
    one_step = adjode.solve(replace(problem, t1=1e-6 * t1), method="radau")
    assert len(one_step.ts) == 2
    for trajectory in (adjode.solve(problem), one_step):
        end = trajectory.ts[-1]
        times = np.array([-1e-9 * end, 0.0, 0.3 * end, end, end * (1 + 1e-9)])
        exact = np.exp(-times)[:, None, None] * problem.z0
        np.testing.assert_allclose(trajectory.dense(times), exact, rtol=1e-6)
        for t, z in zip(times, exact, strict=True):
            assert trajectory.dense(t).shape == (3, 2)
            np.testing.assert_allclose(trajectory.dense(t), z, rtol=1e-6)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_the_middle_of_a_step_is_that_of_the_cubic_through_its_ends(way):
    cubes = lambda t: np.array([[t**3 - t, 2.0 * t**2, 1.0 + 0.0 * t]])
    f = lambda t, z, theta: np.array([[3 * t**2 - 1, 4 * t, 0.0]])
    trajectory = adjode.solve(adjode.InitialValueProblem(f, cubes(0.3), 0.3, 0.3 + way))
    some = np.array([0, 3, 4])
    ts, zs = middles(trajectory, some)
    np.testing.assert_allclose(ts, (trajectory.ts[some] + trajectory.ts[some + 1]) / 2, rtol=1e-15)
    np.testing.assert_allclose(zs, [cubes(t)[0] for t in ts], rtol=1e-12)


@pytest.mark.parametrize("method", [*METHODS, "radau"])
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_the_steps_once_more_are_those_of_the_solve(method, way):
    from adjode.retrace import traced_states

    f = lambda t, z, theta: anp.array([[theta * z[0, 1] + t, -z[0, 0] * z[0, 1]]])
    z0, ts, options = (
        np.array([[1.0, 0.5]]),
        way * np.array([0.0, 0.7, 1.0, 2.0]),
        {"rtol": 1e-2, "atol": 1e-3},
    )
    problem = adjode.InitialValueProblem(f, z0, ts[0], ts[-1], 0.9)
    taken = adjode.solve(problem, ts=ts, method=method, **options)
    found = traced_states(problem, z0, ts, 0.9, taken)
    close = 1e-9 if method == "radau" else 1e-12  # a solve finds implicit stages to 1e-10 of z
    np.testing.assert_allclose(found, taken.zs[np.isin(taken.ts, ts)], rtol=close)
