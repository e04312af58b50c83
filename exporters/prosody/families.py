"""Every metric family of the Prosody exporter that is its own: the table reads like the documentation that it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from exporters.prosody.snapshot import Histogram

Filled = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True)
class Family:
    """One family before it has samples.

    Args:
        kind: "gauge", "counter" or "histogram".
        name: as in the metric contract, a counter's with `_total`.
        labels: label names in the order in which values are given.
        needs: what must be there for it to have samples: "server" always, "instrument" for instrument.lua, "probe" for
            the WebSocket probe.
        help: what it means to the person on call.
    """

    kind: str
    name: str
    labels: tuple[str, ...]
    needs: str
    help: str


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "gauge", "prosody_build_info", ("version",), "server", "Version of the running Prosody; the value is 1."
        ),
        Family("gauge", "prosody_start_time_seconds", (), "server", "When Prosody started, in seconds since 1970."),
        Family(
            "gauge",
            "prosody_c2s_sessions",
            ("host", "transport"),
            "instrument",
            "Client sessions with a bound resource, by transport; sessions that hibernate are included.",
        ),
        Family(
            "gauge",
            "prosody_c2s_hibernated_sessions",
            ("host",),
            "instrument",
            "Sessions without a connection that wait to be resumed (XEP-0198). Contacts still see these users online.",
        ),
        Family(
            "gauge",
            "prosody_presence_sessions",
            ("host", "show"),
            "instrument",
            "Sessions by announced presence; unavailable: none announced, or withdrawn.",
        ),
        Family(
            "counter",
            "prosody_presence_updates_total",
            ("host", "type"),
            "instrument",
            "Presence broadcasts of local users; unavailable includes what Prosody sends for a session that ended.",
        ),
        Family(
            "counter",
            "prosody_dead_connections_total",
            ("host", "cause"),
            "instrument",
            "Dead clients detected. read_timeout: a silent connection was dropped. hibernation_expired: a session "
            "was not resumed in time, and only now do contacts see the user offline.",
        ),
        Family(
            "counter",
            "prosody_authentications_total",
            ("host", "result"),
            "instrument",
            "Logins by result: success, failure.",
        ),
        Family(
            "counter",
            "prosody_stanzas_total",
            ("direction", "kind"),
            "instrument",
            "Stanzas on all streams; in: received, out: written. A message from one user to another is both.",
        ),
        Family(
            "counter",
            "prosody_connection_errors_total",
            ("transport", "reason"),
            "instrument or probe",
            "Connections that failed. Reasons of RFC 6120 (policy-violation, ...): Prosody closed a client's "
            "stream with this error. probe_*: the exporter's own WebSocket connection failed.",
        ),
        Family(
            "counter",
            "prosody_push_notifications_total",
            ("host", "kind"),
            "instrument",
            "Push notifications that mod_cloud_notify handed on, one per registered device; call: a jingle propose.",
        ),
        Family(
            "gauge",
            "prosody_push_registrations",
            ("host",),
            "instrument",
            "Devices registered for push, of all users who logged in or were pushed to since Prosody started.",
        ),
        Family(
            "histogram",
            "prosody_event_loop_lag_seconds",
            (),
            "instrument",
            "How late a timer ran inside Prosody, ten looks a second. Every message waits as long.",
        ),
        Family(
            "histogram",
            "prosody_websocket_ping_seconds",
            (),
            "probe",
            "Round trip of a ping on a WebSocket connection that the exporter holds open, as a client sees it.",
        ),
        Family(
            "counter", "prosody_cpu_seconds_total", (), "server", "CPU time of the server; one core is all it can use."
        ),
        Family("gauge", "prosody_memory_used_bytes", (), "server", "Resident memory of the server process."),
        Family("gauge", "prosody_lua_heap_bytes", (), "server", "Memory that Lua's garbage collector manages."),
        Family("gauge", "prosody_open_fds", (), "server", "Open file descriptors; each connection takes one."),
        Family(
            "gauge",
            "prosody_module_loaded",
            ("host", "module"),
            "server",
            "1 for a loaded module; 0 for one that the specification names and that is not loaded. Host * "
            "holds global modules.",
        ),
        Family(
            "gauge",
            "prosody_setting",
            ("name",),
            "server",
            "Settings in force, in seconds or as 0 and 1; the worst of all hosts where they differ.",
        ),
        Family(
            "gauge",
            "prosody_exporter_instrument_version",
            (),
            "instrument",
            "Version of the counting script inside Prosody.",
        ),
        Family(
            "gauge",
            "prosody_exporter_sessions_settled",
            (),
            "instrument",
            "1 once all sessions older than the counting script are counted; before, session gauges are too low.",
        ),
        Family(
            "counter",
            "prosody_exporter_sessions_adopted_total",
            (),
            "instrument",
            "Sessions that were there before the counting script and were counted afterwards.",
        ),
        Family(
            "counter",
            "prosody_exporter_session_drift_total",
            (),
            "instrument",
            "Sessions that a reconciliation found counted wrongly, and mended. Should stay 0.",
        ),
        Family(
            "counter",
            "prosody_exporter_reconciliations_total",
            (),
            "instrument",
            "Passes over all sessions, in slices.",
        ),
        Family(
            "counter",
            "prosody_exporter_instrument_errors_total",
            (),
            "instrument",
            "Errors caught inside the counting script; each is an event not counted.",
        ),
        Family(
            "gauge",
            "prosody_exporter_registry_families_left_out",
            (),
            "server",
            "Families of Prosody's own registry that could not be passed through.",
        ),
    )
}


def fill(name: str, *samples: tuple[tuple[str, ...], float]) -> Filled:
    """Return the family `name` with these samples, each as (label values, value)."""
    spec = FAMILIES[name]
    kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family: Filled = kind(spec.name, spec.help, labels=spec.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def fill_histogram(name: str, histogram: Histogram) -> HistogramMetricFamily:
    """Return the family `name` with this histogram as its one sample set."""
    spec = FAMILIES[name]
    family = HistogramMetricFamily(spec.name, spec.help)
    cumulative = 0.0
    buckets = []
    for edge, count in zip(histogram.edges, histogram.counts, strict=True):
        cumulative += count
        buckets.append((str(float(edge)), cumulative))
    family.add_metric((), [*buckets, ("+Inf", histogram.total)], histogram.sum_seconds)
    return family
