"""Alerts about HAProxy, PostgreSQL and coturn, the servers that Prosody leans on."""

from typing import Final

from alerts.catalogue.alert import Alert

_HAPROXY: Final = "haproxy"
_POSTGRESQL: Final = "postgresql"
_COTURN: Final = "coturn"

ALERTS: Final = (
    # Each HAProxy of a pair judges for itself, so the standby too tells that it would have too few nodes.
    Alert(
        name="HaproxyBackendNodesLow",
        expr="haproxy_backend_up < <value>",
        summary="{{ $labels.instance }}: {{ $value }} servers of {{ $labels.proxy }} are up (needs <limit>)",
        description=(
            "Users move to the nodes that are left; with none, nobody can connect. Find the node that is down and "
            "bring it back."
        ),
        dashboard=_HAPROXY,
    ),
    Alert(
        name="PostgresDown",
        expr="pg_up == 0",
        summary="{{ $labels.instance }}: PostgreSQL does not answer its exporter",
        description=(
            "Nobody can log in and contact lists do not load; open sessions go on. See whether the failover happened."
        ),
        dashboard=_POSTGRESQL,
    ),
    Alert(
        name="PostgresReplicationLagHigh",
        expr="pg_replication_lag_bytes > <value>",
        summary="{{ $labels.instance }}: a replica is {{ $value | humanize }}B behind (limit <limit>)",
        description=(
            "A failover now would lose accounts and contacts. See whether the replica is connected, and its disk and "
            "network."
        ),
        dashboard=_POSTGRESQL,
    ),
    # Without a slot a lost replica leaves no series at all, so the servers that answer stand for zero replicas.
    Alert(
        name="PostgresReplicaMissing",
        expr=(
            '(\n  count by (job) (pg_stat_replication_pg_wal_lsn_diff{state="streaming"})\n'
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
        name="CoturnDown",
        expr="coturn_up == 0",
        summary="{{ $labels.instance }}: coturn does not answer its exporter",
        description=(
            "Calls between users behind strict NATs fail on this node. Look at the service and its log; restart it."
        ),
        dashboard=_COTURN,
    ),
    Alert(
        name="CoturnAllocationsHigh",
        expr="coturn_active_allocations > <value>",
        summary='{{ $labels.instance }}: {{ $value | printf "%.0f" }} relay allocations (limit <limit>)',
        description=(
            "Calls through this node lose quality when its network is full. Look at its bandwidth; add a coturn node."
        ),
        dashboard=_COTURN,
    ),
    # A quota of 0 is no quota, and must not be divided by.
    Alert(
        name="CoturnQuotaNearlyUsed",
        expr='coturn_active_allocations / ignoring (kind) (coturn_quota{kind="limit"} > 0) > <value>',
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of total-quota is used (limit <limit>)",
        description=(
            "When it is used up, every new call through this node is refused (486). Raise total-quota in "
            "turnserver.conf."
        ),
        dashboard=_COTURN,
    ),
    Alert(
        name="CoturnPortsExhausted",
        expr='increase(coturn_allocate_errors_total{code="508"}[<window>]) > 0',
        summary='{{ $labels.instance }}: {{ $value | printf "%.0f" }} allocations found no relay port in <window>',
        description=(
            "Calls through this node fail. Look at the relay ports in use; widen min-port to max-port or add a coturn "
            "node."
        ),
        dashboard=_COTURN,
    ),
)
