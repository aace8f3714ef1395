"""book/cheat_sheet.md: its names are the library's, its numbers and lines are right, one page."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from maskdiff_edu import detection, diffusion, training
from maskdiff_edu.detection.anomaly import erode_brain

TEXT = (Path(__file__).resolve().parent.parent / "book" / "cheat_sheet.md").read_text("utf-8")
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SYMBOLS = {"x_0", "x_0_masked", "eps", "x_t", "x_0_hat", "betas[t]", "alphas_bar[t]", "x", "code"}
MASKS = {"band_mask", "patch_mask"}


def test_names_are_the_librarys() -> None:
    names = set(re.findall(r"`([^`\n]+)`", FENCE.sub("", TEXT))) - SYMBOLS - MASKS
    public = {*diffusion.__all__, *detection.__all__}
    methods = {"Schedule.linear()", "Schedule.cosine()", "schedule.snr(t)"}
    assert len(names) > 20
    assert names - public - methods - training.PRESETS.keys() == set()
    assert set(re.findall(r"`([^`\n]+)`", TEXT)) >= SYMBOLS | MASKS


def test_signal_to_noise_ratios_are_those_of_the_schedules() -> None:
    rows = re.findall(r"^\| (\$t\$|cosine|linear) \|(.+)\|$", TEXT, re.MULTILINE)
    (_, times), *listed = [(name, [float(n) for n in cells.split("|")]) for name, cells in rows]
    assert [name for name, _ in listed] == ["cosine", "linear"]
    for name, shown in listed:
        snr = getattr(diffusion.Schedule, name)().snr(torch.tensor(times).long())
        assert shown == [float(f"{value:.2g}") for value in snr.tolist()]


def test_formulas_of_the_schedules() -> None:
    """Written as the page writes them, in float64."""
    T, t = 1000, torch.arange(1000, dtype=torch.float64)
    assert r"\beta_t = 0.0001 + 0.0199\, t / (T - 1)" in TEXT
    linear = diffusion.Schedule(0.0001 + 0.0199 * t / (T - 1))
    assert r"\frac{u / T + 0.008}{1.008} \cdot \frac{\pi}{2}" in TEXT

    def f(u: torch.Tensor) -> torch.Tensor:
        return torch.cos((u / T + 0.008) / 1.008 * torch.pi / 2) ** 2

    cosine = diffusion.Schedule((1 - f(t + 1) / f(t)).clamp(max=0.999))
    for mine, theirs in ((linear, "linear"), (cosine, "cosine")):
        expected = getattr(diffusion.Schedule, theirs)().alphas_bar
        torch.testing.assert_close(mine.alphas_bar, expected)


def test_lines_of_code_run() -> None:
    generator = torch.Generator().manual_seed(0)
    brain_masks = torch.zeros(2, 1, 96, 96, dtype=torch.bool)
    brain_masks[..., 20:70, 20:70] = True
    x_0 = torch.where(brain_masks, 0.3, -1.0)
    names: dict[str, Any] = {
        **{name: getattr(diffusion, name) for name in diffusion.__all__},
        **{name: getattr(detection, name) for name in detection.__all__},
        **{"x_0": x_0, "x": x_0, "brain_masks": brain_masks, "threshold": 0.1},
        **{"hide": diffusion.IPM(), "schedule": diffusion.Schedule.cosine()},
        **{"t": torch.tensor([150, 250]), "eps": torch.randn(x_0.shape, generator=generator)},
        "model": lambda x_t, t: torch.full_like(x_t, 0.1),
    }
    blocks = FENCE.findall(TEXT)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    assert not torch.equal(names["x_0_masked"], x_0)
    assert names["error"] == pytest.approx((x_0 - 0.1).abs().mean().item())
    assert torch.equal(names["called"], erode_brain(brain_masks, 1))


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_prints_on_one_page(browser: Any, html: Path, theme: str) -> None:
    page = browser.new_page(color_scheme=theme)
    page.goto((html / "book" / "cheat_sheet.html").as_uri(), wait_until="load")
    page.wait_for_function("document.querySelectorAll('article mjx-container').length > 20")
    printed = page.pdf(format="A4", margin=dict.fromkeys(("top", "bottom", "left", "right"), "1cm"))
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1
    page.emulate_media(media="print")
    assert not page.locator(".bd-sidebar-primary").is_visible()
    assert not page.locator("#jb-print-toc").is_visible()
    # The width of the sheet less its margins: nothing is cut off at the right of a column.
    page.set_viewport_size({"width": 718, "height": 1046})
    too_wide = "found => found.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)"
    blocks = page.locator("article :is(.pst-scrollable-table-container, pre)")
    assert blocks.count() >= 7
    assert blocks.evaluate_all(too_wide) == []
    page.close()
