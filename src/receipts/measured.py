"""Equations between numbers, and orders of convergence: computed twice, and shown to fail when wrong."""

import inspect
import itertools
import time

import numpy as np

from receipts.decide import Verdict
from receipts.ledger import digest
from receipts.receipt import Receipt, Refused

NEAR = 0.10  # one wrong version at least must lie this close to the truth: far ones prove little
ROUNDING = 1e-9  # what rounding and the solver may add to a sampled inequality
ORDER_TOLERANCE = 0.2  # the last observed order, from both sides


def numeric(label, lhs, rhs, *, rtol, wrong, using, cases=(0, 1, 2), statement=""):
    """Show that two ways to compute a quantity agree, and that wrong formulas do not.

    Parameters
    ----------
    lhs, rhs : callable
        ``lhs(case)`` and ``rhs(case)`` return a number or an array.
    rtol : float
        Largest difference allowed, relative to the largest entry.
    wrong : dict
        Name -> callable of a case that recomputes with a wrong formula. At least two, one of them
        within 10 % of the truth. A constant multiple of the right number, or that number shifted
        by a constant, changes the answer and not the formula: it does not count.
    using : sequence
        What it follows from: receipts, premises or labels.
    cases : sequence
        What to compute it for (seeds, parameters): at least two, and the result must differ.
    statement : str
        The equation in LaTeX, as it was checked.

    Raises
    ------
    Refused
    """
    receipt = _open(label, "numeric", using, statement, lhs, rhs, *wrong.values())
    left, right = [_values(label, f, cases) for f in (lhs, rhs)]
    receipt.numbers = _compare(left[0], right[0], rtol)
    receipt.state, receipt.message = "holds", ""
    error = max(_distance(a, b) for a, b in zip(left, right, strict=True))
    if not error <= rtol:
        receipt.say("refused", f"the two ways differ by {error:.1e}, more than {rtol:.0e}")
    elif len(right) < 2 or any(_distance(a, b) <= rtol for a, b in itertools.pairwise(right)):
        receipt.say("toothless", "the number is the same for two cases: it may have been copied")
    elif _same_code(lhs, rhs):
        receipt.say(
            "toothless", "the two ways are one and the same computation; compute the right side another way"
        )
    else:
        _try_numbers(receipt, left, right, rtol, wrong, cases)
    return _close(receipt)


def order(label, error, p, hs, *, wrong, using, statement=""):
    """Show that ``error(h)`` falls like ``h**p`` over the steps ``hs``, and that wrong formulas do not.

    The last observed order must lie within 0.2 of ``p``, from both sides: an order that is too
    high usually means an error that is zero for another reason. ``wrong``: name -> error of h.
    """
    receipt = _open(label, "order", using, statement, error, *wrong.values())
    orders = _orders(label, error, hs)
    receipt.numbers = "Observed orders: " + ", ".join(f"{x:.2f}" for x in orders) + f"; expected {p}."
    good = abs(orders[-1] - p) <= ORDER_TOLERANCE
    receipt.say(
        "holds" if good else "refused", "" if good else f"the observed order is {orders[-1]:.2f}, not {p}"
    )
    if good:
        for name, f in wrong.items():
            seen = _orders(f"{label}, wrong version '{name}'", f, hs)[-1]
            state = "refused" if abs(seen - p) > ORDER_TOLERANCE else "holds"
            receipt.tried("named", name, None, _measured(state, f"order {seen:.2f}"), None)
        if len(wrong) < 2:
            receipt.say("toothless", "an order needs two wrong versions at least")
    return _close(receipt)


def bound(label, lhs, rhs, *, wrong, using, cases, statement=""):
    """Sample an inequality ``lhs(case) <= rhs(case)``, and show that sharper ones are violated.

    ``wrong``: name -> callable that computes a bound which is not one; at least two, and at least
    one of them within 10 % of ``rhs`` in the case that violates it.
    """
    receipt = _open(label, "numeric", using, statement, lhs, rhs, *wrong.values())
    left, right = [np.array(_values(label, lambda c, f=f: float(f(c)), cases)) for f in (lhs, rhs)]
    tightest = int(np.argmin((right - left) / np.maximum(np.abs(right), np.finfo(float).tiny)))
    receipt.numbers = (
        f"Sampled in {len(left)} cases, not proved. Tightest: {left[tightest]:.6g} <= {right[tightest]:.6g}."
    )
    good = bool(np.all(left <= right + ROUNDING * np.abs(right)))
    receipt.say("holds" if good else "refused", "" if good else "a sample violates the bound")
    near = False
    for name, f in wrong.items() if good else ():
        values = np.array(_values(f"{label}, wrong version '{name}'", lambda c, f=f: float(f(c)), cases))
        violated = left > values + ROUNDING * np.abs(values)
        near = near or bool(np.any(violated & (np.abs(values - right) <= NEAR * np.abs(right))))
        state = "refused" if violated.any() else "holds"
        receipt.tried(
            "named", name, None, _measured(state, f"violated in {violated.sum()} of {len(left)} cases"), None
        )
    if good and (len(wrong) < 2 or not near):
        receipt.say("toothless", "it takes two wrong bounds, one of them violated within 10 % of the truth")
    return _close(receipt)


def _open(label, kind, using, statement, *functions):
    receipt = Receipt(label, kind)
    receipt.latex, receipt.seconds = statement, -time.perf_counter()
    receipt.rests_on = [x if isinstance(x, str) else x.label for x in using]
    try:  # the text of the functions: a changed computation makes the receipt stale
        receipt.source = digest("\n".join(inspect.getsource(f) for f in functions))
    except (OSError, TypeError):
        receipt.source = ""
    return receipt


def _close(receipt):
    receipt.seconds += time.perf_counter()
    return receipt.close()


def _try_numbers(receipt, left, right, rtol, wrong, cases):
    near = False
    for name, f in wrong.items():
        values = _values(f"{receipt.label}, wrong version '{name}'", f, cases)
        kind = _mere_change(values, right)
        if kind:
            receipt.say(
                "toothless",
                f"the wrong version '{name}' only {kind} the right number; recompute with a wrong formula",
            )
            return
        off = max(_distance(a, b) for a, b in zip(values, left, strict=True))
        near = near or rtol < off <= NEAR
        state = "refused" if off > rtol else "holds"
        receipt.tried("named", name, None, _measured(state, f"{off:.1e} of its size"), None)
    if len(wrong) < 2 or not near:
        receipt.say("toothless", "it takes two wrong formulas, one of them within 10 % of the truth")


def _measured(state, value):
    return Verdict(state, {"value": value, "fingerprint": value})


def _values(label, f, cases):
    values = [np.asarray(f(c), dtype=float) for c in cases]
    if not all(v.size and np.all(np.isfinite(v)) for v in values):
        raise Refused(f"{label}: a computed number is missing or not finite: {values}")
    return values


def _same_code(f, g):
    """Do two functions run the same lines on the same things?"""

    def what(f):
        code, cells = getattr(f, "__code__", f), getattr(f, "__closure__", None) or ()
        parts = ("co_code", "co_consts", "co_names")
        return (
            [getattr(code, p, code) for p in parts],
            [id(c.cell_contents) for c in cells],
            getattr(f, "__defaults__", None),
        )

    return f is g or what(f) == what(g)


def _distance(a, b):
    if a.shape != b.shape:
        return np.inf
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-300))


def _mere_change(values, right):
    """Is the wrong number the right one times, or plus, a constant?  A flipped sign is a formula."""
    if any(v.shape != r.shape for v, r in zip(values, right, strict=True)):
        return None
    v, r = np.concatenate([np.ravel(x) for x in values]), np.concatenate([np.ravel(x) for x in right])
    factor = (v @ r) / (r @ r)
    if factor and np.max(np.abs(v - factor * r)) < 1e-9 * np.max(np.abs(v)) and abs(abs(factor) - 1) > 1e-9:
        return f"multiplies by {factor:.3g}"
    if np.ptp(v - r) < 1e-9 * np.max(np.abs(r)) and np.any(v != r):
        return f"adds {v[0] - r[0]:.3g} to"
    return None


def _compare(a, b, rtol):
    a, b = np.ravel(a)[:3], np.ravel(b)[:3]
    return (
        f"One way: {', '.join(f'{x:.10g}' for x in a)}. The other: {', '.join(f'{x:.10g}' for x in b)}. "
        f"Allowed difference: {rtol:.0e} of the size."
    )


def _orders(label, error, hs):
    hs = np.array(hs, dtype=float)
    if len(hs) < 3 or np.any(np.diff(hs) >= 0) or hs[-1] <= 0:
        raise ValueError(
            f"{label}: an order needs three steps at least, each smaller than the last; got {list(hs)}"
        )
    errors = np.abs([float(error(h)) for h in hs])
    if not np.all(np.isfinite(errors)) or not np.all(errors):
        raise Refused(f"{label}: an error of {errors} has no order; every one must be finite and not 0")
    return np.diff(np.log(errors)) / np.diff(np.log(hs))
