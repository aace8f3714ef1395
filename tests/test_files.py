"""Files and folders that appear whole or not at all, whoever is killed and whoever else writes."""

import os
import subprocess
import sys
import time

import pytest

from maskdiff_edu.errors import Error
from maskdiff_edu.files import locked, require_writable, whole_folder, write_atomic

NAMES = ("map", "picture", "scores")
#: Writes new results over old ones, and is killed at the n-th step that changes the disk.
KILLED = """
import os, sys
from maskdiff_edu import files
out, left = sys.argv[1], int(sys.argv[2])
def dying(step):
    def counted(*args, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return step(*args, **options)
    return counted
os.replace = dying(os.replace)
files.Path.unlink = dying(files.Path.unlink)
with files.whole_folder(out, sys.argv[3:], overwrite=True) as folder:
    for name in ("map", "scores"):
        (folder / name).write_text("new")
"""


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def visible(folder):
    return {name: text for name, text in content(folder).items() if not name.startswith(".")}


@pytest.fixture
def old(tmp_path):
    """A folder with older results and a file of somebody else."""
    out = tmp_path / "out"
    out.mkdir()
    for name in NAMES:
        (out / name).write_text("old")
    (out / "mine").write_text("mine")
    return out


def test_older_results_are_not_replaced_unasked(old):
    before = content(old)
    with pytest.raises(Error, match=r"map: expected no such file yet.*--overwrite"):
        require_writable(old, NAMES)
    with pytest.raises(Error, match="expected no such file yet"), whole_folder(old, NAMES):
        pass
    with pytest.raises(Error, match="mine: expected no such file"), whole_folder(old) as folder:
        (folder / "mine").write_text("theirs")
    assert content(old) == before and len(list(old.iterdir())) == len(before)


def test_asked_to_it_replaces_them_and_keeps_other_files(old):
    with whole_folder(old, NAMES, overwrite=True) as folder:
        (folder / "map").write_text("new")
    assert content(old) == {"map": "new", "mine": "mine"}
    assert {path.name for path in old.iterdir()} == {"map", "mine"}


def test_killed_at_any_step_old_and_new_never_stand_together(old):
    """And the next who writes there ends what was begun, or finds the old results whole."""
    old_ones = visible(old)
    new_ones = {"map": "new", "scores": "new", "mine": "mine"}
    ends = []
    for step in range(100):
        for name in NAMES:
            (old / name).write_text("old")
        done = subprocess.run([sys.executable, "-c", KILLED, str(old), str(step), *NAMES])
        texts = set(visible(old).values()) - {"mine"}
        assert len(texts) <= 1, (step, visible(old))
        require_writable(old, NAMES, overwrite=True)
        assert visible(old) in (old_ones, new_ones), (step, visible(old))
        assert [path for path in old.iterdir() if path.name.startswith(".")] == [], step
        ends.append(visible(old) == new_ones)
        if done.returncode == 0:
            break
    assert done.returncode == 0 and 5 < len(ends) < 100
    assert ends == sorted(ends), "from the moment that all is finished, it is the new one"
    assert not ends[0] and ends[-1]


def test_a_process_number_that_comes_back_is_in_nobodys_way(tmp_path, monkeypatch):
    """In a container each command may have the same one."""
    for name in (".out.7", ".out.7.unfinished", f".out.{os.getpid()}"):
        (tmp_path / name).mkdir()
    with whole_folder(tmp_path / "out") as folder:
        (folder / "map").write_text("new")
    (tmp_path / f".file.{os.getpid()}.unfinished").write_text("half")
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert content(tmp_path / "out") == {"map": "new"}


def test_what_a_killed_writer_left_goes_when_it_is_old(tmp_path):
    left, fresh = (tmp_path / f".{name}.0.unfinished" for name in ("left", "fresh"))
    for path in (left, fresh):
        path.write_text("half")
    os.utime(left, (0, time.time() - 3600))
    write_atomic(tmp_path / "file", b"new")
    assert not left.exists() and fresh.exists(), "its writer may be at it still"


HOLD = """
import sys, time
from maskdiff_edu.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that writes `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_told_at_once(tmp_path, holder):
    expected = pytest.raises(Error, match="run: expected nobody else to write here")
    with expected, locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "another"):
        pass


def test_a_killed_writer_is_in_nobodys_way_and_its_leftovers_go(tmp_path, holder):
    half = tmp_path / ".run.0123.unfinished"
    half.write_text("half")
    holder.kill()
    holder.wait()
    with locked(tmp_path / "run"):
        assert not half.exists()
    assert list(tmp_path.iterdir()) == []


def test_one_process_may_come_again(tmp_path):
    """A notebook whose cell was interrupted still holds what the cell held."""
    with locked(tmp_path / "run"), locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_writers_of_one_file_leave_one_of_theirs_whole(tmp_path):
    write = (
        "import sys; from maskdiff_edu.files import write_atomic\n"
        "for _ in range(200): write_atomic(sys.argv[1], sys.argv[2].encode() * 10**5)"
    )
    path = tmp_path / "file"
    processes = [
        subprocess.Popen([sys.executable, "-c", write, str(path), letter]) for letter in "ab"
    ]
    seen = set()
    while any(process.poll() is None for process in processes):
        if path.exists():
            text = path.read_bytes()
            seen.add((len(text), text[:1], len(set(text))))
    assert [process.returncode for process in processes] == [0, 0]
    assert seen <= {(10**5, b"a", 1), (10**5, b"b", 1)} and seen
    assert list(tmp_path.iterdir()) == [path]
