"""Bodies that come late, broken or never: an answer, no push, and no traceback in the log."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest

from gateway import intake
from tests.gateway.conftest import IPHONE, SECRET, Caller, Start, until

if TYPE_CHECKING:
    from lab.fakes.apns import FakeApns

GOOD = json.dumps({"node": IPHONE, "secret": SECRET, "type": "call", "jid": "bert@commeazy.com"}).encode()
START = b"POST /push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SIZED = START + b"Content-Length: %d\r\n" % len(GOOD)
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


async def send(caller: Caller, *pieces: bytes, end: bool = False) -> int:
    """Send a request piece by piece; returns the status, 0 without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.05)
    if end:
        writer.write_eof()
    async with asyncio.timeout(60):
        line = await reader.readline()
    writer.transport.abort()
    return int(line.split()[1]) if line else 0


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([CHUNKED, b"%x\r\n%b\r\n" % (len(GOOD), GOOD), b"0\r\n\r\n"], 200),
        ([SIZED + b"\r\n", GOOD[:9], GOOD[9:]], 200),
        ([SIZED + b"\r\n", GOOD[:9]], 408),
        ([SIZED + b"\r\n"], 408),
        ([CHUNKED, b"ZZZ\r\nno chunk"], 408),
        ([SIZED + b"Content-Encoding: gzip\r\n\r\n", GOOD], 415),
        ([SIZED + b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\n", GOOD], 415),
        ([SIZED + b"Content-Encoding: deflate\r\nContent-Encoding: identity\r\n\r\n", GOOD], 415),
    ],
)
async def test_a_body_that_comes_in_pieces_or_not_gets_an_answer(
    start: Start,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    pieces: list[bytes],
    status: int,
) -> None:
    monkeypatch.setattr(intake, "BODY_TIMEOUT", 0.5)
    caller = await start()
    assert await send(caller, *pieces) == status
    assert (await caller.samples())[f'push_requests_total{{code="{status}"}}'] == 1
    await asyncio.sleep(0.1)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_caller_that_hangs_up_in_its_body_is_no_error_of_ours(
    start: Start, apple: FakeApns, caplog: pytest.LogCaptureFixture
) -> None:
    caller = await start()
    assert await send(caller, SIZED + b"\r\n", GOOD[:-1], end=True) == 0
    requests = caller.gateway.metrics.requests
    await until(lambda: requests["400"] == 1)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert not apple.received


async def test_a_body_that_comes_after_sigterm_is_refused(start: Start, apple: FakeApns) -> None:
    """The gateway, when it shuts down, waits only for what it has accepted; it could not finish this."""
    caller = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
    writer.write(SIZED + b"\r\n" + GOOD[:9])
    await asyncio.sleep(0.1)
    await caller.gateway.intake.drain()
    writer.write(GOOD[9:])
    assert b" 503 " in await reader.readline()
    assert not apple.received
    writer.transport.abort()
