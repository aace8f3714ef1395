"""Remake `maskdiff_edu/data/atlas.npz` from the ICBM MNI152 2009c templates.

The templates travel inside the source archive of an old Python package, `niworkflows` 0.0.5,
so the package registry is the only place this script needs to reach.

    python data_scripts/build_atlas.py
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import typer
from scipy import ndimage

SOURCE = "niworkflows==0.0.5"
FOLDER = "niworkflows-0.0.5/niworkflows/data/templates/mni_icbm152_nlin_asym_09c"
SHAPE = (96, 96, 80)  # voxels of 2 mm, axes LPS: the working grid of the package
MARGIN = 2  # voxels kept around the brain, so that a generated brain mask may be a little wider


def fetch_templates(folder: Path) -> Path:
    """Download the source archive into `folder` and unpack the 2 mm templates."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.check_call([*command, "--no-binary", ":all:", "--dest", str(folder), SOURCE])
    with tarfile.open(folder / "niworkflows-0.0.5.tar.gz") as archive:
        members = [m for m in archive.getmembers() if f"{FOLDER}/2mm_" in m.name]
        archive.extractall(folder, members=members, filter="data")
    return folder / FOLDER


def load_lps(path: Path) -> np.ndarray:
    """The template as a float array with axes LPS (the files are RAS)."""
    image = nib.load(path)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S"), path
    return image.get_fdata()[::-1, ::-1]


def crop_to(volume: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Cut `SHAPE` voxels out of `volume` from `corner` on; zeros where there is nothing."""
    padded = np.pad(volume, [(n, n) for n in SHAPE])
    start = corner + np.array(SHAPE)
    return padded[tuple(slice(a, a + n) for a, n in zip(start, SHAPE, strict=True))]


def build(templates: Path) -> dict[str, np.ndarray]:
    """All arrays of the atlas: tissue maps and templates as uint8, and the affine."""
    brain = load_lps(templates / "2mm_brainmask.nii.gz") > 0
    # Widened within each axial slice only: upwards and downwards the margin would hold the eyes.
    in_plane = ndimage.generate_binary_structure(3, 1)
    in_plane[:, :, [0, 2]] = False
    near_brain = ndimage.binary_dilation(brain, in_plane, iterations=MARGIN)
    tissues = {
        name: load_lps(templates / f"2mm_tpm_{name}.nii.gz").clip(0, 1) * near_brain
        for name in ("gm", "wm")
    }
    # Inside the brain mask, what is neither grey nor white counts as fluid: the rim of the mask
    # holds sulcal fluid and meninges that the fluid map leaves out.
    maps = {**tissues, "brain": brain.astype(float)}
    for name in ("t1", "t2"):
        template = load_lps(templates / f"2mm_{name.upper()}.nii.gz")
        maps[name] = (template / template[brain].max()).clip(0, 1) * near_brain

    others = ((1, 2), (0, 2), (0, 1))
    box = np.array([np.flatnonzero(brain.any(axis=a))[[0, -1]] for a in others])
    corner = (box.sum(axis=1) + 1 - np.array(SHAPE)) // 2
    arrays = {name: crop_to(np.rint(m * 255), corner).astype(np.uint8) for name, m in maps.items()}

    ras = nib.load(templates / "2mm_brainmask.nii.gz")
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(ras.shape[:2]) - 1
    shift = np.eye(4)
    shift[:3, 3] = corner
    arrays["affine"] = ras.affine @ flip @ shift
    return arrays


def main(out: Path = Path("maskdiff_edu/data/atlas.npz")) -> None:
    """Download the templates, build the arrays and write them to OUT."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = build(fetch_templates(Path(folder)))
    np.savez_compressed(out, **arrays)
    print(f"{out}: {out.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    typer.run(main)
