"""What the site needs beyond Jupyter Book and its theme.

* The landing page is ``index.html`` itself, although its source is ``book/index.md``.
* Pages that people link to have a short address, such as ``/dt0.html``, that stays.
* Every page has a description, and a warning says which chapter lacks one.
* Hints and solutions fold without a script.
* The solver's docstrings link to the equations that they name.
* Nothing on a page is loaded from elsewhere, or twice.
"""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.util import logging

logger = logging.getLogger(__name__)

# Pages that Sphinx makes by itself.
DESCRIPTIONS = {"search": "Search The Checked Adjoint for a word or a symbol."}

# Given by sphinx-exercise and sphinx-proof to the content of each box.
REPEATED_IDS = {"exercise-content", "solution-content", "proof-content"}

SIGNPOST = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="description" content="A short address of a page of this book.">
<meta http-equiv="refresh" content="0; url={target}">
<title>{title}</title>
<link rel="icon" href="{up}_static/favicon.svg">
</head>
<body><main role="main"><h1>{title}</h1>
<p>Gradients of neural ODEs, derived by hand and verified by machine.
<a href="{target}">The page is here.</a></p></main></body>
</html>
"""


class BookBuilder(StandaloneHTMLBuilder):
    """The HTML builder, with the landing page at the root of the site."""

    def get_target_uri(self, docname, typ=None):
        if docname == self.config.root_doc:
            return "index" + self.link_suffix
        return super().get_target_uri(docname, typ)

    def get_outfilename(self, pagename):
        if pagename == self.config.root_doc:
            pagename = "index"
        return super().get_outfilename(pagename)


def show_repository_buttons(app, config):
    """Offer the button of the repository once `_config.yml` names one."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options["use_repository_button"] = True


def require_description(app, doctree):
    """Warn about a page without a description in its front matter."""
    described = any(node.get("name") == "description" for node in doctree.findall(nodes.meta))
    if not described:
        logger.warning(
            "no description: add `myst: {html_meta: {description: ...}}` to the front matter",
            location=app.env.docname,
            type="site",
            subtype="description",
        )


def require_alternative_text(app, doctree):
    """Warn about a picture that does not say what it shows."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            logger.warning(
                "image %s without alternative text", image["uri"], location=image,
                type="site", subtype="alt",
            )  # fmt: skip


def link_equations(app, what, name, obj, options, lines):
    """Let a docstring's `eq-name` lead to the equation; one that is not there is a warning."""
    lines[:] = [re.sub(r"(?<!`)`(eq-[a-z0-9-]+)`(?!`)", r":eq:`\1`", line) for line in lines]


def drop_repeated_ids(app, doctree, docname):
    """Take the id from the inside of exercises, which is the same in each of them."""
    for section in doctree.findall(nodes.section):
        section["ids"] = [i for i in section["ids"] if i not in REPEATED_IDS]


FOLDED = re.compile(
    r'<div class="([^"]*\bdropdown\b[^"]*\badmonition\b[^"]*)"([^>]*)>\s*'
    r'<p class="admonition-title">(.*?)</p>',
    re.S,
)


def fold(body):
    """Let a box of the class ``dropdown`` be a ``<details>``, which needs no script and does not jump."""
    done, rest = "", body
    while match := FOLDED.search(rest):
        classes, others, title = match.groups()
        depth, end = 1, match.end()
        while depth:
            tag = re.compile(r"<div\b|</div>").search(rest, end)
            depth, end = depth + (1 if tag[0] != "</div>" else -1), tag.end()
        inside = rest[match.end() : end - len("</div>")]
        done += rest[: match.start()]
        rest = (
            f'<details class="{classes}"{others}><summary class="admonition-title">{title}</summary>'
            f"{inside}</details>{rest[end:]}"
        )
    return done + rest


def prepare_page(app, pagename, templatename, context, doctree):
    """Describe the generated pages; drop what the book does not use."""
    if pagename in DESCRIPTIONS:
        description = escape(DESCRIPTIONS[pagename], quote=True)
        context["metatags"] = f'<meta name="description" content="{description}">'
    # Both Sphinx and docutils write it.
    context["metatags"] = re.sub(r'<meta[^>]*name="viewport"[^>]*>\s*', "", context.get("metatags") or "")

    context["body"] = fold(context.get("body") or "")
    for button in context.get("header_buttons", []):
        if button.get("icon", "").startswith("fab "):
            button["icon"] = "fas fa-code-branch"  # the pages carry one font of icons, without brands

    # sphinx-thebe declares its address on every page, twice, which is an error in the browser;
    # sphinx-togglebutton folds what is folded already.
    def unwanted(file):
        named = str(getattr(file, "filename", file)) + str(getattr(file, "attributes", {}).get("body", ""))
        return "thebe" in named.lower() or "toggle" in named.lower()

    for key in ("script_files", "css_files"):
        context[key] = [file for file in context[key] if not unwanted(file)]


def tidy_site(app, exception):
    """Put up the signposts; remove pages of deleted chapters."""
    if exception or app.builder.format != "html":
        return
    top, root = Path(app.outdir), app.config.root_doc
    title = escape(app.config.html_title)
    signposts = {root: "index.html"}  # where the source lies, and where the page is
    for short, page in app.config.book_short_addresses.items():
        if page in app.env.all_docs:
            signposts[short] = app.builder.get_target_uri(page)
    for address, target in signposts.items():
        up, path = "../" * address.count("/"), top / f"{address}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SIGNPOST.format(up=up, target=up + target, title=title))
    for path in (top / root).parent.rglob("*.html"):
        if path.relative_to(top).with_suffix("").as_posix() not in app.env.all_docs:
            path.unlink()


def setup(app):
    app.add_builder(BookBuilder, override=True)
    app.add_config_value("book_short_addresses", {}, "html")
    app.connect("config-inited", show_repository_buttons)
    app.connect("doctree-read", require_description)
    app.connect("doctree-read", require_alternative_text)
    app.connect("autodoc-process-docstring", link_equations)
    app.connect("doctree-resolved", drop_repeated_ids)
    app.connect("html-page-context", prepare_page, priority=900)
    app.connect("build-finished", tidy_site)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
