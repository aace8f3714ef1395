"""Where the brain is in a skull-stripped scan, and whether the skull is really gone."""

import numpy as np
from scipy import ndimage

from maskdiff_edu.scans.grids import bounding_box

MAX_BRAIN_LITRES = 2.2  #: the largest human intracranial volumes stay below 2 litres
MAX_BRAIN_WIDTH = 165.0  #: mm from left to right; a head is wider
MIN_BRAIN_LITRES = 0.7  #: less is a part of a brain, a child's, or lost voxel sizes
NEARLY_BLACK = 0.1  #: of the foreground's median
MAX_RIM = 0.1  #: share of the foreground that may be nearly black before it is a halo
MIN_PIECE = 0.1  #: of the largest piece
MAX_LOST = 0.01  #: share of the foreground that is left out without a word
MAX_FILLED = 0.7  #: of the field of view; an ellipsoid in its own box fills 0.52


def find_brain(image: np.ndarray) -> np.ndarray:
    """The brain of a skull-stripped scan: voxels that are not 0, large pieces, holes filled.

    Not 0 rather than above 0: bias correction leaves negative voxels inside real brains. Pieces of
    a tenth of the largest count, since stripping may part the hemispheres. Where much of the rim is
    nearly black, as the halo of an interpolation is, the rim does not belong to it.
    """
    inside = image != 0
    if not inside.any():
        return inside
    black = inside & (np.abs(image) < NEARLY_BLACK * np.median(np.abs(image[inside])))
    rim = black & ~ndimage.binary_fill_holes(inside & ~black)
    if rim.sum() > MAX_RIM * inside.sum():
        inside &= ~rim
    labels, _ = ndimage.label(inside)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes((sizes >= MIN_PIECE * sizes.max())[labels])


def signs_of_loss(image: np.ndarray, brain_mask: np.ndarray) -> str | None:
    """How much of what is not 0 a found brain lacks, in words; None if next to nothing."""
    inside = image != 0
    share = (inside & ~brain_mask).sum() / inside.sum()
    if share <= MAX_LOST:
        return None
    return f"{share:.0%} of what is not 0 was left out, as a nearly black rim or as small pieces"


def skull_signs(brain_mask: np.ndarray, affine: np.ndarray) -> str | None:
    """What shows that a mask holds more than a brain, in words; None if nothing does.

    `affine`: voxel -> world mm, RAS+. The signs: more volume or width than any human brain has, or
    no background to speak of.
    """
    litres = brain_mask.sum() * abs(np.linalg.det(affine[:3, :3])) * 1e-6
    if litres > MAX_BRAIN_LITRES:
        return f"the foreground measures {litres:.1f} litres"
    filled = brain_mask.mean()
    if filled > MAX_FILLED:
        return f"the foreground fills {filled:.0%} of the volume"
    width = _width(brain_mask, affine)
    if width > MAX_BRAIN_WIDTH:
        return f"the foreground is {width:.0f} mm wide"
    return None


def _width(brain_mask: np.ndarray, affine: np.ndarray) -> float:
    """Extent from left to right in mm, in whatever direction the voxel axes run."""
    box = bounding_box(brain_mask)
    part = brain_mask[box]
    columns = np.argwhere(part.any(2))
    first = part.argmax(2)[tuple(columns.T)]
    last = part.shape[2] - 1 - part[:, :, ::-1].argmax(2)[tuple(columns.T)]
    to_left = affine[0, :3]
    ends = [columns @ to_left[:2] + k * to_left[2] for k in (first, last)]
    return float(np.max(ends) - np.min(ends) + np.abs(to_left).max())
