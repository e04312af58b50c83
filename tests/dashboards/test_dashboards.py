"""The dashboards as a whole: which there are, what they link to, where panels stand, that they are up to date."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards.model import DASHBOARDS, FOLDER, PANELS, SEVEN, all_panels

ROOT = FOLDER.parent
PROVISIONING = ROOT / "prometheus/grafana/provisioning"
WIDTH = 24  # columns of Grafana's grid
COLUMN, BESIDE_TITLE, LETTER = (
    58,
    40,
    7,
)  # pixels on a screen 1440 wide: a column; margins and the sign of a description


# Whose nodes each dashboard's variables list.
JOBS = {
    "prosody-overview": {"node": "prosody"},
    "presence-health": {"node": "prosody"},
    "websocket-health": {"node": "prosody", "exporter": "certificates"},
    "push-gateway-health": {"node": "push-gateway"},
    "postgresql": {"node": "postgresql"},
    "coturn": {"node": "coturn"},
    "haproxy": {"node": "haproxy"},
}


def test_there_are_the_seven_of_the_specification() -> None:
    assert {uid: found["title"] for uid, found in DASHBOARDS.items()} == SEVEN
    assert all(found["uid"] == uid for uid, found in DASHBOARDS.items())


@pytest.mark.parametrize("uid", SEVEN)
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


@pytest.mark.parametrize("uid", SEVEN)
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


@pytest.mark.parametrize("uid", SEVEN)
def test_every_variable_that_is_used_is_there(uid: str) -> None:
    grafanas = {"__rate_interval", "__field", "__value", "__dashboard", "__url_time_range"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARDS[uid])))
    assert used - grafanas - {"__all"} == {"datasource", *JOBS[uid]}


@pytest.mark.parametrize("uid", SEVEN)
def test_the_data_source_is_ours_where_it_is_provisioned(uid: str) -> None:
    # Without a value Grafana takes the first Prometheus by name, not the default one.
    (provisioned,) = yaml.safe_load((PROVISIONING / "datasources/commeazy.yaml").read_text())["datasources"]
    source = DASHBOARDS[uid]["templating"]["list"][0]
    assert (source["current"]["text"], source["current"]["value"]) == (provisioned["name"], provisioned["uid"])


@pytest.mark.parametrize("uid", SEVEN)
def test_firing_alerts_are_annotations_for_old_and_new_grafana(uid: str) -> None:
    (firing,) = DASHBOARDS[uid]["annotations"]["list"]
    assert firing["enable"]
    (listed,) = (panel.json for panel in all_panels(uid) if panel.json["title"] == "What fires")
    assert f"({firing['expr']})" in listed["targets"][0]["expr"], "one and the same alerts"
    assert firing["expr"].count('ALERTS{alertstate="firing",severity!="none",') == len(JOBS[uid])
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
            least = {"row": (WIDTH, 1), "stat": (4, 4)}.get(panel["type"], (6, 7))
            assert width >= least[0]
            assert height >= least[1]
            assert len(panel["title"]) * LETTER <= width * COLUMN - BESIDE_TITLE, f"{panel['title']} is cut off"


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
    rows = [panel for panel in rest if panel["type"] == "row"]
    assert all(panel["collapsed"] == bool(panel["panels"]) for panel in rows)
    folds = [panel["collapsed"] for panel in rows]
    assert folds == sorted(folds), "detail is folded away, at the end"
    assert folds[-1]


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
        *("presence-health: Dead connections detected", "websocket-health: Active connections"),
        *("websocket-health: Ping and pong", "websocket-health: Connection errors a second"),
        *("push-gateway-health: VoIP success, worst node", "push-gateway-health: FCM success, worst node"),
        *("push-gateway-health: Latency", "push-gateway-health: VoIP: share that fails", "push-gateway-health: Memory"),
        *("postgresql: Transactions a second", "postgresql: Replication lag", "postgresql: Connections"),
        *("coturn: Active allocations", "coturn: Bandwidth", "coturn: Share that needs a relay"),
        *("haproxy: Requests a second", "haproxy: Servers in use", "haproxy: Mean time to answer, last 1,024 requests"),
    ):
        assert wanted in titles
