"""The WebSocket probe against endpoints that answer in every way an endpoint can."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporters.prosody.probe import REASONS, WebSocketProbe
from tests.toolkit.authority import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NEVER = 3600.0  # seconds; longer than any test
SHORT = 0.05  # seconds; how long the probe waits for what never comes
AT_ONCE = 0.0


class Lines(logging.Handler):
    """What the probe logs, line by line as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.queue.put_nowait(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, handler = logging.getLogger("exporters.prosody.probe"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


class Endpoint:
    """A WebSocket endpoint; its connections behave as told, in the order in which they are opened, the last for ever.

    Attributes:
        connections: how many there were.
        pinged: set when a connection is pinged a second time, which the probe does only after the first pong.
    """

    def __init__(self, *handlers: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]]) -> None:
        self.connections = 0
        self.pinged = asyncio.Event()
        self._handlers = handlers

    async def handle(self, request: web.Request) -> web.StreamResponse:
        handler = self._handlers[min(self.connections, len(self._handlers) - 1)]
        self.connections += 1
        return await handler(self, request)

    async def pinged_twice(self) -> None:
        async with asyncio.timeout(10):  # a probe that fails instead tries for ever, and so would we
            await self.pinged.wait()

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/xmpp-websocket", self.handle)
        server = TestServer(app, scheme="https" if tls else "http")
        await server.start_server(ssl=tls, shutdown_timeout=1)
        try:
            yield str(server.make_url("/xmpp-websocket"))
        finally:
            await server.close()


async def accept(request: web.Request, *protocols: str) -> web.WebSocketResponse:
    answer = web.WebSocketResponse(protocols=protocols or ("xmpp",), autoping=False, timeout=SHORT)
    await answer.prepare(request)
    return answer


async def ponging(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    pings = 0
    async for message in answer:
        assert message.type == aiohttp.WSMsgType.PING
        pings += 1
        if pings > 1:
            endpoint.pinged.set()
        await answer.pong(message.data)
    return answer


async def pinging_first(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
    """Pong only a probe that has ponged us, and has been told something it need not understand."""
    answer = await accept(request)
    pings = 0
    while (message := await answer.receive()).type == aiohttp.WSMsgType.PING:
        pings += 1
        if pings > 1:
            endpoint.pinged.set()
        await answer.send_str("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
        await answer.ping(b"are you there?")
        pong = await answer.receive()
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"are you there?")
        await answer.pong(message.data)
    return answer


async def silent(_: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    async for _message in answer:
        pass
    return answer


async def stuck(_: Endpoint, __: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def forbidding(_: Endpoint, __: web.Request) -> web.StreamResponse:
    return web.Response(status=403)


async def plain(_: Endpoint, __: web.Request) -> web.StreamResponse:
    return web.Response(text="It works! Now point your WebSocket client to this URL.")


async def speaking_chat(_: Endpoint, request: web.Request) -> web.StreamResponse:
    return await accept(request, "chat")


async def aborting(_: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    await answer.receive()
    assert request.transport
    request.transport.abort()
    return answer


async def aborting_the_handshake(_: Endpoint, request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def closing_in_trouble(_: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    await answer.receive()
    await answer.close(code=aiohttp.WSCloseCode.INTERNAL_ERROR)
    return answer


async def closing_in_good_order(_: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    await answer.receive()
    await answer.close(code=aiohttp.WSCloseCode.OK)
    return answer


def counted(probe: WebSocketProbe) -> dict[str, float]:
    assert set(probe.observations.errors) == set(REASONS)
    return {reason: count for reason, count in probe.observations.errors.items() if count}


# Failures -----------------------------------------------------------------------------------------------------------


async def one_failure(url: str, lines: Lines, reason: str, *, patience: float = 5) -> None:
    """Check that the first attempt fails with this reason, is counted once, and is logged in one line."""
    probe = WebSocketProbe(url, interval=NEVER, timeout=patience)
    async with probe.running():
        line = await lines.queue.get()
    assert line == f"WARNING the WebSocket probe fails on {url}: {reason}; do clients connect?"
    assert counted(probe) == {reason: 1}
    assert probe.observations.round_trips.total == 0
    assert lines.queue.empty()


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (forbidding, "probe_handshake"),
        (plain, "probe_handshake"),
        (speaking_chat, "probe_handshake"),
        (aborting, "probe_closed"),
        (aborting_the_handshake, "probe_closed"),
        (closing_in_trouble, "probe_closed"),
    ],
)
async def test_an_endpoint_that_misbehaves_has_its_reason(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]], reason: str
) -> None:
    async with Endpoint(handler).listening() as url:
        await one_failure(url, lines, reason)


@pytest.mark.parametrize("handler", [stuck, silent])
async def test_an_endpoint_that_says_nothing_is_a_timeout(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]]
) -> None:
    async with Endpoint(handler).listening() as url:
        await one_failure(url, lines, "probe_timeout", patience=SHORT)


async def test_a_port_nobody_listens_on_refuses(lines: Lines) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        await one_failure(f"http://127.0.0.1:{bound.getsockname()[1]}/xmpp-websocket", lines, "probe_refused")


async def test_a_host_that_does_not_exist_is_unreachable(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)  # a resolver may take its time to say so
    await one_failure("http://localhost.invalid/xmpp-websocket", lines, "probe_unreachable")


def tls(tmp_path: Path) -> ssl.SSLContext:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    Authority("nobody trusts").issue("127.0.0.1", certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_nobody_trusts_is_a_tls_error(lines: Lines, tmp_path: Path) -> None:
    async with Endpoint(ponging).listening(tls(tmp_path)) as url:
        await one_failure(url, lines, "probe_tls")


async def test_tls_to_a_port_that_speaks_none_is_a_tls_error(lines: Lines) -> None:
    async with Endpoint(ponging).listening() as url:
        await one_failure(url.replace("http:", "https:"), lines, "probe_tls")


# Pings --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [ponging, pinging_first])
async def test_every_pong_is_measured_on_one_connection(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]]
) -> None:
    endpoint = Endpoint(handler)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        async with probe.running():
            await endpoint.pinged_twice()
    trips = probe.observations.round_trips
    assert trips.total >= 1
    assert trips.sum_seconds > 0
    assert sum(trips.counts) == trips.total
    assert counted(probe) == {}
    assert endpoint.connections == 1
    assert lines.queue.empty()


async def test_the_connection_ends_with_the_probe() -> None:
    async with AsyncExitStack() as stack:
        ended = asyncio.Event()

        async def until_closed(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
            answer = await ponging(endpoint, request)
            ended.set()
            return answer

        endpoint = Endpoint(until_closed)
        url = await stack.enter_async_context(endpoint.listening())
        async with WebSocketProbe(url, interval=AT_ONCE).running():
            await endpoint.pinged_twice()
        await ended.wait()


async def test_the_probe_ends_though_the_endpoint_hangs_and_takes_no_leave() -> None:
    released = asyncio.Event()

    async def hanging_after_a_pong(_: Endpoint, request: web.Request) -> web.StreamResponse:
        answer = await accept(request)
        await answer.pong((await answer.receive()).data)
        await released.wait()
        return answer

    async with Endpoint(hanging_after_a_pong).listening() as url:
        probe = WebSocketProbe(url, interval=NEVER, timeout=NEVER)
        async with asyncio.timeout(10) as patience, probe.running():
            while not probe.observations.round_trips.total:  # noqa: ASYNC110 - the probe announces nothing
                await asyncio.sleep(0)
        released.set()
    assert not patience.expired()


async def test_a_close_in_good_order_is_no_error_and_a_new_connection_follows(lines: Lines) -> None:
    endpoint = Endpoint(closing_in_good_order, ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        async with probe.running():
            await endpoint.pinged_twice()
    assert endpoint.connections == 2
    assert counted(probe) == {}
    assert lines.queue.empty()


async def test_a_new_connection_is_made_before_prosody_ends_one_that_never_logs_in(lines: Lines) -> None:
    endpoint = Endpoint(ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE)
        probe.c2s_timeout = SHORT
        async with asyncio.timeout(10), probe.running():
            while endpoint.connections < 3:  # noqa: ASYNC110 - the probe announces nothing
                await asyncio.sleep(0)
    assert probe.observations.round_trips.total >= 3
    assert counted(probe) == {}
    assert lines.queue.empty()


async def test_an_endpoint_that_always_closes_is_not_hammered(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, pauses = Endpoint(closing_in_good_order), asyncio.Queue[tuple[float, int]]()

    async def pause(seconds: float) -> None:
        pauses.put_nowait((seconds, endpoint.connections))

    async with endpoint.listening() as url:
        monkeypatch.setattr("exporters.prosody.probe.asyncio.sleep", pause)
        async with WebSocketProbe(url, interval=7).running():
            assert [await pauses.get() for _ in range(3)] == [(7, 1), (7, 2), (7, 3)]
        monkeypatch.undo()


# Log ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("handler", "reason"), [(forbidding, "probe_handshake"), (silent, "probe_timeout")])
async def test_a_lasting_failure_and_its_end_are_logged_once(
    lines: Lines, handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]], reason: str
) -> None:
    endpoint = Endpoint(handler, handler, handler, ponging)
    async with endpoint.listening() as url:
        probe = WebSocketProbe(url, interval=AT_ONCE, timeout=SHORT)
        async with probe.running():
            await endpoint.pinged_twice()
    assert counted(probe) == {reason: 3}
    assert [lines.queue.get_nowait() for _ in range(lines.queue.qsize())] == [
        f"WARNING the WebSocket probe fails on {url}: {reason}; do clients connect?",
        f"INFO the WebSocket probe reaches {url} again",
    ]
