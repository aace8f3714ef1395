"""A training goes on from its own checkpoint only: same data, mask, start, and whole numbers."""

import functools
import json
import math
import os
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from train_discs import CONFIG, Discs

from maskdiff_edu.diffusion import FPM, IPM, PatchSettings, UNet, UNetConfig, no_corruption
from maskdiff_edu.errors import CheckpointError, Error
from maskdiff_edu.scans import ScanFiles
from maskdiff_edu.training import Saving, SlicePool, TrainConfig, fit, train
from maskdiff_edu.training.checkpoints import load_checkpoint, save_checkpoint
from maskdiff_edu.training.loop import CHECKPOINT
from maskdiff_edu.training.state import TrainState

TWO, THREE = replace(CONFIG, steps=2), replace(CONFIG, steps=3)
SHAPE = UNetConfig((8, 16), 1, 2, True, False, 8, 8)


class Named(Discs):
    """Discs that say who they are."""

    def __init__(self, description):
        self.description = description


def network(seed=0):
    torch.manual_seed(seed)
    return UNet(SHAPE)


START = network()


def run(config, folder, pool=None, start=START, **options):
    """All steps that are left: their numbers."""
    steps = train(config, pool or Discs(), device="cpu", out=folder, start=start, **options)
    return [step.number for step in steps]


def go_on(folder, config=THREE, **options):
    return run(config, Saving(folder, resume=True), **options)


# Another pool, another mask, another start


@pytest.mark.parametrize(
    "before, now, goes_on",
    [("a", "a", True), ("a", "b", False), ("a", None, True), (None, "b", True)],
)
def test_the_data_is_compared_where_both_pools_say_what_they_are(tmp_path, before, now, goes_on):
    run(TWO, tmp_path, Named(before) if before else Discs())
    pool = Named(now) if now else Discs()
    if goes_on:
        assert go_on(tmp_path, pool=pool) == [3]
    else:
        with pytest.raises(CheckpointError, match="was trained with data='a', not 'b'"):
            go_on(tmp_path, pool=pool)


def make_hide(value):
    """The same function, defined anew with each call, as another run of a script does."""

    def hide(images, brain_masks, generator, value=value):
        return images * value

    return hide


class Hide:
    """A corruption with a state, and nothing else."""

    def __call__(self, images, brain_masks, generator):
        return images


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_hide(0.5),
        lambda: functools.partial(make_hide(1), value=0.25),
        lambda: IPM(PatchSettings((1, 2), (0.1, 0.2))),
        lambda: lambda images, *_: images,
        Hide,
        lambda: Hide().__call__,
        lambda: None,
    ],
)
def test_the_same_mask_goes_on(tmp_path, make):
    run(TWO, tmp_path, corrupt=make())
    kept = make()  # a new object, perhaps at another address
    assert go_on(tmp_path, corrupt=kept) == [3]


@pytest.mark.parametrize(
    "before, now",
    [
        (None, no_corruption),
        (no_corruption, None),
        (make_hide(1), no_corruption),
        (IPM(), IPM(fill="mean")),
        (IPM(), FPM()),
        (functools.partial(make_hide(1), value=0.5), make_hide(1)),
    ],
)
def test_another_mask_is_refused(tmp_path, before, now):
    run(TWO, tmp_path, corrupt=before)
    with pytest.raises(CheckpointError, match="was trained with corrupt="):
        go_on(tmp_path, corrupt=now)


def test_another_start_is_refused(tmp_path):
    run(TWO, tmp_path)
    with pytest.raises(CheckpointError, match=r"was trained with start='[0-9a-f]{8}', not"):
        go_on(tmp_path, start=network(seed=1))
    assert go_on(tmp_path, start=network(seed=0)) == [3]
    run(TWO, tmp_path / "new", start=None)
    with pytest.raises(CheckpointError, match="was trained with start='', not"):
        go_on(tmp_path / "new")


def write_scan(folder, name, value=1.0):
    """A file that stands for a scan; nobody reads it here."""
    folder.mkdir(exist_ok=True)
    np.save(folder / name, np.full(10, value))
    return ScanFiles(folder / f"{name}.npy", None, None, name)


def test_a_pool_is_known_by_its_subjects_and_not_by_their_place(tmp_path):
    scans = [write_scan(tmp_path / "here", name, value) for name, value in (("a", 1), ("b", 2))]
    pool = SlicePool(scans, cache_dir=tmp_path / "cache")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    moved = [replace(scan, image=tmp_path / "there" / scan.image.name) for scan in scans]
    assert SlicePool(moved).description == pool.description
    others = [
        SlicePool(scans[:1]),
        SlicePool(scans[::-1]),
        SlicePool([*scans[:1], write_scan(tmp_path / "there", "c", 3)]),
        SlicePool([1, 2]),
        SlicePool([2, 1]),
        SlicePool([1, 2], contrast="t1"),
    ]
    names = [pool.description, *(other.description for other in others)]
    assert len(set(names)) == len(names)
    assert SlicePool(range(1, 3), cache_dir=tmp_path).description == others[3].description
    assert names[0].startswith("2 subjects (")


def test_other_content_of_equal_name_size_and_time_is_another_pool(tmp_path):
    scan = write_scan(tmp_path / "here", "a", 1)
    before, seen = SlicePool([scan]).description, scan.image.stat()
    write_scan(tmp_path / "here", "a", 2)
    os.utime(scan.image, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert scan.image.stat().st_size == seen.st_size
    assert SlicePool([scan]).description != before


def test_changed_code_that_makes_subjects_makes_another_pool(monkeypatch):
    before = SlicePool([1, 2]).description
    monkeypatch.setattr("maskdiff_edu.brains.stacks.STACKS_VERSION", 1000)
    assert SlicePool([1, 2]).description != before


# Checkpoints of before, and damaged or hostile ones


@pytest.fixture
def checkpoint(tmp_path):
    """A whole checkpoint after two steps, and a function that writes it changed."""
    run(TWO, tmp_path)
    path = tmp_path / CHECKPOINT

    def write(tensors=lambda tensors: tensors, about=lambda about: about):
        old_tensors, old_about = load_checkpoint(path)
        save_checkpoint(path, tensors(old_tensors), about(old_about))
        return tmp_path

    return write


def test_a_checkpoint_of_before_goes_on(checkpoint):
    """It tells neither the data nor the settings that came later, which had their defaults."""

    def as_before(about):
        train = {k: v for k, v in about["train"].items() if k not in ("patches", "bands", "box")}
        return {k: v for k, v in about.items() if k != "made_from"} | {"train": train}

    folder = checkpoint(about=as_before)
    other = replace(THREE, patches="paper")
    with pytest.raises(CheckpointError, match="was trained with patches='broad', not 'paper'"):
        go_on(folder, other)
    assert go_on(folder, pool=Named("new")) == [3]


def spoil(prefix, change):
    """A change of one tensor whose name starts so."""

    def spoiled(tensors):
        name = next(name for name in sorted(tensors) if name.startswith(prefix))
        return tensors | {name: change(tensors[name].clone())}

    return spoiled


@pytest.mark.parametrize(
    "prefix", ["model.", "ema.", "optimizer.exp_avg.", "optimizer.exp_avg_sq.", "optimizer.step."]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(checkpoint, prefix, value):
    folder = checkpoint(tensors=spoil(prefix, lambda tensor: tensor.fill_(value)))
    with pytest.raises(CheckpointError, match=r"not a whole training checkpoint.*NaN or infinity"):
        go_on(folder)


@pytest.mark.parametrize("prefix", ["optimizer.exp_avg_sq.", "optimizer.step."])
def test_a_spread_or_a_count_below_zero_is_refused(checkpoint, prefix):
    folder = checkpoint(tensors=spoil(prefix, lambda tensor: tensor.fill_(-1.0)))
    with pytest.raises(CheckpointError, match="is negative"):
        go_on(folder)


@pytest.mark.parametrize("prefix", ["model.", "optimizer.exp_avg.", "optimizer.step."])
@pytest.mark.parametrize(
    "change", [torch.Tensor.half, torch.Tensor.long, lambda t: t[None], lambda t: t.reshape(-1)[:0]]
)
def test_another_type_or_shape_is_refused(checkpoint, prefix, change):
    folder = checkpoint(tensors=spoil(prefix, change))
    with pytest.raises(CheckpointError, match=r"not a whole training checkpoint.*has the shape"):
        go_on(folder)


@pytest.mark.parametrize(
    "change",
    [{"step": -1}, {"step": 1.0}, {"step": "2"}, {"step": None}, {"seconds": math.nan},
     {"seconds": -1.0}, {"seconds": "long"}, {"seconds": math.inf}, {"made_from": 3},
     {"made_from": ["data"]}, {"train": {"lr": "fast"}}, {"train": {"more": 1}}, {"train": 3}],
    ids=str,
)  # fmt: skip
def test_a_description_that_makes_no_sense_is_refused(checkpoint, change):
    folder = checkpoint(about=lambda about: about | change)
    with pytest.raises(CheckpointError, match="not a whole training checkpoint"):
        go_on(folder)


@pytest.mark.parametrize("key", ["train", "step", "seconds", "scaler"])
def test_a_description_with_a_part_missing_is_refused(checkpoint, key):
    folder = checkpoint(about=lambda about: {k: v for k, v in about.items() if k != key})
    with pytest.raises(CheckpointError, match=f"not a whole training checkpoint.*{key}"):
        go_on(folder)


@pytest.mark.parametrize(
    "change",
    [{"scale": math.nan}, {"scale": math.inf}, {"scale": "x"}, {"scale": -1.0}, {"scale": 1},
     {"growth_interval": 0.5}, {"_growth_tracker": None}, {"_growth_tracker": -1}],
    ids=str,
)  # fmt: skip
def test_a_hostile_gradient_scale_is_refused(tmp_path, change):
    half = replace(TWO, precision="float16")
    run(half, tmp_path)
    path = tmp_path / CHECKPOINT
    tensors, about = load_checkpoint(path)
    save_checkpoint(path, tensors, about | {"scaler": about["scaler"] | change})
    with pytest.raises(CheckpointError, match=r"not a whole training checkpoint.*scaler"):
        go_on(tmp_path, replace(half, steps=3))


def test_fewer_steps_than_were_done_are_refused(tmp_path):
    run(THREE, tmp_path)
    with pytest.raises(CheckpointError, match="has done 3 steps, expected at most the 2"):
        go_on(tmp_path, TWO)
    assert go_on(tmp_path) == []


def test_a_foreign_card_beside_the_checkpoint_is_left_alone(tmp_path):
    (tmp_path / "checkpoint.json").write_text('{"mine": 1}')
    model = fit(TWO, Discs(), out=tmp_path, device="cpu", start=START)
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["step"] == 2 and TrainConfig.from_json(card["train"]) == TWO
    assert card["unet"] == json.loads(json.dumps(asdict(SHAPE)))
    assert (tmp_path / "checkpoint.json").read_text() == '{"mine": 1}'
    averages = load_checkpoint(tmp_path / CHECKPOINT)[0]
    assert_close(model.stem.weight, averages["ema.stem.weight"], rtol=0, atol=0)


# Numbers that are no longer finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_training_that_comes_apart_stops_at_that_step_and_keeps_its_checkpoint(tmp_path, bad):
    def spoilt_from_step_3(images, brain_masks, generator):
        calls.append(1)
        return images * bad if len(calls) > 2 else images

    calls = []
    config = replace(TWO, steps=6)
    saving = Saving(tmp_path, every=2)
    with pytest.raises(Error, match="step 3: expected finite numbers, got NaN or infinity in loss"):
        list(train(config, Discs(), corrupt=spoilt_from_step_3, device="cpu", out=saving))
    _, about = load_checkpoint(tmp_path / CHECKPOINT)
    assert about["step"] == 2


def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    """Where nobody looks at the loss of each step, as on a GPU."""
    run(TWO, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    learn_from = TrainState.learn_from

    def spoil(state, error):
        learn_from(state, error)
        next(state.net.parameters()).data[0] = float("nan")

    monkeypatch.setattr(TrainState, "learn_from", spoil)
    with pytest.raises(Error, match="step 3: expected finite numbers, got NaN"):
        go_on(tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
