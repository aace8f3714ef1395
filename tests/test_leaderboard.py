"""A class's models on hidden people: everybody a row, and a bad file costs its own only."""

import csv
import dataclasses
import json
import shutil
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from maskdiff_edu.cli import app
from maskdiff_edu.course import leaderboard
from maskdiff_edu.course.leaderboard import (
    BRIGHTNESS,
    PLAIN,
    choose_files,
    hidden_people,
    make_leaderboard,
)
from maskdiff_edu.course.submissions import by_student, find_submissions
from maskdiff_edu.detection import metrics
from maskdiff_edu.diffusion import UNet, UNetConfig
from maskdiff_edu.errors import Error
from maskdiff_edu.evaluation import runs
from maskdiff_edu.scans import Scan
from maskdiff_edu.training import TrainConfig
from maskdiff_edu.training.checkpoints import save_model

SHAPE = (48, 60, 12)
READ = ("ann", "bo", "hal", "=ida")
UNREAD = {
    "cy": "looks like a pickle",
    "dee": "no model (.safetensors) was handed in",
    "eve": "times as much computing as the plain DDPM",
    "fay": "expected the model's card",
    "gus": "expected a card (.json) as `fit` writes it",
    "jo": "expected finite weights",
    "kim": "median of at most",
    "lee": "says how it was trained",
}


def scan_of(group, i):
    """An oval brain of varied tissue; in patients, with a bright block."""
    x, y, z = np.indices(SHAPE)
    brain = ((x - 24) / 18) ** 2 + ((y - 30) / 24) ** 2 + ((z - 6) / 7) ** 2 < 1
    image = 100 * np.random.default_rng(i).uniform(0.5, 1.5, SHAPE)
    if group in ("controls", "healthy"):
        return Scan(np.where(brain, image, 0), brain, np.diag([2.0, 2, 2, 1]), f"{group}-{i}")
    lesion = brain & (abs(x - 28 - i % 10) < 4) & (abs(y - 30) < 4) & (abs(z - 6) < 2)
    image = np.where(brain, image + 90 * lesion, 0)
    return Scan(image, brain, np.diag([2.0, 2, 2, 1]), f"{group}-{i}", lesion)


def few_people(secret, n):
    groups = ("controls", "healthy", "stroke", "tumour")
    return {g: [partial(scan_of, g, 10 * k + i) for i in range(n)] for k, g in enumerate(groups)}


def save(folder, method="rows", seed=0, spoil=None, **detector):
    torch.manual_seed(seed)
    network = UNet(UNetConfig((4,), 1, 8, False, False, 2, 2))
    if spoil is not None:
        next(network.parameters()).data[:] = spoil
    card = {"method": method, "train": dataclasses.asdict(TrainConfig())}
    card["detector"] = {"t": 200, "draws": 1} | detector
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.safetensors", network, card)
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("handed in")
    save(place / "ann", seed=1)
    save(place / "bo", seed=2)
    shutil.copytree(place / "ann", place / "hal")
    save(place / "=ida", method="", seed=3)
    for name in ("cy", "dee"):
        (place / name).mkdir()
    (place / "cy" / "model.safetensors").write_bytes(b"PK\3\4 print('no')")
    (place / "cy" / "model.json").write_text("{}")
    (place / "dee" / "hw08_project.ipynb").write_text("{}")
    save(place / "eve", t=[100, 200], draws=200)
    save(place / "fay").with_suffix(".json").unlink()
    save(place / "gus").with_suffix(".json").write_text("[" * 100_000)
    save(place / "jo", spoil=np.nan)
    save(place / "kim", postprocessing={"median_size": 21})
    save(place / "lee").with_suffix(".json").write_text('{"method": "<b>", "train": {"T": 1e99}}')
    return place


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    """Small people, and a small network in place of the plain DDPM that ships."""
    plain = save(tmp_path_factory.mktemp("plain"), method="ddpm", seed=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard, "hidden_people", few_people)
        patch.setattr(leaderboard, "REFERENCE", plain)
        patch.setattr(metrics, "bootstrap", partial(metrics.bootstrap, n_resamples=50))
        yield


@pytest.fixture(scope="module")
def board(patched, place, tmp_path_factory):
    out = tmp_path_factory.mktemp("board")
    make_leaderboard(place, "a secret", out, n=2)
    return out


def rows_of(board):
    with open(board / "leaderboard.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_everybody_has_a_row(board):
    rows = {row["student"].lstrip("'"): row for row in rows_of(board) if row["student"]}
    assert set(rows) == {*READ, *UNREAD}
    for student, why in UNREAD.items():
        assert why in rows[student]["notes"] and not rows[student]["auprc"], student
    for student in READ:
        row = rows[student]
        value = np.mean([float(row["stroke"]), float(row["tumour"])])
        assert float(row["auprc"]) == pytest.approx(value, abs=2e-4)
        assert float(row["low"]) <= float(row["minus plain"]) <= float(row["high"])
        assert 0 <= float(row["healthy false positives"]) <= float(row["highest"]) <= 1
    assert "the same weights as those of ann" in rows["hal"]["notes"]


def test_rows_are_ranked_and_the_unread_come_last(board):
    rows = rows_of(board)
    values = [float(row["auprc"] or -1) for row in rows]
    assert values == sorted(values, reverse=True)
    assert [row["place"] for row in rows if row["place"]] == [str(i + 1) for i in range(len(READ))]
    assert {PLAIN, BRIGHTNESS} <= {row["nickname"] for row in rows if not row["place"]}


def test_names_differ_and_the_page_shows_no_person(board, place):
    names = [row["nickname"] for row in rows_of(board)]
    assert len(set(names)) == len(names)
    assert {"rows", "rows-2"} <= set(names)
    page = (board / "leaderboard.html").read_text(encoding="utf-8")
    cells = page.partition("<tbody>")[2]
    assert not any(
        f">{student}<" in cells or f"{student}/" in cells for student in (*READ, *UNREAD)
    )
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "<b>" not in cells
    assert all(f">{name}<" in cells for name in names)


def test_names_are_shown_on_request(board, place, tmp_path):
    out = tmp_path / "named"
    shutil.copytree(board, out)
    words = ["leaderboard", str(place), "--course", "a secret", "--out", str(out), "--n", "2"]
    done = CliRunner().invoke(app, [*words, "--names"])
    assert done.exit_code == 0, done.output
    assert f"{len(READ)} models ranked, {len(UNREAD)} people without" in done.output
    page = (out / "leaderboard.html").read_text(encoding="utf-8")
    assert ">ann<" in page and ">bo<" in page


def test_a_second_run_measures_what_is_new_and_nothing_else(board, place, tmp_path, monkeypatch):
    measured = []
    whole = runs.evaluate_group

    def counted(name, method, *others):
        measured.append(name)
        return whole(name, method, *others)

    monkeypatch.setattr(runs, "evaluate_group", counted)
    out, more = tmp_path / "out", tmp_path / "more"
    shutil.copytree(board, out)
    make_leaderboard(place, "a secret", out, n=2)
    assert measured == []
    for name in ("leaderboard.csv", "leaderboard.html"):
        assert (out / name).read_bytes() == (board / name).read_bytes()
    shutil.copytree(place, more)
    save(more / "mo", method="rings", seed=4)
    entries = make_leaderboard(more, "a secret", out, n=2)
    assert measured == ["healthy", "stroke", "tumour"]
    assert "rings" in {entry.nickname for entry in entries if entry.place}


def test_the_same_models_get_the_same_numbers_anywhere(patched, board, place, tmp_path):
    shutil.copytree(place / "ann", tmp_path / "in" / "ann")
    make_leaderboard(tmp_path / "in", "a secret", tmp_path / "anew", n=2)
    [anew] = [row for row in rows_of(tmp_path / "anew") if row["student"]]
    [before] = [row for row in rows_of(board) if row["student"] == "ann"]
    assert anew | {"place": ""} == before | {"place": ""}


def test_a_file_too_large_costs_its_own_row(patched, board, place, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(board, out)
    monkeypatch.setattr(leaderboard, "MAX_BYTES", 100)
    entries = make_leaderboard(place, "a secret", out, n=2)
    assert {e.student: e.error for e in entries}["ann"].startswith("could not be read: expected")
    assert {e.nickname for e in entries if e.run} == {PLAIN, BRIGHTNESS}


def test_the_people_follow_from_the_secret_and_from_nothing_that_is_shown(monkeypatch):
    made = []

    def member(seed, cohort):
        made.append((seed, cohort))
        return scan_of("stroke", 0)

    monkeypatch.setattr(leaderboard, "make_member", member)
    for secret in ("a", "a", "b"):
        people = hidden_people(secret, 3)
        assert [len(group) for group in people.values()] == [3] * 4
        assert all(person() is person() for group in people.values() for person in group)
        for group, persons in people.items():
            assert [p().name for p in persons] == [f"{group}-{i}" for i in (1, 2, 3)]
            has_lesions = group not in ("controls", "healthy")
            assert all((p().lesion_mask is not None) == has_lesions for p in persons)
    first, again, other = made[:12], made[12:24], made[24:]
    assert first == again and not {s for s, _ in first} & {s for s, _ in other}
    assert len({seed for seed, _ in first}) == 12 and min(seed for seed, _ in made) >= 1_000_000
    assert {cohort for _, cohort in first} <= {"healthy", *leaderboard.KINDS}


ZIPPED = {
    "Ann Lee_101_assignsubmission_file/hw08_project.ipynb": None,
    "Ann Lee_101_assignsubmission_file/own-0/model.json": "0",
    "Ann Lee_101_assignsubmission_file/own-0/model.safetensors": "0",
    "Ann Lee_101_assignsubmission_file/own-1/checkpoint.safetensors": None,
    "Ann Lee_101_assignsubmission_file/own-1/model.json": "1",
    "Ann Lee_101_assignsubmission_file/own-1/model.safetensors": "1",
    "lee_11_901_model.safetensors": "a",
    "lee_11_902_model.json": "a",
    "lee_11_950_model-1.safetensors": "b",
    "lee_11_951_model-1.json": "b",
    "bo_12_903_clouds.safetensors": "c",
    "bo_12_904_card.json": "c",
    "cy_13_905_checkpoint.safetensors": "d",
}


def test_the_last_model_counts_with_the_card_that_belongs_to_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for name, content in ZIPPED.items():
            archive.writestr(name, content or "")
    found = find_submissions(tmp_path / "m.zip", (".safetensors", ".json", ".ipynb"))
    chosen = {who: choose_files(files) for who, files in by_student(found).items()}
    read = {
        who: [file.read().decode() if file else None for file in (weights, card)]
        for who, (weights, card, _) in chosen.items()
    }
    assert read == {"101": ["1", "1"], "11": ["b", "b"], "12": ["c", "c"], "13": ["d", None]}
    assert "2 models were handed in" in chosen["101"][2][0]


def test_what_cannot_be_begun_is_said_in_a_line(patched, place, tmp_path):
    with pytest.raises(Error, match="found none"):
        make_leaderboard(tmp_path, "a secret", tmp_path / "out")
    words = ["leaderboard", str(tmp_path / "no.zip"), "--course", "x", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "expected a folder or a zip file" in done.output
    (tmp_path / "file").write_text("")
    with pytest.raises((Error, OSError)):
        make_leaderboard(place, "a secret", tmp_path / "file", n=2)


def test_runs_tell_no_secret(board):
    runs_of = list((board / "runs").rglob("*.json"))
    assert len(runs_of) == 5  # both references, and four models of which two are the same
    for path in runs_of:
        assert "a secret" not in path.read_text() and "phantom-" not in path.read_text()
        assert json.loads(path.read_text())["split"] == "hidden"
