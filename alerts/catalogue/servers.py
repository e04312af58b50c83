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
        name="HaproxyNoNodes",
        expr="haproxy_backend_up == 0",
        summary="{{ $labels.instance }}: no server of {{ $labels.proxy }} takes connections",
        description="Nobody can connect. Check which servers are down, drained or have weight 0, and bring one back.",
        dashboard=_HAPROXY,
    ),
    # The page about the backend counts servers, so it does not notice one of three. Planned work is MAINT or DRAIN.
    Alert(
        name="HaproxyServerDown",
        expr=(
            "max by (job, instance, proxy, server) "
            '(haproxy_server_status{proxy="prosody_ws",state!~"UP|MAINT|DRAIN"}) == 1'
        ),
        summary="{{ $labels.instance }}: {{ $labels.server }} of {{ $labels.proxy }} fails its health check",
        description=(
            "Users move to the other nodes, which carry more. Check Prosody on that node, and the network to it."
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
    # A target that does not answer may be the primary: then nobody knows, and TargetDown says so.
    Alert(
        name="PostgresNoPrimary",
        expr=("min by (job) (pg_settings_in_hot_standby) == 1\nunless on (job) up == 0"),
        summary="{{ $labels.job }}: no server is the primary; all that answer are in recovery",
        description="Nobody can register or change contacts, and logins may fail. Promote the replica that is ahead.",
        dashboard=_POSTGRESQL,
    ),
    Alert(
        name="PostgresSplitBrain",
        expr="count by (job) (pg_settings_in_hot_standby == 0) > 1",
        summary="{{ $labels.job }}: {{ $value }} servers are a primary and take writes",
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
    # NaN, and nothing else, differs from itself: the slot keeps no WAL.
    Alert(
        name="PostgresSlotLost",
        expr=(
            "group by (job, instance, slot_name) "
            "(pg_replication_slots_pg_wal_lsn_diff != pg_replication_slots_pg_wal_lsn_diff)"
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
