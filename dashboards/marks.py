"""The alerts of a dashboard, as numbers, as a list and as marks in all graphs, and other marks; places nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grafanalib import core

from alerts.generate import RUNBOOKS
from dashboards.pieces import CRITICAL, SOURCE
from dashboards.promql import labelled
from dashboards.tables import firing
from dashboards.tiles import alert_counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Panel = Any  # a grafanalib panel; the package is untyped

OF_EVERY_JOB = ("prosody-overview", "promises")  # pages that show the alerts of every job; the others those of theirs
_SEVERITIES = {"critical": CRITICAL, "warning": "orange"}  # lines: WARNING, a fill, is too pale for one
STARTED, AWAY = "blue", "purple"
# When each server last started: a deploy, a reload of HAProxy, a reboot, or a crash.
# Before the shown time there is nothing to mark: Grafana would draw it at the left edge.
STARTS = "1000 * (instance_version:start_time_seconds:now >= $__from / 1000)"
# What commeazy-maintenance does: it takes a node out of HAProxy, and silences alerts.
PLANNED = (
    'label_replace(max by (server, state) (haproxy_server_status{proxy="prosody_ws",state=~"DRAIN|MAINT"} == 1), '
    '"what", "$1 is out of HAProxy", "server", "(.+)")'
    " or " + labelled('max(alertmanager_silences{state="active"}) > 0', "what", "alerts are silenced")
)


@dataclass(frozen=True)
class Alerts:
    """The alerts that a page is about; one without node or job concerns all pages, unless it is about a promise.

    Args:
        uid: of the page.
        jobs: by variable, the job whose alerts are shown for the nodes that are chosen in it.
        others: names of further alerts, of the nodes in the variable `node`.
    """

    uid: str
    jobs: Mapping[str, str]
    others: Sequence[str] = ()

    def firing(self, severity: str = 'severity!="none"') -> str:
        """Return PromQL for those that fire."""
        whole = self.uid in OF_EVERY_JOB
        chosen = [
            ("" if whole and name == "node" else f'job=~"{job}|",') + f'instance=~"${name}|"'
            for name, job in self.jobs.items()
        ]
        if not whole:  # a promise is of all services, though it may name a node and has no job
            chosen = [f'{each},sloth_slo=""' for each in chosen]
        if self.others:
            chosen.append(f'alertname=~"{"|".join(self.others)}",instance=~"$node|"')
        return " or ".join(f'ALERTS{{alertstate="firing",{severity},{each}}}' for each in chosen)

    def beginning(self, severity: str) -> str:
        """Return PromQL that gives a sample only when an alert begins to fire, so that its mark is a line.

        While it fires Grafana would fill the graph, and a dozen alerts at once would hide what is behind them.
        """
        active = self.firing(severity)
        return f"({active}) unless ({active.replace('}', '} offset $__interval')})"


def marks(alerts: Alerts) -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return the marks of all graphs: alerts that begin to fire, starts, planned work."""
    return core.Annotations(
        [
            *(
                _mark(
                    f"{severity.capitalize()} alerts",
                    alerts.beginning(_matcher(severity)),
                    colour,
                    title="{{alertname}}",
                    text="{{instance}}",
                    tags="severity",
                )
                for severity, colour in _SEVERITIES.items()
            ),
            _mark(
                "Starts and deploys",
                STARTS,
                STARTED,
                title="{{job}} started",
                text="{{instance}} {{version}}",
                at=True,
            ),
            _mark("Planned work", PLANNED, AWAY, title="Planned work", text="{{what}}"),
        ]
    )


def counts(alerts: Alerts) -> Panel:
    """Return the tile with how many alerts fire."""
    # The Watchdog always fires: without it the rules are not evaluated, and "0 alerts" would be a lie.
    alive = 'group(ALERTS{alertname="Watchdog",alertstate="firing",instance=~"$node|"})'
    critical, warning = (
        f"(count({alerts.firing(_matcher(severity))}) or vector(0)) * {alive}" for severity in _SEVERITIES
    )
    return alert_counts(
        "Alerts",
        f"Alerts that fire now{_about(alerts)} NO DATA: Prometheus evaluates no rules, so no alert can fire.",
        critical,
        warning,
    )


def _about(alerts: Alerts) -> str:
    if alerts.uid in OF_EVERY_JOB:
        return " for the chosen nodes."
    return " for the chosen nodes and this page's services; those of all services are on Prosody Overview."


def firing_alerts(alerts: Alerts) -> Panel:
    """Return the list of the alerts that fire."""
    active = alerts.firing()
    # The same alerts without their state: the value is when their condition began to hold.
    since = active.replace('ALERTS{alertstate="firing",', "ALERTS_FOR_STATE{")
    return firing(
        "Firing alerts",
        f"Alerts that fire{_about(alerts)} Critical first, then the newest, and since when the condition holds. A "
        "click on a name opens its runbook.",
        f"1000 * (({since}) and ignoring (alertstate) ({active}))",
        RUNBOOKS,
    )


def _mark(
    name: str, expr: str, colour: str, *, title: str, text: str, tags: str = "", at: bool = False
) -> dict[str, Any]:
    """Return marks on all graphs, from a query alone: nobody has to write them.

    Args:
        name: of the switch that hides them.
        expr: marks each time at which it gives a sample.
        colour: of the marks.
        title: of the text that a mark shows; with labels in {{}}.
        text: below the title.
        tags: the label whose value is a tag.
        at: whether the sample's value, in milliseconds, is the time to mark instead.
    """
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": True,  # the switch beside the variables, not the marks
        "iconColor": colour,
        # Newer versions than Grafana 11.6.1 and 12.0.0 read the target, those and older ones the two below.
        "target": {"refId": "Anno", "expr": expr, "interval": "60s", "range": True, "instant": False},
        "expr": expr,
        "step": "60s",
        "tagKeys": tags,
        "titleFormat": title,
        "textFormat": text,
        "useValueForTime": "on" if at else "",
    }


def _matcher(severity: str) -> str:
    return f'severity="{severity}"'
