"""The tests of what a class needs: ``teaching`` stands beside ``src``, and is not in the wheel."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture(autouse=True, scope="module")
def somewhere_to_run(request):
    """Skip what runs submissions where none can be run; the reason says why."""
    from teaching import sandbox

    if hasattr(request.module, "sandbox"):
        try:
            sandbox.protection()
        except RuntimeError as reason:
            pytest.skip(str(reason))
