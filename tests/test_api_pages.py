"""The API reference: all modules, public names and commands; and how docstrings become it."""

import doctest
import re
from collections import Counter
from pathlib import Path

import api_docstrings
import pytest

from maskdiff_edu.cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "book").glob("api*.md"))
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \|$", re.MULTILINE)  # of CONTRIBUTING.md's table
CODE = re.compile(r"`([A-Za-z_]\w*)`")


def test_every_module_is_on_one_page() -> None:
    """Those of the command line are there as its commands, parts of `widgets` as `widgets`."""
    modules = {p.stem for p in (ROOT / "maskdiff_edu").glob("*.py") if not p.stem.startswith("cli")}
    shown = Counter(re.findall(r"automodule:: maskdiff_edu\.(\w+)", TEXT))
    assert shown == dict.fromkeys(modules | {"widgets"}, 1)


def test_every_module_is_in_the_overview() -> None:
    overview = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"automodule:: maskdiff_edu\.(\w+)", TEXT))
    listed = Counter(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| .*$", overview, re.M))))
    assert listed == dict.fromkeys(shown | {"cli"}, 1)


def test_every_command_is_listed() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"^\| `maskdiff-edu (\w+)` \|", TEXT, re.MULTILINE)) == names


def test_examples_of_the_translation() -> None:
    results = doctest.testmod(api_docstrings)
    assert results.failed == 0 < results.attempted


@pytest.mark.slow
def test_every_public_name_has_a_place_to_link_to(html: Path) -> None:
    rendered = [(html / "book" / f"{page.stem}.html").read_text(encoding="utf-8") for page in PAGES]
    places = re.findall(r'id="maskdiff_edu\.([\w.]+)"', "\n".join(rendered))
    assert len(places) == len(set(places))
    table = ROW.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    modules = {module for names, _ in table for module in CODE.findall(names)}
    names = {name for _, holds in table for name in CODE.findall(holds)} - modules
    assert len(names) > 100
    assert names - {place.rpartition(".")[2] for place in places} == set()


@pytest.mark.slow
def test_fields_are_explained_by_their_comments(html: Path) -> None:
    page = (html / "book" / "api_masks.html").read_text(encoding="utf-8")
    after = page.split('id="maskdiff_edu.masks.PatchSettings.count"')[1][:2000]
    assert "rectangles a slice, uniform, both ends included" in after
