"""What a scored scan leaves on disk: maps, numbers, and one web page with pictures."""

import base64
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from matplotlib.figure import Figure

from maskdiff_edu.detection import Detection, Scored
from maskdiff_edu.detection.scoring import Scores
from maskdiff_edu.files import whole_folder, write_atomic
from maskdiff_edu.scans import Slices, save_volume
from maskdiff_edu.show import plots

OUTPUTS = ("anomaly.nii.gz", "reconstruction.nii.gz", "scores.json", "report.html")
SHOWN = 3  #: most suspicious slices with pictures
APART = 5  #: slices between them at least, so that one lesion does not take all places


def write_scored(scored: Scored, out: str | Path, *, overwrite: bool = False) -> None:
    """Write the maps, the scores and the report into the folder `out`, all or nothing.

    Raises: `Error` where that cannot be written, or where files of these names (`OUTPUTS`) are
    there without `overwrite`.
    """
    with whole_folder(out, OUTPUTS, overwrite=overwrite) as folder:
        affine = scored.scan.affine
        save_volume(folder / "anomaly.nii.gz", scored.anomaly_map, affine)
        if scored.reconstruction is not None:
            save_volume(folder / "reconstruction.nii.gz", scored.reconstruction, affine)
        page = render(scored.scores, scored.slices, scored.detection)
        numbers = json.dumps(scored.scores.as_json(), indent=1)
        write_atomic(folder / "scores.json", numbers.encode())
        write_atomic(folder / "report.html", page.encode())


def render(scores: Scores, slices: Slices, detection: Detection) -> str:
    """The page as HTML that needs no other file and no network.

    `scores` as `scoring.score_scan` makes them; `slices` and `detection` on one grid.
    """
    of_slices = scores.slice_scores
    shown = most_suspicious(of_slices)
    lesion_slices = None
    if slices.lesion_masks is not None:
        lesion_slices = slices.lesion_masks.flatten(1).any(dim=1)
    curve = plots.plot_slice_scores(of_slices, shown, lesion_slices)
    top = plots.brightest(detection)
    sections = [
        {"number": i, "score": of_slices[i], "panels": _panels(slices, detection, i, top)}
        for i in shown
    ]
    words = (
        f"Curve of the anomaly score of each of {len(of_slices)} slices; "
        f"slice {shown[0]} has the highest, {of_slices[shown[0]]:.3f}"
    )
    return _template().render(
        scores=scores, top=top, curve=_as_png(curve, dpi=130), curve_words=words, sections=sections
    )


def most_suspicious(
    slice_scores: Sequence[float], count: int = SHOWN, apart: int = APART
) -> list[int]:
    """The highest-scoring slices, highest first, no two closer than `apart` slices.

    >>> most_suspicious([0.1, 0.9, 0.8, 0.1, 0.5], count=2, apart=2)
    [1, 4]
    """
    chosen: list[int] = []
    for i in np.argsort(slice_scores, kind="stable")[::-1].tolist():
        if len(chosen) < count and all(abs(i - j) >= apart for j in chosen):
            chosen.append(i)
    return chosen


def _template() -> Template:
    source = resources.files("maskdiff_edu") / "data" / "templates" / "report.html"
    # Names of scans come from outside: autoescape keeps them from becoming markup.
    page = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return page.from_string(source.read_text(encoding="utf-8"))


def _panels(slices: Slices, detection: Detection, i: int, top: float) -> list[dict[str, str]]:
    """The pictures of one slice, each with its caption and what it shows in words."""
    scan, heat = slices.images[i, 0], detection.anomaly_map[i, 0]
    panels = [_panel("Scan", f"Slice {i} of the scan, grey values", plots.show_panel(scan))]
    if detection.reconstruction is not None:
        twin = plots.show_panel(detection.reconstruction[i, 0])
        words = f"Slice {i} as the model would draw it healthy"
        panels.append(_panel("Pseudo-healthy", words, twin))
    over = plots.show_panel(scan, heat=heat, top=top)
    where = _where(heat.numpy())
    panels.append(_panel("Anomaly map over scan", f"Slice {i} with the anomaly map: {where}", over))
    if slices.lesion_masks is not None:
        lesion_mask = slices.lesion_masks[i, 0]
        marked = "outlined in cyan" if lesion_mask.any() else "none in this slice"
        truth = plots.show_panel(scan, lesion_mask=lesion_mask)
        panels.append(_panel("Marked lesion", f"Slice {i} with the marked lesion: {marked}", truth))
    return panels


def _where(heat: np.ndarray) -> str:
    """In words, where the map is highest, for those who cannot see it."""
    if not (heat > 0).any():
        return "nothing stands out"
    row, column = np.unravel_index(heat.argmax(), heat.shape) / np.array(heat.shape)
    side = "in the middle"
    if abs(column - 0.5) > 0.05:
        side = "on the patient's right" if column < 0.5 else "on the patient's left"
    depth = "towards the front" if row < 0.4 else "towards the back" if row > 0.6 else "half-way"
    return f"the highest score lies {side}, {depth}"


def _panel(caption: str, words: str, figure: Figure) -> dict[str, str]:
    return {"caption": caption, "words": words, "png": _as_png(figure, dpi=150)}


def _as_png(figure: Figure, dpi: int) -> str:
    """A picture as the text of a data address."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
