"""Python in the page: what the build puts there, and what a reader does with it in a real browser.

What runs Python needs a distribution of Pyodide: name its folder in the variable PYODIDE. Without one
these tests are skipped. With one they need no network.
"""

import functools
import hashlib
import html
import http.server
import json
import os
import re
import shutil
import sys
import threading
import zipfile
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import AXE, Tab

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book"))
import pyodide  # noqa: E402

READY = "['ready', 'failed'].includes(document.documentElement.dataset.live)"
IDLE = """() => ![...document.querySelectorAll('div.cell')].some(
  cell => ['running', 'waiting'].includes(cell.dataset.live))"""
CHAPTER = "book/adjoint-equation/integration-by-parts.html"
SHORT = "book/start/ten-minutes.html"
EXERCISES = "book/adjoint-equation/observations.html"
FEW = ["book/start/how-to-read-a-check.html", SHORT]


def offers(site, page):
    return re.findall(r'data-live="([^"]*)"', (site / page).read_text(encoding="utf-8"))


def configuration(site, page):
    return json.loads(html.unescape(offers(site, page)[0]))


def code_on(site, page):
    text = BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser")
    return [pre.get_text().rstrip("\n") for pre in text.select("article div.cell .cell_input pre")]


def executed(site, page):
    path = site.parent / "jupyter_execute" / page.replace(".html", ".ipynb")
    return nbformat.read(path, as_version=4).cells if path.exists() else []


# What the build puts there


def test_a_page_with_code_has_one_button_and_shows_every_cell(page, site):
    sources = [c.source for c in executed(site, page) if c.cell_type == "code"]
    assert len(offers(site, page)) == bool(sources)
    assert code_on(site, page) == [s.rstrip("\n") for s in sources]


def test_the_wheels_are_those_of_this_build(site):
    ours, other = None, None
    for wheel in configuration(site, SHORT)["wheels"]:
        content = (site / wheel["address"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == wheel["sha256"]
        if wheel["name"].startswith("checked_adjoint"):
            ours = zipfile.ZipFile(site / wheel["address"])
        else:
            other = zipfile.ZipFile(site / wheel["address"])
    sources = [p for folder in ("adjode", "receipts") for p in (ROOT / "src" / folder).rglob("*.py")]
    for path in sources:
        assert ours.read(path.relative_to(ROOT / "src").as_posix()) == path.read_bytes()
    for file in metadata.distribution("autograd").files:
        if file.suffix == ".py":
            assert other.read(file.as_posix()) == file.locate().read_bytes()


def test_data_that_the_cells_read_are_there(page, site):
    if not offers(site, page):
        return
    for file in configuration(site, page)["files"]:
        source = ROOT / file["path"].removeprefix("/")
        assert (site / file["address"]).read_bytes() == source.read_bytes()


def test_the_button_is_there_only_where_python_is(site):
    tag = re.search(r"<div class=\"live-offer[^>]*>", (site / SHORT).read_text(encoding="utf-8"))[0]
    python = configuration(site, SHORT)["python"]
    assert tag.endswith(" hidden>") == (not python)
    if python == pyodide.PLACE:
        assert (site / pyodide.PLACE / "pyodide.mjs").is_file()


@pytest.mark.browser
def test_nothing_of_it_is_loaded_before_the_button_is_pressed(page, visit):
    assert [url for url in visit(page)["requests"] if "/live/" in url or "pyodide" in url] == []


# `make pyodide`


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """A tiny distribution of the same form, with its pinned hashes."""
    folder, files = tmp_path / "dist", {"pyodide.mjs": b"core", "numpy.whl": b"wheel"}
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    digest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    package = {"file_name": "numpy.whl", "sha256": digest["numpy.whl"], "depends": []}
    (folder / pyodide.LOCK).write_text(json.dumps({"packages": {"numpy": package}}))
    pinned = {
        "version": "0",
        "core": {"pyodide.mjs": {"sha256": digest["pyodide.mjs"]}},
        "packages": {"numpy": {}},
    }
    monkeypatch.setattr(pyodide, "PINNED", tmp_path / "pinned.json")
    pyodide.PINNED.write_text(json.dumps(pinned))
    return folder


def test_a_distribution_is_copied_with_its_hashes_checked(distribution, tmp_path):
    pyodide.copy(distribution, tmp_path / "kept")
    names = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert names == ["numpy.whl", pyodide.LOCK, "pyodide.mjs"]


@pytest.mark.parametrize("name", ["pyodide.mjs", "numpy.whl"])
def test_a_changed_file_is_refused_and_nothing_is_copied(distribution, tmp_path, name):
    (distribution / name).write_bytes(b"other")
    with pytest.raises(pyodide.Unfit, match=f"{name} is not the file of Pyodide 0"):
        pyodide.copy(distribution, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_what_a_distribution_lacks_is_named(distribution, tmp_path):
    (distribution / "numpy.whl").unlink()
    with pytest.raises(pyodide.Unfit, match=r"lacks numpy\.whl"):
        pyodide.copy(distribution, tmp_path / "kept")
    (distribution / pyodide.LOCK).write_text(json.dumps({"packages": {}}))
    with pytest.raises(pyodide.Unfit, match="does not name numpy"):
        pyodide.copy(distribution, tmp_path / "kept")
    with pytest.raises(pyodide.Unfit, match=r"has no pyodide-lock\.json"):
        pyodide.copy(tmp_path / "nowhere", tmp_path / "kept")


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff\xfe", b'{"packages": [1]}', b'{"packages": {"numpy": 1}}']
)
def test_a_lock_file_that_cannot_be_read_is_refused_in_a_sentence(distribution, tmp_path, content):
    (distribution / pyodide.LOCK).write_bytes(content)
    with pytest.raises(pyodide.Unfit, match=r"is no list of packages|does not say which file"):
        pyodide.copy(distribution, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_lock_file_reaches_for_nothing_outside_its_folder(distribution, tmp_path):
    lock = json.loads((distribution / pyodide.LOCK).read_text())
    lock["packages"]["numpy"]["file_name"] = "../numpy.whl"
    (distribution / pyodide.LOCK).write_text(json.dumps(lock))
    with pytest.raises(pyodide.Unfit, match="has to lie beside it"):
        pyodide.copy(distribution, tmp_path / "kept")


# In the browser, with Python


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves the site; `/isolated/` serves it with the headers that let a page share memory."""

    def translate_path(self, path):
        return super().translate_path(path.removeprefix("/isolated"))

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")  # as a public address does
        if self.path.startswith("/isolated/"):
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *arguments):
        pass


class Address(str):
    """The address of a site, with its folder."""


@pytest.fixture(scope="module")
def running(site, tmp_path_factory):
    """The address of the built site with the Python of PYODIDE in it."""
    folder = os.environ.get("PYODIDE")
    if not folder:
        pytest.skip("no Pyodide distribution is named in the variable PYODIDE")
    top = tmp_path_factory.mktemp("live")
    copy = Path(shutil.copytree(site, top / "site", ignore=shutil.ignore_patterns("pyodide", "*.zip")))
    pyodide.copy(Path(folder), top / "kept")
    pyodide.install(copy, top / "kept")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(copy)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = Address(f"http://127.0.0.1:{server.server_port}/")
    address.folder = copy
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


class Live(Tab):
    """A page on which one runs cells."""

    def start(self):
        self.page.locator("[data-live-start]").click()
        self.page.wait_for_function(READY, timeout=120_000)
        return self

    @property
    def state(self):
        return self.page.evaluate("document.documentElement.dataset.live")

    @property
    def words(self):
        return self.page.locator(".live-words").inner_text()

    def cell(self, number):
        return self.page.locator("article div.cell").nth(number - 1)

    def output(self, number):
        return self.cell(number).locator(":scope > .cell_output").evaluate("box => box.textContent")

    def write(self, number, source):
        self.cell(number).locator("textarea").fill(source)

    def begin(self, number):
        """Press run, and wait until the cell has its turn."""
        self.cell(number).locator(".live-run").click()
        self.cell(number).locator(".live-run", has_text="Stop").wait_for()

    def idle(self, seconds=300):
        self.page.wait_for_timeout(100)
        self.page.wait_for_function(IDLE, timeout=1000 * seconds)

    def run(self, number, source=None):
        if source is not None:
            self.write(number, source)
        self.cell(number).locator(".live-run").click()
        self.idle()
        return self.output(number)


@pytest.fixture(scope="module")
def open_live(browser, running):
    tabs = []

    def open_one(page, **context):
        tabs.append(Live(browser, running + page, **context))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()


@pytest.fixture(scope="module")
def tab(open_live):
    """One page with Python that many tests share; each writes into its first cell."""
    return open_live(SHORT).start()


RESULTS = """() => [...document.querySelectorAll('article div.cell')].map(cell => {
  const parts = [...cell.querySelectorAll(':scope > .cell_output')].flatMap(box => [...box.querySelectorAll(
    'pre, summary, img, .receipt-line:only-child, .live-answer p, .live-refusal, .live-error')]);
  const words = part => part.tagName === 'IMG' ? '[figure]' : part.textContent;
  const shown = part => !part.closest('.receipt details') || part.tagName === 'SUMMARY';
  return parts.filter(shown).map(words).join('\\n');
})"""

# Cells whose results are times or sizes of memory of the machine that they run on.
MEASURE_HERE = re.compile(r"process_time|perf_counter|tracemalloc|monotonic")


def measures(source, sources):
    """Whether a cell prints a time: it takes it, or calls a function that does, perhaps through others."""
    timers, before = set(), None
    while timers != before:
        before = set(timers)
        for s in sources:
            if MEASURE_HERE.search(s) or timers & set(re.findall(r"\w+", s)):
                timers |= set(re.findall(r"(?m)^def (\w+)", s))
    return bool(MEASURE_HERE.search(source) or timers & set(re.findall(r"\w+", source)))


# Cells where rounding grows until it can be seen: another build of NumPy prints other numbers there, too.
# A part of the code, and why.
SENSITIVE = {
    "nets = []": "a network after 80 steps of an optimizer",
    "published = np.log": "the same network",
    "theta_net, _": "the same network",
    "mu, pair = 50.0": "a stiff problem solved backwards, which blows rounding up",
    "def oscillator(t, z, theta)": "backsolve is refused at the time where rounding has taken over",
    "q_ball, drop, end_ball": "differences across an event, of solves with steps of their own",
    "def with_knots(count)": "differences between solves at their own tolerance",
    "turn, rng = np.ar": "a network after many steps of an optimizer",
    "scheme, evaluations = adjode.dopri5(), 0": "counts of an adaptive solver near a threshold",
    "def implicit_plain(": "counts of an adaptive solver near a threshold",
    "fit_and_slope = ": "counts of an optimizer that stops at a threshold",
}


def sensitive(source):
    return any(part in source for part in SENSITIVE)


NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
ROUNDING = 1e-6  # below this a printed number may be the rounding of another library


def same(built, ours):
    """Whether two outputs say the same: all words, and all numbers to the digits that are printed."""
    if NUMBER.sub("#", built).split() != NUMBER.sub("#", ours).split():
        return False
    return all(close(a, b) for a, b in zip(NUMBER.findall(built), NUMBER.findall(ours), strict=True))


def close(a, b):
    """Equal to the last digit printed, or to nine of them; or both nothing but rounding."""
    if a == b or max(abs(float(a)), abs(float(b))) < ROUNDING:
        return True
    digits = re.match(r"-?\d*\.?(\d*)(?:[eE]([+-]?\d+))?", a)
    unit = 10.0 ** (int(digits[2] or 0) - len(digits[1]))
    return abs(float(a) - float(b)) <= max(1.5 * unit, 1e-9 * abs(float(a)))


@pytest.fixture(scope="module")
def underway(open_live):
    """Pages that run already: while one is looked at, the next one computes."""
    tabs = {}

    def get(page):
        if page not in tabs:
            tab = tabs[page] = open_live(page)
            tab.built = tab.page.evaluate(RESULTS)
            tab.page.locator("[data-live-start]").click()
            tab.page.locator(".live-bar button", has_text="Run all").click()
        return tabs[page]

    return get


def next_page(request, site):
    """The page that the same test looks at after this one, if any."""
    same = [item for item in request.session.items if item.function is request.function]
    later = same[same.index(request.node) + 1 :]
    pages = [item.callspec.params["page"] for item in later]
    return next((page for page in pages if page and offers(site, page)), None)


@pytest.mark.browser
@pytest.mark.slow
def test_every_cell_runs_and_agrees_and_a_flipped_sign_is_refused(
    page, site, running, underway, request, record_property
):
    sources = [c.source for c in executed(site, page) if c.cell_type == "code"]
    if not sources:
        return
    tab = underway(page)
    if following := next_page(request, running.folder):
        underway(following)
    tab.page.wait_for_function(READY, timeout=120_000)
    tab.idle(900)
    bad = tab.page.locator('div.cell[data-live]:not([data-live="good"])')
    assert bad.count() == 0, bad.first.inner_text()
    offer = tab.page.locator(".live-offer")
    seconds = [float(offer.get_attribute(f"data-{name}")) for name in ("seconds", "first")]
    record_property("live", (page, *seconds))
    ours = tab.page.evaluate(RESULTS)
    for number, (source, theirs, mine) in enumerate(zip(sources, tab.built, ours, strict=True), 1):
        excused = measures(source, sources) or sensitive(source)
        assert excused or same(theirs, mine), f"cell {number}: {theirs} / {mine}"
    break_one(tab, sources)
    assert [url for url in tab.requests if not url.startswith((running, "data:"))] == []
    assert tab.errors == []
    tab.close()


def break_one(tab, sources):
    """Flip a sign in a quick symbolic check of the page, see the refusal, and put it right again."""
    checked = [n for n, source in enumerate(sources, 1) if re.search(r"(?m)^(\w+ = )?check\(", source)]
    times = {n: tab.cell(n).locator(".live-mark").inner_text() for n in checked}
    checked.sort(key=lambda n: float(times[n].split()[0]) if "min" not in times[n] else 99)
    cells = [tab.cell(n) for n in checked]
    cells = [
        c for c in cells if c.is_visible() and not c.locator(":scope > details.hide:not([open])").count()
    ]
    outcomes = []
    for cell in cells[:3]:
        for which in range(3):
            outcomes.append(flip(tab, cell, which))
            if outcomes[-1] == "refused":
                return
    assert not cells, outcomes


def flip(tab, cell, which):
    """Flip one sign: "refused" with a term and a witness, "harmless" as the page says, or "none" left."""
    cell.locator(".live-break").click()
    slip = cell.locator(".live-slip").nth(which)
    tab.page.wait_for_timeout(300)
    if not slip.count():
        cell.locator(".live-break").click()
        return "none"
    slip.click()
    tab.idle()
    text = cell.locator(":scope > .cell_output").inner_text()
    outcome = "refused"
    if "This slip was not refused here" in text:
        outcome = "harmless"  # such as the sign of a multiplier, in its definition
    elif "is refused" not in text and cell.locator(".live-refusal").count() == 1:
        outcome = "unfit"  # inside a premise that has to stand there word for word, or by its shape
    else:
        assert cell.locator(".live-refusal").count() == 1, text
        assert re.search("[Tt]he (wrong )?term", text)
        assert "Witness: the two sides differ by" in text
    cell.locator("button", has_text="Put it right").click()
    tab.idle()
    assert cell.get_attribute("data-live") == "good"
    assert cell.locator(".live-refusal").count() == 0
    return outcome


# What a reader does


@pytest.mark.browser
def test_it_says_what_it_downloads_and_then_that_it_is_there(open_live):
    tab = open_live(SHORT)
    note = tab.page.locator(".live-note").inner_text()
    megabytes = int(re.search(r"about (\d+) MB", note)[1])
    assert "this site" in note
    tab.page.locator("[data-live-start]").dblclick()  # pressed twice, it starts once
    tab.page.wait_for_function("document.querySelector('.live-words')?.textContent.includes('MB')")
    assert f"of {megabytes} MB" in tab.words
    tab.page.wait_for_function(READY, timeout=120_000)
    assert tab.state == "ready"
    assert len([url for url in tab.requests if url.endswith("pyodide.mjs")]) == 1
    tab.close()
    assert tab.errors == []


@pytest.mark.browser
def test_an_error_is_readable(tab):
    tab.run(1, "def g(x):\n    return 1 / x")
    text = tab.run(2, "print('before')\ng(0)")
    assert "before" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "this cell, line 2" in text
    assert "cell 1, line 2, in g" in text
    assert "site-packages" not in text and "live_page" not in text


@pytest.mark.browser
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = (1,\n2", "SyntaxError: '(' was never closed"),
        ("import numpy\nnumpy.zeros(10**11)", "at most 4 GB"),
        ("def f(n): return f(n + 1)\nf(0)", "calls itself"),
        ("import torch", "comes without torch"),
        ("input()", "cannot ask for input"),
        ("for i in range(10**6): print(i)", "of 1,000,000 lines"),
        ("print('x' * 10**7)", "of 1 lines and 10,000,001 characters"),
        ("import sympy\nsympy.Symbol('x')**2 / 2", "x"),
        ("for i in range(3): print(f'\\r{i} of 3', end='')", "2 of 3"),
    ],
)
def test_a_cell_of_any_kind_gets_an_answer(tab, source, said):
    text = tab.run(1, source)
    assert said in text
    assert len(text) < 80_000
    assert "0 of 3" not in text
    assert tab.run(1, "20 + 1") == "21"  # and the page goes on


@pytest.mark.browser
def test_a_figure_and_a_formula_are_drawn(tab):
    tab.run(1, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    image = tab.cell(1).locator(".cell_output img")
    assert image.evaluate("i => i.complete && i.naturalWidth > i.width && i.width > 300")
    assert image.get_attribute("alt")
    tab.run(1, "import sympy\nsympy.Integral(sympy.Symbol('x'))")
    assert tab.cell(1).locator(".cell_output math").count() == 1


@pytest.mark.browser
def test_the_code_keeps_its_colours_while_one_types(tab):
    tab.write(1, "for i in range(3):\n    print('a', i)  # why")
    kinds = (
        tab.cell(1)
        .locator("pre")
        .first.evaluate(
            "pre => [...pre.querySelectorAll('span')].map(s => s.className + ' ' + s.textContent)"
        )
    )
    assert kinds == ["k for", "ow in", "nb range", "mi 3", "nb print", "s2 'a'", "c1 # why"]


@pytest.mark.browser
def test_an_endless_loop_is_stopped_and_python_starts_again(tab):
    tab.run(1, "kept = 1")
    for source in ["while True: pass", "while True: print('on and on')"]:
        tab.write(2, source)
        tab.begin(2)
        tab.page.wait_for_timeout(1500)
        tab.cell(2).locator(".live-run").click()
        tab.idle()
        assert "Stopped. Python starts again; its variables are gone." in tab.output(2)
        tab.page.wait_for_function(READY, timeout=120_000)
    assert tab.run(2, "'kept' in globals()") == "False"


@pytest.mark.browser
def test_a_crash_is_told_and_python_starts_again(tab):
    deep = "x = []\nfor i in range(10**6): x = [x]\nrepr(x)"
    assert "ran out of memory, or out of its stack" in tab.run(1, deep)
    tab.page.wait_for_function(READY, timeout=120_000)
    assert tab.run(1, "1 + 1") == "2"
    tab.errors.clear()  # Pyodide writes the crash to the console


@pytest.mark.browser
def test_where_memory_is_shared_a_stopped_cell_keeps_the_variables(open_live):
    tab = open_live("isolated/" + SHORT).start()
    assert tab.page.evaluate("crossOriginIsolated")
    tab.run(1, "kept = 41")
    tab.write(2, "while True: pass")
    tab.begin(2)
    tab.page.wait_for_timeout(700)
    tab.page.locator(".live-bar button", has_text="Stop").click()
    tab.idle()
    assert "Stopped." in tab.output(2)
    assert tab.run(1, "kept + 1") == "42"
    tab.close()


@pytest.mark.browser
def test_a_cell_run_alone_brings_what_it_needs(open_live):
    tab = open_live(EXERCISES).start()
    answer = [
        n
        for n, text in enumerate(code_cells(tab), 1)
        if text.startswith("answer = ...\nfeedback(answer, stairs)")
    ]
    number = answer[0]
    source = "answer = {}\nfeedback(answer, stairs)"
    assert tab.cell(number).locator(".live-run").inner_text() == "Check my answer"
    assert "Not answered yet" in tab.run(number)
    wrong = tab.run(number, source.format("2, 3, 2"))
    assert wrong == "✗ Not yet: summed in the wrong direction, from the first time on."
    assert tab.run(number, source.format("2, 0, -1")) == "✓ Right."
    states = tab.page.evaluate("[...document.querySelectorAll('div.cell')].map(c => c.dataset.live)")
    assert states[number - 2] == "good"
    assert states.count("good") < 8  # not all the cells above
    tab.close()
    assert tab.errors == []


def code_cells(tab):
    return tab.page.evaluate("[...document.querySelectorAll('div.cell textarea')].map(t => t.value)")


@pytest.mark.browser
def test_edits_outlive_a_reload_and_reset_brings_the_book_back(open_live):
    tab = open_live(SHORT).start()
    book = code_cells(tab)[0]
    built = tab.output(2)
    tab.write(1, "x = 1")
    tab.run(2, "6 * 7")
    tab.page.reload()
    assert tab.page.locator("textarea").count() == 0  # the page is the book's until one starts again
    tab.start()
    assert code_cells(tab)[:2] == ["x = 1", "6 * 7"]
    tab.page.evaluate("""() => Object.keys(sessionStorage).forEach((key) => {
      if (!key.startsWith("live:")) return;
      const [book] = JSON.parse(sessionStorage[key]);
      sessionStorage[key] = JSON.stringify(key.endsWith(":1") ? [book, {}] : [book, "<b>"]);
    })""")
    tab.page.reload()
    tab.start()
    assert code_cells(tab)[:2] == [book, "<b>"]  # what is no code is forgotten, and code is text
    tab.write(1, "x = 1")
    for number in (1, 2):
        tab.cell(number).locator(".live-reset").click()
    assert code_cells(tab)[0] == book
    assert tab.output(2) == built
    assert not tab.cell(1).locator(".live-reset").is_visible()
    tab.page.goto(tab.page.url.replace("ten-minutes", "notation"))
    tab.page.go_back()
    tab.page.locator("[data-live-start], .live-bar").first.wait_for()
    tab.close()
    assert tab.errors == []


@pytest.mark.browser
def test_what_waits_can_be_cancelled(open_live):
    tab = open_live(SHORT).start()
    tab.write(1, "import time\ntime.sleep(1.5)")
    tab.write(2, "done = 1")
    tab.begin(1)
    tab.cell(2).locator(".live-run").click()
    assert tab.cell(2).locator(".live-run").inner_text() == "Cancel"
    tab.cell(2).locator(".live-run").click()
    tab.idle()
    assert tab.cell(2).get_attribute("data-live") == "idle"
    assert "NameError" in tab.run(1, "done")
    tab.close()


@pytest.mark.browser
def test_the_keyboard_does_it_all(open_live):
    tab = open_live(SHORT)
    tab.page.locator("[data-live-start]").focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_function(READY, timeout=120_000)
    field = tab.cell(1).locator("textarea")
    field.focus()
    for _ in range(2):  # one who does not type goes on, past the button that copies
        tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className").startswith("live-run")
    tab.write(1, "")
    field.focus()
    tab.page.keyboard.type("if True:")
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.type("x = 5")
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Shift+Tab")
    tab.page.keyboard.type("x")
    assert field.input_value() == "if True:\n    x = 5\nx"
    tab.page.keyboard.press("Tab")
    assert field.input_value().endswith("\nx   ")
    tab.page.keyboard.press("Control+z")
    assert field.input_value().endswith("\nx")
    tab.page.keyboard.press("Shift+Enter")
    tab.idle()
    assert tab.output(1) == "5"
    tab.page.keyboard.press("Escape")
    assert tab.page.evaluate("document.activeElement.className").startswith("live-run")
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_broken_check_is_clear_and_accessible(open_live, axe, width, scheme):
    tab = open_live(FEW[0], width=width, color_scheme=scheme, reduced_motion="reduce").start()
    sources = code_cells(tab)
    number = next(n for n, source in enumerate(sources, 1) if "check(" in source)
    cell = tab.cell(number)
    cell.locator(".live-break").click()
    cell.locator(".live-slip").first.wait_for()
    if width < 500:  # a finger's width, and no less
        box = cell.locator(".live-slip").first.evaluate(
            "b => ['width', 'height'].map(x => parseFloat(getComputedStyle(b, '::after')[x]))"
        )
        assert min(box) >= 20
    cell.locator(".live-slip").first.click()
    tab.idle()
    assert "is refused" in cell.locator(".live-refusal").inner_text()
    assert cell.locator("mark.live-here").count() == 1
    tab.page.evaluate(axe)
    assert tab.page.evaluate(AXE) == []
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cell.locator(".live-repair").click()
    tab.idle()
    assert cell.get_attribute("data-live") == "good"
    tab.close()
    assert tab.errors == []


# From a public address


@pytest.mark.browser
def test_from_a_public_address_the_reader_is_told_first(running, open_live):
    """The same page as if `book_python_address` named another server, which has no autograd."""
    other = running.replace("127.0.0.1", "localhost") + pyodide.PLACE
    page = running.folder / SHORT
    text = page.read_text(encoding="utf-8")
    (found,) = offers(running.folder, SHORT)
    config = json.loads(html.unescape(found)) | {"python": other}
    (page.parent / "public.html").write_text(
        text.replace(found, html.escape(json.dumps(config), quote=True)), encoding="utf-8"
    )
    tab = open_live("book/start/public.html")
    assert not any("localhost" in url for url in tab.requests)
    tab.start()
    assert tab.state == "ready"
    assert any(url == other + "pyodide.mjs" for url in tab.requests)
    assert tab.run(1, "import adjode, autograd\nadjode.__name__") == "'adjode'"
    tab.close()
    assert tab.errors == []


def test_the_button_names_the_public_address():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        import live
    finally:
        sys.path.pop(0)
    told = live.button({"bytes": 38e6, "python": "https://cdn.example.org/pyodide/"})
    assert "Python comes from" in told
    assert "cdn.example.org</span>: about 38 MB" in told
    assert " hidden>" not in told
    assert " hidden>" in live.button({"bytes": 38e6, "python": ""})


# When it does not come


@pytest.mark.browser
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("**/checked_adjoint*.whl", "it is not there (404)"),
        ("**/numpy*.whl", "it is not there (404)"),
        ("**/pyodide.asm.wasm", "it is not there (404)"),
        ("**/pyodide.mjs", "it did not come"),
    ],
)
def test_a_file_that_is_missing_is_named(open_live, pattern, said):
    tab = open_live(SHORT)
    tab.context.route(pattern, lambda route: route.fulfill(status=404, body="no"))
    tab.start()
    assert tab.state == "failed"
    assert "Python could not start." in tab.words
    assert said in tab.words
    assert pattern.strip("*/").split("*")[0] in tab.words
    tab.context.unroute(pattern)
    tab.page.locator(".live-offer button", has_text="Try again").click()
    tab.page.wait_for_function("document.documentElement.dataset.live === 'ready'", timeout=120_000)
    tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("pattern", ["**/checked_adjoint*.whl", "**/numpy*.whl"])
def test_a_file_with_another_hash_is_refused(open_live, pattern):
    tab = open_live(SHORT)
    tab.context.route(pattern, lambda route: route.fulfill(status=200, body=b"PK other bytes"))
    tab.start()
    assert tab.state == "failed"
    assert "its hash is another one" in tab.words
    tab.close()


# As a browser that forbids storage answers.
FORBIDDEN = """for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, {
    configurable: true, get() { throw new DOMException("The operation is insecure.", "SecurityError"); },
  });"""


@pytest.mark.browser
def test_where_storage_is_forbidden_the_page_works(open_live):
    tab = open_live(SHORT)
    tab.context.add_init_script(FORBIDDEN)
    tab.page.reload()
    assert tab.page.evaluate("document.documentElement.dataset.theme") in {"auto", "light", "dark"}
    tab.start()
    tab.run(1, "6 * 7")
    assert tab.output(1).strip() == "42"
    tab.close()
    assert tab.errors == []


@pytest.mark.browser
def test_without_a_connection_one_can_try_again(open_live):
    tab = open_live(SHORT)
    tab.context.route("**/pyodide/**", lambda route: route.abort())
    tab.start()
    assert tab.state == "failed"
    assert tab.page.locator(".live-offer button", has_text="Try again").is_visible()
    tab.close()


@pytest.mark.browser
def test_opened_from_a_file_the_button_says_what_to_do(browser, running):
    tab = Live(browser, (running.folder / SHORT).as_uri())
    tab.page.locator("[data-live-start]").click()
    assert "cannot start Python" in tab.page.locator(".live-note").inner_text()
    tab.close()
    assert tab.errors == []


def test_what_is_excused_from_agreeing_is_little_and_still_there(site, root):
    pages = [path.relative_to(site).as_posix() for path in site.rglob("book/*/*.html")]
    sources = [c.source for page in pages for c in executed(site, page) if c.cell_type == "code"]
    for part in SENSITIVE:
        assert any(part in source for source in sources), part
    assert sum(map(sensitive, sources)) < 0.03 * len(sources)
