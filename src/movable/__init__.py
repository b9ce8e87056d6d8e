"""Figures that one can move: a few frames of an SVG, and a slider that chooses one.

::

    figure = Movable("a wave and its phase", frames=25, start=6)
    panel = figure.panel("z", xlim=(0, 6), ylim=(-1, 1), xlabel="t")
    panel.line((t, np.sin(t)), "muted")                         # stays
    panel.line(lambda k: (t, np.sin(t - phase[k])), "state")    # moves
    figure.slider("phase", lambda k: f"phase {phase[k]:.2f}")

What is given as a function of the frame's number moves; all else stays. The numbers are computed
where the figure is made: the page holds their drawing, as attributes of the elements that move,
and a line of script that sets them. Without scripts, and on paper, the frame ``start`` stands.
The colours are those of the page, so that a figure follows light and dark.
"""

from movable.figure import Movable
from movable.panel import Panel
from movable.scales import power

__all__ = ["Movable", "Panel", "power"]
