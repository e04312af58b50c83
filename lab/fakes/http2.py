"""An HTTP/2 server that misbehaves on demand: frames by hand (RFC 9113), so that each can be sent, withheld or wrong.

It keeps the client to the rules that matter here: stream limits, windows, header blocks. What a request means is the
caller's.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from hpack import Decoder, Encoder

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
PADDED, PRIORITY = 8, 32
WINDOW = 65_535
LAST_STREAM_ID = 2**31 - 1
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 3, 4, 5
REFUSED_STREAM, CANCEL = 7, 8


@dataclass
class Request:
    """A complete request; answer it now, later or never."""

    connection: ServerConnection
    stream_id: int
    headers: dict[str, str]
    body: bytes = b""

    def respond(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Answer it; body bytes wait for the client's windows."""
        self.connection.respond(self.stream_id, status, body, headers or {})

    def reset(self, code: int = CANCEL) -> None:
        """Answer with RST_STREAM."""
        self.connection.send(RST_STREAM, 0, self.stream_id, struct.pack(">L", code))


@dataclass
class Behaviour:
    """What a server does beside answering.

    Attributes:
        streams: MAX_CONCURRENT_STREAMS, as announced.
        silent: accept TLS but never say a word.
        mute_pings: do not answer PING.
        idle_timeout: seconds without a frame after which it hangs up, None for never.
        window: the client's whole sending window for a connection until `grant`, None to grant as it is used.
        settings: further settings, as announced.
        stream_grants: enlarge a stream's window as it is used, too.
        on_headers: called with a request when its header is there; it is not handled again when it is complete.
    """

    streams: int = 1000
    silent: bool = False
    mute_pings: bool = False
    idle_timeout: float | None = None
    window: int | None = None
    settings: dict[int, int] = field(default_factory=dict)
    stream_grants: bool = False
    on_headers: Callable[[Request], None] | None = None


class Http2Server:
    """A TLS server on a port of 127.0.0.1.

    Args:
        handle: gets every complete request.
        context: TLS with ALPN h2.

    Attributes:
        connections: all that were ever made, in order.
        violations: what clients did against the protocol, one line each.
    """

    def __init__(self, handle: Callable[[Request], None], context: ssl.SSLContext) -> None:
        self.handle = handle
        self.behaviour = Behaviour()
        self.connections: list[ServerConnection] = []
        self.violations: list[str] = []
        self._context = context
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Listen; again on the same port after `stop`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ServerConnection(self), "127.0.0.1", port or self.port, ssl=self._context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self.connections:
            connection.kill()
        await asyncio.sleep(0)

    @property
    def live(self) -> list[ServerConnection]:
        """The connections that are open."""
        return [connection for connection in self.connections if connection.open]


class ServerConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Http2Server) -> None:
        self.server = server
        self.open = False
        self.pings = 0
        self.streams: list[int] = []
        self.resets: list[int] = []
        self.said_goodbye = False
        self._behaviour = server.behaviour
        self._buffer = b""
        self._preface = len(PREFACE)
        self._decoder = Decoder()
        self._decoder.max_allowed_table_size = self._behaviour.settings.get(HEADER_TABLE_SIZE, 4096)
        self._encoder = Encoder()
        self._requests: dict[int, Request] = {}
        self._unanswered: set[int] = set()
        self._window = WINDOW  # what the client lets us send on the connection
        self._waiting: list[tuple[int, bytes]] = []
        self._idle: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    # For tests

    def goaway(self, last_stream_id: int = LAST_STREAM_ID, code: int = 0, said: bytes = b"") -> None:
        """Announce the end; answers may follow."""
        self.send(GOAWAY, 0, 0, struct.pack(">LL", last_stream_id, code) + said)

    def kill(self) -> None:
        """Cut the connection without GOAWAY."""
        if self._transport is not None:
            self._transport.abort()

    def set(self, setting: int, value: int) -> None:
        """Change one of our settings."""
        self.send(SETTINGS, 0, 0, struct.pack(">HL", setting, value))

    def limit(self, streams: int) -> None:
        """Change MAX_CONCURRENT_STREAMS."""
        self.set(MAX_CONCURRENT_STREAMS, streams)

    def grant(self, size: int) -> None:
        """Enlarge the client's sending window of the connection."""
        self.send(WINDOW_UPDATE, 0, 0, struct.pack(">L", size))

    def respond(self, stream_id: int, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send an answer."""
        self._unanswered.discard(stream_id)
        block = self._encoder.encode([(":status", str(status)), *headers.items()])
        self.send(HEADERS, END_HEADERS | (0 if body else END_STREAM), stream_id, block)
        if body:
            self._waiting.append((stream_id, body))
            self._drain()

    def send(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Send one frame."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(struct.pack(">LBL", len(payload) << 8 | kind, flags, stream_id) + payload)

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Announce our settings."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True
        self.server.connections.append(self)
        if not self._behaviour.silent:
            values = {MAX_CONCURRENT_STREAMS: self._behaviour.streams, **self._behaviour.settings}
            self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *item) for item in values.items()))
        self._restart_idle()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Remember it."""
        self.open = False
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        if self._behaviour.silent:
            return
        self._restart_idle()
        self._buffer += data
        if self._preface:
            if len(self._buffer) < self._preface:
                return
            if not self._buffer.startswith(PREFACE):
                self._violation("no connection preface")
            self._buffer, self._preface = self._buffer[self._preface :], 0
        while len(self._buffer) >= 9:
            head, flags, stream_id = struct.unpack_from(">LBL", self._buffer)
            length, kind = head >> 8, head & 0xFF
            if len(self._buffer) < 9 + length:
                return
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            self._frame(kind, flags, stream_id & LAST_STREAM_ID, payload)

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == HEADERS:
            self._headers(flags, stream_id, payload)
        elif kind == DATA:
            self._data(flags, stream_id, payload)
        elif kind == RST_STREAM:
            self.resets.append(stream_id)
            self._requests.pop(stream_id, None)
            self._unanswered.discard(stream_id)
        elif kind == SETTINGS and not flags & ACK:
            self.send(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self.pings += 1
            if not self._behaviour.mute_pings:
                self.send(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            self.said_goodbye = True
        elif kind == WINDOW_UPDATE and not stream_id:
            self._window += struct.unpack(">L", payload)[0]
            self._drain()

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & (PADDED | PRIORITY) or not flags & END_HEADERS:
            self._violation("a header block this server does not read")
        fields = [(str(name), str(value)) for name, value in self._decoder.decode(payload)]
        if len(dict(fields)) != len(fields):
            self._violation("a header field twice")
        if not stream_id % 2 or (self._requests and stream_id <= max(self._requests)):
            self._violation("a stream id that is even or goes backwards")
        self._unanswered.add(stream_id)
        if len(self._unanswered) > self._behaviour.streams:
            self._violation("more streams than allowed")
        self._requests[stream_id] = request = Request(self, stream_id, dict(fields))
        self.streams.append(stream_id)
        if self._behaviour.on_headers is not None:
            self._behaviour.on_headers(request)
        if flags & END_STREAM:
            self._complete(stream_id)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        request = self._requests.get(stream_id)
        if self._behaviour.window is None:
            if payload:
                self.grant(len(payload))
        else:
            self._behaviour.window -= len(payload)
            if self._behaviour.window < 0:
                self._violation("more DATA than the window allows")
        if request is not None:
            if self._behaviour.stream_grants:
                self.send(WINDOW_UPDATE, 0, stream_id, struct.pack(">L", len(payload)))
            request.body += payload
            if flags & END_STREAM:
                self._complete(stream_id)

    def _complete(self, stream_id: int) -> None:
        request = self._requests.pop(stream_id)
        if self._behaviour.on_headers is None:
            self.server.handle(request)

    def _drain(self) -> None:
        while self._waiting and len(self._waiting[0][1]) <= self._window:
            stream_id, body = self._waiting.pop(0)
            self._window -= len(body)
            self.send(DATA, END_STREAM, stream_id, body)

    def _restart_idle(self) -> None:
        if self._behaviour.idle_timeout is not None:
            if self._idle is not None:
                self._idle.cancel()
            self._idle = asyncio.get_running_loop().call_later(self._behaviour.idle_timeout, self.kill)

    def _violation(self, what: str) -> None:
        self.server.violations.append(what)
