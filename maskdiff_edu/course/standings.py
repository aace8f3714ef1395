"""The rows of a leaderboard: ranked, as a table for the instructor, as a page for everybody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from maskdiff_edu.course.classes import as_csv
from maskdiff_edu.course.pages import as_image, render
from maskdiff_edu.detection import metrics
from maskdiff_edu.detection.metrics import PairedDifference
from maskdiff_edu.evaluation import Run

FPR = 0.01  #: false positives in healthy controls that the threshold allows


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard."""

    nickname: str  #: that everybody may read
    place: int = 0  #: from 1; 0 for a reference, and where there was nothing to measure
    run: Run | None = None  #: None where there was nothing to measure
    error: str = ""  #: why
    student: str = ""  #: a number or name, as for `grade_class`; "" for a reference
    name: str = ""
    path: str = ""  #: of the weights, in the folder or zip file
    notes: tuple[str, ...] = ()
    difference: PairedDifference | None = None  #: of AUPRC to the plain DDPM, over patients

    @property
    def values(self) -> np.ndarray:
        """AUPRC (patients,), one kind after the other."""
        groups = self.run.groups.values() if self.run else ()
        return np.array([s.method.auprc for group in groups for s in group.ill])

    @property
    def auprc(self) -> float:
        """Mean over patients; -1 for a model that could not be read, which sorts it last."""
        return float(self.values.mean()) if self.run else -1.0

    @property
    def kinds(self) -> dict[str, float]:
        """Mean AUPRC of each kind of lesion."""
        groups = self.run.groups if self.run else {}
        return {k: g.mean["method"].auprc.value for k, g in groups.items() if g.mean}

    @property
    def dice(self) -> float:
        """Mean over patients, at the threshold that the healthy controls gave."""
        groups = self.run.groups.values() if self.run else ()
        return float(np.mean([s.method.dice for group in groups for s in group.ill]))

    @property
    def false_positives(self) -> list[float]:
        """Of each healthy person, the share of voxels above that threshold."""
        healthy = self.run.groups["healthy"].subjects if self.run else ()
        return [float(s.false_positive_rate or 0) for s in healthy]


def ranked(entries: Sequence[Entry], plain: Entry) -> list[Entry]:
    """Best first, each with its difference to the plain DDPM and, if a person's, its place."""
    rows: list[Entry] = []
    place = 0
    for entry in sorted(entries, key=lambda e: (-e.auprc, e.nickname)):
        if entry.run and entry.student:
            place += 1
            entry = replace(entry, place=place)
        if entry.run and entry.nickname != plain.nickname:
            difference = metrics.paired_difference(entry.values, plain.values)
            entry = replace(entry, difference=difference)
        rows.append(entry)
    return rows


def as_table(entries: Sequence[Entry], kinds: Sequence[str]) -> bytes:
    """Everybody's row, with names: the instructor's."""
    head = ["place", "nickname", "student", "name", "auprc", *kinds, "minus plain", "low", "high"]
    head += ["dice", "healthy false positives", "highest", "file", "notes"]
    rows = []
    for entry in entries:
        numbers: list[float | None] = [None] * (len(kinds) + 7)
        if entry.run:
            d, rates = entry.difference, entry.false_positives
            numbers = [entry.auprc, *(entry.kinds[kind] for kind in kinds)]
            numbers += [d.difference, d.low, d.high] if d else [None] * 3
            numbers += [entry.dice, float(np.mean(rates)), max(rates)]
        # Adding 0 takes the sign from a zero.
        shown = ["" if number is None else f"{round(number, 4) + 0:.4f}" for number in numbers]
        told = "; ".join(filter(None, [entry.error, *entry.notes]))
        person = [entry.place or "", entry.nickname, entry.student, entry.name]
        rows.append([*person, *shown, entry.path, told])
    return as_csv([head, *rows])


def as_page(entries: Sequence[Entry], kinds: Sequence[str], n: int, names: bool) -> str:
    """What may be shown to everybody: no seed, no path, and no person's name unless asked for."""
    shown = {e.nickname: e.name if names and e.student else e.nickname for e in entries}
    return render(
        "leaderboard.html",
        entries=entries,
        shown=shown,
        kinds=kinds,
        n=n,
        fpr=FPR,
        picture=_picture([e for e in entries if e.difference], shown),
    )


def _picture(entries: Sequence[Entry], shown: Mapping[str, str]) -> str:
    """Every difference to the plain DDPM with its interval, best first."""
    figure = Figure(figsize=(6.5, 1 + 0.3 * len(entries)), layout="constrained")
    axes = figure.subplots()
    for i, entry in enumerate(entries):
        assert entry.difference is not None  # only such are passed
        value, low, high, _ = entry.difference
        colour = "#0072b2" if entry.student else "#555555"
        axes.plot([low, high], [i, i], color=colour)
        axes.plot(value, i, "o" if entry.student else "s", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    # A name may hold what matplotlib would read as a formula.
    labels = [shown[e.nickname].replace("$", r"\$")[:40] for e in entries]
    axes.set_yticks(range(len(entries)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("AUPRC minus that of the plain DDPM, with its 95 % interval")
    return as_image(figure)
