"""Weights to disk and back: safetensors for the numbers, JSON for the rest, nothing unpickled.

One file format for both uses. A *training checkpoint* holds the weights ("model."), their running
average ("ema.") and the optimiser's state ("optimizer."). A *model*, as shipped, holds only the
average, in float16. Either way the file's header carries the network's shape, so that it can be
checked before anything is built, and a checksum of all that the file says.
"""

import dataclasses
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from maskdiff_edu.diffusion import UNet, UNetConfig
from maskdiff_edu.diffusion.autoencoder import make_network
from maskdiff_edu.errors import CheckpointError
from maskdiff_edu.files import read_json, write_atomic

MODELS = Path(__file__).parent.parent / "data" / "models"
AVERAGE = "ema."  #: prefix of the averaged weights, the ones to use
_LARGEST_HEADER = 8 * 2**20  # bytes; ours have some thousand
_FLOATS = ("F16", "BF16", "F32")  # what weights may be stored as


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and what is to be known about them (plain JSON) as one safetensors file.

    `about["unet"]` is the network's `UNetConfig` as a dict; names of averaged weights begin with
    "ema.". The file appears whole or not at all. Raises OSError where it cannot be written.
    """
    write_atomic(path, checkpoint_bytes(tensors, about))


def checkpoint_bytes(tensors: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
    """What `save_checkpoint` writes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(about)
    metadata = {"maskdiff_edu": text, "checksum": checksum(plain, text)}
    return save(plain, metadata=metadata)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `save_checkpoint` wrote: (tensors on the CPU, about).

    Raises CheckpointError, naming the file, if it is missing, damaged, not such a file, or if its
    averaged weights are not those of the network that it describes.
    """
    path = Path(path)
    _check_header_size(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            metadata = file.metadata() or {}
            about = _read_about(path, metadata)
            _check_weights(path, {name: file.get_slice(name) for name in names}, about)
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or not a safetensors file ({error})") from error
    stated, found = metadata.get("checksum"), checksum(tensors, metadata["maskdiff_edu"])
    if stated != found:
        raise CheckpointError(
            f"{path}: damaged, its content adds up to {found}, its checksum says {stated}"
        )
    return tensors, about


def save_model(path: str | Path, model: UNet, card: dict[str, Any]) -> None:
    """Write a model for use: float16 weights to `path` (.safetensors), `card` beside it as JSON.

    The card gains "unet", the network's shape. float16 keeps 3 digits of a weight. Raises OSError
    where they cannot be written.
    """
    path = Path(path)
    card = {**card, "unet": dataclasses.asdict(model.config)}
    weights = {AVERAGE + name: tensor.half() for name, tensor in model.state_dict().items()}
    save_checkpoint(path, weights, {"unet": card["unet"]})
    write_atomic(path.with_suffix(".json"), json.dumps(card, indent=1).encode())


def load_pretrained(
    name_or_file: str | Path, device: str | torch.device = "cpu"
) -> tuple[UNet, dict[str, Any]]:
    """A trained network, ready to use, and its card.

    A shipped model's name (see `available_models`), or a file: a model, or a training checkpoint
    (its averaged weights are taken). The card is the JSON file beside it; without one, what the
    file's header tells. Weights are float32. Raises CheckpointError.

    >>> model, card = load_pretrained("fpm-cm")
    >>> model(torch.zeros(2, 1, 96, 96), torch.tensor([150, 150])).shape
    torch.Size([2, 1, 96, 96])
    """
    path = _find(name_or_file)
    model, about = load_model(path)
    return model.to(device), _read_card(path.with_suffix(".json")) or about


def load_model(path: str | Path) -> tuple[UNet, dict[str, Any]]:
    """The averaged network of one file, and what the file itself tells about it.

    Weights are float32 on the CPU. Raises CheckpointError.
    """
    tensors, about = load_checkpoint(path)
    model = make_network(unet_config(path, about))
    weights = {name.removeprefix(AVERAGE): tensor.float() for name, tensor in tensors.items()
               if name.startswith(AVERAGE)}  # fmt: skip
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise CheckpointError(f"{path}: expected finite weights, got NaN or infinity")
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval(), about


def checksum(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """CRC-32 of tensors with their names, types and shapes, and of a text, as 8 hex digits.

    It tells accidental damage, not a forgery.

    >>> checksum({"weight": torch.zeros(3)}) == checksum({"weight": torch.zeros(3, 1)})
    False
    """
    kinds = [f"{name} {tensors[name].dtype} {[*tensors[name].shape]}" for name in sorted(tensors)]
    return f"{zlib.crc32(json.dumps([text, *kinds]).encode(), _crc_of_numbers(tensors)):08x}"


def _crc_of_numbers(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of all bytes in the order of the names."""
    crc = 0
    for name in sorted(tensors):
        plain = tensors[name].detach().cpu().contiguous().reshape(-1)
        crc = zlib.crc32(plain.view(torch.uint8).numpy().data, crc)
    return crc


def available_models() -> list[str]:
    """Names of the models that come with the package.

    >>> "fpm-cm" in available_models()
    True
    """
    return sorted(path.stem for path in MODELS.glob("*.safetensors"))


def unet_config(path: str | Path, about: dict[str, Any]) -> UNetConfig:
    """The network's shape that a checkpoint's `about` states. Raises CheckpointError."""
    try:
        return UNetConfig(**about["unet"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: describes no network one can build ({error})") from error


def _find(name_or_file: str | Path) -> Path:
    """The file that is meant: an existing one, else the shipped model of that name."""
    path = Path(name_or_file)
    if path.is_file():
        return path
    name = str(name_or_file)
    if name in available_models():  # so no "../x" leads out of the package
        return MODELS / f"{name}.safetensors"
    raise CheckpointError(
        f"{name}: expected a weights file (.safetensors) or one of the models "
        f"{', '.join(available_models()) or '(none shipped)'}; there is no such file"
    )


def _check_header_size(path: Path) -> None:
    """Refuse a file that is no safetensors file, or whose header claims to be huge."""
    try:
        if not path.is_file() and path.exists():  # a pipe would keep us waiting for ever
            raise CheckpointError(f"{path}: cannot be read (not a file)")
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(size - 8, _LARGEST_HEADER):
        pickled = start.startswith((b"PK", b"\x80"))
        hint = "; it looks like a pickle, which is never opened here" if pickled else ""
        raise CheckpointError(f"{path}: damaged or not a safetensors file{hint}")


def _read_about(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        about = json.loads(metadata["maskdiff_edu"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: weights, but not ones that maskdiff_edu wrote") from error
    if not isinstance(about, dict):
        raise CheckpointError(f"{path}: expected its description to be a JSON object")
    return about


def _read_card(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        card = read_json(path, _LARGEST_HEADER)
    except ValueError as error:
        raise CheckpointError(f"{path}: the card is not readable JSON ({error})") from error
    if not isinstance(card, dict):
        raise CheckpointError(f"{path}: expected the card to be a JSON object")
    return card


def _check_weights(path: Path, slices: Mapping[str, Any], about: dict[str, Any]) -> None:
    """Compare names, shapes and types with the network's, built without memory (meta device)."""
    with torch.device("meta"):
        states = make_network(unet_config(path, about)).state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in states.items()}
    weights = {name.removeprefix(AVERAGE): stored for name, stored in slices.items()
               if name.startswith(AVERAGE)}  # fmt: skip
    found = {name: tuple(stored.get_shape()) for name, stored in weights.items()}
    wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{path}: weights of another architecture than it states, {len(wrong)} differ: "
            f"{name} should be {expected.get(name, 'absent')}, is {found.get(name, 'absent')}"
        )
    for name, stored in weights.items():
        if stored.get_dtype() not in _FLOATS:
            raise CheckpointError(f"{path}: expected {name} as one of {', '.join(_FLOATS)}, got "
                                  f"{stored.get_dtype()}")  # fmt: skip
