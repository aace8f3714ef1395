"""Commands about scans: score one or many, score the shipped patient, make synthetic ones."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from maskdiff_edu import progress
from maskdiff_edu.brains import cohorts
from maskdiff_edu.cli.options import (
    Contrast,
    Device,
    Draws,
    Kind,
    Model,
    OutFolder,
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
from maskdiff_edu.detection import Method, Scored, build_method, score_scan
from maskdiff_edu.detection.models import DEFAULT_MODEL
from maskdiff_edu.errors import Error, ScanError, ScanWarning
from maskdiff_edu.evaluation import phantoms
from maskdiff_edu.files import require_writable, whole_folder
from maskdiff_edu.scans import Scan, find_scans, load_scan, write_subject
from maskdiff_edu.show import write_scored

DEMO = ("test", "tumour")  #: the demo's patient is the first of this split and kind


@reports_errors
def score(
    scan: Annotated[Path, typer.Argument(help="A NIfTI file, or a folder of them.")],
    out: OutFolder,
    brain_mask: Annotated[Path | None, typer.Option(help="1 inside the brain.")] = None,
    lesion_mask: Annotated[Path | None, typer.Option(help="1 where experts saw lesions.")] = None,
    model: Model = DEFAULT_MODEL,
    t: Times = None,
    draws: Draws = None,
    seed: Seed = 0,
    residual: ResidualKind = None,
    normalise: Scale = None,
    device: Device = "auto",
    contrast: Annotated[Contrast, typer.Option(help="Which scans of a folder.")] = "t2",
) -> None:
    """Score a scan: anomaly map, pseudo-healthy brain, numbers and a report.

    The scan is T2-weighted and without skull, of any orientation and voxel size. Without
    --brain-mask the brain is where the scan is not 0. A folder gives one sub-folder a scan: masks
    are found by their names (NAME_brainmask, NAME_seg), and bad scans are listed.

    **Examples**

    maskdiff-edu score scan.nii.gz --out scored

    maskdiff-edu score scan.nii.gz --lesion-mask seg.nii.gz --draws 16 --out scored

    maskdiff-edu score BraTS/ --model intensity --out scored
    """
    settings = {"t": as_times(t), "draws": draws, "residual": residual, "normalise": normalise}
    options: dict[str, Any] = {"seed": seed, "device": device, **settings}
    if scan.is_dir():
        if brain_mask or lesion_mask:
            raise ScanError(f"{scan}: expected one scan for the mask that was given, got a folder")
        found = find_scans(scan, contrast)
        require_writable(out)
        method = build_method(model, **options)
        bad = [
            f.name
            for f in progress.bar(found, desc="scoring", unit="scan")
            if not _try(f.load, method, out / f.name)
        ]
        typer.echo(f"{len(found) - len(bad)} of {len(found)} scans scored into {out}")
        if bad:
            raise ScanError(f"{scan}: not scored: {', '.join(bad)}")
        return
    loaded, notes = _with_notes(lambda: load_scan(scan, brain_mask, lesion_mask))
    require_writable(out)
    scored = score_scan(loaded, build_method(model, **options), notes)
    write_scored(scored, out)
    _tell(scored, out)


@reports_errors
def demo(
    out: OutFolder, model: Model = DEFAULT_MODEL, seed: Seed = 0, device: Device = "auto"
) -> None:
    """Score a shipped patient: the first tumour of the synthetic test subjects.

    **Example**

    maskdiff-edu demo --out demo
    """
    require_writable(out)
    method = build_method(model, seed=seed, device=device)
    [make_patient] = phantoms(*DEMO, n=1)
    scored = score_scan(make_patient(), method)
    write_scored(scored, out)
    _tell(scored, out)


@reports_errors
def phantom(
    out: OutFolder,
    n: Annotated[int, typer.Option("--n", min=1, help="How many subjects.")] = 4,
    split: Annotated[Split, typer.Option(help="Which subjects; splits never meet.")] = "test",
    kind: Annotated[Kind, typer.Option(help="Healthy, or with lesions.")] = Kind.healthy,
    contrast: Annotated[Contrast, typer.Option(help="Kind of scan.")] = "t2",
    slices: Annotated[
        int | None, typer.Option(min=2, max=80, help="Only so many around the middle.")
    ] = None,
) -> None:
    """Write synthetic subjects as NIfTI, one folder each: scan, brain mask, lesion mask.

    **Example**

    maskdiff-edu phantom --kind ms --n 3 --out patients
    """
    with whole_folder(out) as folder:
        made = cohorts.make_cohort(split, kind, n, contrast)
        for subject in progress.bar(made, total=n, desc="making subjects", unit="subject"):
            chosen = subject if slices is None else subject.crop_slices(slices)
            write_subject(chosen, folder, contrast)
    typer.echo(f"{n} subjects written to {out}")


def _with_notes(load: Callable[[], Scan]) -> tuple[Scan, tuple[str, ...]]:
    """A scan and the warnings about it, which are also said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ScanWarning)
        scan = load()
    notes = [str(w.message) for w in caught if issubclass(w.category, ScanWarning)]
    for note in notes:
        say(f"warning: {note}")
    return scan, tuple(notes)


def _try(load: Callable[[], Scan], method: Method, out: Path) -> bool:
    """Score one scan of many; says why where that fails."""
    try:
        scan, notes = _with_notes(load)
        write_scored(score_scan(scan, method, notes), out)
    except Error as error:
        say(f"error: {one_line(error)}")
        return False
    return True


def _tell(scored: Scored, out: Path) -> None:
    """The main numbers, and what to open."""
    typer.echo(f"anomaly score {scored.scores.volume_score:.3f}")
    lesion = scored.scores.lesion
    if lesion:
        others = [f"{name} {found.auprc:.3f}" for name, found in lesion.baselines.items()]
        beside = ", ".join([*others, f"prevalence {lesion.prevalence:.3f}"])
        typer.echo(f"AUPRC {lesion.method.auprc:.3f} ({beside})")
    typer.echo(f"open {out / 'report.html'}")
