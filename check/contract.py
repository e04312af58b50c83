"""The metrics that each job must have, by name, and what each depends on. It does not describe how they are made.

The source is the tables of families, the exporters' and the gateway's: a new family is expected as soon as it is in its
table. This file adds what each metric needs besides a running server, and which metrics may be absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporters.certificates.families import FAMILIES as CERTIFICATES
from exporters.coturn.families import FAMILIES as COTURN
from exporters.prosody.families import FAMILIES as PROSODY
from exporters.synthetic.families import FAMILIES as SYNTHETIC
from gateway.families import FAMILIES as GATEWAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from toolkit.families import Families


@dataclass(frozen=True)
class Promise:
    """One metric, a histogram without its suffix.

    Args:
        name: as Prometheus has it.
        needs: what it needs besides a running server; shown where it is absent.
        by_job: whether one node of the job is enough; otherwise every node must have it.
    """

    name: str
    needs: str = ""
    by_job: bool = False


def _needing(needs: str, *names: str) -> tuple[Promise, ...]:
    return tuple(Promise(name, needs) for name in names)


# The metric that says whether a job's server runs. While it is 0, most of the job's metrics are absent, as expected.
ANSWERS: Final = {"prosody": "prosody_up", "postgresql": "pg_up", "coturn": "coturn_up"}

_INSTRUMENT: Final = "--prosody.instrument=on"
_HOST: Final = f"a virtual host, and {_INSTRUMENT}"
_LOG: Final = "verbose and a log-file in turnserver.conf that the exporter can read"
_SHOWN: Final = "an endpoint that has shown a certificate"
_RELAY: Final = "an entry under `coturn` in synthetic.yml"
_AUTHORITY: Final = f"{_SHOWN}, and a `ca` that can be read"
# What a metric needs, where it differs from its family's `needs`.
NEEDS: Final = {
    "prosody_open_fds": "the exporter to run as Prosody's own user",
    "prosody_c2s_sessions": _HOST,
    "prosody_c2s_hibernated_sessions": _HOST,
    "prosody_presence_sessions": _HOST,
    "prosody_presence_updates_total": _HOST,
    "prosody_dead_connections_total": _HOST,
    "prosody_authentications_total": _HOST,
    "prosody_push_notifications_total": _HOST,
    "prosody_push_registrations": _HOST,
    "prosody_push_wakeups_total": _HOST,
    "prosody_push_wakeup_seconds": _HOST,
    "prosody_canary_logins_total": _HOST,
    "coturn_probe_duration_seconds": "a probe that was answered",
    "coturn_build_info": "a coturn that tells its version (no no-software-attribute)",
    "coturn_allocations_total": _LOG,
    "coturn_traffic_bytes_total": _LOG,
    "coturn_allocate_errors_total": _LOG,
    "coturn_allocation_duration_seconds": _LOG,
    "coturn_stun_bindings_total": _LOG,
    "coturn_stun_bindings_source": _LOG,
    "ssl_certificate_expiry_days": _SHOWN,
    "ssl_certificate_not_after_timestamp_seconds": _SHOWN,
    "ssl_certificate_not_before_timestamp_seconds": _SHOWN,
    "ssl_certificate_lifetime_days": _SHOWN,
    "ssl_certificate_unreadable_certificates": _SHOWN,
    "ssl_certificate_trusted": _AUTHORITY,
    "ssl_certificate_verification_info": _AUTHORITY,
    "ssl_certificate_served_matches_file": "a target with `file` in certificates.yml",
    "synthetic_last_success_timestamp_seconds": "a journey that went well",
    "synthetic_turn_packets_total": _RELAY,
    "synthetic_turn_round_trip_seconds": _RELAY,
    "synthetic_turn_credential_lifetime_seconds": "a Prosody with mod_turn_external",
}
_OF_KIND: Final = {
    "": "",
    "instrument": _INSTRUMENT,
    "probe": "the exporter's WebSocket probe (--prosody.websocket-url)",
    "instrument or probe": "the exporter's WebSocket probe (--prosody.websocket-url)",
}
# Families that a healthy exporter may lack, and why.
OPTIONAL: Final = {
    "push_canary_total": "is there while the operator names test phones",
    "push_connection_age_seconds": "is there while a provider is connected",
    "push_token_age_seconds": "is there once a provider's credentials were good",
    "synthetic_turn_jitter_seconds": "is there once two packets of one run came back",
    "coturn_config_commented_values": "has a sample only for an option with a comment that some coturn misreads",
    "coturn_log_in_configured_place": "has a sample only while coturn's log is read",
    "coturn_probe_failures_total": "has a sample only for a probe that is configured",
    "coturn_start_time_seconds": "needs a coturn whose process the exporter may look at",
    "coturn_cpu_seconds_total": "likewise",
    "coturn_memory_used_bytes": "likewise",
    "coturn_open_fds": "likewise",
    "coturn_max_fds": "likewise",
}


def _of(families: Families) -> Iterator[Promise]:
    """Yield a promise for every family of a table that is not optional."""
    for name, family in families.items():
        if name not in OPTIONAL:
            yield Promise(name, NEEDS.get(name, _OF_KIND.get(family.needs, family.needs)))


PROMISED: Final[Mapping[str, tuple[Promise, ...]]] = {
    "prosody": (
        *_of(PROSODY),
        *_needing(
            "", "prosody_up", "prosody_exporter_scrape_duration_seconds", "prosody_exporter_scrape_failures_total"
        ),
        *_needing("rules/recording.yaml, --prosody.instrument=on and two scrapes", "prosody_stanza_rate"),
    ),
    "push-gateway": (*_of(GATEWAY), *_needing("rules/recording.yaml", "push_gateway_up")),
    "haproxy": _needing(
        "rules/recording.yaml, and a backend prosody_ws (prometheus/snippets/haproxy.cfg)", "haproxy_backend_up"
    ),
    "postgresql": (
        Promise("pg_up"),
        Promise("pg_settings_in_hot_standby", "PostgreSQL 14 or newer"),
        Promise("pg_settings_default_transaction_read_only"),
        # Only the primary measures it, and which server that is changes.
        Promise("pg_replication_lag_bytes", "rules/recording.yaml, and a replica of the primary", by_job=True),
    ),
    "coturn": (*_of(COTURN), *_needing("", "coturn_up")),
    "node": (
        *_needing(
            "rules/recording.yaml, and the flags of deploy/hosts/prometheus-node-exporter",
            "instance_mountpoint:node_filesystem_free:ratio",
            "instance:node_cpu_used:ratio",
        ),
        *_needing(
            "the flags of deploy/hosts/prometheus-node-exporter",
            "node_memory_MemAvailable_bytes",
            "node_time_seconds",
            "node_network_transmit_bytes_total",
        ),
        Promise(
            "instance_kind:backup_age_days:now",
            "rules/recording.yaml, and backups by commeazy-backup (docs/install.md)",
            by_job=True,
        ),
    ),
    "synthetic": tuple(_of(SYNTHETIC)),
    "certificates": (*_of(CERTIFICATES), *_needing("", "certificate_exporter_config_last_reload_successful")),
    "prometheus": _needing(
        "",
        "prometheus_config_last_reload_successful",
        "prometheus_notifications_dropped_total",
        "prometheus_rule_evaluation_failures_total",
        "prometheus_sd_file_read_errors_total",
        "prometheus_target_scrape_pool_targets",
    ),
    "alertmanager": _needing(
        "", "alertmanager_config_last_reload_successful", "alertmanager_notifications_failed_total"
    ),
}
