"""Pages of the rendered site, opened in a browser from a server on this machine."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FIGURES = "figure.maskdiff"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(html: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = functools.partial(Quiet, directory=html)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Visit:
    """A page that was opened, with what went wrong and what it asked for."""

    def __init__(self, browser: Any, url: str, width: int = 1200, scheme: str = "light") -> None:
        size = {"width": width, "height": 900}
        self.page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url, wait_until="networkidle")
        expected = self.page.locator('script[type*="widget-view"]').count()
        if expected:
            drawn = f"document.querySelectorAll('{FIGURES} .maskdiff-stage > *').length > 0"
            enough = f"document.querySelectorAll('{FIGURES}').length === {expected}"
            self.page.wait_for_function(f"{enough} && {drawn}", timeout=300_000)
        self.figures = self.page.locator(f"{FIGURES}:not(:has(form))")

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Any]:
    """Open a page of the site; closed after the test."""
    opened = []

    def open_page(name: str, **options: Any) -> Visit:
        opened.append(Visit(browser, f"{address}/{name}.html", **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.page.close()
