"""A reader's own scan in the page: prepared and scored as by the library, and never sent away."""

import base64
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.detection import build_method
from maskdiff_edu.diffusion import fractal_noise
from maskdiff_edu.scans import Scan, load_scan, save_volume, to_slices, to_volume
from maskdiff_edu.scans.grids import resample

pytestmark = pytest.mark.slow

START = """async () => {
  const { openLab } = await import("/maskdiff/lab/client.js");
  window.lab = openLab({ base: new URL("/maskdiff/", location).href });
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
  const { detect } = await import("/maskdiff/lab/volume.js");
  const { openLab } = await import("/maskdiff/lab/client.js");
  const labs = [lab, openLab({ base: new URL("/maskdiff/", location).href })];
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


@pytest.mark.parametrize("name", ["fpm-cm", "ipm"])
def test_the_map_is_the_librarys(worker: Any, scans: Path, patient: Scan, name: str) -> None:
    """With the same noise, on the slices and on the scan's own grid; two workers share the work."""
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


@pytest.mark.parametrize("name", ["oblique", "coronal-fine"])
def test_the_way_back_is_the_librarys(worker: Any, scans: Path, patient: Scan, name: str) -> None:
    """Where neither grid lies on the other."""
    path = made_again(patient, name, scans / f"{name}.nii.gz")
    scan, _ = in_python(path)
    slices = to_slices(scan)
    worker.evaluate(PREPARE, [path.name, None])
    volume = worker.evaluate(
        """async () => {
          const { toVolume } = await import("/maskdiff/lab/prepare.js");
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
