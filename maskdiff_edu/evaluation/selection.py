"""Choosing how a trained model is used: on validation subjects, never on test subjects."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from tqdm import tqdm

from maskdiff_edu.detection import DetectorSettings, Method, PostProcessing, anomaly, metrics
from maskdiff_edu.detection.anomaly import RESIDUAL_KINDS, ResidualKind
from maskdiff_edu.evaluation.groups import Load
from maskdiff_edu.scans import Slices, to_slices

Times = tuple[int, ...]  #: several are averaged
Filter = tuple[int, float]  #: PostProcessing.median_size and .gaussian_sigma


@dataclass(frozen=True)
class Grid:
    """The settings that are tried, each with every other."""

    times: Sequence[Times] = ((150,), (200,), (250,), (300,), (150, 200, 250), (200, 250, 300))
    residuals: Sequence[ResidualKind] = RESIDUAL_KINDS
    filters: Sequence[Filter] = ((3, 0.0), (5, 0.0), (1, 1.5))
    noisings: int = 6  #: of a slice in all, shared among the times: every setting costs the same


def choose_settings(
    method: Method, subjects: Sequence[Load], grid: Grid | None = None
) -> tuple[DetectorSettings, list[dict[str, Any]]]:
    """The settings with the highest mean AUPRC over patients, and a row for all that were tried.

    Rows are {"t", "draws", "residual", "median_size", "gaussian_sigma", "auprc"}, best first; a
    tie goes to the one listed first in the grid. AUPRC is taken over the brain on the 2 mm grid.

    Raises: ValueError without subjects, or for a method without a network.
    """
    grid = grid or Grid()
    if not subjects or "reconstruct" not in dir(method.detector):
        raise ValueError("expected subjects with lesions and a method with a network")
    found: dict[tuple[Times, ResidualKind, Filter], list[float]] = {}
    for load in tqdm(subjects, desc="choosing", unit="subject"):
        slices = to_slices(load(), method.settings.normalise)
        for key, auprc in _try_all(method, slices, grid).items():
            found.setdefault(key, []).append(auprc)
    rows = [
        {
            "t": list(times),
            "draws": grid.noisings // len(times),
            "residual": kind,
            "median_size": median_size,
            "gaussian_sigma": gaussian_sigma,
            "auprc": float(np.mean(values)),
        }
        for (times, kind, (median_size, gaussian_sigma)), values in found.items()
    ]
    rows.sort(key=lambda row: -row["auprc"])
    best = rows[0]
    chosen = DetectorSettings(
        best["t"][0] if len(best["t"]) == 1 else tuple(best["t"]),
        best["draws"],
        best["residual"],
        method.settings.normalise,
        _filtered(method, (best["median_size"], best["gaussian_sigma"])),
    )
    return chosen, rows


def _filtered(method: Method, filter_: Filter) -> PostProcessing:
    median_size, gaussian_sigma = filter_
    settings = method.settings.postprocessing
    return replace(settings, median_size=median_size, gaussian_sigma=gaussian_sigma)


def _try_all(
    method: Method, slices: Slices, grid: Grid
) -> dict[tuple[Times, ResidualKind, Filter], float]:
    """AUPRC of one patient with every combination in the grid."""
    brain_mask, lesion = slices.brain_masks[:, 0].numpy(), slices.lesion_masks[:, 0].numpy()
    found = {}
    for times in grid.times:
        detector = replace(method.detector, t=times, draws=grid.noisings // len(times))
        x_0_hat = detector.reconstruct(slices.images)
        for kind, filter_ in product(grid.residuals, grid.filters):
            values = anomaly.residual(slices.images, x_0_hat, kind)[:, 0].numpy()
            values = anomaly.postprocess(values, brain_mask, _filtered(method, filter_))
            found[times, kind, filter_] = metrics.auprc(values, lesion, brain_mask).value
    return found
