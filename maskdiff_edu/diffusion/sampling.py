"""Noise an image, take the noise away: one step, many steps, and a scan's reconstruction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from maskdiff_edu.diffusion.noise import fractal_noise, gaussian_noise
from maskdiff_edu.diffusion.objectives import Model, box_grid
from maskdiff_edu.diffusion.schedule import Schedule, per_image
from maskdiff_edu.errors import SettingsError

Noise = Callable[..., Tensor]  #: gaussian_noise, fractal_noise or one with the same keywords


def add_noise(x_0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """Jump from x_0 straight to x_t: sqrt(alphas_bar) x_0 + sqrt(1 - alphas_bar) eps.

    `x_0` and `eps` are (b, 1, h, w), `t` is (b,) int64 in 0..T-1. DDPM, arXiv 2006.11239,
    equation 4. In masked training `x_0` is the corrupted image.

    >>> x_0, t = torch.zeros(2, 1, 96, 96), torch.tensor([0, 999])
    >>> x_t = add_noise(x_0, t, torch.ones_like(x_0), Schedule.linear())
    >>> x_t[:, 0, 0, 0]
    tensor([0.0100, 1.0000])
    """
    signal = per_image(schedule.alphas_bar[t].sqrt(), x_0)
    noise = per_image(schedule.one_minus_alphas_bar[t].sqrt(), x_0)
    return signal * x_0 + noise * eps


def posterior(x_0_hat: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Mean (b, 1, h, w) and variance (b, 1, 1, 1) of x_{t-1}, were `x_0_hat` the true x_0.

    Shapes as in `add_noise`. DDPM, arXiv 2006.11239, equations 6 and 7. At t = 0 the mean is
    x_0_hat, the variance 0.

    >>> x_0_hat, x_t = torch.zeros(2, 1, 96, 96), torch.ones(2, 1, 96, 96)
    >>> mean, variance = posterior(x_0_hat, x_t, torch.tensor([0, 500]), Schedule.linear())
    >>> mean[:, 0, 0, 0], variance.flatten()
    (tensor([0.0000, 0.9941]), tensor([0.0000, 0.0101]))
    """
    mean = (
        per_image(schedule.posterior_x_0[t], x_t) * x_0_hat
        + per_image(schedule.posterior_x_t[t], x_t) * x_t
    )
    return mean, per_image(schedule.posterior_variance[t], x_t)


def ddpm_step(x_0_hat: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """One random step down, from x_t to x_{t-1}: a draw from `posterior` with the fresh noise eps.

    Shapes as in `add_noise`; returns (b, 1, h, w), at t = 0 x_0_hat itself. DDPM,
    arXiv 2006.11239, algorithm 2.
    """
    mean, variance = posterior(x_0_hat, x_t, t, schedule)
    return mean + variance.sqrt() * eps


def ddim_step(
    x_0_hat: Tensor,
    x_t: Tensor,
    t: Tensor,
    t_next: Tensor,
    schedule: Schedule,
    fresh: tuple[float, Tensor] | None = None,
) -> Tensor:
    """One step down from x_t to x_{t_next}, any distance; t_next = -1 is the clean image.

    `t` and `t_next` are (b,) int64, t_next < t. Nothing is random unless there is `fresh` noise,
    a pair (eta, eps): then a part of the noise in x_t gives way to eps, the more the larger eta.
    With eta = 1 and t_next = t - 1 it is `ddpm_step`. DDIM, arXiv 2010.02502, equations 12 and 16.

    Raises SettingsError if eta lies outside 0..1.

    >>> x_0_hat, x_t, eps = torch.zeros(2, 1, 8, 8), *torch.randn(2, 2, 1, 8, 8)
    >>> t, t_next, schedule = torch.tensor([500, 900]), torch.tensor([100, -1]), Schedule.cosine()
    >>> ddim_step(x_0_hat, x_t, t, t_next, schedule, fresh=(0.5, eps)).shape
    torch.Size([2, 1, 8, 8])
    """
    signal = per_image(schedule.alphas_bar[t], x_t)
    noise = per_image(schedule.one_minus_alphas_bar[t], x_t)
    is_clean = per_image(t_next < 0, x_t) > 0  # (b, 1, 1, 1)
    earlier = t_next.clamp(min=0)
    signal_next = per_image(schedule.alphas_bar[earlier], x_t).masked_fill(is_clean, 1.0)
    noise_next = per_image(schedule.one_minus_alphas_bar[earlier], x_t).masked_fill(is_clean, 0.0)

    eps_hat = (x_t - signal.sqrt() * x_0_hat) / noise.sqrt()
    if fresh is None:
        return signal_next.sqrt() * x_0_hat + noise_next.sqrt() * eps_hat
    eta, eps = fresh
    _require_eta(eta)
    # Equation 16's sigma^2, rearranged so that float32 need not subtract nearly equal numbers.
    snr_ratio = signal / noise * noise_next / signal_next  # SNR at t over SNR at t_next
    anew = eta**2 * (1 - snr_ratio)  # share of the noise that eps takes the place of
    kept = 1 - eta**2 + eta**2 * snr_ratio
    mixed = kept.sqrt() * eps_hat + anew.sqrt() * eps
    return signal_next.sqrt() * x_0_hat + noise_next.sqrt() * mixed


@dataclass(frozen=True)
class Walk:
    """A way down from noise to a clean image: where it stops, and how random it is.

    Raises SettingsError if `eta` lies outside 0..1.

    >>> ddpm = Walk(range(999, -1, -1))  # a range alone does as well
    >>> ddim = Walk(range(999, -1, -20), eta=0)
    """

    times: Sequence[int]  #: the stops, falling, as `range(T - 1, -1, -1)` does
    eta: float = 1.0  #: 1 with a stop at every t is DDPM, 0 draws no noise on the way and is DDIM

    def __post_init__(self) -> None:
        _require_eta(self.eta)


@torch.no_grad()
def sample(
    model: Model,
    x_t: Tensor,
    walk: Sequence[int] | Walk,
    schedule: Schedule,
    *,
    noise: Noise = gaussian_noise,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Walk from x_t down to a clean image, yielding (t, x_t, x_0_hat) at each stop of the walk.

    `x_t` (b, 1, h, w) is the image at the first stop, pure noise if that is T-1. The last x_0_hat
    is the sample. Times alone stand for a `Walk` with fresh noise on the way, as DDPM's;
    `Walk(times, eta=0)` is DDIM. `noise` should be the kind that the model was trained with. The
    model answers x_0: one that answers eps or v goes in as `as_x_0(model, "eps", schedule)`.

    Raises SettingsError if the times do not fall or leave 0..T-1.

    >>> model, x_t = (lambda x_t, t: 0.5 * x_t), torch.randn(2, 1, 96, 96)
    >>> [t for t, x_t, x_0_hat in sample(model, x_t, range(999, -1, -250), Schedule.cosine())]
    [999, 749, 499, 249]
    """
    times, eta = _stops(walk, schedule)
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        x_0_hat = model(x_t, _full(t, x_t))
        yield t, x_t, x_0_hat
        if t_next >= 0:
            fresh = (eta, _like(noise, x_t, generator)) if eta else None
            x_t = ddim_step(x_0_hat, x_t, _full(t, x_t), _full(t_next, x_t), schedule, fresh)


@torch.no_grad()
def reconstruct(
    model: Model,
    x_0: Tensor,
    t: int | Sequence[int],
    schedule: Schedule,
    *,
    noise: Noise = fractal_noise,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The pseudo-healthy x_0_hat (b, 1, h, w): noise the scan to t, denoise it in one step.

    Of several times `t` each gets a noising of its own, and the answers are averaged: four draws
    at 150 are `[150] * 4`. Every draw hides something else, so the average of many is closer to
    the scan than the best single answer can be. No mask is used here. arXiv 2305.19867, with one
    t and one draw.

    Raises SettingsError if there is no time, or one outside 0..T-1.

    >>> model, x_0 = (lambda x_t, t: 0.5 * x_t), torch.zeros(2, 1, 96, 96)
    >>> reconstruct(model, x_0, [100, 100, 150, 150], Schedule.cosine()).shape
    torch.Size([2, 1, 96, 96])
    """
    times = [t] if isinstance(t, int) else list(t)
    if not times or not all(0 <= time < schedule.T for time in times):
        raise SettingsError(f"t: expected one time or more in 0..{schedule.T - 1}, got {t}")
    total = torch.zeros_like(x_0)
    for time in times:
        x_t = add_noise(x_0, _full(time, x_0), _like(noise, x_0, generator), schedule)
        total = total + model(x_t, _full(time, x_t))
    return total / len(times)


def by_boxes(model: Model, x_0: Tensor, side: int) -> Model:
    """The same model, asked about one box of x_0 after the other: for one that was trained so.

    Each time the scan `x_0`, (b, 1, h, w), is noised within one box of `side` pixels only, and the
    answers inside the boxes are put together, as pDDPM does (arXiv 2303.03758). What lies outside
    the box the model sees without noise, lesions too. Errors as for `objectives.box_grid`.

    >>> model, x_0 = (lambda x_t, t: 0.5 * x_t), torch.zeros(2, 1, 96, 96)
    >>> reconstruct(by_boxes(model, x_0, side=48), x_0, 150, Schedule.cosine()).shape
    torch.Size([2, 1, 96, 96])
    """
    h, w = x_0.shape[-2:]
    boxes = box_grid(h, w, side, x_0.device)  # (boxes, h, w)

    def answer(x_t: Tensor, t: Tensor) -> Tensor:
        x_0_hat = x_0
        for box in boxes:
            inside = model(torch.where(box, x_t, x_0), t)
            x_0_hat = torch.where(box, inside, x_0_hat)
        return x_0_hat

    return answer


def reconstruct_by_chain(
    model: Model,
    x_0: Tensor,
    walk: Sequence[int] | Walk,
    schedule: Schedule,
    *,
    noise: Noise = fractal_noise,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Noise the scan to the first stop, then walk all the way down: a sample, not an average.

    As sharp as a real image and twice as far from it (in squared error) as the one-step answer of
    an ideal model. AnoDDPM (Wyatt et al., CVPR workshops 2022). Arguments and errors as in
    `sample`.

    >>> model, x_0 = (lambda x_t, t: 0.5 * x_t), torch.zeros(2, 1, 96, 96)
    >>> reconstruct_by_chain(model, x_0, range(250, -1, -50), Schedule.cosine()).shape
    torch.Size([2, 1, 96, 96])
    """
    [first, *_], _ = _stops(walk, schedule)
    x_t = add_noise(x_0, _full(first, x_0), _like(noise, x_0, generator), schedule)
    stops = sample(model, x_t, walk, schedule, noise=noise, generator=generator)
    [(_, _, x_0_hat)] = deque(stops, maxlen=1)  # lets go of every stop but the last
    return x_0_hat


def _stops(walk: Sequence[int] | Walk, schedule: Schedule) -> tuple[list[int], float]:
    """The times of a walk, if they fall within the schedule, and its eta."""
    walk = walk if isinstance(walk, Walk) else Walk(walk)
    times = list(walk.times)
    falls = all(t > t_next for t, t_next in pairwise(times))
    if not times or not falls or times[0] >= schedule.T or times[-1] < 0:
        raise SettingsError(f"times: expected a fall within {schedule.T - 1}..0, got {times}")
    return times, walk.eta


def _require_eta(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise SettingsError(f"eta: expected a number in 0..1, got {eta}")


def _full(t: int, x: Tensor) -> Tensor:
    """The same t for every image: (b,) int64 on x's device."""
    return torch.full((len(x),), t, dtype=torch.long, device=x.device)


def _like(noise: Noise, x: Tensor, generator: torch.Generator | None) -> Tensor:
    return noise(tuple(x.shape), device=x.device, dtype=x.dtype, generator=generator)
