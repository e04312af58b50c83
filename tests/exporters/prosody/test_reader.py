"""What the reader makes of a Prosody whose answers a test decides: versions that are none, an uninstall without end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.client import AdminShell
from exporters.prosody.reader import INSTRUMENT_VERSION, SCRIPTS, Reader
from tests.exporters.prosody.fakes import RECORDED, AdminSocket, Behaviour, Talk, result
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from pathlib import Path


COUNTED = (RECORDED / "prosody-snapshot.json").read_text()
BARE = json.dumps(json.loads(COUNTED) | {"instrument": None})
REGISTRY = """# HELP prosody_demo A demo.
# TYPE prosody_demo gauge
prosody_demo{host="a b"} 1
prosody_demo{host="# c"} 2

# EOF
"""


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
    async with AdminSocket(tmp_path / "s", answering({"snapshot": [BARE], "installed": [version]})):
        shell = AdminShell(tmp_path / "s")
        with pytest.raises(TargetError, match="where a version was asked for") as caught:
            await Reader(shell, instrument=True).read()
        assert caught.value.reason == "protocol_error"
        await shell.close()


def names(prosody: AdminSocket) -> list[str]:
    """Which scripts were sent."""
    return [name for asked in prosody.asked for name, text in SCRIPTS.items() if asked == f">{text}"]


async def test_the_functions_are_sent_once_and_again_on_a_new_connection(tmp_path: Path) -> None:
    script = {"snapshot": ["nil", COUNTED, COUNTED, "nil", COUNTED], "reader": ["nil"], "registry": [REGISTRY, "3 4"]}
    async with AdminSocket(tmp_path / "s", answering(script)) as prosody:
        shell = AdminShell(tmp_path / "s")
        reader = Reader(shell, instrument=True)
        for _ in range(2):
            await reader.read()
        assert names(prosody) == ["snapshot", "reader", "snapshot", "registry", "snapshot", "registry"]
        await prosody.restart()
        await reader.read()
        assert names(prosody)[6:] == ["snapshot", "reader", "snapshot", "registry"]
        await shell.close()


async def test_a_scrape_has_the_numbers_of_now_and_a_text_that_is_new(tmp_path: Path) -> None:
    script = {"snapshot": [COUNTED], "registry": [REGISTRY, "3 4", "5 6", "", REGISTRY]}
    async with AdminSocket(tmp_path / "s", answering(script)):
        shell = AdminShell(tmp_path / "s")
        reader = Reader(shell, instrument=True)
        seen = [(await reader.read()).registry for _ in range(5)]
        await shell.close()
    now = (REGISTRY.replace("} 1", f"}} {one}").replace("} 2", f"}} {two}") for one, two in ((3, 4), (5, 6)))
    assert seen == [REGISTRY, *now, None, REGISTRY]


async def test_numbers_that_do_not_fit_cost_one_scrape_and_no_more(tmp_path: Path) -> None:
    script = {"snapshot": [COUNTED], "registry": [REGISTRY, "3", REGISTRY]}
    async with AdminSocket(tmp_path / "s", answering(script)) as prosody:
        shell = AdminShell(tmp_path / "s")
        reader = Reader(shell, instrument=True)
        await reader.read()
        with pytest.raises(TargetError, match="1 numbers where its metrics have 2 samples") as caught:
            await reader.read()
        assert caught.value.reason == "protocol_error"
        assert (await reader.read()).registry == REGISTRY
        assert prosody.connections == 2  # and so with nothing told yet
        await shell.close()


@pytest.mark.parametrize("older", [BARE, COUNTED.replace(f'"version": {INSTRUMENT_VERSION}', '"version": 0')])
async def test_a_script_that_is_missing_or_old_is_installed_within_the_scrape(tmp_path: Path, older: str) -> None:
    script = {"snapshot": [older, COUNTED], "installed": ["0"], "instrument": ["installed"], "registry": [""]}
    async with AdminSocket(tmp_path / "s", answering(script)) as prosody:
        shell = AdminShell(tmp_path / "s")
        snapshot = await Reader(shell, instrument=True).read()
        await shell.close()
    assert names(prosody) == ["snapshot", "installed", "instrument", "snapshot", "registry"]
    assert snapshot.counts
    assert snapshot.counts.version == INSTRUMENT_VERSION


async def test_without_the_instrument_nothing_is_installed_and_what_another_installed_is_not_read(
    tmp_path: Path,
) -> None:
    async with AdminSocket(tmp_path / "s", answering({"snapshot": [COUNTED], "registry": [""]})) as prosody:
        shell = AdminShell(tmp_path / "s")
        assert (await Reader(shell, instrument=False).read()).counts is None
        await shell.close()
    assert names(prosody) == ["snapshot", "registry"]
