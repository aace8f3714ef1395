"""The house: wings in the order of the data flow, each importing only from those before it."""

import ast
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import nbformat
import pytest

import maskdiff_edu

PACKAGE = Path(maskdiff_edu.__file__).parent
GROUND = ("errors", "files", "progress", "workers", "devices")  # single modules, used everywhere
WINGS = ("scans", "brains", "diffusion", "training", "detection", "evaluation", "show", "course")
WINGS += ("widgets",)
ORDER = (*GROUND, *WINGS, "cli", "__main__")
MODULES = [m.name for m in walk_packages(maskdiff_edu.__path__, "maskdiff_edu.")]


def imported_by(module: str) -> set[str]:
    """Modules of the package that a module's source imports, wherever the import stands."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
    return {name for name in found if name in MODULES}


def wing(module: str) -> str:
    return module.split(".")[1]


def test_every_module_has_its_place() -> None:
    assert {wing(module) for module in MODULES} <= set(ORDER)
    assert len(MODULES) > 40


@pytest.mark.parametrize("module", MODULES)
def test_imports_lead_downward(module: str) -> None:
    """From another wing through its front door or from one of its modules; never upward."""
    level = ORDER.index(wing(module))
    upward = {name for name in imported_by(module) if ORDER.index(wing(name)) > level}
    assert upward == set()


def test_no_circle() -> None:
    graph = {module: imported_by(module) - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("name", [*WINGS])
def test_a_wing_says_what_it_is_for_and_gathers_its_names(name: str) -> None:
    found = import_module(f"maskdiff_edu.{name}")
    assert len(found.__doc__.strip().splitlines()[0]) > 30
    assert sorted(found.__all__) == list(dict.fromkeys(sorted(found.__all__)))
    assert all(hasattr(found, public) for public in found.__all__)


def test_about_a_hundred_names_are_public() -> None:
    """Each name once, in one wing; the figures of the book are counted apart."""
    names = [n for w in WINGS[:-1] for n in import_module(f"maskdiff_edu.{w}").__all__]
    assert len(names) == len(set(names))
    assert 80 <= len(names) <= 130


def test_the_package_offers_the_ten_names_of_the_quickstart() -> None:
    assert len(maskdiff_edu.__all__) == 10
    for name in maskdiff_edu.__all__:
        wings = [w for w in WINGS if name in import_module(f"maskdiff_edu.{w}").__all__]
        assert len(wings) == 1
        assert getattr(maskdiff_edu, name) is getattr(
            import_module(f"maskdiff_edu.{wings[0]}"), name
        )
    assert set(maskdiff_edu.__all__) <= set(dir(maskdiff_edu))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        maskdiff_edu.nonsense  # noqa: B018


def test_chapters_import_public_names_from_their_wing() -> None:
    """A reader need not know in which file a name stands."""
    fronts = {w: set(import_module(f"maskdiff_edu.{w}").__all__) for w in WINGS}
    past_the_door = []
    for path in sorted((PACKAGE.parent / "book").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
        for code in (cell.source for cell in cells if cell.cell_type == "code"):
            for node in ast.walk(ast.parse(code)):
                parts = (getattr(node, "module", None) or "").split(".")
                if isinstance(node, ast.ImportFrom) and parts[0] == "maskdiff_edu" and parts[2:]:
                    public = {alias.name for alias in node.names} & fronts[parts[1]]
                    past_the_door += [f"{path.stem}: {'.'.join(parts)} {n}" for n in public]
    assert past_the_door == []
