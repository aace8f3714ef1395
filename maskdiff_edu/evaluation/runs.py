"""Runs: one trained method measured on many subjects, one JSON file each, and their comparison.

A run's file is written after every group of subjects, so that an interrupted run goes on:

    {"method": "fpm-cm", "seed": 0, "split": "test", "settings": {...}, "threshold": 0.21,
     "groups": {"tumour": {...}}, "seconds": 412.0, ...}

`method` and `seed` are those of the *training*: runs that differ in the seed alone are repeats of
one method, and a comparison averages over them.
"""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskdiff_edu.detection import Method, metrics
from maskdiff_edu.detection.models import BASELINES, weights_path
from maskdiff_edu.evaluation.groups import (
    METHOD,
    Load,
    auroc_volume,
    evaluate_group,
    healthy_threshold,
)
from maskdiff_edu.files import write_atomic

REFERENCE = "ddpm"  #: what every method is compared with
SHIPPED = Path(__file__).parent.parent / "results"  #: what the book cites, with its PROTOCOL.md


def measure(
    folder: str | Path,
    method: Method,
    groups: Mapping[str, Sequence[Load]],
    controls: Sequence[Load] = (),
    *,
    fpr: float = 0.01,
    about: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Measure a method on groups of subjects; returns the run's file in `folder` and the run.

    Groups that the file holds already are not measured again. `controls` are healthy subjects for
    the threshold, which a share `fpr` of their voxels exceeds; without any, the card's threshold
    is taken. `about`: on whom, such as {"split": "test", "n": 30}. With a group "healthy" every
    other one gets "auroc_volume", how well the volume score tells its subjects from the healthy.

    Raises: ValueError where the file holds a run with other weights, settings or subjects.
    """
    identity = {**identify(method), "fpr": fpr, "n_controls": len(controls), **(about or {})}
    path = Path(folder) / f"{identity['method']}-seed{identity['seed']}.json"
    run = _begin(path, identity)
    for name, loads in [("controls", controls), *groups.items()]:
        began = time.perf_counter()
        if name == "controls":
            if "threshold" in run:
                continue
            found = healthy_threshold(method, loads, fpr) if loads else method.threshold
            run["threshold"] = found
        elif name not in run["groups"]:
            run["groups"][name] = evaluate_group(name, method, loads, run["threshold"])
        else:
            continue
        run["seconds"] += time.perf_counter() - began
        write_run(path, run)
    healthy = run["groups"].get("healthy", {"subjects": []})["subjects"]
    for name, group in run["groups"].items():
        if name != "healthy" and healthy:
            group["auroc_volume"] = auroc_volume(group["subjects"], healthy)
    write_run(path, run)
    return path, run


def identify(method: Method) -> dict[str, Any]:
    """What tells one run from another: the training, the weights, and how they are used."""
    train = method.card.get("train", {})
    has_weights = method.source not in ("", *BASELINES)  # "": a detector of one's own
    weights = weights_path(method.source) if has_weights else None
    return {
        "method": method.card.get("method", method.detector.name),
        "seed": train.get("seed", 0),
        "settings": {k: v for k, v in method.used.items() if k != "device"},
        "weights_sha256": weights and hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


def write_run(path: Path, run: Mapping[str, Any]) -> None:
    """One value a line where it helps a diff, the rows of numbers on one line each."""
    text = json.dumps(_rounded(run), indent=1)
    short = re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    write_atomic(path, (short + "\n").encode())


def load_runs(folder: str | Path) -> list[dict[str, Any]]:
    """All runs in a folder, by name. Raises ValueError where there is none, or another file."""
    paths = sorted(Path(folder).glob("*.json"))
    runs = [_load(path) for path in paths]
    if not runs:
        raise ValueError(f"{folder}: expected runs (*.json) of `maskdiff-edu evaluate`, found none")
    return runs


def compare(
    runs: Sequence[Mapping[str, Any]],
    kinds: Sequence[str] | None = None,
    *,
    reference: str = REFERENCE,
    metric: str = "auprc",
) -> dict[str, dict[str, dict[str, Any]]]:
    """Methods side by side: {kind: {method: row}}.

    A row's "value" is the mean over subjects of the mean over training seeds, with its 95 %
    interval from resampling *subjects* ("ci"); "seeds" holds each seed's mean, since the spread
    over trainings is another uncertainty. "difference" is the paired difference to `reference`
    over the same subjects. The intensity baselines are rows of their own.

    Raises ValueError where runs of one kind were measured on different subjects.
    """
    kinds = kinds or [kind for kind, group in runs[0]["groups"].items() if group["n_lesion"]]
    return {kind: _compare_kind(runs, kind, reference, metric) for kind in kinds}


def as_table(compared: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A comparison as a Markdown table, one row a lesion kind and method."""
    lines = ["| lesion | method | seeds | value | 95 % interval | minus reference | prevalence |"]
    lines.append("|---|---|---|---|---|---|---|")
    for kind, rows in compared.items():
        for name, row in rows.items():
            difference = row["difference"]
            beside = "" if difference is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(
                *(difference[key] for key in ("difference", "low", "high"))
            )  # fmt: skip
            low, high = row["ci"]
            lines.append(
                f"| {kind} | {name} | {len(row['seeds'])} | {row['value']:.3f} | "
                f"[{low:.3f}, {high:.3f}] | {beside} | {row['prevalence']:.4f} |"
            )
    return "\n".join(lines) + "\n"


def _compare_kind(
    runs: Sequence[Mapping[str, Any]], kind: str, reference: str, metric: str
) -> dict[str, dict[str, Any]]:
    """{method: row}: the baselines first, the reference next, the rest by name."""
    by_method: dict[str, list[np.ndarray]] = {}  # one (subjects,) array a seed
    subjects, prevalence = None, 0.0
    for run in runs:
        ill = [s for s in run["groups"].get(kind, {"subjects": []})["subjects"] if s["prevalence"]]
        if not ill:
            continue
        names = [subject["name"] for subject in ill]
        if subjects not in (None, names):
            raise ValueError(
                f"{kind}: expected the same subjects in every run, {run['method']}-seed"
                f"{run['seed']} has others; evaluate all with the same --split and --n"
            )
        subjects, prevalence = names, float(np.mean([s["prevalence"] for s in ill]))
        values = np.array([subject[METHOD][metric] for subject in ill])
        by_method.setdefault(run["method"], []).append(values)
        for name in BASELINES:  # the same in every run
            by_method[name] = [np.array([subject[name][metric] for subject in ill])]
    order = [*BASELINES, reference, *sorted(by_method.keys() - {*BASELINES, reference})]
    means = {name: np.mean(by_method[name], axis=0) for name in order if name in by_method}
    rows = {}
    for name, values in means.items():
        value, low, high = metrics.bootstrap(values)
        difference = None
        if reference in means and name != reference:
            difference = metrics.paired_difference(values, means[reference])._asdict()
        seeds = [float(seed.mean()) for seed in by_method[name]]
        row = {"value": value, "ci": [low, high], "seeds": seeds, "n": len(values)}
        rows[name] = {**row, "difference": difference, "prevalence": prevalence}
    return rows


def _begin(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The run that the file holds, or a new one."""
    identity = _rounded(json.loads(json.dumps(identity)))  # as it would be read back
    if not path.exists():
        versions = {"maskdiff_edu": version("maskdiff_edu"), "torch": torch.__version__}
        return {**identity, **versions, "seconds": 0.0, "groups": {}}
    run = _load(path)
    changed = [name for name, value in identity.items() if run.get(name) != value]
    if changed:
        name = changed[0]
        raise ValueError(
            f"{path}: holds a run with {name}={run.get(name)!r}, not {identity[name]!r}; "
            "choose another folder with --out, or delete the file"
        )
    return run


def _load(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if not {"method", "seed", "groups"} <= run.keys():
            raise ValueError("it has no method, seed and groups")
    except (AttributeError, OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a run of `maskdiff-edu evaluate` ({error})") from error
    return run


def _rounded(value: Any) -> Any:
    """Floats with six significant digits: more are noise, and fill the file."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
