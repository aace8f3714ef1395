"""Assignment 6, scoring: the tests that students have."""

from typing import Any

import numpy as np

from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()
CHAPTER = "book/ch08_scoring.html"


def other_directions(kind: str, brighter: Any, darker: Any, both: Any) -> dict[str, Any]:
    """Message -> residual, for whoever looks in other directions than the course."""
    turned = "the sign is the other way round: where your lesions lie, the map stays black"
    two = "this counts what is darker and what is brighter; your course declared one of them"
    one = "this counts one direction only; your course asks for both"
    return {
        "brighter than expected": {turned: darker, two: both},
        "darker than expected": {turned: brighter, two: both},
        "either way": {one: brighter, f"{one} ": darker},
    }[kind]


@TESTS("q1", points=1, says="the residual of your course, in three voxels of the brain")
def residual_of_three_voxels(answer: Answer, given: Given) -> None:
    x = np.array([0.5, 0.5, -0.5, 0.0]).reshape(1, 1, 2, 2)
    x_0_hat = np.array([0.25, 0.9, -0.5, 0.0]).reshape(1, 1, 2, 2)
    brain = np.array([True, True, True, False]).reshape(1, 1, 2, 2)
    brighter, darker, both = [0.25, 0, 0, 0], [0, 0.4, 0, 0], [0.25, 0.4, 0, 0]
    want = {
        "brighter than expected": brighter,
        "darker than expected": darker,
        "either way": both,
    }[given.RESIDUAL]
    mistakes = other_directions(given.RESIDUAL, brighter, darker, both) | {
        "some values lie below 0; a residual is cut off at 0 or is a size": [0.25, -0.4, 0, 0],
        "some values lie below 0, and the sign is turned": [-0.25, 0.4, 0, 0],
    }
    got = array(answer.my_residual(x, x_0_hat, brain), x.shape, "my_residual")
    close(got.ravel(), want, f"the residual, {given.RESIDUAL}", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="two answers on either side of the scan")
def two_answers(answer: Answer, given: Given) -> None:
    x = np.zeros((1, 1, 2, 2))
    x_0_hats = np.stack([x + 0.5, x - 0.1])
    means = {"the answers": x + 0.2, "the residuals": x + 0.3}
    other = "the residuals" if given.MEAN_OF == "the answers" else "the answers"
    mistakes = {
        f"this takes the mean of {other}; your course takes that of {given.MEAN_OF}": means[other],
        "only the first answer is used": x + 0.5,
        "this is the sum; divide by the number of answers": 2 * means[given.MEAN_OF],
    }
    got = answer.averaged(x, x_0_hats, "absolute")
    close(got, means[given.MEAN_OF], "averaged(…, 'absolute')", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="the median of a map that is the same all over the brain")
def median_at_the_rim(answer: Answer, given: Given) -> None:
    brain = ball(9)
    got = array(answer.median(brain * 0.5, brain), brain.shape, "median(values, brain_mask)")
    require(
        not got[~brain].any(),
        "median: some values outside the brain are not 0",
        CHAPTER,
    )
    require(
        not (got[brain] < 0.4).any(),
        "median: at the brain's rim the map is pulled down. The zeros of the background have "
        "voted; only brain voxels may",
        CHAPTER,
    )
    close(got, brain * 0.5, "the median of a map that is 0.5 all over the brain", see=CHAPTER)


@TESTS("q3", points=1, says="how much of the brain erosion leaves")
def erosion_of_a_box(answer: Answer, given: Given) -> None:
    def box(k: int, k_slices: int) -> np.ndarray:
        """A box, with k layers taken off its sides and k_slices off its ends."""
        full = np.zeros((11, 1, 13, 13))
        full[1 + k_slices : 10 - k_slices, :, 2 + k : 11 - k, 2 + k : 11 - k] = 1
        return full

    k = given.LAYERS
    mistakes = {
        "the rim is still there": box(0, 0),
        "the number of layers taken off is not that of your course": box(3 - k, 3 - k),
        "each slice is eroded by itself; the brain has a rim above and below, too": box(k, 0),
    }
    brain = box(0, 0).astype(bool)
    got = answer.clean(brain * 1.0, brain)
    close(got, box(k, k), "clean, on a map that is 1 all over the brain", mistakes, see=CHAPTER)


@TESTS("q4", points=1, says="the threshold from one healthy person")
def threshold_of_one_person(answer: Answer, given: Given) -> None:
    values = np.append(np.arange(1000.0), np.zeros(1000)).reshape(2, 1, 20, 50)
    brain = np.append(np.ones(1000, bool), np.zeros(1000, bool)).reshape(values.shape)
    scores, share = values[brain], given.RATE
    mistakes = {
        "the quantile was taken over the whole picture, where most values are background "
        "zeros": np.quantile(values, 1 - share),
        "nearly all of the healthy brain lies above this; the share counts from the top": (
            np.quantile(scores, share)
        ),
        "this is the share itself; the value that this share of voxels exceeds is asked for": share,
        "this is the highest value, which nothing exceeds": 999.0,
        "this is mean plus two standard deviations, which does not say which share lies "
        "above": scores.mean() + 2 * scores.std(),
    }
    got = answer.threshold([values], [brain], [np.zeros_like(brain)])
    want = np.quantile(scores, 1 - share)
    close(got, want, "the threshold", mistakes, rtol=0, atol=1.6, see=CHAPTER)


@TESTS("q5", points=1, says="which rows of voxels are findings")
def findings_of_rows(answer: Answer, given: Given) -> None:
    values = np.zeros((5, 1, 4, 16))
    values[1, 0, 1, 1 : 1 + given.MIN_VOXELS] = 1  # just long enough
    want = values > 0.5
    values[3, 0, 2, 1 : given.MIN_VOXELS] = 1  # one too short
    brain = np.ones(values.shape, bool)
    mistakes = {
        "the small component is still there": values > 0.5,
        "a component of exactly the smallest size is dropped; it stays": np.zeros(values.shape),
        "all is called that lies below the threshold": values < 0.5,
        "what stays is the small component": (values > 0.5) & ~want,
        "what was not called came out as one large component": (values < 0.5) | want,
    }
    got = answer.findings(values, brain, 0.5)
    close(got, want * 1, "findings", mistakes, see=CHAPTER)


@TESTS("q5", points=1, says="the Dice of two masks that share one voxel")
def dice_of_one_voxel(answer: Answer, given: Given) -> None:
    called = np.array([True, True, True, False, False, False, False, False]).reshape(1, 1, 2, 4)
    lesion = np.array([False, False, True, True, False, False, False, False]).reshape(1, 1, 2, 4)
    mistakes = {
        "this divides by the voxels in either mask (the Jaccard index); divide by the sum of both "
        "sizes": 1 / 4,
        "the factor 2 is missing": 1 / 5,
        "this is the share of the called voxels that is lesion": 1 / 3,
        "this is the share of the lesion that was called": 1 / 2,
        "this counts the voxels without a lesion, too, in which both agree": 5 / 8,
    }
    close(answer.dice(called, lesion), 0.4, "dice", mistakes, see=CHAPTER)


def ball(n: int) -> np.ndarray:
    """A round brain mask (n, 1, n + 2, n + 2) that touches no end."""
    z, _, y, x = np.indices((n, 1, n + 2, n + 2))
    distance = (z - (n - 1) / 2) ** 2 + (y - (n + 1) / 2) ** 2 + (x - (n + 1) / 2) ** 2
    return distance <= (n / 2 - 0.7) ** 2
