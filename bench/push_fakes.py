"""APNs and FCM for the bench: right frames, no checks, a set delay; so fast that the gateway is what is measured."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import struct
import sys
from pathlib import Path

from lab.fakes import http2
from lab.fakes.fcm import TokenEndpoint


class Quick(http2.ServerConnection):
    """Answers 200 to every stream that ends, all of one turn in one write."""

    delay = 0.0

    def __init__(self, server: http2.Http2Server) -> None:
        super().__init__(server)
        self._used = 0

    def data_received(self, data: bytes) -> None:
        """Look at types and lengths only."""
        if self._preface:
            super().data_received(data)
            return
        buffer = self._buffer + data if self._buffer else data
        at, size = 0, len(buffer)
        ended = []
        unpack = struct.unpack_from
        while size - at >= 9:
            head, flags, stream_id = unpack(">LBL", buffer, at)
            length, kind = head >> 8, head & 0xFF
            if size - at < 9 + length:
                break
            if kind == http2.DATA:
                self._used += length
                if flags & 1:
                    ended.append(stream_id)
            elif kind != http2.HEADERS:
                self._frame(kind, flags, stream_id, buffer[at + 9 : at + 9 + length])
            at += 9 + length
        self._buffer = buffer[at:]
        if ended:
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self._answer, ended)
            else:
                self._answer(ended)

    def _answer(self, ended: list[int]) -> None:
        frames = [struct.pack(">LBLB", 1 << 8 | http2.HEADERS, 5, stream_id, 0x88) for stream_id in ended]
        if self._used > 16_000:
            frames.append(struct.pack(">LBLL", 4 << 8 | http2.WINDOW_UPDATE, 0, 0, self._used))
            self._used = 0
        assert self._transport is not None
        self._transport.write(b"".join(frames))


class QuickHttp1(asyncio.Protocol):
    """FCM by HTTP/1.1, as firebase-admin speaks it: answers 200 to every request whose body is here."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Look at lengths only."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"content-length: *(\d+)", self._buffer[:end], re.IGNORECASE)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            asyncio.get_running_loop().call_later(Quick.delay, self._answer)

    def _answer(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
        self._transport.write(head + b'{"name":"x"}')


async def main() -> None:
    """Serve until the end."""
    delay, chain, key, account, token_port, http1_port, *ports = sys.argv[1:]
    Quick.delay = float(delay)

    def context(protocol: str) -> ssl.SSLContext:
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(chain, key)
        made.set_alpn_protocols([protocol])
        return made

    tokens = TokenEndpoint(context("http/1.1"))
    tokens.account = json.loads(Path(account).read_text())
    await tokens.start(int(token_port))
    await asyncio.get_running_loop().create_server(QuickHttp1, "127.0.0.1", int(http1_port), ssl=context("http/1.1"))
    server = http2.Http2Server(lambda _: None, context("h2"))
    for port in ports:
        await asyncio.get_running_loop().create_server(lambda: Quick(server), "127.0.0.1", int(port), ssl=context("h2"))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
