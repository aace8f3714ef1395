"""The API reference: every public name of every wing, every command, and nothing half explained."""

import ast
import dataclasses
import re
from collections import Counter
from importlib import import_module
from inspect import getdoc
from pathlib import Path

import nbformat
import pytest

from maskdiff_edu.cli import app

ROOT = Path(__file__).resolve().parent.parent
WINGS = ("scans", "brains", "diffusion", "training", "detection", "evaluation", "show", "course")
WINGS += ("widgets",)
PUBLIC = [(wing, n) for wing in WINGS for n in import_module(f"maskdiff_edu.{wing}").__all__]
PAGES = {path.stem.removeprefix("api_"): path for path in (ROOT / "book").glob("api_*.md")}
MODULE = re.compile(r"automodule:: maskdiff_edu\.([\w.]+)\n   :members:([^\n]*)")
# Classes whose signature Sphinx cannot read: a function or a factory as a default.
SPELT_OUT = re.compile(r"autoclass:: ([\w.]+)\((.*)\)\n   :members:\n")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def listed(wing: str) -> list[str]:
    """The names that a wing's page shows."""
    text = read(PAGES[wing])
    names = [n.strip() for _, names in MODULE.findall(text) for n in names.split(",")]
    return names + [name.rpartition(".")[2] for name, _ in SPELT_OUT.findall(text)]


@pytest.fixture(scope="module")
def cells() -> str:
    """The code of all notebooks."""
    notebooks = (ROOT / "book").glob("*.ipynb")
    found = [nbformat.read(path, as_version=nbformat.NO_CONVERT) for path in notebooks]
    return "\n".join(c.source for nb in found for c in nb.cells if c.cell_type == "code")


@pytest.mark.parametrize("wing", WINGS[:-1])
def test_a_page_lists_what_its_wing_offers(wing: str) -> None:
    assert sorted(listed(wing)) == sorted(import_module(f"maskdiff_edu.{wing}").__all__)
    for module, names in MODULE.findall(read(PAGES[wing])):
        found = import_module(f"maskdiff_edu.{module}")
        assert module.startswith(f"{wing}.") and all(
            hasattr(found, n.strip()) for n in names.split(",")
        )


def test_a_signature_that_is_spelt_out_is_that_of_the_code() -> None:
    found = [pair for page in PAGES.values() for pair in SPELT_OUT.findall(read(page))]
    assert len(found) > 4
    for name, written in found:
        module, _, cls = name.rpartition(".")
        arguments = [part.partition("=")[0] for part in re.split(r", (?=\w+|\*)", written)]
        fields = dataclasses.fields(getattr(import_module(module), cls))
        assert [a for a in arguments if a != "*"] == [f.name for f in fields if f.init], name


def test_every_page_is_in_the_overview_and_in_the_table_of_contents() -> None:
    assert {*WINGS, "cli"} == set(PAGES)
    overview = Counter(re.findall(r"\(api_(\w+)\.md\)", read(ROOT / "book" / "api.md")))
    assert overview == dict.fromkeys(PAGES, 1)
    assert {f"book/{path.stem}" for path in PAGES.values()} <= set(read(ROOT / "_toc.yml").split())


def test_every_command_is_listed() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert (
        set(re.findall(r"^\| `maskdiff-edu (\w+)` \|", read(PAGES["cli"]), re.MULTILINE)) == names
    )


@pytest.mark.parametrize(("wing", "name"), PUBLIC)
def test_a_public_name_is_used_in_a_chapter_or_has_an_example(wing, name, cells) -> None:
    """The example is run with the tests: they collect doctests."""
    example = ">>> " in (getdoc(getattr(import_module(f"maskdiff_edu.{wing}"), name)) or "")
    assert example or re.search(rf"\b{name}\b", cells)


def test_no_comment_of_a_field_holds_a_colon() -> None:
    """What stands before one would be shown as a type."""
    sources = {p: read(p).splitlines() for p in (ROOT / "maskdiff_edu").rglob("*.py")}
    comments = [
        f"{path.name}:{number}: {line.strip()}"
        for path, lines in sources.items()
        for number, line in enumerate(lines, 1)
        if re.search(r"#:.*:( |$)", line)
    ]
    assert comments == []


@pytest.mark.slow
def test_every_public_name_has_a_place_to_link_to(html: Path) -> None:
    pages = [
        (html / "book" / f"{path.stem}.html").read_text(encoding="utf-8") for path in PAGES.values()
    ]
    places = re.findall(r'id="maskdiff_edu\.([\w.]+)"', "\n".join(pages))
    assert len(places) == len(set(places))
    assert {name for _, name in PUBLIC} - {place.rpartition(".")[2] for place in places} == set()


@pytest.mark.slow
def test_fields_are_explained_by_their_comments(html: Path) -> None:
    page = (html / "book" / "api_diffusion.html").read_text(encoding="utf-8")
    after = page.split('id="maskdiff_edu.diffusion.masks.PatchSettings.count"')[1][:2000]
    assert "rectangles a slice, uniform, both ends included" in after


@pytest.mark.slow
def test_signatures_hold_names_and_no_unions_of_a_library(html: Path) -> None:
    """Types that Python spells out (`_Buffer | _SupportsArray[...`), addresses of functions."""
    for path in PAGES.values():
        page = (html / "book" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert "_SupportsArray" not in page and "&lt;function" not in page, path.stem
        assert not re.search(r"~\w+\.", page), path.stem


def test_no_code_stands_bare_in_the_docstring_of_a_module() -> None:
    """It would be shown as running text, too wide for a phone; `::` before it makes it code."""
    for path in (ROOT / "maskdiff_edu").rglob("*.py"):
        doc = (ast.get_docstring(ast.parse(read(path))) or "").partition(">>> ")[0]
        assert not re.search(r"^\w+(\.\w+)*( = |\()", doc, re.MULTILINE), path.name
