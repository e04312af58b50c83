"""What nothing else covers: a server's clock steps, and the disk for the logs is full. No program may be wrong then.

Each kind of fault of one server (killed, frozen, refused, late) has a drill and tests of its own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.fakes.recorded import Recorded
from lab.running import clocks
from lab.running.clocks import Clocks
from lab.running.log_disk import LogDisk
from lab.running.server import Workspace
from lab.scraping import ScrapedPage, page
from lab.stack import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.running.server import WebServer

# A metric that says whether something works, and the values with which it does.
HEALTHY = {
    "prosody_up": 1,
    "coturn_up": 1,
    "coturn_probe_success": 1,
    "coturn_exporter_source_up": 1,
    "coturn_log_in_configured_place": 1,
    "push_provider_state": 1,
    "ssl_certificate_probe_success": 1,
}
# Durations that a wall clock tells: the age of a token, the process' start.
BY_CLOCK = ("push_token_age_seconds", "start_time_seconds")
COUNTERS = ("_total", "_count", "_bucket")
HOUR = 3600
PLACES = ("/var/log", "/var/tmp", "/tmp")  # where coturn logs if it cannot log in its own place


class Clocked(Recorded):
    """A server that tells the time with every line."""

    def __init__(self, lab: Workspace) -> None:
        super().__init__(lab, "certificates", "clock", "certificates")

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-uc",
            "import time\nwhile True: print(time.time() - time.monotonic()); time.sleep(0.02)",
        ]

    def is_ready(self) -> bool:
        return self.told != []

    @property
    def told(self) -> list[float]:
        return [float(line) for line in self.log.read_text().splitlines()[:-1]]


def within(seconds: float, holds: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Stage:
    """The programs that have a page of metrics, and what is on their pages."""

    def __init__(self, lab: Lab, clock: Clocks, disk: LogDisk) -> None:
        self.lab = lab
        self.clock = clock
        self.disk = disk
        self.coturn_exporter = lab.coturn_exporter
        self.ours: list[WebServer] = [
            lab.prosody_exporter,
            lab.coturn_exporter,
            lab.certificate_exporter,
            lab.push_gateway,
        ]

    def scrapes(self) -> dict[str, ScrapedPage]:
        return {server.name: ScrapedPage(page(_metrics(server))) for server in self.ours}

    def unhealthy(self) -> list[str]:
        """Name what is said not to work now."""
        return [
            f"{sample.name}{sample.labels}"
            for scrape in self.scrapes().values()
            for sample in scrape.samples
            if sample.name in HEALTHY and sample.value != HEALTHY[sample.name]
        ]

    def failures(self) -> list[str]:
        """Name why probes failed so far."""
        return [
            f"{sample.name}{sample.labels}: {sample.value}"
            for scrape in self.scrapes().values()
            for sample in scrape.samples
            if sample.name.endswith("_probe_failures_total") and sample.value
        ]


def _metrics(server: WebServer) -> str:
    port = getattr(server, "metrics_port", server.port)
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if lacking := clocks.lacking():
        pytest.skip(lacking)
    with LogDisk() as disk, Lab() as lab:
        if disk.lacking:
            pytest.skip(disk.lacking)
        stage = Stage(lab, Clocks(lab.directory), disk)
        for server in (*stage.ours, lab.prosody, lab.coturn):
            stage.clock.give(server)
        for server in stage.ours:
            disk.take(server)
        disk.take_folder(lab.coturn.log_folder)
        flags = lab.coturn_exporter.flags
        lab.coturn_exporter.flags = lambda: [*flags(), "--coturn.probe-interval=1"]
        for node in lab.nodes:
            node.configure()
        lab.start(lab.providers, lab.push_gateway, lab.nodes[1].push_gateway, *(node.prosody for node in lab.nodes))
        lab.start(lab.prosody_exporter, lab.haproxy, lab.coturn, lab.coturn_exporter, lab.certificate_exporter)
        assert within(40, lambda: not stage.unhealthy()), stage.unhealthy()
        yield stage


@pytest.mark.parametrize("hours", [3, -6])
def test_a_step_of_a_clock_makes_nothing_look_broken_and_no_number_absurd(stage: Stage, hours: int) -> None:
    before = stage.scrapes()
    for server in (*stage.ours, stage.lab.prosody, stage.lab.coturn):
        stage.clock.set(server, hours * HOUR)
    until = time.monotonic() + 8  # several probes of each kind
    while time.monotonic() < until:
        seen = stage.scrapes()
        # Google refuses a token request from a wrong clock, so the gateway is right to report that.
        unhealthy = [line for line in stage.unhealthy() if not line.startswith("push_provider_state")]
        assert not unhealthy, stage.failures()
        for name, scrape in seen.items():
            assert _absurd(scrape) == []
            assert _fallen(before[name], scrape) == []
        before = seen
    for server in (*stage.ours, stage.lab.prosody, stage.lab.coturn):
        stage.clock.set(server, 0)
    assert within(40, lambda: not stage.unhealthy()), stage.unhealthy()


def _fallen(before: ScrapedPage, after: ScrapedPage) -> list[str]:
    """Name the counters that went down."""
    was, now = (
        {(s.name, *sorted(s.labels.items())): s.value for s in scrape.samples if s.name.endswith(COUNTERS)}
        for scrape in (before, after)
    )
    both = was.keys() & now.keys()
    return [f"{series}: {was[series]}, then {now[series]}" for series in both if now[series] < was[series]]


def _absurd(scrape: ScrapedPage) -> list[str]:
    """Name the values that cannot be: NaN, below zero, or a duration that is longer than the lab can exist."""
    return [
        str(sample)
        for sample in scrape.samples
        if not sample.value >= 0 or (_is_duration(sample.name) and sample.value > HOUR)
    ]


def _is_duration(name: str) -> bool:
    return name.endswith(("_seconds", "_seconds_sum")) and "timestamp" not in name and not name.endswith(BY_CLOCK)


def test_with_a_full_disk_for_logs_every_program_works_on_and_coturns_new_log_place_is_reported(stage: Stage) -> None:
    strays = f"turn_{stage.lab.coturn.pid}_*"
    stage.disk.fill()
    place = "coturn_log_in_configured_place"
    assert within(30, lambda: stage.scrapes()[stage.coturn_exporter.name](place) == 0)
    others = [line for line in stage.unhealthy() if "coturn" not in line]
    assert others == []
    stage.disk.clear()
    stage.lab.coturn.restart()  # it logs where there was room until it starts again
    for folder in PLACES:
        for stray in Path(folder).glob(strays):
            stray.unlink()
    assert within(40, lambda: not stage.unhealthy()), stage.unhealthy()


@pytest.mark.skipif(clocks.lacking() is not None, reason=str(clocks.lacking()))
def test_a_servers_wall_clock_steps_while_it_runs_and_its_monotonic_one_does_not() -> None:
    with Workspace() as lab:
        server = Clocked(lab)
        clock = Clocks(lab.directory)
        clock.give(server)
        server.start()
        truth = time.time() - time.monotonic()
        assert abs(server.told[-1] - truth) < 1
        for step in (-6 * 3600, 3 * 3600, 0):
            clock.set(server, step)
            assert within(10, lambda step=step: abs(server.told[-1] - truth - step) < 1)  # type: ignore[misc]
        server.kill()


def test_a_log_disk_is_full_and_empty_again() -> None:
    with LogDisk() as disk, Workspace() as lab:
        if disk.lacking:
            pytest.skip(disk.lacking)
        server = Clocked(lab)
        disk.take(server)
        server.log.write_text("before\n")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            server.log.write_bytes(bytes(100_000))
        disk.clear()
        server.log.write_bytes(bytes(100_000))
