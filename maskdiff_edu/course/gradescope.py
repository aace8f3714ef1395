"""An autograder for Gradescope: a zip file that holds an assignment, and what runs there.

Gradescope unpacks it, runs `setup.sh` once and `run_autograder` for each submission, and shows
what stands in results.json. A run that takes too long gives no result, so that file is written
again after every test.
"""

import io
import json
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskdiff_edu.course.grading import Result, grade
from maskdiff_edu.course.kits import Kit, read_kit
from maskdiff_edu.course.workshop import Workshop
from maskdiff_edu.files import write_atomic

SETUP = """#!/usr/bin/env bash
set -e
apt-get update -qq && apt-get install -y -qq python3-pip python3-venv
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install -q /autograder/source/*.whl
"""
RUN = """#!/usr/bin/env bash
exec /autograder/venv/bin/python -m maskdiff_edu.course.gradescope /autograder
"""
MIN_MB = 768  #: of memory, what Gradescope gives by default


def write_autograder(kit: Kit, wheel: Path, out: Path) -> None:
    """Write the zip file to upload, with the assignment, its tests and this package's wheel."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (("setup.sh", SETUP), ("run_autograder", RUN)):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o755 << 16  # may be run
            archive.writestr(info, text)
        archive.write(wheel, wheel.name)
        for path in sorted((kit.folder / "instructor").iterdir()):
            archive.write(path, f"kit/instructor/{path.name}")
    write_atomic(out, packed.getvalue())


def run(folder: Path) -> None:
    """Grade what lies in `folder`/submission and keep `folder`/results/results.json up to date."""
    kit = read_kit(folder / "source" / "kit")
    notebooks = sorted((folder / "submission").rglob("*.ipynb"))
    data = notebooks[-1].read_bytes() if notebooks else b""

    def keep(result: Result) -> None:
        content = json.dumps(as_gradescope(result), ensure_ascii=False).encode()
        write_atomic(folder / "results" / "results.json", content)

    with Workshop() as workshop:
        keep(grade(data, kit, workshop, report=keep))


def as_gradescope(result: Result) -> Mapping[str, Any]:
    """A result in Gradescope's format."""
    tests = [
        {
            "name": f"{exercise}: {outcome.says}",
            "score": outcome.points,
            "max_score": outcome.of,
            "status": "passed" if outcome.passed else "failed",
            "output": outcome.message,
            "output_format": "text",
            "visibility": "visible",
        }
        for exercise, outcomes in result.outcomes.items()
        for outcome in outcomes
    ]
    notes = [*result.notes, f"The notebook ran {result.isolation or 'not at all'}."]
    if result.at_home:
        cells = ", ".join(map(str, result.at_home))
        notes.append(f"Marked AT HOME and not run by the grader: cell {cells}.")
    return {
        "score": result.points,
        "output": "\n".join(notes),
        "visibility": "visible",
        "tests": tests,
    }


if __name__ == "__main__":
    run(Path(re.sub(r"/+$", "", sys.argv[1])))
