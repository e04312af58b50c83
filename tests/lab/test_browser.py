"""What is said when there is no browser for the pictures, or one that does not run; what a picture waits for."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.running import browser
from lab.running.browser import Shot, take
from lab.running.workspace import LabError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHOT = Shot("about:blank", (100, 100), Path("/nowhere/picture.png"))


def test_without_a_browser_one_line_names_those_that_would_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"install one of chromium, chromium-browser, google-chrome$"):
        take([SHOT])


def test_a_browser_that_ends_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LabError, match="the browser does not start: exit code 3"):
        take([SHOT])


def test_a_picture_waits_for_the_network_but_not_for_a_worker_that_a_page_makes_from_memory() -> None:
    class Said:
        def __init__(self, **message: Any) -> None:  # noqa: ANN401 - the protocol has many types
            self.json = lambda: message

    def asked(number: str, url: str) -> Said:
        return Said(method="Network.requestWillBeSent", params={"requestId": number, "request": {"url": url}})

    async def socket() -> AsyncIterator[Said]:
        # As Chromium 150 says it of Grafana 9.4: that the worker is loaded is never said.
        yield asked("1", "blob:http://127.0.0.1:3000/f2e5500a-3a26-4169-a456-8f885ce50653")
        yield asked("2", "http://127.0.0.1:3000/api/ds/query")

    tab = browser._Tab(socket())  # type: ignore[arg-type] # only read
    asyncio.run(tab.listen())
    assert tab._loading == {"2"}
