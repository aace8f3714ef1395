"""Jobs for test_workers.py, in a module that is quickly imported."""

import os
import signal
import time
from pathlib import Path


def square(number: int) -> int:
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise OSError("three")
    return number


def tell_process(_: int) -> tuple[int, str]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS", "")


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_long(number: int, folder: str) -> None:
    Path(folder, f"{os.getpid()}.pid").touch()
    time.sleep(60)
