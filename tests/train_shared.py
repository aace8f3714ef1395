"""Train on a folder of scans, alone or with others: `python train_shared.py DATA CACHE OUT`.

Prints the loss of each step. Every scan that is read leaves a line in OUT/read.txt, with the
number of the process that reads it. Used by test_processes.py.
"""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from maskdiff_edu.scans import ScanFiles, find_scans
from maskdiff_edu.training import PRESETS, SlicePool, train

STEPS = 4
# Boxes of 40 on slices of 96 leave smaller ones at the far edges: not all weigh the same.
CONFIG = replace(PRESETS["pddpm"], batch_size=4, steps=STEPS, warmup=2, precision="float32", box=40)


@dataclass(frozen=True)
class Watched(ScanFiles):
    """A scan that notes who reads it."""

    log: Path

    def load(self):
        with open(self.log, "a") as file:
            file.write(f"{os.environ.get('LOCAL_RANK')} {self.name}\n")
        return super().load()


if __name__ == "__main__":
    data, cache, out = map(Path, sys.argv[1:])
    sources = [Watched(**vars(files), log=out / "read.txt") for files in find_scans(data)]
    pool = SlicePool(sources, cache_dir=cache)
    pool.fill(workers=2)
    for step in train(CONFIG, pool, device="cpu", out=out):
        print(f"step {step.number} {step.loss.item()}\n", end="", flush=True)  # one write
