"""The face of the text: STIX Two Text, which was drawn with the mathematics beside it.

Its files come from npm, as the font of the formulas does. Without them the reader's own serif is shown.
"""

from pathlib import Path

from mathml import MODULES

FILES = MODULES / "@fontsource" / "stix-two-text" / "files"
FACES = [("normal", 400), ("italic", 400), ("normal", 700)]  # what the pages show
RULE = """@font-face {{
  font-family: "Book Text"; font-style: {style}; font-weight: {weight}; font-display: block;
  src: url("{name}") format("woff2");
}}
"""


def begin(app):
    static = Path(app.outdir, "_static")
    static.mkdir(parents=True, exist_ok=True)
    rules = ""
    for style, weight in FACES:
        font = FILES / f"stix-two-text-latin-{weight}-{style}.woff2"
        if font.is_file():
            (static / font.name).write_bytes(font.read_bytes())
            rules += RULE.format(style=style, weight=weight, name=font.name)
    (static / "typeface.css").write_text(rules)


def setup(app):
    app.add_css_file("typeface.css")
    app.connect("builder-inited", begin)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
