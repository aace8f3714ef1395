"""What other methods than masks do to a slice and how they are asked, by properties and oracles."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from maskdiff_edu.detection import DetectorSettings, build_method
from maskdiff_edu.diffusion import FPM, NETWORKS, Schedule, UNet, UNetConfig, add_noise
from maskdiff_edu.diffusion.asking import ByShrinking, InBoxes, InCells, smooth
from maskdiff_edu.diffusion.autoencoder import AutoEncoder, Bottleneck, make_network
from maskdiff_edu.diffusion.corruptions import Cells, CoarseNoise, FineDetail, Foreign
from maskdiff_edu.diffusion.masks import BandSettings
from maskdiff_edu.diffusion.noise import no_noise
from maskdiff_edu.errors import SettingsError
from maskdiff_edu.evaluation.selection import ONE_PASS, Grid, grid_for
from maskdiff_edu.training import (
    PRESETS,
    Noised,
    Saving,
    denoising_loss,
    fit,
    hide_and_noise,
    make_corruption,
    make_schedule,
)
from maskdiff_edu.training.pool import Discs

ONE_PASS_PRESETS = [name for name, config in PRESETS.items() if config.noise == "none"]
DISC = torch.linspace(-1, 1, 96)[:, None] ** 2 + torch.linspace(-1, 1, 96) ** 2 < 0.6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def grey(b, value=0.0, everywhere=False):
    """Grey slices (b, 1, 96, 96) and their brain masks: discs, or the whole slice."""
    masks = torch.ones(b, 1, 96, 96, dtype=torch.bool) if everywhere else DISC.expand(b, 1, 96, 96)
    return torch.where(masks, value, -1.0), masks


# Coarse noise


def test_coarse_noise_varies_as_bilinear_weights_say():
    """Cells of 8 pixels: a pixel lies (i + .5) / 8 between two grid points, in both directions."""
    images, masks = grey(600, everywhere=True)
    noise = CoarseNoise(amplitude=0.4)(images, masks, seeded())
    weight = (torch.arange(8) + 0.5) / 8
    along = (weight**2 + (1 - weight) ** 2).mean()
    assert_close(noise.var(), 0.4**2 * along**2, rtol=0.03, atol=0)
    assert abs(noise.mean()) < 0.01


def test_coarse_noise_has_no_seam_where_it_was_moved():
    images, masks = grey(400, everywhere=True)
    noise = CoarseNoise()(images, masks, seeded(1))
    steps = (noise[..., 1:] - noise[..., :-1]).abs().amax(dim=(0, 1, 2))  # (95,)
    assert steps.max() < 1.6 * steps.median()


# Cells of a grid


@pytest.mark.parametrize("size", [4, 7, 16])
def test_every_pixel_belongs_to_one_set_and_the_sets_are_alike(size):
    dealt = Cells(sets=3).deal((5, 96, 96), size, seeded())
    assert dealt.shape == (5, 1, 96, 96) and set(dealt.unique().tolist()) == {0, 1, 2}
    cells = dealt[..., ::size, ::size]  # the first pixel of each
    spread = cells.repeat_interleave(size, 2).repeat_interleave(size, 3)[..., :96, :96]
    assert torch.equal(spread, dealt)
    counts = torch.stack([(cells == number).sum(dim=(1, 2, 3)) for number in range(3)])
    assert (counts.amax(0) - counts.amin(0) <= 1).all()


def test_no_pixel_is_drawn_from_itself():
    """A model that gives back what it sees gives back the hole, everywhere in the brain."""
    images, masks = grey(2, value=0.7)
    answer = InCells()(lambda x_t, t: x_t, images)(images, torch.zeros(2))
    assert (answer[masks] == 0).all()
    assert (answer[~masks] == -1).all()


def test_every_set_is_asked_about_once():
    images, _ = grey(1, value=0.25)
    asked = []

    def count(x_t, t):
        asked.append((x_t == 0).sum())
        return x_t

    ask = InCells(Cells(sizes=(4, 8), sets=3))
    ask(count, images)(images, torch.zeros(1))
    assert len(asked) == ask.passes == 6
    assert sum(asked[:3]) == sum(asked[3:]) == DISC.sum()  # each pixel once for each size


# Foreign texture


def test_a_blob_lies_around_a_pixel_of_the_brain_and_has_soft_borders():
    _, masks = grey(300)
    blobs = Foreign().draw_blobs(masks, seeded())
    assert blobs.min() >= 0 and blobs.max() <= 1
    assert ((blobs * masks).amax(dim=(1, 2, 3)) > 0.6).float().mean() > 0.97
    steps = (blobs[..., 1:] - blobs[..., :-1]).abs().amax(dim=(1, 2, 3))
    assert steps.median() < 0.75  # a hard edge steps by 1


def test_foreign_texture_changes_nothing_outside_its_blob_and_all_of_it_at_full_strength():
    images, masks = grey(200, value=0.1)
    none = Foreign(strength=(0, 0))(images, masks, seeded())
    assert torch.equal(none, images)
    changed = Foreign(strength=(1, 1))(images, masks, seeded()) != images
    share = changed[masks.expand_as(changed)].float().mean()
    assert 0.05 < share < 0.9
    assert (changed.sum(dim=(1, 2, 3)) > 20).float().mean() > 0.9


def test_it_brightens_as_often_as_it_darkens():
    images, masks = grey(600)
    change = (Foreign(strength=(1, 1))(images, masks, seeded()) - images).sum(dim=(1, 2, 3))
    assert 0.42 < (change > 0).float().mean() < 0.58


# Fine detail


def test_with_everything_hidden_only_high_frequencies_are_left():
    torch.manual_seed(0)
    images, masks = grey(3)
    images = torch.where(masks, 0.5 * torch.rand_like(images), -1.0)
    high_pass = FPM(BandSettings(0, 1, 0, (6, 6)))
    assert_close(
        FineDetail(everything=1)(images, masks, seeded()), high_pass(images, masks, seeded())
    )


def test_what_is_not_hidden_is_shown_as_it_is():
    images, masks = grey(40, value=0.3)
    shown = FineDetail(everything=0)(images, masks, seeded())
    share = (shown == images)[masks].float().mean()
    assert 0.5 < share < 0.98


def test_what_the_drawing_explains_is_shown_in_the_next_pass():
    """A model that knows the healthy slice: in the end only the lesion is hidden."""
    healthy, _ = grey(1, value=0.0)
    scan = healthy.clone()
    scan[..., 40:52, 40:52] = 0.9
    seen = []

    def knows(x_t, t):
        seen.append(x_t.clone())
        return healthy

    ask = ByShrinking(level=0.15, passes=4)
    answer = ask(knows, scan)(scan, torch.zeros(1))
    assert torch.equal(answer, healthy) and len(seen) == ask.passes
    first, last = (image[0, 0] != scan[0, 0] for image in (seen[0], seen[-1]))
    assert first[DISC].float().mean() > 0.9  # all but the odd pixel of the same value
    assert last[42:50, 42:50].all() and not last[:34].any() and not last[:, 58:].any()


def test_the_smoothing_is_a_gaussian():
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    filtered = smooth(point, 1.5)
    assert_close(filtered.sum(), torch.tensor(1.0), rtol=0, atol=1e-5)
    ratio = filtered[0, 0, 15, 18] / filtered[0, 0, 15, 15]
    assert_close(ratio, torch.exp(torch.tensor(-0.5 * (3 / 1.5) ** 2)), rtol=1e-5, atol=0)


# Codes


@pytest.mark.parametrize("name", ["dense", "dense-random", "spatial-random"])
def test_autoencoders_have_as_many_weights_as_the_u_net(name):
    def weights(network):
        return sum(p.numel() for p in make_network(NETWORKS[network]).parameters())

    assert 0.9 < weights(name) / weights("folded") < 1.1


def test_nothing_passes_a_code_but_its_numbers():
    """The output varies in no more directions than the code has numbers."""
    torch.manual_seed(0)
    config = UNetConfig((8, 8), 1, 2, False, False, 8, 4, "dense", code_size=3, side=16)
    net = make_network(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)

    def answer(x):
        return net(x.view(1, 1, 16, 16), torch.zeros(1)).flatten()

    jacobian = torch.autograd.functional.jacobian(answer, torch.randn(256))
    assert torch.linalg.matrix_rank(jacobian, rtol=1e-4) == 3


@pytest.mark.parametrize("code", ["dense", "spatial"])
def test_the_distance_from_normal_is_torchs(code):
    torch.manual_seed(1)
    config = replace(NETWORKS["dense-random"], code=code, code_size=5)
    bottleneck = Bottleneck(config)
    x = torch.randn(4, config.widths[-1], 6, 6)
    mean, log_variance = bottleneck.encode(x).chunk(2, dim=1)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0, 1))
    assert_close(bottleneck(x)[1], expected.flatten(1).sum(1).mean())


def test_a_code_of_other_slices_is_refused():
    with pytest.raises(SettingsError, match="slices of 96 by 96 pixels"):
        make_network(NETWORKS["dense"])(torch.zeros(1, 1, 112, 112), torch.zeros(1))


def test_a_random_code_is_drawn_in_training_only():
    net = make_network(NETWORKS["dense-random"])
    torch.nn.init.normal_(net.head.weight)
    x, t = torch.randn(2, 1, 96, 96), torch.zeros(2)
    once, again = (net(x, t)[0] for _ in range(2))
    assert not torch.equal(once, again)
    net.eval()
    assert torch.equal(net(x, t), net(x, t))


def test_the_loss_of_a_vae_is_its_bound():
    """L1 a pixel, and the code's distance from normal, in nats a pixel."""
    x_0, t = torch.zeros(2, 1, 96, 96), torch.zeros(2, dtype=torch.int64)
    noised, schedule = Noised(x_0, x_0, t), Schedule.cosine()

    def model(x_t, t):
        return x_t + 0.25, torch.tensor(921.6)

    config = replace(PRESETS["vae"], code_weight=2.0)
    assert_close(denoising_loss(model, noised, schedule, config), torch.tensor(0.25 + 2 * 0.1))


def test_what_a_vae_draws_follows_from_the_seed_and_the_step(tmp_path):
    """Whatever was drawn elsewhere, also after an interruption; nothing else's draws change."""
    config = replace(PRESETS["vae"], steps=4, batch_size=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    whole = fit(config, Discs(), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    ends = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        torch.manual_seed(len(ends))
        fit(replace(config, steps=2), Discs(), out=folder, device="cpu")
        going_on = Saving(folder, resume=True)
        ends.append(fit(config, Discs(), out=going_on, device="cpu").state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in whole.state_dict())


# Used as detectors


@pytest.mark.parametrize("name", ONE_PASS_PRESETS)
def test_a_one_pass_network_sees_the_slice_as_it_was_corrupted(name):
    config, (x_0, brain_masks) = PRESETS[name], Discs().batch(0, 0, 4)
    corrupt, schedule = make_corruption(config), make_schedule(config)
    noised = hide_and_noise(x_0, brain_masks, corrupt, schedule, config, seeded())
    generator = seeded()
    torch.randint(1, (4,), generator=generator)  # t, which is always 0
    assert_close(noised.x_t, corrupt(x_0, brain_masks, generator), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["ae", "riad", "itermask-lite", "pddpm"])
def test_a_training_is_used_as_it_was_trained(tmp_path, name):
    config = replace(PRESETS[name], steps=1, batch_size=2)
    fit(config, Discs(), out=tmp_path, device="cpu")
    method = build_method(tmp_path / "model.safetensors", device="cpu")
    ask = {"riad": InCells(), "itermask-lite": ByShrinking(), "pddpm": InBoxes(48)}.get(name)
    assert method.detector.ask == ask
    if config.noise == "none":
        assert method.settings == DetectorSettings(t=0, draws=1) and grid_for(method) == ONE_PASS
    else:
        assert method.settings == DetectorSettings() and grid_for(method) == Grid()


def test_without_noise_a_scan_is_all_but_unchanged():
    x_0 = torch.linspace(-1, 1, 96 * 96).view(1, 1, 96, 96)
    x_t = add_noise(x_0, torch.tensor([0]), no_noise((1, 1, 96, 96)), Schedule.cosine())
    assert_close(x_t, x_0, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CoarseNoise(cell=0),
        lambda: Cells(sizes=(0,)),
        lambda: Cells(sets=1),
        lambda: Foreign(radius=(3, 2)),
        lambda: Foreign(edge=0),
        lambda: FineDetail(everything=2),
        lambda: ByShrinking(passes=0),
        lambda: ByShrinking(level=-1),
        lambda: InBoxes(0),
        lambda: UNetConfig(code="sparse"),
        lambda: UNetConfig(code="dense", side=50),
        lambda: UNet(NETWORKS["dense"]),
        lambda: AutoEncoder(NETWORKS["folded"]),
    ],
)
def test_settings_that_cannot_be_used_are_refused(make):
    with pytest.raises(SettingsError, match=r"(expected|must).* got"):
        make()
