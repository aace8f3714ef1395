"""Jobs side by side in processes of their own, which share nothing with this one.

joblib starts each process anew instead of copying this one: a copy of a process that has computed
with several threads may wait for ever for threads that were not copied.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from maskdiff_edu.errors import Error

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKER_BYTES = 500 * 2**20  #: of memory that a process takes which makes a subject, with room
IDLE_SECONDS = 10  #: until a process that has nothing to do ends


def in_parallel(
    job: Callable[..., Result], items: Sequence[Item], *arguments: Any, workers: int | None = None
) -> Generator[Result, None, None]:
    """Results of `job(item, *arguments)` in the order of the items, `workers` at a time.

    By default as many as this process may use processors, and fewer where memory is short; each
    computes with one thread. `job` is a function of a module. What it raises is raised here, as
    soon as it happens.

    Raises: `Error` where a process was killed, as a system does that runs out of memory.
    """
    n_workers = min(workers or default_workers(), len(items))
    if n_workers <= 1:
        yield from (job(item, *arguments) for item in items)
        return
    todo = (delayed(_run)(os.getpid(), job, item, *arguments) for item in items)
    try:  # one may be killed while the first jobs are still handed out
        with parallel_config("loky", inner_max_num_threads=1, idle_worker_timeout=IDLE_SECONDS):
            every = Parallel(n_workers, return_as="generator", batch_size=1, max_nbytes=None)(todo)
        yield from every
    except TerminatedWorkerError as error:
        raise Error(
            f"expected {n_workers} processes to finish, got one that was killed; if memory ran "
            "out, use fewer of them"
        ) from error


def default_workers() -> int:
    """As many as there are processors, but no more than fit into the memory that is free."""
    free = free_memory()
    return processors() if free is None else max(1, min(processors(), free // WORKER_BYTES))


def free_memory() -> int | None:
    """Bytes that this process may still take, by the system and its container; None if unknown."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text()
        found.append(int(text.partition("MemAvailable:")[2].split()[0]) * 1024)
    with suppress(OSError, ValueError):  # "max" where the container has no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        found.append(limit - int((group / "memory.current").read_text()))
    return max(0, min(found)) if found else None


def processors() -> int:
    """How many processors this process may use, by its affinity and its container's limit."""
    return cpu_count()


def _run(parent: int, job: Callable[..., Result], *arguments: Any) -> Result:
    """In the other process: leave Ctrl-C to the parent, and never outlive it."""
    if not _watching.is_set():
        _watching.set()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return job(*arguments)


_watching = threading.Event()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
