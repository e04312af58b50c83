"""Verdicts and lines: each is about what its alert is about, stands where the alert's threshold does, and says so."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta

import promql_parser as promql
import pytest
import yaml

from alerts.catalogue import GROUPS, KNOBS
from alerts.thresholds import DEFAULTS, load
from tests.alerts.promql import result_labels
from tests.dashboards.model import DATA_PANELS, Panel, plain, selectors, walk
from tests.dashboards.samples import LABELS

RED, ORANGE = "dark-red", "orange"
# Which alerts' thresholds each panel draws, written by hand: uid, panel, [(alert, colour)].
LIMITS: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("prosody-overview", "Sessions"): [("ProsodySessionsHigh", ORANGE), ("ProsodySessionsCritical", RED)],
    ("prosody-overview", "Sessions, fullest node"): [("ProsodySessionsHigh", ORANGE), ("ProsodySessionsCritical", RED)],
    ("prosody-overview", "Stanzas a second"): [("ProsodyStanzaRateHigh", ORANGE)],
    ("prosody-overview", "Stanzas/s, busiest node"): [("ProsodyStanzaRateHigh", ORANGE)],
    ("prosody-overview", "Share of logins that fail"): [("ProsodyLoginsFail", RED)],
    ("prosody-overview", "Memory"): [("ProsodyMemoryHigh", ORANGE)],
    ("prosody-overview", "Memory, largest node"): [("ProsodyMemoryHigh", ORANGE)],
    ("presence-health", "read_timeout, longest"): [("ProsodyReadTimeoutHigh", ORANGE)],
    ("presence-health", "smacks_hibernation_time, longest"): [("ProsodyHibernationTimeHigh", ORANGE)],
    ("websocket-health", "First certificate to expire"): [("CertificateExpiringSoon", ORANGE)],
    ("websocket-health", "Days left"): [("CertificateExpiringSoon", ORANGE)],
    ("push-gateway-health", "VoIP success, worst node"): [("PushVoipFailuresHigh", ORANGE)],
    ("push-gateway-health", "FCM success, worst node"): [("PushFcmFailuresHigh", ORANGE)],
    ("push-gateway-health", "Latency P99, worst handler"): [("PushLatencyHigh", ORANGE)],
    ("push-gateway-health", "Restarts in 10m, worst node"): [("PushGatewayCrashLoop", RED)],
    ("presence-health", "smacks_max_ack_delay, longest"): [("ProsodyAckDelayHigh", ORANGE)],
    ("push-gateway-health", "VoIP: share that fails"): [("PushVoipFailuresHigh", ORANGE)],
    ("push-gateway-health", "FCM: share that fails"): [("PushFcmFailuresHigh", ORANGE)],
    ("push-gateway-health", "Latency"): [("PushLatencyHigh", ORANGE)],
    ("push-gateway-health", "Memory"): [("PushGatewayMemoryHigh", ORANGE)],
    ("postgresql", "Replicas that stream"): [("PostgresReplicaMissing", ORANGE)],
    ("postgresql", "Streaming replicas of each primary"): [("PostgresReplicaMissing", ORANGE)],
    ("postgresql", "Replication lag"): [("PostgresReplicationLagHigh", ORANGE)],
    ("postgresql", "Replication lag, furthest replica"): [("PostgresReplicationLagHigh", ORANGE)],
    ("coturn", "Active allocations"): [("CoturnAllocationsHigh", ORANGE)],
    ("coturn", "Allocations, fullest node"): [("CoturnAllocationsHigh", ORANGE)],
    ("coturn", "Quota used, worst node"): [("CoturnQuotaNearlyUsed", ORANGE)],
    ("coturn", "Share of the quota in use"): [("CoturnQuotaNearlyUsed", ORANGE)],
    ("haproxy", "Prosody nodes in use"): [("HaproxyBackendNodesLow", RED)],
    ("haproxy", "Prosody nodes in use, fewest"): [("HaproxyBackendNodesLow", RED)],
}
# Stats of things of which one is enough, by the alert that says how bad it is: no threshold, an edge at 1.
COUNTED = {
    ("prosody-overview", "Nodes that do not answer"): "ProsodyDown",
    ("presence-health", "Nodes that do not answer"): "ProsodyDown",
    ("websocket-health", "Nodes that do not answer"): "ProsodyDown",
    ("prosody-overview", "Unsafe settings"): "ProsodyStoresMessages",
    ("websocket-health", "Certificates not trusted"): "CertificateNotTrusted",
    ("websocket-health", "Renewed but not served"): "CertificateNotReloaded",
    ("push-gateway-health", "Gateways that do not answer"): "PushGatewayDown",
    ("postgresql", "Servers that do not answer"): "PostgresDown",
    ("coturn", "Servers that do not answer"): "CoturnDown",
    ("coturn", "Calls without a relay port"): "CoturnPortsExhausted",
    ("haproxy", "HAProxys that do not answer"): "TargetDown",
}
SUCCESSES = {"VoIP success, worst node", "FCM success, worst node"}  # 1 minus what the alert watches
FILE = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
THRESHOLDS = load(KNOBS)
EXPR = {alert.name: alert.expr.replace("<window>", "5m") for alerts in GROUPS.values() for alert in alerts}
COLOURS = {"critical": RED, "warning": ORANGE}


def _place(panel: Panel) -> tuple[str, str]:
    return panel.uid, panel.json["title"]


STATS = [panel for panel in DATA_PANELS if panel.json["type"] == "stat"]
VERDICTS = [panel for panel in STATS if panel.json["title"] != "Firing alerts"]
COUNTS = [panel for panel in STATS if panel not in VERDICTS]
SERIES = [panel for panel in DATA_PANELS if panel.json["type"] == "timeseries"]


def _edges(panel: Panel) -> list[tuple[float, str]]:
    steps = panel.json["fieldConfig"]["defaults"]["thresholds"]["steps"]
    worse = [(step["value"], step["color"]) for step in steps]
    # On a stat the colour below an edge may be the bad one.
    pairs = itertools.pairwise(worse)
    return [(value, below if colour == "blue" else colour) for (_, below), (value, colour) in pairs]


def _fires_below(alert: str) -> bool:
    return "< <value>" in EXPR[alert]


# --- Where the limits are --------------------------------------------------------------------------------------------


def test_every_threshold_line_is_the_alerts() -> None:
    expected = {
        where: [
            (1 - FILE[alert]["value"] if where[1] in SUCCESSES else FILE[alert]["value"], colour)
            for alert, colour in alerts
        ]
        for where, alerts in LIMITS.items()
    }
    drawn = {_place(panel): _edges(panel) for panel in (*VERDICTS, *SERIES) if _place(panel) not in COUNTED}
    assert {where: edges for where, edges in drawn.items() if edges} == expected


def test_what_is_counted_is_bad_from_one_on() -> None:
    counted = {_place(panel): _edges(panel) for panel in VERDICTS if _place(panel) not in LIMITS}
    assert counted == {where: [(1, COLOURS[FILE[alert]["severity"]])] for where, alert in COUNTED.items()}


def test_every_alert_with_a_threshold_is_drawn_somewhere() -> None:
    drawn = {alert for alerts in LIMITS.values() for alert, _ in alerts}
    # About Prometheus and Alertmanager, which no dashboard of the service shows.
    drawn |= {"AlertmanagerNotificationsFailing", "TargetFlapping"}
    assert drawn == {alert for alert, knobs in KNOBS.items() if "value" in knobs}


@pytest.mark.parametrize("panel", SERIES, ids=lambda panel: panel.name)
def test_a_line_is_drawn_where_there_is_a_limit_and_is_in_sight_while_all_is_well(panel: Panel) -> None:
    defaults = panel.json["fieldConfig"]["defaults"]
    edges = [value for value, _ in _edges(panel)]
    assert defaults["custom"]["thresholdsStyle"]["mode"] == ("dashed" if edges else "off")
    assert defaults["thresholds"]["mode"] == "absolute"
    if edges:
        # Grafana's axis ends where the data do: without a least end the line shows only once it is crossed. At the
        # bottom of an axis many times as long nobody sees on which side of it a value is.
        end = defaults.get("max", defaults["custom"].get("axisSoftMax", 0))
        assert max(edges) < end < 1.5 * max(edges)


@pytest.mark.parametrize("panel", [*VERDICTS, *SERIES], ids=lambda panel: panel.name)
def test_a_description_says_the_limit(panel: Panel) -> None:
    said = panel.json["description"].lower()
    for alert, _ in LIMITS.get(_place(panel), ()):
        turned = panel.json["title"] in SUCCESSES
        limit = "95 %" if turned else THRESHOLDS[alert].limit.lower()
        assert f"{FILE[alert]['severity']} {'below' if turned or _fires_below(alert) else 'above'} {limit}" in said
    if _place(panel) in COUNTED:
        assert said.endswith(f"{FILE[COUNTED[_place(panel)]]['severity']} from 1 on.")


# --- What a verdict is about -----------------------------------------------------------------------------------------


def _asked(expr: str) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    """Return what an expression asks for, apart from the node."""
    expr = re.sub(r"<\w+>", "1", expr)
    return [
        (found.name, frozenset((m.name, m.value) for m in found.matchers.matchers if m.name != "instance"))
        for found, _ in selectors(expr)
    ]


def _query(panel: Panel) -> str:
    """Return the one query of which a stat shows the number and the verdict."""
    (expr,) = {plain(target["expr"]) for target in panel.json["targets"]}
    return expr


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_verdict_is_about_the_series_of_its_alert(panel: Panel) -> None:
    asked = _asked(_query(panel))
    for alert, _ in LIMITS.get(_place(panel), ()):
        assert _asked(EXPR[alert])[0] in asked
    if _place(panel) in COUNTED:
        assert _asked(EXPR[COUNTED[_place(panel)]])[0][0] in {name for name, _ in asked}


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_verdict_looks_back_as_far_as_its_alert_on_every_screen_and_time_range(panel: Panel) -> None:
    for node, _ in walk(promql.parse(_query(panel))):
        if isinstance(node, promql.MatrixSelector):
            (alert,) = {name for name, _ in LIMITS.get(_place(panel), ())} or {COUNTED[_place(panel)]}
            assert node.range == timedelta(minutes=int(FILE[alert]["window"].removesuffix("m")))


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_verdict_is_one_number_and_that_of_the_worst_node(panel: Panel) -> None:
    expr = _query(panel)
    assert result_labels(expr, LABELS) == frozenset()
    outermost = next(str(node.op) for node, _ in walk(promql.parse(expr)) if isinstance(node, promql.AggregateExpr))
    for alert, _ in LIMITS.get(_place(panel), ()):
        counts = EXPR[alert].lstrip("(\n ").startswith("count")
        assert outermost == ("count" if counts else "min" if _fires_below(alert) else "max")
    assert _place(panel) not in COUNTED or outermost in ("count", "sum")


# --- In words and colours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_a_verdict_in_words_changes_where_its_colour_does(panel: Panel) -> None:
    edges = {value for value, _ in _edges(panel)}
    (override,) = panel.json["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byFrameRefID", "options": "B"}
    ranges = [m["options"] for m in override["properties"][0]["value"] if m["type"] == "range"]
    ends = {end for one in ranges for end in (one["from"], one["to"]) if abs(end) < 1e15}
    assert ends == edges
    assert all(any(one["from"] <= value <= one["to"] for one in ranges) for value in (-1.0, 0.0, *edges, 1e12))
    words = {"OK": "blue", "WARNING": ORANGE, "CRITICAL": RED}
    assert all(words[one["result"]["text"]] == one["result"]["color"] for one in ranges)
    # The number takes its colour from the same ranges: a threshold's step would call the edge itself bad.
    number = [m["options"] for m in panel.json["fieldConfig"]["defaults"]["mappings"] if m["type"] == "range"]
    assert [(one["from"], one["to"], one["result"]["color"]) for one in number] == [
        (one["from"], one["to"], one["result"]["color"]) for one in ranges
    ]
    assert not any("text" in one["result"] for one in number), "the number would be lost"


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_no_data_is_a_fault_and_nothing_to_judge_is_none(panel: Panel) -> None:
    (override,) = panel.json["fieldConfig"]["overrides"]
    for mappings in (panel.json["fieldConfig"]["defaults"]["mappings"], override["properties"][0]["value"]):
        special = {m["options"]["match"]: m["options"]["result"] for m in mappings if m["type"] == "special"}
        assert (special["null"]["text"], special["null"]["color"]) == ("NO DATA", RED)
        nothing = special["nan"]
        assert nothing["color"] == (RED if nothing["text"] == "NO DATA" else "blue")


@pytest.mark.parametrize("panel", COUNTS, ids=lambda panel: panel.name)
def test_one_alert_has_the_colour_of_its_severity_and_no_data_that_of_a_fault(panel: Panel) -> None:
    config = panel.json["fieldConfig"]
    (nothing,) = config["defaults"]["mappings"]
    assert nothing["options"]["match"] == "null+nan"
    assert (nothing["options"]["result"]["text"], nothing["options"]["result"]["color"]) == ("NO DATA", RED)
    assert [target["legendFormat"] for target in panel.json["targets"]] == list(COLOURS)
    for (severity, colour), override in zip(COLOURS.items(), config["overrides"], strict=True):
        (asked,) = (target for target in panel.json["targets"] if target["refId"] == override["matcher"]["options"])
        assert f'severity="{severity}"' in asked["expr"]
        steps = override["properties"][0]["value"]["steps"]
        assert [(step["value"], step["color"]) for step in steps] == [(None, "blue"), (1, colour)]


@pytest.mark.parametrize("panel", STATS, ids=lambda panel: panel.name)
def test_a_stat_shows_what_is_now_and_fills_its_panel_with_the_colour(panel: Panel) -> None:
    assert all(target["instant"] for target in panel.json["targets"]), "an old value would outlive its node"
    # From Grafana 10 on lastNotNull takes NaN for null: a gateway without work would show NO DATA.
    assert panel.json["options"]["reduceOptions"] == {"calcs": ["last"], "fields": "", "values": False}
    assert panel.json["options"]["colorMode"] == "background"
