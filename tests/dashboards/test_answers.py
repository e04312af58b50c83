"""What panels answer to made-up samples, by Prometheus' own evaluation; and in which order a table shows them."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from check.panels import filled_in, read_dashboards
from tests.dashboards.model import all_panels

if TYPE_CHECKING:
    from pathlib import Path


def test_a_primary_whose_replica_is_gone_has_none_and_a_replica_is_not_asked(tmp_path: Path) -> None:
    (dashboard,) = (one for one in read_dashboards() if one.title == "PostgreSQL")
    (panel,) = (one for one in dashboard.panels if one.title == "Streaming replicas of each primary")
    streaming = 'pg_stat_replication_pg_wal_lsn_diff{state="streaming",instance="postgres1"}'
    given = {
        'pg_settings_in_hot_standby{instance="postgres1"}': "0x9",
        'pg_settings_in_hot_standby{instance="postgres2"}': "1x9",
        streaming: "8",
    }
    expected = {"0m": 1, "9m": 0}  # a sample counts for five minutes
    test = {
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in given.items()],
                "promql_expr_test": [
                    {
                        "expr": filled_in(panel.queries[0].expr, {"node": ".+"}),
                        "eval_time": moment,
                        "exp_samples": [{"labels": '{instance="postgres1"}', "value": value}],
                    }
                    for moment, value in expected.items()
                ],
            }
        ]
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(test))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_critical_alerts_are_listed_first_and_of_each_severity_the_newest() -> None:
    (listed,) = (panel.json for panel in all_panels("prosody-overview") if panel.json["title"] == "Firing alerts")
    assert listed["options"]["sortBy"] == [
        {"displayName": "severity", "desc": False},
        {"displayName": "since", "desc": True},
    ]
