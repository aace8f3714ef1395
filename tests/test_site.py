"""The rendered site as a reader meets it: in a browser.

Every page in turn, from a server on this machine, in headless Chromium.
"""

import pytest
from site_visits import DESK, FIGURES, PHONE, Visit

pytestmark = pytest.mark.slow

QUESTIONS = f"{FIGURES}:has(form)"


def test_nothing_scrolls_sideways_on_a_phone(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size(PHONE)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        too_wide = "fs => fs.filter(f => f.scrollWidth > f.clientWidth + 1).map(f => f.innerText)"
        assert page.locator(FIGURES).evaluate_all(too_wide) == []
    finally:
        page.set_viewport_size(DESK)


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
    """The last one: also while the questions were answered."""
    here = (address, "data:", "blob:")
    assert [url for url in visit.asked if not url.startswith(here)] == []
    assert visit.complaints == []


def test_the_book_has_questions(chapter: Visit) -> None:
    """So that the test above cannot pass because nothing was there."""
    assert chapter.page.locator(f"{QUESTIONS} form").count() >= 5
