"""A scan in, an anomaly map and numbers on the scan's own grid out.

scored = score_scan(load_scan("patient_t2.nii.gz"), build_method("fpm-cm"))
scored.anomaly_map                                   # (n, m, k), on the scan's own grid
scored.scores["volume_score"]
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from maskdiff_edu.detection import anomaly, metrics
from maskdiff_edu.detection.detectors import Detection
from maskdiff_edu.detection.models import Method, baselines
from maskdiff_edu.errors import ScanError
from maskdiff_edu.scans import Scan, Slices, to_slices, to_volume
from maskdiff_edu.scans.grids import voxel_sizes


@dataclass(frozen=True, eq=False)
class Scored:
    """A scan, what a detector found in it, and how well that fits the marked lesions."""

    scan: Scan
    slices: Slices
    detection: Detection  #: on the grid of `slices`
    anomaly_map: np.ndarray  #: (n, m, k) float32 on the scan's grid, 0 outside the brain
    reconstruction: np.ndarray | None  #: (n, m, k) float32 in the scan's unit, 0 outside the brain
    scores: dict[str, Any]  #: plain JSON, what scores.json holds


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

    stack, brain_masks = detection.anomaly_map[:, 0].numpy(), slices.brain_masks[:, 0].numpy()
    scores = {
        "scan": scan.name,
        "model": method.detector.name,
        "settings": method.used,
        "maskdiff_edu": version("maskdiff_edu"),
        "notes": list(notes),
        "shape": list(scan.image.shape),
        "voxel_mm": [round(float(mm), 4) for mm in voxel_sizes(scan.affine)],
        "brain_ml": _millilitres(scan.brain_mask, scan),
        "volume_score": anomaly.volume_score(stack, brain_masks),
        "slice_scores": anomaly.slice_scores(stack, brain_masks).tolist(),
        "threshold": method.threshold,
        "detected_ml": None,
        "lesion": None,
    }
    if method.threshold is not None:
        scores["detected_ml"] = _millilitres(anomaly_map > method.threshold, scan)
    if scan.lesion_mask is not None:
        scores["lesion"] = _lesion_scores(anomaly_map, slices, scan, method)
    return Scored(scan, slices, detection, anomaly_map, reconstruction, scores)


def on_scan_grid(detection: Detection, slices: Slices, scan: Scan) -> np.ndarray:
    """A detection's map on the scan's own grid, float32, 0 outside the brain."""
    return np.where(scan.brain_mask, to_volume(detection.anomaly_map, slices, scan), 0)


def lesion_metrics(
    anomaly_map: np.ndarray, scan: Scan, threshold: float | None = None
) -> dict[str, Any]:
    """All metrics of one map (n, m, k) of a scan with lesions, as plain JSON."""
    compared = anomaly_map, scan.lesion_mask, scan.brain_mask
    best = metrics.best_dice(*compared)
    found = {
        "auprc": metrics.auprc(*compared).value,
        "auroc": metrics.auroc(*compared),
        "best_dice": best.value,
        "best_dice_threshold": best.threshold,
    }
    if threshold is None:
        return found
    return {**found, "dice": metrics.dice_at_threshold(*compared, threshold)}


def _lesion_scores(anomaly_map: np.ndarray, slices: Slices, scan: Scan, method: Method) -> Any:
    """Metrics of the method and of both baselines; None if no lesion lies in the brain."""
    inside = scan.lesion_mask & scan.brain_mask
    if not inside.any():
        return None
    try:
        return {
            "volume_ml": _millilitres(inside, scan),
            "prevalence": float(inside.sum() / scan.brain_mask.sum()),
            "method": lesion_metrics(anomaly_map, scan, method.threshold),
            "baselines": {
                name: lesion_metrics(volume, scan)
                for name, volume in _baseline_maps(anomaly_map, slices, scan, method)
            },
        }
    except ValueError as error:
        raise ScanError(f"{scan.name}: {error}") from error


def _baseline_maps(
    anomaly_map: np.ndarray, slices: Slices, scan: Scan, method: Method
) -> Iterator[tuple[str, np.ndarray]]:
    for baseline in baselines(method.settings.postprocessing):
        is_done = baseline == method.detector
        found = anomaly_map if is_done else on_scan_grid(baseline.detect(slices), slices, scan)
        yield baseline.name, found


def _millilitres(inside: np.ndarray, scan: Scan) -> float:
    return round(float(inside.sum() * np.prod(voxel_sizes(scan.affine)) / 1000), 3)
