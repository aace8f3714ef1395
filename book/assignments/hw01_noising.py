"""Assignment 1, noising: hidden tests, other right solutions, and the mistakes they must catch."""

import numpy as np

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw01_noising import (
    CHAPTER,
    betas_of,
    half_way_of,
    in_order,
    snr_of,
)
from maskdiff_edu.course.tasks import Answer, Given, Tests, close

TESTS = Tests()


@TESTS("q1", points=2, says="the betas between the first and the last")
def betas_between(answer: Answer, given: Given) -> None:
    rng = given.rng("betas_between")
    T, first = int(rng.integers(40, 90)), float(rng.uniform(1e-4, 1e-3))
    want = betas_of(given, T, first, 0.1)
    plain, roots = np.linspace(first, 0.1, T), np.linspace(first**0.5, 0.1**0.5, T) ** 2
    mistakes = {
        "these are equally spaced themselves; your course spaces the square roots": plain,
        "these are spaced by their square roots; your course spaces the betas themselves": roots,
        "these grow by equal factors; your course asks for equal steps": np.geomspace(
            first, 0.1, T
        ),
    }
    close(answer.betas(T, first, 0.1), want, "betas in between", mistakes, see=CHAPTER)


@TESTS("q1", points=2, says="what is left after many steps")
def alphas_bar_of_many(answer: Answer, given: Given) -> None:
    betas = given.rng("alphas_bar_of_many").uniform(1e-4, 0.05, 300)
    left = np.exp(np.log1p(-betas).cumsum())
    mistakes = {
        "these are shifted by one: alphas_bar[t] is what is left after step t": np.concatenate(
            [[1.0], left[:-1]]
        ),
        "this adds the betas up in the exponent, which is near but not equal": np.exp(
            -betas.cumsum()
        ),
    }
    close(answer.alphas_bar(betas), left, "alphas_bar", mistakes, see=CHAPTER)


@TESTS("q2", points=2, says="half way, on schedules of other lengths")
def half_way_elsewhere(answer: Answer, given: Given) -> None:
    rng = given.rng("half_way_elsewhere")
    for _ in range(3):
        left = np.cumprod(1 - rng.uniform(0.001, 0.02, int(rng.integers(200, 700))))
        want, other = half_way_of(given, int(np.flatnonzero(left <= 0.5)[0]))
        mistakes = {
            f"your course asks for another time, {given.HALF_WAY}": other,
            "this counts from 1; times run from 0 to T - 1": want + 1,
            "this compares amplitudes; half of the power is asked for": half_way_of(
                given, int(np.flatnonzero(left**0.5 <= 0.5)[0])
            )[0],
        }
        close(answer.half_way(left), want, f"half way, {given.HALF_WAY}", mistakes)


@TESTS("q2", points=1, says="the SNR of a whole schedule")
def snr_of_a_schedule(answer: Answer, given: Given) -> None:
    left = np.cumprod(1 - given.rng("snr").uniform(0.001, 0.02, 200))
    want, mistakes = snr_of(given, left)
    close(answer.snr(left), want, "snr(alphas_bar)", mistakes, see=CHAPTER)


@TESTS("q3", points=3, says="a batch in which every image has its own time")
def jump_of_a_batch(answer: Answer, given: Given) -> None:
    rng = given.rng("jump_of_a_batch")
    b, h, w = int(rng.integers(3, 6)), 6, 8
    x_0, eps = rng.uniform(-1, 1, (b, 1, h, w)), rng.standard_normal((b, 1, h, w))
    left = np.cumprod(1 - rng.uniform(0.01, 0.1, 40))
    t = rng.permutation(40)[:b]
    share = left[t].reshape(-1, 1, 1, 1)
    want = np.sqrt(share) * x_0 + np.sqrt(1 - share) * eps
    first = left[t[0]]
    mistakes = {
        "every image has the noise level of the first": np.sqrt(first) * x_0
        + np.sqrt(1 - first) * eps,
        "the noise drawn is another than the `eps` that was given": want - np.sqrt(1 - share) * eps,
    }
    close(answer.q_sample(x_0, t, eps, left), want, "x_t of a batch", mistakes, see=CHAPTER)


@TESTS("q4", points=2, says="both variances of a noisy batch")
def variances_of_noise(answer: Answer, given: Given) -> None:
    rng = given.rng("variances_of_noise")
    image, n = rng.uniform(-1, 1, (1, 1, 8, 8)), int(rng.integers(20, 40))
    x_t = 0.6 * image + 0.8 * rng.standard_normal((n, 1, 8, 8))
    of_all, of_a_pixel = x_t.var(), x_t.var(axis=0).mean()
    want = in_order(given, of_all, of_a_pixel)
    mistakes = {
        "the two numbers are in the other order": want[::-1],
        "these are standard deviations": in_order(given, x_t.std(), x_t.std(axis=0).mean()),
        "that of a pixel is the variance of the pixels' means": in_order(
            given, of_all, x_t.mean(axis=0).var()
        ),
    }
    close(answer.variances(x_t), want, "the two variances", mistakes, rtol=0.06, see=CHAPTER)


# Right solutions, written differently.
EQUIVALENTS = {
    "loops": {
        "q1": """
def betas(T, first, last):
    out = []
    for t in range(T):
        share = t / (T - 1)
        with SCHEDULE == "in equal steps":
            out.append(first + share * (last - first))
        with SCHEDULE == "in equal steps of their square roots":
            out.append((first**0.5 + share * (last**0.5 - first**0.5)) ** 2)
    return out

def alphas_bar(betas):
    left, out = 1.0, []
    for beta in betas:
        left *= 1 - beta
        out.append(left)
    return out
""",
        "q2": """
def snr(alphas_bar):
    with SNR == "as a plain ratio":
        return [a / (1 - a) for a in alphas_bar]
    with SNR == "in decibels":
        return [10 * (np.log10(a) - np.log10(1 - a)) for a in alphas_bar]

def half_way(alphas_bar):
    for t, a in enumerate(alphas_bar):
        if a <= 1 - a:
            with HALF_WAY == "the first with at least as much noise as signal":
                return t
            with HALF_WAY == "the last with more signal than noise":
                return t - 1
""",
        "q3": """
def q_sample(x_0, t, eps, alphas_bar):
    x_t = np.empty_like(x_0)
    for i in range(len(x_0)):
        a = alphas_bar[t[i]]
        x_t[i] = a**0.5 * x_0[i] + (1 - a) ** 0.5 * eps[i]
    return x_t
""",
    },
    "torch": {
        "q1": """
import torch

def betas(T, first, last):
    with SCHEDULE == "in equal steps":
        return torch.linspace(first, last, T, dtype=torch.float64)
    with SCHEDULE == "in equal steps of their square roots":
        return torch.linspace(first**0.5, last**0.5, T, dtype=torch.float64) ** 2

def alphas_bar(betas):
    return torch.exp(torch.log1p(-torch.as_tensor(betas)).cumsum(0))
""",
        "q3": """
def q_sample(x_0, t, eps, alphas_bar):
    a = torch.as_tensor(alphas_bar)[torch.as_tensor(t)][:, None, None, None]
    return a.sqrt() * torch.as_tensor(x_0) + (1 - a).sqrt() * torch.as_tensor(eps)
""",
        "q4": """
def variances(x_t):
    x = torch.as_tensor(x_t)
    both = torch.stack([x.var(), x.var(dim=0).mean()])
    with ORDER == "first that of all values, then that of a pixel":
        return both
    with ORDER == "first that of a pixel, then that of all values":
        return both.flip(0)
""",
    },
}

# Each is one replacement in the solution of one exercise, and loses these tests and no others.
MISTAKES = [
    Mistake(
        "q1",
        "the single step for the product",
        "np.cumprod(1 - betas)",
        "1 - betas",
        loses=("alphas_bar_of_three", "alphas_bar_of_many"),
        says="each single step",
    ),
    Mistake(
        "q1",
        "the product of the betas",
        "np.cumprod(1 - betas)",
        "np.cumprod(betas)",
        loses=("alphas_bar_of_three", "alphas_bar_of_many"),
        says="multiplies the betas",
    ),
    Mistake(
        "q1",
        "shifted by one step",
        "np.cumprod(1 - betas)",
        "np.concatenate([[1.0], np.cumprod(1 - betas)[:-1]])",
        loses=("alphas_bar_of_three", "alphas_bar_of_many"),
        says="shifted by one",
    ),
    Mistake(
        "q1",
        "another spacing",
        told="SCHEDULE",
        loses=("betas_begin_and_end", "betas_between"),
        says="your course spaces",
    ),
    Mistake(
        "q2",
        "noise over signal",
        "alphas_bar / (1 - alphas_bar)",
        "(1 - alphas_bar) / alphas_bar",
        loses=("snr_where_it_is_known", "snr_of_a_schedule"),
        says="upside down",
    ),
    Mistake(
        "q2",
        "decibels, or none",
        told="SNR",
        loses=("snr_where_it_is_known", "snr_of_a_schedule"),
        says="in your course the ratio is given",
    ),
    Mistake(
        "q2",
        "amplitudes for powers",
        "alphas_bar <= 0.5",
        "alphas_bar**0.5 <= 0.5",
        loses=("half_way_where_it_is_easy", "half_way_elsewhere"),
        says="amplitudes",
    ),
    Mistake(
        "q2",
        "the time beside it",
        told="HALF_WAY",
        loses=("half_way_where_it_is_easy", "half_way_elsewhere"),
        says="asks for another time",
    ),
    Mistake(
        "q3",
        "no square root on the image",
        "np.sqrt(left) * x_0",
        "left * x_0",
        loses=("jump_without_noise", "jump_of_a_batch"),
        says="fades with the square root",
    ),
    Mistake(
        "q3",
        "no square root on the noise",
        "np.sqrt(1 - left) * eps",
        "(1 - left) * eps",
        loses=("jump_without_noise", "jump_of_a_batch"),
        says="its variance",
    ),
    Mistake(
        "q3",
        "one time for the whole batch",
        "[t].reshape(-1, 1, 1, 1)",
        "[t[0]]",
        loses=("jump_without_noise", "jump_of_a_batch"),
        says="",
    ),
    Mistake(
        "q4",
        "the variance within an image",
        "x_t.var(axis=0).mean()",
        "x_t.var(axis=(1, 2, 3)).mean()",
        loses=("two_variances", "variances_of_noise"),
        says="within each image",
    ),
    Mistake(
        "q4",
        "the variance of the mean image",
        "x_t.var(axis=0).mean()",
        "x_t.mean(axis=0).var()",
        loses=("two_variances", "variances_of_noise"),
        says="variance of the pixels' means",
    ),
    Mistake(
        "q4",
        "the other order",
        told="ORDER",
        loses=("two_variances", "variances_of_noise"),
        says="in the other order",
    ),
]
