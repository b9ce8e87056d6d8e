"""Imports follow the arrows of the derivation, and adjode stands on NumPy, SciPy and autograd."""

import ast
import subprocess
import sys
from pathlib import Path

import adjode
from adjode import curvature

# Each may import those before it.
ORDER = [
    *("structure", "problem", "tableau", "steps", "trajectory", "vjp", "stiff", "solve"),
    *(
        "loss",
        "discrete",
        "rules",
        "apart",
        "tape",
        "batched",
        "blocks",
        "scalars",
        "replay",
        "fast",
        "continuous",
        "checkpoint",
        "partner",
    ),
    *("estimate", "halves", "moves", "guards", "gradient", "retrace", "primitive", "fields", "verify"),
    *("duality", "invariant", "linear", "newton", "algebraic"),
    *("curvature.tangent", "curvature.follow", "curvature.products", "curvature.low_rank"),
    *("curvature.kronecker", "curvature.optimizer", "curvature.horizon"),
]
OUTSIDE = {"numpy", "scipy", "autograd"}
FOLDER = Path(adjode.__file__).parent


def path_of(name):
    return FOLDER / f"{name.replace('.', '/')}.py"


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module


def test_imports_never_go_back():
    for name in ORDER:
        for target in imports(path_of(name)):
            top, _, module = target.partition(".")
            if top == "adjode":
                assert ORDER.index(module) < ORDER.index(name), f"{name} imports {module}"


def test_nothing_but_numpy_scipy_and_autograd_from_outside():
    for name in [*ORDER, "__init__", "curvature.__init__"]:
        for target in imports(path_of(name)):
            top = target.partition(".")[0]
            assert top in OUTSIDE | {"adjode"} | sys.stdlib_module_names, f"{name} imports {top}"


def test_importing_adjode_does_not_import_sympy():
    code = "import sys, adjode; sys.exit('sympy' in sys.modules)"
    path = str(FOLDER.parent)
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path}, timeout=60)


def test_no_module_is_forgotten():
    found = {str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.py")}
    assert {name.replace("/", ".") for name in found if "__init__" not in name} == set(ORDER)


def test_every_public_name_exists_and_says_what_it_is():
    for module in (adjode, curvature):
        assert sorted(module.__all__) == module.__all__
        for name in module.__all__:
            assert getattr(module, name).__doc__, name
