"""Conventions of a course: told in words, and resolved in code before a student sees it.

A convention is a matter of agreement: an order, a unit, which of two rules. A source declares it in
its `# COURSE` cell, and students read in the text which one is theirs. No name in their notebook
holds it, so code that was written for another course is not right in this one.

In the source's code it stands in two ways. In a text, `"{{NAME}}"` becomes the course's option.
And code that depends on it has a block for each option, one below the other::

    with NAME == "one way":
        return first(x)
    with NAME == "another":
        return second(x)

Only the course's block gets into a notebook, without its first line. `with NAME != "one way":` is
for all other options. It is a `with` since the linter can read it and Python cannot run it: the
source's own cell is no answer anywhere, not even below a line `NAME = "another"`.
"""

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskdiff_edu.errors import SettingsError

BLOCK = re.compile(r'([ \t]*)with (\w+) (==|!=) "([^"]*)":$')
NAMED = re.compile(r"\{\{(\w+)\}\}")

Told = Mapping[str, Sequence[str]]  # a convention -> its options


def declared(course_cells: Sequence[str], name: str) -> dict[str, tuple[str, ...]]:
    """The conventions that `told = course.told(...)` declares, read without running it."""
    calls = [
        node
        for cell in course_cells
        for node in ast.walk(ast.parse(cell))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "course.told"
    ]
    wrong = (
        f'{name}: expected conventions as in `told = course.told(NAME=("one way", "another"))`, '
        "once, each with two or more texts without quotation marks or backslashes; "
        "nothing is written"
    )
    if len(calls) > 1 or any(call.args for call in calls):
        raise SettingsError(wrong)
    told = {}
    for keyword in calls[0].keywords if calls else []:
        try:
            options = tuple(ast.literal_eval(keyword.value))
        except (ValueError, TypeError):
            raise SettingsError(wrong) from None
        texts = [one for one in options if isinstance(one, str) and not re.search(r"[\"'\\]", one)]
        if keyword.arg is None or len(set(texts)) < max(len(options), 2):
            raise SettingsError(wrong)
        told[keyword.arg] = options
    return told


def every_told(conventions: Told) -> Iterator[dict[str, str]]:
    """What a course may tell: one option of each convention, in every way.

    >>> list(every_told({"ENDS": ("both", "none")}))
    [{'ENDS': 'both'}, {'ENDS': 'none'}]
    """
    for options in itertools.product(*conventions.values()):
        yield dict(zip(conventions, options, strict=True))


def resolve(code: str, chosen: Mapping[str, Any], told: Told, where: str) -> str:
    """Code as one course has it: the blocks of its conventions only, and their words in texts.

    chosen: the course's numbers, its conventions among them; where: what an error names.
    Raises: SettingsError for a convention or an option that is not declared, and where the blocks
    of a convention, one below the other, do not have every option once.

    >>> code = 'with ENDS == "both":\\n    x = 1\\nwith ENDS == "none":\\n    x = 0'
    >>> resolve(code, {"ENDS": "none"}, {"ENDS": ("both", "none")}, "hw01")
    'x = 0'
    """
    text = "\n".join(_resolved(code.splitlines(), chosen, told, where))
    for name in NAMED.findall(text):
        _require_declared(name, told, where)
    return NAMED.sub(lambda found: str(chosen[found[1]]), text)


def _resolved(
    lines: Sequence[str], chosen: Mapping[str, Any], told: Told, where: str
) -> Iterator[str]:
    at = 0
    while at < len(lines):
        first = BLOCK.match(lines[at])
        if first is None:
            if any(re.match(rf"\s*with\b.*\b{name}\b", lines[at]) for name in told):
                raise SettingsError(
                    f"{where}: expected the block of a convention to begin as "
                    f'`with NAME == "an option":`, got {lines[at].strip()!r}; nothing is written'
                )
            yield lines[at]
            at += 1
            continue
        indent, name = first[1], first[2]
        _require_declared(name, told, where)
        met: list[str] = []
        while (block := _block_at(lines, at, indent, name)) is not None:
            is_not, option, body, at = block
            if option not in told[name]:
                raise SettingsError(
                    f"{where}: expected one of {list(told[name])} for {name}, got {option!r}; "
                    "nothing is written"
                )
            here = [one for one in told[name] if (one == option) != is_not]
            met += here
            kept = list(_resolved(body, chosen, {**told, name: here}, where))
            if chosen[name] in here:
                yield from kept
        if sorted(met) != sorted(told[name]):
            raise SettingsError(
                f"{where}: expected a block for each option of {name}, {list(told[name])}, one "
                f"below the other, got them for {met}; nothing is written"
            )


def _block_at(
    lines: Sequence[str], at: int, indent: str, name: str
) -> tuple[bool, str, list[str], int] | None:
    """The next block of a convention, if it comes next: whether it is of all other options, the
    option, its lines without their indentation, and where it ends."""
    start = at
    while start < len(lines) and not lines[start].strip():
        start += 1
    found = BLOCK.match(lines[start]) if start < len(lines) else None
    if found is None or found[1] != indent or found[2] != name:
        return None
    deeper = indent + "    "
    end = start + 1
    for i in range(start + 1, len(lines)):
        if lines[i].startswith(deeper):
            end = i + 1
        elif lines[i].strip():
            break
    body = [indent + line.removeprefix(deeper) if line else "" for line in lines[start + 1 : end]]
    return found[3] == "!=", found[4], body, end


def _require_declared(name: str, told: Told, where: str) -> None:
    if name not in told:
        raise SettingsError(
            f"{where}: expected one of the conventions {list(told)}, got {name}; nothing is written"
        )
