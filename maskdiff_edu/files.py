"""Results that appear whole or not at all, whenever the power goes: a file, or a folder.

What is not finished yet lies beside its place under a hidden name that no other writer has, and
moves there in one step. Who writes for long, or several files, holds a lock meanwhile.
"""

import functools
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from maskdiff_edu.errors import Error

LEFTOVER_SECONDS = 600  #: a file that nobody has written to for so long is nobody's
MOVE_SECONDS = 5  #: to wait for another who moves results into the same folder
_UNFINISHED, _FINISHED, _MOVING = ".unfinished", ".finished", ".moving"  # how far a folder is


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Makes the folder; a file that is there already is replaced. Several processes may write the
    same file: the last one stays. Raises OSError, the old file kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path.parent)
    unfinished = _beside(path)
    try:
        with open(unfinished, "xb") as file:  # "x" follows no link that someone laid there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_json(path: str | Path, most_bytes: int = 64 * 2**20) -> Any:
    """What a JSON file holds. Nothing but a file of sensible size is read, and no NaN or infinity.

    Raises ValueError that says what is wrong, without the path.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("a folder, a pipe or nothing" if path.exists() else "no such file")
        if (size := path.stat().st_size) > most_bytes:
            raise ValueError(f"{size} bytes, expected at most {most_bytes}")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("nested too deeply, or too large") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


@contextmanager
def locked(path: str | Path, seconds: float = 0.0) -> Iterator[None]:
    """No other process writes `path`, a file or folder, while this block runs.

    The system gives the lock back when a process ends, however it ends; what a killed one left
    unfinished is removed. Raises `Error` where another process holds it and goes on to for some
    `seconds`, OSError where its folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One object a path, so that this process itself may come again.
    lock = FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True)
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise Error(
            f"{path}: expected nobody else to write here, but another process does; wait for it, "
            "or choose another folder"
        ) from error
    try:
        if lock.lock_counter == 1:
            _remove(path.parent.glob(f".{escape(path.name)}.*{_UNFINISHED}"))
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):  # Windows deletes no open file
                os.unlink(lock.lock_file)
        lock.release()


@contextmanager
def whole_folder(
    out: str | Path, names: Sequence[str] = (), *, overwrite: bool = False
) -> Iterator[Path]:
    """A new, empty folder to write into; what it holds is moved to `out` at the end.

    Where the block fails or is interrupted, `out` stays as it was: absent if it was absent. Other
    files in `out` are kept. With `overwrite` those of `names`, and those named as new ones are, go
    before any new one comes, so that old and new never stand side by side; a move that was cut
    short is finished by the next who writes there.

    Raises: `Error` where `out` is a file, cannot be written, a full disk included, is being
    written by another process, or holds such files without `overwrite`.
    """
    out = Path(out)
    with _named(out), _begun(out, names) as base:
        if not overwrite:
            _require_absent(out, names)
        unfinished = _beside(base)
        unfinished.mkdir()
        try:
            yield unfinished
            _move(unfinished, out, names, overwrite)
        except Error as error:  # a file that could not be written: say where it was to go
            raise type(error)(str(error).replace(str(unfinished), str(out))) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def require_writable(
    out: str | Path, names: Sequence[str] = (), *, overwrite: bool = False
) -> None:
    """Raise `Error` now where `whole_folder` could not begin, before anyone waits for it."""
    out = Path(out)
    with _named(out), _begun(out, names):
        if not overwrite:
            _require_absent(out, names)


@contextmanager
def _begun(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """`out` locked, and a move into it that was cut short ended; gives a path to begin beside.

    That is on the disk of `out`: inside it if it exists, because only that one need be writable,
    else in its first parent.
    """
    place = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not place.is_dir():
        raise NotADirectoryError(None, f"{place.name} is a file")
    digest = hashlib.sha256(os.fsencode(out.absolute())).hexdigest()
    base = place / f"maskdiff-{digest[:12]}"
    with locked(base, MOVE_SECONDS):
        for finished in place.glob(f".{base.name}.*{_FINISHED}"):
            _replace(finished, out, names)
        for moving in place.glob(f".{base.name}.*{_MOVING}"):
            _move_files(moving, out)
        yield base


@contextmanager
def _named(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise Error(f"{out}: expected a folder to write into, got: {reason}") from error


def _require_absent(out: Path, names: Iterable[str]) -> None:
    for name in names:
        if os.path.lexists(out / name):
            raise Error(
                f"{out / name}: expected no such file yet, and none is replaced unasked; choose "
                "another folder, or add --overwrite (in Python, overwrite=True) if it is an older "
                "result"
            )


def _beside(path: Path) -> Path:
    """A hidden name beside `path` that no other writer has: process numbers come back."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{_UNFINISHED}")


@functools.cache  # once a process: looking through a cache at every file of it takes ever longer
def _clear_leftovers(folder: Path) -> None:
    leftovers = folder.glob(f".*{_UNFINISHED}")
    _remove((file for file in leftovers if not file.is_dir()), seconds=LEFTOVER_SECONDS)


def _remove(leftovers: Iterable[Path], seconds: float = 0.0) -> None:
    """Remove what writers left who were killed, if nobody has written to it for some seconds."""
    for leftover in leftovers:
        with suppress(OSError):  # another process was quicker
            if time.time() - leftover.lstat().st_mtime < seconds:
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()


def _move(unfinished: Path, out: Path, names: Sequence[str], overwrite: bool) -> None:
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, out)  # one step: nobody ever sees a part of it
        return
    if not overwrite:
        _require_absent(out, _files_in(unfinished))
    finished = unfinished.with_suffix(_FINISHED)
    os.replace(unfinished, finished)  # from here on it only goes forward
    _replace(finished, out, names)


def _replace(finished: Path, out: Path, names: Sequence[str]) -> None:
    """Remove the old files, and only then move the new ones in."""
    for name in {*names, *_files_in(finished)}:
        (out / name).unlink(missing_ok=True)
    moving = finished.with_suffix(_MOVING)
    os.replace(finished, moving)
    _move_files(moving, out)


def _move_files(moving: Path, out: Path) -> None:
    for name in _files_in(moving):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(moving / name, out / name)
    shutil.rmtree(moving)


def _files_in(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file()]
