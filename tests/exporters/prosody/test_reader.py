"""What the reader makes of a Prosody whose answers a test decides: versions that are none, an uninstall without end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.client import AdminShell
from exporters.prosody.reader import SCRIPTS, Reader
from exporters.scrape import TargetError
from tests.exporters.prosody.fakes import AdminSocket, Behaviour, Talk, result

if TYPE_CHECKING:
    from pathlib import Path


def answering(answers: dict[str, list[str]]) -> Behaviour:
    """Answer each script with the next of its answers, the last of them for ever."""

    async def behave(talk: Talk) -> None:
        await talk.open()
        while True:
            asked = (await talk.asked()).removeprefix(">")
            [name] = [name for name, text in SCRIPTS.items() if text == asked]
            await talk.send(result(answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]))

    return behave


async def test_an_uninstall_is_done_when_prosody_says_so(tmp_path: Path) -> None:
    script = {"uninstall": ["removing", "removing", "removed"], "installed": ["0"]}
    async with AdminSocket(tmp_path / "s", answering(script)) as prosody:
        shell = AdminShell(tmp_path / "s")
        await Reader(shell, instrument=True).uninstall()
        await shell.close()
    assert prosody.asked.count(f">{SCRIPTS['uninstall']}") == 3


async def test_an_uninstall_against_a_running_exporter_ends_and_says_to_stop_it(tmp_path: Path) -> None:
    script = {"uninstall": ["removing"], "installed": ["0", "1"]}
    async with AdminSocket(tmp_path / "s", answering(script)), asyncio.timeout(10):
        shell = AdminShell(tmp_path / "s")
        with pytest.raises(TargetError, match="an exporter has installed the counting script again; stop it first"):
            await Reader(shell, instrument=True).uninstall()
        await shell.close()


@pytest.mark.parametrize("version", ["", "one", "-1", "9" * 5000])
async def test_a_version_that_is_none_is_a_protocol_error(tmp_path: Path, version: str) -> None:
    async with AdminSocket(tmp_path / "s", answering({"installed": [version]})):
        shell = AdminShell(tmp_path / "s")
        with pytest.raises(TargetError, match="where a version was asked for") as caught:
            await Reader(shell, instrument=True).read()
        assert caught.value.reason == "protocol_error"
        await shell.close()
