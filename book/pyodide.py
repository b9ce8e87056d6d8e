"""Let the site carry Python for its pages: ``make pyodide FOLDER=...``.

The folder is a distribution of Pyodide: ``pyodide-lock.json``, the core files and the wheels of NumPy,
SciPy, SymPy and Matplotlib with what they need. Every file is checked before it is copied: the core by
the hashes of the version that the book is tested with (``book/_ext/pyodide.json``), each wheel by the lock
file. The copy is kept in ``_build/pyodide``, so that a later ``make book`` puts it into the site again.
"""

import hashlib
import html
import json
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
KEPT = BUILD / "pyodide"
PINNED = ROOT / "book" / "_ext" / "pyodide.json"
LOCK = "pyodide-lock.json"
PLACE = "_static/pyodide/"


class Unfit(Exception):
    """A distribution that the book cannot use; the message says why, and what to do."""


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wanted(folder):
    """The files that the site needs of a distribution, with their hashes."""
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    version = pinned["version"]
    if not (folder / LOCK).is_file():
        raise Unfit(f"{folder} has no {LOCK}: name the folder of a Pyodide {version} distribution")
    try:
        packages = dict(json.loads((folder / LOCK).read_text(encoding="utf-8"))["packages"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unfit(f"{folder / LOCK} is no list of packages: name the folder of a Pyodide {version} "
                    "distribution, as it was unpacked") from None  # fmt: skip
    files = {name: core["sha256"] for name, core in pinned["core"].items()}
    queue, seen = list(pinned["packages"]), set()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in packages:
            raise Unfit(f"{LOCK} does not name {name}, which the book's cells need")
        package = packages[name]
        if not (isinstance(package, dict) and {"file_name", "sha256", "depends"} <= set(package)):
            raise Unfit(f"{LOCK} does not say which file is {name}, or what it needs: take the one of the "
                        "distribution")  # fmt: skip
        if Path(package["file_name"]).name != package["file_name"]:
            raise Unfit(f"{LOCK} names {package['file_name']} for {name}: the file has to lie beside it")
        files[package["file_name"]] = package["sha256"]
        queue += package["depends"]
    return files, version


def check(folder):
    """The names of the files to copy; Unfit where one is missing, or is another file."""
    files, version = wanted(folder)
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise Unfit(f"{folder} lacks {name}: take the whole distribution, not its core alone")
        if (found := sha256(path)) != expected:
            raise Unfit(
                f"{name} is not the file of Pyodide {version} or of {LOCK}: "
                f"its sha256 is {found}, not {expected}"
            )
    return [*files, LOCK]


def copy(folder, kept):
    """Check a distribution and keep a copy of it; nothing is kept of one that is unfit."""
    names = check(folder)
    fresh = kept.with_name(f"{kept.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in names:
        shutil.copyfile(folder / name, fresh / name)
    shutil.rmtree(kept, ignore_errors=True)
    fresh.rename(kept)
    return sum((kept / name).stat().st_size for name in names)


def link(source, target):
    """The same bytes at another place, at no cost where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


OFFER = re.compile(r'<div class="live-offer pst-js-only" data-live="([^"]*)"( hidden)?>')


def show_buttons(site):
    """Let the buttons of the built pages start the Python that the site carries."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        found = OFFER.search(text)
        if not found:
            continue
        config = json.loads(html.unescape(found[1])) | {"python": PLACE}
        tag = found[0].replace(found[1], html.escape(json.dumps(config), quote=True))
        new = text.replace(found[0], tag.replace(" hidden>", ">"), 1)
        new = re.sub(r'(<span class="live-from">)[^<]*', r"\1this site", new, count=1)
        if new != text:
            path.write_text(new, encoding="utf-8")


def install(site, kept=KEPT):
    """Put the kept distribution into a built site; False where there is none."""
    if not (kept / LOCK).is_file():
        return False
    target = site / PLACE
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in kept.iterdir():
        link(file, target / file.name)
    show_buttons(site)
    return True


def main(arguments):
    if len(arguments) != 1 or not arguments[0]:
        sys.exit("Say where the distribution lies: make pyodide FOLDER=/path/to/pyodide")
    site = BUILD / "html"
    if not (site / "index.html").is_file():
        sys.exit("There is no built book yet: run `make book` first.")
    try:
        size = copy(Path(arguments[0]).expanduser(), KEPT)
        install(site)
    except Unfit as reason:
        sys.exit(f"Nothing was copied. {reason}.")
    except OSError as error:
        place = error.filename2 or error.filename
        sys.exit(f"The files could not be copied: {place}: {error.strerror}. Look whether {BUILD} may be "
                 "written, and has room for 50 MB.")  # fmt: skip
    print(f"The site carries Python for its pages ({size / 1e6:.0f} MB, every hash checked). "
          "`make serve`, open a chapter, and press \"Run the code on this page\".")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
