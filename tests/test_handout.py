"""What students are handed: the committed self-study edition, and a course's folder."""

import json
import re
from pathlib import Path

import build_assignments
import pytest

SOURCES = sorted(build_assignments.SOURCES.glob("hw*.ipynb"))


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("course")
    for source in SOURCES:
        build_assignments.make_kit(source, "handed out", out / source.stem, course="spring")
    return out


def test_self_study_edition_is_what_the_sources_make(tmp_path: Path) -> None:
    """`make homework` writes it anew."""
    build_assignments.make_self_study(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    stored = {path.name: path.read_bytes() for path in build_assignments.SELF_STUDY.iterdir()}
    assert made == stored


def test_handout_holds_every_notebook_and_nothing_of_the_instructor(
    kits: Path, tmp_path: Path
) -> None:
    build_assignments.write_handout(kits, tmp_path, "spring", "me/course")
    names = {path.name for path in tmp_path.rglob("*")}
    assert {source.name for source in SOURCES} <= names
    assert not any("mistakes" in name or name.endswith((".py", ".json", ".zip")) for name in names)
    text = "\n".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.*"))
    assert "handed out" not in text and "SOLUTION" not in text


def test_list_opens_each_notebook_in_colab(kits: Path, tmp_path: Path) -> None:
    build_assignments.write_handout(kits, tmp_path, "spring", "me/course")
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    opened = re.findall(r"github/me/course/blob/main/(\S+\.ipynb)\)", page)
    assert [path for path in opened if not (tmp_path / path).is_file()] == []
    assert len(opened) == len(list(tmp_path.rglob("*.ipynb")))
    assert "colab" not in build_assignments.list_of(tmp_path, "spring", place="")


def test_titles_number_the_assignments() -> None:
    for number, source in enumerate(SOURCES, start=1):
        assert build_assignments.title_of(json.loads(source.read_text())).startswith(
            f"Assignment {number}: "
        )


def test_another_sentence_under_the_same_name_is_refused(kits: Path) -> None:
    build_assignments.require_same_secret("handed out", kits)
    with pytest.raises(SystemExit, match="expected the sentence that this course was made from"):
        build_assignments.require_same_secret("Handed out", kits)
