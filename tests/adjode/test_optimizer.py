"""The optimizer: one step by explicit matrices, a minimum in one step, and the stored comparison again."""

import importlib.util
import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest

import adjode
from adjode.curvature import kronecker_factors, kronecker_step
from adjode.curvature.kronecker import mixed

ROUNDING = 1e-10  # explicit inverses of damped matrices, condition 1e4
ROOT = Path(__file__).parents[2]
RATE = 0.3


def task(theta=None, seed=1):
    f, start = adjode.mlp([3, 4, 3], seed=seed)
    z0 = np.random.default_rng(seed).normal(size=(5, 3))
    problem = adjode.InitialValueProblem(f, z0, 0.0, 1.0, start if theta is None else theta)
    return problem, adjode.Loss(terminal=lambda z, w: anp.mean(anp.sum((z - 1.0) ** 2, axis=1)))


def solved(problem):
    return adjode.solve_fixed(problem, adjode.rk4(), 8)


def explicit(factors, theta_bar, damping):
    """(A (x) B + damping I)^-1 theta_bar with the matrices formed; offsets are last rows."""
    out = []
    for k, (a, b) in enumerate(zip(factors.inputs, factors.outputs, strict=True)):
        g = np.vstack(theta_bar[k])
        w = np.linalg.solve(np.kron(a, b) + damping * np.eye(g.size), g.ravel()).reshape(g.shape)
        out.append((w[:-1], w[-1]))
    return out


def test_two_steps_are_those_of_explicit_matrices():
    problem, loss = task()
    path = solved(problem)
    gradient = adjode.adjoint_discrete(problem, loss, path)
    rows = replace(gradient.path, lams=5 * gradient.path.lams)  # of each case, not of the mean
    factors = kronecker_factors(problem, path, [rows], nodes=3)
    move = adjode.flatten(explicit(factors, gradient.theta, 0.05))[0]
    theta, memory = kronecker_step(problem, loss, path, rate=RATE)
    x = adjode.flatten(problem.theta)[0]
    np.testing.assert_allclose(adjode.flatten(theta)[0], x - RATE * 0.1 * move, rtol=ROUNDING, atol=ROUNDING)

    again, _ = task(theta)
    path = solved(again)
    gradient = adjode.adjoint_discrete(again, loss, path)
    new = kronecker_factors(again, path, [replace(gradient.path, lams=5 * gradient.path.lams)], nodes=3)
    more = adjode.flatten(explicit(mixed(factors, new, 0.75), gradient.theta, 0.05))[0]
    found, memory = kronecker_step(again, loss, path, memory, rate=RATE)
    wanted = adjode.flatten(theta)[0] - RATE * (0.9 * 0.1 * move + 0.1 * more)
    np.testing.assert_allclose(adjode.flatten(found)[0], wanted, rtol=ROUNDING, atol=ROUNDING)
    assert memory.steps == 2


def test_factors_are_kept_between_renewals():
    problem, loss = task()
    memory, seen = None, []
    for _ in range(5):
        theta, memory = kronecker_step(problem, loss, solved(problem), memory, rate=RATE, every=2)
        seen.append(memory.factors)
        problem, _ = task(theta)
    same = [one is other for one, other in pairwise(seen)]
    assert same == [True, False, True, False]


def test_one_step_reaches_the_minimum_where_the_matrix_is_the_hessian():
    c = np.array([0.5, -1.0])  # z(1) = z0 + c w: one input, one row each, the same at all times
    target = np.array([2.0, -1.0, 0.5])
    problem = adjode.InitialValueProblem(lambda t, z, w: anp.dot(c, w) + 0 * z, np.zeros(3), 0.0, 1.0,
                                         np.ones((2, 3)))  # fmt: skip
    loss, path = adjode.Loss(terminal=lambda z, w: 0.5 * anp.sum((z - target) ** 2)), solved(problem)
    unit = lambda r: adjode.Loss(terminal=lambda z, w: z[r])
    rows = lambda _: [adjode.adjoint_discrete(problem, unit(r), path).path for r in range(3)]
    theta, _ = kronecker_step(problem, loss, path, rate=1.0, momentum=0.0, damping=1e-10, paths=rows)
    np.testing.assert_allclose(c @ theta, target, rtol=1e-8)


def test_it_trains():
    problem, loss = task()
    memory, before = None, adjode.loss_value(problem, loss, solved(problem))
    for _ in range(60):
        theta, memory = kronecker_step(problem, loss, solved(problem), memory, rate=RATE)
        problem, _ = task(theta)
    assert adjode.loss_value(problem, loss, solved(problem)) < 0.01 * before


OUTSIDE = [{"rate": 0.0}, {"rate": -1.0}, {"rate": np.nan}, {"damping": -0.1}, {"momentum": 1.0},
           {"keep": -0.1}, {"every": 0}, {"every": 1.5}]  # fmt: skip


@pytest.mark.parametrize("wrong", OUTSIDE)
def test_a_setting_out_of_range_is_named(wrong):
    problem, loss = task()
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}` must be .*; got {wrong[name]}"):
        kronecker_step(problem, loss, solved(problem), **{"rate": 0.1, **wrong})


# -- the comparison that the chapter draws ------------------------------------------------------------


def stored(name):
    return json.loads((ROOT / f"book/data/{name}.json").read_text(encoding="utf-8"))


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"bench/{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = 1e-4  # a few steps amplify what another library of linear algebra rounds otherwise


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "lynx", "cnf"])
def test_the_stored_runs_begin_as_the_script_does_today(name):
    bench, record = script("optimizers"), stored("optimizers")["tasks"][name]
    task = bench.TASKS[name]()
    assert record["cases"] == [len(task.train), len(task.test)] and record["seconds"] == task.seconds
    assert set(record["methods"]) == set(bench.METHODS)
    for method, kept in record["methods"].items():
        steps, seed, loss = kept["short"]
        run = bench.train(task, method, kept["setting"], seed, steps=steps)
        assert bench.final(run) == pytest.approx(loss, rel=SMALL), method
        assert run.curve[0][3] == pytest.approx(kept["runs"][0]["curve"][0][3], rel=SMALL)  # the same start


def test_every_method_had_the_same_start_budget_and_number_of_settings():
    bench = script("optimizers")
    for record in stored("optimizers")["tasks"].values():
        for row in range(5):
            starts = {kept["runs"][row]["curve"][0][3] for kept in record["methods"].values()}
            assert len(starts) == 1
        for method, kept in record["methods"].items():
            assert [setting for setting, _ in kept["tuning"]] == bench.GRIDS[method]
            assert len(kept["tuning"]) == 6 and [run["seed"] for run in kept["runs"]] == list(bench.SEEDS)
            best = min(kept["tuning"], key=lambda pair: np.inf if pair[1] is None else pair[1])
            assert kept["setting"] == best[0]
