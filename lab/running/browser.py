"""A headless Chromium that takes pictures of pages, spoken to in its own protocol (CDP); it judges no picture."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from lab.running.server import ending_with_us
from lab.running.workspace import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--remote-debugging-port=0"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_PATIENCE = 240.0  # seconds for its start, and for each page
_STILL = 1.0  # seconds without a request after which a page is complete, if it has nothing left to do either
_IDLE = "new Promise(done => requestIdleCallback(() => requestIdleCallback(() => done(0))))"
_LARGEST = 2**28  # bytes of a picture in its message


class Shot(NamedTuple):
    """One picture: which page, in a window of which width and height in pixels, into which PNG file.

    A page is not complete before it has made a request whose address has `asks` in it.
    """

    url: str
    size: tuple[int, int]
    file: Path
    asks: str = ""


def take(shots: Sequence[Shot]) -> None:
    """Take pictures, one after another.

    Raises:
        LabError: there is no browser, it does not start, or a page is not complete in time.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise LabError(f"no browser takes the pictures: install one of {', '.join(PROGRAMS)}")
    with tempfile.TemporaryDirectory(prefix="commeazy-browser-", ignore_cleanup_errors=True) as profile:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root its sandbox
        process = subprocess.Popen(
            [*ending_with_us(), program, *_FLAGS, *root, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            asyncio.run(_take(_port(Path(profile) / "DevToolsActivePort", process), shots))
        finally:
            process.kill()
            process.wait()


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    """Return the port that Chromium chose, once it has written it down."""
    deadline = time.monotonic() + _PATIENCE
    while not (file.exists() and (lines := file.read_text().split())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"the browser does not start: exit code {process.returncode}")
        time.sleep(0.1)
    return int(lines[0])


async def _take(port: int, shots: Sequence[Shot]) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer,
        session.ws_connect((await answer.json())["webSocketDebuggerUrl"], max_msg_size=_LARGEST) as socket,
    ):
        tab = _Tab(socket)
        listening = asyncio.create_task(tab.listen())
        for shot in shots:
            shot.file.write_bytes(await tab.picture(shot))
        listening.cancel()


@dataclass
class _Tab:
    """One tab; `listen` runs beside the questions and gets their answers."""

    socket: aiohttp.ClientWebSocketResponse
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _asked: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _loading: set[str] = field(default_factory=set)
    _since: float = 0.0
    _awaited: str = ""

    async def listen(self) -> None:
        async for message in self.socket:
            said = message.json()
            if "id" in said:
                self._asked.pop(said["id"]).set_result(said)
                continue
            request = said.get("params", {}).get("requestId")
            if said["method"] == "Network.requestWillBeSent":
                address = said["params"]["request"]["url"]
                if address.startswith("blob:"):
                    continue  # from memory; of a worker's, Chromium never says that it is loaded
                self._loading.add(request)
                if self._awaited in address:
                    self._awaited = ""
            elif said["method"] in ("Network.loadingFinished", "Network.loadingFailed"):
                self._loading.discard(request)
            else:
                continue
            self._since = time.monotonic()

    async def picture(self, shot: Shot) -> bytes:
        width, height = shot.size
        await self._ask("Network.enable")
        await self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await self._ask("Page.navigate", url="about:blank")  # ends what the page before still loads
        self._loading.clear()
        self._awaited = shot.asks
        await self._ask("Page.navigate", url=shot.url)
        deadline = time.monotonic() + _PATIENCE
        while not await self._is_complete():
            if time.monotonic() > deadline:
                raise LabError(f"no picture of {shot.url}: it still loads after {_PATIENCE:g} s")
            await asyncio.sleep(0.1)
        return base64.b64decode((await self._ask("Page.captureScreenshot", format="png"))["data"])

    async def _is_complete(self) -> bool:
        """Tell whether the page waits for no answer, has nothing left to draw, and has made no request meanwhile."""
        if self._awaited or self._loading or time.monotonic() - self._since < _STILL:
            return False
        last = self._since
        await self._ask("Runtime.evaluate", expression=_IDLE, awaitPromise=True)
        return self._since == last and not self._loading

    async def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - the protocol has many types
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        said = await asyncio.wait_for(answer, _PATIENCE)
        if "error" in said:
            raise LabError(f"the browser refuses {method}: {said['error']['message']}")
        result: dict[str, Any] = said["result"]
        return result
