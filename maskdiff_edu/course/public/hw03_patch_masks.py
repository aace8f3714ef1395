"""Assignment 3, patch masks: the tests that students have."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from maskdiff_edu.course.tasks import Answer, Given, Tests, array, close, require

TESTS = Tests()
CHAPTER = "book/ch04_patch_masks.html"

HALF = "is left out unless at least half of it is brain"
CUT = "is cut off at the edge of the brain"
ALL = "is left out unless all of it is brain"

INVERTED = "True and False are the other way round: True means hidden"


def seeded(seed: int) -> torch.Generator:
    """A generator of torch that nobody has drawn from."""
    return torch.Generator().manual_seed(seed)


def same_mask(got: Any, want: np.ndarray, what: str, mistakes: Mapping[str, Any]) -> None:
    """`got` holds True where `want` does. Masks must be booleans, or `torch.where` refuses them."""
    found = array(got, want.shape, what)
    require(
        found.dtype == bool,
        f"{what}: expected a mask of True and False, got numbers ({found.dtype})",
        CHAPTER,
    )
    as_numbers = {message: np.asarray(value, float) for message, value in mistakes.items()}
    close(found.astype(float), want.astype(float), what, as_numbers, see=CHAPTER)


def whole(got: Any, names: str, shape: tuple[int, int], what: str) -> list[np.ndarray]:
    """The tensors of whole numbers that a function that draws gives back, one for each name."""
    n = len(names.split(", "))
    require(
        isinstance(got, (tuple, list)) and len(got) == n,
        f"{what}: expected {names}, got {'None' if got is None else type(got).__name__}"
        + (f" of {len(got)}" if isinstance(got, (tuple, list)) else ""),
    )
    found = [
        array(part, shape, f"{what}, {name}")
        for part, name in zip(got, names.split(", "), strict=True)
    ]
    for part, name in zip(found, names.split(", "), strict=True):
        require(
            part.dtype.kind in "iu", f"{what}, {name}: expected whole numbers, got {part.dtype}"
        )
    return found


def layers_of(
    top: np.ndarray, left: np.ndarray, height: np.ndarray, width: np.ndarray, h: int, w: int
) -> np.ndarray:
    """Rectangles one after the other, as slices: (b, k, h, w)."""
    layers = np.zeros((*np.shape(top), h, w), dtype=bool)
    for i in np.ndindex(*np.shape(top)):
        rows = slice(max(top[i], 0), max(top[i] + height[i], 0))
        layers[i][rows, max(left[i], 0) : max(left[i] + width[i], 0)] = True
    return layers


def restricted(rule: str, layers: np.ndarray, brain_masks: np.ndarray) -> np.ndarray:
    """The patch mask after a rule, rectangle by rectangle: (b, 1, h, w)."""
    out = np.zeros(brain_masks.shape, dtype=bool)
    for slice_layers, brain, hidden in zip(layers, brain_masks[:, 0], out[:, 0], strict=True):
        for layer in slice_layers:
            inside, outside = np.sum(layer & brain), np.sum(layer & ~brain)
            if rule == CUT:
                hidden |= layer & brain
            elif outside == 0 or (rule == HALF and inside >= outside):
                hidden |= layer
    return out


def rule_mistakes(rule: str, layers: np.ndarray, brain_masks: np.ndarray) -> dict[str, np.ndarray]:
    """What other ideas of the rule would hide."""
    want = restricted(rule, layers, brain_masks)
    together = layers.any(axis=1, keepdims=True)
    inside, all_of = layers & brain_masks, layers.sum(axis=(2, 3))
    too_few = inside.sum(axis=(2, 3)) < all_of / 2  # (b, k)
    some = inside.any(axis=(2, 3))
    at_once = np.stack(
        [
            restricted(rule, one, brain)
            for one, brain in zip(together[:, None], brain_masks[:, None], strict=True)
        ]
    )[:, 0]
    said = {
        INVERTED: ~want,
        "your mask also hides background: it does nothing about what sticks out": together,
        "this hides the brain outside of the rectangles": ~together & brain_masks,
    }
    if rule == CUT:
        said |= {
            "rectangles are left out; in your course they are cut off": restricted(
                HALF, layers, brain_masks
            ),
            "rectangles that stick out are left out; in your course they are cut off": restricted(
                ALL, layers, brain_masks
            ),
        }
        return said
    return said | {
        "rectangles are cut off; in your course they are left out, or kept whole": restricted(
            CUT, layers, brain_masks
        ),
        "this asks for another share of brain than your course does": restricted(
            ALL if rule == HALF else HALF, layers, brain_masks
        ),
        "this leaves out the rectangles that should be kept, and keeps the others": (
            layers
            & (too_few if rule == HALF else inside.sum(axis=(2, 3)) < all_of)[..., None, None]
        ).any(axis=1, keepdims=True),
        "a rectangle is kept here if any of it is brain; your course asks for more": (
            layers & some[..., None, None]
        ).any(axis=1, keepdims=True),
        "the rule is asked of all rectangles of a slice together; ask it of each one": at_once,
    }


@TESTS("q1", points=1, says="one rectangle in a small picture, and one in each of two slices")
def one_rectangle(answer: Answer, given: Given) -> None:
    numbers = [np.array([[n]]) for n in (1, 3, 2, 4)]  # top, left, height, width
    want = layers_of(*numbers, 6, 9)
    top, left, height, width = numbers
    rows = layers_of(top, 0 * left, height, width + 9, 6, 9)
    columns = layers_of(0 * top, left, height + 6, width, 6, 9)
    mistakes = {
        INVERTED: ~want,
        "the rectangle is one row too high; its last row is top + height - 1": layers_of(
            top, left, height + 1, width, 6, 9
        ),
        "the rectangle is one column too wide; its last column is left + width - 1": layers_of(
            top, left, height, width + 1, 6, 9
        ),
        "the rectangle is one pixel too large each way; its last row is top + height - 1": (
            layers_of(top, left, height + 1, width + 1, 6, 9)
        ),
        "height and width are swapped; the height counts rows": layers_of(
            top, left, width, height, 6, 9
        ),
        "top and left are swapped; the top is a row": layers_of(left, top, height, width, 6, 9),
        "rows and columns are swapped": layers_of(left, top, width, height, 6, 9),
        "this hides a cross; a pixel must lie in the rows and in the columns": rows | columns,
        "(top, left) is where the rectangle begins, not its centre": layers_of(
            top - height // 2, left - width // 2, height, width, 6, 9
        ),
    }
    got = answer.rectangles(*map(torch.from_numpy, numbers), 6, 9)
    same_mask(got, want, "a rectangle of 2 rows and 4 columns, from row 1 and column 3", mistakes)
    numbers = [np.array(n)[:, None] for n in ((1, -1), (3, 6), (2, 3), (4, 5))]
    want = layers_of(*numbers, 6, 9)
    top, left, height, width = numbers
    mistakes = {
        INVERTED: ~want,
        "both slices have the rectangle of the first one": want[[0, 0]],
        "what begins above the picture was pushed in; the part outside is nowhere": layers_of(
            np.maximum(top, 0), left, height, width, 6, 9
        ),
    }
    got = answer.rectangles(*map(torch.from_numpy, numbers), 6, 9)
    same_mask(got, want, "one rectangle in each of two slices, the second from row -1", mistakes)


@TESTS("q1", points=1, says="two rectangles that overlap, together")
def two_together(answer: Answer, given: Given) -> None:
    top, left, height, width = (np.array([n]) for n in ((1, 2), (1, 3), (3, 3), (4, 4)))
    layers = layers_of(top, left, height, width, 6, 9)
    want = layers.any(axis=1, keepdims=True)
    mistakes = {
        INVERTED: ~want,
        "this hides only where all rectangles overlap; one is enough": layers.all(
            axis=1, keepdims=True
        ),
        "where two rectangles overlap, they cancel out; two that hide still hide": np.logical_xor(
            *layers[0]
        )[None, None],
        "only the first rectangle is there": layers[:, :1],
        "only the last rectangle is there": layers[:, -1:],
    }
    same_mask(answer.union(torch.from_numpy(layers)), want, "union(layers)", mistakes)


@TESTS(
    "q2", points=1, says="rectangles of your course lie inside the picture, and their sides differ"
)
def inside_the_picture(answer: Answer, given: Given) -> None:
    b, h, w = 100, 40, 56
    got = answer.draw_rectangles(b, given.COUNT, given.SHORTEST, given.LONGEST, h, w, seeded(1))
    top, left, height, width = whole(
        got, "top, left, height, width", (b, given.COUNT), "draw_rectangles(…)"
    )
    require(
        np.ptp(height, axis=0).any(),
        "all slices of the batch have the same rectangles; draw for each slice",
        CHAPTER,
    )
    for start, side, n, name in ((top, height, h, "heights"), (left, width, w, "widths")):
        require(
            side.min() >= given.SHORTEST and side.max() <= given.LONGEST,
            f"{name}: expected {given.SHORTEST} to {given.LONGEST}, got {side.min()} to "
            f"{side.max()}",
        )
        out = np.mean((start < 0) | (start + side > n))
        require(
            out == 0,
            f"{out:.0%} of the rectangles stick out of the picture; the last place at which one "
            "may begin depends on its side",
            CHAPTER,
        )
        require(
            side.min() == given.SHORTEST and side.max() == given.LONGEST,
            f"{name}: of many, none was {given.SHORTEST} or none was {given.LONGEST}; both ends "
            "are included",
        )
    require(
        (height != width).any(),
        "all rectangles are squares; draw height and width apart from each other",
        CHAPTER,
    )


@TESTS("q2", points=1, says="the same seed gives the same rectangles, another seed others")
def same_seed_same_rectangles(answer: Answer, given: Given) -> None:
    before = torch.random.get_rng_state()
    sizes = (given.SHORTEST, given.LONGEST)

    def draw(seed: int, sides: tuple[int, int]) -> np.ndarray:
        got = answer.draw_rectangles(6, given.COUNT, *sides, 64, 80, seeded(seed))
        return np.stack(
            whole(got, "top, left, height, width", (6, given.COUNT), "draw_rectangles(…)")
        )

    first, again = draw(3, sizes), draw(3, sizes)
    require(
        np.array_equal(first, again),
        "the same seed gave other rectangles the second time; draw from the generator that is "
        "handed in, with generator=generator",
        CHAPTER,
    )
    require(
        not np.array_equal(first[2:], draw(4, sizes)[2:]),
        "another seed gave the same heights and widths; draw them from the generator too, and do "
        "not seed it yourself",
        CHAPTER,
    )
    used = seeded(3)
    torch.rand(1000, generator=used)  # as a batch before would have
    got = answer.draw_rectangles(6, given.COUNT, *sizes, 64, 80, used)
    require(
        not np.array_equal(first, np.stack([np.asarray(part) for part in got])),
        "two batches one after the other get the same rectangles; a generator goes on from where "
        "it is, so draw from it and do not seed it anew",
        CHAPTER,
    )
    alike = (given.SHORTEST, given.SHORTEST + 1)  # sides that hardly change where one may begin
    apart = np.abs(draw(3, alike)[:2] - draw(4, alike)[:2]).max(axis=(1, 2))  # rows, columns
    require(
        apart.min() > 1,
        "another seed gave the same places; draw them from the generator too, and do not seed it "
        "yourself",
        CHAPTER,
    )
    # Seen in the student's own notebook; a grader's process is another.
    require(
        torch.equal(before, torch.random.get_rng_state()),
        "the global random state was touched; draw from the generator only, and do not seed",
        CHAPTER,
    )


def in_rows(given: Given, centres: Sequence[np.ndarray]) -> np.ndarray:
    """Row and column of centres that come in the order of the course."""
    return np.stack(centres)[:: 1 if given.CENTRES.startswith("first the row") else -1]


def as_shares(given: Given, got: Any, what: str) -> np.ndarray:
    """Shares from 0 to 1, of what comes in the unit of the course. Raises: Wrong."""
    return array(got, None, what) / (100 if given.UNIT == "in percent" else 1)


def in_other_unit(given: Given, shares: np.ndarray) -> dict[str, np.ndarray]:
    """What `as_shares` makes of shares in the unit of other courses."""
    factor = 0.01 if given.UNIT == "in percent" else 100
    return {f"in your course these are given {given.UNIT}, and here they are not": shares * factor}


@TESTS("q3", points=1, says="centres in a brain of one pixel")
def one_pixel_brains(answer: Answer, given: Given) -> None:
    brain_masks = np.zeros((3, 1, 6, 9), dtype=bool)
    pixels = ((2, 7), (4, 1), (0, 5))
    for i, pixel in enumerate(pixels):
        brain_masks[(i, 0, *pixel)] = True
    got = answer.draw_centres(torch.from_numpy(brain_masks), 2, seeded(0))
    found = in_rows(given, whole(got, given.CENTRES, (3, 2), "draw_centres(…)"))
    want = np.repeat(np.array(pixels).T[:, :, None], 2, axis=2)  # (2, 3, 2)
    flat = want[0] * 9 + want[1]
    mistakes = {
        "row and column are swapped": want[::-1],
        "the position is divided by the number of rows; each row has w pixels": np.stack(
            [flat // 6, flat % 6]
        ),
        "all slices get the centres of the first brain": np.repeat(want[:, :1], 3, axis=1),
        "all slices get the centres of the first brain, as column and row": np.repeat(
            want[::-1, :1], 3, axis=1
        ),
    }
    close(found, want, "row and column of the only brain pixel", mistakes, see=CHAPTER)


@TESTS("q3", points=1, says="the rule of your course, for four rectangles")
def rule_for_four(answer: Answer, given: Given) -> None:
    brain_masks = np.zeros((1, 1, 8, 12), dtype=bool)
    brain_masks[..., 1:7, 2:8] = True
    # In the brain; three columns of four in it; one column of four; exactly two of four.
    left, width = np.array([[3, 5, 7, 6]]), np.full((1, 4), 4)
    top, height = np.array([[1, 3, 0, 5]]), np.array([[2, 2, 8, 2]])
    layers = layers_of(top, left, height, width, 8, 12)
    want = restricted(given.RULE, layers, brain_masks)
    got = answer.restrict(torch.from_numpy(layers), torch.from_numpy(brain_masks))
    mistakes = rule_mistakes(given.RULE, layers, brain_masks)
    same_mask(got, want, "four rectangles, three of which stick out", mistakes)


@TESTS(
    "q4", points=1, says="hiding a few pixels of a small slice, also with the zero of your course"
)
def hide_a_few(answer: Answer, given: Given) -> None:
    x_0 = np.linspace(-0.9, 0.6, 12, dtype=np.float32).reshape(1, 1, 3, 4)
    patch_mask = np.zeros(x_0.shape, dtype=bool)
    patch_mask[..., 1:, 1:3] = True
    for value in (0.75, -1.0):
        want = np.where(patch_mask, np.float32(value), x_0)
        mistakes = {
            "True and False are the other way round: the value belongs where the mask is True": (
                np.where(patch_mask, x_0, np.float32(value))
            ),
            "the hole is 0 whatever the value; multiplying by a mask can only give 0": x_0
            * ~patch_mask,
            "the value is added to what was there; it takes its place": x_0 + value * patch_mask,
            "the whole slice has the value": np.full_like(x_0, value),
            "nothing was hidden": x_0,
        }
        got = answer.hide(torch.from_numpy(x_0), torch.from_numpy(patch_mask), value)
        close(got, want, f"hide(x_0, patch_mask, {value:g})", mistakes, see=CHAPTER)
    image = (x_0 + 1) / 2
    zeros = {"before scaling": -1, "after scaling": 0}
    holes = {when: np.where(patch_mask, np.float32(zero), x_0) for when, zero in zeros.items()}
    other = "after scaling" if given.ZERO == "before scaling" else "before scaling"
    mistakes = {
        f"the zero was put in {other}; in your course it is put in {given.ZERO}": holes[other],
        "the slice still runs from 0 to 1": np.where(patch_mask, 0, image),
        "nothing was hidden": x_0,
    }
    got = answer.hide_with_zero(torch.from_numpy(image), torch.from_numpy(patch_mask))
    close(got, holes[given.ZERO], "hide_with_zero(image, patch_mask)", mistakes, see=CHAPTER)


@TESTS("q5", points=1, says="coverage and shares of four small masks")
def small_coverage(answer: Answer, given: Given) -> None:
    brain_masks = np.zeros((4, 1, 4, 6), dtype=bool)
    brain_masks[..., 1:3, 1:5] = True  # 8 pixels
    patch_mask = np.zeros_like(brain_masks)
    patch_mask[0, 0, 1, 1:3] = True  # 2 of them
    patch_mask[1, 0, 1:3, 1:5] = True  # all
    patch_mask[2, 0, 1:3, :2] = True  # 2, and as many of the background
    masks = torch.from_numpy(patch_mask), torch.from_numpy(brain_masks)
    want = np.zeros((4, 6))
    want[1:3, 1:5] = 0.25
    want[1, 1], want[1, 2], want[2, 1] = 0.75, 0.5, 0.5
    want[1:3, 0] = 0.25
    mistakes = {
        "this counts the masks; divide by how many there are": 4 * want,
        "this is the share in which a pixel is not hidden": 1 - want,
    }
    mistakes |= in_other_unit(given, want)
    got = as_shares(given, answer.coverage(masks[0]), "coverage(patch_mask)")
    close(got, want, "coverage(patch_mask)", mistakes, see=CHAPTER)
    shares = np.array([0.25, 1.0, 0.25, 0.0])
    mistakes = {
        "what is hidden in the background was counted, too": np.array([0.25, 1.0, 0.5, 0.0]),
        "this is the share of the picture; divide by the pixels of the brain": shares * 8 / 24,
        "this counts pixels; divide by those of the brain": shares * 8,
        "this is the share that is not hidden": 1 - shares,
    } | in_other_unit(given, shares)
    got = as_shares(given, answer.hidden_shares(*masks), "hidden_shares(…)")
    close(got, shares, "hidden_shares(…)", mistakes, see=CHAPTER)
