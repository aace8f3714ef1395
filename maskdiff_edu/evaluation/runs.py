"""Runs: one trained method measured on many subjects, one JSON file each, and their comparison.

A run's file is written after every group of subjects, so that an interrupted run goes on. What it
holds is a `results.Run`.
"""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskdiff_edu.detection import Method, metrics
from maskdiff_edu.detection.models import BASELINES, weights_path
from maskdiff_edu.errors import ResultsError, SettingsError, require_name
from maskdiff_edu.evaluation.groups import (
    Load,
    auroc_volume,
    evaluate_group,
    healthy_threshold,
)
from maskdiff_edu.evaluation.results import (
    METHOD,
    GroupScores,
    Mean,
    Row,
    Run,
    SubjectScores,
    load_run,
    mean_prevalence,
)
from maskdiff_edu.files import locked, write_atomic

REFERENCE = "ddpm"  #: what every method is compared with
SHIPPED = Path(__file__).parent.parent / "results"  #: what the book cites, with its PROTOCOL.md
METRICS = ("auprc", "auroc", "best_dice", "dice")  #: that a comparison may be made of


def measure(
    folder: str | Path,
    method: Method,
    groups: Mapping[str, Sequence[Load]],
    controls: Sequence[Load] = (),
    *,
    fpr: float = 0.01,
    about: Mapping[str, Any] | None = None,
    on_error: Callable[[Exception], None] | None = None,
) -> tuple[Path, Run]:
    """Measure a method on groups of subjects; returns the run's file in `folder` and the run.

    Groups that the file holds already are not measured again. `controls` are healthy subjects for
    the threshold, which a share `fpr` of their voxels exceeds; without any, the card's threshold
    is taken. `about`: on whom, everything that tells these subjects from others, such as
    {"split": "test", "n": 30, "contrast": "t2"}. With a group "healthy" every
    other one gets "auroc_volume", how well the volume score tells its subjects from the healthy.

    With `on_error` a subject that cannot be used is left out, and its error handed over.

    Raises: `SettingsError` for a group's name that no file may hold, `ResultsError` where the file
    holds a run with other weights, settings or subjects, `Error` where another process is writing
    it.
    """
    for group in groups:
        require_name("groups", group)
    run = replace(identify(method), fpr=fpr, n_controls=len(controls), about=dict(about or {}))
    path = Path(folder) / f"{run.name}.json"

    def threshold() -> float | None:
        return healthy_threshold(method, controls, fpr) if controls else method.threshold

    def evaluate(name: str, threshold: float | None) -> GroupScores:
        return evaluate_group(name, method, groups[name], threshold, on_error)

    with locked(path):
        return path, _measure(path, run, groups, threshold, evaluate)


def _measure(
    path: Path,
    run: Run,
    names: Iterable[str],
    threshold: Callable[[], float | None],
    evaluate: Callable[[str, float | None], GroupScores],
) -> Run:
    if path.exists():
        run = _resume(path, run)
    else:
        began = time.perf_counter()
        run = replace(run, threshold=threshold(), seconds=time.perf_counter() - began)
        write_run(path, run)
    for name in names:
        if name not in run.groups:
            began = time.perf_counter()
            measured = {**run.groups, name: evaluate(name, run.threshold)}
            run = replace(run, groups=measured, seconds=run.seconds + time.perf_counter() - began)
            write_run(path, run)
    run = _against_healthy(run)
    write_run(path, run)
    return run


def identify(method: Method) -> Run:
    """A run without results: the training, the weights, and how they are used."""
    has_weights = method.source not in ("", *BASELINES)  # "": a detector of one's own
    digest = None
    if has_weights:
        digest = hashlib.sha256(weights_path(method.source).read_bytes()).hexdigest()
    return Run(
        method=method.name,
        seed=method.card.train.get("seed", 0),
        settings={name: value for name, value in method.used.items() if name != "device"},
        weights_sha256=digest,
        maskdiff_edu=version("maskdiff_edu"),
        torch=torch.__version__,
    )


def write_run(path: str | Path, run: Run) -> None:
    """Write a run's file."""
    write_numbers(path, run.as_json())


def write_numbers(path: str | Path, numbers: Mapping[str, Any]) -> None:
    """JSON with one value a line where it helps a diff, the rows of numbers on one line each."""
    text = json.dumps(_rounded(numbers), indent=1)
    short = re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    write_atomic(path, (short + "\n").encode())


def load_runs(folder: str | Path) -> list[Run]:
    """All runs in a folder, by name.

    Raises: `ResultsError` where there is none, or another file.
    """
    runs = [load_run(path) for path in sorted(Path(folder).glob("*.json"))]
    if not runs:
        raise ResultsError(
            f"{folder}: expected runs (*.json) of `maskdiff-edu evaluate`, found none"
        )
    return runs


def compare(
    runs: Sequence[Run],
    kinds: Sequence[str] | None = None,
    *,
    reference: str | None = None,
    metric: str = "auprc",
) -> dict[str, dict[str, Row]]:
    """Methods side by side: {kind: {method: row}}, by one of `METRICS`.

    A row has the method's mean and, where there are two subjects or more, intervals. Differences
    are paired, to `reference`; by default to `REFERENCE` where that was measured. Beside the plain
    95 % interval over subjects stands one over subjects and trainings, corrected for the number of
    rows. `kinds`: by
    default all that any run has. The intensity baselines are rows of their own, but not for "dice":
    they have no threshold.

    Raises: `SettingsError` for another metric or reference, `ResultsError` where runs of one kind
    were measured on different subjects, or one training was measured twice.
    """
    if metric not in METRICS:
        raise SettingsError(f"metric: expected one of {', '.join(METRICS)}, got {metric}")
    methods = [*sorted({run.method for run in runs}), *BASELINES]
    if reference is not None and reference not in methods:
        raise SettingsError(f"reference: expected one of {', '.join(methods)}, got {reference}")
    if twice := [name for name, n in Counter(run.name for run in runs).items() if n > 1]:
        raise ResultsError(f"expected each training once, got {', '.join(twice)} in several files")
    every = {kind: None for run in runs for kind, group in run.groups.items() if group.ill}
    kinds = kinds or list(every)
    if not kinds:
        raise ResultsError(f"{runs[0].name}: expected a group of subjects with lesions, got none")
    return {kind: _compare_kind(runs, kind, reference or REFERENCE, metric) for kind in kinds}


def as_table(compared: Mapping[str, Mapping[str, Row]]) -> str:
    """A comparison as a Markdown table, one row a lesion kind and method."""
    heads = "lesion | method | seeds | value | 95 % interval | minus reference | corrected"
    lines = [f"| {heads} | prevalence |", "|---|---|---|---|---|---|---|---|"]
    for kind, rows in compared.items():
        for name, row in rows.items():
            d = row.difference
            beside = "" if d is None else f"{d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            interval = "" if row.ci is None else f"[{row.ci[0]:.3f}, {row.ci[1]:.3f}]"
            c = row.corrected
            corrected = "" if c is None else f"[{c[0]:+.3f}, {c[1]:+.3f}]"
            lines.append(
                f"| {kind} | {name} | {len(row.seeds)} | {row.value:.3f} | "
                f"{interval} | {beside} | {corrected} | {row.prevalence:.4f} |"
            )
    return "\n".join(lines) + "\n"


def _compare_kind(runs: Sequence[Run], kind: str, reference: str, metric: str) -> dict[str, Row]:
    """{method: row}: the baselines first, the reference next, the rest by name."""
    by_method, prevalence = _values_by_method(runs, kind, metric)
    order = [*BASELINES, reference, *sorted(by_method.keys() - {*BASELINES, reference})]
    means = {name: np.mean(by_method[name], axis=0) for name in order if name in by_method}
    level = 1 - 0.05 / max(1, len(means.keys() - {reference}))  # Bonferroni
    rows = {}
    for name, values in means.items():
        mean = Mean.over(values)
        difference = corrected = None
        if reference in means and name != reference and len(values) > 1:
            difference = metrics.paired_difference(values, means[reference])
            both = (by_method[name], by_method[reference])
            corrected = metrics.difference_over_seeds(*both, level=level)[1:]
        seeds = tuple(float(seed.mean()) for seed in by_method[name])
        rows[name] = Row(mean.value, mean.ci, seeds, len(values), difference, prevalence, corrected)
    return rows


def _values_by_method(
    runs: Sequence[Run], kind: str, metric: str
) -> tuple[dict[str, list[np.ndarray]], float]:
    """One array (subjects,) for each seed of each method; the mean prevalence of the subjects."""
    by_method: dict[str, list[np.ndarray]] = {}
    names: list[str] = []
    prevalence = 0.0
    for run in runs:
        ill = run.groups[kind].ill if kind in run.groups else []
        if not ill:
            continue
        names = names or [subject.name for subject in ill]
        if names != [subject.name for subject in ill]:
            raise ResultsError(
                f"{kind}: expected the same subjects in every run, got others in {run.name}; "
                "evaluate all with the same --split and --n"
            )
        prevalence = mean_prevalence(ill)
        by_method.setdefault(run.method, []).append(_values(ill, METHOD, metric, run.name))
        for name in BASELINES:  # the same in every run
            if getattr(ill[0].maps.get(name), metric, None) is not None:
                by_method[name] = [_values(ill, name, metric, run.name)]
    if not names:
        raise ResultsError(f"{kind}: expected subjects with lesions to compare on, got none")
    return by_method, prevalence


def _values(ill: Sequence[SubjectScores], name: str, metric: str, where: str) -> np.ndarray:
    """A metric of one kind of map, one number a subject."""
    values = [getattr(subject.maps.get(name), metric, None) for subject in ill]
    if None in values:
        raise ResultsError(f"{where}: expected {metric} of every subject, got none for some")
    return np.array(values)


def _resume(path: Path, wanted: Run) -> Run:
    """The run that the file holds, if it is the one that is wanted."""
    run = load_run(path)
    there, asked = (
        run.identity,
        _rounded(json.loads(json.dumps(wanted.identity))),
    )  # as it would be read back
    changed = [name for name in asked | there if asked.get(name) != there.get(name)]
    if changed:
        name = changed[0]
        raise ResultsError(
            f"{path}: expected a run with {name}={asked.get(name)!r}, got one with "
            f"{name}={there.get(name)!r}; choose another folder with --out, or delete the "
            "file"
        )
    return run


def _against_healthy(run: Run) -> Run:
    """With "auroc_volume" in every group but the healthy one, if there is one."""
    if "healthy" not in run.groups:
        return run
    healthy = run.groups["healthy"].subjects
    groups = {
        name: group
        if name == "healthy"
        else replace(group, auroc_volume=auroc_volume(group.subjects, healthy))
        for name, group in run.groups.items()
    }
    return replace(run, groups=groups)


def _rounded(value: Any) -> Any:
    """Floats with six significant digits: more are noise, and fill the file."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
