"""Pictures of slices, detections and scores. Each function returns a Figure and shows nothing.

Scans are grey, anomaly maps magma, marked lesions outlined in cyan: colours that stay apart for
colour-blind readers and in print. The patient's right is on the left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from maskdiff_edu.detection import Detection
from maskdiff_edu.evaluation.results import Row
from maskdiff_edu.scans import Slices

HEAT, OUTLINE, CURVE, LESION = "magma", "#00d5ff", "#00429d", "#e69f00"
_PANEL = 2.2  # inches


def show_slices(slices: Slices, indices: Sequence[int] | None = None, columns: int = 6) -> Figure:
    """Slices side by side, marked lesions outlined; six spread over the brain by default.

    Raises: ValueError for no slice at all.

    >>> from maskdiff_edu.brains import load_template
    >>> from maskdiff_edu.scans import to_slices
    >>> figure = show_slices(to_slices(load_template()), [20, 40])
    """
    indices = _spread(len(slices.images), columns) if indices is None else list(indices)
    if not indices:
        raise ValueError("indices: expected at least one slice, got none")
    columns = min(columns, len(indices))
    rows = -(-len(indices) // columns)
    figure, axes = _grid(rows, columns)
    for ax, i in zip(axes.flat, indices, strict=False):
        _draw_scan(ax, slices.images[i, 0])
        _outline_lesion(ax, slices, i)
        ax.set_title(f"slice {i}", fontsize=9)
    for ax in axes.flat[len(indices) :]:
        ax.remove()
    return figure


def show_detection(
    slices: Slices, detection: Detection, indices: Sequence[int], top: float | None = None
) -> Figure:
    """One row a slice: scan, pseudo-healthy brain, map over scan, marked lesions.

    Columns for which there is nothing to show are left out. `top` is the score that gets the
    brightest colour; by default the map's `brightest`.
    """
    top = top or brightest(detection)
    twin, has_lesion = detection.reconstruction, slices.lesion_masks is not None
    has_twin = twin is not None
    kept = {"scan": True, "pseudo-healthy": has_twin, "anomaly map": True, "lesion": has_lesion}
    titles = [title for title, there in kept.items() if there]
    figure, axes = _grid(len(indices), len(titles))
    for row, i in zip(axes, indices, strict=True):
        panels = dict(zip(titles, row, strict=True))
        for ax in row:
            _draw_scan(ax, slices.images[i, 0])
        if twin is not None:
            _draw_scan(panels["pseudo-healthy"], twin[i, 0])
        heat = _draw_heat(panels["anomaly map"], detection.anomaly_map[i, 0], top)
        if has_lesion:
            _outline_lesion(panels["lesion"], slices, i)
        row[0].set_ylabel(f"slice {i}", fontsize=9)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    figure.colorbar(heat, ax=axes, label="anomaly score", shrink=0.7, pad=0.01)
    return figure


def show_panel(
    image: ArrayLike,
    *,
    heat: ArrayLike | None = None,
    lesion_mask: ArrayLike | None = None,
    top: float = 1.0,
) -> Figure:
    """One slice (h, w) alone, without title or border, for pages that set their own text.

    `heat` is laid over it, its colours running from 0 to `top`; `lesion_mask` is outlined.
    """
    figure, axes = _grid(1, 1)
    _draw_scan(axes[0, 0], image)
    if heat is not None:
        _draw_heat(axes[0, 0], heat, top)
    if lesion_mask is not None:
        _draw_outline(axes[0, 0], lesion_mask)
    return figure


def plot_slice_scores(
    scores: Sequence[float],
    marked: Sequence[int] = (),
    lesion_slices: ArrayLike | None = None,
) -> Figure:
    """One anomaly score a slice, from the lowest slice to the highest.

    `marked` slices get a dot; the range of `lesion_slices` (n,) is shaded.
    """
    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    plt.close(figure)
    number = np.arange(len(scores))
    ax.plot(number, scores, color=CURVE, linewidth=1.8)
    if marked:
        at = list(marked)
        ax.plot(at, np.asarray(scores)[at], "o", color=CURVE, label="slices shown")
    lesion = np.asarray([] if lesion_slices is None else lesion_slices, bool)
    if lesion.any():
        ax.fill_between(
            number, 0, 1, where=lesion, step="mid", color=LESION, alpha=0.3, linewidth=0,
            transform=ax.get_xaxis_transform(), label="lesion marked here",
        )  # fmt: skip
    ax.set(xlabel="slice, 2 mm apart, from the neck upwards", ylabel="anomaly score")
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=9)
    return figure


def plot_comparison(compared: Mapping[str, Mapping[str, Row]], metric: str = "AUPRC") -> Figure:
    """What `runs.compare` found for a metric: a panel a lesion kind, a row a method, intervals.

    Dots are means over subjects and training seeds, bars their 95 % intervals over subjects, small
    ticks the single seeds. The dotted line is the prevalence, which random scores reach.
    """
    figure, axes = plt.subplots(
        1, len(compared), figsize=(2.6 * len(compared), 3), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    plt.close(figure)
    for ax, (kind, rows) in zip(axes[0], compared.items(), strict=True):
        for height, row in enumerate(rows.values()):
            if row.ci is not None:
                ax.plot(row.ci, [height] * 2, color=CURVE, linewidth=2)
            ax.plot(row.value, height, "o", color=CURVE)
            if len(row.seeds) > 1:
                ax.plot(row.seeds, [height + 0.25] * len(row.seeds), "|", color="black")
        ax.axvline(next(iter(rows.values())).prevalence, color="black", linestyle=":")
        ax.set(title=kind, yticks=range(len(rows)), yticklabels=list(rows))
        ax.set_xlim(0, max(ax.get_xlim()[1], 0.1))  # or chance would look like a result
        ax.locator_params(axis="x", nbins=3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    figure.supxlabel(f"{metric}, each panel with its own scale", fontsize="medium")
    return figure


def brightest(detection: Detection) -> float:
    """The score for the brightest colour: one in a thousand scores above 0 is higher."""
    values = detection.anomaly_map[detection.anomaly_map > 0].numpy()
    return float(np.quantile(values, 0.999)) if values.size else 1.0


def _grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Empty panels (rows, columns), closed for pyplot so that a notebook shows them once."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(_PANEL * columns, _PANEL * rows), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    plt.close(figure)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return figure, axes


def _draw_scan(ax: Axes, image: ArrayLike) -> None:
    ax.imshow(np.asarray(image), cmap="gray", vmin=-1, vmax=1, interpolation="bilinear")


def _draw_heat(ax: Axes, scores: ArrayLike, top: float) -> ScalarMappable:
    """The map over what is already there: the higher the score, the less shows through."""
    scores = np.asarray(scores)
    opacity = np.clip(2 * scores / top, 0, 0.9)
    ax.imshow(scores, cmap=HEAT, vmin=0, vmax=top, alpha=opacity, interpolation="nearest")
    return ScalarMappable(Normalize(0, top), HEAT)


def _outline_lesion(ax: Axes, slices: Slices, i: int) -> None:
    if slices.lesion_masks is not None:
        _draw_outline(ax, slices.lesion_masks[i, 0])


def _draw_outline(ax: Axes, lesion_mask: ArrayLike) -> None:
    lesion_mask = np.asarray(lesion_mask)
    if lesion_mask.any():
        ax.contour(lesion_mask, levels=[0.5], colors=[OUTLINE], linewidths=1.2)


def _spread(n: int, count: int) -> list[int]:
    """`count` slices spread over the middle 80 % of n."""
    return np.unique(np.linspace(0.1 * n, 0.9 * (n - 1), count).round().astype(int)).tolist()
