"""Keeps one HTTP/2 connection to a provider open, and queues the requests that wait for it.

It does not know what a push is and does not retry a request: see `handler`.

A connection is in doubt when it has given no answer for a while although requests wait for one, also after a GOAWAY,
or when it has had no free stream for a while. Answered PINGs do not help: a proxy that has lost its back end answers
them forever. New requests then go to a new connection. If the new one gets an answer and the old one still has none a
moment later, the old one is deaf: its requests are sent again on the new one. If no new request comes, the oldest
request of the old connection is sent on the new one too. Only that push may arrive twice, if the provider was slow.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from gateway import dial
from gateway.exchange import Carrier, Compose, End, Exchange, LostError, Response
from gateway.http2 import Connection
from gateway.timing import call_at

if TYPE_CHECKING:
    import ssl

    from gateway.metrics import HandlerMetrics
    from gateway.timing import Timing

RECONNECT_FIRST = 0.1  # seconds; doubled after every failure, up to the next
RECONNECT_MOST = 2.0
CALM = 5.0  # seconds before connecting again to a peer that asked for calm (RFC 9113, 7: ENHANCE_YOUR_CALM)
LIVED = 10.0  # seconds; after a connection that lasted this long, the next one is made without a pause
VERDICT = 0.2  # seconds; a slow provider answers on both connections at once, and the new one may be read first
PATIENCE_LEAST = 2.0  # seconds without an answer before any connection is in doubt
CONNECTIONS = 4  # at most this many at a time: the current one and those that finish or are in doubt
_DOUBT = ("no_answer", "no_room")
_NEVER = float("inf")

_log = logging.getLogger(__name__)


class Channel:
    """Requests to one provider.

    Args:
        endpoint: where it listens.
        context: TLS settings with ALPN h2.
        metrics: the handler's.
        timing: when to check that a connection is alive.
    """

    def __init__(
        self, endpoint: dial.Endpoint, context: ssl.SSLContext, metrics: HandlerMetrics, timing: Timing
    ) -> None:
        self._endpoint = endpoint
        self._context = context
        self._metrics = metrics
        self._timing = timing
        self._current: Connection | None = None
        self._all: set[Connection] = set()
        self._doubted: dict[Connection, float] = {}  # and the loop's time since when
        self._doubts = 0  # since the last answer
        self._answered_at = 0.0
        self._newest = 0.0  # when the newest connection that has answered was opened
        self._verdict: asyncio.TimerHandle | None = None
        self._urgent: dict[Exchange, None] = {}
        self._others: dict[Exchange, None] = {}
        self._reason = "no_connection"
        self._timer: asyncio.TimerHandle | None = None
        self._due = _NEVER  # when the timer looks

    @property
    def opened(self) -> float | None:
        """The loop's time since which there is a live connection, None without one."""
        return self._current.opened if self._current is not None and self._current.accepting else None

    @property
    def in_doubt(self) -> bool:
        """True from the moment at which a connection was put in doubt until the next answer."""
        return self._doubts > 0

    async def run(self) -> None:
        """Keep one connection warm until cancelled, which closes all connections."""
        loop = asyncio.get_running_loop()
        pause = RECONNECT_FIRST
        dialer = dial.Dialer(self._endpoint, self._context)
        try:
            while True:
                if await self._connect(dialer) and self._current is not None:
                    connection = self._current
                    end = await connection.leaving
                    self._log_end(end)
                    lived = loop.time() - connection.opened
                    if lived >= LIVED or connection.answered_at > connection.opened:
                        pause = RECONNECT_FIRST  # it was of use
                    if end.code == "ENHANCE_YOUR_CALM":
                        pause = max(pause, CALM)
                    elif end.reason in _DOUBT or (lived >= LIVED and end.code in ("", "NO_ERROR")):
                        continue  # the next one at once
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause = max(CALM, RECONNECT_MOST) if pause >= CALM else min(2 * pause, RECONNECT_MOST)
        finally:
            for timer in (self._timer, self._verdict):
                if timer is not None:
                    timer.cancel()
            for connection in [*self._all]:
                connection.close()
            dialer.close()

    async def request(self, compose: Compose, *, urgent: bool, deadline: float) -> tuple[Response, Carrier]:
        """Send a request as soon as there is a connection with a free stream, the urgent ones first.

        Args:
            compose: makes the request at the moment when it can be sent, so that its times are right.
            urgent: whether it goes before requests that are not urgent.
            deadline: the loop's time after which the answer is useless.

        Returns:
            The answer, and the connection that brought it.

        Raises:
            LostError: no answer by `deadline`, or none is possible.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        # A push with little time left must not wait long for a deaf connection, nor discard one that is merely slow.
        patience = min(self._timing.patience, max(PATIENCE_LEAST, (deadline - now) / 3))
        exchange = Exchange(compose, loop.create_future(), now, deadline, patience)
        queue = self._urgent if urgent else self._others
        queue[exchange] = None
        timer = call_at(deadline, self._expire, exchange)  # a third of what asyncio.timeout costs
        self.room()
        self._look_at(now + self._scale * patience)
        try:
            return await exchange.answer
        finally:
            timer.cancel()
            queue.pop(exchange, None)
            for connection in [*exchange.carriers]:
                connection.abandon(exchange)

    # For connections

    def room(self) -> None:
        """Send what can be sent."""
        connection = self._current
        if connection is None:
            return
        now = asyncio.get_running_loop().time()
        for queue in (self._urgent, self._others):
            while queue:
                exchange = next(iter(queue))
                if now >= exchange.deadline:  # the timer may come later, after the process stood still
                    self._expire(exchange)
                if exchange.waits:
                    if not connection.has_room:
                        return
                    connection.send(exchange)
                del queue[exchange]

    def answered(self, connection: Connection) -> None:
        """Learn from an answer that this connection is not deaf; older ones in doubt may be, see `_end_deaf`."""
        self._answered_at = connection.answered_at
        self._newest = max(self._newest, connection.opened)
        self._doubts = 0
        self._doubted.pop(connection, None)
        if self._doubted and self._verdict is None:
            self._verdict = call_at(asyncio.get_running_loop().time() + VERDICT, self._end_deaf)

    # Doubt

    @property
    def _scale(self) -> float:
        """Factor on the patience: doubled with each doubt that led to no answer, so that a slow peer is not flooded."""
        return 2.0**self._doubts

    def _look_at(self, due: float) -> None:
        """Set the timer to the loop's time `due`, unless it is set to an earlier time."""
        if due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = call_at(due, self._look)

    def _look(self) -> None:
        """Put connections in doubt whose patience is over."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = _NEVER
        now = asyncio.get_running_loop().time()
        self._look_at_leaving(now)
        connection = self._current
        if connection is None or not connection.accepting:
            return
        since = max(self._answered_at, connection.opened)
        deaf = connection.overdue(since, self._scale)
        full = min(
            (
                max(exchange.queued, since) + self._scale * exchange.patience
                for queue in (self._urgent, self._others)
                for exchange in queue
                if exchange.waits
            ),
            default=_NEVER,
        )
        due = min(deaf, full)
        if due > now:
            if due < _NEVER:
                self._look_at(due)
        elif len(self._all) < CONNECTIONS:
            self._doubts += 1
            connection.leave(End("no_answer" if deaf <= now else "no_room"))
            self._doubt(connection, now)
        else:
            self._look_at(now + self._timing.patience)

    def _look_at_leaving(self, now: float) -> None:
        """Do so with those that take no more requests: a peer may say GOAWAY, and then nothing any more."""
        for older in self._all - self._doubted.keys() - {self._current}:
            due = older.overdue(older.answered_at, 1.0)
            if due <= now:
                self._doubt(older, now)
                self._probe()
            elif due < _NEVER:
                self._look_at(due)

    def _doubt(self, connection: Connection, now: float) -> None:
        self._doubted[connection] = now
        connection.release_unsent()

    def _end_deaf(self) -> None:
        """Close the connections in doubt that have given no answer since, although a newer one has."""
        self._verdict = None
        for older, since in [*self._doubted.items()]:
            if older.opened < self._newest and older.answered_at < since:
                del self._doubted[older]
                _log.warning("connection to provider is deaf", extra={"provider": self._endpoint.host})
                older.close("no_answer")

    def _probe(self) -> None:
        """Send the oldest request of a connection in doubt on the current one, too, if nothing else was sent there."""
        connection = self._current
        if connection is None or connection.awaited or not connection.has_room:
            return
        waiting = [exchange for older in self._doubted for exchange in older.awaited]
        if waiting:
            connection.send(waiting[0])

    # The rest

    def _expire(self, exchange: Exchange) -> None:
        if exchange.waits:
            reason = "no_answer" if exchange.sent else "no_stream" if self.opened is not None else self._reason
            exchange.answer.set_exception(LostError(reason, sent=exchange.sent))

    async def _connect(self, dialer: dial.Dialer) -> bool:
        """Make a new connection current; returns whether there is one."""
        try:
            connection = await dialer.connect(lambda: Connection(self, self._timing))
        except OSError as error:
            self._reason = dial.reason(error)
            _log.warning(
                "cannot connect to provider",
                extra={"provider": self._endpoint.host, "reason": self._reason, "error": str(error)},
            )
            self._metrics.connection_failures[self._reason] += 1
            return False
        self._current = connection
        self._all.add(connection)
        connection.gone.add_done_callback(lambda _: self._forget(connection))
        _log.info("connected to provider", extra={"provider": self._endpoint.host})
        self._metrics.connections += 1
        self.room()
        self._probe()
        self._look()
        return True

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._doubted.pop(connection, None)

    def _log_end(self, end: End) -> None:
        extra = {"provider": self._endpoint.host, "reason": end.reason}
        if end.code:
            extra |= {"code": end.code, "said": end.said}
        _log.info("connection to provider ended", extra=extra)
