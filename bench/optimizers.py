"""Optimizers on three real tasks, from the same start and for the same seconds: `book/data/optimizers.json`.

    python bench/optimizers.py            all of it, about a quarter of an hour
    python bench/optimizers.py --tasks cnf --out /dev/null

The chapter on the optimizer draws the file; a test runs a few steps of it again.
"""

import argparse
import contextlib
import datetime
import itertools
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy comes in
    os.environ[name] = "1"

import autograd.numpy as anp  # noqa: E402
import numpy as np  # noqa: E402
from autograd import grad, make_vjp  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402
from scipy.optimize import minimize  # noqa: E402

import adjode  # noqa: E402
from adjode.curvature import kronecker_step  # noqa: E402

DATA = Path(__file__).parents[1] / "book/data"
OUT = DATA / "optimizers.json"
SEEDS = (1, 2, 3, 4, 5)  # what is reported; seed 0 is what is tuned on
POINTS = 20  # of a curve
SMOOTH = ("kronecker", "adam")  # whose nets are looked at afterwards, for the two larger tasks
SHORT = 6  # steps that the test repeats
GRIDS = {  # six settings each
    "kronecker": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0],  # rate; the rows of the factors are the gradient's
    "kronecker-gn": [
        0.01,
        0.03,
        0.1,
        0.3,
        1.0,
        3.0,
    ],  # rate; the rows are drawn, so that y y^T is L_zz on average
    "adam": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3],  # rate
    "sgd": [0.001, 0.01, 0.03, 0.1, 0.3, 1.0],  # rate, with momentum 0.9
    "lbfgs": [3, 5, 10, 20, 40, 80],  # remembered pairs; the line search finds the rate
    "newton": [0.001, 0.01, 0.1, 1.0, 10.0, 100.0],  # damping
}


# -- the tasks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A field, a loss that is a mean over cases, and cases to train and to test on."""

    name: str
    f: Any
    start: Any  # start(seed) -> theta
    train: np.ndarray  # (N, D) states to begin with
    test: np.ndarray
    loss: Any  # loss(which, index) -> adjode.Loss for these cases, "train" or "test"
    rows: Any  # rows(index, z, rng) -> y, (N, D): y y^T of a case is its L_zz on average
    score: Any  # score(task, theta) -> a number on the cases held out
    batch: int  # cases a step; those who take all cases say so
    t1: float
    steps: int  # of RK4, between two observations
    seconds: float  # process time to train for

    def problem(self, theta, index, which="train", t1=None):
        cases = getattr(self, which)[index]
        return adjode.InitialValueProblem(self.f, cases, 0.0, t1 or self.t1, theta)

    def path(self, problem, loss):
        seen = None if loss.observations is None else loss.observations.ts
        return adjode.solve_fixed(problem, adjode.rk4(), self.steps, ts=seen)

    def full_loss(self, theta, which="train"):
        index = np.arange(len(getattr(self, which)))
        problem, loss = self.problem(theta, index, which), self.loss(which, index)
        return adjode.loss_value(problem, loss, self.path(problem, loss))

    def batches(self, seed):
        """Index sets without end: every case once before any comes twice."""
        rng, n = np.random.default_rng(1000 + seed), len(self.train)
        while True:
            order = rng.permutation(n)
            yield from (order[i : i + self.batch] for i in range(0, n - self.batch + 1, self.batch))


def cross_entropy(logits, labels):
    """The mean over the rows."""
    top = anp.max(logits, axis=1)
    logs = logits - top[:, None] - anp.log(anp.sum(anp.exp(logits - top[:, None]), axis=1))[:, None]
    return -anp.sum(logs * labels) / len(labels)


def digits():
    """8 x 8 pixels are the state; its first ten entries at the end are the logits."""
    lines = (DATA / "digits.txt").read_text().split("\n")[:-1]
    pixels = np.array([[int(c, 17) for c in line[:64]] for line in lines]) / 16
    labels = np.eye(10)[[int(line[65]) for line in lines]]
    f, _ = adjode.mlp([64, 32, 64], seed=0)
    cases = {"train": slice(0, 1200), "test": slice(1200, None)}

    def loss(which, index):
        wanted = labels[cases[which]][index]
        return adjode.Loss(terminal=lambda z, theta: cross_entropy(z[:, :10], wanted))

    def rows(index, z, rng):
        """The slope of the cross-entropy with a label drawn from the net's own probabilities."""
        shares = np.exp(z[:, :10] - z[:, :10].max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        drawn = (rng.uniform(size=(len(z), 1)) > np.cumsum(shares, axis=1)).sum(axis=1).clip(0, 9)
        return np.hstack([shares - np.eye(10)[drawn], np.zeros((len(z), 54))])

    def accuracy(task, theta, end=None):
        if end is None:
            end = task.path(task.problem(theta, slice(None), "test"), loss("test", slice(None))).zs[-1]
        return float(np.mean(np.argmax(end[:, :10], axis=1) == np.argmax(labels[cases["test"]], axis=1)))

    start = lambda seed: adjode.mlp([64, 32, 64], seed=seed, scale=0.5)[1]
    return Task("digits", f, start, pixels[cases["train"]], pixels[cases["test"]], loss, rows, accuracy,
                batch=100, t1=1.0, steps=4, seconds=4.5)  # fmt: skip


def lynx():
    """From each year, the four years that follow: windows of the record as cases."""
    record = np.loadtxt(DATA / "hudson-bay-lynx-hare.csv", delimiter=",", skiprows=1)
    logs = np.log(record[:, 1:])
    logs = (logs - logs[:15].mean(axis=0)) / logs[:15].std(axis=0)
    windows = np.stack([logs[i : i + 5] for i in range(len(logs) - 4)])  # (17, 5, 2)
    cases = {"train": slice(0, 11), "test": slice(11, None)}  # the last fitted year is 1914
    f, _ = adjode.mlp([2, 20, 2], seed=0)

    def loss(which, index):
        wanted = windows[cases[which]][index]
        miss = lambda i, z: 0.5 * anp.sum((z - wanted[:, i + 1]) ** 2) / len(wanted)
        return adjode.Loss(observations=adjode.Observations([1.0, 2.0, 3.0, 4.0], miss))

    rows = lambda index, z, rng: rng.normal(size=z.shape)
    start = lambda seed: adjode.mlp([2, 20, 2], seed=seed, scale=0.5)[1]
    held_out = lambda task, theta: task.full_loss(theta, "test")
    first = {which: windows[cases[which]][:, 0] for which in cases}
    return Task("lynx", f, start, first["train"], first["test"], loss, rows, held_out, batch=11,
                t1=4.0, steps=3, seconds=2.5)  # fmt: skip


def moons(n, rng):
    """Two half circles, with noise."""
    angle, upper = rng.uniform(0, np.pi, n), rng.integers(0, 2, n)
    x = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=1) * np.where(upper, 1, -1)[:, None]
    return x + 0.1 * rng.normal(size=(n, 2))


def cnf():
    """A flow from data to a normal density; the third entry of the state is the integral of tr f_z."""
    rng = np.random.default_rng(7)
    train, test = (np.hstack([moons(n, rng), np.zeros((n, 1))]) for n in (1000, 400))
    units = np.eye(2)

    def f(t, z, theta):
        """The layers take the state and two nudges of it at once: what comes out of the nudges is
        f_z, and its trace is the rate of the third entry."""
        n = z.shape[0]
        clock = t * np.ones((n, 1))
        one, none = np.ones((n, 1)), np.zeros((n, 1))
        nudge = lambda e: np.hstack([np.tile(e, (n, 1)), none, none])
        a = anp.concatenate([anp.concatenate([z[:, :2], clock, one], axis=1), *map(nudge, units)])
        h = anp.dot(a, theta[0])
        s = anp.tanh(h[:n])
        slope = 1 - s**2
        b = anp.concatenate([
            anp.concatenate([s, one], axis=1),
            anp.concatenate([slope * h[n : 2 * n], none], axis=1),
            anp.concatenate([slope * h[2 * n :], none], axis=1),
        ])  # fmt: skip
        out = anp.dot(b, theta[1])
        trace = out[n : 2 * n, :1] + out[2 * n :, 1:]
        return anp.concatenate([out[:n], trace], axis=1)

    def loss(which, index):
        def nll(z, theta):
            return anp.sum(0.5 * z[:, :2] ** 2) / len(z) + np.log(2 * np.pi) - anp.sum(z[:, 2]) / len(z)

        return adjode.Loss(terminal=nll)

    def start(seed):
        rng = np.random.default_rng(seed)
        return [rng.normal(0, 0.5, (4, 24)), rng.normal(0, 0.1, (25, 2))]

    def rows(index, z, rng):
        """The integral of the trace enters the loss linearly: it has no second derivative."""
        return np.hstack([rng.normal(size=(len(z), 2)), np.zeros((len(z), 1))])

    def held_out(task, theta):
        """By an accurate solve: a flow can make use of the errors of a coarse one, and claim a density
        that integrates to more than 1."""
        problem, here = task.problem(theta, slice(None), "test"), loss("test", slice(None))
        path = adjode.solve(problem, rtol=1e-4, atol=1e-4, max_evaluations=2000)  # more: it has diverged
        return adjode.loss_value(problem, here, path)

    return Task("cnf", f, start, train, test, loss, rows, held_out, batch=64, t1=1.0, steps=8,
                seconds=2.5)  # fmt: skip


TASKS = {"digits": digits, "lynx": lynx, "cnf": cnf}


# -- the methods ------------------------------------------------------------------------------------


@dataclass
class Run:
    """Where a run stands. Work is counted in field evaluations and VJPs, of one case each."""

    task: Task
    theta: Any
    steps: int = 0
    work: int = 0
    spent: float = 0.0  # seconds of process time, without the measurements
    curve: list = field(default_factory=list)
    began: float | None = None

    def measure(self):
        theta = self.theta
        try:
            values = self.task.full_loss(theta), self.task.score(self.task, theta)
        except (adjode.IntegrationError, ValueError):
            values = np.inf, np.nan
        self.curve.append([self.spent, self.work, self.steps, *map(float, values)])

    def tick(self):
        """After every step: note the time, and measure when a point of the curve is due."""
        self.spent += time.process_time() - self.began
        self.steps += 1
        if self.spent >= len(self.curve) * self.task.seconds / POINTS:
            self.measure()
        self.began = time.process_time()


def gradient_of(task, theta, index):
    """The problem, its loss, path and gradient, and the work."""
    problem, loss = task.problem(theta, index), task.loss("train", index)
    path = task.path(problem, loss)
    value = adjode.loss_value(problem, loss, path)
    found = adjode.adjoint_fast(problem, loss, path)
    return value, found, (found.stats.f_evaluations + found.stats.vjps) * len(problem.z0)


def by_kronecker(run, setting, seed, drawn=False):
    memory, nodes, rng = None, 3, np.random.default_rng(2000 + seed)
    for index in run.task.batches(seed):
        problem, loss = run.task.problem(run.theta, index), run.task.loss("train", index)
        path = run.task.path(problem, loss)
        rows = lambda _, p=problem, x=path, i=index: [drawn_rows(run.task, p, x, i, rng)]
        run.theta, memory = kronecker_step(
            problem, loss, path, memory, rate=setting, nodes=nodes, paths=rows if drawn else None
        )
        stats = memory.gradient.stats
        renewed = nodes + drawn * stats.vjps
        run.work += (stats.f_evaluations + stats.vjps + renewed) * len(problem.z0)
        yield


def drawn_rows(task, problem, path, index, rng):
    """One solve of q' = -q f_z, with a row drawn for each case wherever the loss looks."""
    seen = task.loss("train", index).observations
    draw = lambda z: task.rows(index, z, rng)
    if seen is None:
        y = draw(path.zs[-1])
        loss = adjode.Loss(terminal=lambda z, theta: anp.sum(y * z))
    else:
        ys = [draw(problem.z0) for _ in seen.ts]
        pick = lambda i, z: anp.sum(ys[i] * z)
        loss = adjode.Loss(observations=adjode.Observations(seen.ts, pick, lambda i, z: ys[i]))
    return adjode.adjoint_fast(problem, loss, path).path


def by_kronecker_gn(run, setting, seed):
    return by_kronecker(run, setting, seed, drawn=True)


def by_adam(run, setting, seed):
    x, unflatten = adjode.flatten(run.theta)
    m = v = 0.0
    for k, index in enumerate(run.task.batches(seed), 1):
        _, found, work = gradient_of(run.task, run.theta, index)
        g = adjode.flatten(found.theta)[0]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - setting * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        run.theta, run.work = unflatten(x), run.work + work
        yield


def by_sgd(run, setting, seed):
    x, unflatten = adjode.flatten(run.theta)
    v = 0.0
    for index in run.task.batches(seed):
        _, found, work = gradient_of(run.task, run.theta, index)
        v = 0.9 * v + adjode.flatten(found.theta)[0]
        x = x - setting * v
        run.theta, run.work = unflatten(x), run.work + work
        yield


def by_newton(run, setting, seed):
    """The recursive baseline: differentiate the gradient again, through the steps of the solver, and
    take a damped Newton step by five iterations of conjugate gradients. A step that makes the batch
    worse is halved, and the damping follows the quality of the model (Levenberg and Marquardt)."""
    x, unflatten = adjode.flatten(run.theta)
    damping = setting
    for index in run.task.batches(seed):
        value = through_the_steps(run.task, index, unflatten)
        hessian, g = make_vjp(grad(value))(x)
        step, products = conjugate_gradients(lambda p, c=damping, h=hessian: h(p) + c * p, -g, 5)
        expected, before = g @ step + 0.5 * step @ hessian(step), value(x)
        after, trials = value(x + step), 1
        quality = (after - before) / expected if expected < 0 else 0.0
        damping *= 2 / 3 if quality > 0.75 else 1.0 if quality > 0.25 else 1.5
        while not after <= before and trials < 6:
            step = step / 2
            after, trials = value(x + step), trials + 1
        x = x + step if after <= before else x
        stages = 4 * run.task.steps * (4 if run.task.name == "lynx" else 1)
        run.theta = unflatten(x)
        # forth and back, twice; the same again for each product; and each trial
        run.work += stages * len(index) * (4 + 2 * (products + 1) + 1 + trials)
        yield


def through_the_steps(task, index, unflatten):
    """The loss of a batch as a function of flat parameters, for autograd."""
    loss, z0, n = task.loss("train", index), task.train[index], task.steps

    def value(x):
        theta, scheme = unflatten(x), adjode.rk4()
        if loss.observations is None:
            ts = np.linspace(0, task.t1, n + 1)
            return loss.terminal(adjode.rk_steps(scheme, task.f, ts, z0, theta)[-1], theta)
        seen, total, z = loss.observations, 0.0, z0
        for i, (start, stop) in enumerate(itertools.pairwise([0.0, *seen.ts])):
            z = adjode.rk_steps(scheme, task.f, np.linspace(start, stop, n + 1), z, theta)[-1]
            total = total + seen.fun(i, z)
        return total

    return value


def conjugate_gradients(product, b, most):
    """x with product(x) = b, nearly; it stops where the curvature is not positive. And the products."""
    x, r = np.zeros_like(b), b.copy()
    p, size = r.copy(), r @ r
    for k in range(most):
        q = product(p)
        bend = p @ q
        if bend <= 1e-12 * (p @ p):
            return (x if k else b), k + 1
        x, r = x + size / bend * p, r - size / bend * q
        size, old = r @ r, size
        if size < 1e-10 * (b @ b):
            break
        p = r + size / old * p
    return x, k + 1


def by_lbfgs(run, setting, seed):
    """SciPy's, with all cases in every step. It calls back, so it runs in a generator of its own."""
    x, unflatten = adjode.flatten(run.theta)
    everything = np.arange(len(run.task.train))

    class Enough(Exception):
        pass

    def fun(x):
        value, found, work = gradient_of(run.task, unflatten(x), everything)
        run.work += work
        return value, adjode.flatten(found.theta)[0]

    def after(x):
        run.theta = unflatten(x)
        run.tick()
        if run.done():
            raise Enough

    options = {"maxcor": setting, "maxiter": 10**6, "maxfun": 10**6, "ftol": 0, "gtol": 0}
    with contextlib.suppress(Enough):
        minimize(fun, x, jac=True, method="L-BFGS-B", callback=after, options=options)
    yield from ()


METHODS = {
    "kronecker": by_kronecker,
    "kronecker-gn": by_kronecker_gn,
    "adam": by_adam,
    "sgd": by_sgd,
    "lbfgs": by_lbfgs,
    "newton": by_newton,
}


def train(task, method, setting, seed, *, seconds=None, steps=None) -> Run:
    """Train until the seconds of process time, or the number of steps, are spent."""
    seconds = task.seconds if seconds is None and steps is None else seconds
    run = Run(task, task.start(seed))
    run.done = lambda: run.spent >= seconds if steps is None else run.steps >= steps
    run.measure()
    run.began = time.process_time()
    with np.errstate(all="ignore"):
        try:
            for _ in METHODS[method](run, setting, seed):
                run.tick()
                if run.done() or not np.isfinite(run.curve[-1][3]):
                    break
        except (adjode.IntegrationError, ValueError, np.linalg.LinAlgError) as error:
            print(f"    {task.name} {method} {setting}: {error}"[:150], file=sys.stderr)
            run.curve.append([run.spent, run.work, run.steps, np.inf, np.nan])
    if run.curve[-1][2] != run.steps and np.isfinite(run.curve[-1][3]):
        run.measure()
    return run


# -- what is reported -------------------------------------------------------------------------------


def evaluations(problem) -> tuple[int, int]:
    """Of an adaptive solve, and of one back for z and the adjoint together, by SciPy's RK45 (which is
    dopri5) at 1e-3: the set-up that the slides of Liu (2021) count in."""
    pull, size, calls = adjode.adjoint_pullback(problem), problem.z0.size, [0]
    tols = {"method": "RK45", "rtol": 1e-3, "atol": 1e-3}

    def forth(t, z):
        return np.ravel(problem.f(t, z.reshape(problem.z0.shape), problem.theta))

    def back(t, both):
        calls[0] += 1
        value, row, _ = pull(t, both[:size], both[size:])
        return np.concatenate([value, -row])

    there = solve_ivp(forth, (problem.t0, problem.t1), problem.z0.ravel(), **tols)
    both = np.concatenate([there.y[:, -1], np.full(size, 1.0 / len(problem.z0))])
    solve_ivp(back, (problem.t1, problem.t0), both, **tols)
    return there.nfev, calls[0]


def smoothness(task, theta) -> dict:
    """`evaluations`, and the integrals of |f|^2 and of the squares of f_z, for the first 100 cases held
    out (Finlay et al. 2020)."""
    problem = task.problem(theta, slice(0, 100), "test")
    d, speed, bend = 2 if task.name == "cnf" else problem.z0.shape[1], [], []
    ts = np.linspace(0.0, task.t1, 5)
    path = adjode.solve_fixed(problem, adjode.rk4(), 5, ts=ts[1:-1])
    for t, z in zip(ts, path.zs[np.isin(path.ts, ts)], strict=True):
        value, pull = adjode.pullback(lambda z, t=t: task.f(t, z, theta), z)
        rows = [pull(np.tile(unit, (len(value), 1)))[0] for unit in np.eye(value.shape[1])[:d]]
        speed.append(np.sum(value[:, :d] ** 2) / len(value))
        bend.append(np.sum(np.stack(rows)[:, :, :d] ** 2) / len(value))
    forward, backward = evaluations(problem)
    kinetic, jacobian = (float(np.trapezoid(x, ts)) for x in (speed, bend))
    return {"forward": forward, "backward": backward, "kinetic": kinetic, "jacobian": jacobian}


def look_again(path: Path) -> None:
    """`smoothness` once more, of nets that are trained again for the stored number of steps."""
    made = json.loads(path.read_text())
    for name, found in made["tasks"].items():
        task = TASKS[name]()
        for method, record in found["methods"].items():
            for row in record["runs"]:
                row.pop("smoothness", None)
                if method in SMOOTH and name != "lynx":
                    run = train(task, method, record["setting"], row["seed"], steps=row["steps"])
                    row["smoothness"] = rounded(smoothness(task, run.theta))
    path.write_text(json.dumps(made) + "\n")


def final(run) -> float:
    """The training loss at the end; nan is the worst there is."""
    end = run.curve[-1][3]
    return float(end) if np.isfinite(end) else np.inf


def report(task, method, seeds=SEEDS, old=None) -> dict:
    """Tune on seed 0, then run the seeds. What an `old` record has for the same settings is kept."""
    known = {setting: np.inf if loss is None else loss for setting, loss in (old or {"tuning": []})["tuning"]}
    tuning = {setting: known[setting] if setting in known else final(train(task, method, setting, 0))
              for setting in GRIDS[method]}  # fmt: skip
    best = min(tuning, key=tuning.get)
    if old and old["setting"] == best:
        return old | {"tuning": list(tuning.items())}
    record: dict = {"setting": best, "tuning": list(tuning.items()), "runs": []}
    for seed in seeds:
        run = train(task, method, best, seed)
        row = {"seed": seed, "ms": 1e3 * run.spent / run.steps, "steps": run.steps, "curve": run.curve}
        if method in SMOOTH and task.name != "lynx":
            row["smoothness"] = smoothness(task, run.theta)
        record["runs"].append(row)
    record["short"] = [SHORT, seeds[0], final(train(task, method, best, seeds[0], steps=SHORT))]
    ends = [row["curve"][-1] for row in record["runs"]]
    print(f"{task.name:8s}{method:14s}{best:<7g} loss {np.median([e[3] for e in ends]):.4g} "
          f"score {np.median([e[4] for e in ends]):.4g}  {record['runs'][0]['ms']:.1f} ms a step",
          flush=True)  # fmt: skip
    return record


def rounded(x):
    """Six digits are enough for a picture, and null is JSON for what is not finite."""
    if isinstance(x, float):
        return float(f"{x:.6g}") if np.isfinite(x) else None
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    return [rounded(value) for value in x] if isinstance(x, list | tuple) else x


def versions() -> dict:
    found = {name: version(name) for name in ("autograd", "numpy", "scipy")}
    today = datetime.date.today().isoformat()
    return {"date": today, "versions": {"python": platform.python_version(), **found}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--look-again", action="store_true", help="renew what is said of the trained nets")
    args = parser.parse_args()
    if args.look_again:
        return look_again(args.out)
    kept = json.loads(args.out.read_text())["tasks"] if args.out.is_file() else {}
    made: dict = {**versions(), "tasks": kept}
    for name in args.tasks.split(","):
        task = TASKS[name]()
        old = kept.get(name, {"methods": {}})["methods"]
        found = {"seconds": task.seconds, "batch": task.batch, "cases": [len(task.train), len(task.test)],
                 "parameters": len(adjode.flatten(task.start(0))[0]), "methods": {}}  # fmt: skip
        for method in args.methods.split(","):
            found["methods"][method] = rounded(report(task, method, old=old.get(method)))
            made["tasks"][name] = found | {"methods": old | found["methods"]}
            args.out.write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
