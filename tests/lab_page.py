"""The lab's files, served as on a site, under the narrowest policy that they need."""

import functools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from site_visits import Guarded, Quiet, Server

from maskdiff_edu.widgets.lab import copy_lab

# All that a page of the lab may do: nothing from any other host, no eval but WebAssembly's.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; "
    "worker-src 'self'"
)


class Strict(Quiet):
    """Serves the lab under the narrowest policy that it needs."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    copy_lab(folder)
    (folder / "index.html").write_text("<!doctype html><title>The lab</title>", encoding="utf-8")
    return folder


def serve(folder: Path, handler: type[Quiet]) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), functools.partial(handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def served(lab: Path) -> Iterator[str]:
    yield from serve(lab, Strict)


@pytest.fixture(scope="module")
def served_as_the_book(lab: Path) -> Iterator[str]:
    """Under the policy that the book's pages need, whose figures hold their own scripts."""
    yield from serve(lab, Guarded)
