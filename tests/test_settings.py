"""Settings that cannot run are refused where they are made, saying what was expected."""

import dataclasses
import json
import math
import typing
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskdiff_edu.detection import DetectorSettings, MaskedDDPM, PostProcessing
from maskdiff_edu.detection.detectors import MAX_NOISINGS
from maskdiff_edu.diffusion import (
    BROAD_PATCHES,
    MIXED_BANDS,
    PAPER_PATCHES,
    RELEASED_BANDS,
    RELEASED_PATCHES,
    BandSettings,
    Octaves,
    PatchSettings,
    Schedule,
    UNetConfig,
    Walk,
    ddim_step,
    fractal_noise,
)
from maskdiff_edu.diffusion.objectives import box_grid, draw_box
from maskdiff_edu.diffusion.sampling import by_boxes
from maskdiff_edu.diffusion.unet import Attention
from maskdiff_edu.errors import SettingsError, require_number, require_rise
from maskdiff_edu.training import PRESETS, Saving, TrainConfig, make_corruption

FIELDS = typing.get_type_hints(TrainConfig)
NUMBERS = [name for name, kind in FIELDS.items() if kind in (int, float)]
NAMES = [name for name in FIELDS if name not in NUMBERS]
NONSENSE = st.one_of(
    st.none(), st.booleans(), st.text(), st.just(math.nan), st.just(math.inf), st.just(-math.inf),
    st.lists(st.integers()), st.just(1j), st.floats(max_value=-1e-12), st.integers(max_value=-1),
    st.just(10**18 * 10**3),
)  # fmt: skip

SCHEDULE = Schedule.cosine()


@given(name=st.sampled_from(NUMBERS), value=NONSENSE)
def test_a_training_takes_no_number_out_of_range(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be a (whole )?number in .*, got "):
        TrainConfig(**{name: value})


@given(name=st.sampled_from(NAMES), value=NONSENSE)
def test_a_training_takes_no_unknown_name(name, value):
    with pytest.raises(ValueError, match=rf'^{name} must be one of ".*", got '):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"batch_size": 0}, {"T": 0}, {"T": 10**6}, {"steps": 2.0},
     {"max_grad_norm": 0}, {"ema_decay": 1.001}, {"lr": 11},
     {"t_min": 350}, {"t_max": 1000}, {"T": 249}],
)  # fmt: skip
def test_the_ends_of_the_ranges(settings):
    with pytest.raises(ValueError, match="got"):
        TrainConfig(**settings)


def test_what_every_field_allows_is_known():
    """A new field without a range would be accepted whatever it holds."""
    for name in FIELDS:
        with pytest.raises(ValueError, match=name):
            TrainConfig(**{name: object()})
    assert TrainConfig(lr=1, ema_decay=1, warmup=0, steps=1, t_min=0, t_max=0, T=1).lr == 1


_HIDDEN = {"corruption", "patches", "box"}
_NOISED = _HIDDEN | {"noise", "schedule", "t_min", "t_max"}
_ONE_PASS = _NOISED | {"unet", "loss"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_differ_in_nothing_but_what_makes_a_method(name):
    """So that a comparison of two trainings says something about the method."""
    config, plain = PRESETS[name], TrainConfig()
    differ = _NOISED if "all-t" in name or "gaussian" in name else _HIDDEN
    differ = _ONE_PASS if config.noise == "none" else differ
    assert replace(config, **{field: getattr(plain, field) for field in differ}) == plain


def test_the_patches_and_bands_are_those_of_the_settings():
    patches = {"broad": BROAD_PATCHES, "paper": PAPER_PATCHES, "released": RELEASED_PATCHES}
    for name, expected in patches.items():
        assert make_corruption(TrainConfig(corruption="ipm", patches=name)).patches == expected
        assert make_corruption(TrainConfig(corruption="fpm-cm", patches=name)).patches == expected
    for name, expected in {"released": RELEASED_BANDS, "mixed": MIXED_BANDS}.items():
        assert make_corruption(TrainConfig(corruption="fpm", bands=name)).bands == expected
        assert make_corruption(TrainConfig(corruption="fpm-cm", bands=name)).fpm.bands == expected


def share_hidden(preset):
    """Of each brain, (b,); a checkered brain, so that a filter changes every pixel."""
    line = torch.linspace(-1, 1, 96)
    brain_masks = (line[:, None] ** 2 + line**2 < 0.6).expand(64, 1, 96, 96)
    checkered = torch.arange(96)[:, None] + torch.arange(96)
    images = torch.where(brain_masks, 0.4 + 0.2 * (checkered % 2), -1.0)
    hidden = make_corruption(PRESETS[preset])(images, brain_masks, torch.manual_seed(0))
    changed = ((hidden - images).abs() > 1e-6) & brain_masks
    return changed.sum((1, 2, 3)) / brain_masks.sum((1, 2, 3))


@pytest.mark.parametrize("preset", ["ipm-paper", "fpm-cm-paper"])
def test_the_papers_presets_hide_ten_to_ninety_per_cent(preset):
    share = share_hidden(preset)
    assert 0.1 <= share.min() < 0.25 and 0.75 < share.max() <= 1
    assert 0.45 < share.mean() < 0.65


def test_the_released_preset_hides_about_six_per_cent_and_often_nothing():
    share = share_hidden("fpm-cm-released")
    assert 0.03 < share.mean() < 0.09
    assert 0.05 < (share == 0).float().mean() < 0.35  # one in six


# Masks, noise, steps and boxes


@pytest.mark.parametrize(
    "wrong",
    [{"coverage": (3, -2)}, {"coverage": (-0.1, 0.5)}, {"coverage": (0.5, 1.1)},
     {"coverage": (0.6, 0.5)}, {"coverage": (math.nan, 0.5)}, {"coverage": (0.5,)},
     {"count": (1.5, 3)}, {"count": (1, 3.0)}, {"count": (False, True)}, {"sides": (math.nan, 1)},
     {"sides": ("a", "b")}],
)  # fmt: skip
def test_patches_that_cannot_be_drawn(wrong):
    [name] = wrong
    with pytest.raises(ValueError, match=f"{name} must rise within .* got"):
        PatchSettings(**{"count": (1, 2), "sides": (0.1, 0.2), **wrong})


@pytest.mark.parametrize(
    "wrong", [{"half_width": (2.5, 3)}, {"half_width": (2, 10**9)}, {"pairs": 0}, {"pairs": 1.5}]
)
def test_bands_that_cannot_be_drawn(wrong):
    with pytest.raises(ValueError, match="got"):
        BandSettings(0, 0, 1, **wrong)


@given(
    name=st.sampled_from(["count", "persistence", "base_period"]),
    value=st.one_of(NONSENSE, st.just(0.5), st.integers(1000)),
)
def test_fractal_noise_is_finite_or_refused(name, value):
    if name == "persistence" and value in (0.5, True):
        value = 1.5
    with pytest.raises(ValueError, match=f"{name}"):
        fractal_noise((1, 1, 32, 32), Octaves(**{name: value}))


@given(
    octaves=st.builds(Octaves, st.integers(1, 16), st.floats(0, 1), st.floats(1, 128))
)  # fmt: skip
def test_fractal_noise_within_its_ranges_is_finite(octaves):
    eps = fractal_noise((1, 1, 32, 32), octaves, generator=torch.manual_seed(0))
    assert eps.isfinite().all() and eps.std() > 0.01


@pytest.mark.parametrize("eta", [2, -0.1, 1.0001, math.nan])
def test_a_step_of_another_eta_is_refused(eta):
    x_t, t = torch.zeros(1, 1, 4, 4), torch.tensor([100])
    with pytest.raises(ValueError, match=r"eta: expected a number in 0\.\.1, got"):
        ddim_step(x_t, x_t, t, t - 1, SCHEDULE, fresh=(eta, x_t))
    with pytest.raises(ValueError, match=r"eta: expected a number in 0\.\.1, got"):
        Walk([100, 50], eta)


@pytest.mark.parametrize("side", [0, -1, -48])
def test_a_box_without_pixels_is_refused(side):
    with pytest.raises(ValueError, match=f"at least 1 pixel, got {side}"):
        box_grid(96, 96, side)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        draw_box((2, 96, 96), side)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        by_boxes(lambda x_t, t: x_t, torch.zeros(1, 1, 16, 16), side)


@pytest.mark.parametrize("every", [0, -1, 2.5, True, None])
def test_a_training_is_saved_every_so_many_whole_steps(every):
    with pytest.raises(SettingsError, match="every"):
        Saving("model", every=every)


# Networks and detectors


@pytest.mark.parametrize(
    "wrong", [{"coordinates": 7}, {"coordinates": 1}, {"attention": "yes"}, {"attention": None}]
)
def test_a_switch_is_true_or_false(wrong):
    with pytest.raises(ValueError, match=r": expected True or False, got"):
        UNetConfig(**wrong)


@given(width=st.integers(1, 40).map(lambda n: 8 * n))
def test_attention_runs_with_every_width_that_is_accepted(width):
    try:
        config = UNetConfig((8, width), 1, 1, False, True, 8, 8)
    except ValueError as error:
        assert f"got {width}" in str(error) and width % max(1, width // 64)
        return
    with torch.device("meta"):
        layer, x = Attention(config.widths[-1], config.groups), torch.zeros(1, width, 3, 3)
        assert layer(x).shape == x.shape


def test_the_width_that_three_heads_cannot_share():
    with pytest.raises(ValueError, match=r"widths: .*multiple of its 3 heads.*got 200"):
        UNetConfig((8, 200), 1, 1, False, True, 8, 8)
    assert UNetConfig((8, 200), 1, 1, False, False, 8, 8).widths == (8, 200)


@pytest.mark.parametrize(
    "wrong", [{"draws": 10**12}, {"draws": 2.5}, {"draws": True}, {"t": [100] * (MAX_NOISINGS + 1)},
              {"t": (100, 200), "draws": MAX_NOISINGS // 2 + 1}, {"t": 1.5}, {"t": ("a",)},
              {"t": [[1]]}, {"batch_size": 0}]
)  # fmt: skip
def test_a_detector_of_endless_work_is_refused(wrong):
    options = {name: wrong[name] for name in wrong if name == "batch_size"}
    with pytest.raises(ValueError, match="got"):
        used = DetectorSettings(**{name: wrong[name] for name in wrong if name not in options})
        MaskedDDPM(lambda x_t, t: x_t, SCHEDULE, used, **options)


@pytest.mark.parametrize(
    "wrong", [{"erosions": -1}, {"erosions": 10**9}, {"erosions": 1.5}, {"median_size": 4},
              {"median_size": 0}, {"median_size": 10**9 + 1}, {"median_size": "3"},
              {"gaussian_sigma": -1.0}, {"gaussian_sigma": float("nan")}]
)  # fmt: skip
def test_clean_up_that_no_brain_survives_is_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        PostProcessing(**wrong)


# The checks themselves


def test_a_number_in_range_passes_and_its_neighbours_do_not():
    for value in (2, 3, 2.5):
        require_number("n", value, 2, 3)
    require_number("n", 2, 2, 3, whole=True)
    for value, whole in [(1.99, False), (3.01, False), (2.5, True), ("2", False), (True, False)]:
        with pytest.raises(ValueError, match=r"n must be a (whole )?number in 2\.\.3, got"):
            require_number("n", value, 2, 3, whole=whole)


def test_a_pair_rises():
    require_rise("p", (0, 0), 0, 1)
    require_rise("p", [0.5, 1], 0, 1)
    for pair, options in [
        ((1, 0.5), {}),
        ((0, 0), {"positive": True}),
        ((0, 0.5), {"whole": True}),
    ]:
        with pytest.raises(ValueError, match=r"p must rise within 0\.\.1.*, got"):
            require_rise("p", pair, 0, 1, **options)


def test_settings_survive_json_as_they_are():
    for config in PRESETS.values():
        assert TrainConfig.from_json(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_settings_of_before_are_read():
    """Cards that ship hold what is the pool's now, and older ones lack what came later."""
    old = dataclasses.asdict(PRESETS["ipm"]) | {"n_subjects": 300, "contrast": "t2"}
    assert TrainConfig.from_json(old) == PRESETS["ipm"]
    assert TrainConfig.from_json({"corruption": "ipm"}) == PRESETS["ipm"]


@pytest.mark.parametrize(
    "stored, got", [({"lr": 1, "depth": 3}, "'depth' too"), ([], r"\[\]"), (3, "3")]
)
def test_settings_that_do_not_exist_are_named(stored, got):
    with pytest.raises(SettingsError, match=f"^train: expected settings .*, got {got}$"):
        TrainConfig.from_json(stored)


def test_a_function_of_ones_own_has_a_name_in_the_settings():
    config = TrainConfig(corruption="custom: hide_left")
    assert TrainConfig.from_json(dataclasses.asdict(config)) == config
    with pytest.raises(SettingsError, match=r"corrupt: expected the function .*hide_left"):
        make_corruption(config)
