"""Choosing how a trained model is used: on validation subjects, never on test subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from maskdiff_edu import anomaly, metrics
from maskdiff_edu.anomaly import RESIDUAL_KINDS, PostProcessing, ResidualKind
from maskdiff_edu.evaluation import Load
from maskdiff_edu.models import DetectorSettings, Method
from maskdiff_edu.volumes import Slices, to_slices

Times = tuple[int, ...]  # several are averaged


@dataclass(frozen=True)
class Grid:
    """The settings that are tried, each with every other."""

    times: Sequence[Times] = ((100,), (150,), (200,), (250,), (300,), (150, 200, 250))
    residuals: Sequence[ResidualKind] = RESIDUAL_KINDS
    median_sizes: Sequence[int] = (3, 5)
    draws: int = 4  # noisings at each t


def choose_settings(
    method: Method, subjects: Sequence[Load], grid: Grid | None = None
) -> tuple[DetectorSettings, list[dict[str, Any]]]:
    """The settings with the highest mean AUPRC over patients, and a row for all that were tried.

    Rows are {"t", "residual", "median_size", "auprc"}, best first; a tie goes to the one listed
    first in the grid. Every scan is reconstructed once at each t, averages over t are taken of
    those. AUPRC is taken over the brain on the 2 mm grid.

    Raises: ValueError without subjects, or for a method without a network.
    """
    grid = grid or Grid()
    if not subjects or "reconstruct" not in dir(method.detector):
        raise ValueError("expected subjects with lesions and a method with a network")
    singles = sorted({t for times in grid.times for t in times})
    found: dict[tuple, list[float]] = {}
    for load in tqdm(subjects, desc="choosing", unit="subject"):
        slices = to_slices(load(), method.settings.normalise)
        drawn = {t: _reconstruct_at(method, slices, t, grid.draws) for t in singles}
        for key, auprc in _try_all(slices, drawn, grid, method.settings.postprocessing).items():
            found.setdefault(key, []).append(auprc)
    rows = [
        {"t": list(times), "residual": kind, "median_size": size, "auprc": float(np.mean(values))}
        for (times, kind, size), values in found.items()
    ]
    rows.sort(key=lambda row: -row["auprc"])
    best = rows[0]
    t = best["t"][0] if len(best["t"]) == 1 else tuple(best["t"])
    cleaned = replace(method.settings.postprocessing, median_size=best["median_size"])
    changes = {"residual": best["residual"], "postprocessing": cleaned, "draws": grid.draws}
    return replace(method.settings, t=t, **changes), rows


def _reconstruct_at(method: Method, slices: Slices, t: int, draws: int) -> torch.Tensor:
    return replace(method.detector, t=t, draws=draws).reconstruct(slices.images)


def _try_all(
    slices: Slices, drawn: Mapping[int, torch.Tensor], grid: Grid, base: PostProcessing
) -> dict[tuple[Times, ResidualKind, int], float]:
    """AUPRC of one patient with every combination in the grid."""
    brain_mask, lesion = slices.brain_masks[:, 0].numpy(), slices.lesion_masks[:, 0].numpy()
    found = {}
    for times, kind, size in product(grid.times, grid.residuals, grid.median_sizes):
        x_0_hat = torch.stack([drawn[t] for t in times]).mean(dim=0)
        values = anomaly.residual(slices.images, x_0_hat, kind)[:, 0].numpy()
        values = anomaly.postprocess(values, brain_mask, replace(base, median_size=size))
        found[times, kind, size] = metrics.auprc(values, lesion, brain_mask).value
    return found
