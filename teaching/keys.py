"""Keys: the right answer of a question, its wrong versions by name, and how a claim is judged.

A claim is what a submission sent (``runner.py``): plain JSON, possibly forged. Nothing of it is
executed or unpickled; a formula is read by `evaluate`, which knows arithmetic and a few functions.
"""

import ast
import math
from dataclasses import dataclass, field

import numpy as np

# What `runner.py` sends of one array at most.
LARGEST_ARRAY = 2_000
# What a right answer may differ by when it is rounded to six digits.
RTOL = 1e-4
# A claim this near to the answer of another sheet is that answer.
SAME = 1e-6
# A claim further from the answer than this is not called near to it, however wide the tolerance is.
NEAR = 0.05


@dataclass(frozen=True)
class Verdict:
    """``state``: right, mistake, other, wrong, form, error, blank or missing."""

    state: str
    message: str
    with_whom: str = ""

    @property
    def right(self):
        return self.state == "right"


# Claims


def as_numbers(claim):
    """The numbers of a claim in one row; None if it holds anything else."""
    if not isinstance(claim, dict):
        return None
    if claim.get("kind") == "list" and isinstance(claim.get("items"), list):
        parts = [as_numbers(item) for item in claim["items"][:60]]
        return None if not parts or any(p is None for p in parts) else np.concatenate(parts)
    values = claim.get("values")
    if claim.get("kind") != "numbers" or not isinstance(values, list) or len(values) > LARGEST_ARRAY:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return None
    return np.array(values, dtype=float)


def shown(text, most=300):
    """A student's text in one line of code, which it cannot leave."""
    text = "".join(c if c.isprintable() else " " for c in str(text)[:most]).replace("`", "'")
    return f"`{text.strip() or ' '}`"


def as_text(claim):
    if isinstance(claim, dict) and claim.get("kind") in {"text", "formula"}:
        return str(claim.get("text", ""))[:4000]
    return None


def open_verdict(claim, name):
    """What is said of an answer that is not there; None if it is."""
    if claim is None:
        return Verdict(
            "missing", f"There is no `{name}`: its cell was deleted or renamed, or an error came first."
        )
    if isinstance(claim, dict) and claim.get("kind") == "blank":
        return Verdict("blank", "Not answered.")
    return None


def close(a, b, rtol):
    """Each number by its own size; a zero by the size of the largest, or by 1."""
    a, b = np.ravel(a).astype(float), np.ravel(b).astype(float)
    if a.shape != b.shape or not np.isfinite(a).all():
        return False
    largest = np.max(np.abs(b), initial=0.0) or 1.0
    return bool(np.all(np.abs(a - b) <= rtol * np.maximum(np.abs(b), 1e-3 * largest)))


def rounded(answer, right):
    """Whether these are the right numbers with two to five decimals, the last one off by one at most."""
    far = np.max(np.abs(answer - right))
    return any(
        far < 1.5 * 10.0**-d < 1.5 * np.min(np.abs(right)) and np.array_equal(answer, np.round(answer, d))
        for d in (2, 3, 4, 5)
    )


# Formulas

FUNCTIONS = {
    "exp": math.exp,
    "log": math.log,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "sqrt": math.sqrt,
    "cosh": math.cosh,
    "sinh": math.sinh,
    "tan": math.tan,
}
CONSTANTS = {"pi": math.pi, "E": math.e}


def evaluate(text, values):
    """The value of a formula written as Python, in floating-point numbers.

    Raises ValueError for anything that is not arithmetic, a known name or a known function. Numbers
    are floats from the start, so that no power can grow beyond one.
    """
    try:
        tree = ast.parse(text.replace("^", "**").strip(), mode="eval")
        return _value(tree.body, values)
    except (SyntaxError, RecursionError, MemoryError, OverflowError, ZeroDivisionError, TypeError) as error:
        raise ValueError(f"it cannot be read as a formula ({type(error).__name__})") from None


def _value(node, values):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)
    if isinstance(node, ast.Name):
        known = CONSTANTS | values
        if node.id not in known:
            raise ValueError(f"it uses the name {node.id[:30]!r}; it may use {', '.join(sorted(values))}")
        return float(known[node.id])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _value(node.operand, values)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, values), _value(node.right, values)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
            case ast.Pow():
                power = left**right
                if isinstance(power, float):
                    return power
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in FUNCTIONS:
            return FUNCTIONS[name](_value(node.args[0], values))
    raise ValueError("it may use + - * / **, numbers, the given names and " + ", ".join(FUNCTIONS))


# Keys


@dataclass(frozen=True)
class Numbers:
    """One number or an array. ``mistakes``: what went wrong -> the numbers that it gives."""

    right: object
    mistakes: dict = field(default_factory=dict)
    rtol: float = RTOL
    personal: bool = True  # whether two students' answers agree only when one has the other's

    def judge(self, claim, name, others=()):
        if verdict := open_verdict(claim, name):
            return verdict
        answer, right = as_numbers(claim), np.ravel(self.right)
        if answer is None:
            return Verdict("form", f"Numbers are needed here; `{name}` is {kind(claim)}.")
        if answer.shape != right.shape:
            return Verdict("form", f"{right.size} numbers are needed; `{name}` has {answer.size}.")
        if not np.isfinite(answer).all():
            return Verdict("form", f"`{name}` holds a number that is not finite.")
        if close(answer, right, self.rtol):
            return Verdict("right", "Right.")
        for slip, wrong in self.mistakes.items():
            if close(answer, wrong, self.rtol):
                return Verdict("mistake", f"Not yet: {slip}.")
        if close(answer, -right, self.rtol):
            return Verdict("mistake", "Not yet: the right size, with the other sign.")
        if self.personal and not close(answer, right, 10 * self.rtol):
            for who, key in others:
                if close(answer, key.right, SAME):
                    return other_sheet(who)
        if right.size > 1 and close(np.sort(answer), np.sort(right), self.rtol):
            return Verdict("mistake", "Not yet: these are the numbers, in another order.")
        if close(answer, right, min(30 * self.rtol, NEAR)) or rounded(answer, right):
            return Verdict(
                "wrong",
                f"Very near, but not within {100 * self.rtol:g} % of it: from too rough a solve, or rounded.",
            )
        good = [str(i + 1) for i in range(right.size) if close(answer[i], right[i], self.rtol)]
        more = f" Right so far: number {', '.join(good[:20])}." if good else ""
        return Verdict("wrong", "Not right, and not one of the mistakes that this exercise knows." + more)

    def wrong_versions(self):
        return [(slip, not close(wrong, self.right, 30 * self.rtol)) for slip, wrong in self.mistakes.items()]


@dataclass(frozen=True)
class Choice:
    """A letter or a word."""

    right: str
    mistakes: dict = field(default_factory=dict)

    def judge(self, claim, name, others=()):
        if verdict := open_verdict(claim, name):
            return verdict
        answer = as_text(claim)
        if answer is None:
            return Verdict("form", f"A letter in quotes is needed here; `{name}` is {kind(claim)}.")
        answer = answer.strip().lower()
        if answer == self.right:
            return Verdict("right", "Right.")
        return Verdict("wrong", f"Not yet: {self.mistakes.get(answer, 'there is no such letter')}.")

    def wrong_versions(self):
        return []


@dataclass(frozen=True)
class Formula:
    """A formula in the names of ``ranges``, compared by its values at points drawn from these.

    ``given``: names of data that may stand in it, too, with their values.
    """

    right: object  # callable of the names
    ranges: dict
    mistakes: dict = field(default_factory=dict)  # slip -> callable
    rtol: float = RTOL
    given: dict = field(default_factory=dict)

    def points(self):
        rng = np.random.default_rng(20)
        return [{n: rng.uniform(*r) for n, r in self.ranges.items()} for _ in range(7)]

    def table(self, function):
        return [function(**point) for point in self.points()]

    def judge(self, claim, name, others=()):
        if verdict := open_verdict(claim, name):
            return verdict
        text = as_text(claim)
        number = as_numbers(claim)
        if text is None and number is not None and number.size == 1:
            text = repr(float(number[0]))
        if text is None:
            return Verdict(
                "form", f"A formula is needed here, in quotes or from SymPy; `{name}` is {kind(claim)}."
            )
        try:
            answer = [evaluate(text, self.given | point) for point in self.points()]
        except ValueError as error:
            return Verdict("form", f"This is no formula that can be marked: {error}.")
        if close(answer, self.table(self.right), self.rtol):
            return Verdict("right", "Right.")
        for slip, wrong in self.mistakes.items():
            if close(answer, self.table(wrong), self.rtol):
                return Verdict("mistake", f"Not yet: {slip}.")
        for who, key in others:
            if close(answer, self.table(key.right), self.rtol):
                return other_sheet(who)
        return Verdict("wrong", "Not right, and not one of the mistakes that this exercise knows.")

    def wrong_versions(self):
        right = self.table(self.right)
        return [(s, not close(self.table(w), right, 30 * self.rtol)) for s, w in self.mistakes.items()]


@dataclass(frozen=True)
class Function:
    """A function: the submission evaluates it on ``inputs``, which are no secret."""

    right: object  # callable
    inputs: list  # argument lists, of numbers and nested lists
    mistakes: dict = field(default_factory=dict)  # slip -> callable
    rtol: float = RTOL

    def table(self, function):
        return [
            flat(function(*[np.array(a) if isinstance(a, list) else a for a in args])) for args in self.inputs
        ]

    def judge(self, claim, name, others=(), results=None):
        if verdict := open_verdict(claim, name):
            return verdict
        if not (isinstance(claim, dict) and claim.get("kind") == "function"):
            return Verdict("form", f"A function is needed here; `{name}` is {kind(claim)}.")
        if not isinstance(results, list) or len(results) != len(self.inputs):
            return Verdict(
                "error", f"`{name}` brought nothing back: it did not end, or brought everything down."
            )
        answers = []
        for result in results:
            if isinstance(result, dict) and result.get("kind") == "error":
                what = f"{str(result.get('type'))[:60]}: {str(result.get('text'))[:200]}"
                return Verdict("error", f"`{name}` failed: {shown(what)}.")
            if isinstance(result, dict) and result.get("kind") == "blank":
                return Verdict("blank", f"`{name}` returns nothing yet.")
            if (numbers := as_numbers(result)) is None:
                return Verdict("form", f"`{name}` should return numbers; it returned {kind(result)}.")
            answers.append(numbers)
        return self.compare(answers, name, others)

    def compare(self, answers, name, others):
        right = self.table(self.right)
        if any(a.shape != r.shape for a, r in zip(answers, right, strict=True)):
            sizes = f"{right[0].size} numbers; it returned {answers[0].size}"
            return Verdict("form", f"`{name}` should return {sizes}.")
        if self.agree(answers, right):
            return Verdict("right", "Right, on inputs that it had not seen.")
        for slip, wrong in self.mistakes.items():
            if self.agree(answers, self.table(wrong)):
                return Verdict("mistake", f"Not yet: {slip}.")
        for who, key in others:
            if self.agree(answers, self.table(key.right)):
                return other_sheet(who)
        good = sum(close(a, r, self.rtol) for a, r in zip(answers, right, strict=True))
        if good == 0 and len(answers) > 1 and all(np.array_equal(a, answers[0]) for a in answers):
            return Verdict("wrong", "Not right: it returns the same numbers whatever it is given.")
        if all(close(a, r, min(30 * self.rtol, NEAR)) for a, r in zip(answers, right, strict=True)):
            return Verdict(
                "wrong", f"Very near, but not within {100 * self.rtol:g} %: are there differences in it?"
            )
        where = f"Right for {good} of the {len(right)} inputs" if good else "Not right"
        return Verdict("wrong", f"{where}, and not one of the mistakes that this exercise knows.")

    def agree(self, answers, table):
        return all(close(a, b, self.rtol) for a, b in zip(answers, table, strict=True))

    def wrong_versions(self):
        right, loose = self.table(self.right), 30 * self.rtol
        return [
            (s, not all(close(a, b, loose) for a, b in zip(self.table(w), right, strict=True)))
            for s, w in self.mistakes.items()
        ]


@dataclass(frozen=True)
class Prediction(Function):
    """A function of time, judged by its root mean square error on held-out times."""

    limit: float = 0.0

    def compare(self, answers, name, others):
        truth = np.concatenate(self.table(self.right))
        answer = np.concatenate(answers)
        if answer.shape != truth.shape:
            return Verdict("form", f"`{name}` should return one number for each time.")
        if not np.isfinite(answer).all():
            return Verdict("form", f"`{name}` returns a number that is not finite.")
        score = float(np.sqrt(np.mean((answer - truth) ** 2)))
        words = f"held-out error {score:.2g}, where {self.limit:.2g} is asked for"
        if score <= self.limit:
            return Verdict("right", f"Right: {words}.")
        for slip, wrong in self.mistakes.items():
            other = np.concatenate(self.table(wrong))
            if np.sqrt(np.mean((answer - other) ** 2)) <= self.limit / 4:
                return Verdict("mistake", f"Not yet: {slip} ({words}).")
        for who, key in others:
            if np.sqrt(np.mean((answer - np.concatenate(self.table(key.right))) ** 2)) <= self.limit / 2:
                return other_sheet(who)
        return Verdict("wrong", f"Not yet: {words}.")

    def wrong_versions(self):
        truth = np.concatenate(self.table(self.right))
        return [
            (s, np.sqrt(np.mean((np.concatenate(self.table(w)) - truth) ** 2)) > 2 * self.limit)
            for s, w in self.mistakes.items()
        ]


def flat(value):
    if isinstance(value, (tuple, list)):
        return np.concatenate([flat(v) for v in value])
    return np.ravel(np.asarray(value, dtype=float))


def kind(claim):
    """A claim in words."""
    if not isinstance(claim, dict):
        return "something unreadable"
    words = {
        "text": "text",
        "formula": "a formula",
        "function": "a function",
        "numbers": "numbers",
        "blank": "empty",
        "list": "a list of several things",
    }
    return words.get(str(claim.get("kind")), f"of the type {shown(claim.get('text', '?'), 60)}")


def other_sheet(who):
    return Verdict(
        "other",
        "Right for another sheet than yours. Each sheet has data of its own. The way is the same: go"
        " through it once more with your data.",
        who,
    )
