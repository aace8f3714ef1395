"""Training and sampling where the right answer is known in closed form."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from maskdiff_edu import objectives
from maskdiff_edu.diffusion import add_noise, reconstruct, sample
from maskdiff_edu.masks import cutmix
from maskdiff_edu.noise import gaussian_noise
from maskdiff_edu.schedule import Schedule

SCHEDULE = Schedule.linear()
MEAN, SPREAD = 0.3, 0.4  # of the Gaussian images
HOLE, CHANCE = -1.0, 0.3  # value of the hole and how often there is one


def gaussian_images(b, generator):
    return MEAN + SPREAD * torch.randn(b, 1, 8, 8, generator=generator)


def ideal_answer(x_t, t):
    """E[x_0 | x_t] for Gaussian x_0: precision-weighted mean of prior and observation."""
    alphas_bar = SCHEDULE.alphas_bar[t].view(-1, 1, 1, 1)
    noise = SCHEDULE.one_minus_alphas_bar[t].view(-1, 1, 1, 1)
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
        ideal_answer, x_0, t, SCHEDULE, draws=draws, noise=gaussian_noise, generator=generator
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


def test_a_chain_from_noise_draws_gaussian_images():
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(200, 1, 8, 8, generator=generator)
    walk = sample(ideal_answer, noise, range(999, -1, -1), SCHEDULE, generator=generator)
    *_, (_, _, x_0) = walk
    assert_close(x_0.mean(), torch.tensor(MEAN), atol=0.015, rtol=0)
    assert_close(x_0.std(), torch.tensor(SPREAD), rtol=0.03, atol=0)


# Training reaches the optimum


def train(model, kind, corrupt, images, times, steps, rate, generator):
    """L2 training with a learning rate that falls to 0."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x_0 = images(generator)
        x_0_masked = corrupt(x_0, generator)
        t = times[torch.randint(len(times), (len(x_0),), generator=generator)]
        eps = torch.randn(x_0.shape, generator=generator)
        x_t = add_noise(x_0_masked, t, eps, SCHEDULE)
        clean = x_0_masked if kind == "plain eps" else x_0
        kind_of_target = kind.removeprefix("plain ")
        goal = objectives.target(kind_of_target, clean, x_t, t, SCHEDULE)
        step = objectives.loss(model(x_t, t), goal, "l2")
        optimizer.zero_grad()
        step.backward()
        optimizer.step()
        decay.step()


class AffineAtEachT(nn.Module):
    """One slope and one offset a time: all that Gaussian images need."""

    def __init__(self, times):
        super().__init__()
        self.register_buffer("times", times)
        self.slope = nn.Parameter(torch.zeros(len(times), 1, 1, 1))
        self.offset = nn.Parameter(torch.zeros(len(times), 1, 1, 1))

    def forward(self, x_t, t):
        at = (t[:, None] == self.times).int().argmax(1)
        return self.slope[at] * x_t + self.offset[at]


@pytest.mark.parametrize("kind", ["x_0", "eps", "v"])
@pytest.mark.parametrize("spread", [SPREAD, 0.0], ids=["gaussian", "constant"])
def test_training_reaches_the_optimal_denoiser(kind, spread):
    generator = torch.Generator().manual_seed(3)
    times = torch.tensor([100, 250, 500])
    model = AffineAtEachT(times)

    def images(generator):
        return MEAN + spread * torch.randn(96, 1, 4, 4, generator=generator)

    train(model, kind, lambda x_0, _: x_0, images, times, 800, 5e-2, generator)
    x_t = torch.linspace(-1, 1, 50).view(1, 1, 1, 50).expand(3, 1, 1, 50)
    learnt = objectives.to_x_0(kind, model(x_t, times), x_t, times, SCHEDULE)
    best = ideal_answer(x_t, times) if spread else torch.full_like(x_t, MEAN)
    assert_close(learnt, best, atol=0.03, rtol=0)


# A hole of value c (science of the redefined target): a mixture of two Gaussians


def hole_or_not(x_0, generator):
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


@pytest.mark.parametrize("kind", ["x_0", "eps", "v", "plain eps"])
def test_the_plain_target_reproduces_the_hole_and_the_redefined_one_fills_it(kind):
    t = 100
    torch.manual_seed(4)
    model, generator = SmallNet(), torch.Generator().manual_seed(4)

    def images(generator):
        return MEAN + SPREAD * torch.randn(1024, 1, 1, 1, generator=generator)

    train(model, kind, hole_or_not, images, torch.tensor([t]), 800, 1e-2, generator)
    x_t = torch.linspace(-1.4, 1.1, 60).view(60, 1, 1, 1)
    at = torch.full((60,), t)
    learnt = objectives.to_x_0(kind.removeprefix("plain "), model(x_t, at), x_t, at, SCHEDULE)
    reproduced, filled = mixture_answers(x_t, t)
    hole_seen = SCHEDULE.alphas_bar[t].sqrt() * HOLE
    at_hole = (x_t - hole_seen).abs().argmin()
    assert (filled - reproduced).flatten()[at_hole] > 0.9  # the two answers differ
    expected = reproduced if kind == "plain eps" else filled
    assert (learnt - expected).abs().mean() < 0.06
    assert (learnt - expected).flatten()[at_hole].abs() < 0.1
