"""Every panel is complete and every query is sound; no panel is left out."""

from __future__ import annotations

import re

import promql_parser as promql
import pytest

from tests.alerts.promql import TARGET, result_labels
from tests.alerts.reality import RECORDED, SOURCES, answers
from tests.alerts.test_reality import PROMETHEUS_OWN, RECORDINGS
from tests.dashboards.model import DASHBOARDS, DATA_PANELS, PANELS, QUERIES, RATE_INTERVAL, Asked, Panel, names, walk
from tests.dashboards.model import selectors as found_in

RATES = ("rate", "irate", "increase", "delta", "deriv", "idelta")


def _types() -> dict[str, str]:
    """Return what kind of family each sample belongs to, as the real exporters say it."""
    types = dict.fromkeys((*PROMETHEUS_OWN, *RECORDINGS), "gauge")
    for path in sorted(RECORDED.glob("*.prom")):
        for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
            types |= {f"{name}{suffix}": "counter" if kind == "histogram" else kind for suffix in suffixes}
    return types


TYPES = _types()
LABELS = dict(PROMETHEUS_OWN)
for _job in SOURCES:
    for _series in answers(_job).values():
        for _name, _sets in _series.items():
            LABELS[_name] = TARGET | frozenset.intersection(
                *map(frozenset, _sets), LABELS.get(_name, frozenset(_sets[0]))
            )
for _record, _expr in RECORDINGS.items():
    LABELS[_record] = result_labels(_expr, LABELS)


@pytest.mark.parametrize("panel", PANELS, ids=names(PANELS))
def test_every_panel_and_row_has_a_title_and_every_panel_a_description(panel: Panel) -> None:
    assert panel.json["title"].strip()
    if panel.json["type"] != "row":
        assert panel.json["description"].endswith(".")


@pytest.mark.parametrize("panel", DATA_PANELS, ids=names(DATA_PANELS))
def test_every_panel_has_a_unit_a_least_value_and_the_data_source_variable(panel: Panel) -> None:
    defaults = panel.json["fieldConfig"]["defaults"]
    assert defaults["unit"]
    assert panel.json["targets"]
    if panel.json["type"] == "heatmap":
        assert panel.json["options"]["yAxis"]["unit"]
    else:
        assert panel.json["type"] == "stat" or defaults["min"] == 0
    for holder in (panel.json, *panel.json["targets"]):
        assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("panel", DATA_PANELS, ids=names(DATA_PANELS))
def test_missing_data_is_shown_as_such_or_as_what_it_means(panel: Panel) -> None:
    said = panel.json["fieldConfig"]["defaults"]["noValue"]
    assert said == "NO DATA" or said.endswith(".")
    assert panel.json["type"] != "stat" or said == "NO DATA"


def test_no_data_is_said_of_panels_and_values_and_not_of_axes_and_labels() -> None:
    for panel in DATA_PANELS:
        config = panel.json["fieldConfig"]
        # Grafana 9 and 10 write `noValue` on an axis without decimals, between the whole numbers.
        assert panel.json["type"] != "timeseries" or "decimals" not in config["defaults"], panel.name
        if panel.json["type"] == "table":  # a firing alert without a job said "No alert fires." in the job's column
            labels, *_ = config["overrides"]
            assert labels["matcher"] == {"id": "byType", "options": "string"}
            assert {"id": "noValue", "value": "-"} in labels["properties"], panel.name


@pytest.mark.parametrize("panel", [p for p in DATA_PANELS if p.json["type"] == "stat"], ids=lambda panel: panel.name)
def test_every_stat_says_its_verdict_in_words_and_in_colours_that_all_can_tell_apart(panel: Panel) -> None:
    text = str(panel.json["fieldConfig"])
    assert "green" not in text
    assert "'NO DATA'" in text
    assert panel.json["options"]["colorMode"] == "background"
    assert all(target["instant"] for target in panel.json["targets"]), "an old value would outlive its node"
    if panel.json["title"] != "Firing alerts":
        assert "'OK'" in text
        assert "'WARNING'" in text or "'CRITICAL'" in text


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_every_legend_names_labels_that_the_result_has_and_every_line_its_node(asked: Asked) -> None:
    legend = asked.target["legendFormat"]
    assert legend
    has = result_labels(asked.expr, LABELS)
    for label in re.findall(r"{{\s*(\w+)\s*}}", legend):
        assert label in has, f"{label} is not among {sorted(has)}"
    if asked.panel.json["type"] in ("timeseries", "state-timeline"):
        assert "{{instance}}" in legend
    if asked.panel.json["type"] == "timeseries":
        assert asked.panel.json["options"]["legend"]["showLegend"]


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_every_selector_of_every_query_asks_for_the_chosen_nodes(asked: Asked) -> None:
    variables = {v["name"] for v in DASHBOARDS[asked.panel.uid]["templating"]["list"] if v["type"] == "query"}
    selectors = found_in(asked.expr)
    assert selectors
    for selector, _ in selectors:
        nodes = [m.value for m in selector.matchers.matchers if m.name == "instance" and m.op == promql.MatchOp.Re]
        assert len(nodes) == 1, f"{selector} has no node matcher"
        assert nodes[0].removesuffix("|") in {f"${name}" for name in variables}
        # Alerts may concern all nodes together, and then name none.
        assert nodes[0].endswith("|") == selector.name.startswith("ALERTS")


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_rates_are_of_counters_over_the_rate_interval_and_no_counter_is_shown_raw(asked: Asked) -> None:
    for node, above in walk(promql.parse(asked.expr)):
        if isinstance(node, promql.Call) and node.func.name in RATES:
            (window,) = node.args
            assert window.range == RATE_INTERVAL
            assert TYPES[window.vector_selector.name] == "counter", f"{window.vector_selector.name} is no counter"
        if isinstance(node, promql.VectorSelector) and TYPES[str(node.name)] == "counter":
            assert any(isinstance(outer, promql.Call) and outer.func.name in RATES for outer in above), node.name


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_every_label_that_a_query_groups_or_joins_by_is_there(asked: Asked) -> None:
    for node, _ in walk(promql.parse(asked.expr)):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            has = result_labels(node.expr.prettify(), LABELS)
            assert set(node.modifier.labels) <= has, f"{node.prettify()}: the inner result has {sorted(has)}"
        if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            listed = set(node.modifier.matching.labels)
            sides = [result_labels(side.prettify(), LABELS) for side in (node.lhs, node.rhs)]
            joined = node.modifier.matching.type == promql.LabelModifierType.Include
            assert listed <= (sides[0] & sides[1] if joined else sides[0] | sides[1]), node.prettify()


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_no_query_can_be_counted_among_those_that_grow_with_the_users(asked: Asked) -> None:
    # All labels of our series are bounded; what is not, PostgreSQL's, must be aggregated away.
    unbounded = {"client_addr", "pid", "usename", "application_name", "slot_name", "server"}
    if any(selector.name.startswith("pg_") for selector, _ in found_in(asked.expr)):
        assert not unbounded & result_labels(asked.expr, LABELS)
