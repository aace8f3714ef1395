"""A better map from the same network: a second look, and a network taught this very brain.

What a network leaves of a lesion in its first drawing, it leaves because it saw the lesion. So
where the first map is high, the drawing takes the scan's place, and all is drawn again. And a
network that has never seen this scanner and this person errs everywhere a little. Taught for some
hundred steps with the same slices, their suspicious parts painted over, it errs less.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

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


#: A clean-up that smooths along the scan's own edges, for lesions that are wide.
GUIDED = PostProcessing(erosions=0, median_size=1, gaussian_sigma=1.0, guided_radius=2, rim=4.0)
#: The same without them, for lesions of a few voxels.
FINE = replace(GUIDED, guided_radius=0)


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How a scan is looked at again; the settings of the detector stay as they are.

    Raises: SettingsError for numbers out of range.
    """

    passes: int = 2  #: drawings, each but the first of what the one before painted over
    suspicion: PostProcessing = GUIDED  #: the clean-up of the map that says where to paint
    flag: float = 0.25  #: of that map; what lies above is painted over
    adapt_steps: int = 0  #: of training on the scan before the last drawings; 0 means none

    def __post_init__(self) -> None:
        require_number("passes", self.passes, 1, 10, whole=True)
        require_number("flag", self.flag, 0, 10)
        require_number("adapt_steps", self.adapt_steps, 0, 100_000, whole=True)


@dataclass(frozen=True)
class Recipe:
    """A way to look again: what is done, and how the last map is cleaned up."""

    refinement: Refinement
    postprocessing: PostProcessing = GUIDED


#: Ways to look again, by name.
RECIPES = {
    "two-pass": Recipe(Refinement()),
    "adapt": Recipe(Refinement(adapt_steps=400)),
    "adapt-small": Recipe(Refinement(adapt_steps=400), FINE),
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
        return Detection(self.clean(slices, x_0_hat), x_0_hat.masked_fill(~slices.brain_masks, -1))

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
        found = self.clean(slices, x_0_hat, self.refinement.suspicion)
        flagged = (found > self.refinement.flag).numpy()
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
