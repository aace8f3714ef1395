"""Pure functions that say how well an anomaly map finds lesions, and how sure one can be.

`scores`, `lesion_mask` and `brain_mask` have one shape, whatever it is. All voxels of the *whole*
brain mask count (those removed by erosion with their score 0), none outside: lesion voxels outside
the brain are ignored. `auprc(*pooled(maps, lesion_masks, brain_masks))` pools the voxels of many
subjects; a mean of per-subject values is another number: say which, and report both. Unequal
shapes, an empty brain, and NaN or infinity inside it raise ValueError everywhere.

Three Dice values must never be mixed: `dice_at_threshold` with a threshold fixed beforehand;
`best_dice` of pooled test voxels, written ⌈Dice⌉; and `best_dice` volume by volume, the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from maskdiff_edu.detection.anomaly import label_components


class BestDice(NamedTuple):
    """⌈Dice⌉, and the threshold that the lesion mask itself was used to choose."""

    value: float
    threshold: float


class AUPRC(NamedTuple):
    """Area under the precision-recall curve, and what random scores would reach."""

    value: float
    prevalence: float  #: lesion voxels / brain voxels


class LesionDetection(NamedTuple):
    """Lesions counted as things, not as voxels."""

    lesions: int  #: components of the lesion mask
    found: int  #: of these, how many were detected
    false_positives: int  #: detected components that touch no lesion

    @property
    def sensitivity(self) -> float:
        """found / lesions; NaN for a healthy subject."""
        return self.found / self.lesions if self.lesions else float("nan")


class Interval(NamedTuple):
    """A statistic over subjects with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class PairedDifference(NamedTuple):
    """Mean of a - b over subjects, its 95 % confidence interval, and a two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float  #: how often chance alone differs as much


def dice(detected: ArrayLike, lesion_mask: ArrayLike) -> float:
    """Overlap of two binary masks of one shape, `2 |A and B| / (|A| + |B|)`, in [0, 1].

    Two empty masks agree perfectly: 1. Raises ValueError for unequal shapes.

    Example:
        >>> dice([1, 1, 0, 0], [1, 0, 0, 0])
        0.6666666666666666
    """
    detected, lesion_mask = _as_mask("detected", detected), _as_mask("lesion_mask", lesion_mask)
    _require_one_shape(detected=detected, lesion_mask=lesion_mask)
    total = detected.sum() + lesion_mask.sum()
    return float(2 * (detected & lesion_mask).sum() / total) if total else 1.0


def dice_at_threshold(
    scores: ArrayLike, lesion_mask: ArrayLike, brain_mask: ArrayLike, threshold: float
) -> float:
    """Dice of `scores > threshold` inside the brain, for a threshold chosen beforehand.

    Take it from healthy subjects (`anomaly.threshold_from_healthy`) or from a validation set.
    A brain without a lesion is allowed, see `dice`.
    """
    inside, lesion = _in_brain(scores, lesion_mask, brain_mask)
    return dice(inside > threshold, lesion)


def best_dice(scores: ArrayLike, lesion_mask: ArrayLike, brain_mask: ArrayLike) -> BestDice:
    """⌈Dice⌉: the largest Dice over *all* thresholds, found with the lesion mask in hand.

    An upper bound, not what a user gets: see `dice_at_threshold`. It never falls below
    2p / (1 + p), the Dice of calling the whole brain a lesion at prevalence p. The threshold is
    one with `dice_at_threshold(..., threshold) == value`; it lies below every score when the
    whole brain is the best answer. ValueError without a lesion.

    Example:
        >>> best_dice([0.1, 0.4, 0.3, 0.9], [0, 0, 1, 1], [1, 1, 1, 1])
        BestDice(value=0.8, threshold=0.1)
    """
    distinct, true_positives, detected = _curve(scores, lesion_mask, brain_mask)
    dices = 2 * true_positives / (detected + true_positives[-1])
    best = int(np.argmax(dices))
    lowest = float(distinct[-1])
    thresholds = np.append(distinct[1:], lowest - max(1, abs(lowest)))
    return BestDice(float(dices[best]), float(thresholds[best]))


def auprc(scores: ArrayLike, lesion_mask: ArrayLike, brain_mask: ArrayLike) -> AUPRC:
    """Average precision over the brain's voxels, with the prevalence to read it against.

    The sum of precision times the step in recall over all distinct scores (Davis and Goadrich
    2006: no linear interpolation). Constant or random scores give the prevalence.

    Args:
        scores: anomaly map, finite inside the brain.
        lesion_mask, brain_mask: non-zero is lesion, non-zero is brain.

    Raises:
        ValueError: no lesion voxel inside the brain (a healthy subject has no AUPRC).

    Example:
        >>> auprc([0.1, 0.4, 0.3, 0.9], [0, 0, 1, 1], [1, 1, 1, 1])
        AUPRC(value=0.8333333333333333, prevalence=0.5)
    """
    _, true_positives, detected = _curve(scores, lesion_mask, brain_mask)
    precision = true_positives / detected
    recall_steps = np.diff(true_positives, prepend=0) / true_positives[-1]
    return AUPRC(float(precision @ recall_steps), float(true_positives[-1] / detected[-1]))


def auroc(scores: ArrayLike, lesion_mask: ArrayLike, brain_mask: ArrayLike) -> float:
    """Chance that a random lesion voxel outscores a random healthy one; ties count half.

    Flattering when lesions are rare: read it beside `auprc`. Constant scores give 0.5. ValueError
    without a lesion, and for a brain that is lesion everywhere.
    """
    _, true_positives, detected = _curve(scores, lesion_mask, brain_mask)
    false_positives = detected - true_positives
    if false_positives[-1] == 0:
        raise ValueError("expected healthy voxels in the brain, got a lesion that fills the brain")
    sensitivity = np.append(0, true_positives / true_positives[-1])
    fpr = np.append(0, false_positives / false_positives[-1])  # FP / (FP + TN)
    return float(np.trapezoid(sensitivity, fpr))


def lesion_detection(
    detected: ArrayLike, lesion_mask: ArrayLike, min_overlap: float = 0.1
) -> LesionDetection:
    """Count lesions found and false alarms, as connected components (touching corners connect).

    A lesion is found when at least a share `min_overlap` of its voxels is detected. A detected
    component is a false positive when it holds no lesion voxel. Detecting everything therefore
    finds all lesions without a false alarm: read the two counts beside Dice. Both masks are
    (n, h, w); `min_overlap` outside (0, 1] is a ValueError.
    """
    detected, lesion_mask = _as_mask("detected", detected), _as_mask("lesion_mask", lesion_mask)
    _require_one_shape(detected=detected, lesion_mask=lesion_mask)
    if not 0 < min_overlap <= 1:
        raise ValueError(f"min_overlap: expected a share in (0, 1], got {min_overlap}")
    lesion_labels, lesions = label_components(lesion_mask)
    sizes = np.bincount(lesion_labels.ravel(), minlength=lesions + 1)[1:]
    hits = np.bincount(lesion_labels[detected], minlength=lesions + 1)[1:]
    detected_labels, components = label_components(detected)
    touching = len(np.unique(detected_labels[detected & lesion_mask]))
    return LesionDetection(lesions, int((hits / sizes >= min_overlap).sum()), components - touching)


def l1(x: ArrayLike, x_0_hat: ArrayLike, brain_mask: ArrayLike) -> float:
    """Mean absolute reconstruction error over the brain's voxels.

    For images in [-1, 1] it is twice the value of papers that use [0, 1]. A small error on
    healthy brains does not make a good detector: a copy has none and finds nothing.
    """
    x, x_0_hat = np.asarray(x, np.float64), np.asarray(x_0_hat, np.float64)
    _require_one_shape(x=x, x_0_hat=x_0_hat)
    error, _ = _in_brain(np.abs(x - x_0_hat), brain_mask, brain_mask)
    return float(error.mean())


def pooled(
    scores: Sequence[ArrayLike], lesion_masks: Sequence[ArrayLike], brain_masks: Sequence[ArrayLike]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put the brain voxels of many subjects into one row: the three arguments of a metric.

    Returns:
        Scores, lesion mask and an all-true brain mask, each (brain voxels of all subjects,).

    Raises:
        ValueError: no subject, or not as many maps as masks.

    Example:
        >>> auprc(*pooled([[0.1, 0.4], [0.3, 0.9]], [[0, 0], [1, 1]], [[1, 1], [1, 1]]))
        AUPRC(value=0.8333333333333333, prevalence=0.5)
    """
    counts = len(scores), len(lesion_masks), len(brain_masks)
    if len(set(counts)) > 1 or 0 in counts:
        raise ValueError(f"expected a map, a lesion mask and a brain mask a subject, got {counts}")
    voxels = [_in_brain(*s) for s in zip(scores, lesion_masks, brain_masks, strict=True)]
    inside, lesion = (np.concatenate(parts) for parts in zip(*voxels, strict=True))
    return inside, lesion, np.ones_like(lesion)


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    seed: int = 0,
    n_resamples: int = 5000,
) -> Interval:
    """A statistic over subjects, with a 95 % percentile bootstrap interval over *subjects*.

    Voxels of one brain are no independent evidence, so they are never resampled. To resample a
    pooled metric pass subject numbers: `bootstrap(range(n), lambda i: pooled_auprc_of(i))`.
    The percentile interval stays defined for tied values, where BCa does not, and is somewhat
    too narrow for few subjects (about 90 % instead of 95 % at n = 10).

    Args:
        values: one finite number per subject, (n,), n >= 2; anything else is a ValueError.
        statistic: maps (n,) values to a number.
        seed: the same seed gives the same interval.
        n_resamples: how many resampled sets of subjects are drawn.
    """
    values = _per_subject(values, "values")
    resampling = {"n_resamples": n_resamples, "rng": np.random.default_rng(seed)}
    low, high = stats.bootstrap(
        (values,), statistic, vectorized=False, method="percentile", **resampling
    ).confidence_interval
    return Interval(float(statistic(values)), float(low), float(high))


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, n_resamples: int = 5000
) -> PairedDifference:
    """Compare two methods on the same subjects: mean of a - b, its interval, and a p-value.

    The interval is `bootstrap`'s. The p-value flips the signs of the differences at random, as
    they could have come out if the methods were alike; all 2^n flips when that is no more than
    `n_resamples`. With n subjects it cannot fall below 2 / 2^n: five rank nothing at .05.

    Both are (n,) with the subjects in the same order; the rest as for `bootstrap`.
    """
    a, b = _per_subject(a, "a"), _per_subject(b, "b")
    _require_one_shape(a=a, b=b)
    mean, low, high = bootstrap(a - b, seed=seed, n_resamples=n_resamples)
    rng = np.random.default_rng(seed)
    flips = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=n_resamples, rng=rng
    )
    return PairedDifference(mean, low, high, float(flips.pvalue))


def difference_over_seeds(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, seed: int = 0, n_resamples: int = 5000
) -> Interval:
    """Mean of a - b with an interval over subjects *and* trainings.

    Both are (seeds, n): one row a training, one column a subject, the same subjects in both; the
    numbers of trainings may differ. Every resample draws subjects, the same for both, and the
    trainings of each. With few trainings the interval is too narrow: of three, one draw in nine
    takes the same one three times. With one training it says nothing about others.

    level: of the interval; for the difference of one row among m, 1 - 0.05 / m (Bonferroni).
    Raises: ValueError for other shapes, NaN, or fewer than two subjects.

    >>> difference_over_seeds([[2.0, 4.0]], [[1.0, 3.0], [1.0, 3.0]])
    Interval(value=1.0, low=1.0, high=1.0)
    """
    a, b = (np.asarray(values, float) for values in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] < 2:
        raise ValueError(
            "a, b: expected (seeds, n) with the same n >= 2 subjects, got shapes "
            f"{a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a, b: expected finite numbers, got NaN or infinity")
    rng = np.random.default_rng(seed)
    subjects = rng.integers(a.shape[1], size=(n_resamples, a.shape[1]))

    def resampled(values: np.ndarray) -> np.ndarray:
        chosen = rng.integers(len(values), size=(n_resamples, len(values)))
        by_subject = values[chosen].mean(axis=1)  # (n_resamples, n)
        return np.take_along_axis(by_subject, subjects, axis=1).mean(axis=1)

    low, high = np.quantile(resampled(a) - resampled(b), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(a.mean() - b.mean()), float(low), float(high))


def _curve(
    scores: ArrayLike, lesion_mask: ArrayLike, brain_mask: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores from high to low; lesion voxels and all voxels with at least that score."""
    inside, lesion = _in_brain(scores, lesion_mask, brain_mask)
    if not lesion.any():
        raise ValueError(
            "expected a lesion voxel inside the brain, got none: this metric is undefined for a "
            "healthy subject (count false positives at a fixed threshold instead)"
        )
    # Sorting twice takes a fraction of the time of one sort that carries the labels along.
    distinct, counts = np.unique(inside, return_counts=True)
    true_positives = lesion.sum() - np.searchsorted(np.sort(inside[lesion]), distinct)
    return distinct[::-1], true_positives[::-1], np.cumsum(counts[::-1])


def _in_brain(
    scores: ArrayLike, lesion_mask: ArrayLike, brain_mask: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and lesion labels of the brain's voxels, each (voxels,), checked."""
    scores = np.asarray(scores)
    lesion_mask = _as_mask("lesion_mask", lesion_mask)
    brain_mask = _as_mask("brain_mask", brain_mask)
    _require_one_shape(scores=scores, lesion_mask=lesion_mask, brain_mask=brain_mask)
    inside = scores[brain_mask]
    if inside.size == 0:
        raise ValueError("expected voxels inside the brain, got an empty brain_mask")
    if not np.isfinite(inside).all():
        raise ValueError("expected finite values inside the brain, got NaN or infinity")
    return inside, lesion_mask[brain_mask]


def _as_mask(name: str, values: ArrayLike) -> np.ndarray:
    """Non-zero is inside; NaN, which is not zero either, is neither."""
    values = np.asarray(values)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError(f"{name}: expected numbers, got NaN")
    return values.astype(bool, copy=False)


def _per_subject(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise ValueError(f"{name}: expected a finite number for each of 2+ subjects, got {values}")
    return values


def _require_one_shape(**arrays: np.ndarray) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"expected one shape, got {shapes}")
