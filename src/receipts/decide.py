"""Is an expression zero for every choice of its opaque functions? Zero, not zero, or undecided.

*Not zero* is certified by a witness: every opaque quantity gets a rational value made from its name,
and the exact result is not 0. *Zero* is certified by SymPy's ``expand`` and, for quotients,
``together``. A ``simplify`` that gives up proves nothing, and is not used.

Integrals of opaque functions are not computed. One of their limits runs: where it meets another
the integral is empty, and its derivative is the integrand. Both must agree.
"""

import hashlib
import signal
import threading
from contextlib import contextmanager

import sympy as sp

from receipts.depends import silent
from receipts.jets import outer_jets, short_name
from receipts.premises import apply_rules

SEEDS = (0, 1, 2)
# For witnesses that contain exp or log: what is that much smaller than its terms has cancelled.
DIGITS, MOST_DIGITS, TINY = 60, 2000, sp.Float("1e-40")
MAX_DEPTH = 2  # an integrand like exp(t_1 - t) never loses its t_1
BOUND = sp.Dummy("s")  # the one variable of integration, whatever the author called it
POSITIVE = "Where what stands under roots, powers and logarithms is positive"


class Verdict:
    """``state``: "holds", "refused" or "undecided". A refusal carries its witness, and what holds
    only under a condition says so in ``reason``."""

    def __init__(self, state, witness=None, reason=""):
        self.state, self.witness, self.reason = state, witness, reason

    @property
    def fingerprint(self):
        """The exact residual at the witness: the same mistake leaves the same value."""
        return self.witness and self.witness["fingerprint"]


class OutOfTime(BaseException):
    """No Exception, so that no `except Exception` inside a calculation swallows it."""


class Undecidable(Exception):
    """An expression of a kind that nothing here can decide."""


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
    """A rational number that belongs to a name: reproducible, positive, and small, for exponentials."""
    h = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8])
    return sp.Rational(h % 37 + 2, (11, 13, 17, 19, 23)[h // 37 % 5])


def decide(residual, rules, seconds):
    """Decide whether the matrix ``residual`` vanishes under the rules; undecided after ``seconds``."""
    try:
        with time_limit(seconds):
            # A limit does not run through what a rule has tied to it without saying so.
            unseen = silent(rules)
            fixed = {s for t, _ in rules if not t.vanishes for s in unseen[t.quantity]}
            return _decide([apply_rules(e, rules) for e in residual], rules, fixed)
    except OutOfTime:
        return Verdict("undecided", reason=f"no decision within {seconds} s")
    except Undecidable as error:
        return Verdict("undecided", reason=str(error))


def _decide(entries, rules, fixed, depth=MAX_DEPTH):
    """``depth``: how often an integrand may still be differentiated in a limit."""
    parts = [_split_integrals(e) for e in entries]
    if all(not integrals for _, integrals in parts):
        return _decide_plain([boundary for boundary, _ in parts])
    reason = "no limit of the integral may run; where it is a number, write a variable (var)"
    for symbol in sorted(_limits(parts) - fixed, key=str, reverse=True):
        verdict = _run_limit(parts, symbol, rules, fixed, depth)
        if verdict.state != "undecided":
            return verdict
        reason = verdict.reason
    computed = [_compute(boundary, integrals) for boundary, integrals in parts]
    if all(c is not None for c in computed):
        return _decide_plain(computed)
    return Verdict("undecided", reason=reason)


def _compute(boundary, integrals):
    """Integrals without opaque functions, done by SymPy; None where it cannot."""
    for (a, b), integrand in integrals.items():
        if outer_jets(integrand):
            return None
        value = sp.integrate(sp.powsimp(sp.expand(integrand)), (BOUND, a, b))
        if value.has(sp.Integral, sp.Piecewise):
            return None
        boundary += value
    return boundary


def _run_limit(parts, symbol, rules, fixed, depth):
    """Both sides agree where two limits meet, and so do their derivatives in one of them."""
    limits = {x for _, integrals in parts for pair in integrals for x in pair}
    if any(symbol in x.free_symbols for x in limits - {symbol}):
        return Verdict("undecided", reason=f"the limits of the integrals are tied by {symbol}")
    partners = {x for _, integrals in parts for pair in integrals if symbol in pair for x in pair}
    other, meeting, slopes = min(partners - {symbol}, key=str), [], []
    for boundary, integrals in parts:
        slope, where_they_meet = boundary.diff(symbol), boundary.subs(symbol, other)
        for (a, b), integrand in integrals.items():
            change = apply_rules(integrand.diff(symbol), rules).expand()
            if change != 0 and depth <= 0:
                return Verdict("undecided", reason=f"the integrand depends on {symbol}")
            slope += sp.Integral(change, (BOUND, a, b)) if change != 0 else 0
            slope += ((b == symbol) - (a == symbol)) * integrand.subs(BOUND, symbol)
            start, end = a.subs(symbol, other), b.subs(symbol, other)
            if start != end:
                where_they_meet += sp.Integral(integrand.subs(symbol, other), (BOUND, start, end))
        slopes.append(slope)
        meeting.append(where_they_meet)
    stages = [
        _decide([apply_rules(e, rules) for e in x], rules, fixed, depth - (x is slopes))
        for x in (slopes, meeting)
    ]
    for name, verdict in zip(("the derivative in", "the limits meet at"), stages, strict=True):
        if verdict.state == "refused":
            # Two mistakes may share the first difference; only both together tell them apart.
            both = str([v.fingerprint for v in stages])
            verdict.witness |= {"where": f"{name} {symbol}", "fingerprint": _short_hash(both)}
            return verdict
    undecided = [v for v in stages if v.state == "undecided"]
    conditions = dict.fromkeys(v.reason for v in stages if v.reason)  # none of them is lost
    return undecided[0] if undecided else Verdict("holds", reason="; ".join(conditions))


def _split_integrals(expression):
    """``(rest, {(a, b): integrand})``: integrals over the same limits merged, all over ``BOUND``."""
    if not expression.has(sp.Integral):
        return expression, {}
    rest, merged = sp.S.Zero, {}
    for term in sp.Add.make_args(sp.expand(expression, deep=False)):
        coefficient, inner = term.as_independent(sp.Integral, as_Add=False)
        if inner == 1:
            rest += term
        elif isinstance(inner, sp.Integral):
            *within, (t, a, b) = inner.limits
            if a == b:
                continue
            integrand = sp.Integral(inner.function, *within) if within else inner.function
            if sp.default_sort_key(a) > sp.default_sort_key(b):
                a, b, coefficient = b, a, -coefficient
            merged[(a, b)] = merged.get((a, b), 0) + coefficient * integrand.subs(t, BOUND)
        else:
            raise Undecidable(f"an integral stands inside a product or a function: {inner}")
    return rest, {k: v for k, v in merged.items() if v.expand() != 0}


def _limits(parts):
    return {x for _, integrals in parts for pair in integrals for x in pair if x.is_Symbol}


def _decide_plain(entries):
    defined = False
    for seed in SEEDS:
        values = [_evaluate(e, seed) for e in entries]
        witness = _witness(entries, values, seed)
        if witness:
            return Verdict("refused", witness)
        defined = defined or None not in values
    if not defined:
        return Verdict(
            "undecided",
            reason="the difference has no value, whatever the quantities are: is something divided by 0?",
        )
    for test, note in ((_is_zero, ""), (_is_zero_where_positive, POSITIVE)):
        if all(test(e) for e in entries):
            return Verdict("holds", reason=note)
    return Verdict(
        "undecided", reason="SymPy can show neither that the difference is zero nor that it is not"
    )


def _witness(entries, values, seed):
    """The first entry that is not 0, with the values that show it, or None."""
    for i, (value, e) in enumerate(zip(values, entries, strict=True)):
        if value is not None and value != 0:
            at = {short_name(x): str(rational(str(x), seed)) for x in sorted(_unknowns(e), key=str)[:40]}
            return {
                "entry": i,
                "value": str(value),
                "at": at,
                "fingerprint": _short_hash(str(values)),
                "seed": seed,
            }
    return None


def _short_hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _unknowns(expression):
    jets = outer_jets(expression)
    return jets | expression.xreplace(dict.fromkeys(jets, sp.S.One)).free_symbols


def _evaluate(expression, seed):
    value = expression.xreplace({x: rational(str(x), seed) for x in outer_jets(expression)})
    value = value.xreplace({x: rational(str(x), seed) for x in value.free_symbols})
    if value.is_Rational:
        return value
    number = sp.N(value, DIGITS, maxn=MOST_DIGITS)
    if not number.is_number or number.has(sp.nan, sp.zoo, sp.oo):
        return None
    largest = max(abs(sp.N(term, DIGITS)) for term in sp.Add.make_args(value))
    return sp.N(number, 20) if abs(number) > TINY * largest else sp.S.Zero


def _numerators(e):
    """The numerators of an expression, as it is and with its functions written as exponentials."""
    return [sp.numer(sp.together(form)).expand() for form in (e, e.rewrite(sp.exp))]


def _is_zero(e):
    return e == 0 or e.expand() == 0 or 0 in _numerators(e)


def _is_zero_where_positive(e):
    """The same with sqrt(x^2) = x and the like, which needs positive x. So are all values of a witness."""

    def forced(n):
        return sp.expand(sp.powdenest(sp.powsimp(sp.expand_log(n, force=True), force=True), force=True))

    return _is_zero(e) or any(forced(n) == 0 for n in _numerators(e))
