"""Python in the page: a button on each page with code, and what it needs when it is pressed.

The button starts Pyodide in a worker (``book/_static/live``); nothing of that is loaded before. Python
comes from the site itself, once ``make pyodide`` has copied a distribution into it, or else from the
public address that ``book_python_address`` in ``_config.yml`` names; with neither, the button is hidden.
The code of the cells is that of the page, so every cell must be on it.
"""

import hashlib
import json
import re
import shutil
import sys
import zipfile
from html import escape
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from sphinx.util import logging

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).resolve().parents[1] / "_static" / "live"
PINNED = Path(__file__).resolve().with_name("pyodide.json")
LOOKS = Path(__file__).resolve().parents[1] / "matplotlibrc"  # of figures, here as when the book is built
FOLDER = "/book"  # where the book lies in the worker's file system
# What each import of a cell needs of Pyodide's packages.
NEEDS = {
    "adjode": ["numpy", "scipy"],
    "autograd": ["numpy", "scipy"],
    "receipts": ["numpy", "sympy"],
    "matplotlib": ["matplotlib", "numpy"],
    "numpy": ["numpy"],
    "scipy": ["scipy", "numpy"],
    "sympy": ["sympy"],
}
# What is slow to import, in the order in which a page is likely to ask for it.
WARM = {
    "adjode": ["adjode", "scipy.integrate"],
    "scipy": ["scipy.integrate"],
    "matplotlib": ["matplotlib.pyplot"],
    "receipts": ["receipts"],
    "sympy": ["sympy"],
    "autograd": ["autograd"],
}
TEMML = Path(sys.prefix, "node", "node_modules", "temml", "dist", "temml.min.js")
# Cells that the page would not show, and so could not run.
UNSEEN = {"remove-cell", "remove-input", "remove_cell", "remove_input", "hide-cell"}

OFFER = (
    '<div class="live-offer pst-js-only" data-live="{config}"{hidden}>'
    '<button type="button" class="live-button" data-live-start>Run the code on this page</button>'
    '<span class="live-note">Python comes from <span class="live-from">{source}</span>: '
    "about {size:.0f} MB, once. Nothing you write leaves your browser.</span></div>\n"
)
MINUTES = re.compile(r"<p>(?:(?!</p>).)*<strong>Minutes</strong>(?:(?!</p>).)*</p>\n?", re.S)
TITLE = re.compile(r"</h1>\n?")
CELL = re.compile(r'<div class="cell\b[^"]*docutils container">')


def modules(source):
    """The top-level modules that some code imports, wherever it does."""
    found = re.findall(r"(?m)^\s*(?:import|from)\s+(\w+)", source)
    found += re.findall(r"(?m)^\s*import\s[^\n]*?,\s*(\w+)", source)
    return set(found)


def pinned():
    return json.loads(PINNED.read_text(encoding="utf-8"))


def with_all_needed(packages, known):
    """Packages with all that they need in turn, by the list of the pinned version."""
    found, queue = set(), list(packages)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += known[name]["needs"]
    return sorted(found)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def make_autograd(folder):
    """A wheel of the autograd that is installed here, which Pyodide does not have; the same each time."""
    distribution = metadata.distribution("autograd")
    path = folder / f"autograd-{distribution.version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    left = ("direct_url.json", "INSTALLER", "REQUESTED", "RECORD")
    files = [
        f for f in distribution.files if f.suffix != ".pyc" and ".." not in f.parts and f.name not in left
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in sorted(files):
            info = zipfile.ZipInfo(file.as_posix())
            wheel.writestr(info, file.locate().read_bytes(), zipfile.ZIP_DEFLATED)
    return path


def version():
    """Changes with the scripts, so that no browser mixes old ones with new ones."""
    total = hashlib.sha256()
    for path in sorted(p for p in SOURCES.rglob("*.*") if p.suffix in {".js", ".css", ".py"}):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:10]


def begin(app):
    build = Path(app.outdir).parent
    wheels = [make_autograd(build / "live"), *sorted((build / "wheels").glob("*.whl"))]
    places = {"live": "_static/live/", "wheels": "_static/wheels/"}
    app.live_wheels = [
        {"name": w.name, "address": places[w.parent.name] + w.name, "sha256": sha256(w)} for w in wheels
    ]
    app.live_bytes = sum(w.stat().st_size for w in wheels)
    app.live_version = version()
    app.live_files = set()


def cells(app, pagename):
    """The code cells of a page, as they ran."""
    path = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    if not path.is_file():
        return []
    found = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    for cell in found:
        if unseen := UNSEEN & set(cell.metadata.get("tags", [])):
            logger.warning(
                "a cell is tagged %s: the page does not show it, so Python in the page could not run it",
                ", ".join(unseen), location=pagename, type="site", subtype="live",
            )  # fmt: skip
    return found


def configuration(app, pagename, sources):
    """What the scripts must know of a page."""
    known, imported = pinned()["packages"], modules(sources)
    packages = with_all_needed({n for m in imported for n in NEEDS.get(m, [])}, known)
    files = sorted(set(re.findall(r"\.\./data/([\w.-]+)", sources)))
    app.live_files.update(files)
    places = {f"_static/live/data/{name}": f"{FOLDER}/data/{name}" for name in files}
    if "matplotlib" in imported:
        places[f"_static/live/{LOOKS.name}"] = f"{FOLDER}/{LOOKS.name}"
    core = sum(f["bytes"] for f in pinned()["core"].values())
    address = app.config.book_python_address
    return {
        "up": "../" * pagename.count("/") or "./",
        "main": f"_static/live/main.js?v={app.live_version}",
        "python": address,
        "packages": packages,
        "modules": sorted(path.name for path in SOURCES.glob("live_page/*.py")),
        "warm": list(dict.fromkeys(n for m in WARM if m in imported for n in WARM[m])),
        "bytes": core + app.live_bytes + sum(known[p]["bytes"] for p in packages),
        "wheels": app.live_wheels,
        "files": [{"address": address, "path": path} for address, path in places.items()],
        "folder": f"{FOLDER}/{pagename.split('/')[-2] if '/' in pagename else ''}",
        "temml": f"_static/live/temml.min.js?v={app.live_version}" if TEMML.is_file() else "",
    }


def button(config):
    """The button of a page, hidden where there is no Python that it could start."""
    return OFFER.format(
        config=escape(json.dumps(config), quote=True),
        hidden="" if config["python"] else " hidden",
        source=escape(urlsplit(config["python"]).netloc or "this site"),
        size=config["bytes"] / 1e6,
    )


def offer(app, pagename, templatename, context, doctree):
    """Put the button below the line that says how many minutes the page takes, or below the title."""
    body = context.get("body") or ""
    if doctree is None or not CELL.search(body):
        return
    code = cells(app, pagename)
    if not code:
        return
    html = button(configuration(app, pagename, "\n".join(c.source for c in code)))
    place = (MINUTES.search(body) or TITLE.search(body)).end()
    context["body"] = body[:place] + html + body[place:]


def write(app, exception):
    """Finish the scripts in the site, and put beside them what only they ask for."""
    if exception or app.builder.format != "html":
        return
    live = Path(app.outdir, "_static", "live")
    for path in live.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'(from "\./\w+\.js)"', rf'\1?v={app.live_version}"', text), encoding="utf-8")
    data = Path(app.srcdir, "book", "data")
    (live / "data").mkdir(parents=True, exist_ok=True)
    for path in data.iterdir():
        if path.name in app.live_files or (live / "data" / path.name).exists():
            shutil.copy(path, live / "data")
    shutil.copy(LOOKS, live)
    for wheel in (Path(app.outdir).parent / "live").glob("*.whl"):
        shutil.copy(wheel, live)
    if TEMML.is_file():
        shutil.copy(TEMML, live)


def setup(app):
    app.add_config_value("book_python_address", "", "html")
    app.add_css_file("live-offer.css")
    app.add_js_file("live-offer.js")
    app.connect("builder-inited", begin)
    app.connect("html-page-context", offer, priority=850)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
