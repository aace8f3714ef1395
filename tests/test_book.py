"""The rendered book: no warning, no dead end, and nothing asked of another server."""

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

SOURCES = ("book", "maskdiff_edu", "data_scripts", "_config.yml", "_toc.yml", "README.md")

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


def chapters_in_toc(root: Path) -> list[str]:
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = toc.get("parts", [toc])
    return [toc["root"], *(entry["file"] for part in parts for entry in part["chapters"])]


@pytest.fixture(scope="module")
def html(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the book, rendered with its stored outputs."""
    folder = tmp_path_factory.mktemp("book")
    for name in SOURCES:
        source, target = root / name, folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    config = yaml.safe_load((folder / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"  # `make book` and nbval execute them
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    program = Path(sys.executable).with_name("jupyter-book")
    build = [program, "build", ".", "-W", "--keep-going"]
    env = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(build, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder / "_build" / "html"


def test_contents_list_every_chapter_once(root: Path) -> None:
    stored = [path.relative_to(root).with_suffix("") for path in root.glob("book/*.ipynb")]
    assert sorted(chapters_in_toc(root)) == sorted(path.as_posix() for path in stored)


def test_own_copy_of_mathjax_is_where_the_pages_look(root: Path) -> None:
    options = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    [static] = options["html_static_path"]
    assert (root / static / options["mathjax_path"]).is_file()


@pytest.mark.slow
def test_every_chapter_becomes_a_page(html: Path, root: Path) -> None:
    pages = [html / f"{chapter}.html" for chapter in chapters_in_toc(root)]
    assert [page.name for page in pages if not page.is_file()] == []
    assert chapters_in_toc(root)[0] in (html / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_pages_ask_no_other_server(html: Path) -> None:
    """A page can be read offline, and nobody else learns who reads it."""
    pages = [*html.glob("book/*.html")]
    assert pages
    for page in pages:
        fetched = Page(page).fetched
        assert [address for address in fetched if "//" in address.partition("?")[0]] == []
        paths = [address.partition("?")[0] for address in fetched if address[:5] != "data:"]
        missing = [path for path in paths if not (page.parent / path).is_file()]
        assert missing == []


@pytest.mark.slow
def test_every_rendered_picture_has_an_alt_text(html: Path) -> None:
    for page in html.glob("book/*.html"):
        assert Page(page).pictures_without_alt == []
