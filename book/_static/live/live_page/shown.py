"""What a cell shows: the forms of a value, and figures."""

import io
import pprint
import sys
from base64 import b64encode

from live_page.tell import out, tell

RECEIPT = "application/vnd.checked-receipt+json"
WIDTH = 80


def display(*values, raw=False, **_):
    for value in values:
        show(value if raw else bundle(value))


def show(content):
    """Send one output, in the richest form that the page can draw."""
    out.pass_on()
    if content is None:
        return
    if RECEIPT in content:
        from receipts.receipt import headline, particulars

        record = content[RECEIPT]
        tell(
            "receipt", record=record, headline=headline(record), lines=[list(x) for x in particulars(record)]
        )
        return
    for kind in ("text/html", "image/svg+xml", "image/png", "text/latex", "text/plain"):
        if content.get(kind) is not None:
            data = content[kind]
            tell("show", type=kind, data=b64encode(data).decode() if isinstance(data, bytes) else data)
            return


def bundle(value):
    """The forms that a value has, by the names of their types; None if it has shown itself."""
    if hasattr(value, "_ipython_display_"):
        value._ipython_display_()
        return None
    if is_figure(value):
        return {"image/png": picture(value)}
    content = {"text/plain": plain(value)}
    methods = {"_repr_html_": "text/html", "_repr_svg_": "image/svg+xml", "_repr_png_": "image/png",
               "_repr_latex_": "text/latex"}  # fmt: skip
    for method, kind in methods.items():
        found = None if isinstance(value, type) else getattr(value, method, None)
        if callable(found) and (data := found()) is not None:
            content[kind] = data
    if callable(found := getattr(value, "_repr_mimebundle_", None)) and not isinstance(value, type):
        more = found()
        content |= more[0] if isinstance(more, tuple) else more
    return content


def plain(value):
    text = repr(value)
    if len(text) <= WIDTH or "\n" in text:
        return text
    return pprint.pformat(value, width=WIDTH, sort_dicts=False)


def is_figure(value):
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and isinstance(value, figure.Figure)


def picture(figure):
    """A PNG of twice the usual resolution, with its width on the page in front: ``width:base64``."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=2 * figure.dpi, bbox_inches="tight")
    data = file.getvalue()
    return f"{int.from_bytes(data[16:20], 'big') // 2}:{b64encode(data).decode()}"


def show_figures(*_, **__):
    plt = sys.modules.get("matplotlib.pyplot")
    if plt is None:
        return
    for number in plt.get_fignums():
        show({"image/png": picture(plt.figure(number))})
    plt.close("all")
