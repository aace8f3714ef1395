"""What a training costs: measured on real steps and real subjects, and multiplied rightly."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from maskdiff_edu.training import (
    PRESETS,
    SlicePool,
    Step,
    TrainConfig,
    cost,
    dry_run,
    graph,
    train,
)
from maskdiff_edu.training.pool import Discs
from maskdiff_edu.training.state import TrainState

CONFIG = replace(PRESETS["fpm-cm"], batch_size=2, steps=3)


def test_its_steps_are_those_of_a_training(monkeypatch):
    """The same losses, optimiser included, as `train` has on the same slices."""
    losses, updates = [], []
    denoising_loss, update = graph.denoising_loss, TrainState.update

    def watched_loss(*arguments):
        losses.append(denoising_loss(*arguments))
        return losses[-1]

    def watched_update(self, error):
        updates.append(self.step)
        return update(self, error)

    monkeypatch.setattr(graph, "denoising_loss", watched_loss)
    monkeypatch.setattr(TrainState, "update", watched_update)
    found = dry_run(CONFIG, device="cpu", seconds=math.inf)
    assert found.steps_measured == len(updates) == CONFIG.steps  # it does not go beyond
    measured = torch.stack(losses).detach()
    trained = torch.stack([step.loss for step in train(CONFIG, Discs(), device="cpu")])
    assert_close(measured, trained, rtol=0, atol=0)
    assert measured.unique().numel() == CONFIG.steps


def test_it_stops_when_the_time_is_over():
    found = dry_run(replace(CONFIG, steps=1000), device="cpu", seconds=0)
    assert found.steps_measured == 2, "the first one also sets everything up"
    assert found.seconds_a_step > 0 and found.seconds == 1000 * found.seconds_a_step
    assert found.peak_memory is None or found.peak_memory > 10**7
    assert (found.subjects, found.subject_seconds) == (0, 0)


def test_it_multiplies_the_typical_step(monkeypatch):
    clock = iter([0.0, 0.0, 5.0, 7.0, 9.0, 21.0, 99.0])  # began twice, then the end of each step

    def pretend(config, pool, *, device):
        images, brain_masks = pool.batch(0, 0, 3)
        assert images.shape == (3, 1, 96, 96) and brain_masks.dtype == torch.bool
        while True:
            yield Step(1, torch.tensor(0.0), 0.0, 0.0, None)

    monkeypatch.setattr(cost, "train", pretend)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    found = dry_run(TrainConfig(steps=100), device="cpu", seconds=20)
    assert (found.steps_measured, found.seconds_a_step, found.seconds) == (4, 2.0, 200.0)


def test_subjects_that_are_there_cost_nothing(tmp_path):
    pool = SlicePool([0, 1], cache_dir=tmp_path)
    pool[1]
    other = SlicePool([0, 1], cache_dir=tmp_path)  # finds it in the cache
    n, seconds = other.cost([0, 1], workers=2)
    assert n == 1 and seconds > 0
    assert other.cost([1]) == pool.cost([1]) == pool.cost([]) == (0, 0.0)
    assert len(list(tmp_path.rglob("*.npz"))) == 1, "what is measured is not kept"


@pytest.mark.parametrize(
    "n, workers, measured, expected",
    [(7, 2, [9, 9, 2, 4], 3 * 4), (3, 2, [9, 9, 2], 2 * 2), (1, 4, [9], 9), (8, 1, [9, 2], 2 * 8)],
)
def test_it_multiplies_the_typical_subject(tmp_path, monkeypatch, n, workers, measured, expected):
    """`workers` at once, the last round perhaps with fewer; the first ones load the atlas."""
    seen = []

    def pretend(job, sources, *_, workers):
        seen.extend(sources)
        return iter(measured)

    monkeypatch.setattr("maskdiff_edu.training.pool.in_parallel", pretend)
    pool = SlicePool(range(100, 100 + n), cache_dir=tmp_path)
    assert pool.cost(range(n), workers) == (n, expected)
    assert seen == list(range(100, 100 + len(measured)))


def test_it_asks_for_the_subjects_that_the_training_draws(monkeypatch):
    asked = []

    def cost(self, indices):
        asked.append(indices)
        return len(indices), 7.5

    monkeypatch.setattr(SlicePool, "cost", cost)
    config = replace(CONFIG, seed=3, steps=5, batch_size=4)
    pool = SlicePool(range(1000))
    found = dry_run(config, pool, device="cpu", seconds=0)
    drawn = set()
    for n in range(5):
        drawn |= set(pool.subjects_of_batch(3, n, 4).tolist())
    assert asked == [sorted(drawn)] and found.subjects == len(drawn)
    assert found.subject_seconds == 7.5
