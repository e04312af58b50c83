"""Turns one snapshot of coturn into metric families. It has no I/O and no clock."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from exporters.coturn.families import FAMILIES
from exporters.coturn.probe import ALL_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from exporters.coturn.log_statistics import Run
    from exporters.coturn.process import ProcessState
    from exporters.coturn.snapshot import Snapshot

_EVENTS = ("created", "refreshed", "deleted")
_SIDES = ("client", "peer")
_DIRECTIONS = ("received", "sent")
# coturn's error codes for an Allocate request (RFC 8656 section 19, and its own); any other code is "other"
_CODES = (400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 500, 508)


def collect(snapshot: Snapshot) -> Iterable[Metric]:
    """Return every family that has samples."""
    if snapshot.version:
        yield FAMILIES.fill("coturn_build_info", ((snapshot.version,), 1))
    if snapshot.process is not None:
        yield from _process(snapshot.process)
    yield from _allocations(snapshot)
    yield from _probes(snapshot)
    if snapshot.run is not None:
        yield from _log(snapshot.run)
    if snapshot.bindings is not None:
        count, source = snapshot.bindings
        yield FAMILIES.fill("coturn_stun_bindings_total", ((), count))
        yield FAMILIES.fill("coturn_stun_bindings_source", ((source,), 1))
    yield FAMILIES.fill(
        "coturn_exporter_source_up", *(((name,), works) for name, works in sorted(snapshot.sources.items()))
    )
    if snapshot.log_in_place is not None:
        yield FAMILIES.fill("coturn_log_in_configured_place", ((), snapshot.log_in_place))
    commented = Counter(snapshot.commented_options)
    yield FAMILIES.fill("coturn_config_commented_values", *(((option,), n) for option, n in sorted(commented.items())))
    yield from snapshot.passed_through


def _process(process: ProcessState) -> Iterator[Metric]:
    for name, value in (
        ("coturn_start_time_seconds", process.start_time),
        ("coturn_cpu_seconds_total", process.cpu_seconds),
        ("coturn_memory_used_bytes", process.resident_bytes),
        ("coturn_open_fds", process.open_fds),
        ("coturn_max_fds", process.max_fds),
    ):
        if value is not None:
            yield FAMILIES.fill(name, ((), value))


def _allocations(snapshot: Snapshot) -> Iterator[Metric]:
    limit = snapshot.total_quota or math.inf
    quota: list[tuple[tuple[str, ...], float]] = [(("limit",), limit)]
    ports: list[tuple[tuple[str, ...], float]] = []
    if snapshot.relay_ports_capacity is not None:
        ports.append((("capacity",), snapshot.relay_ports_capacity))
    if snapshot.best is not None:
        yield FAMILIES.fill("coturn_active_allocations", ((), snapshot.best))
        quota.append((("used",), snapshot.best))
    if snapshot.relay_ports_used is not None:
        ports.append((("used",), snapshot.relay_ports_used))
    active = sorted(snapshot.active.items())
    yield FAMILIES.fill("coturn_active_allocations_source", *(((source,), count) for source, count in active))
    yield FAMILIES.fill("coturn_quota", *quota)
    yield FAMILIES.fill("coturn_relay_ports", *ports)


def _probes(snapshot: Snapshot) -> Iterator[Metric]:
    outcomes = sorted(snapshot.outcomes.items())
    yield FAMILIES.fill("coturn_probe_success", *((key, not outcome.failure) for key, outcome in outcomes))
    yield FAMILIES.fill(
        "coturn_probe_duration_seconds",
        *((key, outcome.seconds) for key, outcome in outcomes if not outcome.failure),
    )
    failures = {(*key, reason): 0 for key, _ in outcomes for reason in ALL_REASONS} | dict(snapshot.failures)
    yield FAMILIES.fill("coturn_probe_failures_total", *sorted(failures.items()))


def _log(run: Run) -> Iterator[Metric]:
    yield FAMILIES.fill("coturn_allocations_total", *(((event,), run.events[event]) for event in _EVENTS))
    yield FAMILIES.fill(
        "coturn_traffic_bytes_total",
        *(((side, direction), run.traffic[side, direction]) for side in _SIDES for direction in _DIRECTIONS),
    )
    known = [((str(code),), run.errors[code]) for code in _CODES]
    other = sum(count for code, count in run.errors.items() if code not in _CODES)
    yield FAMILIES.fill("coturn_allocate_errors_total", *known, (("other",), other))
    yield FAMILIES.fill_histograms("coturn_allocation_duration_seconds", ((), run.durations))
