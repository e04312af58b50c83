"""Keeps one WebSocket connection to Prosody: pings it, looks whether it offers a login, and notes what it sees.

It opens a stream as a client does, and never logs in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from exporters.prosody.endpoint import REMEDIES, Closed, EndpointError, WebSocketConnection, WebSocketEndpoint
from toolkit.background import running
from toolkit.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)

EDGES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REASONS = (*REMEDIES, "probe_no_login")
_C2S_TIMEOUT = 300.0  # seconds; Prosody's own default and the specification's
_TICK_SECONDS = 0.5


@dataclass
class Observations:
    """What the probe has seen.

    Attributes:
        round_trips: of pings, in seconds.
        errors: failures by reason (REASONS).
        login_mechanisms: host -> SASL mechanisms that it offered at the last look; with 0 nobody can log in.
    """

    round_trips: Histogram = field(default_factory=lambda: Histogram(EDGES))
    errors: dict[str, float] = field(default_factory=lambda: dict.fromkeys(REASONS, 0.0))
    login_mechanisms: dict[str, int] = field(default_factory=dict)


class _Standstill:
    """Knows when this program itself stood still, stopped or without CPU: what it measured then is not Prosody's."""

    def __init__(self) -> None:
        self._ticked = self._last = time.monotonic()

    async def watch(self) -> None:
        """Look at the clock until cancelled."""
        while True:
            self._look()
            self._ticked = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)

    def since(self, moment: float) -> bool:
        """Tell whether the program stood still at some time after `moment` (time.monotonic())."""
        self._look()
        return self._last > moment

    def _look(self) -> None:
        now = time.monotonic()
        if now > self._ticked + 2 * _TICK_SECONDS:
            self._last = now


class WebSocketProbe:
    """Keeps one connection open, looks once which logins it offers, and pings it.

    Args:
        url: of the endpoint, http(s) or ws(s).
        host: name that is sent as the HTTP Host header and as the TLS server name; "" takes the URL's.
        authority: file of the certificate authority to trust; None trusts the system's.
        interval: seconds between two pings, and between two attempts to connect.
        timeout: seconds that a connection attempt or an answer may take.

    Attributes:
        c2s_timeout: seconds after which Prosody ends a connection that has not logged in, as ours never does; the probe
            leaves before, or each connection would count as an error. To be set once it is known.

    Raises OSError, ssl.SSLError among them, for an `authority` that cannot be read.
    """

    def __init__(
        self, url: str, *, host: str = "", authority: Path | None = None, interval: float = 5.0, timeout: float = 5.0
    ) -> None:
        self.url = url
        self.observations = Observations()
        self.c2s_timeout = _C2S_TIMEOUT
        self._endpoint = WebSocketEndpoint(url, host=host, authority=authority, timeout=timeout)
        self._interval = interval
        self._domains: Sequence[str] = ()
        self._looks = 0
        self._standstill = _Standstill()
        self._failing = ""  # the reason of the last failure, until a pong comes

    def look_at(self, domains: Sequence[str]) -> None:
        """Look from now on whether these virtual hosts offer a login: one on each connection, in turn."""
        self._domains = domains
        for gone in self.observations.login_mechanisms.keys() - set(domains):
            del self.observations.login_mechanisms[gone]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Probe in the background until the context ends."""
        async with running(self._run, self._standstill.watch):
            yield

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as client:
            while True:
                started = time.monotonic()
                try:
                    async with self._endpoint.connected(client) as connection:
                        await self._ping_while_young(connection)
                except Closed:
                    pass
                except EndpointError as error:
                    if error.reason != "probe_timeout" or not self._standstill.since(started):
                        self._failed(error)
                await asyncio.sleep(self._interval)

    async def _ping_while_young(self, connection: WebSocketConnection) -> None:
        connected = time.monotonic()
        looked = False
        while True:
            sent = time.monotonic()
            await connection.ping()
            if not self._standstill.since(sent):
                self._succeeded(time.monotonic() - sent)
            if self._domains and not looked:
                looked = True
                await self._look_for_logins(connection)
            if time.monotonic() + self._interval - connected >= 0.8 * self.c2s_timeout:
                await connection.leave()
                return
            await connection.rest(self._interval)

    async def _look_for_logins(self, connection: WebSocketConnection) -> None:
        domain = self._domains[self._looks % len(self._domains)]
        self._looks += 1
        mechanisms = await connection.count_mechanisms(domain)
        before = self.observations.login_mechanisms.get(domain)
        self.observations.login_mechanisms[domain] = mechanisms
        if mechanisms == 0:
            self.observations.errors["probe_no_login"] += 1
            if before != 0:
                _log.warning(
                    "nobody can log in to %s over %s: it offers no SASL mechanism; "
                    "set consider_websocket_secure = true if TLS ends at a proxy, and restart Prosody",
                    domain,
                    self.url,
                )
        elif before == 0:
            _log.info("%s offers logins over %s again", domain, self.url)

    def _failed(self, error: EndpointError) -> None:
        self.observations.errors[error.reason] += 1
        if error.reason != self._failing:
            remedy = REMEDIES[error.reason]
            _log.warning("the WebSocket probe fails on %s: %s (%s); %s", self.url, error.reason, error.seen, remedy)
        self._failing = error.reason

    def _succeeded(self, seconds: float) -> None:
        self.observations.round_trips.observe(seconds)
        if self._failing:
            _log.info("the WebSocket probe reaches %s again", self.url)
        self._failing = ""
