"""Clients that hold connections, send slowly or read nothing do no harm. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import resource
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web as aioweb

from tests.toolkit.authority import Authority
from tests.toolkit.fakes import Target, listening, process
from toolkit import connections
from toolkit.connections import shares
from toolkit.values import Address
from toolkit.web import Listener, application, serving
from toolkit.webconfig import WebConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOOPBACK = Address("127.0.0.1", 0)
HALF = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"


def site(target: Target | None = None, config: WebConfig | None = None, most: int = 256) -> Listener:
    made = application((target or Target()).exporter())
    return Listener(made, [LOOPBACK], config or WebConfig(), connections=most)


@asynccontextmanager
async def served(one: Listener) -> AsyncIterator[str]:
    async with serving(one) as (url,):
        yield url


async def opened(url: str, text: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(text)
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Give what came before the server closed the connection; a test that waits too long runs into its own limit."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def up(url: str) -> bool:
    async with aiohttp.ClientSession() as client, client.get(url + "/metrics") as response:
        return "demo_up 1.0" in await response.text()


@pytest.mark.parametrize("text", [b"", b"G", HALF, b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n"])
async def test_a_request_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    async with served(site()) as url:
        reader, _writer = await opened(url, text)
        assert b"200" not in await ended(reader)


async def test_a_request_sent_byte_by_byte_gets_no_more_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
    async with served(site()) as url:
        reader, writer = await opened(url, HALF + b"X-Slow: ")

        async def drip() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await ended(reader) == b""
        dripping.cancel()


async def test_a_client_that_does_not_shake_hands_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Authority("root").issue("server", tmp_path / "server.crt", tmp_path / "server.key")
    file = tmp_path / "web.yml"
    file.write_text("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n")
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    async with served(site(config=WebConfig(file))) as url:
        for text in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"):
            reader, _writer = await opened(url, text)
            assert not (await ended(reader)).startswith(b"HTTP")
    assert not caplog.records


async def test_an_idle_connection_is_closed_and_one_in_use_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target()
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    async with served(site(target)) as url:
        reader, writer = await opened(url, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await ended(reader)
        writer.close()
        target.answers.clear()
        reader, _writer = await opened(url, HALF + b"\r\n")
        await target.reading.wait()
        await asyncio.sleep(0.3)  # three times what either limit allows
        target.answers.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_takes_nothing_of_its_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "STALLED_SECONDS", 0.1)
    gone = asyncio.Event()

    async def large(request: aioweb.Request) -> aioweb.StreamResponse:
        response = aioweb.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 100_000)
        finally:
            gone.set()

    app = aioweb.Application()
    app.add_routes([aioweb.get("/large", large)])
    async with served(Listener(app, [LOOPBACK], WebConfig())) as url:
        _reader, _writer = await opened(url, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await gone.wait()
    assert not caplog.records


async def test_at_the_limit_the_longest_waiting_gives_way_and_a_running_scrape_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = Target()
    target.answers.clear()
    async with served(site(target, most=4)) as url, aiohttp.ClientSession() as client:
        running = asyncio.create_task(client.get(url + "/metrics"))
        await target.reading.wait()
        half_open = [await opened(url, HALF) for _ in range(10)]
        for reader, _ in half_open[:7]:
            assert await ended(reader) == b""
        target.answers.set()
        async with await running as response:
            assert "demo_up 1.0" in await response.text()
        assert await up(url)
    assert [record.getMessage() for record in caplog.records] == [
        "all 4 connections are in use: those that wait longest for their client are closed"
    ]


async def test_while_every_connection_is_being_answered_the_next_waits_for_its_turn(
    arrived: asyncio.Queue[None],
) -> None:
    target = Target()
    target.answers.clear()
    async with served(site(target, most=2)) as url, aiohttp.ClientSession() as client:
        first = [asyncio.create_task(client.get(url + "/metrics")) for _ in range(2)]
        await asyncio.gather(arrived.get(), arrived.get())
        next_one = asyncio.create_task(up(url))
        await asyncio.sleep(0.05)
        assert not next_one.done()
        target.answers.set()
        for one in first:
            (await one).close()
        assert await next_one


async def test_strangers_on_one_port_take_nothing_from_the_other() -> None:
    async with serving(site(most=8), site(most=8)) as (full, free):
        half_open = [await opened(full, HALF) for _ in range(40)]
        assert await up(free)
        assert await up(full)
        del half_open


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(65536, [2048, 64]), (resource.RLIM_INFINITY, [2048, 64]), (1024, [930, 29]), (100, [34, 4]), (10, [4, 4])],
)
def test_the_limit_of_open_files_is_shared_out(
    monkeypatch: pytest.MonkeyPatch, limit: int, expected: list[int]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert shares([2048, 64], 64) == expected


async def test_accepting_goes_on_after_the_process_ran_out_of_files_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "_PAUSE", 0.0)
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, 50

    async def failing(listener: object) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(listener)  # type: ignore[arg-type] # a socket

    monkeypatch.setattr(loop, "sock_accept", failing)
    async with served(site()) as url:
        assert await up(url)
    assert [record.getMessage() for record in caplog.records] == [
        "cannot accept connections: Too many open files; raise LimitNOFILE if this lasts"
    ]


async def test_a_process_with_few_files_answers_through_a_thousand_half_open_connections() -> None:
    async with process("--web.listen-address=127.0.0.1:0", files=96) as exporter:
        url = await listening(exporter)
        assert exporter.stdin
        assert exporter.stderr
        half_open = [await opened(url, HALF) for _ in range(1000)]
        async with aiohttp.ClientSession() as client, client.get(url + "/-/healthy") as response:
            assert response.status == 200
        for _, writer in half_open:
            writer.transport.abort()
        exporter.terminate()
        lines = (await exporter.stderr.read()).decode().splitlines()
    assert len(lines) <= 3, lines  # the limit, perhaps open files, and the stop
