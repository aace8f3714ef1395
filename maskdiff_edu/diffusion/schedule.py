"""How fast the image fades: betas, alphas_bar, and the signal-to-noise ratio at every time."""

import math

import torch
from torch import Tensor, nn

from maskdiff_edu.errors import SettingsError


def linear_betas(T: int = 1000, first: float = 1e-4, last: float = 2e-2) -> Tensor:
    """The linear schedule of DDPM (arXiv 2006.11239): T betas, float64, from `first` to `last`.

    The defaults are meant for T = 1000; with fewer steps the last image is not pure noise.

    >>> linear_betas()[[0, -1]]
    tensor([0.0001, 0.0200], dtype=torch.float64)
    """
    return torch.linspace(first, last, T, dtype=torch.float64)


def cosine_betas(T: int = 1000, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """The cosine schedule of improved DDPM (arXiv 2102.09672, equation 17): T betas, float64.

    alphas_bar follows cos^2 of the time; `offset` keeps the first step from being vanishingly
    small, `largest` keeps the last one from destroying everything at once.

    >>> cosine_betas(4)
    tensor([0.1530, 0.4170, 0.7079, 0.9990], dtype=torch.float64)
    """
    time = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    alphas_bar = torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alphas_bar[1:] / alphas_bar[:-1]).clamp(max=largest)


class Schedule(nn.Module):
    """Tables over t = 0..T-1, as buffers: `schedule.to(device)` moves them.

    `betas` (T,) are the noise powers added at each step, all between 0 and 1. Everything is
    computed in float64 and then stored as `dtype`. `1 - alphas_bar` has a table of its own
    because float32 cannot subtract .99996 from 1 without losing half the digits.

    Raises SettingsError if `betas` is not one row of numbers strictly between 0 and 1.

    >>> Schedule.cosine().snr(torch.tensor([150, 499])).round(decimals=2)
    tensor([15.6700,  0.9800])
    """

    betas: Tensor  #: noise power added at step t
    alphas_bar: Tensor  #: share of the signal's power left after step t
    one_minus_alphas_bar: Tensor  #: noise power after step t
    posterior_x_0: Tensor  #: weight of x_0 in the mean of x_{t-1}, given x_t and x_0
    posterior_x_t: Tensor  #: weight of x_t in the same mean
    posterior_variance: Tensor  #: variance of x_{t-1}, given x_t and x_0; 0 at t = 0

    def __init__(self, betas: Tensor, dtype: torch.dtype = torch.float32):
        super().__init__()
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.ndim != 1 or not ((betas > 0) & (betas < 1)).all():
            raise SettingsError(
                "betas: expected one row of numbers strictly between 0 and 1, "
                f"got shape {tuple(betas.shape)}, from {betas.min():g} to {betas.max():g}"
            )
        log_alphas_bar = torch.log1p(-betas).cumsum(0)
        alphas_bar = log_alphas_bar.exp()
        noise = -torch.expm1(log_alphas_bar)  # 1 - alphas_bar, no digits lost
        before = torch.cat([alphas_bar.new_ones(1), alphas_bar[:-1]])  # alphas_bar[t - 1]
        noise_before = torch.cat([noise.new_zeros(1), noise[:-1]])
        tables = {
            "betas": betas,
            "alphas_bar": alphas_bar,
            "one_minus_alphas_bar": noise,
            # DDPM, arXiv 2006.11239, equation 7
            "posterior_x_0": before.sqrt() * betas / noise,
            "posterior_x_t": (1 - betas).sqrt() * noise_before / noise,
            "posterior_variance": betas * noise_before / noise,
        }
        for name, table in tables.items():
            self.register_buffer(name, table.to(dtype))

    @classmethod
    def linear(cls, T: int = 1000, dtype: torch.dtype = torch.float32) -> "Schedule":
        """The schedule of `linear_betas(T)`, tables in `dtype`."""
        return cls(linear_betas(T), dtype)

    @classmethod
    def cosine(cls, T: int = 1000, dtype: torch.dtype = torch.float32) -> "Schedule":
        """The schedule of `cosine_betas(T)`, tables in `dtype`."""
        return cls(cosine_betas(T), dtype)

    @property
    def T(self) -> int:
        """The number of steps; t runs 0..T-1."""
        return len(self.betas)

    def snr(self, t: Tensor | int) -> Tensor:
        """Signal-to-noise ratio alphas_bar / (1 - alphas_bar) at t, in t's shape.

        A ratio of powers, for an image and a noise of unit variance; falls as t rises.
        Raises IndexError for a t outside 0..T-1.

        >>> Schedule.linear().snr(torch.tensor([0, 500, 999]))
        tensor([9.9990e+03, 8.4360e-02, 4.0360e-05])
        """
        return self.alphas_bar[t] / self.one_minus_alphas_bar[t]

    def t_with_snr(self, snr: float) -> int:
        """The t whose SNR is nearest to `snr` on a log scale: the fair way to name a noise level.

        Raises SettingsError if the schedule never has that SNR.

        >>> cosine, linear = Schedule.cosine(), Schedule.linear()
        >>> linear.t_with_snr(cosine.snr(499).item())
        260
        """
        table = self.snr(torch.arange(self.T, device=self.betas.device)).cpu().double()
        lowest, highest = table[-1].item(), table[0].item()
        if not lowest * (1 - 1e-5) <= snr <= highest * (1 + 1e-5):
            raise SettingsError(
                f"snr: expected a number from {lowest:.3g} (t = {self.T - 1}) to {highest:.3g} "
                f"(t = 0) for this schedule, got {snr:g}"
            )
        return int((table.log() - math.log(snr)).abs().argmin())


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """One number an image, shaped to multiply images: (b,) to (b, 1, 1, 1), in `like`'s dtype.

    >>> per_image(torch.tensor([0.5, 2.0]), torch.zeros(2, 1, 96, 96)).shape
    torch.Size([2, 1, 1, 1])
    """
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
