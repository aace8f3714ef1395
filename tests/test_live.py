"""The figure in which a network runs: painted on by mouse and by keys, redrawn, told in words."""

import base64
import functools
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Shown
from lab_page import serve
from site_visits import Guarded, Quiet, Server

from maskdiff_edu.brains import cohort_seeds, make_member
from maskdiff_edu.detection import metrics
from maskdiff_edu.scans import Slices, to_slices
from maskdiff_edu.widgets import LiveModel

BRUSH = {"tool": "lesion", "radius": 6, "brightness": 0.9, "soft": False}
WORDS = {"label": "Paint", "alt": "A slice to paint on, and what a network draws from it."}
RUN = "Run the networks in this page (7 MB)"
MODELS = ("fpm-cm", "ddpm")
SEED = cohort_seeds("test", "healthy", 2)[1]
RECIPES = {"tumour": f'to_slices(make_member({SEED}, "tumour"))'}


@pytest.fixture(scope="module")
def healthy() -> Slices:
    return to_slices(make_member(SEED, "healthy"))


@pytest.fixture
def figure(healthy: Slices) -> LiveModel:
    return LiveModel({"nobody": healthy}, shown=[35], models=MODELS[:1], **WORDS)


@pytest.fixture(scope="module")
def patient() -> Slices:
    return to_slices(make_member(SEED, "tumour"))


@pytest.fixture
def full(healthy: Slices, patient: Slices) -> LiveModel:
    """The same person without and with a tumour, and all controls."""
    return LiveModel(
        {"healthy": healthy, "tumour": patient},
        **{"shown": [44, 46], "models": MODELS, "full": True, "recipes": RECIPES},
        **WORDS,
    )


def test_what_does_not_fit_is_refused(healthy: Slices) -> None:
    small = Slices(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8) > 0, np.eye(4), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"slices of 96 by 96 pixels.*\(1, 1, 8, 8\)"):
        LiveModel({"nobody": healthy, "small": small}, **WORDS)
    with pytest.raises(ValueError, match="slices of 96 by 96"):
        LiveModel({}, **WORDS)
    n = len(healthy.images)
    with pytest.raises(ValueError, match=rf"shown: expected some of 0..{n - 1}, .* got \[{n}\]"):
        LiveModel({"nobody": healthy}, shown=[n], **WORDS)
    with pytest.raises(ValueError, match=r"models: expected some of .*ddpm"):
        LiveModel({"nobody": healthy}, models=["unknown"], **WORDS)
    with pytest.raises(ValueError, match=r"start: expected some of .*'t'.* got \['speed'\]"):
        LiveModel({"nobody": healthy}, start={"speed": 1}, **WORDS)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[str]:
    """A page of some server of notebooks, which knows nothing of this package."""
    (tmp_path / "index.html").write_text("<!doctype html><title>A notebook</title>", "utf-8")
    yield from serve(tmp_path, Quiet)


class Live(Shown):
    """The figure on a site that brings the networks, or beside a kernel."""

    def __init__(
        self, page: Any, figure: LiveModel, address: str = "about:blank", kernel: bool = False
    ) -> None:
        super().__init__(page, figure, kernel, address)
        if not kernel:
            page.evaluate("globalThis.maskdiffLab = '/_static/maskdiff/'")
        page.get_by_role("button", name=RUN).click()
        self.wait_for_words("mean of 4 draws")

    @property
    def slice(self) -> Any:
        return self.page.locator("canvas").first


@pytest.mark.slow
def test_a_page_without_the_networks_says_so(page: Any, figure: LiveModel) -> None:
    page.clock.install()
    shown = Shown(page, figure, kernel=False)
    assert "nothing leaves this page" in shown.words
    page.get_by_role("button", name=RUN).click()
    page.clock.fast_forward(30_000)  # nobody answers
    shown.wait_for(lambda s: "expected a page that brings the networks" in s.words)
    assert page.get_by_role("button", name=RUN).is_enabled()


@pytest.mark.slow
def test_a_notebooks_kernel_brings_the_network(page: Any, figure: LiveModel, notebook: str) -> None:
    """On a site that brings nothing: scripts, engine and weights come as messages."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shown = Live(page, figure, notebook, kernel=True)
    assert shown.wait_for_words("t = 250, mean of 4 draws. fpm-cm")
    assert {url for url in asked if not url.startswith("blob:")} == {notebook}


@pytest.mark.slow
def test_a_bright_spot_is_not_redrawn_and_undoing_takes_it_back(
    page: Any, figure: LiveModel, served_as_the_book: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shown = Live(page, figure, served_as_the_book)
    clean = shown.pictures
    box = shown.slice.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.45 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.5 * box["height"], steps=3)
    page.mouse.up()
    told = shown.wait_for_words(
        r"mean of 4 draws. .* differs by ([\d.]+) inside the outline and by ([\d.]+) outside"
    )
    inside, outside = (float(number) for number in told.groups())
    assert inside > 4 * outside
    assert len(shown.value["strokes"]) == 1
    bars = page.locator(".maskdiff-bar-fill")
    widths = [bars.nth(i).bounding_box()["width"] for i in range(2)]
    assert widths[0] / widths[1] == pytest.approx(inside / outside, rel=0.2) or inside > 0.5

    page.get_by_role("button", name="undo").click()
    page.mouse.move(0, 0)  # no ring of the brush on the slice
    shown.wait_for_words("mean of 4 draws. fpm-cm differs from the slice")
    shown.wait_for(lambda s: s.pictures == clean)
    assert all(url.startswith((served_as_the_book, "blob:")) for url in asked)


@pytest.mark.slow
def test_keys_paint(page: Any, figure: LiveModel, served_as_the_book: str) -> None:
    shown = Live(page, figure, served_as_the_book)
    shown.slice.focus()
    for key in ("ArrowUp", "ArrowLeft", "Shift+ArrowLeft", "Space"):
        page.keyboard.press(key)
    shown.wait_for_words("mean of 4 draws. fpm-cm differs by .* inside the outline")
    [stroke] = shown.value["strokes"]
    assert stroke == {**BRUSH, "points": [[46, 38]]}
    described = page.locator("canvas").nth(2).get_attribute("aria-label")
    assert described.startswith("what fpm-cm draws. ")


@pytest.mark.slow
def test_two_networks_answer_side_by_side_for_an_ill_person(
    page: Any, full: LiveModel, served_as_the_book: str
) -> None:
    shown = Live(page, full, served_as_the_book)
    page.get_by_label("tumour").check()
    shown.wait_for_words("mean of 4 draws. fpm-cm differs by .* inside the outline")
    page.get_by_role("checkbox", name="ddpm").check()
    shown.wait_for_words("fpm-cm differs .* ddpm differs by .* inside the outline")
    columns = page.locator(".maskdiff-column[role=group]")
    assert [columns.nth(i).get_attribute("aria-label") for i in range(2)] == list(MODELS)
    # The last network cannot be taken away.
    for name in MODELS:
        page.get_by_role("checkbox", name=name).click()
    assert shown.value["models"] == ["ddpm"]


@pytest.mark.slow
def test_a_threshold_moves_recall_and_hiding_the_outline_changes_the_pictures(
    page: Any, full: LiveModel, served_as_the_book: str
) -> None:
    shown = Live(page, full, served_as_the_book)
    scores = page.locator(".maskdiff-scores").first

    def recall_at(threshold: float) -> float:
        shown.set(subject="tumour", threshold=threshold)
        pattern = rf"Above {threshold:.2f}: .* recall ([\d.]+)\."
        shown.wait_for(lambda _: re.search(pattern, scores.inner_text()))
        return float(re.search(pattern, scores.inner_text())[1])

    assert recall_at(0.05) > recall_at(0.4)
    before = shown.pictures
    page.get_by_label("show the outline").uncheck()
    shown.wait_for(lambda s: s.pictures[0] != before[0])


@pytest.mark.slow
def test_every_change_of_the_brush_shows_before_it_paints(
    page: Any, full: LiveModel, served_as_the_book: str
) -> None:
    """Without a network too: the slice shows the brush where it is."""
    shown = Shown(page, full, False, served_as_the_book)
    seen = {shown.pictures[0]}
    for label in ("its radius", "brightness of the lesion", "soft edge", "hole", "rub out"):
        control = page.get_by_label(label, exact=True)
        control.focus()
        slides = control.get_attribute("type") == "range"
        page.keyboard.press("ArrowLeft" if slides else "Space")
        shown.wait_for(lambda s: s.pictures[0] not in seen)
        seen.add(shown.pictures[0])
    assert shown.value["strokes"] == []


STROKES = [
    {**BRUSH, "tool": "hole", "points": [[48, 36], [48, 40]]},
    {**BRUSH, "soft": True, "brightness": 0.3, "points": [[40, 60]]},
    {**BRUSH, "tool": "rub out", "radius": 3, "points": [[48, 36]]},
]


@pytest.mark.slow
def test_the_code_that_is_shown_does_what_the_page_does(
    page: Any, full: LiveModel, served_as_the_book: str
) -> None:
    """Pasted as it stands: the same pixels are painted; the noise is the library's own."""
    shown = Live(page, full, served_as_the_book)
    shown.set(subject="tumour", slice=46, strokes=STROKES, t=200, draws=8, models=["ddpm"])
    told = shown.wait_for_words(r"t = 200, mean of 8 draws. ddpm differs by ([\d.]+) inside .* by")
    page.get_by_text("Show me the code").click()
    names: dict[str, Any] = {}
    exec(page.locator("pre").inner_text(), names)
    error = (names["painted"] - names["x_0_hat"]).abs()[names["marked"]].mean()
    assert error == pytest.approx(float(told[1]), rel=0.15)
    replayed = page.evaluate("() => model.get('value').strokes.length")
    assert replayed == len(STROKES)
    ours = names["marked"].sum().item()
    assert ours > 150
    scored = page.locator(".maskdiff-scores").nth(1).inner_text()
    found = float(re.search(r"Dice ([\d.]+)", scored)[1])
    dice = metrics.dice(names["scores"] > names["threshold"], names["marked"])
    assert dice == pytest.approx(found, abs=0.1)


@pytest.mark.slow
def test_a_link_restores_what_was_seen(page: Any, full: LiveModel, served_as_the_book: str) -> None:
    shown = Live(page, full, served_as_the_book)
    first = full.value
    shown.set(subject="tumour", slice=44, strokes=STROKES, t=100, seed=3)
    shown.wait_for_words("t = 100, mean of 4 draws")
    seen, link = shown.value, page.get_by_role("link", name="a link to what you see")
    assert link.get_attribute("href").startswith("#lab-")
    full.value = first  # what the other page begins with
    again = Live(
        page.context.browser.new_page(), full, served_as_the_book + link.get_attribute("href")
    )
    assert again.value == seen
    again.wait_for_words("t = 100, mean of 4 draws")


def lab_link(told: str) -> str:
    """The address that a figure makes of a JSON text."""
    return "#lab-" + base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


WRONG_LINKS = [
    "#lab-",
    "#lab-%7Bnonsense",
    lab_link("{nonsense"),
    lab_link("null"),
    lab_link("[1]"),
    lab_link('{"t":12345,"subject":"<img src=x>","models":["x"],"strokes":[{"tool":"x"},7]}'),
    lab_link('{"models":[],"strokes":"all","radius":1e9,"threshold":null}'),
    lab_link('{"strokes":[{"tool":"hole","radius":6,"points":[[1e9,0.5]]}]}'),
]


@pytest.mark.slow
def test_links_that_say_something_else_change_nothing(
    page: Any, full: LiveModel, served_as_the_book: str
) -> None:
    shown = Shown(page, full, False, served_as_the_book)
    for link in WRONG_LINKS:
        page.evaluate("hash => { location.hash = hash; }", link)
        page.wait_for_timeout(20)  # the page hears of it a moment later
        assert shown.value == full.value, link
    right = lab_link('{"seed":3}')  # so that these were heard at all
    page.evaluate("hash => { location.hash = hash; }", right)
    shown.wait_for(lambda s: s.value == {**full.value, "seed": 3})


@pytest.mark.slow
def test_a_link_on_the_page_asks_the_networks(
    page: Any, full: LiveModel, served_as_the_book: str
) -> None:
    shown = Shown(page, full, False, served_as_the_book)
    page.evaluate("globalThis.maskdiffLab = '/_static/maskdiff/'")
    link = lab_link(json.dumps({"subject": "tumour", "t": 200, "draws": 1}))
    page.evaluate("hash => { location.hash = hash; }", link)
    page.get_by_text("t = 200, one draw. fpm-cm differs by").wait_for()
    assert shown.value == {**full.value, "subject": "tumour", "t": 200, "draws": 1}


def test_the_links_of_the_lab_page_say_what_its_figure_knows(root: Path) -> None:
    cells = json.loads((root / "book" / "lab.ipynb").read_text("utf-8"))["cells"]
    codes = re.findall(r"#lab-([\w-]+)", "".join("".join(cell["source"]) for cell in cells))
    assert len(codes) >= 5
    state = json.loads((root / "book" / "lab.ipynb").read_text("utf-8"))["metadata"]["widgets"]
    models = state["application/vnd.jupyter.widget-state+json"]["state"].values()
    [figure] = [m["state"] for m in models if "times" in m["state"].get("spec", {})]
    spec, value = figure["spec"], figure["value"]
    lists = {"subject": "subjects", "slice": "slices", "t": "times", "tool": "tools"}
    lists |= {"draws": "draws", "seed": "seeds", "radius": "radii", "brightness": "brightness"}
    for code in codes:
        told = json.loads(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)))
        assert set(told) == set(value)
        for name, values in lists.items():
            assert told[name] in spec[values]
        assert set(told["models"]) <= set(spec["models"])
        for stroke in told["strokes"]:
            assert stroke["tool"] in spec["tools"]
            assert stroke["radius"] in spec["radii"]


@pytest.mark.slow
def test_after_the_first_visit_the_site_is_not_needed(
    browser: Any, figure: LiveModel, lab: Path
) -> None:
    server = Server(("127.0.0.1", 0), functools.partial(Guarded, directory=lab))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    page = browser.new_context().new_page()
    Live(page, figure, address)
    kept = "caches.open('maskdiff-pages-1').then((s) => s.keys()).then((k) => k.map((r) => r.url))"
    # What a page and its worker load; a page with https needs no checksum of ours.
    names = ("client", "anomaly", "worker", "network", "redraw", "ort/ort")
    wanted = {address, *(f"{address}_static/maskdiff/lab/{name}.js" for name in names)}
    for _ in range(100):
        if wanted <= set(page.evaluate(kept)):
            break
        page.wait_for_timeout(50)
    server.shutdown()
    server.server_close()
    again = Live(page, figure, address)
    assert again.wait_for_words("mean of 4 draws. fpm-cm")
    assert page.title() == "The lab"
    page.context.close()


@pytest.mark.slow
def test_a_figure_can_begin_with_something_painted(
    page: Any, healthy: Slices, served_as_the_book: str
) -> None:
    hole = {"tool": "hole", "radius": 8, "points": [[48, 36]]}
    start = {"strokes": [hole], "t": 200}
    figure = LiveModel({"nobody": healthy}, shown=[35], models=["ipm"], start=start, **WORDS)
    shown = Live(page, figure, served_as_the_book)
    shown.wait_for_words("t = 200, mean of 4 draws. ipm differs by .* inside the outline")
