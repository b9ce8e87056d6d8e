"""The end time learned beside the weights, on the digits: `book/data/horizon.json`.

    python bench/horizon.py              all of it, some four minutes

The chapter on the horizon draws the file; a test runs a few steps of it again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from optimizers import OUT, SEEDS, TASKS, evaluations, rounded, versions

import adjode
from adjode.curvature import HorizonDerivatives, horizon_derivatives, kronecker_step

RATE = 0.1  # of the weights, as tuned in optimizers.py
STEPS, EVERY = 200, 5  # of the weights; between two steps of the end time
WEIGHT = 0.5  # of the penalty: cross-entropy + WEIGHT T^2 / 2
START, LEAST, MOST = 1.0, 0.05, 3.0  # of T
LONGEST = 0.2  # a step of T is cut to this
STEP = 0.125  # of RK4
GRID = [0.02, 0.05, 0.1, 0.3, 1.0]  # rates of the first-order rule
SHORT = 15


def penalty(T):
    return WEIGHT / 2 * T**2


def fixed(rate, found, gradient, moved):
    return 0.0


def first_order(rate, found, gradient, moved):
    """-rate C_T."""
    return -rate * found.first


def exact(rate, found, gradient, moved):
    """-(C_T + C_Ttheta dtheta) / C_TT; with |C_TT|, where that is negative."""
    usable = HorizonDerivatives(found.first, abs(found.second) + 1e-12, found.mixed)
    return usable.step(moved)


def released(rate, found, gradient, moved):
    """The same with c + s^2 and s L_theta, s = L_z f, as the released code has them."""
    slope = gradient.t1
    scaled = adjode.flatten(gradient.theta)
    return HorizonDerivatives(found.first, WEIGHT + slope**2, scaled[1](slope * scaled[0])).step(moved)


RULES = {"fixed": fixed, "first order": first_order, "exact": exact, "as released": released}


def train(task, rule, rate, seed, steps=STEPS):
    """Train the weights, and let `rule` move the end time every few steps. Steps of the solver have one
    size, so that a shorter horizon is a cheaper one."""
    theta, T, memory, rows, spent, work = task.start(seed), START, None, [], 0.0, 0
    for k, index in zip(range(steps), task.batches(seed), strict=False):
        began = time.process_time()
        problem, loss = task.problem(theta, index, t1=T), task.loss("train", index)
        path = adjode.solve_fixed(problem, adjode.rk4(), int(np.ceil(T / STEP - 1e-9)))
        new, memory = kronecker_step(problem, loss, path, memory, rate=RATE)
        work += memory.gradient.stats.f_evaluations + memory.gradient.stats.vjps
        if k % EVERY == EVERY - 1 and rule != "fixed":
            found = horizon_derivatives(problem, loss, path, penalty=penalty)
            before, unflatten = adjode.flatten(theta)
            moved = unflatten(adjode.flatten(new)[0] - before)
            step = float(np.clip(RULES[rule](rate, found, memory.gradient, moved), -LONGEST, LONGEST))
            T = float(np.clip(T + step, LEAST, MOST))
        theta = new
        spent += time.process_time() - began
        if k % EVERY == EVERY - 1:
            rows.append([k + 1, T, adjode.loss_value(problem, loss, path), path.stats.f_evaluations])
    return theta, T, rows, spent, work


def measure(task, theta, T) -> dict:
    """Accuracy on the digits held out, and what it costs to solve for them."""
    problem, loss = task.problem(theta, slice(None), "test", t1=T), task.loss("test", slice(None))
    path = adjode.solve_fixed(problem, adjode.rk4(), int(np.ceil(T / STEP - 1e-9)))
    times, (forward, backward) = [], evaluations(problem)
    for _ in range(7):
        began = time.process_time()
        evaluations(problem)
        times.append(time.process_time() - began)
    labels = task.score(task, theta, path.zs[-1])
    value = adjode.loss_value(problem, loss, path)
    return {"accuracy": labels, "loss": value, "forward": forward,
            "backward": backward, "ms": 1e3 * float(np.median(times))}  # fmt: skip


def one(task, rule, rate, seed) -> dict:
    theta, T, rows, spent, work = train(task, rule, rate, seed)
    return {"seed": seed, "T": T, "rows": rows, "seconds": spent, "work": work, **measure(task, theta, T)}


def cost(run) -> float:
    return run["loss"] + penalty(run["T"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT.with_name("horizon.json"))
    args = parser.parse_args()
    task = TASKS["digits"]()
    tuning = [[rate, cost(one(task, "first order", rate, 0))] for rate in GRID]
    best = min(tuning, key=lambda pair: pair[1])[0]
    made: dict = {**versions(), "weight": WEIGHT, "steps": STEPS, "every": EVERY, "rate": best}
    made |= {"tuning": tuning, "rules": {}}
    for rule in RULES:
        runs = [one(task, rule, best, seed) for seed in SEEDS]
        made["rules"][rule] = {"runs": runs}
        middle = {key: float(np.median([run[key] for run in runs]))
                  for key in ("T", "accuracy", "forward", "backward", "ms", "seconds")}  # fmt: skip
        made["rules"][rule]["short"] = [SHORT, SEEDS[0], *train(task, rule, best, SEEDS[0], SHORT)[2][-1]]
        print(rule, middle, flush=True)
    args.out.write_text(json.dumps(rounded(made)) + "\n")


if __name__ == "__main__":
    main()
