"""What the panels about alerts say when some fire, and when no rule is evaluated: their own queries, by promtool."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alerts.generate import RULES
from check.panels import ALL, filled_in
from tests.dashboards.model import DASHBOARDS, PAGES

if TYPE_CHECKING:
    from pathlib import Path

# From 30 s on coturn1 is down, from 60 s on prosody2; after four minutes both alerts fire, whose `for` is a minute.
DOWN = {
    'coturn_up{job="coturn",instance="coturn1"}': "1x1 0x20",
    'prosody_up{job="prosody",instance="prosody1"}': "1x20",
    'prosody_up{job="prosody",instance="prosody2"}': "1x3 0x20",
}
FIRING = {
    '{about="coturn",alertname="CoturnDown",instance="coturn1",job="coturn",severity="critical"}': 30_000,
    '{about="prosody",alertname="ProsodyDown",instance="prosody2",job="prosody",severity="critical"}': 60_000,
}
COTURN, PROSODY = FIRING
# What each dashboard shows of them, by the chosen nodes.
SHOWN: dict[tuple[str, str], list[str]] = {
    **{(uid, ALL): [] for uid in PAGES},
    ("prosody-overview", ALL): [COTURN, PROSODY],  # the landing page: alerts of every job
    ("presence-health", ALL): [PROSODY],
    ("websocket-health", ALL): [PROSODY],
    ("promises", ALL): [COTURN, PROSODY],  # about the whole service, too
    ("coturn", ALL): [COTURN],
    ("prosody-overview", "prosody1"): [],
    ("prosody-overview", "prosody2"): [PROSODY],
    ("presence-health", "prosody1|prosody2"): [PROSODY],
}


def _asked(uid: str, title: str, nodes: str) -> list[str]:
    (panel,) = (panel for panel in DASHBOARDS[uid]["panels"] if panel["title"] == title)
    return [filled_in(target["expr"], {"node": nodes, "exporter": ALL}, "2m") for target in panel["targets"]]


def _promtool(folder: Path, rules: list[str], expected: list[tuple[str, dict[str, int]]]) -> None:
    checks = [
        {
            "expr": expr,
            "eval_time": "4m",
            "exp_samples": [{"labels": key, "value": value} for key, value in found.items()],
        }
        for expr, found in expected
    ]
    case: dict[str, Any] = {"interval": "15s", "promql_expr_test": checks}
    case["input_series"] = [{"series": series, "values": values} for series, values in DOWN.items()]
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "15s", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("uid", "nodes"), SHOWN, ids="-".join)
def test_the_alerts_of_the_service_and_the_chosen_nodes_are_counted_and_listed_with_their_beginning(
    uid: str, nodes: str, tmp_path: Path
) -> None:
    shown = SHOWN[uid, nodes]
    critical, warning = _asked(uid, "Alerts", nodes)
    (listed,) = _asked(uid, "Firing alerts", nodes)
    expected = [(critical, {"{}": len(shown)}), (warning, {"{}": 0}), (listed, {key: FIRING[key] for key in shown})]
    _promtool(tmp_path, [str(path) for path in sorted(RULES.glob("*.yaml"))], expected)


@pytest.mark.parametrize("uid", PAGES)
def test_no_alert_is_counted_while_nobody_evaluates_the_rules_and_0_would_be_a_lie(uid: str, tmp_path: Path) -> None:
    _promtool(tmp_path, [], [(expr, {}) for expr in _asked(uid, "Firing alerts", ALL)])
