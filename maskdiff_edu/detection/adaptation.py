"""Teaching a trained network the slices of one person, or of one scanner."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from maskdiff_edu.brains import cohort_seeds
from maskdiff_edu.brains.stacks import encode_slices
from maskdiff_edu.diffusion import UNet, as_x_0
from maskdiff_edu.diffusion.sampling import Model
from maskdiff_edu.errors import ScanError
from maskdiff_edu.training import SlicePool, TrainConfig, fit, make_schedule
from maskdiff_edu.training.pool import Pool, vary_slices

N_OTHERS = 40  #: healthy people who keep the network from learning one brain by heart
LR, WARMUP, EMA_DECAY = 3e-4, 20, 0.98  #: of a short training that goes on from a long one


@dataclass(frozen=True, eq=False)
class SharedPool:
    """Slices of one's own beside those of other people: a share of each batch."""

    own: np.ndarray  #: (n, h, w) uint8, as `encode_slices` makes them
    others: Pool
    share: float = 0.5  #: of a batch that is one's own

    def batch(self, seed: int, n: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Batch n, as `SlicePool.batch`: own slices first, flipped and varied like the others."""
        rng = np.random.default_rng([seed, n, 2])
        count = round(self.share * batch_size)
        chosen = self.own[rng.integers(len(self.own), size=count)]
        own = vary_slices(torch.from_numpy(chosen)[:, None], rng)
        others = self.others.batch(seed, n, batch_size - count)
        images, brain_masks = (torch.cat(pair) for pair in zip(own, others, strict=True))
        return images, brain_masks


@dataclass(frozen=True, eq=False)
class Teacher:
    """Goes on training a network with slices that are taken for healthy.

    The network itself stays as it is. What is hidden in training, and how far is noised, is as
    its own training had it.
    """

    network: UNet
    config: TrainConfig  #: of its training
    device: torch.device
    others: Pool | None = None  #: healthy people; `N_OTHERS` generated ones where none are given

    def __call__(self, images: Tensor, brain_masks: Tensor, steps: int) -> Model:
        """The taught network as a function of (x_t, t) to x_0, on the device.

        images, brain_masks: (n, 1, h, w). Raises: ScanError where no slice holds enough brain.
        """
        others = self.others or self._made
        config = go_on(self.config, steps)
        pool = SharedPool(own_slices([(images, brain_masks)]), others)
        taught = fit(config, pool, start=self.network, device=str(self.device))
        return as_x_0(taught.eval(), config.prediction, make_schedule(config).to(self.device))

    @cached_property
    def _made(self) -> Pool:
        return other_people()


def go_on(config: TrainConfig, steps: int) -> TrainConfig:
    """The settings of a training, for some steps more after its end."""
    return replace(config, steps=steps, lr=LR, warmup=min(WARMUP, steps), ema_decay=EMA_DECAY)


def own_slices(scans: Iterable[tuple[Tensor, Tensor]]) -> np.ndarray:
    """Images and brain masks (n, 1, h, w) of one scan or several, as `SharedPool` takes them.

    Raises: ScanError where no slice holds enough brain.
    """
    own = np.concatenate([encode_slices(*scan) for scan in scans])
    if not len(own):
        raise ScanError("expected slices with enough brain to learn from, got none")
    return own


def other_people() -> SlicePool:
    """Generated healthy people, made with a progress bar where the cache has none."""
    others = SlicePool(cohort_seeds("train", n=N_OTHERS))
    others.fill()
    return others
