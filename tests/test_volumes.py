import gzip
import itertools
import os
import struct
import tracemalloc
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, binary_fill_holes, center_of_mass
from scipy.spatial.transform import Rotation

from maskdiff_edu import files
from maskdiff_edu.brains import load_template
from maskdiff_edu.errors import ScanError, ScanWarning
from maskdiff_edu.scans import Scan, load_scan, save_volume, to_slices, to_volume
from maskdiff_edu.scans.brain import find_brain, skull_signs
from maskdiff_edu.scans.grids import resample
from maskdiff_edu.scans.intensity import denormalise, intensity_range, normalise_image

REAL = os.environ.get("MASKDIFF_REAL")
needs_real = pytest.mark.skipif(not REAL, reason="MASKDIFF_REAL names no folder of real scans")
LPS_2MM = np.diag([-2.0, -2.0, 2.0, 1.0])

# A small analytic brain, known at every point of the world (mm, RAS+).
CENTRE, RADII = np.array([4.0, -9.0, 13.0]), np.array([26.0, 32.0, 20.0])


def is_brain(points):
    return (((points - CENTRE) / RADII) ** 2).sum(-1) <= 1


def smooth_pattern(points):
    x, y, z = np.moveaxis(points - CENTRE, -1, 0)
    return 500 + 100 * np.sin(x / 14) + 80 * np.cos(y / 17 + 0.4) + 60 * np.sin(z / 15 + 0.2)


def world(shape, affine):
    """World mm of every voxel centre, `(*shape, 3)`, written out independently of the library."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def scan_on(affine, shape, pattern=smooth_pattern):
    points = world(shape, affine)
    brain = is_brain(points)
    return Scan(np.where(brain, pattern(points), 0).astype(np.float32), brain, affine)


ORIENTATIONS = [
    np.diag(signs) @ np.eye(3)[list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


@st.composite
def grids(draw):
    """Affine and shape of a scan that holds the whole brain: any orientation, size, tilt, shift."""
    sizes, angles = st.floats(1.2, 5.0), st.floats(-25.0, 25.0)
    turn = Rotation.from_euler("xyz", [draw(angles) for _ in range(3)], degrees=True).as_matrix()
    steps = turn @ draw(st.sampled_from(ORIENTATIONS)) @ np.diag([draw(sizes) for _ in range(3)])
    shape = np.ceil(2 * (np.linalg.norm(RADII) + 3) / np.linalg.norm(steps, axis=0)).astype(int)
    shift = np.array([draw(st.floats(-1.0, 1.0)) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = CENTRE + shift - steps @ ((shape - 1) / 2)
    return affine, tuple(shape)


many = settings(max_examples=12, deadline=None, derandomize=True)


def working_points(slices):
    """World mm of every pixel `(n, h, w, 3)`: row = y, column = x, slice = z."""
    n, _, h, w = slices.images.shape
    return world((w, h, n), slices.affine).transpose(2, 1, 0, 3)


# --- grids and orientations ---------------------------------------------------------------------


@many
@given(grids())
def test_slices_show_the_world_and_come_back(grid):
    scan = scan_on(*grid)
    slices = to_slices(scan)
    points, brain = working_points(slices), slices.brain_masks[:, 0].numpy()

    # the slices hold what the world holds at their pixels
    expected = np.clip(smooth_pattern(points), slices.low, slices.high)
    came = slices.in_scan_units(slices.images)[:, 0].numpy()
    error = np.abs(came - expected)[brain] / (slices.high - slices.low)
    assert np.mean(error) < 0.02 and np.quantile(error, 0.99) < 0.12

    # the brain is where it was, whole: its pixels agree with the ellipsoid
    agree = 2 * (brain & is_brain(points)).sum() / (brain.sum() + is_brain(points).sum())
    assert agree > 0.87
    assert brain[0].any() and brain[-1].any()
    assert slices.images[~slices.brain_masks].eq(-1).all()

    # and back on the scan's own grid
    back = to_volume(slices.in_scan_units(slices.images), slices, scan)
    assert back.shape == scan.image.shape and back.dtype == np.float32
    inside = scan.brain_mask
    error = np.abs(back - np.clip(scan.image, slices.low, slices.high))[inside]
    assert np.mean(error) / (slices.high - slices.low) < 0.03


@many
@given(grids())
def test_a_map_overlays_the_scan_to_within_a_voxel(grid):
    affine, shape = grid
    scan = scan_on(affine, shape)
    slices = to_slices(scan)
    spot = CENTRE + np.array([-9.0, 11.0, 5.0])
    blob = np.exp(-((working_points(slices) - spot) ** 2).sum(-1) / (2 * 5.0**2))
    volume = to_volume(torch.from_numpy(blob)[:, None], slices, scan)
    found = affine[:3, :3] @ center_of_mass(volume) + affine[:3, 3]
    assert np.linalg.norm(found - spot) < 0.5


@pytest.mark.parametrize("orientation", range(48))
def test_left_stays_left(orientation):
    """A bright ball on the patient's left (x < 0 in RAS+), in front and high up."""
    steps = ORIENTATIONS[orientation] @ np.diag([2.5, 2.0, 3.0])
    affine = np.eye(4)
    affine[:3, :3] = steps
    shape = (40, 40, 40)
    affine[:3, 3] = CENTRE - steps @ (np.array(shape) / 2)
    spot = CENTRE + np.array([-12.0, 14.0, 6.0])

    def marked(points):
        return 100.0 + 900 * (np.linalg.norm(points - spot, axis=-1) < 6)

    scan = scan_on(affine, shape, marked)
    slices = to_slices(scan)
    z, row, column = center_of_mass(slices.images[:, 0].numpy() > 0.5)
    middle_z, middle_row, middle_column = center_of_mass(slices.brain_masks[:, 0].numpy())
    assert column - middle_column == pytest.approx(6, abs=1)  # 12 mm to the picture's right
    assert row - middle_row == pytest.approx(-7, abs=1)  # 14 mm up in the picture
    assert z - middle_z == pytest.approx(3, abs=1)

    volume = to_volume((slices.images > 0.5).float(), slices, scan)
    found = affine[:3, :3] @ center_of_mass(volume) + affine[:3, 3]
    assert np.abs(found - spot).max() < 1.5


def test_thick_oblique_slices_of_a_clinical_scan():
    turn = Rotation.from_euler("xyz", [17, -8, 5], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.5, 0.5, 5.0])
    shape = (160, 160, 18)
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    scan = scan_on(affine, shape)
    slices = to_slices(scan)
    back = to_volume(slices.in_scan_units(slices.images), slices, scan)
    error = np.abs(back - np.clip(scan.image, slices.low, slices.high))[scan.brain_mask]
    assert np.mean(error) / (slices.high - slices.low) < 0.02


@settings(max_examples=40, deadline=None)
@given(
    start=st.tuples(*[st.integers(-9, 9)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    outside=st.sampled_from([0.0, -2.5]),
    fade=st.booleans(),
)
def test_a_whole_shift_is_what_interpolation_gives(start, shape, outside, fade):
    """Also where the two grids do not meet."""
    volume = np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)
    affine, to_affine = np.eye(4), np.eye(4)
    to_affine[:3, 3] = start
    expected = affine_transform(
        volume, np.eye(3), start, shape, order=1, cval=outside,
        mode="grid-constant" if fade else "constant",
    )  # fmt: skip
    found = resample(volume, affine, to_affine, shape, outside, fade)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", [0, 7, 13, 30, 47])
def test_a_2mm_scan_is_copied_exactly(orientation):
    rng = np.random.default_rng(orientation)
    affine = np.eye(4)
    affine[:3, :3] = ORIENTATIONS[orientation] * 2
    shape = (70, 64, 60)
    affine[:3, 3] = [-61.3, 17.2, 5.5]
    brain = np.zeros(shape, bool)
    brain[9:61, 3:61, 11:49] = rng.random((52, 58, 38)) > 0.2
    image = np.where(brain, rng.normal(300, 40, shape), 0).astype(np.float32)
    scan = Scan(image, brain, affine)
    slices = to_slices(scan)
    assert int(slices.brain_masks.sum()) == brain.sum()  # nothing lost, nothing twice
    np.testing.assert_array_equal(
        to_volume(slices.images, slices, scan, outside=-1.0), normalise_image(image, brain)
    )
    back = to_volume(slices.brain_masks, slices, scan)
    np.testing.assert_array_equal(back, brain.astype(np.float32))


def test_an_lps_2mm_scan_becomes_slices_by_transposing():
    rng = np.random.default_rng(0)
    brain = np.zeros((96, 96, 80), bool)
    brain[13:81, 6:91, 10:73] = True
    image = np.where(brain, rng.gamma(5, 20, brain.shape), 0).astype(np.float32)
    scan = Scan(image, brain, LPS_2MM, lesion_mask=brain & (image > 200))
    slices = to_slices(scan)
    # the box, 68 x 85 x 63, lies in the middle: one voxel to the right of where it was in x and y
    start = [(13 + 81 - 96) // 2, (6 + 91 - 96) // 2, 10]
    np.testing.assert_array_equal(slices.affine[:3, 3], np.array(start) * [-2, -2, 2])
    expected = np.roll(normalise_image(image, brain), [-i for i in start[:2]], (0, 1))[:, :, 10:73]
    np.testing.assert_array_equal(slices.images[:, 0].numpy(), expected.transpose(2, 1, 0))
    assert slices.images.dtype == torch.float32 and slices.brain_masks.dtype == torch.bool
    assert int(slices.lesion_masks.sum()) == scan.lesion_mask.sum()


def test_outside_the_slices_comes_the_value_asked_for():
    brain = np.zeros((30, 30, 30), bool)
    brain[10:20, 10:20, 10:20] = True
    image = np.where(brain, np.arange(30.0), 0).astype(np.float32)
    scan = Scan(image, brain, LPS_2MM)
    slices = to_slices(scan)
    volume = to_volume(torch.ones(slices.images.shape), slices, scan, outside=7.0)
    assert (volume[:, :, 10:20] == 1).all() and (volume[:, :, :10] == 7).all()
    with pytest.raises(ValueError, match=r"expected values for every slice.*\(10, 1, 96, 96\)"):
        to_volume(torch.ones(9, 1, 96, 96), slices, scan)


def test_the_picture_grows_with_the_brain():
    for length, side in ((96, 96), (97, 112), (112, 112), (113, 128)):
        brain = np.zeros((60, 120, 8), bool)
        brain[5:50, 4 : 4 + length, 2:6] = True
        image = np.where(brain, np.arange(120.0)[:, None], 0).astype(np.float32)
        slices = to_slices(Scan(image, brain, LPS_2MM))
        assert slices.images.shape == (4, 1, side, side)
        assert int(slices.brain_masks.sum()) == brain.sum()


def test_the_background_darkens_no_rim():
    """A brain of one even grey, on a fine tilted grid, is that grey up to its last pixel."""
    turn = Rotation.from_euler("xyz", [11, 7, -9], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * 0.9
    affine[:3, 3] = CENTRE - affine[:3, :3] @ [45, 45, 45]
    scan = scan_on(affine, (90, 90, 90), lambda p: 500.0 + 1e-3 * p[..., 0])
    slices = to_slices(scan)
    grey = slices.in_scan_units(slices.images)
    assert (grey[slices.brain_masks] - 500).abs().max() < 0.1
    back = to_volume(grey * slices.brain_masks, slices, scan)
    assert np.abs(back - 500)[scan.brain_mask].max() < 0.1


def test_sampling_a_fine_scan_does_not_alias():
    """A 1 mm checkerboard is grey at 2 mm, not black or white."""
    brain = np.zeros((60, 60, 60), bool)
    brain[5:55, 5:55, 5:55] = True
    board = np.indices(brain.shape).sum(0) % 2 * 100.0
    board[30, 30, 10:50] += 1000  # gives the range something to hold on to
    scan = Scan(np.where(brain, board, 0).astype(np.float32), brain, np.diag([1.0, 1, 1, 1]))
    slices = to_slices(scan, "median")
    grey = slices.in_scan_units(slices.images)[slices.brain_masks]
    assert grey.quantile(0.05) > 40 and grey.quantile(0.9) < 60


def test_a_brain_too_small_to_see_is_refused():
    brain = np.zeros((9, 9, 9), bool)
    brain[4, 4, 4] = True
    with pytest.raises(ScanError, match="expected a brain of about a litre"):
        to_slices(Scan(brain.astype(np.float32), brain, np.diag([0.5, 0.5, 0.5, 1])))
    with pytest.raises(ScanError, match="expected contrast inside the brain"):
        to_slices(Scan(np.ones((9, 9, 9), np.float32), np.ones((9, 9, 9), bool), LPS_2MM))


# --- intensities --------------------------------------------------------------------------------


def test_percentile_range_and_its_inverse():
    rng = np.random.default_rng(0)
    image = rng.normal(50, 20, (20, 20, 20)).astype(np.float32)
    brain = rng.random(image.shape) > 0.5
    scaled = normalise_image(image, brain)
    low, high = intensity_range(image, brain)
    values = np.sort(image[brain])
    assert np.mean(values < low) == pytest.approx(0.01, abs=1e-3)
    assert np.mean(values > high) == pytest.approx(0.01, abs=1e-3)
    assert scaled.dtype == np.float32 and scaled.min() == -1 and scaled.max() == 1
    assert (scaled[~brain] == -1).all()
    kept = brain & (image > low) & (image < high)
    np.testing.assert_allclose(denormalise(scaled, low, high)[kept], image[kept], rtol=1e-4)


@pytest.mark.parametrize("method", ["median", "mode"])
@pytest.mark.parametrize("share", [0.1, 0.15])
def test_a_large_lesion_moves_the_percentiles_but_not_the_robust_ranges(method, share):
    """A bright ball on the left of the average T2 brain, 1.3 times as bright as its CSF."""
    template = load_template("t2")
    healthy, brain = template.image, template.brain_mask
    distance = np.linalg.norm(world(brain.shape, template.affine) - [-35, -20, 20], axis=-1)
    lesion = brain & (distance < np.quantile(distance[brain], share))
    ill = np.where(lesion, 1.3 * np.percentile(healthy[brain], 99), healthy)
    tissue = brain & ~lesion

    def shift_of_healthy_tissue(name):
        return np.abs(normalise_image(healthy, brain, name) - normalise_image(ill, brain, name))[
            tissue
        ].mean()

    assert shift_of_healthy_tissue("percentile") > 0.2
    assert shift_of_healthy_tissue(method) < 0.4 * shift_of_healthy_tissue("percentile")


@pytest.mark.parametrize("method", ["median", "mode"])
def test_robust_ranges_resemble_the_percentile_range(method):
    template = load_template("t2")
    image, brain = template.image, template.brain_mask
    low, high = intensity_range(image, brain)
    robust = intensity_range(image, brain, method)
    np.testing.assert_allclose(robust, (low, high), atol=0.1 * (high - low))
    # follows gain and offset, as a range must
    moved = intensity_range(3 * image - 40, brain, method)
    np.testing.assert_allclose(moved, [3 * v - 40 for v in robust], rtol=0.02)


def test_ranges_that_do_not_exist():
    image = np.ones((4, 4))
    with pytest.raises(ValueError, match="percentile, median or mode, got 'zscore'"):
        normalise_image(image, image > 0, "zscore")
    with pytest.raises(ValueError, match="got an empty one"):
        normalise_image(image, image > 1)
    for method in ("percentile", "median", "mode"):
        with pytest.raises(ValueError, match="expected contrast"):
            normalise_image(image, image > 0, method)


# --- reading ------------------------------------------------------------------------------------


def ball(shape=(24, 26, 28), radius=9):
    centre = (np.array(shape) - 1) / 2
    distance = np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - centre, axis=-1)
    return distance <= radius


def small_image():
    rng = np.random.default_rng(3)
    return np.where(ball(), rng.integers(50, 400, (24, 26, 28)), 0).astype(np.int16)


def write(path, data, affine=LPS_2MM, kind=nib.Nifti1Image, **header):
    image = kind(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def patched(path, offset, fmt, *values):
    """The same file with some header bytes replaced: a header that lies."""
    content = bytearray(path.read_bytes())
    struct.pack_into(fmt, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_reads_any_dtype(tmp_path, suffix, dtype):
    data = np.minimum(small_image(), 255).astype(dtype)
    scan = load_scan(write(tmp_path / f"a{suffix}", data))
    assert scan.image.dtype == np.float32 and scan.name == "a"
    np.testing.assert_array_equal(scan.image, data)
    np.testing.assert_array_equal(scan.affine, LPS_2MM)
    np.testing.assert_array_equal(scan.brain_mask, ball())


def test_reads_other_kinds_of_the_format(tmp_path):
    data = small_image()
    one_frame = load_scan(write(tmp_path / "frame.nii.gz", data[..., None]))
    second = load_scan(write(tmp_path / "two.nii.gz", data, kind=nib.Nifti2Image))
    swapped = nib.Nifti1Image(data, LPS_2MM, nib.Nifti1Header(endianness=">"))
    nib.save(swapped, tmp_path / "big.nii")
    for scan in (one_frame, second, load_scan(tmp_path / "big.nii")):
        np.testing.assert_array_equal(scan.image, data)


def test_slope_and_intercept_are_applied(tmp_path):
    path = write(tmp_path / "a.nii", small_image())
    patched(path, 112, "<2f", 0.5, -10)  # scl_slope, scl_inter
    brain = write(tmp_path / "brainmask.nii.gz", ball().astype(np.uint8))
    np.testing.assert_array_equal(load_scan(path, brain).image, small_image() * 0.5 - 10)


def test_masks_are_read_and_labels_count(tmp_path):
    image = write(tmp_path / "a.nii.gz", small_image())
    labels = np.zeros((24, 26, 28), np.uint8)
    labels[10:12, 10, 10], labels[13, 10, 10] = 1, 4
    lesion = write(tmp_path / "seg.nii.gz", labels)
    scan = load_scan(image, lesion_mask=lesion)
    np.testing.assert_array_equal(scan.lesion_mask, labels > 0)
    assert scan.lesion_mask.dtype == bool


def test_brain_without_a_mask_file():
    image = small_image().astype(np.float32)
    image[tuple(np.argwhere(ball())[0])] = -35.0  # bias correction, on the rim
    image[12, 13, 16] = 0.0  # a hole
    image[0, 0, :3] = 9.0  # a crumb
    np.testing.assert_array_equal(find_brain(image), ball())
    assert not find_brain(np.zeros((3, 3, 3))).any()


def no_file(tmp_path):
    return tmp_path / "missing.nii.gz"


def a_folder(tmp_path):
    (tmp_path / "folder.nii").mkdir()
    return tmp_path / "folder.nii"


def zero_bytes(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    return tmp_path / "a.nii.gz"


def text(tmp_path):
    (tmp_path / "a.nii").write_text("patient, age\n" * 99)
    return tmp_path / "a.nii"


def text_called_gz(tmp_path):
    (tmp_path / "a.nii.gz").write_text("patient, age\n" * 99)
    return tmp_path / "a.nii.gz"


def other_ending(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    return tmp_path / "a.png"


def truncated(tmp_path):
    path = write(tmp_path / "a.nii", small_image())
    path.write_bytes(path.read_bytes()[:9000])
    return path


def truncated_gz(share):
    def make(tmp_path):
        path = write(tmp_path / "a.nii.gz", small_image())
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    make.__name__ = f"truncated_gz_{share}"
    return make


def flipped_byte_gz(tmp_path):
    path = write(tmp_path / "a.nii", small_image())
    content = bytearray(gzip.compress(path.read_bytes()))
    content[-6] ^= 1  # in the checksum
    (tmp_path / "a.nii.gz").write_bytes(content)
    return tmp_path / "a.nii.gz"


def of(data, **header):
    def make(tmp_path):
        return write(tmp_path / "a.nii.gz", data, **header)

    return make


def lying(offset, fmt, *values):
    def make(tmp_path):
        return patched(write(tmp_path / "a.nii", small_image()), offset, fmt, *values)

    return make


def with_value(value):
    data = small_image().astype(np.float32)
    data[12, 13, 14] = value
    return data


SFORM = 280  # byte of srow_x; dim lies at 40, pixdim at 76, vox_offset at 108
BAD_SCANS = [
    (no_file, "no such file"),
    (a_folder, "got a folder"),
    (zero_bytes, "expected a NIfTI header, got 0 bytes"),
    (text, "expected a NIfTI header, got another format"),
    (text_called_gz, "got a broken file"),
    (other_ending, "ending in .nii or .nii.gz"),
    (truncated, "got a broken file .*bytes of"),
    (truncated_gz(0.5), "got a broken file"),
    (truncated_gz(0.999), "got a broken file"),
    (truncated_gz(0.002), "got a broken file|0 bytes"),
    (flipped_byte_gz, "got a broken file"),
    (of(np.ones((30, 30), np.uint8)), r"flat one of shape \(30, 30\)"),
    (of(np.ones((30, 30, 1), np.uint8)), r"flat one of shape \(30, 30, 1\)"),
    (of(np.zeros((24, 26, 28, 2), np.uint8)), r"several frames, shape \(24, 26, 28, 2\)"),
    (of(with_value(np.nan)), "got 1 voxels of NaN"),
    (of(with_value(np.inf)), "got 1 voxels of NaN or inf"),
    (of(with_value(1.0).astype(np.float64) * 1e300), "of NaN or infinity"),
    (of(np.full((8, 8, 8), 7, np.uint8)), "got the constant 7"),
    (of(np.zeros((8, 8, 8), np.uint8)), "got the constant 0"),
    (of(with_value(1.0).astype(np.complex64)), "real numbers, got voxels of type code 32"),
    (lying(40, "<4h", 3, 24, 0, 28), "an empty volume"),
    (lying(40, "<4h", 3, 24, -26, 28), "an empty volume"),
    (lying(40, "<h", 0), "expected a NIfTI header|expected 3 axes"),
    (lying(40, "<4h", 3, 30000, 30000, 30000), "at most 134217728 voxels"),
    (lying(80, "<f", -2.0), r"positive voxel sizes, header says \[-2.0, 2.0, 2.0\]"),
    (lying(84, "<f", 0.0), r"positive voxel sizes, header says \[2.0, 0.0, 2.0\]"),
    (lying(84, "<f", np.nan), "positive voxel sizes"),
    (lying(88, "<f", 50.0), "at most 1000 mm an axis"),
    (lying(SFORM, "<f", 500.0), "at most 1000 mm an axis"),
    (lying(SFORM, "<f", np.nan), "finite affine"),
    (lying(SFORM, "<4f", 0, 0, 0, 0), "singular"),
    (lying(SFORM, "<8f", 1, 1, 0, 0, 1, 1, 0, 0), "singular"),
    (lying(108, "<f", np.nan), "the voxels' place in the file"),
    (lying(108, "<f", 1e6), "got a broken file"),
    (lying(70, "<h", 9999), "real numbers, got voxels of type code 9999"),
]


@pytest.mark.parametrize(("make", "message"), BAD_SCANS)
def test_bad_scans_are_refused_in_one_line(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(ScanError, match=message) as caught:
        load_scan(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line


def test_absurd_sizes_take_no_memory(tmp_path):
    path = lying(40, "<4h", 3, 30000, 30000, 30000)(tmp_path)
    tracemalloc.start()
    with pytest.raises(ScanError):
        load_scan(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_bad_masks_are_refused_in_one_line(tmp_path):
    image = write(tmp_path / "a.nii.gz", small_image())
    empty = write(tmp_path / "empty.nii.gz", np.zeros((24, 26, 28), np.uint8))
    smaller = write(tmp_path / "smaller.nii.gz", np.ones((24, 26, 27), np.uint8))
    moved_affine = LPS_2MM.copy()
    moved_affine[0, 3] = 2.0
    moved = write(tmp_path / "moved.nii.gz", ball().astype(np.uint8), moved_affine)
    for masks, path, message in (
        ({"brain_mask": empty}, empty, "got an empty one"),
        ({"brain_mask": smaller}, smaller, r"shape \(24, 26, 28\), got \(24, 26, 27\)"),
        ({"brain_mask": moved}, moved, "an affine 2.00 mm away"),
        ({"lesion_mask": smaller}, smaller, "expected the grid of"),
        ({"lesion_mask": moved}, moved, "expected the grid of"),
        ({"lesion_mask": tmp_path / "no.nii"}, tmp_path / "no.nii", "no such file"),
    ):
        with pytest.raises(ScanError, match=message) as caught:
            load_scan(image, **masks)
        assert str(caught.value).startswith(str(path))
    # rounding of a stored affine is no other grid, and a healthy scan has an empty lesion mask
    close_affine = LPS_2MM + 1e-6
    close_affine[3] = [0, 0, 0, 1]
    close = write(tmp_path / "close.nii.gz", ball().astype(np.uint8), close_affine)
    assert not load_scan(image, close, empty).lesion_mask.any()


def test_doubtful_orientations_are_reported(tmp_path):
    path = write(tmp_path / "a.nii", small_image())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "a.nii: the brain measures")
        load_scan(path)
    patched(path, SFORM, "<f", 2.0)  # the qform keeps -2: left and right disagree
    with pytest.warns(ScanWarning, match="qform says LPS, sform says RPS"):
        scan = load_scan(path)
    assert scan.affine[0, 0] == 2.0
    patched(path, 252, "<2h", 0, 0)  # qform_code, sform_code
    with pytest.warns(ScanWarning, match="names no orientation"):
        load_scan(path)


# --- skulls -------------------------------------------------------------------------------------


def brain_and_scalp():
    """A brain of 130 x 165 x 125 mm, a gap of bone, a closed scalp around it; 2 mm."""
    shape = np.array([96, 112, 90])
    points = (np.moveaxis(np.indices(shape), 0, -1) - (shape - 1) / 2) * 2.0

    def ellipsoid(*diameters):
        return ((points / (np.array(diameters) / 2)) ** 2).sum(-1) <= 1

    brain = ellipsoid(130, 165, 125)
    scalp = ellipsoid(160, 200, 160) & ~ellipsoid(144, 184, 144)
    return brain, scalp


def test_a_head_is_told_from_a_brain(tmp_path):
    brain, scalp = brain_and_scalp()
    head = binary_fill_holes(scalp)  # bone is dark, not 0
    grey = np.random.default_rng(0).integers(100, 200, brain.shape).astype(np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stripped = load_scan(write(tmp_path / "brain.nii.gz", grey * brain))
    np.testing.assert_array_equal(stripped.brain_mask, brain)

    path = write(tmp_path / "head.nii.gz", np.where(brain | scalp, grey, np.int16(9) * head))
    with pytest.warns(ScanWarning, match=r"head.nii.gz: .* litres; .* strip it or give a brain"):
        load_scan(path)
    mask = write(tmp_path / "brainmask.nii.gz", brain.astype(np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scan(path, mask)  # the mask says where the brain is: nothing to warn of


def test_each_sign_of_a_skull():
    brain, _ = brain_and_scalp()
    assert skull_signs(brain, LPS_2MM) is None
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(brain))
    assert skull_signs(brain[box], LPS_2MM) is None  # tightly cropped
    assert "litres" in skull_signs(brain, LPS_2MM * [1.2, 1.2, 1.2, 1])
    assert "fills" in skull_signs(np.ones((30, 30, 30), bool), LPS_2MM)
    assert "wide" in skull_signs(brain[..., 40:50], LPS_2MM * [1.3, 1.3, 1, 1])
    turned = np.zeros((4, 4))  # voxel axes run up, to the right, to the front
    turned[[2, 0, 1, 3], [0, 1, 2, 3]] = [2.0, 2.6, 2.0, 1.0]
    assert "213 mm wide" in skull_signs(brain[..., 40:50], turned)


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        (bool, np.uint8),
        (np.float64, np.float32),
        (np.float16, np.float32),
        (np.int64, np.int32),
        (np.int16, np.int16),
    ],
)
def test_saved_volumes_come_back(tmp_path, dtype, stored):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, 5, 9], degrees=True).as_matrix() @ np.diag(
        [-1, 2, 3]
    )
    affine[:3, 3] = [3, -40, 12]
    data = (small_image() > 100).astype(dtype)
    image = nib.load(save_volume(tmp_path / "map.nii.gz", data, affine))
    assert image.get_data_dtype() == stored
    np.testing.assert_array_equal(image.get_fdata(), data)
    for form in (image.get_sform(), image.get_qform(), image.affine):
        np.testing.assert_allclose(form, affine, atol=1e-5)
    assert image.header["sform_code"] > 0 and image.header["qform_code"] > 0
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = save_volume(tmp_path / "map.nii.gz", np.zeros((3, 3, 3)), np.eye(4))
    before = path.read_bytes()

    def interrupted(part, path):
        assert Path(part).stat().st_size > 0
        raise error

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else ScanError):
        save_volume(path, np.ones((3, 3, 3)), np.eye(4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ScanError, match="cannot be written"):
        save_volume(tmp_path / "file" / "map.nii.gz", np.ones((3, 3, 3)), np.eye(4))


# --- a real patient -----------------------------------------------------------------------------


@needs_real
def test_a_real_patient_in_and_out():
    folder = Path(REAL) / "mslub_patient26"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = load_scan(folder / "T2.nii.gz", lesion_mask=folder / "lesion_mask.nii.gz")
    assert (scan.image[scan.brain_mask] < 0).any()  # kept, not cut out of the brain
    assert not (scan.lesion_mask & ~scan.brain_mask).any()
    slices = to_slices(scan)
    assert slices.images.shape[0] in (60, 61, 62)  # 121 mm tall
    brain_ml, lesion_ml = (m.sum() * 8e-3 for m in (slices.brain_masks, slices.lesion_masks))
    assert brain_ml == pytest.approx(scan.brain_mask.sum() * 1e-3, rel=0.01)
    assert lesion_ml == pytest.approx(8.2, rel=0.15)
    # going to 2 mm and back is a blur, and nothing but a blur
    back = to_volume(slices.images, slices, scan)
    once = normalise_image(scan.image, scan.brain_mask)
    assert np.corrcoef(back[scan.brain_mask], once[scan.brain_mask])[0, 1] > 0.88
    for method in ("median", "mode"):
        robust = to_slices(scan, method)
        width = slices.high - slices.low
        assert abs(robust.low - slices.low) < 0.1 * width
        assert abs(robust.high - slices.high) < 0.1 * width
