"""What panels answer to made-up samples, by Prometheus' own evaluation."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from check.panels import ALL, filled_in
from tests.dashboards.model import all_panels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KINDS = {"tile": "stat", "table": "table", "graph": "timeseries"}


def query(uid: str, kind: str, title: str, legend: str) -> str:
    """Return the query of a panel that has this legend: of a table its heading, of a tile's number "trend"."""
    (panel,) = (p.json for p in all_panels(uid) if (p.json["type"], p.json["title"]) == (KINDS[kind], title))
    (found,) = (target["expr"] for target in panel["targets"] if target["legendFormat"] == legend)
    return str(found)


def tile_verdict(uid: str, title: str) -> str:
    """Return the query of a tile's word: OK, WARNING, NODE DOWN."""
    (said,) = (
        target["expr"]
        for panel in all_panels(uid)
        if panel.json["title"] == title
        for target in panel.json["targets"]
        if target["legendFormat"].startswith("{{verdict}}")
    )
    return str(said)


def gives(  # noqa: PLR0913 - what is asked, of what, and when
    series: Mapping[str, str],
    folder: Path,
    expected: Mapping[str, Mapping[str, float]],
    at: str = "2m",
    *,
    nodes: str = ALL,
    interval: str = "15s",
) -> None:
    """Demand of promtool that each query gives these samples, by labels.

    Args:
        series: values as promtool writes them, by series.
        folder: where a file may be written.
        expected: by query, with Grafana's variables in it.
        at: how long after the first sample.
        nodes: those that are chosen.
        interval: from sample to sample.
    """
    case: dict[str, Any] = {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": filled_in(expr, {"node": nodes, "exporter": ALL}, "1m"),
                "eval_time": at,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expr, samples in expected.items()
        ],
    }
    file = folder / "test.yaml"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [], "evaluation_interval": "15s", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
