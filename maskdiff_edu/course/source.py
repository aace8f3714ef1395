"""The source of an assignment, a notebook that holds the solution, and what is made of it.

Cells are told apart by their first line:

* `# COURSE` computes the numbers of one course with `course.choice(name, ...)`; the student's
  notebook holds the results.
* `# EXERCISE q1 function another` is answered by the student; `### BEGIN SOLUTION` and
  `### END SOLUTION` enclose what the student writes. In a Markdown cell, `## EXERCISE q5
  (4 points)` is a written question, whose model answer stands between the same marks.
* `# AT HOME` takes long, such as a training: students run it, the grader leaves it out.
* `# CHECK` and everything else is the same for everybody.

In Markdown, `{{T}}` is replaced by the course's number or convention of that name. The line
`told = course.told(NAME=("one way", "another"), ...)` declares the course's conventions, which
students are told in words only; `conventions` says how code depends on them.
"""

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskdiff_edu.course.conventions import BLOCK, NAMED, Told, declared, every_told, resolve
from maskdiff_edu.course.tasks import number_from
from maskdiff_edu.errors import SettingsError

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
EXERCISE = re.compile(r"^#+ EXERCISE (q\w+)((?: \w+)*)(?: \((\d+) points?\))?[ \t]*$")
BLANK = "...  # your code"
WRITTEN_BLANK = "*Write your answer here.*"
COURSE = "# COURSE"  #: how the cell begins that computes a course's numbers
AT_HOME = "# AT HOME"  #: how a cell begins that the grader leaves out
PUBLIC = "self-study"  #: the secret of the edition that everybody can read
_LONG = 24  # characters of a line that could be no other's by chance


class Course:
    """A course's own numbers, drawn from its secret.

    >>> Course("spring").choice("T", 500, 800) in (500, 800)
    True
    """

    def __init__(self, secret: str, assignment: str = "") -> None:
        self.secret = hashlib.sha256(f"{secret}\n{assignment}".encode()).hexdigest()
        self._public = None if secret == PUBLIC else Course(PUBLIC, assignment)

    def choice(self, name: str, *options: Any) -> Any:
        """One of the options."""
        return options[number_from(self.secret, name) % len(options)]

    def told(self, **conventions: Sequence[str]) -> dict[str, str]:
        """One option of each convention; at least half of them, rounded up, are others than in
        the edition for self-study.

        >>> options = {"ORDER": ("x, y", "y, x"), "ENDS": ("both", "none")}
        >>> public, own = Course("self-study").told(**options), Course("spring").told(**options)
        >>> public == own
        False
        """
        if self._public is None:
            return {name: self.choice(name, *options) for name, options in conventions.items()}
        public = self._public.told(**conventions)
        far_enough = [
            told
            for told in every_told(conventions)
            if 2 * sum(told[name] != public[name] for name in told) >= len(told)
        ]
        return self.choice("told", *far_enough)


@dataclass(frozen=True)
class Exercise:
    """A cell that the student fills."""

    name: str  #: such as q1
    functions: tuple[str, ...]  #: what the cell must define
    written: bool  #: read by a person
    index: int  #: of the cell
    points: float = 0.0  #: at most, where a person reads it; tests have points of their own


@dataclass(frozen=True)
class Source:
    """An assignment's source notebook, checked."""

    name: str
    cells: tuple[dict[str, Any], ...]
    metadata: dict[str, Any]
    exercises: tuple[Exercise, ...]
    told: Told  #: the conventions that it declares, with their options

    @property
    def answers(self) -> dict[str, str]:
        """The text of each exercise's cell with the solution, in the blocks of every course."""
        return {e.name: _without_marks(self.cells[e.index]["source"]) for e in self.exercises}

    @property
    def version(self) -> str:
        """Changes with anything in the source."""
        return hashlib.sha256(json.dumps(self.cells, sort_keys=True).encode()).hexdigest()[:12]


def read_source(path: Path) -> Source:
    """Read an assignment's source.

    Raises: SettingsError, before anything is written, for marks that do not match, an exercise
    without a solution or with a name that is taken, a solution that also stands elsewhere, and
    blocks of a convention that is not declared or of which an option is missing.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: expected an assignment's notebook, found none")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = tuple(
        {
            "cell_type": cell["cell_type"],
            "source": "".join(cell["source"]),
            "id": cell.get("id", f"cell-{i}"),
            "metadata": {k: v for k, v in cell.get("metadata", {}).items() if k == "tags"},
        }
        for i, cell in enumerate(notebook["cells"])
    )
    exercises = []
    for i, cell in enumerate(cells):
        first = cell["source"].partition("\n")[0]
        found = EXERCISE.match(first)
        marks = re.findall(r"^\s*### ?(?:BEGIN|END) ?SOLUTION", cell["source"], re.M | re.I)
        if found:
            _require_solution(cell["source"], f"{path.name}, exercise {found[1]}")
            written = cell["cell_type"] == "markdown"
            points = float(found[3] or 0)
            if written != (points > 0):
                raise SettingsError(
                    f"{path.name}, exercise {found[1]}: expected points, as in `## EXERCISE q5 "
                    f"(4 points)`, where a person reads the answer, and only there, got {first!r}"
                )
            exercises.append(Exercise(found[1], tuple(found[2].split()), written, i, points))
        elif marks:
            raise SettingsError(f"{path.name}, cell {i}: expected a solution in an exercise only")
    names = [exercise.name for exercise in exercises]
    if len(set(names)) < len(names) or not names:
        raise SettingsError(f"{path.name}: expected exercises of different names, got {names}")
    course_cells = [cell["source"] for cell in cells if cell["source"].startswith(COURSE)]
    told = declared(course_cells, path.name)
    source = Source(path.stem, cells, notebook["metadata"], tuple(exercises), told)
    _require_no_leak(source, path.name)
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "code" and not cell["source"].startswith(COURSE):
            _require_words_only(cell["source"], told, f"{path.name}, cell {i}")
    return source


def course_numbers(source: Source, course: Course) -> dict[str, Any]:
    """What the cells marked `# COURSE` compute for a course, its conventions among it."""
    numbers: dict[str, Any] = {}
    for cell in source.cells:
        if cell["source"].startswith(COURSE):
            names: dict[str, Any] = {"course": course}
            exec(compile(cell["source"], "<# COURSE>", "exec"), names)
            numbers |= names.pop("told", {})
            numbers |= {
                name: value
                for name, value in names.items()
                if name != "course" and not name.startswith("_") and not callable(value)
            }
    return numbers


def make_notebook(
    source: Source, numbers: Mapping[str, Any], course: str, *, solved: bool
) -> dict[str, Any]:
    """The notebook of the student, or of the solution, as JSON."""
    cells = []
    exercises = {exercise.index: exercise for exercise in source.exercises}
    for i, cell in enumerate(source.cells):
        text = cell["source"]
        if text.startswith(COURSE):
            kept = {name: value for name, value in numbers.items() if name not in source.told}
            lines = [f"{name} = {value!r}" for name, value in kept.items()]
            text = "\n".join(["# The numbers of your course. Leave them as they are.", *lines])
        elif cell["cell_type"] == "markdown":
            text = NAMED.sub(lambda found: _shown(numbers, found[1], source.name), text)
        else:
            text = resolve(text, numbers, source.told, f"{source.name}, cell {i}")
        metadata = dict(cell["metadata"])
        if exercise := exercises.get(i):
            text = _without_marks(text) if solved else _without_solution(text, exercise.written)
            metadata["maskdiff"] = {"exercise": exercise.name}
        made = {"cell_type": cell["cell_type"], "id": cell["id"], "metadata": metadata}
        made["source"] = text.splitlines(keepends=True)
        if cell["cell_type"] == "code":
            made |= {"execution_count": None, "outputs": []}
        cells.append(made)
    stamp = {"assignment": source.name, "version": source.version, "course": course}
    metadata = {k: v for k, v in source.metadata.items() if k in ("kernelspec", "language_info")}
    return {
        "cells": cells,
        "metadata": metadata | {"maskdiff": stamp},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def title_of(notebook: Mapping[str, Any]) -> str:
    """A notebook's first heading."""
    return "".join(notebook["cells"][0]["source"]).partition("\n")[0].lstrip("# ")


def as_python(cell: str) -> str:
    """A cell's text without what belongs to the notebook's program: %magics and !commands."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", cell, flags=re.MULTILINE)


def question_of(student: Mapping[str, Any], exercise: Exercise) -> str:
    """What stands above the answer in the student's cell, without its first line."""
    text = "".join(student["cells"][exercise.index]["source"])
    return text.partition("\n")[2].partition(WRITTEN_BLANK)[0].strip()


def _require_words_only(code: str, told: Told, where: str) -> None:
    """No code may read a convention: the student's notebook has no such name."""
    first = {name: options[0] for name, options in told.items()}
    try:
        tree = ast.parse(as_python(resolve(code, first, told, where)))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in told:
            raise SettingsError(
                f"{where}: expected the convention {node.id} in `with {node.id} == ...:` or in a "
                f'text, as in "{{{{{node.id}}}}}", found it as a name; nothing is written'
            )


def _require_solution(text: str, where: str) -> None:
    inside = False
    blocks = 0
    for line in text.splitlines():
        word = line.strip()
        if word == BEGIN and not inside:
            inside, blocks = True, blocks + 1
        elif word == END and inside:
            inside = False
        elif re.search(r"(BEGIN|END)\W*SOLUTION", word, re.I):
            raise SettingsError(
                f"{where}: expected `{BEGIN}` and `{END}` in turn, got {word!r}; nothing is written"
            )
    if inside or not blocks:
        raise SettingsError(
            f"{where}: expected at least one solution between `{BEGIN}` and `{END}`, each closed; "
            "nothing is written"
        )


def _without_marks(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip() not in (BEGIN, END))


def _without_solution(text: str, written: bool) -> str:
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.strip() == BEGIN:
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            kept.append(WRITTEN_BLANK if written else indent + BLANK)
        elif line.strip() == END:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def _solution_lines(text: str) -> Sequence[str]:
    lines, inside = [], False
    for line in text.splitlines():
        word = line.strip()
        inside = word == BEGIN or (inside and word != END)
        if inside and len(word) >= _LONG and word != BEGIN and not BLOCK.match(line):
            lines.append(word)
    return lines


def _require_no_leak(source: Source, name: str) -> None:
    """A line of a solution that also stands where the student sees it."""
    exercises = {exercise.index: exercise for exercise in source.exercises}
    visible = "\n".join(
        _without_solution(cell["source"], False) if i in exercises else cell["source"]
        for i, cell in enumerate(source.cells)
    )
    for exercise in source.exercises:
        for line in _solution_lines(source.cells[exercise.index]["source"]):
            if line in visible:
                raise SettingsError(
                    f"{name}, exercise {exercise.name}: expected the solution where the student "
                    f"does not see it, found this line of it elsewhere: {line!r}"
                )


def _shown(numbers: Mapping[str, Any], name: str, assignment: str) -> str:
    if name not in numbers:
        raise SettingsError(f"{assignment}: expected a number of the course, got {{{{{name}}}}}")
    return f"{numbers[name]}"
