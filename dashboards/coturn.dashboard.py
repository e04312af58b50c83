"""Coturn: do calls behind strict NATs find a relay, how much do they carry, and what will run out first."""

from dashboards.limits import above, none_may_be, threshold
from dashboards.page import folded, page, row
from dashboards.panels import heatmap, series, states
from dashboards.pieces import Look, Query
from dashboards.promql import COTURN, buckets, rate, rates
from dashboards.synthetic import media
from dashboards.tables import Column, nodes
from dashboards.tiles import broken, figure, stat

# A coturn that hangs keeps its sockets, and its exporter goes on counting them.
_ALIVE = f" and on (instance) {COTURN.answering}"
_ACTIVE = 'coturn_active_allocations{instance=~"$node"}' + _ALIVE
_QUOTA_USED = f'({_ACTIVE}) / ignoring (kind) coturn_quota{{kind="limit",instance=~"$node"}}'
_PORTS_USED = (
    'coturn_relay_ports{state="used",instance=~"$node"}'
    ' / ignoring (state) coturn_relay_ports{state="capacity",instance=~"$node"}' + _ALIVE
)
_REFUSALS = threshold("CoturnPortsExhausted")
_CREATED = rates("coturn_allocations_total", where='event="created"')
_BINDINGS = rates("coturn_stun_bindings_total")
# A link has its full speed in each direction, so the busier direction is the one that can fill it.
_BANDWIDTH = f"8 * max by (instance) ({rates('coturn_traffic_bytes_total', 'direction')})"

dashboard = page(
    "coturn",
    about=(
        "coturn tells callers their address (STUN) and relays the calls of those behind strict NATs (TURN), about 20 "
        "to 30 % of all. "
        "Bad is a server that does not answer, or that refuses: 486 means total-quota is reached, 508 that no relay "
        "port is left, many 401 that the shared secret differs from Prosody's. "
        "If it is set up well, bandwidth runs out first."
    ),
    tiles=[
        broken("Servers down", "Servers whose coturn or exporter does not answer.", COTURN),
        stat(
            "Most allocations",
            "Open relay allocations on the fullest node, about one for each side of a call that needs a relay.",
            "locale",
            f"max({_ACTIVE})",
            above("CoturnAllocationsHigh"),
            of=COTURN,
        ),
        stat(
            "Quota used, worst node",
            "Allocations that count against total-quota; at 100 % the next call is refused with 486.",
            "percentunit",
            f"max({_QUOTA_USED})",
            above("CoturnQuotaNearlyUsed"),
            of=COTURN,
        ),
        stat(
            "Refused: no relay port",
            f"Allocations refused with 508 in the last {_REFUSALS.window}.",
            "locale",
            f'sum(increase(coturn_allocate_errors_total{{code="508",instance=~"$node"}}[{_REFUSALS.window}]){_ALIVE})',
            none_may_be("CoturnPortsExhausted"),
            of=COTURN,
        ),
        figure(
            "Bandwidth, fullest node",
            "What coturn receives or what it sends, whichever is more, on the node that carries most of it, in the "
            "last two minutes. Section 13 plans 1 Gbps for a node.",
            "bps",
            '8 * max(sum by (instance, direction) (rate(coturn_traffic_bytes_total{instance=~"$node"}[2m]))'
            f"{_ALIVE})",
            of=COTURN,
        ),
    ],
    nodes=nodes(
        "Servers",
        "Each server now, coloured by the limits of its alerts. Bandwidth: received or sent, whichever is more; CPU: "
        "of one core.",
        COTURN,
        {
            "allocs": Column(f"max by (instance) ({_ACTIVE})", limits=above("CoturnAllocationsHigh")),
            "quota": Column(f"max by (instance) ({_QUOTA_USED})", "percentunit", limits=above("CoturnQuotaNearlyUsed")),
            "ports": Column(f"max by (instance) ({_PORTS_USED})", "percentunit"),
            "bandwidth": Column(_BANDWIDTH, "bps"),
            "refused/s": Column(rates("coturn_allocate_errors_total")),
            "CPU": Column(f"max by (instance) ({rate('coturn_cpu_seconds_total')})", "percentunit"),
        },
    ),
    graph=series(
        "Active allocations",
        (
            "Open relay allocations. A flat line at a high level: the quota is reached (see its share), or calls do "
            "not end."
        ),
        "short",
        _ACTIVE,
        limits=above("CoturnAllocationsHigh"),
    ),
    exporter="synthetic",
    rows=[
        row(
            "Traffic and errors, STUN against TURN, and how long an answer takes",
            series(
                "Bandwidth",
                "What coturn receives, above zero, and sends, below: with clients and their peers together. A call "
                "counts up to 4,096 packets late. Section 13 plans 1 Mbps for a call, 1 Gbps for a node.",
                "bps",
                Query(
                    "8 * " + rates("coturn_traffic_bytes_total", where='direction="received"'), "{{instance}} received"
                ),
                Query(
                    "8 * " + rates("coturn_traffic_bytes_total", where='direction="sent"'),
                    "{{instance}} sent",
                    Look.BELOW,
                ),
            ),
            series(
                "Time to answer",
                "How long the exporter, as a client, waited for a STUN answer and for a TURN relay.",
                "s",
                *(
                    Query(
                        f'coturn_probe_duration_seconds{{probe="{probe}",instance=~"$node"}}',
                        f"{{{{instance}}}} {probe} {{{{transport}}}}",
                        look,
                    )
                    for probe, look in (("turn", Look.PLAIN), ("stun", Look.DASHED))
                ),
            ),
            series(
                "Refused allocations/s",
                "401: wrong credentials, not the usual challenge; 486: total-quota; 508: no relay port.",
                "short",
                Query('instance_code:coturn_allocate_errors:rate2m{instance=~"$node"}', "{{instance}} {{code}}"),
                empty="nothing was refused",
            ),
            series(
                "Share that needs a relay",
                "Allocations made, of allocations and STUN bindings together. 20 to 30 % is usual; a rise: users whose "
                "network changed, or STUN that fails.",
                "percentunit",
                f"{_CREATED} / ({_CREATED} + {_BINDINGS}){_ALIVE}",
                empty="no calls",
            ),
        ),
        row(
            "Probes, requests, and how full it is",
            states(
                "Probes",
                "Whether the exporter, as a client, got its STUN answer or its TURN relay.",
                'coturn_probe_success{instance=~"$node"}',
                legend="{{instance}} {{probe}} {{transport}}",
                good="OK",
                bad="FAILED",
            ),
            series(
                "STUN and TURN requests/s",
                "Bindings (a client asks for its own address) and allocations (it needs a relay).",
                "short",
                Query(_BINDINGS, "{{instance}} STUN", Look.DASHED),
                Query(_CREATED, "{{instance}} TURN"),
            ),
            series(
                "Share of the quota in use",
                "Of total-quota, which counts all users together. Without a quota: 0.",
                "percentunit",
                _QUOTA_USED,
                limits=above("CoturnQuotaNearlyUsed"),
            ),
            series(
                "Share of relay ports in use",
                "Of min-port to max-port. At 100 % calls fail with 508.",
                "percentunit",
                _PORTS_USED,
            ),
        ),
        media(),
        folded(
            "Which server, and since when",
            states("Server answers", "Whether coturn answers its exporter.", 'coturn_up{instance=~"$node"}'),
            states(
                "Exporter answers", "Whether Prometheus can scrape the exporter.", 'up{job="coturn",instance=~"$node"}'
            ),
            series(
                "Failed probes/s",
                "credentials: the shared secret differs; quota, ports: coturn is full; timeout: it hangs.",
                "short",
                Query(
                    'instance_probe_transport_reason:coturn_probe_failures:rate2m{instance=~"$node"}',
                    "{{instance}} {{probe}} {{transport}} {{reason}}",
                ),
                empty="no probe has failed",
            ),
        ),
        folded(
            "Which calls",
            heatmap(
                "How long allocations lasted",
                "Of allocations that ended, over the chosen nodes. Many short ones: calls that fail, or clients that "
                "retry.",
                "s",
                buckets("coturn_allocation_duration_seconds"),
            ),
            series(
                "Allocations/s by event",
                "Created, refreshed and deleted. More created than deleted: the number of calls grows.",
                "short",
                Query(rates("coturn_allocations_total", "event"), "{{instance}} {{event}}"),
            ),
            series(
                "Bandwidth by side",
                "With clients, and with the peers that they talk to: what one side sends in, the other gets out. "
                "Received above zero, sent below.",
                "bps",
                Query(
                    "8 * " + rates("coturn_traffic_bytes_total", "side", where='direction="received"'),
                    "{{instance}} {{side}} received",
                ),
                Query(
                    "8 * " + rates("coturn_traffic_bytes_total", "side", where='direction="sent"'),
                    "{{instance}} {{side}} sent",
                    Look.BELOW,
                ),
            ),
            series(
                "Allocations by source",
                "As each source of the exporter sees them. A lasting difference: one of them is wrong.",
                "short",
                Query('coturn_active_allocations_source{instance=~"$node"}', "{{instance}} {{source}}"),
            ),
        ),
        folded(
            "Which resource",
            series(
                "CPU",
                "Of one core; above 100 % coturn uses several. Relaying costs little; encryption (TLS) more.",
                "percentunit",
                rate("coturn_cpu_seconds_total"),
            ),
            series("Memory", "Resident memory of coturn.", "decbytes", 'coturn_memory_used_bytes{instance=~"$node"}'),
            series(
                "Share of file descriptors in use",
                "Of what coturn may open: one for each relay and each TCP client. At 100 % it refuses calls.",
                "percentunit",
                'coturn_open_fds{instance=~"$node"} / coturn_max_fds{instance=~"$node"}',
            ),
        ),
    ],
)
