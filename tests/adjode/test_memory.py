"""Memory as Python measures it: what grows with the steps, and what does not."""

import gc
import tracemalloc

import autograd.numpy as anp
import numpy as np

import adjode

SIZE = 2000
STATE = 8 * SIZE  # bytes


def field(t, z, theta):
    """Keeps the length of z: to be run backwards without harm."""
    return theta * (anp.roll(z, 1) - anp.roll(z, -1))


def problem(t1):
    return adjode.InitialValueProblem(field, np.linspace(0.0, 1.0, SIZE), 0.0, t1, 0.5)


LOSS = adjode.Loss(terminal=lambda z, theta: anp.sum(z**2))


def peak(call):
    """Peak of memory in bytes, and what the call returned."""
    gc.collect()
    tracemalloc.start()
    try:
        found = call()
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


def test_few_checkpoints_do_not_grow_with_the_steps_but_for_their_times():
    def run(n_steps, store, adjoint, **options):
        trajectory = adjode.solve_fixed(problem(1.0), adjode.euler(), n_steps, store=store)
        return adjoint(problem(1.0), LOSS, trajectory, **options)

    few, many = (
        [peak(lambda n=n: run(n, "stages", adjode.adjoint_discrete))[0],
         peak(lambda n=n: run(n, "times", adjode.adjoint_checkpointed, n_checkpoints=8))[0]]
        for n in (50, 150)
    )  # fmt: skip
    more = 100
    assert many[0] - few[0] > more * 2 * STATE  # a state and a stage for each step
    assert many[1] - few[1] < more * STATE / 10  # a time for each, in a list, an array, its copy


def test_backsolve_keeps_nothing_of_its_steps():
    run = lambda t1: adjode.gradient(problem(t1), LOSS, adjoint="backsolve")
    run(1.0)
    (few, short), (many, long) = peak(lambda: run(20.0)), peak(lambda: run(60.0))
    more = long.stats.steps - short.stats.steps
    assert more > 20 and many - few < more * STATE / 10


def test_a_nest_of_parameters_leaves_no_cycles_behind():
    # a cycle would keep the trace of each VJP until the next collection
    f, theta = adjode.mlp([2, 4, 2], seed=0)
    pull = adjode.adjoint_pullback(adjode.InitialValueProblem(f, [1.0, 0.5], 0.0, 1.0, theta))
    pull(0.3, np.ones(2), np.ones(2))
    gc.collect()
    gc.disable()
    try:
        pull(0.3, np.ones(2), np.ones(2))
        assert gc.collect() == 0
    finally:
        gc.enable()
