"""What pyplot draws with: MPLBACKEND names this module."""

from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas

from live_page.shown import show_figures as show

__all__ = ["FigureCanvas", "show"]
