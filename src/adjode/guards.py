"""Is a gradient right? If it is in doubt it is found once more; if that does not help, refused.

A gradient g is right when |g - g*| <= 100 rtol |g*| + 100 atol s: z0, theta and the times together,
each entry times max(|x|, 1), and s the size of L_z and l_z.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from adjode.checkpoint import adjoint_checkpointed
from adjode.estimate import added_up, amplified, growth, reach, rows_moved, some_direction, unresolved, unseen
from adjode.fast import adjoint_fast, swept
from adjode.halves import in_halves, misses
from adjode.loss import Gradient
from adjode.moves import changed
from adjode.problem import GradientError, InitialValueProblem, IntegrationError, Loss, OtherValues
from adjode.solve import solve
from adjode.structure import leaves
from adjode.trajectory import Trajectory
from adjode.vjp import flat

DOUBT = 0.2  # of what is allowed: an estimate may be a few times too small, and so may the distance of
# two gradients, both of which have errors; where f has kinks these are much the same
CLEAR = 0.02  # of what is allowed: ten times that would be in doubt
LOOSER = 10.0  # a gradient with tolerances so many times larger is off by about as much more
KINKED = 10.0  # what error weights may miss of f_theta where it has kinks; elsewhere they see little
LOST = 1e3  # times what is allowed
BACK = 4.0  # what is far off may be worse off on its way back: the witness knows, and is asked early
NOISE = 0.1  # of the rows of a loss: more than that may be errors of the states
CLOSE = 0.9  # of what is allowed: beside a gradient that is ten times as good
ROUNDS = 4
HALVINGS = 6  # half of what f changes by in a sixty-fourth of a step is as good as a jump
LONG = 5_000  # steps of a grid that is not refined once more


@dataclass(frozen=True)
class Guard:
    """What "right" means for a problem, a loss and two tolerances."""

    problem: InitialValueProblem
    loss: Loss
    rtol: float
    atol: float
    moved: Loss | None = None  # if the rows of `loss` are fixed: as they may be where z is another

    def trusted(self, adjoint: Callable, trajectory: Trajectory) -> Gradient:
        """The gradient by `adjoint`, with its `error`, or a discrete one of a tighter solve.

        Raises GradientError when none can be trusted.
        """
        with np.errstate(all="ignore"):  # a loss of finiteness is an error of ours, not a warning
            try:
                return self.found_or_refused(adjoint, trajectory)
            except OtherValues as error:
                other = error
            again = self.solved(1.0, trajectory.tableau)
            if not self.same_states(trajectory, again):
                raise other
            return self.found_or_refused(adjoint, again)

    def same_states(self, one: Trajectory, other: Trajectory) -> bool:
        """Whether two solves, of f and of what took its place, see the same where the loss does: then they
        differ by rounding alone, say where f is a small difference of what is large."""
        seen = self.loss.observations
        stops = [self.problem.t1, *([] if seen is None else seen.ts)]
        zs, others = (x.zs[np.isin(x.ts, stops)] for x in (one, other))
        return bool(np.all(np.abs(zs - others) <= self.atol + self.rtol * np.abs(others)))

    def found_or_refused(self, adjoint, trajectory) -> Gradient:
        refuse_jumps(self.problem, trajectory)
        if adjoint is adjoint_fast:
            found, sweep = swept(self.problem, self.loss, trajectory, some_direction(self.problem.theta))
        else:
            options, sweep = {"rtol": self.rtol, "atol": self.atol}, None
            found = adjoint(self.problem, self.loss, trajectory, **options)
        if adjoint is adjoint_checkpointed:  # the nodes are gone, and with them what `estimate` looks at;
            # a looser solve tells nothing where its errors grow to the size of z, nor where rows are small
            # differences, mostly errors: two of those may be alike by chance
            grown = LOOSER * self.rtol * growth(trajectory, found, self.rtol, self.atol)
            moves = added_up(trajectory, self.rtol, self.atol)
            noise = rows_moved(self.problem, self.loss, trajectory, moves)
            error = self.from_looser(trajectory, found) if grown < 1.0 and noise < NOISE else np.inf
        else:
            parts = self.estimate(trajectory, found, adjoint is adjoint_fast, sweep)
            error = sum(parts)
        if error < DOUBT:
            return replace(found, error=error)
        if adjoint is not adjoint_fast:
            return self.compared(trajectory, found)
        return self.confirmed(trajectory, found, self.by_witness(trajectory, found, sweep, *parts))

    def confirmed(self, trajectory, found, error) -> Gradient:
        """The discrete gradient `found` if its error is small, or one of a tighter solve, with which
        another one agrees."""
        # implicit steps of a high order are nearly the same for tolerances a tenth as large
        grid, first = trajectory.ts, 3 if trajectory.tableau.implicit else 1
        if error < DOUBT:
            return replace(found, error=error)
        for tries in range(ROUNDS):
            finer, better = self.anew(10.0 ** -(2 * tries + first), trajectory.tableau, halved(grid))
            if tries == 0:
                self.refuse_moved(finer, better)
            error, grid = self.distance(found, better), finer.ts
            if error < DOUBT:
                return replace(better if tries else found, error=error)
            found = better
            if len(grid) > LONG:
                break
        raise GradientError(f"the gradient still changes by {error:.1e} times what the tolerances allow when "
                            "the solve is made tighter: the solution is too sensitive, or f is not "
                            "smooth. Take a larger rtol, or a shorter interval")  # fmt: skip

    def by_witness(self, trajectory, found, sweep, of_z, missed) -> float:
        """The error, from the same steps in halves, or from a looser solve; or infinite.

        What the estimate puts down to the errors of z falls with the tolerances, unless it is as large
        as all that there is. What steps that suit z miss need not: of that a looser solve tells nothing.
        """
        if of_z >= LOST:
            return np.inf
        if sweep and sweep.sees_ahead and self.loss.running is None:
            return self.from_halves(trajectory, found, sweep, missed)
        return self.from_looser(trajectory, found) if missed < DOUBT else np.inf

    def from_halves(self, trajectory, found, sweep, missed) -> float:
        """The error, from what all steps in halves say of the errors of z: to first order, and if that
        settles nothing from a gradient that is some hundred times as good."""
        try:
            errors, moves = misses(trajectory, sweep)
            if missed < DOUBT:
                error = missed + self.to_first_order(trajectory, found, sweep, moves)
                if error < DOUBT:
                    return error
            finer = in_halves(trajectory, sweep, errors, moves)
        except Exception:  # f does not take these nodes
            return np.inf
        return self.from_other(found, adjoint_fast, finer) if finer else np.inf

    def to_first_order(self, trajectory, found, sweep, moves) -> float:
        """What moves of the states do to a gradient, to first order, and much of their square."""
        losses = [loss for loss in (self.loss, self.moved) if loss]
        parts, largest = changed(self.problem, losses, trajectory, found, sweep, moves)
        lengths = [length(self.vector(part)) for part in parts]
        square = 5 * largest**2 * length(self.vector(found))
        return (sum(lengths) + square) / self.allowed(found)

    def from_other(self, found, adjoint, trajectory) -> float:
        """How far `found` is from the gradient on another trajectory, and this one from what it would be
        with rows that had seen that trajectory: two distances, since one may hide the other."""
        other = adjoint(self.problem, self.loss, trajectory)
        error = self.distance(found, other)
        if self.moved is not None:
            error += self.distance(adjoint(self.problem, self.moved, trajectory), other)
        return error

    def from_looser(self, trajectory, found) -> float:
        """The error, from a gradient that costs less; and if that is not clear from one that costs still
        less: an error that does not fall as the tolerances do shows there."""
        error = self.from_one(trajectory, found, LOOSER)
        if CLEAR < error < DOUBT:
            error = max(error, self.from_one(trajectory, found, LOOSER**2))
        return error

    def from_one(self, trajectory, found, factor) -> float:
        """The error, from a gradient with tolerances times `factor`: with a margin of three."""
        few = trajectory.step_times is not None
        adjoint, store = (adjoint_checkpointed, "times") if few else (adjoint_fast, "stages")
        try:
            looser = self.solved(factor, trajectory.tableau, store=store)
            ends = [x.step_times if few else x.ts for x in (looser, trajectory)]
            if len(ends[0]) > 0.9 * len(ends[1]):  # about the same steps would agree, and say nothing
                return np.inf
            return 3 / factor * self.from_other(found, adjoint, looser)
        except GradientError:  # a loose solve may fail where this one did not
            return np.inf

    def compared(self, trajectory, found) -> Gradient:
        """The gradient `found` of another strategy, if a discrete one that is trusted agrees."""
        stricter = replace(self, rtol=max(0.1 * self.rtol, 1e-13), atol=0.1 * self.atol, moved=None)
        finer = self.solved(0.1, trajectory.tableau)
        error = self.distance(found, stricter.trusted(adjoint_fast, finer))
        if self.moved is not None:
            rows = [adjoint_fast(self.problem, loss, finer) for loss in (self.moved, self.loss)]
            error += self.distance(*rows)
        if error < CLOSE:
            return replace(found, error=error)
        raise GradientError(f"the gradient is off by {error:.1e} times what the tolerances allow, as a "
                            'tighter solve tells. Use adjoint="discrete"')  # fmt: skip

    def estimate(self, trajectory, found, discrete, sweep=None) -> tuple[float, float]:
        """The error over what is allowed: what comes of the errors of z, and what steps that suit z
        miss. The sum is more often ten times too large than a few times too small."""
        if trajectory.tableau.implicit:  # a second gradient is cheap, and lambda need not be smooth
            for factor in (LOOSER, 1e-3, 1e-6):
                other, second = self.anew(factor, trajectory.tableau)
                if len(other.ts) != len(trajectory.ts):  # the same steps would agree, and say nothing
                    break
            else:  # z rests, or nearly so
                _, second = self.anew(1.0, trajectory.tableau, halved(trajectory.ts))
            return self.distance(found, second), 0.0
        relative, many = amplified(trajectory, found, self.rtol, self.atol, discrete), sweep and sweep.batch
        size, allowed, missed = length(self.vector(found)), self.allowed(found), 0.0
        of_z = max(relative * size / allowed, self.astray(trajectory, sweep))
        if discrete and self.problem.z0.size:
            # a continuous adjoint has its own steps, that follow lambda
            slopes, f_z, moves = (sweep.slopes, sweep.f_z, sweep.theta_moves) if sweep else (None, None, None)
            missed = size * unresolved(self.problem, trajectory, found, many, self.loss.running, slopes, f_z)
            missed += KINKED * unseen(self.problem, trajectory, found, many, self.loss.running, moves)
            missed /= allowed
        if discrete or trajectory.stages is None:
            return of_z, missed
        other, sweep = swept(self.problem, self.loss, trajectory)  # takes but a moment beside it
        # its lambda is at the nodes of the steps, that of another strategy perhaps at few
        relative = amplified(trajectory, other, self.rtol, self.atol, True)
        of_z += relative * length(self.vector(other)) / self.allowed(other)
        if sweep:  # without one it is what was asked above
            of_z = max(of_z, self.astray(trajectory, sweep))
        return of_z, self.distance(found, other)

    def astray(self, trajectory, sweep) -> float:
        """How far off the states get, if that is seen, and the rows of the loss there, beside what a gradient
        may be off by. With a margin: rows that change with the states may grow on their way back as
        these did."""
        if sweep and sweep.sees_ahead:
            moves, far = reach(trajectory, sweep, self.rtol, self.atol)
        else:
            moves, far = added_up(trajectory, self.rtol, self.atol), 0.0
        known = sweep and self.loss.running is None
        rows = np.array([sweep.lams[-1], *sweep.jumps.values()]) if known else None
        far = max(far, rows_moved(self.problem, self.loss, trajectory, moves, rows))
        return BACK * far / (100 * self.rtol)

    def anew(self, factor, tableau, grid=None) -> tuple[Trajectory, Gradient]:
        """A solve with tolerances times `factor`, and its discrete adjoint."""
        other = self.solved(factor, tableau, grid)
        return other, adjoint_fast(self.problem, self.loss, other)

    def solved(self, factor, tableau, grid=None, store="stages") -> Trajectory:
        """A solve with tolerances times `factor`, and steps no longer than those of `grid`."""
        rtol, ts = max(factor * self.rtol, 1e-13), self.loss.observations and self.loss.observations.ts
        ts = ts if grid is None else merged(grid, ts)
        try:
            return solve(self.problem, ts=ts, running=self.loss.running, method=tableau.name,
                         store=store, rtol=rtol, atol=factor * self.atol)  # fmt: skip
        except IntegrationError as failed:
            raise GradientError("the gradient cannot be trusted, and another solve, with rtol = "
                                f"{rtol:.0e}, fails: {failed}") from failed  # fmt: skip

    def refuse_moved(self, finer, better) -> None:
        """Rows that were made elsewhere are right only where the states are that made them."""
        if self.moved is None:
            return
        other = adjoint_fast(self.problem, self.moved, finer)
        if not self.distance(other, better) < DOUBT:
            raise GradientError("the solution is sensitive: a tighter solve moves the states that the loss "
                                "has seen by more than its gradient bears. Take a smaller rtol, or a "
                                "shorter interval")  # fmt: skip

    def vector(self, found) -> np.ndarray:
        """All derivatives, each times max(|x|, 1)."""
        return self.scale * flat([found.z0, *leaves(found.theta), found.t0, found.t1, found.ts])

    @cached_property
    def scale(self) -> np.ndarray:
        """max(|x|, 1) of all that there are derivatives in."""
        problem, seen = self.problem, self.loss.observations
        ts = np.zeros(0) if seen is None else seen.ts
        x = flat([problem.z0, *leaves(problem.theta), problem.t0, problem.t1, ts])
        return np.maximum(np.abs(x), 1.0)

    def allowed(self, found) -> float:
        """100 rtol |g| + 100 atol s."""
        path, norm = found.path, length(self.vector(found))
        jumps = path.ts[1:] == path.ts[:-1]
        rows = path.lams[1:][jumps] - path.lams[:-1][jumps]
        size = max(np.abs(path.lams[-1]).max(initial=0.0), np.abs(rows).max(initial=0.0))
        return 100 * self.rtol * norm + 100 * self.atol * float(size or 1.0)

    def distance(self, one, other) -> float:
        """|one - other| over what is allowed."""
        return length(self.vector(one) - self.vector(other)) / self.allowed(other)


def length(x: np.ndarray) -> float:
    """The Euclidean norm, of entries whose squares may overflow."""
    size = np.abs(x).max(initial=0.0)
    return float(size * np.linalg.norm(x / size)) if size > 0 else 0.0


def halved(grid: np.ndarray) -> np.ndarray:
    return np.insert(grid, np.arange(1, len(grid)), (grid[1:] + grid[:-1]) / 2)


def merged(grid: np.ndarray, ts: np.ndarray | None) -> np.ndarray:
    """The grid, in its order, without repetitions, with the times ts that it may lack."""
    times = np.unique(grid if ts is None else np.concatenate([grid, ts]))
    return times if grid[-1] > grid[0] else times[::-1]


def refuse_jumps(problem: InitialValueProblem, trajectory: Trajectory) -> None:
    """A jump of f in t does a gradient no harm. One in z does: f_z is silent about it. Where the
    solver took short steps, or tried again, the change of f is followed into halves of halves."""
    called = lambda t, z: np.ravel(problem.f(t, z.reshape(problem.z0.shape), problem.theta))
    f, h = trajectory.replayed or called, abs(trajectory.ts[-1] - trajectory.ts[0]) / trajectory.stats.steps
    for _, t, one, other in trajectory.hard:
        f_one, f_other, rounding = f(t, one), f(t, other), 1e-12 * np.abs(one) / h  # large beside f at rest
        change = lambda x, y, rounding=rounding: (np.abs(x - y) - rounding).max(initial=0.0)
        whole = change(f_other, f_one)
        for _ in range(HALVINGS):
            middle = (one + other) / 2
            f_middle = f(t, middle)
            parts = [change(f_middle, end) for end in (f_one, f_other)]
            if parts[0] > parts[1]:
                other, f_other = middle, f_middle
            else:
                one, f_one = middle, f_middle
            whole = max(whole, *parts)
            if not max(parts) > max(0.5 * whole, 1e-6 * np.max(np.abs(f_one), initial=0.0)):
                break  # not in one place: f is continuous
        else:
            raise GradientError(
                f"f jumps, or nearly so, where z is at t = {t}: a gradient does not see what that "
                "does. Smooth f, or end the solve there"
            )
