"""WebSocket Health: can the apps connect, how quick is the way to Prosody, and will the certificates last."""

from dashboards.limits import below, none_may_be, threshold
from dashboards.page import folded, page, row
from dashboards.panels import heatmap, series
from dashboards.pieces import CALM, CRITICAL, WARNING, Look, Query, override
from dashboards.promql import CERTIFICATES, PROSODY, PingedNodes, buckets, rates
from dashboards.prosody import event_loop_lag, nodes_down, open_file_descriptors, prosody_answers
from dashboards.synthetic import login_stages
from dashboards.tables import Column, nodes, table
from dashboards.tiles import figure, stat

_SESSIONS = 'sum by (instance) (prosody_c2s_sessions{transport="websocket",instance=~"$node"})'
_CONNECTIONS = 'sum by (instance) (prosody_mod_c2s__connections{type="c2s",instance=~"$node"})'
_ERRORS = 'instance_transport_reason:prosody_connection_errors:rate2m{transport="websocket",instance=~"$node"}'
_PING = 'instance:prosody_websocket_ping_seconds:{}{{instance=~"$node"}}'
_PINGS = (
    'increase(prosody_websocket_ping_seconds_count{instance=~"$node"}' + f"[{threshold('ProsodyProbeFails').window}])"
)
# A quantile of no pings is NaN, which max() passes over: only the nodes that answer would be shown.
_PINGED = PingedNodes("prosody", "prosody_up", answered=_PINGS)

_EXPIRING = threshold("CertificateExpiringSoon")
_DAYS = 'ssl_certificate_expiry_days{instance=~"$exporter"}'
_SHARE = f'{_EXPIRING.share} * ssl_certificate_lifetime_days{{instance=~"$exporter"}}'
# Below the limit, and no alert: a certificate that is valid for less than 42 days has a limit of its own.
_SHORT_LIVED = f"{_DAYS} < {_EXPIRING.value:g} and {_DAYS} >= {_SHARE}"


_REASON = 'ssl_certificate_verification_info{{instance=~"$exporter",reason{}"ok"}}'
_SUCCESS = 'ssl_certificate_probe_success{instance=~"$exporter"}'


def _if_probed(expr: str) -> str:
    """Return 1 or 0; NaN, a dash, where an endpoint cannot be probed now and the last chain of it was in order.

    One that was bad is bad until another chain is seen; its alert says the same.
    """
    of = "on (instance, target)"
    unknown = f"NaN * max by (instance, target) ({_SUCCESS})"
    return f"({expr}) and {of} {_SUCCESS} == 1 or {of} ({expr}) == 0 or {of} {unknown}"


def _yes_or(no: str) -> dict[str, tuple[str, str]]:
    """Return the words of a column of 1 and 0, with the colour of NO."""
    return {"0": ("NO", no), "1": ("yes", CALM)}


dashboard = page(
    "websocket-health",
    exporter="certificates",
    users="synthetic",
    about=(
        "Each app holds one WebSocket connection over TLS, through HAProxy to a Prosody; on every node the exporter "
        "holds one too, and times a ping on it. "
        "Bad is a ping that takes longer than 100 ms or is not answered, errors that rise with connections falling, or "
        "a certificate that clients will refuse. "
        "Slow on one node: see its event loop; slow on all: HAProxy or the network."
    ),
    tiles=[
        nodes_down(),
        figure(
            "Slowest ping, P99",
            "Round trip of a ping on the exporter's own connection, on the slowest node.",
            "s",
            f"max({_PING.format('p99')})",
            of=_PINGED,
        ),
        stat(
            "Certificate expires in",
            "Days left of the certificate that expires first, of all endpoints and files that are watched. One that is "
            "valid for less than 42 days in all counts only when less than a third of its lifetime is left.",
            "suffix:days",
            f"min(({_DAYS} unless ({_SHORT_LIVED})) or NaN * {_DAYS})",
            below("CertificateExpiringSoon"),
            of=CERTIFICATES,
            idle="short-lived",
        ),
        stat(
            "Certificates not trusted",
            "Endpoints whose certificate clients refuse: expired, unknown issuer, wrong name or too weak.",
            "none",
            'sum(1 - ssl_certificate_trusted{instance=~"$exporter"})',
            none_may_be("CertificateNotTrusted"),
            of=CERTIFICATES,
        ),
        stat(
            "Old certificate served",
            "Servers that serve another certificate than the one in their file: reload them.",
            "none",
            'sum(1 - ssl_certificate_served_matches_file{instance=~"$exporter"})'
            ' or 0 * count(ssl_certificate_probe_success{instance=~"$exporter"})',
            none_may_be("CertificateNotReloaded"),
            of=CERTIFICATES,
        ),
    ],
    nodes=nodes(
        "Nodes",
        "Each node now. Pings: whether any was answered in two minutes; can log in: whether every host offers a way "
        "to log in over WebSocket.",
        PROSODY,
        {
            "sessions": Column(_SESSIONS),
            "conns": Column(_CONNECTIONS),
            "errors/s": Column(rates("prosody_connection_errors_total", where='transport="websocket"')),
            "ping P99": Column(f"max by (instance) ({_PING.format('p99')})", "s"),
            "pings": Column(f"max by (instance) ({_PINGS} > bool 0)", "none", words=_yes_or(WARNING)),
            "can log in": Column(
                'min by (instance) (prosody_websocket_login_mechanisms{instance=~"$node"} > bool 0)',
                "none",
                words=_yes_or(CRITICAL),
            ),
        },
    ),
    graph=series(
        "Active connections",
        "Connections open now, as Prosody counts them every 30 s, and the sessions that came over WebSocket, "
        "including those that wait without a connection. All nodes fall together: HAProxy or DNS.",
        "short",
        Query(_CONNECTIONS, "{{instance}} connections"),
        Query(_SESSIONS, "{{instance}} WebSocket sessions", Look.DASHED),
    ),
    rows=[
        row(
            "Errors, and how long pings and logins take",
            series(
                "Ping round trip",
                "Round trip of a ping on the exporter's connection. P99: one ping in a hundred took longer. It waits "
                "in the same event loop as every message.",
                "s",
                Query(_PING.format("p99"), "{{instance}} P99"),
                Query(_PING.format("p50"), "{{instance}} P50", Look.DASHED),
            ),
            series(
                "Connection errors/s",
                "probe_*: the exporter's own connection failed, so everybody's does. policy-violation and the like: "
                "Prosody closed a client's stream with this error.",
                "short",
                Query(_ERRORS, "{{instance}} {{reason}}"),
                empty="no connection has failed",
            ),
            login_stages(),
        ),
        row(
            "Certificates",
            table(
                "Certificates now",
                "Days left, whether that is enough for its alert, whether clients trust it, and whether the last probe "
                "succeeded: if not, the certificate is the last one that was seen.",
                {
                    "days left": Column(
                        f"max by (instance, target) ({_DAYS}) or on (instance, target) NaN * {_SUCCESS}", "suffix:days"
                    ),
                    "enough": Column(
                        _if_probed(
                            f"1 - max by (instance, target) ({_DAYS} < bool {_EXPIRING.value:g} unless ({_SHORT_LIVED})"
                            f" or 0 * {_DAYS})"
                        ),
                        "none",
                        words=_yes_or(WARNING),
                    ),
                    "trusted": Column(
                        _if_probed('max by (instance, target) (ssl_certificate_trusted{instance=~"$exporter"})'),
                        "none",
                        words=_yes_or(CRITICAL),
                    ),
                    "probed": Column(
                        f"max by (instance, target) ({_SUCCESS})",
                        "none",
                        words=_yes_or(WARNING),
                    ),
                },
                first=("days left", "target", "enough", "trusted", "probed"),
                names={"instance": "probe"},
                overrides=[
                    override("byName", name, custom__minWidth=width)  # for the longest
                    for name, width in (("target", 160), ("probe", 100))
                ],
            ),
            series(
                "Days left",
                "A line that falls below 30 days was not renewed by certbot; a jump up is a renewal. A certificate "
                "that is valid for less than 42 days has a limit of its own: a third of its lifetime.",
                "suffix:days",
                Query(_DAYS, "{{target}} ({{instance}})"),
                Query(
                    f"min by (instance) (clamp_max({_SHARE}, {_EXPIRING.value}))",
                    "lowest limit ({{instance}})",
                    Look.LIMIT,
                ),
                limits=below("CertificateExpiringSoon"),
            ),
        ),
        folded(
            "Which resource",
            series(
                "Sessions by transport",
                "The apps use WebSocket. Others are bots, tests or strangers.",
                "short",
                Query(
                    'sum by (instance, transport) (prosody_c2s_sessions{instance=~"$node"})',
                    "{{instance}} {{transport}}",
                ),
                stacked=True,
            ),
            open_file_descriptors(),
            event_loop_lag(),
        ),
        folded(
            "Which node, and since when",
            heatmap(
                "Ping, distribution",
                "How long pings took, and how often, over the chosen nodes.",
                "s",
                buckets("prosody_websocket_ping_seconds"),
            ),
            series(
                "Answered pings/s",
                "The exporter pings every few seconds on a connection of its own. A node at 0 answers none.",
                "short",
                rates("prosody_websocket_ping_seconds_count"),
            ),
            prosody_answers(),
        ),
        folded(
            "Which certificate, and why",
            table(
                "Verdicts",
                "What a client finds wrong with a certificate, or ok. If the endpoint cannot be probed now: what was "
                "wrong with its last one.",
                {
                    "verdict": Column(
                        f"{_REASON.format('=')} and on (instance, target) {_SUCCESS} == 1 or {_REASON.format('!=')}"
                    )
                },
                first=("target",),
                hidden=("__name__", "job", "verdict"),
            ),
            table(
                "Last probes",
                "Why the last probe of an endpoint failed, or ok.",
                {"result": Column('ssl_certificate_probe_info{instance=~"$exporter"}')},
                first=("target",),
                hidden=("__name__", "job", "result"),
            ),
        ),
    ],
)
