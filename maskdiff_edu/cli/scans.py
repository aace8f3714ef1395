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
from maskdiff_edu.detection import Scored, build_method, score_scan
from maskdiff_edu.detection.models import DEFAULT_MODEL
from maskdiff_edu.errors import Error, ScanError, ScanWarning
from maskdiff_edu.evaluation import phantoms
from maskdiff_edu.files import require_writable, whole_folder
from maskdiff_edu.scans import Scan, ScanFiles, find_scans, load_scan, write_subject
from maskdiff_edu.show import write_scored
from maskdiff_edu.show.report import OUTPUTS

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
    refine: Refine = None,
    device: Device = "auto",
    contrast: Annotated[Contrast, typer.Option(help="Which scans of a folder.")] = "t2",
    overwrite: Overwrite = False,
) -> None:
    """Score a scan: anomaly map, pseudo-healthy brain, numbers and a report.

    The scan is T2-weighted and without skull, of any orientation and voxel size. Without
    --brain-mask the brain is where the scan is not 0. A folder gives one sub-folder a scan: masks
    are found by their names (NAME_brainmask, NAME_seg), and bad scans are listed.

    **Examples**

    maskdiff-edu score scan.nii.gz --out scored

    maskdiff-edu score scan.nii.gz --lesion-mask seg.nii.gz --draws 16 --out scored

    maskdiff-edu score scan.nii.gz --model ddpm --refine adapt --out scored

    maskdiff-edu score BraTS/ --model intensity --out scored
    """
    settings = {"t": as_times(t), "draws": draws, "residual": residual, "normalise": normalise}
    options: dict[str, Any] = {"seed": seed, "device": device, "refine": refine, **settings}
    if scan.is_dir():
        if brain_mask or lesion_mask:
            raise ScanError(f"{scan}: expected one scan for the mask that was given, got a folder")
        _score_each(find_scans(scan, contrast), out, overwrite, model, options)
        return
    _require_not_read(out, scan, brain_mask, lesion_mask)
    require_writable(out, OUTPUTS, overwrite=overwrite)
    method = build_method(model, **options)
    loaded, notes = _with_notes(lambda: load_scan(scan, brain_mask, lesion_mask))
    scored = score_scan(loaded, method, notes)
    write_scored(scored, out, overwrite=overwrite)
    _tell(scored, out)


@reports_errors
def demo(
    out: OutFolder,
    model: Model = DEFAULT_MODEL,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Score a shipped patient: the first tumour of the synthetic test subjects.

    **Example**

    maskdiff-edu demo --out demo
    """
    require_writable(out, OUTPUTS, overwrite=overwrite)
    method = build_method(model, seed=seed, device=device)
    [make_patient] = phantoms(*DEMO, n=1)
    scored = score_scan(make_patient(), method)
    write_scored(scored, out, overwrite=overwrite)
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
    overwrite: Overwrite = False,
) -> None:
    """Write synthetic subjects as NIfTI, one folder each: scan, brain mask, lesion mask.

    **Example**

    maskdiff-edu phantom --kind ms --n 3 --out patients
    """
    with whole_folder(out, overwrite=overwrite) as folder:
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


def _score_each(
    found: list[ScanFiles], out: Path, overwrite: bool, model: str, options: dict[str, Any]
) -> None:
    """Score every scan into a folder of its own; the bad ones are told, and keep no other."""
    require_writable(out)
    method = build_method(model, **options)
    bad = []
    for files in progress.bar(found, desc="scoring", unit="scan"):
        try:
            _require_not_read(out / files.name, files.image, files.brain_mask, files.lesion_mask)
            require_writable(out / files.name, OUTPUTS, overwrite=overwrite)
            scan, notes = _with_notes(files.load)
            write_scored(score_scan(scan, method, notes), out / files.name, overwrite=overwrite)
        except Exception as error:  # whatever is wrong with one scan, the others are scored
            where = "" if isinstance(error, Error) else f"{files.image}: {type(error).__name__}: "
            say(f"error: {where}{one_line(error)}")
            bad.append(files.name)
    typer.echo(f"{len(found) - len(bad)} of {len(found)} scans scored into {out}")
    if bad:
        raise ScanError(f"not scored: {', '.join(bad)}")


def _require_not_read(out: Path, *read: Path | None) -> None:
    """A result never takes the place of what it is made from, asked to or not."""
    written = {(out / name).resolve() for name in OUTPUTS}
    for path in read:
        if path is not None and path.resolve() in written:
            raise ScanError(
                f"{path}: expected a scan that no result would replace, got one that lies where "
                f"{path.name} goes; choose another --out"
            )


def _tell(scored: Scored, out: Path) -> None:
    """The main numbers, and what to open."""
    typer.echo(f"anomaly score {scored.scores.volume_score:.3f}")
    lesion = scored.scores.lesion
    if lesion:
        others = [f"{name} {found.auprc:.3f}" for name, found in lesion.baselines.items()]
        beside = ", ".join([*others, f"prevalence {lesion.prevalence:.3f}"])
        typer.echo(f"AUPRC {lesion.method.auprc:.3f} ({beside})")
    typer.echo(f"open {out / 'report.html'}")
