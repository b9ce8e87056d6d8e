"""The sheets under nbgrader itself, in an environment of its own: named by the variable NBGRADER.

python3 -m venv .venv-nbgrader
.venv-nbgrader/bin/python -m pip install -r tests/teaching/requirements-nbgrader.txt
NBGRADER=.venv-nbgrader make test ARGS="tests/teaching/test_nbgrader.py"
"""

import csv
import os
import subprocess
from pathlib import Path

import nbformat
import pytest
from handed_in import answered
from teaching import notebooks
from teaching.sheets import EVERYONE, NAMES, assignment, seed_of

HOME = os.environ.get("NBGRADER")
if not HOME:
    pytest.skip("the variable NBGRADER names no environment with nbgrader", allow_module_level=True)
pytestmark = pytest.mark.slow

TESTED = NAMES
CONFIG = "c = get_config()\nc.CourseDirectory.course_id = 'adjoints'\nc.ExecutePreprocessor.timeout = 60\n"
EXPORT = """
import csv, sys
from nbgrader.api import Gradebook
with Gradebook('sqlite:///gradebook.db') as book:
    found = [s for a in book.assignments for s in a.submissions]
    rows = [(s.student.id, s.assignment.name, s.score, s.max_score) for s in found]
csv.writer(sys.stdout).writerows(rows)
"""


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """What nbgrader gives to the solution, to one wrong answer and to the blank sheet."""
    course = tmp_path_factory.mktemp("course")
    (course / "nbgrader_config.py").write_text(CONFIG)
    programs = Path(HOME).absolute() / "bin"
    environment = os.environ | {
        "PYTHONPATH": str(notebooks.ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "JUPYTER_DATA_DIR": str(course / "data"),
        "HOME": str(course),
    }

    def run(*command):
        done = subprocess.run(
            [programs / command[0], *command[1:]],
            cwd=course,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    for name in TESTED:
        about, seed = assignment(name), seed_of(EVERYONE, name, EVERYONE)
        sheet = about.sheet(seed)
        made = {e: notebooks.build(about, sheet, e, seed) for e in notebooks.EDITIONS}
        last = sheet.questions[-1]
        handed_in = {
            "right": answered(made["student"], sheet),
            "wrong": answered(made["student"], sheet, {last.name: f"{last.name} = 12345"}),
            "blank": made["student"],
        }
        for path, notebook in [(course / "source" / name, made["instructor"])] + [
            (course / "submitted" / who / name, notebook) for who, notebook in handed_in.items()
        ]:
            path.mkdir(parents=True)
            nbformat.write(notebook, path / f"{name}.ipynb")
        run("nbgrader", "generate_assignment", name)
        run("nbgrader", "autograde", name)
    rows = csv.reader(run("python", "-c", EXPORT).splitlines())
    return course, {(who, name): (float(got), float(of)) for who, name, got, of in rows}


@pytest.mark.parametrize("name", TESTED)
def test_nbgrader_gives_the_points_that_we_give(scores, name):
    _, points = scores
    last = assignment(name).sheet(1).questions[-1]
    assert points["right", name] == (6, 6)
    assert points["blank", name] == (0, 6)
    assert points["wrong", name] == (6 - last.points, 6)


@pytest.mark.parametrize("name", TESTED)
def test_what_nbgrader_hands_out_has_no_solution_and_no_hidden_test(scores, name):
    course, _ = scores
    text = (course / "release" / name / f"{name}.ipynb").read_text()
    assert "HIDDEN" not in text and "SOLUTION" not in text
    for question in assignment(name).sheet(seed_of(EVERYONE, name, EVERYONE)).questions:
        assert question.solution not in text
