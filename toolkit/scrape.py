"""A scrape of one target: one shared read, a deadline, and the metrics about the scrape itself. No HTTP here."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from aiohttp import web

Snapshot = TypeVar("Snapshot")
Answer = TypeVar("Answer")


class TargetError(Exception):
    """The target could not be read.

    Args:
        reason: one of the exporter's `reasons`; becomes a label value, so the set is bounded.
        message: one line for the log: what failed, on what, and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Exporter(Generic[Snapshot]):
    """What a target's package hands to the shared web server.

    Args:
        name: the target's word, prefix of `<name>_up` and `<name>_exporter_*`, e.g. "prosody".
        title: for the landing page, e.g. "Prosody exporter".
        read: reads the target once; raises TargetError. The only place with I/O during a scrape.
        collect: snapshot to families, pure. Called with None when the read failed: then only what holds without it.
        reasons: every reason a TargetError may carry, so that each series exists from the start; "timeout" and
            "internal" are added by the scrape.
        up_help: HELP of `<name>_up`; None for an exporter without one single target (certificates).
        background: entered when the server starts, left when it stops (probes, log followers, ...).
        routes: further pages, e.g. /probe.
    """

    name: str
    title: str
    read: Callable[[], Awaitable[Snapshot]]
    collect: Callable[[Snapshot | None], Iterable[Metric]]
    reasons: tuple[str, ...]
    up_help: str | None
    background: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
    routes: tuple[web.RouteDef, ...] = field(default=())


DEADLINE_MARGIN = 0.5  # seconds for rendering and the way back, as in blackbox_exporter
DEFAULT_TIMEOUT = 10.0  # seconds; Prometheus' own default scrape_timeout


def deadline(header: str | None) -> float:
    """How many seconds a scrape may take.

    Args:
        header: X-Prometheus-Scrape-Timeout-Seconds; what is not a positive number counts as not sent.

    The margin is never more than half of the timeout, so that a short timeout still leaves time to read.
    """
    try:
        timeout = float(header or "")
    except ValueError:
        timeout = DEFAULT_TIMEOUT
    if not 0 < timeout < math.inf:
        timeout = DEFAULT_TIMEOUT
    return max(timeout - DEADLINE_MARGIN, timeout / 2)


class _OverdueError(Exception):
    """The shared read used up the time of the scrape that started it."""


class Scrape(Generic[Snapshot]):
    """Scrapes one exporter's target, and counts, times and logs how that went.

    Scrapes that overlap share one read. The read lasts at most as long as the scrape that started it, so a hung target
    is tried afresh and never holds later scrapes; one that joined and has time left starts the next read.

    Args:
        exporter: what to read.
        version: of the exporter, for `<name>_exporter_build_info`.
    """

    def __init__(self, exporter: Exporter[Snapshot], version: str) -> None:
        self._exporter = exporter
        self._log = logging.getLogger(f"exporters.{exporter.name}")
        self._flight: asyncio.Task[Snapshot] | None = None
        self._failing: str | None = None
        self._failures = dict.fromkeys((*exporter.reasons, "timeout", "internal"), 0)
        self._process = ProcessCollector(registry=None)
        self._build_info = InfoMetricFamily(
            f"{exporter.name}_exporter_build", "Version of the running exporter.", {"version": version}
        )

    async def answer(self, seconds: float, render: Callable[[list[Metric]], Awaitable[Answer]]) -> Answer:
        """Scrape, in at most `seconds`, and render the families. A failure is a family, too, and never raised.

        Should the exporter's own families not be renderable, `render` is called again with those about the scrape only.
        """
        started = time.monotonic()
        snapshot: Snapshot | None = None
        reason: str | None = None
        try:
            snapshot = await self._shared_read(seconds)
        except _OverdueError:
            reason = self._failed(
                "timeout", f"no answer within {seconds:.3g} s: check whether it hangs or is overloaded"
            )
        except TargetError as error:
            reason = self._failed(error.reason, str(error))
        except Exception:  # noqa: BLE001 - a bug of ours must show as <name>_up 0, not as an error page
            reason = self._failed("internal", "a bug in reading the target; please report it", bug=True)
        duration = time.monotonic() - started
        try:
            answer = await render([*self._exporter.collect(snapshot), *self._about(duration, reason)])
        except Exception:  # noqa: BLE001 - as above
            # A scrape counts one failure, its first.
            reason = reason or self._failed("internal", "a bug in making metrics of it; please report it", bug=True)
            answer = await render(self._about(duration, reason))
        if reason is None:
            self._recovered()
        return answer

    async def close(self) -> None:
        """Cancel a read under way, and wait for its end."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait({self._flight})

    async def _shared_read(self, seconds: float) -> Snapshot:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            flight, mine = self._flight, False
            if flight is None:
                flight, mine = self._start_read(until), True
            # shield: one scrape that gives up, or whose client goes away, leaves the read to the others.
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

    def _start_read(self, until: float) -> asyncio.Task[Snapshot]:
        async def read() -> Snapshot:
            try:
                async with asyncio.timeout_at(until) as limit:
                    return await self._exporter.read()
            except TimeoutError:
                if limit.expired():
                    raise _OverdueError from None
                raise

        def landed(flight: asyncio.Task[Snapshot]) -> None:
            self._flight = None
            if not flight.cancelled():
                flight.exception()  # every scrape may have left before it; asyncio would call it never retrieved

        self._flight = asyncio.create_task(read(), name=f"{self._exporter.name} read")
        self._flight.add_done_callback(landed)
        return self._flight

    def _about(self, duration: float, reason: str | None) -> list[Metric]:
        name, up_help = self._exporter.name, self._exporter.up_help
        failures = CounterMetricFamily(
            f"{name}_exporter_scrape_failures", "Scrapes that could not read the target, by reason.", labels=["reason"]
        )
        for known, count in self._failures.items():
            failures.add_metric([known], count)
        took = GaugeMetricFamily(
            f"{name}_exporter_scrape_duration_seconds", "Seconds this scrape took to read the target.", duration
        )
        up = [] if up_help is None else [GaugeMetricFamily(f"{name}_up", up_help, float(reason is None))]
        return [*up, took, failures, self._build_info, *self._process.collect()]

    def _failed(self, reason: str, message: str, *, bug: bool = False) -> str:
        """Count every failure, log a lasting one once: a line every 15 s would bury the first. Returns the reason."""
        self._failures[reason] = self._failures.get(reason, 0) + 1
        if reason != self._failing:
            self._failing = reason
            level = logging.ERROR if bug else logging.WARNING
            self._log.log(level, "scrape failed: %s", message, exc_info=bug, extra={"reason": reason})
        return reason

    def _recovered(self) -> None:
        if self._failing is not None:
            self._log.info("scrape succeeds again", extra={"was": self._failing})
            self._failing = None
