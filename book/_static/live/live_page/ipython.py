"""Stands for IPython, as far as receipts and the chapters ask for it."""

import sys
import types

from live_page.shown import display


class Shell:
    """Stands for a notebook; pyplot registers with it."""

    class events:
        register = unregister = staticmethod(lambda *_: None)


class Shown:
    def __init__(self, data):
        self.data = data

    def _repr_mimebundle_(self):
        return {self.kind: self.data}


def pretend_ipython():
    shell, top, inner = Shell(), types.ModuleType("IPython"), types.ModuleType("IPython.display")
    top.get_ipython, top.version_info, top.display = (lambda: shell), (9, 0), inner
    inner.display = display
    for name, kind in [("HTML", "text/html"), ("SVG", "image/svg+xml"), ("Latex", "text/latex")]:
        setattr(inner, name, type(name, (Shown,), {"kind": kind}))
    sys.modules |= {"IPython": top, "IPython.display": inner}
