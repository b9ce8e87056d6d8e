"""The built pages as documents: what each must have, and where its links lead."""

import itertools
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

# Attributes by which a page loads something by itself.
LOADS = [("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")]


@cache
def parse(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture
def html(site, page):
    return parse(site / page)


def test_the_landing_page_is_the_index_itself(site):
    index = parse(site / "index.html")
    assert not index.find("meta", attrs={"http-equiv": re.compile("refresh", re.I)})
    assert index.find("svg", class_="idea")
    for way in ["One hour", "I use torchdiffeq", "A course", "Research"]:
        assert index.find(string=re.compile(way)), way


def test_language_and_one_heading(html):
    assert html.html["lang"] == "en"
    assert len(html.find_all("h1")) == 1
    assert html.find("main").find("h1")


def test_headings_do_not_skip_a_level(html):
    levels = [int(h.name[1]) for h in html.find("main").find_all(re.compile("^h[1-6]$"))]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), levels


def test_title_description_and_favicon(html, site, page):
    assert "The Checked Adjoint" in html.title.text
    descriptions = html.find_all("meta", attrs={"name": "description"})
    assert len(descriptions) == 1
    assert 40 <= len(descriptions[0]["content"]) <= 200
    icon = html.find("link", rel="icon")
    assert (site / page).parent.joinpath(urlsplit(icon["href"]).path).is_file()


def test_descriptions_differ(site):
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = [p for p in map(parse, paths) if not p.find("meta", attrs={"http-equiv": "refresh"})]
    texts = [p.find("meta", attrs={"name": "description"})["content"] for p in pages]
    assert len(set(texts)) == len(texts)


def test_pictures_say_what_they_show(html):
    for image in html.find_all("img"):
        alt = image.get("alt", "").strip()
        assert len(alt) >= 5, image
        assert not re.search(r"\.(png|svg|jpe?g)$|^_images|/", alt), f"a file name: {alt}"
    for drawing in html.find("main").find_all("svg"):
        if drawing.find_parent("svg"):
            continue  # a part of one that is looked at
        named = drawing.get("aria-label") or drawing.get("aria-labelledby")
        assert named or drawing.get("aria-hidden") == "true", str(drawing)[:100]


def test_nothing_is_loaded_from_elsewhere(html):
    for tag, attribute in LOADS:
        for element in html.find_all(tag, attrs={attribute: True}):
            if tag == "link" and "canonical" in element.get("rel", []):
                continue
            assert not urlsplit(element[attribute]).netloc, element


def test_ids_are_unique(html):
    ids = [element["id"] for element in html.find_all(id=True)]
    assert len(ids) == len(set(ids)), {i for i in ids if ids.count(i) > 1}


def test_links_lead_somewhere(html, site, page):
    base = (site / page).as_uri()
    for link in html.find_all("a", href=True):
        target = urlsplit(urljoin(base, link["href"]))
        if target.scheme != "file":
            assert target.scheme in {"http", "https", "mailto"}, link
            continue
        path = Path(unquote(target.path))
        assert path.is_file(), f"{page}: {link['href']}"
        if target.fragment and path.suffix == ".html":
            assert parse(path).find(id=unquote(target.fragment)), f"{page}: {link['href']}"


def test_links_have_a_text(html):
    for link in html.find_all("a", href=True):
        words = link.get_text(strip=True) or link.get("aria-label") or link.get("title")
        assert words or link.find("img", alt=True), link


def test_the_old_address_of_the_landing_page_leads_to_it(site):
    signpost = parse(site / "book" / "index.html")
    assert signpost.find("a")["href"] == "../index.html"


@pytest.mark.parametrize("short", ["dt0", "cheat-sheet", "errata"])
def test_short_addresses_lead_to_their_pages(site, root, short):
    config = yaml.safe_load((root / "_config.yml").read_text())
    page = config["sphinx"]["config"]["book_short_addresses"][short]
    if f"file: {page}\n" not in (root / "_toc.yml").read_text():
        pytest.skip(f"{page} is not in the table of contents yet")
    target = parse(site / f"{short}.html").find("a")["href"]
    assert target == f"{page}.html" and (site / target).exists()


def test_only_chapters_of_the_contents_are_built(site, root):
    listed = re.findall(r"file: (\S+)", (root / "_toc.yml").read_text())
    built = {p.relative_to(site).with_suffix("").as_posix() for p in site.glob("book/*/*.html")}
    assert built == set(listed)


def test_the_site_carries_the_wheel(site):
    assert len(list(site.glob("_static/wheels/checked_adjoint-*.whl"))) == 1
