"""The generated rules: up to date and whole; each alert has its tests and its runbook."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from alerts import documents, promises
from alerts.catalogue import GROUPS, KNOBS
from alerts.catalogue.monitoring import WATCHED
from alerts.generate import DASHBOARDS, RULES, RUNBOOKS, main, render
from alerts.jobs import JOBS
from alerts.recording import RECORDINGS
from alerts.render import Links
from alerts.thresholds import load
from exporters.synthetic import names as synthetic
from exporters.synthetic.families import FAMILIES as SYNTHETIC
from tests.alerts.mutation import rules
from tests.alerts.promql import selectors

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "alerts" / "tests"
FILES = {
    "alerts.yaml",
    "panels.yaml",
    "promises.yaml",
    "recording.yaml",
}  # generate-rules'; checklist.yaml is tests/check's
NAMES = {alert.name for alerts in GROUPS.values() for alert in alerts}
# Recorded from counters that are watched themselves. VictoriaMetrics stores no NaN, so these may be absent when all is
# well.
NAN_WHEN_IDLE = {
    "instance:push_voip_failed:ratio",
    "instance:push_fcm_failed:ratio",
    "instance_handler:push_latency_ms:p99",
    "instance:prosody_logins_failed:ratio",
    # commeazy-check asks for what they are made of, prosody_push_wakeups_total. It is not watched: the gateway's page
    # shows it, and that lists the gateway's nodes.
    "instance_kind:prosody_pushes_silent:increase",
    "instance_kind:prosody_pushes_silent:ratio",
}
# There only where there is such a thing, or once it has happened; commeazy-check asks for what every host must have.
NOT_EVERYWHERE = {
    "instance_mountpoint:node_filesystem_full_seconds:short",
    "instance_mountpoint:node_filesystem_full_seconds:long",
    "instance_mountpoint:node_filesystem_files_free:ratio",
    "instance:node_clock_offset_seconds:now",  # made of node_time_seconds, which is watched
    "instance:node_cpu_stolen:ratio",
    "instance:node_oom_kills:increase",
    "instance_name:node_systemd_restarts:increase",
    "node_memory_MemTotal_bytes",
    "node_filefd_allocated",
    "node_filefd_maximum",
    "node_nf_conntrack_entries",
    "node_nf_conntrack_entries_limit",
    "node_network_receive_bytes_total",
    "node_reboot_required",
    "node_systemd_unit_state",  # the tile on the dashboard says NO DATA
    "keepalived_vrrp_state",
    "instance:log_age_seconds:now",
    "instance:prosody_c2s_sessions:forecast",
    "instance:haproxy_errors:ratio",
    "instance_proxy:haproxy_retries:increase",
    "haproxy_process_current_connections",
    "haproxy_process_max_connections",
    "haproxy_backend_current_queue",
    "haproxy_server_current_queue",
    "haproxy_frontend_http_responses_total",
    "instance:pg_archiver_failures:increase",
    "instance:pg_archive_age_seconds:max",
    "instance:pg_rows_changed:max",
    "pg_stat_activity_count",
    "instance:pg_transaction_seconds:max",
    "instance_journey:synthetic_tries:ratio",
    "pg_settings_max_connections",
}
# Section 14's table and the two of Section 12, as the design words them: expression, for, severity.
SPECIFIED = {
    "ProsodySessionsHigh": ("prosody_c2s_sessions) > 40000", "5m", "warning"),
    "ProsodySessionsCritical": ("prosody_c2s_sessions) > 50000", "2m", "critical"),
    "ProsodyMemoryHigh": ("prosody_memory_used_bytes > 6000000000", "10m", "warning"),
    "ProsodyStanzaRateHigh": ("prosody_stanza_rate > 10000", "5m", "warning"),
    "HaproxyBackendNodesLow": ("haproxy_backend_up < 2", "30s", "critical"),
    "PostgresReplicationLagHigh": ("pg_replication_lag_bytes > 10000000", "5m", "warning"),
    "CoturnAllocationsHigh": ("coturn_active_allocations > 5000", "5m", "warning"),
    "CertificateExpiringSoon": ("ssl_certificate_expiry_days < 14\nunless ", "1h", "warning"),
    "PushGatewayDown": ("push_gateway_up == 0", "30s", "critical"),
    "PushVoipFailuresHigh": ("> 0.05 and increase(push_voip_failed_total[10m]) >= 3", "5m", "warning"),
    "PushFcmFailuresHigh": ("> 0.05 and increase(push_fcm_failed_total[10m]) >= 3", "5m", "warning"),
    "PushLatencyHigh": ("instance_handler:push_latency_ms:p99 > 2000", "5m", "warning"),
    "PushGatewayCrashLoop": ("resets(push_gateway_uptime_seconds[10m]) > 1", None, "critical"),
    "PushGatewayMemoryHigh": ("push_gateway_memory_bytes > 150000000", "10m", "warning"),
}


def test_the_rule_files_are_what_the_catalogue_says() -> None:
    assert main(["--check"]) == 0


def test_an_old_rule_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path)]) == 0
    (tmp_path / "alerts.yaml").write_bytes(b"\xff no text")
    assert main(["--output", str(tmp_path), "--check"]) == 1
    line = f"generate-rules: {tmp_path}/alerts.yaml is not what the catalogue says; run generate-rules\n"
    assert capsys.readouterr().err == line


def test_two_runs_write_the_same_and_leave_nothing_beside(tmp_path: Path) -> None:
    main(["--output", str(tmp_path)])
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    main(["--output", str(tmp_path)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert set(first) == FILES


def test_the_header_says_what_made_the_file_from_what() -> None:
    for path in (RULES / name for name in FILES):
        source = "objectives.yaml" if path.stem == "promises" else "thresholds.yaml and alerts/catalogue"
        assert path.read_text().splitlines()[0] == (
            f"# Generated by generate-rules from alerts/{source}; edits here are lost."
        )


@pytest.mark.parametrize("alert", SPECIFIED)
def test_the_specified_alerts_are_exactly_as_specified(alert: str) -> None:
    rule = next(rule for rule in rules("alerts.yaml") if rule["alert"] == alert)
    expr, hold, severity = SPECIFIED[alert]
    assert expr in rule["expr"]
    assert rule.get("for") == hold
    assert rule["labels"]["severity"] == severity


def test_catalogue_thresholds_tests_and_runbooks_have_the_same_alerts() -> None:
    assert {path.stem for path in TESTS.glob("*.yaml")} == NAMES
    assert {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"} == NAMES
    assert set(yaml.safe_load((ROOT / "alerts" / "thresholds.yaml").read_text())) == NAMES == set(KNOBS)


def test_every_series_that_an_alert_stands_on_is_watched_for_absence() -> None:
    watched = {watched.series for watched in WATCHED}
    # JobMissing watches `up`, and the walsender's series being gone is what PostgresReplicaMissing is about.
    exempt = {
        "up",
        "pg_stat_replication_pg_wal_lsn_diff",
        # There without a replica too, or only with one.
        "pg_replication_slots_active",
        "pg_replication_slots_pg_wal_lsn_diff",
        # Only with the probe; commeazy-check asks for it.
        "prosody_websocket_ping_seconds_count",
        # A server without the check has none; the recorded series is watched.
        "haproxy_server_status",
        # Whatever answers for Prosody has its version; commeazy-check asks for it.
        "prosody_build_info",
        # A key file that cannot be looked at has none, and PushVoipCredentialsInvalid says so.
        "push_key_file_private",
        # Only where the operator names test phones.
        "push_canary_total",
        "prosody_canary_logins_total",
        # An unknown item has none; commeazy-check looks for its rules.
        "checklist_item",
        *NAN_WHEN_IDLE,
        *NOT_EVERYWHERE,
    }
    # The page of the synthetic-user exporter has all of its families or none, and the journeys are watched.
    exempt |= set(SYNTHETIC) | {"synthetic_journey_seconds_bucket"}
    # PromiseNotMeasured says which promise has no coverage; what silences others is silent itself without a cause.
    exempt |= {rule["record"] for rule in rules("promises.yaml")} | {"ALERTS"}
    for alerts in GROUPS.values():
        for alert in alerts:
            for selector in selectors(re.sub(r"<(value|minimum|share)>", "1", alert.expr).replace("<window>", "5m")):
                names = {text.split("{")[0] for text in watched}
                assert selector.name in names | exempt, f"{alert.name}: nobody misses {selector.name}"
                for matcher in selector.matchers.matchers if selector.name == "prosody_setting" else ():
                    assert {f'prosody_setting{{name="{name}"}}' for name in matcher.value.split("|")} <= watched


def test_what_an_alert_stands_on_is_recorded_before_it_is_missed() -> None:
    recorded = {recording.record for recording in RECORDINGS}
    watched = {watched.series.partition("{")[0] for watched in WATCHED}
    assert recorded - NAN_WHEN_IDLE - NOT_EVERYWHERE <= watched


def test_every_job_of_the_configuration_is_missed_when_it_is_gone() -> None:
    missed = {rule["labels"]["job"] for rule in rules("alerts.yaml") if rule["alert"] == "JobMissing"}
    assert missed == set(JOBS)


def test_every_alert_says_what_where_and_what_to_do() -> None:
    for rule in rules("alerts.yaml"):
        annotations = rule["annotations"]
        assert set(annotations) - {"promises"} == {"summary", "description", "runbook_url", "dashboard_url"}
        assert set(rule["labels"]) <= {"severity", "metric", "job", "journey", "of", "sloth_severity"}
        assert annotations["runbook_url"].endswith(f"/{rule['alert']}.md")
        assert len(annotations["description"]) < 140, "it is read on a phone"


def test_the_links_start_where_the_options_say(tmp_path: Path) -> None:
    main(["--output", str(tmp_path), "--runbook-url", "https://wiki/runbooks/", "--dashboard-url", "https://grafana/d"])
    text = (tmp_path / "alerts.yaml").read_text()
    assert "runbook_url: https://wiki/runbooks/ProsodyDown.md" in text
    assert "dashboard_url: https://grafana/d/prosody-overview?var-node={{ $labels.instance | urlquery }}" in text
    assert urlsplit(RUNBOOKS).netloc not in text


def test_what_the_door_chooses_is_no_node_for_the_promises_either() -> None:
    assert promises.ANY == synthetic.ANY


def _named(text: str) -> set[str]:
    return {rule["alert"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}


def test_severity_none_switches_an_alert_off_and_what_only_it_stands_on_is_not_missed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "PostgresReplicaMissing: {reason: One server., severity: none}\n"
        "PostgresReplicationLagHigh: {reason: One server., severity: none}\n"
    )
    text = render(mine, Links(RUNBOOKS, DASHBOARDS))["alerts.yaml"]
    off = {"PostgresReplicaMissing", "PostgresReplicationLagHigh"}
    assert _named(text) == NAMES - off
    missed = {rule["labels"].get("metric") for g in yaml.safe_load(text)["groups"] for rule in g["rules"]}
    assert "pg_replication_lag_bytes" not in missed
    assert "pg_up" in missed
    assert {"Watchdog", "KnownCause"} <= _named(text), "they have severity none and notify nobody"


def test_a_job_without_targets_is_not_missed(tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path), "--without", "coturn", "--without", "certificates"]) == 0
    groups = yaml.safe_load((tmp_path / "alerts.yaml").read_text())["groups"]
    missing = {rule["labels"]["job"] for g in groups for rule in g["rules"] if rule["alert"] == "JobMissing"}
    assert missing == set(JOBS) - {"coturn", "certificates"}


def test_no_double_slash_and_no_placeholder_is_left() -> None:
    for text in render(None, Links(RUNBOOKS + "/", DASHBOARDS + "/")).values():
        assert "//ProsodyDown" not in text
        assert not re.search(r"<(value|window|minimum|limit)>", text)


def test_what_documents_repeat_of_the_alerts_is_up_to_date() -> None:
    for path, text in documents.files().items():
        assert path.read_text() == text, f"{path.name} is not what alerts/ says; run make generate"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# ProsodyDown\n\n**warning** · old\n\nText.\n", "# ProsodyDown\n\nFACTS\n\nText.\n"),
        ("# ProsodyDown\n\nText.\n", "# ProsodyDown\n\nFACTS\n\nText.\n"),
        ("# Something else\n\n**bold** text\n", "# Something else\n\n**bold** text\n"),
    ],
)
def test_the_facts_of_a_runbook_are_replaced_and_its_text_stays(before: str, after: str) -> None:
    thresholds = load(KNOBS)
    assert documents.runbook(before, thresholds) == after.replace("FACTS", documents.facts(thresholds["ProsodyDown"]))


@pytest.mark.parametrize("alert", sorted(NAMES))
def test_a_runbook_has_the_sections_of_its_kind(alert: str) -> None:
    text = (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text()
    headings = ("\n## Meaning\n\n", "\n## Impact\n\n", "\n## Diagnosis\n\n```bash\n", "\n## Mitigation\n\n")
    places = [text.find(heading) for heading in headings]
    assert -1 not in places
    assert places == sorted(places)
    assert "\nDashboard: " in text
    assert "pm2" not in text, "the gateway runs under systemd"
    assert len(text.splitlines()) < 60, "it is read at night"
    for other in re.findall(r"\b(?:Prosody|Push|Haproxy|Postgres|Coturn|Certificate|Host|Keepalived)[A-Z]\w+", text):
        assert other in NAMES, f"there is no runbook {other}"
