"""Progress bars, the same everywhere: silent on request, and brief where they go into a log."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: float | None = None,
    desc: str | None = None,
    unit: str = "it",
    leave: bool = True,
    silent: bool = False,
) -> tqdm:
    """A progress bar on stderr after two seconds; in a log a plain line every ten seconds.

    Arguments as for `tqdm`; `leave`: it stays when all is done. With `silent` nothing is shown,
    nor with TQDM_DISABLE=1 in the environment.

    >>> list(bar(range(3), desc="counting"))
    [0, 1, 2]
    """
    settings: dict[str, Any] = {}
    if silent:  # else `disable` is left out: tqdm asks the environment only where nobody says
        settings["disable"] = True
    if not sys.stderr.isatty():
        # A bar that overwrites itself would fill a log with copies of itself, on one endless line.
        line = "{l_bar}{n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]\n"
        settings |= {"mininterval": 10, "maxinterval": 10, "ascii": True, "bar_format": line}
    return tqdm(iterable, desc, total, leave, unit=unit, delay=2, **settings)
