"""From a scan and its pseudo-healthy twin to an anomaly map, a threshold and scores.

Every detector finishes with `postprocess`, so that two maps differ by their method and not by
their clean-up. Maps and masks are slices `(n, 1, h, w)` of the 2 mm grid, tensors on the CPU or
arrays; maps come back as tensors, scores as plain numbers. A map is 0 where nothing speaks for an
anomaly, and a voxel counts as *detected* when its score lies strictly above the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from maskdiff_edu.errors import SettingsError, require_number

Array = TypeVar("Array", np.ndarray, Tensor)
ResidualKind = Literal["positive", "absolute"]
RESIDUAL_KINDS = get_args(ResidualKind)
GUIDED_EPS = 0.01  #: variance of the scan, on its scale of -1..1, that counts as an edge


@dataclass(frozen=True)
class PostProcessing:
    """Settings of `postprocess`; `PostProcessing(erosions=0, median_size=1)` leaves a map as it is.

    The paper erodes 3 times and takes a 5x5x5 median. At 2 mm that median spans 10 mm and erases
    multiple sclerosis lesions, and three erosions cut 6 mm off the cortex: hence less of both.
    """

    erosions: int = 1  #: voxels (2 mm) taken off the brain's rim, where edges never match
    median_size: int = 3  #: edge of the median's cube in voxels, odd; 1 means no filter
    gaussian_sigma: float = 0.0  #: of a Gaussian after the median, in voxels; 0 means none
    guided_radius: int = 0  #: of `guided_filter`, the first of all filters, in voxels; 0 means none
    rim: float = 0.0  #: voxels from the brain's rim over which scores rise to full weight

    def __post_init__(self) -> None:
        """Raises SettingsError for sizes that no brain has, and an even median."""
        require_number("guided_radius", self.guided_radius, 0, 10, whole=True)
        require_number("rim", self.rim, 0, 50)
        require_number("erosions", self.erosions, 0, 50, whole=True)
        require_number("median_size", self.median_size, 1, 21, whole=True)
        require_number("gaussian_sigma", self.gaussian_sigma, 0, 10)
        if self.median_size % 2 == 0:
            raise SettingsError(f"median_size: expected an odd number, got {self.median_size}")

    def as_json(self) -> dict[str, Any]:
        """The settings as files hold them; the two youngest only where they are used."""
        unused = {name for name in ("guided_radius", "rim") if not getattr(self, name)}
        return {name: value for name, value in asdict(self).items() if name not in unused}


def residual(x: Array, x_0_hat: Array, kind: ResidualKind = "positive") -> Array:
    """How far the scan `x` departs from its reconstruction `x_0_hat`, voxel by voxel.

    Args:
        x, x_0_hat: NumPy arrays or torch tensors of one shape, intensities in [-1, 1].
        kind: `"positive"` keeps what is brighter than the reconstruction, max(x - x_0_hat, 0);
            it suits lesions known to be bright and must be declared before looking.
            `"absolute"` is `abs(x - x_0_hat)`: dark lesions count too, and so does every mismatch.

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
            f"x, x_0_hat: expected one shape, got {tuple(x.shape)} and {tuple(x_0_hat.shape)}"
        )
    if kind == "positive":
        return (x - x_0_hat).clip(0)
    if kind == "absolute":
        return abs(x - x_0_hat)
    raise ValueError(f"kind: expected one of {RESIDUAL_KINDS}, got {kind!r}")


def erode_brain(brain_mask: ArrayLike, iterations: int) -> Tensor:
    """Take `iterations` voxels off the brain's surface, in three dimensions.

    Beyond the first and last slice the brain is taken to go on, so a single slice or a slab is
    eroded at its outline only; beyond the rows and columns lies background.

    Args:
        brain_mask: bool, (n, 1, h, w).
        iterations: how often a 6-neighbour erosion is applied; 0 changes nothing.

    Returns:
        A new bool tensor (n, 1, h, w).

    Raises:
        ValueError: no slices (n, 1, h, w), or a negative count.
    """
    brain = _volume(brain_mask, "brain_mask").astype(bool)  # (n, h, w), a copy
    if iterations < 0:
        raise ValueError(f"iterations: expected 0 or more, got {iterations}")
    if iterations == 0:  # SciPy reads 0 as "until nothing changes"
        return _slices(brain)
    extended = np.pad(brain, [(iterations, iterations), (0, 0), (0, 0)], mode="edge")
    eroded = ndimage.binary_erosion(extended, iterations=iterations)
    return _slices(eroded[iterations : iterations + len(brain)])


def median_filter(values: ArrayLike, size: int, brain_mask: ArrayLike) -> Tensor:
    """3-D median over a cube in which only brain voxels vote.

    The background would outvote the cortex and pull every map down along the rim.

    Args:
        values: (n, 1, h, w), finite inside the brain.
        size: edge of the cube in voxels, odd; 1 only sets the outside to 0.
        brain_mask: bool, (n, 1, h, w).

    Returns:
        (n, 1, h, w) in the precision of `values`, 0 outside the brain.

    Raises:
        ValueError: unequal shapes, NaN or infinity inside the brain, or an even size.
    """
    scores, brain = _checked(values, brain_mask)
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size: expected an odd number of voxels, got {size}")
    if size == 1:
        return _slices(np.where(brain, scores, 0))
    padded = np.pad(np.where(brain, scores, np.nan), size // 2, constant_values=np.nan)
    filtered = np.zeros_like(scores)
    for i, inside in enumerate(brain):  # a slice at a time, to bound the memory
        cubes = np.lib.stride_tricks.sliding_window_view(padded[i : i + size], (size,) * 3)[0]
        filtered[i, inside] = _median_of_rows(cubes[inside].reshape(-1, size**3))
    return _slices(filtered)


def _median_of_rows(rows: np.ndarray) -> np.ndarray:
    """Median of each row without its NaNs, (n, k) to (n,); five times as fast as nanmedian."""
    ranked = np.sort(rows, axis=1)  # NaN comes last
    counts = (~np.isnan(ranked)).sum(axis=1, keepdims=True)
    lower, upper = (
        np.take_along_axis(ranked, i, 1)[:, 0] for i in ((counts - 1) // 2, counts // 2)
    )
    return (lower + upper) / 2


def gaussian_filter(values: ArrayLike, sigma: float, brain_mask: ArrayLike) -> Tensor:
    """3-D Gaussian mean in which only brain voxels count, as in `median_filter`.

    Weights are divided by what of them lies in the brain, so a constant map stays constant up to
    the rim. `sigma` is in voxels: 0 only sets the outside to 0, less is a ValueError.
    """
    scores, brain = _checked(values, brain_mask)
    if sigma < 0:
        raise ValueError(f"sigma: expected at least 0, got {sigma}")
    inside = np.where(brain, scores, 0)
    if sigma == 0:
        return _slices(inside)
    blur = partial(ndimage.gaussian_filter, sigma=sigma, mode="constant")
    weights = blur(brain.astype(scores.dtype))
    mean = np.divide(blur(inside), weights, out=np.zeros_like(inside), where=brain)
    return _slices(mean)


def guided_filter(
    values: ArrayLike, guide: ArrayLike, brain_mask: ArrayLike, radius: int, eps: float = GUIDED_EPS
) -> Tensor:
    """Smooth a map along the scan's own edges and not across them (He et al. 2013).

    In each window the map is taken for a straight line of the guide's brightness, a guide + b, and
    every voxel gets the mean line of the windows that hold it. Only brain voxels count.

    Args:
        values, guide: (n, 1, h, w), finite inside the brain; the guide is the scan.
        brain_mask: bool, (n, 1, h, w).
        radius: of the windows in voxels, (2 radius + 1)^3; 0 only sets the outside to 0.
        eps: where the guide varies less than this, the map is averaged.

    Returns:
        (n, 1, h, w), not below 0, 0 outside the brain.

    Raises:
        ValueError: unequal shapes, NaN or infinity inside the brain, a negative radius.

    Example:
        >>> scan, inside = np.zeros((1, 1, 3, 3)), np.ones((1, 1, 3, 3), bool)
        >>> guided_filter(np.eye(3)[None, None], scan, inside, radius=2)[0, 0, 0].round(decimals=3)
        tensor([0.3330, 0.3330, 0.3330], dtype=torch.float64)
    """
    scores, brain = _checked(values, brain_mask)
    image, _ = _checked(guide, brain_mask)
    if radius < 0:
        raise ValueError(f"radius: expected 0 or more, got {radius}")
    box = partial(ndimage.uniform_filter, size=2 * radius + 1, mode="constant")
    share = np.where(brain, box(brain.astype(np.float64)), 1)  # of each window that is brain

    def mean(array: np.ndarray) -> np.ndarray:
        return np.where(brain, box(np.where(brain, array, 0).astype(np.float64)) / share, 0)

    mean_image, mean_scores = mean(image), mean(scores)
    slope = mean(image * scores) - mean_image * mean_scores
    slope /= mean(image * image) - mean_image**2 + eps
    smooth = mean(slope) * image + mean(mean_scores - slope * mean_image)
    return _slices(np.where(brain, smooth, 0).clip(0))


def rim_weight(brain_mask: ArrayLike, depth: float) -> Tensor:
    """From 0 at the brain's rim, where edges never match, to 1 at `depth` voxels inside.

    Beyond the first and last slice the brain goes on, as in `erode_brain`. Returns float64
    (n, 1, h, w); with a depth of 0 the brain mask itself.
    """
    brain = _volume(brain_mask, "brain_mask").astype(bool)
    if depth <= 0:
        return _slices(brain.astype(np.float64))
    beyond = int(np.ceil(depth)) + 1
    extended = np.pad(brain, [(beyond, beyond), (0, 0), (0, 0)], mode="edge")
    distance = ndimage.distance_transform_edt(extended)[beyond : beyond + len(brain)]
    return _slices((distance / depth).clip(max=1))


def postprocess(
    values: ArrayLike,
    brain_mask: ArrayLike,
    settings: PostProcessing | None = None,
    guide: ArrayLike | None = None,
) -> Tensor:
    """Turn raw scores into an anomaly map: filter, then 0 outside the eroded brain.

    The order is the paper's. Voxels that erosion removes keep the score 0 and still count in
    every metric, so a lesion at the rim is a miss and not an exemption.

    Args:
        values: (n, 1, h, w), non-negative raw scores, finite inside the brain.
        brain_mask: bool, (n, 1, h, w).
        settings: how strong; the defaults of `PostProcessing` when None.
        guide: the scan (n, 1, h, w), which a guided filter needs.

    Returns:
        float32 (n, 1, h, w), as `Detection.anomaly_map` holds it.

    Raises:
        ValueError: as the filters and `erode_brain`; a guided filter without a guide.
    """
    settings = settings or PostProcessing()
    if settings.guided_radius:
        if guide is None:
            raise ValueError("guide: expected the scan for the guided filter, got none")
        values = guided_filter(values, guide, brain_mask, settings.guided_radius)
    filtered = median_filter(values, settings.median_size, brain_mask)
    filtered = gaussian_filter(filtered, settings.gaussian_sigma, brain_mask)
    if settings.rim:
        filtered = filtered * rim_weight(brain_mask, settings.rim)
    return filtered.masked_fill(~erode_brain(brain_mask, settings.erosions), 0).float()


def label_components(binary: ArrayLike) -> tuple[np.ndarray, int]:
    """Number the connected components 1, 2, …; voxels that share a corner are connected.

    `binary` has any shape: slices (n, 1, h, w), or a scan. Returns labels of that shape (0 is
    background), and how many components there are.
    """
    detected = np.asarray(binary, dtype=bool)
    return ndimage.label(detected, ndimage.generate_binary_structure(detected.ndim, detected.ndim))


def remove_small_components(binary: ArrayLike, min_voxels: int) -> np.ndarray:
    """Keep the components of a thresholded map that have at least `min_voxels` voxels.

    The paper removes those under 7 voxels. Components as in `label_components`; returns a bool
    array of the shape of `binary`.
    """
    labels, _ = label_components(binary)
    keep = np.bincount(labels.ravel()) >= min_voxels
    keep[0] = False  # the background, however large
    return keep[labels]


def threshold_from_healthy(
    maps: Sequence[ArrayLike], brain_masks: Sequence[ArrayLike], fpr: float
) -> float:
    """The lowest threshold that at most a share `fpr` of healthy brain voxels exceeds.

    The voxels of all subjects are pooled, so a large brain weighs more than a small one. Without
    ties the share above the threshold is exactly `floor(fpr * voxels) / voxels`.

    Args:
        maps, brain_masks: slices (n, 1, h, w) of each healthy subject; shapes may differ.
        fpr: false-positive rate FP / (FP + TN), in [0, 1).

    Returns:
        A score that occurs in the maps; `map > threshold` is detected.

    Raises:
        SettingsError: `fpr` out of range.
        ValueError: no brain voxel, unequal numbers or shapes, or NaN.

    Example:
        >>> healthy = np.arange(100.0).reshape(1, 1, 10, 10)
        >>> threshold_from_healthy([healthy], [healthy >= 0], fpr=0.05)
        94.0
    """
    if not 0 <= fpr < 1:
        raise SettingsError(f"fpr: expected a share in [0, 1), got {fpr}")
    if len(maps) != len(brain_masks):
        raise ValueError(f"expected a brain mask a map, got {len(maps)} and {len(brain_masks)}")
    checked = [_checked(*pair) for pair in zip(maps, brain_masks, strict=True)]
    scores = np.concatenate([scores[brain] for scores, brain in checked] or [[]])
    if scores.size == 0:
        raise ValueError("expected healthy brain voxels, got none: the brain masks are empty")
    allowed = int(fpr * scores.size + 1e-6)  # .29 * 100 is 28.999… in floating point
    rank = scores.size - allowed - 1
    return float(np.partition(scores, rank)[rank])


def slice_scores(
    values: ArrayLike, brain_mask: ArrayLike, top_fraction: float = 0.01
) -> np.ndarray:
    """One anomaly score per slice, by the rule of `volume_score`, shape (n,).

    Every slice averages the same number of voxels, `top_fraction` of the largest slice's brain;
    a slice with less brain fills up with zeros, so a scrap of cortex cannot come out on top.
    """
    scores, brain = _checked(values, brain_mask)
    rows = np.where(brain, scores, 0).reshape(len(scores), -1)  # (n, h * w)
    largest = brain.sum(axis=(1, 2)).max(initial=0)
    return _mean_of_top(rows, int(np.ceil(top_fraction * largest)))


def volume_score(values: ArrayLike, brain_mask: ArrayLike, top_fraction: float = 0.01) -> float:
    """One anomaly score for the whole brain: the mean of its highest 1 % of voxels.

    The maximum is a single voxel and mostly noise; the mean over the brain drowns a lesion that
    fills 1 % of it. One per cent is 10 to 18 ml of an adult brain.

    Args:
        values: anomaly map (n, 1, h, w), finite inside the brain.
        brain_mask: bool, (n, 1, h, w).
        top_fraction: share of the brain's voxels that is averaged, in (0, 1].

    Raises:
        ValueError: no brain voxel, unequal shapes, NaN, or `top_fraction` out of range.
    """
    scores, brain = _checked(values, brain_mask)
    inside = scores[brain]
    return float(_mean_of_top(inside[None], int(np.ceil(top_fraction * inside.size)))[0])


def _mean_of_top(rows: np.ndarray, count: int) -> np.ndarray:
    """Mean of the `count` largest values of each row: (n, voxels) to (n,)."""
    if not 1 <= count <= rows.shape[1]:
        raise ValueError(
            "expected a brain mask that is not empty and top_fraction in (0, 1], got the top "
            f"{count} of {rows.shape[1]} voxels"
        )
    return np.partition(rows, -count, axis=1)[:, -count:].mean(axis=1)


def _checked(values: ArrayLike, brain_mask: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """A float map and a bool brain mask, both (n, h, w), finite inside the brain."""
    scores, brain = _volume(values, "values"), _volume(brain_mask, "brain_mask").astype(bool)
    if scores.shape != brain.shape:
        raise ValueError(
            f"values, brain_mask: expected one shape, got {scores[:, None].shape} and "
            f"{brain[:, None].shape}"
        )
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if not np.isfinite(scores[brain]).all():
        raise ValueError("values: expected finite ones inside the brain, got NaN or infinity")
    return scores, brain


def _volume(slices: ArrayLike, name: str) -> np.ndarray:
    """Slices (n, 1, h, w) as the three-dimensional array (n, h, w) that they stand for."""
    array = np.asarray(slices)
    if array.ndim != 4 or array.shape[1] != 1:
        raise ValueError(f"{name}: expected slices (n, 1, h, w), got shape {array.shape}")
    return array[:, 0]


def _slices(volume: np.ndarray) -> Tensor:
    """The way back: an array (n, h, w) as a tensor (n, 1, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(volume))[:, None]
