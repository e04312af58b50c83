"""What a tile says while a node does not answer, or while nothing is known at all: its own query, by promtool."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from check.panels import ALL, filled_in
from tests.dashboards.model import DATA_PANELS, Panel

if TYPE_CHECKING:
    from pathlib import Path

# For each kind of verdict, what there is when one of two does not answer. Numbers of the one that answers may be good.
PARTLY_DOWN: dict[str, dict[str, str]] = {
    "prosody_up": {
        'up{job="prosody",instance="prosody1"}': "1x8",
        'up{job="prosody",instance="prosody2"}': "1x8",
        'prosody_up{job="prosody",instance="prosody1"}': "1x8",
        'prosody_up{job="prosody",instance="prosody2"}': "0x8",
        'prosody_stanza_rate{job="prosody",instance="prosody1"}': "40x8",
        'prosody_presence_updates_total{job="prosody",instance="prosody1",type="available"}': "0+30x8",
        'instance:prosody_websocket_ping_seconds:p99{job="prosody",instance="prosody1"}': "0.001x8",
    },
    "push_gateway_up": {
        'up{job="push-gateway",instance="prosody1"}': "1x8",
        'up{job="push-gateway",instance="prosody2"}': "0x8",
        'push_gateway_up{job="push-gateway",instance="prosody1"}': "1x8",
        'push_gateway_up{job="push-gateway",instance="prosody2"}': "0x8",
        'instance:push_voip_failed:ratio{job="push-gateway",instance="prosody1"}': "0x8",
        'instance:push_voip_failed:ratio{job="push-gateway",instance="prosody2"}': "0x8",
        'instance:push_fcm_failed:ratio{job="push-gateway",instance="prosody1"}': "0x8",
        'push_gateway_uptime_seconds{job="push-gateway",instance="prosody1"}': "100+15x8",
        'push_provider_state{job="push-gateway",instance="prosody1",handler="voip"}': "1x8",
    },
    "pg_up": {
        'up{job="postgresql",instance="postgres1"}': "1x8",
        'up{job="postgresql",instance="postgres2"}': "0x8",  # its exporter is gone: there is no pg_up of it
        'pg_up{job="postgresql",instance="postgres1"}': "1x8",
        'pg_replication_lag_bytes{job="postgresql",instance="postgres1"}': "0x8",
    },
    "coturn_up": {
        'up{job="coturn",instance="coturn1"}': "1x8",
        'up{job="coturn",instance="coturn2"}': "1x8",
        'coturn_up{job="coturn",instance="coturn1"}': "1x8",
        'coturn_up{job="coturn",instance="coturn2"}': "0x8",
        'coturn_active_allocations{job="coturn",instance="coturn1"}': "3x8",
    },
    'up{job="node"': {
        'up{job="node",instance="db1"}': "1x8",
        'up{job="node",instance="db2"}': "0x8",
        'instance_mountpoint:node_filesystem_free:ratio{job="node",instance="db1",mountpoint="/"}': "0.9x8",
        'node_memory_MemAvailable_bytes{job="node",instance="db1"}': "9x8",
        'node_memory_MemTotal_bytes{job="node",instance="db1"}': "10x8",
        'instance:node_cpu_used:ratio{job="node",instance="db1"}': "0.1x8",
        'node_systemd_unit_state{job="node",instance="db1",name="a.service",state="failed"}': "0x8",
    },
    'up{job="haproxy"': {
        'up{job="haproxy",instance="haproxy1"}': "1x8",
        'up{job="haproxy",instance="haproxy2"}': "0x8",
        'haproxy_backend_up{job="haproxy",instance="haproxy1"}': "3x8",
    },
    "ssl_certificate_probe_success": {
        'ssl_certificate_probe_success{job="certificates",instance="m",target="wss"}': "1x8",
        'ssl_certificate_probe_success{job="certificates",instance="m",target="turn"}': "0x8",
        'ssl_certificate_trusted{job="certificates",instance="m",target="wss"}': "1x8",
        'ssl_certificate_expiry_days{job="certificates",instance="m",target="wss"}': "80x8",
    },
}
PARTLY_DOWN |= {
    'up{job="synthetic"': {
        'up{job="synthetic",instance="m1"}': "1x8",
        'up{job="synthetic",instance="m2"}': "0x8",
        'slo:coverage:ratio{sloth_slo="login"}': "1x8",
        'slo:period_error_budget_remaining:ratio{sloth_slo="login"}': "1x8",
    }
}
VERDICTS = [
    panel
    for panel in DATA_PANELS
    if panel.json["type"] == "stat" and panel.json["targets"][0]["legendFormat"].startswith("{{verdict}}")
]
DOWN = ("NODE DOWN", "PROBE FAILED", "NOT MEASURED")
JUDGING = [panel for panel in VERDICTS if any(f'"{word}"' in panel.json["targets"][0]["expr"] for word in DOWN)]


def _verdicts(panel: Panel, series: dict[str, str], folder: Path, expected: str) -> None:
    expr = panel.json["targets"][0]["expr"]
    _gives(series, folder, {f"count by (verdict) ({expr})": {f'{{verdict="{expected}"}}': 1}})


def _gives(series: dict[str, str], folder: Path, expected: dict[str, dict[str, float]]) -> None:
    """Demand of promtool that each query gives these samples."""
    checks = [
        {
            "expr": filled_in(expr, {"node": ALL, "exporter": ALL}, "1m"),
            "eval_time": "2m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
        }
        for expr, samples in expected.items()
    ]
    case: dict[str, Any] = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": checks,
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "15s", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("panel", JUDGING, ids=lambda panel: panel.name)
def test_no_tile_says_ok_or_now_while_something_that_it_is_about_does_not_answer(panel: Panel, tmp_path: Path) -> None:
    expr = panel.json["targets"][0]["expr"]
    down = expr[: expr.index('"verdict"')]
    (series,) = (series for word, series in PARTLY_DOWN.items() if word in down)
    (word,) = (word for word in DOWN if f'"{word}"' in expr)
    _verdicts(panel, series, tmp_path, word)


def test_every_tile_with_a_number_says_what_is_down() -> None:
    assert JUDGING == VERDICTS


@pytest.mark.parametrize("panel", VERDICTS, ids=lambda panel: panel.name)
def test_every_tile_says_no_data_while_prometheus_has_none(panel: Panel, tmp_path: Path) -> None:
    _verdicts(panel, {"another_metric": "1x8"}, tmp_path, "NO DATA")


def test_a_tile_is_ok_when_all_is_well_so_that_the_tests_above_can_fail(tmp_path: Path) -> None:
    (panel,) = (panel for panel in JUDGING if panel.json["title"] == "VoIP success, worst")
    well = {
        name: "1x8" if name.startswith(("up", "push_gateway_up")) else "0x8" for name in PARTLY_DOWN["push_gateway_up"]
    }
    _verdicts(panel, well, tmp_path, "OK")


TABLES = [p for p in DATA_PANELS if p.json["type"] == "table" and p.json["targets"][0]["legendFormat"] == "state"]
OF_ANOTHER = {"handed on"}  # Prosody's count of what it gave to the gateway beside it: true while the gateway is down


@pytest.mark.parametrize("panel", TABLES, ids=lambda panel: panel.name)
def test_a_table_keeps_the_row_and_every_cell_of_a_node_that_is_down_and_shows_no_number_of_it(
    panel: Panel, tmp_path: Path
) -> None:
    state, *cells = panel.json["targets"]
    (series,) = (series for word, series in PARTLY_DOWN.items() if word in state["expr"])
    up, down = sorted({name.split('instance="')[1].split('"')[0] for name in series})
    expected = {state["expr"]: {f'{{instance="{up}"}}': 1.0, f'{{instance="{down}"}}': 0.0}}
    for cell in cells:
        rows = f"count by (instance) ({cell['expr']})"
        expected[rows] = {f'{{instance="{node}"}}': 1.0 for node in (up, down)}
        if cell["legendFormat"] not in OF_ANOTHER:
            known = f'count(({cell["expr"]}) == ({cell["expr"]}) and on (instance) up{{instance="{down}"}})'
            expected[known] = {}
    _gives({**series, **_last_words(series, down)}, tmp_path, expected)


def _last_words(series: dict[str, str], node: str) -> dict[str, str]:
    """Return what is still known of a node that has just ended: rates and averages of the minutes before."""
    return {
        name.replace(f'instance="{other}"', f'instance="{node}"'): values
        for name, values in series.items()
        for other in [name.split('instance="')[1].split('"')[0]]
        if other != node
        and not name.startswith(("up{", "prosody_up", "pg_up", "coturn_up", "push_gateway_up"))
        and name.replace(f'instance="{other}"', f'instance="{node}"') not in series
    }


@pytest.mark.parametrize(
    ("sessions", "verdict"),
    [
        (100, '{verdict="OK",share=", 0 %"}'),
        (30_000, '{verdict="OK",share=", 75 %"}'),
        (40_000, '{verdict="OK",share=", 100 %"}'),
        (40_001, '{verdict="WARNING",share=", 100 %"}'),
        (52_000, '{verdict="CRITICAL",share=", 130 %"}'),
    ],
)
def test_a_tile_says_how_many_per_cent_of_its_limit_a_number_is(sessions: int, verdict: str, tmp_path: Path) -> None:
    (panel,) = (panel for panel in JUDGING if panel.json["title"] == "Sessions, fullest node")
    series = {
        'up{job="prosody",instance="prosody1"}': "1x8",
        'prosody_up{job="prosody",instance="prosody1"}': "1x8",
        'prosody_c2s_sessions{job="prosody",instance="prosody1",transport="websocket"}': f"{sessions}x8",
    }
    _gives(series, tmp_path, {panel.json["targets"][0]["expr"]: {verdict: sessions}})
