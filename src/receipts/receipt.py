"""A receipt: what was checked, what was refused, and how it looks in a notebook.

It travels in the output of its cell (as JSON beside the HTML), so a stored notebook keeps it.
"""

from html import escape

MIME = "application/vnd.checked-receipt+json"


class Refused(AssertionError):
    """An equation, or a check of one, that does not stand."""

    def _render_traceback_(self):  # IPython shows this in the place of a stack trace
        return [f"Refused: {self}"]


class Receipt:
    """The record of one check. ``record()`` is plain data; ``premise`` serves other checks."""

    def __init__(self, label, kind, statement=None):
        self.label, self.kind, self.statement, self.seconds = label, kind, statement, 0.0
        self.state, self.message, self.witness, self.changes = "open", "", None, []
        self.trials, self.defines, self.numbers, self.cite, self.latex = [], None, None, None, ""
        self.rests_on, self.source = [], ""
        self._fingerprints, self._used, self._shown = {}, set(), False

    # -- filling it in ------------------------------------------------------------------------

    def verdict(self, verdict, statement):
        self.state, self.witness = verdict.state, verdict.witness
        self.message = verdict.reason
        if verdict.state == "refused":
            self.changes = statement.one_change()

    def tried(self, where, name, latex, verdict, still):
        """Note one wrong version. ``still``: (pattern, reason) if it is declared to hold rightly."""
        refused = verdict.state == "refused"
        if verdict.state != "holds":
            still = None  # what is undecided is not known to hold
        if still:
            self._used.add(still[0])
        value = verdict.witness["value"] if refused else None
        action, part = latex or (None, None)
        self.trials.append(
            {
                "where": where,
                "name": name,
                "action": action,
                "latex": part,
                "state": verdict.state,
                "value": value,
                "still": still[1] if still else None,
            }
        )
        if refused:
            self._fingerprints.setdefault(verdict.fingerprint, []).append((where, name))

    def unused_reasons(self, still):
        unused = [p for p in still if p not in self._used]
        if unused:
            self.say("refused", f"declared to hold, but no wrong version does: {', '.join(unused)}")

    def say(self, state, message):
        self.state, self.message = state, message
        return self

    def known_mistake(self, fingerprint):
        """The wrong versions that are off by the same: the author's names before those made here, and
        the right side before the premises."""
        same = self._fingerprints.get(fingerprint, [])
        for wanted in ("named", "right side"):
            own = [name for where, name in same if where == wanted]
            if own:
                return " or ".join(own[:2])
        return " or ".join(name for _, name in same[:2])

    def close(self):
        """Show it; raise Refused unless it holds and every wrong version was refused."""
        survivors = [t for t in self.trials if t["state"] != "refused" and not t["still"]]
        right = [t["state"] for t in self.trials if t["where"] == "right side"]
        if self.state == "holds" and right and "refused" not in right:
            self.say("toothless", "the right side may be changed in every way that was tried")
        if self.state == "holds" and len(self.still_hold) > self.refused:
            self.say("toothless", "more wrong versions are excused than refused")
        if self.state == "holds" and survivors:
            names = "; ".join(f"{t['name']} ({t['state']})" for t in survivors)
            self.say("toothless", f"not refused: {names}")
        if self.state == "holds" and self.kind in ("symbolic", "numeric", "order") and not self.refused:
            self.say("toothless", "no wrong version was refused, so the check could not have failed")
        self.show()
        if self.state != "holds":
            raise Refused(self.summary())
        return self

    # -- what it says -------------------------------------------------------------------------

    @property
    def refused(self):
        return sum(t["state"] == "refused" for t in self.trials)

    @property
    def still_hold(self):
        return [{"version": t["name"], "reason": t["still"]} for t in self.trials if t["still"]]

    @property
    def premise(self):
        from receipts.premises import Premise

        if self.statement is None or self.state != "holds":
            return None
        return Premise(self.label, self.statement.lhs, self.statement.rhs, under=self.statement.using)

    def summary(self):
        if self.kind == "feedback":
            return self.message
        head = {
            "holds": "holds",
            "refused": "does not hold",
            "undecided": "is undecided",
            "toothless": "has a check without teeth",
        }.get(self.state, self.state)
        name = self.label or "The equation"
        tail = f": {self.message}" if self.message else ""
        if self.state == "holds" and self.trials:
            tail += f"; {self.refused} wrong versions refused"
        if self.state == "refused" and self.changes:
            tail += ". One change would make it hold: " + "; or ".join(
                f"{v.text} ({where})" for where, v in self.changes[:3]
            )
        return f"{name} {head}{tail}"

    def record(self):
        """Plain data, as it is stored in the notebook and gathered in the ledger."""
        s = self.statement
        return {
            "label": self.label,
            "kind": self.kind,
            "state": self.state,
            "message": self.message,
            "latex": f"{s.lhs.latex()} = {s.rhs.latex()}" if s else self.latex,
            "text": f"{s.lhs.text()} = {s.rhs.text()}" if s else "",
            "digest": self.premise.digest() if self.premise else "",
            "pattern": self.premise.record()["pattern"] if self.premise else "",
            "premises": [p.record() for p in s.using]
            if s
            else [
                {"label": x, "text": "", "digest": "", "pattern": "", "instance": ""} for x in self.rests_on
            ],
            "source": self.source,
            "dimension": s.dimension() if s else None,
            "defines": self.defines,
            "cite": self.cite,
            "numbers": self.numbers,
            "trials": self.trials,
            "witness": self.witness,
            "changes": [
                {"where": w, "action": v.action, "latex": v.latex, "text": v.text}
                for w, v in self.changes[:3]
            ],
            "refused": self.refused,
            "still_hold": self.still_hold,
            "seconds": round(self.seconds, 3),
        }

    # -- how it looks -------------------------------------------------------------------------

    def show(self):
        """Display it in a notebook; outside of one, do nothing."""
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            return self
        if get_ipython() is not None and not self._shown:
            display(self._repr_mimebundle_(), raw=True)
            self._shown = True
        return self

    def _ipython_display_(self):
        self.show()

    def _repr_mimebundle_(self, **_):
        return {"text/plain": self.summary(), "text/html": html(self.record()), MIME: self.record()}

    def __repr__(self):
        return self.summary()


def html(record):
    """For notebooks: a line that says the verdict, and the particulars folded below it."""
    body = "".join(
        f"<div>{escape(kind)} {_tex(tex)}{escape(text)}</div>" for kind, tex, text in particulars(record)
    )
    return (
        f'<details class="receipt receipt-{record["state"]}"{_open(record)}>'
        f"<summary>{escape(headline(record))}</summary>{body}</details>"
    )


def _tex(tex):
    return f"${tex}$ " if tex else ""


def _open(record):
    return "" if record["state"] == "holds" and record["kind"] != "feedback" else " open"


def headline(record):
    """The verdict in one line: a word first, then a count; never a colour alone."""
    state, kind, name = record["state"], record["kind"], record["label"]
    if kind == "feedback":
        return {"holds": "\u2713 ", "open": "\u25cb "}.get(state, "\u2717 ") + record["message"]
    if state == "holds":
        if kind in ("definition", "given"):
            return (
                f"\u225d {name}: a definition" if kind == "definition" else f"\u2020 {name}: a cited theorem"
            )
        if kind == "trial":
            return "\u2713 Holds"
        line = f"\u2713 {name} holds: {record['refused']} wrong versions refused"
        count = len(record["still_hold"])
        return line + (f", {count} that rightly still hold" if count else "")
    words = {
        "refused": "\u2717 {} is refused",
        "undecided": "? {} is undecided, which counts as refused",
        "toothless": "\u2717 {} has a check without teeth",
    }[state]
    return words.format(name) if name else words.replace("{} is r", "R").replace("{} is u", "U")


def particulars(record):
    """Yields (words before, LaTeX or "", words after), line by line."""
    if record["kind"] == "feedback":
        return
    if record["latex"]:
        yield "Checked as", record["latex"], ""
    if record["message"]:
        yield "", "", record["message"]
    if record["numbers"]:
        yield "", "", record["numbers"]
    if record["witness"]:
        w = record["witness"]
        where = f", {w['where']}" if "where" in w else ""
        yield (
            "",
            "",
            f"At the witness below the two sides differ by {w['value']} (component {w['entry'] + 1}{where}).",
        )
        yield "Witness:", "", ", ".join(f"{k} = {v}" for k, v in list(w["at"].items())[:12])
    for c in record["changes"]:
        place = "" if c["where"] == "right side" else f" (in {c['where']})"
        yield "One change would make it hold:", c["latex"], f"{REPAIR.get(c['action'], c['action'])}{place}"
    if record["premises"]:
        yield (
            "Rests on",
            "",
            ", ".join(
                p["label"] + (f" (for {p['instance']})" if p["instance"] else "") for p in record["premises"]
            ),
        )
    elif record["kind"] == "symbolic" and record["state"] == "holds":
        yield "", "", "An identity: it needs no premise."
    for t in record["trials"]:
        place = "" if t["where"] in ("right side", "named") else f" (in {t['where']})"
        if t["still"]:
            yield "Rightly still holds:", "", f"{t['name']}. {t['still']}"
        elif t["latex"]:
            yield f"{OUTCOME[t['state']]}:", t["latex"], f"{t['action']}{place}{_off(t)}"
        else:
            yield f"{OUTCOME[t['state']]}:", "", t["name"] + _off(t)


def _off(trial):
    value = trial["value"]
    if not value:
        return ""
    return f"; {value}" if value.startswith("violated") else f"; off by {value}"


OUTCOME = {"refused": "Refused", "holds": "Not refused", "undecided": "Undecided"}
REPAIR = {
    "sign flipped": "with its sign flipped",
    "dropped": "left out",
    "doubled": "doubled",
    "transposed": "transposed",
    "not transposed": "without the transpose",
}
