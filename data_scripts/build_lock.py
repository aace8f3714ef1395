"""Choose the newest versions that every supported Python can install; write requirements.lock.

The resolution is made with the oldest supported Python, whose choices the newer ones can follow;
then every version is looked up for each newer Python as well. `make lock` runs it:

    python data_scripts/build_lock.py torch==2.13.0

Arguments are requirements to hold fixed. PyTorch is one: an open range on Linux may jump to a
build with several gigabytes of CUDA.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
EXTRAS = "book,test,bench"
OLDEST, *NEWER = ("3.11", "3.12", "3.13")

# What PyTorch's Linux build pulls in beside itself; it names their versions exactly.
CUDA_PARTS = re.compile(r"(nvidia|cuda|triton)\b")


def pip(*arguments: str) -> str:
    """Run pip, return what it printed; its own error message is shown if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def resolve(fixed: list[str]) -> dict[str, str]:
    """Return {name: version} for this project with all extras, installed from nothing."""
    resolving = ("install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-")
    report = json.loads(pip(*resolving, f"{ROOT}[{EXTRAS}]", *fixed))
    versions = {}
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name != "maskdiff-edu" and not CUDA_PARTS.match(name):
            versions[name] = item["metadata"]["version"].partition("+")[0]  # 2.13.0, not +cpu
    return versions


def check_wheels(versions: dict[str, str], python: str) -> None:
    """Raise CalledProcessError, after pip's message, if a version has no wheel for `python`."""
    pins = [f"{name}=={version}" for name, version in versions.items() if name != "torch"]
    target = ("--python-version", python, "--only-binary=:all:", "--no-deps")
    with tempfile.TemporaryDirectory() as folder:
        pip("install", "--dry-run", "--quiet", "--target", folder, *target, *pins)


def main() -> None:
    running = "{}.{}".format(*sys.version_info)
    if running != OLDEST:
        sys.exit(f"make lock needs Python {OLDEST}, the oldest supported; this is {running}")
    versions = resolve(fixed=sys.argv[1:])
    for python in NEWER:
        check_wheels(versions, python)
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    LOCK.write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} versions written to {LOCK.name}")


if __name__ == "__main__":
    main()
