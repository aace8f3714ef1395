"""The commands for instructors: a class to a table of grades, and its models to a leaderboard."""

from pathlib import Path
from typing import Annotated

import typer

from maskdiff_edu.cli.options import Device, reports_errors
from maskdiff_edu.course.classes import grade_class
from maskdiff_edu.course.gradebooks import fill_gradebook, people_in
from maskdiff_edu.course.kits import read_kit
from maskdiff_edu.course.leaderboard import N_PEOPLE, PAGE, TABLE, make_leaderboard


@reports_errors
def grade(
    submissions: Annotated[
        Path, typer.Argument(help="A folder of notebooks, or the zip file of Moodle or Canvas.")
    ],
    assignment: Annotated[
        Path, typer.Option(help="The folder that `make assignments` made for your course.")
    ],
    out: Annotated[Path, typer.Option(help="Tables and pages go here; run again to go on.")],
    gradebook: Annotated[
        Path | None, typer.Option(help="Moodle's or Canvas's table; a filled copy goes to --out.")
    ] = None,
    grade_column: Annotated[
        str, typer.Option(help="Its column for the grades, where that cannot be told.")
    ] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks that run side by side.")] = 2,
) -> None:
    """Grade a class's notebooks, each where it can do no harm.

    Example: `maskdiff-edu grade moodle.zip --assignment kit/hw01_noising --out graded --gradebook
    grades.csv`
    """
    kit = read_kit(assignment)
    everybody = people_in(gradebook, grade_column) if gradebook is not None else None
    graded = grade_class(submissions, kit, out, jobs=jobs, everybody=everybody)
    typer.echo(f"{len(graded)} people graded: {out / 'grades.csv'}, {out / 'class.html'}")
    for isolation in sorted({person.result.isolation for person in graded} - {""}):
        typer.echo(f"Notebooks ran {isolation}")
    if unread := sum(len(person.unread) for person in graded):
        typer.echo(
            f"{unread} answers are not read yet and count as 0: fill in the points in "
            f"{out / 'written.csv'} and run this again"
        )
    if gradebook is not None:
        points = {person.student: person.points for person in graded}
        filled = fill_gradebook(gradebook, points, kit.total, out / gradebook.name, grade_column)
        typer.echo(f"Grades filled into {out / gradebook.name}")
        if filled.missing:
            names = [p.name for p in graded if p.student in filled.missing]
            typer.echo(f"No row in it for: {', '.join(names)}")


@reports_errors
def leaderboard(
    submissions: Annotated[
        Path,
        typer.Argument(
            help="A folder with a model (.safetensors and its card, .json) for each student, or "
            "the zip file of Moodle or Canvas."
        ),
    ],
    course: Annotated[str, typer.Option(help="The course's secret; the patients follow from it.")],
    out: Annotated[Path, typer.Option(help="Table and page go here; run again to go on.")],
    n: Annotated[
        int, typer.Option("--n", min=2, help="Patients of each of two kinds, and healthy people.")
    ] = N_PEOPLE,
    names: Annotated[
        bool, typer.Option("--names", help="The page shows people's names, not their models'.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Rank a class's models on patients whom nobody has seen, beside the plain DDPM.

    A model takes about a minute of CPU time. leaderboard.html can be shown to everybody;
    leaderboard.csv has a row for everybody, with names, and is yours. A file that cannot be read
    costs its own row, and a model that was measured is not measured again.

    Example: `maskdiff-edu leaderboard moodle.zip --course "a secret" --out board`
    """
    entries = make_leaderboard(submissions, course, out, n=n, names=names, device=device)
    ranked = [entry for entry in entries if entry.place]
    without = sum(bool(entry.student) for entry in entries) - len(ranked)
    typer.echo(
        f"{len(ranked)} models ranked, {without} people without: {out / TABLE}, {out / PAGE}"
    )
