"""Equations without a proof of their own: definitions, and standard theorems that are cited."""

from receipts.check import Statement
from receipts.premises import Premise
from receipts.receipt import Receipt


def definition(label, lhs, rhs, instance=""):
    """Give a new name to something. Serves as a premise when both sides are nodes.

    ``lhs`` and ``rhs`` may also be words, for what is no equation between quantities (a problem to
    be solved, say). The ledger refuses a left side that another definition has taken, unless
    ``instance`` says for what it is defined anew.
    """
    return _stated(label, "definition", lhs, rhs, None, instance)


def given(label, lhs, rhs, cite):
    """A standard theorem, with the key of the reference that proves it."""
    if not cite:
        raise ValueError(f"{label}: a given needs a citation")
    return _stated(label, "given", lhs, rhs, cite, "")


def _stated(label, kind, lhs, rhs, cite, instance):
    words = isinstance(lhs, str)
    receipt = Receipt(label, kind, statement=None if words else Statement(label, lhs, rhs, ()))
    if kind == "definition" and not words and not Premise(label, lhs, rhs).is_rule:
        raise ValueError(
            f"{label}: a definition gives a name to one quantity, and `{receipt.statement.lhs.text()}` "
            "is not one. Prove it with check, or cite it with given"
        )
    receipt.state, receipt.cite = "holds", cite
    receipt.defines = lhs if words else receipt.statement.lhs.text()
    receipt.defines += f", for {instance}" if instance else ""
    receipt.message = f"{lhs}: {rhs}" if words else f"For {instance}." if instance else ""
    return receipt.close()
