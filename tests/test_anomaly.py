"""The way from residual to score, against SciPy, brute force and cases known by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from maskdiff_edu.detection import (
    PostProcessing,
    postprocess,
    residual,
    slice_scores,
    threshold_from_healthy,
    volume_score,
)
from maskdiff_edu.detection.anomaly import (
    erode_brain,
    gaussian_filter,
    median_filter,
    remove_small_components,
)


@pytest.fixture
def values():
    return np.random.default_rng(0).random((12, 1, 20, 18), dtype=np.float32)


@pytest.fixture
def ball():
    z, y, x = np.mgrid[:12, :20, :18]
    return (((z - 6) / 5) ** 2 + ((y - 10) / 8) ** 2 + ((x - 9) / 7) ** 2 < 1)[:, None]


def in_volume(apply, *stacks, **options):
    """A function of volumes (n, h, w), such as SciPy's, applied to slices (n, 1, h, w)."""
    return apply(*(stack[:, 0] for stack in stacks), **options)[:, None]


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_residual_keeps_what_is_brighter_or_every_difference(make):
    x, x_0_hat = make([0.5, -0.5, 0.25]), make([0.25, 0.25, 0.25])
    positive, absolute = residual(x, x_0_hat), residual(x, x_0_hat, "absolute")
    assert type(positive) is type(x)
    assert positive.tolist() == [0.25, 0, 0]
    assert absolute.tolist() == [0.25, 0.75, 0]


def test_residual_refuses_what_it_cannot_mean():
    with pytest.raises(ValueError, match=r"one shape.*\(2,\).*\(3,\)"):
        residual(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="'signed'"):
        residual(np.zeros(2), np.zeros(2), "signed")


def test_a_brain_inside_the_stack_is_eroded_like_scipy_does(ball):
    for iterations in (1, 2):
        expected = in_volume(ndimage.binary_erosion, ball, iterations=iterations)
        assert np.array_equal(erode_brain(ball, iterations), expected)
    assert np.array_equal(erode_brain(ball, 0), ball)


def test_a_single_slice_is_eroded_at_its_outline_only(ball):
    middle = ball[6:7]
    expected = ndimage.binary_erosion(ball[6, 0], iterations=2)
    assert np.array_equal(erode_brain(middle, 2)[0, 0], expected)
    assert erode_brain(middle, 2).any()


def test_brain_that_touches_the_image_border_is_eroded_there():
    assert not erode_brain(np.ones((3, 1, 5, 5)), 1)[:, :, 0].any()


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_scipys_where_the_cube_lies_in_the_brain(values, ball, size):
    deep = in_volume(ndimage.binary_erosion, ball, structure=np.ones((size,) * 3))
    assert deep.any()
    expected = in_volume(ndimage.median_filter, values, size=size)
    np.testing.assert_array_equal(median_filter(values, size, ball)[deep], expected[deep])


def test_only_brain_voxels_vote_in_the_median(values, ball):
    filtered = median_filter(values, 3, ball)
    rim = ball & ~in_volume(ndimage.binary_erosion, ball, structure=np.ones((3, 3, 3)))
    for z, _, y, x in np.argwhere(rim)[::7]:
        cube = np.s_[max(z - 1, 0) : z + 2, 0, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert filtered[z, 0, y, x] == np.median(values[cube][ball[cube]])
    assert (filtered[~ball] == 0).all()


def test_what_lies_outside_the_brain_never_matters(values, ball):
    assert np.array_equal(
        median_filter(np.where(ball, values, np.nan), 3, ball), median_filter(values, 3, ball)
    )


def test_a_5_cube_median_erases_a_spot_that_a_3_cube_median_keeps():
    """A multiple sclerosis lesion of 6 mm is 3 voxels wide (a warning of the module)."""
    spot, brain_mask = np.zeros((11, 1, 11, 11)), np.ones((11, 1, 11, 11))
    spot[4:7, :, 4:7, 4:7] = 1
    assert median_filter(spot, 3, brain_mask).max() == 1
    assert median_filter(spot, 5, brain_mask).max() == 0


def test_gaussian_is_scipys_where_its_reach_lies_in_the_brain(values):
    everywhere = np.ones(values.shape, bool)
    expected = in_volume(ndimage.gaussian_filter, values, sigma=0.5, mode="constant")
    deep = np.s_[2:-2, :, 2:-2, 2:-2]  # the filter ends after 4 sigma
    filtered = gaussian_filter(values, 0.5, everywhere)
    np.testing.assert_allclose(filtered[deep], expected[deep], rtol=1e-12)


def test_gaussian_is_the_weighted_mean_of_the_brain_voxels_around(values, ball):
    filtered = gaussian_filter(np.where(ball, values, np.nan), 1.5, ball)
    voxel = np.argwhere(ball)[0]  # at the rim
    offsets = np.argwhere(ball) - voxel
    near = (abs(offsets) <= 6).all(axis=1)
    weights = np.where(near, np.exp(-(offsets**2).sum(axis=1) / (2 * 1.5**2)), 0)
    assert filtered[tuple(voxel)] == pytest.approx(np.average(values[ball], weights=weights))
    assert (filtered[~ball] == 0).all()
    np.testing.assert_allclose(gaussian_filter(np.full(ball.shape, 3.0), 2, ball)[ball], 3)


def test_gaussian_refuses_a_negative_width_and_leaves_the_map_at_0(values, ball):
    np.testing.assert_array_equal(gaussian_filter(values, 0, ball), np.where(ball, values, 0))
    with pytest.raises(ValueError, match="at least 0, got -1"):
        gaussian_filter(values, -1, ball)


def test_postprocess_is_the_median_and_zero_outside_the_eroded_brain(values, ball):
    settings = PostProcessing(erosions=2, median_size=5)
    inside = in_volume(ndimage.binary_erosion, ball, iterations=2)
    expected = median_filter(values, 5, ball)[inside]
    final = postprocess(values, ball, settings)
    assert final.dtype == torch.float32 and final.shape == values.shape
    np.testing.assert_array_equal(final[inside], expected)
    assert (final[~inside] == 0).all()
    np.testing.assert_array_equal(
        postprocess(values, ball), postprocess(values, ball, PostProcessing(1, 3))
    )
    blurred = postprocess(values, ball, PostProcessing(2, 5, 1.5))
    both = gaussian_filter(median_filter(values, 5, ball), 1.5, ball)
    np.testing.assert_array_equal(blurred[inside], both[inside])


def test_postprocess_can_leave_the_map_alone(values, ball):
    untouched = postprocess(values, ball, PostProcessing(erosions=0, median_size=1))
    np.testing.assert_array_equal(untouched, np.where(ball, values, 0))


def test_components_below_the_size_go_and_corners_connect():
    binary = np.zeros((3, 8, 8), dtype=bool)
    binary[0, 0, 0] = binary[1, 1, 1] = binary[2, 2, 2] = True  # one diagonal of 3
    binary[0, 6, 6:8] = True  # a pair
    kept = remove_small_components(binary, 3)
    assert kept.sum() == 3
    assert kept[2, 2, 2] and not kept[0, 6, 6]
    assert np.array_equal(remove_small_components(binary, 2), binary)
    assert not remove_small_components(binary, 4).any()


@pytest.mark.parametrize("fpr", [0, 0.01, 0.043, 0.25])
def test_exactly_the_asked_share_of_healthy_voxels_exceeds_the_threshold(fpr):
    scores = np.random.default_rng(3).permutation(10_000).astype(float)  # no ties
    maps = [scores[:6000].reshape(6, 1, 10, 100), scores[6000:].reshape(4, 1, 10, 100)]
    brain_masks = [np.ones(m.shape, dtype=bool) for m in maps]
    threshold = threshold_from_healthy(maps, brain_masks, fpr)
    assert sum((m > threshold).sum() for m in maps) == round(fpr * 10_000)


def test_the_threshold_looks_at_the_brain_only_and_ties_stay_below_the_rate(values, ball):
    threshold = threshold_from_healthy([values], [ball], 0.1)
    assert (values[ball] > threshold).sum() == int(0.1 * ball.sum())
    tied = np.round(values, 1)
    assert (tied[ball] > threshold_from_healthy([tied], [ball], 0.1)).mean() <= 0.1


def test_a_threshold_needs_healthy_voxels_and_a_rate(values, ball):
    with pytest.raises(ValueError, match="fpr"):
        threshold_from_healthy([values], [ball], 1)
    with pytest.raises(ValueError, match="none"):
        threshold_from_healthy([values], [np.zeros_like(ball)], 0.05)
    with pytest.raises(ValueError, match="none"):
        threshold_from_healthy([], [], 0.05)
    with pytest.raises(ValueError, match="2 and 1"):
        threshold_from_healthy([values, values], [ball], 0.05)


def test_volume_score_is_the_mean_of_the_top_voxels_of_the_brain():
    values = np.arange(2000.0).reshape(2, 1, 20, 50)
    brain_mask = values < 1000  # the brighter half is background
    assert volume_score(values, brain_mask) == np.arange(990, 1000).mean()
    assert volume_score(values, brain_mask, top_fraction=1) == np.arange(1000).mean()


def test_one_noisy_voxel_does_not_make_a_patient_but_a_lesion_does(values, ball):
    spike, lesion = values.copy(), values.copy()
    spike[6, 0, 10, 9] += 1
    lesion[5:8, :, 9:12, 8:11] += 1
    healthy = volume_score(values, ball)
    assert volume_score(spike, ball) - healthy < 0.2 < volume_score(lesion, ball) - healthy


def test_slice_scores_point_at_the_slice_with_the_lesion(values, ball):
    values[5, :, 9:12, 8:11] += 1
    scores = slice_scores(values, ball)
    assert scores.shape == (12,)
    assert scores.argmax() == 5
    assert scores[0] == 0  # no brain there


def test_a_scrap_of_cortex_cannot_come_out_on_top():
    values, brain_mask = np.zeros((2, 1, 20, 20)), np.zeros((2, 1, 20, 20), dtype=bool)
    brain_mask[0], values[0] = True, 0.5
    brain_mask[1, 0, 0, 0], values[1, 0, 0, 0] = True, 1
    assert slice_scores(values, brain_mask).tolist() == [0.5, 0.25]  # of 4 voxels each


def test_a_brighter_lesion_scores_higher(values, ball):
    brighter = values.copy()
    brighter[4:9, :, 8:13, 7:12] += 0.3
    before, after = postprocess(values, ball), postprocess(brighter, ball)
    assert (after[6, :, 9:11, 8:10] > before[6, :, 9:11, 8:10]).all()
    assert volume_score(after, ball) > volume_score(before, ball)


@pytest.mark.parametrize("function", [postprocess, slice_scores, volume_score])
def test_bad_maps_are_refused(function, values, ball):
    with pytest.raises(ValueError, match=r"one shape.*\(12, 1, 20, 18\).*\(11, 1, 20, 18\)"):
        function(values, ball[1:])
    with pytest.raises(ValueError, match=r"expected slices \(n, 1, h, w\).*\(12, 20, 18\)"):
        function(values[:, 0], ball[:, 0])
    values[6, 0, 10, 9] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        function(values, ball)


def test_bad_settings_and_an_empty_brain_are_refused(values, ball):
    with pytest.raises(ValueError, match="odd"):
        median_filter(values, 4, ball)
    with pytest.raises(ValueError, match="iterations"):
        erode_brain(ball, -1)
    for function in (slice_scores, volume_score):
        with pytest.raises(ValueError, match="empty"):
            function(values, np.zeros_like(ball))
        with pytest.raises(ValueError, match="top_fraction"):
            function(values, ball, 30)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_tensors_and_arrays_give_the_same_map_in_their_own_precision(values, ball, kind):
    scores = torch.from_numpy(values).to(kind)
    for apply, strength in ((median_filter, 3), (gaussian_filter, 1.5)):
        found = apply(scores, strength, torch.from_numpy(ball))
        assert found.dtype == kind and found.shape == scores.shape
        assert torch.equal(found, apply(scores.numpy(), strength, ball))
    given = scores, torch.from_numpy(ball)
    assert volume_score(*given) == volume_score(scores.numpy(), ball)
    assert np.array_equal(slice_scores(*given), slice_scores(scores.numpy(), ball))


def test_nothing_that_was_given_is_changed(values, ball):
    scores, brain = values.copy(), ball.copy()
    for result in (erode_brain(ball, 0), postprocess(values, ball, PostProcessing(0, 1))):
        result.zero_()
    assert np.array_equal(values, scores) and np.array_equal(ball, brain)
