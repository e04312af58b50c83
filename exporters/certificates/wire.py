"""One TCP connection of a probe, without asyncio's streams.

A probe sends and reads a few messages in turn. The buffers, the flow control and the callbacks of a stream would cost
it more CPU than what it does with them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import aiohappyeyeballs

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from aiohappyeyeballs import AddrInfoType

_STAGGER = 0.25  # seconds until the next address is tried beside one that has not answered (RFC 8305, 5)


class Wire:
    """A connection.

    Args:
        connected: a non-blocking socket.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, addresses: Sequence[AddrInfoType]) -> Self:
        """Connect to the first of these addresses that accepts. Raises OSError."""
        return cls(await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_STAGGER))

    async def read(self, limit: int) -> bytes:
        """Return what has come, at most so many bytes; empty at the end. Raises OSError."""
        return await self._loop.sock_recv(self._socket, limit)

    async def write(self, data: bytes) -> None:
        """Send all of it, or as much as a peer that has gone leaves; the next read tells of that."""
        with suppress(OSError):
            await self._loop.sock_sendall(self._socket, data)

    def close(self, goodbye: bytes = b"") -> None:
        """Close it. The goodbye is not waited for: a hostile peer may never read it."""
        if goodbye:
            with suppress(OSError):
                self._socket.send(goodbye)
        self._socket.close()
