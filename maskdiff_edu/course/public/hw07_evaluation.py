"""Assignment 7, evaluation: the made-up study, and the tests that students have."""

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()
CHAPTER = "book/ch09_evaluation.html"

SEEDS, PATIENTS, SLICES, SIZE = 4, 10, 3, 32  #: trainings, test patients, slices, rows
LOUD = 1.35  #: the validation patients' maps are noisier by this factor, as from another scanner


def made_up_study(seed: int, share: float) -> dict[str, Any]:
    """Maps and lesions of people who do not exist, the same for everybody with the same seed.

    Large lesions stand out more than small ones, some trainings are luckier than others on the
    test patients, and the validation patients were scanned elsewhere: so that the rules by which
    one number is made of all this differ. `share` is of healthy validation voxels, for the
    threshold.
    """
    rng = np.random.default_rng(seed)
    people = 100 + rng.permutation(900)[: 2 * PATIENTS]
    mixed = rng.random() < 0.5
    rows, columns = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    brain = np.hypot(rows / 14.5, columns / 11.5) < 1
    radii = rng.permutation(np.linspace(2.2, 5.5, PATIENTS))
    angles = 2 * np.pi * rng.random(PATIENTS)
    centres = np.stack([7 * np.sin(angles), 5 * np.cos(angles)], axis=1)
    lesions, others = (_discs(centres, r) & brain for r in (radii, radii[::-1]))
    stands_out = 0.2 + 0.5 * radii
    luck = rng.permutation(np.linspace(0.92, 1.08, SEEDS))
    scores = np.stack([_maps(rng, lesions, brain, k * stands_out, 1) for k in luck])
    elsewhere = _maps(rng, others, brain, stands_out[::-1], LOUD)
    healthy = np.sort(elsewhere[:, :, brain][~others[:, :, brain]])[::-1]
    return {
        "scores": scores,
        "lesions": lesions,
        "brains": np.repeat(brain[None], PATIENTS * SLICES, axis=0).reshape(lesions.shape),
        "validation_scores": elsewhere,
        "validation_lesions": others,
        "threshold": float(healthy[int(share * len(healthy))]),
        "thresholds": np.arange(0, 6, 0.1),
        "differences": _differences(rng),
        "validation_patients": _patients_of_slices(rng, people, mixed),
        "test_patients": rng.permutation(np.repeat(people[:PATIENTS], SLICES)),
    }


def _discs(centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """A lesion for each patient, in all slices: (patients, slices, rows, columns)."""
    rows, columns = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    far = np.hypot(rows - centres[:, 0, None, None], columns - centres[:, 1, None, None])
    in_slice = radii[:, None] * np.array([0.7, 1.0, 0.8])
    return far[:, None] < in_slice[:, :, None, None]


def _maps(
    rng: np.random.Generator,
    lesions: np.ndarray,
    brain: np.ndarray,
    stands_out: np.ndarray,
    loud: float,
) -> np.ndarray:
    """Anomaly maps: smooth noise, higher in lesions, 0 outside the brain."""
    noise = gaussian_filter(rng.standard_normal(lesions.shape), (0, 0, 1, 1)) / 0.28
    maps = loud * noise + stands_out[:, None, None, None] * lesions
    return np.round(np.clip(maps, 0, None) * brain, 3)


def _differences(rng: np.random.Generator) -> np.ndarray:
    """AUPRC minus that of a rival, (patients, trainings): a little ahead, not on every patient."""
    each = rng.standard_normal(PATIENTS)
    each = 0.03 + 0.08 * (each - each.mean()) / each.std()
    luck = rng.standard_normal((PATIENTS, SEEDS))
    return np.round(each[:, None] + 0.03 * (luck - luck.mean()), 3)


def _patients_of_slices(rng: np.random.Generator, people: np.ndarray, mixed: bool) -> np.ndarray:
    """The patient of every validation slice; if mixed, four are slices of test patients."""
    numbers = np.repeat(people[PATIENTS:], SLICES)
    if mixed:
        numbers[rng.permutation(len(numbers))[:4]] = people[:4]
    return rng.permutation(numbers)


@TESTS(
    "q1", points=1, says="Dice of two small masks, of empty ones, and the mean over three patients"
)
def dice_of_small_masks(answer: Answer, given: Given) -> None:
    prediction = np.array([[True, True, True], [False, False, False]])
    lesion = np.array([[True, False, False], [True, False, False]])
    mistakes = {
        "this is the intersection over the union; Dice weighs the overlap twice": 1 / 4,
        "the factor 2 is missing: two equal masks would get 0.5": 1 / 5,
        "this is the share of voxels on which the two agree; true negatives are in it": 3 / 6,
        "this is precision; Dice also pays for what was missed": 1 / 3,
    }
    got = answer.dice(prediction, lesion)
    close(got, 2 / 5, "dice, with 3 voxels called, 2 lesion, 1 in both", mistakes, see=CHAPTER)
    empty = np.zeros_like(lesion)
    close(answer.dice(prediction, empty), 0.0, "dice of a false alarm in a healthy brain")
    got, what = (
        answer.dice(empty, empty),
        f"dice of two empty masks: in your course it {given.EMPTY}",
    )
    require(
        np.shape(got) == () and got is not None, f"{what}; expected one number, got {got!r:.60}"
    )
    is_one = given.EMPTY == "counts as 1"
    require(got == 1 if is_one else np.isnan(got), f"{what}, got {got:.6g}", CHAPTER)
    voxel = np.array([[False, False, False], [False, True, False]])
    called, lesions = np.array([prediction, voxel, empty]), np.array([lesion, voxel, empty])
    mistakes = {
        "this is one pooled number over all voxels; take the mean over patients": 4 / 7,
        "the healthy patient of whom nothing is called counts as 0": 1.4 / 3,
        f"the healthy patient of whom nothing is called {given.EMPTY} in your course": (
            0.7 if is_one else 0.8
        ),
    }
    got = answer.mean_dice(called, lesions)
    close(got, 0.8 if is_one else 0.7, "mean_dice of three patients", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="average precision of five voxels, then of four with ties")
def precision_of_five(answer: Answer, given: Given) -> None:
    scores = np.array([0.5, 0.9, 0.7, 0.8, 0.6])
    lesion = np.array([False, True, True, False, False])
    mistakes = {
        "this is the mean of the precision over all voxels; count it where a lesion voxel is "
        "found": (1 + 1 / 2 + 2 / 3 + 2 / 4 + 2 / 5) / 5,
        "the voxels are ranked from the lowest score up": (1 / 3 + 2 / 5) / 2,
        "this is the area under straight lines between the points; precision does not run "
        "straight": 0.5 * (1 / 2 + 2 / 3) / 2,
        "this is the area under straight lines, from recall 0 on; precision does not run "
        "straight": 0.5 + 0.5 * (1 / 2 + 2 / 3) / 2,
    }
    got = answer.average_precision(scores, lesion, np.ones(5, bool))
    close(got, 5 / 6, "average_precision, lesions at rank 1 and 3 of 5", mistakes, see=CHAPTER)
    scores = np.array([-0.1, -0.5, -0.5, -0.5, -0.1, -0.3])  # the last two lie outside
    lesion = np.array([True, False, True, False, False, True])
    mistakes = {
        "equal scores are taken one after the other, and the number depends on their order; call "
        "voxels with the same score together": 0.5 + 0.5 * 2 / 3,
        "the background is counted, with its lesion voxels": (1 / 2 + 2 / 3 + 3 / 6) / 3,
        "the background is counted": 0.5 * 1 / 2 + 0.5 * 2 / 6,
        "the background is counted; setting it to 0 leaves it in": 0.5 * 1 / 3 + 0.5 * 2 / 6,
    }
    got = answer.average_precision(scores, lesion, np.arange(6) < 4)
    what = "average_precision of four voxels, three of which have the same score"
    close(got, 3 / 4, what, mistakes, see=CHAPTER)


def share_for(given: Given, above: float) -> float:
    """What the course hands to `threshold_from` so that a share `above` exceeds the threshold."""
    return above if given.SIDE == "exceeds it" else 1 - above


def judge_threshold(got: Any, scores: np.ndarray, lesions: np.ndarray, share: float) -> None:
    """Raises `Wrong` unless a share of the healthy voxels exceeds the threshold, up to a voxel."""
    threshold = float(array(got, (), "threshold_from"))
    healthy = scores[~lesions]
    exceed = np.mean(healthy > threshold)
    if abs(exceed - share) <= 1.5 / len(healthy):
        return
    ways = {
        "lesion voxels are counted among the healthy ones": np.mean(scores > threshold) - share,
        "this is the share of healthy voxels *below* the threshold": 1 - exceed - share,
        "this share is of lesion voxels": np.mean(scores[lesions] > threshold) - share,
    }
    why = [words for words, off in ways.items() if abs(off) <= 1.5 / len(healthy)]
    people = [np.sort(s[~x])[::-1] for s, x in zip(scores, lesions, strict=True)]
    ranked = np.mean([healthy[int(share * len(healthy))] for healthy in people])
    between = np.mean([np.quantile(healthy, 1 - share) for healthy in people])
    if np.isclose(threshold, [ranked, between], rtol=2e-3).any():
        why = ["this is the mean of a threshold for each patient; take all healthy voxels together"]
    found = f"{exceed:.1%} of the healthy voxels exceed it, expected {share:.1%}"
    require(False, f"threshold_from: {'; '.join([*why[:1], found])}", CHAPTER)


@TESTS("q3", points=1, says="a threshold, where the healthy scores are known, and Dice with it")
def threshold_on_known_scores(answer: Answer, given: Given) -> None:
    scores = np.arange(2400.0).reshape(4, 600)
    lesions = scores >= 2000  # the 400 highest: healthy are 0 to 1999
    share = share_for(given, given.SHARE)
    got = answer.threshold_from(scores, lesions, share)
    judge_threshold(got, scores, lesions, given.SHARE)
    test = (
        np.array([[3000.0, 2500, 1000, 500, 0, 1500], [3000, 3000, 3000, 0, 1000, 10]]),
        np.array([[1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 1]]) > 0,
    )
    got = answer.dice_on_test((scores, lesions), test, share)
    require(
        got is None or np.shape(got) == (2,),
        f"dice_on_test: expected one Dice for each of the 2 test patients, got the shape "
        f"{np.shape(got)}; one number for all voxels is pooled, and large lesions weigh more in it",
        CHAPTER,
    )
    mistakes = {
        "this threshold was made from the healthy voxels of the test patients": (0, 0),
        "this is the best threshold of the test patients, chosen with their lesions in hand": (
            2 / 3,
            2 / 3,
        ),
    }
    close(got, (1 / 2, 2 / 3), "dice_on_test of two patients", mistakes, see=CHAPTER)


#: level -> the interval of nine patients from -0.2 to 0.4, from very many draws
OF_NINE = {90: (-0.0083, 0.2083), 95: (-0.025, 0.225)}


def ends_of(given: Given, got: np.ndarray) -> np.ndarray:
    """Both ends of an interval that is given in the course's way."""
    if given.INTERVAL == "its lower and its upper end":
        return got
    return np.array([got[0] - got[1], got[0] + got[1]])


def given_otherwise(given: Given, low: float, high: float) -> dict[str, np.ndarray]:
    """What `ends_of` makes of an interval that was given in the other course's way."""
    ends, middle = np.array([low, high]), np.array([low + high, high - low]) / 2
    other = middle if given.INTERVAL == "its lower and its upper end" else ends
    return {
        f"the two numbers are not what your course asks for, {given.INTERVAL}": (
            ends_of(given, other)
        )
    }


@TESTS("q4", points=1, says="intervals of nine patients, equal and different, and the verdict")
def interval_of_equal_patients(answer: Answer, given: Given) -> None:
    spread = np.array([-0.3, -0.1, 0.1, 0.3])
    differences = np.array([0.2 + np.roll(spread, i) for i in range(9)])
    got = answer.bootstrap_interval(differences, np.random.default_rng(3), 500)
    got = ends_of(given, array(got, (2,), "bootstrap_interval"))
    otherwise = given_otherwise(given, 0.2, 0.2)
    for message, ends in otherwise.items():
        require(not np.allclose(got, ends, atol=1e-6), f"bootstrap_interval: {message}", CHAPTER)
    require(
        np.ptp(got) < 1e-9,
        "bootstrap_interval: the trainings differ, the patients do not; resample patients, not "
        "voxels and not trainings, each patient with all that was measured on them",
        CHAPTER,
    )
    close(got, [0.2, 0.2], "bootstrap_interval, where every patient's mean is 0.2", see=CHAPTER)
    each = np.linspace(-0.2, 0.4, 9)
    mistakes = {
        f"these are the ends of another middle; your course asks for {given.LEVEL} %": OF_NINE[
            185 - given.LEVEL
        ],
        "this is where single patients lie; the mean of several moves less": np.percentile(
            each, [50 - given.LEVEL / 2, 50 + given.LEVEL / 2]
        ),
        "both ends are the mean: draw with replacement, or every draw holds the same patients": (
            0.1,
            0.1,
        ),
    }
    got = answer.bootstrap_interval(each[:, None] + spread, np.random.default_rng(3), 8000)
    got = ends_of(given, array(got, (2,), "bootstrap_interval"))
    mistakes |= given_otherwise(given, *OF_NINE[given.LEVEL])
    what = "bootstrap_interval of nine patients from -0.2 to 0.4"
    close(got, OF_NINE[given.LEVEL], what, mistakes, rtol=0, atol=0.012, see=CHAPTER)
    for low, high, want in (
        (0.01, 0.04, "ahead"),
        (-0.04, -0.01, "behind"),
        (-0.01, 0.04, "no difference shown"),
        (-0.04, 0.01, "no difference shown"),
    ):
        got = answer.verdict(low, high)
        require(got == want, f'verdict({low}, {high}): expected "{want}", got {got!r:.60}', CHAPTER)


#: what the rules make of `made_up_study(5, 0.01)`; the intervals by level
COMPUTED = {
    **{"D0": 0.3032, "D1": 0.5593, "D2": 0.4355, "A0": 0.5694, "A1": 0.6249, "A2": 0.6868},
    **{"R0": 0.9257, "R1": 0.9562},
}
INTERVALS = {
    90: {"I0": (-0.009, 0.0725), "I1": (0.0084, 0.0521), "I2": (-0.0714, 0.1492)},
    95: {"I0": (-0.0163, 0.0805), "I1": (0.0046, 0.0565), "I2": (-0.0791, 0.1697)},
}
#: numbers that wrong ways make of it
WRONG_WAYS = {
    "D1": {
        "this gives every patient a threshold of their own; the rule has one for all": 0.5795,
        "this pools the voxels to choose the threshold; the rule takes the mean": 0.6584,
    },
    "A0": {"this is the first training alone; take the mean over all of them": 0.5767},
    "A1": {
        "this takes another training for every patient; one is best, by its mean": 0.6712,
        "this is the best patient of the best training": 0.9463,
    },
    "A2": {"this is the first training alone": 0.7289},
}


@TESTS("q5", points=0.5, says="the numbers of another study, by each rule")
def recomputed_by_each_rule(answer: Answer, given: Given) -> None:
    got = answer.recomputed(made_up_study(5, 0.01))
    require(isinstance(got, dict), f"recomputed: expected a dictionary, got {type(got).__name__}")
    for code, want in (COMPUTED | INTERVALS[given.LEVEL]).items():
        require(code in got, f'recomputed: expected a number for "{code}", found none')
        numbers = COMPUTED if code in COMPUTED else INTERVALS[given.LEVEL]
        others = {
            f"this is what {other} asks for": value
            for other, value in numbers.items()
            if other != code and other[0] == code[0]
        }
        mistakes = WRONG_WAYS.get(code, {}) | others
        off = 0.001 if code in COMPUTED else 0.07 * float(np.ptp(want))
        close(got[code], want, f'recomputed, "{code}"', mistakes, rtol=0, atol=off, see=CHAPTER)


#: numbers that are far apart, so that there is no doubt which of them a draft holds
HAND_MADE = {
    **{"D0": 0.30, "D1": 0.50, "D2": 0.40, "A0": 0.45, "A1": 0.55, "A2": 0.65, "R0": 0.8},
    **{"R1": 0.9, "I0": [-0.02, 0.08], "I1": [0.0, 0.06], "I2": [-0.1, 0.16]},
}


def draft_of(numbers: dict[str, Any], codes: list[str]) -> dict[str, float]:
    """The numbers of a draft that was made by these rules."""
    (_, d, a, r, i) = codes
    low, high = numbers[i]
    return {"dice": numbers[d], "auprc": numbers[a], "auroc": numbers[r], "low": low, "high": high}


def judge_findings(got: Any, want: list[str], what: str) -> None:
    """Raises `Wrong`, with the first code that is another."""
    require(isinstance(got, (list, tuple)), f"{what}: expected a list of codes, got {got!r:.60}")
    require(len(got) == len(want), f"{what}: expected {len(want)} codes, got {len(got)}")
    for found, code in zip(got, want, strict=True):
        require(
            isinstance(found, str) and found[:1] == code[0],
            f"{what}: expected a code with {code[0]} here, got {found!r:.60}; the order is S, D, "
            "A, R, I",
        )
        require(found == code, f"{what}: {found} is not the rule; {REASONS[code]}", CHAPTER)


#: code -> what was to be seen
REASONS = {
    "S0": "no patient stands in both lists; that the lists differ in length or order says nothing",
    "S1": "a patient stands in both lists, with other slices; the slices differ, the patient does "
    "not",
    "D0": "this Dice is made with the validation threshold, as a mean over patients",
    "D1": "this is the best threshold of the test patients, chosen with their lesions in hand",
    "D2": "this is one pooled number over all voxels, in which large lesions weigh more",
    "A0": "this is the mean over all trainings and patients",
    "A1": "this is the best of several trainings, chosen by its own result",
    "A2": "this pools the voxels of all patients; it is no mean over patients",
    "R0": "this counts the voxels of the brain and no others",
    "R1": "the background is counted: every voxel outside the brain is an easy negative",
    "I0": "this interval comes from resampling patients",
    "I1": "this interval is too narrow for so few patients: every training was drawn as if it were "
    "a patient; resample patients",
    "I2": "this is where single patients lie, not where their mean lies",
}


@TESTS("q5", points=0.5, says="the rules behind two drafts that were made by hand")
def findings_of_hand_made_drafts(answer: Answer, given: Given) -> None:
    here, there = np.array([7, 7, 9, 9, 8, 8]), np.array([4, 5, 4, 6, 6, 5])
    both = np.array([4, 5, 4, 6, 6, 9])
    for patients, want in (
        (there, ["S0", "D2", "A0", "R1", "I1"]),
        (both, ["S1", "D0", "A2", "R0", "I2"]),
    ):
        draft = draft_of(HAND_MADE, want)
        got = answer.findings(draft, HAND_MADE, patients, here)
        judge_findings(got, want, "findings")
