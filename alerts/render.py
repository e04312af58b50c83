"""Turns catalogue and thresholds into the text of Prometheus' rule files; reads and writes no file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from alerts import promises
from alerts.catalogue import GROUPS, Alert, fill
from alerts.objectives import Objective, Promises
from alerts.panels import PANELS
from alerts.recording import RECORDINGS
from alerts.thresholds import Threshold
from toolkit.values import duration

# Set for every group, because a `for` of 30s relies on it: the defaults of Prometheus and vmalert differ.
INTERVAL: Final = "15s"
# They notify nobody, and have a rule all the same.
WITHOUT_SEVERITY: Final = ("Watchdog", "KnownCause")


@dataclass(frozen=True)
class Links:
    """Where runbooks and dashboards are found; an alert's page is the base, a slash and its name."""

    runbooks: str
    dashboards: str

    def runbook(self, alert: str) -> str:
        """Return the URL of an alert's runbook."""
        return f"{self.runbooks.rstrip('/')}/{alert}.md"

    def dashboard(self, alert: Alert) -> str:
        """Return the URL of an alert's dashboard, with the alert's node selected."""
        page = f"{self.dashboards.rstrip('/')}/{alert.dashboard}"
        if not (alert.node_label and alert.variable):
            return page
        return f"{page}?var-{alert.variable}={{{{ $labels.{alert.node_label} | urlquery }}}}"


def number(value: float) -> str:
    """Write a threshold as PromQL reads it, without an exponent: `6000000000`, `0.05`."""
    return f"{value:.0f}" if value == int(value) else repr(value)


def recording_rules(thresholds: Mapping[str, Threshold], sources: str) -> str:
    """Render `recording.yaml`."""
    rules = []
    for recording in RECORDINGS:
        window = thresholds[recording.serves].window or "" if recording.serves else ""
        rules.append({"record": recording.record, "expr": fill(recording.expr, {"window": window}.__getitem__)})
    return document({"recording": rules}, "generate-rules", sources)


def panel_rules(sources: str) -> str:
    """Render `panels.yaml`."""
    rules = [{"record": each.record, "expr": each.expr} for each in PANELS]
    return document({"panels": rules}, "generate-rules", sources)


def promise_rules(promised: Promises, thresholds: Mapping[str, Threshold], sources: str, haste: int = 1) -> str:
    """Render `promises.yaml`.

    Args:
        promised: what is measured.
        thresholds: of every alert; the burn's minimum is the time before there is a verdict.
        sources: what the header names.
        haste: what every window is divided by; 1 but for a demonstration.
    """
    minimum = number(thresholds["PromiseBurnsFast"].minimum or 0)
    shorter = {
        name: every if haste == 1 else f"{int(duration(every)) // haste}s" for name, every in promises.INTERVALS.items()
    }
    return document(promises.rules(promised, minimum, haste), "generate-rules", sources, shorter)


def alerting_rules(
    thresholds: Mapping[str, Threshold],
    links: Links,
    sources: str,
    without: Collection[str] = (),
    objectives: Collection[Objective] = (),
) -> str:
    """Render `alerts.yaml`.

    Args:
        thresholds: of every alert.
        links: where runbooks and dashboards are found.
        sources: what the header names.
        without: jobs that have no targets here; no alert fires for their absence.
        objectives: those that are measured; an alert that is a cause names them.
    """
    groups = {
        group: [
            _rule(alert, thresholds[alert.name], links, [each.name for each in objectives if alert.name in each.causes])
            for alert in alerts
            if is_wanted(alert, thresholds, without)
        ]
        for group, alerts in GROUPS.items()
    }
    return document({group: rules for group, rules in groups.items() if rules}, "generate-rules", sources)


def is_wanted(alert: Alert, thresholds: Mapping[str, Threshold], without: Collection[str] = ()) -> bool:
    """Tell whether an alert has a rule.

    Severity `none` switches an alert off, except those that never notify anybody. A metric's absence raises no alert
    when every alert on the metric is switched off.

    Args:
        alert: of the catalogue.
        thresholds: of every alert.
        without: jobs that have no targets here.
    """
    if alert.name in WITHOUT_SEVERITY:
        return True
    if thresholds[alert.name].severity == "none" or (alert.name == "JobMissing" and alert.labels["job"] in without):
        return False
    if "metric" not in alert.labels:
        return True
    metric = alert.labels["metric"].partition("{")[0]
    standing = [other for alerts in GROUPS.values() for other in alerts if metric in other.expr and other != alert]
    standing = [other for other in standing if "metric" not in other.labels]
    return not standing or any(is_wanted(other, thresholds, without) for other in standing)


def _rule(alert: Alert, threshold: Threshold, links: Links, spends: Sequence[str]) -> dict[str, Any]:
    numbers = {
        "value": number(threshold.value) if threshold.value is not None else "",
        "minimum": number(threshold.minimum) if threshold.minimum is not None else "",
        "share": number(threshold.share) if threshold.share is not None else "",
        "window": threshold.window or "",
        "limit": threshold.limit,
    }
    hold = {} if threshold.hold == "0s" else {"for": threshold.hold}
    return {
        "alert": alert.name,
        "expr": fill(alert.expr, numbers.__getitem__),
        **hold,
        "labels": {"severity": threshold.severity, **alert.labels},
        "annotations": {
            "summary": fill(alert.summary, numbers.__getitem__),
            "description": alert.description,
            "runbook_url": links.runbook(alert.name),
            "dashboard_url": links.dashboard(alert),
            **({"promises": f"Spends the budget of {', '.join(spends)}."} if spends else {}),
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes an expression of several lines as such, and indents lists, so that a diff reads well."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - the base class' signature
        del indentless
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def document(
    rules: Mapping[str, list[dict[str, Any]]], program: str, sources: str, intervals: Mapping[str, str] | None = None
) -> str:
    """Return a rule file.

    Args:
        rules: by group.
        program: that makes the file, for its head.
        sources: what it is made from.
        intervals: between two evaluations of a group, where it is not INTERVAL.
    """
    every = intervals or {}
    groups = [{"name": name, "interval": every.get(name, INTERVAL), "rules": group} for name, group in rules.items()]
    header = f"# Generated by {program} from {sources}; edits here are lost.\n"
    return header + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
