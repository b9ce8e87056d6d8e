"""A server for the built site, a real browser, and one visit to each page."""

import functools
import http.server
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book"))

from tools import chromium

# The browser opens what the page asks for, and nothing of its own.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

# What is measured at each width.
MEASURE = """() => {
  const column = document.querySelector('article, main').getBoundingClientRect();
  const wide = [];
  // Whether it stands in a box of the page that one can scroll sideways.
  const scrolls = element => {
    for (let box = element.parentElement; box.tagName !== 'ARTICLE' && box !== document.body;
         box = box.parentElement)
      if (/auto|scroll/.test(getComputedStyle(box).overflowX)) return true;
    return false;
  };
  const tex = formula => formula.dataset.tex.slice(0, 60);
  const reach = formula => Math.max(...[...formula.children].map(c => c.getBoundingClientRect().right));
  for (const box of document.querySelectorAll('div.math')) {
    const own = box.getBoundingClientRect();
    if (!own.width) continue;  // folded
    const formula = box.querySelector('math'), place = formula.parentElement;
    const over = Math.max(
      reach(formula) - place.getBoundingClientRect().right, place.scrollWidth - place.clientWidth,
      own.right - column.right, column.left - own.left);
    if (over > 1) wide.push(`${box.id || tex(formula)}: ${over.toFixed(0)} px too wide`);
  }
  for (const formula of document.querySelectorAll('span.math math'))
    if (reach(formula) > column.right + 1 && !scrolls(formula))
      wide.push(`in a sentence: ${tex(formula)}`);
  // Text and pictures that end outside the window, and that nobody can scroll to.
  const cut = [];
  for (const element of document.querySelectorAll('main :is(a, p, li, h1, h2, h3, img, svg, button, td)')) {
    const own = element.getBoundingClientRect();
    if (!own.width || own.right <= window.innerWidth + 1) continue;
    if (!scrolls(element)) cut.push(element.outerHTML.slice(0, 80));
  }
  return {page: document.documentElement.scrollWidth - window.innerWidth, wide, cut};
}"""

COLOURS = """async () => {
  for (const running of document.getAnimations()) running.finish();
  await new Promise(next => requestAnimationFrame(next));
  const colour = (what, which) => getComputedStyle(document.querySelector(what))[which];
  return [colour('main h1', 'color'), colour('body', 'backgroundColor')];
}"""

FOCUS = """() => {
  const place = document.activeElement;
  if (place === document.body) return null;
  const style = getComputedStyle(place);
  return {
    text: place.textContent.trim(),
    href: place.getAttribute('href'),
    html: place.outerHTML.slice(0, 200),
    contents: !!place.closest('.bd-sidebar-primary nav'),
    visible: style.outlineStyle !== 'none' || style.boxShadow !== 'none',
  };
}"""

# What moved after the first paint.
SHIFT = """() => new Promise(done => {
  let total = 0;
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) total += entry.value;
  }).observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(total), 300);
})"""

AXE = """() => axe.run().then(({violations}) => violations.map(
  v => `${v.id} (${v.nodes.length}): ${v.nodes[0].html.replace(/\\s+/g, ' ').slice(0, 100)}`))"""

# Opens all that is folded, and paints all of it at once: a section out of sight would begin its
# animations when it is first looked at.
UNFOLD = """async () => {
  const style = document.head.appendChild(document.createElement('style'));
  style.textContent = `*, *::before, *::after {
    animation: none !important; transition: none !important; content-visibility: visible !important; }`;
  for (const box of document.querySelectorAll('details')) box.open = true;
  await document.fonts.ready;
  for (let i = 0; i < 2; i++) await new Promise(next => requestAnimationFrame(next));
}"""

# Mathematics that was not understood, or not seen.
RAW = r"""() => {
  const bad = [];
  for (const node of document.querySelectorAll('merror, .math-error'))
    bad.push('error: ' + node.textContent);
  for (const node of document.querySelectorAll('.math:not(:has(math))'))
    bad.push('not typeset: ' + node.textContent.slice(0, 60));
  const walker = document.createTreeWalker(document.querySelector('article, main'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (parent.closest('pre, code, script, style, math, textarea')) continue;
    const raw = node.data.match(/\$\$|\\begin|\\end|\\\(|\\\[|\\[a-z]{3,}/);
    if (raw) bad.push('raw: ' + node.data.trim().slice(0, 60));
  }
  return bad;
}"""


@pytest.fixture(scope="session")
def typeset(site):
    """For tests of what only pages have whose formulas were typeset when the book was built."""
    if "_static/mathjax/" in (site / "book/start/notation.html").read_text(encoding="utf-8"):
        pytest.skip("the formulas are typeset in the page: run `make book` with a network, for npm")


@pytest.fixture(scope="session")
def address(site):
    """Serve the site on a free port."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def browser():
    """A Chromium that is installed here: named by CHROMIUM, or found on the PATH."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = chromium()
    if not path:
        pytest.skip("no Chromium on the PATH (or in the variable CHROMIUM)")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Tab:
    """One page in one browser tab, with the errors and requests it caused."""

    def __init__(self, browser, url, width=1280, **context):
        self.errors, self.requests = [], []
        self.context = browser.new_context(viewport={"width": width, "height": 844}, **context)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("response", self._response)
        self.page.goto(url, wait_until="load")

    def _console(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def _response(self, response):
        if response.status >= 400:
            self.errors.append(f"{response.status} {response.url}")

    def measure(self, width):
        self.page.set_viewport_size({"width": width, "height": 844})
        self.page.evaluate("() => new Promise(next => requestAnimationFrame(next))")
        return self.page.evaluate(MEASURE)

    def colours(self):
        """The colours of the text and of the ground, once they have settled."""
        return self.page.evaluate(COLOURS)

    def walk(self, stops):
        """Press Tab: where the focus goes, and whether one can see it."""
        places = []
        for _ in range(stops):
            self.page.keyboard.press("Tab")
            place = self.page.evaluate(FOCUS)
            if place is None:
                break  # past the last one
            places.append(place)
        return places

    def close(self):
        self.context.close()


@pytest.fixture(scope="session")
def open_tab(browser, address):
    """Open an address of the site, or any URL, in a tab of its own."""
    tabs = []

    def open_one(url, **context):
        tabs.append(Tab(browser, url if "://" in url else address + url, **context))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.close()


@pytest.fixture(scope="session")
def visit(open_tab):
    """What one visit to a page shows: it is opened once, and looked at from all sides."""
    seen = {}

    def look(page):
        if page not in seen:
            tab = open_tab(page)
            report = {"raw": tab.page.evaluate(RAW)}
            report["focus"] = tab.walk(60)
            for scheme in ("light", "dark"):
                tab.page.emulate_media(color_scheme=scheme)
                report[scheme] = tab.colours()
            tab.page.evaluate(UNFOLD)
            for width in (1280, 390):
                report[width] = tab.measure(width)
            report["errors"], report["requests"] = tab.errors, tab.requests
            tab.close()
            seen[page] = report
        return seen[page]

    return look


@pytest.fixture(scope="session")
def axe():
    """The script of axe-core, which the build installed beside what typesets the formulas."""
    path = Path(sys.prefix, "node", "node_modules", "axe-core", "axe.min.js")
    if not path.exists():
        pytest.skip("axe-core is not installed: `make book` does that, with a network")
    return path.read_text(encoding="utf-8")
