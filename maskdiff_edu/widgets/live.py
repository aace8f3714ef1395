"""A figure in which the shipped networks run in the reader's own browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from maskdiff_edu.training.checkpoints import available_models
from maskdiff_edu.widgets.base import Figure, script, styles
from maskdiff_edu.widgets.explorers import scene
from maskdiff_edu.widgets.lab import SIDE, megabytes, model_files, script_files

TIMES = (0, 25, 50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 999)
TOOLS = ("bright spot", "dark spot", "hole", "rub out")
RADII = (1, 2, 3, 4, 6, 8, 12)  #: pixels
MOST_DRAWS = 8
SEEDS = 10


class LiveModel(Figure):
    """Paint on a slice, and watch a trained network redraw it: no kernel, nothing sent anywhere.

    Args:
        image: a slice (96, 96) in [-1, 1], leading axes of length 1 allowed.
        brain_mask: the same shape, bool.
        label, alt: see `Figure`.
        models: names of shipped models, the first is shown at first.
        strokes: what is painted at first: `{"tool": "hole", "radius": 6, "points": [[48, 48]]}`,
            rows and columns in pixels.

    The network is loaded when the reader asks for it, from the site that shows the figure, or in a
    notebook from the kernel. Raises ValueError for another shape, or a model that does not ship.

    >>> import numpy as np
    >>> figure = LiveModel(
    ...     np.zeros((96, 96)), np.ones((96, 96), bool), models=["fpm-cm"],
    ...     label="Paint", alt="A slice to paint on, and what a network draws from it.",
    ... )
    >>> figure.value["model"], figure.value["t"]
    ('fpm-cm', 250)
    """

    _esm = script("core", "canvas", "places", "live")
    _css = styles()

    def __init__(
        self,
        image: ArrayLike,
        brain_mask: ArrayLike,
        *,
        label: str,
        alt: str,
        models: Sequence[str] = ("fpm-cm", "fpm", "ipm", "ddpm"),
        strokes: Sequence[dict[str, Any]] = (),
    ) -> None:
        parts = scene(image, brain_mask)
        if parts["image"].shape != (SIDE, SIDE):
            raise ValueError(
                f"image: expected a slice of {SIDE} by {SIDE} pixels, which the networks take, got "
                f"{parts['image'].shape}"
            )
        if not models or set(models) - set(available_models()):
            raise ValueError(f"models: expected some of {available_models()}, got {list(models)}")
        spec = {
            "models": list(models),
            "tools": list(TOOLS),
            "radii": list(RADII),
            "times": list(TIMES),
            "draws": list(range(1, MOST_DRAWS + 1)),
            "seeds": list(range(SEEDS)),
            "invitation": f"Run the network in this page ({megabytes(models[0])} MB)",
            "hint": "The network is loaded when you ask for it; nothing leaves this page.",
        }
        value = {"model": models[0], "tool": TOOLS[0], "radius": 6, "t": 250, "draws": 4, "seed": 0}
        value["strokes"] = [dict(stroke) for stroke in strokes]
        super().__init__(label=label, alt=alt, spec=spec, parts=parts, value=value)
        self.on_msg(self._answer)

    def _answer(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """A notebook's page asks for the scripts first, and for each network when it is chosen."""
        of = str(message.get("of"))
        if message.get("ask") != "files" or of not in ("scripts", *self.spec["models"]):
            return
        files = script_files() if of == "scripts" else model_files(of)
        contents = [path.read_bytes() for path in files.values()]
        self.send({"tell": "files", "of": of, "names": list(files)}, buffers=contents)
