"""A headless Chromium, driven over its debugging protocol: what a reader of a page would see."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websocket import WebSocket, create_connection

from tests.tools import lacking

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip

# Bokeh draws in shadow roots, which selectors do not reach into.
_DEEP = """
function deep(selector, root = document) {
  const found = [...root.querySelectorAll(selector)];
  for (const element of root.querySelectorAll("*"))
    if (element.shadowRoot) found.push(...deep(selector, element.shadowRoot));
  return found;
}
"""


class Page:
    """A page in the browser.

    Attributes:
        errors: exceptions of its scripts.
    """

    def __init__(self, socket: WebSocket) -> None:
        self.socket, self.number, self.errors = socket, 0, list[str]()

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the debugging protocol."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str, width: int = 1400, height: int = 900) -> None:
        """Go to an address, in a window of some pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression; ``deep(selector)`` finds elements of Bokeh's."""
        found = self.call("Runtime.evaluate", expression=_DEEP + script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """Return the texts of elements."""
        found: list[str] = self.evaluate(f"deep({json.dumps(selector)}).map(e => e.innerText)")
        return found

    def wait_for(self, script: str, timeout: float = 60.0) -> Any:
        """Wait until an expression has a true value, and return it."""
        until = time.monotonic() + timeout
        while not (value := self.evaluate(script)):
            assert time.monotonic() < until, f"{script} stayed {value!r}; {self.errors}"
            time.sleep(0.1)
        return value

    def save(self, path: Path) -> None:
        """Save a picture of the page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Start Chromium with a fresh profile in a folder; skip the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    command = [program or lacking("chromium is not installed"), *FLAGS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        socket = create_connection(_address(folder / "DevToolsActivePort"), timeout=60,
                                   suppress_origin=True)  # fmt: skip
        page = Page(socket)
        page.call("Runtime.enable")
        page.call("Page.enable")
        try:
            yield page
        finally:
            page.call("Browser.close")
            socket.close()
    finally:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(port_file: Path) -> str:
    """Return where the first page listens, once Chromium is up."""
    until = time.monotonic() + 60
    while not (port_file.exists() and (text := port_file.read_text().split())):
        assert time.monotonic() < until, "chromium does not start"
        time.sleep(0.05)
    with urllib.request.urlopen(f"http://127.0.0.1:{text[0]}/json/list", timeout=30) as answer:
        pages = [target for target in json.load(answer) if target["type"] == "page"]
    return str(pages[0]["webSocketDebuggerUrl"])
