"""The zip file for a room without internet: everything is in it, under the names it promises."""

import zipfile
from pathlib import Path

import build_classroom


def test_zip_holds_wheels_site_notebooks_and_what_to_do(tmp_path: Path) -> None:
    wheels, site = tmp_path / "wheels", tmp_path / "html"
    wheels.mkdir()
    (site / "book").mkdir(parents=True)
    (wheels / "maskdiff_edu-1-py3-none-any.whl").write_bytes(b"wheel")
    (site / "book" / "page.html").write_text("page")
    (tmp_path / "ch01.ipynb").write_text("{}")
    out = tmp_path / "room.zip"
    build_classroom.write_zip(out, wheels, site, {"ch01.ipynb": tmp_path / "ch01.ipynb"})
    with zipfile.ZipFile(out) as packed:
        assert sorted(packed.namelist()) == [
            "README.txt",
            "notebooks/ch01.ipynb",
            "site/book/page.html",
            "wheels/maskdiff_edu-1-py3-none-any.whl",
        ]
        said = packed.read("README.txt").decode()
    assert "--no-index --find-links wheels maskdiff_edu" in said and "site/index.html" in said


def test_versions_are_those_of_the_lock(root: Path) -> None:
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    versions = build_classroom.versions_in(lock)
    assert len(versions) == sum(line[0].isalnum() for line in lock.splitlines())
    assert any(line.startswith("torch==2") for line in versions)
    assert not any("hash" in line or line.endswith("\\") for line in versions)
