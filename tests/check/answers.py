"""What a Prometheus answers that watches one whole node of everything; written by hand, for tests to spoil."""

from __future__ import annotations

import copy
from typing import Any

from alerts import promises
from alerts.catalogue import GROUPS, KNOBS
from alerts.jobs import JOBS
from alerts.objectives import Promises
from alerts.objectives import load as load_objectives
from alerts.panels import PANELS
from alerts.recording import RECORDINGS
from alerts.thresholds import load
from check import verdicts
from check.contract import PROMISED
from check.items import RECORDED, checklist

TARGETS: list[dict[str, Any]] = [
    {
        "labels": {"job": job, "instance": f"{job}1"},
        "scrapePool": job,
        "scrapeUrl": f"http://{job}1:1/metrics",
        "lastError": "",
        "lastScrapeDuration": 0.01,
        "health": "up",
    }
    for job in JOBS
]


def promise_rules(promised: Promises) -> list[dict[str, Any]]:
    """Return the rules that measure these promises, as Prometheus lists them."""
    return [
        {"name": rule["record"], "type": "recording", "health": "ok", "labels": rule.get("labels", {})}
        for group in promises.rules(promised, "0").values()
        for rule in group
    ]


_SEVERITY = {name: threshold.severity for name, threshold in load(KNOBS).items()}
RULES: list[dict[str, Any]] = [
    *(
        {
            "name": alert.name,
            "type": "alerting",
            "health": "ok",
            "state": "firing" if alert.name == "Watchdog" else "inactive",
            "labels": {"severity": _SEVERITY[alert.name], **alert.labels},
        }
        for group in GROUPS.values()
        for alert in group
    ),
    *({"name": each.record, "type": "recording", "health": "ok"} for each in (*RECORDINGS, *PANELS)),
    *promise_rules(load_objectives(KNOBS)),
    *({"name": RECORDED, "type": "recording", "health": "ok", "labels": {"id": item}} for item in checklist().items),
]
SERIES: list[dict[str, Any]] = [
    {"metric": {"__name__": promise.name, "job": job, "instance": f"{job}1"}, "value": [1700000000.5, "1"]}
    for job, promises in PROMISED.items()
    for promise in promises
]


def prometheus() -> dict[str, Any]:
    """Return the answers by path and, for a query, its expression: all is well."""

    def data(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        return {"status": "success", "data": copy.deepcopy(parts)}

    def found(series: list[dict[str, Any]]) -> dict[str, Any]:
        return data(resultType="vector", result=series)

    return {
        "/api/v1/targets": data(activeTargets=TARGETS, droppedTargets=[]),
        "/api/v1/rules": data(groups=[{"name": "all", "file": "all.yaml", "rules": RULES}]),
        "/api/v1/alertmanagers": data(activeAlertmanagers=[{"url": "http://localhost:9093/api/v2/alerts"}]),
        "/api/v1/status/runtimeinfo": data(storageRetention="90d"),
        f"/api/v1/query {verdicts.presence()}": found(SERIES),
        f"/api/v1/query {verdicts.silence()}": found([]),
        f"/api/v1/query {verdicts.refusals()}": found([]),
        f"/api/v1/query {verdicts.failures()}": found([]),
        f"/api/v1/query {verdicts.ack_delay()}": found(
            [{"metric": {"job": "prosody", "instance": "prosody1"}, "value": [1700000000.5, "5"]}]
        ),
    }
