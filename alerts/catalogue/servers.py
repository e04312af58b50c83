"""Alerts about HAProxy and coturn, which users reach first."""

from typing import Final

from alerts.catalogue.alert import Alert

_HAPROXY: Final = "haproxy"
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
        name="HaproxyConnectionsHigh",
        expr="haproxy_process_current_connections / haproxy_process_max_connections > <value>",
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of maxconn is in use (limit <limit>)",
        description="At the limit new users wait until others leave. Raise maxconn; it takes memory.",
        dashboard=_HAPROXY,
    ),
    # With `balance source` (Section 7) a request waits in its server's queue; the backend's is for those without one.
    Alert(
        name="HaproxyRequestsWait",
        expr=(
            "haproxy_backend_current_queue\n"
            "+ on (job, instance, proxy) sum by (job, instance, proxy) (haproxy_server_current_queue) > 0"
        ),
        summary='{{ $labels.instance }}: {{ $value | printf "%.0f" }} requests wait for {{ $labels.proxy }}',
        description="Every server has as many connections as its maxconn allows. Raise it, or add a node.",
        dashboard=_HAPROXY,
    ),
    # As PushVoipFailuresHigh: the share, and enough failures to speak of one.
    Alert(
        name="HaproxyErrorsHigh",
        expr=(
            "instance:haproxy_errors:ratio > <value>\n"
            "and on (instance) sum by (instance) "
            '(increase(haproxy_frontend_http_responses_total{code="5xx",proxy!="stats"}[<window>])) >= <minimum>'
        ),
        summary="{{ $labels.instance }}: {{ $value | humanizePercentage }} of the answers are 5xx (limit <limit>)",
        description="Users who connect are turned away. See whether a Prosody takes connections, and HAProxy's log.",
        dashboard=_HAPROXY,
    ),
    Alert(
        name="HaproxyRetriesHigh",
        # round: increase() adds a little for the ends of its window, so that twenty connections were more than twenty.
        expr="round(instance_proxy:haproxy_retries:increase) > <value>",
        summary=(
            '{{ $labels.instance }}: {{ $value | printf "%.0f" }} connections to {{ $labels.proxy }} needed a retry '
            "in <window>"
        ),
        description=(
            "A Prosody node accepts connections late or not at all between two health checks. See which one, and its "
            "log."
        ),
        dashboard=_HAPROXY,
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
