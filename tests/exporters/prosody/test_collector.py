"""One recorded reading of a real Prosody to metrics: what is there, under which names and labels, and what is not."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from exporters.prosody.collector import FORBIDDEN_MODULES, REQUIRED_MODULES, collect, missing_families
from exporters.prosody.families import FAMILIES
from exporters.prosody.probe import Observations
from exporters.prosody.registry import Registry
from exporters.prosody.snapshot import Process, Snapshot, parse_snapshot
from tests.exporters.prosody.exposition import Series, complaints, series
from tests.exporters.prosody.fakes import RECORDED
from toolkit.histogram import Histogram
from toolkit.scrape import Exporter, Scrape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

TEXT = json.dumps(json.loads((RECORDED / "prosody-snapshot.json").read_text()))
REGISTRY = (RECORDED / "prosody-13.0.1-registry.txt").read_text()
HOST = "commeazy.com"

# The metric contract's names and labels, and what this exporter says of itself, written by hand.
CONTRACT = {
    "prosody_c2s_sessions": {"host", "transport"},
    "prosody_memory_used_bytes": set(),
    "prosody_build_info": {"version"},
    "prosody_start_time_seconds": set(),
    "prosody_stanzas_total": {"direction", "kind"},
    "prosody_c2s_hibernated_sessions": {"host"},
    "prosody_c2s_sessions_without_smacks": {"host"},
    "prosody_presence_sessions": {"host", "show"},
    "prosody_presence_updates_total": {"host", "type"},
    "prosody_dead_connections_total": {"host", "cause"},
    "prosody_authentications_total": {"host", "result"},
    "prosody_connection_errors_total": {"transport", "reason"},
    "prosody_event_loop_lag_seconds": set(),
    "prosody_cpu_seconds_total": set(),
    "prosody_lua_heap_bytes": set(),
    "prosody_open_fds": set(),
    "prosody_push_notifications_total": {"host", "kind"},
    "prosody_push_registrations": {"host"},
    "prosody_push_wakeups_total": {"host", "kind", "result"},
    "prosody_push_wakeup_seconds": {"host", "kind"},
    "prosody_canary_logins_total": {"host", "handler"},
    "prosody_module_loaded": {"host", "module"},
    "prosody_setting": {"name", "host"},
    "prosody_authentication_info": {"host", "provider"},
    "prosody_websocket_ping_seconds": set(),
    "prosody_websocket_login_mechanisms": {"host"},
    "prosody_exporter_instrument_version": set(),
    "prosody_exporter_sessions_settled": set(),
    "prosody_exporter_sessions_adopted_total": set(),
    "prosody_exporter_session_drift_total": set(),
    "prosody_exporter_reconciliations_total": set(),
    "prosody_exporter_instrument_errors_total": set(),
    "prosody_exporter_registry_families_left_out": set(),
}
ABOUT_THE_SCRAPE = {
    "prosody_up": set(),
    "prosody_exporter_scrape_duration_seconds": set(),
    "prosody_exporter_scrape_failures_total": {"reason"},
    "prosody_exporter_build_info": {"version"},
    "prosody_exporter_config_last_reload_successful": set(),
    "prosody_exporter_config_last_reload_success_timestamp_seconds": set(),
}
WITHOUT_INSTRUMENT = {
    "prosody_build_info",
    "prosody_start_time_seconds",
    "prosody_cpu_seconds_total",
    "prosody_memory_used_bytes",
    "prosody_lua_heap_bytes",
    "prosody_open_fds",
    "prosody_module_loaded",
    "prosody_setting",
    "prosody_authentication_info",
    "prosody_exporter_registry_families_left_out",
}
# Where promtool complains of a name that the specification fixed: name -> why it stays. There is none for Prosody.
FIXED_BY_THE_SPECIFICATION: dict[str, str] = {}


@pytest.fixture
def snapshot() -> Snapshot:
    return parse_snapshot(TEXT)


def recorded() -> Any:  # noqa: ANN401 - a tree of JSON
    return json.loads(TEXT)


def observed() -> Observations:
    observations = Observations()
    observations.round_trips.observe(0.002)
    observations.login_mechanisms[HOST] = 2
    return observations


def name_of(family: Metric) -> str:
    return family.name + "_total" if family.type == "counter" else family.name


def names(families: Iterable[Metric]) -> set[str]:
    return {name_of(family) for family in families}


def of(found: dict[Series, float], name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by their label values in the alphabet's order of the label names."""
    return {tuple(value for _, value in labels): n for (sample, labels), n in found.items() if sample == name}


# Names and labels ---------------------------------------------------------------------------------------------------


def test_every_family_comes_out_when_all_sources_are_there(snapshot: Snapshot) -> None:
    assert names(collect(snapshot, observed())) == set(CONTRACT) == set(FAMILIES)


def test_labels_are_those_of_the_contract(snapshot: Snapshot) -> None:
    for family in collect(snapshot, observed()):
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == CONTRACT[name_of(family)]
    for name, spec in FAMILIES.items():
        assert set(spec.labels) == CONTRACT[name]


def test_without_the_counting_script_its_families_are_missing_and_named(snapshot: Snapshot) -> None:
    off = dataclasses.replace(snapshot, counts=None)
    assert names(collect(off, None)) == WITHOUT_INSTRUMENT
    assert set(missing_families(instrument=False, probe=False)) == set(CONTRACT) - WITHOUT_INSTRUMENT
    assert missing_families(instrument=True, probe=True) == []
    assert missing_families(instrument=True, probe=False) == [
        "prosody_websocket_ping_seconds",
        "prosody_websocket_login_mechanisms",
    ]


def test_a_family_without_a_source_does_not_come_empty(snapshot: Snapshot) -> None:
    off = dataclasses.replace(snapshot, counts=None)
    assert [family.name for family in collect(off, None) if not family.samples] == []


def test_a_server_that_was_not_read_leaves_what_the_probe_saw() -> None:
    assert names(collect(None, observed())) == {
        "prosody_websocket_ping_seconds",
        "prosody_websocket_login_mechanisms",
        "prosody_connection_errors_total",
    }
    assert names(collect(None, None)) == set()


def test_a_server_that_was_not_read_leaves_what_its_process_uses() -> None:
    found = series(collect(None, None, Process(cpu_seconds=1.5, resident_bytes=2e7)))
    assert found == {("prosody_cpu_seconds_total", ()): 1.5, ("prosody_memory_used_bytes", ()): 2e7}


def exporter(snapshot: Snapshot) -> Exporter[Snapshot]:
    async def read() -> Snapshot:
        return snapshot

    return Exporter("prosody", "Prosody exporter", read, lambda seen: collect(seen, observed()), (), "Up.")


async def rendered(snapshot: Snapshot) -> list[Metric]:
    """A whole scrape."""
    scrape = Scrape(exporter(snapshot), "1.0")
    return scrape.families(await scrape.read(5))


async def test_a_whole_scrape_has_nothing_twice_and_reads_back(snapshot: Snapshot) -> None:
    clashing = "".join(f"# HELP {name} X.\n# TYPE {name} gauge\n{name} 7\n" for name in sorted(ABOUT_THE_SCRAPE))
    families = await rendered(dataclasses.replace(snapshot, registry=Registry(clashing + REGISTRY)))
    found = series(families)
    assert of(found, "prosody_up") == {(): 1}
    assert of(found, "prosody_exporter_registry_families_left_out") == {(): len(ABOUT_THE_SCRAPE)}
    assert of(found, "prosody_mod_smacks__sessions_started_total") == {(HOST,): 8}


async def test_promtool_finds_nothing_in_our_own_families(snapshot: Snapshot) -> None:
    families = await rendered(snapshot)
    ours = [family for family in families if not family.name.startswith(("process_", "python_"))]
    assert CONTRACT.keys() | ABOUT_THE_SCRAPE.keys() == {
        sample.name
        for family in ours
        for sample in family.samples
        if not re.search("_(bucket|count|sum)$", sample.name)
    } | {
        "prosody_push_wakeup_seconds",
        "prosody_event_loop_lag_seconds",
        "prosody_websocket_ping_seconds",
        "prosody_connection_errors_total",
    }
    found = [line for line in complaints(ours) if line.split(" ")[0] not in FIXED_BY_THE_SPECIFICATION]
    assert found == []


# Values -------------------------------------------------------------------------------------------------------------


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
