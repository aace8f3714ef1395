"""The site in the other browser of Debian: figures live there, and networks run."""

from collections.abc import Iterator
from typing import Any

import pytest
from firefox import Firefox, open_firefox
from site_visits import DRAWN

pytestmark = pytest.mark.slow

RUN = "[...document.querySelectorAll('button')].find((b) => b.textContent.startsWith('Run the'))"
STATUS = "[...document.querySelectorAll('.maskdiff-status')].map((s) => s.textContent)"
PICTURE = """(figure) => figure.querySelector(".maskdiff-stage").innerHTML
  + [...figure.querySelectorAll("canvas")].map((c) => c.toDataURL()).join()"""
PRESS = """(target, key) => target.dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }))"""


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with open_firefox(tmp_path_factory.mktemp("firefox")) as found:
        yield found


@pytest.fixture(autouse=True)
def no_complaints(firefox: Firefox) -> Iterator[None]:
    firefox.complaints.clear()
    yield
    assert firefox.complaints == []


def test_networks_answer_what_keys_paint(firefox: Firefox, address: str) -> None:
    firefox.open(f"{address}/book/lab.html")
    firefox.wait_for(RUN)
    firefox.evaluate(f"{RUN}.click()")
    firefox.wait_for(f"{STATUS}.find((s) => s.includes('mean of 4 draws. ddpm differs from'))")
    canvas = "document.querySelector('canvas.maskdiff-clickable')"
    for key in ("ArrowLeft", "ArrowLeft", " "):
        firefox.evaluate(f"({PRESS})({canvas}, {key!r})")
    firefox.wait_for(f"{STATUS}.find((s) => /mean of 4 draws. .* inside the outline/.test(s))")


@pytest.mark.parametrize("page", ["intro", "ch05_fft_masks", "ch08_scoring"])
def test_every_figure_of_a_page_is_drawn(firefox: Firefox, address: str, page: str) -> None:
    firefox.open(f"{address}/book/{page}.html")
    expected = firefox.evaluate("document.querySelectorAll('script[type*=widget-view]').length")
    assert expected >= 2
    firefox.wait_for(f"({DRAWN})({expected})")
    assert firefox.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_slider_moves_its_picture(firefox: Firefox, address: str) -> None:
    firefox.open(f"{address}/book/ch05_fft_masks.html")
    slider = "document.querySelector('figure.maskdiff:not(:has(form)) input[type=range]')"
    firefox.wait_for(slider)
    picture = f"({PICTURE})({slider}.closest('figure'))"

    def seen() -> Any:
        return firefox.wait_for(picture)

    before = seen()
    firefox.evaluate(
        f"(() => {{ const s = {slider}; s.value = s.value === s.max ? s.min : s.max;"
        "s.dispatchEvent(new Event('input')); })()"
    )
    firefox.wait_for(f"{picture} !== {before!r}")
