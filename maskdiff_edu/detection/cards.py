"""What the JSON file beside a model's weights says: its card.

"train" holds the `TrainConfig` that it was trained with, "detector" how it is used, "chosen" what
was tried for that, "phantom" how well it did on the synthetic test subjects, "evaluation" on whom::

    "detector": {"t": 150, "draws": 4, "residual": "positive", "normalise": "percentile",
                 "postprocessing": {"erosions": 1, "median_size": 3}, "threshold": 0.21}
"""

from dataclasses import dataclass, field
from typing import Any, Self, get_type_hints

from maskdiff_edu.detection.anomaly import PostProcessing, ResidualKind
from maskdiff_edu.detection.detectors import DetectorSettings
from maskdiff_edu.detection.records import Record, read
from maskdiff_edu.errors import CheckpointError, require_name, require_number

_SECTIONS = ("method", "train", "chosen", "phantom", "evaluation")  # beside "detector"


@dataclass(frozen=True)
class Tried(Record):
    """One combination of settings, and what it reached on the validation subjects."""

    t: tuple[int, ...]  #: several were averaged
    draws: int  #: at each t
    residual: ResidualKind
    median_size: int  #: see `PostProcessing`
    gaussian_sigma: float
    auprc: float  #: mean over the subjects


@dataclass(frozen=True)
class Chosen(Record):
    """On whom the settings of a card were chosen, and from what."""

    kind: str  #: of lesion
    split: str
    n: int  #: subjects
    seed: int  #: of the noise
    tried: tuple[Tried, ...]  #: best first


@dataclass(frozen=True)
class PhantomRow(Record):
    """How well a model finds one kind of lesion in synthetic test subjects: means over these."""

    n: int  #: subjects
    auprc: float
    ci: tuple[float, float] | None  #: 95 % interval over subjects; None for a single one
    prevalence: float  #: what random scores reach
    intensity: float  #: AUPRC of brightness alone
    intensity_equalised: float = field(metadata={"key": "intensity-equalised"})  #: and of its rank
    best_dice: float  #: with each subject's best threshold, an upper bound
    auroc_volume: float | None  #: patients from healthy subjects, by the volume score


@dataclass(frozen=True)
class Card(Record):
    """A card, all of whose sections may be missing."""

    stored: dict[str, Any] = field(default_factory=dict)  #: the whole file, for what has no field
    method: str = ""  #: what repeats of a training share, such as its preset
    train: dict[str, Any] = field(default_factory=dict)  #: the `TrainConfig`
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    threshold: float | None = None  #: of the map, for these settings
    chosen: Chosen | None = None
    phantom: dict[str, PhantomRow] = field(default_factory=dict)  #: by kind of lesion
    evaluation: dict[str, Any] = field(default_factory=dict)  #: on whom "phantom" was measured

    def as_json(self) -> dict[str, Any]:
        """The file as it was read."""
        return self.stored

    @classmethod
    def from_json(cls, stored: object, where: str) -> Self:
        """Raises: `CheckpointError` for a card that no training and no command wrote."""
        try:
            if not isinstance(stored, dict):
                raise TypeError(f"expected an object {{...}}, got {type(stored).__name__}")
            detector, threshold = _read_detector(stored.get("detector", {}))
            kinds = get_type_hints(cls)
            names = [name for name in _SECTIONS if name in stored]
            sections = {name: read(kinds[name], stored[name], name) for name in names}
            if name := sections.get("method"):
                require_name("method", name)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{where}: {card_error(error)}") from error
        return cls(stored, detector=detector, threshold=threshold, **sections)


def card_error(error: Exception) -> str:
    """What is wrong with a card that cannot be used, for a `CheckpointError`."""
    return (
        "expected a card that says how it was trained and is used, got one that does not "
        f"({type(error).__name__}: {error})"
    )


def _read_detector(stored: dict[str, Any]) -> tuple[DetectorSettings, float | None]:
    """The settings under "detector", and the threshold that goes with them."""
    values = dict(stored)
    threshold = values.pop("threshold", None)
    if threshold is not None:
        require_number("threshold", threshold, -1e9, 1e9)
    if isinstance(values.get("t"), list):
        values["t"] = tuple(values["t"])
    if "postprocessing" in values:
        values["postprocessing"] = PostProcessing(**values["postprocessing"])
    return DetectorSettings(**values), threshold
