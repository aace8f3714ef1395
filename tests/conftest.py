"""What every test shares: one thread, no window, repeatable random cases, the real scans."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch and matplotlib are imported. Several test processes run beside one another, and
# one thread each makes sums repeat bit for bit.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from browser import open_browser
from hypothesis import settings
from lab_page import lab, served, served_as_the_book  # noqa: F401 (fixtures)
from site_build import build_site
from site_visits import address, chapter, visit  # noqa: F401 (fixtures)
from xdist.scheduler import LoadFileScheduling

BOOK = Path(__file__).resolve().parent.parent / "book"
if not BOOK.is_dir():
    raise pytest.UsageError(
        f"expected the chapters in {BOOK}, which many tests read, got no such folder: run the "
        "tests in a whole checkout, or in the unpacked sdist"
    )

# The same cases in every run and on every machine, however slow it is.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slow tests first, so that no process waits for one alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class ByFileOrPart(LoadFileScheduling):
    """One process takes the tests of a file, which share what it made; of the two longest files,
    those of a page and of an assignment."""

    def _split_scope(self, nodeid: str) -> str:
        part = re.search(r"/test_(?:site|assignments)\.py::.*\[(book/\w+|hw\w+)", nodeid)
        return part[1] if part else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFileOrPart:
    return ByFileOrPart(config, log)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real scans that MASKDIFF_REAL names; the test is skipped without one."""
    named = os.environ.get("MASKDIFF_REAL")
    if not named:
        pytest.skip("set MASKDIFF_REAL to a folder of real scans to run this test")
    folder = Path(named).resolve()
    if not folder.is_dir():
        pytest.fail(f"MASKDIFF_REAL={named} is not a folder")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's top folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    with open_browser() as found:
        yield found


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page; an error that its scripts raise fails the test."""
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="session")
def html(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the book, rendered with its stored outputs; MASKDIFF_SITE names a ready one."""
    if ready := os.environ.get("MASKDIFF_SITE"):
        return Path(ready).resolve()
    return build_site(root, tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def no_public_tests(tmp_path_factory):
    """An assignment of the tests has no module in the package."""
    from maskdiff_edu.course import kits

    folder = tmp_path_factory.mktemp("public")
    (folder / "hwtest.py").write_text(
        "from maskdiff_edu.course.tasks import Tests\nTESTS = Tests()\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kits, "public_tests", lambda name: folder / f"{name}.py")
        yield
