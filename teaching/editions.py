"""Write the editions of the notebooks: for students, with solutions, for instructors."""

import json
import os
import secrets
import tomllib
from pathlib import Path

import nbformat

from teaching import notebooks
from teaching.grade import load_class, make_place, named
from teaching.sheets import EVERYONE, NAMES, assignment, seed_of
from teaching.submissions import NAMELESS, clean

MARKED = notebooks.ROOT / "_build" / ".doctrees" / "editions"
TABLE = notebooks.ROOT / "teaching" / "exercises.toml"


def practice():
    """What the table says of each practice exercise, by its label."""
    return {e["label"]: e for e in tomllib.loads(TABLE.read_text())["exercise"]}


def chapter_edition(notebook, edition, table):
    """A chapter in one edition, from its notebook with marked cells.

    Student: without the solutions; answers blank, feedback kept. Solution: with them. Instructor: with
    them, and before each exercise how hard it is, how long it takes and what it aims at.
    """
    notebook = nbformat.from_dict(notebook)
    cells = []
    for cell in notebook.cells:
        exercise = cell.metadata.pop("exercise", None)
        if edition == "student" and exercise and exercise["kind"] == "solution":
            continue
        if edition != "student" and exercise and exercise["kind"] == "solution":
            cell.metadata.pop("jupyter", None)  # not folded
            cell.source = cell.source.replace("<details>", "<details open>")
        begins = exercise and exercise["kind"] == "exercise" and cell.cell_type == "markdown"
        if edition == "instructor" and begins and exercise["label"] in table:
            cells.append(note(table.pop(exercise["label"])))
        cells.append(cell)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    notebook.cells = cells
    return notebook


def note(entry):
    return nbformat.v4.new_markdown_cell(
        f"> **For instructors** ({entry['label']})\n>\n> *Difficulty*: {entry['difficulty']}. *Minutes*:"
        f" {entry['minutes']}. *Tests*: {entry['outcome']}.\n>\n> *Aims at*: {entry['misconception']}"
    )


def write_notebook(path, notebook):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def write_chapters(out):
    """All chapters in all editions. Returns how many chapters there are."""
    paths = sorted(MARKED.rglob("*.ipynb"))
    for path in paths:
        place = path.relative_to(MARKED).relative_to("book")
        for edition in notebooks.EDITIONS:
            made = chapter_edition(nbformat.read(path, as_version=4), edition, practice())
            write_notebook(out / edition / "chapters" / place, made)
    return len(paths)


def write_assignments(out, course):
    """All assignments in all editions, a sheet for each student, or one for everyone."""
    for name in NAMES:
        about = assignment(name)
        for student in course["students"] or [None]:
            seed = seed_of(course["secret"], name, student or EVERYONE)
            sheet = about.sheet(seed)
            for edition in notebooks.EDITIONS:
                made = notebooks.build(about, sheet, edition, seed, named(course, student))
                write_notebook(out / edition / "assignments" / (student or EVERYONE) / f"{name}.ipynb", made)


def names_in(path):
    """A class from its list: for each folder that is handed in, the name of its student.

    A line holds a name, and the folder is called after it; or the folder, a tab, and the name.
    """
    try:
        lines = Path(path).read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(
            f"the names of the class, {path}, cannot be read ({error.strerror}): name a text file with a"
            " name in each line, as in STUDENTS=names.txt"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8: save the names so, one in each line") from None
    names, taken = {}, {}
    for line in [line.strip() for line in lines if line.strip()]:
        written, _, told = line.partition("\t")
        folder = clean(written)
        if folder == NAMELESS:
            raise ValueError(f"{path}: {line[:60]!r} is no name: it needs a letter or a digit")
        if folder.casefold() in taken:
            raise ValueError(
                f"{path}: {taken[folder.casefold()][:60]!r} and {line[:60]!r} would have the same folder,"
                f" {folder}: tell them apart by a letter or a digit"
            )
        taken[folder.casefold()] = line
        names[folder] = printable(told or written)
    if not names:
        raise ValueError(f"{path} holds no names: one in each line is needed")
    return names


def printable(name):
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:80]


def class_of(out, students):
    """The file of the class: the secret is made once, and kept; the names are those of the list."""
    if students is None:
        return {"secret": EVERYONE, "students": None, "names": {}}
    path = out / "class.json"
    names = names_in(students)
    course = {"secret": secrets.token_hex(16)}
    if path.exists():
        course = load_class(path)
    course |= {"students": list(names), "names": names}
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(course, file, indent=1)
    return course


def write(out, students=None, say=print):
    """Write every edition below ``out``; ``students``: a file with a name in each line."""
    out = make_place(Path(out), "the notebooks", "OUT=editions")
    course = class_of(out, students)
    chapters = write_chapters(out)
    if not chapters:
        say("The chapters' editions come from the built book: run `make book`, then this again.")
    write_assignments(out, course)
    sheets = f"{len(course['students'])} sheets each" if course["students"] else "one sheet for everyone"
    say(
        f"{chapters} chapters and {len(NAMES)} assignments ({sheets}), as {', '.join(notebooks.EDITIONS)}:"
        f" {out}"
    )
    if course["students"]:
        say(
            f"Keep {out / 'class.json'}: the sheets are drawn from the secret in it, and the grader needs it."
        )
