"""A scrape of one target: one shared read, a deadline, and the metrics about the scrape itself. It knows no HTTP.

`toolkit.web` requests a reading, encodes its families, and reports whether that worked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from toolkit.background import cancel
from toolkit.reload import Reload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from aiohttp import web

Snapshot = TypeVar("Snapshot")
FILES = 64  # open files of a program that reads one target: Python's own, libraries, logs, a few sockets


class TargetError(Exception):
    """The target could not be read.

    Args:
        reason: one of the exporter's `reasons`; becomes a label value, so the set is bounded.
        message: one line for the log: what failed, on what, and what to do.
        snapshot: the part that could be read, in the exporter's own type; None if nothing could.
    """

    def __init__(self, reason: str, message: str, snapshot: object = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.snapshot = snapshot


@dataclass(frozen=True)
class Exporter(Generic[Snapshot]):
    """The parts that a target's package gives to the shared web server.

    Args:
        name: the target's name, the prefix of `<name>_up` and `<name>_exporter_*`, e.g. "prosody".
        title: for the landing page, e.g. "Prosody exporter".
        read: reads the target once; raises TargetError. The only place with I/O during a scrape.
        collect: turns a snapshot into families, without I/O. With None, when nothing could be read, it returns the
            families that need no snapshot.
        reasons: every reason a TargetError may carry, so that each series exists from the start; "timeout" and
            "internal" are added by the scrape.
        up_help: HELP of `<name>_up`; None for an exporter that has no single target (certificates).
        background: entered when the server starts, left when it stops (probes, log followers, ...).
        routes: further pages, e.g. /probe.
        files: how many files it has open at most, besides the connections of its clients.
        reload: reads its configuration again on SIGHUP, or raises ConfigError; None if it has none.
    """

    name: str
    title: str
    read: Callable[[], Awaitable[Snapshot]]
    collect: Callable[[Snapshot | None], Iterable[Metric]]
    reasons: tuple[str, ...]
    up_help: str | None
    background: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
    routes: tuple[web.RouteDef, ...] = field(default=())
    files: int = FILES
    reload: Callable[[], None] | None = None


DEADLINE_MARGIN = 0.5  # seconds for rendering and the way back, as in blackbox_exporter
DEFAULT_TIMEOUT = 10.0  # seconds; Prometheus' own default scrape_timeout


def deadline(header: str | None) -> float:
    """Return how many seconds a scrape may take.

    Args:
        header: X-Prometheus-Scrape-Timeout-Seconds; any value but a positive number counts as not sent.

    The margin is never more than half of the timeout, so that a short timeout still leaves time to read.
    """
    try:
        timeout = float(header or "")
    except ValueError:
        timeout = DEFAULT_TIMEOUT
    if not 0 < timeout < math.inf:
        timeout = DEFAULT_TIMEOUT
    return max(timeout - DEADLINE_MARGIN, timeout / 2)


@dataclass(frozen=True, eq=False)
class Reading(Generic[Snapshot]):
    """The result of one read of the target. Scrapes that overlap share one reading.

    Args:
        snapshot: what was read, also in part by a read that failed; None if nothing was read.
        failure: why it failed, one of the exporter's `reasons`, "timeout" or "internal"; None if it did not.
        seconds: how long the read took.
    """

    snapshot: Snapshot | None
    failure: str | None
    seconds: float


class _OverdueError(Exception):
    """The shared read used up the time of the scrape that started it."""


class Scrape(Generic[Snapshot]):
    """Scrapes one exporter's target; counts, times and logs the scrapes.

    Scrapes that overlap share one read. The read lasts at most as long as the scrape that started it, so that a hung
    target is tried again and never delays later scrapes. A scrape that joined and has time left starts the next read.

    Args:
        exporter: what to read.
        version: of the exporter, for `<name>_exporter_build_info`.
        reload: has the result of the last reload of the configuration.
    """

    def __init__(self, exporter: Exporter[Snapshot], version: str, reload: Reload | None = None) -> None:
        self._exporter = exporter
        self._reload = reload or Reload()
        self._log = logging.getLogger(f"exporters.{exporter.name}")
        self._flight: asyncio.Task[Reading[Snapshot]] | None = None
        self._failing: str | None = None
        self._failures = dict.fromkeys((*exporter.reasons, "timeout", "internal"), 0)
        self._process = ProcessCollector(registry=None)
        self._build_info = InfoMetricFamily(
            f"{exporter.name}_exporter_build", "Version of the running exporter.", {"version": version}
        )

    async def read(self, seconds: float) -> Reading[Snapshot]:
        """Read the target in at most `seconds`, or join a read under way. A failure is in the reading, not raised."""
        started = time.monotonic()
        snapshot: Snapshot | None = None
        try:
            return await self._shared_read(seconds)
        except _OverdueError:
            reason = self._failed(
                "timeout", f"no answer within {seconds:.3g} s: check whether it hangs or is overloaded"
            )
        except TargetError as error:
            reason = self._failed(error.reason, str(error))
            snapshot = cast("Snapshot | None", error.snapshot)
        except Exception:  # noqa: BLE001 - a bug of ours must show as <name>_up 0, not as an error page
            reason = self._failed("internal", "a bug in reading the target; please report it", bug=True)
        return Reading(snapshot, reason, time.monotonic() - started)

    def families(self, reading: Reading[Snapshot]) -> list[Metric]:
        """Return every family of the exporter, and those about the scrape; raises what `Exporter.collect` raises."""
        return [*self._exporter.collect(reading.snapshot), *self.about(reading)]

    def about(self, reading: Reading[Snapshot]) -> list[Metric]:
        """Return the families about the scrape itself; they are valid even if no others could be made."""
        name, up_help = self._exporter.name, self._exporter.up_help
        failures = CounterMetricFamily(
            f"{name}_exporter_scrape_failures", "Scrapes that could not read the target, by reason.", labels=["reason"]
        )
        for known, count in self._failures.items():
            failures.add_metric([known], count)
        took = GaugeMetricFamily(
            f"{name}_exporter_scrape_duration_seconds", "Seconds this scrape took to read the target.", reading.seconds
        )
        up = [] if up_help is None else [GaugeMetricFamily(f"{name}_up", up_help, float(reading.failure is None))]
        reload = self._reload.families(f"{name}_exporter")
        return [*up, took, failures, *reload, self._build_info, *self._process.collect()]

    def unusable(self, reading: Reading[Snapshot]) -> Reading[Snapshot]:
        """Count and log, inside an `except`, that no page could be made of a reading; return it as a failed one."""
        # Each scrape counts one failure at most, the first.
        failure = reading.failure or self._failed(
            "internal", "a bug in making metrics of it; please report it", bug=True
        )
        return replace(reading, failure=failure)

    def used(self, reading: Reading[Snapshot]) -> None:
        """Note that a page was made of a reading; if the reading has no failure, an earlier failure is over."""
        if reading.failure is None and self._failing is not None:
            self._log.info("scrape succeeds again", extra={"was": self._failing})
            self._failing = None

    async def close(self) -> None:
        """Cancel a read under way, and wait for its end."""
        if self._flight is not None:
            await cancel(self._flight)

    async def _shared_read(self, seconds: float) -> Reading[Snapshot]:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            flight, mine = self._flight, False
            if flight is None:
                flight, mine = self._start_read(until), True
            # shield: a scrape that times out, or loses its client, must not cancel the read for the others.
            try:
                async with asyncio.timeout_at(until) as patience:
                    return await asyncio.shield(flight)
            except TimeoutError:
                if not patience.expired():
                    raise  # the read's own
                raise _OverdueError from None
            except _OverdueError:
                if mine or loop.time() >= until:
                    raise

    def _start_read(self, until: float) -> asyncio.Task[Reading[Snapshot]]:
        async def read() -> Reading[Snapshot]:
            started = time.monotonic()
            try:
                async with asyncio.timeout_at(until) as limit:
                    snapshot = await self._exporter.read()
                    return Reading(snapshot, None, time.monotonic() - started)
            except TimeoutError:
                if limit.expired():
                    raise _OverdueError from None
                raise

        def landed(flight: asyncio.Task[Reading[Snapshot]]) -> None:
            self._flight = None
            if not flight.cancelled():
                flight.exception()  # every scrape may have left; asyncio would log an unretrieved exception

        self._flight = asyncio.create_task(read(), name=f"{self._exporter.name} read")
        self._flight.add_done_callback(landed)
        return self._flight

    def _failed(self, reason: str, message: str, *, bug: bool = False) -> str:
        """Count every failure and log a lasting one once: a line every 15 s would bury the first. Return the reason."""
        self._failures[reason] = self._failures.get(reason, 0) + 1
        if reason != self._failing:
            self._failing = reason
            level = logging.ERROR if bug else logging.WARNING
            self._log.log(level, "scrape failed: %s", message, exc_info=bug, extra={"reason": reason})
        return reason
