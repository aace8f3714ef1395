"""What a student's notebook uses: the public tests, on the functions that were just written."""

from collections.abc import Callable
from importlib import resources
from typing import Any

from maskdiff_edu.course.tasks import Given, Tests, book_address, load_tests, local_answer
from maskdiff_edu.errors import SettingsError


class Checks:
    """The public tests of an assignment; call it with an exercise and the functions to test."""

    def __init__(self, tests: Tests, given: Given) -> None:
        self._tests, self._given = tests, given

    def __call__(self, exercise: str, *functions: Callable[..., Any]) -> None:
        """Test functions, known by their own names, and print how each test went."""
        names = {getattr(function, "__name__", "?"): function for function in functions}
        spoilt: set[str] = set()
        outcomes = self._tests.run(exercise, local_answer(names, spoilt), self._given)
        if not outcomes:
            known = sorted({test.exercise for test in self._tests.all})
            raise SettingsError(f"check: expected one of {known}, got {exercise!r}")
        for outcome in outcomes:
            print(f"{'✓' if outcome.passed else '✗'} {outcome.says}")
            if not outcome.passed:
                print(f"  {outcome.message}")
                if outcome.see:
                    print(f"  Read on: {book_address()}{outcome.see}")
        for name in sorted(spoilt):
            print(
                f"! {name} changes an array that it is given, so later cells get the changed one; "
                "work on a copy, x.copy() or x.clone()"
            )


def checks(assignment: str, **numbers: Any) -> Checks:
    """The public tests of an assignment, for a course with these numbers.

    Raises: SettingsError for an unknown assignment.
    """
    folder = resources.files("maskdiff_edu.course.public")
    known = sorted(p.name[:-3] for p in folder.iterdir() if p.name.startswith("hw"))
    if assignment not in known:
        raise SettingsError(f"assignment: expected one of {known}, got {assignment!r}")
    with resources.as_file(folder / f"{assignment}.py") as path:
        return Checks(load_tests(path).TESTS, Given("public", numbers))
