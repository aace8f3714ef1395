"""The lesions of `lesions` with softer borders, to see what a detector owes to hard ones.

Real lesions fade out over millimetres; those of the frozen cohorts end within one voxel, as the
rectangles do that masked training pastes. Place, shape, brightness, texture and mask are the same.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from maskdiff_edu.brains.lesions import LesionParams, draw_lesions
from maskdiff_edu.brains.phantom import Subject, SubjectParams, render_subject

HARD = 0.5  #: blur of the frozen lesions' borders, standard deviation in voxels


@dataclass(frozen=True)
class SoftLesionParams(LesionParams):
    """Lesions whose borders are blurred further."""

    spread: float = 0.0  #: of the further blur, standard deviation in voxels of 2 mm

    def _fill(self, image, region, level, params: SubjectParams, rng):
        """The part of `image` that another blend would have filled, filled softly."""
        full = super()._fill(np.zeros_like(image), np.ones_like(region), level, params, rng)
        weight = ndimage.gaussian_filter(region.astype(np.float32), np.hypot(HARD, self.spread))
        return (image + weight * (full - image)).astype(np.float32)


def add_soft_lesions(subject: Subject, kind: str, seed: int, spread: float) -> Subject:
    """As `add_lesions`, the lesions' borders blurred by `spread` voxels more.

    With a spread of 0 it is the same patient. The lesion mask stays as it is: it marks where a
    lesion's tissue is at least half of a voxel, give or take the rounding of its corners.
    Raises: ValueError as `add_lesions`, and for a negative spread.

    >>> from maskdiff_edu.brains import make_subject
    >>> patient = add_soft_lesions(make_subject(7), "ms", seed=7, spread=1.0)
    >>> bool(patient.lesion_mask.any())
    True
    """
    if not spread >= 0:
        raise ValueError(f"spread: expected 0 or more voxels, got {spread}")
    drawn = draw_lesions(subject, kind, seed)
    values = {field.name: getattr(drawn, field.name) for field in fields(drawn)}
    return render_subject(subject.params, SoftLesionParams(**values, spread=spread))
