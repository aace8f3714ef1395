"""The numerics of js/lab, in a browser, against the library: same input, same numbers."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from maskdiff_edu.detection import anomaly, metrics
from maskdiff_edu.diffusion import Schedule
from maskdiff_edu.diffusion.noise import Octaves, fractal_noise, octave_spectrum
from maskdiff_edu.diffusion.objectives import to_x_0
from maskdiff_edu.diffusion.sampling import add_noise

pytestmark = pytest.mark.slow

LOAD = """async (modules) => {
  window.lab = { fails: (run) => { try { run(); } catch (error) { return error.message; } } };
  for (const name of modules) {
    Object.assign(window.lab, await import(`/_static/maskdiff/${name}.js`));
  }
}"""
CALL = """async ({ given }) => {
  const kinds = { f: Float32Array, u: Uint8Array };
  for (const [name, v] of Object.entries(given)) {
    given[name] = v && v.kind ? new kinds[v.kind](v.values) : v;
  }
  const { %s } = { ...window.lab, ...given };
  const plain = (v) => (ArrayBuffer.isView(v) ? [...v] : v);
  const found = await (%s);
  return found && found.constructor === Object
    ? Object.fromEntries(Object.entries(found).map(([name, v]) => [name, plain(v)]))
    : plain(found);
}"""
MODULES = [
    "maths",
    *(
        f"lab/{name}"
        for name in ("random", "fourier", "noise", "diffusion", "anomaly", "sha256", "brush")
    ),
]


@pytest.fixture(scope="module")
def js(browser: Any, served: str) -> Iterator[Callable[..., Any]]:
    """Evaluate an expression with what the modules export; arrays go in as typed arrays."""
    page = browser.new_page()
    page.goto(served)
    page.evaluate(LOAD, MODULES)
    exported = page.evaluate("Object.keys(window.lab)")

    def evaluate(code: str, **given: Any) -> Any:
        names = ", ".join(dict.fromkeys([*exported, *given]))
        return page.evaluate(
            CALL % (names, code), {"given": {k: pack(v) for k, v in given.items()}}
        )

    yield evaluate
    page.close()


def pack(value: Any) -> Any:
    if not isinstance(value, np.ndarray | torch.Tensor):
        return value
    array = np.asarray(value)
    kind = "u" if array.dtype == bool else "f"
    return {"kind": kind, "values": array.astype(float).ravel().tolist()}


def stack(n: int = 5, h: int = 32, w: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (n, 1, h, w), and a brain that narrows towards the first and the last slice."""
    z, rows, columns = np.ogrid[:n, :h, :w]
    size = 1 - 0.1 * abs(z - n / 2)
    inside = ((rows - h / 2) / (h * 0.5)) ** 2 + ((columns - w / 2) / (w * 0.45)) ** 2 < size
    scores = np.random.default_rng(0).random((n, 1, h, w)).astype(np.float32)
    return torch.from_numpy(scores), torch.from_numpy(inside[:, None])


def size(values: torch.Tensor) -> dict[str, int]:
    n, _, h, w = values.shape
    return {"n": n, "h": h, "w": w}


# ---- Noise


def test_a_seed_gives_its_own_normal_numbers_again(js: Callable[..., Any]) -> None:
    first, again, other = (js("normals(makeRandom(seed), 50001)", seed=s) for s in (1, 1, 2))
    assert first == again
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.02
    assert stats.kstest(first, "norm").pvalue > 0.01
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.02


@pytest.mark.parametrize(("h", "w"), [(96, 96), (31, 45), (1, 7), (112, 128)])
def test_fourier_transform_of_any_size(js: Callable[..., Any], h: int, w: int) -> None:
    image = np.random.default_rng(0).normal(size=(h, w)).astype(np.float32)
    complex_image = "{ re: Float64Array.from(image), im: new Float64Array(h * w) }"
    found = js(f"fft2({complex_image}, h, w)", image=image, h=h, w=w)
    expected = np.fft.fft2(image.astype(float)).ravel()
    np.testing.assert_allclose(found["re"], expected.real, atol=1e-9)
    np.testing.assert_allclose(found["im"], expected.imag, atol=1e-9)
    back = js(f"fft2(fft2({complex_image}, h, w), h, w, true)", image=image, h=h, w=w)
    np.testing.assert_allclose(back["re"], image.ravel(), atol=1e-12)
    np.testing.assert_allclose(back["im"], 0, atol=1e-12)


@pytest.mark.parametrize(("h", "w"), [(96, 96), (31, 45), (112, 128)])
def test_white_noise_is_coloured_as_by_the_library(js: Callable[..., Any], h: int, w: int) -> None:
    white = torch.randn((1, 1, h, w), generator=torch.Generator().manual_seed(3))
    expected = fractal_noise((1, 1, h, w), generator=torch.Generator().manual_seed(3))
    found = js("colour(white, h, w)", white=white, h=h, w=w)
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-5)


def test_octaves_of_ones_own(js: Callable[..., Any]) -> None:
    octaves = {"count": 3, "persistence": 0.5, "basePeriod": 32}
    found = js("octaveSpectrum(40, 56, octaves)", octaves=octaves)
    expected = octave_spectrum(40, 56, Octaves(3, 0.5, 32), dtype=torch.float64)
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-9)


def test_noise_of_every_kind(js: Callable[..., Any]) -> None:
    drawn = {
        kind: np.array(js("drawNoise(kind, 96, 96, makeRandom(5))", kind=kind))
        for kind in ("fractal", "gaussian", "none")
    }
    assert not drawn["none"].any()
    assert drawn["gaussian"].var() == pytest.approx(1, abs=0.05)
    assert abs(drawn["fractal"].mean()) < 1e-6
    rows = drawn["fractal"].reshape(96, 96)
    assert np.corrcoef(rows[:, 1:].ravel(), rows[:, :-1].ravel())[0, 1] > 0.8
    assert js("fails(() => drawNoise('pink', 8, 8, makeRandom(0)))").startswith("noise: expected")


@pytest.mark.parametrize("length", [0, 3, 55, 56, 64, 1000])
def test_checksum_where_the_browser_has_none(js: Callable[..., Any], length: int) -> None:
    content = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    code = "[sha256Here(Uint8Array.from(v)), await sha256(Uint8Array.from(v))]"
    found = js(f"(async () => {code})()", v=content.tolist())
    assert found == 2 * [hashlib.sha256(content.tobytes()).hexdigest()]


# ---- Noise an image, read the answer


@pytest.mark.parametrize("t", [0, 250, 999])
@pytest.mark.parametrize("kind", ["x_0", "eps", "v"])
def test_noised_and_read_as_by_the_library(js: Callable[..., Any], kind: str, t: int) -> None:
    x_0, eps, answer = torch.randn(3, 1, 1, 8, 8, generator=torch.Generator().manual_seed(t))
    times = torch.tensor([t])
    schedule = Schedule.cosine(dtype=torch.float64)
    alpha_bar = schedule.alphas_bar[t].item()
    x_t = js("addNoise(x0, eps, alphaBar)", x0=x_0, eps=eps, alphaBar=alpha_bar)
    expected = add_noise(x_0, times, eps, schedule)
    np.testing.assert_allclose(x_t, expected.ravel(), atol=1e-6)
    x_0_hat = js(
        "toX0(kind, answer, xT, alphaBar)",
        kind=kind,
        answer=answer,
        xT=expected,
        alphaBar=alpha_bar,
    )
    wanted = to_x_0(kind, answer, expected, times, schedule)
    np.testing.assert_allclose(x_0_hat, wanted.ravel(), rtol=2e-5, atol=1e-6)


# ---- The map and its scores


@pytest.mark.parametrize("kind", ["positive", "absolute"])
def test_residual(js: Callable[..., Any], kind: str) -> None:
    x, x_0_hat = torch.randn(2, 1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    found = js("residual(x, y, kind)", x=x, y=x_0_hat, kind=kind)
    np.testing.assert_allclose(found, anomaly.residual(x, x_0_hat, kind).ravel(), atol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_erosion(js: Callable[..., Any], n: int, iterations: int) -> None:
    _, brain = stack(n)
    found = js("erodeBrain(brain, size, k)", brain=brain, size=size(brain), k=iterations)
    expected = anomaly.erode_brain(brain, iterations)
    assert expected.any() and (iterations == 0 or not torch.equal(expected, brain))
    np.testing.assert_array_equal(found, expected.ravel())


@pytest.mark.parametrize("n", [1, 5, 20])
@pytest.mark.parametrize("sigma", [0, 0.5, 1.5])
def test_gaussian_filter(js: Callable[..., Any], n: int, sigma: float) -> None:
    scores, brain = stack(n)
    found = js(
        "gaussianFilter(v, brain, size, sigma)",
        v=scores,
        brain=brain,
        size=size(brain),
        sigma=sigma,
    )
    expected = anomaly.gaussian_filter(scores, sigma, brain)
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-6)


@pytest.mark.parametrize("settings", [(1, 1, 1.5), (2, 3, 0.0), (0, 5, 1.0)])
def test_postprocessing(js: Callable[..., Any], settings: tuple[int, int, float]) -> None:
    scores, brain = stack()
    chosen = anomaly.PostProcessing(*settings)
    code = "postprocess(v, brain, size, s)"
    found = js(code, v=scores, brain=brain, size=size(brain), s=chosen.as_json())
    expected = anomaly.postprocess(scores, brain, chosen)
    assert expected.count_nonzero() > 1000
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-6)


def test_filters_that_no_card_asks_for_are_refused(js: Callable[..., Any]) -> None:
    settings = anomaly.PostProcessing(guided_radius=1).as_json()
    code = "fails(() => postprocess([], [], {}, s))"
    assert "guided_radius" in js(code, s=settings)


@pytest.mark.parametrize("threshold", [0.3, 0.9, 2.0])
def test_scores_at_a_threshold_and_over_all(js: Callable[..., Any], threshold: float) -> None:
    scores, brain = stack()
    scores = (scores * 20).round() / 20  # with ties
    lesion = torch.zeros_like(brain)
    lesion[1:3, :, 10:20, 15:40] = True
    given = {"v": scores, "lesion": lesion, "brain": brain}
    found = js("scoreAt(v, lesion, brain, threshold)", **given, threshold=threshold)
    expected = metrics.dice_at_threshold(scores, lesion, brain, threshold)
    assert found["dice"] == pytest.approx(expected, abs=1e-9)
    curve = js("precisionRecall(v, lesion, brain)", **given)
    area, prevalence = metrics.auprc(scores, lesion, brain)
    assert curve["auprc"] == pytest.approx(area, abs=1e-9)
    assert curve["prevalence"] == pytest.approx(prevalence, abs=1e-12)


# ---- The brush


def test_strokes_are_replayed_and_rubbed_out(js: Callable[..., Any]) -> None:
    scores, brain = stack(1)
    lesion = torch.zeros_like(brain)
    lesion[..., 14:18, 18:22] = True
    discs = [
        {"tool": "hole", "radius": 4, "points": [[16, 20], [16, 22]]},
        {"tool": "lesion", "radius": 2, "brightness": -0.4, "points": [[10, 24]]},
        {"tool": "rub out", "radius": 3, "points": [[16, 20]]},
        {"tool": "hole", "radius": 5, "points": [[0, 0]]},  # where there is no brain
    ]
    given = {"image": scores, "brain": brain, "lesion": lesion, "strokes": discs}
    found = js("replay(image, brain, lesion, strokes, 32, 48)", **given)
    rows, columns = np.ogrid[:32, :48]

    def disc(row: int, column: int, radius: int) -> np.ndarray:
        return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2

    hole = (disc(16, 20, 4) | disc(16, 22, 4)) & ~disc(16, 20, 3)
    expected = np.where(hole, 0, np.where(disc(10, 24, 2), -0.4, scores[0, 0]))
    np.testing.assert_allclose(np.reshape(found["painted"], (32, 48)), expected, atol=1e-6)
    marked = np.reshape(found["marked"], (32, 48)).astype(bool)
    there = hole | disc(10, 24, 2) | lesion[0, 0].numpy()
    np.testing.assert_array_equal(marked, there & brain[0, 0].numpy())


def test_a_soft_lesion_fades_over_the_outer_half_of_its_radius(js: Callable[..., Any]) -> None:
    """Overlapping discs do not add up, and what is half covered or more counts as lesion."""
    image, brain = torch.zeros(1, 1, 32, 48), torch.ones(1, 1, 32, 48, dtype=torch.bool)
    points = [[16, 20], [16, 20], [16, 21]]
    stroke = {"tool": "lesion", "radius": 8, "brightness": 0.8, "soft": True, "points": points}
    given = {"image": image, "brain": brain, "lesion": brain & False, "strokes": [stroke]}
    found = js("replay(image, brain, lesion, strokes, 32, 48)", **given)
    rows, columns = np.mgrid[:32, :48]
    far = np.minimum(np.hypot(rows - 16, columns - 20), np.hypot(rows - 16, columns - 21)) / 8
    share = np.clip(2 * (1 - far), 0, 1)
    np.testing.assert_allclose(np.reshape(found["painted"], (32, 48)), 0.8 * share, atol=1e-6)
    np.testing.assert_array_equal(np.reshape(found["marked"], (32, 48)), share >= 0.5)


def test_means_inside_and_outside_what_was_painted(js: Callable[..., Any]) -> None:
    scores, brain = stack(1)
    marked = torch.zeros_like(brain)
    marked[..., 10:20, 10:20] = True
    marked &= brain
    found = js("insideAndOutside(v, marked, brain)", v=scores, marked=marked, brain=brain)
    assert found["inside"] == pytest.approx(scores[marked].mean().item(), abs=1e-6)
    assert found["outside"] == pytest.approx(scores[brain & ~marked].mean().item(), abs=1e-6)
    assert found["pixels"] == marked.sum()


def test_what_is_taken_back_of_a_painting(js: Callable[..., Any]) -> None:
    """0 for a drawing that keeps it, 1 for the slice of before, and the share in between."""
    image, _ = stack(1)
    painted = image.clone()
    painted[..., 5:12, 8:20] = 0.9
    share = "shareTakenBack(image, painted, redrawn)"
    for wanted in (0.0, 0.4, 1.0, 1.2):
        redrawn = painted + wanted * (image - painted)
        found = js(share, image=image, painted=painted, redrawn=redrawn)
        assert found == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(js(share, image=image, painted=image, redrawn=painted))
