"""Equations kept as they are written.

SymPy sorts sums, multiplies matrices out and performs a product rule the moment it sees one, so a
SymPy expression no longer knows what its author wrote. A small tree does. Each node prints as LaTeX
and as plain text, and its ``sympy`` attribute is an ordinary SymPy matrix that can be taken away.

Vectors are columns unless declared rows; Jacobians are (outputs x inputs); a scalar is 1 x 1.
"""

from itertools import pairwise

import sympy as sp

from receipts.jets import jet, latex_name

SIZE = 2  # D = P = 2: the smallest size at which a transpose shows
SUM, MINUS, PRODUCT, FACTOR, ATOM, ALWAYS = range(6)  # how firmly what is printed holds together


class ShapeError(ValueError):
    """Two quantities whose shapes do not fit."""


class Node:
    """A quantity: ``children`` are nodes, ``data`` the rest, ``key`` tells equal trees apart."""

    binds = ATOM

    def __init__(self, *children, data=()):
        self.children, self.data = children, data
        self.key = (type(self).__name__, data, tuple(c.key for c in children))
        self._value = None
        self.value()  # a shape that does not fit is reported where it is written

    def value(self, hidden=None):
        """The SymPy matrix; ``hidden`` maps keys to matrices that stand in for whole subtrees."""
        if hidden:
            if self.key in hidden:
                return hidden[self.key]
            return self.compute([c.value(hidden) for c in self.children])
        if self._value is None:
            self._value = self.compute([c.value() for c in self.children])
        return self._value

    def rebuild(self, children):
        return type(self)(*children, data=self.data)

    @property
    def shape(self):
        return self.value().shape

    @property
    def sympy(self):
        """The quantity as SymPy: a scalar, or an explicit matrix of its components."""
        return self.value()[0, 0] if self.shape == (1, 1) else self.value()

    @property
    def T(self):
        return Transpose(self)

    @property
    def I(self):  # noqa: E743 (the inverse, as NumPy's matrix writes it)
        return Inverse(self)

    def __add__(self, other):
        return Add(*_terms(self), *_terms(node(other)))

    def __sub__(self, other):
        return Add(*_terms(self), Neg(node(other)))

    def __mul__(self, other):
        other = node(other)
        if isinstance(self, Neg):
            return Neg(self.children[0] * other)  # Python reads -x*y as (-x)*y, an author as -(x*y)
        if other.shape == (1, 1) != self.shape:
            return Mul(*_factors(self), other)  # a row times a column, say, stays one number
        try:
            return Mul(*_factors(self), *_factors(other))
        except ShapeError:
            if not isinstance(other, Mul) or self.shape[1] != other.shape[0]:
                raise
            return Mul(*_factors(self), other)  # such a number is among its factors

    def __radd__(self, other):
        return node(other) + self

    def __rsub__(self, other):
        return node(other) - self

    def __rmul__(self, other):
        return node(other) * self

    def __truediv__(self, other):
        return self * Power(node(other), data=(-1,))

    def __rtruediv__(self, other):
        return node(other) / self

    def __pow__(self, n):
        if isinstance(n, Node):
            raise TypeError(f"the exponent of `{self.text()}` must be a number; write exp(y*log(x)) for x^y")
        return Power(self, data=(_number(n),))

    def __neg__(self):
        return Neg(self)

    def __getitem__(self, i):
        if not isinstance(i, int):
            raise TypeError(f"`{self.text()}` has components [0], [1], ..; got [{i}]")
        return Entry(self, data=(i,))

    def __eq__(self, other):
        return isinstance(other, Node) and self.key == other.key

    def __hash__(self):
        return hash(self.key)

    def __repr__(self):
        return self.text()

    def _repr_latex_(self):
        return f"$\\displaystyle {self.latex()}$"

    def text(self):
        return self.print(False)

    def latex(self):
        return self.print(True)

    def inner(self, tex, least):
        """Printed, in brackets when it binds less than its surroundings ask for."""
        s = self.print(tex)
        if self.binds >= least:
            return s
        return rf"\left({s}\right)" if tex else f"({s})"


def node(x):
    """A node as it is; a number becomes one, and 0.1 means one tenth."""
    if isinstance(x, Node):
        return x
    number = _number(x)
    return Neg(Number(data=(-number,))) if number.is_negative else Number(data=(number,))


def _number(x):
    number = sp.Rational(str(x)) if isinstance(x, float) else None if isinstance(x, str) else sp.sympify(x)
    if not isinstance(number, sp.Expr) or number.is_Matrix:
        raise TypeError(
            f"a quantity or a number is needed; got {x!r}. Declare names with var, vector, function"
        )
    return number


def _terms(x):
    return x.children if isinstance(x, Add) else (x,)


def _factors(x):
    return x.children if isinstance(x, Mul) else (x,)


class Number(Node):
    @property
    def binds(self):
        number = self.data[0]
        return SUM if number.is_Add else ATOM if number.is_Integer or number.is_NumberSymbol else PRODUCT

    def compute(self, _):
        return sp.Matrix([[self.data[0]]])

    def print(self, tex):
        return sp.latex(self.data[0]) if tex else str(self.data[0])

    def inner(self, tex, least):
        if tex and self.binds == PRODUCT and least <= FACTOR:
            return self.latex()  # its line holds a fraction together, and its roof a root
        return super().inner(tex, least)


class Leaf(Node):
    """A named quantity. ``data``: (name, shape, argument keys, kind); ``args``: argument nodes."""

    def __init__(self, name, entries, args=(), kind=""):
        self.name, self.entries, self.args, self.kind = name, sp.Matrix(entries), tuple(args), kind
        self.formula = None
        super().__init__(data=(name, self.entries.shape, tuple(a.key for a in args), kind))

    def rebuild(self, children):
        return self

    def compute(self, _):
        return self.entries

    def print(self, tex):
        return latex_name(self.name) if tex else self.name


class Add(Node):
    binds = SUM

    def compute(self, values):
        if len({v.shape for v in values}) > 1:
            shapes = ", ".join(
                f"{c.text()}: {v.rows}x{v.cols}" for c, v in zip(self.children, values, strict=True)
            )
            raise ShapeError(f"terms of a sum have different shapes ({shapes})")
        return sum(values[1:], values[0])

    def print(self, tex):
        out = self.children[0].inner(tex, MINUS)
        for c in self.children[1:]:
            minus = isinstance(c, Neg)
            out += " - " + c.children[0].inner(tex, PRODUCT) if minus else " + " + c.inner(tex, MINUS)
        return out


class Neg(Node):
    binds = MINUS

    def compute(self, values):
        return -values[0]

    def print(self, tex):
        return "-" + self.children[0].inner(tex, PRODUCT)


class Mul(Node):
    binds = PRODUCT

    def compute(self, values):
        out = values[0]
        for v, c in zip(values[1:], self.children[1:], strict=True):
            if out.shape == (1, 1):
                out = out[0, 0] * v
            elif v.shape == (1, 1):
                out = out * v[0, 0]
            elif out.cols == v.rows:
                out = out * v
            else:
                raise ShapeError(
                    f"in `{self.text()}` the factor `{c.text()}` ({v.rows}x{v.cols}) does not fit what "
                    f"stands left of it ({out.rows}x{out.cols}); rows multiply columns, x.T transposes"
                )
        return out

    def print(self, tex):
        below = [c.children[0] for c in self.children if isinstance(c, Power) and c.data[0] == -1]
        above = [c for c in self.children if not (isinstance(c, Power) and c.data[0] == -1)]
        if below and tex:
            parts = [row[0].latex() if len(row) == 1 else self._row(row, tex) for row in (above, below)]
            return rf"\frac{{{parts[0]}}}{{{parts[1]}}}"
        below = [c.inner(False, ATOM if isinstance(c, Total) else FACTOR) for c in below]
        return self._row(above, tex) + "".join(f"/{c}" for c in below)

    @staticmethod
    def _row(factors, tex):
        if not factors:
            return "1"
        numbers = [isinstance(c, Number) for c in factors]
        meet = [False, *(one and two for one, two in pairwise(numbers))]  # 2 (3): no other number
        parts = [c.inner(tex, ALWAYS if two else FACTOR) for c, two in zip(factors, meet, strict=True)]
        return (r"\, " if tex else " ").join(parts)


class Power(Node):
    binds = FACTOR

    def compute(self, values):
        if values[0].shape != (1, 1):
            raise ShapeError(f"`{self.children[0].text()}` is no scalar; x.I is the inverse of a matrix")
        return sp.Matrix([[values[0][0, 0] ** self.data[0]]])

    def print(self, tex):
        x, n = self.children[0].inner(tex, ATOM), self.data[0]
        if tex:
            return f"{x}^{{{sp.latex(n)}}}"
        return f"{x}^{n}" if n.is_Integer and n > 0 else f"{x}^({n})"


class Transpose(Node):
    binds = FACTOR

    def compute(self, values):
        return values[0].T

    def print(self, tex):
        x = self.children[0].inner(tex, ATOM)
        return rf"{{{x}}}^{{\mathsf T}}" if tex else f"{x}^T"


class Inverse(Node):
    binds = FACTOR

    def compute(self, values):
        return values[0].inv()

    def print(self, tex):
        x = self.children[0].inner(tex, ATOM)
        return rf"{{{x}}}^{{-1}}" if tex else f"{x}^(-1)"


class Entry(Node):
    def compute(self, values):
        if 1 not in values[0].shape:
            raise ShapeError(f"`{self.children[0].text()}` is no vector")
        return sp.Matrix([[values[0][self.data[0]]]])

    def print(self, tex):
        x, i = self.children[0].inner(tex, ATOM), self.data[0]
        return rf"\left[{x}\right]_{{{i + 1}}}" if tex else f"{x}[{i}]"


class Apply(Node):
    """A known function: exp and log of a scalar, det and tr of a matrix."""

    def compute(self, values):
        x, name = values[0], self.data[0]
        if name in ("det", "tr"):
            return sp.Matrix([[x.det() if name == "det" else x.trace()]])
        if x.shape != (1, 1):
            raise ShapeError(f"{name} takes a scalar; `{self.children[0].text()}` has shape {x.shape}")
        return x.applyfunc(getattr(sp, name))

    def print(self, tex):
        x = self.children[0].print(tex)
        return rf"\operatorname{{{self.data[0]}}}\left({x}\right)" if tex else f"{self.data[0]}({x})"


class Partial(Node):
    """f_z: the derivative in one slot, the others held still. Twice for second derivatives."""

    def compute(self, values):
        f, slots = self.children[0], self.children[1:]
        owner = f.children[0] if isinstance(f, Entry) else f
        if not isinstance(owner, Leaf) or not owner.args:
            raise TypeError(f"partial() needs a function; `{f.text()}` is none. d() differentiates anything")
        held = {e: sp.Dummy() for a in owner.args for e in a.value()}
        free, moving = {v: k for k, v in held.items()}, list(held.values())

        slope = lambda e, i: e.xreplace(held).diff(moving[i]).xreplace(free)
        out = values[0]
        for nth, slot in enumerate(slots):
            start = 0
            for a in owner.args:
                if a.key == slot.key:
                    break
                start += len(a.value())
            else:
                raise ValueError(f"`{f.text()}` has no slot `{slot.text()}`")
            if len(slot.value()) == 1:
                out = out.applyfunc(lambda e, s=start: slope(e, s))
                continue
            if 1 not in out.shape or (nth == 0 and out.cols > 1):
                raise ShapeError(f"`{self.text()}`: only scalars and columns have Jacobians here")
            out = sp.Matrix(len(out), len(slot.value()), lambda i, j, c=out, s=start: slope(c[i], s + j))
        return out

    def print(self, tex):
        f = self.children[0].print(tex)
        sub = (" " if tex else ",").join(c.print(tex) for c in self.children[1:])
        if tex:
            return f"{{{f}}}_{{{sub}}}" if "_" in f else f"{f}_{{{sub}}}"  # no double subscript
        return f"{f}_{sub}"


class Total(Node):
    """d x / d y, everything that depends on y moving with it."""

    binds = FACTOR

    def compute(self, values):
        x, y = values
        if not all(s.is_Symbol for s in y):
            raise TypeError(f"d(.., y) needs variables; `{self.children[1].text()}` is none")
        if y.shape == (1, 1):
            return x.applyfunc(lambda e: e.diff(y[0]))
        if x.cols != 1:
            raise ShapeError(f"`{self.children[0].text()}` is no scalar or column; transpose it first")
        return sp.Matrix(len(x), len(y), lambda i, j: x[i].diff(y[j]))

    def print(self, tex):
        x, y = self.children
        simple = isinstance(x, Leaf)
        if not tex:
            return f"d{x.text()}/d{y.text()}" if simple else f"d({x.text()})/d{y.text()}"
        if simple:
            return rf"\frac{{\mathrm d {x.latex()}}}{{\mathrm d {y.latex()}}}"
        return rf"\frac{{\mathrm d}}{{\mathrm d {y.latex()}}} \left({x.latex()}\right)"


class Dot(Total):
    """The time derivative, written with a dot."""

    def print(self, tex):
        x = self.children[0]
        if isinstance(x, Leaf):
            return rf"\dot{{{x.latex()}}}" if tex else f"dot({x.text()})"
        return super().print(tex)


class Block(Node):
    """Quantities stacked below ("column") or beside ("row") one another."""

    def compute(self, values):
        return sp.Matrix.vstack(*values) if self.data[0] == "column" else sp.Matrix.hstack(*values)

    def print(self, tex):
        parts = [c.print(tex) for c in self.children]
        if not tex:
            return f"{self.data[0]}({', '.join(parts)})"
        between = r" \\ " if self.data[0] == "column" else " & "
        return rf"\begin{{bmatrix}} {between.join(parts)} \end{{bmatrix}}"


class At(Node):
    """A quantity at one time (or at one value of a vector): children are (x, t, t_1)."""

    def compute(self, values):
        x, t, point = values
        if t.shape != point.shape:
            raise ShapeError(f"`{self.children[1].text()}` and `{self.children[2].text()}` differ in shape")
        return x.subs(list(zip(t, point, strict=True)), simultaneous=True)

    def print(self, tex):
        x, _, point = self.children
        if isinstance(x, (Leaf, Partial)):
            return f"{x.print(tex)}({point.print(tex)})"
        if tex:
            return rf"\left[{x.latex()}\right]_{{{point.latex()}}}"
        return f"[{x.text()}]({point.text()})"


class Integral(Node):
    """The integral of ``children`` (x, t, a, b)."""

    binds = FACTOR

    def compute(self, values):
        x, t, a, b = values
        return x.applyfunc(lambda e: sp.S.Zero if e == 0 or a == b else sp.Integral(e, (t[0], a[0], b[0])))

    def print(self, tex):
        x, t, a, b = self.children
        if tex:
            return rf"\int_{{{a.latex()}}}^{{{b.latex()}}} {x.inner(tex, MINUS)}\,\mathrm d {t.latex()}"
        return f"int_{a.inner(False, ATOM)}^{b.inner(False, ATOM)} {x.inner(False, MINUS)} d{t.text()}"


# -- what an author writes ------------------------------------------------------------------------


def var(names):
    """Scalar variables: ``t, t_0 = var("t t_0")``."""
    made = [Leaf(n, [[sp.Symbol(n)]], kind="var") for n in names.split()]
    return made[0] if len(made) == 1 else made


def vector(name, size=SIZE, row=False):
    """A variable with ``size`` components, a column (or a row).

    Raises ValueError for size 1, where a transpose cannot show: declare it with ``var``.
    """
    _refuse_one(name, size, "var")
    symbols = [sp.Symbol(f"{name}_{i + 1}") for i in range(size)]
    return Leaf(name, [symbols] if row else [[s] for s in symbols], kind="var")


def matrix(name, rows=SIZE, cols=SIZE):
    """A constant matrix of symbols, non-symmetric."""
    entries = [[sp.Symbol(f"{name}_{i + 1}{j + 1}") for j in range(cols)] for i in range(rows)]
    return Leaf(name, entries, kind="var")


def scalar(name, *args):
    """An opaque smooth scalar function of ``args`` (variables or functions)."""
    return _opaque(name, (1, 1), args)


def function(name, *args, size=SIZE, row=False, cols=None):
    """An opaque smooth function of ``args``: a column, a row, or a ``size`` x ``cols`` matrix.

    Raises ValueError for size 1: a 1 x 1 Jacobian has no transpose to get wrong; use ``scalar``.
    """
    _refuse_one(name, size, "scalar")
    return _opaque(name, (size, cols) if cols else (1, size) if row else (size, 1), args)


def expression(name, formula, *args):
    """A quantity with a known formula (a node), printed under ``name`` of its own."""
    formula = node(formula)
    leaf = Leaf(name, formula.value(), args, kind=str(formula.key))
    leaf.formula = formula
    return leaf


def partial(f, *slots):
    """f_z: the partial derivative, the other slots held still. ``partial(L, z, z)``: the Hessian."""
    return Partial(f, *slots)


def d(x, y):
    """dx/dy: the total derivative. Of a column in a vector: the Jacobian (outputs x inputs)."""
    return Total(node(x), y)


def dot(x, t):
    """The time derivative of a trajectory or of any quantity along it."""
    return Dot(node(x), t)


def at(x, t, point):
    """x at the time ``point``; both t and the point are variables or numbers."""
    return At(node(x), t, node(point))


def integral(x, t, a, b):
    """The integral of x over t from a to b."""
    return Integral(node(x), t, node(a), node(b))


def column(*xs):
    """Quantities stacked below one another."""
    return Block(*map(node, xs), data=("column",))


def row(*xs):
    """Quantities side by side."""
    return Block(*map(node, xs), data=("row",))


def eye(size=SIZE):
    """The identity matrix."""
    return Leaf("I", sp.eye(size), kind="constant")


def zeros(x):
    """Zero, in the shape of x."""
    return Leaf("0", sp.zeros(*node(x).shape), kind="constant")


def det(x):
    return Apply(node(x), data=("det",))


def trace(x):
    return Apply(node(x), data=("tr",))


def exp(x):
    return Apply(node(x), data=("exp",))


def log(x):
    return Apply(node(x), data=("log",))


def _refuse_one(name, size, other):
    if size < 2:
        raise ValueError(
            f"`{name}` has size {size}: a transpose cannot show there. "
            f"Use size >= 2, or declare a scalar with {other}({name!r}, ...)"
        )


def _opaque(name, shape, args):
    if not args:
        raise ValueError(f"`{name}` needs arguments; var, vector and matrix make constants")
    slots = tuple(s for a in args for s in a.value())
    if len(set(slots)) < len(slots):
        raise ValueError(f"`{name}` has the same slot twice")
    entries = sp.Matrix(
        *shape, lambda i, j: jet((name, _index(i, j, shape)), (0,) * len(slots), slots)(*slots)
    )
    return Leaf(name, entries, args, kind="opaque")


def _index(i, j, shape):
    return () if shape == (1, 1) else (i,) if shape[1] == 1 else (j,) if shape[0] == 1 else (i, j)


def walk(x):
    """Every node of a tree, with the arguments of functions and the formulas of known quantities."""
    stack = [x]
    while stack:
        x = stack.pop()
        yield x
        stack += x.children
        if isinstance(x, Leaf):
            stack += [*x.args, *([x.formula] if x.formula else [])]


def pattern(*trees):
    """The trees with their names taken away: equal for the same equation about other things."""
    names = {}

    def strip(x):
        if isinstance(x, Leaf):
            return x.name if x.kind == "constant" else names.setdefault(x.name, len(names))
        return (type(x).__name__, x.data, *map(strip, x.children))

    return str([strip(x) for x in trees])
