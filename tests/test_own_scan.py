"""A reader's own scan in the page: prepared and scored as by the library, and never sent away."""

import base64
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.scans import Scan, load_scan, to_slices
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
    "millimetre": ("LAS", (1, 1, 1), "f4", 0),
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
    rows = abs(turn[:3, :3] @ np.diag([180, 220, 180])).sum(1)
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
    import time
    t = time.time()
    found = worker.evaluate(PREPARE, [path.name, None])
    print(scan.image.shape, "seconds", time.time() - t, found["notes"])
    assert found["notes"] == told
    assert found["name"] == name
    apart, other = agree(found, scan)
    print(apart, other)
    assert apart < WORST and other < OTHER_SHARE
