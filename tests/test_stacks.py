"""Subjects as bytes, and the number that tells stored ones of before from today's."""

import numpy as np
import pytest
import torch

from maskdiff_edu.brains import make_subject, stacks
from maskdiff_edu.brains.stacks import encode_slices, make_stack, stack_path
from maskdiff_edu.scans import find_scans, intensity, write_subject
from maskdiff_edu.training import SlicePool

# Mean byte of 12 parts of the stack of subject 4, for the STACKS_VERSION beside it.
KNOWN_VERSION = 1
KNOWN_MEANS = (5.51, 10.05, 20.13, 22.52, 39.85, 29.71, 47.18, 37.63, 16.46, 26.86, 14.18, 24.75)


def means(stack: np.ndarray) -> np.ndarray:
    """Of three layers of slices and four quarters of each, (12,)."""
    n = len(stack) // 3 * 3
    return stack[:n].reshape(3, n // 3, 2, 48, 2, 48).mean(axis=(1, 3, 5)).ravel()


def is_known(stack: np.ndarray) -> bool:
    """To a hundredth of a grey value: processors differ in the last digits, faults in the first."""
    return np.abs(means(stack) - KNOWN_MEANS).max() < 0.01


def test_a_subject_gives_the_bytes_of_this_version():
    assert stacks.STACKS_VERSION == KNOWN_VERSION
    assert is_known(make_stack(4)), (
        "the same subject gives other bytes than before: raise the number STACKS_VERSION in "
        "maskdiff_edu/brains/stacks.py, or stored ones are trained on; then put the new means here"
    )


def test_that_test_notices_another_intensity_scale(monkeypatch):
    """With the percentiles 5 and 90 a third of all stored pixels were stale, and nobody saw it."""
    percentile = np.percentile
    changed = {(1, 99): (5, 90)}
    monkeypatch.setattr(
        intensity.np, "percentile", lambda values, q: percentile(values, changed[tuple(q)])
    )
    assert not is_known(make_stack(4))


def test_a_new_version_is_made_anew_and_described_otherwise(tmp_path, monkeypatch):
    pool = SlicePool([4], cache_dir=tmp_path)
    pool.fill()
    before = pool.description
    monkeypatch.setattr(stacks, "STACKS_VERSION", KNOWN_VERSION + 1)
    newer = SlicePool([4], cache_dir=tmp_path)
    assert newer.description != before
    assert np.array_equal(newer[0], pool[0])
    assert len(list(tmp_path.rglob("*.npy"))) == 2, "neither is taken for the other"


def test_other_contrasts_and_other_scans_have_other_files(tmp_path):
    folder = tmp_path / "cohort"
    for seed in (0, 1):
        write_subject(make_subject(seed).crop_slices(4), folder)
    a, b = find_scans(folder)
    paths = [stack_path(s, c, tmp_path) for s, c in ((0, "t2"), (0, "t1"), (1, "t2"), (a, "t2"))]
    paths.append(stack_path(b, "t2", tmp_path))
    assert len(set(paths)) == 5
    a.image.touch()
    assert stack_path(a, "t2", tmp_path) != paths[3]


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_bytes_of_known_slices(kind):
    images = np.full((2, 1, 20, 20), -1, np.float32)
    images[0, 0, :, :3] = (0, 1, 0.5)
    brain_masks = np.zeros((2, 1, 20, 20), bool)
    brain_masks[0, 0, :, :10] = True
    brain_masks[1, 0, :9, :] = True  # 180 pixels: too few
    stack = encode_slices(kind(images), kind(brain_masks))
    assert stack.shape == (1, 20, 20) and stack.dtype == np.uint8
    assert stack[0, 0, [0, 1, 2, 3, 9, 10]].tolist() == [128, 255, 191, 1, 1, 0]
