"""Derivatives of derivatives: the steps of a solve once more, for autograd to trace."""

from collections.abc import Callable
from itertools import pairwise

import autograd.numpy as anp
import numpy as np

from adjode.problem import InitialValueProblem
from adjode.solve import solve
from adjode.steps import rk_steps
from adjode.structure import untraced


def traced_states(f: Callable, z0, ts, theta, unflatten: Callable, **options):
    """z(ts) by the steps of a solve, frozen as fractions of the gaps between the ts.

    z0, ts and theta, the last of shape (P,), may be traced to any depth, at the cost of the memory
    of that trace. The options are those of `solve`.
    """
    start, times = untraced(z0), untraced(ts)
    problem = InitialValueProblem(f, start, times[0], times[-1], unflatten(untraced(theta)))
    taken, zs, nest = solve(problem, ts=times, store="stages", **options), [z0], unflatten(theta)
    nodes = np.flatnonzero(np.isin(taken.ts, times))
    for i, (m, n) in enumerate(pairwise(nodes)):
        fractions = (taken.ts[m : n + 1] - times[i]) / (times[i + 1] - times[i])
        grid = ts[i] + fractions * (ts[i + 1] - ts[i])
        zs.append(rk_steps(taken.tableau, f, grid, zs[-1], nest)[-1])
    return anp.stack(zs)
