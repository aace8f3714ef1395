"""Common mistakes as small patches of a solution: with them the tests themselves are tested."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maskdiff_edu.course.conventions import resolve
from maskdiff_edu.course.kits import Kit
from maskdiff_edu.errors import SettingsError


@dataclass(frozen=True)
class Mistake:
    """One wrong idea: what it changes in the solution, and what the grader must answer."""

    exercise: str
    name: str  #: the idea, in an instructor's words
    old: str = ""  #: a part of the source's solution, exactly once in it
    new: str = ""  #: what a student with this idea writes there
    loses: tuple[str, ...] = ()  #: the tests that fail, and no others
    says: str = ""  #: a part of a message that the student must read
    told: str = ""  #: the convention that is taken for another, instead of `old` and `new`
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The numbers and conventions of the courses in which all this holds; none: of any course."""

    def fits(self, kit: Kit) -> bool:
        """Whether it can be made in this course, and is a mistake there."""
        if any(kit.numbers[name] not in values for name, values in self.only.items()):
            return False
        return with_mistake(kit, self) != kit.solution


def with_mistake(kit: Kit, mistake: Mistake) -> dict[str, Any]:
    """The solution notebook with the mistake made. Raises: SettingsError if it does not fit.

    It is the solution itself in a course whose conventions leave no room for the mistake.
    """
    text, chosen = kit.answers[mistake.exercise], dict(kit.numbers)
    if mistake.told:
        options = kit.told[mistake.told]
        next_one = options.index(chosen[mistake.told]) + 1
        chosen[mistake.told] = options[next_one % len(options)]
    elif text.count(mistake.old) != 1:
        raise SettingsError(
            f"mistake {mistake.name!r}: expected {mistake.old!r} once in {mistake.exercise}, found "
            f"it {text.count(mistake.old)} times"
        )
    else:
        text = text.replace(mistake.old, mistake.new)
    return _with_texts(kit, {mistake.exercise: text}, chosen)


def with_answers(kit: Kit, answers: Mapping[str, str]) -> dict[str, Any]:
    """The solution notebook with other texts in some exercises' cells, under the first line.

    The texts may have blocks for the conventions, as the source has.
    """
    texts = {}
    for exercise, text in answers.items():
        first = kit.answers[exercise].partition("\n")[0]
        texts[exercise] = f"{first}\n{text.strip()}\n"
    return _with_texts(kit, texts, kit.numbers)


def _with_texts(kit: Kit, texts: Mapping[str, str], chosen: Mapping[str, Any]) -> dict[str, Any]:
    notebook = copy.deepcopy(dict(kit.solution))
    for cell in notebook["cells"]:
        exercise = cell["metadata"].get("maskdiff", {}).get("exercise")
        if exercise in texts:
            where = f"{kit.name}, {exercise}"
            text = resolve(texts[exercise], chosen, kit.told, where)
            cell["source"] = text.splitlines(keepends=True)
    return notebook
