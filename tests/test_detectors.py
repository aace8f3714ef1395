"""Detectors on fake models whose answer is known, and on the real diffusion module."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from maskdiff_edu.detection import (
    DetectorSettings,
    IntensityDetector,
    MapSettings,
    MaskedDDPM,
    Method,
    PostProcessing,
    anomaly,
)
from maskdiff_edu.diffusion import Schedule, as_x_0, gaussian_noise, reconstruct
from maskdiff_edu.errors import CheckpointError
from maskdiff_edu.scans import Slices

AS_IT_IS = PostProcessing(erosions=0, median_size=1)
RAW = MapSettings(postprocessing=AS_IT_IS)
N, SIDE = 7, 32
USED = ("t", "draws", "residual", "postprocessing")


def healthy_image():
    """A ball of grey 0.1 with a smooth gradient; slice 0 holds no brain."""
    z, y, x = torch.meshgrid(*map(torch.arange, (N, SIDE, SIDE)), indexing="ij")
    brain_mask = (((y - 16) / 12) ** 2 + ((x - 16) / 10) ** 2 < 1) & (z > 0)
    image = torch.where(brain_mask, 0.1 + 0.01 * (x - 16) + 0.02 * z, -1.0)
    return image[:, None], brain_mask[:, None]


def make_slices(change=0.0):
    """The healthy brain, with a block of slices 2 to 4 made brighter or darker by `change`."""
    images, brain_masks = healthy_image()
    images[2:5, 0, 12:18, 12:18] += change
    return Slices(images, brain_masks, np.diag([2.0, 2, 2, 1]), 0.0, 1.0)


class KnowsTheHealthyBrain(nn.Module):
    """Answers the healthy image, whatever it is shown; slices come in order."""

    def __init__(self):
        super().__init__()
        self.next_slice = 0

    def forward(self, x_t, t):
        rows = torch.arange(self.next_slice, self.next_slice + len(x_t)) % N
        self.next_slice += len(x_t)
        return healthy_image()[0][rows]


def linear_model(x_t, t):
    """Nothing but arithmetic, each slice on its own: enough to carry the noise to the answer."""
    return 0.5 * x_t + 0.001 * t.view(-1, 1, 1, 1)


def make_ddpm(model=linear_model, **settings):
    used = {"t": 150, "draws": 1} | {k: v for k, v in settings.items() if k in USED}
    options = {k: v for k, v in settings.items() if k not in USED}
    return MaskedDDPM(
        model, Schedule.cosine(), DetectorSettings(**used), **{"noise": gaussian_noise, **options}
    )


def test_raw_intensity_is_the_intensity_in_the_brain():
    slices = make_slices()
    detection = IntensityDetector(settings=RAW).detect(slices)
    expected = (slices.images + 1) / 2 * slices.brain_masks
    torch.testing.assert_close(detection.anomaly_map, expected)
    assert detection.reconstruction is None


def test_equalised_intensity_is_the_empirical_distribution_of_each_slice():
    slices = make_slices(change=0.5)
    found = IntensityDetector(equalise=True, settings=RAW).detect(slices).anomaly_map
    for i in range(N):
        brain = slices.images[i][slices.brain_masks[i]].numpy()
        expected = stats.rankdata(brain) / max(len(brain), 1)
        np.testing.assert_allclose(found[i][slices.brain_masks[i]], expected, rtol=1e-6)
    assert (found[~slices.brain_masks] == 0).all()


def test_equalising_removes_what_differs_between_slices_only():
    slices = make_slices()
    slices.images[3] = torch.where(slices.brain_masks[3], slices.images[3] + 0.3, -1.0)
    raw, equalised = (
        IntensityDetector(equalise=e, settings=RAW).detect(slices).anomaly_map
        for e in (False, True)
    )
    assert raw[3].sum() > 1.2 * raw[2].sum()
    torch.testing.assert_close(equalised[3].sum(), equalised[2].sum())


@pytest.mark.parametrize("kind", ["positive", "absolute"])
@pytest.mark.parametrize("change", [0.4, -0.4])
def test_the_residual_to_a_known_healthy_brain_is_the_lesion(kind, change):
    detector = make_ddpm(
        KnowsTheHealthyBrain(), residual=kind, batch_size=N, postprocessing=AS_IT_IS
    )
    detection = detector.detect(make_slices(change))
    expected = torch.zeros(N, 1, SIDE, SIDE)
    expected[2:5, 0, 12:18, 12:18] = 0.4 if change > 0 or kind == "absolute" else 0
    torch.testing.assert_close(detection.anomaly_map, expected)
    healthy, brain_masks = healthy_image()
    torch.testing.assert_close(detection.reconstruction, healthy.where(brain_masks, -1))


def test_outside_the_brain_the_reconstruction_is_background():
    slices = make_slices()
    reconstruction = make_ddpm().detect(slices).reconstruction
    assert (reconstruction[~slices.brain_masks] == -1).all()
    assert (reconstruction[slices.brain_masks] != -1).all()


@pytest.mark.parametrize("equalise", [False, True])
def test_a_brighter_lesion_scores_higher_than_its_healthy_twin(equalise):
    lesion = np.s_[3, 0, 13:17, 13:17]
    for make in (
        lambda: IntensityDetector(equalise),
        lambda: make_ddpm(KnowsTheHealthyBrain()),
    ):
        maps = [make().detect(make_slices(change)).anomaly_map for change in (0, 0.2, 0.6)]
        means = [m[lesion].mean() for m in maps]
        assert means[0] < means[1]
        assert means[1] < means[2] or equalise  # ranks saturate
        assert all((m >= 0).all() for m in maps)


def test_the_reconstruction_is_that_of_the_diffusion_module():
    slices = make_slices()
    found = make_ddpm(t=[100, 300], draws=3, seed=5).detect(slices).reconstruction
    generator = torch.Generator().manual_seed(5)
    expected = reconstruct(
        linear_model, slices.images, [100] * 3 + [300] * 3, Schedule.cosine(),
        noise=gaussian_noise, generator=generator,
    )  # fmt: skip
    torch.testing.assert_close(found, expected.where(slices.brain_masks, -1))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batch_size_changes_nothing(batch_size):
    settings = {"t": [100, 300], "draws": 2, "residual": "absolute"}
    whole = make_ddpm(**settings, batch_size=N).detect(make_slices())
    parts = make_ddpm(**settings, batch_size=batch_size).detect(make_slices())
    torch.testing.assert_close(parts.anomaly_map, whole.anomaly_map)
    torch.testing.assert_close(parts.reconstruction, whole.reconstruction)


def test_the_seed_decides_and_draws_are_independent():
    def reconstruction(**settings):
        return make_ddpm(**settings).detect(make_slices()).reconstruction

    assert torch.equal(reconstruction(seed=1), reconstruction(seed=1))
    assert not torch.equal(reconstruction(seed=1), reconstruction(seed=2))
    inside = healthy_image()[1]
    spread = [
        (reconstruction(draws=k) - reconstruction(draws=k, seed=9))[inside].std().item()
        for k in (1, 16)
    ]
    assert spread[1] == pytest.approx(spread[0] / 4, rel=0.1)


def test_both_kinds_finish_with_the_shared_postprocessing(monkeypatch):
    seen = []
    original = anomaly.postprocess

    def spy(values, brain_mask, settings, guide):
        seen.append(settings)
        return original(values, brain_mask, settings, guide)

    monkeypatch.setattr(anomaly, "postprocess", spy)
    strong = PostProcessing(erosions=2, median_size=5)
    slices = make_slices(0.4)
    brightness = IntensityDetector(settings=MapSettings(postprocessing=strong))
    for detector in (brightness, make_ddpm(postprocessing=strong)):
        rim = slices.brain_masks & ~anomaly.erode_brain(slices.brain_masks, 2)
        assert (detector.detect(slices).anomaly_map[rim] == 0).all()
    assert seen == [strong, strong]


class Dropped(nn.Dropout):
    def forward(self, x_t, t):
        return super().forward(x_t)


def test_the_model_is_set_to_eval_mode():
    model = Dropped(0.5)
    make_ddpm(model).detect(make_slices())
    assert not model.training


def test_everything_moves_to_the_chosen_device_but_the_callers_schedule():
    """The meta device refuses any mix with the CPU; it holds no values to copy back."""
    model = nn.Conv2d(1, 1, 1)
    seen = []
    model.forward = lambda x_t, t: seen.append((x_t.device.type, t.device.type)) or x_t * 1
    detector = make_ddpm(model, device="meta")
    with pytest.raises(NotImplementedError, match="meta"):
        detector.detect(make_slices())
    assert seen == [("meta", "meta")]
    assert model.weight.device.type == "meta"
    assert detector.schedule.alphas_bar.device.type == "cpu"


def test_predictions_of_eps_are_turned_into_images():
    """No noise in, no noise predicted: the image comes back."""

    def answers_zero(x_t, t):
        return torch.zeros_like(x_t)

    def no_noise(shape, *, device=None, dtype=torch.float32, generator=None):
        return torch.zeros(shape, device=device, dtype=dtype)

    schedule, slices = Schedule.cosine(), make_slices()
    detector = make_ddpm(as_x_0(answers_zero, "eps", schedule), noise=no_noise)
    reconstruction = detector.detect(slices).reconstruction
    torch.testing.assert_close(reconstruction, slices.images)  # what is left is x_t, brightened


def test_names_tell_the_detectors_apart():
    names = [IntensityDetector().name, IntensityDetector(True).name, make_ddpm(name="fpm-cm").name]
    assert names == ["intensity", "intensity-equalised", "fpm-cm"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"residual": "signed"}, "'signed'"),
        ({"t": 1000}, r"0\.\.999, got 1000"),
        ({"t": []}, r"got \[\]"),
        ({"draws": 0}, "draws must be .* got 0"),
        ({"batch_size": 0}, "batch_size must be .* got 0"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(settings, message):
    with pytest.raises(ValueError, match=message):
        make_ddpm(**settings)


def test_what_a_method_reports_is_what_its_detector_uses():
    """Two records of the settings once differed: t = 200 was used, t = 150 stood in scores.json."""
    detector = make_ddpm(t=200, draws=2)
    seen = []
    detector = replace(detector, model=lambda x_t, t: seen.append(int(t[0])) or x_t)
    detector.detect(make_slices())
    method = Method(detector)
    assert set(seen) == {200} == {method.used["t"]}
    assert method.used["draws"] == len(seen) == method.settings.draws == 2
    other = detector.with_settings(t=100)
    assert Method(other).used == {**method.used, "t": 100}
    assert Method(IntensityDetector()).used.keys() == {"normalise", "postprocessing"}


def test_a_network_whose_answers_are_no_numbers_is_refused_by_name():
    detector = make_ddpm(lambda x_t, t: x_t / 0, name="broken")
    with pytest.raises(CheckpointError, match="broken: expected finite answers"):
        detector.detect(make_slices())
