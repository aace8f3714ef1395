"""Faults on purpose: broken headers, kills, a full disk, little memory; run by `make test-all`.

Bounded in number and time; the same faults in every run.
"""

import json
import random
import resource
import subprocess
import sys
import time
import warnings
from functools import partial

import nibabel as nib
import numpy as np
import pytest
from scope import EVERYTHING

from maskdiff_edu.errors import ScanError, ScanWarning
from maskdiff_edu.scans import load_scan, to_slices
from maskdiff_edu.show.report import OUTPUTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not EVERYTHING, reason="takes minutes: make test-all"),
]

N_HEADERS, N_KILLS = 2000, 50
SECONDS_A_HEADER = 20
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
SHAPE = (60, 70, 50)


def ball():
    points = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(SHAPE) / 2
    return (points**2).sum(-1) <= 22**2


@pytest.fixture
def scan(tmp_path):
    image = np.where(ball(), np.random.default_rng(0).uniform(50, 100, SHAPE), 0)
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "p_t2.nii"
    nib.save(nib.Nifti1Image(image.astype(np.float32), AFFINE), path)
    return path


def command(*words):
    return [sys.executable, "-m", "maskdiff_edu", *map(str, words)]


def test_broken_headers_are_refused_or_read(scan, tmp_path):
    """One to four bytes of the header are replaced; nothing else than a `ScanError` comes out."""
    whole = scan.read_bytes()
    rng = random.Random(0)
    path = tmp_path / "b.nii"
    refused = 0
    warnings.simplefilter("ignore", ScanWarning)
    for _ in range(N_HEADERS):
        content = bytearray(whole)
        start = rng.randrange(352)
        for place in range(start, min(352, start + rng.choice([1, 1, 2, 4]))):
            content[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        path.write_bytes(content)
        began = time.monotonic()
        try:
            to_slices(load_scan(path))
        except ScanError:
            refused += 1
        assert time.monotonic() - began < SECONDS_A_HEADER, bytes(content[:352]).hex()
    assert 100 < refused < N_HEADERS - 100


def test_killed_at_any_time_old_and_new_results_never_stand_together(scan, tmp_path):
    out = tmp_path / "out"
    score = ("score", scan, "--model", "intensity", "--out", out, "--overwrite")
    began = time.monotonic()
    subprocess.run(command(*score), check=True, capture_output=True)
    seconds = time.monotonic() - began
    known = {}  # what belongs together: the settings that scores.json tells, and its map

    def settings():
        return json.loads((out / "scores.json").read_text())["settings"]["normalise"]

    def anomaly():
        return (out / "anomaly.nii.gz").read_bytes()

    for scale in ("median", "percentile"):
        subprocess.run(command(*score, "--normalise", scale), check=True, capture_output=True)
        known[settings()] = anomaly()
    assert len(set(known.values())) == 2
    rng = random.Random(0)
    for i in range(N_KILLS):
        scale = ("median", "percentile")[i % 2]
        process = subprocess.Popen(
            command(*score, "--normalise", scale),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:  # most of the time at the end, where it writes
            process.wait(seconds * (0.7 + 0.4 * rng.random()))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        if (out / "scores.json").exists() and (out / "anomaly.nii.gz").exists():
            assert known[settings()] == anomaly(), i
    subprocess.run(command(*score), check=True, capture_output=True)
    expected = {name for name in OUTPUTS if name != "reconstruction.nii.gz"}
    assert {path.name for path in out.iterdir()} == expected, "nothing is left over"


@pytest.mark.parametrize("most", [0, 4_000])
@pytest.mark.parametrize("words", [("score",), ("phantom", "--n", 1), ("evaluate",)])
def test_a_full_disk_leaves_nothing_half_written(scan, tmp_path, words, most):
    out = tmp_path / "out"
    given = {"score": (scan, "--model", "intensity"), "evaluate": ("--model", "intensity", "--n", 1,
             "--n-validation", 1)}.get(words[0], ())  # fmt: skip
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    done = subprocess.run(
        command(*words, *given, "--out", out), preexec_fn=limit, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1] if done.stderr else ""
    if done.returncode:
        assert done.returncode == 2 and last.startswith("error: "), done.stderr
        for path in out.rglob("*"):  # none, but for what `evaluate` goes on from
            assert words == ("evaluate",) and json.loads(path.read_text())["method"]
    assert [p for p in tmp_path.rglob(".*")] == []


@pytest.mark.parametrize("gigabytes", [1.0, 1.5])
def test_little_memory_is_one_line_or_enough(scan, tmp_path, gigabytes):
    """Too little to import torch is the system's error; more than that is ours."""
    out = tmp_path / "out"
    most = int(gigabytes * 2**30)
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (most, most))
    ready = subprocess.run(command("info"), preexec_fn=limit, capture_output=True, text=True)
    if ready.returncode:
        pytest.skip("not enough to start")
    done = subprocess.run(
        command("score", scan, "--draws", 64, "--out", out),
        preexec_fn=limit, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
        assert not out.exists()
