"""XMPP over TCP with STARTTLS (RFC 6120)."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from xmpp.elements import CLIENT, STREAMS, ElementStream
from xmpp.errors import ConnectionEndedError, TlsError, XmppError
from xmpp.transport import Endpoints, connection_failure, features_of, lap, reset

TLS = "urn:ietf:params:xml:ns:xmpp-tls"


class TcpTransport:
    """One TCP connection with TLS."""

    name = "tcp"
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._tcp = writer.transport  # stays the socket's own once TLS lies on top of it
        self._stream = ElementStream()
        self._arrived: deque[ET.Element] = deque()  # of one read, so bounded by it

    @classmethod
    async def connect(cls, server: Endpoints) -> "TcpTransport":
        """Connect and negotiate TLS. Raises XmppError."""
        try:
            reader, writer = await asyncio.open_connection(server.tcp_host, server.tcp_port)
        except OSError as error:
            raise connection_failure("tcp", error) from error
        lap("tcp")
        transport = cls(reader, writer)
        try:
            await transport._start_tls(server)
        except BaseException:
            transport.abort()
            raise
        return transport

    async def _start_tls(self, server: Endpoints) -> None:
        features = await self.open(server.domain)
        if features.find(f"{{{TLS}}}starttls") is None:
            raise TlsError("the server offers no STARTTLS")
        await self.send(f"<starttls xmlns='{TLS}'/>")
        if (answer := await self.receive()) is None or answer.tag != f"{{{TLS}}}proceed":
            raise TlsError("the server refused STARTTLS")
        if server.tls is None:
            raise XmppError("a connection over TCP needs a TLS context")
        try:
            await self._writer.start_tls(server.tls, server_hostname=server.domain)
        except OSError as error:  # ssl.SSLError among them
            raise TlsError(f"TLS handshake failed: {connection_failure('tcp', error)}") from error
        lap("tls")

    async def open(self, domain: str) -> ET.Element:
        """See Transport."""
        self._stream = ElementStream()
        self._arrived.clear()
        await self.send(
            "<?xml version='1.0'?>"
            f"<stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAMS}' to={quoteattr(domain)} version='1.0'>"
        )
        return await features_of(self)

    async def send(self, text: str) -> None:
        """See Transport."""
        try:
            self._writer.write(text.encode())
            await self._writer.drain()
        except OSError as error:
            raise ConnectionEndedError("tcp: the connection is gone") from error

    async def receive(self) -> ET.Element | None:
        """See Transport."""
        while not self._arrived:
            if self._stream.ended:
                return None
            try:
                data = await self._reader.read(65536)
            except OSError as error:
                raise ConnectionEndedError("tcp: the connection is gone") from error
            if not data:
                raise ConnectionEndedError("tcp: the server closed the connection")
            self._arrived.extend(self._stream.feed(data))
        return self._arrived.popleft()

    async def send_close(self) -> None:
        """See Transport."""
        await self.send("</stream:stream>")

    async def close(self) -> None:
        """See Transport."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """See Transport."""
        reset(self._tcp)

    def silence(self) -> None:
        """See Transport."""
        self._tcp.pause_reading()  # type: ignore[attr-defined]  # typeshed calls a socket's transport a WriteTransport
