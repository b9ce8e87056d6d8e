"""Settings of the kernels that run the chapters; the build copies them to where IPython looks."""

c = get_config()  # noqa: F821  (IPython puts it here)
c.InlineBackend.figure_formats = {"svg", "png"}  # the pages show the first, slides may need the other
c.InlineBackend.print_figure_kwargs = {"bbox_inches": "tight", "dpi": 300}
