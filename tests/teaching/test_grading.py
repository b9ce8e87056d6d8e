"""A class hands in: what comes out, for right, wrong, blank, broken and borrowed answers."""

import csv
import json
import tracemalloc

import nbformat
import pytest
from handed_in import answered, with_cell
from teaching import editions, notebooks, report, sandbox, submissions
from teaching.grade import grade
from teaching.sheets import assignment, seed_of

NAME = "static_solve"
LIMITS = sandbox.Limits(seconds=30, cell_seconds=8, cpu=20)
STUDENTS = [
    "ada",
    "bob",
    "carl",
    "dora",
    "emil",
    "finn",
    "gina",
    "hugo",
    "ines",
    "jon",
    "kim",
    "lea",
    "max",
    "noa",
    "ole",
    "pia",
    "quin",
    "rosa",
    "sven",
    "tia",
    "uma",
]

TRANSPOSED = "lam = np.linalg.solve(A0 + theta*A1, u - aim)"
PLUS = "dL_dtheta = lam @ A1 @ u"


def renamed(notebook):
    for cell in notebook.cells:
        cell.source = cell.source.replace("lam =", "lamb =").replace("lam @", "lamb @")
    return notebook


def without_answers(notebook):
    notebook.cells = [c for c in notebook.cells if not c.metadata.get("nbgrader", {}).get("solution")]
    return notebook


def tampered(notebook):
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id", "").startswith("given-"):
            cell.source = cell.source.replace("theta = 0.", "theta = 5.")
    return notebook


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    (folder / "names.txt").write_text("\n".join(STUDENTS) + "\n\n")
    return folder, editions.class_of(folder, folder / "names.txt")


@pytest.fixture(scope="module")
def graded(course):
    """Twenty-one students, some of whom hand in something odd."""
    folder, secret = course
    about, seeds = assignment(NAME), {s: seed_of(secret["secret"], NAME, s) for s in STUDENTS}

    def handed_in(student, answers=None, of=None):
        sheet = about.sheet(seeds[of or student])
        return answered(
            notebooks.build(about, sheet, "student", seeds[of or student], of or student), sheet, answers
        )

    def blank(student):
        return notebooks.build(about, about.sheet(seeds[student]), "student", seeds[student], student)

    bobs = about.sheet(seeds["bob"]).questions
    work = {
        "ada": handed_in("ada"),
        "bob": handed_in("bob", {"lam": TRANSPOSED}),
        "carl": handed_in("carl", {"dL_dtheta": PLUS}),
        "dora": blank("dora"),
        "emil": handed_in("emil", {"lam": "lam = (1, 2"}),
        "finn": with_cell(handed_in("finn"), "while True: pass", before_answers=False),
        "gina": renamed(handed_in("gina")),
        "hugo": without_answers(handed_in("hugo")),
        "ines": handed_in("ines", {"lam": "lam = np.array([np.nan, 1, 2])"}),
        "jon": handed_in("jon", {"lam": "lam = np.full(3, 1e300)"}),
        "kim": handed_in("kim", {"lam": "lam = np.eye(3)"}),
        "lea": handed_in("lea", of="bob"),
        "max": handed_in(
            "max",
            {
                q.name: f"{q.name} = {getattr(q.key.right, 'tolist', lambda q=q: float(q.key.right))()}"
                for q in bobs
            },
        ),
        "noa": tampered(handed_in("noa")),
        "ole": handed_in(
            "ole",
            {"u": "u = [float(x) for x in np.linalg.solve(A0 + theta*A1, b)]", "lam": "lam = 'three'"},
        ),
        "pia": handed_in("pia", {"u": "u = undefined"}),
    }
    place = folder / "submitted"
    for student, notebook in work.items():
        (place / student).mkdir(parents=True)
        nbformat.write(notebook, place / student / f"{NAME}.ipynb")
    (place / "quin").mkdir()
    (place / "quin" / f"{NAME}.ipynb").write_text("{not json")
    (place / "rosa").mkdir()
    (place / "rosa" / f"{NAME}.ipynb").symlink_to(folder / "class.json")
    (place / "sven").mkdir()
    (place / "sven" / f"{NAME}.ipynb").write_text(json.dumps({"cells": {"a": 1}, "metadata": []}))
    (place / "zoe").mkdir()
    nbformat.write(work["ada"], place / "zoe" / f"{NAME}.ipynb")
    (place / "tia" / "late").mkdir(parents=True)
    nbformat.write(handed_in("tia"), place / "tia" / f"{NAME}.ipynb")
    nbformat.write(blank("tia"), place / "tia" / "late" / f"{NAME}.ipynb")
    out = folder / "graded"
    said = []
    results = grade(place, out, folder / "class.json", limits=LIMITS, say=said.append)
    (out / "said").write_text("\n".join(said))
    with open(out / "points.csv", newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    return {r["student"]: r for r in reversed(results)}, rows, out


EXPECTED = {
    "ada": (6, "Everything is right."),
    "bob": (1, "this solves with A"),
    "carl": (4, "it is minus lambda times c_theta"),
    "dora": (0, "Nothing is answered yet"),
    "emil": (1, "SyntaxError"),
    "finn": (6, "was stopped"),
    "gina": (3, "There is a `lamb`: was that meant?"),
    "hugo": (0, "None of the answers arrived."),
    "ines": (1, "not finite"),
    "jon": (1, "Not right"),
    "kim": (1, "3 numbers are needed; `lam` has 9"),
    "lea": (0, "the sheet of somebody else"),
    "max": (0, "another sheet than yours"),
    "noa": (0, "given data or code was changed"),
    "ole": (1, "Numbers are needed here; `lam` is text"),
    "pia": (0, "NameError: name 'undefined' is not defined"),
    "quin": (None, "not a notebook"),
    "rosa": (None, "The file is a link"),
    "sven": (None, "not a notebook"),
    "tia": (6, "Everything is right."),
}


@pytest.mark.parametrize("student", sorted(EXPECTED))
def test_points_and_what_the_report_says(graded, student):
    _, rows, out = graded
    points, words = EXPECTED[student]
    row = next(r for r in rows if r["student"] == student)
    assert row["points"] == ("" if points is None else str(points)), row
    assert words in (out / "reports" / f"{student}-{NAME}.md").read_text()


def test_the_table_has_a_line_for_everyone(graded):
    _, rows, _ = graded
    assert {r["student"] for r in rows} == {*STUDENTS, "zoe"}
    remarks = {r["student"]: r["remarks"] for r in rows}
    assert "Nothing was handed in" in remarks["uma"]
    assert "not on the list" in remarks["zoe"]
    assert "answers of the sheet of bob" in remarks["max"]
    assert sum(r["student"] == "tia" for r in rows) == 2
    assert any("another file of the same student" in r["remarks"] for r in rows)


def test_the_console_names_who_was_not_marked_and_who_is_missing(graded):
    _, _, out = graded
    told = (out / "said").read_text().partition("Not marked")[2].splitlines()
    assert told[0] == ", 5 of 22 notebooks:"
    names = [line.strip().partition(",")[0] for line in told[1:6]]
    assert names == ["quin", "rosa", "sven", "tia", "zoe"]
    assert told[5].endswith("not on the list of the class")
    assert told[6:] == ["On the list, and nothing handed in:", f"  {NAME}: uma"]


def test_a_name_written_otherwise_is_guessed_for_the_teacher_alone(tmp_path):
    (tmp_path / "names.txt").write_text("al15\tAda Lovelace\nBob_Ross\n")
    editions.class_of(tmp_path, tmp_path / "names.txt")
    for student in ("BOB_ROSS", "Eve"):
        (tmp_path / "in" / student).mkdir(parents=True)
        (tmp_path / "in" / student / f"{NAME}.ipynb").write_text('{"cells": [], "metadata": {}}')
    said = []
    grade(tmp_path / "in", tmp_path / "out", tmp_path / "class.json", say=said.append)
    stranger = f"{NAME}: The name of the file or folder is not on the list of the class"
    assert said[1:] == [
        "Not marked, 2 of 2 notebooks:",
        f"  BOB_ROSS, {stranger}; is it Bob_Ross?",
        f"  Eve, {stranger}",
        "On the list, and nothing handed in:",
        f"  {NAME}: al15 (Ada Lovelace), Bob_Ross",
    ]
    text = (tmp_path / "out" / "reports" / f"BOB_ROSS-{NAME}.md").read_text()
    assert "ask which name you have there" in text.lower() and "Bob_Ross" not in text


def test_a_report_names_nobody_else(graded):
    _, _, out = graded
    for path in (out / "reports").glob("*.md"):
        student = path.stem.split("-")[0]
        for other in set(STUDENTS) - {student}:
            assert f" {other}" not in path.read_text().replace("\n", " "), (path, other)


def test_a_report_gives_no_right_answer_away(graded):
    results, _, out = graded
    for student, result in results.items():
        if result["seed"] is None or student == "finn":
            continue
        text = (out / "reports" / f"{student}-{NAME}.md").read_text()
        for q in assignment(NAME).sheet(result["seed"]).questions:
            import numpy as np

            for number in np.ravel(q.key.right):
                assert f"{number:.4f}" not in text and f"{number:.4g}" not in text


def test_a_class_that_was_forgotten_is_asked_for(course, tmp_path):
    _, secret = course
    about, seed = assignment(NAME), seed_of(secret["secret"], NAME, "ada")
    nbformat.write(
        notebooks.build(about, about.sheet(seed), "student", seed, "ada"), tmp_path / f"ada-{NAME}.ipynb"
    )
    with pytest.raises(ValueError, match="were drawn for a class"):
        grade(tmp_path, tmp_path / "out", say=lambda *_: None)


def test_the_class_is_kept_and_private(course):
    folder, secret = course
    again = editions.class_of(folder, folder / "names.txt")
    assert again["secret"] == secret["secret"]
    assert (folder / "class.json").stat().st_mode & 0o077 == 0


def test_wrong_calls_are_answered_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        grade(tmp_path / "nowhere", tmp_path)
    with pytest.raises(ValueError, match="there is no notebook"):
        grade(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="there is no assignment 'x'; there are"):
        grade(tmp_path, tmp_path, only="x")
    (tmp_path / "class.json").write_text("{}")
    (tmp_path / f"ada-{NAME}.ipynb").write_text("{}")
    with pytest.raises(ValueError, match="no file of a class"):
        grade(tmp_path, tmp_path, tmp_path / "class.json")


@pytest.mark.parametrize(
    ("path", "student", "name"),
    [
        ("ada/static_solve.ipynb", "ada", "static_solve"),
        ("ada/static_solve/static_solve.ipynb", "ada", "static_solve"),
        ("ada-order.ipynb", "ada", "order"),
        ("ada_order.ipynb", "ada", "order"),
        ("ada.ipynb", "ada", ""),
        ("=cmd()/order.ipynb", "cmd", "order"),
        ("a b/order.ipynb", "a_b", "order"),
    ],
)
def test_whose_and_which_the_name_says(tmp_path, path, student, name):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text('{"cells": [], "metadata": {}}')
    found = submissions.find(tmp_path)
    assert [(s.student, s.assignment) for s in found] == [(student, name)]
    assert bool(found[0].problem) == (not name)


def test_files_that_are_none(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe-order.ipynb")
    (tmp_path / "big-order.ipynb").write_bytes(b" " * (submissions.LARGEST_FILE + 1))
    (tmp_path / "deep-order.ipynb").write_text("[" * 100_000)
    (tmp_path / "code-order.ipynb").write_text(
        json.dumps({"cells": [{"cell_type": "code", "source": "x" * 1_500_000}], "metadata": {}})
    )
    (tmp_path / "folder-order.ipynb").mkdir()
    problems = {s.student: s.problem for s in submissions.find(tmp_path)}
    assert set(problems) == {"pipe", "big", "deep", "code"}
    assert all(problems.values())


def test_tidying_up_follows_no_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").write_text("x")
    left = tmp_path / "left"
    (left / "deep").mkdir(parents=True)
    (left / "link").symlink_to(outside)
    (left / "deep" / "file").write_text("x")
    (left / "deep").chmod(0o000)
    outside.chmod(0o755)
    sandbox.remove(left)
    assert not left.exists()
    assert (outside / "kept").exists() and outside.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd", "@x", "=\n1"])
def test_no_cell_of_the_table_is_a_formula(text):
    assert report.guarded(text)[0] == "'"
    assert report.guarded("-3.5") == "-3.5" and report.guarded(4) == "4"


@pytest.mark.parametrize("text", ["a`b", "``` x", "<b>", "a\nb", "\x1b[2J", "", "x" * 9999])
def test_what_a_student_wrote_stays_in_its_code(text):
    shown = report.shown(text)
    assert shown[0] == shown[-1] == "`" and "`" not in shown[1:-1]
    assert shown.isprintable() and len(shown) < 400
    fence = report.block(text).splitlines()
    assert fence[0].removesuffix("text") == fence[-1] and fence[-1] not in "\n".join(fence[1:-1])


def forged(claims):
    """A cell that writes its own answers into every pipe, and ends."""
    return (
        f"import os\nfor number in range(3, 1024):\n    try:\n        os.write(number, {claims!r})\n"
        "    except OSError:\n        pass\nos._exit(0)"
    )


STOPPED = rb'{"values": {}, "errors": [{"cell": 1, "type": "TimeUp", "text": "TEXT"}], "finished": true}'
RAISES = "def pull(*a):\n    raise ValueError('TEXT')"


@pytest.mark.parametrize("text", [r"\ud800", r"\n\n# 6 of 6\n<script>x</script>\u001b[2J`"])
def test_no_text_of_a_student_leaves_its_code_or_ends_the_grading(tmp_path, text):
    folder = tmp_path / "in"
    folder.mkdir()
    cells = {
        "static_solve": forged(STOPPED.replace(b"TEXT", text.encode()) + b"\n"),
        "layer_pull": RAISES.replace("TEXT", text),
    }
    for name, source in cells.items():
        notebook = {"cells": [{"cell_type": "code", "source": source}], "metadata": {}}
        (folder / f"ada-{name}.ipynb").write_text(json.dumps(notebook))
    grade(folder, tmp_path / "out", say=lambda *_: None)
    for name in cells:
        written = (tmp_path / "out" / "reports" / f"ada-{name}.md").read_text()
        assert "\x1b" not in written and "\n# 6 of 6" not in written
        assert "<script>" not in written.replace("`# 6 of 6 <script>x</script> [2J'`", "").replace(
            "`ValueError:   # 6 of 6 <script>x</script> [2J'`", ""
        )


def test_many_files_and_long_names_each_have_a_report(tmp_path):
    names = ["\u4e00" * 80, *(f"mallory/try{i}" for i in range(60))]
    for name in names:
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "static_solve.ipynb").write_text('{"cells": [], "metadata": {}}')
    results = grade(tmp_path / "in", tmp_path / "out", say=lambda *_: None)
    assert len(list((tmp_path / "out" / "reports").iterdir())) == len(results) == len(names)
    assert sum(bool(r["problem"]) for r in results) == 59


def test_a_claim_that_lies_too_deep_or_holds_too_much_is_none():
    assert sandbox.modest({"values": {"u": {"kind": "numbers", "values": [1.0]}}}, most=5)
    assert not sandbox.modest({"values": {"u": {"kind": "numbers", "values": [1.0]}}}, most=4)
    assert sandbox.modest([[]] * 100, most=100) and not sandbox.modest([[]] * 101, most=100)
    deep = []
    for _ in range(900):
        deep = [deep]
    assert not sandbox.modest({"values": {"u": deep}}, most=9999)


@pytest.mark.parametrize("filling", [b"[],", b"0,", b'{"a":1},'])
def test_what_comes_back_takes_no_memory_of_the_grader(filling):
    """Read, empty lists take twenty times the bytes that they were sent as."""
    claim = b'{"values": {"u": [' + filling * (900_000 // len(filling)) + b"0]}}\n"
    assert len(claim) < LIMITS.result
    tracemalloc.start()
    try:
        outcome = sandbox.run(["u = [1, 2]", forged(claim)], ["u"], {}, LIMITS)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outcome.values["u"]["values"] == [1, 2]  # what it said before
    assert outcome.ended
    assert kept < 1e6 and peak < 45e6


def test_an_array_that_is_too_long_is_called_one(tmp_path):
    (tmp_path / "in").mkdir()
    cells = [{"cell_type": "code", "source": "import numpy as np\nu = np.zeros(10**6)\nlam = np.zeros(2000)"}]
    (tmp_path / "in" / f"ada-{NAME}.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}}))
    grade(tmp_path / "in", tmp_path / "out", say=lambda *_: None)
    text = (tmp_path / "out" / "reports" / f"ada-{NAME}.md").read_text()
    assert "an array of 1000000 numbers" in text and "`lam` has 2000" in text


def test_cells_that_are_not_run_are_told_of(tmp_path):
    (tmp_path / "in").mkdir()
    cells = [{"cell_type": "code", "source": ""}] * submissions.MOST_CELLS
    late = {"cell_type": "code", "source": "u = 1"}
    for student, content in {"many": [*cells, late], "fits": cells}.items():
        path = tmp_path / "in" / f"{student}-{NAME}.ipynb"
        path.write_text(json.dumps({"cells": content, "metadata": {}}))
    grade(tmp_path / "in", tmp_path / "out", say=lambda *_: None)
    words = "It has 501 cells. The first 500 were run and marked"
    assert words in (tmp_path / "out" / "reports" / f"many-{NAME}.md").read_text()
    lines = (tmp_path / "out" / "points.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("\ufeffstudent,")  # by which Excel knows what it reads
    assert [words in line for line in lines] == [False, False, True]


def test_a_student_is_called_by_the_name_on_the_list(tmp_path):
    (tmp_path / "names.txt").write_text("al15\tAda  Lovelace\nBob Ross\n")
    course = editions.class_of(tmp_path, tmp_path / "names.txt")
    assert course["students"] == ["al15", "Bob_Ross"]
    editions.write_assignments(tmp_path / "made", course)
    for folder, name in {"al15": "Ada Lovelace", "Bob_Ross": "Bob Ross"}.items():
        sheet = tmp_path / "made" / "student" / "assignments" / folder / f"{NAME}.ipynb"
        assert f"This sheet is for **{name}**" in sheet.read_text()
        (tmp_path / "in" / folder).mkdir(parents=True)
        sheet.rename(tmp_path / "in" / folder / sheet.name)
    (tmp_path / "in" / f"eve-{NAME}.ipynb").write_text('{"cells": [], "metadata": {}}')
    grade(tmp_path / "in", tmp_path / "out", tmp_path / "class.json", say=lambda *_: None)
    heads = [p.read_text().split("\n")[0] for p in sorted((tmp_path / "out" / "reports").iterdir())]
    assert [h.partition(": ")[2] for h in heads] == [
        "report for Bob Ross",
        "report for Ada Lovelace",
        "the submission of eve",
    ]
    with open(tmp_path / "out" / "points.csv", newline="", encoding="utf-8-sig") as file:
        rows = {r["student"]: r["name"] for r in csv.DictReader(file)}
    assert rows == {"al15": "Ada Lovelace", "Bob_Ross": "Bob Ross", "eve": ""}


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("Jose\u0301", "Jos\u00e9"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", None),
        ("../a/b", "a_b"),
        ("\n", "nameless"),
    ],
)
def test_a_name_keeps_its_letters(name, cleaned):
    assert submissions.clean(name) == (cleaned or name)
    assert submissions.clean(submissions.clean(name)) == submissions.clean(name)
    assert submissions.clean("a" * 79 + "_" + "b" * 99) == "a" * 79


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no names"),
        (b"Jos\xe9\n", "UTF-8"),
        (b"Ann Lee\nAnn_Lee\n", "'Ann Lee' and 'Ann_Lee'"),
        (b"Ada\nada\n", "'Ada' and 'ada'"),
        (b"Ada\n...\n", "'...' is no name"),
    ],
)
def test_a_list_of_names_that_cannot_be_used(tmp_path, content, words):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        editions.names_in(tmp_path / "names.txt")


def test_a_list_of_names_is_read_whatever_wrote_it(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfAda\r\n\r\n../Bob \r\n")
    assert editions.names_in(tmp_path / "names.txt") == {"Ada": "Ada", "Bob": "../Bob"}
    with pytest.raises(ValueError, match=r"none\.txt, cannot be read"):
        editions.names_in(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"secret": 1, "students": []}', '{"secret": "a", "students": [1]}']
)
def test_a_file_that_is_no_class(tmp_path, content):
    from teaching.grade import load_class

    (tmp_path / "class.json").write_text(content)
    with pytest.raises(ValueError, match="no file of a class"):
        load_class(tmp_path / "class.json")
    with pytest.raises(ValueError, match="cannot be read"):
        load_class(tmp_path / "none.json")


def test_where_nothing_can_be_written_is_said_before_anything_runs(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada-order.ipynb").write_text('{"cells": [], "metadata": {}}')
    (tmp_path / "file").write_text("")
    said = []
    with pytest.raises(ValueError, match=r"cannot be written into .*file.*OUT=graded"):
        grade(tmp_path / "in", tmp_path / "file", say=said.append)
    assert not said
    with pytest.raises(ValueError, match=r"cannot be written into .*file.*OUT=editions"):
        editions.write(tmp_path / "file", say=said.append)


def test_an_error_is_told_by_the_name_of_its_cell():
    places = ["", "given-1", "answer-lam", "test-lam", "answer-both"]
    errors = [{"cell": float(n), "type": "NameError", "text": "x", "line": 2.0} for n in (1, 3, 4, 99)]
    found = report.failures(sandbox.Outcome(errors=errors), places)
    assert list(found) == [1, "lam", 99]  # not the cell that looks at what is not there
    lines = report.happened(sandbox.Outcome(errors=errors), [], found)
    assert "* The cell of `lam`, line 2, failed with `NameError: x`." in lines
    assert "* Code cell 1, line 2, failed with `NameError: x`." in lines
    evil = sandbox.Outcome(errors=[{"cell": 1, "type": "`", "text": "`\n# 6 of 6", "line": "x"}])
    told = report.happened(evil, [], report.failures(evil, ["answer-`\n# 6 of 6"]))
    assert all("\n" not in line and line.count("`") in (0, 2, 4) for line in told)


def test_what_may_follow_from_an_earlier_answer_says_so():
    first = {"name": "z", "state": "mistake", "message": "Not yet: the force."}
    later = {"name": "lam", "state": "wrong", "message": "Not right, and not one of the mistakes."}
    gone = {"name": "both", "state": "missing", "message": "There is no `both`."}
    assert report.message(first, [], {}) == first["message"]
    assert report.message(later, [], {}) == later["message"]
    assert report.message(later, ["z"], {}).endswith("It uses `z`: mend that first.")
    assert report.message(later, ["z", "u"], {}).endswith("It uses `z` and `u`: mend these first.")
    told = {"name": "lam", "state": "mistake", "message": "Not yet: right for this z."}
    assert report.message(told, ["z"], {}) == told["message"]
    assert report.message(gone, ["z"], {}) == gone["message"]
    assert "its cell failed" in report.message(gone, ["z"], {"both": {}})


def test_an_answer_uses_what_stands_in_its_cell():
    work = submissions.Submission("ada", "start_time", None, ids={"answer-both": "both = dL_dt0 + lamb"})
    assert report.used(work, "both", ["lam", "dL_dt1", "dL_dt0"]) == ["dL_dt0"]
    assert report.used(work, "lam", ["dL_dt0"]) == []


def test_what_follows_from_a_wrong_answer_is_told_with_it(graded):
    _, _, out = graded
    told = (out / "reports" / f"bob-{NAME}.md").read_text().split("## What to look at")[1]
    first, second = [line for line in told.splitlines() if line.startswith("* ")]
    assert first.startswith("* **`lam`.**") and "It uses" not in first
    assert second.startswith("* **`dL_dtheta`.**") and second.endswith("It uses `lam`: mend that first.")


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["wrong"], "The answer is not right yet."),
        (["wrong", "form"], "None of the answers is right yet."),
        (["wrong", "mistake"], "None of the answers is right yet. One mistake is known, and is named below."),
        (["right", "blank"], "1 of 2 answers is right."),
        (["right", "right", "mistake", "mistake"], "2 of 4 answers are right. 2 mistakes are known"),
    ],
)
def test_the_summary_is_a_sentence(states, words):
    assert report.summary([{"state": s} for s in states]).startswith(words)


@pytest.mark.parametrize("site", ["", "https://example.org/book/"])
def test_the_chapter_to_read_again_is_a_link_where_there_is_a_site(monkeypatch, site):
    monkeypatch.setattr(report, "config", lambda: {"html": {"baseurl": site}})
    told = report.chapter("book/rigour/discrete-adjoint")
    address = "https://example.org/book/book/rigour/discrete-adjoint.html"
    assert told == (f"[*Discrete adjoints*]({address})" if site else "*Discrete adjoints*")


def test_the_same_words_for_several_answers_stand_once(graded):
    _, _, out = graded
    text = (out / "reports" / f"lea-{NAME}.md").read_text()
    assert text.count("another sheet than yours. Each") == 1
    assert "* **`u`, `lam`, `dL_dtheta`.** Right for another sheet than yours." in text


def test_a_name_that_was_given_is_not_taken_for_a_misspelt_answer(tmp_path):
    about = assignment(NAME)
    for student, lines in {
        "gone": "while False: pass",
        "pair": "lam, dL_dtheta = 1, 2",
        "other": "dL_dthet = 1",
    }.items():
        seed = seed_of("everyone", NAME, "everyone")
        notebook = notebooks.build(about, about.sheet(seed), "student", seed)
        for cell in notebook.cells:
            if cell.metadata.nbgrader.grade_id == "answer-dL_dtheta":
                cell.source = lines
        nbformat.write(notebook, tmp_path / f"{student}-{NAME}.ipynb")
    remarks = {r["student"]: r["remarks"] for r in grade(tmp_path, tmp_path / "out", say=lambda *_: None)}
    words = "No cell defines `dL_dtheta`."
    assert words in remarks["gone"]
    assert f"{words} There is a `dL_dthet`: was that meant?" in remarks["other"]
    assert not any(words in r for r in remarks["pair"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stopped after 8 seconds", " was stopped after 8 seconds. Does"),
        ("`x`\n# 6", " was stopped: `'x' # 6`. Does"),
    ],
)
def test_a_loop_that_was_stopped_is_told_of_in_plain_words(text, words):
    errors = [{"cell": 1, "type": "TimeUp", "text": text, "line": 0}]
    lines = report.happened(sandbox.Outcome(errors=errors), [], {1: errors[0]})
    assert any(words in line for line in lines)
