"""What the notebook writer makes of each kind of element, on one small page."""

import subprocess
import sys

import nbformat
import pytest

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_nb", "sphinx_design", "sphinx_exercise", "sphinx_proof", "notebooks"]
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
nb_execution_mode = "off"
numfig = math_numfig = True
numfig_secnum_depth = 1
math_eqref_format = "({{number}})"
exercise_style = "solution_follow_exercise"
html_title = "The Book"
html_baseurl = {address!r}
"""

INDEX = """
# The Book

```{toctree}
:numbered:
book/chapter
```
"""

PAGE = r"""---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

Text with `code_1`, *stress*, $z_1$, a_b, a*b and 2 < 3. See {eq}`eq-one`, {ref}`later`, {numref}`ex-one`,
[a page](https://example.org) and a note[^n].

$$ a = b $$ (eq-one)

$$ c \\ d $$

```{code-cell} python
:tags: [hide-input]
rows = open("../data/table.csv").read()
```

:::{warning}
Take *care*.

$$ e = f $$
:::

:::{admonition} A hint
:class: dropdown
Hidden.
:::

1. first
2. second
   - inner

Word
: its meaning

| a | b |
|---|---|
| 1 | $x \| y$ |

```{image} dot.svg
:alt: A dot
```

::::{tab-set}
:::{tab-item} One
left
:::
:::{tab-item} Two
right
:::
::::

````{prf:theorem} Named
:label: thm
True.
````

```{raw} html
<b>only here</b>
```

```{code-cell} python
:tags: [remove-cell]
kept = 1
```

```{exercise-start} Try
:label: ex-one
```
What is it?
```{exercise-end}
```

```{code-cell} python
answer = ...
```

```{solution-start} ex-one
:class: dropdown
```
It is $1$.

```{code-cell} python
print(1)
```

So it is.
```{solution-end}
```

(later)=
## Later

```{exercise}
:label: ex-two
Plain.
```

```{solution} ex-two
:class: dropdown
Words.
```

[^n]: The note.
"""

DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="3"/></svg>'


def build(folder, root, address):
    source = folder / "source"
    (source / "book" / "data").mkdir(parents=True)
    (source / "book" / "part").mkdir()
    extensions = str(root / "book" / "_ext")
    (source / "conf.py").write_text(CONF.format(extensions=extensions, address=address))
    (source / "index.md").write_text(INDEX)
    (source / "book" / "chapter.md").write_text(PAGE)
    (source / "book" / "dot.svg").write_text(DOT)
    (source / "book" / "data" / "table.csv").write_text("1,2\n3,4\n")
    html = folder / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", source, html]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return nbformat.read(html / "book" / "chapter.ipynb", as_version=4)


@pytest.fixture(scope="module")
def written(tmp_path_factory, root):
    return build(tmp_path_factory.mktemp("page"), root, "")


@pytest.fixture(scope="module")
def text(written):
    return "\n\n".join(cell.source for cell in written.cells if cell.cell_type == "markdown")


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_code_cells_in_their_order(written):
    first, data, *rest = [cell.source for cell in code(written)]
    assert "%pip install" in first
    assert "http://localhost:8000/_static/wheels/" in first
    assert data == "%%writefile table.csv\n1,2\n3,4"
    assert rest == ['rows = open("table.csv").read()', "kept = 1", "answer = ...", "print(1)"]


def test_cells_that_are_folded(written):
    folded = [c.source for c in code(written) if c.metadata.get("jupyter", {}).get("source_hidden")]
    assert folded == ['rows = open("table.csv").read()', "kept = 1", "print(1)"]
    for_colab = [c.source for c in code(written) if c.metadata.get("cellView") == "form"]
    assert for_colab == folded


def test_the_title_comes_first(written):
    assert written.cells[0].source.startswith("# A chapter\n\nA chapter of *The Book*.")


@pytest.mark.parametrize(
    "expected",
    [
        r"Text with `code_1`, *stress*, $z_1$, a\_b, a\*b and 2 &lt; 3.",
        "See (1.1), Later, Exercise 1.1, [a page](https://example.org) and a note [1].",
        "$$\na = b \\tag{1.1}\n$$",
        "$$\n\\begin{split}\nc \\\\ d\n\\end{split}\n$$",
        "> **Warning**\n>\n> Take *care*.\n>\n> $$\n> e = f\n> $$",
        "<details><summary>A hint</summary>\n\nHidden.\n\n</details>",
        "1. first\n2. second\n\n   - inner",
        "- **Word**\n\n  its meaning",
        "| a | b |\n| --- | --- |\n| 1 | $x \\vert  y$ |",
        "![A dot](attachment:dot.svg)",
        "**One**\n\nleft\n\n**Two**\n\nright",
        "> **Theorem 1.1 (Named)**\n>\n> True.",
        "Exercise 1.1 (Try)\n\nWhat is it?",
        "Solution\n\n<details><summary>Show</summary>\n\nIt is $1$.\n\n</details>",
        "<details><summary>Show</summary>\n\nSo it is.\n\n</details>",
        "## Later",
        "<details><summary>Solution</summary>\n\nWords.\n\n</details>",
        "[1] The note.",
    ],
)
def test_text(text, expected):
    assert expected in text


def test_raw_html_is_left_out(text):
    assert "only here" not in text


def test_the_picture_travels_along(written):
    attachments = [a for cell in written.cells for a in cell.get("attachments", {}).items()]
    assert [(name, list(kinds)) for name, kinds in attachments] == [("dot.svg", ["image/svg+xml"])]


def test_links_lead_to_the_site_when_it_has_an_address(tmp_path, root):
    notebook = build(tmp_path, root, "https://example.org/site/")
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "[*The Book*](https://example.org/site/book/chapter.html)" in text
    assert '"https://example.org/site/_static/wheels/' in text
