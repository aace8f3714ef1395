"""Assignment 2, denoising: the tests that students have."""

import itertools

import numpy as np

from maskdiff_edu.course.tasks import Answer, Given, Tests, close, require

TESTS = Tests()
CHAPTER = "book/ch03_denoising.html"
HOLES = "book/ch07_denoise_or_fill_in.html"


def in_order(given: Given, l2: float, l1: float) -> tuple[float, float]:
    """Two guesses in the order that the course asks for."""
    return (l2, l1) if given.RETURNS == "first L2, then L1" else (l1, l2)


def sign_of_v(given: Given) -> int:
    """1 where v is the book's, -1 where it has the other sign."""
    return 1 if given.V_IS == "noise minus image" else -1


def what_is_asked(given: Given, variance: float) -> float:
    """The variance that is left, or its root."""
    return variance if given.LEFT == "variance" else variance**0.5


def squares(*numbers: float) -> np.ndarray:
    """Images of one value each, (b, 1, 2, 2)."""
    return np.ones((len(numbers), 1, 2, 2)) * np.reshape(numbers, (-1, 1, 1, 1))


@TESTS("q1", points=1, says="the expected loss of a pixel with two values")
def loss_by_hand(answer: Answer, given: Given) -> None:
    values, chances = np.array([-1.0, 1.0]), np.array([0.2, 0.8])
    for p, want in ((1, 0.7), (2, 0.65), (3, 0.775)):
        mistakes = {
            "the chances are not used; a loss counts as much as its chance": (1.5**p + 0.5**p) / 2,
            "the chances are not used; a loss counts only as much as its chance": 1.5**p + 0.5**p,
            "this is the loss of the mean value; first the losses, then their mean": 0.1**p,
            "this is the L1 loss, whatever p is": 0.7,
            "the root is taken; the L-p loss is the power itself": want ** (1 / p),
        }
        got = answer.expected_loss(0.5, values, chances, p)
        close(got, want, f"expected_loss of the guess 0.5, p = {p}", mistakes, see=CHAPTER)


@TESTS("q1", points=1, says="the best guesses for a pixel with four values, in no order")
def best_of_four(answer: Answer, given: Given) -> None:
    values, chances = np.array([0.8, 0.2, -1.0, -0.4]), np.array([0.4, 0.05, 0.2, 0.35])
    want = in_order(given, -0.01, -0.4)
    mistakes = {
        "the two numbers are in the other order": want[::-1],
        "the chances are not used": in_order(given, -0.1, -0.1),
        "the median does not look at the chances": in_order(given, -0.01, -0.1),
        "under L1 the best guess is a median, and no number in between": in_order(
            given, -0.01, -0.01
        ),
        "the L1 guess is the likeliest value; the best one is the median": in_order(
            given, -0.01, 0.8
        ),
        "the chances are added up without sorting the values first": in_order(given, -0.01, -1.0),
    }
    got = answer.best_guesses(values, chances)
    close(got, want, "the best guesses", mistakes)


@TESTS("q2", points=1, says="the best denoiser and what is left, with m = 0.2 and s = 0.5")
def denoiser_by_hand(answer: Answer, given: Given) -> None:
    x_t = np.array([-1.0, 0.0, 2.0])
    # The SNR is 16 / 9 and 1 / s**2 is 4, so the weights are 4 / 13 and 9 / 13.
    measured, trust, variance = x_t / 0.8, 4 / 13, 9 / 52

    def weighed(share: float, of: np.ndarray = measured, m: float = 0.2) -> np.ndarray:
        return share * of + (1 - share) * m

    mistakes = {
        "s stands where the variance belongs, its square": weighed(8 / 17),
        "this trusts the measurement completely; the pixel's own mean counts, too": measured,
        "x_t is not divided by sqrt(alpha_bar); it is a faded image": weighed(trust, x_t),
        "the weights are exchanged: more signal means more trust in what is seen": weighed(
            1 - trust
        ),
        "the mean of the pixel is missing from the weighted mean": weighed(trust, m=0.0),
        "the SNR is a ratio of powers, without a root": weighed(1 / 4),
    }
    got = answer.best_denoiser(x_t, 0.64, 0.2, 0.5)
    what = "best_denoiser at alpha_bar = 0.64"
    close(got, weighed(trust), what, mistakes, see=CHAPTER)
    mistakes = {
        "this is the variance; your course asks for the standard deviation": variance,
        "this is the standard deviation; your course asks for the variance": variance**0.5,
        "this is what the best guess varies by, not what is left": what_is_asked(
            given, 0.25 - variance
        ),
        "the two variances are added; what adds up is one over them": what_is_asked(
            given, 0.25 + 9 / 16
        ),
        "s stands where its square belongs": what_is_asked(given, 9 / 34),
    }
    got = answer.what_is_left(0.64, 0.5)
    close(got, what_is_asked(given, variance), "what_is_left(0.64, 0.5)", mistakes, see=CHAPTER)


@TESTS("q3", points=0.5, says="from x_0 to the other targets, in numbers")
def targets_by_hand(answer: Answer, given: Given) -> None:
    # alpha_bar .64 and .36, so the factors are .8 and .6, then .6 and .8; eps is .5 and -1
    x_0, x_t, alphas_bar = squares(-1.0, 0.25), squares(-0.5, -0.65), np.array([0.64, 0.36])
    close(answer.from_x_0("x_0", x_0, x_t, alphas_bar), x_0, "x_0 from x_0")
    mistakes = {
        "x_t - sqrt(alpha_bar) x_0 is noise that is still multiplied by its factor": squares(
            0.3, -0.8
        ),
        "alpha_bar stands where its square root belongs": squares(0.14 / 0.36, -0.74 / 0.64),
    }
    got = answer.from_x_0("eps", x_0, x_t, alphas_bar)
    close(got, squares(0.5, -1.0), "eps from x_0", mistakes, see=CHAPTER)
    sign = sign_of_v(given)
    mistakes = {
        "this v has the sign of the other convention": -sign * squares(1.0, -0.8),
        "the two factors of v are exchanged": sign * squares(1.1, -0.95),
        "both parts of v have the same sign": sign * squares(-0.2, -0.4),
    }
    got = answer.from_x_0("v", x_0, x_t, alphas_bar)
    close(got, sign * squares(1.0, -0.8), "v from x_0", mistakes, see=CHAPTER)


@TESTS("q3", points=0.5, says="back to x_0, in numbers")
def back_by_hand(answer: Answer, given: Given) -> None:
    want, x_t, alphas_bar = squares(-1.0, 0.25), squares(-0.5, -0.65), np.array([0.64, 0.36])
    close(answer.to_x_0("x_0", want, x_t, alphas_bar), want, "x_0 from x_0")
    mistakes = {
        "the noise is taken away, but the image is still faded": squares(-0.8, 0.15),
        "the noise is taken away with the factor 1": squares(-1.25, 0.35 / 0.6),
    }
    got = answer.to_x_0("eps", squares(0.5, -1.0), x_t, alphas_bar)
    close(got, want, "x_0 from eps", mistakes, see=CHAPTER)
    sign = sign_of_v(given)
    mistakes = {
        "this takes v with the sign of the other convention": squares(0.2, -1.03),
        "v is taken for noise": squares((-0.5 - 0.6 * sign) / 0.8, (-0.65 + 0.64 * sign) / 0.6),
        "v is taken for noise; it holds a part of the image, too": squares(-1.1 / 0.8, -0.01 / 0.6),
        "this divides; from v to x_0 you need no division": squares(-1.4 / 0.6, 0.41 / 0.8),
    }
    got = answer.to_x_0("v", sign * squares(1.0, -0.8), x_t, alphas_bar)
    close(got, want, "x_0 from v", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="from each of the three to each, in numbers")
def each_to_each(answer: Answer, given: Given) -> None:
    x_t, alphas_bar = squares(-0.5, -0.65), np.array([0.64, 0.36])
    v = sign_of_v(given) * squares(1.0, -0.8)
    all_three = {"x_0": squares(-1.0, 0.25), "eps": squares(0.5, -1.0), "v": v}
    for kind, wanted in itertools.product(all_three, repeat=2):
        mistakes = {
            "this is the answer as it came, not converted": all_three[kind],
            "this is the image x_0; go on from it to the target that is wanted": all_three["x_0"],
            "v has the sign of the other convention": -v,
        }
        got = answer.convert(all_three[kind], kind, wanted, x_t, alphas_bar)
        close(got, all_three[wanted], f"convert from {kind} to {wanted}", mistakes, see=CHAPTER)


@TESTS("q4", points=1, says="x_t of two slices with a hole")
def hole_under_noise(answer: Answer, given: Given) -> None:
    x_0, eps, alphas_bar = squares(0.5, -0.5), squares(1.0, -2.0), np.array([0.64, 0.36])
    patch_mask = np.zeros(x_0.shape, bool)
    patch_mask[..., 0] = True
    signal, noise = squares(0.8, 0.6), squares(0.6, 0.8)
    seen, hole = signal * x_0 + noise * eps, np.full(x_0.shape, given.HOLE)
    other = np.full(x_0.shape, -1.0 - given.HOLE)
    mistakes = {
        "the hole lies on top of the noise; hide first, then noise": np.where(
            patch_mask, hole, seen
        ),
        "this shows the hole and hides the rest; True means hidden": np.where(
            patch_mask, seen, signal * hole + noise * eps
        ),
        "the hole has another value than in your course": np.where(
            patch_mask, signal * other + noise * eps, seen
        ),
        "there is no noise in the hole; it is added everywhere": np.where(
            patch_mask, signal * hole, seen
        ),
        "nothing is hidden": seen,
    }
    want = np.where(patch_mask, signal * hole + noise * eps, seen)
    got = answer.hide_and_noise(x_0, patch_mask, eps, alphas_bar)
    close(got, want, "hide_and_noise", mistakes, see=HOLES)


@TESTS("q4", points=1, says="the redefined target, and the image that a target implies, in numbers")
def implied_by_hand(answer: Answer, given: Given) -> None:
    x_t, alphas_bar = squares(0.5, -0.65), np.array([0.64, 0.36])
    mistakes = {
        "the noise is taken away, but the image is still faded": squares(0.2, 0.15),
        "this divides by alpha_bar; the image was multiplied by the square root": squares(
            0.2 / 0.64, 0.15 / 0.36
        ),
        "the target is taken away with the factor 1": squares(0.0, 0.35 / 0.6),
        "this is the target that an image would have; here the target is given": squares(
            0.1 / 0.6, -0.05 / 0.8
        ),
    }
    got = answer.implied_x_0(x_t, squares(0.5, -1.0), alphas_bar)
    close(got, squares(0.25, 0.25), "implied_x_0", mistakes, see=HOLES)
    mistakes = {
        "this is not divided by the noise's factor": squares(0.3, -0.8),
        "alpha_bar stands where its square root belongs": squares(0.34 / 0.6, -0.74 / 0.8),
        "this divides by the noise's variance; its factor is the root of it": squares(
            0.3 / 0.36, -0.8 / 0.64
        ),
        "this is x_t - x_0; the image in x_t is faded": squares(0.25, -0.9),
    }
    got = answer.redefined_eps(x_t, squares(0.25, 0.25), alphas_bar)
    close(got, squares(0.5, -1.0), "redefined_eps", mistakes, see=HOLES)


@TESTS("q5", points=1, says="a table with two bins, and what it answers")
def table_of_two(answer: Answer, given: Given) -> None:
    # One value lies below the first edge, and one above the last.
    x_t = np.array([0.1, 1.2, 0.4, 0.8, 1.4, 1.6, 2.5, -0.5, 0.6, 1.8])
    target = np.array([1.0, -2.0, 1.0, 4.0, -4.0, -6.0, -15.0, 11.0, 3.0, -8.0])
    means, medians = (4.0, -7.0), (3.0, -6.0)
    want, best = (medians, np.median) if given.LOSS == "L1" else (means, np.mean)
    of_all, of_x_t = best(target), (best(x_t[x_t < 1]), best(x_t[x_t >= 1]))
    dropped = (2.0 if given.LOSS == "L1" else 2.25, -5.0)
    outside = "x_t outside of the edges was dropped; it counts to the first or to the last bin"
    mistakes = {
        "these are means; under the L1 loss a median is learnt": means,
        "these are medians; under the L2 loss a mean is learnt": medians,
        "every bin has learnt from all pixels; it meets its own only": np.full(2, of_all),
        "this is learnt from x_t itself, not from the target": of_x_t,
        outside: dropped,
        f"{outside}; yours does it above only": (want[0], dropped[1]),
        f"{outside}; yours does it below only": (dropped[0], want[1]),
    }
    edges = np.array([0.0, 1.0, 2.0])
    close(answer.learn(x_t, target, edges), want, "learn, two bins", mistakes)
    got = answer.look_up(np.array([[0.9, 1.1], [-3.0, 9.0]]), edges, np.array([5.0, 7.0]))
    require(np.shape(got) == (2, 2), f"look_up: expected the shape of x_t, (2, 2), got {got!r}")
    mistakes = {
        "the bins are in the wrong order": [[7.0, 5.0], [7.0, 5.0]],
        "this draws a line between the bins; the table has one answer for a bin": [
            [5.8, 6.2],
            [5.0, 7.0],
        ],
    }
    close(got, [[5.0, 7.0], [5.0, 7.0]], "look_up, from a table with two bins", mistakes)
