"""Receipts in notebooks: shown before a failure stops the cell, and kept in the output."""

import json

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from symbols import f, f_theta, f_z, theta, z_theta

from receipts import MIME, check, d, numeric, verdict
from receipts.receipt import html

SETUP = """from receipts import *
t, theta, z_0 = var("t"), vector("theta"), vector("z_0")
z = function("z", t, theta, z_0)
f = function("f", t, z, theta)
f_z, f_theta = partial(f, z), partial(f, theta)"""
RIGHT = 'check("eq-chain", d(f, theta), f_z*d(z, theta) + f_theta)'
WRONG = 'check("eq-wrong", d(f, theta), f_z.T*d(z, theta) + f_theta)'


@pytest.fixture(scope="module")
def run(request):
    """A notebook of four cells; the last one fails."""
    folder = str(request.config.rootpath / "src")
    cells = [
        SETUP,
        f'{RIGHT}\nverdict(theta, 2*theta)\nruled = check("eq-ode", d(f, theta) - f_theta, f_z*d(z, theta))',
        "feedback(..., exercise(d(f, theta), f_z*d(z, theta) + f_theta))",
        WRONG,
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(CellExecutionError, match="Refused: eq-wrong does not hold"),
    ):
        patch.setenv("PYTHONPATH", folder)
        NotebookClient(book, timeout=120, kernel_name="python3").execute()
    return book


def records(cell):
    return [o.data[MIME] for o in cell.outputs if MIME in o.get("data", {})]


def test_several_receipts_of_one_cell_are_all_kept(run):
    assert [(r["label"], r["kind"], r["state"]) for r in records(run.cells[1])] == [
        ("eq-chain", "symbolic", "holds"),
        ("", "trial", "refused"),
        ("eq-ode", "symbolic", "holds"),
    ]


def test_a_refusal_is_shown_before_the_cell_stops(run):
    shown = records(run.cells[3])
    assert (
        [r["label"] for r in shown] == ["eq-wrong"]
        and shown[0]["state"] == "refused"
        and shown[0]["witness"]["value"]
    )
    error = run.cells[3].outputs[-1]
    assert error.output_type == "error" and error.traceback == [f"Refused: {error.evalue}"]


def test_an_exercise_does_not_show_its_answer(run):
    assert [r["kind"] for r in records(run.cells[2])] == ["feedback"]


def test_a_record_is_plain_data_with_the_keys_that_the_ledger_reads():
    record = check("eq-chain", d(f, theta), f_z * z_theta + f_theta).record()
    assert json.loads(json.dumps(record)) == record
    assert {
        "label",
        "kind",
        "state",
        "message",
        "latex",
        "text",
        "digest",
        "pattern",
        "premises",
        "source",
        "dimension",
        "defines",
        "cite",
        "numbers",
        "trials",
        "witness",
        "changes",
        "refused",
        "still_hold",
        "seconds",
    } == set(record)


def test_what_is_shown_begins_with_a_word():
    good, bad = verdict(d(f, theta), f_z * z_theta + f_theta), verdict(d(f, theta), f_z * z_theta)
    assert "Holds" in html(good.record()) and '<details class="receipt receipt-refused" open>' in html(
        bad.record()
    )
    assert "differ by" in html(bad.record())


def test_a_name_cannot_bring_its_own_html():
    wrong = {"<b>bold</b>": lambda c: 1.99**c, "power": lambda c: 2.0 ** (c + 1) + c**2}
    record = numeric(
        "eq-x",
        lambda c: 2.0**c,
        lambda c: float(sum([1] * 2**c)),
        rtol=1e-9,
        wrong=wrong,
        cases=(1, 2),
        using=["eq-y"],
    ).record()
    assert "<b>" not in html(record)
