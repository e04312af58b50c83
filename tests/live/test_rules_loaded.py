"""Prometheus loads the whole folder without a warning; Alertmanager inhibits, and its pages can be read."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab.fakes.receivers import Receivers
from lab.running.server import Workspace
from lab.servers.alertmanager import Alertmanager, redirected
from lab.servers.prometheus import Prometheus
from tests.alerts.mutation import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "prometheus"


def test_prometheus_loads_every_rule_without_a_warning_and_finds_them_healthy() -> None:
    with Workspace() as lab:
        prometheus = Prometheus(lab)  # its only target is itself: names that resolve nowhere here would be warnings
        prometheus.start()
        deadline = time.monotonic() + 120
        while True:
            groups = prometheus.api.client.ask("api/v1/rules")["data"]["groups"]
            found = [rule for group in groups for rule in group["rules"]]
            if all(rule["health"] != "unknown" for rule in found) or time.monotonic() > deadline:
                break
            time.sleep(0.1)  # until each group was evaluated once; Prometheus announces nothing
        lines = prometheus.log.read_text().splitlines()
    assert {rule["health"] for rule in found} == {"ok"}, [rule["lastError"] for rule in found if rule["health"] != "ok"]
    files = ("alerts.yaml", "recording.yaml", "panels.yaml", "promises.yaml", "checklist.yaml")
    assert len(found) == sum(len(rules(file)) for file in files)
    assert not [line for line in lines if "level=warn" in line.lower() or "level=error" in line.lower()]


ON_1, ON_2 = {"instance": "prosody1"}, {"instance": "prosody2"}
LAG = "pg_replication_lag_bytes"
INHIBITED = {
    "the page silences its ticket on the same node": (
        [
            {"alertname": "ProsodySessionsCritical", "severity": "critical", "job": "prosody", **ON_1},
            {"alertname": "ProsodySessionsHigh", "severity": "warning", "job": "prosody", **ON_1},
            {"alertname": "ProsodySessionsHigh", "severity": "warning", "job": "prosody", "instance": "prosody2"},
        ],
        [1],
    ),
    "a node that is down silences what runs on it, whatever the job": (
        [
            {"alertname": "NodeDown", "severity": "critical", **ON_1},
            {"alertname": "PushGatewayDown", "severity": "critical", "job": "push-gateway", **ON_1},
            {"alertname": "TargetDown", "severity": "critical", "job": "prosody", **ON_1},
            {"alertname": "PushGatewayDown", "severity": "critical", "job": "push-gateway", "instance": "prosody2"},
            {"alertname": "Watchdog", "severity": "none"},
            {"alertname": "PostgresReplicaMissing", "severity": "warning", "job": "postgresql"},
        ],
        [1, 2],
    ),
    "a target that is down silences its own job on its node": (
        [
            {"alertname": "TargetDown", "severity": "critical", "job": "prosody", **ON_1},
            {"alertname": "ProsodyMemoryHigh", "severity": "warning", "job": "prosody", **ON_1},
            {"alertname": "PushVoipFailuresHigh", "severity": "warning", "job": "push-gateway", **ON_1},
        ],
        [1],
    ),
    "a server that is down silences the tickets about it": (
        [
            {"alertname": "CoturnDown", "severity": "critical", "job": "coturn", "instance": "coturn1"},
            {"alertname": "CoturnPortsExhausted", "severity": "warning", "job": "coturn", "instance": "coturn1"},
            {"alertname": "CoturnPortsExhausted", "severity": "warning", "job": "coturn", "instance": "coturn2"},
        ],
        [1],
    ),
    "without a primary nobody streams from one": (
        [
            {"alertname": "PostgresNoPrimary", "severity": "critical", "job": "postgresql"},
            {"alertname": "PostgresDown", "severity": "critical", "job": "postgresql", "instance": "postgres1"},
            {"alertname": "PostgresReplicaMissing", "severity": "warning", "job": "postgresql"},
            {"alertname": "MetricAbsent", "severity": "warning", "job": "postgresql", "metric": LAG},
            {"alertname": "MetricAbsent", "severity": "warning", "job": "postgresql", "metric": "pg_up"},
            {"alertname": "PostgresReplicationLagHigh", "severity": "warning", "job": "postgresql", "instance": "b"},
        ],
        [1, 2, 3],
    ),
    "a lost replica, or its exporter, explains nothing about the other servers of its job": (
        [
            {"alertname": "TargetDown", "severity": "critical", "job": "postgresql", "instance": "postgres3"},
            {"alertname": "PostgresDown", "severity": "critical", "job": "postgresql", "instance": "postgres2"},
            {"alertname": "PostgresReplicationLagHigh", "severity": "warning", "job": "postgresql", "instance": "b"},
            {"alertname": "PostgresReplicaMissing", "severity": "warning", "job": "postgresql"},
            {
                "alertname": "PostgresReplicationLagHigh",
                "severity": "warning",
                "job": "postgresql",
                "instance": "postgres2",
            },
        ],
        [4],
    ),
    "a backend without nodes has fewer than two": (
        [
            {"alertname": "HaproxyNoNodes", "severity": "critical", "instance": "haproxy1", "proxy": "prosody_ws"},
            {
                "alertname": "HaproxyBackendNodesLow",
                "severity": "critical",
                "instance": "haproxy1",
                "proxy": "prosody_ws",
            },
            {
                "alertname": "HaproxyBackendNodesLow",
                "severity": "critical",
                "instance": "haproxy2",
                "proxy": "prosody_ws",
            },
        ],
        [1],
    ),
    "a pager that refuses stops the dead man's switch from being fed; another receiver does not": (
        [
            {"alertname": "AlertmanagerNotificationsFailing", "severity": "critical", "integration": "pagerduty"},
            {"alertname": "Watchdog", "severity": "none"},
        ],
        [1],
    ),
    "a ticket service that refuses leaves the dead man's switch alone": (
        [
            {"alertname": "AlertmanagerNotificationsFailing", "severity": "critical", "integration": "webhook"},
            {"alertname": "Watchdog", "severity": "none"},
        ],
        [],
    ),
    "a crash loop pages once": (
        [
            {"alertname": "PushGatewayCrashLoop", "severity": "critical", "job": "push-gateway", **ON_1},
            {"alertname": "PushGatewayDown", "severity": "critical", "job": "push-gateway", **ON_1},
        ],
        [1],
    ),
    "a node's own page explains the burn that it causes and what its test users notice, nothing of another node": (
        [
            {"alertname": "KnownCause", "severity": "none", "of": "node", **ON_2, "from": "prosody2", "to": "prosody2"},
            {"alertname": "PromiseBurnsFast", "severity": "critical", "sloth_id": "commeazy-login", **ON_2},
            {"alertname": "PromiseBurnsFast", "severity": "critical", "sloth_id": "commeazy-login", **ON_1},
            {"alertname": "PromiseBurnsFast", "severity": "critical", "sloth_id": "commeazy-message-delivered"},
            {"alertname": "PromiseBurnsSlowly", "severity": "warning", "sloth_id": "commeazy-login"},
            {"alertname": "SyntheticMessagesFailing", "severity": "critical", "from": "prosody1", "to": "prosody2"},
            {"alertname": "SyntheticMessagesFailing", "severity": "critical", "from": "prosody2", "to": "prosody1"},
            {"alertname": "SyntheticMessagesFailing", "severity": "critical", "from": "prosody1", "to": "prosody1"},
            {"alertname": "SyntheticLoginsFailing", "severity": "critical", "to": "prosody2"},
            {"alertname": "SyntheticLoginsFailing", "severity": "critical", "to": "any"},
        ],
        [1, 5, 6, 8],
    ),
    "a page about a whole service explains the burn of its promises, wherever it is": (
        [
            {"alertname": "KnownCause", "severity": "none", "of": "promise", "sloth_id": "commeazy-login"},
            {"alertname": "PromiseBurnsFast", "severity": "critical", "sloth_id": "commeazy-login"},
            {"alertname": "PromiseBurnsFast", "severity": "critical", "sloth_id": "commeazy-login", **ON_1},
            {"alertname": "PromiseBurnsFast", "severity": "critical", "sloth_id": "commeazy-turn"},
            {"alertname": "SyntheticLoginsFailing", "severity": "critical", "to": "prosody1"},
        ],
        [1, 2],
    ),
    "a target that cannot be read has no verdict": (
        [
            {"alertname": "CertificateProbeFailed", "severity": "warning", "instance": "monitoring", "target": "a"},
            {"alertname": "CertificateNotTrusted", "severity": "critical", "instance": "monitoring", "target": "a"},
            {"alertname": "CertificateNotTrusted", "severity": "critical", "instance": "monitoring", "target": "b"},
        ],
        [1],
    ),
}


@pytest.mark.parametrize("case", INHIBITED)
def test_alertmanager_inhibits_what_the_cause_explains(case: str) -> None:
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    config["receivers"] = [{"name": receiver["name"]} for receiver in config["receivers"]]  # they are called by nobody
    alerts, inhibited = INHIBITED[case]
    with alertmanager(config) as server:
        send(server.url, [{"labels": labels} for labels in alerts])
        for _ in range(100):
            answer = server.alerts()
            found = [alert["labels"] for alert in answer if alert["status"]["inhibitedBy"]]
            if len(found) >= len(inhibited) and all(alert["status"]["state"] != "unprocessed" for alert in answer):
                break
            time.sleep(0.05)  # until all were looked at; Alertmanager announces nothing
    assert sorted(found, key=str) == sorted((alerts[index] for index in inhibited), key=str)


def test_a_page_about_both_haproxies_names_both_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    """PagerDuty refuses an event whose summary is empty, which what two alerts have in common is."""
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    (tmp_path / "secret").write_text("secret-of-the-lab")
    nodes = ("haproxy1", "haproxy2")
    down = [
        {
            "labels": {"alertname": "HaproxyNoNodes", "severity": "critical", "job": "haproxy", "instance": node},
            "annotations": {"summary": f"{node}: no nodes", "description": "Restart it."},
        }
        for node in nodes
    ]
    with pager() as (port, events), alertmanager(redirected(config, port, str(tmp_path / "secret"))) as server:
        send(server.url, down)
        triggered = wait_for(events, "trigger")
        send(
            server.url,
            [alert | {"endsAt": "2020-01-01T00:00:00Z", "startsAt": "2019-01-01T00:00:00Z"} for alert in down],
        )
        resolved = wait_for(events, "resolve")
    summary = "haproxy1: no nodes; haproxy2: no nodes"
    assert triggered["payload"]["summary"] == summary
    assert triggered["payload"]["custom_details"]["firing"].count("Restart it.") == len(nodes)
    assert resolved["payload"]["summary"] == "HaproxyNoNodes is over"


class Given(Alertmanager):
    """An Alertmanager with this configuration."""

    def __init__(self, lab: Workspace, config: dict[str, Any]) -> None:
        super().__init__(lab, Receivers(lab))
        self._config = config

    def prepare(self) -> None:
        """Write the configuration as it is."""
        (self.directory / "alertmanager.yml").write_text(yaml.safe_dump(self._config))


@contextmanager
def alertmanager(config: dict[str, Any]) -> Iterator[Alertmanager]:
    """Run an Alertmanager with this configuration."""
    with Workspace() as lab:
        server = Given(lab, config)
        server.start()
        yield server


def send(url: str, alerts: list[dict[str, Any]]) -> None:
    body = json.dumps(alerts).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=5).close()


@contextmanager
def pager() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Take PagerDuty's events as it does; give the port and the events so far."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            blank = event["event_action"] == "trigger" and not event["payload"]["summary"].strip()
            events.append(event)
            self.send_response(400 if blank else 202)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, events
        server.shutdown()


def wait_for(events: list[dict[str, Any]], action: str) -> dict[str, Any]:
    """Return the first event of this kind."""
    deadline = time.monotonic() + 120
    while not (found := [event for event in events if event["event_action"] == action]):
        assert time.monotonic() < deadline, f"no {action} among {events}"
        time.sleep(0.1)  # until Alertmanager has told
    return found[0]
