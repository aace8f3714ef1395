"""The shipped networks in a browser: PyTorch's answers, and files that are the right ones."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fetch_third_party
import numpy as np
import pytest
import torch

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.detection import anomaly, build_method
from maskdiff_edu.diffusion import fractal_noise, reconstruct
from maskdiff_edu.scans import Slices, to_slices
from maskdiff_edu.training import available_models

pytestmark = pytest.mark.slow

MODELS = available_models()
START = """async () => {
  const { openLab } = await import("/_static/maskdiff/lab/client.js");
  window.lab = openLab({ base: new URL("/_static/maskdiff/", location).href });
  window.floats = (text) => new Float32Array(
    Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  window.text = (numbers) => btoa(
    Array.from(new Uint8Array(numbers.buffer), (byte) => String.fromCharCode(byte)).join(""));
}"""
REDRAW = """async ({ name, x0, t, draws, noise }) => {
  const request = { x0: floats(x0), t, draws, seed: 0, noise: noise?.map(floats) };
  const { xT, x0Hat } = await lab.redraw(name, request);
  return [text(xT), text(x0Hat)];
}"""
MAP = """async ({ scan, twin, brain, size, settings }) => {
  const { postprocess, residual } = await import("/_static/maskdiff/lab/anomaly.js");
  const scores = residual(floats(scan), floats(twin), settings.residual);
  const inside = Uint8Array.from(atob(brain), (c) => c.charCodeAt(0));
  return text(postprocess(scores, inside, size, settings.postprocessing));
}"""
FAILURE = "async (name) => { try { await lab.open(name); } catch (e) { return e.message; } }"


def coded(values: torch.Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.float32).copy()


@pytest.fixture(scope="module")
def patient() -> Slices:
    [seed] = cohort_seeds("validation", "tumour", 1)
    return to_slices(make_member(seed, "tumour"))


class Opened:
    """A page with a lab, what it asked the server for, and what was wrong."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_context().new_page()  # a store of its own
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.visit(address)

    def visit(self, address: str) -> None:
        self.page.goto(address)
        self.page.evaluate(START)

    def redraw(self, name: str, x_0: torch.Tensor, t: Any, draws: int, noise: Any = None) -> Any:
        given = {"name": name, "x0": coded(x_0), "t": t, "draws": draws}
        given["noise"] = noise and [coded(field) for field in noise]
        return [decoded(text) for text in self.page.evaluate(REDRAW, given)]

    def failure(self, name: str) -> str:
        return self.page.evaluate(FAILURE, name)

    def files(self) -> list[str]:
        return [url.rpartition("/")[2] for url in self.asked]


@pytest.fixture
def open_page(browser: Any, served: str) -> Iterator[Callable[[], Opened]]:
    pages: list[Opened] = []

    def opened() -> Opened:
        pages.append(Opened(browser, served))
        return pages[-1]

    yield opened
    for page in pages:
        page.page.context.close()
        assert page.errors == []
        assert {url for url in page.asked if not url.startswith(served)} == set()


def dealt(fields: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A noise function that hands out one field a call."""
    remaining = iter(fields)
    return lambda *_, **__: next(remaining)[None, None]


# ---- The same answers


@pytest.mark.parametrize("name", MODELS)
def test_redrawn_slices_are_pytorchs(open_page: Any, patient: Slices, name: str) -> None:
    """Twenty slices, one draw each, and their map; then one as the model's card says."""
    page, detector = open_page(), build_method(name).detector
    generator = torch.Generator().manual_seed(0)
    middle = len(patient.images) // 2
    rows = slice(middle - 10, middle + 10)
    pairs = []
    for x_0 in patient.images[rows].split(1):
        eps = fractal_noise((1, 1, 96, 96), generator=generator)[0, 0]
        _, found = page.redraw(name, x_0, 250, 1, [eps])
        expected = reconstruct(detector.model, x_0, 250, detector.schedule, noise=dealt([eps]))
        np.testing.assert_allclose(found, expected.ravel(), atol=1e-4)
        pairs.append((torch.from_numpy(found).reshape(x_0.shape), expected))

    in_page, in_pytorch = (torch.cat(twins) for twins in zip(*pairs, strict=True))
    scans, brain, settings = patient.images[rows], patient.brain_masks[rows], detector.settings
    shown = {"scan": scans, "twin": in_page, "brain": brain.to(torch.uint8)}
    given: dict[str, Any] = {name: coded(values) for name, values in shown.items()}
    given |= {"size": {"n": 20, "h": 96, "w": 96}, "settings": settings.as_json()}
    found = decoded(page.page.evaluate(MAP, given))
    values = anomaly.residual(scans, in_pytorch, settings.residual)
    expected = anomaly.postprocess(values, brain, settings.postprocessing)
    assert expected.max() > 0.1
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-4)

    times = [t for t in detector.settings.times for _ in range(detector.settings.draws)]
    fields = [*fractal_noise((len(times), 1, 96, 96), generator=generator)[:, 0]]
    expected = reconstruct(detector.model, x_0, times, detector.schedule, noise=dealt(fields))
    _, found = page.redraw(name, x_0, detector.settings.times, detector.settings.draws, fields)
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-4)


def test_noise_of_a_seed_is_drawn_in_the_page(open_page: Any, patient: Slices) -> None:
    page, x_0 = open_page(), patient.images[30:31]
    first, again = (page.redraw("fpm-cm", x_0, 250, 2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    brain = patient.brain_masks[30].numpy().ravel()
    apart = abs(first[1] - x_0.numpy().ravel())[brain].mean()
    assert 0.005 < apart < 0.2  # redrawn, and not copied
    assert abs(first[0] - x_0.numpy().ravel()).mean() > 0.1


# ---- The right files


def test_engine_is_the_one_that_was_fetched() -> None:
    text = (Path(fetch_third_party.RUNTIME).parent / "network.js").as_posix()
    source = (fetch_third_party.ROOT / text).read_text(encoding="utf-8")
    sums = fetch_third_party.SUMS.read_text(encoding="utf-8")
    [line] = [line for line in sums.splitlines() if line.endswith("ort/ort.wasm.packed")]
    assert f'sha256: "{line.partition(" ")[0]}"' in source


def test_files_are_loaded_once_and_kept(open_page: Any, served: str) -> None:
    page = open_page()
    told = page.page.evaluate(
        "async () => { const told = []; await lab.open('ddpm', (...now) => told.push(now)); "
        "return told; }"
    )
    loaded, totals = zip(*told, strict=True)
    assert list(loaded) == sorted(loaded) and loaded[-1] == totals[0] and set(totals) == {totals[0]}
    assert totals[0] < 8 * 2**20  # what goes over the wire before the first answer
    assert page.files().count("ddpm.safetensors") == 1

    page.asked.clear()
    page.page.evaluate("lab.open('fpm')")
    assert set(page.files()) == {"fpm.manifest.json", "fpm.onnx", "fpm.safetensors"}

    page.asked.clear()
    page.visit(served)
    page.page.evaluate("lab.open('ddpm')")
    assert not {"ddpm.safetensors", "ddpm.onnx", "ort.wasm.packed"} & set(page.files())


@pytest.fixture
def changed(lab: Path) -> Iterator[Callable[[str, bytes | None], None]]:
    """Alter or remove a file of the site for the length of a test."""
    before: dict[Path, bytes] = {}

    def change(name: str, content: bytes | None) -> None:
        path = lab / "_static" / "maskdiff" / "models" / name
        before.setdefault(path, path.read_bytes())
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    yield change
    for path, content in before.items():
        path.write_bytes(content)


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("ipm.safetensors", flipped, "ipm.safetensors: expected the checksum"),
        ("ipm.safetensors", lambda content: content[:1000], "bytes, got 1000. The site"),
        ("ipm.onnx", flipped, "ipm.onnx: expected the checksum"),
        ("ipm.onnx", lambda content: None, "got 404"),
        ("ipm.manifest.json", lambda content: None, "ipm.manifest.json: expected the file"),
        ("ipm.manifest.json", lambda content: b"<html>", "expected JSON"),
        ("ipm.manifest.json", lambda content: b'{"format": 99}', "expected format 1, got 99"),
    ],
)
def test_wrong_files_are_refused_and_the_right_ones_taken_later(
    open_page: Any, lab: Path, changed: Any, file: str, damage: Any, message: str
) -> None:
    right = (lab / "_static" / "maskdiff" / "models" / file).read_bytes()
    page = open_page()
    changed(file, damage(right))
    assert message in page.failure("ipm")
    (lab / "_static" / "maskdiff" / "models" / file).write_bytes(right)
    assert page.failure("ipm") is None


def test_bad_requests_are_refused_and_the_next_is_answered(open_page: Any, patient: Slices) -> None:
    page, x_0 = open_page(), patient.images[30:31]
    failing = """async ({ t, draws, n }) => {
      try { await lab.redraw("fpm", { x0: new Float32Array(n), t, draws, seed: 0 }); }
      catch (error) { return error.message; }
    }"""
    for bad, message in (
        ({"t": 1000}, "t: expected"),
        ({"t": 2.5}, "whole numbers in 0..999"),
        ({"draws": 0}, "one draw or more"),
        ({"n": 100}, "x_t: expected 96 x 96 pixels"),
    ):
        assert message in page.page.evaluate(failing, {"t": 250, "draws": 1, "n": 9216, **bad})
    assert np.isfinite(page.redraw("fpm", x_0, 250, 1)[1]).all()


def test_a_lab_that_was_closed_starts_again(open_page: Any, patient: Slices) -> None:
    page = open_page()
    told = page.page.evaluate(
        "async () => { const asked = lab.open('fpm'); lab.close();"
        "try { await asked; } catch (error) { return error.message; } }"
    )
    assert told == "the lab was closed"
    assert np.isfinite(page.redraw("fpm", patient.images[30:31], 250, 1)[1]).all()


def test_what_was_kept_answers_where_the_site_does_not(
    open_page: Any, served: str, changed: Any
) -> None:
    page = open_page()
    page.page.evaluate("lab.open('ddpm')")
    changed("ddpm.manifest.json", None)
    page.visit(served)
    assert page.failure("ddpm") is None


def test_a_browser_without_webassembly_is_told_before_anything_is_loaded(open_page: Any) -> None:
    page = open_page()
    page.asked.clear()
    told = page.page.evaluate(
        """async () => {
          delete globalThis.WebAssembly;
          const { openNetwork } = await import("/_static/maskdiff/lab/network.js");
          try { await openNetwork({ base: new URL("/_static/maskdiff/", location).href }, "ddpm"); }
          catch (error) { return error.message; }
        }"""
    )
    assert "expected a browser with WebAssembly, got one where it is off" in told
    assert not any(name.startswith(("ddpm", "ort.wasm")) for name in page.files())
