"""The tangent along the steps of a solve: the derivative of the numbers that it computed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from adjode.batched import Nodes, batch
from adjode.curvature.tangent import pushforward, split
from adjode.fast import ROOM, WIDE, apart, independent, jacobians
from adjode.problem import InitialValueProblem
from adjode.solve import checked
from adjode.stiff import state_jacobian
from adjode.structure import leaves, rebuild
from adjode.trajectory import Stats, Trajectory


def tangent_trajectory(problem: InitialValueProblem, trajectory: Trajectory, tangent: InitialValueProblem,
                       running: Callable | None = None) -> Trajectory:  # fmt: skip
    """The tangent along the steps of a trajectory of `problem`, as a trajectory of `tangent`.

    Each step is differentiated as it was taken, its size frozen: v_next = v + h sum_i b_i l_i with
    l_i = f_z(Z_i) (v + h sum_j a_ij l_j) + f_theta(Z_i) w. The trajectory must have its stages.
    `running`, a running cost of `tangent`, is integrated by the same scheme.
    """
    if trajectory.stages is None:
        raise ValueError('second derivatives need the stages; solve with store="stages" or "dense"')
    tableau, shape, ks, ts = trajectory.tableau, problem.z0.shape, trajectory.stages, trajectory.ts
    linear, ls, vs = Linear(problem, trajectory, tangent.theta[1]), np.zeros_like(ks), []
    v, rates = np.ravel(split(tangent.z0, shape)[1]), implicit_rates if tableau.implicit else explicit_rates
    with np.errstate(all="ignore"):
        for n, h in enumerate(np.diff(ts)):
            vs.append(v)
            ls[n] = rates(linear, tableau, n, h, v)
            v = v + h * (tableau.b @ ls[n])
        last = linear.rate(ts[-1], trajectory.zs[-1], v)

    def beside(one, other):  # (..., D) twice as (..., 2D), in the order of a flat state of `tangent`
        parts = (np.reshape(x, (*other.shape[:-1], *(shape or (1,)))) for x in (one, other))
        return np.concatenate(list(parts), axis=-1)

    zs, fs = beside(trajectory.zs, np.stack([*vs, v])), beside(trajectory.fs, np.vstack([ls[:, 0], last]))
    stages = beside(ks, ls).reshape(*ks.shape[:2], -1)
    stats = Stats(vjps=linear.traced, stored_states=2 * trajectory.stats.stored_states)
    path = replace(trajectory, zs=zs, fs=fs, stages=stages, dense=None, running=None, stats=stats, hard=())
    return path if running is None else replace(path, running=integrated(path, tangent, running))


def integrated(path: Trajectory, problem: InitialValueProblem, running: Callable) -> np.ndarray:
    """int running dt up to each node, by the scheme of the path, shape (N + 1,)."""
    total, (ts, zs, hs) = [0.0], stage_states(path)
    for t, z, h in zip(ts, zs, hs, strict=True):
        values = [running(s, x.reshape(problem.z0.shape), problem.theta) for s, x in zip(t, z, strict=True)]
        values = [checked("running(t, z, theta)", value, ()) for value in values]
        total.append(total[-1] + h * (path.tableau.b @ values))
    return np.array(total)


def stage_states(path: Trajectory) -> tuple:
    """The times (N, s) and states Z_i (N, s, D) of all stages, and the step sizes (N,)."""
    hs, start = path.hs, path.zs[:-1].reshape(len(path.ts) - 1, 1, -1)
    ts = path.ts[:-1, None] + hs[:, None] * path.tableau.c
    return ts, start + hs[:, None, None] * (path.tableau.a @ path.stages), hs


def explicit_rates(linear: "Linear", tableau, n: int, h: float, v: np.ndarray) -> np.ndarray:
    """The l_i of step n, one after the other, shape (s, D)."""
    ls = np.zeros((len(tableau.b), len(v)))
    for i, row in enumerate(h * tableau.a):
        ls[i] = linear.at(n, i, v + row[:i] @ ls[:i])
    return ls


def implicit_rates(linear: "Linear", tableau, n: int, h: float, v: np.ndarray) -> np.ndarray:
    """The same for implicit stages, where each waits for all: a linear system."""
    jacobian, (ts, zs) = state_jacobian(linear.problem), (linear.ts[n], linear.zs[n])
    f_z = np.stack([jacobian(t, z) for t, z in zip(ts, zs, strict=True)])
    blocks = h * np.einsum("ij,irc->irjc", tableau.a, f_z).reshape(f_z.shape[0] * len(v), -1)
    right = np.concatenate([linear.rate(t, z, v) for t, z in zip(ts, zs, strict=True)])
    return np.linalg.solve(np.eye(len(blocks)) - blocks, right).reshape(-1, len(v))


class Linear:
    """v -> f_z v + f_theta w at the stages of a trajectory.

    Where f takes a batch, the f_z of many steps come from one trace; else each product has its own.
    """

    def __init__(self, problem: InitialValueProblem, trajectory: Trajectory, w: Any):
        self.problem, self.w, self.traced = problem, leaves(w), 0
        (self.ts, self.zs, self.hs), self.ks = stage_states(trajectory), trajectory.stages
        explicit = problem.z0.size > 0 and not trajectory.tableau.implicit
        self.batch = batch(problem, trajectory) if explicit else None
        self.start, self.f_z, self.q, self.blocks = 0, (), (), None  # of the steps from `start` on

    def at(self, n: int, i: int, v: np.ndarray) -> np.ndarray:
        """At stage i of step n, for flat v."""
        if self.batch and n >= self.start + len(self.q):
            self.look_ahead(n)
        if not self.batch:
            return self.rate(self.ts[n, i], self.zs[n, i], v)
        out = self.q[n - self.start, i].copy()
        out[self.blocks] += (self.f_z[n - self.start, i] @ v[self.blocks][:, :, None])[:, :, 0]
        return out

    def rate(self, t: float, z: np.ndarray, v: np.ndarray) -> np.ndarray:
        """At one state, by itself."""
        theta, shape = self.problem.theta, self.problem.z0.shape
        fun = lambda z, *new: self.problem.f(t, z, rebuild(theta, new))
        self.traced += 1
        args, moved = [np.reshape(z, shape), *leaves(theta)], [np.reshape(v, shape), *self.w]
        return np.ravel(pushforward(fun, args, moved)[1])

    def look_ahead(self, n: int) -> None:
        """f_z and f_theta w at the stages of as many steps as there is room for, or no batch."""
        (_, s, d) = self.zs.shape
        ahead = slice(n, n + max(1, ROOM // (s * d * 60)))
        nodes = Nodes(self.ts[ahead], self.zs[ahead], self.ks[ahead], self.hs[ahead])
        try:
            self.f_z, self.q = self.linearised(nodes)
            self.start, self.traced = n, self.traced + 2 * nodes.ts.size
        except Exception:  # f takes no such batch after all, in whatever words
            self.batch = None

    def linearised(self, nodes: Nodes) -> tuple:
        """f_z in blocks, (steps, s, B, d, d), and f_theta w, (steps, s, D)."""
        ts, zs = nodes.ts.ravel(), nodes.zs.reshape(nodes.ts.size, -1)
        values, back = self.batch(ts, zs)
        blocks = self.blocks = independent(self.problem.z0.shape, back)
        if blocks.shape[1] > WIDE or not (nodes.agree(values) and self.batch.keeps_apart(ts, zs, back)):
            raise ValueError("too wide, or f has other values as a batch")
        self.batch.hold(ts, zs, back, back(np.ones_like(zs))[1])
        f_z = jacobians(back, blocks)
        if not apart(back, blocks, f_z):
            raise ValueError("the blocks are not independent")

        def along_w(fun, z, *theta):
            w = [np.reshape(x, np.shape(leaf)) for x, leaf in zip(self.w, theta, strict=True)]
            return pushforward(fun, [z, *theta], [0.0 * z, *w])[1], None, 0

        q = self.batch.trace(ts, zs, along_w)[0]
        return f_z.reshape(*nodes.ts.shape, *f_z.shape[1:]), q.reshape(nodes.zs.shape)
