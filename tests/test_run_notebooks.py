"""Executing notebooks: what is stored is the same every time, and a slow chapter is told."""

import json
from pathlib import Path

import nbformat
import pytest
import run_notebooks
import runtime_table
from run_notebooks import WIDGET_STATE, WIDGET_VIEW, number_figures, too_slow

SHOWN, LAYOUT, UNSHOWN = "c" * 32, "a" * 32, "b" * 32


def notebook_with_figure(shown: str, layout: str) -> nbformat.NotebookNode:
    """One figure that is shown, its layout, and one that was made but not shown."""
    data = {WIDGET_VIEW: {"model_id": shown}, "text/plain": "words"}
    cell = nbformat.v4.new_code_cell("figure")
    cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=1)]
    state = {
        UNSHOWN: {"state": {"n": 1}},
        layout: {"state": {"width": None}},
        shown: {"state": {"layout": f"IPY_MODEL_{layout}", "n": 2}},
    }
    widgets = {WIDGET_STATE: {"state": state, "version_major": 2, "version_minor": 0}}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": widgets})


def test_figures_are_named_by_their_order_and_others_are_dropped() -> None:
    stored = number_figures(notebook_with_figure(SHOWN, LAYOUT))
    first, second = f"{1:032x}", f"{2:032x}"
    state = stored.metadata["widgets"][WIDGET_STATE]["state"]
    assert state == {
        first: {"state": {"layout": f"IPY_MODEL_{second}", "n": 2}},
        second: {"state": {"width": None}},
    }
    assert stored.cells[0].outputs[0].data[WIDGET_VIEW]["model_id"] == first


def test_random_names_leave_no_trace() -> None:
    one, other = notebook_with_figure(SHOWN, LAYOUT), notebook_with_figure("d" * 32, "e" * 32)
    other.cells[0].id = one.cells[0].id
    assert number_figures(one) == number_figures(other)


def test_notebook_without_figures_stores_no_state() -> None:
    notebook = notebook_with_figure(SHOWN, LAYOUT)
    notebook.cells[0].outputs = []
    assert "widgets" not in number_figures(notebook).metadata


@pytest.mark.parametrize(("took", "is_told"), [(29, False), (31, True)])
def test_three_times_the_stated_seconds_are_too_slow(took: float, is_told: bool) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"maskdiff": {"cpu_seconds": 10}})
    assert bool(too_slow(notebook, {"cpu_seconds": took})) == is_told
    assert too_slow(nbformat.v4.new_notebook(), {"cpu_seconds": took}) is None


def test_notebook_is_executed_measured_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)
    path = tmp_path / "a.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")]), path
    )
    assert run_notebooks.store(path) is None
    stored = nbformat.read(path, as_version=4)
    assert [cell.outputs[0].text for cell in stored.cells] == ["42\n"]  # the measuring cell is gone
    assert stored.cells[0].execution_count == 1
    assert "CPU seconds" in capsys.readouterr().out


def test_table_lists_the_chapters_in_the_books_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_table, "PAGE", tmp_path / "runtime.md")
    for name, stated in (("quickstart", None), ("intro", 7)):
        metadata = {"maskdiff": {"cpu_seconds": stated}} if stated else {}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"metadata": metadata}))
    cost = {"cpu_seconds": 12.4, "wall_seconds": 8.6, "peak_mb": 512.0}
    costs = {tmp_path / f"{name}.ipynb": cost for name in ("quickstart", "intro")}
    runtime_table.write_table(costs)
    rows = [row for row in runtime_table.PAGE.read_text().splitlines() if row.startswith("| ")]
    assert rows[1:] == [
        "| [](./intro.ipynb) | 7 s | 12 s | 9 s | 0.5 GB |",
        "| [](./quickstart.ipynb) |  | 12 s | 9 s | 0.5 GB |",
        "| together | | 25 s | 17 s | 0.5 GB |",
    ]
