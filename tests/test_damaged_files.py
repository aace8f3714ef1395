"""Weights files and cards that are damaged, old, or made to harm: an error that names them."""

import dataclasses
import itertools
import json
import math
import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from maskdiff_edu.detection import DetectorSettings, build_method
from maskdiff_edu.diffusion import UNet, UNetConfig
from maskdiff_edu.errors import CheckpointError
from maskdiff_edu.files import write_atomic
from maskdiff_edu.training import PRESETS, available_models, checkpoints, load_pretrained
from maskdiff_edu.training.checkpoints import (
    checksum,
    load_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
)

CONFIG = UNetConfig((4,), 1, 4, False, False, 2, 2)
ABOUT = {"unet": dataclasses.asdict(CONFIG), "train": {"lr": 0.5}, "step": 1234}


@pytest.fixture(scope="module")
def tensors():
    """Averages of a network and a number of steps, as a training checkpoint has them."""
    torch.manual_seed(0)
    state = UNet(CONFIG).state_dict()
    return {"ema." + name: tensor for name, tensor in state.items()} | {
        "optimizer.step.a": torch.tensor(3.0)
    }


@pytest.fixture(scope="module")
def whole(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "c.safetensors"
    save_checkpoint(path, tensors, ABOUT)
    return path.read_bytes()


def load(content, folder):
    path = folder / "c.safetensors"
    path.write_bytes(content)
    return load_checkpoint(path)


def test_any_flipped_bit_of_the_description_is_noticed(whole, tmp_path):
    """The step, the settings, the network's shape: one bit of each byte, one after the other."""
    start = whole.index(b"maskdiff_edu")
    end = whole.index(b"}", whole.index(b"step")) + 1
    bits = np.random.default_rng(0).integers(8, size=len(whole))
    for place in range(start, end):
        content = bytearray(whole)
        content[place] ^= 1 << int(bits[place])
        with pytest.raises(CheckpointError, match=r"c\.safetensors"):
            load(content, tmp_path)
    assert load(whole, tmp_path)[1] == json.loads(json.dumps(ABOUT))


def test_a_step_changed_by_hand_is_noticed(whole, tmp_path):
    assert b"1234" in whole
    with pytest.raises(CheckpointError, match="damaged, its content adds up to"):
        load(whole.replace(b"1234", b"1235"), tmp_path)


@given(data=st.data())
def test_any_flipped_bit_at_all_is_noticed(whole, tmp_path_factory, data):
    content = bytearray(whole)
    content[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CheckpointError, match=r"c\.safetensors"):
        load(content, tmp_path_factory.getbasetemp())


@given(
    place=st.floats(0, 1),
    lost=st.integers(0, 40),
    new=st.binary(max_size=40),
)
def test_bytes_put_in_or_taken_out_are_noticed(whole, tmp_path_factory, place, lost, new):
    at = int(place * len(whole))
    content = whole[:at] + new + whole[at + lost :]
    if content != whole:
        with pytest.raises(CheckpointError, match=r"c\.safetensors"):
            load(content, tmp_path_factory.getbasetemp())


def test_the_checksum_tells_names_types_and_shapes_apart():
    a = torch.arange(6, dtype=torch.float32)
    same_bytes = [
        {"a": a}, {"b": a}, {"a": a.view(2, 3)}, {"a": a.view(3, 2)}, {"a": a.view(torch.int32)},
        {"a": a[:3], "b": a[3:]},
    ]  # fmt: skip
    sums = [checksum(tensors, text) for tensors, text in itertools.product(same_bytes, ("", "x"))]
    assert len(set(sums)) == len(sums)
    assert checksum({"b": a, "a": a + 1}) == checksum({"a": a + 1, "b": a})


# Files without any checksum


def test_the_shipped_models_have_a_checksum():
    for name in available_models():
        with safe_open(checkpoints.MODELS / f"{name}.safetensors", framework="pt") as file:
            assert "checksum" in file.metadata()


def test_a_file_without_a_checksum_is_refused(tensors, tmp_path):
    """Else a flipped bit in the word "checksum" would switch the check off."""
    with pytest.raises(CheckpointError, match="its checksum says None"):
        load(save(tensors, {"maskdiff_edu": json.dumps(ABOUT)}), tmp_path)


# Made to harm


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.int64, torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn],
)
def test_weights_of_another_type(tensors, tmp_path, dtype):
    save_checkpoint(tmp_path / "m.safetensors", {n: t.to(dtype) for n, t in tensors.items()}, ABOUT)
    with pytest.raises(CheckpointError, match=r"m\.safetensors: expected .* F16, BF16, F32, got"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers(tensors, tmp_path, value):
    broken = {name: tensor.clone() for name, tensor in tensors.items()}
    broken["ema.stem.bias"][1] = value
    save_checkpoint(tmp_path / "m.safetensors", broken, ABOUT)
    with pytest.raises(CheckpointError, match="expected finite weights"):
        load_model(tmp_path / "m.safetensors")


HEADERS = {
    "shape beyond the file": {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    "shape that overflows": {"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 0]}},
    "shape of nothing": {"a": {"dtype": "F32", "shape": [2**62, 0], "data_offsets": [0, 0]}},
    "negative shape": {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}},
    "offsets backwards": {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    "unknown type": {"a": {"dtype": "F7", "shape": [1], "data_offsets": [0, 4]}},
    "a number for a tensor": {"a": 3},
    "half-byte type": {"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}},
    "path for a name": {"../../a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    "many tensors": {
        f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)
    },
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("prefix", ["ema.", ""])
def test_a_header_made_to_harm(tmp_path, case, prefix):
    """Refused without an allocation, a crash or a file elsewhere, whatever it claims."""
    header = {prefix + name: told for name, told in HEADERS[case].items()}
    header["__metadata__"] = {"maskdiff_edu": json.dumps(ABOUT), "checksum": "0" * 8}
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(4)
    with pytest.raises(CheckpointError, match=r"c\.safetensors"):
        load(content, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(CheckpointError, match="not a file"):
        load_checkpoint(tmp_path / "pipe.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_writing_follows_no_link_that_someone_laid(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".c.safetensors.unfinished").symlink_to(tmp_path / "precious")
    write_atomic(tmp_path / "c.safetensors", b"new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "c.safetensors").read_bytes() == b"new"
    assert not (tmp_path / "c.safetensors").is_symlink()


# Cards


@pytest.fixture
def model(tmp_path):
    """A model with a right card: a function that changes the card and gives the model's path."""
    path = tmp_path / "m.safetensors"
    save_model(path, UNet(CONFIG), {"train": dataclasses.asdict(PRESETS["ddpm"])})
    card = json.loads(path.with_suffix(".json").read_text())

    def write(**changes):
        path.with_suffix(".json").write_text(json.dumps(card | changes))
        return path

    return write


TRAIN = dataclasses.asdict(PRESETS["ddpm"])


@pytest.mark.parametrize(
    "changes",
    [
        *({"detector": {"draws": n}} for n in (10**12, 0, -1, 2.5, "4", None, True)),
        *({"detector": {"t": t}} for t in ([], [100] * 10**5, 1000, -1, 1.5, "150", [[1]], {})),
        {"detector": {"residual": "signed"}},
        {"detector": {"threshold": "high"}},
        {"detector": {"postprocessing": {"erosions": 10**9}}},
        {"detector": {"postprocessing": {"median_size": 10**9 + 1}}},
        {"detector": {"postprocessing": 3}},
        {"detector": {"postprocessing": {"more": 3}}},
        {"detector": {"more": 3}},
        {"detector": [1]},
        {"train": TRAIN | {"T": 10**12}},
        {"train": TRAIN | {"box": -1}},
        {"train": TRAIN | {"schedule": "sine"}},
        {"train": TRAIN | {"more": 3}},
        {"train": []},
        {"train": "ddpm"},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_a_card_that_cannot_be_used(model, changes):
    path = model(**changes)
    with pytest.raises(CheckpointError, match=r"m\.safetensors: expected a card that says"):
        build_method(path)


def test_a_card_of_before_has_the_defaults(model):
    """Models that were trained when some settings did not exist yet."""
    old = {k: v for k, v in TRAIN.items() if k not in ("patches", "bands", "box")}
    method = build_method(model(train=old))
    assert method.settings == DetectorSettings() and method.detector.ask is None


def test_what_the_caller_asks_for_is_not_the_cards_fault(model):
    path = model()
    for wrong in ({"draws": 10**12}, {"t": 1000}):
        with pytest.raises(ValueError, match="got") as caught:
            build_method(path, **wrong)
        assert not isinstance(caught.value, CheckpointError)


@pytest.mark.parametrize(
    "text", ["[]", "3", '"card"', '{"a": NaN}', '{"a": Infinity}', "[" * 100_000, "\xff"]
)
def test_a_card_that_is_no_object(model, text):
    path = model()
    path.with_suffix(".json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"m\.json"):
        load_pretrained(path)


def test_an_endless_card_is_not_read(model):
    path = model()
    with open(path.with_suffix(".json"), "wb") as file:
        file.truncate(100 * 2**30)  # a hole on the disk
    with pytest.raises(CheckpointError, match=r"m\.json.*at most"):
        load_pretrained(path)


def test_another_frameworks_file_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "m.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="not ones that maskdiff_edu wrote"):
        load_pretrained(tmp_path / "m.safetensors")
