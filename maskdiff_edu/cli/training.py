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
    OutFolder,
    Preset,
    Seed,
    reports_errors,
    say,
)
from maskdiff_edu.devices import choose_device, join_processes
from maskdiff_edu.errors import Error
from maskdiff_edu.files import require_writable
from maskdiff_edu.scans import find_scans
from maskdiff_edu.training.config import N_SUBJECTS
from maskdiff_edu.training.cost import Cost
from maskdiff_edu.training.loop import CHECKPOINT, MODEL, require_resumable


@reports_errors
def train(
    preset: Annotated[Preset, typer.Option(help="What is hidden from the network.")],
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
    hides nothing and noises one box. A dry run takes about 20 seconds.

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
