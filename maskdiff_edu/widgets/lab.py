"""The files that let a page run the shipped networks by itself, and where each of them goes.

`js/lab` holds small ES modules, a worker that runs ONNX Runtime Web, and a viewer of scans; the
models' own weights, their graphs and manifests lie in `data/models`. Nothing is stored twice: the
book's site, a classroom's zip and the tests take the files from where they are.
"""

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from maskdiff_edu.scans.grids import IN_PLANE
from maskdiff_edu.training.checkpoints import MODELS, available_models
from maskdiff_edu.widgets.base import Figure

SIDE = IN_PLANE  #: of the slices that the shipped graphs take, pixels
FOLDER = "_static/maskdiff"  #: of a site, where `book/_static/widgets/paths.js` says they are
OFFLINE = "offline.js"
_SCRIPTS = Path(__file__).parent / "js"


def script_files() -> dict[str, Path]:
    """The modules and the engine: where each goes, below one folder of a site -> where it lies."""
    folders = (_SCRIPTS / "lab", _SCRIPTS / "lab" / "ort")
    found = [_SCRIPTS / "maths.js", *(path for folder in folders for path in folder.iterdir())]
    return _placed(p for p in found if p.suffix in (".js", ".packed") and p.name != OFFLINE)


def viewer_files() -> dict[str, Path]:
    """The same of NiiVue, which shows scans: loaded only where a reader gave one.

    >>> list(viewer_files())
    ['lab/niivue/niivue.packed']
    """
    return _placed((_SCRIPTS / "lab" / "niivue").glob("*.packed"))


def _placed(paths: Iterable[Path]) -> dict[str, Path]:
    return {path.relative_to(_SCRIPTS).as_posix(): path for path in sorted(paths)}


def model_files(name: str) -> dict[str, Path]:
    """The same of a shipped model.

    >>> list(model_files("fpm-cm"))[0]
    'models/fpm-cm.manifest.json'
    """
    files = (MODELS / f"{name}.{kind}" for kind in ("manifest.json", "onnx", "safetensors"))
    return {f"models/{path.name}": path for path in files}


def lab_files() -> dict[str, Path]:
    """All of them, with the licences of what others wrote."""
    files = _placed((_SCRIPTS / "lab").glob("*/*"))
    for name in available_models():
        files |= model_files(name)
    return files | script_files()


def megabytes(name: str) -> int:
    """What a page loads before a model answers for the first time, rounded up.

    >>> megabytes("fpm-cm")
    7
    """
    needed = [*script_files().values(), *model_files(name).values()]
    return math.ceil(sum(path.stat().st_size for path in needed) / 1e6)


def copy_lab(site: Path) -> None:
    """Put all of them where the pages of a site expect them, and the offline worker at its root."""
    for name, path in lab_files().items():
        copy = site / FOLDER / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    shutil.copyfile(_SCRIPTS / "lab" / OFFLINE, site / OFFLINE)


class LabFigure(Figure):
    """A figure whose networks run in the page: `spec["models"]` are those that it may ask for.

    On a site the files lie there. A notebook's page asks the kernel for them: for the scripts
    first, and for the rest when it is needed.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.on_msg(self._answer)

    def files(self, of: str) -> dict[str, Path]:
        """What "scripts", "viewer" or a model's name stand for; nothing for another name."""
        if of in self.spec["models"]:
            return model_files(of)
        return {"scripts": script_files, "viewer": viewer_files}.get(of, dict)()

    def _answer(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        of = str(message.get("of"))
        files = self.files(of) if message.get("ask") == "files" else {}
        if files:
            contents = [path.read_bytes() for path in files.values()]
            self.send({"tell": "files", "of": of, "names": list(files)}, buffers=contents)


def require_models(models: Sequence[str]) -> None:
    """Raise ValueError unless these are names of shipped models, one at least."""
    if not models or set(models) - set(available_models()):
        raise ValueError(f"models: expected some of {available_models()}, got {list(models)}")
