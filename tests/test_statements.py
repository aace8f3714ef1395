"""book/statements.md: each statement has a verdict, and a link to where a cell asserts it."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from site_build import pages_in_toc

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
VERDICTS = {"true", "partly", "false"}

# What the book promises to test, in the order in which it came up.
STATEMENTS = {
    "Masking hides part of an image behind zeros.",
    "IPM masks random rectangles.",
    "The masked image is noised as usual.",
    "The network is trained to give back the clean image, masked parts included.",
    "It learns to fill in from the context.",
    "FPM goes to the frequency domain, removes components, and comes back.",
    "Frequencies hold different levels of detail.",
    "CutMix pastes patches of one image into another.",
    "FPM-CM pastes FPM patches into the clean image.",
    "The composite has clean and altered regions, and the network restores the clean one.",
    "Conventional training estimates the noise and removes it step by step.",
    "Masking regularises.",
    "At inference a real anomaly is treated as a perturbation and removed.",
    "The difference makes the anomaly map.",
    "Masking improves detection over the plain DDPM.",
    'Setting to zero "is a kind of noise".',
    "The network denoises and fills in simultaneously.",
}

ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]+\]\(([^)#]+)#([^)]+)\)")
HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
FENCE = re.compile(r"^(`{3,}|:{3,}).*?^\1 *$", re.MULTILINE | re.DOTALL)


def rows() -> dict[str, tuple[str, str, str]]:
    """{statement: (verdict, why, where)} of all tables of the page."""
    found = ROW.findall((BOOK / "statements.md").read_text(encoding="utf-8"))
    listed = [row for row in found if row[0] != "statement"]
    table = {statement: (verdict, why, where) for statement, verdict, why, where in listed}
    assert len(table) == len(listed)
    return table


def slug(title: str) -> str:
    """A heading as a link names it; MyST and GitHub make it alike."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def sections(notebook: nbformat.NotebookNode) -> dict[str, bool]:
    """{heading as a link names it: whether a code cell below it, or in its parts, asserts}."""
    asserts: dict[str, bool] = {}
    open_now: list[tuple[int, str]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for marks, title in HEADING.findall(FENCE.sub("", cell.source)):
                open_now = [(level, name) for level, name in open_now if level < len(marks)]
                open_now.append((len(marks), slug(title)))
                assert slug(title) not in asserts, f"two headings would be linked as {title!r}"
                asserts[slug(title)] = False
        elif any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source))):
            asserts |= {name: True for _, name in open_now}
    return asserts


def test_page_lists_every_statement_once_with_a_verdict() -> None:
    table = rows()
    assert set(table) == STATEMENTS
    assert {verdict for verdict, _, _ in table.values()} <= VERDICTS
    assert all(len(why.split()) >= 5 for _, why, _ in table.values())


@pytest.mark.parametrize("statement", sorted(STATEMENTS))
def test_statement_is_asserted_where_the_page_says(statement: str) -> None:
    _, _, where = rows()[statement]
    links = LINK.findall(where)
    assert links
    for file, heading in links:
        assert f"book/{Path(file).stem}" in pages_in_toc(ROOT)
        found = sections(nbformat.read(BOOK / file, as_version=nbformat.NO_CONVERT))
        assert heading in found, f"{file} has no heading #{heading}"
        assert found[heading], f"no cell asserts anything below #{heading} of {file}"


def test_a_section_without_an_assertion_is_noticed() -> None:
    """So that the test above can fail."""
    cells = [
        nbformat.v4.new_markdown_cell("# Title\n\n## Said: only *so*\n\n```\n# no heading\n```"),
        nbformat.v4.new_code_cell('print("assert 1")'),
        nbformat.v4.new_markdown_cell("## Shown\n\n### In detail"),
        nbformat.v4.new_code_cell("assert 1 + 1 == 2"),
    ]
    found = sections(nbformat.v4.new_notebook(cells=cells))
    assert found == {"title": True, "said-only-so": False, "shown": True, "in-detail": True}
