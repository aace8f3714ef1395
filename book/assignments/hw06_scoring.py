"""Assignment 6, scoring: hidden tests, other right solutions, and the mistakes they must catch."""

import contextlib
import itertools

import numpy as np
from scipy import ndimage

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw06_scoring import CHAPTER, ball, other_directions
from maskdiff_edu.course.tasks import Answer, Given, Tests, Wrong, array, close, require
from maskdiff_edu.detection import best_dice, pooled

TESTS = Tests()


@TESTS("q1", points=1, says="the residual inside the brain, on other images")
def residual_in_the_brain(answer: Answer, given: Given) -> None:
    rng = given.rng("residual_in_the_brain")
    x, x_0_hat = rng.uniform(-1, 1, (2, 7, 1, 9, 9))
    brain = ball(7)
    d = (x - x_0_hat)[brain]
    brighter, darker = d * (d > 0), -d * (d < 0)
    want = {
        "brighter than expected": brighter,
        "darker than expected": darker,
        "either way": brighter + darker,
    }[given.RESIDUAL]
    mistakes = other_directions(given.RESIDUAL, brighter, darker, brighter + darker) | {
        "some values lie below 0; a residual is cut off at 0 or is a size": d,
        "this is the square of the difference": d**2,
    }
    got = array(answer.my_residual(x, x_0_hat, brain), x.shape, "my_residual")
    close(got[brain], want, "the residual in the brain", mistakes, see=CHAPTER)


@TESTS("q1", points=1, says="the residual outside the brain")
def residual_outside(answer: Answer, given: Given) -> None:
    x, x_0_hat = given.rng("residual_outside").uniform(-1, 1, (2, 7, 1, 9, 9))
    brain = ball(7)
    got = array(answer.my_residual(x, x_0_hat, brain), x.shape, "my_residual")
    require(not got[~brain].any(), "outside the brain the residual is not 0 everywhere", CHAPTER)
    require(got[brain].any(), "the residual is 0 inside the brain, too", CHAPTER)


def check_average(answer: Answer, given: Given, kind: str, other_kind: str) -> None:
    """The average of a few answers that scatter around the scan."""
    rng = given.rng(f"averaging_{kind}")
    x = rng.uniform(-0.5, 0.5, (2, 1, 6, 5))
    x_0_hats = x + rng.normal(0.1, 0.4, (int(rng.integers(3, 7)), *x.shape))

    def size(d: np.ndarray, kind: str) -> np.ndarray:
        return np.sqrt(d**2) if kind == "absolute" else d * (d > 0)

    def average(mean_of: str, kind: str) -> np.ndarray:
        if mean_of == "the answers":
            return size(x - sum(x_0_hats) / len(x_0_hats), kind)
        return sum(size(x - one, kind) for one in x_0_hats) / len(x_0_hats)

    other = "the residuals" if given.MEAN_OF == "the answers" else "the answers"
    want = average(given.MEAN_OF, kind)
    mistakes = {
        f"this takes the mean of {other}; your course takes that of {given.MEAN_OF}": average(
            other, kind
        ),
        "only the first answer is used": size(x - x_0_hats[0], kind),
        "this is the sum; divide by the number of answers": want * len(x_0_hats),
        f"this is the kind {other_kind!r}, whatever the argument says": average(
            given.MEAN_OF, other_kind
        ),
        "this is the median of the answers, not their mean": size(
            x - np.median(x_0_hats, axis=0), kind
        ),
    }
    got = answer.averaged(x, x_0_hats, kind)
    close(got, want, f"averaged(x, x_0_hats, {kind!r})", mistakes, see=CHAPTER)


@TESTS("q2", points=2, says="several answers, absolute")
def averaging_absolute(answer: Answer, given: Given) -> None:
    check_average(answer, given, "absolute", "positive")


@TESTS("q2", points=1, says="several answers, positive")
def averaging_positive(answer: Answer, given: Given) -> None:
    check_average(answer, given, "positive", "absolute")


def voted(
    values: np.ndarray,
    brain: np.ndarray,
    size: int,
    *,
    depth: int | None = None,
    lower: bool = False,
) -> np.ndarray:
    """The median of the brain voxels in each voxel's cube, one voxel after the other."""
    k, k_slices = size // 2, (size if depth is None else depth) // 2
    filtered = np.zeros(values.shape)
    for z, _, y, x in np.argwhere(brain):
        cube = tuple(
            slice(max(i - r, 0), i + r + 1) for i, r in ((z, k_slices), (0, 0), (y, k), (x, k))
        )
        ranked = sorted(values[cube][brain[cube]])
        low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
        filtered[z, 0, y, x] = low if lower else (low + high) / 2
    return filtered


def peeled(brain: np.ndarray, layers: int, *, ends: bool = False) -> np.ndarray:
    """Without the voxels that share a face with the outside; `ends`: background lies there."""
    core = brain[:, 0]
    for _ in range(layers):
        wider = np.pad(core, [(1, 1), (0, 0), (0, 0)], mode="constant" if ends else "edge")
        wider = np.pad(wider, [(0, 0), (1, 1), (1, 1)])
        neighbours = [np.roll(wider, step, axis) for axis in range(3) for step in (-1, 1)]
        core = np.logical_and.reduce([wider, *neighbours])[1:-1, 1:-1, 1:-1]
    return core[:, None]


def lumpy(rng: np.random.Generator) -> np.ndarray:
    """A slab of a brain with an uneven rim, which goes on beyond its first and last slice."""
    _, _, y, x = np.indices((6, 1, 15, 15))
    rim = 6 + ndimage.gaussian_filter(rng.normal(0, 4, (6, 1, 15, 15)), (1, 0, 1, 1))
    return (y - 7) ** 2 + (x - 7) ** 2 < rim.clip(4.5, 6.9) ** 2


@TESTS("q3", points=1, says="the median of an uneven map")
def median_of_noise(answer: Answer, given: Given) -> None:
    rng = given.rng("median_of_noise")
    brain = lumpy(rng)
    values = rng.exponential(1, brain.shape) * brain
    size = given.SIZE
    other = 8 - size
    want = voted(values, brain, size)
    zeros = ndimage.median_filter(values[:, 0], size, mode="constant")[:, None] * brain
    beyond = ndimage.median_filter(values[:, 0], size)[:, None] * brain  # mirrored at the ends
    mean = ndimage.uniform_filter(values[:, 0], size, mode="constant")
    share = ndimage.uniform_filter(brain[:, 0] * 1.0, size, mode="constant")
    voters = "the zeros of the background have voted; only brain voxels may"
    mistakes = {
        voters: zeros,
        f"{voters} (and the slices at the ends are mirrored)": beyond,
        f"the cube has {other} voxels a side; in your course it has {size}": voted(
            values, brain, other
        ),
        "each slice is filtered by itself; the cube reaches into its neighbours": voted(
            values, brain, size, depth=1
        ),
        "of an even number of voxels this takes the lower middle one, as torch does; the median "
        "is the mean of both": voted(values, brain, size, lower=True),
        "this is the mean of the brain voxels, not the median": np.where(
            brain, mean[:, None] / np.maximum(share[:, None], 1e-9), 0
        ),
    }
    got = answer.median(values, brain)
    close(got, want, "median(values, brain_mask)", mistakes, see=CHAPTER)


@TESTS("q3", points=2, says="filter and erosion, in the order of your course")
def clean_in_order(answer: Answer, given: Given) -> None:
    rng = given.rng("clean_in_order")
    brain = lumpy(rng)
    values = rng.exponential(1, brain.shape) * brain

    def cleaned(core: np.ndarray, *, erode_first: bool) -> np.ndarray:
        if erode_first:
            return voted(values, core, given.SIZE)
        return np.where(core, voted(values, brain, given.SIZE), 0)

    erode_first = given.ORDER == "first erode, then filter"
    core, corners = peeled(brain, given.LAYERS), brain[:, 0]
    for _ in range(given.LAYERS):
        corners = ndimage.binary_erosion(corners, np.ones((3, 3, 3)), border_value=1)
    mistakes = {
        "this is the other order": cleaned(core, erode_first=not erode_first),
        "the number of layers taken off is not that of your course": cleaned(
            peeled(brain, 3 - given.LAYERS), erode_first=erode_first
        ),
        "slices at the ends are eroded as if background lay beyond; the brain goes on": cleaned(
            peeled(brain, given.LAYERS, ends=True), erode_first=erode_first
        ),
        "this also takes off voxels that touch the outside with an edge or a corner only": cleaned(
            corners[:, None], erode_first=erode_first
        ),
        "the rim is still there": voted(values, brain, given.SIZE),
        "the map is eroded but not filtered": np.where(core, values, 0),
    }
    want = cleaned(core, erode_first=erode_first)
    with contextlib.suppress(Wrong):
        voters = core if erode_first else brain
        filtered = array(answer.median(values, voters), brain.shape, "median")
        mistakes["both steps are there, but `median` is not right yet"] = filtered * core
    what = f"clean(values, brain_mask), {given.ORDER}"
    close(answer.clean(values, brain), want, what, mistakes, see=CHAPTER)


def draw_people(rng: np.random.Generator, ill: list[bool]) -> tuple[list, list, list]:
    """Maps, brain masks and lesion masks of people who differ in size and in level."""
    maps, brains, lesions = [], [], []
    levels = rng.permutation(np.linspace(0.7, 1.1, len(ill)))  # patients' scanner is another
    for is_ill, level in zip(ill, levels + np.array(ill), strict=True):
        shape = (int(rng.integers(4, 9)), 1, 96, 96)
        brain = np.zeros(shape, bool)
        brain[:, :, 8:-8, 6:-6] = True
        values = level * np.maximum(rng.exponential(1, shape) - np.log(3), 0)  # two thirds are 0
        lesion = np.zeros(shape, bool)
        if is_ill:
            lesion[1:-1, :, 20:40, 22:36] = True
            values += lesion * rng.uniform(3, 7, shape)
        maps.append(values * brain)
        brains.append(brain)
        lesions.append(lesion)
    return maps, brains, lesions


def cut_of(scores: list[np.ndarray], given: Given, healthy: str | None = None) -> float:
    """The threshold from each person's scores, by sorting and counting."""
    if (healthy or given.HEALTHY) == "each healthy person alone":
        return max(cut_of([s], given, "all healthy people together") for s in scores)
    ranked = np.sort(np.concatenate([s.ravel() for s in scores]))
    return float(ranked[len(ranked) - int(given.RATE * len(ranked)) - 1])


def threshold_mistakes(scores: list, maps: list, given: Given) -> dict[str, float]:
    """Message -> threshold, for healthy people's scores in the brain and their maps."""
    heap = np.concatenate(scores)
    together = given.HEALTHY == "all healthy people together"
    other = "each healthy person alone" if together else "all healthy people together"
    alone = [cut_of([s], given) for s in scores]
    return {
        "the quantile was taken over the whole picture, where many values are background "
        "zeros": cut_of(maps, given),
        "the brain voxels whose score is 0 are left out; they are healthy voxels, too": cut_of(
            [s[s > 0] for s in scores], given
        ),
        f"this looks at {other}; your course looks at {given.HEALTHY}": cut_of(
            scores, given, other
        ),
        "this is the mean of the healthy people's thresholds": float(np.mean(alone)),
        "this is the lowest of the healthy people's thresholds": min(alone),
        "this is mean plus two standard deviations, which does not say which share lies "
        "above": heap.mean() + 2 * heap.std(),
        "nearly all of the healthy brain lies above this; the share counts from the top": float(
            np.quantile(heap, given.RATE)
        ),
    }


@TESTS("q4", points=1, says="the threshold from several healthy people")
def threshold_of_healthy_people(answer: Answer, given: Given) -> None:
    maps, brains, lesions = draw_people(given.rng("healthy_people"), [False] * 3)
    scores = [m[b] for m, b in zip(maps, brains, strict=True)]
    mistakes = threshold_mistakes(scores, maps, given)
    got = answer.threshold(maps, brains, lesions)
    what = "the threshold from three healthy people"
    close(got, cut_of(scores, given), what, mistakes, rtol=0.01, see=CHAPTER)


@TESTS("q4", points=2, says="the threshold where patients are among the people")
def threshold_among_patients(answer: Answer, given: Given) -> None:
    people = draw_people(given.rng("among_patients"), [True, False, True, False])
    everybody = [m[b] for m, b, _ in zip(*people, strict=True)]
    healthy, ill = everybody[1::2], everybody[::2]
    tissue = [m[b & ~one] for m, b, one in zip(*people, strict=True)]
    maps, brains, lesions = (list(part[::2]) for part in people)
    mistakes = {
        "the patients are in it, too, with their lesions": cut_of(everybody, given),
        "your threshold was chosen on the patients": cut_of(ill, given),
        "healthy tissue of patients is in it; take people without any lesion": cut_of(
            tissue, given
        ),
        "your threshold was chosen on the patients: there it has the best Dice, which only "
        "somebody with the lesion masks can know": best_dice(
            *pooled(maps, lesions, brains)
        ).threshold,
    } | threshold_mistakes(healthy, people[0][1::2], given)
    got = answer.threshold(*people)
    what = "the threshold, with two patients among the people"
    close(got, cut_of(healthy, given), what, mistakes, rtol=0.01, see=CHAPTER)


def grown(called: np.ndarray, faces_only: bool, smallest: int, same_slice: bool) -> np.ndarray:
    """The components of a bool volume that are large enough, grown from one voxel at a time."""
    steps = [
        s
        for s in itertools.product((-1, 0, 1), repeat=3)
        if any(s) and (not faces_only or sum(map(abs, s)) == 1) and not (same_slice and s[0])
    ]
    waiting, stays = set(map(tuple, np.argwhere(called))), np.zeros(called.shape, bool)
    while waiting:
        component, edge = [], [waiting.pop()]
        while edge:
            voxel = edge.pop()
            component.append(voxel)
            near = {tuple(int(v + d) for v, d in zip(voxel, s, strict=True)) for s in steps}
            edge += waiting & near
            waiting -= near
        if len(component) >= smallest:
            stays[tuple(np.transpose(component))] = True
    return stays


@TESTS("q5", points=1, says="the findings of an uneven map")
def findings_of_noise(answer: Answer, given: Given) -> None:
    rng = given.rng("findings_of_noise")
    shape = (8, 1, 24, 24)
    values = rng.permutation(np.arange(np.prod(shape)) % 20).reshape(shape) / 20  # many ties
    corners = "corner" in given.TOUCHING
    at = (17 if corners else 14) / 20
    brain = np.zeros(shape, bool)
    brain[:, :, 2:-2, 2:-2] = True
    values[:, :, :2] = 1.0  # bright, and outside

    def kept(called: np.ndarray, faces: bool = not corners, least: int = 0, flat: bool = False):
        return grown(called[:, 0], faces, least or given.MIN_VOXELS, flat)[:, None]

    called = (values > at) & brain
    want = kept(called)
    mistakes = {
        "voxels with exactly the threshold are called, too; call what lies above": kept(
            (values >= at) & brain
        ),
        "voxels outside the brain are called": kept(values > at),
        f"in your course two voxels touch if they share {given.TOUCHING}": kept(called, corners),
        "components are taken slice by slice; voxels above and below touch, too": kept(
            called, flat=True
        ),
        "the small components are still there": called,
        "a component of exactly the smallest size is dropped; it stays": kept(
            called, least=given.MIN_VOXELS + 1
        ),
    }
    got = answer.findings(values, brain, at)
    close(got, want * 1, "findings", mistakes, see=CHAPTER)


@TESTS("q5", points=1, says="the Dice of other masks, and of empty ones")
def dice_of_masks(answer: Answer, given: Given) -> None:
    called, lesion = given.rng("dice_of_masks").random((2, 3, 1, 9, 9)) < [[[[[0.2]]]], [[[[0.4]]]]]
    both, either = (called & lesion).sum(), (called | lesion).sum()
    sizes = called.sum() + lesion.sum()
    mistakes = {
        "this is the Jaccard index; divide by the sum of both sizes": both / either,
        "the factor 2 is missing": both / sizes,
        "this is the share of the called voxels that is lesion": both / called.sum(),
        "this is the share of the lesion that was called": both / lesion.sum(),
    }
    close(answer.dice(called, lesion), 2 * both / sizes, "dice", mistakes, see=CHAPTER)
    nothing = np.zeros_like(called)
    close(answer.dice(called, nothing), 0.0, "dice with an empty lesion mask", see=CHAPTER)
    agree = {"two empty masks agree; they share all that they have": 0.0}
    close(answer.dice(nothing, nothing), 1.0, "dice of two empty masks", agree, see=CHAPTER)


# Right solutions, written differently.
EQUIVALENTS = {
    "loops": {
        "q1": """
def my_residual(x, x_0_hat, brain_mask):
    found = np.zeros(x.shape)
    for at in np.argwhere(brain_mask):
        difference = x[tuple(at)] - x_0_hat[tuple(at)]
        if "{{RESIDUAL}}" == "darker than expected":
            difference *= -1
        if difference > 0 or "{{RESIDUAL}}" == "either way":
            found[tuple(at)] = abs(difference)
    return found
""",
        "q2": """
def averaged(x, x_0_hats, kind):
    with MEAN_OF == "the answers":
        return residual(x, sum(x_0_hats) / len(x_0_hats), kind)
    with MEAN_OF == "the residuals":
        return sum(residual(x, x_0_hat, kind) for x_0_hat in x_0_hats) / len(x_0_hats)
""",
        "q3": """
def median(values, brain_mask):
    k, (n, _, h, w) = SIZE // 2, values.shape
    around = [(k, k), (0, 0), (k, k), (k, k)]
    padded = np.pad(np.where(brain_mask, values, np.nan), around, constant_values=np.nan)
    shifts = np.ndindex(SIZE, SIZE, SIZE)
    voters = [padded[z : z + n, :, y : y + h, x : x + w][brain_mask] for z, y, x in shifts]
    filtered = np.zeros(values.shape)
    filtered[brain_mask] = np.nanmedian(voters, axis=0)
    return filtered

def clean(values, brain_mask):
    core = brain_mask
    for _ in range(LAYERS):
        padded = np.pad(core, [(1, 1), (0, 0), (0, 0), (0, 0)], mode="edge")
        core = core & padded[:-2] & padded[2:]
        for axis in (2, 3):
            for step in (-1, 1):
                core = core & np.roll(padded, step, axis)[1:-1]
    with ORDER == "first filter, then erode":
        return median(values, brain_mask) * core
    with ORDER == "first erode, then filter":
        return median(values * core, core)
""",
        "q4": """
def threshold(maps, brain_masks, lesion_masks):
    heaps = []
    for i in range(len(maps)):
        if lesion_masks[i].sum() == 0:
            heaps.append(np.sort(maps[i][brain_masks[i]]))
    if "{{HEALTHY}}" == "all healthy people together":
        heaps = [np.sort(np.concatenate(heaps))]
    return float(max(heap[len(heap) - int(RATE * len(heap)) - 1] for heap in heaps))
""",
        "q5": """
def findings(values, brain_mask, threshold):
    called = np.where(brain_mask, values, -np.inf)[:, 0] > threshold
    rank = 1 if "{{TOUCHING}}" == "a face" else 3
    labels, count = ndimage.label(called, ndimage.generate_binary_structure(3, rank))
    for i in range(1, count + 1):
        if (labels == i).sum() < MIN_VOXELS:
            called[labels == i] = False
    return called[:, None]

def dice(called, lesion_mask):
    precise = recalled = 1.0
    if called.any():
        precise = lesion_mask[called].mean()
    if lesion_mask.any():
        recalled = called[lesion_mask].mean()
    if not called.any() and not lesion_mask.any():
        return 1.0
    if not called.any() or not lesion_mask.any() or precise == 0:
        return 0.0
    return 2 / (1 / precise + 1 / recalled)
""",
    },
    "torch, and the library": {
        "q1": """
import torch

def my_residual(x, x_0_hat, brain_mask):
    x, x_0_hat = torch.as_tensor(x), torch.as_tensor(x_0_hat)
    with RESIDUAL == "brighter than expected":
        found = (x - x_0_hat).relu()
    with RESIDUAL == "darker than expected":
        found = (x_0_hat - x).relu()
    with RESIDUAL == "either way":
        found = (x - x_0_hat).abs()
    return found.masked_fill(~torch.as_tensor(brain_mask), 0).numpy()
""",
        "q2": """
import torch

def averaged(x, x_0_hats, kind):
    x, x_0_hats = torch.as_tensor(x), torch.as_tensor(x_0_hats)
    with MEAN_OF == "the answers":
        return residual(x, x_0_hats.mean(dim=0), kind).numpy()
    with MEAN_OF == "the residuals":
        return residual(x.expand_as(x_0_hats), x_0_hats, kind).mean(dim=0).numpy()
""",
        "q4": """
import torch

def threshold(maps, brain_masks, lesion_masks):
    scores = [torch.as_tensor(m[b]) for m, b, l in zip(maps, brain_masks, lesion_masks)
              if not np.any(l)]
    if "{{HEALTHY}}" == "all healthy people together":
        scores = [torch.cat(scores)]
    return torch.stack([one.quantile(1 - RATE) for one in scores]).max()
""",
        "q3": """
from maskdiff_edu.detection.anomaly import erode_brain, median_filter

def median(values, brain_mask):
    return median_filter(values, SIZE, brain_mask).numpy()

def clean(values, brain_mask):
    core = erode_brain(brain_mask, LAYERS).numpy()
    with ORDER == "first erode, then filter":
        return median(values, core)
    with ORDER == "first filter, then erode":
        return median(values, brain_mask) * core
""",
    },
}

# Each is one replacement in the solution of one exercise, and loses these tests and no others.
MISTAKES = [
    Mistake(
        "q1",
        "the sign turned",
        "np.where(brain_mask, found, 0)",
        "np.where(brain_mask, np.maximum(x_0_hat - x, 0), 0)",
        loses=("residual_of_three_voxels", "residual_in_the_brain"),
        says="the other way round",
        only={"RESIDUAL": ("brighter than expected",)},
    ),
    Mistake(
        "q1",
        "both directions",
        "np.where(brain_mask, found, 0)",
        "np.where(brain_mask, np.abs(x - x_0_hat), 0)",
        loses=("residual_of_three_voxels", "residual_in_the_brain"),
        says="declared one of them",
        only={"RESIDUAL": ("brighter than expected", "darker than expected")},
    ),
    Mistake(
        "q1",
        "one direction for both",
        "np.where(brain_mask, found, 0)",
        "np.where(brain_mask, np.maximum(x - x_0_hat, 0), 0)",
        loses=("residual_of_three_voxels", "residual_in_the_brain"),
        says="counts one direction only",
        only={"RESIDUAL": ("either way",)},
    ),
    Mistake(
        "q1",
        "a difference with its sign",
        "np.where(brain_mask, found, 0)",
        "np.where(brain_mask, x - x_0_hat, 0)",
        loses=("residual_of_three_voxels", "residual_in_the_brain"),
        says="below 0",
        only={"RESIDUAL": ("brighter than expected",)},
    ),
    Mistake(
        "q1",
        "the background left in",
        "np.where(brain_mask, found, 0)",
        "found",
        loses=("residual_of_three_voxels", "residual_outside"),
        says="outside the brain",
    ),
    Mistake(
        "q2",
        "the mean of the other thing",
        told="MEAN_OF",
        loses=("two_answers", "averaging_absolute", "averaging_positive"),
        says="this takes the mean of",
    ),
    Mistake(
        "q2",
        "always absolute",
        "residual(x, one, kind)",
        'residual(x, one, "absolute")',
        loses=("two_answers", "averaging_positive"),
        says="whatever the argument says",
    ),
    Mistake(
        "q2",
        "the first answer only",
        "for one in x_0_hats]",
        "for one in x_0_hats[:1]]",
        loses=("two_answers", "averaging_absolute", "averaging_positive"),
        says="only the first answer",
    ),
    Mistake(
        "q2",
        "a sum for a mean",
        "np.mean([",
        "np.sum([",
        loses=("two_answers", "averaging_absolute", "averaging_positive"),
        says="divide by the number of answers",
    ),
    Mistake(
        "q3",
        "the background votes",
        "np.where(brain, values[:, 0], np.nan)",
        "values[:, 0]",
        loses=("median_at_the_rim", "median_of_noise", "clean_in_order"),
        says="zeros of the background have voted",
        only={"ORDER": ("first filter, then erode",)},
    ),
    Mistake(
        "q3",
        "a mean filter",
        "np.nanmedian(",
        "np.nanmean(",
        loses=("median_at_the_rim", "median_of_noise", "clean_in_order"),
        says="mean of the brain voxels",
    ),
    Mistake(
        "q3",
        "the filter slice by slice",
        "cubes[brain].reshape(-1, SIZE**3)",
        "cubes[brain][:, SIZE // 2].reshape(-1, SIZE**2)",
        loses=("median_at_the_rim", "median_of_noise", "clean_in_order"),
        says="each slice is filtered by itself",
    ),
    Mistake(
        "q3",
        "another size",
        "filtered[brain] = np.nanmedian(cubes[brain].reshape(-1, SIZE**3), axis=1)",
        "from maskdiff_edu.detection.anomaly import median_filter\n"
        "    return median_filter(values, 8 - SIZE, brain_mask).numpy()",
        loses=("median_at_the_rim", "median_of_noise", "clean_in_order"),
        says="voxels a side",
    ),
    Mistake(
        "q3",
        "the other order",
        told="ORDER",
        loses=("erosion_of_a_box", "clean_in_order"),
        says="this is the other order",
    ),
    Mistake(
        "q3",
        "the ends eroded",
        ", border_value=1",
        "",
        loses=("erosion_of_a_box", "clean_in_order"),
        says="the brain goes on",
    ),
    Mistake(
        "q3",
        "one layer more",
        "iterations=LAYERS",
        "iterations=3 - LAYERS",
        loses=("erosion_of_a_box", "clean_in_order"),
        says="number of layers",
    ),
    Mistake(
        "q3",
        "erosion by corners",
        "binary_erosion(brain_mask[:, 0],",
        "binary_erosion(brain_mask[:, 0], np.ones((3, 3, 3)),",
        loses=("erosion_of_a_box", "clean_in_order"),
        says="an edge or a corner only",
    ),
    Mistake(
        "q4",
        "the whole picture",
        "[values[brain] for",
        "[values.ravel() for",
        loses=(
            "threshold_of_three_people",
            "threshold_of_healthy_people",
            "threshold_among_patients",
        ),
        says="over the whole picture",
    ),
    Mistake(
        "q4",
        "without the zeros",
        "[values[brain] for",
        "[values[brain & (values > 0)] for",
        loses=(
            "threshold_of_three_people",
            "threshold_of_healthy_people",
            "threshold_among_patients",
        ),
        says="whose score is 0",
    ),
    Mistake(
        "q4",
        "everybody",
        " if not lesion.any()",
        "",
        loses=("threshold_of_three_people", "threshold_among_patients"),
        says="the patients are in it",
    ),
    Mistake(
        "q4",
        "healthy tissue of patients",
        "[values[brain] for values, brain, lesion in people if not lesion.any()]",
        "[values[brain & ~lesion] for values, brain, lesion in people]",
        loses=("threshold_of_three_people", "threshold_among_patients"),
        says="healthy tissue of patients",
    ),
    Mistake(
        "q4",
        "patients only",
        " if not lesion.any()",
        " if lesion.any() or not any(one.any() for one in lesion_masks)",
        loses=("threshold_of_three_people", "threshold_among_patients"),
        says="chosen on the patients",
        only={"HEALTHY": ("all healthy people together",)},
    ),
    Mistake(
        "q4",
        "the best Dice on the patients",
        "people = zip(maps, brain_masks, lesion_masks)",
        "from maskdiff_edu.detection import best_dice, pooled\n"
        "    ill = [i for i, one in enumerate(lesion_masks) if one.any()]\n"
        "    if ill:\n"
        "        lists = (maps, lesion_masks, brain_masks)\n"
        "        return best_dice(*pooled(*([part[i] for i in ill] for part in lists))).threshold\n"
        "    people = zip(maps, brain_masks, lesion_masks)",
        loses=("threshold_of_three_people", "threshold_among_patients"),
        says="it has the best Dice",
    ),
    Mistake(
        "q4",
        "the wrong end",
        "np.quantile(np.concatenate(scores), 1 - RATE)",
        "np.quantile(np.concatenate(scores), RATE)",
        loses=(
            "threshold_of_three_people",
            "threshold_of_healthy_people",
            "threshold_among_patients",
        ),
        says="counts from the top",
    ),
    Mistake(
        "q4",
        "one person at a time",
        told="HEALTHY",
        loses=(
            "threshold_of_three_people",
            "threshold_of_healthy_people",
            "threshold_among_patients",
        ),
        says="your course looks at",
    ),
    Mistake(
        "q4",
        "mean plus two standard deviations",
        "np.quantile(np.concatenate(scores), 1 - RATE)",
        "np.mean(np.concatenate(scores)) + 2 * np.std(np.concatenate(scores))",
        loses=(
            "threshold_of_three_people",
            "threshold_of_healthy_people",
            "threshold_among_patients",
        ),
        says="two standard deviations",
    ),
    Mistake(
        "q5",
        "the threshold itself",
        "values > threshold",
        "values >= threshold",
        loses=("findings_of_noise",),
        says="exactly the threshold",
    ),
    Mistake(
        "q5",
        "the background called",
        " & brain_mask",
        "",
        loses=("findings_of_noise",),
        says="outside the brain are called",
    ),
    Mistake(
        "q5",
        "other neighbours",
        told="TOUCHING",
        loses=("findings_of_noise",),
        says="two voxels touch if they share",
    ),
    Mistake(
        "q5",
        "components slice by slice",
        "labels, _ =",
        "touching[[0, 2]] = False\n    labels, _ =",
        loses=("findings_of_noise",),
        says="slice by slice",
        only={"TOUCHING": ("a face",)},
    ),
    Mistake(
        "q5",
        "the smallest size dropped",
        ">= MIN_VOXELS",
        "> MIN_VOXELS",
        loses=("findings_of_rows", "findings_of_noise"),
        says="exactly the smallest size",
    ),
    Mistake(
        "q5",
        "nothing dropped",
        ">= MIN_VOXELS",
        ">= 1",
        loses=("findings_of_rows", "findings_of_noise"),
        says="small component is still there",
    ),
    Mistake(
        "q5",
        "Jaccard for Dice",
        "2 * (called & lesion_mask).sum() / sizes",
        "(called & lesion_mask).sum() / (called | lesion_mask).sum()",
        loses=("dice_of_one_voxel", "dice_of_masks"),
        says="Jaccard",
    ),
    Mistake(
        "q5",
        "two empty masks disagree",
        "else 1.0",
        "else 0.0",
        loses=("dice_of_masks",),
        says="two empty masks agree",
    ),
]
