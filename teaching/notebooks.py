"""Build the notebooks of an assignment: for students, with solutions, and for instructors.

The cells carry the metadata of nbgrader (schema 3): who uses it can hand out the instructor's
notebook with ``nbgrader generate_assignment`` and mark with ``nbgrader autograde``.
"""

import hashlib
import sys
from functools import cache
from pathlib import Path
from urllib.parse import urljoin

import nbformat
import yaml

from teaching.keys import Choice, Formula, Function, Numbers, Prediction
from teaching.sheets import Given, Question, Text

ROOT = Path(__file__).resolve().parents[1]
EDITIONS = ["student", "solution", "instructor"]

LOOK = """\
# It says whether an answer has the form that is asked for. Whether it is right, the report says.
import numpy as np

def formula_at(formula, t, data):
    if not (isinstance(formula, (str, int, float)) or hasattr(formula, "free_symbols")):
        raise ValueError(f"a text in quotes or a SymPy expression is needed, not a {type(formula).__name__}")
    functions = {n: getattr(np, n) for n in "exp log sqrt sin cos tan sinh cosh tanh".split()}
    modules = dict.fromkeys(("np", "numpy", "sympy", "math"), type("functions", (), functions))
    known = functions | modules | {"pi": np.pi, "E": np.e, "t": t} | data
    code = compile(str(formula).replace("^", "**").strip(), "formula", "eval")
    for unknown in set(code.co_names) - set(known):
        raise ValueError(f"it holds the name {unknown}; it may hold t, {', '.join(data)} and numbers")
    return float(eval(code, {"__builtins__": {}}, known))

def look(name, answer, form, **data):
    if answer is ... or answer is None:
        print(f"{name}: not answered yet")
    elif form == "function":
        print(f"{name}: a function" if callable(answer) else f"{name}: a function is asked for")
    elif form == "letter":
        fits = isinstance(answer, str) and len(answer.strip()) == 1
        print(f"{name}: {'a letter' if fits else 'one letter is asked for, in quotes'}")
    elif form == "formula":
        try:
            ends = [f"{formula_at(answer, data[n], data):.6g} at {n}" for n in data if n.startswith("t_")]
            print(f"{name}: a formula; it gives {' and '.join(ends)}")
        except Exception as error:
            print(f"{name}: this cannot be read as a formula: {error}")
    else:
        try:
            numbers = np.asarray(answer, dtype=float)
        except (TypeError, ValueError):
            print(f"{name}: numbers are asked for")
            return
        shape = (form,) if isinstance(form, int) else form
        fits = numbers.size == form if isinstance(form, int) else numbers.shape == shape
        good = "has the form that is asked for"
        good = good if fits else f"should have the shape {shape}, has {numbers.shape}"
        print(f"{name}: {good if np.isfinite(numbers).all() else 'holds a number that is not finite'}")"""


@cache
def config():
    """The settings of the book."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def install_cell():
    """The cell that installs the book's wheel, as the chapters' notebooks have it."""
    site = config().get("html", {}).get("baseurl", "")
    repository = config().get("repository", {}).get("url", "")
    wheels = sorted((ROOT / "_build" / "wheels").glob("*.whl"))
    name = wheels[-1].name if wheels else "checked_adjoint-0.1.0-py3-none-any.whl"
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        import notebooks as writer

        address, public = wheel_address(writer, site, repository, name)
    finally:
        sys.path.remove(str(ROOT / "book" / "_ext"))
    return writer.INSTALL.format(wheel=address, remark="" if public else writer.REMARK)


def wheel_address(writer, site, repository, name):
    """Where the writer of the chapters' notebooks finds the wheel, and whether everyone does."""
    if hasattr(writer, "wheel_address"):
        return writer.wheel_address(site, repository, name)
    return urljoin(site or writer.LOCAL_ADDRESS, f"_static/wheels/{name}"), bool(site)


def label_of(seed):
    """A sheet's label: it tells sheets apart, and no seed."""
    return hashlib.sha256(f"sheet {seed}".encode()).hexdigest()[:8]


def title_of(chapter):
    """The title of a chapter, from its source."""
    text = (ROOT / f"{chapter}.md").read_text()
    return next(line[2:].strip() for line in text.splitlines() if line.startswith("# "))


def rules(name, **changes):
    """nbgrader's metadata of a cell."""
    start = {
        "grade": False,
        "grade_id": name,
        "locked": True,
        "schema_version": 3,
        "solution": False,
        "task": False,
    }
    return {"nbgrader": start | changes}


def markdown(text, name):
    return nbformat.v4.new_markdown_cell(text, metadata=rules(name))


def code(source, name, **changes):
    return nbformat.v4.new_code_cell(source, metadata=rules(name, **changes))


def points(number):
    return f"{number} point{'s' * (number != 1)}"


def head(assignment, sheet, edition, student):
    lines = [f"# {assignment.title}"]
    whose = f" This sheet is for **{student}**: its data are drawn for you alone." if student else ""
    lines.append(
        f"An assignment to *{title_of(assignment.chapter)}*, a chapter of *The Checked Adjoint*. "
        f"{points(sheet.points).capitalize()}, about {assignment.minutes} minutes.{whose}"
    )
    lines.append(
        "Put your answers where `...` stands, and keep the names. The cells with the data stay as they are."
        " Do not round on the way; a number that you type needs six digits. Before you hand it in: restart,"
        " and run all cells."
    )
    if edition == "instructor":
        lines.append(
            f"**For instructors.** *Difficulty*: {assignment.difficulty}. *Outcome*: {assignment.outcome}. "
            f"*Misconception aimed at*: {assignment.misconception}\n\n{assignment.notes}"
        )
    return "\n\n".join(lines)


def build(assignment, sheet, edition, seed, student=None):
    """The notebook of one sheet in one edition."""
    cells = [
        markdown(head(assignment, sheet, edition, student), "head"),
        code(install_cell(), "install"),
        code(LOOK, "look"),
    ]
    for number, part in enumerate(sheet.parts):
        if isinstance(part, Text):
            cells.append(markdown(part.text, f"text-{number}"))
        elif isinstance(part, Given):
            cells.append(code(part.source, f"given-{number}"))
        else:
            cells += question(part, edition)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "assignment": {"name": assignment.name, "sheet": label_of(seed)},
        },
    )


def question(part: Question, edition):
    """What is asked, where the answer goes, and what looks at it."""
    asks = f"**`{part.name}`** ({points(part.points)}). {part.asks}"
    answer, test = part.blank(), part.form
    if edition != "student":
        answer = part.solution
    if edition == "instructor":
        answer = f"### BEGIN SOLUTION\n{part.solution}\n### END SOLUTION"
        test = f"{part.form}\n### BEGIN HIDDEN TESTS\n{hidden_test(part)}\n### END HIDDEN TESTS"
    return [
        markdown(asks, f"asks-{part.name}"),
        code(answer, f"answer-{part.name}", locked=False, solution=True),
        code(test, f"test-{part.name}", grade=True, points=part.points, cell_type="code"),
    ]


def hidden_test(part):
    """The key of a question as code, for nbgrader: each known mistake has its message."""
    key, name = part.key, part.name
    if isinstance(key, Choice):
        return f"assert str({name}).strip().lower() == {key.right!r}, 'another line'"
    if isinstance(key, Prediction):
        inputs, truth = key.inputs[0][0], key.table(key.right)[0].tolist()
        return (
            f"held_out = np.array({inputs})\ntruth = np.array({truth})\nassert"
            f" np.sqrt(np.mean((np.ravel({name}(held_out)) - truth)**2)) <= {key.limit!r}, 'too far off'"
        )
    if isinstance(key, Function):
        arguments = [
            [f"np.array({a})" if isinstance(a, list) else repr(a) for a in args] for args in key.inputs
        ]
        calls = ", ".join(f"{name}({', '.join(args)})" for args in arguments)
        lines = [
            (
                "def in_a_row(x):\n    return np.concatenate([in_a_row(y) for y in x]) if isinstance(x,"
                " (tuple, list)) else np.ravel(np.asarray(x, dtype=float))"
            ),
            f"found = np.concatenate([in_a_row(x) for x in [{calls}]])",
        ]
        tables = {slip: [x for row in key.table(f) for x in row.tolist()] for slip, f in key.mistakes.items()}
        right = [x for row in key.table(key.right) for x in row.tolist()]
    elif isinstance(key, Formula):
        values = [f"sympy.sympify(str({name})).subs({key.given | point})" for point in key.points()]
        lines = ["import sympy", f"found = np.array([{', '.join(values)}], dtype=float)"]
        tables = {slip: [float(x) for x in key.table(f)] for slip, f in key.mistakes.items()}
        right = [float(x) for x in key.table(key.right)]
    else:
        assert isinstance(key, Numbers)
        lines = [f"found = np.ravel(np.asarray({name}, dtype=float))"]
        tables = {slip: [float(x) for x in _row(wrong)] for slip, wrong in key.mistakes.items()}
        right = [float(x) for x in _row(key.right)]
    lines += [
        f"right = np.array({right})",
        f"assert found.shape == right.shape, '{len(right)} numbers are needed'",
    ]
    close = f"rtol={key.rtol}, atol={key.rtol * 1e-3}*np.abs(right).max()"
    for slip, wrong in tables.items():
        lines.append(f"assert not np.allclose(found, {wrong}, {close}), {slip!r}")
    lines.append(f"assert np.allclose(found, right, {close}), 'not right, and not a known mistake'")
    return "\n".join(lines)


def _row(numbers):
    import numpy

    return numpy.ravel(numbers)
