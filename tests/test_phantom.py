"""Generated healthy brains: repeatable, three-dimensional, and brains rather than blobs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scope import EVERYTHING

from maskdiff_edu.brains import (
    SubjectParams,
    draw_subject,
    load_atlas,
    make_subject,
    render_subject,
)
from maskdiff_edu.brains.fields import blur_scan, smooth_field
from maskdiff_edu.scans import to_slices, to_volume

CONTRASTS = ("t2", "t1")


@pytest.fixture(scope="module")
def subject():
    return make_subject(7)


def test_the_parts_fit_together(subject):
    inside = subject.brain_mask
    assert subject.image.shape == inside.shape == (96, 96, 80)
    assert subject.image.dtype == np.float32
    assert (subject.image[~inside] == 0).all() and (subject.image[inside] > 0).all()
    assert np.allclose(subject.tissues.sum(axis=0)[inside], 1, atol=1e-5)
    assert subject.tissues[:, ~inside].max() == 0
    assert not subject.lesion_mask.any()


def test_the_same_seed_gives_the_same_subject(subject):
    again = make_subject(7)
    assert again.params == subject.params
    assert np.array_equal(again.image, subject.image)
    # Values read once on another machine: single voxels of seed 7, and its mean.
    assert subject.image.mean() == pytest.approx(77.15742, rel=1e-4)
    voxels = [subject.image[p] for p in ((48, 48, 40), (30, 50, 30), (60, 40, 50))]
    assert np.allclose(voxels, [508.48044, 301.90536, 226.75806], rtol=1e-4)


def test_other_seeds_give_other_subjects(subject):
    other = make_subject(8)
    both = subject.brain_mask & other.brain_mask
    assert np.corrcoef(subject.image[both], other.image[both])[0, 1] < 0.9


def test_parameters_can_be_printed_and_passed_back(subject):
    written = repr(subject.params)
    read = eval(written, {"SubjectParams": SubjectParams})
    assert read == subject.params
    assert np.array_equal(render_subject(read).image, subject.image)


def test_one_parameter_changes_one_thing(subject):
    """Every random field has a stream of its own: without noise, anatomy stays in place."""
    quiet = render_subject(replace(subject.params, noise_sd=0.0))
    assert np.array_equal(quiet.brain_mask, subject.brain_mask)
    assert np.array_equal(quiet.tissues, subject.tissues)
    difference = (subject.image - quiet.image)[subject.brain_mask]
    assert 0.3 < difference.std() / (1000 * subject.params.noise_sd) < 1.2


@pytest.mark.parametrize(
    ("contrast", "order"), [("t2", (1, 0, 2)), ("t1", (2, 0, 1))], ids=CONTRASTS
)
def test_contrasts_order_the_tissues(contrast, order):
    """Darkest to brightest: white, grey, fluid in T2; fluid, grey, white in T1."""
    for seed in range(3):
        means = np.array(draw_subject(seed, contrast).tissue_means)
        assert (np.diff(means[list(order)]) > 0).all()


def test_ventricle_growth_makes_fluid(subject):
    def fluid_in_the_middle(growth):
        tissues = render_subject(replace(subject.params, ventricle_growth=growth)).tissues
        return tissues[2, 38:58, 25:65, 35:55].sum()

    assert fluid_in_the_middle(-0.3) < fluid_in_the_middle(0.0) < fluid_in_the_middle(0.35)


def test_slices_of_a_subject_are_its_voxels_and_come_back(subject):
    slices = to_slices(subject)
    assert slices.images.shape[1:] == (1, 96, 96)
    assert int(slices.brain_masks.sum()) == subject.brain_mask.sum()
    back = to_volume(slices.in_scan_units(slices.images), slices, subject)
    low, high = np.percentile(subject.image[subject.brain_mask], [1, 99])
    inside = subject.brain_mask
    assert np.allclose(back[inside], subject.image.clip(low, high)[inside], atol=1e-3 * high)


def test_the_papers_fifty_slices(subject):
    cropped = subject.crop_slices()
    assert cropped.image.shape == (96, 96, 50) == cropped.tissues.shape[1:]
    voxel = np.array([40, 40, 20, 1])
    assert np.allclose(cropped.affine @ voxel, subject.affine @ np.add(voxel, [0, 0, 15, 0]))


def test_unknown_contrast_is_refused():
    with pytest.raises(ValueError, match="'flair'"):
        make_subject(0, contrast="flair")


def test_smooth_fields_have_mean_0_and_variance_1_everywhere():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_field(rng, (20, 16), 5.0) for _ in range(4000)])
    assert np.abs(fields.mean(axis=0)).max() < 5 / np.sqrt(4000)
    assert np.abs(fields.var(axis=0) - 1).max() < 0.12  # 5 standard errors
    neighbours = (fields[:, 9, 8] * fields[:, 10, 8]).mean()
    assert neighbours > 0.9  # smooth
    assert abs((fields[:, 2, 8] * fields[:, 18, 8]).mean()) < 0.1  # and independent far away


def test_blur_keeps_a_flat_brain_flat_up_to_its_rim():
    brain_mask = np.zeros((30, 30, 20), bool)
    brain_mask[6:24, 8:22, 3:17] = True
    blurred = blur_scan(np.where(brain_mask, 5.0, 0.0), brain_mask, 4.0, 6.0, 2.0)
    assert np.allclose(blurred[brain_mask], 5.0, atol=1e-5)


def summary(seed, contrast):
    """Tissue means and radial log spectrum of one subject, for the check below."""
    subject = make_subject(seed, contrast)
    return describe(subject.image, subject.brain_mask, subject.tissues)


def describe(image, brain_mask, tissues):
    """Means of grey, white and fluid on the 0..1 scale, and log power in 16 radial bins."""
    low, high = np.percentile(image[brain_mask], [1, 99])
    scaled = ((image - low) / (high - low)).clip(0, 1) * brain_mask
    means = (scaled * tissues).sum(axis=(1, 2, 3)) / tissues.sum(axis=(1, 2, 3))

    area = brain_mask.sum(axis=(0, 1))
    large = area > area.max() / 2
    slices, masks = scaled[:, :, large], brain_mask[:, :, large]
    slices = (slices - slices.sum(axis=(0, 1)) / area[large]) * masks
    power = (np.abs(np.fft.fft2(slices, axes=(0, 1))) ** 2 / area[large]).mean(axis=2)
    frequency = np.fft.fftfreq(96)
    radius = np.hypot(frequency[:, None], frequency)  # cycles a pixel, up to .5 on the axes
    ring = np.digitize(radius, np.linspace(0, 0.5, 17)) - 1
    rings = [power[ring == i].mean() for i in range(16)]
    return np.concatenate([means, np.log10(rings)])


@pytest.mark.slow
@pytest.mark.parametrize("contrast", CONTRASTS if EVERYTHING else ("t2",))  # a minute each
def test_they_are_brains_and_not_blobs(contrast):
    """The real average scan lies within the 5th to 95th percentile of 100 subjects."""
    subjects = np.array([summary(seed, contrast) for seed in range(100)])
    atlas = load_atlas()
    inside = atlas.brain > 0.5
    tissues = np.stack([atlas.gm, atlas.wm, atlas.csf]) * inside
    real = describe(atlas.template(contrast) * inside, inside, tissues)
    low, high = np.percentile(subjects, [5, 95], axis=0)
    outside = np.flatnonzero((real < low) | (real > high))
    assert len(outside) == 0, (outside, low[outside], real[outside], high[outside])


def test_a_blob_would_be_noticed():
    """The check above can fail: a smooth ball of three shells is no brain."""
    atlas = load_atlas()
    inside = atlas.brain > 0.5
    tissues = np.stack([atlas.gm, atlas.wm, atlas.csf]) * inside
    brain = describe(atlas.t2 * inside, inside, tissues)
    distance = np.linalg.norm(np.indices(inside.shape).T - [48, 48, 40], axis=-1).T
    blob = describe((1 + distance // 12) * inside, inside, tissues)
    assert np.abs(blob - brain).max() > 0.5


def test_slices_are_float32_tensors(subject):
    assert to_slices(subject).images.dtype == torch.float32
