from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from maskdiff_edu.diffusion import Schedule, add_noise, draw_t, loss, target, to_x_0
from maskdiff_edu.diffusion.objectives import box_grid, draw_box

KINDS = ["x_0", "eps", "v"]
SCHEDULES = {
    "linear": Schedule.linear(dtype=torch.float64),
    "cosine": Schedule.cosine(dtype=torch.float64),
}


def a_noised_batch(schedule, times, seed=0):
    """Clean, corrupted and noised images and the noise, float64, one image a time."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(times), 1, 6, 5)
    x_0, eps = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    x_0_masked = x_0.clone()
    x_0_masked[..., 2:4, 1:3] = 0
    t = torch.tensor(list(times))
    return x_0, x_0_masked, eps, t, add_noise(x_0_masked, t, eps, schedule)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_target_and_to_x_0_undo_each_other_at_every_t(kind, schedule, seed):
    """Whatever the prediction and the image are, and whether x_t was made from that image."""
    x_0, _, prediction, t, x_t = a_noised_batch(schedule, range(1000), seed)
    back = to_x_0(kind, target(kind, x_0, x_t, t, schedule), x_t, t, schedule)
    assert_close(back, x_0, rtol=1e-7, atol=1e-7)
    again = target(kind, to_x_0(kind, prediction, x_t, t, schedule), x_t, t, schedule)
    assert_close(again, prediction, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_they_undo_each_other_in_float32_as_far_as_it_goes(kind, name):
    """eps stands for x_0 through a division by sqrt(alphas_bar), which magnifies rounding."""
    schedule = getattr(Schedule, name)()
    x_0, _, _, t, x_t = (part.float() for part in a_noised_batch(schedule, range(1000)))
    t = t.long()
    back = to_x_0(kind, target(kind, x_0, x_t, t, schedule), x_t, t, schedule)
    magnified = 1 + schedule.snr(t).rsqrt() if kind == "eps" else torch.ones(1000)
    error = (back - x_0).abs().amax(dim=(1, 2, 3))
    assert (error < 2e-6 * magnified).all()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_without_a_mask_the_targets_are_the_usual_ones(schedule):
    times = [0, 10, 500, 999]
    x_0, _, eps, t, _ = a_noised_batch(schedule, times)
    x_t = add_noise(x_0, t, eps, schedule)
    alphas_bar = schedule.alphas_bar[t].view(-1, 1, 1, 1)
    assert_close(target("eps", x_0, x_t, t, schedule), eps, rtol=1e-7, atol=1e-7)
    v = alphas_bar.sqrt() * eps - (1 - alphas_bar).sqrt() * x_0  # arXiv 2202.00512
    assert_close(target("v", x_0, x_t, t, schedule), v, rtol=1e-7, atol=1e-7)
    assert target("x_0", x_0, x_t, t, schedule) is x_0


def test_under_a_mask_eps_and_v_differ_from_the_usual_ones_inside_the_hole_only():
    schedule = SCHEDULES["linear"]
    x_0, x_0_masked, eps, t, x_t = a_noised_batch(schedule, [300])
    hidden = x_0 != x_0_masked
    for kind in ("eps", "v"):
        redefined = target(kind, x_0, x_t, t, schedule)
        plain = target(kind, x_0_masked, x_t, t, schedule)
        assert_close(redefined[~hidden], plain[~hidden])
        assert (redefined - plain)[hidden].abs().min() > 1e-3
    assert_close(target("eps", x_0_masked, x_t, t, schedule), eps)


@pytest.mark.parametrize("kind, extra", [("eps", 0), ("v", 1)])
def test_a_squared_error_counts_by_snr(kind, extra):
    schedule = SCHEDULES["cosine"]
    x_0, _, _, t, x_t = a_noised_batch(schedule, [1, 150, 499, 900])
    x_0_hat = x_0 + 0.1
    error = target(kind, x_0, x_t, t, schedule) - target(kind, x_0_hat, x_t, t, schedule)
    expected = (schedule.snr(t) + extra).view(-1, 1, 1, 1) * 0.1**2
    assert_close(error.square(), expected.expand_as(error), rtol=1e-6, atol=0)


def test_losses_are_the_well_known_ones():
    a, b = torch.randn(2, 3, 1, 8, 8)
    assert_close(loss(a, b), F.l1_loss(a, b))
    assert_close(loss(a, b, "l2"), F.mse_loss(a, b))


def test_a_weight_mask_limits_the_loss():
    prediction, clean = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    prediction[:, :, :2] = 3.0  # off by 2 in the upper half, by 1 in the lower
    upper = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    upper[:, :, :2] = True
    assert loss(prediction, clean, "l2", weight_mask=upper) == 4
    assert loss(prediction, clean, "l2", weight_mask=~upper) == 1
    assert loss(prediction, clean, "l2", weight_mask=torch.ones(2, 1, 1, 1)) == 2.5
    assert loss(prediction, clean, weight_mask=torch.zeros(2, 1, 4, 4)) == 0
    assert_close(loss(prediction, clean, "l2", weight_mask=upper * 1e-3), torch.tensor(4.0))


def test_draw_t_fills_its_band_evenly():
    t = draw_t(20_000, 50, 59, torch.Generator().manual_seed(0))
    assert t.dtype == torch.long and t.shape == (20_000,)
    counts = t.bincount(minlength=60)
    assert counts[:50].sum() == 0 and len(counts) == 60
    assert_close(counts[50:].double(), torch.full((10,), 2000.0).double(), rtol=0.1, atol=0)
    assert (draw_t(3, 7, 7) == 7).all()


@pytest.mark.parametrize("band", [(-1, 5), (6, 5)])
def test_an_impossible_band_is_refused(band):
    with pytest.raises(ValueError, match="0 <= t_min <= t_max"):
        draw_t(1, *band)


def test_draw_box_picks_whole_cells_of_the_grid():
    boxes = draw_box((400, 96, 96), 48, generator=torch.Generator().manual_seed(0))
    assert boxes.shape == (400, 1, 96, 96) and boxes.dtype == torch.bool
    cells = boxes.view(400, 2, 48, 2, 48).sum(dim=(2, 4)).flatten(1)  # (400, 4)
    assert (cells.sort(dim=1).values == torch.tensor([0, 0, 0, 48 * 48])).all()
    assert (cells.sum(0) / 48**2 > 70).all()  # each of the four about 100 times
    assert draw_box((50, 40, 30), 16).flatten(1).any(1).all()


def test_the_generator_decides_on_boxes_and_times():
    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        boxes = draw_box((20, 96, 96), 48, generator=generator)
        return boxes, draw_t(20, 0, 999, generator)

    (boxes, t), (boxes_again, t_again) = drawn(0), drawn(0)
    assert torch.equal(boxes, boxes_again) and torch.equal(t, t_again)
    assert not torch.equal(boxes, drawn(1)[0]) and not torch.equal(t, drawn(1)[1])


def test_boxes_tile_a_slice_row_by_row():
    boxes = box_grid(40, 30, 16)  # leaves a rest in both directions
    assert boxes.shape == (6, 40, 30) and (boxes.sum(0) == 1).all()
    for box, (top, left) in zip(boxes, product((0, 16, 32), (0, 16)), strict=True):
        expected = torch.zeros(40, 30, dtype=torch.bool)
        expected[top : top + 16, left : left + 16] = True
        assert torch.equal(box, expected)


@pytest.mark.parametrize("call", [target, to_x_0])
def test_unknown_kinds_are_refused(call):
    x_0, _, _, t, x_t = a_noised_batch(SCHEDULES["linear"], [3])
    with pytest.raises(ValueError, match='prediction: expected "x_0", "eps" or "v"'):
        call("x0", x_0, x_t, t, SCHEDULES["linear"])
    with pytest.raises(ValueError, match='loss: expected "l1" or "l2"'):
        loss(x_0, x_0, "huber")
