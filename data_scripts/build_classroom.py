"""Put everything that a room without internet needs into one zip file.

`make classroom` runs it after the site is rendered. The file holds

    wheels/     the package and JupyterLab, for this machine's system and version of Python
    site/       the rendered book with its slides; open index.html in it
    notebooks/  the chapters, and the assignments for self-study
    README.txt  the two commands that a student needs

With `--handout`, a course's own folder (see `build_assignments.py`) takes the place of the
assignments for self-study. Shared packages have the versions of requirements.lock.
"""

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from maskdiff_edu.progress import bar

ROOT = Path(__file__).resolve().parent.parent
README = """\
maskdiff_edu: everything for a room without internet

To read: open site/index.html in a browser. The figures move without anything installed.
The slides are in site/slides.

To work with the notebooks (needs Python {version} on {system}), in this folder:

    python -m pip install --no-index --find-links wheels maskdiff_edu jupyterlab
    python -m jupyterlab notebooks

For teaching and research only, never for diagnosis.
"""


def fetch_wheels(folder: Path) -> None:
    """The package, JupyterLab and all that they need."""
    # Hashes would have to be given for all packages, and JupyterLab's are not in the lock.
    versions = versions_in((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    constraints = folder / "versions.txt"
    constraints.write_text("\n".join(versions) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--wheel-dir", str(folder), "--constraint", str(constraints)]
    subprocess.run([*command, str(ROOT), "jupyterlab"], check=True)
    constraints.unlink()


def versions_in(lock: str) -> list[str]:
    """The lines of a lock file without its hashes."""
    return re.findall(r"^[\w.\[\]-]+==\S+(?: ;[^\\\n]+)?", lock, re.MULTILINE)


def write_zip(out: Path, wheels: Path, site: Path, notebooks: dict[str, Path]) -> None:
    """Write the zip file: what is packed already is stored as it is."""
    files = {f"wheels/{path.name}": path for path in wheels.glob("*.whl")}
    files |= {f"site/{path.relative_to(site)}": path for path in site.rglob("*") if path.is_file()}
    files |= {f"notebooks/{name}": path for name, path in notebooks.items()}
    readme = README.format(version=_version(), system=platform.system())
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("README.txt", readme)
        for name, path in bar(sorted(files.items()), desc=out.name, unit="file"):
            stored = zipfile.ZIP_STORED if path.suffix == ".whl" else None
            packed.write(path, name, compress_type=stored)


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--handout", type=Path, help="what students of a course get")
    words = parser.parse_args()
    site = ROOT / "_build" / "html"
    notebooks = {path.name: path for path in (ROOT / "book").glob("*.ipynb")}
    work = words.handout or ROOT / "book" / "homework"
    notebooks |= {
        f"homework/{path.relative_to(work)}": path for path in work.rglob("*") if path.is_file()
    }
    machine = f"{platform.system()}-{platform.machine()}".lower()
    out = ROOT / "_build" / f"classroom-{machine}-python{_version()}.zip"
    with tempfile.TemporaryDirectory() as folder:
        print("Fetching the package, JupyterLab and what they need (some minutes)")
        fetch_wheels(Path(folder))
        write_zip(out, Path(folder), site, notebooks)
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
