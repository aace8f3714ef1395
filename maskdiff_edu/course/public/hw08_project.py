"""Assignment 8, a corruption of one's own: the tests that students have."""

from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, draws_from_rng, require

TESTS = Tests()
PAGE = "book/own_mask.html"
EVALUATION = "book/ch09_evaluation.html"
VISIBLE = 0.01  #: a smaller change counts as none


def made_up_slices(
    rng: np.random.Generator, b: int, h: int, w: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Oval "brains" of grey blotches: images (b, 1, h, w) float32 in [-1, 1], brain masks bool."""
    rows, columns = np.indices((h, w))
    sizes = rng.uniform(0.3, 0.4, (b, 2, 1, 1))
    far = np.hypot((rows - h / 2) / (h * sizes[:, 0]), (columns - w / 2) / (w * sizes[:, 1]))
    brain = (far < 1)[:, None]
    blotches = gaussian_filter(rng.standard_normal((b, 1, h, w)), (0, 0, 2.5, 2.5))
    grey = np.clip(0.1 + 0.3 * blotches / blotches.std(), -0.8, 0.95)
    images = np.where(brain, grey, -1).astype(np.float32)
    return torch.from_numpy(images), torch.from_numpy(brain)


def outcomes_of(
    answer: Answer, images: torch.Tensor, brain_masks: torch.Tensor, *seeds: int
) -> list[np.ndarray]:
    """What `corrupt` made of these slices with each seed, of the right shape and kind."""
    got = answer.tried(images, brain_masks, list(seeds))
    require(
        isinstance(got, (tuple, list)) and len(got) == 2 and len(got[0]) == len(seeds),
        "tried: leave this function as it stands in the notebook; the tests call it",
    )
    return [as_slices(one, images) for one in got[0]]


def as_slices(got: Any, images: torch.Tensor) -> np.ndarray:
    """The result of `corrupt`, if it could be the corrupted version of these slices."""
    require(got is not None, "corrupt: expected slices, got None; does it return its result?")
    kind = getattr(got, "dtype", None)
    require(
        kind != torch.bool,
        "corrupt: this is a mask; give back the slices with what is hidden in them",
        PAGE,
    )
    found = array(got, images.shape, "corrupt")
    require(
        kind == images.dtype, f"corrupt: expected {images.dtype} as the slices have, got {kind}"
    )
    return found


def visible(hidden: np.ndarray, images: torch.Tensor) -> np.ndarray:
    """Where a slice has changed: bool of its shape."""
    return np.abs(hidden - images.numpy()) > VISIBLE


@TESTS("q1", points=0.5, says="something is hidden, inside the brain, on the scale of the slices")
def hides_inside_the_brain(answer: Answer, given: Given) -> None:
    images, brain_masks = made_up_slices(np.random.default_rng(1), 16, 96, 96)
    [hidden] = outcomes_of(answer, images, brain_masks, 5)
    changed, brain = visible(hidden, images), brain_masks.numpy()
    require(
        not changed[~brain].any(),
        f"corrupt: {changed[~brain].mean():.0%} of the background changes too; a hole there costs "
        "nothing and teaches nothing, keep to `brain_masks`",
        PAGE,
    )
    require(changed.any(), "corrupt: the slices came back as they were; nothing is hidden", PAGE)
    require(
        np.abs(hidden).max() <= 2,
        f"corrupt: values from {hidden.min():.3g} to {hidden.max():.3g}; slices run from -1 to 1, "
        "where 0 is mid-grey and -1 is background",
        PAGE,
    )


@TESTS("q1", points=0.5, says="where chance comes from, and that the clean slices stay")
def chance_and_clean_slices(answer: Answer, given: Given) -> None:
    images, brain_masks = made_up_slices(np.random.default_rng(2), 1, 96, 96)
    same = [tensor.repeat(8, 1, 1, 1) for tensor in (images, brain_masks)]
    first, again = outcomes_of(answer, *same, 5, 5)
    _, afterwards = answer.tried(*same, [5])
    require(
        np.array_equal(array(afterwards, same[0].shape, "the clean slices"), same[0]),
        "corrupt: it writes into the clean slices, which are the target of the training; make a "
        "new tensor, for example with torch.where",
        PAGE,
    )
    require(
        np.allclose(first, again, atol=1e-6),
        "corrupt: twice the same seed, two results; some chance does not come from `generator`. "
        "Hand it to everything that draws",
        PAGE,
    )
    [other] = outcomes_of(answer, *same, 6)
    require(
        not np.allclose(first, other, atol=1e-6),
        "corrupt: two seeds, one result; draw from the `generator` that is handed in, neither "
        "from one of your own nor not at all",
        PAGE,
    )
    require(
        np.abs(first - first[:1]).max() > 1e-4,
        "corrupt: eight times the same slice, eight times the same result; all slices of a batch "
        "share one draw. Give what you draw a first dimension of b",
        PAGE,
    )


@TESTS("q2", points=0.5, says="the three lazy answers to one slice, and to one with nothing hidden")
def lazy_answers_to_one_slice(answer: Answer, given: Given) -> None:
    clean = torch.full((1, 1, 6, 6), -1.0, dtype=torch.float64)
    clean[..., 1:5, 1:5] = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    brain_masks = clean > -1
    hidden = clean.clone()
    hidden[..., 2, 2] = 0.0  # was 0.4
    mean, beside = 7.6 / 16, (0.4 + 0.4 + 0.2 + 0.6) / 4
    errors = np.abs([0.4, mean - 0.4, beside - 0.4])
    other = errors**2 if given.ERROR == "absolute" else errors
    errors = errors if given.ERROR == "absolute" else errors**2
    mistakes = {
        f"in your course the error is {given.ERROR}": other,
        "this is taken over all pixels of the brain; score only where something is hidden": [
            errors[0] / 16,
            *_over_the_brain(clean, hidden, given)[1:],
        ],
    }
    got = array(answer.lazy_errors(clean, hidden, brain_masks), (3,), "lazy_errors")
    close(got, errors, "lazy_errors: copy, mean, neighbours", mistakes, see=PAGE, atol=1e-6)
    found = np.asarray(answer.lazy_errors(clean, clean, brain_masks), float)
    require(
        np.isfinite(found).all(),
        "lazy_errors: without a hidden pixel this is the mean of nothing; the scores are 0 then",
        PAGE,
    )
    close(found, np.zeros(3), "lazy_errors, where nothing is hidden", see=PAGE)


def _over_the_brain(clean: torch.Tensor, hidden: torch.Tensor, given: Given) -> list[float]:
    """The three scores as they come out where every pixel of the small brain counts."""
    y, x = clean.numpy()[0, 0], hidden.numpy()[0, 0]
    beside = sum(np.roll(x, s, a) for s in (1, -1) for a in (0, 1)) / 4
    power = 1 if given.ERROR == "absolute" else 2
    brain = y > -1
    return [float((np.abs(a - y)[brain] ** power).mean()) for a in (x, x[brain].mean(), beside)]


#: level -> the interval of the eight gains below, from very many draws
GAINS = np.array([-0.06, -0.02, 0.0, 0.02, 0.05, 0.06, 0.1, 0.17])
OF_EIGHT = {90: (0.0013, 0.08), 95: (-0.005, 0.0888)}


def mean_and_ends(given: Given, got: Any) -> np.ndarray:
    """The mean difference and both ends, whatever the order in the course. Raises: Wrong."""
    got = array(got, (3,), "paired_interval")
    mean, low, high = got if given.RETURNS.startswith("the mean") else got[[1, 0, 2]]
    require(
        low - 1e-9 <= mean <= high + 1e-9,
        "paired_interval: the mean difference does not lie between the two ends; in your course "
        f"the order is: {given.RETURNS}",
        EVALUATION,
    )
    return np.array([mean, low, high])


@TESTS("q4", points=1, says="the interval where all patients gain alike, and where they do not")
def interval_of_equal_gains(answer: Answer, given: Given) -> None:
    patients = np.linspace(0.1, 0.8, 8)
    plain = patients + np.array([[-0.02], [0.02]])
    own = patients + 0.05 + np.array([[-0.03], [0.0], [0.03]])
    got = answer.paired_interval(own, plain, np.random.default_rng(3), 400)
    got = mean_and_ends(given, got)
    mistakes = {
        "the sign is the other way round: it is `own` minus `plain`": -0.05,
        "this is the difference of the best trainings, not of their means": 0.06,
        "this is the sum over patients; take the mean": 0.4,
        "this is the mean of `own` alone; take it patient by patient minus `plain`": own.mean(),
    }
    close(got[0], 0.05, "paired_interval: the difference", mistakes, see=EVALUATION)
    require(
        np.ptp(got[1:]) < 1e-6,
        f"paired_interval: every patient gains 0.05, yet the interval is {np.ptp(got[1:]):.3f} "
        "wide; take the difference patient by patient, and then resample patients, each with all "
        "trainings",
        EVALUATION,
    )
    close(got[1:], [0.05, 0.05], "paired_interval: the interval", see=EVALUATION)
    own = plain.mean(axis=0) + GAINS + np.array([[-0.03], [0.0], [0.03]])
    rest = (100 - given.LEVEL) / 2

    def ends(seed: int, n: int = 8000) -> np.ndarray:
        got = answer.paired_interval(own, plain, np.random.default_rng(seed), n)
        return mean_and_ends(given, got)[1:]

    got = ends(3)
    mistakes = {
        f"this is an interval of another level; in your course it is {given.LEVEL} %": OF_EIGHT[
            185 - given.LEVEL
        ],
        "this is where single patients lie, not where their mean lies": np.percentile(
            GAINS, [rest, 100 - rest]
        ),
    }
    what = "paired_interval: the interval of eight gains from -0.06 to 0.17"
    close(got, OF_EIGHT[given.LEVEL], what, mistakes, rtol=0, atol=0.004, see=EVALUATION)
    draws_from_rng(lambda seed: ends(seed, 40), "paired_interval", see=EVALUATION)
