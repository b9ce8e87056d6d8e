"""One stylesheet, one script and one small font of icons in place of the theme's dozens of files.

Each page keeps what it needs to be read and used: of the stylesheets the rules that can match something,
of the icon font the icons that appear, of the scripts all but what draws icons and tooltips a second
time. The search page alone loads the search files. Everything is made from the theme's own files, at
the end of a build.
"""

import hashlib
import re
import struct
from base64 import b64encode
from html import escape, unescape
from pathlib import Path

from fontTools import subset
from sphinx.util import logging

logger = logging.getLogger(__name__)

SHEET, SCRIPT, ICONS = "site.css", "site.js", "icons.woff2"
ICON_FONT = "vendor/fontawesome/webfonts/fa-solid-900.woff2"

# In the order in which the theme's own template names them, around those that Sphinx lists.
FIRST_SHEETS = ["styles/theme.css", "styles/pydata-sphinx-theme.css"]
LAST_SCRIPTS = ["scripts/pydata-sphinx-theme.js", "book.js"]
# The page does not need: what says where it is to a version switcher, which the book does not have.
PER_PAGE = ("DOCUMENTATION_OPTIONS.",)
# Left in the site by the theme, and asked for by no page.
UNUSED = ["*.map", "*.LICENSE.txt", "*webpack-macros.html", "scripts/fontawesome.js",
          "scripts/bootstrap.js", "vendor", "locales", "images", "sphinx-thebe.*", "plus.png", "minus.png",
          "copybutton_funcs.js", "togglebutton.*", ICONS]  # fmt: skip

# Names of code that are coloured like the rest of it.
PLAIN = re.compile(r'<span class="(?:n|nn|p|w)">([^<]*)</span>')


def heading(match):
    """A heading of a table that is a formula: axe wants letters, and formulas do not count."""
    letters = " ".join(unescape(re.sub(r"<[^>]*>", "", match[2])).split())
    return (
        f'<th class="head">{match[1] or ""}<span aria-hidden="true">{match[2]}</span>'
        f'<span class="visually-hidden">{escape(letters)}</span>'
    )


# What the theme and Sphinx write and axe objects to: names that differ from what one sees, a side
# bar outside every landmark, headings that are empty, and roles that are no longer.
REPAIRS = [
    (r'(<button class="btn search-button-field[^>]*) aria-label="Search"', r"\1"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'<div (id="pst-primary-sidebar" class)', r'<div role="complementary" aria-label="Book" \1'),
    (r'<th class="head">(?:<p></p>)?</th>', "<td></td>"),
    (r'<th class="head">(<p>)?(<span class="math[^>]*><math.*?</math></span>)(?=(?:</p>)?</th>)', heading),
    (r' role="doc-biblioentry"| role="list"(?= class="citation-list")', ""),
    (PLAIN, r"\1"),
]  # fmt: skip

IDENT = r"(?:[\w-]|\\.|[^\x00-\x7f])+"


def collect(app, pagename, templatename, context, doctree):
    """Take the files of a page out of its head, and remember them in their order."""
    sheets, scripts = [*FIRST_SHEETS], []
    kept = []
    for file in context["css_files"]:
        name = str(getattr(file, "filename", file))
        if name.startswith("_static/") and name.removeprefix("_static/") not in sheets:
            sheets.append(name.removeprefix("_static/"))
    for file in context["script_files"]:
        name, body = getattr(file, "filename", None), file.attributes.get("body", "")
        if "mathjax" in str(name or body).lower():
            kept.append(file)  # mathematics typeset in the page has a loader of its own
        elif name:
            scripts.append(str(name).removeprefix("_static/"))
        elif body.startswith(PER_PAGE):
            continue
        elif (body,) not in scripts:
            scripts.append((body,))
    app.diet_sheets, app.diet_scripts = sheets, [*scripts, *LAST_SCRIPTS]
    context["css_files"], context["script_files"] = [], kept
    context["site_sheet"], context["site_script"] = SHEET, SCRIPT


# Stylesheets


def blocks(css):
    """Split a stylesheet into (head, body) pairs; the body of a statement without one is None."""
    start = i = 0
    while i < len(css):
        if css[i] in "\"'":
            i = css.index(css[i], i + 1)
        elif css[i] == ";":
            yield css[start:i].strip(), None
            start = i + 1
        elif css[i] == "{":
            head, depth, j = css[start:i].strip(), 1, i + 1
            while depth:
                if css[j] in "\"'":
                    j = css.index(css[j], j + 1)
                depth += {"{": 1, "}": -1}.get(css[j], 0)
                j += 1
            yield head, css[i + 1 : j - 1].strip()
            start, i = j, j - 1
        i += 1


def read_sheet(static, name):
    """A stylesheet with its imports in place, without comments, its addresses seen from ``_static``."""
    path = static / name
    css = re.sub(r"(?s)/\*.*?\*/", "", path.read_text(encoding="utf-8"))
    folder = path.parent

    def inline(match):
        imported = (folder / match[1]).resolve()
        return read_sheet(static, imported.relative_to(static.resolve()).as_posix())

    def address(match):
        url = match[1].strip("\"'")
        if re.match(r"data:|[a-z]+:|#|/", url):
            return match[0]
        plain, _, rest = url.partition("?")
        target = (folder / plain).resolve()
        return f"url({target.relative_to(static.resolve()).as_posix()}{'?' + rest if rest else ''})"

    css = re.sub(r"@charset [^;]*;", "", css)
    css = re.sub(r"url\(((?:\"[^\"]*\"|'[^']*'|[^)\"'])*)\)", address, css)
    return re.sub(r"""@import ["']([^"']+)["'];""", inline, css)


def split(text, mark=","):
    """Split at a mark outside parentheses, brackets and strings."""
    parts, depth, quote, last = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == mark and not depth:
            parts.append(text[last:i])
            last = i + 1
    return [*parts, text[last:]]


class Purge:
    """Keeps the rules of a stylesheet that can match something on a page."""

    def __init__(self, pages, script):
        self.words, self.tags = set(re.findall(r"[\w-]+", script)), {"html", "body"}
        self.text = script
        for page in pages:
            self.tags.update(t.lower() for t in re.findall(r"<([a-zA-Z][\w-]*)", page))
            self.text += " ".join(re.findall(r'style="([^"]*)"', page)) + "".join(
                re.findall(r"(?s)<style>.*?</style>", page)
            )
            for names in re.findall(r"""(?:class|id)=(?:"([^"]*)"|'([^']*)')""", page):
                self.words.update("".join(names).split())
            self.words.update(re.findall(r'data-[\w-]+="([\w-]+)"', page))
        self.tags |= {
            "details",
            "summary",
            "button",
            "svg",
            "polyline",
            "path",
            "mark",
            "search",
            "mjx-container",
        }

    def matches(self, selector):
        bare = re.sub(r"\[[^\]]*\]", "", selector)
        while (inner := re.sub(r"\([^()]*\)", "", bare)) != bare:
            bare = inner
        for name in re.findall(rf"[.#]({IDENT})", bare):
            if re.sub(r"\\(.)", r"\1", name) not in self.words:
                return False
        if re.search(r":-(?:moz|ms)-|::-(?:moz|ms)-", bare):
            return False
        tags = re.findall(r"(?:^|[\s>+~])([a-zA-Z][\w-]*)", re.sub(rf"::?{IDENT}", "", bare))
        return all(tag.lower() in self.tags for tag in tags)

    def __call__(self, css):
        out = []
        for head, body in blocks(css):
            if body is None:
                out.append(head + ";")
            elif head.startswith(("@media", "@supports", "@container", "@layer")):
                if inside := self(body):
                    out.append(f"{squeeze(head)}{{{inside}}}")
            elif head.startswith("@"):
                out.append(f"{squeeze(head)}{{{squeeze(body)}}}")
            elif body:
                kept = [squeeze(s) for s in split(head) if self.matches(s)]
                if kept:
                    out.append(f"{','.join(kept)}{{{squeeze(body)}}}")
        return "".join(out)


def squeeze(text):
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"\s*([{};,])\s*", r"\1", text).rstrip(";")


VALUE = r"""(?:"[^"]*"|'[^']*'|\([^()]*(?:\([^()]*\)[^()]*)*\)|[^;{}"'()])*"""


def without_variables(css, elsewhere):
    """Leave out the variables that nothing names, and the rules that are then empty."""
    names = set(re.findall(r"var\(\s*(--[\w-]+)", css)) | set(re.findall(r"--[\w-]+", elsewhere))
    declared = rf"(?<=[{{;])(--[\w-]+):{VALUE}(?:;|(?=\}}))"
    css = re.sub(declared, lambda m: m[0] if m[1] in names else "", css)
    return re.sub(r"(?<=\})[^{}@]+\{\}", "", css)


def drop_unused(css, elsewhere):
    """Leave out variables, animations and fonts that nothing names."""
    while (slim := without_variables(css, elsewhere)) != css:
        css = slim
    for name in re.findall(r"@(?:-webkit-)?keyframes ([\w-]+)", css):
        if len(re.findall(rf"(?<![\w-]){re.escape(name)}(?![\w-])", css)) < 2:
            css = re.sub(
                rf"@(?:-webkit-)?keyframes {re.escape(name)}\{{(?:[^{{}}]*\{{[^{{}}]*\}})*[^{{}}]*\}}",
                "",
                css,
            )
    return css


def own_icons(css):
    """Let the one icon font that the book uses be the small one; drop the others."""

    def face(match):
        body = match[1]
        if "fontawesome" not in body and "Font Awesome" not in body and "FontAwesome" not in body:
            return match[0]
        if "fa-solid" in body and "Font Awesome" in body and "v4" not in body and "5" not in body:
            body = re.sub(r"src:.*", f'src:url({ICONS}) format("woff2")', body)
            return f"@font-face{{{body}}}"
        return ""

    return re.sub(r"@font-face\{([^{}]*)\}", face, css)


def cut_icons(static, css):
    """Cut the icon font down to the icons that the stylesheet shows."""
    shown = {int(code, 16) for code in re.findall(r"[\"']\\([0-9a-fA-F]{2,5})[\"']", css)}
    shown |= {ord(char) for char in re.findall(r"[\"'](.)[\"']", css)}
    options = subset.Options(flavor="woff2", hinting=False, layout_features=[], name_IDs=[0, 1, 2, 13])
    font = subset.load_font(str(static / ICON_FONT), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=shown)
    subsetter.subset(font)
    subset.save_font(font, str(static / ICONS), options)


def with_fonts(static, css):
    """Put the fonts into the stylesheet, so that nothing moves when they come, from a file neither."""

    def data(match):
        font = b64encode((static / match[1]).read_bytes()).decode()
        return f'url("data:font/woff2;base64,{font}")'

    return re.sub(r"url\((?!data:)([^()\"']+\.woff2)\)", data, css)


# Scripts


def join_scripts(static, names):
    parts = []
    for name in names:
        if isinstance(name, tuple):
            parts.append(name[0])
        elif (static / name).exists():
            text = (static / name).read_text(encoding="utf-8")
            parts.append(re.sub(r"(?m)^//# sourceMappingURL=.*$", "", text).strip())
        else:
            logger.warning("no script %s to put into %s", name, SCRIPT, type="site", subtype="diet")
    seen, once = set(), []
    for part in parts:
        if part not in seen:
            once.append(part)
        seen.add(part)
    return "\n;\n".join(once) + "\n"


# Pictures


def picture_size(path):
    """Width and height in the pixels of a page; None if the file does not say."""
    if path.suffix == ".png":
        return struct.unpack(">II", path.read_bytes()[16:24])
    size = r'<svg [^>]*?width="([\d.]+)pt" height="([\d.]+)pt"'
    found = re.search(size, path.read_text(encoding="utf-8")) if path.suffix == ".svg" else None
    return [float(n) * 96 / 72 for n in found.groups()] if found else None


def with_sizes(page, folder):
    """Give each picture its size, so that its place is kept; all but the first come when needed."""
    count = 0

    def sized(match):
        nonlocal count
        count += 1
        tag, source = match[0], re.search(r'src="([^"]+)"', match[0])
        path = folder / source[1]
        if " width=" not in tag and path.is_file() and (size := picture_size(path)):
            tag = tag.replace("<img", '<img width="{:.0f}" height="{:.0f}"'.format(*size), 1)
        if count > 1 and " loading=" not in tag:
            tag = tag.replace("<img", '<img loading="lazy"', 1)
        return tag

    return re.sub(r"<img [^>]*>", sized, page)


def slim(app, exception):
    """Write the stylesheet, the script and the icons; let every page ask for these versions."""
    if exception or app.builder.format != "html" or not hasattr(app, "diet_sheets"):
        return
    top = Path(app.outdir)
    static = top / "_static"
    paths = [p for p in top.rglob("*.html") if "_static" not in p.relative_to(top).parts]
    pages = {path: path.read_text(encoding="utf-8") for path in paths}
    search = "".join((static / n).read_text(encoding="utf-8") for n in ["searchtools.js"])
    script = join_scripts(static, app.diet_scripts)
    css = "".join(read_sheet(static, name) for name in app.diet_sheets)
    css = own_icons(Purge(pages.values(), script + search)(css))
    styles = re.findall(r'style="[^"]*"', unescape("".join(pages.values())))
    later = (path.read_text(encoding="utf-8") for path in static.glob("live/*.css"))  # for pages that run
    css = drop_unused(css, "".join([script, *styles, *later]))
    cut_icons(static, css)
    css = with_fonts(static, css)
    (static / SHEET).write_text(css, encoding="utf-8")
    (static / SCRIPT).write_text(script, encoding="utf-8")
    versions = {n: hashlib.sha256((static / n).read_bytes()).hexdigest()[:10] for n in (SHEET, SCRIPT)}
    for path, page in pages.items():
        new = re.sub(
            rf"_static/({SHEET}|{SCRIPT})(?:\?v=\w*)?(?=\")",
            lambda m: f"_static/{m[1]}?v={versions[m[1]]}",
            page,
        )
        for pattern, better in REPAIRS:
            new = re.sub(pattern, better, new)
        new = with_sizes(new, path.parent)
        if path.name == "search.html":
            new = re.sub(r'<script src="', '<script defer src="', new)
        if new != page:
            path.write_text(new, encoding="utf-8")
    remove_unused(static, [*app.diet_sheets, *app.diet_scripts])


def remove_unused(static, joined):
    """Take out of the site what no page asks for."""
    from shutil import rmtree

    for name in joined:
        if isinstance(name, str):
            (static / name).unlink(missing_ok=True)
    (static / "basic.css").unlink(missing_ok=True)
    for pattern in UNUSED:
        for path in list(static.rglob(pattern)):
            rmtree(path) if path.is_dir() else path.unlink()
    for folder in ("scripts", "styles"):
        if (static / folder).is_dir() and not any((static / folder).iterdir()):
            (static / folder).rmdir()


def setup(app):
    app.connect("html-page-context", collect, priority=990)
    app.connect("build-finished", slim, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
