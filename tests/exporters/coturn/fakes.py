"""Servers that speak coturn's protocols, and misbehave as a test says: CLI, TURN over UDP, a page of metrics."""

from __future__ import annotations

import asyncio
import base64
import hmac
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from toolkit import stun
from toolkit.stun import Attribute, Credentials, Method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GREETING = b"TURN Server\r\nCoturn-4.6.1 'Gorst'\r\n\r\nType '?' for help\r\nEnter password: \r\n"
STATUS = (
    b"\r\n  verbose: ON\r\n  min-port: 49152\r\n  TURN REST API separator ASCII number: 58\r\n\r\n"
    b"  total-current-allocs: 7\r\n\r\n  Default total-quota: 100 (**)\r\n  current realm total-quota: 250\r\n\r\n> "
)


class FakeCli:
    """coturn's telnet CLI; what it was asked is in `asked`, wrong passwords in `passwords`."""

    password = b"word"

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.passwords: list[bytes] = []
        self.connections = 0
        self.silent = False
        self.hang_up = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(GREETING)
        while (password := (await reader.readline()).strip()) != self.password:
            if not password:
                return
            self.passwords.append(password)
            writer.write(b"Enter password: \r\n")
        writer.write(b"> ")
        late = b""
        while line := await reader.readline():
            if self.hang_up:
                break
            self.asked.append(line.strip())
            late += STATUS if not self.silent else STATUS.replace(b"allocs: 7", b"allocs: 6")
            if not self.silent:
                writer.write(late)
                late = b""
        writer.close()


class FakeTurn(asyncio.DatagramProtocol):
    """A TURN server over UDP with one allocation per client address, as coturn keeps them.

    Attributes:
        lose: methods whose next authenticated response is lost, once each per mention.
        allocations: the clients that have one.
        refuse: error code for Allocate, 0 for none.
    """

    realm, nonce = b"realm", b"nonce"

    def __init__(self, secret_password: str) -> None:
        self._password = secret_password
        self.lose: list[Method] = []
        self.allocations: set[object] = set()
        self.refuse = 0
        self.deaf = False
        self._requests: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._transport = transport
        try:
            yield transport.get_extra_info("sockname")[1]
        finally:
            transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.deaf:
            return
        self._requests.append(data)
        method = Method(int.from_bytes(data[:2]))
        authenticated = Attribute.MESSAGE_INTEGRITY.to_bytes(2) + b"\0\x14" in data
        if method is Method.BINDING:
            self._answer(data, addr)
        elif not authenticated:
            self._answer(data, addr, 401)
        elif method is Method.ALLOCATE and self.refuse:
            self._answer(data, addr, self.refuse, signed=True)
        else:
            known = addr in self.allocations
            (self.allocations.add if method is Method.ALLOCATE else self.allocations.discard)(addr)
            if method in self.lose:
                self.lose.remove(method)
            else:
                self._answer(data, addr, 437 if method is Method.REFRESH and not known else 0, signed=True)

    def asked(self, method: Method) -> list[bytes]:
        """The requests of one method so far."""
        return [request for request in self._requests if Method(int.from_bytes(request[:2])) is method]

    def _answer(self, request: bytes, addr: tuple[str, int], error: int = 0, *, signed: bool = False) -> None:
        kind = int.from_bytes(request[:2]) | (0x0110 if error else 0x0100)
        pairs = [(Attribute.XOR_RELAYED_ADDRESS, b"\0\x01" + (50000 ^ 0x2112).to_bytes(2) + bytes(4))]
        if error:
            pairs = [(Attribute.ERROR_CODE, bytes((0, 0, error // 100, error % 100)))]
            pairs += [(Attribute.REALM, self.realm), (Attribute.NONCE, self.nonce)]
        body = b"".join(stun._attribute(name, value) for name, value in pairs)
        if signed:
            at = request.index(Attribute.USERNAME.to_bytes(2), 20)
            username = request[at + 4 : at + 4 + int.from_bytes(request[at + 2 : at + 4])].decode()
            key = Credentials(username, self._password_of(username), self.realm, self.nonce).key
            body += stun._attribute(Attribute.MESSAGE_INTEGRITY, stun._integrity(kind, request[8:20], body, key))
        assert self._transport
        self._transport.sendto(stun.HEADER.pack(kind, len(body), stun.COOKIE, request[8:20]) + body, addr)

    def _password_of(self, username: str) -> str:
        return base64.b64encode(hmac.digest(self._password.encode(), username.encode(), "sha1")).decode()


@asynccontextmanager
async def page(body: str | bytes, status: int = 200) -> AsyncIterator[str]:
    """Serve one page; gives its URL."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    app = web.Application()
    app.add_routes([web.get("/metrics", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"{site.name.rpartition(':')[0]}:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()
