"""A method on many subjects: means with intervals, pooled voxels, intensity beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.detection import Detection, Method, anomaly, metrics
from maskdiff_edu.detection.anomaly import RESIDUAL_KINDS
from maskdiff_edu.detection.detectors import anomaly_map_of
from maskdiff_edu.detection.models import BASELINES, baselines
from maskdiff_edu.detection.scoring import lesion_metrics, on_scan_grid
from maskdiff_edu.scans import Scan, Slices, to_slices

T = TypeVar("T")
Load = Callable[[], Scan]  #: such as `ScanFiles.load`
METHOD, LESION = "method", "lesion"  #: beside the names of the baselines
MOST_AT_A_TIME = 8  #: subjects


def phantoms(split: str, cohort: str, n: int, contrast: str = "t2") -> list[Load]:
    """The first `n` subjects of a cohort, each to be made when called."""
    return [partial(make_member, s, cohort, contrast) for s in cohort_seeds(split, cohort, n)]


def healthy_threshold(method: Method, subjects: Sequence[Load], fpr: float) -> float:
    """The threshold that a share `fpr` of these healthy subjects' voxels exceeds (2 mm grid)."""

    def detect(_: Scan, slices: Slices) -> tuple[np.ndarray, np.ndarray]:
        found = method.detector.detect(slices)
        return found.anomaly_map[:, 0].numpy(), slices.brain_masks[:, 0].numpy()

    every = tqdm(_each(subjects, method, detect), "controls", len(subjects), unit="subject")
    maps, brain_masks = zip(*every, strict=True)
    return anomaly.threshold_from_healthy(maps, brain_masks, fpr)


def summarise_for_card(evaluated: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The few numbers of each group with lesions that a model's card holds under "phantom"."""
    return {
        name: {
            "n": group["n_lesion"],
            "auprc": group["mean"][METHOD]["auprc"]["value"],
            "ci": group["mean"][METHOD]["auprc"]["ci"],
            "prevalence": group["prevalence"],
            **{base: group["mean"][base]["auprc"]["value"] for base in BASELINES},
            "best_dice": group["mean"][METHOD]["best_dice"]["value"],
            "auroc_volume": group.get("auroc_volume", {}).get(METHOD),
        }
        for name, group in evaluated["groups"].items()
        if group["n_lesion"]
    }


def evaluate_group(
    name: str, method: Method, loads: Sequence[Load], threshold: float | None = None
) -> dict[str, Any]:
    """All metrics of one group of subjects, as plain JSON, with a progress bar called `name`.

    Metrics of lesions are taken over the subjects that have some; subjects without a lesion only
    have a volume score. "mean" averages over subjects with a bootstrap interval over subjects,
    "pooled" puts the voxels of all subjects into one row: two different numbers. Beside the
    method, both intensity baselines and the method's map from the other kind of residual.
    """

    def examine(scan: Scan, slices: Slices) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        found = method.detector.detect(slices)
        detections = {METHOD: found, **_other_residual(found, slices, method)}
        for baseline in baselines(method.settings.postprocessing):
            detections[baseline.name] = baseline.detect(slices)
        return _measure(scan, slices, detections, threshold)

    subjects, voxels = [], []
    for subject, inside in tqdm(_each(loads, method, examine), name, len(loads), unit="subject"):
        subjects.append(subject)
        if subject["prevalence"]:
            voxels.append(inside)
    ill = [subject for subject in subjects if subject["prevalence"]]
    result = {"n": len(subjects), "n_lesion": len(ill), "subjects": subjects}
    result["volume_score"] = _mean([s["volume_score"][METHOD] for s in subjects])
    if "l1" in subjects[0]:
        result["l1"] = _mean([subject["l1"] for subject in subjects])
    if not ill:
        return result
    result["prevalence"] = float(np.mean([subject["prevalence"] for subject in ill]))
    result["mean"] = {
        detector: {
            metric: _mean([subject[detector][metric] for subject in ill])
            for metric in ill[0][detector]
            if metric != "best_dice_threshold"
        }
        for detector in voxels[0]
        if detector != LESION
    }
    result["pooled"] = _pooled(voxels)
    if len(ill) > 1:
        result["difference_to_baseline"] = {
            base: metrics.paired_difference(
                *([subject[which]["auprc"] for subject in ill] for which in (METHOD, base))
            )._asdict()
            for base in BASELINES
        }
    return result


def _measure(
    scan: Scan, slices: Slices, detections: Mapping[str, Detection], threshold: float | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One subject's numbers, and the brain voxels of its maps and of its lesion mask."""
    brain_masks = slices.brain_masks[:, 0].numpy()
    volumes = {name: on_scan_grid(found, slices, scan) for name, found in detections.items()}
    lesion = np.zeros_like(scan.brain_mask) if scan.lesion_mask is None else scan.lesion_mask
    subject: dict[str, Any] = {
        "name": scan.name,
        "prevalence": float(lesion[scan.brain_mask].mean()),
        "volume_score": {
            name: anomaly.volume_score(found.anomaly_map[:, 0].numpy(), brain_masks)
            for name, found in detections.items()
        },
    }
    twin = detections[METHOD].reconstruction
    if twin is not None:
        subject["l1"] = metrics.l1(slices.images, twin, slices.brain_masks)
    if threshold is not None:
        detected = volumes[METHOD][scan.brain_mask & ~lesion] > threshold
        subject["false_positive_rate"] = float(detected.mean())
    if subject["prevalence"]:
        for name, volume in volumes.items():
            cut = threshold if name == METHOD else None
            subject[name] = lesion_metrics(volume, scan, cut)
    inside = {name: volume[scan.brain_mask] for name, volume in volumes.items()}
    return subject, {**inside, LESION: lesion[scan.brain_mask]}


def _other_residual(found: Detection, slices: Slices, method: Method) -> dict[str, Detection]:
    """The same reconstruction, scored by the kind of residual that the method does not use."""
    if found.reconstruction is None:
        return {}
    [other] = {*RESIDUAL_KINDS} - {method.settings.residual}
    values = anomaly.residual(slices.images, found.reconstruction, other)
    return {
        f"{other} residual": Detection(
            anomaly_map_of(values, slices, method.settings.postprocessing)
        )
    }


def _pooled(voxels: Sequence[Mapping[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """AUPRC, AUROC and ⌈Dice⌉ with the voxels of all subjects in one row."""
    lesions = [subject[LESION] for subject in voxels]
    brains = [np.ones_like(lesion) for lesion in lesions]
    found = {}
    for name in (name for name in voxels[0] if name != LESION):
        row = metrics.pooled([subject[name] for subject in voxels], lesions, brains)
        auprc = metrics.auprc(*row)
        found[name] = {
            "auprc": auprc.value,
            "prevalence": auprc.prevalence,
            "auroc": metrics.auroc(*row),
            "best_dice": metrics.best_dice(*row).value,
        }
    return found


def auroc_volume(ill: Sequence[Mapping], healthy: Sequence[Mapping]) -> dict[str, float]:
    """How well one score a brain tells patients from healthy subjects, for every detector.

    Both are the "subjects" of groups from `evaluate_group`.
    """
    is_ill = np.repeat([True, False], [len(ill), len(healthy)])
    everyone = np.ones_like(is_ill)
    return {
        name: metrics.auroc([s["volume_score"][name] for s in [*ill, *healthy]], is_ill, everyone)
        for name in ill[0]["volume_score"]
    }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    """Mean over subjects with its 95 % interval; no interval for a single subject."""
    if len(values) < 2:
        return {"value": float(values[0]), "ci": None}
    value, low, high = metrics.bootstrap(values)
    return {"value": value, "ci": [low, high]}


def _each(
    loads: Sequence[Load], method: Method, examine: Callable[[Scan, Slices], T]
) -> Iterator[T]:
    """What `examine` says of every subject, in order, several subjects at a time.

    A subject is made, reconstructed and measured in one thread: those of different subjects never
    wait for each other, as those of one matrix product do. Nearly all of the work is done outside
    of Python's global lock.
    """

    def examine_one(load: Load) -> T:
        scan = load()
        return examine(scan, to_slices(scan, method.settings.normalise))

    threads = torch.get_num_threads()
    subjects = min(MOST_AT_A_TIME, threads)
    torch.set_num_threads(max(1, threads // subjects))
    try:
        with ThreadPoolExecutor(subjects) as executor:
            yield from executor.map(examine_one, loads)
    finally:
        torch.set_num_threads(threads)
