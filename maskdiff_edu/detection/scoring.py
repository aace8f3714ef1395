"""A scan in, an anomaly map and numbers on the scan's own grid out.

For example::

    scored = score_scan(load_scan("patient_t2.nii.gz"), build_method("fpm-cm"))
    scored.anomaly_map                                   # (n, m, k), on the scan's own grid
    scored.scores.volume_score
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from maskdiff_edu.detection import anomaly, metrics
from maskdiff_edu.detection.detectors import Detection
from maskdiff_edu.detection.models import Method, baselines
from maskdiff_edu.detection.records import Record
from maskdiff_edu.errors import ScanError
from maskdiff_edu.scans import Scan, Slices, to_slices, to_volume
from maskdiff_edu.scans.grids import voxel_sizes


@dataclass(frozen=True)
class LesionMetrics(Record):
    """How well one map finds the marked lesions, over all voxels of the brain."""

    auprc: float
    auroc: float | None = None  #: this one and the next two are None where only AUPRC was measured
    best_dice: float | None = None
    best_dice_threshold: float | None = None
    dice: float | None = None  #: at a threshold chosen beforehand; None without one


@dataclass(frozen=True)
class LesionScores(Record):
    """How much of a brain is lesion, and how well the method and the baselines find it."""

    volume_ml: float
    prevalence: float  #: lesion voxels / brain voxels
    method: LesionMetrics
    baselines: dict[str, LesionMetrics]  #: by name


@dataclass(frozen=True)
class Scores(Record):
    """What scores.json holds: the numbers of one scan, and how they were made."""

    scan: str
    model: str
    settings: dict[str, Any]  #: `Method.used`
    maskdiff_edu: str  #: the version
    notes: tuple[str, ...]  #: warnings about the scan
    shape: tuple[int, ...]  #: of the scan, voxels
    voxel_mm: tuple[float, ...]
    brain_ml: float
    volume_score: float
    slice_scores: tuple[float, ...]  #: from the lowest 2 mm slice to the highest
    threshold: float | None  #: of the map
    detected_ml: float | None  #: what scores above it
    lesion: LesionScores | None  #: None without a marked lesion in the brain


@dataclass(frozen=True, eq=False)
class Scored:
    """A scan, what a detector found in it, and how well that fits the marked lesions."""

    scan: Scan
    slices: Slices
    detection: Detection  #: on the grid of `slices`
    anomaly_map: np.ndarray  #: (n, m, k) float32 on the scan's grid, 0 outside the brain
    reconstruction: np.ndarray | None  #: (n, m, k) float32 in the scan's unit, 0 outside the brain
    scores: Scores


def score_scan(scan: Scan, method: Method, notes: tuple[str, ...] = ()) -> Scored:
    """Run a method on a scan and measure the result; `notes` are warnings to keep with it.

    Metrics need a lesion mask with voxels inside the brain. They are taken on the scan's own grid
    over its whole brain mask, for the method and for intensity through the same post-processing.

    Raises: `ScanError` for a scan without contrast, or one that its lesion mask fills.
    """
    slices = to_slices(scan, method.settings.normalise)
    detection = method.detector.detect(slices)
    anomaly_map = on_scan_grid(detection, slices, scan)
    reconstruction = None
    if detection.reconstruction is not None:
        in_scan_units = slices.in_scan_units(detection.reconstruction)
        reconstruction = to_volume(in_scan_units, slices, scan, outside=slices.low)
        reconstruction = np.where(scan.brain_mask, reconstruction, 0)

    found, threshold = (detection.anomaly_map, slices.brain_masks), method.threshold
    detected = None if threshold is None else _millilitres(anomaly_map > threshold, scan)
    scores = Scores(
        scan=scan.name,
        model=method.detector.name,
        settings=method.used,
        maskdiff_edu=version("maskdiff_edu"),
        notes=tuple(notes),
        shape=tuple(scan.image.shape),
        voxel_mm=tuple(round(float(mm), 4) for mm in voxel_sizes(scan.affine)),
        brain_ml=_millilitres(scan.brain_mask, scan),
        volume_score=anomaly.volume_score(*found),
        slice_scores=tuple(anomaly.slice_scores(*found).tolist()),
        threshold=threshold,
        detected_ml=detected,
        lesion=_lesion_scores(anomaly_map, slices, scan, method),
    )
    return Scored(scan, slices, detection, anomaly_map, reconstruction, scores)


def on_scan_grid(detection: Detection, slices: Slices, scan: Scan) -> np.ndarray:
    """A detection's map on the scan's own grid, float32, 0 outside the brain."""
    return np.where(scan.brain_mask, to_volume(detection.anomaly_map, slices, scan), 0)


def lesion_metrics(
    anomaly_map: np.ndarray, scan: Scan, threshold: float | None = None
) -> LesionMetrics:
    """All metrics of one map (n, m, k) of a scan with lesions.

    Raises: `ScanError` for a scan without a lesion in its brain, or without anything else there.
    """
    if scan.lesion_mask is None:
        raise ScanError(f"{scan.name}: expected a lesion mask, got none")
    lesion, brain = scan.lesion_mask, scan.brain_mask
    try:
        best = metrics.best_dice(anomaly_map, lesion, brain)
        return LesionMetrics(
            auprc=metrics.auprc(anomaly_map, lesion, brain).value,
            auroc=metrics.auroc(anomaly_map, lesion, brain),
            best_dice=best.value,
            best_dice_threshold=best.threshold,
            dice=None
            if threshold is None
            else metrics.dice_at_threshold(anomaly_map, lesion, brain, threshold),
        )
    except ValueError as error:
        raise ScanError(f"{scan.name}: {error}") from error


def _lesion_scores(
    anomaly_map: np.ndarray, slices: Slices, scan: Scan, method: Method
) -> LesionScores | None:
    """Metrics of the method and of both baselines; None if no lesion lies in the brain."""
    if scan.lesion_mask is None or not (scan.lesion_mask & scan.brain_mask).any():
        return None
    inside = scan.lesion_mask & scan.brain_mask
    maps = _baseline_maps(anomaly_map, slices, scan, method)
    return LesionScores(
        volume_ml=_millilitres(inside, scan),
        prevalence=float(inside.sum() / scan.brain_mask.sum()),
        method=lesion_metrics(anomaly_map, scan, method.threshold),
        baselines={name: lesion_metrics(volume, scan) for name, volume in maps},
    )


def _baseline_maps(
    anomaly_map: np.ndarray, slices: Slices, scan: Scan, method: Method
) -> Iterator[tuple[str, np.ndarray]]:
    for baseline in baselines(method.settings):
        is_done = baseline == method.detector
        found = anomaly_map if is_done else on_scan_grid(baseline.detect(slices), slices, scan)
        yield baseline.name, found


def _millilitres(inside: np.ndarray, scan: Scan) -> float:
    return round(float(inside.sum() * np.prod(voxel_sizes(scan.affine)) / 1000), 3)
