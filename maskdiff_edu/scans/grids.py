"""From a scan's own grid to the 2 mm working grid and back."""

import numpy as np
from scipy import ndimage

WORKING_MM = 2.0
IN_PLANE = 96  #: rows and columns of a slice, unless the brain is larger
_FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian of sigma 1


def voxel_sizes(affine: np.ndarray) -> np.ndarray:
    """Length in mm of a step along each voxel axis, `(3,)`."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def working_affine(origin: np.ndarray) -> np.ndarray:
    """Affine of a working grid whose voxel (0, 0, 0) lies at `origin` (world mm); axes LPS."""
    affine = np.diag([-WORKING_MM, -WORKING_MM, WORKING_MM, 1.0])
    affine[:3, 3] = origin
    return affine


def crop_to(region: np.ndarray, affine: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of `region` with room for smoothing around it, and the affine of that box."""
    room = np.ceil(4 * _smoothing(affine)).astype(int) + 1
    box = bounding_box(region)
    starts = [max(axis.start - n, 0) for axis, n in zip(box, room, strict=True)]
    cut = tuple(slice(i, axis.stop + n) for i, axis, n in zip(starts, box, room, strict=True))
    moved = affine.copy()
    moved[:3, 3] = affine[:3, :3] @ starts + affine[:3, 3]
    return cut, moved


def bounding_box(region: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds every `True` voxel; `region` holds at least one."""
    box = []
    for axis in range(region.ndim):
        held = np.flatnonzero(region.any(tuple(i for i in range(region.ndim) if i != axis)))
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(box)


def anti_alias(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Smoothed so that sampling at 2 mm does not alias; axes already as coarse stay untouched.

    The Gaussian is the one that widens a voxel's response to that of a 2 mm voxel
    (Cardoso et al. 2015, "Scale factor point spread function matching").
    """
    return ndimage.gaussian_filter(
        volume.astype(np.float32), _smoothing(affine), mode="constant", truncate=4
    )


def _smoothing(affine: np.ndarray) -> np.ndarray:
    ratio = WORKING_MM / voxel_sizes(affine)
    return np.sqrt(np.maximum(ratio**2 - 1, 0)) / _FWHM  # in voxels, per axis


def resample(
    volume: np.ndarray,
    affine: np.ndarray,
    to_affine: np.ndarray,
    to_shape: tuple[int, ...],
    outside: float = 0.0,
    fade: bool = False,
) -> np.ndarray:
    """Linear interpolation of `volume` at the voxel centres of another grid, float32.

    Where the two grids share their voxel centres the values are copied exactly. Beyond the outer
    voxel centres comes `outside`; with `fade` it is reached over one voxel, not at once.
    """
    matrix = np.linalg.inv(affine) @ to_affine  # target voxel -> source voxel
    nearest = np.round(matrix)
    tolerance = np.array([1e-5, 1e-5, 1e-5, 1e-3])  # of a voxel: rounding of a stored affine
    matrix = np.where(np.abs(matrix - nearest) < tolerance, nearest, matrix)
    volume = volume.astype(np.float32)
    if np.array_equal(matrix[:3, :3], np.eye(3)) and np.array_equal(matrix, nearest):
        return _cut_out(volume, matrix[:3, 3].astype(int), to_shape, outside)
    return ndimage.affine_transform(
        volume,
        matrix[:3, :3],
        matrix[:3, 3],
        to_shape,
        order=1,
        mode="grid-constant" if fade else "constant",
        cval=outside,
    )


def _cut_out(
    volume: np.ndarray, start: np.ndarray, shape: tuple[int, ...], outside: float
) -> np.ndarray:
    """The box of `shape` whose first voxel is voxel `start` of `volume`; `outside` beyond it.

    What interpolation gives for a whole shift, at a fraction of the time.
    """
    cut = np.full(shape, outside, volume.dtype)
    source, target = [], []
    for first, n, size in zip(start, shape, volume.shape, strict=True):
        low = max(0, -first)
        high = max(low, min(n, size - first))
        source.append(slice(low + first, high + first))
        target.append(slice(low, high))
    cut[tuple(target)] = volume[tuple(source)]
    return cut


def working_grid(
    occupancy: np.ndarray, affine: np.ndarray
) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """Affine and shape `(w, h, n)` of the working grid around a brain; None if none is left.

    `occupancy` is the smoothed brain mask on the scan's grid. Voxel centres fall on a voxel centre
    of the scan, so that a 2 mm LPS scan is copied and not interpolated. The brain's box is centred
    in a square of 96 voxels, or of the next multiple of 16 that leaves two voxels on each side;
    along z the grid spans exactly the slices that hold brain.
    """
    shape = np.array(occupancy.shape)
    anchor = affine @ [*(shape // 2), 1.0]
    lattice = working_affine(anchor[:3])
    # 1. every working voxel that the scan may touch
    corners = np.array(np.meshgrid(*[(-1, n) for n in shape], indexing="ij")).reshape(3, -1)
    reach = (np.linalg.inv(lattice) @ affine)[:3] @ np.vstack([corners, np.ones(8)])
    low, high = np.floor(reach.min(1)), np.ceil(reach.max(1))
    start = working_affine((lattice @ [*low, 1])[:3])
    span = tuple((high - low + 1).astype(int))
    brain = resample(occupancy, affine, start, span, fade=True) > 0.5
    if not brain.any():
        return None
    # 2. the brain's box among them, centred
    box = bounding_box(brain)
    widest = max(axis.stop - axis.start for axis in box[:2])
    side = max(IN_PLANE, 16 * -(-widest // 16))
    first = [(axis.start + axis.stop - side) // 2 for axis in box[:2]] + [box[2].start]
    return working_affine((start @ [*first, 1])[:3]), (side, side, box[2].stop - box[2].start)
