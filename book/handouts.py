"""What the build gives besides the pages: a wheel of ``src/``, the site as one file, the notebooks."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = "the-checked-adjoint.zip"

# What the notebooks import beside the wheel; the pins are those of the book.
RUNTIME = ("autograd==", "matplotlib==", "mpmath==", "numpy==", "scipy==", "sympy==")
NOTEBOOKS_README = """# The Checked Adjoint: the notebooks

Each chapter of the book as a notebook, and the wheel that it installs. Written by `make notebooks`;
changes belong into the chapters, not here.
"""


def make_wheel(folder):
    """Build the wheel of ``src/`` from a clean copy, so that nothing old gets into it."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for file in ["pyproject.toml", "README.md", "LICENSE"]:
            shutil.copy(ROOT / file, copy)
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / "src", copy / "src", ignore=ignore)
        command = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, copy]
        subprocess.run([sys.executable, "-m", "pip", *command], check=True)


def make_archive(site):
    """Offer the whole site as one file, for reading without a network."""
    path = site / ARCHIVE
    path.unlink(missing_ok=True)
    files = [
        p
        for p in sorted(site.rglob("*"))
        if p.is_file() and p.suffix not in {".inv", ".zip"} and "pyodide" not in p.relative_to(site).parts
    ]  # from a file no page could start it
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            if file.name != ".buildinfo":
                archive.write(file, Path("the-checked-adjoint", file.relative_to(site)))


def gather_notebooks(site, wheels, folder):
    """Copy the notebooks of a site into a folder that can be a branch of the repository."""
    shutil.rmtree(folder, ignore_errors=True)
    for notebook in sorted(site.rglob("*.ipynb")):
        target = folder / notebook.relative_to(site)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(notebook, target)
    wheel = next(wheels.glob("*.whl"))
    shutil.copytree(wheels, folder / "wheels")
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    lines = ["# What the notebooks need: Binder reads this file.",
             *(pin for pin in pins if pin.startswith(RUNTIME)),
             f"./wheels/{wheel.name}[notebook]"]  # fmt: skip
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n")
    (folder / "runtime.txt").write_text("python-3.12\n")
    (folder / "README.md").write_text(NOTEBOOKS_README)
