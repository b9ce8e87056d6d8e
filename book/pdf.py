"""Print the built book into one PDF with working links: ``make pdf``.

All pages, in the order of the contents, become one long page; a Chromium prints it. Links inside the
book lead to places inside the PDF, and the headings are its outline.
"""

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import yaml
from bs4 import BeautifulSoup
from tools import chromium

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
TARGET = ROOT / "_build" / "the-checked-adjoint.pdf"

HERE = "book"  # as if it were the host: to tell the links inside the book from the others

STYLE = """
@page { size: A4; margin: 20mm 18mm 22mm; @bottom-center { content: counter(page); font: 9pt serif; } }
@page :first { @bottom-center { content: none; } }
html { font-size: 13.5px; }
body { display: block !important; }
section.page { break-before: page; }
section.page:first-of-type { break-before: auto; }
.bd-article { padding: 0 !important; }
.bd-article :is(p, ul, ol, dl, blockquote, div.math, div.admonition, details) { max-width: none; }
h1, h2, h3, summary { break-after: avoid; }
div.math, figure, img, .admonition-title { break-inside: avoid; }
.headerlink, .copybtn, .ways-in, details.hide > summary { display: none !important; }
[id$="--four-ways-in"] { display: none; }
.print-contents { columns: 2; list-style: none; padding: 0; margin: 0 12mm; }
h2:has(+ .print-contents) { break-before: page; margin: 0 12mm 6mm; }
.print-contents .part { font-weight: 600; margin-top: 0.6em; break-after: avoid; }
pre { white-space: pre-wrap; }
"""


def pages():
    """Each page of the contents: its part, and its address in the site."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    yield "", "index.html"
    for part in contents["parts"]:
        for chapter in part["chapters"]:
            yield part["caption"], f"{chapter['file']}.html"


def name(address, place=""):
    """The id of a place of a page in the one long page."""
    return re.sub(r"\W+", "-", address.removesuffix(".html")) + (f"--{place}" if place else "")


def article(address, known):
    """The text of a page, with ids and links of the long page."""
    html = BeautifulSoup((SITE / address).read_text(encoding="utf-8"), "html.parser")
    text = html.find("article")
    for element in text.find_all(True):
        for key in ("id", "aria-labelledby", "for"):
            if element.get(key):
                element[key] = " ".join(name(address, place) for place in element[key].split())
        for key in ("marker-end", "marker-start"):
            if element.get(key):
                element[key] = re.sub(r"url\(#(.+)\)", lambda m: f"url(#{name(address, m[1])})", element[key])
    for image in text.find_all("img"):
        image["src"] = (SITE / urlsplit(urljoin(f"/{address}", image["src"])).path.lstrip("/")).as_uri()
        del image["loading"]
    for link in text.find_all("a", href=True):
        target = urlsplit(urljoin(f"http://{HERE}/{address}", link["href"]))
        page = unquote(target.path).lstrip("/")
        if target.netloc == HERE and page in known:
            link["href"] = f"#{name(page, target.fragment)}"
        elif target.netloc == HERE:
            del link["href"]  # a file of the site
    for box in text.find_all("details"):
        if not box.find_parent(class_="receipt") and not box.find_parent("table"):
            box["open"] = ""  # what was refused stays folded: the site has the lists
    title = html.find("h1").get_text().rstrip("#")
    return title, f'<section class="page" id="{name(address)}">{text}</section>'


def long_page():
    known = {address for _, address in pages()}
    parts, lines, last = [], [], ""
    for part, address in pages():
        title, text = article(address, known)
        parts.append(text)
        if part and part != last:
            lines.append(f'<li class="part">{part}</li>')
        if part:
            lines.append(f'<li><a href="#{name(address)}">{title}</a></li>')
        last = part
    contents = f'<h2>Contents</h2><ul class="print-contents">{"".join(lines)}</ul>'
    parts[0] = parts[0].replace("</article>", contents + "</article>")
    return (
        '<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        "<title>The Checked Adjoint</title>"
        f'<link rel="stylesheet" href="{(SITE / "_static" / "site.css").as_uri()}">'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def main():
    if not (SITE / "index.html").exists():
        sys.exit("There is no built book yet: run `make book` first.")
    browser = chromium()
    if not browser:
        sys.exit("A Chromium prints the book: install one, or name it: CHROMIUM=/path/to/chrome")
    from playwright.sync_api import sync_playwright

    source = TARGET.with_suffix(".html")
    source.write_text(long_page(), encoding="utf-8")
    with sync_playwright() as engine:
        chrome = engine.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chrome.new_page()
        page.set_default_timeout(300_000)
        page.goto(source.as_uri(), wait_until="load")
        page.evaluate("document.fonts.ready")
        page.pdf(path=str(TARGET), prefer_css_page_size=True, print_background=True, outline=True)
        chrome.close()
    print(f"The book is printed ({TARGET.stat().st_size / 1e6:.1f} MB): {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
