"""Each unit is one that Grafana knows, and what the query gives, as far as PromQL and the metrics' names tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest

from tests.alerts.promql import selectors
from tests.dashboards.model import DATA_PANELS, QUERIES, Asked, Panel, names, walk
from tests.dashboards.samples import RECORDINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a name says its values are, by Prometheus' conventions, and where to look for it where the name does not.
NAMED: Mapping[str, str] = {
    "duration": "s",
    "seconds": "s",
    "ms": "ms",
    "bytes": "B",
    "days": "days",
    "percent": "%",
    "ratio": "share",
    "rate2m": "/s",
}
UNNAMED = {"prosody_stanza_rate": "/s"}
# Grafana's units for what a query gives; `suffix:` is any word.
UNITS: Mapping[str, set[str]] = {
    "": {"locale", "none", "short"},
    "s": {"s"},
    "ms": {"ms"},
    "B": {"decbytes"},
    "days": {"suffix:days"},
    "%": {"percent"},
    "share": {"percentunit"},
    "s/s": {"percentunit"},  # 100 %: one core
    "B/s": {"Bps"},
    "bit/s": {"bps"},
    "/s": {"short", "locale"},  # what is counted stands in the title: Errors/s, Checkpoints an hour
    "/h": {"short"},
    "unix ms": {"dateTimeFromNow"},
}
SCALED: Mapping[tuple[float, str], str] = {
    (8, "B/s"): "bit/s",
    (3600, "/s"): "/h",
    (1000, "s"): "unix ms",
    (0.001, "ms"): "s",
}
ANY = "NaN"
_LITERALS = (promql.NumberLiteral, promql.StringLiteral)


def measured_in(node: Any) -> str:  # noqa: ANN401, PLR0911 - the parser has no types; one line per kind
    """Return what the values of a query are measured in: a key of UNITS."""
    match node:
        case promql.VectorSelector():
            words = str(node.name).replace(":", "_").split("_")
            if node.name == "prosody_setting":  # it says so in its label: a time, or a switch
                times = ("_timeout", "_time", "_delay")
                return "s" if any(m.value.endswith(times) for m in node.matchers.matchers) else ""
            return UNNAMED.get(str(node.name)) or next((NAMED[word] for word in reversed(words) if word in NAMED), "")
        case promql.MatrixSelector():
            return measured_in(node.vector_selector)
        case promql.Call() if node.func.name in ("resets", "vector"):
            return ""
        case promql.Call() if node.func.name == "rate":
            return "/s" if _is_bucket(node) else f"{measured_in(node.args[0])}/s"
        case promql.Call() if node.func.name == "histogram_quantile":
            return next(measured_in(one) for one, _ in walk(node) if isinstance(one, promql.VectorSelector))
        case promql.Call():
            return measured_in([arg for arg in node.args if not isinstance(arg, _LITERALS)][-1])
        case promql.AggregateExpr():
            return "" if str(node.op) in ("count", "group") else measured_in(node.expr)
        case promql.BinaryExpr():
            return _of_both(node)
    return measured_in(node.expr)


def _is_bucket(rate: Any) -> bool:  # noqa: ANN401
    return str(rate.args[0].vector_selector.name).endswith(("_bucket", "_count"))


def _of_both(node: Any) -> str:  # noqa: ANN401
    left, right, sign = node.lhs, node.rhs, str(node.op)
    if isinstance(left, promql.NumberLiteral):
        return ANY if math.isnan(left.val) else _scaled(left.val if sign == "*" else 1, measured_in(right))
    if isinstance(right, promql.NumberLiteral):
        return _scaled(1 / right.val if sign == "/" else 1, measured_in(left))
    if sign not in ("/", "*", "+", "-", "or"):
        return measured_in(left)
    given, by = measured_in(left), measured_in(right)
    if sign == "*" and {given, by} == {"/s", "s"}:
        return "share"
    if sign == "/":
        return "share" if given == by else given
    assert by in (given, ANY), f"{node.prettify()} mixes {given} and {by}"
    return given


def _scaled(factor: float, unit: str) -> str:
    return SCALED.get((factor, unit), unit)


@pytest.mark.parametrize("panel", DATA_PANELS, ids=names(DATA_PANELS))
def test_every_unit_is_one_of_grafanas(panel: Panel) -> None:
    known = {"string", "opm", "bool_yes_no"}.union(*UNITS.values())
    config = panel.json["fieldConfig"]
    units = [config["defaults"]["unit"]]
    units += [each["value"] for o in config.get("overrides", ()) for each in o["properties"] if each["id"] == "unit"]
    assert all(unit in known or unit.startswith("suffix:") for unit in units)


# A tile's first query is its verdict or the names of nodes, and asks who answers. The trend beside it has the number.
GRAPHS = [
    asked
    for asked in QUERIES
    if asked.panel.json["type"] == "timeseries"
    or (
        asked.panel.json["type"] == "stat"
        and asked.target["legendFormat"] not in ("{{verdict}}{{share}}", "{{verdict}}", "{{instance}}")
    )
]


@pytest.mark.parametrize("asked", GRAPHS, ids=names(GRAPHS))
def test_a_unit_is_what_the_query_gives(asked: Asked) -> None:
    unit = asked.panel.json["fieldConfig"]["defaults"]["unit"]
    if asked.panel.uid == "promises" and asked.panel.json["title"].startswith(("Burn that", "Sessions per node")):
        # The parser cannot tell: a ratio by a ratio, times 0 or 1; and sessions by nodes.
        assert unit == ("percentunit" if "Burn" in asked.panel.json["title"] else "locale")
        return
    given = measured_in(promql.parse(asked.expr))
    assert unit in UNITS[given], f"{unit} is no unit of {given or 'a number'}"
    if given in ("/s", "/h") and unit == "short":
        assert {"/s": "/s", "/h": "an hour"}[given] in asked.panel.json["title"], "the title says what is counted"


HEATMAPS = [asked for asked in QUERIES if asked.panel.json["type"] == "heatmap"]


@pytest.mark.parametrize("asked", HEATMAPS, ids=names(HEATMAPS))
def test_a_heatmap_has_a_rate_in_its_cells_and_the_histograms_unit_beside(asked: Asked) -> None:
    assert asked.target["format"] == "heatmap"
    assert asked.panel.json["fieldConfig"]["defaults"]["unit"] == "opm"
    assert asked.expr.startswith("60 * ("), "rates are of a second"
    (histogram,) = selectors(asked.expr)
    if histogram.name in RECORDINGS:
        (histogram,) = selectors(RECORDINGS[histogram.name])
    assert asked.panel.json["options"]["yAxis"]["unit"] == measured_in(histogram)


TABLES = [panel for panel in DATA_PANELS if panel.json["type"] == "table"]


@pytest.mark.parametrize("panel", TABLES, ids=names(TABLES))
def test_a_columns_unit_is_of_a_column_that_is_there(panel: Panel) -> None:
    organize = panel.json["transformations"][1]["options"]
    shown = {heading for field, heading in organize["renameByName"].items() if field not in organize["excludeByName"]}
    units = {
        o["matcher"]["options"] for o in panel.json["fieldConfig"]["overrides"] if o["properties"][0]["id"] == "unit"
    }
    assert units - {"string"} <= shown
