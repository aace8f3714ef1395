"""Debian's Firefox, driven over WebDriver BiDi, which it speaks by itself: no driver, no download.

Playwright needs a Firefox of its own making; what readers have is this one.
"""

import asyncio
import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import find_program
from tornado.websocket import websocket_connect

PROGRAMS = ("firefox-esr", "firefox")
PATIENCE = 120  # seconds
_LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
# A fresh profile asks for news, updates and telemetry; a test asks nobody but itself.
_SETTINGS = {
    "app.update.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


class Firefox:
    """One tab. `evaluate` runs an expression, waits for its promise, and returns plain JSON."""

    def __init__(self, address: str) -> None:
        # In a thread of its own: Playwright has a loop that runs in this one.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._socket = self._wait(lambda: websocket_connect(f"{address}/session"))
        self._asked = 0
        self.complaints: list[str] = []  # errors that pages wrote to the console
        self._send("session.new", capabilities={})
        self._send("session.subscribe", events=["log.entryAdded"])
        self._tab = self._send("browsingContext.getTree")["contexts"][0]["context"]

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Raises AssertionError with the page's own words where the expression throws."""
        answer = self._send(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})) ?? 'null')()",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def wait_for(self, expression: str) -> Any:
        """Evaluate again and again until it is something; returns that."""
        poll = f"""new Promise((resolve, reject) => {{
          const end = Date.now() + {1000 * PATIENCE};
          const look = () => {{
            const found = {expression};
            if (found) resolve(found);
            else if (Date.now() > end) reject(new Error("waited in vain: " + document.title));
            else setTimeout(look, 50);
          }};
          look();
        }})"""
        return self.evaluate(poll)

    def picture(self, file: Path) -> None:
        """What the window shows, as a PNG."""
        shot = self._send("browsingContext.captureScreenshot", context=self._tab)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": params}
        self._wait(lambda: self._socket.write_message(json.dumps(message)))
        while True:  # events come between the answers
            told = self._wait(self._socket.read_message)
            assert told is not None, "Firefox ended"
            answer = json.loads(told)
            if answer.get("method") == "log.entryAdded" and answer["params"]["level"] == "error":
                self.complaints.append(answer["params"]["text"])
            if answer.get("id") == self._asked:
                assert answer["type"] == "success", answer
                return answer["result"]

    def _wait(self, start: Callable[[], Any]) -> Any:
        async def wait() -> Any:
            return await start()

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(PATIENCE)

    def close(self) -> None:
        """End the connection; the process is ended by who started it."""
        self._loop.call_soon_threadsafe(self._socket.close)
        self._loop.call_soon_threadsafe(self._loop.stop)


@contextmanager
def open_firefox(profile: Path) -> Iterator[Firefox]:
    """With a fresh profile in this folder."""
    program = find_program(PROGRAMS, "firefox-esr", "MASKDIFF_REQUIRE_FIREFOX")
    lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _SETTINGS.items())
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    command = [program, "--headless", "--no-remote", "--profile", str(profile)]
    command += ["--remote-debugging-port", "0", "about:blank"]
    # Its own home: as root in somebody else's, Firefox refuses to start.
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(profile)}
    )
    try:
        found = next(filter(None, map(_LISTENING.search, running.stderr)), None)
        assert found, "Firefox ended before it listened"
        firefox = Firefox(found[1])
        yield firefox
        firefox.close()
    finally:
        running.kill()
        running.wait()
