"""Gradient times at equal gradient error, adjode beside other libraries: `make bench`."""

import argparse
import datetime
import json
import os
import platform
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy comes in
    os.environ[name] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"
if hasattr(os, "sched_setaffinity"):  # threads that wait for work would count as work
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np  # noqa: E402
from peers import register  # noqa: E402
from problems import PROBLEMS  # noqa: E402

RTOLS = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]  # as far as it takes
ERROR = 1e-5  # relative, in the 2-norm: where the times are compared
ENOUGH = 0.5  # seconds of process time for one contender at one tolerance; one round there is always
LIBRARIES = ["autograd", "casadi", "diffrax", "jax", "numpy", "scipy", "torch", "torchdiffeq"]
OUT = Path(__file__).parents[1] / "book/data/bench.json"
PICTURE = Path(__file__).parents[1] / "_build/bench.png"


def measure(problem, peers: dict, rtols: list, rounds: int) -> list[dict]:
    """A record for each contender and tolerance. The rounds are interleaved, and a time is the
    median of its rounds in process time: other work on the machine falls on all alike."""
    exact, records, live = problem.reference(), [], []
    for name, make in peers.items():
        for rtol in rtols:
            if any(r["peer"] == name and r.get("error", 1.0) < ERROR / 3 for r in records):
                continue  # the times are read off before this
            record = {"problem": problem.name, "peer": name, "rtol": rtol}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    made = make(problem, rtol)
                    if made is None:
                        continue
                    run, counter = made
                    if counter is not None:
                        counter.on = True
                    found = run()
                record["error"] = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
            except Exception as problem_of_peer:
                record["failed"] = f"{type(problem_of_peer).__name__}: {problem_of_peer}"[:200]
                records.append(record)
                continue
            if counter is not None:
                counter.on, record["evaluations"] = False, counter.calls
            print(f"  {name} at rtol {rtol:g}: error {record['error']:.1e}", file=sys.stderr, flush=True)
            records.append(record)
            live.append((record, run, []))
    for _ in range(rounds):
        for _, run, times in live:
            if sum(times) < ENOUGH:
                times.append(timed(run))
    for record, _, times in live:
        record["ms"] = 1e3 * float(np.median(times))
    return records


def timed(run, least: float = 0.02) -> float:
    """Seconds of process time a call, over calls that take `least` together."""
    start, calls = time.process_time(), 0
    while calls == 0 or time.process_time() - start < least:
        run()
        calls += 1
    return (time.process_time() - start) / calls


def at_error(points: list[tuple], error: float) -> float | None:
    """Cost at this error, between the points (error, cost), both on a log scale; None outside.

    A contender that is better than asked at its loosest tolerance is taken at its cheapest.
    """
    cheapest: list[tuple] = []  # errors falling, costs rising
    for found, cost in sorted(points, key=lambda point: -point[0]):
        while cheapest and cheapest[-1][1] >= cost:
            cheapest.pop()
        cheapest.append((found, cost))
    if not cheapest or error < cheapest[-1][0]:
        return None
    errors, costs = np.log(np.transpose(cheapest))
    return float(np.exp(np.interp(-np.log(error), -errors, costs)))


def compare(records: list[dict]) -> list[dict]:
    """One row for each problem and contender: milliseconds, ratio to adjode, and evaluations."""
    rows = []
    for problem, peer in dict.fromkeys((r["problem"], r["peer"]) for r in records):
        mine = [r for r in records if (r["problem"], r["peer"]) == (problem, peer) and "ms" in r]
        ms = at_error([(r["error"], r["ms"]) for r in mine], ERROR)
        counted = [(r["error"], r["evaluations"]) for r in mine if "evaluations" in r]
        rows.append({"problem": problem, "peer": peer, "ms": ms, "evaluations": at_error(counted, ERROR)})
    ours = {row["problem"]: row["ms"] for row in rows if row["peer"] == "adjode"}
    for row in rows:
        base = ours.get(row["problem"])
        row["ratio"] = row["ms"] / base if row["ms"] and base else None
    return rows


def versions() -> dict:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", default=",".join(PROBLEMS), help="some of " + ", ".join(PROBLEMS))
    parser.add_argument("--rounds", type=int, default=5, help="of timing")
    parser.add_argument("--out", type=Path, default=OUT, help="where the comparison goes, as JSON")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where the picture goes")
    parser.add_argument("--records", type=Path, help="where every measurement goes, as JSON")
    options = parser.parse_args()
    peers, records = register(), []
    for key in options.problems.split(","):
        problem = PROBLEMS[key]()
        found = measure(problem, peers, RTOLS, options.rounds)
        records += found
        print(f"\n{problem.name}: at a relative gradient error of {ERROR:g}")
        for row in sorted(compare(found), key=lambda row: row["ms"] or np.inf):
            ms, ratio, calls = row["ms"], row["ratio"], row["evaluations"]
            text = f"{ms:9.2f} ms {ratio:7.2f} x" if ms and ratio else " not reached        "
            print(f"  {row['peer']:40s}{text}", f"{calls:8.0f} evaluations" if calls else "", flush=True)
        for record in found:
            if "failed" in record:
                print(f"  {record['peer']} at rtol {record['rtol']:g}: {record['failed']}")
    rows = ",\n  ".join(json.dumps(rounded(row)) for row in compare(records))
    head = {"date": datetime.date.today().isoformat(), "versions": versions(), "error": ERROR}
    text = json.dumps(head)[:-1] + ', "rows": [\n  ' + rows + "\n]}\n"
    options.out.write_text(text, encoding="utf-8")
    if options.records:
        options.records.write_text(json.dumps(records, indent=1), encoding="utf-8")
    print(f"\nwritten to {options.out}")
    try:
        draw(compare(records), options.picture)
        print(f"drawn in {options.picture}")
    except ImportError:
        print("not drawn: Matplotlib is not installed in this environment")


def draw(rows: list[dict], path: Path) -> None:
    """A panel for each problem: a bar for each contender, from adjode's time to its own."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row["ratio"]]
    names = list(dict.fromkeys(row["problem"] for row in shown))
    figure = Figure(figsize=(9, 1 + 2.4 * len(names)), layout="constrained")
    for panel, name in zip(np.ravel(figure.subplots(len(names), sharex=True)), names, strict=True):
        bars = sorted((row for row in shown if row["problem"] == name), key=lambda row: -row["ratio"])
        drawn = panel.barh([row["peer"] for row in bars], [row["ratio"] - 1 for row in bars], left=1)
        panel.bar_label(drawn, [f"{row['ratio']:.3g}" for row in bars], padding=3)
        panel.axvline(1.0, color="black", linewidth=1)
        panel.set(title=name, xscale="log")
        panel.margins(x=0.15)
    figure.supxlabel("time of a gradient, as a multiple of adjode's")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def rounded(row: dict) -> dict:
    """Four digits are more than a time is worth."""
    return {key: float(f"{x:.4g}") if isinstance(x, float) else x for key, x in row.items()}


if __name__ == "__main__":
    main()
