"""The process that runs submissions: it has the libraries loaded and forks for each notebook.

It never sees a test. `python -m maskdiff_edu.course.worker FD` is started by `Workshop`; over the
socket FD it is told to fork, and given the socket over which a notebook's cells and calls come.
"""

import contextlib
import json
import linecache
import os
import random
import signal
import socket
import sys
import traceback
import types
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from maskdiff_edu.course.sandbox import Limits, confine
from maskdiff_edu.course.source import as_python
from maskdiff_edu.course.wire import WireError, receive, send

MAX_TEXT = 2000  # characters of an error


def serve(control: socket.socket) -> None:
    """Fork once for every request until the grader is gone."""
    torch.set_num_threads(1)
    matplotlib.use("Agg")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children leave no trace
    control.send(b"ready")
    while True:
        request, files, _, _ = socket.recv_fds(control, 2**16, 1)
        if not request:
            return
        child = os.fork()
        if child == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            order = json.loads(request)
            with contextlib.suppress(EOFError, OSError, WireError):
                _run(socket.socket(fileno=files[0]), Path(order["folder"]), order["limits"])
            os._exit(0)
        os.close(files[0])
        control.send(str(child).encode())


def _run(connection: socket.socket, folder: Path, limits: dict[str, Any]) -> None:
    """Answer the grader's messages about one notebook."""
    os.setsid()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows too large is an error
    _redirect(folder)
    send(connection, confine(folder, Limits(**limits)))
    names = _fresh_module()
    test = 0
    while True:
        message, files = _receive_with_file(connection)
        if message["do"] == "cell":
            send(connection, _execute(message["source"], message["number"], names))
        elif message["do"] == "test":
            test = os.fork()
            if test == 0:
                connection.close()
                _answer(socket.socket(fileno=files[0]), names)
                os._exit(0)
            os.close(files[0])
        elif message["do"] == "end test":
            with contextlib.suppress(OSError):
                os.kill(test, signal.SIGKILL)
                os.waitpid(test, 0)
            send(connection, True)


def _redirect(folder: Path) -> None:
    """What is printed goes into a file, whose size is limited; nobody reads it."""
    printed = os.open(folder / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (printed, 1), (printed, 2)):
        os.dup2(source, target)


def _receive_with_file(connection: socket.socket) -> tuple[Any, list[int]]:
    """A message; if it announces a file, that file's number too."""
    message = receive(connection)
    if not message.get("file"):
        return message, []
    _, files, _, _ = socket.recv_fds(connection, 1, 1)
    return message, list(files)


def _fresh_module() -> dict[str, Any]:
    module = types.ModuleType("__main__")
    module.__dict__.update(display=lambda *_, **__: None, get_ipython=lambda: None)
    sys.modules["__main__"] = module
    return module.__dict__


def _execute(source: str, number: int, names: dict[str, Any]) -> dict[str, Any]:
    """Run one cell; return its error, if there was one."""
    name = f"<cell {number}>"
    text = as_python(source)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        exec(compile(text, name, "exec"), names)
    except BaseException as error:  # sys.exit is one
        return {"error": _told(error, name)}
    return {"error": None}


def _told(error: BaseException, name: str = "<cell") -> str:
    """What a reader of the notebook needs: the error, and the line of the cell."""
    try:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [
            f"{f.line} ({f.filename[1:-1]}, line {f.lineno})"
            for f in frames
            if f.filename.startswith(name)
        ]
        where = f"; at: {lines[-1]}" if lines else ""
        return f"{type(error).__name__}: {str(error)[:MAX_TEXT]}{where}"
    except BaseException:  # an exception whose text raises
        return "an error that cannot be shown"


def _answer(connection: socket.socket, names: dict[str, Any]) -> None:
    """Call the notebook's functions as one test asks for it."""
    while True:
        try:
            call = receive(connection)
        except EOFError:
            return
        try:
            send(connection, _called(call, names))
        except WireError as error:  # nothing was sent
            send(connection, {"unusable": str(error)})


def _called(call: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    function = names.get(call["name"])
    if function is None:
        return {"missing": True}
    if not call["is_call"]:
        value = function
    else:
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(call["seed"])
        try:
            value = function(*call["args"], **call["kwargs"])
        except BaseException as error:
            return {"error": _told(error)}
    return {"value": value}


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
