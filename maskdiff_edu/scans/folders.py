"""Which files of a folder are scans, and which are their masks.

One folder a subject, in the naming of BraTS with the brain mask added::

    COHORT/NAME/NAME_t2.nii.gz            the scan
    COHORT/NAME/NAME_brainmask.nii.gz     1 inside the brain
    COHORT/NAME/NAME_seg.nii.gz           any label above 0 is lesion
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from maskdiff_edu.errors import ScanError, SettingsError
from maskdiff_edu.scans.nifti import save_volume
from maskdiff_edu.scans.volumes import Scan, load_scan, scan_name

_BRAIN = re.compile(r"(brain[_-]?mask|bet[_-]mask)$", re.I)
_LESION = re.compile(r"(seg|lesions?|lesion[_-]?mask|consensus_gt|gt)$", re.I)
_OTHER_MASK = re.compile(r"(mask|labels?|roi)$", re.I)
_SEPARATORS = re.compile(r"[_\-. ]+")
_CONTRASTS = {  # how file names call them: BraTS (old and new), BIDS, MSLUB, IXI
    "t2": {"t2", "t2w"},
    "t1": {"t1", "t1w", "t1n"},
    "t1ce": {"t1ce", "t1c", "t1gd", "t1wks"},
    "flair": {"flair", "t2f"},
    "pd": {"pd", "pdw"},
    "dwi": {"dwi", "adc"},
    "swi": {"swi"},
}


@dataclass(frozen=True)
class ScanFiles:
    """Where one scan and its masks lie."""

    image: Path
    brain_mask: Path | None  #: None if it is to be found in the image
    lesion_mask: Path | None  #: None if nobody marked lesions
    name: str  #: unlike that of any other scan found with it

    def digest(self, *, lesion_mask: bool = True) -> str:
        """SHA-256 of what the files hold, as 64 hex digits; with or without the lesion mask.

        Raises: `ScanError` where one cannot be read.
        """
        roles = (self.image, self.brain_mask, self.lesion_mask if lesion_mask else None)
        held = [None if path is None else _digest_of(path) for path in roles]
        return hashlib.sha256(repr(held).encode()).hexdigest()

    def load(self) -> Scan:
        """The scan itself, under this name; raises `ScanError` as `load_scan` does."""
        return replace(load_scan(self.image, self.brain_mask, self.lesion_mask), name=self.name)


def find_scans(folder, contrast: str = "t2") -> list[ScanFiles]:
    """The scans of one contrast in a folder, each with its masks, in order of their names.

    `folder` is one scan, a flat folder of scans, or a folder with one sub-folder a subject. The
    contrast is read off the file name (`NAME_t2`, `T2`, `NAME-T2w`); where no name of a folder
    tells it, every unmarked file counts. A mask belongs to the scan whose name begins alike, or to
    the only scan of its folder. Mask files are never scans; hidden files are left alone.

    Raises: `ScanError` where there is no such file or folder, or no scan in it; `SettingsError` for
    an unknown contrast.
    """
    if contrast not in _CONTRASTS:
        raise SettingsError(f"expected a contrast of {', '.join(_CONTRASTS)}, got {contrast!r}")
    folder = Path(folder)
    if folder.is_file():
        return [_with_masks(folder, _nifti_files(folder.parent))]
    if not folder.is_dir():
        raise ScanError(f"{folder}: expected a scan or a folder of scans, got no such file")
    visible = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = []
    for place in [folder, *visible]:
        files = _nifti_files(place)
        found += [_with_masks(image, files) for image in _images(files, contrast)]
    if not found:
        raise ScanError(f"{folder}: expected {contrast} scans (.nii, .nii.gz), got none")
    return _with_unlike_names(found)


def write_subject(scan: Scan, folder, contrast: str = "t2") -> Path:
    """Write a scan and its masks as `folder/NAME/NAME_*.nii.gz`; returns `folder/NAME`.

    Raises: `ScanError` where nothing can be written, `SettingsError` if the name is no file name.
    """
    if contrast not in _CONTRASTS:
        raise SettingsError(f"expected a contrast of {', '.join(_CONTRASTS)}, got {contrast!r}")
    if not scan.name or scan.name != Path(scan.name).name or scan.name.startswith("."):
        raise SettingsError(f"expected a name that can name a file, got {scan.name!r}")
    subject = Path(folder) / scan.name
    try:
        subject.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScanError(f"{subject}: cannot be made ({error.strerror or error})") from error
    volumes = {contrast: scan.image, "brainmask": scan.brain_mask, "seg": scan.lesion_mask}
    for role, volume in volumes.items():
        if volume is not None:
            save_volume(subject / f"{scan.name}_{role}.nii.gz", volume, scan.affine)
    return subject


def _digest_of(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error


def _nifti_files(folder: Path) -> list[Path]:
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.name.lower().endswith((".nii", ".nii.gz"))
            and not path.name.startswith(".")
            and path.is_file()
        )
    except OSError as error:
        raise ScanError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _images(files: list[Path], contrast: str) -> list[Path]:
    """Files named after the contrast; where there are none, files named after no contrast."""
    scans = [path for path in files if not _is_mask(path)]
    named = {path: _split(path)[1] for path in scans}
    return [p for p in scans if named[p] == contrast] or [p for p in scans if named[p] is None]


def _is_mask(path: Path) -> bool:
    stem = scan_name(path)
    return any(_ends_with_word(kind, stem) for kind in (_BRAIN, _LESION, _OTHER_MASK))


def _ends_with_word(kind: re.Pattern, stem: str) -> bool:
    """`NAME_seg` and `seg`, but not `NAME_meseg`."""
    return _before_word(kind, stem) is not None


def _before_word(kind: re.Pattern, stem: str) -> str | None:
    """What stands before a word at the end of a name, without separators; None without one."""
    match = kind.search(stem)
    if match is None or (match.start() > 0 and stem[match.start() - 1] not in "_-. "):
        return None
    return stem[: match.start()].rstrip("_-. ")


def _split(path: Path) -> tuple[str, str | None]:
    """What a file name says: (subject, contrast). `S1_t2` -> S1, t2; `T2` -> "", t2; `S1` -> S1."""
    stem = scan_name(path)
    words = list(re.finditer(r"[^_\-. ]+", stem))
    for word in reversed(words):
        for contrast, aliases in _CONTRASTS.items():
            if word.group().lower() in aliases:
                return stem[: word.start()].rstrip("_-. "), contrast
    return stem, None


def _with_masks(image: Path, files: list[Path]) -> ScanFiles:
    subject, contrast = _split(image)
    peers = [path for path in files if not _is_mask(path) and _split(path)[1] == contrast]
    brain, lesion = (
        _own_mask(kind, image, subject, files, len(peers) == 1) for kind in (_BRAIN, _LESION)
    )
    return ScanFiles(image, brain, lesion, name=subject or image.absolute().parent.name)


def _own_mask(
    kind: re.Pattern, image: Path, subject: str, files: list[Path], alone: bool
) -> Path | None:
    """The mask whose name begins as the scan's does, or the only one where the scan is alone."""
    found = {path: _before_word(kind, scan_name(path)) for path in files if path != image}
    fitting = {path: before for path, before in found.items() if before is not None}
    for owner in (scan_name(image), subject):
        for path, prefix in fitting.items():
            if prefix == owner:
                return path
    return next(iter(fitting)) if alone and len(fitting) == 1 else None


def _with_unlike_names(found: list[ScanFiles]) -> list[ScanFiles]:
    """Equal names get their folder's name in front, and a number where that does not help."""
    times = Counter(scan.name for scan in found)
    found = [
        replace(scan, name=f"{scan.image.absolute().parent.name}_{scan.name}")
        if times[scan.name] > 1
        else scan
        for scan in found
    ]
    seen: Counter[str] = Counter()
    unlike = []
    for scan in found:
        seen[scan.name] += 1
        number = seen[scan.name]
        unlike.append(scan if number == 1 else replace(scan, name=f"{scan.name}_{number}"))
    return unlike
