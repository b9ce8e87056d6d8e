"""The notebooks that the site offers: plain Markdown, and running on the wheel alone."""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from packaging.requirements import Requirement

# Beyond the wheel and what it asks for, the clean environment has a kernel and pip.
KERNEL = "ipykernel"


def read(site, notebook):
    return nbformat.read(site / notebook, as_version=4)


def prose(notebook):
    """The Markdown of a notebook, without its code."""
    text = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    text = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1\s*$", "", text)
    return re.sub(r"(`+).+?\1", "", text)


def test_each_chapter_offers_its_notebook(site, root):
    listed = re.findall(r"file: (\S+)", (root / "_toc.yml").read_text())
    chapters = [n for n in listed if "kernelspec:" in (root / f"{n}.md").read_text()]
    for chapter in chapters:
        assert (site / f"{chapter}.ipynb").is_file()
        page = (site / f"{chapter}.html").read_text()
        assert f'href="{chapter.rpartition("/")[2]}.ipynb"' in page


def test_valid_and_without_outputs(site, notebook):
    nb = read(site, notebook)
    nbformat.validate(nb)
    assert not any(cell.get("outputs") for cell in nb.cells)
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)


def test_the_first_code_cell_installs_the_wheel(site, notebook):
    nb = read(site, notebook)
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    address = re.search(r'WHEEL = "(.*?)"', first.source)[1]
    assert (site / "_static" / "wheels" / address.rpartition("/wheels/")[2]).is_file()
    assert "%pip install" in first.source


def test_all_code_of_the_chapter_is_there(site, notebook, root):
    source = (root / notebook).with_suffix(".md").read_text()
    cells = re.findall(r"(?ms)^\s*(`{3,}|:{3,})\{code-cell\}", source)
    nb = read(site, notebook)
    added = [c for c in nb.cells if c.source.startswith(("%%writefile", "# Installs"))]
    assert len([c for c in nb.cells if c.cell_type == "code"]) - len(added) == len(cells)


def test_the_text_needs_no_extension(site, notebook):
    text = prose(read(site, notebook))
    assert not re.findall(r"\{[a-z][\w:-]*\}`", text), "a role"
    assert not re.findall(r"(?m)^\s*[`:~]{3,}\s*\{", text), "a directive"
    assert not re.findall(r"(?m)^:\w+:", text), "an option of a directive"
    assert not re.findall(r"(?m)^\([\w-]+\)=", text), "a label"
    assert not re.findall(r"<(?!/?(?:details|summary)\b)/?[a-z]+[^>]*>", text), "raw HTML"
    assert not re.findall(r"\$\$\s*\(eq-", text), "an equation's label"


def test_equations_carry_their_numbers(site, notebook, root):
    source = (root / notebook).with_suffix(".md").read_text()
    labels = re.findall(r"(?m)^\s*\$\$\s*\((eq-[^)]*)\)|^:label:\s*(eq-\S+)", source)
    text = "".join(cell.source for cell in read(site, notebook).cells)
    assert len(re.findall(r"\\tag\{[\d.]+\}", text)) == len(labels)


def test_numbers_are_those_of_the_site(site, notebook):
    page = BeautifulSoup((site / notebook).with_suffix(".html").read_text(encoding="utf-8"), "html.parser")
    text = "\n".join(c.source for c in read(site, notebook).cells if c.cell_type == "markdown")
    numbers = [e.get_text(strip=True).strip("()¶#") for e in page.select("article .eqno")]
    assert re.findall(r"\\tag\{([\d.]+)\}", text) == numbers
    exercises = [e.text for e in page.select("article .admonition-title .caption-number")]
    exercises = [n for n in map(str.split, exercises) if n and n[0] == "Exercise"]
    assert re.findall(r"(?m)^#+ Exercise ([\d.]+)", text) == [n[1] for n in exercises]


def test_what_the_text_cites_is_listed(site, notebook, root):
    source = (root / notebook).with_suffix(".md").read_text()
    keys = {k for keys in re.findall(r"\{cite(?::\w)?\}`([^`]+)`", source) for k in keys.split(",")}
    last = next(c for c in reversed(read(site, notebook).cells) if c.cell_type == "markdown").source
    _, _, listed = last.partition("## References\n\n")
    assert len(re.findall(r"(?m)^- \S", listed)) == len(keys)
    page = BeautifulSoup((site / "book/appendix/bibliography.html").read_text("utf-8"), "html.parser")
    entries = [" ".join(e.get_text().split()) for e in page.select("div.citation > p")]
    listed = listed.replace("[https://github.com/", "[")  # as the theme writes it
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line[2:]) for line in listed.splitlines()]
    places = [entries.index(unescape(re.sub(r"[*\\]", "", line))) for line in plain]
    assert places == sorted(places)


def test_a_table_has_as_many_cells_in_each_row(site, notebook):
    """A bar inside a formula would end the cell, and one that is escaped would be a double bar."""
    for table in re.findall(r"(?m)(?:^\|.*\|$\n?)+", prose(read(site, notebook))):
        rows = [re.findall(r"(?<!\\)\|", line) for line in table.strip().split("\n")]
        assert len({len(row) for row in rows}) == 1, table
        assert not re.findall(r"\$[^$|]*\\\|[^$|]*\$", table)


def test_the_button_gives_what_make_notebooks_writes(site, notebook):
    folder = site.parent / "notebooks"
    page = BeautifulSoup((site / notebook).with_suffix(".html").read_text(encoding="utf-8"), "html.parser")
    button = page.select_one("a.btn-download-notebook-button")
    given = (site / notebook).parent / button["href"]
    assert given.read_bytes() == (folder / notebook).read_bytes()


def test_the_folder_has_what_binder_installs(site, root):
    folder = site.parent / "notebooks"
    wanted = [path.relative_to(site) for path in site.rglob("*.ipynb")]
    assert sorted(p.relative_to(folder) for p in folder.rglob("*.ipynb")) == sorted(wanted)
    *pins, wheel = (folder / "requirements.txt").read_text().split("\n")[1:-1]
    path = folder / wheel.removesuffix("[notebook]")
    assert path.read_bytes() == (site / "_static" / "wheels" / path.name).read_bytes()
    assert set(pins) <= set((root / "requirements.txt").read_text().split("\n"))
    asked = needed(["checked-adjoint[notebook]"])
    assert {"numpy", "scipy", "autograd", "sympy", "matplotlib"} <= {pin.partition("==")[0] for pin in pins}
    assert {pin.partition("==")[0] for pin in pins} <= set(asked)
    assert (folder / "runtime.txt").read_text() == "python-3.12\n"


def test_dollars_are_paired(site, notebook):
    text = prose(read(site, notebook)).replace("\\$", "")
    assert len(re.findall(r"\$\$", text)) % 2 == 0
    assert text.replace("$$", "").count("$") % 2 == 0


# Running them


def needed(requirements):
    """The distributions that some requirements stand for, with all that they need in turn."""
    found, queue = {}, [Requirement(r) for r in requirements]
    while queue:
        wanted = queue.pop()
        seen = found.setdefault(wanted.name.lower(), set())
        fresh = {""} | wanted.extras
        if fresh <= seen:
            continue
        seen |= fresh
        for line in importlib.metadata.requires(wanted.name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in fresh):
                queue.append(requirement)
    return found


def copy_distribution(name, target):
    """Link the files of an installed distribution into another environment."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files:
        source = Path(distribution.locate_file(file))
        if ".." in file.parts or file.suffix == ".pyc" or not source.is_file():
            continue
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, copy)
        except FileExistsError:
            pass
        except OSError:
            shutil.copy2(source, copy)


@pytest.fixture(scope="session")
def clean_python(site, tmp_path_factory):
    """A new environment with what the wheel asks for and a kernel; not the book's packages.

    What it asks for is linked from the environment that runs the tests, which is quick and
    asks no index. The notebook's own first cell installs the wheel, with pip.
    """
    home = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(home, with_pip=True, symlinks=os.name != "nt")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    run = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    for name in needed(["checked-adjoint[notebook]", KERNEL]):
        if name != "checked-adjoint":
            copy_distribution(name, Path(run.stdout.strip()))
    return python


RUN = """
import asyncio, sys, warnings
import nbformat
from nbclient import NotebookClient
from jupyter_client.manager import AsyncKernelManager

python, path, folder = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
manager = AsyncKernelManager()
manager.kernel_spec.argv[0] = python
client = NotebookClient(notebook, km=manager, timeout=300, resources={"metadata": {"path": folder}})
client.execute()
where = [o for c in notebook.cells for o in c.get("outputs", [])][-1]
print(where.get("text", ""))
"""


def run_notebook(site, notebook, python, folder, install_only=False):
    """Run a notebook somewhere else; its first cell installs the wheel. None, or what failed."""
    nb = read(site, notebook)
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    wheel = next(site.glob("_static/wheels/*.whl"))
    first.source = re.sub(r'WHEEL = ".*?"', f'WHEEL = "{wheel.as_uri()}"', first.source)
    if install_only:
        nb.cells = [first]
    last = "import adjode, receipts; print(adjode.__file__, receipts.__file__)"
    nb.cells.append(nbformat.v4.new_code_cell(last, id="where"))
    folder.mkdir()
    nbformat.write(nb, folder / "chapter.ipynb")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"MPLBACKEND": "agg", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-c", RUN, python, folder / "chapter.ipynb", folder]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        return run.stderr[-3000:]
    if not all(python.parents[1] in Path(place).parents for place in run.stdout.split()):
        return f"not from the wheel: {run.stdout}"
    return None


@pytest.fixture(scope="session")
def passed_before(site, root):
    """Where a notebook that ran is remembered: a file named by all that it depends on."""
    folder = site.parent / "notebook-runs"
    folder.mkdir(exist_ok=True)
    common = [next(site.glob("_static/wheels/*.whl")), root / "requirements.txt", Path(__file__)]

    def place(notebook):
        total = hashlib.sha256(sys.version.encode())
        for path in common:
            total.update(path.read_bytes())
        for cell in read(site, notebook).cells:
            if cell.cell_type == "code":  # a change of the text alone runs nothing
                total.update(cell.source.encode() + b"\0")
        return folder / total.hexdigest()

    return place


@pytest.fixture(scope="session")
def outcomes(request, site, passed_before, tmp_path_factory):
    """Run the notebooks that these tests ask for, as many at a time as there are processors."""
    asked = [item.callspec.params["notebook"] for item in request.session.items
             if item.name.startswith("test_runs_from_top_to_bottom")]  # fmt: skip
    fresh = [notebook for notebook in asked if not passed_before(notebook).exists()]
    python = request.getfixturevalue("clean_python") if fresh else None
    home = tmp_path_factory.mktemp("notebooks")
    if fresh:  # alone, because two at a time would both install the wheel
        problem = run_notebook(site, fresh[0], python, home / "install", install_only=True)
        assert problem is None, problem
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            notebook: pool.submit(run_notebook, site, notebook, python, home / str(number))
            for number, notebook in enumerate(fresh)
        }


def test_runs_from_top_to_bottom_on_the_wheel_alone(notebook, passed_before, outcomes):
    """Unchanged code, wheel and environment that passed once do not run again."""
    if notebook in outcomes:
        problem = outcomes[notebook].result()
        assert problem is None, problem
        passed_before(notebook).touch()
