"""What is measured: numbers of one subject, of a group of them, of a run; rows of a comparison.

A run's file, METHOD-seedN.json, holds a `Run`::

    {"method": "fpm-cm", "seed": 0, "split": "test", "settings": {...}, "threshold": 0.21,
     "groups": {"tumour": {...}}, "seconds": 412.0, ...}

and is read back by `load_run`::

    run = load_run("results/fpm-cm-seed0.json")
    run.groups["tumour"].subjects[0].method.auprc
    run.groups["tumour"].mean["intensity"].auprc.value
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from maskdiff_edu.detection import metrics
from maskdiff_edu.detection.metrics import PairedDifference
from maskdiff_edu.detection.records import Record, as_json, shortened
from maskdiff_edu.detection.scoring import LesionMetrics
from maskdiff_edu.errors import ResultsError, SettingsError, require_name, require_number
from maskdiff_edu.files import read_json

MAX_KINDS = 32  #: of lesions in one run; a picture has a panel for each
A_RUN = "a run of `maskdiff-edu evaluate`"
METHOD = "method"  #: the map of the method itself, beside those of the baselines


@dataclass(frozen=True)
class Mean(Record):
    """A mean over subjects."""

    value: float
    ci: tuple[float, float] | None  #: 95 % interval over subjects; None for a single one

    @classmethod
    def over(cls, values: Sequence[float]) -> Self:
        """The mean of one value a subject, with its bootstrap interval."""
        if len(values) < 2:
            return cls(float(values[0]), None)
        value, low, high = metrics.bootstrap(values)
        return cls(value, (low, high))


@dataclass(frozen=True)
class Means(Record):
    """Mean metrics of one kind of map over the subjects with lesions."""

    auprc: Mean
    auroc: Mean
    best_dice: Mean
    dice: Mean | None = None  #: None where no threshold was given


@dataclass(frozen=True)
class Pooled(Record):
    """Metrics of one kind of map with the voxels of all subjects in one row."""

    auprc: float
    prevalence: float
    auroc: float
    best_dice: float


@dataclass(frozen=True)
class SubjectScores(Record):
    """The numbers of one subject."""

    name: str
    prevalence: float  #: lesion voxels / brain voxels; 0 for a healthy subject
    volume_score: dict[str, float] = field(default_factory=dict)  #: of each kind of map
    l1: float | None = None  #: error of the reconstruction; None without one
    false_positive_rate: float | None = None  #: at the threshold; None without one
    maps: dict[str, LesionMetrics] = field(default_factory=dict)  #: of each; none when healthy

    @property
    def method(self) -> LesionMetrics:
        """The metrics of the method's own map; KeyError for a healthy subject."""
        return self.maps[METHOD]

    def as_json(self) -> dict[str, Any]:
        """Each map has a key of its own, beside the other fields."""
        plain = super().as_json()
        maps = plain.pop("maps", {})
        return {**plain, **maps}

    @classmethod
    def from_json(cls, stored: object, where: str) -> Self:
        """Raises: `ResultsError`."""
        if not isinstance(stored, dict):
            return super().from_json(stored, where)  # which says what is wrong
        named = {f.name for f in fields(cls)} - {"maps"}
        maps = {name: value for name, value in stored.items() if name not in named}
        return super().from_json({**stored, "maps": maps}, where)


@dataclass(frozen=True)
class GroupScores(Record):
    """The numbers of a group of subjects. All but the first three need subjects with lesions."""

    subjects: tuple[SubjectScores, ...]
    volume_score: Mean | None = None
    l1: Mean | None = None
    prevalence: float = 0.0  #: mean over the subjects with lesions
    mean: dict[str, Means] = field(default_factory=dict)  #: by kind of map, as all below
    pooled: dict[str, Pooled] = field(default_factory=dict)
    difference_to_baseline: dict[str, PairedDifference] = field(default_factory=dict)  #: of AUPRC
    auroc_volume: dict[str, float] = field(default_factory=dict)  #: subjects from healthy ones

    @property
    def ill(self) -> list[SubjectScores]:
        """The subjects with lesions."""
        return [subject for subject in self.subjects if subject.prevalence]

    def as_json(self) -> dict[str, Any]:
        """Preceded by how many subjects there are, and how many of them have lesions."""
        return {"n": len(self.subjects), "n_lesion": len(self.ill), **super().as_json()}


@dataclass(frozen=True)
class Run(Record):
    """One trained method measured on groups of subjects.

    `method` and `seed` are those of the *training*: runs that differ in the seed alone are repeats
    of one method.
    """

    method: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)  #: `Method.used` without the device
    weights_sha256: str | None = None
    fpr: float | None = None  #: false positives allowed by the threshold
    n_controls: int = 0  #: healthy subjects for the threshold; 0 if it is the card's
    about: dict[str, Any] = field(default_factory=dict)  #: all other keys, such as split and n
    maskdiff_edu: str = ""  #: the version, as is the next
    torch: str = ""
    seconds: float = 0.0  #: that measuring took
    groups: dict[str, GroupScores] = field(default_factory=dict)
    threshold: float | None = None

    def __post_init__(self) -> None:
        require_name("method", self.method)  # part of the file's name

    @property
    def name(self) -> str:
        """What tells the trainings apart, and the name of the run's file."""
        return f"{self.method}-seed{self.seed}"

    @property
    def identity(self) -> dict[str, Any]:
        """What has to agree if a run shall go on: training, use, on whom, by which version."""
        names = ("method", "seed", "settings", "weights_sha256", "fpr", "n_controls")
        asked = {name: getattr(self, name) for name in names}
        return {**asked, **self.about, "maskdiff_edu": self.maskdiff_edu}

    def as_json(self) -> dict[str, Any]:
        """What was asked for, then what was found."""
        found = ("torch", "seconds", "groups", "threshold")
        return {**self.identity, **{name: as_json(getattr(self, name)) for name in found}}

    @classmethod
    def from_json(cls, stored: object, where: str) -> Self:
        """Raises: `ResultsError`."""
        if not isinstance(stored, dict) or not {"method", "seed", "groups"} <= stored.keys():
            raise ResultsError(
                f"{where}: expected {A_RUN} with method, seed and groups, got {shortened(stored)}"
            )
        named = {f.name for f in fields(cls)} - {"about"}
        about = {name: value for name, value in stored.items() if name not in named}
        try:
            run = super().from_json({**stored, "about": about}, where)
            _check_values(run)
        except SettingsError as error:  # say in which file
            raise ResultsError(f"{where}: {error}") from error
        return run


@dataclass(frozen=True)
class Row(Record):
    """One method on one kind of lesion, in a comparison."""

    value: float  #: mean over subjects of the mean over training seeds
    ci: tuple[float, float] | None  #: its 95 % interval, from resampling *subjects*; None for one
    seeds: tuple[float, ...]  #: each training's mean, whose spread is another uncertainty
    n: int  #: subjects
    difference: PairedDifference | None  #: to the reference, over the same subjects
    prevalence: float  #: mean over subjects
    #: Of the difference, over subjects and trainings, corrected for the number of methods.
    corrected: tuple[float, float] | None = None


def _check_values(run: Run) -> None:
    """Raise SettingsError for what no measurement gives, and no picture or file name could hold."""
    require_number("seed", run.seed, 0, 2**63, whole=True)
    if len(run.groups) > MAX_KINDS:
        raise SettingsError(f"groups: expected at most {MAX_KINDS} kinds, got {len(run.groups)}")
    for kind, group in run.groups.items():
        require_name("groups", kind)
        for subject in group.subjects:
            require_number(f"{kind}: prevalence", subject.prevalence, 0, 1)
            for name, found in subject.maps.items():
                for metric in ("auprc", "auroc", "best_dice", "dice"):
                    if (value := getattr(found, metric)) is not None:
                        require_number(f"{kind}: {shortened(name)}: {metric}", value, 0, 1)


def load_run(path: str | Path) -> Run:
    """A run from its file. Raises: `ResultsError` for another file."""
    try:
        stored = read_json(path)
    except ValueError as error:
        raise ResultsError(
            f"{path}: expected {A_RUN}, got a file that is no JSON ({error})"
        ) from error
    return Run.from_json(stored, str(path))


def mean_prevalence(subjects: Sequence[SubjectScores]) -> float:
    """Mean share of the brain that is lesion."""
    return float(np.mean([subject.prevalence for subject in subjects]))
