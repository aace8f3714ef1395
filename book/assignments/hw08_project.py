"""Assignment 8, a corruption of one's own: hidden tests, right solutions, mistakes to be caught.

A corruption may be anything, so it is tested by what has to hold of all: see `q1`.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw08_project import (
    EVALUATION,
    PAGE,
    made_up_slices,
    mean_and_ends,
    outcomes_of,
    visible,
)
from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, draws_from_rng, require

TESTS = Tests()


def seeds_of(rng: np.random.Generator, n: int) -> list[int]:
    """Seeds that differ."""
    return [int(seed) for seed in 1 + rng.permutation(10_000)[:n]]


@TESTS("q1", points=1, says="the same seed hides the same, another seed something else")
def the_seed_decides(answer: Answer, given: Given) -> None:
    rng = given.rng("the_seed_decides")
    images, brain_masks = made_up_slices(rng, 6, 96, 96)
    one, other = seeds_of(rng, 2)
    first, second = outcomes_of(answer, images, brain_masks, one, one)
    require(
        np.allclose(first, second, atol=1e-6),
        "corrupt: twice the same seed, two results; some chance does not come from `generator`. "
        "Hand it to everything that draws",
        PAGE,
    )
    [third] = outcomes_of(answer, images, brain_masks, other)
    require(
        not np.allclose(first, third, atol=1e-6),
        "corrupt: two seeds, one result; draw from the `generator` that is handed in, neither "
        "from one of your own nor not at all",
        PAGE,
    )


@TESTS("q1", points=0.5, says="the clean slices are still clean afterwards")
def clean_slices_stay(answer: Answer, given: Given) -> None:
    rng = given.rng("clean_slices_stay")
    images, brain_masks = made_up_slices(rng, 8, 96, 96)
    outcomes, afterwards = answer.tried(images, brain_masks, seeds_of(rng, 1))
    require(outcomes[0] is not None, "corrupt: expected slices, got None")
    require(
        np.array_equal(array(afterwards, images.shape, "the clean slices"), images),
        "corrupt: it writes into the clean slices, which are the target of the training; make a "
        "new tensor, for example with torch.where",
        PAGE,
    )


@TESTS("q1", points=1, says="each slice of a batch draws for itself")
def each_slice_draws(answer: Answer, given: Given) -> None:
    rng = given.rng("each_slice_draws")
    images, brain_masks = made_up_slices(rng, 1, 96, 96)
    same = [tensor.repeat(16, 1, 1, 1) for tensor in (images, brain_masks)]
    [hidden] = outcomes_of(answer, *same, *seeds_of(rng, 1))
    different = np.abs(hidden - hidden[:1]).max(axis=(1, 2, 3)) > 1e-4
    require(
        different.any(),
        "corrupt: sixteen times the same slice, sixteen times the same result; all slices of a "
        "batch share one draw. Give what you draw a first dimension of b",
        PAGE,
    )


@TESTS("q1", points=0.5, says="a batch of one, other heights and widths, a slice without a brain")
def every_slice_of_a_head(answer: Answer, given: Given) -> None:
    rng = given.rng("every_slice_of_a_head")
    for b, h, w in ((1, 96, 96), (3, 64, 80), (2, 112, 96)):
        outcomes_of(answer, *made_up_slices(rng, b, h, w), *seeds_of(rng, 1))
    images, brain_masks = made_up_slices(rng, 4, 96, 96)
    rows, columns = np.indices((96, 96))
    few = torch.from_numpy(np.hypot(rows - 48, columns - 48) < 2)
    for i, kept in ((0, torch.zeros_like(few)), (2, few)):  # above the head, and its very top
        brain_masks[i] &= kept
        images[i] = torch.where(brain_masks[i], images[i], -1.0)
    [hidden] = outcomes_of(answer, images, brain_masks, *seeds_of(rng, 1))
    require(
        not visible(hidden, images)[0].any(),
        "corrupt: something changes in a slice that holds no brain",
        PAGE,
    )


@TESTS("q1", points=1, says="enough is hidden, and not everything")
def enough_but_not_all(answer: Answer, given: Given) -> None:
    rng = given.rng("enough_but_not_all")
    images, brain_masks = made_up_slices(rng, 32, 96, 96)
    [seed] = seeds_of(rng, 1)
    [hidden] = outcomes_of(answer, images, brain_masks, seed)
    changed, brain = visible(hidden, images), brain_masks.numpy()
    share = changed[brain].mean()
    some = changed.any(axis=(1, 2, 3)).mean()
    require(
        share >= 0.01 and some >= 0.5,
        f"corrupt: {share:.1%} of the brains' pixels change by more than 0.01, in {some:.0%} of "
        "the slices; what a network hardly ever meets it need not learn",
        PAGE,
    )
    other, _ = made_up_slices(rng, 32, 96, 96)
    [instead] = outcomes_of(answer, torch.where(brain_masks, other, -1.0), brain_masks, seed)
    require(
        np.abs(hidden - instead)[brain].mean() > 0.01,
        "corrupt: other brains give the same result; everything is hidden, and the network has "
        "nothing to draw a brain from",
        PAGE,
    )


def lazy_scores(
    clean: np.ndarray, hidden: np.ndarray, brain: np.ndarray, power: int, **wrong: bool
) -> list[float]:
    """The three scores, pixel by pixel; `wrong` names a mistake to be made on the way."""
    errors: list[list[float]] = [[], [], []]
    for y, x, inside in zip(clean[:, 0], hidden[:, 0], brain[:, 0], strict=True):
        seen = y if wrong.get("from_clean") else x
        counted = np.ones_like(inside) if wrong.get("frame") else inside
        mean = seen[counted].mean() if counted.any() else 0.0
        for i, j in np.argwhere(inside):
            if not wrong.get("everywhere") and abs(y[i, j] - x[i, j]) <= 0.01:
                continue
            beside = [seen[i - 1, j], seen[i + 1, j], seen[i, j - 1], seen[i, j + 1]]
            if wrong.get("itself"):
                beside.append(seen[i, j])
            for k, answer in enumerate((x[i, j], mean, np.mean(beside))):
                errors[k].append(abs(answer - y[i, j]) ** power)
    return [float(np.mean(e)) if e else 0.0 for e in errors]


def corrupted_slices(rng: np.random.Generator, b: int) -> tuple[torch.Tensor, ...]:
    """Clean slices, the same with smooth changes in a part of each brain, and brain masks."""
    images, brain_masks = (t.double() if t.is_floating_point() else t for t in
                           made_up_slices(rng, b, 40, 36))  # fmt: skip
    change = torch.from_numpy(rng.uniform(-0.6, 0.6, (b, 1, 1, 1)))
    where = torch.from_numpy(rng.random((b, 1, 40, 36)) < rng.uniform(0.1, 0.7, (b, 1, 1, 1)))
    return images, torch.where(where & brain_masks, images + change, images), brain_masks


@TESTS("q2", points=1, says="the scores of a batch in which much or little is hidden")
def lazy_scores_of_a_batch(answer: Answer, given: Given) -> None:
    clean, hidden, brain_masks = corrupted_slices(given.rng("lazy_scores_of_a_batch"), 5)
    power = 1 if given.ERROR == "absolute" else 2
    arrays = [t.numpy() for t in (clean, hidden, brain_masks)]
    score = partial(lazy_scores, *arrays, power)
    want = score()
    each = [lazy_scores(*(a[i : i + 1] for a in arrays), power) for i in range(len(clean))]
    wrong = {
        f"in your course the error is {given.ERROR}": lazy_scores(*arrays, 3 - power),
        "this is taken over all pixels of the brain; score only where something is hidden": score(
            everywhere=True
        ),
        "this is the mean of the slices' means; all hidden pixels of the batch count alike": (
            np.mean(each, axis=0)
        ),
        "the answer is made from the clean slice, which the network does not see": score(
            from_clean=True
        ),
        "the mean is taken over the whole picture; take it over the brain": score(frame=True),
        "the pixel itself is among its neighbours": score(itself=True),
    }
    got = array(answer.lazy_errors(clean, hidden, brain_masks), (3,), "lazy_errors")
    for i, name in enumerate(("copy", "mean", "neighbours")):
        mistakes = {words: values[i] for words, values in wrong.items()}
        close(got[i], want[i], f'lazy_errors, "{name}"', mistakes, see=PAGE, rtol=1e-3)


@TESTS("q2", points=0.5, says="the scores where nothing is hidden")
def lazy_scores_of_nothing(answer: Answer, given: Given) -> None:
    clean, _, brain_masks = corrupted_slices(given.rng("lazy_scores_of_nothing"), 2)
    got = answer.lazy_errors(clean, clean + 0.001, brain_masks)
    found = np.asarray([np.nan if v is None else v for v in got] if got is not None else np.nan)
    require(
        np.isfinite(found).all(),
        "lazy_errors: without a hidden pixel this is the mean of nothing; the scores are 0 then",
        PAGE,
    )
    close(found, np.zeros(3), "lazy_errors, where no pixel changes by more than 0.01", see=PAGE)


def trainings(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """AUPRC of patients who differ much from one another, in three and in two trainings."""
    patients = rng.uniform(0.1, 0.8, 11)
    gains = rng.normal(0.03, 0.04, 11)
    own = patients + gains + rng.normal(0, 0.03, (3, 11)) + np.array([[-0.01], [0.0], [0.01]])
    return own, patients + rng.normal(0, 0.03, (2, 11))


def ends(values: np.ndarray, level: float) -> np.ndarray:
    """An interval of the mean by SciPy's bootstrap."""
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=level / 100, method="percentile", n_resamples=20_000,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    return np.array([found.low, found.high])


@TESTS("q4", points=1, says="the interval of another table of trainings and patients")
def interval_of_other_trainings(answer: Answer, given: Given) -> None:
    rng = given.rng("interval_of_other_trainings")
    own, plain = trainings(rng)
    each = own.mean(axis=0) - plain.mean(axis=0)
    want, level = ends(each, given.LEVEL), given.LEVEL
    rest = (100 - level) / 2
    draw = np.random.default_rng(2)
    apart = [
        draw.choice(own.mean(axis=0), 11).mean() - draw.choice(plain.mean(axis=0), 11).mean()
        for _ in range(8000)
    ]
    mistakes: dict[str, Any] = {
        f"this is an interval of another level; in your course it is {level} %": ends(
            each, 185 - level
        ),
        "the patients of `own` and of `plain` are drawn apart; they are the same people, so draw "
        "their differences": np.percentile(apart, [rest, 100 - rest]),
        "this is where single patients lie, not where their mean lies": np.percentile(
            each, [rest, 100 - rest]
        ),
        "every training counts as a patient of its own; the mean over trainings comes first": ends(
            np.concatenate([row - plain.mean(axis=0) for row in own]), level
        ),
    }
    got = mean_and_ends(given, answer.paired_interval(own, plain, rng, 8000))
    close(got[0], each.mean(), "paired_interval: the difference", see=EVALUATION)
    width = float(np.ptp(want))
    what = "paired_interval: the interval"
    close(got[1:], want, what, mistakes, rtol=0, atol=0.05 * width, see=EVALUATION)


@TESTS("q4", points=1, says="the draws come from the generator that is handed in")
def interval_draws_from_rng(answer: Answer, given: Given) -> None:
    own, plain = trainings(given.rng("interval_draws_from_rng"))

    def found(seed: int) -> np.ndarray:
        got = answer.paired_interval(own, plain, np.random.default_rng(seed), 40)
        return mean_and_ends(given, got)[1:]

    draws_from_rng(found, "paired_interval", see=EVALUATION)


# Right solutions, written differently, and corruptions of wholly different kinds.
TRIED = """

def tried(images, brain_masks, seeds):
    outcomes = []
    for seed in seeds:
        outcomes.append(corrupt(images, brain_masks, torch.Generator().manual_seed(seed)))
    return outcomes, images
"""
EQUIVALENTS = {
    "boxes, loops and NumPy": {
        "q1": """
def corrupt(images, brain_masks, generator):
    out = images.numpy().copy()
    for i in range(len(out)):
        rows, columns = np.nonzero(brain_masks[i, 0].numpy())
        for _ in range(3):
            place, tall, wide = torch.rand(3, generator=generator).tolist()
            if len(rows):
                k = int(place * len(rows))
                box = np.zeros(out[i, 0].shape, bool)
                tall, wide = 4 + int(20 * tall), 4 + int(20 * wide)
                box[rows[k] : rows[k] + tall, columns[k] : columns[k] + wide] = True
                out[i, 0][box & brain_masks[i, 0].numpy()] = 0
    return torch.from_numpy(out)
"""
        + TRIED,
        "q2": """
def lazy_errors(clean, hidden, brain_masks):
    clean, hidden, brain = (np.asarray(t)[:, 0] for t in (clean, hidden, brain_masks))
    errors = np.zeros((0, 3))
    for y, x, inside in zip(clean, hidden, brain):
        padded = np.pad(x, 1)
        beside = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        mean = x[inside].mean() if inside.any() else 0
        where = inside & (abs(x - y) > 0.01)
        rows = np.stack([x - y, mean - y, beside / 4 - y], axis=-1)[where]
        errors = np.concatenate([errors, rows])
    if len(errors) == 0:
        return [0, 0, 0]
    with ERROR == "absolute":
        return abs(errors).mean(axis=0)
    with ERROR == "squared":
        return (errors**2).mean(axis=0)
""",
        "q4": """
def paired_interval(own, plain, rng, n):
    k = own.shape[1]
    gains = [own[:, i].mean() - plain[:, i].mean() for i in range(k)]
    means = []
    for _ in range(n):
        means.append(np.mean(rng.choice(gains, k)))
    rest = (1 - LEVEL / 100) / 2
    three = float(np.mean(gains)), np.quantile(means, rest), np.quantile(means, 1 - rest)
    with RETURNS == "the mean difference, the lower end, the upper end":
        return three
    with RETURNS == "the lower end, the mean difference, the upper end":
        return [three[i] for i in (1, 0, 2)]
""",
    },
    "a ring of frequencies": {
        "q1": """
def corrupt(images, brain_masks, generator):
    b, _, h, w = images.shape
    rows = torch.arange(h)[:, None] - h // 2
    columns = torch.arange(w) - w // 2
    distance = (rows**2 + columns**2).sqrt()
    inner = 1 + 9 * torch.rand(b, 1, 1, 1, generator=generator)
    kept = (distance < inner) | (distance > 2 * inner)
    return apply_bands(images, brain_masks, kept, keep_mean=False)
"""
        + TRIED,
        "q2": """
def lazy_errors(clean, hidden, brain_masks):
    where = brain_masks & ((hidden - clean).abs() > 0.01)
    kernel = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None].to(hidden.dtype) / 4
    beside = torch.nn.functional.conv2d(hidden, kernel, padding=1)
    mean = torch.where(brain_masks, hidden, torch.nan).flatten(1).nanmean(1)[:, None, None, None]
    power = 1 if "{{ERROR}}" == "absolute" else 2
    return torch.stack([
        ((answer - clean)[where].abs() ** power).sum() / where.sum().clamp(min=1)
        for answer in (hidden, mean + 0 * clean, beside)
    ])
""",
    },
    "blur in a disc": {
        "q1": """
def corrupt(images, brain_masks, generator):
    from scipy.ndimage import gaussian_filter
    b, _, h, w = images.shape
    blurred = torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 3, 3)))
    row = h * (0.3 + 0.4 * torch.rand(b, 1, 1, 1, generator=generator))
    column = w * (0.3 + 0.4 * torch.rand(b, 1, 1, 1, generator=generator))
    far = torch.hypot(torch.arange(h)[:, None] - row, torch.arange(w) - column)
    return torch.where((far < h / 6) & brain_masks, blurred, images)
"""
        + TRIED,
        "q4": """
def paired_interval(own, plain, rng, n):
    each = torch.from_numpy(own).mean(0) - torch.from_numpy(plain).mean(0)
    k = len(each)
    times = rng.multinomial(k, [1 / k] * k, size=n)
    means = np.sort(times @ each.numpy() / k)
    out = round(n * (100 - LEVEL) / 200)
    with RETURNS == "the mean difference, the lower end, the upper end":
        return each.mean(), means[out], means[n - 1 - out]
    with RETURNS == "the lower end, the mean difference, the upper end":
        return means[out], each.mean(), means[n - 1 - out]
""",
    },
    "shuffled tiles": {
        "q1": """
def corrupt(images, brain_masks, generator):
    out = images.clone()
    b, _, h, w = images.shape
    for i in range(b):
        order = torch.randperm((h // 8) * (w // 8), generator=generator)
        tiles = images[i, 0].reshape(h // 8, 8, w // 8, 8).transpose(1, 2).reshape(-1, 8, 8)
        mixed = tiles[order].reshape(h // 8, w // 8, 8, 8).transpose(1, 2).reshape(h, w)
        some = torch.rand(h // 8, w // 8, generator=generator) < 0.3
        some = some.repeat_interleave(8, 0).repeat_interleave(8, 1)
        out[i, 0] = torch.where(some & brain_masks[i, 0], mixed, images[i, 0])
    return out
"""
        + TRIED,
    },
    "fading to one side": {
        "q1": """
def corrupt(images, brain_masks, generator):
    b, _, h, w = images.shape
    angle = 6.28 * torch.rand((b, 1, 1, 1), generator=generator)
    rows, columns = torch.linspace(-1, 1, h)[:, None], torch.linspace(-1, 1, w)
    side = torch.cos(angle) * rows + torch.sin(angle) * columns
    darker = (images + 1) * torch.sigmoid(4 * side) - 1
    return images.masked_scatter(brain_masks, darker[brain_masks])
"""
        + TRIED,
    },
}
DRAWS = """    field = fractal_noise(tuple(images.shape), generator=generator, **like)
    grey = 1.4 * torch.rand((b, 1, 1, 1), generator=generator, **like) - 0.6
"""
LAST = "    return torch.where(clouds, grey, images)"
MISTAKES = [
    Mistake(
        "q1",
        "hides background too",
        "    clouds = (field > 0.5) & brain_masks",
        "    clouds = field > 0.5",
        ("hides_inside_the_brain", "every_slice_of_a_head"),
        "of the background changes too",
    ),
    Mistake(
        "q1",
        "returns the mask",
        LAST,
        "    return clouds",
        (
            "hides_inside_the_brain",
            "chance_and_clean_slices",
            "the_seed_decides",
            "each_slice_draws",
            "every_slice_of_a_head",
            "enough_but_not_all",
        ),
        "this is a mask",
    ),
    Mistake(
        "q1",
        "fills on the scale of a picture file, 0 to 255",
        LAST,
        "    return torch.where(clouds, 255 * grey.abs(), images)",
        ("hides_inside_the_brain",),
        "slices run from -1 to 1",
    ),
    Mistake(
        "q1",
        "one of two draws does not use the generator",
        "torch.rand((b, 1, 1, 1), generator=generator, **like)",
        "torch.rand((b, 1, 1, 1), **like)",
        ("chance_and_clean_slices", "the_seed_decides"),
        "some chance does not come from `generator`",
    ),
    Mistake(
        "q1",
        "a generator of its own",
        "    b = len(images)\n",
        "    b = len(images)\n    generator = torch.Generator().manual_seed(0)\n",
        ("chance_and_clean_slices", "the_seed_decides"),
        "two seeds, one result",
    ),
    Mistake(
        "q1",
        "writes into the clean slices",
        LAST,
        "    images[clouds] = 0.0\n    return images",
        ("chance_and_clean_slices", "clean_slices_stay"),
        "it writes into the clean slices",
    ),
    Mistake(
        "q1",
        "one draw for the whole batch",
        DRAWS,
        DRAWS.replace("tuple(images.shape)", "(1, 1, *images.shape[2:])").replace(
            "(b, 1, 1, 1)", "(1, 1, 1, 1)"
        ),
        ("chance_and_clean_slices", "each_slice_draws"),
        "all slices of a batch share one draw",
    ),
    Mistake(
        "q1",
        "96 pixels taken for granted",
        "tuple(images.shape)",
        "(b, 1, 96, 96)",
        ("every_slice_of_a_head",),
        "did not come to an end",
    ),
    Mistake(
        "q1",
        "divides by the brain's pixels where there are none",
        LAST,
        "    hole = clouds.to(images.dtype)\n"
        "    inside = (images * brain_masks).sum((1, 2, 3), keepdim=True)\n"
        "    mean = inside / brain_masks.sum((1, 2, 3), keepdim=True)\n"
        "    return images * (1 - hole) + mean * hole",
        ("every_slice_of_a_head",),
        "expected finite numbers",
    ),
    Mistake(
        "q1",
        "hides the whole brain",
        "(field > 0.5)",
        "(field > -99)",
        ("enough_but_not_all",),
        "everything is hidden",
    ),
    Mistake(
        "q1",
        "hides next to nothing",
        "    clouds = (field > 0.5) & brain_masks",
        "    clouds = (field == field.amax((2, 3), keepdim=True)) & brain_masks",
        ("enough_but_not_all",),
        "need not learn",
    ),
    Mistake(
        "q2",
        "scores all pixels of the brain",
        "    where = brain_masks & ((hidden - clean).abs() > 0.01)",
        "    where = brain_masks & (hidden - clean).abs().amax((1, 2, 3), keepdim=True).gt(0.01)",
        ("lazy_answers_to_one_slice", "lazy_scores_of_a_batch"),
        "over all pixels of the brain",
    ),
    Mistake(
        "q2",
        "the mean of the clean slice",
        "(hidden * inside)",
        "(clean * inside)",
        ("lazy_answers_to_one_slice", "lazy_scores_of_a_batch"),
        "which the network does not see",
    ),
    Mistake(
        "q2",
        "the mean of the whole picture",
        "    inside = brain_masks.to(hidden.dtype)",
        "    inside = torch.ones_like(hidden)",
        ("lazy_answers_to_one_slice", "lazy_scores_of_a_batch"),
        "over the whole picture",
    ),
    Mistake(
        "q2",
        "the pixel among its own neighbours",
        "beside = sum(hidden.roll(step, axis) for step in (1, -1) for axis in (2, 3)) / 4",
        "beside = (hidden + sum(hidden.roll(s, a) for s in (1, -1) for a in (2, 3))) / 5",
        ("lazy_answers_to_one_slice", "lazy_scores_of_a_batch"),
        "among its neighbours",
    ),
    Mistake(
        "q2",
        "the other error",
        loses=("lazy_answers_to_one_slice", "lazy_scores_of_a_batch"),
        says="in your course the error is",
        told="ERROR",
    ),
    Mistake(
        "q2",
        "the mean of nothing",
        "    if not where.any():\n        return 0.0, 0.0, 0.0\n",
        "",
        ("lazy_answers_to_one_slice", "lazy_scores_of_nothing"),
        "the mean of nothing",
    ),
    Mistake(
        "q4",
        "the sign the other way round",
        "each = own.mean(axis=0) - plain.mean(axis=0)",
        "each = plain.mean(axis=0) - own.mean(axis=0)",
        ("interval_of_equal_gains", "interval_of_other_trainings"),
        "the sign is the other way round",
    ),
    Mistake(
        "q4",
        "patients drawn apart",
        "    means = each[drawn].mean(axis=1)",
        "    other = rng.integers(len(each), size=(n, len(each)))\n"
        "    means = (own.mean(axis=0)[drawn] - plain.mean(axis=0)[other]).mean(axis=1)",
        ("interval_of_equal_gains", "interval_of_other_trainings"),
        "difference patient by patient",
    ),
    Mistake(
        "q4",
        "trainings counted as patients",
        "each = own.mean(axis=0) - plain.mean(axis=0)",
        "each = (own - plain.mean(axis=0)).ravel()",
        ("interval_of_equal_gains", "interval_of_other_trainings"),
        "resample patients, each with all trainings",
    ),
    Mistake(
        "q4",
        "the three numbers in another order",
        loses=("interval_of_equal_gains", "interval_of_other_trainings", "interval_draws_from_rng"),
        says="in your course the order is",
        told="RETURNS",
    ),
    Mistake(
        "q4",
        "another level",
        "rest = (100 - LEVEL) / 2",
        "rest = (LEVEL - 85) / 2",
        ("interval_of_equal_gains", "interval_of_other_trainings"),
        "an interval of another level",
    ),
    Mistake(
        "q4",
        "where single patients lie",
        "np.percentile(means, [rest, 100 - rest])",
        "np.percentile(each, [rest, 100 - rest])",
        ("interval_of_equal_gains", "interval_of_other_trainings", "interval_draws_from_rng"),
        "where single patients lie",
    ),
    Mistake(
        "q4",
        "a generator of its own",
        "drawn = rng.integers",
        "drawn = np.random.default_rng(0).integers",
        ("interval_of_equal_gains", "interval_draws_from_rng"),
        "not with one of your own",
    ),
]
