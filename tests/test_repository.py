"""The repository as a whole: what lies where, and facts that stand in more than one file."""

import ast
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import fetch_third_party
import pytest
import yaml
from set_repo import current_repository, replace_address, set_repository, text_files

TOP_LEVEL = {
    "book",
    "maskdiff_edu",
    "data_scripts",
    "tests",
    "_config.yml",
    "_toc.yml",
    "pyproject.toml",
    "requirements.lock",
    "requirements-cuda.lock",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
}

NEW = "some-one/else.2"  # a repository to move to

# In pieces, so that this file does not contain what it looks for.
MACHINE_PATHS = re.compile("/" + r"(root|work|home/\w+|Users/\w+)/")
PACKAGE_REGISTRIES = re.compile(
    "|".join((r"pypi\.o" + "rg", "pythonho" + "sted", r"npmjs\.c" + "om", r"anaconda\.o" + "rg"))
)


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy of everything that may hold the address, to be changed."""
    folders = ["book", "data_scripts", "maskdiff_edu", "tests", ".github"]
    if not (root / ".github").exists():  # an unpacked sdist
        folders.remove(".github")
    for name in folders:
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TOP_LEVEL:
        if (root / name).is_file():
            shutil.copyfile(root / name, tmp_path / name)
    return tmp_path


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def lines_with(pattern: re.Pattern, root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{number}: {match[0]}"
        for path in [*text_files(root), root / "Makefile", root / "requirements.lock"]
        for number, line in enumerate(read(path).splitlines(), start=1)
        if (match := pattern.search(line))
    ]


def test_top_level_holds_only_what_such_a_repository_has(root: Path) -> None:
    if not ((root / ".git").exists() and shutil.which("git")):
        pytest.skip("not a git checkout: built folders cannot be told from the project's own")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout
    top = {name.partition("/")[0] for name in names.splitlines()}
    assert {name for name in top if not name.startswith(".")} - TOP_LEVEL == set()


def test_what_readmes_commands_write_leaves_a_clone_clean(root: Path) -> None:
    """Who types them in their order runs the tests at the end."""
    if not ((root / ".git").exists() and shutil.which("git")):
        pytest.skip("not a git checkout")
    readme = read(root / "README.md")
    written = set(re.findall(r"--out (\w+)", readme)) | set(
        re.findall(r'savefig\("([\w.]+)"\)', readme)
    )
    assert {"demo", "lesion.png"} <= written
    for name in written:
        path = name if "." in name else f"{name}/file"
        ignored = ["git", "check-ignore", "--quiet", "--no-index", path]
        assert subprocess.run(ignored, cwd=root).returncode == 0, name


def test_nothing_of_the_top_level_is_missing(root: Path) -> None:
    assert {name for name in TOP_LEVEL if not (root / name).exists()} == set()


def test_no_module_is_longer_than_400_lines(root: Path) -> None:
    modules = [*root.glob("maskdiff_edu/**/*.py"), *root.glob("data_scripts/*.py")]
    assert modules
    lengths = {path.name: len(read(path).splitlines()) for path in modules}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_every_module_stands_in_the_table_of_the_house(root: Path) -> None:
    section = read(root / "CONTRIBUTING.md").split("## The house")[1].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| .*$", section, re.MULTILINE))))
    package = root / "maskdiff_edu"
    parts = {"widgets", "cli", "public"}  # their modules are told of by the wing
    modules = {
        path.stem
        for path in package.rglob("*.py")
        if not path.stem.startswith("__") and path.parent.name not in parts
    }
    assert modules - told == set()
    wings = {path.parent.name for path in package.glob("*/**/__init__.py")}
    assert told - modules - wings == set()


def test_few_functions_take_more_than_six_arguments(root: Path) -> None:
    """Five commands, whose options each are one, `measure`, a figure, and `close` of the course."""
    many = []
    for path in root.glob("maskdiff_edu/**/*.py"):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.FunctionDef):
                names = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
                if len([name for name in names if name not in ("self", "cls")]) > 6:
                    many.append(f"{path.name}: {node.name}")
    assert len(many) <= 8, many


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-cuda.lock"])
def test_lock_pins_every_package_by_the_hashes_of_its_files(root: Path, lock: str) -> None:
    package = re.compile(
        r"[a-z0-9]+(-[a-z0-9]+)*==[0-9]\S*( ; [^\n\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"
    )
    packages = re.split(r"\n(?=\w)", read(root / lock).strip())
    assert [text for text in packages if not package.fullmatch(text)] == []
    names = [text.partition("==")[0] for text in packages]
    assert names == sorted(set(names))


def test_make_installs_nothing_without_its_hash(root: Path) -> None:
    """But this package itself, whose dependencies are there by then."""
    lines = [line for line in read(root / "Makefile").splitlines() if "$(PIP_INSTALL)" in line]
    held = [line for line in lines if "$(HASHED)" in line]
    assert [line.split("--requirement ")[1] for line in held] == [
        ".venv/torch.lock",
        "requirements.lock",
        "requirements-cuda.lock",
    ]
    others = [line.split("$(PIP_INSTALL) ")[1] for line in lines if line not in held]
    assert others == ["--no-build-isolation --editable '.[book,test,bench]'", "'.[lock]'"]


def test_lock_holds_every_direct_dependency(root: Path, project: dict) -> None:
    # What `make` does not install: only whoever chooses versions or exports a network needs it.
    others = ("lock", "export")
    extras = [
        lines for name, lines in project["optional-dependencies"].items() if name not in others
    ]
    direct = [*project["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in direct}
    locked = set(re.findall(r"^([\w-]+)==", read(root / "requirements.lock"), re.MULTILINE))
    assert names - locked == set()


def test_library_imports_only_its_runtime_dependencies(root: Path, project: dict) -> None:
    """A module that imports a test or book package fails only on the user's machine.

    One asks for an extra, and says so where that is missing.
    """
    optional = {"detection/export.py": project["optional-dependencies"]["export"]}
    extra = {
        path: {re.match(r"\w+", line)[0] for line in lines} for path, lines in optional.items()
    }
    package = root / "maskdiff_edu"
    declared = {re.match(r"[\w.-]+", line)[0].lower() for line in project["dependencies"]}
    allowed = declared | {"maskdiff_edu"} | ({"PIL"} if "pillow" in declared else set())
    imports = re.compile(r"^\s*(?:import|from) ([A-Za-z_]\w*)", re.MULTILINE)
    foreign = {
        f"{path.name}: {name}"
        for path in package.rglob("*.py")
        for name in imports.findall(read(path))
        if name not in allowed | sys.stdlib_module_names
        and name not in extra.get(path.relative_to(package).as_posix(), ())
    }
    assert foreign == set()


def test_version_is_the_same_everywhere(root: Path, project: dict) -> None:
    assert f"@v{project['version']}`" in read(root / "README.md")
    newest = re.search(r"^## (\S+)", read(root / "CHANGELOG.md"), re.MULTILINE)[1]
    cited = yaml.safe_load(read(root / "CITATION.cff"))["version"]
    assert newest == cited == project["version"]


def test_no_path_of_a_machine_is_left_in_a_file(root: Path) -> None:
    assert lines_with(MACHINE_PATHS, root) == []


def test_no_file_names_a_package_registry(root: Path) -> None:
    assert lines_with(PACKAGE_REGISTRIES, root) == []


def test_files_by_others_are_what_was_fetched(root: Path) -> None:
    """data_scripts/fetch_third_party.py wrote the checksums; nothing was edited since."""
    manager = root / fetch_third_party.WIDGETS / "embed-amd.js"
    assert fetch_third_party.FALLBACK not in manager.read_bytes(), "asks no other host"
    listed = dict(reversed(line.split("  ")) for line in read(fetch_third_party.SUMS).splitlines())
    folders = [
        getattr(fetch_third_party, name)
        for name in ("WIDGETS", "MATHJAX", "AXE", "REVEAL", "RUNTIME", "VIEWER")
    ]
    files = [path for folder in folders for path in root.glob(f"{folder}/**/*") if path.is_file()]
    there = {path.relative_to(root).as_posix() for path in files}
    assert there - set(listed) == {f"{fetch_third_party.WIDGETS}/paths.js"}  # our own
    sums = {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in listed}
    assert sums == listed


def test_no_file_holds_two_sides_of_a_merge(root: Path) -> None:
    assert lines_with(re.compile(r"^(<{7}|>{7}) "), root) == []


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_help_lists_the_commands(root: Path) -> None:
    listed = subprocess.run(["make", "help"], cwd=root, check=True, capture_output=True, text=True)
    for command in ("book", "site", "test", "bench", "set-repo", "lock", "notebooks"):
        assert f"make {command} " in listed.stdout


def test_set_repo_leaves_no_old_address(copy: Path) -> None:
    old = current_repository(copy)
    pages = "{}.github.io/{}".format(*old.split("/"))
    changed = {str(path.relative_to(copy)) for path in set_repository(copy, NEW)}

    assert current_repository(copy) == NEW
    assert changed >= {"pyproject.toml", "_config.yml", "CITATION.cff", "README.md"}
    files = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    left = [p.name for p, text in files.items() if old.encode() in text or pages.encode() in text]
    assert left == []


def test_set_repo_reaches_every_chapter_that_installs_the_package(copy: Path) -> None:
    changed = set_repository(copy, NEW)
    for path in (copy / "book").glob("*.ipynb"):
        if "git+https" in read(path):
            assert path in changed
            assert f"git+https://github.com/{NEW}@v" in read(path)


def test_set_repo_twice_changes_nothing_and_back_restores_all(copy: Path) -> None:
    old = current_repository(copy)
    before = {path: path.read_bytes() for path in text_files(copy)}
    assert set_repository(copy, old) == []
    set_repository(copy, NEW)
    assert set_repository(copy, NEW) == []
    set_repository(copy, old)
    assert {path: path.read_bytes() for path in text_files(copy)} == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git+https://github.com/a/b@main", "git+https://github.com/me/mine@main"),
        ("git@github.com:a/b.git", "git@github.com:me/mine.git"),
        ("research.google.com/github/a/b/blob", "research.google.com/github/me/mine/blob"),
        ("mybinder.org/v2/gh/a/b/main", "mybinder.org/v2/gh/me/mine/main"),
        ("https://a.github.io/b/book", "https://me.github.io/mine/book"),
        ("see github.com/a/b.", "see github.com/me/mine."),
        ("github.com/a/b-two", "github.com/a/b-two"),
        ("github.com/aa/b", "github.com/aa/b"),
        ("the folder a/b", "the folder a/b"),
    ],
)
def test_set_repo_knows_addresses_from_other_text(text: str, expected: str) -> None:
    assert replace_address(text, "a/b", "me/mine") == expected


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "name",
        "a/b/c",
        "https://github.com/a/b",
        "a/b.git",
        "a b/c",
        "-a/b",
        "a-/b",
        "a/..",
        "a/",
    ],
)
def test_set_repo_refuses_a_malformed_name(copy: Path, malformed: str) -> None:
    before = read(copy / "pyproject.toml")
    with pytest.raises(ValueError, match="owner/name"):
        set_repository(copy, malformed)
    assert read(copy / "pyproject.toml") == before
