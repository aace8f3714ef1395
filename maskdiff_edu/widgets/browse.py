"""Look through a scan, and lay two pictures of one patient over one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from maskdiff_edu.scans import Slices
from maskdiff_edu.widgets.base import Figure, script, styles
from maskdiff_edu.widgets.pictures import Panel, encode, look_up_table


class Swipe(Figure):
    """Two pictures of one slice in one frame, with a divider to move between them.

    Args:
        pictures: name (a model, "scan") -> its slices, each (h, w), in one order for all.
        titles: what each of the slices is, such as "slice 40".
        panels: name -> how its numbers become colours; grey from -1 to 1 where none is given.
        label, alt: see `Figure`.

    Raises ValueError for fewer than two names, or unequal numbers of slices.
    """

    _esm = script("core", "swipe")
    _css = styles()

    def __init__(
        self,
        pictures: Mapping[str, Sequence[ArrayLike]],
        *,
        titles: Sequence[str],
        label: str,
        alt: str,
        panels: Mapping[str, Panel] | None = None,
    ) -> None:
        names = list(pictures)
        counts = {name: len(slices) for name, slices in pictures.items()}
        if len(names) < 2 or set(counts.values()) != {len(titles)}:
            raise ValueError(
                f"pictures: expected two or more names with {len(titles)} slices each, got {counts}"
            )
        parts: dict[str, bytes] = {}
        for name, slices in pictures.items():
            panel = (panels or {}).get(name, Panel(name, lossless=True))
            parts |= {f"{name}|{i}": encode(image, panel) for i, image in enumerate(slices)}
        spec = {"names": names, "titles": list(titles)}
        value = {"slice": titles[0], "left": names[0], "right": names[1], "divider": 50}
        super().__init__(label=label, alt=alt, spec=spec, parts=parts, value=value)


class VolumeBrowser(Figure):
    """A scan from three sides: axial, coronal and sagittal slices through one voxel.

    Args:
        slices: the scan; marked lesions are outlined where it has lesion masks.
        heat: anomaly map (n, 1, h, w), laid over the scan; scores from 0 to `top`.
        top: the score with the brightest colour; the map's largest by default.
        label, alt: see `Figure`.
    """

    _esm = script("core", "canvas", "volume")
    _css = styles()

    def __init__(
        self,
        slices: Slices,
        *,
        label: str,
        alt: str,
        heat: ArrayLike | None = None,
        top: float | None = None,
    ) -> None:
        images = slices.images[:, 0].numpy()
        parts = {
            "image": _as_bytes((images + 1) / 2),
            "gray": look_up_table("gray"),
            "magma": look_up_table("magma"),
        }
        if slices.lesion_masks is not None:
            parts["lesion"] = slices.lesion_masks[:, 0].numpy()
        if heat is not None:
            heat = np.asarray(heat).reshape(images.shape)
            parts["heat"] = _as_bytes(heat / (top or float(heat.max()) or 1.0))
        depth, h, w = images.shape
        spec = {"shape": [depth, h, w], "layers": [k for k in ("lesion", "heat") if k in parts]}
        value = {"z": depth // 2, "y": h // 2, "x": w // 2}
        super().__init__(label=label, alt=alt, spec=spec, parts=parts, value=value)


def _as_bytes(share: np.ndarray) -> np.ndarray:
    return (share.clip(0, 1) * 255).round().astype(np.uint8)
