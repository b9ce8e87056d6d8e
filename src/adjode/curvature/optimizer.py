"""Gauss-Newton steps with Kronecker factors, at the price of a gradient and a little more."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adjode.curvature.kronecker import KroneckerFactors, damped_inverse, kronecker_factors, mixed
from adjode.fast import adjoint_fast
from adjode.loss import Gradient
from adjode.problem import InitialValueProblem, Loss
from adjode.structure import flatten
from adjode.trajectory import Trajectory


@dataclass(frozen=True)
class KroneckerMemory:
    """What one `kronecker_step` hands to the next."""

    steps: int  # taken so far
    factors: KroneckerFactors  # running averages
    solve: Callable  # theta_bar -> (A (x) B + damping I)^-1 theta_bar
    velocity: np.ndarray  # (P,)
    gradient: Gradient  # of the last step, before it was preconditioned


def kronecker_step(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, memory: KroneckerMemory | None = None,
    *, rate: float, damping: float = 0.05, momentum: float = 0.9, keep: float = 0.75, every: int = 1,
    nodes: int = 3, paths: Callable | None = None,
) -> tuple[Any, KroneckerMemory]:  # fmt: skip
    """theta - rate * v, with v = momentum * v + (1 - momentum) (A (x) B + damping I)^-1 theta_bar.

    One gradient; and at every `every`-th step new Kronecker factors from the same backward pass, with
    q = L_z of each case as the one terminal row: `eq-opt-step`.

    Parameters
    ----------
    problem : InitialValueProblem
        With z0 of shape (N, D), a batch of N cases, and a field made of layers.
    loss : Loss
        The mean over the cases.
    trajectory : Trajectory
        Of this problem, with its stages: from ``solve_fixed``, or ``solve(..., store="stages")``.
    memory : KroneckerMemory, optional
        What the step before returned; None for the first.
    rate, damping, momentum : float
    keep : float
        How much of the old factors stays in the running average.
    every, nodes : int
        How often the factors are renewed, and from how many nodes of the trajectory.
    paths : callable, optional
        ``paths(gradient) -> list of AdjointPath``, the rows q for the factors. By default N lambda.

    Returns
    -------
    theta : of the structure of problem.theta
    memory : KroneckerMemory

    Raises
    ------
    ValueError
        When a setting is out of range, or f is not made of layers.

    Notes
    -----
    After SNOpt, the optimizer of the slides by Liu (2021); the chapter says what is taken over.
    """
    check_settings(rate=rate, damping=damping, momentum=momentum, keep=keep, every=every)
    gradient = adjoint_fast(problem, loss, trajectory)
    taken = memory.steps if memory else 0
    if memory is None or taken % every == 0:
        rows = paths(gradient) if paths else [case_rows(problem, gradient)]
        factors = kronecker_factors(problem, trajectory, rows, nodes=nodes)
        factors = mixed(memory.factors, factors, keep) if memory else factors
        solve = damped_inverse(factors, damping)
    else:
        factors, solve = memory.factors, memory.solve
    theta, unflatten = flatten(problem.theta)
    new = flatten(solve(gradient.theta))[0]
    velocity = (1 - momentum) * new + (momentum * memory.velocity if memory else 0.0)
    return unflatten(theta - rate * velocity), KroneckerMemory(taken + 1, factors, solve, velocity, gradient)


def case_rows(problem: InitialValueProblem, gradient: Gradient):
    """q of each case, where the loss is the mean over the cases: N lambda."""
    cases = len(problem.z0) if problem.z0.ndim > 1 else 1
    return replace(gradient.path, lams=cases * gradient.path.lams)


def check_settings(*, rate, damping, momentum, keep, every) -> None:
    fine = {
        "rate": (rate > 0, "positive"),
        "damping": (damping >= 0, "zero or positive"),
        "momentum": (0 <= momentum < 1, "in [0, 1)"),
        "keep": (0 <= keep < 1, "in [0, 1)"),
        "every": (every >= 1 and every == int(every), "a positive integer"),
    }
    for name, (good, wanted) in fine.items():
        if not good:
            raise ValueError(f"`{name}` must be {wanted}; got {locals()[name]}")
