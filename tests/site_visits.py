"""Pages of the rendered site, opened in a browser from a server on this machine."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_build import pages_in_toc

ROOT = Path(__file__).resolve().parent.parent
FIGURES = "figure.maskdiff"
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 375, "height": 900}
PATIENCE = 120_000  # milliseconds until every figure of a page is drawn; some seconds are usual
STAGES = f"{FIGURES} :is(.maskdiff-stage, .maskdiff-questions)"  # a page may hold questions alone
DRAWN = f"""expected => document.querySelectorAll('{FIGURES}').length === expected
  && document.querySelectorAll('{STAGES} > *').length > 0"""
STATE = f"""() => ({{
  figures: document.querySelectorAll('{FIGURES}').length,
  stages: document.querySelectorAll('{STAGES} > *').length,
  document: document.readyState,
  visible: document.visibilityState,
}})"""


class Server(http.server.ThreadingHTTPServer):
    """A page asks for thirty files at once; by default five callers may wait."""

    request_queue_size = 128


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *args: object) -> None:
        pass


class Guarded(Quiet):
    """Serves them under the policy that book/hub.md tells administrators."""

    def end_headers(self) -> None:
        policy = (ROOT / "book" / "policy.txt").read_text()
        self.send_header("Content-Security-Policy", " ".join(policy.split()))
        super().end_headers()


@pytest.fixture(scope="module")
def address(html: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = functools.partial(Guarded, directory=html)
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Visit:
    """A page that was opened, with what went wrong and what it asked for."""

    def __init__(self, browser: Any, url: str) -> None:
        self.page = browser.new_page(viewport=DESK, reduced_motion="reduce")
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.answered: list[str] = []
        self.page.on("requestfinished", lambda request: self.answered.append(request.url))
        # Loaded first: on a busy machine the network falls idle while the page is still parsed, and
        # half of its figures would be counted.
        self.page.goto(url, wait_until="load")
        self.page.wait_for_load_state("networkidle")
        expected = self.page.locator('script[type*="widget-view"]').count()
        if expected:
            self._wait_for_figures(expected)
        # Those that answer at once; one that waits for a file has tests of its own.
        self.figures = self.page.locator(f"{FIGURES}:not(:has(form, input[type=file]))")

    def _wait_for_figures(self, expected: int) -> None:
        from playwright.sync_api import TimeoutError

        try:
            # By the clock: a headless browser may draw no frame for long, and the usual polling
            # waits for frames.
            self.page.wait_for_function(DRAWN, arg=expected, polling=200, timeout=PATIENCE)
        except TimeoutError:
            open_requests = [url for url in self.asked if url not in self.answered]
            raise AssertionError(
                f"{self.page.url}: expected {expected} figures drawn within {PATIENCE // 1000} s, "
                f"found {self.page.evaluate(STATE)}; complaints {self.complaints}; "
                f"requests without an answer {open_requests}"
            ) from None

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture(scope="module", params=pages_in_toc(ROOT))
def visit(browser: Any, address: str, request: Any) -> Iterator[Visit]:
    """A page of the site in turn; its tests share it, since opening it takes longest."""
    seen = Visit(browser, f"{address}/{request.param}.html")
    yield seen
    seen.page.close()


@pytest.fixture
def chapter(browser: Any, address: str) -> Iterator[Visit]:
    """A chapter with figures and questions."""
    seen = Visit(browser, f"{address}/book/ch02_noising.html")
    yield seen
    seen.page.close()
