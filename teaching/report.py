"""What the student reads, and the table for the teacher.

Everything here that a student wrote is shown as text: without control characters, inside code
fences or back-ticks that it cannot leave, and in the table never at the start of a formula.
"""

import csv
import re

from teaching.keys import shown
from teaching.notebooks import points, title_of
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
    got, of = sum(m["points"] for m in marks), sum(m["of"] for m in marks)
    whose = f"report for {result['name']}" if result["name"] else f"the submission of {result['student']}"
    lines = [f"# {about.title if about else 'A submission'}: {whose}", ""]
    if result["problem"]:
        return "\n".join([*lines, "**Not marked.** " + result["problem"], ""])
    lines += [f"**{got} of {points(of)}.** {summary(marks)}", ""]
    lines += ["| question | points | |", "|---|---|---|"]
    lines += [f"| `{m['name']}` | {m['points']} of {m['of']} | {WORDS[m['state']]} |" for m in marks]
    open_ones = [m for m in marks if m["state"] != "right"]
    if open_ones and not all(m["state"] == "blank" for m in marks):
        lines += ["", "## What to look at", ""]
        lines += [f"* **`{m['name']}`.** {m['message']}" for m in open_ones]
        if any(m["state"] in {"mistake", "wrong"} for m in marks):
            lines += [
                "",
                (
                    f"A sentence to argue with, before you go back to it: *{about.misconception}* "
                    "Where does it go wrong here?"
                ),
            ]
        lines += ["", f"To read again: the chapter *{title_of(about.chapter)}* ({about.chapter})."]
    lines += happened(outcome, result["remarks"])
    lines += ["", "## How it was run", "", result["words"] + f" It took {outcome.seconds:.1f} s.", ""]
    return "\n".join(lines)


def summary(marks):
    states = [m["state"] for m in marks]
    if all(s == "right" for s in states):
        return "Everything is right."
    if all(s == "blank" for s in states):
        return "Nothing is answered yet: the notebook came back as it was handed out."
    if all(s == "missing" for s in states):
        return "None of the answers arrived."
    named = states.count("mistake")
    if named:
        known = "One mistake is known, and is" if named == 1 else f"{named} mistakes are known, and are"
        return f"{states.count('right')} of {len(states)} answers are right. {known} named below."
    return f"{states.count('right')} of {len(states)} answers are right."


def happened(outcome, remarks):
    """What went on while it ran, if anything is worth saying."""
    lines = [f"* {remark}" for remark in remarks]
    if outcome.ended:
        lines.append(
            f"* The run was cut short: {outcome.ended}. What had been answered until then was marked."
        )
    for error in outcome.errors[:8]:
        cell, line = number(error.get("cell")), number(error.get("line"))
        if error.get("type") == "TimeUp":
            lines.append(
                f"* Code cell {cell} was stopped: {shown(error.get('text', ''), 60)}. Does its loop end?"
            )
            continue
        where = f", line {line}" if line else ""
        what = f"{error.get('type', '')}: {error.get('text', '')}"
        lines.append(f"* Code cell {cell}{where} failed with {shown(what, 200)}. The cells after it ran.")
    if len(outcome.errors) > 8:
        lines.append(f"* And {len(outcome.errors) - 8} more cells failed.")
    if outcome.output_cut:
        lines.append("* It printed more than is kept.")
    if not lines:
        return []
    lines = ["", "## What happened when it ran", "", *lines]
    if outcome.output.strip() and (outcome.errors or outcome.ended):
        lines += ["", "The first lines that it printed:", "", block(outcome.output)]
    return lines


def number(value):
    """A number from a claim, as a number or nothing."""
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1e6 else 0


def guarded(cell):
    """A table's cell that no spreadsheet takes for a formula."""
    text = "".join(c if c.isprintable() else " " for c in str(cell))
    return f"'{text}" if text[:1] in set("=+-@") and not re.fullmatch(r"-?\d+(\.\d+)?", text) else text


def table(path, results):
    """One line a submission: points, the state of each answer, and what the teacher should know."""
    with open(path, "w", newline="", encoding="utf-8") as file:
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
