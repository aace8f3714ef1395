"""Assignment 3, patch masks: hidden tests, other right solutions, and the mistakes they catch."""

import numpy as np
import torch

from maskdiff_edu.course.mistakes import Mistake
from maskdiff_edu.course.public.hw03_patch_masks import (
    CHAPTER,
    HALF,
    INVERTED,
    as_shares,
    in_other_unit,
    in_rows,
    layers_of,
    restricted,
    rule_mistakes,
    same_mask,
    seeded,
    whole,
)
from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()


def drawn_seed(rng: np.random.Generator) -> int:
    """A seed for torch."""
    return int(rng.integers(2**31))


def some_rectangles(
    rng: np.random.Generator, b: int, k: int, h: int, w: int, out: int = 0
) -> list[np.ndarray]:
    """Whole numbers (b, k): top, left, height, width; `out` pixels may lie beyond each edge."""
    height, width = rng.integers(2, h // 2, (b, k)), rng.integers(2, w // 2, (b, k))
    top = rng.integers(-out, h - height + out + 1)
    left = rng.integers(-out, w - width + out + 1)
    return [top, left, height, width]


@TESTS("q1", points=1, says="a batch of many rectangles, each slice with its own")
def batch_of_rectangles(answer: Answer, given: Given) -> None:
    rng = given.rng("batch_of_rectangles")
    h, w = 80, 96
    numbers = some_rectangles(rng, 24, 5, h, w)
    top, left, height, width = numbers
    want = layers_of(*numbers, h, w)
    mistakes = {
        INVERTED: ~want,
        "all slices of the batch get the rectangles of the first": np.repeat(want[:1], 24, axis=0),
        "each slice has its first rectangle in all of its layers": np.repeat(
            want[:, :1], 5, axis=1
        ),
        "each layer holds all rectangles of its slice; give each a layer of its own": np.repeat(
            want.any(axis=1, keepdims=True), 5, axis=1
        ),
        "the rectangles are too high by one row; the last row is top + height - 1": layers_of(
            top, left, height + 1, width, h, w
        ),
        "the rectangles are too wide by one column": layers_of(top, left, height, width + 1, h, w),
        "height and width are swapped; the height counts rows": layers_of(
            top, left, width, height, h, w
        ),
        "the rectangles lie around (top, left), which is where they begin": layers_of(
            top - height // 2, left - width // 2, height, width, h, w
        ),
    }
    got = answer.rectangles(*map(torch.from_numpy, numbers), h, w)
    same_mask(got, want, "rectangles of a batch", mistakes)


@TESTS("q1", points=1, says="rectangles that reach over the picture's edge")
def over_the_edge(answer: Answer, given: Given) -> None:
    rng = given.rng("over_the_edge")
    h, w = 16, 15
    over = rng.integers(1, 4, (2, 3))  # pixels beyond the edge
    high, start = rng.integers(5, 9, (2, 3)), rng.integers(3, 6, (2, 3))
    wide = rng.integers(3, 8, (2, 3))
    for numbers, edge in (
        ([-over, start, high, wide], "upper"),
        ([start, -over, wide, high], "left"),
        ([h - high + over, start, high, wide], "lower"),
        ([start, w - high + over, wide, high], "right"),
    ):
        top, left, height, width = numbers
        want = layers_of(*numbers, h, w)
        outside = (top < 0) | (left < 0) | (top + height > h) | (left + width > w)
        back = np.clip(top, 0, h - height), np.clip(left, 0, w - width)
        mistakes = {
            INVERTED: ~want,
            "a rectangle is pushed back into the picture; what lies outside is nowhere": layers_of(
                *back, height, width, h, w
            ),
            "a rectangle that reaches over the edge is missing as a whole": want
            & ~outside[..., None, None],
        }
        got = answer.rectangles(*map(torch.from_numpy, numbers), h, w)
        same_mask(got, want, f"rectangles that reach over the {edge} edge", mistakes)


@TESTS("q1", points=1, says="the union in every slice of a batch")
def union_of_a_batch(answer: Answer, given: Given) -> None:
    rng = given.rng("union_of_a_batch")
    layers = rng.random((5, 4, 10, 13)) < 0.3
    want = np.logical_or.reduce(layers, axis=1)[:, None]
    mistakes = {
        INVERTED: ~want,
        "this hides only where all rectangles overlap; one is enough": layers.all(
            axis=1, keepdims=True
        ),
        "two rectangles that overlap cancel out; two that hide still hide": (
            layers.sum(axis=1, keepdims=True) % 2 == 1
        ),
        "all slices of the batch get the same patches": np.broadcast_to(
            layers.any(axis=(0, 1)), want.shape
        ),
    }
    same_mask(answer.union(torch.from_numpy(layers)), want, "union(layers)", mistakes)


@TESTS("q2", points=1, says="every height and width occurs, and equally often")
def sizes_are_uniform(answer: Answer, given: Given) -> None:
    rng = given.rng("sizes_are_uniform")
    shortest = int(rng.integers(3, 7))
    longest = shortest + int(rng.integers(4, 7))
    n = longest - shortest + 1
    got = answer.draw_rectangles(2, 2000, shortest, longest, 50, 60, seeded(drawn_seed(rng)))
    _, _, height, width = whole(got, "top, left, height, width", (2, 2000), "draw_rectangles(…)")
    rounded = np.full(n, 1 / (n - 1))
    rounded[[0, -1]] /= 2
    for side, name in ((height, "heights"), (width, "widths")):
        require(
            side.min() >= shortest and side.max() <= longest,
            f"{name}: expected {shortest} to {longest}, got {side.min()} to {side.max()}",
        )
        require(
            side.max() == longest,
            f"{name}: {longest} was asked for as the longest and never occurs; of torch.randint "
            "the second number is not drawn",
        )
        shares = np.bincount(side.ravel() - shortest, minlength=n) / side.size
        mistakes = {"the shortest and the longest occur half as often; rounding does that": rounded}
        close(
            shares, np.full(n, 1 / n), f"share of each of the {name}", mistakes, rtol=0, atol=0.03
        )
    require(
        np.mean(height == width) < 0.5,
        "height and width are always equal: these are squares; draw both, apart from each other",
        CHAPTER,
    )


@TESTS("q2", points=1, says="every place in the picture has the same chance")
def places_are_uniform(answer: Answer, given: Given) -> None:
    rng = given.rng("places_are_uniform")
    h, w = int(rng.integers(20, 25)), int(rng.integers(26, 32))
    got = answer.draw_rectangles(2, 2000, 3, 9, h, w, seeded(drawn_seed(rng)))
    top, left, height, width = whole(
        got, "top, left, height, width", (2, 2000), "draw_rectangles(…)"
    )
    lies = []
    for start, side, n, edges in (
        (top, height, h, ("upper", "lower")),
        (left, width, w, ("left", "right")),
    ):
        places = n - side + 1
        require(
            start.min() >= 0 and np.all(start + side <= n),
            "some rectangles stick out of the picture; how far down or right one may begin "
            "depends on its own side",
            CHAPTER,
        )
        for touches, edge in zip((start == 0, start + side == n), edges, strict=True):
            ratio = touches.mean() / (1 / places).mean()
            require(
                ratio > 0.5,
                f"hardly any rectangle touches the {edge} edge; short ones may begin farther down "
                "and right than long ones",
                CHAPTER,
            )
            require(
                ratio < 2,
                f"too many rectangles touch the {edge} edge; are those that stick out pushed back?",
                CHAPTER,
            )
        lies.append((start + 0.5) / places)  # from 0 to 1, uniform
        quarters = np.histogram(lies[-1], bins=4, range=(0, 1))[0] / start.size
        close(quarters, np.full(4, 0.25), "share in each quarter of the places", rtol=0, atol=0.06)
    together = np.corrcoef(lies[0].ravel(), lies[1].ravel())[0, 1]
    require(
        abs(together) < 0.2,
        "top and left go together, so that the rectangles lie along a diagonal; draw them apart",
        CHAPTER,
    )


@TESTS("q2", points=1, says="slices of a batch differ, and so do two batches in a row")
def batches_in_a_row(answer: Answer, given: Given) -> None:
    rng = given.rng("batches_in_a_row")
    seed = drawn_seed(rng)

    def draw(generator: torch.Generator, longest: int = 20) -> np.ndarray:
        got = answer.draw_rectangles(8, 6, 4, longest, 70, 90, generator)
        return np.stack(whole(got, "top, left, height, width", (8, 6), "draw_rectangles(…)"))

    used = seeded(seed)
    torch.rand(1000, generator=used)  # as a batch before would have
    first = draw(seeded(seed))
    require(
        len(np.unique(first.swapaxes(0, 1).reshape(8, -1), axis=0)) > 1,
        "all slices of the batch get the same rectangles; draw b x k of each number",
        CHAPTER,
    )
    require(
        (first != first[:, :, :1]).any(axis=2).any(axis=1).all(),
        "all rectangles of a slice have the same top, left, height or width",
        CHAPTER,
    )
    alike = draw(seeded(seed), 5) - draw(used, 5)  # sides that hardly change the places
    require(
        np.abs(alike[:2]).max() > 1 and not np.array_equal(first[2:], draw(used)[2:]),
        "two batches one after the other get the same rectangles; a generator goes on from where "
        "it is, so draw from it and do not seed it anew",
        CHAPTER,
    )


@TESTS("q3", points=1, says="every pixel of each slice's brain has the same chance")
def centres_are_uniform(answer: Answer, given: Given) -> None:
    rng = given.rng("centres_are_uniform")
    k, h, w = 3000, 14, 40
    brain_masks = np.zeros((2, 1, h, w), dtype=bool)
    brain_masks[0, 0, 2, 4:36] = True  # one long row
    brain_masks[0, 0, 3 : int(rng.integers(10, 13)), 4:7] = True  # and many short ones
    brain_masks[1, 0] = rng.random((h, w)) < 0.4
    masks = torch.from_numpy(brain_masks)
    first, second = (
        in_rows(
            given,
            whole(
                answer.draw_centres(masks, k, seeded(drawn_seed(rng))),
                given.CENTRES,
                (2, k),
                "draw_centres(…)",
            ),
        )
        for _ in range(2)
    )
    require(
        first.min() >= 0 and first[0].max() < h and first[1].max() < w,
        "some centres lie outside of the picture; are rows and columns swapped?",
        CHAPTER,
    )
    for i in (0, 1):
        inside = brain_masks[i, 0][tuple(first[:, i])].mean()
        require(
            inside == 1,
            f"only {inside:.0%} of the centres lie in the brain of their slice",
            CHAPTER,
        )
    require(
        not np.array_equal(first, second),
        "another seed gave the same centres; draw from the generator that is handed in",
        CHAPTER,
    )
    brain = brain_masks[0, 0]
    by_row = np.mean(np.flatnonzero(brain.any(axis=1)) == 2)
    of_column = brain[2] / np.maximum(brain.sum(axis=0), 1)
    mistakes = {
        "every row has the same chance here, so that pixels of short rows come too often": by_row,
        "every column has the same chance here; every pixel should have it": of_column.sum()
        / brain.any(axis=0).sum(),
    }
    share = np.mean(first[0, 0] == 2)
    close(
        share,
        brain[2].sum() / brain.sum(),
        "share of centres in a row that holds most of the brain",
        mistakes,
        rtol=0,
        atol=0.05,
        see=CHAPTER,
    )
    column = first[1, 0][first[0, 0] == 2]
    close(np.mean(column < 20), 0.5, "share of them in its left half", rtol=0, atol=0.06)


def sticking_out(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Layers (b, k, h, w) around the edge of brains (b, 1, h, w), some by exactly half."""
    h, w = 30, 40
    rows, columns = np.arange(h)[:, None] - h / 2, np.arange(w) - w / 2
    brains = [(rows / rng.uniform(9, 13)) ** 2 + (columns / rng.uniform(12, 17)) ** 2 < 1]
    brains += [np.broadcast_to(abs(columns + 0.5) < int(rng.integers(8, 12)), (h, w))]
    brains += [(rows / rng.uniform(7, 9)) ** 2 + (columns / rng.uniform(7, 9)) ** 2 < 1]
    brain_masks = np.stack(brains)[:, None]
    numbers = np.stack(some_rectangles(rng, 3, 6, h // 2, w // 2))
    numbers[0] += rng.integers(0, h // 2, (3, 6))
    numbers[1] += rng.integers(0, w // 2, (3, 6))
    # One of each kind in every slice: in the brain, and half of it over a straight edge.
    numbers[:, :, 0] = np.array([h // 2 - 2, w // 2 - 3, 4, 6])[:, None]
    edge = np.flatnonzero(brain_masks[1, 0, h // 2])[0]
    numbers[:, 1, 1] = h // 2, edge - 3, 5, 6
    return layers_of(*numbers, h, w), brain_masks


@TESTS("q3", points=2, says="the rule of your course, for a batch of brains")
def rule_for_a_batch(answer: Answer, given: Given) -> None:
    layers, brain_masks = sticking_out(given.rng("rule_for_a_batch"))
    want = restricted(given.RULE, layers, brain_masks)
    mistakes = rule_mistakes(given.RULE, layers, brain_masks) | {
        "all slices of the batch get the same patches": np.repeat(want[:1], 3, axis=0),
        "all slices are held against the first brain": restricted(
            given.RULE, layers, np.repeat(brain_masks[:1], 3, axis=0)
        ),
    }
    if given.RULE == HALF:
        in_brain = (layers & brain_masks).sum(axis=(2, 3))
        exactly = layers.sum(axis=(2, 3)) == 2 * in_brain
        mistakes["a rectangle of which exactly half is brain is kept in your course"] = restricted(
            HALF, layers & ~exactly[..., None, None], brain_masks
        )
    got = answer.restrict(torch.from_numpy(layers), torch.from_numpy(brain_masks))
    same_mask(got, want, "rectangles around the brain's edge", mistakes)


@TESTS("q4", points=1, says="hiding in a batch: the holes, and all around them")
def hide_in_a_batch(answer: Answer, given: Given) -> None:
    rng = given.rng("hide_in_a_batch")
    x_0 = rng.uniform(-1, 1, (4, 1, 9, 12)).astype(np.float32)
    patch_mask = rng.random((4, 1, 9, 12)) < 0.4
    value = float(rng.uniform(0.2, 0.9))
    got = answer.hide(torch.from_numpy(x_0), torch.from_numpy(patch_mask), value)
    what = f"hide(x_0, patch_mask, {value:.3g})"
    shown = array(got, x_0.shape, what)
    mistakes = {
        "True and False are the other way round: this is what should have been left": x_0[
            patch_mask
        ],
        "the hole is 0 whatever the value": np.zeros(patch_mask.sum()),
        "the value is added to what was there; it takes its place": x_0[patch_mask] + value,
        "the hole is -1 whatever the value": -np.ones(patch_mask.sum()),
    }
    holes = np.full(patch_mask.sum(), value)
    close(shown[patch_mask], holes, f"{what}, in the holes", mistakes, see=CHAPTER)
    around = x_0[~patch_mask]
    close(shown[~patch_mask], around, f"{what}, outside of the holes", see=CHAPTER)


@TESTS("q4", points=1, says="which zero your course fills with")
def which_zero(answer: Answer, given: Given) -> None:
    rng = given.rng("which_zero")
    image = rng.uniform(0.05, 0.95, (3, 1, 8, 11)).astype(np.float32)
    patch_mask = rng.random((3, 1, 8, 11)) < 0.4
    scaled = image * 2 - 1
    black, grey = np.where(patch_mask, -1, scaled), np.where(patch_mask, 0, scaled)
    is_before = given.ZERO == "before scaling"
    want, other = (black, grey) if is_before else (grey, black)
    value = 0 if is_before else -1
    mistakes = {
        f"the hole is {value}; your course puts the zero in {given.ZERO}": other,
        "the slices are not scaled; they must run from -1 to 1": np.where(patch_mask, 0, image),
        "the holes are right, but the slices are not scaled": np.where(
            patch_mask, -1 if is_before else 0, image
        ),
        "nothing is hidden": scaled,
        "True and False are the other way round: True means hidden": np.where(
            patch_mask, scaled, -1 if is_before else 0
        ),
    }
    got = answer.hide_with_zero(torch.from_numpy(image), torch.from_numpy(patch_mask))
    close(got, want, "hide_with_zero(image, patch_mask)", mistakes, see=CHAPTER)


@TESTS("q5", points=1, says="coverage and shares of many masks, in brains of different sizes")
def coverage_of_many(answer: Answer, given: Given) -> None:
    rng = given.rng("coverage_of_many")
    b, h, w = 12, 20, 26
    patch_mask = layers_of(*some_rectangles(rng, b, 1, h, w), h, w)
    rows, columns = np.arange(h)[:, None] - h / 2, np.arange(w) - w / 2
    radius = rng.uniform(6, 12, (b, 1, 1, 1))
    brain_masks = rows**2 + columns**2 < radius**2
    map_, shares = np.zeros((h, w)), np.zeros(b)
    for i in range(b):
        map_ += patch_mask[i, 0] / b
        shares[i] = patch_mask[i, 0][brain_masks[i, 0]].mean()
    masks = torch.from_numpy(patch_mask), torch.from_numpy(brain_masks)
    mistakes = {"this counts the masks; divide by how many there are": map_ * b}
    mistakes |= in_other_unit(given, map_)
    got = as_shares(given, answer.coverage(masks[0]), "coverage(patch_mask)")
    close(got, map_, "coverage(patch_mask)", mistakes, see=CHAPTER)
    pixels, brain = patch_mask.sum(axis=(1, 2, 3)), brain_masks.sum(axis=(1, 2, 3))
    inside = (patch_mask & brain_masks).sum(axis=(1, 2, 3))
    mistakes = {
        "pixels hidden in the background are counted; only those of the brain should be": pixels
        / brain,
        "this is the share of the picture; divide by the pixels of the brain": pixels / (h * w),
        "this divides by all pixels of the picture; divide by those of the brain": inside / (h * w),
        "this is the share of the hidden pixels that is brain, the other way round": inside
        / pixels,
        "all slices are divided by the pixels of one brain": inside / brain[0],
        "all slices are divided by the mean brain": inside / brain.mean(),
    } | in_other_unit(given, shares)
    got = as_shares(given, answer.hidden_shares(*masks), "hidden_shares(…)")
    close(got, shares, "hidden_shares(…)", mistakes, see=CHAPTER)


# Right solutions, written differently.
EQUIVALENTS = {
    "loops": {
        "q1": """
def rectangles(top, left, height, width, h, w):
    b, k = top.shape
    layers = torch.zeros(b, k, h, w, dtype=torch.bool)
    for i in range(b):
        for j in range(k):
            t, s = int(top[i, j]), int(left[i, j])
            lower, right = max(t + int(height[i, j]), 0), max(s + int(width[i, j]), 0)
            layers[i, j, max(t, 0) : lower, max(s, 0) : right] = True
    return layers

def union(layers):
    hidden = torch.zeros_like(layers[:, :1])
    for j in range(layers.shape[1]):
        hidden |= layers[:, j : j + 1]
    return hidden
""",
        "q2": """
def draw_rectangles(b, k, shortest, longest, h, w, generator):
    out = torch.zeros(4, b, k, dtype=torch.long)
    for i in range(b):
        for j in range(k):
            def below(n):
                return int(torch.randint(n, (1,), generator=generator))
            height = shortest + below(longest - shortest + 1)
            width = shortest + below(longest - shortest + 1)
            out[:, i, j] = torch.tensor(
                [below(h - height + 1), below(w - width + 1), height, width]
            )
    return tuple(out)
""",
        "q3": """
def draw_centres(brain_masks, k, generator):
    out = []
    for brain in brain_masks[:, 0]:
        where = brain.nonzero()
        out.append(where[torch.randint(len(where), (k,), generator=generator)])
    row, column = torch.stack(out).unbind(dim=-1)
    with CENTRES == "first the row, then the column":
        return row, column
    with CENTRES == "first the column, then the row":
        return column, row

def restrict(layers, brain_masks):
    hidden = torch.zeros_like(brain_masks)
    for i in range(len(layers)):
        for layer in layers[i]:
            brain = brain_masks[i, 0]
            with RULE == "is cut off at the edge of the brain":
                hidden[i, 0] |= layer & brain
            with RULE == "is left out unless at least half of it is brain":
                if layer.any() and brain[layer].float().mean() >= 0.5:
                    hidden[i, 0] |= layer
            with RULE == "is left out unless all of it is brain":
                if brain[layer].all():
                    hidden[i, 0] |= layer
    return hidden
""",
        "q4": """
def hide(x_0, patch_mask, value):
    out = x_0.clone()
    out[patch_mask] = value
    return out

def hide_with_zero(image, patch_mask):
    with ZERO == "before scaling":
        value = -1.0
    with ZERO == "after scaling":
        value = 0.0
    return hide(image * 2 - 1, patch_mask, value)
""",
        "q5": """
def coverage(patch_mask):
    total = 0
    for mask in patch_mask:
        total = total + mask[0].double()
    with UNIT == "as shares from 0 to 1":
        return total / len(patch_mask)
    with UNIT == "in percent":
        return total / len(patch_mask) * 100

def hidden_shares(patch_mask, brain_masks):
    with UNIT == "as shares from 0 to 1":
        whole = 1
    with UNIT == "in percent":
        whole = 100
    return [
        whole * float(mask[brain].double().mean())
        for mask, brain in zip(patch_mask, brain_masks)
    ]
""",
    },
    "numpy": {
        "q1": """
import numpy as np

def rectangles(top, left, height, width, h, w):
    top, left, height, width = (
        np.asarray(x)[:, :, None, None] for x in (top, left, height, width)
    )
    row, column = np.mgrid[:h, :w]
    below, right = row - top, column - left
    return (0 <= below) & (below < height) & (0 <= right) & (right < width)

def union(layers):
    return np.asarray(layers).max(axis=1)[:, None]
""",
        "q2": """
def draw_rectangles(b, k, shortest, longest, h, w, generator):
    seed = int(torch.randint(2**62, (1,), generator=generator))
    rng = np.random.default_rng(seed)
    height, width = rng.integers(shortest, longest, (2, b, k), endpoint=True)
    return [rng.integers(h - height + 1), rng.integers(w - width + 1), height, width]
""",
        "q3": """
def draw_centres(brain_masks, k, generator):
    b, _, h, w = brain_masks.shape
    flat = np.asarray(brain_masks).reshape(b, -1)
    order = np.argsort(~flat, axis=1, kind="stable")  # the brain's pixels first
    u = torch.rand(b, k, generator=generator, dtype=torch.float64).numpy()
    index = (u * flat.sum(axis=1, keepdims=True)).astype(int)
    both = np.unravel_index(np.take_along_axis(order, index, axis=1), (h, w))
    with CENTRES == "first the row, then the column":
        return both
    with CENTRES == "first the column, then the row":
        return both[::-1]

def restrict(layers, brain_masks):
    layers, brains = np.asarray(layers), np.asarray(brain_masks)
    with RULE == "is cut off at the edge of the brain":
        return (layers & brains).any(axis=1, keepdims=True)
    with RULE != "is cut off at the edge of the brain":
        background = np.einsum("bkhw,bhw->bk", layers.astype(int), ~brains[:, 0])
        with RULE == "is left out unless at least half of it is brain":
            most = layers.sum(axis=(2, 3)) / 2
        with RULE == "is left out unless all of it is brain":
            most = 0
        return np.einsum("bkhw,bk->bhw", layers.astype(int), background <= most)[:, None] > 0
""",
        "q4": """
def hide(x_0, patch_mask, value):
    m = patch_mask.to(x_0.dtype)
    return (1 - m) * x_0 + m * value

def hide_with_zero(image, patch_mask):
    with ZERO == "before scaling":
        image = np.where(patch_mask, 0, image)
    with ZERO == "after scaling":
        image = np.where(patch_mask, 0.5, image)
    return 2 * image - 1
""",
        "q5": """
def coverage(patch_mask):
    counts = torch.einsum("bchw->hw", patch_mask.double())
    with UNIT == "as shares from 0 to 1":
        return counts / len(patch_mask)
    with UNIT == "in percent":
        return counts / (len(patch_mask) / 100)

def hidden_shares(patch_mask, brain_masks):
    hidden = torch.einsum("bchw,bchw->b", patch_mask.double(), brain_masks.double())
    share = hidden / torch.einsum("bchw->b", brain_masks.double())
    with UNIT == "as shares from 0 to 1":
        return share
    with UNIT == "in percent":
        return share.mul(100)
""",
    },
}

# Each is one replacement in the solution of one exercise, and loses these tests and no others.
MISTAKES = [
    Mistake(
        "q1",
        "True and False the other way round",
        "return inside_rows & inside_columns",
        "return ~(inside_rows & inside_columns)",
        loses=("one_rectangle", "batch_of_rectangles", "over_the_edge"),
        says="the other way round",
    ),
    Mistake(
        "q1",
        "one row too many",
        "row < top + height",
        "row <= top + height",
        loses=("one_rectangle", "batch_of_rectangles", "over_the_edge"),
        says="one row too high",
    ),
    Mistake(
        "q1",
        "height and width swapped",
        "in (top, left, height, width))",
        "in (top, left, width, height))",
        loses=("one_rectangle", "batch_of_rectangles", "over_the_edge"),
        says="the height counts rows",
    ),
    Mistake(
        "q1",
        "rows or columns",
        "return inside_rows & inside_columns",
        "return inside_rows | inside_columns",
        loses=("one_rectangle", "batch_of_rectangles", "over_the_edge"),
        says="a cross",
    ),
    Mistake(
        "q1",
        "one set of rectangles for the whole batch",
        "(number[:, :, None, None]",
        "(number[:1].expand_as(number)[:, :, None, None]",
        loses=("one_rectangle", "batch_of_rectangles", "over_the_edge"),
        says="the rectangles of the first",
    ),
    Mistake(
        "q1",
        "pushed back from the upper and left edge",
        "row = torch.arange(h)",
        "top, left = top.clamp(min=0), left.clamp(min=0)\n    row = torch.arange(h)",
        loses=("one_rectangle", "over_the_edge"),
        says="pushed back into the picture",
    ),
    Mistake(
        "q1",
        "only the overlap",
        "layers.any(dim=1, keepdim=True)",
        "layers.all(dim=1, keepdim=True)",
        loses=("two_together", "union_of_a_batch"),
        says="only where all rectangles overlap",
    ),
    Mistake(
        "q1",
        "rectangles added up",
        "layers.any(dim=1, keepdim=True)",
        "layers.sum(dim=1, keepdim=True)",
        loses=("two_together", "union_of_a_batch"),
        says="a mask of True and False",
    ),
    Mistake(
        "q2",
        "the longest side left out",
        "longest + 1",
        "longest",
        loses=("inside_the_picture", "sizes_are_uniform"),
        says="never occurs",
    ),
    Mistake(
        "q2",
        "sides by rounding",
        "torch.randint(shortest, longest + 1, (2, b, k), generator=generator)",
        "(shortest + (longest - shortest) * torch.rand(2, b, k, generator=generator))"
        ".round().long()",
        loses=("sizes_are_uniform",),
        says="rounding does that",
    ),
    Mistake(
        "q2",
        "squares",
        "height, width = torch.randint(shortest, longest + 1, (2, b, k), generator=generator)",
        "height = width = torch.randint(shortest, longest + 1, (b, k), generator=generator)",
        loses=("inside_the_picture", "sizes_are_uniform"),
        says="these are squares",
    ),
    Mistake(
        "q2",
        "places that do not know the height",
        "(h - height + 1)",
        "h",
        loses=("inside_the_picture", "places_are_uniform"),
        says="stick out of the picture",
    ),
    Mistake(
        "q2",
        "places for the longest side only",
        "(h - height + 1)",
        "(h - longest + 1)",
        loses=("places_are_uniform",),
        says="hardly any rectangle touches the lower edge",
    ),
    Mistake(
        "q2",
        "pushed back from the edge",
        "(share[0] * (h - height + 1)).long()",
        "torch.minimum((share[0] * h).long(), h - height)",
        loses=("places_are_uniform",),
        says="pushed back",
    ),
    Mistake(
        "q2",
        "one number for row and column",
        "share[1]",
        "share[0]",
        loses=("places_are_uniform",),
        says="along a diagonal",
    ),
    Mistake(
        "q2",
        "places from the global random state",
        "torch.rand(2, b, k, generator=generator)",
        "torch.rand(2, b, k)",
        loses=("same_seed_same_rectangles", "batches_in_a_row"),
        says="another seed gave the same places",
    ),
    Mistake(
        "q2",
        "a seed of its own",
        "height, width = torch.randint",
        "generator.manual_seed(0)\n    height, width = torch.randint",
        loses=("same_seed_same_rectangles", "batches_in_a_row"),
        says="do not seed it yourself",
    ),
    Mistake(
        "q2",
        "the generator set back to its beginning",
        "height, width = torch.randint",
        "generator.manual_seed(generator.initial_seed())\n    height, width = torch.randint",
        loses=("same_seed_same_rectangles", "batches_in_a_row"),
        says="two batches one after the other",
    ),
    Mistake(
        "q2",
        "one set of rectangles for the whole batch",
        "return top, left, height, width",
        "return [x[:1].repeat(b, 1) for x in (top, left, height, width)]",
        loses=("inside_the_picture", "batches_in_a_row"),
        says="all slices of the batch get the same rectangles",
    ),
    Mistake(
        "q3",
        "row and column swapped",
        told="CENTRES",
        loses=("one_pixel_brains", "centres_are_uniform"),
        says="row and column are swapped",
    ),
    Mistake(
        "q3",
        "divided by the number of rows",
        "brain_masks.shape[-1]",
        "brain_masks.shape[-2]",
        loses=("one_pixel_brains", "centres_are_uniform"),
        says="each row has w pixels",
    ),
    Mistake(
        "q3",
        "the first brain for all slices",
        "brain_masks.flatten(1).float()",
        "brain_masks[:1].expand_as(brain_masks).flatten(1).float()",
        loses=("one_pixel_brains", "centres_are_uniform"),
        says="the centres of the first brain",
    ),
    Mistake(
        "q3",
        "first a row, each with the same chance",
        "brain_masks.flatten(1).float()",
        "(brain_masks / brain_masks.sum(dim=3, keepdim=True).clamp(min=1)).flatten(1)",
        loses=("centres_are_uniform",),
        says="every row has the same chance",
    ),
    Mistake(
        "q3",
        "nothing done about the background",
        "in_brain = layers & brain_masks",
        "in_brain = layers",
        loses=("rule_for_four", "rule_for_a_batch"),
        says="your mask also hides background",
    ),
    Mistake(
        "q3",
        "cut off instead of left out",
        "return (layers & kept",
        "return (in_brain | in_brain & kept",
        loses=("rule_for_four", "rule_for_a_batch"),
        says="in your course they are left out",
    ),
    Mistake(
        "q3",
        "the wrong ones left out",
        "kept[:, :, None, None]",
        "~kept[:, :, None, None]",
        loses=("rule_for_four", "rule_for_a_batch"),
        says="leaves out the rectangles that should be kept",
    ),
    Mistake(
        "q3",
        "more than half instead of at least half",
        "wanted = 0.5",
        "wanted = 0.5 + 1e-6",
        loses=("rule_for_four", "rule_for_a_batch"),
        says="exactly half",
    ),
    Mistake(
        "q3",
        "the rule for all rectangles of a slice together",
        "in_brain = layers & brain_masks",
        "layers = layers.any(dim=1, keepdim=True)\n    in_brain = layers & brain_masks",
        loses=("rule_for_four", "rule_for_a_batch"),
        says="ask it of each one",
        only={"RULE": (HALF, "is left out unless all of it is brain")},
    ),
    Mistake(
        "q4",
        "True and False the other way round",
        "torch.where(patch_mask, value, x_0)",
        "torch.where(patch_mask, x_0, value)",
        loses=("hide_a_few", "hide_in_a_batch"),
        says="the other way round",
    ),
    Mistake(
        "q4",
        "multiplied by the mask",
        "torch.where(patch_mask, value, x_0)",
        "x_0 * ~patch_mask",
        loses=("hide_a_few", "hide_in_a_batch"),
        says="0 whatever the value",
    ),
    Mistake(
        "q4",
        "the value added",
        "torch.where(patch_mask, value, x_0)",
        "x_0 + value * patch_mask",
        loses=("hide_a_few", "hide_in_a_batch"),
        says="added to what was there",
    ),
    Mistake(
        "q4",
        "the other zero",
        told="ZERO",
        loses=("hide_a_few", "which_zero"),
        says="your course puts the zero in",
    ),
    Mistake(
        "q5",
        "percent, or none",
        told="UNIT",
        loses=("small_coverage", "coverage_of_many"),
        says="in your course these are given",
    ),
    Mistake(
        "q5",
        "counts instead of shares",
        "patch_mask.float().mean(dim=0)",
        "patch_mask.float().sum(dim=0)",
        loses=("small_coverage", "coverage_of_many"),
        says="this counts the masks",
    ),
    Mistake(
        "q5",
        "the share of the picture",
        "hidden / brain_masks.sum(dim=(1, 2, 3))",
        "hidden / brain_masks[0].numel()",
        loses=("small_coverage", "coverage_of_many"),
        says="divide by the pixels of the brain",
    ),
    Mistake(
        "q5",
        "the hidden background counted",
        "(patch_mask & brain_masks)",
        "patch_mask",
        loses=("small_coverage", "coverage_of_many"),
        says="hidden in the background are counted",
    ),
]
