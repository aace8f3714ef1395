"""From slices to an anomaly map, and from the map to numbers."""

from maskdiff_edu.detection.anomaly import (
    PostProcessing,
    postprocess,
    residual,
    slice_scores,
    threshold_from_healthy,
    volume_score,
)
from maskdiff_edu.detection.detectors import (
    Detection,
    Detector,
    DetectorSettings,
    IntensityDetector,
    MapSettings,
    MaskedDDPM,
)
from maskdiff_edu.detection.metrics import (
    auprc,
    auroc,
    best_dice,
    bootstrap,
    dice,
    dice_at_threshold,
    l1,
    lesion_detection,
    paired_difference,
    pooled,
)
from maskdiff_edu.detection.models import Method, build_detector, build_method
from maskdiff_edu.detection.scoring import Scored, score_scan

__all__ = [
    "Detection",
    "Detector",
    "DetectorSettings",
    "IntensityDetector",
    "MapSettings",
    "MaskedDDPM",
    "Method",
    "PostProcessing",
    "Scored",
    "auprc",
    "auroc",
    "best_dice",
    "bootstrap",
    "build_detector",
    "build_method",
    "dice",
    "dice_at_threshold",
    "l1",
    "lesion_detection",
    "paired_difference",
    "pooled",
    "postprocess",
    "residual",
    "score_scan",
    "slice_scores",
    "threshold_from_healthy",
    "volume_score",
]
