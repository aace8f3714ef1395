"""Numbers out of range, in one sentence: what was expected and what came.

Settings may come from a card that anyone wrote, so types count too: no text, NaN, True for 1.
"""

from collections.abc import Sequence


def require_number(name: str, value: object, low: float, high: float, *, whole=False) -> None:
    """Raise ValueError unless `value` is a number in low..high, an int if `whole`."""
    if not _is_number(value, whole) or not low <= value <= high:
        number = "whole number" if whole else "number"
        raise ValueError(f"{name} must be a {number} in {low}..{high}, got {value!r}")


def require_rise(
    name: str, pair: Sequence[float], low: float, high: float, *, whole=False, positive=False
) -> None:
    """Raise ValueError unless low <= pair[0] <= pair[1] <= high; if `positive`, 0 < pair[1]."""
    are_numbers = len(pair) == 2 and all(_is_number(value, whole) for value in pair)
    if not are_numbers or not low <= pair[0] <= pair[1] <= high or (positive and not pair[1] > 0):
        numbers = " in whole numbers" * whole + " to more than 0" * positive
        raise ValueError(f"{name} must rise within {low}..{high}{numbers}, got {pair}")


def _is_number(value: object, whole: bool) -> bool:
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)
