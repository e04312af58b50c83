"""The recording rules: Section 14 names that no exporter exposes itself, and series that alerts and panels share.

This is the only place that ties such a name to the metrics that an exporter really exposes.
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


def _full_in() -> str:
    # A new kernel takes a good part of /boot at once, and the old one leaves it later.
    shrinks = '(-deriv(node_filesystem_avail_bytes{mountpoint!~"/boot.*"}[<window>]) > 0)'
    return f"min by (job, instance, mountpoint) (node_filesystem_avail_bytes / {shrinks})"


RECORDINGS: Final = (
    Recording(
        "prosody_stanza_rate",
        "sum by (job, instance) (rate(prosody_stanzas_total[2m]))",
        "Both directions: each stanza costs the one core once to read and once to write. Four scrapes of 30 s.",
    ),
    Recording(
        "instance:prosody_c2s_sessions:forecast",
        "2 * sum by (job, instance) (max_over_time(prosody_c2s_sessions[<window>]))\n"
        "- sum by (job, instance) (max_over_time(prosody_c2s_sessions[<window>] offset <window>))",
        "The next day's peak, if it is as far above this day's as that is above the day before. A line through "
        "sessions, which come and go with the hours, would end anywhere.",
        serves="ProsodySessionsCriticalSoon",
    ),
    Recording(
        "haproxy_backend_up",
        "sum by (job, instance, proxy) (\n"
        '  haproxy_server_status{proxy="prosody_ws",state="UP"}\n'
        "  unless on (job, instance, proxy, server) haproxy_server_weight == 0\n"
        '  unless on (job, instance, proxy) haproxy_backend_status{state="DOWN"} == 1\n'
        ")\n"
        "or\n"
        '0 * group by (job, instance, proxy) (haproxy_server_status{proxy="prosody_ws"})',
        "Servers that take connections: one with weight 0 gets none, and a backend that HAProxy itself calls DOWN (its "
        "checks may be disabled) has none. Per HAProxy: each of a pair judges for itself.",
    ),
    Recording(
        "pg_replication_lag_bytes",
        "max by (job, instance, replica) (\n"
        '  label_replace(pg_replication_slots_pg_wal_lsn_diff >= 0, "replica", "slot $1", "slot_name", "(.*)")\n'
        "  or\n"
        "  label_join(\n"
        '    pg_stat_replication_pg_wal_lsn_diff >= 0, "replica", " ", "application_name", "client_addr"\n'
        "  )\n"
        ")",
        "By slot and by connection: a slot's lag stays and grows when its replica is gone, and a connection's is there "
        "where no slots are used. NaN (`>= 0` drops it) is a base backup, an archiver, or a slot that keeps no WAL.",
    ),
    Recording(
        "instance:prosody_logins_failed:ratio",
        'sum by (job, instance) (increase(prosody_authentications_total{result!="success"}[<window>]))\n/\n'
        "sum by (job, instance) (increase(prosody_authentications_total[<window>]))",
        "NaN when nobody logged in.",
        serves="ProsodyLoginsFail",
    ),
    Recording(
        "push_gateway_up",
        'up{job="push-gateway"}',
        "The scraped listener is the process that serves /push; providers have push_provider_state.",
    ),
    Recording(
        "instance:prosody_event_loop_lag_seconds:mean",
        "rate(prosody_event_loop_lag_seconds_sum[5m])\n/ rate(prosody_event_loop_lag_seconds_count[5m])",
        "The average of all looks; a few long pauses hardly raise it. NaN when there was no look.",
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
        "instance_mountpoint:node_filesystem_free:ratio",
        "min by (job, instance, mountpoint) (\n"
        '  node_filesystem_avail_bytes{fstype!~"overlay|efivarfs"} / node_filesystem_size_bytes\n'
        "  unless node_filesystem_readonly == 1\n"
        ")",
        "A disk that cannot be written to does not fill; a container's layers are on a disk that is counted, and the "
        "variables of the firmware are no disk.",
    ),
    Recording(
        "instance_mountpoint:node_filesystem_full_seconds:short",
        _full_in(),
        "Until it is full at the rate of the last hour; only of a disk that grows fuller.",
        serves="HostDiskFullSoon",
    ),
    Recording(
        "instance_mountpoint:node_filesystem_full_seconds:long",
        _full_in(),
        "The same at the rate of six hours.",
        serves="HostDiskFilling",
    ),
    Recording(
        "instance_mountpoint:node_filesystem_files_free:ratio",
        "min by (job, instance, mountpoint) (node_filesystem_files_free / node_filesystem_files)",
        "A file system that counts no files (btrfs) says 0 of 0, which is NaN.",
    ),
    Recording(
        "instance:node_clock_offset_seconds:now",
        "abs(node_time_seconds - timestamp(node_time_seconds))",
        "From the clock of Prometheus.",
    ),
    Recording(
        "instance:node_cpu_used:ratio",
        "1 - avg by (job, instance) (\n"
        '  sum without (mode) (rate(node_cpu_seconds_total{mode=~"idle|iowait"}[<window>]))\n'
        ")",
        "Over all processors; one that waits for a disk is free, and what other machines take counts as used.",
        serves="HostProcessorBusy",
    ),
    Recording(
        "instance:node_cpu_stolen:ratio",
        'avg by (job, instance) (rate(node_cpu_seconds_total{mode="steal"}[<window>]))',
        "What the hypervisor gave to other machines.",
        serves="HostProcessorBusy",
    ),
    Recording(
        "instance:node_oom_kills:increase",
        "increase(node_vmstat_oom_kill[<window>])",
        "The exporter does not say that it is a counter.",
        serves="HostProcessKilled",
    ),
    Recording(
        "instance_name:node_systemd_restarts:increase",
        "increase(node_systemd_service_restart_total[<window>]) > 0",
        "Most services are never restarted, and with `> 0` those leave no series.",
        serves="HostUnitRestarts",
    ),
    Recording(
        "instance_kind:backup_age_days:now",
        "(time() - backup_last_success_timestamp_seconds) / 86400",
        "By the host that made it.",
    ),
    Recording(
        "instance:log_age_seconds:now",
        "time() - label_replace(label_replace(\n"
        '  max by (job, host) (log_last_received_timestamp_seconds), "instance", "$1", "host", "(.+)"\n'
        '), "host", "", "", "")',
        "Of the host that sent the log; the one that keeps it tells of it.",
    ),
    Recording(
        "instance:haproxy_errors:ratio",
        "sum by (job, instance) "
        '(increase(haproxy_frontend_http_responses_total{code="5xx",proxy!="stats"}[<window>]))\n'
        "/\n"
        'sum by (job, instance) (increase(haproxy_frontend_http_responses_total{proxy!="stats"}[<window>]))',
        "NaN when nothing was answered. The statistics page answers Prometheus.",
        serves="HaproxyErrorsHigh",
    ),
    Recording(
        "instance_proxy:haproxy_retries:increase",
        "increase(haproxy_backend_retry_warnings_total[<window>])\n"
        "+ increase(haproxy_backend_redispatch_warnings_total[<window>])",
        "Connections to a Prosody that HAProxy tried again, on the same server or on another one.",
        serves="HaproxyRetriesHigh",
    ),
    Recording(
        "instance:pg_archiver_failures:increase",
        "sum by (job, instance) (increase(pg_stat_archiver_failed_count[<window>]))",
        "PostgreSQL tries each file again until it succeeds.",
        serves="PostgresArchivingFails",
    ),
    Recording(
        "instance:pg_archive_age_seconds:max",
        "max by (job, instance) (\n"
        "  pg_stat_archiver_last_archive_age\n"
        "  and pg_stat_archiver_archived_count > 0\n  unless pg_settings_in_hot_standby == 1\n"
        ")",
        "A server that never archived anything does not archive; a replica does not, either.",
    ),
    Recording(
        "instance:pg_rows_changed:max",
        "max by (job, instance) (\n"
        "  changes(pg_stat_database_tup_inserted[<window>])\n"
        "  + changes(pg_stat_database_tup_updated[<window>])\n"
        "  + changes(pg_stat_database_tup_deleted[<window>])\n"
        ")",
        "How often rows were seen to have changed. Of a database that nobody changes there is nothing to archive.",
        serves="PostgresArchiveOld",
    ),
    Recording(
        "instance:pg_transaction_seconds:max",
        "max by (job, instance) (\n"
        '  pg_stat_activity_max_tx_duration{state!~"idle in transaction.*"}\n'
        "  or\n"
        "  pg_stat_activity_max_tx_duration\n"
        "  and on (job, instance, datname)\n"
        '  min_over_time(pg_locks_count{mode!~"accesssharelock|shareupdateexclusivelock"}[<window>]) > 0\n'
        ")",
        "Prosody's own connections are in a transaction all the time, and hold no lock between two queries. Who "
        "reads or vacuums keeps nobody waiting.",
        serves="PostgresTransactionLong",
    ),
    Recording(
        "instance_kind:prosody_pushes_silent:increase",
        'sum by (job, instance, kind) (increase(prosody_push_wakeups_total{result="silent"}[<window>]))',
        "Pushes that a provider took and whose phone did not come.",
        serves="PushesWakeNobody",
    ),
    Recording(
        "instance_kind:prosody_pushes_silent:ratio",
        'sum by (job, instance, kind) (increase(prosody_push_wakeups_total{result="silent"}[<window>]))\n/\n'
        'sum by (job, instance, kind) (increase(prosody_push_wakeups_total{result=~"silent|woke"}[<window>]))',
        "NaN when nothing was pushed.",
        serves="PushesWakeNobody",
    ),
    Recording(
        "instance_journey:synthetic_tries:ratio",
        "min by (job, instance, vantage, journey) (\n"
        "  sum by (job, instance, vantage, journey, from, to) "
        '(rate(synthetic_journeys_total{result!="suspended"}[<window>]))\n'
        ")\n* on (job, instance, vantage, journey) synthetic_journey_interval_seconds",
        "Of the tries that are configured, those made for the pair of places that has the fewest.",
        serves="SyntheticJourneysMissing",
    ),
    Recording(
        "instance_handler:push_latency_ms:p99",
        "histogram_quantile(0.99, rate(push_latency_ms_bucket[<window>]))",
        "Exact at 2000, where a bucket ends. NaN when nothing was pushed.",
        serves="PushLatencyHigh",
    ),
)
