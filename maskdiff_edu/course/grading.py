"""Grade one notebook: run it, test each exercise where it stands, and lose nothing by a crash."""

import ast
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskdiff_edu.course.conventions import every_told, resolve
from maskdiff_edu.course.kits import Kit
from maskdiff_edu.course.source import (
    AT_HOME,
    BLANK,
    EXERCISE,
    WRITTEN_BLANK,
    Exercise,
    as_python,
)
from maskdiff_edu.course.tasks import Answer, Outcome, run_test
from maskdiff_edu.course.workshop import Bench, Gone, Workshop

MAX_STARTS = 4  #: of a notebook whose process ends before its last cell
MAX_NOTEBOOK = 50 * 2**20  #: bytes


@dataclass
class Result:
    """What a notebook earned, exercise by exercise."""

    assignment: str
    of: float = 0.0
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)  #: by exercise
    written: dict[str, str] = field(default_factory=dict)  #: answers that a person reads
    notes: list[str] = field(default_factory=list)  #: what the student should know
    published: list[str] = field(default_factory=list)  #: exercises with the solution's very code
    at_home: list[int] = field(default_factory=list)  #: cells left out because they say so, from 1
    isolation: str = ""
    seconds: float = 0.0

    @property
    def points(self) -> float:
        """Of all tests so far."""
        return sum(o.points for outcomes in self.outcomes.values() for o in outcomes)


@dataclass(frozen=True)
class Graded:
    """A person, what they handed in, and what it earned."""

    student: str
    name: str
    path: str
    late: bool
    result: Result
    written: Mapping[str, float] = field(default_factory=dict)  #: points of what was read

    @property
    def written_points(self) -> float:
        """Of the written answers that were read."""
        return sum(self.written.values())

    @property
    def points(self) -> float:
        """Of the tests, and of the written answers that were read."""
        return self.result.points + self.written_points

    @property
    def unread(self) -> list[str]:
        """Written answers that nobody has given points yet."""
        return [q for q, text in self.result.written.items() if text and q not in self.written]


def grade(
    notebook: bytes,
    kit: Kit,
    workshop: Workshop,
    report: Callable[[Result], None] = lambda _: None,
) -> Result:
    """Run a submitted notebook and its tests; `report` is told after every test.

    Never raises for what a notebook holds or does: that costs its own points only, and `notes`
    says it.
    """
    start = time.monotonic()
    result = Result(kit.name, of=kit.points)
    try:
        cells, stamp = read_notebook(notebook)
    except ValueError as error:
        result.notes.append(str(error))
        cells, stamp = [], {}
    if cells:
        result.notes += _about_stamp(stamp, kit)
    places = find_exercises(cells, kit.exercises, result.notes)
    result.at_home = [i + 1 for i in _at_home(cells) if i not in places.values()]
    for exercise in kit.exercises:
        if exercise.written:
            at = places.get(exercise.name)
            answer = "" if at is None else _written_answer(cells, at, kit, exercise.name)
            result.written[exercise.name] = answer
    asked = {e.name: places[e.name] for e in kit.exercises if not e.written and e.name in places}
    result.published = [q for q, at in asked.items() if _is_published(cells[at]["source"], kit, q)]
    _Run(cells, asked, kit, result, report).run(workshop)
    for exercise in kit.exercises:
        if not exercise.written and exercise.name not in result.outcomes:
            why = "this exercise is not in the notebook"
            if exercise.name in places:
                why = "the notebook's process ended before this exercise"
            result.outcomes[exercise.name] = _all_fail(kit, exercise.name, why)
    result.outcomes = {e.name: result.outcomes[e.name] for e in kit.exercises if not e.written}
    result.seconds = time.monotonic() - start
    return result


def _written_answer(cells: Sequence[Mapping[str, Any]], at: int, kit: Kit, exercise: str) -> str:
    """What stands below a question: in its cell, and in Markdown cells that were put behind it."""
    text = cells[at]["source"].partition("\n")[2].replace(WRITTEN_BLANK, "").strip()
    parts = [text.removeprefix(kit.questions[exercise]).strip()]
    ours = {"".join(cell["source"]).strip() for cell in kit.solution["cells"]}
    for cell in cells[at + 1 :]:
        if cell["cell_type"] != "markdown" or cell["source"].strip() in ours:
            break
        parts.append(cell["source"].strip())
    return "\n\n".join(filter(None, parts))


def read_notebook(data: bytes) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """Cells and stamp of a notebook, read from raw JSON: ids may be double or missing.

    Raises: ValueError, in words for the student, for what is no notebook.
    """
    if len(data) > MAX_NOTEBOOK:
        raise ValueError(
            f"expected a notebook of at most {MAX_NOTEBOOK // 2**20} MB, got "
            f"{len(data) // 2**20}: clear its outputs and hand it in again"
        )
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        read = [_read_cell(cell) for cell in cells]
        metadata = notebook.get("metadata") or {}
        stamp = metadata.get("maskdiff") if isinstance(metadata, dict) else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(
            "expected a notebook (.ipynb), got a file that is none: download it again from where "
            "you edited it, and hand that file in"
        ) from None
    return read, stamp if isinstance(stamp, dict) else {}


def _read_cell(cell: Any) -> dict[str, Any]:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(source) if isinstance(source, list) else str(source)
    metadata = cell.get("metadata")
    ours = metadata.get("maskdiff") if isinstance(metadata, dict) else None
    exercise = ours.get("exercise") if isinstance(ours, dict) else None
    kind = cell.get("cell_type")
    return {"cell_type": kind, "source": text, "exercise": exercise}


def find_exercises(
    cells: list[dict[str, Any]], exercises: tuple[Exercise, ...], notes: list[str]
) -> dict[str, int]:
    """Where each exercise stands: by its marker and the functions it defines, then by the
    metadata of its cell, then wherever its functions are defined. Never by position."""
    places: dict[str, int] = {}
    for exercise in exercises:
        kind = "markdown" if exercise.written else "code"
        same = [i for i, cell in enumerate(cells) if cell["cell_type"] == kind]
        marked = [i for i in same if _marker(cells[i]["source"]) == exercise.name]
        tagged = [i for i in same if cells[i]["exercise"] == exercise.name]
        defining = [i for i in same if _defines(cells[i]["source"]) >= set(exercise.functions)]
        if exercise.written or not exercise.functions:
            defining = []
        both = [i for i in marked if i in defining]
        found = both or marked or tagged or defining
        if len(found) > 1:
            notes.append(
                f"{exercise.name} stands in {len(found)} cells; the last of them is graded"
            )
        if found and not marked:
            notes.append(f"{exercise.name} was found without its first line, `# EXERCISE …`")
        if found:
            places[exercise.name] = found[-1]
    return places


def _at_home(cells: list[dict[str, Any]]) -> list[int]:
    return [
        i
        for i, cell in enumerate(cells)
        if cell["cell_type"] == "code" and cell["source"].lstrip().startswith(AT_HOME)
    ]


def _marker(source: str) -> str | None:
    found = EXERCISE.match(source.lstrip().partition("\n")[0].strip())
    return found[1] if found else None


def _is_published(source: str, kit: Kit, exercise: str) -> bool:
    """Whether a cell's program is the public source's: as it stands there, or as a course has it,
    this one, the edition for self-study or any other."""
    public = kit.answers[exercise]
    used = {name: options for name, options in kit.told.items() if name in public}
    ours = [public, *(resolve(public, told, kit.told, exercise) for told in every_told(used))]
    functions = next(e.functions for e in kit.exercises if e.name == exercise)
    return _program(source, functions) in [_program(one, functions) for one in ours]


def _program(source: str, functions: Sequence[str]) -> str:
    """A cell's program without comments and layout; "?" and the text for what is none.

    Where the functions are all defined, the program is they: what stands around them may differ.
    """
    try:
        body = ast.parse(as_python(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"? {source}"
    named = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    if functions and set(functions) <= set(named):
        body = [named[name] for name in functions]
    return "\n".join(map(ast.dump, body))


def _defines(source: str) -> set[str]:
    """The names that a cell's top level defines; a cell that does not parse defines none."""
    try:
        tree = ast.parse(as_python(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _about_stamp(stamp: Mapping[str, Any], kit: Kit) -> list[str]:
    if not stamp:
        return ["the notebook does not say which assignment it is; it was graded as this one"]
    if stamp.get("assignment") != kit.name:
        return [f"this is a notebook of another assignment ({stamp.get('assignment')!s:.60})"]
    if stamp.get("version") != kit.version or stamp.get("course") != kit.course:
        return [
            "this notebook was made for another version of the assignment or another course; it "
            "was graded by the tests of this one"
        ]
    return []


@dataclass
class _Run:
    """A notebook on its way through a process, exercise by exercise."""

    cells: list[dict[str, Any]]
    places: Mapping[str, int]  # exercise -> the cell behind which it is tested
    kit: Kit
    result: Result
    report: Callable[[Result], None]
    told_of_error: bool = False  # of a cell that is no exercise

    def run(self, workshop: Workshop) -> None:
        """Run the cells in order, each exercise's tests right behind it; begin again without the
        cell that ended the process."""
        skipped = {number - 1 for number in self.result.at_home}
        for _ in range(MAX_STARTS if self.cells else 0):
            at = -1
            try:
                with workshop.open() as bench:
                    self.result.isolation = bench.isolation
                    for at, cell in enumerate(self.cells):
                        if cell["cell_type"] == "code" and at not in skipped:
                            self._run_cell(bench, at)
                return
            except Gone as gone:
                if at < 0:
                    self.result.notes.append(f"the notebook could not be started: {gone}")
                    return
                skipped.add(at)
                self.result.notes.append(f"cell {at + 1} was left out: {gone}")
                for exercise in self._exercises_at(at):
                    failed = _all_fail(self.kit, exercise, str(gone))
                    kept = self.result.outcomes.get(exercise, [])
                    self.result.outcomes[exercise] = kept + failed[len(kept) :]

    def _exercises_at(self, at: int) -> list[str]:
        return [name for name, place in self.places.items() if place == at]

    def _functions_of(self, exercise: str) -> int:
        return next(len(e.functions) for e in self.kit.exercises if e.name == exercise)

    def _name_of(self, at: int) -> str:
        """A cell that is no exercise, as its reader would call it; Colab numbers no cells."""
        above = [name for name, place in self.places.items() if place < at]
        latest = max(above, key=lambda name: self.places[name], default=None)
        return f"cell {at + 1}" if latest is None else f"cell {at + 1}, below {latest},"

    def _run_cell(self, bench: Bench, at: int) -> None:
        source = self.cells[at]["source"]
        error = bench.run_cell(source, at + 1)
        if error and not self._exercises_at(at) and not self.told_of_error:
            # Only the first: one that failed makes others fail.
            self.told_of_error = True
            self.result.notes.append(f"{self._name_of(at)} ended with {error}")
        for exercise in self._exercises_at(at):
            if exercise in self.result.outcomes:
                continue
            if error and BLANK not in source:
                self.result.notes.append(f"{exercise}: its cell ended with {error}")
            if source.count(BLANK) >= self._functions_of(exercise) > 0:
                self.result.outcomes[exercise] = _all_fail(self.kit, exercise, "this is blank")
                self.report(self.result)
                continue
            outcomes = self.result.outcomes.setdefault(exercise, [])
            for test in self.kit.tests_of(exercise):
                with bench.test() as call:
                    outcomes.append(run_test(test, Answer(call.ask), self.kit.given))
                self.report(self.result)


def _all_fail(kit: Kit, exercise: str, why: str) -> list[Outcome]:
    return [
        Outcome(test.name, test.says, 0.0, test.points, why, "") for test in kit.tests_of(exercise)
    ]
