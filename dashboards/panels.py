"""The kinds of panel there are, each a function over grafanalib with its defaults mended; knows no metric.

grafanalib 0.7.1 predates much of Grafana 9: what its classes cannot say is in each builder's `extraJson`, and
`dashboards.page` leaves out of the JSON what they say in words that Grafana no longer understands.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any, NamedTuple

from grafanalib import core

from dashboards.limits import Limits, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Panel = Any  # a grafanalib panel; the package is untyped

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NO_DATA = "NO DATA"
_NOW = "last"  # not lastNotNull, for which NaN (nothing happened) is null (no data) from Grafana 10 on
_FAR = 1e15  # stands for "no end" in a range of values, which Grafana's versions write in different ways


class Query(NamedTuple):
    """One query of a panel: PromQL, and the name of a line (or of a value) it gives."""

    expr: str
    legend: str = "{{instance}}"


def stat(title: str, description: str, unit: str, expr: str, limits: Limits, *, idle: str = NO_DATA) -> Panel:
    """Return a number with its verdict below it, in words and in colour, as of now.

    Args:
        title: what is counted.
        description: what it means; the limits are added to it.
        unit: Grafana's name of the unit.
        expr: PromQL for exactly one sample. No sample is a fault, and is shown as one.
        limits: what is good and what is bad.
        idle: shown in place of NaN, where nothing happened that could be judged.
    """
    absent = _special("null", NO_DATA, State.CRITICAL.colour)  # an empty answer
    nothing = _special("nan", idle, State.CRITICAL.colour if idle == NO_DATA else State.OK.colour)
    # A threshold's step begins on its value, where the alert does not fire yet: ranges colour the number too.
    colours, words = (
        [
            _range(-_FAR if low is None else low, _FAR if high is None else high, state, worded=worded)
            for low, high, state in limits.ranges
        ]
        for worded in (False, True)
    )
    return core.Stat(
        title=title,
        description=f"{description} {limits.says}",
        targets=_targets([Query(expr, "now"), Query(expr, "verdict")], instant=True),
        format=unit,
        decimals=0 if unit == "locale" else None,  # on an axis Grafana would write `noValue` between whole numbers
        color={"mode": "thresholds"},
        colorMode="background",
        graphMode="none",
        orientation="horizontal",
        reduceCalc=_NOW,
        textMode="value",
        noValue=NO_DATA,
        mappings=[*colours, absent, nothing],
        thresholds=[_step(begins, state.colour) for begins, state in limits.bands],
        overrides=[_override("byFrameRefID", "B", mappings=[*words, absent, nothing])],
    )


def alert_counts(title: str, description: str, critical: str, warning: str) -> Panel:
    """Return how many alerts fire; each expression gives 0 when all is quiet, nothing when no rules are evaluated."""
    named = {"A": State.CRITICAL, "B": State.WARNING}
    return core.Stat(
        title=title,
        description=description,
        targets=_targets([Query(critical, "critical"), Query(warning, "warning")], instant=True),
        format="none",
        color={"mode": "thresholds"},
        colorMode="background",
        graphMode="none",
        orientation="vertical",
        reduceCalc=_NOW,
        textMode="value_and_name",
        noValue=NO_DATA,
        mappings=[_special("null+nan", NO_DATA, State.CRITICAL.colour)],
        thresholds=[_step(None, State.OK.colour)],
        overrides=[
            _override(
                "byFrameRefID",
                ref,
                thresholds={"mode": "absolute", "steps": [_step(None, State.OK.colour), _step(1, state.colour)]},
            )
            for ref, state in named.items()
        ],
    )


def series(
    title: str,
    description: str,
    unit: str,
    *queries: Query | str,
    limits: Limits | None = None,
    most: float | None = None,
    stacked: bool = False,
    empty: str = NO_DATA,
) -> Panel:
    """Return lines over time, from 0 up, with the alerts' limits as dashed lines.

    Args:
        title: what the lines show.
        description: what it means and what to look for; the limits are added to it.
        unit: Grafana's name of the unit.
        queries: each with its legend, or only PromQL for lines named after the node.
        limits: the limits to draw.
        most: the greatest value there can be.
        stacked: whether the lines add up to something.
        empty: why there is nothing to see when all is well; shown in place of lines.
    """
    asked = [Query(query) if isinstance(query, str) else query for query in queries]
    return core.TimeSeries(
        title=title,
        description=f"{description} {limits.says}" if limits else description,
        targets=_targets(asked),
        unit=unit,
        lineWidth=1,
        fillOpacity=30 if stacked else 5,
        showPoints="auto",
        stacking={"mode": "normal" if stacked else "none", "group": "A"},
        tooltipMode="multi",
        tooltipSort="desc",
        legendDisplayMode="table",
        legendCalcs=["lastNotNull", "max"],
        thresholdsStyleMode="dashed" if limits else "off",
        thresholds=_lines(limits),
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "min": 0,
                    "max": most,
                    "noValue": empty,
                    "links": [_only_this_node(asked)],
                    "custom": {"axisSoftMax": _above_all(limits) if limits and most is None else None},
                },
            },
            "options": {"legend": {"showLegend": True, "sortBy": "Last *", "sortDesc": True}},
        },
    )


def heatmap(title: str, description: str, unit: str, expr: str, *, empty: str = NO_DATA) -> Panel:
    """Return how often each latency occurred, from the buckets of a histogram (`sum by (le) (rate(..._bucket...))`)."""
    return core.Heatmap(
        title=title,
        description=description,
        targets=_targets([Query(expr, "{{le}}")], form="heatmap"),
        extraJson={
            "fieldConfig": {"defaults": {"noValue": empty, "unit": "ops", "custom": {"hideFrom": _SHOWN}}},
            "options": {
                "calculate": False,
                "cellGap": 1,
                "cellValues": {"unit": "ops"},
                "color": {
                    "mode": "scheme",
                    "scheme": "Blues",
                    "fill": "blue",
                    "exponent": 0.5,
                    "steps": 64,
                    "reverse": False,
                },
                "exemplars": {"color": "orange"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": True},
                "rowsFrame": {"layout": "auto"},
                "showValue": "never",
                "tooltip": {"mode": "single", "show": True, "yHistogram": True},
                "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},  # it begins at the lowest bucket
            },
        },
    )


def states(title: str, description: str, query: Query | str, *, good: str = "UP", bad: str = "DOWN") -> Panel:
    """Return one bar for each line over time: 1 is good, 0 is bad, a gap is no data."""
    return core.StateTimeline(
        title=title,
        description=f"{description} A gap: no data, which is a fault too.",
        targets=_targets([query if isinstance(query, Query) else Query(query)]),
        alignValue="left",
        fillOpacity=80,
        mappings=[
            {
                "type": "value",
                "options": {
                    "0": {"text": bad, "color": State.CRITICAL.colour, "index": 0},
                    "1": {"text": good, "color": State.OK.colour, "index": 1},
                },
            },
        ],
        thresholds=[_step(None, State.CRITICAL.colour), _step(1, State.OK.colour)],
        tooltipMode="multi",
        extraJson={
            "fieldConfig": {"defaults": {"unit": "none", "min": 0, "max": 1, "noValue": NO_DATA}},
            "options": {"legend": {"showLegend": True, "calcs": []}, "tooltip": {"sort": "none"}},
        },
    )


def table(
    title: str,
    description: str,
    columns: Mapping[str, Query],
    *,
    units: Mapping[str, str] | None = None,
    first: Sequence[str] = (),
    hidden: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
    empty: str = NO_DATA,
) -> Panel:
    """Return what is now, a row for each set of labels.

    Args:
        title: what a row is.
        description: what it means.
        columns: heading and query of each column of values; rows meet where all their labels are the same.
        units: the unit of each column of values, by heading.
        first: headings of the columns on the left; rows are sorted by the first of them, rising.
        hidden: labels, and columns, that are not shown.
        links: where a click on the column of this name leads.
        empty: why there are no rows when all is well; shown in place of them.
    """
    # Grafana's name of each column of values, by heading
    fields = {heading: f"Value #{ref}" for heading, ref in zip(columns, string.ascii_uppercase, strict=False)}
    if len(columns) == 1:
        fields = dict.fromkeys(columns, "Value")
    excluded = ["Time", *(fields.get(name, name) for name in hidden)]
    # Labels: one that a row does not have would be shown as the panel's `noValue`.
    shown = [_override("byType", "string", unit="string", noValue="-")]
    shown += [_override("byName", heading, unit=unit) for heading, unit in (units or {}).items()]
    shown += [
        _override("byName", heading, links=[{"title": "Open", "url": url, "targetBlank": True}])
        for heading, url in (links or {}).items()
    ]
    return core.Table(
        title=title,
        description=description,
        targets=_targets(list(columns.values()), form="table", instant=True),
        thresholds=[_step(None, "text")],
        overrides=shown,
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": dict.fromkeys(excluded, True),
                    "indexByName": {fields.get(name, name): index for index, name in enumerate(first)},
                    "renameByName": {field: heading for heading, field in fields.items()},
                },
            },
        ],
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "min": 0,
                    "noValue": empty,
                    "unit": "none",
                    "custom": {"cellOptions": {"type": "auto"}, "displayMode": None, "filterable": True},
                },
            },
            "options": {"cellHeight": "sm", "sortBy": [{"displayName": name, "desc": False} for name in first[:1]]},
        },
    )


def words(title: str, text: str) -> Panel:
    """Return a panel of text, in Markdown."""
    return core.Text(title=title, description="What this dashboard is about.", content=text)


_SHOWN = {"legend": False, "tooltip": False, "viz": False}


def _targets(queries: Sequence[Query], *, form: str = "time_series", instant: bool = False) -> list[Any]:
    return [
        core.Target(
            datasource=SOURCE,
            expr=query.expr,
            legendFormat=query.legend,
            refId=ref,
            format=form,
            instant=instant,
        )
        for ref, query in zip(string.ascii_uppercase, queries, strict=False)
    ]


def _only_this_node(queries: Sequence[Query]) -> dict[str, str]:
    """Return where a click on a line leads: the same dashboard, the line's node alone in the variable it obeys."""
    (variable,) = {name for query in queries for name in re.findall(r'instance=~"\$(\w+)"', query.expr)}
    node = "${__field.labels.instance}"
    path = f"/d/${{__dashboard.uid}}?var-{variable}={node}"
    return {"title": f"Only {node}", "url": path + "&${datasource:queryparam}&${__url_time_range}"}


def _step(value: float | None, colour: str) -> dict[str, Any]:
    return {"color": colour, "value": value}


def _lines(limits: Limits | None) -> list[dict[str, Any]]:
    return [
        _step(None, "transparent"),
        *(_step(value, state.colour) for value, state in (limits.lines if limits else [])),
    ]


def _above_all(limits: Limits) -> float:
    """Return where an axis has to end at least, for Grafana does not stretch it to a threshold."""
    return round(1.1 * max(value for value, _ in limits.lines), 3)


def _range(low: float, high: float, state: State, *, worded: bool) -> dict[str, Any]:
    result = {"color": state.colour, "index": 0} | ({"text": state.word} if worded else {})
    return {"type": "range", "options": {"from": low, "to": high, "result": result}}


def _special(match: str, text: str, colour: str) -> dict[str, Any]:
    return {
        "type": "special",
        "options": {"match": match, "result": {"text": text, "color": colour, "index": 0}},
    }


def _override(matcher: str, subject: str, **properties: Any) -> dict[str, Any]:  # noqa: ANN401 - Grafana's values are of any kind
    return {
        "matcher": {"id": matcher, "options": subject},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }
