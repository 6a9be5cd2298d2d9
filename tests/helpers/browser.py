"""A real browser, driven by the DevTools protocol over two pipes: opens and reads pages, and uses them with the
keyboard.

The protocol over pipes needs no library and no port. https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

UNPACKED: Final = Path(__file__).parents[2] / ".servers" / "chromium"
"""The directory into which `.ci/run` unpacks Debian's package with its dependencies."""
PROGRAMS: Final = ("chromium-headless-shell", "chromium", "google-chrome")
MISSING: Final = f"no browser: none of {', '.join(PROGRAMS)} is installed; on Debian, install chromium-headless-shell"
_SECONDS: Final = 20.0
_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-sync", "--no-proxy-server", "--remote-debugging-pipe",
)  # fmt: skip
_ON_3_AND_4: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_KEYS: Final = {"Tab": (9, None), "Enter": (13, "\r"), " ": (32, " ")}
# Contrast by WCAG 2.2 between every text and its background; disabled and hidden elements are ignored.
_LOW_CONTRAST: Final = """
(() => {
  const parse = c => { const v = c.match(/[\\d.]+/g).map(Number); return v.length < 4 ? [...v, 1] : v };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] === 1) return c } return [255, 255, 255, 1] };
  return [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length
    && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
      return [(a + .05) / (b + .05), e.textContent.trim().slice(0, 40)] }).filter(([ratio]) => ratio < 4.5)
})()
"""
_UNNAMED: Final = """
[...document.querySelectorAll('input:not([type=hidden]), button, a')].filter(e =>
  !(e.getAttribute('aria-label') || e.textContent.trim() || [...(e.labels || [])].some(l => l.textContent.trim()))
).map(e => e.outerHTML)
"""


def program() -> str | None:
    """Return the browser of this machine, or None."""
    unpacked = UNPACKED / "usr/lib/chromium/chromium-headless-shell"
    if unpacked.exists():
        return str(unpacked)
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One tab. `logins` counts the login requests of servers, all of which are answered.

    `complaints` holds the browser's console messages, such as those about content blocked by a page's policy. A start
    takes a second of CPU time, so tests may share a browser, see `renew`.
    """

    def __init__(self, username: str, password: str) -> None:
        found = program()
        assert found is not None, MISSING
        self.logins = 0
        self.complaints: list[str] = []
        self._credentials = {"username": username, "password": password}
        self._profile = tempfile.mkdtemp(prefix="sockudo-queue-browser-")
        self._process, self._to, self._from = _start(found, self._profile)
        self._received, self._number, self._session, self._context = b"", 0, "", ""
        self._answers: dict[int, Any] = {}
        self._loads = 0
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def renew(self) -> None:
        """Continue as a browser that was just started: without the pages, logins and caches so far."""
        self._session = ""
        self._call("Target.disposeBrowserContext", browserContextId=self._context)
        self.logins = 0
        self.complaints.clear()
        self._attach()

    def _attach(self) -> None:
        self._context = self._call("Target.createBrowserContext")["browserContextId"]
        target = self._call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for method in ("Page.enable", "Log.enable"):
            self._call(method)
        self._call("Fetch.enable", handleAuthRequests=True)

    def open(self, url: str) -> None:
        """Load a page and wait until it has loaded."""
        loads = self._loads
        failure = self._call("Page.navigate", url=url).get("errorText")
        assert not failure, failure
        self._wait_for_load(loads)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; the page's policy does not restrict it."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    @property
    def text(self) -> str:
        return str(self.evaluate("document.body.innerText"))

    def tab_to(self, condition: str) -> None:
        """Press Tab until JavaScript about the focused element `e` holds."""
        for _ in range(100):
            self.press("Tab")
            if self.evaluate(f"(e => Boolean({condition}))(document.activeElement)"):
                return
        raise AssertionError(f"the keyboard does not reach {condition}")

    def press(self, key: str) -> None:
        code, text = _KEYS[key]
        press = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self._call("Input.dispatchKeyEvent", **press, **down)
        self._call("Input.dispatchKeyEvent", type="keyUp", **press)

    def follow(self, key: str = "Enter") -> None:
        """Press a key that leads to another page, and wait for that page."""
        loads = self._loads
        self.press(key)
        self._wait_for_load(loads)

    def run_and_follow(self, script: str) -> None:
        """Run a script that leads to another page, and wait for that page."""
        loads = self._loads
        self.evaluate(script)
        self._wait_for_load(loads)

    def write(self, text: str) -> None:
        self._call("Input.insertText", text=text)

    def frame_urls(self) -> list[str]:
        """Return the final URLs of the page's frames; frames of other sites are not included."""
        tree = self._call("Page.getFrameTree")["frameTree"]
        return [child["frame"]["url"] for child in tree.get("childFrames", ())]

    def show(self, width: int, scheme: str) -> None:
        """Use a window of this width, and the color scheme `light` or `dark`."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def faults(self) -> list[str]:
        """Return accessibility faults: overflow, text of low contrast, controls without a name."""
        overflow = self.evaluate("document.documentElement.scrollWidth - innerWidth")
        found = [f"overflow of {overflow} pixels"] if overflow > 0 else []
        found += [f"contrast {ratio:.2f}: {text}" for ratio, text in self.evaluate(_LOW_CONTRAST)]
        return found + [f"without a name: {each}" for each in self.evaluate(_UNNAMED)]

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _wait_for_load(self, loads: int) -> None:
        deadline = time.monotonic() + _SECONDS
        while self._loads == loads:
            self._receive(deadline)

    def _call(self, method: str, **parameters: Any) -> Any:
        number, deadline = self._send(method, parameters), time.monotonic() + _SECONDS
        while number not in self._answers:
            self._receive(deadline)
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _send(self, method: str, parameters: Mapping[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._number

    def _receive(self, deadline: float) -> None:
        """Handle the messages that have arrived, or wait for one."""
        ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
        assert ready, "the browser does not answer"
        received = os.read(self._from, 1_000_000)
        assert received, "the browser has ended"
        *messages, self._received = (self._received + received).split(b"\0")
        for message in messages:
            self._handle(json.loads(message))

    def _handle(self, message: Mapping[str, Any]) -> None:
        parameters = message.get("params", {})
        if "id" in message:
            self._answers[message["id"]] = message
            return
        if message.get("sessionId", "") != self._session:  # of a page before `renew`
            return
        match message["method"]:
            case "Page.loadEventFired":
                self._loads += 1
            case "Fetch.requestPaused":
                self._send("Fetch.continueRequest", {"requestId": parameters["requestId"]})
            case "Fetch.authRequired":
                self.logins += 1
                response = {"response": "ProvideCredentials", **self._credentials}
                self._send(
                    "Fetch.continueWithAuth", {"requestId": parameters["requestId"], "authChallengeResponse": response}
                )
            case "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])


def _start(found: str, profile: str) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start the browser, which reads from its descriptor 3 and writes to 4."""
    (commands, to), (answers, out) = _pipe(), _pipe()
    flags = [*_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_3_AND_4, str(commands), str(out), found, *flags],
        pass_fds=(commands, out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"HOME": profile, "PATH": os.environ["PATH"], **_libraries_of(found)},
    )
    os.close(commands)
    os.close(out)
    return process, to, answers


def _pipe() -> tuple[int, int]:
    """Return a pipe whose descriptors are above 9, so that they are not among those about to be replaced."""
    read, write = os.pipe()
    ends = fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, 10), fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(read)
    os.close(write)
    return ends


def _libraries_of(found: str) -> dict[str, str]:
    """Return the variables with which an unpacked browser finds its libraries and fonts."""
    if not Path(found).is_relative_to(UNPACKED):
        return {}
    libraries = UNPACKED / f"usr/lib/{os.uname().machine}-linux-gnu"
    return {
        "LD_LIBRARY_PATH": ":".join(map(str, (libraries, libraries / "pulseaudio", libraries / "nss"))),
        "FONTCONFIG_PATH": str(UNPACKED / "etc/fonts"),
        "XDG_DATA_HOME": str(UNPACKED / "usr/share"),
    }
