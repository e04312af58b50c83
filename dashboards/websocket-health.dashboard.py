"""WebSocket Health: can the apps connect, how quick is the way to Prosody, and will the certificates last."""

from dashboards.limits import below, none_may_be
from dashboards.page import folded, page, row
from dashboards.panels import Query, heatmap, series, stat, table
from dashboards.promql import buckets, rates
from dashboards.prosody import event_loop_lag, nodes_that_do_not_answer, open_file_descriptors, prosody_answers

dashboard = page(
    "websocket-health",
    exporter="certificates",
    about=(
        "Each app holds one WebSocket connection over TLS, through HAProxy to a Prosody; on every node the exporter "
        "holds one too, and times a ping on it. "
        "Bad is a ping that takes longer than 100 ms or is not answered, errors that rise with connections falling, or "
        "a certificate that clients will refuse. "
        "Slow on one node: see its event loop; slow on all: HAProxy or the network."
    ),
    health=[
        nodes_that_do_not_answer(),
        stat(
            "First certificate to expire",
            "Days left of the certificate that expires first, of all endpoints and files that are watched.",
            "suffix:days",
            'min(ssl_certificate_expiry_days{instance=~"$exporter"})',
            below("CertificateExpiringSoon"),
        ),
        stat(
            "Certificates not trusted",
            "Endpoints that clients refuse: expired, unknown issuer, wrong name or too weak.",
            "none",
            'sum(1 - ssl_certificate_trusted{instance=~"$exporter"})',
            none_may_be("CertificateNotTrusted"),
        ),
        stat(
            "Renewed but not served",
            "Servers that serve another certificate than lies in their file: they want a reload.",
            "none",
            'sum(1 - ssl_certificate_served_matches_file{instance=~"$exporter"})'
            ' or 0 * count(ssl_certificate_probe_success{instance=~"$exporter"})',
            none_may_be("CertificateNotReloaded"),
        ),
    ],
    rows=[
        row(
            "Connections and errors, and how long a ping takes",
            series(
                "Active connections",
                "Connections open now, as Prosody counts them every 30 s, and the sessions that came over WebSocket, "
                "those that wait without a connection included. All nodes fall together: HAProxy or DNS.",
                "locale",
                Query(
                    'sum by (instance) (prosody_mod_c2s__connections{type="c2s",instance=~"$node"})',
                    "{{instance}} connections",
                ),
                Query(
                    'sum by (instance) (prosody_c2s_sessions{transport="websocket",instance=~"$node"})',
                    "{{instance}} WebSocket sessions",
                ),
            ),
            series(
                "Connection errors a second",
                "probe_*: the exporter's own connection failed, so everybody's does. policy-violation and the like: "
                "Prosody closed a client's stream with this error.",
                "suffix:errors/s",
                Query(
                    "instance_transport_reason:prosody_connection_errors:rate2m"
                    '{transport="websocket",instance=~"$node"}',
                    "{{instance}} {{reason}}",
                ),
                empty="No connection has failed.",
            ),
            series(
                "Ping and pong",
                "Round trip of a ping on the exporter's connection. P99: one ping in a hundred took longer. It waits "
                "in the same event loop as every message.",
                "s",
                Query('instance:prosody_websocket_ping_seconds:p99{instance=~"$node"}', "{{instance}} P99"),
                Query('instance:prosody_websocket_ping_seconds:p50{instance=~"$node"}', "{{instance}} P50"),
            ),
        ),
        row(
            "How full it is",
            series(
                "Sessions by transport",
                "The apps use WebSocket. Others are bots, tests or strangers.",
                "locale",
                Query(
                    'sum by (instance, transport) (prosody_c2s_sessions{instance=~"$node"})',
                    "{{instance}} {{transport}}",
                ),
            ),
            open_file_descriptors(),
            event_loop_lag(),
        ),
        row(
            "Certificates",
            table(
                "Certificates now",
                "Days left, and 1 or 0 for: trusted by clients, the last look succeeded. Certificates are seen as "
                "clients see them.",
                {
                    "days left": Query(
                        'max by (instance, target) (ssl_certificate_expiry_days{instance=~"$exporter"})', "{{target}}"
                    ),
                    "trusted": Query(
                        'max by (instance, target) (ssl_certificate_trusted{instance=~"$exporter"})', "{{target}}"
                    ),
                    "looked": Query(
                        'max by (instance, target) (ssl_certificate_probe_success{instance=~"$exporter"})', "{{target}}"
                    ),
                },
                units={"days left": "suffix:days", "trusted": "bool_yes_no", "looked": "bool_yes_no"},
                first=("days left", "target", "trusted", "looked"),
            ),
            series(
                "Days left",
                "A line that falls below 30 days was not renewed by certbot; a jump up is a renewal.",
                "suffix:days",
                Query('ssl_certificate_expiry_days{instance=~"$exporter"}', "{{target}} ({{instance}})"),
                limits=below("CertificateExpiringSoon"),
            ),
            across=2,
        ),
        folded(
            "Which node, and since when",
            heatmap(
                "Ping, distribution",
                "How often a ping took how long, over the chosen nodes.",
                "s",
                buckets("prosody_websocket_ping_seconds"),
            ),
            series(
                "Answered pings a second",
                "The exporter pings at every scrape. A node at 0 answers none.",
                "suffix:pings/s",
                rates("prosody_websocket_ping_seconds_count"),
            ),
            prosody_answers(),
        ),
        folded(
            "Which certificate, and why",
            table(
                "Verdicts",
                "What a client finds wrong with a certificate, or ok.",
                {"verdict": Query('ssl_certificate_verification_info{instance=~"$exporter"}', "{{target}} {{reason}}")},
                hidden=("__name__", "job", "verdict"),
            ),
            table(
                "Last looks",
                "Why the last look at an endpoint failed, or ok.",
                {"result": Query('ssl_certificate_probe_info{instance=~"$exporter"}', "{{target}} {{reason}}")},
                hidden=("__name__", "job", "result"),
            ),
            across=2,
        ),
    ],
)
