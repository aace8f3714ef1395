"""Healthy brains made from the atlas: three-dimensional, varied as people and scanners are.

A network that has seen only these brains has to work on real scans, so each property of a scan is
drawn from a wide range (domain randomisation, after SynthSeg: Billot et al., arXiv 2107.09559).
Drawing the parameters and rendering them are two steps: `make_subject` does both.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from scipy import ndimage

from maskdiff_edu.brains.atlas import check_contrast, load_atlas
from maskdiff_edu.brains.fields import blur_scan, fine_texture, smooth_field
from maskdiff_edu.scans import Scan

SPACING = 2.0  #: mm
SHAPE = (96, 96, 80)  #: voxels, axes LPS
CENTRE = (np.array(SHAPE) - 1) / 2
VENTRICLES = np.array([47.5, 45.0, 44.0])  #: voxel in the middle of the lateral ventricles
VENTRICLE_EXTENT = np.array([9.0, 16.0, 8.0])  #: voxels
PAPER_SLICES = 50  #: axial slices of 2 mm that the mDDPM paper keeps

#: Every random field of a subject has a stream of its own, so that adding a lesion, or changing
#: one parameter, leaves all other fields as they were.
WARP, RIM, REGIONS, TEXTURE, BIAS, NOISE, LESION = range(7)


@dataclass(frozen=True)
class SubjectParams:
    """Everything that was drawn for one subject; printing it and passing it back remakes it."""

    seed: int
    contrast: str  #: "t2" or "t1"
    rotation_deg: tuple[float, float, float]  #: about the x, y and z axis
    scale: tuple[float, float, float]  #: 1 = size of the atlas, which is larger than most people
    shear: tuple[float, float, float]  #: xy, xz, yz
    shift_mm: tuple[float, float, float]
    coarse_warp_mm: float  #: root-mean-square displacement of the 30 mm field
    fine_warp_mm: float  #: the same of the 9 mm field
    ventricle_growth: float  #: > 0 widens the ventricles, < 0 narrows them
    sulcus_gain: float  #: factor on the share of fluid, for wide or narrow sulci
    sharpness: float  #: exponent on the tissue shares, 1 is as blurred as the average brain
    rim_level: float  #: level of the blurred brain map that bounds the mask, low is generous
    rim_darkening: float  #: signal lost to the dark meninges and skull at the brain's edge, 0..1
    tissue_means: tuple[float, float, float]  #: grey, white, fluid; before gamma
    template_weight: float  #: how much of the average scan's own detail is added
    regional_sd: float  #: slow variation of grey and white matter
    texture_sd: float  #: fine variation
    texture_sigma: float  #: its blur, voxels
    bias_sd: float  #: log of the receive field's inhomogeneity
    gamma: float
    blur_mm: float  #: in-plane resolution, full width at half maximum
    slice_mm: float  #: slice thickness
    noise_sd: float  #: Rician noise, relative to the brightest tissue


@dataclass(frozen=True)
class Subject(Scan):
    """A generated scan with all that is known about it.

    image: (96, 96, 80) float32, 0 outside the brain, about 0..1000 inside.
    tissues: (3, 96, 96, 80) float32, shares of grey, white and fluid, 0 outside the brain.
    lesion_mask: (96, 96, 80) bool, all False in a healthy subject.
    """

    lesion_mask: np.ndarray = field(kw_only=True)
    tissues: np.ndarray = field(kw_only=True, repr=False)
    params: SubjectParams = field(kw_only=True)

    def crop_slices(self, n_slices: int = PAPER_SLICES) -> "Subject":
        """The same subject with only the `n_slices` axial slices around the middle."""
        start = (self.image.shape[2] - n_slices) // 2
        keep = slice(start, start + n_slices)
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, 2] * start
        return replace(
            self,
            image=self.image[..., keep],
            brain_mask=self.brain_mask[..., keep],
            lesion_mask=self.lesion_mask[..., keep],
            tissues=self.tissues[..., keep],
            affine=affine,
        )


def make_subject(seed: int, contrast: str = "t2") -> Subject:
    """A healthy subject: the same seed always gives the same one.

    >>> subject = make_subject(7)
    >>> subject.image.shape, bool(subject.lesion_mask.any())
    ((96, 96, 80), False)
    """
    return render_subject(draw_subject(seed, contrast))


def draw_subject(seed: int, contrast: str = "t2") -> SubjectParams:
    """Draw the parameters of one subject; ValueError for an unknown contrast."""
    check_contrast(contrast)
    rng = np.random.default_rng([seed, 0])

    def between(low, high, n=None):
        values = rng.uniform(low, high, n)
        return float(values) if n is None else tuple(float(v) for v in values)

    def exp_between(low, high):
        # Rounded, because machines disagree on the last digit of an exponential.
        return round(float(np.exp(between(low, high))), 6)

    size = between(0.86, 1.0)
    return SubjectParams(
        seed=seed,
        contrast=contrast,
        rotation_deg=between(-8, 8, 3),
        scale=tuple(size * s for s in between(0.95, 1.04, 3)),
        shear=between(-0.05, 0.05, 3),
        shift_mm=between(-4, 4, 3),
        coarse_warp_mm=between(1.0, 4.0),
        fine_warp_mm=between(0.3, 1.6),
        ventricle_growth=between(-0.45, 0.4),
        sulcus_gain=exp_between(-0.5, 0.8),
        sharpness=between(0.9, 3.0),
        rim_level=between(0.40, 0.85),
        rim_darkening=between(0.0, 0.9),
        tissue_means=_draw_tissue_means(contrast, between),
        template_weight=between(0.0, 1.0),
        regional_sd=between(0.0, 0.015),
        texture_sd=between(0.002, 0.02),
        texture_sigma=between(0.5, 1.5),
        bias_sd=0.10 * between(0.0, 1.0) ** 2,
        gamma=exp_between(-0.3, 0.3),
        blur_mm=between(1.0, 4.5),
        slice_mm=between(2.0, 6.0),
        noise_sd=between(0.002, 0.03),
    )


def _draw_tissue_means(contrast: str, between) -> tuple[float, float, float]:
    """Grey, white and fluid intensity, in 0..1, in the order that the contrast demands."""
    if contrast == "t2":
        white = between(0.15, 0.60)
        grey = white + between(0.04, 0.20)
        return grey, white, grey + between(0.20, 0.65)
    fluid = between(0.10, 0.58)
    grey = fluid + between(0.20, 0.50)
    return grey, grey + between(0.08, 0.30), fluid


def render_subject(params: SubjectParams, lesions=None) -> Subject:
    """Make the scan that `params` describe; `lesions` is a `lesions.LesionParams` or None.

    Anatomy, tissue intensities and the scanner's traces are added in the order of nature. A
    lesion displaces anatomy and replaces tissue; what the scanner does comes after it.
    """
    coords = _sampling_coordinates(params)
    if lesions is not None:
        coords = coords - lesions.displacement(SHAPE)
    tissues, brain_mask, rim, detail = _sample_anatomy(params, coords)
    image = rim * _tissue_image(params, tissues, detail)
    lesion_mask = np.zeros(SHAPE, bool)
    if lesions is not None:
        image, lesion_mask = lesions.paint(image, tissues, brain_mask, params)
    image = _scan(params, image, brain_mask)
    return Subject(
        image,
        brain_mask,
        load_atlas().affine.copy(),
        name=f"phantom-{params.seed}" + (f"-{lesions.kind}-{lesions.seed}" if lesions else ""),
        lesion_mask=lesion_mask,
        tissues=tissues,
        params=params,
    )


def stream(params: SubjectParams, which: int) -> np.random.Generator:
    """The random generator of one of the subject's fields (`WARP`, `BIAS`, ...)."""
    return np.random.default_rng([params.seed, 1, which])


@cache
def voxel_grid() -> np.ndarray:
    """Voxel coordinates (3, 96, 96, 80), float64."""
    return np.indices(SHAPE, dtype=float)


def _sampling_coordinates(params: SubjectParams) -> np.ndarray:
    """Where in the atlas each voxel of the subject comes from: (3, 96, 96, 80), voxels."""
    centred = voxel_grid().reshape(3, -1) - CENTRE[:, None]
    shift = np.array(params.shift_mm)[:, None] / SPACING
    inverse = np.linalg.inv(_affine_matrix(params))
    coords = (inverse @ (centred - shift) + CENTRE[:, None]).reshape(3, *SHAPE)

    rng = stream(params, WARP)
    for amplitude, period_mm in ((params.coarse_warp_mm, 30), (params.fine_warp_mm, 9)):
        for axis in range(3):
            displacement = smooth_field(rng, SHAPE, period_mm / SPACING)
            coords[axis] += amplitude / SPACING * displacement
    return _grow_ventricles(coords, params.ventricle_growth)


def _affine_matrix(params: SubjectParams) -> np.ndarray:
    """Rotation x scale x shear, (3, 3), atlas to subject."""
    a, b, c = np.deg2rad(params.rotation_deg)
    rotate_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    rotate_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rotate_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    shear = np.eye(3)
    shear[[0, 0, 1], [1, 2, 2]] = params.shear
    return rotate_x @ rotate_y @ rotate_z @ np.diag(params.scale) @ shear


def _grow_ventricles(coords: np.ndarray, growth: float) -> np.ndarray:
    """Sample closer to the ventricles' middle (they widen) or further away (they narrow)."""
    offset = coords - VENTRICLES[:, None, None, None]
    distance_2 = ((offset / VENTRICLE_EXTENT[:, None, None, None]) ** 2).sum(axis=0)
    return coords - growth * np.exp(-0.5 * distance_2) * offset


def _sample_anatomy(params: SubjectParams, coords: np.ndarray):
    """Tissue shares (3, ...), brain mask, rim factor and the template's detail at `coords`."""
    atlas = load_atlas()

    def sample(volume):
        return ndimage.map_coordinates(volume, coords, order=1, output=np.float32)

    level = params.rim_level + 0.08 * smooth_field(stream(params, RIM), SHAPE, 8)
    soft_brain = sample(_soft_brain())
    brain_mask = _largest_component(soft_brain > level)
    grey, white = sample(atlas.gm), sample(atlas.wm)
    fluid = params.sulcus_gain * (1 - grey - white).clip(0)
    # In double precision: single-precision powers differ between processors, and a voxel on the
    # edge of a threshold would then fall on either side of it.
    shares = np.stack([grey, white, fluid]).astype(np.float64) ** params.sharpness
    shares = (shares * (brain_mask / shares.sum(axis=0).clip(1e-6))).astype(np.float32)
    rim = 1 - params.rim_darkening * (2 - 2 * soft_brain).clip(0, 1)
    return shares, brain_mask, rim, sample(_template_detail(params.contrast))


@cache
def _soft_brain() -> np.ndarray:
    return ndimage.gaussian_filter(load_atlas().brain, 1.0)


@cache
def _template_detail(contrast: str) -> np.ndarray:
    """What the average scan shows beyond its three tissues: deep nuclei, tracts, vessels."""
    atlas = load_atlas()
    inside = atlas.brain > 0.5
    maps = np.stack([atlas.gm, atlas.wm, atlas.csf])
    template = atlas.template(contrast)
    means, *_ = np.linalg.lstsq(maps[:, inside].T, template[inside], rcond=None)
    return (template - np.tensordot(means, maps, axes=1)).astype(np.float32) * inside


def _largest_component(binary: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(binary)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _tissue_image(params: SubjectParams, tissues: np.ndarray, detail: np.ndarray) -> np.ndarray:
    """Intensities before the scanner: tissue means, slow and fine variation, template detail."""
    image = np.tensordot(np.array(params.tissue_means, np.float32), tissues, axes=1)
    image += params.template_weight * detail
    rng = stream(params, REGIONS)
    for tissue in tissues[:2]:
        image += params.regional_sd * tissue * smooth_field(rng, SHAPE, 12)
    texture = fine_texture(stream(params, TEXTURE), SHAPE, params.texture_sigma)
    return image + params.texture_sd * texture


def _scan(params: SubjectParams, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
    """What the scanner adds: gamma, bias field, blur, thick slices, Rician noise."""
    image = image.clip(0.01, None) ** params.gamma
    image *= np.exp(params.bias_sd * smooth_field(stream(params, BIAS), SHAPE, 25))
    image = blur_scan(image, brain_mask, params.blur_mm, params.slice_mm, SPACING)
    real, imaginary = params.noise_sd * stream(params, NOISE).standard_normal((2, *SHAPE))
    magnitude = np.hypot(image + real, imaginary)
    return (1000 * magnitude * brain_mask).astype(np.float32)
