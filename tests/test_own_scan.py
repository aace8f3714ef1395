"""A reader's own scan in the page: prepared and scored as by the library, and never sent away."""

import base64
import gzip
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fetch_third_party
import nibabel as nib
import numpy as np
import pytest
import torch
from browser import Shown
from lab_page import serve
from scipy import ndimage
from site_visits import Quiet

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.detection import build_method
from maskdiff_edu.diffusion import fractal_noise
from maskdiff_edu.errors import ScanError
from maskdiff_edu.scans import Scan, load_scan, save_volume, to_slices, to_volume
from maskdiff_edu.scans.grids import resample
from maskdiff_edu.widgets import OwnScan

pytestmark = pytest.mark.slow

START = """async () => {
  const { openLab } = await import("/_static/maskdiff/lab/client.js");
  window.lab = openLab({ base: new URL("/_static/maskdiff/", location).href });
  window.file = async (name) => new File([await (await fetch(`/scans/${name}`)).blob()], name);
  window.text = async (numbers) => {
    const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    let found = "";
    for (let i = 0; i < bytes.length; i += 2 ** 15) {
      found += String.fromCharCode(...bytes.subarray(i, i + 2 ** 15));
    }
    return btoa(found);
  };
}"""
PREPARE = """async ([scan, mask]) => {
  const files = { scan: await file(scan), mask: mask && (await file(mask)) };
  window.prepared = await lab.prepare(files);
  const { slices, notes, scan: { name, shape, affine } } = prepared;
  const { images, brain, size, low, high } = slices;
  return { notes, name, shape, affine, size, low, high, place: slices.affine,
    images: await text(images), brain: await text(brain) };
}"""

WORST = 1e-3  # of the scaled slices, which run from -1 to 1
OTHER_SHARE = 1e-3  # of brain voxels that may be on the other side of a half


def decoded(coded: str, dtype: Any, shape: Any) -> np.ndarray:
    return np.frombuffer(base64.b64decode(coded), dtype).reshape(shape)


@pytest.fixture(scope="module")
def patient() -> Scan:
    [seed] = cohort_seeds("validation", "tumour", 1)
    return make_member(seed, "tumour")


@pytest.fixture(scope="module")
def scans(lab: Path) -> Path:
    """A folder that the page can fetch from."""
    folder = lab / "scans"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def worker(browser: Any, served: str) -> Iterator[Any]:
    """A page under the narrowest policy, with a lab and nothing else."""
    page = browser.new_page()
    page.goto(served)
    page.evaluate(START)
    yield page
    page.close()


# ---- The same slices as the library's

IN_CHROMIUM_AS_IN_PYTHON = {
    # axes, voxel sizes in mm, type of the voxels, degrees about the axis from neck to top
    "as-the-grid": ("LPS", (2, 2, 2), "f4", 0),
    "mirrored": ("RAS", (2, 2, 2), "i2", 0),
    "sagittal": ("PSR", (1.5, 1.5, 3), "u2", 0),
    "coronal-fine": ("RSA", (1.2, 1.2, 2.5), "f8", 0),
    "oblique": ("LAS", (1.8, 1.8, 2.2), "i4", 17),
    "oblique-thick": ("ASL", (1, 1, 5), "u1", -8),
    "coarse": ("IRP", (3, 3, 3), "i8", 5),
    "big-endian": ("LPI", (2, 2.5, 2), ">i2", 0),
    "nifti-2": ("RPI", (2.2, 2.2, 2.2), "u4", 31),
    "fine": ("LAS", (1.2, 1.2, 1.5), "f4", 0),
}


def made_again(patient: Scan, name: str, path: Path) -> Path:
    """The patient as another scanner would store the scan."""
    codes, sizes, dtype, degrees = IN_CHROMIUM_AS_IN_PYTHON[name]
    turn = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[:2, :2] = [[c, -s], [s, c]]
    steps = np.zeros((4, 4))
    for column, (code, mm) in enumerate(zip(codes, sizes, strict=True)):
        row = next(i for i, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        steps[row, column] = mm if code in "RAS" else -mm
    affine = turn @ (steps + np.diag([0, 0, 0, 1]))
    middle = (patient.affine @ [*(np.array(patient.image.shape) / 2), 1])[:3]
    rows = abs(turn[:3, :3] @ np.diag([160, 200, 164])).sum(1)
    shape = tuple(int(rows[abs(steps[:3, i]).argmax()] / mm) for i, mm in enumerate(sizes))
    affine[:3, 3] = middle - affine[:3, :3] @ (np.array(shape) / 2) + 0.37
    grid = (patient.affine, affine, shape)
    brain = resample(patient.brain_mask, *grid) > 0.5
    image = np.where(brain, resample(patient.image, *grid), 0)
    image *= 250 / image.max()
    stored = image if dtype[-2] == "f" else image.round()
    kind = nib.Nifti2Image if name == "nifti-2" else nib.Nifti1Image
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    nifti = kind(stored.astype(dtype), affine, header, dtype=np.dtype(dtype))
    if name == "mirrored":
        nifti.header.set_slope_inter(0.25, 0)
    if name == "coarse":  # the quaternion alone
        nifti.set_qform(affine, 1)
        nifti.set_sform(None, 0)
    nib.save(nifti, path)
    return path


def in_python(path: Path, mask: Path | None = None) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan = load_scan(path, mask)
    return scan, [str(warning.message) for warning in caught]


def agree(found: dict[str, Any], scan: Scan) -> tuple[float, float]:
    """Largest difference of the scaled slices, and the share of brain voxels that differ."""
    expected = to_slices(scan)
    n, _, h, w = expected.images.shape
    assert found["size"] == {"n": n, "h": h, "w": w}
    assert found["shape"] == list(scan.image.shape)
    np.testing.assert_allclose(np.reshape(found["affine"], (4, 4)), scan.affine, atol=1e-4)
    np.testing.assert_allclose(np.reshape(found["place"], (4, 4)), expected.affine, atol=1e-3)
    assert [found["low"], found["high"]] == pytest.approx([expected.low, expected.high], rel=1e-4)
    brain = decoded(found["brain"], np.uint8, (n, 1, h, w)).astype(bool)
    images = decoded(found["images"], np.float32, (n, 1, h, w))
    ours, theirs = expected.images.numpy(), expected.brain_masks.numpy()
    both = brain & theirs
    assert (images[~brain] == -1).all()
    return abs(images - ours)[both].max(), (brain != theirs).sum() / theirs.sum()


@pytest.mark.parametrize("name", IN_CHROMIUM_AS_IN_PYTHON)
def test_slices_are_the_librarys(worker: Any, scans: Path, patient: Scan, name: str) -> None:
    path = made_again(patient, name, scans / f"{name}.nii{'.gz' if len(name) % 2 else ''}")
    scan, told = in_python(path)
    found = worker.evaluate(PREPARE, [path.name, None])
    assert found["notes"] == told == []
    assert found["name"] == name
    apart, other = agree(found, scan)
    assert apart < WORST and other < OTHER_SHARE


def test_a_brain_mask_of_ones_own(worker: Any, scans: Path, patient: Scan) -> None:
    """Outside of it nothing matters, not even NaN."""
    path, mask = scans / "dirty.nii.gz", scans / "dirty_mask.nii.gz"
    brain = ndimage.binary_erosion(patient.brain_mask, iterations=4)
    dirty = np.where(patient.brain_mask, patient.image, np.nan).astype(np.float32)
    save_volume(path, dirty, patient.affine)
    save_volume(mask, brain, patient.affine)
    scan, told = in_python(path, mask)
    found = worker.evaluate(PREPARE, [path.name, mask.name])
    assert found["notes"] == told
    apart, other = agree(found, scan)
    assert apart < WORST and other < OTHER_SHARE


def small(patient: Scan, first: int = 40, n: int = 4) -> Scan:
    """A few slices out of the middle, in a volume of their own."""
    part = (slice(None), slice(None), slice(first, first + n))
    affine = patient.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    return replace(
        patient, image=patient.image[part], brain_mask=patient.brain_mask[part], affine=affine
    )


def test_what_is_doubtful_is_told_in_the_librarys_words(
    worker: Any, scans: Path, patient: Scan
) -> None:
    few = small(patient)
    nifti = nib.Nifti1Image(few.image, few.affine)
    path = scans / "two-forms.nii"
    nifti.set_qform(few.affine @ np.diag([-1, 1, 1, 1]), 1)
    nifti.set_sform(few.affine, 1)
    nib.save(nifti, path)
    notes = worker.evaluate(PREPARE, [path.name, None])["notes"]
    assert "qform and sform lie" in notes[0] and "the brain measures" in notes[1]
    assert notes == in_python(path)[1]

    path = scans / "no-form.nii"
    content = bytearray(nifti.to_bytes())
    content[252:256] = bytes(4)
    path.write_bytes(content)
    found = worker.evaluate(PREPARE, [path.name, None])
    assert "the header names no orientation" in found["notes"][0]
    scan, told = in_python(path)
    assert found["notes"] == told
    assert agree(found, scan)[0] < WORST

    path = scans / "halo.nii"
    near = ndimage.binary_dilation(few.brain_mask, iterations=4)
    halo = np.where(few.brain_mask, few.image, np.where(near, 0.01 * few.image.max(), 0))
    halo[5:8, 5:8, 1] = few.image.max()
    save_volume(path, halo, few.affine)
    scan, told = in_python(path)
    found = worker.evaluate(PREPARE, [path.name, None])
    assert "was left out, as a nearly black rim" in told[0]
    assert found["notes"] == told
    assert agree(found, scan)[1] < OTHER_SHARE


# ---- The same map

DETECT = """async ([name, noise]) => {
  const { detect } = await import("/_static/maskdiff/lab/volume.js");
  const { openLab } = await import("/_static/maskdiff/lab/client.js");
  const labs = [lab, openLab({ base: new URL("/_static/maskdiff/", location).href })];
  const floats = (coded) => new Float32Array(
    Uint8Array.from(atob(coded), (c) => c.charCodeAt(0)).buffer);
  const fields = noise.map((slice) => slice.map(floats));
  const told = [];
  const onSlice = (...now) => told.push(now);
  const found = await detect(labs, name, { ...prepared, seed: 0, noise: fields }, onSlice);
  labs[1].close();
  return { told, anomaly: await text(found.anomaly), volume: await text(found.volume),
    redrawn: await text(found.redrawn) };
}"""


def test_the_map_is_the_librarys(worker: Any, scans: Path, patient: Scan) -> None:
    """With the same noise, on the slices and on the scan's own grid; two workers share the work."""
    name = "ipm"  # averaged over several t and draws
    few = small(patient)
    path = save_volume(scans / "few.nii.gz", few.image, few.affine)
    scan, _ = in_python(path)
    slices = to_slices(scan)
    detector = build_method(name).detector
    generator = torch.Generator().manual_seed(0)
    fields = [
        fractal_noise(tuple(slices.images.shape), generator=generator)
        for _ in range(detector.noisings)
    ]
    remaining = iter(fields)
    detection = replace(detector, noise=lambda *_, **__: next(remaining)).detect(slices)
    worker.evaluate(PREPARE, [path.name, None])
    noise = [
        [base64.b64encode(field[i].numpy().tobytes()).decode() for field in fields]
        for i in range(len(slices.images))
    ]
    found = worker.evaluate(DETECT, [name, noise])
    shape = tuple(slices.images.shape)
    assert found["told"] == [[i + 1, shape[0]] for i in range(shape[0])]
    anomaly = decoded(found["anomaly"], np.float32, shape)
    assert detection.anomaly_map.max() > 0.1
    np.testing.assert_allclose(anomaly, detection.anomaly_map, atol=WORST)
    inside = slices.brain_masks.numpy()
    redrawn = decoded(found["redrawn"], np.float32, shape)
    np.testing.assert_allclose(redrawn[inside], detection.reconstruction[inside], atol=WORST)
    volume = np.reshape(decoded(found["volume"], np.float32, -1), scan.image.shape, order="F")
    expected = to_volume(detection.anomaly_map, slices, scan)
    np.testing.assert_allclose(volume, expected, atol=WORST)


def test_the_way_back_is_the_librarys(worker: Any, scans: Path, patient: Scan) -> None:
    """Where neither grid lies on the other."""
    path = made_again(patient, "oblique", scans / "back.nii.gz")
    scan, _ = in_python(path)
    slices = to_slices(scan)
    worker.evaluate(PREPARE, [path.name, None])
    volume = worker.evaluate(
        """async () => {
          const { toVolume } = await import("/_static/maskdiff/lab/prepare.js");
          return text(toVolume(prepared.slices.images, prepared.slices, prepared.scan));
        }"""
    )
    found = np.reshape(decoded(volume, np.float32, -1), scan.image.shape, order="F")
    np.testing.assert_allclose(found, to_volume(slices.images, slices, scan), atol=WORST)


@pytest.mark.parametrize("scan", ["glioma_c/T2.nii.gz", "ms_other_scanner/T2.nii.gz"])
def test_real_scans(worker: Any, scans: Path, real: Path, scan: str) -> None:
    path = scans / scan.replace("/", "_")
    path.write_bytes((real / scan).read_bytes())
    mask = (real / scan).parent / "brain_mask.nii.gz"
    masked = mask.is_file()
    if masked:
        (scans / "real_mask.nii.gz").write_bytes(mask.read_bytes())
    expected, told = in_python(path, scans / "real_mask.nii.gz" if masked else None)
    found = worker.evaluate(PREPARE, [path.name, "real_mask.nii.gz" if masked else None])
    assert found["notes"] == told
    apart, other = agree(found, expected)
    assert apart < WORST and other < OTHER_SHARE


# ---- The figure

SCAN, MASK = "scan: T2, without the skull", "its brain mask"
LOOK = "look for anomalies"


class Own(Shown):
    """The figure on a site that brings the networks, or beside a kernel."""

    def __init__(self, page: Any, address: str, kernel: bool = False) -> None:
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        super().__init__(page, OwnScan(), kernel, address)
        if not kernel:
            page.evaluate("globalThis.maskdiffLab = '/_static/maskdiff/'")

    def give(self, path: Path, mask: Path | None = None) -> None:
        self.page.get_by_label(SCAN).set_input_files(path)
        if mask:
            self.page.get_by_label(MASK).set_input_files(mask)


@pytest.fixture
def few(patient: Scan, tmp_path: Path) -> Path:
    part = small(patient)
    return save_volume(tmp_path / "few.nii.gz", part.image, part.affine)


def test_unknown_models_are_refused() -> None:
    with pytest.raises(ValueError, match=r"models: expected some of .*ddpm"):
        OwnScan(models=["unknown"])


def test_the_viewer_is_the_one_that_was_fetched() -> None:
    folder = fetch_third_party.ROOT / fetch_third_party.VIEWER
    source = (folder.parent / "viewer.js").read_text(encoding="utf-8")
    sums = fetch_third_party.SUMS.read_text(encoding="utf-8")
    [line] = [line for line in sums.splitlines() if line.endswith("niivue.packed")]
    assert f'sha256: "{line.partition(" ")[0]}"' in source
    assert f"bytes: {(folder / 'niivue.packed').stat().st_size}," in source


def test_a_scan_is_looked_through_and_its_map_saved(
    page: Any, few: Path, served_as_the_book: str, root: Path, tmp_path: Path
) -> None:
    """By keys alone, but for the file; what is said is what the saved map holds."""
    shown = Own(page, served_as_the_book)
    assert page.get_by_role("button", name=LOOK).is_disabled()
    assert page.locator("canvas").is_hidden()
    assert not any("niivue" in url or "ort" in url for url in shown.asked)
    caution = page.locator(".maskdiff-caution").inner_text()
    assert "not for diagnosis" in caution and "never leaves it" in caution
    shown.give(few)
    shown.wait_for_words(r"few: 96 x 96 x 4 voxels, 4 slices of 2 mm")
    assert "the brain measures" in page.locator(".maskdiff-notes li").inner_text()
    assert page.locator("canvas").is_visible()
    before = page.locator("canvas").get_attribute("aria-label")
    assert re.fullmatch(r"few from three sides\. At the crosshair: intensity -?[\d.]+\.", before)
    page.get_by_label("left to right").focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    assert page.locator("canvas").get_attribute("aria-label") != before

    page.get_by_label("fpm-cm").focus()
    page.keyboard.press("ArrowRight")  # the next network
    page.get_by_role("button", name=LOOK).focus()
    page.keyboard.press("Enter")
    told = shown.wait_for_words(r"fpm: ([\d.]+) ml of a brain of (\d+) ml score above 0.18")
    assert page.evaluate("document.activeElement.textContent") == LOOK
    assert "score" in page.locator("canvas").get_attribute("aria-label")
    assert shown.value["threshold"] == 0.18
    with page.expect_download() as download:
        page.get_by_role("button", name="save the map").focus()
        page.keyboard.press("Space")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "few_anomaly_fpm.nii.gz"

    scan, saved = load_scan_quietly(few), nib.load(path)
    assert saved.shape == scan.image.shape and saved.get_data_dtype() == np.float32
    np.testing.assert_allclose(saved.affine, nib.load(few).affine, atol=1e-5)
    assert saved.header.get_xyzt_units()[0] == "mm"
    found, voxel = saved.get_fdata(dtype=np.float32), abs(np.linalg.det(saved.affine)) / 1000
    assert np.isfinite(found).all() and found.max() > 0.1 and not found[~scan.brain_mask].any()
    assert float(told[1]) == pytest.approx((found > np.float32(0.18)).sum() * voxel, abs=0.051)
    assert float(told[2]) == pytest.approx(scan.brain_mask.sum() * voxel, abs=0.51)

    detector, slices = build_method("fpm").detector, to_slices(scan)
    of_seeds = [
        to_volume(replace(detector, seed=seed).detect(slices).anomaly_map, slices, scan)
        for seed in (0, 1)
    ]
    apart = abs(of_seeds[0] - of_seeds[1]).mean()
    assert abs(found - of_seeds[0]).mean() < 2 * apart < 0.2 * of_seeds[0].max()

    picture = page.evaluate(PAINTED)
    page.get_by_label("scores above").focus()
    page.keyboard.press("Home")
    shown.wait_for_words(r"score above 0\.00")
    assert page.evaluate(PAINTED) != picture
    page.add_script_tag(content=(root / "tests" / "axe" / "axe.min.js").read_text("utf-8"))
    violations = page.evaluate("axe.run('figure.maskdiff').then((r) => r.violations)")
    assert [found["id"] for found in violations] == []
    assert all(url.startswith((served_as_the_book, "blob:", "data:")) for url in shown.asked)


# As the browser would paint it: WebGL keeps no picture for others.
PAINTED = """() => new Promise((resolve) => requestAnimationFrame(() => {
  const input = [...document.querySelectorAll("input[type=range]")].at(-1);
  input.dispatchEvent(new Event("input"));
  resolve(document.querySelector("canvas").toDataURL());
}))"""


def load_scan_quietly(path: Path) -> Scan:
    return in_python(path)[0]


def test_looking_is_stopped_and_begun_anew(
    page: Any, patient: Scan, few: Path, served_as_the_book: str, tmp_path: Path
) -> None:
    part = small(patient, 30, 16)
    many = save_volume(tmp_path / "many.nii.gz", part.image, part.affine)
    shown = Own(page, served_as_the_book)
    shown.give(many)
    shown.wait_for_words("many: ")
    page.get_by_role("button", name=LOOK).click()
    page.get_by_text(re.compile(r"slice [1-9]\d* of \d+")).wait_for()
    page.get_by_role("button", name="stop").click()
    assert shown.words == "Stopped: there is no map."
    assert page.get_by_role("button", name="save the map").is_hidden()
    page.get_by_role("button", name=LOOK).click()
    page.get_by_text(re.compile(r"slice [1-9]\d* of \d+")).wait_for()
    shown.give(few)  # another scan stops it as well
    shown.wait_for_words("few: ")
    assert page.get_by_role("button", name=LOOK).is_enabled()


def test_a_scan_is_dropped_and_two_are_refused(
    page: Any, few: Path, served_as_the_book: str
) -> None:
    drop = """async ([coded, names]) => {
      const bytes = Uint8Array.from(atob(coded), (c) => c.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      for (const name of names) dataTransfer.items.add(new File([bytes], name));
      document.querySelector(".maskdiff-drop").dispatchEvent(
        new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }"""
    content = base64.b64encode(few.read_bytes()).decode()
    shown = Own(page, served_as_the_book)
    page.evaluate(drop, [content, ["a.nii.gz", "b.nii.gz"]])
    assert shown.words.startswith("expected one file, got 2")
    page.evaluate(drop, [content, ["a.nii.gz"]])
    shown.wait_for_words("a: 96 x 96 x 4 voxels")


def test_a_notebooks_kernel_brings_what_a_scan_needs(page: Any, few: Path, tmp_path: Path) -> None:
    """And hears nothing of the scan."""
    site = tmp_path / "notebook"
    site.mkdir()
    (site / "index.html").write_text("<!doctype html><title>A notebook</title>", "utf-8")
    for address in serve(site, Quiet):
        shown = Own(page, address, kernel=True)
        shown.give(few)
        shown.wait_for_words("few: 96 x 96 x 4 voxels, 4 slices of 2 mm with brain in them. *$")
        assert page.locator("canvas").is_visible()
        assert shown.figure.value == OwnScan().value
        outside = {url for url in shown.asked if not url.startswith(("blob:", "data:"))}
        assert outside == {address}


def test_a_browser_that_cannot_show_the_scan_still_computes(
    page: Any, few: Path, served_as_the_book: str
) -> None:
    shown = Own(page, served_as_the_book)
    page.evaluate("HTMLCanvasElement.prototype.getContext = () => null")
    shown.give(few)
    shown.wait_for_words("expected a browser with WebGL 2")
    page.get_by_role("button", name=LOOK).click()
    shown.wait_for_words("fpm-cm: .* ml of a brain")
    assert page.locator("canvas").is_hidden()
    assert page.get_by_role("button", name="save the map").is_visible()


# ---- What is no such scan

SHAPE = (20, 24, 16)
AFFINE = np.diag([-8.0, 8, 8, 1])


def stored(data: Any = None, affine: np.ndarray = AFFINE, dtype: Any = np.float32) -> bytes:
    """The bytes of a good file: a ball of noise."""
    if data is None:
        points = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(SHAPE) / 2
        noise = np.random.default_rng(0).uniform(50, 100, SHAPE)
        data = np.where((points**2).sum(-1) < 49, noise, 0)
    return nib.Nifti1Image(np.asarray(data).astype(dtype), affine, dtype=dtype).to_bytes()


def edited(at: int, form: str, *values: Any) -> bytes:
    """A good file with other numbers in its header."""
    content = bytearray(stored())
    struct.pack_into(f"<{form}", content, at, *values)
    return bytes(content)


def with_value(value: float) -> bytes:
    data = nib.Nifti1Image.from_bytes(stored()).get_fdata()
    data[10, 12, 8] = value
    return stored(data)


SOME = np.zeros(SHAPE)
SOME[5:15, 5:15, 5:12] = 1
BAD = {
    "empty.nii": b"",
    "empty.nii.gz": b"",
    "few-words.nii": b"This is no scan.",
    "many-words.nii": b"This is no scan. " * 100,
    "picture.png": b"\x89PNG\r\n" + bytes(500),
    "picture.nii": b"\x89PNG\r\n" + bytes(5000),
    "packed-nowhere.nii.gz": stored(),
    "packed-unsaid.nii": gzip.compress(stored()),
    "cut-off.nii": stored()[:-100],
    "header-alone.nii": stored()[:352],
    "cut-off.nii.gz": gzip.compress(stored())[:-2000],
    "without-checksum.nii.gz": gzip.compress(stored())[:-8],
    "wrong-checksum.nii.gz": gzip.compress(stored())[:-8] + bytes(8),
    "pair.img": stored()[352:],
    "pair.hdr": edited(344, "4s", b"ni1\0")[:348],
    "half-of-a-pair.nii": edited(344, "4s", b"ni1\0"),
    "two-gigabytes.nii": edited(40, "8h", 3, 1024, 1024, 512, 1, 1, 1, 1),
    "two-gigabytes.nii.gz": gzip.compress(edited(40, "8h", 3, 1024, 1024, 512, 1, 1, 1, 1)),
    "half-a-gigabyte.nii": edited(40, "8h", 3, 500, 500, 500, 1, 1, 1, 1),
    "half-a-gigabyte.nii.gz": gzip.compress(edited(40, "8h", 3, 500, 500, 500, 1, 1, 1, 1)),
    "negative.nii": edited(40, "8h", 3, -20, 24, 16, 1, 1, 1, 1),
    "no-axes.nii": edited(40, "h", 0),
    "flat.nii": edited(40, "8h", 2, 20, 24, 1, 1, 1, 1, 1),
    "frames.nii": stored(np.stack(3 * [SOME], -1)),
    "colours.nii": edited(70, "2h", 128, 24),
    "complex.nii": edited(70, "2h", 32, 64),
    "no-type.nii": edited(70, "2h", 0, 0),
    "elsewhere.nii": edited(108, "f", 16),
    "no-size.nii": edited(80, "f", 0),
    "as-a-house.nii": stored(affine=np.diag([60.0, 60, 60, 1])),
    "as-a-hair.nii": stored(affine=np.diag([0.01, 0.01, 0.01, 1])),
    "crushed.nii": edited(280, "4f", 0, 0, 0, 0),
    "nowhere.nii": edited(280, "f", np.nan),
    "nan.nii": with_value(np.nan),
    "infinite.nii.gz": gzip.compress(with_value(np.inf)),
    "constant.nii": stored(np.full(SHAPE, 7.25)),
    "black.nii": stored(np.zeros(SHAPE)),
    "a-mask.nii": stored(SOME),
    "a-crumb.nii": stored(SOME, np.diag([0.1, 0.1, 0.1, 1])),
}


@pytest.fixture(scope="module")
def figure(browser: Any, served_as_the_book: str) -> Iterator[Own]:
    """One figure for all of them: it has to stay usable."""
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield Own(page, served_as_the_book)
    page.close()
    assert errors == []


def refuses(figure: Own, words: str, *files: Path) -> None:
    """Says so of the files; where the file is broken, the reader's own reason follows."""
    figure.page.get_by_label(MASK).set_input_files([])
    figure.give(*files)
    before, broken, _ = words.partition("got a broken file (")
    figure.wait_for_words(f"^{re.escape(before + broken)}{'' if broken else '$'}")
    assert figure.page.get_by_role("button", name=LOOK).is_disabled()


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_scan_is_refused_in_the_librarys_words(
    figure: Own, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(ScanError) as refusal, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        to_slices(load_scan(path))
    refuses(figure, str(refusal.value).replace(str(path), name), path)


def test_masks_that_do_not_fit_are_refused_and_a_good_scan_is_taken(
    figure: Own, tmp_path: Path, few: Path
) -> None:
    scan, mask = tmp_path / "scan.nii", tmp_path / "mask.nii"
    scan.write_bytes(stored())
    for content in (
        stored(np.zeros(SHAPE)),
        stored(np.ones((4, 4, 4))),
        stored(SOME, AFFINE + np.eye(4, k=3) * 3),
    ):
        mask.write_bytes(content)
        with pytest.raises(ScanError) as refusal:
            load_scan(scan, mask)
        named = str(refusal.value).replace(str(scan), scan.name).replace(str(mask), mask.name)
        refuses(figure, named, scan, mask)
    figure.give(few)  # the other scan's mask is forgotten
    figure.wait_for_words("few: 96 x 96 x 4 voxels")
    figure.page.get_by_role("button", name=LOOK).click()
    figure.wait_for_words("fpm-cm: .* ml of a brain")


def test_a_brain_too_large_for_the_networks_is_refused(figure: Own, tmp_path: Path) -> None:
    path = tmp_path / "giant.nii"
    path.write_bytes(stored(affine=np.diag([-15.0, 15, 15, 1])))
    figure.give(path)
    figure.wait_for_words("giant: ")
    figure.page.get_by_role("button", name=LOOK).click()
    figure.wait_for_words(r"fits into slices of 96 x 96 pixels of 2 mm.*needs 112 x 112")
