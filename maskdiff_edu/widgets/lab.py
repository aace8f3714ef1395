"""The files that let a page run the shipped networks by itself, and where each of them goes.

`js/lab` holds small ES modules and a worker that runs ONNX Runtime Web; the models' own weights,
their graphs and manifests lie in `data/models`. Nothing is stored twice: the book's site, a
classroom's zip and the tests take the files from where they are.
"""

import math
import shutil
from pathlib import Path

from maskdiff_edu.scans.grids import IN_PLANE
from maskdiff_edu.training.checkpoints import MODELS, available_models

SIDE = IN_PLANE  #: of the slices that the shipped graphs take, pixels
FOLDER = "_static/maskdiff"  #: of a site, where `book/_static/widgets/paths.js` says they are
OFFLINE = "offline.js"
_SCRIPTS = Path(__file__).parent / "js"


def script_files() -> dict[str, Path]:
    """The modules and the engine: where each goes, below one folder of a site -> where it lies."""
    found = [_SCRIPTS / "maths.js", *(p for p in (_SCRIPTS / "lab").rglob("*") if p.is_file())]
    used = [p for p in sorted(found) if p.suffix in (".js", ".packed") and p.name != OFFLINE]
    return {path.relative_to(_SCRIPTS).as_posix(): path for path in used}


def model_files(name: str) -> dict[str, Path]:
    """The same of a shipped model.

    >>> list(model_files("fpm-cm"))[0]
    'models/fpm-cm.manifest.json'
    """
    files = (MODELS / f"{name}.{kind}" for kind in ("manifest.json", "onnx", "safetensors"))
    return {f"models/{path.name}": path for path in files}


def lab_files() -> dict[str, Path]:
    """All of them, with the licences of what others wrote."""
    licences = [path for path in (_SCRIPTS / "lab" / "ort").iterdir() if path.suffix != ".js"]
    files = {path.relative_to(_SCRIPTS).as_posix(): path for path in sorted(licences)}
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
