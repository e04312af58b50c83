"""The metrics each job promises, by name, and what each needs to be there. How they are made is not told here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Promise:
    """One metric, a histogram without its suffix.

    Args:
        name: as Prometheus has it.
        needs: what must be so for it to be there, beside a server that runs; told where it is absent.
        by_job: whether one node of the job has it for all; else every node must.
    """

    name: str
    needs: str = ""
    by_job: bool = False


def _needing(needs: str, *names: str) -> tuple[Promise, ...]:
    return tuple(Promise(name, needs) for name in names)


# What says of a job's server that it runs. While it is 0 most of the job's metrics are rightly absent.
ANSWERS: Final = {"prosody": "prosody_up", "postgresql": "pg_up", "coturn": "coturn_up"}

PROMISED: Final[dict[str, tuple[Promise, ...]]] = {
    "prosody": (
        *_needing(
            "",
            "prosody_up",
            "prosody_build_info",
            "prosody_start_time_seconds",
            "prosody_memory_used_bytes",
            "prosody_lua_heap_bytes",
            "prosody_cpu_seconds_total",
            "prosody_module_loaded",
            "prosody_setting",
            "prosody_exporter_scrape_duration_seconds",
            "prosody_exporter_scrape_failures_total",
        ),
        *_needing("the exporter to run as Prosody's own user", "prosody_open_fds"),
        *_needing(
            "a virtual host, and --prosody.instrument=on",
            "prosody_c2s_sessions",
            "prosody_c2s_hibernated_sessions",
            "prosody_presence_sessions",
            "prosody_presence_updates_total",
            "prosody_dead_connections_total",
            "prosody_authentications_total",
            "prosody_push_notifications_total",
            "prosody_push_registrations",
        ),
        *_needing("--prosody.instrument=on", "prosody_stanzas_total", "prosody_event_loop_lag_seconds"),
        *_needing(
            "the exporter's WebSocket probe (--prosody.websocket-url)",
            "prosody_websocket_ping_seconds",
            "prosody_connection_errors_total",
        ),
        *_needing("rules/recording.yaml, --prosody.instrument=on and two scrapes", "prosody_stanza_rate"),
    ),
    "push-gateway": (
        *_needing(
            "",
            "push_voip_sent_total",
            "push_voip_failed_total",
            "push_fcm_sent_total",
            "push_fcm_failed_total",
            "push_latency_ms",
            "push_stage_seconds",
            "push_failures_total",
            "push_retries_total",
            "push_expired_total",
            "push_unregistered_total",
            "push_requests_total",
            "push_inflight",
            "push_provider_state",
            "push_gateway_uptime_seconds",
            "push_gateway_memory_bytes",
        ),
        *_needing("rules/recording.yaml", "push_gateway_up"),
    ),
    "haproxy": _needing(
        "rules/recording.yaml, and a backend prosody_ws (prometheus/snippets/haproxy.cfg)", "haproxy_backend_up"
    ),
    "postgresql": (
        Promise("pg_up"),
        # Only the primary measures it, and which server that is changes.
        Promise("pg_replication_lag_bytes", "rules/recording.yaml, and a replica of the primary", by_job=True),
    ),
    "coturn": (
        *_needing(
            "",
            "coturn_up",
            "coturn_active_allocations",
            "coturn_active_allocations_source",
            "coturn_relay_ports",
            "coturn_quota",
            "coturn_probe_success",
        ),
        *_needing("a probe that was answered", "coturn_probe_duration_seconds"),
        *_needing("a coturn that tells its version (no no-software-attribute)", "coturn_build_info"),
        *_needing(
            "verbose and a log-file in turnserver.conf that the exporter can read",
            "coturn_allocations_total",
            "coturn_traffic_bytes_total",
            "coturn_allocate_errors_total",
            "coturn_stun_bindings_total",
        ),
    ),
    "certificates": (
        *_needing("", "ssl_certificate_probe_success"),
        *_needing(
            "an endpoint that has shown a certificate",
            "ssl_certificate_expiry_days",
            "ssl_certificate_not_after_timestamp_seconds",
            "ssl_certificate_not_before_timestamp_seconds",
        ),
        *_needing(
            "an endpoint that has shown a certificate, and a `ca` that can be read",
            "ssl_certificate_trusted",
            "ssl_certificate_verification_info",
        ),
        *_needing("a target with `file` in certificates.yml", "ssl_certificate_served_matches_file"),
    ),
}
