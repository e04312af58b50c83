"""What panels answer to made-up samples, by Prometheus' own evaluation; and in which order a table shows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from check.panels import ALL
from tests.dashboards.answers import gives, query, tile_verdict
from tests.dashboards.model import DATA_PANELS, all_panels, selectors

if TYPE_CHECKING:
    from pathlib import Path

# --- The replicas of a primary ---------------------------------------------------------------------------------------


def test_a_primary_whose_replica_is_gone_has_none_and_a_replica_is_not_asked(tmp_path: Path) -> None:
    given = {
        'pg_settings_in_hot_standby{instance="postgres1"}': "0x9",
        'pg_settings_in_hot_standby{instance="postgres2"}': "1x9",
        'pg_stat_replication_pg_wal_lsn_diff{state="streaming",instance="postgres1"}': "8",
    }
    graph = query("postgresql", "graph", "Streaming replicas of each primary", "{{instance}}")
    one, none = {'{instance="postgres1"}': 1.0}, {'{instance="postgres1"}': 0.0}
    for at, expected in (("0m", one), ("9m", none)):  # a sample counts for five minutes
        gives(given, tmp_path, {graph: expected}, at, interval="1m")


def _standby(node: str, value: int) -> dict[str, str]:
    labels = f'job="postgresql",instance="{node}"'
    return {
        f"up{{{labels}}}": "1x8",
        f"pg_up{{{labels}}}": "1x8",
        f"pg_settings_in_hot_standby{{{labels}}}": f"{value}x8",
    }


def _streams(node: str, name: str, values: str) -> dict[str, str]:
    labels = f'job="postgresql",instance="{node}",application_name="{name}",state="streaming"'
    return {f"pg_stat_replication_pg_wal_lsn_diff{{{labels}}}": values}


PAIR = _standby("postgres1", 0) | _standby("postgres2", 1)
REPLICA = _streams("postgres1", "walreceiver", "0x8")
ARCHIVER = _streams("postgres1", "pg_receivewal", " ".join(["NaN"] * 9))
CASCADE = _streams("postgres2", "walreceiver", "0x8")
SUBSCRIBER = _streams("postgres1", "reports", "0x8") | {
    'pg_replication_slots_active{job="postgresql",instance="postgres1",slot_name="reports",database="commeazy"}': "1x8"
}
PRIMARY_DOWN = {
    'up{job="postgresql",instance="postgres1"}': "1x8",
    'pg_up{job="postgresql",instance="postgres1"}': "0x8",
    **_standby("postgres2", 1),
}


@pytest.mark.parametrize(
    ("series", "nodes", "verdict", "column"),
    [
        pytest.param(PAIR | REPLICA, ALL, "OK", 1, id="a replica"),
        pytest.param(PAIR | REPLICA | ARCHIVER | SUBSCRIBER, ALL, "OK", 1, id="a replica and others"),
        pytest.param(PAIR, ALL, "WARNING", 0, id="none"),
        pytest.param(PAIR | ARCHIVER, ALL, "WARNING", 0, id="an archiver"),
        pytest.param(PAIR | CASCADE, ALL, "WARNING", 0, id="a cascade"),
        pytest.param(PAIR | SUBSCRIBER, ALL, "WARNING", 0, id="a logical subscriber"),
        pytest.param(PAIR | REPLICA, "postgres1", "OK", 1, id="the primary alone"),
        pytest.param(PAIR | REPLICA | CASCADE, "postgres2", "a replica", None, id="a replica alone, with a cascade"),
        pytest.param(PRIMARY_DOWN | CASCADE, ALL, "NODE DOWN", None, id="the primary is down"),
        pytest.param(PRIMARY_DOWN, "postgres2", "a replica", None, id="a replica alone, without its primary"),
        pytest.param(_standby("postgres1", 1) | _standby("postgres2", 1), ALL, "WARNING", None, id="no primary"),
    ],
)
def test_a_replica_is_what_the_alert_takes_for_one(
    series: dict[str, str], nodes: str, verdict: str, column: int | None, tmp_path: Path
) -> None:
    said = tile_verdict("postgresql", "Streaming replicas")
    cell = query("postgresql", "table", "Servers", "replicas")
    graph = query("postgresql", "graph", "Streaming replicas of each primary", "{{instance}}")
    number: dict[str, float] = {} if column is None else {'{instance="postgres1"}': column}
    expected: dict[str, dict[str, float]] = {
        f"count by (verdict) ({said})": {f'{{verdict="{verdict}"}}': 1},
        f"({cell}) == ({cell})": number,  # a dash, where nothing is known, is NaN
        graph: number,
    }
    gives(series, tmp_path, expected, nodes=nodes)


# --- One number, wherever it is shown --------------------------------------------------------------------------------

REQUESTS = 'haproxy_frontend_http_requests_total{job="haproxy",instance="node1",proxy="users"}'
COMMITS = 'pg_stat_database_xact_commit{job="postgresql",instance="node1",datname="commeazy"}'
ROLLBACKS = 'pg_stat_database_xact_rollback{job="postgresql",instance="node1",datname="commeazy"}'
ANSWERS = {"haproxy": "up", "postgresql": "pg_up", "coturn": "coturn_up"}
TRAFFIC = 'coturn_traffic_bytes_total{{job="coturn",instance="node1",side="{}",direction="{}"}}'


def _counts(a_second: int) -> str:
    """Return a counter that grows for three minutes and stands still for five."""
    return f"0+{15 * a_second}x12 {15 * 12 * a_second}x20"


@pytest.mark.parametrize(
    ("uid", "series", "panels", "value"),
    [
        pytest.param(
            "haproxy",
            {REQUESTS: _counts(4), REQUESTS.replace("users", "stats"): _counts(9)},
            [
                ("tile", "Requests/s", "trend", "{}"),
                ("table", "HAProxys", "requests/s", '{instance="node1"}'),
                ("graph", "Requests/s by frontend", "{{instance}} {{proxy}}", '{instance="node1",proxy="users"}'),
            ],
            4,
            id="requests",
        ),
        pytest.param(
            "postgresql",
            {COMMITS: _counts(4), ROLLBACKS: _counts(1)},
            [
                ("tile", "Transactions/s", "trend", "{}"),
                ("table", "Servers", "trans/s", '{instance="node1"}'),
                ("graph", "Transactions/s", "{{instance}}", '{instance="node1"}'),
            ],
            5,
            id="transactions",
        ),
        pytest.param(
            "coturn",
            {
                TRAFFIC.format("client", "received"): _counts(3),
                TRAFFIC.format("peer", "received"): _counts(4),
                TRAFFIC.format("client", "sent"): _counts(2),
                TRAFFIC.format("peer", "sent"): _counts(3),
            },
            [
                ("tile", "Bandwidth, fullest node", "trend", "{}"),
                ("table", "Servers", "bandwidth", '{instance="node1"}'),
                ("graph", "Bandwidth", "{{instance}} received", '{instance="node1"}'),
            ],
            8 * (3 + 4),  # the link is full when one of its directions is
            id="bandwidth",
        ),
    ],
)
def test_a_tile_a_cell_and_a_line_of_one_node_show_one_number_and_none_two_minutes_after_all_has_stopped(
    uid: str, series: dict[str, str], panels: list[tuple[str, str, str, str]], value: float, tmp_path: Path
) -> None:
    service = {f'{metric}{{job="{uid}",instance="node1"}}': "1x40" for metric in ("up", ANSWERS[uid])}
    for at, number in (("3m", value), ("5m15s", 0)):
        shown = {
            f"round({query(uid, kind, title, legend)}, 0.001)": {labels: number}
            for kind, title, legend, labels in panels
        }
        gives(service | series, tmp_path, shown, at)


def test_the_bandwidth_of_several_nodes_is_that_of_the_fullest(tmp_path: Path) -> None:
    received, sent = TRAFFIC.format("client", "received"), TRAFFIC.format("client", "sent")
    series = {received: _counts(5), sent.replace("node1", "node2"): _counts(6)}
    series |= {f'coturn_up{{job="coturn",instance="{node}"}}': "1x20" for node in ("node1", "node2")}
    tile = query("coturn", "tile", "Bandwidth, fullest node", "trend")
    gives(series, tmp_path, {f"round({tile}, 0.001)": {"{}": 48}}, "3m")


def test_a_state_is_what_was_reported_and_missing_for_an_hour_after_the_last_report(tmp_path: Path) -> None:
    series = {
        'prosody_up{job="prosody",instance="prosody1"}': "1x300",
        'prosody_up{job="prosody",instance="prosody2"}': "1x3 0x300",
        'prosody_up{job="prosody",instance="prosody3"}': "1x3 stale",
    }
    (panel,) = (p.json for p in all_panels("prosody-overview") if p.json["title"] == "Prosody answers")
    (target,) = panel["targets"]
    of = '{{job="prosody",instance="prosody{}"}}'.format
    reported = {of(1): 1.0, of(2): 0.0}
    for at, shown in (("2m", reported | {of(3): -1.0}), ("62m", reported)):
        gives(series, tmp_path, {target["expr"]: shown}, at)


# --- HAProxy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "each", "verdict"),
    [("0", 0, "OK"), ("0.05", 9, "OK"), ("0.051", 9, "WARNING"), ("0.051", 1, "too few"), ("NaN", 0, "too few")],
)
def test_the_share_of_5xx_answers_is_judged_if_they_are_enough_for_the_alert(
    ratio: str, each: int, verdict: str, tmp_path: Path
) -> None:
    errors = 'haproxy_frontend_http_responses_total{job="haproxy",instance="haproxy1",proxy="wss",code="5xx"}'
    series = {
        'up{job="haproxy",instance="haproxy1"}': "1x8",
        'instance:haproxy_errors:ratio{job="haproxy",instance="haproxy1"}': " ".join([ratio] * 9),
        errors: f"0+{each}x8",
    }
    said = tile_verdict("haproxy", "5xx answers, worst")
    gives(series, tmp_path, {f"count by (verdict) ({said})": {f'{{verdict="{verdict}"}}': 1}})


def test_a_panel_that_says_which_servers_are_in_use_knows_their_weight() -> None:
    # A server with weight 0 is UP and gets no users; the rule of haproxy_backend_up knows that.
    claims = [
        panel
        for panel in DATA_PANELS
        if panel.uid == "haproxy"
        and ("nodes in use" in panel.json["title"] or '"IN USE"' in json.dumps(panel.json["fieldConfig"]))
    ]
    assert claims
    for panel in claims:
        for target in panel.json["targets"]:
            asked = {str(selector.name) for selector, _ in selectors(target["expr"])}
            assert asked & {"haproxy_backend_up", "haproxy_server_weight"}, panel.name


def test_critical_alerts_are_listed_first_and_of_each_severity_the_newest() -> None:
    (listed,) = (panel.json for panel in all_panels("prosody-overview") if panel.json["title"] == "Firing alerts")
    assert listed["options"]["sortBy"] == [
        {"displayName": "severity", "desc": False},
        {"displayName": "since", "desc": True},
    ]
