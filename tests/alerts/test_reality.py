"""Every metric and label that a rule or a panel asks for exists in what the targets really answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest
import yaml

from alerts.catalogue import GROUPS
from lab.fakes.recordings import SOURCES, Series, answers
from tests.alerts.mutation import rules
from tests.alerts.promql import TARGET, result_labels, selectors

if TYPE_CHECKING:
    from collections.abc import Mapping

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
TESTS = Path(__file__).parents[2] / "alerts/tests"
RECORDED = [rule for file in ("recording.yaml", "panels.yaml", "promises.yaml") for rule in rules(file)]
RECORDINGS = {rule["record"]: rule["expr"] for rule in RECORDED}
_OF_ALERTS = TARGET | {"alertname", "severity"}
PROMETHEUS_OWN = {
    "checklist_item": frozenset({"id"}),  # alerts/rules/checklist.yaml: by item, whatever its expression has
    "up": TARGET,
    "ALERTS": _OF_ALERTS | {"alertstate"},
    "ALERTS_FOR_STATE": _OF_ALERTS,
}


def _asked_by_rules() -> list[tuple[str, str]]:
    every = RECORDED + rules("alerts.yaml")
    return [(rule.get("alert") or rule["record"], rule["expr"]) for rule in every]


def _asked() -> list[tuple[str, str]]:
    asked = _asked_by_rules()
    for path in sorted(DASHBOARDS.glob("*.json")):
        asked += [(path.stem, expr) for expr in _expressions(json.loads(path.read_text(encoding="utf-8")))]
    return asked


def _expressions(node: object) -> list[str]:
    """Find the queries of a dashboard, with Grafana's variables replaced by what they could be."""
    if isinstance(node, list):
        return [expr for item in node for expr in _expressions(item)]
    if not isinstance(node, dict):
        return []
    expr = node.get("expr")
    own = [re.sub(r"\$__\w+|\$\{__\w+\}", "5m", expr)] if isinstance(expr, str) and expr else []
    return own + [expr for value in node.values() for expr in _expressions(value)]


def _known() -> dict[str, dict[str, Series]]:
    """Find where each metric is known from: metric -> source -> that source's series."""
    known: dict[str, dict[str, Series]] = {}
    for job in SOURCES:
        for source, series in answers(job).items():
            for name in series:
                known.setdefault(name, {})[source] = series
    return known


KNOWN = _known()


def _matches(matcher: Any, value: str) -> bool:  # noqa: ANN401 - the parser has no types
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
        return bool((value == matcher.value) == (matcher.op == promql.MatchOp.Equal))
    return bool((re.fullmatch(matcher.value, value) is not None) == (matcher.op == promql.MatchOp.Re))


@pytest.mark.parametrize(("where", "expr"), _asked())
def test_every_series_asked_for_exists(where: str, expr: str) -> None:
    for selector in selectors(expr):
        if selector.name in PROMETHEUS_OWN or selector.name in RECORDINGS:
            continue
        assert selector.name in KNOWN, f"{where}: nothing answers {selector.name}"
        for source, series in KNOWN[selector.name].items():
            matchers = [m for m in selector.matchers.matchers if m.name not in TARGET and "$" not in m.value]
            label_sets = series[selector.name]
            for matcher in [m for m in matchers if m.op == promql.MatchOp.NotEqual and not m.value]:
                # Any value will do, and the recorded server may have had none; the label itself must exist.
                matchers.remove(matcher)
                assert any(matcher.name in labels for labels in label_sets), f"{where}: {source} has no {matcher.name}"
            assert any(all(_matches(m, labels.get(m.name, "")) for m in matchers) for labels in label_sets), (
                f"{where}: {source} has {selector.name}, but not with {[(m.name, m.value) for m in matchers]}"
            )
            for matcher in matchers:
                _each_alternative_exists(f"{where}: {source}: {selector.name}", matcher, label_sets)


def _each_alternative_exists(
    where: str,
    matcher: Any,  # noqa: ANN401 - the parser has no types
    label_sets: list[dict[str, str]],
) -> None:
    """Check `a|b` alternative by alternative: one that exists must not hide one that is misspelt."""
    if matcher.op != promql.MatchOp.Re or re.search(r"[.*+?\[(]", matcher.value):
        return
    values = {labels.get(matcher.name) for labels in label_sets}
    for alternative in matcher.value.split("|"):
        assert alternative in values, f"{where} does not come with {alternative}"


@pytest.mark.parametrize(
    "file",
    [file for file in sorted(TESTS.glob("*.yaml")) if file.stem != "MetricAbsent"],  # which joins by instance only
    ids=lambda file: file.stem,
)
def test_a_series_of_a_promtool_test_has_the_labels_of_a_real_one(file: Path) -> None:
    """A join over labels that no server gives would pass its test, and never fire."""
    for case in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
        for given in case.get("input_series", ()):
            name, _, matchers = given["series"].partition("{")
            labels = set(re.findall(r"(\w+)=", matchers))
            if real := [set(found) - TARGET for series in KNOWN.get(name, {}).values() for found in series[name]]:
                assert any(found <= labels for found in real), f"{given['series']}: a real one has {real[0]}"


@pytest.mark.parametrize("job", SOURCES)
def test_every_version_recorded_has_what_the_rules_ask_of_its_job(job: str) -> None:
    asked = {s.name for _, expr in _asked_by_rules() for s in selectors(expr)}
    everywhere = answers(job)
    of_job = {name for series in everywhere.values() for name in series} & asked
    assert of_job, f"no rule asks anything of {job}"
    for source, series in everywhere.items():
        assert of_job <= series.keys(), f"{source} lacks {of_job - series.keys()}"


def test_latency_has_a_bucket_edge_at_the_threshold_and_finite_ones_above() -> None:
    for source, series in answers("push-gateway").items():
        edges = {float(labels["le"]) for labels in series["push_latency_ms_bucket"]}
        assert 2000.0 in edges, f"{source}: the percentile would be a guess at 2,000"
        assert any(2000 < edge < float("inf") for edge in edges), f"{source}: the percentile could never exceed 2,000"


def labels_of_recordings(known: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Return the labels of each recorded series, given those of all others; a promise's own rules add its name."""
    labels = dict(known)
    # What stands on itself, or on a rule further down, has the labels that its rule adds.
    labels |= {rule["record"]: frozenset(rule["labels"]) for rule in RECORDED if "labels" in rule}
    for rule in RECORDED:
        labels[rule["record"]] = result_labels(rule["expr"], labels) | frozenset(rule.get("labels", ()))
    return {record: labels[record] for record in RECORDINGS}


def test_no_panel_or_alert_text_uses_a_label_that_its_expression_does_not_have() -> None:
    labels = {}
    for name, sources in KNOWN.items():
        sets = [frozenset(found) for series in sources.values() for found in series[name]]
        labels[name] = TARGET | frozenset.intersection(*sets)
    labels |= PROMETHEUS_OWN
    labels |= labels_of_recordings(labels)
    checked = 0
    for rule in rules("alerts.yaml"):
        has = result_labels(rule["expr"], labels)
        for text in rule["annotations"].values():
            for label in re.findall(r"\$labels\.(\w+)", text):
                assert label in has, f"{rule['alert']}: {label} is not among {sorted(has)}"
                checked += 1
    assert checked > len(GROUPS)
