"""The command line: `maskdiff-edu COMMAND --help` says what each one does."""

import io
import os
import sys

os.environ["MPLBACKEND"] = "Agg"  # a name that matplotlib does not know would stop its import

import matplotlib
import typer

from maskdiff_edu.cli.course import grade, leaderboard
from maskdiff_edu.cli.evaluation import choose, compare, evaluate, info
from maskdiff_edu.cli.export import export
from maskdiff_edu.cli.scans import demo, phantom, score
from maskdiff_edu.cli.training import adapt, train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback()
def draw_into_files() -> None:
    """Masked diffusion for anomaly detection in brain MRI.

    For teaching and research only, never diagnosis.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # the name of a folder may be no text
        sys.stdout.reconfigure(errors="backslashreplace")
    matplotlib.rcdefaults()  # whatever the user's own say, such as LaTeX for all text
    matplotlib.use("Agg")  # needs no display


SCANS = (score, demo, phantom)
MODELS = (train, adapt, choose, evaluate, compare, info, export)
COURSE = (grade, leaderboard)
for command in SCANS + MODELS + COURSE:
    app.command()(command)
