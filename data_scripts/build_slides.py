"""Make the lecture slides, a deck for the opening session and one a chapter: `make slides`.

    python data_scripts/build_slides.py            into _build/html/slides

A deck's source is Markdown, book/slides/NAME.md. A line `---` begins a slide, a line `Note:` what
the speaker says; what comes after a line `. . .` waits for a key. A line of its own puts in what
the chapter NAME.ipynb has stored, so that a slide cannot say anything else than the chapter:

    {{ figure: TEXT }}    the picture, or the live figure, of a cell
    {{ printed: TEXT }}   the lines that a cell printed
    {{ code: TEXT }}      the function, or other statement, in whose source TEXT stands

The cell is the one code cell with such an output in whose source TEXT stands. A chapter that is
rewritten so that there is none, or a second one, stops the build.

The pages hold pictures, figures and words. Scripts and styles are those of the site, one folder
above (../_static), so a deck works wherever the site does, also from disk.
"""

import argparse
import ast
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
FIGURES = (WIDGET_VIEW, "image/png")
# The opening session shows two notebooks; every other deck shows its chapter.
NOTEBOOKS = {"intro": ("intro", "quickstart")}

# The site's own colours for code, dark enough on white.
CODE = HtmlFormatter(style="a11y-high-contrast-light")
REFERENCE = re.compile(r"^\{\{ *(\w+): *(.+?) *\}\}$", re.MULTILINE)
PAUSE = re.compile(r"^\. \. \.$", re.MULTILINE)  # as in Pandoc's slides
QUESTION = re.compile(r"^# @title\b")  # questions are not looked through: they quote the figures


class SlideError(ValueError):
    """A deck cannot be made as its source says."""


@dataclass(frozen=True)
class Slide:
    """One slide as it stands in the source."""

    place: str  #: for messages: the file and the slide's number
    body: str
    notes: str

    def refuse(self, what: str) -> SlideError:
        return SlideError(f"{self.place}: {what}")


def read_slides(path: Path) -> list[Slide]:
    """The slides of a deck's source.

    Raises: `SlideError` for a slide without notes, and for a fence or a reference left open.
    """
    parts = re.split(r"^---$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    slides = []
    for number, part in enumerate(parts, start=1):
        body, *notes = re.split(r"^Note:$", part, flags=re.MULTILINE)
        slide = Slide(f"{path.name}, slide {number}", body.strip(), "".join(notes).strip())
        if len(notes) != 1 or not slide.notes:
            raise slide.refuse(f"expected one line 'Note:' and notes below, got {len(notes)}")
        if len(re.findall(r"^```", part, re.MULTILINE)) % 2:
            raise slide.refuse("a block of code (```) is opened and not closed")
        if re.search(r"\{\{ | \}\}", REFERENCE.sub("", part)):  # TeX has braces, too
            raise slide.refuse("expected {{ kind: text }} on a line of its own")
        slides.append(slide)
    return slides


@dataclass(frozen=True)
class Chapter:
    """What a deck may show: the code cells of its notebooks, and the state of their figures."""

    cells: list[NotebookNode]
    state: dict[str, Any]

    @classmethod
    def read(cls, paths: list[Path]) -> "Chapter":
        books = [nbformat.read(path, as_version=4) for path in paths]
        cells = [cell for book in books for cell in book.cells if cell.cell_type == "code"]
        state: dict[str, Any] = {}
        for book in books:
            state |= book.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
        return cls(cells, state)

    def state_of(self, model: str) -> dict[str, Any]:
        """The state of a figure and of every model that it names."""
        found = {model: self.state[model]}
        for name in re.findall(r"IPY_MODEL_(\w+)", json.dumps(found[model])):
            found |= self.state_of(name)
        return found


class Deck:
    """The page of one deck in the making: its HTML, and the state of the figures met so far."""

    def __init__(self, path: Path, chapter: Chapter) -> None:
        self.name, self.chapter = path.stem, chapter
        self.state: dict[str, Any] = {}
        self.markdown = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin)
        inline, block = (
            r'<span class="math">\({}\)</span>',
            r'<div class="fit"><div class="math">\[{}\]</div></div>',
        )
        self.markdown.add_render_rule("math_inline", _formula(inline))
        self.markdown.add_render_rule("math_block", _formula(block))
        self.slides = [self._slide(slide) for slide in read_slides(path)]
        first = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        if first is None:
            raise SlideError(f"{path.name}: expected a title, a line that begins with '# '")
        self.title = first[1]

    def _slide(self, slide: Slide) -> dict[str, Markup]:
        first, *later = (self._part(slide, part) for part in PAUSE.split(slide.body))
        body = [first, *(Markup('<div class="fragment">{}</div>').format(part) for part in later)]
        return {"body": Markup("\n").join(body), "notes": self._words(slide.notes)}

    def _part(self, slide: Slide, source: str) -> Markup:
        parts = REFERENCE.split(source)  # words, kind, text, words, kind, text, words
        html = [self._words(parts[0])]
        for kind, text, words in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            html += [self._shown(slide, kind, text), self._words(words)]
        return Markup("\n").join(html)

    def _words(self, source: str) -> Markup:
        return Markup(self.markdown.render(source))

    def _shown(self, slide: Slide, kind: str, text: str) -> Markup:
        show = {"figure": self._figure, "printed": self._printed, "code": self._code}
        if kind not in show:
            raise slide.refuse(f"expected one of {', '.join(show)}, got '{kind}: {text}'")
        return show[kind](slide, text)

    def _find(self, slide: Slide, text: str, has: Any) -> tuple[NotebookNode, Any]:
        """The one code cell with this text for which `has` finds something, and what it finds."""
        candidates = [c for c in self.chapter.cells if text in c.source]
        found = [(cell, shown) for cell in candidates if (shown := has(cell)) is not None]
        if len(found) != 1:
            raise slide.refuse(
                f"expected one cell of {self.name} with the text '{text}' that has what is to be "
                f"shown, got {len(found)} of {len(candidates)} with the text"
            )
        return found[0]

    def _figure(self, slide: Slide, text: str) -> Markup:
        cell, data = self._find(slide, text, _figure_of)
        if WIDGET_VIEW in data:
            model = data[WIDGET_VIEW]["model_id"]
            self.state |= self.chapter.state_of(model)
            view = _as_script(WIDGET_VIEW, data[WIDGET_VIEW])
            return Markup('<div class="fit live" data-prevent-swipe>{}</div>').format(view)
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        if not alt:
            raise slide.refuse(f"the picture of the cell with the text '{text}' has no alt text")
        image = Markup('<img class="picture" src="data:image/png;base64,{}" alt="{}">')
        return image.format(data["image/png"].replace("\n", ""), alt)

    def _printed(self, slide: Slide, text: str) -> Markup:
        lines = self._find(slide, text, _printed_by)[1]
        return Markup('<div class="fit printed"><pre>{}</pre></div>').format(lines.rstrip())

    def _code(self, slide: Slide, text: str) -> Markup:
        source = self._find(slide, text, lambda cell: _statement(cell.source, text))[1]
        return Markup('<div class="fit code">{}</div>').format(
            Markup(highlight(source, PythonLexer(), CODE))
        )

    @property
    def page(self) -> dict[str, Any]:
        """What the template needs."""
        state = {"version_major": 2, "version_minor": 0, "state": self.state}
        return {
            "title": self.title,
            "name": self.name,
            "slides": self.slides,
            "code_style": Markup(CODE.get_style_defs(".highlight")),
            "state": _as_script(WIDGET_STATE, state) if self.state else None,
        }


def _formula(html: str) -> Any:
    """How markdown-it writes a formula: as MathJax finds it on the site's own pages."""

    def render(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
        return html.format(escape(tokens[index].content.strip()))

    return render


def _figure_of(cell: NotebookNode) -> dict[str, Any] | None:
    """The data of the cell's live figure or picture."""
    if QUESTION.match(cell.source):
        return None
    data = [output.data for output in cell.outputs if "data" in output]
    return next((d for d in data if any(kind in d for kind in FIGURES)), None)


def _printed_by(cell: NotebookNode) -> str | None:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream") or None


def _statement(source: str, text: str) -> str | None:
    """The first statement on the top level of a cell in whose source the text stands."""
    nodes = ast.parse(source).body
    parts = (ast.get_source_segment(source, node) or "" for node in nodes)
    return next((part for part in parts if text in part), None)


def _as_script(kind: str, content: Any) -> Markup:
    """JSON inside a page; no text in it can end the script."""
    text = json.dumps(content, sort_keys=True).replace("</", "<\\/")
    return Markup('<script type="{}">{}</script>').format(kind, Markup(text))


def read_deck(path: Path) -> Deck:
    """The deck of the source at `path`, book/slides/NAME.md, with the chapter's stored outputs."""
    names = NOTEBOOKS.get(path.stem, (path.stem,))
    return Deck(path, Chapter.read([path.parent.parent / f"{name}.ipynb" for name in names]))


def build_slides(root: Path, site: Path) -> list[Path]:
    """Write every deck of root/book/slides and their list into site/slides; return the pages."""
    sources = root / "book" / "slides"
    templates = Environment(
        loader=FileSystemLoader(sources), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    decks = [read_deck(path) for path in sorted(sources.glob("*.md"), key=_order)]
    shutil.rmtree(site / "slides", ignore_errors=True)  # a deck that is gone leaves no page
    (site / "slides").mkdir(parents=True)
    pages = {deck.name: templates.get_template("deck.html").render(deck.page) for deck in decks}
    pages["index"] = templates.get_template("index.html").render(decks=decks)
    written = []
    for name, page in pages.items():
        written.append(site / "slides" / f"{name}.html")
        written[-1].write_text(page, encoding="utf-8")
    # What the pages load; where the book is rendered, it is there already.
    shutil.copytree(root / "book" / "_static", site / "_static", dirs_exist_ok=True)
    return written


def _order(path: Path) -> tuple[bool, str]:
    """The opening session first."""
    return path.stem != "intro", path.stem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=SITE, help="the rendered site")
    written = build_slides(ROOT, parser.parse_args().site)
    print(f"{len(written) - 1} decks, open {written[-1]}")


if __name__ == "__main__":
    main()
