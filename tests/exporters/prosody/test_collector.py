"""One recorded reading of a real Prosody to samples: what each of them says."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest

from exporters.prosody.collector import FORBIDDEN_MODULES, REQUIRED_MODULES, collect
from exporters.prosody.probe import Observations
from exporters.prosody.snapshot import Process, Snapshot, parse_snapshot
from tests.exporters.prosody.exposition import series
from tests.exporters.prosody.fakes import RECORDED
from tests.exporters.prosody.recording import HOST, names, of, recorded
from toolkit.histogram import Histogram


def test_the_recorded_sessions_are_counted_where_they_are(snapshot: Snapshot) -> None:
    found = series(collect(snapshot, None))
    assert of(found, "prosody_c2s_sessions") == {(HOST, "websocket"): 5, (HOST, "tcp"): 2, (HOST, "bosh"): 0}
    assert of(found, "prosody_c2s_hibernated_sessions") == {(HOST,): 2}
    shows = {"available": 5, "away": 2, "chat": 0, "dnd": 0, "xa": 0, "unavailable": 0}
    assert of(found, "prosody_presence_sessions") == {(HOST, show): n for show, n in shows.items()}


def test_the_recorded_events_are_counted(snapshot: Snapshot) -> None:
    found = series(collect(snapshot, None))
    assert of(found, "prosody_authentications_total") == {(HOST, "success"): 8, (HOST, "failure"): 2}
    assert of(found, "prosody_stanzas_total") == {
        ("in", "message"): 0,
        ("in", "presence"): 10,
        ("in", "iq"): 16,
        ("out", "message"): 0,
        ("out", "presence"): 10,
        ("out", "iq"): 16,
    }
    assert of(found, "prosody_push_notifications_total") == dict.fromkeys(
        [(HOST, "call"), (HOST, "message"), (HOST, "other")], 0
    )
    assert of(found, "prosody_dead_connections_total") == {("read_timeout", HOST): 0, ("hibernation_expired", HOST): 0}
    assert of(found, "prosody_exporter_sessions_settled") == {(): 1}
    assert of(found, "prosody_build_info") == {("13.0.1",): 1}
    assert of(found, "prosody_authentication_info") == {(HOST, "internal_hashed"): 1}
    assert of(found, "prosody_c2s_sessions_without_smacks") == {(HOST,): 0}


def test_sessions_without_stream_management_are_counted_by_host() -> None:
    answer = recorded()
    answer["instrument"]["counters"]["without_smacks"] = {HOST: 1}
    found = series(collect(parse_snapshot(json.dumps(answer)), None))
    assert of(found, "prosody_c2s_sessions_without_smacks") == {(HOST,): 1}


def test_the_recorded_lag_is_a_cumulative_histogram(snapshot: Snapshot) -> None:
    assert snapshot.counts
    buckets = of(series(collect(snapshot, None)), "prosody_event_loop_lag_seconds_bucket")
    assert buckets["0.001",] == snapshot.counts.lag.counts[0]
    assert buckets["0.0025",] == sum(snapshot.counts.lag.counts[:2])
    assert buckets["+Inf",] == sum(snapshot.counts.lag.counts)


def test_what_followed_a_push_is_counted_by_kind_and_result_with_the_time_of_those_that_woke() -> None:
    answer = recorded()
    answer["instrument"]["counters"]["wakeups"][HOST] |= {
        "call woke": 3,
        "call silent": 1,
        "message woke": 5,
        "message superseded": 2,
    }
    answer["instrument"]["counters"]["wakeup_seconds"][HOST] = {
        "call": {"count": 3, "sum": 7.5, "buckets": [0, 1, 1, 1, 0, 0, 0, 0]},
        "message": {"count": 4, "sum": 90.25, "buckets": [0, 0, 1, 0, 1, 0, 1, 0]},
    }
    found = series(collect(parse_snapshot(json.dumps(answer)), None))
    assert of(found, "prosody_push_wakeups_total") == {
        (HOST, "call", "woke"): 3,
        (HOST, "call", "silent"): 1,
        (HOST, "call", "superseded"): 0,
        (HOST, "message", "woke"): 5,
        (HOST, "message", "silent"): 0,
        (HOST, "message", "superseded"): 2,
    }
    buckets = of(found, "prosody_push_wakeup_seconds_bucket")
    assert [buckets[HOST, "call", edge] for edge in ("2.0", "5.0", "10.0", "30.0", "+Inf")] == [2, 3, 3, 3, 3]
    assert buckets[HOST, "message", "60.0"] == 3
    assert of(found, "prosody_push_wakeup_seconds_count")[HOST, "message"] == 4
    assert of(found, "prosody_push_wakeup_seconds_sum")[HOST, "message"] == 90.25


def test_logins_of_the_canaries_are_counted_by_handler() -> None:
    answer = recorded()
    answer["instrument"]["counters"]["canary_logins"][HOST] = {"voip": 2, "fcm": 0}
    found = series(collect(parse_snapshot(json.dumps(answer)), None))
    assert of(found, "prosody_canary_logins_total") == {("voip", HOST): 2, ("fcm", HOST): 0}


def test_what_is_longer_than_the_last_edge_is_in_the_bucket_to_infinity_only() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.1, 0.11, 1.0, 1.01):
        histogram.observe(seconds)
    found = series(collect(None, Observations(histogram)))
    name = "prosody_websocket_ping_seconds"
    assert of(found, f"{name}_bucket") == {("0.1",): 1, ("1.0",): 3, ("+Inf",): 4}
    assert of(found, f"{name}_sum") == {(): pytest.approx(2.22)}
    assert of(found, f"{name}_count") == {(): 4}


def test_an_empty_server_has_rows_of_zero_for_every_host_transport_and_show() -> None:
    answer = recorded()
    answer["virtual_hosts"] = [HOST, "other.example"]
    answer["instrument"]["counters"]["sessions"] = {}
    found = series(collect(parse_snapshot(json.dumps(answer)), None))
    both = (HOST, "other.example")
    transports, shows = ("websocket", "tcp", "bosh"), ("available", "away", "chat", "dnd", "xa", "unavailable")
    assert of(found, "prosody_c2s_sessions") == {(host, transport): 0 for host in both for transport in transports}
    assert of(found, "prosody_presence_sessions") == {(host, show): 0 for host in both for show in shows}
    assert of(found, "prosody_c2s_hibernated_sessions") == {(host,): 0 for host in both}


def test_a_host_whose_name_has_a_space_costs_nothing() -> None:
    answer = recorded()
    answer["virtual_hosts"] = ["my host"]
    answer["instrument"]["counters"]["sessions"] = {"my host websocket hibernated away": 3}
    found = series(collect(parse_snapshot(json.dumps(answer)), None))
    assert of(found, "prosody_c2s_sessions")["my host", "websocket"] == 3
    assert of(found, "prosody_presence_sessions")["my host", "away"] == 3
    assert of(found, "prosody_c2s_hibernated_sessions") == {("my host",): 3}


def test_modules_of_appendix_a_are_zero_when_not_loaded(snapshot: Snapshot) -> None:
    loaded = of(series(collect(snapshot, None)), "prosody_module_loaded")
    assert loaded[HOST, "smacks"] == 1
    assert loaded["*", "http_openmetrics"] == 1
    assert (HOST, "http_openmetrics") not in loaded  # it is a global module
    assert {module for (host, module), value in loaded.items() if value == 0} == FORBIDDEN_MODULES
    answer = recorded()
    answer["modules"][HOST] = [*(set(answer["modules"][HOST]) - {"smacks", "turn_external"}), "mam"]
    loaded = of(series(collect(parse_snapshot(json.dumps(answer)), None)), "prosody_module_loaded")
    assert [loaded[HOST, module] for module in ("smacks", "turn_external", "mam")] == [0, 0, 1]


def test_the_modules_asked_for_are_those_of_appendix_a() -> None:
    appendix = (RECORDED.parents[1] / "lab/servers/prosody.appendix-a.cfg.lua").read_text()
    enabled = re.search(r"^modules_enabled = \{(.*?)^\}", appendix, re.MULTILINE | re.DOTALL)
    assert enabled
    assert set(re.findall(r'^ +"(\w+)";', enabled[1], re.MULTILINE)) == REQUIRED_MODULES - {"turn_external"}
    assert "turn_external_secret" in appendix  # a setting of a module that it does not load
    assert {"mam", "muc_mam", "offline", "s2s", "register", "register_ibr"} == FORBIDDEN_MODULES


def test_a_component_is_not_asked_for_the_modules_of_a_virtual_host(snapshot: Snapshot) -> None:
    modules = {**snapshot.modules, "conference.commeazy.com": frozenset({"muc"})}
    found = of(series(collect(dataclasses.replace(snapshot, modules=modules), None)), "prosody_module_loaded")
    assert {key: n for key, n in found.items() if key[0].startswith("conf")} == {("conference.commeazy.com", "muc"): 1}


def test_settings_are_the_recorded_ones_and_never_is_infinite() -> None:
    answer = recorded()
    answer["settings"]["read_timeout"] = ["+Inf", "*"]
    answer["settings"]["smacks_hibernation_time"] = [600, "other.example"]
    assert of(series(collect(parse_snapshot(json.dumps(answer)), None)), "prosody_setting") == {
        (HOST, "admins"): 2,
        (HOST, "allow_registration"): 0,
        (HOST, "c2s_require_encryption"): 1,
        ("*", "c2s_timeout"): 300,
        ("*", "consider_websocket_secure"): 1,
        (HOST, "push_max_hibernation_timeout"): 72 * 3600,
        (HOST, "push_notification_with_body"): 0,
        (HOST, "push_notification_with_sender"): 0,
        ("*", "read_timeout"): math.inf,
        (HOST, "registration_restricted"): 1,
        (HOST, "s2s_require_encryption"): 1,
        (HOST, "s2s_secure_auth"): 1,
        ("other.example", "smacks_hibernation_time"): 600,
        (HOST, "smacks_max_ack_delay"): 30,
        ("*", "statistics_interval"): 30,
    }


def test_what_is_not_known_of_the_process_is_left_away(snapshot: Snapshot) -> None:
    found = names(collect(dataclasses.replace(snapshot, process=Process(cpu_seconds=1.5)), None))
    assert "prosody_cpu_seconds_total" in found
    assert not found & {"prosody_memory_used_bytes", "prosody_open_fds"}


def test_errors_of_streams_and_of_the_probe_are_told_apart() -> None:
    answer = recorded()
    answer["instrument"]["counters"]["stream_errors"] = {"websocket": {"policy-violation": 2}, "tcp": {"conflict": 1}}
    observations = Observations()
    observations.errors["probe_tls"] = 3
    found = of(series(collect(parse_snapshot(json.dumps(answer)), observations)), "prosody_connection_errors_total")
    assert {key: n for key, n in found.items() if n} == {
        ("policy-violation", "websocket"): 2,
        ("conflict", "tcp"): 1,
        ("probe_tls", "websocket"): 3,
    }
    assert ("probe_timeout", "websocket") in found  # from the start, so that a first failure is an increase
