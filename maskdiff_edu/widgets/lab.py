"""The files that let a page run the shipped networks by itself, and where each of them goes.

`js/lab` holds small ES modules, a worker that runs ONNX Runtime Web, and a viewer of scans; the
models' own weights, their graphs and manifests lie in `data/models`. Nothing is stored twice: the
book's site, a classroom's zip and the tests take the files from where they are.
"""

import math
import shutil
from collections.abc import Iterable
from pathlib import Path

from maskdiff_edu.scans.grids import IN_PLANE
from maskdiff_edu.training.checkpoints import MODELS, available_models

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
