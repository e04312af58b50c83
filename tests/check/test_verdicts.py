"""Each verdict, from answers written down here: what it says when all is well, and that it can say FAIL."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from alerts.jobs import JOBS
from check import verdicts
from check.chosen import chosen
from check.contract import ANSWERS, PROMISED
from check.prometheus import ActiveTarget, Rule, Sample, _rules, _samples, _targets
from tests.check.answers import RULES, SERIES, TARGETS

if TYPE_CHECKING:
    from pathlib import Path

FOUND = _targets({"activeTargets": TARGETS})
LOADED = _rules({"groups": [{"rules": RULES}]})
# Of the 68 rules that record the checklist, one.
SINGLE = [rule for rule in LOADED if rule.name != "checklist_item" or rule.labels == (("id", "A1"),)]
DEFAULTS = chosen()
PRESENT = _samples({"result": SERIES})


def _failures(lines: object) -> list[str]:
    assert isinstance(lines, list)
    return [line.text for line in lines if line.failed]


def _targets_but(**changes: ActiveTarget | None) -> list[ActiveTarget]:
    """Return all targets, with those of the jobs named replaced or left out."""
    named = {job.replace("_", "-"): target for job, target in changes.items()}
    kept = [named.get(target.job, target) for target in FOUND]
    return [target for target in kept if target is not None]


# --- Targets ---


def test_every_job_whose_targets_are_up_is_one_line() -> None:
    lines = list(verdicts.targets(FOUND))
    assert [str(line) for line in lines] == [f"ok    targets of {job}: 1 of 1 up" for job in JOBS]


def test_a_job_without_targets_fails() -> None:
    assert _failures(list(verdicts.targets(_targets_but(coturn=None)))) == [
        "targets of coturn: there are none; name its nodes in targets/coturn.yml"
    ]
    assert len(_failures(list(verdicts.targets([])))) == len(JOBS)


def test_a_target_that_is_down_is_named_with_its_error_in_one_line() -> None:
    down = ActiveTarget("prosody", "prosody2", "down", "connection\nrefused", "http://prosody2:9871/metrics", 0)
    lines = list(verdicts.targets([*FOUND, down]))
    assert _failures(lines) == [
        (
            "target prosody prosody2 is down: connection refused (http://prosody2:9871/metrics); "
            "see whether it runs there, and whether this host may reach its port"
        )
    ]
    assert "targets of prosody: 1 of 1 up" not in [line.text for line in lines]


def test_a_target_that_nobody_has_scraped_yet_is_not_taken_for_up() -> None:
    new = ActiveTarget("coturn", "coturn1", "unknown", "", "http://coturn1:9872/metrics", 0)
    assert _failures(list(verdicts.targets(_targets_but(coturn=new)))) == [
        "target coturn coturn1 has not been scraped yet (http://coturn1:9872/metrics); ask again in a minute"
    ]


def test_two_targets_with_one_instance_are_named() -> None:
    twin = dataclasses.replace(FOUND[0], url="http://other:1/metrics")
    failures = _failures(list(verdicts.targets([*FOUND, twin])))
    assert failures == [
        (
            f"targets of {twin.job}: 2 have the instance {twin.instance} and overwrite each other's series; "
            f"give each an instance of its own in targets/{twin.job}.yml"
        )
    ]


def test_a_job_that_is_left_out_needs_no_targets_and_must_have_none() -> None:
    lines = list(verdicts.targets(_targets_but(coturn=None), ["coturn"]))
    assert "-     targets of coturn: none, as --without says" in [str(line) for line in lines]
    assert not _failures(lines)
    assert _failures(list(verdicts.targets(FOUND, ["coturn"]))) == [
        "targets of coturn: there are 1, in spite of --without coturn"
    ]


def test_targets_of_jobs_that_are_not_ours_are_not_judged() -> None:
    other = ActiveTarget("mysql", "prosody1", "down", "x", "http://prosody1:9104/metrics", 0)
    assert not _failures(list(verdicts.targets([*FOUND, other])))


# --- Metrics ---


def test_every_job_whose_metrics_are_there_is_one_line() -> None:
    lines = [str(line) for line in verdicts.metrics(FOUND, PRESENT, [])]
    assert lines[0] == f"ok    metrics of prosody: {len(PROMISED['prosody'])} metrics on 1 node"
    assert len(lines) == len(PROMISED)


@pytest.mark.parametrize(
    ("job", "name"), [(job, promise.name) for job, promises in PROMISED.items() for promise in promises]
)
def test_any_metric_that_is_absent_fails_its_job_alone(job: str, name: str) -> None:
    rest = [sample for sample in PRESENT if sample.labels["__name__"] != name]
    (failure,) = _failures(list(verdicts.metrics(FOUND, rest, [])))
    assert failure.startswith(f"metrics of {job}: {job}1 without {name}; ")


def test_a_histogram_is_there_by_its_count() -> None:
    def renamed(sample: Sample) -> Sample:
        name = sample.labels["__name__"]
        return Sample(sample.labels | {"__name__": f"{name}_count" if name == "push_latency_ms" else name}, 1)

    assert not _failures(list(verdicts.metrics(FOUND, map(renamed, PRESENT), [])))
    assert verdicts.selector(["lag", "sessions"]) == '{__name__=~"(lag|sessions)(_count)?"}'


def test_a_metric_must_be_on_every_node_that_is_up_and_nodes_that_lack_the_same_share_a_line() -> None:
    first = next(target for target in FOUND if target.job == "coturn")
    second, third = (dataclasses.replace(first, instance=f"coturn{n}") for n in (2, 3))
    down = dataclasses.replace(third, instance="coturn4", health="down")
    partly = [
        Sample(sample.labels | {"instance": node}, 1)
        for sample in PRESENT
        for node in ("coturn2", "coturn3")
        if sample.labels["job"] == "coturn"
        and sample.labels["__name__"] not in ("coturn_quota", "coturn_relay_ports", "coturn_traffic_bytes_total")
    ]
    assert _failures(list(verdicts.metrics([*FOUND, second, third, down], [*PRESENT, *partly], []))) == [
        (
            "metrics of coturn: coturn2, coturn3 without coturn_traffic_bytes_total; "
            "there only with verbose and a log-file in turnserver.conf that the exporter can read"
        ),
        "metrics of coturn: coturn2, coturn3 without coturn_relay_ports, coturn_quota; docs/runbooks/MetricAbsent.md",
    ]


def test_a_metric_that_one_node_measures_for_all_may_be_absent_from_the_others() -> None:
    replica = ActiveTarget("postgresql", "postgres2", "up", "", "http://postgres2:9187/metrics", 0)
    its = [
        Sample({"__name__": name, "job": "postgresql", "instance": "postgres2"}, 1)
        for name in ("pg_up", "pg_settings_in_hot_standby", "pg_settings_default_transaction_read_only")
    ]
    lines = list(verdicts.metrics([*FOUND, replica], [*PRESENT, *its], []))
    assert not _failures(lines)
    nobody = [s for s in PRESENT if s.labels["__name__"] != "pg_replication_lag_bytes"]
    (failure,) = _failures(list(verdicts.metrics([*FOUND, replica], [*nobody, *its], [])))
    assert failure.startswith("metrics of postgresql: postgres2, postgresql1 without pg_replication_lag_bytes; there")


@pytest.mark.parametrize("job", ANSWERS)
def test_a_server_that_does_not_answer_is_one_line_instead_of_all_its_metrics(job: str) -> None:
    up = Sample({"__name__": ANSWERS[job], "job": job, "instance": f"{job}1"}, 0)
    rest = [sample for sample in PRESENT if sample.labels["job"] != job]
    assert _failures(list(verdicts.metrics(FOUND, [*rest, up], [up]))) == [
        f"metrics of {job}: {ANSWERS[job]} is 0 on {job}1: its server does not answer"
    ]


def test_metrics_are_not_looked_for_where_no_target_is_up() -> None:
    lines = [str(line) for line in verdicts.metrics(_targets_but(haproxy=None), PRESENT, [])]
    assert "-     metrics of haproxy: not looked for, as none of its targets is up" in lines


# --- Rules ---


def test_the_critical_alerts_are_named_when_all_is_well() -> None:
    critical, others, recording = (str(line) for line in verdicts.rules(LOADED))
    assert critical.startswith("ok    critical alerts: ")
    assert "PushGatewayDown" in critical
    assert "ProsodySessionsHigh" not in critical
    assert others.startswith("ok    other alerts: ")
    assert recording.startswith("ok    recording rules: ")


@pytest.mark.parametrize("rule", SINGLE, ids=lambda rule: f"{rule.name} {' '.join(v for _, v in rule.labels)}")
def test_any_rule_that_is_not_loaded_or_not_healthy_fails(rule: Rule) -> None:
    rest = [other for other in LOADED if other != rule]
    (failure,) = _failures(list(verdicts.rules(rest, DEFAULTS)))
    assert f" not loaded: {rule.name}" in failure
    broken = dataclasses.replace(rule, health="err", error="found duplicate\nseries")
    (failure,) = _failures(list(verdicts.rules([*rest, broken], DEFAULTS)))
    assert f": {rule.name} fails: found duplicate series; " in failure
    (failure,) = _failures(list(verdicts.rules([*rest, dataclasses.replace(rule, health="unknown")], DEFAULTS)))
    assert failure.endswith(f": {rule.name} has not been evaluated yet; ask again in a minute")


def test_of_an_alert_with_a_rule_for_each_metric_only_the_missing_ones_are_named() -> None:
    some = [r for r in LOADED if ("metric", "prosody_up") not in r.labels]
    (failure,) = _failures(list(verdicts.rules(some)))
    assert failure.startswith("other alerts not loaded: MetricAbsent for prosody_up; copy the rules")
    none = [r for r in LOADED if r.name != "MetricAbsent"]
    (failure,) = _failures(list(verdicts.rules(none)))
    assert failure.startswith("other alerts not loaded: MetricAbsent; copy the rules")


def test_no_rules_at_all_is_a_line_for_each_kind() -> None:
    failures = _failures(list(verdicts.rules([])))
    assert [failure.split(":")[0] for failure in failures] == [
        "critical alerts not loaded",
        "other alerts not loaded",
        "recording rules not loaded",
    ]
    assert "PushGatewayDown" in failures[0]


def test_an_operators_own_severity_counts() -> None:
    mine = [
        dataclasses.replace(r, labels=(("severity", "critical"),)) if r.name == "PushLatencyHigh" else r for r in LOADED
    ]
    assert "PushLatencyHigh" in str(next(iter(verdicts.rules(mine))))


def test_rules_that_an_operator_switched_off_or_left_out_are_not_missed(tmp_path: Path) -> None:
    own = tmp_path / "my.yaml"
    own.write_text("PostgresReplicaMissing: {severity: none, reason: One server.}\n")
    gone = {("JobMissing", ("job", "coturn"))}
    mine = [
        rule
        for rule in LOADED
        if rule.name != "PostgresReplicaMissing" and not any((rule.name, pair) in gone for pair in rule.labels)
    ]
    assert not _failures(list(verdicts.rules(mine, chosen(own, without=["coturn"]))))
    assert len(_failures(list(verdicts.rules(mine)))) == 2


# --- The monitoring's own failures ---


def test_what_the_monitoring_fails_at_is_named_with_its_runbook() -> None:
    assert [str(line) for line in verdicts.own_failures([])] == [
        "ok    notifications, configurations, target files and rules: none failed lately"
    ]
    name = "notifications that a receiver refused in the last 15 minutes"
    refused = Sample({"failure": name, "instance": "monitoring", "integration": "pagerduty"}, 3.2)
    assert _failures(list(verdicts.own_failures([refused]))) == [
        f"{name}: 3 (monitoring, pagerduty); docs/runbooks/AlertmanagerNotificationsFailing.md"
    ]


def test_rules_that_are_not_ours_are_not_judged() -> None:
    other = Rule("NodeDiskFull", alerting=True, health="err", error="x", labels=(("severity", "critical"),))
    assert not _failures(list(verdicts.rules([*LOADED, other])))


# --- Watchdog, Alertmanager, dashboards ---


def test_a_watchdog_that_does_not_fire_fails() -> None:
    assert str(verdicts.watchdog(LOADED)) == "ok    Watchdog: fires"
    for state in ("inactive", "pending"):
        quiet = [dataclasses.replace(r, state=state) if r.name == "Watchdog" else r for r in LOADED]
        assert verdicts.watchdog(quiet).failed
    assert verdicts.watchdog([]).failed


def test_an_alertmanager_must_be_there_and_take_alerts() -> None:
    url = "http://localhost:9093/api/v2/alerts"
    assert [str(line) for line in verdicts.alertmanagers([url], [])] == [f"ok    Alertmanager: {url}"]
    assert _failures(list(verdicts.alertmanagers([], []))) == [
        "Alertmanager: Prometheus has none to send alerts to; name it in targets/alertmanager.yml"
    ]
    refused = [Sample({"alertmanager": url}, 3.0)]
    (failure,) = _failures(list(verdicts.alertmanagers([url], refused)))
    assert failure.startswith(f"Alertmanager: {url} did not take alerts in the last 2 minutes; ")


def test_every_dashboard_must_be_there_and_provisioned() -> None:
    assert [str(line) for line in verdicts.dashboards({"a": True, "b": True})] == [
        "ok    dashboards: 2 of 2 provisioned: a, b"
    ]
    missing, by_hand = _failures(list(verdicts.dashboards({"a": True, "b": None, "c": False})))
    assert missing.startswith("dashboard b: not in Grafana; ")
    assert by_hand.startswith("dashboard c: made by hand")


# --- Settings ---


def test_an_acknowledgement_that_is_waited_for_too_long_is_named_with_its_node_and_the_remedy() -> None:
    found = [Sample({"instance": f"prosody{n}"}, value) for n, value in enumerate((5, 30, float("inf"), 5.1), start=1)]
    assert _failures(list(verdicts.call_settings(found))) == [
        (
            f"settings: smacks_max_ack_delay is {value} s on {node}, so calls to phones that vanished do not ring; "
            "set it to 5 (prometheus/snippets/prosody.cfg.lua) and reload mod_smacks"
        )
        for node, value in (("prosody2", "30"), ("prosody3", "inf"), ("prosody4", "5.1"))
    ]


def test_a_short_wait_for_acknowledgements_is_one_line_and_none_where_nothing_was_read() -> None:
    found = [Sample({"instance": "prosody1"}, 5), Sample({"instance": "prosody2"}, 1)]
    assert [str(line) for line in verdicts.call_settings(found)] == [
        "ok    settings: smacks_max_ack_delay is 5 s or less on 2 nodes"
    ]
    assert list(verdicts.call_settings([])) == []
