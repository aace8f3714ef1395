"""The masks that book/own_mask.ipynb writes, taken from its cells."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import torch

from maskdiff_edu.diffusion import apply_bands

PAGE = Path(__file__).resolve().parent.parent / "book" / "own_mask.ipynb"


def own_masks() -> dict[str, Callable]:
    """{name: function} of each `hide_...` of the page."""
    names = {"torch": torch, "apply_bands": apply_bands}
    for cell in nbformat.read(PAGE, as_version=nbformat.NO_CONVERT).cells:
        if cell.cell_type == "code" and cell.source.startswith("def hide_"):
            definition = cell.source.partition("\n\n\n")[0]
            assert len(definition.splitlines()) <= 10, definition
            exec(compile(definition, PAGE.name, "exec"), names)
    return {name: thing for name, thing in names.items() if name.startswith("hide_")}
