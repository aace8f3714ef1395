"""An assignment made for one course: what the student gets, and what the grader needs.

A kit is a folder::

    hw01_noising.ipynb                   for students
    instructor/hw01_noising.ipynb        the solution
    instructor/hw01_noising.json         the course's numbers, the exercises, the source's answers
    instructor/hw01_noising.py           the hidden tests
    instructor/hw01_noising_mistakes.md  which mistake fails which test
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from maskdiff_edu import __version__
from maskdiff_edu.course.source import (
    Course,
    Exercise,
    course_numbers,
    make_notebook,
    question_of,
    read_source,
    title_of,
)
from maskdiff_edu.course.tasks import Given, Test, Tests, load_tests, public_mark
from maskdiff_edu.errors import SettingsError
from maskdiff_edu.files import read_json, whole_folder


@dataclass(frozen=True)
class Kit:
    """What a grader knows of an assignment."""

    folder: Path
    name: str
    course: str  #: its name, as students may read it
    version: str  #: of the source and the secret
    exercises: tuple[Exercise, ...]
    numbers: Mapping[str, Any]
    secret: str
    tests: tuple[Test, ...]  #: those that students have, then the hidden ones
    solution: Mapping[str, Any]  #: the notebook
    questions: Mapping[str, str]  #: the texts of the exercises that are answered in words
    told: Mapping[str, tuple[str, ...]]  #: the conventions, with their options
    answers: Mapping[str, str]  #: the exercises' cells as the public source has them

    @property
    def fingerprint(self) -> str:
        """Changes with everything that a grade depends on: the source, the course, the tests."""
        hidden = (self.folder / "instructor" / f"{self.name}.py").read_text(encoding="utf-8")
        public = public_tests(self.name).read_text(encoding="utf-8")
        return "\n".join([self.version, self.secret, __version__, public, hidden])

    @property
    def title(self) -> str:
        """The notebook's first heading."""
        return title_of(self.solution)

    @property
    def given(self) -> Given:
        return Given(self.secret, self.numbers)

    def tests_of(self, exercise: str) -> list[Test]:
        """The tests of an exercise, in their order."""
        return [test for test in self.tests if test.exercise == exercise]

    @property
    def points(self) -> float:
        """What all tests give together."""
        return sum(test.points for test in self.tests)

    @property
    def written(self) -> dict[str, float]:
        """The points of each answer that a person reads."""
        return {e.name: e.points for e in self.exercises if e.written}

    @property
    def total(self) -> float:
        """What the tests and all written answers give together."""
        return self.points + sum(self.written.values())


def make_kit(source: Path, secret: str, out: Path, *, course: str = "course") -> Kit:
    """Make an assignment for a course, from its source and the hidden tests beside it.

    source: the notebook; a module of the same name lies beside it.
    Raises: SettingsError, and nothing is written, where the source or the tests do not fit.

    >>> make_kit(Path("hw01.ipynb"), "spring 2027", Path("kit"))
    Traceback (most recent call last):
        ...
    maskdiff_edu.errors.SettingsError: hw01.ipynb: expected an assignment's notebook, found none
    """
    read = read_source(source)
    own = Course(secret, read.name)
    numbers = course_numbers(read, own)
    version = f"{read.version}-{public_mark(own.secret, 'kit')}"
    student = make_notebook(read, numbers, course, solved=False)
    hidden = source.with_suffix(".py")
    _require_tests(read.exercises, tests_in(read.name, hidden), source.name)
    described = {
        "name": read.name,
        "course": course,
        "version": version,
        "exercises": [asdict(exercise) for exercise in read.exercises],
        "numbers": numbers,
        "secret": own.secret,
        "told": read.told,
        "answers": read.answers,
        "questions": {e.name: question_of(student, e) for e in read.exercises if e.written},
    }
    with whole_folder(out, overwrite=True) as folder:
        instructor = folder / "instructor"
        instructor.mkdir(parents=True)
        solved = make_notebook(read, numbers, course, solved=True)
        for place, made in ((folder, student), (instructor, solved)):
            made["metadata"]["maskdiff"]["version"] = version
            _write_json(place / f"{read.name}.ipynb", made)
        _write_json(instructor / f"{read.name}.json", described)
        shutil.copyfile(hidden, instructor / hidden.name)
        table = mistakes_table(load_tests(hidden), read.name)
        (instructor / f"{read.name}_mistakes.md").write_text(table, encoding="utf-8")
    return read_kit(out)


def read_kit(folder: Path) -> Kit:
    """Read what `make_kit` wrote.

    >>> read_kit(Path("nowhere"))
    Traceback (most recent call last):
        ...
    maskdiff_edu.errors.SettingsError: nowhere: expected an assignment that `make assignments` \
made, found no instructor/*.json in it
    """
    instructor = folder / "instructor"
    described = next(iter(instructor.glob("*.json")), None)
    if described is None:
        raise SettingsError(
            f"{folder}: expected an assignment that `make assignments` made, found no "
            "instructor/*.json in it"
        )
    fields = read_json(described)
    exercises = tuple(
        Exercise(e["name"], tuple(e["functions"]), e["written"], e["index"], e["points"])
        for e in fields.pop("exercises")
    )
    fields["told"] = {name: tuple(options) for name, options in fields["told"].items()}
    tests = tests_in(fields["name"], described.with_suffix(".py"))
    solution = read_json(described.with_suffix(".ipynb"))
    return Kit(folder, **fields, exercises=exercises, tests=tuple(tests), solution=solution)


def mistakes_table(tests: Any, name: str) -> str:
    """The common mistakes that the tests know, as a table: what fails, and what a student reads."""
    lines = [f"# {name}: mistakes that the tests know", ""]
    lines += ["| exercise | mistake | fails | the student reads, in part |", "|---|---|---|---|"]
    for mistake in getattr(tests, "MISTAKES", []):
        failed = ", ".join(f"`{test}`" for test in mistake.loses)
        cells = (mistake.exercise, mistake.name, failed, mistake.says)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def public_tests(name: str) -> Traversable:
    """The file with the tests that students have."""
    return resources.files("maskdiff_edu.course.public") / f"{name}.py"


def tests_in(name: str, hidden: Path) -> list[Test]:
    """The public tests of an assignment, which ship with the package, then the hidden ones."""
    with resources.as_file(public_tests(name)) as path:
        found: list[Tests] = [load_tests(path).TESTS, load_tests(hidden).TESTS]
    return [test for tests in found for test in tests.all]


def _require_tests(exercises: tuple[Exercise, ...], tests: list[Test], name: str) -> None:
    known = {exercise.name for exercise in exercises if not exercise.written}
    tested = {test.exercise for test in tests}
    if known != tested:
        raise SettingsError(
            f"{name}: expected a test of every exercise and no other, got tests of "
            f"{sorted(tested)} for the exercises {sorted(known)}"
        )
    names = [test.name for test in tests]
    if len(set(names)) < len(names):
        raise SettingsError(f"{name}: expected tests of different names, got {sorted(names)}")
    if bad := [test.name for test in tests if not test.points > 0]:
        raise SettingsError(f"{name}: expected a test to give points, got none from {bad}")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
