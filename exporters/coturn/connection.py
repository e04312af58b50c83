"""One client connection to a STUN server over UDP, TCP or TLS: requests go out, the matching response comes back."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from toolkit import stun

if TYPE_CHECKING:
    from toolkit.stun import Credentials, StunResponse

_FIRST_RETRANSMISSION = 0.5  # seconds, then doubled: RFC 8489 section 6.2.1


class ProbeConnection(Protocol):
    """The interface that all transports share.

    Attributes:
        closing_releases: whether the server drops an allocation with the connection, as it does on TCP and TLS.
    """

    closing_releases: bool

    async def exchange(self, request: tuple[bytes, bytes], credentials: Credentials | None = None) -> StunResponse:
        """Send a request (transaction id, message) and wait, as long as the caller lets it, for its response.

        Raises:
            OSError, EOFError: the connection is refused or gone.
        """

    def close(self) -> None:
        """Close it at once."""


class _Stream:
    closing_releases = True

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exchange(self, request: tuple[bytes, bytes], credentials: Credentials | None = None) -> StunResponse:
        transaction, message = request
        self._writer.write(message)
        while True:
            header = await self._reader.readexactly(stun.HEADER.size)
            try:
                size = stun.length(header)
            except stun.MalformedError as error:
                raise ConnectionError("no STUN server answers") from error
            response = _decoded(header + await self._reader.readexactly(size), credentials)
            if response and response.transaction == transaction:
                return response

    def close(self) -> None:
        with suppress(AttributeError):  # Python 3.11.2 cannot abort a TLS transport that the server has closed
            self._writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    closing_releases = False

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._incoming: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # not by inheritance in Python 3.11

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's signature; it is connected
        self._incoming.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        self._incoming.put_nowait(exc)  # e.g. connection refused: nobody listens

    async def exchange(self, request: tuple[bytes, bytes], credentials: Credentials | None = None) -> StunResponse:
        transaction, message = request
        patience = _FIRST_RETRANSMISSION
        assert self._transport
        while True:
            self._transport.sendto(message)
            try:
                async with asyncio.timeout(patience):
                    return await self._response(transaction, credentials)
            except TimeoutError:
                patience *= 2

    async def _response(self, transaction: bytes, credentials: Credentials | None) -> StunResponse:
        while True:
            came = await self._incoming.get()
            if isinstance(came, Exception):
                raise came
            response = _decoded(came, credentials)
            if response and response.transaction == transaction:
                return response

    def close(self) -> None:
        if self._transport:
            self._transport.abort()


def _decoded(message: bytes, credentials: Credentials | None) -> StunResponse | None:
    try:
        return stun.decode(message, credentials)
    except stun.MalformedError:
        return None  # RFC 8489 section 6.3.4: malformed or unsigned messages are ignored


async def connect(transport: str, host: str, port: int) -> ProbeConnection:
    """Connect over "udp", "tcp" or "tls". Raises OSError (ssl.SSLError is one).

    The certificate is not verified: the probe goes to an address of this machine, not to the name in the certificate,
    which the certificate exporter watches.
    """
    if transport == "udp":
        loop = asyncio.get_running_loop()
        _, datagrams = await loop.create_datagram_endpoint(_Datagrams, remote_addr=(host, port))
        return datagrams
    return _Stream(*await asyncio.open_connection(host, port, ssl=_TLS if transport == "tls" else None))


_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_TLS.check_hostname = False
_TLS.verify_mode = ssl.CERT_NONE
