"""The shipped networks do what their cards and the book say, on generated and on real scans."""

import numpy as np
import pytest

from maskdiff_edu.brains import LESION_KINDS, add_lesions, cohort_seeds, load_template, make_subject
from maskdiff_edu.detection import (
    IntensityDetector,
    build_detector,
    build_method,
    metrics,
    score_scan,
    volume_score,
)
from maskdiff_edu.detection.models import DEFAULT_MODEL
from maskdiff_edu.detection.scoring import on_scan_grid
from maskdiff_edu.scans import load_scan, to_slices, to_volume
from maskdiff_edu.training import available_models
from maskdiff_edu.training.checkpoints import MODELS

NAME = "fpm-cm"
HIDES = {"ddpm": "none", "ipm": "ipm", "fpm": "fpm", "fpm-cm": "fpm-cm"}


@pytest.fixture(scope="module")
def method():
    return build_method(NAME, draws=2)


@pytest.fixture(scope="module")
def twins():
    """A validation subject, healthy and with a tumour in its left hemisphere."""
    for seed in cohort_seeds("validation", "tumour"):
        healthy = make_subject(seed)
        patient = add_lesions(healthy, "tumour", seed)
        if np.argwhere(patient.lesion_mask)[:, 0].min() > 52:  # x runs to the patient's left
            return healthy, patient
    raise AssertionError("no left-sided tumour among the validation subjects")


def test_four_methods_ship_in_twelve_megabytes():
    assert available_models() == sorted(HIDES)
    assert sum(path.stat().st_size for path in MODELS.iterdir()) <= 12 * 2**20


@pytest.mark.parametrize("name", sorted(HIDES))
def test_weights_and_card_are_small_and_complete(name):
    assert (MODELS / f"{name}.safetensors").stat().st_size <= 3 * 2**20
    card = build_method(name).card
    assert card.train["corruption"] == HIDES[name] and card.train["prediction"] == "x_0"
    assert set(LESION_KINDS) <= set(card.phantom)
    for row in card.phantom.values():
        low, high = row.ci
        assert 0 <= low <= row.auprc <= high <= 1
        assert 0 < row.prevalence < 0.1


def test_a_healthy_subject_scores_below_its_lesioned_twin(method, twins):
    scores = []
    for subject in twins:
        slices = to_slices(subject)
        found = method.detector.detect(slices)
        scores.append(volume_score(found.anomaly_map, slices.brain_masks))
    healthy, lesioned = scores
    assert healthy < lesioned


def test_the_map_is_high_in_the_lesion_and_on_its_side(method, twins):
    patient = twins[1]
    slices = to_slices(patient)
    anomaly_map = on_scan_grid(method.detector.detect(slices), slices, patient)
    lesion, inside = patient.lesion_mask, patient.brain_mask
    assert anomaly_map[lesion].mean() > 5 * anomaly_map[inside & ~lesion].mean()
    left = np.arange(96)[:, None, None] > 48  # LPS: x grows towards the patient's left
    assert anomaly_map[np.broadcast_to(left, lesion.shape)].sum() > anomaly_map[:48].sum()


def test_the_drawing_is_closer_to_the_healthy_twin_than_the_patient_is(method, twins):
    """It removes the tumour, and does not merely blur it."""
    healthy, patient = twins
    slices = to_slices(patient)
    drawn = method.detector.detect(slices).reconstruction
    drawn = on_grid(drawn, slices, patient)
    scan = on_grid(slices.images, slices, patient)
    truth = on_grid(to_slices(healthy).images, to_slices(healthy), healthy)
    lesion = patient.lesion_mask
    assert np.abs(drawn - truth)[lesion].mean() < 0.7 * np.abs(scan - truth)[lesion].mean()


def on_grid(values, slices, scan):
    return to_volume(values, slices, scan, outside=-1.0)


def test_the_real_average_brain_scores_below_a_patient(method, twins):
    scores = []
    for scan in (load_template("t2"), twins[1]):
        scores.append(score_scan(scan, method).scores.volume_score)
    assert scores[0] < scores[1]


def test_a_real_ms_patient_is_found_better_than_by_brightness(real):
    folder = real / "mslub_patient26"
    scan = load_scan(folder / "T2.nii.gz", lesion_mask=folder / "lesion_mask.nii.gz")
    slices = to_slices(scan)

    def auprc(detector):
        anomaly_map = on_scan_grid(detector.detect(slices), slices, scan)
        return metrics.auprc(anomaly_map, scan.lesion_mask, scan.brain_mask).value

    raw = (to_slices(scan).images + 1) / 2  # no post-processing at all
    raw = on_grid(raw, slices, scan)
    raw = metrics.auprc(raw, scan.lesion_mask, scan.brain_mask).value
    cleaned = auprc(IntensityDetector())
    assert auprc(build_detector(NAME)) > 3 * max(raw, cleaned)


def test_the_default_model_is_the_one_that_validation_supports() -> None:
    """By the setting that each card chose, on the same tumour patients; no test patient decides."""
    cards = {name: build_method(name).card for name in available_models()}
    assert {card.chosen.split for card in cards.values()} == {"validation"}
    reached = {name: max(row.auprc for row in card.chosen.tried) for name, card in cards.items()}
    assert max(reached, key=reached.get) == DEFAULT_MODEL
