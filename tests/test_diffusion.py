from itertools import product

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

from maskdiff_edu import objectives
from maskdiff_edu.diffusion import (
    add_noise,
    ddim_step,
    ddpm_step,
    posterior,
    reconstruct,
    reconstruct_by_chain,
    sample,
)
from maskdiff_edu.masks import FPM, IPM, MIXED_BANDS, RELEASED_PATCHES, FPMCutMix
from maskdiff_edu.noise import fractal_noise, gaussian_noise
from maskdiff_edu.schedule import Schedule

both_schedules = pytest.mark.parametrize("name", ["linear", "cosine"])
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # float32 tables against float64 ones


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


def every_t(seed=0):
    """x_0, x_t and eps for each t: (1000, 1, 3, 3) float64."""
    generator = torch.Generator().manual_seed(seed)
    x_0, x_t, eps = torch.randn(3, 1000, 1, 3, 3, generator=generator, dtype=torch.float64)
    return x_0, x_t, eps, torch.arange(1000)


@both_schedules
def test_add_noise_follows_diffusers(name):
    x_0, _, eps, t = every_t()
    expected = reference(DDPMScheduler, name).add_noise(x_0, eps, t)
    assert_close(add_noise(x_0, t, eps, getattr(Schedule, name)()), expected, **TOLERANCE)


@both_schedules
def test_posterior_and_ddpm_step_follow_diffusers(name):
    x_0, x_t, _, t = every_t()
    scheduler, schedule = reference(DDPMScheduler, name), getattr(Schedule, name)()
    mean, variance = posterior(x_0, x_t, t, schedule)
    steps, eps = [], []
    for i in range(1000):
        steps.append(
            scheduler.step(x_0[i : i + 1], i, x_t[i : i + 1], torch.Generator().manual_seed(i))[0]
        )
        generator = torch.Generator().manual_seed(i)
        eps.append(torch.randn(1, 1, 3, 3, generator=generator, dtype=torch.float64))
    expected = torch.cat(steps)
    assert_close(ddpm_step(x_0, x_t, t, torch.cat(eps), schedule), expected, **TOLERANCE)

    variances = torch.stack([scheduler._get_variance(i) for i in range(1, 1000)])
    assert variance[0] == 0  # diffusers puts 1e-20 here
    assert_close(variance[1:].flatten(), variances, rtol=1e-5, atol=0)
    assert_close(mean[0], x_0[0], **TOLERANCE)


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
    ours = ddim_step(x_0, x_t, t, t - stride, schedule, eta=eta, eps=eps)
    assert_close(ours, torch.cat(steps), rtol=1e-9, atol=1e-9)
    in_float32 = ddim_step(x_0, x_t, t, t - stride, getattr(Schedule, name)(), eta=eta, eps=eps)
    assert_close(in_float32, torch.cat(steps), **TOLERANCE)


@both_schedules
def test_ddpm_is_ddim_with_eta_one(name):
    x_0, x_t, eps, t = every_t()
    schedule = getattr(Schedule, name)(dtype=torch.float64)
    stochastic = ddim_step(x_0, x_t, t, t - 1, schedule, eta=1.0, eps=eps)
    assert_close(stochastic, ddpm_step(x_0, x_t, t, eps, schedule))


def test_ddim_with_eta_needs_noise():
    x_0, x_t, _, t = every_t()
    with pytest.raises(ValueError, match="pass eps"):
        ddim_step(x_0, x_t, t, t - 1, Schedule.linear(), eta=0.5)


def test_the_variance_of_x_t_is_one_at_every_t():
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 40, 1, 100, 100, generator=generator)
    t = torch.linspace(0, 999, 40).long()
    variance = add_noise(x_0, t, eps, Schedule.cosine()).var(dim=(1, 2, 3))
    assert_close(variance, torch.ones(40), atol=0.07, rtol=0)


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
            lambda x, t: image, torch.randn(image.shape), range(999, -1, -50), schedule, eta=eta
        )
        assert t == 49 and torch.equal(x_0_hat, image)
        assert not torch.equal(x_t, image)


def test_sample_turns_predictions_into_images():
    image = torch.rand(2, 1, 8, 8)
    schedule = Schedule.cosine()

    def model(x_t, t):
        return objectives.target("v", image, x_t, t, schedule)

    def to_x_0(prediction, x_t, t):
        return objectives.to_x_0("v", prediction, x_t, t, schedule)

    for _, _, x_0_hat in sample(
        model, torch.randn(2, 1, 8, 8), [900, 300], schedule, to_x_0=to_x_0
    ):
        assert_close(x_0_hat, image, atol=1e-5, rtol=0)
    one_step = reconstruct(model, image, [100, 600], schedule, noise=gaussian_noise, to_x_0=to_x_0)
    assert_close(one_step, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("times", [[], [5, 5], [3, 7], [1000, 3], [4, -1]])
def test_times_that_do_not_fall_are_refused(times):
    with pytest.raises(ValueError, match=r"must fall within 999\.\.0"):
        list(sample(Recorder(), torch.zeros(1, 1, 4, 4), times, Schedule.linear()))


def test_reconstruct_averages_over_draws_and_times():
    schedule, model = Schedule.cosine(), Recorder()
    x_0 = torch.rand(3, 1, 32, 32)
    x_0_hat = reconstruct(model, x_0, [100, 200], schedule, draws=3, generator=torch.manual_seed(1))
    assert [t.unique().item() for _, t in model.seen] == [100] * 3 + [200] * 3
    assert_close(x_0_hat, torch.stack([0.5 * x_t for x_t, _ in model.seen]).mean(0))
    eps = fractal_noise(x_0.shape, generator=torch.manual_seed(1))
    assert_close(model.seen[0][0], add_noise(x_0, torch.full((3,), 100), eps, schedule))
    assert (model.seen[0][0] - model.seen[1][0]).abs().max() > 0.1  # a new noising each


def test_reconstruct_puts_the_answers_inside_the_boxes_together():
    """Each is asked for with the rest of the slice as it is, without noise."""
    x_0 = torch.rand(2, 1, 32, 32, generator=torch.manual_seed(0))
    model = Recorder()
    x_0_hat = reconstruct(model, x_0, 100, Schedule.linear(), box=16)
    assert len(model.seen) == 4
    for (x_t, _), (top, left) in zip(model.seen, product((0, 16), repeat=2), strict=True):
        box = (..., slice(top, top + 16), slice(left, left + 16))
        assert ((x_t != x_0).sum(dim=(2, 3)) == 256).all() and (x_t[box] != x_0[box]).all()
        assert_close(x_0_hat[box], 0.5 * x_t[box])


def test_reconstruct_takes_one_t_and_another_noise():
    schedule, model = Schedule.cosine(), Recorder()
    x_0 = torch.rand(2, 1, 4, 4)
    reconstruct(model, x_0, 0, schedule, noise=gaussian_noise, generator=torch.manual_seed(0))
    eps = torch.randn(x_0.shape, generator=torch.manual_seed(0))
    assert_close(model.seen[0][0], add_noise(x_0, torch.zeros(2).long(), eps, schedule))


@pytest.mark.parametrize("t, draws", [([], 1), (100, 0), (-1, 1), ([10, 1000], 1)])
def test_reconstruct_refuses_to_average_nothing(t, draws):
    with pytest.raises(ValueError, match="and at least one draw"):
        reconstruct(Recorder(), torch.zeros(1, 1, 32, 32), t, Schedule.linear(), draws=draws)


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


# Devices. Meta tensors have no values and fake CUDA tensors no GPU, yet both refuse to mix devices
# and to hand a value to Python, which on a GPU would wait for it.


class IndexingWithoutCuda(TorchFunctionMode):
    """Spells x[...] and ~x out in operators: Python's own way asks even here for a CUDA driver."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__invert__:
            return torch.bitwise_not(*args)
        if func is not torch.Tensor.__getitem__:
            return func(*args, **(kwargs or {}))
        x, index = args
        index = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in [i for i in index if not isinstance(i, torch.Tensor)]:
            at = index.index(Ellipsis)
            consumed = sum(i is not None for i in index) - 1
            index[at : at + 1] = [slice(None)] * (x.ndim - consumed)
        axis = 0
        for i in index:
            if i is None:
                x, axis = x.unsqueeze(axis), axis + 1
            elif isinstance(i, int):
                x = x.select(axis, i)
            elif isinstance(i, slice):
                x, axis = torch.ops.aten.slice(x, axis, i.start, i.stop, i.step or 1), axis + 1
            else:
                assert axis == 0 and len(index) == 1, "a tensor must be the only index"
                x = torch.ops.aten.index(x, [i])
        return x


def train_and_reconstruct(device, schedule):
    for name, table in list(schedule.named_buffers()):
        setattr(schedule, name, torch.empty(table.shape, device=device))

    def model(x_t, t):
        return 0.5 * x_t + t.view(-1, 1, 1, 1)

    images = torch.empty(4, 1, 96, 96, device=device)
    brain_masks = torch.empty(4, 1, 96, 96, device=device, dtype=torch.bool)
    box = objectives.draw_box((4, 96, 96), 48, device=device)
    losses = []
    for corrupt in (IPM(), IPM(RELEASED_PATCHES, "noise"), FPM(MIXED_BANDS, True), FPMCutMix()):
        x_0_masked = corrupt(images, brain_masks, None)
        t = objectives.draw_t(4, 50, 299, device=device)
        eps = fractal_noise(tuple(images.shape), device=device)
        x_t = add_noise(x_0_masked, t, eps, schedule)
        for kind in ("x_0", "eps", "v"):
            clean = objectives.target(kind, images, x_t, t, schedule)
            losses.append(objectives.loss(model(x_t, t), clean, weight_mask=box))
            losses.append(objectives.to_x_0(kind, clean, x_t, t, schedule))
    x_0_hat = reconstruct(model, images, [100, 150], schedule, draws=2)
    stitched = reconstruct(model, images, 100, schedule, box=48)
    chain = reconstruct_by_chain(model, images, [150, 75, 0], schedule)
    assert x_0_hat.shape == chain.shape == images.shape
    return {result.device.type for result in (*losses, x_0_hat, stitched, chain)}


def test_no_device_mix_up_on_the_meta_device():
    assert train_and_reconstruct("meta", Schedule.cosine()) == {"meta"}


def test_no_device_mix_up_and_no_hidden_synchronisation_on_fake_cuda():
    schedule = Schedule.cosine()
    with FakeTensorMode(), IndexingWithoutCuda():
        assert train_and_reconstruct("cuda", schedule) == {"cuda"}


def test_fake_cuda_catches_what_it_is_there_to_catch():
    with FakeTensorMode(), IndexingWithoutCuda():
        on_gpu = torch.empty(3, 1, 2, 2, device="cuda")
        with pytest.raises(DataDependentOutputException):
            on_gpu.sum().item()
        with pytest.raises(RuntimeError, match="device"):
            on_gpu + torch.empty(3, 1, 2, 2)
