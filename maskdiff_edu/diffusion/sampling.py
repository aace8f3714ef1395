"""Noise an image, take the noise away: one step, many steps, and a scan's reconstruction."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
    *,
    eta: float = 0.0,
    eps: Tensor | None = None,
) -> Tensor:
    """One step down from x_t to x_{t_next}, any distance; t_next = -1 is the clean image.

    `t` and `t_next` are (b,) int64, t_next < t. With `eta` = 0 nothing is random; with 1 and
    t_next = t - 1 it is `ddpm_step`. DDIM, arXiv 2010.02502, equations 12 and 16.

    Raises SettingsError if `eta` lies outside 0..1, or is not 0 and no fresh noise `eps` is given.
    """
    if not 0 <= eta <= 1:
        raise SettingsError(f"eta: expected a number in 0..1, got {eta}")
    if eta and eps is None:
        raise SettingsError(f"eps: expected fresh noise like x_t for eta = {eta}, got none")
    signal = per_image(schedule.alphas_bar[t], x_t)
    noise = per_image(schedule.one_minus_alphas_bar[t], x_t)
    is_clean = per_image(t_next < 0, x_t) > 0  # (b, 1, 1, 1)
    earlier = t_next.clamp(min=0)
    signal_next = per_image(schedule.alphas_bar[earlier], x_t).masked_fill(is_clean, 1.0)
    noise_next = per_image(schedule.one_minus_alphas_bar[earlier], x_t).masked_fill(is_clean, 0.0)

    eps_hat = (x_t - signal.sqrt() * x_0_hat) / noise.sqrt()
    if not eta or eps is None:
        return signal_next.sqrt() * x_0_hat + noise_next.sqrt() * eps_hat
    # Equation 16's sigma^2, rearranged so that float32 need not subtract nearly equal numbers.
    snr_ratio = signal / noise * noise_next / signal_next  # SNR at t over SNR at t_next
    fresh = eta**2 * (1 - snr_ratio)  # share of the noise that is drawn anew
    kept = 1 - eta**2 + eta**2 * snr_ratio
    mixed = kept.sqrt() * eps_hat + fresh.sqrt() * eps
    return signal_next.sqrt() * x_0_hat + noise_next.sqrt() * mixed


@torch.no_grad()
def sample(
    model: Model,
    x_t: Tensor,
    times: Sequence[int],
    schedule: Schedule,
    *,
    eta: float = 1.0,
    noise: Noise = gaussian_noise,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Walk from x_t down to a clean image, yielding (t, x_t, x_0_hat) at each of `times`.

    `x_t` (b, 1, h, w) is the image at times[0], pure noise if that is T-1; `times` falls, as
    `range(T - 1, -1, -1)` does. The last x_0_hat is the sample. `eta` = 1 over every t is DDPM,
    0 is DDIM. `noise` should be the kind that the model was trained with. The model answers x_0:
    one that answers eps or v goes in as `as_x_0(model, "eps", schedule)`.

    Raises SettingsError if `times` does not fall or leaves 0..T-1.

    >>> model, x_t = (lambda x_t, t: 0.5 * x_t), torch.randn(2, 1, 96, 96)
    >>> [t for t, x_t, x_0_hat in sample(model, x_t, range(999, -1, -250), Schedule.cosine())]
    [999, 749, 499, 249]
    """
    times = _require_falling(times, schedule)
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        x_0_hat = model(x_t, _full(t, x_t))
        yield t, x_t, x_0_hat
        if t_next >= 0:
            eps = _like(noise, x_t, generator) if eta else None
            t_now, t_then = _full(t, x_t), _full(t_next, x_t)
            x_t = ddim_step(x_0_hat, x_t, t_now, t_then, schedule, eta=eta, eps=eps)


@torch.no_grad()
def reconstruct(
    model: Model,
    x_0: Tensor,
    t: int | Sequence[int],
    schedule: Schedule,
    *,
    draws: int = 1,
    box: int = 0,
    noise: Noise = fractal_noise,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The pseudo-healthy x_0_hat (b, 1, h, w): noise the scan to t, denoise it in one step.

    Averages over `draws` independent noisings at each of the times `t`: every draw hides something
    else, so the average of many is closer to the scan than the best single answer can be. No mask
    is used here. arXiv 2305.19867, with one t and one draw.

    With a `box` of so many pixels a side, only one box of the slice is noised at a time and the
    answers inside the boxes are put together, as pDDPM does (arXiv 2303.03758): for a model that
    was trained so. What lies outside the box the model sees without noise, lesions too.

    Raises SettingsError if there is nothing to average, or a time lies outside 0..T-1.

    >>> model, x_0 = (lambda x_t, t: 0.5 * x_t), torch.zeros(2, 1, 96, 96)
    >>> reconstruct(model, x_0, [100, 150], Schedule.cosine(), draws=2).shape
    torch.Size([2, 1, 96, 96])
    """
    times = [t] if isinstance(t, int) else list(t)
    if not times or draws < 1 or not all(0 <= time < schedule.T for time in times):
        raise SettingsError(
            f"t, draws: expected times within 0..{schedule.T - 1} and at least one draw, got t={t} "
            f"and draws={draws}"
        )
    total = torch.zeros_like(x_0)
    for time in times:
        for _ in range(draws):
            x_t = add_noise(x_0, _full(time, x_0), _like(noise, x_0, generator), schedule)
            if box:
                total = total + _predict_by_boxes(model, x_0, x_t, time, box)
            else:
                total = total + model(x_t, _full(time, x_t))
    return total / (len(times) * draws)


def reconstruct_by_chain(
    model: Model,
    x_0: Tensor,
    times: Sequence[int],
    schedule: Schedule,
    *,
    eta: float = 1.0,
    noise: Noise = fractal_noise,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Noise the scan to times[0], then walk all the way down: a sample, not an average.

    As sharp as a real image and twice as far from it (in squared error) as the one-step answer of
    an ideal model. AnoDDPM (Wyatt et al., CVPR workshops 2022). Arguments and errors as in
    `sample`.

    >>> model, x_0 = (lambda x_t, t: 0.5 * x_t), torch.zeros(2, 1, 96, 96)
    >>> reconstruct_by_chain(model, x_0, range(250, -1, -50), Schedule.cosine()).shape
    torch.Size([2, 1, 96, 96])
    """
    times = _require_falling(times, schedule)
    x_t = add_noise(x_0, _full(times[0], x_0), _like(noise, x_0, generator), schedule)
    walk = sample(model, x_t, times, schedule, eta=eta, noise=noise, generator=generator)
    [(_, _, x_0_hat)] = deque(walk, maxlen=1)  # lets go of every stop but the last
    return x_0_hat


def _require_falling(times: Sequence[int], schedule: Schedule) -> list[int]:
    times = list(times)
    falls = all(t > t_next for t, t_next in pairwise(times))
    if not times or not falls or times[0] >= schedule.T or times[-1] < 0:
        raise SettingsError(f"times: expected a fall within {schedule.T - 1}..0, got {times}")
    return times


def _predict_by_boxes(model: Model, x_0: Tensor, x_t: Tensor, t: int, side: int) -> Tensor:
    """Noise one box after the other and put the answers inside them together."""
    x_0_hat = torch.empty_like(x_0)
    h, w = x_0.shape[-2:]
    for box in box_grid(h, w, side, x_0.device):  # (h, w)
        inside = model(torch.where(box, x_t, x_0), _full(t, x_t))
        x_0_hat = torch.where(box, inside, x_0_hat)
    return x_0_hat


def _full(t: int, x: Tensor) -> Tensor:
    """The same t for every image: (b,) int64 on x's device."""
    return torch.full((len(x),), t, dtype=torch.long, device=x.device)


def _like(noise: Noise, x: Tensor, generator: torch.Generator | None) -> Tensor:
    return noise(tuple(x.shape), device=x.device, dtype=x.dtype, generator=generator)
