"""Train on made-up discs in a process of its own: `python train_discs.py OUT STEPS [PAUSE]`.

Prints a line a step: its number and its loss. Used by test_train.py, which kills it, and which
starts several of it that share the work.
"""

import sys
import time
from dataclasses import replace

import torch

from maskdiff_edu.train import PRESETS, make_generator, train

CONFIG = replace(PRESETS["fpm-cm"], batch_size=4, steps=12, warmup=2, precision="float32")


class Discs:
    """Striped discs on 32x32 slices."""

    def batch(self, seed, n, batch_size):
        generator = make_generator(seed, n, torch.device("cpu"))
        line = torch.linspace(-1, 1, 32)
        brain_masks = (line[:, None] ** 2 + line**2 < 0.7).expand(batch_size, 1, 32, 32)
        stripes = 1 + 4 * torch.rand(batch_size, 1, 1, 1, generator=generator)
        return torch.where(brain_masks, 0.5 * torch.sin(stripes * line), -1.0), brain_masks


if __name__ == "__main__":
    out, steps, *pause = sys.argv[1:]
    config = replace(CONFIG, steps=int(steps))
    for step in train(config, Discs(), device="cpu", out=out, resume=True, save_every=1):
        print(f"step {step.number} {step.loss.item()}\n", end="", flush=True)  # one write
        time.sleep(float(pause[0]) if pause else 0)
