"""The assignments' tests, tested: the solution gets all, a blank nothing, mistakes their price.

A mistake that no test catches is a misconception that earns full marks.
"""

import contextlib
import dis
import json
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from maskdiff_edu.course.grading import Result, grade
from maskdiff_edu.course.kits import Kit, make_kit
from maskdiff_edu.course.mistakes import with_answers, with_mistake
from maskdiff_edu.course.source import AT_HOME, as_python
from maskdiff_edu.course.tasks import Answer, load_tests, local_answer, run_test
from maskdiff_edu.course.workshop import Workshop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="grading needs Linux or macOS")

FOLDER = Path(__file__).resolve().parent.parent / "book" / "assignments"
NAMES = sorted(path.stem for path in FOLDER.glob("hw*.ipynb"))
COURSES = ("autumn", "october")  # of other numbers and conventions; every mistake fits one


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
    The solution and the blank are graded with them, but for those that no grader runs."""
    left_out = ("# CHECK", AT_HOME)
    cells = [c for c in notebook["cells"] if not "".join(c["source"]).startswith(left_out)]
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
        result = graded(without_pictures(with_answers(kit, answers)), kit, workshop)
        assert failures(result) == {}, name


def test_no_exercise_needs_another(kit: Kit) -> None:
    """A mistake in one would cost points in both."""
    used = {
        exercise.name: globals_in(compile(cell_of(kit.solution, exercise.name), "q", "exec"))
        for exercise in kit.exercises
        if not exercise.written
    }
    defined = {exercise.name: set(exercise.functions) for exercise in kit.exercises}
    shared = {
        (one, other): names & defined[other]
        for one, names in used.items()
        for other in used
        if one != other and names & defined[other]
    }
    assert shared == {}


def test_every_mistake_costs_its_tests_and_gets_its_message(kit: Kit, patches) -> None:
    """In this process, which takes a tenth of the time: the tests above look at the grader's."""
    assert len(patches.MISTAKES) >= 8
    names = names_after(without_pictures(kit.solution))
    for mistake in patches.MISTAKES:
        if not mistake.fits(kit):
            continue
        wrong = dict(names)
        exec(cell_of(with_mistake(kit, mistake), mistake.exercise), wrong)
        outcomes = [
            run_test(test, seeded_answer(wrong), kit.given)
            for test in kit.tests_of(mistake.exercise)
        ]
        failed = {outcome.test: outcome.message for outcome in outcomes if not outcome.passed}
        assert set(failed) == set(mistake.loses), (mistake.name, failed)
        assert any(mistake.says in message for message in failed.values()), (mistake.name, failed)


def globals_in(code: types.CodeType) -> set[str]:
    """The names that a cell reads from outside its functions, their arguments left aside."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*map(globals_in, inner))


def seeded_answer(names: dict) -> Answer:
    """As a process of its own would answer: its global random state is the grader's, and apart."""
    ask = local_answer(names)._ask

    def apart(*call):
        states = random.getstate(), np.random.get_state()  # noqa: NPY002
        with torch.random.fork_rng():
            for seed in (random.seed, np.random.seed, torch.manual_seed):
                seed(0)
            reply = ask(*call)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        return reply

    return Answer(apart)


def names_after(notebook: dict) -> dict:
    """What the cells of a notebook define; one that only shows may miss what was left out."""
    names: dict = {"display": print}
    for cell in notebook["cells"]:
        text = as_python("".join(cell["source"]))
        exercise = "exercise" in cell["metadata"].get("maskdiff", {})
        if cell["cell_type"] == "code":
            with contextlib.nullcontext() if exercise else contextlib.suppress(Exception):
                exec(text, names)
    return names


def cell_of(notebook: dict, exercise: str) -> str:
    [found] = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["metadata"].get("maskdiff", {}).get("exercise") == exercise
    ]
    return found


def test_every_test_is_failed_by_some_mistake(kit: Kit, patches) -> None:
    """A test that no known mistake fails may test nothing."""
    hidden = {test.name for test in patches.TESTS.all}
    assert hidden - {name for mistake in patches.MISTAKES for name in mistake.loses} == set()


def test_the_student_sees_no_solution_and_no_hidden_test(kit: Kit, patches) -> None:
    student = (kit.folder / f"{kit.name}.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" not in student
    assert [test.name for test in patches.TESTS.all if test.name in student] == []
