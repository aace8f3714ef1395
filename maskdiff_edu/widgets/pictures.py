"""Arrays as pictures small enough to store by the dozen."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import ArrayLike
from PIL import Image

#: Maps that stay readable for colour-blind readers and in print.
COLOUR_MAPS = ("gray", "magma", "viridis", "cividis")
_QUALITY = 75  # of lossy pictures: noise looks the same at half the size


@dataclass(frozen=True)
class Panel:
    """One of the pictures that stand side by side in a figure.

    Raises ValueError for a colour map that is not in `COLOUR_MAPS`, or an empty range.
    """

    title: str
    cmap: str = "gray"
    low: float = -1.0  #: value of the map's darkest colour
    high: float = 1.0  #: value of its brightest one
    lossless: bool = False  #: for masks and edges; noisy pictures are half as large without

    def __post_init__(self) -> None:
        if self.cmap not in COLOUR_MAPS:
            raise ValueError(f"cmap must be one of {COLOUR_MAPS}, got {self.cmap!r}")
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")


def encode(image: ArrayLike, panel: Panel) -> bytes:
    """A slice (h, w), or one with leading axes of length 1, as a WebP picture.

    Values beyond the panel's range get its end colours. An array (h, w, 3) uint8 is taken as
    colours. Raises ValueError for any other shape, and for NaN.
    """
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8:
        return _webp(array, panel.lossless)
    array = one_slice(array, panel.title).astype(np.float64)
    if np.isnan(array).any():
        raise ValueError(f"{panel.title}: expected numbers, got NaN")
    scaled = ((array - panel.low) / (panel.high - panel.low)).clip(0, 1)
    return _webp(look_up_table(panel.cmap)[(scaled * 255).round().astype(int)], panel.lossless)


def one_slice(image: ArrayLike, name: str) -> np.ndarray:
    """The array as (h, w), without leading axes of length 1; ValueError for anything else."""
    array = np.asarray(image)
    if array.size == 0 or array.ndim < 2 or array.size != array.shape[-2] * array.shape[-1]:
        raise ValueError(f"{name}: expected one slice (h, w), got shape {array.shape}")
    return array.reshape(array.shape[-2:])


def look_up_table(cmap: str) -> np.ndarray:
    """The 256 colours of a map: (256, 3) uint8."""
    return (colormaps[cmap](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def _webp(colours: np.ndarray, lossless: bool) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(colours).save(
        stream, "webp", lossless=lossless, quality=100 if lossless else _QUALITY, method=6
    )
    return stream.getvalue()
