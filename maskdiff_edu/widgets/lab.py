"""The files that let a page run the shipped networks by itself, and where each of them goes.

`js/lab` holds small ES modules and a worker that runs ONNX Runtime Web; the models' own weights,
their graphs and manifests lie in `data/models`. Nothing is stored twice: the book's site, a
classroom's zip and the tests take the files from where they are.
"""

import math
import shutil
from pathlib import Path

from maskdiff_edu.training.checkpoints import MODELS, available_models

SIDE = 96  #: of the slices that the shipped graphs take, pixels
_SCRIPTS = Path(__file__).parent / "js"


def lab_files() -> dict[str, Path]:
    """Every file of the lab: where it goes, below one folder of a site -> where it lies.

    >>> "models/fpm-cm.onnx" in lab_files()
    True
    """
    scripts = [_SCRIPTS / "maths.js", *(p for p in (_SCRIPTS / "lab").rglob("*") if p.is_file())]
    models = [
        MODELS / f"{name}.{kind}"
        for name in available_models()
        for kind in ("manifest.json", "onnx", "safetensors")
    ]
    return {
        **{path.relative_to(_SCRIPTS).as_posix(): path for path in sorted(scripts)},
        **{f"models/{path.name}": path for path in models},
    }


def megabytes(name: str) -> int:
    """What a page loads before a model answers for the first time, rounded up.

    >>> megabytes("fpm-cm")
    7
    """
    files = lab_files()
    needed = [path for target, path in files.items() if target.endswith((".js", ".packed"))]
    needed += [path for target, path in files.items() if target.startswith(f"models/{name}.")]
    return math.ceil(sum(path.stat().st_size for path in needed) / 1e6)


def copy_lab(folder: Path) -> None:
    """Put all of them into a folder, of a site that is being built."""
    for name, path in lab_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
