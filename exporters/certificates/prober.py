"""Keeps the results of all targets up to date in the background. It decides when to probe; `client` knows how."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporters.certificates.config import KINDS, load
from exporters.certificates.snapshot import Observation, Snapshot, Standing
from toolkit.background import cancel
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from exporters.certificates.client import CertificateClient
    from exporters.certificates.config import Target

_log = logging.getLogger(__name__)
_LEAST_PAUSE = 1.0  # seconds between two probes of a target, however often /probe is asked for
_JITTER = 0.1  # random share of the interval, earlier or later


class Prober:
    """Probes every target of a configuration once per interval, and on request.

    Args:
        config_file: certificates.yml, read now; raises ConfigError.
        client: probes one target.
        interval: seconds between two probes of one target.
        concurrency: probes under way at once. Targets that all hang need timeout / interval places each.
    """

    def __init__(self, config_file: Path, client: CertificateClient, *, interval: float, concurrency: int) -> None:
        self._config_file = config_file
        self._client = client
        self._interval = interval
        self._pause = min(_LEAST_PAUSE, interval)
        self._ended: dict[str, float] = {}  # when the last probe of a target did, monotonic
        self._places = asyncio.Semaphore(concurrency)
        self._targets: dict[str, Target] = {target.name: target for target in load(config_file)}
        self._standings: dict[str, Standing] = {}
        self._schedules: dict[str, asyncio.Task[None]] = {}
        self._flights: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Probe in the background inside the context."""
        self._schedule()
        try:
            yield
        finally:
            await cancel(*self._schedules.values(), *self._flights.values())

    async def read(self) -> Snapshot:
        """Return the latest result of every target; waits for no probe."""
        return self._snapshot(*self._standings.values())

    async def probe(self, name: str, seconds: float) -> Snapshot:
        """Probe one target now, or join the probe of it that is under way; the snapshot has this target only.

        After `seconds` the result is a failed probe with reason "timeout", and the real probe continues. Raises
        KeyError for an unknown name.
        """
        flight = self._flight(self._targets[name])
        done, _ = await asyncio.wait({flight}, timeout=seconds)
        if not done:
            last = self._standings.get(name)
            return self._snapshot(Standing(name, last.observation if last else None, "timeout", time.time(), seconds))
        standing = self._standings.get(name)  # gone if a reload removed the target meanwhile
        return self._snapshot(*([standing] if standing else []))

    def reload(self) -> None:
        """Read the configuration again; unchanged targets keep their results. Raises ConfigError, changing nothing."""
        targets = {target.name: target for target in load(self._config_file)}
        for name, old in self._targets.items():
            if targets.get(name) != old:
                self._standings.pop(name, None)
                self._ended.pop(name, None)
                for tasks in (self._schedules, self._flights):
                    if task := tasks.pop(name, None):
                        task.cancel()
        self._targets = targets
        self._client.forget()
        self._schedule()

    def _schedule(self) -> None:
        for name, target in self._targets.items():
            if name not in self._schedules:
                self._schedules[name] = asyncio.create_task(self._repeat(target), name=f"schedule of {name}")

    async def _repeat(self, target: Target) -> None:
        # First all at once, so that a start leaves no gap; then each at its own random time.
        await self._flight(target)
        await asyncio.sleep(self._interval * random.random())  # noqa: S311 - a schedule, not a secret
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self._flight(target)
            pause = self._interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - as above
            await asyncio.sleep(max(0.0, began + pause - loop.time()))

    def _flight(self, target: Target) -> asyncio.Task[None]:
        flight = self._flights.get(target.name)
        if flight is None:
            flight = self._flights[target.name] = asyncio.create_task(self._probe(target), name=f"probe {target.name}")

            def landed(done: asyncio.Task[None]) -> None:
                if self._flights.get(target.name) is done:
                    del self._flights[target.name]

            flight.add_done_callback(landed)
        return flight

    async def _probe(self, target: Target) -> None:
        # /probe may be asked for without a pause, and each answer costs the server a handshake.
        if (pause := self._ended.get(target.name, -math.inf) + self._pause - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        async with self._places:
            began = time.monotonic()
            last = self._standings.get(target.name)
            seen: Observation | None = None
            failure: tuple[str, str] | None
            try:
                seen = await self._client.observe(target, last.observation if last else None)
                failure = seen.failure
            except TargetError as error:
                failure = (error.reason, str(error))
            except Exception:  # noqa: BLE001 - one target's bug must not end its schedule
                failure = ("internal", "a bug in probing; please report it")
                _log.exception("probe failed", extra={"target": target.name})
            self._ended[target.name] = time.monotonic()
            self._report(target, failure, last)
            self._standings[target.name] = Standing(
                target.name,
                seen or (last.observation if last else None),
                failure[0] if failure else None,
                time.time(),
                time.monotonic() - began,
            )

    def _report(self, target: Target, failure: tuple[str, str] | None, last: Standing | None) -> None:
        """Log what changed only: a line a minute would bury the first."""
        before = last.failure if last else None
        if failure and failure[0] != before:
            _log.warning("probe failed: %s", failure[1], extra={"target": target.name, "reason": failure[0]})
        elif before and not failure:
            _log.info("probe succeeds again", extra={"target": target.name, "was": before})

    def _snapshot(self, *standings: Standing) -> Snapshot:
        kinds = Counter(target.kind for target in self._targets.values())
        return Snapshot(datetime.now(UTC), standings, {kind: kinds[kind] for kind in KINDS})
