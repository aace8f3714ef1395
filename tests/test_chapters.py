"""What every chapter of the book has: CONTRIBUTING.md, "How a chapter is built".

Chapters are the notebooks named chNN_name.ipynb; rules for all notebooks are in test_notebooks.py.
"""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from run_notebooks import figure_models

from maskdiff_edu import widgets

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if re.fullmatch(r"ch\d\d_\w+", path.stem)]

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"

HIDDEN = {"tags": ["remove-input"], "cellView": "form", "jupyter": {"source_hidden": True}}
SECTIONS = ["## Exercises", "## Check yourself", "## Summary", "## Further reading"]
EQUALITY = {"assert_close", "assert_allclose", "assert_array_equal"}

EXERCISE = re.compile(r"^`{3,}\{exercise\}.*\n:label: *(\S+)", re.MULTILINE)
SOLUTION = re.compile(r"^`{3,}\{solution-start\} *(\S+)\n:class: *dropdown", re.MULTILINE)
SOLUTION_END = re.compile(r"^`{3,}\{solution-end\}", re.MULTILINE)
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def chapter(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def cells(chapter: nbformat.NotebookNode, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in chapter.cells if cell.cell_type == kind]


def prose(chapter: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in cells(chapter, "markdown"))


def figures(chapter: nbformat.NotebookNode) -> list[tuple[str, dict]]:
    """(class, what the script knows) of each interactive figure that the chapter shows."""
    state = chapter.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    outputs = [output for cell in cells(chapter, "code") for output in cell.outputs]
    shown = [o.data[VIEW]["model_id"] for o in outputs if VIEW in o.get("data", {})]
    models = [state[name]["state"] for name in shown]
    return [(model["_anywidget_id"].rpartition(".")[2], model["spec"]) for model in models]


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def called(tree: ast.AST) -> set[str]:
    """Names of all functions that are called, without what stands before a dot."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}


def body(function: ast.FunctionDef) -> str:
    """The statements of a function without its docstring."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return "\n".join(ast.unparse(statement) for statement in statements)


@pytest.fixture(scope="module")
def library_bodies() -> set[str]:
    """The statements of every function of the library that is longer than one line."""
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("maskdiff_edu/**/*.py")]
    bodies = {body(f) for source in sources for f in functions(ast.parse(source))}
    return {text for text in bodies if "\n" in text}


@pytest.fixture(scope="module")
def bibliography() -> set[str]:
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    return set(re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE))


def test_says_its_aim_what_comes_before_and_how_long_it_takes(
    chapter: nbformat.NotebookNode,
) -> None:
    first = chapter.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    found = re.findall(r"^\*\*(Aim|Before|Time)\.\*\* \S", first.source, re.MULTILINE)
    assert found == ["Aim", "Before", "Time"]
    seconds = chapter.metadata["maskdiff"]["cpu_seconds"]
    assert f"{seconds} s of CPU time" in first.source
    assert seconds <= 180  # no chapter over three minutes


def test_sections_stand_in_their_order(chapter: nbformat.NotebookNode) -> None:
    headings = re.findall(r"^## .*$", prose(chapter), re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS


def test_installs_the_package_first(chapter: nbformat.NotebookNode) -> None:
    """That it is the right cell is checked in test_notebooks.py."""
    assert 'find_spec("maskdiff_edu")' in cells(chapter, "code")[0].source


def test_holds_two_interactive_figures_and_a_prediction(chapter: nbformat.NotebookNode) -> None:
    kinds = [kind for kind, _ in figures(chapter)]
    assert kinds.count("Predict") >= 1
    assert len([kind for kind in kinds if kind not in ("Predict", "Quiz")]) >= 2


def test_every_frame_says_in_words_what_it_shows(chapter: nbformat.NotebookNode) -> None:
    for kind, spec in figures(chapter):
        if kind == "FrameFigure":
            captions = [frame["caption"] for frame in spec["frames"].values()]
            assert all(len(caption.split()) >= 4 for caption in captions), spec["label"]
            assert len(captions) == 1 or len(set(captions)) > 1, spec["label"]


def test_quiz_asks_three_questions(chapter: nbformat.NotebookNode) -> None:
    specs = [spec for kind, spec in figures(chapter) if kind == "Quiz"]
    assert sum(len(spec["questions"]) for spec in specs) >= 3


def test_questions_do_not_show_their_code(chapter: nbformat.NotebookNode) -> None:
    """It holds the answers: hidden on the site, in JupyterLab and, by its first line, in Colab."""
    for cell in cells(chapter, "code"):
        if {"quiz", "predict"} & called(ast.parse(cell.source)):
            assert {name: cell.metadata.get(name) for name in HIDDEN} == HIDDEN, cell.source
            assert cell.source.startswith("# @title "), cell.source


def test_three_exercises_with_solutions_that_run(
    chapter: nbformat.NotebookNode, path: Path
) -> None:
    exercises = EXERCISE.findall(prose(chapter))
    assert len(exercises) >= 3
    assert len(set(exercises)) == len(exercises)
    assert [label for label in exercises if not label.startswith(f"{path.stem[:4]}-")] == []
    solved, current = {}, None
    for cell in chapter.cells:
        if cell.cell_type == "markdown" and (start := SOLUTION.search(cell.source)):
            assert current is None, f"solution of {current} has no end"
            current = start[1]
            solved[current] = False
        elif cell.cell_type == "markdown" and SOLUTION_END.search(cell.source):
            current = None
        elif cell.cell_type == "code" and current:
            solved[current] = True
    assert current is None, f"solution of {current} has no end"
    assert set(solved) <= set(exercises)
    assert len(solved) >= 0.95 * len(exercises)
    assert [label for label, has_code in solved.items() if not has_code] == []


def test_meets_a_misconception(chapter: nbformat.NotebookNode) -> None:
    assert re.search(r"\{admonition\} Misconception: \S.*\n:class: warning", prose(chapter))


def test_own_functions_are_short_and_compared_with_the_library(
    chapter: nbformat.NotebookNode,
) -> None:
    trees = [ast.parse(cell.source) for cell in cells(chapter, "code")]
    own = {f.name: f for tree in trees for f in functions(tree) if f.name.startswith("my_")}
    assert own
    lines = {name: len(ast.unparse(function).splitlines()) for name, function in own.items()}
    assert {name: n for name, n in lines.items() if n > 16} == {}  # 15 below the `def`
    compared = set().union(*(called(tree) for tree in trees if EQUALITY & called(tree)))
    assert set(own) - compared == set()


def test_no_function_is_a_copy_of_a_library_one(
    chapter: nbformat.NotebookNode, library_bodies: set[str]
) -> None:
    trees = [ast.parse(cell.source) for cell in cells(chapter, "code")]
    copied = [f.name for tree in trees for f in functions(tree) if body(f) in library_bodies]
    assert copied == []


def test_statements_are_asserted(chapter: nbformat.NotebookNode) -> None:
    trees = [ast.parse(cell.source) for cell in cells(chapter, "code")]
    assert sum(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree)) >= 3


def test_citations_are_resolved(chapter: nbformat.NotebookNode, bibliography: set[str]) -> None:
    cited = {key.strip() for keys in CITATION.findall(prose(chapter)) for key in keys.split(",")}
    assert cited
    assert cited - bibliography == set()
    assert "{bibliography}" not in prose(chapter)  # one page of its own


def test_at_most_one_output_is_left_uncompared(chapter: nbformat.NotebookNode) -> None:
    tags = [cell.metadata.get("tags", []) for cell in cells(chapter, "code")]
    assert sum("nbval-ignore-output" in listed for listed in tags) <= 1
    assert not any("nbval-skip" in listed or "nbval-raises-exception" in listed for listed in tags)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebook_is_small(path: Path) -> None:
    assert path.stat().st_size < 3e6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_is_stored_with_all_it_needs(path: Path) -> None:
    """Otherwise the page would show nothing where the figure belongs."""
    chapter = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    state = chapter.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    assert len(figures(chapter)) == len([m for m in state.values() if "spec" in m["state"]])
    numbers = [int(name, 16) for name in state]
    assert sorted(numbers) == list(range(1, len(state) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_figures_have_the_present_scripts(path: Path) -> None:
    """After a change of js/ or widgets.css: run_notebooks.py --restyle book/*.ipynb."""
    for model in figure_models(nbformat.read(path, as_version=nbformat.NO_CONVERT)):
        figure = getattr(widgets, model["_anywidget_id"].rpartition(".")[2])
        assert (model["_esm"], model["_css"]) == (figure._esm, figure._css), figure.__name__


def test_no_two_chapters_have_one_number() -> None:
    numbers = [path.stem[2:4] for path in CHAPTERS]
    assert sorted(set(numbers)) == numbers
