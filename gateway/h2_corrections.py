"""Corrections to the `h2` library, in one place, each with its upstream issue. Delete one when h2 no longer needs it.

They use private names of h2, so `tests/gateway/test_http2.py` tests each of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hpack import Encoder
from hpack.hpack import encode_integer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h2.config import H2Configuration
    from h2.events import Event
    from hyperframe.frame import Frame, GoAwayFrame


class PlainEncoder(Encoder):
    """An HPACK encoder that uses less CPU and some more bytes: without Huffman coding, which hpack has in pure Python.

    It sends every field as one that no table may hold, as is right for tokens (RFC 7541, 7.1.3). So a field is always
    the same bytes.
    """

    def encode(self, headers: Iterable[Any], huffman: bool = False) -> bytes:  # noqa: ARG002, FBT001, FBT002 - hpack's signature
        """Encode fields that are bytes (hpack.Encoder.encode)."""
        fields = [_field(name, value) for name, value in headers]
        if self.header_table.resized:  # the peer must be told that its new limit is known (RFC 7541, 4.2)
            fields.insert(0, self._encode_table_size_change())
            self.header_table.resized = False
        return b"".join(fields)


@lru_cache(maxsize=64)  # most are the same in each request; the access token for half an hour
def _field(name: bytes, value: bytes) -> bytes:
    """Return a literal field never indexed, with a new name (RFC 7541, 6.2.3)."""
    return b"".join((b"\x10", encode_integer(len(name), 7), name, encode_integer(len(value), 7), value))


class CorrectedConnection(H2Connection):
    """An H2Connection for a client with many short streams.

    Attributes:
        MAX_CLOSED_STREAMS: closed streams that are remembered, for late frames. h2 remembers 65,536, which is 10 MB.
    """

    MAX_CLOSED_STREAMS = 4096

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.encoder = PlainEncoder()
        self._received: list[Event] = []

    def receive(self, data: bytes) -> tuple[list[Event], bool]:
        """Take in bytes from the peer.

        When a bad frame arrives together with good ones, h2 drops the events of the good ones: an answer would be lost.

        Returns:
            The events, and False if the peer broke the protocol. Then a GOAWAY is in `data_to_send`, and the connection
            must be closed.
        """
        self._received = []
        try:
            self.receive_data(data)
        except ProtocolError:
            return self._received, False
        except Exception:  # noqa: BLE001 - hyperframe and hpack have errors of their own; no bytes may end this process
            self.close_connection(ErrorCodes.PROTOCOL_ERROR)
            return self._received, False
        return self._received, True

    def _receive_frame(self, frame: Frame) -> list[Event]:
        events = super()._receive_frame(frame)
        self._received += events
        return events

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        """Stay open after a GOAWAY, for the answers that may still come (https://github.com/python-hyper/h2/issues/1181)."""
        state, unsent = self.state_machine.state, bytes(self._data_to_send)
        result = super()._receive_goaway_frame(frame)
        self.state_machine.state = state
        self._data_to_send += unsent
        return result

    @property
    def closed(self) -> bool:
        """True once we have sent a GOAWAY."""
        return self.state_machine.state is ConnectionState.CLOSED

    @property
    def open_outbound_streams(self) -> int:
        """Streams that `forget` was not called for.

        h2 walks all streams for each new one (https://github.com/python-hyper/h2/issues/1184).
        """
        return len(self.streams)

    def forget(self, stream_id: int) -> None:
        """Drop the state of a stream that both sides have closed."""
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self._closed_streams[stream_id] = stream.closed_by
