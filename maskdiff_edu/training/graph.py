"""A training step as one recording: what a GPU would be told kernel by kernel, told at once.

The networks here are small. A step is some thousand kernels, each of a few microseconds, and the
processor needs longer to launch them than a GPU to run them. A CUDA graph holds them all: recorded
once, launched by one call. What a recording cannot do is decide anything anew, so everything that
changes from step to step stands in tensors that it reads: the batch, the learning rate, the share
by which the average moves.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from maskdiff_edu.devices import Processes
from maskdiff_edu.diffusion import Schedule
from maskdiff_edu.diffusion.autoencoder import draws_a_code
from maskdiff_edu.training.batches import make_generator
from maskdiff_edu.training.denoising import Noised, denoising_loss
from maskdiff_edu.training.state import TrainState

CPU = torch.device("cpu")
WARM_UP = 3  #: runs before the recording, in which libraries choose their kernels and take memory

Follow = Callable[
    [Noised], tuple[Tensor, float]
]  #: one step, giving its loss () and its learning rate


def make_follow(
    state: TrainState, schedule: Schedule, first: Noised, processes: Processes
) -> Follow:
    """The function that does one training step, recorded where that is possible.

    `first` is a batch like all others; nothing is learned from it yet. Several processes, scaled
    gradients, a network that draws a code and every device but an NVIDIA GPU do the step kernel by
    kernel, as does a recording that fails, after a warning. Call it before other threads use the
    GPU: nothing else may run on it while it records.
    """
    follow = kernel_by_kernel(state, schedule)
    draws = draws_a_code(state.net)
    if state.rates is None or processes.count > 1 or state.scaler.is_enabled() or draws:
        return follow
    try:
        return _Recorded(state, schedule, first, follow)
    except RuntimeError as error:
        warnings.warn(
            f"training goes on without a CUDA graph, several times slower: {error}", stacklevel=2
        )
        return follow


def kernel_by_kernel(state: TrainState, schedule: Schedule) -> Follow:
    """A training step that is not recorded."""

    def follow(noised: Noised) -> tuple[Tensor, float]:
        with _seeded(state, noised.x_0.device):
            error = denoising_loss(state.model, noised, schedule, state.config)
        return error.detach(), state.update(error)

    return follow


@contextmanager
def _seeded(state: TrainState, device: torch.device) -> Iterator[None]:
    """What the network itself draws, a random code, follows from the seed and the step.

    It draws from torch's own generators, which are as before afterwards.
    """
    if not draws_a_code(state.net):
        yield
        return
    seed = make_generator(state.config.seed, state.step, CPU).initial_seed() + 1  # not the batch's
    is_cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if is_cuda else []):
        if is_cuda:
            torch.cuda.manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds GPUs too
        yield


class _Recorded:
    """A step that is replayed; a batch of another shape is followed kernel by kernel."""

    def __init__(
        self, state: TrainState, schedule: Schedule, first: Noised, otherwise: Follow
    ) -> None:
        self.state, self.otherwise = state, otherwise
        self.batch = first.copy()  # the recording reads from these addresses for ever
        self.error = torch.zeros((), device=first.x_0.device)

        def work() -> None:
            error = denoising_loss(state.model, self.batch, schedule, state.config)
            state.learn_from(error)
            self.error.copy_(error.detach())

        state.set_rates()
        with state.kept():  # the runs that warm up learn something
            self.replay = record(work, first.x_0.device)

    def __call__(self, noised: Noised) -> tuple[Tensor, float]:
        if not self.batch.is_like(noised):
            return self.otherwise(noised)
        # All on one stream, so in this order: the last replay has read what is overwritten here.
        for held, new in zip(self.batch.tensors(), noised.tensors(), strict=True):
            held.copy_(new)
        lr = self.state.set_rates()
        self.replay()
        self.state.step += 1
        return self.error.clone(), lr


def record(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Run `work` some times, then record it; returns what runs the recording again.

    Not on the current stream, since the default one cannot be recorded. Raises RuntimeError where
    `work` asks for what a recording cannot hold, such as a number for Python.
    """
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))  # what `work` reads has been written
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):  # begins by waiting for all that was asked before
        work()
    return graph.replay
