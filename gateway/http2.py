"""One HTTP/2 connection to a provider, with the `h2` library: requests out, answers in. `channel` reconnects."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.settings import SettingCodes, Settings

from gateway.exchange import End, Response
from gateway.h2_corrections import CorrectedConnection
from gateway.timing import call_at

if TYPE_CHECKING:
    from h2.events import Event

    from gateway.exchange import Exchange
    from gateway.timing import Timing

MAX_ANSWER = 16 * 1024  # bytes kept of one answer; answers of APNs and FCM are far below a kilobyte
STREAMS = 500  # at most this many at a time, whatever the peer allows
LAST_STREAM_ID = 2**31 - 1
_CONFIGURATION = H2Configuration(
    client_side=True,
    header_encoding=None,
    # h2's checks are off: our headers are valid, and of the peer's only :status and Retry-After are read, and checked.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
)
_SETTINGS = {SettingCodes.ENABLE_PUSH: 0}
_SECRET = re.compile(rb"[^ -~]|[\w+/=.:-]{24,}")  # what a log must not hold: control characters, tokens


class Owner(Protocol):
    """The keeper of a connection."""

    def room(self) -> None:
        """Called after anything that may have made room for a request."""

    def answered(self, connection: Connection) -> None:
        """Called after an answer."""


@dataclass(eq=False, slots=True)
class _Stream:
    exchange: Exchange
    opened: float
    unsent: bytes
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def response(self) -> Response:
        return Response(self.status, self.headers, self.content)


class Connection(asyncio.Protocol):
    """A client's connection.

    Args:
        owner: receives the answers, and the news that a stream is free.
        timing: when to check that the peer is alive.

    Attributes:
        ready: done with the peer's SETTINGS (RFC 9113, 3.4).
        leaving: why no more requests can be sent; None until then.
        gone: done when the connection is closed.
        opened: the loop's time when it was opened.
        answered_at: the loop's time of the last answer, or when it was opened.
    """

    def __init__(self, owner: Owner, timing: Timing) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._timing = timing
        self._h2 = CorrectedConnection(_CONFIGURATION)
        self._h2.local_settings = Settings(client=True, initial_values=_SETTINGS)
        self._streams: dict[int, _Stream] = {}
        self._flushing = False
        self._writable = True
        self._heard = 0.0
        self._pinged: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.opened = self.answered_at = loop.time()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.leaving: asyncio.Future[End] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    # For the channel

    @property
    def accepting(self) -> bool:
        """True until the first GOAWAY, loss or the last stream id."""
        return self.ready.done() and not self.leaving.done()

    @property
    def has_room(self) -> bool:
        """True if the peer's limits let a request be sent now."""
        h2 = self._h2
        return (
            len(self._streams) < min(STREAMS, h2.remote_settings.max_concurrent_streams)
            and h2.outbound_flow_control_window > 0
            and self._writable
            and self.accepting
        )

    def send(self, exchange: Exchange) -> None:
        """Open a stream for the request; `has_room` must be true."""
        h2, request = self._h2, exchange.compose()
        stream_id = h2.get_next_available_stream_id()
        stream = self._streams[stream_id] = _Stream(exchange, self._loop.time(), request.body)
        exchange.carriers[self] = stream_id
        h2.send_headers(stream_id, request.fields, end_stream=not request.body)
        self._send_body(stream_id, stream)
        self._flush_soon()
        if stream_id + 2 > LAST_STREAM_ID:
            self.leave(End("stream_ids"))

    def abandon(self, exchange: Exchange) -> None:
        """Cancel one request; a late answer to it does not affect the others."""
        stream_id = exchange.carriers.pop(self, None)
        if stream_id is not None and self._streams.pop(stream_id, None) is not None:
            self._reset(stream_id)
            self._flush_soon()
            self._after_exchange()

    def overdue(self, answered_at: float, scale: float) -> float:
        """Return the loop's time at which this connection is in doubt; infinity while nothing is awaited.

        Args:
            answered_at: the loop's time of the last answer on any connection to this peer.
            scale: factor on the usual patience.
        """
        return min(
            (
                max(stream.opened, answered_at) + scale * stream.exchange.patience
                for stream in self._streams.values()
                if stream.exchange.waits
            ),
            default=float("inf"),
        )

    @property
    def awaited(self) -> list[Exchange]:
        """The requests without an answer, oldest first."""
        return [stream.exchange for stream in self._streams.values() if stream.exchange.waits]

    def leave(self, end: End) -> None:
        """Take no more requests; close when those under way have their answers."""
        if not self.leaving.done():
            self.leaving.set_result(end)
            self._loop.call_soon(self._after_exchange)

    def release_unsent(self) -> None:
        """Fail the requests whose body was not completely sent: the peer never processes them."""
        for stream_id in [number for number, stream in self._streams.items() if stream.unsent]:
            self._reset(stream_id)
            self._streams.pop(stream_id).exchange.lose(self, "no_window")
        self._flush_soon()

    def close(self, reason: str = "closed") -> None:
        """Send GOAWAY and fail the requests without an answer."""
        if self._transport is not None and not self._transport.is_closing():
            if not self._h2.closed:
                self._h2.close_connection()
            self._flush()
            self._transport.close()
        self._stop_watching()
        self._lose_all(reason)

    # For asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the HTTP/2 connection, with server push switched off."""
        self._transport = cast("asyncio.Transport", transport)
        self._heard = self.opened = self.answered_at = self._loop.time()
        self._h2.initiate_connection()
        self._flush()
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """Pass the answers in `data` to the requests that wait for them."""
        self._heard = self._loop.time()
        self._pinged = None
        events, in_order = self._h2.receive(data)
        for event in events:
            self._take(event)
        if not in_order:
            self.close("protocol_error")
            return
        self._flush_soon()
        self._after_exchange()

    def pause_writing(self) -> None:
        """Open no more streams: the peer does not read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Open streams again: the peer reads."""
        self._writable = True
        self._owner.room()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Fail the requests without an answer."""
        self._stop_watching()
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError("closed before its SETTINGS"))
            self.ready.exception()  # read once, or asyncio reports it when nobody waits any more
        self._lose_all("connection_lost")
        self.gone.set_result(None)

    # Events

    def _take(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self._head(event)
            case DataReceived():
                self._data(event)
            case StreamEnded():
                self._ended(event.stream_id)
            case StreamReset():
                self._was_reset(event)
            case RemoteSettingsChanged():
                if not self.ready.done():
                    self.ready.set_result(None)
                self._unblock()
            case WindowUpdated():
                self._unblock()
            case ConnectionTerminated():
                self._goaway(event)

    def _head(self, event: ResponseReceived) -> None:
        """Take in the header of an answer. A 200 is all of it: nothing that is needed follows, and it may get lost."""
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            fields = event.headers
            stream.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
            status = stream.headers.get(":status", "")
            stream.status = int(status) if status.isascii() and status.isdecimal() else 0
            if stream.status == 200:  # noqa: PLR2004 - HTTP's
                self._complete(stream)

    def _data(self, event: DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is not None and event.data:
            stream.content = (stream.content + event.data)[:MAX_ANSWER]

    def _ended(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None and stream.unsent:  # an answer before the whole request was sent (RFC 9113, 8.1)
            self._reset(stream_id)
        self._h2.forget(stream_id)
        if stream is not None and stream.status != 200:  # noqa: PLR2004 - HTTP's
            self._complete(stream)

    def _was_reset(self, event: StreamReset) -> None:
        stream = self._streams.pop(event.stream_id, None)
        self._h2.forget(event.stream_id)
        if stream is not None:
            refused = event.error_code == ErrorCodes.REFUSED_STREAM
            stream.exchange.lose(self, "refused_stream" if refused else "stream_reset")

    def _complete(self, stream: _Stream) -> None:
        self.answered_at = self._heard
        stream.exchange.complete(self, stream.response)
        self._owner.answered(self)

    def _goaway(self, event: ConnectionTerminated) -> None:
        """Streams above the last id were never processed (RFC 9113, 6.8); those up to it may still be answered."""
        code = event.error_code
        said = _SECRET.sub(b"", (event.additional_data or b"")[:200]).decode("ascii")
        self.leave(End("goaway", code.name if isinstance(code, ErrorCodes) else str(code), said))
        last = event.last_stream_id or 0
        for stream_id in [number for number in self._streams if number > last]:
            self._streams.pop(stream_id).exchange.lose(self, "refused_stream")

    # The rest

    def _send_body(self, stream_id: int, stream: _Stream) -> None:
        """Send as much of the body as the windows allow."""
        h2 = self._h2
        while stream.unsent:
            room = min(h2.local_flow_control_window(stream_id), h2.max_outbound_frame_size)
            if room <= 0:
                return
            part, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            h2.send_data(stream_id, part, end_stream=not stream.unsent)
        stream.exchange.sent = True

    def _unblock(self) -> None:
        for stream_id, stream in self._streams.items():
            if stream.unsent:
                self._send_body(stream_id, stream)

    def _reset(self, stream_id: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        self._h2.forget(stream_id)

    def _flush_soon(self) -> None:
        """Send with everything else of this turn of the loop: one TLS record instead of many."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and (data := self._h2.data_to_send()):
            self._transport.write(data)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _look(self) -> None:
        """Send a PING after a silence; close the connection when it is not answered."""
        now = self._loop.time()
        if self._transport is None or self._transport.is_closing():
            return
        if self._pinged is not None and now - self._pinged >= self._timing.pong:
            self._transport.abort()
            self._lose_all("ping_timeout")
            return
        silence = self._timing.awaiting if self._streams else self._timing.idle
        if self._pinged is None and now - self._heard >= silence:
            self._pinged = now
            self._h2.ping(b"alive?!!")
            self._flush()
        self._look_later()

    def _look_later(self) -> None:
        self._watch = call_at(self._loop.time() + self._timing.pong / 3, self._look)

    def _after_exchange(self) -> None:
        if self.leaving.done() and not self.awaited:
            self.close()
        else:
            self._owner.room()

    def _lose_all(self, reason: str) -> None:
        self.leave(End(reason))
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.exchange.lose(self, reason)
