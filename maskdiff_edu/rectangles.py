"""Rectangles on a pixel grid, many at once: which pixels they hide, and which of them first.

A rectangle is the rows and the columns inside of it: k rectangles in each of b slices are two
tensors of 0 and 1, (b, k, h) and (b, k, w), and a matrix product tells what they hide together.
"""

import torch
from torch import Tensor


def as_numbers(mask: Tensor) -> Tensor:
    """The same memory read as 0 and 1: in arithmetic, a CPU is several times slower with bools."""
    return mask.view(torch.uint8)


def between(start: Tensor, length: Tensor, n: int) -> Tensor:
    """1 at positions start, ..., start + length - 1 of 0..n-1, else 0: (b, k, n) float."""
    half = (length[:, :, None] - 1) / 2
    positions = torch.arange(n, dtype=half.dtype, device=half.device)
    return (positions - (start[:, :, None] + half)).abs_().le_(half)


def union(inside_rows: Tensor, inside_columns: Tensor) -> Tensor:
    """(b, h, w) bool: pixels in any of the k rectangles."""
    return (inside_rows.mT @ inside_columns).bool()


def trace_first(inside_rows: Tensor, inside_columns: Tensor) -> Tensor:
    """Which of k <= 60 rectangles is the first to hide each pixel: (b, h, w) float.

    From 4^-j to below 2 * 4^-j where it is rectangle j of 0..k-1, and 0 for none.
    """
    k = inside_rows.shape[1]
    # Rectangle j weighs 1.25 * 4^-j, and all later ones together at most a third of that: no
    # rounding reaches the next power of two. (float16 has no 4^-20: not under its autocast.)
    weight = 1.25 * 0.25 ** torch.arange(k, device=inside_rows.device)[:, None]
    return ((inside_rows * weight).mT @ inside_columns).float()


def newly_hidden(trace: Tensor, mask: Tensor) -> Tensor:
    """How many of the mask's pixels (b, h, w) rectangle j is the first to hide: (b, 64) int32.

    `trace` is what `trace_first` returns. The last entry counts the pixels that none hides.
    """
    # A float32 of about 4^-j has the bits (127 - 2j) << 23, and 0 has none.
    last_first = (trace.view(torch.int32) >> 24).flatten(1).long()  # 63 - j, in (b, h * w)
    counts = torch.zeros((len(trace), 64), dtype=torch.int32, device=trace.device)
    return counts.scatter_add_(1, last_first, mask.flatten(1).int()).flip(1)
