"""Assignment 5, CutMix and the training step: hidden tests, other right solutions, mistakes."""

import numpy as np
import torch

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw05_cutmix import (
    CUTMIX,
    FILL_IN,
    SWAPPED,
    box,
    errors_of,
    parts,
)
from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()


def drawn_boxes(rng: np.random.Generator, b: int, h: int, w: int) -> torch.Tensor:
    """A rectangle for each slice, no two of the same size: (b, 1, h, w) bool."""
    masks = []
    for i in range(b):
        height, width = 2 + i, int(rng.integers(3, 6))
        top, left = int(rng.integers(2, h - height - 2)), int(rng.integers(2, w - width - 2))
        masks.append(box((1, 1, h, w), top, left, height, width))
    return torch.cat(masks)


def drawn_slices(rng: np.random.Generator, b: int, h: int, w: int) -> tuple[torch.Tensor, ...]:
    """Images with a background of -1, and their brain masks, each of another size."""
    row, column = np.indices((h, w))
    radius = rng.uniform(0.8, 0.95, (b, 1, 1, 1))
    distance = ((row - h / 2) / (h / 2)) ** 2 + ((column - w / 2) / (w / 2)) ** 2
    brain = distance < radius**2
    images = np.where(brain, rng.uniform(-0.6, 1, (b, 1, h, w)), -1.0)
    return torch.from_numpy(images), torch.from_numpy(brain)


def square_bands(b: int, h: int, w: int, half: int, kind: str) -> torch.Tensor:
    """A centred square of frequencies kept, or removed: (b, 1, h, w) bool."""
    square = box((b, 1, h, w), h // 2 - half, w // 2 - half, 2 * half + 1, 2 * half + 1)
    return square if kind == "low-pass" else ~square


def filtered_by_numpy(
    x: np.ndarray, brain: np.ndarray, band: np.ndarray, mean_kept: bool
) -> np.ndarray:
    """Frequency-masked slices, by the whole complex spectrum."""
    seen = x + 1
    spectrum = np.fft.fft2(seen) * np.fft.ifftshift(band, axes=(-2, -1))
    filtered = np.fft.ifft2(spectrum).real
    if mean_kept:
        for one, before, inside in zip(filtered, seen, brain, strict=True):
            one += before[inside].mean() - one[inside].mean()
    return np.where(brain, filtered, 0.0) - 1


@TESTS("q1", points=1, says="a batch in which every slice has a patch of its own")
def cutmix_of_a_batch(answer: Answer, given: Given) -> None:
    rng = given.rng("cutmix_of_a_batch")
    b = int(rng.integers(3, 6))
    x, other = (torch.from_numpy(rng.uniform(-1, 1, (b, 1, 14, 12))) for _ in range(2))
    patch_mask = drawn_boxes(rng, b, 14, 12)
    mistakes = {
        SWAPPED: np.where(patch_mask, x, other),
        "every slice has the patch of the first slice": np.where(patch_mask[:1], other, x),
        "the patches of all slices were pasted into each": np.where(
            patch_mask.any(dim=0), other, x
        ),
        "the patch comes from another slice of the batch": np.where(
            patch_mask, other.roll(1, 0), x
        ),
    }
    got = answer.cutmix(x, other, patch_mask)
    close(got, np.where(patch_mask, other, x), "cutmix of a batch", mistakes, see=CUTMIX)


@TESTS("q1", points=1, says="the share that stays of brains of different sizes")
def kept_share_of_a_batch(answer: Answer, given: Given) -> None:
    rng = given.rng("kept_share_of_a_batch")
    b = int(rng.integers(3, 6))
    _, brain = drawn_slices(rng, b, 14, 12)
    patch_mask = drawn_boxes(rng, b, 14, 12) | box((b, 1, 14, 12), 0, 0, 3, 4)  # a corner too
    want = [
        1 - np.mean(patch[inside])
        for patch, inside in zip(patch_mask.numpy(), brain.numpy(), strict=True)
    ]
    size, pasted = brain.sum(dim=(1, 2, 3)), patch_mask.sum(dim=(1, 2, 3))
    mistakes = {
        "this is the share that is pasted, not the one that stays": 1 - np.array(want),
        "what the patch covers of the background was counted too": 1 - pasted / size,
        "this is the share of the whole picture": 1 - pasted / (14 * 12),
        "all slices got the mean; each has a share of its own": np.full(b, np.mean(want)),
    }
    close(answer.kept_share(patch_mask, brain), want, "kept_share", mistakes, see=CUTMIX)


@TESTS("q2", points=2, says="the mixture of a batch, for low-passes and high-passes")
def composite_of_a_batch(answer: Answer, given: Given) -> None:
    rng = given.rng("composite_of_a_batch")
    for kind, (h, w) in (("low-pass", (16, 18)), ("high-pass", (14, 16))):
        b, half = int(rng.integers(3, 5)), int(rng.integers(1, 4))
        x_0, brain = drawn_slices(rng, b, h, w)
        patch = drawn_boxes(rng, b, h, w) & brain
        band = square_bands(b, h, w, half, kind)
        by_mean = {
            kept: filtered_by_numpy(x_0.numpy(), brain.numpy(), band.numpy(), kept)
            for kept in (True, False)
        }
        kept = given.MEAN == "kept"
        filtered = by_mean[kept]
        alone = torch.where(patch, x_0, -1.0).numpy()
        only_patch = filtered_by_numpy(alone, brain.numpy(), band.numpy(), kept)
        opposite = filtered_by_numpy(x_0.numpy(), brain.numpy(), ~band.numpy(), kept)
        mistakes = {
            f"the mean brightness is {given.MEAN} in your course; here it is not": np.where(
                patch, by_mean[not kept], x_0
            ),
            "the patches were pasted from another slice of the batch": np.where(
                patch, np.roll(filtered, 1, 0), x_0
            ),
            "this is the whole slice filtered: FPM without CutMix": filtered,
            SWAPPED: np.where(patch, x_0, filtered),
            "only what is in the patch was filtered; filter the whole slice, then cut": np.where(
                patch, only_patch, x_0
            ),
            "the frequencies that should be kept were removed": np.where(patch, opposite, x_0),
        }
        got = answer.fpm_cutmix(x_0, brain, band, patch)
        want = np.where(patch, filtered, x_0)
        close(got, want, f"FPM-CM with a {kind}", mistakes, see=CUTMIX)


@TESTS("q2", points=1, says="clean outside of the patches, altered inside")
def outside_is_untouched(answer: Answer, given: Given) -> None:
    rng = given.rng("outside_is_untouched")
    x_0, brain = drawn_slices(rng, 3, 20, 16)
    patch, band = drawn_boxes(rng, 3, 20, 16) & brain, square_bands(3, 20, 16, 2, "low-pass")
    got = array(answer.fpm_cutmix(x_0, brain, band, patch), x_0.shape, "fpm_cutmix")
    change = np.abs(got - x_0.numpy())
    outside = change[~patch.numpy()].max()
    require(outside < 1e-6, f"outside of the patches a value changes by {outside:.2g}", CUTMIX)
    require(change[patch.numpy()].mean() > 0.05, "inside the patches nothing changes", CUTMIX)


def drawn_step(rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """x_0, pasted, patch_mask, t, eps and alphas_bar of a batch with different times."""
    b = int(rng.integers(3, 6))
    x_0, pasted = (torch.from_numpy(rng.uniform(-1, 1, (b, 1, 14, 12))) for _ in range(2))
    eps = torch.from_numpy(rng.standard_normal((b, 1, 14, 12)))
    alphas_bar = torch.from_numpy(np.cumprod(1 - rng.uniform(0.01, 0.1, 40)))
    t = torch.from_numpy(5 + rng.permutation(35)[:b])
    return x_0, pasted, drawn_boxes(rng, b, 14, 12), t, eps, alphas_bar


def amplitudes(alphas_bar: torch.Tensor, t: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Those of signal and noise, one for each slice."""
    share = alphas_bar.numpy()[t.numpy()][:, None, None, None]
    return np.sqrt(share), np.sqrt(1 - share)


@TESTS("q3", points=1, says="what the network sees, in a batch of different times")
def x_t_of_a_batch(answer: Answer, given: Given) -> None:
    x_0, pasted, patch, t, eps, alphas_bar = drawn_step(given.rng("x_t_of_a_batch"))
    signal, noise = amplitudes(alphas_bar, t)
    hidden = np.where(patch, pasted, x_0)
    fresh = signal * x_0.numpy() + noise * eps.numpy()
    mistakes = {
        "noise was added before hiding, so the patches are free of noise": np.where(
            patch, pasted, fresh
        ),
        "the patches have faded, but no noise was added to them": np.where(
            patch, signal * pasted.numpy(), fresh
        ),
        "the clean slice was noised; nothing was hidden": fresh,
        "every slice has the noise level of the first": signal[0] * hidden + noise[0] * eps.numpy(),
        "both factors are powers; amplitudes go with their square roots": signal**2 * hidden
        + noise**2 * eps.numpy(),
    }
    got = answer.training_pair(x_0, pasted, patch, t, eps, alphas_bar, given.KIND)
    want = signal * hidden + noise * eps.numpy()
    close(parts(got, 2, "training_pair")[0], want, "x_t of a batch", mistakes, see=FILL_IN)


@TESTS("q3", points=3, says="the target of your course's prediction, for the x_t that you made")
def target_of_the_course(answer: Answer, given: Given) -> None:
    x_0, pasted, patch, t, eps, alphas_bar = drawn_step(given.rng("target_of_the_course"))
    signal, noise = amplitudes(alphas_bar, t)
    got = answer.training_pair(x_0, pasted, patch, t, eps, alphas_bar, given.KIND)
    parts(got, 2, "training_pair")
    x_t, clean = array(got[0], x_0.shape, "x_t"), x_0.numpy()
    hidden = np.where(patch, pasted, x_0)
    redefined = {"eps": (x_t - signal * clean) / noise, "v": (signal * x_t - clean) / noise}
    keeps = "it stands for the corrupted slice, and the network learns to keep the patches"
    plain = {
        "eps": {f"this is the noise that was added; {keeps}": eps},
        "v": {
            f"this is made from the corrupted slice; {keeps}": signal * eps.numpy()
            - noise * hidden,
            "the noise that was added and the clean slice do not fit together in the patches; "
            "solve for the answer with x_t": signal * eps.numpy() - noise * clean,
        },
    }
    other = "v" if given.KIND == "eps" else "eps"
    mistakes = plain[given.KIND] | {
        f'this is the target for "{other}"; your course answers with "{given.KIND}"': redefined[
            other
        ],
        "this is the clean slice, which is the target for another prediction": clean,
        "the signs are the other way round": -redefined[given.KIND],
        "the clean slice has not faded here: x_t holds it times the root of alphas_bar": (
            x_t - clean
        )
        / noise,
    }
    close(got[1], redefined[given.KIND], f'the target for "{given.KIND}"', mistakes, see=FILL_IN)


@TESTS("q4", points=2, says="the losses of a batch with patches of different sizes")
def losses_of_a_batch(answer: Answer, given: Given) -> None:
    rng = given.rng("losses_of_a_batch")
    b = int(rng.integers(3, 6))
    patch = drawn_boxes(rng, b, 14, 12)
    target = torch.from_numpy(rng.uniform(-1, 1, (b, 1, 14, 12)))
    spread = np.where(patch, 0.9, 0.2) * np.linspace(0.3, 1, b)[:, None, None, None]
    guess = target + torch.from_numpy(spread * rng.standard_normal(target.shape))
    difference, where = (guess - target).numpy(), patch.numpy()
    error = errors_of(given, difference)
    inside, outside = error[where].mean(), error[~where].mean()
    share = where.mean()
    mistakes = {
        "only the hidden part counts in this loss; it is the mean over all pixels": inside,
        "the small patch weighs as much as all the rest; take the mean over the pixels": (
            inside + outside
        )
        / 2,
        "this is the sum; the loss is a mean": error.sum(),
        "errors of both signs cancel each other here": difference.mean(),
    }
    got = parts(answer.losses(guess, target, patch), 3, "losses")
    close(got[0], share * inside + (1 - share) * outside, "the loss", mistakes, see=FILL_IN)
    by_slice = np.mean([e[m].mean() for e, m in zip(error, where, strict=True)])
    mistakes = {
        "this is the mean of the slices' means; all pixels of the patches count alike": by_slice,
        "this is the error outside of the patches": outside,
        "this was divided by all pixels, not by those of the patches": share * inside,
    }
    close(got[1], inside, "the error inside the patches", mistakes)
    close(got[2], outside, "the error outside of the patches")


@TESTS("q5", points=1, says="one step on a slice, compared with the slope of the loss")
def step_along_the_slope(answer: Answer, given: Given) -> None:
    rng = given.rng("step_along_the_slope")
    shape, lr, w = (1, 1, 14, 12), float(rng.uniform(0.5, 2)), float(rng.uniform(-0.3, 0.1))
    # More of the target lies above w than below: the slopes do not cancel each other.
    x, target = (torch.from_numpy(rng.uniform(-0.5, 1, shape)) for _ in range(2))
    patch = drawn_boxes(rng, 1, 14, 12) | box(shape, 8, 1, 3, 4)

    def loss(w: float) -> float:
        return float(errors_of(given, np.where(patch, w, x) - target.numpy()).mean())

    slope = (loss(w + 1e-6) - loss(w - 1e-6)) / 2e-6
    share = float(patch.double().mean())
    mistakes = {
        "this goes up the slope; a step goes against it": w + lr * slope,
        "the mean runs over the hidden pixels only; in the loss all pixels count": w
        - lr * slope / share,
        "this is half of the step": w - lr * slope / 2,
    }
    got = array(answer.gradient_step(w, x, target, patch, lr), None, "the new w")
    require(got.size == 1, f"the new w: expected one number, got the shape {got.shape}")
    close(got.item(), w - lr * slope, "the new w", mistakes, see=FILL_IN)


@TESTS("q5", points=1, says="where many steps lead, with the clean and with the corrupted slice")
def where_the_steps_lead(answer: Answer, given: Given) -> None:
    rng = given.rng("where_the_steps_lead")
    # What is behind the hole is skewed, so that its mean and its median lie apart.
    behind = rng.uniform(-0.9, -0.7) - 0.6 * np.log1p(-(np.arange(99) + 0.5) / 99)
    patch = box((1, 1, 20, 20), 4, 5, 9, 11)
    clean = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 20, 20)))
    clean[patch] = torch.from_numpy(rng.permutation(behind))
    hole = torch.where(patch, 0.0, clean)
    kept = answer.gradient_step(0.0, hole, hole, patch, 0.3)
    close(np.squeeze(kept), 0.0, "w, where the corrupted slice is asked for", see=FILL_IN)
    w = 0.0
    for _ in range(100):
        w = array(answer.gradient_step(w, hole, clean, patch, 0.3), None, "the new w").item()
    ends = {"absolute": np.median(behind), "squared": behind.mean()}
    other = "squared" if given.ERROR == "absolute" else "absolute"
    mistakes = {
        f"this is where the {other} error leads; in your course it is {given.ERROR}": ends[other],
        "the hole was kept, though the clean slice is asked for": 0.0,
    }
    what = "w after 100 steps towards the clean slice"
    close(w, ends[given.ERROR], what, mistakes, rtol=0, atol=0.02, see=FILL_IN)


# Right solutions, written differently.
EQUIVALENTS = {
    "loops and NumPy": {
        "q1": """
import numpy as np

def cutmix(x, other, patch_mask):
    out = x.clone()
    for i in range(len(x)):
        out[i][patch_mask[i]] = other[i][patch_mask[i]]
    return out

def kept_share(patch_mask, brain_mask):
    return [1 - p[b].float().mean().item() for p, b in zip(patch_mask, brain_mask)]
""",
        "q2": """
def fpm_cutmix(x_0, brain_mask, band_mask, patch_mask):
    out = np.array(x_0)
    for i in range(len(out)):
        seen, brain = out[i, 0] + 1, np.asarray(brain_mask[i, 0])
        spectrum = np.fft.fftshift(np.fft.fft2(seen)) * np.asarray(band_mask[i, 0])
        filtered = np.fft.ifft2(np.fft.ifftshift(spectrum)).real
        if "{{MEAN}}" == "kept":
            filtered = filtered - filtered[brain].mean() + seen[brain].mean()
        filtered = filtered * brain - 1
        patch = np.asarray(patch_mask[i, 0])
        out[i, 0][patch] = filtered[patch]
    return torch.from_numpy(out)
""",
        "q3": """
def training_pair(x_0, pasted, patch_mask, t, eps, alphas_bar, prediction):
    seen, wanted = [], []
    for i in range(len(x_0)):
        a = float(alphas_bar[int(t[i])])
        masked = x_0[i] * ~patch_mask[i] + pasted[i] * patch_mask[i]
        x_t = a**0.5 * masked + (1 - a) ** 0.5 * eps[i]
        answers = {
            "x_0": x_0[i],
            "eps": (x_t - a**0.5 * x_0[i]) / (1 - a) ** 0.5,
            "v": (a**0.5 * x_t - x_0[i]) / (1 - a) ** 0.5,
        }
        seen.append(x_t)
        wanted.append(answers[prediction])
    return torch.stack(seen), torch.stack(wanted)
""",
        "q4": """
def losses(answer, target, patch_mask):
    d = np.abs(np.asarray(answer) - np.asarray(target))
    with ERROR == "squared":
        d = d * d
    with ERROR == "absolute":
        d = +d
    m = np.asarray(patch_mask)
    return [d.sum() / d.size, d[m].sum() / m.sum(), d[~m].sum() / (~m).sum()]
""",
        "q5": """
def gradient_step(w, x, target, patch_mask, lr):
    total = 0.0
    for y in target[patch_mask].tolist():
        with ERROR == "squared":
            total += 2 * (w - y)
        with ERROR == "absolute":
            total += (w > y) - (w < y)
    return w - lr * total / target.numel()
""",
    },
    "arithmetic and autograd": {
        "q1": """
def cutmix(x, other, patch_mask):
    inside = patch_mask.to(x.dtype)
    return (1 - inside) * x + inside * other

def kept_share(patch_mask, brain_mask):
    brain = brain_mask.flatten(1).double()
    return torch.einsum("bn,bn->b", (~patch_mask).flatten(1).double(), brain) / brain.sum(1)
""",
        "q2": """
def fpm_cutmix(x_0, brain_mask, band_mask, patch_mask):
    filtered = apply_bands(x_0, brain_mask, band_mask, keep_mean=("{{MEAN}}" == "kept"))
    return x_0.lerp(filtered, patch_mask.to(x_0.dtype))
""",
        "q3": """
def training_pair(x_0, pasted, patch_mask, t, eps, alphas_bar, prediction):
    x_0_masked = x_0.clone()
    x_0_masked[patch_mask] = pasted[patch_mask]
    a = alphas_bar[t][:, None, None, None]
    x_t = a.sqrt() * x_0_masked + (1 - a).sqrt() * eps
    gap = x_0_masked - x_0  # what the answer has to carry beside the usual target
    if prediction == "eps":
        return x_t, eps + (a / (1 - a)).sqrt() * gap
    if prediction == "v":
        return x_t, a.sqrt() * eps - (1 - a).sqrt() * x_0_masked + gap / (1 - a).sqrt()
    return x_t, x_0
""",
        "q4": """
def losses(answer, target, patch_mask):
    import torch.nn.functional as F
    kind = {"absolute": F.l1_loss, "squared": F.mse_loss}["{{ERROR}}"]
    error = kind(answer, target, reduction="none")
    inside = patch_mask.to(error.dtype)
    parts = [(error * m).sum() / m.sum() for m in (inside, 1 - inside)]
    return torch.stack([kind(answer, target), *parts])
""",
        "q5": """
def gradient_step(w, x, target, patch_mask, lr):
    w = torch.tensor(w, dtype=x.dtype, requires_grad=True)
    error = torch.where(patch_mask, w, x) - target
    with ERROR == "absolute":
        loss = error.abs().mean()
    with ERROR == "squared":
        loss = (error**2).mean()
    loss.backward()
    return w.detach() - lr * w.grad
""",
    },
}

# Each is one replacement in the solution of one exercise, and loses these tests and no others.
MISTAKES = [
    Mistake(
        "q1",
        "pasted the other way round",
        "patch_mask, other, x)",
        "patch_mask, x, other)",
        loses=("cutmix_of_one", "cutmix_of_a_batch"),
        says="other way round",
    ),
    Mistake(
        "q1",
        "mixed half and half, as labels are",
        "patch_mask, other, x)",
        "patch_mask, (x + other) / 2, x)",
        loses=("cutmix_of_one", "cutmix_of_a_batch"),
        says="half and half",
    ),
    Mistake(
        "q1",
        "one patch mask for the whole batch",
        "torch.where(patch_mask, other, x)",
        "torch.where(patch_mask[:1], other, x)",
        loses=("cutmix_of_a_batch",),
        says="the patch of the first slice",
    ),
    Mistake(
        "q1",
        "the share that is pasted",
        "return 1 - hidden / ",
        "return hidden / ",
        loses=("kept_share_of_two", "kept_share_of_a_batch"),
        says="not the one that stays",
    ),
    Mistake(
        "q1",
        "patches over background counted",
        "(patch_mask & brain_mask)",
        "patch_mask",
        loses=("kept_share_of_two", "kept_share_of_a_batch"),
        says="background was counted",
    ),
    Mistake(
        "q1",
        "one number for the whole batch",
        "hidden / brain_mask.sum(dim=(1, 2, 3))",
        "hidden.sum() / brain_mask.sum()",
        loses=("kept_share_of_two", "kept_share_of_a_batch"),
        says="expected the shape",
    ),
    Mistake(
        "q2",
        "the whole slice is filtered",
        "return torch.where(patch_mask, filtered, x_0)",
        "return filtered",
        loses=("composite_of_stripes", "composite_of_a_batch", "outside_is_untouched"),
        says="FPM without CutMix",
    ),
    Mistake(
        "q2",
        "clean patches in a filtered slice",
        "patch_mask, filtered, x_0)",
        "patch_mask, x_0, filtered)",
        loses=("composite_of_stripes", "composite_of_a_batch", "outside_is_untouched"),
        says="other way round",
    ),
    Mistake(
        "q2",
        "pasted from another slice, as CutMix does",
        "patch_mask, filtered, x_0)",
        "patch_mask, filtered.roll(1, 0), x_0)",
        loses=("composite_of_stripes", "composite_of_a_batch"),
        says="from another slice",
    ),
    Mistake(
        "q2",
        "the mean, the other way",
        told="MEAN",
        loses=("composite_of_stripes", "composite_of_a_batch"),
        says="the mean brightness is",
    ),
    Mistake(
        "q2",
        "cut first, then filtered",
        "apply_bands(x_0, brain_mask",
        "apply_bands(torch.where(patch_mask, x_0, -1.0), brain_mask",
        loses=("composite_of_stripes", "composite_of_a_batch"),
        says="only what is in the patch was filtered",
    ),
    Mistake(
        "q3",
        "noised before hiding",
        "x_t = signal * x_0_masked + noise * eps",
        "x_t = torch.where(patch_mask, pasted, signal * x_0 + noise * eps)",
        loses=("x_t_of_two", "x_t_of_a_batch"),
        says="free of noise",
    ),
    Mistake(
        "q3",
        "noise outside of the patches only, as if the patch were noise itself",
        "noise * eps",
        "noise * eps * ~patch_mask",
        loses=("x_t_of_two", "x_t_of_a_batch"),
        says="no noise was added",
    ),
    Mistake(
        "q3",
        "nothing hidden",
        "signal * x_0_masked",
        "signal * x_0",
        loses=("x_t_of_two", "x_t_of_a_batch"),
        says="nothing was hidden",
    ),
    Mistake(
        "q3",
        "powers for amplitudes",
        "share.sqrt(), (1 - share).sqrt()",
        "share, 1 - share",
        loses=("x_t_of_two", "target_stands_for_x_0", "x_t_of_a_batch", "target_of_the_course"),
        says="square roots",
    ),
    Mistake(
        "q3",
        "one time for the whole batch",
        "alphas_bar[t]",
        "alphas_bar[t[:1]]",
        loses=("x_t_of_two", "target_stands_for_x_0", "x_t_of_a_batch", "target_of_the_course"),
        says="noise level of the first",
    ),
    Mistake(
        "q3",
        "the corrupted slice as the target",
        "return x_t, x_0",
        "return x_t, x_0_masked",
        loses=("target_of_x_0",),
        says="learns to keep the patches",
    ),
    Mistake(
        "q3",
        "pasted into the clean slice itself, which is then the target",
        "x_0_masked = torch.where(patch_mask, pasted, x_0)",
        "x_0_masked = x_0\n    x_0_masked[patch_mask] = pasted[patch_mask]",
        loses=("target_of_x_0", "target_stands_for_x_0", "target_of_the_course"),
        says="learns to keep the patches",
    ),
    Mistake(
        "q3",
        "the target of a network that keeps the patches",
        "(x_t - signal * x_0) / noise\n"
        '    with KIND == "v":\n'
        "        return x_t, (signal * x_t - x_0) / noise",
        'eps\n    with KIND == "v":\n        return x_t, signal * eps - noise * x_0_masked',
        loses=("target_stands_for_x_0", "target_of_the_course"),
        says="learns to keep the patches",
    ),
    Mistake(
        "q3",
        "the target of another prediction",
        told="KIND",
        loses=("target_stands_for_x_0", "target_of_the_course"),
        says="this is the target for",
    ),
    Mistake(
        "q4",
        "only the hidden part counts",
        "return error.mean()",
        "return error[patch_mask].mean()",
        loses=("losses_of_two", "losses_of_a_batch"),
        says="only the hidden part counts",
    ),
    Mistake(
        "q4",
        "both places weigh the same",
        "return error.mean()",
        "return (error[patch_mask].mean() + error[~patch_mask].mean()) / 2",
        loses=("losses_of_two", "losses_of_a_batch"),
        says="weighs as much as all the rest",
    ),
    Mistake(
        "q4",
        "the other error",
        told="ERROR",
        loses=("losses_of_two", "losses_of_a_batch"),
        says="in your course the error is",
    ),
    Mistake(
        "q4",
        "the mean of the slices' means",
        "error[patch_mask].mean(),",
        "sum(e[m].mean() for e, m in zip(error, patch_mask)) / len(error),",
        loses=("losses_of_two", "losses_of_a_batch"),
        says="mean of the slices' means",
    ),
    Mistake(
        "q5",
        "up the slope",
        "w - lr * gradient",
        "w + lr * gradient",
        loses=("step_of_four_pixels", "step_along_the_slope", "where_the_steps_lead"),
        says="up the slope",
    ),
    Mistake(
        "q5",
        "the mean over the hidden pixels",
        "(slope * patch_mask).mean()",
        "slope[patch_mask].mean()",
        loses=("step_of_four_pixels", "step_along_the_slope"),
        says="hidden pixels only",
    ),
    Mistake(
        "q5",
        "pixels that do not depend on w",
        "(slope * patch_mask).mean()",
        "slope.mean()",
        loses=("step_of_four_pixels", "step_along_the_slope"),
        says="do not depend on w",
    ),
    Mistake(
        "q5",
        "the derivative of the square without its 2",
        "slope = 2 * error",
        "slope = error",
        loses=("step_of_four_pixels", "step_along_the_slope"),
        says="factor 2",
    ),
    Mistake(
        "q5",
        "the other error",
        told="ERROR",
        loses=("step_of_four_pixels", "step_along_the_slope", "where_the_steps_lead"),
        says="leads",
    ),
]
