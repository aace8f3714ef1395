"""Common mistakes as small patches of a solution: with them the tests themselves are tested."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskdiff_edu.errors import SettingsError


@dataclass(frozen=True)
class Mistake:
    """One wrong idea: what it changes in the solution, and what the grader must answer."""

    exercise: str
    name: str  #: the idea, in an instructor's words
    old: str  #: a part of the solution, exactly once in it
    new: str  #: what a student with this idea writes there
    loses: tuple[str, ...]  #: the tests that fail, and no others
    says: str  #: a part of a message that the student must read


def with_mistake(solution: Mapping[str, Any], mistake: Mistake) -> dict[str, Any]:
    """The solution notebook with the mistake made. Raises: SettingsError if it does not fit."""
    notebook = copy.deepcopy(dict(solution))
    cell = _cell(notebook, mistake.exercise)
    text = "".join(cell["source"])
    if text.count(mistake.old) != 1:
        raise SettingsError(
            f"mistake {mistake.name!r}: expected {mistake.old!r} once in {mistake.exercise}, found "
            f"it {text.count(mistake.old)} times"
        )
    cell["source"] = text.replace(mistake.old, mistake.new)
    return notebook


def with_answers(solution: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, Any]:
    """The solution notebook with other texts in some exercises' cells, under the first line."""
    notebook = copy.deepcopy(dict(solution))
    for exercise, text in answers.items():
        cell = _cell(notebook, exercise)
        first = "".join(cell["source"]).partition("\n")[0]
        cell["source"] = f"{first}\n{text.strip()}\n"
    return notebook


def _cell(notebook: Mapping[str, Any], exercise: str) -> dict[str, Any]:
    [cell] = [
        cell
        for cell in notebook["cells"]
        if cell["metadata"].get("maskdiff", {}).get("exercise") == exercise
    ]
    return cell
