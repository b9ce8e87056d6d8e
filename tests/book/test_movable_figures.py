"""Figures one can move, on the pages: by keyboard, mouse and finger; without scripts; light and dark."""

import gzip
import json
import re

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from bs4 import BeautifulSoup
from conftest import UNFOLD
from scipy.integrate import solve_ivp
from test_browser import luminance

from movable import power

PAGES = ["adjoint-equation/observations", "rigour/discrete-adjoint", "practice/stiffness"]
MOST_BYTES = 40_000  # of one figure, as a server sends it

STATE = """figure => ({
  moved: [...figure.querySelectorAll('svg [data-frames]')].map(
    e => Object.keys(JSON.parse(e.dataset.frames)).map(
      n => n === 'text' ? e.textContent : e.getAttribute(n))),
  value: +figure.querySelector('input').value,
  spoken: figure.querySelector('input').getAttribute('aria-valuetext'),
  said: figure.querySelector('p').textContent})"""
COLOURS = """figure => [...new Set([...figure.querySelectorAll('svg svg path, svg > text')].map(e => {
  const style = getComputedStyle(e);
  return style.stroke === 'none' ? style.fill : style.stroke; }))]"""


@pytest.fixture(scope="module")
def html(site):
    def read(name):
        page = (site / f"book/{name}.html").read_text(encoding="utf-8")
        (figure,) = BeautifulSoup(page, "html.parser").select("figure.movable")
        return figure

    return read


def frames(element, name):
    return json.loads(element["data-frames"])[name]


def said(figure):
    return frames(figure.p, "text")


def path_of(element, k):
    pairs = re.findall(r"[ML]([\d.-]+) ([\d.-]+)", frames(element, "d")[k])
    return np.array(pairs, dtype=float)


@pytest.mark.parametrize("name", PAGES)
def test_a_figure_is_light(html, name):
    assert len(gzip.compress(str(html(name)).encode())) <= MOST_BYTES


def test_there_are_three(site):
    found = [p for p in site.rglob("*.html") if 'class="movable"' in p.read_text(encoding="utf-8")]
    assert {p.relative_to(site / "book").with_suffix("").as_posix() for p in found} >= set(PAGES)


# The numbers are those that the solver gives, computed again here by other means.


def test_the_gradient_so_far_is_the_gradient_in_the_end(html):
    def pendulum(t, z, theta):
        force = -theta[0] * anp.sin(z[0]) - theta[1] * z[1] + 0.5 * anp.cos(2 * t)
        return anp.array([z[1], force])

    times = np.array([1.0, 1.6, 2.3, 2.9, 3.5, 4.0])
    data = np.array([0.75, 0.2, -0.55, -1.05, -0.95, -0.2])

    def value(theta):
        run = solve_ivp(pendulum, (0.5, 4.4), [1.2, 0.0], args=(theta,), t_eval=times, rtol=1e-11, atol=1e-12)
        return np.sum((run.y[0] - data) ** 2) / 2

    theta, h = np.array([1.5, 0.15]), 1e-4
    wanted = [(value(theta + h * e) - value(theta - h * e)) / (2 * h) for e in np.eye(2)]
    words = said(html("adjoint-equation/observations"))
    numbers = re.findall(r"so far \((.*), (.*)\)", words[0].replace("−", "-"))[0]
    assert [float(x) for x in numbers] == pytest.approx(wanted, abs=6e-4)
    assert "(0.000, 0.000)" in words[-1].replace("−", "")
    jumps = [k for k, text in enumerate(words) if "observation" in text]
    assert [float(words[k].split()[2].rstrip(":")) for k in jumps] == list(times)


def test_the_gaps_are_those_of_the_schemes(html):
    """Euler's, with both gradients written out; and where the dot stands."""
    q, z0, n = np.array([1.5, 0.3]), np.array([1.2, 0.4]), 25
    f = lambda s, x, p: anp.array([x[1], -p[0] * anp.sin(x[0]) - p[1] * x[1] ** 3 + 0.5 * anp.cos(2 * s)])
    f_z = lambda x: np.array([[0, 1], [-q[0] * np.cos(x[0]), -3 * q[1] * x[1] ** 2]])
    f_theta = lambda x: np.array([[0, 0], [-np.sin(x[0]), -(x[1] ** 3)]])
    L, h = (lambda x: x[0] ** 2 * x[1] + x[1]), 2 / n

    def steps(x, p):
        for k in range(n):
            x = x + h * f(0.5 + k * h, x, p)
        return x

    through = np.concatenate(grad(lambda x, p: L(steps(x, p)), (0, 1))(z0, q))
    x = steps(z0, q)
    row, total = grad(L)(x), np.zeros(2)
    for k in reversed(range(n)):
        rates = f(0.5 + (k + 1) * h, x, q), row @ f_z(x), row @ f_theta(x)
        x, row, total = x - h * rates[0], row + h * rates[1], total + h * rates[2]
    gap = np.max(np.abs(np.append(row, total) - through)) / np.max(np.abs(through))
    figure = html("rigour/discrete-adjoint")
    text = next(text for text in said(figure) if "25 steps" in text)
    assert f"Euler: gap {power(gap)}," in text
    orders = [float(x) for x in re.findall(r"order ([\d.]+)", said(figure)[-3])]
    assert orders == pytest.approx([1, 3, 4], abs=0.15)


def test_the_way_back_misses_the_start_by_what_is_said(html):
    figure, k = html("practice/stiffness"), 12
    field = lambda t, z: -k * (z - np.cos(t))
    there = solve_ivp(field, (0, 3), [0.0], rtol=1e-9, atol=1e-9)
    back = solve_ivp(field, (3, 0), there.y[:, -1], rtol=1e-9, atol=1e-9)
    off = abs(back.y[0, -1])
    text = said(figure)[k - 1]
    assert f"at t = 0 the state by {power(off)}." in text
    assert f"e³ᵏ = {power(np.exp(36))}" in text
    distance = [e for e in figure.select("svg svg path[data-frames]") if "covector" in e["style"]][-1]
    left, top, _width, height = map(float, distance.parent["viewbox"].split())
    place = top + height * (21 - np.log10(off)) / 33
    assert path_of(distance, k - 1)[0] == pytest.approx([left, place], abs=0.5)


# On the page.


@pytest.fixture
def figure(open_tab):
    """Open a page and give its figure."""
    tabs = []

    def open_page(name, **context):
        tab = open_tab(f"book/{name}.html", **context)
        tabs.append(tab)
        place = tab.page.locator("figure.movable")
        if context.get("java_script_enabled", True):
            tab.page.evaluate(UNFOLD)  # what comes into sight must not move what is looked at
        place.scroll_into_view_if_needed()
        return tab, place

    yield open_page
    for tab in tabs:
        tab.close()
        assert tab.errors == []


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_the_arrows_move_it(figure, name):
    tab, place = figure(name)
    before = place.evaluate(STATE)
    assert before["said"] == before["spoken"]
    place.locator("input").focus()
    tab.page.keyboard.press("ArrowRight")
    after = place.evaluate(STATE)
    assert after["value"] == before["value"] + 1
    assert after["said"] == after["spoken"] != before["said"]
    assert after["moved"] != before["moved"]
    tab.page.keyboard.press("ArrowLeft")
    assert place.evaluate(STATE) == before
    tab.page.keyboard.press("End")
    assert place.evaluate(STATE)["value"] == int(place.locator("input").get_attribute("max"))


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_a_finger_moves_it(figure, name):
    tab, place = figure(name, width=390, has_touch=True, is_mobile=True)
    before = place.evaluate(STATE)
    box = place.locator("input").bounding_box()
    tab.page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    after = place.evaluate(STATE)
    frames = int(place.locator("input").get_attribute("max"))
    assert after["value"] == pytest.approx(0.8 * frames, abs=0.05 * frames + 1)
    assert after["moved"] != before["moved"]
    assert after["said"] == after["spoken"] != before["said"]


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES[:2])
def test_the_figure_itself_can_be_dragged(figure, name):
    tab, place = figure(name)
    svg = place.locator("> svg")
    box, places = svg.bounding_box(), json.loads(svg.get_attribute("data-places"))
    at = lambda k: box["x"] + places[k] * box["width"] / 360
    tab.page.mouse.move(at(3), box["y"] + 60)
    assert place.evaluate(STATE)["value"] == int(place.locator("input").get_attribute("value"))
    tab.page.mouse.down()
    assert place.evaluate(STATE)["value"] == 3
    tab.page.mouse.move(at(11), box["y"] + 80)
    assert place.evaluate(STATE)["value"] == 11
    tab.page.mouse.up()
    tab.page.mouse.move(at(6), box["y"] + 80)
    assert place.evaluate(STATE)["value"] == 11


@pytest.mark.browser
def test_a_finger_drags_it_sideways(figure):
    tab, place = figure(PAGES[0], width=390, has_touch=True, is_mobile=True)
    svg = place.locator("> svg")
    box, places = svg.bounding_box(), json.loads(svg.get_attribute("data-places"))
    session = tab.context.new_cdp_session(tab.page)

    def touch(kind, *point):
        points = [{"x": point[0], "y": point[1]}] if point else []
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    at = lambda k: box["x"] + places[k] * box["width"] / 360
    touch("touchStart", at(20), box["y"] + 60)
    for k in range(22, 52, 2):
        touch("touchMove", at(k), box["y"] + 60)
    touch("touchEnd")
    assert place.evaluate(STATE)["value"] == 50
    assert svg.evaluate("e => getComputedStyle(e).touchAction") == "pan-y"


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_it_does_not_move_by_itself_or_move_the_page(figure, name):
    tab, place = figure(name, width=390)
    before, height = place.evaluate(STATE), place.bounding_box()["height"]
    tab.page.wait_for_timeout(300)
    assert place.evaluate(STATE) == before
    for k in range(0, int(place.locator("input").get_attribute("max")) + 1):
        place.locator("input").evaluate("(i, k) => { i.value = k; i.dispatchEvent(new Event('input')); }", k)
        assert place.bounding_box()["height"] == height, place.evaluate(STATE)["said"]


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_it_stands(figure, name):
    _, place = figure(name, java_script_enabled=False)
    assert place.locator("> svg").bounding_box()["height"] > 200
    assert place.locator("p").is_visible()
    assert not place.locator("input").is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_on_paper_it_has_no_slider(figure, name):
    tab, place = figure(name)
    tab.page.emulate_media(media="print")
    assert place.locator("> svg").is_visible()
    assert not place.locator("input").is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_its_colours_stand_out(figure, name, scheme):
    tab, place = figure(name, color_scheme=scheme)
    _, ground = tab.colours()
    ground = luminance(ground)
    for colour in place.evaluate(COLOURS):
        light = luminance(colour)
        ratio = (max(light, ground) + 0.05) / (min(light, ground) + 0.05)
        assert ratio >= 3, colour


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_its_letters_can_be_read_on_a_phone(figure, name):
    _, place = figure(name, width=390)
    heights = place.locator("svg text").evaluate_all(
        "all => all.map(e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"
    )
    assert min(heights) >= 10
