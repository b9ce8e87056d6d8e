"""Runs the cells of a page in Pyodide, and tells the page what they show.

It does for the page what a Jupyter kernel does when the book is built: names are kept from cell to cell,
the last expression is shown, and so are figures and receipts. ``worker.js`` calls `run` and `slips`.
"""

import ast
import builtins
import io
import json
import linecache
import os
import pprint
import re
import symtable
import sys
import time
import traceback
import types
from base64 import b64encode
from contextlib import suppress
from importlib import import_module

MOST_CHARACTERS, MOST_LINES = 60_000, 1_000  # printed by one cell; a page is no place for more
MOST_FRAMES = 6
RECEIPT = "application/vnd.checked-receipt+json"
WIDTH = 80
CALM = 50  # messages a second; beyond that, what is printed is gathered

send = None  # set by worker.js: takes one dict as JSON


def tell(kind, **content):
    send(json.dumps({"kind": kind, **content}))


# What is printed


class Stream(io.TextIOBase):
    """What a cell prints, sent as it comes; a flood is gathered, and cut."""

    def __init__(self, name):
        self.name = name
        self.fresh()

    def fresh(self):
        self.kept, self.characters, self.lines, self.began, self.sent = [], 0, 0, time.monotonic(), 0

    def writable(self):
        return True

    def write(self, text):
        self.characters += len(text)
        self.lines += text.count("\n")
        if self.characters - len(text) > MOST_CHARACTERS or self.lines - text.count("\n") > MOST_LINES:
            return len(text)
        self.kept.append(text[:MOST_CHARACTERS])
        now = time.monotonic()
        if now - self.began > 1:
            self.began, self.sent = now, 0
        if self.sent < CALM:
            self.pass_on()
        return len(text)

    def pass_on(self):
        if self.kept:
            tell("text", text="".join(self.kept), stream=self.name)
            self.kept, self.sent = [], self.sent + 1

    def end(self):
        self.pass_on()
        if self.characters > MOST_CHARACTERS or self.lines > MOST_LINES:
            tell(
                "note",
                text=f"The page shows the first {MOST_LINES:,} lines or {MOST_CHARACTERS:,} characters "
                f"of {self.lines:,} lines and {self.characters:,} characters.",
            )
        self.fresh()


# What is shown


def display(*values, raw=False, **_):
    for value in values:
        show(value if raw else bundle(value))


def show(content):
    """Send one output, in the richest form that the page can draw."""
    out.pass_on()
    if content is None:
        return
    if RECEIPT in content:
        from receipts.receipt import headline, particulars

        record = content[RECEIPT]
        tell(
            "receipt", record=record, headline=headline(record), lines=[list(x) for x in particulars(record)]
        )
        return
    for kind in ("text/html", "image/svg+xml", "image/png", "text/latex", "text/plain"):
        if content.get(kind) is not None:
            data = content[kind]
            tell("show", type=kind, data=b64encode(data).decode() if isinstance(data, bytes) else data)
            return


def bundle(value):
    """The forms that a value has, by the names of their types; None if it has shown itself."""
    if hasattr(value, "_ipython_display_"):
        value._ipython_display_()
        return None
    if is_figure(value):
        return {"image/png": picture(value)}
    content = {"text/plain": plain(value)}
    methods = {"_repr_html_": "text/html", "_repr_svg_": "image/svg+xml", "_repr_png_": "image/png",
               "_repr_latex_": "text/latex"}  # fmt: skip
    for method, kind in methods.items():
        found = None if isinstance(value, type) else getattr(value, method, None)
        if callable(found) and (data := found()) is not None:
            content[kind] = data
    if callable(found := getattr(value, "_repr_mimebundle_", None)) and not isinstance(value, type):
        more = found()
        content |= more[0] if isinstance(more, tuple) else more
    return content


def plain(value):
    text = repr(value)
    if len(text) <= WIDTH or "\n" in text:
        return text
    return pprint.pformat(value, width=WIDTH, sort_dicts=False)


# Figures: pyplot asks for the backend that MPLBACKEND names, which is this.


def is_figure(value):
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and isinstance(value, figure.Figure)


def picture(figure):
    """A PNG of twice the usual resolution, with its width on the page in front: ``width:base64``."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=2 * figure.dpi, bbox_inches="tight")
    data = file.getvalue()
    return f"{int.from_bytes(data[16:20], 'big') // 2}:{b64encode(data).decode()}"


def show_figures(*_, **__):
    plt = sys.modules.get("matplotlib.pyplot")
    if plt is None:
        return
    for number in plt.get_fignums():
        show({"image/png": picture(plt.figure(number))})
    plt.close("all")


BACKEND = """
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas
from live_page import show_figures as show
"""


# What the chapters ask of IPython


class Shell:
    """Stands for a notebook; pyplot registers with it."""

    class events:
        register = unregister = staticmethod(lambda *_: None)


class Shown:
    def __init__(self, data):
        self.data = data

    def _repr_mimebundle_(self):
        return {self.kind: self.data}


def pretend_ipython():
    shell, top, inner = Shell(), types.ModuleType("IPython"), types.ModuleType("IPython.display")
    top.get_ipython, top.version_info, top.display = (lambda: shell), (9, 0), inner
    inner.display = display
    for name, kind in [("HTML", "text/html"), ("SVG", "image/svg+xml"), ("Latex", "text/latex")]:
        setattr(inner, name, type(name, (Shown,), {"kind": kind}))
    sys.modules |= {"IPython": top, "IPython.display": inner}


# What went wrong


def explain(error, name):
    """The error, its places in the cells of the page, and what to do about it."""
    kind = type(error).__name__
    if kind == "Refused":
        return {"title": "", "refused": str(error), "frames": []}
    if isinstance(error, KeyboardInterrupt):
        return {"title": "Stopped.", "frames": frames(error, name)[-1:], "stopped": True}
    if isinstance(error, SystemExit):
        return {"title": "The cell asked Python to end. In a page it goes on.", "frames": []}
    text = "".join(traceback.TracebackException(type(error), error, None).format_exception_only())
    title = text.strip().splitlines()[-1] if isinstance(error, SyntaxError) else text.strip()
    told = {"title": title[:2000], "frames": frames(error, name), "hint": hint(error)}
    if isinstance(error, NameError):
        told["missing"] = error.name
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and not isinstance(error, SyntaxError):
        told["cause"] = f"{type(cause).__name__}: {cause}"[:500]
    return told


TOO_LONG = "Maximum allowed dimension|index-sized|array is too big"


def hint(error):
    if isinstance(error, ModuleNotFoundError):
        return (
            f"Python in this page comes without {error.name}. The chapter's notebook, run on your own "
            "machine, can install it."
        )
    too_long = isinstance(error, ValueError | OverflowError) and re.search(TOO_LONG, str(error))
    if isinstance(error, MemoryError) or too_long:
        return (
            "Python in a page has at most 4 GB. Nothing is lost: "
            "make it smaller, or press Start again to empty it."
        )
    if isinstance(error, RecursionError):
        return "A function calls itself without end, or too deeply for a page."
    return ""


def frames(error, name):
    """The places in the page's cells, and the last one outside of them; repetitions are counted."""
    if isinstance(error, SyntaxError) and error.filename == name:
        code = (error.text or "").rstrip("\n")
        mark = " " * max((error.offset or 1) - 1, 0) + "^"
        return [{"where": name, "line": error.lineno, "code": f"{code}\n{mark}"}]
    found, inside = [], False
    for frame in traceback.extract_tb(error.__traceback__):
        inside = inside or frame.filename.startswith("cell ")
        if not inside or frame.filename == __file__:
            continue
        own = frame.filename.startswith("cell ")
        where = (
            frame.filename if own else re.sub(r".*/(?:site-packages|python3\.\d+|lib)/", "", frame.filename)
        )
        place = {"where": where, "line": frame.lineno, "own": own, "code": frame.line or ""}
        place["function"] = "" if frame.name == "<module>" else frame.name
        if found and found[-1] | {"times": 0} == place | {"times": 0}:
            found[-1]["times"] += 1
        else:
            found.append(place | {"times": 1})
    kept = [f for i, f in enumerate(found) if f["own"] or i == len(found) - 1]
    if len(kept) > MOST_FRAMES:
        kept = [*kept[:2], {"where": "", "left": len(kept) - MOST_FRAMES + 1}, *kept[3 - MOST_FRAMES :]]
    return kept


# Receipts take seconds here: the page says how far they are


class Progress:
    """Tells the page what a check is doing, some times a second."""

    def __init__(self):
        self.last = 0.0

    def __call__(self, text):
        if time.monotonic() - self.last > 0.1:
            self.last = time.monotonic()
            tell("doing", text=text)


SEARCH, MORE = 40, 1.5  # seconds for the change that mends a refused equation, and for others like it


def watch_receipts():
    """Count wrong versions as they are refused; look longer for the slip than a build needs to."""
    check, receipt = import_module("receipts.check"), import_module("receipts.receipt")
    if hasattr(check, "watched"):
        return
    check.watched, say = True, Progress()
    tried, mended_by = receipt.Receipt.tried, check.Statement._mended_by

    def counted(self, *arguments):
        tried(self, *arguments)
        say(f"{self.label or 'The check'}: {self.refused} wrong versions refused so far")

    def patient(self, trials, deadline):
        refused = f"✗ {self.label or 'The equation'} is refused. Looking for the slip"
        tell("doing", text=f"{refused} …")
        found, end = [], time.perf_counter() + SEARCH
        for number, trial in enumerate(trials):
            if time.perf_counter() > end:
                break
            say(f"{refused}: {number} of {len(trials)} places tried")
            if one := mended_by(self, [trial], time.perf_counter() + 1):
                found += one
                end = min(end, time.perf_counter() + MORE)
        return found

    receipt.Receipt.tried, check.Statement._mended_by = counted, patient


# Running


def warm(name):
    """Import what the page's cells will import, while nothing else is asked for."""
    with suppress(ImportError):
        import_module(name)


def run(number, source):
    """Run one cell; say whether it went well."""
    name = f"cell {number}"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    good = True
    try:
        if "receipts" in source:
            watch_receipts()
        tree = ast.parse(source, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), space)
            if value is not None and not source.rstrip().endswith(";"):
                show(bundle(value))
        show_figures()
    except BaseException as error:
        good = False
        out.pass_on()
        with suppress(BaseException):  # the first error is the one to tell
            show_figures()
        told = explain(error, name)
        out.end()
        err.end()
        tell("error", **told)
        error = None
    out.end()
    err.end()
    return good


def no_input(*_):
    raise RuntimeError("A page cannot ask for input: write the value into the cell.")


def begin(folder):
    """Make the page's world: its folder, its streams, and the names that cells share."""
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    sys.stdout, sys.stderr, builtins.input = out, err, no_input
    sys.modules["__main__"] = main
    with open(os.path.join(os.path.dirname(__file__), "live_backend.py"), "w") as file:
        file.write(BACKEND)
    pretend_ipython()


out, err = Stream("out"), Stream("err")
main = types.ModuleType("__main__")
space = main.__dict__


# What a cell needs from the cells above


def needs(above, source):
    """The cells above without which a cell could not run, in order: they make, or change, what it uses."""
    wanted, kept = names(source)[1], []
    for i in reversed(range(len(above))):
        made, used = names(above[i])
        if "*" in made or made & wanted:
            kept.append(i)
            wanted |= used
    return kept[::-1]


def names(source):
    """The names that a cell makes or changes, and those that it uses before it makes them."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set(), set()
    made, used = set(), set()
    for statement in tree.body:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        used |= outside(table) - made
        made |= {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
        made |= changed(statement)
    return made, used


def outside(table, top=True):
    """The names of the cell's world that some code reads, in its functions too."""
    found = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return found.union(*(outside(child, top=False) for child in table.get_children()))


def changed(statement):
    """What is changed without being named anew: ``x[0] = 1``, ``list.append(x)``, a star import."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.alias) and node.name == "*":
            found.add("*")
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            found.add(owner(node))
    value = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        found.add(owner(value.func))
    return found - {"", "plt"}  # pyplot begins anew in each cell


def owner(node):
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def needs_of(above, source):
    return json.dumps(needs(json.loads(above), source))


def slips_of(source):
    return json.dumps(slips(source))


# Slips: the signs and transposes of a check that a reader may get wrong

CHECKS = {"check", "verdict"}  # compare two sides as they are written
STATED = {"premise", "definition", "given", "expression"}
MEASURED = {"numeric", "order", "bound"}  # compute both sides
SPARED = {"wrong", "still", "cases", "rtol", "statement", "scalar", "instance", "mistakes", "key"}


def slips(source):
    """The places in a cell where one slip would make a check wrong: ``[start, end, instead, what]``."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    named = definitions(tree)
    found = {}
    for call in calls(tree, CHECKS | MEASURED):
        kinds = MEASURED if called(call) in MEASURED else CHECKS
        parts = call.args[1:3] if kinds is MEASURED else call.args
        parts = [*parts, *(k.value for k in call.keywords if k.arg == "using" and kinds is CHECKS)]
        if len(call.args) > 2 and (place := whole(call.args[2], source)):
            found[place, place] = ("-", "the sign")
        queue, seen = list(parts), set()
        while queue:
            part = queue.pop()
            collect(part, source, found)
            for node in ast.walk(part):
                if isinstance(node, ast.Name) and node.id in named and node.id not in seen:
                    seen.add(node.id)
                    queue.append(named[node.id])
    return [[*place, *what] for place, what in sorted(found.items())]


def called(call):
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def calls(tree, names):
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and called(n) in names]


def definitions(tree):
    """What each name of the cell stands for: an expression, or a function."""
    found = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = statement.value
    return found


def whole(side, source):
    """Where a minus would stand that turns a whole side round; None if it has signs of its own."""
    side = side.body if isinstance(side, ast.Lambda) else side
    product = isinstance(side, ast.BinOp) and isinstance(side.op, ast.Mult | ast.MatMult | ast.Div)
    if product or isinstance(side, ast.Call):
        return Places(source).start(side)
    return None


class Places:
    """Where the parts of a source stand in it; the columns of ``ast`` count bytes."""

    def __init__(self, source):
        self.source, self.starts = source, [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def offset(self, line, column):
        text = self.source[self.starts[line - 1] :].split("\n", 1)[0]
        return self.starts[line - 1] + len(text.encode()[:column].decode())

    def start(self, node):
        return self.offset(node.lineno, node.col_offset)

    def end(self, node):
        return self.offset(node.end_lineno, node.end_col_offset)


def collect(part, source, found):
    """Signs between terms, signs in front of them, and transposes."""
    places = Places(source)

    spared = set()
    for node in ast.walk(part):
        if isinstance(node, ast.Call):
            wrong = [k.value for k in node.keywords if k.arg in SPARED]
            spared |= {id(inner) for value in wrong for inner in ast.walk(value)}
        if isinstance(node, ast.Subscript | ast.Slice):
            spared |= {id(inner) for inner in ast.walk(getattr(node, "slice", node))}
    for node in ast.walk(part):
        if id(node) in spared:
            continue
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            here = places.end(node.left)
            there = places.start(node.right)
            sign = "+" if isinstance(node.op, ast.Add) else "-"
            place = here + between(source[here:there], sign)
            found[place, place + 1] = ("-" if sign == "+" else "+", "the sign")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if not isinstance(node.operand, ast.Constant):
                place = places.start(node)
                found[place, place + 1] = ("", "the minus")
        elif isinstance(node, ast.Attribute) and node.attr == "T":
            found[places.end(node.value), places.end(node)] = ("", "the transpose")


def between(gap, sign):
    """Where the sign stands in the text between two terms: brackets, comments and ends of lines."""
    bare = re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), gap)
    return bare.index(sign)
