"""PostgreSQL: can users log in, would a failover lose anything, and are there connections left."""

from dashboards.limits import above, below, none_may_be
from dashboards.page import folded, page, row
from dashboards.panels import Query, series, stat, states
from dashboards.promql import rate, rates, unanswered

# NaN where the one server that is chosen is a replica: it knows nothing of replication, and that is no fault.
_A_REPLICA = (
    'NaN * (count(up{job="postgresql",instance=~"$node"}) == 1'
    ' and max(pg_settings_in_hot_standby{instance=~"$node"}) == 1)'
)

dashboard = page(
    "postgresql",
    about=(
        "PostgreSQL holds accounts and contact lists; messages never come here. "
        "Bad is a server that is down (nobody can log in, open sessions go on), a replica that is missing or behind (a "
        "failover would lose accounts), or no connections left. "
        "Only the primary measures replication; the replica's lines are empty there."
    ),
    health=[
        stat(
            "Servers that do not answer",
            "Of the servers Prometheus scrapes, those that do not answer their exporter, or whose exporter is gone.",
            "none",
            unanswered("postgresql", "pg_up"),
            none_may_be("PostgresDown"),
        ),
        stat(
            "Replicas that stream",
            "Replicas connected to the primary. A replica does not know: choose all nodes.",
            "none",
            'count(pg_stat_replication_pg_wal_lsn_diff{state="streaming",instance=~"$node"})'
            f' or {_A_REPLICA} or 0 * count(pg_up{{instance=~"$node"}} == 1)',
            below("PostgresReplicaMissing"),
            idle="a replica",
        ),
        stat(
            "Replication lag, furthest replica",
            "Bytes of the log that the replica furthest behind has not got. Only the primary measures it.",
            "decbytes",
            f'max(pg_replication_lag_bytes{{instance=~"$node"}}) or {_A_REPLICA}',
            above("PostgresReplicationLagHigh"),
            idle="a replica",
        ),
    ],
    rows=[
        row(
            "Queries and errors, and how long they take",
            series(
                "Transactions a second",
                "Committed and rolled back; each login or contact change is one or a few queries in one transaction. "
                "PostgreSQL counts single queries only with pg_stat_statements.",
                "suffix:transactions/s",
                "sum by (instance) ("
                + rate("pg_stat_database_xact_commit")
                + " + "
                + rate("pg_stat_database_xact_rollback")
                + ")",
            ),
            series(
                "Rollbacks, deadlocks and conflicts",
                "Transactions that came to nothing. Rollbacks with every login: a query of Prosody fails.",
                "suffix:/s",
                Query(rates("pg_stat_database_xact_rollback"), "{{instance}} rollbacks"),
                Query(rates("pg_stat_database_deadlocks"), "{{instance}} deadlocks"),
                Query(rates("pg_stat_database_conflicts"), "{{instance}} conflicts"),
            ),
            series(
                "Longest transaction",
                "Age of the oldest open transaction. One that stays open holds locks and keeps dead rows.",
                "s",
                'max by (instance) (pg_stat_activity_max_tx_duration{instance=~"$node"})',
            ),
        ),
        row(
            "Replication and connections",
            series(
                "Replication lag",
                "Bytes that each replica is behind. A straight rise: the replica is gone and its slot keeps the WAL.",
                "decbytes",
                Query('pg_replication_lag_bytes{instance=~"$node"}', "{{instance}} {{replica}}"),
                limits=above("PostgresReplicationLagHigh"),
            ),
            series(
                "Connections",
                "By what they do now. Prosody keeps a few for each node; idle in transaction: a client that hangs.",
                "locale",
                Query('sum by (instance, state) (pg_stat_activity_count{instance=~"$node"})', "{{instance}} {{state}}"),
                stacked=True,
            ),
            series(
                "Share of connections in use",
                "Of max_connections. At 100 % nobody can log in.",
                "percentunit",
                'sum by (instance) (pg_stat_activity_count{instance=~"$node"})'
                ' / on (instance) max by (instance) (pg_settings_max_connections{instance=~"$node"})',
                most=1,
            ),
        ),
        folded(
            "Which server, and since when",
            states(
                "Server answers",
                "Whether PostgreSQL answers its exporter.",
                'pg_up{instance=~"$node"}',
            ),
            states(
                "Exporter answers",
                "Whether Prometheus can scrape the exporter.",
                'up{job="postgresql",instance=~"$node"}',
            ),
            series(
                "Streaming replicas of each primary",
                "Replicas connected to each primary.",
                "locale",
                'count by (instance) (pg_stat_replication_pg_wal_lsn_diff{state="streaming",instance=~"$node"})',
                limits=below("PostgresReplicaMissing"),
            ),
        ),
        folded(
            "Which work",
            series(
                "Rows read and written",
                "fetched: found by an index; a rise without more users is a scan or a loop.",
                "suffix:rows/s",
                Query(rates("pg_stat_database_tup_fetched"), "{{instance}} fetched"),
                Query(rates("pg_stat_database_tup_inserted"), "{{instance}} inserted"),
                Query(rates("pg_stat_database_tup_updated"), "{{instance}} updated"),
                Query(rates("pg_stat_database_tup_deleted"), "{{instance}} deleted"),
            ),
            series(
                "Found in memory",
                "Share of blocks that did not come from disk. Some 250 MB of data fit into memory: expect 99 %.",
                "percentunit",
                rates("pg_stat_database_blks_hit")
                + " / ("
                + rates("pg_stat_database_blks_hit")
                + " + "
                + rates("pg_stat_database_blks_read")
                + ")",
                most=1,
                empty="No blocks were read.",
            ),
            series(
                "Locks",
                "Locks held, by mode. Many exclusive ones with a long transaction: somebody waits.",
                "locale",
                Query('sum by (instance, mode) (pg_locks_count{instance=~"$node"}) > 0', "{{instance}} {{mode}}"),
                empty="No locks are held.",
            ),
            series(
                "Size of the databases",
                "On disk. About 250 MB for 100,000 users; more is something that is not ours.",
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
                "requested: so much was written that the timer was not waited for; a few an hour is much for us.",
                "suffix:an hour",
                Query("3600 * " + rates("pg_stat_bgwriter_checkpoints_req_total"), "{{instance}} requested"),
                Query("3600 * " + rates("pg_stat_bgwriter_checkpoints_timed_total"), "{{instance}} timed"),
            ),
        ),
    ],
)
