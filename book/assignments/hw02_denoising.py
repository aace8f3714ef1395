"""Assignment 2, denoising: hidden tests, other right solutions, and the mistakes to catch."""

import itertools

import numpy as np
import torch

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw02_denoising import (
    CHAPTER,
    HOLES,
    in_order,
    sign_of_v,
    what_is_asked,
)
from maskdiff_edu.course.tasks import Answer, Given, Tests, close
from maskdiff_edu.diffusion import Schedule, target

TESTS = Tests()


def uncertain_pixel(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values in no order and their chances, of which no sum is one half."""
    n = int(rng.integers(5, 9))
    parts = rng.permutation(201)[:n] + 1.0
    parts[0] += (parts.sum() + 1) % 2  # an odd sum of whole numbers has no half
    return rng.uniform(-1, 1, n), parts / parts.sum()


@TESTS("q1", points=1, says="the expected loss of a pixel with many values, for several p")
def loss_of_many(answer: Answer, given: Given) -> None:
    rng = given.rng("loss_of_many")
    values, chances = uncertain_pixel(rng)
    guess = float(rng.uniform(-0.5, 0.5))
    for p in (1, 2, 1.5, 4):
        each = [max(v - guess, guess - v) ** p for v in values]
        want = sum(c * e for c, e in zip(chances, each, strict=True))
        mistakes = {
            "the chances are not used; a loss counts as much as its chance": float(np.mean(each)),
            "the root is taken; the L-p loss is the power itself": want ** (1 / p),
        }
        got = answer.expected_loss(guess, values, chances, p)
        close(got, want, f"expected_loss, p = {p}", mistakes, see=CHAPTER)


def other_medians(values: np.ndarray, chances: np.ndarray) -> tuple[float, float, float]:
    """What may be taken for the median: without chances, the likeliest, without sorting."""
    half_way = int(np.argmax(np.cumsum(chances) >= 0.5))
    likeliest = int(np.argmax(chances))
    return float(np.median(values)), float(values[likeliest]), float(values[half_way])


def telling_pixels(rng: np.random.Generator, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Uncertain pixels for which no two ideas of the median give the same number."""
    pixels: list[tuple[np.ndarray, np.ndarray]] = []
    while len(pixels) < n:
        values, chances = uncertain_pixel(rng)
        losses = [float(np.abs(values - v) @ chances) for v in values]
        ideas = {float(values[int(np.argmin(losses))]), *other_medians(values, chances)}
        if len(ideas) == 4:
            pixels.append((values, chances))
    return pixels


@TESTS("q1", points=1, says="the best guesses for pixels with many values")
def best_of_many(answer: Answer, given: Given) -> None:
    for values, chances in telling_pixels(given.rng("best_of_many"), 4):
        mean = float(values @ chances)
        # The L1 loss has its smallest value at one of the values.
        losses = [float(np.abs(values - v) @ chances) for v in values]
        median = float(values[int(np.argmin(losses))])
        plain, likeliest, unsorted = other_medians(values, chances)
        want = in_order(given, mean, median)
        mistakes = {
            "the two numbers are in the other order": want[::-1],
            "the chances are not used": in_order(given, float(values.mean()), plain),
            "the median does not look at the chances": in_order(given, mean, plain),
            "the L1 guess is the likeliest value; the best one is the median": in_order(
                given, mean, likeliest
            ),
            "the chances are added up without sorting the values first": in_order(
                given, mean, unsorted
            ),
        }
        close(answer.best_guesses(values, chances), want, "best guesses", mistakes)


def by_bayes(
    x_t: np.ndarray, alpha_bar: float, m: float, s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of x_0, given x_t, summed over many candidates for x_0."""
    candidates = np.linspace(m - 9 * s, m + 9 * s, 8001)
    common = -((candidates - m) ** 2) / (2 * s**2)
    explains = -((x_t[:, None] - alpha_bar**0.5 * candidates) ** 2) / (2 * (1 - alpha_bar))
    weights = np.exp(common + explains - (common + explains).max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    mean = weights @ candidates
    return mean, weights @ candidates**2 - mean**2


@TESTS("q2", points=2, says="the best denoiser of other pixels, beside Bayes' rule")
def denoiser_by_bayes(answer: Answer, given: Given) -> None:
    rng = given.rng("denoiser_by_bayes")
    for low, high in ((0.1, 0.4), (0.6, 0.95)):
        alpha_bar, m = float(rng.uniform(low, high)), float(rng.uniform(0.2, 0.6))
        s = float(rng.uniform(0.2, 0.6))
        x_t = rng.uniform(-1.5, 1.5, 7)
        want, _ = by_bayes(x_t, alpha_bar, m, s)
        ratio = alpha_bar / (1 - alpha_bar)
        measured = x_t / alpha_bar**0.5

        def weighed(of_m: float, of_x: float, m=m, measured=measured) -> np.ndarray:
            return (of_m * m + of_x * measured) / (of_m + of_x)

        mistakes = {
            "s stands where the variance belongs, its square": weighed(1 / s, ratio),
            "the weights are the variances; take one over them": weighed(s**2, 1 / ratio),
            "m does not count, only what was measured": measured,
            "only m counts, not what was measured": np.full(7, m),
            "the mean of the pixel is missing from the weighted mean": weighed(s**-2, ratio, m=0.0),
            "the SNR is a ratio of powers, without a root": weighed(s**-2, ratio**0.5),
        }
        got = answer.best_denoiser(x_t, alpha_bar, m, s)
        close(got, want, "best_denoiser", mistakes, see=CHAPTER)


@TESTS("q2", points=1, says="what is left after looking, beside Bayes' rule")
def left_by_bayes(answer: Answer, given: Given) -> None:
    rng = given.rng("left_by_bayes")
    for low, high in ((0.1, 0.4), (0.6, 0.9)):
        alpha_bar, s = float(rng.uniform(low, high)), float(rng.uniform(0.2, 0.6))
        _, [variance] = by_bayes(np.array([0.3]), alpha_bar, 0.1, s)
        mistakes = {
            "this is the variance; your course asks for the standard deviation": variance,
            "this is the standard deviation; your course asks for the variance": variance**0.5,
            "the two variances are added; what adds up is one over them": what_is_asked(
                given, s**2 + (1 - alpha_bar) / alpha_bar
            ),
            "this is what the best guess varies by, not what is left": what_is_asked(
                given, s**2 - variance
            ),
            "s stands where its square belongs": what_is_asked(
                given, 1 / (1 / s + alpha_bar / (1 - alpha_bar))
            ),
        }
        got = answer.what_is_left(alpha_bar, s)
        close(got, what_is_asked(given, variance), "what_is_left", mistakes, see=CHAPTER)


@TESTS("q3", points=2, says="every target as every other one, for a batch with a hole")
def every_pair(answer: Answer, given: Given) -> None:
    rng = given.rng("every_pair")
    schedule = Schedule(torch.linspace(1e-4, 0.05, 300), dtype=torch.float64)
    b = int(rng.integers(3, 6))
    t = 20 + rng.permutation(200)[:b]
    alphas_bar = schedule.alphas_bar.numpy()[t]
    factors = alphas_bar.reshape(-1, 1, 1, 1)
    x_0, eps = rng.uniform(-1, 1, (b, 1, 5, 4)), rng.standard_normal((b, 1, 5, 4))
    x_0_masked = np.where(rng.random(x_0.shape) < 0.3, given.HOLE, x_0)
    x_t = factors**0.5 * x_0_masked + (1 - factors) ** 0.5 * eps
    tensors = [torch.as_tensor(a) for a in (x_0, x_t, t)]
    by_library = {kind: target(kind, *tensors, schedule).numpy() for kind in ("x_0", "eps", "v")}
    by_library["v"] = sign_of_v(given) * by_library["v"]
    for kind, wanted in itertools.product(by_library, repeat=2):
        given_answer, want = by_library[kind], by_library[wanted]
        mistakes = {
            "this is the answer as it came, not converted": given_answer,
            "this is the image x_0; go on from it to the target that is wanted": x_0,
            "this is the noise that was added; there is a hole, so eps is another one": eps,
            "v has the sign of the other convention": -by_library["v"],
        }
        got = answer.convert(given_answer, kind, wanted, x_t, alphas_bar)
        close(got, want, f"convert from {kind} to {wanted}", mistakes, rtol=1e-3, see=CHAPTER)


def slices_with_holes(given: Given, name: str) -> tuple[np.ndarray, ...]:
    """x_0, x_0_masked, eps, alphas_bar and x_t of a batch."""
    rng = given.rng(name)
    b = int(rng.integers(2, 5))
    x_0, eps = rng.uniform(-0.9, 0.9, (b, 1, 6, 7)), rng.standard_normal((b, 1, 6, 7))
    x_0_masked = x_0.copy()
    for i in range(b):
        row, column = rng.integers(0, 4, 2)
        x_0_masked[i, 0, row : row + 3, column : column + 3] = given.HOLE
    alphas_bar = rng.uniform(0.2, 0.9, b)
    angle = np.arccos(alphas_bar**0.5).reshape(-1, 1, 1, 1)
    return x_0, x_0_masked, eps, alphas_bar, np.cos(angle) * x_0_masked + np.sin(angle) * eps


@TESTS("q4", points=1, says="the redefined target, inside and outside the holes")
def redefined_in_holes(answer: Answer, given: Given) -> None:
    x_0, x_0_masked, eps, alphas_bar, x_t = slices_with_holes(given, "redefined_in_holes")
    shares = alphas_bar.reshape(-1, 1, 1, 1)
    # In a hole the image's own difference goes to the noise, times the root of the SNR.
    want = eps + np.sqrt(shares / (1 - shares)) * (x_0_masked - x_0)
    mistakes = {
        "this is not divided by the noise's factor": want * np.sqrt(1 - shares),
        "alpha_bar stands where its square root belongs": (x_t - shares * x_0)
        / np.sqrt(1 - shares),
        "this divides by the noise's variance; its factor is the root of it": want
        / np.sqrt(1 - shares),
        "this is x_t - x_0; the image in x_t is faded": x_t - x_0,
    }
    close(answer.redefined_eps(x_t, x_0, alphas_bar), want, "redefined_eps", mistakes, see=HOLES)


@TESTS("q4", points=1, says="what the plain and the redefined target imply")
def implied_by_both(answer: Answer, given: Given) -> None:
    x_0, x_0_masked, eps, alphas_bar, x_t = slices_with_holes(given, "implied_by_both")
    shares = alphas_bar.reshape(-1, 1, 1, 1)
    redefined = eps + np.sqrt(shares / (1 - shares)) * (x_0_masked - x_0)
    cases = {
        "the plain target": (eps, x_0_masked),
        "the redefined target": (redefined, x_0),
    }
    for name, (of, want) in cases.items():
        mistakes = {
            "the image is still faded": want * np.sqrt(shares),
            "this divides by alpha_bar; the image was multiplied by the square root": want
            / np.sqrt(shares),
            "the two factors are exchanged": (x_t - np.sqrt(shares) * of) / np.sqrt(1 - shares),
        }
        got = answer.implied_x_0(x_t, of, alphas_bar)
        close(got, want, f"the image implied by {name}", mistakes, see=HOLES)


def pixels_in_bins(rng: np.random.Generator, k: int) -> tuple[list[np.ndarray], np.ndarray]:
    """x_t of the pixels in each of k bins, an odd number in each, and the edges."""
    edges = np.cumsum(rng.uniform(0.1, 0.5, k + 1)) - 1
    low, high = edges[:-1].copy(), edges[1:].copy()
    low[0] -= 0.5  # some lie below the first edge
    high[-1] += 0.5
    counts = 2 * rng.integers(3, 9, k) + 1
    return [rng.uniform(a, b, n) for a, b, n in zip(low, high, counts, strict=True)], edges


@TESTS("q5", points=2, says="what is learnt from many pixels")
def learnt_from_many(answer: Answer, given: Given) -> None:
    rng = given.rng("learnt_from_many")
    parts, edges = pixels_in_bins(rng, int(rng.integers(5, 9)))
    targets = [rng.gamma(1.0, 1.0, len(part)) - i for i, part in enumerate(parts)]
    medians = np.array([sorted(part)[len(part) // 2] for part in targets])
    means = np.array([sum(part) / len(part) for part in targets])
    mistakes = {
        "these are means; under the L1 loss a median is learnt": means,
        "these are medians; under the L2 loss a mean is learnt": medians,
        "this is learnt from x_t itself, not from the target": np.array(
            [np.median(part) if given.LOSS == "L1" else part.mean() for part in parts]
        ),
    }
    shuffled = rng.permutation(sum(map(len, parts)))
    x_t, of = np.concatenate(parts)[shuffled], np.concatenate(targets)[shuffled]
    want = medians if given.LOSS == "L1" else means
    close(answer.learn(x_t, of, edges), want, "learn", mistakes)


@TESTS("q5", points=1, says="what a table answers to an image")
def answers_of_a_table(answer: Answer, given: Given) -> None:
    rng = given.rng("answers_of_a_table")
    k = int(rng.integers(5, 9))
    parts, edges = pixels_in_bins(rng, k)
    table = rng.standard_normal(k)
    x_t, place = np.concatenate(parts), np.repeat(np.arange(k), [len(part) for part in parts])
    shuffled = rng.permutation(len(x_t))[: len(x_t) // 4 * 4].reshape(2, -1, 2)
    x_t, place = x_t[shuffled], place[shuffled]
    mistakes = {
        "these are answers of the next bin": table[np.minimum(place + 1, k - 1)],
        "these are answers of the next bin; the first bin ends at edges[1]": table[
            np.clip(np.digitize(x_t, edges), 0, k - 1)
        ],
        "this is the answer of the bin before": table[np.maximum(place - 1, 0)],
        "this draws a line between the bins; the table has one answer for a bin": np.interp(
            x_t, (edges[1:] + edges[:-1]) / 2, table
        ),
    }
    close(answer.look_up(x_t, edges, table), table[place], "look_up", mistakes)


# Right solutions, written differently.
EQUIVALENTS = {
    "loops": {
        "q1": """
def expected_loss(guess, values, chances, p):
    total = 0.0
    for value, chance in zip(values, chances):
        total += chance * abs(value - guess) ** p
    return total

def best_guesses(values, chances):
    mean = sum(v * c for v, c in zip(values, chances))
    so_far = 0.0
    for value, chance in sorted(zip(values, chances)):
        so_far += chance
        if so_far > 0.5:
            break
    found = {"L2": float(mean), "L1": float(value)}
    with RETURNS == "first L2, then L1":
        names = "L2", "L1"
    with RETURNS == "first L1, then L2":
        names = "L1", "L2"
    return [found[name] for name in names]
""",
        "q3": """
def roots(alphas_bar, i):
    return alphas_bar[i] ** 0.5, (1 - alphas_bar[i]) ** 0.5

def to_x_0(kind, answer, x_t, alphas_bar):
    out = np.zeros_like(x_t)
    for i in range(len(x_t)):
        a, s = roots(alphas_bar, i)
        if kind == "x_0":
            out[i] = answer[i]
        elif kind == "eps":
            out[i] = x_t[i] / a - s / a * answer[i]
        else:
            with V_IS == "noise minus image":
                out[i] = a * x_t[i] - s * answer[i]
            with V_IS == "image minus noise":
                out[i] = a * x_t[i] + s * answer[i]
    return out

def from_x_0(kind, x_0, x_t, alphas_bar):
    out = np.zeros_like(x_t)
    for i in range(len(x_t)):
        a, s = roots(alphas_bar, i)
        if kind == "x_0":
            out[i] = x_0[i]
        elif kind == "eps":
            out[i] = x_t[i] / s - a / s * x_0[i]
        else:
            with V_IS == "noise minus image":
                out[i] = (a * x_t[i] - x_0[i]) / s
            with V_IS == "image minus noise":
                out[i] = (x_0[i] - a * x_t[i]) / s
    return out

def convert(answer, kind, wanted, x_t, alphas_bar):
    if kind == wanted:
        return answer
    return from_x_0(wanted, to_x_0(kind, answer, x_t, alphas_bar), x_t, alphas_bar)
""",
        "q4": """
def hide_and_noise(x_0, patch_mask, eps, alphas_bar):
    x_t = x_0.copy()
    x_t[patch_mask] = HOLE
    for i, a in enumerate(alphas_bar):
        x_t[i] = a**0.5 * x_t[i] + (1 - a) ** 0.5 * eps[i]
    return x_t

def redefined_eps(x_t, x_0, alphas_bar):
    return np.stack([(x - a**0.5 * y) / (1 - a) ** 0.5 for x, y, a in zip(x_t, x_0, alphas_bar)])

def implied_x_0(x_t, target, alphas_bar):
    both = zip(x_t, target, alphas_bar)
    return np.stack([x / a**0.5 - (1 / a - 1) ** 0.5 * y for x, y, a in both])
""",
        "q5": """
def which_bin(x, edges):
    k = 0
    while k < len(edges) - 2 and x >= edges[k + 1]:
        k += 1
    return k

def learn(x_t, target, edges):
    met = [[] for _ in edges[1:]]
    for x, y in zip(x_t, target):
        met[which_bin(x, edges)].append(y)
    with LOSS == "L1":
        return [sorted(targets)[len(targets) // 2] for targets in met]
    with LOSS == "L2":
        return [sum(targets) / len(targets) for targets in met]

def look_up(x_t, edges, table):
    out = np.empty(x_t.shape)
    for where, x in np.ndenumerate(x_t):
        out[where] = table[which_bin(x, edges)]
    return out
""",
    },
    "torch": {
        "q2": """
def best_denoiser(x_t, alpha_bar, m, s):
    x_t, m, s = (torch.as_tensor(a, dtype=torch.float64) for a in (x_t, m, s))
    both = alpha_bar * s**2 + (1 - alpha_bar)
    return m + alpha_bar**0.5 * s**2 * (x_t - alpha_bar**0.5 * m) / both

def what_is_left(alpha_bar, s):
    trust = alpha_bar * s**2 / (alpha_bar * s**2 + 1 - alpha_bar)
    root = (1 - trust) ** 0.5 * s
    with LEFT == "variance":
        return root * root
    with LEFT == "standard deviation":
        return root
""",
        "q4": """
def share(alphas_bar):
    return torch.as_tensor(alphas_bar)[:, None, None, None]

def hide_and_noise(x_0, patch_mask, eps, alphas_bar):
    x_0_masked = torch.as_tensor(x_0).masked_fill(torch.as_tensor(patch_mask), HOLE)
    a = share(alphas_bar)
    return (a.sqrt() * x_0_masked + (1 - a).sqrt() * torch.as_tensor(eps)).numpy()

def redefined_eps(x_t, x_0, alphas_bar):
    a = share(alphas_bar)
    return ((torch.as_tensor(x_t) - a.sqrt() * torch.as_tensor(x_0)) / (1 - a).sqrt()).numpy()

def implied_x_0(x_t, target, alphas_bar):
    a = share(alphas_bar)
    return torch.as_tensor(x_t) / a.sqrt() - ((1 - a) / a).sqrt() * torch.as_tensor(target)
""",
        "q5": """
def learn(x_t, target, edges):
    x_t, target = torch.as_tensor(x_t), torch.as_tensor(target)
    k = torch.bucketize(x_t, torch.as_tensor(edges)[1:-1].contiguous(), right=True)
    table = torch.zeros(len(edges) - 1, dtype=torch.float64)
    for j in range(len(table)):
        met = target[k == j]
        with LOSS == "L1":
            table[j] = met.median()
        with LOSS == "L2":
            table[j] = met.mean()
    return table.numpy()

def look_up(x_t, edges, table):
    k = torch.bucketize(torch.as_tensor(x_t), torch.as_tensor(edges)) - 1
    return np.asarray(table)[k.clamp(0, len(table) - 1).numpy()]
""",
    },
}

# Each is one replacement in the solution of one exercise, and loses these tests and no others.
MISTAKES = [
    Mistake(
        "q1",
        "the chances do not count in the loss",
        "np.sum(chances * np.abs(values - guess) ** p)",
        "np.mean(np.abs(values - guess) ** p)",
        loses=("loss_by_hand", "loss_of_many"),
        says="chances are not used",
    ),
    Mistake(
        "q1",
        "the loss of the mean value",
        "np.sum(chances * np.abs(values - guess) ** p)",
        "np.abs(np.sum(chances * values) - guess) ** p",
        loses=("loss_by_hand", "loss_of_many"),
        says="loss of the mean value",
    ),
    Mistake(
        "q1",
        "the mean under L1, too",
        "l1 = values[order][np.argmax(so_far >= 0.5)]",
        "l1 = l2",
        loses=("best_of_four", "best_of_many"),
        says="a median, and no number in between",
    ),
    Mistake(
        "q1",
        "the likeliest value for the median",
        "values[order][np.argmax(so_far >= 0.5)]",
        "values[np.argmax(chances)]",
        loses=("best_of_four", "best_of_many"),
        says="the likeliest value",
    ),
    Mistake(
        "q1",
        "the values are not sorted",
        "order = np.argsort(values)",
        "order = np.arange(len(values))",
        loses=("best_of_four", "best_of_many"),
        says="without sorting",
    ),
    Mistake(
        "q1",
        "the other order",
        told="RETURNS",
        loses=("best_of_four", "best_of_many"),
        says="in the other order",
    ),
    Mistake(
        "q2",
        "the noise is 0 on average, so the measurement is the guess",
        "trust * x_t / np.sqrt(alpha_bar) + (1 - trust) * m",
        "x_t / np.sqrt(alpha_bar)",
        loses=("denoiser_by_hand", "denoiser_by_bayes"),
        says="trusts the measurement completely",
    ),
    Mistake(
        "q2",
        "x_t is not turned up",
        "trust * x_t / np.sqrt(alpha_bar)",
        "trust * x_t",
        loses=("denoiser_by_hand", "denoiser_by_bayes"),
        says="a faded image",
    ),
    Mistake(
        "q2",
        "the standard deviation for the variance",
        "trust = snr / (snr + 1 / s**2)",
        "trust = snr / (snr + 1 / s)",
        loses=("denoiser_by_hand", "denoiser_by_bayes"),
        says="its square",
    ),
    Mistake(
        "q2",
        "the variances are added",
        "variance = 1 / (alpha_bar / (1 - alpha_bar) + 1 / s**2)",
        "variance = (1 - alpha_bar) / alpha_bar + s**2",
        loses=("denoiser_by_hand", "left_by_bayes"),
        says="one over them",
    ),
    Mistake(
        "q2",
        "the variance of the guess",
        "variance = 1 / (alpha_bar / (1 - alpha_bar) + 1 / s**2)",
        "variance = s**2 - 1 / (alpha_bar / (1 - alpha_bar) + 1 / s**2)",
        loses=("denoiser_by_hand", "left_by_bayes"),
        says="what the best guess varies by",
    ),
    Mistake(
        "q3",
        "v with the other sign",
        told="V_IS",
        loses=("targets_by_hand", "back_by_hand", "each_to_each", "every_pair"),
        says="sign of the other convention",
    ),
    Mistake(
        "q3",
        "the factors of v exchanged",
        "np.sqrt(shares) * eps - np.sqrt(1 - shares) * x_0",
        "np.sqrt(1 - shares) * eps - np.sqrt(shares) * x_0",
        loses=("targets_by_hand", "each_to_each", "every_pair"),
        says="factors of v are exchanged",
    ),
    Mistake(
        "q3",
        "the image stays faded",
        "(x_t - noise * answer) / signal",
        "x_t - noise * answer",
        loses=("back_by_hand", "each_to_each", "every_pair"),
        says="still faded",
    ),
    Mistake(
        "q3",
        "v is taken for noise",
        "signal * x_t - noise * sign * answer",
        "(x_t - noise * sign * answer) / signal",
        loses=("back_by_hand", "each_to_each", "every_pair"),
        says="v is taken for noise",
    ),
    Mistake(
        "q3",
        "converted by half",
        "return from_x_0(wanted, clean, x_t, alphas_bar)",
        "return clean",
        loses=("each_to_each", "every_pair"),
        says="not converted",
    ),
    Mistake(
        "q4",
        "zero for the hole's value",
        "np.where(patch_mask, HOLE, x_0)",
        "x_0 * ~patch_mask",
        loses=("hole_under_noise",),
        says="another value than in your course",
        only={"HOLE": (-1.0,)},
    ),
    Mistake(
        "q4",
        "noise first, then hide",
        "return np.sqrt(shares) * x_0_masked + np.sqrt(1 - shares) * eps",
        "x_t = np.sqrt(shares) * x_0 + np.sqrt(1 - shares) * eps\n"
        "    return np.where(patch_mask, HOLE, x_t)",
        loses=("hole_under_noise",),
        says="on top of the noise",
    ),
    Mistake(
        "q4",
        "True means shown",
        "np.where(patch_mask, HOLE, x_0)",
        "np.where(patch_mask, x_0, HOLE)",
        loses=("hole_under_noise",),
        says="True means hidden",
    ),
    Mistake(
        "q4",
        "no square root in the redefined target",
        "(x_t - np.sqrt(shares) * x_0)",
        "(x_t - shares * x_0)",
        loses=("implied_by_hand", "redefined_in_holes"),
        says="where its square root belongs",
    ),
    Mistake(
        "q4",
        "the implied image stays faded",
        "(x_t - np.sqrt(1 - shares) * target) / np.sqrt(shares)",
        "x_t - np.sqrt(1 - shares) * target",
        loses=("implied_by_hand", "implied_by_both"),
        says="still faded",
    ),
    Mistake(
        "q4",
        "the implied image by the formula of the target",
        "(x_t - np.sqrt(1 - shares) * target) / np.sqrt(shares)",
        "(x_t - np.sqrt(shares) * target) / np.sqrt(1 - shares)",
        loses=("implied_by_hand", "implied_by_both"),
        says="here the target is given",
    ),
    Mistake(
        "q5",
        "what the other loss learns",
        told="LOSS",
        loses=("table_of_two", "learnt_from_many"),
        says="is learnt",
    ),
    Mistake(
        "q5",
        "x_t is learnt instead of the target",
        "best(target[bins == j])",
        "best(x_t[bins == j])",
        loses=("table_of_two", "learnt_from_many"),
        says="from x_t itself",
    ),
    Mistake(
        "q5",
        "one answer for all bins",
        "best(target[bins == j])",
        "best(target)",
        loses=("table_of_two", "learnt_from_many"),
        says="learnt from all pixels",
    ),
    Mistake(
        "q5",
        "the answer of the next bin",
        'table[np.searchsorted(edges[1:-1], x_t, side="right")]',
        "table[np.clip(np.digitize(x_t, edges), 0, len(table) - 1)]",
        loses=("table_of_two", "answers_of_a_table"),
        says="next bin",
    ),
    Mistake(
        "q5",
        "a line between the bins",
        'table[np.searchsorted(edges[1:-1], x_t, side="right")]',
        "np.interp(x_t, (edges[1:] + edges[:-1]) / 2, table)",
        loses=("table_of_two", "answers_of_a_table"),
        says="one answer for a bin",
    ),
]
