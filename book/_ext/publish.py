"""What a published site needs: an address for each page, a card, data for machines, a way to answer.

The addresses are those of ``_config.yml``: ``html: baseurl`` for the site, ``repository: url`` for the
repository. What needs one of them is left out while it is empty.
"""

import json
import re
from html import escape, unescape
from pathlib import Path
from urllib.parse import urlencode, urljoin

CARD = "_static/social-card.png"
CARD_ALT = "A curve runs forward in time; arrows along it run back from the loss at its end."
SUMMARY = "Gradients of neural ODEs, derived by hand and verified by machine."
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
ARCHIVE = "the-checked-adjoint.zip"


def describe(app, pagename, templatename, context, doctree):
    """The tags and the links of a page that depend on where the book lives."""
    site, config = app.config.html_baseurl, app.config
    context["archive"] = context["pathto"](ARCHIVE, 1) if pagename == config.root_doc else ""
    context["report_url"] = report_address(config.html_theme_options.get("repository_url", ""), context)
    address = urljoin(site, app.builder.get_target_uri(pagename)) if site else ""
    if pagename not in app.env.all_docs:
        return
    title = app.env.titles[pagename].astext()
    context["pageurl"] = address.removesuffix("index.html") if pagename == config.root_doc else address
    own = re.search(r'content="([^"]*)" name="description"', context.get("metatags") or "")
    tags = {
        "og:type": "book" if pagename == config.root_doc else "article",
        "og:site_name": config.html_title,
        "og:title": title,
        "og:description": unescape(own[1]) if own else SUMMARY,
    }
    if site:
        tags |= {"og:url": context["pageurl"], "og:image": urljoin(site, CARD), "og:image:alt": CARD_ALT}
    lines = [f'<meta property="{k}" content="{escape(v, quote=True)}">' for k, v in tags.items()]
    lines.append(f'<meta name="twitter:card" content="{"summary_large_image" if site else "summary"}">')
    data = json.dumps(structured(app, pagename, title, context["pageurl"]), ensure_ascii=False)
    data = data.replace("</", "<\\/")  # nothing in it may end the script
    lines.append(f'<script type="application/ld+json">{data}</script>')
    context["metatags"] = (context.get("metatags") or "") + "\n" + "\n".join(lines)


def structured(app, pagename, title, address):
    """The page in the words of schema.org: the book, or a chapter of it."""
    config = app.config
    book = {
        "@type": "Book",
        "name": config.html_title,
        "description": SUMMARY,
        "inLanguage": "en",
        "author": {"@type": "Organization", "name": config.author},
        "license": LICENCE,
        "genre": "Textbook",
        "about": ["adjoint method", "neural ordinary differential equations", "automatic differentiation"],
    }
    if config.html_baseurl:
        book["url"] = config.html_baseurl
    if pagename == config.root_doc:
        return {"@context": "https://schema.org", **book}
    chapter = {"@context": "https://schema.org", "@type": "Chapter", "name": title, "isPartOf": book}
    return chapter | ({"url": address} if address else {})


def report_address(repository, context):
    """Where to report an error of this page: the form of the repository, with the page filled in."""
    if not repository:
        return ""
    page = f"{context['pagename']}.html"
    filled = urlencode({"template": "error.yml", "title": f"Error on {page}", "page": page})
    return f"{repository.rstrip('/')}/issues/new?{filled}"


def write(app, exception):
    """The list of pages for search engines, once the site has an address."""
    site = app.config.html_baseurl
    if exception or app.builder.format != "html":
        return
    top = Path(app.outdir)
    lines = ["User-agent: *", "Allow: /"]
    if site:
        addresses = [urljoin(site, app.builder.get_target_uri(page)) for page in sorted(app.env.all_docs)]
        urls = "".join(f"<url><loc>{escape(a.removesuffix('index.html'))}</loc></url>" for a in addresses)
        (top / "sitemap.xml").write_text(
            '<?xml version="1.0" encoding="utf-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>\n'
        )
        lines.append(f"Sitemap: {urljoin(site, 'sitemap.xml')}")
    (top / "robots.txt").write_text("\n".join(lines) + "\n")
    (top / ".nojekyll").touch()  # GitHub Pages would leave out _static


def setup(app):
    app.connect("html-page-context", describe, priority=950)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
