"""The dashboards as a whole: which there are, what they link to, where panels stand, that they are up to date."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from tests.dashboards.model import DASHBOARDS, FOLDER, PAGES, all_panels

ROOT = FOLDER.parent
PROVISIONING = ROOT / "prometheus/grafana/provisioning"
WIDTH = 24  # columns of Grafana's grid
COLUMN, BESIDE_TITLE, LETTER = 53, 40, 7  # pixels on a screen 1366 wide: a column; margins and sign; a letter
SCREEN = 17  # of Grafana's rows fit below the variables on a screen 768 high


# Whose nodes each dashboard's variables list.
JOBS = {
    "prosody-overview": {"node": "prosody", "exporter": "synthetic"},
    "presence-health": {"node": "prosody", "exporter": "synthetic"},
    "websocket-health": {"node": "prosody", "exporter": "certificates", "users": "synthetic"},
    "push-gateway-health": {"node": "push-gateway"},
    "postgresql": {"node": "postgresql"},
    "coturn": {"node": "coturn", "exporter": "synthetic"},
    "haproxy": {"node": "haproxy"},
    "promises": {"node": "prosody", "exporter": "synthetic"},
    "hosts": {"node": "node"},
}


def test_there_are_the_seven_of_the_specification_the_promises_and_the_hosts() -> None:
    assert {uid: found["title"] for uid, found in DASHBOARDS.items()} == PAGES
    assert all(found["uid"] == uid for uid, found in DASHBOARDS.items())


@pytest.mark.parametrize("uid", PAGES)
def test_a_dashboard_is_of_the_schema_that_grafana_9_4_to_12_read(uid: str) -> None:
    found = DASHBOARDS[uid]
    assert found["schemaVersion"] == 39
    assert found["graphTooltip"] == 1, "one crosshair through all graphs"
    assert "id" not in found
    for panel in all_panels(uid):
        kind = panel.json["type"]
        assert kind in {"row", "text", "stat", "timeseries", "heatmap", "state-timeline", "table"}
        assert set(panel.json["gridPos"]) == {"x", "y", "w", "h"}
        for step in panel.json.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", []):
            assert set(step) == {"color", "value"}


@pytest.mark.parametrize("uid", PAGES)
def test_variables_are_a_data_source_and_nodes_from_a_metric_that_is_always_there(uid: str) -> None:
    source, *nodes = DASHBOARDS[uid]["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [variable["name"] for variable in nodes] == list(JOBS[uid])
    for variable in nodes:
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".+"
        assert variable["current"]["value"] == ["$__all"]
        assert variable["query"]["query"] == f'label_values(up{{job="{JOBS[uid][variable["name"]]}"}}, instance)'


@pytest.mark.parametrize("uid", PAGES)
def test_every_variable_that_is_used_is_there(uid: str) -> None:
    grafanas = {"__interval", "__rate_interval", "__field", "__value", "__dashboard", "__url_time_range", "__from"}
    used = set(re.findall(r"\$\{?([a-z_]\w*)", json.dumps(DASHBOARDS[uid])))
    assert used - grafanas - {"__all"} == {"datasource", *JOBS[uid]}


@pytest.mark.parametrize("uid", PAGES)
def test_the_data_source_is_ours_where_it_is_provisioned(uid: str) -> None:
    # Without a value Grafana takes the first Prometheus by name, not the default one.
    (provisioned,) = yaml.safe_load((PROVISIONING / "datasources/commeazy.yaml").read_text())["datasources"]
    source = DASHBOARDS[uid]["templating"]["list"][0]
    assert (source["current"]["text"], source["current"]["value"]) == (provisioned["name"], provisioned["uid"])


@pytest.mark.parametrize("uid", PAGES)
def test_firing_alerts_are_annotations_in_the_colour_of_their_severity_for_old_and_new_grafana(uid: str) -> None:
    marks = DASHBOARDS[uid]["annotations"]["list"][:2]
    assert [mark["iconColor"] for mark in marks] == ["dark-red", "orange"]
    (listed,) = (panel.json for panel in all_panels(uid) if panel.json["title"] == "Firing alerts")
    for mark, severity in zip(marks, ("critical", "warning"), strict=True):
        assert mark["enable"]
        now, before = mark["expr"].split(" unless ")
        same = now.replace(f'severity="{severity}"', 'severity!="none"')
        assert same in listed["targets"][0]["expr"], "one and the same alerts"
        assert before.replace(" offset $__interval", "") == now, "a line where it begins: a dozen areas hide the graph"
        of_its_job = f'job=~"{JOBS[uid]["node"]}|",instance=~"$node|"' in now
        assert of_its_job == (uid not in {"prosody-overview", "promises"}), "these two are about the whole service"
        selected = len(JOBS[uid]) + now.count("alertname=~")
        assert before.count(" offset $__interval") == selected
        assert now.count(f'ALERTS{{alertstate="firing",severity="{severity}",') == selected
        assert (mark["target"]["expr"], mark["target"]["interval"]) == (mark["expr"], mark["step"])
        assert mark["target"]["refId"]


@pytest.mark.parametrize("uid", PAGES)
def test_starts_and_planned_work_are_marked_on_every_page_from_queries_alone(uid: str) -> None:
    *alerts, starts, planned = DASHBOARDS[uid]["annotations"]["list"]
    assert all(mark["datasource"] == starts["datasource"] for mark in alerts), "no datasource that somebody writes to"
    assert (starts["name"], planned["name"]) == ("Starts and deploys", "Planned work")
    # A sample for each minute that a server runs, all with one value: one mark, at that time.
    assert starts["useValueForTime"] == "on"
    assert not planned["useValueForTime"]
    for mark in (starts, planned):
        assert mark["enable"]
        assert (mark["target"]["expr"], mark["target"]["interval"]) == (mark["expr"], mark["step"])
        promql.parse(mark["expr"].replace("$__from", "1"))


@pytest.mark.parametrize("uid", PAGES)
def test_ids_and_ref_ids_are_unique_and_there(uid: str) -> None:
    ids = [panel.json["id"] for panel in all_panels(uid)]
    assert len(set(ids)) == len(ids)
    assert all(isinstance(number, int) and number > 0 for number in ids)
    for panel in all_panels(uid):
        refs = [target["refId"] for target in panel.json.get("targets", [])]
        assert len(set(refs)) == len(refs)
        assert all(refs)


@pytest.mark.parametrize("uid", PAGES)
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


@pytest.mark.parametrize("uid", PAGES)
def test_panels_fill_the_width_and_are_large_enough_for_what_they_show(uid: str) -> None:
    lines: dict[tuple[int | None, int], list[dict[str, Any]]] = {}
    for heading in DASHBOARDS[uid]["panels"]:
        lines.setdefault((None, heading["gridPos"]["y"]), []).append(heading)
        for panel in heading.get("panels", ()):
            lines.setdefault((heading["id"], panel["gridPos"]["y"]), []).append(panel)
    for panels in lines.values():
        assert sum(panel["gridPos"]["w"] for panel in panels) == WIDTH
        assert len({panel["gridPos"]["h"] for panel in panels}) == 1
        for panel in panels:
            width, height = panel["gridPos"]["w"], panel["gridPos"]["h"]
            least = {"row": (WIDTH, 1), "stat": (4, 4)}.get(panel["type"], (10, 8))
            if panel["gridPos"]["y"] + height <= SCREEN and panel["type"] in {"table", "timeseries"}:
                least = (10, 7)  # the nodes and a whole graph, in what the tiles and alerts leave of the first screen
            if panel["title"] == "Firing alerts":
                least = (WIDTH, 4)
            assert width >= least[0]
            assert height >= least[1]
            assert len(panel["title"]) * LETTER <= width * COLUMN - BESIDE_TITLE, f"{panel['title']} is cut off"


@pytest.mark.parametrize("uid", PAGES)
def test_the_first_screen_shows_what_is_down_how_far_limits_are_what_is_firing_each_node_and_a_whole_graph(
    uid: str,
) -> None:
    first = [panel for panel in DASHBOARDS[uid]["panels"] if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= SCREEN]
    *tiles, alerts, nodes, graph = [panel for panel in first if panel["type"] != "row"]
    assert {panel["type"] for panel in tiles} == {"stat"}
    assert tiles[0]["title"] == "Alerts"
    assert tiles[1]["title"].endswith("down")
    assert alerts["title"] == "Firing alerts"
    assert (nodes["type"], graph["type"]) == ("table", "timeseries")


@pytest.mark.parametrize("uid", PAGES)
def test_detail_is_folded_away_at_the_end_and_so_is_what_the_dashboard_is_about(uid: str) -> None:
    rows = [panel for panel in DASHBOARDS[uid]["panels"] if panel["type"] == "row"]
    assert all(panel["collapsed"] == bool(panel["panels"]) for panel in rows)
    folds = [panel["collapsed"] for panel in rows]
    assert folds == sorted(folds)
    (text,) = rows[-1]["panels"]
    assert "runbooks" in text["options"]["content"]
    assert len(re.findall(r"\.(?:\s|$)", text["options"]["content"].split("\n\n")[0])) in (3, 4)


@pytest.mark.parametrize("uid", PAGES)
def test_the_links_to_the_others_fit_into_one_line_beside_the_variables(uid: str) -> None:
    links = sum(len(link["title"]) * LETTER + 60 for link in DASHBOARDS[uid]["links"])
    shown = [v for v in DASHBOARDS[uid]["templating"]["list"][1:] if not v["hide"]]
    variables = 220 + sum(len(v["label"]) * LETTER + 90 for v in shown)
    assert links + variables < WIDTH * COLUMN
    assert all(mark["hide"] for mark in DASHBOARDS[uid]["annotations"]["list"]), "its switch would take the place"
    assert DASHBOARDS[uid]["templating"]["list"][0]["hide"] == 1, "its label would take the place"


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


def test_importing_the_limits_reads_no_file_and_ends_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHOLDS", "/nowhere/my.yaml")
    monkeypatch.delitem(sys.modules, "dashboards.limits", raising=False)
    importlib.import_module("dashboards.limits")


# Section 14's signals, by hand: on which dashboard, in which panels of the first two screens.
SIGNALS: dict[str, list[tuple[str, str]]] = {
    "prosody-overview": [
        ("sessions", "Sessions"),
        ("stanza rate", "Stanzas/s"),
        ("memory", "Memory, largest node"),
        ("CPU", "Nodes"),
    ],
    "presence-health": [
        ("presence updates/s", "Presence updates/s"),
        ("hibernated sessions", "Hibernated sessions"),
        ("dead connections detected", "Dead connections, 10m"),
    ],
    "websocket-health": [
        ("active connections", "Active connections"),
        ("ping/pong latency", "Ping round trip"),
        ("connection errors", "Connection errors/s"),
    ],
    "push-gateway-health": [
        ("VoIP success", "VoIP success, worst"),
        ("FCM success", "FCM success, worst"),
        ("latency P99", "Latency"),
        ("failure rate", "Pushes/s"),
        ("memory", "Nodes"),
    ],
    "postgresql": [
        ("queries/s", "Transactions/s"),
        ("replication lag", "Replication lag"),
        ("connection pool", "Connections"),
    ],
    "coturn": [
        ("active allocations", "Active allocations"),
        ("bandwidth", "Bandwidth"),
        ("STUN against TURN", "Share that needs a relay"),
    ],
    "haproxy": [
        ("requests/s", "Requests/s"),
        ("backend health", "Prosody nodes in use"),
        ("latency", "Mean time to answer, last 1,024 requests"),
    ],
    "promises": [],
}


@pytest.mark.parametrize("uid", SIGNALS)
def test_every_signal_of_the_specification_is_on_the_first_two_screens(uid: str) -> None:
    seen = {panel["title"]: panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in DASHBOARDS[uid]["panels"]}
    for signal, title in SIGNALS[uid]:
        assert seen[title] <= 2 * SCREEN + 1, signal


def test_the_guide_names_the_panel_of_every_signal() -> None:
    guide = (ROOT / "docs/dashboards.md").read_text(encoding="utf-8")
    for uid, signals in SIGNALS.items():
        for signal, title in signals:
            assert f"| {PAGES[uid]} | {signal} | {title} |" in guide
