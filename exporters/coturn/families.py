"""Every metric family of the coturn exporter that is its own: the table reads like the documentation that it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Sequence

Filled = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True)
class Family:
    """One family before it has samples.

    Args:
        kind: "gauge", "counter" or "histogram".
        name: as in the metric contract, a counter's with `_total`.
        labels: label names in the order in which values are given.
        help: what it means to the person on call.
    """

    kind: str
    name: str
    labels: tuple[str, ...]
    help: str


_TABLE = (
    ("gauge", "coturn_build_info", ("version",), "Version of the running coturn; the value is 1."),
    ("gauge", "coturn_start_time_seconds", (), "When coturn started, in seconds since 1970."),
    ("counter", "coturn_cpu_seconds_total", (), "CPU time coturn has used; one core is 1 a second."),
    ("gauge", "coturn_memory_used_bytes", (), "Resident memory of coturn."),
    ("gauge", "coturn_open_fds", (), "Open file descriptors of coturn: one per relay and one per TCP client."),
    ("gauge", "coturn_max_fds", (), "File descriptors coturn may open; at that number it refuses calls."),
    (
        "gauge",
        "coturn_active_allocations",
        (),
        "Open TURN allocations, about one per call leg that needs a relay; by the best source that works.",
    ),
    (
        "gauge",
        "coturn_active_allocations_source",
        ("source",),
        "Open TURN allocations as each source sees them. A lasting difference means that one of them is wrong.",
    ),
    (
        "counter",
        "coturn_allocations_total",
        ("event",),
        "Allocations created, refreshed and deleted since coturn started, by its log.",
    ),
    (
        "counter",
        "coturn_traffic_bytes_total",
        ("side", "direction"),
        "Bytes coturn received and sent, by side. A call is up to some 1,000 packets each way behind.",
    ),
    (
        "counter",
        "coturn_allocate_errors_total",
        ("code",),
        "Refused allocations by STUN error code: 401 wrong credentials, 486 quota reached, 508 no relay port left.",
    ),
    (
        "histogram",
        "coturn_allocation_duration_seconds",
        (),
        "How long allocations that have ended had lasted. Many short ones: calls that fail, or clients that retry.",
    ),
    (
        "counter",
        "coturn_stun_bindings_total",
        (),
        "STUN Binding requests: clients that ask for their own address, most of whom then call without a relay.",
    ),
    (
        "gauge",
        "coturn_stun_bindings_source",
        ("source",),
        "Where coturn_stun_bindings_total comes from. sessions: without log-binding, and up to a minute late.",
    ),
    (
        "gauge",
        "coturn_relay_ports",
        ("state",),
        "Relay ports in use, and how many there are. With none left, calls fail with error 508.",
    ),
    (
        "gauge",
        "coturn_quota",
        ("kind",),
        "Allocations that count against total-quota, and the limit (+Inf without one). At it, calls fail with 486.",
    ),
    (
        "gauge",
        "coturn_probe_success",
        ("probe", "transport"),
        "1 if the exporter, as a client, got its STUN answer, or its TURN relay, at the last try.",
    ),
    (
        "gauge",
        "coturn_probe_duration_seconds",
        ("probe", "transport"),
        "Seconds the last successful probe took, connection and TLS handshake included.",
    ),
    (
        "counter",
        "coturn_probe_failures_total",
        ("probe", "transport", "reason"),
        "Failed probes. credentials: the shared secret differs; quota, ports: coturn is full; timeout: it hangs.",
    ),
    (
        "gauge",
        "coturn_exporter_source_up",
        ("source",),
        "1 if this source of numbers worked. One that is switched off in turnserver.conf has no series.",
    ),
    (
        "gauge",
        "coturn_log_in_configured_place",
        (),
        "0 if coturn logs elsewhere than its log-file says: it may not write there, and nobody looks where it does.",
    ),
    (
        "gauge",
        "coturn_config_commented_values",
        ("option",),
        "Lines of turnserver.conf with a comment behind the value, which coturn then misreads or ignores.",
    ),
)
FAMILIES = {row[1]: Family(*row) for row in _TABLE}


def fill(name: str, *samples: tuple[tuple[str, ...], float]) -> Filled:
    """Return the family `name` with these samples, each as (label values, value)."""
    spec = FAMILIES[name]
    kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family: Filled = kind(spec.name, spec.help, labels=spec.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def fill_histogram(name: str, edges: Sequence[float], counts: Sequence[int], total: float) -> HistogramMetricFamily:
    """Return the family `name` as one histogram: counts per edge and above the last one, and the sum of all values."""
    spec = FAMILIES[name]
    family = HistogramMetricFamily(spec.name, spec.help)
    names = [*(str(edge) for edge in edges), "+Inf"]
    family.add_metric((), list(zip(names, accumulate(counts), strict=True)), total)
    return family
