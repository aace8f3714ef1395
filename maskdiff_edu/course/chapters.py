"""The student edition of a chapter: the reader's own functions as blanks, to be written first.

The cell behind each compares it with the library's, and is its test.
"""

import ast
import copy
import re
from collections.abc import Mapping
from typing import Any

from maskdiff_edu.course.source import BLANK, as_python

OWN = "my_"  #: how the names of the reader's own functions begin


def student_edition(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """A chapter without the bodies of its `my_...` functions, worked solutions and outputs."""
    made = copy.deepcopy(dict(notebook))
    cells, in_solution = [], False
    for cell in made["cells"]:
        text = "".join(cell["source"])
        if re.match(r"`{3,}\{solution-start\}", text):
            in_solution = True
        if not in_solution:
            cells.append(cell)
        if re.match(r"`{3,}\{solution-end\}", text):
            in_solution = False
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            cell["source"] = blank(text).splitlines(keepends=True)
    made["cells"] = cells
    made["metadata"] = {k: v for k, v in made["metadata"].items() if k != "widgets"}
    return made


def blank(source: str) -> str:
    """The cell's text with every own function's body, below its docstring, taken out.

    >>> print(blank("def my_square(x):\\n    return x * x\\n\\nprint(1)"))
    def my_square(x):
        ...  # your code
    <BLANKLINE>
    print(1)
    """
    if OWN not in source:
        return source
    lines = source.splitlines()
    tree = ast.parse(as_python(source))
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name.startswith(OWN):
            kept = 1 if ast.get_docstring(node) is not None and len(node.body) > 1 else 0
            first, last = node.body[kept], node.body[-1]
            start = first.lineno - 1
            # Comments above the first line are a part of the body too.
            above = node.body[kept - 1].end_lineno if kept else _head_end(node, lines)
            indent = " " * first.col_offset
            lines[above or start : last.end_lineno] = [indent + BLANK]
    return "\n".join(lines)


def _head_end(node: ast.FunctionDef, lines: list[str]) -> int:
    """How many lines lie above the body: up to the one that ends the head with a colon."""
    number = node.body[0].lineno - 1
    while number > node.lineno and not lines[number - 1].split("#")[0].rstrip().endswith(":"):
        number -= 1
    return number
