"""Run the cells of one submission, and hand back what it calls its answers.

This runs inside the jail, in the submission's own process, and the submission may do with it as
it likes: whatever it sends is only what it claims, as plain JSON, and is judged elsewhere. Nothing
that is needed for judging is known here. Standard library, until a cell imports more.

``runner.py RESULT PACKAGES``: the number of the pipe for answers, and the folder of the book's
packages. The work comes on standard input, as JSON: ``cells`` (sources), ``names`` (of answers),
``calls`` (function: list of argument lists), ``cell_seconds``.
"""

import json
import os
import re
import signal
import sys
import traceback

LONGEST_TEXT, LARGEST_ARRAY, DEEPEST = 4000, 2_000, 3


class TimeUp(BaseException):
    """The time of one cell is over; the next one begins."""


def plain(source):
    """A cell's Python, without what only a notebook understands."""
    if match := re.match(r"\s*%%writefile\s+(\S+)\n(?s:(.*))", source):
        return f"open({match[1]!r}, 'w').write({match[2]!r})"
    if source.lstrip().startswith("%%"):
        return "pass"
    return re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)


def numbers(value):
    """A number, or an array of them, as a flat list with its shape; None if it is not one."""
    import numpy

    if isinstance(value, (str, bytes)):
        return None
    try:
        array = numpy.asarray(value, dtype=float)
        array = numpy.array(array, dtype=float, copy=True, subok=False)
    except Exception:
        return None
    if array.size > LARGEST_ARRAY:
        return {"kind": "other", "text": f"an array of {array.size} numbers"}
    return {"kind": "numbers", "shape": list(array.shape), "values": array.ravel().tolist()}


def encode(value, depth=0):
    """An answer as JSON: numbers, a formula as text, or the name of what it is."""
    if value is None or value is ...:
        return {"kind": "blank"}
    if isinstance(value, str):
        return {"kind": "text", "text": str(value)[:LONGEST_TEXT]}
    if isinstance(value, (list, tuple)) and (len(value) == 0 or any(x is ... for x in value)):
        return {"kind": "blank"}
    if (found := numbers(value)) is not None:
        return found
    if callable(value) and not type(value).__module__.startswith("sympy"):
        return {"kind": "function"}
    if isinstance(value, (list, tuple)) and depth < DEEPEST and len(value) <= 50:
        return {"kind": "list", "items": [encode(item, depth + 1) for item in value]}
    if type(value).__module__.startswith("sympy"):
        return {"kind": "formula", "text": str(value)[:LONGEST_TEXT]}
    return {"kind": "other", "text": type(value).__name__[:80]}


def timed(seconds, work):
    """Do it, and say what went wrong: None, or a type, a message and a line."""

    def ring(*_):
        raise TimeUp

    try:
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return work(), None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeUp:
        return None, {"type": "TimeUp", "text": f"stopped after {seconds:g} seconds", "line": 0}
    except MemoryError:
        return None, {"type": "MemoryError", "text": "it asked for more memory than there is", "line": 0}
    except BaseException as error:
        places = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "<cell>"]
        line = getattr(error, "lineno", None) or (places[-1] if places else 0)
        try:
            text = str(error)[:400]
        except BaseException:
            text = ""
        return None, {"type": type(error).__name__[:80], "text": text, "line": line}


def call_all(function, argument_lists, seconds):
    """What a function of the submission makes of each list of arguments."""
    import numpy

    results = []
    for arguments in argument_lists:
        fresh = [numpy.array(a, dtype=float) if isinstance(a, list) else a for a in arguments]
        value, error = timed(seconds, lambda: encode(function(*fresh)))  # noqa: B023
        results.append({"kind": "error", **error} if error else value)
    return results


def main():
    out = os.fdopen(int(sys.argv[1]), "w")
    sys.path.insert(0, sys.argv[2])
    job = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    names, sent = job["names"], None
    space = {"__name__": "__main__", "display": print}
    errors = []

    def send(more=None):
        """All answers so far, as one line: if a later cell brings everything down, these stay."""
        nonlocal sent
        values, _ = timed(job["cell_seconds"], lambda: {n: encode(space[n]) for n in names if n in space})
        line = json.dumps({"values": values or {}, "errors": errors, **(more or {})})
        if line != sent:
            out.write(line + "\n")
            out.flush()
            sent = line

    for number, source in enumerate(job["cells"], 1):
        code = plain(source)
        _, error = timed(job["cell_seconds"], lambda: exec(compile(code, "<cell>", "exec"), space))  # noqa: B023
        if error:
            errors.append({"cell": number, **error})
        timed(1, lambda: (sys.stdout.flush(), sys.stderr.flush()))
        send()
    calls = {}
    for name, argument_lists in job["calls"].items():
        if callable(space.get(name)):
            calls[name] = call_all(space[name], argument_lists, job["cell_seconds"])
            send({"calls": calls})
    send({"calls": calls, "finished": True})
    out.close()
    timed(1, lambda: (sys.stdout.flush(), sys.stderr.flush()))
    os._exit(0)  # not through what the submission may have left for the end


if __name__ == "__main__":
    main()
