"""Check an equation, and check the check: every wrong version of it must be refused."""

import fnmatch
import re
import time

from receipts.decide import Verdict, decide
from receipts.depends import left_out
from receipts.ledger import digest
from receipts.premises import Premise, arrange, overlaps, uses
from receipts.receipt import Receipt, Refused
from receipts.same import signless
from receipts.tree import Add, Leaf, Neg, Number, node, walk
from receipts.wrong import swaps, versions

SECONDS = 20  # for one decision; a chapter's check should take well under one
SEARCH_SECONDS = 8  # for the one change that would make a refused equation hold
LIKELY = (
    "sign flipped",
    "not transposed",
    "transposed",
    "factors swapped",
    "doubled",
    "dropped",
)  # slips, likely ones first


def check(label, lhs, rhs, using=(), wrong=None, still=None, scalar=None):
    """Prove ``lhs = rhs`` and show that its wrong versions are refused.

    Parameters
    ----------
    label : str
        The equation's label in the book.
    lhs, rhs : node
        The sides, kept as they are written.
    using : sequence of Receipt or Premise
        The equations it rests on. Each must be needed.
    wrong : dict, optional
        More wrong versions: name -> right side, (left side, right side), or a list of the premises
        to use instead.
    still : dict, optional
        Wrong versions that rightly still hold: pattern of their name -> reason. A premise that may
        be dropped is never excused, nor is a right side that may be changed in every way.
    scalar : str, optional
        Why opaque functions of one dimension will do here.

    Returns
    -------
    Receipt

    Raises
    ------
    Refused
        If the equation does not hold, cannot be decided, says nothing, or has a wrong version that
        is not refused. What was found is shown before the exception is raised.
    """
    receipt = _checked(label, lhs, rhs, using, wrong or {}, still or {}, scalar)
    return receipt.close()


def exercise(lhs, rhs, using=(), wrong=None, still=None, scalar=None):
    """The same check, without a label and without showing the answer; for ``feedback``."""
    receipt = _checked("", lhs, rhs, using, wrong or {}, still or {}, scalar)
    receipt._shown = True
    return receipt.close()


def _checked(label, lhs, rhs, using, wrong, still, scalar):
    began = time.perf_counter()
    statement = Statement(label, lhs, rhs, using)
    receipt = Receipt(label, "symbolic", statement=statement)
    receipt.source = digest(repr([(name, _written(v)) for name, v in wrong.items()])) if wrong else ""
    statement.refuse_empty(scalar)
    statement.refuse_contradiction()
    verdict = statement.decide()
    receipt.verdict(verdict, statement)
    if verdict.state == "holds":
        receipt.message = "; ".join(
            filter(None, (receipt.message, scalar and f"one dimension will do: {scalar}"))
        )
        for where, name, latex, trial in statement.wrong_versions(wrong):
            receipt.tried(where, name, latex, trial(), _reason(still, where, name))
        receipt.unused_reasons(still)
    receipt.seconds = time.perf_counter() - began
    return receipt


def verdict(lhs, rhs, using=()):
    """Say whether ``lhs = rhs`` holds, without a label. For trying things out: a refusal raises nothing."""
    statement = Statement("", lhs, rhs, using)
    statement.refuse_contradiction()
    receipt = Receipt("", "trial", statement=statement)
    receipt.verdict(statement.decide(), statement)
    return receipt.show()


def premise(label, lhs, rhs, instance=""):
    """An equation that has its receipt on another page; the ledger compares the two statements.

    ``instance``: for what it is stated anew, if a quantity depends on other things here.
    """
    return Premise(label, lhs, rhs, instance)


def _premise(x):
    p = x.premise if isinstance(x, Receipt) else x
    if not isinstance(p, Premise) or (isinstance(x, Receipt) and not x.label):
        raise TypeError(
            f"`using` takes labelled receipts and premises; got {x!r}, which states no equation of the book"
        )
    lhs = p.lhs.children[0] if isinstance(p.lhs, Neg) else p.lhs
    if isinstance(lhs, Number) or getattr(lhs, "kind", "") == "constant":
        raise ValueError(
            f"{p.label}: the left side `{p.lhs.text()}` names no quantity, so it would replace any number"
        )
    p.checked = isinstance(x, Receipt) and x.kind == "symbolic"
    return p


def _written(version):
    """What a named wrong version says: a changed one makes the receipt stale."""
    if isinstance(version, list):
        return [_premise(p).digest() for p in version]
    return [node(side).key for side in (version if isinstance(version, tuple) else [version])]


def _reason(still, where, name):
    for pattern, reason in still.items():
        if not re.search(r"\w", pattern) or not reason:
            raise ValueError(
                f"still={{{pattern!r}: {reason!r}}} must name the versions that it excuses, and say why"
            )
        if name == f"{where} dropped":
            return None  # the equation does not need this premise; take it out of `using`
        if name == pattern or fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")):
            return pattern, reason
    return None


class Statement:
    """Two sides and the premises between them."""

    def __init__(self, label, lhs, rhs, using):
        self.label, self.lhs, self.rhs = label, node(lhs), node(rhs)
        self.using = [_premise(p) for p in using]
        if self.lhs.shape != self.rhs.shape:
            raise ValueError(
                f"{label or 'equation'}: the left side has shape {self.lhs.shape}, "
                f"the right side {self.rhs.shape}"
            )
        self.refuse_one_name_for_two()

    def decide(self, rhs=None, using=None, dropped=None, lhs=None):
        using = self.using if using is None else using
        rules, hidden = arrange(using, dropped)
        lhs, rhs = lhs or self.lhs, rhs or self.rhs
        reason = left_out(lhs, rhs, [p for p in using if p is not dropped])
        if reason:
            return Verdict("undecided", reason=reason)
        return decide(lhs.value(hidden) - rhs.value(hidden), rules, SECONDS)

    def refuse_one_name_for_two(self):
        """``theta_1``, a variable, and the first component of ``theta`` would be one symbol."""
        taken = {}
        for x in (x for part in self.parts() for x in walk(part)):
            for symbol in x.value() if isinstance(x, Leaf) and x.kind == "var" else ():
                if taken.setdefault(symbol, x.key) != x.key:
                    raise ValueError(
                        f"`{x.name}` shares `{symbol}` with another quantity; give one of them another name"
                    )

    def refuse_empty(self, scalar):
        """An equation that says nothing is no equation."""
        if signless(self.lhs) == signless(self.rhs):
            raise Refused(f"{self.label}: the answer is on both sides: {self.lhs.text()} = {self.rhs.text()}")
        for p in self.using:
            if {signless(p.lhs), signless(p.rhs)} == {signless(self.lhs), signless(self.rhs)}:
                raise Refused(f"{self.label}: the premise {p.label} is the statement itself")
            if not p.is_rule and not any(uses(side, p.lhs.key) for side in (self.lhs, self.rhs)):
                raise Refused(
                    f"{self.label}: the left side of {p.label}, `{p.lhs.text()}`, "
                    "does not stand here as written"
                )
        if self.one_dimensional() and not scalar:
            raise Refused(
                f"{self.label}: every quantity that moves is a scalar, so no transpose can show. "
                "Use vectors, or say why one dimension will do: scalar='...'"
            )

    def refuse_contradiction(self):
        """From premises that contradict one another anything follows."""
        rules, _ = arrange(self.using)
        for one, other in overlaps(rules):
            if decide([one - other], rules, SECONDS).state == "refused":
                raise Refused(
                    f"{self.label or 'The equation'}: the premises contradict one another; "
                    f"by one of them `{one}` would have to be `{other}`"
                )

    def parts(self):
        return [self.lhs, self.rhs, *(s for p in self.using for s in (p.lhs, p.rhs))]

    def one_dimensional(self):
        """Is every quantity a scalar, or every state (what stands as an argument of a function)?"""
        leaves = [
            x for part in self.parts() for x in walk(part) if isinstance(x, Leaf) and x.kind == "opaque"
        ]
        states = [a for x in leaves for a in x.args if getattr(a, "kind", "") == "opaque"]
        return bool(leaves) and (
            self.dimension() == 1 or (states and max(len(a.value()) for a in states) == 1)
        )

    def dimension(self):
        return max(n for part in self.parts() for x in walk(part) for n in x.shape)

    def wrong_versions(self, named):
        """Yields (where, name, latex, function that decides the version)."""
        for v in versions(self.rhs) if any(self.rhs.value()) else ():  # zero has no terms to get wrong
            yield "right side", v.text, (v.action, v.latex), lambda v=v: self.decide(rhs=v.tree)
        for name, version in named.items():
            lhs, rhs = version if isinstance(version, tuple) else (self.lhs, version)
            using = self.using
            if isinstance(version, list):
                rhs, using = self.rhs, version
            yield (
                "named",
                name,
                None,
                Statement(f"{self.label}, wrong version '{name}'", lhs, rhs, using).decide,
            )
        for i, p in enumerate(self.using):
            yield p.label, f"{p.label} dropped", ("dropped", None), lambda p=p: self.decide(dropped=p)
            for v, changed in self.premise_versions(i):
                if v.action == "dropped" and not isinstance(p.rhs, Add):
                    continue  # the empty case: a premise whose only term is gone says nothing
                yield (
                    p.label,
                    f"{p.label} {v.text}",
                    (v.action, v.latex),
                    lambda u=changed: self.decide(using=u),
                )

    def premise_versions(self, i):
        """Yields (version, premises with this version in the place of the i-th)."""
        for v in versions(self.using[i].rhs):
            yield v, [*self.using[:i], self.using[i].with_rhs(v.tree), *self.using[i + 1 :]]

    def one_change(self):
        """Single edits that would make the equation hold, likely slips first.

        In the right side and in premises that are stated here; in the left side only when those
        have none. A premise with a check of its own is right, and a side is never dropped whole.
        """
        deadline = time.perf_counter() + SEARCH_SECONDS
        trials = [
            ("right side", self.rhs, v, {"rhs": v.tree}) for v in (*versions(self.rhs), *swaps(self.rhs))
        ]
        for i, p in enumerate(self.using):
            if not p.checked:
                trials += [(p.label, p.rhs, v, {"using": u}) for v, u in self.premise_versions(i)]
        left = [("left side", self.lhs, v, {"lhs": v.tree}) for v in versions(self.lhs)]
        found = self._mended_by(trials, deadline) or self._mended_by(left, deadline)
        return sorted(
            found, key=lambda x: LIKELY.index(x[1].action) if x[1].action in LIKELY else len(LIKELY)
        )

    def _mended_by(self, trials, deadline):
        found = []
        for where, whole, version, change in trials:
            if time.perf_counter() > deadline:
                break
            if version.action == "dropped" and not isinstance(whole, Add):
                continue
            try:
                if self.decide(**change).state == "holds":
                    found.append((where, version))
            except ValueError:
                continue
        return found
