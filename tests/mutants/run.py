"""Break the code on purpose, line by line, and see that a test notices.

`make mutants MODULE=adjode/discrete` makes every mutant of that module (a sign, an index, a constant,
a condition) with mutmut, and runs the tests below against each. A mutant that no test refuses must
stand in explained.toml, with the reason why that is right; otherwise the command fails. It also
fails on an explanation that nothing needs any more.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "_build" / "mutants"
EXPLAINED = Path(__file__).with_name("explained.toml")

# The tests that run against the mutants of a module: few, fast, and made for it.
BAD, SOLVE = "adjode/test_bad_inputs.py", "adjode/test_solve.py"
STEPS_BACK = "adjode/test_discrete.py::test_discrete_adjoint_is_the_derivative_of_the_steps"
ALL_PARTS = "adjode/test_discrete.py::test_with_observations_running_cost_and_explicit_theta"
OVERFLOW = "adjode/test_discrete.py::test_an_adjoint_that_overflows_is_refused_without_a_warning"
JUMPS = "adjode/test_continuous.py::test_lambda_jumps_by_l_z_at_each_observation"
IMPLICIT = "adjode/test_stiff.py::test_discrete_adjoint_is_the_derivative_of_the_implicit_steps"
RADAU = "adjode/test_stiff.py::test_radau_is_collocation_and_damps_what_is_stiff"
KEEPS_NOTHING = "adjode/test_memory.py::test_backsolve_keeps_nothing_of_its_steps"
TIME_GRADIENTS = [
    "adjode/test_closed_form.py::test_observations_anywhere_between_and_at_both_ends",
    "adjode/test_closed_form.py::test_running_cost_with_explicit_time_and_theta",
    "adjode/test_closed_form.py::test_all_parts_of_a_loss_add_up",
]
TESTS = {
    "adjode/discrete": [STEPS_BACK, ALL_PARTS, "adjode/test_discrete.py", IMPLICIT, BAD],
    "adjode/vjp": ["adjode/test_vjp.py", BAD, STEPS_BACK, ALL_PARTS, "adjode/test_fast.py"],
    "adjode/tableau": ["adjode/test_tableau.py", BAD, SOLVE, RADAU],
    "adjode/loss": ["adjode/test_loss.py", ALL_PARTS, BAD, OVERFLOW, *TIME_GRADIENTS, JUMPS],
    "adjode/checkpoint": ["adjode/test_checkpoint.py", OVERFLOW],
    "adjode/steps": [SOLVE, BAD, "adjode/test_discrete.py"],
    "adjode/continuous": ["adjode/test_continuous.py", KEEPS_NOTHING, *TIME_GRADIENTS, BAD],
    "receipts/jets": ["receipts/test_forms.py", "receipts/test_check.py"],
    "receipts/wrong": ["receipts/test_wrong.py"],
    "receipts/same": ["receipts/test_forms.py", "receipts/test_traps.py"],
    "receipts/depends": ["receipts/test_traps.py"],
    "receipts/measured": ["receipts/test_measured.py"],
    "receipts/decide": ["receipts/test_traps.py", "receipts/test_check.py"],
}
# How long a mutant may run, over the time of its tests: a loop without end is a kill, too.
SETTINGS = """
[tool.mutmut]
source_paths = ["src/"]
only_mutate = ["src/{module}.py"]
pytest_add_cli_args = ["-q", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
timeout_multiplier = 3.0
timeout_constant = 3.0
"""
KILLED = {"killed", "timeout", "segfault"}


def main(modules):
    unknown = [m for m in modules if m not in TESTS]
    if unknown:
        sys.exit(f"No tests are named for {', '.join(unknown)}; there are some for {', '.join(TESTS)}")
    explained = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))
    families, single = explained.get("family", []), explained.get("survivor", [])
    rows = [check(m, families, [e for e in single if e["module"] == m]) for m in modules or TESTS]
    print("\nmodule              mutants  killed  explained  unexplained")
    for module, counts in rows:
        numbers = (counts[name] for name in ("mutants", "killed", "explained", "unexplained"))
        print("{:18s} {:8d} {:7d} {:10d} {:12d}".format(module, *numbers))
    sys.exit(any(counts["unexplained"] or counts["stale"] for _, counts in rows))


def check(module, families, explained):
    """Run mutmut over a module, and report."""
    here = WORK / module.replace("/", "-")
    prepare(module, here)
    command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    log = here / "mutmut.log"
    with log.open("w") as out:
        done = subprocess.run(command, cwd=here, env=environment, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{module}: mutmut stopped; the end of {log}:\n" + log.read_text()[-3000:])
    return report(module, here, families, explained)


def report(module, here, families, explained):
    """The counts of a module, after its survivors and its stale explanations are printed."""
    counts, used = Counter(), set()
    for name, status in results(module, here):
        counts["mutants"] += 1
        if status in KILLED:
            counts["killed"] += 1
            continue
        function, was, now = change(name, module, here)
        reasons = [i for i, e in enumerate(explained) if fits(e, function, was, now)]
        used.update(reasons)
        known = reasons or any(belongs(family, was, now) for family in families)
        counts["explained" if known else "unexplained"] += 1
        if not known:
            print(f'\n[[survivor]]  # {status}\nmodule = "{module}"\nfunction = "{function}"')
            print(f"was = {json.dumps(was)}\nnow = {json.dumps(now)}\nreason = ", flush=True)
    for i, e in enumerate(explained):
        if i not in used:
            counts["stale"] += 1
            print(f"\n{module}, {e['function']}: this explanation fits no survivor any more: {e['now']}")
    return module, counts


def prepare(module, here):
    """A copy of the code and the tests, with mutmut's settings for this module."""
    shutil.rmtree(here, ignore_errors=True)
    without = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("src", "tests/adjode", "tests/receipts"):
        shutil.copytree(ROOT / folder, here / folder, ignore=without)
    shutil.copy(ROOT / "tests/conftest.py", here / "tests")
    tests = json.dumps([f"tests/{name}" for name in TESTS[module]])
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = SETTINGS.format(module=module, tests=tests)
    (here / "pyproject.toml").write_text(project + settings, encoding="utf-8")


def results(module, here):
    """Name and fate of each mutant."""
    from mutmut.stats import status_by_exit_code

    meta = json.loads((here / "mutants" / "src" / f"{module}.py.meta").read_text())
    return [(name, status_by_exit_code[code]) for name, code in meta["exit_code_by_key"].items()]


def change(name, module, here):
    """The function of a mutant, and the lines that it takes out and puts in."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    before = Path.cwd()
    os.chdir(here)
    try:
        diff = get_diff_for_mutant(name, path=f"src/{module}.py").splitlines()
    finally:
        os.chdir(before)
    mangled = name.rpartition("__mutmut_")[0].rpartition(".")[2]  # x_function or xǁClassǁmethod
    function = mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    lines = {sign: [x[1:].strip() for x in diff[2:] if x.startswith(sign)] for sign in "-+"}
    return function, " ".join(lines["-"]), " ".join(lines["+"])


def fits(entry, function, was, now):
    """Is this the explained change? Spaces do not count, and ``now`` may be a pattern."""
    same = lambda pattern, text: fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))
    return entry["function"] == function and same(entry["was"], was) and same(entry["now"], now)


def belongs(family, was, now):
    """Does the change touch nothing but what the family ignores, on a line of its kind?"""
    plain = lambda text: re.sub(family["ignores"], "", text).lower()
    return bool(re.search(family["line"], was)) and plain(was) == plain(now)


if __name__ == "__main__":
    main(sys.argv[1:])
