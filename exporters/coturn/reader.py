"""One reading of coturn: asks every source that its configuration switches on, while no probe is under way."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from exporters.coturn import endpoint
from exporters.coturn.admin_cli import AdminCli, CliError, CliStatus
from exporters.coturn.endpoint import EndpointError
from exporters.coturn.log_follower import LogFollower
from exporters.coturn.log_statistics import LogStatistics
from exporters.coturn.probe import ENDING, Probe
from exporters.coturn.process import ProcessState, Turnserver
from exporters.coturn.relay_ports import RelayPorts
from exporters.coturn.snapshot import Snapshot
from toolkit.background import running
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from pathlib import Path

    from prometheus_client.core import Metric

    from exporters.coturn.config import Configuration
    from exporters.coturn.log_statistics import Run

REASONS = ("not_running", "stopped", "no_answer")
_UNANSWERED = {"timeout", "refused", "tls"}
_IMPATIENT = 1.0  # seconds to the next probe while coturn does not answer
_LINGERS = 2.0  # seconds after which all the probe's allocations are gone
_LOOK, _LOOKS = 0.25, 8  # seconds between looks whether they are, and how many
_VERSION = re.compile(r"Coturn-(\S+)")
Answer = TypeVar("Answer")
_log = logging.getLogger("exporters.coturn")


class Reader:
    """Reads one coturn.

    Args:
        config: its turnserver.conf.
        probe_interval: seconds between probes.
    """

    def __init__(self, config: Configuration, probe_interval: float) -> None:
        self._config = config
        self._interval = probe_interval
        self._turnserver = Turnserver(config)
        self._relay_ports = RelayPorts(config.relay_ports, config.listeners.values(), config.relay_addresses)
        self._probe = Probe(
            config.address, config.listeners, config.secret, self._all_sockets, ipv6_relay=config.only_ipv6_relays
        )
        self._cli = AdminCli(config.cli) if config.cli and config.cli.password else None
        self._statistics = LogStatistics(self._probe.tag.encode(), self._probe.name.encode())
        self._follower = LogFollower(config.log, self._log_file, self._statistics.feed) if config.log else None
        self._quiet = asyncio.Lock()  # held by a probe, or by a count of what the probe must not be part of
        self._probed: tuple[int, float] | None = None
        self._complaints: dict[str, str] = {}
        self._bindings = _EndpointBindings()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Probe and follow the log inside the context."""
        async with AsyncExitStack() as stack:
            if self._follower:
                await stack.enter_async_context(self._follower.running())
            try:
                async with running(self._keep_probing):
                    yield
            finally:
                async with self._quiet:
                    await self._probe.settle()
                    self._probe.close()
                    if self._cli:
                        self._cli.close()

    async def read(self) -> Snapshot:
        """Take one snapshot. Raises TargetError with one of REASONS."""
        self._check_runs()
        async with self._quiet:
            process = self._check_runs()
            if self._turnserver.identity != self._probed or not self._probe.outcomes:
                await self._round()  # coturn started, or ended: what the last probe says is out of date
            if not self._answers(process):
                if process is None:
                    raise TargetError("not_running", f"no turnserver runs with {self._config.path}; start coturn")
                raise TargetError("no_answer", "turnserver runs, and answers no probe; look at its log, restart coturn")
            await self._probe.settle()
            return await self._snapshot(process)

    def without_target(self) -> Snapshot:
        """What holds while coturn does not answer. While its process is there, that has its allocations, too."""
        if self._turnserver.identity is None:
            return self._known()
        sockets = self._sockets()
        return self._seen(sockets, len(self._probe.held(sockets or ())) + self._of_other_probes)

    def _known(self) -> Snapshot:
        """Limits, the probes' outcomes, and the log's counts."""
        config, probe = self._config, self._probe
        software = _VERSION.search(probe.software)
        return Snapshot(
            relay_ports_capacity=len(config.relay_ports) * max(1, len(config.relay_addresses)),
            total_quota=config.total_quota,
            commented_options=config.commented,
            run=self._statistics.run if self._follower and self._follower.reads else None,
            outcomes=probe.outcomes,
            failures=probe.failures,
            version=software[1] if software else self._statistics.run.version,
            log_in_place=self._log_in_place(),
        )

    @property
    def _of_other_probes(self) -> int:
        """Allocations that a second exporter has now, or that the one before this left behind."""
        return len(self._statistics.run.probes) if self._follower and self._follower.reads else 0

    def _seen(self, sockets: dict[int, int] | None, own: int) -> Snapshot:
        """That, and the allocations of a running process as they are seen from outside."""
        known = self._known()
        active: dict[str, float] = {}
        if sockets is not None:
            active["relay_ports"] = len(sockets) - own
        if known.run and known.run.complete:
            active["log"] = len(known.run.live)
        return replace(
            known,
            sources={
                "relay_ports": sockets is not None,
                **({"log": known.run is not None} if self._follower else {}),
            },
            active=active,
            relay_ports_used=None if sockets is None else len(sockets) - own,
        )

    async def _snapshot(self, process: ProcessState | None) -> Snapshot:
        sockets, own, status, families = await self._count()
        await self._catch_up()
        own += self._of_other_probes
        seen = self._seen(sockets, own)
        active = dict(seen.active)
        if status is not None:
            active["cli"] = status.allocations - own
        if (total := endpoint.total(families, "turn_total_allocations")) is not None:
            active["endpoint"] = int(total) - own
        return replace(
            seen,
            sources={
                **seen.sources,
                **({"cli": status is not None} if self._cli else {}),
                **({"endpoint": bool(families)} if self._config.endpoint else {}),
            },
            active=active,
            process=process,
            total_quota=self._config.total_quota if status is None else status.total_quota,
            bindings=self._count_bindings(families, seen.run),
            passed_through=families,
        )

    async def _catch_up(self) -> None:
        """Read the log up to now."""
        if self._follower is None or await self._follower.catch_up():
            self._complaints.pop("log", None)
        elif self._follower.caught_up:
            self._complain("log", "cannot read coturn's log; run as user turnserver, and look whether log-file exists")

    async def _count(self) -> tuple[dict[int, int] | None, int, CliStatus | None, Sequence[Metric]]:
        """Ask all sources that count allocations, and how many of them are the probe's: for one and the same moment.

        An allocation of the probe lingers for about a second. It must not have ended while the others were asked, nor
        just before: coturn closes its socket first, and takes it out of its own count a moment later.
        """
        url = self._config.endpoint
        until = time.monotonic() + _LINGERS
        while True:
            sockets = self._sockets()
            held = self._probe.held(sockets or ())
            status = await self._asked("cli", self._cli.read()) if self._cli else None
            families = await self._asked("endpoint", endpoint.read(url)) if url else None
            if status is None and families is None:
                break
            settled = not held or self._probe.held(self._sockets() or ()) == held
            if (settled and not self._probe.has_just_ended) or time.monotonic() > until:
                break
            await asyncio.sleep(ENDING)
        if self._cli and status is None:
            self._check_runs()  # it hung: was it stopped meanwhile?
        return sockets, len(held), status, families or ()

    def _sockets(self) -> dict[int, int] | None:
        identity = self._turnserver.identity
        if identity is None:
            return None
        try:
            sockets = self._relay_ports.read(identity[0], self._turnserver.uid)
        except OSError as error:
            self._complain("relay_ports", f"cannot list the relay sockets ({error}); allow AF_NETLINK in the unit")
            return None
        self._complaints.pop("relay_ports", None)
        return sockets

    def _all_sockets(self) -> dict[int, int]:
        with suppress(OSError):
            return self._relay_ports.everyones()
        return {}

    async def _asked(self, source: str, question: Awaitable[Answer]) -> Answer | None:
        try:
            answer = await question
        except (CliError, EndpointError) as error:
            self._complain(source, str(error))
            return None
        self._complaints.pop(source, None)
        return answer

    def _complain(self, source: str, message: str) -> None:
        """Log a failure once, not with every scrape."""
        if self._complaints.get(source) != message:
            self._complaints[source] = message
            _log.warning("%s", message, extra={"source": source})

    def _count_bindings(self, families: Sequence[Metric], run: Run | None) -> tuple[float, str] | None:
        if (total := endpoint.total(families, "stun_binding_request")) is not None:
            return self._bindings.count(total, self._probe.bindings), "endpoint"
        if run is None:
            return None
        return (run.bindings, "log_binding") if self._config.flag("log-binding") else (run.stray_packets, "sessions")

    def _log_file(self) -> Path | None:
        return self._turnserver.log_file(self._config.log.base if self._config.log else None)

    def _log_in_place(self) -> bool | None:
        base = self._config.log.base if self._config.log else None
        path = self._follower.path if self._follower else None
        return None if base is None or path is None else path.parent.resolve() == base.parent.resolve()

    def _check_runs(self) -> ProcessState | None:
        process = self._turnserver.look()
        if process and process.stopped:
            raise TargetError("stopped", "turnserver is stopped and serves nobody; send it SIGCONT, or restart coturn")
        return process

    def _answers(self, process: ProcessState | None) -> bool:
        outcomes = self._probe.outcomes.values()
        return any(outcome.failure not in _UNANSWERED for outcome in outcomes) or (not outcomes and process is not None)

    async def _round(self) -> None:
        self._probed = self._turnserver.identity
        await self._probe.round()

    async def _keep_probing(self) -> None:
        while True:
            async with self._quiet:
                try:
                    await self._round()
                except Exception:  # noqa: BLE001 - a bug of ours must not end the probing
                    _log.exception("a bug in the probe; please report it")
            # See its relays go, so that a scrape seldom has to wait for that.
            for _ in range(_LOOKS):
                if not self._probe.held(self._sockets() or ()):
                    break
                await asyncio.sleep(min(_LOOK, self._interval / _LOOKS))
            answers = any(outcome.failure not in _UNANSWERED for outcome in self._probe.outcomes.values())
            await asyncio.sleep(self._interval if answers else min(self._interval, _IMPATIENT))


@dataclass
class _EndpointBindings:
    """The bindings of the built-in endpoint since this exporter started, without the probe's."""

    total: float = 0.0
    last: tuple[float, int] | None = None

    def count(self, served: float, own: int) -> float:
        if self.last is not None:
            before, own_before = self.last if served >= self.last[0] else (0.0, own)  # coturn has started anew
            self.total += max(0.0, served - before - (own - own_before))
        self.last = served, own
        return self.total
