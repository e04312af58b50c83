"""The interface of a connection to an XMPP server; `websocket` and `tcp` implement it.

Both can also fail in the two ways of a phone: `abort` breaks the connection, and the server sees it at once; `silence`
keeps the socket but reads and answers nothing, and the server has to find out.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from asyncio import sslproto
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree as ET

from xmpp.elements import STREAMS, describe_error
from xmpp.errors import ConnectionEndedError, NameNotFoundError, ProtocolError, RefusedError, TlsError, XmppError

# asyncio gives each TLS connection 256 kB to read into, used or not. A TLS record, the most that a read gives, has 16.
sslproto.SSLProtocol.max_size = 16 * 1024


@dataclass(frozen=True)
class Endpoints:
    """Where one XMPP server listens.

    Args:
        domain: the XMPP domain, to which streams are addressed.
        websocket_url: ws:// or wss://; "" if it is not reached over WebSocket.
        tcp_host: where it listens for TCP with STARTTLS.
        tcp_port: the port there.
        tls: made by `trusting` or `unverified`, once and not for each connection: to load the system's certificates
            takes tens of milliseconds. None for a server that is reached over ws:// only.
        server_name: the name its certificate must have over WebSocket; "" for the domain.
        headers: sent with the WebSocket handshake.
    """

    domain: str
    websocket_url: str
    tcp_host: str = ""
    tcp_port: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """One connection that carries whole elements in order.

    Attributes:
        name: "websocket" or "tcp".
        headers: of the HTTP answer that opened it; empty over TCP.
    """

    name: str
    headers: Mapping[str, str]

    async def open(self, domain: str) -> ET.Element:
        """Open the stream, or reopen it after authentication, and return the server's `<stream:features/>`."""

    async def send(self, text: str) -> None:
        """Send one element. Raises ConnectionEndedError."""

    async def receive(self) -> ET.Element | None:
        """Return the next element, or None once the server has closed its stream.

        Raises:
            ConnectionEndedError: the connection is gone.
            ProtocolError: the data is no XML element, or too large.
        """

    async def send_close(self) -> None:
        """Close this side's stream (RFC 6120 4.4, RFC 7395 3.6)."""

    async def close(self) -> None:
        """End the connection and free its resources."""

    def abort(self) -> None:
        """Break the connection with a TCP reset: no close element, no close frame, no FIN."""

    def silence(self) -> None:
        """Keep the socket open but stop reading. Raises ConnectionEndedError if it is gone already."""


class Stopwatch:
    """How long each stage of a login took; a stage ends where the next one begins.

    Attributes:
        seconds: by stage, in the order in which they came.
    """

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self.began = self._last = self._clock()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """End a stage now."""
        now = self._clock()
        self.seconds[stage] = now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds from the beginning to the end of the last stage."""
        return self._last - self.began


# The stopwatch of this task's login: callbacks from inside aiohttp and ssl have no other way to find it.
WATCH: ContextVar[Stopwatch | None] = ContextVar("WATCH", default=None)


def lap(stage: str) -> None:
    """End a stage of this task's login, if it is measured."""
    if (watch := WATCH.get()) is not None:
        watch.lap(stage)


class _TimedContext(ssl.SSLContext):
    """Ends the stage "tcp" of a login when the handshake begins: only the context sees that moment."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:  # noqa: ANN401 - passed through
        lap("tcp")
        return super().wrap_bio(*args, **kwargs)


def trusting(authority: Path | None = None) -> ssl.SSLContext:
    """Return a client context that trusts `authority` alone, or the system's certificates.

    Raises OSError (ssl.SSLError is one) if the file cannot be used.
    """
    context = _TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(authority)
    return context


def unverified() -> ssl.SSLContext:
    """Return a client context that trusts everybody; for the lab only."""
    context = _TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connection_failure(kind: str, error: OSError) -> XmppError:
    """Return the typed error for a connection that could not be made; without the address, which is the caller's."""
    if isinstance(error, ssl.SSLError):
        cause = getattr(error, "verify_message", "") or error.reason or "handshake failed"
        return TlsError(f"{kind} connection failed: TLS: {str(cause).lower().replace('_', ' ')}")
    if isinstance(error, socket.gaierror):
        return NameNotFoundError(f"{kind} connection failed: the name cannot be resolved")
    if isinstance(error, ConnectionResetError):
        return ConnectionEndedError(f"{kind} connection failed: the server broke it")
    cause = error.strerror or "no address answers"
    return RefusedError(f"{kind} connection failed: {_without_address(cause)}")


def _without_address(text: str) -> str:
    """Shorten "Connect call failed ('127.0.0.1', 5280)", as asyncio words it, and what names several addresses."""
    return "connection refused" if "Connect call failed" in text else text.partition(" (")[0].lower()


async def features_of(transport: Transport) -> ET.Element:
    """Return the features the server sends next. Raises ProtocolError if it sends something else."""
    features = await transport.receive()
    if features is None or features.tag != f"{{{STREAMS}}}features":
        found = "the end of the stream" if features is None else describe_error(features)
        raise ProtocolError(f"expected stream features, got {found}")
    return features


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Break a connection with a TCP reset, if its socket is still known."""
    if not isinstance(transport, asyncio.WriteTransport):
        return
    # A TLS transport that is closing no longer gives its socket.
    raw = None if transport.is_closing() else transport.get_extra_info("socket")
    if raw is not None:
        # A linger time of zero makes the kernel send RST where it would send FIN (socket(7)).
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(AttributeError):  # Python 3.11.2 cannot abort a TLS transport that is closed already
        transport.abort()
