"""Plain values as bytes: all that passes between a grader and the process of a submission.

Numbers, texts, lists, tuples, dictionaries with texts as keys, NumPy arrays, tensors, and random
generators by their states; nothing that could run when it is read, and no object whose comparison
somebody else wrote.
"""

import json
import math
import socket
import struct
import time
from typing import Any

import numpy as np
import torch

from maskdiff_edu.errors import Error

MAX_BYTES = 64 * 2**20  #: of one message
MAX_TEXT_BYTES = 8 * 2**20  #: of all but its arrays; lists take twenty times as much in memory
MAX_DEPTH = 20  #: of lists in lists
_KINDS = "biufc"  # of NumPy's dtypes: booleans, integers, floats, complex numbers


class WireError(Error):
    """A value that may not pass, or bytes that are none."""


def encode(value: Any) -> bytes:
    """Return a plain value as bytes.

    Raises: WireError for a value of another kind, or one larger than `MAX_BYTES`.

    >>> decode(encode({"t": [1, 2.5], "x": np.eye(2)}))["x"].shape
    (2, 2)
    """
    parts: list[bytes] = []
    header = json.dumps(_as_json(value, parts, MAX_DEPTH)).encode()
    _require_short(len(header))
    data = b"".join([struct.pack("<Q", len(header)), header, *parts])
    if len(data) > MAX_BYTES:
        raise WireError(f"expected at most {MAX_BYTES // 2**20} MB, got {len(data) // 2**20}")
    return data


def decode(data: bytes) -> Any:
    """Return the value that `encode` made into `data`. Raises: WireError for anything else."""
    try:
        [length] = struct.unpack_from("<Q", data)
        _require_short(length)
        tree = json.loads(data[8 : 8 + length])
        return _from_json(tree, memoryview(data)[8 + length :], MAX_DEPTH)
    except WireError:
        raise
    except (ValueError, TypeError, LookupError, RuntimeError, struct.error) as error:
        raise WireError(f"expected a plain value, got bytes that are none ({error})") from error


def _require_short(length: int) -> None:
    if length > MAX_TEXT_BYTES:
        raise WireError(
            f"expected at most {MAX_TEXT_BYTES // 2**20} MB of lists and texts, got "
            f"{length / 2**20:.0f}: arrays may be larger"
        )


def send(connection: socket.socket, value: Any) -> None:
    """Send one value, as its length and its bytes."""
    data = encode(value)
    connection.sendall(struct.pack("<Q", len(data)) + data)


def receive(connection: socket.socket, seconds: float | None = None) -> Any:
    """Wait for one value.

    Raises: TimeoutError after `seconds`; EOFError if the other side is gone; WireError.
    """
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    [length] = struct.unpack("<Q", _exactly(connection, 8, deadline))
    if length > MAX_BYTES:
        raise WireError(f"expected at most {MAX_BYTES // 2**20} MB, got {length / 2**20:.0f}")
    return decode(_exactly(connection, length, deadline))


def _exactly(connection: socket.socket, n: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < n:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(None if math.isinf(left) else left)
        part = connection.recv(min(n - len(data), 2**20))
        if not part:
            raise EOFError("the process has ended")
        data += part
    return bytes(data)


def _as_json(value: Any, parts: list[bytes], depth: int) -> Any:
    """Exact types only: a subclass may compare as it likes."""
    kind = type(value)
    if depth == 0:
        raise WireError(f"expected lists in at most {MAX_DEPTH} lists")
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind in (list, tuple):
        return {kind.__name__: [_as_json(item, parts, depth - 1) for item in value]}
    if kind is dict and all(type(key) is str for key in value):
        return {"dict": [[k, _as_json(item, parts, depth - 1)] for k, item in value.items()]}
    if isinstance(value, np.generic) and value.dtype.kind in _KINDS:
        return (
            _as_json(value.item(), parts, depth)
            if value.dtype.kind != "c"
            else _array("numpy", np.asarray(value), parts)
        )
    if kind is np.ndarray and value.dtype.kind in _KINDS:
        return _array("numpy", value, parts)
    if kind is np.random.Generator and type(value.bit_generator) is np.random.PCG64:
        return {"generator": value.bit_generator.state}
    if kind is torch.Generator:
        return {"torch generator": _array("torch", value.get_state().numpy(), parts)}
    if kind in (torch.Tensor, torch.nn.Parameter):
        return _array("torch", value.detach().resolve_conj().resolve_neg().cpu().numpy(), parts)
    raise WireError(
        f"expected numbers, texts, arrays, tensors, lists or dictionaries, got {kind.__name__}"
    )


def _array(kind: str, array: np.ndarray, parts: list[bytes]) -> Any:
    start = sum(map(len, parts))
    parts.append(array.tobytes())
    return {"array": [kind, array.dtype.newbyteorder("=").str, list(array.shape), start]}


def _from_json(tree: Any, rest: memoryview, depth: int) -> Any:
    if depth == 0:
        raise WireError(f"expected lists in at most {MAX_DEPTH} lists")
    if not isinstance(tree, dict):
        if tree is None or isinstance(tree, (bool, int, float, str)):
            return tree
        raise WireError("expected a plain value, got a bare list")
    [(kind, content)] = tree.items()
    if kind == "float":
        return float(content)
    if kind == "list":
        return [_from_json(item, rest, depth - 1) for item in content]
    if kind == "tuple":
        return tuple(_from_json(item, rest, depth - 1) for item in content)
    if kind == "dict":
        return {str(k): _from_json(item, rest, depth - 1) for k, item in content}
    if kind == "generator":
        generator = np.random.default_rng(0)
        generator.bit_generator.state = content
        return generator
    if kind == "torch generator":
        state = _from_json(content, rest, depth - 1)
        return torch.Generator().set_state(state)
    if kind == "array":
        where, text, shape, start = content
        dtype = np.dtype(text)
        if dtype.kind not in _KINDS or start < 0 or any(n < 0 for n in shape):
            raise WireError(f"expected an array of numbers, got {text!r} of shape {shape}")
        array = np.frombuffer(rest, dtype, math.prod(shape), start).reshape(shape).copy()
        return torch.from_numpy(array) if where == "torch" else array
    raise WireError(f"expected a plain value, got one called {kind!r}")
