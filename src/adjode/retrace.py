"""Derivatives of derivatives: the steps of a solve once more, for autograd to trace."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import autograd.numpy as anp
import numpy as np

from adjode.problem import InitialValueProblem
from adjode.steps import rk_steps
from adjode.stiff import state_jacobian
from adjode.structure import untraced
from adjode.trajectory import Trajectory


def traced_states(problem: InitialValueProblem | None, z0, ts, theta: Any, taken: Trajectory | None):
    """z(ts) by the steps `taken` by a solve of the problem, frozen as fractions of the gaps between the ts;
    without steps, at one time.

    z0, ts and the leaves of theta may be traced to any depth, at the cost of the memory of that trace.
    """
    zs, times = [z0], untraced(ts)
    if taken is None:
        return anp.stack(zs)
    f = problem.f
    nodes = np.flatnonzero(np.isin(taken.ts, times))
    for i, (m, n) in enumerate(pairwise(nodes)):
        fractions = (taken.ts[m : n + 1] - times[i]) / (times[i + 1] - times[i])
        grid = ts[i] + fractions * (ts[i + 1] - ts[i])
        if taken.tableau.implicit:
            steps = range(m, n)
            again = (partial(implicit_step, problem, taken, step) for step in steps)
            zs.append(follow(again, f, grid, zs[-1], theta))
        else:
            zs.append(rk_steps(taken.tableau, f, grid, zs[-1], theta)[-1])
    return anp.stack(zs)


def follow(steps, f: Callable, grid, z, theta):
    """z at the end of the grid, by one of the steps for each gap."""
    for step, t, t_next in zip(steps, grid[:-1], grid[1:], strict=True):
        z = step(f, t, z, theta, t_next - t)
    return z


def implicit_step(problem, taken, n: int, f: Callable, t, z, theta, h):
    """Step n once more: three of Newton's iterations from its stages k, which are not traced.

    Each makes one more derivative exact; the matrix, also not traced, is that of the end.
    """
    tableau, k, shape = taken.tableau, taken.stages[n], problem.z0.shape
    a, size, base = tableau.a, taken.ts[n + 1] - taken.ts[n], taken.zs[n].ravel()
    times, zs = taken.ts[n] + size * tableau.c, base + size * (a @ k)
    f_z = [state_jacobian(problem)(time, x) for time, x in zip(times, zs, strict=True)]
    blocks = size * np.einsum("ij,irc->irjc", a, f_z).reshape(k.size, k.size)
    inverse = np.linalg.inv(np.eye(k.size) - blocks)
    for _ in range(3):
        zs = [anp.reshape(x, shape) for x in anp.ravel(z) + h * anp.dot(a, k)]
        slopes = anp.stack([anp.ravel(f(t + c * h, x, theta)) for c, x in zip(tableau.c, zs, strict=True)])
        k = k + anp.reshape(anp.dot(inverse, anp.ravel(slopes - k)), k.shape)
    return z + h * anp.reshape(anp.dot(tableau.b, k), shape)
