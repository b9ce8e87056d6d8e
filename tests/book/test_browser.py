"""The built pages in a real Chromium: what a reader sees, and what the page asks for."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("typeset")]


def test_no_request_leaves_the_site(page, visit, address):
    assert {url for url in visit(page)["requests"] if not url.startswith((address, "data:"))} == set()


def test_no_error_in_the_console(page, visit):
    assert visit(page)["errors"] == []


def test_all_mathematics_is_typeset(page, visit):
    assert visit(page)["raw"] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_everything_fits_the_window(page, visit, width):
    measured = visit(page)[width]
    wide, cut = "\n".join(measured["wide"][:20]), "\n".join(measured["cut"][:20])
    assert not wide, f"mathematics wider than the column:\n{wide}"
    assert not cut, f"ends outside the window:\n{cut}"
    assert measured["page"] <= 0, "the page is wider than the window"


def luminance(colour):
    """Relative luminance of a colour such as ``rgb(20, 24, 30)``."""
    numbers = [float(n) / 255 for n in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [n / 12.92 if n <= 0.04045 else ((n + 0.055) / 1.055) ** 2.4 for n in numbers]
    return sum(weight * n for weight, n in zip([0.2126, 0.7152, 0.0722], linear, strict=True))


def contrast(colours):
    """Whether a page is dark, and the contrast of its text with its ground."""
    text, ground = map(luminance, colours)
    return ground < text, (max(text, ground) + 0.05) / (min(text, ground) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system(page, visit, scheme):
    is_dark, ratio = contrast(visit(page)[scheme])
    assert is_dark == (scheme == "dark")
    assert ratio >= 7


def test_the_reader_can_choose_light_or_dark(open_tab):
    tab = open_tab("index.html", color_scheme="light")
    seen = set()
    for _ in range(3):
        tab.page.locator(".theme-switch-button").first.click()
        seen.add(contrast(tab.colours())[0])
    tab.close()
    assert seen == {True, False}


def test_the_site_opens_from_a_file(open_tab, site, page):
    tab = open_tab((site / page).as_uri())
    count = "() => document.querySelectorAll('.math:not(:has(math))').length"
    untouched = tab.page.evaluate(count)
    tab.close()
    assert untouched == 0
    assert tab.errors == []
    assert {url for url in tab.requests if not url.startswith(("file:", "data:"))} == set()


def test_the_keyboard_reaches_the_links(page, visit):
    """The first tab stop skips to the text; further ones reach the contents, visibly."""
    places = visit(page)["focus"]
    assert places[0]["text"] == "Skip to main content"
    assert [place["html"] for place in places if not place["visible"]] == []
    assert any(place["contents"] and place["href"] for place in places)


def test_the_search_finds_a_word(open_tab):
    tab = open_tab("search.html?q=adjoint")
    tab.page.wait_for_selector("#search-results li a", timeout=10_000)
    tab.close()
    assert tab.errors == []
