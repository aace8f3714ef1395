"""The average brain that ships with the package: tissue maps and real T1 and T2 averages.

Source: ICBM 152 nonlinear asymmetric 2009c (notice in `data/NOTICE.txt`), 2 mm, remade by
`data_scripts/build_atlas.py`.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from maskdiff_edu.errors import SettingsError
from maskdiff_edu.scans import Scan

CONTRASTS = ("t2", "t1")


@dataclass(frozen=True)
class Atlas:
    """Maps of one average brain on the working grid (96, 96, 80), 2 mm, axes LPS."""

    gm: np.ndarray  #: share of grey matter in a voxel, 0..1
    wm: np.ndarray  #: share of white matter, 0..1
    brain: np.ndarray  #: 1 inside the brain, 0 outside
    t1: np.ndarray  #: average T1-weighted image, 0..1, reaching 2 voxels beyond the brain
    t2: np.ndarray  #: average T2-weighted image, likewise
    affine: np.ndarray  #: (4, 4), voxel -> mm in MNI space

    @property
    def csf(self) -> np.ndarray:
        """Share of fluid: what is neither grey nor white inside the brain."""
        return (self.brain - self.gm - self.wm).clip(0, 1)

    def template(self, contrast: str) -> np.ndarray:
        """The average image of a contrast, `"t2"` or `"t1"`."""
        return getattr(self, check_contrast(contrast))


def check_contrast(contrast: str) -> str:
    """Return `contrast`; SettingsError if it is not one of `CONTRASTS`."""
    if contrast not in CONTRASTS:
        raise SettingsError(f"contrast: expected one of {CONTRASTS}, got {contrast!r}")
    return contrast


@cache
def load_atlas() -> Atlas:
    """The atlas, read once and kept; its arrays are read-only."""
    path = resources.files("maskdiff_edu") / "data" / "atlas.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        maps = {k: arrays[k].astype(np.float32) / 255 for k in arrays.files if k != "affine"}
        affine = arrays["affine"]
    for array in (*maps.values(), affine):
        array.flags.writeable = False
    return Atlas(**maps, affine=affine)


def load_template(contrast: str = "t2") -> Scan:
    """The real average brain of 152 healthy adults as a scan, skull-stripped, intensity 0..1000.

    It serves as a healthy control that has real anatomy and real contrast. It is an average, so
    it is smoother than any one person's scan.
    """
    atlas = load_atlas()
    brain_mask = atlas.brain > 0.5
    image = np.where(brain_mask, 1000 * atlas.template(contrast), 0).astype(np.float32)
    return Scan(image, brain_mask, atlas.affine.copy(), name=f"mni152-{contrast}")
