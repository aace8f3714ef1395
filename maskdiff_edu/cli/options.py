"""What the commands share: their options, and how they say what is wrong."""

import functools
import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from tqdm import tqdm

from maskdiff_edu.errors import Error

BAD_INPUT, INTERRUPTED = 2, 130  #: exit codes


# What the library knows by these names; tests/test_cli.py compares.
Contrast = Literal["t2", "t1"]
Split = Literal["train", "validation", "test"]
Preset = Literal[
    "ddpm", "ipm", "fpm", "fpm-cm", "ipm-paper", "fpm-cm-paper", "fpm-cm-released", "pddpm",
    "ddpm-gaussian", "ddpm-all-t", "fpm-cm-all-t",
    "ae", "vae", "svae", "dae", "riad", "disyre-lite", "itermask-lite",
]  # fmt: skip


class Kind(StrEnum):
    """Kinds of subjects; no Literal, since typer takes no list of these."""

    healthy = "healthy"
    tumour = "tumour"
    ms = "ms"
    stroke = "stroke"
    subtle = "subtle"
    dark = "dark"


OutFolder = Annotated[Path, typer.Option("--out", help="Results go here; other files are kept.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace older results of the same names in --out.")
]
Model = Annotated[str, typer.Option(help="A shipped model, intensity, or a .safetensors file.")]
Times = Annotated[
    list[int] | None, typer.Option("--t", help="How far to noise; give several to average.")
]
Draws = Annotated[int | None, typer.Option(help="Noisings averaged at each t.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ResidualKind = Annotated[
    Literal["positive", "absolute"] | None,
    typer.Option(help="Bright anomalies only, or dark ones too."),
]
Scale = Annotated[
    Literal["percentile", "median", "mode"] | None,
    typer.Option(help="Intensity scale; a large lesion moves percentile."),
]

Refine = Annotated[
    Literal["two-pass", "adapt", "adapt-small", "mahalanobis", "andi-lite", "thor-lite", "chain"]
    | None,
    typer.Option(
        help="Look again: two-pass takes twice as long; adapt teaches the network this very scan "
        "first, which takes a CPU half a minute or more; adapt-small is for small lesions. The "
        "others score in ways that others proposed."
    ),
]


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what is wrong with the input into one line on stderr and an exit code of 2.

    Any other exception is a fault of the library: it keeps its traceback.
    """

    @functools.wraps(command)
    def safe(*args: Any, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
            try:
                command(*args, **options)
            except (Error, OSError) as error:
                say(f"error: {one_line(error)}")
                raise typer.Exit(BAD_INPUT) from error
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                say(f"error: expected more memory: {one_line(error)}")
                raise typer.Exit(BAD_INPUT) from error
            except KeyboardInterrupt as interruption:
                say("interrupted: nothing was left half written")
                raise typer.Exit(INTERRUPTED) from interruption

    return safe


def is_out_of_memory(error: Exception) -> bool:
    """On a GPU torch has a class for it; on a CPU only these words."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def say(line: str) -> None:
    """A line on stderr that leaves a progress bar whole."""
    tqdm.write(line, file=sys.stderr)


def as_times(t: list[int] | None) -> int | tuple[int, ...] | None:
    return (t[0] if len(t) == 1 else tuple(t)) if t else None


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
