"""The rendered book: no warning, no dead end, and nothing asked of another server."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from site_build import pages_in_toc

# Tags whose address the browser fetches by itself; <a> waits for a click.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """What a rendered page fetches, and its pictures without an alt text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures_without_alt: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if address := found.get(FETCHED.get(tag, "")):
            self.fetched.append(address)
        if tag == "link" and {"stylesheet", "preload", "icon"} & set(found["rel"].split()):
            self.fetched.append(found["href"])
        if tag == "img" and not (found.get("alt") or "").strip():
            self.pictures_without_alt.append(found.get("src", ""))


def test_contents_list_every_page_once(root: Path) -> None:
    pages = [*root.glob("book/*.ipynb"), *root.glob("book/*.md"), *root.glob("book/homework/*")]
    stored = [path.relative_to(root).with_suffix("").as_posix() for path in pages]
    assert sorted(pages_in_toc(root)) == sorted(stored)


def test_our_own_extensions_are_loaded(root: Path) -> None:
    """The list of extensions replaces what Jupyter Book would have added to it."""
    sphinx = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["sphinx"]
    own = {path.stem: "book/_ext" for path in (root / "book" / "_ext").glob("*.py")}
    assert sphinx["local_extensions"] == own
    assert own.keys() <= set(sphinx["config"]["extensions"])


def test_own_copy_of_mathjax_is_where_the_pages_look(root: Path) -> None:
    options = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    [static] = options["html_static_path"]
    assert (root / static / options["mathjax_path"]).is_file()


@pytest.mark.slow
def test_every_chapter_becomes_a_page(html: Path, root: Path) -> None:
    pages = [html / f"{chapter}.html" for chapter in pages_in_toc(root)]
    assert [page.name for page in pages if not page.is_file()] == []
    assert pages_in_toc(root)[0] in (html / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_pages_ask_no_other_server(html: Path) -> None:
    """A page can be read offline, and nobody else learns who reads it."""
    pages = [*html.glob("book/**/*.html")]
    assert pages
    for page in pages:
        fetched = Page(page).fetched
        assert [address for address in fetched if "//" in address.partition("?")[0]] == []
        paths = [address.partition("?")[0] for address in fetched if address[:5] != "data:"]
        missing = [path for path in paths if not (page.parent / path).is_file()]
        assert missing == []


@pytest.mark.slow
def test_every_rendered_picture_has_an_alt_text(html: Path) -> None:
    for page in html.glob("book/**/*.html"):
        assert Page(page).pictures_without_alt == []


@pytest.mark.slow
def test_pages_are_light_enough_to_load(html: Path) -> None:
    sizes = {page.name: page.stat().st_size / 1e6 for page in html.glob("book/*.html")}
    assert {name: size for name, size in sizes.items() if size > 8} == {}  # MB, figures included
