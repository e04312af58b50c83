"""The kinds of graph there are, each a function over grafanalib with the defaults that on-call needs; knows no metric.

grafanalib 0.7.1 predates much of Grafana 9: what its classes cannot say is in each builder's `extraJson`, and
`dashboards.page` leaves out of the JSON what they say in words that Grafana no longer understands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from grafanalib import core

from dashboards.pieces import (
    CRITICAL,
    GOOD,
    LIMIT,
    NO_DATA,
    PLAIN,
    UNKNOWN,
    Look,
    Query,
    as_queries,
    exactly,
    fixed,
    line_overrides,
    step,
    targets,
)
from dashboards.promql import answered, is_there_at_times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboards.limits import Limits

    Panel = Any  # a grafanalib panel; the package is untyped

# Where the axis of a graph ends at least, by unit: a graph of zeros alone would otherwise end at 100.
_LEAST_AXIS = {"percentunit": 0.01, "percent": 1, "s": 0.01, "ms": 10, "decbytes": 1e6, "bps": 1e3, "Bps": 1e3}
_MARKS = dict.fromkeys(
    (Look.DASHED, Look.LIMIT), " ┄"
)  # in the legend, where Grafana 9.4 draws every line as a solid one
_LOOK_BACK = "1h"  # how long a state that is no longer reported is drawn as missing


def series(
    title: str,
    description: str,
    unit: str,
    *queries: Query | str,
    limits: Limits | None = None,
    stacked: bool = False,
    from_zero: bool = True,
    empty: str = NO_DATA,
) -> Panel:
    """Return lines over time, on an axis that fits them; an alert's limit is a dashed line where it comes into view.

    Args:
        title: what the lines show.
        description: what it means and what to look for; the limits are added to it.
        unit: Grafana's name of the unit; "short" for what the title counts, such as Errors/s.
        queries: each with its legend, or only PromQL for lines named after the node.
        limits: the limits to draw.
        stacked: whether the lines are parts of a whole.
        from_zero: whether the axis begins at 0: not if a small change far from it matters, as of a share near 100 %.
        empty: why there may be nothing to see when all is well; shown in place of lines.
    """
    given = as_queries(queries)
    asked = [
        query._replace(expr=_known(answered(query.expr)), legend=query.legend + _MARKS.get(query.look, ""))
        for query in given
    ]
    below_zero = any(query.look is Look.BELOW for query in asked)
    lines = sorted(
        sign * value for value, _ in (limits.lines if limits else ()) for sign in ((-1, 1) if below_zero else (1,))
    )
    return core.TimeSeries(
        title=title,
        description=f"{description} {limits.says}" if limits else description,
        targets=targets(asked),
        unit=unit,
        lineWidth=1,
        fillOpacity=30 if stacked else 0,  # of a dozen lines the fills would hide what is below
        showPoints="auto",
        stacking={"mode": "normal" if stacked else "none", "group": "A"},
        tooltipMode="multi",
        tooltipSort="desc",
        legendDisplayMode="table",
        legendPlacement="right",
        # Both are true of a node that is gone; its last value is not.
        legendCalcs=["max"] if any(is_there_at_times(query.expr) for query in given) else ["mean", "max"],
        thresholdsStyleMode="dashed" if limits else "off",
        thresholds=[step(None, "transparent"), *(step(value, LIMIT) for value in lines)],
        overrides=line_overrides(asked),
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "min": 0 if from_zero and not below_zero else None,
                    "noValue": _said(empty),
                    "links": _only_this_node(asked),
                    "color": fixed(PLAIN),
                    "custom": {"axisSoftMax": 0.1 if "/s" in title else _LEAST_AXIS.get(unit, 1)},
                },
            },
            "options": {"legend": {"showLegend": True, "sortBy": "Max", "sortDesc": True}},
        },
    )


def heatmap(title: str, description: str, unit: str, expr: str, *, empty: str = NO_DATA) -> Panel:
    """Return how often each latency occurred, from the buckets of a histogram (`sum by (le) (rate(..._bucket...))`).

    Counts are per minute, because Grafana 9.4 gives every number below 1 the colour of 1.
    """
    return core.Heatmap(
        title=title,
        description=description,
        targets=targets([Query(f"60 * ({expr})", "{{le}}")], form="heatmap"),
        extraJson={
            "fieldConfig": {"defaults": {"noValue": _said(empty), "unit": "opm", "custom": {"hideFrom": _SHOWN}}},
            "options": {
                "calculate": False,
                "cellGap": 0,
                "cellValues": {"unit": "opm"},
                "color": {
                    "mode": "scheme",
                    "scheme": "Cool",  # the rarest cell can be seen on a dark and on a light screen; no red, no orange
                    "fill": "blue",
                    "exponent": 0.3,
                    "steps": 32,
                    "reverse": False,
                },
                "exemplars": {"color": "blue"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": True},
                "rowsFrame": {"layout": "auto"},
                "showValue": "never",
                "tooltip": {"mode": "single", "show": True, "yHistogram": True},
                "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},  # it begins at the lowest bucket
            },
        },
    )


def states(
    title: str,
    description: str,
    selector: str,
    *,
    legend: str = "{{instance}}",
    good: str = "UP",
    bad: str = "DOWN",
    words: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:
    """Return one bar for each line over time: good, bad, or NO DATA where what was reported is not reported any more.

    Args:
        title: what the bars show.
        description: what it means.
        selector: PromQL for series of 1 (good) and 0 (bad): a selector, nothing around it.
        legend: the name of a bar; it names every label in which the series differ.
        good: the word for 1.
        bad: the word for 0.
        words: word and colour of each value instead, if there are others than good and bad.
    """
    shown = {"-1": (NO_DATA, UNKNOWN), **(words or {"0": (bad, CRITICAL), "1": (good, GOOD)})}
    # The minus signs take the metric's name off both sides, which makes them one series. `max by` would do so slowly.
    known_or_missing = f"-(-{selector} or present_over_time({selector}[{_LOOK_BACK}]))"
    return core.StateTimeline(
        title=title,
        description=f"{description} {NO_DATA}: it was reported in the hour before and is not any more.",
        targets=targets([Query(known_or_missing, legend)]),
        alignValue="center",  # at the left, half of the word is outside if the bar begins before the shown time
        fillOpacity=70,
        # With the colour mode "thresholds" Grafana merges equal values and loses the words.
        mappings=[exactly(shown)],
        thresholds=[step(None, UNKNOWN)],
        tooltipMode="multi",
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "unit": "none",
                    "min": -1,
                    "max": max(map(int, shown)),
                    "noValue": NO_DATA,
                    "color": fixed(UNKNOWN),
                }
            },
            "options": {"mergeValues": True, "legend": {"showLegend": False, "calcs": []}, "tooltip": {"sort": "none"}},
        },
    )


def words(title: str, text: str) -> Panel:
    """Return a panel of text, in Markdown."""
    return core.Text(title=title, description="What this dashboard is about.", content=text)


_SHOWN = {"legend": False, "tooltip": False, "viz": False}


_MAY_BE_NAN = re.compile(r" / |histogram_quantile|:(ratio|mean|p\d+)\b|average_seconds")


def _known(expr: str) -> str:
    """Leave out NaN, where nothing happened: one such point would make the mean of a whole line unknown."""
    return f"({expr}) > -Inf" if _MAY_BE_NAN.search(expr) and not is_there_at_times(expr) else expr


def _said(empty: str) -> str:
    """Return what an empty panel says: true too if the query has failed, or if what reports it does not answer."""
    return empty if empty == NO_DATA else f"Nothing to show: {empty}, or there is no data."


def _only_this_node(queries: Sequence[Query]) -> list[dict[str, str]]:
    """Return where a click on a line leads: the same dashboard, the line's node alone in the variable it obeys."""
    variables = {name for query in queries for name in re.findall(r'instance=~"\$(\w+)"', query.expr)}
    if not variables:  # the lines are no nodes
        return []
    (variable,) = variables
    node = "${__field.labels.instance}"
    path = f"/d/${{__dashboard.uid}}?var-{variable}={node}"
    return [{"title": f"Only {node}", "url": path + "&${datasource:queryparam}&${__url_time_range}"}]
