"""Which models there are, and the detector that a model's card describes."""

import json
import platform
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch

from maskdiff_edu.detection.adaptation import Teacher
from maskdiff_edu.detection.cards import Card, card_error
from maskdiff_edu.detection.detectors import (
    Detector,
    DetectorSettings,
    IntensityDetector,
    MapSettings,
    MaskedDDPM,
)
from maskdiff_edu.detection.records import Record, as_json
from maskdiff_edu.detection.refinement import RECIPES, RefinedDDPM, Teach
from maskdiff_edu.detection.rivals import RIVALS
from maskdiff_edu.devices import Precision, choose_device
from maskdiff_edu.diffusion import UNet, as_x_0
from maskdiff_edu.diffusion.asking import Ask, ByShrinking, InBoxes, InCells
from maskdiff_edu.errors import CheckpointError, SettingsError
from maskdiff_edu.files import require_writable, write_atomic
from maskdiff_edu.training import (
    TrainConfig,
    available_models,
    load_pretrained,
    make_noise,
    make_schedule,
)
from maskdiff_edu.training.checkpoints import MODELS

DEFAULT_MODEL = "ipm"  #: the best on validation patients, of those that ship; a test compares
BASELINES = ("intensity", "intensity-equalised")


@dataclass(frozen=True, eq=False)
class Method:
    """A detector with what has to be known to use it on a scan."""

    detector: Detector
    threshold: float | None = None  #: of the map; None if none was chosen for these settings
    card: Card = field(default_factory=Card)
    source: str | Path = ""  #: the model's name, or its file
    recipe: str = ""  #: how it looks at a scan again, a name in `refinement.RECIPES`

    @property
    def settings(self) -> MapSettings:
        """The detector's own, so that what is reported is what was used."""
        return self.detector.settings

    @property
    def used(self) -> dict[str, Any]:
        """The settings that matter to this detector, as plain JSON."""
        used = self.settings.as_json()
        if isinstance(self.detector, RefinedDDPM):
            used["refinement"] = asdict(self.detector.refinement)
        elif self.recipe:
            used["rival"] = self.recipe
        if isinstance(self.detector, MaskedDDPM):
            return {**used, "seed": self.detector.seed, "device": str(self.detector.device)}
        return used

    @property
    def name(self) -> str:
        """What results call it: the training's method, and how a scan is looked at again."""
        name = self.card.method or self.detector.name
        return f"{name}-{self.recipe}" if self.recipe else name

    def with_settings(self, settings: MapSettings) -> Self:
        """The same network, used in another way; the threshold was one for the old way, and goes.

        Raises: `SettingsError` for a detector without a network.
        """
        if not isinstance(self.detector, MaskedDDPM) or not isinstance(settings, DetectorSettings):
            raise SettingsError(f"expected methods with a network, got {self.detector.name}")
        return replace(self, detector=replace(self.detector, settings=settings), threshold=None)


@dataclass(frozen=True)
class About(Record):
    """What is installed here: versions, devices, and the cards of the models that ship."""

    version: str
    python: str
    torch: str
    devices: tuple[str, ...]
    models: dict[str, Card]


def build_method(
    name_or_file: str | Path = DEFAULT_MODEL,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "float32",
    refine: str | None = None,
    **changes: Any,
) -> Method:
    """The method that a model's card describes, with some settings changed.

    `name_or_file`: a shipped model, "intensity", "intensity-equalised", or a weights file.
    `precision`: "float32" gives the same digits on every machine, "auto" may be twice as fast.
    `refine`: look at the scan again, a name in `refinement.RECIPES`: "two-pass" takes twice as
    long, "adapt" teaches the network this scan first, for half a minute or more, and "adapt-small"
    does so for lesions of a few voxels. Or score it in another way, a name in `rivals.RIVALS`.
    `changes`: fields of `DetectorSettings`; those that are None are left as the card has them.
    A threshold that the card holds is kept only if no setting differs from the card's.

    Raises: `CheckpointError` for a model that cannot be used, `SettingsError` for a bad setting.

    >>> build_method("intensity").detector.name
    'intensity'
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    if name_or_file in BASELINES:
        if refine is not None:
            raise SettingsError(f"{name_or_file}: expected no refine, for it draws nothing")
        return _build_baseline(str(name_or_file), changes)
    chosen_device = choose_device(device)
    model, stored = load_pretrained(name_or_file)
    card = Card.from_json(stored, str(name_or_file))
    try:
        config = TrainConfig.from_json(stored["train"])
        if "detector" not in stored:
            card = replace(card, detector=first_settings(config))
        build = partial(
            _build_network, model, config, seed=seed, device=chosen_device, precision=precision,
            name=Path(name_or_file).stem,
        )  # fmt: skip
        build(card.detector)  # what is wrong now is the card's fault, later the caller's
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name_or_file}: {card_error(error)}") from error
    settings = replace(card.detector, **changes)
    if refine is not None:
        detector = look_again(build(settings), refine, Teacher(model, config, chosen_device))
        return Method(detector, None, card, name_or_file, refine)
    threshold = card.threshold if settings == card.detector else None
    return Method(build(settings), threshold, card, name_or_file)


def look_again(detector: MaskedDDPM, refine: str, teach: Teach) -> MaskedDDPM:
    """The same network with a recipe of `refinement.RECIPES`, or scored as in `rivals.RIVALS`.

    Raises: `SettingsError` for an unknown one.
    """
    parts = {f.name: getattr(detector, f.name) for f in fields(MaskedDDPM)}
    if refine in RIVALS:
        return RIVALS[refine](**parts)
    if refine not in RECIPES:
        raise SettingsError(f"refine: expected one of {(*RECIPES, *RIVALS)}, got {refine!r}")
    recipe = RECIPES[refine]
    parts["settings"] = replace(detector.settings, postprocessing=recipe.postprocessing)
    return RefinedDDPM(**parts, refinement=recipe.refinement, teach=teach)


def build_detector(name_or_file: str | Path = DEFAULT_MODEL, **options: Any) -> Detector:
    """The detector alone; arguments and errors as for `build_method`.

    >>> detector = build_detector("fpm-cm", t=200, draws=8)  # doctest: +SKIP
    """
    return build_method(name_or_file, **options).detector


def baselines(settings: MapSettings) -> list[IntensityDetector]:
    """What a method is compared with: both intensity detectors, cleaned up as its map is."""
    shared = MapSettings(normalise=settings.normalise, postprocessing=settings.postprocessing)
    return [IntensityDetector(equalise, shared) for equalise in (False, True)]


def weights_path(name_or_file: str | Path) -> Path:
    """Where the weights of a model lie; its card is the .json file beside them."""
    path = Path(name_or_file)
    return path if path.is_file() else MODELS / f"{name_or_file}.safetensors"


def about() -> About:
    """Version, devices and the cards of all shipped models."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return About(
        version=version("maskdiff_edu"),
        python=platform.python_version(),
        torch=torch.__version__,
        devices=("cpu", *(name for name, is_there in there.items() if is_there)),
        models={n: Card.from_json(load_pretrained(n)[1], n) for n in available_models()},
    )


def require_own_card(name_or_file: str | Path) -> None:
    """Raise now where `write_card` should not or could not write, before anyone waits for it.

    Raises: `SettingsError` for a shipped model, whose card is everybody's default; `Error` where
    the folder cannot be written.
    """
    path = weights_path(name_or_file)
    if path.resolve().parent == MODELS.resolve():
        raise SettingsError(
            f"{name_or_file}: expected a weights file of your own, got a shipped model, whose card "
            f"is never rewritten; copy {path.name} and its .json elsewhere"
        )
    require_writable(path.parent)


def write_card(method: Method, threshold: float | None, **sections: Any) -> None:
    """Put the settings in use and their threshold into the model's card, and other `sections`.

    These are fields of `Card`: `chosen`, or `phantom` and, on whom it was measured, `evaluation`.

    Raises: `SettingsError` for a shipped model.
    """
    require_own_card(method.source)
    used = {**method.settings.as_json(), "threshold": threshold}
    card = {**method.card.as_json(), "detector": used, **as_json(sections)}
    path = weights_path(method.source).with_suffix(".json")
    write_atomic(path, json.dumps(card, indent=1).encode())


def _build_network(
    model: UNet, config: TrainConfig, settings: DetectorSettings, **options: Any
) -> MaskedDDPM:
    """The detector of a network that was trained with `config`."""
    schedule = make_schedule(config).to(options["device"])
    return MaskedDDPM(
        as_x_0(model, config.prediction, schedule),
        schedule,
        settings,
        make_noise(config),
        ask=_make_ask(config),
        **options,
    )


def first_settings(config: TrainConfig) -> DetectorSettings:
    """How a network is used that nobody has chosen settings for yet.

    >>> first_settings(TrainConfig(noise="none")).times
    [0]
    """
    return DetectorSettings(t=0, draws=1) if config.noise == "none" else DetectorSettings()


def _make_ask(config: TrainConfig) -> Ask | None:
    """How a network is asked that was trained on parts of a slice."""
    if config.box:
        return InBoxes(config.box)
    asks: dict[str, Ask] = {"cells": InCells(), "fine-detail": ByShrinking()}
    return asks.get(config.corruption)


def _build_baseline(name: str, changes: dict[str, Any]) -> Method:
    foreign = sorted(changes.keys() - {"normalise", "postprocessing"})
    if foreign:
        raise SettingsError(
            f"{name}: expected no {', no '.join(foreign)}, for it has no network, got "
            f"{', '.join(str(changes[setting]) for setting in foreign)}"
        )
    [detector] = [d for d in baselines(MapSettings(**changes)) if d.name == name]
    return Method(detector, source=name)
