"""A trained network as files that other programs run: an ONNX graph, its weights, a manifest.

Three files lie side by side. NAME.onnx is the graph alone, some 60 KB: its weights are ONNX
"external data", which points into NAME.safetensors, the house's own format. So no weight is stored
twice: a model that ships brings its weights file already, and only the graph has to join it.
NAME.manifest.json says what a program needs to know, with checksums of the other two.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
import warnings
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.detection.detectors import MaskedDDPM
from maskdiff_edu.detection.models import Method, build_method, weights_path
from maskdiff_edu.diffusion import Schedule, UNet, fractal_noise
from maskdiff_edu.diffusion.sampling import add_noise
from maskdiff_edu.diffusion.schedule import cosine_betas, linear_betas
from maskdiff_edu.errors import Error, SettingsError
from maskdiff_edu.files import require_writable, whole_folder, write_atomic
from maskdiff_edu.scans import to_slices
from maskdiff_edu.scans.grids import IN_PLANE
from maskdiff_edu.training import TrainConfig, load_pretrained
from maskdiff_edu.training.checkpoints import AVERAGE, checkpoint_bytes

NEEDED = ("onnx", "onnxscript", "onnxruntime")  #: packages of the extra "export"
TOLERANCE = 1e-3  #: largest difference from PyTorch, on a scale of -1 to 1
SIDE = IN_PLANE  #: of the slices that the graph takes, pixels
CHECKED_SLICES = 20  #: of a synthetic patient, by which the files are compared with PyTorch
FORMAT = 1  #: of the manifest
OPSET = 18
WEIGHTS = {"float16": "F16", "float32": "F32"}  #: types to try, and what safetensors calls them


@dataclass(frozen=True)
class Exported:
    """What was written, and how near it is to the network that it was made from."""

    files: tuple[Path, ...]  #: graph, weights, manifest
    weights: str  #: float16 or float32
    largest_difference: float  #: from PyTorch, over all pixels of `CHECKED_SLICES` slices


def exported_names(name: str) -> tuple[str, str, str]:
    """The files of a model: graph, weights, manifest.

    >>> exported_names("fpm-cm")
    ('fpm-cm.onnx', 'fpm-cm.safetensors', 'fpm-cm.manifest.json')
    """
    return f"{name}.onnx", f"{name}.safetensors", f"{name}.manifest.json"


def export_model(name_or_file: str | Path, out: Path, *, overwrite: bool = False) -> Exported:
    """Write a network as ONNX, compare it with PyTorch on real slices, and only then keep it.

    The graph takes `x_t` (b, 1, 96, 96) float32 and `t` (b,) int64, any b, and gives `answer`, of
    x_t's shape. Weights are float16 where every pixel stays within `TOLERANCE` of PyTorch, else
    float32.

    Raises: `Error` without the packages of the extra, where the files disagree with PyTorch, or
    where they cannot be written; `CheckpointError` for a model that cannot be used;
    `SettingsError` for one without a network, or with one that is asked about parts of a slice.
    """
    _require_packages()
    source = weights_path(name_or_file)
    names = exported_names(source.stem)
    require_writable(out, names, overwrite=overwrite)
    method, detector = _load(name_or_file)
    model, stored = load_pretrained(name_or_file)
    traced = _trace(model)
    x_t, t = _slices_to_check(detector)
    with torch.no_grad():
        expected = model(x_t, t)
    with whole_folder(out, names, overwrite=overwrite) as folder:
        graph, weights, manifest = (folder / name for name in names)
        for kind in WEIGHTS:
            write_atomic(weights, _stored_as(kind, source, model))
            write_atomic(graph, _point_into(traced, weights))
            apart = _largest_difference(graph, x_t, t, expected)
            if apart <= TOLERANCE:
                break
        else:
            raise Error(
                f"{source.stem}: expected the exported network within {TOLERANCE} of PyTorch, got "
                f"a difference of {apart:.2g} with {kind} weights too; nothing was written"
            )
        about = {
            **_describe(method, TrainConfig.from_json(stored["train"])),
            "graph": _file_entry(graph),
            "weights": {**_file_entry(weights), "type": kind},
            # One digit: the rest is another one on another machine.
            "agreement": {"slices": len(x_t), "largest_difference": float(f"{apart:.0e}")},
        }
        write_atomic(manifest, json.dumps(about, indent=1).encode())
    return Exported(tuple(out / name for name in names), kind, apart)


def _require_packages() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise Error(
            f"export: expected the packages {', '.join(NEEDED)}, found no {', no '.join(missing)}; "
            'install them with: pip install "maskdiff_edu[export]"'
        )


def _load(name_or_file: str | Path) -> tuple[Method, MaskedDDPM]:
    """The model's method and its detector; refuses what one graph for whole slices cannot do."""
    method = build_method(name_or_file, device="cpu")
    detector = method.detector
    if not isinstance(detector, MaskedDDPM):
        raise SettingsError(f"{name_or_file}: expected a model with a network, got a baseline")
    if detector.ask is not None:
        raise SettingsError(
            f"{name_or_file}: expected a network that is asked about whole slices, got one that is "
            f"asked about parts ({type(detector.ask).__name__}), which one graph cannot do"
        )
    return method, detector


def _onnx() -> ModuleType:
    import onnx  # an optional package, and slow to load

    return onnx


def _trace(model: UNet) -> Any:
    """The network as an `onnx.ModelProto` with float32 weights under their PyTorch names.

    `Dim.DYNAMIC` and not a named dimension: with the latter torch 2.13 quietly fixes the batch at
    the traced one. Notes about source files are dropped, so that the same network gives the same
    bytes on every machine.
    """
    batch = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # torchvision is not missed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 1, SIDE, SIDE), torch.tensor([1, 2])),
            dynamo=True,
            dynamic_shapes=({0: batch}, {0: batch}),
            input_names=["x_t", "t"],
            output_names=["answer"],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise Error("export: expected a graph from torch.onnx.export, got none")
    proto = program.model_proto
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return proto


def _stored_as(kind: str, source: Path, model: UNet) -> bytes:
    """The weights as a model file of the house; the very file of the model, if it is of that kind.

    So a shipped model's own file goes with its graph.
    """
    places, _ = _read_places(source.read_bytes())
    tensors = {name: place for name, place in places.items() if name != "__metadata__"}
    if all(n.startswith(AVERAGE) and p["dtype"] == WEIGHTS[kind] for n, p in tensors.items()):
        return source.read_bytes()
    dtype = getattr(torch, kind)
    weights = {AVERAGE + name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    return checkpoint_bytes(weights, {"unet": asdict(model.config)})


def _point_into(traced: Any, weights: Path) -> bytes:
    """The graph whose weights are places in a safetensors file; float16 ones are cast first."""
    onnx = _onnx()
    proto = onnx.ModelProto()
    proto.CopyFrom(traced)
    places, start = _read_places(weights.read_bytes())
    casts = []
    for tensor in proto.graph.initializer:
        place = places.get(AVERAGE + tensor.name)
        if place is None:
            continue  # a constant of the graph's own, such as the network's coordinates
        if [*tensor.dims] != place["shape"]:
            raise Error(f"export: expected {tensor.name} as {place['shape']}, got {[*tensor.dims]}")
        if place["dtype"] == "F16":
            name, tensor.name = tensor.name, f"{tensor.name}.float16"
            tensor.data_type = onnx.TensorProto.FLOAT16
            cast = onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
            casts.append(cast)
        first, end = place["data_offsets"]
        _set_external(tensor, weights.name, start + first, end - first)
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto.SerializeToString(deterministic=True)


def _read_places(content: bytes) -> tuple[dict[str, Any], int]:
    """Where each tensor lies in a safetensors file, and the byte at which the numbers begin."""
    [length] = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), 8 + length


def _set_external(tensor: Any, location: str, offset: int, length: int) -> None:
    """Let a tensor lie in another file: ONNX's external data."""
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = _onnx().TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _slices_to_check(detector: MaskedDDPM) -> tuple[Tensor, Tensor]:
    """Noised slices of a synthetic patient, each at one of the times that the card names.

    Returns x_t (n, 1, 96, 96) and t (n,). Nobody's threshold was chosen on this patient.
    """
    [seed] = cohort_seeds("train", "tumour", 1)
    images = to_slices(make_member(seed, "tumour")).images
    middle = (len(images) - CHECKED_SLICES) // 2
    x_0 = images[middle : middle + CHECKED_SLICES]
    times = torch.tensor(detector.settings.times)
    t = times.repeat(CHECKED_SLICES)[: len(x_0)]
    eps = fractal_noise(tuple(x_0.shape), generator=torch.Generator().manual_seed(0))
    return add_noise(x_0, t, eps, detector.schedule), t


def _largest_difference(graph: Path, x_t: Tensor, t: Tensor, expected: Tensor) -> float:
    """Between ONNX Runtime's answers and PyTorch's, over all pixels; one slice and all at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    apart = []
    for n in (1, len(x_t)):  # neither is the batch that was traced
        [answer] = session.run(None, {"x_t": x_t[:n].numpy(), "t": t[:n].numpy()})
        apart.append(np.abs(answer - expected[:n].numpy()).max())
    return float(np.max(apart))  # NaN, if there is one, which is within no tolerance


def _describe(method: Method, config: TrainConfig) -> dict[str, Any]:
    """What a program has to know to use the network as its card says."""
    betas = {"cosine": cosine_betas, "linear": linear_betas}[config.schedule](config.T)
    schedule = Schedule(betas, torch.float64)
    return {
        "format": FORMAT,
        "name": weights_path(method.source).stem,
        "method": method.name,
        "inputs": {"x_t": ["b", 1, SIDE, SIDE], "t": ["b"]},
        "output": {"answer": ["b", 1, SIDE, SIDE]},
        "answers": config.prediction,
        "noise": config.noise,
        "trained_t": [config.t_min, config.t_max],
        "schedule": {"T": config.T, "alphas_bar": schedule.alphas_bar.tolist()},
        "detector": method.settings.as_json(),
        "threshold": method.threshold,
    }


def _file_entry(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "file": path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
