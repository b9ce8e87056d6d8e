"""Feedback on a reader's answer: any equivalent form passes, and a known mistake is named."""

import numpy as np

from receipts.check import Statement
from receipts.receipt import Receipt
from receipts.same import signless


def feedback(answer, key, also=()):
    """Compare a reader's answer with the key, and name a known mistake.

    Parameters
    ----------
    answer : node, number or sequence of numbers
        A right side, in any equivalent form, or numbers. ``...`` has not been answered yet.
    key : Receipt or Numbers
        From ``exercise`` or ``check``: the answer is compared by witness with the right side and
        with each of its wrong versions. From ``numbers``: with those and their known mistakes.
    also : sequence of Receipt or Premise
        Equations that an answer may use besides those of the key.
    """
    if answer is ... or (isinstance(answer, (tuple, list)) and any(a is ... for a in answer)):
        return Receipt("", "feedback").say("open", "Not answered yet.").show()
    if isinstance(key, Numbers):
        return Receipt("", "feedback").say(*key.compare(answer)).show()
    return _compare_side(answer, key, also)


class Numbers:
    """The key of an exercise whose answer is a number, or several."""

    def __init__(self, right, mistakes, rtol):
        self.right, self.mistakes, self.rtol = np.atleast_1d(right).astype(float), mistakes, rtol

    def compare(self, answer):
        try:
            answer = np.atleast_1d(np.asarray(answer, dtype=float))
        except (TypeError, ValueError):
            return "refused", f"Numbers are needed here; got {answer!r}."
        if answer.shape != self.right.shape:
            return "refused", f"{self.right.size} numbers are needed; got {answer.size}."
        good = self._close(answer, self.right)
        if good.all():
            return "holds", "Right."
        for slip, wrong in self.mistakes.items():
            if self._close(answer, np.atleast_1d(wrong).astype(float)).all():
                return "refused", f"Not yet: {slip}."
        if good.size > 1 and self._close(np.sort(answer), np.sort(self.right)).all():
            return "refused", "Not yet: these are the numbers, in another order."
        which = ", ".join(str(i + 1) for i in np.flatnonzero(good))
        said = f"number {which}" if good.any() else "none"
        return "refused", "Not yet." if good.size == 1 else f"Not yet. Right so far: {said}."

    def _close(self, answer, number):
        """Near each number by its own size; only a zero has none."""
        return np.isclose(answer, number, rtol=self.rtol, atol=np.where(number == 0, self.rtol, 0))


def numbers(*right, mistakes=None, rtol=1e-3):
    """The key of an exercise in numbers. ``mistakes``: what went wrong -> the numbers it gives."""
    return Numbers(right, mistakes or {}, rtol)


def _compare_side(answer, receipt, also):
    out = Receipt(receipt.label, "feedback")
    try:
        using = [*receipt.statement.using, *also]
        statement = Statement(receipt.label, receipt.statement.lhs, answer, using)
    except ValueError as error:
        return out.say("refused", f"The shapes do not fit: {error}").show()
    except TypeError as error:
        return out.say("refused", f"A formula is needed: {error}").show()
    if _left_side_again(statement):
        return out.say("refused", "That is the left side again; say what it equals.").show()
    result = statement.decide()
    if result.state == "holds":
        same = statement.rhs == receipt.statement.rhs
        return out.say("holds", "Right." if same else "Right, in another form.").show()
    if result.state == "undecided":
        return out.say("refused", f"Not decided: {result.reason}. Try a simpler form.").show()
    known = receipt.known_mistake(result.fingerprint)
    if known:
        return out.say("refused", f"Not yet. This is the equation with one slip ({known}).").show()
    return out.say("refused", "Not yet. " + _hint(statement)).show()


def _left_side_again(statement):
    """Written again, or so that it takes none of the premises to see that it is the same."""
    if signless(statement.lhs) == signless(statement.rhs):
        return True
    return bool(statement.using) and statement.decide(using=[]).state == "holds"


def _hint(statement):
    found = statement.one_change()
    if not found:
        return "The sides differ, and no single change of a sign, a term or a transpose mends it."
    return "One change would make it hold: " + "; or ".join(v.text for _, v in found[:3]) + "."
