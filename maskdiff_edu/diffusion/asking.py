"""Ways to ask a network about a scan in parts, for networks that were trained on parts.

Each is called with a model and the scans x_0 (b, 1, h, w), and returns a model that is asked about
the whole. Its `passes` are how often the network runs for a slice each time.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from maskdiff_edu.diffusion.corruptions import Cells, FineDetail
from maskdiff_edu.diffusion.masks import ZERO_AFTER_SCALING, cutmix
from maskdiff_edu.diffusion.objectives import Model
from maskdiff_edu.diffusion.sampling import by_boxes
from maskdiff_edu.errors import require_number
from maskdiff_edu.scans.grids import IN_PLANE


class Ask(Protocol):
    """A way to ask."""

    @property
    def passes(self) -> int: ...

    def __call__(self, model: Model, x_0: Tensor) -> Model: ...


@dataclass(frozen=True)
class InBoxes:
    """One box after the other is noised, as pDDPM does: `sampling.by_boxes`."""

    side: int  #: of a box, pixels
    across: int = IN_PLANE  #: of the slices, pixels

    def __post_init__(self) -> None:
        require_number("box", self.side, 1, 2**20, whole=True)

    @property
    def passes(self) -> int:
        return (-(-self.across // self.side)) ** 2

    def __call__(self, model: Model, x_0: Tensor) -> Model:
        return by_boxes(model, x_0, self.side)


@dataclass(frozen=True)
class InCells:
    """Every set of cells is hidden once and drawn from the others; sizes are averaged (RIAD)."""

    cells: Cells = field(default_factory=Cells)
    seed: int = 0  #: of how the cells are dealt

    @property
    def passes(self) -> int:
        return len(self.cells.sizes) * self.cells.sets

    def __call__(self, model: Model, x_0: Tensor) -> Model:
        def answer(x_t: Tensor, t: Tensor) -> Tensor:
            # The same for every slice, so that the batch size changes nothing.
            generator = torch.Generator().manual_seed(self.seed)
            total = torch.zeros_like(x_t)
            for size in self.cells.sizes:
                dealt = self.cells.deal((1, *x_t.shape[-2:]), size, generator).to(x_t.device)
                for number in range(self.cells.sets):
                    hidden = (dealt == number) & (x_0 > -1)
                    drawn = model(torch.where(hidden, ZERO_AFTER_SCALING, x_t), t)
                    total += torch.where(dealt == number, drawn, 0)
            return total / len(self.cells.sizes)

        return answer


@dataclass(frozen=True)
class ByShrinking:
    """At first all but fine detail is hidden; where the drawing fits the scan, it is shown.

    What stays hidden to the end is what the network cannot explain from its surroundings
    (IterMask, arXiv 2406.02422). The last drawing is the answer.
    """

    level: float = 0.15  #: a smoothed error below which a pixel counts as explained
    passes: int = 6
    sigma: float = 1.5  #: of the smoothing, pixels
    corruption: FineDetail = field(default_factory=FineDetail)

    def __post_init__(self) -> None:
        require_number("level", self.level, 0, 2)
        require_number("passes", self.passes, 1, 100, whole=True)

    def __call__(self, model: Model, x_0: Tensor) -> Model:
        def answer(x_t: Tensor, t: Tensor) -> Tensor:
            brain_masks = x_0 > -1
            detail = self.corruption.detail(x_t, brain_masks)
            hidden = brain_masks
            for _ in range(self.passes):
                x_0_hat = model(cutmix(x_t, detail, hidden), t)
                error = smooth((x_0 - x_0_hat).abs() * brain_masks, self.sigma)
                hidden = hidden & (error > self.level)
            return x_0_hat

        return answer


def smooth(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian filter of (b, 1, h, w), zero beyond the border."""
    reach = int(3 * sigma + 0.5)
    line = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (line / sigma) ** 2)
    kernel = kernel / kernel.sum()
    down = F.conv2d(images, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(down, kernel.view(1, 1, 1, -1), padding=(0, reach))
