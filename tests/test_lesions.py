"""Lesions: exact masks, anatomy around them untouched, and a generator that is frozen."""

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scope import EVERYTHING
from sklearn.metrics import average_precision_score

from maskdiff_edu.brains import (
    LESION_KINDS,
    add_lesions,
    cohort_seeds,
    draw_lesions,
    lesions,
    make_subject,
)

# Written down before any trained detector was scored on the test subjects. If one of these
# changes, every number measured on generated patients is void and must be measured anew.
# Of the code without imports, comments and docstrings: where a module lies changes no lesion.
FROZEN_CODE = "27a512c9e664b2ee95edc57fae51e7bd7e5796382f1b6158094502f0a7357bfc"
FROZEN_DRAWS = {
    "tumour": "bf7ba0470e1c56b7",
    "ms": "2d04de9d0188a8eb",
    "stroke": "a226dfdeb180cf6b",
    "subtle": "2b34c6804ca31ef8",
    "dark": "895b3f1ca29f76b0",
}


@pytest.fixture(scope="module")
def subject():
    return make_subject(100_003)


@pytest.fixture(scope="module")
def patients(subject):
    return {kind: add_lesions(subject, kind, seed=1) for kind in LESION_KINDS}


def test_the_generator_is_frozen():
    code = ast.parse(Path(lesions.__file__).read_text(encoding="utf-8"))
    code.body = [part for part in code.body if not isinstance(part, ast.Import | ast.ImportFrom)]
    for part in ast.walk(code):
        if isinstance(part, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            part
        ):
            del part.body[0]
    assert hashlib.sha256(ast.unparse(code).encode()).hexdigest() == FROZEN_CODE


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_the_test_patients_are_frozen(kind):
    seeds = cohort_seeds("test", kind, 3)
    drawn = "".join(repr(draw_lesions(make_subject(seed), kind, seed)) for seed in seeds)
    assert hashlib.sha256(drawn.encode()).hexdigest()[:16] == FROZEN_DRAWS[kind]


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_lesions_lie_in_the_brain_and_change_the_image_there(kind, subject, patients):
    patient = patients[kind]
    lesion = patient.lesion_mask
    assert lesion.any() and not (lesion & ~patient.brain_mask).any()
    change = np.abs(patient.image - subject.image)
    assert np.median(change[lesion]) > 3 * np.median(change[subject.brain_mask & ~lesion])


@pytest.mark.parametrize("kind", ["ms", "stroke", "subtle", "dark"])
def test_all_else_stays_as_it_was(kind, subject, patients):
    """Beyond the reach of the scanner's blur, patient and healthy twin are the same scan."""
    patient = patients[kind]
    far = ndimage.distance_transform_edt(~patient.lesion_mask) > 14
    assert np.abs(patient.image - subject.image)[far].max() < 0.5  # of about 1000
    assert np.array_equal(patient.brain_mask, subject.brain_mask)


def test_a_tumour_pushes_tissue_away(subject, patients):
    """Outside the tumour the tissue maps have moved, least where it is far away."""
    patient = patients["tumour"]
    moved = np.abs(patient.tissues - subject.tissues).sum(axis=0)
    distance = ndimage.distance_transform_edt(~patient.lesion_mask)
    near = moved[patient.brain_mask & (distance > 0) & (distance < 6)].mean()
    far = moved[patient.brain_mask & (distance > 30)].mean()
    assert near > 5 * far


def test_ms_spots_are_few_small_and_beside_the_ventricles():
    seeds = range(100_010, 100_014)
    for seed in seeds:
        subject = make_subject(seed)
        params = draw_lesions(subject, "ms", seed)
        assert 2 <= len(params.blobs) <= 7
        assert all(max(blob.radii_mm) < 10 for blob in params.blobs)
        fluid = subject.tissues[2] > 0.5
        fluid &= ndimage.binary_erosion(subject.brain_mask, iterations=8)  # ventricles, not sulci
        distance = ndimage.distance_transform_edt(~fluid, sampling=2)
        for blob in params.blobs:
            assert distance[tuple(np.int64(blob.centre))] < 16


def test_dark_lesions_are_darker_and_bright_ones_brighter_than_their_surroundings(patients):
    for kind, patient in patients.items():
        lesion = patient.lesion_mask
        ring = ndimage.binary_dilation(lesion, iterations=3) & patient.brain_mask & ~lesion
        brighter = np.median(patient.image[lesion]) > np.median(patient.image[ring])
        assert brighter == (kind != "dark")


def test_t1_lesions_tend_towards_fluid():
    patient = add_lesions(make_subject(100_003, "t1"), "tumour", 1)
    white = np.median(patient.image[(patient.tissues[1] > 0.9) & ~patient.lesion_mask])
    assert np.median(patient.image[patient.lesion_mask]) < white


def test_the_same_seeds_give_the_same_patient(subject, patients):
    again = add_lesions(subject, "stroke", seed=1)
    assert np.array_equal(again.image, patients["stroke"].image)
    other = add_lesions(subject, "stroke", seed=2)
    assert not np.array_equal(other.lesion_mask, again.lesion_mask)


def test_bad_arguments_are_named(subject):
    with pytest.raises(ValueError, match="'cyst'"):
        add_lesions(subject, "cyst", 0)
    with pytest.raises(ValueError, match="whole grid"):
        add_lesions(subject.crop_slices(), "ms", 0)


def raw_intensity(kind, seed):
    """AUPRC of the raw intensity, and the lesion's level between grey matter (0) and fluid (1)."""
    patient = add_lesions(make_subject(seed), kind, seed)
    brain_mask, lesion, image = patient.brain_mask, patient.lesion_mask, patient.image
    healthy = ndimage.binary_erosion(brain_mask, iterations=4) & ~lesion
    grey = np.median(image[healthy & (patient.tissues[0] > 0.8)])
    fluid = np.median(image[healthy & (patient.tissues[2] > 0.9)])
    level = (np.median(image[lesion]) - grey) / (fluid - grey)
    return average_precision_score(lesion[brain_mask], image[brain_mask]), level


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "limit"), [("tumour", 0.20), ("ms", 0.05)])
def test_brightness_alone_does_not_find_them(kind, limit):
    seeds = cohort_seeds("test", kind, 30 if EVERYTHING else 10)
    auprc, level = np.array([raw_intensity(kind, seed) for seed in seeds]).T
    assert auprc.mean() <= limit
    assert 0 < np.median(level) < 1  # healthy fluid is brighter, healthy grey matter darker


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stroke", "subtle"])
def test_other_bright_lesions_lie_between_grey_matter_and_fluid(kind):
    levels = [raw_intensity(kind, seed)[1] for seed in cohort_seeds("test", kind, 8)]
    assert 0 < np.median(levels) < 1
