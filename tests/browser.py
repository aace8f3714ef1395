"""A headless browser for the tests, and a page that shows one figure with or without a kernel."""

import base64
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from maskdiff_edu.widgets.base import Figure

# For containers, which run as root and may have little shared memory.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

# What stands between a figure's script and its data: get, set, change and messages, as anywidget
# hands them over. `toKernel` is there only where a kernel is played.
MODEL = """
class Model {
  constructor(traits) { this.traits = traits; this.heard = {}; }
  get(name) { return this.traits[name]; }
  set(name, value) {
    this.traits[name] = value;
    for (const callback of this.heard[`change:${name}`] ?? []) callback();
  }
  save_changes() { window.toKernel?.("value", this.traits.value); }
  send(message) { window.toKernel?.("message", message); }
  on(event, callback) { (this.heard[event] ??= []).push(callback); }
  off(event, callback) {
    this.heard[event] = (this.heard[event] ?? []).filter((other) => other !== callback);
  }
  hear(message, buffers) {
    for (const callback of this.heard["msg:custom"] ?? []) callback(message, buffers);
  }
}
function fromBase64(text) {
  return new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}
async function mount({ esm, css, spec, blob, value }) {
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  window.model = new Model({ spec, value, blob: fromBase64(blob) });
  await module.default.render({ model: window.model, el: document.body });
}
"""

# The pictures of a figure as strings: equal exactly if the pictures are.
PICTURES = """
async () => Promise.all([
  ...document.querySelectorAll("canvas, img, svg.maskdiff-plot"),
].map(async (picture) => {
  if (picture.tagName === "svg") return picture.outerHTML;
  if (picture.tagName === "CANVAS") return picture.toDataURL();
  const bytes = new Uint8Array(await (await fetch(picture.src)).arrayBuffer());
  return btoa(String.fromCharCode(...bytes)) + picture.style.clipPath;
}))
"""


def find_program(programs: Sequence[str], package: str, required: str) -> str:
    """The first of them that is installed; the test is skipped where there is none.

    With the variable `required` set, a missing one is a failure.
    """
    if found := next(filter(None, map(shutil.which, programs)), None):
        return found
    message = f"needs a browser, one of {', '.join(programs)} (Debian: apt install {package})"
    if os.environ.get(required):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    program = find_program(PROGRAMS, "chromium", "MASKDIFF_REQUIRE_BROWSER")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Shown:
    """One figure on an empty page, or on one of a site."""

    def __init__(
        self, page: Any, figure: Figure, kernel: bool, address: str = "about:blank"
    ) -> None:
        self.page, self.figure = page, figure
        page.goto(address)
        if kernel:
            page.expose_function("toKernel", self._from_page)
            figure.send = self._to_page  # what ipywidgets would send over the wire
        page.add_script_tag(content=MODEL)
        traits = {
            "esm": figure._esm,
            "css": figure._css,
            "spec": figure.spec,
            "blob": base64.b64encode(figure.blob).decode(),
            "value": figure.value,
        }
        page.evaluate("mount", traits)

    @property
    def pictures(self) -> list[str]:
        return self.page.evaluate(PICTURES)

    @property
    def words(self) -> str:
        return self.page.locator(".maskdiff-status").inner_text()

    @property
    def value(self) -> dict[str, Any]:
        return self.page.evaluate("model.get('value')")

    def set(self, **value: Any) -> None:
        """Move the controls from Python, as `figure.value = ...` does in a kernel."""
        self.figure.value = {**self.value, **value}
        self.page.evaluate("value => model.set('value', value)", self.figure.value)

    def wait_for(self, holds: Callable[["Shown"], bool]) -> None:
        for _ in range(100):
            if holds(self):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"waited in vain; the figure says {self.words!r}")

    def wait_for_words(self, pattern: str) -> re.Match:
        """What the figure says, once it says something like this; half a minute at most."""
        for _ in range(1200):
            if found := re.search(pattern, self.words):
                return found
            self.page.wait_for_timeout(25)
        raise AssertionError(f"waited in vain for {pattern!r}; the figure says {self.words!r}")

    def _from_page(self, kind: str, content: Any) -> None:
        if kind == "value":
            self.figure.value = content
        else:
            self.figure._handle_custom_msg(content, [])

    def _to_page(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        coded = [base64.b64encode(b).decode() for b in buffers or []]
        # Not awaited: the page may be waiting for this very call.
        hear = "([m, b]) => { setTimeout(() => model.hear(m, b.map(fromBase64))) }"
        self.page.evaluate(hear, [content, coded])
