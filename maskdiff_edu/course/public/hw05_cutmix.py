"""Assignment 5, CutMix and the training step: the tests that students have."""

from typing import Any

import numpy as np
import torch

from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()
CUTMIX = "book/ch06_cutmix.html"
FILL_IN = "book/ch07_denoise_or_fill_in.html"
SWAPPED = "the two are the other way round: the patch stays and all around it is pasted"


def box(shape: tuple[int, ...], top: int, left: int, height: int, width: int) -> torch.Tensor:
    """One rectangle, the same in every slice: bool of this shape."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[..., top : top + height, left : left + width] = True
    return mask


def parts(got: Any, n: int, what: str) -> Any:
    """What came, if it is `n` things. Raises: Wrong, in words for a function that returns less."""
    require(
        isinstance(got, (tuple, list, dict)) or np.ndim(got) > 0,
        f"{what}: expected {n} things, got {type(got).__name__}; does the function return them?",
    )
    require(len(got) == n, f"{what}: expected {n} things, got {len(got)}")
    return got


def errors_of(given: Given, difference: np.ndarray) -> np.ndarray:
    """The course's error, pixel by pixel."""
    return np.abs(difference) if given.ERROR == "absolute" else difference**2


@TESTS("q1", points=1, says="one patch, pasted at its place")
def cutmix_of_one(answer: Answer, given: Given) -> None:
    x = torch.arange(16, dtype=torch.float64).reshape(1, 1, 4, 4)
    other, patch_mask = 100 + 2 * x, box((1, 1, 4, 4), 1, 0, 2, 3)
    mistakes = {
        SWAPPED: np.where(patch_mask, x, other),
        "inside the patch both are mixed half and half; there the other image takes over": np.where(
            patch_mask, (x + other) / 2, x
        ),
        "nothing was pasted": x,
        "this is the whole other image": other,
    }
    got = answer.cutmix(x, other, patch_mask)
    close(got, np.where(patch_mask, other, x), "cutmix", mistakes, see=CUTMIX)


@TESTS("q1", points=1, says="the share that stays, with a patch that reaches over the edge")
def kept_share_of_two(answer: Answer, given: Given) -> None:
    brain_mask = torch.ones((2, 1, 4, 4), dtype=torch.bool)
    brain_mask[0, :, 3] = False  # of the first slice, the last row is background
    patch_mask = box((2, 1, 4, 4), 2, 0, 2, 2)
    mistakes = {
        "this is the share that is pasted, not the one that stays": [2 / 12, 4 / 16],
        "this is a share of the whole picture; divide by the brain's pixels": [14 / 16, 12 / 16],
        "what the patch covers of the background was counted too": [8 / 12, 12 / 16],
        "this is the share of the whole picture that the patch leaves": [12 / 16, 12 / 16],
    }
    got = answer.kept_share(patch_mask, brain_mask)
    close(got, [10 / 12, 12 / 16], "kept_share", mistakes, see=CUTMIX)


@TESTS("q2", points=1, says="two striped slices of which the finest pattern is kept")
def composite_of_stripes(answer: Answer, given: Given) -> None:
    row, column = np.indices((8, 8))
    strength, mean = (np.reshape(two, (2, 1, 1, 1)) for two in ((0.3, -0.2), (0.2, -0.1)))
    finest, stripes = strength * (-1.0) ** (row + column), 0.1 * np.cos(2 * np.pi * column / 8)
    x_0, shape = torch.from_numpy(mean + finest + stripes), (2, 1, 8, 8)
    everywhere, patch_mask = box(shape, 0, 0, 8, 8), box(shape, 2, 1, 3, 5)
    band_mask = box(shape, 0, 0, 1, 1)  # the highest frequency of both axes
    kept, removed = mean + finest, finest - 1
    want, other = (kept, removed) if given.MEAN == "kept" else (removed, kept)
    mistakes = {
        f"the mean brightness is {given.MEAN} in your course; here it is not": np.where(
            patch_mask, other, x_0
        ),
        "the patches were pasted from another slice of the batch": np.where(
            patch_mask, want[::-1], x_0
        ),
        "this is the whole slice filtered: FPM without CutMix": np.broadcast_to(want, x_0.shape),
        SWAPPED: np.where(patch_mask, x_0, want),
        "nothing was pasted": x_0,
    }
    got = answer.fpm_cutmix(x_0, everywhere, band_mask, patch_mask)
    close(got, np.where(patch_mask, want, x_0), "fpm_cutmix", mistakes, see=CUTMIX)


@TESTS("q3", points=1, says="first hidden, then noised: two even slices with a patch")
def x_t_of_two(answer: Answer, given: Given) -> None:
    shape = (2, 1, 4, 4)
    x_0, pasted, eps = (torch.full(shape, v, dtype=torch.float64) for v in (0.5, -0.25, 1.0))
    patch_mask, alphas_bar = box(shape, 1, 1, 2, 2), torch.tensor([0.81, 0.36]).double()
    hidden = np.where(patch_mask, pasted, x_0)
    signal, noise = (np.reshape(two, (2, 1, 1, 1)) for two in ((0.6, 0.9), (0.8, 0.19**0.5)))
    noised = signal * x_0.numpy() + noise
    mistakes = {
        "noise was added before hiding, so the patch is free of noise": np.where(
            patch_mask, pasted, noised
        ),
        "the patch has faded, but no noise was added to it": np.where(
            patch_mask, signal * pasted.numpy(), noised
        ),
        "the clean slice was noised; nothing was hidden": noised,
        "both factors are powers; amplitudes go with their square roots": signal**2 * hidden
        + noise**2,
        "signal and noise have each other's factor": noise * hidden + signal,
        "both slices have the noise level of the first": 0.6 * hidden + 0.8,
        "the levels are in the order of alphas_bar; `t` says which one is asked for": (
            signal[::-1] * hidden + noise[::-1]
        ),
    }
    t = torch.tensor([1, 0])
    got = answer.training_pair(x_0, pasted, patch_mask, t, eps, alphas_bar, "x_0")
    want = signal * hidden + noise
    close(parts(got, 2, "training_pair")[0], want, "x_t", mistakes, see=FILL_IN)


@TESTS("q3", points=0.5, says='the target of a network that answers with "x_0"')
def target_of_x_0(answer: Answer, given: Given) -> None:
    x_0 = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(2, 1, 4, 4)
    pasted, patch_mask, eps = -x_0, box((2, 1, 4, 4), 1, 1, 2, 2), torch.full_like(x_0, 0.5)
    alphas_bar, t = torch.tensor([0.81, 0.36]).double(), torch.tensor([0, 1])
    got = answer.training_pair(x_0, pasted, patch_mask, t, eps, alphas_bar, "x_0")
    x_t, target = parts(got, 2, "training_pair")
    mistakes = {
        "this is the corrupted slice: with it the network learns to keep the patches": np.where(
            patch_mask, pasted, x_0
        ),
        "only the patches are asked for; the target is the whole clean slice": x_0 * patch_mask,
        "this is the noise; with this prediction the slice itself is asked for": eps,
        "this is x_t, the noisy slice": x_t,
    }
    close(target, x_0, 'the target for "x_0"', mistakes, see=FILL_IN)


@TESTS("q3", points=0.5, says="the image that the target of your course's prediction stands for")
def target_stands_for_x_0(answer: Answer, given: Given) -> None:
    shape, alphas_bar = (2, 1, 4, 4), torch.tensor([0.81, 0.36]).double()
    x_0, pasted, eps = (torch.full(shape, v, dtype=torch.float64) for v in (0.5, -0.25, 1.0))
    patch_mask, t = box(shape, 1, 1, 2, 2), torch.tensor([1, 0])
    got = answer.training_pair(x_0, pasted, patch_mask, t, eps, alphas_bar, given.KIND)
    x_t, target = (array(part, shape, "training_pair") for part in parts(got, 2, "training_pair"))
    signal, noise = (np.reshape(two, (2, 1, 1, 1)) for two in ((0.6, 0.9), (0.8, 0.19**0.5)))
    both = {"eps": (x_t - noise * target) / signal, "v": signal * x_t - noise * target}
    what = f'the image that your target for "{given.KIND}" stands for, by the table'
    clean = x_0.numpy()
    [other] = [image for kind, image in both.items() if kind != given.KIND]
    require(
        not np.allclose(other, clean) or np.allclose(both[given.KIND], clean),
        f'{what}, is not the clean slice; your target is that of another row than "{given.KIND}"',
        FILL_IN,
    )
    hidden = np.where(patch_mask, pasted, x_0)
    mistakes = {"this is the slice with the patches; the network learns to keep them": hidden}
    close(both[given.KIND], clean, what, mistakes, see=FILL_IN)


@TESTS("q4", points=1, says="three losses of two slices, with patches of two sizes")
def losses_of_two(answer: Answer, given: Given) -> None:
    target = torch.zeros((2, 1, 4, 4), dtype=torch.float64)
    patch_mask = torch.cat([box((1, 1, 4, 4), 0, 0, 1, 2), box((1, 1, 4, 4), 0, 0, 3, 2)])
    guess = torch.where(patch_mask, 3.0, 0.5).double()
    guess[1] *= 0.5
    guess[..., 3] *= -1
    error = errors_of(given, guess.numpy())
    pairs = list(zip(error, patch_mask.numpy(), strict=True))
    each = np.array([[e[p].mean(), e[~p].mean()] for e, p in pairs]).mean(axis=0)
    inside, outside = error[patch_mask].mean(), error[~patch_mask].mean()
    other = np.abs(guess.numpy()) if given.ERROR == "squared" else guess.numpy() ** 2
    mistakes = {
        "only the hidden part counts in this loss; it is the mean over all pixels": inside,
        "only what is outside of the patches counts in this loss": outside,
        "the small patch weighs as much as all the rest; take the mean over the pixels": (
            inside + outside
        )
        / 2,
        "this is the sum; the loss is a mean": error.sum(),
        f"in your course the error is {given.ERROR}": other.mean(),
        "errors of both signs cancel each other here": guess.mean(),
        "this is the root of the mean squared error": np.sqrt((guess.numpy() ** 2).mean()),
    }
    got = parts(answer.losses(guess, target, patch_mask), 3, "losses")
    close(got[0], error.mean(), "the loss to train with", mistakes, see=FILL_IN)
    by_slice = "this is the mean of the slices' means; all pixels of the batch count alike"
    places = {"this is the mean of the other place": outside, by_slice: each[0]}
    close(got[1], inside, "the error inside the patches", places)
    close(got[2], outside, "the error outside of the patches", {by_slice: each[1]})


@TESTS("q5", points=1, says="one step that you can follow by hand")
def step_of_four_pixels(answer: Answer, given: Given) -> None:
    x = torch.tensor([[0.0, 0.3], [0.1, -0.2]], dtype=torch.float64)[None, None]
    target = torch.tensor([[0.8, -0.5], [-0.6, -0.9]], dtype=torch.float64)[None, None]
    patch_mask = box((1, 1, 2, 2), 0, 0, 1, 1)
    absolute, squared = -1 / 4, 2 * -0.8 / 4
    own, other = (absolute, squared) if given.ERROR == "absolute" else (squared, absolute)
    difference = (x - target).numpy()
    slopes = np.sign(difference) if given.ERROR == "absolute" else 2 * difference
    mistakes = {
        "this goes up the slope; a step goes against it": 0.1 * own,
        "the mean runs over the hidden pixels only; in the loss all pixels count": -0.4 * own,
        f"in your course the error is {given.ERROR}": -0.1 * other,
        "the factor 2 of the square's derivative is missing": -0.05 * own,
        "pixels outside of the hole were counted, which do not depend on w": -0.1 * slopes.mean(),
        "this is the gradient, not the new w": own,
    }
    got = array(answer.gradient_step(0.0, x, target, patch_mask, 0.1), None, "the new w")
    require(got.size == 1, f"the new w: expected one number, got the shape {got.shape}")
    close(got.item(), -0.1 * own, "the new w", mistakes, see=FILL_IN)
