"""The interactive figures: what they hold, what they compute, and that every control moves them.

The numerics of js/maths.js are compared with the library; each figure is shown in a headless
browser, once as on a static page and once with a kernel, and both pictures must agree.
"""

import itertools
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from browser import Shown

from maskdiff_edu.detection import metrics
from maskdiff_edu.detection.anomaly import gaussian_filter, median_filter
from maskdiff_edu.diffusion import masks
from maskdiff_edu.scans import Slices
from maskdiff_edu.widgets import (
    BandExplorer,
    Choice,
    CosineSum,
    CutMixExplorer,
    Frame,
    FrameFigure,
    Panel,
    PatchExplorer,
    Plot,
    Question,
    ScoreExplorer,
    SpectrumPainter,
    Swipe,
    VolumeBrowser,
    predict,
    quiz,
)
from maskdiff_edu.widgets.base import Figure, pack, script

WORDS = {"label": "A heading", "alt": "A sentence that says what is to be seen."}
H, W = 32, 48


def disc(h: int = H, w: int = W) -> np.ndarray:
    """A brain mask: an ellipse that leaves a margin."""
    rows, columns = np.ogrid[:h, :w]
    return ((rows - h / 2) / (0.42 * h)) ** 2 + ((columns - w / 2) / (0.42 * w)) ** 2 < 1


def slice_like(seed: int, h: int = H, w: int = W) -> np.ndarray:
    """An image with structure at every scale, background -1."""
    values = np.random.default_rng(seed).normal(size=(h, w))
    smooth = np.fft.ifft2(np.fft.fft2(values) / (1 + np.hypot(*np.indices((h, w))))).real
    scaled = np.clip(smooth / (2 * smooth.std()), -1, 1)
    return np.where(disc(h, w), scaled, -1).astype(np.float32)


def patient(n: int = 7) -> Slices:
    images = torch.from_numpy(np.stack([slice_like(i) for i in range(n)]))[:, None]
    brains = torch.from_numpy(disc()).expand(n, 1, H, W).contiguous()
    lesions = torch.zeros_like(brains)
    lesions[2:6, :, 12:19, 20:28] = True
    return Slices(images, brains, np.eye(4), 0.0, 1.0, lesions)


def residual(t: int, draws: int) -> np.ndarray:
    noise = np.random.default_rng(t + draws).random((7, 1, H, W)).astype(np.float32)
    return noise / draws**0.5 + 0.1 * patient().lesion_masks.numpy()


def frame(t: float, kind: str) -> Frame:
    image = slice_like(1) * (1 - t / 1000) * (1 if kind == "up" else -1)
    return Frame([image, np.abs(image)], f"The slice at t = {t:g}, turned {kind}.")


def frame_figure(**changes: Any) -> FrameFigure:
    given = {
        "axes": {"t": [0, 250, 500], "kind": ["up", "down"]},
        "panels": ["slice", Panel("size", cmap="magma", low=0, lossless=True)],
        "live": {"t": range(0, 501, 50)},
        "plots": [Plot([0, 250, 500], {"up": [1, 10, 100]}, "t", "t", "power", log_y=True)],
    }
    return FrameFigure(frame, **WORDS, **{**given, **changes})


def wave(t: float, kind: str) -> dict[str, list[float]]:
    return {"wave": [0, t, 500 if kind == "up" else -500]}


FOLLOWING = Plot([0, 1, 2], wave, None, "x", "y")  # without a marker

FIGURES: dict[str, Callable[[], Figure]] = {
    "frames": frame_figure,
    "lines that follow": lambda: frame_figure(plots=[FOLLOWING]),
    "patches": lambda: PatchExplorer(slice_like(0), disc(), **WORDS),
    "bands": lambda: BandExplorer(slice_like(0), disc(), **WORDS),
    "cutmix": lambda: CutMixExplorer(slice_like(0), disc(), **WORDS),
    "painter": lambda: SpectrumPainter(slice_like(0), disc(), **WORDS, tile=5),
    "scores": lambda: ScoreExplorer(
        patient(), 3, residual, axes={"t": [100, 250], "draws": [1, 4]}, **WORDS
    ),
    "swipe": lambda: Swipe(
        {name: [slice_like(i), slice_like(i + 1)] for i, name in enumerate(("one", "other"))},
        titles=["slice 3", "slice 4"],
        **WORDS,
    ),
    "cosines": lambda: CosineSum(slice_like(0)[16], **WORDS),
    "volume": lambda: VolumeBrowser(patient(), heat=residual(1, 1), **WORDS),
}


@pytest.fixture(params=FIGURES)
def figure(request: pytest.FixtureRequest) -> Figure:
    return FIGURES[request.param]()


# ---- What a figure holds


def test_plain_viewers_get_the_words_and_the_same_ones_every_time(figure: Figure) -> None:
    data, _ = figure._repr_mimebundle_()
    assert data["text/plain"] == f"{WORDS['label']}: {WORDS['alt']}"
    assert "application/vnd.jupyter.widget-view+json" in data


def test_same_arguments_give_the_same_bytes() -> None:
    for make in FIGURES.values():
        one, other = make(), make()
        assert one.blob == other.blob
        assert one.spec == other.spec


@pytest.mark.parametrize("words", [{"label": "", "alt": WORDS["alt"]}, {"label": "x", "alt": "y"}])
def test_figure_without_words_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^(label|alt): "):
        PatchExplorer(slice_like(0), disc(), **words)


def test_several_slices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image.*one slice.*\(2, 32, 48\)"):
        PatchExplorer(np.zeros((2, H, W)), disc(), **WORDS)


@pytest.mark.parametrize(
    ("curve", "start", "message"),
    [(np.zeros((4, 4)), 0, "curve"), (np.full(8, np.nan), 0, "curve"), (np.zeros(8), 5, "start")],
)
def test_no_sum_of_cosines_of_what_is_no_curve(curve: np.ndarray, start: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}: "):
        CosineSum(curve, start=start, **WORDS)


def test_pack_refuses_a_type_the_page_does_not_know() -> None:
    with pytest.raises(TypeError, match="float64"):
        pack({"x": np.zeros(3)})


def test_library_does_not_import_the_figures() -> None:
    """Training on a machine without a notebook must not need anywidget."""
    code = "import sys, maskdiff_edu.training, maskdiff_edu.cli; print('anywidget' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- Frames


def test_there_is_a_frame_for_every_combination() -> None:
    figure = frame_figure()
    assert len(figure.spec["frames"]) == 6
    assert figure.caption(t=250, kind="down") == "The slice at t = 250, turned down."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {}}, "axes"),
        ({"axes": {"t": [], "kind": ["up"]}}, "none for"),
        ({"panels": ["only one"]}, "2"),
        ({"start": {"t": 3}}, "start"),
        ({"start": {"time": 0}}, "start.*time"),
        ({"live": {"time": [0]}}, "live.*time"),
        ({"names": {"time": "t"}}, "names.*time"),
    ],
)
def test_frames_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_figure(**changes)


def test_lines_of_a_plot_must_fit_its_x() -> None:
    with pytest.raises(ValueError, match="expected 2 numbers"):
        Plot([0, 1], {"line": [1]}, "t", "t", "y")


def test_lines_that_follow_are_stored_for_every_position_in_one_range() -> None:
    spec = frame_figure(plots=[FOLLOWING]).spec
    assert spec["plots"][0]["yRange"] == [-500, 500]
    assert spec["frames"]["1,1"]["lines"] == [[{"name": "wave", "y": [0, 250, -500]}]]
    fixed = Plot([0, 250, 500], {"up": [1, 10, 100]}, "t", "t", "power")
    both = frame_figure(plots=[fixed, FOLLOWING]).spec["frames"]["1,1"]["lines"]
    assert both == [None, *spec["frames"]["1,1"]["lines"]]
    assert "lines" not in frame_figure(plots=[fixed]).spec["frames"]["1,1"]


def test_lines_that_follow_keep_their_names() -> None:
    renamed = Plot([0], lambda t, kind: {kind: [t]}, None, "x", "y")
    with pytest.raises(ValueError, match="same names"):
        frame_figure(plots=[renamed])


def test_colour_maps_that_mislead_are_refused() -> None:
    with pytest.raises(ValueError, match="jet"):
        Panel("map", cmap="jet")


def test_kernel_computes_the_very_bytes_that_are_stored() -> None:
    figure, told = frame_figure(), []
    figure.send = lambda content, buffers=None: told.append((content, buffers))
    position = {"t": 250, "kind": "up"}
    figure._handle_custom_msg({"ask": "frame", "position": position, "key": "k"}, [])
    [(content, buffers)] = told
    assert content == {"tell": "frame", "key": "k", "caption": figure.caption(**position)}
    stored = figure.spec["frames"]["1,0"]["pictures"]
    block = zlib.decompress(figure.blob)
    for name, sent in zip(stored, buffers, strict=True):
        entry = figure.spec["parts"][name]
        assert block[entry["start"] :][: entry["bytes"]] == sent


@pytest.mark.parametrize(
    ("index", "scores", "message"),
    [
        (0, residual, "index.*slice with lesion"),
        (9, residual, r"index.*0\.\.6"),
        (3, lambda t, draws: residual(t, draws)[:3], "residual.*shape"),
        (3, lambda t, draws: -residual(t, draws), "residual.*0 or more"),
    ],
)
def test_scores_that_cannot_be_shown_are_refused(
    index: int, scores: Callable[..., np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreExplorer(patient(), index, scores, axes={"t": [1], "draws": [1]}, **WORDS)


# ---- Quiz and prediction


def test_question_needs_exactly_one_correct_choice() -> None:
    wrong = Choice("a", why="no")
    with pytest.raises(ValueError, match="2 with 0 correct"):
        Question("Which?", [wrong, wrong])
    with pytest.raises(ValueError, match="explanation"):
        Choice("a", why=" ")
    with pytest.raises(ValueError, match="two or more"):
        predict("Which?", ["one"], reveal="It.")


QUIZ = quiz(
    Question(
        "Is `0` noise?",
        [Choice("yes", why="It is a value."), Choice("no", why="Right you are.", correct=True)],
    ),
    Question("And now?", [Choice("go", why="On.", correct=True), Choice("stop", why="Go on.")]),
)


@pytest.mark.slow
def test_quiz_explains_each_choice_by_keyboard(page: Any) -> None:
    shown = Shown(page, QUIZ, kernel=False)
    forms = page.locator("form")
    why = forms.nth(0).locator(".maskdiff-why")
    forms.nth(0).locator("input").nth(0).focus()
    page.keyboard.press("Space")
    assert why.inner_text() == ""  # arrow keys may pass by: nothing is given away yet
    page.keyboard.press("Enter")
    assert why.inner_text() == "✗ Not quite. It is a value."
    page.keyboard.press("ArrowDown")
    assert why.inner_text() == ""
    page.keyboard.press("Enter")
    assert why.inner_text() == "✓ Right. Right you are."
    assert shown.words == ""
    forms.nth(1).get_by_text("go", exact=True).click()
    forms.nth(1).get_by_role("button").click()
    assert shown.words == "All questions answered."
    assert page.locator("legend code").inner_text() == "0"


@pytest.mark.slow
def test_prediction_is_revealed_after_it_was_made(page: Any) -> None:
    Shown(page, predict("Up?", ["yes", "no"], reveal="It goes up."), kernel=False)
    assert "It goes up." not in page.locator("body").inner_text()
    page.get_by_role("button").click()  # nothing chosen: nothing revealed
    assert "It goes up." not in page.locator("body").inner_text()
    page.get_by_label("no").check()
    page.get_by_role("button").click()
    assert page.locator(".maskdiff-why").inner_text() == "You said: no. It goes up."
    assert page.get_by_label("yes").is_disabled()


# ---- Numbers: js/maths.js against the library


@pytest.fixture
def maths(page: Any) -> Callable[..., Any]:
    """Evaluate JavaScript with the functions of maths.js; NumPy arrays become flat arrays."""
    page.add_script_tag(content=script("maths"))

    def evaluate(code: str, **given: Any) -> Any:
        plain = {
            name: value.astype(float).ravel().tolist() if isinstance(value, np.ndarray) else value
            for name, value in given.items()
        }
        names = ", ".join(plain)
        return page.evaluate(f"({{ {names} }}) => {{ {code} }}", plain)

    return evaluate


SIZES = [(32, 48), (31, 45), (96, 96)]


@pytest.mark.slow
@pytest.mark.parametrize(("h", "w"), SIZES)
def test_fourier_transform(maths: Callable[..., Any], h: int, w: int) -> None:
    image = slice_like(2, h, w)
    code = "const s = dft2(image, h, w); return [[...s.re], [...s.im], [...inverseDft2(s, h, w)]]"
    re, im, back = maths(code, image=image, h=h, w=w)
    expected = np.fft.fft2(image.astype(float)).ravel()
    np.testing.assert_allclose(re, expected.real, atol=1e-6)
    np.testing.assert_allclose(im, expected.imag, atol=1e-6)
    np.testing.assert_allclose(back, image.ravel(), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 31, 48])
def test_sums_of_cosines(maths: Callable[..., Any], n: int) -> None:
    curve = np.random.default_rng(n).normal(size=n)
    found = maths("return cosineSums(curve)", curve=curve)
    spectrum = np.fft.rfft(curve)
    for k, total in enumerate(found["sums"]):
        slow = np.where(np.arange(len(spectrum)) <= k, spectrum, 0)
        np.testing.assert_allclose(total, np.fft.irfft(slow, n), atol=1e-9)
        wave = np.diff(found["sums"], axis=0)[k - 1] if k else np.array(total)
        power = (wave**2).mean() * (1 if k == 0 or 2 * k == n else 2)
        assert found["amplitudes"][k] == pytest.approx(power**0.5, abs=1e-9)
    np.testing.assert_allclose(found["sums"][-1], curve, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("h", "w"), SIZES)
@pytest.mark.parametrize(
    ("kind", "keep_mean"), [*itertools.product(("low", "high"), (False, True))]
)
def test_bands(maths: Callable[..., Any], h: int, w: int, kind: str, keep_mean: bool) -> None:
    image, brain = slice_like(3, h, w), disc(h, w)
    settings = masks.BandSettings(kind == "low", kind == "high", 0, half_width=(5, 5))
    band_mask = masks.draw_bands((1, h, w), settings)
    expected = masks.apply_bands(
        torch.from_numpy(image)[None, None],
        torch.from_numpy(brain)[None, None],
        band_mask,
        keep_mean=keep_mean,
    )
    kept, filtered = maths(
        "const kept = centredSquare(h, w, 5, low);"
        "const spectrum = spectrumOf(image, h, w);"
        "return [[...kept], [...applyBands(image, brain, spectrum, kept, h, w, keep_mean)]]",
        image=image, brain=brain, h=h, w=w, low=kind == "low", keep_mean=keep_mean,
    )  # fmt: skip
    np.testing.assert_array_equal(kept, band_mask.numpy().ravel())
    np.testing.assert_allclose(filtered, expected.numpy().ravel(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("h", "w"), [(4, 6), (5, 7), (4, 7)])
def test_mirrored_bins(maths: Callable[..., Any], h: int, w: int) -> None:
    values = torch.arange(h * w).reshape(h, w)
    code = """
    const found = [];
    for (let r = 0; r < h; r++) for (let c = 0; c < w; c++) {
      const [mr, mc] = mirroredBin(r, c, h, w);
      found.push(mr * w + mc);
    }
    return found"""
    np.testing.assert_array_equal(maths(code, h=h, w=w), masks.mirror(values).ravel())


@pytest.mark.slow
@pytest.mark.parametrize("fill", [0.0, -1.0, "mean", "noise"])
def test_patches(maths: Callable[..., Any], fill: float | str) -> None:
    image, brain, patch = slice_like(4), disc(), np.zeros((H, W), bool)
    patch[10:20, 15:30] = True
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, H, W, generator=generator).numpy()
    expected = masks.apply_patches(
        *(torch.from_numpy(x)[None, None] for x in (image, brain, patch)),
        fill,
        torch.Generator().manual_seed(0),
    )
    found = maths(
        "return [...applyPatches(image, brain, patch, fill === 'noise' ? noise : fill)]",
        image=image, brain=brain, patch=patch, noise=noise, fill=fill,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected.numpy().ravel(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("index", [0, 3, 6])
def test_median_filter(maths: Callable[..., Any], size: int, index: int) -> None:
    stack = residual(1, 1)
    brains = np.broadcast_to(disc(), stack.shape)
    expected = median_filter(stack, size, brains)[index]
    found = maths(
        "return [...medianFilter(Float64Array.from(stack), brains, index, h, w, size)]",
        stack=stack, brains=brains, index=index, h=H, w=W, size=size,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
def test_scores(maths: Callable[..., Any], ties: bool) -> None:
    scores = residual(1, 1)[3, 0].astype(float)
    scores = scores.round(1) if ties else scores
    lesion, brain = patient().lesion_masks[3, 0].numpy(), disc()
    given = {"scores": scores, "lesion": lesion, "brain": brain}
    counted = maths("return countDetected(scores, lesion, brain, 0.8)", **given)
    curve = maths("return precisionRecall(scores, lesion, brain)", **given)

    called = (scores > 0.8) & brain
    hits = (called & lesion).sum()
    assert 0 < hits < called.sum()
    expected_dice = metrics.dice_at_threshold(scores, lesion, brain, 0.8)
    assert counted["dice"] == pytest.approx(expected_dice, abs=1e-6)
    assert counted["precision"] == pytest.approx(hits / called.sum(), abs=1e-6)
    assert counted["recall"] == pytest.approx(hits / (lesion & brain).sum(), abs=1e-6)
    assert curve["auprc"] == pytest.approx(metrics.auprc(scores, lesion, brain).value, abs=1e-6)
    assert curve["prevalence"] == pytest.approx((lesion & brain).sum() / brain.sum(), abs=1e-6)


# ---- Every control moves every figure, with a kernel and without


def press(shown: Shown, index: int) -> bool:
    """Move one control by its key; False for radio buttons beside the chosen one."""
    control = shown.page.locator("input").nth(index)
    kind = control.get_attribute("type")
    if control.is_disabled() or (kind == "radio" and not control.is_checked()):
        return False
    at_end = control.evaluate("c => c.value === c.max")
    control.focus()
    keys = {"radio": "ArrowDown", "checkbox": "Space", "range": "ArrowRight"}
    shown.page.keyboard.press("ArrowLeft" if kind == "range" and at_end else keys[kind])
    return True


@pytest.mark.slow
def test_controls_answer_the_keyboard_alike_with_and_without_a_kernel(
    browser: Any, figure: Figure
) -> None:
    pages = [browser.new_page(), browser.new_page()]
    static, live = (Shown(p, figure, kernel=k) for p, k in zip(pages, (False, True), strict=True))
    moved, controls = 0, static.page.locator("input").count()
    for i in range(controls):
        before = static.pictures
        if not press(static, i):
            continue
        moved += 1
        static.wait_for(lambda shown, old=before: shown.pictures != old)
        press(live, i)
        if live.value != static.value:  # finer steps while a kernel runs
            live.set(**static.value)
        live.wait_for(lambda shown: shown.pictures == static.pictures)
        assert live.words == static.words
        assert figure.value == live.value
    assert moved >= min(2, controls)
    for page in pages:
        page.close()


@pytest.mark.slow
def test_setting_the_value_in_a_kernel_moves_controls_and_picture(page: Any) -> None:
    shown = Shown(page, frame_figure(), kernel=True)
    before = shown.pictures
    shown.set(t=500, kind="down")
    assert shown.pictures != before
    assert shown.words == "The slice at t = 500, turned down."
    assert page.get_by_label("down").is_checked()


@pytest.mark.slow
def test_only_a_kernel_offers_values_that_were_not_stored(browser: Any) -> None:
    for kernel, most in ((False, "2"), (True, "10")):
        page = browser.new_page()
        shown = Shown(page, frame_figure(), kernel=kernel)
        slider = page.get_by_label("t", exact=True)
        shown.wait_for(lambda _, s=slider, m=most: s.get_attribute("max") == m)
        slider.focus()
        page.keyboard.press("ArrowRight")
        words = f"The slice at t = {50 if kernel else 250}, turned up."
        shown.wait_for(lambda shown, w=words: shown.words == w)
        page.close()


@pytest.mark.slow
def test_lines_follow_the_controls_with_and_without_a_kernel(browser: Any) -> None:
    drawn = "document.querySelector('.maskdiff-plot path').getAttribute('d')"
    for kernel, t in ((False, 250), (True, 50)):
        page = browser.new_page()
        shown = Shown(page, FIGURES["lines that follow"](), kernel=kernel)
        assert page.evaluate(drawn) == "M54.0 104.0L187.0 104.0L320.0 12.0"
        shown.set(t=t, kind="down")  # t = 50 is not stored
        expected = f"M54.0 104.0L187.0 {104 - 92 * t / 500:.1f}L320.0 196.0"
        shown.wait_for(lambda shown, d=expected: shown.page.evaluate(drawn) == d)
        page.close()


@pytest.mark.slow
def test_click_on_the_spectrum_switches_a_square_and_its_twin(page: Any) -> None:
    shown = Shown(page, FIGURES["painter"](), kernel=False)
    spectrum = page.locator("canvas").first
    box = spectrum.bounding_box()
    before = shown.pictures
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.3 * box["height"])
    assert len(shown.value["off"]) == 1
    assert shown.pictures[1] != before[1]
    [[down, right]] = shown.value["off"]
    shown.set(off=[[-down, -right]])  # naming the twin switches the same bins off
    by_twin = shown.pictures[1]
    shown.set(off=[[down, right]])
    assert shown.pictures[1] == by_twin


@pytest.mark.slow
def test_divider_follows_the_mouse(page: Any) -> None:
    shown = Shown(page, FIGURES["swipe"](), kernel=False)
    box = page.locator(".maskdiff-swipe").bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 20)
    assert shown.value["divider"] == pytest.approx(20, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "apply", "strength"),
    [("median 3", median_filter, 3), ("Gaussian 1.5", gaussian_filter, 1.5)],
)
def test_scores_of_the_page_are_those_of_the_library(
    page: Any, name: str, apply: Callable[..., torch.Tensor], strength: float
) -> None:
    shown = Shown(page, FIGURES["scores"](), kernel=False)
    threshold = FIGURES["scores"]().spec["thresholds"][40]
    shown.set(t=250, draws=4, filter=name, erosions=0, threshold=threshold)
    values = apply(residual(250, 4), strength, patient().brain_masks)[3, 0]
    lesion, brain = patient().lesion_masks[3, 0].numpy(), disc()
    dice = metrics.dice_at_threshold(values, lesion, brain, threshold)
    auprc = metrics.auprc(values, lesion, brain)
    assert shown.words.startswith(f"Dice {dice:.2f}, ")
    assert (
        f"AUPRC of this slice {auprc.value:.2f}, prevalence {auprc.prevalence:.3f}" in shown.words
    )


def test_specs_are_plain_json(figure: Figure) -> None:
    assert json.loads(json.dumps(figure.spec)) == figure.spec
