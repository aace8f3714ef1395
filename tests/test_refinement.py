"""Guided filter, rim, second looks and teaching: brute force, and cases known by hand."""

import json
from typing import get_args

import numpy as np
import pytest
import torch

from maskdiff_edu.brains.stacks import encode_slices
from maskdiff_edu.cli import options
from maskdiff_edu.detection import (
    DetectorSettings,
    MaskedDDPM,
    PostProcessing,
    build_method,
    paired_difference,
    postprocess,
)
from maskdiff_edu.detection.adaptation import SharedPool, Teacher
from maskdiff_edu.detection.anomaly import guided_filter, rim_weight
from maskdiff_edu.detection.refinement import (
    GUIDED,
    RECIPES,
    RefinedDDPM,
    Refinement,
)
from maskdiff_edu.detection.rivals import RIVALS
from maskdiff_edu.diffusion import Schedule, UNet, UNetConfig
from maskdiff_edu.errors import ScanError, SettingsError
from maskdiff_edu.scans import Slices
from maskdiff_edu.training import TrainConfig
from maskdiff_edu.training.pool import Discs

AS_IT_IS = PostProcessing(erosions=0, median_size=1)
USED = DetectorSettings(t=10, draws=1, postprocessing=AS_IT_IS)
SIDE = 32


@pytest.fixture
def volume():
    rng = np.random.default_rng(0)
    brain = np.zeros((5, 1, 9, 8), dtype=bool)
    brain[:, :, 1:8, 1:7] = True
    brain[0, 0, 1:4] = False
    return rng.random(brain.shape), rng.uniform(-1, 1, brain.shape), brain


def by_hand(values, guide, brain, radius, eps):
    """He's guided filter as it is written down, voxel by voxel."""
    p, image, inside = (array[:, 0] for array in (values, guide, brain))

    def window(i):
        return tuple(slice(max(0, j - radius), j + radius + 1) for j in i)

    slope, offset = np.zeros(p.shape), np.zeros(p.shape)
    for i in np.argwhere(inside):
        chosen = inside[window(i)]
        x, y = image[window(i)][chosen], p[window(i)][chosen]
        slope[tuple(i)] = ((x * y).mean() - x.mean() * y.mean()) / (x.var() + eps)
        offset[tuple(i)] = y.mean() - slope[tuple(i)] * x.mean()
    out = np.zeros(p.shape)
    for i in np.argwhere(inside):
        chosen, at = inside[window(i)], tuple(i)
        lines = slope[window(i)][chosen] * image[at] + offset[window(i)][chosen]
        out[at] = max(0, lines.mean())
    return out[:, None]


@pytest.mark.parametrize("radius", [1, 2])
def test_guided_filter_is_he_s(volume, radius):
    values, guide, brain = volume
    found = guided_filter(values, guide, brain, radius, 0.02)
    np.testing.assert_allclose(found, by_hand(values, guide, brain, radius, 0.02), atol=1e-10)


def test_guided_filter_keeps_an_edge_that_the_scan_shares():
    brain = np.ones((3, 1, 20, 20), dtype=bool)
    step = np.where(np.arange(20) < 10, 0.0, 1.0) * np.ones(brain.shape)
    flat = np.zeros(brain.shape)
    kept, blurred = (guided_filter(step, guide, brain, 2, 1e-6) for guide in (step, flat))
    np.testing.assert_allclose(kept, step, atol=1e-4)
    assert blurred[1, 0, 10, 9] > 0.3 and blurred[1, 0, 10, 10] < 0.7


def test_guided_filter_says_what_it_lacks(volume):
    values, guide, brain = volume
    with pytest.raises(ValueError, match="guide: expected the scan"):
        postprocess(values, brain, PostProcessing(guided_radius=2))
    with pytest.raises(ValueError, match="radius: expected 0 or more"):
        guided_filter(values, guide, brain, -1)
    with pytest.raises(ValueError, match="one shape"):
        guided_filter(values, guide[1:], brain, 1)
    np.testing.assert_array_equal(
        guided_filter(values, guide, brain, 0)[~torch.from_numpy(brain)], 0
    )


def test_rim_weight_rises_over_its_depth():
    brain = np.zeros((3, 1, 15, 15), dtype=bool)
    brain[:, :, 2:13, 2:13] = True
    weight = rim_weight(brain, 4)[1, 0, 7]
    np.testing.assert_allclose(weight[2:8], [0.25, 0.5, 0.75, 1, 1, 1])
    assert (weight[:2] == 0).all()
    assert (rim_weight(brain, 4)[0] == rim_weight(brain, 4)[1]).all()  # no rim at the ends
    np.testing.assert_array_equal(rim_weight(brain, 0), brain)


def test_postprocess_takes_guide_then_gaussian_then_rim(volume):
    values, guide, brain = volume
    settings = PostProcessing(erosions=0, median_size=1, guided_radius=1, rim=2)
    found = postprocess(values, brain, settings, guide)
    np.testing.assert_allclose(
        found, guided_filter(values, guide, brain, 1) * rim_weight(brain, 2), rtol=1e-5
    )


def test_files_tell_of_the_young_filters_only_where_they_are_used():
    assert set(PostProcessing().as_json()) == {"erosions", "median_size", "gaussian_sigma"}
    used = PostProcessing(guided_radius=2, rim=4)
    assert PostProcessing(**used.as_json()) == used


def slices_with(change):
    """A grey square brain with a brighter block."""
    images = torch.full((4, 1, SIDE, SIDE), -1.0)
    brain = torch.zeros_like(images, dtype=torch.bool)
    brain[:, :, 4:28, 4:28] = True
    images[brain] = 0.0
    images[1:3, :, 10:16, 10:16] += change
    return Slices(images, brain, np.eye(4), 0.0, 1.0)


def keeps_half(x_t, t):
    """Removes half of what departs from grey: what a first look leaves, a second removes."""
    return 0.5 * x_t


def refined(model=keeps_half, settings=USED, **changes):
    schedule = Schedule.cosine(1000)
    refinement = Refinement(suspicion=AS_IT_IS, **changes)
    return RefinedDDPM(model, schedule, settings, no_noise, refinement=refinement)


def no_noise(shape, *, dtype, generator=None, device=None):
    return torch.zeros(shape, dtype=dtype)


def test_one_pass_is_the_detector_itself():
    slices = slices_with(0.8)
    once = MaskedDDPM(keeps_half, Schedule.cosine(1000), USED, no_noise).detect(slices)
    again = refined(passes=1).detect(slices)
    assert torch.equal(once.anomaly_map, again.anomaly_map)
    assert torch.equal(once.reconstruction, again.reconstruction)


def test_each_pass_draws_what_the_one_before_painted_over():
    slices = slices_with(0.8)
    at = (1, 0, 12, 12)
    for passes in (1, 2, 3):
        found = refined(passes=passes, flag=0.1).detect(slices)
        # 0.8 is halved each time (nearly: at t = 10 a little is lost to the noise's share).
        assert found.reconstruction[at] == pytest.approx(0.8 / 2**passes, rel=0.01)
        assert found.anomaly_map[at] == pytest.approx(0.8 - 0.8 / 2**passes, rel=0.01)


def test_what_is_not_flagged_is_drawn_once():
    slices = slices_with(0.8)
    found = refined(passes=3, flag=0.5).detect(slices)
    assert found.reconstruction[1, 0, 12, 12] == pytest.approx(0.4, rel=0.01)


def test_painting_grows_within_the_slice_and_the_brain():
    slices = slices_with(0.8)
    detector = refined(flag=0.1)
    drawn = torch.full_like(slices.images, 0.25)
    painted = detector.paint_over(slices, drawn, grow=1)
    changed = painted != slices.images
    assert changed[1, 0].sum() == 6 * 6 + 4 * 6 and not changed[0].any() and not changed[3].any()


def test_settings_out_of_range_are_refused():
    for wrong in ({"passes": 0}, {"flag": -1}, {"adapt_steps": 0.5}):
        with pytest.raises(SettingsError):
            Refinement(**wrong)


def test_adapting_needs_a_network():
    with pytest.raises(SettingsError, match="can be taught"):
        refined(adapt_steps=10)


def test_batches_are_shared_between_one_brain_and_the_others():
    own = np.full((3, 96, 96), 200, dtype=np.uint8)  # brain everywhere: the discs have corners
    images, brain_masks = SharedPool(own, Discs(), share=0.25).batch(0, 0, 8)
    assert images.shape == brain_masks.shape == (8, 1, 96, 96)
    assert [bool(mask[0, 0, 0]) for mask in brain_masks] == [True] * 2 + [False] * 6
    again, _ = SharedPool(own, Discs(), share=0.25).batch(0, 0, 8)
    other, _ = SharedPool(own, Discs(), share=0.25).batch(0, 1, 8)
    assert torch.equal(images, again) and not torch.equal(images, other)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNet(UNetConfig((16, 16), blocks=1, fold=4, attention=False, groups=4))


def bright_discs():
    images, brain_masks = Discs().batch(0, 0, 6)
    images = torch.where(brain_masks, 0.6, images)
    return Slices(images, brain_masks, np.eye(4), 0.0, 1.0)


def test_a_taught_network_knows_this_brain_better_and_the_old_one_stays(network):
    before = [tensor.clone() for tensor in network.state_dict().values()]
    slices = bright_discs()
    config = TrainConfig(corruption="none", batch_size=4, precision="float32")
    teach = Teacher(network, config, torch.device("cpu"), Discs())
    schedule, t = Schedule.cosine(1000), torch.full((6,), 200)

    def error(model):
        with torch.no_grad():
            drawn = model(schedule.alphas_bar[200].sqrt() * slices.images, t)
        return float((drawn - slices.images)[slices.brain_masks].abs().mean())

    taught = [teach(slices.images, slices.brain_masks, steps) for steps in (2, 60, 60)]
    assert error(taught[1]) < 0.7 * error(taught[0])
    assert error(taught[1]) == error(taught[2])  # the same seed, the same weights
    after = network.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(ScanError, match="enough brain"):
        teach(slices.images, torch.zeros_like(slices.brain_masks), 2)


def test_adapting_teaches_the_scan_without_what_was_flagged():
    seen = {}

    def teach(images, brain_masks, steps):
        seen.update(images=images, steps=steps)
        return lambda x_t, t: torch.zeros_like(x_t)

    slices = slices_with(0.8)
    detector = RefinedDDPM(
        keeps_half, Schedule.cosine(1000), USED, no_noise, teach=teach,
        refinement=Refinement(passes=2, suspicion=AS_IT_IS, flag=0.1, adapt_steps=7),
    )  # fmt: skip
    found = detector.detect(slices)
    assert seen["steps"] == 7
    assert seen["images"][1, 0, 12, 12] == pytest.approx(0.2, rel=0.01)
    assert found.reconstruction[1, 0, 12, 12] == 0
    assert found.anomaly_map[1, 0, 12, 12] == pytest.approx(0.8)
    assert len(encode_slices(slices.images, slices.brain_masks)) == 4


def test_command_line_knows_the_recipes():
    [names, _] = get_args(get_args(options.Refine)[0])  # Literal | None, annotated
    assert set(get_args(names)) == {*RECIPES, *RIVALS}


def test_a_shipped_model_looks_again():
    method = build_method("ddpm", refine="two-pass", t=200)
    assert isinstance(method.detector, RefinedDDPM) and method.name == "ddpm-two-pass"
    assert method.settings.t == 200 and method.settings.postprocessing == GUIDED
    assert method.used["refinement"]["passes"] == 2 and method.threshold is None
    small = build_method("ddpm", refine="adapt-small")
    assert small.settings.postprocessing.guided_radius == 0
    assert small.detector.refinement.suspicion == GUIDED
    with pytest.raises(SettingsError, match="refine: expected one of"):
        build_method("ddpm", refine="thrice")
    with pytest.raises(SettingsError, match="draws nothing"):
        build_method("intensity", refine="adapt")


def test_readme_says_what_the_numbers_say(root):
    stored = json.loads((root / "maskdiff_edu/results/refinement/ddpm.json").read_text())
    rows = [row["scores"] for row in stored["subjects"] if row["group"] == "real glioma"]
    taught = np.array([row["400 steps on the scan, guided"] for row in rows])
    once = np.array([row["once, as shipped"] for row in rows])
    d = paired_difference(taught, once)
    assert (taught > once).all()
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    said = f"On each of {len(rows)} real gliomas the AUPRC rose, by {d.difference:.3f} "
    said += f"[{d.low:.3f}, {d.high:.3f}] in the mean"
    assert said.replace("0.", ".") in text
