"""Every figure of the chapters as SVG and as PNG of slide size, with what it shows and its credit."""

import base64
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from teaching.guide import parts
from teaching.notebooks import ROOT, title_of

# Twice to three times what the page shows: some 1,500 pixels across.
FINER = f"""\
%config InlineBackend.figure_formats = ["png", "svg"]
import matplotlib
matplotlib.rc_file({str(ROOT / "book" / "matplotlibrc")!r})
matplotlib.rcParams["figure.dpi"] = 280
matplotlib.rcParams["svg.fonttype"] = "path"
"""
CREDIT = "The Checked Adjoint authors, The Checked Adjoint, chapter “{title}”, CC BY 4.0"


def alternative(cell):
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def draw(chapter):
    """Run a chapter as far as its last figure. Yields what each shows, its PNG and its SVG."""
    path = ROOT / "_build" / "jupyter_execute" / f"{chapter}.ipynb"
    if not path.exists():
        raise ValueError(f"{chapter} is not built: run `make book` first")
    notebook = nbformat.read(path, as_version=4)
    last = max((i for i, c in enumerate(notebook.cells) if alternative(c)), default=-1)
    if last < 0:
        return
    notebook.cells = [nbformat.v4.new_code_cell(FINER), *notebook.cells[: last + 1]]
    folder = (ROOT / chapter).parent
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if alternative(cell) and "image/png" in data:
                yield alternative(cell), base64.b64decode(data["image/png"]), data["image/svg+xml"]


def write(out, only=None, say=print):
    """Write the figures of all chapters, or of one, and ``figures.md``, which lists them."""
    chapters = [c for some in parts().values() for c in some]
    if only is not None:
        only = "book/" + only.removeprefix("book/").removesuffix(".md")
        if only not in chapters:
            raise ValueError(
                f"there is no chapter {only.removeprefix('book/')!r}; name one as warm-up/static-adjoint"
            )
        chapters = [only]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for chapter in chapters:
        lines, name = [f"## {title_of(chapter)}", ""], chapter.removeprefix("book/").replace("/", "-")
        for number, (shows, png, svg) in enumerate(draw(chapter), 1):
            (out / f"{name}-{number}.png").write_bytes(png)
            (out / f"{name}-{number}.svg").write_text(svg, encoding="utf-8")
            lines += [f"* `{name}-{number}.svg`, `{name}-{number}.png`. {shows}"]
        if len(lines) > 2:
            lines += ["", f"Credit: {CREDIT.format(title=title_of(chapter))}.", ""]
            (out / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
        say(f"{chapter}: {max(len(lines) - 5, 0)} figures")
    lists = [p.read_text(encoding="utf-8") for p in sorted(out.glob("*-*.md"))]
    (out / "figures.md").write_text("# Figures\n\n" + "\n".join(lists), encoding="utf-8")
