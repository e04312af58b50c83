"""Holds one real WebSocket connection to Prosody (RFC 7395) and pings it, as a client would. It never logs in."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from exporters.prosody.snapshot import Histogram
from toolkit.background import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = logging.getLogger(__name__)

EDGES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REASONS = ("probe_refused", "probe_unreachable", "probe_tls", "probe_handshake", "probe_timeout", "probe_closed")
_C2S_TIMEOUT = 300.0  # seconds; Prosody's own default and the specification's
_FAREWELL_SECONDS = 0.2  # for the endpoint to close, too; a hung one must not hold up our own end


@dataclass
class Observations:
    """What the probe has seen: round trips in seconds, and failures by reason (REASONS)."""

    round_trips: Histogram = field(default_factory=lambda: Histogram(EDGES, [0.0] * len(EDGES)))
    errors: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REASONS, 0.0))


class _ProbeError(Exception):
    """The connection failed; the argument is one of REASONS."""


class WebSocketProbe:
    """Keeps one connection open and pings it.

    Args:
        url: of the endpoint, http(s) or ws(s).
        interval: seconds between two pings, and between two attempts to connect.
        timeout: seconds that a connection attempt or a pong may take.

    Attributes:
        c2s_timeout: seconds after which Prosody ends a connection that has not logged in, as ours never does; we leave
            before, or each would count as an error. To be set once it is known.
    """

    def __init__(self, url: str, *, interval: float = 5.0, timeout: float = 5.0) -> None:
        self.url = url
        self.observations = Observations()
        self.c2s_timeout = _C2S_TIMEOUT
        self._interval = interval
        self._timeout = timeout
        self._failing = ""  # the reason of the last failure, until a pong comes

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Probe in the background until the context ends."""
        async with running(self._run):
            yield

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as client:
            while True:
                try:
                    async with self._connect(client) as socket:
                        await self._ping_while_young(socket)
                except _ProbeError as error:
                    self._failed(str(error))
                await asyncio.sleep(self._interval)

    def _failed(self, reason: str) -> None:
        self.observations.errors[reason] += 1
        if reason != self._failing:
            _log.warning("the WebSocket probe fails on %s: %s; do clients connect?", self.url, reason)
        self._failing = reason

    def _succeeded(self, seconds: float) -> None:
        self.observations.round_trips.observe(seconds)
        if self._failing:
            _log.info("the WebSocket probe reaches %s again", self.url)
        self._failing = ""

    @asynccontextmanager
    async def _connect(self, client: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        try:
            async with asyncio.timeout(self._timeout):
                closing = aiohttp.ClientWSTimeout(ws_close=_FAREWELL_SECONDS)
                socket = await client.ws_connect(self.url, protocols=("xmpp",), autoping=False, timeout=closing)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _ProbeError(_reason(error)) from error
        try:
            if socket.protocol != "xmpp":
                raise _ProbeError("probe_handshake")
            yield socket
        finally:
            await socket.close()

    async def _ping_while_young(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        connected = time.monotonic()
        while True:
            sent = time.monotonic()
            try:
                async with asyncio.timeout(self._timeout):
                    await socket.ping(b"probe")
                    if not await _pong(socket):
                        return
            except TimeoutError:
                raise _ProbeError("probe_timeout") from None
            except (aiohttp.ClientError, OSError) as error:
                raise _ProbeError("probe_closed") from error
            self._succeeded(time.monotonic() - sent)
            if time.monotonic() + self._interval - connected >= 0.8 * self.c2s_timeout:
                return
            await asyncio.sleep(self._interval)


async def _pong(socket: aiohttp.ClientWebSocketResponse) -> bool:
    """Wait for the pong; False when Prosody closed in good order, which a new connection answers."""
    while True:
        message = await socket.receive()
        match message.type:
            case aiohttp.WSMsgType.PONG:
                return True
            case aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
            case aiohttp.WSMsgType.TEXT:
                continue
            case aiohttp.WSMsgType.CLOSE if message.data == aiohttp.WSCloseCode.OK:
                return False
            case _:
                raise _ProbeError("probe_closed")


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "probe_timeout"
        case aiohttp.WSServerHandshakeError():
            return "probe_handshake"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return "probe_refused"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "probe_tls"
        case aiohttp.ClientConnectionError() if not isinstance(error, aiohttp.ClientConnectorError):
            return "probe_closed"
        case _:
            return "probe_unreachable"
