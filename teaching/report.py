"""What the student reads, and the table for the teacher.

Everything here that a student wrote is shown as text: without control characters, inside code
fences or back-ticks that it cannot leave, and in the table never at the start of a formula.
"""

import csv
import re
from urllib.parse import urljoin

from teaching.keys import shown
from teaching.notebooks import config, points, title_of
from teaching.sheets import assignment

WORDS = {
    "right": "right",
    "mistake": "not yet",
    "other": "another sheet",
    "wrong": "not right",
    "form": "not readable",
    "error": "failed",
    "blank": "empty",
    "missing": "missing",
}

STRANGER = "The name of the file or folder is not on the list of the class."


def block(text, lines=15, width=160):
    """A student's text in a fence that it cannot leave."""
    kept = []
    for line in text.split("\n")[:lines]:
        kept.append("".join(c if c.isprintable() else " " for c in line)[:width])
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return "\n".join([f"{fence}text", *kept, fence])


def write(result):
    """The report of one submission as Markdown.

    ``result``: ``student`` (the folder), ``name`` (if the class has a list), ``assignment``,
    ``marks``, ``outcome``, ``remarks``, ``problem``, ``words``.
    """
    about = assignment(result["assignment"]) if result["assignment"] else None
    marks, outcome = result["marks"], result["outcome"]
    failed = failures(outcome, result["submission"].places) if outcome else {}
    got, of = sum(m["points"] for m in marks), sum(m["of"] for m in marks)
    whose = f"report for {result['name']}" if result["name"] else f"the submission of {result['student']}"
    lines = [f"# {about.title if about else 'A submission'}: {whose}", ""]
    if result["problem"]:
        more = " Ask which name you have there: it can be marked under that one."
        more = more if result["problem"] == STRANGER else ""
        return "\n".join([*lines, "**Not marked.** " + result["problem"] + more, ""])
    blank = all(m["state"] == "blank" for m in marks)
    lines += [f"**{got} of {points(of)}.** {summary(marks)}", ""]
    lines += ["| question | points | |", "|---|---|---|"]
    lines += [f"| `{m['name']}` | {m['points']} of {m['of']} | {WORDS[m['state']]} |" for m in marks]
    open_ones = [m for m in marks if m["state"] != "right"]
    if open_ones and not blank:
        told = {}
        for place, m in enumerate(open_ones):
            uses = used(result["submission"], m["name"], [b["name"] for b in open_ones[:place]])
            told.setdefault(message(m, uses, failed), []).append(f"`{m['name']}`")
        lines += ["", "## What to look at", ""]
        lines += [f"* **{', '.join(names)}.** {words}" for words, names in told.items()]
        if any(m["state"] in {"mistake", "wrong"} for m in marks):
            lines += [
                "",
                (
                    "Before you go back to it, a sentence that sounds right and is wrong:"
                    f" *{about.misconception}* What would you say against it?"
                ),
            ]
    if open_ones:
        lines += ["", f"To read{'' if blank else ' again'}: the chapter {chapter(about.chapter)}."]
    lines += happened(outcome, result["remarks"], failed)
    lines += ["", "## How it was run", "", result["words"] + f" It took {outcome.seconds:.1f} s.", ""]
    return "\n".join(lines)


def chapter(name):
    """A chapter by its title, with its address where the book has one."""
    site, title = config().get("html", {}).get("baseurl", ""), f"*{title_of(name)}*"
    return f"[{title}]({urljoin(site, name)}.html)" if site else title


def summary(marks):
    states = [m["state"] for m in marks]
    if all(s == "right" for s in states):
        return "Everything is right."
    if all(s == "blank" for s in states):
        return (
            "Nothing is answered yet. (If you did answer: the notebook was not saved before it was handed"
            " in.)"
        )
    if all(s == "missing" for s in states):
        return "None of the answers arrived."
    right, named = states.count("right"), states.count("mistake")
    answers = f"{right} of {len(states)} answers {'is' if right == 1 else 'are'} right."
    if not right:
        answers = "The answer is not" if len(states) == 1 else "None of the answers is"
        answers += " right yet."
    if named:
        known = "One mistake is known, and is" if named == 1 else f"{named} mistakes are known, and are"
        return f"{answers} {known} named below."
    return answers


def failures(outcome, places):
    """The errors of a run in their order, by the cell: the name of its answer, or its number."""
    found = {}
    for error in outcome.errors:
        cell = number(error.get("cell"))
        place = places[cell - 1] if 0 < cell <= len(places) else ""
        kind, _, name = place.partition("-")
        if kind == "test" and name in found:
            continue  # it looks at an answer whose own cell failed
        found[name if kind == "answer" else cell] = error
    return found


def used(submission, name, before):
    """Those of the answers ``before`` that stand in the cell of an answer."""
    source = submission.ids.get(f"answer-{name}", "")
    return [b for b in before if re.search(rf"\b{re.escape(b)}\b", source)]


def message(mark, uses, failed):
    """What is said of an answer that is not right; ``uses``: earlier ones that are not right, either."""
    if mark["state"] == "missing" and mark["name"] in failed:
        return f"There is no `{mark['name']}`, since its cell failed: see below."
    uses = [f"`{u}`" for u in uses if not re.search(rf"\b{re.escape(u)}\b", mark["message"])]
    if uses and mark["state"] in {"mistake", "wrong", "error"}:
        that = "that" if len(uses) == 1 else "these"
        return f"{mark['message']} It uses {' and '.join(uses)}: mend {that} first."
    return mark["message"]


def happened(outcome, remarks, failed):
    """What went on while it ran, if anything is worth saying."""
    lines = [f"* {remark}" for remark in remarks]
    if outcome.ended:
        lines.append(
            f"* The run was cut short: {outcome.ended}. What had been answered until then was marked."
        )
    for cell, error in list(failed.items())[:8]:
        line = number(error.get("line"))
        where = f"Code cell {cell}" if isinstance(cell, int) else f"The cell of {shown(cell)}"
        if error.get("type") == "TimeUp":
            lines.append(f"* {where} was stopped{stopped(error.get('text', ''))}. Does its loop end?")
            continue
        where += f", line {line}," if line else ""
        what = f"{error.get('type', '')}: {error.get('text', '')}"
        lines.append(f"* {where} failed with {shown(what, 200)}.")
    if len(failed) > 8:
        lines.append(f"* And {len(failed) - 8} more cells failed.")
    if failed:
        lines.append("* An error ends its own cell alone: the others ran.")
    if outcome.output_cut:
        lines.append("* It printed more than is kept.")
    if not lines:
        return []
    lines = ["", "## What happened when it ran", "", *lines]
    if outcome.output.strip() and (outcome.errors or outcome.ended):
        lines += ["", "The first lines that it printed:", "", block(outcome.output.rstrip())]
    return lines


def stopped(text):
    """After how long, in plain words; whatever else a claim has there, as its text."""
    after = re.fullmatch(r"stopped( after \d{1,6} seconds)", str(text))
    return after[1] if after else f": {shown(text, 60)}"


def number(value):
    """A number from a claim, as a number or nothing."""
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e6 else 0


def guarded(cell):
    """A table's cell that no spreadsheet takes for a formula."""
    text = "".join(c if c.isprintable() else " " for c in str(cell))
    return f"'{text}" if text[:1] in set("=+-@") and not re.fullmatch(r"-?\d+(\.\d+)?", text) else text


def table(path, results):
    """One line a submission: points, the state of each answer, and what the teacher should know.

    The mark at its beginning tells Excel that it is UTF-8: without it a Jürgen is misread there.
    """
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "name", "assignment", "points", "of", "answers", "remarks"])
        for r in results:
            got, of = sum(m["points"] for m in r["marks"]), sum(m["of"] for m in r["marks"])
            answers = "; ".join(f"{m['name']}: {WORDS[m['state']]}" for m in r["marks"])
            same = sorted({m["with"] for m in r["marks"] if m["with"]})
            remarks = [
                r["problem"],
                r["outcome"].ended if r["outcome"] else "",
                *r["remarks"],
                f"answers of the sheet of {', '.join(same)}" if same else "",
            ]
            row = [
                r["student"],
                r["name"],
                r["assignment"],
                "" if r["problem"] else got,
                of or "",
                answers,
                "; ".join(x for x in remarks if x),
            ]
            writer.writerow([guarded(cell) for cell in row])
