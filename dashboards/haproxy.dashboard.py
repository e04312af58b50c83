"""HAProxy: do users reach a Prosody, which of the nodes are in use, and where requests wait or fail."""

from dashboards.limits import below, none_may_be
from dashboards.page import folded, page, row
from dashboards.panels import Query, series, stat, states
from dashboards.promql import rate, rates

dashboard = page(
    "haproxy",
    about=(
        "HAProxy ends TLS on port 443 and sends each app's WebSocket to one Prosody, the same one for the same "
        "address. "
        "Bad is a Prosody that HAProxy does not use (its users move to the others, and one more failure may be too "
        "much), 5xx answers, or requests that wait in a queue. "
        "Many 4xx are strangers and scanners, not our users."
    ),
    health=[
        stat(
            "HAProxys that do not answer",
            "Of those Prometheus scrapes. With keepalived one of a pair may be gone without users noticing.",
            "none",
            'count(up{job="haproxy",instance=~"$node"}) - sum(up{job="haproxy",instance=~"$node"})',
            none_may_be("TargetDown"),
        ),
        stat(
            "Prosody nodes in use, fewest",
            "Servers of the backend prosody_ws that pass their check, on the HAProxy that sees fewest.",
            "none",
            'min(haproxy_backend_up{instance=~"$node"})',
            below("HaproxyBackendNodesLow"),
        ),
    ],
    rows=[
        row(
            "Requests and errors, and how long they take",
            series(
                "Requests a second",
                "HTTP requests by frontend. A WebSocket is one request, however long it lasts.",
                "reqps",
                Query(rates("haproxy_frontend_http_requests_total", "proxy"), "{{instance}} {{proxy}}"),
            ),
            series(
                "Errors a second",
                "5xx: no server could be used; connection: a Prosody did not accept; response: it broke off.",
                "suffix:errors/s",
                Query(rates("haproxy_frontend_http_responses_total", where='code="5xx"'), "{{instance}} 5xx"),
                Query(rates("haproxy_backend_connection_errors_total"), "{{instance}} connection"),
                Query(rates("haproxy_backend_response_errors_total"), "{{instance}} response"),
            ),
            series(
                "Mean time to answer, last 1,024 requests",
                "queue: waiting for a free server; connect: to it; response: until it answers. HAProxy measures means, "
                "no percentiles: what users feel is on WebSocket Health.",
                "s",
                Query(
                    'max by (instance, proxy) (haproxy_backend_queue_time_average_seconds{instance=~"$node"})',
                    "{{instance}} {{proxy}} queue",
                ),
                Query(
                    'max by (instance, proxy) (haproxy_backend_connect_time_average_seconds{instance=~"$node"})',
                    "{{instance}} {{proxy}} connect",
                ),
                Query(
                    'max by (instance, proxy) (haproxy_backend_response_time_average_seconds{instance=~"$node"})',
                    "{{instance}} {{proxy}} response",
                ),
            ),
        ),
        row(
            "The nodes behind it, and how full it is",
            states(
                "Servers in use",
                "Whether a server passes its check. One without a check is always in use.",
                Query(
                    'max by (instance, proxy, server) (haproxy_server_status{state="UP",instance=~"$node"})',
                    "{{proxy}} {{server}} ({{instance}})",
                ),
                good="IN USE",
                bad="NOT IN USE",
            ),
            series(
                "Prosody nodes in use",
                "Servers of the backend prosody_ws that pass their check. Each HAProxy of a pair judges for itself.",
                "locale",
                'haproxy_backend_up{instance=~"$node"}',
                limits=below("HaproxyBackendNodesLow"),
            ),
            series(
                "Share of connections in use",
                "Of global maxconn. At 100 % new users wait.",
                "percentunit",
                'haproxy_process_current_connections{instance=~"$node"}'
                ' / haproxy_process_max_connections{instance=~"$node"}',
                most=1,
            ),
        ),
        folded(
            "Which server",
            series(
                "Sessions by server",
                "Open connections to each Prosody. They should be about the same: users are spread by address.",
                "locale",
                Query(
                    'sum by (instance, proxy, server) (haproxy_server_current_sessions{instance=~"$node"})',
                    "{{proxy}} {{server}} ({{instance}})",
                ),
            ),
            series(
                "Failed checks",
                "Checks that failed while the server was in use. Three in a row put it out of use.",
                "suffix:checks/s",
                Query(
                    rates("haproxy_server_check_failures_total", "proxy", "server") + " > 0",
                    "{{proxy}} {{server}} ({{instance}})",
                ),
                empty="No check has failed.",
            ),
            series(
                "Retries and redispatches",
                "Tries to connect again, and requests that went to another server instead.",
                "suffix:/s",
                Query(rates("haproxy_backend_retry_warnings_total", "proxy"), "{{instance}} {{proxy}} retries"),
                Query(
                    rates("haproxy_backend_redispatch_warnings_total", "proxy"), "{{instance}} {{proxy}} redispatches"
                ),
            ),
        ),
        folded(
            "Which requests",
            series(
                "Answers by class",
                "Of the frontends. 1xx is the switch to WebSocket: our users.",
                "reqps",
                Query(rates("haproxy_frontend_http_responses_total", "code"), "{{instance}} {{code}}"),
            ),
            series(
                "Refused and malformed requests",
                "Denied by a rule, or not HTTP. Strangers; a flood of them costs connections.",
                "reqps",
                Query(rates("haproxy_frontend_requests_denied_total"), "{{instance}} denied"),
                Query(rates("haproxy_frontend_request_errors_total"), "{{instance}} malformed"),
            ),
            series(
                "Bandwidth of the frontends",
                "Between users and HAProxy. A connection's bytes are counted as they flow.",
                "bps",
                Query("8 * " + rates("haproxy_frontend_bytes_in_total"), "{{instance}} in"),
                Query("8 * " + rates("haproxy_frontend_bytes_out_total"), "{{instance}} out"),
            ),
        ),
        folded(
            "Which resource",
            series(
                "Waiting requests",
                "Requests in a backend's queue. Above 0 for more than moments: every server is at its limit.",
                "locale",
                Query(
                    'sum by (instance, proxy) (haproxy_backend_current_queue{instance=~"$node"})',
                    "{{instance}} {{proxy}}",
                ),
            ),
            series(
                "Idle time",
                "Share of time HAProxy has nothing to do. Below 20 % it becomes the bottleneck.",
                "percent",
                'haproxy_process_idle_time_percent{instance=~"$node"}',
                most=100,
            ),
            series(
                "New TLS connections a second",
                "A handshake costs more CPU than anything else HAProxy does. A flood follows a failover.",
                "suffix:handshakes/s",
                rate("haproxy_process_ssl_connections_total"),
            ),
        ),
    ],
)
