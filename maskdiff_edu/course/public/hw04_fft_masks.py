"""Assignment 4, frequency masks: the tests that students have."""

from typing import Any

import numpy as np

from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()
CHAPTER = "book/ch05_fft_masks.html"
NORMS = ("backward", "ortho", "forward")


def factor_of(norm: str, pixels: int) -> float:
    """What the plain sums over the pixels are multiplied by on the way there."""
    return {"backward": 1.0, "ortho": pixels**-0.5, "forward": 1 / pixels}[norm]


def other_norms(given: Given, plain: np.ndarray) -> dict[str, Any]:
    """Message -> spectrum, for the norms that this course does not use; plain: "backward"."""
    return {
        f'this goes with norm="{norm}"; your course has norm="{given.NORM}"': plain
        * factor_of(norm, plain.size)
        for norm in NORMS
        if norm != given.NORM
    }


def real(got: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """`got` as an array of this shape whose numbers are not complex."""
    found = array(got, shape, what)
    require(
        found.dtype.kind != "c",
        f"{what}: the numbers are complex; take the real part of what comes back",
        see=CHAPTER,
    )
    return found


@TESTS("q1", points=1, says="one brightness, then a wave on an odd grid: the mean is in the middle")
def spectrum_of_one_brightness(answer: Answer, given: Given) -> None:
    u = np.full((6, 8), 0.5)
    plain = np.zeros(u.shape)
    plain[3, 4] = u.sum()
    want = plain * factor_of(given.NORM, u.size)
    mistakes = {
        "the mean is in the corner: fftshift is missing": np.roll(want, (3, 4), (0, 1)),
        **other_norms(given, plain),
    }
    got = answer.to_spectrum(u)
    close(got, want, "the spectrum of one brightness", mistakes, see=CHAPTER)
    h, w = 5, 7
    u = np.tile(0.5 + np.sin(2 * np.pi * np.arange(w) / w), (h, 1))
    want = np.zeros((h, w), complex)
    want[2, 2:5] = 0.5j, 0.5, -0.5j
    want *= h * w * factor_of(given.NORM, h * w)
    mistakes = {
        "the mean is not in the middle: fftshift and ifftshift differ on an odd grid": np.roll(
            want, (1, 1), (0, 1)
        ),
        "the mean is in the corner: fftshift is missing": np.roll(want, (-2, -3), (0, 1)),
        "these are lengths; the spectrum is complex": np.abs(want),
    }
    close(answer.to_spectrum(u), want, "the spectrum of a wave, 5 x 7", mistakes, see=CHAPTER)


@TESTS("q1", points=1, says="the way back from a mean and one wave, as real numbers")
def image_of_one_wave(answer: Answer, given: Given) -> None:
    for h, w in ((6, 8), (5, 7)):
        judge_image_of_one_wave(answer, given, h, w)


def judge_image_of_one_wave(answer: Answer, given: Given, h: int, w: int) -> None:
    """On an odd grid fftshift and ifftshift are not the same."""
    want = np.tile(0.2 + np.cos(2 * np.pi * np.arange(w) / w), (h, 1))
    spectrum = np.zeros((h, w), complex)
    spectrum[h // 2, w // 2 - 1 : w // 2 + 2] = 0.5, 0.2, 0.5
    spectrum *= h * w * factor_of(given.NORM, h * w)
    down, right = np.mgrid[:h, :w]
    got = real(answer.to_image(spectrum), (h, w), "to_image")
    mistakes = {
        "negative values have become positive: take the real part, not the length": np.abs(want),
        "the middle was taken for the corner: ifftshift is missing": want
        * (-1.0) ** (down + right),
    }
    if h % 2:
        corner = np.fft.ifft2(np.fft.fftshift(spectrum)).real / factor_of(given.NORM, h * w)
        mistakes = {
            "the way back needs ifftshift; on an odd grid it is another than fftshift": corner
        }
    for norm in NORMS:
        if norm != given.NORM:
            says = f'this is the way back with norm="{norm}"; your course has norm="{given.NORM}"'
            ratio = factor_of(given.NORM, h * w) / factor_of(norm, h * w)
            mistakes[says] = want * ratio
    close(got, want, f"the image of a mean and one wave, {h} x {w}", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="the twin of one bin, on an even and on an odd grid, and in row 0")
def twin_of_one_bin(answer: Answer, given: Given) -> None:
    even, odd = np.zeros((6, 8), bool), np.zeros((5, 7), bool)
    even[3 + 1, 4 + 2] = odd[2 + 1, 3 + 2] = True
    want = np.zeros((6, 8))
    want[3 - 1, 4 - 2] = 1
    mistakes = {
        "a flip alone lands one bin off on an even grid": np.flip(even),
        "this is the mask itself, no bin has moved": even,
        "only the rows are mirrored; both frequencies of a twin change sign": want[
            :, -np.arange(8)
        ],
        "only the columns are mirrored; both frequencies of a twin change sign": even[
            :, -np.arange(8)
        ],
    }
    close(answer.mirrored(even), want, "the twin of (1, 2), 6 x 8 bins", mistakes, see=CHAPTER)
    want = np.zeros((5, 7))
    want[2 - 1, 3 - 2] = 1
    mistakes = {
        "this is right on even axes only; minus the place is not minus the frequency": np.roll(
            np.flip(odd), (1, 1), (0, 1)
        ),
    }
    close(answer.mirrored(odd), want, "the twin of (1, 2), 5 x 7 bins", mistakes, see=CHAPTER)
    border, want = np.zeros((6, 8), bool), np.zeros((6, 8))
    border[0, 4 + 2] = want[0, 4 - 2] = 1
    mistakes = {
        "row 0 and column 0 were left as they are; -3 is its own twin, but 2 has the twin -2": (
            border
        ),
        "the row has changed; with 6 bins -3 is its own twin": np.flip(border),
        "the bin is gone; with 6 bins -3 is its own twin, in the same row": 0 * want,
    }
    close(answer.mirrored(border), want, "the twin of (-3, 2), 6 x 8 bins", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="a good square, a lopsided one, and a square with a patch missing")
def three_squares(answer: Answer, given: Given) -> None:
    good, lopsided, patch = (np.zeros((8, 8), bool) for _ in range(3))
    good[2:7, 2:7] = True  # -2..2
    lopsided[2:6, 2:6] = True  # -2..1
    patch[5:7, 6] = True  # 1 and 2 down, 2 right
    close(
        answer.is_symmetric(good),
        1.0,
        "is_symmetric of the bins -2..2",
        {"this mask is good, and it is condemned; on an even grid a flip lands one bin off": 0.0},
        see=CHAPTER,
    )
    close(
        answer.is_symmetric(lopsided),
        0.0,
        "is_symmetric of [c - 2 : c + 2]",
        {"this passes a mask with the bin -2 and without its twin 2": 1.0},
        see=CHAPTER,
    )
    twin = np.zeros((8, 8), bool)
    twin[2:4, 2] = True
    hidden, both_hidden = good & ~patch, good & ~patch & ~twin
    kept = given.TWINS == "both are kept"
    mistakes = {
        "only one half of the frequencies is hidden, the image is not real any more": hidden,
        "in your course both twins are kept": both_hidden,
        "in your course both twins are hidden": good,
    }
    want = (good if kept else both_hidden).astype(float)
    got = answer.make_symmetric(hidden)
    close(got, want, "make_symmetric of a square with a patch missing", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="the distances of four bins")
def radius_of_four_bins(answer: Answer, given: Given) -> None:
    h, w = 8, 4
    rows, columns = np.array([4, 5, 4, 0]), np.array([2, 2, 3, 0])
    down, right = np.array([0, 1, 0, -4]), np.array([0, 0, 1, -2])
    want = np.hypot(down / h, right / w)
    corner = np.hypot(np.fft.fftfreq(h)[rows], np.fft.fftfreq(w)[columns])
    mistakes = {
        "these are cycles an image; divide by the number of pixels": np.hypot(down, right),
        "both directions are divided by the rows; each has a size of its own": np.hypot(down, right)
        / h,
        "both directions are divided by the columns; each has a size of its own": np.hypot(
            down, right
        )
        / w,
        "these are the larger of the two frequencies, which makes squares and not circles": (
            np.maximum(np.abs(down / h), np.abs(right / w))
        ),
        "the two frequencies are added up; add their squares, then take the root": np.abs(down / h)
        + np.abs(right / w),
        "these are squared distances: the root is missing": want**2,
        "the mean is in the corner: fftshift is missing": corner,
        "the middle is between two bins; the mean stands on one, at [h // 2, w // 2]": np.hypot(
            (rows - (h - 1) / 2) / h, (columns - (w - 1) / 2) / w
        ),
    }
    got = real(answer.radius(h, w), (h, w), f"radius({h}, {w})")
    close(got[rows, columns], want, "the mean, its neighbours, the corner", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="the three masks of nine bins, some exactly on a limit")
def nine_bins(answer: Answer, given: Given) -> None:
    limit = given.LOW
    r = limit * np.array([[2, 1, 2], [1, 0, 1.5], [3, 0.5, 2]])
    slower, on, mean = r < limit, r == limit, r == 0
    with_edge = given.EDGE == "kept"
    low = slower | on if with_edge else slower
    fast = (~slower if with_edge else r > limit) & ~mean
    high = fast | mean if given.CENTRE == "kept" else fast
    mistakes = {
        f"a bin exactly on the limit is {given.EDGE} in your course": low ^ on,
        "this keeps what is faster; a low-pass keeps what is slower": ~low,
        "True means kept; this is True where a bin is hidden": ~slower,
        "a low-pass keeps the mean, and here it is hidden": low & ~mean,
    }
    got = answer.low_pass(r, limit)
    close(got, low.astype(float), "low_pass of nine bins", mistakes, see=CHAPTER)
    mistakes = {
        "this is the opposite of a low-pass, which decides a bin on the limit for one of the two; "
        f"in your course it is {given.EDGE} by both": ~low,
        **about_the_mean(given, high, mean),
        f"a bin exactly on the limit is {given.EDGE} in your course, also by a high-pass": high
        ^ on,
        "this keeps what is slower; a high-pass keeps what is faster": low,
    }
    got = answer.high_pass(r, limit)
    close(got, high.astype(float), "high_pass of nine bins", mistakes, see=CHAPTER)
    band = (r < 2 * limit) & high | (r == 2 * limit if with_edge else r < 0)
    mistakes = {
        **about_the_mean(given, band, mean, "band-pass"),
        "this keeps what lies above the lower limit or below the upper one; a bin must do both": (
            np.ones_like(mean)
        ),
        f"a bin exactly on a limit is {given.EDGE} in your course, also by a band-pass": band
        ^ on
        ^ (r == 2 * limit),
    }
    got = answer.band_pass(r, limit, 2 * limit)
    close(got, band.astype(float), "band_pass of nine bins", mistakes, see=CHAPTER)


def about_the_mean(
    given: Given, want: np.ndarray, mean: np.ndarray, kind: str = "high-pass"
) -> Any:
    """Message -> mask, for whoever treats the mean in the other way."""
    done = "hides" if given.CENTRE == "kept" else "keeps"
    return {f"your {kind} {done} the mean; in your course it is {given.CENTRE}": want ^ mean}


@TESTS("q4", points=1, says="two images of an odd height: one keeps all, the other only its mean")
def everything_or_the_mean(answer: Answer, given: Given) -> None:
    x = np.cos(np.arange(2 * 5 * 6)).reshape(2, 1, 5, 6) - 0.3
    band_mask = np.zeros(x.shape, bool)
    band_mask[0] = True
    band_mask[1, 0, 2, 3] = True
    means = np.broadcast_to(x.mean(axis=(2, 3), keepdims=True), x.shape)
    want = np.stack([x[0], means[1]])
    in_the_corner = np.fft.ifft2(np.fft.fft2(x) * band_mask).real
    back = np.fft.fftshift(np.fft.fftshift(np.fft.fft2(x), (2, 3)) * band_mask, (2, 3))
    mistakes = {
        "the images got each other's masks: name the axes of fftshift and ifftshift": np.stack(
            [means[0], x[1]]
        ),
        "what the mask keeps is hidden; True means kept": x - want,
        "the mask has the mean in the middle, and the spectrum in the corner": in_the_corner,
        "negative values have become positive: take the real part, not the length": np.abs(want),
        "the way back needs ifftshift; on an odd grid it is another than fftshift": (
            np.fft.ifft2(back).real
        ),
    }
    got = real(answer.filter_image(x, band_mask), x.shape, "filter_image")
    close(got, want, "filter_image of two images", mistakes, see=CHAPTER)


@TESTS("q5", points=0.5, says="the energy of all bins is that of all pixels")
def energy_of_all_bins(answer: Answer, given: Given) -> None:
    u = np.sin(np.arange(5 * 6)).reshape(5, 6) + 0.4
    spectrum = np.fft.fftshift(np.fft.fft2(u, norm=given.NORM))
    everything = np.ones(u.shape, bool)
    plain = (np.abs(spectrum) ** 2).sum()
    want = (u**2).sum()
    mistakes = {
        "this is the bare sum over the bins; Parseval's theorem has a factor here": plain,
        **parsevals_factors(given, want, u.size),
        "this is the mean of the squared pixels; the energy is their sum": want / u.size,
        "this adds up the lengths; the energy adds up their squares": np.abs(spectrum).sum(),
        "this adds up the lengths, times the factor; the energy adds up their squares": (
            np.abs(spectrum).sum() * want / plain
        ),
        "no bin is counted, and the mask keeps all; True means kept": 0.0,
        "this adds up the bins, and then squares the sum": np.abs(spectrum.sum()) ** 2,
        "the squares of complex numbers can cancel; square their lengths": np.real(
            (spectrum**2).sum()
        ),
    }
    close(answer.band_energy(spectrum, everything), want, "the whole energy", mistakes, see=CHAPTER)


@TESTS("q5", points=0.5, says="the share of a mean and one wave, beside another wave")
def share_of_one_wave(answer: Answer, given: Given) -> None:
    h, w = 5, 7
    down, right = np.mgrid[:h, :w]
    u = 0.5 + np.cos(2 * np.pi * right / w) + 0.5 * np.sin(4 * np.pi * down / h)
    band_mask = np.zeros((h, w), bool)
    band_mask[2, 2:5] = True  # the mean and the first wave
    # The mean squares: 1/4 of the mean, 1/2 and 1/8 of the waves.
    with_mean, without = 6 / 7, 4 / 5
    want, other = with_mean, without
    if given.SHARE == "without the mean":
        want, other = without, with_mean
    lengths = {"with the mean": 1.5 / 2, "without the mean": 1 / 1.5}
    power = np.abs(np.fft.fft2(u)) ** 2
    mistakes = {
        f"in your course the share is taken {given.SHARE}": other,
        "the mean was left out of the band, but not of the whole": 4 / 7,
        "this is the share of the bins; count their energy": band_mask.mean(),
        "this is a share of lengths; the energy adds up their squares": lengths[given.SHARE],
        "the mask has the mean in the middle, and your spectrum in the corner": (
            power[band_mask].sum() / power.sum()
        ),
    }
    close(answer.share(u, band_mask), want, "share", mistakes, see=CHAPTER)


def parsevals_factors(given: Given, want: float, pixels: int) -> dict[str, Any]:
    """Message -> energy, with the factor of another norm."""
    ratio = factor_of(given.NORM, pixels) ** 2
    return {
        f'the factor goes with norm="{norm}"; your course has norm="{given.NORM}"': want
        * ratio
        / factor_of(norm, pixels) ** 2
        for norm in NORMS
        if norm != given.NORM
    }
