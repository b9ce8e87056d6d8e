"""Run the listings of the chapter "Other libraries", and store what they return.

The book is built without PyTorch, JAX and CasADi, so its page shows stored results. This makes
them anew, for the libraries that are installed in the Python that runs it:

    pip install torch torchdiffeq diffrax casadi
    python book/libraries.py

A result carries the digest of the listing that returned it: a listing that was changed since is
noticed by tests/book/test_libraries.py, which also runs what is installed.
"""

import contextlib
import datetime
import hashlib
import io
import json
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

BOOK = Path(__file__).resolve().parent
CHAPTER = BOOK / "practice" / "other-libraries.md"
STORED = BOOK / "data" / "libraries.json"
DIGITS = 12  # more than any of them is right to


def cells(text):
    """The code cells of a chapter, without their options."""
    blocks = re.findall(r"(?ms)^```\{code-cell\}[^\n]*\n(.*?)^```$", text)
    return [re.sub(r"\A(?:---\n.*?^---\n|(?::\w+:[^\n]*\n)+\n?)", "", b, flags=re.S | re.M) for b in blocks]


def listings(text):
    """Name -> (packages, source of the function), for each cell that asks a library."""
    found = {}
    for cell in cells(text):
        if match := re.search(r"(?m)^ask\((.*)\)$", cell):
            name, function, *packages = (x.strip().strip('"') for x in match[1].split(","))
            source = cell[: match.start()].strip()
            assert source.startswith(f"def {function}(")
            found[name] = (packages, source)
    return found


def setting(text):
    """The names that the chapter defines before its first listing: cases, exact, measure."""
    names, first = {}, next(iter(listings(text).values()))[1]
    for cell in cells(text):
        if cell.strip().startswith(first):
            return names
        with contextlib.redirect_stdout(io.StringIO()):
            exec(cell, names)
    raise ValueError("the chapter has no listing")


def missing(packages):
    return [p for p in packages if find_spec(p) is None]


def run(name, text):
    """What the listing of that name returns for all cases: lists of floats."""
    packages, source = listings(text)[name]
    names = {}
    exec(source, names)
    return setting(text)["measure"](name, names[f"with_{name}"])


def record(name, text):
    """A result as it is stored."""
    packages, source = listings(text)[name]
    answers = json.loads(json.dumps(run(name, text)), parse_float=lambda x: float(f"{float(x):.{DIGITS}g}"))
    return {
        "date": datetime.date.today().isoformat(),
        "versions": [f"{p} {version(p)}" for p in packages],
        "listing": digest(source),
        **answers,
    }


def digest(source):
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def main():
    text = CHAPTER.read_text()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name, (packages, _) in listings(text).items():
        if name == "adjode":  # always run on the page
            continue
        if absent := missing(packages):
            print(f"{name}: kept as it is; not installed: {', '.join(absent)}")
            continue
        stored[name] = record(name, text)
        print(f"{name}: {', '.join(stored[name]['versions'])}")
    rows = [f"{json.dumps(name)}: {json.dumps(result)}" for name, result in stored.items()]
    STORED.write_text("{" + ",\n ".join(rows) + "}\n")  # short: the notebook carries it


if __name__ == "__main__":
    main()
