"""Make every assignment for a course, and the chapters with blanks in them.

`make assignments COURSE="spring 2027, a long secret" NAME=spring` runs it:

    python data_scripts/build_assignments.py "spring 2027, a long secret" --name spring

COURSE is a secret: numbers, variants and all hidden inputs follow from it. Choose it anew for every
course, keep it, and give it to nobody. NAME is what students may read.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from maskdiff_edu.course.chapters import student_edition
from maskdiff_edu.course.gradescope import write_autograder
from maskdiff_edu.course.kits import make_kit
from maskdiff_edu.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "book" / "assignments"


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, for machines that take no other package."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("course", help="the course's secret")
    parser.add_argument("--name", default="course", help="the course, as students may read it")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "assignments")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for source in sorted(SOURCES.glob("hw*.ipynb")):
            out = words.out / words.name / source.stem
            kit = make_kit(source, words.course, out, course=words.name)
            write_autograder(kit, wheel, out / f"{source.stem}_gradescope.zip")
            print(f"{out}: {kit.points:g} points, {len(kit.tests)} tests")
    chapters = words.out / words.name / "chapters"
    for chapter in sorted((ROOT / "book").glob("ch*.ipynb")):
        made = student_edition(json.loads(chapter.read_text(encoding="utf-8")))
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        write_atomic(chapters / chapter.name, text.encode())
    print(f"{chapters}: the chapters with blanks for the reader's own functions")


if __name__ == "__main__":
    main()
