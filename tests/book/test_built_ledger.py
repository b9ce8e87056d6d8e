"""The ledger of the built book: whole, signed, and with teeth."""

import json
import re
from pathlib import Path

import pytest

from receipts.ledger import problems, read_lock

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "_build"
LABEL = re.compile(r"^\$\$ \((eq-[a-z0-9-]+)\)|^:label: (eq-[a-z0-9-]+)", re.M)


def built(name):
    path = BUILT / name
    if not path.exists():
        pytest.skip("there is no built book: run `make book` first")
    return json.loads(path.read_text())


def sources():
    """The chapters that the table of contents lists, as they are written."""
    listed = re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text())
    return {page: (ROOT / f"{page}.md").read_text() for page in listed}


def test_nothing_is_missing_stale_or_toothless():
    data = built("receipts.json")
    found = problems(data["equations"], data["records"], read_lock(ROOT / "book/receipts.lock"))
    assert [f"{page}: {label} {text}" for page, label, text in found] == []


def test_every_labelled_display_of_the_sources_is_in_the_ledger():
    labels = {(a or b): page for page, text in sources().items() for a, b in LABEL.findall(text)}
    rows = {row["label"]: row["page"] for row in built("html/ledger.json")}
    assert rows == labels
    assert len(labels) >= 40


def test_every_row_has_the_published_form():
    for row in built("html/ledger.json"):
        assert set(row) == {"label", "number", "page", "kind", "holds", "wrong_versions", "refused",
                            "still_hold", "follows_from", "seconds"}  # fmt: skip
        assert re.fullmatch(r"\d+(\.\d+)?", row["number"]), row["label"]  # appendices have no chapter number
        assert row["holds"] is True
        assert row["kind"] in {"symbolic", "numeric", "order", "definition", "given"}
        assert row["refused"] == row["wrong_versions"]
        assert row["refused"] >= (0 if row["kind"] in {"definition", "given"} else 2)
        assert all(item["reason"] for item in row["still_hold"])


def test_numbers_are_those_of_the_pages():
    for row in built("html/ledger.json"):
        page = (BUILT / "html" / f"{row['page']}.html").read_text()
        block = page[page.index(f'id="equation-{row["label"]}"') :][:400]
        assert f"({row['number']})" in block, row["label"]


def test_each_equation_has_one_badge_that_leads_to_its_row():
    ledger = BUILT / "html/book/appendix/ledger.html"
    rows = built("html/ledger.json")
    for row in rows:
        page = (BUILT / "html" / f"{row['page']}.html").read_text()
        assert page.count(f'ledger.html#row-{row["label"]}"') == 1, row["label"]
        assert f"id='row-{row['label']}'" in ledger.read_text()


def test_the_maps_show_every_equation_and_lists_say_the_same():
    page = built("html/ledger.json") and (BUILT / "html/book/appendix/ledger.html").read_text()
    everything = page[page.index("map-of-all") : page.index("</svg>")]
    for row in built("html/ledger.json"):
        assert f"<title>{row['label']} (" in everything
        for premise in row["follows_from"]:
            assert f"#row-{premise}'" in page
