"""What a training would cost on this machine, from a few of its steps and subjects."""

import statistics
import time
from dataclasses import dataclass

from maskdiff_edu.devices import choose_device, peak_memory
from maskdiff_edu.training.config import TrainConfig
from maskdiff_edu.training.loop import train
from maskdiff_edu.training.pool import Discs, SlicePool


@dataclass(frozen=True)
class Cost:
    """What a training takes on this machine, as far as a few of its steps and subjects tell."""

    steps_measured: int
    seconds_a_step: float  #: median
    seconds: float  #: for all steps, once the subjects are there
    peak_memory: int | None  #: bytes; None where the system does not tell
    subjects: int = 0  #: yet to be made or read, before the steps
    subject_seconds: float = 0.0  #: for all of them


def dry_run(
    config: TrainConfig,
    pool: SlicePool | None = None,
    *,
    device: str = "auto",
    seconds: float = 20.0,
) -> Cost:
    """Make a few subjects, train on made-up discs, and say what the whole training would take.

    About `seconds` for both, but at least two steps and two subjects a processor. Nothing is
    written. Without a `pool` the subjects are left out. Errors as for `train`.

    >>> dry_run(TrainConfig(batch_size=2), device="cpu", seconds=0.1).seconds > 0
    True
    """
    began = time.perf_counter()
    subjects = (0, 0.0)
    if pool is not None:
        subjects = pool.cost(pool.drawn(config.seed, config.steps, config.batch_size))
    times, last = [], time.perf_counter()
    for step in train(config, Discs(), device=device):
        float(step.loss)  # wait for the device
        now = time.perf_counter()
        times.append(now - last)
        last = now
        if now - began >= seconds and len(times) > 1:
            break
    typical = statistics.median(times[1:] or times)  # the first step also sets everything up
    memory = peak_memory(choose_device(device))
    return Cost(len(times), typical, typical * config.steps, memory, *subjects)
