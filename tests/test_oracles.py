"""Training and sampling where the right answer is known in closed form."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from maskdiff_edu.diffusion import (
    Schedule,
    add_noise,
    cutmix,
    gaussian_noise,
    objectives,
    reconstruct,
    reconstruct_by_chain,
    sample,
)
from maskdiff_edu.training import TrainConfig, make_schedule, train

SCHEDULE = Schedule.linear()
MEAN, SPREAD = 0.3, 0.4  # of the Gaussian images
HOLE, CHANCE = -1.0, 0.3  # value of the hole and how often there is one


def gaussian_images(b, generator):
    return MEAN + SPREAD * torch.randn(b, 1, 8, 8, generator=generator)


def ideal_answer(x_t, t, schedule=SCHEDULE):
    """E[x_0 | x_t] for Gaussian x_0: precision-weighted mean of prior and observation."""
    alphas_bar = schedule.alphas_bar[t].view(-1, 1, 1, 1)
    noise = schedule.one_minus_alphas_bar[t].view(-1, 1, 1, 1)
    precision = 1 / SPREAD**2 + alphas_bar / noise
    return (MEAN / SPREAD**2 + alphas_bar.sqrt() * x_t / noise) / precision


def ideal_error(t):
    """Mean squared error of `ideal_answer`, the MMSE."""
    return 1 / (1 / SPREAD**2 + SCHEDULE.snr(t))


# Averages of noisings and of chain samples (Gaussian images, the ideal model)


def squared_error(x_0_hat, x_0):
    return (x_0_hat - x_0).square().mean()


@pytest.mark.parametrize("draws", [1, 4, 16])
def test_averaging_noisings_goes_below_the_mmse(draws):
    generator = torch.Generator().manual_seed(0)
    x_0, t = gaussian_images(3000, generator), 250
    x_0_hat = reconstruct(
        ideal_answer, x_0, [t] * draws, SCHEDULE, noise=gaussian_noise, generator=generator
    )
    mmse = ideal_error(t)
    shrunk = SCHEDULE.snr(t) * mmse  # share of x_0 that the answer keeps
    bias = (1 - shrunk) ** 2 * SPREAD**2
    assert_close(squared_error(x_0_hat, x_0), bias + (mmse - bias) / draws, rtol=0.02, atol=0)
    if draws > 1:
        assert squared_error(x_0_hat, x_0) < 0.9 * mmse


@pytest.mark.parametrize("draws", [1, 4])
def test_chain_samples_stay_above_the_mmse(draws):
    generator = torch.Generator().manual_seed(1)
    x_0, t = gaussian_images(300, generator), 250
    times = torch.full((300,), t)
    x_t = add_noise(x_0, times, torch.randn(x_0.shape, generator=generator), SCHEDULE)
    total = torch.zeros_like(x_0)
    for _ in range(draws):  # all from the same x_t
        walk = sample(ideal_answer, x_t, range(t, -1, -1), SCHEDULE, generator=generator)
        *_, (_, _, x_0_hat) = walk
        total += x_0_hat
    error = squared_error(total / draws, x_0)
    assert_close(error, (1 + 1 / draws) * ideal_error(t), rtol=0.04, atol=0)


def test_reconstruct_by_chain_is_one_such_sample():
    generator = torch.Generator().manual_seed(5)
    x_0, times = gaussian_images(300, generator), range(250, -1, -1)
    x_0_hat = reconstruct_by_chain(
        ideal_answer, x_0, times, SCHEDULE, noise=gaussian_noise, generator=generator
    )
    assert_close(squared_error(x_0_hat, x_0), 2 * ideal_error(250), rtol=0.04, atol=0)


def test_a_chain_from_noise_draws_gaussian_images():
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(200, 1, 8, 8, generator=generator)
    walk = sample(ideal_answer, noise, range(999, -1, -1), SCHEDULE, generator=generator)
    *_, (_, _, x_0) = walk
    assert_close(x_0.mean(), torch.tensor(MEAN), atol=0.015, rtol=0)
    assert_close(x_0.std(), torch.tensor(SPREAD), rtol=0.03, atol=0)


# Training reaches the optimum. `train` itself does it: its noising, its target, its loss.

CONFIG = TrainConfig(
    corruption="none", loss="l2", noise="gaussian", precision="float32", warmup=20, seed=3
)


@dataclass(frozen=True)
class Gaussians:
    """A pool of images whose pixels are independent Gaussians, and all of them brain."""

    side: int
    spread: float = SPREAD
    holed: bool = False

    def batch(self, seed, n, batch_size):
        generator = torch.Generator().manual_seed(10**6 + n)  # not the one of the noise
        shape = (batch_size, 1, self.side, self.side)
        images = MEAN + self.spread * torch.randn(shape, generator=generator)
        images = hole_or_not(images, None, generator) if self.holed else images
        return images, torch.ones(shape, dtype=torch.bool)


def trained(model, config, pool, corrupt=None):
    """The averaged network at the end, and the schedule that it was trained with."""
    for step in train(config, pool, corrupt=corrupt, start=model, device="cpu"):
        last = step
    return last.model, make_schedule(config)


class AffineAtEachT(nn.Module):
    """One slope and one offset a time: all that Gaussian images need."""

    def __init__(self, T):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(T, 1, 1, 1))
        self.offset = nn.Parameter(torch.zeros(T, 1, 1, 1))

    def forward(self, x_t, t):
        return self.slope[t] * x_t + self.offset[t]


@pytest.mark.parametrize(
    "prediction, loss", [("x_0", "l1"), ("x_0", "l2"), ("eps", "l2"), ("v", "l2")]
)
@pytest.mark.parametrize("spread", [SPREAD, 0.0], ids=["gaussian", "constant"])
def test_training_reaches_the_optimal_denoiser(prediction, loss, spread):
    """At each t of a short schedule, down to 15 % of signal power. (Median and mean are one.)"""
    config = replace(
        CONFIG, prediction=prediction, loss=loss, T=8, t_min=0, t_max=5,
        batch_size=96, steps=600, lr=5e-2,
    )  # fmt: skip
    model, schedule = trained(AffineAtEachT(6), config, Gaussians(4, spread))
    t = torch.arange(6)
    x_t = torch.linspace(-1, 1, 50).view(1, 1, 1, 50).expand(6, 1, 1, 50)
    learnt = objectives.to_x_0(prediction, model(x_t, t), x_t, t, schedule)
    best = ideal_answer(x_t, t, schedule) if spread else torch.full_like(x_t, MEAN)
    assert_close(learnt, best, atol=0.03, rtol=0)


# A hole of value c (science of the redefined target): a mixture of two Gaussians


def hole_or_not(x_0, brain_masks, generator):
    hidden = torch.rand(x_0.shape, generator=generator) < CHANCE
    return cutmix(x_0, torch.full_like(x_0, HOLE), hidden)


def mixture_answers(x_t, t):
    """E[x_0_masked | x_t] and E[x_0 | x_t] for one pixel that is a hole with probability CHANCE."""
    signal = SCHEDULE.alphas_bar[t].sqrt()
    noise = SCHEDULE.one_minus_alphas_bar[t]
    seen = torch.distributions.Normal(signal * MEAN, (signal**2 * SPREAD**2 + noise).sqrt())
    hole = torch.distributions.Normal(signal * HOLE, noise.sqrt())
    weights = torch.stack([hole.log_prob(x_t), seen.log_prob(x_t)]).exp()
    weights = weights * torch.tensor([CHANCE, 1 - CHANCE]).view(2, 1, 1, 1, 1)
    is_hole = weights[0] / weights.sum(0)
    if_seen = ideal_answer(x_t, torch.tensor([t]))
    reproduced = is_hole * HOLE + (1 - is_hole) * if_seen
    filled = is_hole * MEAN + (1 - is_hole) * if_seen
    return reproduced, filled


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 48), nn.SiLU(), nn.Linear(48, 1))

    def forward(self, x_t, t):
        return self.layers(x_t.reshape(-1, 1)).reshape(x_t.shape)


@pytest.mark.parametrize("target", ["x_0", "eps", "v", "plain eps"])
def test_the_plain_target_reproduces_the_hole_and_the_redefined_one_fills_it(target):
    """The plain target is what training without masks on images that have holes asks for."""
    is_plain = target.startswith("plain ")
    prediction = target.removeprefix("plain ")
    t = 100
    config = replace(
        CONFIG, prediction=prediction, schedule="linear", t_min=t, t_max=t,
        batch_size=1024, steps=800, lr=1e-2,
    )  # fmt: skip
    torch.manual_seed(4)  # of the first weights
    model, schedule = trained(
        SmallNet(), config, Gaussians(1, holed=is_plain), None if is_plain else hole_or_not
    )
    x_t = torch.linspace(-1.4, 1.1, 60).view(60, 1, 1, 1)
    at = torch.full((60,), t)
    learnt = objectives.to_x_0(prediction, model(x_t, at), x_t, at, schedule)
    reproduced, filled = mixture_answers(x_t, t)
    hole_seen = SCHEDULE.alphas_bar[t].sqrt() * HOLE
    at_hole = (x_t - hole_seen).abs().argmin()
    assert (filled - reproduced).flatten()[at_hole] > 0.9  # the two answers differ
    expected = reproduced if is_plain else filled
    assert (learnt - expected).abs().mean() < 0.06
    assert (learnt - expected).flatten()[at_hole].abs() < 0.1


def test_after_masked_training_the_chain_carries_the_hole_along():
    """One step fills it; but every step of a chain keeps a part of x_t, in which the hole is."""
    generator, t = torch.Generator().manual_seed(6), 50
    x_0 = MEAN + SPREAD * torch.randn(20_000, 1, 1, 1, generator=generator)
    x_0_masked = hole_or_not(x_0, None, generator)
    hidden = x_0_masked == HOLE

    def ideal_after_masked_training(x_t, t):
        return mixture_answers(x_t, int(t[0]))[1]

    times = torch.full((20_000,), t)
    eps = torch.randn(x_0.shape, generator=generator)
    x_t = add_noise(x_0_masked, times, eps, SCHEDULE)
    one_step = ideal_after_masked_training(x_t, times)
    walk = sample(ideal_after_masked_training, x_t, range(t, -1, -1), SCHEDULE, generator=generator)
    *_, (_, _, by_chain) = walk
    assert abs(one_step[hidden].mean() - MEAN) < 0.1
    assert by_chain[hidden].mean() < (MEAN + HOLE) / 2  # more hole than brain
    # A sampler of the posterior would be off by twice the MMSE.
    assert squared_error(by_chain, x_0) > 3 * squared_error(one_step, x_0)
