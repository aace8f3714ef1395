"""Every command as it is typed: what it writes, what it says, and its exit code."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from maskdiff_edu.brains import SPLITS, cohort_seeds, load_template
from maskdiff_edu.brains.atlas import CONTRASTS
from maskdiff_edu.brains.cohorts import COHORTS
from maskdiff_edu.cli import app, options
from maskdiff_edu.cli import scans as cli_scans
from maskdiff_edu.cli import training as cli_training
from maskdiff_edu.detection import build_method, models, score_scan
from maskdiff_edu.diffusion import UNet, UNetConfig
from maskdiff_edu.diffusion.asking import InBoxes
from maskdiff_edu.errors import SettingsError
from maskdiff_edu.evaluation import groups
from maskdiff_edu.training import PRESETS, SlicePool, load_pretrained
from maskdiff_edu.training.checkpoints import MODELS, save_model
from maskdiff_edu.training.cost import Cost
from maskdiff_edu.training.loop import CHECKPOINT

AFFINE = np.diag([2.0, 2, 2, 1])
SHAPE = (48, 60, 12)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def brain_image():
    """An ellipsoid of varied tissue without skull, with a bright block in it, and that block."""
    x, y, z = np.indices(SHAPE)
    inside = ((x - 24) / 18) ** 2 + ((y - 30) / 24) ** 2 + ((z - 6) / 7) ** 2 < 1
    texture = np.random.default_rng(0).uniform(0.5, 1.5, SHAPE)
    lesion_mask = inside & (abs(x - 30) < 4) & (abs(y - 30) < 4) & (abs(z - 6) < 2)
    return np.where(inside, 100 * texture + 120 * lesion_mask, 0), inside, lesion_mask


def write(path, volume, affine=AFFINE):
    nib.save(nib.Nifti1Image(np.asarray(volume, np.float32), affine), path)
    return path


@pytest.fixture
def scan(tmp_path):
    image, brain_mask, lesion_mask = brain_image()
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "p_brainmask.nii.gz", brain_mask)
    write(folder / "p_seg.nii.gz", lesion_mask)
    return write(folder / "p_t2.nii.gz", image)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that nobody trained, with a card."""
    torch.manual_seed(0)
    network = UNet(UNetConfig((8, 8), 1, 4, False, False, 8, 4))
    torch.nn.init.normal_(network.head.weight, std=0.1)
    path = tmp_path_factory.mktemp("model") / "fresh.safetensors"
    settings = {"t": 120, "draws": 1, "threshold": 0.25}
    card = {"train": dataclasses.asdict(PRESETS["fpm-cm"]), "detector": settings}
    save_model(path, network, card)
    return path


def test_score_writes_maps_numbers_and_a_report(scan, weights, tmp_path):
    seg = scan.with_name("p_seg.nii.gz")
    done = run("score", scan, "--lesion-mask", seg, "--model", weights, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"anomaly.nii.gz", "reconstruction.nii.gz", "scores.json", "report.html"}
    for name in ("anomaly", "reconstruction"):
        image = nib.load(tmp_path / "out" / f"{name}.nii.gz")
        assert image.shape == SHAPE
        np.testing.assert_allclose(image.affine, AFFINE)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["settings"]["t"] == 120 and scores["threshold"] == 0.25
    assert {"auprc", "dice", "best_dice"} <= set(scores["lesion"]["method"])
    assert f"AUPRC {scores['lesion']['method']['auprc']:.3f}" in done.stdout


def test_options_replace_the_cards_settings_and_drop_its_threshold(scan, weights, tmp_path):
    options = ("--t", 100, "--t", 200, "--draws", 2, "--residual", "absolute", "--seed", 5)
    out = tmp_path / "out"
    assert run("score", scan, "--model", weights, *options, "--out", out).exit_code == 0
    scores = json.loads((out / "scores.json").read_text())
    used = {"t": [100, 200], "draws": 2, "residual": "absolute", "seed": 5}
    assert scores["settings"].items() >= used.items()
    assert scores["threshold"] is None and scores["lesion"] is None


def test_intensity_makes_no_reconstruction(scan, tmp_path):
    assert run("score", scan, "--model", "intensity", "--out", tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out" / "reconstruction.nii.gz").exists()


def bad_inputs(folder, scan):
    """Name of the case -> (arguments, what the line has to say)."""
    image, brain_mask, _ = brain_image()
    (folder / "text.nii").write_text("not a scan")
    truncated = folder / "truncated.nii.gz"
    truncated.write_bytes(scan.read_bytes()[:2000])
    files = {
        "flat": write(folder / "flat.nii.gz", image[..., 6]),
        "frames": write(folder / "frames.nii.gz", np.stack([image, image], -1)),
        "nan": write(folder / "nan.nii.gz", np.where(brain_mask, image, np.nan)),
        "constant": write(folder / "constant.nii.gz", np.ones(SHAPE)),
        "empty": write(folder / "empty.nii.gz", np.zeros(SHAPE)),
        "other": write(folder / "other.nii.gz", image[1:]),
        "moved": write(folder / "moved.nii.gz", brain_mask, np.diag([2.0, 2, 3, 1])),
    }
    huge = nib.Nifti1Header()
    huge.set_data_shape((30000, 30000, 3000))
    (folder / "huge.nii").write_bytes(huge.binaryblock + bytes(4))
    backwards = nib.load(scan).header.copy()
    backwards["pixdim"][1] = -2
    (folder / "backwards.nii").write_bytes(backwards.binaryblock + bytes(4))
    return {
        "missing": ((folder / "none.nii.gz",), "no such file"),
        "text": ((folder / "text.nii",), "expected a NIfTI header"),
        "truncated": ((truncated,), "got a broken file"),
        "flat": ((files["flat"],), "3-D"),
        "frames": ((files["frames"],), "several frames"),
        "nan": ((files["nan"],), "NaN"),
        "constant": ((files["constant"],), "constant"),
        "empty": ((files["empty"],), "constant 0"),
        "empty brain mask": ((scan, "--brain-mask", files["empty"]), "empty one"),
        "other brain mask": ((scan, "--brain-mask", files["other"]), "expected the grid"),
        "other lesion mask": ((scan, "--lesion-mask", files["moved"]), "expected the grid"),
        "huge": ((folder / "huge.nii",), "at most"),
        "backwards": ((folder / "backwards.nii",), "positive voxel sizes"),
        "mask for a folder": ((folder, "--brain-mask", scan), "got a folder"),
        "no model": ((scan, "--model", folder / "none.safetensors"), "there is no such file"),
        "pickle": ((scan, "--model", folder / "text.nii"), "not a safetensors file"),
        "needless option": ((scan, "--draws", 3), "expected no draws"),
        "device": ((scan, "--device", "abacus", "--model", "fresh"), "device: expected"),
    }


CASES = (
    *("missing", "text", "truncated", "flat", "frames", "nan", "constant", "empty"),
    *("huge", "backwards", "pickle", "device", "no model", "needless option"),
    *("empty brain mask", "other brain mask", "other lesion mask", "mask for a folder"),
)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_one_line_and_no_output(case, scan, tmp_path):
    arguments, says = bad_inputs(scan.parent, scan)[case]
    model = () if "--model" in arguments else ("--model", "intensity")
    before = sorted(tmp_path.rglob("*"))
    done = run("score", *arguments, *model, "--out", tmp_path / "new" / "out")
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ") and says in line
    named = Path(str(arguments[-1] if len(arguments) > 1 else arguments[0])).name
    assert case in ("device", "needless option", "mask for a folder") or named in line
    assert sorted(tmp_path.rglob("*")) == before


def test_every_bad_input_is_tried(scan):
    assert set(CASES) == set(bad_inputs(scan.parent, scan))


@pytest.mark.parametrize("t", ["1000", "-1"])
def test_a_time_outside_the_schedule_is_refused(scan, weights, tmp_path, t):
    done = run("score", scan, "--model", weights, "--t", t, "--out", tmp_path / "out")
    assert done.exit_code == 2 and "t: expected whole numbers in 0..999" in done.stderr


@pytest.mark.parametrize("key", ["train", "detector"])
def test_a_broken_card_is_refused(scan, weights, tmp_path, key):
    model = tmp_path / "broken.safetensors"
    model.write_bytes(weights.read_bytes())
    card = {**json.loads(weights.with_suffix(".json").read_text()), key: {"t": {"a": 1}}}
    model.with_suffix(".json").write_text(json.dumps(card))
    done = run("score", scan, "--model", model, "--out", tmp_path / "out")
    assert done.exit_code == 2 and "broken.safetensors: expected a card" in done.stderr


def test_a_scan_with_its_skull_is_scored_with_a_warning(tmp_path):
    image = np.random.default_rng(0).uniform(1, 2, (100, 110, 60))
    path = write(tmp_path / "head.nii.gz", image)
    done = run("score", path, "--model", "intensity", "--out", tmp_path / "out")
    assert done.exit_code == 0
    [line] = done.stderr.splitlines()
    assert line.startswith(f"warning: {path.name}: ") and "strip it or give a brain mask" in line
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["notes"] == [line[9:]]


def test_a_folder_keeps_the_good_and_lists_the_bad(scan, tmp_path):
    (scan.parent / "q_t2.nii.gz").write_text("broken")
    done = run("score", scan.parent, "--model", "intensity", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p"]
    assert json.loads((tmp_path / "out" / "p" / "scores.json").read_text())["lesion"]
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert "q_t2.nii.gz" in errors[0] and errors[-1].endswith("not scored: q")
    assert "1 of 2 scans" in done.stdout


def test_whatever_is_wrong_with_one_scan_of_a_folder_the_others_are_scored(
    scan, tmp_path, monkeypatch
):
    def refuses_q(loaded, *arguments):
        if loaded.name.startswith("q"):
            raise SettingsError("q: expected another scan, got this one")
        return score_scan(loaded, *arguments)

    write(scan.with_name("q_t2.nii.gz"), nib.load(scan).get_fdata())
    monkeypatch.setattr(cli_scans, "score_scan", refuses_q)
    done = run("score", scan.parent, "--model", "intensity", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "error: q: expected another scan" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p"]


def test_settings_are_not_chosen_for_what_has_no_network(weights, tmp_path):
    for command in (("--model", "intensity"), ("--model", weights, "--like", "intensity")):
        done = run("choose", *command, "--n", 1)
        assert done.exit_code == 2 and "with a network, got" in done.stderr


def test_a_phantom_row_that_nobody_wrote_is_refused(scan, weights, tmp_path):
    model = tmp_path / "odd.safetensors"
    model.write_bytes(weights.read_bytes())
    card = {**json.loads(weights.with_suffix(".json").read_text()), "phantom": {"ms": {"n": 30}}}
    model.with_suffix(".json").write_text(json.dumps(card))
    done = run("score", scan, "--model", model, "--out", tmp_path / "out")
    assert done.exit_code == 2 and "odd.safetensors: expected a card" in done.stderr
    assert "phantom: ms: expected auprc" in done.stderr


def test_an_output_folder_that_is_a_file_is_refused_before_any_work(scan, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for command in (("score", scan), ("demo",), ("phantom",), ("train", "--preset", "ddpm")):
        for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
            done = run(*command, "--out", out)
            assert done.exit_code == 2, command
            assert "file" in done.stderr and "Traceback" not in done.output
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_nothing(scan, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        done = run("score", scan, "--model", "intensity", "--out", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.exit_code == 2
    [line] = [one for one in done.stderr.splitlines() if not one.startswith("warning")]
    assert str(tmp_path / "out") in line and "too large" in line
    assert sorted(tmp_path.iterdir()) == [scan.parent]


def test_demo_scores_the_first_tumour_of_the_test_subjects(weights, tmp_path):
    done = run("demo", "--model", weights, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["scan"] == "phantom-210000-tumour-210000"
    assert 0 < scores["lesion"]["prevalence"] < 0.2
    assert (tmp_path / "report.html").exists()


def test_phantom_writes_subjects_that_score_reads(tmp_path):
    done = run("phantom", "--kind", "ms", "--n", 1, "--slices", 20, "--out", tmp_path / "made")
    assert done.exit_code == 0, done.output
    [subject] = (tmp_path / "made").iterdir()
    endings = {path.name.removeprefix(subject.name) for path in subject.iterdir()}
    assert endings == {"_t2.nii.gz", "_brainmask.nii.gz", "_seg.nii.gz"}
    assert nib.load(subject / f"{subject.name}_t2.nii.gz").shape == (96, 96, 20)
    done = run("score", tmp_path / "made", "--model", "intensity", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    [scores] = (tmp_path / "out").glob("*/scores.json")
    assert json.loads(scores.read_text())["lesion"]


def start(*words, cwd):
    command = [sys.executable, "-m", "maskdiff_edu", *map(str, words)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A test run that was started in the background ignores SIGINT, and children inherit that.
    listen = (
        None if sys.platform == "win32" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    return subprocess.Popen(command, cwd=cwd, env=env, preexec_fn=listen, **pipes)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_nothing(tmp_path):
    """Interrupted while it writes: there is a folder beside the output, and then there is none."""
    process = start("phantom", "--n", 500, "--out", tmp_path / "out", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "interrupted: nothing was left half written"
    assert "Traceback" not in stdout + stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def healthy(tmp_path):
    """A folder of one healthy scan, so that a training need not make any."""
    template = load_template()
    folder = tmp_path / "healthy"
    folder.mkdir()
    write(folder / "mni_t2.nii.gz", template.image, template.affine)
    return folder


def test_train_saves_a_model_that_scores_and_resumes(healthy, scan, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKDIFF_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "model"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    command = ("train", "--preset", "fpm", "--data", healthy, "--out", out, "--steps")
    assert run(*command, 1).exit_code == 0
    again = run(*command, 2)
    assert again.exit_code == 2 and "--resume" in again.stderr
    assert run(*command, 2, "--resume").exit_code == 0
    _, card = load_pretrained(out / "model.safetensors")
    assert card["step"] == 2 and "--preset fpm" in card["command"] and card["method"] == "fpm"
    assert str(tmp_path) not in json.dumps(card), "a card tells nothing about the machine"
    assert (out / "mine.txt").read_text() == "kept"
    score = ("score", scan, "--model", out / "model.safetensors", "--draws", 1)
    assert run(*score, "--out", tmp_path / "scored").exit_code == 0


def test_ctrl_c_in_a_training_says_how_to_go_on(healthy, tmp_path, monkeypatch):
    def interrupted(config, pool, *, out, **options):
        out.checkpoint.parent.mkdir(exist_ok=True)
        out.checkpoint.write_bytes(b"so far")
        raise KeyboardInterrupt

    monkeypatch.setenv("MASKDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cli_training.training, "fit", interrupted)
    out = tmp_path / "model"
    done = run("train", "--preset", "ddpm", "--data", healthy, "--steps", 1, "--out", out)
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1].endswith(f"go on from {out / CHECKPOINT} with --resume")
    assert (out / CHECKPOINT).exists()


def test_a_dry_run_tells_the_cost_and_writes_nothing(tmp_path, monkeypatch):
    costs = [Cost(9, 0.5, 60, None, 31, 90), Cost(9, 0.5, 60, 3 * 2**30)]
    seen = []

    def dry_run(config, pool, device):
        seen.append((config, pool.description, len(pool)))
        return costs.pop(0)

    monkeypatch.setattr(cli_training.training, "dry_run", dry_run)
    command = ("train", "--preset", "fpm-cm", "--steps", 120, "--dry-run", "--out", tmp_path / "o")
    done = run(*command)
    assert done.exit_code == 0, done.output
    size = PRESETS["fpm-cm"].batch_size
    assert f"120 steps of {size} slices: 1.0 minutes (0.50 s a step" in done.stdout
    assert "measured over 9), memory unknown; before that 1.5 minutes to make" in done.stdout
    assert "31 subjects" in done.stdout
    again = run(*command)
    assert "memory 3.0 GiB; before that no subject has to be made" in again.stdout
    pool = SlicePool(cohort_seeds("train", n=300))
    assert seen == [(replace(PRESETS["fpm-cm"], steps=120), pool.description, 300)] * 2
    assert not (tmp_path / "o").exists()


def test_a_model_of_before_is_not_overwritten(tmp_path):
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_text("mine")
        done = run("train", "--preset", "ddpm", "--steps", 1, "--out", tmp_path)
        assert done.exit_code == 2 and f"{name}: expected no training here" in done.stderr
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_resuming_with_other_scans_is_refused_before_any_is_read(healthy, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKDIFF_CACHE", str(tmp_path / "cache"))
    command = ("train", "--preset", "ddpm", "--steps", 1, "--out", tmp_path / "model")
    assert run(*command, "--data", healthy).exit_code == 0
    monkeypatch.setattr(SlicePool, "fill", pytest.fail)
    write(healthy / "second_t2.nii.gz", np.zeros(SHAPE))
    for data in ((), ("--data", healthy)):
        done = run(*command, *data, "--resume")
        assert done.exit_code == 2 and "was trained with data='1 subjects (" in done.stderr
    done = run("train", "--preset", "fpm", *command[3:], "--resume")
    assert done.exit_code == 2 and "was trained with" in done.stderr


@pytest.mark.slow
def test_four_steps_make_their_subjects_and_more_steps_go_on(tmp_path, monkeypatch):
    """As a reader types it, without scans of their own and into a folder that holds other files."""
    monkeypatch.setenv("MASKDIFF_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "model"
    out.mkdir()
    mine = {"notes.txt": "a", "checkpoint.json": "[1, 2", "card.json": "b"}
    for name, text in mine.items():
        (out / name).write_text(text)
    command = ("train", "--preset", "fpm-cm", "--out", out, "--steps")
    done = run(*command, 4)
    assert done.exit_code == 0, done.output
    assert f"model: {out / 'model.safetensors'}" in done.stdout
    first, card = load_pretrained(out / "model.safetensors")
    pool = SlicePool(cohort_seeds("train", n=300))
    made = len(list((tmp_path / "cache").rglob("*.npz")))
    drawn = pool.drawn(0, 4, card["train"]["batch_size"])
    assert made == len(drawn) <= 32, "no subject is made that is not drawn"
    assert card["step"] == card["train"]["steps"] == 4
    assert run(*command, 4).exit_code == 2

    assert run(*command, 5, "--resume").exit_code == 0
    second, card = load_pretrained(out / "model.safetensors")
    assert card["step"] == 5 and "--steps 5" in card["command"]
    assert not torch.equal(first.head.weight, second.head.weight)
    assert {name: (out / name).read_text() for name in mine} == mine
    done = run(*command, 4, "--resume")
    assert done.exit_code == 2 and "has done 5 steps, expected at most the 4" in done.stderr


def test_info_lists_models_with_their_numbers(weights, monkeypatch):
    found = {"n": 9, "auprc": 0.6, "ci": [0.5, 0.7], "prevalence": 0.03, "intensity": 0.1}
    found |= {"intensity-equalised": 0.1, "best_dice": 0.6, "auroc_volume": None}
    monkeypatch.setattr(models, "available_models", lambda: ["fresh"])
    monkeypatch.setattr(models, "load_pretrained", lambda name: (None, {"phantom": {"ms": found}}))
    about = json.loads(run("info", "--json").stdout)
    assert about["models"] == {"fresh": {"phantom": {"ms": found}}}
    assert about["torch"] == torch.__version__ and "cpu" in about["devices"]
    assert "AUPRC 0.600 [0.500, 0.700]" in run("info").stdout


def test_evaluate_measures_every_scan_of_a_folder(scan, weights, tmp_path, monkeypatch):
    write(scan.with_name("q_t2.nii.gz"), nib.load(scan).get_fdata() ** 1.1)
    write(scan.with_name("q_seg.nii.gz"), nib.load(scan.with_name("p_seg.nii.gz")).get_fdata())
    out = tmp_path / "results"
    done = run("evaluate", "--data", scan.parent, "--model", weights, "--out", out)
    assert done.exit_code == 0, done.output
    found = the_run(out)
    group = found["groups"]["data"]
    assert found["threshold"] == 0.25 and group["n"] == group["n_lesion"] == 2
    each = [subject["method"]["auprc"] for subject in group["subjects"]]
    assert group["mean"]["method"]["auprc"]["value"] == pytest.approx(np.mean(each))
    low, high = group["mean"]["method"]["auprc"]["ci"]
    assert min(each) <= low <= high <= max(each)
    assert 0 < group["prevalence"] < group["pooled"]["intensity"]["auprc"]


def test_evaluate_gives_no_answer_to_another_question(scan, tmp_path):
    """Another contrast, other scans in a folder of the same name, a lesion mask that changed."""
    image, brain_mask, lesion_mask = brain_image()
    other = tmp_path / "b" / scan.parent.name
    other.mkdir(parents=True)
    for role, volume in {"brainmask": brain_mask, "seg": lesion_mask, "t2": image[::-1]}.items():
        write(other / f"p_{role}.nii.gz", volume)
    write(scan.with_name("p_t1.nii.gz"), image)
    ask = ("evaluate", "--model", "intensity", "--out", tmp_path / "results", "--data")
    first = run(*ask, scan.parent)
    assert first.exit_code == 0, first.output
    assert run(*ask, scan.parent).stdout == first.stdout, "the same question, answered again"
    for different in ([other], [scan.parent, "--contrast", "t1"]):
        asked = run(*ask, *different)
        assert asked.exit_code == 2
        assert "expected a run with" in asked.stderr
    write(scan.with_name("p_seg.nii.gz"), np.roll(lesion_mask, 1, 0))
    assert run(*ask, scan.parent).exit_code == 2


@pytest.mark.parametrize("name", ["../../x", "/tmp/maskdiff-x", "a/b"])
def test_a_card_writes_nothing_outside_the_results(scan, weights, tmp_path, name):
    model = tmp_path / weights.name
    model.write_bytes(weights.read_bytes())
    card = json.loads(weights.with_suffix(".json").read_text()) | {"method": name}
    model.with_suffix(".json").write_text(json.dumps(card))
    before = set(tmp_path.rglob("*"))
    done = run("evaluate", "--data", scan.parent, "--model", model, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "method: expected a name" in done.stderr
    assert set(tmp_path.rglob("*")) == before


def test_evaluate_fills_a_card_with_synthetic_subjects(scan, weights, tmp_path, monkeypatch):
    """Small stand-ins for the subjects: the path from numbers to card is what is tested."""
    monkeypatch.setattr(groups, "make_member", stand_in)
    model = tmp_path / "copy.safetensors"
    for ending in (".safetensors", ".json"):
        model.with_suffix(ending).write_bytes(weights.with_suffix(ending).read_bytes())
    kinds = ("--kinds", "ms", "--kinds", "healthy", "--n", 2, "--n-validation", 1)
    done = run("evaluate", "--model", model, *kinds, "--card", "--out", tmp_path / "results")
    assert done.exit_code == 0, done.output
    card = json.loads(model.with_suffix(".json").read_text())
    found = the_run(tmp_path / "results")
    assert card["detector"]["threshold"] == pytest.approx(found["threshold"], rel=1e-5) != 0.25
    assert card["detector"]["t"] == 120
    assert set(card["phantom"]) == {"ms"}
    measured = found["groups"]["ms"]["mean"]["method"]["auprc"]["value"]
    assert card["phantom"]["ms"]["auprc"] == pytest.approx(measured, rel=1e-5)
    assert {"ci", "prevalence", "intensity"} <= set(card["phantom"]["ms"])
    assert found["groups"]["ms"]["auroc_volume"]["intensity"] == 1
    rate = found["groups"]["healthy"]["subjects"][0]["false_positive_rate"]
    assert 0 < rate < 0.05, "the threshold lets through about one healthy voxel in a hundred"
    build = models.build_method(model)
    assert build.threshold == pytest.approx(found["threshold"], rel=1e-5), "used from now on"


def the_run(folder):
    """The only run in a folder of results."""
    [path] = folder.glob("*.json")
    return json.loads(path.read_text())


def test_choose_writes_the_best_settings_into_the_card(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "make_member", stand_in)
    model = tmp_path / "copy.safetensors"
    for ending in (".safetensors", ".json"):
        model.with_suffix(ending).write_bytes(weights.with_suffix(ending).read_bytes())
    done = run("choose", "--model", model, "--n", 1)
    assert done.exit_code == 0, done.output
    card = json.loads(model.with_suffix(".json").read_text())
    tried = card["chosen"]["tried"]
    assert tried == sorted(tried, key=lambda row: -row["auprc"]) and len(tried) == 36
    used = card["detector"]
    best = tried[0]
    assert used["t"] == (best["t"] if len(best["t"]) > 1 else best["t"][0])
    assert used["residual"] == best["residual"] and used["threshold"] is None
    assert used["draws"] * len(best["t"]) == 6, "every setting costs the same"
    for name in ("median_size", "gaussian_sigma"):
        assert used["postprocessing"][name] == best[name]
    assert models.build_method(model).settings.residual == best["residual"], "used from now on"


def test_compare_writes_table_and_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "make_member", stand_in)
    results = tmp_path / "results"
    for model in ("intensity", "intensity-equalised"):
        kinds = ("--kinds", "ms", "--n", 3, "--n-validation", 1)
        done = run("evaluate", "--model", model, *kinds, "--out", results)
        assert done.exit_code == 0, done.output
    done = run("compare", results, "--reference", "intensity", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["ms"]
    assert list(rows) == ["intensity", "intensity-equalised"]
    assert rows["intensity"]["difference"] is None
    assert f"{rows['intensity']['value']:.3f}" in (tmp_path / "out" / "comparison.md").read_text()
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 1000


def stand_in(seed, cohort, contrast):
    image, brain_mask, lesion_mask = brain_image()
    if cohort == "healthy":
        image = np.where(lesion_mask, 100, image)
        lesion_mask = np.zeros_like(lesion_mask)
    noise = np.random.default_rng(seed).normal(0, 3, SHAPE) * brain_mask
    image = (image + noise).astype(np.float32)
    return groups.Scan(image, brain_mask, AFFINE, f"{cohort}-{seed}", lesion_mask)


def test_help_gives_examples():
    assert "score" in run("--help").stdout
    for command in ("score", "demo", "phantom", "train", "choose", "evaluate", "compare", "export"):
        assert f"maskdiff-edu {command}" in run(command, "--help").stdout


def test_choices_are_those_that_the_library_knows():
    assert get_args(options.Contrast) == CONTRASTS
    assert get_args(options.Split) == tuple(SPLITS)
    assert tuple(options.Kind) == COHORTS
    assert get_args(options.Preset) == tuple(PRESETS)


def test_a_fault_of_the_library_keeps_its_traceback(monkeypatch, tmp_path):
    """Only what a user can mend becomes one line: an error of NumPy is ours."""

    def broken(*_, **__):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(cli_scans, "build_method", broken)
    result = run("demo", "--out", tmp_path / "out")
    assert isinstance(result.exception, ValueError) and result.exit_code == 1
    assert "error:" not in result.output


# What is there already, and what is read


def test_results_are_replaced_only_when_asked(scan, tmp_path):
    words = ("score", scan, "--model", "intensity", "--out", tmp_path / "out")
    assert run(*words).exit_code == 0
    before = (tmp_path / "out" / "scores.json").read_bytes()
    done = run(*words, "--normalise", "median")
    assert done.exit_code == 2 and "add --overwrite (in Python, overwrite=True)" in done.stderr
    assert (tmp_path / "out" / "scores.json").read_bytes() == before
    assert run(*words, "--normalise", "median", "--overwrite").exit_code == 0
    assert (tmp_path / "out" / "scores.json").read_bytes() != before


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_no_result_takes_the_place_of_the_scan_it_is_made_from(scan, tmp_path, flags):
    path = scan.rename(scan.with_name("reconstruction.nii.gz"))
    before = path.read_bytes()
    done = run("score", path, "--model", "intensity", "--out", path.parent, *flags)
    assert done.exit_code == 2 and "reconstruction.nii.gz" in done.stderr
    assert path.read_bytes() == before


def test_no_path_stands_in_what_is_written(scan, tmp_path):
    """Folders may be called after people."""
    out = tmp_path / "out"
    assert run("score", scan, "--model", "intensity", "--out", out).exit_code == 0
    for name in ("scores.json", "report.html"):
        text = (out / name).read_text()
        assert str(tmp_path) not in text and str(scan.parent) not in text
    assert "tells whose brain it is" in (out / "report.html").read_text()


def test_the_second_score_of_a_folder_takes_no_result_for_a_scan(scan):
    words = ("score", scan.parent, "--model", "intensity", "--out", scan.parent, "--overwrite")
    assert "1 of 1 scans" in run(*words).stdout
    assert "1 of 1 scans" in run(*words).stdout


@pytest.mark.parametrize("command", [("evaluate", "--card", "--out", "out"), ("choose",)])
@pytest.mark.parametrize("path", [False, True])
def test_a_shipped_card_is_never_rewritten(command, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = str(MODELS / "ddpm.safetensors") if path else "ddpm"
    before = (MODELS / "ddpm.json").read_bytes()
    done = run(*command, "--model", model, "--n", 1)
    assert done.exit_code == 2 and "whose card is never rewritten" in done.stderr
    assert (MODELS / "ddpm.json").read_bytes() == before and list(tmp_path.iterdir()) == []


def test_scans_without_any_lesion_mask_are_not_evaluated(scan, tmp_path):
    scan.with_name("p_seg.nii.gz").unlink()
    done = run("evaluate", "--data", scan.parent, "--model", "intensity", "--out", tmp_path / "o")
    assert done.exit_code == 2 and "expected lesion masks (NAME_seg), found none" in done.stderr


def test_evaluate_keeps_the_good_ones_and_names_the_bad_each_time(scan, tmp_path):
    (scan.parent / "q_t2.nii.gz").write_text("broken")
    words = ("evaluate", "--data", scan.parent, "--model", "intensity", "--out", tmp_path / "out")
    for _ in range(2):
        done = run(*words)
        assert done.exit_code == 2 and done.stderr.splitlines()[-1] == "error: not measured: q"
        [run_file] = (tmp_path / "out").glob("*.json")
        subjects = json.loads(run_file.read_text())["groups"]["data"]["subjects"]
        assert [subject["name"] for subject in subjects] == ["p"]


def test_a_comparison_goes_elsewhere_than_its_runs(tmp_path):
    done = run("compare", tmp_path, "--out", tmp_path)
    assert done.exit_code == 2 and "another folder than that of the runs" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_names_that_are_no_utf_8_are_scored_too(scan, tmp_path):
    odd = os.fsdecode(b"Q\xff_t2.nii.gz")
    os.rename(scan, scan.parent / odd)
    out = tmp_path / os.fsdecode(b"out\xff")
    for what in (scan.parent, scan.parent / odd):
        words = (
            "score",
            what,
            "--model",
            "intensity",
            "--out",
            out / "one" if what.suffix else out,
        )
        done = subprocess.run(
            [sys.executable, "-m", "maskdiff_edu", *words],
            env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (out / "Q\ufffd" / "report.html").exists() and (out / "one" / "scores.json").exists()


# What a machine may lack


@pytest.mark.parametrize("device", ["meta", "xpu", "hpu", "vulkan", "fpga", "nonsense", "cpu:x"])
def test_a_device_that_is_not_for_this_is_one_line(scan, tmp_path, device):
    done = run("score", scan, "--device", device, "--model", "fpm-cm", "--out", tmp_path / "out")
    assert done.exit_code == 2 and 'device: expected "auto", "cpu", "cuda"' in done.stderr


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_too_little_memory_is_one_line(scan, tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(cli_scans, "score_scan", fails)
    done = run("score", scan, "--model", "intensity", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("error: expected more memory: ")


@pytest.mark.parametrize(
    "changes", [{"MPLBACKEND": "nonsense"}, {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none"}]
)
def test_an_environment_that_is_not_set_up_for_pictures(scan, tmp_path, changes):
    out = tmp_path / "out"
    words = ["score", str(scan), "--model", "intensity", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "maskdiff_edu", *words],
        env={**os.environ, **changes}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").exists()


def test_a_matplotlibrc_that_asks_for_latex(scan, tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    words = ["score", str(scan), "--model", "intensity", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "maskdiff_edu", *words],
        env={**os.environ, "PATH": "", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("settings, says", [({"draws": 600, "t": [100, 200]}, "noisings")])
def test_a_card_cannot_ask_for_more_than_a_budget(weights, settings, says):
    with pytest.raises(ValueError, match=says):
        build_method(weights, **settings)


def test_a_scan_that_would_need_too_much_noise_is_refused(weights):
    detector = build_method(weights, draws=1000).detector
    with pytest.raises(ValueError, match=r"expected at most 485 noisings of 60 slices"):
        detector.reconstruct(torch.zeros(60, 1, 96, 96))


def test_boxes_of_a_pixel_are_too_many(weights):
    detector = build_method(weights).detector
    with pytest.raises(ValueError, match="passes of the network a slice, got 1 noisings of 9216"):
        replace(detector, ask=InBoxes(1))
