"""Grades into the table that Moodle or Canvas gave out: only the fields of grades change.

Column names are translated by Moodle, so columns are found by what stands in them, or by name on
request. The byte order mark, the order, the marks around fields, line ends and the decimal mark
stay as they are: the systems refuse, or skip in silence, what looks otherwise.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskdiff_edu.errors import Error
from maskdiff_edu.files import write_atomic

# Moodle's column "Grade" in some of its languages; any other is named with --grade-column.
_GRADE = ("grade", "bewertung", "note", "calificación", "nota", "valutazione", "cijfer", "ocena")
_MAXIMUM = re.compile(r"max|höchst|bestnote|máx|mass", re.I)


@dataclass(frozen=True)
class Filled:
    """What became of the grades."""

    text: str  #: the new table
    missing: tuple[str, ...]  #: people with a grade but without a row


def fill_gradebook(
    path: Path, grades: Mapping[str, float], of: float, out: Path, column: str = ""
) -> Filled:
    """Write a copy of a table with everybody's grade, scaled to the table's own maximum.

    grades: a person's number -> points of `of`; nobody else's row is touched. column: the name of
    the column, or how it begins.
    Raises: Error, and nothing is written, where the table is neither Moodle's nor Canvas's, no
    column fits, or nobody with a grade has a row.
    """
    mark, rows = _read_rows(path)
    filled = _fill(rows, grades, of, column, path)
    if grades and len(filled.missing) == len(grades):
        raise Error(
            f"{path}: expected rows of the people who handed in, found none of them; is it the "
            "table of another course?"
        )
    write_atomic(out, (mark + filled.text).encode())
    return filled


def people_in(path: Path, column: str = "") -> dict[str, str]:
    """Number -> name of everybody in a table.

    Raises: Error as `fill_gradebook` would of the table, before anybody waits for it.
    """
    _, rows = _read_rows(path)
    _fill(rows, {}, 1.0, column, path)
    head = _fields(rows[0])
    fields = [_fields(row) for row in rows[1:]]
    if _is_canvas(head):
        ids, at = _canvas_ids(rows, head), head.index("Student")
    else:  # Moodle's names are translated; the person stands behind the number
        ids, at = _moodle_ids(rows, head, path), 1
    return {
        number: row[at]
        for number, row in zip(ids, fields, strict=True)
        if number.isdigit() and at < len(row)
    }


def _is_canvas(head: Sequence[str]) -> bool:
    return {"Student", "ID", "Section"} <= set(head)


def _read_rows(path: Path) -> tuple[str, list[list[str]]]:
    """The byte order mark, if there is one, and the rows."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise Error(f"{path}: expected a table in UTF-8, got another encoding") from None
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    return mark, split_table(text.removeprefix(mark))


def split_table(text: str) -> list[list[str]]:
    """Rows of raw fields, their quotation marks, delimiters and line ends included: joining all
    of them gives back the text.

    >>> split_table('a,"b,c"\\r\\n1,2')
    [['a', ',', '"b,c"', '\\r\\n'], ['1', ',', '2']]
    """
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    # A field in marks, a bare field, a delimiter, or an end of line.
    pattern = rf'"(?:[^"]|"")*"|[^"{delimiter}\r\n][^{delimiter}\r\n]*|{delimiter}|\r\n|\n|\r'
    rows: list[list[str]] = [[]]
    for part in re.findall(pattern, text):
        if part == delimiter and (not rows[-1] or rows[-1][-1] == delimiter):
            rows[-1].append("")  # an empty field
        if part in ("\r\n", "\n", "\r") and rows[-1] and rows[-1][-1] == delimiter:
            rows[-1].append("")
        rows[-1].append(part)
        if part in ("\r\n", "\n", "\r"):
            rows.append([])
    if rows[-1] and rows[-1][-1] == delimiter:
        rows[-1].append("")
    return [row for row in rows if row]


def _value(raw: str) -> str:
    quoted = raw.startswith('"')
    return (raw[1:-1].replace('""', '"') if quoted else raw).strip()


def _fields(row: Sequence[str]) -> list[str]:
    return [_value(field) for field in row[::2] if field not in ("\r\n", "\n", "\r")]


def _fill(
    rows: list[list[str]], grades: Mapping[str, float], of: float, column: str, path: Path
) -> Filled:
    head = _fields(rows[0])
    canvas = _is_canvas(head)
    names = _canvas_ids(rows, head) if canvas else _moodle_ids(rows, head, path)
    at = _column(head, column, canvas, path)
    comma = not canvas and any(
        re.fullmatch(r"\d+,\d+", field) for row in rows[1:] for field in _fields(row)
    )
    most = _maximum(rows, head, at, canvas)
    left = set(grades)
    for row, name in zip(rows[1:], names, strict=True):
        if name in grades and 2 * at < len(row):
            wanted = grades[name] * (most(row) or of) / of
            number = f"{wanted:.2f}".replace(".", "," if comma else ".")
            quoted = row[2 * at].startswith('"') or (comma and "," in row)
            row[2 * at] = f'"{number}"' if quoted else number
            left.discard(name)
    return Filled("".join("".join(row) for row in rows), tuple(sorted(left)))


def _canvas_ids(rows: list[list[str]], head: list[str]) -> list[str]:
    at = head.index("ID")
    return [fields[at] if at < len(fields) else "" for fields in map(_fields, rows[1:])]


def _moodle_ids(rows: list[list[str]], head: list[str], path: Path) -> list[str]:
    """From the column whose every field is a word and a number, such as `Participant 123`."""
    fields = [_fields(row) for row in rows[1:]]
    for at in range(len(head)):
        found = [re.fullmatch(r"\D+ (\d+)", row[at]) if at < len(row) else None for row in fields]
        if found and all(found):
            return [match[1] for match in found if match]
    raise Error(
        f"{path}: expected a grading worksheet of Moodle or a gradebook of Canvas, got columns "
        f"{', '.join(head[:8])}"
    )


def _column(head: list[str], column: str, canvas: bool, path: Path) -> int:
    titles = [name for name in head if not canvas or re.search(r"\(\d+\)$", name)]
    if column:
        fits = [i for i, name in enumerate(head) if name == column]
        fits = fits or [i for i, name in enumerate(head) if name.startswith(column)]
    elif canvas:  # an assignment's title ends in its number
        fits = [i for i, name in enumerate(head) if name in titles]
    else:
        fits = [i for i, name in enumerate(head) if name.lower() in _GRADE]
    if len(fits) != 1:
        raise Error(
            f"{path}: expected one column for the grades, found {len(fits)}; name it with "
            f"--grade-column, one of: {', '.join(titles)}"
        )
    return fits[0]


def _maximum(rows: list[list[str]], head: list[str], at: int, canvas: bool):
    def number(text: str) -> float:
        try:
            return float(text.replace(",", "."))
        except ValueError:
            return 0.0

    if canvas:
        possible = [f for f in map(_fields, rows[1:3]) if f[0].strip() == "Points Possible"]
        most = number(possible[0][at]) if possible and at < len(possible[0]) else 0.0
        return lambda row: most
    columns = [i for i, name in enumerate(head) if i != at and _MAXIMUM.search(name)]
    if not columns:
        return lambda row: 0.0
    return lambda row: number(_fields(row)[columns[0]]) if columns[0] < len(_fields(row)) else 0.0
