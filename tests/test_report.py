"""The report as a reader's program sees it, and the pictures in it."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from maskdiff_edu.detection import Detection
from maskdiff_edu.detection.scoring import Scores
from maskdiff_edu.scans import Slices
from maskdiff_edu.show import plots, report

N, SIDE = 12, 32
HOSTILE = '<script src="https://example.org/x.js"></script>"&'
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """All tags with their attributes; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], text
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def slices():
    images = torch.full((N, 1, SIDE, SIDE), -1.0)
    brain_masks = torch.zeros(N, 1, SIDE, SIDE, dtype=torch.bool)
    brain_masks[..., 4:28, 6:26] = True
    images[brain_masks] = 0.1
    lesion_masks = torch.zeros_like(brain_masks)
    lesion_masks[5:8, :, 20:25, 8:12] = True  # at the back, on the patient's right
    return Slices(images, brain_masks, np.eye(4), 0.0, 1.0, lesion_masks)


@pytest.fixture(scope="module")
def detection(slices):
    return Detection(0.8 * slices.lesion_masks.float(), slices.images)


def make_scores(**changes):
    found = {"auprc": 0.71, "auroc": 0.93, "best_dice": 0.62, "best_dice_threshold": 0.2}
    scores = {
        "scan": "patient-1",
        "model": "fpm-cm",
        "settings": {"t": 150, "draws": 4},
        "maskdiff_edu": "0.1.0",
        "notes": [],
        "shape": [96, 96, 80],
        "voxel_mm": [2.0, 2.0, 2.0],
        "brain_ml": 1234.5,
        "volume_score": 0.456,
        "slice_scores": [0.1] * 5 + [0.5, 0.9, 0.4] + [0.1] * 4,
        "threshold": 0.31,
        "detected_ml": 7.8,
        "lesion": {
            "volume_ml": 8.2,
            "prevalence": 0.0123,
            "method": {**found, "dice": 0.55},
            "baselines": {"intensity": {**found, "auprc": 0.11}},
        },
    }
    return Scores.from_json({**scores, **changes}, "scores.json")


@pytest.fixture(scope="module")
def page(slices, detection):
    return Page(report.render(make_scores(), slices, detection))


def test_nothing_is_fetched_from_anywhere(page):
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attrs.get(name, "#").startswith(("data:", "#"))
    assert page.all("script") == []
    assert not re.search(r"https?:|@import|url\(", page.text)


def test_every_picture_is_inside_and_has_words(page):
    pictures = page.all("img")
    assert len(pictures) == 1 + 4 * len(shown())
    for attrs in pictures:
        assert len(attrs["alt"]) > 20
        assert "\n" not in attrs["alt"]
        head, _, data = attrs["src"].partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")


def shown():
    return report.most_suspicious(make_scores().slice_scores)


def test_the_words_say_where_the_map_is_high(page):
    words = [attrs["alt"] for attrs in page.all("img") if "anomaly map" in attrs["alt"]]
    assert "the highest score lies on the patient's right, towards the back" in words[0]
    assert "nothing stands out" in words[1]


def test_numbers_and_caution_are_on_the_page(page):
    text = re.sub(r"<[^>]+>|\s+", " ", page.text)
    for number in ("0.456", "0.710", "0.930", "0.620", "0.550", "0.110", "0.012", "8.2 ml"):
        assert number in text
    assert "For teaching and research only, never diagnosis." in text
    assert "upper bound" in text


def test_it_suits_keyboards_phones_and_dark_rooms(page):
    assert page.all("html")[0]["lang"] == "en"
    viewport = [attrs for attrs in page.all("meta") if attrs.get("name") == "viewport"]
    assert viewport[0]["content"] == "width=device-width, initial-scale=1"
    assert "prefers-color-scheme: dark" in page.text and ":focus-visible" in page.text
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"][1:] for attrs in page.all("a")]
    labels = [attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs]
    assert targets and labels and set(targets + labels) <= set(ids)
    regions = [attrs for _, attrs in page.tags if attrs.get("role") == "region"]
    assert [attrs["tabindex"] for attrs in regions] == ["0"]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and max(np.diff(levels)) <= 1


@pytest.mark.parametrize("where", ["scan", "model", "notes"])
def test_names_from_outside_stay_text(slices, detection, where):
    hostile = [HOSTILE] if where == "notes" else HOSTILE
    page = Page(report.render(make_scores(**{where: hostile}), slices, detection))
    assert page.all("script") == []
    assert "&lt;script" in page.text


def test_warnings_are_shown(slices, detection):
    text = report.render(make_scores(notes=["the skull seems to be there"]), slices, detection)
    assert "the skull seems to be there" in text


def test_without_lesion_threshold_or_reconstruction_nothing_is_claimed(slices, detection):
    bare = replace(slices, lesion_masks=None)
    scores = make_scores(lesion=None, threshold=None, detected_ml=None)
    page = Page(report.render(scores, bare, Detection(detection.anomaly_map)))
    assert "AUPRC" not in page.text and "threshold" not in page.text
    assert len(page.all("img")) == 1 + 2 * len(shown())
    assert "Pseudo-healthy" not in page.text


def test_a_map_of_zeros_makes_a_page(slices):
    nothing = Detection(torch.zeros_like(slices.images))
    flat = make_scores(slice_scores=[0.0] * N, volume_score=0.0)
    assert "nothing stands out" in report.render(flat, slices, nothing)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.9, 0.8, 0.1, 0.5], [1, 4]),  # 2 is too close to 1
        ([0.3, 0.2], [0]),
        ([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5], [3, 6]),
    ],
)
def test_most_suspicious_slices_lie_apart(scores, expected):
    assert report.most_suspicious(scores, count=2, apart=3 if len(scores) != 5 else 2) == expected


def test_pictures_leave_nothing_open_and_show_every_column(slices, detection):
    before = plt.get_fignums()
    figure = plots.show_detection(slices, detection, [2, 6])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["scan", "pseudo-healthy", "anomaly map", "lesion"]
    bare = plots.show_detection(
        replace(slices, lesion_masks=None), Detection(detection.anomaly_map), [2]
    )
    assert [ax.get_title() for ax in bare.axes if ax.get_title()] == ["scan", "anomaly map"]
    assert len(plots.show_slices(slices, [0, 3, 6], columns=2).axes) == 3
    assert plt.get_fignums() == before
    with pytest.raises(ValueError, match="at least one slice"):
        plots.show_slices(slices, [])


def test_no_rainbow(slices, detection):
    figure = plots.show_detection(slices, detection, [6])
    maps = {image.get_cmap().name for ax in figure.axes for image in ax.get_images()}
    assert maps == {"gray", "magma"}


def test_the_curve_marks_slices_and_lesion():
    ax = plots.plot_slice_scores([0.1, 0.5, 0.2], marked=[1], lesion_slices=[0, 1, 1]).axes[0]
    curve, dots = ax.get_lines()
    np.testing.assert_array_equal(curve.get_ydata(), [0.1, 0.5, 0.2])
    np.testing.assert_array_equal(dots.get_xdata(), [1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "slices shown",
        "lesion marked here",
    ]
    assert plots.plot_slice_scores([0.1, 0.2]).axes[0].get_legend() is None
