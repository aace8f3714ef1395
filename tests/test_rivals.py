"""Other ways to score with one network, against SciPy, plain formulas and cases known by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial import distance
from torch.testing import assert_close

from maskdiff_edu.detection import DetectorSettings, MaskedDDPM, PostProcessing, build_method
from maskdiff_edu.detection.rivals import (
    RIVALS,
    BlendedDDPM,
    ChainDDPM,
    GeometricDDPM,
    MahalanobisDDPM,
    geometric_mean,
    mahalanobis,
)
from maskdiff_edu.diffusion import Schedule, fractal_noise, gaussian_noise, posterior
from maskdiff_edu.errors import SettingsError
from maskdiff_edu.scans import Slices

AS_IT_IS = PostProcessing(erosions=0, median_size=1)
SCHEDULE = Schedule.cosine(1000)
SIDE = 32


def settings(**changes):
    return DetectorSettings(**{"t": 100, "draws": 4, "postprocessing": AS_IT_IS} | changes)


def slices(change=0.8, n=3):
    """A grey square brain with a brighter block."""
    images = torch.full((n, 1, SIDE, SIDE), -1.0)
    brain = torch.zeros_like(images, dtype=torch.bool)
    brain[:, :, 4:28, 4:28] = True
    images[brain] = 0.0
    images[1:, :, 10:16, 10:16] += change
    return Slices(images, brain, np.eye(4), 0.0, 1.0)


def keeps_half(x_t, t):
    return 0.5 * x_t


def no_noise(shape, *, dtype, generator=None, device=None):
    return torch.zeros(shape, dtype=dtype)


# Mahalanobis


def test_the_distance_of_one_pixel_is_scipys():
    """Patches and windows of one pixel: as many numbers as drawings, and a known variance."""
    torch.manual_seed(0)
    drawings, x = torch.randn(12, 2, 1, 5, 6), torch.randn(2, 1, 5, 6)
    found = mahalanobis(x, drawings, patch=1, window=1)
    for at in np.ndindex(2, 1, 5, 6):
        drawn = drawings[(slice(None), *at)].double().numpy()
        inverse = [[1 / (1.01 * drawn.var(ddof=1) + 1e-6)]]
        wanted = distance.mahalanobis([float(x[at])], [drawn.mean()], inverse)
        assert float(found[at]) == pytest.approx(wanted, rel=1e-4)


def test_the_distance_of_a_patch_is_scipys():
    """A window of one patch, so that the covariance is that of the drawings there."""
    torch.manual_seed(1)
    drawings, x = torch.randn(40, 1, 1, 5, 5), torch.randn(1, 1, 5, 5)
    found = mahalanobis(x, drawings, patch=3, window=1)[0, 0, 2, 2]
    middle = (slice(None), 0, 0, slice(1, 4), slice(1, 4))
    drawn = drawings[middle].reshape(40, 9).double().numpy()
    covariance = np.cov(drawn.T)
    covariance += (0.01 * np.trace(covariance) / 9 + 1e-6) * np.eye(9)
    away = x[0, 0, 1:4, 1:4].reshape(9).double().numpy()
    wanted = distance.mahalanobis(away, drawn.mean(0), np.linalg.inv(covariance)) / 3
    assert float(found) == pytest.approx(wanted, rel=1e-3)


def test_a_scan_like_its_drawings_lies_one_deviation_away():
    torch.manual_seed(2)
    white = gaussian_noise((33, 1, SIDE, SIDE))
    usual = mahalanobis(white[:1], white[1:, None], patch=3)
    assert 0.9 < usual.square().mean() < 1.15


def test_where_the_drawings_disagree_a_difference_counts_less():
    torch.manual_seed(3)
    spread = torch.full((1, 1, SIDE, SIDE), 0.05)
    spread[..., SIDE // 2 :] = 0.5
    drawings = spread * torch.randn(16, 1, 1, SIDE, SIDE)
    found = mahalanobis(torch.full((1, 1, SIDE, SIDE), 0.4), drawings, patch=3)
    assert found[..., 4:12].mean() > 4 * found[..., 20:28].mean()


# Geometric mean


def test_the_geometric_mean_is_scipys():
    values = torch.rand(5, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = stats.gmean(values.numpy() + 1e-3, axis=0) - 1e-3
    np.testing.assert_allclose(geometric_mean(values).numpy(), wanted, rtol=1e-4)


def test_means_of_two_steps_differ_by_the_residual_times_a_factor_of_t():
    """Why ANDi's score needs no other network: what it compares is proportional to x - x_0_hat."""
    torch.manual_seed(0)
    x_0, x_0_hat, x_t = torch.randn(3, 2, 1, 8, 8)
    for time in (1, 150, 600):
        t = torch.full((2,), time)
        true, predicted = (posterior(x, x_t, t, SCHEDULE)[0] for x in (x_0, x_0_hat))
        factor = float(SCHEDULE.posterior_x_0[time])
        assert_close(predicted - true, factor * (x_0_hat - x_0), rtol=1e-3, atol=1e-6)


def test_what_one_t_explains_is_not_flagged():
    def explains_at_150(x_t, t):
        return torch.where(t[:, None, None, None] == 150, x_t, 0 * x_t)

    found = GeometricDDPM(explains_at_150, SCHEDULE, settings(), no_noise, times=(150, 200))
    always = GeometricDDPM(lambda x_t, t: 0 * x_t, SCHEDULE, settings(), no_noise)
    assert found.detect(slices()).anomaly_map[1, 0, 12, 12] < 0.15
    assert always.detect(slices()).anomaly_map[1, 0, 12, 12] == pytest.approx(0.8, rel=0.01)


# Blending


def test_without_anything_suspicious_the_scan_is_drawn_from_the_last_t():
    once = MaskedDDPM(keeps_half, SCHEDULE, settings(t=150), no_noise).detect(slices())
    blended = BlendedDDPM(keeps_half, SCHEDULE, settings(), no_noise, level=1e6).detect(slices())
    assert_close(blended.anomaly_map, once.anomaly_map, rtol=0, atol=1e-4)


def test_what_was_suspicious_stays_redrawn():
    once = MaskedDDPM(keeps_half, SCHEDULE, settings(t=150), no_noise).detect(slices())
    blended = BlendedDDPM(keeps_half, SCHEDULE, settings(), no_noise, level=0.01).detect(slices())
    at = (1, 0, 12, 12)
    assert blended.reconstruction[at] < 0.3 * once.reconstruction[at]
    assert blended.anomaly_map[at] > 1.5 * once.anomaly_map[at]


# Chains


@pytest.mark.parametrize("t, times", [(250, [250, 200, 150, 100, 50]), (2, [2, 1]), (0, [0])])
def test_a_chain_stops_at_equal_distances(t, times):
    stops = []

    def heard(x_t, t):
        stops.append(int(t[0]))
        return x_t

    ChainDDPM(heard, SCHEDULE, settings(t=t, draws=1)).detect(slices())
    assert stops == times


def test_a_chain_takes_a_field_of_noise_for_every_stop_and_no_more():
    given = []

    def counted(shape, **options):
        given.append(shape)
        return gaussian_noise(shape, **options)

    detector = ChainDDPM(keeps_half, SCHEDULE, settings(t=250, draws=3), counted)
    detector.detect(slices())
    assert len(given) == detector.noisings == 15


def test_a_chain_of_a_model_that_knows_the_answer_ends_in_it():
    healthy = slices(change=0).images

    def knows(x_t, t):
        return healthy[: len(x_t)]

    found = ChainDDPM(knows, SCHEDULE, settings(t=250, draws=2)).detect(slices())
    assert_close(found.reconstruction, healthy)


# All


@pytest.mark.parametrize("name", RIVALS)
def test_neither_the_batch_size_nor_a_second_run_changes_the_map(name):
    detector = RIVALS[name](keeps_half, SCHEDULE, settings(), fractal_noise, seed=3)
    found = detector.detect(slices()).anomaly_map
    again = replace(detector, batch_size=1).detect(slices()).anomaly_map
    assert_close(found, again, rtol=0, atol=1e-5)
    other = replace(detector, seed=4).detect(slices()).anomaly_map
    assert not torch.equal(other, found)


@pytest.mark.parametrize("name", RIVALS)
def test_a_shipped_model_scores_in_other_ways(name):
    method = build_method("ddpm", refine=name)
    assert type(method.detector) is RIVALS[name]
    assert method.name == f"ddpm-{name}" and method.threshold is None
    assert method.used["rival"] == name


def test_one_drawing_has_no_covariance():
    detector = MahalanobisDDPM(keeps_half, SCHEDULE, settings(draws=1))
    with pytest.raises(SettingsError, match="expected two drawings or more, got 1"):
        detector.detect(slices())
