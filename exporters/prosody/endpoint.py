"""Speaks to Prosody's WebSocket endpoint (RFC 7395) as a client does before its login. It decides no time."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

# Every reason for which a connection fails, and what the operator does about it; docs/prosody.md says more.
REMEDIES = {
    "probe_refused": "nothing listens there; start Prosody, or correct the port in --prosody.websocket-url",
    "probe_unreachable": "correct the host in --prosody.websocket-url",
    "probe_tls": "give the name in its certificate with --prosody.websocket-host, and its authority with "
    "--prosody.websocket-ca",
    "probe_handshake": "is mod_websocket enabled for that host name? Name the virtual host with "
    "--prosody.websocket-host, or correct the path in --prosody.websocket-url",
    "probe_timeout": "Prosody hangs or is busy; look at its CPU",
    "probe_closed": "look at Prosody's log",
}
_FAREWELL_SECONDS = 0.2  # for the endpoint to close, too; a hung one must not hold up our own end
_FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
_CONDITION = re.compile(r"<stream:error[^>]*><([a-z-]{1,40})[ />]")  # RFC 6120, 4.9.3
_MECHANISM = re.compile(r"<mechanism[\s>]")
_BROKEN = (aiohttp.ClientError, OSError)


class EndpointError(Exception):
    """The connection failed.

    Args:
        reason: a key of REMEDIES.
        seen: what was seen of the failure, in a few words for the log.
    """

    def __init__(self, reason: str, seen: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seen = seen


class StreamError(EndpointError):
    """Prosody ended the stream with an error.

    Args:
        condition: one of RFC 6120, 4.9.3.
    """

    def __init__(self, condition: str) -> None:
        super().__init__("probe_closed", f"stream error {condition}")
        self.condition = condition


class Closed(Exception):  # noqa: N818 - it is no error
    """Prosody closed the connection in an orderly way; the answer is a new connection."""


class WebSocketConnection:
    """One connection. Each method raises EndpointError when it fails, and Closed when Prosody has closed it.

    Args:
        socket: the connection.
        timeout: seconds that an answer may take.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, timeout: float) -> None:
        self._socket = socket
        self._timeout = timeout

    async def ping(self) -> None:
        """Send a ping and wait for the pong."""
        await self._ask(self._socket.ping(b"probe"), aiohttp.WSMsgType.PONG)

    async def count_mechanisms(self, domain: str) -> int:
        """Open a stream to a domain, once for each connection, and count the SASL mechanisms that it offers."""
        # Prosody ends a stream for which it has nothing to offer.
        stream = f"<open xmlns='{_FRAMING}' to={quoteattr(domain)} version='1.0'/>"
        try:
            features = await self._ask(self._socket.send_str(stream), aiohttp.WSMsgType.TEXT)
        except StreamError as error:
            if error.condition == "undefined-condition":
                return 0
            raise
        return len(_MECHANISM.findall(features))

    async def rest(self, seconds: float) -> None:
        """Wait, and notice meanwhile when Prosody closes the connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._next()

    async def leave(self) -> None:
        """Say farewell."""
        with suppress(TimeoutError, *_BROKEN):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._socket.send_str(f"<close xmlns='{_FRAMING}'/>")

    async def _ask(self, sending: Awaitable[None], answer: aiohttp.WSMsgType) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                await sending
                while (message := await self._next()).type != answer:
                    pass
        except TimeoutError:
            raise EndpointError("probe_timeout", f"no answer in {self._timeout:g} s") from None
        except _BROKEN as error:
            raise EndpointError("probe_closed", "the connection broke") from error
        return str(message.data)

    async def _next(self) -> aiohttp.WSMessage:
        """Wait for a pong or for stream features."""
        while True:
            message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.PONG:
                    return message
                case aiohttp.WSMsgType.PING:
                    await self._socket.pong(message.data)
                case aiohttp.WSMsgType.TEXT if "<stream:features" in message.data:
                    return message
                case aiohttp.WSMsgType.TEXT if "<stream:error" in message.data:
                    condition = _CONDITION.search(message.data)
                    raise StreamError(condition[1] if condition else "without a condition")
                case aiohttp.WSMsgType.TEXT if message.data.startswith("<close"):
                    raise Closed
                case aiohttp.WSMsgType.TEXT:
                    continue
                case aiohttp.WSMsgType.CLOSE if message.data == aiohttp.WSCloseCode.OK:
                    raise Closed
                case _:
                    raise EndpointError("probe_closed", "the connection was closed")


class WebSocketEndpoint:
    """Where to connect, and how.

    Args:
        url: http(s) or ws(s).
        host: name that is sent as the HTTP Host header and as the TLS server name; "" takes the URL's.
        authority: file of the certificate authority to trust; None trusts the system's.
        timeout: seconds that a connection attempt or an answer may take.

    Raises OSError, ssl.SSLError among them, for an `authority` that cannot be read.
    """

    def __init__(self, url: str, *, host: str, authority: Path | None, timeout: float) -> None:
        self._url = url
        self._host = host
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=authority)

    @asynccontextmanager
    async def connected(self, client: aiohttp.ClientSession) -> AsyncIterator[WebSocketConnection]:
        """Connect, and close the connection when the context ends. Raises EndpointError."""
        try:
            async with asyncio.timeout(self._timeout):
                socket = await client.ws_connect(
                    self._url,
                    protocols=("xmpp",),
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_FAREWELL_SECONDS),
                    headers={"Host": self._host} if self._host else None,
                    ssl=self._tls,
                    server_hostname=self._host or None,
                )
        except (*_BROKEN, ValueError) as error:
            raise EndpointError(*self._reason(error)) from error
        try:
            if socket.protocol != "xmpp":
                raise EndpointError("probe_handshake", "it does not speak the WebSocket protocol xmpp")
            yield WebSocketConnection(socket, self._timeout)
        finally:
            await socket.close()

    def _reason(self, error: Exception) -> tuple[str, str]:
        match error:
            case TimeoutError():
                found = "probe_timeout", f"no connection in {self._timeout:g} s"
            case aiohttp.WSServerHandshakeError():
                found = "probe_handshake", f"HTTP status {error.status}"
            case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
                found = "probe_refused", "connection refused"
            case aiohttp.ClientConnectorCertificateError():
                cause = error.certificate_error
                found = "probe_tls", getattr(cause, "verify_message", "") or "certificate not trusted"
            case aiohttp.ClientSSLError() | ssl.SSLError():
                found = "probe_tls", "no TLS handshake"
            case aiohttp.ClientConnectionError() if not isinstance(error, aiohttp.ClientConnectorError):
                found = "probe_closed", "closed during the handshake"
            case _:
                found = "probe_unreachable", "no way to connect"
        return found
