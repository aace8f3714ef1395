"""The wheel as a user gets it: installed where nothing else is, it does its main job.

Everything a checkout has and a wheel might lack shows here: a data file left out, a package
that only the tests depend on, a path that exists only in the repository.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from scope import EVERYTHING

from maskdiff_edu.course import make_kit

pytestmark = pytest.mark.slow

BOOK = Path(__file__).resolve().parent.parent / "book"
ALL_CHAPTERS = sorted(path.stem for path in BOOK.glob("*.ipynb"))
# Two of them in `make test`, every one in `make test-all`.
CHAPTERS = ALL_CHAPTERS if EVERYTHING else ["intro", "ch02_noising"]

EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a stranger would: no import path of ours; show its output if it fails."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "MASKDIFF_REAL"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1200)
    shown = f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, shown
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    run(*pip, "--no-build-isolation", "--no-deps", "--wheel-dir", folder, root, cwd=folder)
    [built] = folder.glob("maskdiff_edu-*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel and what it asks for.

    In `make test` the packages that it asks for are lent by the environment of the tests, without
    the package itself: a folder named in a .pth file brings no .pth files of its own.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    found = folder / ("Scripts" if sys.platform == "win32" else "bin")
    pip = (found / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    if EVERYTHING:
        # Constraints may hold no hashes where a local wheel is installed.
        pins = re.findall(r"^\S+==\S+", (root / "requirements.lock").read_text(), re.MULTILINE)
        (folder / "versions.txt").write_text("\n".join(pins), encoding="utf-8")
        more = ("--constraint", "versions.txt", "ipykernel", "nbclient")  # as in Colab
        run(*pip, "--no-compile", wheel, *more, cwd=folder)
    else:
        run(*pip, "--no-deps", wheel, cwd=folder)
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = Path(run(found / "python", "-c", ask, cwd=folder).strip())
        (own / "lent.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return found


def test_wheel_holds_the_package_with_its_data_and_licences(wheel: Path, root: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    package = [path for path in (root / "maskdiff_edu").rglob("*") if path.is_file()]
    expected = {path.relative_to(root).as_posix() for path in package if path.suffix != ".pyc"}
    assert expected - inside == set()
    assert {name.rpartition("/")[2] for name in inside} >= {"LICENSE", "NOTICE.txt"}
    assert {name.partition("/")[0].partition("-")[0] for name in inside} == {"maskdiff_edu"}


def test_installed_version_is_the_built_one(wheel: Path, programs: Path, tmp_path: Path) -> None:
    ask = "from importlib.metadata import version; print(version('maskdiff_edu'))"
    installed = run(programs / "python", "-c", ask, cwd=tmp_path).strip()
    assert wheel.name.startswith(f"maskdiff_edu-{installed}-")


def test_demo_runs_where_only_the_wheel_is(programs: Path, tmp_path: Path) -> None:
    run(programs / "maskdiff-edu", "demo", "--out", tmp_path / "out", cwd=tmp_path)
    written = {path.name: path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"anomaly.nii.gz", "reconstruction.nii.gz", "report.html", "scores.json"} <= set(written)
    assert json.loads(written["scores.json"].read_text(encoding="utf-8"))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_runs_where_only_the_wheel_is(programs: Path, tmp_path: Path, chapter: str) -> None:
    """As in Colab: an empty folder, the notebook and the package, none of the repository."""
    shutil.copyfile(BOOK / f"{chapter}.ipynb", tmp_path / "chapter.ipynb")
    run(programs / "python", "-c", EXECUTE, "chapter.ipynb", cwd=tmp_path)


def test_an_assignment_runs_where_only_the_wheel_is(
    programs: Path, root: Path, tmp_path: Path
) -> None:
    """As a student opens it in Colab: the checks come with the package, hidden tests do not."""
    kit = make_kit(root / "book" / "assignments" / "hw01_noising.ipynb", "wheel", tmp_path / "kit")
    alone = tmp_path / "student"
    alone.mkdir()
    (alone / "hw01.ipynb").write_text(json.dumps(kit.solution), encoding="utf-8")
    run(programs / "python", "-c", EXECUTE, "hw01.ipynb", cwd=alone)
    ask = "import maskdiff_edu.course as c; print(c.__file__)"
    package = Path(run(programs / "python", "-c", ask, cwd=alone).strip()).parent
    public = (package / "public" / "hw01_noising.py").read_text(encoding="utf-8")
    hidden = {test.name for test in kit.tests} - set(re.findall(r"def (\w+)", public))
    assert hidden
    shipped = "\n".join(path.read_text() for path in package.rglob("*.py"))
    assert [name for name in hidden if name in shipped] == []
