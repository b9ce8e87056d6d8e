"""What moved states do to a gradient, held against gradients on the moved states."""

from dataclasses import replace
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import adjode
from adjode import fast
from adjode.batched import in_pieces
from adjode.estimate import ends_of_lambda
from adjode.moves import all_rows, beside, carried, changed
from adjode.structure import flatten
from adjode.vjp import adjoint_pullback

T0, T1 = 0.5, 3.0
RULE = 1e-2  # what the trapezoidal rule is off by on the grid of `setting`, with a margin


def hares(t, z, theta):
    a, (b, c) = theta
    x, y = z[..., 0], z[..., 1]
    return anp.stack([a[0] * x - a[1] * x * y, b * x * y - c * y], axis=-1) + 0.3 * anp.sin(2 * t) * z


def end(z, theta):
    return 0.5 * anp.sum(z**2) * theta[0][0] + anp.sum(anp.cos(z))


def seen(i, z):
    return (i + 1) * anp.sum(anp.sin(z))


def setting(span, times, steps=80):
    """A problem of two cases, a loss with all parts, another loss, a trajectory on a fine grid."""
    theta = (np.array([1.1, 0.4]), (0.3, 0.7))
    problem = adjode.InitialValueProblem(hares, [[2.0, 1.0], [1.0, 1.5]], *span, theta)
    observations = adjode.Observations(np.array(times), seen)
    loss = adjode.Loss(terminal=end, observations=observations)
    twice = replace(observations, fun=lambda i, z: seen(i, z) + 0.3 * anp.sum(z**3))
    other = adjode.Loss(terminal=lambda z, theta: 2 * end(z, theta), observations=twice)
    return problem, [loss, other], adjode.solve_fixed(problem, adjode.rk4(), steps, ts=times)


def walked(problem, trajectory, errors):
    """The same steps, each with its error: a trajectory whose steps begin where they should not end."""
    zs, stages, (tableau, ts) = [problem.z0.ravel()], [], (trajectory.tableau, trajectory.ts)
    for n, error in enumerate(errors):
        h, ks = ts[n + 1] - ts[n], []
        for row, c in zip(tableau.a, tableau.c, strict=True):
            z = zs[-1] + h * sum(a * k for a, k in zip(row, ks, strict=False))
            ks.append(hares(ts[n] + c * h, z.reshape(2, 2), problem.theta).ravel())
        zs.append(zs[-1] + h * tableau.b @ ks + error)
        stages.append(ks)
    zs = np.reshape(zs, (-1, 2, 2))
    fs = np.array([hares(t, z, problem.theta) for t, z in zip(ts, zs, strict=True)])
    return replace(trajectory, zs=zs, fs=fs, stages=np.array(stages))


def parts_of(found):
    theta = flatten(found.theta)[0]
    return {"z0": found.z0.ravel(), "theta": theta, "t0": found.t0, "t1": found.t1, "ts": found.ts}


def on_both_sides(trajectory, found):
    """lambda at the beginnings of the steps, and then at their ends: the jumps included there."""
    after, before = ends_of_lambda(trajectory, found)
    return np.concatenate([after[:-1], before[1:]])


@pytest.mark.parametrize("at_once", [10**6, 7])
@pytest.mark.parametrize(
    "span, times", [((T0, T1), [T0, 1.3, 2.0, T1]), ((T0, T1), [1.3]), ((T1, T0), [T1, 2.0, 1.1, T0])]
)
def test_a_change_is_that_of_the_gradient_on_moved_states(span, times, at_once, monkeypatch):
    problem, losses, trajectory = setting(span, times)
    found, sweep = fast.swept(problem, losses[0], trajectory)
    errors = np.random.default_rng(2).normal(size=(len(trajectory.ts) - 1, 4)) * 0.3 + 1.0
    eps = 1e-6 / len(errors)
    moves = sweep.ahead(eps * errors)
    monkeypatch.setattr(fast.Sweep, "at_once", at_once)
    args = problem, losses, trajectory, found, sweep, moves
    (one, two), largest = changed(*args)
    moved = walked(problem, trajectory, eps * errors)
    np.testing.assert_allclose(
        moved.zs.reshape(moves.shape) - trajectory.zs.reshape(moves.shape), moves, atol=1e-11
    )
    by_steps = [adjode.adjoint_discrete(problem, loss, moved) for loss in losses]
    for name, change in parts_of(one).items():
        wanted = parts_of(by_steps[0])[name] - parts_of(found)[name]
        assert np.max(np.abs(change - wanted)) < RULE * np.max(np.abs(wanted)), name
    for name, change in parts_of(two).items():  # here the moves do not matter: the other rows are other
        wanted = parts_of(by_steps[1])[name] - parts_of(by_steps[0])[name]
        assert np.max(np.abs(change - wanted)) < RULE * np.max(np.abs(wanted)), name
    lams, alone = on_both_sides(moved, by_steps[0]), changed(*args[:1], losses[:1], *args[2:])[1]
    assert alone == pytest.approx(beside(lams - on_both_sides(trajectory, found), lams), rel=RULE)
    assert largest == pytest.approx(beside(on_both_sides(moved, by_steps[1]) - lams, lams), rel=RULE)


def test_where_states_do_not_move_nothing_changes_and_rows_that_are_the_same_add_nothing():
    problem, losses, trajectory = setting((T0, T1), [T0, 1.3, T1])
    found, sweep = fast.swept(problem, losses[0], trajectory)
    moves = np.random.default_rng(6).normal(size=(len(trajectory.ts), 4)) * 0.01
    moves[0] = 0.0
    for times, largest_of in [
        (0.0, lambda largest: largest == 0.0),
        (1.0, lambda largest: 0 < largest < 0.1),
    ]:
        (one, same), largest = changed(problem, losses[:1] * 2, trajectory, found, sweep, times * moves)
        assert largest_of(largest)
        for part in parts_of(one).values():  # rounding, or a change
            assert np.max(np.abs(part)) > 1e-6 if times else np.max(np.abs(part)) < 1e-13
        assert not any(np.any(part) for part in parts_of(same).values())


@pytest.mark.parametrize("span, times", [((T0, T1), [T0, 1.3, T1]), ((T1, T0), [T1, 2.0, T0])])
def test_derivatives_in_the_times_change_by_the_rows_and_by_the_slopes_at_their_own_node(span, times):
    problem, losses, trajectory = setting(span, times)
    found, sweep = fast.swept(problem, losses[0], trajectory)
    moves = np.random.default_rng(7).normal(size=(len(trajectory.ts), 4)) * 1e-6  # each node its own
    moves[0] = 0.0
    ts, zs = trajectory.ts, trajectory.zs + moves.reshape(trajectory.zs.shape)
    fs = np.array([hares(t, z, problem.theta).ravel() for t, z in zip(ts, zs, strict=True)])
    last, _, jumps = fast.loss_rows(problem, losses[0], replace(trajectory, zs=zs))
    (one,), _ = changed(problem, losses[:1], trajectory, found, sweep, moves)
    assert one.t1 == pytest.approx(last @ fs[-1] - found.t1, rel=1e-3)
    wanted = np.array([row @ fs[n] for n, row in jumps.items()]) - found.ts
    np.testing.assert_allclose(one.ts, wanted, rtol=1e-3)


@pytest.mark.parametrize("span", [(T0, T1), (T1, T0)])
def test_a_move_at_an_observation_meets_lambda_with_the_jump_before_it_and_without_after_it(span):
    t = span[0] + (span[1] - span[0]) / 3
    problem, losses, trajectory = setting(span, [t], steps=1)  # the end of the first step of two
    found, sweep = fast.swept(problem, losses[0], trajectory)
    moves = np.zeros((3, 4))
    moves[1] = [0.1, -0.2, 0.3, 0.1]
    (one,), _ = changed(problem, losses[:1], trajectory, found, sweep, moves)
    (before, after), pull = np.diff(trajectory.ts) / 2, adjoint_pullback(problem)
    z = trajectory.zs[1].ravel()
    jump, moved = (grad(seen, 1)(0, x.reshape(2, 2)).ravel() for x in (z, z + moves[1]))
    lam = before * (sweep.lams[1] + jump) + after * sweep.lams[1]
    row = moved - jump + pull(t, z + moves[1], lam)[1] - pull(t, z, lam)[1]
    wanted, (blocks, step) = np.zeros(4), sweep.propagators[-1]
    for some, part in zip(blocks, step, strict=True):
        wanted[some] = row[some] @ part
    np.testing.assert_allclose(one.z0, wanted.reshape(2, 2), rtol=1e-10)


def test_the_largest_change_is_beside_lambda_where_it_is():
    assert beside(np.array([[3.0, -4.0], [0.5, 0.0]]), np.array([[8.0, 1.0], [0.0, -0.5]])) == 1.0
    assert beside(np.array([[3.0, -4.0], [0.1, 0.0]]), np.array([[8.0, 1.0], [0.0, 0.5]])) == 0.5
    assert beside(np.array([[0.0, 2.0]]), np.zeros((1, 2))) == 2.0  # not small


def test_rows_change_with_the_states_and_then_with_the_loss():
    problem, losses, trajectory = setting((T0, T1), [T0, 1.3, T1])
    moves = np.random.default_rng(3).normal(size=(len(trajectory.ts), 4)) * 0.1
    moves[0] = 0.0
    first, by_moves, by_loss = all_rows(problem, losses, trajectory, moves)
    there = replace(trajectory, zs=trajectory.zs + moves.reshape(-1, 2, 2))
    for loss, z, parts in [
        (losses[0], trajectory, [first]),
        (losses[0], there, [first, by_moves]),
        (losses[1], there, [first, by_moves, by_loss]),
    ]:
        end, theta_bar, jumps = fast.loss_rows(problem, loss, z)
        np.testing.assert_allclose(sum(part[0] for part in parts), end, rtol=1e-12)
        np.testing.assert_allclose(sum(part[1] for part in parts), theta_bar, rtol=1e-12)
        for n, row in jumps.items():
            np.testing.assert_allclose(sum(part[2][n] for part in parts), row, rtol=1e-12)
        assert all(set(part[2]) == set(jumps) for part in parts)


def test_what_is_carried_goes_through_the_blocks_of_every_step():
    rng, (n, blocks) = np.random.default_rng(4), (3, np.array([[0, 2], [1, 3]]))
    steps, whole = rng.normal(size=(n, 2, 2, 2)), np.zeros((n, 4, 4))
    for k in range(n):
        for rows, block in zip(blocks, steps[k], strict=True):
            whole[k][np.ix_(rows, rows)] = block
    come, ends = rng.normal(size=(2 * n, 4)), list(rng.normal(size=(2, 4)))
    jumps = [{k: rng.normal(size=4) for k in (0, 2, 3)} for _ in ends]  # of two losses
    sweep = SimpleNamespace(propagators=[(blocks, steps[k]) for k in reversed(range(n))])
    found, starts = carried(sweep, come, ends, jumps)
    for one, (lam, jumps_of_it) in enumerate(zip(ends, jumps, strict=True)):
        own = 1 - one  # what the steps do counts for the first
        for k in reversed(range(n)):
            lam = lam + jumps_of_it.get(k + 1, 0.0)
            np.testing.assert_allclose(found[n + k, one], lam, rtol=1e-12)
            lam = (lam + own * come[n + k]) @ whole[k] + own * come[k]
            np.testing.assert_allclose(found[k, one], lam, rtol=1e-12)
        np.testing.assert_allclose(starts[one], lam + jumps_of_it[0], rtol=1e-12)
        without = [{k: x[k] for k in (2, 3)} for x in jumps]
        np.testing.assert_allclose(carried(sweep, come, ends, without)[1][one], lam, rtol=1e-12)


@pytest.mark.parametrize("most, traces", [(9, 1), (8, 2), (4, 3)])
def test_a_batch_in_pieces_is_the_batch(most, traces):
    problem, losses, trajectory = setting((T0, T1), [1.3], steps=4)
    _, sweep = fast.swept(problem, losses[0], trajectory)
    sizes = []
    f = lambda t, z, theta: sizes.append(len(z)) or hares(t, z, theta)
    many = replace(sweep.batch, problem=replace(problem, f=f))
    ts, zs = trajectory.ts, trajectory.zs.reshape(9, 4)
    v = np.random.default_rng(5).normal(size=(9, 4))
    values, back = in_pieces(many, ts, zs, most)
    assert len(sizes) == traces and max(sizes) <= 2 * most + 2
    wanted, pulled = sweep.batch(ts, zs)
    np.testing.assert_allclose(values, wanted, rtol=1e-13)
    np.testing.assert_allclose(back(v)[0], pulled(v)[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(back(v)[1], pulled(v)[1], rtol=1e-12)
    assert back(v, theta=False)[1] is None
    assert len(sizes) == (1 if traces == 1 else 4 * traces)  # each of three times again
