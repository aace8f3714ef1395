"""Masked denoising diffusion for unsupervised anomaly detection in brain MRI.

Train on healthy brains while parts of them are hidden, let the network redraw a patient's scan,
and look at where the two differ. For teaching and research only, never diagnosis.

The wings follow the data, and each imports only from those before it: `scans`, `brains`,
`diffusion`, `training`, `detection`, `evaluation`, `show`, `widgets`, `cli`. What the quickstart
needs can be imported from here:

>>> from maskdiff_edu import build_method, load_scan, score_scan, show_detection
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskdiff_edu.brains import add_lesions, make_subject
    from maskdiff_edu.detection import build_method, score_scan
    from maskdiff_edu.scans import find_scans, load_scan, to_slices
    from maskdiff_edu.show import show_detection, show_slices, write_scored

__version__ = version("maskdiff_edu")
__all__ = [
    "add_lesions",
    "build_method",
    "find_scans",
    "load_scan",
    "make_subject",
    "score_scan",
    "show_detection",
    "show_slices",
    "to_slices",
    "write_scored",
]

_WINGS = ("scans", "brains", "detection", "show")  # that these come from


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: a process that makes brains needs no Matplotlib."""
    if name in __all__:
        for wing in map(import_module, (f"{__name__}.{wing}" for wing in _WINGS)):
            if name in wing.__all__:
                return getattr(wing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
