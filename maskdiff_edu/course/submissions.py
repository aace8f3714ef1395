"""What a class handed in: a folder of files, or the zip file that Moodle or Canvas gives out.

People are told apart by the numbers in the names, never by the names: those may be mangled.
"""

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskdiff_edu.course.grading import MAX_NOTEBOOK
from maskdiff_edu.errors import Error

MAX_FILES = 20_000  #: in one zip file
MAX_BYTES = MAX_NOTEBOOK  #: that are read of one file, and one more, which tells that it is larger
NOTEBOOKS = (".ipynb",)  #: how the names of files end that are looked for

# Moodle: `Full Name_12345_assignsubmission_file/hw.ipynb` (`..._file_/` before 4.1), or flat
# `Full Name_12345_assignsubmission_file_hw.ipynb`; blind marking has `Participant` for the name.
_MOODLE = re.compile(
    r"(?P<name>.*)_(?P<id>\d+)_assignsubmission_file_?(?:/(?:.*/)?)?(?P<file>[^/]+)"
)
# Canvas: `doejane_LATE_123_4567_hw.ipynb`, `anon_123_4567_hw.ipynb`; `hw-2.ipynb` the third try.
_CANVAS = re.compile(r"(?P<name>[^_/]+)_(?P<late>LATE_)?(?P<id>\d+)_(?P<try>\d+)_(?P<file>[^/]+)")


@dataclass(frozen=True)
class Submission:
    """One file of one person."""

    student: str  #: a number of Moodle or Canvas; a folder's or a file's name else
    name: str  #: as a person reads it
    path: str  #: in the folder or zip file
    file: str  #: its name, as the person saved it
    system: str  #: moodle, canvas or folder
    late: bool
    order: tuple[int, str]  #: of several by one person the largest is the last
    read: Callable[[], bytes]


def find_submissions(place: Path, endings: Sequence[str] = NOTEBOOKS) -> list[Submission]:
    """All notebooks in a folder or a zip file, or files of other endings, in the order of students.

    Of Moodle's and Canvas's names all files are found with the ending "".

    Raises: Error if there are none, or the place is neither.
    """
    if place.is_dir():
        found = list(_in_folder(place, endings))
    elif zipfile.is_zipfile(place):
        found = list(_in_zip(place, endings))
    else:
        raise Error(f"{place}: expected a folder or a zip file of submissions, found neither")
    if not any(s.file.lower().endswith(tuple(filter(None, endings))) for s in found):
        raise Error(
            f"{place}: expected files of students ({', '.join(filter(None, endings))}), found none"
        )
    return sorted(found, key=lambda s: (s.student, s.order))


def by_student(submissions: list[Submission]) -> dict[str, list[Submission]]:
    """Every person's files, the last one last."""
    people: dict[str, list[Submission]] = {}
    for submission in submissions:
        people.setdefault(submission.student, []).append(submission)
    return people


def content(submission: Submission) -> bytes:
    """What a file holds; nothing, where it is a damaged or encrypted part of a zip file."""
    try:
        return submission.read()
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return b""


def _in_folder(folder: Path, endings: Sequence[str]) -> Iterator[Submission]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)  # .ipynb_checkpoints
        if not hidden and path.is_file() and not path.is_symlink():
            found = _submission(inside.as_posix(), path.stat().st_mtime_ns, _reader(path))
            if _wanted(found, endings):
                yield found


def _wanted(found: Submission, endings: Sequence[str]) -> bool:
    """In a plain folder a file of another kind may be anything, and nobody's."""
    suffix = PurePosixPath(found.file).suffix.lower()
    return suffix in endings or ("" in endings and found.system != "folder")


def _reader(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)

    return read


def _in_zip(place: Path, endings: Sequence[str]) -> Iterator[Submission]:
    # Where a name does not say how it is written, zipfile would take an alphabet of 1981.
    with zipfile.ZipFile(place, metadata_encoding="utf-8") as archive:
        infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise Error(f"{place}: expected at most {MAX_FILES} files, got {len(infos)}")
    for info in infos:
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
        if not info.is_dir() and not hidden:
            when = int("".join(f"{number:02d}" for number in info.date_time))
            found = _submission("/".join(parts), when, _zip_reader(place, info))
            if _wanted(found, endings):
                yield found


def _zip_reader(place: Path, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        with (
            zipfile.ZipFile(place, metadata_encoding="utf-8") as archive,
            archive.open(info) as file,
        ):
            return file.read(MAX_BYTES + 1)  # a bomb is read no further

    return read


def _submission(path: str, when: int, read: Callable[[], bytes]) -> Submission:
    folder, _, file = path.rpartition("/")
    order = (when, path)
    if found := _MOODLE.fullmatch(path):
        number, name, file = found["id"], found["name"], found["file"]
        return Submission(number, name, path, file, "moodle", False, order, read)
    if found := _CANVAS.fullmatch(file):
        number, name, file = found["id"], found["name"], found["file"]
        late, order = found["late"] is not None, (int(found["try"]), path)
        return Submission(number, name, path, file, "canvas", late, order, read)
    student = folder.partition("/")[0] or PurePosixPath(file).stem
    return Submission(student, student, path, file, "folder", False, order, read)
