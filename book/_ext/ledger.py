"""Badges beside the equations, the ledger page, the derivation maps and ``ledger.json``.

Sphinx's math domain knows every labelled equation; the receipts stand in the pages as nodes. This
extension brings the two together, warns about what does not fit (a warning fails the build), and
shows the result.
"""

import re
from html import escape
from pathlib import Path
from typing import ClassVar

from derivation_map import nested_list, svg
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from receipts.ledger import dump, entry, problems, read_lock
from receipts.receipt import OUTCOME

LEDGER_PAGE = "book/appendix/ledger"
LOCK = "book/receipts.lock"
PREFIX = "eq-"
logger = logging.getLogger(__name__)


class Collector(EnvironmentCollector):
    """Gathers equations and receipts page by page, so that a cached page keeps its own."""

    def clear_doc(self, app, env, docname):
        _pages(env).pop(docname, None)

    def merge_other(self, app, env, docnames, other):
        _pages(env).update({d: _pages(other)[d] for d in docnames if d in _pages(other)})

    def process_doc(self, app, doctree):
        page = app.env.docname
        equations = [
            {"label": m["label"], "tex": m.astext(), "page": page}
            for m in doctree.findall(nodes.math_block)
            if (m.get("label") or "").startswith(PREFIX)
        ]
        records = [dict(n["receipt"], page=page) for n in doctree.findall(_is_receipt)]
        records = [r for r in records if r["label"] and r["kind"] not in ("feedback", "trial")]
        _pages(app.env)[page] = (equations, records)


def _is_receipt(node):
    return isinstance(node, nodes.container) and node.get("receipt") is not None


def _pages(env):
    if not hasattr(env, "ledger_pages"):
        env.ledger_pages = {}
    return env.ledger_pages


def gather(env):
    """(equations with their numbers, records), in the order of the book."""
    order = list(_toc_order(env, env.config.root_doc))
    docs = sorted(_pages(env), key=lambda d: order.index(d) if d in order else len(order))
    equations = [e for d in docs for e in _pages(env)[d][0]]
    for e in equations:
        number = env.toc_fignumbers.get(e["page"], {}).get("displaymath", {}).get("equation-" + e["label"])
        e["number"] = ".".join(map(str, number)) if number else ""
    return equations, [r for d in docs for r in _pages(env)[d][1]]


def _toc_order(env, docname):
    yield docname
    for child in env.toctree_includes.get(docname, ()):
        yield from _toc_order(env, child)


def review(app, env):
    """After all pages are read: keep the data for `make match`, and say what does not fit."""
    equations, records = gather(env)
    dump(Path(app.outdir).parent / "receipts.json", {"equations": equations, "records": records})
    for page, label, text in problems(equations, records, read_lock(Path(app.srcdir) / LOCK)):
        logger.warning("%s %s", label, text, location=page, type="ledger")
    return [page for page in (LEDGER_PAGE, env.config.root_doc) if page in env.all_docs]


def write(app, exception):
    if exception is None and app.builder.format == "html":
        equations, records = gather(app.env)
        by_label = {r["label"]: r for r in records}
        rows = [entry(e, by_label[e["label"]]) for e in equations if e["label"] in by_label]
        dump(Path(app.outdir) / "ledger.json", rows)


def status(record):
    """(symbol, word) for a badge; a word first, never a colour alone."""
    if record is None:
        return "\u2717", "no receipt"
    if record["state"] != "holds":
        return "\u2717", record["state"]
    return {"definition": ("\u225d", "definition"), "given": ("\u2020", "cited")}.get(
        record["kind"], ("\u2713", "checked")
    )


class Badges(SphinxPostTransform):
    """A small link from each labelled equation to its row of the ledger."""

    default_priority = 300
    formats = ("html",)

    def run(self, **kwargs):
        page = self.env.docname
        _, records = _pages(self.env).get(page, ((), ()))
        by_label = {r["label"]: r for r in records}
        uri = self.app.builder.get_relative_uri(page, LEDGER_PAGE) if LEDGER_PAGE in self.env.all_docs else ""
        for block in list(self.document.findall(nodes.math_block)):
            label = block.get("label") or ""
            if label.startswith(PREFIX):
                block.parent.insert(block.parent.index(block) + 1, _badge(label, by_label.get(label), uri))


def _badge(label, record, uri):
    symbol, word = status(record)
    detail = f"{record['refused']} wrong versions refused" if record and record["refused"] else word
    return nodes.raw(
        "",
        (
            f'<p class="eq-badge eq-badge-{escape(word.replace(" ", "-"))}">'
            f'<a href="{escape(uri)}#row-{label}" title="{escape(detail)}; see the ledger">'
            f'<span aria-hidden="true">{symbol}</span> {word}</a></p>'
        ),
        format="html",
    )


class LedgerTable(nodes.General, nodes.Element):
    """Stands for the ledger, or for its numbers alone, until all receipts are known."""


class LedgerDirective(SphinxDirective):
    option_spec: ClassVar = {"in-numbers": directives.flag}

    def run(self):
        return [LedgerTable(short="in-numbers" in self.options)]


class FillLedger(SphinxPostTransform):
    default_priority = 310
    formats = ("html",)

    def run(self, **kwargs):
        for place in list(self.document.findall(LedgerTable)):
            equations, records = gather(self.env)
            by_label = {r["label"]: r for r in records}
            known = [(e, by_label[e["label"]]) for e in equations if e["label"] in by_label]
            text = _in_numbers(known) if place["short"] else self.render(known)
            place.replace_self(nodes.raw("", text, format="html"))

    def render(self, known):
        graph = {e["label"]: [p["label"] for p in r["premises"]] for e, r in known}
        info = {
            e["label"]: {
                "number": e["number"],
                "kind": r["kind"],
                "holds": r["state"] == "holds",
                "uri": self.app.builder.get_relative_uri(self.env.docname, e["page"])
                + "#equation-"
                + e["label"],
            }
            for e, r in known
        }
        chapters = {
            p: [e["label"] for e, _ in known if e["page"] == p]
            for p in dict.fromkeys(e["page"] for e, _ in known)
        }
        titles = {p: self.env.titles[p].astext() for p in chapters}
        parts = [
            _totals(known),
            "<h2 id='map-of-all'>The map of all</h2>",
            _map(graph, info, "all chapters", [(titles[p], chapters[p]) for p in chapters]),
        ]
        for page, labels in chapters.items():
            elsewhere = list(
                dict.fromkeys(p for x in labels for p in graph[x] if p in info and p not in labels)
            )
            bands = [("from other chapters", elsewhere)] * bool(elsewhere) + [("", labels)]
            own = [(e, r) for e, r in known if e["page"] == page]
            parts += [
                f"<h2 id='{page.split('/')[-1]}'>{escape(titles[page])}</h2>",
                _map(graph, info, titles[page], bands),
                _table(own, info),
            ]
        return "\n".join(parts)


def _in_numbers(known):
    checked = sum(r["kind"] not in ("definition", "given") for _, r in known)
    rows = [
        (len(known), "numbered equations"),
        (checked, "checked by machine beside their text"),
        (sum(r["refused"] for _, r in known), "wrong versions of them refused"),
        (len({e["page"] for e, _ in known}), "chapters that you can run"),
    ]
    return "<ul class='in-numbers'>" + "".join(f"<li><b>{n:,}</b> {what}</li>" for n, what in rows) + "</ul>"


def _totals(known):
    checked = [r for _, r in known if r["kind"] not in ("definition", "given")]
    refused = sum(r["refused"] for _, r in known)
    return (
        f"<p class='ledger-totals'><b>{len(known)}</b> equations: <b>{len(checked)}</b> checked, "
        f"{len(known) - len(checked)} definitions and cited theorems; <b>{refused}</b> wrong versions "
        "refused. The data of this page: <a href='../../ledger.json'>ledger.json</a>.</p>"
    )


def _map(graph, info, title, bands):
    own = [x for _, labels in bands[-1:] for x in labels] if bands[-1][0] == "" else list(graph)
    inside = {x for _, labels in bands for x in labels}
    shown = {x: [p for p in graph[x] if p in inside] if x in own else [] for x in inside}
    return (
        f"<figure class='derivation-map'>{svg(shown, info, f'Derivation map of {title}', bands)}</figure>"
        f"<details class='derivation-list'><summary>The map as a list</summary>"
        f"{nested_list(graph, info, own)}</details>"
    )


def _table(known, info):
    head = "".join(
        f"<th scope='col'>{h}</th>" for h in ("Equation", "Kind", "Verdict", "Refused", "Rests on", "Seconds")
    )
    rows = "".join(_row(e, r, info) for e, r in known)
    return f"<table class='ledger'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(e, r, info):
    link = f"<a href='{info[e['label']]['uri']}'>({e['number']}) {e['label']}</a>"
    rests = ", ".join(f"<a href='#row-{p['label']}'>{p['label']}</a>" for p in r["premises"]) or "\u2013"
    symbol, word = status(r)
    must = sum(not t["still"] for t in r["trials"])
    count = f"{r['refused']} of {must}" if must else "\u2013"
    cells = (
        ("Equation", link),
        ("Kind", r["kind"]),
        ("Verdict", f"{symbol} {word}"),
        ("Refused", count + _details(r)),
        ("Rests on", rests),
        ("Seconds", f"{r['seconds']:.2f}"),
    )
    return (
        f"<tr id='row-{e['label']}'>" + "".join(f"<td data-label='{h}'>{c}</td>" for h, c in cells) + "</tr>"
    )


def plain(name):
    """The name of a wrong version without the TeX that names of symbols may have in them."""
    return re.sub(r"\\(operatorname|mathcal|mathsf|;)|[{}\\]", "", name)


def _details(r):
    if not r["trials"]:
        return ""
    lines = "".join(
        f"<li>{'Rightly still holds' if t['still'] else OUTCOME[t['state']]}: {escape(plain(t['name']))}"
        f"{'. ' + escape(t['still']) if t['still'] else ''}</li>"
        for t in r["trials"]
    )
    return f"<details><summary>which</summary><ul>{lines}</ul></details>"


def setup(app):
    app.add_env_collector(Collector)
    app.add_node(LedgerTable)
    app.add_directive("ledger", LedgerDirective)
    app.add_post_transform(Badges)
    app.add_post_transform(FillLedger)
    app.connect("env-updated", review)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
