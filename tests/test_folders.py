import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskdiff_edu.errors import ScanError, ScanWarning
from maskdiff_edu.scans import Scan, find_scans, folders, save_volume, write_subject

REAL = os.environ.get("MASKDIFF_REAL")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found_in(folder, contrast="t2"):
    """(name, scan, brain mask, lesion mask) with paths relative to the folder."""

    def short(path):
        return None if path is None else path.relative_to(folder).as_posix()

    return [
        (f.name, short(f.image), short(f.brain_mask), short(f.lesion_mask))
        for f in find_scans(folder, contrast)
    ]


def test_brats_folders(tmp_path):
    for name in ("BraTS2021_00495", "BraTS2021_00011"):
        roles = ("t1", "t1ce", "t2", "flair", "seg")
        touch(tmp_path, *(f"{name}/{name}_{role}.nii.gz" for role in roles))
    touch(tmp_path, "BraTS2021_00011/BraTS2021_00011_brainmask.nii.gz", "name_mapping.csv")
    first, second = "BraTS2021_00011/BraTS2021_00011", "BraTS2021_00495/BraTS2021_00495"
    assert found_in(tmp_path) == [
        (
            "BraTS2021_00011",
            f"{first}_t2.nii.gz",
            f"{first}_brainmask.nii.gz",
            f"{first}_seg.nii.gz",
        ),
        ("BraTS2021_00495", f"{second}_t2.nii.gz", None, f"{second}_seg.nii.gz"),
    ]
    assert [f[1] for f in found_in(tmp_path, "flair")] == [
        f"{name}_flair.nii.gz" for name in (first, second)
    ]
    assert [f[1] for f in found_in(tmp_path, "t1")] == [
        f"{name}_t1.nii.gz" for name in (first, second)
    ]


def test_one_subject_is_a_folder_too(tmp_path):
    touch(tmp_path / "patient26", "T1.nii.gz", "T2.nii.gz", "FLAIR.nii.gz", "lesion_mask.nii.gz")
    expected = ("patient26", "T2.nii.gz", None, "lesion_mask.nii.gz")
    assert found_in(tmp_path / "patient26") == [expected]
    assert [f.name for f in find_scans(tmp_path)] == ["patient26"]


def test_mslub_names(tmp_path):
    roles = ("T1W", "T1WKS", "T2W", "FLAIR", "brainmask", "consensus_gt")
    touch(tmp_path, *(f"patient01/patient01_{role}.nii.gz" for role in roles))
    touch(tmp_path, "patient01/raw/patient01_T2W.nii.gz")
    assert found_in(tmp_path) == [
        (
            "patient01",
            "patient01/patient01_T2W.nii.gz",
            "patient01/patient01_brainmask.nii.gz",
            "patient01/patient01_consensus_gt.nii.gz",
        )
    ]


def test_flat_folder_pairs_masks_by_name(tmp_path):
    touch(
        tmp_path,
        "IXI002-Guys-0828-T2.nii.gz",
        "IXI002-Guys-0828-T2_brainmask.nii.gz",
        "IXI012-HH-1211-T2.nii",
        "IXI012-HH-1211_brain_mask.nii.gz",
        "IXI013-HH-1212-T2.nii",
        "IXI013-HH-1212-T1.nii",
        "IXI014-HH-1236-T2_mask.nii.gz",
        ".IXI099-T2.nii.gz",
        "notes.txt",
    )
    assert found_in(tmp_path) == [
        (
            "IXI002-Guys-0828",
            "IXI002-Guys-0828-T2.nii.gz",
            "IXI002-Guys-0828-T2_brainmask.nii.gz",
            None,
        ),
        ("IXI012-HH-1211", "IXI012-HH-1211-T2.nii", "IXI012-HH-1211_brain_mask.nii.gz", None),
        ("IXI013-HH-1212", "IXI013-HH-1212-T2.nii", None, None),
    ]


def test_names_without_a_contrast(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii", "b_seg.nii", "c_brainmask.nii", "missegmented.nii")
    assert found_in(tmp_path) == [
        ("a", "a.nii.gz", None, None),
        ("b", "b.nii", None, "b_seg.nii"),
        ("missegmented", "missegmented.nii", None, None),
    ]
    # one named after the contrast: the others are something else
    touch(tmp_path, "pd_study_d_t2.nii")  # the last word that names a contrast counts
    assert [f[0] for f in found_in(tmp_path)] == ["pd_study_d"]


def test_a_single_file_finds_its_own_masks_only(tmp_path):
    touch(tmp_path, "a_t2.nii.gz", "b_t2.nii.gz", "b_t2_seg.nii.gz", "b_brainmask.nii.gz")
    (a,), (b,) = (find_scans(tmp_path / f"{name}_t2.nii.gz") for name in "ab")
    assert (a.name, a.brain_mask, a.lesion_mask) == ("a", None, None)
    assert (b.name, b.brain_mask.name, b.lesion_mask.name) == (
        "b",
        "b_brainmask.nii.gz",
        "b_t2_seg.nii.gz",
    )


def test_no_two_scans_share_a_name(tmp_path):
    touch(tmp_path, "x/s_t2.nii", "y/s_t2.nii", "z/s_t2_run1.nii", "z/s_t2_run2.nii")
    assert [f.name for f in find_scans(tmp_path)] == ["x_s", "y_s", "z_s", "z_s_2"]


@pytest.mark.parametrize(
    "mask",
    [
        "P_seg",
        "P_Segm",
        "P_tumor_segmentation",
        "P_segmentation",
        "P-lesion",
        "P_lesions",
        "P_lesion_mask",
        "P_lesion-manual",
        "P_Consensus",
        "P_consensus_gt",
        "P_gt",
        "P_lesion_msk",
        "P_label-lesion_roi",
        "P_T2w_seg",
        "P_desc-T1lesion_mask",
        "P_T2w_label-lesion_mask",
        "P_tumourmask",
    ],
)
def test_what_lesion_masks_are_called(tmp_path, mask, recwarn):
    touch(tmp_path, "P_T2w.nii.gz", f"{mask}.nii.gz")
    assert found_in(tmp_path) == [("P", "P_T2w.nii.gz", None, f"{mask}.nii.gz")]
    assert [w for w in recwarn if w.category is ScanWarning] == []


@pytest.mark.parametrize("mask", ["P_brainmask", "P_brain_mask", "P_bet_mask", "P_T2w_brain_msk"])
def test_what_brain_masks_are_called(tmp_path, mask, recwarn):
    touch(tmp_path, "P_T2w.nii.gz", f"{mask}.nii.gz")
    assert found_in(tmp_path) == [("P", "P_T2w.nii.gz", f"{mask}.nii.gz", None)]
    assert [w for w in recwarn if w.category is ScanWarning] == []


@pytest.mark.parametrize("name", ["P_mask", "P_msk", "P_roi", "P_labels", "P_brain_seg", "Q_seg"])
def test_a_mask_of_who_knows_what_is_named_and_is_no_scan(tmp_path, name):
    touch(tmp_path, "P_T2w.nii.gz", "R_T2w.nii.gz", f"{name}.nii.gz")
    with pytest.warns(ScanWarning, match=rf"not used, for their names tell.*: {name}.nii.gz$"):
        found = found_in(tmp_path)
    assert [f[1:] for f in found] == [(f"{p}_T2w.nii.gz", None, None) for p in "PR"]


@pytest.mark.parametrize(
    "other",
    ["T2star", "T2starw", "T2FLAIR", "T2_FLAIR", "bold", "ct", "CT", "dwi", "T1map", "UNIT1"],
)
def test_another_contrast_is_not_taken_for_the_one_asked_for(tmp_path, other, recwarn):
    touch(tmp_path, f"P_{other}.nii.gz")
    with pytest.raises(ScanError, match="expected t2 scans"):
        find_scans(tmp_path)
    touch(tmp_path, "P_T2w.nii.gz")
    assert [f[1] for f in found_in(tmp_path)] == ["P_T2w.nii.gz"]
    assert [w for w in recwarn if w.category is ScanWarning] == []


def test_a_folder_of_labels_holds_no_scans(tmp_path):
    """As the Medical Segmentation Decathlon lays them out."""
    touch(tmp_path, "imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz")
    with pytest.warns(ScanWarning, match=r"labelsTr/BRATS_001.nii.gz$"):
        assert [f[1] for f in found_in(tmp_path)] == ["imagesTr/BRATS_001.nii.gz"]


def test_results_of_before_are_no_scans(tmp_path, recwarn):
    results = ("anomaly.nii.gz", "reconstruction.nii.gz", "scores.json")
    touch(tmp_path, "P.nii.gz", *(f"P/{name}" for name in results), *results)
    assert [f[1] for f in found_in(tmp_path)] == ["P.nii.gz"]
    assert [w for w in recwarn if w.category is ScanWarning] == []


def test_a_mask_that_is_a_broken_link_is_not_passed_over(tmp_path):
    touch(tmp_path, "P_T2w.nii.gz")
    (tmp_path / "P_seg.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    (found,) = find_scans(tmp_path)
    assert found.lesion_mask == tmp_path / "P_seg.nii.gz"
    with pytest.raises(ScanError):
        found.load()


def test_a_sub_folder_that_cannot_be_read_keeps_no_other(tmp_path, monkeypatch):
    touch(tmp_path, "a/a_t2.nii", "b/b_t2.nii")
    iterdir = Path.iterdir

    def refuses(path):
        if path.name == "a":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuses)
    a, b = find_scans(tmp_path)
    assert (a.name, b.name) == ("a", "b")
    with pytest.raises(ScanError, match="expected a NIfTI file, got a folder"):
        a.load()


def test_linked_data_are_called_by_their_links(tmp_path):
    """As DataLad and caches lay them out: the link has the name, the content a digest."""
    touch(tmp_path, "store/0f/8d2e.nii.gz")
    (tmp_path / "data" / "sub-01").mkdir(parents=True)
    (tmp_path / "data" / "sub-01" / "T2.nii.gz").symlink_to(tmp_path / "store/0f/8d2e.nii.gz")
    assert [f.name for f in find_scans(tmp_path / "data")] == ["sub-01"]


def test_names_stay_unlike_whatever_they_are(tmp_path):
    touch(tmp_path, "a_t2.nii", "a_2_t2.nii", "x/A_t2.nii", "y/a_2_t2.nii", "z/s_t2.nii")
    names = [f.name for f in find_scans(tmp_path)]
    assert len({name.casefold() for name in names}) == len(names) == 5


def test_a_thousand_scans_are_found_at_once(tmp_path, monkeypatch):
    """Each name is looked at a few times, not once for every other one."""
    touch(tmp_path, *(f"P{i}_{role}.nii" for i in range(300) for role in ("t2", "seg")))
    looked_at = []
    mask_tail = folders._mask_tail
    monkeypatch.setattr(folders, "_mask_tail", lambda stem: looked_at.append(1) or mask_tail(stem))
    assert all(f.lesion_mask for f in find_scans(tmp_path))
    assert len(looked_at) <= 3 * 600


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_name_that_is_not_utf_8(tmp_path):
    (tmp_path / os.fsdecode(b"P\xff_t2.nii")).touch()
    (found,) = find_scans(tmp_path)
    assert found.name.encode().decode() == "P\ufffd"


def test_nothing_to_find(tmp_path):
    with pytest.raises(ScanError, match="missing: expected a scan or a folder"):
        find_scans(tmp_path / "missing")
    with pytest.raises(ScanError, match="expected t2 scans"):
        find_scans(tmp_path)
    touch(tmp_path, "a_flair.nii.gz", "a_seg.nii.gz")
    with pytest.raises(ScanError, match="expected t2 scans"):
        find_scans(tmp_path)
    with pytest.raises(ValueError, match=r"expected a contrast of t2, .*got 'ct'"):
        find_scans(tmp_path, "ct")


def subject(name="sub-7", lesions=True):
    rng = np.random.default_rng(5)
    brain = np.zeros((20, 22, 24), bool)
    brain[3:17, 4:18, 5:19] = True
    image = np.where(brain, rng.normal(200, 30, brain.shape), 0).astype(np.float32)
    image[10, 10, 10] = 0.0  # inside the brain, which only the mask file tells
    brain[3, 4, 5] = False
    affine = np.array([[-2.0, 0, 0, 20], [0, -2, 0, 30], [0, 0, 2, -9], [0, 0, 0, 1]])
    lesion = brain & (image > 250) if lesions else None
    return Scan(image, brain, affine, name, lesion)


@pytest.mark.parametrize("lesions", [True, False])
def test_a_written_subject_comes_back(tmp_path, lesions):
    scan = subject(lesions=lesions)
    assert write_subject(scan, tmp_path / "cohort") == tmp_path / "cohort" / "sub-7"
    write_subject(replace(scan, name="sub-8"), tmp_path / "cohort")
    written = sorted(p.name for p in (tmp_path / "cohort" / "sub-7").iterdir())
    roles = ["brainmask", "seg", "t2"] if lesions else ["brainmask", "t2"]
    assert written == [f"sub-7_{role}.nii.gz" for role in roles]

    first, second = (files.load() for files in find_scans(tmp_path / "cohort"))
    assert (first.name, second.name) == ("sub-7", "sub-8")
    np.testing.assert_array_equal(first.image, scan.image)
    np.testing.assert_array_equal(first.brain_mask, scan.brain_mask)
    np.testing.assert_array_equal(first.affine, scan.affine)
    if lesions:
        np.testing.assert_array_equal(first.lesion_mask, scan.lesion_mask)
    else:
        assert first.lesion_mask is None


def test_contrasts_lie_side_by_side(tmp_path):
    scan = subject()
    write_subject(scan, tmp_path, "t2")
    write_subject(replace(scan, image=scan.image + 1), tmp_path, "t1")
    for contrast, offset in (("t2", 0), ("t1", 1)):
        (files,) = find_scans(tmp_path, contrast)
        np.testing.assert_array_equal(files.load().image, scan.image + offset)


def test_subjects_that_cannot_be_written(tmp_path):
    for name in ("", "a/b", "..", ".hidden"):
        with pytest.raises(ValueError, match="expected a name that can name a file"):
            write_subject(subject(name), tmp_path)
    with pytest.raises(ValueError, match="expected a contrast"):
        write_subject(subject(), tmp_path, "x-ray")
    (tmp_path / "file").touch()
    with pytest.raises(ScanError, match="cannot be made"):
        write_subject(subject(), tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_half_written_files_are_not_found(tmp_path):
    save_volume(tmp_path / "a_t2.nii.gz", np.ones((3, 3, 3)), np.eye(4))
    touch(tmp_path, ".b_t2.nii.gz.123.nii.gz")
    assert [f.name for f in find_scans(tmp_path)] == ["a"]


@pytest.mark.skipif(not REAL, reason="MASKDIFF_REAL names no folder of real scans")
def test_the_real_patient_is_found():
    (files,) = find_scans(Path(REAL) / "mslub_patient26")
    assert files.name == "mslub_patient26" and files.brain_mask is None
    assert (files.image.name, files.lesion_mask.name) == ("T2.nii.gz", "lesion_mask.nii.gz")
