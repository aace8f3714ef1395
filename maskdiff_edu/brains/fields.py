"""Smooth random fields and the filters of a scanner, on (x, y, z) grids of 2 mm."""

import numpy as np
from scipy import ndimage


def smooth_field(rng: np.random.Generator, shape: tuple, period: float) -> np.ndarray:
    """A Gaussian random field with mean 0 and variance 1 at every voxel.

    White noise on a coarse grid, `period` voxels apart, spread by Gaussian weights along each
    axis in turn: a few small matrix products instead of a filter over the whole volume.

    Returns: float64 array of `shape` (any number of axes).
    """
    weights = [_gaussian_weights(n, period) for n in shape]
    field = rng.standard_normal([w.shape[1] for w in weights])
    for matrix in weights:
        # Each product consumes the first axis and appends the fine one at the end.
        field = np.tensordot(field, matrix, axes=(0, 1))
    return field


def _gaussian_weights(n: int, period: float) -> np.ndarray:
    """Matrix (n, knots): how much each coarse value counts at each voxel; rows of norm 1."""
    knots = (np.arange(int(np.ceil((n - 1) / period)) + 5) - 2) * period
    distance = (np.arange(n)[:, None] - knots) / period
    weights = np.exp(-0.5 * (distance / 0.6) ** 2)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def fine_texture(rng: np.random.Generator, shape: tuple, sigma: float) -> np.ndarray:
    """White noise blurred by `sigma` voxels, scaled to variance 1; float32."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    return field / field.std()


def blur_scan(
    image: np.ndarray, brain_mask: np.ndarray, fwhm_mm: float, slice_mm: float, spacing: float
) -> np.ndarray:
    """Blur like a scanner: in-plane resolution `fwhm_mm`, slices `slice_mm` thick (a box profile).

    The box is replaced by the Gaussian of the same variance; a slice no thicker than the grid
    spacing adds nothing. Weights are renormalised within the brain, because the skull is removed
    after the scan: nothing dark bleeds in from outside.
    """
    in_plane = fwhm_mm / 2.355 / spacing
    through = np.sqrt(max(slice_mm**2 - spacing**2, 0) / 12) / spacing
    sigma = (in_plane, in_plane, max(in_plane, through))
    weight = ndimage.gaussian_filter(brain_mask.astype(np.float32), sigma)
    return ndimage.gaussian_filter(image * brain_mask, sigma) / weight.clip(1e-3)
