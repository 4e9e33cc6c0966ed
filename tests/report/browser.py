"""A headless Chromium, spoken to over its DevTools protocol: what a page does, not what its source says."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0")
SECONDS = 60


def chromium() -> str | None:
    """Return the browser of this machine, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Tab:
    """One tab.

    Attributes:
        said: What the page wrote to the console as a warning or an error, or threw.
        asked: What it asked a network or a disk for, itself excluded.
    """

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.said: list[str] = []
        self.asked: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and wait for its answer."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), SECONDS)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str | None, parameters: Any) -> None:
        if method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.said.append(json.dumps(parameters["args"])[:500])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.said.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("data:"):
            self.asked.append(parameters["request"]["url"])

    async def run(self, expression: str) -> Any:
        """Return what an expression is, in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def show(self, page: Path, *, width: int = 1280, dark: bool = False, query: str = "", script: bool = True) -> None:
        """Open a page anew, in a window of some width."""
        self.said, self.asked = [], []
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Emulation.setScriptExecutionDisabled", value=not script)
        address = page.resolve().as_uri() + query
        await self.call("Page.navigate", url=address)
        for _ in range(SECONDS * 20):
            if await self.run("document.readyState==='complete'&&location.protocol==='file:'"):
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        self.asked = [asked for asked in self.asked if asked != address]


@asynccontextmanager
async def _open(program: str, folder: Path) -> Any:
    import aiohttp

    browser = subprocess.Popen([program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.PIPE, text=True)
    try:
        assert browser.stderr is not None
        address = next(line.split()[-1] for line in browser.stderr if "DevTools listening on" in line)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address.split('/')[2]}/json/list") as answer:
                tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(tabs[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        browser.terminate()
        browser.wait()


def browse(folder: Path, visit: Callable[[Tab], Awaitable[None]]) -> None:
    """Start a browser with a new profile in a folder, and let a visit happen in its first tab."""

    async def all_of_it() -> None:
        program = chromium()
        assert program is not None
        async with _open(program, folder) as tab:
            await visit(tab)

    asyncio.run(all_of_it())
