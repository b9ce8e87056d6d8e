"""What runs inside the worker, tried here without one: outputs, errors, slips, needs."""

import importlib
import json
import sys

import pytest


@pytest.fixture
def live(root, monkeypatch):
    """The worker's modules, fresh, and what they have told the page."""
    monkeypatch.syspath_prepend(root / "book" / "_static" / "live")
    for name in [n for n in sys.modules if n.partition(".")[0] in ("live_page", "receipts", "IPython")]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("live_page")
    module.tell_module = importlib.import_module("live_page.tell")
    module.told = []
    module.Page.send = lambda text: module.told.append(json.loads(text))
    yield module
    for name in [n for n in sys.modules if n.partition(".")[0] in ("live_page", "receipts", "IPython")]:
        del sys.modules[name]


def run(live, source, number=1):
    live.told.clear()
    return live.run(number, source), live.told


def only(told, kind):
    return [t for t in told if t["kind"] == kind]


# What a cell shows


def test_names_are_kept_and_the_last_expression_is_shown(live):
    assert run(live, "x = 20")[0]
    good, told = run(live, "y = x + 1\n2*y")
    assert good
    assert told == [{"kind": "show", "type": "text/plain", "data": "42"}]
    assert run(live, "x;")[1] == []


def test_an_expression_of_sympy_is_shown_as_mathematics(live):
    _, told = run(live, "import sympy\nsympy.Symbol('x')**2")
    assert told == [{"kind": "show", "type": "text/latex", "data": "$\\displaystyle x^{2}$"}]


def test_what_is_printed_is_bounded_and_the_page_says_so(live):
    live.out.write("")
    for i in range(5000):
        live.out.write(f"{i}\n")
    live.out.end()
    text = "".join(t["text"] for t in only(live.told, "text"))
    assert len(text.splitlines()) in range(live.tell_module.MOST_LINES, live.tell_module.MOST_LINES + 3)
    assert "of 5,000 lines" in only(live.told, "note")[0]["text"]
    assert len(only(live.told, "text")) < 2 * live.tell_module.CALM  # gathered, not one message a line
    live.told.clear()
    live.out.write("again")
    live.out.end()
    assert only(live.told, "text")[0]["text"] == "again"


# What went wrong


def test_an_error_names_its_places_in_the_cells(live):
    run(live, "def g(x):\n    return 1 / x", number=1)
    good, told = run(live, "a = 1\ng(0)", number=3)
    error = told[-1]
    assert not good
    assert error["title"] == "ZeroDivisionError: division by zero"
    assert [(f["where"], f["line"], f["code"]) for f in error["frames"]] == [
        ("cell 3", 2, "g(0)"),
        ("cell 1", 2, "return 1 / x"),
    ]


def test_a_syntax_error_points_at_its_place(live):
    _, told = run(live, "x = (1,\n2")
    assert told[-1]["title"].startswith("SyntaxError")
    assert told[-1]["frames"][0]["code"] == "x = (1,\n    ^"


def test_endless_recursion_is_told_once(live):
    _, told = run(live, "def f(n):\n    return f(n + 1)\nf(0)")
    frames = told[-1]["frames"]
    assert len(frames) <= importlib.import_module("live_page.errors").MOST_FRAMES
    assert max(f.get("times", 0) for f in frames) > 100
    assert "calls itself" in told[-1]["hint"]


@pytest.mark.parametrize("source", ["import no_such_module", "raise MemoryError", "import sys; sys.exit()"])
def test_what_a_page_cannot_do_is_said(live, source):
    good, told = run(live, source)
    assert not good
    assert told[-1].get("hint") or "goes on" in told[-1]["title"]


def test_a_missing_name_is_told_apart(live):
    assert run(live, "lam + 1")[1][-1]["missing"] == "lam"


# Slips

CHECK = """\
a_b = "a - b"
piece = lambda lam: dot(lam, t) + lam*f_z   # x - y
elsewhere = p - q
check("eq-x", d(lam*z, t), -piece(lam)*z
    + (M.T)*dot(z, t), using=[premise("eq-p", z, -y)],
    wrong={"other": x + y}, still={"e-f": "g-h"})
"""


def cut(live, source):
    """Each slip as the line it is on, what stands there, and what comes instead."""
    return [(source[:a].count("\n") + 1, source[a:b], new) for a, b, new, _ in live.slips.slips(source)]


def test_slips_are_the_signs_and_transposes_of_what_is_checked(live):
    assert cut(live, CHECK) == [(2, "+", "-"), (4, "-", ""), (5, "+", "-"), (5, ".T", ""), (5, "-", "")]


def test_each_slip_is_still_python_and_changes_the_code(live):
    for a, b, new, _ in live.slips.slips(CHECK):
        slipped = CHECK[:a] + new + CHECK[b:]
        compile(slipped, "slipped", "exec")
        assert slipped != CHECK


def test_a_product_is_turned_round_by_a_minus(live):
    source = 'check("é", x, a*b)'
    assert cut(live, source) == [(1, "", "-")]
    a, _, new, _ = live.slips.slips(source)[0]
    assert source[:a] + new + source[a:] == 'check("é", x, -a*b)'


def test_in_a_measured_check_the_formulas_can_be_broken(live):
    source = 'def f(c):\n    h = 1e-3\n    return c - h\nnumeric("eq", f, lambda c: c + g(c), rtol=1e-6)'
    assert cut(live, source) == [(3, "-", "+"), (4, "+", "-")]


def test_wrong_versions_of_a_premise_and_indices_are_left_alone(live):
    source = 'check("eq", a, b + c[i - 1], using=[check("p", a, -b, wrong={"n": c + d})])'
    assert cut(live, source) == [(1, "+", "-"), (1, "-", "")]


def test_code_that_does_not_parse_has_no_slips(live):
    assert live.slips.slips("check(") == []


def test_a_flipped_sign_is_refused_with_its_term_and_a_witness(live, root):
    live.pretend_ipython()
    setup = (
        "from receipts import *\nt = var('t')\nz, lam = function('z', t), function('lambda', t, row=True)\n"
    )
    source = setup + "check('eq-product', d(lam*z, t), dot(lam, t)*z + lam*dot(z, t))"
    good, told = run(live, source)
    assert good
    assert only(told, "receipt")[0]["record"]["state"] == "holds"
    assert "wrong versions refused so far" in only(told, "doing")[0]["text"]
    (a, b, new, _), *_ = live.slips.slips(source)
    good, told = run(live, source[:a] + new + source[b:])
    record = only(told, "receipt")[0]["record"]
    assert not good
    assert record["state"] == "refused"
    assert record["changes"][0]["action"] == "sign flipped"
    assert record["witness"]["at"]


# What a cell needs


@pytest.mark.parametrize(
    ("above", "source", "needed"),
    [
        (["a = 1", "b = 2", "c = a"], "c + 1", [0, 2]),
        (["import numpy as np", "x = 3"], "def f():\n    return np.pi", [0]),
        (["x = []", "x.append(1)", "y = 2"], "print(x)", [0, 1]),
        (["from receipts import *", "z = 1"], "check(z)", [0, 1]),
        (["h = 1"], "h = 2\nprint(h)", []),
        (["h = 1"], "f = lambda h: h", []),
        (["x = {}", "x['a'] = 1"], "x", [0, 1]),
    ],
)
def test_the_cells_above_that_a_cell_needs(live, above, source, needed):
    assert live.needs.needs([*above, source], len(above), [0] * (len(above) + 1)) == needed
    assert live.needs.needs([*above, source], len(above), [1] * (len(above) + 1)) == []


def test_a_name_that_a_later_cell_took_is_made_again(live):
    sources = ["x = 1", "y = 2", "x + y", "x = 'other'"]
    assert live.needs.needs(sources, 2, [1, 2, 3, 4]) == [0]
    assert live.needs.needs(sources, 2, [5, 2, 3, 4]) == []
    assert live.needs.needs(sources, 2, [0, 0, 0, 0]) == [0, 1]


def test_what_runs_again_does_not_keep_the_names_that_others_made_anew(live):
    sources = ["a, b = 1, 2", "b = 3", "c = 4", "a + b", "a = 5"]
    assert live.needs.needs(sources, 3, [1, 2, 3, 4, 5]) == [0, 1]


def test_only_what_is_not_there_is_asked_for(live):
    source = "import numpy as np, no_such_one\nfrom no_such_two.inner import x\nfrom json import dumps"
    assert live.lacking(source) == "import no_such_one\nimport no_such_two"
    assert live.lacking("import (") == ""
