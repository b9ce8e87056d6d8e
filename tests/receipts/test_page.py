"""Receipts on the pages of the book: ordinary docutils nodes, and the record for those who gather it."""

from types import SimpleNamespace

import pytest
from symbols import f, f_theta, f_z, ode, t, theta, z_theta

from receipts import MIME, check, d, dot, verdict

nodes = pytest.importorskip("docutils.nodes")
myst_nb = pytest.importorskip("receipts.myst_nb")


def page(receipt, mime=MIME):
    data = SimpleNamespace(mime_type=mime, content=receipt.record())
    return myst_nb.ReceiptRenderer.handle_mime(None, data, False)


def test_a_receipt_is_folded_and_keeps_its_record():
    receipt = check("eq-sensitivity", dot(z_theta, t), f_z * z_theta + f_theta, using=[ode])
    (box,) = page(receipt)
    assert box["receipt"] == receipt.record() and "receipt-holds" in box["classes"]
    assert "<details><summary>" in box.children[0].astext()
    assert len(list(box.findall(nodes.math))) > receipt.refused / 2
    references = [x["reftarget"] for x in box.findall() if "reftarget" in getattr(x, "attributes", {})]
    assert references in (["eq-ode"], []), "a reference where Sphinx is there to resolve it"


def test_a_refusal_is_open():
    (box,) = page(verdict(d(f, theta), f_z * z_theta))
    assert "<details open>" in box.children[0].astext() and "differ by" in box.astext()


def test_other_outputs_are_left_to_others():
    assert page(verdict(d(f, theta), f_z * z_theta), mime="text/plain") is None
