"""The rendered site as a reader meets it: in a browser.

Every page in turn, from a server on this machine, in headless Chromium.
"""

from pathlib import Path
from typing import Any

import pytest
from site_build import pages_in_toc
from site_visits import FIGURES

ROOT = Path(__file__).resolve().parent.parent
PAGES = pages_in_toc(ROOT)

pytestmark = pytest.mark.slow

QUESTIONS = f"{FIGURES}:has(form)"


@pytest.mark.parametrize("name", PAGES)
def test_page_asks_no_other_host_and_raises_no_error(visit: Any, address: str, name: str) -> None:
    seen = visit(name)
    assert [url for url in seen.asked if not url.startswith((address, "data:", "blob:"))] == []
    assert seen.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_scrolls_sideways_on_a_phone(visit: Any, name: str) -> None:
    page = visit(name, width=375).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    too_wide = "fs => fs.filter(f => f.scrollWidth > f.clientWidth + 1).map(f => f.innerText)"
    assert page.locator(FIGURES).evaluate_all(too_wide) == []


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


def test_the_book_has_questions(visit: Any) -> None:
    """So that the test above cannot pass because nothing was there."""
    assert visit("book/ch02_noising").page.locator(f"{QUESTIONS} form").count() >= 5
