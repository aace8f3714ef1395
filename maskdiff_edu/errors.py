"""What can go wrong with what a user gives, and the checks that say so in one sentence.

Every message says what was expected, what was got, and in which file or setting. The command line
turns these errors into one line; any other exception is a fault of the library and keeps its
traceback.
"""

import os
import re
from collections.abc import Sequence
from typing import TypeGuard

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+-]{0,62}[A-Za-z0-9+])?")


class Error(ValueError):
    """Something that whoever called can mend: a file, a folder, a setting."""


class ScanError(Error):
    """A scan that cannot be used."""


class CheckpointError(Error):
    """A weights file that is missing, damaged, of another network, or not to be trusted."""


class ResultsError(Error):
    """A file of results that is missing, damaged, or of other subjects than its neighbours."""


class SettingsError(Error):
    """A setting out of range, of the wrong type, or one that does not fit the others."""


class ScanWarning(UserWarning):
    """A scan that can be used, but probably not as it is: the line says what to do."""


def require_number(name: str, value: object, low: float, high: float, *, whole=False) -> None:
    """Raise SettingsError unless `value` is a number in low..high, an int if `whole`.

    Settings may come from a card that anyone wrote, so types count too: no text, NaN, True for 1.
    """
    if not _is_number(value, whole) or not low <= value <= high:
        number = "whole number" if whole else "number"
        raise SettingsError(f"{name} must be a {number} in {low}..{high}, got {value!r}")


def require_rise(
    name: str, pair: Sequence[float], low: float, high: float, *, whole=False, positive=False
) -> None:
    """Raise SettingsError unless low <= pair[0] <= pair[1] <= high; if `positive`, 0 < pair[1]."""
    are_numbers = len(pair) == 2 and all(_is_number(value, whole) for value in pair)
    if not are_numbers or not low <= pair[0] <= pair[1] <= high or (positive and not pair[1] > 0):
        numbers = " in whole numbers" * whole + " to more than 0" * positive
        raise SettingsError(f"{name} must rise within {low}..{high}{numbers}, got {pair}")


def require_name(where: str, value: object) -> None:
    """Raise SettingsError unless `value` is a name that can be part of a file's, on any system.

    >>> require_name("method", "fpm-cm")
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise SettingsError(
            f"{where}: expected a name of at most 64 letters, digits and ._+- that begins and ends "
            f"with a letter or a digit, got {repr(value)[:60]}"
        )


def readable(name: object) -> str:
    """A file's name as a text that can be written anywhere; what is not UTF-8 becomes a mark.

    >>> readable("P\\udcff_t2.nii")
    'P\ufffd_t2.nii'
    """
    return os.fsencode(str(name)).decode(errors="replace")


def _is_number(value: object, whole: bool) -> TypeGuard[float]:
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)
