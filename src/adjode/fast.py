"""The discrete adjoint once more: the stages of many steps in one trace."""

import math
from dataclasses import replace

import numpy as np

from adjode.batched import close, find_batch, refuse_other, stage_nodes, stages_that_count, values_of
from adjode.blocks import by_blocks, in_rows, through
from adjode.discrete import adjoint_discrete, back_over
from adjode.loss import Gradient, cost_rows, finish, loss_rows
from adjode.problem import InitialValueProblem, Loss
from adjode.steps import first_same_as_last
from adjode.trajectory import Stats, Trajectory, middles

ROOM = 2**20  # numbers in the trace of a chunk of steps, 8 MB: less fits a cache, but each chunk costs some
LIKELY = 200  # numbers in a trace for each in a state, more than most fields have: the first chunk, on
# which layouts are tried, may then be smaller than it could be
SMALL = 8  # entries of a state, of which a few more nodes in a trace cost less than another one
WIDE = 32  # above, a covector for each stage is cheaper than one for each entry of the state


def adjoint_fast(
    problem: InitialValueProblem, loss: Loss, trajectory: Trajectory, *, rtol=1e-6, atol=1e-8
) -> Gradient:
    """`adjoint_discrete` at a fraction of its time: the same numbers, to rounding.

    After the forward solve all stage states are known, so f is traced once for the stages of many
    steps, if it can take them as a batch, with t as an array: that is tried, and what is found is
    held against the equations of the discrete adjoint. Parameters and errors are those of
    `adjoint_discrete`, which does the work where f takes no batch. The g_z and g_theta of a running cost are
    found stage by stage: they do not depend on lambda.

    Notes
    -----
    `eq-stage-propagator`, `eq-step-propagator`. ``stats.vjps`` counts the nodes at which f was
    traced: n for a batch of n. More covectors through the same trace evaluate nothing, and do not
    count.
    """
    return swept(problem, loss, trajectory)[0]


def swept(problem, loss, trajectory, direction=None) -> tuple[Gradient, "Sweep | None"]:
    """`adjoint_fast`, and the sweep that found it, if there was one; which notes f_theta times a
    direction on its way."""
    if trajectory.stages is None or problem.z0.size == 0:
        return adjoint_discrete(problem, loss, trajectory), None
    rows = lam, theta_bar, jumps = loss_rows(problem, loss, trajectory)
    with np.errstate(all="ignore"):
        sweep = Sweep(problem, trajectory, lam, jumps, direction=direction, running=loss.running)
        theta_bar = theta_bar + sweep.run()
    points = np.repeat(trajectory.ts, 2)[::-1], sweep.ends.reshape(-1, problem.z0.size)[::-1]
    stats = Stats(vjps=sweep.traced)
    return finish(problem, loss, trajectory, rows, theta_bar, points, stats), sweep


class Refused(Exception):
    """What the batch gave is not the discrete adjoint."""


class Sweep:
    """lambda from the last node to the first, in chunks of steps, and theta_bar."""

    def __init__(self, problem, trajectory, lam, jumps, way=None, direction=None, running=None):
        self.trajectory, self.jumps, self.way, self.traced = trajectory, jumps, way, 0
        self.problem, kept = problem, stages_that_count(trajectory.tableau)
        self.back_over = back_over(problem, trajectory.tableau, running)
        self.implicit, self.running = trajectory.tableau.implicit, running
        self.a, self.b = trajectory.tableau.a[np.ix_(kept, kept)], trajectory.tableau.b[kept]
        self.lams = np.empty((len(trajectory.ts), problem.z0.size))  # before the jumps
        self.lams[-1], self.batch, self.propagators = lam, None, []  # from the last step to the first
        self.slopes = np.full(self.lams.shape, np.nan)  # lams times f_z there, where it was met
        self.together = True  # steps have parts of one trace
        # and f_theta times it, (steps, s, D), as above: explicit steps alone are asked about it
        self.direction, self.moved = None if self.implicit else direction, []
        # what is asked in doubt about lambda: a trace of its own would take longer than its numbers do
        self.beside = self.direction is not None and problem.z0.size <= SMALL
        self.met: list = []  # (blocks, f_z at the beginnings of steps, beside), from the last ones on
        if way != "by_vjps":
            self.begin(len(self.lams) - 1, len(kept))

    def begin(self, last, s):
        """Find the batch and the blocks, on the last steps: as many as are likely to fit."""
        steps = 1 if self.implicit else min(last, max(1, ROOM // (LIKELY * self.problem.z0.size * s)))
        nodes = self.nodes(last - steps, last)
        self.batch, back, held = find_batch(self.problem, nodes)
        self.traced += nodes.ts.size + 1
        if self.batch is None and self.beside:  # f may refuse what is beside
            self.beside = False
            return self.begin(last, s)
        if self.batch:
            try:
                self.blocks = independent(self.problem.z0.shape, back)
            except Exception:  # f does not take that many covectors
                self.batch = None
            self.held = max(held / steps, 1.0)
            self.first = None if self.implicit else (nodes, back)  # which the first chunk may use

    def nodes(self, first, last):
        """The stages of the steps; and beside them the middles of the steps, and t1."""
        nodes = stage_nodes(self.problem, self.trajectory, first, last)
        if not self.beside:
            return nodes
        ts, zs = middles(self.trajectory, np.arange(first, last))
        end = slice(last, last + (last == len(self.lams) - 1))
        zs_end = self.trajectory.zs[end].reshape(-1, zs.shape[1])
        return replace(nodes, beside=(np.append(ts, self.trajectory.ts[end]), np.append(zs, zs_end, axis=0)))

    def traced_nodes(self, first, last):
        """The stages of the steps, and the map back from a trace that has their values."""
        (nodes, back), self.first = self.first or (None, None), None
        if nodes and last == len(self.lams) - 1 and len(nodes.hs) == last - first:
            return nodes, back
        nodes = self.nodes(first, last)
        self.traced += nodes.ts.size
        values, back = self.batch(*nodes.places())
        if not (nodes.agree(values) and self.batch.keeps_apart(*nodes.places(), back)):
            raise Refused
        return nodes, back

    def after(self, n):
        """lambda at node n, with the jump there."""
        return self.lams[n] + self.jumps[n] if n in self.jumps else self.lams[n]

    @property
    def ends(self) -> np.ndarray:
        """lambda at all nodes, with the jump and before it, (N + 1, 2, D)."""
        ends = np.stack([self.lams, self.lams], axis=1)
        for n, jump in self.jumps.items():
            ends[n, 0] += jump
        return ends

    def costs(self, nodes):
        """What a running cost adds: h b_i g_z to the Lambda_i, (steps, s, D); g_z at the nodes, (steps, D);
        and the sum of h b_i g_theta. Zeros without one."""
        if self.running is None:
            return 0.0, 0.0, 0.0
        weights = np.multiply.outer(nodes.hs, self.b)
        asked, rows = (weights != 0) | (np.arange(len(self.b)) == 0), np.zeros_like(nodes.zs)
        some = nodes.ts[asked], nodes.zs[asked], weights[asked]
        rows[asked], theta_bar = cost_rows(self.problem, self.running, *some)
        return weights[:, :, None] * rows, rows[:, 0], theta_bar

    def run(self):
        theta_bar, last = 0.0, len(self.lams) - 1
        while last > 0:
            theta_chunk, last = self.chunk(last)
            theta_bar = theta_bar + theta_chunk
        return theta_bar

    def chunk(self, last):
        """theta_bar of the steps down to a node that it chooses, and that node."""
        while self.batch:
            d = self.blocks.shape[1]
            way = self.way or ("by_jacobians" if d <= WIDE or self.implicit else "by_stages")
            room = self.held + 3 * len(self.b) * self.blocks.size * d * (way == "by_jacobians")
            room += self.implicit * self.blocks.size * len(self.b) ** 2 * d
            steps = max(1, int(ROOM / room)) if self.together else 1
            steps = -(-last // max(1, round(last / steps)))  # all alike, or a few would be left for a trace
            if last == len(self.lams) - 1 and self.first:  # what is traced already will do
                steps = min(steps, len(self.first[0].hs))
            first = max(0, last - steps)
            try:
                return getattr(self, way)(first, last), first
            except Exception:  # f refuses these nodes, or was Refused
                if self.beside:
                    self.beside = False
                elif way == "by_stages" and self.together:
                    self.together = False
                elif len(self.blocks) > 1:
                    self.blocks = np.arange(self.blocks.size)[None]
                else:
                    self.batch = None
        return self.by_vjps(last), 0

    @property
    def sees_ahead(self) -> bool:
        """Whether it is known of every step what it makes of a change of z: all f_z were computed."""
        return len(self.propagators) == len(self.lams) - 1 and not self.implicit

    def note(self, back, shape):
        """What f does where theta moves along the direction."""
        try:
            if self.direction is not None:
                moved = back.along(self.direction)
                self.moved.append(moved[: math.prod(shape[:2])].reshape(shape))
        except Exception:  # autograd has no rule for it
            self.direction = None

    @property
    def f_z(self) -> tuple | None:
        """Blocks, and f_z in them at all nodes and in the middles of the steps, (N + 1, B, d, d) and
        (N, B, d, d); or None where it is not known."""
        blocks = self.blocks if self.met else None
        if blocks is None or not all(np.array_equal(blocks, other) for other, *_ in self.met):
            return None
        starts, beside = (np.concatenate(parts[::-1]) for parts in list(zip(*self.met, strict=True))[1:])
        if len(starts) < len(self.lams) - 1 or len(beside) < len(starts) + 1:
            return None
        return blocks, np.concatenate([starts, beside[-1:]]), beside[:-1]

    @property
    def theta_moves(self) -> np.ndarray | None:
        """f_theta times the direction at the stages, (N, s, D), zero at those that do not count and have
        no weight in an error; or None where it is not known."""
        if self.direction is None or sum(map(len, self.moved)) < len(self.lams) - 1:
            return None
        tableau, zs = self.trajectory.tableau, self.trajectory.zs.reshape(self.lams.shape)
        moves = np.zeros((len(zs) - 1, len(tableau.b), zs.shape[1]))
        moves[:, stages_that_count(tableau)] = np.concatenate(self.moved[::-1])
        if np.any(tableau.errors[:, -1]) and first_same_as_last(tableau):
            try:
                end = self.batch(self.trajectory.ts[-1:], zs[-1:])[1].along(self.direction)
            except Exception:  # f does not take this node
                return None
            moves[:, -1] = np.concatenate([moves[1:, 0], end])
        return moves

    @property
    def at_once(self) -> int:
        """How many nodes f gets in a batch that fits in the room."""
        return max(1, int(ROOM * len(self.b) / max(self.held, 1)))

    def ahead(self, errors):
        """What errors, (N, D), that the steps make come to at the nodes, (N + 1, D), to first order."""
        moved = [np.zeros(errors.shape[1])]
        for (blocks, step), error in zip(reversed(self.propagators), errors, strict=True):
            last, one = moved[-1], len(blocks) == 1
            moved.append(error + (step[0] @ last if one else through(blocks, step.swapaxes(1, 2), last)))
        return np.array(moved)

    def by_jacobians(self, first, last):
        """All f_z from one trace: a covector for each entry of a block."""
        (nodes, back), blocks = self.traced_nodes(first, last), self.blocks
        h = nodes.hs[:, None, None, None]
        everywhere = jacobians(back, blocks)
        if not apart(back, blocks, everywhere):
            raise Refused
        f_z, beside = everywhere[: nodes.ts.size], everywhere[nodes.ts.size :]
        f_z = f_z.reshape(*nodes.ts.shape, *f_z.shape[1:])
        cost, g_z, theta_cost = self.costs(nodes)
        driven = self.running is not None
        more = by_blocks(cost, blocks) if driven else None
        parts = (implicit_propagators if self.implicit else stage_propagators)(self.a, self.b, h, f_z, more)
        step = np.eye(*parts.shape[-2:]) + parts.sum(axis=0)
        with_one = add_one if driven else lambda lam: lam
        before, lams = self.carried(first, last, step, with_one)
        self.lams[first:last] = in_rows(before, blocks)
        big = (with_one(lams)[:, :, None] @ parts)[:, :, :, 0]  # Lambda_i, (s, steps, B, d)
        kappa = h[:, 0] * (np.multiply.outer(self.b, lams) + np.tensordot(self.a.T, big, 1))
        big, kappa = (in_rows(x.swapaxes(0, 1), blocks) for x in (big, kappa))
        size = np.abs(lams).max(axis=(1, 2))
        if self.implicit:  # rounding, in a linear system, is relative to its matrix
            size *= 1 + np.max(np.abs(h[:, 0, 0, 0] * np.max(np.abs(f_z), axis=(1, 2, 3, 4))))
        theta_bar = proven(back, kappa, big, size, cost)
        self.batch.hold(*nodes.places(), back, theta_bar)
        theta_bar = theta_bar + theta_cost
        if self.beside:
            if not (np.isfinite(beside).all() and np.isfinite(theta_bar).all()):
                raise Refused  # f may have no derivative there
            self.met.append((blocks, f_z[:, 0], beside))
        if not self.implicit:  # the first stage is at the node
            self.slopes[first:last] = in_rows((before[:, :, None] @ f_z[:, 0])[:, :, 0], blocks) + g_z
        self.propagators += [(blocks, one) for one in reversed(step[:, :, : blocks.shape[1]])]
        self.note(back, nodes.zs.shape)
        return theta_bar

    def carried(self, first, last, step, with_one):
        """lambda at the beginnings of the steps, and at their ends, with the jumps, (steps, B, d) each."""
        lam, befores, afters = by_blocks(self.lams[last], self.blocks)[:, None], [], []
        for n in reversed(range(last - first)):
            if first + n + 1 in self.jumps:
                lam = lam + by_blocks(self.jumps[first + n + 1], self.blocks)[:, None]
            afters.append(lam)
            lam = with_one(lam) @ step[n]
            befores.append(lam)
        return (np.array(rows[::-1])[:, :, 0] for rows in (befores, afters))

    def by_stages(self, first, last):
        """One trace of all, and of that the part of each step, pulled back once for each stage."""
        (nodes, back), s = self.traced_nodes(first, last), len(self.b)
        cost, g_z, theta_cost = self.costs(nodes)
        kappa, big, sizes = np.empty_like(nodes.zs), np.zeros_like(nodes.zs) + cost, np.empty(last - first)
        for n in reversed(range(last - first)):
            lam, a, some = self.after(first + n + 1), nodes.hs[n] * self.a, kappa[n]
            part = back.of(n * s, (n + 1) * s) if self.together else back
            some[:], sizes[n] = np.multiply.outer(nodes.hs[n] * self.b, lam), np.max(np.abs(lam))
            for i in reversed(range(s)):  # what kappa still lacks above i is not asked for
                some[i] += np.dot(a[i + 1 :, i], big[n, i + 1 :])
                big[n, i] += part(some, theta=False)[0][i]
            self.lams[first + n] = lam + big[n].sum(axis=0)
        theta_bar, starts = proven(back, kappa, big, sizes, cost), np.zeros_like(kappa)
        self.batch.hold(*nodes.places(), back, theta_bar)
        starts[:, 0] = self.lams[first:last]
        self.slopes[first:last] = back(starts.reshape(nodes.ts.size, -1), theta=False)[0][::s] + g_z
        self.note(back, nodes.zs.shape)
        return theta_bar + theta_cost

    def by_vjps(self, last):
        """The core, down to the first node: a trace and a covector for each stage."""
        if self.trajectory.replayed:  # and no batch has shown rightly
            nodes = stage_nodes(self.problem, self.trajectory, 0, last)
            if not self.implicit:  # whose nodes are held there
                refuse_other(nodes, values_of(self.problem, nodes))
        theta_bar = 0.0
        for n in reversed(range(last)):
            self.lams[n], more, used = self.back_over(self.trajectory, n, self.after(n + 1))
            theta_bar, self.traced = theta_bar + more, self.traced + used
        return theta_bar


def add_one(lam):
    """(lambda, 1), times a propagator whose last row is what a running cost adds."""
    return np.concatenate([lam, np.ones_like(lam[..., :1])], axis=-1)


def proven(back, kappa, big, size, cost=0.0):
    """sum_i kappa_i f_theta(Z_i), if kappa_i f_z(Z_i), from the same trace, are the Lambda_i that
    lambda was computed with, `eq-stage-propagator`, but for what a running cost adds to them: what was
    guessed on the way does not matter.

    kappa, big, the Lambda_i, and cost have shape (steps, s, D); size is that of lambda, (steps,).
    """
    z_bar, theta_bar = back(kappa.reshape(-1, kappa.shape[-1]))
    scale = size + np.abs(big).max(axis=(1, 2))
    if not close(z_bar.reshape(big.shape), big - cost, scale[:, None, None]):
        raise Refused
    return theta_bar


def jacobians(back, blocks):
    """f_z at the nodes, (n, B, d, d), by a unit covector for each entry of a block."""
    d = blocks.shape[1]
    found = np.empty((back.n, *blocks.shape, d))
    for e in range(d):
        unit = np.zeros(blocks.size)
        unit[blocks[:, e]] = 1.0
        found[:, :, e] = by_blocks(back.everywhere(unit), blocks)
    return found


def apart(back, blocks, f_z) -> bool:
    """Whether the blocks, (n, B, d, d), are all there is: nothing outside of them, and no node moved
    by another one. It is plain from what f is made of, or random rows tell: lambda tells nothing where it
    is zero, and the propagators are asked about more than lambda."""
    if back.apart(blocks):
        return True
    rows = np.random.default_rng(0).normal(size=(len(f_z), blocks.size))
    whole = by_blocks(back(rows, theta=False)[0], blocks)
    parts = (by_blocks(rows, blocks)[:, :, None] @ f_z)[:, :, 0]
    return close(parts, whole, np.abs(f_z).max(axis=(1, 2, 3))[:, None, None])


def stage_propagators(a, b, h, f_z, cost=None):
    """M_i = h (b_i I + sum_{j>i} a_ji M_j) f_z(Z_i), with Lambda_i = lambda_{n+1} M_i.

    h broadcasts against f_z, (steps, s, ..., d, d), without its second axis, which comes first in
    the result, (s, steps, ..., d, d). With h b_i g_z, (steps, s, ..., d), of a running cost it has one more
    row, (s, steps, ..., d + 1, d), and Lambda_i is (lambda_{n+1}, 1) M_i.
    """
    s, f_z, d = len(b), np.expand_dims(h, 1) * f_z, f_z.shape[-1]
    rows = d if cost is None else d + 1
    parts, weights = np.empty((s + 1, len(f_z), *f_z.shape[2:-2], rows, d)), np.vstack([a, b])
    parts[s] = np.eye(rows, d)  # with the weights b
    flat = parts.reshape(s + 1, -1)
    for i in reversed(range(s)):
        later = np.dot(weights[i + 1 :, i], flat[i + 1 :]).reshape(parts.shape[1:])
        np.matmul(later, f_z[:, i], out=parts[i])
        if cost is not None:
            parts[i, ..., d, :] += cost[:, i]
    return parts[:s]


def implicit_propagators(a, b, h, f_z, cost=None):
    """The M_i where each stage waits for all: M_i = h (b_i I + sum_j a_ji M_j) f_z(Z_i)."""
    steps, s, blocks, d, _ = f_z.shape
    f_z = h[..., None] * f_z
    among = np.einsum("ji,nibrc->nbjric", a, f_z).reshape(steps, blocks, s * d, s * d)
    right = np.einsum("i,nibrc->nbric", b, f_z).reshape(steps, blocks, d, s * d)
    if cost is not None:
        right = np.append(right, cost.swapaxes(1, 2).reshape(steps, blocks, 1, s * d), axis=2)
    found = np.linalg.solve(np.swapaxes(np.eye(s * d) - among, 2, 3), np.swapaxes(right, 2, 3))
    return found.reshape(steps, blocks, s, d, -1).transpose(2, 0, 1, 4, 3)


def independent(shape, back):
    """A guess, (B, d), at which entries of z depend on which: the rows of z, its columns, or all.

    The finest that the first row of f_z allows. It may be wrong: see `proven`.
    """
    d = math.prod(shape)
    whole, unit = np.arange(d)[None], np.zeros(d)
    unit[0] = 1.0
    hit = set(np.flatnonzero((back.everywhere(unit) != 0).any(axis=0)).tolist())
    guesses = [whole.T, whole]
    if len(shape) > 1:
        guesses += [whole.reshape(-1, shape[-1]), whole.reshape(shape[0], -1).T]
    allowed = [blocks for blocks in guesses if hit <= set(blocks[0].tolist())]
    return min(allowed, key=lambda blocks: blocks.shape[1])
