"""What all figures share: one script, one block of data, and words for those who see neither.

A figure is an anywidget. Everything it needs lies in its traits, so that the saved state of a
notebook is the whole figure: on a static page the same script draws it without a kernel.
"""

import json
import re
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import anywidget
import numpy as np
import traitlets

_SMALLEST_ALT = 4  # words


@cache
def script(*names: str) -> str:
    """The JavaScript files `js/<name>.js` as one module; a widget can have only one.

    What a file exports to the modules of `js/lab` is a plain function here.
    """
    folder = files("maskdiff_edu.widgets") / "js"
    text = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in names)
    return re.sub(r"^export (?=function )", "", text, flags=re.MULTILINE)


@cache
def styles() -> str:
    """The style sheet of all figures."""
    return (files("maskdiff_edu.widgets") / "widgets.css").read_text(encoding="utf-8")


def pack(parts: Mapping[str, np.ndarray | bytes]) -> tuple[bytes, dict[str, Any]]:
    """Named arrays and files as one compressed block, and the index to find them in it.

    Arrays may be uint8, uint16, float32 or bool (eight to a byte); bytes are kept as they are.

    >>> block, index = pack({"mask": np.ones((2, 4), bool)})
    >>> index
    {'mask': {'start': 0, 'bytes': 1, 'type': 'bits', 'shape': [2, 4]}}
    """
    index, chunks, start = {}, [], 0
    for name, part in parts.items():
        if isinstance(part, bytes):
            chunk, entry = part, {"type": "file"}
        else:
            chunk, entry = _array_bytes(name, np.asarray(part))
        index[name] = {"start": start, "bytes": len(chunk), **entry}
        chunks.append(chunk)
        start += len(chunk)
    return zlib.compress(b"".join(chunks), 9), index


def _array_bytes(name: str, array: np.ndarray) -> tuple[bytes, dict[str, Any]]:
    shape = list(array.shape)
    if array.dtype == bool:
        return np.packbits(array).tobytes(), {"type": "bits", "shape": shape}
    if array.dtype in (np.uint8, np.uint16, np.float32):
        little = array.astype(array.dtype.newbyteorder("<"))
        return little.tobytes(), {"type": str(array.dtype), "shape": shape}
    raise TypeError(f"{name}: expected uint8, uint16, float32 or bool, got {array.dtype}")


class Figure(anywidget.AnyWidget):
    """Base of the interactive figures.

    Args:
        label: the heading, also the name that a screen reader says.
        alt: what is to be seen, in a sentence or more; shown where no script runs.
        spec: what the script needs to know, as plain JSON.
        parts: arrays and pictures, see `pack`.
        value: what the controls say at first.

    `value` follows the controls in a kernel, and setting it moves them.
    Raises ValueError without a label, or with an alt text of fewer than four words.
    """

    spec = traitlets.Dict().tag(sync=True)
    blob = traitlets.Bytes().tag(sync=True)
    value = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        *,
        label: str,
        alt: str,
        spec: Mapping[str, Any] | None = None,
        parts: Mapping[str, np.ndarray | bytes] | None = None,
        value: Mapping[str, Any] | None = None,
    ) -> None:
        self.label, self.alt = _words(label), _words(alt)
        if not self.label:
            raise ValueError("label: expected the figure's heading, got none")
        if len(self.alt.split()) < _SMALLEST_ALT:
            raise ValueError(
                f"alt: expected at least {_SMALLEST_ALT} words that say what is to be seen, "
                f"got {alt!r}"
            )
        blob, index = pack(parts or {})
        full = {"label": self.label, "alt": self.alt, "parts": index, **(spec or {})}
        json.dumps(full)  # a NumPy number would only fail in the reader's browser
        super().__init__(spec=full, blob=blob, value=dict(value or {}))

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        """The live figure, and its words for viewers that run no script."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/plain": f"{self.label}: {self.alt}"}, metadata


def _words(text: str) -> str:
    """The text without line breaks and double spaces, so that it may be written over lines."""
    return re.sub(r"\s+", " ", text).strip()
