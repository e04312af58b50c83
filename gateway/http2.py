"""One HTTP/2 connection to a provider: requests out, answers in, PING, GOAWAY, windows. Reconnecting is `channel`'s."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hpack import Decoder, HPACKError

from gateway import frames
from gateway.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.exchange import Exchange

MAX_ANSWER = 16 * 1024  # bytes kept of one answer; what APNs and FCM say is far below a kilobyte
MAX_HEADERS = 64 * 1024  # bytes of one header block
STREAMS = 500  # at most this many at a time, whatever the peer allows
UNANSWERED = 5  # requests in a row without an answer in their time: who answers PINGs is not who answers requests
ACKNOWLEDGE = frames.WINDOW // 4  # bytes read before the peer is told that it may send as many again


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


class Connection(asyncio.Protocol):
    """A client's connection.

    Args:
        changed: called after anything that may have made room for a request.
        timing: when to ask whether the peer is alive.

    Attributes:
        ready: done with the peer's first frame, its SETTINGS (RFC 9113, 3.4).
        leaving: why no more requests can be sent: goaway, stream_ids, no_answer, or why it was lost.
        gone: done when the connection is closed.
        opened: the loop's time of its beginning.
    """

    def __init__(self, changed: Callable[[], None], timing: Timing) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._timing = timing
        self._reader = frames.Reader()
        self._decoder = Decoder(MAX_HEADERS)
        self._exchanges: dict[int, Exchange] = {}
        self._next_id = 1
        self._streams = STREAMS
        self._window = self._stream_window = frames.WINDOW  # what the peer lets us send
        self._frame = frames.FRAME
        self._unacknowledged = 0  # bytes of DATA read since the last WINDOW_UPDATE
        self._block: tuple[int, int, bytes] | None = None  # a header block whose CONTINUATION is awaited
        self._out: list[bytes] = []
        self._writable = True
        self._unanswered = 0
        self._heard = 0.0
        self._pinged: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.opened = 0.0
        self.ready: asyncio.Future[None] = loop.create_future()
        self.leaving: asyncio.Future[str] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    # What the channel asks

    @property
    def accepting(self) -> bool:
        """True until the first GOAWAY, loss or the last stream id."""
        return self.ready.done() and not self.leaving.done()

    def room_for(self, exchange: Exchange) -> bool:
        """True if the peer's limits and windows let the request be sent now."""
        return (
            len(self._exchanges) < self._streams
            and len(exchange.body) <= self._window
            and len(exchange.body) <= self._stream_window
            and self._writable
            and self.accepting
        )

    def send(self, exchange: Exchange) -> None:
        """Open a stream for the request; `room_for` must be true."""
        stream_id = self._next_id
        self._next_id += 2
        exchange.connection, exchange.stream_id, exchange.opened = self, stream_id, self._loop.time()
        self._exchanges[stream_id] = exchange
        self._window -= len(exchange.body)
        self._write(
            frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, exchange.block)
            + frames.data(stream_id, exchange.body, self._frame)
        )
        if self._next_id > frames.LAST_STREAM_ID:
            self._leave("stream_ids")

    def abandon(self, exchange: Exchange) -> None:
        """Give up one request; a late answer to it disturbs no other."""
        if self._exchanges.pop(exchange.stream_id, None) is not None:
            self._write(frames.reset(exchange.stream_id, frames.CANCEL))
            self._unanswered += 1
            if self._unanswered >= UNANSWERED:
                self._leave("no_answer")
            self._after_exchange()

    def close(self, reason: str = "closed", code: int = frames.NO_ERROR) -> None:
        """Say goodbye and fail what is still awaited."""
        if self._transport is not None and not self._transport.is_closing():
            self._write(frames.goaway(code))
            self._flush()
            self._transport.close()
        self._fail_all(reason)

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the HTTP/2 connection; we want no server push."""
        self._transport = cast("asyncio.Transport", transport)
        self._heard = self.opened = self._loop.time()
        self._transport.write(frames.PREFACE + frames.settings({frames.ENABLE_PUSH: 0}))
        self._watch = self._loop.call_later(self._timing.pong / 3, self._look)

    def data_received(self, data: bytes) -> None:
        """Give the answers in `data` to those who await them."""
        self._heard = self._loop.time()
        self._pinged = None
        try:
            for kind, flags, stream_id, payload in self._reader.feed(data):
                self._take(kind, flags, stream_id, payload)
        except (FrameError, HPACKError):
            self.close("protocol_error", frames.PROTOCOL_ERROR)
            return
        if self._unacknowledged >= ACKNOWLEDGE:
            self._write(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
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

    # Frames

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Handle one frame.

        Raises:
            FrameError, HPACKError: RFC 9113 or 7541 forbids it.
        """
        if self._block is not None and kind != frames.CONTINUATION:
            raise FrameError("a header block that is interrupted")
        if not self.ready.done() and kind != frames.SETTINGS:
            raise FrameError("no SETTINGS at the beginning")
        match kind:
            case frames.HEADERS:
                self._header_block(flags, flags, stream_id, frames.unpad(kind, flags, payload))
            case frames.CONTINUATION:
                if self._block is None or self._block[1] != stream_id:
                    raise FrameError("a CONTINUATION of nothing")
                first, _, begun = self._block
                self._header_block(first, flags, stream_id, begun + payload)
            case frames.DATA:
                self._data(flags, stream_id, payload)
            case frames.RST_STREAM:
                refused = frames.read_number(payload) == frames.REFUSED_STREAM
                if (exchange := self._exchanges.pop(stream_id, None)) is not None:
                    exchange.fail("refused_stream" if refused else "stream_reset")
            case _:
                self._control(kind, flags, stream_id, payload)

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Handle a frame that is about the connection.

        Raises:
            FrameError: RFC 9113 forbids it.
        """
        match kind:
            case frames.SETTINGS if not flags & frames.ACK:
                self._settings(frames.read_settings(payload))
            case frames.PING if not flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, payload))
            case frames.GOAWAY:
                self._goaway(frames.read_number(payload) & frames.LAST_STREAM_ID)
            case frames.WINDOW_UPDATE if not stream_id:  # a stream's own is not needed: bodies are sent whole
                self._window += frames.read_number(payload) & frames.LAST_STREAM_ID
            case frames.PUSH_PROMISE:
                raise FrameError("a server push that we ruled out")

    def _header_block(self, first: int, flags: int, stream_id: int, block: bytes) -> None:
        """Header fields of an answer, decoded even if nobody awaits it: the decoder's table must stay the peer's."""
        if len(block) > MAX_HEADERS:
            raise FrameError("a header block without end")
        if not flags & frames.END_HEADERS:
            self._block = first, stream_id, block
            return
        self._block = None
        fields = self._decoder.decode(block)
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            exchange.received.update(cast("list[tuple[str, str]]", fields))
            if first & frames.END_STREAM:
                self._complete(exchange)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """A piece of a body. Padding counts for the windows (RFC 9113, 6.9.1), and so do bodies nobody awaits."""
        self._unacknowledged += len(payload)
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            return
        exchange.content = (exchange.content + frames.unpad(frames.DATA, flags, payload))[:MAX_ANSWER]
        if flags & frames.END_STREAM:
            self._complete(exchange)
        elif payload:
            self._write(frames.window_update(stream_id, len(payload)))

    def _complete(self, exchange: Exchange) -> None:
        del self._exchanges[exchange.stream_id]
        self._unanswered = 0
        exchange.complete()

    def _settings(self, values: dict[int, int]) -> None:
        self._streams = min(STREAMS, values.get(frames.MAX_CONCURRENT_STREAMS, self._streams))
        self._stream_window = values.get(frames.INITIAL_WINDOW_SIZE, self._stream_window)
        self._frame = values.get(frames.MAX_FRAME_SIZE, self._frame)
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if not self.ready.done():
            self.ready.set_result(None)

    def _goaway(self, last_stream_id: int) -> None:
        """Streams above the last id were never processed (RFC 9113, 6.8); those up to it are answered yet."""
        self._leave("goaway")
        for stream_id in [number for number in self._exchanges if number > last_stream_id]:
            self._exchanges.pop(stream_id).fail("refused_stream")

    # The rest

    def _write(self, data: bytes) -> None:
        """Send with everything else of this turn of the loop: one TLS record instead of many."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _look(self) -> None:
        """Ask for a sign of life after a silence; give the connection up when none comes."""
        now = self._loop.time()
        if self._pinged is not None and now - self._pinged >= self._timing.pong:
            if self._transport is not None:
                self._transport.abort()
            self._fail_all("ping_timeout")
            return
        if self._pinged is None and now - self._heard >= (
            self._timing.awaiting if self._exchanges else self._timing.idle
        ):
            self._pinged = now
            self._write(frames.frame(frames.PING, 0, 0, b"alive?!!"))
        self._watch = self._loop.call_later(self._timing.pong / 3, self._look)

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
            exchange.fail(reason)
