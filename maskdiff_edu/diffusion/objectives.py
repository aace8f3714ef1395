"""What the network is asked for, and how far off its answer is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from maskdiff_edu.diffusion.schedule import Schedule, per_image
from maskdiff_edu.errors import SettingsError

Prediction = Literal["x_0", "eps", "v"]
Model = Callable[[Tensor, Tensor], Tensor]  #: (x_t (b, 1, h, w), t (b,)) -> its answer, like x_t


def target(kind: Prediction, x_0: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """What the network should answer to (x_t, t), so that its answer stands for `x_0`.

    `x_0`, `x_t` are (b, 1, h, w), `t` is (b,). With a masked input, x_t was made from x_0_masked
    while `x_0` here is the *clean* image; eps and v are redefined relative to it:

        eps* = (x_t - sqrt(alphas_bar) x_0) / sqrt(1 - alphas_bar)
        v*   = (sqrt(alphas_bar) x_t - x_0) / sqrt(1 - alphas_bar)

    Without a mask these are the ordinary eps and v. Passing x_0_masked for `x_0` gives back the
    eps that was added: the plain target, which teaches the network to reproduce the hole.

    Errors count differently: `|eps* - eps_hat|^2 = SNR |x_0 - x_0_hat|^2`, and SNR + 1 for v.

    Raises SettingsError for any other kind. Sources: arXiv 2006.11239 (eps), 2202.00512 (v),
    2305.19867 (a clean x_0 from a masked input).

    >>> x_0, x_t = torch.zeros(2, 1, 96, 96), torch.ones(2, 1, 96, 96)
    >>> target("eps", x_0, x_t, torch.tensor([0, 999]), Schedule.linear())[:, 0, 0, 0]
    tensor([100.0000,   1.0000])
    """
    signal, noise = _amplitudes(x_t, t, schedule)
    match kind:
        case "x_0":
            return x_0
        case "eps":
            return (x_t - signal * x_0) / noise
        case "v":
            return (signal * x_t - x_0) / noise
    raise _unknown(kind)


def to_x_0(
    kind: Prediction, prediction: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule
) -> Tensor:
    """The image that a prediction of this kind stands for; undoes `target`.

    All images (b, 1, h, w), `t` (b,). Raises SettingsError for an unknown kind.

    eps is divided by sqrt(alphas_bar): where that is small, small errors of the network are large
    ones of the image. v never divides.

    >>> eps_hat, x_t = torch.zeros(2, 1, 96, 96), torch.ones(2, 1, 96, 96)
    >>> x_0_hat = to_x_0("eps", eps_hat, x_t, torch.tensor([0, 500]), Schedule.linear())
    >>> x_0_hat[:, 0, 0, 0].round(decimals=2)
    tensor([1.0000, 3.5900])
    """
    signal, noise = _amplitudes(x_t, t, schedule)
    match kind:
        case "x_0":
            return prediction
        case "eps":
            return (x_t - noise * prediction) / signal
        case "v":
            return signal * x_t - noise * prediction
    raise _unknown(kind)


def as_x_0(model: Model, kind: Prediction, schedule: Schedule) -> Model:
    """The same model, answering with x_0: what sampling, reconstruction and detectors take.

    `kind` is what `model` answers, and `schedule` the one that it was trained with. A model that
    answers x_0 is returned as it is; else a module whose device, mode and weights are the model's,
    with a copy of the schedule that moves along. Raises SettingsError for an unknown kind.

    >>> schedule, x_t, t = Schedule.cosine(), torch.ones(2, 1, 96, 96), torch.tensor([0, 500])
    >>> model = as_x_0(lambda x_t, t: x_t, "v", schedule)
    >>> torch.equal(model(x_t, t), to_x_0("v", x_t, x_t, t, schedule))
    True
    """
    if kind not in get_args(Prediction):
        raise _unknown(kind)
    return model if kind == "x_0" else _AnsweringX0(model, kind, schedule)


class _AnsweringX0(nn.Module):
    """A model of another kind and what turns its answers into images."""

    def __init__(self, model: Model, kind: Prediction, schedule: Schedule) -> None:
        super().__init__()
        self.model, self.kind, self.schedule = model, kind, copy.deepcopy(schedule)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return to_x_0(self.kind, self.model(x_t, t), x_t, t, self.schedule)


def loss(
    prediction: Tensor,
    wanted: Tensor,
    kind: Literal["l1", "l2"] = "l1",
    weight_mask: Tensor | None = None,
) -> Tensor:
    """Mean absolute ("l1") or squared ("l2") error of two (b, 1, h, w): one number, ().

    `weight_mask`, (b, 1, h, w) bool or float, limits the mean to a region such as `draw_box`'s
    (pDDPM, arXiv 2303.03758); where it is empty the loss is 0.

    Raises SettingsError for another kind.

    >>> loss(torch.full((2, 1, 8, 8), 3.0), torch.ones(2, 1, 8, 8), "l2")
    tensor(4.)
    """
    difference = prediction - wanted
    match kind:
        case "l1":
            error = difference.abs()
        case "l2":
            error = difference.square()
        case _:
            raise SettingsError(f'loss: expected "l1" or "l2", got {kind!r}')
    if weight_mask is None:
        return error.mean()
    weights = weight_mask.to(error.dtype).expand_as(error)
    return (error * weights).sum() / weights.sum().clamp(min=torch.finfo(error.dtype).tiny)


def draw_t(
    b: int,
    t_min: int,
    t_max: int,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """One time for each of b images, (b,) int64, uniform over t_min..t_max, both included.

    The whole schedule is 0..T-1; a narrower band trains only the times that the test will use.
    Raises SettingsError if the band is empty or starts below 0.

    >>> draw_t(3, 150, 150)
    tensor([150, 150, 150])
    """
    if not 0 <= t_min <= t_max:
        raise SettingsError(f"t_min, t_max: expected 0 <= t_min <= t_max, got {t_min} and {t_max}")
    return torch.randint(t_min, t_max + 1, (b,), generator=generator, device=device)


def box_grid(h: int, w: int, side: int, device: torch.device | str | None = None) -> Tensor:
    """The boxes of `side` pixels that tile a slice, row by row: (boxes, h, w) bool.

    Every pixel lies in exactly one; those at the far edges are smaller where `side` leaves a rest.
    Raises SettingsError for a side of less than 1 pixel.

    >>> box_grid(96, 96, 48).shape
    torch.Size([4, 96, 96])
    """
    if side < 1:
        raise SettingsError(f"side: expected a box of at least 1 pixel, got {side}")
    rows, columns = torch.arange(h, device=device) // side, torch.arange(w, device=device) // side
    across, down = math.ceil(w / side), math.ceil(h / side)
    number = across * rows[:, None] + columns  # (h, w), of the box that a pixel lies in
    return number == torch.arange(down * across, device=device)[:, None, None]


def draw_box(
    shape: tuple[int, int, int],
    side: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """One of `box_grid`'s boxes, drawn at random for each of b slices: (b, 1, h, w) bool.

    `shape` is (b, h, w). pDDPM (arXiv 2303.03758) noises one box and takes the loss inside it:
    `x_t = cutmix(x_0, x_t, box)`, then `loss(..., weight_mask=box)`. Errors as for `box_grid`.

    >>> draw_box((16, 96, 96), 48).sum(dim=(1, 2, 3)).unique()  # pixels in a box
    tensor([2304])
    """
    b, h, w = shape
    boxes = box_grid(h, w, side, device)
    return boxes[torch.randint(len(boxes), (b,), generator=generator, device=device)].unsqueeze(1)


def _amplitudes(x_t: Tensor, t: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """sqrt(alphas_bar) and sqrt(1 - alphas_bar) at t, each (b, 1, 1, 1)."""
    signal = per_image(schedule.alphas_bar[t].sqrt(), x_t)
    noise = per_image(schedule.one_minus_alphas_bar[t].sqrt(), x_t)
    return signal, noise


def _unknown(kind: str) -> SettingsError:
    return SettingsError(f'prediction: expected "x_0", "eps" or "v", got {kind!r}')
