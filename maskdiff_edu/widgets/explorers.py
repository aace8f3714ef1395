"""Masks to play with: hide patches, remove frequencies, paste one image into the other.

The page computes what the library computes (js/maths.js). Only random positions are drawn here,
by the library, and handed over: a seed in the figure is a seed of `draw_patches`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from maskdiff_edu.diffusion import (
    BandSettings,
    PatchSettings,
    draw_bands,
    draw_patches,
    gaussian_noise,
)
from maskdiff_edu.widgets.base import Figure, script, styles
from maskdiff_edu.widgets.pictures import look_up_table, one_slice

SIZES = (0.1, 0.2, 0.3, 0.4)  #: sides of the squares, as a share of the brain's rows
HALF_WIDTHS = (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24)  #: of a band, in bins
MOST_PATCHES = 8
SEEDS = 6
_PAIRS = 4  # off-centre rectangles with their twins, as in masks.MIXED_BANDS


class PatchExplorer(Figure):
    """Image patch masking: choose how many squares, how large, where, and what fills them.

    Args:
        image: a slice (h, w) in [-1, 1], leading axes of length 1 allowed.
        brain_mask: the same shape, bool.
        label, alt: see `Figure`.

    The first n of the squares of a seed are hidden together, so that a further one leaves the
    others where they are. Raises ValueError for unequal shapes or several slices.
    """

    _esm = script("core", "canvas", "maths", "patches")
    _css = styles()

    def __init__(self, image: ArrayLike, brain_mask: ArrayLike, *, label: str, alt: str) -> None:
        parts = scene(image, brain_mask)
        noise = gaussian_noise(parts["image"].shape, generator=torch.Generator().manual_seed(0))
        parts |= {"patches": _draw_squares(parts["brain"]), "noise": noise.numpy()}
        value = {"count": 3, "size": SIZES[1], "seed": 0, "fill": "grey"}
        super().__init__(label=label, alt=alt, spec=_patch_spec(), parts=parts, value=value)


class BandExplorer(Figure):
    """Frequency patch masking: choose a band, see the spectrum and the image that is left.

    Low-pass keeps a centred square of the spectrum, high-pass removes it, off-centre removes
    rectangles with their mirrored twins. Arguments and errors as for `PatchExplorer`.
    """

    _esm = script("core", "canvas", "maths", "bands")
    _css = styles()

    def __init__(self, image: ArrayLike, brain_mask: ArrayLike, *, label: str, alt: str) -> None:
        parts = scene(image, brain_mask)
        parts["off_centre"] = _draw_off_centre(parts["image"].shape)
        value = {"kind": "low-pass", "half": 10, "seed": 0, "keep_mean": False}
        super().__init__(label=label, alt=alt, spec=_band_spec(), parts=parts, value=value)


class CutMixExplorer(Figure):
    """FPM-CM: squares of the frequency-masked image pasted into the clean one.

    Arguments and errors as for `PatchExplorer`.
    """

    _esm = script("core", "canvas", "maths", "cutmix")
    _css = styles()

    def __init__(self, image: ArrayLike, brain_mask: ArrayLike, *, label: str, alt: str) -> None:
        parts = scene(image, brain_mask)
        parts["patches"] = _draw_squares(parts["brain"])
        value = {"kind": "low-pass", "half": 4, "count": 4, "size": SIZES[2], "seed": 0}
        spec = _patch_spec() | _band_spec()
        super().__init__(label=label, alt=alt, spec=spec, parts=parts, value=value)


class SpectrumPainter(Figure):
    """Switch squares of the spectrum off and on, each with its mirrored twin; see what is left.

    `tile` is the squares' side in bins, odd so that one square lies around the mean. A click on
    the spectrum switches the square under the pointer; two sliders and a button do the same.
    Other arguments and errors as for `PatchExplorer`.
    """

    _esm = script("core", "canvas", "maths", "painter")
    _css = styles()

    def __init__(
        self, image: ArrayLike, brain_mask: ArrayLike, *, label: str, alt: str, tile: int = 7
    ) -> None:
        if tile < 1 or tile % 2 == 0:
            raise ValueError(f"tile must be odd and at least 1, got {tile}")
        parts = scene(image, brain_mask)
        reach = [(n // 2 + tile // 2) // tile for n in parts["image"].shape]  # tiles to each side
        spec = {"tile": tile, "reach": reach}
        super().__init__(label=label, alt=alt, spec=spec, parts=parts, value={"off": []})


def scene(image: ArrayLike, brain_mask: ArrayLike) -> dict[str, np.ndarray]:
    """What every explorer shows: a slice, its brain, and the colours of scans and spectra."""
    image, brain = one_slice(image, "image"), one_slice(brain_mask, "brain_mask")
    if image.shape != brain.shape:
        raise ValueError(f"expected one shape, got {image.shape} and {brain.shape}")
    return {
        "image": image.astype(np.float32),
        "brain": brain.astype(bool),
        "gray": look_up_table("gray"),
        "magma": look_up_table("magma"),
    }


def _patch_spec() -> dict[str, Sequence]:
    return {
        "counts": list(range(MOST_PATCHES + 1)),
        "sizes": list(SIZES),
        "seeds": list(range(SEEDS)),
    }


def _band_spec() -> dict[str, Sequence]:
    return {"halves": list(HALF_WIDTHS), "seeds": list(range(SEEDS))}


def _draw_squares(brain: np.ndarray) -> np.ndarray:
    """Single squares by the library: (sizes, seeds, MOST_PATCHES, h, w) bool."""
    brains = torch.from_numpy(brain).expand(MOST_PATCHES, 1, *brain.shape)

    def drawn(size: float, seed: int) -> Tensor:
        settings = PatchSettings(count=(1, 1), sides=(size, size))
        return draw_patches(brains, settings, torch.Generator().manual_seed(seed))[:, 0]

    return np.stack([[drawn(size, seed).numpy() for seed in range(SEEDS)] for size in SIZES])


def _draw_off_centre(shape: tuple[int, int]) -> np.ndarray:
    """What off-centre masks keep, by the library: (half widths, seeds, h, w) bool."""

    def drawn(half: int, seed: int) -> Tensor:
        settings = BandSettings(0, 0, 1, half_width=(half, half), pairs=_PAIRS)
        return draw_bands((1, *shape), settings, generator=torch.Generator().manual_seed(seed))

    rows = [[drawn(half, seed)[0, 0].numpy() for seed in range(SEEDS)] for half in HALF_WIDTHS]
    return np.stack(rows)
