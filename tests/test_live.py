"""The figure in which a network runs: painted on by mouse and by keys, redrawn, told in words."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Shown
from lab_page import serve
from site_visits import Quiet

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.scans import Slices, to_slices
from maskdiff_edu.widgets import LiveModel

WORDS = {"label": "Paint", "alt": "A slice to paint on, and what a network draws from it."}
RUN = "Run the network in this page (7 MB)"


@pytest.fixture(scope="module")
def healthy() -> Slices:
    [seed] = cohort_seeds("test", "healthy", 1)
    return to_slices(make_member(seed, "healthy"))


@pytest.fixture
def figure(healthy: Slices) -> LiveModel:
    return LiveModel(healthy.images[35], healthy.brain_masks[35], **WORDS)


def test_slices_of_another_size_and_unknown_models_are_refused(healthy: Slices) -> None:
    with pytest.raises(ValueError, match=r"slice of 96 by 96 pixels.*\(8, 8\)"):
        LiveModel(np.zeros((8, 8)), np.ones((8, 8), bool), **WORDS)
    with pytest.raises(ValueError, match=r"models: expected some of .*ddpm"):
        LiveModel(healthy.images[35], healthy.brain_masks[35], models=["unknown"], **WORDS)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[str]:
    """A page of some server of notebooks, which knows nothing of this package."""
    (tmp_path / "index.html").write_text("<!doctype html><title>A notebook</title>", "utf-8")
    yield from serve(tmp_path, Quiet)


class Live(Shown):
    """The figure on a site that brings the networks, or beside a kernel."""

    def __init__(
        self, page: Any, figure: LiveModel, address: str = "about:blank", kernel: bool = False
    ) -> None:
        super().__init__(page, figure, kernel, address)
        if not kernel:
            page.evaluate("globalThis.maskdiffLab = '/maskdiff/'")
        page.get_by_role("button", name=RUN).click()
        self.wait_for_words("mean of 4 draws")

    def wait_for_words(self, pattern: str) -> re.Match:
        for _ in range(600):
            if found := re.search(pattern, self.words):
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"waited in vain for {pattern!r}; the figure says {self.words!r}")

    @property
    def slice(self) -> Any:
        return self.page.locator("canvas").first


@pytest.mark.slow
def test_a_page_without_the_networks_says_so(page: Any, figure: LiveModel) -> None:
    page.clock.install()
    shown = Shown(page, figure, kernel=False)
    assert "nothing leaves this page" in shown.words
    page.get_by_role("button", name=RUN).click()
    page.clock.fast_forward(30_000)  # nobody answers
    shown.wait_for(lambda s: "expected a page that brings the networks" in s.words)
    assert page.get_by_role("button", name=RUN).is_enabled()


@pytest.mark.slow
def test_a_notebooks_kernel_brings_the_network(page: Any, figure: LiveModel, notebook: str) -> None:
    """On a site that brings nothing: scripts, engine and weights come as messages."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shown = Live(page, figure, notebook, kernel=True)
    assert shown.wait_for_words("fpm-cm, t = 250, mean of 4 draws")
    assert {url for url in asked if not url.startswith("blob:")} == {notebook}


@pytest.mark.slow
def test_a_bright_spot_is_not_redrawn_and_undoing_takes_it_back(
    page: Any, figure: LiveModel, served_as_the_book: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shown = Live(page, figure, served_as_the_book)
    clean = shown.pictures
    box = shown.slice.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.45 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.5 * box["height"], steps=3)
    page.mouse.up()
    told = shown.wait_for_words(
        r"mean of 4 draws: .* from the (\d+) painted pixels by ([\d.]+), and by ([\d.]+) in"
    )
    pixels, inside, outside = (float(number) for number in told.groups())
    assert pixels > 110  # a disc of 6 pixels' radius, and its trail
    assert inside > 4 * outside
    assert len(shown.value["strokes"]) == 1
    bars = page.locator(".maskdiff-bar-fill")
    widths = [bars.nth(i).bounding_box()["width"] for i in range(2)]
    assert widths[0] / widths[1] == pytest.approx(inside / outside, rel=0.2) or inside > 0.5

    page.get_by_role("button", name="undo").click()
    page.mouse.move(0, 0)  # no ring of the brush on the slice
    shown.wait_for_words("mean of 4 draws: what it draws differs from the slice")
    shown.wait_for(lambda s: s.pictures == clean)
    assert all(url.startswith((served_as_the_book, "blob:")) for url in asked)


@pytest.mark.slow
def test_keys_paint_and_another_network_answers(
    page: Any, figure: LiveModel, served_as_the_book: str
) -> None:
    shown = Live(page, figure, served_as_the_book)
    shown.slice.focus()
    for key in ("ArrowUp", "ArrowLeft", "Shift+ArrowLeft", "Space"):
        page.keyboard.press(key)
    shown.wait_for_words("`?fpm-cm`?, t = 250, mean of 4 draws: .* painted pixels")
    [stroke] = shown.value["strokes"]
    assert stroke == {"tool": "bright spot", "radius": 6, "points": [[46, 38]]}
    page.get_by_label("ddpm").check()
    shown.wait_for_words("ddpm, t = 250, mean of 4 draws: .* painted pixels")
    described = shown.page.locator("canvas").nth(2).get_attribute("aria-label")
    assert described.startswith("what ddpm draws from it.")


@pytest.mark.slow
def test_axe_finds_nothing_serious(
    page: Any, figure: LiveModel, served_as_the_book: str, root: Path
) -> None:
    Live(page, figure, served_as_the_book)
    page.add_script_tag(content=(root / "tests" / "axe" / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run('figure.maskdiff').then((r) => r.violations)")
    serious = [f["id"] for f in found if f["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.slow
def test_a_figure_can_begin_with_something_painted(
    page: Any, healthy: Slices, served_as_the_book: str
) -> None:
    hole = {"tool": "hole", "radius": 8, "points": [[48, 36]]}
    figure = LiveModel(healthy.images[35], healthy.brain_masks[35], strokes=[hole], **WORDS)
    shown = Live(page, figure, served_as_the_book)
    told = shown.wait_for_words(r"mean of 4 draws: .* the (\d+) painted pixels")
    assert int(told[1]) == sum(r * r + c * c <= 64 for r in range(-8, 9) for c in range(-8, 9))
