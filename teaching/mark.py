"""The marker: holds what was sent back against the keys. A process of its own, ``python -m teaching.mark``.

It is started when all submissions have ended, so that no right answer exists anywhere on the
machine while one of them runs. It reads JSON and writes JSON; it executes nothing that a student wrote.
"""

import json
import signal
import sys
from functools import cache

from teaching.keys import Function, Verdict
from teaching.sheets import assignment

# For one submission: wrong answers are compared with everyone's.
SECONDS = 120


@cache
def sheet(name, seed):
    return assignment(name).sheet(seed)


def mark(work):
    """The verdicts on one submission, in the order of its questions.

    ``work``: ``assignment``, ``seed``, ``others`` (student: seed), ``values``, ``calls``.
    """
    name = work["assignment"]
    values, calls = work["values"], work["calls"]
    marks = []
    for number, question in enumerate(sheet(name, work["seed"]).questions):

        def elsewhere(number=number):
            """The keys of the others' sheets, made only if they are asked for."""
            for who, seed in work["others"].items():
                if seed != work["seed"]:
                    yield who, sheet(name, seed).questions[number].key

        more = {"results": calls.get(question.name)} if isinstance(question.key, Function) else {}
        try:
            verdict = question.key.judge(values.get(question.name), question.name, elsewhere(), **more)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            verdict = Verdict("form", f"What was sent back cannot be read ({type(error).__name__}).")
        marks.append(
            {"name": question.name, "of": question.points, "points": question.points if verdict.right else 0,
             "state": verdict.state, "message": verdict.message, "with": verdict.with_whom}
        )  # fmt: skip
    return marks


def mark_in_time(work):
    """`mark`, or every question unmarked if it takes too long."""

    def ring(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        return mark(work)
    except TimeoutError:
        return [{"name": q.name, "of": q.points, "points": 0, "state": "form", "with": "",
                 "message": "It took too long to compare this."}
                for q in sheet(work["assignment"], work["seed"]).questions]  # fmt: skip
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    json.dump([mark_in_time(work) for work in json.load(sys.stdin)], sys.stdout)
