"""How long it takes to make the subjects of a training, with one process and with two."""

import tempfile
import time

from maskdiff_edu.brains import cohort_seeds
from maskdiff_edu.training import SlicePool

SUBJECTS = 20
TRAINING = 300  # subjects that a preset trains on


def seconds_a_subject(workers: int) -> float:
    """Wall time of one subject, slices in the cache, starting from an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        pool = SlicePool(cohort_seeds("train", n=SUBJECTS), cache_dir=folder)
        began = time.perf_counter()
        pool.fill(workers=workers)
        return (time.perf_counter() - began) / SUBJECTS


if __name__ == "__main__":
    print(f"{'processes':>9}  s a subject  minutes for {TRAINING}   asked")
    for workers in (1, 2):
        seconds = seconds_a_subject(workers)
        asked = "under 6" if workers == 2 else ""
        print(f"{workers:9}  {seconds:11.2f}  {seconds * TRAINING / 60:15.1f}   {asked}")
