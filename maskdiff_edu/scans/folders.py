"""Which files of a folder are scans, and which are their masks.

One folder a subject, in the naming of BraTS with the brain mask added::

    COHORT/NAME/NAME_t2.nii.gz            the scan
    COHORT/NAME/NAME_brainmask.nii.gz     1 inside the brain
    COHORT/NAME/NAME_seg.nii.gz           any label above 0 is lesion
"""

import hashlib
import re
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from maskdiff_edu.errors import ScanError, ScanWarning, SettingsError, readable
from maskdiff_edu.scans.nifti import save_volume
from maskdiff_edu.scans.volumes import Scan, load_scan, scan_name

_CONTRASTS = {  # how file names call them: BraTS (old and new), BIDS, MSLUB, IXI
    "t2": {"t2", "t2w"},
    "t1": {"t1", "t1w", "t1n"},
    "t1ce": {"t1ce", "t1c", "t1gd", "t1wks"},
    "flair": {"flair", "t2f", "t2flair"},
    "pd": {"pd", "pdw"},
    "dwi": {"dwi", "adc"},
    "swi": {"swi"},
}
_OTHER_CONTRASTS = re.compile(  # known so that none is taken for a scan that names no contrast
    r"t2starw?|t2s|star|bold|epi|func|asl|cb[fv]|pet|cta?|mra|tof|angio|dti|fa|md|trace|t[12]map"
    r"|r2star|qsm|pdt2|mt[rs]|mto(n|ff)|phase(diff)?|magnitude[12]?|fieldmap|inv[12]|uni(t1)?",
    re.I,
)
# What the words at the end of a mask's name mean. `X_brain` alone is a stripped scan, no mask.
_MARKED = r"segm?|segmentations?|\w*lesions?(mask|msk|seg)?|gt|consensus"
_LESION = re.compile(rf"{_MARKED}|tumou?rs?(mask|msk|seg)?", re.I)
_BRAIN = re.compile(r"(brain|bet)(mask|msk)?", re.I)
_MASK = re.compile(
    rf"{_MARKED}|tumou?rs?(mask|msk|seg)|(brain|bet)?(mask|msk)|rois?|labels?|manual", re.I
)
_BESIDE = re.compile(r"desc|label|tumou?rs?|brain|bet", re.I)  # part of a mask's name, never all
_MASK_FOLDER = re.compile(r"(labels?|masks?|segs?|segmentations?)(tr|ts)?", re.I)
_OWN = {"anomaly", "reconstruction"}  # results of `maskdiff-edu score`, where scores.json lies
_NAMED = 20  # files that a warning names at most


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
    the only scan of its folder. Mask files are never scans, nor is what `maskdiff-edu score` wrote;
    hidden files are left alone. A sub-folder that cannot be read counts as a scan that cannot.
    Warns with `ScanWarning` of files whose names tell neither a scan nor whose mask they are.

    Raises: `ScanError` where there is no such file or folder, or no scan in it; `SettingsError` for
    an unknown contrast.
    """
    if contrast not in _CONTRASTS:
        raise SettingsError(f"expected a contrast of {', '.join(_CONTRASTS)}, got {contrast!r}")
    folder = Path(folder)
    if folder.is_file():
        return [_Folder(folder.parent).with_masks(folder)]
    if not folder.is_dir():
        raise ScanError(f"{folder}: expected a scan or a folder of scans, got no such file")
    found, unused = _search(_Folder(folder), contrast)
    for place in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            inside = _Folder(place)
        except ScanError:  # listed, so that it is told of when it is read, and keeps no other
            found.append(ScanFiles(place, None, None, readable(place.name)))
            continue
        scans, others = _search(inside, contrast)
        found += scans
        unused += others
    if unused:
        more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
        names = ", ".join(readable(path.relative_to(folder)) for path in unused[:_NAMED])
        warnings.warn(
            f"{readable(folder.name)}: not used, for their names tell neither a {contrast} scan "
            f"nor the mask of one (NAME_brainmask, NAME_seg): {names}{more}",
            ScanWarning,
            stacklevel=2,
        )
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


class _Folder:
    """The NIfTI files of one folder, each name read once."""

    def __init__(self, folder: Path) -> None:
        """Raises: `ScanError` where the folder cannot be read."""
        self.folder = folder
        files = _nifti_files(folder)
        if (folder / "scores.json").exists():
            files = [path for path in files if scan_name(path) not in _OWN]
        tails = {path: _mask_tail(scan_name(path)) for path in files}
        holds_masks = _MASK_FOLDER.fullmatch(folder.name) is not None
        self.scans = [] if holds_masks else [path for path in files if tails[path] is None]
        self.others = [path for path in files if path not in set(self.scans)]
        self.masks: dict[str, dict[str, Path]] = {"brain": {}, "lesion": {}}
        for path, tail in tails.items():
            if tail is not None and not holds_masks and tail.role in self.masks:
                self.masks[tail.role].setdefault(tail.before, path)
        self.contrasts = {path: _split(path)[1] for path in self.scans}
        self.n_alike = Counter(self.contrasts.values())

    def named(self, contrast: str) -> list[Path]:
        """Files named after the contrast; where there are none, files named after no contrast."""
        for wanted in (contrast, None):
            if self.n_alike[wanted]:
                return [path for path in self.scans if self.contrasts[path] == wanted]
        return []

    def with_masks(self, image: Path) -> ScanFiles:
        subject, contrast = _split(image)
        alone = self.n_alike[contrast] == 1
        brain, lesion = (
            self._own_mask(masks, image, subject, alone) for masks in self.masks.values()
        )
        return ScanFiles(
            image, brain, lesion, name=subject or readable(image.absolute().parent.name)
        )

    def _own_mask(
        self, masks: dict[str, Path], image: Path, subject: str, alone: bool
    ) -> Path | None:
        """The mask whose name begins as the scan's does, or the only one where it is alone."""
        fitting = {before: path for before, path in masks.items() if path != image}
        for owner in (scan_name(image), subject):
            if owner in fitting:
                return fitting[owner]
        return next(iter(fitting.values())) if alone and len(fitting) == 1 else None


def _search(folder: _Folder, contrast: str) -> tuple[list[ScanFiles], list[Path]]:
    """The scans of a folder, and the files that are neither used nor of another contrast."""
    scans = [folder.with_masks(image) for image in folder.named(contrast)]
    used = {path for s in scans for path in (s.image, s.brain_mask, s.lesion_mask)}
    unnamed = [path for path in folder.scans if folder.contrasts[path] is None]
    return scans, [path for path in (*unnamed, *folder.others) if path not in used]


def _nifti_files(folder: Path) -> list[Path]:
    """Broken links too: who reads one is told."""
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.name.lower().endswith((".nii", ".nii.gz"))
            and not path.name.startswith(".")
            and (path.is_file() or (path.is_symlink() and not path.exists()))
        )
    except OSError as error:
        raise ScanError(f"{folder}: cannot be read ({error.strerror or error})") from error


class _MaskTail(NamedTuple):
    before: str  #: what stands before it, without separators
    role: str  #: "brain", "lesion", or "" for a mask of who knows what


def _mask_tail(stem: str) -> _MaskTail | None:
    """The words at the end of a name that make it a mask's; None for the name of a scan."""
    words = list(re.finditer(r"[^_\-. ]+", stem))
    tail: list[re.Match[str]] = []
    while words and (_MASK.fullmatch(words[-1].group()) or _BESIDE.fullmatch(words[-1].group())):
        tail.insert(0, words.pop())
    if not any(_MASK.fullmatch(word.group()) for word in tail):
        return None
    is_brain, is_lesion = (
        any(kind.fullmatch(word.group()) for word in tail) for kind in (_BRAIN, _LESION)
    )
    role = "" if is_brain == is_lesion else "brain" if is_brain else "lesion"
    return _MaskTail(stem[: tail[0].start()].rstrip("_-. "), role)


def _split(path: Path) -> tuple[str, str | None]:
    """What a file name says: (subject, contrast). `S1_t2` -> S1, t2; `T2` -> "", t2; `S1` -> S1."""
    stem = scan_name(path)
    for word in reversed(list(re.finditer(r"[^_\-. ]+", stem))):
        for contrast, aliases in _CONTRASTS.items():
            if word.group().lower() in aliases:
                return stem[: word.start()].rstrip("_-. "), contrast
        if _OTHER_CONTRASTS.fullmatch(word.group()):
            return stem[: word.start()].rstrip("_-. "), "another"
    return stem, None


def _with_unlike_names(found: list[ScanFiles]) -> list[ScanFiles]:
    """Equal names get their folder's name in front, and a number where that does not help."""
    times = Counter(scan.name.casefold() for scan in found)
    found = [
        replace(scan, name=f"{readable(scan.image.absolute().parent.name)}_{scan.name}")
        if times[scan.name.casefold()] > 1
        else scan
        for scan in found
    ]
    taken: set[str] = set()  # without case, which some disks do not tell apart
    unlike = []
    for scan in found:
        name, number = scan.name, 1
        while name.casefold() in taken:
            number += 1
            name = f"{scan.name}_{number}"
        taken.add(name.casefold())
        unlike.append(replace(scan, name=name))
    return unlike
