"""A model taught one scanner: what it learns, what it refuses, what its card says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from maskdiff_edu.brains import add_lesions, make_subject
from maskdiff_edu.cli import app
from maskdiff_edu.detection import build_method, scanner
from maskdiff_edu.detection.scanner import AdaptSettings, adapt_to_scanner, checked
from maskdiff_edu.errors import ScanError, SettingsError
from maskdiff_edu.scans import to_slices, write_subject
from maskdiff_edu.training.pool import Discs


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(scanner, "other_people", Discs)  # no subject has to be made


@pytest.fixture(scope="module")
def detector():
    return build_method("ddpm", draws=1, precision="auto").detector


@pytest.fixture(scope="module")
def people():
    return [make_subject(seed).crop_slices(6) for seed in (100_011, 100_012)]


def test_another_contrast_and_an_ill_brain_are_refused(detector, people):
    checked(people[0], detector)
    t1 = make_subject(100_011, "t1").crop_slices(6)
    with pytest.raises(ScanError, match=r"100011.*T2-weighted.*-\d"):
        checked(t1, detector)
    ill = add_lesions(make_subject(100_011), "tumour", 9)
    centre = int(np.argmax(ill.lesion_mask.sum(axis=(0, 1))))
    part = replace(
        ill, image=ill.image[:, :, centre - 3 : centre + 3],
        brain_mask=ill.brain_mask[:, :, centre - 3 : centre + 3],
        lesion_mask=ill.lesion_mask[:, :, centre - 3 : centre + 3],
        tissues=ill.tissues[..., centre - 3 : centre + 3],
    )  # fmt: skip
    with pytest.raises(ScanError, match="expected a healthy brain"):
        checked(part, detector)


def test_a_taught_model_is_a_model_like_any_other(quick, people, tmp_path):
    settings = AdaptSettings(steps=3)
    made = adapt_to_scanner("ddpm", people, tmp_path / "mine", settings, "cpu")
    card = json.loads((tmp_path / "mine" / "model.json").read_text())
    assert card["method"] == "ddpm-adapted"
    assert card["adapted"] == {
        "from": "ddpm", "scans": 1, "kept_aside": 1, "steps": 3, "seed": 0, "fpr": 0.01,
    }  # fmt: skip
    read = build_method(tmp_path / "mine" / "model.safetensors")
    shipped = build_method("ddpm")
    assert read.threshold == made.threshold is not None
    assert read.settings == shipped.settings
    weights = [next(m.detector.model.parameters()) for m in (read, shipped)]
    assert not torch.equal(*weights)


def test_the_threshold_is_that_of_the_scan_kept_aside(quick, people, tmp_path):
    made = adapt_to_scanner("ddpm", people, tmp_path, AdaptSettings(steps=1, fpr=0.05), "cpu")
    [aside] = scanner.kept_aside(2, seed=0)
    slices = to_slices(people[aside])
    above = made.detector.detect(slices).anomaly_map[slices.brain_masks] > made.threshold
    assert float(above.float().mean()) == pytest.approx(0.05, abs=1e-3)


def test_numbers_of_scans_are_checked(people, tmp_path):
    for scans in ([], people * 11):
        with pytest.raises(SettingsError, match="1 to 20 healthy scans"):
            adapt_to_scanner("ddpm", scans, tmp_path)
    with pytest.raises(SettingsError, match="expected a network"):
        adapt_to_scanner("intensity", people, tmp_path)


def test_command_teaches_and_refuses(quick, people, tmp_path):
    write_subject(people[0], tmp_path / "healthy")
    scan = next((tmp_path / "healthy").rglob("*_t2.nii.gz"))
    command = ["adapt", str(scan), "--steps", "2", "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.output
    assert "threshold none, from one scan alone" in done.stdout
    again = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "mine")])
    assert again.exit_code == 2 and "expected no training here" in again.stderr
