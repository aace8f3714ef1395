"""The intensity scale: a scan of any unit to [-1, 1] inside the brain, and back."""

import numpy as np
from scipy import ndimage

from maskdiff_edu.errors import SettingsError

# Both robust scales step from a middle value by multiples of its distance to the 2nd percentile.
# The factors make the range equal the percentile one on two healthy T2 brains (the ICBM template
# and a patient's without the lesions) to within a tenth of its width.
_MEDIAN_STEPS = (1.4, 3.0)
_MODE_STEPS = (1.45, 3.3)


def intensity_range(
    image: np.ndarray, brain_mask: np.ndarray, method: str = "percentile"
) -> tuple[float, float]:
    """The two intensities that become -1 and 1.

    - `"percentile"`: the 1st and 99th percentile inside the brain (arXiv 2305.19867). A lesion of
      more than 1 % of the brain moves one of them if it is brighter than nearly all healthy tissue
      (which then turns darker) or darker than it; one in between moves neither.
    - `"median"`: steps down and up from the median.
    - `"mode"`: the same from the peak of the smoothed histogram.

    The last two measure the spread on the dark side only, which a bright lesion hardly moves; a
    dark one does. Their step sizes are for T2.

    Raises: `SettingsError` for another method, an empty brain or one without contrast.
    """
    values = image[brain_mask]
    if values.size == 0:
        raise ValueError("expected a brain mask that holds voxels, got an empty one")
    if method == "percentile":
        low, high = np.percentile(values, [1, 99])
    elif method == "median":
        low, high = _stepped(np.median(values), values, _MEDIAN_STEPS)
    elif method == "mode":
        low, high = _stepped(_histogram_peak(values), values, _MODE_STEPS)
    else:
        raise SettingsError(f"expected method percentile, median or mode, got {method!r}")
    if not high > low:
        raise ValueError(f"expected contrast inside the brain, got a range of {low:g} to {high:g}")
    return float(low), float(high)


def normalise_image(
    image: np.ndarray, brain_mask: np.ndarray, method: str = "percentile"
) -> np.ndarray:
    """Intensities scaled to [-1, 1] and clipped; -1 outside the brain.

    `image` any unit, `brain_mask` bool of the same shape. The inverse is
    `denormalise` with the same `intensity_range`.

    >>> image, brain_mask = np.arange(101.0), np.ones(101, bool)
    >>> normalise_image(image, brain_mask)[[0, 100]].tolist()
    [-1.0, 1.0]
    """
    return apply_range(image, brain_mask, *intensity_range(image, brain_mask, method))


def apply_range(image: np.ndarray, brain_mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` becomes -1 and `high` 1, clipped; -1 outside the brain. Returns float32."""
    scaled = np.clip((image - low) * (2 / (high - low)) - 1, -1, 1)
    return np.where(brain_mask, scaled, -1).astype(np.float32)


def denormalise(values, low: float, high: float):
    """Values in [-1, 1] (array or tensor) in the scan's own units again; what was clipped stays."""
    return (values + 1) * ((high - low) / 2) + low


def _stepped(middle: float, values: np.ndarray, steps: tuple[float, float]) -> tuple[float, float]:
    spread = middle - np.percentile(values, 2)
    return middle - steps[0] * spread, middle + steps[1] * spread


def _histogram_peak(values: np.ndarray, bins_per_width: int = 8) -> float:
    """The most frequent intensity, after smoothing wide enough to merge grey and white matter."""
    dark, median = np.percentile(values, [2, 50])
    width = (median - dark) / 2
    if width <= 0:
        return float(median)
    step = width / bins_per_width
    edges = np.arange(dark - 4 * width, median + 8 * width, step)
    counts, _ = np.histogram(values, edges)
    smooth = ndimage.gaussian_filter1d(counts.astype(float), bins_per_width)
    return float(edges[smooth.argmax()] + step / 2)
