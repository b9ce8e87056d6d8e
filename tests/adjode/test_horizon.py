"""Derivatives in the end time: closed forms, differences in T, and the model's own minimum."""

import importlib.util
import json
import sys
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
from adjode.curvature import HorizonDerivatives, horizon_derivatives

CLOSED = 1e-9  # a solve at 1e-12
DIFFERENCES = 1e-6  # of fourth order, with a step of 1e-2, on solves at 1e-12
TIGHT = {"rtol": 1e-12, "atol": 1e-13}


def f(t, z, theta):
    return anp.array([theta[0] * z[1] * anp.cos(t), theta[1] * t - anp.sin(z[0]) * z[1]])


PARTS = {
    "terminal": {"terminal": lambda z, theta: z[0] ** 3 * z[1] + theta[0] * z[1]},
    "running": {"running": lambda t, z, theta: z[0] ** 2 * t + theta[1] * z[1]},
    "both": {"terminal": lambda z, theta: z[0] ** 3 * z[1] + theta[0] * z[1],
             "running": lambda t, z, theta: z[0] ** 2 * t + theta[1] * z[1]},
}  # fmt: skip
PENALTIES = {"none": None, "linear": lambda T: 0.7 * T, "cubic": lambda T: 0.3 * T**3}
THETA = np.array([1.1, 0.4])


def solved(loss, T, theta=THETA):
    problem = adjode.InitialValueProblem(f, [0.8, -0.3], 0.2, T, theta)
    return problem, adjode.solve(problem, running=loss.running, **TIGHT)


def cost(parts, penalty, T, theta=THETA):
    loss = adjode.Loss(**parts)
    problem, path = solved(loss, T, theta)
    return adjode.loss_value(problem, loss, path) + (penalty(T) if penalty else 0.0)


def slope(g, x, h=1e-2):
    return (8 * (g(x + h) - g(x - h)) - (g(x + 2 * h) - g(x - 2 * h))) / (12 * h)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("parts", PARTS)
def test_the_derivatives_are_those_of_differences(parts, penalty):
    loss, penalty = adjode.Loss(**PARTS[parts]), PENALTIES[penalty]
    problem, path = solved(loss, 1.3)
    found = horizon_derivatives(problem, loss, path, penalty=penalty)
    assert found.first == pytest.approx(slope(lambda T: cost(PARTS[parts], penalty, T), 1.3), rel=DIFFERENCES)

    def first(T, theta=THETA):
        problem, path = solved(loss, T, theta)
        return horizon_derivatives(problem, loss, path, penalty=penalty).first

    assert found.second == pytest.approx(slope(first, 1.3), rel=DIFFERENCES)
    moved = [slope(lambda x, e=e: first(1.3, THETA + x * e), 0.0) for e in np.eye(2)]
    np.testing.assert_allclose(found.mixed, moved, rtol=DIFFERENCES, atol=1e-8)


def test_the_running_example_by_hand():
    k = 2 / 3 * np.log(2)  # z = exp(theta (T^2 - 1) / 2), L = (z - 3)^2 / 2, at T = 2: z = 2
    problem = adjode.InitialValueProblem(lambda t, z, theta: theta * t * z, [1.0], 1.0, 2.0, k)
    loss = adjode.Loss(terminal=lambda z, theta: 0.5 * (z[0] - 3.0) ** 2)
    found = horizon_derivatives(problem, loss, adjode.solve(problem, **TIGHT))
    rate = 4 * k  # z' at 2
    assert found.first == pytest.approx(-rate, rel=CLOSED)
    assert found.second == pytest.approx(
        rate**2 - (2 * k + 8 * k**2), rel=CLOSED
    )  # z'' = theta z (1 + theta t^2)
    assert found.mixed == pytest.approx(
        12 * k - (4 + 12 * k / 2), rel=1e-8
    )  # z_theta = 3, (z')_theta = 4 + 6 theta


def test_a_batch_and_a_nest_of_parameters():
    net, theta = adjode.mlp([2, 4, 2], seed=2)
    z0 = np.random.default_rng(0).normal(size=(3, 2))
    loss = adjode.Loss(terminal=lambda z, theta: anp.mean(anp.sum((z - 1.0) ** 2, axis=1)))
    vector, unflatten = adjode.flatten(theta)

    def at(T, v=vector):
        problem = adjode.InitialValueProblem(net, z0, 0.0, T, unflatten(v))
        return problem, loss, adjode.solve(problem, **TIGHT)

    found = horizon_derivatives(*at(0.9))
    assert found.second == pytest.approx(
        slope(lambda T: horizon_derivatives(*at(T)).first, 0.9), rel=DIFFERENCES
    )
    direction = np.random.default_rng(1).normal(size=vector.size)
    along = slope(lambda x: horizon_derivatives(*at(0.9, vector + x * direction)).first, 0.0)
    assert adjode.flatten(found.mixed)[0] @ direction == pytest.approx(along, rel=DIFFERENCES)


def test_the_step_minimises_the_quadratic_model():
    rng = np.random.default_rng(4)
    one = HorizonDerivatives(0.7, 2.5, [np.array([0.3, -0.2]), 1.1])
    theta_step = [rng.normal(size=2), -0.4]
    linear = 0.7 + 0.3 * theta_step[0][0] - 0.2 * theta_step[0][1] + 1.1 * -0.4
    model = lambda x: linear * x + 0.5 * 2.5 * x**2
    best = one.step(theta_step)
    assert all(model(best) < model(best + x) for x in (-1e-3, 1e-3))
    assert one.step() == pytest.approx(-0.7 / 2.5)
    for wrong in (np.ones(3), [1.1, np.zeros(2)]):
        with pytest.raises(ValueError, match="`theta_step` must have the structure and shapes of theta"):
            one.step(wrong)
    with pytest.raises(ValueError, match="`theta_step` must be finite"):
        one.step([np.zeros(2), np.nan])


def test_the_order_of_the_keys_of_a_step_does_not_matter():
    one = HorizonDerivatives(0.7, 2.5, {"a": 0.3, "b": -0.2})
    assert one.step({"b": 1.0, "a": 2.0}) == one.step({"a": 2.0, "b": 1.0}) == pytest.approx(-1.1 / 2.5)


@pytest.mark.parametrize("second", [0.0, -1.0, np.nan])
def test_a_model_without_a_minimum_gives_no_step(second):
    with pytest.raises(ValueError, match="is not positive, so the model has no minimum in T"):
        HorizonDerivatives(0.7, second, 0.0).step()


def test_observations_alone_do_not_see_the_end_time():
    seen = adjode.Loss(observations=adjode.Observations([1.0], lambda i, z: anp.sum(z**2)))
    problem = adjode.InitialValueProblem(f, [0.8, -0.3], 0.2, 1.3, THETA)
    path = adjode.solve(problem, ts=[1.0])
    with pytest.raises(ValueError, match="observations do not change with the end time"):
        horizon_derivatives(problem, seen, path)
    more = adjode.Loss(terminal=PARTS["terminal"]["terminal"], observations=seen.observations)
    alone = adjode.Loss(terminal=PARTS["terminal"]["terminal"])
    both = [horizon_derivatives(problem, loss, path) for loss in (more, alone)]
    assert both[0].first == both[1].first and both[0].second == both[1].second
    np.testing.assert_array_equal(both[0].mixed, both[1].mixed)


def test_bad_arguments_are_one_clear_error():
    loss = adjode.Loss(**PARTS["terminal"])
    problem, path = solved(loss, 1.3)
    with pytest.raises(TypeError, match=r"`penalty` must be callable as penalty\(T\)"):
        horizon_derivatives(problem, loss, path, penalty=0.1)
    with pytest.raises(ValueError, match=r"penalty\(T\) must return a scalar"):
        horizon_derivatives(problem, loss, path, penalty=lambda T: T * np.ones(2))
    with pytest.raises(ValueError, match=r"terminal\(z, theta\) must return a scalar"):
        horizon_derivatives(problem, adjode.Loss(terminal=lambda z, theta: z**2), path)
    with np.errstate(all="ignore"), pytest.raises(adjode.GradientError, match="must be finite"):
        horizon_derivatives(problem, loss, path, penalty=lambda T: anp.abs(T - 1.3) ** 1.5)
    other = adjode.InitialValueProblem(f, [0.8, -0.3], 0.2, 1.4, THETA)
    with pytest.raises(ValueError, match="the trajectory is not one of this problem"):
        horizon_derivatives(other, loss, path)


# -- what the chapter draws ---------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
SMALL = 1e-4  # fifteen steps amplify what another library of linear algebra rounds otherwise


@pytest.mark.parametrize("rule", ["fixed", "first order", "exact", "as released"])
def test_the_stored_end_times_are_those_of_the_script_today(rule, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    spec = importlib.util.spec_from_file_location("horizon_bench", ROOT / "bench/horizon.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    monkeypatch.delitem(sys.modules, "optimizers", raising=False)
    kept = json.loads((ROOT / "book/data/horizon.json").read_text(encoding="utf-8"))
    steps, seed, *row = kept["rules"][rule]["short"]
    found = bench.train(bench.TASKS["digits"](), rule, kept["rate"], seed, steps)[2][-1]
    np.testing.assert_allclose(found, row, rtol=SMALL)
    assert [pair[0] for pair in kept["tuning"]] == bench.GRID
    assert kept["rate"] == min(kept["tuning"], key=lambda pair: pair[1])[0]
    assert [run["seed"] for run in kept["rules"][rule]["runs"]] == list(bench.SEEDS)
