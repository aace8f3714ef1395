"""Choose the newest versions that every supported Python and system can install; write the locks.

`make lock` runs it, and `make` installs from what it writes, with pip's `--require-hashes`:

    python data_scripts/build_lock.py torch==2.13.0

`requirements.lock` holds every package with the hashes of all its files, those that build this
one included. `requirements-cuda.lock` holds what PyTorch's Linux build with CUDA needs beside
them: several gigabytes, of no use where PyTorch came without CUDA. Arguments are requirements to
hold fixed.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
CUDA_LOCK = ROOT / "requirements-cuda.lock"
EXTRAS = ("book", "test", "bench")
OLDEST = "3.11"
CUDA_PARTS = re.compile(r"(nvidia|cuda|triton)\b")


def resolve(fixed: list[str]) -> list[str]:
    """Return one text per package: name, version, where it is needed, hashes."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        builders = tomllib.load(file)["build-system"]["requires"]
    with tempfile.TemporaryDirectory() as folder:
        # hatchling asks for editables only while it makes an editable install.
        more = Path(folder, "more.in")
        more.write_text("\n".join([*builders, "editables", *fixed]), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--upgrade"]
        command += ["--universal", "--fork-strategy", "fewest", "--python-version", OLDEST]
        command += ["--generate-hashes", "--no-header", "--no-annotate"]
        command += [word for extra in EXTRAS for word in ("--extra", extra)]
        command += [str(ROOT / "pyproject.toml"), str(more)]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.split(r"\n(?=\w)", text.strip())


def own_hash(requirement: str) -> str:
    """Return the hash of the file that this machine's pip takes for a requirement.

    PyTorch without CUDA comes from another place than the index, and with another hash.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--quiet", "--report", "-", requirement]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    [item] = json.loads(report)["install"]
    return f"sha256:{item['download_info']['archive_info']['hashes']['sha256']}"


def with_hash(package: str, value: str) -> str:
    """Return a package's text with one more hash, if it is new."""
    return package if value in package else f"{package} \\\n    --hash={value}"


def main() -> None:
    packages = resolve(fixed=sys.argv[1:])
    cuda = [text for text in packages if CUDA_PARTS.match(text)]
    others = [text for text in packages if text not in cuda]
    [torch] = [text for text in others if text.startswith("torch==")]
    others[others.index(torch)] = with_hash(torch, own_hash(torch.split()[0]))
    for path, texts in ((LOCK, others), (CUDA_LOCK, cuda)):
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        print(f"{len(texts)} packages written to {path.name}")


if __name__ == "__main__":
    main()
