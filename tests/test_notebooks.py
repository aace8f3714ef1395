"""The chapters as they are stored: executed from top to bottom, clean, and readable by all.

That a second run prints the same is nbval's part (`make test`).
"""

import re
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from set_repo import current_repository

FOLDER = Path(__file__).resolve().parent.parent / "book"
CHAPTERS = sorted(FOLDER.glob("*.ipynb"))

# The first code cell of every chapter that needs the package. Not `%pip`: a failed install
# would not stop the notebook.
INSTALL_CELL = """\
import importlib.util

spec = importlib.util.find_spec("maskdiff_edu")
if spec is None or spec.origin is None:  # on Colab; a mere folder of that name has no origin
    import subprocess
    import sys

    address = "git+https://github.com/{repository}@v{version}"
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", address])
    importlib.invalidate_caches()"""

MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(")
HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
HTML_ALT = re.compile(r"""\balt\s*=\s*(["'])\s*\S.*?\1""", re.IGNORECASE | re.DOTALL)


@pytest.fixture(scope="module", params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=nbformat.NO_CONVERT)


def code_cells(chapter: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in chapter.cells if cell.cell_type == "code"]


def images(cell: nbformat.NotebookNode) -> int:
    """How many pictures the cell's stored outputs hold."""
    kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
    return sum(kind.startswith("image/") for kind in kinds)


def test_there_are_chapters() -> None:
    assert {"intro", "quickstart"} <= {path.stem for path in CHAPTERS}


def test_chapter_is_a_valid_notebook(chapter: nbformat.NotebookNode) -> None:
    nbformat.validate(chapter)
    assert chapter.metadata.kernelspec.name == "python3"


def test_cells_were_run_once_from_top_to_bottom(chapter: nbformat.NotebookNode) -> None:
    """A cell that was never run has no count, and nbval would let it pass unchecked."""
    counts = [cell.execution_count for cell in code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_code_cell_is_empty(chapter: nbformat.NotebookNode) -> None:
    assert all(cell.source.strip() for cell in code_cells(chapter))


def test_stored_outputs_hold_no_error_and_no_stderr(chapter: nbformat.NotebookNode) -> None:
    outputs = [output for cell in code_cells(chapter) for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


def test_no_times_are_stored(chapter: nbformat.NotebookNode) -> None:
    """They would change with every run; `make notebooks` stores none."""
    assert [cell.id for cell in code_cells(chapter) if "execution" in cell.metadata] == []


def test_every_figure_says_in_words_what_it_shows(chapter: nbformat.NotebookNode) -> None:
    """A cell that draws carries its alt text in metadata.mystnb.image.alt, one figure a cell."""
    for cell in code_cells(chapter):
        if count := images(cell):
            assert count == 1, f"{count} figures share one alt text in cell:\n{cell.source}"
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 4, f"no metadata.mystnb.image.alt in cell:\n{cell.source}"


def test_every_picture_in_the_text_has_an_alt_text(chapter: nbformat.NotebookNode) -> None:
    for cell in chapter.cells:
        html = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
        text = "\n".join([cell.source, *html])
        assert all(alt.strip() for alt in MARKDOWN_IMAGE.findall(text)), text
        assert [tag for tag in HTML_IMAGE.findall(text) if not HTML_ALT.search(tag)] == []


def test_chapter_starts_by_installing_the_package(
    chapter: nbformat.NotebookNode, root: Path
) -> None:
    """The same cell everywhere, so that each chapter opens alone in Colab."""
    expected = INSTALL_CELL.format(
        repository=current_repository(root), version=version("maskdiff_edu")
    )
    sources = [cell.source for cell in code_cells(chapter)]
    assert sources[:1] in ([], [expected])
    assert sources.count(expected) <= 1
