"""Lesions with exact masks, added to the healthy brains of `phantom`.

The generator and the seeds of the test subjects were fixed before any trained detector was scored
on them; `tests/test_lesions.py` holds their hashes. Change anything here and every number that
the book reports must be measured anew.

Lesions lie between grey matter and fluid in intensity (`dark` ones below everything), so that
brightness alone does not give them away: healthy fluid is brighter.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from maskdiff_edu.brains.fields import smooth_field
from maskdiff_edu.brains.phantom import (
    LESION,
    SHAPE,
    SPACING,
    VENTRICLES,
    Subject,
    SubjectParams,
    render_subject,
    voxel_grid,
)

#: The names of the kinds, as `add_lesions` and `draw_lesions` take them.
LESION_KINDS = ("tumour", "ms", "stroke", "subtle", "dark")


@dataclass(frozen=True)
class Blob:
    """One rounded lesion: an ellipsoid whose surface is roughened by a smooth random field."""

    centre: tuple[float, float, float]  #: voxels
    radii_mm: tuple[float, float, float]
    roughness: float  #: relative amplitude of the surface's irregularity
    level: float  #: 0 = grey matter, 1 = fluid; for `dark`, the factor on the darkest tissue


@dataclass(frozen=True)
class LesionParams:
    """Everything drawn for one patient's lesions; `render_subject(params, lesions)` remakes it."""

    kind: str  #: one of LESION_KINDS
    seed: int
    blobs: tuple[Blob, ...]
    oedema_mm: float = 0.0  #: reach of the swelling around a tumour, in white matter
    oedema_level: float = 0.0  #: its intensity, on the scale of Blob.level
    mass_effect: float = 0.0  #: how far a tumour pushes tissue aside, 0 = not at all

    def displacement(self, shape: tuple) -> np.ndarray:
        """How far tissue at each voxel was pushed away from the lesion: (3, ...) voxels."""
        push = np.zeros((3, *shape))
        if self.mass_effect == 0:
            return push
        for blob in self.blobs:
            offset = voxel_grid() - np.array(blob.centre)[:, None, None, None]
            reach = 1.3 * np.mean(blob.radii_mm) / SPACING
            strength = self.mass_effect * np.exp(-0.5 * (offset**2).sum(axis=0) / reach**2)
            push += strength * offset
        return push

    def paint(
        self, image: np.ndarray, tissues: np.ndarray, brain_mask: np.ndarray, params: SubjectParams
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put the lesions into an image that the scanner has not touched yet.

        Returns: the image and the exact lesion mask, both (x, y, z).
        """
        lesion_mask = np.zeros(image.shape, bool)
        rng = np.random.default_rng([self.seed, LESION])
        if self.oedema_mm:
            halo = _distance_mm(self.blobs[0], rng, period_mm=14) < self.oedema_mm
            # Swelling follows the white matter and stops at the cortex.
            halo &= brain_mask & (ndimage.gaussian_filter(tissues[1], 0.7) > 0.5)
            image = self._fill(image, halo, self.oedema_level, params, rng)
            lesion_mask |= halo
        tissue = brain_mask & (tissues[2] < 0.5)
        for blob in self.blobs:
            core = (_distance_mm(blob, rng, period_mm=10) < 0) & brain_mask
            if self.kind != "tumour":
                core &= tissue  # only a growing mass takes the place of fluid
            image = self._fill(image, core, blob.level, params, rng)
            lesion_mask |= core
        return image, lesion_mask

    def _fill(self, image, region, level, params, rng):
        """Blend lesion tissue into `region`, with a border of partial volume and own texture."""
        texture = 1 + 0.12 * smooth_field(rng, image.shape, 3)
        value = _intensity(self.kind, level, params) * texture
        weight = ndimage.gaussian_filter(region.astype(np.float32), 0.5)
        return (image + weight * (value - image)).astype(np.float32)


def add_lesions(subject: Subject, kind: str, seed: int) -> Subject:
    """The same subject with lesions of one kind; everything else about it stays as it was.

    kind: `"tumour"` (large, irregular, with oedema, pushes tissue aside), `"ms"` (2 to 7 small
    spots beside the ventricles), `"stroke"` (a territory), `"subtle"` (low contrast) or
    `"dark"` (darker than all tissue).

    Returns: a Subject whose `lesion_mask` marks the lesions exactly.
    Raises: ValueError for an unknown kind, or a subject that has been cropped.

    >>> from maskdiff_edu.brains import make_subject
    >>> patient = add_lesions(make_subject(7), "ms", seed=7)
    >>> bool(patient.lesion_mask.any())
    True
    """
    return render_subject(subject.params, draw_lesions(subject, kind, seed))


def draw_lesions(subject: Subject, kind: str, seed: int) -> LesionParams:
    """Draw the lesions of one kind to suit the subject's anatomy; see `add_lesions`."""
    if kind not in LESION_KINDS:
        raise ValueError(f"kind: expected one of {LESION_KINDS}, got {kind!r}")
    if subject.image.shape != SHAPE:
        raise ValueError(f"subject: expected the whole grid {SHAPE}, got {subject.image.shape}")
    rng = np.random.default_rng([seed, LESION_KINDS.index(kind), LESION])
    draw = {"tumour": _tumour, "ms": _ms, "stroke": _stroke, "subtle": _subtle, "dark": _dark}
    return LesionParams(kind, seed, **draw[kind](subject, rng))


def _tumour(subject: Subject, rng: np.random.Generator) -> dict:
    radius = rng.uniform(9, 20)
    blob = _blob(_deep_tissue(subject, 12), rng, radius, 0.35, rng.uniform(0.35, 0.75))
    return {
        "blobs": (blob,),
        "oedema_mm": float(rng.uniform(4, 14)),
        "oedema_level": float(rng.uniform(0.2, 0.5)),
        "mass_effect": float(rng.uniform(0.1, 0.35)),
    }


def _ms(subject: Subject, rng: np.random.Generator) -> dict:
    places = _beside_ventricles(subject)
    count = int(rng.integers(2, 8))
    levels = rng.uniform(0.3, 0.75, count)
    radii = rng.uniform(3.0, 7.0, count)
    blobs = (_blob(places, rng, r, 0.2, v) for r, v in zip(radii, levels, strict=True))
    return {"blobs": tuple(blobs)}


def _stroke(subject: Subject, rng: np.random.Generator) -> dict:
    # The middle cerebral artery's territory: lateral, around the height of the ventricles.
    side = rng.choice([-1, 1])
    centre = VENTRICLES + [side, 1, 1] * rng.uniform([18, -14, -10], [24, 18, 10])
    radii = rng.uniform([9, 14, 11], [18, 32, 22])
    blob = Blob(_floats(centre), _floats(radii), 0.3, float(rng.uniform(0.2, 0.6)))
    return {"blobs": (blob,)}


def _subtle(subject: Subject, rng: np.random.Generator) -> dict:
    radius = rng.uniform(7, 14)
    return {"blobs": (_blob(_deep_tissue(subject, 8), rng, radius, 0.3, rng.uniform(0.10, 0.25)),)}


def _dark(subject: Subject, rng: np.random.Generator) -> dict:
    radius = rng.uniform(6, 13)
    return {"blobs": (_blob(_deep_tissue(subject, 8), rng, radius, 0.3, rng.uniform(0.2, 0.6)),)}


def _blob(places, rng, radius_mm, roughness, level) -> Blob:
    """A blob of about `radius_mm` centred on one of `places`, (n, 3) voxels."""
    if len(places) == 0:
        raise ValueError("no place for the lesion: the subject's brain mask or tissues are empty")
    centre = places[rng.integers(len(places))]
    radii = radius_mm * rng.uniform(0.75, 1.25, 3)
    return Blob(_floats(centre), _floats(radii), roughness, float(level))


def _deep_tissue(subject: Subject, depth_mm: float) -> np.ndarray:
    """Voxels (n, 3) of grey or white matter at least `depth_mm` inside the brain."""
    depth = ndimage.distance_transform_edt(subject.brain_mask, sampling=SPACING)
    return np.argwhere((depth > depth_mm) & (subject.tissues[2] < 0.3))


def _beside_ventricles(subject: Subject) -> np.ndarray:
    """Voxels (n, 3) of white matter within 12 mm of the lateral ventricles."""
    offset = voxel_grid() - VENTRICLES[:, None, None, None]
    around = np.sqrt(sum((o / extent) ** 2 for o, extent in zip(offset, (16, 26, 14), strict=True)))
    ventricles = (subject.tissues[2] > 0.6) & (around < 1)
    if not ventricles.any():  # very narrow ones: take where they would be
        ventricles = around < 0.4
    distance = ndimage.distance_transform_edt(~ventricles, sampling=SPACING)
    return np.argwhere((distance > 2) & (distance < 12) & (subject.tissues[1] > 0.7))


def _distance_mm(blob: Blob, rng: np.random.Generator, period_mm: float) -> np.ndarray:
    """About how far each voxel lies outside the blob's rough surface; negative inside."""
    radii = np.array(blob.radii_mm)
    offset = (voxel_grid() - np.array(blob.centre)[:, None, None, None]) * SPACING
    relative = np.linalg.norm((offset.T / radii).T, axis=0)
    relative = relative + blob.roughness * smooth_field(rng, SHAPE, period_mm / SPACING)
    return (relative - 1) * radii.mean()


def _intensity(kind: str, level: float, params: SubjectParams) -> float:
    """A lesion's intensity before the scanner, from the subject's own tissues."""
    grey, white, fluid = params.tissue_means
    if kind == "dark":
        return level * min(grey, white, fluid)
    return grey + level * (fluid - grey)


def _floats(values) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
