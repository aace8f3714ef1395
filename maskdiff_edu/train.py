"""Training: hide a part of a healthy slice, add noise, and learn to give the whole slice back."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from maskdiff_edu.checkpoints import load_pretrained, save_model
from maskdiff_edu.devices import (
    Precision,
    autocast,
    choose_device,
    choose_precision,
    join_processes,
    peak_memory,
)
from maskdiff_edu.diffusion import add_noise
from maskdiff_edu.masks import BROAD_PATCHES, FPM, IPM, FPMCutMix, cutmix, no_corruption
from maskdiff_edu.noise import fractal_noise, gaussian_noise
from maskdiff_edu.objectives import Prediction, draw_box, draw_t, loss, target
from maskdiff_edu.schedule import Schedule
from maskdiff_edu.train_state import TrainState
from maskdiff_edu.unet import UNet

Corruption = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]
CHECKPOINT = "checkpoint.safetensors"  # its name inside a training's folder


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training learns; with the pool, it decides every weight."""

    corruption: Literal["none", "ipm", "fpm", "fpm-cm"] = "fpm-cm"  # what is hidden in x_0
    prediction: Prediction = "x_0"  # what the network answers with
    loss: Literal["l1", "l2"] = "l1"  # distance between that and the target
    schedule: Literal["cosine", "linear"] = "cosine"
    T: int = 1000  # steps of the schedule
    t_min: int = 100  # t is drawn from t_min..t_max, the band that the test uses
    t_max: int = 349
    noise: Literal["fractal", "gaussian"] = "fractal"
    box: int = 0  # side of the one box that is noised and scored (pDDPM); 0: the whole slice
    unet: str = "tiny"  # shape of the network, a name in unet.PRESETS
    batch_size: int = 16  # slices a step, over all processes together
    steps: int = 2000  # in all
    lr: float = 1e-3  # peak learning rate of AdamW
    warmup: int = 100  # steps over which the learning rate rises from 0; then a cosine to 0
    weight_decay: float = 0.0
    ema_decay: float = 0.995  # the averaged weights forget at this rate a step
    max_grad_norm: float = 1.0  # longer gradients are shortened to this length
    precision: Precision = "auto"  # of matrix products; see devices.choose_precision
    seed: int = 0  # of the first weights, the batches and all noise
    n_subjects: int = 300  # made for the pool
    contrast: Literal["t2", "t1"] = "t2"  # of those subjects

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that leave nothing to train."""
        if self.steps < 1 or self.batch_size < 1 or self.box < 0:
            raise ValueError(
                "expected at least one step, one slice a batch and a box of no less than 0 pixels, "
                f"got steps={self.steps}, batch_size={self.batch_size} and box={self.box}"
            )
        if not 0 <= self.t_min <= self.t_max < self.T <= 100_000:
            raise ValueError(
                "expected 0 <= t_min <= t_max < T <= 100000, got "
                f"{self.t_min}, {self.t_max} and {self.T}"
            )


PRESETS = {
    "ddpm": TrainConfig(corruption="none"),
    "ipm": TrainConfig(corruption="ipm"),
    "fpm": TrainConfig(corruption="fpm"),
    "fpm-cm": TrainConfig(corruption="fpm-cm"),
    "pddpm": TrainConfig(corruption="none", box=48),  # arXiv 2303.03758
}


class Pool(Protocol):
    """Where slices come from: `cohorts.SlicePool`, or anything with this method."""

    def batch(self, seed: int, n: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Batch n: images (b, 1, h, w) float32 in [-1, 1] and brain_masks (b, 1, h, w) bool.

        On the CPU, and the same whenever the arguments are the same.
        """


@dataclass(frozen=True)
class Step:
    """One training step done."""

    number: int  # 1..steps
    loss: Tensor  # (), still on the device: float(step.loss) waits for it
    lr: float  # learning rate of this step
    seconds: float  # since the step before
    model: UNet  # the averaged weights so far; not a copy, the next step changes it


def train(
    config: TrainConfig,
    pool: Pool,
    *,
    corrupt: Corruption | None = None,
    start: UNet | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    save_every: int = 250,
) -> Iterator[Step]:
    """Train a network, yielding a `Step` after each step; the last one's `model` is the result.

    `corrupt` takes the place of `config.corruption`: any function of (images, brain_masks,
    generator) to images. `start` is a network to go on from instead of a new one. With `out`, a
    checkpoint is written there every `save_every` steps and at the end; with `resume` the training
    goes on from it up to `config.steps`, a new one starts if there is none.

    Batch n, masks and noise included, follows from (config.seed, n) alone: an interrupted training
    ends in the same weights as one that was not. Under torchrun the processes share each batch.
    Raises ValueError for settings that do not fit, CheckpointError for a file that does not.
    """
    processes = join_processes()
    device = choose_device(device, processes)
    share = processes.share(config.batch_size)
    corrupt = corrupt or make_corruption(config)
    schedule = make_schedule(config).to(device)
    state = TrainState(config, device, start)
    path = Path(out) / CHECKPOINT if out is not None else None
    if resume and path is not None and path.exists():
        state.load(path)

    while state.step < config.steps:
        began = time.perf_counter()
        generator = make_generator(config.seed, state.step, device)
        images, brain_masks = pool.batch(config.seed, state.step, config.batch_size)
        x_0, brain_masks = images.to(device), brain_masks.to(device)

        error = denoising_loss(
            state.model, x_0, brain_masks, corrupt, schedule, config, generator, share
        )
        lr = state.update(error)

        state.seconds += time.perf_counter() - began
        is_due = state.step % save_every == 0 or state.step == config.steps
        if path is not None and is_due and processes.rank == 0:
            state.save(path)
        error = processes.mean(error.detach())
        yield Step(state.step, error, lr, time.perf_counter() - began, state.average)


def denoising_loss(
    model: nn.Module,
    x_0: Tensor,
    brain_masks: Tensor,
    corrupt: Corruption,
    schedule: Schedule,
    config: TrainConfig,
    generator: torch.Generator | None = None,
    share: slice = slice(None),
) -> Tensor:
    """Mask, noise, denoise, compare: the loss of one batch, one number (arXiv 2305.19867).

    x_0: (b, 1, h, w) in [-1, 1], brain_masks: (b, 1, h, w) bool. The target is the *clean* slice.
    `share` is the part of the batch that this process denoises.
    """
    eps = make_noise(config)(tuple(x_0.shape), device=x_0.device, generator=generator)
    t = draw_t(len(x_0), config.t_min, config.t_max, generator, x_0.device)

    x_0_masked = corrupt(x_0, brain_masks, generator)
    x_t = add_noise(x_0_masked, t, eps, schedule)
    box = None  # the whole slice
    if config.box:
        b, _, h, w = x_0.shape
        box = draw_box((b, h, w), config.box, generator=generator, device=x_0.device)
        x_t, box = cutmix(x_0_masked, x_t, box), box[share]
    x_0, x_t, t = x_0[share], x_t[share], t[share]  # all draw the whole batch, each does its part

    with autocast(x_t.device, choose_precision(config.precision, x_t.device)):
        prediction = model(x_t, t)
    wanted = target(config.prediction, x_0, x_t, t, schedule)
    return loss(prediction.float(), wanted, config.loss, weight_mask=box)


def fit(
    config: TrainConfig,
    pool: Pool,
    *,
    out: str | Path | None = None,
    command: str = "",
    **options: Any,
) -> UNet:
    """Train with a progress bar and return the averaged network; `options` as for `train`.

    With `out`, the result is also written there for use, as model.safetensors with its card
    model.json; `command` goes into the card, as what makes the same model again.
    """
    with tqdm(total=config.steps, unit="step", disable=join_processes().rank > 0) as bar:
        for step in train(config, pool, out=out, **options):
            bar.update(step.number - bar.n)
            if step.number % 20 == 0:  # now and then: looking at the loss waits for the device
                bar.set_postfix(loss=f"{float(step.loss):.4f}", lr=f"{step.lr:.1e}")
    if out is None:
        return step.model
    model, about = load_pretrained(Path(out) / CHECKPOINT)
    if join_processes().rank == 0:
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        made = {name: about[name] for name in ("train", "step", "seconds")}
        save_model(Path(out) / "model.safetensors", model, {"command": command} | made | versions)
    return model


@dataclass(frozen=True)
class Cost:
    """What a training takes on this machine, as far as a few of its steps tell."""

    steps_measured: int
    seconds_a_step: float  # median
    seconds: float  # for all steps, without making the subjects
    peak_memory: int | None  # bytes; None where the system does not tell


def dry_run(config: TrainConfig, *, device: str = "auto", seconds: float = 20.0) -> Cost:
    """Train for about `seconds` on made-up discs and say what the whole training would take."""
    times, began = [], time.perf_counter()
    for step in train(config, _Discs(), device=device):
        float(step.loss)  # wait for the device
        times.append(time.perf_counter() - began - sum(times))
        if sum(times) >= seconds:
            break
    typical = statistics.median(times[1:] or times)  # the first step also sets everything up
    memory = peak_memory(choose_device(device))
    return Cost(len(times), typical, typical * config.steps, memory)


class _Discs:
    """A pool of grey discs: the shapes of a real one, at no cost."""

    def batch(self, seed: int, n: int, batch_size: int) -> tuple[Tensor, Tensor]:
        line = torch.linspace(-1, 1, 96)
        brain_masks = (line[:, None] ** 2 + line**2 < 0.6).expand(batch_size, 1, 96, 96)
        return torch.where(brain_masks, 0.0, -1.0), brain_masks


def make_corruption(config: TrainConfig) -> Corruption:
    """The function that hides a part of each slice, by its name in the settings."""
    match config.corruption:
        case "none":
            return no_corruption
        case "ipm":
            return IPM(BROAD_PATCHES)
        case "fpm":
            return FPM()
        case "fpm-cm":
            return FPMCutMix()
    raise ValueError(
        f'corruption must be "none", "ipm", "fpm" or "fpm-cm", got {config.corruption!r}; '
        "pass a function of your own as corrupt="
    )


def make_schedule(config: TrainConfig) -> Schedule:
    """The schedule by its name in the settings."""
    match config.schedule:
        case "cosine":
            return Schedule.cosine(config.T)
        case "linear":
            return Schedule.linear(config.T)
    raise ValueError(f'schedule must be "cosine" or "linear", got {config.schedule!r}')


def make_noise(config: TrainConfig) -> Callable[..., Tensor]:
    """The function that draws the noise, by its name in the settings."""
    match config.noise:
        case "fractal":
            return fractal_noise
        case "gaussian":
            return gaussian_noise
    raise ValueError(f'noise must be "fractal" or "gaussian", got {config.noise!r}')


def make_generator(seed: int, n: int, device: torch.device) -> torch.Generator:
    """A random generator for batch n, unrelated to those of its neighbours."""
    mixed = np.random.SeedSequence([seed, n]).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(mixed))
