"""Make every assignment for a course, and the chapters with blanks in them.

`make assignments COURSE="spring 2027, a long secret" NAME=spring` runs it:

    python data_scripts/build_assignments.py "spring 2027, a long secret" --name spring

COURSE is a secret: numbers, variants and all hidden inputs follow from it. Choose it anew for every
course, keep it, and give it to nobody. NAME is what students may read. What they get is gathered in
the folder `handout`, where README.md opens each notebook in Colab if `--place owner/repository`
says where the folder will lie.

Without a secret, the edition for self-study is made: the notebooks in `book/homework`, which are
pages of the site.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from maskdiff_edu.course.chapters import student_edition
from maskdiff_edu.course.gradescope import write_autograder
from maskdiff_edu.course.kits import make_kit
from maskdiff_edu.course.source import PUBLIC, Course, title_of
from maskdiff_edu.files import read_json, whole_folder, write_atomic

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "book" / "assignments"
SELF_STUDY = ROOT / "book" / "homework"
NOTE = """

> **The edition for self-study.** Nobody grades it: the checks tell you how you are doing, and you
> hold what you write in words against the rubric below the question. To work on it in Colab, take
> the rocket at the top of this page, then *File, Save a copy in Drive*."""
COLAB = "https://colab.research.google.com/github/{place}/blob/main/{path}"


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, for machines that take no other package."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def make_self_study(out: Path = SELF_STUDY) -> None:
    """The students' notebooks of a course whose secret everybody knows."""
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(SOURCES.glob("hw*.ipynb")):
            kit = make_kit(source, PUBLIC, Path(folder) / source.stem, course="self-study")
            made = json.loads((kit.folder / source.name).read_text(encoding="utf-8"))
            title, _, rest = "".join(made["cells"][0]["source"]).partition("\n")
            first = title + NOTE + "\n" + rest
            made["cells"][0]["source"] = first.splitlines(keepends=True)
            write_notebook(out / source.name, made)


def make_course(secret: str, name: str, out: Path, place: str) -> None:
    """Everything of a course: a kit for each assignment, and what students get."""
    require_same_secret(secret, out)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for source in sorted(SOURCES.glob("hw*.ipynb")):
            kit = make_kit(source, secret, out / source.stem, course=name)
            write_autograder(kit, wheel, kit.folder / f"{source.stem}_gradescope.zip")
            print(f"{kit.folder}: {kit.points:g} points, {len(kit.tests)} tests")
    with whole_folder(out / "handout", overwrite=True) as handout:
        write_handout(out, handout, name, place)
    print(f"{out / 'handout'}: what students may have")


def require_same_secret(secret: str, out: Path) -> None:
    """Stop before the assignments of another secret are lost, which students may have by now."""
    for described in out.glob("hw*/instructor/hw*.json"):
        if read_json(described)["secret"] != Course(secret, described.stem).secret:
            raise SystemExit(
                f"{out}: expected the sentence that this course was made from, got another one; "
                "look for a slip of the pen, or choose another NAME"
            )


def write_handout(kits: Path, handout: Path, name: str, place: str) -> None:
    """The students' notebooks, the chapters with blanks, and a page that lists them."""
    for kit in sorted(kits.glob("hw*/hw*.ipynb")):
        shutil.copyfile(kit, handout / kit.name)
    (handout / "chapters").mkdir()
    for chapter in sorted((ROOT / "book").glob("ch*.ipynb")):
        made = student_edition(json.loads(chapter.read_text(encoding="utf-8")))
        write_notebook(handout / "chapters" / chapter.name, made)
    (handout / "README.md").write_text(list_of(handout, name, place), encoding="utf-8")


def list_of(handout: Path, name: str, place: str) -> str:
    """The page of a handout: each notebook, with the address that opens it in Colab."""
    lines = [f"# {name}", "", "| notebook | |", "|---|---|"]
    for path in sorted(handout.glob("**/*.ipynb")):
        where = path.relative_to(handout).as_posix()
        opened = f"[open in Colab]({COLAB.format(place=place, path=where)})" if place else ""
        lines.append(
            f"| [{title_of(json.loads(path.read_text(encoding='utf-8')))}]({where}) | {opened} |"
        )
    return "\n".join(lines) + "\n"


def write_notebook(path: Path, notebook: dict[str, Any]) -> None:
    """Write a notebook as Jupyter does."""
    write_atomic(path, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("course", nargs="?", help="the course's secret; none: for self-study")
    parser.add_argument("--name", default="course", help="the course, as students may read it")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "assignments")
    parser.add_argument("--place", default="", help="owner/repository of the handout, for Colab")
    words = parser.parse_args()
    if words.course:
        make_course(words.course, words.name, words.out / words.name, words.place)
    else:
        make_self_study()


if __name__ == "__main__":
    main()
