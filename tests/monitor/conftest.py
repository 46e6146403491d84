"""A real headless Chromium, driven through its DevTools protocol: all that a page's test needs of a browser."""

import base64
import io
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

_EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 180.0  # [s] for anything that a busy machine may delay

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1400,900",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


class Chromium:
    """One browser process, in a fresh profile."""

    def __init__(self, profile: Path) -> None:
        assert _EXECUTABLE is not None
        self._process = subprocess.Popen(
            [_EXECUTABLE, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = profile / "DevToolsActivePort"
        self._port = _until(lambda: port_file.is_file() and port_file.read_text().split("\n")[0], "the DevTools port")

    def ask(self, path: str, method: str = "GET") -> str:
        """What the browser answers outside of any page."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/{path}", method=method)
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            return answer.read().decode()

    def close(self) -> None:
        with connect(json.loads(self.ask("version"))["webSocketDebuggerUrl"]) as line:
            line.send(json.dumps({"id": 1, "method": "Browser.close"}))
            self._process.wait(timeout=_PATIENCE)


class Tab:
    """A page of 1400 x 900 in a tab of its own."""

    def __init__(self, chromium: Chromium, url: str) -> None:
        self._chromium, self._ids, self._open = chromium, itertools.count(1), True
        target = json.loads(chromium.ask("new?about:blank", "PUT"))
        self._target = target["id"]
        self._socket = connect(target["webSocketDebuggerUrl"], max_size=None)
        self.call("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value of `condition()`."""
        return _until(condition, what)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_PATIENCE))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        return self.evaluate("document.body ? document.body.innerText : ''") or ""

    def click(self, button: str) -> None:
        """Press the visible button that carries this text, with the mouse, where it stands on the page."""
        find = f"""(() => {{
            const b = [...document.querySelectorAll('button')].find(b => b.innerText.trim() === {json.dumps(button)});
            if (!b) return null;
            const r = b.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
            return b.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
        }})()"""

        def settled() -> list[float] | None:
            place = self.evaluate(find)
            time.sleep(0.3)  # the layout moves while the page builds up
            return place if place == self.evaluate(find) else None

        x, y = self.until(settled, f"a button {button!r} that can be reached")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self) -> np.ndarray:
        """(900, 1400, 3) uint8 RGB: what a person sees."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.array(Image.open(io.BytesIO(png)).convert("RGB"))

    def close(self) -> None:
        if self._open:
            self._open = False
            self._socket.close()
            self._chromium.ask(f"close/{self._target}")


def _until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + _PATIENCE
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} not seen within {_PATIENCE} s")
        time.sleep(0.1)
    return value


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if _EXECUTABLE is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def browse(chromium: Chromium) -> Iterator[Callable[[str], Tab]]:
    """`browse(url)` opens a tab of its own on a page."""
    opened: list[Tab] = []

    def open_page(url: str) -> Tab:
        opened.append(Tab(chromium, url))
        return opened[-1]

    yield open_page
    for tab in opened:
        tab.close()
