import numpy as np
import pytest
import torch

from maskdiff_edu.diffusion.masks import as_numbers, between, newly_hidden, trace_first, union


def painted_by(inside_rows, inside_columns):
    """Which rectangle each pixel gets, 63 for none: painted one by one, the first over all."""
    b, k, h = inside_rows.shape
    painted = np.full((b, h, inside_columns.shape[2]), 63)
    for i in range(b):
        for j in reversed(range(k)):
            painted[i][np.outer(inside_rows[i, j], inside_columns[i, j]) > 0] = j
    return painted


@pytest.fixture
def sixty_rectangles():
    """The most that one trace can tell apart, in 5 slices; their rows and columns have gaps."""
    generator = torch.Generator().manual_seed(0)
    rows = (torch.rand(5, 60, 20, generator=generator) < 0.15).float()
    columns = (torch.rand(5, 60, 18, generator=generator) < 0.15).float()
    return rows, columns


def test_a_mask_reads_as_numbers_without_a_copy():
    mask = torch.tensor([[True, False], [False, True]])
    numbers = as_numbers(mask)
    assert numbers.tolist() == [[1, 0], [0, 1]] and numbers.data_ptr() == mask.data_ptr()
    assert torch.equal(as_numbers(mask[:, :1].expand(2, 3)), numbers[:, :1].expand(2, 3))


def test_between_holds_the_stated_positions_and_is_cut_off_at_both_ends():
    start, length = torch.tensor([[2, -2, 4, 9]]), torch.tensor([[3, 4, 1, 5]])
    inside = between(start, length, 6)
    assert inside.dtype == torch.float32
    assert inside[0].tolist() == [
        [0, 0, 1, 1, 1, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_a_pixel_is_hidden_by_the_first_rectangle_painted_over_it(sixty_rectangles):
    painted = torch.tensor(painted_by(*sixty_rectangles))
    trace = trace_first(*sixty_rectangles)
    none = painted == 63
    assert 0 < none.sum() < none.numel() / 2 and painted[~none].unique().numel() > 40
    assert (trace[none] == 0).all()
    _, exponent = torch.frexp(trace[~none])  # of a mantissa from 1/2 to 1
    assert torch.equal((1 - exponent) // 2, painted[~none].int())
    assert torch.equal(union(*sixty_rectangles), ~none)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # 8 bits of a sum hold its exponent as well
        rounded = trace_first(*sixty_rectangles)
    assert rounded.dtype == torch.float32
    assert torch.equal(torch.frexp(rounded[~none])[1], exponent)


def test_every_pixel_is_counted_once_by_the_rectangle_that_hides_it(sixty_rectangles):
    painted = painted_by(*sixty_rectangles)
    mask = torch.rand(5, 20, 18, generator=torch.Generator().manual_seed(1)) < 0.6
    counts = newly_hidden(trace_first(*sixty_rectangles), mask)
    for i in range(5):
        assert counts[i].tolist() == np.bincount(painted[i][mask[i]], minlength=64).tolist()
