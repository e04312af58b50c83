"""The dashboards as a whole: which there are, what they link to, where panels stand, that they are up to date."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from alerts.catalogue import KNOBS
from alerts.thresholds import DEFAULTS
from tests.dashboards.model import DASHBOARDS, DATA_PANELS, FOLDER, PANELS, SEVEN, Panel, all_panels

ROOT = FOLDER.parent
PROVISIONING = ROOT / "prometheus/grafana/provisioning"
WIDTH = 24
RED, ORANGE = "dark-red", "orange"
# Which alerts' thresholds each panel draws, written by hand: uid, panel, [(alert, colour)].
LIMITS: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("prosody-overview", "Sessions"): [("ProsodySessionsHigh", ORANGE), ("ProsodySessionsCritical", RED)],
    ("prosody-overview", "Sessions, fullest node"): [("ProsodySessionsHigh", ORANGE), ("ProsodySessionsCritical", RED)],
    ("prosody-overview", "Stanzas a second"): [("ProsodyStanzaRateHigh", ORANGE)],
    ("prosody-overview", "Stanzas a second, busiest node"): [("ProsodyStanzaRateHigh", ORANGE)],
    ("prosody-overview", "Memory"): [("ProsodyMemoryHigh", ORANGE)],
    ("prosody-overview", "Memory, largest node"): [("ProsodyMemoryHigh", ORANGE)],
    ("presence-health", "read_timeout, longest"): [("ProsodyReadTimeoutHigh", ORANGE)],
    ("presence-health", "smacks_hibernation_time, longest"): [("ProsodyHibernationTimeHigh", ORANGE)],
    ("websocket-health", "First certificate to expire"): [("CertificateExpiringSoon", ORANGE)],
    ("websocket-health", "Days left"): [("CertificateExpiringSoon", ORANGE)],
    ("push-gateway-health", "VoIP success, worst node"): [("PushVoipFailuresHigh", ORANGE)],
    ("push-gateway-health", "FCM success, worst node"): [("PushFcmFailuresHigh", ORANGE)],
    ("push-gateway-health", "Latency P99, slowest handler"): [("PushLatencyHigh", ORANGE)],
    ("push-gateway-health", "Restarts in 10m, worst node"): [("PushGatewayCrashLoop", RED)],
    ("push-gateway-health", "VoIP: share that fails"): [("PushVoipFailuresHigh", ORANGE)],
    ("push-gateway-health", "FCM: share that fails"): [("PushFcmFailuresHigh", ORANGE)],
    ("push-gateway-health", "Latency"): [("PushLatencyHigh", ORANGE)],
    ("push-gateway-health", "Memory"): [("PushGatewayMemoryHigh", ORANGE)],
    ("postgresql", "Replicas that stream"): [("PostgresReplicaMissing", ORANGE)],
    ("postgresql", "Streaming replicas of each primary"): [("PostgresReplicaMissing", ORANGE)],
    ("postgresql", "Replication lag"): [("PostgresReplicationLagHigh", ORANGE)],
    ("postgresql", "Replication lag, furthest replica"): [("PostgresReplicationLagHigh", ORANGE)],
    ("coturn", "Active allocations"): [("CoturnAllocationsHigh", ORANGE)],
    ("coturn", "Active allocations, fullest node"): [("CoturnAllocationsHigh", ORANGE)],
    ("coturn", "Quota used, worst node"): [("CoturnQuotaNearlyUsed", ORANGE)],
    ("coturn", "Share of the quota in use"): [("CoturnQuotaNearlyUsed", ORANGE)],
    ("haproxy", "Prosody nodes in use"): [("HaproxyBackendNodesLow", RED)],
    ("haproxy", "Prosody nodes in use, fewest"): [("HaproxyBackendNodesLow", RED)],
}
# Stats of things of which one is enough: no threshold of an alert, an edge at 1.
COUNTED = {
    "Nodes that do not answer",
    "Settings that break a promise",
    "Certificates not trusted",
    "Renewed but not served",
    "Gateways that do not answer",
    "Servers that do not answer",
    "Calls without a relay port",
    "HAProxys that do not answer",
}
SUCCESSES = {"VoIP success, worst node", "FCM success, worst node"}  # 1 minus what the alert watches
FILE = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))


def test_there_are_the_seven_of_the_specification() -> None:
    assert {uid: found["title"] for uid, found in DASHBOARDS.items()} == SEVEN
    assert all(found["uid"] == uid for uid, found in DASHBOARDS.items())


@pytest.mark.parametrize("uid", SEVEN)
def test_a_dashboard_is_of_the_schema_that_grafana_9_4_to_12_read(uid: str) -> None:
    found = DASHBOARDS[uid]
    assert found["schemaVersion"] == 39
    assert "id" not in found
    for panel in all_panels(uid):
        kind = panel.json["type"]
        assert kind in {"row", "text", "stat", "timeseries", "heatmap", "state-timeline", "table"}
        assert set(panel.json["gridPos"]) == {"x", "y", "w", "h"}
        for step in panel.json.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", []):
            assert set(step) == {"color", "value"}


@pytest.mark.parametrize("uid", SEVEN)
def test_variables_are_a_data_source_and_nodes_from_a_metric_that_is_always_there(uid: str) -> None:
    source, *nodes = DASHBOARDS[uid]["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert nodes[0]["name"] == "node"
    for variable in nodes:
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["current"]["value"] == ["$__all"]
        assert re.fullmatch(r'label_values\(up\{job="[\w-]+"\}, instance\)', variable["query"]["query"])


@pytest.mark.parametrize("uid", SEVEN)
def test_the_data_source_is_ours_where_it_is_provisioned(uid: str) -> None:
    # Without a value Grafana takes the first Prometheus by name, not the default one.
    (provisioned,) = yaml.safe_load((PROVISIONING / "datasources/commeazy.yaml").read_text())["datasources"]
    source = DASHBOARDS[uid]["templating"]["list"][0]
    assert (source["current"]["text"], source["current"]["value"]) == (provisioned["name"], provisioned["uid"])


@pytest.mark.parametrize("uid", SEVEN)
def test_firing_alerts_are_annotations_for_old_and_new_grafana(uid: str) -> None:
    (firing,) = DASHBOARDS[uid]["annotations"]["list"]
    assert 'ALERTS{alertstate="firing"' in firing["expr"]
    assert (firing["target"]["expr"], firing["target"]["interval"]) == (firing["expr"], firing["step"])
    assert firing["target"]["refId"]


@pytest.mark.parametrize("uid", SEVEN)
def test_ids_and_ref_ids_are_unique_and_there(uid: str) -> None:
    ids = [panel.json["id"] for panel in all_panels(uid)]
    assert len(set(ids)) == len(ids)
    assert all(isinstance(number, int) and number > 0 for number in ids)
    for panel in all_panels(uid):
        refs = [target["refId"] for target in panel.json.get("targets", [])]
        assert len(set(refs)) == len(refs)
        assert all(refs)


@pytest.mark.parametrize("uid", SEVEN)
def test_no_panel_overlaps_another_or_leaves_the_grid(uid: str) -> None:
    top = DASHBOARDS[uid]["panels"]
    for panels in (top, *([heading, *heading["panels"]] for heading in top if heading.get("panels"))):
        taken: dict[tuple[int, int], str] = {}
        for panel in panels:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= WIDTH
            for cell in (
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            ):
                assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
                taken[cell] = panel["title"]


@pytest.mark.parametrize("uid", SEVEN)
def test_the_first_row_says_whether_it_is_healthy_then_what_fires_and_what_this_is(uid: str) -> None:
    heading, *rest = DASHBOARDS[uid]["panels"]
    assert heading["title"] == "Is it healthy now?"
    stats = [panel for panel in rest if panel["gridPos"]["y"] == 1]
    assert {panel["type"] for panel in stats} == {"stat"}
    assert stats[0]["title"] == "Firing alerts"
    alerts, text = rest[len(stats) : len(stats) + 2]
    assert (alerts["title"], text["type"]) == ("What fires", "text")
    assert "runbooks" in text["options"]["content"]
    assert len(re.findall(r"\.(?:\s|$)", text["options"]["content"].split("\n\n")[0])) == 3
    assert not any(panel["type"] == "stat" for panel in rest[len(stats) :])
    folds = [panel["collapsed"] for panel in rest if panel["type"] == "row"]
    assert folds == sorted(folds), "detail is folded away, at the end"
    assert folds[-1]


def _edges(panel: Panel) -> list[tuple[float, str]]:
    steps = panel.json["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    worse = [(step["value"], step["color"]) for step in steps]
    # On a stat the colour below an edge may be the bad one.
    pairs = itertools.pairwise(worse)
    return [(value, below if colour == "blue" else colour) for (_, below), (value, colour) in pairs]


def _drawn() -> dict[tuple[str, str], list[tuple[float, str]]]:
    found = {
        (panel.uid, panel.json["title"]): _edges(panel)
        for panel in DATA_PANELS
        if panel.json["type"] in ("stat", "timeseries") and panel.json["title"] not in COUNTED
    }
    return {where: edges for where, edges in found.items() if edges}


def test_every_threshold_line_is_the_alerts() -> None:
    expected = {
        where: [
            (1 - FILE[alert]["value"] if where[1] in SUCCESSES else FILE[alert]["value"], colour)
            for alert, colour in alerts
        ]
        for where, alerts in LIMITS.items()
    }
    assert _drawn() == expected


def test_every_threshold_line_is_in_sight_while_all_is_well() -> None:
    # Grafana's axis ends where the data do: without a least end the line shows only once it is crossed.
    for panel in DATA_PANELS:
        if panel.json["type"] == "timeseries" and (edges := _edges(panel)):
            defaults = panel.json["fieldConfig"]["defaults"]
            assert max(value for value, _ in edges) < defaults.get("max", defaults["custom"].get("axisSoftMax", 0))


def test_every_alert_with_a_threshold_is_drawn_somewhere() -> None:
    drawn = {alert for alerts in LIMITS.values() for alert, _ in alerts}
    assert drawn == {alert for alert, knobs in KNOBS.items() if "value" in knobs}


def test_what_is_counted_is_bad_from_one_on() -> None:
    counted = [panel for panel in DATA_PANELS if panel.json["title"] in COUNTED]
    assert {panel.json["title"] for panel in counted} == COUNTED
    assert all(_edges(panel) == [(1, RED)] or _edges(panel) == [(1, ORANGE)] for panel in counted)


@pytest.mark.parametrize("panel", [p for p in DATA_PANELS if p.json["type"] == "stat"], ids=lambda panel: panel.name)
def test_a_verdict_in_words_changes_where_its_colour_does(panel: Panel) -> None:
    if panel.json["title"] == "Firing alerts":
        return
    edges = {value for value, _ in _edges(panel)}
    (override,) = panel.json["fieldConfig"]["overrides"]
    ranges = [m["options"] for m in override["properties"][0]["value"] if m["type"] == "range"]
    ends = {end for one in ranges for end in (one["from"], one["to"]) if abs(end) < 1e15}
    assert ends == edges
    assert all(any(one["from"] <= value <= one["to"] for one in ranges) for value in (-1.0, 0.0, *edges, 1e12))
    # The number takes its colour from the same ranges: a threshold's step would call the edge itself bad.
    number = [m["options"] for m in panel.json["fieldConfig"]["defaults"]["mappings"] if m["type"] == "range"]
    assert [(one["from"], one["to"], one["result"]["color"]) for one in number] == [
        (one["from"], one["to"], one["result"]["color"]) for one in ranges
    ]
    assert not any("text" in one["result"] for one in number), "the number would be lost"


@pytest.mark.parametrize("panel", [p for p in DATA_PANELS if p.json["type"] == "stat"], ids=lambda panel: panel.name)
def test_a_stat_keeps_nan_apart_from_no_data(panel: Panel) -> None:
    # From Grafana 10 on lastNotNull takes NaN for null: a gateway without work would show NO DATA.
    assert panel.json["options"]["reduceOptions"]["calcs"] == ["last"]


def test_generating_twice_gives_what_is_committed(tmp_path: Path) -> None:
    copies = [Path(shutil.copy(path, tmp_path)) for path in sorted(FOLDER.glob("*.dashboard.py"))]
    command = [str(Path(sys.executable).with_name("generate-dashboards")), *map(str, copies)]
    for _ in range(2):
        subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
        for uid in DASHBOARDS:
            assert (tmp_path / f"{uid}.json").read_text() == (FOLDER / f"{uid}.json").read_text(), "run make generate"


def test_other_thresholds_move_the_lines(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("ProsodyMemoryHigh: {value: 12_000_000_000, reason: bigger nodes}\n")
    copy = Path(shutil.copy(FOLDER / "prosody-overview.dashboard.py", tmp_path))
    command = [str(Path(sys.executable).with_name("generate-dashboards")), str(copy)]
    environment = {"PYTHONPATH": str(ROOT), "THRESHOLDS": str(tmp_path / "my.yaml")}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    text = (tmp_path / "prosody-overview.json").read_text()
    assert "12000000000" in text
    assert " 6000000000" not in text


def test_thresholds_that_cannot_be_used_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("ProsodyMemoryHigh: {value: much, reason: why}\n")
    copy = Path(shutil.copy(FOLDER / "prosody-overview.dashboard.py", tmp_path))
    command = [str(Path(sys.executable).with_name("generate-dashboards")), str(copy)]
    environment = {"PYTHONPATH": str(ROOT), "THRESHOLDS": str(tmp_path / "my.yaml")}
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "my.yaml:1" in done.stderr


def test_every_panel_of_the_specification_is_there() -> None:
    """Section 14's seven lines, signal by signal, each with a panel that a reader finds by its title."""
    titles = {panel.name for panel in PANELS}
    for wanted in (
        *("prosody-overview: Sessions", "prosody-overview: Stanzas a second", "prosody-overview: Memory"),
        *(
            "prosody-overview: CPU",
            "presence-health: Presence updates a second",
            "presence-health: Hibernated sessions",
        ),
        *("presence-health: Dead connections detected", "websocket-health: Active WebSocket sessions"),
        *("websocket-health: Ping and pong", "websocket-health: Connection errors a second"),
        *("push-gateway-health: VoIP success, worst node", "push-gateway-health: FCM success, worst node"),
        *("push-gateway-health: Latency", "push-gateway-health: VoIP: share that fails", "push-gateway-health: Memory"),
        *("postgresql: Transactions a second", "postgresql: Replication lag", "postgresql: Connections"),
        *("coturn: Active allocations", "coturn: Bandwidth", "coturn: Share that needs a relay"),
        *("haproxy: Requests a second", "haproxy: Servers in use", "haproxy: Mean time to answer, last 1,024 requests"),
    ):
        assert wanted in titles
