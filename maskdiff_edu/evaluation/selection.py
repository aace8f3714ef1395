"""Choosing how a trained model is used: on validation subjects, never on test subjects."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from maskdiff_edu import progress
from maskdiff_edu.detection import (
    DetectorSettings,
    MaskedDDPM,
    Method,
    PostProcessing,
    anomaly,
    metrics,
)
from maskdiff_edu.detection.anomaly import ResidualKind
from maskdiff_edu.detection.cards import Tried
from maskdiff_edu.diffusion.noise import no_noise
from maskdiff_edu.errors import ScanError, SettingsError
from maskdiff_edu.evaluation.groups import Load
from maskdiff_edu.scans import Scan, to_slices

Times = tuple[int, ...]  #: several are averaged
Filter = tuple[int, float]  #: PostProcessing.median_size and .gaussian_sigma


@dataclass(frozen=True)
class Grid:
    """The settings that are tried, each with every other."""

    times: Sequence[Times] = ((150,), (200,), (250,), (300,), (150, 200, 250), (200, 250, 300))
    residuals: Sequence[ResidualKind] = ("positive", "absolute")
    filters: Sequence[Filter] = ((3, 0.0), (5, 0.0), (1, 1.5))
    noisings: int = (
        6  #: of a slice in all, shared among the times, so that every setting costs the same
    )


#: For a network that is asked once, without noise.
ONE_PASS = Grid(times=((0,),), noisings=1)


def grid_for(method: Method) -> Grid:
    """What is tried for a method: every t, or none where nothing is noised."""
    noise = getattr(method.detector, "noise", None)
    return ONE_PASS if noise is no_noise else Grid()


def choose_settings(
    method: Method, subjects: Sequence[Load], grid: Grid | None = None
) -> tuple[DetectorSettings, list[Tried]]:
    """The settings with the highest mean AUPRC over patients, and all that were tried, best first.

    `grid`: by default `grid_for(method)`. A tie goes to the one listed first in the grid. AUPRC is
    taken over the brain on the 2 mm grid.

    Raises: `SettingsError` without subjects, or for a method without a network; `ScanError` for a
    subject without a lesion.
    """
    grid, detector = grid or grid_for(method), method.detector
    if not subjects or not isinstance(detector, MaskedDDPM):
        raise SettingsError(
            "expected subjects with lesions and a method with a network, got "
            f"{len(subjects)} subjects and {detector.name}"
        )
    found: dict[DetectorSettings, list[float]] = {}
    for load in progress.bar(subjects, desc="choosing", unit="subject"):
        for settings, auprc in _try_all(detector, load(), grid).items():
            found.setdefault(settings, []).append(auprc)
    rows = [_as_tried(settings, values) for settings, values in found.items()]
    best = max(found, key=lambda settings: np.mean(found[settings]))
    return best, sorted(rows, key=lambda row: -row.auprc)


def _as_tried(settings: DetectorSettings, auprcs: Sequence[float]) -> Tried:
    return Tried(
        tuple(settings.times),
        settings.draws,
        settings.residual,
        settings.postprocessing.median_size,
        settings.postprocessing.gaussian_sigma,
        float(np.mean(auprcs)),
    )


def _try_all(detector: MaskedDDPM, scan: Scan, grid: Grid) -> dict[DetectorSettings, float]:
    """AUPRC of one patient with every combination in the grid."""
    slices = to_slices(scan, detector.settings.normalise)
    brain_masks, lesion_masks = slices.brain_masks, slices.lesion_masks
    if lesion_masks is None or not (lesion_masks & brain_masks).any():
        raise ScanError(f"{scan.name}: expected a lesion in the brain to choose by, got none")
    found = {}
    for times in grid.times:
        t = times[0] if len(times) == 1 else times
        used = detector.with_settings(t=t, draws=grid.noisings // len(times))
        x_0_hat = used.reconstruct(slices.images)
        for kind, filter_ in product(grid.residuals, grid.filters):
            settings = replace(
                used.settings, residual=kind, postprocessing=_filtered(used.settings, filter_)
            )
            values = anomaly.residual(slices.images, x_0_hat, kind)
            values = anomaly.postprocess(
                values, brain_masks, settings.postprocessing, slices.images
            )
            found[settings] = metrics.auprc(values, lesion_masks, brain_masks).value
    return found


def _filtered(settings: DetectorSettings, filter_: Filter) -> PostProcessing:
    median_size, gaussian_sigma = filter_
    return replace(settings.postprocessing, median_size=median_size, gaussian_sigma=gaussian_sigma)
