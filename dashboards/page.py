"""What all dashboards share: place and order of panels, variables, links, alerts; knows no service's metrics."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from alerts.generate import RUNBOOKS
from dashboards.panels import words
from dashboards.pieces import CRITICAL, SOURCE, WARNING
from dashboards.tables import firing
from dashboards.tiles import alert_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    Panel = Any  # a grafanalib panel; the package is untyped

WIDTH = 24  # columns of Grafana's grid
NODES = 14  # of them for the table of nodes; the graph beside it has the rest
HEADING, TILE, ALERTS, TALL = 1, 4, 5, 8  # heights in its rows; tiles, alerts and one line of graphs fill 768 pixels


@dataclass(frozen=True)
class Place:
    """One dashboard. Its variable `node` lists the nodes that Prometheus scrapes in this job.

    Args:
        title: of the dashboard.
        job: its nodes' job.
        link: what the other dashboards call it: all links must fit into one line beside the variables.
    """

    title: str
    job: str
    link: str


PLACES = {
    "prosody-overview": Place("Prosody Overview", "prosody", "Prosody"),
    "presence-health": Place("Presence Health", "prosody", "Presence"),
    "websocket-health": Place("WebSocket Health", "prosody", "WSS"),
    "push-gateway-health": Place("Push Gateway Health", "push-gateway", "Push"),
    "postgresql": Place("PostgreSQL", "postgresql", "SQL"),
    "coturn": Place("Coturn", "coturn", "TURN"),
    "haproxy": Place("HAProxy", "haproxy", "HAProxy"),
    "promises": Place("Promises", "prosody", "Promises"),
    "hosts": Place("Hosts", "node", "Hosts"),  # beside Section 14's seven
}
LANDING = "prosody-overview"  # shows the alerts of every job; the others those of theirs
_SAME_MACHINES = {"prosody", "push-gateway"}  # Section 3: a push gateway beside each Prosody


@dataclass(frozen=True)
class Row:
    """A heading with panels of equal width below it, as many lines of them as `across` asks for."""

    title: str
    panels: tuple[Panel, ...]
    across: int = 2
    folded: bool = False


def row(title: str, *panels: Panel, across: int = 2) -> Row:
    """Return a row that is open."""
    return Row(title, panels, across)


def folded(title: str, *panels: Panel, across: int = 2) -> Row:
    """Return a row whose panels show, and query, only once it is opened."""
    return Row(title, panels, across, folded=True)


@dataclass(frozen=True)
class Page:
    """A dashboard as `generate-dashboards` wants it."""

    model: Any

    def to_json_data(self) -> dict[str, Any]:
        """Return Grafana's JSON model, without what grafanalib adds for Grafana 8 and older."""
        model: dict[str, Any] = json.loads(json.dumps(self.model.to_json_data(), cls=DashboardEncoder))
        kept = {key: model[key] for key in _DASHBOARD_KEYS} | {"panels": [_panel(panel) for panel in model["panels"]]}
        kept["templating"] = {"list": [_variable(each) for each in model["templating"]["list"]]}
        clean: dict[str, Any] = _without_nulls(kept)
        return clean


def page(
    uid: str,
    *,
    about: str,
    tiles: Sequence[Panel],
    nodes: Panel,
    graph: Panel,
    rows: Sequence[Row],
    exporter: str | None = None,
    users: str | None = None,
) -> Page:
    """Return one dashboard: tiles, firing alerts, nodes beside the most telling graph, then rows of detail.

    Args:
        uid: a key of `PLACES`.
        about: what the service does, what bad looks like and what to do, in Markdown.
        tiles: what is down, and how far each signal is from its limit; five at most.
        nodes: the table with a row for each node, or each promise.
        graph: the graph that shows best how the service does.
        rows: what answers the next questions, in reading order.
        exporter: a second job whose metrics are shown; its nodes are the variable `exporter`.
        users: a third one, of test users; its nodes are the variable `users`.
    """
    place = PLACES[uid]
    others = {"exporter": exporter, "users": users}
    jobs = {"node": place.job} | {variable: job for variable, job in others.items() if job}
    head = (_alert_counts(uid, jobs), *tiles)
    panels = [
        *_line(head, 0, TILE, len(head)),
        *_line((_firing_alerts(uid, jobs),), TILE, ALERTS, 1),
        _at(nodes, (0, NODES), TILE + ALERTS, TALL),
        _at(graph, (NODES, WIDTH - NODES), TILE + ALERTS, TALL),
    ]
    y = TILE + ALERTS + TALL
    text = words("About", f"{about}\n\n[Runbooks, one for each alert]({RUNBOOKS})")
    for each in (*rows, folded("About this dashboard", text, across=1)):
        panels += _row(each, y, TALL)
        lines = 0 if each.folded else -(-len(each.panels) // each.across)
        y += HEADING + lines * TALL
    return Page(
        core.Dashboard(
            uid=uid,
            title=place.title,
            description=f"{place.title} of the CommEazy service. Generated: edit its .dashboard.py instead.",
            tags=["commeazy"],
            editable=False,
            graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
            schemaVersion=39,
            refresh="30s",
            time=core.Time("now-3h", "now"),
            timezone="browser",
            templating=core.Templating([_source(), *(_nodes(name, job) for name, job in jobs.items())]),
            annotations=core.Annotations(
                [
                    *(
                        _mark(
                            f"{severity.capitalize()} alerts",
                            _firing(uid, jobs, _matcher(severity)),
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
            ),
            links=[_link(place, other, there) for other, there in PLACES.items() if other != uid],
            panels=_with_ids(panels),
        )
    )


def _row(each: Row, y: int, height: int) -> list[Panel]:
    """Place a row's heading and panels from line `y` down; a folded row holds its panels."""
    placed = _line(each.panels, y + HEADING, height, each.across)
    heading = core.RowPanel(title=each.title, collapsed=each.folded, panels=placed if each.folded else [])
    return [_at(heading, (0, WIDTH), y, HEADING), *([] if each.folded else placed)]


def _line(panels: Sequence[Panel], y: int, height: int, across: int) -> list[Panel]:
    """Place panels of equal width, so many side by side, from line `y` down; the last line is filled."""
    placed = []
    for number, panel in enumerate(panels):
        left = number - number % across
        beside = min(across, len(panels) - left)
        placed.append(_at(panel, _column(number - left, beside), y + number // across * height, height))
    return placed


def _column(number: int, across: int) -> tuple[int, int]:
    """Return first column and width of the panel of this number, of as many as stand side by side."""
    edges = [round(WIDTH * index / across) for index in (number, number + 1)]
    return edges[0], edges[1] - edges[0]


def _at(panel: Panel, column: tuple[int, int], y: int, height: int) -> Panel:
    panel.gridPos = core.GridPos(h=height, w=column[1], x=column[0], y=y)
    return panel


def _with_ids(panels: Sequence[Panel]) -> list[Panel]:
    """Number panels by their title, so that a link to a panel outlives the panels put before it."""
    seen: dict[int, str] = {}
    for panel in [*panels, *(inner for heading in panels for inner in getattr(heading, "panels", []))]:
        panel.id = zlib.crc32(f"{type(panel).__name__} {panel.title}".encode()) % 100_000 + 1
        assert panel.id not in seen, f"{panel.title!r} and {seen[panel.id]!r} have one number: change a title"
        seen[panel.id] = panel.title
    return list(panels)


# --- Alerts ----------------------------------------------------------------------------------------------------------


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


def _firing(uid: str, jobs: dict[str, str], severity: str = 'severity!="none"') -> str:
    """Return PromQL for the firing alerts this page is about; an alert without node or job concerns them all."""
    return " or ".join(
        f'ALERTS{{alertstate="firing",{severity},'
        + ("" if uid == LANDING and name == "node" else f'job=~"{job}|",')
        + f'instance=~"${name}|"}}'
        for name, job in jobs.items()
    )


def _alert_counts(uid: str, jobs: dict[str, str]) -> Panel:
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


def _firing_alerts(uid: str, jobs: dict[str, str]) -> Panel:
    active = _firing(uid, jobs)
    # The same alerts without their state: the value is when their condition began to hold.
    since = active.replace('ALERTS{alertstate="firing",', "ALERTS_FOR_STATE{")
    return firing(
        "Firing alerts",
        "The newest on top, and since when the condition holds. A click on a name opens its runbook.",
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


# --- Variables and links ---------------------------------------------------------------------------------------------


def _source() -> Panel:
    source = core.Template(name="datasource", type="datasource", label="Prometheus", query="prometheus", sort=0, hide=1)
    # The one that is provisioned. Without a value, or where there is none such, Grafana takes the first by name.
    source._current = {"selected": True, "text": "CommEazy Prometheus", "value": "commeazy-prometheus"}  # noqa: SLF001 - it knows no uid
    return source


def _nodes(name: str, job: str) -> Panel:
    query = f'label_values(up{{job="{job}"}}, instance)'  # `up` is there even when the target is down
    variable = core.Template(
        name=name,
        label="Node" if name == "node" else "From",
        dataSource=SOURCE,
        query={"query": query, "refId": "StandardVariableQuery"},
        includeAll=True,
        multi=True,
        allValue=".+",
        refresh=core.REFRESH_ON_TIME_RANGE_CHANGE,
        sort=core.SORT_ALPHA_ASC,
        default="$__all",
        hide=core.HIDE_VARIABLE if name == "users" else core.SHOW,  # a third would push the links into a second line
    )
    variable._current = {"selected": True, "text": ["All"], "value": ["$__all"]}  # noqa: SLF001 - grafanalib writes a multi's default as one value
    return variable


def _link(here: Place, uid: str, there: Place) -> Panel:
    """Link with time range and data source, and with the node where both dashboards know it."""
    shared = here.job == there.job or {here.job, there.job} <= _SAME_MACHINES
    return core.DashboardLink(
        type="link",
        title=there.link,
        uri=f"/d/{uid}?${{datasource:queryparam}}" + ("&${node:queryparam}" if shared else ""),
        keepTime=True,
        icon="dashboard",
        tooltip=f"{there.title}, same time range" + (" and node" if shared else ""),
    )


# --- What Grafana 9.4 and newer understand ---------------------------------------------------------------------------

_DASHBOARD_KEYS = (
    *("uid", "title", "description", "tags", "schemaVersion", "version", "editable", "graphTooltip", "refresh"),
    *("time", "timezone", "templating", "annotations", "links"),
)
_VARIABLE_KEYS = (
    *("type", "name", "label", "query", "current", "datasource", "includeAll", "multi", "allValue", "options"),
    *("refresh", "sort", "hide"),
)
_PANEL_KEYS = (
    *("id", "type", "title", "description", "gridPos", "datasource", "targets", "fieldConfig", "options"),
    *("transformations", "collapsed", "panels"),
)
_TARGET_KEYS = ("refId", "datasource", "expr", "legendFormat", "format", "instant")


def _variable(variable: dict[str, Any]) -> dict[str, Any]:
    return {key: variable[key] for key in _VARIABLE_KEYS if key in variable}


def _panel(panel: dict[str, Any]) -> dict[str, Any]:
    kept = {key: panel[key] for key in _PANEL_KEYS if key in panel}
    kept["datasource"] = SOURCE
    kept["targets"] = [
        {key: target[key] for key in _TARGET_KEYS} | {"range": not target["instant"], "editorMode": "code"}
        for target in panel["targets"]
    ]
    if panel["type"] in ("row", "text"):
        for key in ("datasource", "targets", "fieldConfig", "transformations"):
            kept.pop(key, None)
    if panel["type"] == "row":
        kept["panels"] = [_panel(inner) for inner in panel["panels"]]
    return kept


def _without_nulls(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave out what is null, except where null is a threshold's value: it means "from the lowest on"."""
    if isinstance(node, list):
        return [_without_nulls(inner) for inner in node]
    if isinstance(node, dict):
        return {
            key: _without_nulls(value) for key, value in node.items() if value is not None or set(node) == _STEP_KEYS
        }
    return node


_STEP_KEYS = {"color", "value"}
