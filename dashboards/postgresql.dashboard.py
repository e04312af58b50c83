"""PostgreSQL: can users log in, would a failover lose anything, and are there connections left."""

from dashboards.limits import above, below, threshold
from dashboards.page import folded, page, row
from dashboards.panels import series, states
from dashboards.pieces import CALM, CRITICAL, Look, Query
from dashboards.promql import POSTGRESQL, rate, rates
from dashboards.tables import Column, nodes
from dashboards.tiles import broken, figure, stat

# NaN where the one server that is chosen is a replica: it knows nothing of replication, and that is no fault.
_A_REPLICA = (
    'NaN * (count(up{job="postgresql",instance=~"$node"}) == 1'
    ' and max(pg_settings_in_hot_standby{instance=~"$node"}) == 1)'
)
# What PostgresReplicaMissing counts. A base backup or an archiver has no position (NaN); what streams from a replica,
# or from a logical slot, is nothing to fail over to.
_STREAMING = (
    '(pg_stat_replication_pg_wal_lsn_diff{state="streaming",instance=~"$node"} >= 0)'
    ' unless on (job, instance) pg_settings_in_hot_standby{instance=~"$node"} == 1'
    " unless on (job, instance, application_name)"
    ' label_replace(pg_replication_slots_active{database!="",instance=~"$node"},'
    ' "application_name", "$1", "slot_name", "(.*)")'
)
# 0 a primary, 1 a replica, 2 a primary that refuses writes by a setting.
_ROLE = (
    'max by (instance) (pg_settings_in_hot_standby{instance=~"$node"} == 1'
    ' or 2 * pg_settings_default_transaction_read_only{instance=~"$node"}'
    ' or pg_settings_in_hot_standby{instance=~"$node"})'
)
# 0 for a primary that has none: nothing reports a replica that is gone.
_REPLICAS = (
    f"count by (instance) ({_STREAMING})"
    ' or 0 * (max by (instance) (pg_settings_in_hot_standby{instance=~"$node"}) == 0)'
)
_LAG = 'pg_replication_lag_bytes{instance=~"$node"}'
_TRANSACTIONS = f"{rate('pg_stat_database_xact_commit')} + {rate('pg_stat_database_xact_rollback')}"
_CONNECTIONS_USED = (
    'sum by (instance) (pg_stat_activity_count{instance=~"$node"})'
    ' / on (instance) max by (instance) (pg_settings_max_connections{instance=~"$node"})'
)
_LONGEST = 'max by (instance) (instance:pg_transaction_seconds:max{instance=~"$node"})'

dashboard = page(
    "postgresql",
    about=(
        "PostgreSQL holds accounts and contact lists; messages never come here. "
        "Bad is a primary that is down (nobody can log in, open sessions continue), a replica that is missing or "
        "behind (a failover would lose accounts), or no connections left. "
        "Only the primary measures replication; the replica's lines are empty there."
    ),
    tiles=[
        broken("Servers down", "Servers that do not answer their exporter, or whose exporter is gone.", POSTGRESQL),
        stat(
            "Streaming replicas",
            "Replicas that stream from the primary; backups, archivers and logical subscribers are none. "
            "Only the primary knows: choose all nodes.",
            "none",
            f'count({_STREAMING}) or {_A_REPLICA} or 0 * count(pg_up{{instance=~"$node"}} == 1)',
            below("PostgresReplicaMissing"),
            of=POSTGRESQL,
            idle="a replica",
        ),
        stat(
            "Replication lag",
            "Bytes of WAL that the replica furthest behind has not received. Only the primary measures it.",
            "decbytes",
            f"max({_LAG}) or {_A_REPLICA}",
            above("PostgresReplicationLagHigh"),
            of=POSTGRESQL,
            idle="a replica",
        ),
        figure(
            "Transactions/s",
            "Committed and rolled back, over the chosen servers, in the last two minutes.",
            "short",
            'sum(rate(pg_stat_database_xact_commit{instance=~"$node"}[2m]))'
            ' + sum(rate(pg_stat_database_xact_rollback{instance=~"$node"}[2m]))',
            of=POSTGRESQL,
        ),
        stat(
            "Connections used, most",
            "Share of max_connections on the server that uses most of them. At 100 % nobody can log in.",
            "percentunit",
            f"max({_CONNECTIONS_USED})",
            above("PostgresConnectionsHigh"),
            of=POSTGRESQL,
        ),
    ],
    nodes=nodes(
        "Servers",
        "Each server now, coloured by the limits of its alerts. Only the primary knows replicas and lag.",
        POSTGRESQL,
        {
            "role": Column(
                _ROLE,
                "none",
                words={"0": ("primary", CALM), "1": ("replica", CALM), "2": ("read-only", CRITICAL)},
            ),
            "replicas": Column(_REPLICAS, limits=below("PostgresReplicaMissing")),
            "lag": Column(f"max by (instance) ({_LAG})", "decbytes", limits=above("PostgresReplicationLagHigh")),
            "conns": Column(_CONNECTIONS_USED, "percentunit", limits=above("PostgresConnectionsHigh")),
            "trans/s": Column(f"sum by (instance) ({_TRANSACTIONS})"),
            "longest": Column(_LONGEST, "s", limits=above("PostgresTransactionLong")),
        },
    ),
    graph=series(
        "Transactions/s",
        "Committed and rolled back; each login or contact change is one or a few queries in one transaction. "
        "PostgreSQL counts single queries only with pg_stat_statements.",
        "short",
        f"sum by (instance) ({_TRANSACTIONS})",
    ),
    rows=[
        row(
            "Replication, connections and errors",
            series(
                "Replication lag",
                "Bytes that each replica is behind. A straight rise: the replica is gone and its slot keeps the WAL.",
                "decbytes",
                Query(_LAG, "{{instance}} {{replica}}"),
                limits=above("PostgresReplicationLagHigh"),
            ),
            series(
                "Connections",
                "By what they do now. Each Prosody has one, which is idle in transaction between two queries.",
                "short",
                Query(
                    'sum by (instance, state) (pg_stat_activity_count{instance=~"$node"}) > 0', "{{instance}} {{state}}"
                ),
                stacked=True,
            ),
            series(
                "Rollbacks, deadlocks and conflicts/s",
                "Transactions that were not committed. Rollbacks with every login: a query of Prosody fails.",
                "short",
                Query(rates("pg_stat_database_xact_rollback"), "{{instance}} rollbacks"),
                Query(rates("pg_stat_database_deadlocks"), "{{instance}} deadlocks", Look.FAILURE),
                Query(rates("pg_stat_database_conflicts"), "{{instance}} conflicts", Look.DASHED),
            ),
            series(
                "Longest transaction",
                "Age of the oldest transaction that works, or is idle while a lock that can block others has been held "
                f"in its database for {threshold('PostgresTransactionLong').window}. Prosody's idle transactions count "
                "only then.",
                "s",
                _LONGEST,
                limits=above("PostgresTransactionLong"),
            ),
        ),
        folded(
            "Which server, and since when",
            states("Server answers", "Whether PostgreSQL answers its exporter.", 'pg_up{instance=~"$node"}'),
            states(
                "Exporter answers",
                "Whether Prometheus can scrape the exporter.",
                'up{job="postgresql",instance=~"$node"}',
            ),
            series(
                "Streaming replicas of each primary",
                "Replicas that stream from each primary, as the alert counts them. A replica has no line.",
                "short",
                _REPLICAS,
                limits=below("PostgresReplicaMissing"),
            ),
            series(
                "Share of connections in use",
                "Of max_connections. At 100 % nobody can log in.",
                "percentunit",
                _CONNECTIONS_USED,
                limits=above("PostgresConnectionsHigh"),
            ),
            series(
                "Age of the last archived WAL",
                "Since archive_command last succeeded. A server that never archived has no line, nor has a replica.",
                "s",
                'instance:pg_archive_age_seconds:max{instance=~"$node"}',
                limits=above("PostgresArchiveOld"),
                empty="nothing was ever archived",
            ),
            series(
                "Failed archiving, 15m",
                "Tries of archive_command that failed. PostgreSQL keeps the file and tries again.",
                "short",
                'instance:pg_archiver_failures:increase{instance=~"$node"}',
            ),
        ),
        folded(
            "Which work",
            series(
                "Rows read/s",
                "Found by an index; a rise without more users is a scan or a loop.",
                "short",
                rates("pg_stat_database_tup_fetched"),
            ),
            series(
                "Rows written/s",
                "Rows that changed. Accounts and contact lists rarely change.",
                "short",
                Query(rates("pg_stat_database_tup_inserted"), "{{instance}} inserted"),
                Query(rates("pg_stat_database_tup_updated"), "{{instance}} updated", Look.DASHED),
                Query(rates("pg_stat_database_tup_deleted"), "{{instance}} deleted"),
            ),
            series(
                "Cache hit ratio",
                "Share of blocks that did not come from disk. Some 250 MB of data fit into memory: expect 99 %.",
                "percentunit",
                f"{rates('pg_stat_database_blks_hit')}"
                f" / ({rates('pg_stat_database_blks_hit')} + {rates('pg_stat_database_blks_read')})"
                f" and on (instance) {POSTGRESQL.answering}",
                from_zero=False,
                empty="no blocks were read",
            ),
            series(
                "Locks",
                "Locks held, by mode. Many exclusive ones with a long transaction: somebody waits.",
                "short",
                Query('sum by (instance, mode) (pg_locks_count{instance=~"$node"}) > 0', "{{instance}} {{mode}}"),
                empty="no locks are held",
            ),
            series(
                "Size of the databases",
                "On disk. About 250 MB for 100,000 users; more means other data.",
                "decbytes",
                Query(
                    'sum by (instance, datname) (pg_database_size_bytes{instance=~"$node"})', "{{instance}} {{datname}}"
                ),
            ),
            series(
                "Temporary files",
                "Sorts that did not fit into work_mem. Our queries need none.",
                "Bps",
                rates("pg_stat_database_temp_bytes"),
            ),
            series(
                "Checkpoints an hour",
                (
                    "At the pace of the last minutes: a single one is a peak. requested: so much was written that "
                    "PostgreSQL did not wait for its timer. A few an hour are many here."
                ),
                "short",
                Query(
                    "3600 * " + rates("pg_stat_bgwriter_checkpoints_req_total"), "{{instance}} requested", Look.DASHED
                ),
                Query("3600 * " + rates("pg_stat_bgwriter_checkpoints_timed_total"), "{{instance}} timed"),
            ),
        ),
    ],
)
