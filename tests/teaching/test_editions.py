"""The notebooks that are handed out: what each edition holds, and what it must not."""

import ast
import re
import zipfile

import nbformat
import pytest
from teaching import editions, notebooks, sandbox
from teaching.keys import Function, flat
from teaching.sheets import EVERYONE, NAMES, Question, assignment, seed_of

MARKED = sorted(editions.MARKED.rglob("*.ipynb"))
SECRETS = re.compile(r"BEGIN (HIDDEN|SOLUTION)|END (HIDDEN|SOLUTION)|hidden test", re.IGNORECASE)


def text_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


@pytest.fixture(params=NAMES)
def three(request):
    """An assignment's sheet and its notebook in each edition."""
    about, seed = assignment(request.param), seed_of("a secret", request.param, "ada")
    sheet = about.sheet(seed)
    return sheet, {e: notebooks.build(about, sheet, e, seed, "ada") for e in notebooks.EDITIONS}


def test_the_students_sheet_holds_no_answer(three):
    sheet, made = three
    text = text_of(made["student"])
    assert not SECRETS.search(text)
    assert "Misconception" not in text
    for question in sheet.questions:
        assert question.solution not in text
        if not callable(getattr(question.key, "right", None)) and not isinstance(question.key.right, str):
            for number in flat(question.key.right):
                shown = repr(float(number))
                assert shown not in text or len(shown) < 9  # as the data are
        for slip in question.key.mistakes:
            assert slip not in text or len(slip) == 1


def test_the_instructors_sheet_says_what_it_is_for(three):
    sheet, made = three
    text = text_of(made["instructor"])
    assert text.count("### BEGIN HIDDEN TESTS") == text.count("### END HIDDEN TESTS") == len(sheet.questions)
    for word in ("For instructors", "Difficulty", "Outcome", "Misconception", "minutes"):
        assert word in text
    assert not SECRETS.search(text_of(made["solution"]))


def test_the_metadata_is_nbgraders(three):
    sheet, made = three
    for notebook in made.values():
        nbformat.validate(notebook)
        names = [cell.metadata.nbgrader.grade_id for cell in notebook.cells]
        assert len(names) == len(set(names))
        for cell in notebook.cells:
            rules = cell.metadata.nbgrader
            assert rules.schema_version == 3 and rules.task is False
            assert rules.locked != (rules.solution and not rules.grade)
            assert ("points" in rules) == rules.grade
        assert sum(c.metadata.nbgrader.get("points", 0) for c in notebook.cells) == sheet.points
    assert [c.metadata.nbgrader for c in made["student"].cells] == [
        c.metadata.nbgrader for c in made["instructor"].cells
    ]


def test_the_hidden_tests_pass_the_solution_and_refuse_the_blank(three):
    """As nbgrader would run them: all cells, answers and hidden tests among them, in one process."""
    _, made = three
    cells = [c.source for c in made["instructor"].cells if c.cell_type == "code"]
    outcome = sandbox.run(cells, [], {})
    assert outcome.errors == [], outcome
    blank = dict(zip([c.id for c in made["student"].cells], made["student"].cells, strict=True))
    cells = [
        blank[c.id].source if c.metadata.nbgrader.solution else c.source
        for c in made["instructor"].cells
        if c.cell_type == "code"
    ]
    failed = sandbox.run(cells, [], {}).errors
    assert len(failed) >= sum(c.metadata.nbgrader.grade for c in made["instructor"].cells)


def test_the_students_sheet_runs_as_it_is_and_earns_nothing(three):
    sheet, made = three
    cells = [c.source for c in made["student"].cells if c.cell_type == "code"]
    calls = {q.name: q.key.inputs for q in sheet.questions if isinstance(q.key, Function)}
    outcome = sandbox.run(cells, [q.name for q in sheet.questions], calls)
    for q in sheet.questions:
        more = {"results": outcome.calls.get(q.name)} if q.name in calls else {}
        assert not q.key.judge(outcome.values.get(q.name), q.name, **more).right
    stubs = [q for q in sheet.questions if q.stub and "return ..." in q.stub]
    assert outcome.finished and (outcome.errors == [] or stubs), outcome.errors
    assert "not answered yet" in outcome.output or stubs


def test_imports_of_the_sheets_are_in_the_wheel(three):
    """What a student installs with the notebook's first cell."""
    _, made = three
    allowed = {"numpy", "scipy", "autograd", "sympy", "matplotlib", "adjode", "receipts", "importlib"}
    for cell in made["solution"].cells:
        if cell.cell_type == "code" and "%pip" not in cell.source:
            for node in ast.walk(ast.parse(cell.source)):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                assert {n.split(".")[0] for n in names} <= allowed


# Chapters


@pytest.fixture(
    params=MARKED or [pytest.param(None, marks=pytest.mark.skip(reason="run `make book` first"))],
    ids=lambda p: p.stem if p else "none",
)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def test_a_students_chapter_has_its_feedback_and_no_solution(chapter):
    solutions = [c for c in chapter.cells if c.metadata.get("exercise", {}).get("kind") == "solution"]
    student = editions.chapter_edition(chapter, "student", {})
    nbformat.validate(student)
    text = text_of(student)
    for cell in solutions:
        assert cell.source not in text
    assert "Solution to Exercise" not in text
    assert text.count("answer = ...") == text_of(chapter).count("answer = ...")
    assert text.count("feedback(answer") == text_of(chapter).count("feedback(answer")


def test_no_later_cell_needs_a_solution(chapter):
    """What only a solution defines is used nowhere else, so that the student's edition runs."""
    defined, needed, own = set(), {}, set()
    for cell in chapter.cells:
        if cell.cell_type != "code" or cell.source.startswith(("# Installs", "%%")):
            continue
        tree = ast.parse(cell.source)
        names = {n.id: isinstance(n.ctx, ast.Store) for n in ast.walk(tree) if isinstance(n, ast.Name)}
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        stored |= {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        if cell.metadata.get("exercise", {}).get("kind") == "solution":
            defined |= stored - own
        else:
            local = {a.arg for n in ast.walk(tree) if isinstance(n, ast.arguments) for a in n.args}
            for name in set(names) & (defined - own) - stored - local:
                needed[name] = cell.source[:60]
            own |= stored
    assert needed == {}


def test_the_instructors_chapters_have_a_note_for_each_exercise():
    if not MARKED:
        pytest.skip("run `make book` first")
    table, noted = editions.practice(), []
    for path in MARKED:
        made = editions.chapter_edition(nbformat.read(path, as_version=4), "instructor", dict(table))
        noted += re.findall(r"> \*\*For instructors\*\* \((\S+)\)", text_of(made))
    assert sorted(noted) == sorted(table)


# What must never be published


def test_nothing_of_the_grading_is_in_the_site_or_the_wheel(site):
    wheel = next(site.glob("_static/wheels/*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        inside = {part for name in archive.namelist() for part in name.split("/")}
    assert "adjode" in inside
    assert not inside & {"teaching", "assignments", "exercises.toml", "keys.py", "planted_bug.py"}
    for path in [*site.rglob("*.html"), *site.rglob("*.ipynb"), *site.rglob("*.json")]:
        assert not re.search(r"BEGIN HIDDEN|BEGIN SOLUTION", path.read_text(encoding="utf-8")), path
    names = {path.name for path in site.rglob("*")}
    assert not names & {
        "exercises.toml",
        "class.json",
        *(f"{n}.py" for n in NAMES),
        *(f"{n}.ipynb" for n in NAMES),
    }


def test_everyones_sheet_is_written_beside_the_chapters(tmp_path):
    editions.write_assignments(tmp_path, {"secret": EVERYONE, "students": None})
    for edition in notebooks.EDITIONS:
        found = sorted(p.stem for p in (tmp_path / edition / "assignments" / EVERYONE).glob("*.ipynb"))
        assert found == sorted(NAMES)
    assert all(isinstance(q, Question) for q in assignment(NAMES[0]).sheet(1).questions)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    for twice in ("Anna B\nAnna_B\n", "Anna\nBo\nAnna\n"):
        (tmp_path / "names.txt").write_text(twice)
        with pytest.raises(ValueError, match="would have the same folder"):
            editions.class_of(tmp_path, tmp_path / "names.txt")
