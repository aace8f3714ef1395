"""A small Sphinx extension: the library's docstrings and comments, as book/api*.md shows them.

Docstrings of this library are plain text in which `backticks` set code, as in Markdown, and what a
field or a constant means stands in a comment behind or above it. Sphinx reads another dialect:
reStructuredText, and comments that begin with `#:`. The functions below translate.
"""

import ast
import inspect
import io
import re
import tokenize
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import stringify_annotation

import maskdiff_edu
from maskdiff_edu.diffusion import Corruption
from maskdiff_edu.diffusion.sampling import Model, Noise, ToX0
from maskdiff_edu.evaluation.groups import Load

# What stands in backticks, *emphasis*, and examples: from the first >>> to a blank line.
AS_IT_IS = re.compile(
    r"(`[^`]+`|(?<![\w*])\*\w[^*`]*\*(?![\w*])|^ *>>>.*?(?:\n *$|\Z))", re.MULTILINE | re.DOTALL
)
COLON = "\ue000"  # stands for a colon while napoleon reads

# Names of long types; the longest first, since one may hold another.
NAMED_TYPES = {"ArrayLike": ArrayLike, "Corruption": Corruption}
NAMED_TYPES |= {"Model": Model, "Noise": Noise, "ToX0": ToX0, "Load": Load}
SPELT_OUT = [(stringify_annotation(kind, "smart"), name) for name, kind in NAMED_TYPES.items()]
LONG_TYPES = sorted(SPELT_OUT, key=lambda pair: len(pair[0]), reverse=True)
MARKUP = re.compile(r"(?<!\\)[*|]|_\b(?!\w)")  # a reader of reStructuredText would act on it


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: read_comments())
    app.connect("autodoc-process-docstring", translate, priority=400)  # before napoleon, at 500
    app.connect("autodoc-process-docstring", restore_colons, priority=600)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}


def read_comments() -> None:
    """Let Sphinx take the comments of fields and constants for their documentation."""
    for module in walk_packages(maskdiff_edu.__path__, "maskdiff_edu."):
        if not module.ispkg:
            source = inspect.getsource(import_module(module.name))
            analyzer = ModuleAnalyzer.for_string(marked(source), module.name)
            ModuleAnalyzer.cache["module", module.name] = analyzer


def marked(source: str) -> str:
    """`source` with `#:` in place of `#`, outside of functions.

    >>> marked("a = 1  # first\\ndef f():\\n    b = 2  # inside\\n")
    'a = 1  #: first\\ndef f():\\n    b = 2  # inside\\n'
    """
    functions = [f for f in ast.walk(ast.parse(source)) if isinstance(f, ast.FunctionDef)]
    inside = {n for f in functions for n in range(f.lineno, f.end_lineno + 1)}
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT and row not in inside:
            line = lines[row - 1]
            lines[row - 1] = f"{line[:column]}#:{line[column + 1 :]}"
    return "".join(lines)


def translate(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list) -> None:
    """Turn a docstring's lines into reStructuredText, in place."""
    text = as_rst("\n".join(lines))
    if what in ("attribute", "data"):  # napoleon would take "in pixels: 2w + 1" for a type
        text = text.replace(":", COLON)
    lines[:] = text.split("\n")


def restore_colons(app: Sphinx, what: str, name: str, thing: Any, opts: Any, lines: list) -> None:
    lines[:] = [line.replace(COLON, ":") for line in lines]


def shorten(app: Sphinx, what: str, name: str, thing: Any, opts: Any, given: str, back: str):
    """A signature with the names that the code has, of types and of functions as defaults."""
    return tuple(text and as_written(text) for text in (given, back))


def as_written(signature: str) -> str:
    """Python and Sphinx spell out what has a name.

    >>> as_written("(noise=<function white at 0x7f00>, settings=<factory>)")
    '(noise=white, settings=...)'
    """
    for long, short in LONG_TYPES:
        signature = signature.replace(long, short)
    signature = re.sub(r"<function ([\w.]+)[^>]*>", r"\1", signature)
    return signature.replace("<factory>", "...")


def as_rst(text: str) -> str:
    """Code in double backticks, examples as they are, and nothing else that means something.

    >>> as_rst("`draw_*` decides, apply_* does it")
    '``draw_*`` decides, apply\\\\_\\\\* does it'
    """
    parts = AS_IT_IS.split(text)
    parts[::2] = [MARKUP.sub(lambda found: f"\\{found[0]}", part) for part in parts[::2]]
    parts[1::2] = [f"`{part}`" if part.startswith("`") else part for part in parts[1::2]]
    parts[2::2] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]]  # `Panel`s
    return "".join(parts)
