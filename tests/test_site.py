"""The rendered site as a reader meets it: in a browser, by mouse and by keyboard.

Every page in turn, from a server on this machine, in headless Chromium.
"""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_build import pages_in_toc

ROOT = Path(__file__).resolve().parent.parent
PAGES = pages_in_toc(ROOT)

pytestmark = pytest.mark.slow

# Serious findings of axe-core about elements that the theme, MyST-NB and docutils write; no page
# or figure of ours may add to them. Rule -> what those elements contain.
KNOWN_FINDINGS = {
    "label-content-name-mismatch": ('data-bs-toggle="tooltip"', "<summary aria-label="),
    "aria-required-children": ('<div role="list" class="citation-list">',),
}

FIGURES = "figure.maskdiff"
QUESTIONS = f"{FIGURES}:has(form)"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(html: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = functools.partial(Quiet, directory=html)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Visit:
    """A page that was opened, with what went wrong and what it asked for."""

    def __init__(self, browser: Any, url: str, width: int = 1200, scheme: str = "light") -> None:
        size = {"width": width, "height": 900}
        self.page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url, wait_until="networkidle")
        expected = self.page.locator('script[type*="widget-view"]').count()
        if expected:
            drawn = f"document.querySelectorAll('{FIGURES} .maskdiff-stage > *').length > 0"
            enough = f"document.querySelectorAll('{FIGURES}').length === {expected}"
            self.page.wait_for_function(f"{enough} && {drawn}", timeout=300_000)
        self.figures = self.page.locator(f"{FIGURES}:not(:has(form))")

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """Open a page of the site; closed after the test."""
    opened = []

    def open_page(name: str, **options: Any) -> Visit:
        opened.append(Visit(browser, f"{address}/{name}.html", **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.page.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_asks_no_other_host_and_raises_no_error(visit: Any, address: str, name: str) -> None:
    seen = visit(name)
    assert [url for url in seen.asked if not url.startswith((address, "data:", "blob:"))] == []
    assert seen.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_has_no_serious_finding(visit: Any, root: Path, name: str, scheme: str) -> None:
    seen = visit(name, scheme=scheme)
    assert seen.page.locator("html").get_attribute("data-theme") == scheme
    seen.page.add_script_tag(path=root / "tests" / "axe" / "axe.min.js")
    found = seen.page.evaluate("axe.run()")["violations"]
    serious = [
        (finding["id"], node["html"])
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
        if not any(part in node["html"] for part in KNOWN_FINDINGS.get(finding["id"], ()))
    ]
    assert serious == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_scrolls_sideways_on_a_phone(visit: Any, name: str) -> None:
    page = visit(name, width=375).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    too_wide = "fs => fs.filter(f => f.scrollWidth > f.clientWidth + 1).map(f => f.innerText)"
    assert page.locator(FIGURES).evaluate_all(too_wide) == []


@pytest.mark.parametrize("name", PAGES)
def test_figures_answer_the_keyboard(visit: Any, name: str) -> None:
    seen = visit(name)
    for i in range(seen.figures.count()):
        figure = seen.figures.nth(i)
        assert press_all(seen.page, figure) >= 1, figure.inner_text()


def press_all(page: Any, figure: Any) -> int:
    """Move every control by its key; each must change the picture. Returns how many there were."""
    moved = 0
    for j in range(figure.locator("input").count()):
        control = figure.locator("input").nth(j)
        kind = control.get_attribute("type")
        if control.is_disabled() or (kind == "radio" and not control.is_checked()):
            continue
        before = picture(figure)
        at_end = control.evaluate("c => c.value === c.max")
        keys = {"radio": "ArrowDown", "checkbox": "Space", "range": "ArrowRight"}
        control.focus()
        assert control.evaluate("c => getComputedStyle(c).outlineStyle") != "none"  # focus ring
        page.keyboard.press("ArrowLeft" if kind == "range" and at_end else keys[kind])
        wait_for_change(page, figure, before, control)
        moved += 1
    return moved


def picture(figure: Any) -> bytes:
    return figure.locator(".maskdiff-stage").screenshot(animations="disabled")


def wait_for_change(page: Any, figure: Any, before: bytes, control: Any) -> None:
    for _ in range(50):
        if picture(figure) != before:
            return
        page.wait_for_timeout(100)
    label = control.evaluate("c => c.labels[0].innerText")
    raise AssertionError(f"{label!r} changed nothing in {figure.inner_text()!r}")


@pytest.mark.parametrize("name", PAGES)
def test_figures_answer_the_mouse(visit: Any, name: str) -> None:
    """A click near one end of each first slider, then near the other."""
    seen = visit(name)
    for i in range(seen.figures.count()):
        slider = seen.figures.nth(i).locator('input[type="range"]').first
        if not slider.count():
            continue
        slider.scroll_into_view_if_needed()
        values = []
        for share in (0.05, 0.95):
            box = slider.bounding_box()
            x, y = box["x"] + share * box["width"], box["y"] + box["height"] / 2
            seen.page.mouse.click(x, y)
            values.append((slider.input_value(), picture(seen.figures.nth(i))))
        (low, first), (high, last) = values
        assert int(low) < int(high)
        assert first != last


@pytest.mark.parametrize("name", PAGES)
def test_quizzes_and_predictions_answer(visit: Any, name: str) -> None:
    page = visit(name).page
    forms = page.locator(f"{QUESTIONS} form")
    for i in range(forms.count()):
        form = forms.nth(i)
        why = form.locator(".maskdiff-why")
        options = form.locator("input")
        replies = []
        for j in range(options.count()):
            if options.nth(j).is_disabled():  # a prediction is made once
                break
            options.nth(j).check()
            form.get_by_role("button").click()
            replies.append(why.inner_text())
        assert all(len(reply.split()) >= 3 for reply in replies)
        if len(replies) > 1:  # a quiz
            assert sum(reply.startswith("✓") for reply in replies) == 1


def test_the_book_has_living_pages(visit: Any) -> None:
    """So that the tests above cannot pass because nothing was there."""
    seen = visit("book/ch02_noising")
    assert seen.figures.count() >= 2
    assert seen.page.locator(f"{QUESTIONS} form").count() >= 5


def test_figures_live_without_a_server(browser: Any, html: Path) -> None:
    """From a folder on disk, as the offline copy of the site is read."""
    seen = Visit(browser, (html / "book" / "ch02_noising.html").as_uri())
    assert press_all(seen.page, seen.figures.first) >= 2
    seen.page.close()
