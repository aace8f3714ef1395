"""What a submission may do: compute, in its own folder, for a while. Linux does it with what every
process may ask for; elsewhere less is possible, and every result says so.

`confine` is called once, in the process of the submission, and cannot be taken back.
"""

import ctypes
import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import resource

ISOLATED = "isolated: no other file, no network, limits of memory and time"
PARTLY = "partly isolated: no other file and no TCP, but it could end your programs; trusted only"
LIMITED = "not isolated: limits of time only; trusted submissions only"


@dataclass(frozen=True)
class Limits:
    """What one submission may take."""

    memory_gb: float = 3.0  #: of addresses, beside those of the loaded libraries
    file_mb: int = 50  #: the largest file
    folder_mb: int = 300  #: all files together
    processes: int = 64  #: processes and threads
    cell_seconds: float = 60.0  #: one cell
    test_seconds: float = 20.0  #: the calls of one test
    seconds: float = 240.0  #: a whole notebook, its tests included


# From <linux/landlock.h>, <sched.h> and <sys/prctl.h>; the numbers are part of the kernel's
# interface and the same on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a folder
_ALL_BY_ABI = (0, 13, 14, 15, 15, 16)  # how many rights of files each version knows
_NEW_NAMESPACES = 0x10000000 | 0x40000000 | 0x08000000 | 0x20000000  # user, network, ipc, pid
_PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 38, 1, 4


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def confine(folder: Path, limits: Limits) -> str:
    """Give up everything but computing and `folder`; return how far that went.

    On Linux the process is also forked: what returns is the child, in namespaces of its own, so
    that all it ever starts ends with it. Returns `ISOLATED`; `PARTLY` where a system (Ubuntu 24.04
    unless told otherwise) gives nobody namespaces; `LIMITED` where it offers no more.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(_clean_environment(folder))
    _limit(limits)
    if sys.platform != "linux":
        return LIMITED
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 4:  # before, it knows no network
        return LIMITED
    apart = libc.unshare(_NEW_NAMESPACES) == 0
    if apart:  # elsewhere the number would count all processes of the user
        resource.setrlimit(resource.RLIMIT_NPROC, (limits.processes, limits.processes))
        _continue_as_first_process(libc)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _close_files(libc, abi, readable=_library_folders(), writable=[folder])
    return ISOLATED if apart else PARTLY


def _clean_environment(folder: Path) -> dict[str, str]:
    kept = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    return kept | {name: str(folder) for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")}


def _limit(limits: Limits) -> None:
    wanted = {
        "RLIMIT_CPU": int(limits.seconds),
        "RLIMIT_FSIZE": limits.file_mb * 2**20,
        "RLIMIT_CORE": 0,
    }
    if sys.platform == "linux":  # macOS ignores it or fails
        # Beside what the libraries hold: with CUDA, torch alone takes gigabytes of addresses.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        wanted["RLIMIT_AS"] = pages * resource.getpagesize() + int(limits.memory_gb * 2**30)
    for name, value in wanted.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def _continue_as_first_process(libc: ctypes.CDLL) -> None:
    """Go on in a child, process 1 of its namespace: the system ends all others with it."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)  # killed with the process that waits for it
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _library_folders() -> list[Path]:
    """Where Python and its packages lie, and what every program reads."""
    package = Path(__file__).resolve().parent.parent
    named = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    system = ["/usr", "/lib", "/lib64", "/etc/fonts", "/etc/ld.so.cache", "/dev/null"]
    system += ["/proc/cpuinfo", "/sys/devices/system/cpu"]  # torch asks which processor it has
    system += ["/dev/urandom", "/dev/zero"]
    # The checkout's own environment lies beside the assignments: itself, never what is around it.
    return [package, *(Path(name) for name in sorted(named)), *map(Path, system)]


def _close_files(
    libc: ctypes.CDLL, abi: int, readable: Iterable[Path], writable: Iterable[Path]
) -> None:
    everything = (1 << _ALL_BY_ABI[min(abi, len(_ALL_BY_ABI) - 1)]) - 1
    network = 3  # no bind, no connect; the namespace has no network either
    scoped = 3 if abi >= 6 else 0  # no signals and no abstract sockets to others
    rules = _Ruleset(everything, network, scoped)
    size = 24 if abi >= 6 else 16
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    _require(ruleset >= 0, "landlock_create_ruleset")
    for paths, allowed in ((readable, _READ), (writable, everything)):
        for path in paths:
            if path.exists():
                of_files = 0b111 | 1 << 14
                here = allowed if path.is_dir() else allowed & of_files
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
                rule = _PathRule(here & everything, place)
                added = libc.syscall(_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
                os.close(place)
                _require(added == 0, f"landlock_add_rule for {path}")
    _require(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0, "landlock_restrict_self")
    os.close(ruleset)


def _require(done: bool, what: str) -> None:
    if not done:
        raise OSError(ctypes.get_errno(), f"{what} failed")
