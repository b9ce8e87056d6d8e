"""The batched discrete adjoint gives the numbers of the plain one, whatever the field is like."""

import tracemalloc
import warnings
from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.extend import defvjp, primitive
from autograd.tracer import isbox, trace_stack

import adjode
from adjode import batched, fast
from adjode.curvature.tangent import pushforward
from adjode.loss import loss_rows
from adjode.structure import leaves
from adjode.trajectory import middles as middles_of

SAME = 1e-12  # the rounding of some hundred steps, with a margin of ten
RNG = np.random.default_rng(5)
W2, W3, W4 = (0.8 * RNG.normal(size=(d, d)) / np.sqrt(d) for d in (2, 3, 4))
W50 = RNG.normal(size=(50, 50)) / np.sqrt(50) - 0.3 * np.eye(50)
Z3, Z23, Z422 = (RNG.normal(size=shape) for shape in ((3,), (2, 3), (4, 2, 2)))
NET, NET_THETA = adjode.mlp([3, 8, 3], seed=2)
COLUMN_NET = {"w": RNG.normal(size=(8, 3)) / 2, "b": RNG.normal(size=8), "out": RNG.normal(size=(3, 8)) / 4}


def clocked_vector(t, z, theta):
    return anp.array([theta * z[1] * anp.cos(t), -z[0] + t * theta, z[2] * z[0] - z[1]])


def column_net(t, z, theta):
    return anp.dot(theta["out"], anp.tanh(anp.dot(theta["w"], z) + theta["b"]) * anp.cos(t))


def wave(z, theta):
    turned = anp.conj(anp.exp(1j * theta * z)) * (2 + 3j * z)
    return anp.real(turned) - anp.abs(turned)


TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])


def energy(z, theta):
    return anp.sum(theta * z[1] ** 2 / 2 - anp.cos(z[0]))


# name: f, z0, theta, the layout in which f takes a batch and the entries in a block; or None
FIELDS = {
    "scalar": (lambda t, z, theta: theta * t * z - z**2, 0.7, 0.4, {"clock": True}, 1),
    "one entry": (lambda t, z, theta: theta * t * z - z**2, [0.7], 0.4, {"clock": True}, 1),
    "entries apart": (lambda t, z, theta: theta * anp.sin(t * z), Z3, np.ones(3), {"clock": True}, 1),
    "row times matrix": (lambda t, z, theta: t * anp.dot(z, theta), Z3, W3, {"clock": True}, 3),
    "net": (NET, Z3, NET_THETA, {"clock": True}, 3),
    "last axis": (
        lambda t, z, theta: anp.stack([z[..., 1] * t, theta * z[..., 0], z[..., 2] - t], axis=-1),
        *(Z3, 0.3, {}, 3),
    ),
    "first axis": (clocked_vector, Z3, 0.8, {"last": True}, 3),
    "matrix times column": (lambda t, z, theta: t * anp.dot(theta, z), Z3, W3, {"last": True}, 3),
    "column net": (column_net, Z3, COLUMN_NET, {"last": True, "columns": True}, 3),
    "rows apart": (lambda t, z, theta: anp.tanh(anp.dot(z, theta)) * t, Z23, W3,
                   {"merged": True, "clock": True}, 3),
    "columns apart": (lambda t, z, theta: anp.tanh(anp.einsum("ij,...jk->...ik", theta, z)) * t, Z23, W2,
                      {"clock": True}, 2),
    "rows mixed": (lambda t, z, theta: anp.dot(z, theta) - anp.sum(z, axis=-2, keepdims=True) * t, Z23, W3,
                   {"clock": True}, 6),
    "three axes": (lambda t, z, theta: anp.tanh(anp.dot(z, theta)) * t, Z422, W2,
                   {"merged": True, "clock": True}, 2),
    "axes of three lengths": (lambda t, z, theta: anp.tanh(anp.dot(z, theta)) * t,
                              np.linspace(-1, 1, 12).reshape(2, 2, 3), W3,
                              {"merged": True, "clock": True}, 3),
    "fifty": (lambda t, z, theta: anp.dot(anp.tanh(z), theta) - z * t, np.ones(50), W50, {"clock": True}, 50),
    "nothing of z": (lambda t, z, theta: 0.0 * z + theta * anp.cos(t), Z3, 1.5, {"clock": True}, 1),
    "kinks": (lambda t, z, theta: anp.where(z > 0, theta * z, t * anp.floor(theta) - z), Z3, 1.5,
              {"clock": True}, 1),
    "complex inside": (lambda t, z, theta: t * wave(z, theta), Z3, 0.7, {"clock": True}, 1),
    "slope of an energy": (lambda t, z, theta: anp.dot(TURN, grad(energy)(z, theta)), Z3[:2], 0.7,
                           {"last": True}, 2),
    "no theta": (lambda t, z, theta: -z * t, Z3, (), {"clock": True}, 1),
    # no batch
    "branch on t": (lambda t, z, theta: theta * z if t < 0.6 else -z, Z3, 0.5, None, 0),
    "branch on z": (lambda t, z, theta: theta * z if z[0] > 0 else -z, Z3, 0.5, None, 0),
    "array of t": (lambda t, z, theta: theta * z * np.array([t, 1.0, 2.0]), Z3, 0.5, None, 0),
    "sum of all": (lambda t, z, theta: theta * anp.sum(z) * anp.tanh(z), Z3, 0.5, None, 0),
    "column plus vector": (lambda t, z, theta: anp.dot(W3, z) + theta[0] * theta[1], Z3,
                           (0.3, Z3), {"last": True, "columns": True}, 3),
}  # fmt: skip


def problem_of(name, t0=0.2, t1=1.6):
    f, z0, theta, layout, block = FIELDS[name]
    return adjode.InitialValueProblem(f, z0, t0, t1, theta), layout, block


def loss_of(theta, ts=()):
    weight = lambda z: anp.sum(anp.cos(1 + np.arange(z.size)) * anp.ravel(z) ** 2)
    terminal = lambda z, theta: weight(z)
    if np.size(adjode.flatten(theta)[0]):
        terminal = lambda z, theta: weight(z) * (1 + anp.sum(adjode.flatten(theta)[0] ** 2))
    seen = adjode.Observations(ts, lambda i, z: (i + 1) * anp.sum(anp.sin(z))) if len(ts) else None
    return adjode.Loss(terminal=terminal, observations=seen)


def differ(found, wanted):
    """The largest difference of all parts, over the largest entry of that part."""
    parts = [(found.z0, wanted.z0), (found.ts, wanted.ts), (found.path.lams, wanted.path.lams),
             (adjode.flatten(found.theta)[0], adjode.flatten(wanted.theta)[0]),
             (found.t0, wanted.t0), (found.t1, wanted.t1)]  # fmt: skip
    np.testing.assert_array_equal(found.path.ts, wanted.path.ts)
    return max(np.max(np.abs(np.subtract(a, b)), initial=0.0) / max(np.max(np.abs(b), initial=0.0), 1e-9)
               for a, b in parts)  # fmt: skip


def both(problem, loss, trajectory):
    return [adjoint(problem, loss, trajectory) for adjoint in (adjode.adjoint_fast, adjode.adjoint_discrete)]


@pytest.mark.parametrize("method", ["dopri5", "dop853"])
@pytest.mark.parametrize("name", FIELDS)
def test_the_numbers_are_those_of_the_plain_core(name, method):
    problem, _, _ = problem_of(name)
    ts = [problem.t0, 0.7, 0.71, problem.t1]
    trajectory = adjode.solve(problem, method=method, ts=ts, rtol=1e-5)
    found, wanted = both(problem, loss_of(problem.theta, ts), trajectory)
    assert differ(found, wanted) < SAME


@pytest.mark.parametrize("scheme", ["euler", "midpoint", "heun", "rk4"])
@pytest.mark.parametrize("name", ["net", "first axis", "fifty", "rows mixed", "branch on t"])
def test_fixed_steps_backwards_in_time(name, scheme):
    problem, _, _ = problem_of(name, 1.6, 0.2)
    trajectory = adjode.solve_fixed(problem, getattr(adjode, scheme)(), 5)
    assert differ(*both(problem, loss_of(problem.theta), trajectory)) < SAME


@pytest.mark.parametrize("scheme", ["implicit_midpoint", "trapezoid", "radau"])
@pytest.mark.parametrize("name", ["scalar", "net", "first axis", "rows apart", "fifty", "branch on t"])
def test_implicit_schemes_one_linear_system_for_the_stages_of_each_step(name, scheme):
    problem, layout, _ = problem_of(name)
    trajectory = adjode.solve_fixed(problem, getattr(adjode, scheme)(), 4, ts=[0.7])
    found, sweep = fast.swept(problem, loss_of(problem.theta, [0.7]), trajectory)
    wanted = adjode.adjoint_discrete(problem, loss_of(problem.theta, [0.7]), trajectory)
    assert (sweep.batch is None) == (layout is None)
    if sweep.batch:  # of the last step alone to begin with
        assert sweep.traced == (trajectory.stats.steps + 1) * sweep.b.size + 1
    assert differ(found, wanted) < SAME


@pytest.mark.parametrize("rtol", [1e-3, 1e-9])  # at 1e-3 Newton's iteration leaves more than rounding
@pytest.mark.parametrize("k", [1e2, 1e6])
def test_stiff_stages_in_a_batch(k, rtol):
    f = lambda t, z, theta: anp.array([theta[0] * z[1] - k * (z[0] - anp.cos(t * z[1])), -theta[1] * z[1]])
    problem = adjode.InitialValueProblem(f, [0.5, 1.0], 0.0, 2.0, np.array([0.7, 0.3]))
    trajectory = adjode.solve(problem, method="radau", rtol=rtol, atol=rtol / 100)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))
    found, sweep = fast.swept(problem, loss, trajectory)
    assert sweep.batch
    assert differ(found, adjode.adjoint_discrete(problem, loss, trajectory)) < SAME * max(1, k / 1e3)


@pytest.mark.parametrize("name", FIELDS)
def test_a_batch_is_used_in_the_layout_that_suits_the_field(name):
    problem, layout, block = problem_of(name)
    trajectory = adjode.solve(problem, rtol=1e-5)
    sweep = fast.Sweep(problem, trajectory, np.ones(problem.z0.size), {})
    sweep.run()
    tried = 12 * min(trajectory.stats.steps, fast.ROOM // (fast.LIKELY * problem.z0.size * 12))
    if layout is None:
        assert sweep.batch is None and sweep.traced == trajectory.stats.steps * 12 + tried + 1
    else:
        assert sweep.traced == trajectory.stats.steps * 12 + 1  # each once, and a VJP to compare
        assert sweep.batch.layout == batched.Layout(**layout)
        assert sweep.blocks.shape == (problem.z0.size // block, block)


@pytest.mark.parametrize("way", ["by_jacobians", "by_stages", "by_vjps"])
@pytest.mark.parametrize("name", ["net", "rows apart", "fifty", "column net"])
def test_each_way_by_itself(name, way):
    problem, _, _ = problem_of(name)
    trajectory = adjode.solve(problem, rtol=1e-5)
    lam, jumps = np.linspace(-1, 1, problem.z0.size), {2: np.ones(problem.z0.size)}
    sweeps = [fast.Sweep(problem, trajectory, lam, jumps, w) for w in (way, "by_vjps")]
    rows = [np.append(sweep.run(), sweep.lams) for sweep in sweeps]
    assert (sweeps[0].batch is None) == (way == "by_vjps")  # nothing was refused on the way
    np.testing.assert_allclose(rows[0], rows[1], rtol=0, atol=SAME * np.max(np.abs(rows[1])))


@pytest.mark.parametrize("name, other", [("net", "by_stages"), ("fifty", "by_jacobians")])
def test_small_blocks_go_by_jacobians_and_large_ones_by_stages(name, other, monkeypatch):
    problem, _, _ = problem_of(name)
    monkeypatch.delattr(fast.Sweep, other)
    sweep = fast.Sweep(problem, adjode.solve(problem), np.ones(problem.z0.size), {})
    sweep.run()
    assert sweep.batch


@pytest.mark.parametrize("room", [1, 3000, 10**9])
def test_where_the_chunks_end_does_not_matter(room, monkeypatch):
    problem, _, _ = problem_of("net")
    trajectory = adjode.solve(problem, ts=[0.5, 1.0], rtol=1e-9)
    monkeypatch.setattr(fast, "ROOM", room)
    found, wanted = both(problem, loss_of(problem.theta, [0.5, 1.0]), trajectory)
    assert differ(found, wanted) < SAME


def test_one_step_and_many():
    problem, _, _ = problem_of("net")
    for steps in (1, 2, 100):
        trajectory = adjode.solve_fixed(problem, adjode.rk4(), steps)
        assert differ(*both(problem, loss_of(problem.theta), trajectory)) < SAME


def test_a_guess_at_the_structure_that_is_wrong_is_refused():
    # the first row of f_z has no other entry than the first; the second does
    f = lambda t, z, theta: anp.stack([-z[..., 0], theta * z[..., 0] * z[..., 1]], axis=-1)
    problem = adjode.InitialValueProblem(f, np.array([1.0, 2.0]), 0.0, 1.0, 0.7)
    trajectory = adjode.solve(problem)
    sweep = fast.Sweep(problem, trajectory, np.ones(2), {})
    assert sweep.blocks.shape == (2, 1)
    sweep.run()
    assert sweep.blocks.shape == (1, 2) and sweep.batch and sweep.together
    assert differ(*both(problem, loss_of(0.7), trajectory)) < SAME


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("planted", ["jacobians", "stage_propagators"])
def test_a_planted_error_is_refused_and_the_result_is_right(planted, size, monkeypatch):
    problem, _, _ = problem_of("net")
    trajectory = adjode.solve(problem)
    right = getattr(fast, planted)
    monkeypatch.setattr(fast, planted, lambda *args: right(*args) * (1 + 1e-10))
    sweep = fast.Sweep(problem, trajectory, size * np.ones(3), {})
    sweep.run()
    assert sweep.batch is None
    assert differ(*both(problem, loss_of(problem.theta), trajectory)) < SAME


def doubtful(many, value=1.0, z_rows=1.0, theta_rows=1.0):
    """f and problem of theta sin z, by a function that is another one on more than so many nodes."""
    off = lambda z, factor: factor if np.size(z) > 3 * many else 1.0
    product = primitive(lambda z, theta: theta * np.sin(z) * off(z, value))
    defvjp(
        product,
        lambda ans, z, theta: lambda v: v * theta * np.cos(z) * off(z, z_rows),
        lambda ans, z, theta: lambda v: np.sum(v * np.sin(z)) * off(z, theta_rows),
    )
    return adjode.InitialValueProblem(lambda t, z, theta: product(z, theta), Z3, 0.0, 1.0, 0.7)


@pytest.mark.parametrize("factor", [1 + 1e-9, np.nan])
@pytest.mark.parametrize("part", ["value", "z_rows", "theta_rows"])
def test_values_or_derivatives_that_a_batch_changes_are_refused(part, factor):
    problem = doubtful(1, **{part: factor})
    trajectory = adjode.solve(problem)
    assert batched.batch(problem, trajectory) is None
    assert differ(*both(problem, loss_of(0.7), trajectory)) < SAME
    assert batched.batch(doubtful(1), trajectory)  # so it is the factor


def test_a_batch_that_goes_wrong_later_is_refused_there(monkeypatch):
    monkeypatch.setattr(fast, "LIKELY", fast.ROOM)
    problem = doubtful(13, value=1 + 1e-9)  # the first trial has twelve nodes: a step
    trajectory = adjode.solve(problem, rtol=1e-9)
    sweep = fast.Sweep(problem, trajectory, np.cos(np.arange(3.0)), {})
    assert sweep.batch
    sweep.run()
    assert sweep.batch is None
    assert differ(*both(problem, loss_of(0.7), trajectory)) < SAME


def test_nodes_that_influence_each_other_only_through_derivatives_are_refused():
    # all entries are equal and stay so: z - mean(z) is zero, over one state as over a batch
    f = lambda t, z, theta: theta * (z - anp.mean(z))
    problem = adjode.InitialValueProblem(f, np.ones(3), 0.0, 1.0, 0.7)
    trajectory = adjode.solve(problem)
    assert batched.batch(problem, trajectory) is None
    found, wanted = both(problem, adjode.Loss(terminal=lambda z, theta: z[0]), trajectory)
    assert differ(found, wanted) < SAME


def test_parameters_that_are_zero_do_not_hide_a_wrong_axis():
    # twelve stages and twelve entries: theta @ z has a value for z of shape (12, 12), and it is 0
    f = lambda t, z, theta: -z + anp.dot(theta[0], anp.dot(theta[1], z))
    problem = adjode.InitialValueProblem(f, np.linspace(1, 2, 12), 0.0, 1.0, np.zeros((2, 12, 12)))
    trajectory = adjode.solve(problem)
    assert batched.batch(problem, trajectory).layout == batched.Layout(last=True)
    assert differ(*both(problem, loss_of(problem.theta), trajectory)) < SAME


def test_fields_that_count_or_refuse_batches_are_served():
    calls = []

    def counting(t, z, theta):
        calls.append(np.shape(z))
        return theta * z

    def refusing(t, z, theta):
        if np.shape(z) != (3,):
            raise RuntimeError("one state at a time")
        return theta * z

    for f in (counting, refusing):
        problem = adjode.InitialValueProblem(f, Z3, 0.0, 1.0, 0.7)
        assert differ(*both(problem, loss_of(0.7), adjode.solve(problem))) < SAME
    assert {len(shape) for shape in calls} == {1, 2}


def test_a_field_that_writes_to_its_state_or_clock_does_no_harm():
    def f(t, z, theta):
        if np.ndim(t) and not isbox(z):
            t[0] = 9.0
        return theta * z * (1 + 0 * t)

    def g(t, z, theta):
        if np.ndim(t):
            t[...] = 0.0
        return theta * z * (1 + t)

    for field in (f, g):
        problem = adjode.InitialValueProblem(field, Z3, 0.0, 1.0, 0.7)
        trajectory = adjode.solve(problem)
        before = trajectory.ts.copy(), trajectory.zs.copy(), trajectory.stages.copy()
        assert differ(*both(problem, loss_of(0.7), trajectory)) < SAME
        for kept, now in zip(before, (trajectory.ts, trajectory.zs, trajectory.stages), strict=True):
            np.testing.assert_array_equal(kept, now)


def test_an_interrupt_is_not_swallowed():
    def f(t, z, theta):
        if np.ndim(z) > 1:
            raise KeyboardInterrupt
        return theta * z

    problem = adjode.InitialValueProblem(f, Z3, 0.0, 1.0, 0.7)
    with pytest.raises(KeyboardInterrupt):
        adjode.gradient(problem, loss_of(0.7))


def test_failed_attempts_leave_no_trace_open():
    problem, _, _ = problem_of("branch on t")
    before = trace_stack.top
    adjode.gradient(problem, loss_of(0.5))
    assert trace_stack.top == before


def test_warnings_of_an_attempt_are_not_shown():
    def f(t, z, theta):
        if np.ndim(z) > 1:
            warnings.warn("a batch is odd", stacklevel=2)
            raise ValueError
        return theta * z

    problem = adjode.InitialValueProblem(f, Z3, 0.0, 1.0, 0.7)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert differ(*both(problem, loss_of(0.7), adjode.solve(problem))) < SAME
    assert not shown


def test_a_stiff_problem_at_the_limit_of_its_steps():
    f = lambda t, z, mu: anp.stack([z[..., 1], mu * (1 - z[..., 0] ** 2) * z[..., 1] - z[..., 0]], axis=-1)
    problem = adjode.InitialValueProblem(f, [2.0, 0.0], 0.0, 0.3, 100.0)
    trajectory = adjode.solve(problem, rtol=1e-3, method="dop853")
    sweep = fast.Sweep(problem, trajectory, np.ones(2), {})
    sweep.run()
    assert sweep.batch and trajectory.stats.steps > 10
    assert differ(*both(problem, loss_of(100.0), trajectory)) < SAME


def with_cost(loss, theta):
    """The loss, and a running cost of t, z and, if there is one, theta."""
    size = lambda theta: sum(anp.sum(x) ** 2 for x in leaves(theta))
    return replace(loss, running=lambda t, z, theta: t * anp.sum(anp.sin(2 * z)) + t**2 * size(theta))


def later_columns():
    """Each column moves the next one; the first, by which the blocks are guessed, is moved by none."""
    mixed, later = np.array([[-0.3, 0.8], [-0.5, -0.2]]), 0.4 * np.eye(3, k=1)
    f = lambda t, z, theta: anp.matmul(mixed, z) + theta * anp.matmul(z, later)
    return adjode.InitialValueProblem(f, Z23, 0.0, 2.0, 0.7)


def slopes_of(problem, loss, trajectory, lams):
    """lambda f_z + g_z at the beginnings of the steps, by autograd."""
    shape = problem.z0.shape
    along = lambda t, z, lam: anp.sum(lam.reshape(shape) * problem.f(t, z, problem.theta))
    rate = lambda t, z, lam: along(t, z, lam) + loss.running(t, z, problem.theta)
    nodes = list(zip(trajectory.ts, trajectory.zs, lams, strict=True))[:-1]
    return np.reshape([grad(rate, 1)(*node) for node in nodes], (len(nodes), -1))


@pytest.mark.parametrize("way", [None, "by_jacobians", "by_stages", "by_vjps"])
@pytest.mark.parametrize("name", ["scalar", "net", "rows apart", "columns apart", "rows mixed", "no theta"])
def test_a_running_cost_adds_its_rows_at_every_stage(name, way):
    problem, _, _ = problem_of(name)
    loss = with_cost(loss_of(problem.theta, [0.7]), problem.theta)
    trajectory = adjode.solve(problem, ts=[0.7], running=loss.running, rtol=1e-5)
    wanted = adjode.adjoint_discrete(problem, loss, trajectory)
    if way is None:
        found, sweep = fast.swept(problem, loss, trajectory)
        assert differ(found, wanted) < SAME and sweep.batch and sweep.sees_ahead
        return
    end, theta_bar, jumps = loss_rows(problem, loss, trajectory)
    sweep = fast.Sweep(problem, trajectory, end, jumps, way, running=loss.running)
    theta_bar = theta_bar + sweep.run()
    np.testing.assert_allclose(sweep.lams[0].reshape(problem.z0.shape), wanted.z0, rtol=SAME, atol=SAME)
    np.testing.assert_allclose(theta_bar, adjode.flatten(wanted.theta)[0], rtol=SAME, atol=SAME)
    if way != "by_vjps":
        slopes = slopes_of(problem, loss, trajectory, sweep.lams)
        assert np.max(np.abs(slopes)) > 1
        np.testing.assert_allclose(sweep.slopes[:-1], slopes, rtol=0, atol=1e-11 * np.max(np.abs(slopes)))


@pytest.mark.parametrize(
    "scheme", ["euler", "midpoint", "heun", "rk4", "implicit_midpoint", "trapezoid", "radau"]
)
@pytest.mark.parametrize("name", ["net", "rows apart", "fifty", "branch on t"])
def test_a_running_cost_on_fixed_steps_backwards_in_time(name, scheme):
    problem, layout, _ = problem_of(name, 1.6, 0.2)
    loss = with_cost(loss_of(problem.theta), problem.theta)
    trajectory = adjode.solve_fixed(problem, getattr(adjode, scheme)(), 5, running=loss.running)
    found, sweep = fast.swept(problem, loss, trajectory)
    assert (sweep.batch is None) == (layout is None)
    wanted, unknowns = adjode.adjoint_discrete(problem, loss, trajectory), problem.z0.size
    assert differ(found, wanted) < SAME * max(1, unknowns / 10)


@pytest.mark.parametrize("guess", ["holds", "fails"])
def test_a_running_cost_is_asked_once_where_it_counts(guess):
    """At the stages that have a weight, and at the first one for lambda'; also if a guess at blocks fails."""
    problem = problem_of("rows mixed")[0] if guess == "holds" else later_columns()
    asked, cost = [], lambda t, z, theta: anp.sum(z**2)

    def counted(t, z, theta):
        asked.append(float(t))
        return cost(t, z, theta)

    for tableau, some in ((adjode.dopri5(), [0, 2, 3, 4, 5]), (adjode.midpoint(), [0, 1])):
        trajectory = adjode.solve_fixed(problem, tableau, 3, running=cost)
        sweep = fast.Sweep(problem, trajectory, np.ones(6), {}, running=counted)
        assert (len(sweep.blocks) > 1) == (guess == "fails")
        asked.clear()
        sweep.run()
        wanted = (trajectory.ts[:-1, None] + trajectory.hs[:, None] * tableau.c[some]).ravel()
        np.testing.assert_allclose(asked, wanted, rtol=1e-14)
        assert len(sweep.blocks) == 1 and sweep.batch


def test_a_running_cost_without_a_derivative_is_refused_and_one_that_raises_says_so():
    problem, _, _ = problem_of("net")
    steep = adjode.Loss(running=lambda t, z, theta: anp.sqrt(anp.sum((z - problem.z0) ** 2)))
    trajectory = adjode.solve(problem, running=steep.running)
    with pytest.raises(adjode.GradientError, match="is not finite"):
        adjode.adjoint_fast(problem, steep, trajectory)

    def late(t, z, theta):
        if t > 1.5:
            raise KeyError("late")
        return anp.sum(z)

    with pytest.raises(KeyError, match="late"):
        adjode.adjoint_fast(problem, adjode.Loss(running=late), trajectory)


def test_a_running_cost_alone_drives_lambda_from_zero():
    # z = z0 exp(w t), L = int z dt: dL/dz0 = (exp(w T) - 1) / w
    problem = adjode.InitialValueProblem(lambda t, z, w: w * z, [2.0, 0.0], 0.0, 1.5, 0.8)
    loss = adjode.Loss(running=lambda t, z, w: anp.sum(z))
    value, found = adjode.value_and_gradient(problem, loss, rtol=1e-9, atol=1e-11)
    grown = np.expm1(0.8 * 1.5) / 0.8
    assert value == pytest.approx(2.0 * grown, rel=1e-8)
    np.testing.assert_allclose(found.z0, [grown, grown], rtol=1e-8)
    assert found.theta == pytest.approx(2.0 * (1.5 * np.exp(1.2) - grown) / 0.8, rel=1e-8)
    assert found.stats.vjps == 12 * found.stats.steps + 1  # from one trace, and a single state


def test_the_front_door_uses_it():
    problem, _, _ = problem_of("net")
    stats = adjode.gradient(problem, loss_of(problem.theta)).stats
    assert stats.vjps == stats.steps * 12 + 1


@pytest.mark.parametrize(
    "scheme, sizes, counts", [("rk4", [8, 200, 8], (800, 3200)), ("radau", [16, 20, 16], (200, 400))]
)
def test_memory_does_not_grow_with_the_steps(scheme, sizes, counts):
    net, theta = adjode.mlp(sizes, seed=1)
    problem = adjode.InitialValueProblem(net, np.ones(sizes[0]), 0.0, 1.0, theta)
    peaks = []
    for steps in counts:
        trajectory = adjode.solve_fixed(problem, getattr(adjode, scheme)(), steps)
        with np.errstate(all="ignore"):
            sweep = fast.Sweep(problem, trajectory, np.ones(sizes[0]), {})
            tracemalloc.start()
            sweep.run()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert sweep.batch
        peaks[-1] -= sum(step.nbytes for _, step in sweep.propagators)  # as large as the trajectory
    # a trace of everything would hold 4 x 3200 nodes of more than 600 numbers: 60 MB; the linear
    # systems of 400 steps 400 x (7 x 16)^2 numbers, three times: 120 MB
    assert peaks[1] < 1.1 * peaks[0] < 4 * 8 * fast.ROOM


def test_the_batch_on_nodes_of_its_user():
    problem, _, _ = problem_of("column net")
    trajectory = adjode.solve(problem)
    ts, zs = trajectory.ts, trajectory.zs
    values, back = batched.batch(problem, trajectory)(ts, zs)
    np.testing.assert_allclose(values, trajectory.fs, rtol=1e-12)
    v = RNG.normal(size=zs.shape)
    rows, theta_bar = back(v)
    pull = adjode.adjoint_pullback(problem)
    singles = [pull(*node) for node in zip(ts, zs, v, strict=True)]
    np.testing.assert_allclose(rows, [single[1] for single in singles], rtol=0, atol=1e-13)
    np.testing.assert_allclose(theta_bar, sum(single[2] for single in singles), rtol=0, atol=1e-12)


def test_a_problem_without_a_state_has_a_derivative_in_theta_alone():
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, np.zeros(0), 0.0, 1.0, 3.0)
    loss = adjode.Loss(terminal=lambda z, theta: theta**2 + anp.sum(z))
    found = adjode.adjoint_fast(problem, loss, adjode.solve(problem))
    assert found.theta == 6.0 and found.z0.shape == (0,)


@pytest.mark.parametrize("off, refused", [(0.0, False), (2e-12, False), (4e-12, True), (np.nan, True)])
def test_a_guess_is_proven_by_the_rows_to_a_trillionth_of_lambda_and_its_parts(off, refused):
    # the scale of each step is |lambda| plus its largest part: 1 + 2, and 10 + 20
    kappa = np.array([[[1.0, 0.5], [0.2, -0.3]], [[10.0, 0.1], [0.7, 0.0]]])
    back = lambda v: (2.0 * v, np.sum(v, axis=0))
    big = 2.0 * kappa
    big[0, 1, 0] += off
    if refused:
        with pytest.raises(fast.Refused):
            fast.proven(back, kappa, big, np.array([1.0, 10.0]))
    else:
        theta_bar = fast.proven(back, kappa, big, np.array([1.0, 10.0]))
        np.testing.assert_allclose(theta_bar, [11.9, 0.3], rtol=1e-14)
    far = 2.0 * kappa
    far[1, 0, 1] += 10e-12  # beside a larger lambda
    fast.proven(back, kappa, far, np.array([1.0, 10.0]))
    cost = np.array([[[0.1, 0.0], [0.0, 0.2]], [[0.0, 3.0], [0.0, 0.0]]])  # of which z_bar knows nothing
    assert fast.proven(back, kappa, far + cost, np.array([1.0, 10.0]), cost) is not None
    for wrong in (0.0, -cost, 2 * cost):
        with pytest.raises(fast.Refused):
            fast.proven(back, kappa, far + cost, np.array([1.0, 10.0]), wrong)


@pytest.mark.parametrize("implicit", [False, True])
def test_propagators_of_a_linear_field_are_the_rows_of_the_stages(implicit):
    # M_i = h (b_i + sum_j a_ji M_j) A, so the sum over i is the derivative of the step less I
    a_z = np.array([[0.3, -1.1], [0.7, 0.2]])
    tableau, h = (adjode.radau() if implicit else adjode.rk4()), 0.2
    s = len(tableau.b)
    f_z = np.broadcast_to(a_z, (2, s, 1, 2, 2))
    sizes = np.array([h, -h])[:, None, None, None]
    solve = fast.implicit_propagators if implicit else fast.stage_propagators
    parts = solve(tableau.a, tableau.b, sizes, f_z)
    assert parts.shape == (s, 2, 1, 2, 2)
    for n, step in enumerate((h, -h)):
        m = parts[:, n, 0]
        right = step * (tableau.b[:, None, None] * np.eye(2) + np.tensordot(tableau.a.T, m, 1)) @ a_z
        np.testing.assert_allclose(m, right, atol=1e-14)


@pytest.mark.parametrize("implicit", [False, True])
def test_propagators_with_a_running_cost_have_one_more_row(implicit):
    """Lambda_i = kappa_i f_z(Z_i) + h b_i g_z(Z_i), kappa_i = h (b_i lambda + sum_j a_ji Lambda_j)."""
    tableau = adjode.radau() if implicit else adjode.rk4()
    a, b, s, steps, blocks, d = tableau.a, tableau.b, len(tableau.b), 4, 2, 3
    f_z, cost = RNG.normal(size=(steps, s, blocks, d, d)), RNG.normal(size=(steps, s, blocks, d))
    h = RNG.uniform(0.1, 0.4, steps)
    solve = fast.implicit_propagators if implicit else fast.stage_propagators
    parts = solve(a, b, h[:, None, None, None], f_z, cost)
    assert parts.shape == (s, steps, blocks, d + 1, d)
    lam = RNG.normal(size=(steps, blocks, d))
    big = (fast.add_one(lam)[:, :, None] @ parts)[:, :, :, 0]
    for n, block in np.ndindex(steps, blocks):
        one = big[:, n, block]
        kappa = h[n] * (np.multiply.outer(b, lam[n, block]) + a.T @ one)
        wanted = [kappa[i] @ f_z[n, i, block] + cost[n, i, block] for i in range(s)]
        np.testing.assert_allclose(one, wanted, rtol=1e-11)
    plain = solve(a, b, h[:, None, None, None], f_z)
    np.testing.assert_allclose(parts[..., :d, :], plain, rtol=1e-12)


def test_the_memory_of_a_chunk_is_what_its_trace_and_its_jacobians_hold(monkeypatch):
    problem, _, _ = problem_of("net")
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 40)
    sweep = fast.Sweep(problem, trajectory, np.ones(3), {})
    _, _, held = sweep.batch.trace(trajectory.ts[:4], trajectory.zs[:4])  # the stages of a step
    steps = lambda way: [b - a for a, b in zip(way[1:], way, strict=False)]
    for way, a_step in (("by_stages", held), ("by_jacobians", held + 3 * 4 * 3 * 3)):
        ends = [40]
        monkeypatch.setattr(fast, "ROOM", 7 * a_step)
        monkeypatch.setattr(fast, "LIKELY", a_step // (3 * 4))
        sweep = fast.Sweep(problem, trajectory, np.ones(3), {}, way)
        while ends[-1] > 0:
            ends.append(sweep.chunk(ends[-1])[1])
        assert steps(ends) == [7] * 4 + [6] * 2  # not 5 at the end
        ends = [sweep.chunk(n)[1] for n in (29, 21, 14, 7, 24)]
        assert ends == [21, 14, 7, 0, 16]  # 29 steps are four chunks rather than five, 24 three
        whole = fast.Sweep(problem, trajectory, np.ones(3), {}, "by_vjps")
        assert whole.batch is None and whole.traced == 0  # not even tried
        whole.run()
        np.testing.assert_allclose(sweep.lams, whole.lams, rtol=SAME)
    monkeypatch.setattr(fast, "ROOM", 1)
    sweep = fast.Sweep(problem, trajectory, np.ones(3), {})
    assert [sweep.chunk(n)[1] for n in (40, 39)] == [39, 38]  # one step at least
    implicit = adjode.solve_fixed(problem, adjode.radau(), 40)  # and its linear systems, (3 x 3)^2
    sweep = fast.Sweep(problem, implicit, np.ones(3), {})
    monkeypatch.setattr(fast, "ROOM", 20 * (sweep.held + 3 * 3 * 3 * 3 + (3 * 3) ** 2))
    assert sweep.chunk(40)[1] == 20
    assert [sweep.chunk(n)[1] for n in (30, 29)] == [15, 0]  # two chunks, or one


def free(n, shape, args):
    """How many nodes a trace has."""
    return batched.no_accident(n, shape, batched.lengths(shape, args))


def test_no_axis_of_the_state_or_of_theta_is_as_long_as_that_of_the_nodes():
    assert free(5, (3,), []) == 5 and free(3, (3,), []) == 4
    assert free(3, (3,), [np.zeros((4, 5))]) == 6
    assert free(6, (2, 2), [np.zeros(12)]) == 7  # the rows of 6 nodes are 12
    assert free(4, (2, 3), [np.zeros(12)]) == 4  # what lies within a row is never merged
    assert free(1, (), []) == 2


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 2, 2)])
@pytest.mark.parametrize("layout", batched.LAYOUTS)
def test_a_layout_is_a_turn_and_back(layout, shape):
    if layout.merged and len(shape) < 2:
        return
    into, out = batched.turns(layout, shape)
    nodes = np.arange(5.0 * np.prod(shape, dtype=int)).reshape(5, -1)
    turned = into(nodes)
    single = nodes[2].reshape(shape)
    if layout.merged:
        assert turned.shape == (5 * shape[0], *shape[1:])
        np.testing.assert_array_equal(turned[2 * shape[0] : 3 * shape[0]], single)
    elif layout.last:
        assert turned.shape == (*shape, 5) and turned.flags.c_contiguous
        np.testing.assert_array_equal(turned[..., 2], single)
    else:
        assert turned.shape == (5, *shape)
        np.testing.assert_array_equal(turned[2], single)
    np.testing.assert_array_equal(out(turned), nodes)


@pytest.mark.parametrize("scheme", ["midpoint", "dopri5", "dop853", "trapezoid", "radau"])
def test_the_nodes_are_the_stages_that_count(scheme):
    f = lambda t, z, theta: theta * anp.array([[z[0, 1] * t], [anp.cos(z[0, 0])]]).T
    problem = adjode.InitialValueProblem(f, [[1.0, 0.5]], 0.3, 1.3, 0.7)
    tableau = getattr(adjode, scheme)()
    trajectory = adjode.solve_fixed(problem, tableau, 5)
    tableau, kept = trajectory.tableau, batched.stages_that_count(trajectory.tableau)
    wanted = {"midpoint": [0, 1], "trapezoid": [0, 1], "radau": [1, 2, 3], "dopri5": range(6),
              "dop853": range(12)}[scheme]  # fmt: skip
    np.testing.assert_array_equal(kept, wanted)
    nodes = batched.stage_nodes(problem, trajectory, 1, 4)
    np.testing.assert_allclose(nodes.hs, 0.2, rtol=1e-12)
    for n in range(3):
        for i, c in enumerate(tableau.c[kept]):
            assert nodes.ts[n, i] == pytest.approx(trajectory.ts[1 + n] + 0.2 * c)
            stage = 0.2 * tableau.a[kept[i]] @ trajectory.stages[1 + n]
            np.testing.assert_allclose(nodes.zs[n, i], trajectory.zs[1 + n].ravel() + stage, rtol=1e-12)
            z = nodes.zs[n, i].reshape(1, 2)
            np.testing.assert_allclose(nodes.ks[n, i], f(nodes.ts[n, i], z, 0.7).ravel(), rtol=1e-12)
    one = nodes.step(1)
    np.testing.assert_array_equal(one.zs, nodes.zs[1:2])
    assert [len(part) for part in (one.ts, one.zs, one.ks, one.hs)] == [1] * 4


def test_values_agree_to_the_rounding_of_f_and_of_z_over_a_step():
    ones = np.ones((1, 2, 1))
    scale = lambda z, h: batched.Nodes(np.zeros((1, 2)), z * ones, 3.0 * ones, np.array([h]))
    for z, h, allowed in ((0.0, 0.5, 3e-12), (4.0, -0.5, 11e-12)):
        values = np.array([[3.0], [3.0 + 0.9 * allowed]])
        assert scale(z, h).agree(values)
        assert not scale(z, h).agree(values + 0.2 * allowed)
    assert not scale(0.0, 1.0).agree(np.array([[3.0], [np.nan]]))
    steps = np.array([[[1.0, 0.0], [2.0, 0.0]], [[1e9, 0.0], [2e9, 0.0]]])  # a large step beside a small one
    nodes = batched.Nodes(np.zeros((2, 2)), 0.0 * steps, steps, np.array([0.1, 0.1]))
    for off, agrees in ((1.9e-12, True), (2.1e-12, False)):
        values = steps.reshape(4, 2).copy()
        values[0, 1] += off
        assert nodes.agree(values) == agrees


def test_a_batch_is_wrong_where_states_are_small_though_they_grow_large():
    # the sum over all nodes in a batch: far off at first, and nothing beside the states at last
    f = lambda t, z, theta: z - theta * anp.tanh(anp.sum(z)) * np.ones(2)
    problem = adjode.InitialValueProblem(f, np.array([0.5, 0.3]), 0.0, 30.0, 0.5)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z))
    assert differ(*both(problem, loss, adjode.solve(problem))) < SAME


@pytest.mark.parametrize("blocks", [np.arange(4)[None], np.array([[0, 2], [3, 1]]), np.arange(4)[:, None]])
def test_blocks_are_all_of_a_matrix_or_not(blocks):
    f_z = np.zeros((3, 2, 4, 4))
    for rows in blocks:
        f_z[:, :, rows[:, None], rows] = RNG.normal(size=(3, 2, len(rows), len(rows)))
    found = f_z[:, :, blocks[:, :, None], blocks[:, None]].reshape(6, *blocks.shape, -1)

    class Back:
        def apart(self, blocks):  # nothing is plain
            return False

        def __call__(self, v, theta):
            moved = (v[:, None] @ f_z.reshape(6, 4, 4))[:, 0]
            return moved + others * np.roll(v, 1, axis=0), None

    back, others = Back(), 0.0
    assert fast.apart(back, blocks, found)
    others = 1e-9  # what a node does to the next
    assert not fast.apart(back, blocks, found)
    others, f_z[1, 0, 0, 3] = 0.0, f_z[1, 0, 0, 3] + 1e-9  # at one node, and outside of the blocks
    assert not fast.apart(back, blocks, found)


def test_blocks_are_held_against_rows_that_lambda_does_not_have():
    # three entries behind the first one depend on each other, and sum to a constant; lambda is zero there
    def f(t, z, theta):
        slope = -anp.sin(z[1])
        return anp.stack([-theta * z[0], z[2], slope, -z[2] - slope])

    problem = adjode.InitialValueProblem(f, np.array([2.0, 1.0, 1.0, 0.0]), 0.0, 3.0, 0.5)
    trajectory = adjode.solve(problem)
    sweep = fast.Sweep(problem, trajectory, np.array([1.0, 0.0, 0.0, 0.0]), {})
    assert sweep.blocks.shape == (4, 1)
    sweep.run()
    assert sweep.blocks.shape == (1, 4) and sweep.sees_ahead
    push = np.zeros((trajectory.stats.steps, 4))
    push[0, 2] = 1e-6
    assert abs(sweep.ahead(push)[-1, 1]) > 1e-7  # a push of the third entry moves the second


def test_columns_that_turn_out_to_hang_together_are_one_block():
    problem = later_columns()
    loss, trajectory = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2)), adjode.solve(problem)
    sweep = fast.Sweep(problem, trajectory, 2 * trajectory.zs[-1].ravel(), {})
    assert sweep.blocks.tolist() == [[0, 3], [1, 4], [2, 5]]
    theta_bar = sweep.run()
    assert sweep.blocks.tolist() == [[0, 1, 2, 3, 4, 5]] and sweep.sees_ahead
    wanted = adjode.adjoint_discrete(problem, loss, trajectory)
    np.testing.assert_allclose(sweep.lams[0], wanted.z0.ravel(), rtol=1e-12)
    np.testing.assert_allclose(theta_bar, wanted.theta, rtol=1e-12)


@pytest.mark.parametrize("method", ["dopri5", "auto"])
def test_a_field_that_leaves_no_trace_at_first(method):
    inner = np.random.default_rng(0).normal(size=(64, 64)) / 8

    def f(t, z, theta):
        return z if np.all(t > 1.0) else theta * anp.tanh(anp.dot(z, inner)) + z

    problem = adjode.InitialValueProblem(f, np.linspace(0.5, 1, 64), 0.0, 2.0, 0.1)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(z))
    trajectory = adjode.solve(problem, method=method, ts=[1.0])
    assert differ(*both(problem, loss, trajectory)) < SAME


@pytest.mark.parametrize("size", [3, 40])
def test_a_field_that_takes_no_more_than_one_covector_at_a_time(size):
    fussy = primitive(lambda z: np.sin(z))

    def rows(ans, z):
        def row(v):
            if np.ndim(v) > 1 and np.any(v[0] != 0):
                raise RuntimeError("not two nodes at once")
            return v * np.cos(z)

        return row

    defvjp(fussy, rows)
    f = lambda t, z, theta: theta * fussy(z)
    problem = adjode.InitialValueProblem(f, np.linspace(0.5, 1, size), 0.0, 1.0, 0.7)
    assert fast.Sweep(problem, adjode.solve(problem), np.ones(size), {}).batch is None
    assert differ(*both(problem, loss_of(0.7), adjode.solve(problem))) < SAME


def test_a_batch_says_what_is_wrong_with_the_shape_of_its_result():
    f = lambda t, z, theta: z[..., :1]
    many = batched.Batch(adjode.InitialValueProblem(f, np.ones(2), 0.0, 1.0), batched.Layout())
    with pytest.raises(ValueError, match=r"f has shape \(5, 1\) for a batch of shape \(5, 2\)"):
        many(np.zeros(5), np.ones((5, 2)))


def random_theta(problem):
    theta, unflatten = adjode.flatten(problem.theta)
    return unflatten(RNG.normal(size=theta.size))


TAKEN = [name for name, (*_, layout, _) in FIELDS.items() if layout is not None]


@pytest.mark.parametrize("name", TAKEN)
def test_a_part_of_a_trace_is_the_batch_of_these_nodes(name):
    problem, layout, _ = problem_of(name)
    many = batched.Batch(problem, batched.Layout(**layout))
    ts, zs, v = np.linspace(0.2, 0.9, 7), *RNG.normal(size=(2, 7, problem.z0.size))
    back, alone = many(ts, zs)[1], many(ts[2:6], zs[2:6])[1]
    part = back.of(2, 6)
    for found, wanted in zip(part(v[2:6]), alone(v[2:6]), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(part.everywhere(v[0]), alone.everywhere(v[0]), rtol=1e-12, atol=1e-13)
    assert part.tape.held < back.tape.held
    if name not in ("no theta", "slope of an energy"):  # grad, inside of f, notes how many nodes there are
        w = random_theta(problem)
        np.testing.assert_allclose(part.along(w), back.along(w)[2:6], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("n", [1, 7])
def test_a_row_everywhere_is_that_row_at_each_node(name, n):
    problem, layout, _ = problem_of(name)
    many = batched.Batch(problem, batched.Layout(**layout))
    back = many(np.linspace(0.2, 0.9, n), RNG.normal(size=(n, problem.z0.size)))[1]
    alike = np.broadcast_to(RNG.normal(size=problem.z0.shape[1:]), problem.z0.shape)  # in all cases
    for row in (RNG.normal(size=problem.z0.size), alike.ravel()):
        found, wanted = back.everywhere(row), back(np.tile(row, (n, 1)), theta=False)[0]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


def cases_of(f, z0=None, theta=None, n=5):
    """A batch of three cases with two entries, or of another state, and the way back from it."""
    z0 = np.ones((3, 2)) if z0 is None else z0
    problem = adjode.InitialValueProblem(f, z0, 0.0, 1.0, RNG.normal(size=(2, 2)) if theta is None else theta)
    zs = RNG.normal(size=(n, z0.size))
    return batched.Batch(problem, batched.layouts(problem)[0])(np.linspace(0, 1, n), zs)[1]


def test_a_row_that_is_the_same_for_all_cases_stays_one(monkeypatch):
    back, given = cases_of(lambda t, z, theta: anp.tanh(z @ theta) - t * z), []
    call = type(back.tape).__call__
    monkeypatch.setattr(
        type(back.tape), "__call__", lambda tape, v, n: given.append((v, n)) or call(tape, v, n)
    )
    back.everywhere(np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]))
    back.everywhere(np.arange(6.0))
    (one, only), (many, _) = given
    assert one.tolist() == [[1.0, 2.0]] and only == 1  # and the rows of theta are not asked for
    assert many.tolist() == back.m * [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    given.clear()
    alone = cases_of(lambda t, z, theta: anp.tanh(z @ theta), n=1)
    alone.everywhere(np.arange(6.0))
    ((v, only),) = given
    assert (
        v.ravel().tolist() == [*range(6), *[0.0] * 18] and only == 1
    )  # three nodes were added: for them none


def test_cases_are_apart_by_what_f_is_made_of(monkeypatch):
    cases, whole = np.arange(6).reshape(3, 2), np.arange(6)[None]
    back = cases_of(lambda t, z, theta: anp.tanh(z @ theta) - t * z)
    assert back.apart(cases)
    assert not back.apart(whole.T)  # more than f tells, at a glance
    assert not back.apart(cases[::-1]) and not back.apart(cases.reshape(2, 3))
    monkeypatch.setattr(type(back), "everywhere", None)
    assert fast.apart(back, cases, np.ones((5, 1, 3, 2, 2)))  # and no numbers are asked
    assert not cases_of(lambda t, z, theta: z - anp.mean(z, axis=0) * theta[0, 0]).apart(cases)
    two = cases_of(lambda t, z, theta: anp.dot(z, theta), np.ones((2, 2)))
    assert two.apart(cases[:2]) and not two.apart(cases[:2].T)
    alone = cases_of(lambda t, z, theta: -z, np.ones(6))  # no cases: the nodes, each with six entries
    assert not alone.apart(cases) and not alone.apart(whole.T)


def test_blocks_that_are_all_of_a_state_are_apart_where_the_nodes_are():
    whole = np.arange(6)[None]
    back = cases_of(lambda t, z, theta: anp.roll(z, 1, axis=-1) * theta[0, 0])  # no layout is plain
    assert not back.nodes_apart and not back.apart(whole)
    pendulum = lambda t, z, theta: anp.stack([z[..., 1], -anp.sin(z[..., 0])], axis=-1)
    back = cases_of(pendulum)
    assert back.nodes_apart and back.apart(whole) and not back.apart(whole.T)
    problem = adjode.InitialValueProblem(
        lambda t, z, w: anp.array([w * z[1], -z[0]]), [1.0, 0.5], 0.0, 1.0, 2.0
    )
    last = batched.Batch(problem, batched.Layout(last=True))(np.linspace(0, 1, 5), RNG.normal(size=(5, 2)))[1]
    assert last.nodes_apart and last.apart(whole[:, :2]) and not last.apart(whole[:, :2].T)
    first = batched.Batch(problem, batched.Layout(last=True, columns=True))(np.zeros(5), np.ones((5, 2)))[1]
    assert first.axis == (-1, 1)


ROT = np.array([[0.0, 1.0], [-1.0, 0.0]])
COINCIDENCES = {  # in a layout that is wrong f has the same values, and leaves the nodes apart: not its rows
    "of how many": (lambda t, z, k: -z + k * z / len(z), Z3, 0.0),
    "of how many, a little": (lambda t, z, k: -z + k * z / len(z), Z3, 1e-14),
    "of how many, in a matrix": (lambda t, z, w: -z + anp.dot(z, w) / np.sqrt(z.size), Z3, np.zeros((3, 3))),
    "at rest": (lambda t, z, k: k * anp.tanh(anp.dot(z, W3) / len(z)), np.zeros(3), 0.7),
    "all the same": (
        lambda t, z, th: anp.tanh(anp.dot(W3 * th["s"], z) + th["b"]),
        *(Z3, {"s": np.ones(3), "b": np.linspace(0.1, 0.3, 3)}),
    ),
    "a mean of zeros": (lambda t, z, b: anp.dot(W3, z) + b - anp.mean(b, keepdims=True), Z3, np.zeros(3)),
    "another axis, at rest": (
        lambda t, z, k: k * anp.concatenate([z[:, 1:], -z[:, :1]], axis=1),
        *(np.zeros((3, 2)), np.array([[1.0], [2.0], [3.0]])),
    ),
    "another axis, times zero": (
        lambda t, z, k: -z + k * anp.concatenate([z[:, 1:], -z[:, :1]], axis=1),
        *(np.linspace(-1, 1, 6).reshape(3, 2), 0.0),
    ),
    "another axis, times zeros": (lambda t, z, k: -z + anp.dot(z[:, ::-1], k), Z23[:, :2], np.zeros((2, 2))),
    "the other way round": (lambda t, z, k: -z + k * z[::-1], Z3[None], 0.0),
    "the other way round, one further": (
        lambda t, z, k: -z + k * anp.concatenate([z[1:], z[:1]])[::-1],
        *(Z3[None], 0.0),
    ),
    "units": (
        lambda t, z, th: anp.dot(np.array([[0, 0, 0], [0, 0, 1.0], [0, 0, 0]]) * th["s"], z) + th["b"],
        *(np.array([1e13, 0.5, 0.3]), {"s": np.array([1.0, 0.3, 1.7]), "b": np.array([1e13, 0.0, 0.0])}),
    ),
}


@pytest.mark.parametrize("method", ["dop853", "dopri5", "radau"])
@pytest.mark.parametrize("name", COINCIDENCES)
def test_values_that_are_the_same_by_coincidence_are_not_enough(name, method):
    f, z0, theta = COINCIDENCES[name]
    problem = adjode.InitialValueProblem(f, z0, 0.0, 1.0, theta)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(anp.cos(1.0 + np.arange(z.size)) * anp.ravel(z)))
    trajectory = adjode.solve(problem, rtol=1e-4, method=method, store="stages")
    found, wanted = both(problem, loss, trajectory)
    rows = ([x.z0, *adjode.structure.leaves(x.theta)] for x in (found, wanted))
    for one, other in zip(*rows, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


for_a_time = lambda t: anp.maximum(0.0, 0.5 - t)  # zero at the node where a layout is tried
FOR_A_TIME = {
    "a sum": lambda t, z, th: -th[0] * z + th[1] * for_a_time(t) * anp.sum(z),
    "a mean": lambda t, z, th: -th[0] * z + th[1] * for_a_time(t) * anp.mean(z),
    "a first entry": lambda t, z, th: -th[0] * z + th[1] * for_a_time(t) * z[0],
    "the other way round": lambda t, z, th: -th[0] * z + th[1] * for_a_time(t) * z[::-1],
    "of how many": lambda t, z, th: -th[0] * z + th[1] * for_a_time(t) * z / len(z),
    "without a rule forward": lambda t, z, th: -th[0] * z + th[1] * for_a_time(t) * one_way(z) / len(z),
    "two that are the same": lambda t, z, th: -th[0] * z + (th[1] - th[2]) * for_a_time(t) * anp.mean(z),
    "two that act all the time": lambda t, z, th: (
        -(th[1] + th[2]) * z + (th[1] - th[2]) * for_a_time(t) * anp.mean(z)
    ),
    "a softmax": lambda t, z, th: -th[0] * z + th[1] * for_a_time(t) * anp.exp(z) / anp.sum(anp.exp(z)),
    **{
        f"{name}, for a time": lambda t, z, th, f=f: -z + for_a_time(t) * f(t, z, th)
        for name, (f, *_) in COINCIDENCES.items()
    },
}


@primitive
def one_way(z):
    return 1.0 * z


defvjp(one_way, lambda ans, z: lambda g: g)


@pytest.mark.parametrize("room, wide", [(fast.ROOM, fast.WIDE), (3000, fast.WIDE), (fast.ROOM, 1)])
@pytest.mark.parametrize("method", ["dop853", "radau"])
@pytest.mark.parametrize("name", FOR_A_TIME)
def test_what_acts_but_for_a_time_is_held_against_a_single_state(name, method, room, wide, monkeypatch):
    monkeypatch.setattr(fast, "ROOM", room)
    monkeypatch.setattr(fast, "WIDE", wide)
    known = COINCIDENCES.get(name.removesuffix(", for a time"))
    equal = 1.0 if "two" in name else 0.0
    z0, theta = known[1:] if known and name.endswith("time") else (Z3, np.array([0.5, equal, equal]))
    problem = adjode.InitialValueProblem(FOR_A_TIME[name], z0, 0.0, 1.0, theta)
    loss = adjode.Loss(terminal=lambda z, theta: anp.sum(anp.cos(1.0 + np.arange(z.size)) * anp.ravel(z)))
    trajectory = adjode.solve(problem, rtol=1e-4, method=method, store="stages")
    found, wanted = both(problem, loss, trajectory)
    rows = ([x.z0, *adjode.structure.leaves(x.theta)] for x in (found, wanted))
    for one, other in zip(*rows, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wide", [fast.WIDE, 1])
def test_what_acts_but_for_a_time_or_not_at_all_is_no_reason_to_give_a_batch_up(wide, monkeypatch):
    monkeypatch.setattr(fast, "WIDE", wide)
    f = lambda t, z, th: -th[0] * anp.dot(z, W3) + th[1] * for_a_time(t) * z  # and nothing of the third
    problem = adjode.InitialValueProblem(f, Z3, 0.0, 1.0, np.array([0.5, 0.0, 0.0]))
    trajectory = adjode.solve(problem, store="stages")
    found, sweep = fast.swept(problem, adjode.Loss(terminal=lambda z, theta: anp.sum(z)), trajectory)
    assert sweep.batch.seen.tolist() == [True, True, False]
    assert found.stats.vjps == 12 * trajectory.stats.steps + 1


def batch_of(f, z0=Z3, theta=0.0, ts=None):
    """A batch in the first layout, at times with random states, and the way back."""
    problem = adjode.InitialValueProblem(f, z0, 0.0, 1.0, theta)
    ts = np.linspace(0.1, 0.9, 6) if ts is None else ts
    many, zs = batched.Batch(problem, batched.layouts(problem)[0]), RNG.normal(size=(len(ts), np.size(z0)))
    return many, ts, zs, many(ts, zs)[1]


@pytest.mark.parametrize(
    "f, right",
    [
        (lambda t, z, k: k[0] * z, True),  # which is plain
        (lambda t, z, k: k[0] * anp.roll(z, 1, axis=-1), True),
        (lambda t, z, k: anp.roll(z, 1, axis=-1) + k[0], True),
        (lambda t, z, k: k[0] * anp.roll(z, 1), False),
        (lambda t, z, k: anp.roll(z, 1) + k[0], False),
        (lambda t, z, k: -z + k[0] * anp.mean(z), False),
        (lambda t, z, k: anp.where(t < 0.5, 1.0, 1e15) * z + (t < 0.5) * anp.mean(z), False),
        (lambda t, z, k: 1e15 * k[0] * anp.roll(z, 1, axis=-1) + k[1] * anp.mean(z), False),
    ],
)
def test_nodes_are_apart_where_every_other_one_tells_the_same(f, right):
    many, ts, zs, back = batch_of(f, theta=np.zeros(2))
    assert many.keeps_apart(ts, zs, back) == right
    assert many.keeps_apart(ts[:2], zs[:2], many(ts[:2], zs[:2])[1]) == right
    one = many(ts[:1], zs[:1])[1]
    assert many.keeps_apart(ts[:1], zs[:1], one) == one.nodes_apart  # which tells nothing of others


def test_each_parameter_that_acts_is_held_against_a_single_state_once(monkeypatch):
    asked, alone = [], batched.alone
    monkeypatch.setattr(batched, "alone", lambda *args: asked.append(args[-1]) or alone(*args))
    late, early = (lambda t: anp.maximum(0.0, t - 0.65)), (lambda t: anp.maximum(0.0, 0.25 - t))
    f = lambda t, z, k: k["a"] * late(t) + k["b"] * early(t) + k["c"][0] * early(t) * z * z + k["c"][1]
    theta = {"a": 0.0, "b": 1.0, "c": np.zeros(2)}
    many, ts, zs, back = batch_of(f, theta=theta, ts=np.linspace(0.0, 0.9, 10))
    many.seen[3] = True
    many.hold(ts, zs, back, np.array([0.0, 0.0, 0.0, 5.0]))
    assert asked == []
    many.hold(ts, zs, back, np.array([0.0, -1e-3, 0.0, 5.0]))
    assert asked == [0] and many.seen.tolist() == [False, True, True, True]  # c[0] acts there, too
    many.hold(ts, zs, back, np.array([2.0, 1.0, 1.0, 0.0]))
    assert asked == [0, 9] and many.seen.all()
    wrong = lambda t, z, k: k * early(t) * z / len(z)
    many, ts, zs, back = batch_of(wrong, ts=ts)
    with pytest.raises(ValueError, match="other derivatives in theta for many nodes"):
        many.hold(ts, zs, back, np.ones(1))
    many, ts, zs, back = batch_of(lambda t, z, k: -z + 0.0 * k, ts=ts)
    with pytest.raises(ValueError, match="other derivatives in theta for many nodes"):
        many.hold(ts, zs, back, np.ones(1))  # which no node can have told


def test_a_layout_in_which_the_nodes_are_plainly_apart_comes_first():
    nodes = lambda problem: batched.stage_nodes(problem, adjode.solve(problem, store="stages"), 0, 5)
    for f, layout in (
        (lambda t, z, k: -z + k * z[0], batched.Layout(last=True)),
        (lambda t, z, k: -z + k * z[..., :1], batched.Layout(clock=True)),
        (lambda t, z, k: -z + k * anp.roll(z, 1, axis=-1), batched.Layout(clock=True)),
    ):
        problem = adjode.InitialValueProblem(f, Z3, 0.0, 1.0, 0.0)
        found, back, held = batched.find_batch(problem, nodes(problem))
        assert found.layout == layout and back.n == 60 and held > 60 and found.seen.all()
    at_rest = adjode.InitialValueProblem(lambda t, z, k: k * z, Z3, 0.0, 1.0, 0.0)
    assert batched.find_batch(at_rest, nodes(at_rest)) == (None, None, None)


def test_rows_that_vanish_on_their_way_are_no_reason_to_refuse_a_batch():
    f = lambda t, z, theta: -1000.0 * theta * (z - anp.cos(t))
    problem = adjode.InitialValueProblem(f, [0.3], 0.0, 1.0, 1.2)
    trajectory = adjode.solve(problem, method="dop853", store="stages")
    found = fast.adjoint_fast(problem, adjode.Loss(terminal=lambda z, theta: z[0]), trajectory)
    assert abs(found.z0[0]) < 1e-300  # of which few digits are left
    assert found.stats.vjps == 12 * trajectory.stats.steps + 1


def test_the_same_row_again_is_not_computed_again():
    back = cases_of(lambda t, z, theta: anp.tanh(z @ theta))
    one, other = np.arange(6.0), np.ones(6)
    found = back.everywhere(one)
    assert back.everywhere(one.copy()) is found
    assert back.everywhere(other) is not found and back.everywhere(one) is not found  # one is kept
    np.testing.assert_array_equal(back.everywhere(one), found)


def test_of_fewer_nodes_than_were_traced_covectors_move_these_alone():
    back = cases_of(lambda t, z, theta: anp.tanh(z @ theta))
    v = RNG.normal(size=(3, 6))
    whole = np.concatenate([v, np.zeros((2, 6))])
    found, wanted = back(v), back(whole)
    assert found[0].shape == (3, 6)
    np.testing.assert_array_equal(found[0], wanted[0][:3])
    np.testing.assert_array_equal(found[1], wanted[1])


BESIDE = {
    "hares": (lambda t, z, w: anp.array([w * z[0] - z[0] * z[1], z[0] * z[1] - 3.0 * z[1]]), [1.0, 1.2], 1.5),
    "cases": (lambda t, z, w: anp.tanh(anp.dot(z, w)) * (1 + t), np.linspace(-1, 1, 6).reshape(3, 2), W2),
    "entries": (lambda t, z, w: w * anp.sin(t * z), np.linspace(-1, 1, 8), 0.4),
}


@pytest.mark.parametrize("room", [fast.ROOM, 3000])
@pytest.mark.parametrize("t1", [2.0, -2.0])
@pytest.mark.parametrize("name", BESIDE)
def test_beside_the_stages_f_z_is_known_at_the_nodes_and_in_the_middles(name, t1, room, monkeypatch):
    f, z0, w = BESIDE[name]
    problem = adjode.InitialValueProblem(f, z0, 0.0, t1, w)
    trajectory = adjode.solve(problem, ts=[0.3 * t1], rtol=1e-5)
    loss = loss_of(w, [0.3 * t1, t1])
    plain, alone = fast.swept(problem, loss, trajectory)
    monkeypatch.setattr(fast, "ROOM", room)
    found, sweep = fast.swept(problem, loss, trajectory, direction=problem.theta)
    assert differ(found, plain) < SAME and alone.f_z is None
    count = 12 * trajectory.stats.steps + 1
    assert found.stats.vjps == plain.stats.vjps == count  # what is beside is not counted
    blocks, nodes, middles = sweep.f_z
    jacobian = adjode.stiff.state_jacobian(problem)
    times, states = middles_of(trajectory, np.arange(trajectory.stats.steps))
    for known, ts, zs in ((nodes, trajectory.ts, trajectory.zs), (middles, times, states)):
        for f_z, t, z in zip(known, ts, zs, strict=True):
            whole = np.zeros((z.size, z.size))
            for rows, block in zip(blocks, f_z, strict=True):
                whole[np.ix_(rows, rows)] = block
            np.testing.assert_allclose(whole, jacobian(t, z.ravel()), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(times, (trajectory.ts[1:] + trajectory.ts[:-1]) / 2, rtol=1e-14)
    np.testing.assert_allclose(
        states, [trajectory.dense(t).ravel() for t in times], atol=2e-2 * np.max(np.abs(trajectory.zs))
    )


def test_nothing_is_beside_a_large_state_implicit_stages_or_where_no_direction_is_given():
    problem, _, _ = problem_of("net")
    trajectory = adjode.solve(problem)
    for wanted, sweep in (
        (True, fast.Sweep(problem, trajectory, np.ones(3), {}, None, problem.theta)),
        (False, fast.Sweep(problem, trajectory, np.ones(3), {})),
    ):
        assert sweep.beside == wanted
    for size in (8, 9):
        many = adjode.InitialValueProblem(lambda t, z, w: w * z, np.ones(size), 0.0, 1.0, 0.3)
        assert fast.Sweep(many, adjode.solve(many), np.ones(size), {}, None, 1.0).beside == (size == 8)
    stiff = adjode.solve_fixed(problem, adjode.radau(), 4)
    sweep = fast.Sweep(problem, stiff, np.ones(3), {}, None, problem.theta)
    sweep.run()
    assert not sweep.beside and sweep.f_z is None and sweep.theta_moves is None and not sweep.moved


@pytest.mark.parametrize("room", [fast.ROOM, 300])  # there may be chunks before that
@pytest.mark.parametrize("spoilt", ["f_z", "f_theta"])
def test_where_f_has_no_derivative_beside_the_stages_the_gradient_is_that_of_the_stages(
    spoilt, room, monkeypatch
):
    monkeypatch.setattr(fast, "ROOM", room)
    # z_0 is zero in the middle of the second step, where Heun's scheme has no stage
    power = lambda t, z: anp.abs(z) ** (1 / 3) if spoilt == "f_z" else z * 0.0 + anp.log(anp.abs(t - 0.375))
    f = lambda t, z, w: anp.concatenate([1.0 + 0.0 * z[:1], w * power(t, z[:1]) - z[1:]])
    problem = adjode.InitialValueProblem(f, [-0.375, 0.5], 0.0, 1.0, 0.6)
    trajectory = adjode.solve_fixed(problem, adjode.heun(), 4)
    loss = adjode.Loss(terminal=lambda z, w: z[1] ** 2)
    found, sweep = fast.swept(problem, loss, trajectory, direction=0.6)
    assert sweep.batch and sweep.beside is False and sweep.f_z is None
    assert differ(found, adjode.adjoint_discrete(problem, loss, trajectory)) < SAME


@pytest.mark.parametrize("room, at", [(fast.ROOM, 0.375), (300, 0.375), (300, 0.875), (300, 1.0)])
def test_an_f_that_refuses_what_is_beside_is_taken_as_a_batch_all_the_same(room, at, monkeypatch):
    refused = []

    def f(t, z, w):
        if np.size(t) > 1 and np.any(np.abs(t - at) < 1e-9):
            refused.append(t)
            raise ValueError("not here")
        return w * z * (1 - z)

    monkeypatch.setattr(fast, "ROOM", room)
    problem = adjode.InitialValueProblem(f, [0.2, 0.5], 0.0, 1.0, 0.6)
    trajectory = adjode.solve_fixed(problem, adjode.heun() if at < 1 else adjode.euler(), 4)
    loss = adjode.Loss(terminal=lambda z, w: z[1] ** 2)
    found, sweep = fast.swept(problem, loss, trajectory, direction=0.6)
    assert refused and sweep.batch and sweep.beside is False and sweep.f_z is None
    if at == 0.375 and room > 300:
        assert found.stats.vjps == 2 * (4 * 2 + 1)  # tried twice, with a node that is compared
    assert differ(found, adjode.adjoint_discrete(problem, loss, trajectory)) < SAME


def test_f_z_is_not_known_where_some_steps_went_another_way(monkeypatch):
    problem, _, _ = problem_of("net")
    trajectory = adjode.solve(problem)
    for part in ("blocks", "steps", "beside"):
        sweep = fast.Sweep(problem, trajectory, np.ones(3), {}, None, problem.theta)
        assert sweep.f_z is None  # before it ran
        sweep.run()
        assert sweep.f_z
        blocks, starts, beside = sweep.met[0]
        sweep.met[0] = {
            "blocks": (blocks.T, starts, beside),
            "steps": (blocks, starts[1:], beside),
            "beside": (blocks, starts, beside[1:]),
        }[part]
        assert sweep.f_z is None


def f_theta_w(problem, w, t, z):
    flat = lambda nest: adjode.structure.leaves(nest)
    fun = lambda *new: problem.f(t, z, adjode.structure.rebuild(problem.theta, new))
    return np.ravel(pushforward(fun, flat(problem.theta), flat(w))[1])


@pytest.mark.parametrize("count", [3, 5, 8])  # as many as an axis of the state, none, of theta: padded
@pytest.mark.parametrize("name", [name for name in TAKEN if name != "no theta"])
def test_what_moves_with_theta_at_the_nodes_of_a_batch(name, count):
    problem, layout, _ = problem_of(name)
    many, w = batched.Batch(problem, batched.Layout(**layout)), random_theta(problem)
    ts, zs = np.linspace(0.2, 0.9, count), RNG.normal(size=(count, problem.z0.size))
    back = many(ts, zs)[1]
    assert back.m == free(count, problem.z0.shape, adjode.structure.leaves(problem.theta))
    found = back.along(w)
    singles = [f_theta_w(problem, w, t, z.reshape(problem.z0.shape)) for t, z in zip(ts, zs, strict=True)]
    np.testing.assert_allclose(found, singles, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("room", [fast.ROOM, 1])  # one chunk, or a step at a time
@pytest.mark.parametrize("way", ["by_jacobians", "by_stages"])
@pytest.mark.parametrize(
    "method", ["dop853", "dopri5"]
)  # the last stage of dopri5 has no weight but in errors
def test_a_sweep_notes_slopes_at_its_nodes_and_what_moves_with_theta(method, way, room, monkeypatch):
    problem, _, _ = problem_of("net")
    trajectory, w = adjode.solve(problem, method=method, rtol=1e-4, ts=[0.7]), random_theta(problem)
    monkeypatch.setattr(fast, "ROOM", room)
    jump = int(np.argmin(np.abs(trajectory.ts - 0.7)))
    sweep = fast.Sweep(problem, trajectory, np.cos(np.arange(3.0)), {jump: np.ones(3)}, way, w)
    sweep.run()
    pull = adjode.adjoint_pullback(problem)
    wanted = [pull(*node)[1] for node in zip(trajectory.ts, trajectory.zs, sweep.lams, strict=True)]
    np.testing.assert_allclose(sweep.slopes[:-1], wanted[:-1], rtol=1e-11)
    assert np.all(np.isnan(sweep.slopes[-1]))
    tableau, moves = trajectory.tableau, sweep.theta_moves
    assert fast.swept(problem, loss_of(problem.theta), trajectory, w)[1].theta_moves.shape == moves.shape
    for n, h in enumerate(np.diff(trajectory.ts)):
        for i in np.flatnonzero(np.any(tableau.errors != 0, axis=0)):
            z = trajectory.zs[n] + h * tableau.a[i] @ trajectory.stages[n]
            one = f_theta_w(problem, w, trajectory.ts[n] + h * tableau.c[i], z)
            np.testing.assert_allclose(moves[n, i], one, rtol=1e-11, atol=1e-13)


def test_lambda_has_two_ends_where_it_jumps():
    problem, _, _ = problem_of("net")
    trajectory, jump = adjode.solve_fixed(problem, adjode.rk4(), 3), np.array([1.0, 2.0, 4.0])
    sweep = fast.Sweep(problem, trajectory, np.ones(3), {1: jump, 3: 2 * jump})
    sweep.run()
    wanted = [[sweep.after(n), sweep.lams[n]] for n in range(4)]
    np.testing.assert_array_equal(sweep.ends, wanted)
    steps = np.multiply.outer([0, 1, 0, 2], jump)
    np.testing.assert_allclose(sweep.ends[:, 0] - sweep.ends[:, 1], steps, atol=1e-14)


def test_what_moves_with_theta_is_not_known_where_nobody_asked_or_nothing_can_tell(monkeypatch):
    problem, _, _ = problem_of("net")
    trajectory, w = adjode.solve(problem, method="dopri5"), random_theta(problem)

    def moves(problem, direction, way=None):
        sweep = fast.Sweep(problem, trajectory, np.ones(3), {}, way, direction)
        sweep.run()
        return sweep.theta_moves

    assert moves(problem, None) is None and moves(problem, w, "by_vjps") is None
    assert moves(problem, w).shape == (trajectory.stats.steps, 7, 3)
    right, calls = batched.Back.along, []
    last = lambda back, w: right(back, w) if back.n > 1 else calls.append(back.n) or 1 / 0
    monkeypatch.setattr(batched.Back, "along", last)
    assert moves(problem, w) is None and calls == [1]  # not at the end
    monkeypatch.setattr(batched.Back, "along", lambda back, w: calls.append(back.n) or 1 / 0)
    monkeypatch.setattr(fast, "ROOM", 1)
    assert moves(problem, w) is None and len(calls) == 2  # once, and not for every chunk


def test_where_the_parts_of_a_trace_are_wrong_each_step_has_its_own(monkeypatch):
    problem, _, _ = problem_of("fifty")
    trajectory, right, asked = adjode.solve(problem), batched.Back.of, []

    def wrong(back, first, last):
        asked.append((first, last))
        return lambda v, theta: (
            theta is not False or (right(back, first, last)(v, theta)[0] * (1 + 1e-9), None)
        )

    monkeypatch.setattr(batched.Back, "of", wrong)
    sweep = fast.Sweep(problem, trajectory, np.cos(np.arange(50.0)), {})
    sweep.run()
    assert sweep.batch and sweep.together is False and sweep.blocks.shape == (1, 50)
    count = trajectory.stats.steps
    assert len(asked) < count and sweep.traced == 12 * (count + len(asked)) + 1  # those tried, and all
    plain = fast.Sweep(problem, trajectory, np.cos(np.arange(50.0)), {}, "by_vjps")
    np.testing.assert_allclose(sweep.run(), plain.run(), rtol=SAME, atol=SAME)
    np.testing.assert_allclose(sweep.lams, plain.lams, rtol=SAME, atol=SAME)


def test_steps_that_go_together_are_traced_once():
    problem, _, _ = problem_of("fifty")
    traces, f = [], problem.f
    counted = lambda t, z, theta: traces.append(np.size(z) // 50) or f(t, z, theta)
    problem = adjode.InitialValueProblem(counted, problem.z0, problem.t0, problem.t1, problem.theta)
    trajectory = adjode.solve(problem)
    traces.clear()
    sweep = fast.Sweep(problem, trajectory, np.ones(50), {})
    sweep.run()
    count, tried = trajectory.stats.steps, fast.ROOM // (fast.LIKELY * 50 * 12)
    assert count > tried > 1
    assert traces[-2:] == [1, 12 * (count - tried)]  # a state to compare, and what the trial left


def test_values_of_a_batch_need_no_trace_and_rows_of_z_none_of_theta():
    problem, layout, _ = problem_of("column net")
    many = batched.Batch(problem, batched.Layout(**layout))
    ts, zs = np.linspace(0.2, 0.9, 3), RNG.normal(size=(3, 3))  # as many nodes as entries: padded
    values, back, held = many.trace(ts, zs)
    np.testing.assert_array_equal(many.values(ts, zs), values)
    assert values.shape == (3, 3) and held > 3 * 3
    singles = [problem.f(t, z, problem.theta) for t, z in zip(ts, zs, strict=True)]
    np.testing.assert_allclose(values, singles, rtol=1e-12)
    v = RNG.normal(size=(3, 3))
    z_bar, nothing = back(v, theta=False)
    assert nothing is None
    np.testing.assert_allclose(z_bar, back(v)[0], rtol=1e-13)
    seen = []
    plain = lambda t, z, theta: seen.append(isbox(z)) or theta * z
    many = batched.Batch(adjode.InitialValueProblem(plain, np.ones(2), 0.0, 1.0, 2.0), batched.Layout())
    np.testing.assert_array_equal(many.values(np.zeros(5), np.ones((5, 2))), np.full((5, 2), 2.0))
    assert seen == [False]


def test_what_only_the_rows_of_theta_need_is_not_computed_where_nobody_asks():
    asked = []
    scaled = primitive(lambda theta, z: theta * z)
    defvjp(
        scaled,
        lambda ans, theta, z: lambda g: asked.append("theta") or np.sum(g * z),
        lambda ans, theta, z: lambda g: asked.append("z") or theta * g,
    )
    problem = adjode.InitialValueProblem(lambda t, z, theta: scaled(theta, z), Z3, 0.0, 1.0, 0.7)
    _, back = batched.Batch(problem, batched.Layout())(np.zeros(5), np.ones((5, 3)))
    rows, _ = back(np.ones((5, 3)), theta=False)
    assert asked == ["z"] and np.all(rows == 0.7)
    assert back(np.ones((5, 3)))[1] == 15.0 and sorted(asked) == ["theta", "z", "z"]
    asked.clear()
    _, back = batched.in_pieces(batched.Batch(problem, batched.Layout()), np.zeros(5), np.ones((5, 3)), 3)
    back(np.ones((5, 3)), theta=False)
    assert asked == ["z", "z"]


@pytest.mark.parametrize(
    "f, right",
    [
        (lambda t, z, theta: -theta * z, True),
        (lambda t, z, theta: -theta * z * anp.roll(z, 1), False),  # z_{i-1}: of another node
        (lambda t, z, theta: -z + theta * anp.size(z), False),  # of how many nodes?
    ],
)
def test_derivatives_are_those_of_one_state_also_where_values_are_lost_in_rounding(f, right):
    small = lambda t, z, theta: 1e-16 * f(t, z, theta)
    problem = adjode.InitialValueProblem(small, Z3, 0.0, 1.0, 0.7)
    assert (batched.batch(problem, adjode.solve(problem)) is not None) == right


@pytest.mark.parametrize("method", ["dopri5", "radau"])
def test_a_batch_is_tried_on_the_last_step_without_a_warning(method, monkeypatch):
    f = lambda t, z, theta: anp.where(z > 5.0, anp.log(z - 5.0), -theta * z)
    problem = adjode.InitialValueProblem(f, np.ones(2), 0.0, 2.0, 1.0)
    with np.errstate(all="ignore"):
        trajectory = adjode.solve(problem, method=method)
        wanted = batched.stage_nodes(problem, trajectory, len(trajectory.ts) - 2, len(trajectory.ts) - 1)
    assert batched.batch(problem, trajectory)
    tried = []
    monkeypatch.setattr(batched, "find_batch", lambda *args: tried.append(args) or ["found"])
    assert batched.batch(problem, trajectory) == "found"
    assert tried[0][0] is problem and wanted.ts.shape[0] == 1
    np.testing.assert_array_equal(tried[0][1].ts, wanted.ts)


def test_an_adjoint_that_overflows_is_refused_without_a_warning():
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * z, [0.0], 0.0, 1.0, 1e3)
    trajectory = adjode.solve_fixed(problem, adjode.rk4(), 150)  # lambda grows to 1e331
    with pytest.raises(adjode.GradientError, match="not finite"):
        adjode.adjoint_fast(problem, adjode.Loss(terminal=lambda z, theta: z[0]), trajectory)
