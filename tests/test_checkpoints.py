"""Weights files: what goes in comes out, and nothing else is believed."""

import dataclasses
import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from maskdiff_edu import files
from maskdiff_edu.diffusion import NETWORKS, UNet, UNetConfig
from maskdiff_edu.errors import CheckpointError
from maskdiff_edu.files import write_atomic
from maskdiff_edu.training import available_models, checkpoints, load_pretrained
from maskdiff_edu.training.checkpoints import load_checkpoint, save_checkpoint, save_model

CONFIG = UNetConfig((8, 16), 1, 2, True, False, 8, 8)
ABOUT = {"unet": dataclasses.asdict(CONFIG)}


@pytest.fixture
def net():
    net = UNet(CONFIG)
    for i, parameter in enumerate(net.parameters()):
        generator = torch.Generator().manual_seed(i)
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return net


@pytest.fixture
def path(tmp_path, net):
    """A whole and right model file."""
    path = tmp_path / "model.safetensors"
    save_model(path, net, {"steps": 7})
    return path


def averaged(net):
    return {"ema." + name: tensor for name, tensor in net.state_dict().items()}


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, net):
    tensors = averaged(net) | {"optimizer.step.a": torch.tensor(3.0), "n": torch.arange(4)}
    about = ABOUT | {"step": 3, "more": {"lr": 0.1, "list": [1, None, "ü"]}}
    save_checkpoint(tmp_path / "new" / "c.safetensors", tensors, about)
    loaded, loaded_about = load_checkpoint(tmp_path / "new" / "c.safetensors")
    assert loaded.keys() == tensors.keys()
    for name in tensors:
        assert_close(loaded[name], tensors[name], rtol=0, atol=0)
    assert loaded_about == json.loads(json.dumps(about))


def test_a_model_comes_back_as_float32_ready_to_use(path, net):
    loaded, card = load_pretrained(path)
    assert card == {"steps": 7} | json.loads(json.dumps(ABOUT))
    for name, tensor in loaded.state_dict().items():
        assert_close(tensor, net.state_dict()[name].half().float(), rtol=0, atol=0)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    x_t, t = torch.randn(2, 1, 16, 16), torch.tensor([50, 299])
    assert_close(loaded(x_t, t), net(x_t, t), rtol=0.05, atol=0.05)


def test_the_card_may_be_edited_and_may_be_absent(path):
    card = path.with_suffix(".json")
    card.write_text(json.dumps({"phantom": {"tumour": {"auprc": 0.7}}}))
    assert load_pretrained(path)[1]["phantom"]["tumour"]["auprc"] == 0.7
    card.unlink()
    assert load_pretrained(path)[1] == json.loads(json.dumps(ABOUT))
    card.write_text("{half a")
    with pytest.raises(CheckpointError, match=r"model\.json.*not readable JSON"):
        load_pretrained(path)


def test_tiny_takes_less_than_three_megabytes(tmp_path):
    save_model(tmp_path / "m.safetensors", UNet(NETWORKS["tiny"]), {})
    assert (tmp_path / "m.safetensors").stat().st_size < 3_000_000


def test_every_shipped_model_loads_by_its_name():
    assert "fpm-cm" in available_models()
    for name in available_models():
        model, card = load_pretrained(name)
        assert UNetConfig(**card["unet"]) == model.config
        assert (checkpoints.MODELS / f"{name}.safetensors").stat().st_size < 3_000_000


def test_available_models_are_the_weights_in_the_package(tmp_path, monkeypatch):
    for name in ("b.safetensors", "a.safetensors", "a.json", ".c.safetensors.unfinished", "notes"):
        (tmp_path / name).touch()
    monkeypatch.setattr(checkpoints, "MODELS", tmp_path)
    assert available_models() == ["a", "b"]


def test_nothing_is_ever_unpickled(path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    load_pretrained(path)


# Files that are not to be believed


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: expected a weights file"):
        load_pretrained(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "", ".", "x\0y"])
def test_a_name_does_not_lead_out_of_the_package(name, tmp_path, monkeypatch, path):
    monkeypatch.setattr(checkpoints, "MODELS", tmp_path / "models")
    (tmp_path / "models").mkdir()
    (tmp_path / "secret.safetensors").write_bytes(path.read_bytes())
    (tmp_path / "models" / "good.safetensors").write_bytes(path.read_bytes())
    assert load_pretrained("good")[0].config == CONFIG
    with pytest.raises(CheckpointError, match="one of the models good"):
        load_pretrained(name)


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
def test_truncated(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        load_pretrained(path)


@pytest.mark.parametrize("place", [-1, -1000, 0.5])
def test_one_flipped_bit(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        load_pretrained(path)


class Harm:
    def __reduce__(self):
        return (exec, ("raise AssertionError('unpickled')",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_not_opened(tmp_path, zipped):
    path = tmp_path / "m.safetensors"
    torch.save(Harm(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="looks like a pickle, which is never opened"):
        load_pretrained(path)


@pytest.mark.parametrize("length", [0, 1, 10_000, 2**40, 2**64 - 1])
def test_a_header_that_lies_about_its_length(tmp_path, length):
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" + b" " * 100)
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_pretrained(path)


def test_a_header_too_long_to_be_ours(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    length = 9 * 2**20
    path.write_bytes(struct.pack("<Q", length) + b"{" + b" " * (length - 2) + b"}")
    monkeypatch.setattr(checkpoints, "safe_open", pytest.fail)  # refused before it is parsed
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_pretrained(path)


def test_weights_that_someone_else_wrote(tmp_path, net):
    save_file({n: t.contiguous() for n, t in averaged(net).items()}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="not ones that maskdiff_edu wrote"):
        load_pretrained(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "about",
    ["{half", "[]", "3", "{}", '{"unet": 3}', '{"unet": {"depth": 3}}', "[" * 100_000,
     '{"unet": {"widths": [1000000000]}}', '{"unet": {"blocks": 1000000000}}',
     '{"unet": {"widths": null}}', '{"unet": {"time_width": 1e9}}'],
)  # fmt: skip
def test_a_description_that_makes_no_sense(tmp_path, about, monkeypatch):
    monkeypatch.setattr(checkpoints, "UNet", pytest.fail)  # refused before anything is built
    save_file({"ema.a": torch.zeros(1)}, tmp_path / "m.safetensors", {"maskdiff_edu": about})
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_pretrained(tmp_path / "m.safetensors")


def test_a_huge_network_that_the_file_does_not_hold(tmp_path):
    """The largest that the limits let through: seen through without taking its memory."""
    huge = {"widths": [2048] * 6, "blocks": 8, "groups": 1, "time_width": 4096}
    metadata = {"maskdiff_edu": json.dumps({"unet": huge})}
    save_file({"ema.a": torch.zeros(1)}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(CheckpointError, match="another architecture"):
        load_pretrained(tmp_path / "m.safetensors")


def change_shape(tensors):
    tensors["ema.stem.weight"] = tensors["ema.stem.weight"][:4]


def leave_out(tensors):
    del tensors["ema.head.bias"]


def add_another(tensors):
    tensors["ema.extra"] = torch.zeros(2)


@pytest.mark.parametrize(
    "harm, named",
    [(change_shape, r"stem.weight should be \(8, 6, 3, 3\), is \(4, 6, 3, 3\)"),
     (leave_out, r"head.bias should be \(4,\), is absent"),
     (add_another, r"extra should be absent, is \(2,\)")],
)  # fmt: skip
def test_another_architecture(tmp_path, net, harm, named):
    tensors = averaged(net)
    harm(tensors)
    save_checkpoint(tmp_path / "m.safetensors", tensors, ABOUT)
    with pytest.raises(CheckpointError, match="another architecture.*1 differ: " + named):
        load_pretrained(tmp_path / "m.safetensors")


# Writing


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
