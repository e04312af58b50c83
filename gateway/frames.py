"""HTTP/2 on the wire (RFC 9113), and header fields in their plainest form (RFC 7541). Pure: bytes in, bytes out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Frame types (RFC 9113, 6)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

# Flags
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

# Settings (6.5.2)
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 2, 3, 4, 5

# Error codes (7)
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 7, 8

WINDOW = 65_535  # bytes; every window before anyone changes it
FRAME = 16_384  # bytes; the largest payload before anyone changes it
LAST_STREAM_ID = 2**31 - 1

_HEAD = struct.Struct(">HBBBL")  # length in 16 + 8 bits, type, flags, stream id
_SETTING = struct.Struct(">HL")
_NUMBER = struct.Struct(">L")


class FrameError(Exception):
    """The peer sent what RFC 9113 forbids."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in values.items()))


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream_id, _NUMBER.pack(increment))


def reset(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _NUMBER.pack(code))


def goaway(code: int) -> bytes:
    """A GOAWAY frame of a client, which has no streams of its peer to finish."""
    return frame(GOAWAY, 0, 0, _NUMBER.pack(0) + _NUMBER.pack(code))


def data(stream_id: int, body: bytes, largest: int) -> bytes:
    """DATA frames with the whole body, the last of which ends the stream."""
    if len(body) <= largest:
        return frame(DATA, END_STREAM, stream_id, body)
    return frame(DATA, 0, stream_id, body[:largest]) + data(stream_id, body[largest:], largest)


class Reader:
    """Takes what arrives apart into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """The type, flags, stream id and payload of every frame that is complete.

        Raises:
            FrameError: one is larger than what we allowed.
        """
        buffer = self._rest + received if self._rest else received
        at, end = 0, len(buffer)
        while end - at >= _HEAD.size:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(buffer, at)
            size = high << 8 | low
            if size > FRAME:
                raise FrameError(f"a frame of {size} bytes")
            begin = at + _HEAD.size
            if end - begin < size:
                break
            at = begin + size
            yield kind, flags, stream_id & LAST_STREAM_ID, buffer[begin:at]
        self._rest = buffer[at:]


def unpad(kind: int, flags: int, payload: bytes) -> bytes:
    """The content of a DATA or HEADERS frame without padding and priority.

    Raises:
        FrameError: the padding is longer than the frame.
    """
    if flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise FrameError("padding longer than its frame")
        payload = payload[1 : len(payload) - payload[0]]
    return payload[5:] if kind == HEADERS and flags & WITH_PRIORITY else payload


def read_settings(payload: bytes) -> dict[int, int]:
    """The values of a SETTINGS frame.

    Raises:
        FrameError: its length is wrong.
    """
    if len(payload) % _SETTING.size:
        raise FrameError("SETTINGS of a wrong length")
    return dict(_SETTING.iter_unpack(payload))


def read_number(payload: bytes, at: int = 0) -> int:
    """The 32 bit number in a WINDOW_UPDATE, RST_STREAM or GOAWAY frame.

    Raises:
        FrameError: the frame is too short.
    """
    if len(payload) < at + _NUMBER.size:
        raise FrameError("a frame that is too short")
    number: int = _NUMBER.unpack_from(payload, at)[0]
    return number


def field(name: str, value: str) -> bytes:
    """A header field as a literal that nobody may index (RFC 7541, 6.2.3): no secret in a table, no state to keep."""
    return b"\x10" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    raw = text.encode()
    size = len(raw)
    if size < 0x7F:  # noqa: PLR2004 - a length in 7 bits and then in groups of 7 (RFC 7541, 5.1)
        return bytes((size,)) + raw
    prefix, size = bytearray((0x7F,)), size - 0x7F
    while size >= 0x80:  # noqa: PLR2004 - as above
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + raw
