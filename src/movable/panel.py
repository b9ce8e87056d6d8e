"""A pair of axes, and what stands in them."""

import numpy as np

from movable.marks import attributes, compact, number, trace, words
from movable.scales import Scale

LEFT, RIGHT = 46, 350  # of every panel, in a figure that is 360 wide
INKS = {
    "ink": "currentColor",
    "muted": "var(--pst-color-text-muted, #808890)",
    "state": "var(--state, #2f79c6)",
    "covector": "var(--covector, #c8651b)",
    "third": "var(--third, #9160d0)",
}


class Panel:
    """A pair of axes. Each method takes what it draws, or a function that gives it for a frame.

    Made by :meth:`Movable.panel`.
    """

    def __init__(self, figure, top, height, title, xlim, ylim, xlabel, log, xticks):
        self.figure, self.box = figure, (LEFT, top, RIGHT - LEFT, height)
        log_x, log_y = "x" in log, "y" in log
        self.x = Scale(xlim, (LEFT, RIGHT), log_x)
        self.y = Scale(ylim, (top + height, top), log_y)
        self.parts, self.frame = [], self._axes(title, xlabel, xticks)

    def _axes(self, title, xlabel, xticks):
        left, top, width, height = self.box
        bottom, out = top + height, []
        for value, text in self.y.ticks(4):
            y = number(float(self.y(value)))
            out.append(f'<path d="M{left} {y}h{width}" stroke="currentColor" opacity=".13"/>')
            out.append(f'<text x="{left - 6}" y="{y}" dy="4" text-anchor="end">{text}</text>')
        for value, text in xticks or self.x.ticks():
            x = number(float(self.x(value)))
            out.append(f'<path d="M{x} {bottom}v4" stroke="currentColor" opacity=".5"/>')
            if xlabel:
                out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
        out.append(f'<path d="M{left} {bottom}h{width}" stroke="currentColor" opacity=".5"/>')
        if xlabel:
            out.append(f'<text x="{RIGHT}" y="{bottom + 31}" text-anchor="end">{words(xlabel)}</text>')
        out.append(f'<text x="{left}" y="{top - 8}">{words(title)}</text>')
        return "".join(out)

    def _element(self, tag, given, draw, fixed, inside=""):
        """An element with the attributes that ``draw`` makes of what is given, in each frame."""
        moved = {}
        if callable(given):
            each = [draw(*given(k)) for k in range(self.figure.frames)]
            shown = each[self.figure.start]
            moved = {n: [a[n] for a in each] for n in shown if any(a[n] != shown[n] for a in each)}
        else:
            shown = draw(*given)
        shown = dict(shown)
        inside = words(shown.pop("text", "")) or inside
        if moved:
            fixed = {**fixed, "data-frames": compact(moved)}
        return f"<{tag}{attributes(shown | fixed)}>{inside}</{tag}>"

    def _add(self, tag, given, draw, fixed, clipped=True, window=None):
        element = self._element(tag, given, draw, fixed)
        if window is not None:
            element = self._element("svg", window, self._window, {}, element)
        self.parts.append((clipped, element))

    def _window(self, first, last):
        """A part of the plot, from one number on the axis below to another."""
        _, top, _, height = self.box
        a, b = sorted(float(self.x(value)) for value in (first, last))
        box = [number(a), number(top), number(b - a), number(height)]
        return dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"viewBox": " ".join(box)}

    def line(self, given, ink="ink", width=1.8, dash="", opacity=1, window=None):
        """A line through the points ``(x, y)``, two arrays; seen in a ``window`` of x alone."""
        draw = lambda x, y: {"d": trace(self.x(x), self.y(y))}
        look = {"fill": "none", "style": f"stroke:{INKS[ink]}", "stroke-width": width}
        look |= {"stroke-linejoin": "round"} | ({"stroke-dasharray": dash} if dash else {})
        look |= {"opacity": opacity} if opacity != 1 else {}
        self._add("path", given, draw, look, window=window)

    def area(self, given, ink="ink", opacity=0.25, window=None):
        """The area between the points ``(x, y)`` and zero; seen in a ``window`` of x alone."""

        def draw(x, y):
            x, y = np.asarray(x), np.asarray(y)
            if len(x) < 2:
                return {"d": ""}
            zero = number(float(self.y(0)))
            a, b = number(float(self.x(x[0]))), number(float(self.x(x[-1])))
            return {"d": f"{trace(self.x(x), self.y(y))}L{b} {zero}L{a} {zero}Z"}

        self._add("path", given, draw, {"style": f"fill:{INKS[ink]}", "opacity": opacity}, window=window)

    def dots(self, given, ink="ink", size=6):
        """A dot at each of the points ``(x, y)``, two arrays or two numbers."""

        def draw(x, y):
            places = zip(np.atleast_1d(self.x(x)), np.atleast_1d(self.y(y)), strict=True)
            return {"d": "".join(f"M{number(a)} {number(b)}h0" for a, b in places)}

        look = {"style": f"stroke:{INKS[ink]}", "stroke-width": size, "stroke-linecap": "round"}
        self._add("path", given, draw, look, clipped=False)

    def rule(self, given, ink="ink", width=1, dash="", opacity=0.6):
        """An upright line at ``x``; a function of the frame gives it as a tuple of one."""
        _, top, _, height = self.box
        draw = lambda x: {"d": f"M{number(float(self.x(x)))} {top}v{height}"}
        look = {"style": f"stroke:{INKS[ink]}", "stroke-width": width, "opacity": opacity}
        self._add("path", given, draw, look | ({"stroke-dasharray": dash} if dash else {}))

    def text(self, given, ink="ink", anchor="start"):
        """Words at a place: ``(x, y, words)``."""
        draw = lambda x, y, said: {
            "x": number(float(self.x(x))), "y": number(float(self.y(y))), "text": said,
        }  # fmt: skip
        look = {"style": f"fill:{INKS[ink]}", "text-anchor": anchor}
        self._add("text", given, draw, look, clipped=False)

    def drag(self, place):
        """Let the figure itself be dragged: ``place`` gives where a frame stands on the axis below."""
        self.figure.places = [round(float(self.x(place(k))), 1) for k in range(self.figure.frames)]

    def svg(self):
        left, top, width, height = self.box
        box = f"{left} {top} {width} {height}"
        inside = "".join(part for clipped, part in self.parts if clipped)
        above = "".join(part for clipped, part in self.parts if not clipped)
        return (
            f'{self.frame}<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="{box}">'
            f"{inside}</svg>{above}"
        )
