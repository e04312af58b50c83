"""SIGHUP: a wrong file changes nothing and is reported, a good one takes effect; in each program as a process."""

from __future__ import annotations

import logging
import re
import signal
from typing import TYPE_CHECKING

import aiohttp
import bcrypt

from tests.toolkit.fakes import line_with, listening, process
from toolkit.documents import ConfigError
from toolkit.reload import Reload

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

GOOD = f"basic_auth_users:\n  alice: {bcrypt.hashpw(b'new', bcrypt.gensalt(4)).decode()}\n"


def values(reload: Reload) -> dict[str, float]:
    return {sample.name: sample.value for family in reload.families("demo") for sample in family.samples}


def test_the_metrics_tell_of_the_last_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wrong: list[Exception] = []

    def part() -> None:
        if wrong:
            raise wrong[0]

    reload = Reload(part)
    began = values(reload)
    assert began["demo_config_last_reload_successful"] == 1
    assert began["demo_config_last_reload_success_timestamp_seconds"] > 1.7e9
    wrong.append(ConfigError(tmp_path / "file.yml", 3, "unknown key 'x'"))
    reload()
    assert values(reload) == began | {"demo_config_last_reload_successful": 0}
    wrong[0] = ZeroDivisionError("bug")
    reload()
    assert values(reload)["demo_config_last_reload_successful"] == 0
    wrong.clear()
    reload()
    after = values(reload)
    assert after["demo_config_last_reload_successful"] == 1
    assert after["demo_config_last_reload_success_timestamp_seconds"] > 1.7e9
    kept, bug, reloaded = caplog.records
    assert kept.getMessage() == (
        f"the configuration is not reloaded, the old one stays in force: {tmp_path}/file.yml:3: unknown key 'x'"
    )
    assert bug.exc_info
    assert reloaded.getMessage() == "configuration reloaded"


def test_a_part_that_is_wrong_keeps_no_other_from_its_file(tmp_path: Path) -> None:
    read: list[str] = []

    def wrong() -> None:
        raise ConfigError(tmp_path, None, "is wrong")

    reload = Reload(wrong, lambda: read.append("second"))
    reload()
    assert read == ["second"]
    assert not reload.successful


async def page(url: str, password: str | None = None) -> str | int:
    headers = {"Authorization": aiohttp.encode_basic_auth("alice", password)} if password else {}
    async with aiohttp.ClientSession(headers=headers) as client, client.get(url + "/-/healthy") as response:
        return response.status


async def test_the_web_configuration_is_read_again_as_systemd_asks_for_it(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("")
    async with process("--web.listen-address=127.0.0.1:0", f"--web.config.file={file}") as exporter:
        url = await listening(exporter)
        assert await page(url) == 200
        file.write_text("basic_auth_user: {}\n")
        exporter.send_signal(signal.SIGHUP)
        line = await line_with(exporter, "stays in force")
        assert re.search(rf'msg="the configuration is not reloaded.*{file}:1: unknown key', line)
        assert await page(url) == 200
        file.write_text(GOOD)
        exporter.send_signal(signal.SIGHUP)
        await line_with(exporter, "configuration reloaded")
        assert [await page(url), await page(url, "old"), await page(url, "new")] == [401, 401, 200]
        file.write_text("")
        exporter.send_signal(signal.SIGHUP)
        await line_with(exporter, "configuration reloaded")
        assert await page(url) == 200


async def test_a_program_without_a_file_lives_through_sighup() -> None:
    async with process("--web.listen-address=127.0.0.1:0") as exporter:
        url = await listening(exporter)
        exporter.send_signal(signal.SIGHUP)
        await line_with(exporter, "nothing to reload")
        assert await page(url) == 200
