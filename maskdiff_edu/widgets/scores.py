"""From a residual to a score: clean-up, threshold and what they do to Dice, live."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from maskdiff_edu.detection.anomaly import erode_brain, gaussian_filter
from maskdiff_edu.scans import Slices
from maskdiff_edu.widgets.base import Figure, script, styles
from maskdiff_edu.widgets.frames import Value, plain
from maskdiff_edu.widgets.pictures import look_up_table

MEDIAN_SIZES = {"none": 1, "median 3": 3, "median 5": 5}  #: what the reader chooses -> voxels
GAUSSIAN_SIGMA = 1.5  #: voxels
GAUSSIAN = f"Gaussian {GAUSSIAN_SIGMA}"
EROSIONS = (0, 1, 2, 3)
_REACH = max(MEDIAN_SIZES.values()) // 2  # neighbouring slices that the median looks at
_STEPS = 2**16 - 1  # the residual is stored in so many steps


class ScoreExplorer(Figure):
    """One slice of a patient: choose the residual, the clean-up and the threshold.

    Dice, precision and recall follow, and the precision-recall curve of the slice. They count the
    voxels of the shown slice only; a patient's numbers count all slices.

    Args:
        slices: a patient with lesion masks.
        index: the slice that is shown; the filters look at its neighbours too.
        residual: called as `residual(**values)` for each combination of the axes; returns
            non-negative raw scores (n, 1, h, w), such as `anomaly.residual` of a reconstruction.
        axes: name -> numbers, such as {"t": [100, 250], "draws": [1, 4]}.
        names: what the reader sees instead of an axis's name.
        words: `label` and `alt`, see `Figure`.

    Twelve combinations take about half a megabyte. Raises ValueError for slices without lesion
    masks, an index beyond them, a slice without lesion in the brain, or scores of another shape,
    below 0 or NaN.
    """

    _esm = script("core", "canvas", "plot", "maths", "scores")
    _css = styles()

    def __init__(
        self,
        slices: Slices,
        index: int,
        residual: Callable[..., ArrayLike],
        *,
        axes: Mapping[str, Iterable[Value]],
        names: Mapping[str, str] | None = None,
        **words: str,
    ) -> None:
        if slices.lesion_masks is None:
            raise ValueError("slices: expected lesion masks to score against, got none")
        n = len(slices.images)
        if not 0 <= index < n:
            raise ValueError(f"index: expected one of 0..{n - 1}, got {index}")
        near = slice(max(0, index - _REACH), min(n, index + _REACH + 1))
        brains = slices.brain_masks  # (n, 1, h, w)
        lesion = slices.lesion_masks[index, 0].numpy()
        if not (lesion & brains[index, 0].numpy()).any():
            raise ValueError(f"index: expected a slice with lesion in the brain, got {index}")

        offered = {name: [plain(v) for v in values] for name, values in axes.items()}
        stacks, smoothed = {}, []
        for combination in itertools.product(*offered.values()):
            values = np.asarray(residual(**dict(zip(offered, combination, strict=True))))
            values = _checked(values, slices)
            stacks[combination] = (values[near] * brains[near].numpy())[:, 0]
            smoothed.append(gaussian_filter(values, GAUSSIAN_SIGMA, brains)[index, 0].numpy())
        top = max(float(stack.max()) for stack in stacks.values()) or 1.0
        parts = {
            "image": slices.images[index, 0].numpy(),
            "brains": brains[near, 0].numpy(),
            "lesion": lesion,
            "eroded": np.stack([erode_brain(brains, k)[index, 0] for k in EROSIONS]),
            "residual": _coded(list(stacks.values()), top),  # (combinations, slices, h, w)
            "smoothed": _coded(smoothed, top),  # (combinations, h, w)
            "gray": look_up_table("gray"),
            "magma": look_up_table("magma"),
        }
        thresholds = [float(f"{v:.4g}") for v in np.linspace(0, _round_up(top), 101)]
        names = dict(names or {})
        spec = {
            "axes": [
                {"name": name, "label": names.get(name, name), "values": values}
                for name, values in offered.items()
            ],
            "shown": index - near.start,
            "step": top / _STEPS,
            "thresholds": thresholds,
            "filters": [*MEDIAN_SIZES, GAUSSIAN],
            "medians": MEDIAN_SIZES,
            "erosions": list(EROSIONS),
        }
        first = {name: values[0] for name, values in offered.items()}
        value = {**first, "filter": "median 3", "erosions": 1, "threshold": thresholds[25]}
        super().__init__(**words, spec=spec, parts=parts, value=value)


def _coded(stacks: Sequence[np.ndarray], top: float) -> np.ndarray:
    """Scores from 0 to `top` as whole numbers."""
    return (np.stack(stacks).clip(0, top) / top * _STEPS).round().astype(np.uint16)


def _checked(values: np.ndarray, slices: Slices) -> np.ndarray:
    """The raw scores, if they are such; else ValueError."""
    if values.shape != slices.images.shape:
        raise ValueError(
            f"residual: expected shape {tuple(slices.images.shape)}, got {values.shape}"
        )
    if not (values >= 0).all():  # NaN is not
        raise ValueError("residual: expected scores of 0 or more, got negative ones or NaN")
    return values


def _round_up(value: float) -> float:
    """To two leading digits, so that the slider's steps are round numbers."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / step) * step
