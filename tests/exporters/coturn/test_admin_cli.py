"""One query of the CLI: its silence, refusal or early end becomes an error of one line."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from exporters.coturn import admin_cli
from exporters.coturn.admin_cli import AdminCli, CliError, CliStatus, parse
from exporters.coturn.config import Cli
from tests.exporters.coturn.fakes import STATUS, FakeCli

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def client_of(fake: FakeCli, password: str = "word", *, is_coturns: bool = True) -> AsyncIterator[AdminCli]:
    async with fake.listening() as port:
        client = AdminCli(Cli("127.0.0.1", port, password), lambda *_: is_coturns)
        try:
            yield client
        finally:
            client.close()


async def test_one_connection_serves_many_readings_and_asks_nothing_but_pc() -> None:
    fake = FakeCli()
    async with client_of(fake) as client:
        for _ in range(3):
            assert await client.read() == CliStatus(allocations=7, total_quota=250)
    assert fake.connections == 1
    assert fake.asked == [b"pc"] * 3


async def test_a_connection_that_has_ended_is_made_again() -> None:
    fake = FakeCli()
    async with client_of(fake) as client:
        await client.read()
        fake.hang_up = True
        with pytest.raises(CliError, match="cannot use coturn's CLI"):
            await client.read()
        fake.hang_up = False
        assert (await client.read()).allocations == 7


async def test_a_wrong_password_is_reported_and_not_repeated() -> None:
    async with client_of(FakeCli(), password="guess") as client:
        with pytest.raises(CliError, match="refuses the password") as told:
            await client.read()
    assert "guess" not in str(told.value)


async def test_what_is_not_coturns_socket_does_not_get_the_password() -> None:
    fake = FakeCli()
    async with client_of(fake, is_coturns=False) as client:
        with pytest.raises(CliError, match="is not a socket of turnserver"):
            await client.read()
        with pytest.raises(CliError, match="is not a socket of turnserver"):
            await client.read()
    assert fake.connections == 2
    assert fake.passwords == []


@pytest.mark.parametrize("digits", [11, 400, 5000])
def test_a_number_no_server_can_mean_is_not_read(digits: int) -> None:
    with pytest.raises(CliError, match="does not say how many"):
        parse(STATUS.replace(b"allocs: 7", b"allocs: " + b"9" * digits))


async def test_a_cli_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_cli, "_PATIENCE", 0.05)
    fake = FakeCli()
    fake.silent = True
    async with client_of(fake) as client:
        with pytest.raises(CliError, match="does not answer within"):
            await client.read()


async def test_a_reading_given_up_half_way_does_not_spoil_the_next() -> None:
    fake = FakeCli()
    async with client_of(fake) as client:
        await client.read()
        fake.silent = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.read()
        fake.silent = False
        assert (await client.read()).allocations == 7


async def test_nobody_there_is_reported() -> None:
    async with FakeCli().listening() as port:
        pass
    with pytest.raises(CliError, match=rf"127.0.0.1:{port} .*check cli-ip"):
        await AdminCli(Cli("127.0.0.1", port, "word"), lambda *_: True).read()


def test_an_answer_without_the_number_is_not_taken_for_none() -> None:
    with pytest.raises(CliError, match="does not say how many"):
        parse(STATUS.replace(b"total-current-allocs", b"something"))
