"""A method on many subjects: means with intervals, pooled voxels, intensity beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from maskdiff_edu import progress
from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.detection import Detection, DetectorSettings, Method, anomaly, metrics
from maskdiff_edu.detection.anomaly import RESIDUAL_KINDS
from maskdiff_edu.detection.cards import PhantomRow
from maskdiff_edu.detection.models import BASELINES, baselines
from maskdiff_edu.detection.scoring import LesionMetrics, lesion_metrics, on_scan_grid
from maskdiff_edu.errors import SettingsError
from maskdiff_edu.evaluation.results import (
    METHOD,
    GroupScores,
    Mean,
    Means,
    Pooled,
    Run,
    SubjectScores,
    mean_prevalence,
)
from maskdiff_edu.scans import Scan, Slices, to_slices

T = TypeVar("T")
Load = Callable[[], Scan]  #: such as `ScanFiles.load`
LESION = "lesion"  #: beside the names of the maps
MOST_AT_A_TIME = 8  #: subjects


def phantoms(split: str, cohort: str, n: int, contrast: str = "t2") -> list[Load]:
    """The first `n` subjects of a cohort, each to be made when called."""
    return [partial(make_member, s, cohort, contrast) for s in cohort_seeds(split, cohort, n)]


def healthy_threshold(method: Method, subjects: Sequence[Load], fpr: float) -> float:
    """The threshold that a share `fpr` of these healthy subjects' voxels exceeds (2 mm grid)."""

    def detect(_: Scan, slices: Slices) -> tuple[torch.Tensor, torch.Tensor]:
        return method.detector.detect(slices).anomaly_map, slices.brain_masks

    every = progress.bar(
        _each(subjects, method, detect), total=len(subjects), desc="controls", unit="subject"
    )
    maps, brain_masks = zip(*every, strict=True)
    return anomaly.threshold_from_healthy(maps, brain_masks, fpr)


def summarise_for_card(run: Run) -> dict[str, PhantomRow]:
    """The few numbers of each group with lesions that a model's card holds under "phantom"."""
    return {name: _phantom_row(group) for name, group in run.groups.items() if group.mean}


def _phantom_row(group: GroupScores) -> PhantomRow:
    found = group.mean[METHOD]
    intensity, equalised = (group.mean[name].auprc.value for name in BASELINES)
    return PhantomRow(
        n=len(group.ill),
        auprc=found.auprc.value,
        ci=found.auprc.ci,
        prevalence=group.prevalence,
        intensity=intensity,
        intensity_equalised=equalised,
        best_dice=found.best_dice.value,
        auroc_volume=group.auroc_volume.get(METHOD),
    )


def evaluate_group(
    name: str,
    method: Method,
    loads: Sequence[Load],
    threshold: float | None = None,
    on_error: Callable[[Exception], None] | None = None,
) -> GroupScores:
    """All metrics of one group of subjects, with a progress bar called `name`.

    Metrics of lesions are taken over the subjects that have some; subjects without a lesion only
    have a volume score. "mean" averages over subjects with a bootstrap interval over subjects,
    "pooled" puts the voxels of all subjects into one row: two different numbers. Beside the
    method, both intensity baselines and the method's map from the other kind of residual.

    Raises: `SettingsError` for no subject, `ScanError` for one that cannot be used; with `on_error`
    that one is left out and its error handed over.
    """

    def examine(scan: Scan, slices: Slices) -> tuple[SubjectScores, dict[str, np.ndarray]]:
        found = method.detector.detect(slices)
        detections = {METHOD: found, **_other_residual(found, slices, method)}
        for baseline in baselines(method.settings):
            detections[baseline.name] = baseline.detect(slices)
        return _measure(scan, slices, detections, threshold)

    if not loads:
        raise SettingsError(f"{name}: expected subjects, got none")
    subjects, voxels = [], []
    found = _each(loads, method, examine, on_error)
    for subject, inside in progress.bar(found, total=len(loads), desc=name, unit="subject"):
        subjects.append(subject)
        if subject.prevalence:
            voxels.append(inside)
    if not subjects:
        raise SettingsError(f"{name}: expected subjects that can be used, got none")
    return _summarise(subjects, voxels)


def _summarise(
    subjects: Sequence[SubjectScores], voxels: Sequence[Mapping[str, np.ndarray]]
) -> GroupScores:
    """Means over all subjects, and over those with lesions, whose `voxels` are given."""
    errors = [subject.l1 for subject in subjects if subject.l1 is not None]
    everyone = GroupScores(
        tuple(subjects),
        volume_score=Mean.over([subject.volume_score[METHOD] for subject in subjects]),
        l1=Mean.over(errors) if errors else None,
    )
    ill = everyone.ill
    if not ill:
        return everyone
    return replace(
        everyone,
        prevalence=mean_prevalence(ill),
        mean={name: _means([subject.maps[name] for subject in ill]) for name in ill[0].maps},
        pooled=_pooled(voxels),
        difference_to_baseline=_differences(ill) if len(ill) > 1 else {},
    )


def _means(found: Sequence[LesionMetrics]) -> Means:
    """Each metric's mean over subjects, for one kind of map."""

    def mean(metric: str) -> Mean:
        return Mean.over([getattr(one, metric) for one in found])

    has_dice = found[0].dice is not None
    return Means(
        mean("auprc"), mean("auroc"), mean("best_dice"), mean("dice") if has_dice else None
    )


def _differences(ill: Sequence[SubjectScores]) -> dict[str, metrics.PairedDifference]:
    """By how much the method's AUPRC is higher than each baseline's."""
    ours = [subject.method.auprc for subject in ill]
    return {
        base: metrics.paired_difference(ours, [subject.maps[base].auprc for subject in ill])
        for base in BASELINES
    }


def _measure(
    scan: Scan, slices: Slices, detections: Mapping[str, Detection], threshold: float | None
) -> tuple[SubjectScores, dict[str, np.ndarray]]:
    """One subject's numbers, and the brain voxels of its maps and of its lesion mask."""
    brain = scan.brain_mask
    volumes = {name: on_scan_grid(found, slices, scan) for name, found in detections.items()}
    lesion = np.zeros_like(brain) if scan.lesion_mask is None else scan.lesion_mask
    prevalence, rate, twin = float(lesion[brain].mean()), None, detections[METHOD].reconstruction
    if threshold is not None:
        rate = float((volumes[METHOD][brain & ~lesion] > threshold).mean())
    subject = SubjectScores(
        scan.name,
        prevalence,
        volume_score={
            name: anomaly.volume_score(found.anomaly_map, slices.brain_masks)
            for name, found in detections.items()
        },
        l1=None if twin is None else metrics.l1(slices.images, twin, slices.brain_masks),
        false_positive_rate=rate,
        maps={
            name: lesion_metrics(volume, scan, threshold if name == METHOD else None)
            for name, volume in volumes.items()
            if prevalence
        },
    )
    return subject, {**{n: volume[brain] for n, volume in volumes.items()}, LESION: lesion[brain]}


def _other_residual(found: Detection, slices: Slices, method: Method) -> dict[str, Detection]:
    """The same reconstruction, scored by the kind of residual that the method does not use."""
    settings = method.settings
    if found.reconstruction is None or not isinstance(settings, DetectorSettings):
        return {}
    [other] = {*RESIDUAL_KINDS} - {settings.residual}
    values = anomaly.residual(slices.images, found.reconstruction, other)
    cleaned = anomaly.postprocess(
        values, slices.brain_masks, settings.postprocessing, slices.images
    )
    return {f"{other} residual": Detection(cleaned)}


def _pooled(voxels: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Pooled]:
    """AUPRC, AUROC and ⌈Dice⌉ with the voxels of all subjects in one row."""
    lesions = [subject[LESION] for subject in voxels]
    brains = [np.ones_like(lesion) for lesion in lesions]
    found = {}
    for name in (name for name in voxels[0] if name != LESION):
        row = metrics.pooled([subject[name] for subject in voxels], lesions, brains)
        auprc = metrics.auprc(*row)
        best = metrics.best_dice(*row)
        found[name] = Pooled(auprc.value, auprc.prevalence, metrics.auroc(*row), best.value)
    return found


def auroc_volume(
    ill: Sequence[SubjectScores], healthy: Sequence[SubjectScores]
) -> dict[str, float]:
    """How well one score a brain tells patients from healthy subjects, for every kind of map."""
    is_ill = np.repeat([True, False], [len(ill), len(healthy)])
    everyone = np.ones_like(is_ill)
    return {
        name: metrics.auroc([s.volume_score[name] for s in [*ill, *healthy]], is_ill, everyone)
        for name in ill[0].volume_score
    }


def _each(
    loads: Sequence[Load],
    method: Method,
    examine: Callable[[Scan, Slices], T],
    on_error: Callable[[Exception], None] | None = None,
) -> Iterator[T]:
    """What `examine` says of every subject, in order, several subjects at a time.

    A subject is made, reconstructed and measured in one thread: those of different subjects never
    wait for each other, as those of one matrix product do. Nearly all of the work is done outside
    of Python's global lock.
    """

    def examine_one(load: Load) -> T | None:
        try:
            scan = load()
            return examine(scan, to_slices(scan, method.settings.normalise))
        except Exception as error:
            if on_error is None:
                raise
            on_error(error)
            return None

    threads = torch.get_num_threads()
    subjects = min(MOST_AT_A_TIME, threads)
    torch.set_num_threads(max(1, threads // subjects))
    try:
        with ThreadPoolExecutor(subjects) as executor:
            yield from (one for one in executor.map(examine_one, loads) if one is not None)
    finally:
        torch.set_num_threads(threads)
