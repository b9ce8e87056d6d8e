"""Right or refused: what the front door does with a gradient that may be wrong."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian
from scipy.integrate import quad, solve_ivp
from scipy.interpolate import CubicHermiteSpline
from scipy.linalg import expm

import adjode
from adjode import fast, guards
from adjode.batched import batch, lengths, no_accident
from adjode.estimate import (
    amplified,
    embedded,
    ends_of_lambda,
    growth,
    reach,
    rows_moved,
    some_direction,
    stands_out,
    unresolved,
    unseen,
)
from adjode.guards import Guard, halved, length, merged, refuse_jumps
from adjode.halves import in_halves, misses
from adjode.steps import error_norm

STRATEGIES = ["discrete", "backsolve", "interpolated", "quadrature"]
RTOLS = [1e-3, 1e-6, 1e-9]


def right(found, wanted, x, rtol, atol, size):
    """|g - g*| <= 100 rtol |g*| + 100 atol s, entries times max(|x|, 1)."""
    found, wanted, x = (adjode.flatten(part)[0] for part in (found, wanted, x))
    scale = np.maximum(np.abs(x), 1.0)
    allowed = 100 * rtol * np.linalg.norm(scale * wanted) + 100 * atol * size
    return np.linalg.norm(scale * (found - wanted)) <= allowed


def lorenz(t, z, theta):
    x, y, w = z[0], z[1], z[2]
    return anp.array([theta[0] * (y - x), x * (theta[1] - w) - y, x * y - theta[2] * w])


def square(f, z0, ts, theta, **options):
    """The gradient of sum z^2 / 2 over the observations, by odeint, in z0, ts and theta."""
    loss = lambda *args: 0.5 * anp.sum(adjode.odeint(f, *args, **options)[1:] ** 2)
    return grad(loss, (0, 1, 2))(np.asarray(z0), np.asarray(ts), theta)


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("name", ["linear", "clocked", "affine", "logistic", "batch", "backwards"])
def test_benign_problems_are_right_and_never_refused(zoo, name, adjoint, rtol):
    case, options = zoo.case(name), {"rtol": rtol, "atol": rtol / 100}
    ts = case.t0 + (case.t1 - case.t0) * np.array([0.0, 0.4, 1.0])
    found = square(case.f, case.z0, ts, case.theta, adjoint=adjoint, **options)
    exact = lambda z0, ts, theta: 0.5 * sum(np.sum(case.flow(z0, ts[0], t, theta) ** 2) for t in ts[1:])
    wanted = zoo.exact_gradient(exact, case.z0, ts, case.theta)
    assert right(found, wanted, (case.z0, ts, case.theta), rtol, rtol / 100, 1.0)


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("name", ["linear", "clocked", "affine", "logistic"])
def test_the_estimate_is_not_ten_times_too_small(zoo, name, rtol):
    case = zoo.case(name)
    problem, options = case.problem(), {"rtol": rtol, "atol": rtol / 100}
    found = adjode.gradient(problem, adjode.Loss(terminal=lambda z, theta: case.loss(z)), **options)
    exact = lambda z0, theta: case.loss(case.flow(z0, case.t0, case.t1, theta))
    wanted = zoo.exact_gradient(exact, case.z0, case.theta)
    error = zoo.relative_error((found.z0, found.theta), wanted) / (100 * rtol)
    assert error / 10 < found.error < 0.5


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("t1, may_refuse", [(5.0, False), (20.0, True), (30.0, True)])
def test_neighbours_that_part_are_right_or_refused(t1, may_refuse, rtol):
    theta, z0, ts = np.array([10.0, 28.0, 8 / 3]), np.ones(3), np.array([0.0, t1])
    wanted = square(lorenz, z0, ts, theta, rtol=1e-12, atol=1e-13, adjoint="discrete") if t1 < 10 else None
    try:
        found = square(lorenz, z0, ts, theta, rtol=rtol, atol=rtol / 100)
    except adjode.GradientError as error:
        assert may_refuse and "sensitive" in str(error)
    else:
        assert wanted is not None and right(found, wanted, (z0, ts, theta), rtol, rtol / 100, 20.0)


def wandering(t1, n, rtol, door):
    """The gradient of sum C z over n observations of Lorenz' system by one of the two front doors, a
    function; the true one by forward sensitivities; and z0 with theta."""
    rng = np.random.default_rng(5)
    rng.normal(size=(2, 3))
    weights, z0, theta = (
        rng.normal(size=(30, 3))[:n],
        np.array([1.0, 2.0, 20.0]),
        np.array([10.0, 28.0, 8 / 3]),
    )
    ts, options = np.linspace(0.0, t1, n), {"rtol": rtol, "atol": rtol / 100}
    f_z = jacobian(lambda z: lorenz(0.0, z, theta))
    f_theta = jacobian(lambda theta, z: lorenz(0.0, z, theta))

    def rates(t, flat):
        z, tangent = flat[:3], flat[3:].reshape(3, 6)
        own = np.hstack([np.zeros((3, 3)), f_theta(theta, z)])
        return np.append(lorenz(t, z, theta), f_z(z) @ tangent + own)

    start = np.append(z0, np.eye(3, 6))
    paths = solve_ivp(rates, (0.0, t1), start, "DOP853", ts, rtol=1e-12, atol=1e-13).y[3:]
    wanted = np.einsum("ni,ijn->j", weights, paths.reshape(3, 6, n))

    def by_odeint():
        loss = lambda z0, theta: anp.sum(weights * adjode.odeint(lorenz, z0, ts, theta, **options))
        return np.concatenate(grad(loss, (0, 1))(z0, theta))

    def by_gradient():
        seen = adjode.Observations(ts, lambda i, z: anp.sum(weights[i] * z))
        problem = adjode.InitialValueProblem(lorenz, z0, 0.0, t1, theta)
        found = adjode.gradient(problem, adjode.Loss(observations=seen), **options)
        return np.append(found.z0, found.theta)

    return {"odeint": by_odeint, "gradient": by_gradient}[door], wanted, np.append(z0, theta)


@pytest.mark.parametrize("door", ["odeint", "gradient"])
@pytest.mark.parametrize("t1, rtol", [(5.0, 1e-3), (5.0, 1e-4), (5.0, 1e-5), (8.0, 1e-3), (8.0, 1e-6)])
def test_many_quiet_observations_do_not_hide_a_flow_that_grows(t1, rtol, door):
    found, wanted, x = wandering(t1, 30, rtol, door)
    try:
        assert right(found(), wanted, x, rtol, rtol / 100, 1.0)
    except adjode.GradientError as error:
        assert door == "odeint" and "sensitive" in str(error)


def test_the_same_implicit_steps_again_say_nothing():
    # z far below atol: a looser solve takes the same two steps, and agrees to the last bit
    f = lambda t, z, theta: theta[0] * anp.tanh(z * 1e9) * 1e-9 * (1 + 0.5 * anp.cos(3 * t)) - 0.2 * z
    problem = adjode.InitialValueProblem(f, [1e-9], 0.0, 1.0, np.array([-3.0]))
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    found, better = (adjode.gradient(problem, loss, method="radau", atol=atol) for atol in (1e-8, 1e-18))
    assert adjode.solve(problem, method="radau").stats.steps == 2
    assert Guard(problem, loss, 1e-6, 1e-8).distance(found, better) < 0.1


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_an_adjoint_that_is_stiffer_than_its_problem(adjoint, rtol, zoo):
    # z rests on its slow curve from the start; lambda has the rate k, and jumps twenty times
    k, ts = 2e3, np.linspace(0.0, 10.0, 21)
    f = lambda t, z, theta: -k * (z - anp.sin(t)) + anp.cos(t) + theta
    try:
        found = square(f, [0.0], ts, 0.0, rtol=rtol, atol=rtol / 100, adjoint=adjoint)
    except adjode.GradientError as error:
        assert adjoint != "discrete" and 'adjoint="discrete"' in str(error)
        return
    # z = sin t + (theta / k) (1 - exp(-k t)) + z0 exp(-k t)
    wanted = 0.0, np.append(0.0, np.sin(ts[1:]) * np.cos(ts[1:])), np.sum(np.sin(ts)) / k
    assert right(found, wanted, (0.0, ts, 0.0), rtol, rtol / 100, 1.0)


@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("rtol", RTOLS)
def test_van_der_pol_is_right_or_refused(adjoint, rtol):
    # the case on which explicit discrete adjoints elsewhere are off by a factor, in silence
    f = lambda t, z, mu: anp.array([z[1], mu * (1 - z[0] ** 2) * z[1] - z[0]])
    problem = adjode.InitialValueProblem(f, [2.0, 0.0], 0.0, 20.0, 50.0)
    loss = adjode.Loss(terminal=lambda z, mu: 0.5 * anp.sum(z**2))
    try:
        found = adjode.gradient(problem, loss, adjoint=adjoint, rtol=rtol, atol=rtol / 100)
    except adjode.GradientError:
        assert adjoint != "discrete"
        return
    # by forward sensitivities and SciPy's Radau at 1e-11: see test_stiff
    wanted = np.array([2.3020061400, 0.0153473910, 0.0122599300])
    assert right(np.append(found.z0, found.theta), wanted, np.array([2.0, 0.0, 50.0]), rtol, rtol / 100, 1.7)


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("batched", [True, False])
def test_lambda_that_moves_while_z_rests_is_seen_and_repaired(batched, rtol):
    # z = 0 whatever the step; dz/dz0 = exp(sin(5 t) / 5) is for lambda alone to follow
    def f(t, z, theta):
        return anp.cos(5 * t) * z * (1.0 if batched else float(np.ndim(t) == 0) / (np.ndim(t) == 0))

    problem = adjode.InitialValueProblem(f, [0.0], 0.0, 10.0)
    found = adjode.gradient(problem, adjode.Loss(terminal=lambda z, theta: z[0]), rtol=rtol, atol=rtol / 100)
    assert found.z0[0] == pytest.approx(np.exp(np.sin(50) / 5), abs=100 * rtol)
    trajectory = adjode.solve(problem, rtol=rtol, atol=rtol / 100)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    rough = adjode.adjoint_discrete(problem, loss, trajectory)
    off = abs(rough.z0[0] / np.exp(np.sin(50) / 5) - 1)
    assert off < 10 * unresolved(problem, trajectory, rough, batch(problem, trajectory))


JUMPS = {
    "switch": lambda t, z, theta: theta[0] - theta[1] * (z > 0.5) + 0.0 * z,
    "where": lambda t, z, theta: anp.where(z > 0.5, theta[0] * z, 1.2 - theta[1] + 0.0 * z),
    "stairs": lambda t, z, theta: theta[0] + 0.3 * anp.floor(2 * z) * theta[1],
    "all but": lambda t, z, theta: theta[0] - theta[1] * (1 + anp.tanh(1e14 * (z - 0.5))) / 2,
}


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("adjoint", STRATEGIES)
@pytest.mark.parametrize("name", JUMPS)
def test_a_field_that_jumps_as_z_moves_is_refused(name, adjoint, rtol):
    with pytest.raises(adjode.GradientError, match="f jumps, or nearly so, where z is at t ="):
        square(JUMPS[name], [0.0], [0.0, 2.0], np.array([1.0, 0.5]), adjoint=adjoint, rtol=rtol)


@pytest.mark.parametrize("rtol", RTOLS)
def test_a_jump_beside_an_entry_that_is_large_is_refused(rtol):
    f = lambda t, z, theta: anp.stack([theta * (2.0 - (z[0] > 0.5)), 0.0 * z[1]])
    with pytest.raises(adjode.GradientError, match="f jumps, or nearly so"):
        square(f, [0.0, 1e13], [0.0, 2.0], 0.5, rtol=rtol)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_rounding_at_rest_is_no_jump(way):
    """The steps there are as long as is stable, some are tried again, and f is a small difference."""
    room = np.array([1.2, 0.74, 1.69])
    f = lambda t, z, k: 50.0 * z * (1 - z / k)
    problem = adjode.InitialValueProblem(f, room, 0.0, 2.0 * way, room)
    ends = room, np.nextafter(room, 0.0)  # which have nothing between them
    assert np.all(f(0.0, ends[0], room) != f(0.0, ends[1], room))
    steps = lambda n: SimpleNamespace(
        replayed=None, ts=np.array([0.0, 2.0 * way]), stats=SimpleNamespace(steps=n), hard=((0, 0.0, *ends),)
    )
    refuse_jumps(problem, steps(20))
    with pytest.raises(adjode.GradientError, match="f jumps"):  # in longer steps that much is not rounding
        refuse_jumps(problem, steps(0.01))


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
@pytest.mark.parametrize("adjoint", ["discrete", "interpolated", "quadrature"])
def test_jumps_in_time_and_kinks_are_no_jumps(adjoint, rtol):
    # z' = theta (t > 0.37) - z / 2, and a kink: z' = max(z, 1/2) - theta / 2
    f = lambda t, z, theta: theta * (t > 0.37) - z / 2
    found = square(f, [0.3], [0.0, 1.0], 1.0, adjoint=adjoint, rtol=rtol, atol=rtol / 100)
    end = 0.3 * np.exp(-0.5) + 2 * (1 - np.exp(-0.315))
    wanted = (
        end * np.exp(-0.5),
        end * np.array([0.15 * np.exp(-0.5), 1 - end / 2]),
        end * 2 * (1 - np.exp(-0.315)),
    )
    wanted[1][0] = end * 0.15 * np.exp(-0.5)
    assert right(found, wanted, (0.3, np.array([0.0, 1.0]), 1.0), rtol, rtol / 100, 1.0)
    kink = lambda t, z, theta: theta * anp.maximum(z, 0.5)
    found = square(kink, [0.2], [0.0, 1.5], 1.0, adjoint=adjoint, rtol=rtol, atol=rtol / 100)
    # z = z0 + theta t / 2 up to 1/2, at theta t = 1 - 2 z0 = 0.6; then exp(theta t - 0.6) / 2
    end = np.exp(0.9) / 2
    wanted = end * 2 * end, end * np.array([-end, end]), end * 1.5 * end
    assert right(found, wanted, (0.2, np.array([0.0, 1.5]), 1.0), rtol, rtol / 100, 1.2)


def test_a_budget_for_the_way_back_is_relative_to_the_way_forth():
    f = lambda t, z, theta: -theta * (z - anp.sin(t)) + anp.cos(t)
    problem = adjode.InitialValueProblem(f, [0.0], 0.0, 10.0, 1e5)
    trajectory = adjode.solve(problem)
    loss, forth = adjode.Loss(terminal=lambda z, theta: z[0]), trajectory.stats.f_evaluations
    for adjoint in (adjode.adjoint_interpolated, adjode.adjoint_quadrature):
        with pytest.raises(
            adjode.GradientError, match=r'used \d+ evaluations.*Use adjoint="discrete"'
        ) as error:
            adjoint(problem, loss, trajectory)
        used = int(str(error.value).split("used ")[1].split()[0])
        assert used == 10 * (forth + 500)


def test_amplified_is_the_error_that_the_loss_sees():
    # z' = A z with a fast growth that decay hides: the local errors times the flow, by hand
    a = np.array([[1.0, 30.0], [0.0, -1.0]])
    problem = adjode.InitialValueProblem(lambda t, z, theta: anp.dot(a, z), [-15.5, 1.0], 0.0, 3.0)
    trajectory = adjode.solve(problem, method="dopri5", rtol=1e-5, atol=1e-7)
    found = adjode.adjoint_discrete(problem, adjode.Loss(terminal=lambda z, theta: z[0]), trajectory)
    rows = [expm(a * (3.0 - t))[0] for t in trajectory.ts[1:]]
    steps = np.diff(trajectory.ts)[:, None]
    errors = np.abs(steps * np.einsum("s,nsd->nd", trajectory.tableau.errors[0], trajectory.stages))
    size, zs = np.abs(trajectory.zs[-1, 0]) + 0.01, np.abs(trajectory.zs) + 0.01
    back = max(np.sum(np.abs(expm(a * (3.0 - t))[0]) * z) for t, z in zip(trajectory.ts, zs, strict=True))
    assert back > 2 * size
    wanted = np.sum(np.abs(rows) * errors) / size * back / size
    assert amplified(trajectory, found, 1e-5, 1e-7, True) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("scheme, steps", [("dop853", 40), ("dop853", 20), ("dopri5", 60)])
@pytest.mark.parametrize("batched", [True, False])
def test_unresolved_is_the_error_of_lambda_to_a_factor(scheme, steps, batched):
    # a rotation by 30: lambda of the scheme against lambda of the flow
    spin = np.array([[0.0, -10.0], [10.0, 0.0]])
    f = lambda t, z, theta: anp.dot(spin, z) if batched or (np.ndim(t) == 0 and np.shape(z) == (2,)) else None
    problem = adjode.InitialValueProblem(f, [1.0, 0.0], 0.0, 3.0)
    trajectory = adjode.solve_fixed(problem, getattr(adjode, scheme)(), steps)
    found = adjode.adjoint_discrete(problem, adjode.Loss(terminal=lambda z, theta: z[0]), trajectory)
    error = np.linalg.norm(found.z0 - expm(spin * 3.0)[0])
    many = batch(problem, trajectory)
    assert (many is not None) == batched
    assert error / 10 < unresolved(problem, trajectory, found, many) < 100 * error


def test_rows_that_part_on_their_way_back_are_no_false_certainty():
    # Lorenz with eight observations: the states are right to a few parts in a thousand, the gradient
    # is not, since the rows cancel; the estimate must see what another solve does
    ts, theta = np.linspace(0.0, 7.0, 9), np.array([10.0, 28.0, 8 / 3])
    problem = adjode.InitialValueProblem(lorenz, [1.0, 2.0, 20.0], 0.0, 7.0, theta)
    looks = adjode.Observations(ts[1:], lambda i, z: 0.5 * anp.sum((z - 5 * np.cos(i + np.arange(3))) ** 2))
    loss = adjode.Loss(observations=looks)
    rough, tight = (adjode.solve(problem, rtol=r, atol=r / 100, ts=ts) for r in (1e-3, 1e-9))
    guard = Guard(problem, loss, 1e-3, 1e-5)
    found, wanted = (adjode.adjoint_discrete(problem, loss, x) for x in (rough, tight))
    assert sum(guard.estimate(rough, found, True)) > guard.distance(found, wanted) / 10 > 0.5


def test_a_loss_that_saw_other_states_is_not_repaired_but_refused():
    # a Kepler orbit: phases shift, and rows that were made from shifted states cancel otherwise
    def f(t, z, m):
        r3 = (z[0] ** 2 + z[1] ** 2) ** 1.5
        return anp.array([z[2], z[3], -m * z[0] / r3, -m * z[1] / r3])

    z0, ts = np.array([0.4, 0.0, 0.0, 2.0]), np.array([0.0, 60.0])
    with pytest.raises(adjode.GradientError, match="the loss has seen"):
        square(f, z0, ts, 1.0, rtol=1e-6, atol=1e-8)
    # with its loss at hand, all of it is found once more from the tighter solve
    problem = adjode.InitialValueProblem(f, z0, 0.0, 60.0, 1.0)
    loss = adjode.Loss(terminal=lambda z, m: 0.5 * anp.sum(z**2))
    found, wanted = (adjode.gradient(problem, loss, rtol=r, atol=r / 100) for r in (1e-6, 1e-11))
    parts = lambda g: np.concatenate([g.z0, [g.theta, g.t1]])
    assert right(parts(found), parts(wanted), np.array([*z0, 1.0, 60.0]), 1e-6, 1e-8, 1.0)


def test_a_running_cost_drives_lambda_too():
    # lambda' = -lambda f_z - g_z: without g_z its equation would seem to be missed
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [1.0], 0.0, 1.0, 0.5)
    loss = adjode.Loss(running=lambda t, z, theta: 5.0 * anp.sum(z**2))
    assert adjode.gradient(problem, loss, rtol=1e-8, atol=1e-10).error < 1e-2


@pytest.mark.parametrize("adjoint", STRATEGIES)
def test_a_derivative_that_does_not_exist_is_refused(adjoint):
    # sqrt(z) at z = 0: a value, but no derivative
    f = lambda t, z, theta: theta[0] * anp.sqrt(z) + theta[1]
    with pytest.raises(adjode.GradientError), np.errstate(all="ignore"):
        square(f, [0.0], [0.0, 1.0], np.array([1.0, 0.5]), adjoint=adjoint)


def test_helpers_of_the_guard():
    assert length(np.array([3e200, 4e200])) == pytest.approx(5e200) and length(np.zeros(2)) == 0
    assert length(np.array([3e-200, 4e-200])) == pytest.approx(5e-200, abs=0) and length(np.zeros(0)) == 0
    np.testing.assert_array_equal(merged(np.array([3.0, 1.0]), np.array([2.0, 1.0])), [3, 2, 1])
    np.testing.assert_array_equal(merged(np.array([1.0, 3.0]), None), [1, 3])
    case = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [200.0], 0.0, 1.0, 0.5)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    guard, found = Guard(case, loss, 1e-6, 1e-8), adjode.gradient(case, loss)
    np.testing.assert_allclose(guard.vector(found), [200 * found.z0[0], found.theta, found.t0, found.t1])
    assert guard.distance(found, found) == 0 and 0 < found.error < 0.5


def knotted(n):
    """A problem whose theta(t) is linear between n knots, and a loss of its end."""
    knots = np.linspace(0.5, 4.0, n)

    def f(t, z, theta):
        hats = anp.maximum(0.0, 1 - anp.abs(t - knots) / (knots[1] - knots[0]))
        turn = -anp.dot(hats, theta) * anp.sin(z[0]) - 0.15 * z[1] + 0.5 * anp.cos(2 * t)
        return anp.array([z[1], turn])

    problem = adjode.InitialValueProblem(f, [1.2, 0.0], 0.5, 4.0, 1.5 + 0.4 * np.sin(knots))
    loss = adjode.Loss(terminal=lambda z, theta: 0.5 * anp.sum((z - anp.array([-0.4, 0.9])) ** 2))
    stops = adjode.solve(problem, rtol=1e-11, atol=1e-12, ts=knots[1:-1])  # smooth from knot to knot
    return problem, loss, adjode.adjoint_discrete(problem, loss, stops).theta


@pytest.mark.parametrize("rtol", [1e-6, 1e-9])
def test_a_parameter_that_acts_for_a_moment_is_seen_and_resolved(rtol):
    # steps that suit z pass over the hats of f_theta
    problem, loss, exact = knotted(29)
    theta = problem.theta
    plain = adjode.solve(problem, rtol=rtol, atol=rtol / 100)
    rough = adjode.adjoint_discrete(problem, loss, plain).theta
    found = adjode.gradient(problem, loss, rtol=rtol, atol=rtol / 100).theta
    allowed = 100 * rtol * np.linalg.norm(theta * exact)
    assert np.linalg.norm(theta * (rough - exact)) > 10 * allowed  # the hats are passed over
    assert np.linalg.norm(theta * (found - exact)) < allowed


def test_the_same_steps_again_settle_no_doubt():
    # the pulse is between steps of one tenth of the interval, whatever the tolerance
    f = lambda t, z, theta: -z + theta * anp.exp(-(((t - 7) / 0.1) ** 2))
    problem = adjode.InitialValueProblem(f, [0.0], 0.0, 10.0, 0.0)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    found = adjode.gradient(problem, loss, rtol=1e-6, atol=1e-8)
    exact = quad(lambda t: np.exp(t - 10 - ((t - 7) / 0.1) ** 2), 6, 8, epsabs=1e-14)[0]
    assert found.theta == pytest.approx(exact, rel=1e-4)


def decay_guard(**kind):
    """A guard, a trajectory of as many steps at any tolerance, and its discrete gradient."""
    problem = adjode.InitialValueProblem(lambda t, z, theta: -theta * z, [1.0], 0.0, 1.0, 0.5)
    loss = adjode.Loss(observations=adjode.Observations([1.0], lambda i, z: z[0]))
    trajectory = adjode.solve(problem, rtol=1e-3, atol=1e-5, ts=[1.0])
    found = adjode.adjoint_discrete(problem, loss, trajectory)
    return Guard(problem, loss, 1e-3, 1e-5, **kind), trajectory, found


def test_a_looser_solve_of_as_many_steps_tells_nothing():
    guard, trajectory, found = decay_guard()
    assert guard.from_looser(trajectory, found) == np.inf
    longer = adjode.InitialValueProblem(lambda t, z, theta: -theta * z, [1.0], 0.0, 40.0, 0.5)
    guard = Guard(longer, adjode.Loss(terminal=lambda z, theta: z[0]), 1e-6, 1e-8)
    trajectory = adjode.solve(longer)
    assert guard.from_looser(trajectory, adjode.adjoint_discrete(longer, guard.loss, trajectory)) < 0.1


@pytest.mark.parametrize("scale, refused", [(1.05, False), (1.08, False), (1.1, True), (1.2, True)])
def test_another_strategy_is_held_against_a_better_gradient(scale, refused):
    guard, trajectory, found = decay_guard()  # a tenth is allowed at rtol = 1e-3
    found = replace(found, theta=scale * found.theta, z0=scale * found.z0, t0=scale * found.t0,
                    t1=scale * found.t1, ts=scale * found.ts)  # fmt: skip
    if refused:
        with pytest.raises(adjode.GradientError, match="off by"):
            guard.compared(trajectory, found)
    else:
        assert guard.compared(trajectory, found).error == pytest.approx(10 * (scale - 1), rel=0.05)


@pytest.mark.parametrize("slope, refused", [(0.05, False), (0.2, True)])
def test_rows_that_a_better_solve_would_change_count(slope, refused):
    rows = adjode.Observations([1.0], lambda i, z: z[0], lambda i, z: np.full(1, 1 + slope))
    guard, trajectory, found = decay_guard(moved=adjode.Loss(observations=rows))
    if refused:
        with pytest.raises(adjode.GradientError, match="off by"):
            guard.compared(trajectory, found)
    else:
        assert 0.2 < guard.compared(trajectory, found).error < 0.9


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_lambda_has_two_ends_at_each_node(way):
    jumps, nodes = way * np.array([0.0, 1, 1, 2, 3, 3]) - 7, way * np.array([0.0, 0.5, 1, 2, 3]) - 7
    path = adjode.AdjointPath(jumps, np.arange(10.0, 16.0).reshape(6, 1))
    problem = adjode.InitialValueProblem(lambda t, z, theta: -z, [1.0], 0.0, way)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    trajectory = adjode.solve(problem)
    found = replace(adjode.adjoint_discrete(problem, loss, trajectory), path=path)
    after, before = ends_of_lambda(replace(trajectory, ts=nodes), found)
    np.testing.assert_array_equal(after[:, 0], [10, 10, 12, 13, 15])
    np.testing.assert_array_equal(before[:, 0], [10, 11, 11, 13, 14])


@pytest.mark.parametrize("scheme", ["dopri5", "dop853"])
def test_embedded_errors_are_those_of_the_step_control(scheme):
    tableau, rng = getattr(adjode, scheme)(), np.random.default_rng(1)
    k, h = rng.normal(size=(4, len(tableau.b), 3)), np.array([0.1, -0.2, 0.3, 0.4])
    k[3] = 0.0
    found = embedded(tableau.errors, h, k)
    wanted = [[error_norm(tableau, k[n, :, [i]].T, h[n], 1.0) for i in range(3)] for n in range(4)]
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_a_continuous_adjoint_has_errors_of_its_own_steps():
    # 0.03 rtol |z| a step of the way forth and back: z = exp(-t), lambda = exp(t - 3), lambda z = exp(-3)
    problem = adjode.InitialValueProblem(lambda t, z, theta: -z, [1.0], 0.0, 3.0)
    trajectory, loss = adjode.solve(problem), adjode.Loss(terminal=lambda z, theta: 7.0 * z[0])
    found = adjode.adjoint_discrete(problem, loss, trajectory)
    assert amplified(trajectory, found, 1e-6, 1e-20, False) == pytest.approx(
        0.03e-6 * trajectory.stats.steps, rel=1e-3
    )
    coarse = adjode.solve(problem, store="stops")  # as many steps, but no nodes between
    found = adjode.adjoint_backsolve(problem, loss, coarse)
    stops = amplified(coarse, found, 1e-6, 1e-20, False)
    assert stops == pytest.approx(0.03e-6 * coarse.stats.steps, rel=1e-3)
    nothing = adjode.Loss(terminal=lambda z, theta: 0.0 * z[0])
    found = adjode.adjoint_discrete(problem, nothing, trajectory)
    assert amplified(trajectory, found, 1e-6, 1e-8, False) == 0.0


def test_a_running_cost_sees_the_states_on_the_way():
    # g = 5 z, z = 1: lambda = 5 (4 - t), with the median 10 and the largest value 20, which is by how
    # much more the rows count at the start; the errors come to rtol by hand
    problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, [1.0], 0.0, 4.0)
    loss = adjode.Loss(running=lambda t, z, theta: 5.0 * z[0])
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 4, running=loss.running)
    found = adjode.adjoint_discrete(problem, loss, trajectory)
    seen = amplified(trajectory, found, 1e-6, 1e-20, False)
    assert seen == pytest.approx(0.03e-6 * (15 + 10 + 5) / 10 * 20 / 10, rel=1e-9)  # lambda where steps end
    late = adjode.Loss(running=loss.running, terminal=lambda z, theta: 30.0 * z[0])
    found = adjode.adjoint_discrete(problem, late, trajectory)
    seen = amplified(trajectory, found, 1e-6, 1e-20, False)  # 30 at the end, 40 in the middle, 50 before
    assert seen == pytest.approx(0.03e-6 * (45 + 40 + 35 + 30) / 40 * 50 / 40, rel=1e-9)


def test_what_stands_out_is_a_thousand_times_its_neighbours():
    out = lambda values, steps=None: stands_out(
        np.array(values), np.arange(len(values)) if steps is None else np.array(steps)
    ).tolist()
    assert out([1, 1, 1001, 1, 1.0]) == [False, False, True, False, False]
    assert out([1, 1, 999, 1, 1.0]) == [False] * 5
    assert out([0, 0, 1, 0, 0.0]) == [False, False, True, False, False]
    for place in (0, 1, 3, 4):  # each of the two before and of the two after counts
        values = [1.0, 1, 1e6, 1, 1]
        values[place] = 2e3
        assert not out(values)[2]
    assert out([1e5, 1.0, 1, 1e5]) == [True, False, False, True]
    assert out([5e4, 1e9, 1, 1, 1e5, 1.0], [0, 1, 4, 5, 7, 9]) == [False, True, False, False, True, False]
    assert out([1.0, 1e9, 1.0], [0, 10, 20]) == [False] * 3  # whose neighbours are not known


def test_a_cubic_lambda_is_resolved_and_a_quartic_one_by_its_fifth_derivative():
    # lambda' = -g_z with g = p(t) z: lambda = 1 + 2 (the integral of p); z rests
    def missed(power, steps=8):
        problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, [1.0], 0.0, 2.0)
        running = lambda t, z, theta: (power + 1) * t**power * z[0]
        loss = adjode.Loss(running=running, terminal=lambda z, theta: z[0])
        trajectory = adjode.solve_fixed(problem, adjode.dopri5(), steps, running=running)
        found = adjode.adjoint_discrete(problem, loss, trajectory)
        return unresolved(problem, trajectory, found, None, running)

    # the slope in the middle of the cubic is off by h^4 / 16 for t^5, and the integral by that times h
    assert missed(2) < 1e-12 and missed(4) > 1e-6


@pytest.mark.parametrize("theta", [0.5, 20.0])
@pytest.mark.parametrize("batched", [True, False])
def test_the_error_of_the_integral_over_theta_is_that_of_the_error_weights(batched, theta):
    # lambda = 2, f_theta = cos(5 t): |h e cos(5 t_i)| times lambda and |w|, by hand
    def f(t, z, theta):
        assert batched or np.ndim(z) == 1
        return theta * anp.cos(5 * t) + 0.0 * z

    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 3.0, theta)
    loss = adjode.Loss(terminal=lambda z, theta: 2.0 * z[0])
    trajectory = adjode.solve_fixed(problem, adjode.dopri5(), 12)
    found, many = adjode.adjoint_discrete(problem, loss, trajectory), batch(problem, trajectory)
    assert (many is not None) == batched
    tableau, h = trajectory.tableau, 0.25
    slopes = np.cos(5 * (trajectory.ts[:-1, None] + h * tableau.c))
    w = abs(np.random.default_rng(0).normal()) * max(theta, 1.0)
    wanted = 2.0 * w * np.sum(np.abs(h * slopes @ tableau.errors[0]))
    assert unseen(problem, trajectory, found, many) == pytest.approx(wanted, rel=1e-6)


def test_what_cannot_be_nudged_tells_nothing():
    rows = np.array([1.0, 2.0])
    by_index = lambda t, z, theta: -rows[int(theta) if theta == int(theta) else 9] * z
    f = lambda t, z, theta: by_index(t, z, getattr(theta, "_value", theta))
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 1.0, 1.0)
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    trajectory = adjode.solve(problem)
    found = adjode.adjoint_discrete(problem, loss, trajectory)
    assert unseen(problem, trajectory, found, None) == 0.0
    free = adjode.InitialValueProblem(lambda t, z, theta: -z, [1.0], 0.0, 1.0)
    trajectory = adjode.solve(free)
    assert unseen(free, trajectory, adjode.adjoint_discrete(free, loss, trajectory), None) == 0.0


HARD = {  # f between z = 0 and z = 1, and whether it jumps there
    "jump": (lambda z: 1.0 * (z > 0.3), True),
    "jump at an end": (lambda z: 1.0 * (z > 0.999), True),
    "jump on a slope": (lambda z: z + 1.0 * (z > 0.7), True),
    "two jumps": (lambda z: 1.0 * (z > 0.2) + 1.2 * (z > 0.8), True),
    "steep": (lambda z: np.tanh(1000 * (z - 0.4)), True),
    "less steep": (lambda z: np.tanh(8 * (z - 0.4)), False),
    "slope": (lambda z: z, False),
    "kink": (lambda z: np.maximum(z, 0.4), False),
    "nothing": (lambda z: 0 * z, False),
    "small beside f": (lambda z: 1 + 1e-7 * (z > 0.3), False),
    "not so small": (lambda z: 1 + 1e-5 * (z > 0.3), True),
    "a jump just over a millionth of f": (lambda z: 3e-7 * (z > 0.3), True),
    "a bump between": (lambda z: 1.0 * (np.abs(z - 0.5) < 0.01), True),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", HARD)
def test_a_jump_is_what_halves_of_halves_do_not_make_smaller(name, turned):
    field, jumps = HARD[name]
    f = lambda t, z, theta: theta * np.array([field(z[0, 0]), t]).reshape(2, 1)
    problem = adjode.InitialValueProblem(f, np.zeros((2, 1)), 0.0, 1.0, 3.0)
    ends = np.zeros(2), np.array([1.0, 0.0])
    hard = (0, 0.25, *(ends[::-1] if turned else ends))
    plain = adjode.solve_fixed(replace(problem, f=lambda t, z, theta: 0 * z), adjode.euler(), 1)
    if jumps:
        with pytest.raises(adjode.GradientError, match=r"f jumps, or nearly so, where z is at t = 0\.25"):
            refuse_jumps(problem, replace(plain, hard=(hard,)))
    else:
        refuse_jumps(problem, replace(plain, hard=(hard,)))
    refuse_jumps(problem, replace(plain, hard=()))


def test_what_a_gradient_is_measured_by():
    """Entries times max(|x|, 1); 100 rtol of their length and 100 atol of the largest row of the loss."""
    problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, [20.0, 0.1], 0.0, 2.0, 3.0)
    seen = adjode.Observations([1.0, 2.0], lambda i, z: [5.0, 7.0][i] * z[0])
    loss = adjode.Loss(terminal=lambda z, theta: -4.0 * z[1] + theta, observations=seen)
    found = adjode.adjoint_discrete(problem, loss, adjode.solve(problem, ts=seen.ts))
    guard = Guard(problem, loss, 1e-3, 1e-2)
    # z0: 20 (5 + 7), -4; theta: 3; the times: nothing moves
    wanted = np.array([240.0, -4, 3, 0, 0, 0, 0])
    np.testing.assert_allclose(guard.vector(found), wanted)
    assert guard.allowed(found) == pytest.approx(0.1 * np.linalg.norm(wanted) + 1.0 * 7)
    last = Guard(problem, adjode.Loss(terminal=lambda z, theta: -9.0 * z[1]), 1e-3, 1e-2)
    other = adjode.adjoint_discrete(problem, last.loss, adjode.solve(problem))
    assert last.allowed(other) == pytest.approx(0.1 * 9 + 1.0 * 9)
    nothing = adjode.adjoint_discrete(
        problem, adjode.Loss(terminal=lambda z, theta: 0.0 * z[0]), adjode.solve(problem)
    )
    assert last.allowed(nothing) == pytest.approx(1.0)  # as if the rows were of size 1
    off = replace(found, z0=found.z0 + np.array([0.3, 0.0]), theta=found.theta - 8.0)
    assert guard.distance(off, found) == pytest.approx(np.hypot(6, 24) / guard.allowed(found))


def test_a_grid_is_halved_and_merged():
    np.testing.assert_array_equal(halved(np.array([0.0, 1.0, 3.0])), [0, 0.5, 1, 2, 3])
    np.testing.assert_array_equal(halved(np.array([2.0, 1.0])), [2, 1.5, 1])


@pytest.mark.parametrize("method", ["dop853", "radau"])
def test_another_solve_has_the_tolerances_times_a_factor_and_steps_no_longer_than_a_grid(method):
    problem = adjode.InitialValueProblem(lambda t, z, theta: -theta * z, [1.0], 0.0, 2.0, 0.5)
    seen = adjode.Observations([0.7], lambda i, z: z[0])
    running = lambda t, z, theta: z[0]
    guard = Guard(problem, adjode.Loss(running=running, observations=seen), 1e-5, 1e-7)
    tableau, grid = adjode.solve(problem, method=method).tableau, np.linspace(0.0, 2.0, 41)
    options = {"method": method, "running": running, "store": "stages"}
    for factor, rtol in [(10.0, 10.0 * 1e-5), (0.1, 0.1 * 1e-5), (1e-12, 1e-13)][: 3 - tableau.implicit]:
        plain, fine = guard.solved(factor, tableau), guard.solved(factor, tableau, grid)
        wanted = adjode.solve(problem, ts=seen.ts, rtol=rtol, atol=factor * 1e-7, **options)
        np.testing.assert_array_equal(plain.zs, wanted.zs)
        assert 0.7 in plain.ts and 0.7 in fine.ts and plain.running is not None
        assert set(grid) <= set(fine.ts) or method == "radau"
        np.testing.assert_array_equal(guard.anew(factor, tableau, grid)[0].ts, fine.ts)
    assert guard.solved(1.0, tableau, store="times").step_times is not None
    blown = replace(problem, f=lambda t, z, theta: z**2)
    with pytest.raises(
        adjode.GradientError, match=r"another solve, with rtol = 1e-06, fails: the solve stopped"
    ):
        replace(guard, problem=blown, loss=adjode.Loss(running=running)).solved(0.1, tableau)


def test_two_gradients_that_are_both_lost_may_agree_and_confirm_nothing():
    """At 1e-3 the gradient is off by a half, at 1e-2 by three fifths, and in the same direction."""

    def f(t, z, theta):
        x, y, w = z
        return anp.array([theta[0] * (y - x), x * (theta[1] - w) - y, x * y - theta[2] * w])

    z0, theta = [0.62865111, -0.66052432, 23.20211325], np.array([10.0, 28.0, 8 / 3])
    problem = adjode.InitialValueProblem(f, z0, 0.0, 8.0, theta)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))
    exact = adjode.adjoint_discrete(problem, loss, adjode.solve(problem, rtol=1e-12, atol=1e-12))
    found = adjode.gradient(problem, loss, rtol=1e-3, atol=1e-5)
    scale = np.maximum(np.abs(theta), 1.0)
    assert np.linalg.norm((found.theta - exact.theta) * scale) < 0.1 * np.linalg.norm(exact.theta * scale)


@pytest.mark.parametrize("adjoint", ["interpolated", "quadrature"])
def test_other_strategies_do_not_trust_a_path_of_few_nodes(adjoint):
    # Lorenz to T = 8 at 1e-3: the states are lost, and lambda is stored at few of the nodes
    theta, z0, ts = np.array([10.0, 28.0, 8 / 3]), np.ones(3), np.array([0.0, 8.0])
    wanted = square(lorenz, z0, ts, theta, rtol=1e-11, atol=1e-12)
    try:
        found = square(lorenz, z0, ts, theta, rtol=1e-3, atol=1e-5, adjoint=adjoint)
    except adjode.GradientError:
        return
    assert right(found, wanted, (z0, ts, theta), 1e-3, 1e-5, 20.0)


@pytest.mark.parametrize("z0", [(0.6286511, -0.6605243, 23.2021132), (2.7042279, 1.0732956, 21.0661181)])
def test_a_looser_solve_is_no_witness_where_its_errors_are_as_large_as_z(z0):
    # these are 53 and 41 % off, and the looser gradient agrees with them to a few parts in a hundred
    problem = adjode.InitialValueProblem(lorenz, z0, 0.0, 8.0, np.array([10.0, 28.0, 8 / 3]))
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))
    with pytest.raises(adjode.GradientError, match="tighter solve"):
        adjode.gradient(problem, loss, rtol=1e-3, atol=1e-5, adjoint="checkpointed")


@pytest.mark.parametrize(
    "draw, t1, n, rtol", [(372, 5.0, 10, 1e-4), (193, 8.0, 30, 1e-4), (330, 5.0, 2, 1e-4)]
)
def test_a_flow_that_pulls_neighbours_apart_where_no_row_looks_is_seen(draw, t1, n, rtol):
    # lambda grows by 4 to 23 on its way back, errors of z by a hundred to a thousand on their way forth
    rng, theta = np.random.default_rng(draw), np.array([10.0, 28.0, 8 / 3])
    z0, ts = np.array([1.0, 2.0, 20.0]) + 0.5 * rng.normal(size=3), np.linspace(0.0, t1, n)
    rows = rng.normal(size=(n, 3))
    loss = lambda *args, **options: np.sum(rows * adjode.odeint(lorenz, *args, **options))
    wanted, found = [
        lambda rtol=rtol: grad(lambda *args: loss(*args, rtol=rtol, atol=rtol / 100), (0, 1, 2))(
            z0, ts, theta
        )
        for rtol in (1e-12, rtol)
    ]
    size = np.max(np.abs(rows))
    with contextlib.suppress(adjode.GradientError):
        assert right(found(), wanted(), (z0, ts, theta), rtol, rtol / 100, size)
    problem = adjode.InitialValueProblem(lorenz, z0, 0.0, t1, theta)
    seen = adjode.Observations(ts, lambda i, z: np.sum(rows[i] * z), lambda i, z: rows[i])
    guard = Guard(problem, adjode.Loss(observations=seen), rtol, rtol / 100)
    trajectory = adjode.solve(problem, rtol=rtol, atol=rtol / 100, ts=ts)
    gradient, sweep = fast.swept(problem, guard.loss, trajectory)
    assert guard.astray(trajectory, sweep) > 0.5  # benign ones are below a tenth
    assert (
        sum(guard.estimate(trajectory, gradient, True, sweep))
        > 0.5
        > sum(guard.estimate(trajectory, gradient, True, None))
    )
    assert guard.astray(trajectory, None) == 0.0


@pytest.mark.parametrize("span", [(0.0, 2.0), (2.0, 0.0)])
def test_reach_is_what_the_errors_of_the_steps_come_to(span):
    f = lambda t, z, theta: theta * anp.sin(z)
    problem = adjode.InitialValueProblem(f, [[1.0, -2.0], [0.5, 3.0]], *span, 1.5)
    trajectory = adjode.solve(problem, rtol=1e-4, atol=1e-6)
    _, sweep = fast.swept(problem, adjode.Loss(terminal=lambda z, theta: anp.sum(z)), trajectory)
    errors = embedded(trajectory.tableau.errors, np.diff(trajectory.ts), trajectory.stages)
    errors = errors * np.sign(np.random.default_rng(0).normal(size=errors.shape))
    moved, far, eps = np.zeros(4), [], 1e-6
    moves, largest = reach(trajectory, sweep, 1e-4, 1e-6)
    for n, h in enumerate(np.diff(trajectory.ts)):
        step = lambda z, n=n, h=h: adjode.rk_step(trajectory.tableau, f, trajectory.ts[n], z, 1.5, h)
        z, size = trajectory.zs[n].ravel(), max(np.max(np.abs(moved)), 1e-300)
        moved = (step(z + eps / size * moved) - step(z - eps / size * moved)) / (2 * eps) * size + errors[n]
        far.append(np.max(np.abs(moved)) / (np.max(np.abs(trajectory.zs[n + 1])) + 0.01))
        np.testing.assert_allclose(moves[n + 1], moved, rtol=1e-5, atol=1e-6 * np.max(np.abs(moved)))
    assert largest == pytest.approx(max(far), rel=1e-6)


def scaled(found, factor):
    """All derivatives times a factor."""
    return replace(found, z0=factor * found.z0, theta=factor * found.theta, t0=factor * found.t0,
                   t1=factor * found.t1, ts=factor * found.ts)  # fmt: skip


def test_a_witness_is_called_for_what_it_can_tell(monkeypatch):
    guard, trajectory, found = decay_guard()
    monkeypatch.setattr(Guard, "from_halves", lambda self, *args: ("halves", *args))
    monkeypatch.setattr(Guard, "from_looser", lambda self, *args: ("looser", *args))
    ahead, none = SimpleNamespace(sees_ahead=True), SimpleNamespace(sees_ahead=False)
    assert guard.by_witness(trajectory, found, ahead, 999.0, 5.0) == ("halves", trajectory, found, ahead, 5.0)
    assert guard.by_witness(trajectory, found, ahead, 1001.0, 0.0) == np.inf
    for sweep in (None, none):
        assert guard.by_witness(trajectory, found, sweep, 1.0, 0.19) == ("looser", trajectory, found)
        assert guard.by_witness(trajectory, found, sweep, 1.0, 0.21) == np.inf
        assert guard.by_witness(trajectory, found, sweep, 1001.0, 0.19) == np.inf
    driven = replace(guard, loss=replace(guard.loss, running=lambda t, z, theta: 0.0))
    assert driven.by_witness(trajectory, found, ahead, 1.0, 0.19) == ("looser", trajectory, found)


def test_lambda_does_not_know_all_rows_of_a_running_cost():
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [1.0, 0.4], 0.0, 1.0, -0.5)
    loss = adjode.Loss(
        terminal=lambda z, theta: z[0] ** 2, running=lambda t, z, theta: anp.sum((z - 0.3) ** 2)
    )
    trajectory = adjode.solve(problem, rtol=1e-3, atol=1e-5, running=loss.running)
    _, sweep = fast.swept(problem, loss, trajectory)
    moves, far = reach(trajectory, sweep, 1e-3, 1e-5)
    far = max(far, rows_moved(problem, loss, trajectory, moves))
    assert Guard(problem, loss, 1e-3, 1e-5).astray(trajectory, sweep) == 4.0 * far / 0.1 < 0.2


def test_halves_are_a_witness_for_the_rows_as_they_may_be_and_for_none_where_f_breaks_off():
    problem = adjode.InitialValueProblem(lorenz, np.ones(3), 0.0, 3.0, np.array([10.0, 28.0, 8 / 3]))
    loss, other = (adjode.Loss(terminal=lambda z, theta, s=s: s * anp.sum(z**2)) for s in (1.0, 1.0004))
    trajectory = adjode.solve(problem, rtol=1e-4, atol=1e-6, method="dop853")
    found, sweep = fast.swept(problem, loss, trajectory)
    errors, moves = misses(trajectory, sweep)
    finer = in_halves(trajectory, sweep, errors, moves)
    for moved in (None, other):
        guard = Guard(problem, loss, 1e-4, 1e-6, moved)
        better, seen = (adjode.adjoint_fast(problem, rows or loss, finer) for rows in (None, moved))
        wanted = guard.distance(found, better) + guard.distance(seen, better)
        for missed in (0.2, 5.0):  # too much for what the first order tells
            error = guard.from_halves(trajectory, found, sweep, missed)
            assert 0 < error == pytest.approx(wanted, rel=1e-12)
        first = guard.to_first_order(trajectory, found, sweep, moves)
        assert guard.from_halves(trajectory, found, sweep, 0.05) == pytest.approx(0.05 + first, rel=1e-12)
    guard = Guard(problem, loss, 1e-4, 1e-6)
    for ahead in (lambda errors: 0 * moves, lambda errors: 1 / 0):  # no nearer; and an error on the way
        blind = SimpleNamespace(batch=sweep.batch, ahead=ahead, at_once=1000)
        assert guard.from_halves(trajectory, found, blind, 0.2) == np.inf


def test_to_what_the_first_order_says_much_of_its_square_is_added(monkeypatch):
    guard, trajectory, found = decay_guard()
    asked, allowed, size = [], guard.allowed(found), length(guard.vector(found))

    def made(*args):
        asked.append(args)
        return [scaled(found, 0.01 * (i + 1)) for i in range(len(args[1]))], 0.03

    monkeypatch.setattr(guards, "changed", made)
    for moved, parts in [(None, 0.01), (adjode.Loss(terminal=lambda z, theta: 0.0), 0.03)]:
        error = replace(guard, moved=moved).to_first_order(trajectory, found, "sweep", "moves")
        assert error == pytest.approx((parts + 5 * 0.03**2) * size / allowed)
        losses = [guard.loss, moved] if moved else [guard.loss]
        assert asked.pop() == (guard.problem, losses, trajectory, found, "sweep", "moves")


@pytest.mark.parametrize("first, known", [(0.19, True), (0.21, False), (np.nan, False)])
def test_halves_are_asked_for_a_gradient_where_the_first_order_settles_nothing(monkeypatch, first, known):
    guard, trajectory, found = decay_guard()
    sweep, asked = "sweep", []
    monkeypatch.setattr(guards, "misses", lambda *args: asked.append(args) or ("errors", "moves"))
    monkeypatch.setattr(Guard, "to_first_order", lambda self, *args: asked.append(args) or first - 0.1)
    monkeypatch.setattr(guards, "in_halves", lambda *args: asked.append(args))
    error = guard.from_halves(trajectory, found, sweep, 0.1)
    assert error == (pytest.approx(first) if known else np.inf)
    assert asked[:2] == [(trajectory, sweep), (trajectory, found, sweep, "moves")]
    assert asked[2:] == ([] if known else [(trajectory, sweep, "errors", "moves")])


def test_gradients_of_ever_tighter_solves_are_held_against_each_other(monkeypatch):
    guard, trajectory, found = decay_guard()  # a tenth is allowed at rtol = 1e-3, so 0.1 is 1
    asked, looked = [], []
    monkeypatch.setattr(Guard, "refuse_moved", lambda self, *args: looked.append(args))

    def tightened(*factors):
        asked.clear(), looked.clear()
        made = [(replace(trajectory, ts=np.array([0.0, 1.0 / (n + 2), 1.0])), scaled(found, x))
                for n, x in enumerate(factors)]  # fmt: skip
        monkeypatch.setattr(Guard, "anew", lambda self, *args: asked.append(args) or made[len(asked) - 1])
        return made

    assert guard.confirmed(trajectory, found, 0.19).error == 0.19 and not asked
    made = tightened(1.01)
    sure = guard.confirmed(trajectory, found, 0.21)
    assert sure.theta == found.theta and sure.error == pytest.approx(0.1, rel=0.1)
    assert looked == made and asked[0][:2] == (0.1, trajectory.tableau)
    made = tightened(1.2, 1.4, 1.41)
    sure = guard.confirmed(trajectory, found, np.inf)
    assert sure.theta == 1.41 * found.theta and sure.error == pytest.approx(0.07, rel=0.1)
    assert looked == made[:1]
    np.testing.assert_allclose([factor for factor, *_ in asked], [1e-1, 1e-3, 1e-5])
    grids = [trajectory.ts, made[0][0].ts, made[1][0].ts]
    for (*_, asked_for), grid in zip(asked, grids, strict=True):
        np.testing.assert_array_equal(asked_for, halved(grid))
    for long, rounds in [(guards.LONG, 4), (2, 1)]:  # a long grid is not refined once more
        monkeypatch.setattr(guards, "LONG", long)
        tightened(1.2, 1.4, 1.6, 2.4)
        last = r"3\.3e\+00" if rounds == 4 else r"1\.7e\+00"
        with pytest.raises(adjode.GradientError, match=f"still changes by {last} times"):
            guard.confirmed(trajectory, found, np.inf)
        assert len(asked) == rounds


def test_implicit_steps_are_confirmed_by_solves_that_are_a_thousand_times_tighter_and_more(monkeypatch):
    guard, trajectory, found = decay_guard()
    stiff, asked = replace(trajectory, tableau=adjode.radau()), []
    others = iter([scaled(found, x) for x in (1.2, 1.4, 1.41)])
    monkeypatch.setattr(Guard, "anew", lambda self, *args: asked.append(args) or (stiff, next(others)))
    assert guard.confirmed(stiff, found, np.inf).theta == 1.41 * found.theta
    np.testing.assert_allclose([factor for factor, *_ in asked], [1e-3, 1e-5, 1e-7])


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_an_estimate_of_implicit_steps_takes_the_first_solve_that_has_other_steps(looks, monkeypatch):
    guard, trajectory, found = decay_guard()
    stiff, asked = replace(trajectory, tableau=adjode.radau()), []
    more, better = replace(stiff, ts=halved(stiff.ts)), scaled(found, 1.01)

    def made(self, *args):
        asked.append(args)
        return (more, better) if len(asked) == looks else (stiff, found)

    monkeypatch.setattr(Guard, "anew", made)
    wanted = guard.distance(found, better)
    assert guard.estimate(stiff, found, True) == pytest.approx((wanted, 0.0))
    assert asked == [(factor, stiff.tableau) for factor in (10.0, 1e-3, 1e-6)[:looks]]


@pytest.mark.parametrize("store", ["stages", "times"])
@pytest.mark.parametrize("slope", [None, 1e-6])
def test_a_looser_gradient_is_off_by_ten_times_as_much_and_counts_with_a_margin_of_three(
    store, slope, monkeypatch
):
    problem = adjode.InitialValueProblem(lambda t, z, theta: -theta * z, [1.0], 0.0, 40.0, 0.5)
    rows = lambda size: adjode.Loss(
        observations=adjode.Observations([1.0], lambda i, z: z[0], lambda i, z: np.full(1, size))
    )
    guard = Guard(problem, rows(1.0), 1e-6, 1e-8, None if slope is None else rows(1.0 + slope))
    strategy = adjode.adjoint_fast if store == "stages" else adjode.adjoint_checkpointed
    tight, loose = (adjode.solve(problem, ts=[1.0], rtol=r, atol=r / 100, store=store) for r in (1e-6, 1e-5))
    found, worse = (strategy(problem, guard.loss, x) for x in (tight, loose))
    error = guard.distance(found, worse)
    if slope is not None:
        error += guard.distance(scaled(worse, 1 + slope), worse)
    seen = []
    spy = lambda self, *args, **kind: seen.append(kind) or solved(self, *args, **kind)
    solved = Guard.solved
    monkeypatch.setattr(Guard, "solved", spy)
    assert guard.from_looser(tight, found) == pytest.approx(0.3 * error, rel=1e-6)
    assert seen == [{"store": store}]


def test_both_parts_of_an_error_beside_a_better_gradient_count(monkeypatch):
    rows = adjode.Observations([1.0], lambda i, z: z[0], lambda i, z: np.full(1, 1.05))
    guard, trajectory, found = decay_guard(moved=adjode.Loss(observations=rows))
    with pytest.raises(adjode.GradientError, match="off by"):  # each alone is not: see above
        guard.compared(trajectory, scaled(found, 1.05))
    seen, asked, trusted, solved = [], [], Guard.trusted, Guard.solved
    spy = lambda self, *args: seen.append((self, args[1])) or trusted(self, *args)
    monkeypatch.setattr(Guard, "trusted", spy)
    monkeypatch.setattr(Guard, "solved", lambda self, *args: asked.append(args) or solved(self, *args))
    guard.compared(trajectory, found)
    ((stricter, finer),) = seen
    assert asked == [(0.1, trajectory.tableau)]
    assert (stricter.rtol, stricter.atol) == pytest.approx((1e-4, 1e-6)) and stricter.moved is None
    np.testing.assert_array_equal(finer.zs, guard.solved(0.1, trajectory.tableau).zs)


@pytest.mark.parametrize("slope, refused", [(0.015, False), (0.025, True)])
def test_rows_may_move_by_a_fifth_of_what_is_allowed(slope, refused):
    rows = adjode.Observations([1.0], lambda i, z: z[0], lambda i, z: np.full(1, 1 + slope))
    guard, trajectory, found = decay_guard(moved=adjode.Loss(observations=rows))
    if refused:
        with pytest.raises(adjode.GradientError, match="the loss has seen"):
            guard.refuse_moved(trajectory, found)
    else:
        guard.refuse_moved(trajectory, found)


def test_an_estimate_of_implicit_steps_is_a_looser_gradient():
    problem = adjode.InitialValueProblem(lambda t, z, theta: -theta * z**2, [1.0], 0.0, 20.0, 3.0)
    guard = Guard(problem, adjode.Loss(terminal=lambda z, theta: z[0]), 1e-4, 1e-6)
    trajectory = guard.solved(1.0, adjode.radau())
    found = adjode.adjoint_fast(guard.problem, guard.loss, trajectory)
    looser = adjode.adjoint_fast(guard.problem, guard.loss, guard.solved(10.0, adjode.radau()))
    wanted = guard.distance(found, looser)
    assert wanted > 1e-10
    assert guard.estimate(trajectory, found, True) == pytest.approx((wanted, 0.0), rel=1e-9, abs=0)


def test_an_estimate_has_its_parts_in_the_unit_of_what_is_allowed(monkeypatch):
    guard, trajectory, found = decay_guard()
    calls, parts = [], {"amplified": 0.01, "unresolved": 0.02, "unseen": 0.003}
    for name, part in parts.items():
        monkeypatch.setattr(guards, name, lambda *args, n=name, x=part: calls.append((n, *args[3:])) or x)
    monkeypatch.setattr(guards, "reach", lambda *args: far.append(args) or ("moves", 0.1 * reached[0]))
    monkeypatch.setattr(guards, "added_up", lambda *args: far.append(args) or "errors")
    monkeypatch.setattr(guards, "rows_moved", lambda *args: rows.append(args) or 0.1 * turned[0])
    far, reached, rows, turned = [], [0.0], [], [0.0]
    size, allowed = length(guard.vector(found)), guard.allowed(found)
    of_z, missed = 0.01 * size / allowed, (0.02 * size + 10 * 0.003) / allowed
    seen = {"lams": np.arange(3.0)[:, None], "jumps": {1: np.array([7.0])}}
    ahead = SimpleNamespace(
        batch="batch", sees_ahead=True, slopes="slopes", f_z="f_z", theta_moves="moves", **seen
    )
    for sweep, many in [(None, None), (ahead, "batch")]:
        calls.clear()
        assert guard.estimate(trajectory, found, True, sweep) == pytest.approx((of_z, missed))
        *known, moves = (None, None, None) if sweep is None else ("slopes", "f_z", "moves")
        assert calls == [
            ("amplified", 1e-5, True),
            ("unresolved", many, None, *known),
            ("unseen", many, None, moves),
        ]
    assert far == [(trajectory, 1e-3, 1e-5), (trajectory, ahead, 1e-3, 1e-5)]
    given = [(*some, None if known is None else known.tolist()) for *some, known in rows]
    assert given == [
        (guard.problem, guard.loss, trajectory, "errors", None),
        (guard.problem, guard.loss, trajectory, "moves", [[2.0], [7.0]]),
    ]
    reached[0] = 0.7  # of what is allowed, 100 rtol, with a margin of four
    assert guard.estimate(trajectory, found, True, ahead) == pytest.approx((2.8, missed))
    assert guard.estimate(trajectory, found, True, None) == pytest.approx((of_z, missed))
    assert guard.estimate(trajectory, found, False)[0] == pytest.approx(2.8)
    reached[0], turned[0] = 0.0, 0.6
    for sweep in (
        None,
        ahead,
        SimpleNamespace(batch=None, sees_ahead=False, slopes=None, f_z=None, theta_moves=None, **seen),
    ):
        assert guard.estimate(trajectory, found, True, sweep) == pytest.approx((2.4, missed))
    turned[0] = 0.0
    # another strategy: what its states and those of the discrete one are off by, and how they differ
    calls.clear()
    other = guard.distance(scaled(found, 1.01), found)
    both = guard.estimate(trajectory, scaled(found, 1.01), False)
    assert both == pytest.approx(((1.01 + 1) * of_z, other), rel=0.01)
    assert calls == [("amplified", 1e-5, False), ("amplified", 1e-5, True)]
    assert guard.estimate(replace(trajectory, stages=None), found, False) == pytest.approx((of_z, 0.0))
    # a running cost drives lambda; and without a state there is none
    cost = lambda t, z, theta: z[0]
    calls.clear()
    replace(guard, loss=replace(guard.loss, running=cost)).estimate(trajectory, found, True, None)
    assert calls == [
        ("amplified", 1e-5, True),
        ("unresolved", None, cost, None, None),
        ("unseen", None, cost, None),
    ]
    empty = replace(guard, problem=replace(guard.problem, z0=np.zeros(0)))
    few = replace(found, z0=np.zeros(0))
    assert empty.estimate(trajectory, few, True, None)[1] == 0.0


def test_a_checkpointed_gradient_has_a_looser_one_for_witness_unless_rows_grow_too_much(monkeypatch):
    guard, trajectory, found = decay_guard()
    calls, grown = [], []
    monkeypatch.setattr(guards, "growth", lambda *args: calls.append(args) or grown[0])
    monkeypatch.setattr(guards, "adjoint_checkpointed", lambda *args, **kind: calls.append(kind) or found)
    monkeypatch.setattr(Guard, "from_looser", lambda self, *args: calls.append(args) or 0.16)
    monkeypatch.setattr(Guard, "compared", lambda self, *args: ("compared", *args))
    grown[:] = [99.0]  # times ten times the tolerance of 1e-3: nearly all
    assert guard.trusted(guards.adjoint_checkpointed, trajectory).error == pytest.approx(0.16)
    options = {"rtol": 1e-3, "atol": 1e-5}
    assert calls == [options, (trajectory, found, 1e-3, 1e-5), (trajectory, found)]
    grown[:] = [101.0]
    assert guard.trusted(guards.adjoint_checkpointed, trajectory) == ("compared", trajectory, found)


def test_the_sweep_of_a_discrete_gradient_serves_its_estimate_and_its_witness(monkeypatch):
    guard, trajectory, found = decay_guard()
    calls = []
    monkeypatch.setattr(guards, "swept", lambda *args: swept.append(args) or (found, "sweep"))
    swept = []

    def estimate(self, *args):
        assert np.log(np.zeros(1)) == -np.inf  # without a warning
        return calls.append(args) or (1.0, 0.5)

    monkeypatch.setattr(Guard, "estimate", estimate)
    monkeypatch.setattr(Guard, "by_witness", lambda self, *args: calls.append(args) or 0.15)
    assert guard.trusted(guards.adjoint_fast, trajectory).error == 0.15
    assert calls == [(trajectory, found, True, "sweep"), (trajectory, found, "sweep", 1.0, 0.5)]
    assert swept == [(guard.problem, guard.loss, trajectory, some_direction(0.5))]


@pytest.mark.parametrize(
    "ts, lams, size",
    [
        ([0.0, 1.0], [[3.0], [0.5]], 0.5),  # L_z
        ([0.0, 1.0, 1.0, 2.0], [[9.0], [9.0], [8.7], [0.2]], 0.3),  # l_z, where lambda jumps
        ([0.0, 1.0], np.zeros((2, 0)), 1.0),
    ],
)
def test_the_rows_of_a_loss_are_the_last_lambda_and_its_jumps(ts, lams, size):
    guard, _, found = decay_guard()
    found = replace(found, path=adjode.AdjointPath(np.array(ts), np.array(lams)))
    wanted = 0.1 * length(guard.vector(found)) + 1e-3 * size
    assert guard.allowed(found) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("height, refused", [(1.4e-12, False), (3e-12, True)])
def test_what_rounding_does_in_a_step_is_no_jump(height, refused):
    """It is 1e-12 of z over a step: (5 - 3) / 4 long."""
    f = lambda t, z, theta: height * (z > 1.0)
    problem = adjode.InitialValueProblem(f, [0.9], 3.0, 5.0, 0.0)
    steps = adjode.solve_fixed(problem, adjode.euler(), 4)
    steps = replace(steps, hard=((0, 4.0, np.array([0.99]), np.array([1.01])),))
    with pytest.raises(adjode.GradientError, match="f jumps") if refused else contextlib.nullcontext():
        refuse_jumps(problem, steps)


def test_a_state_without_entries_has_no_jumps():
    problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, np.zeros(0), 0.0, 1.0)
    plain = adjode.solve_fixed(problem, adjode.euler(), 1)
    refuse_jumps(problem, replace(plain, hard=((0, 0.5, np.zeros(0), np.zeros(0)),)))


def by_cubics(problem, trajectory, found, steps):
    """What the cubics through lambda and z miss lambda' = -lambda f_z by in the middle of each step,
    times the step and over lambda."""
    (after, before), ts, zs = ends_of_lambda(trajectory, found), trajectory.ts, trajectory.zs
    f_z = lambda t, z: jacobian(lambda z: problem.f(t, z, problem.theta))(z)
    parts = []
    for n in steps:
        ends = sorted([(ts[n], n, after[n]), (ts[n + 1], n + 1, before[n + 1])])
        nodes, lams = [i for _, i, _ in ends], np.array([lam for *_, lam in ends])
        slopes = [-lam @ f_z(ts[i], zs[i]) for _, i, lam in ends]
        lam = CubicHermiteSpline(ts[nodes], lams, slopes)
        z = CubicHermiteSpline(ts[nodes], zs[nodes], trajectory.fs[nodes])
        t, h = (ts[n] + ts[n + 1]) / 2, ts[n + 1] - ts[n]
        missed = h * (lam(t, 1) + lam(t) @ f_z(t, z(t)))
        parts.append(np.max(np.abs(missed)) / np.max(np.abs(lams)))
    return np.array(parts)


@pytest.mark.parametrize("span", [(0.0, 4.0), (4.0, 0.0)])
@pytest.mark.parametrize("batched", [True, False])
def test_unresolved_is_what_cubics_miss_at_all_steps_or_at_some_and_where_it_was_hard(batched, span):
    calls = []

    def f(t, z, theta):
        assert batched or np.shape(z) == (2,)
        calls.append(t)
        return anp.array([z[0] * (1 - z[1]) * theta, anp.cos(t) * z[1] * (z[0] - 1)])

    problem = adjode.InitialValueProblem(f, [1.5, 0.8], *span, 1.2)
    seen = adjode.Observations(sorted([1.0, 3.1], reverse=span[0] > 0), lambda i, z: 0.01 * (z[0] + i * z[1]))
    loss = adjode.Loss(observations=seen, terminal=lambda z, theta: 0.01 * z[0])
    trajectory = adjode.solve(problem, ts=seen.ts, rtol=1e-9, method="dopri5")
    n = len(trajectory.ts) - 1
    assert n > 20
    hard = tuple((step, 0.0, None, None) for step in (0, 9, n - 1))
    trajectory, found = replace(trajectory, hard=hard), adjode.adjoint_discrete(problem, loss, trajectory)
    many = batch(problem, trajectory)
    calls.clear()
    estimate = unresolved(problem, trajectory, found, many)
    steps = set(range(n)) if batched else {*np.linspace(0, n - 1, 6).astype(int), 1, 8, 9, 10, n - 2}
    assert len(calls) == 1 if batched else len(calls) >= 2 * len(steps)  # nodes, jumps and middles
    parts = by_cubics(problem, trajectory, found, sorted(steps))
    wanted = np.sum((384 * parts) ** (6 / 5)) / 720 * n / len(steps)
    assert estimate == pytest.approx(wanted, rel=1e-5)
    nothing = adjode.adjoint_discrete(problem, adjode.Loss(terminal=lambda z, theta: 0.0 * z[0]), trajectory)
    assert unresolved(problem, trajectory, nothing, many) == 0.0


@pytest.mark.parametrize("span", [50.0, 70.0])
def test_rows_that_are_zero_where_data_fit_grow_on_their_way_back(span):
    # a decay, beside a driven pendulum that the loss finds where it should be: but for errors of the solve
    def f(t, z, theta):
        slope = -anp.sin(z[1]) + 1.2 * anp.cos(0.6667 * t)
        return anp.stack([-0.01 * theta * z[0], z[2], slope, -z[2] - slope])

    problem = adjode.InitialValueProblem(f, np.array([20.0, 1.0, 1.0, 0.0]), 0.0, span, 0.5)
    data = adjode.solve(problem).zs[-1, 1:]
    loss = adjode.Loss(terminal=lambda z, theta: 1e3 * z[0] + 0.5 * anp.sum((z[1:] - data) ** 2))
    found = adjode.gradient(problem, loss)
    exact = adjode.solve(problem, method="dop853", rtol=1e-12, atol=1e-13, store="stages")
    exact = adjode.adjoint_fast(problem, loss, exact)
    assert Guard(problem, loss, 1e-6, 1e-8).distance(found, exact) < 0.5


def test_slopes_that_are_known_are_not_asked_for():
    sizes = []

    def f(t, z, theta):
        sizes.append(np.size(z) // 2)
        return anp.array([z[0] * (1 - z[1]) * theta, anp.cos(t) * z[1] * (z[0] - 1)])

    problem = adjode.InitialValueProblem(f, [1.5, 0.8], 0.0, 3.0, 1.2)
    seen = adjode.Observations([1.0, 2.5], lambda i, z: 0.01 * (z[0] + i * z[1]))
    loss = adjode.Loss(observations=seen, terminal=lambda z, theta: 0.01 * z[0])
    trajectory = adjode.solve(problem, ts=seen.ts, rtol=1e-6)
    found, sweep = fast.swept(problem, loss, trajectory)
    plain = unresolved(problem, trajectory, found, sweep.batch)
    for missing in ([], [0, 4, 5]):
        known = sweep.slopes.copy()
        known[missing] = np.nan
        given = known.copy()
        sizes.clear()
        estimate = unresolved(problem, trajectory, found, sweep.batch, None, known)
        assert estimate == pytest.approx(plain, rel=1e-9)
        np.testing.assert_array_equal(known, given)
        asked = len(missing) + 3 + trajectory.stats.steps  # jumps, t1; middles
        assert sizes == [no_accident(asked, (2,), lengths((2,), [problem.theta]))]


@pytest.mark.parametrize("t1", [3.0, -3.0])
def test_where_f_z_is_known_f_is_not_asked_and_the_estimate_is_the_same(t1):
    f = lambda t, z, theta: anp.array([z[0] * (1 - z[1]) * theta, anp.cos(t) * z[1] * (z[0] - 1)])
    problem = adjode.InitialValueProblem(f, [1.5, 0.8], 0.0, t1, 1.2)
    seen = adjode.Observations(np.array([0.3, 0.7]) * t1, lambda i, z: 0.01 * (z[0] + i * z[1]))
    loss = adjode.Loss(observations=seen, terminal=lambda z, theta: 0.01 * z[0])
    trajectory = adjode.solve(problem, ts=seen.ts, rtol=1e-6)
    found, sweep = fast.swept(problem, loss, trajectory, direction=1.2)
    plain = unresolved(problem, trajectory, found, sweep.batch)

    def refused(ts, zs):
        raise AssertionError("f is asked")

    for slopes in (None, sweep.slopes):
        estimate = unresolved(problem, trajectory, found, refused, None, slopes, sweep.f_z)
        assert estimate == pytest.approx(plain, rel=1e-9) and plain > 0
    blocks, nodes, middles = sweep.f_z
    for other in ((blocks, 1.1 * nodes, middles), (blocks, nodes, 1.1 * middles)):
        assert unresolved(problem, trajectory, found, refused, None, sweep.slopes, other) > 10 * plain


def test_nodes_that_f_takes_no_batch_of_are_asked_for_one_by_one():
    problem = adjode.InitialValueProblem(
        lambda t, z, theta: theta * anp.cos(t) * z * z, [0.5, 0.4], 0.0, 2.0, 0.8
    )
    loss = adjode.Loss(lambda z, theta: anp.sum(z**2))
    trajectory = adjode.solve(problem, store="stages")
    found, sweep = fast.swept(problem, loss, trajectory)

    def many(ts, zs):
        raise ValueError("not these nodes")

    ways = [unresolved(problem, trajectory, found, way, None, sweep.slopes) for way in (sweep.batch, many)]
    assert ways[1] == pytest.approx(ways[0], rel=1e-9) and ways[0] > 0


def test_a_kink_in_a_short_step_counts_as_it_is():
    # f_z = t / 100, and from 1.03 on 2.5 times that: one step of a tenth among steps of one
    f = lambda t, z, theta: z * (t / 100 + theta * anp.maximum(t - 1.03, 0.0))
    problem = adjode.InitialValueProblem(f, [1.0], -2.0, 4.0, 0.015)
    plain = adjode.solve_fixed(problem, adjode.dopri5(), 6)
    ts = np.array([-2.0, -1.0, 0.0, 1.0, 1.1, 2.0, 3.0])
    zs = np.linspace(1.0, 1.3, 7)[:, None]
    fs = np.array([problem.f(t, z, problem.theta) for t, z in zip(ts, zs, strict=True)])
    trajectory = replace(plain, ts=ts, zs=zs, fs=fs)
    lams = np.exp(-np.where(ts > 1.03, (ts - 1.03) ** 2 * 0.0075, 0) - ts**2 / 200)[:, None]
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    found = replace(adjode.adjoint_discrete(problem, loss, plain), path=adjode.AdjointPath(ts, lams))
    parts = by_cubics(problem, trajectory, found, range(6))
    assert parts[3] < 1e3 * max(parts)  # it stands out beside h^5 alone
    wanted = parts[3] + np.sum((384 * np.delete(parts, 3)) ** (6 / 5)) / 720
    assert unresolved(problem, trajectory, found, None) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("size", [2, 200])
@pytest.mark.parametrize("batched", [True, False])
def test_unseen_is_the_error_of_lambda_f_theta_w_in_every_chunk(batched, size):
    calls = []

    def f(t, z, theta):
        assert batched or np.ndim(z) == 1
        calls.append(t)
        return -z * anp.exp(theta[0] / 3 + z[0] * theta[1]) + anp.sin(theta[2] * t)

    theta, z0 = np.array([0.5, -1.3, 7.0]), np.linspace(0.5, 1.0, size)
    problem = adjode.InitialValueProblem(f, z0, 0.0, 2.0, theta)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))
    trajectory = adjode.solve_fixed(problem, adjode.dopri5(), 25)
    found, many = adjode.adjoint_discrete(problem, loss, trajectory), batch(problem, trajectory)
    assert (many is not None) == batched
    calls.clear()
    estimate = unseen(problem, trajectory, found, many)
    assert not batched or len(calls) == {2: 1, 200: 3}[size]
    w = np.random.default_rng(0).normal(size=3) * np.array([1.0, 1.3, 7.0])
    (after, before), tableau, wanted = ends_of_lambda(trajectory, found), trajectory.tableau, 0.0
    row = grad(lambda theta, lam, *node: anp.dot(lam, f(*node, theta)))  # lam f_theta
    for n in range(25):
        h, total = trajectory.ts[n + 1] - trajectory.ts[n], 0.0
        for i, c in enumerate(tableau.c):
            z = trajectory.zs[n] + h * tableau.a[i] @ trajectory.stages[n]
            lam = (1 - c) * after[n] + c * before[n + 1]
            total += tableau.errors[0, i] * (row(theta, lam, trajectory.ts[n] + c * h, z) @ w)
        wanted += abs(h * total)
    assert estimate == pytest.approx(wanted, rel=1e-3)
    if batched:
        _, sweep = fast.swept(problem, loss, trajectory, some_direction(theta))
        assert unseen(problem, trajectory, found, many, None, sweep.theta_moves) == pytest.approx(
            wanted, rel=1e-9
        )
        unfit = replace(many, layout=None)  # a batch that f does not take: state by state
        assert unseen(problem, trajectory, found, unfit) == pytest.approx(wanted, rel=1e-3)


def test_a_nudge_without_a_value_tells_nothing():
    f = lambda t, z, theta: -z * (np.nan if theta > 1.0 else 1.0)
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 1.0, 1.0)
    trajectory = adjode.solve_fixed(problem, adjode.dopri5(), 3)
    found = adjode.adjoint_discrete(problem, adjode.Loss(terminal=lambda z, theta: z[0]), trajectory)
    assert unseen(problem, trajectory, found, None) == 0.0


@pytest.mark.parametrize("slope, wanted", [(0.0, 1.0), (0.01, np.exp(2.0)), (7.0, np.exp(2.0))])
def test_growth_is_by_how_much_the_rows_grow_on_their_way_back(slope, wanted):
    # z = 0, so that lambda counts times atol / rtol
    problem = adjode.InitialValueProblem(lambda t, z, theta: z, [0.0, 0.0], 0.0, 2.0)
    trajectory = adjode.solve(problem)
    loss = adjode.Loss(terminal=lambda z, theta: slope * z[0])
    found = adjode.adjoint_discrete(problem, loss, trajectory)
    assert growth(trajectory, found, 1e-6, 1e-8) == pytest.approx(wanted, rel=1e-4)
    assert amplified(trajectory, found, 1e-6, 1e-8, True) == 0.0
    step_sizes = np.abs(found.path.lams[1:, 0]) * 0.01 * 0.03e-6
    seen = amplified(trajectory, found, 1e-6, 1e-8, False)
    assert seen == pytest.approx(np.sum(step_sizes) / (0.01 * slope) * wanted if slope else 0.0, rel=1e-3)


@pytest.mark.parametrize("adjoint", [*STRATEGIES, "checkpointed"])
@pytest.mark.parametrize("residual", [1e-1, 1e-3, 1e-5, 1e-8])
def test_near_its_minimum_a_loss_is_right_or_refused(residual, adjoint):
    """There the rows are small differences, that errors of z change by more than themselves."""
    t1, theta, z0 = 20.0, 2.0, np.array([1.0, 0.3])

    def exact(z, theta):
        cos, sin = anp.cos(theta * t1), anp.sin(theta * t1)
        return anp.array([z[0] * cos + z[1] * sin, z[1] * cos - z[0] * sin])

    goal = exact(z0, theta) * (1 + residual * np.array([1.0, -1.0]))
    terminal = lambda z, theta: 0.5 * anp.sum((z - goal) ** 2)
    wanted = grad(lambda z, theta: terminal(exact(z, theta), theta), (0, 1))(z0, theta)
    turn = lambda t, z, theta: anp.array([theta * z[1], -theta * z[0]])
    problem = adjode.InitialValueProblem(turn, z0, 0.0, t1, theta)
    try:
        found = adjode.gradient(problem, adjode.Loss(terminal=terminal), adjoint=adjoint)
    except adjode.GradientError:
        assert adjoint != "discrete" and residual < 1e-3
    else:
        size = np.max(np.abs(found.path.lams[-1]))
        assert right((found.z0, found.theta), wanted, (z0, theta), 1e-6, 1e-8, size)
        assert found.error < 1


@pytest.mark.parametrize("adjoint", [*STRATEGIES, "checkpointed"])
def test_at_its_minimum_a_running_cost_is_right_or_refused(adjoint):
    def field(t, z, theta):
        a, b, c, d = theta
        return anp.array([a * z[0] - b * z[0] * z[1], c * z[0] * z[1] - d * z[1]])

    theta = np.array([1.5, 1.0, 1.0, 3.0])
    problem = adjode.InitialValueProblem(field, [1.0, 1.0], 0.0, 10.0, theta)
    data = adjode.solve(problem, rtol=1e-12, atol=1e-12).dense
    loss = adjode.Loss(running=lambda t, z, theta: 0.5 * anp.sum((z - data(t)) ** 2))
    try:
        found = adjode.gradient(problem, loss, adjoint=adjoint, rtol=1e-3, atol=1e-5)
    except adjode.GradientError:
        assert adjoint != "discrete"
    else:
        zero = np.zeros(2), np.zeros(4)
        assert right((found.z0, found.theta), zero, (problem.z0, theta), 1e-3, 1e-5, 1.0)


@pytest.mark.parametrize("away, asked", [(0.0, True), (10.0, False)])
def test_two_gradients_that_are_mostly_errors_may_be_alike_by_chance(away, asked, monkeypatch):
    """At its minimum the gradient of this cost is zero; at tolerances of 1e-2 and 1e-3 it is 19.1 and
    18.6, since the states happen to be off by as much. So a tighter one is asked."""

    def lorenz(t, z, theta):
        x, y, u = z
        return anp.array([10 * (y - x), x * (28 - u) - y, x * y - theta * u])

    problem = adjode.InitialValueProblem(lorenz, [1.0, 1.0, 20.0], 0.0, 4.0, 8.0 / 3.0)
    data = adjode.solve(problem, rtol=1e-10, atol=1e-10).dense
    loss = adjode.Loss(running=lambda t, z, theta: 0.5 * anp.sum((z - data(t) - away) ** 2))
    monkeypatch.setattr(guards.Guard, "compared", lambda *args: "a tighter one")
    monkeypatch.setattr(guards.Guard, "from_looser", lambda *args: 0.0)
    found = adjode.gradient(problem, loss, adjoint="checkpointed", rtol=1e-3, atol=1e-5)
    assert (found == "a tighter one") == asked


def test_rows_that_the_states_move_count_beside_all_rows():
    start = np.array([[1.0], [2.0]])
    problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, start, 0.0, 1.0)
    seen = adjode.Observations([0.5], lambda i, z: 0.5e-3 * anp.sum((z - 1.5) ** 2))
    loss = adjode.Loss(lambda z, theta: 1e-3 * (3.0 * z[0, 0] + z[1, 0] ** 3), observations=seen)
    trajectory = adjode.solve_fixed(problem, adjode.euler(), 1, ts=[0.5])
    moves = np.array([[0.0, 0.0], [0.1, -0.2], [0.0, 0.1]])
    wanted = (0.3 + 3 * 2.1**2 - 3 * 2**2) / (3 + 12 + 1)
    assert guards.rows_moved(problem, loss, trajectory, moves) == pytest.approx(wanted)
    flat = adjode.Loss(lambda z, theta: 0.5 * anp.sum((z - start) ** 2))
    assert guards.rows_moved(problem, flat, trajectory, moves) == 0.0  # nothing to compare them with


@pytest.mark.parametrize("t1", [1.0, -1.0])
def test_the_rows_of_a_running_cost_count_for_the_time_around_each_node(t1):
    problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, [[1.0], [2.0]], 0.0, t1, 4.0)
    loss = adjode.Loss(
        lambda z, theta: 3.0 * z[0, 0], lambda t, z, theta: (1 + t1 * t) * theta * z[1, 0] ** 3
    )
    trajectory = adjode.solve_fixed(problem, adjode.euler(), 1, ts=[0.25 * t1], running=loss.running)
    moves = np.array([[0.0, 0.0], [0.1, -0.2], [0.0, 0.1]])
    rate = lambda t, z: 12 * (1 + t) * z**2  # of which the first node has a half of a quarter, and so on
    wanted = 0.5 * abs(rate(0.25, 1.8) - rate(0.25, 2)) + 0.375 * abs(rate(1, 2.1) - rate(1, 2))
    wanted /= 3.0 + 0.125 * rate(0, 2) + 0.5 * rate(0.25, 2) + 0.375 * rate(1, 2)
    assert guards.rows_moved(problem, loss, trajectory, moves) == pytest.approx(wanted)


def test_errors_of_which_nothing_is_known_add_up():
    problem = adjode.InitialValueProblem(lambda t, z, theta: -theta * z, [2.0, -1.0], 0.0, 1.0, 1.0)
    trajectory = adjode.solve_fixed(problem, adjode.dopri5(), 3)
    moves = guards.added_up(trajectory, 1e-3, 1e-5)
    by_step = embedded(trajectory.tableau.errors, np.diff(trajectory.ts), trajectory.stages)
    np.testing.assert_allclose(moves, [[0, 0], by_step[0], by_step[:2].sum(axis=0), by_step.sum(axis=0)])
    few = replace(trajectory, stages=None, stats=replace(trajectory.stats, steps=12))
    nodes = np.abs(few.zs[1:]) + 0.01
    wanted = 0.03 * 4 * 1e-3 * np.cumsum(nodes, axis=0)
    np.testing.assert_allclose(guards.added_up(few, 1e-3, 1e-5)[1:], wanted)


@pytest.mark.parametrize("method", ["auto", "radau"])
@pytest.mark.parametrize("rtol", RTOLS)
def test_implicit_steps_at_rest_are_held_against_others(method, rtol):
    """z rests, and what lambda does meanwhile no tolerance of z sees: all solves take the same steps."""
    k, t1 = 1e5, 3.0
    f = lambda t, z, theta: anp.array([-k * (z[0] - z[1]), theta * anp.sin(5 * t) * z[1]])
    problem = adjode.InitialValueProblem(f, [0.0, 0.0], 0.0, t1, 1.0)
    late = lambda s: np.exp(-s) * np.exp((1 - np.cos(5 * (t1 - s / k))) / 5)
    wanted = np.array([0.0, quad(late, 0.0, 40.0)[0]])
    loss = adjode.Loss(terminal=lambda z, theta: z[0])
    found = adjode.gradient(problem, loss, rtol=rtol, atol=rtol / 100, method=method)
    assert right(found.z0, wanted, problem.z0, rtol, rtol / 100, 1.0) and found.error < 1


@pytest.mark.parametrize("z0", [1.0, [1.0]])
@pytest.mark.parametrize("adjoint", [*STRATEGIES, "checkpointed"])
def test_what_a_parameter_does_to_a_running_cost_alone_is_right_or_refused(adjoint, z0):
    t1, rate = 6.2, 0.1
    problem = adjode.InitialValueProblem(
        lambda t, z, theta: -theta[0] * z, z0, 0.0, t1, np.array([rate, 0.0])
    )
    loss = adjode.Loss(running=lambda t, z, theta: anp.sum(z) * (1 + theta[1] * anp.cos(20 * t)))
    wanted = quad(lambda t: np.cos(20 * t) * np.exp(-rate * t), 0, t1, limit=200)[0]
    try:
        found = adjode.gradient(problem, loss, adjoint=adjoint)
    except adjode.GradientError:
        assert adjoint == "checkpointed"
    else:
        assert found.theta[1] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
@pytest.mark.parametrize("z0", [1.0, [1.0]])
def test_a_parameter_that_acts_for_a_moment_is_seen_beside_a_running_cost(z0, rtol):
    pulse = lambda t: anp.exp(-(((t - 2.23) / 0.03) ** 2))
    f = lambda t, z, theta: -0.2 * z + theta * pulse(t)
    problem = adjode.InitialValueProblem(f, z0, 0.0, 6.0, 0.0)
    loss = adjode.Loss(running=lambda t, z, theta: anp.sum(z))
    late = lambda t: pulse(t) * (1 - np.exp(-0.2 * (6.0 - t))) / 0.2
    wanted = quad(late, 0.0, 6.0, points=[2.23])[0]
    found = adjode.gradient(problem, loss, rtol=rtol, atol=rtol / 100)
    assert found.theta == pytest.approx(wanted, rel=200 * rtol)


@pytest.mark.parametrize("t1, rtol", [(6.0, 1e-3), (10.0, 1e-4)])
def test_a_loss_near_the_end_of_its_domain_is_right_or_refused(t1, rtol):
    """Where z moves a little, the root is of a negative number: no loss is more sensitive."""
    f = lambda t, z, theta: anp.array([theta * anp.sin(z[1]) - 0.3 * z[0] + anp.cos(3 * t), z[0]])
    problem = adjode.InitialValueProblem(f, [1.0, 0.3], 0.0, t1, 2.0)
    options = {"rtol": rtol, "atol": rtol / 100}
    computed = adjode.replay.solve_replayed(problem, store="stages", **options).zs[-1, 0]
    end = adjode.solve(problem, rtol=1e-12, atol=1e-13).zs[-1, 0]
    for below in (1e-3, 1e-9):
        edge = min(computed, end) - below * abs(computed - end)
        loss = adjode.Loss(terminal=lambda z, theta, edge=edge: anp.sqrt(z[0] - edge))
        wanted = adjode.adjoint_fast(problem, loss, adjode.solve(problem, rtol=1e-12, atol=1e-13)).theta
        try:
            found = adjode.gradient(problem, loss, **options)
        except (adjode.GradientError, adjode.IntegrationError):
            continue
        assert found.theta == pytest.approx(wanted, rel=200 * rtol)


@pytest.mark.parametrize("adjoint", ["discrete", "interpolated"])
def test_a_loss_that_raises_where_no_solve_went_does_so_in_no_estimate(adjoint):
    def picky(z, theta):
        if getattr(z, "_value", z) > 1.0:
            raise ValueError("z above one")
        return anp.sqrt(1 - z + 1e-9)

    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * (1 - z), 0.5, 0.0, 25.0, 1.0)
    with contextlib.suppress(adjode.GradientError):
        adjode.value_and_gradient(problem, adjode.Loss(terminal=picky), adjoint=adjoint)
    trajectory = adjode.solve(problem)
    moves = np.ones_like(trajectory.zs)
    assert guards.rows_moved(problem, adjode.Loss(picky), trajectory, moves) == np.inf


def test_a_cost_that_takes_no_nudge_does_not_hide_f():
    f = lambda t, z, theta: theta * anp.cos(5 * t) + 0.0 * z
    problem = adjode.InitialValueProblem(f, [1.0], 0.0, 3.0, 0.5)

    def picky(t, z, theta):
        if getattr(theta, "_value", theta) != 0.5:
            raise ValueError("one half alone")
        return z[0]

    trajectory = adjode.solve_fixed(problem, adjode.dopri5(), 12, running=picky)
    found = adjode.adjoint_discrete(problem, adjode.Loss(running=picky), trajectory)
    ending = adjode.adjoint_discrete(problem, adjode.Loss(lambda z, theta: z[0]), trajectory)
    alone = unseen(problem, trajectory, found, None)
    assert 0 < alone == unseen(problem, trajectory, found, None, picky)
    both = unseen(problem, trajectory, ending, None, lambda t, z, theta: theta * anp.cos(5 * t))
    assert both == pytest.approx(2 * unseen(problem, trajectory, ending, None), rel=1e-6)  # lambda is 1
    nowhere = lambda t, z, theta: np.nan if theta != 0.5 else 1.0
    assert alone == unseen(problem, trajectory, found, None, nowhere)


def test_the_error_weights_see_the_running_cost():
    # lambda = 0, and g_theta w = w cos(5 t)
    problem = adjode.InitialValueProblem(lambda t, z, theta: 0.0 * z, [1.0], 0.0, 3.0, 0.5)
    cost = lambda t, z, theta: theta * anp.cos(5 * t)
    trajectory = adjode.solve_fixed(problem, adjode.dopri5(), 12, running=cost)
    found = adjode.adjoint_discrete(problem, adjode.Loss(running=cost), trajectory)
    tableau, h = trajectory.tableau, 0.25
    slopes = np.cos(5 * (trajectory.ts[:-1, None] + h * tableau.c))
    wanted = abs(np.random.default_rng(0).normal()) * np.sum(np.abs(h * slopes @ tableau.errors[0]))
    assert unseen(problem, trajectory, found, None, cost) == pytest.approx(wanted, rel=1e-6)
    assert unseen(problem, trajectory, found, None) == 0.0


@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_a_way_back_by_itself_does_not_step_over_what_the_way_forth_sees(rtol):
    pulse = lambda t: 5 * anp.exp(-(((t - 2.2) / 0.05) ** 2))
    problem = adjode.InitialValueProblem(
        lambda t, z, theta: -0.2 * z + theta * pulse(t), [1.0], 0.0, 6.2, 0.0
    )
    wanted = quad(lambda t: pulse(t) * np.exp(-0.2 * (6.2 - t)), 0, 6.2, points=[2.2])[0]
    loss, tolerances = adjode.Loss(terminal=lambda z, theta: z[0]), {"rtol": rtol, "atol": rtol / 100}
    found = adjode.gradient(problem, loss, adjoint="backsolve", **tolerances)
    assert found.theta == pytest.approx(wanted, rel=100 * rtol)


@pytest.mark.parametrize(
    "v, t1, rtol", [(0.6, 16.0, 3e-4), (0.6, 16.0, 1e-4), (0.6, 12.0, 3e-4), (0.5, 20.0, 1e-3)]
)
def test_errors_that_do_not_fall_as_the_tolerances_do_are_seen_from_two_looser_solves(v, t1, rtol):
    """The energy of an orbit: its gradient is that of the energy at the start."""
    energy = lambda z, theta: 0.5 * (z[2] ** 2 + z[3] ** 2) - theta / anp.sqrt(z[0] ** 2 + z[1] ** 2)
    pull = lambda z, theta: -theta / (z[0] ** 2 + z[1] ** 2) ** 1.5
    f = lambda t, z, theta: anp.array([z[2], z[3], pull(z, theta) * z[0], pull(z, theta) * z[1]])
    problem = adjode.InitialValueProblem(f, [1.0, 0.0, 0.0, v], 0.0, t1, 1.0)
    options = {"rtol": rtol, "atol": rtol / 100}
    found = adjode.gradient(problem, adjode.Loss(terminal=energy), **options)
    assert right(found.z0, [1.0, 0.0, 0.0, v], problem.z0, rtol, rtol / 100, 1.0)
    with pytest.raises(adjode.GradientError, match="discrete"):
        adjode.gradient(problem, adjode.Loss(terminal=energy), adjoint="checkpointed", **options)


def test_a_second_looser_gradient_is_asked_for_where_the_first_is_not_clear(monkeypatch):
    guard, trajectory, found = decay_guard()
    for first, second, error, asked in [
        (0.019, 0.5, 0.019, [10.0]),
        (0.021, 0.5, 0.5, [10.0, 100.0]),
        (0.19, 0.1, 0.19, [10.0, 100.0]),
        (0.21, 0.5, 0.21, [10.0]),
    ]:
        factors = []
        answer = lambda self, *args, f=factors, x=(first, second): f.append(args) or x[len(f) - 1]
        monkeypatch.setattr(Guard, "from_one", answer)
        assert guard.from_looser(trajectory, found) == error
        assert factors == [(trajectory, found, factor) for factor in asked]
