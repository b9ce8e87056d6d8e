"""Measure the built site with Lighthouse and axe: ``make site-report``.

Lighthouse needs Node and a few hundred packages of npm. They are installed on the first run, into a
folder of their own beside the other packages of this Python; nothing else needs them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book"))

from tools import chromium, node_and_npm, npm_install  # noqa: E402

HERE, SITE = ROOT / "tests" / "site", ROOT / "_build" / "html"
MODULES = Path(sys.prefix, "node-report")


def main():
    if not (SITE / "index.html").exists():
        sys.exit("There is no built book yet: run `make book` first.")
    browser = chromium()
    if not browser:
        sys.exit("Lighthouse needs a Chromium: install one, or name it: CHROMIUM=/path/to/chrome")
    if reason := npm_install(HERE, MODULES):
        sys.exit(f"Lighthouse could not be installed: {reason}")
    shutil.copy(HERE / "report.mjs", MODULES)  # packages are looked for beside the script
    node, _ = node_and_npm()
    return subprocess.run([node, MODULES / "report.mjs", SITE, browser, *sys.argv[1:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
