"""Which requests wait while passwords are checked."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import bcrypt

from tests.toolkit.fakes import Target
from toolkit import auth
from toolkit.auth import Users
from toolkit.values import Address
from toolkit.web import Listener, application, serving
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
ELSEWHERE = "127.0.0.2"  # another address of loopback


class Checks:
    """Stands in for bcrypt: each check waits until the test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Semaphore(0)
        self.passwords: list[bytes] = []
        monkeypatch.setattr(auth, "_matches", self._check)

    def _check(self, password: bytes, _: bytes) -> bool:
        self.passwords.append(password)
        assert self.go.acquire(timeout=30)
        return password == b"right"


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    config = WebConfig()
    config.users = Users({"alice": HASH})
    site = Listener(application(Target().exporter()), [Address("127.0.0.1", 0)], config)
    async with serving(site) as (url,):
        yield url


async def status(url: str, password: str, *, source: str = "127.0.0.1") -> int:
    headers = {"Authorization": aiohttp.encode_basic_auth("alice", password)}
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get(f"{url}/-/healthy", headers=headers) as response,
    ):
        return response.status


async def until(checks: Checks, number: int) -> None:
    while len(checks.passwords) < number:  # noqa: ASYNC110 - a thread tells nobody
        await asyncio.sleep(0.01)


async def test_an_address_with_many_wrong_passwords_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Checks(monkeypatch)
    async with served() as url:
        wrong = [asyncio.create_task(status(url, f"wrong{number}")) for number in range(30)]
        await until(checks, 1)
        right = asyncio.create_task(status(url, "right", source=ELSEWHERE))
        await asyncio.sleep(1)  # lets it reach the queue before the first check ends
        answered, _ = await asyncio.wait(wrong, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in answered} == {503}
        checks.go.release()  # the one that was first
        await until(checks, 2)
        checks.go.release(len(wrong))
        assert await right == 200
        assert checks.passwords.index(b"right") <= 2
        assert {await task for task in wrong} == {401, 503}


async def test_the_passwords_of_clients_that_left_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Checks(monkeypatch)
    async with served() as url:
        gone = [asyncio.create_task(status(url, f"wrong{number}")) for number in range(6)]
        await until(checks, 1)
        await asyncio.sleep(0.2)  # lets the others reach the queue; fewer would only make this test easier
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        right = asyncio.create_task(status(url, "right"))
        checks.go.release(3)
        assert await right == 200
        assert len(checks.passwords) == 2


async def test_no_queue_is_left_behind() -> None:
    users = Users({"alice": HASH})
    config = WebConfig()
    config.users = users
    async with serving(Listener(application(Target().exporter()), [Address("127.0.0.1", 0)], config)) as (url,):
        assert [await status(url, password) for password in ("wrong", "right", "right")] == [401, 200, 200]
    assert users._queues == {}
