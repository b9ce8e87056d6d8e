"""What makes a page quick and usable: its bytes, its scripts, its elements, what moves, and axe."""

import gzip
import re
from functools import cache
from urllib.parse import urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup
from conftest import AXE, SHIFT, UNFOLD

pytestmark = pytest.mark.usefixtures("typeset")

MOST_BYTES = 250_000  # as a server sends them, pictures apart
MOST_ELEMENTS = 18_000  # the appendix of errata has most formulas; a chapter has about half as many
MOST_SHIFT = 0.01  # a tenth of what counts as good
PACKED = {".html", ".css", ".js", ".svg", ".json"}


@cache
def size(path):
    raw = path.read_bytes()
    return len(gzip.compress(raw)) if path.suffix in PACKED else len(raw)


@cache
def parse(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def local(site, base, href):
    return site / urlsplit(urljoin(f"http://x/{base}", href)).path.lstrip("/")


def loaded(site, page):
    """The files that a page loads, pictures apart: named in the page, or in its stylesheet."""
    html = parse(site / page)
    names = [script["src"] for script in html.find_all("script", src=True)]
    sheets = [link["href"] for link in html.find_all("link", rel="stylesheet")]
    files = {local(site, page, name) for name in names + sheets}
    for sheet in sheets:
        path = local(site, page, sheet)
        for address in re.findall(r"url\(([^)]+)\)", path.read_text(encoding="utf-8")):
            address = address.strip("\"'")
            if not address.startswith("data:"):
                files.add(local(site, path.relative_to(site).as_posix(), address))
    return files | {site / page}


def test_a_page_is_light(page, site):
    files = {path: size(path) for path in loaded(site, page)}
    assert sum(files.values()) <= MOST_BYTES, {p.name: n for p, n in files.items()}


def test_what_a_stylesheet_names_is_there(site):
    for path in loaded(site, "index.html"):
        assert path.is_file(), path


def test_no_script_or_sheet_holds_up_the_page(page, site):
    head = parse(site / page).head
    for script in parse(site / page).find_all("script", src=True):
        assert script.has_attr("defer") or script.has_attr("async"), script
    assert len(head.find_all("link", rel="stylesheet")) == 1
    assert len(head.find_all("script", src=True)) == (4 if page == "search.html" else 1)
    assert sum(len(script.text) for script in head.find_all("script", src=False)) < 2000


def test_search_files_are_loaded_on_the_search_page_alone(page, site):
    names = {path.name for path in loaded(site, page)}
    assert ("searchindex.js" in names) == (page == "search.html")


def test_no_script_typesets_mathematics(page, site):
    text = (site / page).read_text(encoding="utf-8")
    assert "tex-chtml" not in text and "MathJax" not in text
    assert not (site / "_static" / "mathjax").exists()


def test_a_page_has_not_too_many_elements(page, site):
    assert len(parse(site / page).find_all(True)) <= MOST_ELEMENTS


@pytest.mark.browser
def test_nothing_moves_after_the_first_paint(page, open_tab):
    tab = open_tab(page, width=390)
    shift = tab.page.evaluate(SHIFT)
    tab.close()
    assert shift <= MOST_SHIFT


@pytest.mark.browser
def test_nothing_moves_on_a_page_read_from_a_file(open_tab, site):
    tab = open_tab((site / "book/rigour/discrete-adjoint.html").as_uri(), width=390)
    shift = tab.page.evaluate(SHIFT)
    tab.close()
    assert shift <= MOST_SHIFT


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_axe_finds_nothing(page, open_tab, axe, width, scheme):
    tab = open_tab(page, width=width, color_scheme=scheme)
    tab.page.evaluate(UNFOLD)
    tab.page.evaluate(axe)
    found = tab.page.evaluate(AXE)
    tab.close()
    assert found == []
