"""Assignment 4, frequency masks: hidden tests, other right solutions, and mistakes to catch."""

import numpy as np
import torch

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw04_fft_masks import (
    CHAPTER,
    NORMS,
    about_the_mean,
    factor_of,
    other_norms,
    parsevals_factors,
    real,
)
from maskdiff_edu.course.tasks import Answer, Given, Tests, close
from maskdiff_edu.diffusion import apply_bands

TESTS = Tests()


# References that use no FFT, so that they share no error with an answer that does.


def waves(n: int) -> np.ndarray:
    """Row i is the wave of frequency i - n // 2 on n pixels: the transform as a matrix."""
    return np.exp(-2j * np.pi * np.outer(np.arange(n) - n // 2, np.arange(n)) / n)


def spectrum_of(x: np.ndarray) -> np.ndarray:
    """The shifted spectrum of images (..., h, w), plain sums."""
    return waves(x.shape[-2]) @ x @ waves(x.shape[-1]).T


def image_of(spectrum: np.ndarray) -> np.ndarray:
    """The images of shifted spectra (..., h, w) made of plain sums, complex."""
    h, w = spectrum.shape[-2:]
    return waves(h).conj().T @ spectrum @ waves(w).conj() / (h * w)


def mirror_of(band_mask: np.ndarray) -> np.ndarray:
    """Each bin of a mask (..., h, w) with the value of its twin, on the places themselves."""
    rows, columns = ((2 * (n // 2) - np.arange(n)) % n for n in band_mask.shape[-2:])
    return band_mask[..., rows[:, None], columns]


def radius_of(h: int, w: int) -> np.ndarray:
    """Cycles a pixel of each bin, from complex numbers: their length."""
    right, down = np.meshgrid((np.arange(w) - w // 2) / w, (np.arange(h) - h // 2) / h)
    return np.abs(right + 1j * down)


def draw_sizes(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Grids of odd and even sizes, each mixed, none square."""
    odd, even = 2 * rng.integers(3, 6, 2) + 1, 2 * rng.integers(3, 6, 2)
    return [
        (int(odd[0]), int(even[0])),
        (int(even[1]), int(odd[1])),
        (int(odd[0]), int(odd[0]) + 2),
        (int(even[1]), int(even[1]) + 2),
    ]


def in_the_corner(x: np.ndarray, band_mask: np.ndarray) -> np.ndarray:
    """What a shifted mask makes of images (b, 1, h, w) whose spectrum is not shifted."""
    h, w = x.shape[-2:]
    spectrum = np.roll(spectrum_of(x), (-(h // 2), -(w // 2)), (2, 3))
    return image_of(np.roll(spectrum * band_mask, (h // 2, w // 2), (2, 3))).real


def draw_symmetric(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """A symmetric mask of this shape, about half of it kept."""
    some = rng.random(shape) < 0.3
    return some | mirror_of(some)


@TESTS("q1", points=1, says="spectra of images of odd and even sizes")
def spectrum_of_any_size(answer: Answer, given: Given) -> None:
    rng = given.rng("spectrum_of_any_size")
    for h, w in draw_sizes(rng):
        u = rng.uniform(-1, 2, (h, w))
        plain = spectrum_of(u)
        want = plain * factor_of(given.NORM, h * w)
        mistakes = {
            "the mean is in the corner: fftshift is missing": np.roll(
                want, (-(h // 2), -(w // 2)), (0, 1)
            ),
            "fftshift and ifftshift have changed places, which odd sizes bring to light": np.roll(
                want, (h % 2, w % 2), (0, 1)
            ),
            "these are lengths; without the angle no image comes back": np.abs(want),
            "these are real parts; without the imaginary part no image comes back": want.real,
            **other_norms(given, plain),
        }
        close(answer.to_spectrum(u), want, f"a spectrum of {h} x {w}", mistakes, see=CHAPTER)


@TESTS("q1", points=1, says="images from spectra of odd and even sizes")
def image_of_any_size(answer: Answer, given: Given) -> None:
    rng = given.rng("image_of_any_size")
    for h, w in draw_sizes(rng):
        want = rng.uniform(-1, 2, (h, w))
        plain = spectrum_of(want)
        spectrum = plain * factor_of(given.NORM, h * w)
        off_by_one = image_of(np.roll(plain, (-(h % 2), -(w % 2)), (0, 1)))
        mistakes = {
            "fftshift and ifftshift have changed places, which odd sizes bring to light": (
                off_by_one.real
            ),
            "the middle was taken for the corner: ifftshift is missing": image_of(
                np.fft.fftshift(plain)
            ).real,
            "negative values have become positive: take the real part, not the length": np.abs(
                want
            ),
        }
        for norm in NORMS:
            if norm != given.NORM:
                says = f'this goes with norm="{norm}"; your course has norm="{given.NORM}"'
                ratio = factor_of(given.NORM, h * w) / factor_of(norm, h * w)
                mistakes[says] = want * ratio
        got = real(answer.to_image(spectrum), (h, w), "to_image")
        close(got, want, f"an image of {h} x {w}", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="the twins in row 0 and column 0 of an even grid")
def twins_on_the_border(answer: Answer, given: Given) -> None:
    rng = given.rng("twins_on_the_border")
    h, w = (int(n) for n in 2 * rng.permutation(np.arange(3, 7))[:2])
    band_mask = np.zeros((h, w), bool)
    band_mask[0, 1 : w // 2] = rng.permutation(w // 2 - 1) == 0  # one bin left, none right
    band_mask[1 : h // 2, 0] = rng.permutation(h // 2 - 1) == 0
    band_mask[0, 0] = band_mask[0, w // 2] = True  # twins of their own
    mistakes = {
        "row 0 and column 0 stayed as they were: only the bins [0, 0], [0, w // 2] and "
        "[h // 2, 0] there are their own twins": band_mask,
        "a flip alone lands one bin off on an even grid": np.flip(band_mask),
        "row 0 and column 0 have got lost": np.zeros((h, w)),
    }
    want = mirror_of(band_mask).astype(float)
    close(answer.mirrored(band_mask), want, f"mirrored, {h} x {w} bins", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="is_symmetric of many masks, good ones and spoilt ones")
def good_and_spoilt_masks(answer: Answer, given: Given) -> None:
    rng = given.rng("good_and_spoilt_masks")
    for h, w in draw_sizes(rng):
        good = draw_symmetric(rng, h, w)
        condemned = {"it is condemned; row 0 and column 0, and odd sizes, need care": 0.0}
        what = f"a symmetric mask of {h} x {w} bins"
        close(answer.is_symmetric(good), 1.0, what, condemned, see=CHAPTER)
        for i, j in ((int(rng.integers(1, h // 2)), 1), (0, int(rng.integers(1, w // 2)))):
            spoilt = good.copy()
            spoilt[i, j] ^= True
            passed = {"it passes; one bin there is treated unlike its twin": 1.0}
            what = f"a spoilt mask of {h} x {w} bins"
            close(answer.is_symmetric(spoilt), 0.0, what, passed, see=CHAPTER)


@TESTS("q2", points=1, says="make_symmetric of masks of odd and even sizes")
def symmetric_masks_of_any_size(answer: Answer, given: Given) -> None:
    rng = given.rng("symmetric_masks_of_any_size")
    for h, w in draw_sizes(rng):
        mask = rng.random((h, w)) < 0.5
        either, both = mask | mirror_of(mask), mask & mirror_of(mask)
        kept = given.TWINS == "both are kept"
        mistakes = {
            "only one half of the frequencies is hidden, the image is not real any more": mask,
            f"of a lonely bin and its twin, {given.TWINS} in your course": both if kept else either,
            "this is the mirrored mask, as lopsided as the mask itself": mirror_of(mask),
            "a flip is not yet the twin on an even axis": mask | np.flip(mask)
            if kept
            else mask & np.flip(mask),
        }
        want = (either if kept else both).astype(float)
        got = answer.make_symmetric(mask)
        close(got, want, f"make_symmetric, {h} x {w} bins", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="all distances, on grids of odd and even sizes")
def radius_of_any_size(answer: Answer, given: Given) -> None:
    for h, w in draw_sizes(given.rng("radius_of_any_size")):
        want = radius_of(h, w)
        down, right = np.abs(np.mgrid[:h, :w] - np.array([h // 2, w // 2])[:, None, None])
        mistakes = {
            "these are cycles an image; divide by the number of pixels": np.hypot(down, right),
            "both directions are divided by the same number; each has its own": np.hypot(
                down, right
            )
            / h,
            "these are the larger of the two frequencies, which makes squares and not circles": (
                np.maximum(down / h, right / w)
            ),
            "the mean is in the corner: fftshift is missing": np.roll(
                want, (-(h // 2), -(w // 2)), (0, 1)
            ),
        }
        got = real(answer.radius(h, w), (h, w), f"radius({h}, {w})")
        close(got, want, f"radius({h}, {w})", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="high_pass with other limits")
def high_pass_elsewhere(answer: Answer, given: Given) -> None:
    rng = given.rng("high_pass_elsewhere")
    for h, w in draw_sizes(rng):
        r = radius_of(h, w)
        limit = float(rng.choice(r[(r > 0.1) & (r < 0.4)]))  # some bins lie on it
        on, mean = r == limit, r == 0
        want = r > limit
        want |= on & (given.EDGE == "kept") | mean & (given.CENTRE == "kept")
        mistakes = about_the_mean(given, want, mean) | {
            f"a bin exactly on the limit is {given.EDGE} in your course": want ^ on,
            "True means kept; this is True where a bin is hidden": ~want,
        }
        got = answer.high_pass(r, limit)
        close(got, want.astype(float), "high_pass", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="band_pass with other limits")
def band_pass_elsewhere(answer: Answer, given: Given) -> None:
    rng = given.rng("band_pass_elsewhere")
    for h, w in draw_sizes(rng):
        r = radius_of(h, w)
        low = float(rng.choice(r[(r > 0.1) & (r < 0.25)]))
        high = float(rng.choice(r[(r > 0.3) & (r < 0.45)]))
        on, mean = (r == low) | (r == high), r == 0
        want = (r > low) & (r < high)
        want |= on & (given.EDGE == "kept") | mean & (given.CENTRE == "kept")
        mistakes = about_the_mean(given, want, mean, "band-pass") | {
            f"a bin exactly on a limit is {given.EDGE} in your course": want ^ on,
            "this keeps what is faster than one limit or slower than the other, so all or nearly "
            "all; a band-pass keeps what is both": np.ones((h, w)),
            f"a bin exactly on the lower limit is {given.EDGE} in your course": want ^ (r == low),
            f"a bin exactly on the upper limit is {given.EDGE} in your course": want ^ (r == high),
            "this is True outside the band; True means kept": ~want,
        }
        got = answer.band_pass(r, low, high)
        close(got, want.astype(float), "band_pass", mistakes, see=CHAPTER)


@TESTS("q4", points=1, says="a batch, compared with the library")
def filter_like_the_library(answer: Answer, given: Given) -> None:
    rng = given.rng("filter_like_the_library")
    h, w = (int(n) for n in 2 * rng.permutation(np.arange(4, 8))[:2])
    x = rng.uniform(-1, 1, (3, 1, h, w))
    band_mask = draw_symmetric(rng, 3, 1, h, w)

    def by_library(kept: np.ndarray) -> np.ndarray:
        everywhere = torch.ones(3, 1, h, w, dtype=torch.bool)
        images, bands = torch.from_numpy(x - 1), torch.from_numpy(np.ascontiguousarray(kept))
        return apply_bands(images, everywhere, bands, keep_mean=False).numpy() + 1

    want = by_library(band_mask)
    mistakes = {
        "the images got each other's masks: name the axes of fftshift and ifftshift": by_library(
            np.roll(band_mask, -1, axis=0)
        ),
        "all images got the first one's mask; each has its own": by_library(
            np.repeat(band_mask[:1], 3, axis=0)
        ),
        "the mask has the mean in the middle, and the spectrum in the corner": in_the_corner(
            x, band_mask
        ),
        "what the mask keeps is hidden; True means kept": x - want,
        "negative values have become positive: take the real part, not the length": np.abs(want),
    }
    got = real(answer.filter_image(x, band_mask), x.shape, "filter_image")
    close(got, want, "filter_image of a batch", mistakes, see=CHAPTER)


@TESTS("q4", points=1, says="a batch of images of odd sizes")
def filter_of_odd_sizes(answer: Answer, given: Given) -> None:
    rng = given.rng("filter_of_odd_sizes")
    h, w = (int(n) for n in 2 * rng.permutation(np.arange(3, 7))[:2] + 1)
    x = rng.uniform(-1, 1, (4, 1, h, w))
    band_mask = draw_symmetric(rng, 4, 1, h, w)
    want = image_of(spectrum_of(x) * band_mask).real
    mistakes = {
        "the images got each other's masks: name the axes of fftshift and ifftshift": image_of(
            spectrum_of(x) * np.roll(band_mask, 2, axis=0)
        ).real,
        "the mask has the mean in the middle, and the spectrum in the corner": in_the_corner(
            x, band_mask
        ),
        "what the mask keeps is hidden; True means kept": x - want,
        "negative values have become positive: take the real part, not the length": np.abs(want),
        "fftshift was used for both ways; on odd sizes ifftshift undoes it, and nothing else": (
            image_of(np.roll(spectrum_of(x) * band_mask, (-1, -1), (2, 3))).real
        ),
    }
    got = real(answer.filter_image(x, band_mask), x.shape, "filter_image")
    close(got, want, f"filter_image, {h} x {w} pixels", mistakes, see=CHAPTER)


@TESTS("q5", points=1, says="the energy of a band")
def energy_of_a_band(answer: Answer, given: Given) -> None:
    rng = given.rng("energy_of_a_band")
    for h, w in draw_sizes(rng):
        u, band_mask = rng.uniform(0, 2, (h, w)), draw_symmetric(rng, h, w)
        spectrum = spectrum_of(u) * factor_of(given.NORM, h * w)
        want = (image_of(spectrum_of(u) * band_mask).real ** 2).sum()
        kept = spectrum[band_mask]
        mistakes = {
            "this is the bare sum over the bins; Parseval's theorem has a factor here": (
                (np.abs(kept) ** 2).sum()
            ),
            "this is the energy of what is hidden; True means kept": (u**2).sum() - want,
            "this adds up the lengths; the energy adds up their squares": np.abs(kept).sum(),
            "this adds up the lengths, times the factor; the energy adds up their squares": want
            * np.abs(kept).sum()
            / (np.abs(kept) ** 2).sum(),
            "only the real parts are squared; the energy takes the whole length": want
            * (kept.real**2).sum()
            / (np.abs(kept) ** 2).sum(),
            **parsevals_factors(given, want, h * w),
        }
        got = answer.band_energy(spectrum, band_mask)
        close(got, want, f"the energy of a band, {h} x {w} bins", mistakes, see=CHAPTER)


@TESTS("q5", points=1, says="the share of the energy that a band holds")
def share_of_a_band(answer: Answer, given: Given) -> None:
    rng = given.rng("share_of_a_band")
    for h, w in draw_sizes(rng):
        u, band_mask = rng.uniform(0, 2, (h, w)), draw_symmetric(rng, h, w)
        middle = h // 2, w // 2
        for keeps_the_mean in (True, False):
            band_mask[middle] = keeps_the_mean
            of_mean, of_band = h * w * u.mean() ** 2, image_of(spectrum_of(u) * band_mask).real
            all_of_it, in_band = (u**2).sum(), (of_band**2).sum()
            shares = {
                "with the mean": in_band / all_of_it,
                "without the mean": (in_band - of_mean * keeps_the_mean) / (all_of_it - of_mean),
            }
            want = shares[given.SHARE]
            lengths = np.abs(spectrum_of(u)) * np.ones((h, w))
            if given.SHARE == "without the mean":
                lengths[middle] = 0
            power = np.roll(np.abs(spectrum_of(u)) ** 2, (-middle[0], -middle[1]), (0, 1))
            if given.SHARE == "without the mean":
                power[middle] = 0
            mistakes = {
                f"your course takes the share {given.SHARE}": next(
                    value for name, value in shares.items() if name != given.SHARE
                ),
                "the mean is left out of the band and still counts in the whole": (
                    in_band - of_mean * keeps_the_mean
                )
                / all_of_it,
                "this is the share of the bins, not that of the energy": band_mask.mean(),
                "this is a share of lengths; the energy takes their squares": lengths[
                    band_mask
                ].sum()
                / lengths.sum(),
                "this is the share that is hidden; True means kept": 1 - want,
                "the mask has the mean in the middle, and the spectrum in the corner": power[
                    band_mask
                ].sum()
                / power.sum(),
            }
            got = answer.share(u, band_mask)
            close(got, want, f"the share of a band, {h} x {w} bins", mistakes, see=CHAPTER)


# Right solutions, written differently.
EQUIVALENTS = {
    "loops": {
        "q1": """
def _waves(n):
    x = np.arange(n)
    return np.array([np.exp(-2j * np.pi * (k - n // 2) * x / n) for k in range(n)])

def to_spectrum(u):
    h, w = u.shape
    power = {"backward": 0, "ortho": 0.5, "forward": 1}["{{NORM}}"]
    return _waves(h) @ u @ _waves(w).T / (h * w) ** power

def to_image(spectrum):
    h, w = spectrum.shape
    power = {"backward": 1, "ortho": 0.5, "forward": 0}["{{NORM}}"]
    return (_waves(h).conj().T @ spectrum @ _waves(w).conj()).real / (h * w) ** power
""",
        "q2": """
def _twin(i, n):
    k = i - n // 2
    k = -k
    if k > (n - 1) // 2:
        k -= n
    return k + n // 2

def mirrored(band_mask):
    h, w = band_mask.shape
    return [[band_mask[_twin(i, h), _twin(j, w)] for j in range(w)] for i in range(h)]

def is_symmetric(band_mask):
    h, w = band_mask.shape
    for i in range(h):
        for j in range(w):
            if band_mask[i, j] != band_mask[_twin(i, h), _twin(j, w)]:
                return False
    return True

def make_symmetric(band_mask):
    h, w = band_mask.shape
    out = band_mask.copy()
    for i in range(h):
        for j in range(w):
            if band_mask[i, j] != band_mask[_twin(i, h), _twin(j, w)]:
                out[i, j] = "{{TWINS}}" == "both are kept"
    return out
""",
        "q3": """
def radius(h, w):
    out = np.zeros((h, w))
    for i in range(h):
        for j in range(w):
            out[i, j] = (((i - h // 2) / h) ** 2 + ((j - w // 2) / w) ** 2) ** 0.5
    return out

def low_pass(r, limit):
    return (r < limit) | ((r == limit) & ("{{EDGE}}" == "kept"))

def high_pass(r, limit):
    kept = (r > limit) | ((r == limit) & ("{{EDGE}}" == "kept"))
    kept[r == 0] = "{{CENTRE}}" == "kept"
    return kept

def band_pass(r, low, high):
    with EDGE == "kept":
        kept = (r >= low) & (r <= high)
    with EDGE == "hidden":
        kept = (r > low) & (r < high)
    kept[r == 0] = "{{CENTRE}}" == "kept"
    return kept
""",
        "q4": """
def filter_image(x, band_mask):
    out = np.empty(x.shape)
    for i in range(len(x)):
        waves = np.fft.fftshift(np.fft.fft2(x[i, 0])) * band_mask[i, 0]
        out[i, 0] = np.fft.ifft2(np.fft.ifftshift(waves)).real
    return out
""",
        "q5": """
def band_energy(spectrum, band_mask):
    image = np.fft.ifft2(np.fft.ifftshift(spectrum * band_mask), norm="{{NORM}}")
    return float((np.abs(image) ** 2).sum())

def share(u, band_mask):
    if "{{SHARE}}" == "without the mean":
        u = u - u.mean()
    mask = np.fft.ifftshift(band_mask)
    image = np.fft.ifft2(np.fft.fft2(u) * mask)
    return (np.abs(image) ** 2).sum() / (u**2).sum()
""",
    },
    "torch": {
        "q1": """
def to_spectrum(u):
    return torch.fft.fftshift(torch.fft.fft2(torch.as_tensor(u), norm="{{NORM}}"))

def to_image(spectrum):
    return torch.fft.ifft2(torch.fft.ifftshift(torch.as_tensor(spectrum)), norm="{{NORM}}").real
""",
        "q2": """
def mirrored(band_mask):
    even = [1 - n % 2 for n in band_mask.shape]
    return torch.as_tensor(band_mask).flip(0, 1).roll(even, (0, 1))

def is_symmetric(band_mask):
    return torch.equal(torch.as_tensor(band_mask), mirrored(band_mask))

def make_symmetric(band_mask):
    mask = torch.as_tensor(band_mask)
    twin = mirrored(band_mask)
    return torch.where(mask == twin, mask, "{{TWINS}}" == "both are kept")
""",
        "q3": """
def radius(h, w):
    down = torch.fft.fftshift(torch.fft.fftfreq(h, dtype=torch.float64))
    right = torch.fft.fftshift(torch.fft.fftfreq(w, dtype=torch.float64))
    return (down[:, None] ** 2 + right**2).sqrt()

def low_pass(r, limit):
    r = torch.as_tensor(r)
    with EDGE == "kept":
        return r.le(limit)
    with EDGE == "hidden":
        return r.lt(limit)

def high_pass(r, limit):
    r = torch.as_tensor(r)
    with EDGE == "kept":
        faster = r.ge(limit)
    with EDGE == "hidden":
        faster = r.gt(limit)
    return faster | (r.eq(0) & ("{{CENTRE}}" == "kept"))

def band_pass(r, low, high):
    return high_pass(r, low).logical_and(low_pass(r, high))
""",
        "q4": """
def filter_image(x, band_mask):
    x, mask = torch.as_tensor(x), torch.as_tensor(band_mask)
    half = torch.fft.ifftshift(mask, dim=(-2, -1))[..., : x.shape[-1] // 2 + 1]
    return torch.fft.irfft2(torch.fft.rfft2(x) * half, s=x.shape[-2:])
""",
        "q5": """
def band_energy(spectrum, band_mask):
    kept = torch.as_tensor(spectrum)[torch.as_tensor(band_mask)]
    n = torch.as_tensor(spectrum).numel()
    total = torch.vdot(kept, kept).real
    with NORM == "backward":
        return total / n
    with NORM == "forward":
        return total * n
    with NORM == "ortho":
        return total

def share(u, band_mask):
    u = torch.as_tensor(u)
    if "{{SHARE}}" == "without the mean":
        u = u - u.mean()
    power = torch.fft.fftshift(torch.fft.fft2(u)).abs().square()
    return (power * torch.as_tensor(band_mask)).sum() / power.sum()
""",
    },
}

TWIN = "np.fft.fftshift(unshifted[np.ix_(rows, columns)])"
ROWS_AND_COLUMNS = """(np.arange(h) - h // 2) / h
    right = (np.arange(w) - w // 2) / w"""
THERE = "np.fft.fftshift(np.fft.fft2(x), axes=axes)"
BACK = "np.fft.ifft2(np.fft.ifftshift(waves * band_mask, axes=axes)).real"
SPECTRA = ("spectrum_of_one_brightness", "spectrum_of_any_size")
IMAGES = ("image_of_one_wave", "image_of_any_size")
ALL_TWINS = (
    "twin_of_one_bin",
    "three_squares",
    "twins_on_the_border",
    "good_and_spoilt_masks",
    "symmetric_masks_of_any_size",
)
RADII = ("radius_of_four_bins", "radius_of_any_size")
FILTERS = ("everything_or_the_mean", "filter_like_the_library", "filter_of_odd_sizes")
ENERGIES = ("energy_of_all_bins", "energy_of_a_band")

# Each is one replacement in the solution of one exercise, and loses these tests and no others.
MISTAKES = [
    Mistake(
        "q1",
        "the mean stays in the corner",
        'np.fft.fftshift(np.fft.fft2(u, norm="{{NORM}}"))',
        'np.fft.fft2(u, norm="{{NORM}}")',
        loses=SPECTRA,
        says="the mean is in the corner: fftshift is missing",
    ),
    Mistake(
        "q1",
        "NumPy's own factor on the way there",
        'np.fft.fft2(u, norm="{{NORM}}")',
        "np.fft.fft2(u)",
        loses=SPECTRA,
        says='this goes with norm="backward"',
        only={"NORM": ("forward", "ortho")},
    ),
    Mistake(
        "q1",
        "NumPy's own factor on the way back",
        'np.fft.ifftshift(spectrum), norm="{{NORM}}"',
        "np.fft.ifftshift(spectrum)",
        loses=IMAGES,
        says='this is the way back with norm="backward"',
        only={"NORM": ("forward", "ortho")},
    ),
    Mistake(
        "q1",
        "ifftshift on the way there",
        "np.fft.fftshift(np.fft.fft2",
        "np.fft.ifftshift(np.fft.fft2",
        loses=("spectrum_of_one_brightness", "spectrum_of_any_size"),
        says="have changed places",
    ),
    Mistake(
        "q1",
        "fftshift on the way back",
        "np.fft.ifftshift(spectrum)",
        "np.fft.fftshift(spectrum)",
        loses=("image_of_one_wave", "image_of_any_size"),
        says="have changed places",
    ),
    Mistake(
        "q1",
        "no shift on the way back",
        "np.fft.ifftshift(spectrum)",
        "spectrum",
        loses=IMAGES,
        says="ifftshift is missing",
    ),
    Mistake(
        "q1",
        "the length for the real part",
        'np.fft.ifft2(np.fft.ifftshift(spectrum), norm="{{NORM}}").real',
        'np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum), norm="{{NORM}}"))',
        loses=IMAGES,
        says="negative values have become positive",
    ),
    Mistake(
        "q1",
        "the image stays complex",
        'norm="{{NORM}}").real',
        'norm="{{NORM}}")',
        loses=IMAGES,
        says="the numbers are complex",
    ),
    Mistake(
        "q1",
        "the spectrum without its angles",
        'np.fft.fftshift(np.fft.fft2(u, norm="{{NORM}}"))',
        'np.abs(np.fft.fftshift(np.fft.fft2(u, norm="{{NORM}}")))',
        loses=("spectrum_of_one_brightness", "spectrum_of_any_size"),
        says="without the angle",
    ),
    Mistake("q2", "a flip for the twin", TWIN, "np.flip(band_mask)", ALL_TWINS, "one bin off"),
    Mistake(
        "q2",
        "minus the place for minus the frequency",
        TWIN,
        "band_mask[np.ix_(rows, columns)]",
        loses=("twin_of_one_bin", "good_and_spoilt_masks", "symmetric_masks_of_any_size"),
        says="right on even axes only",
    ),
    Mistake(
        "q2",
        "row 0 and column 0 left alone",
        f"return {TWIN}",
        """inner = tuple(slice(1 - n % 2, None) for n in band_mask.shape)
    out = band_mask.copy()
    out[inner] = np.flip(band_mask[inner])
    return out""",
        loses=(
            "twin_of_one_bin",
            "twins_on_the_border",
            "good_and_spoilt_masks",
            "symmetric_masks_of_any_size",
        ),
        says="row 0 and column 0 stayed as they were",
    ),
    Mistake(
        "q2",
        "only one direction turned round",
        TWIN,
        "np.fft.fftshift(unshifted[rows])",
        loses=tuple(name for name in ALL_TWINS if name != "three_squares"),
        says="only the rows are mirrored",
        only={"TWINS": ("both are kept",)},
    ),
    Mistake(
        "q2",
        "is_symmetric by a flip",
        "band_mask == mirrored(band_mask)",
        "band_mask == np.flip(band_mask)",
        loses=("three_squares", "good_and_spoilt_masks"),
        says="this mask is good, and it is condemned",
    ),
    Mistake(
        "q2",
        "some twins alike for all",
        ".all()",
        ".any()",
        loses=("three_squares", "good_and_spoilt_masks"),
        says="the bin -2 and without its twin 2",
    ),
    Mistake(
        "q2",
        "the twin forgotten",
        "band_mask | mirrored(band_mask)",
        "band_mask",
        loses=("three_squares", "symmetric_masks_of_any_size"),
        says="only one half of the frequencies is hidden",
    ),
    Mistake(
        "q2",
        "the other rule for lonely bins",
        told="TWINS",
        loses=("three_squares", "symmetric_masks_of_any_size"),
        says="in your course both twins are",
    ),
    Mistake(
        "q3",
        "cycles an image",
        ROWS_AND_COLUMNS,
        "np.arange(h) - h // 2\n    right = np.arange(w) - w // 2",
        loses=RADII,
        says="cycles an image",
    ),
    Mistake(
        "q3",
        "one size for both directions",
        "w // 2) / w",
        "w // 2) / h",
        loses=RADII,
        says="each has a size of its own",
    ),
    Mistake(
        "q3",
        "a square band",
        "np.hypot(down[:, None], right[None, :])",
        "np.maximum(np.abs(down)[:, None], np.abs(right)[None, :])",
        loses=RADII,
        says="squares and not circles",
    ),
    Mistake(
        "q3",
        "frequencies as the FFT has them",
        ROWS_AND_COLUMNS,
        "np.fft.fftfreq(h)\n    right = np.fft.fftfreq(w)",
        loses=RADII,
        says="the mean is in the corner",
    ),
    Mistake(
        "q3",
        "the mean between two bins",
        ROWS_AND_COLUMNS,
        "(np.arange(h) - (h - 1) / 2) / h\n    right = (np.arange(w) - (w - 1) / 2) / w",
        loses=RADII,
        says="the middle is between two bins",
    ),
    Mistake(
        "q3",
        "the other rule for the limits of a low-pass",
        'with EDGE == "kept":\n        return r <= limit\n    with EDGE == "hidden":\n'
        "        return r < limit",
        'with EDGE == "hidden":\n        return r <= limit\n    with EDGE == "kept":\n'
        "        return r < limit",
        loses=("nine_bins", "band_pass_elsewhere"),
        says="exactly on the limit",
    ),
    Mistake(
        "q3",
        "the high-pass as the rest of the low-pass",
        'with EDGE == "kept":\n        faster = r >= limit\n'
        '    with EDGE == "hidden":\n        faster = r > limit',
        "faster = ~low_pass(r, limit)",
        loses=("nine_bins", "high_pass_elsewhere", "band_pass_elsewhere"),
        says="the opposite of a low-pass",
        only={"CENTRE": ("hidden",)},
    ),
    Mistake(
        "q3",
        "a high-pass that keeps the mean",
        "return faster\n",
        "return faster | (r == 0)\n",
        loses=("nine_bins", "high_pass_elsewhere", "band_pass_elsewhere"),
        says="your high-pass keeps the mean",
    ),
    Mistake(
        "q3",
        "or for and",
        "high_pass(r, low) & low_pass(r, high)",
        "high_pass(r, low) | low_pass(r, high)",
        loses=("nine_bins", "band_pass_elsewhere"),
        says="a band-pass keeps what is both",
    ),
    Mistake(
        "q4",
        "the batch is shifted as well",
        "axes = (-2, -1)",
        "axes = None",
        loses=FILTERS,
        says="the images got each other's masks",
    ),
    Mistake(
        "q4",
        "the first mask for all images",
        "waves * band_mask",
        "waves * band_mask[0]",
        loses=FILTERS,
        says="all images got the first one's mask",
    ),
    Mistake(
        "q4",
        "True taken for hidden",
        "waves * band_mask",
        "waves * ~band_mask",
        loses=FILTERS,
        says="True means kept",
    ),
    Mistake(
        "q4",
        "the length for the real part",
        BACK,
        f"np.abs({BACK.removesuffix('.real')})",
        loses=FILTERS,
        says="negative values have become positive",
    ),
    Mistake(
        "q4",
        "the images stay complex",
        "axes=axes)).real",
        "axes=axes))",
        loses=FILTERS,
        says="the numbers are complex",
    ),
    Mistake(
        "q4",
        "no shift at all",
        f"{THERE}\n    return {BACK}",
        "np.fft.fft2(x)\n    return np.fft.ifft2(waves * band_mask).real",
        loses=FILTERS,
        says="and the spectrum in the corner",
    ),
    Mistake(
        "q4",
        "fftshift for both ways",
        "np.fft.ifftshift(waves",
        "np.fft.fftshift(waves",
        loses=("everything_or_the_mean", "filter_of_odd_sizes"),
        says="fftshift was used for both ways",
    ),
    Mistake(
        "q5",
        "Parseval without a factor",
        "factor * (np.abs",
        "(np.abs",
        loses=ENERGIES,
        says="bare sum over the bins",
        only={"NORM": ("backward", "forward")},
    ),
    Mistake(
        "q5",
        "the factor upside down",
        'with NORM == "backward":\n        factor = 1 / n',
        'with NORM == "backward":\n        factor = n',
        loses=ENERGIES,
        says="the factor goes with",
    ),
    Mistake(
        "q5",
        "lengths for squares",
        "(np.abs(spectrum[band_mask]) ** 2).sum()",
        "np.abs(spectrum[band_mask]).sum()",
        loses=ENERGIES,
        says="adds up the lengths",
    ),
    Mistake(
        "q5",
        "the energy of the hidden bins",
        "spectrum[band_mask]",
        "spectrum[~band_mask]",
        loses=ENERGIES,
        says="the energy of what is hidden",
    ),
    Mistake(
        "q5",
        "the mean counts, or does not, unlike in the course",
        told="SHARE",
        loses=("share_of_one_wave", "share_of_a_band"),
        says="your course takes the share",
    ),
    Mistake(
        "q5",
        "the mean left out of the band alone",
        "np.fft.fft2(u - u.mean())",
        "np.fft.fft2(u)\n        varying = np.abs(np.fft.fftshift(np.fft.fft2(u - u.mean())))\n"
        "        band_mask = band_mask & (varying > 1e-9)",
        loses=("share_of_one_wave", "share_of_a_band"),
        says="still counts in the whole",
    ),
    Mistake(
        "q5",
        "the share of the bins",
        "power[band_mask].sum() / power.sum()",
        "band_mask.mean()",
        loses=("share_of_one_wave", "share_of_a_band"),
        says="share of the bins",
    ),
    Mistake(
        "q5",
        "a shifted mask on a spectrum that is not",
        "np.fft.fftshift(waves)",
        "waves",
        loses=("share_of_one_wave", "share_of_a_band"),
        says="spectrum in the corner",
    ),
    Mistake(
        "q5",
        "a share of lengths",
        "np.abs(np.fft.fftshift(waves)) ** 2",
        "np.abs(np.fft.fftshift(waves))",
        loses=("share_of_one_wave", "share_of_a_band"),
        says="a share of lengths",
    ),
]
