"""Reads coturn once: every source that its configuration switches on, while no probe runs."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from exporters.coturn import endpoint
from exporters.coturn.admin_cli import AdminCli, CliError, CliStatus
from exporters.coturn.bindings import WithoutProbes
from exporters.coturn.endpoint import BuiltInEndpointError
from exporters.coturn.log_follower import LogFollower
from exporters.coturn.log_statistics import LogStatistics
from exporters.coturn.probe import ENDING, Probe
from exporters.coturn.snapshot import Snapshot
from exporters.coturn.sockets import Sockets, found_addresses, owns_peer
from toolkit.background import running
from toolkit.scrape import TargetError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
    from pathlib import Path

    from prometheus_client.core import Metric

    from exporters.coturn.config import Configuration
    from exporters.coturn.log_statistics import Run
    from exporters.coturn.process import ProcessState, Turnserver

REASONS = ("not_running", "stopped", "no_answer")
_IMPATIENT = 1.0  # seconds to the next probe while coturn does not answer
_LINGERS = 2.0  # seconds after which all the probe's allocations are gone
_LOOK, _LOOKS = 0.25, 8  # seconds between looks whether they are, and how many
_VERSION = re.compile(r"Coturn-(\d{1,4}(?:\.\d{1,4}){1,3})")
_SESSIONLESS = (4, 17)  # answers a STUN Binding over UDP without a session, so the log has no line for it
Answer = TypeVar("Answer")
_log = logging.getLogger("exporters.coturn")


class Reader:
    """Reads one coturn.

    Args:
        config: its settings.
        turnserver: its process.
        probe_interval: seconds between probes.
        earlier_tags: what marked the sessions of this exporter's probes before the settings were read again.

    Attributes:
        tag: what marks the sessions of its probes in coturn's log.
    """

    def __init__(
        self, config: Configuration, turnserver: Turnserver, probe_interval: float, earlier_tags: Iterable[str] = ()
    ) -> None:
        self._config = config
        self._interval = probe_interval
        self._turnserver = turnserver
        self._sockets = Sockets(config.relay_ports, config.own_ports, config.relay_addresses, config.relay_protocols)
        self._probe = Probe(config, self._all_relays)
        self._cli = AdminCli(config.cli, self._is_turnservers) if config.cli and config.cli.password else None
        self.tag = self._probe.tag
        self._statistics = LogStatistics(
            self.tag.encode(), self._probe.name.encode(), [tag.encode() for tag in earlier_tags]
        )
        self._follower = LogFollower(config.log, self._log_file, self._statistics.feed) if config.log else None
        self._quiet = asyncio.Lock()  # held by a probe, or by a count of what the probe must not be part of
        self._probed: tuple[int, float] | None = None
        self._complaints: dict[str, str] = {}
        self._bindings: dict[str, WithoutProbes] = {}
        self._relay_addresses = 1
        self._in_place: bool | None = None

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
            if self._turnserver.identity != self._probed or not self._probe.answered:
                await self._round()  # coturn started, or ended: what the last probe says is out of date
            if not self._probe.answered and (self._config.listeners or process is None):
                if process is None:
                    problem = f"no turnserver runs with {self._config.path}; start coturn"
                    raise TargetError("not_running", problem, self._from_outside())
                problem = "turnserver runs and answers no probe; look at its log, then restart coturn"
                raise TargetError("no_answer", problem, self._from_outside())
            if process is None:
                self._complain("process", f"coturn answers, but there is no turnserver with {self._config.path}")
            else:
                self._complaints.pop("process", None)
            await self._probe.settle()
            return await self._snapshot(process)

    def known(self) -> Snapshot:
        """What needs no look at coturn: limits, the probes' outcomes, and the log's counts so far."""
        config, probe = self._config, self._probe
        return Snapshot(
            relay_ports_capacity=(
                None if config.shares_relay_sockets else len(config.relay_ports) * self._relay_addresses
            ),
            total_quota=config.total_quota,
            commented_options=[comment.option for comment in config.comments],
            run=self._statistics.run if self._follower and self._follower.reads else None,
            outcomes=probe.outcomes,
            failures=probe.failures,
            version=self._version,
            log_in_place=self._in_place,
        )

    def _from_outside(self) -> Snapshot:
        """What holds while coturn does not answer. While its process is there, it has its allocations, too."""
        if self._turnserver.identity is None:
            return self.known()
        relays = self._relays()
        return self._seen(relays, len(self._probe.held(relays or ())) + self._of_other_probes)

    @property
    def _version(self) -> str:
        software = _VERSION.search(self._probe.software)
        return software[1] if software else self._statistics.run.version

    @property
    def _of_other_probes(self) -> int:
        """Allocations that a second exporter has now, or that the one before this left behind."""
        return len(self._statistics.run.probes) if self._follower and self._follower.reads else 0

    def _seen(self, relays: dict[int, int] | None, own: int) -> Snapshot:
        """What is known, and the allocations of a running process as they are seen from outside."""
        known = self.known()
        sources: dict[str, bool] = {}
        active: dict[str, float] = {}
        used = None
        if not self._config.shares_relay_sockets:
            sources["relay_ports"] = relays is not None
            if relays is not None:
                active["relay_ports"] = used = max(0, len(relays) - own)
        if self._follower:
            sources["log"] = known.run is not None
            if known.run and known.run.complete:
                active["log"] = len(known.run.live)
        return replace(known, sources=sources, active=active, relay_ports_used=used)

    async def _snapshot(self, process: ProcessState | None) -> Snapshot:
        relays, own, status, families = await self._count()
        await self._catch_up()
        if self._config.shares_relay_sockets and self._follower and self._follower.reads:
            own = len(self._statistics.run.own)  # no socket of the probe's own tells
        own += self._of_other_probes
        seen = self._seen(relays, own)
        sources, active = dict(seen.sources), dict(seen.active)
        if self._cli:
            sources["cli"] = status is not None
        if status is not None:
            active["cli"] = max(0, status.allocations - own)
        if self._config.endpoint:
            sources["endpoint"] = bool(families)
        if (total := endpoint.total(families, "turn_total_allocations")) is not None:
            active["endpoint"] = max(0, int(total) - own)
        return replace(
            seen,
            sources=sources,
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
        base = self._config.log.base if self._config.log else None
        path = self._follower.path if self._follower else None
        self._in_place = None if base is None or path is None else path.parent.resolve() == base.parent.resolve()

    async def _count(self) -> tuple[dict[int, int] | None, int, CliStatus | None, Sequence[Metric]]:
        """Ask all sources that count allocations, and how many of them are the probe's: for one and the same moment.

        An allocation of the probe lingers for about a second. It must not have ended while the others were asked, nor
        just before: coturn closes its socket first, and takes it out of its own count a moment later.
        """
        url = self._config.endpoint
        until = time.monotonic() + _LINGERS
        while True:
            relays = self._relays()
            held = self._probe.held(relays or ())
            status = await self._asked("cli", self._cli.read()) if self._cli else None
            families = await self._asked("endpoint", endpoint.read(url)) if url else None
            if status is None and families is None:
                break
            settled = not held or self._held() == held
            if (settled and not self._probe.has_just_ended) or time.monotonic() > until:
                break
            await asyncio.sleep(ENDING)
        if self._cli and status is None:
            self._check_runs()  # it hung: was it stopped meanwhile?
        return relays, len(held), status, families or ()

    def _relays(self) -> dict[int, int] | None:
        identity = self._turnserver.identity
        if identity is None:
            return None
        pid, config = identity[0], self._config
        try:
            relays = self._sockets.relays(pid, self._turnserver.uid)
            self._relay_addresses = len(config.relay_addresses) or max(1, found_addresses(config.listeners.values()))
        except OSError as error:
            self._complain("relay_ports", f"cannot list the relay sockets ({error}); allow AF_NETLINK in the unit")
            return None
        self._complaints.pop("relay_ports", None)
        return relays

    def _all_relays(self) -> dict[int, int]:
        """The relay sockets of the protocol that the probe uses, of every process."""
        with suppress(OSError):
            return self._sockets.everyones(self._config.probed_relay)
        return {}

    def _held(self) -> set[int]:
        """The relay sockets of the probe that are still open."""
        identity, sockets = self._turnserver.identity, self._probe.relays
        with suppress(OSError):
            return self._probe.held(self._sockets.still_open(identity[0], sockets) if identity else ())
        return set(sockets)

    def _is_turnservers(self, local: tuple[str, int], peer: tuple[str, int]) -> bool:
        """Whether the other end of a connection is a socket of coturn, which may have our password."""
        identity = self._turnserver.identity
        with suppress(OSError):
            return identity is not None and owns_peer(identity[0], self._turnserver.uid, local, peer)
        return False

    async def _asked(self, source: str, question: Awaitable[Answer]) -> Answer | None:
        try:
            answer = await question
        except (CliError, BuiltInEndpointError) as error:
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
        own = self._probe.bindings
        if (total := endpoint.total(families, "stun_binding_request")) is not None:
            return self._without_probes("endpoint").count(total, own), "endpoint"
        if run is None:
            return None
        if self._config.flag("log-binding"):
            source, served, own = "log_binding", run.bindings, own - run.probe_bindings
            tagged = self._probe.tags_bindings
        else:
            version = tuple(map(int, self._version.split("."))) if self._version else _SESSIONLESS
            if version >= _SESSIONLESS and "udp" in self._config.listeners:
                return None
            source, served, tagged = "sessions", run.stray_packets, not self._config.flag("stun-only")
        return (served if tagged else self._without_probes(source).count(served, own)), source

    def _without_probes(self, source: str) -> WithoutProbes:
        return self._bindings.setdefault(source, WithoutProbes())

    def _log_file(self) -> Path | None:
        return self._turnserver.log_file(self._config.log.base if self._config.log else None)

    def _check_runs(self) -> ProcessState | None:
        process = self._turnserver.look()
        if process and process.stopped:
            raise TargetError(
                "stopped",
                "turnserver is stopped and serves nobody; send it SIGCONT, or restart coturn",
                self._from_outside(),
            )
        return process

    async def _round(self) -> None:
        self._probed = self._turnserver.identity
        await self._probe.round()

    async def _keep_probing(self) -> None:
        while True:
            async with self._quiet:
                await self._round()
            # See its relays go, so that a scrape seldom has to wait for that.
            for _ in range(_LOOKS):
                if not self._held():
                    break
                await asyncio.sleep(min(_LOOK, self._interval / _LOOKS))
            await asyncio.sleep(self._interval if self._probe.answered else min(self._interval, _IMPATIENT))
