"""Scans that every viewer opens, and scans that would be silently wrong."""

import itertools
import subprocess
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest

from maskdiff_edu.detection import metrics
from maskdiff_edu.errors import ScanError, ScanWarning
from maskdiff_edu.scans import load_scan, save_volume, to_slices
from maskdiff_edu.scans.brain import find_brain
from maskdiff_edu.scans.nifti import read_nifti

AFFINE = np.array([[-2.0, 0, 0, 80], [0, -2, 0, 100], [0, 0, 2, -60], [0, 0, 0, 1]])
SHAPE = (90, 100, 80)


def ball(radius=34, centre=(45, 50, 40), shape=SHAPE):
    points = np.moveaxis(np.indices(shape), 0, -1) - np.array(centre)
    return (points**2).sum(-1) <= radius**2


def image(shape=SHAPE):
    return np.where(ball(shape=shape), np.random.default_rng(0).uniform(50, 100, shape), 0)


def write(path, data, affine=AFFINE, sform=1, qform=1, kind=nib.Nifti1Image, edit=None):
    """A NIfTI file; `edit` changes its header after nibabel has checked it."""
    made = kind(np.asarray(data, np.float32), affine)
    made.set_sform(affine, sform)
    made.set_qform(affine, qform)
    content = bytearray(made.to_bytes())
    size = 540 if kind is nib.Nifti2Image else 348
    header = type(made.header)(bytes(content[:size]), check=False)
    if edit:
        edit(header)
        content[:size] = header.binaryblock
    path.write_bytes(content)
    return path


@pytest.fixture
def scan(tmp_path):
    return write(tmp_path / "a_t2.nii", image())


@pytest.fixture
def quiet():
    """Any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Read as the standard says


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_no_place_of_the_voxels_means_right_after_the_header(tmp_path, quiet, kind):
    def forget(header):
        header["vox_offset"] = 0

    path = write(tmp_path / "a.nii", image(), kind=kind, edit=forget)
    np.testing.assert_array_equal(read_nifti(path)[0], image().astype(np.float32))


def test_a_place_inside_the_header_is_refused(tmp_path):
    def misplace(header):
        header["vox_offset"] = 16

    with pytest.raises(ScanError, match="voxels' place in the file, from 352 on"):
        read_nifti(write(tmp_path / "a.nii", image(), edit=misplace))


@pytest.mark.parametrize("value", [0, 1, 3, 0.5, float("nan")])
def test_a_handedness_other_than_minus_one_is_one(tmp_path, quiet, value):
    affine = np.diag([2.0, 2, 2, 1])

    def change(header):
        header["pixdim"][0] = value

    path = write(tmp_path / "a.nii", image(), affine, sform=0, edit=change)
    np.testing.assert_allclose(read_nifti(path)[1], affine, atol=1e-6)


def test_a_quaternion_a_hair_too_long_is_one_of_length_one(tmp_path, quiet):
    def lengthen(header):
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = 0, 1.0001, 0

    for sform in (0, 1):
        read = read_nifti(
            write(tmp_path / "a.nii", image(), np.diag([-2.0, 2, -2, 1]), sform, edit=lengthen)
        )[1]
        np.testing.assert_allclose(read, np.diag([-2.0, 2, -2, 1]), atol=1e-5)


@pytest.mark.parametrize("unit, in_mm", [("meter", 1000), ("micron", 0.001), ("mm", 1)])
def test_units_of_length_are_read(tmp_path, quiet, unit, in_mm):
    affine = np.diag([1 / in_mm, 1 / in_mm, 1 / in_mm, 1]) @ AFFINE
    path = write(
        tmp_path / "a.nii", image(), affine, edit=lambda header: header.set_xyzt_units(unit)
    )
    np.testing.assert_allclose(read_nifti(path)[1], AFFINE, rtol=1e-5)


def test_a_mask_that_kept_only_one_form_lies_on_the_grid(tmp_path):
    """Its qform is the scan's; the scan's sform is another one."""
    turned = AFFINE.copy()
    turned[:3, 3] += 5
    made = nib.Nifti1Image(image().astype(np.float32), turned)
    made.set_qform(AFFINE, 1)
    made.set_sform(turned, 4)
    path = tmp_path / "a.nii"
    path.write_bytes(made.to_bytes())
    mask = write(tmp_path / "a_mask.nii", ball(), sform=0)
    with pytest.warns(ScanWarning, match=r"qform and sform lie 8.7 mm apart"):
        np.testing.assert_array_equal(load_scan(path, mask).brain_mask, ball())
    far = write(tmp_path / "far.nii", ball(), AFFINE + np.eye(4, k=3) * 3)
    with pytest.raises(ScanError, match="expected the grid of"), pytest.warns(ScanWarning):
        load_scan(path, far)


def test_nan_outside_of_a_given_brain_mask_does_not_matter(tmp_path, quiet):
    path = write(tmp_path / "a.nii", np.where(ball(), image(), np.nan))
    mask = write(tmp_path / "m.nii", ball())
    assert np.isfinite(load_scan(path, mask).image).all()
    with pytest.raises(ScanError, match="outside of a brain mask that is given"):
        load_scan(path)
    inside = image()
    inside[45, 50, 40] = np.nan
    with pytest.raises(ScanError, match=r"inside the brain mask, got 1 voxels of NaN"):
        load_scan(write(tmp_path / "a.nii", inside), mask)


# Said, not swallowed


def rotated(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AFFINE


@pytest.mark.parametrize(
    "other", [rotated(10), AFFINE + np.eye(4, k=3) * 4, AFFINE @ np.diag([1.1, 1.1, 1.1, 1])]
)
def test_forms_are_compared_as_matrices(tmp_path, other):
    made = nib.Nifti1Image(image().astype(np.float32), AFFINE)
    made.set_qform(other, 1)
    made.set_sform(AFFINE, 1)
    made.header["pixdim"][1:4] = 2 if other[0, 0] != -2.2 else 2.2
    path = tmp_path / "a.nii"
    path.write_bytes(made.to_bytes())
    with pytest.warns(ScanWarning, match=r"^a.nii: qform and sform lie .* mm apart: sform is used"):
        read_nifti(path)


def test_equal_forms_are_not_warned_of_at_any_angle(tmp_path, quiet):
    for degrees in (0, 30, 45, 60, 135):
        read_nifti(write(tmp_path / "a.nii", image(), rotated(degrees)))


def test_a_brain_that_is_too_small_is_doubted(tmp_path):
    path = write(tmp_path / "a.nii", image(), np.eye(4))
    with pytest.warns(ScanWarning, match=r"a.nii: the brain measures 0.16 litres with voxels of 1"):
        load_scan(path)


def test_lesions_outside_the_brain_mask_are_told(tmp_path, scan):
    lesion = ball(10, (45, 50, 40)) | ball(4, (45, 50, 78))
    share = (lesion & ~ball()).sum() / lesion.sum()
    mask = write(tmp_path / "seg.nii", lesion)
    with pytest.warns(ScanWarning, match=rf"seg.nii: {share:.1%} of the lesion lie outside"):
        load_scan(scan, write(tmp_path / "m.nii", ball()), mask)


def test_both_hemispheres_belong_to_the_brain():
    """A stripping tool cut them apart; the smaller one holds two thirds of the larger."""
    shape = (100, 60, 60)
    left, right = ball(20, (25, 30, 30), shape), ball(23, (70, 30, 30), shape)
    speck = ball(2, (50, 5, 5), shape)
    np.testing.assert_array_equal(find_brain(100.0 * (left | right | speck)), left | right)


def test_a_halo_of_interpolation_is_no_brain(tmp_path):
    brain, halo = ball(30), ball(34)
    data = np.where(brain, image(), np.where(halo, 2.0, 0))
    np.testing.assert_array_equal(find_brain(data), brain)
    with pytest.warns(ScanWarning, match=r"a.nii: 31% of what is not 0 was left out"):
        load_scan(write(tmp_path / "a.nii", data))
    dark_inside = np.where(ball(8), 2.0, np.where(brain, image(), 0))
    np.testing.assert_array_equal(find_brain(dark_inside), brain)


@pytest.mark.parametrize("name", ["auprc", "auroc", "best_dice"])
def test_a_lesion_mask_of_nan_is_refused(name):
    lesion = [0.0, 1.0, float("nan"), 0.0]
    with pytest.raises(ValueError, match="NaN"):
        getattr(metrics, name)([0.1, 0.2, 0.3, 0.4], lesion, [1, 1, 1, 1])


# Refused before they take memory or time


@pytest.mark.parametrize("size", [1e-12, 1e-5, 0.04])
def test_voxels_too_small_to_be_true_are_refused(tmp_path, size):
    path = write(tmp_path / "a.nii", image(), np.diag([size, size, size, 1]))
    with pytest.raises(ScanError, match=r"expected voxels of at least 0.05 mm, got"):
        load_scan(path)


def test_a_brain_too_large_to_be_true_is_refused(tmp_path):
    path = write(tmp_path / "a.nii", image(), np.diag([7.0, 7, 7, 1]))
    with pytest.warns(ScanWarning, match="litres"):
        scan = load_scan(path)
    with pytest.raises(ScanError, match="expected a brain of at most 400 mm, got 483"):
        to_slices(scan)


@pytest.mark.skipif(sys.platform == "win32", reason="limits memory by resource")
def test_little_memory_is_one_line(tmp_path):
    path = save_volume(tmp_path / "a.nii.gz", np.ones((500, 500, 500), np.float32), AFFINE / 2)
    code = (
        "import resource, sys\n"
        "from maskdiff_edu.scans.nifti import read_nifti\n"
        "resource.setrlimit(resource.RLIMIT_AS, (700 * 2**20, 700 * 2**20))\n"
        "try: read_nifti(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and "a volume that fits into memory" in done.stdout, done.stderr


def test_whatever_a_header_says_the_file_is_read_or_refused(tmp_path, quiet):
    """Each field with each of the values that break arithmetic."""
    warnings.simplefilter("ignore", ScanWarning)
    whole = write(tmp_path / "a.nii", image()).read_bytes()
    header = nib.Nifti1Header(whole[:348], check=False)
    fields = {name: kind for name, (kind, *_) in header.template_dtype.fields.items()}
    values = [0, -1, 1, 2**15 - 1, -(2**15), 1e38, -1e38, float("nan"), float("inf"), 1e-40]
    read = 0
    for (name, kind), value in itertools.product(fields.items(), values):
        if kind.base.kind not in "iuf" or (kind.base.kind != "f" and not abs(value) <= 2**15):
            continue
        changed = nib.Nifti1Header(whole[:348], check=False)
        changed[name] = np.full(kind.shape, value).astype(kind.base)
        path = tmp_path / "b.nii"
        path.write_bytes(changed.binaryblock + whole[348:])
        try:
            voxels, affine = read_nifti(path)
        except ScanError as error:
            assert str(path) in str(error)
        else:
            assert voxels.shape == SHAPE and np.isfinite(affine).all(), (name, value)
            read += 1
    assert read > 50
