"""The batches of a training: each from its own random numbers, on a GPU prepared ahead of time."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from maskdiff_edu.training.denoising import Noised

AHEAD = 2  #: batches that wait ready for a GPU; each costs its memory
T = TypeVar("T")


def make_generator(seed: int, n: int, device: torch.device) -> torch.Generator:
    """A random generator on `device` for batch n, unrelated to those of its neighbours.

    `seed` and `n` are at least 0; else ValueError.
    """
    mixed = np.random.SeedSequence([seed, n]).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(mixed))


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; nobody waits for the copy to a GPU.

    Only from page-locked memory can the GPU fetch it by itself. torch keeps that memory until the
    copy is done, although nothing here refers to it any more.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def in_turn(
    prepare: Callable[[int], Noised], first: int, stop: int, device: torch.device
) -> Generator[Noised, None, None]:
    """`prepare(n)` for n = first..stop-1, on a GPU some of them ahead in a thread of its own.

    Each batch draws from a generator of its own, so it is the same whoever prepares it, and when.
    """
    if device.type == "cuda":
        return _on_a_side_stream(prepare, first, stop, device)
    return (prepare(n) for n in range(first, stop))


def ahead(prepare: Callable[[int], T], first: int, stop: int) -> Generator[T, None, None]:
    """`prepare(n)` for n = first..stop-1 in order, by a thread that is `AHEAD` of its reader.

    What `prepare` raises is raised here. When the reader closes this generator, the thread ends
    after what it is just preparing.
    """
    waiting: deque[Future[T]] = deque()
    thread = ThreadPoolExecutor(1, "batches")
    try:
        for n in range(first, stop):
            waiting.append(thread.submit(prepare, n))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def _on_a_side_stream(
    prepare: Callable[[int], Noised], first: int, stop: int, device: torch.device
) -> Generator[Noised, None, None]:
    """As `in_turn`, the GPU preparing the next batches beside the step that it computes.

    Work of one stream is done in order, work of two streams in any order: all that one needs from
    the other has to be said.
    """
    reader = torch.cuda.current_stream(device)
    side = torch.cuda.Stream(device)
    side.wait_stream(reader)  # the tables of the schedule were copied on the reader's stream

    def prepare_beside(n: int) -> tuple[Noised, torch.cuda.Event]:
        with torch.cuda.stream(side):  # the current stream is a thread's own, so in the thread
            return prepare(n), side.record_event()

    done: deque[torch.cuda.Event] = deque()
    for noised, ready in ahead(prepare_beside, first, stop):
        reader.wait_event(ready)  # the GPU waits, not the processor: the batch is complete
        for tensor in noised.tensors():
            # Its memory belongs to the side stream, which would fill it with the next batch as
            # soon as Python lets go of it, while the reader's stream has yet to read it.
            tensor.record_stream(reader)
        yield noised
        # The processor only asks for steps, and would ask for hundreds ahead, whose batches all
        # take memory. So it waits for the step before the last.
        done.append(reader.record_event())
        if len(done) > AHEAD:
            done.popleft().synchronize()
