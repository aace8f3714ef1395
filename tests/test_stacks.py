"""Subjects as bytes, and the number that tells stored ones of before from today's."""

import io
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskdiff_edu.brains import make_subject, stacks
from maskdiff_edu.brains.stacks import (
    cached_stack,
    encode_slices,
    make_stack,
    stack_name,
    stack_path,
)
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


def test_a_subject_takes_less_than_a_megabyte():
    """As book/hub.md says."""
    assert 0.6e6 < make_stack(4).nbytes < 0.8e6


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
    assert len(list(tmp_path.rglob("*.npz"))) == 2, "neither is taken for the other"


def test_other_contrasts_and_other_scans_have_other_files(tmp_path):
    folder = tmp_path / "cohort"
    for seed in (0, 1):
        write_subject(make_subject(seed).crop_slices(4), folder)
    a, b = find_scans(folder)
    names = [stack_name(s, c) for s, c in ((0, "t2"), (0, "t1"), (1, "t2"), (a, "t2"), (b, "t2"))]
    assert len({stack_path(name, tmp_path) for name in names}) == 5


def test_a_scan_is_known_by_what_its_files_hold(tmp_path):
    """Not by names and times; the lesion mask, which training does not read, does not count."""
    write_subject(make_subject(0).crop_slices(4), tmp_path / "here")
    (here,) = find_scans(tmp_path / "here")
    name = stack_name(here, "t2")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (there,) = find_scans(tmp_path / "there")
    there.image.touch()
    assert stack_name(there, "t2") == name
    assert stack_name(replace(there, lesion_mask=there.image), "t2") == name
    assert stack_name(replace(there, brain_mask=None), "t2") != name
    before = there.image.stat()
    content = bytearray(there.image.read_bytes())
    content[len(content) // 2] ^= 1
    there.image.write_bytes(content)
    os.utime(there.image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stack_name(there, "t2") != name, "of equal size and time"


STACK = np.full((3, 96, 96), 7, np.uint8)


def stored(**parts) -> bytes:
    file = io.BytesIO()
    np.savez(file, **parts)
    return file.getvalue()


def one_array(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


WHOLE = stored(stack=STACK, name="t2-0")
DAMAGED = {
    "empty": b"",
    "cut": WHOLE[: len(WHOLE) // 2],
    "zeros": bytes(len(WHOLE)),
    "text": b"no such thing",
    "pickled": pickle.dumps(STACK),
    "one array": one_array(STACK),
    "objects": stored(stack=np.array([{}], object), name="t2-0"),
    "another subject": stored(stack=STACK, name="t2-1"),
    "no name": stored(stack=STACK),
    "no stack": stored(name="t2-0"),
    "no slices": stored(stack=STACK[:0], name="t2-0"),
    "one slice": stored(stack=STACK[0], name="t2-0"),
    "small slices": stored(stack=STACK[:, :48], name="t2-0"),
    "floats": stored(stack=STACK / 255, name="t2-0"),
    "signed": stored(stack=STACK.astype(np.int8), name="t2-0"),
}


@pytest.fixture
def store(monkeypatch, tmp_path):
    """Write a cache file of subject 0, and say what is read and how often a subject is made."""
    made = []
    monkeypatch.setattr(stacks, "make_stack", lambda source, contrast: made.append(1) or STACK + 1)
    path = stack_path("t2-0", tmp_path)
    path.parent.mkdir()

    def read(content):
        made.clear()
        if content is not None:
            path.write_bytes(content)
        return cached_stack(0, "t2", path), len(made)

    return read


def test_a_whole_file_is_read(store):
    stack, made = store(WHOLE)
    assert np.array_equal(stack, STACK) and made == 0


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_made_again(store, content):
    stack, made = store(content)
    assert np.array_equal(stack, STACK + 1) and made == 1
    stack, made = store(None)
    assert np.array_equal(stack, STACK + 1) and made == 0, "and is whole from then on"


def test_no_flipped_bit_goes_unseen(store):
    """Every byte of the head and the tail, and some between: whatever is read is whole."""
    n = len(WHOLE)
    places = [*range(300), *range(300, n - 900, 397), *range(n - 900, n)]
    for place in places:
        flipped = bytearray(WHOLE)
        flipped[place] ^= 1 << place % 8
        stack, made = store(flipped)
        assert np.array_equal(stack, STACK + 1 if made else STACK), place


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_keeps_nobody_waiting(store, tmp_path):
    os.mkfifo(stack_path("t2-0", tmp_path))
    stack, made = store(None)
    assert np.array_equal(stack, STACK + 1) and made == 1


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
