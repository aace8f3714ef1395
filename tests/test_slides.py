"""The lecture slides: whether each deck can be made from its source, and what a browser shows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from build_slides import (
    PAUSE,
    REFERENCE,
    WIDGET_STATE,
    WIDGET_VIEW,
    Slide,
    SlideError,
    build_slides,
    read_deck,
    read_slides,
)
from nbformat.v4 import new_code_cell, new_notebook, new_output
from site_visits import Visit

SOURCES = Path(__file__).resolve().parent.parent / "book" / "slides"
DECKS = [path.stem for path in sorted(SOURCES.glob("*.md"))]
MOST_WORDS = 45
PROJECTOR = {"width": 1280, "height": 720}


def words(slide: Slide) -> int:
    """How many words the room reads; a formula counts as one, what is shown as none."""
    text = REFERENCE.sub("", PAUSE.sub("", slide.body))
    text = re.sub(r"(\${1,2}).+?\1", "formula", text, flags=re.DOTALL)
    return len(re.findall(r"[\w'’-]+", text))


def headings(slides: list[Slide]) -> list[str]:
    return [slide.body.splitlines()[0] for slide in slides]


def test_every_chapter_has_a_deck(root: Path) -> None:
    chapters = [path.stem for path in sorted(root.glob("book/ch*.ipynb"))]
    assert [*chapters, "intro"] == DECKS


@pytest.mark.parametrize("name", DECKS)
def test_a_deck_is_made_from_what_its_chapter_stored(name: str) -> None:
    """Each cell that it names is there exactly once, and has what is to be shown."""
    deck = read_deck(SOURCES / f"{name}.md")
    assert 8 <= len(deck.slides) <= 14
    assert len(deck.state) >= 2  # a live figure and its layout


@pytest.mark.parametrize("name", DECKS)
def test_a_deck_is_written_for_a_lecture(name: str) -> None:
    slides = read_slides(SOURCES / f"{name}.md")
    assert {slide.place: n for slide in slides if (n := words(slide)) > MOST_WORDS} == {}
    assert [slide.place for slide in slides if "inute" not in slide.notes] == []
    first, *others = headings(slides)
    assert first.startswith("# ")
    assert [line for line in others if not line.startswith("## ")] == []
    assert others[-1] == "## What you can do now"
    assert "Take home:" in slides[-1].body
    everything = " ".join(slide.body for slide in slides).lower()
    assert "raise hands" in everything and "in pairs" in everything


@pytest.mark.parametrize("name", [name for name in DECKS if name != "intro"])
def test_the_exercises_to_take_home_are_in_the_chapter(name: str, root: Path) -> None:
    named = re.findall(r"`(ch\d\d-[\w-]+)`", (SOURCES / f"{name}.md").read_text(encoding="utf-8"))
    cells = nbformat.read(root / "book" / f"{name}.ipynb", as_version=4).cells
    labels = {label for c in cells for label in re.findall(r"^:label: (\S+)", c.source, re.M)}
    assert named and set(named) - labels == set()


# One pixel, so that no test needs matplotlib.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def picture(alt: str = "") -> dict[str, Any]:
    """What a cell with a picture has beside its source."""
    output = new_output("display_data", {"image/png": PNG})
    return {"outputs": [output], "metadata": {"mystnb": {"image": {"alt": alt}}} if alt else {}}


def live(model: str) -> dict[str, Any]:
    return {"outputs": [new_output("display_data", {WIDGET_VIEW: {"model_id": model}})]}


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book with one chapter, `ch`, and no deck yet."""
    cells = [
        new_code_cell("# @title Predict\npredict('show(x_0)')", **live("m1")),
        new_code_cell("show(x_0)", **picture('a "grey" square & more')),
        new_code_cell("show(x_t)", **picture()),
        new_code_cell("import math\n\n\ndef my_root(x):\n    return math.sqrt(x)\n\n\nmy_root(2)"),
        new_code_cell('Figure(label="Noise")', **live("m2")),
        new_code_cell("twice()", **picture("one")),
        new_code_cell("twice()", **picture("two")),
        new_code_cell("report()", outputs=[new_output("stream", name="stdout", text="a < b\n")]),
    ]
    state = {"m1": {"state": {}}, "m2": {"state": {"layout": "IPY_MODEL_m3"}}, "m3": {"state": {}}}
    metadata = {"widgets": {WIDGET_STATE: {"state": state}}}
    (tmp_path / "book" / "slides").mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells, metadata=metadata), tmp_path / "book" / "ch.ipynb")
    return tmp_path / "book"


def write_deck(book: Path, *slides: str) -> Path:
    path = book / "slides" / "ch.md"
    path.write_text("# T\n\nNote:\nOne minute.\n" + "".join(f"\n---\n\n{s}\n" for s in slides))
    return path


def shown(book: Path, body: str) -> str:
    deck = read_deck(write_deck(book, f"{body}\n\nNote:\nOne minute."))
    return str(deck.slides[1]["body"])


def test_a_picture_keeps_its_alt_text(book: Path) -> None:
    html = shown(book, "## H\n\n{{ figure: show(x_0) }}")
    assert 'alt="a &#34;grey&#34; square &amp; more"' in html and PNG in html


def test_code_is_one_statement_of_its_cell(book: Path) -> None:
    text = re.sub(r"<[^>]+>", "", shown(book, "{{ code: def my_root }}"))
    assert text.strip() == "def my_root(x):\n    return math.sqrt(x)"


def test_printed_lines_and_formulas_are_text_and_no_html(book: Path) -> None:
    html = shown(book, "$a<b$\n\n$$c<d$$\n\n{{ printed: report() }}")
    assert r'<span class="math">\(a&lt;b\)</span>' in html
    assert r'<div class="math">\[c&lt;d\]</div>' in html
    assert "<pre>a &lt; b</pre>" in html


def test_what_follows_a_pause_waits(book: Path) -> None:
    html = shown(book, "before\n\n. . .\n\n{{ printed: report() }}")
    before, after = html.split('<div class="fragment">')
    assert "before" in before and "a &lt; b" in after


def test_a_deck_carries_the_state_of_its_own_figures_alone(book: Path) -> None:
    deck = read_deck(write_deck(book, '{{ figure: label="Noise" }}\n\nNote:\nOne minute.'))
    assert set(deck.state) == {"m2", "m3"}


@pytest.mark.parametrize(
    ("slide", "message"),
    [
        ("{{ figure: lost_name }}\n\nNote:\nn", "'lost_name' .* got 0 of 0"),
        ("{{ figure: my_root }}\n\nNote:\nn", "'my_root' .* got 0 of 1"),
        ("{{ figure: twice() }}\n\nNote:\nn", r"'twice\(\)' .* got 2 of 2"),
        ("{{ printed: show(x_0) }}\n\nNote:\nn", r"'show\(x_0\)' .* got 0 of 2"),
        ("{{ figure: show(x_t) }}\n\nNote:\nn", "no alt text"),
        ("{{ picture: show(x_0) }}\n\nNote:\nn", "expected one of figure, printed, code"),
        ("{{ figure: show(x_0)\n\nNote:\nn", "on a line of its own"),
        ("See {{ figure: show(x_0) }} here\n\nNote:\nn", "on a line of its own"),
        ("```\nx\n\nNote:\nn", "opened and not closed"),
        ("words", "got 0"),
        ("words\n\nNote:\n", "expected one line 'Note:'"),
        ("words\n\nNote:\nn\n\nNote:\nn", "got 2"),
    ],
)
def test_what_cannot_be_made_stops_with_deck_slide_and_name(
    book: Path, slide: str, message: str
) -> None:
    path = write_deck(book, "words\n\nNote:\nn", slide)
    with pytest.raises(SlideError, match=rf"^ch\.md, slide 3: .*{message}"):
        read_deck(path)


def test_a_deck_needs_a_title(book: Path) -> None:
    path = book / "slides" / "ch.md"
    path.write_text("## No title\n\nNote:\nn\n")
    with pytest.raises(SlideError, match=r"ch\.md: expected a title"):
        read_deck(path)


def test_a_deck_that_is_gone_leaves_no_page(root: Path, tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "old.html").write_text("old")
    pages = build_slides(root, tmp_path)
    assert sorted(p.stem for p in (tmp_path / "slides").iterdir()) == sorted([*DECKS, "index"])
    assert all(page.is_file() for page in pages)


@pytest.fixture(scope="module", params=DECKS)
def deck(browser: Any, address: str, request: Any) -> Iterator[Visit]:
    """A deck in turn; its tests share it, since opening it takes longest."""
    seen = Visit(browser, f"{address}/slides/{request.param}.html")
    seen.page.set_viewport_size(PROJECTOR)
    yield seen
    seen.page.close()


def walk(page: Any) -> Iterator[int]:
    """Show one slide after another, each with all that waits for a key."""
    for i in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate("i => Reveal.slide(i, undefined, 9)", i)
        yield i


# What sticks out of the slide on the screen; a caption for screen readers has no size to speak of.
STICKS_OUT = """() => {
  const slide = Reveal.getCurrentSlide(), frame = slide.getBoundingClientRect();
  const boxes = [...slide.querySelectorAll(":scope > *, .fragment > *, .fit *, .picture")];
  return boxes.filter((element) => {
    if (element.closest(".notes, .maskdiff-hidden, mjx-container *, svg *")) return false;
    const box = element.getBoundingClientRect();
    return box.width && (box.right > frame.right + 1 || box.bottom > frame.bottom + 1);
  }).map((element) => `${slide.innerText.split("\\n")[0]}: <${element.tagName}>`);
}"""
# Too small to be read or seen on a projector: times the natural size, and pixels of 720.
TOO_SMALL = """() => [
  ...Reveal.getCurrentSlide().querySelectorAll(".fit > :first-child, .picture"),
].filter((e) => e.matches("img") ? e.height < 200 : e.style.zoom < 0.7).map((e) => e.outerHTML)"""


@pytest.mark.slow
def test_every_slide_fits(deck: Visit) -> None:
    found = []
    for _ in walk(deck.page):
        deck.page.wait_for_timeout(30)  # sizes are measured after the slide is shown
        found += [*deck.page.evaluate(STICKS_OUT), *deck.page.evaluate(TOO_SMALL)]
    assert found == []


@pytest.mark.slow
def test_slides_and_formulas_are_those_of_the_source(deck: Visit) -> None:
    slides = read_slides(SOURCES / f"{Path(deck.page.url.partition('#')[0]).stem}.md")
    assert deck.page.evaluate("Reveal.getTotalSlides()") == len(slides)
    assert deck.page.title().startswith(slides[0].body.splitlines()[0].removeprefix("# "))
    formulas = deck.page.locator(".slides .math")
    assert deck.page.locator(".slides mjx-container").count() == formulas.count()
    assert deck.page.locator("mjx-merror").count() == 0


@pytest.mark.slow
def test_live_figures_answer_a_key_and_the_deck_stays(deck: Visit) -> None:
    page, moved = deck.page, 0
    for i in walk(page):
        figures = page.locator("section.present .maskdiff")
        for j in range(figures.count()):
            figure = figures.nth(j)
            control = figure.locator('input:is([type="range"], :checked):not(:disabled)').first
            before = figure.evaluate("f => f.innerHTML")
            control.focus()
            at_end = control.evaluate("c => c.type === 'range' && c.value === c.max")
            page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
            changed = "([figure, before]) => figure.innerHTML !== before"
            page.wait_for_function(changed, arg=[figure.element_handle(), before], polling=20)
            assert page.evaluate("Reveal.getIndices().h") == i
            page.keyboard.press("Escape")  # the keys are the deck's again
            assert page.evaluate("document.activeElement === document.body")
            moved += 1
    assert moved >= 1


# One slide below the other, so that a single run of axe sees them all: runs take long.
UNROLL = """() => {
  for (const around of document.querySelectorAll("html, body, main, .reveal, .slides"))
    around.style.cssText = "position: static; overflow: visible; height: auto; transform: none";
  for (const slide of document.querySelectorAll(".slides > section")) {
    slide.hidden = false;
    slide.removeAttribute("aria-hidden");
    slide.style.cssText = "display: flex; position: static; visibility: visible; opacity: 1";
    for (const waiting of slide.querySelectorAll(".fragment")) waiting.classList.add("visible");
  }
}"""
AXE = """() => axe.run().then(({violations, passes}) => ({
  violations,
  read: passes.find((rule) => rule.id === "color-contrast").nodes.length,
}))"""


@pytest.mark.slow
def test_axe_has_no_serious_finding(deck: Visit, root: Path) -> None:
    deck.page.add_script_tag(path=root / "tests" / "axe" / "axe.min.js")
    deck.page.evaluate(UNROLL)
    found = deck.page.evaluate(AXE)
    assert found["read"] > deck.page.evaluate("Reveal.getTotalSlides()"), "slides are hidden"
    serious = [
        (finding["id"], node["html"])
        for finding in found["violations"]
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]
    assert serious == []


@pytest.mark.slow
def test_a_deck_asks_no_other_host_and_raises_no_error(deck: Visit, address: str) -> None:
    """Also while its figures moved."""
    assert [url for url in deck.asked if not url.startswith((address, "data:", "blob:"))] == []
    assert deck.complaints == []


@pytest.mark.slow
def test_the_speaker_has_a_window_with_notes(browser: Any, address: str) -> None:
    seen = Visit(browser, f"{address}/slides/ch02_noising.html")
    with seen.page.expect_popup() as opened:
        seen.page.keyboard.press("s")
    window = opened.value
    notes = read_slides(SOURCES / "ch02_noising.md")[0].notes
    window.wait_for_function(
        "text => document.querySelector('.speaker-controls-notes')?.innerText.includes(text)",
        arg=notes[:40],
        polling=100,
    )
    window.close()
    seen.page.close()


@pytest.mark.slow
def test_a_deck_lives_without_a_server_and_prints_a_page_a_slide(browser: Any, html: Path) -> None:
    url = (html / "slides" / "ch02_noising.html").as_uri()
    seen = Visit(browser, f"{url}?print-pdf")
    slides = len(read_slides(SOURCES / "ch02_noising.md"))
    seen.page.wait_for_function("document.querySelector('.pdf-page')", polling=100)
    assert seen.page.locator(".pdf-page").count() == slides
    figures = seen.page.locator(".pdf-page .maskdiff")
    assert all(figures.nth(i).bounding_box()["height"] > 200 for i in range(figures.count()))
    assert [url for url in seen.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert seen.complaints == []
    seen.page.close()


@pytest.mark.slow
def test_links_to_and_between_decks_lead_somewhere(html: Path) -> None:
    linked = set()
    for page in [html / "book" / "teaching.html", *html.glob("slides/*.html")]:
        targets = re.findall(r'<a [^>]*href="([\w./-]+\.html)"', page.read_text(encoding="utf-8"))
        targets = [t for t in targets if page.parent.name == "slides" or "slides/" in t]
        assert [t for t in targets if not (page.parent / t).is_file()] == []
        linked |= {(page.parent / t).resolve().stem for t in targets if page.stem == "teaching"}
    assert linked == {*DECKS, "index"}
