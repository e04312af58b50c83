"""HAProxy: do users reach a Prosody, which of the nodes are in use, and where requests wait or fail."""

from dashboards.limits import above, below, none_may_be, threshold
from dashboards.page import folded, page, row
from dashboards.panels import series, states
from dashboards.pieces import Look, Query
from dashboards.promql import HAPROXY, answered, judged, labelled, rate, rates
from dashboards.tables import Column, nodes
from dashboards.tiles import broken, figure, stat

_IN_USE = 'haproxy_backend_up{instance=~"$node"}'
_PROSODIES = 'proxy="prosody_ws"'
_USERS = 'proxy!="stats"'  # the statistics page answers Prometheus' own scrapes
_CONNECTIONS_USED = (
    'haproxy_process_current_connections{instance=~"$node"} / haproxy_process_max_connections{instance=~"$node"}'
)
_ERRORS = threshold("HaproxyErrorsHigh")
_ERRORS_SHARE = 'instance:haproxy_errors:ratio{instance=~"$node"}'
_ERRORS_JUDGED = judged(
    f"max by (instance) ({answered(_ERRORS_SHARE)})",
    _ERRORS,
    f'sum by (instance) (increase(haproxy_frontend_http_responses_total{{code="5xx",{_USERS},instance=~"$node"}}'
    f"[{_ERRORS.window}]))",
)
_REQUESTS = rates("haproxy_frontend_http_requests_total", where=_USERS)
_REFUSED = rates("haproxy_frontend_http_responses_total", where=f'code="5xx",{_USERS}')


def _mean(part: str) -> str:
    mean = f'haproxy_backend_{part}_time_average_seconds{{{_USERS},instance=~"$node"}}'
    return labelled(f"max by (instance, proxy) ({mean})", "stage", part)


dashboard = page(
    "haproxy",
    about=(
        "HAProxy ends TLS on port 443 and sends each app's WebSocket to one Prosody, the same one for the same "
        "address. "
        "Bad is a Prosody that HAProxy does not use (its users move to the others, and one more failure may be too "
        "much), 5xx answers, or requests that wait in a queue. "
        "Many 4xx are strangers and scanners, not our users."
    ),
    tiles=[
        broken(
            "HAProxys down",
            "HAProxys that Prometheus cannot scrape. With keepalived, users may not notice that one is down.",
            HAPROXY,
        ),
        stat(
            "Prosody nodes in use",
            "Servers of the backend prosody_ws that are UP and whose weight is not 0, on the HAProxy that sees fewest.",
            "none",
            f"min({_IN_USE})",
            below("HaproxyBackendNodesLow"),
            of=HAPROXY,
        ),
        figure(
            "Requests/s",
            "Users' HTTP requests, over the chosen HAProxys, in the last two minutes. A WebSocket is one request.",
            "short",
            f'sum(rate(haproxy_frontend_http_requests_total{{{_USERS},instance=~"$node"}}[2m]))',
            of=HAPROXY,
        ),
        stat(
            "5xx answers, worst",
            f"Share of 5xx among the users' answers in the last {_ERRORS.window}, on the worst HAProxy: who gets one "
            f"cannot connect. The alert waits for {_ERRORS.minimum:g} of them.",
            "percentunit",
            f"max({_ERRORS_JUDGED})",
            above("HaproxyErrorsHigh"),
            of=HAPROXY,
            idle="too few",
        ),
        stat(
            "Connections used, most",
            "Share of global maxconn on the HAProxy that uses most of it. At 100 % new users wait.",
            "percentunit",
            f"max({_CONNECTIONS_USED})",
            above("HaproxyConnectionsHigh"),
            of=HAPROXY,
        ),
    ],
    nodes=nodes(
        "HAProxys",
        "Each HAProxy now, coloured by the limits of its alerts. In use: Prosody nodes; 5xx: share of answers; conns: "
        "share of maxconn.",
        HAPROXY,
        {
            "in use": Column(f"max by (instance) ({_IN_USE})", limits=below("HaproxyBackendNodesLow")),
            "requests/s": Column(_REQUESTS),
            "5xx": Column(_ERRORS_JUDGED, "percentunit", limits=above("HaproxyErrorsHigh")),
            "conns": Column(
                f"max by (instance) ({_CONNECTIONS_USED})", "percentunit", limits=above("HaproxyConnectionsHigh")
            ),
            "waiting": Column(
                'sum by (instance) (haproxy_backend_current_queue{instance=~"$node"})\n'
                '+ sum by (instance) (haproxy_server_current_queue{instance=~"$node"})',
                limits=none_may_be("HaproxyRequestsWait"),
            ),
            "idle": Column('max by (instance) (haproxy_process_idle_time_percent{instance=~"$node"})', "percent"),
        },
    ),
    graph=series(
        "Requests/s by frontend",
        "Users' HTTP requests by frontend. A WebSocket is one request, however long it lasts. Prometheus' own scrapes "
        "are left out.",
        "short",
        Query(rates("haproxy_frontend_http_requests_total", "proxy", where=_USERS), "{{instance}} {{proxy}}"),
    ),
    rows=[
        row(
            "The Prosody nodes behind it, errors, and how long an answer takes",
            states(
                "Servers up",
                "Whether HAProxy calls a server UP: it passes its check, or has none, and is not drained. UP and yet "
                "not in use: a server with weight 0, and every server of a backend that is DOWN.",
                'haproxy_server_status{state="UP",instance=~"$node"}',
                legend="{{instance}} {{proxy}} {{server}}",
                good="UP",
                bad="NOT UP",
            ),
            series(
                "Prosody nodes in use",
                "Servers of the backend prosody_ws that are UP and whose weight is not 0. Each HAProxy of a pair "
                "judges for itself.",
                "short",
                _IN_USE,
                limits=below("HaproxyBackendNodesLow"),
            ),
            series(
                "Errors/s",
                "5xx: no server could be used; connection: a Prosody did not accept; response: it broke off, or the "
                "user was gone before the answer was written.",
                "short",
                Query(_REFUSED, "{{instance}} 5xx", Look.FAILURE),
                Query(rates("haproxy_backend_connection_errors_total"), "{{instance}} connection"),
                Query(rates("haproxy_backend_response_errors_total"), "{{instance}} response", Look.DASHED),
            ),
            series(
                "Mean time to answer, last 1,024 requests",
                "queue: waiting for a free server; connect: to it; response: until it answers. HAProxy measures means, "
                "no percentiles: what users feel is on WebSocket Health.",
                "s",
                Query(" or ".join(map(_mean, ("queue", "connect", "response"))), "{{instance}} {{proxy}} {{stage}}"),
            ),
        ),
        folded(
            "Which server",
            series(
                "Sessions by server",
                "Open connections to each Prosody. They should be about equal: users are spread by address.",
                "short",
                Query(
                    f'sum by (instance, server) (haproxy_server_current_sessions{{{_PROSODIES},instance=~"$node"}})',
                    "{{server}} {{instance}}",
                ),
                stacked=True,
            ),
            series(
                "Weight of each server",
                "Its share of new users, beside the other weights. 0: it is not in use, even if it is UP.",
                "short",
                Query(f'haproxy_server_weight{{{_PROSODIES},instance=~"$node"}}', "{{server}} {{instance}}"),
            ),
            series(
                "Failed checks/s",
                "Checks that failed while the server was UP. Three in a row make it DOWN.",
                "short",
                Query(
                    rates("haproxy_server_check_failures_total", "proxy", "server") + " > 0",
                    "{{server}} {{proxy}} {{instance}}",
                ),
                empty="no check has failed",
            ),
            series(
                "Retried connections, 10m",
                "Connections to a Prosody that HAProxy tried again, on the same server or on another one.",
                "short",
                Query('instance_proxy:haproxy_retries:increase{instance=~"$node"}', "{{instance}} {{proxy}}"),
                limits=above("HaproxyRetriesHigh"),
            ),
        ),
        folded(
            "Which requests",
            series(
                "Answers/s by class",
                "Of the users' frontends. 1xx is the switch to WebSocket: our users.",
                "short",
                Query(rates("haproxy_frontend_http_responses_total", "code", where=_USERS), "{{instance}} {{code}}"),
                stacked=True,
            ),
            series(
                "Share of 5xx answers, 5m",
                "Of all answers of the users' frontends. Users who get one cannot connect.",
                "percentunit",
                _ERRORS_SHARE,
                limits=above("HaproxyErrorsHigh"),
                empty="nothing was answered",
            ),
            series(
                "Refused and malformed requests/s",
                "Denied by a rule, or not HTTP. Strangers; a flood of them costs connections.",
                "short",
                Query(rates("haproxy_frontend_requests_denied_total"), "{{instance}} denied"),
                Query(rates("haproxy_frontend_request_errors_total"), "{{instance}} malformed", Look.DASHED),
            ),
            series(
                "Bandwidth of the frontends",
                "Between users and HAProxy: in above zero, out below. A connection's bytes are counted as they flow.",
                "bps",
                Query("8 * " + rates("haproxy_frontend_bytes_in_total", where=_USERS), "{{instance}} in"),
                Query("8 * " + rates("haproxy_frontend_bytes_out_total", where=_USERS), "{{instance}} out", Look.BELOW),
            ),
        ),
        folded(
            "Which resource",
            series(
                "Waiting requests",
                "Requests in a backend's queue. Above 0 for more than moments: every server is at its limit.",
                "short",
                Query(
                    'sum by (instance, proxy) (haproxy_backend_current_queue{instance=~"$node"})\n'
                    '+ sum by (instance, proxy) (haproxy_server_current_queue{instance=~"$node"})',
                    "{{instance}} {{proxy}}",
                ),
            ),
            series(
                "Share of connections in use",
                "Of global maxconn. At 100 % new users wait.",
                "percentunit",
                _CONNECTIONS_USED,
                limits=above("HaproxyConnectionsHigh"),
            ),
            series(
                "Idle time",
                "Share of time HAProxy has nothing to do. Below 20 % it becomes the bottleneck.",
                "percent",
                'haproxy_process_idle_time_percent{instance=~"$node"}',
            ),
            series(
                "New TLS connections/s",
                "A handshake costs more CPU than anything else HAProxy does. A flood follows a failover.",
                "short",
                rate("haproxy_process_ssl_connections_total"),
            ),
        ),
    ],
)
