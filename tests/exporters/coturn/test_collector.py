"""A snapshot becomes the families of the contract; which source is believed is the order of SOURCES."""

from __future__ import annotations

import dataclasses
import math

import pytest
from prometheus_client.core import Metric

from exporters.coturn.collector import collect
from exporters.coturn.families import FAMILIES
from exporters.coturn.log_statistics import Run
from exporters.coturn.probe import ProbeOutcome
from exporters.coturn.process import ProcessState
from exporters.coturn.snapshot import SOURCES, Snapshot

EVERYTHING = Snapshot(
    relay_ports_capacity=10,
    total_quota=5,
    commented_options=("a", "b", "b"),
    sources={"cli": False, "log": True},
    active={"endpoint": 4, "log": 3, "relay_ports": 2, "cli": 1},
    process=ProcessState(stopped=False, start_time=1, cpu_seconds=2, resident_bytes=3, open_fds=4, max_fds=5),
    run=Run(complete=True),
    relay_ports_used=6,
    bindings=(7, "sessions"),
    outcomes={("stun", "udp"): ProbeOutcome(0.5), ("turn", "udp"): ProbeOutcome(failure="quota")},
    failures={("turn", "udp", "quota"): 8},
    version="4.6.1",
    log_in_place=False,
)


def samples(snapshot: Snapshot) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in collect(snapshot)
        for sample in family.samples
    }


def test_everything_known_fills_every_family_of_the_table() -> None:
    families = {family.name for family in collect(EVERYTHING) if family.samples}
    assert families == {name.removesuffix("_total") for name in FAMILIES}
    assert all(family.help.endswith(".") for family in FAMILIES.values())


@pytest.mark.parametrize("down", range(len(SOURCES)))
def test_the_best_source_that_works_is_believed(down: int) -> None:
    active = {name: EVERYTHING.active[name] for name in SOURCES[down:]}
    values = samples(dataclasses.replace(EVERYTHING, active=active))
    assert values["coturn_active_allocations", ()] == down + 1
    assert values["coturn_quota", ("used",)] == down + 1
    assert {name for name, _ in values if name == "coturn_active_allocations_source"}


def test_nothing_known_is_absent_not_zero() -> None:
    bare = Snapshot(relay_ports_capacity=10, total_quota=0, commented_options=())
    values = samples(bare)
    assert values == {("coturn_quota", ("limit",)): math.inf, ("coturn_relay_ports", ("capacity",)): 10}


def test_relays_that_share_a_socket_have_no_number_of_ports() -> None:
    values = samples(Snapshot(relay_ports_capacity=None, total_quota=0, commented_options=()))
    assert not [name for name, _ in values if name == "coturn_relay_ports"]


def test_an_error_code_out_of_the_standards_makes_no_series_of_its_own() -> None:
    run = Run()
    run.errors.update({486: 2, 699: 1, 123: 1})
    values = samples(dataclasses.replace(EVERYTHING, run=run))
    assert values["coturn_allocate_errors_total", ("486",)] == 2
    assert values["coturn_allocate_errors_total", ("other",)] == 2
    assert ("coturn_allocate_errors_total", ("699",)) not in values


def test_a_failed_probe_has_no_duration_and_every_reason_a_series() -> None:
    values = samples(EVERYTHING)
    assert values["coturn_probe_success", ("turn", "udp")] == 0
    assert ("coturn_probe_duration_seconds", ("turn", "udp")) not in values
    assert values["coturn_probe_failures_total", ("turn", "udp", "quota")] == 8
    assert values["coturn_probe_failures_total", ("stun", "udp", "timeout")] == 0


def test_families_of_the_built_in_endpoint_pass_through() -> None:
    theirs = Metric("turn_total_traffic_rcvb", "theirs", "counter")
    assert list(collect(dataclasses.replace(EVERYTHING, passed_through=[theirs])))[-1] is theirs
