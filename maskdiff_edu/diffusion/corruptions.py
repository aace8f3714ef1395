"""What other methods do to a slice before the network sees it, each a corruption like `masks`'.

Coarse noise (a denoising autoencoder), the cells of a grid (RIAD), foreign texture (DISYRE) and
everything but fine detail (IterMask). All stay inside the brain; the background keeps its -1.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from maskdiff_edu.diffusion.masks import (
    BROAD_PATCHES,
    FPM,
    ZERO_AFTER_SCALING,
    BandSettings,
    Device,
    Generator,
    PatchSettings,
    cutmix,
    draw_patches,
)
from maskdiff_edu.diffusion.noise import Octaves, fractal_noise
from maskdiff_edu.errors import require_number, require_rise


@dataclass(frozen=True)
class CoarseNoise:
    """Normal numbers on a coarse grid, blown up to the slice and moved to a random place.

    The DAE of Kascenas et al. 2022 (MIDL): a fifth of the range from black to white, on a grid of
    16 by 16 for 128 pixels. A pixel between grid points is a weighted mean, so it varies less. The
    noise wraps around, so that moving it leaves no seam.
    """

    amplitude: float = 0.4  #: standard deviation on the grid, of images in [-1, 1]
    cell: int = 8  #: pixels from one grid point to the next

    def __post_init__(self) -> None:
        require_number("amplitude", self.amplitude, 0, 10)
        require_number("cell", self.cell, 1, 1000, whole=True)

    def __call__(self, images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        b, _, h, w = images.shape
        points = (b, 1, -(-h // self.cell), -(-w // self.cell))
        coarse = self.amplitude * torch.randn(points, device=images.device, generator=generator)
        wrapped = F.pad(coarse, (1, 1, 1, 1), mode="circular")
        smooth = F.interpolate(wrapped, scale_factor=self.cell, mode="bilinear")
        smooth = smooth[..., self.cell : -self.cell, self.cell : -self.cell]
        down, right = torch.randint(max(h, w), (2, b, 1), device=images.device, generator=generator)
        rows = (torch.arange(h, device=images.device) + down) % smooth.shape[2]  # (b, h)
        columns = (torch.arange(w, device=images.device) + right) % smooth.shape[3]  # (b, w)
        moved = smooth.take_along_dim(rows[:, None, :, None], 2)
        moved = moved.take_along_dim(columns[:, None, None, :], 3)  # (b, 1, h, w)
        return torch.where(brain_masks, images + moved.to(images.dtype), images)


@dataclass(frozen=True)
class Cells:
    """A slice cut into square cells, dealt at random to some sets, one of which is hidden.

    RIAD, Zavrtanik et al. 2021 (Pattern Recognition 112): every cell is hidden once while the
    others are seen, so no pixel is ever drawn from itself.
    """

    sizes: tuple[int, ...] = (4, 8, 16)  #: sides of the cells, pixels; one is drawn a slice
    sets: int = 3  #: of cells

    def __post_init__(self) -> None:
        for size in self.sizes:
            require_number("sizes", size, 1, 1000, whole=True)
        require_number("sets", self.sets, 2, 100, whole=True)

    def deal(
        self,
        shape: tuple[int, int, int],
        size: int,
        generator: Generator = None,
        device: Device = None,
    ) -> Tensor:
        """Which set each pixel belongs to, (b, 1, h, w) of 0..sets-1; sets differ by one cell.

        `shape` is (b, h, w), `size` the cells' side in pixels.
        """
        b, h, w = shape
        down, across = -(-h // size), -(-w // size)
        order = torch.rand(b, down * across, device=device, generator=generator).argsort(1)
        cells = (order.argsort(1) % self.sets).view(b, 1, down, across)
        return cells.repeat_interleave(size, 2).repeat_interleave(size, 3)[..., :h, :w]

    def __call__(self, images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        b, _, h, w = images.shape
        which = torch.randint(
            len(self.sizes), (b, 1, 1, 1), device=images.device, generator=generator
        )
        hidden = torch.zeros_like(brain_masks)
        for i, size in enumerate(self.sizes):
            dealt = self.deal((b, h, w), size, generator, images.device)
            hidden |= (which == i) & (dealt == 0)
        return torch.where(hidden & brain_masks, ZERO_AFTER_SCALING, images)


@dataclass(frozen=True)
class Foreign:
    """A soft-edged blob in which the slice fades into a foreign texture of another brightness.

    A small form of DISYRE (Naval Marimont et al., arXiv 2311.15453): the texture is fractal noise
    around a brightness of its own, and how much of it shows is drawn anew for each slice. Nothing
    here is shared with the lesions that methods are tested on.
    """

    radius: tuple[float, float] = (3, 24)  #: of a blob, pixels
    edge: float = 2.0  #: pixels over which a blob fades in
    ragged: float = 0.35  #: how far its border strays, as a share of the radius
    shift: float = 0.8  #: the texture is at most so much brighter or darker than the slice
    texture: float = 0.15  #: standard deviation of the texture
    strength: tuple[float, float] = (0.1, 1.0)  #: of the texture, beside the slice

    def __post_init__(self) -> None:
        require_rise("radius", self.radius, 0.5, 1000)
        require_rise("strength", self.strength, 0, 1)
        require_number("edge", self.edge, 0.1, 100)

    def __call__(self, images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        uniform = torch.rand(4, len(images), 1, 1, 1, device=images.device, generator=generator)
        inside = self.draw_blobs(brain_masks, generator)
        shift = self.shift * (2 * uniform[0] - 1)
        grain = fractal_noise(
            tuple(images.shape),
            Octaves(count=4, base_period=24),
            device=images.device,
            generator=generator,
        )
        foreign = (1 - uniform[2]) * images + shift + self.texture * grain * uniform[3]
        weakest, strongest = self.strength
        share = (weakest + (strongest - weakest) * uniform[1]) * inside
        mixed = torch.lerp(images, foreign.clamp(-1, 1), share)
        return torch.where(brain_masks, mixed, images)

    def draw_blobs(self, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        """One blob around a brain pixel of each slice: (b, 1, h, w), 1 inside, 0 far outside."""
        b, _, h, w = brain_masks.shape
        chances = brain_masks.flatten(1).float()
        empty = (chances.sum(1, keepdim=True) == 0).float()  # a slice without brain: anywhere
        centre = torch.multinomial(chances + empty, 1, generator=generator)[:, :, None, None]
        least, most = self.radius
        uniform = torch.rand(2, b, 1, 1, 1, device=brain_masks.device, generator=generator)
        radius = least * (most / least) ** uniform[0]  # as many small ones as large ones
        stretch = 2 ** (uniform[1] - 0.5)  # up to twice as long as wide
        rows = torch.arange(h, device=brain_masks.device)[:, None] - centre // w
        columns = torch.arange(w, device=brain_masks.device) - centre % w
        distance = torch.hypot(rows * stretch, columns / stretch)
        border = fractal_noise(
            (b, 1, h, w),
            Octaves(count=3, base_period=32),
            device=brain_masks.device,
            generator=generator,
        )
        away = radius * (1 + self.ragged * border) - distance  # pixels inwards of the border
        return torch.sigmoid(4 * away / self.edge)


@dataclass(frozen=True)
class FineDetail:
    """Of some regions, at times of the whole brain, only the high frequencies are left.

    A small form of IterMask (Liang et al., arXiv 2406.02422), which shows the high frequencies of
    the hidden part so that the network can tell where the folds lie, not how bright they are.
    """

    detail: FPM = field(default_factory=lambda: FPM(BandSettings(0, 1, 0, (6, 6))))
    patches: PatchSettings = BROAD_PATCHES
    everything: float = 0.3  #: chance that the whole brain is hidden

    def __post_init__(self) -> None:
        require_number("everything", self.everything, 0, 1)

    def __call__(self, images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        whole = (
            torch.rand(len(images), 1, 1, 1, device=images.device, generator=generator)
            < self.everything
        )
        hidden = draw_patches(brain_masks, self.patches, generator) | (whole & brain_masks)
        return cutmix(images, self.detail(images, brain_masks, generator), hidden)
