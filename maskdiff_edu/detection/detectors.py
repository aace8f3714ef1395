"""Detectors: slices in, an anomaly map and perhaps a pseudo-healthy brain out.

All finish with the same `anomaly.postprocess`, so their maps can be compared. A detector of your
own needs a `name` and a `detect(slices)` that returns a `Detection`.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from tqdm import tqdm

from maskdiff_edu.detection import anomaly
from maskdiff_edu.detection.anomaly import RESIDUAL_KINDS, PostProcessing, ResidualKind
from maskdiff_edu.devices import Precision, autocast, choose_precision
from maskdiff_edu.diffusion import Schedule, fractal_noise, reconstruct
from maskdiff_edu.diffusion.sampling import Model, Noise, ToX0
from maskdiff_edu.errors import require_number
from maskdiff_edu.scans import Slices

MAX_NOISINGS = 1000  #: of one scan: draws at each t, times their number; all are in memory


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector found, on the CPU."""

    anomaly_map: Tensor  #: (n, 1, h, w) float32, >= 0, post-processed, 0 outside the brain
    reconstruction: Tensor | None = None  #: (n, 1, h, w) in [-1, 1]'s scale, -1 outside the brain


class Detector(Protocol):
    """Anything with a name that turns slices into a detection.

    `evaluation` calls `detect` for several subjects at once, each in a thread.
    """

    @property
    def name(self) -> str: ...

    def detect(self, slices: Slices) -> Detection: ...


@dataclass(frozen=True)
class IntensityDetector:
    """The baseline that every method has to beat: what is bright is abnormal.

    Raw, the score is the intensity, (x + 1) / 2. Equalised, it is the share of the slice's brain
    that is no brighter: histogram equalisation with a bin for every voxel. (Equalising a whole
    volume would only relabel the scores and leave its AUPRC as it is; slice by slice it does not.)

    Meissen et al. 2021, arXiv 2109.06023: on FLAIR this beats many networks.
    """

    equalise: bool = False  #: slice-wise ranks instead of intensities
    postprocessing: PostProcessing = field(default_factory=PostProcessing)

    @property
    def name(self) -> str:
        return "intensity-equalised" if self.equalise else "intensity"

    def detect(self, slices: Slices) -> Detection:
        """Score every slice; nothing is random and nothing is reconstructed."""
        values = (slices.images + 1) / 2
        if self.equalise:
            values = _share_no_brighter(values, slices.brain_masks)
        return Detection(anomaly_map_of(values, slices, self.postprocessing))


@dataclass(frozen=True, eq=False)
class MaskedDDPM:
    """Noise the scan, denoise it in one step, and score what the healthy brain does not explain.

    The reconstruction is averaged over `draws` noisings at each `t`. All noise is drawn on the
    CPU for the whole stack before the first batch, so neither `batch_size` nor the device changes
    the result beyond rounding, and the same `seed` gives the same map. At inference nothing is
    masked. Method: arXiv 2305.19867, section 2; the averaging: `diffusion.reconstruct`.

    Raises:
        ValueError: an unknown residual, a `t` outside 0..T-1, nothing to average or batch, or more
            than 1000 noisings in all.
    """

    model: Model  #: (x_t (b, 1, h, w), t (b,)) -> prediction; a module is set to eval mode
    schedule: Schedule  #: the one that the model was trained with
    t: int | Sequence[int]  #: how far to noise; no meaning without the schedule
    draws: int = 4  #: noisings averaged at each t
    noise: Noise = fractal_noise  #: the kind that the model was trained with
    residual: ResidualKind = "positive"  #: lesions are bright on T2; "absolute" finds dark ones too
    seed: int = 0  #: of the noise
    device: torch.device | str | None = None  #: None: where the model is; else it is moved there
    batch_size: int = 32  #: slices at a time: speed and memory only
    precision: Precision = "float32"  #: the same digits everywhere; "auto" is up to twice as fast
    postprocessing: PostProcessing = field(default_factory=PostProcessing)
    to_x_0: ToX0 | None = None  #: for models that predict eps or v
    box: int = 0  #: for models trained on one noised box: its side in pixels
    name: str = "masked-ddpm"  #: what reports call it

    def __post_init__(self) -> None:
        if self.residual not in RESIDUAL_KINDS:
            raise ValueError(f"residual must be one of {RESIDUAL_KINDS}, got {self.residual!r}")
        whole = all(isinstance(t, int | np.integer) for t in self._times)
        if not whole or not self._times or not all(0 <= t < self.schedule.T for t in self._times):
            raise ValueError(f"t must lie in 0..{self.schedule.T - 1}, got {self.t}")
        require_number("draws", self.draws, 1, MAX_NOISINGS, whole=True)
        require_number("batch_size", self.batch_size, 1, 2**20, whole=True)
        require_number("box", self.box, 0, 2**20, whole=True)
        if self.draws * len(self._times) > MAX_NOISINGS:
            raise ValueError(
                f"expected at most {MAX_NOISINGS} noisings, got {self.draws} draws at each of "
                f"{len(self._times)} times"
            )

    @property
    def _times(self) -> list[int]:
        return list(self.t) if isinstance(self.t, Iterable) else [self.t]

    def detect(self, slices: Slices) -> Detection:
        """Reconstruct every slice and score the residual; a progress bar after two seconds."""
        x_0_hat = self.reconstruct(slices.images)
        values = anomaly.residual(slices.images, x_0_hat, self.residual)
        return Detection(
            anomaly_map_of(values, slices, self.postprocessing),
            x_0_hat.masked_fill(~slices.brain_masks, -1),
        )

    def reconstruct(self, x_0: Tensor) -> Tensor:
        """The pseudo-healthy twin of every slice, (n, 1, h, w), also outside the brain."""
        device = self._prepare_model()
        schedule = copy.deepcopy(self.schedule).to(device)  # the caller's stays where it is
        precision = choose_precision(self.precision, device)
        generator = torch.Generator().manual_seed(self.seed)
        fields = [
            self.noise(tuple(x_0.shape), dtype=x_0.dtype, generator=generator)
            for _ in range(self.draws * len(self._times))
        ]
        x_0_hat = torch.empty_like(x_0)
        progress = tqdm(total=len(x_0), desc=self.name, unit="slice", delay=2, leave=False)
        with progress, autocast(device, precision):
            for rows in torch.arange(len(x_0)).split(self.batch_size):
                x_0_hat[rows] = reconstruct(
                    self.model,
                    x_0[rows].to(device),
                    self._times,
                    schedule,
                    draws=self.draws,
                    box=self.box,
                    noise=_deal(fields, rows),
                    to_x_0=self.to_x_0,
                ).cpu()
                progress.update(len(rows))
        return x_0_hat

    def _prepare_model(self) -> torch.device:
        """Set a module to eval mode on the chosen device; returns that device.

        Channels-last makes the forward pass a seventh faster on a CPU (and the backward pass
        slower: training does without).
        """
        if not isinstance(self.model, nn.Module):
            return torch.device(self.device or "cpu")
        weights = next(self.model.parameters(), torch.empty(0))
        device = torch.device(self.device or weights.device)
        self.model.to(device, memory_format=torch.channels_last).eval()
        return device


def _deal(fields: Sequence[Tensor], rows: Tensor) -> Noise:
    """A noise function that hands out prepared fields (n, 1, h, w), some rows of one a call."""
    remaining = iter(fields)

    def noise(shape, *, device, dtype, generator) -> Tensor:
        return next(remaining)[rows].to(device, dtype)

    return noise


def _share_no_brighter(values: Tensor, brain_masks: Tensor) -> Tensor:
    """Rank of each brain voxel within its slice, divided by the slice's brain voxels: in (0, 1]."""
    brain = values.masked_fill(~brain_masks, torch.nan).flatten(1).numpy()  # (n, h * w)
    ranks = stats.rankdata(brain, axis=1, nan_policy="omit")
    counts = brain_masks.flatten(1).sum(1, keepdim=True).clamp(min=1)
    return (torch.from_numpy(ranks) / counts).reshape(values.shape)


def anomaly_map_of(values: Tensor, slices: Slices, settings: PostProcessing) -> Tensor:
    """`anomaly.postprocess` of raw scores (n, 1, h, w): the anomaly map, of the same shape."""
    stack, brain_mask = values[:, 0].numpy(), slices.brain_masks[:, 0].numpy()
    final = anomaly.postprocess(stack, brain_mask, settings).astype(np.float32)
    return torch.from_numpy(final)[:, None]
