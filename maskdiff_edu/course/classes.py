"""Grade a class: everybody gets a row and a page, whatever anybody handed in."""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from maskdiff_edu.course.grading import Graded, Result, grade, read_notebook
from maskdiff_edu.course.kits import Kit
from maskdiff_edu.course.pages import class_page, feedback_page
from maskdiff_edu.course.submissions import (
    NOTEBOOKS,
    Submission,
    by_student,
    content,
    find_submissions,
)
from maskdiff_edu.course.tasks import Outcome
from maskdiff_edu.course.workshop import Workshop
from maskdiff_edu.errors import Error
from maskdiff_edu.files import read_json, write_atomic
from maskdiff_edu.progress import bar

_FORMULA = ("=", "+", "@", "\t", "\r")  # how a spreadsheet's formula begins
WRITTEN = "written.csv"  #: answers that a person reads; the points given there are added


def grade_class(
    place: Path, kit: Kit, out: Path, *, jobs: int = 2, everybody: Mapping[str, str] | None = None
) -> list[Graded]:
    """Grade all submissions of an assignment and write tables and pages into `out`.

    place: a folder, or a zip file of Moodle or Canvas. everybody: number -> name of all who take
    the course; who handed in nothing then has a row, too. What is graded already is not graded
    again unless the notebook or the assignment changed. Writes `grades.csv`, `written.csv`,
    `class.html`, `feedback.zip` and `feedback/`, one page a person.
    Raises: Error where there is nothing to grade, or `out` cannot be written.

    >>> grade_class(Path("nowhere.zip"), kit=None, out=Path("out"))
    Traceback (most recent call last):
        ...
    maskdiff_edu.errors.Error: nowhere.zip: expected a folder or a zip file of submissions, found \
neither
    """
    handed_in = by_student(find_submissions(place, (*NOTEBOOKS, "")))
    people = {student: _notebooks(files) or files[-1:] for student, files in handed_in.items()}
    _require_this_assignment(people.values(), kit)
    out.mkdir(parents=True, exist_ok=True)
    with Workshop() as workshop, ThreadPoolExecutor(jobs) as pool:

        def one(submissions: Sequence[Submission]) -> Graded:
            return _grade_person(submissions, kit, workshop, out)

        ordered = pool.map(one, people.values())
        done = list(bar(ordered, total=len(people), desc="grading", unit="person"))
    points = _read_written(out / WRITTEN)
    names = everybody or {}
    graded = [
        replace(_with_written(p, kit, points), name=names.get(p.student, p.name)) for p in done
    ]
    nothing = Result(kit.name, of=kit.points, notes=["nothing was handed in"])
    absent = [
        Graded(student, name, "", False, nothing)
        for student, name in names.items()
        if student not in people
    ]
    _write_tables(graded, absent, kit, out, points)
    return graded


def _notebooks(files: Sequence[Submission]) -> list[Submission]:
    return [file for file in files if file.file.lower().endswith(NOTEBOOKS)]


def _require_this_assignment(people: Iterable[Sequence[Submission]], kit: Kit) -> None:
    """Stop where every notebook is one of another assignment: the folder is the wrong one."""
    named = set()
    for submissions in people:
        try:
            named.add(read_notebook(_choose(submissions, kit)[1])[1].get("assignment"))
        except ValueError:
            continue  # no notebook
    if named and kit.name not in named and None not in named:
        raise Error(
            f"{kit.folder}: expected the assignment that was handed in, "
            f"{', '.join(sorted(map(str, named)))}, got {kit.name}"
        )


def _grade_person(
    submissions: Sequence[Submission], kit: Kit, workshop: Workshop, out: Path
) -> Graded:
    chosen, data = _choose(submissions, kit)
    digest = hashlib.sha256(data + kit.fingerprint.encode()).hexdigest()
    kept = out / "results" / f"{_file_name(chosen.student)}.json"
    result = _read_result(kept, digest)
    if result is None:
        result = grade(data, kit, workshop)
        made = {"digest": digest, "result": asdict(result)}
        write_atomic(kept, json.dumps(made, indent=1, ensure_ascii=False).encode())
    if len(submissions) > 1:
        result.notes.append(f"{len(submissions)} notebooks were handed in; graded: {chosen.path}")
    return Graded(chosen.student, chosen.name, chosen.path, chosen.late, result)


def _choose(submissions: Sequence[Submission], kit: Kit) -> tuple[Submission, bytes]:
    """The last notebook that says it is this assignment; else the last one."""
    for submission in reversed(submissions):
        data = content(submission)
        try:
            _, stamp = read_notebook(data)
        except ValueError:
            continue
        if stamp.get("assignment") == kit.name:
            return submission, data
    return submissions[-1], content(submissions[-1])


def _read_result(path: Path, digest: str) -> Result | None:
    try:
        kept = read_json(path)
        if kept["digest"] != digest:
            return None
        fields = kept["result"]
        outcomes = {q: [Outcome(**o) for o in os] for q, os in fields.pop("outcomes").items()}
        return Result(**fields, outcomes=outcomes)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # nothing there, or damaged: graded again


def _file_name(student: str) -> str:
    """A name for a file: what people are called may be a path."""
    plain = re.sub(r"[^\w.-]", "_", student)[:60].strip(".") or "_"
    if plain == student:
        return plain
    return f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:8]}"


def _read_written(path: Path) -> dict[tuple[str, str], str]:
    """(student, exercise) -> points, as somebody wrote them."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8-sig")
    head = text.partition("\n")[0]
    # Where a decimal comma is usual, spreadsheets save with semicolons.
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    try:
        return {(_plain(row["student"]), row["exercise"]): row["points"].strip() for row in rows}
    except (KeyError, AttributeError):
        raise Error(
            f"{path}: expected the columns student, exercise and points, got {head.strip()!r}; "
            "save it as a table with commas or semicolons"
        ) from None


def _with_written(person: Graded, kit: Kit, points: Mapping[tuple[str, str], str]) -> Graded:
    read: dict[str, float] = {}
    for exercise in person.result.written:
        text = points.get((person.student, exercise), "")
        most = kit.written[exercise]
        try:
            found = {exercise: float(text.replace(",", "."))} if text else {}
        except ValueError:
            found = {exercise: -1.0}
        if found and not 0 <= found[exercise] <= most:
            raise Error(
                f"{WRITTEN}: expected 0 to {most:g} points for {person.student}, {exercise}, got "
                f"{text!r}"
            )
        read |= found
    return replace(person, written=read)


def _write_tables(
    graded: Sequence[Graded],
    absent: Sequence[Graded],
    kit: Kit,
    out: Path,
    points: Mapping[tuple[str, str], str],
) -> None:
    rows = [
        [
            p.student,
            p.name,
            f"{p.points:g}",
            f"{p.result.of:g}",
            f"{p.written_points:g}",
            "late" if p.late else "",
            p.path,
            "; ".join(p.result.notes),
        ]
        for p in (*graded, *absent)
    ]
    head = ["student", "name", "points", "of (tests)", "written", "late", "file", "notes"]
    write_atomic(out / "grades.csv", as_csv([head, *rows]))
    written = [
        [p.student, p.name, q, points.get((p.student, q), ""), f"{kit.written[q]:g}", answer]
        for p in graded
        for q, answer in p.result.written.items()
        if answer
    ]
    head = ["student", "name", "exercise", "points", "of", "answer"]
    write_atomic(out / WRITTEN, as_csv([head, *written]))
    write_atomic(out / "class.html", class_page(graded, kit).encode())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for person in graded:
            page = feedback_page(person, kit).encode()
            write_atomic(out / "feedback" / f"{_file_name(person.student)}.html", page)
            archive.writestr(_returned_name(person), page)
    write_atomic(out / "feedback.zip", packed.getvalue())


def _returned_name(person: Graded) -> str:
    """Where the systems look for a person's feedback: beside the file, under another name."""
    return person.path.removesuffix(".ipynb") + "-feedback.html"


def _plain(cell: str) -> str:
    """A cell as it was before `as_csv`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def as_csv(rows: Iterable[Sequence[Any]]) -> bytes:
    """A table; a text that a spreadsheet would compute is made a plain one."""
    file = io.StringIO()
    writer = csv.writer(file)
    for row in rows:
        writer.writerow([f"'{cell}" if str(cell).startswith(_FORMULA) else cell for cell in row])
    return file.getvalue().encode("utf-8-sig")
