"""What machines and passers-by find: structured data, a card, the archive, and nothing without an address."""

import json
import re
import struct
import zipfile
from xml.etree import ElementTree

import pdf
import pytest
import yaml
from bs4 import BeautifulSoup


def test_each_page_says_what_it_is(site, page):
    html = BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser")
    scripts = html.find_all("script", type="application/ld+json")
    if page == "search.html":
        return
    assert len(scripts) == 1
    data = json.loads(scripts[0].text)
    assert data["@type"] == ("Book" if page == "index.html" else "Chapter")
    book = data.get("isPartOf", data)
    assert book["name"] == "The Checked Adjoint"


def test_the_archive_holds_the_site(site):
    with zipfile.ZipFile(site / "the-checked-adjoint.zip") as archive:
        assert archive.testzip() is None
        names = {name.removeprefix("the-checked-adjoint/") for name in archive.namelist()}
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert pages <= names
    assert {"_static/site.css", "_static/site.js"} <= names


@pytest.fixture(scope="module")
def figures(site):
    """The figures for slides, by name, without the folder that they lie in."""
    with zipfile.ZipFile(site / "the-checked-adjoint-figures.zip") as archive:
        return {n.partition("/")[2]: archive.read(n) for n in archive.namelist()}


def drawn(html):
    """What the figures of a page show, in their order."""
    kind = "article img[src*=_images], article figure.movable > svg"
    return [figure.get("alt") or figure["aria-label"] for figure in html.select(kind)]


def test_every_figure_is_there_for_slides(site, figures):
    listed = BeautifulSoup(figures["index.html"], "html.parser")
    entries = {f.img["src"]: f.figcaption.get_text("\n") for f in listed.find_all("figure")}
    expected = []
    for path in sorted(site.glob("book/*/*.html")):
        html = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        page, title = path.relative_to(site / "book").with_suffix(""), html.h1.get_text().rstrip("#")
        for number, shows in enumerate(drawn(html), 1):
            name = f"{page.as_posix()}-{number}.svg"
            expected.append(name)
            for text in (entries[name], "".join(ElementTree.fromstring(figures[name]).itertext())):
                assert shows in text
                assert "The Checked Adjoint authors" in text and "CC BY 4.0" in text
                assert title.split(" ", 1)[-1].strip() in text
    assert len(expected) > 40
    assert sorted(entries) == sorted(expected) == sorted(n for n in figures if n.endswith(".svg"))
    assert all(link["href"] in figures or "://" in link["href"] for link in listed.find_all("a"))


def test_a_figure_for_slides_needs_no_page_and_no_font(figures):
    for name, content in figures.items():
        if not name.endswith(".svg"):
            continue
        text = content.decode()
        assert not re.search(r"var\(|currentColor|data-|\son\w+=|@import|href=\"(?!#|data:)", text), name
        if "<text" in text:  # one that moves: letters that every program has
            assert "Helvetica" in text
        else:
            png, width = figures[name.replace(".svg", ".png")], re.search(r'width="([\d.]+)pt"', text)[1]
            # three hundred dots to an inch; letters are laid out anew, which moves an edge by a hair
            dots = struct.unpack(">II", png[16:24])[0]
            assert dots == pytest.approx(float(width) / 72 * 300, rel=0.01), name


def test_the_teaching_guide_names_figures_that_are_there(root, figures):
    text = (root / "book/appendix/teaching.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z-]+/[a-z-]+-\d)(?:\.svg)?`", text)
    assert len(named) >= 4
    assert {f"{name}.svg" for name in named} <= set(figures)


def test_the_figures_are_soon_downloaded(site):
    assert (site / "the-checked-adjoint-figures.zip").stat().st_size < 15e6


def test_what_needs_an_address_waits_for_it(site, root):
    config = yaml.safe_load((root / "_config.yml").read_text())
    chapter = (site / "book/start/notation.html").read_text(encoding="utf-8")
    published, repository = config["html"]["baseurl"], config["repository"]["url"]
    assert ('rel="canonical"' in chapter) == bool(published)
    assert (site / "sitemap.xml").exists() == bool(published)
    assert ("report-error" in chapter) == bool(repository)
    assert ("source-repository-button" in chapter) == bool(repository)


def test_the_form_for_errors_asks_for_page_and_equation(root):
    form = yaml.safe_load((root / ".github/ISSUE_TEMPLATE/error.yml").read_text())
    asked = {item["id"]: item["validations"]["required"] for item in form["body"] if "id" in item}
    assert asked["page"] is asked["equation"] is True


def test_the_workflows_run_what_the_readme_names(root):
    for name, needed in [("publish", ".ci/run"), ("weekly", "make links")]:
        text = (root / f".github/workflows/{name}.yml").read_text()
        assert yaml.safe_load(text)["jobs"]
        assert needed in text


def test_the_lock_files_name_no_registry(root):
    for path in [root / "book/_ext/node/package-lock.json", root / "tests/site/package-lock.json"]:
        text = path.read_text()
        assert '"resolved"' not in text
        assert not re.search(r"registry\.|npmjs", text)
        assert text.count('"integrity"') == text.count('"version"')


def test_every_link_of_the_printed_book_leads_somewhere(site):
    # the one long page that is printed: inside the book, a link is to a place of that page
    text = pdf.long_page()
    places = set(re.findall(r'\bid="([^"]+)"', text))
    links = re.findall(r'<a [^>]*href="([^"]*)"', text)
    inside = [link.removeprefix("#") for link in links if link.startswith("#")]
    assert len(inside) > 2000
    assert set(inside) <= places
    assert all(link.startswith(("#", "http://", "https://", "mailto:")) for link in links)
