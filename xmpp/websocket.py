"""XMPP over WebSocket (RFC 7395), one element a message; HTTP, TLS and framing are aiohttp's."""

import asyncio
import socket
from collections.abc import Mapping  # noqa: TC003
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from toolkit.names import Names
from xmpp.elements import MAX_ELEMENT, parse_frame
from xmpp.errors import ConnectionEndedError, NameNotFoundError, ProtocolError, TlsError, UpgradeError, XmppError
from xmpp.transport import WATCH, Endpoints, connection_failure, features_of, lap, reset

FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
_SWITCHING_PROTOCOLS = 101


def http_session(*, local_address: str | None = None, names: Names | None = None) -> aiohttp.ClientSession:
    """Return an HTTP session that opens a new connection each time and times the stages of its login.

    Args:
        local_address: to connect from; None for what the system chooses.
        names: resolves the names; None for asyncio's few threads, which a DNS that hangs occupies.
    """
    connector = aiohttp.TCPConnector(
        limit=0,
        force_close=True,  # a login connects, as a phone does
        use_dns_cache=False,
        resolver=_Resolver(names) if names else None,
        local_addr=(local_address, 0) if local_address else None,
    )
    traces = aiohttp.TraceConfig()
    traces.on_dns_resolvehost_end.append(_resolved)
    traces.on_connection_create_end.append(_connected)
    return aiohttp.ClientSession(connector=connector, trace_configs=[traces])


class _Resolver(AbstractResolver):
    """Lets `toolkit.names` resolve what aiohttp asks for."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See AbstractResolver."""
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in await self._names.find(host, port)
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """See AbstractResolver."""


async def _resolved(_: aiohttp.ClientSession, __: SimpleNamespace, ___: Any) -> None:  # noqa: ANN401 - aiohttp's
    lap("name")


async def _connected(_: aiohttp.ClientSession, __: SimpleNamespace, ___: Any) -> None:  # noqa: ANN401 - aiohttp's
    watch = WATCH.get()
    lap("tls" if watch and "tcp" in watch.seconds else "tcp")  # the TLS context has ended "tcp", if there is TLS


class WebSocketTransport:
    """One WebSocket of the subprotocol `xmpp`."""

    name = "websocket"

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = connection
        # aiohttp has no public way to a websocket's transport, which a reset needs
        self._response = connection._response  # noqa: SLF001
        inner = self._response.connection
        self._tcp = inner.transport if inner else None
        self.headers: Mapping[str, str] = self._response.headers

    @classmethod
    async def connect(cls, server: Endpoints, http: aiohttp.ClientSession) -> "WebSocketTransport":
        """Connect and negotiate the subprotocol. Raises XmppError."""
        secure = server.websocket_url.startswith("wss:")
        try:
            connection = await http.ws_connect(
                server.websocket_url,
                protocols=("xmpp",),
                headers=server.headers,
                compress=0,
                max_msg_size=MAX_ELEMENT,
                ssl=server.tls if secure and server.tls is not None else True,
                server_hostname=(server.server_name or server.domain) if secure else None,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(error) from error
        lap("upgrade")
        if connection.protocol != "xmpp":
            await connection.close()
            raise UpgradeError("the server did not accept the websocket subprotocol xmpp", _SWITCHING_PROTOCOLS)
        return cls(connection)

    async def open(self, domain: str) -> ET.Element:
        """See Transport."""
        await self.send(f"<open xmlns='{FRAMING}' to={quoteattr(domain)} version='1.0'/>")
        if (header := await self.receive()) is None or header.tag != f"{{{FRAMING}}}open":
            raise ProtocolError("the server did not open its stream")
        return await features_of(self)

    async def send(self, text: str) -> None:
        """See Transport."""
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionEndedError("websocket: the connection is gone") from error

    async def receive(self) -> ET.Element | None:
        """See Transport."""
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                code = self._socket.close_code
                if code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                    raise ProtocolError(f"the server sent an element of more than {MAX_ELEMENT} bytes")
                raise ConnectionEndedError(f"websocket: {message.type.name.lower()} {code or ''}".rstrip())
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
        reset(self._tcp)
        self._response.close()

    def silence(self) -> None:
        """See Transport."""
        if not isinstance(self._tcp, asyncio.Transport) or self._tcp.is_closing():
            raise ConnectionEndedError("websocket: the connection is gone")
        self._tcp.pause_reading()


_SAID = {
    aiohttp.ClientConnectorDNSError: (NameNotFoundError, "the name cannot be resolved"),
    aiohttp.ClientConnectorCertificateError: (TlsError, "TLS: the certificate is not trusted, or not for this name"),
    aiohttp.ServerDisconnectedError: (ConnectionEndedError, "the server broke it"),
    ConnectionResetError: (ConnectionEndedError, "the server broke it"),
}


def _failure(error: Exception) -> XmppError:
    """Return the typed error for what aiohttp raises; its own texts hold addresses."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return UpgradeError(f"websocket connection failed: HTTP status {error.status}", error.status)
    for kind, (typed, text) in _SAID.items():
        if isinstance(error, kind):
            return typed(f"websocket connection failed: {text}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return connection_failure("websocket", error.os_error)
    if isinstance(error, OSError):
        return connection_failure("websocket", error)
    return UpgradeError("websocket connection failed: the answer is not HTTP, or not a WebSocket's")
