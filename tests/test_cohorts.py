"""Splits that never meet, and the pool of training slices."""

import itertools

import numpy as np
import pytest
import torch

from maskdiff_edu.brains import SPLITS, cohort_seeds, make_cohort, make_subject
from maskdiff_edu.brains.cohorts import COHORT_SIZE, COHORTS
from maskdiff_edu.brains.stacks import encode_slices
from maskdiff_edu.scans import find_scans, to_slices, write_subject
from maskdiff_edu.training import SlicePool


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def pool(cache):
    return SlicePool([0, 1, 2], cache_dir=cache)


def test_splits_and_cohorts_never_meet():
    everyone = [set(cohort_seeds(split, cohort, 10_000)) for split in SPLITS for cohort in COHORTS]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(everyone, 2))
    for split, cohort in itertools.product(SPLITS, COHORTS):
        seeds = cohort_seeds(split, cohort)
        assert len(seeds) == COHORT_SIZE >= 30
        assert seeds[0] in SPLITS[split] and seeds[-1] in SPLITS[split]


@pytest.mark.parametrize(
    "arguments",
    [("tests", "ms", 3), ("test", "cyst", 3), ("test", "ms", 10_001), ("test", "ms", -1)],
)
def test_unknown_names_and_numbers_are_refused(arguments):
    with pytest.raises(ValueError, match="expected"):
        cohort_seeds(*arguments)


def test_a_cohort_is_made_of_its_seeds():
    (patient,) = make_cohort("test", "ms", 1)
    assert patient.params.seed == cohort_seeds("test", "ms", 1)[0]
    assert patient.lesion_mask.any()
    (control,) = make_cohort("test", "healthy", 1)
    assert not control.lesion_mask.any()


def test_a_batch_follows_from_its_number_alone(pool, cache):
    images, brain_masks = pool.batch(seed=3, n=5, batch_size=6)
    assert images.shape == brain_masks.shape == (6, 1, 96, 96)
    assert images.dtype == torch.float32 and brain_masks.dtype == torch.bool
    again = SlicePool([0, 1, 2], cache_dir=cache)  # read from disk this time
    again.batch(seed=3, n=4, batch_size=6)
    assert torch.equal(again.batch(seed=3, n=5, batch_size=6)[0], images)
    assert not torch.equal(pool.batch(seed=3, n=6, batch_size=6)[0], images)
    assert not torch.equal(pool.batch(seed=4, n=5, batch_size=6)[0], images)


def test_images_are_scaled_and_backgrounds_minus_one(pool):
    images, brain_masks = pool.batch(0, 0, 16)
    assert (images[~brain_masks] == -1).all()
    assert images.min() == -1 and images.max() <= 1
    assert images[brain_masks].std() > 0.1


def test_bytes_keep_the_image_to_a_255th(cache):
    subject = make_subject(0)
    slices = to_slices(subject)
    coded = encode_slices(slices.images, slices.brain_masks)
    enough = slices.brain_masks.sum(dim=(1, 2, 3)) >= 200
    images, brain_masks = slices.images[enough, 0].numpy(), slices.brain_masks[enough, 0].numpy()
    assert np.array_equal(coded > 0, brain_masks)
    decoded = (coded.astype(float) - 1) / 127 - 1
    assert np.abs(decoded - images)[brain_masks].max() <= 0.5 / 127 + 1e-6


def test_only_the_drawn_subjects_are_made(tmp_path):
    pool = SlicePool(range(1000), cache_dir=tmp_path)
    drawn = pool.subjects_of_batch(seed=0, n=0, batch_size=4)
    assert len(drawn) == 2
    pool.batch(0, 0, 4)
    assert len(list(tmp_path.rglob("*.npz"))) == len(set(drawn))


def test_filling_ahead_changes_nothing(tmp_path, pool):
    filled = SlicePool([0, 1, 2], cache_dir=tmp_path)
    filled.fill([1, 2], workers=2)
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    assert np.array_equal(filled[1], pool[1])


def test_a_folder_of_scans_serves_as_well(tmp_path, pool):
    for seed in (0, 1):
        write_subject(make_subject(seed), tmp_path / "cohort")
    from_files = SlicePool(find_scans(tmp_path / "cohort"), cache_dir=tmp_path / "cache")
    assert len(from_files) == 2
    difference = np.abs(from_files[0].astype(int) - pool[0].astype(int))
    assert from_files[0].shape == pool[0].shape and np.percentile(difference, 99.9) <= 1


def test_an_empty_pool_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        SlicePool([])
