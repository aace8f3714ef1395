"""Execute notebooks and store their outputs in them: `make notebooks`.

    python data_scripts/run_notebooks.py book/*.ipynb

Nothing that differs from run to run or from machine to machine is stored beside the outputs:
no times and no Python version, so that a diff shows what really changed.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TIMEOUT = 300  # seconds a cell, as in _config.yml and in `make test`


def execute(path: Path) -> None:
    """Execute the notebook at `path` in its own folder; rewrite it if every cell succeeded."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times that another tool stored
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",  # the one of the environment this runs in
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
    )
    client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    nbformat.write(notebook, path)


def main() -> None:
    if len(sys.argv) == 1:
        sys.exit("say which notebooks: run_notebooks.py book/*.ipynb")
    for path in map(Path, sys.argv[1:]):
        print(f"executing {path}", flush=True)
        execute(path)


if __name__ == "__main__":
    main()
