"""One NIfTI file: read with every check made before its voxels take memory, written atomically."""

import gzip
import os
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from maskdiff_edu.errors import ScanError, ScanWarning
from maskdiff_edu.files import write_atomic

MAX_VOXELS = 512 * 2**20  #: more is a broken header, not a scan of a head
MAX_EXTENT = 1000.0  #: mm along one axis
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, HeaderDataError, ImageFileError)


def read_nifti(path) -> tuple[np.ndarray, np.ndarray]:
    """One finite 3-D volume from a `.nii` or `.nii.gz` file.

    Any orientation, voxel size and real dtype; `(n, m, k, 1)` counts as 3-D; `scl_slope` and
    `scl_inter` are applied. Size and geometry are judged from the header alone, so that a header
    that lies costs no memory.

    Returns: voxels `(n, m, k)` float32 and the affine `(4, 4)`, voxel -> world mm (RAS+).
    Raises: `ScanError` for anything missing, truncated, not NIfTI, not one 3-D volume, not finite.
    """
    path = Path(path)
    header = _read_header(path)
    shape = _checked_shape(path, header)
    affine = _checked_affine(path, header, shape)
    return _read_voxels(path, header).reshape(shape), affine


def _read_header(path: Path) -> nib.Nifti1Header:
    if not os.path.isfile(path):  # unlike Path.is_file, False also where access is denied
        got = "a folder" if os.path.isdir(path) else "no such file"
        raise ScanError(f"{path}: expected a NIfTI file, got {got}")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ScanError(f"{path}: expected a file ending in .nii or .nii.gz")
    try:
        with ImageOpener(str(path), "rb") as file:
            block = file.read(540)
    except _UNREADABLE as error:
        raise ScanError(f"{path}: expected a NIfTI file, got unreadable data ({error})") from error
    # Unchecked: `nib.load` would silently mend a negative or zero voxel size.
    for kind, size, magic in ((nib.Nifti1Header, 348, b"n+1"), (nib.Nifti2Header, 540, b"n+2")):
        if len(block) >= size:
            header = kind(block[:size], check=False)
            if header["magic"].item()[:3] == magic and header["sizeof_hdr"] == size:
                return header
    got = f"{len(block)} bytes" if len(block) < 348 else "another format"
    raise ScanError(f"{path}: expected a NIfTI header, got {got}")


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


def _checked_affine(path: Path, header, shape: tuple[int, int, int]) -> np.ndarray:
    sizes = header["pixdim"][1:4].astype(float)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ScanError(f"{path}: expected positive voxel sizes, header says {sizes.tolist()} mm")
    try:
        affine = header.get_best_affine().astype(float)
    except _UNREADABLE as error:
        raise ScanError(f"{path}: expected an orientation, header is broken ({error})") from error
    if not np.isfinite(affine).all():
        raise ScanError(f"{path}: expected a finite affine, got NaN or infinity in it")
    steps = nib.affines.voxel_sizes(affine)
    if abs(np.linalg.det(affine[:3, :3])) <= 1e-4 * np.prod(steps):
        raise ScanError(f"{path}: expected an affine with an inverse, got a singular one")
    extent = np.maximum(sizes, steps) * shape
    if extent.max() > MAX_EXTENT:
        got = " x ".join(f"{mm:.6g}" for mm in extent)
        raise ScanError(f"{path}: expected at most {MAX_EXTENT:.0f} mm an axis, got {got} mm")
    _warn_of_orientation(path, header)
    return affine


def _warn_of_orientation(path: Path, header) -> None:
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None and sform is None:
        _warn(path, "the header names no orientation, so left and right are a guess")
    elif qform is not None and sform is not None:
        axes = ["".join(nib.aff2axcodes(form)) for form in (qform, sform)]
        if axes[0] != axes[1]:
            _warn(path, f"qform says {axes[0]}, sform says {axes[1]}: sform is used, check it")


def _warn(path: Path, message: str) -> None:
    warnings.warn(f"{path}: {message}", ScanWarning, stacklevel=5)


def _read_voxels(path: Path, header) -> np.ndarray:
    try:
        dtype = header.get_data_dtype()
    except (KeyError, *_UNREADABLE):
        dtype = np.dtype("V")
    if dtype.kind not in "iuf":
        code = int(header["datatype"])
        raise ScanError(f"{path}: expected real numbers, got voxels of type code {code}")
    start = float(header["vox_offset"])
    if not 0 <= start < 2**31:
        raise ScanError(f"{path}: expected the voxels' place in the file, header says {start}")
    n_voxels = int(np.prod(header.get_data_shape(), dtype=np.int64))
    expected = int(start) + n_voxels * dtype.itemsize
    try:
        with ImageOpener(str(path), "rb") as file:
            content = file.read(expected)
            file.read(1)  # reaching the end makes gzip check its checksum
        if len(content) < expected:
            raise EOFError(f"{len(content)} bytes of {expected}")
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        with np.errstate(over="ignore"):  # too large for float32: infinite, and refused below
            voxels = kind.from_bytes(content).get_fdata(dtype=np.float32, caching="unchanged")
    except _UNREADABLE as error:
        raise ScanError(f"{path}: expected all voxels, got a broken file ({error})") from error
    bad = voxels.size - int(np.isfinite(voxels).sum())
    if bad:
        raise ScanError(f"{path}: expected finite values, got {bad} voxels of NaN or infinity")
    return voxels


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
