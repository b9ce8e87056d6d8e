"""Is an expression zero for every choice of its opaque functions? Zero, not zero, or undecided.

*Not zero* is certified by a witness: every opaque quantity gets a rational value made from its name,
and the exact result is not 0. *Zero* is certified by SymPy's ``expand`` and, for quotients,
``together``. A ``simplify`` that gives up proves nothing, and is not used.
"""

import hashlib
import signal
import threading
from contextlib import contextmanager

import sympy as sp

from receipts.jets import outer_jets
from receipts.premises import apply_rules

SEEDS = (0, 1, 2)
DIGITS, TINY = 60, sp.Float("1e-40")  # for witnesses that contain exp or log


class Verdict:
    """``state``: "holds", "refused" or "undecided"; a refusal carries its witness."""

    def __init__(self, state, witness=None, reason=""):
        self.state, self.witness, self.reason = state, witness, reason

    @property
    def fingerprint(self):
        """The exact residual at the witness: the same mistake leaves the same value."""
        return self.witness and self.witness["fingerprint"]


class OutOfTime(Exception):
    pass


@contextmanager
def time_limit(seconds):
    """Stops a calculation that does not end, where the platform has a timer."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(*_):
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rational(name, seed):
    """A rational number that belongs to a name: reproducible, and positive."""
    h = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
    return sp.Rational(h % 89 + 3, (5, 7, 11, 13, 17, 19)[h // 89 % 6])


def decide(residual, rules, pinned=frozenset(), seconds=20):
    """Decide whether the matrix ``residual`` vanishes under the rules.

    ``pinned``: symbols through which no limit may run. Undecided after ``seconds``.
    """
    try:
        with time_limit(seconds):
            return _decide([apply_rules(e, rules) for e in residual], rules, pinned)
    except OutOfTime:
        return Verdict("undecided", reason=f"no decision within {seconds} s")


def _decide(entries, rules, pinned):
    parts = [_split_integrals(e) for e in entries]
    if all(not integrals for _, integrals in parts):
        return _decide_plain([boundary for boundary, _ in parts])
    reason = "no limit of the integral may run"
    for symbol in sorted(_limits(parts) - pinned, key=str, reverse=True):
        verdict = _run_limit(parts, symbol, rules, pinned)
        if verdict.state != "undecided":
            return verdict
        reason = verdict.reason
    computed = [_compute(e) for e in entries]
    if all(c is not None for c in computed):
        return _decide_plain(computed)
    return Verdict("undecided", reason=reason)


def _compute(expression):
    """Integrals without opaque functions, done by SymPy; None where it cannot."""
    rest, integrals = _split_integrals(expression)
    for (t, a, b), integrand in integrals.items():
        value = None if outer_jets(integrand) else sp.integrate(sp.powsimp(sp.expand(integrand)), (t, a, b))
        if value is None or value.has(sp.Integral, sp.Piecewise):
            return None
        rest += value
    return rest


def _run_limit(parts, symbol, rules, pinned):
    """Both sides agree where the limits meet, and so do their derivatives in one limit."""
    others = {(a, b)[a == symbol] for _, ints in parts for _, a, b in ints if symbol in (a, b)}
    if len(others) != 1:
        return Verdict("undecided", reason=f"{symbol} is a limit of integrals that meet in different places")
    other, meeting, slopes = others.pop(), [], []
    for boundary, integrals in parts:
        slope, where_they_meet = boundary.diff(symbol), boundary.subs(symbol, other)
        for (t, a, b), integrand in integrals.items():
            if apply_rules(integrand.diff(symbol), rules).expand() != 0:
                return Verdict("undecided", reason=f"the integrand depends on {symbol}")
            if symbol in (a, b):
                slope += (1 if b == symbol else -1) * integrand.subs(t, symbol)
            else:
                where_they_meet += sp.Integral(integrand, (t, a, b))
        slopes.append(slope)
        meeting.append(where_they_meet)
    for name, entries in (("the derivative in", slopes), ("the limits meet at", meeting)):
        verdict = _decide([apply_rules(e, rules) for e in entries], rules, pinned)
        if verdict.state != "holds":
            if verdict.witness:
                verdict.witness.setdefault("where", f"{name} {symbol}")
            return verdict
    return Verdict("holds")


def _split_integrals(expression):
    """``(rest, {(t, a, b): integrand})``, integrals over the same limits merged."""
    if not expression.has(sp.Integral):
        return expression, {}
    rest, merged = sp.S.Zero, {}
    for term in sp.Add.make_args(sp.expand(expression, deep=False)):
        coefficient, inner = term.as_independent(sp.Integral, as_Add=False)
        if inner == 1:
            rest += term
        elif isinstance(inner, sp.Integral) and len(inner.limits) == 1:
            (t, a, b), factor = inner.limits[0], coefficient
            if coefficient.has(t):
                factor = sp.Symbol("unsplit")
            merged[(t, a, b)] = merged.get((t, a, b), 0) + factor * inner.function
        else:
            raise ValueError(f"cannot decide about a product of integrals: {inner}")
    return rest, {k: v for k, v in merged.items() if v.expand() != 0}


def _limits(parts):
    return {s for _, integrals in parts for _, a, b in integrals for s in (a, b) if s.is_Symbol}


def _decide_plain(entries):
    for seed in SEEDS:
        witness = _witness(entries, seed)
        if witness:
            return Verdict("refused", witness)
    if all(_is_zero(e) for e in entries):
        return Verdict("holds")
    return Verdict("undecided", reason="SymPy can show neither that the difference is zero nor that it is not")


def _witness(entries, seed):
    """The first entry that is not 0 at the values of this seed, or None."""
    values = [_evaluate(e, seed) for e in entries]
    for i, (value, e) in enumerate(zip(values, entries)):
        if value is not None and value != 0:
            at = {str(x): str(rational(str(x), seed)) for x in sorted(_unknowns(e), key=str)[:40]}
            fingerprint = hashlib.sha256(";".join(map(str, values)).encode()).hexdigest()[:16]
            return {"entry": i, "value": str(value), "at": at, "fingerprint": fingerprint, "seed": seed}
    return None


def _unknowns(expression):
    jets = outer_jets(expression)
    return jets | expression.xreplace(dict.fromkeys(jets, sp.S.One)).free_symbols


def _evaluate(expression, seed):
    value = expression.xreplace({x: rational(str(x), seed) for x in outer_jets(expression)})
    value = value.xreplace({x: rational(str(x), seed) for x in value.free_symbols})
    if value.is_Rational:
        return value
    value = sp.N(value, DIGITS)
    if not value.is_Number or value.has(sp.nan, sp.zoo, sp.oo):
        return None
    return sp.N(value, 20) if abs(value) > TINY else sp.S.Zero


def _is_zero(e):
    if e == 0 or e.expand() == 0:
        return True
    for form in (e, e.rewrite(sp.exp)):
        numerator = sp.numer(sp.together(form)).expand()
        # Roots and powers of positive quantities: every witness is positive, too.
        if numerator == 0 or sp.expand(sp.powdenest(sp.powsimp(numerator, force=True), force=True)) == 0:
            return True
    return False
