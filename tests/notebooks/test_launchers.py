"""Where a notebook opens: addresses from the one setting of the repository, and none without it."""

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"
REPOSITORY, HUB = "https://github.com/some-one/the.book", "https://hub.example.edu"

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_nb", "sphinx_book_theme", "sphinx_exercise", "sphinx_proof", "launchers", "notebooks"]
nb_execution_mode = "off"
html_theme = "sphinx_book_theme"
html_theme_options = {{"repository_url": {repository!r}, "article_header_end": [
    "header-buttons.html"]}}
templates_path = ["templates"]
html_title = "The Book"
html_baseurl = {site!r}
book_jupyterhub = {hub!r}
"""

CHAPTER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
# A chapter

```{code-cell} python
1 + 1
```
"""


@pytest.fixture(scope="module")
def launchers():
    sys.path.insert(0, str(EXTENSIONS))
    import launchers

    yield launchers
    sys.path.remove(str(EXTENSIONS))


def build(folder, **settings):
    source = folder / "source"
    (source / "book").mkdir(parents=True)
    (source / "conf.py").write_text(CONF.format(extensions=str(EXTENSIONS), **settings))
    (source / "templates").mkdir()
    shutil.copy(EXTENSIONS.parent / "_templates" / "header-buttons.html", source / "templates")
    (source / "index.md").write_text("# The Book\n\n```{toctree}\nbook/chapter\n```\n")
    (source / "book" / "chapter.md").write_text(CHAPTER)
    html = folder / "_build" / "html"
    wheels = folder / "_build" / "wheels"
    wheels.mkdir(parents=True)
    (wheels / "checked_adjoint-1.0-py3-none-any.whl").touch()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", source, html],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = BeautifulSoup((html / "book" / "chapter.html").read_text(encoding="utf-8"), "html.parser")
    notebook = nbformat.read(html / "book" / "chapter.ipynb", as_version=4)
    return page, next(c.source for c in notebook.cells if c.cell_type == "code")


def test_a_page_with_a_repository_offers_three_places(tmp_path):
    page, install = build(tmp_path, repository=REPOSITORY, hub=HUB, site="")
    places = {a.text: urlsplit(a["href"]) for a in page.select("details.launchers a")}
    assert list(places) == ["Colab", "Binder", "JupyterHub"]
    colab, binder, hub = places.values()
    assert colab.geturl() == (
        "https://colab.research.google.com/github/some-one/the.book/blob/notebooks/book/chapter.ipynb"
    )
    assert (binder.netloc, binder.path) == ("mybinder.org", "/v2/gh/some-one/the.book/notebooks")
    assert parse_qs(binder.query) == {"urlpath": ["lab/tree/book/chapter.ipynb"]}
    assert (hub.netloc, hub.path) == ("hub.example.edu", "/hub/user-redirect/git-pull")
    assert parse_qs(hub.query) == {
        "repo": [REPOSITORY], "branch": ["notebooks"], "urlpath": ["lab/tree/the.book/book/chapter.ipynb"],
    }  # fmt: skip
    raw = "https://github.com/some-one/the.book/raw/notebooks/wheels/checked_adjoint-1.0-py3-none-any.whl"
    assert f'WHEEL = "{raw}"' in install
    assert "make serve" not in install
    assert page.select_one("details.launchers summary")["aria-label"]


def test_a_page_without_one_offers_none(tmp_path):
    page, install = build(tmp_path, repository="", hub=HUB, site="")
    assert not page.select(".launchers")
    assert 'WHEEL = "http://localhost:8000/_static/wheels/checked_adjoint-1.0-py3-none-any.whl"' in install


def test_the_site_comes_before_the_repository(launchers):
    assert launchers.wheel_address("https://a.org/b/", REPOSITORY, "w.whl") == (
        "https://a.org/b/_static/wheels/w.whl", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("repository", "hub", "names"),
    [
        ("", HUB, []),
        (REPOSITORY, "", ["Colab", "Binder"]),
        (REPOSITORY + ".git", "", ["Colab", "Binder"]),
        (REPOSITORY + "/", HUB, ["Colab", "Binder", "JupyterHub"]),
        ("https://gitlab.com/group/sub/book", HUB, ["Binder", "JupyterHub"]),
        ("https://git.example.org/a/b", HUB, ["JupyterHub"]),
        ("https://git.example.org/a/b", "", []),
    ],
)
def test_what_is_offered(launchers, repository, hub, names):
    assert [name for name, _ in launchers.launchers(repository, hub, "book/a/b.ipynb")] == names


def test_binder_knows_groups_of_gitlab(launchers):
    (_, address), *_ = launchers.launchers("https://gitlab.com/group/sub/book", "", "b.ipynb")
    assert address.startswith("https://mybinder.org/v2/gl/group%2Fsub%2Fbook/notebooks?")


@pytest.mark.parametrize("wrong", ["owner/name", "https://github.com/owner", "git@github.com:owner/name"])
def test_what_is_no_repository_is_refused(launchers, wrong):
    with pytest.raises(ValueError, match="https://host/owner/name"):
        launchers.launchers(wrong, "", "b.ipynb")


def test_the_workflow_writes_the_branch_that_the_addresses_name(launchers, root):
    jobs = yaml.safe_load((root / ".github/workflows/publish.yml").read_text())["jobs"]
    scripts = [step.get("run", "") for step in jobs["notebooks"]["steps"]]
    assert any(f"push --quiet origin HEAD:{launchers.BRANCH}" in script for script in scripts)
    kept = [step["with"] for step in jobs["build"]["steps"] if "artifact" in step.get("uses", "")]
    assert {"name": "notebooks", "path": "_build/notebooks"} in kept


def test_the_addresses_are_paths_of_the_branch(launchers, site, notebook):
    (_, colab), (_, binder) = launchers.launchers(REPOSITORY, "", notebook)
    folder = site.parent / "notebooks"
    assert (folder / colab.partition("/blob/notebooks/")[2]).is_file()
    opened = parse_qs(urlsplit(binder).query)["urlpath"][0]
    assert (folder / opened.removeprefix("lab/tree/")).is_file()
    assert len(list((folder / launchers.WHEELS).glob("*.whl"))) == 1


def test_the_book_shows_them_only_with_a_repository(site, root):
    settings = yaml.safe_load((root / "_config.yml").read_text())
    shown = 'class="launchers"' in (site / "book/start/notation.html").read_text(encoding="utf-8")
    assert shown == bool(settings["repository"]["url"])
