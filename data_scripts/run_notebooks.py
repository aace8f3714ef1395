"""Execute notebooks: store their outputs in them, or in the cache that the book is rendered from.

    python data_scripts/run_notebooks.py book/*.ipynb            `make notebooks`
    python data_scripts/run_notebooks.py --cache book/*.ipynb    `make book`
    python data_scripts/run_notebooks.py --cache --table book/*.ipynb  `make runtime`
    python data_scripts/run_notebooks.py --restyle book/*.ipynb  after changing js/ or *.css

With --restyle nothing is executed: stored figures get the scripts and styles of today.

Stored notebooks hold nothing that differs from run to run or from machine to machine: no times,
no Python version, and figures numbered in their order instead of at random; so a diff shows what
really changed. The cache also holds what each execution took, for book/runtime.md.

A chapter states its CPU seconds in metadata.maskdiff.cpu_seconds; one that takes more than three
times as many fails.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.cache.main import CacheBundleIn
from nbclient import NotebookClient
from nbformat import NotebookNode
from runtime_table import write_table

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "_build" / ".jupyter_cache"  # where Jupyter Book looks
TIMEOUT = 300  # seconds a cell, as in _config.yml and in `make test`
PATIENCE = 3  # how many times its stated CPU seconds a chapter may take

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MODEL_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")  # also after IPY_MODEL_

# Run as a last cell, which is not kept. CPU seconds of all threads, imports included.
MEASURE = """\
import json as _json, resource as _resource, sys as _sys, time as _time
_peak = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss  # KB; on a Mac bytes
_peak_mb = _peak / 2 ** (20 if _sys.platform == "darwin" else 10)
print(_json.dumps({"cpu_seconds": _time.process_time(), "peak_mb": _peak_mb}))
"""


def execute(path: Path) -> tuple[NotebookNode, dict[str, float]]:
    """Execute the notebook at `path` in its own folder; return it, and what that took.

    Raises: nbclient's `CellExecutionError` if a cell fails.
    """
    print(f"executing {path.relative_to(ROOT)}", flush=True)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times that another tool stored
    notebook.metadata.pop("widgets", None)
    notebook.cells.append(nbformat.v4.new_code_cell(MEASURE))
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",  # the one of the environment this runs in
        record_timing=False,
        coalesce_streams=True,  # else what is printed may come in any number of pieces
        resources={"metadata": {"path": path.parent}},
    )
    started = time.monotonic()
    client.execute()
    wall_seconds = time.monotonic() - started
    cost = json.loads(notebook.cells.pop().outputs[0].text)
    notebook.metadata["kernelspec"] = KERNEL
    notebook.metadata["language_info"] = LANGUAGE
    return number_figures(notebook), {**cost, "wall_seconds": wall_seconds}


def number_figures(notebook: NotebookNode) -> NotebookNode:
    """Keep the state of the figures that are shown, and name them by their order of appearance."""
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    shown: dict[str, None] = {}  # an ordered set
    for view in _views(notebook):
        _add_with_parts(view["model_id"], state, shown)
    if not shown:
        notebook.metadata.pop("widgets", None)
        return notebook
    notebook.metadata["widgets"][WIDGET_STATE]["state"] = {name: state[name] for name in shown}
    number = {name: f"{i:032x}" for i, name in enumerate(shown, start=1)}
    for view in _views(notebook):
        view["model_id"] = number[view["model_id"]]
    text = json.dumps(notebook.metadata["widgets"])
    text = MODEL_ID.sub(lambda match: number.get(match[0], match[0]), text)
    notebook.metadata["widgets"] = nbformat.from_dict(json.loads(text))
    return notebook


def _views(notebook: NotebookNode) -> Iterator[dict[str, Any]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET_VIEW in output.get("data", {}):
                yield output["data"][WIDGET_VIEW]


def _add_with_parts(name: str, state: dict[str, Any], shown: dict[str, None]) -> None:
    """Add a model and all models that its state names."""
    if name in state and name not in shown:
        shown[name] = None
        for part in MODEL_ID.findall(json.dumps(state[name]["state"])):
            _add_with_parts(part, state, shown)


def too_slow(notebook: NotebookNode, cost: dict[str, float]) -> str | None:
    """What to say about a chapter that takes more than `PATIENCE` times what it states."""
    stated = notebook.metadata.get("maskdiff", {}).get("cpu_seconds")
    if stated is None or cost["cpu_seconds"] <= PATIENCE * stated:
        return None
    return f"took {cost['cpu_seconds']:.0f} CPU seconds, over {PATIENCE} times its stated {stated}"


def store(path: Path) -> str | None:
    """Execute the notebook and rewrite it with its outputs."""
    notebook, cost = execute(path)
    nbformat.write(notebook, path)
    print(f"  {cost['cpu_seconds']:.1f} CPU seconds, {cost['peak_mb']:.0f} MB at most", flush=True)
    return too_slow(notebook, cost)


def fill_cache(path: Path) -> str | None:
    """Execute the notebook into the cache, unless it is there as it is."""
    cache = get_cache(CACHE)
    try:
        record = cache.match_cache_file(str(path))
        notebook, cost = nbformat.read(path, as_version=4), record.data
    except KeyError:
        notebook, cost = execute(path)
        bundle = CacheBundleIn(notebook, uri=str(path), data=cost)
        cache.cache_notebook_bundle(bundle, overwrite=True, check_validity=False)
    return too_slow(notebook, cost)


def restyle(path: Path) -> None:
    """Give the stored figures their present scripts and styles."""
    notebook = nbformat.read(path, as_version=4)
    for model in figure_models(notebook):
        module, _, name = model["_anywidget_id"].rpartition(".")
        figure = getattr(import_module(module), name)
        model.update({"_esm": figure._esm, "_css": figure._css})
    nbformat.write(notebook, path)


def figure_models(notebook: NotebookNode) -> list[dict[str, Any]]:
    """What is stored of each figure: its script, styles, data and value."""
    models = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {}).values()
    return [model["state"] for model in models if "_anywidget_id" in model["state"]]


def costs(paths: list[Path]) -> dict[Path, dict[str, float]]:
    """What the cached execution of each notebook took."""
    cache = get_cache(CACHE)
    return {path: cache.match_cache_file(str(path)).data for path in paths}


def main() -> None:
    parser = argparse.ArgumentParser(description="Execute notebooks.")
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="book/*.ipynb")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--cache", action="store_true", help="into the cache, not into the files")
    how.add_argument("--restyle", action="store_true", help="only renew the figures' scripts")
    parser.add_argument("--table", action="store_true", help="write book/runtime.md too")
    arguments = parser.parse_args()
    if arguments.table and not arguments.cache:
        parser.error("--table: expected --cache, which holds what each execution took")
    paths = [path.resolve() for path in arguments.notebooks]
    treat = fill_cache if arguments.cache else restyle if arguments.restyle else store
    slow = [f"{path.name} {complaint}" for path in paths if (complaint := treat(path))]
    if arguments.table:
        write_table(costs(paths))
    if slow:
        sys.exit("\n".join(slow))


if __name__ == "__main__":
    main()
