"""What all dashboards share: place and order of panels, variables and links; knows no service's metrics."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grafanalib import core

from alerts.generate import RUNBOOKS
from dashboards.export import Page
from dashboards.marks import Alerts, counts, firing_alerts, marks
from dashboards.panels import words
from dashboards.pieces import SOURCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    Panel = Any  # a grafanalib panel; the package is untyped

WIDTH = 24  # columns of Grafana's grid
NODES = 14  # of them for the table of nodes; the graph beside it has the rest
HEADING, TILE, TALL = 1, 4, 8  # heights in its rows
SCREEN = 17  # of them fill 768 pixels: tiles, firing alerts, and the table of nodes beside its graph


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
    alerts: Sequence[str] = (),
    table: int = 7,
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
        alerts: those that open this dashboard although they watch metrics of another job.
        table: height of the table. The list of alerts has the rest of the screen: an outage has many consequences, and
            their cause may be one of the oldest alerts.
    """
    place = PLACES[uid]
    others = {"exporter": exporter, "users": users}
    jobs = {"node": place.job} | {variable: job for variable, job in others.items() if job}
    graph.legendCalcs = ["max"]  # a second number would take the room of the lines
    shown = Alerts(uid, jobs, alerts)
    head = (counts(shown), *tiles)
    panels = [
        *_line(head, 0, TILE, len(head)),
        *_line((firing_alerts(shown),), TILE, SCREEN - table - TILE, 1),
        _at(nodes, (0, NODES), SCREEN - table, table),
        _at(graph, (NODES, WIDTH - NODES), SCREEN - table, table),
    ]
    y = SCREEN
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
            annotations=marks(shown),
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


# --- Variables and links ---------------------------------------------------------------------------------------------


def _source() -> Panel:
    return core.Template(name="datasource", type="datasource", label="Prometheus", query="prometheus", sort=0, hide=1)


def _nodes(name: str, job: str) -> Panel:
    query = f'label_values(up{{job="{job}"}}, instance)'  # `up` is there even when the target is down
    return core.Template(
        name=name,
        label="Node" if name == "node" else "Probe",
        dataSource=SOURCE,
        query={"query": query, "refId": "StandardVariableQuery"},
        includeAll=True,
        multi=True,
        allValue=".+",
        refresh=core.REFRESH_ON_TIME_RANGE_CHANGE,
        sort=core.SORT_ALPHA_ASC,
        hide=core.HIDE_VARIABLE if name == "users" else core.SHOW,  # a third would push the links into a second line
    )


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
