"""A curve taken apart into cosines, and put together again one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from maskdiff_edu.widgets.base import Figure, script, styles


class CosineSum(Figure):
    """A curve as a sum of cosines: choose how many, see the sum come close.

    The cosines come in the order of their frequency: 0 is the mean, k makes k cycles over the
    curve. Beside the sum stand the amplitudes of all of them. The page computes both.

    Args:
        curve: numbers (n,) at equal distances, such as a row of an image; n of 4 to 512.
        xlabel, ylabel: what the axes of the curve are.
        start: how many cosines at first, 0 to n // 2.
        label, alt: see `Figure`.

    Raises ValueError for anything but a curve of 4 to 512 finite numbers, or a start beyond it.
    """

    _esm = script("core", "plot", "maths", "waves")
    _css = styles()

    def __init__(
        self,
        curve: ArrayLike,
        *,
        label: str,
        alt: str,
        xlabel: str = "pixel",
        ylabel: str = "brightness",
        start: int = 3,
    ) -> None:
        curve = np.asarray(curve, dtype=np.float32)
        if curve.ndim != 1 or not 4 <= len(curve) <= 512 or not np.isfinite(curve).all():
            raise ValueError(f"curve: expected 4 to 512 finite numbers, got shape {curve.shape}")
        most = len(curve) // 2
        if not 0 <= start <= most:
            raise ValueError(f"start: expected 0 to {most} cosines, got {start}")
        spec = {"counts": list(range(most + 1)), "xlabel": xlabel, "ylabel": ylabel}
        parts = {"curve": curve}
        super().__init__(label=label, alt=alt, spec=spec, parts=parts, value={"count": start})
