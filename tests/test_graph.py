"""Batches prepared ahead and the recorded step, played without a GPU: same numbers, same order."""

import itertools
import os
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from test_train import SMALL, assert_same_bits, weights
from torch.testing import assert_close
from train_discs import CONFIG, Discs

from maskdiff_edu.devices import Processes
from maskdiff_edu.diffusion import no_corruption
from maskdiff_edu.training import (
    PRESETS,
    Saving,
    batches,
    graph,
    hide_and_noise,
    make_schedule,
    train,
)
from maskdiff_edu.training import state as training_state
from maskdiff_edu.training.state import TrainState

CPU, ALONE = torch.device("cpu"), Processes()
SHORT = replace(CONFIG, steps=5)


def run(config=SHORT, **options):
    """The losses, and the averaged weights at the end."""
    steps = list(train(config, Discs(), start=SMALL, device="cpu", **options))
    return torch.stack([step.loss for step in steps]), weights(steps[-1].model)


class Recorder:
    """Stands in for a CUDA graph: warms up as the real one does, and replays by calling again."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, work, device):
        self.recorded += 1
        for _ in range(graph.WARM_UP):
            work()

        def replay():
            self.replayed += 1
            work()

        return replay


@pytest.fixture
def recorder(monkeypatch):
    """The CPU plays a GPU that records."""
    recorder = Recorder()
    monkeypatch.setattr(training_state, "RECORDS", ("cpu",))
    monkeypatch.setattr(graph, "record", recorder)
    return recorder


@pytest.fixture
def kernel_by_kernel(monkeypatch):
    """As on a GPU, but without a recording: what the recorded step has to equal."""

    def run_so(config=SHORT, **options):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch.setattr(graph, "record", fail)
            return run(config, **options)

    return run_so


def fail(work, device):
    work()  # so that there is something to undo
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("preset", ["fpm-cm", "pddpm"])
def test_a_recorded_training_ends_in_the_bits_of_one_that_is_not(
    recorder, kernel_by_kernel, preset
):
    config = replace(SHORT, corruption=PRESETS[preset].corruption, box=PRESETS[preset].box and 20)
    losses, model = run(config)
    assert (recorder.recorded, recorder.replayed) == (1, config.steps)
    expected_losses, expected = kernel_by_kernel(config)
    assert_close(losses, expected_losses, rtol=0, atol=0)
    assert_same_bits(model, expected)


def test_rates_in_tensors_are_those_of_the_cpu(recorder, monkeypatch):
    """To the digits of float32, in which a GPU reads them (Adam blows up those of no gradient)."""
    losses, model = run()
    monkeypatch.undo()
    expected_losses, expected = run()
    assert_close(losses, expected_losses, rtol=1e-4, atol=0)
    flat, wanted = (torch.cat([w.flatten() for w in net.values()]) for net in (model, expected))
    assert (flat - wanted).norm() < 1e-4 * wanted.norm()


def test_a_recorded_training_goes_on_as_it_would_have(recorder, tmp_path):
    losses, whole = run()
    steps = train(SHORT, Discs(), start=SMALL, device="cpu", out=Saving(tmp_path, every=1))
    list(itertools.islice(steps, 3))
    steps.close()
    rest, resumed = run(out=Saving(tmp_path, resume=True))
    assert_close(rest, losses[3:], rtol=0, atol=0)
    assert_same_bits(resumed, whole)


def a_state(config=SHORT):
    """A state after two steps, and a batch."""
    state, schedule = TrainState(config, CPU, SMALL), make_schedule(config)
    noised = hide_and_noise(*Discs().batch(0, 0, 4), no_corruption, schedule, config)
    for _ in range(2):
        state.update((state.model(noised.x_t, noised.t) - noised.x_0).abs().mean())
    return state, schedule, noised


def everything(state):
    """All that a step changes."""
    moments = {
        f"{number}.{key}": tensor.clone()
        for number, parameter in enumerate(state.net.parameters())
        for key, tensor in state.optimizer.state[parameter].items()
    }
    average = {f"average.{name}": tensor for name, tensor in weights(state.average).items()}
    return weights(state.net) | average | moments


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
def test_warming_up_changes_nothing(recorder, monkeypatch, fails, fresh):
    state, schedule, noised = a_state()
    if fresh:
        state = TrainState(SHORT, CPU, SMALL)
    before, step = everything(state), state.step
    if fails:
        monkeypatch.setattr(graph, "record", fail)
        with pytest.warns(UserWarning, match="without a CUDA graph.*not permitted when stream"):
            graph.make_follow(state, schedule, noised, ALONE)
    else:
        graph.make_follow(state, schedule, noised, ALONE)
    after = everything(state)
    assert_same_bits({name: after[name] for name in before}, before)
    assert state.step == step
    for name in after.keys() - before.keys():  # moments of a fresh optimiser
        assert fresh and not after[name].any()


def test_what_is_kept_stays_at_its_address():
    state, _, noised = a_state()
    tensors = [*state.net.parameters(), *state.average.parameters()]
    before = [tensor.data_ptr() for tensor in tensors]
    with state.kept():
        state.learn_from(state.model(noised.x_t, noised.t).mean())
    assert [tensor.data_ptr() for tensor in tensors] == before


def test_the_losses_of_a_recorded_training_are_tensors_of_their_own(recorder):
    steps = list(train(SHORT, Discs(), start=SMALL, device="cpu"))
    assert len({float(step.loss) for step in steps}) == len(steps)
    assert not any(step.loss.requires_grad for step in steps)


def test_a_batch_of_another_shape_is_followed_kernel_by_kernel(recorder):
    state, schedule, noised = a_state()
    follow = graph.make_follow(state, schedule, noised, ALONE)
    error, lr = follow(noised.share(slice(0, 3)))
    assert error.isfinite() and lr > 0 and state.step == 3
    assert recorder.replayed == 0
    follow(noised)
    assert recorder.replayed == 1 and state.step == 4


@pytest.mark.parametrize("why", ["cpu", "processes", "float16"])
def test_other_trainings_are_not_recorded(recorder, monkeypatch, why):
    if why == "cpu":
        monkeypatch.setattr(training_state, "RECORDS", ("cuda",))
    config = replace(SHORT, precision="float16" if why == "float16" else "float32")
    state, schedule, noised = a_state(config)
    processes = Processes(0, 0, 2) if why == "processes" else ALONE
    error, _ = graph.make_follow(state, schedule, noised, processes)(noised)
    assert recorder.recorded == 0 and error.isfinite() and state.step == 3


def test_a_recording_that_fails_warns_once_and_the_training_goes_on(recorder, monkeypatch):
    monkeypatch.setattr(graph, "record", fail)
    with pytest.warns(UserWarning, match="several times slower") as caught:
        losses, _ = run()
    assert len(caught) == 1 and len(losses) == SHORT.steps


# Batches ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_batches_come_in_order_and_a_few_are_made_ahead():
    made, read = [], []

    def prepare(n):
        time.sleep(0.002 * (n % 3))
        made.append(n)
        return n

    for n in batches.ahead(prepare, 3, 20):
        read.append(n)
        assert len(made) <= len(read) + batches.AHEAD + 1
    assert read == made == list(range(3, 20))
    assert list(batches.ahead(prepare, 5, 5)) == []
    assert threads() == []


def test_what_goes_wrong_ahead_is_raised_in_its_turn():
    def prepare(n):
        if n == 2:
            raise OSError("no such slice")
        return n

    reader = batches.ahead(prepare, 0, 10)
    assert [next(reader), next(reader)] == [0, 1]
    with pytest.raises(OSError, match="no such slice"):
        next(reader)
    assert threads() == []


def test_the_thread_ends_with_its_reader():
    made = []
    reader = batches.ahead(lambda n: made.append(n), 0, 1000)
    next(reader)
    assert len(threads()) == 1
    reader.close()
    assert threads() == [] and len(made) <= 2 + batches.AHEAD


def test_a_training_that_is_left_ends_the_thread(monkeypatch):
    def in_a_thread(prepare, first, stop, device):
        return batches.ahead(prepare, first, stop)

    monkeypatch.setattr("maskdiff_edu.training.loop.in_turn", in_a_thread)
    steps = train(SHORT, Discs(), start=SMALL, device="cpu")
    next(steps)
    next(steps)
    assert len(threads()) == 1
    steps.close()
    assert threads() == []


def test_batches_made_in_a_thread_are_those_made_in_turn(monkeypatch):
    expected_losses, expected = run()
    monkeypatch.setattr(
        "maskdiff_edu.training.loop.in_turn",
        lambda prepare, first, stop, device: batches.ahead(prepare, first, stop),
    )
    losses, model = run()
    assert_close(losses, expected_losses, rtol=0, atol=0)
    assert_same_bits(model, expected)


class Stream:
    """What is asked of a GPU's stream, in order."""

    log: ClassVar[list] = []

    def __init__(self, device=None, name="side"):
        self.name = name

    def wait_stream(self, other):
        self.log.append((self.name, "waits for", other.name))

    def wait_event(self, event):
        self.log.append((self.name, "waits for batch", event.n))

    def record_event(self):
        event = Event()
        self.log.append((self.name, "marks", event.n))
        return event

    def __enter__(self):
        self.log.append((self.name, "begins", threading.current_thread().name.split("_")[0]))

    def __exit__(self, *_):
        pass


class Event:
    count = itertools.count()

    def __init__(self):
        self.n = next(Event.count)

    def synchronize(self):
        Stream.log.append(("processor", "waits for", self.n))


def test_the_streams_wait_for_one_another(monkeypatch):
    """The reader for each batch, its memory for the reader, the processor for old steps."""
    Stream.log, Event.count = [], itertools.count()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(name="main"))
    kept = []
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: kept.append((tensor, stream.name))
    )
    schedule = make_schedule(SHORT)

    def prepare(n):
        return hide_and_noise(*Discs().batch(0, n, 2), no_corruption, schedule, SHORT)

    read = list(batches.in_turn(prepare, 0, 6, torch.device("cuda")))
    assert Stream.log[0] == ("side", "waits for", "main")
    waits = [entry[2] for entry in Stream.log if entry[:2] == ("main", "waits for batch")]
    marked = [entry[2] for entry in Stream.log if entry[:2] == ("side", "marks")]
    assert waits == marked and len(waits) == 6
    assert {entry[2] for entry in Stream.log if entry[1] == "begins"} == {"batches"}
    tensors = [tensor for noised in read for tensor in noised.tensors()]
    assert [id(tensor) for tensor, _ in kept] == [id(tensor) for tensor in tensors]
    steps = [entry[2] for entry in Stream.log if entry[:2] == ("main", "marks")]
    waited = [entry[2] for entry in Stream.log if entry[:2] == ("processor", "waits for")]
    assert waited == steps[: 6 - batches.AHEAD]


# The benchmark that a GPU waits for


def test_the_benchmark_says_in_one_sentence_that_there_is_no_gpu():
    script = Path(__file__).with_name("bench_gpu.py")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "There is no NVIDIA GPU here, so nothing is measured.\n"


@pytest.mark.slow
def test_the_benchmark_runs(recorder, monkeypatch):
    """Every row of its table, on a CPU that plays the GPU."""
    import bench_gpu

    for name, value in (("STEPS", 1), ("WARM", 1)):
        monkeypatch.setattr(bench_gpu, name, value)
    monkeypatch.setattr(torch, "compile", lambda net: net)
    monkeypatch.setitem(bench_gpu.NETWORKS, "paper", SMALL.config)
    rows = [*bench_gpu.step_rows(CPU, (2, 4)), bench_gpu.training_row(CPU, steps=2)]
    rows += [*bench_gpu.reconstruction_rows(CPU, b=2), *bench_gpu.bits_rows(CPU, steps=2)]
    rows.append(bench_gpu.maps_row(CPU))
    assert {len(row) for row in rows} == {5}
    assert not any("Error" in cell for row in rows for cell in row)
    table = {row[0]: row[1:] for row in rows}
    assert table["two trainings end in the same bits"][1] == "True"
    assert table["losses of eager and graph are the same bits"][:2] == ("True", "0.0e+00 apart")
    assert table["demo patient's map, CPU and GPU apart"][0] == "0.0e+00"
    bench_gpu.print_table("all", [("", "eager", "graph", "faster", "of matmul peak"), *rows])
