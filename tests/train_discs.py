"""Train on made-up discs in a process of its own: `python train_discs.py OUT STEPS [--kill]`.

Prints a line a step: its number and its loss. Used by test_train.py, which starts several of it
that share the work. With --kill a small network trains in children that are killed at random
moments, again and again until one comes to the end; prints what each kill left on the disk.
"""

import io
import json
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import torch
import torch._dynamo  # imported by the first optimiser, for seconds: here once for all children

from maskdiff_edu import files
from maskdiff_edu.diffusion import UNet, UNetConfig
from maskdiff_edu.training import PRESETS, Saving, checkpoints, train
from maskdiff_edu.training.batches import make_generator
from maskdiff_edu.training.loop import CHECKPOINT

CONFIG = replace(PRESETS["fpm-cm"], batch_size=4, steps=12, warmup=2, precision="float32")


class Discs:
    """Striped discs on 32x32 slices."""

    def batch(self, seed, n, batch_size):
        generator = make_generator(seed, n, torch.device("cpu"))
        line = torch.linspace(-1, 1, 32)
        brain_masks = (line[:, None] ** 2 + line**2 < 0.7).expand(batch_size, 1, 32, 32)
        stripes = 1 + 4 * torch.rand(batch_size, 1, 1, 1, generator=generator)
        return torch.where(brain_masks, 0.5 * torch.sin(stripes * line), -1.0), brain_masks


def small_network():
    """The same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(UNetConfig((8, 16), 1, 2, True, False, 8, 8))


def train_killed(out, config):
    """Train in child after child until one finishes; returns what each kill left behind."""
    chance, kills = random.Random(0), []
    while True:
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reads)
            _train_as_a_child(out, config, writes)
        os.close(writes)
        with open(reads, "rb", buffering=0) as signs:
            wanted = chance.randint(1, 12)
            while wanted and signs.read(1):  # nothing any more once it has finished
                wanted -= 1
            time.sleep(chance.uniform(0, 0.012))
            os.kill(child, signal.SIGKILL)  # harmless if it has finished: it was not waited for
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert status == 0, f"the child failed: {status}"
            return kills
        left = {path.name for path in Path(out).iterdir()} if Path(out).is_dir() else set()
        step = 0
        if CHECKPOINT in left:
            step = checkpoints.load_checkpoint(Path(out) / CHECKPOINT)[1]["step"]
        kills.append({"step": step, "half_written": bool(left - {CHECKPOINT})})


def _train_as_a_child(out, config, signs):
    """Give a sign of life after each step and each part of a file; never returns."""

    class SlowFile(io.FileIO):
        """A disk that takes a file in five parts and needs 10 ms for each."""

        def write(self, content):
            size = -(-len(content) // 5)
            for start in range(0, len(content), size):
                super().write(content[start : start + size])
                os.write(signs, b".")
                time.sleep(0.01)

    failed = 1
    try:
        files.open = SlowFile
        files.LEFTOVER_SECONDS = 0  # nobody else writes: what killed children left is cleared
        saving = Saving(out, every=1, resume=True)
        for _ in train(config, Discs(), start=small_network(), device="cpu", out=saving):
            os.write(signs, b".")
        failed = 0
    except Exception:
        traceback.print_exc()
    os._exit(failed)


if __name__ == "__main__":
    out, steps, *kill = sys.argv[1:]
    config = replace(CONFIG, steps=int(steps))
    if kill:
        print(json.dumps(train_killed(out, config)))
        sys.exit()
    for step in train(config, Discs(), device="cpu", out=Saving(out, every=1, resume=True)):
        print(f"step {step.number} {step.loss.item()}\n", end="", flush=True)  # one write
