"""The chapters as they are written: only what every engine and every notebook can show."""

import re
from pathlib import Path

import pytest
import yaml

import adjode

BOOK = Path(__file__).resolve().parents[2] / "book"
SOURCES = sorted(path for path in BOOK.rglob("*.md") if path.parent.name != "data")
LABEL = re.compile(r"eq-[a-z0-9]+(-[a-z0-9]+)*")

# What Jupyter Book, plain Sphinx with MyST, and our notebooks all understand. Add to these on
# purpose, with a look at what book/_ext/notebooks.py makes of it.
DIRECTIVES = {
    "admonition", "note", "tip", "hint", "important", "warning", "seealso", "attention", "caution",
    "bibliography", "code-block", "code-cell", "dropdown", "figure", "image", "list-table", "math",
    "table", "exercise", "exercise-start", "exercise-end", "solution", "solution-start",
    "solution-end", "prf:theorem", "prf:lemma", "prf:definition", "prf:proof", "prf:remark",
    "tab-set", "tab-item", "margin",
}  # fmt: skip
ROLES = {
    "cite", "cite:t", "cite:p", "doc", "download", "eq", "kbd", "math", "numref", "prf:ref",
    "py:class", "py:exc", "py:func", "py:mod", "ref", "sub", "sup",
}  # fmt: skip
# Pages that are not notebooks, and may draw by other means.
ALSO = {
    "index.md": {"grid", "grid-item", "grid-item-card", "raw"},
    "appendix/api.md": {"eval-rst"},
}


def name(path):
    return path.relative_to(BOOK).as_posix()


def without_code(text):
    """The text without code: fenced blocks that are not directives, cells, `code`."""
    kept, fence = [], None
    for line in text.split("\n"):
        if fence:
            if line.strip() == fence:
                fence = None
            continue
        if match := re.match(r"\s*(`{3,}|~{3,})(\{(code-cell|code-block)\}|[^{]|$)", line):
            fence = match[1]
            kept.append(match[2] if match[3] else "")
            continue
        kept.append(line)
    return "\n".join(kept)


def without_literals(text):
    return re.sub(r"(?<![}`])(`+)(?!`).+?(?<!`)\1(?!`)", "", text)


@pytest.fixture(params=SOURCES, ids=name)
def source(request):
    return request.param


def test_there_are_sources():
    assert SOURCES


def test_front_matter_describes_the_page(source):
    head = yaml.safe_load(source.read_text().split("---")[1])
    description = head["myst"]["html_meta"]["description"]
    assert 40 <= len(description) <= 200
    if "{code-cell}" in source.read_text():
        assert head["kernelspec"]["name"] == "python3"
        assert head["jupytext"]["text_representation"]["format_name"] == "myst"


def test_only_known_directives(source):
    used = set(re.findall(r"(?m)^\s*[`:~]{3,}\s*\{([^}]+)\}", without_code(source.read_text())))
    local = {d for d in used if d.startswith(("equation-ledger", "ledger", "derivation-map"))}
    assert used - local <= DIRECTIVES | ALSO.get(name(source), set())


def test_only_known_roles(source):
    text = without_code(source.read_text())
    used = set(re.findall(r"\{([a-z][a-z:]*)\}`", text))
    assert used <= ROLES


def test_labels_of_equations(source):
    text = without_code(source.read_text())
    labels = re.findall(r"(?m)^\s*\$\$\s*\(([^)]*)\)\s*$", text)
    for block in re.findall(r"(?ms)^(`{3,}|:{3,})\{math\}\n(.*?)^\1", text):
        labels += re.findall(r"(?m)^:label:\s*(\S+)", block[1])
    for label in labels:
        assert LABEL.fullmatch(label), label


def test_labels_are_unique():
    labels = []
    for path in SOURCES:
        text = without_code(path.read_text())
        labels += re.findall(r"(?m)^\s*\$\$\s*\((eq-[^)]*)\)\s*$", text)
        labels += re.findall(r"(?m)^:label:\s*(eq-\S+)", text)
    assert len(labels) == len(set(labels)), {x for x in labels if labels.count(x) > 1}


def test_no_bare_ams_environment(source):
    """Such a display gets a random label, and cannot be referred to or checked."""
    text = without_literals(without_code(source.read_text()))
    text = re.sub(r"(?s)\$\$.*?\$\$", "", text)
    text = re.sub(r"(?ms)^\s*(`{3,}|:{3,})\{math\}\n.*?^\s*\1", "", text)
    assert not re.findall(r"\\begin\{(equation|align|gather|multline|eqnarray|alignat)\*?\}", text)
    whole = without_literals(without_code(source.read_text()))
    assert not re.findall(r"\\begin\{(equation|align|gather|multline|eqnarray|alignat)\*?\}", whole)


def test_no_raw_html(source):
    if name(source) in ALSO:
        return
    text = without_literals(without_code(source.read_text()))
    assert not re.findall(r"<(?:[a-z][a-z0-9]*|/[a-z]+)(?:\s[^>]*)?>(?![`$])", text)


def test_no_height_on_figures(source):
    """It distorts pictures on a phone: give the width."""
    assert not re.findall(r"(?m)^:height:", source.read_text())


def test_macros_of_our_own_are_not_used(source):
    """A reader's notebook would not know them."""
    assert "\\newcommand" not in source.read_text()
    assert "\\def\\" not in source.read_text()


def test_the_solver_is_described_in_full():
    text = (BOOK / "appendix" / "api.md").read_text()
    assert sorted(re.findall(r"\.\. auto\w+:: adjode\.(\w+)", text)) == sorted(adjode.__all__)
