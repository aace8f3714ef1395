import weakref
from itertools import product

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from maskdiff_edu.diffusion import (
    Schedule,
    Walk,
    add_noise,
    as_x_0,
    ddim_step,
    ddpm_step,
    fractal_noise,
    gaussian_noise,
    objectives,
    posterior,
    reconstruct,
    reconstruct_by_chain,
    sample,
)
from maskdiff_edu.diffusion.sampling import by_boxes
from maskdiff_edu.errors import SettingsError

both_schedules = pytest.mark.parametrize("name", ["linear", "cosine"])


def reference(scheduler_class, name, **options):
    """A diffusers scheduler of x_0 predictions whose tables are float64, made here with NumPy."""
    if name == "linear":
        betas = np.linspace(1e-4, 2e-2, 1000)
    else:
        time = np.arange(1001) / 1000
        curve = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - curve[1:] / curve[:-1], 0.999)
    scheduler = scheduler_class(
        1000, prediction_type="sample", clip_sample=False, trained_betas=betas, **options
    )
    scheduler.betas = torch.tensor(betas)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    scheduler.final_alpha_cumprod = scheduler.one
    return scheduler


def every_t():
    """x_0, x_t and eps for each t: (1000, 1, 3, 3) float64.

    In each column of row 0 one of the three is 1 and the others are 0. As everything here is
    linear in them, this row of a result holds the coefficients themselves.
    """
    drawn = torch.randn(3, 1000, 1, 3, 3, generator=seeded(), dtype=torch.float64)
    drawn[..., 0, :] = torch.eye(3, dtype=torch.float64)[:, None, None]
    return *drawn, torch.arange(1000)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_follows(ours, theirs):
    """To 1e-5 of every coefficient; sums of three may cancel, so they get some slack around 0."""
    assert_close(ours[..., 0, :], theirs[..., 0, :], rtol=1e-5, atol=0)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@both_schedules
def test_alphas_bar_follow_diffusers(name):
    scheduler, schedule = reference(DDPMScheduler, name), getattr(Schedule, name)()
    assert_close(schedule.alphas_bar.double(), scheduler.alphas_cumprod, rtol=1e-5, atol=0)
    assert_close(schedule.betas.double(), scheduler.betas, rtol=1e-5, atol=0)


@both_schedules
def test_add_noise_follows_diffusers(name):
    x_0, _, eps, t = every_t()
    expected = reference(DDPMScheduler, name).add_noise(x_0, eps, t)
    assert_follows(add_noise(x_0, t, eps, getattr(Schedule, name)()), expected)


@both_schedules
def test_posterior_and_ddpm_step_follow_diffusers(name, monkeypatch):
    x_0, x_t, eps, t = every_t()
    scheduler, schedule = reference(DDPMScheduler, name), getattr(Schedule, name)()
    mean, variance = posterior(x_0, x_t, t, schedule)

    def expected(noise):
        drawn = iter(noise[1:].split(1))  # at t = 0 diffusers draws none
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: next(drawn))
        pairs = zip(x_0.split(1), x_t.split(1), strict=True)
        return torch.cat(
            [scheduler.step(image, i, noised)[0] for i, (image, noised) in enumerate(pairs)]
        )

    assert_follows(mean, expected(torch.zeros_like(eps)))
    assert_follows(ddpm_step(x_0, x_t, t, eps, schedule), expected(eps))

    variances = torch.stack([scheduler._get_variance(i) for i in range(1, 1000)])
    assert variance[0] == 0  # diffusers puts 1e-20 here
    assert_close(variance[1:].flatten(), variances, rtol=1e-5, atol=0)


@both_schedules
@pytest.mark.parametrize("stride", [1, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_step_follows_diffusers(name, stride, eta):
    x_0, x_t, eps, t = every_t()
    scheduler = reference(DDIMScheduler, name, timestep_spacing="leading")
    scheduler.set_timesteps(1000 // stride)
    steps = [
        scheduler.step(
            x_0[i : i + 1], i, x_t[i : i + 1], eta=eta, variance_noise=eps[i : i + 1]
        ).prev_sample
        for i in range(1000)
    ]
    schedule = getattr(Schedule, name)(dtype=torch.float64)
    fresh = (eta, eps) if eta else None
    ours = ddim_step(x_0, x_t, t, t - stride, schedule, fresh)
    assert_close(ours, torch.cat(steps), rtol=1e-9, atol=1e-9)
    # The coefficient of x_0 is a difference of nearly equal numbers, which float32 cannot hold.
    in_float32 = ddim_step(x_0, x_t, t, t - stride, getattr(Schedule, name)(), fresh)
    assert_close(in_float32, torch.cat(steps), rtol=1e-5, atol=1e-6)


@both_schedules
def test_ddpm_is_ddim_with_eta_one(name):
    x_0, x_t, eps, t = every_t()
    schedule = getattr(Schedule, name)(dtype=torch.float64)
    stochastic = ddim_step(x_0, x_t, t, t - 1, schedule, fresh=(1.0, eps))
    assert_close(stochastic, ddpm_step(x_0, x_t, t, eps, schedule))


def test_no_fresh_noise_is_that_of_eta_zero():
    x_0, x_t, eps, t = every_t()
    fixed = ddim_step(x_0, x_t, t, t - 1, Schedule.linear())
    assert_close(ddim_step(x_0, x_t, t, t - 1, Schedule.linear(), (0.0, eps)), fixed)


NOISES = {"gaussian": gaussian_noise, "fractal": fractal_noise}
SAMPLES = {name: noise((4000, 1, 16, 16), generator=seeded(1)) for name, noise in NOISES.items()}
WHITE = gaussian_noise((4000, 1, 16, 16), generator=seeded(2))  # images of unit variance


@both_schedules
@pytest.mark.parametrize("noise", NOISES)
@settings(max_examples=25)
@given(t=st.integers(0, 999), spread=st.floats(0, 2))
def test_the_variance_of_x_t_is_that_of_its_parts(name, noise, t, spread):
    """alphas_bar of the image's variance and the rest of 1: so 1 for an image of unit variance."""
    schedule = getattr(Schedule, name)()
    times = torch.full((4000,), t)
    x_t = add_noise(spread * WHITE, times, SAMPLES[noise], schedule)
    alphas_bar = schedule.alphas_bar[t]
    assert_close(x_t.var(), alphas_bar * spread**2 + 1 - alphas_bar, rtol=0.02, atol=0)


# Sampling and reconstruction


class Recorder:
    """A model that answers a fixed fraction of its input and remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, x_t, t):
        self.seen.append((x_t.clone(), t.clone()))
        return 0.5 * x_t


def test_sample_walks_down_like_a_loop_of_ddpm_steps():
    schedule = Schedule.linear(20, dtype=torch.float64)
    start = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    walk = list(
        sample(Recorder(), start, range(19, -1, -1), schedule, generator=torch.manual_seed(3))
    )
    assert [t for t, _, _ in walk] == list(range(19, -1, -1))
    x_t, generator = start, torch.manual_seed(3)
    for t, yielded, x_0_hat in walk:
        assert_close(yielded, x_t)
        assert_close(x_0_hat, 0.5 * x_t)
        eps = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype) if t else 0
        x_t = ddpm_step(0.5 * x_t, x_t, torch.tensor([t, t]), eps, schedule)
    assert_close(walk[-1][2], x_t)  # the last answer is the sample


def test_sampling_with_a_perfect_model_returns_its_image():
    image = torch.rand(2, 1, 16, 16)
    schedule = Schedule.cosine()
    for eta in (0.0, 1.0):
        *_, (t, x_t, x_0_hat) = sample(
            lambda x, t: image, torch.randn(image.shape), Walk(range(999, -1, -50), eta), schedule
        )
        assert t == 49 and torch.equal(x_0_hat, image)
        assert not torch.equal(x_t, image)


def test_sample_turns_predictions_into_images():
    image = torch.rand(2, 1, 8, 8)
    schedule = Schedule.cosine()

    def answers_v(x_t, t):
        return objectives.target("v", image, x_t, t, schedule)

    model = as_x_0(answers_v, "v", schedule)
    for _, _, x_0_hat in sample(model, torch.randn(2, 1, 8, 8), [900, 300], schedule):
        assert_close(x_0_hat, image, atol=1e-5, rtol=0)
    one_step = reconstruct(model, image, [100, 600], schedule, noise=gaussian_noise)
    assert_close(one_step, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("times", [[], [5, 5], [3, 7], [1000, 3], [4, -1]])
def test_times_that_do_not_fall_are_refused(times):
    with pytest.raises(ValueError, match=r"times: expected a fall within 999\.\.0"):
        list(sample(Recorder(), torch.zeros(1, 1, 4, 4), times, Schedule.linear()))
    with pytest.raises(ValueError, match=r"times: expected a fall within 999\.\.0"):
        reconstruct_by_chain(Recorder(), torch.zeros(1, 1, 32, 32), times, Schedule.linear())


def test_reconstruct_averages_over_draws_and_times():
    schedule, model = Schedule.cosine(), Recorder()
    x_0, times = torch.rand(3, 1, 32, 32), [100] * 3 + [200] * 3
    x_0_hat = reconstruct(model, x_0, times, schedule, generator=torch.manual_seed(1))
    assert [t.unique().item() for _, t in model.seen] == times
    assert_close(x_0_hat, torch.stack([0.5 * x_t for x_t, _ in model.seen]).mean(0))
    eps = fractal_noise(x_0.shape, generator=torch.manual_seed(1))
    assert_close(model.seen[0][0], add_noise(x_0, torch.full((3,), 100), eps, schedule))
    assert (model.seen[0][0] - model.seen[1][0]).abs().max() > 0.1  # a new noising each


def test_reconstruct_puts_the_answers_inside_the_boxes_together():
    """Each is asked for with the rest of the slice as it is, without noise."""
    x_0 = torch.rand(2, 1, 32, 32, generator=torch.manual_seed(0))
    model = Recorder()
    x_0_hat = reconstruct(by_boxes(model, x_0, 16), x_0, 100, Schedule.linear())
    assert len(model.seen) == 4
    for (x_t, _), (top, left) in zip(model.seen, product((0, 16), repeat=2), strict=True):
        box = (..., slice(top, top + 16), slice(left, left + 16))
        assert ((x_t != x_0).sum(dim=(2, 3)) == 256).all() and (x_t[box] != x_0[box]).all()
        assert_close(x_0_hat[box], 0.5 * x_t[box])


def test_reconstruct_turns_predictions_into_images_box_by_box():
    model, schedule = Recorder(), Schedule.linear()
    x_0 = torch.rand(2, 1, 32, 32)
    boxed = by_boxes(as_x_0(model, "v", schedule), x_0, 32)
    x_0_hat = reconstruct(boxed, x_0, 100, schedule)
    (x_t, t) = model.seen[0]
    assert_close(x_0_hat, objectives.to_x_0("v", 0.5 * x_t, x_t, t, schedule))


def test_a_model_answering_x_0_keeps_its_device_mode_and_weights():
    """And leaves the caller's schedule where it is, while its own copy moves along."""
    net, schedule = torch.nn.Bilinear(2, 2, 2), Schedule.cosine()
    assert as_x_0(net, "x_0", schedule) is net
    wrapped = as_x_0(net, "eps", schedule).eval().to("meta")
    assert not net.training and {p.device.type for p in net.parameters()} == {"meta"}
    assert [id(p) for p in wrapped.parameters()] == [id(p) for p in net.parameters()]
    assert {table.device.type for table in wrapped.buffers()} == {"meta"}
    assert schedule.betas.device.type == "cpu"
    with pytest.raises(SettingsError, match='prediction: expected "x_0", "eps" or "v", got \'x\''):
        as_x_0(net, "x", schedule)


@pytest.mark.parametrize("call", ["reconstruct", "boxes", "chain"])
def test_no_gradients_are_kept_and_the_dtype_stays(call):
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    x_0, schedule = torch.zeros(2, 1, 32, 32, dtype=torch.float64), Schedule.linear()

    def model(x_t, t):
        return weight * x_t

    if call == "chain":
        x_0_hat = reconstruct_by_chain(model, x_0, [200, 100], schedule)
    else:
        asked = by_boxes(model, x_0, 16) if call == "boxes" else model
        x_0_hat = reconstruct(asked, x_0, 200, schedule)
    assert not x_0_hat.requires_grad and x_0_hat.dtype == torch.float64
    for _, x_t, x_0_hat in sample(model, x_0, [200, 100], schedule):
        assert not x_0_hat.requires_grad and x_t.dtype == x_0_hat.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_images_keep_their_dtype(dtype):
    """The schedule's tables are float32 and follow the images."""
    x_0, eps = torch.ones(2, 2, 1, 4, 4, dtype=dtype)
    t, schedule = torch.tensor([10, 500]), Schedule.linear()
    x_t = add_noise(x_0, t, eps, schedule)
    mean, variance = posterior(x_0, x_t, t, schedule)
    step = ddim_step(x_0, x_t, t, t - 1, schedule, fresh=(0.5, eps))
    assert {x.dtype for x in (x_t, mean, variance, step)} == {dtype}


def test_reconstruct_takes_one_t_and_another_noise():
    schedule, model = Schedule.cosine(), Recorder()
    x_0 = torch.rand(2, 1, 4, 4)
    reconstruct(model, x_0, 0, schedule, noise=gaussian_noise, generator=torch.manual_seed(0))
    eps = torch.randn(x_0.shape, generator=torch.manual_seed(0))
    assert_close(model.seen[0][0], add_noise(x_0, torch.zeros(2).long(), eps, schedule))


@pytest.mark.parametrize("t", [[], [100] * 0, -1, [10, 1000]])
def test_reconstruct_refuses_to_average_nothing(t):
    with pytest.raises(ValueError, match=r"t: expected one time or more in 0\.\.999, got"):
        reconstruct(Recorder(), torch.zeros(1, 1, 32, 32), t, Schedule.linear())


def test_reconstruct_by_chain_starts_from_the_noised_scan():
    schedule, model = Schedule.cosine(), Recorder()
    x_0 = torch.rand(2, 1, 32, 32)
    x_0_hat = reconstruct_by_chain(
        model, x_0, [200, 100, 0], schedule, generator=torch.manual_seed(1)
    )
    eps = fractal_noise(x_0.shape, generator=torch.manual_seed(1))
    assert [t[0].item() for _, t in model.seen] == [200, 100, 0]
    assert_close(model.seen[0][0], add_noise(x_0, torch.full((2,), 200), eps, schedule))
    assert torch.equal(x_0_hat, 0.5 * model.seen[-1][0])


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_the_chain_goes_on_as_sample_does(eta):
    """With the same noise, generator and eta."""
    schedule, x_0 = Schedule.cosine(), torch.rand(2, 1, 32, 32)
    walk, options = Walk([200, 100, 0], eta), {"noise": fractal_noise}
    generator = seeded(1)
    x_0_hat = reconstruct_by_chain(Recorder(), x_0, walk, schedule, generator=generator, **options)
    generator = seeded(1)
    eps = fractal_noise(x_0.shape, generator=generator)
    x_t = add_noise(x_0, torch.full((2,), 200), eps, schedule)
    stops = sample(Recorder(), x_t, walk, schedule, generator=generator, **options)
    *_, (_, _, expected) = stops
    assert_close(x_0_hat, expected)


def test_a_chain_keeps_only_the_present_stop():
    """A hundred stops of a whole brain would fill the memory."""
    answers, alive = [], []

    def model(x_t, t):
        answer = 0.5 * x_t
        answers.append(weakref.ref(answer))
        alive.append(sum(kept() is not None for kept in answers))
        return answer

    reconstruct_by_chain(model, torch.zeros(1, 1, 32, 32), range(99, -1, -1), Schedule.cosine())
    assert len(alive) == 100
    assert max(alive) <= 3
