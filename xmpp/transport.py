"""Carries XML elements to and from an XMPP server, over WebSocket or over TCP with STARTTLS; it knows no sessions.

Both transports can also die the two ways a phone does: `abort` (the connection breaks, the server sees it at
once) and `silence` (the socket stays, nothing is read or answered any more, the server has to find out).
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast
from xml.etree import ElementTree as ET  # the lab's own server is the only peer, nothing hostile is parsed

import aiohttp

from exporters.prosody.client import split_half_tag

CLIENT = "jabber:client"
STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
_ENVELOPE = f"<stream:stream xmlns:stream='{STREAMS}' xmlns='{CLIENT}'>"


class XmppError(Exception):
    """An operation failed; the message says which one and why, in one line and without addresses."""


class ConnectionEndedError(XmppError):
    """The connection is gone, whoever ended it."""


@dataclass(frozen=True)
class Endpoints:
    """Where one XMPP server listens. `tls_ca` None means its certificate is not verified."""

    domain: str
    websocket_url: str
    tcp_host: str
    tcp_port: int
    tls_ca: Path | None = None


class Transport(Protocol):
    """One connection that carries whole elements in order."""

    name: str

    async def open(self, domain: str) -> ET.Element:
        """Open the stream, or reopen it after authentication, and return the server's `<stream:features/>`."""

    async def send(self, text: str) -> None:
        """Send one element. Raises ConnectionEndedError."""

    async def receive(self) -> ET.Element | None:
        """Return the next element, or None once the server has closed its stream. Raises ConnectionEndedError."""

    async def send_close(self) -> None:
        """Say that this side's stream is at its end (RFC 6120 4.4, RFC 7395 3.6)."""

    async def close(self) -> None:
        """End the connection and let go of its resources."""

    def abort(self) -> None:
        """Break the connection with a TCP reset: no close element, no close frame, no FIN."""

    def silence(self) -> None:
        """Keep the socket but read nothing any more."""


class ElementStream:
    """Cuts the bytes of one XML stream into its first-level elements."""

    def __init__(self) -> None:
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
        self._half_tag = b""
        self._depth = 0
        self._root: ET.Element | None = None
        self.ended = False

    def feed(self, data: bytes | str) -> list[ET.Element]:
        """Return the elements that `data` completed. Raises ConnectionEndedError if it is not XML."""
        complete: list[ET.Element] = []
        data = data.encode() if isinstance(data, str) else data
        whole, self._half_tag = split_half_tag(self._half_tag + data)
        try:
            self._parser.feed(whole)
            for event, element in cast("list[tuple[str, ET.Element]]", list(self._parser.read_events())):
                if event == "start":
                    self._depth += 1
                    if self._root is None:
                        self._root = element
                    continue
                self._depth -= 1
                if self._depth == 1 and self._root is not None:
                    complete.append(element)
                    self._root.clear()  # a stream's root never ends by itself: let its children go
                elif self._depth == 0:
                    self.ended = True
        except ET.ParseError as error:
            raise ConnectionEndedError(f"the server sent malformed XML: {error}") from error
        return complete


def parse_frame(text: str) -> ET.Element | None:
    """Parse one WebSocket message (RFC 7395 3.3); None for Prosody's whitespace keepalive.

    A stream error arrives with an undeclared `stream:` prefix, so every message is read inside a stream header.
    """
    elements = ElementStream().feed(f"{_ENVELOPE}{text}</stream:stream>")
    return elements[0] if elements else None


class WebSocketTransport:
    """XMPP over WebSocket (RFC 7395), one element a message."""

    name = "websocket"

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        # aiohttp has no public way to a websocket's transport, and a reset cannot be had without it
        self._response = socket._response  # noqa: SLF001
        connection = self._response.connection
        self._tcp = connection.transport if connection else None

    @classmethod
    async def connect(cls, server: Endpoints, http: aiohttp.ClientSession) -> "WebSocketTransport":
        """Connect and negotiate the `xmpp` subprotocol. Raises XmppError."""
        try:
            connection = await http.ws_connect(
                server.websocket_url,
                protocols=("xmpp",),
                compress=0,
                ssl=tls_context(server.tls_ca) if server.websocket_url.startswith("wss:") else True,
                server_hostname=server.domain if server.websocket_url.startswith("wss:") else None,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise XmppError(f"websocket connection failed: {error}") from error
        if connection.protocol != "xmpp":
            await connection.close()
            raise XmppError("the server did not accept the websocket subprotocol xmpp")
        return cls(connection)

    async def open(self, domain: str) -> ET.Element:
        """See Transport."""
        await self.send(f"<open xmlns='{FRAMING}' to='{domain}' version='1.0'/>")
        if (header := await self.receive()) is None or header.tag != f"{{{FRAMING}}}open":
            raise XmppError("the server did not open its stream")
        return await _features(self)

    async def send(self, text: str) -> None:
        """See Transport."""
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionEndedError(f"websocket: {error}") from error

    async def receive(self) -> ET.Element | None:
        """See Transport."""
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionEndedError(f"websocket: {message.type.name.lower()} {self._socket.close_code or ''}")
            element = parse_frame(message.data)
            if element is None:
                continue
            return None if element.tag == f"{{{FRAMING}}}close" else element

    async def send_close(self) -> None:
        """See Transport."""
        await self.send(f"<close xmlns='{FRAMING}'/>")

    async def close(self) -> None:
        """See Transport."""
        await self._socket.close()

    def abort(self) -> None:
        """See Transport."""
        _reset(self._tcp)
        self._response.close()

    def silence(self) -> None:
        """See Transport."""
        if isinstance(self._tcp, asyncio.Transport):
            self._tcp.pause_reading()


class TcpTransport:
    """XMPP over TCP with STARTTLS (RFC 6120)."""

    name = "tcp"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._tcp = writer.transport  # stays the socket's own once TLS lies on top of it
        self._stream = ElementStream()
        self._arrived: deque[ET.Element] = deque()

    @classmethod
    async def connect(cls, server: Endpoints) -> "TcpTransport":
        """Connect and negotiate TLS. Raises XmppError."""
        try:
            reader, writer = await asyncio.open_connection(server.tcp_host, server.tcp_port)
        except OSError as error:
            raise XmppError(f"tcp connection failed: {error}") from error
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
            raise XmppError("the server offers no STARTTLS")
        await self.send(f"<starttls xmlns='{TLS}'/>")
        if (answer := await self.receive()) is None or answer.tag != f"{{{TLS}}}proceed":
            raise XmppError("the server refused STARTTLS")
        try:
            await self._writer.start_tls(tls_context(server.tls_ca), server_hostname=server.domain)
        except OSError as error:  # ssl.SSLError among them
            raise XmppError(f"TLS handshake failed: {error}") from error

    async def open(self, domain: str) -> ET.Element:
        """See Transport."""
        self._stream = ElementStream()
        self._arrived.clear()
        await self.send(
            "<?xml version='1.0'?>"
            f"<stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAMS}' to='{domain}' version='1.0'>"
        )
        return await _features(self)

    async def send(self, text: str) -> None:
        """See Transport."""
        try:
            self._writer.write(text.encode())
            await self._writer.drain()
        except OSError as error:
            raise ConnectionEndedError(f"tcp: {error}") from error

    async def receive(self) -> ET.Element | None:
        """See Transport."""
        while not self._arrived:
            if self._stream.ended:
                return None
            try:
                data = await self._reader.read(65536)
            except OSError as error:
                raise ConnectionEndedError(f"tcp: {error}") from error
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
        _reset(self._tcp)

    def silence(self) -> None:
        """See Transport."""
        self._tcp.pause_reading()  # type: ignore[attr-defined]  # typeshed calls a socket's transport a WriteTransport


def tls_context(authority: Path | None) -> ssl.SSLContext:
    """Return a client context that trusts `authority` alone, or everybody if it is None."""
    context = ssl.create_default_context(cafile=authority)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _features(transport: Transport) -> ET.Element:
    features = await transport.receive()
    if features is None or features.tag != f"{{{STREAMS}}}features":
        found = "the end of the stream" if features is None else describe_error(features)
        raise XmppError(f"expected stream features, got {found}")
    return features


def describe_error(element: ET.Element) -> str:
    """Name an element by its local name and the defined condition inside it, as in `failure (not-authorized)`."""
    conditions = [local_name(child) for child in element.iter() if child is not element]
    inner = next((name for name in conditions if name not in ("error", "text")), None)
    return f"{local_name(element)} ({inner})" if inner else local_name(element)


def local_name(element: ET.Element) -> str:
    """Return the tag without its namespace."""
    return element.tag.rpartition("}")[2]


def _reset(transport: asyncio.BaseTransport | None) -> None:
    if not isinstance(transport, asyncio.WriteTransport):
        return
    # One over TLS that is closing cannot even tell its socket.
    raw = None if transport.is_closing() else transport.get_extra_info("socket")
    if raw is not None:
        # A linger time of zero makes the kernel send RST where it would send FIN (socket(7)).
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(AttributeError):  # Python 3.11.2 cannot abort a TLS transport that is closed already
        transport.abort()
