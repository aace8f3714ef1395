"""The part of a training that changes from step to step, and how it is saved and resumed."""

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskdiff_edu.devices import choose_precision, share_gradients
from maskdiff_edu.diffusion import NETWORKS, UNet
from maskdiff_edu.diffusion.autoencoder import make_network
from maskdiff_edu.errors import CheckpointError
from maskdiff_edu.training.checkpoints import AVERAGE, load_checkpoint, save_checkpoint
from maskdiff_edu.training.config import TrainConfig

RECORDS = ("cuda",)  #: kinds of devices on which graph.py records a step


class TrainState:
    """What changes from step to step: the weights, their average, the optimiser, the count.

    `made_from` names what decides the weights beside the settings, such as the data; it is saved
    with the rest and compared on loading. None where nothing is known.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        start: UNet | None,
        made_from: Mapping[str, str | None] | None = None,
    ) -> None:
        self.config, self.step, self.seconds = config, 0, 0.0
        self.made_from = dict(made_from or {})
        self.net = copy.deepcopy(start) if start is not None else new_network(config)
        self.net.to(device).train().requires_grad_(True)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.model = share_gradients(self.net)
        # In tensors where a recorded step has to read what they are now.
        self.rates = torch.zeros(2, device=device) if device.type in RECORDS else None
        lr = 0.0 if self.rates is None else self.rates[0]
        # Share of the average that each step replaces by the newest weights.
        self.newest: float | Tensor = 0.0 if self.rates is None else self.rates[1]
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(),
            lr=lr,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
            capturable=self.rates is not None,
        )
        is_half = choose_precision(config.precision, device) == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=is_half)  # else it does nothing

    def update(self, error: Tensor) -> float:
        """Follow the gradient of `error` by one step; returns the learning rate used."""
        lr = self.set_rates()
        self.learn_from(error)
        self.step += 1
        return lr

    def set_rates(self) -> float:
        """Set how far the next step goes; returns its learning rate."""
        lr = learning_rate(self.config, self.step)
        # Early averages would be mostly the random first weights, so they forget faster.
        newest = 1 - min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        if self.rates is not None:
            for rate, now in zip(self.rates, (lr, newest), strict=True):
                rate.fill_(now)  # unlike rates[0] = lr, this does not wait for the GPU
        else:
            self.newest = newest
            for group in self.optimizer.param_groups:
                group["lr"] = lr
        return lr

    def learn_from(self, error: Tensor) -> None:
        """Move the weights along the gradient of `error`, and their average after them.

        Nothing here looks at a number, so a GPU can record it.
        """
        self.optimizer.zero_grad()
        self.scaler.scale(error).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(now, self.newest)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is learned inside is forgotten at the end, also when it fails.

        In place: a recorded step knows its tensors by their addresses.
        """
        nets = [*self.net.state_dict().values(), *self.average.state_dict().values()]
        before = [tensor.clone() for tensor in nets]
        moments = {
            (id(parameter), key): tensor.clone()
            for parameter, state in self.optimizer.state.items()
            for key, tensor in state.items()
        }
        try:
            yield
        finally:
            for tensor, old in zip(nets, before, strict=True):
                tensor.copy_(old)
            for parameter, state in self.optimizer.state.items():
                for key, tensor in state.items():  # all are 0 at the very beginning
                    tensor.copy_(moments.get((id(parameter), key), torch.zeros_like(tensor)))
            self.optimizer.zero_grad()

    def save(self, path: Path) -> None:
        """Write everything that is needed to go on."""
        tensors = {f"model.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors |= {AVERAGE + name: tensor for name, tensor in self.average.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            for key, tensor in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = tensor
        about = {
            "unet": dataclasses.asdict(self.net.config),
            "train": dataclasses.asdict(self.config),
            "made_from": self.made_from,
            "step": self.step,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(path, tensors, about)

    def load(self, path: Path) -> None:
        """Go on from `path`. Raises CheckpointError if it comes from another training."""
        tensors, about = load_checkpoint(path)
        try:
            check_same_training(path, about, self.config, self.made_from)
            for net, prefix in ((self.net, "model."), (self.average, AVERAGE)):
                weights = net.state_dict()
                net.load_state_dict(
                    {name: _checked(tensors, prefix + name, weights[name]) for name in weights}
                )
            for name, parameter in self.net.named_parameters():
                likes = {"step": torch.tensor(0.0), "exp_avg": parameter, "exp_avg_sq": parameter}
                for key, like in likes.items():
                    saved = _checked(tensors, f"optimizer.{key}.{name}", like)
                    if key != "exp_avg" and (saved < 0).any():
                        raise ValueError(f"{key} of {name} is negative")
                    # in the parameter's memory layout, which the fused optimiser relies on
                    kept = torch.empty_like(like, device=parameter.device, requires_grad=False)
                    self.optimizer.state[parameter][key] = kept.copy_(saved)
            self.step, self.seconds = about["step"], about["seconds"]
            if type(self.step) is not int or self.step < 0:
                raise ValueError(f"step is {self.step!r}")
            if not (isinstance(self.seconds, float) and 0 <= self.seconds < math.inf):
                raise ValueError(f"seconds is {self.seconds!r}")
            _check_scaler(about["scaler"], self.scaler.state_dict())
            self.scaler.load_state_dict(about["scaler"])
        except CheckpointError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a whole training checkpoint ({error})") from error
        if self.step > self.config.steps:
            raise CheckpointError(
                f"{path}: has done {self.step} steps, expected at most the {self.config.steps} "
                "asked for; steps count from the very first one"
            )


def learning_rate(config: TrainConfig, step: int) -> float:
    """A straight rise over `warmup` steps, then half a cosine down to 0 at `steps`.

    `step` counts from 0; returns a number in 0..lr.

    >>> config = TrainConfig(lr=1e-3, warmup=100, steps=2000)
    >>> [round(learning_rate(config, step), 6) for step in (0, 99, 1050, 2000)]
    [1e-05, 0.001, 0.0005, 0.0]
    """
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    done = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * rise * (1 + math.cos(math.pi * min(1.0, done))) / 2


def new_network(config: TrainConfig) -> UNet:
    """A network with weights drawn from `config.seed`, torch's own generator left as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed seeds GPUs too
        return make_network(NETWORKS[config.unet])


def check_same_training(
    path: Path, about: dict[str, Any], config: TrainConfig, made_from: Mapping[str, str | None]
) -> None:
    """Only the number of steps may differ from what the checkpoint was made with.

    Settings that an older checkpoint does not tell had their defaults; what neither it nor this
    training tells of its data is not compared.
    """
    before = dataclasses.asdict(TrainConfig.from_json(about["train"]))
    before |= dict(about.get("made_from", {}))
    now = dataclasses.asdict(config) | dict(made_from)
    for name in [name for name in now if name in before and name != "steps"]:
        if before[name] != now[name] and None not in (before[name], now[name]):
            raise CheckpointError(
                f"{path}: was trained with {name}={before[name]!r}, not {now[name]!r}; go on with "
                "the same settings and data (only steps may grow) or train into another folder"
            )


def _checked(tensors: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """The tensor of that name, if it can take the place of `like`.

    With another shape the fused optimiser would write beyond its end.
    """
    saved = tensors[name]
    if saved.shape != like.shape or saved.dtype != like.dtype:
        raise ValueError(f"{name} has the shape {tuple(saved.shape)} of {saved.dtype}, expected "
                         f"{tuple(like.shape)} of {like.dtype}")  # fmt: skip
    if not saved.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinity")
    return saved


def _check_scaler(saved: dict[str, Any], like: dict[str, Any]) -> None:
    """Numbers of the same kinds as the scaler's own, which torch takes as they come."""
    for name, number in like.items():
        if type(saved[name]) is not type(number) or not 0 <= saved[name] <= 2.0**127:
            raise ValueError(f"scaler: {name} is {saved[name]!r}")
