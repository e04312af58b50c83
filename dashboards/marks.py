"""The alerts of a dashboard, as numbers, as a list and as marks in all graphs, and other marks; places nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafanalib import core

from alerts.generate import RUNBOOKS
from dashboards.pieces import CRITICAL, SOURCE, WARNING
from dashboards.tables import firing
from dashboards.tiles import alert_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    Panel = Any  # a grafanalib panel; the package is untyped

LANDING = "prosody-overview"  # shows the alerts of every job; the others those of theirs
_SEVERITIES = {"critical": CRITICAL, "warning": WARNING}
STARTED, AWAY = "blue", "purple"
_OF_BUILD = "* on (job, instance) group_left (version) "
# When each server last started: a deploy, a reload of HAProxy, a reboot, or a crash.
STARTS = (
    f"1000 * (prosody_start_time_seconds {_OF_BUILD}prosody_build_info"
    # To a minute: it tells how long it has run, and the time of the answer is a little different each time.
    " or round(timestamp(push_gateway_uptime_seconds) - push_gateway_uptime_seconds, 60) "
    f"{_OF_BUILD}push_gateway_build_info"
    f" or coturn_start_time_seconds {_OF_BUILD}coturn_build_info"
    f" or haproxy_process_start_time_seconds {_OF_BUILD}haproxy_process_build_info"
    " or node_boot_time_seconds)"
)
# What commeazy-maintenance does: it takes a node out of HAProxy, and silences alerts.
PLANNED = (
    'label_replace(max by (server, state) (haproxy_server_status{proxy="prosody_ws",state=~"DRAIN|MAINT"} == 1), '
    '"what", "$1 is out of HAProxy", "server", "(.+)")'
    ' or label_replace(max(alertmanager_silences{state="active"}) > 0, "what", "alerts are silenced", "", "")'
)


def _firing(uid: str, jobs: Mapping[str, str], severity: str = 'severity!="none"') -> str:
    """Return PromQL for the firing alerts this page is about; an alert without node or job concerns them all."""
    return " or ".join(
        f'ALERTS{{alertstate="firing",{severity},'
        + ("" if uid == LANDING and name == "node" else f'job=~"{job}|",')
        + f'instance=~"${name}|"}}'
        for name, job in jobs.items()
    )


def _begins(uid: str, jobs: Mapping[str, str], severity: str) -> str:
    """Return PromQL that gives a sample only when an alert begins to fire, so that its mark is a line.

    While it fires Grafana would fill the graph, and a dozen alerts at once would hide what is behind them.
    """
    active = _firing(uid, jobs, severity)
    return f"({active}) unless ({active.replace('}', '} offset $__interval')})"


def marks(uid: str, jobs: Mapping[str, str]) -> Any:  # noqa: ANN401 - grafanalib is untyped
    """Return the marks of all graphs: alerts that begin to fire, starts, planned work."""
    return core.Annotations(
        [
            *(
                _mark(
                    f"{severity.capitalize()} alerts",
                    _begins(uid, jobs, _matcher(severity)),
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


def counts(uid: str, jobs: Mapping[str, str]) -> Panel:
    """Return the tile with how many alerts fire."""
    # The Watchdog always fires: without it the rules are not evaluated, and "0 alerts" would be a lie.
    alive = 'group(ALERTS{alertname="Watchdog",alertstate="firing",instance=~"$node|"})'
    critical, warning = (
        f"(count({_firing(uid, jobs, _matcher(severity))}) or vector(0)) * {alive}" for severity in _SEVERITIES
    )
    return alert_counts(
        "Alerts",
        "Alerts that fire now for the chosen nodes. NO DATA: Prometheus evaluates no rules, so no alert can fire.",
        critical,
        warning,
    )


def firing_alerts(uid: str, jobs: Mapping[str, str]) -> Panel:
    """Return the list of the alerts that fire."""
    active = _firing(uid, jobs)
    # The same alerts without their state: the value is when their condition began to hold.
    since = active.replace('ALERTS{alertstate="firing",', "ALERTS_FOR_STATE{")
    return firing(
        "Firing alerts",
        "Critical first, then the newest, and since when the condition holds. A click on a name opens its runbook.",
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
