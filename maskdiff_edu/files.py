"""Results that appear whole or not at all, whenever the power goes: a file, or a folder."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from maskdiff_edu.errors import Error

LEFTOVER_SECONDS = 3600


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Makes the folder; a file that is there already is replaced. Several processes may write the
    same file: the last one stays. Raises OSError, the old file kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)  # "x" follows no link that someone laid there
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _clear_leftovers(path: Path) -> None:
    """Remove what writers of this file left who were killed: nobody writes for an hour."""
    for leftover in path.parent.glob(f".{escape(path.name)}.*.unfinished"):
        with suppress(OSError):  # another process was quicker
            if time.time() - leftover.lstat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()


@contextmanager
def whole_folder(out: str | Path, replaces: tuple[str, ...] = ()) -> Iterator[Path]:
    """A new, empty folder to write into; what it holds is moved to `out` at the end.

    Where the block fails or is interrupted, `out` stays as it was: absent if it was absent. Other
    files in `out` are kept, but not those named in `replaces`, which an earlier run may have left
    and this one did not write again.

    Raises: `Error` where `out` is a file or cannot be written, a full disk included.
    """
    out = Path(out)
    with _named(out):
        unfinished = _make_beside(out)
    try:
        with _named(out):
            yield unfinished
            _move(unfinished, out, replaces)
    except Error as error:  # a file that could not be written: say where it was meant to go
        raise type(error)(str(error).replace(str(unfinished), str(out))) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_writable(out: str | Path) -> None:
    """Raise `Error` now where `whole_folder` could not begin, before anyone waits for it."""
    with _named(Path(out)):
        _make_beside(Path(out)).rmdir()


@contextmanager
def _named(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise Error(f"{out}: expected a folder to write into, got: {reason}") from error


def _make_beside(out: Path) -> Path:
    """An empty folder on the disk of `out`: inside it if it exists, else beside its first parent.

    Inside rather than beside an existing folder, because only that one need be writable.
    """
    place = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not place.is_dir():
        raise NotADirectoryError(None, f"{place.name} is a file")
    unfinished = place / f".{out.name}.{os.getpid()}"
    unfinished.mkdir()
    return unfinished


def _move(unfinished: Path, out: Path, replaces: tuple[str, ...]) -> None:
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished, out)  # one step: nobody ever sees a part of it
        return
    files = [path for path in sorted(unfinished.rglob("*")) if path.is_file()]
    for path in files:
        target = out / path.relative_to(unfinished)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    for name in set(replaces) - {str(path.relative_to(unfinished)) for path in files}:
        with suppress(FileNotFoundError):
            (out / name).unlink()
