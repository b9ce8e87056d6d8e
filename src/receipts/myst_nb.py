"""Receipts on the pages of a book: a MyST-NB renderer for the data in a cell's output.

It makes ordinary docutils nodes, so formulas are typeset like those of the text, and leaves the
record on its node, where a Sphinx extension can gather it.
"""

from html import escape

from docutils import nodes

try:
    from sphinx import addnodes
except ImportError:
    addnodes = None

from receipts.receipt import MIME, headline, particulars


class ReceiptRenderer:
    """Registered under the entry point group ``myst_nb.mime_renderers``."""

    mime_priority_overrides = (("*", MIME, 0),)

    @staticmethod
    def handle_mime(renderer, data, inline):
        if data.mime_type != MIME:
            return None
        record = dict(data.content)
        box = nodes.container(classes=["receipt", f"receipt-{record['state']}"], receipt=record)
        lines = [_line(*line) for line in particulars(record)]
        unfolded = record["state"] != "holds" or record["kind"] in ("feedback", "trial")
        if not lines:
            box += _html(f'<p class="receipt-line">{escape(headline(record))}</p>')
        else:
            box += _html(
                f"<details{' open' if unfolded else ''}><summary>{escape(headline(record))}</summary>"
            )
            box += lines
            box += _html("</details>")
        return [box]


def _line(before, tex, after):
    line = nodes.paragraph(classes=["receipt-line"])
    if before:
        line += nodes.Text(before + " ")
    if tex:
        line += nodes.math(tex, tex)
        line += nodes.Text(" ")
    if before == "Rests on":
        line += _references(after)
    else:
        line += nodes.Text(after)
    return line


def _references(labels):
    """Each label as a reference to its equation, where Sphinx is there to resolve it."""
    for i, text in enumerate(labels.split(", ")):
        label, _, rest = text.partition(" ")
        if i:
            yield nodes.Text(", ")
        if addnodes and label.startswith("eq-"):
            reference = addnodes.pending_xref(
                "", refdomain="math", reftype="eq", reftarget=label, refexplicit=False
            )
            reference += nodes.literal("", label)
            yield reference
            yield nodes.Text(f" {label[3:]} {rest}".rstrip())
        else:
            yield nodes.Text(text)


def _html(text):
    return nodes.raw("", text, format="html")
