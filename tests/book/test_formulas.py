"""Formulas typeset at build time: what Temml gets and gives, how wide it is, and what is warned of."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from docutils import nodes

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"
sys.path.insert(0, str(EXTENSIONS))
import mathml  # noqa: E402
from formula_width import Ruler, italic  # noqa: E402

needs_node = pytest.mark.skipif(not mathml.available(), reason="no Node: run `make book` first")

# Above the truth by at most this, below it by no more than the margin that the build adds.
TOO_WIDE = 1.25

WIDTHS = """() => [...document.querySelectorAll('.formula')].map(place => {
  const math = place.querySelector('math');
  place.style.containerType = 'normal';
  place.style.width = '3000px';
  math.style.fontSize = '20px';
  for (const child of math.children)
    if (child.localName !== 'mtable') child.style.display = 'inline math';
  const width = [...math.children].reduce((sum, child) => sum + child.getBoundingClientRect().width, 0);
  return [math.dataset.tex, parseFloat(place.style.getPropertyValue('--w')), width / 20];
}).filter(([, , width]) => width)"""


@pytest.fixture
def typesetter(tmp_path):
    one = mathml.Typesetter(tmp_path / "formulas.json")
    yield one
    one.close()


def letters(math):
    return "".join(math.itertext())


@needs_node
def test_a_formula_becomes_mathml_that_carries_its_tex(typesetter):
    tex = r"\frac{\mathrm dL}{\mathrm d\theta} = \int_{t_0}^{t_1} \lambda f_\theta\,\mathrm dt"
    math = mathml.finish(typesetter(tex, True), tex, True)
    assert math.get("data-tex") == tex
    assert math.get("display") == "block"
    assert {"mfrac", "msubsup", "msub"} <= {element.tag for element in math.iter()}
    assert letters(math).startswith("dLdθ=∫")


@needs_node
@pytest.mark.parametrize("tex", [r"\lamda", r"\frac{a", r"a_b_c", r"\begin{aligned}a"])
def test_what_temml_does_not_understand_is_an_error(typesetter, tex):
    with pytest.raises(ValueError, match=r"\S"):
        typesetter(tex, False)


@needs_node
def test_a_known_formula_needs_no_node(tmp_path, typesetter):
    first = typesetter("x^2", False)
    typesetter.close()
    again = mathml.Typesetter(tmp_path / "formulas.json")
    assert again("x^2", False) == first
    assert again.process is None


@needs_node
def test_an_error_is_kept_as_an_error(tmp_path, typesetter):
    with pytest.raises(ValueError, match="lamda"):
        typesetter(r"\lamda", False)
    typesetter.close()
    with pytest.raises(ValueError, match="lamda"):
        mathml.Typesetter(tmp_path / "formulas.json")(r"\lamda", False)


@needs_node
def test_sympy_s_latex_is_typeset(typesetter):
    from sympy import Function, Integral, Matrix, latex, sqrt, symbols

    t, theta = symbols("t theta")
    f = Function("f")
    for expression in [Matrix([[t, theta], [0, f(t).diff(t)]]), Integral(f(t) / sqrt(theta), (t, 0, 1)),
                       (theta * t).subs(t, 2), f(t).diff(t, 2) ** 2]:  # fmt: skip
        assert typesetter(latex(expression), True).startswith("<math")


@needs_node
def test_a_display_breaks_before_its_relations(typesetter):
    math = mathml.finish(typesetter("a = b + c = d", True), "", True)
    assert [letters(row) for row in math] == ["a", "=b", "+c", "=d"]
    assert [row[0].get("form") for row in math][1:] == ["infix"] * 3


@needs_node
def test_a_sign_that_belongs_to_its_term_stays_there(typesetter):
    math = mathml.finish(typesetter("a = -b", True), "", True)
    assert [letters(row) for row in math] == ["a", "=−b"]


@needs_node
def test_a_relation_alone_in_its_cell_keeps_its_distance(typesetter):
    math = mathml.finish(typesetter(r"\begin{aligned}a={}&b\\={}&c\\&+d\end{aligned}", True), "", True)
    rows = list(math.iter("mtr"))
    assert [e.get("width") for e in rows[1].iter("mspace")] == ["0.2778em"]
    assert [e.get("form") for e in rows[2].iter("mo")] == ["infix"]


@needs_node
@pytest.mark.parametrize("tex", [r"a\sin x", r"a_1\sin x", r"\tfrac12\cos t"])
def test_a_function_keeps_its_distance_from_a_factor(typesetter, tex):
    math = mathml.finish(typesetter(tex, False), tex, False)
    row = math[0]
    assert row[1][0].tag == "mspace"
    assert letters(row[1])[:3] in ("sin", "cos")


def block(tex, **attributes):
    return nodes.math_block(tex, tex, nowrap=False, number=None, **attributes)


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        ("a = b", "a = b"),
        (r"a \\ b", r"\begin{aligned}a \\ b\end{aligned}"),
        (r"\begin{bmatrix}a\\b\end{bmatrix}", r"\begin{bmatrix}a\\b\end{bmatrix}"),
        (r"\boxed{\begin{aligned}a\\b\end{aligned}}", r"\boxed{\begin{aligned}a\\b\end{aligned}}"),
    ],
)
def test_lines_of_a_display_are_aligned_once(tex, wanted):
    assert mathml.clean(block(tex)) == wanted


def test_an_ams_environment_is_not_numbered_twice():
    node = block(r"\begin{align}a\label{x}\end{align}")
    node["nowrap"] = True
    assert mathml.clean(node) == r"\begin{align*}a\end{align*}"


class Warnings(list):
    def warning(self, text, *values, **_):
        self.append(text % values)


@pytest.mark.parametrize(("number", "most"), [(None, mathml.PHONE_EM), (7, mathml.NUMBERED_PHONE_EM)])
def test_a_display_too_wide_for_a_phone_is_a_warning_with_its_label(monkeypatch, number, most):
    said = Warnings()
    monkeypatch.setattr(mathml, "logger", said)
    node = block("x", label="eq-wide")
    node["number"] = number
    mathml.warn_if_wide(node, most)
    assert said == []
    mathml.warn_if_wide(node, most + 0.1)
    assert len(said) == 1 and "eq-wide" in said[0]


@pytest.mark.parametrize(
    ("letter", "shown"), [("a", "𝑎"), ("h", "ℎ"), ("Z", "𝑍"), ("λ", "𝜆"), ("Φ", "𝛷"), ("∂", "𝜕")]
)
def test_a_letter_is_measured_in_italics(letter, shown):
    assert italic(letter) == shown


@needs_node
def test_the_ruler_adds_up():
    ruler = Ruler(str(mathml.FONT))
    wide = ruler.width(ET.fromstring("<math><mi>a</mi><mo>=</mo><mi>b</mi></math>"))
    parts = [ruler.width(ET.fromstring(f"<math>{x}</math>")) for x in ("<mi>a</mi>", "<mi>b</mi>")]
    assert wide > sum(parts) + 0.5
    half = ruler.width(ET.fromstring("<math><msub><mi>a</mi><mi>b</mi></msub></math>"))
    assert parts[0] < half < sum(parts)


@pytest.mark.browser
def test_displays_are_as_wide_as_the_build_thought(page, open_tab):
    tab = open_tab(page)
    measured = tab.page.evaluate(WIDTHS)
    tab.close()
    assert [row for row in measured if not 1 <= (row[1] + 0.05) / row[2] <= TOO_WIDE] == []


@pytest.mark.usefixtures("typeset")
def test_the_font_has_what_the_pages_show(site):
    from fontTools.ttLib import TTFont

    font = TTFont(site / "_static" / mathml.FONT_NAME)
    assert "MATH" in font
    shown = mathml.characters(site)
    whole = TTFont(mathml.FONT).getBestCmap()
    missing = {c for c in shown if ord(c) in whole and ord(c) not in font.getBestCmap()}
    assert missing == set()
    assert ("√" in shown) == any("<msqrt" in p.read_text() for p in site.rglob("*.html"))


@pytest.mark.usefixtures("typeset")
def test_every_formula_of_the_book_is_in_the_pages_with_its_tex(site):
    for page in site.glob("book/*/*.html"):
        text = page.read_text(encoding="utf-8")
        assert text.count("<math ") == len(re.findall(r'<math [^>]*data-tex="', text)), page.name


def test_without_node_the_formulas_are_typeset_in_the_page():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import mathml; print(mathml.available())"
    command = [sys.executable, "-c", code, str(EXTENSIONS)]
    told = subprocess.run(command, env={"BOOK_MATH": "script"}, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"

    class App(list):
        def setup_extension(self, name):
            self.append(name)

    app = App()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mathml, "available", lambda: False)
        mathml.setup(app)
    assert app == ["sphinx-mathjax-offline"]
