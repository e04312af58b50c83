"""The gateway's side of HTTP/2 against RFC 9113, rule by rule, with a server that is made of bytes.

It shares no code with the client: neither h2, hpack and hyperframe nor the lab's fakes. Whatever the server does, the
call is delivered.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from gateway import channel, handler
from tests.gateway.conftest import IPHONE, Caller, Pki, Start, until

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, PRIORITY_FLAG = 4, 8, 32
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 1, 3, 5, 6, 9
STREAM = -1  # in a script: the stream of the request
OK = b"\x88"  # :status 200 (RFC 7541, Appendix A)
LITERAL = b"\x00\x07:status\x03"  # a :status to be followed by three digits


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    def encode(self, stream: int) -> bytes:
        """Return its bytes, with the real number in place of STREAM."""
        number = stream if self.stream == STREAM else self.stream
        return struct.pack(">LBL", len(self.payload) << 8 | self.kind, self.flags, number) + self.payload


def answer(flags: int = END_HEADERS | END_STREAM, block: bytes = OK) -> Frame:
    """The header of an answer."""
    return Frame(HEADERS, flags, STREAM, block)


def setting(number: int, value: int) -> Frame:
    """SETTINGS with one value."""
    return Frame(SETTINGS, 0, 0, struct.pack(">HL", number, value))


def window(stream: int, size: int) -> Frame:
    """WINDOW_UPDATE."""
    return Frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", size))


GOOD = answer()
PING_PAYLOAD = b"12345678"

# What breaks the whole connection: rule -> frames, and the error code that the RFC asks for.
CONNECTION_ERRORS: Mapping[str, tuple[list[Frame], int]] = {
    "4.2 a frame larger than allowed": ([Frame(DATA, 0, STREAM, bytes(16_385))], FRAME_SIZE_ERROR),
    "4.3 a header block that is none": ([answer(block=b"\xff\xff\xff\xff\xff\x0f")], COMPRESSION_ERROR),
    "5.1 DATA on a stream that is idle": ([Frame(DATA, 0, 2**20 + 1, b"x")], PROTOCOL_ERROR),
    "5.1 RST_STREAM on a stream that is idle": ([Frame(RST_STREAM, 0, 2**20 + 1, bytes(4))], PROTOCOL_ERROR),
    "5.1.1 a stream that the server opens": ([Frame(HEADERS, END_HEADERS, 2, OK)], PROTOCOL_ERROR),
    "6.1 DATA on stream 0": ([Frame(DATA, 0, 0, b"x")], PROTOCOL_ERROR),
    "6.1 DATA of padding alone": ([answer(END_HEADERS), Frame(DATA, PADDED, STREAM, b"\x05xx")], PROTOCOL_ERROR),
    "6.2 HEADERS on stream 0": ([Frame(HEADERS, END_HEADERS, 0, OK)], PROTOCOL_ERROR),
    "6.4 RST_STREAM on stream 0": ([Frame(RST_STREAM, 0, 0, bytes(4))], PROTOCOL_ERROR),
    "6.4 RST_STREAM of three bytes": ([Frame(RST_STREAM, 0, STREAM, bytes(3))], FRAME_SIZE_ERROR),
    "6.5 SETTINGS on a stream": ([Frame(SETTINGS, 0, STREAM, b"")], PROTOCOL_ERROR),
    "6.5 an acknowledgement with a payload": ([Frame(SETTINGS, ACK, 0, bytes(6))], FRAME_SIZE_ERROR),
    "6.5 SETTINGS of five bytes": ([Frame(SETTINGS, 0, 0, bytes(5))], FRAME_SIZE_ERROR),
    "6.5.2 ENABLE_PUSH that is no truth value": ([setting(2, 2)], PROTOCOL_ERROR),
    "6.5.2 a window of 2 GiB": ([setting(4, 2**31)], FLOW_CONTROL_ERROR),
    "6.5.2 frames of 16 MiB": ([setting(5, 2**24)], PROTOCOL_ERROR),
    "6.5.2 frames of 16,383 bytes": ([setting(5, 16_383)], PROTOCOL_ERROR),
    "6.6 a push that we do not allow": (
        [Frame(PUSH_PROMISE, END_HEADERS, STREAM, struct.pack(">L", 2) + OK)],
        PROTOCOL_ERROR,
    ),
    "6.7 PING on a stream": ([Frame(PING, 0, STREAM, PING_PAYLOAD)], PROTOCOL_ERROR),
    "6.7 PING of seven bytes": ([Frame(PING, 0, 0, PING_PAYLOAD[1:])], FRAME_SIZE_ERROR),
    "6.8 GOAWAY on a stream": ([Frame(GOAWAY, 0, STREAM, bytes(8))], PROTOCOL_ERROR),
    "6.9 WINDOW_UPDATE of nothing": ([window(0, 0)], PROTOCOL_ERROR),
    "6.9 WINDOW_UPDATE of three bytes": ([Frame(WINDOW_UPDATE, 0, 0, bytes(3))], FRAME_SIZE_ERROR),
    "6.9.1 a window that overflows": ([window(0, 2**31 - 1)], FLOW_CONTROL_ERROR),
    "6.10 CONTINUATION of nothing": ([Frame(CONTINUATION, END_HEADERS, STREAM, OK)], PROTOCOL_ERROR),
    "6.10 a frame between HEADERS and CONTINUATION": (
        [answer(0), Frame(PING, 0, 0, PING_PAYLOAD), Frame(CONTINUATION, END_HEADERS, STREAM, b"")],
        PROTOCOL_ERROR,
    ),
}

# Where h2 says something else, or nothing. No push is lost by it; delete a rule here when h2 keeps it.
H2_DIFFERS = {
    "4.3 a header block that is none": [PROTOCOL_ERROR],
    "5.1 RST_STREAM on a stream that is idle": [],
    "5.1.1 a stream that the server opens": [],
    "6.5 an acknowledgement with a payload": [PROTOCOL_ERROR],
}

# What breaks one stream, or the connection, as the client likes; the push is tried again.
STREAM_ERRORS: Mapping[str, list[Frame]] = {
    "6.1 DATA before HEADERS": [Frame(DATA, END_STREAM, STREAM, b"x")],
    "6.4 the stream is reset": [Frame(RST_STREAM, 0, STREAM, struct.pack(">L", 2))],
    "6.9 WINDOW_UPDATE of nothing": [window(STREAM, 0)],
    "6.9.1 a window that overflows": [window(STREAM, 2**31 - 1)],
    "8.1 an end without an answer": [answer(END_HEADERS | END_STREAM, LITERAL + b"103")],
    "8.1.1 no status": [answer(block=b"\x00\x01x\x01y")],
    "8.3.2 a status that is none": [answer(block=LITERAL + b"2x0")],
}

# What every client must accept silently.
ALLOWED: Mapping[str, list[Frame]] = {
    "4.1 flags and a reserved bit that nobody knows": [Frame(PING, 0xFE, 2**31, PING_PAYLOAD), GOOD],
    "4.3 a header block in pieces": [
        Frame(HEADERS, END_STREAM, STREAM, LITERAL[:3]),
        Frame(CONTINUATION, 0, STREAM, LITERAL[3:]),
        Frame(CONTINUATION, END_HEADERS, STREAM, b"200"),
    ],
    "5.1 frames on a stream that has just ended": [
        GOOD,
        window(STREAM, 1),
        Frame(PRIORITY, 0, STREAM, bytes(4) + b"\x10"),
        Frame(RST_STREAM, 0, STREAM, bytes(4)),
    ],
    "5.5 frames that nobody knows": [Frame(0xFA, 0xFF, STREAM, b"any"), Frame(0xB, 1, 0, b""), GOOD],
    "6.1 DATA with padding, and without a byte": [
        answer(END_HEADERS),
        Frame(DATA, PADDED, STREAM, b"\x03{}\0\0\0"),
        Frame(DATA, END_STREAM, STREAM, b""),
    ],
    "6.2 HEADERS with padding and a priority": [
        answer(END_HEADERS | END_STREAM | PADDED | PRIORITY_FLAG, b"\x02" + bytes(4) + b"\x10" + OK + b"\0\0")
    ],
    "6.3 PRIORITY": [Frame(PRIORITY, 0, STREAM, struct.pack(">LB", 2**20 + 1, 7)), GOOD],
    "6.5 SETTINGS of nothing, and of what nobody knows": [Frame(SETTINGS, 0, 0, b""), setting(0xF0F0, 9), GOOD],
    "6.5.2 a smaller header table": [setting(1, 0), GOOD],
    "6.7 PING, and an acknowledgement of none": [
        Frame(PING, 0, 0, PING_PAYLOAD),
        Frame(PING, ACK, 0, b"whatever"),
        GOOD,
    ],
    "8.1 an early hint, and trailers": [
        answer(END_HEADERS, LITERAL + b"103"),
        answer(END_HEADERS),
        Frame(DATA, 0, STREAM, b"{}"),
        answer(END_HEADERS | END_STREAM, b"\x00\x01x\x01y"),
    ],
}


@dataclass
class Server:
    """A server that answers every request well, but the next one after `script` was set with its frames."""

    script: list[Frame] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    port: int = 0


class Connection(asyncio.Protocol):
    """One connection; keeps what the client sent."""

    def __init__(self, server: Server) -> None:
        self.frames: list[Frame] = []
        self.open = True
        self._server = server
        self._buffer = b""
        server.connections.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say the server's settings: the defaults."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(Frame(SETTINGS, 0, 0, b"").encode(0))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Remember it."""
        self.open = False

    def data_received(self, data: bytes) -> None:
        """Take the client's frames apart."""
        self._buffer += data
        if not self.frames:
            if len(self._buffer) < len(PREFACE) + 9:
                return
            assert self._buffer.startswith(PREFACE)
            self._buffer = self._buffer.removeprefix(PREFACE)
        while len(self._buffer) >= 9:
            head, flags, stream = struct.unpack_from(">LBL", self._buffer)
            end = 9 + (head >> 8)
            if len(self._buffer) < end:
                return
            self.frames.append(Frame(head & 0xFF, flags, stream, self._buffer[9:end]))
            self._buffer = self._buffer[end:]
            if head & 0xFF == DATA and flags & END_STREAM:
                script, self._server.script = self._server.script or [GOOD], []
                self._transport.write(b"".join(frame.encode(stream) for frame in script))

    async def ended(self) -> None:
        """Wait until the client has closed it."""
        await until(lambda: not self.open)

    def sent(self, kind: int) -> list[Frame]:
        """Return the client's frames of one kind."""
        return [frame for frame in self.frames if frame.kind == kind]


@pytest.fixture
async def server(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Connection(made), "127.0.0.1", 0, ssl=pki.server_context("h2"), start_serving=True
    )
    made.port = listening.sockets[0].getsockname()[1]
    for where, name in ((channel, "RECONNECT_FIRST"), (handler, "BACKOFF_FIRST")):
        monkeypatch.setattr(where, name, 0.01)
    return made


async def connected(start: Start, server: Server) -> Caller:
    return await start(HANDLERS="voip", APNS_URL=f"https://localhost:{server.port}")


async def delivers(caller: Caller, server: Server, script: list[Frame]) -> bool:
    """Push a call that the server answers with a script; tell whether it was delivered in the end."""
    server.script = script
    return (await caller.push()).outcome == "sent" and not server.script


async def test_what_breaks_the_connection_ends_it_with_the_right_code_and_no_call(start: Start, server: Server) -> None:
    caller = await connected(start, server)
    differs = {}
    for rule, (script, code) in CONNECTION_ERRORS.items():
        broken = server.connections[-1]
        assert await delivers(caller, server, [*script, GOOD]), rule  # a client that breaks the rule takes the last
        if server.connections[-1] is not broken:
            await broken.ended()
        said = [struct.unpack(">LL", frame.payload[:8])[1] for frame in broken.sent(GOAWAY)]
        if said != [code]:
            differs[rule] = said
    assert differs == H2_DIFFERS


async def test_what_breaks_a_stream_ends_no_call(start: Start, server: Server) -> None:
    caller = await connected(start, server)
    for rule, script in STREAM_ERRORS.items():
        assert await delivers(caller, server, script), rule


async def test_what_is_allowed_is_borne_on_the_same_connection(start: Start, server: Server) -> None:
    caller = await connected(start, server)
    for rule, script in ALLOWED.items():
        assert await delivers(caller, server, script), rule
    assert (await caller.push()).outcome == "sent"
    only = server.connections[0]
    assert server.connections == [only]
    assert not only.sent(GOAWAY) + only.sent(RST_STREAM)
    assert len(only.sent(HEADERS)) == len(ALLOWED) + 1
    pongs = {frame.payload for frame in only.sent(PING) if frame.flags & ACK}
    assert pongs == {PING_PAYLOAD}
    ours = sum(frame.kind == SETTINGS for script in ALLOWED.values() for frame in script)
    assert len([frame for frame in only.sent(SETTINGS) if frame.flags & ACK]) == ours + 1


def fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Decode the header block of a request: every field must be a literal never indexed (RFC 7541, 6.2.3)."""
    found, at = [], 0
    while at < len(block):
        assert block[at] == 0x10
        parts = []
        at += 1
        for _ in range(2):
            size, at = block[at], at + 1
            if size == 0x7F:  # a longer one goes on in groups of seven bits (RFC 7541, 5.1)
                shift = 0
                while True:
                    size += (block[at] & 0x7F) << shift
                    shift, at = shift + 7, at + 1
                    if not block[at - 1] & 0x80:
                        break
            assert size < 1000
            parts.append(block[at : at + size])
            at += size
        found.append((parts[0], parts[1]))
    return found


async def test_a_request_is_what_the_protocol_and_apple_ask_for(start: Start, server: Server) -> None:
    """3.4, 5.1.1, 6.5.2, 8.2, 8.3.1."""
    caller = await connected(start, server)
    for _ in range(3):
        assert (await caller.push()).outcome == "sent"
    only = server.connections[0]
    first = only.frames[0]
    assert (first.kind, first.flags, first.stream) == (SETTINGS, 0, 0)
    said = dict(struct.iter_unpack(">HL", first.payload))
    assert said[2] == 0  # no push
    headers = only.sent(HEADERS)
    assert [frame.stream for frame in headers] == [1, 3, 5]
    assert {frame.flags for frame in headers} == {END_HEADERS}
    for frame in headers:
        names = [name for name, _ in fields(frame.payload)]
        assert names[:4] == [b":method", b":scheme", b":authority", b":path"]
        assert len(set(names)) == len(names)
        assert all(name == name.lower() for name in names)
        assert not {b"connection", b"host", b"keep-alive", b"transfer-encoding", b"upgrade"} & {*names}
        sent = dict(fields(frame.payload))
        assert sent[b":path"].decode() == f"/3/device/{IPHONE}"
        assert sent[b":authority"] == b"localhost"
        assert int(sent.get(b"content-length", b"0")) in (0, len(only.sent(DATA)[0].payload))
    assert sum(len(frame.payload) for frame in only.sent(DATA)) < 65_535
