"""The rendered book for the tests, and which pages it has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from build_slides import build_slides

SOURCES = ("book", "maskdiff_edu", "data_scripts", "_config.yml", "_toc.yml", "README.md")


def pages_in_toc(root: Path) -> list[str]:
    """Every page that _toc.yml lists, in its order: 'book/intro', …"""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = toc.get("parts", [toc])
    return [toc["root"], *(entry["file"] for part in parts for entry in part["chapters"])]


def build_site(root: Path, folder: Path) -> Path:
    """Render the stored outputs of a copy of the book in `folder`; return the pages' folder."""
    for name in SOURCES:
        source, target = root / name, folder / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    config = yaml.safe_load((folder / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"  # `make book` and nbval execute them
    (folder / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    program = Path(sys.executable).with_name("jupyter-book")
    build = [program, "build", ".", "-W", "--keep-going"]
    env = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(build, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    build_slides(folder, folder / "_build" / "html")
    return folder / "_build" / "html"
