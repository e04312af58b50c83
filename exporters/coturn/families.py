"""The coturn exporter's own metric families."""

from toolkit.families import Families, Family

FAMILIES = Families(
    Family("gauge", "coturn_build_info", ("version",), "Version of the running coturn; the value is 1."),
    Family("gauge", "coturn_start_time_seconds", (), "When coturn started, in seconds since 1970."),
    Family("counter", "coturn_cpu_seconds_total", (), "CPU time coturn has used; one core is 1 a second."),
    Family("gauge", "coturn_memory_used_bytes", (), "Resident memory of coturn."),
    Family("gauge", "coturn_open_fds", (), "Open file descriptors of coturn: one per relay and one per TCP client."),
    Family("gauge", "coturn_max_fds", (), "File descriptors coturn may open; at that number it refuses calls."),
    Family(
        "gauge",
        "coturn_active_allocations",
        (),
        "Open TURN allocations, about one per call leg that needs a relay; by the best source that works.",
    ),
    Family(
        "gauge",
        "coturn_active_allocations_source",
        ("source",),
        "Open TURN allocations as each source sees them. A lasting difference means that one of them is wrong.",
    ),
    Family(
        "counter",
        "coturn_allocations_total",
        ("event",),
        "Allocations created, refreshed and deleted since coturn started, by its log.",
    ),
    Family(
        "counter",
        "coturn_traffic_bytes_total",
        ("side", "direction"),
        "Bytes coturn received and sent, by side. A call is up to some 1,000 packets each way behind.",
    ),
    Family(
        "counter",
        "coturn_allocate_errors_total",
        ("code",),
        "Refused allocations by STUN error code: 401 wrong credentials, 486 quota reached, 508 no relay port left.",
    ),
    Family(
        "histogram",
        "coturn_allocation_duration_seconds",
        (),
        "How long allocations that have ended had lasted. Many short ones: calls that fail, or clients that retry.",
    ),
    Family(
        "counter",
        "coturn_stun_bindings_total",
        (),
        "STUN Binding requests: clients that ask for their own address. Most of them then call without a relay.",
    ),
    Family(
        "gauge",
        "coturn_stun_bindings_source",
        ("source",),
        "Where coturn_stun_bindings_total comes from. sessions: without log-binding, and up to a minute late.",
    ),
    Family(
        "gauge",
        "coturn_relay_ports",
        ("state",),
        "Relay ports in use, and how many there are. With none left, calls fail with error 508.",
    ),
    Family(
        "gauge",
        "coturn_quota",
        ("kind",),
        "Allocations that count against total-quota, and the limit (+Inf without one). At it, calls fail with 486.",
    ),
    Family(
        "gauge",
        "coturn_probe_success",
        ("probe", "transport"),
        "1 if the exporter, as a client, got its STUN answer, or its TURN relay, at the last try.",
    ),
    Family(
        "gauge",
        "coturn_probe_duration_seconds",
        ("probe", "transport"),
        "Seconds the last successful probe took, connection and TLS handshake included.",
    ),
    Family(
        "counter",
        "coturn_probe_failures_total",
        ("probe", "transport", "reason"),
        "Failed probes. credentials: the shared secret differs; quota, ports: coturn is full; timeout: it hangs.",
    ),
    Family(
        "gauge",
        "coturn_exporter_source_up",
        ("source",),
        "1 if this source of numbers worked. One that is switched off in turnserver.conf has no series.",
    ),
    Family(
        "gauge",
        "coturn_log_in_configured_place",
        (),
        "0 if coturn logs elsewhere than its log-file says: it may not write there, and nobody looks where it does.",
    ),
    Family(
        "gauge",
        "coturn_config_commented_values",
        ("option",),
        "Lines of turnserver.conf with a comment behind the value that this coturn or a newer one misreads or refuses.",
    ),
)
