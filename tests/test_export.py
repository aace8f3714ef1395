"""A network as ONNX: the same answers as PyTorch, refused where it is not, bytes that repeat."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from maskdiff_edu.cli import app
from maskdiff_edu.detection import build_method, export
from maskdiff_edu.detection.export import export_model, exported_names
from maskdiff_edu.diffusion import UNet, UNetConfig
from maskdiff_edu.errors import Error, SettingsError
from maskdiff_edu.training import PRESETS, available_models, load_pretrained, make_schedule
from maskdiff_edu.training.checkpoints import MODELS, save_checkpoint, save_model

TINY = UNetConfig((8, 8), 1, 4, True, True, 8, 4)
SHIPPED = available_models()


def network() -> UNet:
    torch.manual_seed(0)
    made = UNet(TINY)
    for name in ("weight", "bias"):
        torch.nn.init.normal_(getattr(made.head, name), std=0.1)
    return made.eval()


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is refused before any of them is used."""
    monkeypatch.setattr(export, "find_spec", lambda name: True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that nobody trained, with a card."""
    path = tmp_path_factory.mktemp("model") / "fresh.safetensors"
    detector = {"t": [120, 240], "draws": 1, "threshold": 0.25}
    save_model(
        path, network(), {"train": dataclasses.asdict(PRESETS["fpm-cm"]), "detector": detector}
    )
    return path


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in export.NEEDED:
        pytest.importorskip(package, reason=f"needs {package}, of the extra 'export'")
    out = tmp_path_factory.mktemp("exported")
    export_model(weights, out)
    return out


def answers(graph: Path, x_t: torch.Tensor, t: torch.Tensor) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra 'export'")
    session = runtime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return session.run(None, {"x_t": x_t.numpy(), "t": t.numpy()})[0]


def noised(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 96, 96, generator=generator), torch.arange(n) * 40 + 100


# ---- What is refused


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else True)
    done = CliRunner().invoke(app, ["export", "fpm-cm", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert 'found no onnx; install them with: pip install "maskdiff_edu[export]"' in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["intensity", "intensity-equalised"])
def test_baselines_have_no_network(packages: None, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="expected a model with a network"):
        export_model(name, tmp_path / "out")


@pytest.mark.parametrize("preset", ["pddpm", "riad", "itermask-lite"])
def test_networks_asked_about_parts_are_refused(
    packages: None, tmp_path: Path, preset: str
) -> None:
    path = tmp_path / "parts.safetensors"
    save_model(path, network(), {"train": dataclasses.asdict(PRESETS[preset])})
    with pytest.raises(SettingsError, match="asked about parts"):
        export_model(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_older_files_are_kept_unless_asked(packages: None, tmp_path: Path) -> None:
    (tmp_path / "fpm-cm.onnx").write_text("mine")
    with pytest.raises(Error, match=r"fpm-cm\.onnx: expected no such file yet"):
        export_model("fpm-cm", tmp_path)


# ---- What is written


@pytest.mark.slow
def test_graph_answers_as_pytorch_does_for_any_batch(exported: Path) -> None:
    model = network()
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    for n in (1, 3, 7):
        x_t, t = noised(n)
        found = answers(exported / "fresh.onnx", x_t, t)
        np.testing.assert_allclose(found, model(x_t, t).detach().numpy(), atol=1e-5)
        assert np.abs(found).max() > 0.1


@pytest.mark.slow
def test_weights_are_the_models_own_file(exported: Path, weights: Path) -> None:
    assert (exported / "fresh.safetensors").read_bytes() == weights.read_bytes()
    assert (exported / "fresh.onnx").stat().st_size < 100_000


@pytest.mark.slow
def test_manifest_tells_checksums_schedule_and_settings(exported: Path, weights: Path) -> None:
    about = json.loads((exported / "fresh.manifest.json").read_text())
    for part in ("graph", "weights"):
        content = (exported / about[part]["file"]).read_bytes()
        assert about[part]["bytes"] == len(content)
        assert about[part]["sha256"] == hashlib.sha256(content).hexdigest()
    expected = make_schedule(PRESETS["fpm-cm"]).alphas_bar.double()
    torch.testing.assert_close(torch.tensor(about["schedule"]["alphas_bar"]).double(), expected)
    assert about["detector"] == {**build_method(weights).settings.as_json(), "t": [120, 240]}
    told = {name: about[name] for name in ("name", "answers", "noise", "threshold")}
    assert told == {"name": "fresh", "answers": "x_0", "noise": "fractal", "threshold": 0.25}
    assert about["agreement"]["largest_difference"] < 1e-4


@pytest.mark.slow
def test_same_network_gives_the_same_graph_and_no_path(
    exported: Path, weights: Path, tmp_path: Path
) -> None:
    export_model(weights, tmp_path / "again")
    for name in exported_names("fresh"):
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()
    graph = (exported / "fresh.onnx").read_bytes()
    assert not re.search(rb"maskdiff_edu/|site-packages|\.py\b", graph)


@pytest.mark.slow
def test_float32_where_float16_is_not_near_enough_and_nothing_where_neither_is(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training's checkpoint holds float32, which float16 rounds."""
    path = tmp_path / "checkpoint.safetensors"
    tensors = {f"ema.{name}": tensor for name, tensor in network().state_dict().items()}
    about = {"unet": dataclasses.asdict(TINY), "train": dataclasses.asdict(PRESETS["ddpm"])}
    save_checkpoint(path, tensors, about)
    monkeypatch.setattr(export, "TOLERANCE", 1e-5)
    assert export_model(path, tmp_path / "out").weights == "float32"
    x_t, t = noised(2)
    found = answers(tmp_path / "out" / "checkpoint.onnx", x_t, t)
    np.testing.assert_allclose(found, network()(x_t, t).detach().numpy(), atol=1e-5)
    monkeypatch.setattr(export, "TOLERANCE", 1e-12)
    with pytest.raises(Error, match=r"within 1e-12 of PyTorch.*nothing was written"):
        export_model(path, tmp_path / "none")
    assert not (tmp_path / "none").exists()


# ---- What ships


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_manifest_is_that_of_the_shipped_model(name: str) -> None:
    """If not, run data_scripts/build_graphs.py."""
    graph, weights, manifest = (MODELS / file for file in exported_names(name))
    about = json.loads(manifest.read_text(encoding="utf-8"))
    for part, path in (("graph", graph), ("weights", weights)):
        assert about[part]["file"] == path.name
        assert about[part]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    method = build_method(name)
    assert about["detector"] == json.loads(json.dumps(method.settings.as_json()))
    assert about["threshold"] == method.threshold


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_graph_answers_as_the_shipped_network(name: str) -> None:
    model, _ = load_pretrained(name)
    x_t, t = noised(4)
    found = answers(MODELS / f"{name}.onnx", x_t, t)
    np.testing.assert_allclose(found, model(x_t, t).numpy(), atol=1e-4)
