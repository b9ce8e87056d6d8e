"""The ledger: every labelled equation of a book with its receipt, and what is wrong with it.

Pure functions on plain data, so that a Sphinx extension and a test can share them. An *equation* is
``{"label", "number", "page", "tex"}``; a *record* is what ``Receipt.record`` returns.
"""

import hashlib
import json
from pathlib import Path

STATED = ("definition", "given")
MOST_STATED = 1 / 3  # definitions and givens together are at most a third of the ledger


def digest(text):
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def tex_digest(equation):
    return digest(equation["tex"])


def check_digest(record):
    """What was checked, without the results: a new time or witness makes no receipt stale."""
    parts = [
        record["kind"],
        record["text"] or record["latex"],
        record["message"] if record["kind"] in STATED else "",
        record.get("source", ""),
        record["digest"],
    ]
    parts += [p["label"] + p["digest"] + p["instance"] for p in record["premises"]]
    parts += [t["name"] for t in record["trials"] if t["where"] == "named"]
    parts += [s["version"] + s["reason"] for s in record["still_hold"]]
    return digest("\n".join(parts))


def read_lock(path):
    """``{label: (tex digest, check digest)}`` from a file of lines; empty if there is none."""
    path = Path(path)
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {label: (tex, check) for label, tex, check in rows}


def entry(equation, record):
    """The row of one equation, as it is published."""
    return {
        "label": equation["label"],
        "number": equation["number"],
        "page": equation["page"],
        "kind": record["kind"],
        "holds": record["state"] == "holds",
        "wrong_versions": sum(not t["still"] for t in record["trials"]),
        "refused": record["refused"],
        "still_hold": record["still_hold"],
        "follows_from": [p["label"] for p in record["premises"]],
        "seconds": record["seconds"],
    }


def problems(equations, records, lock):
    """Yields (page, label, what is wrong) for everything that keeps the ledger from being whole."""
    labels = {e["label"]: e for e in equations}
    by_label = {}
    for r in records:
        if r["label"] in by_label:
            yield r["page"], r["label"], "has two receipts"
        by_label[r["label"]] = r
    for label in sorted(by_label.keys() - labels.keys()):
        yield by_label[label]["page"], label, "has a receipt, but no equation of the book has this label"
    for e in equations:
        if e["label"] not in by_label:
            yield e["page"], e["label"], "has no receipt"
    for label in sorted(labels.keys() & by_label.keys()):
        for text in _own_problems(labels[label], by_label[label], by_label, lock.get(label)):
            yield labels[label]["page"], label, text
    yield from _book_problems([by_label[x] for x in labels if x in by_label], labels)


def _own_problems(equation, record, by_label, locked):
    if record["page"] != equation["page"]:
        yield f"has its receipt on another page, {record['page']}"
    if record["state"] != "holds":
        yield f"does not hold ({record['state']})"
    if record["kind"] not in STATED and not record["refused"]:
        yield "has a check without teeth"
    if record["kind"] not in ("symbolic", *STATED) and not record["premises"]:
        yield "hangs in the air: say what it follows from (using=...)"
    for p in record["premises"]:
        other = by_label.get(p["label"])
        if other is None:
            yield f"rests on {p['label']}, which has no receipt"
        elif p["text"] and (
            p["pattern"] != other["pattern"] if p["instance"] else p["digest"] != other["digest"]
        ):
            yield f"uses {p['label']} as `{p['text']}`, but that label's receipt says `{other['text']}`"
    if locked != (tex_digest(equation), check_digest(record)):
        what = "was never matched" if locked is None else "has changed since it was matched"
        yield f"is stale: formula or check {what}. Compare them: make match LABEL={equation['label']}"


def _book_problems(records, labels):
    stated = [r for r in records if r["kind"] in STATED]
    if len(stated) > MOST_STATED * max(len(records), 1):
        r = stated[-1]
        yield (
            labels[r["label"]]["page"],
            r["label"],
            (
                f"is one of {len(stated)} definitions and givens among {len(records)} equations: "
                "more than a third"
            ),
        )
    taken = {}
    for r in stated:
        if r["kind"] == "definition":
            if r["defines"] in taken:
                yield (
                    labels[r["label"]]["page"],
                    r["label"],
                    f"defines `{r['defines']}` again; see {taken[r['defines']]}",
                )
            taken[r["defines"]] = r["label"]
    follows = {r["label"]: [p["label"] for p in r["premises"]] for r in records}
    for label in in_a_circle(follows):
        yield labels[label]["page"], label, "rests on itself, by a circle of premises"


def in_a_circle(follows):
    """The labels that can be reached from themselves."""

    def reached(start):
        seen, stack = set(), list(follows.get(start, ()))
        while stack:
            x = stack.pop()
            if x not in seen:
                seen.add(x)
                stack += follows.get(x, ())
        return seen

    return sorted(label for label in follows if label in reached(label))


def dump(path, data):
    Path(path).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
