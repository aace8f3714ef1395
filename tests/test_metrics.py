"""Every metric against scikit-learn, brute force, a closed form or a case counted by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
)

from maskdiff_edu.detection import (
    auprc,
    auroc,
    best_dice,
    bootstrap,
    dice,
    dice_at_threshold,
    l1,
    lesion_detection,
    metrics,
    paired_difference,
    pooled,
)
from maskdiff_edu.detection.metrics import difference_over_seeds

SHAPE = (4, 20, 25)


def draw(seed=0, decimals=1):
    """Scores full of ties, a lesion that they half know, and a brain mask."""
    rng = np.random.default_rng(seed)
    lesion_mask = rng.random(SHAPE) < 0.1
    scores = np.round(rng.normal(size=SHAPE) + lesion_mask, decimals).astype(np.float32)
    return scores, lesion_mask, rng.random(SHAPE) < 0.7


@pytest.mark.parametrize("decimals", [0, 1, 5])
def test_curves_agree_with_scikit_learn_inside_the_brain(decimals):
    scores, lesion_mask, brain_mask = draw(decimals=decimals)
    lesion, inside = lesion_mask[brain_mask], scores[brain_mask]
    value, prevalence = auprc(scores, lesion_mask, brain_mask)
    assert value == pytest.approx(average_precision_score(lesion, inside), rel=1e-12)
    assert prevalence == lesion.mean()
    area = auroc(scores, lesion_mask, brain_mask)
    assert area == pytest.approx(roc_auc_score(lesion, inside), rel=1e-12)
    precision, recall, _ = precision_recall_curve(lesion, inside)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    assert best_dice(scores, lesion_mask, brain_mask).value == pytest.approx(f1.max(), rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12).filter(
        lambda voxels: any(lesion for _, lesion in voxels)
    )
)
def test_best_dice_is_the_best_of_all_thresholds_and_its_threshold_gives_it(voxels):
    scores, lesion = map(np.array, zip(*voxels, strict=True))
    brain = np.ones_like(lesion)
    value, threshold = best_dice(scores, lesion, brain)
    candidates = [dice(scores > t, lesion) for t in np.arange(-4.5, 4)]
    assert value == pytest.approx(max(candidates))
    assert dice_at_threshold(scores, lesion, brain, threshold) == value


def test_best_dice_threshold_survives_float32():
    scores = np.array([0.1, 0.3, 0.7], dtype=np.float32)
    for lesion in ([0, 0, 1], [0, 1, 1], [1, 1, 1]):
        value, threshold = best_dice(scores, lesion, [1, 1, 1])
        assert value == dice_at_threshold(scores, lesion, [1, 1, 1], threshold) == 1


def test_dice_agrees_with_scikit_learn_and_counts_only_the_brain():
    scores, lesion_mask, brain_mask = draw()
    expected = f1_score(lesion_mask[brain_mask], scores[brain_mask] > 0.5)
    at_half = dice_at_threshold(scores, lesion_mask, brain_mask, 0.5)
    assert at_half == pytest.approx(expected, rel=1e-12)
    assert dice((scores > 0.5) & brain_mask, lesion_mask & brain_mask) == at_half


def test_dice_of_empty_masks():
    assert dice(np.zeros(5), np.zeros(5)) == 1
    assert dice(np.ones(5), np.zeros(5)) == 0


def test_calling_everything_a_lesion_has_dice_2p_over_1_plus_p():
    _, lesion_mask, brain_mask = draw()
    p = lesion_mask[brain_mask].mean()
    everything = dice_at_threshold(np.ones(SHAPE), lesion_mask, brain_mask, 0)
    assert everything == pytest.approx(2 * p / (1 + p), rel=1e-12)
    constant = best_dice(np.zeros(SHAPE), lesion_mask, brain_mask)
    assert constant.value == everything
    assert constant.threshold < 0


def test_constant_scores_are_worth_nothing():
    _, lesion_mask, brain_mask = draw()
    value, prevalence = auprc(np.full(SHAPE, 0.3), lesion_mask, brain_mask)
    assert value == pytest.approx(prevalence, rel=1e-12)
    assert auroc(np.full(SHAPE, 0.3), lesion_mask, brain_mask) == 0.5


def test_random_scores_reach_the_prevalence():
    """Theory: expectation p + O(log n / n); the mean of 20 draws lies within 4 standard errors."""
    rng = np.random.default_rng(1)
    lesion = np.arange(20_000) < 1000
    values = [auprc(rng.random(20_000), lesion, np.ones(20_000)).value for _ in range(20)]
    assert np.mean(values) == pytest.approx(0.05, abs=4 * np.std(values) / np.sqrt(20) + 5e-4)
    assert np.std(values) < 0.005


def test_voxels_removed_by_erosion_still_count_as_misses():
    scores, lesion_mask, brain_mask = draw()
    eroded = np.where(np.indices(SHAPE)[1] < 10, 0, scores - scores.min() + 1)
    exempt = brain_mask & (eroded > 0)
    assert auprc(eroded, lesion_mask, brain_mask).value < auprc(eroded, lesion_mask, exempt).value


def test_pooling_and_averaging_are_two_numbers():
    subjects = [draw(seed) for seed in range(3)]
    pool = pooled(*zip(*subjects, strict=True))
    inside = np.concatenate([s[b] for s, _, b in subjects])
    lesion = np.concatenate([m[b] for _, m, b in subjects])
    assert auprc(*pool).value == pytest.approx(average_precision_score(lesion, inside), rel=1e-12)
    assert auprc(*pool).value != pytest.approx(np.mean([auprc(*s).value for s in subjects]))


def test_lesions_are_counted_as_things():
    lesion_mask, detected = np.zeros((2, 3, 10, 30), dtype=bool)
    lesion_mask[1, 2:7, 2:4] = True  # 10 voxels, 1 of them detected: found at 10 %
    detected[1, 2, 2] = True
    lesion_mask[1, 2:7, 10:14] = True  # 20 voxels, 1 of them detected: missed at 10 %
    detected[1, 2, 10] = True
    lesion_mask[1, 8, 20] = True  # one voxel, detected by a larger component
    detected[1, 7:9, 19:22] = True
    lesion_mask[2, 0, 0] = True  # missed
    detected[0, 0, 27] = detected[1, 1, 28] = True  # one false alarm: corners connect
    result = lesion_detection(detected, lesion_mask)
    assert result == (4, 2, 1)
    assert result.sensitivity == 0.5
    assert lesion_detection(detected, lesion_mask, min_overlap=0.05).found == 3
    assert lesion_detection(detected, lesion_mask, min_overlap=0.2).found == 1


def test_a_healthy_subject_has_false_alarms_but_no_sensitivity():
    detected = np.zeros((3, 5, 5))
    detected[1, 1, 1] = 1
    result = lesion_detection(detected, np.zeros_like(detected))
    assert (result.lesions, result.false_positives) == (0, 1)
    assert np.isnan(result.sensitivity)
    assert lesion_detection(np.zeros((3, 5, 5)), detected) == (1, 0, 0)


def test_l1_is_the_mean_over_the_brain():
    x, x_0_hat = np.array([[0.5, -1, 1]]), np.array([[0.25, -0.5, -1]])
    assert l1(x, x_0_hat, np.array([[1, 1, 0]])) == 0.375


def test_bootstrap_agrees_with_the_normal_theory_of_the_mean():
    values = np.random.default_rng(0).normal(size=400)
    value, low, high = bootstrap(values, seed=1)
    half = 1.96 * values.std() / np.sqrt(400)
    assert value == values.mean()
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.1 * half)


def test_bootstrap_resamples_subjects_for_any_statistic():
    subjects = [draw(seed) for seed in range(4)]

    def pooled_auprc(numbers):
        return auprc(*pooled(*zip(*[subjects[i] for i in numbers], strict=True))).value

    value, low, high = bootstrap(range(4), pooled_auprc, n_resamples=200)
    single = [pooled_auprc([i]) for i in range(4)]
    assert value == pooled_auprc(range(4))
    assert min(single) <= low < value < high <= max(single)


def test_bootstrap_is_reproducible_and_survives_ties():
    values = np.random.default_rng(0).normal(size=9)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)
    assert bootstrap([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_paired_p_value_is_the_exact_sign_flip_one():
    a, b = np.random.default_rng(2).normal([[0.8], [0.0]], size=(2, 9))
    flips = np.array(list(product([1, -1], repeat=9))) @ (a - b) / 9
    expected = np.mean(np.abs(flips) >= abs(np.mean(a - b)) - 1e-12)
    result = paired_difference(a, b)
    assert result.p_value == pytest.approx(expected)
    assert result.difference == pytest.approx(np.mean(a - b))
    assert result[:3] == bootstrap(a - b)


def test_paired_difference_sees_what_an_unpaired_test_cannot():
    rng = np.random.default_rng(5)
    difficulty = rng.normal(size=30)
    a = difficulty + 0.1 + 0.05 * rng.normal(size=30)
    result = paired_difference(a, difficulty)
    assert result.p_value < 0.001
    assert 0 < result.low < 0.1 < result.high
    assert stats.ttest_ind(a, difficulty).pvalue > 0.5
    mirrored = paired_difference(difficulty, a)
    assert mirrored.difference == pytest.approx(-result.difference)
    assert paired_difference(difficulty, difficulty).p_value == 1


@pytest.mark.parametrize("name", ["auprc", "auroc", "best_dice"])
def test_undefined_and_broken_inputs_are_refused(name):
    metric = getattr(metrics, name)
    scores, lesion_mask, brain_mask = draw()
    with pytest.raises(ValueError, match="lesion voxel"):
        metric(scores, np.zeros(SHAPE), brain_mask)
    with pytest.raises(ValueError, match="lesion voxel"):
        metric(scores, ~brain_mask, brain_mask)  # a lesion outside the brain only
    with pytest.raises(ValueError, match="empty brain_mask"):
        metric(scores, lesion_mask, np.zeros(SHAPE))
    with pytest.raises(ValueError, match="one shape"):
        metric(scores[1:], lesion_mask, brain_mask)
    broken = np.where(brain_mask, scores, np.nan)
    assert metric(broken, lesion_mask, brain_mask) == metric(scores, lesion_mask, brain_mask)
    broken[tuple(np.argwhere(brain_mask)[0])] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        metric(broken, lesion_mask, brain_mask)


def test_other_errors_say_what_was_got():
    with pytest.raises(ValueError, match="fills the brain"):
        auroc([1, 2], [1, 1], [1, 1])
    with pytest.raises(ValueError, match=r"'detected': \(2,\)"):
        dice([1, 0], [1, 0, 0])
    with pytest.raises(ValueError, match="min_overlap"):
        lesion_detection(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), min_overlap=0)
    with pytest.raises(ValueError, match=r"\(2, 1, 1\)"):
        pooled([[1], [2]], [[1]], [[1]])
    with pytest.raises(ValueError, match=r"\(0, 0, 0\)"):
        pooled([], [], [])
    for values in ([0.5], [0.5, np.nan], [[0.5, 0.6]]):
        with pytest.raises(ValueError, match="subjects"):
            bootstrap(values)
    with pytest.raises(ValueError, match="one shape"):
        paired_difference([1, 2, 3], [1, 2])


# --- differences over subjects and trainings ------------------------------------------------------


def test_with_one_training_each_the_interval_is_the_paired_ones():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 0.1, (2, 1, 30))
    found, paired = difference_over_seeds(a, b), paired_difference(a[0], b[0])
    assert found.value == pytest.approx(paired.difference)
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high), abs=0.004)


def test_trainings_that_differ_widen_the_interval_and_subjects_they_share_do_not():
    rng = np.random.default_rng(1)
    easy = rng.normal(0.5, 0.2, 40)  # for both methods alike
    alike = difference_over_seeds(np.tile(easy + 0.05, (3, 1)), np.tile(easy, (3, 1)))
    assert (alike.low, alike.high) == pytest.approx((0.05, 0.05))
    luck = np.array([[-0.06], [0.0], [0.06]])
    spread = difference_over_seeds(easy + 0.05 + luck, easy - luck)
    assert spread.low < 0 < 0.1 < spread.high


def test_a_stricter_level_gives_a_wider_interval():
    a, b = np.random.default_rng(2).normal(0, 1, (2, 3, 20))
    plain, strict = (difference_over_seeds(a, b, level=level) for level in (0.95, 0.995))
    assert strict.low < plain.low < plain.high < strict.high
    assert difference_over_seeds(a, b) == plain


def test_how_often_the_interval_holds_the_truth():
    """Simulated: effects of subjects, trainings, and both; three trainings are few, as it says."""
    rng = np.random.default_rng(3)
    held = {3: 0, 12: 0}
    for seeds in held:
        for trial in range(200):
            subjects = rng.normal(0, 0.2, 30)  # shared
            a, b = (
                subjects + rng.normal(0, 0.02, (seeds, 1)) + rng.normal(0, 0.05, (seeds, 30))
                for _ in range(2)
            )
            found = difference_over_seeds(a + 0.03, b, seed=trial, n_resamples=400)
            held[seeds] += found.low <= 0.03 <= found.high
    assert held[3] / 200 > 0.8
    assert held[12] / 200 > 0.9 and held[12] >= held[3]


@pytest.mark.parametrize(
    "a, b",
    [
        ([1.0, 2.0], [1.0, 2.0]),
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]]),
        ([[1.0]], [[1.0]]),
        ([[1.0, np.nan]], [[1.0, 2.0]]),
    ],
)
def test_differences_over_seeds_need_the_same_finite_subjects(a, b):
    with pytest.raises(ValueError, match="a, b: expected"):
        difference_over_seeds(a, b)
