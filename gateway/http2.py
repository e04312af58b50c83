"""One HTTP/2 connection to a provider, over the `h2` library: requests out, answers in, PING. No reconnecting, no retrying: see `channel`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.frame_buffer import FrameBuffer
from hpack import Encoder
from hyperframe.frame import Frame, GoAwayFrame

Headers = list[tuple[str, str]]

MAX_ANSWER = 16 * 1024  # bytes kept of one answer; what APNs and FCM say is far below a kilobyte
STREAMS = 500  # at most this many at a time, whatever the peer allows
LAST_STREAM_ID = 2**31 - 1


@dataclass(frozen=True)
class Timing:
    """When a connection is asked whether it is alive, in seconds.

    Args:
        idle: silence before a PING while nothing is awaited; below what NAT and servers forget.
        awaiting: silence before a PING while answers are awaited.
        pong: how long the PING's answer may take; after that the connection is dead.
    """

    idle: float = 20.0
    awaiting: float = 2.0
    pong: float = 3.0


@dataclass(frozen=True)
class Response:
    """A provider's answer: status, header fields (lower case names) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is none."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def retry_after(self) -> float:
        """Seconds to wait (RFC 9110, 10.2.3: a number or a date); 0.0 without a readable header."""
        text = self.headers.get("retry-after", "")
        if text.isascii() and text.isdecimal():
            return float(text[:9])
        try:
            return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):  # TypeError: a date without its zone
            return 0.0


class LostError(Exception):
    """The request was under way and will get no answer on its connection.

    Args:
        reason: connection_lost, ping_timeout, protocol_error, stream_reset, or refused_stream: never processed (RFC 9113, 8.7).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False, slots=True)
class Exchange:
    """One request on its way to one answer. `answer` raises LostError; `opened` is the loop's time when it was sent."""

    headers: Headers
    body: bytes
    answer: asyncio.Future[Response]
    opened: float | None = None
    connection: Connection | None = None
    stream_id: int = 0
    status: int = 0
    received: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


class _Frames(FrameBuffer):
    """Keeps GOAWAY from h2, which would refuse the answers that RFC 9113, 6.8 still allows, and hands it over instead."""

    def __init__(self, on_goaway: Callable[[GoAwayFrame], None]) -> None:
        super().__init__()
        self._on_goaway = on_goaway

    def __next__(self) -> Frame:
        frame = super().__next__()
        while isinstance(frame, GoAwayFrame):
            self._on_goaway(frame)
            frame = super().__next__()
        return frame


class _PlainEncoder(Encoder):
    """HPACK without Huffman coding: half the time for a few dozen bytes more."""

    def encode(self, headers: Headers, huffman: bool = False) -> bytes:  # type: ignore[override]  # noqa: FBT001, FBT002 - the library's signature
        return super().encode(headers, huffman)


class _Http2(H2Connection):
    MAX_CLOSED_STREAMS = 8192  # remembered for late frames; the library's 65,536 grow to several MiB


class Connection(asyncio.Protocol):
    """A client's connection; one `asyncio.Protocol` for one TLS connection.

    Args:
        changed: called after anything that may have made room for a request, or taken it away.
        timing: when to ask whether the peer is alive.
    """

    def __init__(self, changed: Callable[[], None], timing: Timing) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._timing = timing
        self._h2 = _Http2(
            H2Configuration(
                header_encoding="utf-8",
                # Our own header fields are right by construction; the provider's are only read. Half of h2's time otherwise.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self._h2.incoming_buffer = _Frames(self._on_goaway)
        self._h2.encoder = _PlainEncoder()
        self._exchanges: dict[int, Exchange] = {}
        self._transport: asyncio.Transport | None = None
        self._flushing = False
        self._writable = True
        self._heard = 0.0
        self._pinged: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.opened = 0.0
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.leaving: asyncio.Future[str] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    # What the channel asks

    @property
    def accepting(self) -> bool:
        """True until the first GOAWAY, loss or the last stream id."""
        return self.ready.done() and not self.leaving.done()

    def room_for(self, exchange: Exchange) -> bool:
        """True if the peer's limits and windows let the request be sent now."""
        settings = self._h2.remote_settings
        return (
            self.accepting
            and self._writable
            and len(self._exchanges) < min(STREAMS, settings.max_concurrent_streams)
            and len(exchange.body) <= min(self._h2.outbound_flow_control_window, settings.initial_window_size)
        )

    def send(self, exchange: Exchange) -> None:
        """Open a stream for the request; `room_for` must be true."""
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream_id, exchange.headers)
        self._h2.send_data(stream_id, exchange.body, end_stream=True)
        exchange.connection, exchange.stream_id, exchange.opened = self, stream_id, self._loop.time()
        self._exchanges[stream_id] = exchange
        if stream_id >= LAST_STREAM_ID - 2:
            self._leave("stream_ids")
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def abandon(self, exchange: Exchange) -> None:
        """Give up one request; a late answer to it disturbs no other."""
        if self._exchanges.pop(exchange.stream_id, None) is not None:
            self._h2.reset_stream(exchange.stream_id, ErrorCodes.CANCEL)
            self._flush()
            self._after_exchange()

    def close(self, reason: str = "closed") -> None:
        """Say goodbye and fail what is still awaited."""
        if self._transport is not None and not self._transport.is_closing():
            self._h2.close_connection()
            self._flush()
            self._transport.close()
        self._fail_all(reason)

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the HTTP/2 connection. No server push; a header table as large as the default."""
        self._transport = cast("asyncio.Transport", transport)
        self._heard = self.opened = self._loop.time()
        self._h2.initiate_connection()
        self._flush()
        self._watch = self._loop.call_later(self._timing.pong / 3, self._look)

    def data_received(self, data: bytes) -> None:
        """Give the answers in `data` to those who await them."""
        self._heard = self._loop.time()
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self.close("protocol_error")
            return
        self._pinged = None
        if not self.ready.done():
            self.ready.set_result(None)  # the first frame of a server is its SETTINGS (RFC 9113, 3.4)
        exchanges = self._exchanges
        for event in events:
            stream_id = getattr(event, "stream_id", None)
            exchange = exchanges.get(stream_id) if stream_id else None
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if exchange is None:
                continue
            if isinstance(event, ResponseReceived):
                exchange.received = dict(event.headers)
                status = exchange.received.get(":status", "")
                exchange.status = int(status) if status.isdecimal() else 0
            elif isinstance(event, DataReceived):
                exchange.content = (exchange.content + event.data)[:MAX_ANSWER]
            elif isinstance(event, StreamEnded):
                del exchanges[event.stream_id]
                if not exchange.answer.done():
                    exchange.answer.set_result(Response(exchange.status, exchange.received, exchange.content))
            elif isinstance(event, StreamReset):
                del exchanges[event.stream_id]
                refused = event.error_code == ErrorCodes.REFUSED_STREAM
                _fail(exchange, "refused_stream" if refused else "stream_reset")
        self._flush()
        self._after_exchange()

    def pause_writing(self) -> None:
        """The peer does not read: open no more streams."""
        self._writable = False

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._writable = True
        self._changed()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Fail what is still awaited."""
        if self._watch is not None:
            self._watch.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError("closed before its SETTINGS"))
            self.ready.exception()  # read once, or asyncio reports it when nobody waits any more
        self._fail_all("connection_lost")
        self.gone.set_result(None)

    # How it works

    def _flush(self) -> None:
        self._flushing = False
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _look(self) -> None:
        """Ask for a sign of life after a silence; give the connection up when none comes."""
        now = self._loop.time()
        if self._pinged is not None:
            if now - self._pinged >= self._timing.pong:
                self._give_up("ping_timeout")
                return
        elif now - self._heard >= (self._timing.awaiting if self._exchanges else self._timing.idle):
            self._pinged = now
            self._h2.ping(b"alive?!!")
            self._flush()
        self._watch = self._loop.call_later(self._timing.pong / 3, self._look)

    def _give_up(self, reason: str) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._fail_all(reason)

    def _on_goaway(self, frame: GoAwayFrame) -> None:
        """Streams above the last id were never processed (RFC 9113, 6.8); those below are answered yet."""
        self._leave("goaway")
        for stream_id in [number for number in self._exchanges if number > frame.last_stream_id]:
            _fail(self._exchanges.pop(stream_id), "refused_stream")

    def _after_exchange(self) -> None:
        if self.leaving.done() and not self._exchanges:
            self.close()
        else:
            self._changed()

    def _leave(self, reason: str) -> None:
        if not self.leaving.done():
            self.leaving.set_result(reason)

    def _fail_all(self, reason: str) -> None:
        self._leave(reason)
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            _fail(exchange, reason)


def _fail(exchange: Exchange, reason: str) -> None:
    if not exchange.answer.done():
        exchange.answer.set_exception(LostError(reason))
