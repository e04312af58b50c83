"""Reserves free TCP ports on 127.0.0.1 for as long as a lab lives; it listens on none of them."""

from __future__ import annotations

import socket


class Ports:
    """Ports that nobody else is given, before, between and after a server's use of them.

    Each is held by a socket that is bound with SO_REUSEADDR and never listens. The kernel then hands the port to no
    one who asks for a free port or connects outwards, while a server that names the port and sets SO_REUSEADDR too, as
    all of ours do, may listen on it. So there is no moment between "found free" and "in use" to lose it.
    """

    def __init__(self) -> None:
        self._holders: list[socket.socket] = []

    def reserve(self) -> int:
        """Return a free port number, reserved until `release`."""
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        self._holders.append(holder)
        port: int = holder.getsockname()[1]
        return port

    def release(self) -> None:
        """Give all ports back."""
        while self._holders:
            self._holders.pop().close()
