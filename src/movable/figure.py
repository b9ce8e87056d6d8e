"""The figure: panels one below the other, and the slider."""

from html import escape

from movable.marks import attributes, compact
from movable.panel import Panel

WIDTH = 360  # a phone's column: there the letters have the size that they say

STYLE = """
.movable{max-width:32rem;margin:1rem 0}
.movable>svg{display:block;width:100%;height:auto;-webkit-user-select:none;user-select:none}
.movable>svg[data-places]{touch-action:pan-y;cursor:ew-resize}
.movable text{font:11px var(--book-text,system-ui,-apple-system,Roboto,sans-serif);fill:currentColor}
.movable label{display:block;font-size:.9rem;line-height:1.4;padding-left:12.8%}
.movable input{display:block;width:calc(96.8% + 16px);height:1.6rem;
margin:0 0 0 -8px;accent-color:var(--covector,#c8651b)}
.movable p{margin:.2rem 0 0 12.8%;font-size:.9rem;line-height:1.4;
font-variant-numeric:tabular-nums;white-space:pre-line}
@media(max-width:30rem){.movable p{margin-left:0}}
@media print{.movable label{display:none}}
"""

# Sets the attributes of all that moves to those of the slider's frame.
SHOW = (
    "for(const e of this.closest('.movable').querySelectorAll('[data-frames]'))"
    "for(const[n,v]of Object.entries(JSON.parse(e.dataset.frames)))"
    "n=='text'?e.textContent=v[this.value]:e.setAttribute(n,v[this.value])"
)
# Moves the slider to the frame whose place is nearest to the finger.
DRAG = (
    "if(event.buttons&1){const r=this.getBoundingClientRect(),"
    "x=(event.clientX-r.left)*this.viewBox.baseVal.width/r.width,"
    "p=JSON.parse(this.dataset.places),i=this.parentNode.querySelector('input'),"
    "k=p.reduce((b,q,j)=>Math.abs(q-x)<Math.abs(p[b]-x)?j:b,0);"
    "if(i.value!=k){i.value=k;i.dispatchEvent(new Event('input'))}}"
)


class Movable:
    """A figure with a slider.

    Parameters
    ----------
    alt : str
        What the figure shows, for those who do not see it.
    frames : int
        How many frames there are.
    start : int
        The frame that is shown first, and that stands on paper.

    Raises
    ------
    ValueError
        If there is no such frame, or no description.
    """

    def __init__(self, alt, frames, start=0):
        if not alt.strip():
            raise ValueError("a figure without a description: say in `alt` what it shows")
        if not 0 <= start < frames:
            raise ValueError(f"start={start} of {frames} frames: give a number from 0 to {frames - 1}")
        self.alt, self.frames, self.start = alt, frames, start
        self.panels, self.bottom, self.places = [], 0, None
        self.label, self.words = "frame", [str(k + 1) for k in range(frames)]

    def panel(self, title, xlim, ylim, xlabel="", height=110, log="", xticks=None):
        """Add a panel below the others.

        Parameters
        ----------
        title : str
            What stands above it: the name of what is drawn upwards.
        xlim, ylim : (float, float)
            The numbers at the ends of the axes.
        xlabel : str
            The name of the axis below, with its numbers; without it they are left out.
        height : float
            Of the plot, in units of which the whole width has 360.
        log : str
            "x", "y" or "xy": the axes that are logarithmic.
        xticks : list of (float, str), optional
            The numbers on the axis below, and what to write there.
        """
        top = self.bottom + 24
        made = Panel(self, top, height, title, xlim, ylim, xlabel, log, xticks)
        self.bottom = top + height + (36 if xlabel else 8)
        self.panels.append(made)
        return made

    def slider(self, label, say):
        """Name the slider; say for each frame what it shows.

        Parameters
        ----------
        label : str
            What one changes.
        say : callable
            Gives the words of a frame: its number to a string.
        """
        self.label, self.words = label, [say(k) for k in range(self.frames)]

    def _repr_html_(self):
        drag = {}
        if self.places is not None:
            drag = {"data-places": compact(self.places)}
            drag |= {"onpointerdown": DRAG, "onpointermove": DRAG}
        say = compact({"text": self.words})
        value = compact({"aria-valuetext": self.words})
        shown, rows = self.words[self.start], 1 + max(text.count("\n") for text in self.words)
        slider = {
            "type": "range", "min": 0, "max": self.frames - 1, "value": self.start, "autocomplete": "off",
            "aria-valuetext": shown, "data-frames": value, "oninput": SHOW,
        }  # fmt: skip
        body = "".join(panel.svg() for panel in self.panels)
        view = {"viewBox": f"0 0 {WIDTH} {self.bottom}", "role": "img", "aria-label": self.alt}
        return (
            f'<figure class="movable"><svg{attributes(view | drag)}><style>{STYLE}</style>{body}</svg>'
            f'<label class="pst-js-only">{escape(self.label)}<input{attributes(slider)}></label>'
            f'<p style="min-height:{rows * 1.4:.1f}em"{attributes({"data-frames": say})}>{escape(shown)}</p>'
            "</figure>"
        )

    def __repr__(self):
        return f"<{self.alt} ({self.frames} frames)>"
