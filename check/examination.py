"""Runs all checks of the specification's Section 20 G, and returns the verdicts in its order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import dashboards
from check import panels, retention, verdicts
from check.chosen import Chosen, chosen
from check.client import CannotAskError
from check.verdicts import Verdict

if TYPE_CHECKING:
    from check.grafana import GrafanaApi
    from check.prometheus import PrometheusApi


def examine(
    prometheus: PrometheusApi,
    grafana: GrafanaApi | None = None,
    choice: Chosen | None = None,
) -> list[Verdict]:
    """Return one verdict for each thing that is asked.

    Args:
        prometheus: that watches the service.
        grafana: that shows its dashboards; None for "not asked".
        choice: what it chose for its rules; None for the defaults.

    Raises:
        CannotAskError: Prometheus gives no answer that can be used. A Grafana that gives none is a verdict.
    """
    choice = choice or chosen()
    targets, rules = prometheus.targets(), prometheus.rules()
    present, silent = prometheus.query(verdicts.presence()), prometheus.query(verdicts.silence())
    return [
        *verdicts.targets(targets, choice.without),
        *_dashboards(grafana),
        *verdicts.rules(rules, choice),
        verdicts.watchdog(rules),
        *verdicts.alertmanagers(prometheus.alertmanagers(), prometheus.query(verdicts.refusals())),
        *verdicts.own_failures(prometheus.query(verdicts.failures())),
        *verdicts.metrics(targets, present, silent),
        retention.judge(prometheus.retention(), choice.promised),
        *verdicts.call_settings(prometheus.query(verdicts.ack_delay())),
    ]


def uids() -> list[str]:
    """Return the uid of every dashboard that we ship."""
    files = sorted(Path(str(dashboards.__file__)).parent.glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8"))["uid"] for file in files]


def _dashboards(grafana: GrafanaApi | None) -> list[Verdict]:
    if grafana is None:
        return [Verdict("-", "dashboards: not asked, no --grafana given")]
    try:
        found = list(verdicts.dashboards({uid: grafana.provisioned(uid) for uid in uids()}))
        return [*found, *verdicts.panels(panels.check(grafana, panels.read_dashboards()))]
    except CannotAskError as error:
        return [verdicts.fail(f"dashboards: Grafana cannot be asked: {error}")]
