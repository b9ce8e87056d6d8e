"""What an author writes: how it prints, what it is worth, and what is refused."""

import re

import pytest
import sympy as sp

import receipts
from receipts import (
    at,
    d,
    exp,
    expression,
    eye,
    function,
    integral,
    matrix,
    partial,
    scalar,
    var,
    vector,
    zeros,
)
from receipts.tree import Leaf, ShapeError, node, pattern, walk

t, t0, t1, a, b, c = var("t t_0 t_1 a b c")
u, w = vector("u"), vector("w", row=True)
A, B = matrix("A"), matrix("B")
z = function("z", t)
f, g = function("f", t, z), scalar("g", z)
whole, half, root = integral(g, t, t0, t1), node(0.5), sp.sqrt(2)
WORDS = vars(receipts) | globals()

# What is written, as text, and as LaTeX.
PRINTED = [
    ("a + b", "a + b", r"a + b"),
    ("a / b + c", "a/b + c", r"\frac{a}{b} + c"),
    ("c + a / b", "c + a/b", r"c + \frac{a}{b}"),
    ("1 + a", "1 + a", r"1 + a"),
    ("a - b", "a - b", r"a - b"),
    ("1 - a", "1 - a", r"1 - a"),
    ("a - (b - t)", "a - (b - t)", r"a - \left(b - t\right)"),
    ("a - (-b)", "a - (-b)", r"a - \left(-b\right)"),
    ("a + (-b)", "a - b", r"a - b"),
    ("-a + b", "-a + b", r"-a + b"),
    ("-(a + b)", "-(a + b)", r"-\left(a + b\right)"),
    ("-(-a)", "-(-a)", r"-\left(-a\right)"),
    ("-2", "-2", r"-2"),
    ("a + -2", "a - 2", r"a - 2"),
    ("a * -2", "a (-2)", r"a\, \left(-2\right)"),
    ("-2 * a", "-2 a", r"-2\, a"),
    ("-a * b", "-a b", r"-a\, b"),
    ("-a * -b", "-a (-b)", r"-a\, \left(-b\right)"),
    ("2 * a", "2 a", r"2\, a"),
    ("0.1 * a", "(1/10) a", r"\frac{1}{10}\, a"),
    ("root * a", "(sqrt(2)) a", r"\sqrt{2}\, a"),
    ("(1 + root) * a", "(1 + sqrt(2)) a", r"\left(1 + \sqrt{2}\right)\, a"),
    ("sp.pi * a", "pi a", r"\pi\, a"),
    ("(a + b) * t", "(a + b) t", r"\left(a + b\right)\, t"),
    ("a * (b * t)", "a b t", r"a\, b\, t"),
    ("A * (a / b)", "A (a/b)", r"A\, \left(\frac{a}{b}\right)"),
    ("u * (w * u)", "u (w u)", r"u\, \left(w\, u\right)"),
    ("a / b", "a/b", r"\frac{a}{b}"),
    ("1 / a", "1/a", r"\frac{1}{a}"),
    ("a**-1 * b**-1", "1/a/b", r"\frac{1}{a\, b}"),
    ("a / b / t", "a/b/t", r"\frac{a}{b\, t}"),
    ("a * b / t", "a b/t", r"\frac{a\, b}{t}"),
    ("a / d(g, t)", "a/(dg/dt)", r"\frac{a}{\frac{\mathrm d g}{\mathrm d t}}"),
    ("node(2) * 3 * a", "2 (3) a", r"2\, \left(3\right)\, a"),
    ("2 * half", "2 (1/2)", r"2\, \left(\frac{1}{2}\right)"),
    ("A * ((w * u) * B)", "A (w u B)", r"A\, \left(w\, u\, B\right)"),
    ("integral(g, t, a + b, -c)", "int_(a + b)^(-c) g dt", r"\int_{a + b}^{-c} g\,\mathrm d t"),
    ("a / (b * t)", "a/(b t)", r"\frac{a}{b\, t}"),
    ("(a + b) / (a - b)", "(a + b)/(a - b)", r"\frac{a + b}{a - b}"),
    ("a / 0.5", "a/(1/2)", r"\frac{a}{\frac{1}{2}}"),
    ("a**2", "a^2", r"a^{2}"),
    ("a**-1", "a^(-1)", r"a^{-1}"),
    ("a**0", "a^(0)", r"a^{0}"),
    ("a**0.5", "a^(1/2)", r"a^{\frac{1}{2}}"),
    ("a**1", "a^1", r"a^{1}"),
    ("(a + b) ** 2", "(a + b)^2", r"\left(a + b\right)^{2}"),
    ("(-a) ** 2", "(-a)^2", r"\left(-a\right)^{2}"),
    ("(a * b) ** 2", "(a b)^2", r"\left(a\, b\right)^{2}"),
    ("(a**2) ** 3", "(a^2)^3", r"\left(a^{2}\right)^{3}"),
    ("half**2", "(1/2)^2", r"\left(\frac{1}{2}\right)^{2}"),
    ("d(g, t) ** 2", "(dg/dt)^2", r"\left(\frac{\mathrm d g}{\mathrm d t}\right)^{2}"),
    ("whole**2", "(int_t_0^t_1 g dt)^2", r"\left(\int_{t_{0}}^{t_{1}} g\,\mathrm d t\right)^{2}"),
    ("a**2 * b", "a^2 b", r"a^{2}\, b"),
    ("A.T", "A^T", r"{A}^{\mathsf T}"),
    ("(A * B).T", "(A B)^T", r"{\left(A\, B\right)}^{\mathsf T}"),
    ("dot(z, t).T", "(dot(z))^T", r"{\left(\dot{z}\right)}^{\mathsf T}"),
    ("A.T * u", "A^T u", r"{A}^{\mathsf T}\, u"),
    ("A.I", "A^(-1)", r"{A}^{-1}"),
    ("(A + B).I", "(A + B)^(-1)", r"{\left(A + B\right)}^{-1}"),
    ("A.T.I", "(A^T)^(-1)", r"{\left({A}^{\mathsf T}\right)}^{-1}"),
    ("A.I.T", "(A^(-1))^T", r"{\left({A}^{-1}\right)}^{\mathsf T}"),
    ("u[0]", "u[0]", r"\left[u\right]_{1}"),
    ("(A * u)[1]", "(A u)[1]", r"\left[\left(A\, u\right)\right]_{2}"),
    ("at(A * u, t, 2)", "[A u](2)", r"\left[A\, u\right]_{2}"),
    ("exp(a + b)", "exp(a + b)", r"\operatorname{exp}\left(a + b\right)"),
    ("log(a)", "log(a)", r"\operatorname{log}\left(a\right)"),
    ("det(A)", "det(A)", r"\operatorname{det}\left(A\right)"),
    ("trace(A * B)", "tr(A B)", r"\operatorname{tr}\left(A\, B\right)"),
    ("partial(f, z)", "f_z", r"f_{z}"),
    ("partial(scalar('g', vector('theta')), vector('theta'))", "g_theta", r"g_{\theta}"),
    ("partial(g, z, z)", "g_z,z", r"g_{z z}"),
    ("partial(f[0], z)", "f[0]_z", r"{\left[f\right]_{1}}_{z}"),
    ("d(f, t)", "df/dt", r"\frac{\mathrm d f}{\mathrm d t}"),
    ("d(a * g, t)", "d(a g)/dt", r"\frac{\mathrm d}{\mathrm d t} \left(a\, g\right)"),
    ("dot(z, t)", "dot(z)", r"\dot{z}"),
    ("dot(a * z, t)", "d(a z)/dt", r"\frac{\mathrm d}{\mathrm d t} \left(a\, z\right)"),
    ("column(a / b, c)", "column(a/b, c)", r"\begin{bmatrix} \frac{a}{b} \\ c \end{bmatrix}"),
    ("column(a, b)", "column(a, b)", r"\begin{bmatrix} a \\ b \end{bmatrix}"),
    ("row(a, b)", "row(a, b)", r"\begin{bmatrix} a & b \end{bmatrix}"),
    ("at(z, t, t0)", "z(t_0)", r"z(t_{0})"),
    ("at(partial(f, z), t, t1)", "f_z(t_1)", r"f_{z}(t_{1})"),
    ("at(a * z, t, 0)", "[a z](0)", r"\left[a\, z\right]_{0}"),
    ("whole", "int_t_0^t_1 g dt", r"\int_{t_{0}}^{t_{1}} g\,\mathrm d t"),
    ("integral(g + a, t, 0, 1)", "int_0^1 (g + a) dt", r"\int_{0}^{1} \left(g + a\right)\,\mathrm d t"),
    ("integral(-g, t, 0, 1)", "int_0^1 -g dt", r"\int_{0}^{1} -g\,\mathrm d t"),
    ("a * whole", "a int_t_0^t_1 g dt", r"a\, \int_{t_{0}}^{t_{1}} g\,\mathrm d t"),
    ("eye()", "I", "I"),
    ("zeros(u)", "0", "0"),
    ("expression('c', a * b)", "c", "c"),
    ("scalar('lambda_0', t)", "lambda_0", r"\lambda_{0}"),
]


@pytest.mark.parametrize("source, text, latex", PRINTED, ids=[source for source, *_ in PRINTED])
def test_what_is_written_prints_with_the_brackets_that_it_needs(source, text, latex):
    x = node(eval(source, WORDS))  # here, so that this test is the one that runs it
    assert (x.text(), x.latex()) == (text, latex)
    assert repr(x) == text and x._repr_latex_() == rf"$\displaystyle {latex}$"


def test_what_is_not_the_same_does_not_print_the_same():
    for printed in ([text for _, text, _ in PRINTED], [latex for *_, latex in PRINTED]):
        twice = {p for p in printed if printed.count(p) > 1}
        values = [
            {node(eval(source, WORDS)).value().as_immutable() for source, *both in PRINTED if p in both}
            for p in twice
        ]
        assert all(len(same) == 1 for same in values)


S = sp.Symbol
a_, b_, t_, t0_ = S("a"), S("b"), S("t"), S("t_0")
u_, A_ = sp.Matrix([S("u_1"), S("u_2")]), sp.Matrix(2, 2, lambda i, j: S(f"A_{i + 1}{j + 1}"))
B_ = sp.Matrix(2, 2, lambda i, j: S(f"B_{i + 1}{j + 1}"))
WORTH = [
    ("1 - a", 1 - a_),
    ("2 / a", 2 / a_),
    ("3 + a", 3 + a_),
    ("3 * a", 3 * a_),
    ("a - -2", a_ + 2),
    ("a**-2", a_**-2),
    ("0.1 * a", a_ / 10),
    ("-a * b", -a_ * b_),
    ("u", u_),
    ("w", sp.Matrix([[S("w_1"), S("w_2")]])),
    ("vector('q')", sp.Matrix([S("q_1"), S("q_2")])),
    ("vector('q', row=True)", sp.Matrix([[S("q_1"), S("q_2")]])),
    ("vector('q', 3)", sp.Matrix([S("q_1"), S("q_2"), S("q_3")])),
    ("matrix('C', 1, 3)", sp.Matrix([[S("C_11"), S("C_12"), S("C_13")]])),
    ("A * u", A_ * u_),
    ("A.T * u", A_.T * u_),
    ("A * ((w * u) * B)", (S("w_1") * S("u_1") + S("w_2") * S("u_2")) * A_ * B_),
    ("A.I", A_.inv()),
    ("u[1]", u_[1]),
    ("w[0]", S("w_1")),
    ("column(u, a)", sp.Matrix([*u_, a_])),
    ("row(u, u)", sp.Matrix.hstack(u_, u_)),
    ("det(A)", A_.det()),
    ("trace(A * B)", (A_ * B_).trace()),
    ("exp(a + b)", sp.exp(a_ + b_)),
    ("log(a)", sp.log(a_)),
    ("eye(3)", sp.eye(3)),
    ("zeros(A * u)", sp.zeros(2, 1)),
    ("d(a**3 * b, a)", 3 * a_**2 * b_),
    ("d(A * u, u)", A_),
    ("d(u.T * A * u, u)", ((A_ + A_.T) * u_).T),
    ("at(a * t**2, t, t0)", a_ * t0_**2),
    ("at(A * u, u, column(u[1], u[0]))", A_ * sp.Matrix([S("u_2"), S("u_1")])),
    ("at(A * u, u, vector('v'))", A_ * sp.Matrix([S("v_1"), S("v_2")])),
    ("integral(a * t, t, 0, 2)", sp.Integral(a_ * t_, (t_, 0, 2))),
    ("integral(zeros(u), t, 0, 1)", sp.zeros(2, 1)),
    ("integral(a, t, t0, t0)", 0),
    ("expression('c', a * b, a)", a_ * b_),
    ("partial(expression('c', a**2 * b, a, b), a)", 2 * a_ * b_),
]  # fmt: skip


@pytest.mark.parametrize("source, worth", WORTH, ids=[source for source, _ in WORTH])
def test_what_is_written_is_worth_what_it_says(source, worth):
    rest = eval(source, WORDS).sympy - worth
    assert sp.simplify(rest) == 0 * rest


def test_opaque_functions_have_a_component_for_each_place_and_slot():
    """Jacobians are (outputs x inputs); a name tells every component and slot apart."""
    named = lambda x: [str(e.func) for e in x.value()]
    assert named(function("f", t, z)) == ["f[1]", "f[2]"]
    assert named(function("lambda", t, row=True)) == ["lambda[1]", "lambda[2]"]
    assert function("lambda", t, row=True).shape == (1, 2)
    assert named(function("F", t, cols=3)) == [f"F[{i},{j}]" for i in (1, 2) for j in (1, 2, 3)]
    assert function("q", t, size=3).shape == (3, 1)
    assert named(scalar("g", z)) == ["g"]
    assert named(partial(f, z)) == ["f[1].z[1]", "f[1].z[2]", "f[2].z[1]", "f[2].z[2]"]
    assert named(partial(f, t)) == ["f[1].t", "f[2].t"]
    assert named(partial(g, z, z)) == ["g.z[1].z[1]", "g.z[1].z[2]", "g.z[1].z[2]", "g.z[2].z[2]"]
    assert named(partial(f[1], z)) == ["f[2].z[1]", "f[2].z[2]"]
    assert partial(g, z).shape == (1, 2)


REFUSED = {
    "a sum of shapes": (lambda: a + u, ShapeError, r"different shapes \(a: 1x1, u: 2x1\)"),
    "a product of shapes": (lambda: A * w, ShapeError, r"in `A w` the factor `w` \(1x2\) does not fit what "
                            r"stands left of it \(2x2\); rows multiply"),
    "a power of a vector": (lambda: u**2, ShapeError, "`u` is no scalar; x.I is the inverse"),
    "an exponent that is no number": (lambda: (a + b) ** b, TypeError, r"exponent of `a \+ b` must be"),
    "a component by a slice": (lambda: u[0:1], TypeError, r"`u` has components \[0\], \[1\], .*\[slice"),
    "a component of a matrix": (lambda: A[0], ShapeError, "`A` is no vector"),
    "an exponential of a vector": (lambda: exp(u), ShapeError, r"exp takes a scalar; `u` has shape \(2, 1\)"),
    "a name": (lambda: a + "b", TypeError, "a quantity or a number is needed; got 'b'. Declare names"),
    "a matrix of SymPy": (lambda: a * sp.eye(2), TypeError, "a number is needed; got Matrix"),
    "the slope of a sum": (lambda: partial(a + g, z), TypeError, r"needs a function; `a \+ g` is none"),
    "the slope of a variable": (lambda: partial(a, z), TypeError, r"needs a function; `a` is none"),
    "a slot that is none": (lambda: partial(g, t), ValueError, "`g` has no slot `t`"),
    "a Jacobian of a Jacobian": (lambda: partial(f, z, z), ShapeError, "`f_z,z`: only scalars"),
    "a Jacobian of a row function": (lambda: partial(function("F", z, row=True), z), ShapeError, "`F_z`"),
    "a Jacobian of a matrix": (lambda: partial(function("F", z, cols=2), z), ShapeError, "`F_z`: only"),
    "a derivative in no variable": (lambda: d(a, a + b), TypeError, r"needs variables; `a \+ b` is none"),
    "a Jacobian of a row": (lambda: d(w, u), ShapeError, "`w` is no scalar or column; transpose it first"),
    "a time in the place of a vector": (lambda: at(A * u, u, t0), ShapeError, "`u` and `t_0` differ"),
    "a vector of one": (lambda: vector("q", 1), ValueError, r"`q` has size 1: .* with var\('q', ...\)"),
    "a function of one": (lambda: function("q", t, size=1), ValueError, r"size 1: .* scalar\('q', ...\)"),
    "a function of nothing": (lambda: scalar("q"), ValueError, "`q` needs arguments; var, vector and matrix"),
    "a slot twice": (lambda: scalar("q", t, t), ValueError, "`q` has the same slot twice"),
}  # fmt: skip


@pytest.mark.parametrize("build, kind, message", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_words(build, kind, message):
    with pytest.raises(kind, match=message):
        build()


def test_equal_trees_are_equal_and_others_are_not():
    assert a + b == a + b and hash(a + b) == hash(a + b) != hash(a - b)
    assert a + b != b + a and a + b != "a + b" and (a + b != a - b)
    assert eye() != matrix("I") and zeros(u) != vector("0")
    assert len({a, var("a"), vector("a"), scalar("a", t), function("a", t), vector("a", 3)}) == 5
    assert scalar("a", t) != scalar("a", t0) and expression("c", a, a) != expression("c", b, a)


def test_a_sum_and_a_product_are_flat_and_a_node_is_made_anew_with_other_children():
    assert len((a + b + c).children) == len((a * b * c).children) == 3
    assert (a**2).rebuild([b]) == b**2 and (a + b).rebuild([b, a]) == b + a


def test_an_integral_over_nothing_and_one_of_nothing_are_zero():
    assert integral(zeros(u), t, 0, 1).sympy == sp.zeros(2, 1)
    assert integral(a, t, t0, t0).sympy == 0 and integral(1 + 0 * a, t, t0, t1).sympy != 0


def test_leaves_say_what_they_are():
    made = var("a"), vector("u"), matrix("A"), function("z", t), scalar("g", z), eye(), zeros(u)
    assert [x.kind for x in made] == ["var"] * 3 + ["opaque"] * 2 + ["constant"] * 2
    assert [x.name for x in made] == ["a", "u", "A", "z", "g", "I", "0"]
    named = expression("c", a * b, a)
    assert named.formula == a * b and named.args == (a,) and var("a").formula is None
    assert Leaf("x", [[1]]).args == () and Leaf("x", [[1]]).kind == ""


def test_a_walk_meets_all_nodes_and_formulas():
    met = {x.text() for x in walk(expression("k", a * b) * f)}
    assert met == {"k f", "k", "f", "a b", "a", "b", "t", "z"}


def test_a_pattern_is_the_same_for_the_same_equation_about_other_things():
    assert pattern(a + b, a) == pattern(t + c, t) != pattern(a + b, b)
    assert pattern(eye() * u) != pattern(A * u) and pattern(A * u, A) == pattern(B * u, B)
    assert pattern(a**2) != pattern(a**3) and pattern(a + b) != pattern(a - b)
    assert re.match(r"\[\('Add', \(\), 0, 1\)\]", pattern(a + b))
