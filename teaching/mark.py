"""The marker: holds what was sent back against the keys. ``python -m teaching.mark``, JSON to JSON.

It runs twice, as a process of its own: before the submissions, to say which names and calls to ask
them for (``ask``), and when all of them have ended, to mark (``mark``). In between it does not
exist, so that no right answer is anywhere on the machine while a submission runs. It executes
nothing that a student wrote.
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


def ask(work):
    """What a submission is asked for: names of answers, and the inputs of functions."""
    questions = sheet(work["assignment"], work["seed"]).questions
    calls = {q.name: q.key.inputs for q in questions if isinstance(q.key, Function)}
    return {"names": [q.name for q in questions], "calls": calls}


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
            {
                "name": question.name,
                "of": question.points,
                "points": question.points if verdict.right else 0,
                "state": verdict.state,
                "message": verdict.message,
                "with": verdict.with_whom,
            }
        )
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
        return [
            {
                "name": q.name,
                "of": q.points,
                "points": 0,
                "state": "form",
                "with": "",
                "message": "It took too long to compare this.",
            }
            for q in sheet(work["assignment"], work["seed"]).questions
        ]
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    do = {"ask": ask, "mark": mark_in_time}[sys.argv[1]]
    json.dump([do(work) for work in json.load(sys.stdin)], sys.stdout)
