"""A figure that reads the reader's own scan, in the page and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from maskdiff_edu.widgets.base import script, styles
from maskdiff_edu.widgets.lab import LabFigure, megabytes, require_models

THRESHOLD, OPACITY = 0.2, 0.7  #: of the map, until a model names its own threshold


class OwnScan(LabFigure):
    """Choose a scan of your own, and a trained network looks through it in your browser.

    Args:
        label, alt: see `Figure`.
        models: names of shipped models, the first is chosen at first.

    The scan is a skull-stripped T2 volume, `.nii` or `.nii.gz`, in any orientation. The page
    prepares it as `load_scan` and `to_slices` do, redraws every slice as the model's card says, and
    shows the map over the scan, from three sides. Nothing leaves the page, not even to a kernel.
    The map is saved as NIfTI on the scan's own grid. For teaching, not for diagnosis.

    Raises ValueError for a model that does not ship.

    >>> figure = OwnScan(models=["fpm"])
    >>> figure.value["model"]
    'fpm'
    """

    _esm = script("core", "canvas", "places", "own")
    _css = styles()

    def __init__(
        self,
        *,
        label: str = "Your own scan",
        alt: str = "A scan that you choose, from three sides, and a network's anomaly map over it.",
        models: Sequence[str] = ("fpm-cm", "fpm", "ipm", "ddpm"),
    ) -> None:
        require_models(models)
        spec = {
            "models": list(models),
            "invitation": "look for anomalies",
            "caution": "For teaching, not for diagnosis. Your scan is read in this page and never "
            "leaves it.",
            "hint": "Choose a scan, or drop it into the frame. What the page needs for it, "
            f"{megabytes(models[0]) + 1} MB, is loaded then.",
        }
        value = {"model": models[0], "threshold": THRESHOLD, "opacity": OPACITY}
        super().__init__(label=label, alt=alt, spec=spec, value=value)
