"""What went wrong: the error, its places in the cells of the page, and what to do about it."""

import re
import traceback

MOST_FRAMES = 6
TOO_LONG = "Maximum allowed dimension|index-sized|array is too big"


def explain(error, name):
    """The error, its places in the cells of the page, and what to do about it."""
    kind = type(error).__name__
    if kind in ("Refused", "ShapeError"):  # shapes that do not fit refuse a lost transpose
        return {"title": "", "refused": str(error), "frames": []}
    if isinstance(error, KeyboardInterrupt):
        return {"title": "Stopped.", "frames": frames(error, name)[-1:], "stopped": True}
    if isinstance(error, SystemExit):
        return {"title": "The cell asked Python to end. In a page it goes on.", "frames": []}
    text = "".join(traceback.TracebackException(type(error), error, None).format_exception_only())
    title = text.strip().splitlines()[-1] if isinstance(error, SyntaxError) else text.strip()
    told = {"title": title[:2000], "frames": frames(error, name), "hint": hint(error)}
    if isinstance(error, NameError):
        told["missing"] = error.name
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and not isinstance(error, SyntaxError):
        told["cause"] = f"{type(cause).__name__}: {cause}"[:500]
    return told


def hint(error):
    if isinstance(error, ModuleNotFoundError):
        return (
            f"Python in this page comes without {error.name}. The chapter's notebook, run on your own "
            "machine, can install it."
        )
    too_long = isinstance(error, ValueError | OverflowError) and re.search(TOO_LONG, str(error))
    if isinstance(error, MemoryError) or too_long:
        return (
            "Python in a page has at most 4 GB. Nothing is lost: "
            "make it smaller, or press Start again to empty it."
        )
    if isinstance(error, RecursionError):
        return "A function calls itself without end, or too deeply for a page."
    return ""


def frames(error, name):
    """The places in the page's cells, and the last one outside of them; repetitions are counted."""
    if isinstance(error, SyntaxError) and error.filename == name:
        code = (error.text or "").rstrip("\n")
        mark = " " * max((error.offset or 1) - 1, 0) + "^"
        return [{"where": name, "line": error.lineno, "code": f"{code}\n{mark}"}]
    found, inside = [], False
    for frame in traceback.extract_tb(error.__traceback__):
        inside = inside or frame.filename.startswith("cell ")
        if not inside or "live_page" in frame.filename:
            continue
        own = frame.filename.startswith("cell ")
        where = (
            frame.filename if own else re.sub(r".*/(?:site-packages|python3\.\d+|lib)/", "", frame.filename)
        )
        place = {"where": where, "line": frame.lineno, "own": own, "code": frame.line or ""}
        place["function"] = "" if frame.name == "<module>" else frame.name
        if found and found[-1] | {"times": 0} == place | {"times": 0}:
            found[-1]["times"] += 1
        else:
            found.append(place | {"times": 1})
    kept = [f for i, f in enumerate(found) if f["own"] or i == len(found) - 1]
    if len(kept) > MOST_FRAMES:
        kept = [*kept[:2], {"where": "", "left": len(kept) - MOST_FRAMES + 1}, *kept[3 - MOST_FRAMES :]]
    return kept
