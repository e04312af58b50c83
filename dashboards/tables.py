"""The kinds of table there are: a row for each set of labels, one for each node, one for each firing alert."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grafanalib import core

from dashboards.pieces import (
    CALM,
    CRITICAL,
    NO_DATA,
    WARNING,
    Query,
    exactly,
    override,
    recoloured,
    special,
    step,
    targets,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboards.limits import Limits
    from dashboards.promql import Service

    Panel = Any  # a grafanalib panel; the package is untyped

_FILLED: dict[str, Any] = {
    "custom__displayMode": "color-background-solid",  # up to Grafana 9.4
    "custom__cellOptions": {"type": "color-background", "mode": "basic"},  # from 9.5 on
}


@dataclass(frozen=True)
class Column:
    """One column of values.

    Args:
        expr: PromQL; in a table of nodes it gives one sample for each node, with the label instance alone.
        unit: Grafana's name of the unit.
        limits: colour the cell as its alert would judge it.
        words: what values are shown as: word and colour.
        outlives: whether the number stays true of a node that does not answer, because something else reports it.
    """

    expr: str
    unit: str = "short"
    limits: Limits | None = None
    words: Mapping[str, tuple[str, str]] | None = None
    outlives: bool = False


def table(
    title: str,
    description: str,
    columns: Mapping[str, Column],
    *,
    first: Sequence[str] = (),
    hidden: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    overrides: Sequence[dict[str, Any]] = (),
    falling: bool = False,
    headings: bool = True,
    empty: str = NO_DATA,
) -> Panel:
    """Return what is now, a row for each set of labels.

    Args:
        title: what a row is.
        description: what it means.
        columns: by heading; rows meet where all their labels are the same.
        first: headings of the columns on the left; rows are sorted by the first of them.
        hidden: labels, and columns, that are not shown.
        names: what labels are called in their headings; `overrides` go by these.
        overrides: Grafana's, for further columns.
        falling: among rows with the same first column, sort by the last of `first`, the greatest value on top.
        headings: whether they are shown.
        empty: why there may be no rows when all is well; shown in place of them.
    """
    # Grafana's name of each column of values, by heading
    fields = {heading: f"Value #{ref}" for heading, ref in zip(columns, string.ascii_uppercase, strict=False)}
    if len(columns) == 1:
        fields = dict.fromkeys(columns, "Value")
    names = names or {}
    excluded = ["Time", *(fields.get(name, name) for name in hidden)]
    # Labels: one that a row does not have would be shown as the panel's `noValue`.
    shown = [override("byType", "string", unit="string", noValue="-")]
    shown += [_column(heading, column) for heading, column in columns.items() if heading not in hidden]
    return core.Table(
        title=title,
        description=description,
        targets=targets(
            [Query(column.expr, heading) for heading, column in columns.items()], form="table", instant=True
        ),
        thresholds=[step(None, "text")],
        overrides=[*shown, *overrides],
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": dict.fromkeys(excluded, True),
                    "indexByName": {fields.get(name, name): index for index, name in enumerate(first)},
                    "renameByName": {**{field: heading for heading, field in fields.items()}, **names},
                },
            },
        ],
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "min": 0,
                    "noValue": empty,
                    "unit": "none",
                    "custom": {
                        "cellOptions": {"type": "auto"},
                        "displayMode": None,
                        "filterable": False,
                        "minWidth": 60,
                    },
                },
            },
            "options": {
                "cellHeight": "sm",
                "showHeader": headings,
                "sortBy": [
                    *({"displayName": names.get(name, name), "desc": False} for name in first[:1]),
                    *({"displayName": names.get(name, name), "desc": True} for name in first[-1:] if falling),
                ],
            },
        },
    )


def nodes(title: str, description: str, service: Service, columns: Mapping[str, Column]) -> Panel:
    """Return a row for each node of a service, also for one that does not answer; its name keeps this node alone."""
    node = "${__value.raw}"
    link = {
        "title": f"Only {node}",
        "url": f"/d/${{__dashboard.uid}}?var-node={node}&${{datasource:queryparam}}&${{__url_time_range}}",
    }
    answers = Column(service.state, "none", words={"0": ("DOWN", CRITICAL), "1": ("UP", CALM)})
    known = {heading: replace(column, expr=_of_each_node(column, service)) for heading, column in columns.items()}
    return table(
        title,
        f"{description} A dash: not known, or nothing to judge. A click on a name keeps this node alone.",
        {"state": answers, **known},
        first=("instance", "state", *columns),
        names={"instance": "node"},
        overrides=[
            override("byName", "node", links=[link], custom__minWidth=110),
            override("byName", "state", custom__width=70),  # the others need the room for their headings
        ],
        empty="-",
    )


# What an alert is about beside its node, in the order in which it is shown; the rest of its labels say nothing more.
ABOUT = (
    *("job", "sloth_slo", "journey", "from", "to", "transport", "kind", "handler", "code", "target", "proxy", "server"),
    *(
        "replica",
        "slot_name",
        "mountpoint",
        "device",
        "iname",
        "name",
        "module",
        "host",
        "version",
        "metric",
        "id",
        "of",
    ),
    *("integration", "rule_group", "scrape_job"),
)
UNTOLD = ("alertstate", "sloth_id", "sloth_service", "sloth_severity", "state", "type", "vantage", "__name__")


def firing(title: str, description: str, since: str, runbooks: str) -> Panel:
    """Return the firing alerts, critical ones first, then the newest, each with a link to its runbook.

    Args:
        title: of the panel.
        description: what it means.
        since: PromQL for the milliseconds since 1970 at which each alert's condition began to hold.
        runbooks: the URL of the folder with a page for each alert.
    """
    labels = ", ".join(f'"{label}"' for label in ABOUT)
    joined = f'label_join(label_replace({since}, "to", "to $1", "to", "(.+)"), "about", " ", {labels})'
    about = f'label_replace({joined}, "about", "$1", "about", " *(.*?) *")'  # without the spaces of labels it has not
    severities = exactly({"critical": ("critical", CRITICAL), "warning": ("warning", WARNING)})
    runbook = {"title": "Open the runbook", "url": f"{runbooks}/${{__value.raw}}.md", "targetBlank": True}
    return table(
        title,
        description,
        {"since": Column(about, "dateTimeFromNow")},
        first=("severity", "alertname", "instance", "about", "since"),
        hidden=(*ABOUT, *UNTOLD),
        falling=True,
        headings=False,  # the words say what they are, and an alert more has room
        overrides=[
            override("byName", "severity", mappings=[severities], custom__width=100, **_FILLED),
            override("byName", "alertname", displayName="alert", links=[runbook], custom__width=330),
            override("byName", "instance", displayName="node", custom__width=200),
            override("byName", "since", custom__width=150),
        ],
        empty="No firing alerts found.",
    )


def _of_each_node(column: Column, service: Service) -> str:
    """Return PromQL for one sample of each node: NaN where nothing is known, so that no column is ever left out."""
    answers = "" if column.outlives else f" and on (instance) {service.answering}"
    return f"({column.expr}){answers} or on (instance) NaN * max by (instance) ({service.scraped})"


def _column(heading: str, column: Column) -> dict[str, Any]:
    # What is not known is not judged: without a colour of its own, it would get that of the lowest value.
    mappings = [special("null+nan", "-", CALM)]
    properties: dict[str, Any] = {"unit": column.unit, "noValue": "-"}
    if column.limits:
        steps = [step(begins, state.colour) for begins, state in column.limits.bands]
        properties |= {"thresholds": {"mode": "absolute", "steps": steps}, **_FILLED}
        mappings += [recoloured({f"{value:.15g}": state.colour}) for value, state in column.limits.edges]
    if column.words:
        mappings.append(exactly(dict(column.words)))
        properties |= _FILLED
    return override("byName", heading, mappings=mappings, **properties)
