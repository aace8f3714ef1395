"""A subject as a stack of bytes: what a training keeps of it, in memory and on disk.

One byte a pixel: 0 outside the brain, 1..255 for -1..1 inside. Nothing here imports torch: a
process that makes subjects would spend longer on loading it than on making ten of them.
"""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from maskdiff_edu.brains.phantom import SHAPE, make_subject
from maskdiff_edu.errors import ScanError
from maskdiff_edu.files import write_atomic
from maskdiff_edu.scans.folders import ScanFiles
from maskdiff_edu.scans.volumes import slice_arrays

#: Raise this number when the same subject gives other bytes, be it by its code, its intensity
#: scale or this encoding. Stacks that were stored with a lower one are not read again.
#: `tests/test_stacks.py` fails when it should be raised.
STACKS_VERSION = 1
MIN_BRAIN_PIXELS = 200  #: slices with less brain are not trained on


def make_stack(source: int | ScanFiles, contrast: str = "t2") -> np.ndarray:
    """All slices of one subject that hold enough brain, (n, 96, 96) uint8, from neck to crown.

    `source` is the seed of a subject to make, or the files of one to read; `contrast` is that of a
    subject to make. Raises ScanError for a scan that cannot be trained on.
    """
    scan = make_subject(source, contrast) if isinstance(source, int) else source.load()
    arrays = slice_arrays(scan)
    stack = encode_slices(arrays.images, arrays.brain_masks)
    if len(stack) == 0 or stack.shape[1:] != SHAPE[:2]:
        raise ScanError(
            f"{scan.name}: expected slices of 96x96 that hold brain, got {stack.shape}; "
            "a brain longer than 192 mm cannot be trained on"
        )
    return stack


def cached_stack(source: int | ScanFiles, contrast: str, folder: Path) -> np.ndarray:
    """The same from its file in `folder`, which is written if it is not there."""
    path = stack_path(source, contrast, folder)
    if path.exists():
        return np.load(path)
    stack = make_stack(source, contrast)
    file = io.BytesIO()
    np.save(file, stack)
    write_atomic(path, file.getvalue())
    return stack


def store(source: int | ScanFiles, contrast: str, folder: Path) -> None:
    """`cached_stack` without its answer, which another process would have to send."""
    cached_stack(source, contrast, folder)


def seconds_to_make(source: int | ScanFiles, contrast: str) -> float:
    """How long `make_stack` takes."""
    began = time.perf_counter()
    make_stack(source, contrast)
    return time.perf_counter() - began


def stack_path(source: int | ScanFiles, contrast: str, folder: Path) -> Path:
    """Where the stack of a subject lies in a cache."""
    if isinstance(source, int):
        name = f"{contrast}-{source}"
    else:
        state = [(str(f.resolve()), f.stat().st_mtime_ns, f.stat().st_size) for f in source.read]
        name = f"scan-{hashlib.sha256(repr(state).encode()).hexdigest()[:20]}"
    return folder / f"stacks-{STACKS_VERSION}" / f"{name}.npy"


def encode_slices(images: ArrayLike, brain_masks: ArrayLike) -> np.ndarray:
    """Slices (n, 1, h, w) in [-1, 1] as bytes (n, h, w), without those that hold little brain."""
    images, brain_masks = np.asarray(images), np.asarray(brain_masks)
    coded = np.where(brain_masks, 1 + ((images + 1) * 127).round(), 0).astype(np.uint8)
    return coded[brain_masks.sum(axis=(1, 2, 3)) >= MIN_BRAIN_PIXELS, 0]
