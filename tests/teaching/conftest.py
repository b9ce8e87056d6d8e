"""The tests of what a class needs: ``teaching`` stands beside ``src``, and is not in the wheel."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
