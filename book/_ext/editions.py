"""Keep each chapter as a notebook in which the cells say what they are: for `make editions`.

A code or text cell that belongs to an exercise or to its solution is marked so in its metadata.
The notebooks lie beside the doctrees, and not in the site.
"""

from pathlib import Path

import nbformat
from notebooks import NotebookWriter, is_chapter

FOLDER = "editions"


class MarkedWriter(NotebookWriter):
    """The notebook of a chapter, with ``metadata.exercise = {label, kind}`` on cells of exercises."""

    def exercise(self, node):
        solution = type(node).__name__ == "solution_node"
        label = node.get("target_label" if solution else "label", "")
        self.end_markdown()
        before = len(self.cells)
        super().exercise(node)
        self.end_markdown()
        for cell in self.cells[before:]:
            cell.metadata["exercise"] = {"label": label, "kind": "solution" if solution else "exercise"}


def write_marked(app, doctree, docname):
    if app.builder.name != "html" or not is_chapter(app, docname):
        return
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{docname}.ipynb"
    source = nbformat.read(executed, as_version=4)
    notebook = MarkedWriter(app, docname, source.cells).write(doctree)
    path = Path(app.doctreedir, FOLDER, f"{docname}.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def setup(app):
    app.connect("doctree-resolved", write_marked, priority=901)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
