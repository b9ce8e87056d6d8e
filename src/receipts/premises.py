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

from receipts.jets import Jet
from receipts.tree import Leaf, Node, node, pattern

MAX_PASSES = 20  # a rule that keeps feeding itself is an error, not a long calculation


class Premise:
    """An equation ``label: lhs = rhs`` that other checks may use.

    ``instance`` says for what the equation is stated anew when its quantities depend on other
    things here than they do under its label: "the trajectory that starts at z_0(theta)".
    """

    def __init__(self, label, lhs, rhs, instance=""):
        self.label, self.lhs, self.rhs, self.instance = label, node(lhs), node(rhs), instance
        if self.lhs.shape != self.rhs.shape:
            raise ValueError(f"{label}: the sides have shapes {self.lhs.shape} and {self.rhs.shape}")
        self.targets = [_target(e) for e in self.lhs.value()]
        self.is_rule = all(t is not None for t in self.targets)

    @property
    def pinned(self):
        """The symbols that confine the rule: no limit of an integral may run through them."""
        if not self.is_rule:
            return set()
        return {a for t in self.targets for a in t.pins.values() if isinstance(a, sp.Symbol)}

    def with_rhs(self, rhs):
        return Premise(self.label, self.lhs, rhs, self.instance)

    def record(self):
        return {"label": self.label, "text": self.statement(), "digest": self.digest(),
                "pattern": pattern(self.lhs, self.rhs), "instance": self.instance}

    def statement(self):
        return f"{self.lhs.text()} = {self.rhs.text()}"

    def digest(self):
        """Tells apart premises that print alike: it sees what each quantity depends on."""
        return hashlib.sha256(repr((self.lhs.key, self.rhs.key)).encode()).hexdigest()[:12]


class Target:
    """What a rule replaces: one component of one function, from some order of differentiation on."""

    def __init__(self, jet):
        self.base, self.orders, self.slots = jet.base, jet.orders, jet.slots
        self.running = {i: a for i, a in enumerate(jet.args) if a == jet.slots[i]}
        self.pins = {i: a for i, a in enumerate(jet.args) if i not in self.running}

    def replace(self, atom, rhs):
        """``rhs`` differentiated and moved to where the atom stands, or None if it is another one."""
        if (atom.base, atom.slots) != (self.base, self.slots):
            return None
        extra = [n - m for n, m in zip(atom.orders, self.orders)]
        if any(n < 0 for n in extra) or any(atom.args[i] != a or extra[i] for i, a in self.pins.items()):
            return None
        for i, symbol in self.running.items():
            for _ in range(extra[i]):
                rhs = rhs.diff(symbol)
        return rhs.subs([(s, atom.args[i]) for i, s in self.running.items() if atom.args[i] != s],
                        simultaneous=True)


class Constant:
    """A rule for a plain symbol."""

    def __init__(self, symbol):
        self.symbol, self.pins = symbol, {}


def _target(entry):
    if isinstance(entry, sp.Symbol):
        return Constant(entry)
    if isinstance(entry, Jet):
        running = [a for a in entry.args if a in entry.slots]
        if all(isinstance(a, sp.Symbol) for a in running) and not any(a.has(Jet) for a in entry.args):
            return Target(entry)
    return None


def arrange(premises, dropped=()):
    """The rules and the hidden subtrees that a list of premises amounts to."""
    rules, hidden = [], {}
    for p in premises:
        if p.is_rule:
            if p.label not in dropped:
                rules += list(zip(p.targets, p.rhs.value()))
        else:
            hidden[p.lhs.key] = _unknown(p) if p.label in dropped else p.rhs
    return rules, {k: v.value() if isinstance(v, Node) else v for k, v in hidden.items()}


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
    if tree.key == key:
        return True
    inside = tree.args if isinstance(tree, Leaf) else tree.children
    return any(uses(c, key) for c in inside if not isinstance(tree, Leaf))
