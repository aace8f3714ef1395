"""The scripts behind the evidence: what they would run, and that they can."""

import csv
import hashlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from train_discs import Discs

from maskdiff_edu.brains import atlas, cohort_seeds
from maskdiff_edu.brains.cohorts import COHORTS
from maskdiff_edu.detection import build_method
from maskdiff_edu.evaluation import runs
from maskdiff_edu.evaluation.results import Row, load_run
from maskdiff_edu.scans import Slices
from maskdiff_edu.training import PRESETS, TrainConfig, available_models
from maskdiff_edu.training.checkpoints import MODELS

SCRIPTS = Path(__file__).resolve().parent.parent / "data_scripts"


def script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ablate():
    return script("ablate")


@pytest.fixture(scope="module")
def real_people():
    return script("run_real")


# --- ablations ----------------------------------------------------------------------------------


def test_every_variant_has_valid_settings_and_differs_from_the_others(ablate):
    told = [(v.config, repr(v.corrupt), v.start, v.subjects) for v in ablate.VARIANTS]
    assert (
        len({v.name for v in ablate.VARIANTS}) == len(ablate.VARIANTS) == len(set(map(str, told)))
    )
    known = {v.name for v in ablate.VARIANTS}
    assert all(v.start in known for v in ablate.VARIANTS if v.start)


def test_a_variant_changes_one_thing_of_the_start(ablate):
    """More than one setting only where they belong together: a band of t, or equal time."""
    together = [{"t_min", "t_max"}, {"batch_size", "steps"}, {"unet", "steps"}]
    together += [{"schedule", "t_min", "t_max"}]
    for variant in ablate.VARIANTS:
        changes = set(variant.changes)
        if len(changes) > 1 and not variant.score_at and variant.name != "small-batches-high-lr":
            assert changes in together, variant.name
        assert not (variant.changes and variant.corrupt), variant.name


def test_the_long_runs_have_the_settings_of_the_presets(ablate):
    """They are what the shipped models are trained with."""
    for variant in ablate.VARIANTS:
        if variant.score_at:
            assert variant.config == PRESETS[variant.preset]


def patient(n=2):
    image = torch.zeros(n, 1, 96, 96)
    brain_mask = torch.zeros(n, 1, 96, 96, dtype=torch.bool)
    brain_mask[..., 20:76, 20:76] = True
    lesion_mask = torch.zeros_like(brain_mask)
    lesion_mask[..., 40:50, 40:50] = True
    image = torch.where(brain_mask, torch.where(lesion_mask, 0.8, image), -1)
    return Slices(image, brain_mask, np.eye(4), -1.0, 1.0, lesion_mask)


def test_a_variant_is_trained_scored_and_written(ablate, tmp_path, monkeypatch):
    monkeypatch.setattr(ablate, "CHECKPOINTS", tmp_path / "runs")
    monkeypatch.setattr(ablate, "SlicePool", lambda seeds: Discs())
    monkeypatch.setattr(ablate, "TIMES", (200,))
    variant = replace(ablate.VARIANTS[0], changes={"steps": 3, "batch_size": 2}, score_at=(2,))
    ablate.run(variant, tmp_path, {"ms": [patient(), patient()]}, {"train": [patient()]})
    result = json.loads((tmp_path / f"{variant.name}.json").read_text())
    assert result["train"]["steps"] == 3 and result["train"]["corruption"] == "none"
    assert set(result["curve"]) == {"2"} and variant.name in result["command"]
    for scored in (result["auprc"], result["curve"]["2"]):
        values = scored["ms"]["positive"]["200"]
        assert len(values) == 2 and all(0 < value <= 1 for value in values)
    assert 0 < result["healthy_error"]["train"][0] < 2
    assert (tmp_path / "runs" / variant.name / "checkpoint.safetensors").exists()


def test_other_schedules_are_scored_at_the_same_snr(ablate):
    seen = []
    network = lambda x_t, t: seen.append(int(t[0])) or x_t  # noqa: E731
    config = replace(PRESETS["ddpm"], schedule="linear", t_min=48, t_max=176)
    ablate.reconstruct_at(250, network, config, patient().images)
    schedule = ablate.make_schedule(config)
    cosine = ablate.Schedule.cosine()
    expected = float(cosine.snr(250))
    assert set(seen) and float(schedule.snr(seen[0])) == pytest.approx(expected, rel=0.05)


# --- the final runs -----------------------------------------------------------------------------


def test_no_test_subject_is_scored_before_all_is_trained_and_chosen(tmp_path, monkeypatch):
    evidence = script("run_evidence")
    done = []

    def edu(*arguments):
        done.append([str(a) for a in arguments])
        if arguments[0] == "train":
            folder = Path(arguments[arguments.index("--out") + 1])
            folder.mkdir(parents=True)
            (folder / "model.safetensors").touch()
            (folder / "model.json").write_text("{}")

    monkeypatch.setattr(evidence, "edu", edu)
    monkeypatch.setattr(evidence, "TRAINED", tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_evidence.py"])
    evidence.main()
    stages = [command[0] for command in done]
    assert stages == ["train"] * 10 + ["choose"] * 10 + ["evaluate"] * 10 + ["compare"]
    chosen = [command for command in done if command[0] == "choose"]
    assert ["--like" in command for command in chosen] == [False] * 4 + [True] * 6
    done.clear()
    evidence.main()
    assert "train" not in [command[0] for command in done], "what is trained is not trained again"


# --- real people --------------------------------------------------------------------------------


@pytest.fixture
def people_folder(tmp_path):
    """Three persons whose slice is the atlas's, at 1 mm, with a border where a skull would be."""
    brain = atlas.load_atlas().t1[:, :, 48].T
    fine = np.full((233, 197), 90, np.uint8)
    fine[20:212, 2:194] = np.kron(np.round(200 * brain), np.ones((2, 2))).astype(np.uint8)
    rows = []
    for name, split in [("a", "train"), ("b", "test"), ("c", "test")]:
        Image.fromarray(fine).save(tmp_path / f"{name}.png")
        rows.append({"file": f"{name}.png", "rows": 233, "cols": 197, "split": split})
    rows.append({"file": "missing.png", "rows": 208, "cols": 169, "split": "test"})
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_slices_of_people_lie_on_the_atlas(real_people, people_folder):
    people = real_people.load_people(people_folder, "test")
    assert people.images.shape == (2, 1, 96, 96), "another size is left out"
    maps = atlas.load_atlas()
    inside = maps.brain[:, :, 48].T > 0.5
    assert np.array_equal(people.brain_masks[0, 0].numpy(), inside)
    expected = np.round(200 * maps.t1[:, :, 48].T)[inside]
    assert np.corrcoef(people.images[0, 0].numpy()[inside], expected)[0, 1] > 0.99
    images, brain_masks = real_people.load_people(people_folder, "train").batch(0, 0, 4)
    assert images.shape == (4, 1, 96, 96) and bool((images[~brain_masks] == -1).all())


@pytest.mark.parametrize("kind", ["tumour", "ms"])
def test_painted_lesions_are_marked_and_lie_in_the_brain(real_people, people_folder, kind):
    people = real_people.load_people(people_folder, "test")
    first, second = real_people.add_lesions(people, kind)
    again = real_people.add_lesions(people, kind)[0]
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.lesion_masks, second.lesion_masks), "each has their own"
    lesion, inside = first.lesion_masks[0, 0], first.brain_masks[0, 0]
    assert 0 < lesion.sum() < 0.2 * inside.sum() and not (lesion & ~inside).any()
    assert first.images[0, 0][lesion].mean() < people.images[0, 0][inside].mean(), "dark on T1"


def test_softer_lesions_are_the_same_ones_with_wider_borders(real_people, people_folder):
    people = real_people.load_people(people_folder, "test")
    hard, soft = (real_people.add_lesions(people, "ms", spread)[0] for spread in (0.0, 1.0))
    assert torch.equal(hard.lesion_masks, soft.lesion_masks)

    def steepest(patient):
        change = (patient.images - people.images[:1])[0, 0]
        return (change[1:] - change[:-1]).abs().max()

    assert steepest(soft) < 0.7 * steepest(hard)
    outside = ~hard.brain_masks
    assert torch.equal(soft.images[outside], people.images[:1][outside])


def test_what_is_darker_than_the_reconstruction_is_found(real_people, people_folder):
    people = real_people.load_people(people_folder, "test")
    [lesioned, _] = real_people.add_lesions(people, "tumour")

    class Knows:
        """A detector that gives the healthy slice back."""

        def reconstruct(self, images):
            return people.images[:1]

        def with_settings(self, **_):
            return self

    used = real_people.Used((200,), 3, 0.0)
    assert real_people.auprc_of(Knows(), lesioned, used) > 0.8


def test_the_error_on_healthy_people_is_the_mean_inside_the_brain(real_people, people_folder):
    people = real_people.load_people(people_folder, "test")

    class Off:
        """A detector whose answer is a quarter too bright."""

        def reconstruct(self, images):
            return images + 0.25

    assert real_people.healthy_error(Off(), people, 2) == pytest.approx([0.25] * 2)


# --- scores -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scoring():
    return script("ablate_scoring")


def test_ssim_is_1_for_equal_images_and_follows_its_definition(scoring):
    x = np.random.default_rng(0).uniform(-1, 1, (2, 1, 24, 24))
    np.testing.assert_allclose(scoring.ssim(x, x), 1)
    assert scoring.ssim(x, -x).mean() < 0, "a negative is unlike"
    one, half = np.ones((1, 1, 9, 9)), np.zeros((1, 1, 9, 9))  # 1 and .5 on the scale 0..1
    expected = (2 * 0.5 + 1e-4) / (1.25 + 1e-4)  # luminance alone differs
    np.testing.assert_allclose(scoring.ssim(one, half), expected)


def test_a_place_is_the_same_for_every_crop(scoring):
    whole = patient()
    affine = np.diag([-2.0, -2, 2, 1])
    affine[:3, 3] = 90, 100, -60
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [4, 6, 0]  # the crop begins 4 columns and 6 rows later
    full, crop = (replace(whole, affine=a) for a in (affine, moved))
    for one, other in zip(scoring.place(full), scoring.place(crop), strict=True):
        assert np.array_equal(one[..., 6:, 4:], other[..., :-6, :-4])


def test_every_score_finds_a_bright_square(scoring):
    slices = patient()
    healthy = np.where(slices.brain_masks, 0.0, -1.0)
    drawn = healthy + 0.01 * np.random.default_rng(1).standard_normal((3, 4, *healthy.shape))
    brain, lesion = slices.brain_masks.numpy(), slices.lesion_masks.numpy()
    for name, values in scoring.scores_of(slices, drawn, np.ones(scoring.GRID)).items():
        assert values.shape == healthy.shape
        assert values[lesion].mean() > 5 * values[brain & ~lesion].mean(), name


# --- committed results --------------------------------------------------------------------------

ABLATIONS = sorted((runs.SHIPPED / "ablations").glob("*.json"))


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_a_committed_ablation_is_what_the_script_would_run(ablate, path):
    result = json.loads(path.read_text(encoding="utf-8"))
    [variant] = [v for v in ablate.VARIANTS if v.name == path.stem]
    assert TrainConfig.from_json(result["train"]) == variant.config
    assert result["train"].get("n_subjects", variant.subjects) == variant.subjects
    assert result["command"] == f"python data_scripts/ablate.py {path.stem}"
    assert {int(step) for step in result["curve"]} == set(variant.score_at)
    for kind, n in ablate.SUBJECTS.items():
        for by_t in result["auprc"][kind].values():
            assert [len(values) for values in by_t.values()] == [n] * len(ablate.TIMES)
    assert {split: len(v) for split, v in result["healthy_error"].items()} == ablate.HEALTHY


@pytest.fixture(scope="module")
def tested():
    return runs.load_runs(runs.SHIPPED / "test")


def test_every_training_was_scored_on_the_test_subjects_of_the_protocol(tested):
    trained = {
        (name, seed) for name, seeds in script("run_evidence").SEEDS.items() for seed in seeds
    }
    assert {(run.method, run.seed) for run in tested} == trained
    for run in tested:
        assert set(run.groups) == set(COHORTS)
        for kind, group in run.groups.items():
            seeds = [int(subject.name.split("-")[1]) for subject in group.subjects]
            assert seeds == list(cohort_seeds("test", kind, 30))


def test_all_trainings_of_a_method_were_scored_with_what_was_chosen_for_the_first(tested):
    for run in tested:
        card = build_method(run.method).card
        chosen = json.loads(json.dumps(card.detector.as_json()))
        assert run.settings == {**chosen, "seed": 0}
        assert (card.chosen.split, card.chosen.kind) == ("validation", "tumour")


def test_the_first_training_of_each_method_is_what_ships(tested):
    firsts = {run.method: run for run in tested if run.seed == 0}
    assert set(firsts) == set(available_models())
    for name, run in firsts.items():
        weights = (MODELS / f"{name}.safetensors").read_bytes()
        assert run.weights_sha256 == hashlib.sha256(weights).hexdigest()
        for kind, row in build_method(name).card.phantom.items():
            mean = run.groups[kind].mean["method"].auprc.value
            assert row.auprc == pytest.approx(mean, abs=1e-5)


def test_the_committed_comparison_is_what_compare_makes_of_the_runs(tested):
    stored = json.loads((runs.SHIPPED / "comparison" / "comparison.json").read_text())
    for kind, rows in runs.compare(tested).items():
        assert set(rows) == set(stored[kind])
        for name, row in rows.items():
            assert Row.from_json(stored[kind][name], "comparison.json") == row


def test_the_rows_of_the_second_comparison_are_whole_and_of_the_same_subjects(tested):
    """A row that is still being measured is not committed."""
    for run in runs.load_runs(runs.SHIPPED / "others" / "phantoms"):
        for kind, group in tested[0].groups.items():
            names = [subject.name for subject in group.subjects]
            assert [subject.name for subject in run.groups[kind].subjects] == names
    real = runs.load_runs(runs.SHIPPED / "others" / "real")
    for run in real:
        assert {kind: len(group.ill) for kind, group in run.groups.items()} == {
            "real-glioma": 14,
            "real-ms": 3,
        }
    shipped = {run.method: run.weights_sha256 for run in tested if run.seed == 0}
    for run in real:
        assert run.weights_sha256 == shipped.get(run.method, run.weights_sha256)


def test_softer_borders_were_measured_with_what_ships(tested):
    shipped = {run.method: run.weights_sha256 for run in tested if run.seed == 0}
    softened = runs.load_runs(runs.SHIPPED / "edges")
    groups = {f"ms+{spread:g}" for spread in script("run_edges").SPREADS["ms"]}
    for run in softened:
        assert run.weights_sha256 == shipped[run.method] and set(run.groups) == groups
    stored = json.loads((runs.SHIPPED / "edges_comparison" / "comparison.json").read_text())
    for kind, rows in runs.compare(softened).items():
        for name, row in rows.items():
            assert Row.from_json(stored[kind][name], "comparison.json") == row


def test_the_real_patient_was_scored_once_a_training_with_the_same_weights(tested):
    patient = runs.load_runs(runs.SHIPPED / "real" / "patient")
    known = {run.name: run.weights_sha256 for run in tested}
    for run in patient:
        assert known[run.name] == run.weights_sha256
        assert len(run.groups["patient"].subjects) == 1


@pytest.mark.parametrize("folder", ["test", "real/patient", "real/people"])
def test_a_committed_run_is_written_back_as_it_was_read(folder):
    for path in sorted((runs.SHIPPED / folder).glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        written = load_run(path).as_json()
        assert {name: written[name] for name in stored} == stored
        if folder != "real/people":  # which a script wrote: these hold less
            assert json.dumps(written) == json.dumps(stored)
