"""From a scan and its pseudo-healthy twin to an anomaly map, a threshold and scores.

Every detector finishes with `postprocess`, so that two maps differ by their method and not by
their clean-up. Arrays are NumPy stacks of slices `(n, h, w)` on the 2 mm grid; only `residual`
also takes torch tensors, of any shape. A map is 0 where nothing speaks for an anomaly, and a
voxel counts as *detected* when its score lies strictly above the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from scipy import ndimage

from maskdiff_edu.errors import require_number

Array = TypeVar("Array", np.ndarray, torch.Tensor)
ResidualKind = Literal["positive", "absolute"]
RESIDUAL_KINDS = get_args(ResidualKind)


@dataclass(frozen=True)
class PostProcessing:
    """Settings of `postprocess`; `PostProcessing(erosions=0, median_size=1)` leaves a map as it is.

    The paper erodes 3 times and takes a 5x5x5 median. At 2 mm that median spans 10 mm and erases
    multiple sclerosis lesions, and three erosions cut 6 mm off the cortex: hence less of both.
    """

    erosions: int = 1  #: voxels (2 mm) taken off the brain's rim, where edges never match
    median_size: int = 3  #: edge of the median's cube in voxels, odd; 1 means no filter
    gaussian_sigma: float = 0.0  #: of a Gaussian after the median, in voxels; 0 means none

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that no brain has, and an even median."""
        require_number("erosions", self.erosions, 0, 50, whole=True)
        require_number("median_size", self.median_size, 1, 21, whole=True)
        require_number("gaussian_sigma", self.gaussian_sigma, 0, 10)
        if self.median_size % 2 == 0:
            raise ValueError(f"median_size must be odd, got {self.median_size}")


def residual(x: Array, x_0_hat: Array, kind: ResidualKind = "positive") -> Array:
    """How far the scan `x` departs from its reconstruction `x_0_hat`, voxel by voxel.

    Args:
        x, x_0_hat: NumPy arrays or torch tensors of one shape, intensities in [-1, 1].
        kind: `"positive"` keeps what is brighter than the reconstruction, max(x - x_0_hat, 0);
            it suits lesions known to be bright and must be declared before looking.
            `"absolute"` is |x - x_0_hat|: dark lesions count too, and so does every mismatch.

    Returns:
        The same type and shape as `x`, in [0, 2] when both images are in [-1, 1].

    Raises:
        ValueError: unequal shapes, or an unknown kind.

    Example:
        >>> residual(np.array([0.5, -0.5]), np.array([0.25, 0.0])).tolist()
        [0.25, 0.0]
    """
    if x.shape != x_0_hat.shape:
        raise ValueError(
            f"x and x_0_hat must have one shape, got {tuple(x.shape)} and {tuple(x_0_hat.shape)}"
        )
    if kind == "positive":
        return (x - x_0_hat).clip(0)
    if kind == "absolute":
        return abs(x - x_0_hat)
    raise ValueError(f"kind must be one of {RESIDUAL_KINDS}, got {kind!r}")


def erode_brain(brain_mask: np.ndarray, iterations: int) -> np.ndarray:
    """Take `iterations` voxels off the brain's surface, in three dimensions.

    Beyond the first and last slice the brain is taken to go on, so a single slice or a slab is
    eroded at its outline only; beyond the rows and columns lies background.

    Args:
        brain_mask: bool, (n, h, w).
        iterations: how often a 6-neighbour erosion is applied; 0 changes nothing.

    Returns:
        A new bool array (n, h, w).

    Raises:
        ValueError: not three-dimensional, or a negative count.
    """
    brain_mask = np.asarray(brain_mask, dtype=bool)
    _require_stack(brain_mask, "brain_mask")
    if iterations < 0:
        raise ValueError(f"iterations must be 0 or more, got {iterations}")
    if iterations == 0:  # SciPy reads 0 as "until nothing changes"
        return brain_mask.copy()
    n = len(brain_mask)
    extended = np.pad(brain_mask, [(iterations, iterations), (0, 0), (0, 0)], mode="edge")
    return ndimage.binary_erosion(extended, iterations=iterations)[iterations : iterations + n]


def median_filter(values: np.ndarray, size: int, brain_mask: np.ndarray) -> np.ndarray:
    """3-D median over a cube in which only brain voxels vote.

    The background would outvote the cortex and pull every map down along the rim.

    Args:
        values: (n, h, w), finite inside the brain.
        size: edge of the cube in voxels, odd; 1 only sets the outside to 0.
        brain_mask: bool, (n, h, w).

    Returns:
        float array (n, h, w), 0 outside the brain.

    Raises:
        ValueError: unequal shapes, NaN or infinity inside the brain, or an even size.
    """
    values, brain_mask = _checked(values, brain_mask)
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size must be odd and at least 1 voxel, got {size}")
    if size == 1:
        return np.where(brain_mask, values, 0)
    padded = np.pad(np.where(brain_mask, values, np.nan), size // 2, constant_values=np.nan)
    filtered = np.zeros_like(values)
    for i, inside in enumerate(brain_mask):  # a slice at a time, to bound the memory
        cubes = np.lib.stride_tricks.sliding_window_view(padded[i : i + size], (size,) * 3)[0]
        filtered[i, inside] = _median_of_rows(cubes[inside].reshape(-1, size**3))
    return filtered


def _median_of_rows(rows: np.ndarray) -> np.ndarray:
    """Median of each row without its NaNs, (n, k) to (n,); five times as fast as nanmedian."""
    ranked = np.sort(rows, axis=1)  # NaN comes last
    counts = (~np.isnan(ranked)).sum(axis=1, keepdims=True)
    lower, upper = (
        np.take_along_axis(ranked, i, 1)[:, 0] for i in ((counts - 1) // 2, counts // 2)
    )
    return (lower + upper) / 2


def gaussian_filter(values: np.ndarray, sigma: float, brain_mask: np.ndarray) -> np.ndarray:
    """3-D Gaussian mean in which only brain voxels count, as in `median_filter`.

    Weights are divided by what of them lies in the brain, so a constant map stays constant up to
    the rim. `sigma` is in voxels: 0 only sets the outside to 0, less is a ValueError.
    """
    values, brain_mask = _checked(values, brain_mask)
    if sigma < 0:
        raise ValueError(f"sigma must be at least 0, got {sigma}")
    inside = np.where(brain_mask, values, 0)
    if sigma == 0:
        return inside
    blur = partial(ndimage.gaussian_filter, sigma=sigma, mode="constant")
    weights = blur(brain_mask.astype(values.dtype))
    return np.divide(blur(inside), weights, out=np.zeros_like(inside), where=brain_mask)


def postprocess(
    values: np.ndarray, brain_mask: np.ndarray, settings: PostProcessing | None = None
) -> np.ndarray:
    """Turn raw scores into an anomaly map: filter, then 0 outside the eroded brain.

    The order is the paper's. Voxels that erosion removes keep the score 0 and still count in
    every metric, so a lesion at the rim is a miss and not an exemption.

    Args:
        values: (n, h, w), non-negative raw scores, finite inside the brain.
        brain_mask: bool, (n, h, w).
        settings: how strong; the defaults of `PostProcessing` when None.

    Returns:
        float array (n, h, w).

    Raises:
        ValueError: as `median_filter`, `gaussian_filter` and `erode_brain`.
    """
    settings = settings or PostProcessing()
    filtered = median_filter(values, settings.median_size, brain_mask)
    filtered = gaussian_filter(filtered, settings.gaussian_sigma, brain_mask)
    return np.where(erode_brain(brain_mask, settings.erosions), filtered, 0)


def label_components(binary: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the connected components 1, 2, …; voxels that share a corner are connected.

    Returns labels of the shape of `binary` (0 is background), and how many components there are.
    """
    binary = np.asarray(binary, dtype=bool)
    return ndimage.label(binary, ndimage.generate_binary_structure(binary.ndim, binary.ndim))


def remove_small_components(binary: np.ndarray, min_voxels: int) -> np.ndarray:
    """Keep the components of a thresholded map that have at least `min_voxels` voxels.

    The paper removes those under 7 voxels. Components as in `label_components`.
    """
    labels, _ = label_components(binary)
    keep = np.bincount(labels.ravel()) >= min_voxels
    keep[0] = False  # the background, however large
    return keep[labels]


def threshold_from_healthy(
    maps: Sequence[np.ndarray], brain_masks: Sequence[np.ndarray], fpr: float
) -> float:
    """The lowest threshold that at most a share `fpr` of healthy brain voxels exceeds.

    The voxels of all subjects are pooled, so a large brain weighs more than a small one. Without
    ties the share above the threshold is exactly `floor(fpr * voxels) / voxels`.

    Args:
        maps, brain_masks: one (n, h, w) array per healthy subject; shapes may differ.
        fpr: false-positive rate FP / (FP + TN), in [0, 1).

    Returns:
        A score that occurs in the maps; `map > threshold` is detected.

    Raises:
        ValueError: no brain voxel, unequal numbers or shapes, NaN, or `fpr` out of range.

    Example:
        >>> healthy = np.arange(100.0).reshape(1, 10, 10)
        >>> threshold_from_healthy([healthy], [healthy >= 0], fpr=0.05)
        94.0
    """
    if not 0 <= fpr < 1:
        raise ValueError(f"fpr must be in [0, 1), got {fpr}")
    if len(maps) != len(brain_masks):
        raise ValueError(f"need a brain mask a map, got {len(maps)} and {len(brain_masks)}")
    checked = [_checked(*pair) for pair in zip(maps, brain_masks, strict=True)]
    scores = np.concatenate([values[brain_mask] for values, brain_mask in checked] or [[]])
    if scores.size == 0:
        raise ValueError("expected healthy brain voxels, got none: the brain masks are empty")
    allowed = int(fpr * scores.size + 1e-6)  # .29 * 100 is 28.999… in floating point
    rank = scores.size - allowed - 1
    return float(np.partition(scores, rank)[rank])


def slice_scores(
    values: np.ndarray, brain_mask: np.ndarray, top_fraction: float = 0.01
) -> np.ndarray:
    """One anomaly score per slice, by the rule of `volume_score`, shape (n,).

    Every slice averages the same number of voxels, `top_fraction` of the largest slice's brain;
    a slice with less brain fills up with zeros, so a scrap of cortex cannot come out on top.
    """
    values, brain_mask = _checked(values, brain_mask)
    rows = np.where(brain_mask, values, 0).reshape(len(values), -1)  # (n, h * w)
    largest = brain_mask.sum(axis=(1, 2)).max(initial=0)
    return _mean_of_top(rows, int(np.ceil(top_fraction * largest)))


def volume_score(values: np.ndarray, brain_mask: np.ndarray, top_fraction: float = 0.01) -> float:
    """One anomaly score for the whole brain: the mean of its highest 1 % of voxels.

    The maximum is a single voxel and mostly noise; the mean over the brain drowns a lesion that
    fills 1 % of it. One per cent is 10 to 18 ml of an adult brain.

    Args:
        values: anomaly map (n, h, w), finite inside the brain.
        brain_mask: bool, (n, h, w).
        top_fraction: share of the brain's voxels that is averaged, in (0, 1].

    Raises:
        ValueError: no brain voxel, unequal shapes, NaN, or `top_fraction` out of range.
    """
    values, brain_mask = _checked(values, brain_mask)
    inside = values[brain_mask]
    return float(_mean_of_top(inside[None], int(np.ceil(top_fraction * inside.size)))[0])


def _mean_of_top(rows: np.ndarray, count: int) -> np.ndarray:
    """Mean of the `count` largest values of each row: (n, voxels) to (n,)."""
    if not 1 <= count <= rows.shape[1]:
        raise ValueError(
            f"cannot average the top {count} of {rows.shape[1]} voxels: "
            "the brain mask must not be empty and top_fraction must be in (0, 1]"
        )
    return np.partition(rows, -count, axis=1)[:, -count:].mean(axis=1)


def _checked(values: np.ndarray, brain_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float map and a bool brain mask of one (n, h, w) shape, finite inside the brain."""
    values, brain_mask = np.asarray(values), np.asarray(brain_mask, dtype=bool)
    _require_stack(values, "values")
    if values.shape != brain_mask.shape:
        raise ValueError(
            f"values and brain_mask must have one shape, got {values.shape} and {brain_mask.shape}"
        )
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if not np.isfinite(values[brain_mask]).all():
        raise ValueError("values must be finite inside the brain, got NaN or infinity")
    return values, brain_mask


def _require_stack(array: np.ndarray, name: str) -> None:
    if array.ndim != 3:
        raise ValueError(f"{name} must be a stack of slices (n, h, w), got shape {array.shape}")
