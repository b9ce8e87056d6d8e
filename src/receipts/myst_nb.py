"""Receipts on the pages of a book: a MyST-NB renderer for the data in a cell's output.

It makes ordinary docutils nodes, so formulas are typeset like those of the text, and leaves the
record on its node, where a Sphinx extension can gather it.
"""

from html import escape

from docutils import nodes

from receipts.receipt import MIME, headline, particulars


class ReceiptRenderer:
    """Registered under the entry point group ``myst_nb.mime_renderers``."""

    mime_priority_overrides = [("*", MIME, 0)]

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
            box += _html(f"<details{' open' if unfolded else ''}><summary>{escape(headline(record))}</summary>")
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
    line += nodes.Text(after)
    return line


def _html(text):
    return nodes.raw("", text, format="html")
