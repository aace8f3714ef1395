"""Results as frozen dataclasses, and as the plain JSON of the files that hold them.

A result is a `Record`: its fields are the keys of the file, its annotations say what a file may
hold there. So the format of a file stands in one place, and a file of another one is refused in
a sentence.
"""

import math
from dataclasses import MISSING, Field, dataclass, fields
from types import NoneType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from maskdiff_edu.errors import ResultsError

_PLAIN = {int: "a whole number", float: "a finite number", str: "a text"}


@dataclass(frozen=True)
class Record:
    """Base of results that are written to files.

    What has a default is left out of the file where it holds it. Keys that no field stands for,
    such as those of a later version, are ignored.

    >>> @dataclass(frozen=True)
    ... class Score(Record):
    ...     auprc: float
    ...     ci: tuple[float, float] | None = None
    >>> Score(0.5).as_json(), Score.from_json({"auprc": 1, "ci": [0, 1]}, "a.json")
    ({'auprc': 0.5}, Score(auprc=1, ci=(0, 1)))
    """

    def as_json(self) -> dict[str, Any]:
        """The keys and plain values that a file holds."""
        values = {field: getattr(self, field.name) for field in fields(self)}
        return {_key(f): as_json(value) for f, value in values.items() if value != _default(f)}

    @classmethod
    def from_json(cls, stored: object, where: str) -> Self:
        """What a file holds; `where` says in an error which file and place it was.

        Raises: `ResultsError` where a key is missing or holds something else.
        """
        if not isinstance(stored, dict):
            raise ResultsError(f"{where}: expected an object {{...}}, got {shortened(stored)}")
        kinds, values = get_type_hints(cls), {}
        for field in fields(cls):
            key = _key(field)
            if key in stored:
                values[field.name] = read(kinds[field.name], stored[key], f"{where}: {key}")
            elif _default(field) is MISSING:
                raise ResultsError(f"{where}: expected {key}, got {shortened(sorted(stored))}")
        return cls(**values)


def as_json(value: Any) -> Any:
    """A value of a record, or several of them, as plain JSON."""
    if isinstance(value, Record):
        return value.as_json()
    if hasattr(value, "_asdict"):  # a named tuple, such as `metrics.PairedDifference`
        return value._asdict()
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(inner) for inner in value]
    return value


def read(kind: Any, value: Any, where: str) -> Any:
    """A value from JSON as the annotation `kind` wants it. Raises `ResultsError`."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if NoneType in inner:  # X | None
        return None if value is None else read(inner[0], value, where)
    if origin is Literal:
        return _checked(value in inner, value, f"one of {inner}", where)
    if origin is dict:
        _checked(isinstance(value, dict), value, "an object {...}", where)
        return {name: read(inner[1], v, f"{where}: {name}") for name, v in value.items()}
    if origin is tuple:
        _checked(isinstance(value, list | tuple), value, "a list [...]", where)
        every = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        _checked(len(value) == len(every), value, f"{len(every)} values", where)
        pairs = enumerate(zip(every, value, strict=True))
        return tuple(read(k, v, f"{where}[{i}]") for i, (k, v) in pairs)
    if issubclass(kind, Record):
        return kind.from_json(value, where)
    if hasattr(kind, "_fields"):  # a named tuple
        _checked(isinstance(value, dict) and {*kind._fields} <= value.keys(), value,
                 f"an object with {', '.join(kind._fields)}", where)  # fmt: skip
        return kind(**{n: read(k, value[n], where) for n, k in get_type_hints(kind).items()})
    return _checked(_is_plain(value, kind), value, _PLAIN[kind], where)


def _is_plain(value: object, kind: type) -> bool:
    """Whether it is a text or a number of that kind; True is no 1, and NaN no number."""
    if isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float) and -math.inf < value < math.inf
    return isinstance(value, kind)


def _checked(right: bool, value: Any, expected: str, where: str) -> Any:
    if not right:
        raise ResultsError(f"{where}: expected {expected}, got {shortened(value)}")
    return value


def _key(field: Field) -> str:
    return field.metadata.get("key", field.name)


def _default(field: Field) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def shortened(value: object) -> str:
    """A value for an error's one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
