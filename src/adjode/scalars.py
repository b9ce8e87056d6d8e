"""Small states in plain numbers: f, and a whole step, as straight-line code.

A sum of two arrays of two entries costs NumPy ten times what the two sums cost Python. So what was noted
of f is done once more, with names in place of numbers: whatever is done to a name writes a line.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, array_from_args, concatenate_args

from adjode.problem import FLOAT
from adjode.steps import Counted, trial_step, turned
from adjode.tableau import ButcherTableau

MOST = 8  # entries of a state: of more, the sums of a step cost NumPy less
LINES = 16  # that cost no more than one operation of NumPy's on a small array
FUNCTIONS = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "arctan": math.atan, "sinh": math.sinh,
    "cosh": math.cosh, "tanh": math.tanh, "exp": math.exp, "expm1": math.expm1, "log": math.log,
    "log1p": math.log1p, "sqrt": math.sqrt,
}  # fmt: skip
OPERATORS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/"}
ARITHMETIC = {
    np.add, np.subtract, np.multiply, np.true_divide, np.negative, np.power, np.square, np.absolute,
    *(getattr(np, name) for name in FUNCTIONS), np.sum, np.dot, np.matmul,
    array_from_args.fun, _array_from_scalar_or_array.fun, concatenate_args.fun, ArrayBox.__getitem__.fun,
    np.reshape, np.ravel, np.transpose, np.expand_dims, np.squeeze,
}  # fmt: skip


class Lines:
    """What is written, and the numbers that it names."""

    def __init__(self, most: int):
        self.most, self.lines, self.constants = most, [], []

    def write(self, form: str, *words) -> "Name":
        if len(self.lines) == self.most:
            raise TypeError(f"more than {self.most} lines")
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {form.format(*map(self.said, words))}")
        return Name(name, self)

    def said(self, word) -> str:
        """A name, or that of a number."""
        if isinstance(word, Name):
            return word.name
        self.constants.append(float(word))
        return f"c{len(self.constants) - 1}"


class Name:
    """An entry of the state, or what becomes of it."""

    __slots__ = ["lines", "name"]
    __hash__ = None

    def __init__(self, name: str, lines: Lines):
        self.name, self.lines = name, lines

    def __pow__(self, power):
        if not isinstance(power, Name) and power == 2:  # as NumPy does
            return self * self
        return self.lines.write("pow({}, {})", self, power)

    def __rpow__(self, base):
        return self.lines.write("pow({}, {})", base, self)

    def __bool__(self):
        raise TypeError("a name is neither true nor false")

    def __eq__(self, other):
        raise TypeError("a name is not compared")


def entry(x):
    """A name, or a number: as such, whatever it was in an array of objects."""
    return x if isinstance(x, Name) else float(x)


ENTRIES = np.frompyfunc(entry, 1, 1)  # of an array; of one entry, that entry


def writes(form: str) -> Callable:
    return lambda *words: words[0].lines.write(form, *words)


for method, sign in OPERATORS.items():
    setattr(Name, f"__{method}__", writes(f"{{}} {sign} {{}}"))
    setattr(Name, f"__r{method}__", writes(f"{{1}} {sign} {{0}}"))
for method, form in {"__neg__": "-{}", "__abs__": "abs({})"}.items():
    setattr(Name, method, writes(form))
for method in FUNCTIONS:  # NumPy calls them for the entries of arrays of objects
    setattr(Name, method, writes(f"{method}({{}})"))


class Straight:
    """flat(t, z) in plain numbers, and a whole step. Where these raise, as a quotient by zero does or the
    logarithm of less, NumPy says what it is. `lines` are for the reader."""

    def __init__(self, entries: Callable, flat: Callable, lines: tuple = ()):
        self.entries, self.flat, self.lines = entries, flat, lines

    def __call__(self, t: float, z: np.ndarray) -> np.ndarray:
        try:
            return np.array(self.entries(t, *z.tolist()))
        except (ArithmeticError, ValueError):
            return self.flat(t, z)

    def trial(self, tableau: ButcherTableau, field: Counted, t, z, h, k0, rtol, atol) -> tuple:
        """As `trial_step`, to rounding."""
        others, d = len(tableau.b) - 1, len(z)
        if field.calls + others <= field.limit:
            try:
                step = unrolled(tableau, d)
                *numbers, error = step(self.entries, t, h, rtol, atol, *z.tolist(), *k0.tolist())
                field.calls += others
                found = np.array(numbers).reshape(-1, d)
                return found[:-2], found[-2], found[-1], error
            except (ArithmeticError, ValueError):
                pass
        return trial_step(tableau, field, t, z, h, k0, rtol, atol)

    def turned(self, field: Counted, t, z, k0, v, atol) -> tuple:
        """As `steps.turned`, to rounding."""
        if field.calls < field.limit:
            try:
                turn = difference(len(z))
                *w, rate, along, length = turn(self.entries, t, atol, *z.tolist(), *k0.tolist(), *v.tolist())
                field.calls += 1
                return np.array(w), rate, along, length
            except (ArithmeticError, ValueError):
                pass
        return turned(field, t, z, k0, v, atol)


def straight(nodes: list, roots: list, end, z: np.ndarray, flat: Callable) -> Straight | None:
    """What the notes, `adjode.replay.Noted`, say of an f of t and z, if it is but a little arithmetic."""
    if not 0 < z.size <= MOST:
        return None
    lines = Lines(LINES * len(nodes))
    entries = np.array([Name(f"z{i}", lines) for i in range(z.size)]).reshape(z.shape)
    known = dict(zip(roots, (Name("t", lines), entries), strict=True))
    try:
        for node in nodes:
            known[node] = named(node, known)
        last = ", ".join(map(lines.said, np.ravel(known[end])))
    except Exception:  # something else is done, or too much
        return None
    words, text = ", ".join(f"z{i}" for i in range(z.size)), (*lines.lines, f"return ({last},)")
    made = compiled(f"t, {words}", len(lines.constants), text)
    return Straight(made(*lines.constants), flat, text)


def named(node, known: dict):
    """The call of a node, with names."""
    (fun, value, args, kwargs), ours = node.call, dict(zip(node.argnums, node.parents, strict=True))
    if fun.fun not in ARITHMETIC or np.asarray(value).dtype != float:
        raise TypeError(f"{fun.__name__} may do something else with names")
    words = [known[ours[i]] if i in ours else x for i, x in enumerate(args)]
    if fun is ArrayBox.__getitem__:
        words[0] = np.asarray(words[0])
    found = ENTRIES(fun.fun(*words, **kwargs))
    if np.shape(found) != np.shape(value):
        raise TypeError(f"{fun.__name__} does something else with names")
    return found


@lru_cache
def unrolled(tableau: ButcherTableau, d: int) -> Callable:
    """An explicit step, from f, t, h, rtol, atol, and the entries of z and of k_0, to those of all k_i, of z
    after it, of what it may be off by, and how often it is. Raises ArithmeticError where not finite."""
    every = lambda name: ", ".join(f"{name}{e}" for e in range(d))
    most = lambda name: f"max({every(name)}, 0.0)"
    total = lambda row, e: " + ".join(f"{a!r} * k{i}_{e}" for i, a in enumerate(row) if a) or "0.0"
    lines, names, errors = [], [f"k{i}_" for i in range(len(tableau.b))], tableau.errors.tolist()
    for name, row, c in zip(names[1:], tableau.a.tolist()[1:], tableau.c.tolist()[1:], strict=True):
        states = ", ".join(f"z{e} + h * ({total(row, e)})" for e in range(d))
        lines.append(f"{every(name)}, = f(t + {c!r} * h, {states})")
    for e in range(d):
        lines.append(f"n{e} = z{e} + h * ({total(tableau.b.tolist(), e)})")
        lines.append(f"s{e} = 0.1 * (atol + rtol * max(abs(z{e}), abs(n{e})))")
        lines += [f"x{m}_{e} = abs(h * ({total(row, e)})) / s{e}" for m, row in enumerate(errors)]
    sizes = [f"x{m}_" for m in range(len(errors))]
    sums = " + ".join(f"{name}{e}" for name in ("n", *sizes, *names) for e in range(d))
    lines += [f"if 0.0 * ({sums}):", "    raise ArithmeticError", f"error = {most('x0_')}"]
    if len(errors) == 2:
        lines.append(f"error = error and error ** 2 / hypot(error, 0.1 * {most('x1_')})")
    lines.append(f"return {', '.join(map(every, (*names, 'n', 's')))}, error")
    return compiled(f"f, t, h, rtol, atol, {every('z')}, {every('k0_')}", 0, tuple(lines))()


@lru_cache
def difference(d: int) -> Callable:
    """From f, t, atol, and the entries of z, k_0 and v to the entries of w, and the numbers of `turned`."""
    every = lambda form: ", ".join(form.format(e) for e in range(d))
    product = lambda x, y: " + ".join(f"{x}{e} * {y}{e}" for e in range(d))
    lines = [
        f"size, length = 1e-7 * sqrt({product('z', 'z')}) + atol, sqrt({product('v', 'v')})",
        "s = size / length",
        f"{every('w{}')}, = f(t, {every('z{0} + s * v{0}')})",
        *(f"w{e} = (w{e} - k{e}) / size" for e in range(d)),
        f"return {every('w{}')}, sqrt({product('w', 'w')}), {product('w', 'v')}, length",
    ]
    return compiled(f"f, t, atol, {every('z{}')}, {every('k{}')}, {every('v{}')}", 0, tuple(lines))()


@lru_cache(64)
def compiled(args: str, constants: int, lines: tuple) -> Callable:
    """The function that takes the constants, and returns that of the arguments."""
    head = f"def given({', '.join(f'c{i}' for i in range(constants))}):\n    def written({args}):\n"
    body = "".join(f"        {line}\n" for line in lines)
    scope = {"array": np.array, "concatenate": np.concatenate, "FLOAT": FLOAT}
    scope |= {"pow": math.pow, "hypot": math.hypot, **FUNCTIONS}
    exec(compile(f"{head}{body}    return written", "<f, replayed>", "exec"), scope)
    return scope["given"]
