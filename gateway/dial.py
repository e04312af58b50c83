"""Finds a provider's addresses and connects to the one that answers first. `http2` speaks the protocol."""

from __future__ import annotations

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohappyeyeballs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohappyeyeballs import AddrInfoType

    from gateway.http2 import Connection

STAGGER = 0.25  # seconds until the next address is tried beside one that has not answered (RFC 8305, 5)


class NoHttp2Error(OSError):
    """The peer speaks TLS, but did not choose HTTP/2 (ALPN h2): it is not the provider but something in between."""


@dataclass(frozen=True)
class Endpoint:
    """Where a provider listens.

    Args:
        host: its name or address.
        port: its TCP port.
        timeout: seconds for the name lookup, and as many for the connection: half for TCP to any address, half for TLS
            and SETTINGS.
    """

    host: str
    port: int
    timeout: float


class Dialer:
    """Connects to one endpoint, again and again. Addresses that worked are tried first, those that failed last.

    Args:
        endpoint: where to.
        context: TLS settings with ALPN h2.
    """

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        self._endpoint = endpoint
        self._context = context
        self._rank: dict[object, int] = {}  # by address; an address that is missing ranks 0
        # Each provider has its own resolver thread, so that one lookup that hangs does not hold up the other.
        self._resolver = ThreadPoolExecutor(1, thread_name_prefix="resolve")

    def close(self) -> None:
        """Give up a name lookup under way."""
        self._resolver.shutdown(wait=False, cancel_futures=True)

    async def connect(self, make: Callable[[], Connection]) -> Connection:
        """Return a connection that has received its peer's SETTINGS.

        Args:
            make: called for each address that accepts TCP.

        Raises:
            OSError: no address answered as HTTP/2 over trusted TLS. socket.gaierror, ssl.SSLError, TimeoutError and
                NoHttp2Error are OSErrors.
        """
        addresses = sorted(await self._resolve(), key=lambda info: self._rank.get(info[4], 0))
        while True:
            patience = self._endpoint.timeout / 2
            stagger = min(STAGGER, patience / (len(addresses) + 1))  # every address gets its turn
            async with asyncio.timeout(patience):
                opened = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=stagger)
            peer = opened.getpeername()
            try:
                connection = await self._greet(make(), opened)
            except OSError:
                self._rank[peer] = 1
                addresses = [info for info in addresses if info[4] != peer]
                if not addresses:
                    raise
            else:
                self._rank = {peer: -1, **{address: rank for address, rank in self._rank.items() if rank > 0}}
                return connection

    async def _greet(self, connection: Connection, opened: socket.socket) -> Connection:
        """Start TLS and HTTP/2.

        Raises:
            OSError: see `connect`.
        """
        try:
            async with asyncio.timeout(self._endpoint.timeout / 2):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    sock=opened,
                    ssl=self._context,
                    server_hostname=self._endpoint.host,
                    ssl_shutdown_timeout=1.0,
                )
                _check_protocol(transport)
                await connection.ready
        except BaseException:
            connection.close()
            raise
        return connection

    async def _resolve(self) -> Sequence[AddrInfoType]:
        """Return the endpoint's addresses.

        Raises:
            socket.gaierror: none, or the resolver does not answer.
        """
        host, port = self._endpoint.host, self._endpoint.port
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                return await asyncio.get_running_loop().run_in_executor(self._resolver, _addresses, host, port)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "the resolver does not answer") from None


def _addresses(host: str, port: int) -> list[AddrInfoType]:
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _check_protocol(transport: asyncio.Transport) -> None:
    """Raise NoHttp2Error unless the peer chose HTTP/2."""
    if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
        raise NoHttp2Error("the peer did not choose HTTP/2 (ALPN h2)")


def reason(error: OSError) -> str:
    """Return one of `metrics.CONNECT_REASONS` for what `Dialer.connect` raised."""
    match error:
        case socket.gaierror():
            return "dns"
        case NoHttp2Error():
            return "no_http2"
        case ssl.SSLError():
            return "tls"
        case TimeoutError():
            return "connect_timeout"
        case ConnectionRefusedError():
            return "connect_refused"
    return "connect_other"
