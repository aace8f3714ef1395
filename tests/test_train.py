"""Training: it learns, it repeats, it survives being killed, and several processes agree."""

import copy
import itertools
import json
import math
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from own_masks import PAGE, own_masks
from torch.testing import assert_close
from train_discs import CONFIG, Discs, small_network

from maskdiff_edu.brains import cohort_seeds
from maskdiff_edu.detection import build_method
from maskdiff_edu.devices import Processes
from maskdiff_edu.diffusion import (
    FPM,
    IPM,
    NETWORKS,
    BandSettings,
    FPMCutMix,
    PatchSettings,
    UNet,
    no_corruption,
)
from maskdiff_edu.diffusion.asking import InBoxes
from maskdiff_edu.errors import CheckpointError
from maskdiff_edu.training import (
    PRESETS,
    Saving,
    SlicePool,
    TrainConfig,
    available_models,
    denoising_loss,
    fit,
    graph,
    hide_and_noise,
    load_pretrained,
    loop,
    make_corruption,
    make_schedule,
    train,
)
from maskdiff_edu.training.checkpoints import load_checkpoint, save_checkpoint
from maskdiff_edu.training.loop import CHECKPOINT
from maskdiff_edu.training.pool import Discs as SliceDiscs
from maskdiff_edu.training.state import TrainState, learning_rate

CPU = torch.device("cpu")
SCRIPT = Path(__file__).with_name("train_discs.py")
SMALL = small_network()  # where the network plays no part


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert_close(a[name], b[name], rtol=0, atol=0, msg=lambda text, name=name: name + text)


def run(config=CONFIG, **options):
    """All steps: their losses, and the averaged weights at the end."""
    losses = []
    for step in train(config, Discs(), device="cpu", **options):
        losses.append(step.loss)
    return torch.stack(losses), weights(step.model)


def shell(*arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *map(str, arguments)], text=True, **pipes)


def test_it_learns():
    config = replace(CONFIG, steps=60, corruption="none", warmup=10)
    losses, _ = run(config)
    assert losses[-10:].mean() < 0.4 * losses[:5].mean()


def test_each_step_reports_itself():
    steps = list(itertools.islice(train(CONFIG, Discs(), device="cpu"), 3))
    assert [step.number for step in steps] == [1, 2, 3]
    assert [step.lr for step in steps] == [learning_rate(CONFIG, n) for n in range(3)]
    assert all(step.loss.shape == () and not step.loss.requires_grad for step in steps)
    assert all(step.seconds > 0 for step in steps)
    assert isinstance(steps[0].model, UNet) and not steps[0].model.training


@pytest.mark.parametrize("name", available_models())
def test_a_shipped_model_can_be_trained_again_by_the_command_on_its_card(name):
    """So no default may change while weights ship that were trained with it."""
    card = load_pretrained(name)[1]
    said = dict(re.findall(r"--(preset|steps|seed) (\S+)", card["command"]))
    config = replace(PRESETS[said["preset"]], steps=int(said["steps"]), seed=int(said["seed"]))
    assert TrainConfig.from_json(card["train"]) == config


def test_the_settings_hide_what_they_always_hid():
    """Written out, as the settings of patches and bands have no place on a card."""
    broad, paper = (
        PatchSettings((1, 8), (0.06, 0.35)),
        PatchSettings((40, 40), (0.1, 0.4), (0.1, 0.9)),
    )
    released = PatchSettings((0, 5), (0.09, 0.18))
    halves = FPM(BandSettings(0.5, 0.5, 0, (2, 10)), keep_mean=False)
    mixed = FPM(BandSettings(1 / 3, 1 / 3, 1 / 3, (2, 10), pairs=4), keep_mean=False)
    expected = {
        ("none", "broad", "released"): no_corruption,
        ("ipm", "broad", "released"): IPM(broad, 0.0),
        ("ipm", "paper", "released"): IPM(paper, 0.0),
        ("fpm", "broad", "released"): halves,
        ("fpm", "broad", "mixed"): mixed,
        ("fpm-cm", "broad", "released"): FPMCutMix(halves, broad),
        ("fpm-cm", "released", "released"): FPMCutMix(halves, released),
        ("fpm-cm", "paper", "mixed"): FPMCutMix(mixed, paper),
    }
    for (corruption, patches, bands), corrupt in expected.items():
        config = TrainConfig(corruption=corruption, patches=patches, bands=bands)
        assert make_corruption(config) == corrupt
    assert (IPM(), FPM(), FPMCutMix()) == (IPM(paper, 0.0), halves, FPMCutMix(halves, broad))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_hides_what_its_name_says(name):
    config = PRESETS[name]
    images, brain_masks = Discs().batch(0, 0, 32)
    hidden = make_corruption(config)(images, brain_masks, torch.Generator().manual_seed(0))
    changed = ((hidden - images).abs() > 1e-6)[brain_masks].float().mean().item()
    expected = {"none": (0, 0), "ipm": (0.05, 0.7), "fpm": (0.95, 1), "fpm-cm": (0.05, 0.7)}
    expected |= {"coarse-noise": (0.95, 1), "cells": (0.2, 0.45), "foreign": (0.03, 0.8)}
    expected |= {"fine-detail": (0.3, 0.9)}
    low, high = expected[config.corruption]
    assert low <= changed <= high
    pool = SliceDiscs() if NETWORKS[config.unet].code == "dense" else Discs()
    steps = train(replace(config, batch_size=2, steps=2), pool, device="cpu")
    assert all(step.loss.isfinite() for step in steps)


def test_the_network_sees_the_masked_and_is_asked_for_the_clean_slice():
    """With the schedule's numbers in the open, by plain formulas."""
    config = replace(CONFIG, noise="gaussian", t_min=100, t_max=100, loss="l2")
    x_0, brain_masks = Discs().batch(0, 0, 4)
    seen = []

    def model(x_t, t):
        seen.append((x_t, t))
        return 0.3 * x_t

    def hide(images, _, __):
        return images * 0

    schedule = make_schedule(config)
    generator = torch.Generator().manual_seed(5)
    noised = hide_and_noise(x_0, brain_masks, hide, schedule, config, generator)
    loss = denoising_loss(model, noised, schedule, config)
    (x_t, t) = seen[0]
    eps = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(5))
    time = (101 / 1000 + 0.008) / 1.008
    alphas_bar = math.cos(time * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert t.tolist() == [100] * 4
    assert_close(x_t, math.sqrt(1 - alphas_bar) * eps, rtol=1e-4, atol=1e-5)
    assert_close(loss, ((0.3 * x_t - x_0) ** 2).mean())


def test_only_one_box_is_noised_and_scored():
    """pDDPM: everything outside of it reaches the network as it was, and costs nothing."""
    config = replace(CONFIG, box=16)
    x_0, brain_masks = Discs().batch(0, 0, 4)
    seen = []

    def model(x_t, t):
        seen.append(x_t)
        return 0.3 * x_t

    schedule = make_schedule(config)
    settings = (lambda x, *_: -x, schedule, config)
    noised = hide_and_noise(x_0, brain_masks, *settings, torch.manual_seed(5))
    loss = denoising_loss(model, noised, schedule, config)
    changed = seen[0] != -x_0  # what the network saw, beside the slice as it was hidden
    assert_close(loss, ((0.3 * seen[0] - x_0)[changed]).abs().mean())
    assert torch.equal(noised.box, changed)
    for box in changed[:, 0]:
        assert box.sum() == 16 * 16  # a quarter of the slice
        rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
        assert rows[0] % 16 == columns[0] % 16 == 0 and len(rows) == len(columns) == 16


def test_a_model_of_one_box_is_used_box_by_box(tmp_path):
    fit(replace(CONFIG, steps=1, box=16), Discs(), out=tmp_path, device="cpu")
    assert build_method(tmp_path / "model.safetensors").detector.ask == InBoxes(16)


def test_batch_n_follows_from_seed_and_n_alone():
    def batches(config, **options):
        seen = []

        def spy(images, brain_masks, generator):
            seen.append((images.clone(), torch.rand(3, generator=generator)))
            return images

        for _ in train(config, Discs(), corrupt=spy, device="cpu", **options):
            torch.rand(7)  # torch's own generator plays no part
        return seen

    config = replace(CONFIG, steps=4)
    first, again = batches(config), batches(replace(config, lr=1e-5))
    for (images, random), (images_again, random_again) in zip(first, again, strict=True):
        assert_close(images, images_again, rtol=0, atol=0)
        assert_close(random, random_again, rtol=0, atol=0)
    other_seed = batches(replace(config, seed=1))
    assert len({images.numpy().tobytes() for images, _ in first + other_seed}) == 8
    draws = [tuple(random.tolist()) for _, random in first + other_seed]
    assert len(set(draws)) == 8


@pytest.mark.parametrize("name", PRESETS)
def test_the_loss_of_a_batch_follows_from_its_generator_alone(name):
    """Every draw comes from it: the noise, t, what is hidden, the box."""
    config = replace(PRESETS[name], box=PRESETS[name].box and 16)
    batch = Discs().batch(0, 0, 4)

    def loss(seed):
        corrupt, schedule = make_corruption(config), make_schedule(config)
        generator = torch.Generator().manual_seed(seed)
        noised = hide_and_noise(*batch, corrupt, schedule, config, generator)
        return denoising_loss(lambda x_t, t: 0.3 * x_t, noised, schedule, config)

    torch.manual_seed(0)
    once = loss(5)
    torch.manual_seed(1)
    assert torch.equal(loss(5), once)
    draws = config.noise != "none" or config.corruption != "none"
    assert torch.equal(loss(6), once) != draws  # an autoencoder's batch has no random part


def test_the_same_settings_give_the_same_weights_and_another_seed_others():
    short = replace(CONFIG, steps=3)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    losses, one = run(short)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    losses_again, two = run(short)
    assert_close(losses, losses_again, rtol=0, atol=0)
    assert_same_bits(one, two)
    other = TrainState(replace(short, seed=1), CPU, None).net
    assert not torch.equal(other.stem.weight, TrainState(short, CPU, None).net.stem.weight)


def test_the_masks_of_your_own_in_the_book_do_what_their_names_say():
    rows, ring = (own_masks()[name] for name in ("hide_every_fourth_row", "hide_a_ring"))
    images, brain_masks = Discs().batch(0, 0, 16)
    hidden = rows(images, brain_masks, torch.Generator().manual_seed(0)) != images
    assert not (hidden & ~brain_masks).any()
    hidden_rows = hidden.any(dim=3)[:, 0]  # (16, 32)
    share = (hidden.sum(dim=(1, 2, 3)) / brain_masks.sum(dim=(1, 2, 3))).mean()
    assert 0.2 < share < 0.3
    assert {int(row.nonzero()[0] % 4) for row in hidden_rows} == {0, 1, 2, 3}
    assert all((row.nonzero() % 4).unique().numel() == 1 for row in hidden_rows)

    everywhere = torch.ones(8, 1, 96, 96, dtype=torch.bool)
    noise = torch.randn(8, 1, 96, 96, generator=torch.Generator().manual_seed(1)) - 1
    filtered = ring(noise, everywhere, torch.Generator().manual_seed(2))
    spectra = [torch.fft.fftshift(torch.fft.fft2(x + 1), dim=(2, 3)) for x in (noise, filtered)]
    kept = torch.isclose(*spectra, atol=1e-2)  # (8, 1, 96, 96)
    assert_close(spectra[1][~kept].abs().max(), torch.tensor(0.0), atol=1e-2, rtol=0)
    bins = torch.arange(96) - 48
    distance = torch.hypot(bins[:, None].float(), bins.float())
    for one in ~kept[:, 0]:  # all that lies between the nearest and the furthest removed bin
        near, far = distance[one].min(), distance[one].max()
        assert torch.equal(one, (distance >= near) & (distance <= far))
        assert near >= 1 and far <= 20 and 1.5 < far / near < 2.5


def test_the_training_of_your_own_mask_in_the_book_runs(tmp_path, monkeypatch):
    """The long run that the page shows, cut short."""
    page = nbformat.read(PAGE, as_version=nbformat.NO_CONVERT)
    prose = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    [example] = re.findall(r"```python\n(.*?)```", prose, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKDIFF_CACHE", str(tmp_path / "cache"))
    short = replace(PRESETS["fpm-cm"], steps=1, batch_size=2)
    monkeypatch.setitem(PRESETS, "fpm-cm", short)
    monkeypatch.setattr("maskdiff_edu.training.N_SUBJECTS", 1)
    names = {"SlicePool": SlicePool, "cohort_seeds": cohort_seeds, **own_masks()}
    exec(compile(textwrap.dedent(example), PAGE.name, "exec"), names)
    model, card = load_pretrained(tmp_path / "rows-0" / "model.safetensors")
    assert (card["method"], card["train"]["seed"]) == ("rows", 0)
    assert card["train"]["corruption"] == "custom: hide_every_fourth_row"
    plain = fit(short, names["pool"], corrupt=no_corruption)
    assert not torch.equal(model.head.weight, plain.head.weight)
    assert build_method(tmp_path / "rows-2" / "model.safetensors").card.train["seed"] == 2


def test_a_training_can_start_from_another_ones_network():
    _, trained = run(replace(CONFIG, steps=3))
    start = UNet(NETWORKS[CONFIG.unet])
    start.load_state_dict(trained)
    first = next(train(replace(CONFIG, lr=0.0), Discs(), start=start, device="cpu"))
    assert_same_bits(weights(first.model), trained)
    assert_same_bits(weights(start), trained)


def test_a_training_goes_on_from_a_loaded_model(tmp_path):
    """Whose weights are frozen, for use."""
    fit(replace(CONFIG, steps=1), Discs(), out=tmp_path, device="cpu")
    start = load_pretrained(tmp_path / "model.safetensors")[0]
    assert not any(weight.requires_grad for weight in start.parameters())
    before = weights(start)
    *_, last = train(replace(CONFIG, steps=2), Discs(), start=start, device="cpu")
    assert not torch.equal(last.model.head.weight, before["head.weight"])
    assert_same_bits(weights(start), before)


# Pieces of a step


def test_the_learning_rate_rises_then_falls_as_a_cosine():
    config = TrainConfig(lr=2.0, warmup=10, steps=110)
    assert learning_rate(config, 0) == pytest.approx(0.2)
    assert learning_rate(config, 9) == learning_rate(config, 10) == pytest.approx(2)
    assert learning_rate(config, 60) == pytest.approx(1)
    assert learning_rate(config, 110) == pytest.approx(0)
    rates = [learning_rate(config, n) for n in range(10, 110)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(replace(config, warmup=0), 0) == 2


def test_a_step_is_adamw_with_clipping_and_averaging():
    """Against torch's plain optimiser and the written-out average."""
    config = replace(CONFIG, max_grad_norm=0.01, lr=0.01, weight_decay=0.1, ema_decay=0.6)
    state = TrainState(config, CPU, None)
    # Adam divides gradients by their size: float32 would blow up the rounding of tiny ones.
    state.net.double(), state.average.double()
    net, average = copy.deepcopy(state.net), copy.deepcopy(state.net)
    plain = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=0.1, fused=False)
    x_t = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    t = torch.ones(2)
    for n in range(12):
        lr = state.update((state.model(x_t, t) - 1).square().mean() * 10)
        plain.zero_grad()
        ((net(x_t, t) - 1).square().mean() * 10).backward()
        norm = torch.stack([p.grad.norm() for p in net.parameters()]).norm()
        for parameter in net.parameters():
            parameter.grad *= min(1, 0.01 / norm)
        plain.param_groups[0]["lr"] = lr
        plain.step()
        decay = min(0.6, (1 + n) / (10 + n))
        for mean, parameter in zip(average.parameters(), net.parameters(), strict=True):
            mean.data = decay * mean.data + (1 - decay) * parameter.data
    assert norm > 0.01  # clipping had something to do
    assert_close(weights(state.net), weights(net), rtol=1e-5, atol=1e-7)
    assert_close(weights(state.average), weights(average), rtol=1e-5, atol=1e-7)


def test_half_precision_with_scaled_gradients_follows_float32():
    config = replace(CONFIG, steps=4)
    exact, _ = run(config, start=SMALL)
    for precision in ("float16", "bfloat16"):
        half, _ = run(replace(config, precision=precision), start=SMALL)
        assert not torch.equal(half, exact)
        assert_close(half, exact, rtol=0.02, atol=0)


def test_scaled_gradients_are_unscaled_before_they_are_clipped():
    norms = []
    for precision in ("float32", "float16"):
        state = TrainState(replace(CONFIG, precision=precision, max_grad_norm=0.01), CPU, SMALL)
        state.update((state.model(torch.zeros(1, 1, 16, 16), torch.zeros(1)) - 1).square().mean())
        norms.append(torch.stack([p.grad.norm() for p in state.net.parameters()]).norm())
    assert_close(norms[1], norms[0], rtol=1e-2, atol=0)


def test_a_gradient_beyond_float16_skips_the_step_and_lowers_the_scale():
    state = TrainState(replace(CONFIG, precision="float16"), CPU, SMALL)
    before, scale = weights(state.net), state.scaler.get_scale()
    state.update(state.model(torch.zeros(1, 1, 16, 16), torch.zeros(1)).sum() * math.inf)
    assert_same_bits(weights(state.net), before)
    assert state.scaler.get_scale() == scale / 2


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"batch_size": 0}, {"box": -1}, {"t_min": 350}, {"t_max": 1000}, {"t_min": -1},
     {"corruption": "blur"}, {"schedule": "sine"}, {"unet": "huge"}, {"precision": "int8"},
     {"prediction": "x_1"}, {"loss": "l3"}, {"noise": "salt"}],
)  # fmt: skip
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match="got"):
        next(train(replace(CONFIG, **settings), Discs(), device="cpu"))


# Interrupted and resumed


def test_more_steps_go_on_and_a_finished_training_has_none_left(tmp_path):
    run(replace(CONFIG, steps=2), out=tmp_path)
    more = replace(CONFIG, steps=4)
    again = list(train(more, Discs(), device="cpu", out=Saving(tmp_path, resume=True)))
    assert [step.number for step in again] == [3, 4]
    assert list(train(more, Discs(), device="cpu", out=Saving(tmp_path, resume=True))) == []
    restarted = next(train(more, Discs(), device="cpu", out=tmp_path))
    assert restarted.number == 1


def test_resuming_with_other_settings_is_refused(tmp_path):
    run(replace(CONFIG, steps=1), out=tmp_path)
    again = Saving(tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=r"trained with lr=0\.001, not 0\.5"):
        next(train(replace(CONFIG, lr=0.5), Discs(), device="cpu", out=again))


@pytest.mark.parametrize("what", ["moment", "step", "settings"])
def test_resuming_from_a_file_made_to_harm_is_refused(tmp_path, what):
    """A moment that is too short would let the fused optimiser write beyond its end."""
    run(CONFIG, out=tmp_path, start=SMALL)
    path = tmp_path / CHECKPOINT
    tensors, about = load_checkpoint(path)
    if what == "moment":
        tensors = {n: x[:1] if "exp_avg" in n else x for n, x in tensors.items()}
    elif what == "step":
        about["step"] = -5
    else:
        about["train"] = []
    save_checkpoint(path, tensors, about)
    with pytest.raises(CheckpointError, match="not a whole training checkpoint"):
        run(replace(CONFIG, steps=CONFIG.steps + 1), out=Saving(tmp_path, resume=True), start=SMALL)


def test_resuming_from_a_file_without_the_optimiser_is_refused(tmp_path):
    fit(replace(CONFIG, steps=1), Discs(), out=tmp_path, device="cpu")
    (tmp_path / "model.safetensors").rename(tmp_path / CHECKPOINT)
    with pytest.raises(CheckpointError, match="not a whole training checkpoint"):
        next(train(CONFIG, Discs(), device="cpu", out=Saving(tmp_path, resume=True)))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_stopped_at_any_step_it_ends_in_the_same_bits(tmp_path, precision):
    config = replace(CONFIG, steps=6, precision=precision)
    losses, whole = run(config, start=SMALL)
    for stop in (1, 4):
        saving = Saving(tmp_path / str(stop), every=1)
        steps = train(config, Discs(), start=SMALL, device="cpu", out=saving)
        list(itertools.islice(steps, stop))
        steps.close()
        rest, resumed = run(config, start=SMALL, out=replace(saving, resume=True))
        assert_close(rest, losses[stop:], rtol=0, atol=0)
        assert_same_bits(resumed, whole)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")
def test_killed_again_and_again_it_ends_in_the_same_bits(tmp_path):
    """SIGKILL at any moment, also while a checkpoint is written: a whole one is always there."""
    child = shell(SCRIPT, tmp_path / "killed", CONFIG.steps, "--kill")
    printed, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors
    kills = json.loads(printed)
    assert len(kills) >= 8
    assert sum(kill["half_written"] for kill in kills) >= 4
    steps = [kill["step"] for kill in kills]  # that the file on disk had reached
    assert steps == sorted(steps) and 0 < steps[-1] <= CONFIG.steps

    run(CONFIG, out=tmp_path / "whole", start=small_network())
    killed, about = load_checkpoint(tmp_path / "killed" / CHECKPOINT)
    whole, _ = load_checkpoint(tmp_path / "whole" / CHECKPOINT)
    assert about["step"] == CONFIG.steps
    assert_same_bits(killed, whole)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [CHECKPOINT]


def test_the_scale_of_gradients_and_the_time_taken_are_resumed(tmp_path):
    config = replace(CONFIG, precision="float16")
    state = TrainState(config, CPU, SMALL)
    state.update(state.model(torch.zeros(1, 1, 16, 16), torch.zeros(1)).mean())
    state.update(state.model(torch.zeros(1, 1, 16, 16), torch.zeros(1)).sum() * math.inf)
    state.seconds = 12.5
    state.save(tmp_path / "c.safetensors")
    resumed = TrainState(config, CPU, SMALL)
    resumed.load(tmp_path / "c.safetensors")
    assert resumed.scaler.state_dict() == state.scaler.state_dict()
    assert resumed.scaler.get_scale() != TrainState(config, CPU, SMALL).scaler.get_scale()
    assert (resumed.seconds, resumed.step) == (12.5, 2)


# Several processes


def test_each_process_denoises_its_part_of_the_batch(monkeypatch):
    seen = []

    def spy(model, noised, schedule, config):
        seen.append(noised)
        return denoising_loss(model, noised, schedule, config)

    def run_as(processes):
        monkeypatch.setattr(loop, "join_processes", lambda: processes)
        next(train(CONFIG, Discs(), start=SMALL, device="cpu"))
        return seen.pop()

    monkeypatch.setattr(graph, "denoising_loss", spy)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda _: None)
    whole, second = run_as(Processes()), run_as(Processes(1, 0, 2))
    for name in ("x_0", "x_t", "t"):
        assert torch.equal(getattr(second, name), getattr(whole, name)[2:])


def test_the_parts_of_a_batch_make_its_loss():
    """Each process draws as if it did the whole batch, and shows the network its part alone."""
    shown, config = [], replace(CONFIG, noise="gaussian")
    corrupt, schedule = make_corruption(config), make_schedule(config)

    def model(x_t, t):
        shown.append(x_t)
        return 0.3 * x_t

    def loss(share):
        batch, generator = Discs().batch(0, 0, 4), torch.Generator().manual_seed(0)
        noised = hide_and_noise(*batch, corrupt, schedule, config, generator)
        return denoising_loss(model, noised.share(share), schedule, config)

    whole, first, second = (loss(share) for share in (slice(None), slice(0, 2), slice(2, 4)))
    assert_close((first + second) / 2, whole)
    assert_close(torch.cat(shown[1:]), shown[0], rtol=0, atol=0)


def test_the_shares_of_all_processes_make_the_batch():
    batch = list(range(12))
    shares = [batch[Processes(rank, rank, 3).share(12)] for rank in range(3)]
    assert shares == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(ValueError, match="a multiple of the 3 processes, got 16"):
        Processes(0, 0, 3).share(16)


def test_two_processes_follow_one(tmp_path):
    child = shell(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        SCRIPT, tmp_path / "two", 20,
    )  # fmt: skip
    printed, errors = child.communicate(timeout=240)
    assert child.returncode == 0, errors
    lines = sorted(line.split()[1:] for line in printed.splitlines() if line.startswith("step "))
    assert lines[::2] == lines[1::2]  # both report the loss of the whole batch
    two = torch.tensor(
        [float(loss) for _, loss in sorted(lines[::2], key=lambda pair: int(pair[0]))]
    )
    one, _ = run(replace(CONFIG, steps=20), out=tmp_path / "one")
    assert_close(two, one, rtol=1e-4, atol=0)
    a, _ = load_checkpoint(tmp_path / "one" / CHECKPOINT)
    b, _ = load_checkpoint(tmp_path / "two" / CHECKPOINT)
    assert a.keys() == b.keys()


# For use


def test_fit_leaves_a_model_with_its_card_and_other_files_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    config = replace(CONFIG, steps=3)
    model = fit(config, Discs(), out=tmp_path, about={"command": "train it"}, device="cpu")
    expected = run(config)[1]
    assert_same_bits(weights(model), expected)
    loaded, card = load_pretrained(tmp_path / "model.safetensors")
    assert_close(weights(loaded), expected, rtol=1e-3, atol=1e-5)
    assert card["command"] == "train it" and card["step"] == 3 and card["seconds"] > 0
    assert TrainConfig.from_json(card["train"]) == config
    assert card["torch"] == torch.__version__
    assert json.loads((tmp_path / "model.json").read_text()) == card
    names = {"notes.txt", CHECKPOINT, "model.safetensors", "model.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    saving = Saving(tmp_path, resume=True)
    again = fit(config, Discs(), out=saving, device="cpu")  # nothing left to do
    assert_same_bits(weights(again), expected)
