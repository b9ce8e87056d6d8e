"""Find the submissions in a folder, and read each as what it is: a file that anyone may have written."""

import json
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from teaching.sheets import NAMES

LARGEST_FILE = 8 << 20
LARGEST_SOURCE = 1 << 20
MOST_CELLS = 500
LONGEST_NAME = 200  # bytes: a file is called after it, and a little more
NAMELESS = "nameless"


@dataclass
class Submission:
    student: str
    assignment: str
    path: Path
    cells: list = field(default_factory=list)  # sources of the code cells
    places: list = field(default_factory=list)  # nbgrader's names of these cells, or empty
    ids: dict = field(default_factory=dict)  # nbgrader's name of a cell -> its source
    sheet: str = ""  # the label that the notebook carries
    problem: str = ""  # why it cannot be run, in words
    left_out: int = 0  # cells beyond those that are run


def find(folder, only=None):
    """The submissions of a folder, in the order of their names.

    A file is ``FOLDER/STUDENT/.../ASSIGNMENT.ipynb`` (as nbgrader collects them) or
    ``FOLDER/STUDENT.ipynb`` or ``FOLDER/STUDENT-ASSIGNMENT.ipynb``. Which assignment it is, its name
    says; if that does not, the notebook, which is then taken at its word; if ``only`` is given, that.
    """
    folder = Path(folder)
    found = []
    for top, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            if name.endswith(".ipynb") and not name.startswith("."):
                found.append(read(folder, Path(top, name), only))
    return found


def read(folder, path, only=None):
    """Read one file; whatever is wrong with it is told in ``problem``."""
    parts = path.relative_to(folder).parts
    stem = path.stem
    named = next((n for n in NAMES if stem == n or re.search(rf"[-_ ]{n}$", stem)), "")
    student = parts[0] if len(parts) > 1 else re.sub(rf"[-_ ]+{named}$", "", stem) if named else stem
    submission = Submission(clean(student), only or named, path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        submission.problem = "The file is a link, or cannot be read."
        return submission
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            submission.problem = "This is no ordinary file."
        elif status.st_size > LARGEST_FILE:
            submission.problem = (
                f"The file is larger than {LARGEST_FILE >> 20} MB: hand it in without its outputs."
            )
        else:
            fill(submission, file.read(LARGEST_FILE + 1), only or named)
    return submission


def fill(submission, content, named):
    try:
        notebook = json.loads(content)
        metadata = notebook.get("metadata", {}).get("assignment", {})
        cells = notebook["cells"]
        if not isinstance(cells, list):
            raise ValueError
    except (ValueError, KeyError, AttributeError, RecursionError):
        submission.problem = "The file is not a notebook (of version 4) that can be read."
        return
    if isinstance(metadata, dict):
        submission.sheet = str(metadata.get("sheet", ""))[:40]
        if not named and metadata.get("name") in NAMES:
            submission.assignment = metadata["name"]
    if not submission.assignment:
        submission.problem = "Neither the file's name nor the notebook says which assignment this is."
    submission.left_out = max(len(cells) - MOST_CELLS, 0)
    for cell in cells[:MOST_CELLS]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        source = "".join(s for s in source if isinstance(s, str)) if isinstance(source, list) else str(source)
        try:
            place = str(cell["metadata"]["nbgrader"]["grade_id"])[:80]
        except (KeyError, TypeError):
            place = ""
        submission.cells.append(source)
        submission.places.append(place)
        if place:
            submission.ids[place] = source
    if sum(map(len, submission.cells)) > LARGEST_SOURCE:
        submission.cells, submission.places, submission.ids = [], [], {}
        submission.problem = "It holds more than a megabyte of code."


def clean(name):
    """A name that may stand in a path and in a table.

    Accents count as part of their letter, however a system writes them, and vowel signs as letters.
    """
    kept = [c if re.match(r"[\w.@-]", c) or unicodedata.category(c)[0] == "M" else " "
            for c in unicodedata.normalize("NFC", name)]  # fmt: skip
    name = re.sub(" +", "_", "".join(kept)).lstrip("._-")[:80]
    return name.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip("._-") or NAMELESS
