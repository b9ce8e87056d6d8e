"""How wide a formula will be, in em: from its MathML and the widths of the glyphs of its font.

The page uses it to let a wide display shrink to a phone, and the build to warn of one that cannot. It
follows the rules of MathML Core roughly: what matters is to be a little above the truth, never below.
"""

import re
import unicodedata
from functools import cache

from fontTools.ttLib import TTFont

SCRIPT = 0.7  # each script level, as the MATH table of the font says
POINT = 1 / 12  # in em: TeX's points, at the 12 pt of a page of 16 px
RELATION, BINARY, PUNCTUATION, LARGE = 5 / 18, 4 / 18, 3 / 18, 3 / 18
BINARIES = set("+−±∓·×∘⋅∗⊗⊕⊙∧∨∩∪∖⋆⁎")
FENCES = set("()[]{}|‖⟨⟩⌊⌋⌈⌉/∣∥!′″.⏟⏞¯ˆ˙¨˜→⃗∂∇√∞…⋯⋮⋱′″⁡⁢ ")
SUMS = set("∑∏∐⋃⋂∫∮∬∭⨁⨂")
SCRIPTS = {"msub", "msup", "msubsup", "mmultiscripts"}
LIMITS = {"munder", "mover", "munderover"}


@cache
def advances(path):
    """The width of each character of a font, in em."""
    font = TTFont(path)
    units, widths = font["head"].unitsPerEm, font["hmtx"].metrics
    return {chr(code): widths[name][0] / units for code, name in font.getBestCmap().items()}


def italic(letter):
    """The mathematical italic letter that a browser shows for a single letter in ``<mi>``."""
    if letter == "h":
        return "ℎ"
    if "a" <= letter <= "z" or "A" <= letter <= "Z":
        start = 0x1D44E - ord("a") if letter >= "a" else 0x1D434 - ord("A")
        return chr(start + ord(letter))
    if "Α" <= letter <= "Ω":
        return chr(0x1D6E2 + ord(letter) - ord("Α"))
    if "α" <= letter <= "ω":
        return chr(0x1D6FC + ord(letter) - ord("α"))
    others = {
        "∂": 0x1D715,
        "ϵ": 0x1D716,
        "ϑ": 0x1D717,
        "ϰ": 0x1D718,
        "ϕ": 0x1D719,
        "ϱ": 0x1D71A,
        "ϖ": 0x1D71B,
    }
    return chr(others[letter]) if letter in others else {"ı": "𝚤", "ȷ": "𝚥", "∇": "𝛻"}.get(letter, letter)


def length(text):
    """A length such as ``0.1667em`` or ``5.9776pt``, in em."""
    match = re.fullmatch(r"([+-]?[\d.]+)(em|pt|ex|px|mu)?", (text or "").strip())
    if not match:
        return 0.0
    unit = {"em": 1, "pt": POINT, "ex": 0.45, "px": 1 / 16, "mu": 1 / 18, None: 0}
    return float(match[1]) * unit[match[2]]


def sides(style, name):
    """What ``padding`` or ``border`` adds to the left and right."""
    total = sum(length(v) for v in re.findall(rf"{name}-(?:left|right):\s*([^;]+)", style))
    both = re.search(rf"(?:^|;)\s*{name}:\s*(?:[^;]*?\s)?([\d.]+(?:em|pt|px|ex))", style)
    return total + (2 * length(both[1]) if both else 0)


class Ruler:
    """Measures elements of MathML in one font."""

    def __init__(self, font):
        self.advances = advances(font)

    def text(self, text):
        return sum(
            0 if unicodedata.combining(c) else self.advances.get(c, 0.3 if c.isspace() else 0.7) for c in text
        )

    def width(self, element, display=False):
        """The width of an element in em of its own parent."""
        measure = getattr(self, f"_{element.tag}", self._row)
        style = element.get("style", "")
        display = {"true": True, "false": False}.get(element.get("displaystyle"), display)
        return measure(element, display) + sides(style, "padding") + sides(style, "border")

    def _row(self, element, display):
        return sum(self.width(child, display) for child in element)

    def _math(self, element, display):
        return self._row(element, element.get("display") == "block")

    def _mi(self, element, display):
        text = (element.text or "").strip()
        upright = len(text) != 1 or element.get("mathvariant") == "normal"
        return self.text(text if upright else italic(text)) + 0.03  # a slanted letter leans out

    def _mn(self, element, display):
        return self.text((element.text or "").strip())

    def _mtext(self, element, display):
        return self.text(element.text or "")

    def _mo(self, element, display):
        text = (element.text or "").strip()
        if not text:
            return 0.0
        grown = display and text in SUMS
        around = 2 * self._space(element, text)
        for side in ("lspace", "rspace"):
            if element.get(side) is not None:
                around += length(element.get(side)) - around / 2
        stretched = 0.15 if element.get("fence") or element.get("minsize") else 0  # a taller one is wider
        return (1.4 if grown else 1) * self.text(text) + around + stretched

    def _space(self, element, text):
        """The space that an operator has on each side, on average."""
        if text in FENCES or element.get("form") in ("prefix", "postfix"):
            return 0.0
        if text in ",;:" or element.get("separator"):
            return PUNCTUATION / 2
        if text in SUMS:
            return LARGE / 2
        return BINARY if text in BINARIES else RELATION if len(text) == 1 else PUNCTUATION

    def _mspace(self, element, display):
        return length(element.get("width"))

    def _mfrac(self, element, display):
        parts = max(self.width(child) for child in element)
        return (1 if display else SCRIPT) * parts + 0.1

    def _msqrt(self, element, display):
        return self._row(element, display) + 1.35

    _mroot = _msqrt

    def _scripts(self, element, display):
        base, *scripts = element
        return self.width(base, display) + SCRIPT * max(self.width(s) for s in scripts) + 0.06

    _msub = _msup = _msubsup = _scripts

    def _limits(self, element, display):
        base, *scripts = element
        moves = base.get("movablelimits") == "true" or (base.text or "").strip() in SUMS
        if moves and not display and base.tag == "mo":
            return self._scripts(element, display)
        return max([self.width(base, display), *(SCRIPT * self.width(s) for s in scripts)])

    _munder = _mover = _munderover = _limits

    def _mtable(self, element, display):
        columns = {}
        for row in element:
            for i, cell in enumerate(row):
                own = self.width(cell, display)
                if "padding" not in cell.get("style", ""):
                    own += 0.8
                columns[i] = max(columns.get(i, 0), own)
        return sum(columns.values())
