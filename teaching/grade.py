"""Grade a folder of submitted notebooks: a table of points, and a report for each student."""

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from teaching import notebooks, report, sandbox, submissions
from teaching.sheets import EVERYONE, NAMES, Given, assignment, seed_of

ALONE = (
    "Nothing on this machine shuts a notebook in: it can read and change what you can. Grade here only"
    " those of people whom you trust; for all others, use a Linux that allows user namespaces, in a virtual"
    " machine if need be."
)


def load_class(path):
    """The secret and the students of a class; without one, everybody has the same sheet."""
    if path is None:
        return {"secret": EVERYONE, "students": None, "names": {}}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        good = isinstance(found["secret"], str) and isinstance(found["students"], list)
        found.setdefault("names", {})
        names = [*found["students"], *found["names"], *found["names"].values()]
        good = good and all(isinstance(s, str) for s in names)
    except OSError as error:
        raise ValueError(
            f"the file of the class, {path}, cannot be read ({error.strerror}): name the class.json that"
            " `make editions STUDENTS=names.txt` wrote"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise ValueError(
            f"{path} is no file of a class: it needs `secret` and `students` (see `make editions`)"
        )
    return found


def named(course, student):
    """The name of a student as it stands on the list of the class; empty without one."""
    return course.get("names", {}).get(student, "")


def seeds(course, name):
    """Each student's seed for an assignment."""
    return {s: seed_of(course["secret"], name, s) for s in course["students"] or []}


def seed_for(course, name, student):
    if course["students"] is None:
        return seed_of(EVERYONE, name, EVERYONE)
    return seeds(course, name)[student]


def remarks_on(submission, seed, known):
    """What the notebook itself shows, compared with the one that was handed out."""
    sheet = assignment(submission.assignment).sheet(seed)
    found = []
    if submission.left_out:
        found.append(
            f"It has {submission.left_out + submissions.MOST_CELLS} cells. The first"
            f" {submissions.MOST_CELLS} were run and marked; what stands in the others does not count."
        )
    if submission.sheet and submission.sheet != notebooks.label_of(seed):
        whose = known.get(submission.sheet)
        found.append(
            "This notebook was made from the sheet of somebody else. Your own sheet has other data."
            if whose
            else "This notebook was made from another sheet than yours; yours has other data."
        )
    for number, part in enumerate(sheet.parts):
        if isinstance(part, Given) and submission.sheet == notebooks.label_of(seed):
            now = submission.ids.get(f"given-{number}")
            if now is None:
                found.append("A cell with given data or code is gone.")
            elif now.strip() != part.source.strip():
                found.append(
                    "A cell with given data or code was changed. Answers are judged on what was given."
                )
    written = defined("\n".join(submission.cells))
    given = defined("\n".join(part.source for part in sheet.parts if isinstance(part, Given)))
    for question in sheet.questions:
        if question.name not in written:
            others = sorted(written - given - {q.name for q in sheet.questions})[:500]
            near = difflib.get_close_matches(question.name, others, 1, 0.7)
            hint = f" There is a {report.shown(near[0])}: was that meant?" if near else ""
            found.append(f"No cell defines `{question.name}`.{hint}")
    return list(dict.fromkeys(found))


def defined(source):
    """The names that the lines of a source give to something, as far as one sees without running it."""
    found = re.findall(r"(?m)^(\w{1,60}(?:, ?\w{1,60}){0,20})\s*=(?!=)|^def (\w{1,60})", source[:200_000])
    return {name.strip() for some in found for part in some if part for name in part.split(",")}


def marker(what, works):
    """Let the marker, a process of its own, say what to ask for, or mark what came back."""
    run = subprocess.run(
        [sys.executable, "-m", "teaching.mark", what],
        input=json.dumps(works),
        text=True,
        capture_output=True,
        cwd=notebooks.ROOT,
        check=False,
        env=os.environ
        | {
            "PYTHONPATH": f"{notebooks.ROOT}{os.pathsep}{notebooks.ROOT / 'src'}",
            "OMP_NUM_THREADS": "1",
        },
    )
    if run.returncode:
        raise RuntimeError(f"the marker failed: {run.stderr[-2000:]}")
    return json.loads(run.stdout)


def grade(folder, out, course=None, only=None, limits=None, how=None, say=print, workers=None):
    """Grade a folder and write ``points.csv`` and ``reports/`` into another. Returns the results.

    Parameters
    ----------
    folder, out : path
        Where the submissions lie (see `submissions.find`), and where the table and reports go.
    course : path or None
        The file of the class, which ``make editions STUDENTS=...`` made.
    only : str or None
        Grade this assignment alone, whatever the files are called.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"there is no folder {folder}: name the one with the notebooks that were handed in")
    if only is not None and only not in NAMES:
        raise ValueError(f"there is no assignment {only!r}; there are {', '.join(NAMES)}")
    how = how or sandbox.protection()
    found = submissions.find(folder, only)
    if not found:
        raise ValueError(f"there is no notebook (.ipynb) below {folder}")
    course = load_class(course)
    reports = make_place(Path(out) / "reports", "the reports", "OUT=graded")
    say(f"{counted(len(found), 'notebook')}. " + how.words.replace("It ran", "Each runs"))
    if not how.strong:
        say(ALONE)
    first = {}
    for s in found:
        if not s.problem:
            first.setdefault((s.student, s.assignment), s)
    results = [prepare(s, course, first) for s in found]
    ready = [r for r in results if not r["problem"]]
    labels = [(r["submission"].sheet, notebooks.label_of(r["seed"])) for r in ready]
    if course["students"] is None and labels and all(own and own != here for own, here in labels):
        raise ValueError(
            "these sheets were drawn for a class: say which, as in CLASS=_build/editions/class.json"
        )
    with ThreadPoolExecutor(workers or min(os.cpu_count() or 1, 4)) as pool:
        asked = marker("ask", [{"assignment": r["assignment"], "seed": r["seed"]} for r in ready])
        outcomes = pool.map(
            lambda r, a: sandbox.run(r["submission"].cells, a["names"], a["calls"], limits, how),
            ready,
            asked,
        )
        for result, outcome in zip(ready, outcomes, strict=True):
            result["outcome"] = outcome
            say(
                f"  {result['student']}, {result['assignment']}: ran {outcome.seconds:.1f} s"
                + (f"; {outcome.ended}" if outcome.ended else "")
            )
    works = [
        {
            "assignment": r["assignment"],
            "seed": r["seed"],
            "others": seeds(course, r["assignment"]),
            "values": r["outcome"].values,
            "calls": r["outcome"].calls,
        }
        for r in ready
    ]
    for result, marks in zip(ready, marker("mark", works), strict=True):
        result["marks"] = marks
        known = {notebooks.label_of(s): who for who, s in seeds(course, result["assignment"]).items()}
        result["remarks"] = remarks_on(result["submission"], result["seed"], known)
    results += absent(results, course)
    results.sort(key=lambda r: (r["student"].casefold(), r["assignment"]))
    for result in results:
        result["words"] = how.words
    write(Path(out), reports, results)
    for line in unmarked(results, course):
        say(line)
    return results


def prepare(submission, course, first):
    """What is known before it runs, and why it may not be run.

    ``first``: by student and assignment, the file that is marked.
    """
    problem, seed, student = submission.problem, None, submission.student
    if not problem:
        if first[student, submission.assignment] is not submission:
            problem = (
                "There is another file of the same student for the same assignment; the first one was marked."
            )
        else:
            try:
                seed = seed_for(course, submission.assignment, student)
            except KeyError:
                problem = report.STRANGER
    return {
        "student": student,
        "name": named(course, student),
        "assignment": submission.assignment,
        "submission": submission,
        "seed": seed,
        "problem": problem,
        "marks": [],
        "outcome": None,
        "remarks": [],
    }


def unmarked(results, course):
    """For the teacher: who handed in what could not be marked, and who handed in nothing."""
    handed_in = [r for r in results if r["submission"]]
    lines = []
    if left := [r for r in handed_in if r["problem"]]:
        lines.append(f"Not marked, {len(left)} of {counted(len(handed_in), 'notebook')}:")
    listed = {s.casefold(): s for s in course["students"] or []}
    for r in left:
        what = r["problem"].rstrip(".")
        if r["problem"] == report.STRANGER:
            meant = difflib.get_close_matches(r["student"].casefold(), listed, 1, 0.7)
            what += f"; is it {listed[meant[0]]}?" if meant else ""
        lines.append(f"  {r['student']}, {r['assignment'] or 'unknown sheet'}: {what}")
    missing = {}
    for r in results:
        if not r["submission"]:
            told = f" ({r['name']})" if submissions.clean(r["name"]) != r["student"] else ""
            missing.setdefault(r["assignment"], []).append(r["student"] + told)
    lines += ["On the list, and nothing handed in:"] if missing else []
    return lines + [f"  {sheet}: {', '.join(who)}" for sheet, who in missing.items()]


def counted(number, what):
    return f"{number} {what}{'s' * (number != 1)}"


def absent(results, course):
    """A line for each student of the class who handed in nothing."""
    graded = {r["assignment"] for r in results if r["assignment"]}
    there = {(r["student"], r["assignment"]) for r in results}
    return [
        {
            "student": s,
            "name": named(course, s),
            "assignment": a,
            "submission": None,
            "seed": None,
            "marks": [],
            "outcome": None,
            "remarks": [],
            "problem": "Nothing was handed in.",
        }
        for s in course["students"] or []
        for a in sorted(graded)
        if (s, a) not in there
    ]


def make_place(folder, what, instead):
    """A folder that can be written into, before anything runs: an hour of runs is not lost for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{what} cannot be written into {folder} ({error.strerror}): name another place, as in {instead}"
        ) from None
    return folder


def write(out, folder, results):
    """The table, and each report into its folder."""
    taken = Counter()
    for result in results:
        if result["submission"] is None:
            continue
        plain = name = f"{result['student']}-{result['assignment'] or 'unknown'}"
        if taken[plain]:
            name += "-again" + (f"-{taken[plain]}" if taken[plain] > 1 else "")
        taken[plain] += 1
        (folder / f"{name}.md").write_bytes(report.write(result).encode("utf-8", "replace"))
    report.table(out / "points.csv", results)
