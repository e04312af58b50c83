"""Limits the connections of a listener: how many are open, and how long each step may take. It reads no HTTP.

Without it, any client of a port can open connections that never send a request until the process has no file
descriptor left. aiohttp waits an hour for a first request; asyncio does not limit connections, and logs each one that
it cannot accept.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from typing import TYPE_CHECKING

from aiohttp import web

from toolkit.background import cancel

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Coroutine

    from aiohttp.typedefs import Handler

_log = logging.getLogger(__name__)
REQUEST_SECONDS = 10.0  # for the TLS handshake, and again from the first byte of a request to the last of its body
IDLE_SECONDS = 75.0  # between two requests; Prometheus scrapes every 15 to 60 s over one connection
STALLED_SECONDS = 30.0  # during which a client reads nothing of an answer
_LOG_EVERY = 60.0  # seconds between two log lines about the same problem
_PAUSE = 0.2  # seconds before accepting again after it failed
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LEAST = 4  # connections of a listener, even if the limit of open files is very low
_NEVER = float("inf")


def shares(wanted: list[int], reserved: int) -> list[int]:
    """Divide the file descriptors of the process among its listeners.

    Args:
        wanted: connections that each listener asks for.
        reserved: open files that the program needs for itself.

    Returns the connections of each listener: what it asked for, or its proportional share if there are too few.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    total = sum(wanted)
    if limit == resource.RLIM_INFINITY or limit - reserved >= total:
        return wanted
    return [max(_LEAST, (limit - reserved) * each // total) for each in wanted]


class Connections:
    """The connections of one listener, from their acceptance to their end.

    At the limit, a new connection replaces the one that has waited longest for its client. A connection with a request
    being answered is never closed for a new one.

    Args:
        name: of the listener in the log, e.g. "http://127.0.0.1:9871".
        serve: makes the protocol that answers one connection.
        tls: returns the TLS context of a new connection, None for plain HTTP; called for each, so it may change.
        most: returns the present limit; called for each connection, since the limit of open files may change.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[], asyncio.Protocol],
        tls: Callable[[], ssl.SSLContext | None],
        most: Callable[[], int],
    ) -> None:
        self._name, self._serve, self._tls, self._most = name, serve, tls, most
        self._open: set[_Connection] = set()
        self._by_handler: dict[object, _Connection] = {}
        # Connections that wait for their client to act, the longest waiting first.
        self._waiting: dict[_Connection, None] = {}
        self._listeners: list[socket.socket] = []
        self._room_made = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._logged: dict[str, float] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep the connection of a request that is being answered, once its body has arrived."""
        connection = self._by_handler.get(request.protocol)
        if connection is None:  # it is gone already
            return await handler(request)
        request.content.on_eof(connection.received)
        try:
            return await handler(request)
        finally:
            connection.answered()

    def listen(self, listener: socket.socket) -> None:
        """Accept connections from now on, until `close`; the socket is closed then."""
        listener.setblocking(False)  # noqa: FBT003 - its only argument
        self._listeners.append(listener)
        self._start(self._accept(listener))

    def close(self) -> None:
        """Stop accepting, and close connections that are still in their handshake; the others stay open."""
        for listener in self._listeners:
            # Before it is closed: another file may soon get the same descriptor number.
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        for task in self._tasks:
            task.cancel()

    async def closed(self) -> None:
        """Wait until accepting and the handshakes have ended."""
        await cancel(*self._tasks)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._say(f"cannot accept connections: {error.strerror}; raise LimitNOFILE if this lasts")
                    self._give_up_oldest()
                    await asyncio.sleep(_PAUSE)
                continue  # any other error is one client that left before it was accepted
            try:
                await self._room()
            except asyncio.CancelledError:
                accepted.close()
                raise
            connection = _Connection(self)
            self._open.add(connection)
            connection.task = self._start(self._attend(connection, accepted))
            await asyncio.sleep(0)  # a burst of connections must not block other work

    async def _room(self) -> None:
        while len(self._open) >= (most := self._most()):
            self._say(f"all {most} connections are in use: those that wait longest for their client are closed")
            if not self._give_up_oldest():
                self._room_made.clear()
                await self._room_made.wait()

    def _give_up_oldest(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        oldest.abort()
        self.gone(oldest)  # asyncio says so a turn later
        return True

    async def _attend(self, connection: _Connection, accepted: socket.socket) -> None:
        """Complete one connection's handshake and hand it to its protocol, or close it."""
        loop = asyncio.get_running_loop()
        tls = self._tls()
        timeouts = {"ssl_handshake_timeout": REQUEST_SECONDS, "ssl_shutdown_timeout": _PAUSE} if tls else {}
        try:
            accepted.setblocking(False)  # noqa: FBT003 - as above
            connection.handler = self._serve()
            self._by_handler[connection.handler] = connection
            await loop.connect_accepted_socket(lambda: connection, accepted, ssl=tls, **timeouts)
        except OSError:  # not TLS, a handshake that failed or took too long, a client that left
            self.gone(connection)
        except BaseException:
            self.gone(connection)
            raise
        finally:
            connection.task = None
            if connection not in self._open:
                accepted.close()

    def waits(self, connection: _Connection) -> None:
        """Note that a connection waits for its client: a new connection may now replace it."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None
        self._room_made.set()

    def acts(self, connection: _Connection) -> None:
        """Note that a request is being answered: no new connection may replace this one."""
        self._waiting.pop(connection, None)

    def gone(self, connection: _Connection) -> None:
        """Forget a connection, which frees its place."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._by_handler.pop(connection.handler, None)
        self._room_made.set()

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _say(self, trouble: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._logged.get(trouble, -_LOG_EVERY) >= _LOG_EVERY:
            self._logged = {trouble: now}
            _log.warning("%s", trouble, extra={"url": self._name})


class _Connection(asyncio.Protocol):
    """One connection: passes everything to the protocol that answers, and enforces the time limits.

    Attributes:
        handler: that protocol.
        task: the handshake, until it is done.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._due = _NEVER  # the loop's time at which it is closed
        self._timer: asyncio.TimerHandle | None = None  # looks no later than that
        self._stalled: asyncio.TimerHandle | None = None
        self._idle = False
        self.handler: asyncio.Protocol | None = None
        self.task: asyncio.Task[None] | None = None
        connections.waits(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        assert self.handler is not None
        self._transport = transport
        self._wait(REQUEST_SECONDS)
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        assert self.handler is not None
        if self._idle:
            self._idle = False
            self._wait(REQUEST_SECONDS)
        self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        assert self.handler is not None
        return self.handler.eof_received()

    def pause_writing(self) -> None:
        assert self.handler is not None
        self._stalled = asyncio.get_running_loop().call_later(STALLED_SECONDS, self.abort)
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        assert self.handler is not None
        if self._stalled:
            self._stalled.cancel()
        self.handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.handler is not None
        for timer in (self._timer, self._stalled):
            if timer:
                timer.cancel()
        self._connections.gone(self)
        self.handler.connection_lost(exc)

    def received(self) -> None:
        """Note that a whole request has arrived."""
        self._idle = False
        self._due = _NEVER
        self._connections.acts(self)

    def answered(self) -> None:
        """Note that the request has been answered: the connection waits for its client."""
        if self._transport is not None and not self._transport.is_closing():
            self._idle = True
            self._wait(IDLE_SECONDS)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        elif self.task is not None:
            self.task.cancel()

    def _wait(self, seconds: float) -> None:
        """Give the client so long for its next step. A timer that looks early enough stays: a new one costs CPU."""
        self._due = asyncio.get_running_loop().time() + seconds
        if self._timer is None or self._due < self._timer.when():
            self._look_at(self._due)
        self._connections.waits(self)

    def _look_at(self, due: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        assert self._timer is not None
        looked, self._timer = self._timer.when(), None
        if self._due <= looked:
            self.abort()
        elif self._due < _NEVER:
            self._look_at(self._due)
