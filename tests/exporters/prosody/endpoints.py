"""WebSocket endpoints that answer in every way an endpoint can, for tests of the probe."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporters.prosody.probe import REASONS

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from exporters.prosody.probe import WebSocketProbe

NEVER = 3600.0  # seconds between two tries; longer than any test
AT_ONCE = 0.0
SHORT = 0.05  # seconds; how long an endpoint waits for what never comes


def counted(probe: WebSocketProbe) -> dict[str, float]:
    """Return the errors that a probe has counted, without those that did not happen."""
    assert set(probe.observations.errors) == set(REASONS)
    return {reason: count for reason, count in probe.observations.errors.items() if count}


class Endpoint:
    """A WebSocket endpoint; its connections behave as given, one after the other; all later ones like the last.

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
        async with asyncio.timeout(60):  # a probe that fails instead tries without end, and so would we
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
    return await pong_on(endpoint, answer)


async def pong_on(endpoint: Endpoint, answer: web.WebSocketResponse) -> web.WebSocketResponse:
    pings = 0
    async for message in answer:
        if message.type == aiohttp.WSMsgType.TEXT:
            assert message.data.startswith("<close")
            continue
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


async def ending_the_stream(_: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    await answer.receive()
    error = "<connection-timeout xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
    await answer.send_str(f"<stream:error>{error}</stream:error>")
    await answer.send_str("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
    await answer.close(code=aiohttp.WSCloseCode.OK)
    return answer


async def closing_the_stream_while_idle(_: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    await answer.pong((await answer.receive()).data)
    await answer.send_str("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
    await answer.close(code=aiohttp.WSCloseCode.OK)
    assert request.transport
    request.transport.abort()
    return answer


def offering(*mechanisms: str) -> Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]]:
    """Answer a stream to anybody with these mechanisms, and pings with pongs; no mechanism: no list of them either."""
    listed = "".join(f"<mechanism>{name}</mechanism>" for name in mechanisms)
    features = f"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{listed}</mechanisms>" if mechanisms else ""

    async def offer(_: Endpoint, request: web.Request) -> web.StreamResponse:
        answer = await accept(request)
        async for message in answer:
            if message.type == aiohttp.WSMsgType.PING:
                await answer.pong(message.data)
            elif message.data.startswith("<open"):
                await answer.send_str("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='chat.example'/>")
                await answer.send_str(f"<stream:features>{features}</stream:features>")
        return answer

    return offer


async def closing_orderly(_: Endpoint, request: web.Request) -> web.StreamResponse:
    answer = await accept(request)
    await answer.receive()
    await answer.close(code=aiohttp.WSCloseCode.OK)
    return answer
