"""Pictures that sliders choose from: made beforehand, or by the library while a kernel runs."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from maskdiff_edu.widgets.base import Figure, script, styles
from maskdiff_edu.widgets.pictures import Panel, encode

Value = float | int | str


class Frame(NamedTuple):
    """What a figure shows for one position of its controls."""

    pictures: Sequence[ArrayLike]  #: one slice (h, w) for each panel
    caption: str  #: what is to be seen, in words, with numbers


Line = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Plot:
    """Lines beside the pictures, with a marker at the current value of one axis.

    Four lines at most: more could not be told apart without colour. Where `lines` is a function,
    they follow the controls: it takes each axis as a keyword argument, as `compute` does, and
    gives lines of the same names at every position.
    """

    x: Sequence[float]
    lines: Mapping[str, Line] | Callable[..., Mapping[str, Line]]  #: name -> y for each x
    axis: str | None  #: the figure's axis that x stands for; None draws no marker
    xlabel: str
    ylabel: str
    log_y: bool = False
    highlight: str | None = None  #: the axis whose value names the line drawn thick

    def __post_init__(self) -> None:
        if not callable(self.lines):
            self.at({})

    def at(self, position: Mapping[str, Value]) -> list[dict[str, Any]]:
        """The lines at one position of the controls, in their order, as plain JSON."""
        lines = self.lines(**position) if callable(self.lines) else self.lines
        if not 1 <= len(lines) <= 4:
            raise ValueError(f"lines: expected one to four, got {len(lines)}")
        lengths = {name: len(line) for name, line in lines.items()}
        if set(lengths.values()) != {len(self.x)}:
            raise ValueError(f"lines: expected {len(self.x)} numbers each, got {lengths}")
        # A list: a stored notebook sorts the keys of its objects.
        return [{"name": name, "y": [_short(y) for y in line]} for name, line in lines.items()]

    def as_json(self, positions: Sequence[Mapping[str, Value]]) -> dict[str, Any]:
        """What the script draws at first, and the range of y over all positions."""
        follows = callable(self.lines)
        drawn = [self.at(position) for position in (positions if follows else positions[:1])]
        names = {tuple(line["name"] for line in lines) for lines in drawn}
        if len(names) > 1:
            raise ValueError(f"lines: expected the same names at every position, got {names}")
        heights = [y for lines in drawn for line in lines for y in line["y"]]
        return {
            "x": [_short(x) for x in self.x],
            "lines": drawn[0],
            "yRange": [min(heights), max(heights)] if follows else None,
            "axis": self.axis,
            "xlabel": self.xlabel,
            "ylabel": self.ylabel,
            "log": self.log_y,
            "highlight": self.highlight,
        }


class FrameFigure(Figure):
    """A figure whose controls choose among frames.

    `compute(**values)` returns the `Frame` for one position. It is called for every combination
    of the `axes` when the figure is made, so the figure is whole without a kernel. With `live`,
    an axis gets more values while a kernel runs, and their frames are computed when asked for.

    Args:
        compute: takes each axis as a keyword argument.
        axes: name -> values; numbers become a slider, words become buttons.
        panels: titles, or one `Panel` for each picture, which says colours and range.
        label, alt: heading, and in words what the figure shows; see `Figure`.
        names: what the reader sees instead of an axis's name.
        start: values at first; the first of each axis where none is given.
        plots: lines, fixed with a marker at the current value, or following the controls.
        live: name -> all values that a running kernel may be asked for.

    Raises ValueError where names, values or the number of pictures do not fit together.

    >>> shades = FrameFigure(
    ...     lambda level: Frame([[[level]]], f"one pixel of {level}"),
    ...     axes={"level": [0.0, 0.5]},
    ...     panels=["pixel"],
    ...     label="A pixel",
    ...     alt="One pixel, mid-grey or light grey.",
    ... )
    >>> shades.caption(level=0.5)
    'one pixel of 0.5'
    """

    _esm = script("core", "plot", "frames")
    _css = styles()

    def __init__(
        self,
        compute: Callable[..., Frame],
        *,
        axes: Mapping[str, Iterable[Value]],
        panels: Sequence[str | Panel],
        label: str,
        alt: str,
        names: Mapping[str, str] | None = None,
        start: Mapping[str, Value] | None = None,
        plots: Sequence[Plot] = (),
        live: Mapping[str, Iterable[Value]] | None = None,
    ) -> None:
        self._compute = compute
        self._panels = [Panel(panel) if isinstance(panel, str) else panel for panel in panels]
        self._axes = {name: [plain(v) for v in values] for name, values in axes.items()}
        self._plots = plots
        when_live = {name: [plain(v) for v in values] for name, values in (live or {}).items()}
        names, start = dict(names or {}), dict(start or {})
        _check_names(self._axes, names=names, start=start, live=when_live)
        _check_names(self._axes, plots={p.axis for p in plots if p.axis})
        _check_names(self._axes, highlights={p.highlight for p in plots if p.highlight})

        combinations = itertools.product(*self._axes.values())
        positions = [dict(zip(self._axes, values, strict=True)) for values in combinations]
        frames: dict[str, dict[str, Any]] = {}
        parts: dict[str, bytes] = {}
        for position in positions:
            key = self._key(position)
            pictures, words = self._frame(position)
            stored = [f"{key}|{i}" for i in range(len(pictures))]
            parts |= dict(zip(stored, pictures, strict=True))
            frames[key] = {"pictures": stored, **words}
        spec = {
            "axes": [
                {
                    "name": name,
                    "label": names.get(name, name),
                    "values": values,
                    "live": when_live.get(name, values),
                    "slider": all(isinstance(v, numbers.Real) for v in values),
                }
                for name, values in self._axes.items()
            ],
            "panels": [panel.title for panel in self._panels],
            "frames": frames,
            "plots": [plot.as_json(positions) for plot in plots],
            "live": bool(when_live),
        }
        value = {name: plain(start.get(name, values[0])) for name, values in self._axes.items()}
        if any(value[name] not in values for name, values in self._axes.items()):
            raise ValueError(f"start: expected values of the axes, got {start}")
        super().__init__(label=label, alt=alt, spec=spec, parts=parts, value=value)
        self.on_msg(self._answer)

    def caption(self, **position: Value) -> str:
        """The words of a stored frame, for tests and for those who cannot see the picture."""
        return self.spec["frames"][self._key(position)]["caption"]

    def _key(self, position: Mapping[str, Value]) -> str:
        """A stored frame's name: where each value stands in its axis, such as '3,0'."""
        return ",".join(str(values.index(position[name])) for name, values in self._axes.items())

    def _frame(self, position: Mapping[str, Value]) -> tuple[list[bytes], dict[str, Any]]:
        """The pictures, and beside them the caption and the lines that follow the controls."""
        frame = self._compute(**position)
        if len(frame.pictures) != len(self._panels):
            raise ValueError(
                f"expected a picture for each of {len(self._panels)} panels at {position}, "
                f"got {len(frame.pictures)}"
            )
        pairs = zip(frame.pictures, self._panels, strict=True)
        words: dict[str, Any] = {"caption": frame.caption}
        if any(callable(plot.lines) for plot in self._plots):
            words["lines"] = [
                plot.at(position) if callable(plot.lines) else None for plot in self._plots
            ]
        return [encode(picture, panel) for picture, panel in pairs], words

    def _answer(self, _: Figure, message: Mapping[str, Any], buffers: object) -> None:
        """What the script asks while a kernel runs: are you there, and what does this look like?"""
        if message["ask"] == "kernel":
            self.send({"tell": "kernel"})
        elif message["ask"] == "frame":
            pictures, words = self._frame(message["position"])
            self.send({"tell": "frame", "key": message["key"], **words}, buffers=pictures)


def plain(value: Value) -> Value:
    """Plain Python instead of a NumPy or torch number, which JSON does not know."""
    return value if isinstance(value, str) else _short(value, digits=12)


def _short(value: Any, digits: int = 5) -> float | int:
    number = float(f"{float(value):.{digits}g}")
    return int(number) if number.is_integer() else number


def _check_names(axes: Mapping[str, Sequence[Value]], **given: Iterable[str]) -> None:
    empty = [name for name, values in axes.items() if not values]
    if not axes or empty:
        raise ValueError(f"axes: expected values for each, got none for {empty or 'any'}")
    for argument, found in given.items():
        if unknown := set(found) - set(axes):
            raise ValueError(f"{argument}: expected names of axes {list(axes)}, got {unknown}")
