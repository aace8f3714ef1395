"""The card of a training tells what was used, not what would have been."""

import dataclasses
import functools
import json
from dataclasses import replace

import pytest
import torch
from train_discs import CONFIG, Discs, small_network

from maskdiff_edu.diffusion import IPM, no_corruption
from maskdiff_edu.training import Saving, TrainConfig, fit, load_pretrained
from maskdiff_edu.training.checkpoints import checksum, load_checkpoint, save_checkpoint
from maskdiff_edu.training.loop import CHECKPOINT

ONE = replace(CONFIG, steps=1)


class Named(Discs):
    """Discs that say who they are."""

    description = "many discs"


class Blur:
    """A corruption without a name of its own."""

    def __call__(self, images, brain_masks, generator):
        return images


def hide(images, brain_masks, generator, value):
    return images * value


def card_of(folder, pool=None, **options):
    fit(ONE, pool or Discs(), out=folder, device="cpu", **options)
    return json.loads((folder / "model.json").read_text())


def test_a_training_by_its_settings_tells_all_of_them(tmp_path):
    card = card_of(tmp_path, Named())
    assert card["train"] == dataclasses.asdict(ONE)
    assert (card["data"], card["start"]) == ("many discs", None)


@pytest.mark.parametrize(
    "corrupt, name",
    [
        (no_corruption, "no_corruption"),
        (IPM(), "IPM"),
        (Blur(), "Blur"),
        (functools.partial(hide, value=0.5), "hide"),
    ],
)
def test_a_corruption_of_ones_own_is_named(tmp_path, corrupt, name):
    card = card_of(tmp_path, corrupt=corrupt, start=small_network())
    assert card["train"]["corruption"] == f"custom: {name}"
    assert not {"patches", "bands"} & card["train"].keys()  # they played no part
    assert TrainConfig.from_json(card["train"]) == replace(ONE, corruption=f"custom: {name}")


def test_a_start_is_told_by_its_checksum_and_its_own_shape(tmp_path):
    start = small_network()
    card = card_of(tmp_path, start=start)
    assert card["start"] == checksum(start.state_dict())
    assert "unet" not in card["train"]
    assert card["unet"] == json.loads(json.dumps(dataclasses.asdict(start.config)))


def test_nothing_is_told_of_a_pool_that_says_nothing(tmp_path):
    card = card_of(tmp_path)
    assert card["data"] is None
    assert not {"n_subjects", "contrast"} & card["train"].keys()


def test_the_settings_of_a_card_train_it_again(tmp_path):
    """Given the same function, pool and start."""
    options = {"corrupt": no_corruption, "start": small_network(), "device": "cpu"}
    first = fit(ONE, Discs(), out=tmp_path, **options)
    config = TrainConfig.from_json(load_pretrained(tmp_path / "model.safetensors")[1]["train"])
    again = fit(config, Discs(), **options)
    assert torch.equal(first.head.weight, again.head.weight)


def test_a_checkpoint_of_before_with_settings_of_the_pool_goes_on(tmp_path):
    fit(ONE, Discs(), out=tmp_path, device="cpu", start=small_network())
    tensors, about = load_checkpoint(tmp_path / CHECKPOINT)
    about["train"] |= {"n_subjects": 300, "contrast": "t2"}
    save_checkpoint(tmp_path / CHECKPOINT, tensors, about)
    saving = Saving(tmp_path, resume=True)
    fit(replace(ONE, steps=2), Discs(), start=small_network(), device="cpu", out=saving)
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["step"] == 2 and "n_subjects" not in card["train"]
