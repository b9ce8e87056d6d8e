"""Premises: equations that a check may use, and must use.

A premise whose left side is one quantity (a derivative of a trajectory, a value at one time, a new
name) is a *rule*: the quantity is replaced by the right side. Where its arguments run, the rule
holds everywhere and so do its derivatives; an argument pinned at ``t_1`` confines it to there.

Any other premise is an *identity*, such as a product rule. SymPy knows those, so using one would
mean nothing. Its left side is therefore hidden: where it stands as written it is an unknown
until the identity says what it equals.
"""

import hashlib

import sympy as sp

from receipts.jets import Jet, jet
from receipts.tree import node, pattern

MAX_PASSES = 20  # a rule that keeps feeding itself is an error, not a long calculation


class Premise:
    """An equation ``label: lhs = rhs`` that other checks may use.

    ``instance`` says for what the equation is stated anew when its quantities depend on other
    things here than they do under its label: "the trajectory that starts at z_0(theta)".
    ``under``: the premises that it rests on itself; None where it is restated and they are not known.
    """

    def __init__(self, label, lhs, rhs, instance="", under=None):
        self.label, self.instance, self.under = label, instance, under
        self.checked = False  # has a check of its own, in sight of the one that uses it
        self.lhs, self.rhs = node(lhs), node(rhs)
        if self.lhs.shape != self.rhs.shape:
            raise ValueError(f"{label}: the sides have shapes {self.lhs.shape} and {self.rhs.shape}")
        self.targets = [_target(e) for e in self.lhs.value()]
        self.is_rule = all(t is not None for t in self.targets)

    def with_rhs(self, rhs):
        return Premise(self.label, self.lhs, rhs, self.instance, self.under)

    def rules(self):
        return list(zip(self.targets, self.rhs.value(), strict=True)) if self.is_rule else []

    def all_rules(self):
        """Its own rules and those of all that it rests on."""
        return self.rules() + [r for p in self.under or () for r in p.all_rules()]

    def record(self):
        return {
            "label": self.label,
            "text": self.statement(),
            "digest": self.digest(),
            "pattern": pattern(self.lhs, self.rhs),
            "instance": self.instance,
        }

    def statement(self):
        return f"{self.lhs.text()} = {self.rhs.text()}"

    def digest(self):
        """Tells apart premises that print alike: it sees what each quantity depends on."""
        return hashlib.sha256(repr((self.lhs.key, self.rhs.key)).encode()).hexdigest()[:12]


class Target:
    """What a rule replaces: one component of one function, from some order of differentiation on."""

    def __init__(self, atom):
        self.base, self.orders, self.slots = atom.base, atom.orders, atom.slots
        self.running = {i: a for i, a in enumerate(atom.args) if a == atom.slots[i]}
        self.pins = {i: a for i, a in enumerate(atom.args) if i not in self.running}
        self.quantity, self.own = owner(atom), set(self.running.values())
        self.same = (atom.base, atom.orders, atom.args)  # two rules for the same are one too many
        # Always replaced as a whole, so that nothing of it is left to differentiate.
        self.vanishes = not self.pins and not any(atom.orders)

    def replace(self, atom, rhs):
        """``rhs`` differentiated and moved to where the atom stands, or None if it is another one."""
        if (atom.base, atom.slots) != (self.base, self.slots):
            return None
        extra = [n - m for n, m in zip(atom.orders, self.orders, strict=True)]
        moved = [(s, atom.args[i]) for i, s in self.running.items() if atom.args[i] != s]
        if any(n < 0 for n in extra) or any(extra[i] for i in self.pins):
            return None
        if any(atom.args[i] != sp.sympify(a).subs(moved, simultaneous=True) for i, a in self.pins.items()):
            return None
        orders = list(self.orders)
        for i, symbol in self.running.items():
            for _ in range(extra[i]):
                rhs = rhs.diff(symbol) - self._through_pins(symbol, orders)
                orders[i] += 1
        return rhs.subs(moved, simultaneous=True)

    def _through_pins(self, symbol, orders):
        """What z(t_0, .., t_0) changes in its pinned slot, when the pin itself moves with the symbol."""
        args = [self.pins.get(i, s) for i, s in enumerate(self.slots)]
        change = sp.S.Zero
        for i, pin in self.pins.items():
            raised = tuple(n + (j == i) for j, n in enumerate(orders))
            change += sp.diff(pin, symbol) * jet(self.base, raised, self.slots)(*args)
        return change


class Constant:
    """A rule for a plain symbol."""

    def __init__(self, symbol):
        self.symbol, self.pins, self.own, self.vanishes = symbol, {}, {symbol}, True
        self.quantity = self.same = symbol


def owner(quantity):
    """What all components and derivatives of a function share; a plain symbol is its own."""
    return (quantity.base[0], quantity.slots) if isinstance(quantity, Jet) else quantity


def _target(entry):
    if isinstance(entry, sp.Symbol):
        return Constant(entry)
    if isinstance(entry, Jet):
        running = [a for a in entry.args if a in entry.slots]
        if all(isinstance(a, sp.Symbol) for a in running) and not any(a.has(Jet) for a in entry.args):
            return Target(entry)
    return None


def arrange(premises, dropped=None):
    """The rules and the hidden subtrees that a list of premises amounts to, without the dropped one."""
    rules, hidden, taken = [], {}, {}
    for p in premises:
        for quantity in [t.same for t in p.targets] if p.is_rule else [p.lhs.key]:
            if quantity in taken:
                raise ValueError(
                    f"{taken[quantity]} and {p.label} both say what `{p.lhs.text()}` is; keep one"
                )
            taken[quantity] = p.label
        if not p.is_rule:
            hidden[p.lhs.key] = _unknown(p) if p is dropped else p.rhs.value()
        elif p is not dropped:
            rules += p.rules()
    return rules, hidden


def overlaps(rules):
    """Yields (one rhs, another): what two rules say about the same thing, one of them differentiated."""
    targets = [(t, rhs) for t, rhs in rules if isinstance(t, Target)]
    for n, (one, rhs) in enumerate(targets):
        for other, rhs_of_other in targets[n + 1 :]:
            if (one.base, one.slots) != (other.base, other.slots):
                continue
            orders = tuple(map(max, one.orders, other.orders))
            if orders not in (one.orders, other.orders):
                continue
            atom = jet(one.base, orders, one.slots)(
                *[one.pins.get(i, other.pins.get(i, s)) for i, s in enumerate(one.slots)]
            )
            both = one.replace(atom, rhs), other.replace(atom, rhs_of_other)
            if None not in both:
                yield both


def _unknown(premise):
    rows, cols = premise.lhs.shape
    name = f"unknown_{premise.digest()}"
    return sp.Matrix(rows, cols, lambda i, j: sp.Symbol(f"{name}_{i}{j}"))


def apply_rules(expression, rules):
    """Every quantity that a rule replaces is replaced, also inside other functions."""
    constants = {t.symbol: rhs for t, rhs in rules if isinstance(t, Constant)}
    targets = [(t, rhs) for t, rhs in rules if isinstance(t, Target)]
    for _ in range(MAX_PASSES):
        new = _pass(expression, targets, constants)
        if new == expression:
            return new
        expression = new
    raise ValueError("the premises replace one another without end; state each for another quantity")


def _pass(e, targets, constants):
    if e in constants:
        return constants[e]
    if not e.args:
        return e
    e = e.func(*[_pass(a, targets, constants) for a in e.args])
    if isinstance(e, Jet):
        for target, rhs in targets:
            new = target.replace(e, rhs)
            if new is not None:
                return new
    return e


def uses(tree, key):
    """Does the subtree stand in the tree as written?"""
    return tree.key == key or any(uses(c, key) for c in tree.children)
