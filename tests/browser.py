"""A page in headless Chromium: what it logged, what failed to load, and what a script finds in it.

Spoken to by the DevTools protocol over a pair of pipes (--remote-debugging-pipe): JSON messages
with a NUL after each, so that no web socket and no library stands between. Only what is asked of
the browser here is implemented.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0
"""for the browser to start, load the page and answer"""


@dataclass(frozen=True)
class Page:
    """What a browser made of a page."""

    console: tuple[str, ...]
    """LEVEL: TEXT of every message, warning and uncaught exception"""
    failed: tuple[str, ...]
    """ADDRESS: REASON of everything that could not be loaded"""
    requests: tuple[str, ...]
    """addresses the page asked for, itself included; data: addresses are left out"""
    value: Any
    """what `script` gave, as JSON makes it"""


def executable() -> str:
    """Path of the browser; skips the test that asks where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if not found:
        pytest.skip(f"no browser on PATH ({', '.join(NAMES)}): apt-get install chromium")
    return found


def page(
    path: Path,
    *,
    script: str = "document.title",
    width: int = 1200,
    height: int = 900,
    media: str = "screen",
    scheme: str = "light",
    screenshot: Path | None = None,
) -> Page:
    """Load the file at `path` in a window of width x height CSS pixels and evaluate `script` in it.

    Below 600 pixels it is a phone's window, in which a page without a viewport is laid out wide.
    The script is one expression; a promise is awaited. `media` may be "print" and `scheme` "dark";
    `screenshot` takes a PNG of the whole page. Raises RuntimeError if the browser or the script
    fails.
    """
    # The browser's own processes may write to the profile a moment longer than it runs.
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder as profile, _Browser(executable(), Path(profile)) as browser:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        browser.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable")
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", media=media, features=features)
        browser.call("Page.setLifecycleEventsEnabled", enabled=True)
        loader = browser.call("Page.navigate", url=path.resolve().as_uri())["loaderId"]
        browser.wait_for("Page.lifecycleEvent", loaderId=loader, name="load")
        told = browser.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in told:
            raise RuntimeError(f"script failed: {told['exceptionDetails']}")
        if screenshot:
            size = browser.call("Page.getLayoutMetrics")["cssContentSize"]
            shot = browser.call(
                "Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1}
            )
            screenshot.write_bytes(base64.b64decode(shot["data"]))
        return _page(browser.events, told["result"].get("value"))


def _page(events: list[dict[str, Any]], value: Any) -> Page:
    console, failed, addresses = [], [], {}
    for event in events:
        method, told = event["method"], event["params"]
        if method == "Runtime.consoleAPICalled":
            words = (str(one.get("value", one.get("description"))) for one in told["args"])
            console.append(f"{told['type']}: {' '.join(words)}")
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details["text"]
            console.append(f"exception: {text}")
        elif method == "Log.entryAdded":
            console.append(f"{told['entry']['level']}: {told['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            addresses[told["requestId"]] = told["request"]["url"]
        elif method == "Network.loadingFailed":
            address = addresses.get(told["requestId"], "unknown")
            failed.append(f"{address}: {told['errorText']}")
    asked = (address for address in addresses.values() if not address.startswith("data:"))
    return Page(tuple(console), tuple(failed), tuple(asked), value)


@dataclass
class _Browser:
    """A running browser; leaving the block ends it."""

    path: str
    profile: Path
    session: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0
    _rest: bytes = b""

    def __enter__(self) -> _Browser:
        low_in, self._out = os.pipe()
        self._in, low_out = os.pipe()
        # Out of the way of 3 and 4, on which the protocol is spoken.
        theirs_in, theirs_out = (fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in (low_in, low_out))
        words = [
            *(
                self.path,
                "--headless",
                "--remote-debugging-pipe",
                f"--user-data-dir={self.profile}",
            ),
            *("--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # its sandbox refuses root
        ]
        wire = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out} {theirs_in}<&- {theirs_out}>&-'
        self._log = (self.profile / "browser.log").open("w+b")
        self._process = subprocess.Popen(
            ["bash", "-c", wire, *words],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        for pipe in (low_in, low_out, theirs_in, theirs_out):
            os.close(pipe)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.session = None
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._out)
            os.close(self._in)
            self._log.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something and return the answer; events that come before it are kept."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        until = time.monotonic() + SECONDS
        while (answer := self._next(until)).get("id") != number:
            self.events += [answer] if "method" in answer else []
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

    def wait_for(self, method: str, **params: Any) -> None:
        """An event with these parameters: of this page, say, and not of the empty one before it."""
        until = time.monotonic() + SECONDS
        while not any(
            event["method"] == method and params.items() <= event["params"].items()
            for event in self.events
        ):
            self.events.append(self._next(until))

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise RuntimeError(f"no answer from {self.path} in {SECONDS:g} s")
            more = os.read(self._in, 1 << 16)
            if not more:
                self._log.seek(0)
                said = self._log.read().decode(errors="replace").strip()[-500:]
                raise RuntimeError(f"{self.path} ended: {said or 'it said nothing'}")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
