"""Alerts about PostgreSQL: one primary, a replica that follows, free connections, and WAL that is archived."""

from typing import Final

from alerts.catalogue.alert import Alert

_POSTGRESQL: Final = "postgresql"

ALERTS: Final = (
    Alert(
        name="PostgresDown",
        expr="pg_up == 0",
        summary="{{ $labels.instance }}: PostgreSQL does not answer its exporter",
        description=(
            "If it is the primary, nobody can log in or load contacts. If it is a replica, one fewer is left to fail "
            "over to."
        ),
        dashboard=_POSTGRESQL,
    ),
    # A target that does not answer may be the primary: then nobody knows, and TargetDown says so.
    Alert(
        name="PostgresNoPrimary",
        expr=(
            "(\n"
            "  min by (job) (\n"
            "    pg_settings_default_transaction_read_only == 1\n"
            "    or\n    pg_settings_in_hot_standby\n"
            "  ) == 1\n"
            "  or\n  max by (job) (pg_up) == 0\n"
            ")\nunless on (job) up == 0"
        ),
        summary="{{ $labels.job }}: no server takes writes; any that answer are in recovery or read-only",
        description=(
            "Nobody can register or change contacts; logins may fail. Start the primary, make it writable, or promote "
            "the replica furthest ahead."
        ),
        dashboard=_POSTGRESQL,
    ),
    Alert(
        name="PostgresSplitBrain",
        expr="count by (job) (pg_settings_in_hot_standby == 0) > 1",
        summary="{{ $labels.job }}: {{ $value }} servers are primaries and accept writes",
        description=(
            "Accounts and contacts diverge with every write. Find out which one Prosody uses, and stop the other now."
        ),
        dashboard=_POSTGRESQL,
    ),
    Alert(
        name="PostgresReplicationLagHigh",
        expr="pg_replication_lag_bytes > <value>",
        summary="{{ $labels.instance }}: {{ $labels.replica }} is {{ $value | humanize }}B behind (limit <limit>)",
        description=(
            "A failover now would lose accounts and contacts. Check whether the replica is connected, its disk and its "
            "network."
        ),
        dashboard=_POSTGRESQL,
    ),
    # NaN, and nothing else, differs from itself: the slot keeps no WAL. VictoriaMetrics keeps no NaN.
    Alert(
        name="PostgresSlotLost",
        expr=(
            "group by (job, instance, slot_name) (\n"
            "  pg_replication_slots_pg_wal_lsn_diff != pg_replication_slots_pg_wal_lsn_diff\n"
            "  or\n"
            "  pg_replication_slots_active unless pg_replication_slots_pg_wal_lsn_diff\n"
            ")"
        ),
        summary="{{ $labels.instance }}: the replication slot {{ $labels.slot_name }} keeps no WAL",
        description=(
            "Its replica can never catch up, so there may be nothing to fail over to. Make the replica again, or drop "
            "the slot."
        ),
        dashboard=_POSTGRESQL,
    ),
    # Without a slot a lost replica leaves no series at all, so the servers that answer stand for zero replicas.
    # Only what replays WAL has a lag (`>= 0` drops NaN): an archiver is no replica. What streams from a replica is no
    # replica of the primary, and neither is a subscription, which has the name of its logical slot.
    Alert(
        name="PostgresReplicaMissing",
        expr=(
            "(\n"
            "  count by (job) (\n"
            '    (pg_stat_replication_pg_wal_lsn_diff{state="streaming"} >= 0)\n'
            "    unless on (job, instance) pg_settings_in_hot_standby == 1\n"
            "    unless on (job, instance, application_name) label_replace(\n"
            '      pg_replication_slots_active{database!=""}, "application_name", "$1", "slot_name", "(.*)"\n'
            "    )\n"
            "  )\n"
            "  or\n  0 * group by (job) (pg_up == 1)\n) < <value>"
        ),
        summary="{{ $labels.job }}: {{ $value }} replicas are streaming (needs <limit>)",
        description=(
            "Users notice nothing until the primary fails; then there is nothing to fail over to. Bring the replica "
            "back."
        ),
        dashboard=_POSTGRESQL,
    ),
    Alert(
        name="PostgresConnectionsHigh",
        expr=(
            "sum by (job, instance) (pg_stat_activity_count)\n"
            "/ on (job, instance) pg_settings_max_connections > <value>"
        ),
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of max_connections is used (limit <limit>)",
        description="At the limit nobody can log in. See who holds the connections; each Prosody needs one.",
        dashboard=_POSTGRESQL,
    ),
    # An open transaction blocks everybody who wants to change the same rows, and Prosody waits for its database.
    Alert(
        name="PostgresTransactionLong",
        expr="instance:pg_transaction_seconds:max > <value>",
        summary=(
            '{{ $labels.instance }}: a transaction has been open for {{ $value | printf "%.0f" }} s (limit <limit>)'
        ),
        description="It may hold locks that Prosody waits for, so that logins hang. Find it, and end it.",
        dashboard=_POSTGRESQL,
    ),
    Alert(
        name="PostgresArchivingFails",
        expr="instance:pg_archiver_failures:increase > 0",
        summary='{{ $labels.instance }}: archive_command failed {{ $value | printf "%.0f" }} times in <window>',
        description="WAL stays on the disk until that is full, and backups grow old. See the server's log.",
        dashboard=_POSTGRESQL,
    ),
    Alert(
        name="PostgresArchiveOld",
        expr=("instance:pg_archive_age_seconds:max > <value>\nunless instance:pg_rows_changed:max == 0"),
        summary='{{ $labels.instance }}: the last WAL was archived {{ $value | printf "%.0f" }} s ago (limit <limit>)',
        description="Changes since then are not archived. See archive_mode, archive_timeout and the server's log.",
        dashboard=_POSTGRESQL,
    ),
)
