"""The rendered site as a reader meets it: in a browser.

Every page in turn, from a server on this machine, in headless Chromium: figures by mouse and by
keyboard, then the page, light and dark, under the eyes of axe-core.
"""

from pathlib import Path
from typing import Any

import pytest
from site_visits import DESK, FIGURES, PATIENCE, PHONE, Visit

from maskdiff_edu.widgets.lab import lab_files

pytestmark = pytest.mark.slow

QUESTIONS = f"{FIGURES}:has(form)"

# Serious findings of axe-core about elements that the theme, MyST-NB and docutils write; no page
# or figure of ours may add to them. Rule -> what those elements contain.
KNOWN_FINDINGS = {
    "label-content-name-mismatch": ('data-bs-toggle="tooltip"', "<summary aria-label="),
    "aria-required-children": ('<div role="list" class="citation-list">',),
}


def test_nothing_scrolls_sideways_on_a_phone(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size(PHONE)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        too_wide = "fs => fs.filter(f => f.scrollWidth > f.clientWidth + 1).map(f => f.innerText)"
        assert page.locator(FIGURES).evaluate_all(too_wide) == []
    finally:
        page.set_viewport_size(DESK)


def test_figures_answer_the_keyboard(visit: Visit) -> None:
    """Before any mouse: a browser shows the focus to those who use keys."""
    for i in range(visit.figures.count()):
        figure = visit.figures.nth(i)
        assert press_all(visit.page, figure) >= 1, figure.inner_text()


def press_all(page: Any, figure: Any) -> int:
    """Move every control by its key; each must change the picture. Returns how many there were."""
    start_networks(page, figure)
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


def start_networks(page: Any, figure: Any) -> None:
    """Where a figure has networks of its own, its noise moves nothing before they run."""
    run = figure.get_by_role("button", name="Run the networks")
    if not run.count() or not run.is_visible():
        return
    run.press("Enter")
    figure.locator(".maskdiff-status", has_text="mean of").wait_for(timeout=PATIENCE)


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
        values = []
        for share in (0.05, 0.95):
            slider.scroll_into_view_if_needed()  # again: a tall picture scrolls it away
            box = slider.bounding_box()
            x, y = box["x"] + share * box["width"], box["y"] + box["height"] / 2
            visit.page.mouse.click(x, y)
            values.append((slider.input_value(), picture(visit.figures.nth(i))))
        (low, first), (high, last) = values
        assert int(low) < int(high)
        assert first != last


def test_quizzes_and_predictions_answer(visit: Visit) -> None:
    page = visit.page
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


def test_page_asks_no_other_host_and_raises_no_error(visit: Visit, address: str) -> None:
    """Also while questions were answered and figures moved."""
    here = (address, "data:", "blob:")
    assert [url for url in visit.asked if not url.startswith(here)] == []
    assert visit.complaints == []


# The dark scheme differs in its colours alone.
@pytest.mark.parametrize(
    "scheme, rules", [("light", None), ("dark", ["color-contrast"])], ids=["light", "dark"]
)
def test_axe_has_no_serious_finding(
    visit: Visit, root: Path, scheme: str, rules: list[str] | None
) -> None:
    page = visit.page
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector(f'html[data-theme="{scheme}"]')
    page.wait_for_function("document.getAnimations().length === 0", polling=100)  # colours fade
    page.add_script_tag(path=root / "tests" / "axe" / "axe.min.js")
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = page.evaluate("options => axe.run(options).then(r => r.violations)", options)
    serious = [
        (finding["id"], node["html"])
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
        if not any(part in node["html"] for part in KNOWN_FINDINGS.get(finding["id"], ()))
    ]
    assert serious == []


def test_the_book_has_questions(chapter: Visit) -> None:
    """So that the test above cannot pass because nothing was there."""
    assert chapter.page.locator(f"{QUESTIONS} form").count() >= 5


def test_the_book_has_living_figures(chapter: Visit) -> None:
    """So that the tests above cannot pass because nothing was there."""
    assert chapter.figures.count() >= 2


def test_site_brings_the_networks(html: Path) -> None:
    folder = html / "_static" / "maskdiff"
    for name, path in lab_files().items():
        assert (folder / name).read_bytes() == path.read_bytes()


def test_figures_live_without_a_server(browser: Any, html: Path) -> None:
    """From a folder on disk, as the offline copy of the site is read."""
    seen = Visit(browser, (html / "book" / "ch02_noising.html").as_uri())
    assert press_all(seen.page, seen.figures.first) >= 2
    seen.page.close()
