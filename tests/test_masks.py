import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from maskdiff_edu.diffusion import (
    BROAD_PATCHES,
    FPM,
    IPM,
    MIXED_BANDS,
    PAPER_PATCHES,
    RELEASED_BANDS,
    RELEASED_PATCHES,
    ZERO_AFTER_SCALING,
    ZERO_BEFORE_SCALING,
    BandSettings,
    FPMCutMix,
    PatchSettings,
    Schedule,
    add_noise,
    apply_bands,
    apply_patches,
    cutmix,
    draw_bands,
    draw_patches,
    draw_t,
    fractal_noise,
    loss,
    no_corruption,
    target,
)
from maskdiff_edu.diffusion.masks import mirror

PATCHES = {"paper": PAPER_PATCHES, "released": RELEASED_PATCHES, "broad": BROAD_PATCHES}
BANDS = {
    "low": BandSettings(1, 0, 0),
    "high": BandSettings(0, 1, 0),
    "off-centre": BandSettings(0, 0, 1),
    "released": RELEASED_BANDS,
    "mixed": MIXED_BANDS,
}
CORRUPTIONS = {
    "ipm": IPM(),
    "ipm mean": IPM(BROAD_PATCHES, fill="mean"),
    "ipm noise": IPM(RELEASED_PATCHES, fill="noise"),
    "fpm": FPM(),
    "fpm mixed": FPM(MIXED_BANDS, keep_mean=True),
    "fpm-cm": FPMCutMix(),
}
every_corruption = pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def brains(b=8, h=96, w=96):
    """Elliptic brains of a random texture on background -1."""
    rows = torch.linspace(-1, 1, h)[:, None] / 0.8
    columns = torch.linspace(-1, 1, w)[None, :] / 0.65
    brain_masks = (rows**2 + columns**2 < 1).expand(b, 1, h, w).contiguous()
    texture = 0.4 + 0.3 * torch.randn(b, 1, h, w, generator=seeded(7))
    return torch.where(brain_masks, texture.clamp(-0.9, 1), -1.0), brain_masks


def share_hidden(patch_mask, brain_masks):
    return patch_mask.sum((1, 2, 3)) / brain_masks.sum((1, 2, 3))


# Patches: where


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(list(PATCHES)),
    h=st.integers(8, 70),
    w=st.integers(8, 70),
    seed=st.integers(0, 1000),
)
def test_patches_lie_in_the_brain(name, h, w, seed):
    brain_masks = torch.rand(4, 1, h, w, generator=seeded(seed)) < 0.5
    brain_masks[3] = False  # a slice without brain is no error
    patch_mask = draw_patches(brain_masks, PATCHES[name], seeded(seed))
    assert patch_mask.shape == (4, 1, h, w) and patch_mask.dtype == torch.bool
    assert not (patch_mask & ~brain_masks).any()
    if name != "released":
        assert patch_mask[:3].flatten(1).any(1).all()


def test_one_patch_is_one_rectangle_of_the_stated_size():
    everything = torch.ones(300, 1, 100, 60, dtype=torch.bool)
    one = PatchSettings(count=(1, 1), sides=(0.1, 0.2))
    patches = draw_patches(everything, one, seeded())[:, 0]
    rows, columns = patches.any(2), patches.any(1)
    assert torch.equal(patches, rows[:, :, None] & columns[:, None, :])
    inner = ~(rows[:, [0, -1]].any(1) | columns[:, [0, -1]].any(1))  # not cut by the image's edge
    heights, widths = rows[inner].sum(1), columns[inner].sum(1)
    for sides in (heights, widths):  # shares of the rows, in both directions
        assert sides.min() == 10 and sides.max() == 20 and 14 < sides.float().mean() < 16
    assert (heights != widths).any()
    for sides, hits in ((heights, rows[inner]), (widths, columns[inner])):
        assert (hits.int().diff(dim=1).abs().sum(1) == 2).all()  # one run, no gaps
        assert sides.unique().numel() == 11


def test_centres_are_spread_evenly_over_the_brain():
    brain_masks = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    brain_masks[..., 2, 2:10] = True  # 8 pixels
    brain_masks[..., 8, 3] = True  # and 1 far from them
    pixel = PatchSettings(count=(1, 1), sides=(0.01, 0.01))
    hits = draw_patches(brain_masks.expand(9000, 1, 12, 12), pixel, seeded()).sum(0)[0]
    assert (hits[~brain_masks[0, 0]] == 0).all()
    assert_close(hits[brain_masks[0, 0]].float(), torch.full((9,), 1000.0), rtol=0.15, atol=0)


def test_released_setting_hides_little_and_often_nothing():
    _, brain_masks = brains(1500)
    share = share_hidden(draw_patches(brain_masks, RELEASED_PATCHES, seeded()), brain_masks)
    assert 0.05 < share.mean() < 0.075
    assert abs((share == 0).float().mean() - 1 / 6) < 0.03


def test_broad_setting_always_hides_something():
    _, brain_masks = brains(500)
    share = share_hidden(draw_patches(brain_masks, BROAD_PATCHES, seeded()), brain_masks)
    assert share.min() > 0 and share.max() < 0.75 and 0.15 < share.mean() < 0.3


def test_paper_setting_covers_ten_to_ninety_percent_evenly():
    _, brain_masks = brains(1500)
    share = share_hidden(draw_patches(brain_masks, PAPER_PATCHES, seeded()), brain_masks)
    assert share.min() >= 0.1 and share.max() < 1
    counts = torch.histc(share, 8, 0.1, 0.9)
    assert counts[1:].min() > 0.6 * 1500 / 8  # overshoot thins out the first bin alone


@pytest.mark.parametrize("wanted", [0.1, 0.5, 0.9])
def test_coverage_is_reached_and_not_by_more_than_one_rectangle(wanted):
    _, brain_masks = brains(64)
    small = PatchSettings(count=(60, 60), sides=(0.25, 0.25), coverage=(wanted, wanted))
    share = share_hidden(draw_patches(brain_masks, small, seeded()), brain_masks)
    side = round(0.25 * brain_masks[0, 0].any(1).sum().item())
    largest_step = side**2 / brain_masks[0].sum()
    assert (share >= wanted).all() and (share <= wanted + largest_step).all()


@pytest.mark.parametrize(
    "wrong", [{"count": (3, 1)}, {"count": (0, 0)}, {"count": (1, 99)}, {"sides": (0.5, 0.1)}]
)
def test_impossible_patch_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must rise within"):
        PatchSettings(**{"count": (1, 2), "sides": (0.1, 0.2), **wrong})


# Patches: what


@pytest.mark.parametrize("fill", [ZERO_AFTER_SCALING, ZERO_BEFORE_SCALING, 0.25, 1])
def test_a_hole_has_the_stated_value_whatever_the_image(fill):
    images, brain_masks = brains()
    patch_mask = draw_patches(brain_masks, BROAD_PATCHES, seeded())
    filled = apply_patches(images, brain_masks, patch_mask, fill)
    assert (filled[patch_mask] == fill).all()
    assert torch.equal(filled[~patch_mask], images[~patch_mask])


def test_mean_and_noise_fills_follow_each_slice():
    images, brain_masks = brains(3)
    images = torch.where(brain_masks, images * torch.tensor([0.3, 0.6, 1]).view(3, 1, 1, 1), -1)
    with_mean = apply_patches(images, brain_masks, brain_masks, "mean")
    with_noise = apply_patches(images, brain_masks, brain_masks, "noise", seeded())
    for i in range(3):
        inside = images[i][brain_masks[i]]
        assert_close(with_mean[i][brain_masks[i]], inside.mean().expand_as(inside))
        noise = with_noise[i][brain_masks[i]]
        assert_close(noise.mean(), inside.mean(), atol=0.02, rtol=0)
        assert_close(noise.std(), inside.std(), rtol=0.05, atol=0)
    assert (with_mean[~brain_masks] == -1).all() and (with_noise[~brain_masks] == -1).all()


@pytest.mark.parametrize("fill", ["zero", 2, -1.5])
def test_an_unknown_fill_is_refused(fill):
    images, brain_masks = brains(1)
    with pytest.raises(ValueError, match=r'number in \[-1, 1\], "mean" or "noise"'):
        apply_patches(images, brain_masks, brain_masks, fill)


def test_cutmix_takes_patches_from_the_second_image():
    patch_mask = torch.tensor([[True, False], [False, True]])[None, None]
    first, second = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    mixed = cutmix(first, second, patch_mask)
    assert_close(mixed[0, 0], torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert first.sum() == 0 and second.sum() == 4


# Bands


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(BANDS)),
    h=st.integers(5, 70),
    w=st.integers(5, 70),
    seed=st.integers(0, 1000),
)
def test_every_band_mask_is_hermitian(name, h, w, seed):
    drawn = draw_bands((3, h, w), BANDS[name], generator=seeded(seed))
    assert drawn.shape == (3, 1, h, w) and drawn.dtype == torch.bool
    unshifted = np.fft.ifftshift(drawn.numpy(), axes=(-2, -1))
    minus_rows, minus_columns = -np.arange(h) % h, -np.arange(w) % w  # index of frequency -k
    twin = unshifted[..., minus_rows, :][..., minus_columns]
    assert (unshifted == twin).all()
    assert torch.equal(mirror(drawn), drawn)


def test_the_half_open_square_of_the_released_code_is_not_hermitian():
    square = torch.zeros(96, 96, dtype=torch.bool)
    square[48 - 5 : 48 + 5, 48 - 5 : 48 + 5] = True
    assert not torch.equal(mirror(square), square)


def test_squares_hold_bins_minus_w_to_w():
    low = draw_bands((400, 96, 96), BANDS["low"], generator=seeded())[:, 0]
    half_widths = (low.any(2).sum(1) - 1) // 2
    assert half_widths.unique().tolist() == list(range(2, 11))
    for square, half in zip(low, half_widths, strict=True):
        expected = torch.zeros(96, 96, dtype=torch.bool)
        expected[48 - half : 48 + half + 1, 48 - half : 48 + half + 1] = True
        assert torch.equal(square, expected)
    high = draw_bands((400, 96, 96), BANDS["high"], generator=seeded())[:, 0]
    assert torch.equal(high, ~low)


def test_off_centre_rectangles_spare_the_mean_and_reach_all_directions():
    kept = draw_bands((400, 96, 95), BANDS["off-centre"], generator=seeded())[:, 0]
    assert kept[:, 48, 47].all()
    removed = (~kept).float().mean(0)
    assert (~kept).flatten(1).any(1).all()
    ring = [(48, 70), (25, 47), (32, 63), (64, 63)]  # right, up, and both diagonals
    assert all(0.05 < removed[at] < 0.9 for at in ring)


def test_the_kinds_come_in_the_stated_shares():
    uneven = BandSettings(low_pass=0.5, high_pass=0.3, off_centre=0.2)
    kept = draw_bands((3000, 48, 48), uneven, generator=seeded())[:, 0]
    low = ~kept[:, 0, 0] & kept[:, 24, 24]  # a corner is lost
    high = ~kept[:, 24, 24]
    assert abs(low.float().mean() - 0.5) < 0.04 and abs(high.float().mean() - 0.3) < 0.04


@pytest.mark.parametrize("wrong", [(0.5, 0.6, 0), (-0.5, 1, 0.5), (0, 0, 0)])
def test_impossible_band_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="sum to 1"):
        BandSettings(*wrong)
    with pytest.raises(ValueError, match="half_width must rise"):
        BandSettings(1, 0, 0, half_width=(5, 2))


def filtered_by_numpy(images, brain_masks, band_mask):
    """One slice after the other, in float64."""
    expected = torch.empty_like(images, dtype=torch.float64)
    for i in range(len(images)):
        spectrum = np.fft.fftshift(np.fft.fft2(images[i, 0].double().numpy() + 1))
        back = np.fft.ifft2(np.fft.ifftshift(spectrum * band_mask[i, 0].numpy()))
        assert np.abs(back.imag).max() < 1e-12
        expected[i, 0] = torch.from_numpy(np.where(brain_masks[i, 0], back.real - 1, -1))
    return expected


every_size = pytest.mark.parametrize("h, w", [(96, 96), (45, 64), (64, 45), (33, 33)])


@every_size
@pytest.mark.parametrize("bands", BANDS.values(), ids=BANDS)
def test_bands_are_removed_like_numpy_does(bands, h, w):
    images, brain_masks = brains(6, h, w)
    band_mask = draw_bands((6, h, w), bands, generator=seeded(3))
    filtered = apply_bands(images, brain_masks, band_mask, keep_mean=False)
    expected = filtered_by_numpy(images, brain_masks, band_mask)
    assert_close(filtered.double(), expected, atol=2e-6, rtol=0)
    by_fpm = FPM(bands)(images, brain_masks, seeded(3))
    assert_close(by_fpm.double(), expected, atol=2e-6, rtol=0)


@every_size
@pytest.mark.parametrize("beyond", [True, False], ids=["kept beyond", "removed beyond"])
def test_columns_beyond_the_highest_that_changes_can_be_left_out(beyond, h, w):
    images, brain_masks = brains(6, h, w)
    some = torch.rand(6, 1, h, w, generator=seeded()) < 0.5
    some &= (torch.arange(w) - w // 2).abs() <= 7
    some |= mirror(some)  # Hermitian, but no square: (rows, columns) is not (rows, -columns)
    band_mask = some ^ beyond
    assert torch.equal(mirror(band_mask), band_mask)
    assert not torch.equal(band_mask.flip(-1).roll(1 - w % 2, -1), band_mask)
    expected = filtered_by_numpy(images, brain_masks, band_mask)
    for highest in (7, 8, 22, 1000, None):
        filtered = apply_bands(images, brain_masks, band_mask, keep_mean=False, highest=highest)
        assert_close(filtered.double(), expected, atol=2e-6, rtol=0)


def test_a_high_pass_removes_the_mean_unless_told_to_keep_it():
    images, brain_masks = brains()
    band_mask = draw_bands((8, 96, 96), BANDS["high"], generator=seeded())
    dark = apply_bands(images, brain_masks, band_mask, keep_mean=False)
    kept = apply_bands(images, brain_masks, band_mask, keep_mean=True)
    for i in range(8):
        inside = brain_masks[i]
        assert images[i][inside].mean() > 0.3 and dark[i][inside].mean() < -0.8
        assert_close(kept[i][inside].mean(), images[i][inside].mean(), atol=1e-5, rtol=0)
        shift = (kept[i] - dark[i])[inside]
        assert_close(shift, shift.mean().expand_as(shift), atol=1e-5, rtol=0)  # one constant
    assert (dark[~brain_masks] == -1).all() and (kept[~brain_masks] == -1).all()


def test_keeping_every_frequency_changes_nothing():
    images, brain_masks = brains()
    everything = torch.ones(8, 1, 96, 96, dtype=torch.bool)
    for keep_mean in (False, True):
        same = apply_bands(images, brain_masks, everything, keep_mean=keep_mean)
        assert_close(same, images, atol=1e-5, rtol=0)


# Corruptions


@every_corruption
def test_a_corruption_changes_brain_only_and_leaves_its_input_alone(corrupt):
    images, brain_masks = brains()
    before = images.clone()
    corrupted = corrupt(images, brain_masks, seeded())
    assert torch.equal(images, before)
    assert corrupted.shape == images.shape and corrupted.dtype == images.dtype
    assert torch.equal(corrupted[~brain_masks], images[~brain_masks])
    assert (corrupted != images).any()


@every_corruption
def test_the_generator_decides_and_samples_differ(corrupt):
    images, brain_masks = brains(1)
    images, brain_masks = images.expand(6, 1, 96, 96), brain_masks.expand(6, 1, 96, 96)
    first = corrupt(images, brain_masks, seeded(1))
    assert torch.equal(first, corrupt(images, brain_masks, seeded(1)))
    assert not torch.equal(first, corrupt(images, brain_masks, seeded(2)))
    assert first.flatten(1).unique(dim=0).shape[0] >= 4


def test_fpm_cm_is_fpm_and_cutmix():
    images, brain_masks = brains()
    mixed = FPMCutMix(FPM(MIXED_BANDS), RELEASED_PATCHES)(images, brain_masks, seeded(5))
    generator = seeded(5)
    patch_mask = draw_patches(brain_masks, RELEASED_PATCHES, generator)
    pasted = FPM(MIXED_BANDS)(images, brain_masks, generator)
    assert torch.equal(mixed, cutmix(images, pasted, patch_mask))
    assert torch.equal(mixed[~patch_mask], images[~patch_mask])
    assert (mixed != images)[patch_mask].float().mean() > 0.99


def test_no_corruption_returns_the_images():
    images, brain_masks = brains(2)
    assert no_corruption(images, brain_masks, None) is images


# A mask of your own in 20 lines


def hide_every_fourth_row(images, brain_masks, generator=None):
    """A corruption is a function of images, brain masks and a generator that returns images."""
    b, _, h, _ = images.shape
    first = torch.randint(4, (b, 1, 1, 1), generator=generator, device=images.device)
    rows = torch.arange(h, device=images.device).view(1, 1, h, 1)
    patch_mask = (rows % 4 == first) & brain_masks
    return apply_patches(images, brain_masks, patch_mask, ZERO_AFTER_SCALING)


def test_a_mask_of_your_own_plugs_into_a_training_step():
    assert len(inspect.getsource(hide_every_fourth_row).splitlines()) <= 20
    images, brain_masks = brains(4)
    torch.manual_seed(0)  # of the network's first weights
    schedule, model = Schedule.cosine(), torch.nn.Conv2d(1, 1, 3, padding=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def training_step(x_0, corrupt, generator):
        x_0_masked = corrupt(x_0, brain_masks, generator)
        t = draw_t(len(x_0), 50, 299, generator)
        eps = fractal_noise(x_0.shape, generator=generator)
        x_t = add_noise(x_0_masked, t, eps, schedule)
        return loss(model(x_t), target("x_0", x_0, x_t, t, schedule))

    before = training_step(images, hide_every_fourth_row, seeded(2))
    before.backward()
    optimizer.step()
    after = training_step(images, hide_every_fourth_row, seeded(2))
    assert after < before
    assert training_step(images, no_corruption, seeded(2)) != after
