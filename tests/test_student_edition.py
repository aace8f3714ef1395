"""The chapters with blanks: every own function is one, and nothing else changed."""

import ast
import json
import re
from pathlib import Path

import pytest

from maskdiff_edu.course.chapters import blank, student_edition

CHAPTERS = sorted((Path(__file__).resolve().parent.parent / "book").glob("ch*.ipynb"))


def code(notebook):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_own_functions_are_blanks_and_all_else_stays(path):
    whole = json.loads(path.read_text(encoding="utf-8"))
    made = student_edition(whole)
    names = re.findall(r"^def (my_\w+)", "\n".join(code(whole)), re.MULTILINE)
    assert names
    for text in code(made):
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("my_"):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                [only] = body
                assert isinstance(only, ast.Expr) and only.value.value is Ellipsis
    prose = ["".join(c["source"]) for c in made["cells"]]
    assert not any("{solution-start}" in text or "{solution-end}" in text for text in prose)
    assert all(not c["outputs"] for c in made["cells"] if c["cell_type"] == "code")
    kept = {text for text in code(whole) if "my_" not in text}
    assert len(kept & set(code(made))) > len(kept) / 2
    assert json.loads(path.read_text(encoding="utf-8")) == whole


def test_a_blank_keeps_head_docstring_and_neighbours():
    source = (
        'x = 1\n\n\ndef my_long(\n    a,  # why:\n    b=2,\n):\n    """What it does."""\n'
        "    # a comment\n    if a:\n        return b\n    return a\n\n\ny = my_long(1)"
    )
    made = blank(source)
    assert made == (
        'x = 1\n\n\ndef my_long(\n    a,  # why:\n    b=2,\n):\n    """What it does."""\n'
        "    ...  # your code\n\n\ny = my_long(1)"
    )
