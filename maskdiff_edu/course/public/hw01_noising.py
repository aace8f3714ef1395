"""Assignment 1, noising: the tests that students have."""

import numpy as np

from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()
CHAPTER = "book/ch02_noising.html"


def betas_of(given: Given, T: int, first: float, last: float) -> np.ndarray:
    """The schedule that the course asks for."""
    if given.SCHEDULE == "in equal steps":
        return np.linspace(first, last, T)
    return np.linspace(first**0.5, last**0.5, T) ** 2


def snr_of(given: Given, alphas_bar: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The SNR as the course asks for it, and what comes out of wrong ideas."""
    ratio = alphas_bar / (1 - alphas_bar)
    decibels = 10 * np.log10(ratio)
    plain = given.SNR == "as a plain ratio"
    return ratio if plain else decibels, {
        f"in your course the ratio is given {given.SNR}, and here it is not": (
            decibels if plain else ratio
        ),
        "this is noise over signal, upside down": 1 / ratio if plain else -decibels,
        "this is a ratio of amplitudes; the SNR is one of powers": (
            np.sqrt(ratio) if plain else decibels / 2
        ),
    }


def half_way_of(given: Given, first: int) -> tuple[int, int]:
    """The time that the course asks for, and the one beside it, which the others ask for.

    first: the first time with at least as much noise as signal.
    """
    return (first, first - 1) if given.HALF_WAY.startswith("the first") else (first - 1, first)


def in_order(given: Given, of_all: float, of_a_pixel: float) -> tuple[float, float]:
    """Both variances in the order of the course."""
    both = of_all, of_a_pixel
    return both if given.ORDER.startswith("first that of all") else both[::-1]


@TESTS("q1", points=1, says="the betas of your course: the first, a middle one, the last")
def betas_begin_and_end(answer: Answer, given: Given) -> None:
    got = array(answer.betas(given.T, given.FIRST, given.LAST), (given.T,), "betas(T, FIRST, LAST)")
    close(got[0], given.FIRST, "the first beta")
    close(got[-1], given.LAST, "the last beta")
    middle, other = (0.05, 0.04) if given.SCHEDULE == "in equal steps" else (0.04, 0.05)
    mistakes = {f"this is not how your course spaces them, which is {given.SCHEDULE}": other}
    got = array(answer.betas(3, 0.01, 0.09), (3,), "betas(3, 0.01, 0.09)")
    close(got[1], middle, "the middle one of betas(3, 0.01, 0.09)", mistakes, see=CHAPTER)


@TESTS("q1", points=1, says="alphas_bar of three betas")
def alphas_bar_of_three(answer: Answer, given: Given) -> None:
    betas = np.array([0.1, 0.2, 0.5])
    mistakes = {
        "this is the share that each single step leaves, not what is left after all so far": 1
        - betas,
        "this multiplies the betas; multiply what the steps leave, 1 - beta": np.cumprod(betas),
        "this adds the betas up; shares of shares multiply": 1 - np.cumsum(betas),
    }
    got = answer.alphas_bar(betas)
    close(got, [0.9, 0.72, 0.36], "alphas_bar([0.1, 0.2, 0.5])", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="the SNR where signal and noise are known")
def snr_where_it_is_known(answer: Answer, given: Given) -> None:
    alphas_bar = np.array([0.9, 0.5, 0.2])
    want, mistakes = snr_of(given, alphas_bar)  # 9, 1 and 1 / 4, or their decibels
    close(answer.snr(alphas_bar), want, "snr([0.9, 0.5, 0.2])", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="half way, where it is easy to see")
def half_way_where_it_is_easy(answer: Answer, given: Given) -> None:
    got = answer.half_way(np.array([0.9, 0.7, 0.4, 0.1]))
    want, other = half_way_of(given, 2)
    mistakes = {f"your course asks for another time, {given.HALF_WAY}": other}
    close(got, want, "half_way([0.9, 0.7, 0.4, 0.1])", mistakes)


@TESTS("q3", points=2, says="the jump without noise, and without signal")
def jump_without_noise(answer: Answer, given: Given) -> None:
    x_0 = np.full((2, 1, 4, 4), 0.5)
    alphas_bar = np.array([0.81, 0.36])
    t = np.array([0, 1])
    nothing = np.zeros_like(x_0)
    shares = np.array([0.9, 0.6]).reshape(2, 1, 1, 1)
    mistakes = {
        "the image is multiplied by alphas_bar; its amplitude fades with the square root": x_0
        * shares**2
    }
    signal = answer.q_sample(x_0, t, nothing, alphas_bar)
    close(signal, x_0 * shares, "x_t without noise", mistakes, see=CHAPTER)
    noise = answer.q_sample(nothing, t, x_0, alphas_bar)
    spread = np.sqrt(1 - shares**2)
    mistakes = {
        "the noise is multiplied by 1 - alphas_bar, its variance; multiply by the square root": x_0
        * spread**2,
        "the noise is multiplied by 1 - sqrt(alphas_bar); powers add up to 1, not amplitudes": x_0
        * (1 - shares),
    }
    close(noise, x_0 * spread, "x_t of a black image", mistakes, see=CHAPTER)


@TESTS("q4", points=2, says="two numbers, for a batch of equal images")
def two_variances(answer: Answer, given: Given) -> None:
    x_t = np.repeat(np.linspace(-1, 1, 16).reshape(1, 1, 4, 4), 50, axis=0)
    got = answer.variances(x_t)
    require(np.shape(got) == (2,), f"variances(x_t): expected two numbers, got {got!r}")
    got, swapped = in_order(given, *got), "the two numbers are in the other order"
    close(got[0], x_t.var(), "the variance over all values", {swapped: 0.0}, rtol=0.06)
    mistakes = {
        "this is the variance within each image; a single pixel's is taken over the images": float(
            x_t.var(axis=(1, 2, 3)).mean()
        )
    }
    close(got[1], 0.0, "the variance of a single pixel, where all images are equal", mistakes)
