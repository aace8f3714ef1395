"""One NIfTI file: read with every check made before its voxels take memory, written atomically."""

import gzip
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener

from maskdiff_edu.errors import ScanError, ScanWarning, readable
from maskdiff_edu.files import write_atomic

MAX_VOXELS = 2**27  #: 512 along each axis; more is a broken header, not a scan of a head
MAX_EXTENT = 1000.0  #: mm along one axis
MIN_VOXEL = 0.05  #: mm; more voxels than that to a working one are smoothed for hours
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # NIfTI's codes of metres and micrometres; all else counts
_KINDS = ((nib.Nifti1Header, 348, b"n+1", 352), (nib.Nifti2Header, 540, b"n+2", 544))


class _Volume(NamedTuple):
    """What a header says, mended as the NIfTI standard reads it."""

    header: nib.Nifti1Header
    shape: tuple[int, int, int]
    forms: list[np.ndarray]  # affines (4, 4) in mm, the one to use first


def read_nifti(path, *, finite: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """One 3-D volume from a `.nii` or `.nii.gz` file, finite unless `finite` is False.

    Any orientation, voxel size, unit of length and real dtype; `(n, m, k, 1)` counts as 3-D;
    `scl_slope` and `scl_inter` are applied. Size and geometry are judged from the header alone, so
    that a header that lies costs no memory.

    Returns: voxels `(n, m, k)` float32 and the affine `(4, 4)`, voxel -> world mm (RAS+).
    Raises: `ScanError` for anything missing, truncated, not NIfTI, not one 3-D volume, not finite.
    """
    path = Path(path)
    with _read_with_care(path):
        volume = _read_description(path)
        _warn_of_orientation(path, volume)
        voxels = _read_voxels(path, volume.header).reshape(volume.shape)
    bad = voxels.size - int(np.isfinite(voxels).sum())
    if bad and finite:
        raise ScanError(
            f"{path}: expected finite values, got {bad} voxels of NaN or infinity; outside of a "
            "brain mask that is given they do not matter"
        )
    return voxels, volume.forms[0]


def read_forms(path) -> list[np.ndarray]:
    """All affines `(4, 4)` that a file's header tells, voxel -> world mm, the one to use first.

    Raises: `ScanError` as `read_nifti` does, the voxels apart.
    """
    with _read_with_care(Path(path)):
        return _read_description(Path(path)).forms


@contextmanager
def _read_with_care(path: Path) -> Iterator[None]:
    """Whatever nibabel, NumPy or gzip raise becomes a `ScanError` that names the file."""
    try:
        yield
    except ScanError:
        raise
    except MemoryError as error:
        raise ScanError(f"{path}: expected a volume that fits into memory, got no more") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ScanError(
            f"{path}: expected a NIfTI file that can be read, got a broken file ({reason})"
        ) from error


def _read_description(path: Path) -> _Volume:
    header = _read_header(path)
    shape = _checked_shape(path, header)
    return _Volume(header, shape, _checked_forms(path, header, shape))


def _read_header(path: Path) -> nib.Nifti1Header:
    if not os.path.isfile(path):  # unlike Path.is_file, False also where access is denied
        got = "a folder" if os.path.isdir(path) else "no such file"
        raise ScanError(f"{path}: expected a NIfTI file, got {got}")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ScanError(f"{path}: expected a file ending in .nii or .nii.gz")
    with ImageOpener(str(path), "rb") as file:
        block = file.read(540)
    # Unchecked: `nib.load` would silently mend a negative or zero voxel size.
    for kind, size, magic, first in _KINDS:
        if len(block) >= size:
            header = kind(block[:size], check=False)
            if header["magic"].item()[:3] == magic and header["sizeof_hdr"] == size:
                return _mended(path, header, first)
    got = f"{len(block)} bytes" if len(block) < 348 else "another format"
    raise ScanError(f"{path}: expected a NIfTI header, got {got}")


def _mended(path: Path, header: nib.Nifti1Header, first: int) -> nib.Nifti1Header:
    """What the standard (and its C library) reads otherwise than nibabel, written out for it."""
    start = float(header["vox_offset"])
    if not (start == 0 or first - 4 <= start < 2**31):
        raise ScanError(
            f"{path}: expected the voxels' place in the file, from {first} on, header says {start}"
        )
    header["vox_offset"] = start or first
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    quaternion = np.array([header[f"quatern_{axis}"] for axis in "bcd"], float)
    if np.isfinite(quaternion).all() and (length := np.linalg.norm(quaternion)) > 1:
        for axis, part in zip("bcd", quaternion / length, strict=True):
            header[f"quatern_{axis}"] = part
    return header


def _checked_shape(path: Path, header) -> tuple[int, int, int]:
    n_axes = int(header["dim"][0])
    if not 1 <= n_axes <= 7:
        raise ScanError(f"{path}: expected 3 axes in the header, got {n_axes}")
    shape = [int(n) for n in header["dim"][1 : n_axes + 1]]
    if min(shape) <= 0:
        raise ScanError(f"{path}: expected voxels, got an empty volume of shape {(*shape,)}")
    if len(shape) < 3 or min(shape[:3]) == 1:
        raise ScanError(f"{path}: expected a 3-D volume, got a flat one of shape {(*shape,)}")
    if any(n > 1 for n in shape[3:]):
        raise ScanError(f"{path}: expected one 3-D volume, got several frames, shape {(*shape,)}")
    n, m, k = shape[:3]
    if n * m * k > MAX_VOXELS:
        raise ScanError(f"{path}: expected at most {MAX_VOXELS} voxels, header says {(*shape,)}")
    return n, m, k


def _checked_forms(path: Path, header, shape: tuple[int, int, int]) -> list[np.ndarray]:
    """The sform, the qform, or where there is neither what the voxel sizes alone tell."""
    scale = _MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    sizes = header["pixdim"][1:4].astype(float) * scale
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ScanError(f"{path}: expected positive voxel sizes, header says {sizes.tolist()} mm")
    told = [header.get_sform()] if header["sform_code"] > 0 else []
    told += [header.get_qform()] if header["qform_code"] > 0 else []
    forms = [_in_mm(affine, scale) for affine in told or [header.get_base_affine()]]
    _check_form(path, forms[0], sizes, shape)
    return [form for form in forms if np.isfinite(form).all()]


def _in_mm(affine: np.ndarray, scale: float) -> np.ndarray:
    return np.diag([scale, scale, scale, 1.0]) @ affine


def _check_form(
    path: Path, affine: np.ndarray, sizes: np.ndarray, shape: tuple[int, int, int]
) -> None:
    if not np.isfinite(affine).all():
        raise ScanError(f"{path}: expected a finite affine, got NaN or infinity in it")
    steps = nib.affines.voxel_sizes(affine)
    if abs(np.linalg.det(affine[:3, :3])) <= 1e-4 * np.prod(steps):
        raise ScanError(f"{path}: expected an affine with an inverse, got a singular one")
    extent = np.maximum(sizes, steps) * shape
    if extent.max() > MAX_EXTENT:
        got = " x ".join(f"{mm:.6g}" for mm in extent)
        raise ScanError(f"{path}: expected at most {MAX_EXTENT:.0f} mm an axis, got {got} mm")
    if (smallest := min(*sizes, *steps)) < MIN_VOXEL:
        raise ScanError(
            f"{path}: expected voxels of at least {MIN_VOXEL} mm, got {smallest:.3g} mm"
        )


def _warn_of_orientation(path: Path, volume: _Volume) -> None:
    header, forms = volume.header, volume.forms
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        _warn(path, "the header names no orientation, so left and right are a guess")
    elif len(forms) == 2:
        apart = distance(forms[0], forms[1], volume.shape)
        if apart > 0.1 * nib.affines.voxel_sizes(forms[0]).min():
            axes = ["".join(nib.aff2axcodes(form)) for form in forms]
            said = "" if axes[0] == axes[1] else f" (qform says {axes[1]}, sform says {axes[0]})"
            _warn(path, f"qform and sform lie {apart:.1f} mm apart{said}: sform is used, check it")


def distance(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far two affines put a corner of one volume apart at most, in mm."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    apart = (affine - other)[:3] @ np.vstack([corners, np.ones(8)])
    return float(np.linalg.norm(apart, axis=0).max())


def _warn(path: Path, message: str) -> None:
    """By the file's name alone: warnings are kept with the scores, and folders may name people."""
    warnings.warn(f"{readable(path.name)}: {message}", ScanWarning, stacklevel=5)


def _read_voxels(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    try:
        dtype = header.get_data_dtype()
    except Exception:  # nibabel knows no such type
        dtype = np.dtype("V")
    if dtype.kind not in "iuf":
        code = int(header["datatype"])
        raise ScanError(f"{path}: expected real numbers, got voxels of type code {code}")
    n_bytes = int(np.prod(header.get_data_shape(), dtype=np.int64)) * dtype.itemsize
    start = int(header["vox_offset"])
    with ImageOpener(str(path), "rb") as file:
        if len(file.read(start)) < start:
            raise EOFError("the header alone")
        content = file.read(n_bytes)
        file.read(1)  # reaching the end makes gzip check its checksum
    if len(content) < n_bytes:
        raise EOFError(f"{len(content)} bytes of {n_bytes}")
    voxels = np.frombuffer(content, dtype).reshape(header.get_data_shape(), order="F")
    slope, inter = header.get_slope_inter()
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused later
        if slope not in (None, 1.0) or inter not in (None, 0.0):
            voxels = nib.volumeutils.apply_read_scaling(
                voxels, np.float32(1.0 if slope is None else slope), np.float32(inter or 0.0)
            )
        return voxels.astype(np.float32)


def save_volume(path, data: np.ndarray, affine: np.ndarray) -> Path:
    """Write a volume as NIfTI; the file appears whole or not at all.

    `data` `(n, m, k)`: bool becomes uint8, 64-bit integers int32, floats float32. Both sform and
    qform are set from `affine` (voxel -> world mm).

    Raises: `ScanError` where the file cannot be written.
    """
    path = Path(path)
    image = nib.Nifti1Image(_as_storable(np.asarray(data)), affine)
    image.set_sform(affine, code="aligned")
    image.set_qform(affine, code="aligned")  # a quaternion holds no shear; the sform keeps it
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=1, mtime=0)
    try:
        write_atomic(path, content)
    except OSError as error:
        raise ScanError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def _as_storable(data: np.ndarray) -> np.ndarray:
    if data.dtype == bool:
        return data.astype(np.uint8)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        return data.astype(np.int32)
    return data.astype(np.float32) if data.dtype.kind == "f" else data
