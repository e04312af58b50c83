"""What the reader makes of a Prosody whose answers a test decides: versions that are none, an uninstall without end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from exporters.prosody.client import AdminShell
from exporters.prosody.reader import INSTRUMENT_VERSION, SCRIPTS, Reader
from exporters.prosody.registry import Registry
from tests.exporters.prosody.fakes import RECORDED, AdminSocket, Behaviour, Talk, result
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from pathlib import Path


SNAPSHOT = json.loads((RECORDED / "prosody-snapshot.json").read_text())
COUNTED = json.dumps(SNAPSHOT)
BARE = json.dumps(SNAPSHOT | {"instrument": None})
REGISTRY = """# HELP prosody_demo A demo.
# TYPE prosody_demo gauge
prosody_demo{host="a b"} 1
prosody_demo{host="# c"} 2

# EOF
"""


def told(text: str = "", numbers: str = "") -> str:
    """An answer that carries a text of the registry, or its numbers."""
    return text + json.dumps(SNAPSHOT | {"registry_numbers": numbers})


def answering(answers: dict[str, list[str]]) -> Behaviour:
    """Answer each script with the next of its answers, and then with the last again and again."""

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
    async with AdminSocket(tmp_path / "s", answering(script)), asyncio.timeout(60):
        shell = AdminShell(tmp_path / "s")
        with pytest.raises(TargetError, match="an exporter has installed the counting script again; stop it first"):
            await Reader(shell, instrument=True).uninstall()
        await shell.close()


@pytest.mark.parametrize("version", ["", "one", "-1", "9" * 5000])
async def test_a_version_that_is_none_is_a_protocol_error(tmp_path: Path, version: str) -> None:
    async with AdminSocket(tmp_path / "s", answering({"reader": [BARE], "installed": [version]})):
        shell = AdminShell(tmp_path / "s")
        with pytest.raises(TargetError, match="instead of a version") as caught:
            await Reader(shell, instrument=True).read()
        assert caught.value.reason == "protocol_error"
        await shell.close()


def names(prosody: AdminSocket) -> list[str]:
    """Which scripts were sent."""
    return [name for asked in prosody.asked for name, text in SCRIPTS.items() if asked == f">{text}"]


async def test_the_function_is_sent_once_and_again_on_a_new_connection(tmp_path: Path) -> None:
    script = {"scrape": [COUNTED, "nil"], "reader": [COUNTED]}
    async with AdminSocket(tmp_path / "s", answering(script)) as prosody:
        shell = AdminShell(tmp_path / "s")
        reader = Reader(shell, instrument=True)
        for _ in range(2):
            await reader.read()
        assert names(prosody) == ["reader", "scrape"]
        await prosody.restart()
        await reader.read()
        assert names(prosody)[2:] == ["scrape", "reader"]
        await shell.close()


async def test_a_scrape_has_the_numbers_of_now_and_a_text_that_is_new(tmp_path: Path) -> None:
    scrapes = [told(numbers="3 4"), told(numbers="5 6"), told(), told(REGISTRY)]
    async with AdminSocket(tmp_path / "s", answering({"reader": [told(REGISTRY)], "scrape": scrapes})):
        shell = AdminShell(tmp_path / "s")
        reader = Reader(shell, instrument=True)
        seen = [(await reader.read()).registry for _ in range(5)]
        await shell.close()
    first = REGISTRY.removesuffix("\n")
    assert seen == [Registry(first), Registry(first, (3, 4)), Registry(first, (5, 6)), None, Registry(first)]


async def test_numbers_that_do_not_fit_cost_one_scrape_and_no_more(tmp_path: Path) -> None:
    script = {"reader": [told(REGISTRY)], "scrape": [told(numbers="3")]}
    async with AdminSocket(tmp_path / "s", answering(script)) as prosody:
        shell = AdminShell(tmp_path / "s")
        reader = Reader(shell, instrument=True)
        await reader.read()
        with pytest.raises(TargetError, match="1 numbers where its metrics have 2 samples") as caught:
            await reader.read()
        assert caught.value.reason == "protocol_error"
        assert (await reader.read()).registry == Registry(REGISTRY.removesuffix("\n"))
        assert prosody.connections == 2  # and so with nothing told yet
        await shell.close()


@pytest.mark.parametrize("older", [BARE, COUNTED.replace(f'"version": {INSTRUMENT_VERSION}', '"version": 0')])
async def test_a_script_that_is_missing_or_old_is_installed_within_the_scrape(tmp_path: Path, older: str) -> None:
    script = {"reader": [older], "installed": ["0"], "instrument": ["installed"], "scrape": [COUNTED]}
    async with AdminSocket(tmp_path / "s", answering(script)) as prosody:
        shell = AdminShell(tmp_path / "s")
        snapshot = await Reader(shell, instrument=True).read()
        await shell.close()
    assert names(prosody) == ["reader", "installed", "instrument", "scrape"]
    assert snapshot.counts
    assert snapshot.counts.version == INSTRUMENT_VERSION


async def test_without_the_instrument_nothing_is_installed_and_what_another_installed_is_not_read(
    tmp_path: Path,
) -> None:
    async with AdminSocket(tmp_path / "s", answering({"reader": [COUNTED]})) as prosody:
        shell = AdminShell(tmp_path / "s")
        assert (await Reader(shell, instrument=False).read()).counts is None
        await shell.close()
    assert names(prosody) == ["reader"]
