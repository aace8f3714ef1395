"""book/colab.ipynb with a Colab that the test plays: what its cells do there, and not elsewhere."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import pytest

from maskdiff_edu.brains import make_cohort
from maskdiff_edu.scans import write_subject
from maskdiff_edu.show.report import OUTPUTS

ROOT = Path(__file__).resolve().parent.parent
CELLS = [
    cell.source
    for cell in nbformat.read(ROOT / "book" / "colab.ipynb", as_version=4).cells
    if cell.cell_type == "code"
]


class Colab:
    """Stands in for `google.colab`: an upload, a Drive, a download."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uploads: dict[str, bytes] = {}
        self.downloaded: list[str] = []
        self.files = SimpleNamespace(upload=lambda: self.uploads, download=self.downloaded.append)
        self.drive = SimpleNamespace(mount=self.mount)

    def mount(self, where: str) -> None:
        Path(where, "MyDrive").mkdir(parents=True)


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Colab:
    played = Colab(tmp_path)
    package, module = ModuleType("google"), ModuleType("google.colab")
    package.__path__ = []
    module.files, module.drive = played.files, played.drive
    for name, thing in (("google", package), ("google.colab", module)):
        thing.__spec__ = ModuleSpec(name, loader=None)
        monkeypatch.setitem(sys.modules, name, thing)
    monkeypatch.chdir(tmp_path)
    return played


def run(folder: Path, **answers: Any) -> tuple[dict, list]:
    """Execute all cells with some settings changed; their names, and what was displayed."""
    shown: list = []
    names: dict[str, Any] = {"display": shown.append}
    changed = set()
    for source in CELLS:
        lines = source.replace("/content", str(folder / "content")).splitlines()
        for i, line in enumerate(lines):
            name = line.partition(" = ")[0]
            if "# @param" in line and name in answers:
                lines[i] = f"{name} = {answers[name]!r}"
                changed.add(name)
        exec(compile("\n".join(lines), "colab.ipynb", "exec"), names)
    assert changed == set(answers)
    return names, shown


def test_elsewhere_the_cells_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    switches = ("keep_in_drive", "ask_what_it_takes", "train", "upload", "download")
    _, shown = run(tmp_path, **dict.fromkeys(switches, True))
    assert list(tmp_path.iterdir()) == shown == []


def test_nothing_is_switched_on_at_first(colab: Colab) -> None:
    _, shown = run(colab.folder)
    assert list(colab.folder.iterdir()) == shown == colab.downloaded == []


def test_an_uploaded_scan_is_scored_into_the_drive(colab: Colab) -> None:
    patient = next(make_cohort("test", "tumour"))
    written = write_subject(patient.crop_slices(12), colab.folder / "patients")
    [scan] = written.glob("*_t2.nii.gz")
    colab.uploads = {"mine.nii.gz": scan.read_bytes()}
    _, shown = run(colab.folder, keep_in_drive=True, upload=True, model="intensity", download=True)
    results = colab.folder / "content" / "drive" / "MyDrive" / "maskdiff_edu"
    expected = set(OUTPUTS) - {"reconstruction.nii.gz"}  # brightness redraws nothing
    assert {path.name for path in (results / "mine").iterdir()} == expected
    assert len(shown) == 1
    [archive] = colab.downloaded
    assert Path(archive).is_file()


def test_a_training_goes_into_the_results(
    colab: Colab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from dataclasses import replace

    from maskdiff_edu import training

    short = replace(training.PRESETS["ipm"], steps=2, batch_size=2)
    monkeypatch.setitem(training.PRESETS, "ipm", short)
    monkeypatch.setattr(training, "N_SUBJECTS", 1)
    monkeypatch.setenv("MASKDIFF_CACHE", str(colab.folder / "cache"))
    run(colab.folder, preset="ipm", train=True)
    assert (colab.folder / "results" / "ipm" / "model.safetensors").is_file()
    assert "computing on" in capsys.readouterr().out
