"""A subject as a stack of bytes: what a training keeps of it, in memory and on disk.

One byte a pixel: 0 outside the brain, 1..255 for -1..1 inside. Nothing here imports torch: a
process that makes subjects would spend longer on loading it than on making ten of them.
"""

from __future__ import annotations

import io
import time
import zipfile
import zlib
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


def stack_name(source: int | ScanFiles, contrast: str) -> str:
    """What the stack of a subject is called: after its seed, or a digest of what its files hold.

    Neither the name, the place nor the time of a file counts. Raises ScanError where one cannot be
    read.
    """
    if isinstance(source, int):
        return f"{contrast}-{source}"
    return f"scan-{source.digest(lesion_mask=False)[:32]}"


def stack_path(name: str, folder: Path) -> Path:
    """Where a stack of that name lies in a cache."""
    return folder / f"stacks-{STACKS_VERSION}" / f"{name}.npz"


def cached_stack(source: int | ScanFiles, contrast: str, path: Path) -> np.ndarray:
    """`make_stack` from its file; where that is not there or damaged, it is written anew."""
    stack = _read(path)
    if stack is None:
        stack = make_stack(source, contrast)
        file = io.BytesIO()
        np.savez(file, stack=stack, name=path.stem)
        write_atomic(path, file.getvalue())
    return stack


def _read(path: Path) -> np.ndarray | None:
    """The stack in a file; None where there is none, or not the whole one of that name.

    A cache can be damaged by anything that writes to the disk. The CRC of each part is the zip's,
    and nothing is unpickled.
    """
    try:
        if not path.is_file():  # a pipe would keep us waiting for ever
            return None
        with zipfile.ZipFile(path) as parts:
            stack, name = (_array(parts, part) for part in ("stack", "name"))
    except (EOFError, KeyError, MemoryError, NotImplementedError, OSError, RuntimeError, ValueError,
            zipfile.BadZipFile, zlib.error):  # fmt: skip
        return None
    is_stack = stack.dtype == np.uint8 and stack.ndim == 3 and stack.shape[1:] == SHAPE[:2]
    return stack if is_stack and len(stack) > 0 and str(name) == path.stem else None


def _array(parts: zipfile.ZipFile, name: str) -> np.ndarray:
    content = parts.read(f"{name}.npy")  # all of it, so that its CRC is compared before it is used
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def store(source_and_path: tuple[int | ScanFiles, Path], contrast: str) -> None:
    """`cached_stack` without its answer, which another process would have to send."""
    source, path = source_and_path
    cached_stack(source, contrast, path)


def seconds_to_make(source: int | ScanFiles, contrast: str) -> float:
    """How long `make_stack` takes."""
    began = time.perf_counter()
    make_stack(source, contrast)
    return time.perf_counter() - began


def encode_slices(images: ArrayLike, brain_masks: ArrayLike) -> np.ndarray:
    """Slices (n, 1, h, w) in [-1, 1] as bytes (n, h, w), without those that hold little brain."""
    images, brain_masks = np.asarray(images), np.asarray(brain_masks)
    coded = np.where(brain_masks, 1 + ((images + 1) * 127).round(), 0).astype(np.uint8)
    return coded[brain_masks.sum(axis=(1, 2, 3)) >= MIN_BRAIN_PIXELS, 0]
