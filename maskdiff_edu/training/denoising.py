"""What a training step asks for: hide, noise, denoise, compare (arXiv 2305.19867)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from maskdiff_edu.devices import autocast, choose_precision
from maskdiff_edu.diffusion import Corruption, Schedule, add_noise, cutmix, draw_t, loss, target
from maskdiff_edu.diffusion.objectives import draw_box
from maskdiff_edu.training.config import TrainConfig, make_noise


@dataclass(frozen=True)
class Noised:
    """A batch as the network sees it, and what it is compared with."""

    x_0: Tensor  #: (b, 1, h, w), the clean slices
    x_t: Tensor  #: (b, 1, h, w), a part of them hidden, then noised
    t: Tensor  #: (b,), how far each is noised
    box: Tensor | None = None  #: (b, 1, h, w) bool, all that counts; None is the whole slice
    weight: Tensor | None = None  #: () of a part of a batch beside the other parts; None is 1

    def tensors(self) -> list[Tensor]:
        """All that it holds, in a fixed order."""
        parts = (self.x_0, self.x_t, self.t, self.box, self.weight)
        return [part for part in parts if part is not None]

    def copy(self) -> Noised:
        """The same in memory of its own."""
        box, weight = (part if part is None else part.clone() for part in (self.box, self.weight))
        return Noised(self.x_0.clone(), self.x_t.clone(), self.t.clone(), box, weight)

    def is_like(self, other: Noised) -> bool:
        """Whether the other has the same parts, of the same shapes."""
        kinds = [[(part.shape, part.dtype) for part in batch.tensors()] for batch in (self, other)]
        return kinds[0] == kinds[1]

    def share(self, part: slice) -> Noised:
        """The part of the batch that one of several processes denoises.

        Boxes at the far edges may be smaller: a part weighs what it holds of all their pixels, so
        that the mean over the processes is the mean over the pixels.
        """
        x_0, x_t, t = self.x_0[part], self.x_t[part], self.t[part]
        if self.box is None:
            return Noised(x_0, x_t, t)
        box = self.box[part]
        return Noised(x_0, x_t, t, box, box.float().mean() / self.box.float().mean())


def hide_and_noise(
    x_0: Tensor,
    brain_masks: Tensor,
    corrupt: Corruption,
    schedule: Schedule,
    config: TrainConfig,
    generator: torch.Generator | None = None,
) -> Noised:
    """Hide a part of each slice, then noise it as far as a t drawn from the settings' band.

    x_0: (b, 1, h, w) in [-1, 1], brain_masks: (b, 1, h, w) bool. With `config.box` only one box of
    each slice is noised (pDDPM, arXiv 2303.03758). Everything stays on x_0's device.

    >>> from maskdiff_edu.training import PRESETS, make_corruption, make_schedule
    >>> from maskdiff_edu.training.pool import Discs
    >>> config, (x_0, brain_masks) = PRESETS["fpm-cm"], Discs().batch(0, 0, 2)
    >>> settings = (make_corruption(config), make_schedule(config), config)
    >>> hide_and_noise(x_0, brain_masks, *settings).x_t.shape
    torch.Size([2, 1, 96, 96])
    """
    # The order of the draws is a part of what a seed stands for: noise, t, what is hidden, box.
    eps = make_noise(config)(tuple(x_0.shape), device=x_0.device, generator=generator)
    t = draw_t(len(x_0), config.t_min, config.t_max, generator, x_0.device)
    x_0_masked = corrupt(x_0, brain_masks, generator)  # 1. hide
    x_t = add_noise(x_0_masked, t, eps, schedule)  # 2. noise
    if not config.box:
        return Noised(x_0, x_t, t)
    b, _, h, w = x_0.shape
    box = draw_box((b, h, w), config.box, generator=generator, device=x_0.device)
    return Noised(x_0, cutmix(x_0_masked, x_t, box), t, box)


def denoising_loss(
    model: Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]],
    noised: Noised,
    schedule: Schedule,
    config: TrainConfig,
) -> Tensor:
    """Denoise a batch and compare the answer with the *clean* slices: one number, ().

    >>> from maskdiff_edu.training import PRESETS, make_corruption, make_schedule
    >>> from maskdiff_edu.training.pool import Discs
    >>> config, (x_0, brain_masks) = PRESETS["fpm-cm"], Discs().batch(0, 0, 2)
    >>> schedule = make_schedule(config)
    >>> noised = hide_and_noise(x_0, brain_masks, make_corruption(config), schedule, config)
    >>> denoising_loss(lambda x_t, t: x_t, noised, schedule, config).shape
    torch.Size([])
    """
    with autocast(noised.x_t.device, choose_precision(config.precision, noised.x_t.device)):
        answer = model(noised.x_t, noised.t)  # 3. denoise
    prediction, apart = answer if isinstance(answer, tuple) else (answer, None)
    wanted = target(config.prediction, noised.x_0, noised.x_t, noised.t, schedule)
    error = loss(prediction.float(), wanted, config.loss, weight_mask=noised.box)  # 4. compare
    if apart is not None:  # of a random code, a part of the bound that a VAE learns by
        error = error + config.code_weight * apart / noised.x_0[0].numel()
    return error if noised.weight is None else noised.weight * error
