"""Pieces of SVG: numbers, attributes, words and paths."""

import json
import re
from html import escape

import numpy as np

INDEX = r'<tspan dy="3" font-size="8">\1</tspan><tspan dy="-3">&#8203;</tspan>'


def number(x):
    """A place, to a tenth of a unit."""
    return f"{x:.1f}".removesuffix(".0")


def compact(values):
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def attributes(values):
    return "".join(f' {name}="{escape(str(value), quote=True)}"' for name, value in values.items())


def words(text):
    """Text of the drawing, where ``f_θ`` has an index."""
    return re.sub(r"_(\w+)", INDEX, escape(text))


def trace(x, y):
    """The path through some places; a NaN interrupts it."""
    steps, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if np.isfinite(a) and np.isfinite(b):
            steps.append(f"{pen}{number(a)} {number(b)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(steps)
