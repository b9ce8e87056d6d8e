"""The tests that `make mutants` asks are there: one that was renamed would stop it."""

import ast
import runpy
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]


@cache
def names_in(path):
    return {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_test_that_mutants_are_asked_with_exists():
    asked = runpy.run_path(str(TESTS / "mutants" / "run.py"))["TESTS"]
    assert len(asked) > 30
    for module, tests in asked.items():
        assert (TESTS.parent / "src" / f"{module}.py").is_file()
        for test in tests:
            file, _, name = test.partition("::")
            assert (TESTS / file).is_file(), test
            assert not name or name.split("[")[0] in names_in(TESTS / file), test
