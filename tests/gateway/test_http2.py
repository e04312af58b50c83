"""Our HTTP/2 against somebody else's: the `h2` library as a server that checks every rule it knows."""

from __future__ import annotations

import asyncio

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, PingAckReceived, RequestReceived, SettingsAcknowledged, StreamEnded, StreamReset
from hypothesis import given
from hypothesis import strategies as st

from gateway import frames
from gateway.exchange import Exchange
from gateway.http2 import Connection, Timing


class StrictServer(asyncio.Protocol):
    """Echoes header fields and bodies; raises on whatever RFC 9113 forbids."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.requests: dict[int, tuple[dict[str, str], bytes]] = {}
        self.acknowledged: set[type] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.h2.initiate_connection()
        self.h2.ping(b"are you?")
        transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        events = self.h2.receive_data(data)
        given_up = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for event in events:
            self.acknowledged |= {type(event)} & {SettingsAcknowledged, PingAckReceived}
            if isinstance(event, RequestReceived):
                self.requests[event.stream_id] = (dict(event.headers), b"")  # type: ignore[arg-type]  # text, as configured
            elif isinstance(event, DataReceived):
                fields, body = self.requests[event.stream_id]
                self.requests[event.stream_id] = (fields, body + event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded) and event.stream_id not in given_up:
                self._answer(event.stream_id)
        self.transport.write(self.h2.data_to_send())

    def _answer(self, stream_id: int) -> None:
        fields, body = self.requests[stream_id]
        self.h2.send_headers(stream_id, [(":status", "200"), ("path", fields[":path"]), ("x-long", "v" * 300)])
        while body:
            self.h2.send_data(stream_id, body[:1000])
            body = body[1000:]
        self.h2.end_stream(stream_id)


def block(path: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":authority": "x",
        ":path": path,
        "authorization": "bearer " + "t" * 200,
    }
    return b"".join(frames.field(*field) for field in fields.items())


async def test_a_strict_server_accepts_everything_we_send_and_we_understand_its_answers() -> None:
    loop = asyncio.get_running_loop()
    servers: list[StrictServer] = []

    def serve() -> StrictServer:
        servers.append(StrictServer())
        return servers[-1]

    listener = await loop.create_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    _, connection = await loop.create_connection(lambda: Connection(lambda: None, Timing()), "127.0.0.1", port)
    await connection.ready
    for number in range(3000):  # far beyond every window, both ways
        body = b"b" * (number % 7 * 100)
        exchange = Exchange(block(f"/{number}"), body, loop.create_future())
        assert connection.room_for(exchange)
        connection.send(exchange)
        answer = await exchange.answer
        assert (answer.status, answer.headers["path"], answer.body) == (200, f"/{number}", body)
    given_up = Exchange(block("/late"), b"", loop.create_future())
    connection.send(given_up)
    connection.abandon(given_up)
    last = Exchange(block("/last"), b"x" * 30_000, loop.create_future())
    connection.send(last)
    assert len((await last.answer).body) <= 16 * 1024
    assert servers[0].acknowledged == {SettingsAcknowledged, PingAckReceived}
    connection.close()
    await connection.gone
    listener.close()


@given(st.lists(st.binary(max_size=200), max_size=8), st.integers(1, 50))
def test_frames_are_found_again_however_the_bytes_arrive(payloads: list[bytes], size: int) -> None:
    sent = b"".join(frames.frame(frames.DATA, 0, 2 * number + 1, payload) for number, payload in enumerate(payloads))
    reader = frames.Reader()
    found = [frame for at in range(0, len(sent), size) for frame in reader.feed(sent[at : at + size])]
    assert [(stream_id, payload) for _, _, stream_id, payload in found] == [
        (2 * number + 1, payload) for number, payload in enumerate(payloads)
    ]
