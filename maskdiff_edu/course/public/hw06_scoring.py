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


@TESTS(
    "q1", points=1, says="the residual of your course, in three voxels of the brain and two outside"
)
def residual_of_three_voxels(answer: Answer, given: Given) -> None:
    x = np.array([0.5, 0.5, -0.5, 0.0, 0.0]).reshape(1, 1, 1, 5)
    x_0_hat = np.array([0.25, 0.9, -0.5, 0.3, -0.6]).reshape(1, 1, 1, 5)
    brain = np.array([True, True, True, False, False]).reshape(1, 1, 1, 5)
    brighter, darker, both = [0.25, 0, 0, 0, 0], [0, 0.4, 0, 0, 0], [0.25, 0.4, 0, 0, 0]
    want = {
        "brighter than expected": brighter,
        "darker than expected": darker,
        "either way": both,
    }[given.RESIDUAL]
    mistakes = other_directions(given.RESIDUAL, brighter, darker, both) | {
        "some values lie below 0; a residual is cut off at 0 or is a size": [0.25, -0.4, 0, 0, 0],
        "some values lie below 0, and the sign is turned": [-0.25, 0.4, 0, 0, 0],
    }
    background = {
        "brighter than expected": [0.25, 0, 0, 0, 0.6],
        "darker than expected": [0, 0.4, 0, 0.3, 0],
        "either way": [0.25, 0.4, 0, 0.3, 0.6],
    }[given.RESIDUAL]
    mistakes["outside the brain the residual is not 0"] = background
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
    means = {"the answers": x, "the residuals": x + 0.05}
    mistakes = {
        f"this takes the mean of {other}; your course takes that of {given.MEAN_OF}": means[other],
        "the absolute residual was taken; `kind` says which one is asked for": got,
    }
    got = answer.averaged(x, x_0_hats, "positive")
    close(got, means[given.MEAN_OF], "averaged(…, 'positive')", mistakes, see=CHAPTER)


@TESTS(
    "q3", points=1, says="the median of an even map, of one with a cube, and of one with a plate"
)
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
    kept = {3: 0.9, 5: 0.2}  # 27 bright voxels are all of a cube of 3, and few of one of 5
    cube = np.full(brain.shape, 0.2)
    cube[3:6, :, 4:7, 4:7] = 0.9
    in_cube = (0.9 * 27 + 0.2 * (given.SIZE**3 - 27)) / given.SIZE**3
    mistakes = {
        f"the filter has another size than in your course, {given.SIZE}": kept[8 - given.SIZE],
        "this is the mean of the cube; its median is asked for": in_cube,
    }
    got = array(answer.median(cube * brain, brain), brain.shape, "median")[4, 0, 5, 5]
    what = "the median in the middle of a bright cube of 3 x 3 x 3 voxels"
    close(got, kept[given.SIZE], what, mistakes)
    plate, half = np.full(brain.shape, 0.2), given.SIZE // 2
    plate[4, :, 5 - half : 6 + half, 5 - half : 6 + half] = 0.9
    mistakes = {
        "each slice was filtered by itself; the cube also reaches into the slices above and "
        "below": 0.9,
        "this is the mean of the cube; its median is asked for": 0.2 + 0.7 / given.SIZE,
    }
    got = array(answer.median(plate * brain, brain), brain.shape, "median")[4, 0, 5, 5]
    close(got, 0.2, "the median in the middle of a bright plate, one slice thick", mistakes)


@TESTS("q3", points=1, says="what erosion leaves of two brains, and the order of your course")
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

    def column(k: int) -> np.ndarray:
        """A brain with slanting sides in all slices, so that it goes on beyond the last ones."""
        y, x = np.indices((13, 13)) - 6
        return np.repeat((abs(y) + abs(x) <= 5 - k)[None, None] * 1.0, 11, axis=0)

    ends = column(k)
    ends[:k] = ends[-k:] = 0
    mistakes = {
        "the first and the last slice were eroded, too; beyond them the brain goes on": ends,
        "voxels that touch the outside by an edge or a corner were taken off, too; only faces "
        "count": column(2 * k),
        "the number of layers taken off is not that of your course": column(3 - k),
    }
    got = answer.clean(column(0), column(0) > 0)
    what = "clean, on a map that is 1 all over a brain with slanting sides"
    close(got, column(k), what, mistakes, see=CHAPTER)
    rim = box(0, 0) - box(k, k)
    got = array(answer.clean(rim, brain), rim.shape, "clean")[1 + k, 0, 2 + k, 2 + k]
    require(
        (got > 0.5) == (given.ORDER == "first filter, then erode"),
        f"clean: the order is the other one; your course has {given.ORDER}. Seen at a corner of "
        "what is left, where only the rim that was taken off was bright",
        CHAPTER,
    )


@TESTS("q4", points=1, says="the threshold from two healthy people, with a patient among them")
def threshold_of_three_people(answer: Answer, given: Given) -> None:
    # A third of each brain has the value 0; outside of it lie more zeros.
    rising, nothing, share = np.arange(1.0, 1001), np.zeros(2000), given.RATE
    maps = [np.append(k * rising, nothing).reshape(2, 1, 20, 75) for k in (1, 0.5, 5)]
    numbers = np.arange(3000).reshape(maps[0].shape)
    brain, lesion = numbers < 1500, (numbers >= 800) & (numbers < 1000)
    lesions = [np.zeros_like(brain), np.zeros_like(brain), lesion]
    healthy = np.concatenate([one[brain] for one in maps[:2]])

    def counted(together: int, alone: int, top: float = 1000, step: float = 1) -> float:
        """A share of so many voxels, counted from the top; they fall in equal steps."""
        n = together if given.HEALTHY == "all healthy people together" else alone
        return top - step * share * (n - 1)

    want = counted(3000, 1500)
    mistakes = {
        f"your course looks at {given.HEALTHY}, and this does not": counted(1500, 3000),
        "the brain's voxels whose score is 0 were left out; all voxels of the brain count": counted(
            2000, 1000
        ),
        "the patient is in it, too, with the lesion": counted(4500, 1500, 5000, 5),
        "healthy tissue of the patient is in it; take people without any lesion": counted(
            4300, 1300, 4000, 5
        ),
        "your threshold was chosen on the patient": counted(1500, 1500, 5000, 5),
        "your threshold was chosen on the patient: there it has the best Dice, which only "
        "somebody with the lesion masks can know": 4004.0,
        "the quantile was taken over the whole picture, where most values are background "
        "zeros": counted(6000, 3000),
        "nearly all of the healthy brain lies above this; the share counts from the top": 0.0,
        "this is the share itself; the value that this share of voxels exceeds is asked for": share,
        "this is the highest value, which nothing exceeds": 1000.0,
        "this is mean plus two standard deviations, which does not say which share lies "
        "above": healthy.mean() + 2 * healthy.std(),
    }
    got = answer.threshold(maps, [brain] * 3, lesions)
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
