"""Every query of every panel on a real Prometheus that scrapes what the real exporters have answered."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from check.panels import Panel, PrometheusItself, Report, as_regex, check, filled_in, read_dashboards
from lab.fakes.recorded import Recorded, grown
from lab.running.server import Workspace
from lab.running.workspace import ROOT
from lab.servers.generator import Generator
from lab.servers.prometheus import Prometheus
from lab.stack import SHORT_TIMES, USERS, Lab
from tests.dashboards.model import selectors

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 240.0
# The versions in Debian 12, and later ones: HAProxy, postgres_exporter.
VERSIONS = (("haproxy-2.6", "postgres-exporter-0.11"), ("haproxy-3.2", "postgres-exporter-0.17"))
TURN = "turn+1.example.org:9872"  # a name that a regular expression would read in its own way
TABLES_OF_NODES = {"Nodes", "Servers", "HAProxys", "Hosts"}  # a dash in a cell: only a primary knows its replicas
OF_DISKS_AND_WAL = {
    "Time until a disk is full, by the last hour",
    "Time until a disk is full, by the last 6 hours",
    "Age of the last archived WAL",
    "Units that have failed",
}
OF_DAYS = {"Sessions tomorrow, if they go on growing", "Tries made, of those configured"}
OF_SESSIONS = {"Memory per session", "Share of sessions that hibernate", "Updates for each session an hour"}


@pytest.fixture(scope="module", params=VERSIONS, ids=" and ".join)
def prometheus(request: pytest.FixtureRequest) -> Iterator[Prometheus]:
    haproxy, postgres = request.param
    with Workspace() as lab:
        for job, instance, recording in (
            ("prosody", "prosody1", "prosody-exporter"),
            ("prosody", "prosody2", "prosody-exporter"),
            ("push-gateway", "prosody1", "push-gateway"),
            ("push-gateway", "prosody2", "push-gateway"),
            ("haproxy", "haproxy1", haproxy),
            ("postgresql", "postgres1", f"{postgres}-primary"),
            ("postgresql", "postgres2", f"{postgres}-replica"),
            ("coturn", TURN, "coturn-exporter"),
            ("certificates", "monitoring1", "certificate-exporter"),
            ("synthetic", "monitoring1", "synthetic-exporter"),
            ("node", "haproxy1", "node-exporter-1.5"),
        ):
            Recorded(lab, job, instance, recording).start()
        server = Prometheus(lab, interval=1)
        server.start()
        yield server


def _unexplained(report: Report) -> set[str]:
    """Return what is empty although every failure is played back: alerts may be, and what needs sessions."""
    return {name.split(": ", 1)[1] for name in report.empty} - {
        "Firing alerts",
        *TABLES_OF_NODES,
        *OF_SESSIONS,
        *OF_DAYS,
        *OF_DISKS_AND_WAL,
    }


def test_every_panel_has_data_for_all_nodes_and_for_one(prometheus: Prometheus) -> None:
    dashboards = read_dashboards()
    deadline = time.monotonic() + PATIENCE
    # Each round asks some 400 queries; rules and rates need a few scrapes.
    while (report := check(PrometheusItself(prometheus.url), dashboards)).wrong or _unexplained(report):
        assert time.monotonic() < deadline, report.lines()
    assert len(report.filled) + len(report.empty) == sum(len(dashboard.panels) for dashboard in dashboards)


@pytest.mark.parametrize("title", ["Streaming replicas", "Replication lag"])
def test_a_replica_alone_has_no_verdict_on_replication(prometheus: Prometheus, title: str) -> None:
    (dashboard,) = (one for one in read_dashboards() if one.title == "PostgreSQL")
    panel = next(one for one in dashboard.panels if one.title == title)  # the tile; a graph may have its title, too
    said = {}
    for node in ("postgres1", "postgres2", "postgres1|postgres2"):
        (sample,) = prometheus.query(filled_in(panel.queries[1].expr, {"node": node}, "20s"))
        said[node] = sample.value
    assert math.isnan(said["postgres2"])
    assert said["postgres1"] == said["postgres1|postgres2"] >= 0


def test_the_command_says_how_many_and_ends_well(prometheus: Prometheus) -> None:
    command = [sys.executable, "-m", "check.panels", "--prometheus", prometheus.url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    count = done.stdout.split()[0]
    assert done.stdout.startswith(f"{count} of {count} panels have data")


def test_a_target_that_is_gone_is_missed(prometheus: Prometheus) -> None:
    coturn = next(server for server in prometheus.lab.servers if server.name == f"coturn-{TURN}")
    coturn.kill()
    missed = "Coturn: Most allocations (query A for all nodes, A for one node"
    wrong: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while not any(line.startswith(missed) for line in wrong):
        assert time.monotonic() < deadline, wrong
        wrong = check(PrometheusItself(prometheus.url), read_dashboards()).wrong
    assert all(line.startswith("Coturn") for line in wrong)


def _about_test_users(panel: Panel) -> bool:
    return any("synthetic" in query.expr for query in panel.queries if "ALERTS" not in query.expr)


def test_a_real_prosody_with_users_fills_every_panel_about_prosody() -> None:
    with Lab(prosody_config=SHORT_TIMES) as lab:
        for server in (
            lab.prosody,
            lab.prosody_exporter,
            Generator([lab.prosody], USERS),
            lab.prometheus,
        ):
            server.start()
        dashboards = [
            replace(dashboard, panels=tuple(panel for panel in dashboard.panels if not _about_test_users(panel)))
            for dashboard in read_dashboards()
            if set(dashboard.jobs.values()) == {"prosody", "synthetic"} and dashboard.title != "Promises"  # test users'
        ]
        deadline = time.monotonic() + PATIENCE
        while (report := check(PrometheusItself(lab.prometheus.url), dashboards)).wrong or OF_SESSIONS & set(
            report.empty
        ):
            assert time.monotonic() < deadline, (report.wrong, OF_SESSIONS & set(report.empty))
        assert {dashboard.title for dashboard in dashboards} == {"Prosody Overview", "Presence Health"}


def test_no_prometheus_is_one_line_and_exit_code_2() -> None:
    command = [sys.executable, "-m", "check.panels", "--prometheus", "http://127.0.0.1:1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_variables_are_filled_in_as_grafana_does() -> None:
    asked = filled_in(
        'rate(a{instance=~"$node"}[$__rate_interval]) + b{instance=~"$exporter|"}',
        {"node": "n1", "exporter": ".+"},
        "2m",
    )
    assert asked == 'rate(a{instance=~"n1"}[2m]) + b{instance=~".+|"}'


@pytest.mark.parametrize("node", ["prosody1", "turn+1.example.org:9872", "a-b_c", "x(y)[z]|{w}^$*?'"])
def test_a_node_is_escaped_as_grafana_does_for_a_string_in_promql(node: str) -> None:
    sent = as_regex(node)
    ((selector, _),) = selectors(f'up{{instance=~"{sent}"}}')
    (matcher,) = selector.matchers.matchers
    assert re.fullmatch(matcher.value, node)
    assert not re.fullmatch(matcher.value, node.replace(".", "x") + "x")


def test_a_recording_grows_in_its_counters_alone() -> None:
    kinds = '# TYPE {} counter\n{}{{x="1"}} {}\n# TYPE b gauge\nb 5\n# TYPE c histogram\n'
    text = kinds.format("a", "a", "2") + 'c_bucket{le="1"} 0\nc_sum 3\nc_count 1\n'
    assert grown(text, 2) == kinds.format("a", "a", "4.0") + 'c_bucket{le="1"} 2.0\nc_sum 3\nc_count 3.0\n'
