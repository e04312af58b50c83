"""A provider always within reach: one warm HTTP/2 connection, renewed when lost, and the requests that wait for it.

It does not know what a push is and does not retry a request: see `delivery`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.exchange import Exchange, Response
from gateway.http2 import Connection, Timing

if TYPE_CHECKING:
    from gateway.metrics import HandlerMetrics

RECONNECT_FIRST = 0.1  # seconds; doubled after every failure, up to the next
RECONNECT_MOST = 2.0
LIVED = 10.0  # a connection that held this long starts the pauses anew

_log = logging.getLogger(__name__)

Compose = Callable[[], tuple[bytes, bytes]]
_Wanted = tuple[Compose, float]  # and the loop's time after which nobody does


class LateError(Exception):
    """No answer by the deadline.

    Args:
        sent: True if the request had been sent, so that nobody knows whether it was processed.
        reason: no_answer if sent; else why no connection could be made, or no_stream.
    """

    def __init__(self, *, sent: bool, reason: str) -> None:
        super().__init__(reason)
        self.sent = sent
        self.reason = reason


@dataclass(frozen=True)
class Endpoint:
    """Where a provider listens. `timeout`, in seconds: for its name, and again for TCP, TLS and SETTINGS."""

    host: str
    port: int
    timeout: float


class Channel:
    """Requests to one provider.

    Args:
        endpoint: where it listens.
        context: TLS settings with ALPN h2.
        metrics: the handler's.
        timing: when a connection is asked whether it is alive.
    """

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, metrics: HandlerMetrics, timing: Timing) -> None:
        self._endpoint = endpoint
        self._context = context
        self._metrics = metrics
        self._timing = timing
        self._current: Connection | None = None
        self._all: set[Connection] = set()
        self._urgent: dict[Exchange, _Wanted] = {}
        self._others: dict[Exchange, _Wanted] = {}
        self._reason = "no_connection"
        self._resolver: ThreadPoolExecutor | None = None

    @property
    def opened(self) -> float | None:
        """The loop's time since which there is a live connection, None without one."""
        return self._current.opened if self._current is not None and self._current.accepting else None

    async def run(self) -> None:
        """Keep one connection warm, for ever. Cancel it to close all."""
        pause = RECONNECT_FIRST
        # A resolver of its own: one provider's name that hangs must not hold up the other's.
        self._resolver = ThreadPoolExecutor(1, thread_name_prefix="resolve")
        try:
            while True:
                reason = await self._connect()
                if reason is None and self._current is not None:
                    connection = self._current
                    left = await connection.leaving
                    _log.info("connection to provider ended", extra={"provider": self._endpoint.host, "reason": left})
                    lived = asyncio.get_running_loop().time() - connection.opened
                    pause = RECONNECT_FIRST if lived >= LIVED else pause
                    if left == "goaway" and lived >= RECONNECT_FIRST:
                        continue  # a polite goodbye: the next one at once
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause = min(2 * pause, RECONNECT_MOST)
        finally:
            for connection in [*self._all]:
                connection.close()
            self._resolver.shutdown(wait=False, cancel_futures=True)

    async def request(self, compose: Compose, *, urgent: bool, deadline: float) -> tuple[Response, float]:
        """Send a request as soon as there is a connection with a free stream, the urgent ones first.

        Args:
            compose: makes the header block and the body, when they can be sent: what they say of time is true then.
            urgent: overtakes what is not.
            deadline: the loop's time at which the answer is of no use any more.

        Returns:
            The answer, and the loop's time at which the request was sent.

        Raises:
            LateError: no answer by `deadline` (the loop's time).
            LostError: sent, but its connection or stream was lost.
        """
        loop = asyncio.get_running_loop()
        exchange = Exchange(b"", b"", loop.create_future())
        queue = self._urgent if urgent else self._others
        queue[exchange] = compose, deadline
        self._pump()
        timer = loop.call_at(deadline, _expire, exchange.answer)  # a third of what asyncio.timeout costs
        try:
            response = await exchange.answer
        except TimeoutError:
            sent = exchange.opened is not None
            raise LateError(sent=sent, reason="no_answer" if sent else self._why_waiting()) from None
        finally:
            timer.cancel()
            queue.pop(exchange, None)
            if exchange.connection is not None:
                exchange.connection.abandon(exchange)
        assert exchange.opened is not None
        return response, exchange.opened

    def _pump(self) -> None:
        """Send what can be sent. Called whenever something waits or room appears."""
        connection = self._current
        if connection is None:
            return
        loop = asyncio.get_running_loop()
        for queue in (self._urgent, self._others):
            while queue:
                exchange, (compose, deadline) = next(iter(queue.items()))
                if loop.time() >= deadline:  # the timer may come later, after the process stood still
                    _expire(exchange.answer)
                if not exchange.answer.done():
                    exchange.block, exchange.body = compose()
                    if not connection.room_for(exchange):
                        return
                    connection.send(exchange)
                del queue[exchange]

    def _why_waiting(self) -> str:
        return "no_stream" if self.opened is not None else self._reason

    async def _connect(self) -> str | None:
        """Make a new connection current; returns why not, if there is none."""
        try:
            self._current = await self._open()
        except OSError as error:  # gaierror, SSLError and TimeoutError among them
            self._reason = _reason(error)
            _log.warning(
                "cannot connect to provider",
                extra={"provider": self._endpoint.host, "reason": self._reason, "error": str(error)},
            )
            self._metrics.connection_failures[self._reason] += 1
            return self._reason
        _log.info("connected to provider", extra={"provider": self._endpoint.host})
        self._metrics.connections += 1
        self._pump()
        return None

    async def _open(self) -> Connection:
        """Try the name's addresses in turn.

        Raises:
            OSError, TimeoutError: none of them answered as HTTP/2 over trusted TLS.
        """
        endpoint = self._endpoint
        errors: list[OSError] = []
        addresses = await self._resolve()
        for address in addresses:
            connection = Connection(self._pump, self._timing)
            try:
                async with asyncio.timeout(endpoint.timeout / min(2, len(addresses))):
                    await asyncio.get_running_loop().create_connection(
                        lambda connection=connection: connection,  # type: ignore[misc]  # mypy cannot type a default here
                        address,
                        endpoint.port,
                        ssl=self._context,
                        server_hostname=endpoint.host,
                        ssl_shutdown_timeout=1.0,
                    )
                    await connection.ready
            except OSError as error:  # TimeoutError and ssl.SSLError are OSErrors
                connection.close()
                errors.append(error)
                continue
            self._all.add(connection)
            connection.gone.add_done_callback(lambda _, connection=connection: self._all.discard(connection))  # type: ignore[misc]  # as above
            return connection
        raise errors[-1]

    async def _resolve(self) -> list[str]:
        """The endpoint's addresses.

        Raises:
            socket.gaierror: none, or the resolver does not answer.
        """
        host, port = self._endpoint.host, self._endpoint.port
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._resolver, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                )
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "the resolver does not answer") from None
        return [str(entry[4][0]) for entry in found]


def _expire(answer: asyncio.Future[Response]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _reason(error: OSError) -> str:
    """One of `metrics.CONNECT_REASONS`."""
    match error:
        case socket.gaierror():
            return "dns"
        case ssl.SSLError():
            return "tls"
        case TimeoutError():
            return "connect_timeout"
        case ConnectionRefusedError():
            return "connect_refused"
    return "connect_other"
