"""The figures of the rendered site, by mouse and by keyboard, in headless Chromium.

In a file of their own: they take as long as all else that is asked of the site, beside it.
"""

from pathlib import Path
from typing import Any

import pytest
from site_visits import Visit

pytestmark = pytest.mark.slow


def test_figures_answer_the_keyboard(visit: Visit) -> None:
    for i in range(visit.figures.count()):
        figure = visit.figures.nth(i)
        assert press_all(visit.page, figure) >= 1, figure.inner_text()


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


def test_figures_answer_the_mouse(visit: Visit) -> None:
    """A click near one end of each first slider, then near the other."""
    for i in range(visit.figures.count()):
        slider = visit.figures.nth(i).locator('input[type="range"]').first
        if not slider.count():
            continue
        slider.scroll_into_view_if_needed()
        values = []
        for share in (0.05, 0.95):
            box = slider.bounding_box()
            x, y = box["x"] + share * box["width"], box["y"] + box["height"] / 2
            visit.page.mouse.click(x, y)
            values.append((slider.input_value(), picture(visit.figures.nth(i))))
        (low, first), (high, last) = values
        assert int(low) < int(high)
        assert first != last


def test_the_book_has_living_figures(chapter: Visit) -> None:
    """So that the tests above cannot pass because nothing was there."""
    assert chapter.figures.count() >= 2


def test_figures_live_without_a_server(browser: Any, html: Path) -> None:
    """From a folder on disk, as the offline copy of the site is read."""
    seen = Visit(browser, (html / "book" / "ch02_noising.html").as_uri())
    assert press_all(seen.page, seen.figures.first) >= 2
    seen.page.close()
