"""Detectors: slices in, an anomaly map and perhaps a pseudo-healthy brain out.

All finish with the same `anomaly.postprocess`, so their maps can be compared. A detector of your
own needs a `name`, `settings` and a `detect(slices)` that returns a `Detection`.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from maskdiff_edu import progress
from maskdiff_edu.detection import anomaly
from maskdiff_edu.detection.anomaly import RESIDUAL_KINDS, PostProcessing, ResidualKind
from maskdiff_edu.devices import Precision, autocast, choose_precision
from maskdiff_edu.diffusion import Schedule, fractal_noise, reconstruct
from maskdiff_edu.diffusion.asking import Ask
from maskdiff_edu.diffusion.sampling import Model, Noise
from maskdiff_edu.errors import CheckpointError, SettingsError, require_number
from maskdiff_edu.scans import Slices

MAX_NOISINGS = 1000  #: of one scan, draws at each t times their number; all are in memory
MAX_PASSES = 2000  #: of the network, for one slice
MAX_NOISE_BYTES = 2**30  #: of all noise for one scan


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector found, on the CPU."""

    anomaly_map: Tensor  #: (n, 1, h, w) float32, >= 0, post-processed, 0 outside the brain
    reconstruction: Tensor | None = None  #: (n, 1, h, w) in [-1, 1]'s scale, -1 outside the brain


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """What every detector has to be told: how a scan is scaled, and how its map is cleaned up."""

    normalise: str = "percentile"  #: see intensity.intensity_range
    postprocessing: PostProcessing = field(default_factory=PostProcessing)

    def as_json(self) -> dict[str, Any]:
        """The settings as files hold them."""
        return {"normalise": self.normalise, "postprocessing": self.postprocessing.as_json()}


@dataclass(frozen=True, kw_only=True)
class DetectorSettings(MapSettings):
    """How a network is used; a card's "detector" holds the same names.

    Raises:
        SettingsError: an unknown residual, no draw, or more than 1000 noisings in all.
    """

    t: int | Sequence[int] = 150  #: how far to noise; several are averaged
    draws: int = 4  #: noisings averaged at each t
    residual: ResidualKind = "positive"  #: lesions brighter than the healthy brain; or "absolute"

    def __post_init__(self) -> None:
        if self.residual not in RESIDUAL_KINDS:
            raise SettingsError(
                f"residual: expected one of {RESIDUAL_KINDS}, got {self.residual!r}"
            )
        require_number("draws", self.draws, 1, MAX_NOISINGS, whole=True)
        if self.draws * len(self.times) > MAX_NOISINGS:
            raise SettingsError(
                f"expected at most {MAX_NOISINGS} noisings, got {self.draws} draws at each of "
                f"{len(self.times)} times"
            )

    @property
    def times(self) -> list[int]:
        """Every t, also where it is only one."""
        return list(self.t) if isinstance(self.t, Iterable) else [self.t]

    def as_json(self) -> dict[str, Any]:
        """The settings as files hold them."""
        network = {"t": self.t, "draws": self.draws, "residual": self.residual}
        return {**network, **super().as_json()}


class Detector(Protocol):
    """Anything with a name and settings that turns slices into a detection.

    `evaluation` calls `detect` for several subjects at once, each in a thread.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> MapSettings: ...

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
    settings: MapSettings = field(default_factory=MapSettings)

    @property
    def name(self) -> str:
        return "intensity-equalised" if self.equalise else "intensity"

    def detect(self, slices: Slices) -> Detection:
        """Score every slice; nothing is random and nothing is reconstructed."""
        values = (slices.images + 1) / 2
        if self.equalise:
            values = _share_no_brighter(values, slices.brain_masks)
        return Detection(
            anomaly.postprocess(
                values, slices.brain_masks, self.settings.postprocessing, slices.images
            )
        )


@dataclass(frozen=True, eq=False)
class MaskedDDPM:
    """Noise the scan, denoise it in one step, and score what the healthy brain does not explain.

    The reconstruction is averaged over `draws` noisings at each `t`. All noise is drawn on the
    CPU for the whole stack before the first batch, so neither `batch_size` nor the device changes
    the result beyond rounding, and the same `seed` gives the same map. At inference nothing is
    masked. Method: arXiv 2305.19867, section 2; the averaging: `diffusion.reconstruct`.

    Raises:
        SettingsError: a `t` outside 0..T-1 or none, or nothing to batch.
    """

    model: Model  #: (x_t (b, 1, h, w), t (b,)) -> prediction; a module is set to eval mode
    schedule: Schedule  #: the one that the model was trained with
    settings: DetectorSettings = field(default_factory=DetectorSettings)
    noise: Noise = fractal_noise  #: the kind that the model was trained with
    seed: int = 0  #: of the noise
    device: torch.device | str | None = None  #: None is where the model is; else it is moved there
    batch_size: int = 32  #: slices at a time, for speed and memory only
    precision: Precision = "float32"  #: the same digits everywhere; "auto" is up to twice as fast
    ask: Ask | None = None  #: for models that were trained on parts of a slice
    name: str = "masked-ddpm"  #: what reports call it

    def __post_init__(self) -> None:
        times, last = self.settings.times, self.schedule.T - 1
        whole = all(isinstance(t, int | np.integer) and not isinstance(t, bool) for t in times)
        if not whole or not times or not all(0 <= t <= last for t in times):
            raise SettingsError(f"t: expected whole numbers in 0..{last}, got {self.settings.t}")
        require_number("batch_size", self.batch_size, 1, 2**20, whole=True)
        parts = self.ask.passes if self.ask else 1
        if self.noisings * parts > MAX_PASSES:
            raise SettingsError(
                f"expected at most {MAX_PASSES} passes of the network a slice, got {self.noisings} "
                f"noisings of {parts} parts"
            )

    def with_settings(self, **changes: Any) -> Self:
        """The same network with other settings, such as `with_settings(t=200, draws=8)`."""
        return replace(self, settings=replace(self.settings, **changes))

    def detect(self, slices: Slices) -> Detection:
        """Reconstruct every slice and score the residual; a progress bar after two seconds.

        Raises: `CheckpointError` for a network whose answers are not finite.
        """
        x_0_hat = self.redraw(slices, slices.images)
        return Detection(self.clean(slices, x_0_hat), x_0_hat.masked_fill(~slices.brain_masks, -1))

    def redraw(self, slices: Slices, images: Tensor) -> Tensor:
        """The pseudo-healthy twin of these images, which have the brain masks of `slices`."""
        x_0_hat = self.reconstruct(images)
        if not x_0_hat[slices.brain_masks].isfinite().all():
            raise CheckpointError(f"{self.name}: expected finite answers, got NaN or infinity")
        return x_0_hat

    def clean(
        self, slices: Slices, x_0_hat: Tensor, settings: PostProcessing | None = None
    ) -> Tensor:
        """The residual of the scan, post-processed as the detector's settings say, or others."""
        values = anomaly.residual(slices.images, x_0_hat, self.settings.residual)
        settings = settings or self.settings.postprocessing
        return anomaly.postprocess(values, slices.brain_masks, settings, slices.images)

    def reconstruct(self, x_0: Tensor) -> Tensor:
        """The pseudo-healthy twin of every slice, (n, 1, h, w), also outside the brain."""
        device = self._prepare_model()
        schedule = copy.deepcopy(self.schedule).to(device)  # the caller's stays where it is
        precision = choose_precision(self.precision, device)
        n = self.noisings
        if (size := n * x_0.numel() * x_0.element_size()) > MAX_NOISE_BYTES:
            most = MAX_NOISE_BYTES * n // size
            raise SettingsError(
                f"expected at most {most} noisings of {len(x_0)} slices of this size, got "
                f"{n}: their noise would take {size / 2**30:.1f} GiB"
            )
        draw = {"dtype": x_0.dtype, "generator": torch.Generator().manual_seed(self.seed)}
        fields = [self.noise(tuple(x_0.shape), **draw) for _ in range(n)]
        x_0_hat = torch.empty_like(x_0)
        slices_done = progress.bar(total=len(x_0), desc=self.name, unit="slice", leave=False)
        with slices_done, autocast(device, precision):
            for rows in torch.arange(len(x_0)).split(self.batch_size):
                images = x_0[rows].to(device)
                model = self.ask(self.model, images) if self.ask else self.model
                noise = _deal(fields, rows)
                x_0_hat[rows] = self.answer(model, images, schedule, noise).cpu()
                slices_done.update(len(rows))
        return x_0_hat

    @property
    def noisings(self) -> int:
        """How many noise fields a slice takes."""
        return len(self.settings.times) * self.settings.draws

    @torch.no_grad()
    def answer(self, model: Model, images: Tensor, schedule: Schedule, noise: Noise) -> Tensor:
        """The twin of a few slices on the model's device; `noise` hands out one field a call."""
        times = [t for t in self.settings.times for _ in range(self.settings.draws)]
        return reconstruct(model, images, times, schedule, noise=noise)

    def _prepare_model(self) -> torch.device:
        """Set a module to eval mode on the chosen device; returns that device.

        Channels-last makes the forward pass a seventh faster on a CPU (and the backward pass
        slower: training does without).
        """
        if not isinstance(self.model, nn.Module):
            return torch.device(self.device or "cpu")
        weights = next(self.model.parameters(), torch.empty(0))
        device = torch.device(self.device or weights.device)
        layout = torch.channels_last
        self.model.to(device, memory_format=layout).eval()  # type: ignore[call-overload] # in torch
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
