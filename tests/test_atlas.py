"""The shipped average brain: the arrays that were built, on the grid that is documented."""

import hashlib
from importlib import resources

import nibabel as nib
import numpy as np
import pytest

from maskdiff_edu.brains import load_atlas, load_template
from maskdiff_edu.scans import to_slices

SHA256 = {  # first 16 digits; data_scripts/build_atlas.py remakes the arrays
    "gm": "6eab8a9f3b362bbe",
    "wm": "e6ff17e53ba18493",
    "brain": "57f72df14031b9d8",
    "t1": "308ed2a94239609f",
    "t2": "80cf891a68ce2928",
    "affine": "82c5ac47b8ca48fc",
}


def test_the_arrays_are_those_that_the_script_builds():
    path = resources.files("maskdiff_edu") / "data" / "atlas.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        digests = {k: hashlib.sha256(arrays[k].tobytes()).hexdigest()[:16] for k in arrays.files}
    assert digests == SHA256
    assert path.stat().st_size <= 2 * 2**20


def test_the_notice_travels_with_the_data():
    notice = (resources.files("maskdiff_edu") / "data" / "NOTICE.txt").read_text()
    assert "McGill" in notice and "the above copyright notice appear in all copies" in notice


def test_axes_are_lps_and_the_brain_is_where_mni_space_has_it():
    atlas = load_atlas()
    assert nib.aff2axcodes(atlas.affine) == ("L", "P", "S")
    centre = np.argwhere(atlas.brain > 0.5).mean(axis=0)
    x, y, z = (atlas.affine @ [*centre, 1])[:3]
    assert abs(x) < 2 and -25 < y < -10 and 5 < z < 20  # mm
    litres = (atlas.brain > 0.5).sum() * 8e-6
    assert 1.7 < litres < 2.0  # the ICBM brain mask, fluid included


def test_tissues_are_shares_of_the_brain():
    atlas = load_atlas()
    inside = atlas.brain > 0.5
    total = atlas.gm + atlas.wm + atlas.csf
    assert np.allclose(total[inside], 1, atol=0.01)
    assert atlas.csf[~inside].max() == 0


def test_contrasts_order_the_tissues_as_scanners_do():
    atlas = load_atlas()

    def mean(image, share):
        return (image * share).sum() / share.sum()

    t2 = [mean(atlas.t2, share) for share in (atlas.wm, atlas.gm, atlas.csf)]
    t1 = [mean(atlas.t1, share) for share in (atlas.csf, atlas.gm, atlas.wm)]
    assert t2 == sorted(t2) and t1 == sorted(t1)


def test_the_template_is_a_scan_like_any_other():
    scan = load_template("t2")
    slices = to_slices(scan)
    assert slices.images.shape[1:] == (1, 96, 96)
    assert scan.image[~scan.brain_mask].max() == 0
    with pytest.raises(ValueError, match="expected one of"):
        load_template("flair")


def test_nobody_can_change_the_atlas_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        load_atlas().gm[0, 0, 0] = 1
