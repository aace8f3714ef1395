"""Every corruption, whatever the slices: what it changes, where, and how much."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
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
    cutmix,
    draw_bands,
    draw_patches,
    no_corruption,
)
from maskdiff_edu.training import PRESETS, make_corruption


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# What there may be: slices, settings, corruptions


@st.composite
def slices(draw, everywhere=False):
    """Textured brains on background -1: ellipses, scattered pixels, the whole slice, or none."""
    b, h, w = draw(st.tuples(st.integers(2, 4), st.integers(12, 40), st.integers(12, 40)))
    generator = seeded(draw(st.integers(0, 10**6)))
    rows, columns = torch.linspace(-1.2, 1.2, h)[:, None], torch.linspace(-1.4, 1.4, w)
    ellipse = (rows**2 + columns**2 < 1).expand(b, 1, h, w)
    scattered = torch.rand(b, 1, h, w, generator=generator) < 0.4
    brain_masks = draw(st.sampled_from([ellipse, scattered, torch.ones_like(scattered)])).clone()
    if everywhere:
        brain_masks[:] = True
    elif draw(st.booleans()):
        brain_masks[-1] = False  # a slice without brain
    texture = 2 * torch.rand(b, 1, h, w, generator=generator) - 1
    return torch.where(brain_masks, texture, -1.0), brain_masks


def rising(strategy):
    return st.tuples(strategy, strategy).map(sorted).map(tuple)


drawn_patches = st.builds(
    PatchSettings,
    count=rising(st.integers(1, 12)),
    sides=rising(st.floats(0.02, 0.6)),
    coverage=st.none() | rising(st.floats(0.05, 0.95)),
)
patches = st.sampled_from([PAPER_PATCHES, RELEASED_PATCHES, BROAD_PATCHES]) | drawn_patches
drawn_bands = st.builds(
    lambda low, high, half_width, pairs: BandSettings(
        low, high, 1 - low - high, half_width=half_width, pairs=pairs
    ),
    low=st.floats(0, 0.5),
    high=st.floats(0, 0.5),
    half_width=rising(st.integers(0, 8)),
    pairs=st.integers(1, 5),
)
bands = st.sampled_from([RELEASED_BANDS, MIXED_BANDS]) | drawn_bands
fills = st.sampled_from([ZERO_AFTER_SCALING, ZERO_BEFORE_SCALING, "mean", "noise"]) | st.floats(
    -1, 1
)
ipm = st.builds(IPM, patches, fills)
fpm = st.builds(FPM, bands, st.booleans())
fpm_cutmix = st.builds(FPMCutMix, fpm, patches)
presets = st.sampled_from([make_corruption(config) for config in PRESETS.values()])
corruptions = ipm | fpm | fpm_cutmix | presets | st.just(no_corruption)
seeds = st.integers(0, 10**6)


# Where


@settings(max_examples=40)
@given(corruptions, slices(), seeds)
def test_only_the_brain_changes_and_the_arguments_do_not(corrupt, batch, seed):
    images, brain_masks = batch
    images_before, masks_before = images.clone(), brain_masks.clone()
    corrupted = corrupt(images, brain_masks, seeded(seed))
    assert torch.equal(images, images_before) and torch.equal(brain_masks, masks_before)
    assert corrupted.shape == images.shape and corrupted.dtype == images.dtype
    assert torch.equal(corrupted[~brain_masks], images[~brain_masks])
    assert corrupted.isfinite().all()


@settings(max_examples=40)
@given(corruptions, slices(), seeds)
def test_a_slice_is_corrupted_without_regard_to_the_others(corrupt, batch, seed):
    images, brain_masks = batch
    first = corrupt(images, brain_masks, seeded(seed))
    others_changed = images.clone()
    others_changed[1:] = torch.where(brain_masks[1:], 0.5 * images[1:] + 0.1, -1)
    again = corrupt(others_changed, brain_masks, seeded(seed))
    assert_close(again[0], first[0], rtol=0, atol=1e-6)


@settings(max_examples=40)
@given(corruptions, slices(), seeds)
def test_the_generator_decides_everything(corrupt, batch, seed):
    images, brain_masks = batch
    torch.manual_seed(seed)
    once = corrupt(images, brain_masks, seeded(seed))
    torch.manual_seed(seed + 1)
    assert torch.equal(corrupt(images, brain_masks, seeded(seed)), once)


# Rectangles: what, and how much


def largest_side(brain_masks, settings):
    """Of a rectangle in each slice, in pixels: (b,)."""
    rows = brain_masks.any(dim=3).sum(dim=(1, 2))
    return (settings.sides[1] * rows).round().clamp(min=1)


@settings(max_examples=40)
@given(patches, fills, slices(), seeds)
def test_ipm_fills_its_patches_and_nothing_else(settings, fill, batch, seed):
    images, brain_masks = batch
    corrupted = IPM(settings, fill)(images, brain_masks, seeded(seed))
    generator = seeded(seed)
    patch_mask = draw_patches(brain_masks, settings, generator)
    assert torch.equal(corrupted[~patch_mask], images[~patch_mask])
    noise = torch.randn(images.shape, generator=generator)
    for image, brain_mask, hidden, white, result in zip(
        images, brain_masks, patch_mask, noise, corrupted, strict=True
    ):
        if not hidden.any():
            continue
        inside = image[brain_mask].double().numpy()
        expected = {
            "mean": np.full(int(hidden.sum()), inside.mean()),
            "noise": inside.mean() + inside.std() * white[hidden].double().numpy(),
        }.get(fill, np.full(int(hidden.sum()), fill))
        np.testing.assert_allclose(result[hidden].numpy(), expected, rtol=0, atol=1e-5)


@settings(max_examples=40)
@given(patches, slices(), seeds)
def test_as_many_pixels_are_hidden_as_the_settings_allow(settings, batch, seed):
    _, brain_masks = batch
    hidden = draw_patches(brain_masks, settings, seeded(seed)).sum(dim=(1, 2, 3))
    brain, side = brain_masks.sum(dim=(1, 2, 3)), largest_side(brain_masks, settings)
    assert (hidden[brain == 0] == 0).all()
    if settings.count[0] > 0:
        assert (hidden[brain > 0] > 0).all()
    assert (hidden <= settings.count[1] * side**2).all()
    if settings.coverage is not None:  # stops with the first rectangle that reaches the share
        assert (hidden <= settings.coverage[1] * brain + side**2).all()


@settings(max_examples=40)
@given(rising(st.floats(0.1, 0.8)), slices(), seeds)
def test_the_share_that_is_asked_for_is_reached(coverage, batch, seed):
    _, brain_masks = batch
    many = PatchSettings(count=(60, 60), sides=(0.4, 0.5), coverage=coverage)
    hidden = draw_patches(brain_masks, many, seeded(seed)).sum(dim=(1, 2, 3))
    assert (hidden >= coverage[0] * brain_masks.sum(dim=(1, 2, 3))).all()


@settings(max_examples=40)
@given(st.integers(1, 12), st.floats(0.0625, 0.5, width=16), slices(everywhere=True), seeds)
def test_one_rectangle_hides_its_area(tenths, side, batch, seed):
    """Where all is brain a single rectangle is cut off by the slice's edge alone."""
    _, brain_masks = batch
    one = PatchSettings(count=(1, 1), sides=(side, side))
    hidden = draw_patches(brain_masks, one, seeded(seed))[:, 0]
    pixels = max(1, round(side * brain_masks.shape[2]))
    rows, columns = hidden.any(dim=2), hidden.any(dim=1)
    assert torch.equal(hidden, rows[:, :, None] & columns[:, None, :])
    for inside in (rows, columns):
        touches = inside[:, 0] | inside[:, -1]
        assert (inside.sum(dim=1)[~touches] == min(pixels, inside.shape[1])).all()
        assert (inside.sum(dim=1) >= (min(pixels, inside.shape[1])) // 2).all()


# Frequencies: what, and how much


def spectrum_of(images):
    """Of images + 1, whose background is 0; float64, frequency 0 in the middle."""
    return np.fft.fftshift(np.fft.fft2(images.double().numpy() + 1), axes=(-2, -1))


@settings(max_examples=40)
@given(fpm, slices(everywhere=True), seeds)
def test_fpm_takes_its_frequencies_out_and_keeps_the_others(corrupt, batch, seed):
    """Where all is brain nothing is cut off afterwards: the spectrum shows it."""
    images, brain_masks = batch
    b, _, h, w = images.shape
    kept = draw_bands((b, h, w), corrupt.bands, generator=seeded(seed)).numpy()
    before = spectrum_of(images)
    expected = np.where(kept, before, 0)
    if corrupt.keep_mean:
        expected[..., h // 2, w // 2] = before[..., h // 2, w // 2]
    corrupted = corrupt(images, brain_masks, seeded(seed))
    scale = np.abs(before).max()
    np.testing.assert_allclose(spectrum_of(corrupted), expected, rtol=0, atol=2e-6 * scale)
    lost = (np.abs(before - expected) ** 2).sum((1, 2, 3)) / (h * w)  # Parseval
    change = (corrupted - images).double().square().sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(change, lost, rtol=1e-3, atol=1e-4)


@settings(max_examples=40)
@given(bands, st.tuples(st.integers(12, 40), st.integers(12, 40)), seeds)
def test_as_many_frequencies_go_as_the_settings_allow(settings, size, seed):
    h, w = size
    kept = draw_bands((6, h, w), settings, generator=seeded(seed))[:, 0]
    centre = kept[:, h // 2, w // 2]
    sides = [[min(2 * half + 1, n) for half in settings.half_width] for n in size]
    least, most = (sides[0][i] * sides[1][i] for i in (0, 1))
    squares = torch.where(centre, kept.sum((1, 2)), (~kept).sum((1, 2)))
    is_square = (squares >= least) & (squares <= most)
    pairs = (~kept).sum((1, 2)) <= 2 * settings.pairs * most
    assert (is_square | (centre & pairs)).all()
    if settings.off_centre == 0:
        assert is_square.all()


def test_off_centre_rectangles_have_two_sides_of_their_own_and_a_twin():
    """Of 2w bins each, as their centre falls between bins."""
    one = BandSettings(0, 0, 1, half_width=(2, 6), pairs=1)
    removed = ~draw_bands((400, 96, 96), one, generator=seeded(0))[:, 0]
    sides = []
    for rectangles in removed.numpy():
        if rectangles[:2].any() or rectangles[:, :2].any():
            continue  # may be cut off at the edge of the spectrum
        first, second = ndimage.find_objects(ndimage.label(rectangles)[0])
        assert rectangles[first].all() and rectangles[second].all()
        assert rectangles[first].shape == rectangles[second].shape
        sides.append(rectangles[first].shape)
    heights, widths = zip(*sides, strict=True)
    assert len(sides) > 300
    assert {*heights} == {*widths} == {4, 6, 8, 10, 12}
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.15  # drawn on their own


@pytest.mark.parametrize("pairs", [1, 4])
def test_there_are_as_many_off_centre_pairs_as_stated(pairs):
    small = BandSettings(0, 0, 1, half_width=(1, 1), pairs=pairs)
    removed = ~draw_bands((200, 96, 96), small, generator=seeded(0))[:, 0]
    counts = [ndimage.label(rectangles)[1] for rectangles in removed.numpy()]  # overlaps are one
    assert max(counts) == 2 * pairs and np.mean(counts) > 1.5 * pairs


@settings(max_examples=60)
@given(fpm, slices(), seeds)
def test_fpm_cuts_off_what_rings_outside_the_brain(corrupt, batch, seed):
    images, brain_masks = batch
    b, _, h, w = images.shape
    kept = draw_bands((b, h, w), corrupt.bands, generator=seeded(seed)).numpy()
    unshifted = np.fft.ifftshift(np.where(kept, spectrum_of(images), 0), axes=(-2, -1))
    filtered = np.fft.ifft2(unshifted)
    assert np.abs(filtered.imag).max() < 1e-12
    corrupted = corrupt(images, brain_masks, seeded(seed)).double().numpy()
    for image, brain_mask, smooth, result in zip(
        images.double().numpy(), brain_masks.numpy(), filtered.real, corrupted, strict=True
    ):
        assert (result[~brain_mask] == -1).all()
        if brain_mask.any() and corrupt.keep_mean:
            smooth = smooth + (image + 1)[brain_mask].mean() - smooth[brain_mask].mean()
        np.testing.assert_allclose(result[brain_mask], smooth[brain_mask] - 1, rtol=0, atol=1e-5)


# Both


@settings(max_examples=60)
@given(fpm_cutmix, slices(), seeds)
def test_fpm_cm_pastes_the_fpm_image_into_its_patches(corrupt, batch, seed):
    images, brain_masks = batch
    corrupted = corrupt(images, brain_masks, seeded(seed))
    generator = seeded(seed)
    patch_mask = draw_patches(brain_masks, corrupt.patches, generator)
    pasted = corrupt.fpm(images, brain_masks, generator)
    assert torch.equal(corrupted[patch_mask], pasted[patch_mask])
    assert torch.equal(corrupted[~patch_mask], images[~patch_mask])


@settings(max_examples=40)
@given(slices(), st.floats(0, 1), seeds)
def test_cutmix_takes_each_pixel_from_one_of_the_two(batch, share, seed):
    first, _ = batch
    second = 2 + first  # equal nowhere
    patch_mask = torch.rand(first.shape, generator=seeded(seed)) < share
    mixed = cutmix(first, second, patch_mask)
    assert torch.equal(mixed == second, patch_mask)
    assert torch.equal(mixed == first, ~patch_mask)
