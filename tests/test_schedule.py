import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from torch.testing import assert_close

from maskdiff_edu.diffusion import Schedule
from maskdiff_edu.diffusion.schedule import cosine_betas, linear_betas

NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


@pytest.mark.parametrize("name", NAMES)
def test_tables_follow_diffusers(name):
    theirs = DDPMScheduler(1000, beta_start=1e-4, beta_end=2e-2, beta_schedule=NAMES[name])
    betas = getattr(Schedule, name)(dtype=torch.float64).betas
    assert_close(betas, theirs.betas.double(), rtol=1e-5, atol=0)

    ours = getattr(Schedule, name)()
    exact = np.cumprod(1 - betas.numpy())  # float64
    assert ours.alphas_bar.dtype == torch.float32
    assert_close(ours.alphas_bar.double(), torch.tensor(exact), rtol=1e-5, atol=0)
    assert_close(ours.one_minus_alphas_bar.double(), torch.tensor(1 - exact), rtol=1e-5, atol=0)
    snr = ours.snr(torch.arange(1000)).double()
    assert_close(snr, torch.tensor(exact / (1 - exact)), rtol=1e-5, atol=0)


def test_snr_at_the_papers_t_depends_on_the_schedule():
    assert_close(Schedule.cosine().snr(499), torch.tensor(0.976), rtol=1e-3, atol=0)
    assert_close(Schedule.linear().snr(499), torch.tensor(0.085), rtol=5e-3, atol=0)


@pytest.mark.parametrize("schedule", [Schedule.linear(), Schedule.cosine(), Schedule.cosine(50)])
def test_t_with_snr_undoes_snr(schedule):
    for t in (0, 1, schedule.T // 2, schedule.T - 1):
        assert schedule.t_with_snr(schedule.snr(t).item()) == t


def test_t_with_snr_takes_the_nearest_on_a_log_scale():
    schedule = Schedule.linear()
    snr = schedule.snr(torch.arange(1000)).log()
    for wanted in (0.05, 1.0, 20.0):
        t = schedule.t_with_snr(wanted)
        assert abs(snr[t] - np.log(wanted)) == (snr - np.log(wanted)).abs().min()


@pytest.mark.parametrize("snr", [0.0, -1.0, 1e-12, 1e9, float("nan")])
def test_an_snr_that_never_occurs_is_refused(snr):
    with pytest.raises(ValueError, match="snr: expected a number from"):
        Schedule.linear().t_with_snr(snr)


@pytest.mark.parametrize("betas", [torch.zeros(3), torch.ones(3), torch.full((2, 2), 0.1)])
def test_impossible_betas_are_refused(betas):
    with pytest.raises(ValueError, match="betas: expected one row"):
        Schedule(betas)


def test_tables_are_buffers_that_move_together():
    schedule = Schedule.cosine(10)
    assert schedule.T == 10 and not list(schedule.parameters())
    moved = Schedule.cosine(10).to("meta")
    assert len(dict(moved.named_buffers())) == 6
    assert all(table.is_meta and table.shape == (10,) for table in moved.buffers())


def test_end_points():
    assert_close(linear_betas(5)[[0, -1]], torch.tensor([1e-4, 2e-2], dtype=torch.float64))
    assert cosine_betas(1000)[-1] == 0.999
    assert Schedule.linear().alphas_bar[-1] < 1e-4 and Schedule.cosine().alphas_bar[-1] < 1e-8


def test_nearest_means_nearest_by_ratio():
    schedule = Schedule(torch.tensor([1 / 11, 0.45, 9 / 11]))  # SNR 10, 1 and .1
    assert_close(schedule.snr(torch.arange(3)), torch.tensor([10.0, 1.0, 0.1]))
    assert schedule.t_with_snr(4) == 0  # 2.5 times less than 10, 4 times more than 1
