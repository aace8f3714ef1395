"""Write book/runtime.md: what each chapter takes to run, as `make runtime` measured it."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "runtime.md"

TEXT = """\
# What the chapters take to run

Measured by `make runtime`, which executes every chapter from nothing, one after the other, on {cpus} cores ({machine}, Python {python}). CPU time counts all cores and includes starting Python; on Colab and on a laptop expect one to two times as much. `make book` fails where a chapter takes more than three times what it states, or where a cell fails.

| chapter | stated CPU time | measured CPU time | elapsed | most memory |
|---|--:|--:|--:|--:|
{rows}
| together | | {cpu:.0f} s | {wall:.0f} s | {peak:.1f} GB |

Nothing is downloaded: the brains and the trained models are part of the package.
"""  # noqa: E501


def write_table(costs: Mapping[Path, Mapping[str, float]]) -> None:
    """Write the page for notebooks and what their execution took; see run_notebooks.MEASURE."""
    order = {name: i for i, name in enumerate(pages_in_toc())}
    listed = sorted(costs.items(), key=lambda item: order.get(item[0].stem, len(order)))
    total = {name: sum(c[name] for c in costs.values()) for name in ("cpu_seconds", "wall_seconds")}
    text = TEXT.format(
        cpus=os.cpu_count(),
        machine=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        rows="\n".join(_row(path, cost) for path, cost in listed),
        cpu=total["cpu_seconds"],
        wall=total["wall_seconds"],
        peak=max(cost["peak_mb"] for cost in costs.values()) / 1024,
    )
    PAGE.write_text(text, encoding="utf-8")


def pages_in_toc() -> list[str]:
    """Names of the pages in the order of _toc.yml."""
    lines = (ROOT / "_toc.yml").read_text(encoding="utf-8").split()
    return [word.removeprefix("book/") for word in lines if word.startswith("book/")]


def _row(path: Path, cost: Mapping[str, float]) -> str:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    stated = notebook["metadata"].get("maskdiff", {}).get("cpu_seconds")
    return (
        f"| [](./{path.name}) | {f'{stated} s' if stated else ''} | {cost['cpu_seconds']:.0f} s "
        f"| {cost['wall_seconds']:.0f} s | {cost['peak_mb'] / 1024:.1f} GB |"
    )
