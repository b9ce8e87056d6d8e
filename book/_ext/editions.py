"""Keep each chapter as a notebook in which the cells say what they are: for `make editions`.

A code or text cell that belongs to an exercise or to its solution is marked so in its metadata.
The notebooks lie beside the doctrees, and not in the site.
"""

from pathlib import Path

from notebooks import NotebookWriter, write_with

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
    write_with(MarkedWriter, app, doctree, docname, Path(app.doctreedir, FOLDER))


def setup(app):
    app.connect("doctree-resolved", write_marked, priority=901)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
