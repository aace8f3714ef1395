"""Which models there are, what their cards say, and the detector that a card describes.

A card is the JSON file beside a model's weights. "train" holds its `TrainConfig`, "detector" how
it is used, "phantom" how well it did on the test subjects:

    "detector": {"t": 150, "draws": 4, "residual": "positive", "normalise": "percentile",
                 "postprocessing": {"erosions": 1, "median_size": 3}, "threshold": 0.21}
"""

import json
import platform
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from maskdiff_edu.detection.anomaly import PostProcessing, ResidualKind
from maskdiff_edu.detection.detectors import Detector, IntensityDetector, MaskedDDPM
from maskdiff_edu.devices import Precision, choose_device
from maskdiff_edu.diffusion import UNet, objectives
from maskdiff_edu.errors import CheckpointError, require_number
from maskdiff_edu.files import write_atomic
from maskdiff_edu.training import (
    TrainConfig,
    available_models,
    load_pretrained,
    make_noise,
    make_schedule,
)
from maskdiff_edu.training.checkpoints import MODELS

DEFAULT_MODEL = "fpm-cm"
BASELINES = ("intensity", "intensity-equalised")


@dataclass(frozen=True)
class DetectorSettings:
    """How a model is used; a card's "detector" holds the same names."""

    t: int | tuple[int, ...] = 150  #: how far to noise; several are averaged
    draws: int = 4  #: noisings averaged at each t
    residual: ResidualKind = "positive"  #: lesions brighter than the healthy brain; or "absolute"
    normalise: str = "percentile"  #: see intensity.intensity_range
    postprocessing: PostProcessing = field(default_factory=PostProcessing)


@dataclass(frozen=True, eq=False)
class Method:
    """A detector with what has to be known to use it on a scan."""

    detector: Detector
    settings: DetectorSettings
    threshold: float | None = None  #: of the map; None if none was chosen for these settings
    card: dict[str, Any] = field(default_factory=dict)
    source: str | Path = ""  #: the model's name, or its file

    @property
    def used(self) -> dict[str, Any]:
        """The settings that matter to this detector, as plain JSON."""
        settings = asdict(self.settings)
        if isinstance(self.detector, MaskedDDPM):
            return {**settings, "seed": self.detector.seed, "device": str(self.detector.device)}
        return {name: settings[name] for name in ("normalise", "postprocessing")}


def build_method(
    name_or_file: str | Path = DEFAULT_MODEL,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "float32",
    **changes: Any,
) -> Method:
    """The method that a model's card describes, with some settings changed.

    `name_or_file`: a shipped model, "intensity", "intensity-equalised", or a weights file.
    `precision`: "float32" gives the same digits on every machine, "auto" may be twice as fast.
    `changes`: fields of `DetectorSettings`; those that are None are left as the card has them.
    A threshold that the card holds is kept only if no setting differs from the card's.

    Raises: `CheckpointError` for a model that cannot be used, `ValueError` for a bad setting.

    >>> build_method("intensity").detector.name
    'intensity'
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    if name_or_file in BASELINES:
        return _build_baseline(str(name_or_file), changes)
    chosen_device = choose_device(device)
    model, card = load_pretrained(name_or_file)
    try:
        config = TrainConfig(**card["train"])
        as_card, threshold = _settings_of(card)
        build = partial(
            _build_network, model, config, seed=seed, device=chosen_device, precision=precision,
            name=Path(name_or_file).stem,
        )  # fmt: skip
        build(as_card)  # what is wrong now is the card's fault, later the caller's
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name_or_file}: expected a card that says how it was trained and is used, came one "
            f"that does not ({type(error).__name__}: {error})"
        ) from error
    settings = replace(as_card, **changes)
    threshold = threshold if settings == as_card else None
    return Method(build(settings), settings, threshold, card, name_or_file)


def build_detector(name_or_file: str | Path = DEFAULT_MODEL, **options: Any) -> Detector:
    """The detector alone; arguments and errors as for `build_method`.

    >>> detector = build_detector("fpm-cm", t=200, draws=8)  # doctest: +SKIP
    """
    return build_method(name_or_file, **options).detector


def baselines(postprocessing: PostProcessing) -> list[IntensityDetector]:
    """What a method is compared with: both intensity detectors, cleaned up as its map is."""
    return [IntensityDetector(equalise, postprocessing) for equalise in (False, True)]


def weights_path(name_or_file: str | Path) -> Path:
    """Where the weights of a model lie; its card is the .json file beside them."""
    path = Path(name_or_file)
    return path if path.is_file() else MODELS / f"{name_or_file}.safetensors"


def about() -> dict[str, Any]:
    """Version, devices and the cards of all shipped models, as plain JSON."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return {
        "version": version("maskdiff_edu"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": ["cpu", *(name for name, is_there in there.items() if is_there)],
        "models": {name: load_pretrained(name)[1] for name in available_models()},
    }


def write_card(method: Method, threshold: float | None, **sections: Any) -> None:
    """Put the settings in use and their threshold into the model's card, and other `sections`.

    Such as `phantom`, a row of test results for each lesion kind, and `evaluation`, on whom they
    were measured.
    """
    used = {**asdict(method.settings), "threshold": threshold}
    card = {**method.card, "detector": used, **sections}
    path = weights_path(method.source).with_suffix(".json")
    write_atomic(path, json.dumps(card, indent=1).encode())


def _build_network(
    model: UNet, config: TrainConfig, settings: DetectorSettings, **options: Any
) -> MaskedDDPM:
    """The detector of a network that was trained with `config`."""
    schedule = make_schedule(config).to(options["device"])
    to_x_0 = partial(objectives.to_x_0, config.prediction, schedule=schedule)
    return MaskedDDPM(
        model,
        schedule,
        settings.t,
        settings.draws,
        make_noise(config),
        settings.residual,
        postprocessing=settings.postprocessing,
        to_x_0=None if config.prediction == "x_0" else to_x_0,
        box=config.box,
        **options,
    )


def _build_baseline(name: str, changes: dict[str, Any]) -> Method:
    foreign = sorted(changes.keys() - {"normalise", "postprocessing"})
    if foreign:
        raise ValueError(f"{name}: expected no {', no '.join(foreign)}: it has no network")
    settings = DetectorSettings(**changes)
    [detector] = [d for d in baselines(settings.postprocessing) if d.name == name]
    return Method(detector, settings, source=name)


def _settings_of(card: dict[str, Any]) -> tuple[DetectorSettings, float | None]:
    """A card's settings and the threshold that goes with them."""
    stored = dict(card.get("detector", {}))
    threshold = stored.pop("threshold", None)
    if threshold is not None:
        require_number("threshold", threshold, -1e9, 1e9)
    if isinstance(stored.get("t"), list):
        stored["t"] = tuple(stored["t"])
    if "postprocessing" in stored:
        stored["postprocessing"] = PostProcessing(**stored["postprocessing"])
    return DetectorSettings(**stored), threshold
