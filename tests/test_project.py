"""The project's notebook, from its first cell to its last, with trainings of three steps."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from maskdiff_edu.course import make_kit
from maskdiff_edu.course.source import AT_HOME, as_python
from maskdiff_edu.detection import build_method

SOURCE = Path(__file__).resolve().parent.parent / "book" / "assignments" / "hw08_project.ipynb"
SMALLER = {
    "STEPS = 1500": "STEPS = 3",
    "SUBJECTS = 40": "SUBJECTS = 2",
    "PATIENTS = 12": "PATIENTS = 2",
}


@pytest.fixture
def cells(tmp_path):
    """The code of the solution, made smaller."""
    kit = make_kit(SOURCE, "autumn", tmp_path / "kit", course="autumn")
    code = ["".join(c["source"]) for c in kit.solution["cells"] if c["cell_type"] == "code"]
    for large, small in SMALLER.items():
        assert sum(text.count(large) for text in code) == 1
        code = [text.replace(large, small) for text in code]
    return code


@pytest.mark.skipif(sys.platform == "win32", reason="a course is made on Linux or macOS")
def test_the_project_runs_from_top_to_bottom(cells, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures = []
    monkeypatch.setattr(plt, "show", lambda: pictures.append(plt.gcf().number) or plt.close())
    names: dict = {}
    home = 0
    for text in cells:
        home += text.startswith(AT_HOME)
        exec(compile(as_python(text), "<cell>", "exec"), names)
    assert home == 4 and len(pictures) == 5
    said = capsys.readouterr().out
    assert "✗" not in said and said.count("✓") == 4
    assert "yours minus plain" in said and "of 2" in said
    own = names["files"]["yours"]
    assert len(own) == 2 and own[0] in said
    method = build_method(own[0])
    assert (method.card.method, method.settings.t) == ("clouds", 200)
    [plain, *_] = (
        json.loads(Path(f).with_suffix(".json").read_text()) for f in names["files"]["plain"]
    )
    assert plain["train"] == method.card.stored["train"] | {"corruption": "custom: no_corruption"}
