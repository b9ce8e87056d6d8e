"""What machines and passers-by find: structured data, a card, the archive, and nothing without an address."""

import json
import re
import zipfile

import pdf
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
