"""The command that trains a model."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from maskdiff_edu import training
from maskdiff_edu.brains import cohort_seeds
from maskdiff_edu.cli.options import (
    INTERRUPTED,
    Device,
    Model,
    OutFolder,
    Preset,
    Seed,
    reports_errors,
    say,
)
from maskdiff_edu.detection.scanner import AdaptSettings, adapt_to_scanner
from maskdiff_edu.devices import choose_device, join_processes
from maskdiff_edu.errors import Error
from maskdiff_edu.files import require_writable
from maskdiff_edu.scans import Scan, find_scans, load_scan
from maskdiff_edu.training.config import N_SUBJECTS
from maskdiff_edu.training.cost import Cost
from maskdiff_edu.training.loop import CHECKPOINT, MODEL, require_resumable


@reports_errors
def train(
    preset: Annotated[Preset, typer.Option(help="What the network learns.")],
    out: OutFolder,
    data: Annotated[Path | None, typer.Option(help="Healthy scans instead of made ones.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="In all; default: the preset's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it costs.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train a model on healthy brains. Ctrl-C stops it; --resume goes on from the checkpoint.

    ddpm hides nothing, ipm rectangles, fpm frequencies, and fpm-cm frequencies inside rectangles.
    With -paper as much is hidden as the paper says, with -released as by its released code. pddpm
    hides nothing and noises one box. ddpm-gaussian has white noise, and with -all-t the network
    learns every t. Other methods, to compare with: ae, vae and svae are autoencoders, dae takes
    coarse noise away, riad draws the cells of a grid from one another, disyre-lite takes foreign
    texture away, itermask-lite draws a brain from its fine detail. A dry run takes 20 seconds.

    **Examples**

    maskdiff-edu train --preset fpm-cm --dry-run --out model

    maskdiff-edu train --preset fpm-cm --out model

    maskdiff-edu train --preset fpm-cm --steps 4000 --resume --out model

    maskdiff-edu score scan.nii.gz --model model/model.safetensors --out scored

    torchrun --standalone --nproc-per-node=2 -m maskdiff_edu train --preset fpm-cm --out model
    """
    config = replace(training.PRESETS[preset], seed=seed)
    config = config if steps is None else replace(config, steps=steps)
    seeds = cohort_seeds("train", n=N_SUBJECTS)
    pool = training.SlicePool(seeds if data is None else find_scans(data))
    choose_device(device, join_processes())  # if there is none of that name, say so at once
    if dry_run:
        _tell_cost(config, training.dry_run(config, pool, device=device))
        return
    checkpoint, model = out / CHECKPOINT, out / MODEL
    for kept in (checkpoint, model, model.with_suffix(".json")):
        if kept.exists() and not resume:
            raise Error(f"{kept}: expected no training here; add --resume to go on with it")
    require_writable(out)
    if checkpoint.exists():
        require_resumable(checkpoint, config, pool)
    command = shlex.join(
        ["maskdiff-edu", "train", "--preset", preset, "--steps", str(config.steps)]
        + ["--seed", str(seed), "--out", "DIR"]
        + (["--data", "FOLDER"] if data else [])
    )
    try:
        pool.fill(pool.drawn(seed, config.steps, config.batch_size))
        about = {"method": preset, "command": command}
        saving = training.Saving(out, resume=resume)
        training.fit(config, pool, out=saving, about=about, device=device)
    except KeyboardInterrupt as interruption:
        there = checkpoint.exists()
        say(f"interrupted: {f'go on from {checkpoint} with --resume' if there else 'nothing kept'}")
        raise typer.Exit(INTERRUPTED) from interruption
    if join_processes().rank == 0:
        typer.echo(f"model: {model}")


def _tell_cost(config: training.TrainConfig, cost: Cost) -> None:
    memory = "unknown" if cost.peak_memory is None else f"{cost.peak_memory / 2**30:.1f} GiB"
    subjects = f"{cost.subject_seconds / 60:.1f} minutes to make or read {cost.subjects} subjects"
    typer.echo(
        f"{config.steps} steps of {config.batch_size} slices: {cost.seconds / 60:.1f} minutes "
        f"({cost.seconds_a_step:.2f} s a step, measured over {cost.steps_measured}), memory "
        f"{memory}; before that {subjects if cost.subjects else 'no subject has to be made'}"
    )


@reports_errors
def adapt(
    healthy: Annotated[list[Path], typer.Argument(help="1 to 20 healthy scans, or folders.")],
    out: OutFolder,
    model: Model = "ddpm",
    steps: Annotated[int, typer.Option(min=1, max=20_000, help="Of training.")] = 2500,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Teach a model your own scanner, from healthy T2-weighted scans without skull.

    A quarter of the scans is kept aside and sets the threshold, which 1 % of their voxels pass. It
    takes a CPU two to ten minutes. Scans that look ill, or of another contrast, are refused.

    **Examples**

    maskdiff-edu adapt volunteer.nii.gz --out mine

    maskdiff-edu adapt volunteers/ --model ipm --out mine

    maskdiff-edu score patient.nii.gz --model mine/model.safetensors --out scored
    """
    for kept in (out / CHECKPOINT, out / MODEL):
        if kept.exists():
            raise Error(f"{kept}: expected no training here; choose another --out")
    require_writable(out)
    scans = [scan for path in healthy for scan in _load_all(path)]
    adapted = adapt_to_scanner(model, scans, out, AdaptSettings(steps=steps, seed=seed), device)
    said = "none, from one scan alone" if adapted.threshold is None else f"{adapted.threshold:.3f}"
    typer.echo(f"model: {out / MODEL}, threshold {said}")


def _load_all(path: Path) -> list[Scan]:
    """A scan, or those of a folder."""
    return [files.load() for files in find_scans(path)] if path.is_dir() else [load_scan(path)]
