"""At the pager one outage is one incident, and restarts of Prometheus and Alertmanager announce nothing untrue.

A real Prometheus and a real Alertmanager with the shipped rules, routes and flags; the targets are pages that the test
switches off. At the shipped intervals it takes half an hour: `make incidents` runs it, `make test` does not.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from alerts.jobs import JOBS
from lab.fakes.receivers import Receivers
from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.alertmanager import Alertmanager
from lab.servers.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRAPE: Final = 30  # seconds, as shipped
PATIENCE: Final = 960  # seconds
NODES: Final = {
    "prosody": ("prosody1", "prosody2", "prosody3"),
    "push-gateway": ("prosody1", "prosody2", "prosody3"),
    "haproxy": ("haproxy1", "haproxy2"),
    "coturn": ("coturn1", "coturn2"),
    "postgresql": ("db1", "db2"),
}
PAGES: Final = {
    "prosody": "prosody_up 1\n",
    "push-gateway": "push_gateway_uptime_seconds 1000\n",
    "coturn": "coturn_up 1\n",
    "postgresql": "pg_up 1\npg_settings_in_hot_standby 0\n",
}
FLAGS: Final = re.findall(r"--rules\.alert\.[\w.-]+=\w+", (ROOT / "docs/install.md").read_text())


def _backend(*up: int) -> str:
    """Return HAProxy's page about three servers, each up (1) or not (0)."""
    line = 'haproxy_server_status{{proxy="prosody_ws",server="prosody{}",state="UP"}} {}\n'
    return "".join(line.format(number, one) for number, one in enumerate(up, 1))


class World:
    """The pages of every target.

    Attributes:
        off: (job, instance) of targets that do not answer.
        up: the servers of the backend, each 1 or 0.
    """

    def __init__(self) -> None:
        self.off: set[tuple[str, str]] = set()
        self.up = (1, 1, 1)

    def page(self, job: str, instance: str) -> str | None:
        """Return what a target answers; None if it does not."""
        if (job, instance) in self.off:
            return None
        if job == "haproxy":
            return _backend(*self.up)
        text = PAGES.get(job, "")
        return text.replace("standby 0", "standby 1") if instance == "db2" else text


@contextmanager
def served(world: World) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Serve the pages, and take what is sent to the receivers; give the port and PagerDuty's events so far."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, job, instance = self.path.split("/")
            text = world.page(job, instance)
            self.send_response(200 if text is not None else 503)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "event_action" in message:
                events.append(message)
            self.send_response(202)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, events
        server.shutdown()


class Watching(Prometheus):
    """A Prometheus with the flags of docs/install.md, whose targets are pages on one port."""

    def __init__(self, lab: Workspace, pages: int, alertmanager: Alertmanager) -> None:
        super().__init__(lab, SCRAPE)
        self._pages, self._alertmanager = pages, alertmanager

    def configured(self, config: dict[str, Any]) -> dict[str, Any]:
        """Send alerts to the real Alertmanager, and change nothing else."""
        address = f"127.0.0.1:{self._alertmanager.port}"
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [address]}]}]
        return config

    def write_targets(self) -> None:
        """Name one page for each target."""
        for job in JOBS:
            groups = [
                {
                    "targets": [f"127.0.0.1:{self._pages}"],
                    "labels": {"instance": instance, "__metrics_path__": f"/{job}/{instance}"},
                }
                for instance in NODES.get(job, ("monitoring",))
            ]
            (self.directory / f"targets/{job}.yml").write_text(yaml.safe_dump(groups))

    def command(self) -> list[str]:
        """Take the shipped flags about alerts in place of the lab's."""
        rest = [flag for flag in super().command() if not flag.startswith("--rules.alert.")]
        return [*rest, *FLAGS]

    def firing(self) -> set[tuple[str, str]]:
        """Return (alert, instance) of every firing alert."""
        found = [alert["labels"] for alert in self.alerts() if alert["state"] == "firing"]
        return {(labels["alertname"], labels.get("instance", "")) for labels in found}


def _until(what: str, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)  # neither Prometheus nor Alertmanager announces it


@pytest.mark.long
@pytest.mark.timeout(8 * PATIENCE)
def test_one_outage_is_one_incident_and_a_restart_announces_nothing_untrue() -> None:
    world = World()
    wait = 110  # seconds after which whatever was to be sent has been: `for`, group wait, a margin
    with served(world) as (port, events), Workspace() as lab:
        receivers = Receivers(lab)
        receivers.port = port
        alertmanager = Alertmanager(lab, receivers)
        prometheus = Watching(lab, port, alertmanager)
        alertmanager.start()
        prometheus.start()

        def incidents() -> dict[str, str]:
            pages = [event for event in events if event["event_action"] == "trigger"]
            return {event["dedup_key"]: event["payload"]["summary"] for event in pages}

        def ended() -> set[str]:
            return {event["dedup_key"] for event in events if event["event_action"] == "resolve"}

        _until("the Watchdog fires", lambda: ("Watchdog", "") in prometheus.firing())
        time.sleep(wait)
        assert incidents() == {}, "all is well"

        # Two targets of one kind, one after the other: each is an incident of its own.
        world.off.add(("coturn", "coturn1"))
        time.sleep(40)  # in the group wait of the first
        world.off.add(("coturn", "coturn2"))
        _until("both are paged", lambda: len(incidents()) == 2)
        # A whole node: one incident, not one for each of its targets.
        world.off |= {("prosody", "prosody1"), ("push-gateway", "prosody1")}
        _until("prosody1 is paged", lambda: len(incidents()) == 3)
        # Two outages of different kinds at once; both HAProxies report the first.
        world.up = (1, 0, 0)
        world.off.add(("push-gateway", "prosody3"))
        _until("the backend and a gateway are paged", lambda: len(incidents()) == 5)
        time.sleep(wait)
        paged = set(incidents())
        nodes = sorted(text.split(":")[0] for text in incidents().values())
        assert nodes == ["coturn1", "coturn2", "haproxy1", "prosody1", "prosody3"], incidents()

        # Restarts: no incident ends, and none is new.
        fired = prometheus.firing()
        for server in (prometheus, alertmanager):
            server.stop()
            time.sleep(30)
            server.start()
            _until(f"all fires again after {server.name}", lambda: prometheus.firing() >= fired)
            time.sleep(wait)
            assert ended() == set(), f"the restart of {server.name} ended what is not over"
            assert set(incidents()) == paged, f"the restart of {server.name} paged for what was paged already"

        # Each ends once all is well.
        world.off.clear()
        world.up = (1, 1, 1)
        _until("every incident ends", lambda: ended() == paged)
