"""Two processes on one CPU: the subjects are read once, and the loss is that of one process."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import brain_image, write
from torch.testing import assert_close
from train_discs import Discs
from train_shared import CONFIG, STEPS

from maskdiff_edu.devices import Processes
from maskdiff_edu.diffusion import no_corruption
from maskdiff_edu.scans import find_scans
from maskdiff_edu.training import SlicePool, denoising_loss, hide_and_noise, make_schedule, train
from maskdiff_edu.training.checkpoints import load_checkpoint
from maskdiff_edu.training.loop import CHECKPOINT

SCRIPT = Path(__file__).with_name("train_shared.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three small scans."""
    folder = tmp_path_factory.mktemp("data")
    image, _, _ = brain_image()
    for name in "abc":
        noise = np.random.default_rng(ord(name)).uniform(0.8, 1.2, image.shape)
        write(folder / f"{name}_t2.nii.gz", image * noise)
    return folder


def run(*command, folder):
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    """What two processes print, and the folder that they write into."""
    out = tmp_path_factory.mktemp("two")
    done = run(*TORCHRUN, SCRIPT, data, out / "cache", out, folder=out)
    return done.stdout, out


def test_each_subject_is_read_once_and_by_the_first_process(two):
    _, out = two
    read = (out / "read.txt").read_text().splitlines()
    assert sorted(read) == ["0 a", "0 b", "0 c"]
    assert len(list((out / "cache").rglob("*.npz"))) == 3


def test_boxes_of_unequal_size_weigh_as_in_one_process(two, data):
    """The mean over a box is that over all pixels of all boxes, whoever denoises them."""
    printed, out = two
    found = re.findall(r"^step (\d+) (\S+)$", printed, re.MULTILINE)
    assert sorted(int(number) for number, _ in found) == sorted([*range(1, STEPS + 1)] * 2)
    losses = {number: float(loss) for number, loss in found}
    assert len(set(found)) == STEPS, "both report the loss of the whole batch"
    pool = SlicePool(find_scans(data), cache_dir=out / "cache")
    alone = [step.loss for step in train(CONFIG, pool, device="cpu", out=out / "one")]
    together = torch.tensor([losses[str(n + 1)] for n in range(STEPS)])
    assert_close(together, torch.stack(alone), rtol=1e-4, atol=0)
    # The step's gradients too: Adam's running means of them, which no size of a gradient hides.
    (a, _), (b, _) = (load_checkpoint(folder / CHECKPOINT) for folder in (out, out / "one"))
    for name in a:
        if "exp_avg." in name:
            assert_close(a[name], b[name], rtol=1e-2, atol=1e-5, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("box", [0, 20, 16])
def test_the_mean_over_the_shares_is_the_loss_of_the_batch(box):
    config = replace(CONFIG, box=box, batch_size=6)
    x_0, brain_masks = Discs().batch(0, 0, 6)
    schedule, scale = make_schedule(config), torch.ones((), requires_grad=True)

    def loss(share):
        def model(x_t, t):
            return scale * x_t

        generator = torch.Generator().manual_seed(2)
        noised = hide_and_noise(x_0, brain_masks, no_corruption, schedule, config, generator)
        return denoising_loss(model, noised.share(share), schedule, config)

    parts = [loss(Processes(rank, rank, 3).share(6)) for rank in range(3)]
    whole = loss(slice(None))
    assert_close(torch.stack(parts).mean(), whole, rtol=1e-6, atol=0)
    gradients = [torch.autograd.grad(part, scale)[0] for part in parts]
    expected = torch.autograd.grad(whole, scale)[0]
    assert_close(torch.stack(gradients).mean(), expected, rtol=1e-5, atol=0)


def test_the_command_trains_with_two_processes(data, tmp_path):
    """One says where the model is, and the card is that of a single process."""
    out = tmp_path / "model"
    words = ("train", "--preset", "pddpm", "--data", data, "--steps", 1, "--out", out)
    environment = {"MASKDIFF_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*TORCHRUN, "-m", "maskdiff_edu", *map(str, words)],
        env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model: ") == 1
    assert {path.name for path in out.iterdir()} == {CHECKPOINT, "model.safetensors", "model.json"}
