"""A better map from the same network: a second look, and a network taught this very brain.

What a network leaves of a lesion in its first drawing, it leaves because it saw the lesion. So
where the first map is high, the drawing takes the scan's place, and all is drawn again. And a
network that has never seen this scanner and this person errs everywhere a little. Taught for some
hundred steps with the same slices, their suspicious parts painted over, it errs less.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from maskdiff_edu.detection.anomaly import PostProcessing
from maskdiff_edu.detection.detectors import Detection, MaskedDDPM
from maskdiff_edu.diffusion.sampling import Model
from maskdiff_edu.errors import SettingsError, require_number
from maskdiff_edu.scans import Slices

#: Goes on training with slices (n, 1, h, w) in their brain masks for a number of steps.
Teach = Callable[[Tensor, Tensor, int], Model]


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How a scan is looked at again; the settings of the detector stay as they are.

    Raises: SettingsError for numbers out of range.
    """

    passes: int = 2  #: drawings, each but the first of what the one before painted over
    flag: float = 0.25  #: of the map; what lies above is painted over
    adapt_steps: int = 0  #: of training on the scan before the last drawings; 0 means none
    fine: PostProcessing | None = None  #: a second clean-up; the larger of both maps counts
    units: tuple[float, float] = (1.0, 1.0)  #: what both maps are divided by to be compared

    def __post_init__(self) -> None:
        require_number("passes", self.passes, 1, 10, whole=True)
        require_number("flag", self.flag, 0, 10)
        require_number("adapt_steps", self.adapt_steps, 0, 100_000, whole=True)
        for unit in self.units:
            require_number("units", unit, 1e-6, 1e6)

    def as_json(self) -> dict[str, Any]:
        """The settings as files hold them."""
        values: dict[str, Any] = {"passes": self.passes, "flag": self.flag}
        values["adapt_steps"] = self.adapt_steps
        if self.fine is not None:
            values |= {"fine": self.fine.as_json(), "units": list(self.units)}
        return values

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What a card holds. Raises: TypeError, SettingsError."""
        values = dict(stored)
        if "fine" in values:
            values["fine"] = PostProcessing(**values["fine"])
            values["units"] = tuple(values["units"])
        return cls(**values)


#: The clean-up for what is wide, smoothed along the scan's own edges.
GUIDED = PostProcessing(erosions=0, median_size=1, gaussian_sigma=1.0, guided_radius=2, rim=4.0)
#: The clean-up for what is small, hardly smoothed.
FINE = PostProcessing(erosions=0, median_size=1, gaussian_sigma=0.7, rim=4.0)
#: Ways to look again, by name.
RECIPES = {
    "two-pass": Refinement(fine=FINE),
    "adapt": Refinement(fine=FINE, adapt_steps=400),
}


@dataclass(frozen=True, eq=False)
class RefinedDDPM(MaskedDDPM):
    """`MaskedDDPM` that looks again, as its `refinement` says.

    Its reconstruction is the last drawing; the residual is always taken from the scan itself.
    """

    refinement: Refinement = field(default_factory=Refinement)
    teach: Teach | None = None  #: needed to adapt; see `adaptation.Teacher`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refinement.adapt_steps and self.teach is None:
            raise SettingsError(f"{self.name}: expected a network that can be taught, got none")

    def detect(self, slices: Slices) -> Detection:
        """Draw, paint over, draw again; with `adapt_steps`, teach the network in between."""
        x_0_hat = self.draw(slices)
        return Detection(
            self.larger_map(slices, x_0_hat), x_0_hat.masked_fill(~slices.brain_masks, -1)
        )

    def draw(self, slices: Slices) -> Tensor:
        """The last drawing, (n, 1, h, w), also outside the brain."""
        x_0_hat = self._draw_in_passes(slices)
        if not self.refinement.adapt_steps or self.teach is None:
            return x_0_hat
        painted = self.paint_over(slices, x_0_hat, grow=1)
        model = self.teach(painted, slices.brain_masks, self.refinement.adapt_steps)
        return replace(self, model=model)._draw_in_passes(slices)

    def paint_over(self, slices: Slices, x_0_hat: Tensor, grow: int = 0) -> Tensor:
        """The scan with the drawing in place of what the map flags, (n, 1, h, w).

        grow: pixels by which flagged regions grow within their slice.
        """
        flagged = (self.clean(slices, x_0_hat) > self.refinement.flag).numpy()
        if grow:
            cross = ndimage.generate_binary_structure(2, 1)[None, None]
            flagged = ndimage.binary_dilation(flagged, cross, iterations=grow)
        inside = torch.from_numpy(flagged) & slices.brain_masks
        return torch.where(inside, x_0_hat, slices.images)

    def _draw_in_passes(self, slices: Slices) -> Tensor:
        x_0_hat = self.redraw(slices, slices.images)
        for _ in range(self.refinement.passes - 1):
            x_0_hat = self.redraw(slices, self.paint_over(slices, x_0_hat))
        return x_0_hat

    def larger_map(self, slices: Slices, x_0_hat: Tensor) -> Tensor:
        """The anomaly map; with a second clean-up the larger of both, each in its own units."""
        first = self.clean(slices, x_0_hat)
        if self.refinement.fine is None:
            return first
        second = self.clean(slices, x_0_hat, self.refinement.fine)
        return torch.maximum(first / self.refinement.units[0], second / self.refinement.units[1])


def healthy_units(
    detector: RefinedDDPM, healthy: Iterable[Slices], share: float = 0.99
) -> tuple[float, float]:
    """The units of both maps: the score that this share of healthy brain voxels does not exceed.

    Raises: SettingsError for a detector with a single clean-up.
    """
    fine = detector.refinement.fine
    if fine is None:
        raise SettingsError(f"{detector.name}: expected a second clean-up, got none")
    scores: tuple[list, list] = ([], [])
    for slices in healthy:
        x_0_hat = detector.draw(slices)
        for settings, found in zip((detector.settings.postprocessing, fine), scores, strict=True):
            found.append(detector.clean(slices, x_0_hat, settings)[slices.brain_masks].numpy())
    first, second = (float(np.quantile(np.concatenate(found), share)) for found in scores)
    return first, second
