"""Training: hide a part of a healthy slice, add noise, and learn to give the whole slice back."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskdiff_edu import progress
from maskdiff_edu.devices import choose_device, join_processes
from maskdiff_edu.diffusion import Corruption, UNet
from maskdiff_edu.errors import Error, require_number
from maskdiff_edu.files import locked
from maskdiff_edu.training.batches import in_turn, make_generator, move
from maskdiff_edu.training.checkpoints import checksum, load_model, save_model
from maskdiff_edu.training.config import TrainConfig, custom, make_corruption, make_schedule
from maskdiff_edu.training.denoising import Noised, hide_and_noise
from maskdiff_edu.training.graph import make_follow
from maskdiff_edu.training.pool import Pool
from maskdiff_edu.training.state import TrainState

CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"  #: in a training's folder


@dataclass(frozen=True)
class Saving:
    """Where a training is saved, how often, and whether it goes on from what is there.

    Raises SettingsError unless `every` is a whole number from 1 on.

    >>> Saving("model", resume=True)  # a folder alone stands for Saving(folder)
    Saving(folder='model', every=250, resume=True)
    """

    folder: str | Path  #: checkpoint.safetensors is written there
    every: int = 250  #: steps from one checkpoint to the next; the last step writes one anyway
    resume: bool = False  #: go on from the checkpoint, if there is one; else begin anew

    def __post_init__(self) -> None:
        require_number("every", self.every, 1, 10**9, whole=True)

    @property
    def checkpoint(self) -> Path:
        return Path(self.folder) / CHECKPOINT


@dataclass(frozen=True)
class Step:
    """One training step done."""

    number: int  #: 1..steps
    loss: Tensor  #: (), still on the device, float(step.loss) waits for it
    lr: float  #: learning rate of this step
    seconds: float  #: since the step before
    model: UNet  #: the averaged weights so far; not a copy, the next step changes it


def train(
    config: TrainConfig,
    pool: Pool,
    *,
    corrupt: Corruption | None = None,
    start: UNet | None = None,
    device: str = "auto",
    out: str | Path | Saving | None = None,
) -> Iterator[Step]:
    """Train a network, yielding a `Step` after each step; the last one's `model` is the result.

    `corrupt` takes the place of `config.corruption`: any function of (images, brain_masks,
    generator) to images. `start` is a network to go on from instead of a new one. With `out`, a
    folder, a checkpoint is written there from time to time and at the end; `Saving` says how often,
    and whether the training goes on from it, up to `config.steps`.

    Batch n, masks and noise included, follows from (config.seed, n) alone: an interrupted training
    ends in the same weights as one that was not. Under torchrun the processes share each batch. On
    a GPU a thread of its own asks the pool and `corrupt` for the next batches during a step.

    Only one training at a time writes into a folder. Raises Error where another process does,
    SettingsError for settings that do not fit, CheckpointError for a file that does not,
    also one of a training with other settings (only steps may grow), data, `corrupt` or `start`.
    Raises Error, the checkpoint of before kept, where a number is no longer finite: on a CPU at
    that step, elsewhere, where looking costs time, when the next checkpoint is due.

    >>> from maskdiff_edu.training.pool import Discs
    >>> def hide_left(images, brain_masks, generator):  # see book/own_mask.ipynb
    ...     left = torch.arange(images.shape[-1], device=images.device) < 48
    ...     return torch.where(left & brain_masks, 0.0, images)
    >>> config = TrainConfig(steps=2, batch_size=2)
    >>> [step.number for step in train(config, Discs(), corrupt=hide_left, device="cpu")]
    [1, 2]
    """
    processes = join_processes()
    chosen = choose_device(device, processes)
    share = processes.share(config.batch_size)
    schedule = make_schedule(config).to(chosen)
    hide = corrupt or make_corruption(config)
    state = TrainState(config, chosen, start, _describe(pool, corrupt, start))
    saving = _saving(out)

    def prepare(n: int) -> Noised:
        """Batch n; all processes draw the whole of it, and each takes its part."""
        generator = make_generator(config.seed, n, chosen)
        drawn = pool.batch(config.seed, n, config.batch_size)
        x_0, brain_masks = (move(tensor, chosen) for tensor in drawn)
        return hide_and_noise(x_0, brain_masks, hide, schedule, config, generator).share(share)

    with ExitStack() as held:
        if saving and processes.rank == 0:
            held.enter_context(locked(saving.checkpoint))
        if saving and saving.resume and saving.checkpoint.exists():
            state.load(saving.checkpoint)
        if state.step == config.steps:
            return
        began = time.perf_counter()
        first = prepare(state.step)
        follow = make_follow(state, schedule, first, processes)
        others = in_turn(prepare, state.step + 1, config.steps, chosen)
        with closing(others):
            for noised in chain([first], others):
                error, lr = follow(noised)
                state.seconds += time.perf_counter() - began
                is_last = state.step == config.steps
                if saving and (is_last or state.step % saving.every == 0):
                    _require_finite(state.step, state.net.state_dict())
                    if processes.rank == 0:
                        state.save(saving.checkpoint)
                error = processes.mean(error)  # after the saving, which the others wait for here
                if chosen.type == "cpu":  # elsewhere to look at a number is to wait for it
                    _require_finite(state.step, {"loss": error})
                yield Step(state.step, error, lr, time.perf_counter() - began, state.average)
                began = time.perf_counter()


def fit(
    config: TrainConfig,
    pool: Pool,
    *,
    out: str | Path | Saving | None = None,
    about: Mapping[str, Any] | None = None,
    **options: Any,
) -> UNet:
    """Train with a progress bar and return the averaged network; `options` as for `train`.

    With `out`, the result is also written there for use, as model.safetensors with its card
    model.json; `about` goes into the card, such as the "method" and the "command" that makes the
    same model again. Errors as for `train`.
    """
    saving, silent = _saving(out), join_processes().rank > 0
    with progress.bar(total=config.steps, desc="training", unit="step", silent=silent) as bar:
        for step in train(config, pool, out=saving, **options):
            bar.update(step.number - bar.n)
            if step.number % 20 == 0:  # now and then: looking at the loss waits for the device
                shown = {"loss": f"{float(step.loss):.4f}", "lr": f"{step.lr:.1e}"}
                bar.set_postfix(shown, refresh=False)
    if saving is None:
        return step.model
    model, trained = load_model(saving.checkpoint)
    if join_processes().rank == 0:
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        used = _tell(trained, options.get("corrupt"), options.get("start"))
        save_model(Path(saving.folder) / MODEL, model, dict(about or {}) | used | versions)
    return model


def _require_finite(step: int, tensors: Mapping[str, Tensor]) -> None:
    """Raise Error where a training has come apart; all processes see the same numbers."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise Error(
                f"step {step}: expected finite numbers, got NaN or infinity in {name}; checkpoints "
                "of before are kept. Try a lower learning rate, or look for NaN in what hides "
                "parts of the images"
            )


def _saving(out: str | Path | Saving | None) -> Saving | None:
    return Saving(out) if isinstance(out, str | Path) else out


def _tell(trained: dict[str, Any], corrupt: Corruption | None, start: UNet | None) -> dict:
    """What the card says of a training: settings that played no part are left out.

    "data" is the pool's description, "start" the checksum of the network that it went on from;
    None where the pool has none, or the network was a new one.
    """
    settings, made_from = dict(trained["train"]), trained["made_from"]
    if corrupt is not None:
        settings["corruption"] = custom(corrupt)
        del settings["patches"], settings["bands"]
    if start is not None:  # the shape is the start's: the card's own "unet"
        del settings["unet"]
    made = {"data": made_from["data"], "start": made_from["start"] or None}
    return {"train": settings} | made | {name: trained[name] for name in ("step", "seconds")}


def require_resumable(path: str | Path, config: TrainConfig, pool: Pool) -> None:
    """Raise CheckpointError now where `train` could not resume, before the subjects are made."""
    TrainState(config, torch.device("cpu"), None, _describe(pool, None, None)).load(Path(path))


def _describe(pool: Pool, corrupt: Corruption | None, start: UNet | None) -> dict[str, str | None]:
    """What decides the weights beside the settings, in words; None where nothing is known."""
    return {
        "data": getattr(pool, "description", None),
        # without the addresses that Python shows, which differ from run to run
        "corrupt": "" if corrupt is None else re.sub(r" at 0x[0-9a-fA-F]+", "", repr(corrupt)),
        "start": "" if start is None else checksum(start.state_dict()),
    }
