"""Jobs in processes of their own: in order, quiet, never left behind, and never stuck."""

import os
import signal
import subprocess
import sys
import time

import pytest
from jobs import die, fail_at_three, square, tell_process

from maskdiff_edu import workers
from maskdiff_edu.brains import make_subject, stacks
from maskdiff_edu.errors import Error
from maskdiff_edu.scans import write_subject
from maskdiff_edu.training import SlicePool
from maskdiff_edu.workers import in_parallel, processors

NOTEBOOK = """
import sys, torch
from maskdiff_edu.scans import write_subject
from maskdiff_edu.training import SlicePool
torch.set_num_threads(2)
image = torch.randn(8, 16, 96, 96, requires_grad=True)
net = torch.nn.Conv2d(16, 16, 3)
net(image).sum().backward()  # now several threads are waiting for work
pool = SlicePool([0, 1, 2], cache_dir=sys.argv[1])
pool.fill(workers=2)
print(len(pool[2]))
"""

SLEEPERS = """
import sys, time
from maskdiff_edu.workers import in_parallel
sys.path.insert(0, sys.argv[1])
from jobs import sleep_long
print("begun", flush=True)
list(in_parallel(sleep_long, range(4), sys.argv[2], workers=2))
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:  # a zombie has ended
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(in_parallel(square, range(7), workers=workers)) == [n * n for n in range(7)]
    assert list(in_parallel(square, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_job_raises_is_raised_here(workers):
    with pytest.raises(OSError, match="three"):
        list(in_parallel(fail_at_three, range(5), workers=workers))


def test_each_has_a_process_of_its_own_that_computes_with_one_thread():
    found = set(in_parallel(tell_process, range(6), workers=2))
    assert os.getpid() not in {pid for pid, _ in found}
    assert {threads for _, threads in found} == {"1"}


def test_by_default_there_are_as_many_as_this_process_may_use():
    assert 1 <= processors() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        assert processors() <= len(os.sched_getaffinity(0))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_one_that_is_killed_gives_a_clear_error():
    with pytest.raises(Error, match=r"expected 2 processes to finish, got one that was killed"):
        list(in_parallel(die, range(4), workers=2))
    assert list(in_parallel(square, [2, 3], workers=2)) == [4, 9], "others start anew"


def test_one_that_is_killed_while_jobs_are_handed_out(monkeypatch):
    def broken(*_):
        raise workers.TerminatedWorkerError

    monkeypatch.setattr(workers.Parallel, "__call__", broken)
    with pytest.raises(Error, match=r"expected 2 processes to finish, got one that was killed"):
        list(in_parallel(square, range(4), workers=2))


def test_they_load_no_torch():
    """It takes longer than ten subjects."""
    ask = f"import {stacks.store.__module__}, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", ask], check=True)


@pytest.mark.slow
@pytest.mark.alone
def test_a_pool_fills_after_torch_has_computed_with_several_threads(tmp_path):
    """With the user's default threads: a copied process would hang for ever here."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", NOTEBOOK, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(SlicePool([2], cache_dir=tmp_path)[0])
    assert len(list(tmp_path.rglob("*.npz"))) == 3


@pytest.mark.alone
def test_a_training_goes_on_with_more_steps(tmp_path):
    """As documented, with the user's default threads and an empty cache, both times."""
    for seed in range(6):
        write_subject(make_subject(seed).crop_slices(6), tmp_path / "data")
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    command = [sys.executable, "-m", "maskdiff_edu", "train", "--preset", "ddpm"]
    command += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "model")]
    for words in (("--steps", "1"), ("--steps", "2", "--resume")):
        cache = tmp_path / words[1]
        done = subprocess.run(
            [*command, *words], env=environment | {"MASKDIFF_CACHE": str(cache)},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(list(cache.rglob("*.npz"))) > 1, "several were made side by side"


@pytest.mark.parametrize(
    "free, expected", [(None, 16), (100 * 2**30, 16), (2 * 2**30, 4), (10 * 2**20, 1), (0, 1)]
)
def test_no_more_workers_than_fit_into_memory(monkeypatch, free, expected):
    monkeypatch.setattr(workers, "processors", lambda: 16)
    monkeypatch.setattr(workers, "free_memory", lambda: free)
    assert workers.default_workers() == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_free_memory_is_a_part_of_the_machines():
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < workers.free_memory() <= machine


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_their_parent(tmp_path, how):
    here = os.path.dirname(__file__)
    parent = subprocess.Popen([sys.executable, "-c", SLEEPERS, here, str(tmp_path)])
    deadline = time.monotonic() + 120
    while len(pids := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.2)
    parent.send_signal(how)
    parent.wait(30)
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "processes are left behind"
        time.sleep(0.2)
