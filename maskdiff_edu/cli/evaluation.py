"""Commands that measure: choose how a model is used, measure it, compare several, tell them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from maskdiff_edu import progress
from maskdiff_edu.cli.options import (
    Contrast,
    Device,
    Draws,
    Kind,
    Model,
    OutFolder,
    Overwrite,
    Refine,
    ResidualKind,
    Scale,
    Seed,
    Split,
    Times,
    as_times,
    one_line,
    reports_errors,
    say,
)
from maskdiff_edu.detection import build_method, models
from maskdiff_edu.detection.cards import Chosen, PhantomRow
from maskdiff_edu.detection.records import as_json
from maskdiff_edu.errors import Error, ScanError, SettingsError
from maskdiff_edu.evaluation import choose_settings, load_runs, measure, phantoms, runs
from maskdiff_edu.evaluation.groups import summarise_for_card
from maskdiff_edu.files import require_writable, whole_folder, write_atomic
from maskdiff_edu.scans import ScanFiles, find_scans
from maskdiff_edu.show import plot_comparison

COMPARISON = ("comparison.json", "comparison.md", "comparison.png")  #: what `compare` writes


@reports_errors
def choose(
    model: Annotated[str, typer.Option(help="A .safetensors file; its card is rewritten.")],
    kind: Annotated[Kind, typer.Option(help="Lesions to choose by.")] = Kind.tumour,
    n: Annotated[int, typer.Option("--n", min=1, help="Validation subjects.")] = 10,
    like: Annotated[
        str | None, typer.Option(help="Take over what was chosen for this model instead.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    contrast: Annotated[Contrast, typer.Option(help="Kind of scan.")] = "t2",
) -> None:
    """Choose t, residual and filter of a model on validation subjects, and write them to its card.

    Test subjects are not looked at, so that their numbers stay honest.

    **Examples**

    maskdiff-edu choose --model seed0/model.safetensors

    maskdiff-edu choose --model seed1/model.safetensors --like seed0/model.safetensors
    """
    if model not in models.BASELINES:
        models.require_own_card(model)
    method = build_method(model, seed=seed, device=device, precision="auto")
    if like is not None:
        other = build_method(like, device="cpu")
        taken = method.with_settings(other.settings)
        models.write_card(taken, None, chosen=other.card.chosen)
        return
    split = "validation"
    settings, rows = choose_settings(method, phantoms(split, kind, n, contrast))
    chosen = Chosen(kind.value, split, n, seed, tuple(rows))
    models.write_card(method.with_settings(settings), None, chosen=chosen)
    for row in rows[:5]:
        typer.echo(
            f"AUPRC {row.auprc:.3f}  t {', '.join(map(str, row.t))}  {row.residual}  "
            f"median {row.median_size}  Gaussian {row.gaussian_sigma}"
        )


@reports_errors
def evaluate(
    out: OutFolder,
    model: Model = models.DEFAULT_MODEL,
    data: Annotated[Path | None, typer.Option(help="Folder of scans with lesion masks.")] = None,
    split: Annotated[Split, typer.Option(help="Of the synthetic subjects.")] = "test",
    n: Annotated[int, typer.Option("--n", min=1, help="Subjects of each kind.")] = 30,
    kinds: Annotated[list[Kind] | None, typer.Option(help="Default: all kinds.")] = None,
    fpr: Annotated[float, typer.Option(help="False positives allowed by the threshold.")] = 0.01,
    n_validation: Annotated[int, typer.Option(min=1, help="Healthy subjects for it.")] = 10,
    card: Annotated[bool, typer.Option("--card", help="Write into the model's card.")] = False,
    t: Times = None,
    draws: Draws = None,
    seed: Seed = 0,
    residual: ResidualKind = None,
    normalise: Scale = None,
    refine: Refine = None,
    device: Device = "auto",
    contrast: Annotated[Contrast, typer.Option(help="Kind of scan.")] = "t2",
) -> None:
    """Measure a model on many subjects, beside intensity: AUPRC, AUROC, Dice, with intervals.

    Writes METHOD-seedN.json into the folder; interrupted, the same command goes on. The threshold
    for Dice comes from healthy validation subjects; with --data, from the card.

    **Examples**

    maskdiff-edu evaluate --model intensity --n 5 --out results

    maskdiff-edu evaluate --data BraTS/ --out results
    """
    if card and (data or refine or model in models.BASELINES):
        raise SettingsError(
            "--card: expected a network, used once, and the synthetic subjects, got others"
        )
    if card:
        models.require_own_card(model)
    require_writable(out)
    found: list[ScanFiles] = []
    on_whom: dict[str, Any] = {"split": split, "n": n, "contrast": contrast}
    settings: dict[str, Any] = {
        "t": as_times(t),
        "draws": draws,
        "residual": residual,
        "normalise": normalise,
        "refine": refine,
    }
    method = build_method(model, seed=seed, device=device, precision="auto", **settings)
    if data is not None:
        found = find_scans(data, contrast)
        if not any(files.lesion_mask for files in found):
            raise ScanError(f"{data}: expected lesion masks (NAME_seg), found none for any scan")
        subjects, controls = {"data": [files.load for files in found]}, []
        on_whom = {"data": data.name, "contrast": contrast, "digest": _digest(found)}
    else:
        chosen = kinds or list(Kind)
        subjects = {kind.value: phantoms(split, kind, n, contrast) for kind in chosen}
        controls = phantoms("validation", "healthy", n_validation, contrast)
    path, run = measure(
        out, method, subjects, controls, fpr=fpr, about=on_whom, on_error=_say_error
    )
    summary = summarise_for_card(run)
    if card:
        how = {**on_whom, "n_validation": n_validation, "fpr": fpr, "seed": seed}
        phantom = {**method.card.phantom, **summary}
        models.write_card(method, run.threshold, phantom=phantom, evaluation=how)
    _show_means(summary)
    typer.echo(f"all numbers: {path}")
    measured = {subject.name for group in run.groups.values() for subject in group.subjects}
    if missing := [files.name for files in found if files.name not in measured]:
        raise ScanError(f"not measured: {', '.join(missing)}")


@reports_errors
def compare(
    results: Annotated[list[Path], typer.Argument(help="Folders of runs that evaluate wrote.")],
    out: OutFolder,
    reference: Annotated[
        str | None,
        typer.Option(help=f"What the others are compared with; default: {runs.REFERENCE}."),
    ] = None,
    metric: Annotated[str, typer.Option(help="auprc, auroc, best_dice or dice.")] = "auprc",
    overwrite: Overwrite = False,
) -> None:
    """Compare measured methods: a table and a picture, with paired differences and intervals.

    **Examples**

    maskdiff-edu compare results --out comparison

    maskdiff-edu compare results/first results/second --out comparison
    """
    if out.resolve() in [folder.resolve() for folder in results]:  # it would be read as a run
        raise SettingsError(f"--out: expected another folder than that of the runs, got {out}")
    require_writable(out, COMPARISON, overwrite=overwrite)
    every = [run for folder in results for run in load_runs(folder)]
    compared = runs.compare(every, reference=reference, metric=metric)
    table = runs.as_table(compared)
    with whole_folder(out, COMPARISON, overwrite=overwrite) as folder:
        write_atomic(folder / "comparison.json", json.dumps(as_json(compared), indent=1).encode())
        write_atomic(folder / "comparison.md", table.encode())
        plot_comparison(compared, metric).savefig(folder / "comparison.png", dpi=120)
    typer.echo(table)
    if not any(row.difference for rows in compared.values() for row in rows.values()):
        say(
            f"warning: no differences: they need two subjects or more, and a run of "
            f"{runs.REFERENCE} or the method that --reference names"
        )


@reports_errors
def info(
    plain: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Version, devices, models and how well they did on the synthetic test subjects."""
    about = models.about()
    if plain:
        typer.echo(json.dumps(about.as_json(), indent=1))
        return
    for name in ("version", "python", "torch"):
        typer.echo(f"{name:8} {getattr(about, name)}")
    typer.echo(f"devices  {', '.join(about.devices)}")
    for name, card in about.models.items():
        typer.echo(f"model    {name}")
        for kind, found in card.phantom.items():
            typer.echo(
                f"           {kind:8} AUPRC {found.auprc:.3f} {_interval(found)}, intensity "
                f"{found.intensity:.3f}, prevalence {found.prevalence:.3f}"
            )


def _say_error(error: Exception) -> None:
    """One subject that cannot be measured keeps no other."""
    kind = "" if isinstance(error, Error) else f"{type(error).__name__}: "
    say(f"error: {kind}{one_line(error)}")


def _digest(found: Sequence[ScanFiles]) -> str:
    """Tells these subjects from others by their names and by what their files hold."""
    every = progress.bar(found, desc="reading files", unit="subject")
    told = [(files.name, files.digest()) for files in every]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _show_means(summary: Mapping[str, PhantomRow]) -> None:
    for name, found in summary.items():
        typer.echo(
            f"{name:8} n {found.n:3}  AUPRC {found.auprc:.3f} {_interval(found)}  "
            f"intensity {found.intensity:.3f}  prevalence {found.prevalence:.3f}"
        )


def _interval(found: PhantomRow) -> str:
    low, high = found.ci or (float("nan"),) * 2
    return f"[{low:.3f}, {high:.3f}]"
