"""Run the listings that need other libraries, and store what they return.

They stand in the chapter "Other libraries", and PyTorch's in "Vector-Jacobian products". The book is
built without PyTorch, JAX and CasADi, so its pages show stored results. This makes them anew, for the
libraries that are installed in the Python that runs it:

    pip install torch torchdiffeq diffrax casadi autograd
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
VJP_CHAPTER = BOOK / "warm-up" / "vector-jacobian-products.md"
VJP_STORED = BOOK / "data" / "pytorch.json"
DIGITS = 14  # the products are right to 15, the solves to 10


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
            if not source.startswith(f"def {function}("):
                raise ValueError(f"the cell that asks {name} does not begin with its listing")
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
    _, source = listings(text)[name]
    names = {}
    exec(source, names)
    return setting(text)["measure"](name, names[f"with_{name}"])


def record(name, text):
    """A result as it is stored."""
    packages, source = listings(text)[name]
    return labelled(packages, source, run(name, text))


def labelled(packages, source, answers):
    """Rounded answers, with the date, the versions, and the digest of the source."""
    short = json.loads(json.dumps(answers), parse_float=lambda x: float(f"{float(x):.{DIGITS}g}"))
    return {
        "date": datetime.date.today().isoformat(),
        "versions": [f"{p} {version(p)}" for p in packages],
        "listing": digest(source),
        **short,
    }


def digest(source):
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def pytorch_listings(text):
    """Name -> (source, arguments as they are written) of the functions that `ask_pytorch` is given."""
    sources = {
        m[1]: m[0].strip() for m in re.finditer(r"(?m)^def (\w*in_pytorch)\(.*\n(?:(?: .*)?\n)*", text)
    }
    calls = re.findall(r"ask_pytorch\((\w+), (.*)\)$", text, flags=re.M)
    return {name: (sources[name], arguments) for name, arguments in calls}


def pytorch_setting(text):
    """The tape, the gated layer and the arguments, as the chapter defines them."""
    names = {}
    for cell in cells(text):
        if "class Var" in cell or "def field(" in cell:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(cell, names)
        for line in re.findall(r"(?m)^batch, .*$", cell):
            exec(line, names)
    return names


def run_pytorch(name, text):
    """What a listing of PyTorch returns: arrays, one per argument."""
    source, arguments = pytorch_listings(text)[name]
    names = pytorch_setting(text)
    exec(source, names)
    return eval(f"{name}({arguments})", names)


def write(path, results):
    """One line each: the notebook carries the file."""
    rows = [f"{json.dumps(name)}: {json.dumps(result)}" for name, result in results.items()]
    path.write_text("{" + ",\n ".join(rows) + "}\n")


def main():
    text = CHAPTER.read_text()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name, (packages, _) in listings(text).items():
        if not packages:  # adjode, which is always run on the page
            continue
        if absent := missing(packages):
            print(f"{name}: kept as it is; not installed: {', '.join(absent)}")
            continue
        stored[name] = record(name, text)
        print(f"{name}: {', '.join(stored[name]['versions'])}")
    write(STORED, stored)
    if missing(["torch"]):
        return
    text, stored = VJP_CHAPTER.read_text(), {}
    for name, (source, _) in pytorch_listings(text).items():
        rows = [row.tolist() for row in run_pytorch(name, text)]
        stored[name] = labelled(["torch"], source, {"rows": rows})
    write(VJP_STORED, stored)


if __name__ == "__main__":
    main()
