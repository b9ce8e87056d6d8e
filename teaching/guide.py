"""The tables of the teaching guide, from the chapters' own lines and from ``exercises.toml``.

``make guide`` writes them between the marks in the pages of the guide; a test compares.
"""

import re
import tomllib

import yaml

from teaching.notebooks import ROOT, title_of
from teaching.sheets import NAMES, assignment

GUIDE = ROOT / "book" / "appendix" / "teaching.md"
EXERCISES = ROOT / "book" / "appendix" / "exercises.md"
PLANS = ROOT / "teaching" / "plans.toml"
TABLE = ROOT / "teaching" / "exercises.toml"


def parts():
    """Captions of the parts and their chapters, in the order of the table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return {p["caption"]: [c["file"] for c in p["chapters"]] for p in toc["parts"] if p.get("numbered")}


def facts(chapter):
    """What a chapter's line says: needs, gives, minutes in words, and as numbers."""
    text = (ROOT / f"{chapter}.md").read_text()
    needs, gives = re.search(r"(?m)^\*\*Needs\*\*: (.*?) \*\*Gives\*\*: (.*)$", text).groups()
    minutes = re.search(r"(?m)^\*\*Minutes\*\*: (.*)$", text)[1]
    read = int(re.search(r"^(\d+)", minutes)[1])
    exercises = re.search(r"(\d+) for the exercises", minutes)
    return {
        "title": title_of(chapter),
        "needs": moved(needs, chapter),
        "gives": moved(gives, chapter),
        "minutes": minutes,
        "read": read,
        "exercises": int(exercises[1]) if exercises else 0,
    }


def moved(text, chapter):
    """Links of a chapter, as they read from the appendix."""
    folder = chapter.split("/")[1]
    return re.sub(r"\]\((?!\.\./|https?:)([\w-]+\.md)", rf"](../{folder}/\1", text)


def link(chapter):
    return f"[{title_of(chapter)}](../{chapter.removeprefix('book/')}.md)"


def hours(minutes):
    """Minutes as hours, to the next quarter of an hour: what a plan needs."""
    quarters = -(-minutes // 15)
    whole, rest = divmod(quarters, 4)
    words = ["", "¼", "½", "¾"][rest]
    return f"{whole or ''}{words} h" if quarters else "0 h"


def chapters_table():
    lines = []
    for caption, chapters in parts().items():
        told = [facts(c) for c in chapters]
        read, work = sum(t["read"] for t in told), sum(t["exercises"] for t in told)
        lines += [f"### {caption}", "", f"To read: {read} minutes. Exercises: {work} minutes.", ""]
        for chapter, fact in zip(chapters, told, strict=True):
            lines += [
                f"* **{link(chapter)}.** {fact['minutes']}",
                f"  *Needs* {fact['needs']}",
                f"  *Gives:* {fact['gives']}",
            ]
        lines.append("")
    return "\n".join(lines).strip()


def plan_tables():
    """Each plan: its sessions, what is read before each, and the minutes that the chapters state."""
    lines = []
    for plan in tomllib.loads(PLANS.read_text())["plan"]:
        lines += [f"### {plan['title']}", "", plan["about"], ""]
        total = 0
        for number, session in enumerate(plan["session"], 1):
            text, minutes = session_lines(number, session)
            lines += text
            total += minutes
        lines += [f"Work outside the sessions, by the chapters' own minutes: {hours(total)}.", ""]
    return "\n".join(lines).strip()


def session_lines(number, session):
    """A session of a plan: what is done in it, what comes before and after; and the minutes of these."""
    told = [facts(c) for c in session["read"]]
    table = {e["label"]: e["minutes"] for e in tomllib.loads(TABLE.read_text())["exercise"]}
    practice = session.get("practice", [name for c in session["read"] for name in labels(c)])
    tasks = [assignment(a) for a in session.get("assignments", [])]
    minutes = [sum(t["read"] for t in told), sum(table[e] for e in practice), sum(t.minutes for t in tasks)]
    stop = "" if session["title"][-1] in "?!" else "."
    lines = [
        f"{number}. **{session['title']}**{stop} {session['does']}",
        "",
        f"   *Read before:* {', '.join(map(link, session['read']))} ({minutes[0]} min).",
    ]
    if practice:
        named = ", ".join(f"{{numref}}`{e}`" for e in practice)
        lines.append(f"   *Practice:* {named} ({minutes[1]} min).")
    if tasks:
        named = ", ".join(f"*{t.title}* ({t.minutes} min)" for t in tasks)
        lines.append(f"   *To hand in:* {named}.")
    return [*lines, ""], sum(minutes)


def assignments_table():
    lines = []
    for name in NAMES:
        about = assignment(name)
        sheet = about.sheet(0)
        lines += [
            (
                f"* **{about.title}** (`{name}`), to {link(about.chapter)}."
                f" {about.difficulty.capitalize()}, about {about.minutes} minutes, {sheet.points} points in"
                f" {len(sheet.questions)} question{'s' * (len(sheet.questions) != 1)}."
            ),
            f"  *Tests:* {about.outcome}.",
            f"  *Aims at:* “{about.misconception}”",
        ]
    return "\n".join(lines)


def exercises_table():
    table = {e["label"]: e for e in tomllib.loads(TABLE.read_text())["exercise"]}
    lines = []
    for caption, chapters in parts().items():
        found = [(c, labels(c)) for c in chapters if labels(c)]
        if found:
            lines += [f"## {caption}", ""]
        for chapter, names in found:
            lines += [f"### {link(chapter)}", ""]
            for name in names:
                e = table[name]
                lines += [
                    f"* {{numref}}`{name}`. {e['difficulty'].capitalize()}, {e['minutes']} minutes. "
                    f"*Tests:* {e['outcome']}. *Aims at:* “{e['misconception']}”"
                ]
            lines.append("")
    return "\n".join(lines).strip()


def labels(chapter):
    """The labels of a chapter's exercises, in their order."""
    text = (ROOT / f"{chapter}.md").read_text()
    return re.findall(r"(?m)^`{3,}\{exercise-start\}.*\n:label: (\S+)", text)


SECTIONS = {
    GUIDE: {"chapters": chapters_table, "plans": plan_tables, "assignments": assignments_table},
    EXERCISES: {"exercises": exercises_table},
}


def filled(page):
    """The page with its tables as they should be now."""
    text = page.read_text(encoding="utf-8")
    for name, table in SECTIONS[page].items():
        begin, end = f"% {name}: written by `make guide`\n", f"\n% end of {name}\n"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{page.name} needs the marks of the table {name!r} once")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{table()}\n{end}{rest.split(end)[1]}"
    return text


def write_pages():
    for page in SECTIONS:
        page.write_text(filled(page), encoding="utf-8")
