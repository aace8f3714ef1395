"""The pool of slices that a training draws from: made in parallel, kept as bytes on disk."""

import hashlib
import os
import statistics
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from maskdiff_edu import progress
from maskdiff_edu.brains import stacks
from maskdiff_edu.devices import join_processes
from maskdiff_edu.errors import SettingsError
from maskdiff_edu.scans import ScanFiles
from maskdiff_edu.workers import default_workers, in_parallel

SLICES_PER_SUBJECT = 2  #: of one batch, so that a first batch needs few new subjects


class Pool(Protocol):
    """Where slices come from: `cohorts.SlicePool`, or anything with this method.

    A pool may also have a `description`, a text that names its data. A training that is resumed
    then refuses a pool of another description; without one nothing is compared.
    """

    def batch(self, seed: int, n: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Batch n: images (b, 1, h, w) float32 in [-1, 1] and brain_masks (b, 1, h, w) bool.

        On the CPU, and the same whenever the arguments are the same.
        """


class SlicePool:
    """Slices of healthy subjects for training, kept as bytes on disk and in memory.

    A subject is made, or its file read, when it is first drawn; the next run finds it in the
    cache, see `brains.stacks`.

    sources: seeds of generated subjects, or files from `folders.find_scans`.
    contrast: of the generated subjects.
    cache_dir: default is the user's cache folder, or `MASKDIFF_CACHE` where that is set.
    """

    def __init__(
        self,
        sources: Sequence[int | ScanFiles],
        contrast: str = "t2",
        cache_dir: str | Path | None = None,
    ) -> None:
        if len(sources) == 0:
            raise SettingsError("sources: expected at least one subject, got none")
        self.sources = list(sources)
        self.contrast = contrast
        self.folder = Path(cache_dir or _default_cache())
        self._loaded: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> np.ndarray:
        """All slices of one subject, (n, 96, 96) uint8."""
        if index not in self._loaded:
            path = stacks.stack_path(self.names[index], self.folder)
            self._loaded[index] = stacks.cached_stack(self.sources[index], self.contrast, path)
        return self._loaded[index]

    @cached_property
    def names(self) -> list[str]:
        """What the cache calls each subject; files are read once for it, with a progress bar."""
        every = progress.bar(self.sources, desc="reading files", unit="file")
        return [stacks.stack_name(source, self.contrast) for source in every]

    @property
    def description(self) -> str:
        """Tells these subjects from others, by a digest of what their files hold."""
        told = [
            source if isinstance(source, int) else name
            for source, name in zip(self.sources, self.names, strict=True)
        ]
        state = [told, self.contrast, stacks.STACKS_VERSION]
        digest = hashlib.sha256(repr(state).encode()).hexdigest()[:12]
        return f"{len(self)} subjects ({digest})"

    def drawn(self, seed: int, steps: int, batch_size: int) -> list[int]:
        """The subjects that batches 0..steps-1 draw from, in order."""
        batches = (self.subjects_of_batch(seed, n, batch_size) for n in range(steps))
        return sorted({int(subject) for batch in batches for subject in batch})

    def fill(self, indices: Iterable[int] | None = None, workers: int | None = None) -> None:
        """Make the subjects ahead of time, several at once, with a progress bar.

        Under torchrun all processes have to call this: one of each machine makes them, and the
        others wait for it.
        """
        processes = join_processes()
        with processes.leaving_together():
            if processes.local_rank == 0:
                self._fill(range(len(self)) if indices is None else indices, workers)

    def _fill(self, indices: Iterable[int], workers: int | None) -> None:
        missing = self._missing(indices)
        items = [(self.sources[i], stacks.stack_path(self.names[i], self.folder)) for i in missing]
        made = in_parallel(stacks.store, items, self.contrast, workers=workers)
        bar = progress.bar(total=len(missing), desc="making subjects", unit="subject")
        with closing(made), bar:
            for _ in made:
                bar.update()

    def cost(self, indices: Iterable[int], workers: int | None = None) -> tuple[int, float]:
        """How many of these subjects `fill` would make, and the seconds it would take for them.

        Measured on a few, two a worker, which are not kept.
        """
        missing = self._missing(indices)
        if not missing:
            return 0, 0.0
        workers = workers or default_workers()
        few = [self.sources[i] for i in missing[: 2 * workers]]
        made = in_parallel(stacks.seconds_to_make, few, self.contrast, workers=workers)
        seconds = list(made)
        typical = statistics.median(seconds[workers:] or seconds)  # the first load the atlas
        return len(missing), typical * -(-len(missing) // workers)

    def _missing(self, indices: Iterable[int]) -> list[int]:
        """Those subjects that are neither in memory nor in the cache."""
        return [
            i
            for i in sorted(set(indices))
            if i not in self._loaded and not stacks.stack_path(self.names[i], self.folder).is_file()
        ]

    def subjects_of_batch(self, seed: int, n: int, batch_size: int) -> np.ndarray:
        """Which subjects batch n draws from."""
        rng = np.random.default_rng([seed, n])
        return rng.integers(len(self), size=-(-batch_size // SLICES_PER_SUBJECT))

    def batch(self, seed: int, n: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Batch n of a training: the same arguments always give the same slices.

        Half of the slices are flipped left to right, and brightness and gamma vary a little.

        Returns: images (b, 1, 96, 96) float32 in [-1, 1] and brain_masks (b, 1, 96, 96) bool.
        """
        subjects = self.subjects_of_batch(seed, n, batch_size)
        rng = np.random.default_rng([seed, n, 1])
        chosen = []
        for i in np.resize(np.repeat(subjects, SLICES_PER_SUBJECT), batch_size):
            stack = self[i]
            chosen.append(stack[rng.integers(len(stack))])
        return vary_slices(torch.from_numpy(np.stack(chosen))[:, None], rng)


class Discs:
    """A pool of grey discs: the shapes of a real one, at no cost."""

    def batch(self, seed: int, n: int, batch_size: int) -> tuple[Tensor, Tensor]:
        line = torch.linspace(-1, 1, 96)
        brain_masks = (line[:, None] ** 2 + line**2 < 0.6).expand(batch_size, 1, 96, 96)
        return torch.where(brain_masks, 0.0, -1.0), brain_masks


def vary_slices(coded: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A training batch from slices as bytes (b, 1, h, w): flipped or not, brightness and gamma.

    Returns: images (b, 1, h, w) float32 in [-1, 1] and brain_masks (b, 1, h, w) bool.
    """
    flip = torch.from_numpy(rng.random(len(coded)) < 0.5)[:, None, None, None]
    coded = torch.where(flip, coded.flip(-1), coded)
    gain, log_gamma = rng.uniform([[0.85], [-0.2]], [[1.15], [0.2]], (2, len(coded)))
    return _vary(coded, torch.from_numpy(gain), torch.from_numpy(np.exp(log_gamma)))


def _vary(coded: Tensor, gain: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Bytes to images with gain and gamma (b,) applied on the 0..1 scale, and brain masks."""
    gain, gamma = (v.float()[:, None, None, None] for v in (gain, gamma))
    brain_masks = coded > 0
    intensity = (coded.float() - 1).clamp(min=0) / 254
    intensity = (gain * intensity.pow(gamma)).clamp(max=1)
    return torch.where(brain_masks, 2 * intensity - 1, -1.0), brain_masks


def _default_cache() -> Path:
    return Path(os.environ.get("MASKDIFF_CACHE") or user_cache_path("maskdiff_edu"))
