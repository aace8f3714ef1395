"""How fast hiding and noising are: beside plain NumPy loops, and within a training step.

The loops take one slice after the other, as the method is told; they draw at random too, so that
both sides do the whole job. Every comparison runs both sides in turns: what else the machine does
then slows them alike, and the ratio holds. A turn is several batches, since the first one after
the other side's turn mostly waits for memory.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from maskdiff_edu.diffusion import (
    FPM,
    IPM,
    BandSettings,
    PatchSettings,
    fractal_noise,
    masks,
)
from maskdiff_edu.diffusion.noise import octave_spectrum
from maskdiff_edu.training import (
    PRESETS,
    Noised,
    TrainConfig,
    denoising_loss,
    hide_and_noise,
    make_corruption,
    make_schedule,
)
from maskdiff_edu.training.state import TrainState

PATCHES = {
    "paper": masks.PAPER_PATCHES,
    "released": masks.RELEASED_PATCHES,
    "broad": masks.BROAD_PATCHES,
}


def in_turns(
    jobs: dict[str, Callable[[], object]], rounds: int, calls: int = 1
) -> dict[str, np.ndarray]:
    """Seconds of one call of each job in each round; a round runs all jobs, each `calls` times."""
    seconds = {name: np.empty(rounds) for name in jobs}
    for job in jobs.values():
        job()  # the first run sets things up
    for i in range(rounds):
        for name, job in jobs.items():
            began = time.perf_counter()
            for _ in range(calls):
                job()
            seconds[name][i] = (time.perf_counter() - began) / calls
    return seconds


def ratio(slow: np.ndarray, fast: np.ndarray) -> float:
    """How many times longer `slow` took: the median over rounds."""
    return statistics.median(slow / fast)


def print_table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as they must be; the first row names them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        print("  " + "  ".join([f"{first:<{widths[0]}}", *cells]))


def brains(b: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Textured ellipses of a brain's size: images and brain masks (b, 1, 96, 96)."""
    line = torch.linspace(-1, 1, 96)
    brain_masks = (line[:, None] / 0.8) ** 2 + (line / 0.65) ** 2 < 1
    brain_masks = brain_masks.expand(b, 1, 96, 96).contiguous()
    texture = 0.4 * torch.rand(b, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    return torch.where(brain_masks, texture, -1.0), brain_masks


def ipm_by_loop(
    images: np.ndarray, brain_masks: np.ndarray, settings: PatchSettings, rng: np.random.Generator
) -> np.ndarray:
    """Image patch masking, a slice and a rectangle at a time."""
    masked = images.copy()
    for i in range(len(images)):
        brain_mask = brain_masks[i, 0]
        pixels = np.argwhere(brain_mask)
        brain_rows = brain_mask.any(axis=1).sum()
        count = rng.integers(settings.count[0], settings.count[1] + 1)
        enough = len(pixels) * rng.uniform(*settings.coverage or (1, 1))
        patch_mask = np.zeros_like(brain_mask)
        for _ in range(count):
            row, column = pixels[rng.integers(len(pixels))]
            height, width = np.round(rng.uniform(*settings.sides, 2) * brain_rows).astype(int)
            top, left = max(0, row - height // 2), max(0, column - width // 2)
            bottom, right = row - height // 2 + height, column - width // 2 + width
            patch_mask[top:bottom, left:right] = True
            if settings.coverage and np.count_nonzero(patch_mask & brain_mask) >= enough:
                break
        masked[i, 0][patch_mask & brain_mask] = masks.ZERO_AFTER_SCALING
    return masked


def fpm_by_loop(
    images: np.ndarray, brain_masks: np.ndarray, settings: BandSettings, rng: np.random.Generator
) -> np.ndarray:
    """Frequency patch masking with squares, a slice at a time."""
    masked = np.empty_like(images)
    h, w = images.shape[-2:]
    for i in range(len(images)):
        half = rng.integers(settings.half_width[0], settings.half_width[1] + 1)
        band_mask = np.zeros((h, w), bool)
        band_mask[h // 2 - half : h // 2 + half + 1, w // 2 - half : w // 2 + half + 1] = True
        if rng.random() >= settings.low_pass:
            band_mask = ~band_mask
        spectrum = np.fft.fftshift(np.fft.fft2(images[i, 0] + 1))
        filtered = np.fft.ifft2(np.fft.ifftshift(spectrum * band_mask)).real
        masked[i, 0] = np.where(brain_masks[i, 0], filtered - 1, -1)
    return masked


def fractal_by_loop(b: int, rng: np.random.Generator) -> np.ndarray:
    """Fractal noise, a field at a time; the spectrum's gain is the library's."""
    gain = octave_spectrum(96, 96).sqrt().numpy()
    noise = np.empty((b, 1, 96, 96), np.float32)
    for i in range(b):
        white = rng.standard_normal((96, 96), dtype=np.float32)
        noise[i, 0] = np.fft.ifft2(np.fft.fft2(white) * gain).real
    return noise


def compare_with_loops(b: int = 32, rounds: int = 20) -> None:
    """Each way to hide, and the fractal noise, beside its loop."""
    torch.set_num_threads(1)
    # A training's larger tensors come and go; once one of them has been freed, the C library keeps
    # smaller blocks for the next batch and does not ask the system for new pages each time.
    torch.zeros(24 * 2**20, dtype=torch.uint8)
    images, brain_masks = brains(b)
    arrays = images.numpy(), brain_masks.numpy()
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)

    fpm = FPM(masks.RELEASED_BANDS)
    pairs = {
        "FPM": (
            lambda: fpm(images, brain_masks, generator),
            lambda: fpm_by_loop(*arrays, masks.RELEASED_BANDS, rng),
            "4x",
        )
    }
    for name, settings in PATCHES.items():
        pairs[f"IPM, {name} patches"] = (
            partial(IPM(settings), images, brain_masks, generator),
            partial(ipm_by_loop, *arrays, settings, rng),
            "2x",
        )
    pairs["fractal noise"] = (
        lambda: fractal_noise((b, 1, 96, 96), generator=generator),
        lambda: fractal_by_loop(b, rng),
        "-",
    )

    rows = [("", "ours, ms", "loop, ms", "ratio", "asked")]
    for name, (ours, loop, asked) in pairs.items():
        seconds = in_turns({"ours": ours, "loop": loop}, rounds, calls=5)
        ms = (f"{1000 * np.median(taken):.2f}" for taken in seconds.values())
        rows.append((name, *ms, f"{ratio(seconds['loop'], seconds['ours']):.1f}x", asked))
    print_table(f"Beside a NumPy loop over slices: batch {b}, 96x96, one thread", rows)


def seconds_of_a_step(config: TrainConfig, rounds: int) -> dict[str, np.ndarray]:
    """Of corrupting and noising a batch, and of the whole training step."""
    images, brain_masks = brains(config.batch_size)
    state, schedule = TrainState(config, torch.device("cpu"), None), make_schedule(config)
    corrupt = make_corruption(config)

    def part() -> Noised:
        return hide_and_noise(images, brain_masks, corrupt, schedule, config)

    def whole_step() -> None:
        state.update(denoising_loss(state.model, part(), schedule, config))

    return in_turns({"part": part, "step": whole_step}, rounds)


def share_of_a_training_step(rounds: int = 15) -> None:
    """Corrupting and noising beside everything else that a step of the tiny network does."""
    rows = [("", "masks and noise, ms", "step, ms", "share", "asked")]
    for preset in ("ipm", "fpm", "fpm-cm"):
        seconds = seconds_of_a_step(replace(PRESETS[preset], unet="tiny", batch_size=16), rounds)
        ms = (f"{1000 * np.median(taken):.1f}" for taken in seconds.values())
        rows.append((preset, *ms, f"{ratio(seconds['part'], seconds['step']):.1%}", "under 5%"))
    threads = torch.get_num_threads()
    print_table(f"Within a training step: batch 16, 96x96, {threads} threads", rows)


if __name__ == "__main__":
    share_of_a_training_step()
    compare_with_loops()
