"""The part of a training that changes from step to step, and how it is saved and resumed."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from maskdiff_edu.checkpoints import AVERAGE, CheckpointError, load_checkpoint, save_checkpoint
from maskdiff_edu.devices import choose_precision, share_gradients
from maskdiff_edu.unet import PRESETS as UNETS
from maskdiff_edu.unet import UNet

if TYPE_CHECKING:
    from maskdiff_edu.train import TrainConfig


class TrainState:
    """What changes from step to step: the weights, their average, the optimiser, the count."""

    def __init__(self, config: TrainConfig, device: torch.device, start: UNet | None) -> None:
        self.config, self.step, self.seconds = config, 0, 0.0
        self.net = copy.deepcopy(start) if start is not None else new_network(config)
        self.net.to(device).train().requires_grad_(True)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.model = share_gradients(self.net)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
        )
        is_half = choose_precision(config.precision, device) == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=is_half)  # else it does nothing

    def update(self, error: Tensor) -> float:
        """Follow the gradient of `error` by one step; returns the learning rate used."""
        lr = learning_rate(self.config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        self.scaler.scale(error).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

        # Early averages would be mostly the random first weights, so they forget faster.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        self.step += 1
        return lr

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
            "step": self.step,
            "seconds": self.seconds,
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(path, tensors, about)

    def load(self, path: Path) -> None:
        """Go on from `path`. Raises CheckpointError if it comes from another training."""
        tensors, about = load_checkpoint(path)
        try:
            check_same_training(path, about, self.config)
            self.net.load_state_dict(_part(tensors, "model."))
            self.average.load_state_dict(_part(tensors, AVERAGE))
            for name, parameter in self.net.named_parameters():
                shapes = {"step": (), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
                for key, shape in shapes.items():
                    saved = tensors[f"optimizer.{key}.{name}"]
                    if saved.shape != shape:  # the fused optimiser would write beyond its end
                        raise ValueError(f"{key} of {name} has the shape {tuple(saved.shape)}")
                    # in the parameter's memory layout, which the fused optimiser relies on
                    like = parameter if shape else saved
                    kept = torch.empty_like(like, device=parameter.device, requires_grad=False)
                    self.optimizer.state[parameter][key] = kept.copy_(saved)
            self.step, self.seconds = about["step"], float(about["seconds"])
            if type(self.step) is not int or self.step < 0:
                raise ValueError(f"step is {self.step!r}")
            self.scaler.load_state_dict(about["scaler"])
        except CheckpointError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a whole training checkpoint ({error})") from error


def learning_rate(config: TrainConfig, step: int) -> float:
    """A straight rise over `warmup` steps, then half a cosine down to 0 at `steps`."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    done = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * rise * (1 + math.cos(math.pi * min(1.0, done))) / 2


def new_network(config: TrainConfig) -> UNet:
    """A network with weights drawn from `config.seed`, torch's own generator left as it is."""
    if config.unet not in UNETS:
        raise ValueError(f"unet must be one of {', '.join(UNETS)}, got {config.unet!r}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed seeds GPUs too
        return UNet(UNETS[config.unet])


def check_same_training(path: Path, about: dict[str, Any], config: TrainConfig) -> None:
    """Only the number of steps may differ from the settings that the checkpoint was made with."""
    before, now = about.get("train", {}), dataclasses.asdict(config)
    changed = [name for name in now if name != "steps" and before.get(name) != now[name]]
    if changed:
        name = changed[0]
        raise CheckpointError(
            f"{path}: was trained with {name}={before.get(name)!r}, not {now[name]!r}; go on with "
            "the same settings (only steps may grow) or train into another folder"
        )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
