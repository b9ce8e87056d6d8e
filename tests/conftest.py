"""What all tests share: the built site, and a count at the end that a script can read."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"


def built_pages():
    """Addresses of the built pages, relative to the top of the site, without signposts."""
    pages = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
    signposts = {page for page in pages if 'http-equiv="refresh"' in (SITE / page).read_text()[:800]}
    return [page for page in pages if not page.startswith("_") and page not in signposts]


def built_notebooks():
    """Addresses of the notebooks that the site offers."""
    return sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.ipynb"))


def pytest_generate_tests(metafunc):
    """Run a test that asks for `page` or `notebook` once for each that was built."""
    for name, found in [("page", built_pages), ("notebook", built_notebooks)]:
        if name in metafunc.fixturenames:
            nothing = pytest.mark.skip(reason="the book is not built: run `make book` first")
            values = found() or [pytest.param(None, marks=nothing, id="none")]
            metafunc.parametrize(name, values)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def site():
    """The folder of the built site."""
    if not (SITE / "index.html").exists():
        pytest.skip("the book is not built: run `make book` first")
    return SITE


def pytest_terminal_summary(terminalreporter):
    """Count what ran: all tests, and of these the checks in a browser."""

    def browser(report):
        return "browser" in report.keywords

    counts = {}
    for outcome in ["passed", "failed", "error", "skipped"]:
        reports = [r for r in terminalreporter.stats.get(outcome, []) if hasattr(r, "keywords")]
        outcome = "failed" if outcome == "error" else outcome
        for kind, some in [("tests", reports), ("browser", list(filter(browser, reports)))]:
            counts[kind, outcome] = counts.get((kind, outcome), 0) + len(some)
    for kind, name in [("tests", "All tests"), ("browser", "Of these, browser checks")]:
        passed, failed, skipped = (counts[kind, o] for o in ["passed", "failed", "skipped"])
        line = f"{name}: {passed} passed, {failed} failed, {skipped} skipped"
        terminalreporter.write_line(line)
    passed = [r for r in terminalreporter.stats.get("passed", []) if hasattr(r, "user_properties")]
    times = [value for r in passed for name, value in r.user_properties if name == "live"]
    if times:
        ready, first = (sorted(t[i] for t in times) for i in (1, 2))
        terminalreporter.write_line(
            f"Python in the page, on {len(times)} pages: ready after {ready[0]:.0f} to {ready[-1]:.0f} s, "
            f"the first result after {first[0]:.0f} to {first[-1]:.0f} s"
        )
