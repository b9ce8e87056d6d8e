"""What a reader does on a page, in a real browser: light and dark, on a phone and at a desk."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("typeset")]

CHAPTER = "book/rigour/discrete-adjoint.html"
WAYS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{way[1]}")
def tab(request, open_tab):
    width, scheme = request.param
    may = ["clipboard-read", "clipboard-write"]
    tab = open_tab(CHAPTER, width=width, color_scheme=scheme, permissions=may)
    tab.wide = width >= 992
    yield tab
    tab.close()
    assert tab.errors == []


def test_search_from_the_keyboard_to_a_result(tab):
    tab.page.keyboard.press("Control+k")
    tab.page.keyboard.type("checkpoint")
    tab.page.keyboard.press("Enter")
    first = tab.page.locator("#search-results li a").first
    first.wait_for(timeout=10_000)
    first.click()
    assert tab.page.locator("article h1").is_visible()


def test_search_by_its_button(tab):
    tab.page.locator(".search-button__button:visible").first.click()
    assert tab.page.locator("#pst-search-dialog input").is_visible()
    tab.page.keyboard.press("Escape")
    assert not tab.page.locator("#pst-search-dialog").is_visible()


def test_a_folded_solution_opens_and_closes(tab):
    box = tab.page.locator("details.admonition.dropdown").first
    inside = box.locator("p").first
    assert not inside.is_visible()
    box.locator("summary").first.click()
    assert inside.is_visible()
    box.locator("summary").first.press("Enter")
    assert not inside.is_visible()


def test_a_folded_cell_opens(tab):
    box = tab.page.locator("details:has(pre)").first
    assert not box.locator("pre").first.is_visible()
    box.locator("summary").press("Enter")
    assert box.locator("pre").first.is_visible()


def test_a_receipt_opens(tab):
    box = tab.page.locator(".receipt:has(> details:not([open]))").first.element_handle()
    box.query_selector("summary").click()
    assert box.query_selector(".receipt-line").is_visible()


def test_code_is_copied_without_its_output(tab):
    cell = tab.page.locator(".cell_input .highlight:visible").first
    cell.hover()
    cell.locator("button.copybtn").click()
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == cell.locator("pre").inner_text().strip()


def test_a_formula_is_copied_as_tex(tab):
    formula = tab.page.locator("div.math math").first
    formula.dblclick()
    tab.page.keyboard.press("Control+c")
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"$${formula.get_attribute('data-tex')}$$"


def test_a_passage_is_copied_with_the_tex_of_its_formulas(tab):
    tab.page.evaluate("""() => getSelection().selectAllChildren(
      [...document.querySelectorAll('article p')].find(p => p.querySelector('span.math')))""")
    tab.page.keyboard.press("Control+c")
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    tex = tab.page.evaluate("""() => [...document.querySelectorAll('article p')]
      .find(p => p.querySelector('span.math')).querySelector('math').dataset.tex""")
    assert f"${tex}$" in copied


def test_the_colour_mode_goes_round_and_is_kept(tab):
    seen = []
    for _ in range(3):
        tab.page.locator(".theme-switch-button:visible").click()
        seen.append(tab.page.evaluate("document.documentElement.dataset.theme"))
    assert set(seen) == {"light", "dark"}
    tab.page.reload()
    assert tab.page.evaluate("document.documentElement.dataset.theme") == seen[-1]


def test_the_contents_of_the_book(tab):
    sidebar = tab.page.locator(".bd-docs-nav a[href$='ten-minutes.html']")
    assert sidebar.is_visible() == tab.wide
    tab.page.locator(".primary-toggle").click()
    sidebar.wait_for(state="hidden" if tab.wide else "visible")
    if not tab.wide:
        tab.page.keyboard.press("Escape")
        sidebar.wait_for(state="hidden")


def test_the_contents_of_the_page(tab):
    link = tab.page.locator("#pst-page-toc-nav a").first
    if not link.is_visible():
        tab.page.locator(".secondary-toggle").click()
    link.click()
    assert tab.page.url.endswith(link.get_attribute("href"))


def test_the_icons_are_drawn(tab):
    """A character that the small font lacks would be an empty box, as wide as any other."""
    tab.page.evaluate("document.fonts.ready")
    missing = tab.page.evaluate(
        """() => [...document.querySelectorAll('i[class*=fa-], span[class*=fa-]')]
        .filter(icon => icon.offsetParent).map(icon => getComputedStyle(icon, '::before').content)
        .filter(content => content === 'none'
          || !document.fonts.check('1em "Font Awesome 6 Free"', content))"""
    )
    assert missing == []


@pytest.mark.parametrize("width", [1280, 390])
def test_reading_needs_no_script(open_tab, width):
    tab = open_tab(CHAPTER, width=width, java_script_enabled=False)
    assert tab.page.locator("article h1").is_visible()
    assert tab.page.locator("div.math math").first.is_visible()
    tab.page.locator("details.admonition.dropdown summary").first.click()
    assert tab.page.locator("details.admonition.dropdown p").first.is_visible()
    tab.page.locator("details:has(pre) summary").first.click()
    assert tab.page.locator("details:has(pre) pre").first.is_visible()
    assert not tab.page.locator(".theme-switch-button").is_visible()  # it would do nothing
    tab.close()
    assert tab.errors == []
