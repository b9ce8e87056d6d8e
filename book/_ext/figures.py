"""All figures of the book in one file, for slides: each as SVG and as PNG, with a page that shows them.

A figure is called after its page and its place there: ``adjoint-equation/time-gradients-2.svg``. The page,
``index.html``, says of each what it shows, how to credit it and where it comes from. A figure that one
can move stands in its first state, as SVG alone.
"""

import re
import zipfile
from html import escape, unescape
from pathlib import Path
from urllib.parse import urljoin

from docutils import nodes

ARCHIVE = "the-checked-adjoint-figures.zip"
FOLDER = "the-checked-adjoint-figures"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
SVG = "image/svg+xml"
ENDS = {SVG: "svg", "image/png": "png"}

# A figure that one can move has its page's letters, colours and ground; alone, it has these.
INK = "#1f2328"
PAPER = (
    f"<style>text{{font:11px Helvetica,Arial,sans-serif;fill:{INK}}}</style>"
    '<rect width="100%" height="100%" fill="#fff"/>'
)

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Figures of The Checked Adjoint</title>
<style>
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
figure {{ margin: 0 0 2.5rem; }}
img {{ display: block; max-width: 100%; height: auto; background: #fff; }}
figcaption {{ margin-top: .5rem; }}
</style>
</head>
<body>
<h1>Figures of <cite>The Checked Adjoint</cite></h1>
<p>{count} figures. Use them, change them, and name where they come from: they are under
<a href="{licence}">CC BY 4.0</a>, and below each is a line that does it. Each is there as SVG, sharp at
every size, and as PNG, for programs that take no SVG. The figures that move on their pages are here as
they begin, as SVG alone.</p>
{body}
</body>
</html>
"""


# For each figure: what it shows, to read aloud or to copy, and the line that credits it.
ENTRY = """<figure>
<img src="{name}.svg" alt="" loading="lazy">
<figcaption><p>{shows}</p>
<p>{credit}</p>
<p>{files}</p></figcaption>
</figure>"""


def at_rest(html):
    """A figure that one can move, in its first state, as an SVG of its own; None if it is another."""
    found = re.search(r'<figure class="movable">(<svg.*?</svg>)<label', html, re.S)
    if found is None:
        return None
    svg = re.sub(r' (?:data-\w+|on\w+)="[^"]*"', "", found[1])
    svg = re.sub(r"<style>.*?</style>", PAPER, svg, flags=re.S)
    svg = re.sub(r"var\(--[\w-]+,([^()]*)\)", r"\1", svg).replace("currentColor", INK)
    width, height = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups()
    size = f'xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    return svg.replace("<svg", f"<svg {size}", 1)


def drawings(doctree, folder):
    """The figures of a page in their order: what each shows, and its files by their kind."""
    for output in doctree.findall(nodes.container):
        if output.get("nb_element") != "mime_bundle":
            continue
        kinds = {child.get("mime_type"): child for child in output.children}
        if SVG in kinds:
            images = {
                end: next(kinds[kind].findall(nodes.image)) for kind, end in ENDS.items() if kind in kinds
            }
            yield images["svg"]["alt"], {e: Path(folder, i["uri"]).read_bytes() for e, i in images.items()}
        elif "text/html" in kinds and (svg := at_rest(kinds["text/html"].astext())):
            yield unescape(re.search(r'aria-label="([^"]*)"', svg)[1]), {"svg": svg.encode()}


def signed(svg, shows, credit):
    """The SVG with what it shows and its credit inside, where they go with it."""
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg.decode(), flags=re.S)
    words = f"<desc>{escape(f'{shows} {credit}')}</desc>"
    return re.sub(r"<svg [^>]*>", lambda tag: tag[0] + words, svg, count=1)


def chapters(env):
    """The pages in the order of the contents."""
    todo = [env.config.root_doc]
    while todo:
        page = todo.pop(0)
        yield page
        todo = env.toctree_includes.get(page, []) + todo


def credit_of(app, page):
    """The line that credits the figures of a page; with its address, where the site has one."""
    config, site = app.config, app.config.html_baseurl
    where = [urljoin(site, app.builder.get_target_uri(page))] if site else []
    return ", ".join(
        [config.author, config.html_title, f"“{app.env.titles[page].astext()}”", *where, "CC BY 4.0"]
    )


def write(app, exception):
    """Write the file at the end of a build."""
    if exception or app.builder.format != "html":
        return
    body, count = [], 0
    with zipfile.ZipFile(Path(app.outdir, ARCHIVE), "w", zipfile.ZIP_DEFLATED) as archive:
        for page in chapters(app.env):
            credit = credit_of(app, page)
            for number, (shows, files) in enumerate(drawings(app.env.get_doctree(page), app.srcdir), 1):
                if number == 1:
                    body.append(f"<h2>{escape(app.env.titles[page].astext())}</h2>")
                name, count = f"{page.removeprefix('book/')}-{number}", count + 1
                files["svg"] = signed(files["svg"], shows, credit)
                for end, content in files.items():
                    archive.writestr(f"{FOLDER}/{name}.{end}", content)
                links = ", ".join(f'<a href="{name}.{end}">{name}.{end}</a>' for end in files)
                body.append(ENTRY.format(name=name, shows=escape(shows), credit=escape(credit), files=links))
        listed = PAGE.format(count=count, licence=LICENCE, body="\n".join(body))
        archive.writestr(f"{FOLDER}/index.html", listed)


def setup(app):
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
