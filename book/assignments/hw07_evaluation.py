"""Assignment 7, evaluation: hidden tests, right solutions, and the mistakes they must catch."""

from typing import Any

import numpy as np

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw07_evaluation import (
    CHAPTER,
    HAND_MADE,
    draft_of,
    ends_of,
    given_otherwise,
    judge_findings,
    judge_threshold,
    made_up_study,
    share_for,
)
from maskdiff_edu.course.tasks import (
    Answer,
    Given,
    Tests,
    Wrong,
    array,
    close,
    draws_from_rng,
    require,
)
from maskdiff_edu.detection import metrics

try:  # an independent reference, where a grader has it
    from sklearn.metrics import average_precision_score
except ImportError:
    average_precision_score = None

TESTS = Tests()
RULES = {"D": 3, "A": 3, "R": 2, "I": 3}  #: how many there are for a number


def overlap(prediction: np.ndarray, lesion: np.ndarray) -> float:
    """Dice by counting; NaN for two empty masks."""
    counts = np.bincount(2 * lesion.ravel().astype(int) + prediction.ravel(), minlength=4)
    wrong = counts[1] + counts[2]
    return 2 * counts[3] / (2 * counts[3] + wrong) if counts[3] + wrong else float("nan")


def area(scores: np.ndarray, lesion: np.ndarray, inside: np.ndarray) -> float:
    """Average precision, from scikit-learn where it is installed."""
    if average_precision_score is None:
        return metrics.auprc(scores, lesion, inside).value
    return float(average_precision_score(lesion[inside], scores[inside]))


def draw_masks(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What was called and what is lesion, of patients with lesions of very different sizes."""
    share = np.linspace(0.02, 0.6, n)[:, None, None]
    lesions = rng.random((n, 12, 12)) < share
    lesions[:, 0, 0] = True
    hit = rng.random((n, 12, 12)) < 0.3 + share
    return (lesions & hit) | (rng.random((n, 12, 12)) < 0.05), lesions


@TESTS("q1", points=1, says="Dice where one mask is empty, and where both are")
def dice_of_empty_masks(answer: Answer, given: Given) -> None:
    empty, some = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    some[given.rng("dice_of_empty_masks").integers(4)] = True
    perfect = {"two masks of which one is empty do not agree; the rule is for both empty": 1.0}
    close(answer.dice(some, empty), 0.0, "dice of a false alarm in a healthy brain", perfect)
    close(answer.dice(empty, some), 0.0, "dice where nothing is called", perfect)
    got = answer.dice(empty, empty)
    what = f"dice of two empty masks, which in your course {given.EMPTY}"
    require(isinstance(got, (int, float)), f"{what}: expected a number, got {got!r:.60}")
    zero = (
        "this is 0, as if a lesion had been missed; a small number in the denominator does not "
        "settle 0 / 0"
    )
    if given.EMPTY == "counts as 1":
        close(got, 1.0, what, {zero: 0.0}, see=CHAPTER)
    else:
        require(got != 0, f"{what}: {zero}", CHAPTER)
        require(np.isnan(got), f'{what}: expected float("nan"), got {got:.6g}', CHAPTER)


@TESTS("q1", points=1, says="the mean over patients, healthy ones among them")
def dice_over_patients(answer: Answer, given: Given) -> None:
    rng = given.rng("dice_over_patients")
    called, lesions = draw_masks(rng, int(rng.integers(4, 8)))
    lesions[1] = False  # a healthy patient with a false alarm
    lesions[2] = called[2] = False  # and one of whom nothing is called
    each = np.array([overlap(c, x) for c, x in zip(called, lesions, strict=True)])
    with_one, without = np.nan_to_num(each, nan=1.0).mean(), np.nanmean(each)
    want, other = (with_one, without) if given.EMPTY == "counts as 1" else (without, with_one)
    mistakes = {
        "this is one pooled number over all voxels; take the mean over patients": overlap(
            called, lesions
        ),
        "the healthy patient of whom nothing is called counts as 0": np.nan_to_num(each).mean(),
        f"the healthy patient of whom nothing is called {given.EMPTY} in your course": other,
        "a healthy patient with a false alarm gets more than 0": np.where(
            lesions.any(axis=(1, 2)), each, 1.0
        ).mean(),
    }
    close(answer.mean_dice(called, lesions), want, "mean_dice", mistakes, see=CHAPTER)


def in_order(scores: np.ndarray, lesion: np.ndarray, order: np.ndarray) -> float:
    """Average precision where equal scores are taken one after the other."""
    hits = lesion[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


@TESTS("q2", points=2, says="average precision where many scores are equal")
def precision_with_ties(answer: Answer, given: Given) -> None:
    rng = given.rng("precision_with_ties")
    n = int(rng.integers(300, 500))
    lesion = rng.random(n) < 0.15
    lesion[:3] = True
    scores = np.round(rng.standard_normal(n) + 1.2 * lesion)
    inside = np.ones(n, bool)
    want = area(scores, lesion, inside)
    # Equal scores one after the other: healthy voxels first, and lesion voxels first.
    low, high = (
        in_order(scores, lesion, np.lexsort((first, -scores))) for first in (lesion, ~lesion)
    )
    for name in ("average_precision", "average_precision of the same voxels in another order"):
        got = array(answer.average_precision(scores, lesion, inside), (), name)
        near = np.isclose(got, want, rtol=1e-4)
        apart = other_areas(scores, lesion)
        if not near and low <= got <= high and not np.isclose(got, list(apart.values())).any():
            raise Wrong(
                f"{name}: equal scores are taken one after the other, and the number depends on "
                "their order; call voxels with the same score together",
                CHAPTER,
            )
        close(got, want, name, apart, see=CHAPTER)
        mixed = rng.permutation(n)
        scores, lesion = scores[mixed], lesion[mixed]


def other_areas(scores: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    """Message -> what comes out where the curve is made, or summed up, in another way."""
    levels = np.unique(scores)[::-1]
    found = np.array([lesion[scores >= level].sum() for level in levels])
    called = np.array([(scores >= level).sum() for level in levels])
    precision, recall = found / called, found / found[-1]
    from_below = np.array([lesion[scores <= level].sum() for level in levels[::-1]])
    shares = from_below / np.array([(scores <= level).sum() for level in levels[::-1]])
    start = recall[0] * precision[0]
    lines = "this is the area under straight lines; precision does not run straight"
    return {
        lines: float(np.trapezoid(precision, recall)),
        f"{lines} from point to point": float(start + np.trapezoid(precision, recall)),
        "this is the mean of the precision over all scores; weigh it with the steps of recall": (
            float(precision.mean())
        ),
        "the voxels are ranked from the lowest score up": float(
            shares @ np.diff(from_below, prepend=0) / from_below[-1]
        ),
    }


@TESTS("q2", points=1, says="average precision inside the brain only")
def precision_inside_the_brain(answer: Answer, given: Given) -> None:
    rng = given.rng("precision_inside_the_brain")
    shape = (2, 14, int(rng.integers(12, 18)))
    inside = rng.random(shape) < 0.55
    lesion = rng.random(shape) < 0.15
    scores = rng.standard_normal(shape) + 1.5 * (lesion & inside) - 1  # 0 is a high score here
    want = area(scores, lesion, inside)
    all_voxels = np.ones(shape, bool)
    counted = (
        "the background is counted: every voxel outside the brain is an easy negative where it "
        "scores low, and a false alarm where it scores high"
    )
    mistakes = {
        counted: area(scores, lesion, all_voxels),
        f"{counted}; lesion voxels there are ignored, as they should be": area(
            scores, lesion & inside, all_voxels
        ),
        f"{counted}; setting it to 0 leaves it in": area(
            scores * inside, lesion & inside, all_voxels
        ),
    }
    mistakes |= other_areas(scores[inside], lesion[inside])
    got = answer.average_precision(scores, lesion, inside)
    close(got, want, "average_precision in a brain", mistakes, see=CHAPTER)


def draw_rows(rng: np.random.Generator, n: int, loud: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores and lesions, (patients, voxels); the patients differ in how noisy they are."""
    lesions = rng.random((n, 800)) < rng.uniform(0.05, 0.25, (n, 1))
    spread = rng.permutation(np.linspace(0.6, 1.4, n))[:, None]
    noise = spread * rng.standard_normal((n, 800))
    return loud * (noise + 2.5 * lesions), lesions


@TESTS("q3", points=1, says="the threshold of drawn patients, for several shares")
def threshold_on_drawn_scores(answer: Answer, given: Given) -> None:
    rng = given.rng("threshold_on_drawn_scores")
    for share in (given.SHARE, 0.1, float(rng.uniform(0.02, 0.2))):
        scores, lesions = draw_rows(rng, int(rng.integers(4, 8)), 1.0)
        got = answer.threshold_from(scores, lesions, share_for(given, share))
        judge_threshold(got, scores, lesions, share)


@TESTS("q3", points=2, says="Dice of each test patient, with the threshold of others")
def dice_with_the_threshold_of_others(answer: Answer, given: Given) -> None:
    rng = given.rng("dice_with_the_threshold_of_others")
    n, share = int(rng.integers(5, 8)), float(rng.uniform(0.008, 0.015))
    validation, test = draw_rows(rng, 9, 1.0), draw_rows(rng, n, float(rng.uniform(0.7, 0.8)))

    def at(threshold: float) -> np.ndarray:
        return np.array([overlap(s > threshold, x) for s, x in zip(*test, strict=True)])

    def thresholds(rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """The healthy scores around the share, and what lies between them: all are right."""
        healthy = np.sort(rows[0][~rows[1]])[::-1]
        k = int(share * len(healthy))
        return np.linspace(healthy[k + 1], healthy[k - 2], 30)

    tried = np.quantile(test[0], np.linspace(0.5, 0.99, 60))
    by_threshold = np.array([at(t) for t in tried])
    oracle, best = by_threshold.max(axis=0).mean(), by_threshold.mean(axis=1).max()
    right = np.array([at(t) for t in thresholds(validation)])
    got = answer.dice_on_test(validation, test, share_for(given, share))
    require(
        got is None or np.shape(got) == (n,),
        f"dice_on_test: expected one Dice for each of the {n} test patients, got the shape "
        f"{np.shape(got)}; one number for all voxels is pooled, and large lesions weigh more in it",
        CHAPTER,
    )
    found = array(got, (n,), "dice_on_test")
    if ((found >= right.min(axis=0) - 1e-6) & (found <= right.max(axis=0) + 1e-6)).all():
        return
    why = {
        "this threshold was made from the healthy voxels of the test patients": np.mean(
            [at(t) for t in thresholds(test)]
        ),
        "this is the best threshold of the test patients, chosen with their lesions in hand": best,
        "every patient has the threshold that is best for them, which nobody knows beforehand": (
            oracle
        ),
    }
    off = {message: abs(float(found.mean() - value)) for message, value in why.items()}
    likely = min(off, key=lambda message: off[message])
    require(off[likely] > 0.02, f"dice_on_test: {likely}", CHAPTER)
    close(found, right.mean(axis=0), "dice_on_test", rtol=0, see=CHAPTER)


def interval(rows: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Middle `level` % of the means of rows drawn anew, by how often each row is drawn."""
    n = len(rows)
    means = rng.multinomial(n, np.full(n, 1 / n), size=12_000) @ rows / n
    return np.quantile(means, [0.5 - level / 200, 0.5 + level / 200])


def draw_differences(rng: np.random.Generator) -> np.ndarray:
    """(patients, trainings): the patients differ more than the trainings."""
    n = int(rng.integers(9, 14))
    each = rng.normal(0.03, 0.1, n)
    return each[:, None] + 0.04 * rng.standard_normal((n, int(rng.integers(3, 6))))


@TESTS("q4", points=1, says="the interval over patients")
def interval_over_patients(answer: Answer, given: Given) -> None:
    rng = given.rng("interval_over_patients")
    values = draw_differences(rng)
    each = values.mean(axis=1)
    want = interval(each, given.LEVEL, rng)
    other = 185 - given.LEVEL
    mistakes = {
        "this is too narrow: resample patients, not voxels and not trainings": interval(
            values.ravel(), given.LEVEL, rng
        ),
        f"these are the ends of the middle {other} %; your course asks for {given.LEVEL} %": (
            interval(each, other, rng)
        ),
        "this is where single patients lie; the mean of several moves less": np.percentile(
            each, [50 - given.LEVEL / 2, 50 + given.LEVEL / 2]
        ),
        "both ends are the mean: draw with replacement, or every draw holds the same patients": [
            each.mean()
        ]
        * 2,
    }
    mistakes |= given_otherwise(given, *want)
    got = ends_of(given, array(answer.bootstrap_interval(values, rng, 8000), (2,), "the interval"))
    width = float(np.ptp(want))
    close(got, want, "bootstrap_interval", mistakes, rtol=0, atol=0.04 * width, see=CHAPTER)


@TESTS("q4", points=1, says="the draws come from the generator that is handed in")
def interval_uses_its_generator(answer: Answer, given: Given) -> None:
    values = draw_differences(given.rng("interval_uses_its_generator"))

    def ends(seed: int) -> np.ndarray:
        got = answer.bootstrap_interval(values, np.random.default_rng(seed), 40)
        return array(got, (2,), "bootstrap_interval")

    draws_from_rng(ends, "bootstrap_interval", see=CHAPTER)


@TESTS("q4", points=1, says="what intervals on either side of 0 show")
def verdicts_of_intervals(answer: Answer, given: Given) -> None:
    for low, high in given.rng("verdicts_of_intervals").uniform(0.01, 0.04, (3, 2)):
        for ends, want in (
            ((low, low + high), "ahead"),
            ((-low - high, -low), "behind"),
            ((-low, low + high), "no difference shown"),
            ((-low - high, low), "no difference shown"),
        ):
            got = answer.verdict(*map(float, ends))
            why = "the interval holds 0" if want[:2] == "no" else "all of the interval is on a side"
            require(
                got == want,
                f'verdict({ends[0]:.3f}, {ends[1]:.3f}): {why}, expected "{want}", got {got!r:.60}',
                CHAPTER,
            )


def dices_of(study: dict[str, Any]) -> dict[str, float]:
    """What each rule for Dice makes of a study; also, under other names, two wrong ways."""
    first, lesions, brains = study["scores"][0], study["lesions"], study["brains"]
    rows = [(s[b], x[b]) for s, x, b in zip(first, lesions, brains, strict=True)]

    def at(threshold: float) -> list[float]:
        return [overlap(s > threshold, x) for s, x in rows]

    def pooled(threshold: float) -> float:
        return overlap(first[brains] > threshold, lesions[brains])

    table = np.array([at(t) for t in study["thresholds"]])  # (thresholds, patients)
    return {
        "D0": float(np.mean(at(study["threshold"]))),
        "D1": table.mean(axis=1).max(),
        "D2": pooled(study["threshold"]),
        "oracle": table.max(axis=0).mean(),
        "pooled best": max(map(pooled, study["thresholds"])),
    }


def areas_of(study: dict[str, Any]) -> dict[str, float]:
    """What each rule for AUPRC and AUROC makes of a study; also some wrong ways."""
    scores, lesions, brains = study["scores"], study["lesions"], study["brains"]
    each = np.array([[area(*p) for p in zip(x, lesions, brains, strict=True)] for x in scores])
    together = [area(x, lesions, brains) for x in scores]
    brain, frame = (
        np.mean([metrics.auroc(*p) for p in zip(scores[0], lesions, where, strict=True)])
        for where in (brains, np.ones_like(brains))
    )
    return {
        **{"A0": each.mean(), "A1": each.mean(axis=1).max(), "A2": np.mean(together)},
        **{"R0": brain, "R1": frame},
        **{"first": each[0].mean(), "first pooled": together[0]},
        **{"lucky": each.max(axis=0).mean(), "one patient": each.max()},
    }


def intervals_of(study: dict[str, Any], level: float) -> dict[str, np.ndarray]:
    """What each rule for the interval makes of a study."""
    rng, values = np.random.default_rng(5), study["differences"]
    each = values.mean(axis=1)
    return {
        "I0": interval(each, level, rng),
        "I1": interval(values.ravel(), level, rng),
        "I2": np.percentile(each, [50 - level / 2, 50 + level / 2]),
    }


def draw_study(given: Given, name: str) -> dict[str, Any]:
    """A study of other people than the student's."""
    return made_up_study(int(given.rng(name).integers(1, 2**31)), given.SHARE)


def same_number(got: Any, code: str, want: Any, mistakes: dict[str, Any], **how: float) -> None:
    """Raises `Wrong` unless a dictionary's number is right."""
    require(isinstance(got, dict), f"recomputed: expected a dictionary, got {type(got).__name__}")
    require(code in got, f'recomputed: expected a number for "{code}", found none')
    close(got[code], want, f'recomputed, "{code}"', mistakes, see=CHAPTER, **how)


@TESTS("q5", points=1, says="the Dice of another study, by each rule")
def recomputed_dices(answer: Answer, given: Given) -> None:
    study = draw_study(given, "recomputed_dices")
    want = dices_of(study)
    got = answer.recomputed(study)
    pooled = {"this is one pooled number over all voxels; take the mean over patients": want["D2"]}
    best = {
        "this gives every patient a threshold of their own; the rule has one for all": want[
            "oracle"
        ],
        "this pools the voxels to choose the threshold; the rule takes the mean": want[
            "pooled best"
        ],
        "this is the Dice at the validation threshold": want["D0"],
    }
    mean = {
        "this is a mean over patients; the rule pools the voxels": want["D0"],
        "this is pooled at the best threshold of the test patients": want["pooled best"],
    }
    for code, mistakes in {"D0": pooled, "D1": best, "D2": mean}.items():
        same_number(got, code, want[code], mistakes, rtol=1e-3)


@TESTS("q5", points=1, says="AUPRC and AUROC of another study, by each rule")
def recomputed_areas(answer: Answer, given: Given) -> None:
    study = draw_study(given, "recomputed_areas")
    want = areas_of(study)
    got = answer.recomputed(study)
    one = {"this is the first training alone; take the mean over all of them": want["first"]}
    lucky = {
        "this takes another training for every patient; one is best, by its mean": want["lucky"],
        "this is the best patient of the best training": want["one patient"],
    }
    pooled = {
        "this is a mean over patients; the rule pools the voxels": want["A0"],
        "this is the first training alone": want["first pooled"],
    }
    background = {
        "the background is counted: every voxel outside the brain is an easy negative": want["R1"]
    }
    brain = {"this is over the brain only; the rule counts the background": want["R0"]}
    ways = {"A0": one, "A1": lucky, "A2": pooled, "R0": background, "R1": brain}
    for code, mistakes in ways.items():
        same_number(got, code, want[code], mistakes)


@TESTS("q5", points=1, says="the intervals of another study, by each rule")
def recomputed_intervals(answer: Answer, given: Given) -> None:
    study = draw_study(given, "recomputed_intervals")
    want = intervals_of(study, given.LEVEL)
    got = answer.recomputed(study)
    reasons = {
        "I0": "this comes from drawing patients, each with all of their trainings",
        "I1": "this counts every training as a patient",
        "I2": "this is where single patients lie, not where their mean lies",
    }
    for code, value in want.items():
        others = {reasons[o]: want[o] for o in reasons if o != code}
        same_number(got, code, value, others, rtol=0, atol=0.07 * float(np.ptp(value)))


@TESTS("q5", points=1, says="the rules behind your draft, and behind others")
def findings_of_drafts(answer: Answer, given: Given) -> None:
    rng = given.rng("findings_of_drafts")
    study = made_up_study(given.STUDY, given.SHARE)
    numbers = dices_of(study) | areas_of(study) | intervals_of(study, given.LEVEL)
    numbers = {code: value for code, value in numbers.items() if code[1:].isdigit()}
    patients = study["validation_patients"], study["test_patients"]
    mixed = bool(set(patients[0].tolist()) & set(patients[1].tolist()))
    draft = {"dice": given.DICE, "auprc": given.AUPRC, "auroc": given.AUROC}
    draft |= {"low": given.LOW, "high": given.HIGH}
    want = [f"S{int(mixed)}", *(nearest(numbers, draft, letter) for letter in RULES)]
    got = answer.findings(draft, numbers, *patients)
    judge_findings(got, want, "findings, of your draft")
    people = 100 + rng.permutation(60)
    for mixed in (False, True, False, True):
        picked = [f"{letter}{rng.integers(k)}" for letter, k in RULES.items()]
        here, there = np.repeat(people[:8], 3), np.repeat(people[8:16], 3)
        if mixed:
            there[0] = here[0]  # one slice, of one patient
        code = [f"S{int(mixed)}", *picked]
        patients = rng.permutation(there), rng.permutation(here)
        got = answer.findings(draft_of(HAND_MADE, code), HAND_MADE, *patients)
        judge_findings(got, code, "findings, of a draft")


def nearest(numbers: dict[str, Any], draft: dict[str, float], letter: str) -> str:
    """The rule that a draft's number comes from."""
    names = {"D": ["dice"], "A": ["auprc"], "R": ["auroc"], "I": ["low", "high"]}
    value = np.array([draft[name] for name in names[letter]])
    codes = [code for code in numbers if code[0] == letter]
    off = [float(np.abs(np.atleast_1d(numbers[code]) - value).max()) for code in codes]
    return codes[int(np.argmin(off))]


# Right solutions, written differently.
EQUIVALENTS = {
    "loops": {
        "q1": """
def dice(prediction, lesion):
    tp = fp = fn = 0
    for called, ill in zip(np.ravel(prediction), np.ravel(lesion)):
        tp += bool(called and ill)
        fp += bool(called and not ill)
        fn += bool(ill and not called)
    if tp + fp + fn == 0:
        return {"counts as 1": 1, "is left out": np.nan}["{{EMPTY}}"]
    return 2 * tp / (2 * tp + fp + fn)

def mean_dice(predictions, lesions):
    values = [dice(predictions[i], lesions[i]) for i in range(len(lesions))]
    values = [value for value in values if not np.isnan(value)]
    return sum(values) / len(values)
""",
        "q2": """
def average_precision(scores, lesion, inside):
    s, y = scores[inside], lesion[inside]
    total, before = 0.0, 0.0
    for level in sorted(set(s.tolist()), reverse=True):
        called = s >= level
        recall = y[called].sum() / y.sum()
        total += y[called].mean() * (recall - before)
        before = recall
    return total
""",
        "q3": """
def threshold_from(scores, lesions, share):
    with SIDE == "exceeds it":
        return np.quantile(scores[lesions == 0], 1 - share)
    with SIDE == "does not exceed it":
        return np.quantile(scores[lesions == 0], share)

def dice_on_test(validation, test, share):
    t = threshold_from(validation[0], validation[1], share)
    out = []
    for s, x in zip(*test):
        out.append(metrics.dice(s > t, x))
    return out
""",
        "q4": """
def bootstrap_interval(differences, rng, n):
    k, means = len(differences), []
    for _ in range(n):
        rows = rng.choice(k, k, replace=True)
        means.append(differences[rows].mean())
    low, high = np.quantile(means, [0.5 - LEVEL / 200, 0.5 + LEVEL / 200])
    with INTERVAL == "its lower and its upper end":
        return [low, high]
    with INTERVAL == "its middle and half of its width":
        return [low + (high - low) / 2, (high - low) / 2]

def verdict(low, high):
    if low <= 0 <= high:
        return "no difference shown"
    return "ahead" if high > 0 else "behind"
""",
        "q5": """
def recomputed(study):
    x, y, b = study["scores"], study["lesions"], study["brains"]
    n = len(y)
    out = {}

    def one(t):
        return sum(metrics.dice_at_threshold(x[0][i], y[i], b[i], t) for i in range(n)) / n

    out["D0"] = one(study["threshold"])
    out["D1"] = max([one(t) for t in study["thresholds"]])
    out["D2"] = metrics.dice_at_threshold(x[0], y, b, study["threshold"])
    means = []
    for maps in x:
        means.append(np.mean([metrics.auprc(maps[i], y[i], b[i]).value for i in range(n)]))
    out["A0"], out["A1"] = np.mean(means), max(means)
    out["A2"] = np.mean([metrics.auprc(*metrics.pooled(maps, y, b)).value for maps in x])
    out["R0"] = np.mean([metrics.auroc(x[0][i], y[i], b[i]) for i in range(n)])
    out["R1"] = np.mean([metrics.auroc(x[0][i], y[i], y[i] >= 0) for i in range(n)])
    d, rng, rest = study["differences"], np.random.default_rng(11), (1 - LEVEL / 100) / 2
    for code, values in {"I0": d.mean(axis=1), "I1": d.flatten()}.items():
        means = [rng.choice(values, len(values)).mean() for _ in range(5000)]
        out[code] = (np.quantile(means, rest), np.quantile(means, 1 - rest))
    out["I2"] = tuple(np.quantile(d.mean(axis=1), [rest, 1 - rest]))
    return out

def findings(draft, numbers, validation_patients, test_patients):
    shared = set(validation_patients.tolist()) & set(test_patients.tolist())
    codes = ["S1" if shared else "S0"]
    for names in (("D0", "D1", "D2"), ("A0", "A1", "A2"), ("R0", "R1")):
        key = {"D": "dice", "A": "auprc", "R": "auroc"}[names[0][0]]
        codes.append(sorted(names, key=lambda c: abs(numbers[c] - draft[key]))[0])
    width = draft["high"] - draft["low"]
    codes.append(min(
        ("I0", "I1", "I2"), key=lambda c: abs(numbers[c][1] - numbers[c][0] - width)
    ))
    return codes
""",
    },
    "torch": {
        "q1": """
import torch

def dice(prediction, lesion):
    p, y = torch.as_tensor(prediction).double(), torch.as_tensor(lesion).double()
    if p.max() == 0 and y.max() == 0:
        return float("nan") if "{{EMPTY}}" == "is left out" else 1.0
    return (2 * (p * y).sum() / (p + y).sum()).item()

def mean_dice(predictions, lesions):
    values = torch.tensor([dice(p, y) for p, y in zip(predictions, lesions)])
    return values.nanmean()
""",
        "q2": """
def average_precision(scores, lesion, inside):
    s, y = scores[inside], lesion[inside].astype(float)
    order = np.argsort(s)[::-1]
    s, y = s[order], y[order]
    last = np.append(np.flatnonzero(s[1:] != s[:-1]), len(s) - 1)  # of each run of equal scores
    found = y.cumsum()[last]
    recall = np.concatenate([[0], found / y.sum()])
    return float(np.einsum("i,i", found / (last + 1), recall[1:] - recall[:-1]))
""",
        "q3": """
import torch

def threshold_from(scores, lesions, share):
    healthy = torch.as_tensor(scores)[~torch.as_tensor(lesions)]
    with SIDE == "exceeds it":
        k = int(share * len(healthy)) + 1
    with SIDE == "does not exceed it":
        k = int((1 - share) * len(healthy)) + 1
    return healthy.topk(k).values[-1].item()

def dice_on_test(validation, test, share):
    s, y = (torch.as_tensor(part) for part in test)
    called = s > threshold_from(*validation, share)
    return 2 * (called & y).sum(1) / (called.sum(1) + y.sum(1))
""",
        "q4": """
def bootstrap_interval(differences, rng, n):
    k = len(differences)
    times = rng.multinomial(k, [1 / k] * k, size=n)  # how often each patient is drawn
    means = np.sort(times @ differences.mean(axis=1) / k)
    out = round(n * (100 - LEVEL) / 200)
    low, high = means[out], means[n - 1 - out]
    with INTERVAL == "its lower and its upper end":
        return low, high
    with INTERVAL == "its middle and half of its width":
        return (high + low) / 2, (high - low) / 2

def verdict(low, high):
    return {(1, 1): "ahead", (-1, -1): "behind"}.get(
        (int(np.sign(low)), int(np.sign(high))), "no difference shown"
    )
""",
    },
}

OVER_PATIENTS = "np.nanmean([dice(p, lesion) for p, lesion in zip(predictions, lesions)])"
RANKED = "np.unique(-scores, return_inverse=True, return_counts=True)"
ALL_DRAFTS = ("findings_of_hand_made_drafts", "findings_of_drafts")

# Each is one replacement in the solution of one exercise, and loses these tests and no others.
MISTAKES = [
    Mistake(
        "q1",
        "intersection over union",
        "2 * np.sum(prediction & lesion) / total",
        "np.sum(prediction & lesion) / np.sum(prediction | lesion)",
        loses=("dice_of_small_masks", "dice_over_patients"),
        says="intersection over the union",
    ),
    Mistake(
        "q1",
        "accuracy for Dice",
        "2 * np.sum(prediction & lesion) / total",
        "np.mean(prediction == lesion)",
        loses=("dice_of_small_masks", "dice_of_empty_masks", "dice_over_patients"),
        says="true negatives are in it",
    ),
    Mistake(
        "q1",
        "a small number in the denominator",
        "    if total == 0:\n",
        "    total += 1e-8\n    if total == 0:\n",
        loses=("dice_of_small_masks", "dice_of_empty_masks", "dice_over_patients"),
        says="does not settle 0 / 0",
    ),
    Mistake(
        "q1",
        "the other rule for empty masks",
        told="EMPTY",
        loses=("dice_of_small_masks", "dice_of_empty_masks", "dice_over_patients"),
        says="in your course",
    ),
    Mistake(
        "q1",
        "every healthy patient is perfect",
        "if total == 0:",
        "if np.sum(lesion) == 0:",
        loses=("dice_of_small_masks", "dice_of_empty_masks", "dice_over_patients"),
        says="",
    ),
    Mistake(
        "q1",
        "pooled voxels",
        OVER_PATIENTS,
        "dice(predictions, lesions)",
        loses=("dice_of_small_masks", "dice_over_patients"),
        says="pooled number",
    ),
    Mistake(
        "q2",
        "equal scores one after the other",
        RANKED,
        '(0, np.argsort(np.argsort(-scores, kind="stable")), np.ones(len(scores)))',
        loses=("precision_of_five", "precision_with_ties"),
        says="one after the other",
    ),
    Mistake(
        "q2",
        "the background counted",
        "scores[inside], lesion[inside]",
        "np.ravel(scores), np.ravel(lesion)",
        loses=("precision_of_five", "precision_inside_the_brain"),
        says="background is counted",
    ),
    Mistake(
        "q2",
        "the background set to 0 and counted",
        "scores[inside], lesion[inside]",
        "np.ravel(scores * inside), np.ravel(lesion & inside)",
        loses=("precision_of_five", "precision_inside_the_brain"),
        says="setting it to 0 leaves it in",
    ),
    Mistake(
        "q2",
        "straight lines between the points",
        "np.sum(precision * steps)",
        "np.trapezoid(precision, found / found[-1])",
        loses=("precision_of_five", "precision_with_ties", "precision_inside_the_brain"),
        says="straight lines",
    ),
    Mistake(
        "q2",
        "the mean over all voxels",
        "np.sum(precision * steps)",
        "np.mean(precision)",
        loses=("precision_of_five", "precision_with_ties", "precision_inside_the_brain"),
        says="mean of the precision over all voxels",
    ),
    Mistake(
        "q2",
        "from the lowest score up",
        "np.unique(-scores,",
        "np.unique(scores,",
        loses=("precision_of_five", "precision_with_ties", "precision_inside_the_brain"),
        says="from the lowest score up",
    ),
    Mistake(
        "q3",
        "lesions among the healthy",
        "scores[~lesions]",
        "scores.ravel()",
        loses=(
            "threshold_on_known_scores",
            "threshold_on_drawn_scores",
            "dice_with_the_threshold_of_others",
        ),
        says="counted among the healthy",
    ),
    Mistake(
        "q3",
        "the share on the other side of the threshold",
        told="SIDE",
        loses=(
            "threshold_on_known_scores",
            "threshold_on_drawn_scores",
            "dice_with_the_threshold_of_others",
        ),
        says="*below* the threshold",
    ),
    Mistake(
        "q3",
        "from the lowest score up",
        "[::-1]",
        "",
        loses=(
            "threshold_on_known_scores",
            "threshold_on_drawn_scores",
            "dice_with_the_threshold_of_others",
        ),
        says="*below* the threshold",
    ),
    Mistake(
        "q3",
        "a threshold for each patient, averaged",
        "healthy = np.sort(scores[~lesions])[::-1]",
        "return np.mean([np.quantile(s[~x], 1 - above) for s, x in zip(scores, lesions)])",
        loses=(
            "threshold_on_known_scores",
            "threshold_on_drawn_scores",
            "dice_with_the_threshold_of_others",
        ),
        says="a threshold for each patient",
    ),
    Mistake(
        "q3",
        "the threshold of the test patients",
        "threshold_from(*validation, share)",
        "threshold_from(*test, share)",
        loses=("threshold_on_known_scores", "dice_with_the_threshold_of_others"),
        says="of the test patients",
    ),
    Mistake(
        "q3",
        "the best threshold of the test patients",
        "threshold = threshold_from(*validation, share)",
        "tried = np.quantile(test[0], np.linspace(0.5, 0.99, 80))\n"
        "    threshold = max(tried, key=lambda t: np.mean(\n"
        "        [metrics.dice(s > t, x) for s, x in zip(*test)]))",
        loses=("threshold_on_known_scores", "dice_with_the_threshold_of_others"),
        says="best threshold of the test patients",
    ),
    Mistake(
        "q3",
        "one pooled number",
        "return 2 * (called & lesions).sum(axis=1) / total",
        "return 2 * (called & lesions).sum() / total.sum()",
        loses=("threshold_on_known_scores", "dice_with_the_threshold_of_others"),
        says="pooled",
    ),
    Mistake(
        "q4",
        "every training as a patient",
        "each = differences.mean(axis=1)",
        "each = differences.ravel()",
        loses=("interval_of_equal_patients", "interval_over_patients"),
        says="resample patients, not voxels",
    ),
    Mistake(
        "q4",
        "the interval given in another way",
        told="INTERVAL",
        loses=("interval_of_equal_patients", "interval_over_patients"),
        says="not what your course asks for",
    ),
    Mistake(
        "q4",
        "another level",
        "(100 - LEVEL) / 2",
        "(LEVEL - 85) / 2",
        loses=("interval_of_equal_patients", "interval_over_patients"),
        says="your course asks for",
    ),
    Mistake(
        "q4",
        "single patients for their mean",
        "means = each[drawn].mean(axis=1)",
        "means = each",
        loses=(
            "interval_of_equal_patients",
            "interval_over_patients",
            "interval_uses_its_generator",
        ),
        says="single patients lie",
    ),
    Mistake(
        "q4",
        "without replacement",
        "rng.integers(len(each), size=(n, len(each)))",
        "np.argsort(rng.random((n, len(each))), axis=1)",
        loses=(
            "interval_of_equal_patients",
            "interval_over_patients",
            "interval_uses_its_generator",
        ),
        says="draw with replacement",
    ),
    Mistake(
        "q4",
        "a generator of one's own",
        "rng.integers(",
        "np.random.default_rng(0).integers(",
        loses=("interval_uses_its_generator",),
        says="not with one of your own",
    ),
    Mistake(
        "q4",
        "a verdict by the middle",
        "if low > 0:",
        "if low + high > 0:",
        loses=("interval_of_equal_patients", "verdicts_of_intervals"),
        says="holds 0",
    ),
    Mistake(
        "q5",
        "a threshold for each patient",
        'max(at(t) for t in study["thresholds"])',
        "np.mean([max(metrics.dice((first[i] > t) & brains[i], lesions[i])\n"
        '            for t in study["thresholds"]) for i in patients])',
        loses=("recomputed_by_each_rule", "recomputed_dices"),
        says="a threshold of their own",
    ),
    Mistake(
        "q5",
        "pooled voxels called a mean",
        '"D0": at(study["threshold"])',
        '"D0": metrics.dice((first > study["threshold"]) * brains, lesions)',
        loses=("recomputed_by_each_rule", "recomputed_dices"),
        says="pooled number",
    ),
    Mistake(
        "q5",
        "the best training of each patient",
        "each.mean(axis=1).max()",
        "each.max(axis=0).mean()",
        loses=("recomputed_by_each_rule", "recomputed_areas"),
        says="another training for every patient",
    ),
    Mistake(
        "q5",
        "the background counted",
        "np.mean(areas(brains))",
        "np.mean(areas(brains | True))",
        loses=("recomputed_by_each_rule", "recomputed_areas"),
        says="every voxel outside the brain is an easy negative",
    ),
    Mistake(
        "q5",
        "the wrong axis for the trainings",
        "each.mean(),",
        "each[0].mean(),",
        loses=("recomputed_by_each_rule", "recomputed_areas"),
        says="first training alone",
    ),
    Mistake(
        "q5",
        "single values resampled",
        "values[rows].mean(axis=(1, 2))",
        "values.ravel()[singles].mean(axis=-1)",
        loses=("recomputed_by_each_rule", "recomputed_intervals"),
        says="counts every training as a patient",
    ),
    Mistake(
        "q5",
        "patients apart unless all of them are shared",
        "test_patients).any()",
        "test_patients).all()",
        loses=ALL_DRAFTS,
        says="a patient stands in both lists",
    ),
    Mistake(
        "q5",
        "lists compared, not patients",
        "np.isin(validation_patients, test_patients).any()",
        "len(validation_patients) == len(test_patients)",
        loses=ALL_DRAFTS,
        says="no patient stands in both lists",
    ),
    Mistake(
        "q5",
        "any number above the honest one is the second rule",
        "found.append(min(off, key=off.get))",
        'found.append(letter + "1" if off[letter + "0"] > 0.01 else letter + "0")',
        loses=ALL_DRAFTS,
        says="is not the rule",
    ),
]
