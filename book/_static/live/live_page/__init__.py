"""Runs the cells of a page in Pyodide, and tells the page what they show.

It does for the page what a Jupyter kernel does when the book is built: names are kept from cell to cell,
the last expression is shown, and so are figures and receipts. ``worker.js`` calls what stands here.
"""

import ast
import builtins
import json
import linecache
import os
import sys
import types
from contextlib import suppress
from importlib import import_module

from live_page import needs, slips
from live_page.errors import explain
from live_page.ipython import pretend_ipython
from live_page.receipts_watched import watch_receipts
from live_page.shown import bundle, show, show_figures
from live_page.tell import Page, err, out, tell

main = types.ModuleType("__main__")
space = main.__dict__


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


def begin(folder, send):
    """Make the page's world: its folder, its streams, and the names that cells share."""
    Page.send = send
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    sys.stdout, sys.stderr, builtins.input = out, err, no_input
    sys.modules["__main__"] = main
    os.environ["MPLBACKEND"] = "module://live_page.backend"
    os.environ["MATPLOTLIBRC"] = os.path.join(os.path.dirname(folder), "matplotlibrc")
    pretend_ipython()


lacking = needs.lacking


def needs_of(cells):
    return json.dumps(needs.needs(*json.loads(cells)))


def slips_of(source):
    return json.dumps(slips.slips(source))
