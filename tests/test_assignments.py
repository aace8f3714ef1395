"""The assignments' tests, tested: the solution gets all, a blank nothing, mistakes their price.

A mistake that no test catches is a misconception that earns full marks.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskdiff_edu.course.grading import Result, grade
from maskdiff_edu.course.kits import Kit, make_kit
from maskdiff_edu.course.mistakes import with_answers, with_mistake
from maskdiff_edu.course.tasks import load_tests
from maskdiff_edu.course.workshop import Workshop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="grading needs Linux or macOS")

FOLDER = Path(__file__).resolve().parent.parent / "book" / "assignments"
NAMES = sorted(path.stem for path in FOLDER.glob("hw*.ipynb"))
COURSES = ("autumn", "spring")  # other numbers, other schedules, other orders


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with Workshop() as opened:
        yield opened


@pytest.fixture(
    scope="module",
    params=[(name, course) for name in NAMES for course in COURSES],
    ids=lambda value: "-".join(value),
)
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    name, course = request.param
    return make_kit(
        FOLDER / f"{name}.ipynb", course, tmp_path_factory.mktemp(name) / "kit", course=course
    )


@pytest.fixture(scope="module")
def patches(kit: Kit):
    """The module with the assignment's mistakes and other right solutions."""
    return load_tests(FOLDER / f"{kit.name}.py")


def without_pictures(notebook: dict) -> dict:
    """Without the cells that only show and check: no grade depends on them, and they take longest.
    The solution and the blank are graded with them."""
    cells = [c for c in notebook["cells"] if not "".join(c["source"]).startswith("# CHECK")]
    return notebook | {"cells": cells}


def graded(notebook: object, kit: Kit, workshop: Workshop) -> Result:
    return grade(json.dumps(notebook).encode(), kit, workshop)


def failures(result: Result) -> dict[str, str]:
    """Test -> message, of all tests that failed."""
    return {o.test: o.message for os in result.outcomes.values() for o in os if not o.passed}


def test_the_solution_gets_every_point(kit: Kit, workshop: Workshop) -> None:
    result = graded(kit.solution, kit, workshop)
    assert failures(result) == {}
    assert result.notes == []
    assert result.points == result.of == kit.points > 0


def test_the_untouched_notebook_gets_none(kit: Kit, workshop: Workshop) -> None:
    blank = json.loads((kit.folder / f"{kit.name}.ipynb").read_text(encoding="utf-8"))
    result = graded(blank, kit, workshop)
    assert result.points == 0
    assert result.of == kit.points


def test_other_right_solutions_get_every_point(kit: Kit, patches, workshop: Workshop) -> None:
    assert len(patches.EQUIVALENTS) >= 2
    for name, answers in patches.EQUIVALENTS.items():
        result = graded(without_pictures(with_answers(kit.solution, answers)), kit, workshop)
        assert failures(result) == {}, name


def test_every_mistake_costs_its_tests_and_gets_its_message(kit, patches, workshop) -> None:
    if kit.course != COURSES[0]:
        pytest.skip("one course is enough")
    assert len(patches.MISTAKES) >= 8
    for mistake in patches.MISTAKES:
        result = graded(without_pictures(with_mistake(kit.solution, mistake)), kit, workshop)
        failed = failures(result)
        assert set(failed) == set(mistake.loses), (mistake.name, failed)
        assert any(mistake.says in message for message in failed.values()), (mistake.name, failed)


def test_every_test_is_failed_by_some_mistake(kit: Kit, patches) -> None:
    """A test that no known mistake fails may test nothing."""
    hidden = {test.name for test in patches.TESTS.all}
    assert hidden - {name for mistake in patches.MISTAKES for name in mistake.loses} == set()


def test_the_student_sees_no_solution_and_no_hidden_test(kit: Kit, patches) -> None:
    student = (kit.folder / f"{kit.name}.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" not in student
    assert [test.name for test in patches.TESTS.all if test.name in student] == []
