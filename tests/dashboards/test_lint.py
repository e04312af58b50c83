"""Every panel is complete and every query is sound; no panel is left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest
import yaml

from dashboards.pieces import FAILURE, NODES, TREND, VALUES
from dashboards.tables import ABOUT, UNTOLD
from lab.fakes.recordings import SOURCES, answers
from lab.running.workspace import ROOT
from tests.alerts.promql import result_labels
from tests.dashboards.model import (
    DASHBOARDS,
    DATA_PANELS,
    PANELS,
    QUERIES,
    RATE_INTERVAL,
    Asked,
    Panel,
    all_panels,
    names,
    plain,
    walk,
)
from tests.dashboards.model import selectors as found_in
from tests.dashboards.samples import LABELS, RECORDINGS, TYPES, jobs_of
from tests.dashboards.test_limits import COLUMNS, WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

RATES = ("rate", "irate", "increase", "delta", "deriv", "idelta")
ANSWERS = {
    "prosody": "prosody_up{",
    "push-gateway": "push_gateway_up{",
    "postgresql": "pg_up{",
    "coturn": "coturn_up{",
    "haproxy": 'up{job="haproxy"',
    "node": 'up{job="node"',
}
LINES = [panel for panel in DATA_PANELS if panel.json["type"] in ("timeseries", "state-timeline")]


@pytest.mark.parametrize("panel", PANELS, ids=names(PANELS))
def test_every_panel_and_row_has_a_title_and_every_panel_a_description(panel: Panel) -> None:
    assert panel.json["title"].strip()
    if panel.json["type"] != "row":
        assert panel.json["description"].endswith(".")


@pytest.mark.parametrize("panel", DATA_PANELS, ids=names(DATA_PANELS))
def test_every_panel_asks_for_something_from_zero_up(panel: Panel) -> None:
    defaults = panel.json["fieldConfig"]["defaults"]
    assert panel.json["targets"]
    below = "negative-Y" in str(panel.json["fieldConfig"].get("overrides"))  # what is sent, under what is received
    # Noise must not look like a fall, but a small fall from 100 % matters.
    of_a_tile = None if defaults.get("unit") == "percentunit" or "trend" not in str(panel.json["targets"]) else 0
    least = {"stat": of_a_tile, "heatmap": None, "state-timeline": -1}.get(panel.json["type"], None if below else 0)
    near_100_percent = panel.json["title"] == "Cache hit ratio"  # from zero up, a change that matters is not seen
    assert defaults.get("min") == (None if near_100_percent else least)
    assert "max" not in defaults or panel.json["type"] == "state-timeline", "an axis fits its data"


TILES = [panel for panel in DATA_PANELS if panel.json["type"] == "stat"]
TABLES = [panel for panel in DATA_PANELS if panel.json["type"] == "table"]
GRAPH_PANELS = [panel for panel in DATA_PANELS if panel.json["type"] == "timeseries"]


def _is_there_at_times(expr: str) -> bool:
    recorded = [RECORDINGS[found.name] for found, _ in found_in(plain(expr)) if found.name in RECORDINGS]
    above_zero = any(each.endswith("> 0") for each in (expr, *recorded))
    return above_zero or "slo:bad_events_of_node:ratio" in expr  # which divides by what is recorded above 0


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_a_graph_keeps_two_to_a_line_its_legend_on_the_right_and_values_that_are_true_of_the_dead(panel: Panel) -> None:
    assert panel.json["gridPos"]["w"] >= 10
    legend = panel.json["options"]["legend"]
    assert legend["placement"] == "right"
    at_times = any(_is_there_at_times(target["expr"]) for target in panel.json["targets"])
    head = panel.json["gridPos"]["w"] == 10  # where a second number would take the room of the lines
    assert legend["calcs"] == (["max"] if at_times or head else ["mean", "max"]), (
        "a mean of the times above 0 alone is too high"
    )


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_a_dashed_line_is_marked_in_the_legend_and_no_other_is(panel: Panel) -> None:
    overrides = panel.json["fieldConfig"]["overrides"]
    dashed = [o for o in overrides if any(p["id"] == "custom.lineStyle" for p in o["properties"])]
    marked = [target["legendFormat"] for target in panel.json["targets"] if target["legendFormat"].endswith(" ┄")]
    assert len(marked) == len(dashed)
    assert all(any(re.search(o["matcher"]["options"].strip("/"), name) for o in dashed) for name in marked)


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_a_share_quantile_or_increase_of_the_last_minutes_is_not_drawn_of_a_node_that_is_gone(panel: Panel) -> None:
    for target in panel.json["targets"]:
        for found, _ in found_in(plain(target["expr"])):
            if re.fullmatch(r"instance\w*:\w+:(ratio|mean|p\d+|increase)", found.name):
                for job in jobs_of(found) - {"synthetic"}:  # its nodes are in a variable of their own
                    assert re.search(rf"and on \(instance\) {ANSWERS[job]}[^}}]*}} == 1", target["expr"])


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_a_limit_is_a_grey_line_and_does_not_stretch_the_axis(panel: Panel) -> None:
    defaults = panel.json["fieldConfig"]["defaults"]
    steps = defaults["thresholds"]["steps"]
    assert {step["color"] for step in steps[1:]} <= {"#808080"}
    # A graph of zeros alone would end at 100; a limit is far above that.
    limits = [abs(step["value"]) for step in steps[1:]]
    assert all(defaults["custom"]["axisSoftMax"] <= limit for limit in limits)


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_a_colour_has_one_meaning_and_a_node_has_one_colour(panel: Panel) -> None:
    overrides = panel.json["fieldConfig"]["overrides"]
    red = [
        o["matcher"]["options"]
        for o in overrides
        for p in o["properties"]
        if p["value"] == {"mode": "fixed", "fixedColor": "red"}
    ]
    failures = "fail|5xx|deadlock|silent|403|429|486|508"
    if panel.json["title"] != "Failures/s by reason":
        assert all(re.search(failures, pattern) for pattern in red), "red is for failures"
    if {label for target in panel.json["targets"] for label in _named(target["legendFormat"])} == {"instance"}:
        nodes = [o for o in overrides if o["matcher"]["options"].startswith(r"/^\D*")]
        colours = {o["matcher"]["options"]: o["properties"][0]["value"]["fixedColor"] for o in nodes}
        named = {"prosody1": "blue", "postgres2": "green", "turn1.example.org:9872": "blue", "prosody12": "green"}
        for name, colour in named.items():
            (found,) = (c for pattern, c in colours.items() if re.search(pattern.strip("/"), name))
            assert found == colour


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_a_counter_of_failures_is_red_and_a_limit_that_is_a_query_grey_in_every_graph(panel: Panel) -> None:
    meant = {
        "red": [t for t in panel.json["targets"] if re.search(r"_failed_total|result=\"failure\"", t["expr"])],
        "#808080": [t for t in panel.json["targets"] if "limit" in t["legendFormat"]],
    }
    for colour, targets in meant.items():
        for name in (re.sub("{{.*?}}", "prosody1", target["legendFormat"]) for target in targets):
            assert _colour(panel, name) == colour, name


def _colour(panel: Panel, line: str) -> str:
    """Return the colour that the last override which matches a line gives it."""
    found = panel.json["fieldConfig"]["defaults"]["color"]["fixedColor"]
    for each in panel.json["fieldConfig"]["overrides"]:
        if each["matcher"]["id"] == "byRegexp" and re.search(each["matcher"]["options"].strip("/"), line):
            found = next((p["value"]["fixedColor"] for p in each["properties"] if p["id"] == "color"), found)
    return str(found)


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_no_line_gets_a_colour_by_its_position(panel: Panel) -> None:
    # Grafana's palette has orange and red in it, which mean something here.
    config = panel.json["fieldConfig"]
    assert config["defaults"]["color"] == {"mode": "fixed", "fixedColor": "blue"}
    coloured = [o["matcher"]["options"] for o in config["overrides"] if o["properties"][0]["id"] == "color"]
    shown = {label for target in panel.json["targets"] for label in _named(target["legendFormat"])}
    expected = {value for label in shown & set(VALUES) for value in VALUES[label]}
    by_value = {value for value in expected if f"/(^| ){re.escape(value)}( |$)/" in coloured}
    assert by_value == expected
    assert expected or len([pattern for pattern in coloured if pattern.startswith(r"/^\D*")]) == len(NODES)


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_every_value_that_a_real_exporter_gave_has_a_colour(panel: Panel) -> None:
    answered = [series for job in SOURCES for series in answers(job).values()]
    for target in panel.json["targets"]:
        for label in set(_named(target["legendFormat"])) & set(VALUES) - {"code", "result", "state"}:  # many; blue
            for selector, _ in found_in(plain(target["expr"])):
                only = {m.name: m.value for m in selector.matchers.matchers if m.op == promql.MatchOp.Equal}
                for each in (one for series in answered for one in series.get(str(selector.name), ())):
                    if all(each.get(name) == value for name, value in only.items() if name != "job") and label in each:
                        assert each[label] in VALUES[label], f"{label} {each[label]} of {selector.name}"


@pytest.mark.parametrize("panel", GRAPH_PANELS, ids=names(GRAPH_PANELS))
def test_no_nan_makes_the_mean_of_a_line_unknown(panel: Panel) -> None:
    assert panel.json["fieldConfig"]["defaults"]["custom"]["fillOpacity"] in (0, 30)
    for target in panel.json["targets"]:
        outermost = promql.parse(plain(target["expr"]))
        compared = isinstance(outermost, promql.BinaryExpr) and str(outermost.op) in (">", "<")  # NaN is neither
        above_zero = _is_there_at_times(target["expr"])  # NaN is not
        assert compared or above_zero or not _may_be_nan(plain(target["expr"])), target["expr"]


def _may_be_nan(expr: str) -> bool:
    return any(
        (isinstance(node, promql.BinaryExpr) and str(node.op) == "/" and not isinstance(node.rhs, promql.NumberLiteral))
        or (isinstance(node, promql.Call) and node.func.name == "histogram_quantile")
        or (isinstance(node, promql.VectorSelector) and _may_be_nan(RECORDINGS.get(str(node.name), "1")))
        for node, _ in walk(promql.parse(expr))
    )


def test_what_an_alert_is_about_stands_in_one_column() -> None:
    can_be = {
        label
        for file in (ROOT / "alerts/tests").glob("*.yaml")
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
        for rule in test.get("alert_rule_test") or ()
        for alert in rule.get("exp_alerts") or ()
        for label in alert["exp_labels"]
    }
    assert can_be <= {"severity", "instance", *ABOUT, *UNTOLD}
    for panel in TABLES:
        if panel.json["title"] == "Firing alerts":
            organize = panel.json["transformations"][1]["options"]
            assert {*ABOUT, *UNTOLD} <= set(organize["excludeByName"])
            assert "about" not in organize["excludeByName"]
            assert ", ".join(f'"{label}"' for label in ABOUT) in panel.json["targets"][0]["expr"]


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_every_data_source_is_the_variable(uid: str) -> None:
    found = list(_all("datasource", DASHBOARDS[uid]))
    assert len(found) > len(list(all_panels(uid)))
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in found)


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_every_colour_is_one_that_all_can_tell_apart(uid: str) -> None:
    judging = {"blue", "super-light-orange", "dark-red", "purple", "#808080", "text", "transparent", TREND}
    assert set(_all("color", DASHBOARDS[uid], str)) <= judging
    named = {found["fixedColor"] for found in _all("color", DASHBOARDS[uid]) if "fixedColor" in found}
    named |= {p["value"]["fixedColor"] for p in _all_properties(DASHBOARDS[uid]) if p["id"] == "color"}
    assert named <= judging | set(NODES.values()) | {FAILURE}


def _all_properties(node: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    for panel in (p.json for p in all_panels(node["uid"])):
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            yield from override["properties"]


def _all(key: str, node: Any, kind: type = dict) -> Iterator[Any]:  # noqa: ANN401 - JSON
    """Yield what stands under a key anywhere in a dashboard, if it is of this kind."""
    if isinstance(node, list):
        for item in node:
            yield from _all(key, item, kind)
    if isinstance(node, dict):
        if isinstance(node.get(key), kind):
            yield node[key]
        for item in node.values():
            yield from _all(key, item, kind)


@pytest.mark.parametrize("panel", DATA_PANELS, ids=names(DATA_PANELS))
def test_missing_data_is_a_fault_unless_nothing_is_what_the_query_gives_when_all_is_well(panel: Panel) -> None:
    said = panel.json["fieldConfig"]["defaults"]["noValue"]
    if said == "NO DATA":
        return
    if panel.json["type"] == "table" and panel.json["targets"][0]["legendFormat"] == "state":
        return  # a table of nodes: a dash in the cell of a node that does not answer
    true_of_both = (
        "Nothing to show: ",  # and the reason, or that the query failed
        "No firing alerts found",
    )
    assert said.startswith(true_of_both), "Grafana shows this text when the query fails, too"
    assert said.endswith(".")
    asked = [plain(target["expr"].removesuffix(" > -Inf")) for target in panel.json["targets"]]  # that leaves out NaN
    assert any(map(_may_be_empty, asked))


def _may_be_empty(expr: str) -> bool:
    """Say whether a query is a comparison or a ratio, or asks for what comes only once something has happened."""
    for node, _ in walk(promql.parse(expr)):
        if isinstance(node, promql.BinaryExpr) and str(node.op) in (">", "/"):
            return True
        if isinstance(node, promql.VectorSelector):
            if node.offset:  # what was there an hour ago
                return True
            if str(node.name).startswith(("ALERTS", "prosody_mod_")):  # Prosody's registry begins empty
                return True
            recorded = RECORDINGS.get(str(node.name), "")
            if "histogram_quantile" in recorded or (recorded and _may_be_empty(recorded)):
                return True
    return False


def test_no_data_is_said_of_panels_and_values_and_not_of_axes_and_labels() -> None:
    for panel in DATA_PANELS:
        config = panel.json["fieldConfig"]
        # Grafana 9 and 10 write `noValue` on an axis without decimals, between the whole numbers.
        assert panel.json["type"] != "timeseries" or "decimals" not in config["defaults"], panel.name
        if panel.json["type"] == "table":  # a firing alert without a job said "No alert fires." in the job's column
            labels, *_ = config["overrides"]
            assert labels["matcher"] == {"id": "byType", "options": "string"}
            assert {"id": "noValue", "value": "-"} in labels["properties"], panel.name


@pytest.mark.parametrize("panel", TABLES, ids=names(TABLES))
def test_a_cell_without_a_value_is_not_judged_and_the_heading_of_a_node_is_whole(panel: Panel) -> None:
    values = [
        each for each in panel.json["fieldConfig"]["overrides"] if "noValue" in str(each) and "byName" in str(each)
    ]
    for each in values:
        unknown = {"match": "null+nan", "result": {"text": "-", "color": "transparent", "index": 0}}
        mappings = next(p["value"] for p in each["properties"] if p["id"] == "mappings")
        assert mappings[0]["options"] == unknown, each
    headings = [each["matcher"]["options"] for each in values]
    if panel.json["gridPos"]["w"] == 14:  # on a laptop's 742 pixels, of which 180 are taken, or 175 and a scroll bar
        room, headings = (742 - 180, headings[1:]) if "state" in headings else (742 - 190, headings)
        for heading in headings:
            assert len(heading) * 7.4 + 16 <= room / len(headings), f"{heading} is cut off"


@pytest.mark.parametrize("panel", TILES, ids=names(TILES))
def test_a_tile_without_data_is_red(panel: Panel) -> None:
    config = panel.json["fieldConfig"]
    colours = [mapping["options"]["result"].get("color") for mapping in config["defaults"]["mappings"]]
    said = ("NO DATA", "/^NO DATA/")
    named = [each["properties"][0]["value"] for each in config["overrides"] if each["matcher"]["options"] in said]
    # A mapping's colour wins over the one of the field: "-" in the colour of OK hid the red of NO DATA.
    assert (colours, named) in (([None], [{"mode": "fixed", "fixedColor": "dark-red"}]), (["dark-red"], []))


@pytest.mark.parametrize("panel", LINES, ids=names(LINES))
def test_every_line_has_a_name_of_its_own_in_a_legend_that_is_shown(panel: Panel) -> None:
    legend = panel.json["options"]["legend"]
    assert legend["showLegend"] == (panel.json["type"] == "timeseries"), (
        "a timeline's bars have their names beside them"
    )
    shown = [target["legendFormat"] for target in panel.json["targets"]]
    assert len(set(shown)) == len(shown)
    for target in panel.json["targets"]:
        assert target["range"]
        assert not target["instant"]
        missing = _telling(plain(target["expr"])) - set(_named(target["legendFormat"]))
        assert not missing, f"lines that differ in {missing} have one name"


def _named(legend: str) -> list[str]:
    return re.findall(r"{{\s*(\w+)\s*}}", legend)


def _telling(expr: str) -> frozenset[str]:
    """Return the labels in which the series of a query differ."""
    asked = found_in(expr)
    fixed = {m.name for selector, _ in asked for m in selector.matchers.matchers if m.op == promql.MatchOp.Equal}
    if all(selector.name == "haproxy_backend_up" for selector, _ in asked):
        fixed.add("proxy")  # recorded of one backend
    fixed |= {"sloth_id", "sloth_service"}  # a promise has one of each
    several = {selector.name for selector, _ in asked} == {"up"}  # other metrics are of one job each
    return result_labels(expr, LABELS) - fixed - (frozenset() if several else {"job"})


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_every_legend_names_labels_that_the_result_has_and_every_line_its_node(asked: Asked) -> None:
    legend = asked.target["legendFormat"]
    assert legend
    has = result_labels(asked.expr, LABELS)
    for label in set(_named(legend)) - {"share"}:  # a tile has none while something does not answer
        assert label in has, f"{label} is not among {sorted(has)}"
    if asked.panel in LINES and asked.panel.uid != "promises":  # its lines are promises
        assert "{{instance}}" in legend


@pytest.mark.parametrize("panel", [p for p in DATA_PANELS if p.json["type"] == "state-timeline"], ids=lambda p: p.name)
def test_a_timeline_says_in_words_and_colours_what_is_good_bad_and_unknown(panel: Panel) -> None:
    # With the colour mode "thresholds" Grafana merges values that are equal and loses the words.
    assert panel.json["fieldConfig"]["defaults"]["color"]["mode"] == "fixed"
    assert len(panel.json["fieldConfig"]["defaults"]["thresholds"]["steps"]) == 1
    (mapping,) = panel.json["fieldConfig"]["defaults"]["mappings"]
    said = {value: (result["text"], result["color"]) for value, result in mapping["options"].items()}
    assert said["-1"] == ("NO DATA", "purple")
    if panel.uid == "hosts":  # its states are not good and bad
        assert len({word for word, _ in said.values()}) == len(said)
        assert {colour for _, colour in said.values()} <= {"purple", "blue", "super-light-orange", "dark-red"}
        return
    assert {value: colour for value, (_, colour) in said.items()} == {"-1": "purple", "0": "dark-red", "1": "blue"}
    bad, good = said["0"][0], said["1"][0]
    assert bad in {f"NOT {good}", {"UP": "DOWN", "OK": "FAILED"}.get(good)}


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_every_selector_of_every_query_asks_for_the_chosen_nodes(asked: Asked) -> None:
    variables = {v["name"] for v in DASHBOARDS[asked.panel.uid]["templating"]["list"] if v["type"] == "query"}
    selectors = found_in(asked.expr)
    assert selectors
    for selector, _ in selectors:
        if asked.panel.uid == "promises" and selector.name not in ("ALERTS", "ALERTS_FOR_STATE"):
            continue  # a promise is the whole service's
        nodes = [m.value for m in selector.matchers.matchers if m.name == "instance" and m.op == promql.MatchOp.Re]
        assert len(nodes) == 1, f"{selector} has no node matcher"
        assert nodes[0].removesuffix("|") in {f"${name}" for name in variables}
        # Alerts may concern all nodes together, and then name none.
        assert nodes[0].endswith("|") == selector.name.startswith("ALERTS")


@pytest.mark.parametrize("asked", QUERIES, ids=names(QUERIES))
def test_rates_are_of_counters_and_no_counter_is_shown_raw(asked: Asked) -> None:
    for node, above in walk(promql.parse(asked.expr)):
        if isinstance(node, promql.Call) and node.func.name in RATES:
            (window,) = node.args
            assert TYPES[window.vector_selector.name] == "counter", f"{window.vector_selector.name} is no counter"
        if isinstance(node, promql.VectorSelector) and TYPES[str(node.name)] == "counter":
            assert any(isinstance(outer, promql.Call) and outer.func.name in RATES for outer in above), node.name


# test_limits.py knows how far stats and judged columns look; a timeline looks back for what is missing now.
GRAPHS = [
    asked
    for asked in QUERIES
    if asked.panel.json["type"] not in ("stat", "state-timeline")
    and (asked.panel.uid, asked.target["legendFormat"]) not in {*COLUMNS, *WORDS}
]


@pytest.mark.parametrize("asked", GRAPHS, ids=names(GRAPHS))
def test_every_graph_looks_back_over_the_rate_interval(asked: Asked) -> None:
    windows = [node.range for node, _ in walk(promql.parse(asked.expr)) if isinstance(node, promql.MatrixSelector)]
    assert set(windows) <= {RATE_INTERVAL}


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
