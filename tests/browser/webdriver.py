"""A real browser: headless Chromium driven over WebDriver by its own driver."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,900",
]  # fmt: skip
WAIT_S = 60.0
_PORT = re.compile(rb"started successfully on port (\d+)")


class ScriptError(AssertionError):
    """A script failed within the page, or with it: pages come and go."""


class Browser:
    """One window; speaks WebDriver to chromedriver on loopback."""

    def __init__(self, base: str, session: str) -> None:
        self._base = f"{base}/session/{session}"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._base + path, data=data, method=method, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            error.close()
            raise (ScriptError if path.startswith("/execute/") else AssertionError)(text) from None

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script's body in the page and return what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, script: str, *arguments: Any, wait_s: float = WAIT_S) -> Any:
        """Return what a script returns once that is true; what it speaks of may not be there yet."""
        deadline = time.monotonic() + wait_s
        while True:
            why = ""
            try:
                if found := self.run(script, *arguments):
                    return found
            except ScriptError as error:
                why = f" ({error})"
            assert time.monotonic() < deadline, f"not true in time: {script}{why}"
            time.sleep(0.05)

    def seen(self, script: str, *, after: str = "") -> Any:
        """Return what a script returns once that is true, asked in each frame: nothing is too short to be seen.

        Args:
            script: Its body.
            after: What is done first, within the page.
        """
        look = f"""
            const done = arguments[0], seen = () => {{ {script} }};
            const look = () => {{ const found = seen(); if (found) done(found); else requestAnimationFrame(look); }};
            {{ {after} }}
            requestAnimationFrame(look);
        """
        return self._call("POST", "/execute/async", {"script": look, "args": []})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def console(self) -> list[str]:
        """Return errors of the page's console."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def move(self, x: int, y: int) -> None:
        """Move the pointer to a place of the window."""
        action = {"type": "pointerMove", "duration": 0, "x": x, "y": y}
        self._call("POST", "/actions", {"actions": [{"type": "pointer", "id": "m", "actions": [action]}]})

    def click(self, x: int, y: int) -> None:
        """Click at a place of the window."""
        actions = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._call("POST", "/actions", {"actions": [{"type": "pointer", "id": "m", "actions": actions}]})

    def prefer(self, **features: str) -> None:
        """Have the browser prefer what its user might, e.g. reduced motion; without any, nothing again."""
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self._call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": media}})

    def press(self, key: str) -> None:
        """Press a key, as a keyboard does: whatever has the focus gets it."""
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def size(self, width: int, height: int) -> None:
        """Make the window so large."""
        self._call("POST", "/window/rect", {"width": width, "height": height})

    def close(self) -> None:
        self._call("DELETE", "")


def installed() -> tuple[str, str] | None:
    """Return the paths of chromedriver and chromium; None where one is missing."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    return (driver, chromium) if driver and chromium else None


@contextmanager
def opened(driver: str, chromium: str, more: Sequence[str] = ()) -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    with (
        tempfile.TemporaryDirectory(prefix="kubedyno-browser-") as profile,
        Path(profile, "driver.log").open("wb") as log,
    ):
        process = subprocess.Popen([driver, "--port=0"], stdout=log, stderr=log)
        try:
            base = f"http://127.0.0.1:{_port(process, Path(log.name))}"
            browser = Browser(base, _session(base, chromium, f"{profile}/user", more))
            yield browser
            browser.close()
        finally:
            process.terminate()
            process.wait(60)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port that a driver says it has taken."""
    deadline = time.monotonic() + WAIT_S
    while not (said := _PORT.search(log.read_bytes())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return int(said[1])


def _session(base: str, chromium: str, profile: str, more: Sequence[str]) -> str:
    options = {"binary": chromium, "args": [*ARGUMENTS, *more, f"--user-data-dir={profile}"]}
    wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    body = json.dumps({"capabilities": {"alwaysMatch": wanted}}).encode()
    request = urllib.request.Request(f"{base}/session", data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return str(json.loads(answer.read())["value"]["sessionId"])
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(error.read().decode()) from None
