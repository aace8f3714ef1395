"""The noise that is added: white, or fractal, both of unit variance; or none."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maskdiff_edu.errors import SettingsError, require_number


def gaussian_noise(
    shape: tuple[int, ...],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """White Gaussian noise of unit variance: every pixel on its own, every frequency alike.

    `shape` is any, of images (b, 1, h, w); returns that shape on `device`, in `dtype`.

    >>> gaussian_noise((32, 1, 96, 96), generator=torch.Generator().manual_seed(0)).shape
    torch.Size([32, 1, 96, 96])
    """
    return torch.randn(shape, device=device, dtype=dtype, generator=generator)


def no_noise(
    shape: tuple[int, ...],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Zeros, for methods that give back a slice without noising it; arguments as its siblings'.

    At t = 0 a slice then reaches the network as it is, up to a factor sqrt(alphas_bar) of nearly 1.

    >>> no_noise((1, 1, 96, 96)).any()
    tensor(False)
    """
    return torch.zeros(shape, device=device, dtype=dtype)


@dataclass(frozen=True)
class Octaves:
    """What fractal noise is made of: large blobs, half as large ones, and so on to the grain.

    Octave k has blobs about `base_period / 2**k` pixels across and `persistence**k` times the
    amplitude of octave 0. The defaults are those of AnoDDPM's simplex noise.

    Raises SettingsError for a `count` outside 1..16, a `persistence` outside 0..1, and a
    `base_period` under 1 pixel.

    >>> coarse = Octaves(count=3, base_period=32)  # blobs of 32, 16 and 8 pixels
    """

    count: int = 6  #: of sizes
    persistence: float = 0.8  #: amplitude of an octave over that of the one before it
    base_period: float = 64  #: size of the largest blobs, pixels

    def __post_init__(self) -> None:
        require_number("count", self.count, 1, 16, whole=True)
        require_number("persistence", self.persistence, 0, 1)
        require_number("base_period", self.base_period, 1, float("inf"))


def fractal_noise(
    shape: tuple[int, ...],
    octaves: Octaves = Octaves(),
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Gaussian noise made of `octaves`: blobs of many sizes.

    `shape` is (b, c, h, w); each of the b * c fields is independent. White noise is coloured in
    frequency space, so that every pixel has variance 1 *in expectation*: one field may have .6 and
    the next 1.5, which is what random means. (Scaling each field to variance 1 gives another, rarer
    noise.) A field has mean 0 and wraps around: its left edge goes on at its right one.

    Raises SettingsError for blobs of over 4 times the shorter side: they would not vary.

    >>> fractal_noise((32, 1, 96, 96)).shape
    torch.Size([32, 1, 96, 96])
    """
    *_, h, w = shape
    if octaves.base_period > 4 * min(h, w):
        raise SettingsError(
            f"base_period: expected at most 4 times the shorter side, {4 * min(h, w)} pixels, "
            f"got {octaves.base_period}"
        )
    working = torch.promote_types(dtype, torch.float32)  # FFTs do not take half precision
    white = torch.randn(shape, device=device, dtype=working, generator=generator)
    power = octave_spectrum(h, w, octaves, device=white.device, dtype=working)
    gain = power[:, : w // 2 + 1].sqrt()  # (h, w // 2 + 1), the half that rfft2 returns
    return torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(h, w)).to(dtype)


def octave_spectrum(
    h: int,
    w: int,
    octaves: Octaves = Octaves(),
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Power of the fractal noise at every frequency: (h, w), unshifted, of mean 1.

    Each octave is a ring r^2 exp(-r^2), r = 2 x frequency x period, strongest where a bright and
    a dark blob, each a period wide, make one cycle. The defaults put .85 of the power below 8
    cycles per 96 pixels; simplex noise has .84. By Parseval a mean power of 1 is a pixel variance
    of 1. `h` and `w` are pixels.

    >>> power = octave_spectrum(96, 96)
    >>> power.mean().round(decimals=4), power[0, 0]
    (tensor(1.), tensor(0.))
    """
    rows = torch.fft.fftfreq(h, device=device, dtype=dtype)[:, None]  # cycles a pixel
    columns = torch.fft.fftfreq(w, device=device, dtype=dtype)[None, :]
    frequency_squared = rows**2 + columns**2  # (h, w)
    total = torch.zeros_like(frequency_squared)
    for k in range(octaves.count):
        r_squared = frequency_squared * (2 * octaves.base_period / 2**k) ** 2
        ring = r_squared * torch.exp(-r_squared)
        total = total + octaves.persistence ** (2 * k) * ring / ring.mean()
    return total / total.mean()
