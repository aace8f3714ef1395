"""Where submissions run: processes that the grader starts, talks to and ends.

The grader holds the tests and never runs a line of a submission; see `worker` for the other side.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from maskdiff_edu.course.sandbox import Limits
from maskdiff_edu.course.wire import WireError, receive, send
from maskdiff_edu.errors import Error

START_SECONDS = 120  #: until a process that has loaded torch answers
_POLL = 0.25  # seconds between two looks at a submission's folder


class Gone(Error):
    """The process of a submission has ended, or was ended; the text says why."""


class Workshop:
    """A process that has everything loaded and forks one for each notebook.

    with Workshop() as workshop, workshop.open() as bench:
        bench.run_cell("def double(x): return 2 * x", 1)
        with bench.test() as call:
            assert call("double", 4) == {"value": 8}
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @contextmanager
    def open(self) -> Iterator["Bench"]:
        """A fresh process in a fresh folder; both are gone afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="maskdiff-grade-"))
        ours, theirs = socket.socketpair()
        try:
            pid = self._fork(folder, theirs)
            theirs.close()
            bench = Bench(ours, pid, folder, self.limits)
            try:
                yield bench
            finally:
                bench.end("the grader has finished")
        finally:
            ours.close()
            theirs.close()
            _remove(folder)

    def _start(self) -> None:
        if sys.platform == "win32":  # no fork, and no process that can give up its rights
            raise Error("grading needs Linux or macOS, got Windows: use its Subsystem for Linux")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "maskdiff_edu.course.worker", str(theirs.fileno())]
        # Nothing of the grader's environment: a process can read what it was started with.
        kept = ("PATH", "HOME", "LANG", "PYTHONPATH", "TMPDIR")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        # A folder without modules of ours: the tests lie beside the assignments.
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=env, cwd=tempfile.gettempdir()
        )
        theirs.close()
        ours.settimeout(START_SECONDS)
        self._control = ours
        if self._control.recv(16) != b"ready":
            raise Error("expected a process for the submissions, got one that ended at its start")

    def _stop(self) -> None:
        if self._process:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _fork(self, folder: Path, theirs: socket.socket) -> int:
        order = json.dumps({"folder": str(folder), "limits": asdict(self.limits)}).encode()
        with self._lock:  # one request at a time
            for attempt in (1, 2):
                if self._process is None:  # nothing is loaded for a class that is graded already
                    self._start()
                try:
                    socket.send_fds(self._control, [order], [theirs.fileno()])
                    answer = self._control.recv(16)
                    if answer:
                        return int(answer)
                except OSError:
                    pass
                if attempt == 1:  # a submission may have ended it: begin again, once
                    self._stop()
        raise Error("expected a process for the submissions, got one that ends again and again")


class Bench:
    """One notebook's process. Everything that waits for it waits for so long and no longer."""

    def __init__(self, connection: socket.socket, pid: int, folder: Path, limits: Limits) -> None:
        self._connection, self._pid, self._folder = connection, pid, folder
        self.limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._why = ""
        self._watch = threading.Thread(target=self._watch_it, daemon=True)
        self._watch.start()
        self.isolation = str(self._ask(None, START_SECONDS))

    def run_cell(self, source: str, number: int) -> str | None:
        """Run a cell; return its error, if there was one. Raises: Gone."""
        message = {"do": "cell", "source": source, "number": number}
        answer = self._ask(message, self.limits.cell_seconds)
        error = answer.get("error") if isinstance(answer, dict) else "an answer that is none"
        return None if error is None else str(error)

    @contextmanager
    def test(self) -> Iterator["Call"]:
        """A copy of the notebook's state, for the calls of one test."""
        ours, theirs = socket.socketpair()
        try:
            with self._told():
                send(self._connection, {"do": "test", "file": True})
                socket.send_fds(self._connection, [b"f"], [theirs.fileno()])
            theirs.close()
            yield Call(ours, self.limits.test_seconds)
        finally:
            ours.close()
            theirs.close()
            if not self._why:
                self._ask({"do": "end test"}, self.limits.cell_seconds)

    def end(self, why: str) -> None:
        """End the process and all that it started."""
        if not self._why:
            self._why = why
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def _ask(self, message: Any, seconds: float) -> Any:
        with self._told(seconds):
            if message is not None:
                send(self._connection, message)
            return receive(self._connection, min(seconds, self._deadline - time.monotonic()))

    @contextmanager
    def _told(self, seconds: float = 0.0) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self.end(f"it took longer than {seconds:g} seconds")
            raise Gone(self._why) from None
        except (EOFError, OSError, WireError):
            self.end("its process ended: out of memory, or ended by itself")
            raise Gone(self._why) from None

    def _watch_it(self) -> None:
        """What no limit of a process covers: all files together, and all processes of root."""
        while not self._why:
            if _size(self._folder) > self.limits.folder_mb * 2**20:
                self.end(f"it wrote more than {self.limits.folder_mb} MB")
            if _processes_below(self._pid) > self.limits.processes:
                self.end(f"it started more than {self.limits.processes} processes")
            time.sleep(_POLL)


class Call:
    """Calls to functions of the notebook, all within the time of one test."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call a function; see `ask`."""
        return self.ask(name, True, args, kwargs)

    def ask(
        self, name: str, is_call: bool = False, args: tuple = (), kwargs: dict | None = None
    ) -> dict[str, Any]:
        """The value of a name, or of a call, as {"value": …}; else {"error": text}."""
        message = {"name": name, "is_call": is_call, "args": list(args), "kwargs": kwargs or {}}
        try:
            send(self._connection, message | {"seed": 0})
            answer = receive(self._connection, self._deadline - time.monotonic())
        except TimeoutError:
            return {"error": f"no answer within {self._seconds:g} seconds"}
        except (EOFError, OSError):
            return {"error": "its process ended: out of memory, or ended by itself"}
        except WireError as error:
            return {"error": f"an answer that cannot be read: {error}"}
        return answer if isinstance(answer, dict) and answer else {"error": "no answer"}


def _size(folder: Path) -> int:
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return total


def _processes_below(pid: int) -> int:
    """How many processes live in the namespace that `pid` made for its children, if it did."""
    try:
        space = os.readlink(f"/proc/{pid}/ns/pid_for_children")
        if space == os.readlink("/proc/self/ns/pid"):
            return 0
    except OSError:
        return 0
    n = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            n += os.readlink(process / "ns" / "pid") == space
    return n


def _remove(folder: Path) -> None:
    """Also what a submission made unreadable."""

    def open_up(function: Any, path: str, _: Any) -> None:
        with suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700)
            function(path)

    shutil.rmtree(folder, onerror=open_up)
