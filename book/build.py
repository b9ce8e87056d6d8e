"""Build the book: ``python book/build.py``, or ``make book``.

Jupyter Book does the work. This script adds what its cache does not know:

* an edit under ``src/`` (or to the data or the pinned versions) re-runs the cells, which
  Jupyter Book would take from the cache because the chapter itself did not change;
* a build that failed is not green the next time: its pages move to ``_build/failed``, and
  the next build reads every page again, so that each warning is given again;
* the site carries a wheel of ``src/``, which the downloaded notebooks install;
* the Python for the pages, once `make pyodide` has brought it, is put into the new site;
* the notebooks lie in ``_build/notebooks``, too, with that wheel and what Binder asks for;
* what typesets the formulas comes from npm, once. Without it the book still builds, and the
  formulas are typeset in the page.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import handouts
import pyodide
from tools import npm_install

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
SITE = BUILD / "html"
DOCTREES = BUILD / ".doctrees"

# What the cells compute with: a change re-runs every cell.
CODE = ["src", "book/data", "book/matplotlibrc", "book/kernel.py", "requirements.txt",
        "pyproject.toml"]  # fmt: skip
# What the pages are made with: a change reads every page again, with the outputs at hand.
PAGES = ["_config.yml", "_toc.yml", "book/_ext", "book/_static", "book/_templates",
         "book/references.bib"]  # fmt: skip

# Its command, without the traceback of its own that it adds to each error of the book.
JUPYTER_BOOK = """
import sys
from jupyter_book.cli.main import main
try:
    main()
except RuntimeError:
    sys.exit(1)
"""


# What npm installs to typeset the formulas, and where: beside the other packages of this Python.
NODE_FILES = ROOT / "book" / "_ext" / "node"
NODE = Path(sys.prefix, "node")

# The kernels' own folder of settings: those of the reader of the book do not count.
SETTINGS = BUILD / "ipython"

def digest(names, note=""):
    """Hash the contents of files and folders, without what Python and pip leave in them."""
    total = hashlib.sha256((sys.version + note).encode())
    for name in names:
        top = ROOT / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.is_file() and not any(p == "__pycache__" or p.endswith(".egg-info") for p in parts):
                total.update(f"{'/'.join(parts)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def changed(stamp, names, note=""):
    """Whether the files differ from those of the last build; and the line to remember."""
    new = digest(names, note)
    return not stamp.exists() or stamp.read_text() != new, new


def remove(*paths):
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def install_typesetter():
    """Install what typesets the formulas; say in one line why it is not there."""
    if reason := npm_install(NODE_FILES, NODE):
        print(f"Formulas will be typeset in the page, by MathJax: {reason}", file=sys.stderr)
    return not reason


def write_settings():
    """Let figures come as SVG: sharp on every screen, and on paper."""
    profile = SETTINGS / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "book" / "kernel.py", profile / "ipython_kernel_config.py")


def run(command):
    """Run a command here and pass on what it says, but for a remark of each kernel that starts."""
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # small matrices: threads only wait
    looks = {"IPYTHONDIR": str(SETTINGS), "MATPLOTLIBRC": str(ROOT / "book" / "matplotlibrc")}
    env = one | os.environ | looks
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            for line in process.stderr:
                if "Kernel is running over TCP without encryption" not in line:
                    sys.stderr.write(line)
        except KeyboardInterrupt:
            process.communicate()  # it stops too; nothing may be left that writes into _build
            raise
    return process.returncode


def main():
    if find_spec("jupyter_book") is None:
        sys.exit(f"{sys.executable} has no Jupyter Book. Use `make book`, or .venv/bin/python (README.md).")
    began = time.monotonic()
    code_stamp, pages_stamp = BUILD / ".code", BUILD / ".pages"
    code_changed, code = changed(code_stamp, CODE)
    typesetter = install_typesetter() and os.environ.get("BOOK_MATH") != "script"
    pages_changed, pages = changed(pages_stamp, PAGES, f"typeset: {typesetter}")

    # Left behind by a build that failed or was interrupted.
    unfinished = BUILD / ".unfinished"

    if code_changed:
        print("The code has changed: every cell runs.", flush=True)
        remove(BUILD / ".jupyter_cache")
        handouts.make_wheel(BUILD / "wheels")
    if code_changed or pages_changed or unfinished.exists() or not SITE.exists():
        remove(DOCTREES, SITE)
    remove(BUILD / "failed")
    unfinished.touch()
    code_stamp.write_text(code)
    pages_stamp.write_text(pages)

    write_settings()
    build = ["build", ".", "-W", "-n", "--keep-going"]
    status = run([sys.executable, "-c", JUPYTER_BOOK, *build])
    seconds = time.monotonic() - began
    if status:
        if SITE.exists():
            SITE.rename(BUILD / "failed")
        print(f"\nThe book was NOT built ({seconds:.0f} s). The messages above say why;"
              "\nwhat there is of the pages lies in _build/failed.", file=sys.stderr)  # fmt: skip
        return 1
    shutil.copytree(BUILD / "wheels", SITE / "_static" / "wheels", dirs_exist_ok=True)
    handouts.make_archive(SITE)
    pyodide.install(SITE)
    handouts.gather_notebooks(SITE, BUILD / "wheels", BUILD / "notebooks")
    unfinished.unlink()
    print(f"\nThe book is built ({seconds:.0f} s). Open it:"
          f"\n\n    {(SITE / 'index.html').as_uri()}"
          "\n\nor run `make serve` and open http://localhost:8000/")  # fmt: skip
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The next build goes on from here: pages that ran are kept.")
