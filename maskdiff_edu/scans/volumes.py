"""Scans in, normalised 2 mm slices, and back onto the scan's own grid.

For example::

    scan = load_scan("patient_t2.nii.gz")
    slices = to_slices(scan)                                # (n, 1, 96, 96) in [-1, 1]
    anomaly_map = to_volume(residual, slices, scan)         # scan.image.shape
    save_volume("anomaly.nii.gz", anomaly_map, scan.affine)
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from maskdiff_edu.errors import ScanError, ScanWarning, readable
from maskdiff_edu.scans.brain import MIN_BRAIN_LITRES, find_brain, signs_of_loss, skull_signs
from maskdiff_edu.scans.grids import (
    anti_alias,
    bounding_box,
    crop_to,
    resample,
    voxel_sizes,
    working_grid,
)
from maskdiff_edu.scans.intensity import apply_range, denormalise, intensity_range
from maskdiff_edu.scans.nifti import distance, read_forms, read_nifti

if TYPE_CHECKING:
    from torch import Tensor

MAX_BRAIN_EXTENT = 400.0  #: mm; a head with its neck is shorter


@dataclass(frozen=True, eq=False)
class Scan:
    """A skull-stripped scan on its own grid."""

    image: np.ndarray  #: (n, m, k) float32, any unit
    brain_mask: np.ndarray  #: (n, m, k) bool
    affine: np.ndarray  #: (4, 4) voxel -> world mm, RAS+ as in NIfTI
    name: str = "scan"
    lesion_mask: np.ndarray | None = None  #: (n, m, k) bool, where experts marked lesions


@dataclass(frozen=True, eq=False)
class Slices:
    """A scan as axial 2 mm slices: row 0 anterior, column 0 the patient's right."""

    images: "Tensor"  #: (n, 1, h, w) float32 in [-1, 1], background -1
    brain_masks: "Tensor"  #: (n, 1, h, w) bool
    affine: np.ndarray  #: (4, 4) working voxel (x, y, z) -> world mm; row = y, col = x, slice = z
    low: float  #: the scan's intensity that became -1
    high: float  #: the scan's intensity that became 1
    lesion_masks: "Tensor | None" = None  #: (n, 1, h, w) bool, where the scan has a lesion mask

    def in_scan_units(self, values: "Tensor") -> "Tensor":
        """Values in [-1, 1], such as a reconstruction, in the scan's own unit."""
        return denormalise(values, self.low, self.high)


def load_scan(path, brain_mask=None, lesion_mask=None) -> Scan:
    """Read a scan, and its masks where there are any, from NIfTI files; all checked.

    Without `brain_mask` the brain is what is not 0 (large pieces, holes filled): the scan has to
    be skull-stripped. Mask voxels above 0.5 are inside, so any label from 1 up counts.

    Raises: `ScanError` for a file that cannot be used, a constant scan, an empty brain mask, or a
    mask on another grid. Warns with `ScanWarning` where the skull seems to be still there, the
    brain is small, parts of it were left out, or a lesion lies outside of it.
    """
    path = Path(path)
    image, affine = read_nifti(path, finite=brain_mask is None)
    source = path
    if brain_mask is not None:
        brain, source = _read_mask(brain_mask, path, image.shape), Path(brain_mask)
        image = _finite_inside(path, image, brain)
    if image.min() == image.max():
        raise ScanError(f"{path}: expected an image, got the constant {image.flat[0]:g}")
    if brain_mask is None:
        brain = find_brain(image)
        if lost := signs_of_loss(image, brain):
            _warn(path, f"{lost}; give a brain mask if that is wrong")
    if not brain.any():
        raise ScanError(f"{source}: expected a brain mask that holds voxels, got an empty one")
    if signs := skull_signs(brain, affine):
        _warn(source, f"{signs}; this seems to be no skull-stripped brain; strip it or give a "
                      "brain mask")  # fmt: skip
    litres = brain.sum() * np.prod(voxel_sizes(affine)) * 1e-6
    if litres < MIN_BRAIN_LITRES:
        sizes = " x ".join(f"{mm:.3g}" for mm in voxel_sizes(affine))
        _warn(source, f"the brain measures {litres:.2g} litres with voxels of {sizes} mm; if it is "
                      "a whole one, the voxel sizes are wrong, and so is the map")  # fmt: skip
    lesion = None
    if lesion_mask is not None:
        lesion = _read_mask(lesion_mask, path, image.shape)
        if outside := (lesion & ~brain).sum():
            _warn(Path(lesion_mask), f"{outside / lesion.sum():.1%} of the lesion lie outside the "
                                     "brain mask, and in no metric")  # fmt: skip
    return Scan(image, brain, affine, scan_name(path), lesion)


def _warn(path: Path, message: str) -> None:
    warnings.warn(f"{readable(path.name)}: {message}", ScanWarning, stacklevel=3)


def _finite_inside(path: Path, image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The image with 0 for what is no number outside the brain, as some tools write it."""
    is_number = np.isfinite(image)
    if bad := int((brain & ~is_number).sum()):
        raise ScanError(
            f"{path}: expected finite values inside the brain mask, got {bad} voxels of NaN or "
            "infinity"
        )
    return np.where(is_number, image, np.float32(0))


def scan_name(path) -> str:
    """File name without `.nii` or `.nii.gz`; what is not UTF-8 in it becomes a mark."""
    name = readable(Path(path).name)
    return name[: name.lower().rindex(".nii")]


def _read_mask(path, scan_path: Path, shape: tuple[int, ...]) -> np.ndarray:
    values, affine = read_nifti(path)
    if values.shape != shape:
        raise ScanError(
            f"{path}: expected the grid of {scan_path}, shape {shape}, got {values.shape}"
        )
    # Any of the forms: some tools keep only one of the two.
    apart = min(distance(affine, form, shape) for form in read_forms(scan_path))
    if apart > 0.1 * voxel_sizes(affine).min():
        raise ScanError(
            f"{path}: expected the grid of {scan_path}, got an affine {apart:.2f} mm away"
        )
    return values > 0.5


def to_slices(scan: Scan, normalise: str = "percentile") -> Slices:
    """A scan as normalised axial slices of the 2 mm working grid.

    Every slice that holds brain is there; the crop follows the brain mask's box (96x96, or the next
    multiple of 16). Finer scans are smoothed before sampling. Only brain voxels are averaged, so
    the brain's rim is not darkened by the background. A scan on a 2 mm LPS grid is copied exactly.

    `normalise` names the method, see `intensity.intensity_range`.
    Raises: `ScanError` if the brain is smaller than a working voxel or has no contrast,
    `SettingsError` for another method.
    """
    from torch import from_numpy  # not needed by processes that only make brains, and slow to load

    images, brain_masks, lesions, affine, low, high = slice_arrays(scan, normalise)
    lesion_masks = None if lesions is None else from_numpy(lesions)
    return Slices(from_numpy(images), from_numpy(brain_masks), affine, low, high, lesion_masks)


def _extent(brain_mask: np.ndarray, affine: np.ndarray) -> float:
    """The longest side in mm of the box of voxels that holds a brain."""
    lengths = [axis.stop - axis.start for axis in bounding_box(brain_mask)]
    return float(np.max(lengths * voxel_sizes(affine)))


class SliceArrays(NamedTuple):
    """What `Slices` holds, as NumPy arrays."""

    images: np.ndarray
    brain_masks: np.ndarray
    lesion_masks: np.ndarray | None
    affine: np.ndarray
    low: float
    high: float


def slice_arrays(scan: Scan, normalise: str = "percentile") -> SliceArrays:
    """`to_slices` without torch; arguments and errors are the same."""
    if not scan.brain_mask.any():
        raise ScanError(f"{scan.name}: expected a brain mask that holds voxels, got an empty one")
    extent = _extent(scan.brain_mask, scan.affine)
    if extent > MAX_BRAIN_EXTENT:
        raise ScanError(
            f"{scan.name}: expected a brain of at most {MAX_BRAIN_EXTENT:.0f} mm, got {extent:.0f}"
        )
    box, affine = crop_to(scan.brain_mask, scan.affine)
    brain = scan.brain_mask[box]
    occupancy = anti_alias(brain, affine)
    grid = working_grid(occupancy, affine)
    if grid is None:
        litres = scan.brain_mask.sum() * np.prod(voxel_sizes(scan.affine)) * 1e-6
        raise ScanError(f"{scan.name}: expected a brain of about a litre, got {litres:.2g}")

    on_grid = [
        resample(volume, affine, *grid, fade=True)
        for volume in (occupancy, anti_alias(scan.image[box] * brain, affine))
    ]
    inside = on_grid[0] > 0.5
    image = np.divide(on_grid[1], on_grid[0], where=inside, out=np.zeros_like(on_grid[0]))
    try:
        low, high = intensity_range(image, inside, normalise)
    except ValueError as error:
        raise ScanError(f"{scan.name}: {error}") from error

    lesions = None
    if scan.lesion_mask is not None:
        lesion = anti_alias(scan.lesion_mask[box], affine)
        lesions = _as_slices(resample(lesion, affine, *grid, fade=True) > 0.5)
    images = _as_slices(apply_range(image, inside, low, high))
    return SliceArrays(images, _as_slices(inside), lesions, grid[0], low, high)


def to_volume(values: "Tensor", slices: Slices, scan: Scan, outside: float = 0.0) -> np.ndarray:
    """A map or reconstruction back on the scan's own grid, by linear interpolation.

    `values` `(n, 1, h, w)` on the grid of `slices`; returns float32 of `scan.image.shape`, with
    `outside` where the working grid does not reach. Inside the brain only brain voxels are
    averaged, so that the rim is not mixed with the background.
    """
    if values.shape != slices.brain_masks.shape:
        expected, got = tuple(slices.brain_masks.shape), tuple(values.shape)
        raise ValueError(f"expected values for every slice, shape {expected}, got {got}")
    working = _as_volume(values)
    inside = _as_volume(slices.brain_masks)
    volume = resample(working, slices.affine, scan.affine, scan.image.shape, outside)

    box = bounding_box(scan.brain_mask)
    brain = scan.brain_mask[box]
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
    weight = resample(inside, slices.affine, affine, brain.shape, fade=True)
    total = resample(working * inside, slices.affine, affine, brain.shape, fade=True)
    np.divide(total, weight, where=brain & (weight > 1e-3), out=volume[box])
    return volume


def _as_slices(volume: np.ndarray) -> np.ndarray:
    """`(x, y, z)` -> `(n, 1, h, w)`."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0)[:, None])


def _as_volume(slices: "Tensor") -> np.ndarray:
    """`(n, 1, h, w)` -> `(x, y, z)`."""
    return slices.detach().float().cpu().numpy()[:, 0].transpose(2, 1, 0)
