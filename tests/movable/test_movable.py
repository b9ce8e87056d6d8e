"""Figures one can move: what stands in them, frame by frame, and what cannot be drawn."""

import itertools
import json
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup

from movable import Movable, power
from movable.scales import Scale

X = np.array([0.0, 1.0, 2.0])


def parse(figure):
    return BeautifulSoup(figure._repr_html_(), "html.parser")


def frames_of(element):
    return json.loads(element["data-frames"])


def example(frames=4, start=1):
    figure = Movable("a line & a dot", frames, start)
    panel = figure.panel("y_θ", (0, 2), (0, 10), "x")
    panel.line((X, 5 * X), "muted")
    panel.line(lambda k: (X, k * X), "state")
    panel.dots(lambda k: (1, 2 * k), "covector")
    figure.slider("slope", lambda k: f"slope {k}")
    return figure, panel


def points(path):
    return [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d. -]+)", path)]


def moving(html):
    return [e for e in html.select("path[data-frames], svg svg[data-frames], text[data-frames]")]


def test_what_is_a_function_moves_and_the_rest_stays():
    figure, _ = example()
    line, dot = moving(parse(figure))
    assert len(frames_of(line)["d"]) == len(frames_of(dot)["d"]) == 4


def test_the_page_shows_the_starting_frame():
    html = parse(example(start=2)[0])
    for element in html.select("[data-frames]"):
        for name, values in frames_of(element).items():
            assert (element.text if name == "text" else element[name]) == values[2]
    assert html.input["value"] == "2"


def test_places_are_those_of_the_numbers():
    figure, panel = example()
    path = frames_of(moving(parse(figure))[0])["d"][3]
    wanted = [(float(panel.x(x)), float(panel.y(3 * x))) for x in X]
    assert points(path) == pytest.approx(np.array(wanted), abs=0.051)
    left, top, width, height = panel.box
    assert (panel.x(0), panel.x(2)) == (left, left + width)
    assert (panel.y(0), panel.y(10)) == (top + height, top)


def test_the_slider_says_what_it_shows():
    slider = parse(example()[0]).input
    assert slider["aria-valuetext"] == "slope 1"
    assert frames_of(slider)["aria-valuetext"] == [f"slope {k}" for k in range(4)]
    assert slider["max"] == "3"


def test_the_description_is_escaped():
    assert parse(example()[0]).svg["aria-label"] == "a line & a dot"


def test_an_index_is_set_below():
    assert parse(example()[0]).find("tspan").text == "θ"


def test_a_gap_interrupts_a_line():
    figure, panel = example()
    panel.line(([0, 1, 1.2, 1.5, 2], [1, 2, np.nan, 3, 4]))
    pens = [re.sub("[^ML]", "", path["d"]) for path in parse(figure).select("svg svg path")]
    assert pens[-1] == "MLML"


def test_an_area_is_closed_at_zero():
    figure, panel = example()
    panel.area((X, [1, 2, 3]))
    last = next(p for p in parse(figure).select("path") if p["d"].endswith("Z"))
    assert points(last["d"])[-1][1] == pytest.approx(float(panel.y(0)), abs=0.051)


def test_a_window_moves_over_what_stays():
    figure, panel = example()
    panel.line((X, X), window=lambda k: (0.5 * k, 2))
    window = next(e for e in moving(parse(figure)) if e.name == "svg")
    found = [float(x) for x in frames_of(window)["x"]]
    assert found == pytest.approx([float(panel.x(0.5 * k)) for k in range(4)], abs=0.051)
    ends = [x + float(width) for x, width in zip(found, frames_of(window)["width"], strict=True)]
    assert ends == pytest.approx([float(panel.x(2))] * 4, abs=0.11)
    box = [frames_of(window)["x"][0], window["y"], frames_of(window)["width"][0], window["height"]]
    assert frames_of(window)["viewBox"][0].split() == box
    assert "data-frames" not in window.find("path").attrs


def test_where_one_can_drag():
    figure, panel = example()
    panel.drag(lambda k: 0.5 * k)
    svg = parse(figure).svg
    assert json.loads(svg["data-places"]) == pytest.approx(
        [float(panel.x(0.5 * k)) for k in range(4)], abs=0.051
    )
    assert "onpointermove" in svg.attrs
    assert "onpointermove" not in parse(example()[0]).svg.attrs


def test_panels_do_not_overlap():
    figure = Movable("three", 1)
    boxes = [figure.panel("p", (0, 1), (0, 1), label).box for label in ("", "t", "")]
    assert all(a[1] + a[3] < b[1] for a, b in itertools.pairwise(boxes))
    assert boxes[-1][1] + boxes[-1][3] < figure.bottom


@pytest.mark.parametrize("frame", [-1, 4])
def test_a_start_that_is_no_frame_is_refused(frame):
    with pytest.raises(ValueError, match="of 4 frames"):
        Movable("a", 4, frame)


def test_a_figure_needs_a_description():
    with pytest.raises(ValueError, match="description"):
        Movable(" ", 4)


@pytest.mark.parametrize(("limits", "log"), [((1, 1), False), ((0, 1), True), ((-2, -1), True)])
def test_impossible_axes_are_refused(limits, log):
    with pytest.raises(ValueError, match="that differ"):
        Scale(limits, (0, 1), log)


def test_equal_factors_are_equally_far_apart():
    scale = Scale((1e-4, 1), (0, 100), log=True)
    assert scale([1e-4, 1e-3, 1e-2, 1]) == pytest.approx([0, 25, 50, 100])
    assert [text for _, text in scale.ticks()] == ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1"]


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ((0, 3), ["0", "1", "2", "3"]),
        ((-1.4, 1.4), ["−1", "0", "1"]),
        ((0.5, 2.5), ["0.5", "1", "1.5", "2", "2.5"]),
    ],
)
def test_round_numbers_on_an_axis(limits, wanted):
    assert [text for _, text in Scale(limits, (0, 1)).ticks()] == wanted


@pytest.mark.parametrize(
    ("x", "wanted"),
    [
        (2.61e-5, "2.6·10⁻⁵"),
        (0.2249, "0.22"),
        (9200, "9200"),
        (9.99e-4, "1.0·10⁻³"),
        (-3.14e7, "−3.1·10⁷"),
        (0.0, "0.0"),
        (1.0, "1.0"),
        (1.06e13, "1.1·10¹³"),
    ],
)
def test_powers_of_ten(x, wanted):
    assert power(x) == wanted
