"""The pool of slices that a training draws from: made in parallel, kept as bytes on disk."""

import hashlib
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor
from tqdm import tqdm

from maskdiff_edu.brains import atlas, fields, make_subject, phantom
from maskdiff_edu.devices import join_processes
from maskdiff_edu.errors import ScanError
from maskdiff_edu.scans import ScanFiles, to_slices

SLICES_PER_SUBJECT = 2  #: of one batch, so that a first batch needs few new subjects
MIN_BRAIN_PIXELS = 200  #: slices with less brain are not trained on


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
    cache. One byte a pixel: 0 outside the brain, 1..255 for -1..1 inside.

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
            raise ValueError("sources: expected at least one subject, got none")
        self.sources = list(sources)
        self.contrast = contrast
        self.folder = Path(cache_dir or _default_cache()) / f"pool-{_generator_digest()}"
        self._loaded: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> np.ndarray:
        """All slices of one subject, (n, 96, 96) uint8."""
        if index not in self._loaded:
            self._loaded[index] = _cached_slices(self.sources[index], self.contrast, self.folder)
        return self._loaded[index]

    @property
    def description(self) -> str:
        """Tells these subjects from others, by a digest, wherever their files lie."""
        told = [source if isinstance(source, int) else _told_of(source) for source in self.sources]
        state = [told, self.contrast, _generator_digest()]
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
        made = _in_parallel(_cached_slices, missing, self.contrast, workers, self.folder)
        bar = tqdm(desc="making subjects", total=len(missing), unit="subject", delay=2)
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
        workers = workers or os.cpu_count() or 1
        few = missing[: 2 * workers]
        seconds = list(_in_parallel(_seconds_to_make, few, self.contrast, workers))
        typical = statistics.median(seconds[workers:] or seconds)  # the first ones load the atlas
        return len(missing), typical * -(-len(missing) // workers)

    def _missing(self, indices: Iterable[int]) -> list[int | ScanFiles]:
        """The sources of those subjects that are neither in memory nor in the cache."""
        return [
            self.sources[i]
            for i in sorted(set(indices))
            if i not in self._loaded
            and not (self.folder / _cache_name(self.sources[i], self.contrast)).exists()
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


def encode_slices(images: Tensor, brain_masks: Tensor) -> np.ndarray:
    """Slices (n, 1, h, w) in [-1, 1] as bytes (n, h, w), without those that hold little brain."""
    coded = torch.where(brain_masks, 1 + ((images + 1) * 127).round(), 0).to(torch.uint8)
    enough = brain_masks.sum(dim=(1, 2, 3)) >= MIN_BRAIN_PIXELS
    return coded[enough, 0].numpy()


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_parallel(
    job: Callable[..., Any],
    sources: Sequence[int | ScanFiles],
    contrast: str,
    workers: int | None,
    *arguments: Any,
) -> Iterator[Any]:
    """Results of `job(source, contrast, *arguments)` in order, several worked on at once."""
    if not sources:
        return
    n_workers = min(workers or os.cpu_count() or 1, len(sources))
    executor = ProcessPoolExecutor(n_workers, initializer=_leave_interrupts_to_the_parent)
    running = [executor.submit(job, source, contrast, *arguments) for source in sources]
    try:
        for future in running:
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)  # after Ctrl-C, only what is being made


def _seconds_to_make(source: int | ScanFiles, contrast: str) -> float:
    began = time.perf_counter()
    _make_slices(source, contrast)
    return time.perf_counter() - began


def _make_slices(source: int | ScanFiles, contrast: str) -> np.ndarray:
    scan = make_subject(source, contrast) if isinstance(source, int) else source.load()
    slices = to_slices(scan)
    coded = encode_slices(slices.images, slices.brain_masks)
    if len(coded) == 0 or coded.shape[1:] != phantom.SHAPE[:2]:
        raise ScanError(
            f"{scan.name}: expected slices of 96x96 that hold brain, came {coded.shape}; "
            "a brain longer than 192 mm cannot be trained on"
        )
    return coded


def _cached_slices(source: int | ScanFiles, contrast: str, folder: Path) -> np.ndarray:
    path = folder / _cache_name(source, contrast)
    if path.exists():
        return np.load(path)
    coded = _make_slices(source, contrast)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.npy")
    np.save(partial, coded)
    partial.replace(path)  # another process never reads half a file
    return coded


def _cache_name(source: int | ScanFiles, contrast: str) -> str:
    if isinstance(source, int):
        return f"{contrast}-{source}.npy"
    state = [(str(f.resolve()), f.stat().st_mtime_ns, f.stat().st_size) for f in _files(source)]
    return f"scan-{hashlib.sha256(repr(state).encode()).hexdigest()[:20]}.npy"


def _told_of(source: ScanFiles) -> list[tuple[str, int]]:
    """Names and sizes of a scan's files, which stay the same in another folder."""
    return [(file.name, file.stat().st_size) for file in _files(source)]


def _files(source: ScanFiles) -> list[Path]:
    return [file for file in (source.image, source.brain_mask) if file is not None]


def _generator_digest() -> str:
    """Changes with the code that makes subjects, so that old slices are not taken for new ones."""
    sources = [Path(module.__file__).read_bytes() for module in (atlas, fields, phantom)]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


def _default_cache() -> Path:
    return Path(os.environ.get("MASKDIFF_CACHE") or user_cache_path("maskdiff_edu"))
