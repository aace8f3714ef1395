"""A figure that reads the reader's own scan, in the page and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskdiff_edu.training.checkpoints import available_models
from maskdiff_edu.widgets.base import Figure, script, styles
from maskdiff_edu.widgets.lab import megabytes, model_files, script_files, viewer_files

THRESHOLD, OPACITY = 0.2, 0.7  #: of the map, until a model names its own threshold


class OwnScan(Figure):
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
        if not models or set(models) - set(available_models()):
            raise ValueError(f"models: expected some of {available_models()}, got {list(models)}")
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
        self.on_msg(self._answer)

    def _files(self, of: str) -> dict[str, Path]:
        """What a notebook's page may ask for; nothing for another name."""
        if of == "scripts":
            return script_files()
        if of == "viewer":
            return viewer_files()
        return model_files(of) if of in self.spec["models"] else {}

    def _answer(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """A notebook's page asks for the scripts first, and for the rest when it needs it."""
        of = str(message.get("of"))
        files = self._files(of) if message.get("ask") == "files" else {}
        if files:
            contents = [path.read_bytes() for path in files.values()]
            self.send({"tell": "files", "of": of, "names": list(files)}, buffers=contents)
