"""Resolves host names; one that DNS does not answer delays no other, and its lookups do not pile up."""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from toolkit.values import is_ip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohappyeyeballs import AddrInfoType

AT_ONCE = 500  # lookups; each is a thread, which hangs as long as the system's resolver does (10 s and more)


class Names:
    """Lookups by the system's resolver, each in a thread of its own: asyncio has six threads on two cores for all.

    A name that is being looked up is not looked up a second time: both callers wait for the same answer. The threads do
    not keep the program from ending.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], asyncio.Future[Sequence[AddrInfoType]]] = {}

    async def find(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """Return the addresses of a host, in the order in which to try them.

        Raises:
            socket.gaierror: the name has none, or too many other names are waiting for an answer.
        """
        if address := _of_address(host, port):
            return address
        if (found := self._running.get((host, port))) is None:
            if len(self._running) >= AT_ONCE:
                raise socket.gaierror(socket.EAI_AGAIN, "too many names wait for an answer of DNS")
            found = self._start(host, port)
        return await asyncio.shield(found)

    def _start(self, host: str, port: int) -> asyncio.Future[Sequence[AddrInfoType]]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[AddrInfoType]] = loop.create_future()
        self._running[host, port] = found

        def end(answer: Sequence[AddrInfoType] | OSError) -> None:
            self._running.pop((host, port))
            if isinstance(answer, OSError):
                found.set_exception(answer)
                found.exception()  # the one that waited may be gone
            else:
                found.set_result(answer)

        def run() -> None:
            answer: Sequence[AddrInfoType] | OSError
            try:
                answer = _look_up(host, port)
            except UnicodeError:
                answer = socket.gaierror(socket.EAI_NONAME, "no name")
            except OSError as error:
                answer = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(end, answer)

        threading.Thread(target=run, name="resolve", daemon=True).start()
        return found


@lru_cache
def _of_address(host: str, port: int) -> Sequence[AddrInfoType]:
    """Return what is known about an address without asking anybody; nothing for a name."""
    return _look_up(host, port) if is_ip(host) else ()


def _look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
