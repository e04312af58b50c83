"""One connection to a TURN server over UDP, TCP or TLS, with a relay on it: requests, and packets that are relayed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from toolkit import stun
from toolkit.names import Names  # noqa: TC001 - a field's type
from toolkit.stun import Attribute, Credentials, MalformedError, Method, StunResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.synthetic.config import Relay

_FIRST_RETRANSMISSION = 0.5  # seconds, then doubled: RFC 8489 section 6.2.1
_FAREWELL = 0.5  # seconds for a release
_UNAUTHORIZED, _MISMATCH, _STALE_NONCE = 401, 437, 438
_REASONS = {401: "auth", 438: "auth", 441: "auth", 486: "quota", 508: "quota"}  # of names.RESULTS, by STUN error code
_LARGEST = 1 << 16  # bytes of one message on a stream, and a header


class RelayError(Exception):
    """The relay does not do what it should.

    Args:
        reason: of `names.RESULTS`.
        message: one line, without address or secret.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Way(NamedTuple):
    """How relay servers are reached: who resolves their names, and who may answer over TLS."""

    names: Names
    tls: ssl.SSLContext


class Leg(asyncio.DatagramProtocol, asyncio.Protocol):
    """One TURN client.

    Args:
        transport: "udp", "tcp" or "tls".
        on_data: called with the peer and what it sent, for every packet that is relayed to us.

    Attributes:
        relayed: the address of the relay, as XOR-RELAYED-ADDRESS and XOR-PEER-ADDRESS hold it (IPv4: the same bytes).
    """

    def __init__(self, transport: str, on_data: Callable[[bytes, bytes], None]) -> None:
        self._datagrams, self._secure = transport == "udp", transport == "tls"
        self._on_data = on_data
        self._transport: asyncio.Transport | asyncio.DatagramTransport | None = None
        self._buffer = bytearray()
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._failure: RelayError | None = None
        self._credentials: Credentials | None = None
        self.relayed = b""

    @classmethod
    async def connect(cls, relay: Relay, transport: str, way: Way, on_data: Callable[[bytes, bytes], None]) -> Leg:
        """Connect to a relay server; nothing is allocated yet. Raises RelayError."""
        leg = cls(transport, on_data)
        port = relay.tls_port if transport == "tls" else relay.port
        try:
            addresses = [str(found[4][0]) for found in await way.names.find(relay.host, port)]
        except OSError as error:
            raise _not_connected(error) from None
        failure: OSError | None = None
        for address in dict.fromkeys(addresses):
            try:
                await leg._open(address, port, relay.server_name, way.tls)
            except OSError as error:
                failure = error
            else:
                return leg
        raise _not_connected(failure or OSError("no address"))

    async def _open(self, address: str, port: int, server_name: str, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        if self._datagrams:
            await loop.create_datagram_endpoint(lambda: self, remote_addr=(address, port))
        elif self._secure:
            await loop.create_connection(lambda: self, address, port, ssl=tls, server_hostname=server_name)
        else:
            await loop.create_connection(lambda: self, address, port)

    # What asyncio calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._fail(RelayError("disconnected", "the relay server closed the connection"))

    def datagram_received(self, data: bytes, _: object) -> None:
        """See asyncio.DatagramProtocol."""
        self._arrived(data)

    def error_received(self, _: Exception) -> None:
        """See asyncio.DatagramProtocol; it receives "connection refused"."""
        self._fail(RelayError("refused", "nobody listens on the relay server's port"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        while len(self._buffer) >= stun.HEADER.size:
            try:
                end = stun.HEADER.size + stun.length(bytes(self._buffer[: stun.HEADER.size]))
            except MalformedError:
                self._fail(RelayError("protocol", "what answers is no STUN server"))
                self._buffer.clear()
                return
            if len(self._buffer) < end:
                break
            message = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._arrived(message)
        assert len(self._buffer) <= _LARGEST + len(data)

    def _arrived(self, message: bytes) -> None:
        if (packet := stun.relayed(message)) is not None:
            self._on_data(*packet)
        elif (waiting := self._waiting.get(message[8:20])) is not None and not waiting.done():
            waiting.set_result(message)

    def _fail(self, failure: RelayError) -> None:
        self._failure = failure
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(failure)

    # What a client does ----------------------------------------------------------------------------------------

    async def allocate(self, username: str, password: str) -> None:
        """Get a relay: first without credentials, as the protocol wants it, then with them. Raises RelayError."""
        wanted = [(Attribute.REQUESTED_TRANSPORT, stun.UDP_RELAY)]
        challenge = await self._request(Method.ALLOCATE, wanted)
        if challenge.error == _UNAUTHORIZED:
            realm, nonce = (challenge.attributes.get(kind, b"") for kind in (Attribute.REALM, Attribute.NONCE))
            self._credentials = Credentials(username, password, realm, nonce)
            challenge = await self._request(Method.ALLOCATE, wanted)
        self._check(challenge, "the relay")
        self.relayed = challenge.attributes.get(Attribute.XOR_RELAYED_ADDRESS, b"")

    async def permit(self, peer: bytes) -> None:
        """Let a peer send to the relay, and the relay to it. Raises RelayError."""
        answer = await self._request(Method.CREATE_PERMISSION, [(Attribute.XOR_PEER_ADDRESS, peer)])
        self._check(answer, "a peer at its own relay address (does denied-peer-ip cover it?)")

    def send(self, peer: bytes, data: bytes) -> None:
        """Send a packet to a peer through the relay; nothing tells whether it gets there."""
        _, message = stun.encode(Method.SEND, [(Attribute.XOR_PEER_ADDRESS, peer), (Attribute.DATA, data)])
        self._write(message)

    async def close(self) -> None:
        """Release the relay if there is one, and close the connection."""
        try:
            if self.relayed and self._failure is None:
                with suppress(RelayError, TimeoutError):
                    async with asyncio.timeout(_FAREWELL):
                        await self._request(Method.REFRESH, [(Attribute.LIFETIME, bytes(4))])
        finally:
            if self._transport is not None:
                with suppress(AttributeError):  # Python 3.11.2 cannot abort a TLS transport that is closed already
                    self._transport.abort()

    async def _request(self, method: Method, attributes: list[tuple[Attribute, bytes]]) -> StunResponse:
        response = await self._exchange(method, attributes)
        if response.error == _STALE_NONCE and self._credentials is not None:
            nonce = response.attributes.get(Attribute.NONCE, b"")
            self._credentials = replace(self._credentials, nonce=nonce)
            response = await self._exchange(method, attributes)
        return response

    async def _exchange(self, method: Method, attributes: list[tuple[Attribute, bytes]]) -> StunResponse:
        if self._failure is not None:
            raise self._failure
        transaction, message = stun.encode(method, attributes, self._credentials)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = answer
        patience = _FIRST_RETRANSMISSION
        try:
            while not answer.done():
                self._write(message)
                await asyncio.wait({answer}, timeout=patience if self._datagrams else None)
                patience *= 2
            return stun.decode(answer.result(), self._credentials)
        except MalformedError:
            raise RelayError("protocol", "the relay server's answer is malformed, or not signed") from None
        finally:
            del self._waiting[transaction]

    def _write(self, message: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._datagrams:
            cast("asyncio.DatagramTransport", self._transport).sendto(message)
        else:
            cast("asyncio.Transport", self._transport).write(message)

    @staticmethod
    def _check(response: StunResponse, what: str) -> None:
        if not response.success:
            reason = _REASONS.get(response.error, "rejected")
            raise RelayError(reason, f"the relay server refuses {what} with error {response.error}")


def _not_connected(error: OSError) -> RelayError:
    if isinstance(error, ssl.SSLError):
        return RelayError("tls", f"TLS: {getattr(error, 'verify_message', '') or error.reason or 'handshake failed'}")
    if isinstance(error, socket.gaierror):
        return RelayError("dns", "the relay server's name cannot be resolved")
    if isinstance(error, ConnectionResetError):
        return RelayError("disconnected", "the relay server broke the connection")
    return RelayError("refused", "the relay server accepts no connection")
