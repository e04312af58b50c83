"""Which metrics come out of one recorded reading of a real Prosody, under which names and labels, and which do not."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from exporters.prosody.collector import collect, missing_families
from exporters.prosody.families import FAMILIES
from exporters.prosody.registry import Registry
from exporters.prosody.snapshot import Process, Snapshot
from tests.exporters.prosody.exposition import complaints, series
from tests.exporters.prosody.recording import HOST, REGISTRY, name_of, names, observed, of
from toolkit.scrape import Exporter, Scrape

if TYPE_CHECKING:
    from prometheus_client.core import Metric


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
