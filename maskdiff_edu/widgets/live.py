"""A figure in which the shipped networks run in the reader's own browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from maskdiff_edu.scans import Slices
from maskdiff_edu.widgets.base import script, styles
from maskdiff_edu.widgets.lab import SIDE, LabFigure, megabytes, require_models
from maskdiff_edu.widgets.pictures import look_up_table

TIMES = (0, 25, 50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 999)
TOOLS = ("lesion", "hole", "rub out")
RADII = (1, 2, 3, 4, 6, 8, 12)  #: pixels
BRIGHTNESS = (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)  #: of a painted lesion, on the slice's scale
MOST_DRAWS = 8
SEEDS = 10
OWN = "own"  #: the threshold of each network's card, which 1 % of healthy voxels exceed
THRESHOLDS = (OWN, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)
_STEPS = 255  # a slice is stored in so many steps


class LiveModel(LabFigure):
    """Paint on a slice, and watch trained networks redraw it: no kernel, nothing sent anywhere.

    Args:
        subjects: name -> slices of 96 by 96 pixels; lesions are outlined where there are masks.
        shown: which slices of each the reader can go through; else all that every subject has.
        models: names of shipped models, the first is shown at first.
        start: what the controls say first, where it is not the default, such as `{"t": 100}`.
            A hole is `{"strokes": [{"tool": "hole", "radius": 6, "points": [[48, 48]]}]}`, with
            rows and columns in pixels.
        full: all controls, the anomaly map, Dice at a threshold, the library's code, and a link
            that restores what is seen; else the brush and the noise.
        recipes: name -> the Python expression that makes a subject's slices, for that code.
        words: `label` and `alt`, see `Figure`.

    The networks are loaded when the reader asks for them, from the site that shows the figure, or
    in a notebook from the kernel. Raises ValueError for slices of another shape, a slice that some
    subject lacks, a model that does not ship, or an unknown control.

    >>> import numpy as np, torch
    >>> blank = torch.zeros(1, 1, 96, 96)
    >>> figure = LiveModel(
    ...     {"nobody": Slices(blank, blank == 0, np.eye(4), 0.0, 1.0)}, models=["fpm-cm"],
    ...     label="Paint", alt="A slice to paint on, and what a network draws from it.",
    ... )
    >>> figure.value["models"], figure.value["t"]
    (['fpm-cm'], 250)
    """

    _esm = script("core", "canvas", "places", "lab/brush", "pad", "answers", "sharing", "live")
    _css = styles()

    def __init__(
        self,
        subjects: Mapping[str, Slices],
        *,
        shown: Iterable[int] | None = None,
        models: Sequence[str] = ("ddpm", "ipm", "fpm-cm"),
        start: Mapping[str, Any] | None = None,
        full: bool = False,
        recipes: Mapping[str, str] | None = None,
        **words: str,
    ) -> None:
        require_models(models)
        slices = _which(subjects, shown)
        spec = {
            "subjects": list(subjects),
            "recipes": {name: (recipes or {}).get(name, "") for name in subjects},
            "slices": slices,
            "models": list(models),
            "tools": list(TOOLS),
            "radii": list(RADII),
            "brightness": list(BRIGHTNESS),
            "times": list(TIMES),
            "draws": list(range(1, MOST_DRAWS + 1)),
            "seeds": list(range(SEEDS)),
            "thresholds": list(THRESHOLDS),
            "full": full,
            "invitation": f"Run the networks in this page ({megabytes(models[0])} MB)",
            "hint": "The networks are loaded when you ask for them; nothing leaves this page.",
        }
        value = {
            **{"subject": next(iter(subjects)), "slice": slices[len(slices) // 2]},
            **{"models": list(models[:1]) if full else list(models), "outline": True},
            **{"tool": TOOLS[0], "radius": 6, "brightness": BRIGHTNESS[-1], "soft": False},
            **{"t": 250, "draws": 4, "seed": 0, "threshold": OWN, "strokes": []},
        }
        if unknown := set(start or {}) - set(value):
            raise ValueError(f"start: expected some of {sorted(value)}, got {sorted(unknown)}")
        value |= start or {}
        super().__init__(**words, spec=spec, parts=_parts(subjects, slices), value=value)


def _which(subjects: Mapping[str, Slices], shown: Iterable[int] | None) -> list[int]:
    """The numbers of the slices that are shown, after looking whether all subjects have them."""
    shapes = {name: tuple(slices.images.shape) for name, slices in subjects.items()}
    if not shapes or any(shape[1:] != (1, SIDE, SIDE) for shape in shapes.values()):
        raise ValueError(
            f"subjects: expected slices of {SIDE} by {SIDE} pixels, which the networks take, got "
            f"{shapes}"
        )
    n = min(shape[0] for shape in shapes.values())
    wanted = list(range(n)) if shown is None else list(shown)
    if not wanted or not 0 <= min(wanted) <= max(wanted) < n:
        raise ValueError(f"shown: expected some of 0..{n - 1}, which all have, got {wanted}")
    return wanted


def _parts(subjects: Mapping[str, Slices], shown: list[int]) -> dict[str, np.ndarray]:
    """Images, brains and lesions of all subjects as three stacks, one subject after the other."""
    images, brains, lesions = [], [], []
    for slices in subjects.values():
        images.append(slices.images[shown, 0].numpy())
        brains.append(slices.brain_masks[shown, 0].numpy())
        masks = slices.lesion_masks
        lesions.append(brains[-1] & False if masks is None else masks[shown, 0].numpy())
    coded = ((np.concatenate(images) + 1) / 2 * _STEPS).round().clip(0, _STEPS)
    return {
        "images": coded.astype(np.uint8),
        "brains": np.concatenate(brains),
        "lesions": np.concatenate(lesions),
        "gray": look_up_table("gray"),
        "magma": look_up_table("magma"),
    }
