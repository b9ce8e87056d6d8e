"""The teaching guide cannot drift from the chapters: its tables are made from them."""

import re
import tomllib
from itertools import pairwise

import pytest
from teaching import guide
from teaching.sheets import NAMES, assignment

TABLE = tomllib.loads(guide.TABLE.read_text())["exercise"]
CHAPTERS = [c for some in guide.parts().values() for c in some]


@pytest.mark.parametrize("source", list(guide.SECTIONS), ids=lambda p: p.name)
def test_the_tables_are_those_of_the_chapters(source):
    assert source.read_text(encoding="utf-8") == guide.filled(source), "run `make guide`"


def test_every_exercise_is_described_and_none_is_left_over():
    found = [name for chapter in CHAPTERS for name in guide.labels(chapter)]
    assert [e["label"] for e in TABLE] == sorted([e["label"] for e in TABLE], key=found.index)
    assert {e["label"] for e in TABLE} == set(found)
    assert len(TABLE) == len(found)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_minutes_of_exercises_add_up(chapter):
    minutes = {e["label"]: e["minutes"] for e in TABLE}
    assert sum(minutes[name] for name in guide.labels(chapter)) == guide.facts(chapter)["exercises"]


@pytest.mark.parametrize("entry", TABLE, ids=lambda e: e["label"])
def test_an_exercise_says_what_it_is_for(entry):
    assert entry["difficulty"] in {"easy", "medium", "hard", "open"}
    assert 3 <= entry["minutes"] <= 30
    assert not entry["outcome"].endswith(".") and entry["misconception"].endswith(".")


def test_the_plans_set_each_sheet_after_its_chapter():
    read = set()
    for plan in tomllib.loads(guide.PLANS.read_text())["plan"]:
        read.clear()
        for session in plan["session"]:
            assert set(session["read"]) <= set(CHAPTERS)
            read |= set(session["read"])
            assert set(session.get("practice", [])) <= {e for c in session["read"] for e in guide.labels(c)}
            for name in session.get("assignments", []):
                about = assignment(name)
                assert about.chapter in read or plan["title"] == "One lecture", (plan["title"], name)
    assert {n for s in plan["session"] for n in s.get("assignments", [])} == set(NAMES)


def test_the_lectures_minutes_follow_each_other():
    text = guide.GUIDE.read_text(encoding="utf-8").split("## A lecture of 75 minutes")[1].split("\n## ")[0]
    spans = [tuple(map(int, s)) for s in re.findall(r"(?m)^(\d+) to (\d+), ", text)]
    assert spans[0][0] == 0 and spans[-1][1] == 75
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    left_out = sum(b - a for a, b in spans if 30 <= a < 55)
    assert 75 - left_out + 2 - 2 == 50  # the theorem instead; and two minutes less for the argument
    assert text.count("(In 50 minutes") == 2


def test_the_lectures_figures_stand_where_their_links_lead():
    """The label is that of the figure of this number on the page of this name."""
    text = guide.GUIDE.read_text(encoding="utf-8").split("## A lecture of 75 minutes")[1].split("\n## ")[0]
    shown = re.findall(r"\[`([\w/-]+)-(\d+)`\]\(#([\w-]+)\)", text)
    assert len(shown) == 3
    for page, number, label in shown:
        source = (guide.ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
        before = source.split("\n    alt: ")[int(number) - 1]
        assert before.rpartition("```{code-cell}")[0].endswith(f"\n({label})=\n"), (page, label)


def test_a_mark_that_is_gone_is_reported(tmp_path, monkeypatch):
    page = tmp_path / "exercises.md"
    page.write_text("nothing")
    monkeypatch.setitem(guide.SECTIONS, page, guide.SECTIONS[guide.EXERCISES])
    with pytest.raises(ValueError, match="needs the marks"):
        guide.filled(page)
