"""Where and what to hide: rectangles, frequencies, and a mixture of both.

A *corruption* is any callable (images, brain_masks, generator) -> images; training takes it as an
argument. Images are (b, 1, h, w) in [-1, 1] with the background at -1, brain masks (b, 1, h, w)
bool. `draw_*` decides where, `apply_*` does it.

>>> images, brain_masks = torch.zeros(4, 1, 96, 96), torch.ones(4, 1, 96, 96, dtype=torch.bool)
>>> FPMCutMix()(images, brain_masks, torch.Generator().manual_seed(0)).shape
torch.Size([4, 1, 96, 96])
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maskdiff_edu.errors import SettingsError, require_number, require_rise

Generator = torch.Generator | None
Device = torch.device | str | None
Corruption = Callable[[Tensor, Tensor, Generator], Tensor]  #: images, brain_masks, generator

ZERO_BEFORE_SCALING = -1.0  #: 0 of an image in [0, 1], the hole looks like background
ZERO_AFTER_SCALING = 0.0  #: 0 of an image in [-1, 1], the hole is mid-grey


@dataclass(frozen=True)
class PatchSettings:
    """How many rectangles hide a slice, and how large. SettingsError if a range does not rise."""

    count: tuple[int, int]  #: rectangles a slice, uniform, both ends included
    sides: tuple[float, float]  #: height and width, each uniform, as a share of the brain's rows
    coverage: tuple[float, float] | None = None  #: stop at a share of the brain drawn from here

    def __post_init__(self):
        require_rise("count", self.count, 0, 60, whole=True, positive=True)
        require_rise("sides", self.sides, 0, 1, positive=True)
        if self.coverage is not None:
            require_rise("coverage", self.coverage, 0, 1)


#: mDDPM as the paper tells it, rectangles until 10 to 90 % of the brain is hidden. Forty candidates
#: reach 90 % almost always; their size is our choice, the paper does not state one.
PAPER_PATCHES = PatchSettings(count=(40, 40), sides=(0.1, 0.4), coverage=(0.1, 0.9))
#: mDDPM as its released code does it, about 6 % of the brain, one slice in six untouched.
RELEASED_PATCHES = PatchSettings(count=(0, 5), sides=(0.09, 0.18))
#: Between the two, always something hidden, rarely most of it. What the presets train with.
BROAD_PATCHES = PatchSettings(count=(1, 8), sides=(0.06, 0.35))


@dataclass(frozen=True)
class BandSettings:
    """Which part of the spectrum is removed. SettingsError for chances that do not sum to 1."""

    low_pass: float  #: chance to keep only a centred square of bins -w..w
    high_pass: float  #: chance to remove only that square
    off_centre: float  #: chance to remove off-centre rectangles and their mirrored twins
    half_width: tuple[int, int] = (
        2,
        10,
    )  #: w, ends included; squares have 2w + 1 bins, rectangles 2w
    pairs: int = 4  #: off-centre rectangles, each with its twin

    def __post_init__(self):
        chances = (self.low_pass, self.high_pass, self.off_centre)
        if min(chances) < 0 or not math.isclose(sum(chances), 1):
            raise SettingsError(
                "low_pass, high_pass, off_centre: expected three chances of at least 0 that sum to "
                f"1, got {chances}"
            )
        require_rise("half_width", self.half_width, 0, 10_000, whole=True)
        require_number("pairs", self.pairs, 1, 60, whole=True)


RELEASED_BANDS = BandSettings(low_pass=0.5, high_pass=0.5, off_centre=0)  #: as released
MIXED_BANDS = BandSettings(low_pass=1 / 3, high_pass=1 / 3, off_centre=1 / 3)  #: all kinds


def draw_patches(
    brain_masks: Tensor, settings: PatchSettings, generator: Generator = None
) -> Tensor:
    """Random rectangles inside `brain_masks` (b, 1, h, w): bool of that shape, True where hidden.

    Each rectangle is centred on a brain pixel drawn uniformly and cut off at the brain's edge
    (hiding background would cost the network nothing). With `coverage` set, rectangles count up to
    the first that brings the hidden share of the brain to a drawn one.
    """
    b, _, h, w = brain_masks.shape
    fewest, k = settings.count
    uniform = torch.rand(5, b, k, device=brain_masks.device, generator=generator)

    # 1. Centres: a row in proportion to its brain pixels, then one of its brain pixels.
    pixels_of_row = brain_masks[:, 0].sum(dim=2, dtype=torch.int32)  # (b, h)
    row = _draw_index(pixels_of_row, uniform[0])  # (b, k)
    row_of_batch = row + h * torch.arange(b, device=row.device)[:, None]
    chosen_rows = as_numbers(brain_masks.flatten(0, 2)[row_of_batch])  # (b, k, w)
    column = _draw_index(chosen_rows, uniform[1, :, :, None]).squeeze(2)  # (b, k)

    # 2. Sides, in pixels.
    brain_rows = (pixels_of_row > 0).sum(dim=1, keepdim=True)  # (b, 1)
    shortest, longest = settings.sides
    sides = (shortest + (longest - shortest) * uniform[2:4]) * brain_rows
    height, width = sides.round().long().clamp(min=1)  # (b, k) each
    inside_rows = between(row - height // 2, height, h)  # (b, k, h)
    inside_columns = between(column - width // 2, width, w)  # (b, k, w)

    # 3. How many rectangles are kept.
    kept = fewest + (uniform[4, :, :1] * (k - fewest + 1)).floor().clamp(max=k - fewest)  # (b, 1)
    if settings.coverage is None:
        is_kept = torch.arange(k, device=kept.device) < kept  # (b, k)
        return union(inside_rows * is_kept[:, :, None], inside_columns)[:, None] & brain_masks
    least, most = settings.coverage
    share = least + (most - least) * uniform[4, :, 1:2]
    enough = share * pixels_of_row.sum(dim=1, keepdim=True)  # (b, 1), brain pixels
    trace = trace_first(inside_rows, inside_columns)  # (b, h, w)
    hidden = newly_hidden(trace, brain_masks[:, 0]).cumsum(dim=1)  # (b, 64), pixels so far
    kept = torch.minimum(kept, (hidden[:, :k] < enough).sum(dim=1, keepdim=True) + 1)
    return trace.ge_(0.25 ** (kept[:, :, None] - 1)).bool()[:, None] & brain_masks


def _draw_index(weights: Tensor, uniform: Tensor) -> Tensor:
    """Indices drawn in proportion to weights (..., n), one for each uniform (..., m) in [0, 1)."""
    steps = weights.cumsum(-1, dtype=torch.float32)
    index = torch.searchsorted(steps, uniform * steps[..., -1:], right=True)
    return index.clamp(max=weights.shape[-1] - 1)  # rounding up to 1, or no weight at all


def apply_patches(
    images: Tensor,
    brain_masks: Tensor,
    patch_mask: Tensor,
    fill: float | Literal["mean", "noise"],
    generator: Generator = None,
) -> Tensor:
    """Fill the pixels of `patch_mask`; all else stays. All are (b, 1, h, w), the masks bool.

    `fill` is a value in [-1, 1] (ZERO_AFTER_SCALING is mid-grey, ZERO_BEFORE_SCALING looks like
    background), "mean" for the slice's mean over the brain, or "noise" for white noise of the
    brain's mean and spread. A hole is no noise: it is an image value, on top of which noise comes.

    Raises SettingsError for any other fill.
    """
    if isinstance(fill, int | float) and -1 <= fill <= 1:
        return torch.where(patch_mask, fill, images)
    if fill not in ("mean", "noise"):
        raise SettingsError(f'fill: expected a number in [-1, 1], "mean" or "noise", got {fill!r}')
    mean = brain_mean(images, brain_masks)
    if fill == "mean":
        return torch.where(patch_mask, mean, images)
    spread = brain_mean((images - mean).square(), brain_masks).sqrt()
    noise = torch.randn(images.shape, device=images.device, generator=generator)
    return torch.where(patch_mask, mean + spread * noise.to(images.dtype), images)


def brain_mean(images: Tensor, brain_masks: Tensor) -> Tensor:
    """Mean of `images` (b, 1, h, w) over each slice's brain, (b, 1, 1, 1); 0 without brain."""
    inside = as_numbers(brain_masks)
    total = (images * inside).sum(dim=(2, 3), keepdim=True)
    return total / inside.sum(dim=(2, 3), keepdim=True).clamp(min=1)


def draw_bands(
    shape: tuple[int, int, int],
    settings: BandSettings,
    *,
    generator: Generator = None,
    device: Device = None,
) -> Tensor:
    """Which frequencies to keep: (b, 1, h, w) bool on the *shifted* spectrum, True = kept.

    `shape` is (b, h, w). Squares hold the bins -w..w, so that with each frequency k they hold -k;
    an off-centre rectangle comes with its twin at -k. Only such Hermitian masks keep a real image
    real. The mean, bin (h // 2, w // 2), is removed by a high-pass alone.
    """
    b, h, w = shape
    low, high = settings.half_width
    half = torch.randint(low, high + 1, (b, 1, 1), generator=generator, device=device)
    draw = torch.rand(b, 1, 1, generator=generator, device=device)
    rows = (_frequencies(h, device).abs() <= half).float()  # (b, 1, h)
    columns = (_frequencies(w, device).abs() <= half).float()  # (b, 1, w)
    # True where the two differ: the square for a low-pass, all but the square for a high-pass.
    kept = (rows.mT * columns - (draw >= settings.low_pass).float()).bool()  # (b, h, w)
    if settings.off_centre:
        removed = _draw_off_centre(shape, settings, generator, device)
        kept = torch.where(draw < settings.low_pass + settings.high_pass, kept, ~removed)
    return kept[:, None]


def _draw_off_centre(
    shape: tuple[int, int, int], settings: BandSettings, generator: Generator, device: Device
) -> Tensor:
    """Off-centre rectangles and their mirrored twins on the shifted spectrum: (b, h, w) bool.

    Distance from the centre and direction are uniform, which favours the low frequencies, where
    an image has its power. The distance is such that no rectangle touches the mean.
    """
    b, h, w = shape
    k = settings.pairs
    low, high = settings.half_width
    half = torch.randint(low, high + 1, (2, b, k, 1), generator=generator, device=device)
    distance, angle = torch.rand(2, b, k, 1, generator=generator, device=device)
    nearest = math.sqrt(2) * half.amax(dim=0) + 1  # (b, k, 1)
    distance = nearest + distance * (min(h, w) / 2 - nearest).clamp(min=0)
    angle = angle * math.pi  # half a turn: the twins hold the other half
    rows = (_frequencies(h, device) - distance * angle.sin()).abs() <= half[0]  # (b, k, h)
    columns = (_frequencies(w, device) - distance * angle.cos()).abs() <= half[1]  # (b, k, w)
    rectangles = union(rows.float(), columns.float())  # (b, h, w)
    return rectangles | mirror(rectangles)


def _frequencies(n: int, device: Device) -> Tensor:
    """Frequencies of a shifted spectrum, in cycles an image: -(n // 2) .. (n - 1) // 2."""
    return torch.arange(n, device=device) - n // 2


def mirror(spectrum: Tensor) -> Tensor:
    """Frequency k takes the value of -k, (..., h, w) shifted; a Hermitian mask stays as it is."""
    # An even axis holds the frequency -n/2 without its twin n/2: after the flip it stands last.
    even = tuple(1 - n % 2 for n in spectrum.shape[-2:])
    return spectrum.flip((-2, -1)).roll(even, (-2, -1))


def apply_bands(
    images: Tensor,
    brain_masks: Tensor,
    band_mask: Tensor,
    *,
    keep_mean: bool,
    highest: int | None = None,
) -> Tensor:
    """Remove the frequencies that `band_mask` does not keep: (b, 1, h, w), background at -1.

    Works on images + 1, whose background is 0; what rings outside the brain is cut off. A
    high-pass removes the mean as well: the brain becomes nearly as dark as the background, and its
    brightness must be guessed from structure. `keep_mean` adds a constant inside the brain so that
    each slice's mean over the brain stays. Values may overshoot [-1, 1].

    `band_mask` must be Hermitian (see `mirror`), as `draw_bands` makes it: half of it is used.
    `highest` saves time: beyond this column frequency each mask must keep everything, or nothing.
    """
    w = images.shape[-1]
    used = 1 + (w // 2 if highest is None else min(highest, w // 2))  # columns of the spectrum
    # What the mask does in its corner is done to the image; the rest needs the spectrum.
    corner = as_numbers(band_mask[..., :1, :1]).to(images.dtype)  # (b, 1, 1, 1)
    gain = as_numbers(torch.fft.ifftshift(band_mask, dim=(-2, -1))[..., :used]) - corner
    shifted = images + 1
    spectrum = torch.fft.fft(torch.fft.rfft(shifted)[..., :used], dim=-2)  # (b, 1, h, used)
    filtered = torch.fft.irfft(torch.fft.ifft(spectrum * gain, dim=-2), n=w)
    filtered.addcmul_(corner, shifted)
    if keep_mean:
        filtered += brain_mean(shifted - filtered, brain_masks)
    return filtered.mul_(as_numbers(brain_masks)).sub_(1)


def cutmix(images: Tensor, pasted: Tensor, patch_mask: Tensor) -> Tensor:
    """`images` with the patches of `pasted`, all (b, 1, h, w). CutMix, arXiv 1905.04899."""
    return torch.where(patch_mask, pasted, images)


def no_corruption(images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
    """The plain DDPM's corruption: none."""
    return images


@dataclass(frozen=True)
class IPM:
    """Image patch masking: rectangles of the brain get one value (arXiv 2305.19867)."""

    patches: PatchSettings = PAPER_PATCHES
    fill: float | Literal["mean", "noise"] = ZERO_AFTER_SCALING

    def __call__(self, images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        patch_mask = draw_patches(brain_masks, self.patches, generator)
        return apply_patches(images, brain_masks, patch_mask, self.fill, generator)


@dataclass(frozen=True)
class FPM:
    """Frequency patch masking: part of each slice's spectrum is removed (arXiv 2305.19867)."""

    bands: BandSettings = RELEASED_BANDS
    keep_mean: bool = False  #: keep each slice's mean over the brain

    def __call__(self, images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        b, _, h, w = images.shape
        band_mask = draw_bands((b, h, w), self.bands, generator=generator, device=images.device)
        highest = None if self.bands.off_centre else self.bands.half_width[1]
        return apply_bands(
            images, brain_masks, band_mask, keep_mean=self.keep_mean, highest=highest
        )


@dataclass(frozen=True)
class FPMCutMix:
    """FPM-CM: rectangles of the FPM image pasted into the clean one (arXiv 2305.19867)."""

    fpm: FPM = FPM()  #: what is pasted
    patches: PatchSettings = BROAD_PATCHES  #: where

    def __call__(self, images: Tensor, brain_masks: Tensor, generator: Generator = None) -> Tensor:
        patch_mask = draw_patches(brain_masks, self.patches, generator)
        return cutmix(images, self.fpm(images, brain_masks, generator), patch_mask)


# Rectangles, many at once. One is the rows and the columns inside of it: k rectangles in each of b
# slices are two tensors of 0 and 1, (b, k, h) and (b, k, w), and a matrix product tells what they
# hide together.


def as_numbers(mask: Tensor) -> Tensor:
    """The same memory read as 0 and 1: in arithmetic, a CPU is several times slower with bools."""
    return mask.view(torch.uint8)


def between(start: Tensor, length: Tensor, n: int) -> Tensor:
    """1 at positions start, ..., start + length - 1 of 0..n-1, else 0: (b, k, n) float."""
    half = (length[:, :, None] - 1) / 2
    positions = torch.arange(n, dtype=half.dtype, device=half.device)
    return (positions - (start[:, :, None] + half)).abs_().le_(half)


def union(inside_rows: Tensor, inside_columns: Tensor) -> Tensor:
    """(b, h, w) bool: pixels in any of the k rectangles."""
    return (inside_rows.mT @ inside_columns).bool()


def trace_first(inside_rows: Tensor, inside_columns: Tensor) -> Tensor:
    """Which of k <= 60 rectangles is the first to hide each pixel: (b, h, w) float.

    From 4^-j to below 2 * 4^-j where it is rectangle j of 0..k-1, and 0 for none.
    """
    k = inside_rows.shape[1]
    # Rectangle j weighs 1.25 * 4^-j, and all later ones together at most a third of that: no
    # rounding reaches the next power of two. (float16 has no 4^-20: not under its autocast.)
    weight = 1.25 * 0.25 ** torch.arange(k, device=inside_rows.device)[:, None]
    return ((inside_rows * weight).mT @ inside_columns).float()


def newly_hidden(trace: Tensor, mask: Tensor) -> Tensor:
    """How many of the mask's pixels (b, h, w) rectangle j is the first to hide: (b, 64) int32.

    `trace` is what `trace_first` returns. The last entry counts the pixels that none hides.
    """
    # A float32 of about 4^-j has the bits (127 - 2j) << 23, and 0 has none.
    last_first = (trace.view(torch.int32) >> 24).flatten(1).long()  # 63 - j, in (b, h * w)
    counts = torch.zeros((len(trace), 64), dtype=torch.int32, device=trace.device)
    return counts.scatter_add_(1, last_first, mask.flatten(1).int()).flip(1)
