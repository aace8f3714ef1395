"""Write the repository's address into every file that must repeat it.

The address stands in pyproject.toml, under [project.urls]. Notebooks (the install cell),
_config.yml (the Colab button), README.md and CITATION.cff cannot read it there, so this script
replaces the old address by the new one in all of them:

    make set-repo REPO=owner/name
"""

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

TEXT_SUFFIXES = {".bib", ".cff", ".ipynb", ".j2", ".md", ".py", ".toml", ".yml", ".yaml"}
OWN_DOT_FOLDERS = {".ci", ".github"}
BUILT_FOLDERS = {"_build", "build", "dist", "runs", "shared", "__pycache__"}

# What GitHub accepts: letters, digits and inner hyphens; then also dots and underscores.
OWNER = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?"
NAME = r"[A-Za-z0-9._-]{1,100}"


def text_files(root: Path) -> Iterator[Path]:
    """Yield the project's text files below `root`, leaving out built and hidden folders."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name in OWN_DOT_FOLDERS or not (name.startswith(".") or name in BUILT_FOLDERS)
        )
        for name in sorted(names):
            if Path(name).suffix in TEXT_SUFFIXES:
                yield Path(folder, name)


def check_repository(repository: str) -> str:
    """Return `repository` if it reads `owner/name`, else raise ValueError."""
    well_formed = re.fullmatch(f"{OWNER}/{NAME}", repository)
    name = repository.rpartition("/")[2]
    if not well_formed or name in {".", ".."} or name.endswith(".git"):
        raise ValueError(
            f"expected a GitHub repository as owner/name, got {repository!r}; "
            "give no https://, no .git and no further slash"
        )
    return repository


def current_repository(root: Path) -> str:
    """Return `owner/name` from the pyproject.toml in `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return check_repository(project["urls"]["Repository"].removeprefix("https://github.com/"))


def replace_address(text: str, old: str, new: str) -> str:
    """Return `text` with every address of the repository `old` pointing to `new`.

    Addresses are `github.com/owner/name`, the `/github/owner/name` of Colab and nbviewer, the
    `/gh/owner/name` of Binder, and the pages at `owner.github.io/name`.

    >>> replace_address("see https://github.com/a/b/issues, not /a/b", "a/b", "me/mine")
    'see https://github.com/me/mine/issues, not /a/b'
    """
    end = r"(?![A-Za-z0-9_-])"  # a/b, but not the a/b of a/b-two
    repository = rf"(?<![\w-])(github\.com[:/]|github/|gh/){re.escape(old)}{end}"
    text = re.sub(repository, lambda match: match[1] + new, text)
    old_owner, old_name = map(re.escape, old.split("/"))
    new_pages = "{}.github.io/{}".format(*new.split("/"))
    return re.sub(rf"(?<![\w-]){old_owner}\.github\.io/{old_name}{end}", new_pages, text)


def set_repository(root: Path, new: str) -> list[Path]:
    """Make `new` (`owner/name`) the repository of the project in `root`; return what changed."""
    old = current_repository(root)
    check_repository(new)
    changed = []
    for path in text_files(root):
        before = path.read_bytes().decode("utf-8")  # bytes: line ends stay as they are
        after = replace_address(before, old, new)
        if after != before:
            path.write_bytes(after.encode("utf-8"))
            changed.append(path)
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the repository's address everywhere.")
    parser.add_argument("repository", help="owner/name on GitHub")
    root = Path(__file__).resolve().parent.parent
    try:
        changed = set_repository(root, parser.parse_args().repository)
    except ValueError as error:
        sys.exit(f"set-repo: {error}")
    for path in changed:
        print(path.relative_to(root))
    print(f"{len(changed)} files changed")


if __name__ == "__main__":
    main()
