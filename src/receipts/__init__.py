"""Receipts: checks of equations that can fail.

An equation is written with the names of the text, proved for opaque smooth functions of a small
explicit dimension, and shown to be refused when a sign, a term, a transpose or a premise is wrong.

>>> from receipts import *
>>> t = var("t")
>>> z, lam = function("z", t), function("lambda", t, row=True)
>>> check("eq-product-rule", d(lam*z, t), dot(lam, t)*z + lam*dot(z, t))
eq-product-rule holds; 6 wrong versions refused
"""

from receipts.check import check, exercise, premise, verdict
from receipts.feedback import feedback, numbers
from receipts.measured import bound, numeric, order
from receipts.receipt import MIME, Receipt, Refused
from receipts.stated import definition, given
from receipts.tree import (
    ShapeError,
    at,
    column,
    d,
    det,
    dot,
    exp,
    expression,
    eye,
    function,
    integral,
    log,
    matrix,
    partial,
    row,
    scalar,
    trace,
    var,
    vector,
    zeros,
)

__all__ = [
    "MIME",
    "Receipt",
    "Refused",
    "ShapeError",
    "at",
    "bound",
    "check",
    "column",
    "d",
    "definition",
    "det",
    "dot",
    "exercise",
    "exp",
    "expression",
    "eye",
    "feedback",
    "function",
    "given",
    "integral",
    "log",
    "matrix",
    "numbers",
    "numeric",
    "order",
    "partial",
    "premise",
    "row",
    "scalar",
    "trace",
    "var",
    "vector",
    "verdict",
    "zeros",
]
