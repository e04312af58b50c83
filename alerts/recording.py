"""The recorded series: the Section 14 names that no exporter says by itself, and what alerts and panels share.

This is the one place where such a name is tied to what an exporter really says.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Recording:
    """One recording rule; `<window>` is the window of the alert it serves."""

    record: str
    expr: str
    reason: str
    serves: str | None = None


RECORDINGS: Final = (
    Recording(
        "prosody_stanza_rate",
        "sum by (job, instance) (rate(prosody_stanzas_total[2m]))",
        "Both directions: each stanza costs the one core once to read and once to write. Four scrapes of 30 s.",
    ),
    Recording(
        "haproxy_backend_up",
        'sum by (job, instance, proxy) (haproxy_server_status{proxy="prosody_ws",state="UP"})',
        "Not haproxy_backend_active_servers, which leaves out weight 0. Per HAProxy: each of a pair judges for itself.",
    ),
    Recording(
        "pg_replication_lag_bytes",
        "max by (job, instance) (pg_replication_slots_pg_wal_lsn_diff or pg_stat_replication_pg_wal_lsn_diff)",
        "The slot's view stays and grows when a replica is gone; the other is there where no slots are used.",
    ),
    Recording(
        "push_gateway_up",
        'up{job="push-gateway"}',
        "The scraped listener is the process that serves /push; providers have push_provider_state.",
    ),
    Recording(
        "instance:push_voip_failed:ratio",
        "increase(push_voip_failed_total[<window>])\n/\n"
        "(increase(push_voip_sent_total[<window>]) + increase(push_voip_failed_total[<window>]))",
        "NaN when nothing was pushed.",
        serves="PushVoipFailuresHigh",
    ),
    Recording(
        "instance:push_fcm_failed:ratio",
        "increase(push_fcm_failed_total[<window>])\n/\n"
        "(increase(push_fcm_sent_total[<window>]) + increase(push_fcm_failed_total[<window>]))",
        "NaN when nothing was pushed.",
        serves="PushFcmFailuresHigh",
    ),
    Recording(
        "instance_handler:push_latency_ms:p99",
        "histogram_quantile(0.99, rate(push_latency_ms_bucket[<window>]))",
        "Exact at 2000, where a bucket ends. NaN when nothing was pushed.",
        serves="PushLatencyHigh",
    ),
)
