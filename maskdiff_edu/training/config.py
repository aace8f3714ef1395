"""The settings of a training, the presets, and the parts that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from torch import Tensor

from maskdiff_edu.devices import Precision
from maskdiff_edu.diffusion import (
    BROAD_PATCHES,
    FPM,
    IPM,
    MIXED_BANDS,
    NETWORKS,
    PAPER_PATCHES,
    RELEASED_BANDS,
    RELEASED_PATCHES,
    Corruption,
    FPMCutMix,
    Schedule,
    fractal_noise,
    gaussian_noise,
    no_corruption,
)
from maskdiff_edu.diffusion.corruptions import Cells, CoarseNoise, FineDetail, Foreign
from maskdiff_edu.diffusion.noise import no_noise
from maskdiff_edu.diffusion.objectives import Prediction
from maskdiff_edu.errors import SettingsError, require_number

N_SUBJECTS = 300  #: healthy subjects that the presets learn from
#: What may be hidden or changed, by name.
CORRUPTIONS = (
    *("none", "ipm", "fpm", "fpm-cm"),
    *("coarse-noise", "cells", "foreign", "fine-detail"),
)
_NAMES = {"corruption": CORRUPTIONS, "unet": tuple(NETWORKS)}
_CUSTOM = "custom: "


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training learns; with the pool, it decides every weight.

    A corruption "custom: NAME" is a function of one's own, which `train` takes as `corrupt=`.
    Raises SettingsError, also for numbers outside `_RANGES` below.

    >>> TrainConfig(corruption="ipm", steps=100).t_max
    249
    """

    corruption: str = "fpm-cm"  #: what is hidden in x_0, a name in `CORRUPTIONS` or one's own
    patches: Literal["broad", "paper", "released"] = "broad"  #: of ipm and fpm-cm, the `*_PATCHES`
    bands: Literal["released", "mixed"] = "released"  #: of fpm and fpm-cm, the `*_BANDS`
    prediction: Prediction = "x_0"  #: what the network answers with
    loss: Literal["l1", "l2"] = "l1"  #: distance between that and the target
    schedule: Literal["cosine", "linear"] = "cosine"
    T: int = 1000  #: steps of the schedule
    t_min: int = 150  #: t is drawn from t_min..t_max, the band that the test uses
    t_max: int = 249
    noise: Literal["fractal", "gaussian", "none"] = "fractal"
    box: int = 0  #: side of the one box that is noised and scored (pDDPM); 0 is the whole slice
    unet: str = "folded"  #: shape of the network, a name in diffusion.NETWORKS
    code_weight: float = 1.0  #: of a random code's distance from normal, in nats a pixel
    batch_size: int = 8  #: slices a step, over all processes together
    steps: int = 10_000  #: in all
    lr: float = 1e-3  #: peak learning rate of AdamW
    warmup: int = 100  #: steps over which the learning rate rises from 0; then a cosine to 0
    weight_decay: float = 0.0
    ema_decay: float = 0.995  #: the averaged weights forget at this rate a step
    max_grad_norm: float = 1.0  #: longer gradients are shortened to this length
    precision: Precision = "auto"  #: of matrix products; see devices.choose_precision
    seed: int = 0  #: of the first weights, the batches and all noise

    def __post_init__(self) -> None:
        """Refuse an unknown name, or a number that no training can use."""
        for name, kind in get_type_hints(TrainConfig).items():
            value = getattr(self, name)
            if name in _RANGES:
                require_number(name, value, *_RANGES[name], whole=kind is int)
            elif value not in (names := _NAMES.get(name) or get_args(kind)) and not (
                name == "corruption" and _is_custom(value)
            ):
                hint = "; pass a function of your own as corrupt=" if name == "corruption" else ""
                choices = ", ".join(f'"{choice}"' for choice in names)
                raise SettingsError(f"{name} must be one of {choices}, got {value!r}{hint}")
        if not self.t_min <= self.t_max < self.T:
            raise SettingsError(
                f"expected t_min <= t_max < T, got {self.t_min}, {self.t_max} and {self.T}"
            )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TrainConfig:
        """The settings of a card or a checkpoint; those that it does not tell have their defaults.

        Older ones also tell of the pool, which is passed over. Raises SettingsError, for a setting
        that does not exist too.

        >>> TrainConfig.from_json({"corruption": "ipm", "n_subjects": 300}).corruption
        'ipm'
        """
        if not isinstance(stored, Mapping):
            raise SettingsError(f"train: expected settings by their names, got {stored!r}")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(map(str, stored.keys() - known - _OF_THE_POOL)):
            raise SettingsError(f"train: expected settings of a training, got {unknown[0]!r} too")
        return cls(**{name: value for name, value in stored.items() if name in known})


_RANGES = {  # of each number, both ends included: a card may come from anyone
    "T": (1, 100_000),
    "t_min": (0, 99_999),
    "t_max": (0, 99_999),
    "box": (0, 4096),
    "code_weight": (0, 1e6),
    "batch_size": (1, 65_536),
    "steps": (1, 10**9),
    "lr": (0, 10),
    "warmup": (0, 10**9),
    "weight_decay": (0, 10),
    "ema_decay": (0, 1),
    "max_grad_norm": (1e-9, 1e9),
    "seed": (0, 2**63 - 1),
}
_OF_THE_POOL = {"n_subjects", "contrast"}  # settings of before, now the pool's own

# One pass without noise: the slice, as corrupted, goes in at t = 0.
_ONE_PASS = TrainConfig(corruption="none", noise="none", t_min=0, t_max=0)
# The diffusion of the paper: every t, linear betas.
_PAPERS = TrainConfig(corruption="none", schedule="linear", t_min=0, t_max=999)

#: Trainings by name.
PRESETS = {
    # What is hidden, arXiv 2305.19867: nothing, rectangles, frequencies, frequencies in rectangles.
    "ddpm": TrainConfig(corruption="none"),
    "ipm": TrainConfig(corruption="ipm"),
    "fpm": TrainConfig(corruption="fpm"),
    "fpm-cm": TrainConfig(corruption="fpm-cm"),
    # The same with patches that hide as much as the paper says, and as its released code does.
    "ipm-paper": TrainConfig(corruption="ipm", patches="paper"),
    "fpm-cm-paper": TrainConfig(corruption="fpm-cm", patches="paper"),
    # The released code noises one box, too, and looks at the error in it only.
    "fpm-cm-released": TrainConfig(corruption="fpm-cm", patches="released", box=48),
    # Nothing is hidden, but only one box of the slice is noised, arXiv 2303.03758.
    "pddpm": TrainConfig(corruption="none", box=48),
    # White noise; and the paper's own diffusion, without and with its masks.
    "ddpm-gaussian": TrainConfig(corruption="none", noise="gaussian"),
    "ddpm-all-t": _PAPERS,
    "fpm-cm-all-t": replace(_PAPERS, corruption="fpm-cm", patches="paper"),
    # No diffusion: a code, a random code, a random code for each place.
    "ae": replace(_ONE_PASS, unet="dense"),
    "vae": replace(_ONE_PASS, unet="dense-random"),
    "svae": replace(_ONE_PASS, unet="spatial-random"),
    # Something else than masks or noise of diffusion, then one pass.
    "dae": replace(_ONE_PASS, corruption="coarse-noise", loss="l2"),
    "riad": replace(_ONE_PASS, corruption="cells", loss="l2"),
    "disyre-lite": replace(_ONE_PASS, corruption="foreign"),
    "itermask-lite": replace(_ONE_PASS, corruption="fine-detail"),
}


def make_corruption(config: TrainConfig) -> Corruption:
    """The function that hides a part of each slice, by its name in the settings.

    Raises SettingsError for "custom: NAME": the function itself has to be passed.

    >>> make_corruption(PRESETS["ipm-paper"]) == IPM(PAPER_PATCHES)
    True
    """
    if _is_custom(config.corruption):
        raise SettingsError(
            f"corrupt: expected the function that {config.corruption!r} stands for, got none"
        )
    patches = {"broad": BROAD_PATCHES, "paper": PAPER_PATCHES, "released": RELEASED_PATCHES}
    bands = {"released": RELEASED_BANDS, "mixed": MIXED_BANDS}
    fpm = FPM(bands[config.bands])
    corruptions: dict[str, Corruption] = {
        "none": no_corruption,
        "ipm": IPM(patches[config.patches]),
        "fpm": fpm,
        "fpm-cm": FPMCutMix(fpm, patches[config.patches]),
        "coarse-noise": CoarseNoise(),
        "cells": Cells(),
        "foreign": Foreign(),
        "fine-detail": FineDetail(patches=patches[config.patches]),
    }
    return corruptions[config.corruption]


def custom(corrupt: Corruption) -> str:
    """What settings and cards call a function of one's own.

    >>> custom(no_corruption)
    'custom: no_corruption'
    """
    function = getattr(corrupt, "func", corrupt)  # of a functools.partial
    return _CUSTOM + getattr(function, "__name__", type(function).__name__)


def _is_custom(corruption: object) -> bool:
    return isinstance(corruption, str) and corruption.startswith(_CUSTOM)


def make_schedule(config: TrainConfig) -> Schedule:
    """The schedule by its name in the settings.

    >>> make_schedule(PRESETS["ddpm"]).T
    1000
    """
    return {"cosine": Schedule.cosine, "linear": Schedule.linear}[config.schedule](config.T)


def make_noise(config: TrainConfig) -> Callable[..., Tensor]:
    """The function that draws the noise, by its name in the settings.

    >>> make_noise(PRESETS["ddpm"])((2, 1, 96, 96)).shape
    torch.Size([2, 1, 96, 96])
    """
    return {"fractal": fractal_noise, "gaussian": gaussian_noise, "none": no_noise}[config.noise]
