"""Offer each chapter as a notebook that needs nothing but Jupyter.

The theme's download would be the executed chapter with its MyST source, which a notebook
shows raw. This extension writes the *resolved* page as plain Markdown instead: numbers in
place of labels, text in place of roles, quotes in place of admonitions, and the code cells
as they are, without outputs. Its first code cell installs the wheel that the site carries.

A chapter is a page with a kernel in its front matter. A data file is read in a chapter as
``"../data/name.csv"``; the notebook carries the file with it and reads ``"name.csv"``.
"""

import re
from base64 import b64encode
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import urljoin

import nbformat
from docutils import nodes
from launchers import wheel_address
from pybtex.plugin import find_plugin
from sphinx.util import logging

logger = logging.getLogger(__name__)

INSTALL = """\
# Installs the packages of the book, once. Skipped where they are there already.
import importlib.util

WHEEL = "{wheel}"{remark}
if importlib.util.find_spec("adjode") is None:
    %pip install --quiet "checked-adjoint[notebook] @ {{WHEEL}}"
    importlib.invalidate_caches()"""

REMARK = "  # served by `make serve`; a file:// address works too"

# What a page carries that a notebook has no use for.
SKIPPED = (
    nodes.comment,
    nodes.meta,
    nodes.raw,
    nodes.substitution_definition,
    nodes.system_message,
    nodes.target,
    nodes.Invisible,
)
# Classes of elements that only a page can show: the state of an equation, a cell's output.
SKIPPED_CLASSES = {"eq-badge", "receipt", "cell_output", "web-only"}


def chapters(app):
    """Names of the documents that are offered as notebooks."""
    return [name for name in app.env.all_docs if is_chapter(app, name)]


def is_chapter(app, docname):
    return "kernelspec" in app.env.metadata.get(docname, {})


def works(app):
    """The entries of the bibliography in their order: the name of its link, and the text of the work."""
    if "cite" not in app.env.domaindata:
        return {}
    markdown = find_plugin("pybtex.backends", "markdown")()
    found = {}
    for citation in app.env.get_domain("cite").citations:
        text = citation.formatted_entry.text.render(markdown).replace("\n", " ")
        found[citation.citation_id] = re.sub(r"\\([-.()+!#])", r"\1", text)  # what needs no escape
    return found


def without_bars(tex):
    """A formula for a cell of a table, where a bar would end the cell."""
    return tex.replace(r"\|", r"\Vert ").replace("|", r"\vert ")


def escape(text):
    """Protect what Markdown would read as markup."""
    text = re.sub(r"([\\`*_$])", r"\\\1", text)
    return text.replace("<", "&lt;").replace("\n", " ")


def quote(text):
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def indent(text, marker):
    pad = " " * len(marker)
    lines = [pad + line if line else "" for line in text.split("\n")]
    return marker + "\n".join(lines)[len(marker) :]


def is_code_cell(node):
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def without_sections(children):
    """Elements in their order, with those of a section in its place."""
    for child in children:
        if isinstance(child, nodes.section):
            yield from without_sections(child.children)
        else:
            yield child


class NotebookWriter:
    """Write one resolved page as a notebook.

    `block` turns an element into blocks of Markdown; a code cell inside it ends the Markdown
    cell at hand. `inline` turns an element of a sentence into text.
    """

    def __init__(self, app, docname, source_cells):
        self.app = app
        self.docname = docname
        self.source_cells = source_cells
        self.next_source = 0
        self.numbers = app.env.toc_fignumbers.get(docname, {})
        self.level = 0
        self.blocks = []
        self.attachments = {}
        self.cells = []
        self.data_files = []
        self.hidden = self.in_table = False
        self.works, self.cited = works(app), set()

    # Cells

    def write(self, doctree):
        self.children(doctree)
        self.copy_code_before(len(self.source_cells))
        self.list_works()
        self.end_markdown()
        self.insert_install_cell()
        for number, cell in enumerate(self.cells):
            cell["id"] = f"cell-{number}"
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        return nbformat.v4.new_notebook(cells=self.cells, metadata=metadata)

    def end_markdown(self):
        if text := "\n\n".join(block for block in self.blocks if block.strip()):
            cell = nbformat.v4.new_markdown_cell(text)
            if self.attachments:
                cell["attachments"] = self.attachments
            self.cells.append(cell)
        self.blocks, self.attachments = [], {}

    def copy_code_before(self, index):
        """Copy the code cells that come before `index` and that the page does not show."""
        for position in range(self.next_source, index):
            if self.source_cells[position].cell_type == "code":
                self.copy_code(position)

    def copy_code(self, position):
        self.end_markdown()
        source = self.source_cells[position]
        self.next_source = position + 1
        for name in re.findall(r"\.\./data/([\w.-]+)", source.source):
            if name not in self.data_files:
                self.data_files.append(name)
                path = Path(self.app.srcdir, "book", "data", name)
                self.cells.append(
                    nbformat.v4.new_code_cell(f"%%writefile {name}\n{path.read_text().rstrip()}")
                )
        tags = source.metadata.get("tags", [])
        cell = nbformat.v4.new_code_cell(source.source.replace("../data/", ""))
        if tags:
            cell.metadata["tags"] = tags
        if self.hidden or {"hide-input", "hide-cell", "remove-input", "remove-cell"} & set(tags):
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"  # the same, for Colab
        self.cells.append(cell)

    def list_works(self):
        """Say at the end what the text has cited, for the bibliography stays behind."""
        if self.cited:
            self.blocks.append("## References")
            entries = [f"- {text}" for work, text in self.works.items() if work in self.cited]
            self.blocks.append("\n".join(entries))

    def insert_install_cell(self):
        """Put the title, a line on where this comes from, and the install cell first."""
        site = self.app.config.html_baseurl
        wheels = sorted(Path(self.app.outdir).parent.glob("wheels/*.whl"))
        wheel = wheels[-1].name if wheels else "checked_adjoint-py3-none-any.whl"
        repository = self.app.config.html_theme_options.get("repository_url", "")
        address, public = wheel_address(site, repository, wheel)
        install = INSTALL.format(wheel=address, remark="" if public else REMARK)
        first = self.cells[0] if self.cells else nbformat.v4.new_markdown_cell("")
        title, _, rest = first.source.partition("\n\n")
        book = f"*{self.app.config.html_title}*"
        if site:
            book = f"[{book}]({urljoin(site, self.app.builder.get_target_uri(self.docname))})"
        note = f"A chapter of {book}. Run the cells from top to bottom."
        first.source = rest
        head = nbformat.v4.new_markdown_cell(f"{title}\n\n{note}")
        self.cells[:1] = [head, nbformat.v4.new_code_cell(install)] + [first] * bool(rest)

    # Blocks

    def children(self, node):
        for child in node.children:
            self.block(child)

    def captured(self, node):
        """The Markdown of an element that holds no code cell."""
        outer, self.blocks = self.blocks, []
        self.children(node)
        text = "\n\n".join(block for block in self.blocks if block.strip())
        self.blocks = outer
        return text

    def block(self, node):
        name = type(node).__name__
        classes = set(node.get("classes", [])) if isinstance(node, nodes.Element) else set()
        if isinstance(node, SKIPPED) or classes & SKIPPED_CLASSES:
            return
        if isinstance(node, nodes.Text):
            self.blocks.append(escape(node.astext()))
        elif is_code_cell(node):
            self.copy_code_before(node["cell_index"])
            self.copy_code(node["cell_index"])
        elif name in {"exercise_node", "exercise_enumerable_node", "solution_node"}:
            self.exercise(node)
        elif isinstance(node, nodes.Admonition) or name == "proof_node":
            self.admonition(node)
        elif handler := getattr(self, f"block_{name}", None):
            handler(node)
        elif isinstance(node, (nodes.Inline, nodes.TextElement)):
            self.blocks.append(self.inline(node))
        else:
            self.children(node)

    def block_section(self, node):
        self.level += 1
        self.children(node)
        self.level -= 1

    def block_title(self, node):
        self.blocks.append("#" * max(self.level, 1) + " " + self.sentence(node))

    def block_rubric(self, node):
        self.blocks.append(f"**{self.sentence(node)}**")

    def block_paragraph(self, node):
        self.blocks.append(self.sentence(node))

    def block_transition(self, node):
        self.blocks.append("---")

    def block_math_block(self, node):
        tex = node.astext().strip()
        if "\\\\" in tex and "\\begin{" not in tex:
            tex = f"\\begin{{split}}\n{tex}\n\\end{{split}}"
        if number := self.number("displaymath", node):
            tex += f" \\tag{{{number}}}"
        self.blocks.append(f"$$\n{tex}\n$$")

    def block_literal_block(self, node):
        language = node.get("language", "")
        language = "" if language in {"none", "default"} else language.removeprefix("i")
        text = node.astext().rstrip()
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
        self.blocks.append(f"{fence}{language}\n{text}\n{fence}")

    def block_block_quote(self, node):
        self.blocks.append(quote(self.captured(node)))

    def block_bullet_list(self, node):
        self.blocks.append("\n".join(indent(self.captured(item), "- ") for item in node))

    def block_enumerated_list(self, node):
        first = node.get("start", 1)
        items = [indent(self.captured(item), f"{n}. ") for n, item in enumerate(node, first)]
        self.blocks.append("\n".join(items))

    def block_definition_list(self, node):
        for item in node:
            terms = [self.sentence(child) for child in item if isinstance(child, nodes.term)]
            bodies = [self.captured(c) for c in item if isinstance(c, nodes.definition)]
            self.blocks.append(indent("\n\n".join([f"**{' '.join(terms)}**", *bodies]), "- "))

    def block_field_list(self, node):
        for field in node:
            title, body = field.children
            self.blocks.append(f"**{self.sentence(title)}:** {self.captured(body)}")

    def block_table(self, node):
        for title in node.findall(nodes.title):
            self.blocks.append(f"**{self.sentence(title)}**")
        self.in_table = True
        rows = [[self.entry(entry) for entry in row] for row in node.findall(nodes.row)]
        self.in_table = False
        if rows:
            rows.insert(1, ["---"] * len(rows[0]))
            self.blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows))

    def entry(self, node):
        return re.sub(r"\s*\n\s*", " ", self.captured(node)).replace("|", "\\|")

    def block_figure(self, node):
        for child in node:
            if isinstance(child, nodes.caption):
                number = self.number("figure", node)
                label = f"Figure {number}. " if number else ""
                self.blocks.append(f"*{label}{self.sentence(child)}*")
            else:
                self.block(child)

    def block_image(self, node):
        self.blocks.append(self.inline(node))

    def block_footnote(self, node):
        label, *rest = node.children
        texts = [self.sentence(child) for child in rest]
        self.blocks.append(f"[{label.astext()}] " + " ".join(texts))

    block_citation = block_footnote

    # sphinx-design: a tab is its label and its content.
    def block_sd_tab_label(self, node):
        self.blocks.append(f"**{self.sentence(node)}**")

    def block_sd_tab_input(self, node):
        pass

    block_dropdown_title = block_sd_tab_label

    def exercise(self, node):
        title, *rest = node.children
        text = self.sentence(title)
        if number := self.number("exercise", node):
            text = f"Exercise {number}{text}" if text.startswith(" ") else f"Exercise {number} {text}"
        if type(node).__name__ != "solution_node":
            self.blocks.append(self.heading(text))
            for child in rest:
                self.block(child)
        elif any(map(is_code_cell, node.findall(nodes.container))):
            self.blocks.append(self.heading(text))
            self.folded_solution(rest)
        else:
            self.fold(text, rest)

    def heading(self, text):
        return "#" * min(self.level + 1, 6) + f" {text.strip()}"

    def folded_solution(self, children):
        """Fold the text between the code cells; the input of the cells is folded by itself."""
        self.hidden, run = True, []
        for child in [*without_sections(children), None]:
            if child is None or is_code_cell(child):
                if run:
                    self.fold("Show", run)
                run = []
                if child is not None:
                    self.block(child)
            else:
                run.append(child)
        self.hidden = False

    def fold(self, title, children):
        """Text behind a line to click on: plain HTML that every notebook shows."""
        outer, self.blocks = self.blocks, []
        for child in children:
            self.block(child)
        text = "\n\n".join(self.blocks)
        summary = re.sub(r"[*_`$\\]", "", title).strip()
        folded = f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"
        self.blocks = [*outer, folded] if text.strip() else outer

    def admonition(self, node):
        children = list(node.children)
        title = type(node).__name__.capitalize()
        if children and isinstance(children[0], nodes.title):
            title = self.sentence(children.pop(0)).strip()
        if kind := node.get("realtype"):
            number = self.number(node.get("countertype", ""), node)
            title = " ".join(filter(None, [kind.capitalize(), number, title]))
        if any(map(is_code_cell, node.findall(nodes.container))):
            self.blocks.append(f"**{title}**")
            for child in children:
                self.block(child)
            return
        if "dropdown" in node.get("classes", []):
            self.fold(title, children)
            return
        outer, self.blocks = self.blocks, [f"**{title}**"]
        for child in children:
            self.block(child)
        text = "\n\n".join(self.blocks)
        self.blocks = [*outer, quote(text)]

    def number(self, kind, node):
        for name in node.get("ids", []):
            if name in self.numbers.get(kind, {}):
                return ".".join(map(str, self.numbers[kind][name]))
        return ""

    # Sentences

    def sentence(self, node):
        return "".join(self.inline(child) for child in node.children)

    def inline(self, node):
        if isinstance(node, nodes.Text):
            return escape(node.astext())
        if isinstance(node, SKIPPED) or set(node.get("classes", [])) & SKIPPED_CLASSES:
            return ""
        if handler := getattr(self, f"inline_{type(node).__name__}", None):
            return handler(node)
        return self.sentence(node)

    def inline_emphasis(self, node):
        return f"*{self.sentence(node)}*"

    def inline_strong(self, node):
        return f"**{self.sentence(node)}**"

    def inline_literal(self, node):
        text = node.astext().replace("\n", " ")
        if any(isinstance(child, nodes.Element) for child in node.children):
            return self.sentence(node)
        fence = "``" if "`" in text else "`"
        return f"{fence}{text}{fence}"

    def inline_math(self, node):
        tex = node.astext().strip()
        return f"${without_bars(tex) if self.in_table else tex}$"

    def inline_math_block(self, node):
        tex = node.astext().strip()
        return f"\n\n$$\n{tex}\n$$\n\n"

    def inline_number_reference(self, node):
        return self.inline_reference(node)

    def inline_footnote_reference(self, node):
        return f" [{node.astext()}]"

    def inline_reference(self, node):
        text = self.sentence(node)
        address = node.get("refuri", "")
        work = node.get("refid", "") or address.partition("#")[2]
        if work in self.works:
            self.cited.add(work)
        if "://" in address or address.startswith("mailto:"):
            return f"[{text}]({address})"
        site = self.app.config.html_baseurl
        if site and address:
            page = urljoin(site, self.app.builder.get_target_uri(self.docname))
            return f"[{text}]({urljoin(page, address)})"
        return text

    def inline_download_reference(self, node):
        return self.sentence(node)

    def inline_image(self, node):
        alt = escape(node.get("alt", "")).replace("[", "(").replace("]", ")")
        path = Path(self.app.srcdir, node["uri"])
        if not path.is_file():
            return f"*({alt})*"
        kind = guess_type(path.name)[0] or "application/octet-stream"
        self.attachments[path.name] = {kind: b64encode(path.read_bytes()).decode()}
        return f"![{alt}](attachment:{path.name})"


def write_notebook(app, doctree, docname):
    """Write the notebook of a chapter beside its page."""
    write_with(NotebookWriter, app, doctree, docname, Path(app.outdir))


def write_with(writer, app, doctree, docname, folder):
    """Write the notebook that such a writer makes of a chapter below a folder; of other pages none."""
    if app.builder.name != "html" or not is_chapter(app, docname):
        return
    # The chapter as myst-nb ran it, with the cells that the page does not show.
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{docname}.ipynb"
    source = nbformat.read(executed, as_version=4)
    notebook = writer(app, docname, source.cells).write(doctree)
    path = Path(folder, f"{docname}.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def offer_notebook(app, pagename, templatename, context, doctree):
    """Let the theme's download button give the notebook, where it would list sources."""
    buttons = context.get("header_buttons", [])
    place = [i for i, b in enumerate(buttons) if b.get("label") == "download-buttons"]
    notebook = {
        "type": "link",
        "url": pagename.rpartition("/")[2] + ".ipynb",
        "icon": "fas fa-download",
        "tooltip": "Download this chapter as a notebook",
        "label": "download-notebook-button",
    }
    for i in place:
        buttons[i : i + 1] = [notebook] if is_chapter(app, pagename) else []


def setup(app):
    app.connect("doctree-resolved", write_notebook, priority=900)
    app.connect("html-page-context", offer_notebook, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
